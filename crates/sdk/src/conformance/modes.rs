//! Destination cases about modes that delete or keep history: delete_insert, mirror, scd2, and going back.
//!
//! Every destination that declares a mode runs the same cases, so a mode means one thing everywhere. Each case looks at
//! all rows afterwards, and at the counts, which must close.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, StringViewArray, TimestampMicrosecondArray,
};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
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
        "scd2 opens, closes and leaves alone" => history(bench),
        "scd2 of the same rows again changes nothing" => history_again(bench),
        "scd2 puts several versions of a key in order" => history_order(bench),
        "scd2 leaves late versions out" => history_late(bench),
        "scd2 refuses one time with two values" => history_clash(bench),
        "scd2 refuses NULL keys and NULL times" => history_nulls(bench),
        "scd2 refuses versions that tie" => history_ties(bench),
        "scd2 closes keys that do not arrive and opens them when they come back" => history_missing(bench),
        "scd2 compares the tracked columns only" => history_track(bench),
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
    let outcome = bench.load(connection.as_ref(), &wrong, &[mistyped.clone()]).await;
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

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("part", DataType::Utf8View, true),
        Field::new("note", DataType::Utf8View, true),
    ]))
}

type Row<'a> = (i64, Option<&'a str>, &'a str);

fn rows(rows: &[Row<'_>]) -> Result<RecordBatch, Problem> {
    let ids: ArrayRef = Arc::new(rows.iter().map(|row| Some(row.0)).collect::<Int64Array>());
    let parts: ArrayRef = Arc::new(rows.iter().map(|row| row.1).collect::<StringViewArray>());
    let texts: ArrayRef = Arc::new(StringViewArray::from_iter_values(rows.iter().map(|row| row.2)));
    Ok(RecordBatch::try_new(schema(), vec![ids, parts, texts])?)
}

/// Loads into a target; what it did.
async fn load(bench: &Bench<'_>, target: &Target, batches: &[RecordBatch]) -> Result<Receipt, Problem> {
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

fn counts(receipt: &Receipt, wanted: [u64; 5]) -> Result<(), Problem> {
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
async fn refused(bench: &Bench<'_>, target: &Target, batch: RecordBatch, code: Code) -> Result<(), Problem> {
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

/// All rows as one batch.
async fn whole(bench: &Bench<'_>, asset: &str) -> Result<RecordBatch, Problem> {
    let batches = bench.batches(asset).await?.ok_or("the target does not exist")?;
    let schema = batches.first().ok_or("the target has no rows")?.schema();
    Ok(concat_batches(&schema, &batches)?)
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

/// Runs have times of their own, a millisecond apart at least.
fn later(than: &Target, make: impl Fn() -> Target) -> Target {
    loop {
        let target = make();
        if target.run.started_ms() > than.run.started_ms() {
            return target;
        }
        std::hint::spin_loop();
    }
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
