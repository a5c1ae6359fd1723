//! Destination cases about the life cycle: check, prepare, begin, commit, abort, fence and position.
//!
//! What types and names a destination holds is in `roundtrip`, upsert and replace in `keyed`, schema policies in
//! `evolution`, interrupted runs in `faults`. Every case makes assets of its own and reads them back.

use synqx_model::spec::WriteMode;
use synqx_model::{Code, RunId};

use super::bench::*;
use super::report::Report;
use super::{Opening, Rows, same_rows};
use crate::budget::Budget;
use crate::connector::Role;
use crate::limits::FenceKind;
use crate::probe::Quiet;
use crate::write::FenceClaim;

pub(super) async fn run(bench: &Bench<'_>, report: &mut Report) {
    cases!(bench, report, {
        "check finds everything well" => check_is_good(bench),
        "check reports a wrong password with a hint" => check_reports_a_wrong_login(bench),
        "prepare as a dry run changes nothing and lists its actions" => dry_run(bench),
        "prepare twice is one change" => prepare_twice(bench),
        "an empty load creates the table" => empty_load(bench),
        "a batch of zero rows is fine" => zero_row_batch(bench),
        "several lanes together write every row once" => several_lanes(bench),
        "a second run appends its own rows" => two_runs(bench),
        "an absent target is not created unasked" => no_creation_unasked(bench),
        "resume equals what was stored with the rows" => resume(bench),
        "two streams into one target do not know each other" => two_streams(bench),
        "an old fence cannot commit" => old_fence(bench),
        "a fence lower than the stored one is refused" => lower_fence(bench),
        "a target changed after prepare is refused" => changed_target(bench),
        "cancel leaves no staging and no rows" => cancel(bench),
    });
    for mode in [
        WriteMode::Append,
        WriteMode::Replace,
        WriteMode::Upsert,
        WriteMode::DeleteInsert,
        WriteMode::Scd2,
        WriteMode::Mirror,
    ] {
        let name = format!("mode {} is done or refused before the run", mode.as_str());
        bench
            .case(report, name, mode_is_done_or_refused(bench, mode))
            .await;
    }
}

async fn check_is_good(bench: &Bench<'_>) -> Checked {
    let findings = bench.connect(Role::Destination)?.check().await?;
    ensure(!findings.is_empty(), "check found nothing to say")?;
    let bad: Vec<_> = findings
        .iter()
        .filter(|f| !f.ok)
        .map(|f| format!("{}: {}", f.name, f.detail))
        .collect();
    ensure(bad.is_empty(), bad.join("; "))?;
    Ok(Verdict::Passed)
}

async fn check_reports_a_wrong_login(bench: &Bench<'_>) -> Checked {
    if !bench.fixture.has_logins() {
        return not_applicable("the system has no logins");
    }
    for role in [Role::Source, Role::Destination] {
        let budget = Budget::new(Budget::DEFAULT);
        let opening = Opening {
            role,
            budget,
            probe: std::sync::Arc::new(Quiet),
            wrong_login: true,
        };
        let connection = bench.fixture.open(&opening)?;
        let findings = connection.check().await?;
        bench.hear(format!("{findings:?}"));
        let bad = findings
            .iter()
            .find(|f| !f.ok)
            .ok_or("check accepted a wrong password")?;
        ensure(
            bad.hint.as_ref().is_some_and(|hint| !hint.is_empty()),
            format!("{} has no hint", bad.name),
        )?;
        let error = connection.discover(None).await;
        bench.refused(
            "discover with a wrong password",
            error,
            &[role.code(Code::E0202, Code::E0302)],
        )?;
    }
    Ok(Verdict::Passed)
}

async fn dry_run(bench: &Bench<'_>) -> Checked {
    let connection = bench.connect(Role::Destination)?;
    let destination = writing(connection.as_ref())?;
    let asset = bench.fresh("dry")?;
    let before = connection.discover(None).await?;
    let target = bench.target(&asset, notes_schema(), plain_mode(destination.limits())?);
    let prepared = destination.prepare(&target, true).await?;
    ensure(
        !prepared.actions.is_empty(),
        "a load that creates its target listed no action",
    )?;
    ensure(
        !prepared.why.is_empty(),
        "it does not say why it publishes this way",
    )?;
    ensure(bench.rows(&asset).await?.is_none(), "the dry run made the target")?;
    let after = connection.discover(None).await?;
    ensure(before == after, format!("discover was {before:?}, is {after:?}"))?;
    bench.no_leftovers().await?;
    Ok(Verdict::Passed)
}

async fn prepare_twice(bench: &Bench<'_>) -> Checked {
    let connection = bench.connect(Role::Destination)?;
    let destination = writing(connection.as_ref())?;
    let asset = bench.fresh("twice")?;
    let target = bench.target(&asset, notes_schema(), plain_mode(destination.limits())?);
    destination.prepare(&target, false).await?;
    let once = connection.discover(None).await?;
    let prepared = destination.prepare(&target, false).await?;
    let twice = connection.discover(None).await?;
    ensure(
        once == twice,
        format!("after one prepare {once:?}, after two {twice:?}"),
    )?;
    let rows = [notes(&[(1, Some("a"))])?];
    let mut load = destination.begin(&target, &prepared, FenceClaim::Next).await?;
    fill(load.as_mut(), &prepared, &rows).await?;
    load.commit(&position("1")).await?;
    bench.expect(&asset, &rows).await?;
    Ok(Verdict::Passed)
}

async fn empty_load(bench: &Bench<'_>) -> Checked {
    let connection = bench.connect(Role::Destination)?;
    let asset = bench.fresh("empty")?;
    let mode = plain_mode(&bench.limits()?)?;
    let receipt = bench
        .load(
            connection.as_ref(),
            &bench.target(&asset, notes_schema(), mode),
            &[],
        )
        .await?;
    ensure(
        receipt.inserted == 0,
        format!("{} rows inserted", receipt.inserted),
    )?;
    let rows = bench.rows(&asset).await?.ok_or("the target was not created")?;
    ensure(
        rows.rows.is_empty(),
        format!("{} rows came out of nothing", rows.rows.len()),
    )?;
    let table = bench
        .connect(Role::Source)?
        .describe(&bench.fixture.dataset(&asset))
        .await?;
    let names: Vec<_> = table.schema.fields().iter().map(|f| f.name().as_str()).collect();
    ensure(
        names == ["id", "note"],
        format!("the empty target has the columns {names:?}"),
    )?;
    bench.no_leftovers().await?;
    Ok(Verdict::Passed)
}

async fn zero_row_batch(bench: &Bench<'_>) -> Checked {
    let connection = bench.connect(Role::Destination)?;
    let asset = bench.fresh("zero")?;
    let rows = notes(&[(1, Some("a")), (2, None)])?;
    let none = rows.slice(0, 0);
    let mode = plain_mode(&bench.limits()?)?;
    let target = bench.target(&asset, notes_schema(), mode);
    bench
        .load(connection.as_ref(), &target, &[none.clone(), rows.clone(), none])
        .await?;
    bench.expect(&asset, &[rows]).await?;
    Ok(Verdict::Passed)
}

async fn several_lanes(bench: &Bench<'_>) -> Checked {
    let connection = bench.connect(Role::Destination)?;
    let limits = bench.limits()?;
    if limits.parallel_writers < 2 {
        return not_applicable("one writer at a time");
    }
    for mode in [WriteMode::Append, WriteMode::Replace] {
        if !limits.modes.contains(&mode) {
            continue;
        }
        let asset = bench.given("lanes", &[notes(&[(-1, None)])?]).await?;
        let mut expected = if mode == WriteMode::Append {
            vec![notes(&[(-1, None)])?]
        } else {
            Vec::new()
        };
        let rows: Vec<_> = (0..6)
            .map(|i| many_notes(i * 500, 500, "row"))
            .collect::<Result<_, _>>()?;
        let mut target = bench.target(&asset, notes_schema(), mode);
        target.lanes = Some(3);
        let receipt = bench.load(connection.as_ref(), &target, &rows).await?;
        ensure(
            receipt.inserted == 3000,
            format!("3000 rows were written, {} inserted", receipt.inserted),
        )?;
        expected.extend(rows);
        bench.expect(&asset, &expected).await?;
        bench.no_leftovers().await?;
    }
    Ok(Verdict::Passed)
}

async fn two_runs(bench: &Bench<'_>) -> Checked {
    if !bench.limits()?.modes.contains(&WriteMode::Append) {
        return not_applicable("append is not a mode of this destination");
    }
    let connection = bench.connect(Role::Destination)?;
    let asset = bench.fresh("runs")?;
    let rows = [
        notes(&[(1, Some("a")), (1, Some("a"))])?,
        notes(&[(1, Some("a")), (2, None)])?,
    ];
    for batch in &rows {
        let target = bench.target(&asset, notes_schema(), WriteMode::Append);
        let receipt = bench
            .load(connection.as_ref(), &target, std::slice::from_ref(batch))
            .await?;
        ensure(
            receipt.inserted == 2,
            format!("2 rows were written, {} inserted", receipt.inserted),
        )?;
    }
    bench.expect(&asset, &rows).await?;
    bench.no_leftovers().await?;
    Ok(Verdict::Passed)
}

async fn no_creation_unasked(bench: &Bench<'_>) -> Checked {
    let connection = bench.connect(Role::Destination)?;
    let destination = writing(connection.as_ref())?;
    let asset = bench.fresh("unasked")?;
    let mut target = bench.target(&asset, notes_schema(), plain_mode(destination.limits())?);
    target.create = false;
    bench.refused(
        "prepare of an absent target",
        destination.prepare(&target, true).await,
        &[Code::E0304],
    )?;
    ensure(bench.rows(&asset).await?.is_none(), "it was made all the same")?;
    Ok(Verdict::Passed)
}

async fn resume(bench: &Bench<'_>) -> Checked {
    let connection = bench.connect(Role::Destination)?;
    let asset = bench.fresh("resume")?;
    let target = bench.target(&asset, notes_schema(), plain_mode(&bench.limits()?)?);
    let (mut load, prepared) = start(connection.as_ref(), &target, FenceClaim::Next).await?;
    ensure(load.committed().is_none(), "a new stream has a position already")?;
    let first = load.fence();
    fill(load.as_mut(), &prepared, &[notes(&[(1, None)])?]).await?;
    let stored = position("2013-01-01T00:00:00.000001+02:00 'q' \"q\" \\ 😀");
    load.commit(&stored).await?;
    drop(connection);
    let connection = bench.connect(Role::Destination)?;
    let mut again = target.clone();
    again.run = RunId::fresh();
    let (load, _) = start(connection.as_ref(), &again, FenceClaim::Next).await?;
    let found = load.committed().ok_or("the committed position is gone")?.clone();
    ensure(
        load.fence() > first,
        format!("the fence went from {first} to {}", load.fence()),
    )?;
    load.abort().await?;
    ensure(found.run == target.run, "the run is not the one that committed")?;
    ensure(
        found.spec_hash == target.spec_hash,
        "the document's hash is not the one committed",
    )?;
    ensure(
        found.position == stored,
        format!("stored {stored:?}, found {:?}", found.position),
    )?;
    bench.no_leftovers().await?;
    Ok(Verdict::Passed)
}

async fn two_streams(bench: &Bench<'_>) -> Checked {
    if !bench.limits()?.modes.contains(&WriteMode::Append) {
        return not_applicable("append is not a mode of this destination");
    }
    let connection = bench.connect(Role::Destination)?;
    let asset = bench.given("streams", &[notes(&[(1, None)])?]).await?;
    let mut other = bench.target(&asset, notes_schema(), WriteMode::Append);
    other.stream.node = "other/node %2F".into();
    let (load, _) = start(connection.as_ref(), &other, FenceClaim::Next).await?;
    let stranger = load.committed().cloned();
    load.abort().await?;
    ensure(
        stranger.is_none(),
        "a stream was given the position of another one",
    )?;
    bench
        .load(connection.as_ref(), &other, &[notes(&[(2, None)])?])
        .await?;
    bench.expect(&asset, &[notes(&[(1, None), (2, None)])?]).await?;
    Ok(Verdict::Passed)
}

async fn old_fence(bench: &Bench<'_>) -> Checked {
    let limits = bench.limits()?;
    if limits.fence == FenceKind::None {
        return not_applicable("the destination says that a zombie can publish");
    }
    for mode in limits
        .modes
        .iter()
        .filter(|m| [WriteMode::Append, WriteMode::Replace, WriteMode::Upsert].contains(m))
    {
        let (zombie, heir) = (
            bench.connect(Role::Destination)?,
            bench.connect(Role::Destination)?,
        );
        let asset = bench.given("fence", &[notes(&[(0, Some("before"))])?]).await?;
        let old = bench.target(&asset, notes_schema(), *mode);
        let new = bench.target(&asset, notes_schema(), *mode);
        let (mut late, prepared) = start(zombie.as_ref(), &old, FenceClaim::Next).await?;
        let rows = [notes(&[(2, Some("new"))])?];
        let receipt = bench.load(heir.as_ref(), &new, &rows).await?;
        ensure(
            receipt.inserted == 1,
            format!("the new run inserted {} rows, not 1", receipt.inserted),
        )?;
        let outcome = match fill(late.as_mut(), &prepared, &[notes(&[(1, Some("zombie"))])?]).await {
            Ok(_) => late.commit(&position("zombie")).await,
            Err(error) => Err(error),
        };
        bench.refused(
            &format!("{}: a commit under an old fence", mode.as_str()),
            outcome,
            &[Code::E0501],
        )?;
        let mut expected = if *mode == WriteMode::Replace {
            Vec::new()
        } else {
            vec![notes(&[(0, Some("before"))])?]
        };
        expected.extend(rows);
        bench.expect(&asset, &expected).await?;
        let (load, _) = start(heir.as_ref(), &new, FenceClaim::Next).await?;
        let stored = load.committed().map(|c| c.run);
        load.abort().await?;
        ensure(stored == Some(new.run), "the position is not that of the new run")?;
        bench.no_leftovers().await?;
    }
    Ok(Verdict::Passed)
}

async fn lower_fence(bench: &Bench<'_>) -> Checked {
    if bench.limits()?.fence == FenceKind::None {
        return not_applicable("the destination has no fence");
    }
    let connection = bench.connect(Role::Destination)?;
    let asset = bench.fresh("lower")?;
    let target = bench.target(&asset, notes_schema(), plain_mode(&bench.limits()?)?);
    let (mut load, prepared) = start(connection.as_ref(), &target, FenceClaim::Exact(10)).await?;
    ensure(
        load.fence() == 10,
        format!("asked for fence 10, got {}", load.fence()),
    )?;
    fill(load.as_mut(), &prepared, &[notes(&[(1, None)])?]).await?;
    load.commit(&position("10")).await?;
    let lower = start(connection.as_ref(), &target, FenceClaim::Exact(9)).await;
    bench.refused("fence 9 after 10", lower.map(|_| ()), &[Code::E0504])?;
    let (load, _) = start(connection.as_ref(), &target, FenceClaim::Next).await?;
    let fence = load.fence();
    load.abort().await?;
    ensure(fence == 11, format!("after 10 the next fence is 11, got {fence}"))?;
    bench.expect(&asset, &[notes(&[(1, None)])?]).await?;
    Ok(Verdict::Passed)
}

async fn changed_target(bench: &Bench<'_>) -> Checked {
    let connection = bench.connect(Role::Destination)?;
    let destination = writing(connection.as_ref())?;
    let rows = [notes(&[(1, Some("a"))])?];
    let asset = bench.given("changed", &rows).await?;
    let target = bench.target(&asset, notes_schema(), plain_mode(destination.limits())?);
    let prepared = destination.prepare(&target, false).await?;
    bench.fixture.remove(&asset).await?;
    let begun = destination.begin(&target, &prepared, FenceClaim::Next).await;
    match begun {
        Err(error) => {
            bench.refused::<()>(
                "begin on a target that is gone",
                Err(error),
                &[Code::E0311, Code::E0304],
            )?;
        }
        // A destination that makes its target anew at commit has nothing to compare; the rows must be right then.
        Ok(mut load) => {
            fill(load.as_mut(), &prepared, &rows).await?;
            match load.commit(&position("x")).await {
                Ok(_) => bench.expect(&asset, &rows).await?,
                Err(error) => {
                    bench.refused::<()>(
                        "commit to a target that is gone",
                        Err(error),
                        &[Code::E0311, Code::E0304],
                    )?;
                }
            }
        }
    }
    bench.no_leftovers().await?;
    Ok(Verdict::Passed)
}

async fn cancel(bench: &Bench<'_>) -> Checked {
    let limits = bench.limits()?;
    for mode in [WriteMode::Append, WriteMode::Replace, WriteMode::Upsert] {
        if !limits.modes.contains(&mode) {
            continue;
        }
        let before = [notes(&[(1, Some("before"))])?];
        for existing in [true, false] {
            let asset = if existing {
                bench.given("cancel", &before).await?
            } else {
                bench.fresh("cancel")?
            };
            let connection = bench.connect(Role::Destination)?;
            let target = bench.target(&asset, notes_schema(), mode);
            let (mut load, prepared) = start(connection.as_ref(), &target, FenceClaim::Next).await?;
            let lanes = write_only(load.as_mut(), &prepared, &[many_notes(2, 2000, "cancelled")?]).await?;
            drop(lanes);
            load.abort().await?;
            drop(connection);
            bench.no_leftovers().await?;
            let found = bench.rows(&asset).await?.unwrap_or_default();
            let expected = if existing {
                Rows::of(&before)
            } else {
                Rows::default()
            };
            same_rows(&expected, &found, &["id"]).map_err(|why| format!("{}: {why}", mode.as_str()))?;
        }
    }
    Ok(Verdict::Passed)
}

async fn mode_is_done_or_refused(bench: &Bench<'_>, mode: WriteMode) -> Checked {
    let connection = bench.connect(Role::Destination)?;
    let destination = writing(connection.as_ref())?;
    let asset = bench.fresh(mode.as_str())?;
    let mut target = bench.target(&asset, notes_schema(), mode);
    target.key = vec!["id".into()];
    if !destination.limits().modes.contains(&mode) {
        let error = bench.refused(
            "prepare",
            destination.prepare(&target, false).await,
            &[Code::E0310],
        )?;
        ensure(
            bench.rows(&asset).await?.is_none(),
            "the target was made although the mode was refused",
        )?;
        return Ok(Verdict::Refused(Code::E0310, error.message().to_owned()));
    }
    if !target.has_key() {
        target.key.clear();
    }
    if mode == WriteMode::DeleteInsert {
        target.partition_by = vec!["id".into()];
    }
    let rows = [notes(&[(1, Some("a")), (2, None)])?];
    let receipt = bench.load(connection.as_ref(), &target, &rows).await?;
    ensure(
        receipt.inserted == 2,
        format!("2 new rows, {} inserted", receipt.inserted),
    )?;
    // What a history adds to the rows is looked at where histories are.
    if mode != WriteMode::Scd2 {
        bench.expect(&asset, &rows).await?;
    }
    Ok(Verdict::Passed)
}
