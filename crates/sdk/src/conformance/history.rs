//! Destination cases about `scd2`: versions that open, close, come late, tie, and come back.
//!
//! The whole history is looked at after each load, as text: key, value, from, until, whether it holds.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, StringViewArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use synqx_model::Code;
use synqx_model::spec::WriteMode;

use super::bench::*;
use super::modes::{counts, later, load, refused, rows, schema, whole};
use super::report::Report;
use crate::write::{OrderBy, Target};

pub(super) async fn run(bench: &Bench<'_>, report: &mut Report) {
    cases!(bench, report, {
        "scd2 opens, closes and leaves alone" => history(bench),
        "scd2 of the same rows again changes nothing" => history_again(bench),
        "scd2 puts several versions of a key in order" => history_order(bench),
        "scd2 leaves late versions out" => history_late(bench),
        "scd2 refuses one time with two values" => history_clash(bench),
        "scd2 refuses NULL keys and NULL times" => history_nulls(bench),
        "scd2 refuses versions that tie" => history_ties(bench),
        "scd2 closes keys that do not arrive and opens them when they come back" => history_missing(bench),
        "scd2 compares the tracked columns only" => history_track(bench),
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

fn instant() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

fn timed_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("note", DataType::Utf8View, true),
        Field::new("seen", instant(), true),
    ]))
}

type Timed<'a> = (Option<i64>, &'a str, Option<i64>);

/// Rows with a time in microseconds.
fn timed(rows: &[Timed<'_>]) -> Result<RecordBatch, Problem> {
    let ids: ArrayRef = Arc::new(rows.iter().map(|row| row.0).collect::<Int64Array>());
    let texts: ArrayRef = Arc::new(StringViewArray::from_iter_values(rows.iter().map(|row| row.1)));
    let times = rows
        .iter()
        .map(|row| row.2)
        .collect::<TimestampMicrosecondArray>();
    Ok(RecordBatch::try_new(
        timed_schema(),
        vec![ids, texts, Arc::new(times.with_timezone("UTC"))],
    )?)
}

fn tracked(bench: &Bench<'_>, asset: &str) -> Target {
    let mut target = bench.target(asset, timed_schema(), WriteMode::Scd2);
    target.key = vec!["id".into()];
    target.scd2.time = Some("seen".into());
    target
}

/// The history as text, sorted: key, value, from, to, current.
async fn told(bench: &Bench<'_>, asset: &str) -> Result<Vec<String>, Problem> {
    let batch = whole(bench, asset).await?;
    let column = |name: &str| {
        batch
            .column_by_name(name)
            .cloned()
            .ok_or_else(|| Problem(format!("there is no column {name}")))
    };
    let plain = |name: &str, to: &DataType| Ok::<_, Problem>(arrow::compute::cast(&column(name)?, to)?);
    let (ids, notes) = (
        plain("id", &DataType::Int64)?,
        plain("note", &DataType::Utf8View)?,
    );
    let (from, to) = (plain("valid_from", &instant())?, plain("valid_to", &instant())?);
    let current: BooleanArray = plain("is_current", &DataType::Boolean)?.as_boolean().clone();
    let ids = ids.as_primitive::<arrow::datatypes::Int64Type>();
    let notes = notes.as_string_view();
    let from = from.as_primitive::<TimestampMicrosecondType>();
    let to = to.as_primitive::<TimestampMicrosecondType>();
    let mut told: Vec<String> = (0..batch.num_rows())
        .map(|i| {
            let until = if to.is_null(i) {
                "…".to_owned()
            } else {
                to.value(i).to_string()
            };
            let holds = if current.value(i) { " now" } else { "" };
            format!(
                "{} {} {}–{until}{holds}",
                ids.value(i),
                notes.value(i),
                from.value(i)
            )
        })
        .collect();
    told.sort();
    Ok(told)
}

async fn expect_history(bench: &Bench<'_>, asset: &str, wanted: &[&str]) -> Result<(), Problem> {
    let found = told(bench, asset).await?;
    ensure(found == wanted, format!("{found:?}, not {wanted:?}"))
}

/// A whole second, so that one of the times has no fraction and one has.
const T: i64 = 1_700_000_000_000_000;

async fn history(bench: &Bench<'_>) -> Checked {
    needs!(bench, Scd2);
    let asset = bench.fresh("history")?;
    let first = timed(&[
        (Some(1), "a", Some(T)),
        (Some(2), "b", Some(T)),
        (Some(3), "c", Some(T)),
    ])?;
    counts(
        &load(bench, &tracked(bench, &asset), &[first]).await?,
        [3, 0, 0, 0, 0],
    )?;
    let half = T + 500_000;
    let next = timed(&[
        (Some(1), "a", Some(half)),
        (Some(2), "B", Some(half)),
        (Some(4), "d", Some(half)),
    ])?;
    counts(
        &load(bench, &tracked(bench, &asset), &[next]).await?,
        [2, 0, 1, 0, 0],
    )?;
    let wanted = [
        format!("1 a {T}–… now"),
        format!("2 B {half}–… now"),
        format!("2 b {T}–{half}"),
        format!("3 c {T}–… now"),
        format!("4 d {half}–… now"),
    ];
    expect_history(
        bench,
        &asset,
        &wanted.iter().map(String::as_str).collect::<Vec<_>>(),
    )
    .await?;
    Ok(Verdict::Passed)
}

async fn history_again(bench: &Bench<'_>) -> Checked {
    needs!(bench, Scd2);
    let asset = bench.fresh("again")?;
    let batch = timed(&[
        (Some(1), "a", Some(T)),
        (Some(1), "b", Some(T + 2)),
        (Some(1), "b", Some(T + 3)),
        (Some(2), "x", Some(T)),
    ])?;
    let first = load(bench, &tracked(bench, &asset), std::slice::from_ref(&batch)).await?;
    counts(&first, [3, 0, 1, 0, 0])?;
    let before = told(bench, &asset).await?;
    let second = load(bench, &tracked(bench, &asset), &[batch]).await?;
    counts(&second, [0, 0, 4, 0, 0])?;
    ensure(before == told(bench, &asset).await?, "the history changed")?;
    Ok(Verdict::Passed)
}

async fn history_order(bench: &Bench<'_>) -> Checked {
    needs!(bench, Scd2);
    let asset = bench.fresh("order")?;
    load(
        bench,
        &tracked(bench, &asset),
        &[timed(&[(Some(1), "a", Some(T))])?],
    )
    .await?;
    let batches = [
        timed(&[(Some(1), "d", Some(T + 900)), (Some(1), "b", Some(T + 1))])?,
        timed(&[(Some(1), "c", Some(T + 20)), (Some(1), "c", Some(T + 30))])?,
    ];
    counts(
        &load(bench, &tracked(bench, &asset), &batches).await?,
        [3, 0, 1, 0, 0],
    )?;
    let wanted = [
        format!("1 a {T}–{}", T + 1),
        format!("1 b {}–{}", T + 1, T + 20),
        format!("1 c {}–{}", T + 20, T + 900),
        format!("1 d {}–… now", T + 900),
    ];
    expect_history(
        bench,
        &asset,
        &wanted.iter().map(String::as_str).collect::<Vec<_>>(),
    )
    .await?;
    Ok(Verdict::Passed)
}

async fn history_late(bench: &Bench<'_>) -> Checked {
    needs!(bench, Scd2);
    let asset = bench.fresh("late")?;
    let first = timed(&[(Some(1), "a", Some(T)), (Some(1), "b", Some(T + 10))])?;
    load(bench, &tracked(bench, &asset), &[first]).await?;
    let before = told(bench, &asset).await?;
    // Between the two, before both, and the current one's own time with its own value.
    let late = timed(&[
        (Some(1), "x", Some(T + 5)),
        (Some(1), "y", Some(T - 5)),
        (Some(1), "b", Some(T + 10)),
    ])?;
    counts(
        &load(bench, &tracked(bench, &asset), &[late]).await?,
        [0, 0, 1, 2, 0],
    )?;
    ensure(before == told(bench, &asset).await?, "the history changed")?;
    Ok(Verdict::Passed)
}

async fn history_clash(bench: &Bench<'_>) -> Checked {
    needs!(bench, Scd2);
    let asset = bench.fresh("clash")?;
    load(
        bench,
        &tracked(bench, &asset),
        &[timed(&[(Some(1), "a", Some(T))])?],
    )
    .await?;
    let other = timed(&[(Some(1), "b", Some(T)), (Some(2), "new", Some(T))])?;
    refused(bench, &tracked(bench, &asset), other, Code::E0308).await?;
    Ok(Verdict::Passed)
}

async fn history_nulls(bench: &Bench<'_>) -> Checked {
    needs!(bench, Scd2);
    let asset = bench.fresh("nulls")?;
    load(
        bench,
        &tracked(bench, &asset),
        &[timed(&[(Some(1), "a", Some(T))])?],
    )
    .await?;
    for row in [(None, "x", Some(T + 1)), (Some(2), "x", None)] {
        refused(bench, &tracked(bench, &asset), timed(&[row])?, Code::E0309).await?;
    }
    Ok(Verdict::Passed)
}

async fn history_ties(bench: &Bench<'_>) -> Checked {
    needs!(bench, Scd2);
    let asset = bench.fresh("ties")?;
    let twice = || timed(&[(Some(1), "a", Some(T)), (Some(1), "b", Some(T))]);
    refused(bench, &tracked(bench, &asset), twice()?, Code::E0308).await?;
    let mut ordered = tracked(bench, &asset);
    ordered.order_by = vec![OrderBy::parse("note")];
    counts(&load(bench, &ordered, &[twice()?]).await?, [1, 0, 0, 1, 0])?;
    expect_history(bench, &asset, &[format!("1 b {T}–… now").as_str()]).await?;
    Ok(Verdict::Passed)
}

/// A target whose versions begin at the run's time.
fn by_run(bench: &Bench<'_>, asset: &str, most: u8) -> Target {
    let mut target = bench.target(asset, notes_schema(), WriteMode::Scd2);
    target.key = vec!["id".into()];
    target.scd2.close_missing = true;
    target.scd2.max_close_percent = most;
    target
}

async fn history_missing(bench: &Bench<'_>) -> Checked {
    needs!(bench, Scd2);
    let asset = bench.fresh("missing")?;
    let micros = |target: &Target| target.run.started_ms() * 1000;
    let first = by_run(bench, &asset, 50);
    load(bench, &first, &[notes(&[(1, Some("a")), (2, Some("b"))])?]).await?;
    let second = later(&first, || by_run(bench, &asset, 49));
    refused(bench, &second, notes(&[(1, Some("a"))])?, Code::E0318).await?;
    let second = later(&first, || by_run(bench, &asset, 50));
    let receipt = load(bench, &second, &[notes(&[(1, Some("a"))])?]).await?;
    counts(&receipt, [0, 0, 1, 0, 1])?;
    let third = later(&second, || by_run(bench, &asset, 50));
    let receipt = load(bench, &third, &[notes(&[(1, Some("a")), (2, Some("b"))])?]).await?;
    counts(&receipt, [1, 0, 1, 0, 0])?;
    let (one, two, three) = (micros(&first), micros(&second), micros(&third));
    let wanted = [
        format!("1 a {one}–… now"),
        format!("2 b {one}–{two}"),
        format!("2 b {three}–… now"),
    ];
    expect_history(
        bench,
        &asset,
        &wanted.iter().map(String::as_str).collect::<Vec<_>>(),
    )
    .await?;
    Ok(Verdict::Passed)
}

async fn history_track(bench: &Bench<'_>) -> Checked {
    needs!(bench, Scd2);
    let asset = bench.fresh("track")?;
    let target = || {
        let mut target = bench.target(&asset, schema(), WriteMode::Scd2);
        target.key = vec!["id".into()];
        target.scd2.track = vec!["part".into()];
        target
    };
    let first = target();
    load(
        bench,
        &first,
        &[rows(&[(1, Some("a"), "x"), (2, Some("a"), "x")])?],
    )
    .await?;
    let second = later(&first, target);
    let next = rows(&[(1, Some("a"), "not tracked"), (2, None, "x")])?;
    counts(&load(bench, &second, &[next]).await?, [1, 0, 1, 0, 0])?;
    let found = told(bench, &asset).await?;
    ensure(
        found.len() == 3 && found.iter().any(|row| row.starts_with("1 x ")),
        format!("{found:?}"),
    )?;
    Ok(Verdict::Passed)
}
