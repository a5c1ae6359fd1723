//! Source cases: what is found and described, partitions, limits, empty and vanished assets, huge rows, early ends.
//!
//! Pushed predicates are in `pushdown`. Assets come from the fixture, or through the connector's own destination.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, StringViewArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::RecordBatch;
use futures::StreamExt;
use synqx_model::spec::PartitionBy;
use synqx_model::{Blame, ByteSize, Code};

use super::bench::*;
use super::report::Report;
use super::rows::{Rows, same_rows};
use crate::budget::Budget;
use crate::connector::Role;
use crate::probe::Quiet;
use crate::read::{Dataset, Scan};

pub(super) async fn run(bench: &Bench<'_>, report: &mut Report) {
    cases!(bench, report, {
        "discover is stable and finds what is there" => discover_is_stable(bench),
        "describe is stable" => describe_is_stable(bench),
        "an asset that does not exist has its own code" => absent(bench),
        "an empty asset has a schema and no rows" => empty(bench),
        "columns are returned as asked, in that order" => projection(bench),
    });
    for (kind, word) in [
        (Keys::Plain, "plain"),
        (Keys::Skewed, "skewed"),
        (Keys::Nulls, "NULL"),
        (Keys::Equal, "equal"),
    ] {
        let name = format!("partitions cover every row once, {word} keys");
        bench.case(report, name, partitions(bench, kind)).await;
    }
    cases!(bench, report, {
        "a limit returns enough rows and invents none" => limits(bench),
        "all partitions can be read at once" => at_once(bench),
        "an asset dropped between plan and open has a code" => vanished(bench),
        "a row larger than a quarter of the budget has its own code" => huge_row(bench),
        "dropping a stream early stops the work" => early_end(bench),
        "everything read is given back to the budget" => budget_is_returned(bench),
    });
}

/// Makes an asset with these rows: the fixture's way, else the connector's own destination.
pub(super) async fn seeded(
    bench: &Bench<'_>,
    stem: &str,
    batches: &[RecordBatch],
) -> Result<String, Problem> {
    let asset = bench.fresh(stem)?;
    match bench.fixture.seed(&asset, batches).await {
        Some(done) => done.map(|()| asset).map_err(Problem),
        None => bench.given(stem, batches).await,
    }
}

async fn discover_is_stable(bench: &Bench<'_>) -> Checked {
    let asset = seeded(bench, "found", &[many_notes(0, 10, "row")?]).await?;
    let connection = bench.connect(Role::Source)?;
    let first = connection.discover(None).await?;
    let second = bench.connect(Role::Source)?.discover(None).await?;
    ensure(
        first == second,
        format!("two discoveries differ: {first:?} and {second:?}"),
    )?;
    let names: Vec<_> = first.iter().map(|a| a.name.as_str()).collect();
    let alike = |name: &str| name.trim_end_matches('/') == asset.trim_end_matches('/');
    let found = names
        .iter()
        .copied()
        .find(|name| alike(name) || asset.ends_with(name) || name.ends_with(&asset));
    let found = found
        .ok_or_else(|| format!("{asset} is not among {names:?}"))?
        .to_owned();
    let described = connection.describe(&Dataset::asset(&found)).await?;
    ensure(
        described.schema.fields().len() == 2,
        "the name discovery gives does not describe the asset",
    )?;
    let narrowed = connection.discover(Some(&found)).await?;
    ensure(
        narrowed.iter().any(|a| a.name == found),
        "the asset's own name as a pattern does not find it",
    )?;
    let none = connection.discover(Some("no_such_asset_anywhere")).await?;
    ensure(
        none.is_empty(),
        format!("a pattern that fits nothing found {none:?}"),
    )?;
    Ok(Verdict::Passed)
}

async fn describe_is_stable(bench: &Bench<'_>) -> Checked {
    let asset = seeded(bench, "described", &[many_notes(0, 10, "row")?]).await?;
    let dataset = bench.fixture.dataset(&asset);
    let first = bench.connect(Role::Source)?.describe(&dataset).await?;
    let second = bench.connect(Role::Source)?.describe(&dataset).await?;
    ensure(
        first.schema == second.schema,
        "two descriptions have different schemas",
    )?;
    ensure(
        first.identity == second.identity && !first.identity.is_empty(),
        "the identity is empty or changes",
    )?;
    let names: Vec<_> = first.schema.fields().iter().map(|f| f.name().as_str()).collect();
    ensure(
        names == ["id", "note"],
        format!("described the columns {names:?}"),
    )?;
    if let Some(most) = first.rows_at_most {
        ensure(
            most >= 10,
            format!("10 rows are there, the description is certain of at most {most}"),
        )?;
    }
    Ok(Verdict::Passed)
}

async fn absent(bench: &Bench<'_>) -> Checked {
    let asset = bench.fresh("absent")?;
    let outcome = bench
        .connect(Role::Source)?
        .describe(&bench.fixture.dataset(&asset))
        .await;
    let error = bench.refused("describe", outcome, &[Code::E0204])?;
    let stem = asset
        .trim_end_matches('/')
        .rsplit(['.', '/'])
        .find(|part| part.len() > 4)
        .unwrap_or(&asset)
        .to_owned();
    ensure(
        format!("{error:?}").contains(stem.trim_matches('"')),
        format!("{asset} is not named: {error:?}"),
    )?;
    Ok(Verdict::Passed)
}

async fn empty(bench: &Bench<'_>) -> Checked {
    let asset = seeded(bench, "empty", &[RecordBatch::new_empty(notes_schema())]).await?;
    let connection = bench.connect(Role::Source)?;
    let (plan, batches) = bench
        .read(connection.as_ref(), &asset, |scan| scan.parallel = 4)
        .await?;
    let names: Vec<_> = plan.schema.fields().iter().map(|f| f.name().as_str()).collect();
    ensure(
        names == ["id", "note"],
        format!("the empty asset has the columns {names:?}"),
    )?;
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    ensure(rows == 0, format!("{rows} rows came out of nothing"))?;
    Ok(Verdict::Passed)
}

async fn projection(bench: &Bench<'_>) -> Checked {
    let asset = seeded(bench, "projection", &[many_notes(0, 500, "row")?]).await?;
    let connection = bench.connect(Role::Source)?;
    let (_, all) = bench.read(connection.as_ref(), &asset, |_| {}).await?;
    let all = Rows::of(&all);
    for wanted in [vec!["note"], vec!["note", "id"], vec!["id"]] {
        let wanted: Vec<String> = wanted.into_iter().map(str::to_owned).collect();
        let (plan, found) = bench
            .read(connection.as_ref(), &asset, |scan| {
                scan.columns.clone_from(&wanted)
            })
            .await?;
        for batch in &found {
            ensure(
                batch.schema() == plan.schema,
                format!("a batch has another schema than its plan, asked for {wanted:?}"),
            )?;
        }
        let found = Rows::of(&found);
        ensure(
            found.columns == wanted,
            format!("asked for {wanted:?}, got {:?}", found.columns),
        )?;
        same_rows(&all.select(&wanted)?, &found, &["id"])?;
    }
    let (_, batches) = bench
        .read(connection.as_ref(), &asset, |scan| scan.columns.clear())
        .await?;
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    ensure(rows == 500, format!("without any column 500 rows became {rows}"))?;
    Ok(Verdict::Passed)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keys {
    Plain,
    Skewed,
    Nulls,
    Equal,
}

fn keyed_rows(kind: Keys, count: i64) -> Result<RecordBatch, Problem> {
    let key = |row: i64| match kind {
        Keys::Plain => Some(row * 3 - count),
        Keys::Skewed if row % 10 != 0 => Some(7),
        Keys::Skewed => Some(row * row * 1_000_003),
        Keys::Nulls => (row % 3 == 0).then_some(row),
        Keys::Equal => Some(42),
    };
    let schema = Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("key", DataType::Int64, true),
        Field::new("note", DataType::Utf8View, true),
    ]));
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..count));
    let keys: ArrayRef = Arc::new((0..count).map(key).collect::<Int64Array>());
    let texts: ArrayRef = Arc::new(StringViewArray::from_iter_values(
        (0..count).map(|n| format!("note {n:0>40}")),
    ));
    Ok(RecordBatch::try_new(schema, vec![ids, keys, texts])?)
}

async fn partitions(bench: &Bench<'_>, kind: Keys) -> Checked {
    let batch = keyed_rows(kind, 20_000)?;
    let asset = seeded(bench, "parts", std::slice::from_ref(&batch)).await?;
    let connection = bench.connect(Role::Source)?;
    let source = connection.source().ok_or("the connection has no source")?;
    let expected = Rows::of(std::slice::from_ref(&batch));
    let by_key: PartitionBy = serde_json::from_value(serde_json::json!({ "column": "key", "count": 5 }))
        .map_err(|e| format!("the suite's own partition does not parse: {e}"))?;
    for (partition, word) in [
        (PartitionBy::Auto, "auto"),
        (PartitionBy::None, "none"),
        (by_key, "by column"),
    ] {
        for parallel in [1, 4] {
            let mut scan = bench.scan(connection.as_ref(), &asset).await?;
            (scan.partition, scan.parallel) = (partition.clone(), parallel);
            if let (PartitionBy::Column(_), Err(error)) = (&partition, source.plan(&scan).await) {
                // Not every source can be split by a column; one that cannot says so before it reads.
                bench.refused::<()>("a split by a column", Err(error), &[Code::E0103])?;
                continue;
            }
            let change = |scan: &mut Scan| (scan.partition, scan.parallel) = (partition.clone(), parallel);
            let (plan, found) = bench.read(connection.as_ref(), &asset, change).await?;
            let parts = plan.partitions.len();
            ensure(
                partition != PartitionBy::None || parts <= 1,
                format!("asked for one stream, got {parts}"),
            )?;
            same_rows(&expected, &Rows::of(&found), &["id"])
                .map_err(|why| format!("{word}, {parts} partitions of {parallel}: {why}"))?;
        }
    }
    Ok(Verdict::Passed)
}

async fn limits(bench: &Bench<'_>) -> Checked {
    let asset = seeded(bench, "limit", &[many_notes(0, 5_000, "row")?]).await?;
    let connection = bench.connect(Role::Source)?;
    let (_, all) = bench.read(connection.as_ref(), &asset, |_| {}).await?;
    let all = Rows::of(&all);
    let there: BTreeMap<_, _> = all.counted();
    for parallel in [1, 4] {
        for limit in [0, 1, 3, 4_999, 5_000, 9_000] {
            let (plan, found) = bench
                .read(connection.as_ref(), &asset, |scan| {
                    scan.limit = Some(limit);
                    scan.parallel = parallel;
                    scan.partition = PartitionBy::Auto;
                })
                .await?;
            let found = Rows::of(&found);
            let least = limit.min(5_000) as usize;
            ensure(
                found.rows.len() >= least,
                format!("limit {limit}: only {} rows", found.rows.len()),
            )?;
            let exact = !plan.limited || found.rows.len() == least;
            ensure(
                exact,
                format!(
                    "limit {limit}: said it limits, and returned {} rows",
                    found.rows.len()
                ),
            )?;
            for (row, count) in found.counted() {
                ensure(
                    there.get(row).is_some_and(|n| *n >= count),
                    format!("limit {limit}: a row was invented or doubled"),
                )?;
            }
        }
    }
    Ok(Verdict::Passed)
}

async fn at_once(bench: &Bench<'_>) -> Checked {
    let batch = keyed_rows(Keys::Plain, 20_000)?;
    let asset = seeded(bench, "atonce", std::slice::from_ref(&batch)).await?;
    let connection = bench.connect(Role::Source)?;
    let mut scan = bench.scan(connection.as_ref(), &asset).await?;
    scan.parallel = 4;
    scan.partition = PartitionBy::Auto;
    let source = connection.source().ok_or("the connection has no source")?;
    let plan = source.plan(&scan).await?;
    let reader = source.open(&scan, &plan).await?;
    let collect = |partition: usize| {
        let reader = &reader;
        async move {
            let stream = reader.read(partition).await?;
            let batches: Vec<_> = stream.collect().await;
            batches.into_iter().collect::<Result<Vec<_>, _>>()
        }
    };
    let numbers = 0..plan.partitions.len();
    let read = futures::future::join_all(numbers.map(collect)).await;
    let batches: Vec<_> = read
        .into_iter()
        .collect::<Result<Vec<_>, _>>()?
        .into_iter()
        .flatten()
        .collect();
    same_rows(&Rows::of(&[batch]), &Rows::of(&batches), &["id"])?;
    Ok(Verdict::Passed)
}

async fn vanished(bench: &Bench<'_>) -> Checked {
    let asset = seeded(bench, "vanished", &[many_notes(0, 100, "row")?]).await?;
    let connection = bench.connect(Role::Source)?;
    let scan = bench.scan(connection.as_ref(), &asset).await?;
    let source = connection.source().ok_or("the connection has no source")?;
    let plan = source.plan(&scan).await?;
    bench.fixture.remove(&asset).await?;
    let outcome = async {
        let reader = source.open(&scan, &plan).await?;
        let mut rows = 0;
        for partition in 0..plan.partitions.len() {
            let mut stream = reader.read(partition).await?;
            while let Some(batch) = stream.next().await {
                rows += batch?.num_rows();
            }
        }
        Ok::<_, synqx_model::Error>(rows)
    };
    let error = bench.refused("a read of what is gone", outcome.await, Code::ALL)?;
    ensure(
        error.blame() != Blame::Bug,
        format!("it is taken for a bug: {error:?}"),
    )?;
    let codes = [Code::E0204, Code::E0209, Code::E0211, Code::E0215];
    ensure(
        codes.contains(&error.code()),
        format!("expected one of {codes:?}, got {error:?}"),
    )?;
    Ok(Verdict::Passed)
}

async fn huge_row(bench: &Bench<'_>) -> Checked {
    let budget = Budget::new(ByteSize::mib(16));
    let text: String = "abcdefgh".chars().cycle().take(6 << 20).collect();
    let rows = notes(&[(1, Some("small")), (2, Some(&text)), (3, None)])?;
    let asset = seeded(bench, "huge", std::slice::from_ref(&rows)).await?;
    let connection = bench.connect_with(Role::Source, budget.clone(), Arc::new(Quiet))?;
    let source = connection.source().ok_or("the connection has no source")?;
    // Whoever meets the value first tells: a description that samples rows, the plan, or the read.
    let outcome = async {
        let scan = bench.scan(connection.as_ref(), &asset).await?;
        let plan = source.plan(&scan).await?;
        let reader = source.open(&scan, &plan).await?;
        for partition in 0..plan.partitions.len() {
            let mut stream = reader.read(partition).await?;
            while let Some(batch) = stream.next().await {
                batch?;
            }
        }
        Ok(())
    };
    let error = bench.refused(
        "a row of 6 MiB with a budget of 16 MiB",
        outcome.await,
        &[Code::E0805],
    )?;
    ensure(
        format!("{error:?}").contains("note"),
        format!("the column is not named: {error:?}"),
    )?;
    let roomy = bench.connect(Role::Source)?;
    let (_, all) = bench.read(roomy.as_ref(), &asset, |_| {}).await?;
    same_rows(&Rows::of(&[rows]), &Rows::of(&all), &["id"])?;
    Ok(Verdict::Passed)
}

/// Waits until nothing is reserved any more: what works behind a stream needs a moment to notice that nobody listens.
async fn given_back(budget: &Budget) -> Result<(), Problem> {
    let waiting = async {
        while budget.used() > 0 {
            tokio::task::yield_now().await;
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(10), waiting).await;
    ensure(
        ended.is_ok(),
        format!("{} bytes are still reserved", budget.used()),
    )
}

async fn early_end(bench: &Bench<'_>) -> Checked {
    let rows: Vec<_> = (0..8)
        .map(|i| many_notes(i * 10_000, 10_000, "a row of the early end"))
        .collect::<Result<_, _>>()?;
    let asset = seeded(bench, "early", &rows).await?;
    let budget = Budget::new(ByteSize::mib(16));
    let connection = bench.connect_with(Role::Source, budget.clone(), Arc::new(Quiet))?;
    for batches in [0, 1] {
        let scan = bench.scan(connection.as_ref(), &asset).await?;
        let source = connection.source().ok_or("the connection has no source")?;
        let plan = source.plan(&scan).await?;
        let reader = source.open(&scan, &plan).await?;
        let mut stream = reader.read(0).await?;
        for _ in 0..batches {
            stream.next().await.ok_or("80,000 rows and not one batch")??;
        }
        drop(stream);
        drop(reader);
        given_back(&budget).await?;
    }
    let (_, all) = bench.read(connection.as_ref(), &asset, |_| {}).await?;
    same_rows(&Rows::of(&rows), &Rows::of(&all), &["id"])?;
    bench
        .fixture
        .remove(&asset)
        .await
        .map_err(|why| format!("a read that ended early still holds the asset: {why}"))?;
    Ok(Verdict::Passed)
}

async fn budget_is_returned(bench: &Bench<'_>) -> Checked {
    let asset = seeded(bench, "returned", &[many_notes(0, 20_000, "row")?]).await?;
    let budget = Budget::new(ByteSize::mib(16));
    let connection = bench.connect_with(Role::Source, budget.clone(), Arc::new(Quiet))?;
    bench.read(connection.as_ref(), &asset, |_| {}).await?;
    given_back(&budget).await?;
    ensure(
        budget.peak() <= budget.limit(),
        format!("{} bytes were reserved of {}", budget.peak(), budget.limit()),
    )?;
    Ok(Verdict::Passed)
}
