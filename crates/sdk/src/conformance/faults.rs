//! Destination cases about runs that end badly: a writer that dies, an answer that is lost, every effect interrupted.
//!
//! A probe stops the load before or after an effect, once; then a fresh connection begins again with the same run, as
//! a restart does. Whatever happened, the rows are there once, the position is the run's and no staging is left. The
//! engine's crash matrix kills processes; this finds the same holes sooner and names the effect.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::record_batch::RecordBatch;
use synqx_model::spec::WriteMode;
use synqx_model::{Code, Error, Result};

use super::bench::*;
use super::report::Report;
use crate::budget::Budget;
use crate::connector::Role;
use crate::probe::{Effect, Moment, Probe};
use crate::write::{FenceClaim, Target};

const MODES: [WriteMode; 3] = [WriteMode::Append, WriteMode::Replace, WriteMode::Upsert];

pub(super) async fn run(bench: &Bench<'_>, report: &mut Report) {
    for mode in MODES {
        let word = mode.as_str();
        bench
            .case(
                report,
                format!("a writer dies, {word}: nothing is visible"),
                writer_dies(bench, mode),
            )
            .await;
        bench
            .case(
                report,
                format!("the same load retried, {word}: one set of rows"),
                retried(bench, mode),
            )
            .await;
        bench
            .case(
                report,
                format!("the answer to a commit is lost, {word}: rows once"),
                lost(bench, mode),
            )
            .await;
        let name = format!("interrupted before and after every effect, {word}: rows once");
        bench.case(report, name, interrupted(bench, mode)).await;
    }
}

/// Notes every effect, and fails at one of them.
#[derive(Debug, Default)]
struct Saboteur {
    reached: Mutex<Vec<(Effect, Moment)>>,
    /// The n-th announcement (from 0) fails.
    at: Option<usize>,
    code: Option<Code>,
    /// Only this announcement counts; all of them when absent.
    only: Option<(Effect, Moment)>,
}

impl Saboteur {
    fn reached(&self) -> Vec<(Effect, Moment)> {
        self.reached
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Probe for Saboteur {
    fn reach(&self, effect: Effect, moment: Moment) -> Result<()> {
        let mut reached = self.reached.lock().unwrap_or_else(PoisonError::into_inner);
        if self.only.is_some_and(|only| only != (effect, moment)) {
            return Ok(());
        }
        reached.push((effect, moment));
        if self.at == Some(reached.len() - 1) {
            let code = self.code.unwrap_or(Code::E0305);
            return Err(
                Error::new(code, format!("the suite stopped the load at {}", effect.as_str()))
                    .with_hint("this is a test"),
            );
        }
        Ok(())
    }
}

struct Scene {
    asset: String,
    target: Target,
    batches: Vec<RecordBatch>,
    before: Vec<RecordBatch>,
    after: Vec<RecordBatch>,
}

/// A target with rows, a run that adds to them in this mode, and what must be there at the end.
async fn scene(bench: &Bench<'_>, mode: WriteMode) -> Result<Scene, Problem> {
    let before = vec![notes(&[(-2, Some("before")), (-1, None)])?];
    let asset = bench.given("fault", &before).await?;
    let target = bench.target(&asset, notes_schema(), mode);
    let batches = vec![many_notes(0, 300, "new")?, many_notes(300, 300, "new")?];
    let mut after = if mode == WriteMode::Replace {
        Vec::new()
    } else {
        before.clone()
    };
    after.extend(batches.clone());
    Ok(Scene {
        asset,
        target,
        batches,
        before,
        after,
    })
}

macro_rules! needs {
    ($bench:expr, $mode:expr) => {
        if !$bench.limits()?.modes.contains(&$mode) {
            return not_applicable(format!("{} is not a mode of this destination", $mode.as_str()));
        }
    };
}

/// What a restarted engine does: begin with the same run, and write everything unless the run is committed.
async fn restart(bench: &Bench<'_>, scene: &Scene) -> Result<(), Problem> {
    let connection = bench.connect(Role::Destination)?;
    let (mut load, prepared) = start(connection.as_ref(), &scene.target, FenceClaim::Next).await?;
    if load
        .committed()
        .is_some_and(|committed| committed.run == scene.target.run)
    {
        load.abort().await?;
    } else {
        fill(load.as_mut(), &prepared, &scene.batches).await?;
        load.commit(&position("done")).await?;
    }
    drop(connection);
    bench.expect(&scene.asset, &scene.after).await?;
    bench.no_leftovers().await
}

async fn writer_dies(bench: &Bench<'_>, mode: WriteMode) -> Checked {
    needs!(bench, mode);
    let scene = scene(bench, mode).await?;
    {
        let connection = bench.connect(Role::Destination)?;
        let (mut load, prepared) = start(connection.as_ref(), &scene.target, FenceClaim::Next).await?;
        let lanes = write_only(load.as_mut(), &prepared, &scene.batches).await?;
        drop(lanes);
        drop(load);
    }
    bench.expect(&scene.asset, &scene.before).await?;
    {
        let connection = bench.connect(Role::Destination)?;
        let (mut load, prepared) = start(connection.as_ref(), &scene.target, FenceClaim::Next).await?;
        fill(load.as_mut(), &prepared, &scene.batches).await?;
        drop(load);
    }
    bench.expect(&scene.asset, &scene.before).await?;
    restart(bench, &scene).await?;
    Ok(Verdict::Passed)
}

async fn retried(bench: &Bench<'_>, mode: WriteMode) -> Checked {
    needs!(bench, mode);
    let scene = scene(bench, mode).await?;
    for _ in 0..3 {
        restart(bench, &scene).await?;
    }
    Ok(Verdict::Passed)
}

async fn lost(bench: &Bench<'_>, mode: WriteMode) -> Checked {
    needs!(bench, mode);
    let scene = scene(bench, mode).await?;
    let only = Some((Effect::Publish, Moment::After));
    let probe = Arc::new(Saboteur {
        at: Some(0),
        code: Some(Code::E0317),
        only,
        ..Default::default()
    });
    let outcome = sabotaged(bench, &scene, Arc::clone(&probe)).await?;
    bench.refused("a commit whose answer was lost", outcome, &[Code::E0317])?;
    let connection = bench.connect(Role::Destination)?;
    let (load, _) = start(connection.as_ref(), &scene.target, FenceClaim::Next).await?;
    let committed = load.committed().cloned();
    load.abort().await?;
    drop(connection);
    // Where rows and position are one act, the run is committed; where they are two, it may be told apart later.
    if let Some(committed) = committed.filter(|c| c.run == scene.target.run) {
        ensure(
            committed.position == position("sabotage"),
            "the position is not the one that was committed",
        )?;
    }
    restart(bench, &scene).await?;
    restart(bench, &scene).await?;
    Ok(Verdict::Passed)
}

/// A whole load whose connection has this probe.
async fn sabotaged(
    bench: &Bench<'_>,
    scene: &Scene,
    probe: Arc<Saboteur>,
) -> Result<Result<(), Error>, Problem> {
    let connection = bench.connect_with(Role::Destination, Budget::new(Budget::DEFAULT), probe)?;
    let whole = async {
        let (mut load, prepared) = start(connection.as_ref(), &scene.target, FenceClaim::Next).await?;
        fill(load.as_mut(), &prepared, &scene.batches).await?;
        load.commit(&position("sabotage")).await
    };
    let outcome = Box::pin(whole).await;
    if let Err(error) = &outcome {
        bench.hear_error(error);
    }
    Ok(outcome.map(|_| ()))
}

async fn interrupted(bench: &Bench<'_>, mode: WriteMode) -> Checked {
    needs!(bench, mode);
    let quiet = Arc::new(Saboteur::default());
    let undisturbed = scene(bench, mode).await?;
    sabotaged(bench, &undisturbed, Arc::clone(&quiet)).await??;
    bench.expect(&undisturbed.asset, &undisturbed.after).await?;
    let effects = quiet.reached();
    for needed in [Effect::Fence, Effect::Write, Effect::Publish] {
        let told = [Moment::Before, Moment::After]
            .iter()
            .all(|moment| effects.contains(&(needed, *moment)));
        ensure(
            told,
            format!("the load does not announce before and after {}", needed.as_str()),
        )?;
    }
    for (at, (effect, moment)) in effects.iter().enumerate() {
        let scene = scene(bench, mode).await?;
        let outcome = sabotaged(
            bench,
            &scene,
            Arc::new(Saboteur {
                at: Some(at),
                ..Default::default()
            }),
        )
        .await?;
        let cell = format!("{} {moment:?} ({at})", effect.as_str());
        // Cleaning up may fail without failing the load; anything else may not be passed over.
        let forgiven = matches!(effect, Effect::Cleanup | Effect::Sweep);
        ensure(
            outcome.is_err() || forgiven,
            format!("{cell}: the load went on after an error"),
        )?;
        let published = outcome.is_ok();
        let seen = bench.rows(&scene.asset).await?.unwrap_or_default().rows.len();
        let counts =
            [scene.before.iter(), scene.after.iter()].map(|b| b.map(RecordBatch::num_rows).sum::<usize>());
        ensure(
            counts.contains(&seen),
            format!("{cell}: {seen} rows are visible, neither before nor after"),
        )?;
        ensure(
            !published || seen == counts[1],
            format!("{cell}: committed, and the rows are not there"),
        )?;
        restart(bench, &scene)
            .await
            .map_err(|Problem(why)| Problem(format!("{cell}: after the restart: {why}")))?;
    }
    Ok(Verdict::Passed)
}
