//! Destination cases about what can be held: every type, every awkward value, NULL everywhere, names, a big row.
//!
//! A type or value is held exactly or refused with a code and the column's name; it is never altered. One load per
//! type, so that one bad type does not hide another.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringViewArray, new_null_array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use synqx_model::{ByteSize, Code, Error};

use super::bench::*;
use super::report::Report;
use super::rows::{Rows, Value, same_rows};
use super::samples::{Sample, every_type};
use crate::annotation;
use crate::budget::Budget;
use crate::connector::{Connection, Role};
use crate::probe::Quiet;
use crate::type_names::render_type;

/// Codes with which a type may be refused before the run.
const TYPE_REFUSED: [Code; 4] = [Code::E0407, Code::E0403, Code::E0409, Code::E0406];
/// Codes with which a single value may be refused while it is written.
const VALUE_REFUSED: [Code; 7] = [
    Code::E0316,
    Code::E0307,
    Code::E0403,
    Code::E0404,
    Code::E0407,
    Code::E0208,
    Code::E0313,
];

pub(super) async fn run(bench: &Bench<'_>, report: &mut Report) {
    let samples = match every_type() {
        Ok(samples) => samples,
        Err(error) => return report.add("the suite's samples", super::Outcome::Failed(error.to_string())),
    };
    for sample in &samples {
        let name = format!("type {} round-trips or is refused before the run", sample.name);
        bench.case(report, name, holds_type(bench, sample)).await;
        for (what, value) in &sample.special {
            let name = format!("value {what} round-trips or is refused");
            bench.case(report, name, holds_value(bench, sample, value)).await;
        }
    }
    cases!(bench, report, {
        "NULL in every type" => nulls(bench, &samples),
        "a wide row of every type it holds" => wide(bench, &samples),
        "reserved words, quotes, dots, spaces and unicode as column names" => column_names(bench),
    });
    for name in TABLE_NAMES {
        bench
            .case(
                report,
                format!("an asset named {name:?}"),
                table_name(bench, name),
            )
            .await;
    }
    cases!(bench, report, {
        "names that differ in case only" => case_only(bench),
        "the longest identifier" => longest_identifier(bench),
        "a row near the row limit" => big_row(bench),
    });
}

/// Prepares a load of this schema; a refusal of the type is `Ok(Err(_))`.
async fn prepared(
    bench: &Bench<'_>,
    connection: &dyn Connection,
    asset: &str,
    schema: SchemaRef,
) -> Result<Result<(), Error>, Problem> {
    let destination = writing(connection)?;
    let target = bench.target(asset, schema, plain_mode(destination.limits())?);
    match destination.prepare(&target, true).await {
        Ok(_) => Ok(Ok(())),
        Err(error) if error.iter().any(|e| TYPE_REFUSED.contains(&e.code())) => {
            bench.hear_error(&error);
            Ok(Err(error))
        }
        Err(error) => Err(error.into()),
    }
}

async fn holds_type(bench: &Bench<'_>, sample: &Sample) -> Checked {
    let connection = bench.connect(Role::Destination)?;
    let asset = bench.fresh("type")?;
    if let Err(error) = prepared(bench, connection.as_ref(), &asset, sample.schema()).await? {
        let text = format!("{error:?}");
        ensure(
            text.contains("value"),
            format!("the refusal does not name the column: {text}"),
        )?;
        ensure(
            error.iter().all(|e| e.hint().is_some()),
            format!("the refusal has no hint: {text}"),
        )?;
        return Ok(Verdict::Refused(error.code(), error.message().to_owned()));
    }
    let batch = sample.batch(&sample.core)?;
    let mode = plain_mode(&bench.limits()?)?;
    let target = bench.target(&asset, sample.schema(), mode);
    bench
        .load(connection.as_ref(), &target, std::slice::from_ref(&batch))
        .await?;
    expect_values(bench, &asset, &batch).await?;
    Ok(Verdict::Passed)
}

async fn holds_value(bench: &Bench<'_>, sample: &Sample, value: &ArrayRef) -> Checked {
    let connection = bench.connect(Role::Destination)?;
    let asset = bench.fresh("value")?;
    if let Err(error) = prepared(bench, connection.as_ref(), &asset, sample.schema()).await? {
        return Ok(Verdict::Refused(error.code(), error.message().to_owned()));
    }
    let batch = sample.batch(value)?;
    let mode = plain_mode(&bench.limits()?)?;
    let target = bench.target(&asset, sample.schema(), mode);
    match bench
        .load(connection.as_ref(), &target, std::slice::from_ref(&batch))
        .await
    {
        Ok(_) => {
            expect_values(bench, &asset, &batch).await?;
            Ok(Verdict::Passed)
        }
        Err(error) => {
            let error = bench.refused::<()>("the value", Err(error), &VALUE_REFUSED)?;
            ensure(
                format!("{error:?}").contains("value"),
                format!("the refusal does not name the column: {error:?}"),
            )?;
            let rows = bench.rows(&asset).await?.unwrap_or_default();
            ensure(rows.rows.is_empty(), "the value was refused and rows are visible")?;
            Ok(Verdict::Refused(error.code(), error.message().to_owned()))
        }
    }
}

/// Like `Bench::expect`, where nested values may come back as JSON text and are then compared as JSON.
async fn expect_values(bench: &Bench<'_>, asset: &str, expected: &RecordBatch) -> Result<(), Problem> {
    let found = bench
        .batches(asset)
        .await?
        .ok_or_else(|| Problem(format!("{asset} does not exist")))?;
    let mut expected_rows = Rows::of(std::slice::from_ref(expected));
    let mut found_rows = Rows::of(&found);
    let Some(schema) = found.first().map(RecordBatch::schema) else {
        return Ok(same_rows(&expected_rows, &found_rows, &["id"])?);
    };
    if !bench.fixture.keeps_types() {
        only_what_kept_its_type(&mut expected_rows, &expected.schema(), &schema);
        only_what_kept_its_type(&mut found_rows, &schema, &expected.schema());
    }
    for (at, field) in schema.fields().iter().enumerate() {
        if annotation::is_json(field) {
            found_rows
                .rows
                .iter_mut()
                .filter_map(|row| row.get_mut(at))
                .for_each(as_json);
            let same = expected_rows.columns.iter().position(|name| name == field.name());
            let same =
                same.ok_or_else(|| format!("the asset has a column {:?} nobody wrote", field.name()))?;
            expected_rows
                .rows
                .iter_mut()
                .filter_map(|row| row.get_mut(same))
                .for_each(as_json);
        }
    }
    Ok(same_rows(&expected_rows, &found_rows, &["id"])?)
}

/// Of columns that have another type on the other side, only whether a value is there is compared.
fn only_what_kept_its_type(rows: &mut Rows, own: &Schema, other: &Schema) {
    for (at, field) in own.fields().iter().enumerate() {
        let word = |field: &Field| (render_type(field.data_type()), annotation::is_numeric_text(field));
        let same = other
            .field_with_name(field.name())
            .is_ok_and(|other| word(other) == word(field));
        let json =
            annotation::is_json(field) || other.field_with_name(field.name()).is_ok_and(annotation::is_json);
        for value in rows.rows.iter_mut().filter_map(|row| row.get_mut(at)) {
            // The NULL of a JSON document inside a JSON document is the NULL of the column.
            if json && *value == Value::Text("null".to_owned()) {
                *value = Value::Null;
            }
            if !same && *value != Value::Null {
                *value = Value::Text("a value".to_owned());
            }
        }
    }
}

/// Brings a value into one JSON spelling (keys sorted), so that documents are compared, not their white space.
fn as_json(value: &mut Value) {
    let json = match value {
        Value::Null => return,
        Value::Text(text) => serde_json::from_str(text).ok().map(sorted),
        Value::List(_) | Value::Struct(_) | Value::Map(_) => Some(sorted(json_of(value))),
        _ => None,
    };
    if let Some(json) = json {
        *value = Value::Text(json.to_string());
    }
}

fn json_of(value: &Value) -> serde_json::Value {
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(b) => (*b).into(),
        Value::Number(n) => serde_json::from_str(n).unwrap_or_else(|_| n.clone().into()),
        Value::Text(text) => text.clone().into(),
        Value::List(items) => items.iter().map(json_of).collect(),
        Value::Struct(parts) => parts
            .iter()
            .map(|(name, part)| (name.clone(), json_of(part)))
            .collect(),
        Value::Map(pairs) => pairs
            .iter()
            .map(|(key, part)| {
                (
                    if let Value::Text(k) = key {
                        k.clone()
                    } else {
                        key.to_string()
                    },
                    json_of(part),
                )
            })
            .collect(),
        other => other.to_string().into(),
    }
}

fn sorted(value: serde_json::Value) -> serde_json::Value {
    match value {
        serde_json::Value::Object(map) => {
            let mut pairs: Vec<_> = map.into_iter().map(|(key, item)| (key, sorted(item))).collect();
            pairs.sort_by(|a, b| a.0.cmp(&b.0));
            serde_json::Value::Object(pairs.into_iter().collect())
        }
        serde_json::Value::Array(items) => items.into_iter().map(sorted).collect(),
        other => other,
    }
}

/// The samples this destination accepts, as one schema: `id`, then one column per type.
async fn accepted<'s>(
    bench: &Bench<'_>,
    samples: &'s [Sample],
) -> Result<(Vec<&'s Sample>, SchemaRef), Problem> {
    let connection = bench.connect(Role::Destination)?;
    let asset = bench.fresh("accepted")?;
    let mut kept = Vec::new();
    for sample in samples {
        if prepared(bench, connection.as_ref(), &asset, sample.schema())
            .await?
            .is_ok()
        {
            kept.push(sample);
        }
    }
    let named = kept
        .iter()
        .enumerate()
        .map(|(i, s)| s.field.clone().with_name(format!("c{i}")));
    let fields: Vec<_> = std::iter::once(Field::new("id", DataType::Int64, false))
        .chain(named)
        .collect();
    Ok((kept, Arc::new(Schema::new(fields))))
}

async fn nulls(bench: &Bench<'_>, samples: &[Sample]) -> Checked {
    let (_, schema) = accepted(bench, samples).await?;
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..3));
    let columns = schema
        .fields()
        .iter()
        .skip(1)
        .map(|field| new_null_array(field.data_type(), 3));
    let batch = RecordBatch::try_new(Arc::clone(&schema), std::iter::once(ids).chain(columns).collect())?;
    let asset = bench.given("nulls", std::slice::from_ref(&batch)).await?;
    bench.expect(&asset, &[batch]).await?;
    Ok(Verdict::Passed)
}

async fn wide(bench: &Bench<'_>, samples: &[Sample]) -> Checked {
    let (kept, schema) = accepted(bench, samples).await?;
    let rows = 3;
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows));
    let columns = kept.iter().map(|sample| sample.core.slice(0, rows as usize));
    let batch = RecordBatch::try_new(schema, std::iter::once(ids).chain(columns).collect())?;
    let asset = bench.given("wide", std::slice::from_ref(&batch)).await?;
    expect_values(bench, &asset, &batch).await?;
    Ok(Verdict::Passed)
}

const AWKWARD: [&str; 19] = [
    "select",
    "order",
    "Order By",
    "double\"quote",
    "it's",
    "dot.ted",
    " lead",
    "trail ",
    "back\\slash",
    "semi;colon -- comment",
    "%s $1 ?",
    "ünïcödé",
    "日本語",
    "😀",
    "1digit",
    "tab\there",
    "comma,col",
    "{brace}[0]",
    "_synqx",
];

const TABLE_NAMES: [&str; 12] = [
    "select",
    "Order By",
    "double\"quote",
    "it's",
    "dot.ted",
    "back\\slash",
    "semi;colon -- comment",
    "%s $1",
    "ünïcödé",
    "日本語 😀",
    "1digit",
    "UPPER lower",
];

fn texts(names: &[String]) -> Result<RecordBatch, Problem> {
    let fields: Vec<_> = std::iter::once(Field::new("id", DataType::Int64, false))
        .chain(
            names
                .iter()
                .map(|name| Field::new(name, DataType::Utf8View, true)),
        )
        .collect();
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let cells = names
        .iter()
        .map(|name| Arc::new(StringViewArray::from(vec![name.as_str()])) as ArrayRef);
    Ok(RecordBatch::try_new(
        Arc::new(Schema::new(fields)),
        std::iter::once(ids).chain(cells).collect(),
    )?)
}

async fn column_names(bench: &Bench<'_>) -> Checked {
    let batch = texts(&AWKWARD.map(str::to_owned))?;
    if !bench.fixture.takes_any_name() {
        let connection = bench.connect(Role::Destination)?;
        let target = bench.target(
            &bench.fresh("names")?,
            batch.schema(),
            plain_mode(&bench.limits()?)?,
        );
        let refused = writing(connection.as_ref())?.prepare(&target, true).await;
        let error = bench.refused("odd names of columns", refused, &[Code::E0116])?;
        return Ok(Verdict::Refused(error.code(), error.message().to_owned()));
    }
    let asset = bench.given("names", std::slice::from_ref(&batch)).await?;
    bench.expect(&asset, std::slice::from_ref(&batch)).await?;
    let connection = bench.connect(Role::Source)?;
    let found = connection.describe(&bench.fixture.dataset(&asset)).await?;
    let names: Vec<_> = found.schema.fields().iter().map(|f| f.name().clone()).collect();
    let given: Vec<_> = batch.schema().fields().iter().map(|f| f.name().clone()).collect();
    ensure(
        names == given,
        format!("wrote the columns {given:?}, found {names:?}"),
    )?;
    for name in AWKWARD {
        let (_, batches) = bench
            .read(connection.as_ref(), &asset, |scan| {
                scan.columns = vec![name.into()]
            })
            .await?;
        same_rows(
            &Rows::of(std::slice::from_ref(&batch)).select(&[name.into()])?,
            &Rows::of(&batches),
            &[],
        )?;
    }
    Ok(Verdict::Passed)
}

async fn table_name(bench: &Bench<'_>, name: &str) -> Checked {
    let Some(asset) = bench.fixture.asset(name) else {
        return not_applicable("the system has no such names");
    };
    let connection = bench.connect(Role::Destination)?;
    let target = bench.target(&asset, notes_schema(), plain_mode(&bench.limits()?)?);
    let rows = [notes(&[(1, Some("a"))])?];
    bench.load(connection.as_ref(), &target, &rows).await?;
    bench.expect(&asset, &rows).await?;
    let listed = connection.discover(None).await?;
    let found = listed
        .iter()
        .filter(|a| a.name == asset || a.name.contains(name) || asset.contains(&a.name))
        .count();
    ensure(
        found > 0,
        format!(
            "discover does not list it: {:?}",
            listed.iter().map(|a| &a.name).collect::<Vec<_>>()
        ),
    )?;
    bench.no_leftovers().await?;
    Ok(Verdict::Passed)
}

async fn case_only(bench: &Bench<'_>) -> Checked {
    let batch = texts(&["name".to_owned(), "Name".to_owned(), "NAME".to_owned()])?;
    let connection = bench.connect(Role::Destination)?;
    let asset = bench.fresh("case")?;
    let refused = prepared(bench, connection.as_ref(), &asset, batch.schema()).await?;
    if bench.limits()?.case_insensitive {
        let error = refused
            .err()
            .ok_or("names that are one name there were accepted")?;
        ensure(
            error.iter().any(|e| e.code() == Code::E0406),
            format!("expected E0406, got {error:?}"),
        )?;
        return Ok(Verdict::Refused(error.code(), error.message().to_owned()));
    }
    refused?;
    let asset = bench.given("case", std::slice::from_ref(&batch)).await?;
    bench.expect(&asset, &[batch]).await?;
    Ok(Verdict::Passed)
}

async fn longest_identifier(bench: &Bench<'_>) -> Checked {
    let limits = bench.limits()?;
    let longest = limits.identifier_bytes.unwrap_or(120);
    let filled = |stem: &str, bytes: usize| format!("{stem}{}", "x".repeat(bytes.saturating_sub(stem.len())));
    let batch = texts(&[filled("first_", longest)])?;
    let connection = bench.connect(Role::Destination)?;
    let asset = bench
        .fixture
        .asset(&filled("long_", longest))
        .ok_or("the fixture cannot name a long asset")?;
    let target = bench.target(&asset, batch.schema(), plain_mode(&limits)?);
    bench
        .load(connection.as_ref(), &target, std::slice::from_ref(&batch))
        .await?;
    bench.expect(&asset, std::slice::from_ref(&batch)).await?;
    bench.no_leftovers().await?;
    if limits.identifier_bytes.is_none() {
        return Ok(Verdict::Passed);
    }
    let codes = [Code::E0116, Code::E0406, Code::E0401, Code::E0407];
    let destination = writing(connection.as_ref())?;
    let beyond = texts(&[filled("beyond_", longest + 1)])?;
    let target = bench.target(&bench.fresh("beyond")?, beyond.schema(), plain_mode(&limits)?);
    bench.refused(
        "a column name one byte too long",
        destination.prepare(&target, true).await,
        &codes,
    )?;
    if let Some(asset) = bench.fixture.asset(&filled("beyond_", longest + 1)) {
        let target = bench.target(&asset, notes_schema(), plain_mode(&limits)?);
        bench.refused(
            "an asset name one byte too long",
            destination.prepare(&target, true).await,
            &codes,
        )?;
    }
    Ok(Verdict::Passed)
}

async fn big_row(bench: &Bench<'_>) -> Checked {
    let budget = Budget::new(ByteSize::mib(48));
    let row_limit = usize::try_from(budget.row_limit()).map_err(|e| e.to_string())?;
    let connection = bench.connect_with(Role::Destination, budget, Arc::new(Quiet))?;
    let size = row_limit - (1 << 20);
    // Characters that grow when they are escaped would make the written form larger than the row.
    let text: String = "abcdefghijklmnopqrstuvwxyz".chars().cycle().take(size).collect();
    let rows = [notes(&[(1, Some(&text)), (2, Some("small"))])?];
    let asset = bench.fresh("big")?;
    let target = bench.target(&asset, notes_schema(), plain_mode(&bench.limits()?)?);
    bench.load(connection.as_ref(), &target, &rows).await?;
    bench.expect(&asset, &rows).await?;
    Ok(Verdict::Passed)
}
