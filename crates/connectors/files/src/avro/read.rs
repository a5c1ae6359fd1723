//! Reads Avro files: the schema from the header, rows from groups of blocks.
//!
//! Logical types keep their meaning: decimals are exact, `timestamp-*` is an instant, `local-timestamp-*` a clock
//! without a zone, an enum its text, a union with null a column that may be NULL. Unions of several types are refused.

use std::collections::HashMap;
use std::io::Cursor;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use arrow_avro::codec::Tz;
use arrow_avro::reader::ReaderBuilder;
use serde_json::Value;
use synqx_model::{Code, Error, Result};
use synqx_sdk::annotation::{EXTENSION, EXTENSION_UUID, annotate};
use synqx_sdk::lane::Sender;

use super::blocks::{Blocks, Group, damaged};
use crate::content::{Opened, contained};
use crate::drift::{self, Seen, conform};
use crate::ipc::read::send_in_pieces;
use crate::read::{FileTask, house_type};

/// Most types of a schema.
const TYPES: u64 = 10_000;

fn builder() -> ReaderBuilder {
    // Its own string views would lose which texts are NULL (arrow-avro 59); `conform` makes them.
    ReaderBuilder::new().with_utf8_view(false).with_tz(Tz::Utc)
}

/// The columns of a file in the types of the house. Errors: `E0210`, `E0407`, `E0409`.
fn schema(blocks: &Blocks<'_>, label: &str) -> Result<SchemaRef> {
    let unread = || {
        Error::new(
            Code::E0407,
            format!("the schema of `{label}` cannot be read as columns"),
        )
        .with_detail(
            "Its root must be a record, its types those of the Avro specification, none of them recursive.",
        )
        .with_hint("write the file again with another schema")
    };
    let avro: Value = serde_json::from_slice(schema_text(&blocks.header)?)
        .map_err(|_| damaged(label, "its schema is no JSON"))?;
    if weight(&avro, &mut HashMap::new(), &mut Vec::new()).is_none_or(|types| types > TYPES) {
        return Err(unread());
    }
    let found = contained(label, || {
        let reader = builder().build(Cursor::new(blocks.header.as_slice()));
        reader.map(|reader| reader.schema()).map_err(|_| unread())
    })?;
    let mut fields = Vec::with_capacity(found.fields().len());
    for field in found.fields() {
        if drift::unsupported(field.data_type()) {
            return Err(drift::refuse(field, label, "Avro files"));
        }
        if empty_items(field.data_type(), false) {
            return Err(Error::new(
                Code::E0407,
                format!(
                    "column `{}` of `{label}` has items without any bytes",
                    field.name()
                ),
            )
            .with_detail("How many there are could not be held against the size of the file.")
            .with_hint("leave the column out where the file is made"));
        }
        let plain = Field::new(field.name(), house_type(field.data_type()), field.is_nullable());
        fields.push(match is_uuid(&avro, field.name()) {
            true => annotate(plain, EXTENSION, EXTENSION_UUID),
            false => plain,
        });
    }
    if !fields.is_empty() && fields.iter().all(|field| *field.data_type() == DataType::Null) {
        return Err(unread());
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// Types of a schema with every name replaced by what it stands for; `None` when a type is part of itself. A small schema
/// can stand for any number of columns.
fn weight(schema: &Value, known: &mut HashMap<String, u64>, open: &mut Vec<String>) -> Option<u64> {
    let plain = |name: &str| name.rsplit('.').next().unwrap_or(name).to_owned();
    match schema {
        Value::String(name) if open.contains(&plain(name)) => None,
        Value::String(name) => Some(known.get(&plain(name)).copied().unwrap_or(1)),
        Value::Array(branches) => branches.iter().try_fold(1u64, |sum, branch| {
            Some(sum.saturating_add(weight(branch, known, open)?))
        }),
        Value::Object(object) => {
            let name = object.get("name").and_then(Value::as_str).map(plain);
            open.extend(name.clone());
            let mut sum = 1u64;
            for key in ["items", "values", "type"] {
                let inner = object
                    .get(key)
                    .filter(|inner| !inner.is_string() || key != "type" || name.is_none());
                if let Some(inner) = inner {
                    sum = sum.saturating_add(weight(inner, known, open)?);
                }
            }
            for field in object
                .get("fields")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                if let Some(inner) = field.get("type") {
                    sum = sum.saturating_add(weight(inner, known, open)?);
                }
            }
            if let Some(name) = name {
                open.pop();
                known.insert(name, sum);
            }
            Some(sum)
        }
        _ => Some(1),
    }
}

/// The schema's text inside of a header that `Blocks` made.
fn schema_text(header: &[u8]) -> Result<&[u8]> {
    // Magic, one entry, the key with its length; the schema's own length takes up to ten bytes.
    let after = header.get(17..).unwrap_or_default();
    let digits = after.iter().take_while(|byte| **byte >= 0x80).count() + 1;
    let end = header.len().saturating_sub(17);
    header
        .get(17 + digits..end)
        .ok_or_else(|| Error::bug("the header of an Avro file has no schema"))
}

/// Whether a field of the root is a UUID.
fn is_uuid(avro: &Value, name: &str) -> bool {
    let fields = avro.get("fields").and_then(Value::as_array);
    let field = fields.and_then(|all| {
        all.iter()
            .find(|f| f.get("name").and_then(Value::as_str) == Some(name))
    });
    let says = |value: &Value| value.get("logicalType").and_then(Value::as_str) == Some("uuid");
    match field.and_then(|field| field.get("type")) {
        Some(Value::Array(branches)) => branches.iter().any(says),
        Some(other) => says(other),
        None => false,
    }
}

/// Whether items of a list or map can have no bytes; `inside`: this is such an item.
fn empty_items(data_type: &DataType, inside: bool) -> bool {
    match data_type {
        DataType::Null => inside,
        DataType::FixedSizeBinary(0) => inside,
        DataType::Struct(fields) => match inside {
            true => fields
                .iter()
                .all(|f| !f.is_nullable() && empty_items(f.data_type(), true)),
            false => fields.iter().any(|f| empty_items(f.data_type(), false)),
        },
        // A union with null has a byte of its own.
        DataType::List(item) => empty_items(
            item.data_type(),
            !item.is_nullable() || *item.data_type() == DataType::Null,
        ),
        _ => false,
    }
}

/// Looks at a file: its columns, and its rows from the heads of its blocks.
pub(crate) fn look(task: &FileTask) -> Result<Seen> {
    let opened = Opened::new(&task.entry.path, &task.entry.label)?;
    if opened.stamp.len == 0 {
        return Ok(Seen::nothing());
    }
    let mut blocks = Blocks::open(&opened)?;
    Ok(Seen {
        schema: schema(&blocks, &opened.label)?,
        rows: Some(blocks.rows()?),
        notes: Vec::new(),
    })
}

/// Reads a file and sends its batches. `false` when nobody listens any more.
pub(crate) fn read(task: &FileTask, opened: &Opened, sender: &Sender) -> Result<bool> {
    if opened.stamp.len == 0 {
        return Ok(true);
    }
    let label = opened.label.as_str();
    let mut blocks = Blocks::open(opened)?;
    let schema = schema(&blocks, label)?;
    let mut roots: Vec<usize> = (0..schema.fields().len())
        .filter(|i| task.file_schema.field_with_name(schema.field(*i).name()).is_ok())
        .collect();
    if roots.is_empty() && !schema.fields().is_empty() {
        // Rows are counted by decoding something.
        roots.push(0);
    }
    let target = task.budget.batch_target();
    let mut left = usize::try_from(task.limit.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
    let who = format!("the rows of `{label}` being read");
    let mut held = task.budget.reserve(&who, 0)?;
    let (mut waiting, mut bytes): (Vec<RecordBatch>, usize) = (Vec::new(), 0);
    while left > 0 {
        let Some(group) = blocks.group(&task.budget)? else {
            break;
        };
        // What a row takes when it is decoded, besides texts, which the block bounds.
        held.resize(
            &who,
            bytes as u64 + group.rows.saturating_mul(16 * roots.len() as u64),
        )?;
        let batch = decode(&group, &roots, label)?;
        let batch = conform(task, &batch.slice(0, batch.num_rows().min(left)))?;
        left -= batch.num_rows();
        bytes += batch.get_array_memory_size();
        held.resize(&who, bytes as u64)?;
        waiting.push(batch);
        if bytes >= target {
            (held, bytes) = (task.budget.reserve(&who, 0)?, 0);
            if !send(task, std::mem::take(&mut waiting), sender)? {
                return Ok(false);
            }
        }
    }
    if left > 0 {
        opened.verify()?;
    }
    drop(held);
    match waiting.is_empty() {
        true => Ok(true),
        false => send(task, waiting, sender),
    }
}

/// Sends the rows of several blocks. `false` when nobody listens any more.
fn send(task: &FileTask, waiting: Vec<RecordBatch>, sender: &Sender) -> Result<bool> {
    if task.file_schema.fields().is_empty() {
        // Put together, batches without columns would have no rows.
        for batch in &waiting {
            if !send_in_pieces(task, batch, sender)? {
                return Ok(false);
            }
        }
        return Ok(true);
    }
    let all = arrow::compute::concat_batches(&task.file_schema, &waiting)
        .map_err(|cause| Error::bug("cannot put blocks together").with_cause(&cause))?;
    drop(waiting);
    send_in_pieces(task, &all, sender)
}

/// The rows of a block, all at once. The decoder must not be asked for more than there are: bytes behind the last row,
/// which only a damaged file has, would keep it busy for ever (arrow-avro 59); they are not looked at.
fn decode(group: &Group, roots: &[usize], label: &str) -> Result<RecordBatch> {
    let rows = usize::try_from(group.rows).unwrap_or(usize::MAX);
    let broken = || damaged(label, "its rows are not of its schema");
    contained(label, || {
        let mut reader = builder()
            .with_batch_size(rows)
            .with_projection(roots.to_vec())
            .build(Cursor::new(group.bytes.as_slice()))
            .map_err(|_| broken())?;
        match reader.next() {
            Some(Ok(batch)) if batch.num_rows() == rows => Ok(batch),
            _ => Err(broken()),
        }
    })
}
