//! Destination cases about modes that delete: delete_insert, mirror, going back, and schema policies in every mode.
//!
//! Every destination that declares a mode runs the same cases, so a mode means one thing everywhere. Each case looks at
//! all rows afterwards, and at the counts, which must close.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Int64Array, StringViewArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use synqx_model::Code;
use synqx_model::spec::{DeleteHow, ReplaceOptions, SchemaPolicy, WriteMode};

use super::bench::*;
use super::evolution::POLICIES;
use super::report::Report;
use crate::connector::Role;
use crate::write::{OrderBy, Receipt, Target};

pub(super) async fn run(bench: &Bench<'_>, report: &mut Report) {
    cases!(bench, report, {
        "delete_insert replaces the slices that arrive and no others" => slices(bench),
        "delete_insert takes NULL for a slice of its own" => null_slice(bench),
        "delete_insert by several columns" => two_columns(bench),
        "delete_insert of no rows changes nothing" => no_slice(bench),
        "delete_insert without its column is refused" => no_such_slice(bench),
        "mirror inserts, updates and deletes, and its counts close" => mirrors(bench),
        "mirror refuses to delete too much, and changes nothing" => mass_deletion(bench),
        "mirror of no rows is refused" => mirror_nothing(bench),
        "mirror deletes within its scope only" => scoped(bench),
        "mirror refuses rows outside its scope" => strangers(bench),
        "mirror marks, and takes the mark away again" => marks(bench),
        "mirror takes what the source says, also when it is older" => mirror_older(bench),
        "rollback puts the replaced rows back, once" => rolls_back(bench),
    });
    let modes = [
        WriteMode::Upsert,
        WriteMode::DeleteInsert,
        WriteMode::Mirror,
        WriteMode::Scd2,
    ];
    for mode in modes {
        for (policy, word) in POLICIES {
            let name = format!("{} under schema {word}", mode.as_str());
            bench.case(report, name, differs(bench, mode, policy)).await;
        }
    }
}

/// A column that the target lacks, and a type that it cannot hold, in a mode and under a policy.
async fn differs(bench: &Bench<'_>, mode: WriteMode, policy: SchemaPolicy) -> Checked {
    if !bench.limits()?.modes.contains(&mode) {
        return not_applicable(format!("{} is not a mode of this destination", mode.as_str()));
    }
    let asset = bench.fresh("policy")?;
    let target = |schema: SchemaRef| {
        let mut target = bench.target(&asset, schema, mode);
        target.policy = policy;
        target.key = if target.has_key() {
            vec!["id".into()]
        } else {
            Vec::new()
        };
        if mode == WriteMode::DeleteInsert {
            target.partition_by = vec!["id".into()];
        }
        target
    };
    let first = target(schema());
    load(bench, &first, &[rows(&[(1, Some("a"), "old")])?]).await?;
    let wide = with_column(
        &rows(&[(1, Some("a"), "new")])?,
        "extra",
        Arc::new(Int64Array::from(vec![7])),
    )?;
    let narrow = rows(&[(1, Some("a"), "new")])?;
    let mistyped = with_column(
        &narrow.project(&[0, 1])?,
        "note",
        Arc::new(BooleanArray::from(vec![true])),
    )?;
    let wrong = later(&first, || target(mistyped.schema()));
    let connection = bench.connect(Role::Destination)?;
    let outcome = bench
        .load(connection.as_ref(), &wrong, std::slice::from_ref(&mistyped))
        .await;
    bench.refused("a type that does not fit", outcome, &super::evolution::DIFFERS)?;
    let next = later(&first, || target(wide.schema()));
    if policy == SchemaPolicy::Strict {
        refused(bench, &next, wide, Code::E0405).await?;
        return Ok(Verdict::Passed);
    }
    let receipt = load(bench, &next, &[wide]).await?;
    ensure(
        receipt.inserted + receipt.updated == 1,
        format!("one row is new or changed: {receipt:?}"),
    )?;
    let found = whole(bench, &asset).await?;
    let extra = found
        .column_by_name("extra")
        .map(|column| column.len() - column.null_count());
    let wanted = (policy == SchemaPolicy::Evolve).then_some(1);
    ensure(
        extra == wanted,
        format!("values of the column that was added: {extra:?}, not {wanted:?}"),
    )?;
    Ok(Verdict::Passed)
}

/// A batch with one more column.
fn with_column(batch: &RecordBatch, name: &str, array: ArrayRef) -> Result<RecordBatch, Problem> {
    let mut fields: Vec<Field> = batch
        .schema()
        .fields()
        .iter()
        .map(|f| f.as_ref().clone())
        .collect();
    fields.push(Field::new(name, array.data_type().clone(), true));
    let mut columns = batch.columns().to_vec();
    columns.push(array);
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
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

pub(super) fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("part", DataType::Utf8View, true),
        Field::new("note", DataType::Utf8View, true),
    ]))
}

pub(super) type Row<'a> = (i64, Option<&'a str>, &'a str);

pub(super) fn rows(rows: &[Row<'_>]) -> Result<RecordBatch, Problem> {
    let ids: ArrayRef = Arc::new(rows.iter().map(|row| Some(row.0)).collect::<Int64Array>());
    let parts: ArrayRef = Arc::new(rows.iter().map(|row| row.1).collect::<StringViewArray>());
    let texts: ArrayRef = Arc::new(StringViewArray::from_iter_values(rows.iter().map(|row| row.2)));
    Ok(RecordBatch::try_new(schema(), vec![ids, parts, texts])?)
}

/// Loads into a target; what it did.
pub(super) async fn load(
    bench: &Bench<'_>,
    target: &Target,
    batches: &[RecordBatch],
) -> Result<Receipt, Problem> {
    let connection = bench.connect(Role::Destination)?;
    let receipt = bench.load(connection.as_ref(), target, batches).await?;
    let given: usize = batches.iter().map(RecordBatch::num_rows).sum();
    let sum = receipt.inserted + receipt.updated + receipt.unchanged + receipt.superseded;
    ensure(
        sum == given as u64,
        format!("{given} rows went in, the receipt accounts for {sum}: {receipt:?}"),
    )?;
    bench.no_leftovers().await?;
    Ok(receipt)
}

pub(super) fn counts(receipt: &Receipt, wanted: [u64; 5]) -> Result<(), Problem> {
    let found = [
        receipt.inserted,
        receipt.updated,
        receipt.unchanged,
        receipt.superseded,
        receipt.deleted,
    ];
    ensure(
        found == wanted,
        format!("inserted, updated, unchanged, superseded, deleted: {found:?}, not {wanted:?}"),
    )
}

/// A load that must be refused with a code; the asset keeps what it has.
pub(super) async fn refused(
    bench: &Bench<'_>,
    target: &Target,
    batch: RecordBatch,
    code: Code,
) -> Result<(), Problem> {
    let before = bench.batches(&target.asset).await?;
    let connection = bench.connect(Role::Destination)?;
    let outcome = bench.load(connection.as_ref(), target, &[batch]).await;
    bench.refused("the load", outcome, &[code])?;
    if let Some(before) = before {
        bench.expect(&target.asset, &before).await?;
    }
    Ok(())
}

fn sliced(bench: &Bench<'_>, asset: &str, by: &[&str]) -> Target {
    let mut target = bench.target(asset, schema(), WriteMode::DeleteInsert);
    target.partition_by = by.iter().map(|name| (*name).to_owned()).collect();
    target
}

async fn slices(bench: &Bench<'_>) -> Checked {
    needs!(bench, DeleteInsert);
    let asset = bench.fresh("slices")?;
    let first = rows(&[
        (1, Some("a"), "old"),
        (2, Some("a"), "old"),
        (3, Some("b"), "old"),
        (4, Some("A"), "old"),
    ])?;
    counts(
        &load(bench, &sliced(bench, &asset, &["part"]), &[first]).await?,
        [4, 0, 0, 0, 0],
    )?;
    let next = [
        rows(&[(1, Some("a"), "new"), (5, Some("c"), "new")])?,
        rows(&[(1, Some("a"), "twice is twice")])?,
    ];
    let receipt = load(bench, &sliced(bench, &asset, &["part"]), &next).await?;
    counts(&receipt, [3, 0, 0, 0, 2])?;
    let after = rows(&[
        (1, Some("a"), "new"),
        (1, Some("a"), "twice is twice"),
        (3, Some("b"), "old"),
        (4, Some("A"), "old"),
        (5, Some("c"), "new"),
    ])?;
    bench.expect(&asset, &[after]).await?;
    Ok(Verdict::Passed)
}

async fn null_slice(bench: &Bench<'_>) -> Checked {
    needs!(bench, DeleteInsert);
    let asset = bench.fresh("nulls")?;
    let first = rows(&[(1, None, "old"), (2, None, "old"), (3, Some(""), "old")])?;
    load(bench, &sliced(bench, &asset, &["part"]), &[first]).await?;
    let next = rows(&[(9, None, "new")])?;
    let receipt = load(bench, &sliced(bench, &asset, &["part"]), &[next]).await?;
    counts(&receipt, [1, 0, 0, 0, 2])?;
    bench
        .expect(&asset, &[rows(&[(9, None, "new"), (3, Some(""), "old")])?])
        .await?;
    Ok(Verdict::Passed)
}

async fn two_columns(bench: &Bench<'_>) -> Checked {
    needs!(bench, DeleteInsert);
    let asset = bench.fresh("two")?;
    let by = ["part", "note"];
    let first = rows(&[
        (1, Some("a"), "x"),
        (2, Some("a"), "y"),
        (3, Some("b"), "x"),
        (4, None, "x"),
        (5, None, "y"),
    ])?;
    load(bench, &sliced(bench, &asset, &by), &[first]).await?;
    let next = rows(&[(10, Some("a"), "x"), (40, None, "x")])?;
    let receipt = load(bench, &sliced(bench, &asset, &by), &[next]).await?;
    counts(&receipt, [2, 0, 0, 0, 2])?;
    let after = rows(&[
        (10, Some("a"), "x"),
        (2, Some("a"), "y"),
        (3, Some("b"), "x"),
        (40, None, "x"),
        (5, None, "y"),
    ])?;
    bench.expect(&asset, &[after]).await?;
    Ok(Verdict::Passed)
}

async fn no_slice(bench: &Bench<'_>) -> Checked {
    needs!(bench, DeleteInsert);
    let asset = bench.fresh("none")?;
    let first = rows(&[(1, Some("a"), "old"), (2, None, "old")])?;
    load(
        bench,
        &sliced(bench, &asset, &["part"]),
        std::slice::from_ref(&first),
    )
    .await?;
    let receipt = load(bench, &sliced(bench, &asset, &["part"]), &[rows(&[])?]).await?;
    counts(&receipt, [0, 0, 0, 0, 0])?;
    bench.expect(&asset, &[first]).await?;
    Ok(Verdict::Passed)
}

async fn no_such_slice(bench: &Bench<'_>) -> Checked {
    needs!(bench, DeleteInsert);
    let asset = bench.fresh("wrong")?;
    refused(bench, &sliced(bench, &asset, &["prat"]), rows(&[])?, Code::E0401).await?;
    refused(bench, &sliced(bench, &asset, &[]), rows(&[])?, Code::E0103).await?;
    Ok(Verdict::Passed)
}

fn mirror(bench: &Bench<'_>, asset: &str) -> Target {
    let mut target = bench.target(asset, schema(), WriteMode::Mirror);
    target.key = vec!["id".into()];
    target
}

/// An asset mirrored from four rows.
async fn mirrored(bench: &Bench<'_>, change: impl Fn(&mut Target)) -> Result<(String, Target), Problem> {
    let asset = bench.fresh("mirror")?;
    let mut target = mirror(bench, &asset);
    change(&mut target);
    let first = rows(&[
        (1, Some("a"), "one"),
        (2, Some("a"), "two"),
        (3, Some("a"), "three"),
        (4, Some("a"), "four"),
    ])?;
    counts(&load(bench, &target, &[first]).await?, [4, 0, 0, 0, 0])?;
    let mut next = mirror(bench, &asset);
    change(&mut next);
    Ok((asset, next))
}

async fn mirrors(bench: &Bench<'_>) -> Checked {
    needs!(bench, Mirror);
    let (asset, target) = mirrored(bench, |_| {}).await?;
    let next = [
        rows(&[(1, Some("a"), "one"), (2, Some("a"), "changed")])?,
        rows(&[(4, Some("a"), "four"), (5, Some("a"), "five")])?,
    ];
    counts(&load(bench, &target, &next).await?, [1, 1, 2, 0, 1])?;
    bench.expect(&asset, &next).await?;
    Ok(Verdict::Passed)
}

async fn mass_deletion(bench: &Bench<'_>) -> Checked {
    needs!(bench, Mirror);
    let (asset, target) = mirrored(bench, |_| {}).await?;
    let next = rows(&[(1, Some("a"), "changed")])?;
    refused(bench, &target, next.clone(), Code::E0318).await?;
    let mut allowed = mirror(bench, &asset);
    allowed.mirror.max_delete_percent = 75;
    counts(
        &load(bench, &allowed, std::slice::from_ref(&next)).await?,
        [0, 1, 0, 0, 3],
    )?;
    bench.expect(&asset, &[next]).await?;
    Ok(Verdict::Passed)
}

async fn mirror_nothing(bench: &Bench<'_>) -> Checked {
    needs!(bench, Mirror);
    let (asset, target) = mirrored(bench, |_| {}).await?;
    refused(bench, &target, rows(&[])?, Code::E0318).await?;
    let mut allowed = mirror(bench, &asset);
    allowed.mirror.max_delete_percent = 100;
    counts(&load(bench, &allowed, &[]).await?, [0, 0, 0, 0, 4])?;
    let left = bench.rows(&asset).await?.ok_or("the target is gone")?;
    ensure(left.rows.is_empty(), "rows are left")?;
    Ok(Verdict::Passed)
}

fn in_part(target: &mut Target, parts: serde_json::Value) {
    target.mirror.scope.0 = vec![("part".to_owned(), parts)];
}

async fn scoped(bench: &Bench<'_>) -> Checked {
    needs!(bench, Mirror);
    let asset = bench.fresh("scope")?;
    let first = rows(&[
        (1, Some("a"), "one"),
        (2, Some("a"), "two"),
        (3, Some("b"), "three"),
        (4, None, "four"),
        (5, Some("c"), "five"),
        (6, Some("a"), "six"),
    ])?;
    load(bench, &mirror(bench, &asset), &[first]).await?;
    let mut target = mirror(bench, &asset);
    in_part(&mut target, serde_json::json!(["a", null]));
    let next = rows(&[
        (1, Some("a"), "one"),
        (6, Some("a"), "changed"),
        (7, None, "seven"),
    ])?;
    counts(&load(bench, &target, &[next]).await?, [1, 1, 1, 0, 2])?;
    let after = rows(&[
        (1, Some("a"), "one"),
        (3, Some("b"), "three"),
        (5, Some("c"), "five"),
        (6, Some("a"), "changed"),
        (7, None, "seven"),
    ])?;
    bench.expect(&asset, &[after]).await?;
    Ok(Verdict::Passed)
}

async fn strangers(bench: &Bench<'_>) -> Checked {
    needs!(bench, Mirror);
    let (_, mut target) = mirrored(bench, |_| {}).await?;
    in_part(&mut target, serde_json::json!("a"));
    let next = rows(&[(1, Some("a"), "x"), (2, Some("b"), "x"), (3, None, "x")])?;
    refused(bench, &target, next, Code::E0307).await?;
    Ok(Verdict::Passed)
}

async fn marks(bench: &Bench<'_>) -> Checked {
    needs!(bench, Mirror);
    let soft = |target: &mut Target| {
        target.mirror.delete = DeleteHow::Soft;
        target.mirror.marker = "gone_at".into();
    };
    let (asset, target) = mirrored(bench, soft).await?;
    let kept = [(1, Some("a"), "one"), (2, Some("a"), "two")];
    counts(&load(bench, &target, &[rows(&kept)?]).await?, [0, 0, 2, 0, 2])?;
    let found = whole(bench, &asset).await?;
    ensure(found.num_rows() == 4, "marked rows stay")?;
    ensure(marked(&found)? == 2, "two rows are marked")?;
    // The same again: what is marked is not deleted a second time.
    let mut again = mirror(bench, &asset);
    soft(&mut again);
    counts(&load(bench, &again, &[rows(&kept)?]).await?, [0, 0, 2, 0, 0])?;
    let mut back = mirror(bench, &asset);
    soft(&mut back);
    let three = rows(&[kept[0], kept[1], (3, Some("a"), "three")])?;
    counts(&load(bench, &back, &[three]).await?, [0, 1, 2, 0, 0])?;
    ensure(
        marked(&whole(bench, &asset).await?)? == 1,
        "a row that is back is not marked",
    )?;
    Ok(Verdict::Passed)
}

fn marked(batch: &RecordBatch) -> Result<usize, Problem> {
    let column = batch.column_by_name("gone_at").ok_or("there is no marker")?;
    Ok(column.len() - column.null_count())
}

async fn mirror_older(bench: &Bench<'_>) -> Checked {
    needs!(bench, Mirror);
    let ordered = |target: &mut Target| target.order_by = vec![OrderBy::parse("note")];
    let (asset, target) = mirrored(bench, ordered).await?;
    let next = rows(&[
        (1, Some("a"), "aaa"),
        (2, Some("a"), "two"),
        (2, Some("a"), "lost"),
        (3, Some("a"), "three"),
        (4, Some("a"), "four"),
    ])?;
    counts(&load(bench, &target, &[next]).await?, [0, 1, 3, 1, 0])?;
    let after = rows(&[
        (1, Some("a"), "aaa"),
        (2, Some("a"), "two"),
        (3, Some("a"), "three"),
        (4, Some("a"), "four"),
    ])?;
    bench.expect(&asset, &[after]).await?;
    Ok(Verdict::Passed)
}

/// All rows as one batch.
pub(super) async fn whole(bench: &Bench<'_>, asset: &str) -> Result<RecordBatch, Problem> {
    let batches = bench.batches(asset).await?.ok_or("the target does not exist")?;
    let schema = batches.first().ok_or("the target has no rows")?.schema();
    Ok(concat_batches(&schema, &batches)?)
}

/// Runs have times of their own, a millisecond apart at least.
pub(super) fn later(than: &Target, make: impl Fn() -> Target) -> Target {
    loop {
        let target = make();
        if target.run.started_ms() > than.run.started_ms() {
            return target;
        }
        std::hint::spin_loop();
    }
}

async fn rolls_back(bench: &Bench<'_>) -> Checked {
    needs!(bench, Replace);
    let connection = bench.connect(Role::Destination)?;
    let destination = writing(connection.as_ref())?;
    let asset = bench.given("back", &[many_notes(0, 20, "old")?]).await?;
    let target = |keep_previous| {
        let mut target = bench.target(&asset, notes_schema(), WriteMode::Replace);
        target.replace = ReplaceOptions {
            keep_previous,
            ..ReplaceOptions::default()
        };
        target
    };
    let none = destination.rollback(&target(true)).await;
    bench.refused(
        "a rollback without a previous version",
        none,
        &[Code::E0304, Code::E0310],
    )?;
    let new = [many_notes(100, 7, "new")?];
    for _ in 0..2 {
        bench.load(connection.as_ref(), &target(true), &new).await?;
        bench.expect(&asset, &new).await?;
    }
    // The second replace kept the rows of the first.
    let newest = [many_notes(200, 3, "newest")?];
    let run = target(true);
    bench.load(connection.as_ref(), &run, &newest).await?;
    let receipt = destination.rollback(&target(true)).await?;
    counts(&receipt, [7, 0, 0, 0, 3])?;
    bench.expect(&asset, &new).await?;
    let (load, _) = start(connection.as_ref(), &run, crate::write::FenceClaim::Next).await?;
    ensure(
        load.committed().is_none_or(|committed| committed.run != run.run),
        "the run that was rolled back still counts as committed",
    )?;
    load.abort().await?;
    let again = destination.rollback(&target(true)).await;
    bench.refused("a second rollback", again, &[Code::E0304])?;
    bench.expect(&asset, &new).await?;
    bench.no_leftovers().await?;
    Ok(Verdict::Passed)
}
