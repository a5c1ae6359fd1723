//! Files of one read that do not have the same columns: refused, or joined without losing anything.
//!
//! `schema_drift: fail` names the file and the column. `union` takes the columns of all files: what a file lacks is
//! NULL there, numbers and times are widened where every value stays what it is. The parts of a folder whose manifest
//! lists them are always joined: their manifest says which columns the table has. Order never matters, names do.

use std::sync::Arc;

use arrow::array::{ArrayRef, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use synqx_model::{Code, Error, Result};
use synqx_sdk::TableSchema;
use synqx_sdk::type_names::render_type;

use crate::content::damaged;
use crate::read::FileTask;

/// What a file that knows its types says about itself.
#[derive(Debug)]
pub(crate) struct Seen {
    /// Its columns, in the types of the house.
    pub(crate) schema: SchemaRef,
    /// Its rows.
    pub(crate) rows: Option<u64>,
    /// Sentences a person should read.
    pub(crate) notes: Vec<String>,
}

impl Seen {
    /// What an empty file says.
    pub(crate) fn nothing() -> Self {
        Seen {
            schema: Arc::new(Schema::empty()),
            rows: Some(0),
            notes: Vec::new(),
        }
    }
}

/// Describes files that know their types. Errors: `E0206`, `E0402`, and those of `look`.
pub(crate) fn describe(looks: &[FileTask], look: impl Fn(&FileTask) -> Result<Seen>) -> Result<TableSchema> {
    let mut fields: Vec<Arc<Field>> = Vec::new();
    let (mut rows, mut notes, mut lacking) = (Some(0u64), Vec::new(), 0usize);
    for (index, task) in looks.iter().enumerate() {
        let seen = look(task)?;
        rows = rows.zip(seen.rows).map(|(sum, more)| sum + more);
        if index == 0 {
            notes.extend(seen.notes);
            fields.extend(seen.schema.fields().iter().cloned());
            continue;
        }
        let first = &looks[0].entry.label;
        lacking += usize::from(join(&mut fields, &seen.schema, (task, first), &mut notes)?);
    }
    if lacking > 0 {
        notes.push(format!(
            "{lacking} of {} files have other columns; what a file lacks is NULL there",
            looks.len()
        ));
    }
    let mut table = TableSchema::of(Arc::new(Schema::new(fields)), "");
    table.rows = rows;
    table.rows_at_most = rows;
    table.notes = notes;
    Ok(table)
}

/// Adds the columns of a file to those known; whether they differ.
fn join(
    fields: &mut Vec<Arc<Field>>,
    schema: &Schema,
    (task, first): (&FileTask, &str),
    notes: &mut Vec<String>,
) -> Result<bool> {
    let label = &task.entry.label;
    let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
    let lacking: Vec<String> = fields
        .iter()
        .filter(|known| !names.contains(&known.name().as_str()))
        .map(|known| known.name().clone())
        .collect();
    let beyond: Vec<String> = names
        .iter()
        .filter(|name| !fields.iter().any(|known| known.name() == *name))
        .map(|name| (*name).to_owned())
        .collect();
    let differ = !lacking.is_empty() || !beyond.is_empty();
    if differ && !task.lenient {
        return Err(other_columns((label, first), &lacking, &beyond));
    }
    for known in fields.iter_mut().filter(|known| lacking.contains(known.name())) {
        *known = Arc::new(known.as_ref().clone().with_nullable(true));
    }
    for field in schema.fields() {
        let Some(known) = fields.iter_mut().find(|known| known.name() == field.name()) else {
            fields.push(Arc::new(field.as_ref().clone().with_nullable(true)));
            continue;
        };
        let nullable = known.is_nullable() || field.is_nullable();
        if known.data_type() != field.data_type() {
            let wider = task
                .lenient
                .then(|| wider(known.data_type(), field.data_type()))
                .flatten();
            let Some(wider) = wider else {
                return Err(other_type((known, first), (field, label), task.lenient));
            };
            if wider != *known.data_type() {
                notes.push(format!(
                    "column `{}` is {} in some files and is widened to {}",
                    field.name(),
                    render_type(known.data_type()),
                    render_type(&wider)
                ));
            }
            *known = Arc::new(known.as_ref().clone().with_data_type(wider));
        }
        if nullable != known.is_nullable() {
            *known = Arc::new(known.as_ref().clone().with_nullable(nullable));
        }
    }
    Ok(differ)
}

/// The error for a file whose columns are not those of the first one.
pub(crate) fn other_columns((label, first): (&str, &str), lacking: &[String], beyond: &[String]) -> Error {
    let list = |names: &[String]| {
        let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        quoted.join(", ")
    };
    let mut detail = Vec::new();
    for (names, what) in [(lacking, "lacks"), (beyond, "adds")] {
        if !names.is_empty() {
            detail.push(format!("it {what} {}", list(names)));
        }
    }
    Error::new(Code::E0206, format!("`{label}` has other columns than `{first}`"))
        .with_detail(format!("Compared with `{first}`, {}.", detail.join("; ")))
        .with_hint(
            "write `options: { schema_drift: union }` to read what a file lacks as NULL, or read files with other \
             columns in an extract of their own",
        )
}

fn other_type((known, first): (&Field, &str), (field, label): (&Field, &str), lenient: bool) -> Error {
    let error = Error::new(
        Code::E0402,
        format!(
            "column `{}` is {} in `{label}` and {} in other files",
            field.name(),
            render_type(field.data_type()),
            render_type(known.data_type())
        ),
    )
    .with_detail(format!("The first file is `{first}`."));
    match lenient {
        true => error.with_hint("read the files in two extracts, cast the column and use `union`"),
        false => error.with_hint(
            "write `options: { schema_drift: union }` if the types differ in width only, or read the files in two \
             extracts and cast the column",
        ),
    }
}

/// The narrowest type that holds every value of both, where there is one.
pub(crate) fn wider(a: &DataType, b: &DataType) -> Option<DataType> {
    use DataType::{Decimal128, Decimal256, Float32, Float64, Int64, Null, Timestamp};
    if a == b {
        return Some(a.clone());
    }
    let integer = |t: &DataType| -> Option<(u8, bool)> {
        Some(match t {
            DataType::Int8 => (8, true),
            DataType::Int16 => (16, true),
            DataType::Int32 => (32, true),
            Int64 => (64, true),
            DataType::UInt8 => (8, false),
            DataType::UInt16 => (16, false),
            DataType::UInt32 => (32, false),
            DataType::UInt64 => (64, false),
            _ => return None,
        })
    };
    let decimal = |t: &DataType| -> Option<(u8, i8)> {
        match (t, integer(t)) {
            (Decimal128(p, s) | Decimal256(p, s), _) if *s >= 0 => Some((*p, *s)),
            (_, Some((bits, _))) => Some((if bits == 64 { 20 } else { 10 }, 0)),
            _ => None,
        }
    };
    match (a, b) {
        (Null, other) | (other, Null) => return Some(other.clone()),
        (Float32, Float64) | (Float64, Float32) => return Some(Float64),
        (float @ (Float32 | Float64), whole) | (whole, float @ (Float32 | Float64)) => {
            // As many bits as a float has digits for.
            let bits = integer(whole)?.0;
            return match (float, bits) {
                (Float32, ..=16) => Some(Float32),
                (_, ..=32) => Some(Float64),
                _ => None,
            };
        }
        (Timestamp(u, x), Timestamp(v, y)) if x.is_some() == y.is_some() => {
            let rank = |unit: &TimeUnit| {
                [
                    TimeUnit::Second,
                    TimeUnit::Millisecond,
                    TimeUnit::Microsecond,
                    TimeUnit::Nanosecond,
                ]
                .iter()
                .position(|u| u == unit)
            };
            let finer = if rank(u) >= rank(v) { u } else { v };
            return Some(Timestamp(*finer, x.clone()));
        }
        _ => {}
    }
    if let (Some((m, s)), Some((n, t))) = (integer(a), integer(b)) {
        return match (s, t) {
            (true, true) => Some(if m >= n { a.clone() } else { b.clone() }),
            (false, false) => Some(if m >= n { a.clone() } else { b.clone() }),
            _ => {
                let (signed, unsigned) = if s { (m, n) } else { (n, m) };
                match signed.max(unsigned.saturating_mul(2)) {
                    16 => Some(DataType::Int16),
                    32 => Some(DataType::Int32),
                    64 => Some(Int64),
                    _ => Some(Decimal128(20, 0)),
                }
            }
        };
    }
    let ((p, s), (q, t)) = (decimal(a)?, decimal(b)?);
    let scale = s.max(t);
    let whole = (i16::from(p) - i16::from(s)).max(i16::from(q) - i16::from(t));
    match u8::try_from(whole + i16::from(scale)).ok()? {
        precision @ ..=38 => Some(Decimal128(precision, scale)),
        precision @ ..=76 => Some(Decimal256(precision, scale)),
        _ => None,
    }
}

/// Whether a file has the columns the read was planned with. Errors: `E0206`.
pub(crate) fn same_columns(task: &FileTask, names: &[String]) -> Result<()> {
    let lacking = task
        .columns
        .iter()
        .filter(|c| !names.contains(c) && !task.lenient);
    let lacking: Vec<String> = lacking.map(|c| format!("`{c}`")).collect();
    let beyond = names.iter().filter(|n| !task.columns.contains(n));
    let beyond: Vec<String> = beyond.map(|n| format!("`{n}`")).collect();
    if lacking.is_empty() && beyond.is_empty() {
        return Ok(());
    }
    let list = |names: &[String]| match names {
        [] => "none".to_owned(),
        names => names.join(", "),
    };
    Err(Error::new(
        Code::E0206,
        format!(
            "the columns of `{}` are not those the read was planned with",
            task.entry.label
        ),
    )
    .with_detail(format!("Missing: {}. Unknown: {}.", list(&lacking), list(&beyond)))
    .with_hint(
        "write `options: { schema_drift: union }` and declare the columns, read files with other columns in an \
         extract of their own, or fix the file's header",
    ))
}

/// The batch in the planned types; columns the file lacks are NULL. Errors: `E0206`, `E0402`.
pub(crate) fn conform(task: &FileTask, batch: &RecordBatch) -> Result<RecordBatch> {
    let mut arrays: Vec<ArrayRef> = Vec::with_capacity(task.file_schema.fields().len());
    let strict = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    for field in task.file_schema.fields() {
        arrays.push(match batch.column_by_name(field.name()) {
            None if task.lenient => new_null_array(field.data_type(), batch.num_rows()),
            None => {
                let lacking = [field.name().clone()];
                return Err(other_columns((&task.entry.label, "the plan"), &lacking, &[]));
            }
            Some(array) if array.data_type() == field.data_type() => array.clone(),
            Some(array) => cast_with_options(array, field.data_type(), &strict).map_err(|_| {
                Error::new(
                    Code::E0402,
                    format!(
                        "column `{}` of `{}` is not {}",
                        field.name(),
                        task.entry.label,
                        render_type(field.data_type())
                    ),
                )
                .with_hint("read the files in two extracts and cast the column, or run again if the file was replaced")
            })?,
        });
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(task.file_schema.clone(), arrays, &options)
        .map_err(|cause| damaged(&task.entry.label, &cause))
}

/// A type that nothing behind the readers knows; for refusals by name.
pub(crate) fn unsupported(data_type: &DataType) -> bool {
    match data_type {
        DataType::Union(..)
        | DataType::RunEndEncoded(..)
        | DataType::ListView(_)
        | DataType::LargeListView(_)
        | DataType::Duration(_) => true,
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::Map(item, _) => unsupported(item.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| unsupported(field.data_type())),
        DataType::Dictionary(_, value) => unsupported(value),
        _ => false,
    }
}

/// The error for a column whose type is not read.
pub(crate) fn refuse(field: &Field, label: &str, format: &str) -> Error {
    Error::new(
        Code::E0407,
        format!(
            "column `{}` of `{label}` has a type that is not read from {format}",
            field.name()
        ),
    )
    .with_detail("Unions of several types, durations, run-end encoding and list views are not.")
    .with_hint("leave the column out where the file is made, or make it text there")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widening_never_loses() {
        use DataType::{Decimal128, Float32, Float64, Int16, Int32, Int64, UInt8, UInt32, UInt64, Utf8View};
        let at = |unit| DataType::Timestamp(unit, None);
        for (a, b, expected) in [
            (Int16, Int64, Some(Int64)),
            (UInt8, Int16, Some(Int16)),
            (UInt32, Int32, Some(Int64)),
            (UInt64, Int64, Some(Decimal128(20, 0))),
            (Int32, Float64, Some(Float64)),
            (Int64, Float64, None),
            (Int32, Float32, Some(Float64)),
            (Float32, Float64, Some(Float64)),
            (Decimal128(10, 2), Decimal128(9, 4), Some(Decimal128(12, 4))),
            (Decimal128(10, 2), Int64, Some(Decimal128(22, 2))),
            (
                Decimal128(38, 0),
                Decimal128(38, 38),
                Some(DataType::Decimal256(76, 38)),
            ),
            (
                at(TimeUnit::Millisecond),
                at(TimeUnit::Microsecond),
                Some(at(TimeUnit::Microsecond)),
            ),
            (
                at(TimeUnit::Second),
                DataType::Timestamp(TimeUnit::Second, Some("UTC".into())),
                None,
            ),
            (Int32, Utf8View, None),
            (DataType::Null, Utf8View, Some(Utf8View)),
        ] {
            assert_eq!(wider(&a, &b), expected, "{a} {b}");
            assert_eq!(wider(&b, &a), expected, "{b} {a}");
        }
    }
}
