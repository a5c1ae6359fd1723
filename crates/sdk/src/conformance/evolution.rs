//! Destination cases about schemas that differ: a column added, missing, widened, narrowed, under each policy.
//!
//! Strict stops and prints the difference, evolve adds columns and widens types, ignore loads what both sides have.
//! Whatever is not that is refused before a row is written, and the target stays as it was.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, StringViewArray};
use arrow::datatypes::{Field, Schema};
use arrow::record_batch::RecordBatch;
use synqx_model::spec::{SchemaPolicy, WriteMode};
use synqx_model::{Code, Error};

use super::bench::*;
use super::report::Report;
use crate::connector::Role;
use crate::write::Receipt;

pub(super) const DIFFERS: [Code; 5] = [Code::E0405, Code::E0402, Code::E0403, Code::E0401, Code::E0407];

pub(super) const POLICIES: [(SchemaPolicy, &str); 3] = [
    (SchemaPolicy::Strict, "strict"),
    (SchemaPolicy::Evolve, "evolve"),
    (SchemaPolicy::Ignore, "ignore"),
];

pub(super) async fn run(bench: &Bench<'_>, report: &mut Report) {
    for (policy, word) in POLICIES {
        bench
            .case(report, format!("a column added, {word}"), added(bench, policy))
            .await;
        bench
            .case(
                report,
                format!("a column missing, {word}"),
                missing(bench, policy),
            )
            .await;
        bench
            .case(report, format!("a type widened, {word}"), widened(bench, policy))
            .await;
        bench
            .case(
                report,
                format!("a type that does not fit, {word}"),
                narrowed(bench, policy),
            )
            .await;
    }
    bench
        .case(
            report,
            "columns in another order are matched by name",
            reordered(bench),
        )
        .await;
}

fn table(columns: Vec<(&str, ArrayRef)>) -> Result<RecordBatch, Problem> {
    let fields: Vec<_> = columns
        .iter()
        .map(|(name, array)| Field::new(*name, array.data_type().clone(), true))
        .collect();
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?)
}

fn ints(values: &[Option<i32>]) -> ArrayRef {
    Arc::new(Int32Array::from(values.to_vec()))
}

fn longs(values: &[Option<i64>]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

fn words(values: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringViewArray::from(values.to_vec()))
}

/// An asset with `before` in it, then an append of `next` under a policy.
async fn append(
    bench: &Bench<'_>,
    policy: SchemaPolicy,
    before: &RecordBatch,
    next: &RecordBatch,
) -> Result<(String, Result<Receipt, Error>), Problem> {
    let asset = bench.given("evolve", std::slice::from_ref(before)).await?;
    let connection = bench.connect(Role::Destination)?;
    let mut target = bench.target(&asset, next.schema(), WriteMode::Append);
    target.policy = policy;
    let outcome = bench
        .load(connection.as_ref(), &target, std::slice::from_ref(next))
        .await;
    bench.no_leftovers().await?;
    Ok((asset, outcome))
}

macro_rules! needs_append {
    ($bench:expr) => {
        if !$bench.limits()?.modes.contains(&WriteMode::Append) {
            return not_applicable("append is not a mode of this destination");
        }
    };
}

/// The refusal names the column and left the target alone.
async fn untouched(
    bench: &Bench<'_>,
    asset: &str,
    outcome: Result<Receipt, Error>,
    before: RecordBatch,
    column: &str,
) -> Checked {
    let error = bench.refused("the load", outcome, &DIFFERS)?;
    ensure(
        format!("{error:?}").contains(column),
        format!("the refusal does not name {column}: {error:?}"),
    )?;
    bench.expect(asset, &[before]).await?;
    Ok(Verdict::Refused(error.code(), error.message().to_owned()))
}

async fn added(bench: &Bench<'_>, policy: SchemaPolicy) -> Checked {
    needs_append!(bench);
    let before = table(vec![("id", longs(&[Some(1)])), ("note", words(&[Some("a")]))])?;
    let next = table(vec![
        ("id", longs(&[Some(2)])),
        ("note", words(&[Some("b")])),
        ("extra", longs(&[Some(7)])),
    ])?;
    let (asset, outcome) = append(bench, policy, &before, &next).await?;
    let expected = match (policy, &outcome) {
        (SchemaPolicy::Strict, _) => {
            untouched(bench, &asset, outcome, before, "extra").await?;
            return Ok(Verdict::Passed);
        }
        // A destination whose schema cannot grow says so.
        (SchemaPolicy::Evolve, Err(_)) => return untouched(bench, &asset, outcome, before, "extra").await,
        (SchemaPolicy::Evolve, Ok(_)) => table(vec![
            ("id", longs(&[Some(1), Some(2)])),
            ("note", words(&[Some("a"), Some("b")])),
            ("extra", longs(&[None, Some(7)])),
        ])?,
        (SchemaPolicy::Ignore, _) => table(vec![
            ("id", longs(&[Some(1), Some(2)])),
            ("note", words(&[Some("a"), Some("b")])),
        ])?,
    };
    outcome?;
    bench.expect(&asset, &[expected]).await?;
    Ok(Verdict::Passed)
}

async fn missing(bench: &Bench<'_>, policy: SchemaPolicy) -> Checked {
    needs_append!(bench);
    let before = table(vec![("id", longs(&[Some(1)])), ("note", words(&[Some("a")]))])?;
    let next = table(vec![("id", longs(&[Some(2)]))])?;
    let (asset, outcome) = append(bench, policy, &before, &next).await?;
    // Strict and evolve may stop ("anything else stops") or fill a nullable column with NULL; ignore may not stop.
    if outcome.is_err() && policy != SchemaPolicy::Ignore {
        return untouched(bench, &asset, outcome, before, "note").await;
    }
    outcome?;
    let after = table(vec![
        ("id", longs(&[Some(1), Some(2)])),
        ("note", words(&[Some("a"), None])),
    ])?;
    bench.expect(&asset, &[after]).await?;
    Ok(Verdict::Passed)
}

async fn widened(bench: &Bench<'_>, policy: SchemaPolicy) -> Checked {
    needs_append!(bench);
    let before = table(vec![
        ("id", longs(&[Some(1)])),
        ("count", ints(&[Some(i32::MAX)])),
    ])?;
    let next = table(vec![
        ("id", longs(&[Some(2)])),
        ("count", longs(&[Some(i64::MAX)])),
    ])?;
    let (asset, outcome) = append(bench, policy, &before, &next).await?;
    if outcome.is_err() {
        return untouched(bench, &asset, outcome, before, "count").await;
    }
    let after = table(vec![
        ("id", longs(&[Some(1), Some(2)])),
        ("count", longs(&[Some(i32::MAX.into()), Some(i64::MAX)])),
    ])?;
    bench.expect(&asset, &[after]).await?;
    Ok(Verdict::Passed)
}

async fn narrowed(bench: &Bench<'_>, policy: SchemaPolicy) -> Checked {
    needs_append!(bench);
    if !bench.fixture.remembers_types() {
        return not_applicable("what is read says its own types");
    }
    let before = table(vec![("id", longs(&[Some(1)])), ("count", longs(&[Some(5)]))])?;
    let next = table(vec![("id", longs(&[Some(2)])), ("count", words(&[Some("many")]))])?;
    let (asset, outcome) = append(bench, policy, &before, &next).await?;
    untouched(bench, &asset, outcome, before, "count").await?;
    Ok(Verdict::Passed)
}

async fn reordered(bench: &Bench<'_>) -> Checked {
    needs_append!(bench);
    let before = table(vec![
        ("id", longs(&[Some(1)])),
        ("a", words(&[Some("a1")])),
        ("b", words(&[Some("b1")])),
    ])?;
    let next = table(vec![
        ("b", words(&[Some("b2")])),
        ("id", longs(&[Some(2)])),
        ("a", words(&[Some("a2")])),
    ])?;
    let (asset, outcome) = append(bench, SchemaPolicy::Strict, &before, &next).await?;
    outcome?;
    let after = table(vec![
        ("id", longs(&[Some(1), Some(2)])),
        ("a", words(&[Some("a1"), Some("a2")])),
        ("b", words(&[Some("b1"), Some("b2")])),
    ])?;
    bench.expect(&asset, &[after]).await?;
    Ok(Verdict::Passed)
}
