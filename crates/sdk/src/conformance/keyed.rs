//! Destination cases about rows that meet rows: replace and upsert.
//!
//! Replace leaves exactly the new rows and whatever depends on the target; until the commit everybody sees the old
//! ones. Upsert takes the newest version of each key, says how many rows did what, and refuses to guess.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringViewArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use synqx_model::Code;
use synqx_model::spec::WriteMode;

use super::bench::*;
use super::report::Report;
use crate::connector::Role;
use crate::write::{FenceClaim, OrderBy, Receipt, Target};

pub(super) async fn run(bench: &Bench<'_>, report: &mut Report) {
    cases!(bench, report, {
        "replace leaves exactly the new rows" => replaces(bench),
        "replace shows the old rows until the commit" => replace_is_late(bench),
        "replace with no rows empties the target" => replace_with_nothing(bench),
        "replace keeps grants, keys and views" => replace_keeps_dependants(bench),
        "upsert adds and changes by key and its counts close" => upserts(bench),
        "upsert into an absent target is an insert" => upsert_creates(bench),
        "upsert takes the newest of many versions of a key" => upsert_newest(bench),
        "upsert takes the smallest when the order is descending" => upsert_descending(bench),
        "upsert refuses versions of a key without an order" => upsert_without_order(bench),
        "upsert refuses versions of a key that tie" => upsert_tie(bench),
        "upsert refuses NULL in a key" => upsert_null_key(bench),
        "upsert by several columns" => upsert_compound(bench),
        "upsert of the same rows again changes nothing" => upsert_again(bench),
        "upsert without its key column is refused" => upsert_missing_key(bench),
    });
}

macro_rules! needs {
    ($bench:expr, $mode:ident) => {
        if !$bench.limits()?.modes.contains(&WriteMode::$mode) {
            return not_applicable(format!(
                "{} is not a mode of this destination",
                WriteMode::$mode.as_str()
            ));
        }
    };
}

async fn replaces(bench: &Bench<'_>) -> Checked {
    needs!(bench, Replace);
    let connection = bench.connect(Role::Destination)?;
    let asset = bench.given("replace", &[many_notes(0, 50, "old")?]).await?;
    for round in 0..2 {
        let rows = [many_notes(40 + round, 30, "new")?, notes(&[(40, Some("twice"))])?];
        let target = bench.target(&asset, notes_schema(), WriteMode::Replace);
        let receipt = bench.load(connection.as_ref(), &target, &rows).await?;
        ensure(
            receipt.inserted == 31,
            format!("31 rows were written, {} inserted", receipt.inserted),
        )?;
        bench.expect(&asset, &rows).await?;
        bench.no_leftovers().await?;
    }
    Ok(Verdict::Passed)
}

async fn replace_is_late(bench: &Bench<'_>) -> Checked {
    needs!(bench, Replace);
    let connection = bench.connect(Role::Destination)?;
    let old = [many_notes(0, 20, "old")?];
    let asset = bench.given("late", &old).await?;
    let target = bench.target(&asset, notes_schema(), WriteMode::Replace);
    let (mut load, prepared) = start(connection.as_ref(), &target, FenceClaim::Next).await?;
    bench.expect(&asset, &old).await?;
    let new = [many_notes(100, 20, "new")?];
    let lanes = write_only(load.as_mut(), &prepared, &new).await?;
    bench.expect(&asset, &old).await?;
    for lane in lanes {
        lane.finish().await?;
    }
    bench.expect(&asset, &old).await?;
    load.commit(&position("1")).await?;
    bench.expect(&asset, &new).await?;
    bench.no_leftovers().await?;
    Ok(Verdict::Passed)
}

async fn replace_with_nothing(bench: &Bench<'_>) -> Checked {
    needs!(bench, Replace);
    let connection = bench.connect(Role::Destination)?;
    let asset = bench.given("nothing", &[many_notes(0, 20, "old")?]).await?;
    let target = bench.target(&asset, notes_schema(), WriteMode::Replace);
    bench.load(connection.as_ref(), &target, &[]).await?;
    let rows = bench
        .rows(&asset)
        .await?
        .ok_or("replace with no rows removed the target")?;
    ensure(rows.rows.is_empty(), format!("{} rows are left", rows.rows.len()))?;
    Ok(Verdict::Passed)
}

async fn replace_keeps_dependants(bench: &Bench<'_>) -> Checked {
    needs!(bench, Replace);
    let connection = bench.connect(Role::Destination)?;
    let asset = bench.given("dependants", &[many_notes(0, 20, "old")?]).await?;
    match bench.fixture.make_dependants(&asset).await {
        None => return not_applicable("nothing can depend on an asset there"),
        Some(made) => made?,
    }
    let rows = [many_notes(100, 10, "new")?];
    let target = bench.target(&asset, notes_schema(), WriteMode::Replace);
    bench.load(connection.as_ref(), &target, &rows).await?;
    bench.expect(&asset, &rows).await?;
    bench.fixture.check_dependants(&asset).await?;
    bench.no_leftovers().await?;
    Ok(Verdict::Passed)
}

fn closes(receipt: &Receipt, rows: u64) -> Result<(), Problem> {
    let sum = receipt.inserted + receipt.updated + receipt.unchanged + receipt.superseded;
    ensure(
        sum == rows,
        format!("{rows} rows went in, the receipt accounts for {sum}: {receipt:?}"),
    )
}

async fn upserts(bench: &Bench<'_>) -> Checked {
    needs!(bench, Upsert);
    let connection = bench.connect(Role::Destination)?;
    let asset = bench.fresh("upsert")?;
    let target = || bench.target(&asset, notes_schema(), WriteMode::Upsert);
    bench
        .load(
            connection.as_ref(),
            &target(),
            &[notes(&[(1, Some("a")), (2, None), (3, Some("c"))])?],
        )
        .await?;
    let changes = [
        notes(&[(2, Some("b")), (3, None)])?,
        notes(&[(4, Some("d")), (1, Some("a"))])?,
    ];
    let receipt = bench.load(connection.as_ref(), &target(), &changes).await?;
    closes(&receipt, 4)?;
    ensure(
        receipt.inserted == 1,
        format!("one key is new, {} inserted", receipt.inserted),
    )?;
    ensure(
        receipt.superseded == 0 && receipt.deleted == 0,
        format!("{receipt:?}"),
    )?;
    let after = notes(&[(1, Some("a")), (2, Some("b")), (3, None), (4, Some("d"))])?;
    bench.expect(&asset, &[after]).await?;
    bench.no_leftovers().await?;
    Ok(Verdict::Passed)
}

async fn upsert_creates(bench: &Bench<'_>) -> Checked {
    needs!(bench, Upsert);
    let connection = bench.connect(Role::Destination)?;
    let asset = bench.fresh("creates")?;
    let target = bench.target(&asset, notes_schema(), WriteMode::Upsert);
    let rows = [many_notes(0, 100, "row")?];
    let receipt = bench.load(connection.as_ref(), &target, &rows).await?;
    closes(&receipt, 100)?;
    bench.expect(&asset, &rows).await?;
    Ok(Verdict::Passed)
}

fn versions_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("version", DataType::Int64, true),
        Field::new("note", DataType::Utf8View, true),
    ]))
}

fn versions(rows: &[(Option<i64>, Option<i64>, &str)]) -> Result<RecordBatch, Problem> {
    let ids: ArrayRef = Arc::new(rows.iter().map(|row| row.0).collect::<Int64Array>());
    let order: ArrayRef = Arc::new(rows.iter().map(|row| row.1).collect::<Int64Array>());
    let texts: ArrayRef = Arc::new(StringViewArray::from_iter_values(rows.iter().map(|row| row.2)));
    Ok(RecordBatch::try_new(versions_schema(), vec![ids, order, texts])?)
}

fn ordered(bench: &Bench<'_>, asset: &str, order: &[&str]) -> Target {
    let mut target = bench.target(asset, versions_schema(), WriteMode::Upsert);
    target.order_by = order.iter().map(|text| OrderBy::parse(text)).collect();
    target
}

async fn upsert_newest(bench: &Bench<'_>) -> Checked {
    needs!(bench, Upsert);
    let connection = bench.connect(Role::Destination)?;
    let asset = bench.fresh("newest")?;
    let row = |id, version, note| (Some(id), Some(version), note);
    let first = versions(&[row(1, 1, "old"), row(2, 1, "two"), row(9, 1, "nine")])?;
    bench
        .load(
            connection.as_ref(),
            &ordered(bench, &asset, &["version"]),
            &[first],
        )
        .await?;
    let batches = [
        versions(&[
            row(1, 3, "third"),
            row(1, 2, "second"),
            (Some(2), None, "null is no newer"),
        ])?,
        versions(&[
            row(1, 10, "tenth"),
            row(1, 9, "ninth"),
            row(2, -5, "minus"),
            row(3, 0, "three"),
        ])?,
    ];
    let receipt = bench
        .load(
            connection.as_ref(),
            &ordered(bench, &asset, &["version"]),
            &batches,
        )
        .await?;
    closes(&receipt, 7)?;
    ensure(
        receipt.superseded == 5,
        format!(
            "five rows lost against a newer one, the newest of key 2 against the stored one: {receipt:?}"
        ),
    )?;
    let after = versions(&[
        row(1, 10, "tenth"),
        row(2, 1, "two"),
        row(3, 0, "three"),
        row(9, 1, "nine"),
    ])?;
    bench.expect(&asset, &[after]).await?;
    bench.no_leftovers().await?;
    Ok(Verdict::Passed)
}

async fn upsert_descending(bench: &Bench<'_>) -> Checked {
    needs!(bench, Upsert);
    let connection = bench.connect(Role::Destination)?;
    let asset = bench.fresh("descending")?;
    let batch = versions(&[
        (Some(1), Some(3), "c"),
        (Some(1), Some(1), "a"),
        (Some(1), Some(2), "b"),
    ])?;
    let receipt = bench
        .load(
            connection.as_ref(),
            &ordered(bench, &asset, &["version desc"]),
            &[batch],
        )
        .await?;
    closes(&receipt, 3)?;
    bench
        .expect(&asset, &[versions(&[(Some(1), Some(1), "a")])?])
        .await?;
    Ok(Verdict::Passed)
}

/// Loads rows that must be refused with a code; the target keeps what it had.
async fn refused_load(bench: &Bench<'_>, order: &[&str], rows: RecordBatch, code: Code) -> Checked {
    let connection = bench.connect(Role::Destination)?;
    let asset = bench.fresh("refused")?;
    let before = versions(&[(Some(1), Some(1), "before")])?;
    let mut first = ordered(bench, &asset, &[]);
    first.order_by.clear();
    bench
        .load(connection.as_ref(), &first, std::slice::from_ref(&before))
        .await?;
    let outcome = bench
        .load(connection.as_ref(), &ordered(bench, &asset, order), &[rows])
        .await;
    let error = bench.refused("the load", outcome, &[code])?;
    ensure(
        format!("{error:?}").contains("id"),
        format!("the error does not name the key column: {error:?}"),
    )?;
    bench.expect(&asset, &[before]).await?;
    drop(connection);
    let connection = bench.connect(Role::Destination)?;
    let (load, _) = start(connection.as_ref(), &first, FenceClaim::Next).await?;
    load.abort().await?;
    bench.no_leftovers().await?;
    Ok(Verdict::Passed)
}

async fn upsert_without_order(bench: &Bench<'_>) -> Checked {
    needs!(bench, Upsert);
    let rows = versions(&[(Some(5), Some(1), "a"), (Some(5), Some(2), "b")])?;
    refused_load(bench, &[], rows, Code::E0308).await
}

async fn upsert_tie(bench: &Bench<'_>) -> Checked {
    needs!(bench, Upsert);
    let rows = versions(&[
        (Some(5), Some(2), "a"),
        (Some(5), Some(1), "c"),
        (Some(5), Some(2), "b"),
    ])?;
    refused_load(bench, &["version"], rows, Code::E0308).await
}

async fn upsert_null_key(bench: &Bench<'_>) -> Checked {
    needs!(bench, Upsert);
    let rows = versions(&[(Some(5), Some(2), "a"), (None, Some(1), "c")])?;
    refused_load(bench, &["version"], rows, Code::E0309).await
}

async fn upsert_compound(bench: &Bench<'_>) -> Checked {
    needs!(bench, Upsert);
    let connection = bench.connect(Role::Destination)?;
    let asset = bench.fresh("compound")?;
    let mut target = bench.target(&asset, versions_schema(), WriteMode::Upsert);
    target.key = vec!["version".into(), "id".into()];
    let row = |id, version, note| (Some(id), Some(version), note);
    let first = versions(&[row(1, 1, "a"), row(1, 2, "b"), row(2, 1, "c")])?;
    bench.load(connection.as_ref(), &target, &[first]).await?;
    let receipt = bench
        .load(
            connection.as_ref(),
            &target,
            &[versions(&[row(1, 2, "B"), row(2, 2, "d")])?],
        )
        .await?;
    closes(&receipt, 2)?;
    let after = versions(&[row(1, 1, "a"), row(1, 2, "B"), row(2, 1, "c"), row(2, 2, "d")])?;
    bench.expect(&asset, &[after]).await?;
    Ok(Verdict::Passed)
}

async fn upsert_again(bench: &Bench<'_>) -> Checked {
    needs!(bench, Upsert);
    let connection = bench.connect(Role::Destination)?;
    let asset = bench.fresh("again")?;
    let rows = [many_notes(0, 300, "row")?];
    for round in 0..3 {
        let target = bench.target(&asset, notes_schema(), WriteMode::Upsert);
        let receipt = bench.load(connection.as_ref(), &target, &rows).await?;
        closes(&receipt, 300)?;
        let new = if round == 0 { 300 } else { 0 };
        ensure(
            receipt.inserted == new,
            format!("round {round} inserted {} rows, not {new}", receipt.inserted),
        )?;
        bench.expect(&asset, &rows).await?;
    }
    Ok(Verdict::Passed)
}

async fn upsert_missing_key(bench: &Bench<'_>) -> Checked {
    needs!(bench, Upsert);
    let connection = bench.connect(Role::Destination)?;
    let destination = writing(connection.as_ref())?;
    let mut target = bench.target(&bench.fresh("missing")?, notes_schema(), WriteMode::Upsert);
    target.key = vec!["no_such_column".into()];
    let error = bench.refused(
        "prepare",
        destination.prepare(&target, true).await,
        &[Code::E0408],
    )?;
    ensure(
        format!("{error:?}").contains("no_such_column"),
        format!("the column is not named: {error:?}"),
    )?;
    Ok(Verdict::Passed)
}
