//! Reads Arrow files and streams: the schema and the rows from the metadata, batches from the bodies.
//!
//! A record batch is read as a whole and sent in pieces; the memory it takes is reserved before, so one that is too
//! large for the budget is refused. Dictionaries are kept while the file is read, and their values sent.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::ipc::convert::fb_to_schema;
use arrow::ipc::reader::{read_dictionary, read_record_batch};
use arrow::ipc::{Endianness, MessageHeader};
use arrow::record_batch::RecordBatch;
use synqx_model::{Code, Error, Result};
use synqx_sdk::lane::{Sender, visible_bytes};
use synqx_sdk::{Budget, Reservation};

use super::messages::{Found, Messages, damaged, layout, unpacked};
use crate::content::{Opened, contained};
use crate::drift::{self, Seen, conform};
use crate::read::{FileTask, house_type};

/// Reads the schema, which is the first message.
fn schema(messages: &mut Messages<'_>, label: &str) -> Result<Schema> {
    let first = messages
        .next()?
        .ok_or_else(|| damaged(label, "it has no schema"))?;
    let message = first.message(label)?;
    let schema = message.header_as_schema();
    let schema = schema.ok_or_else(|| damaged(label, "it does not begin with a schema"))?;
    if schema.endianness() != Endianness::Little {
        return Err(Error::new(
            Code::E0407,
            format!("`{label}` was written by a machine with the other order of bytes"),
        )
        .with_hint("write it again on this machine, or as Parquet"));
    }
    let schema = contained(label, || Ok(fb_to_schema(schema)))?;
    messages.skip(&first)?;
    Ok(schema)
}

fn house(schema: &Schema, label: &str) -> Result<SchemaRef> {
    let mut fields = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        if drift::unsupported(field.data_type()) {
            return Err(drift::refuse(field, label, "Arrow files"));
        }
        fields.push(
            field
                .as_ref()
                .clone()
                .with_data_type(house_type(field.data_type())),
        );
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// Looks at a file: its columns, and its rows from the metadata of its batches.
pub(crate) fn look(task: &FileTask) -> Result<Seen> {
    let opened = Opened::new(&task.entry.path, &task.entry.label)?;
    if opened.stamp.len == 0 {
        return Ok(Seen::nothing());
    }
    let label = &opened.label;
    let mut messages = Messages::open(&opened)?;
    let schema = house(&schema(&mut messages, label)?, label)?;
    let mut rows = 0u64;
    while let Some(found) = messages.next()? {
        let message = found.message(label)?;
        if message.header_type() == MessageHeader::RecordBatch
            && let Some(layout) = layout(&message, label)?
        {
            rows += u64::try_from(layout.length())
                .map_err(|_| damaged(label, "a batch has a negative length"))?;
        }
        messages.skip(&found)?;
    }
    Ok(Seen {
        schema,
        rows: Some(rows),
        notes: Vec::new(),
    })
}

/// What decoding a file needs.
struct Decoding<'a> {
    task: &'a FileTask,
    label: &'a str,
    schema: SchemaRef,
    roots: Vec<usize>,
    dictionaries: HashMap<i64, ArrayRef>,
    /// Memory of the dictionaries.
    held: Vec<Reservation>,
}

impl Decoding<'_> {
    /// The rows of a message, if it has any; and the memory they take.
    fn take(
        &mut self,
        messages: &mut Messages<'_>,
        found: &Found,
    ) -> Result<Option<(RecordBatch, Reservation)>> {
        let label = self.label;
        let message = found.message(label)?;
        let Some(layout) = layout(&message, label)? else {
            return Err(damaged(label, "a message is neither rows nor a dictionary"));
        };
        let dictionary = message.header_type() == MessageHeader::DictionaryBatch;
        let who = match dictionary {
            true => format!("a dictionary of `{label}`"),
            false => format!("a record batch of `{label}`, which is read as a whole"),
        };
        let budget: &Budget = &self.task.budget;
        let mut held = budget.reserve(&who, found.body)?;
        let body = messages.body(found)?;
        held.resize(&who, found.body.saturating_add(unpacked(&layout, &body, label)?))?;
        let (schema, version) = (self.schema.clone(), message.version());
        let broken = || damaged(label, "a batch does not fit the schema");
        contained(label, || {
            if dictionary {
                let header = message.header_as_dictionary_batch().ok_or_else(broken)?;
                read_dictionary(&body, header, &schema, &mut self.dictionaries, &version)
                    .map_err(|_| broken())?;
                return Ok(None);
            }
            read_record_batch(
                &body,
                layout,
                schema,
                &self.dictionaries,
                Some(&self.roots),
                &version,
            )
            .map(Some)
            .map_err(|_| broken())
        })
        .map(|batch| match batch {
            Some(batch) => Some((batch, held)),
            None => {
                self.held.push(held);
                None
            }
        })
    }
}

/// Reads a file and sends its batches. `false` when nobody listens any more.
pub(crate) fn read(task: &FileTask, opened: &Opened, sender: &Sender) -> Result<bool> {
    if opened.stamp.len == 0 {
        return Ok(true);
    }
    let label = opened.label.as_str();
    let mut messages = Messages::open(opened)?;
    let schema: SchemaRef = Arc::new(schema(&mut messages, label)?);
    house(&schema, label)?;
    let roots = (0..schema.fields().len())
        .filter(|i| task.file_schema.field_with_name(schema.field(*i).name()).is_ok())
        .collect();
    let mut decoding = Decoding {
        task,
        label,
        schema,
        roots,
        dictionaries: HashMap::new(),
        held: Vec::new(),
    };
    let mut left = usize::try_from(task.limit.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
    while left > 0 {
        let Some(found) = messages.next()? else {
            break;
        };
        let Some((batch, _held)) = decoding.take(&mut messages, &found)? else {
            continue;
        };
        let batch = batch.slice(0, batch.num_rows().min(left));
        left -= batch.num_rows();
        if !send_in_pieces(task, &conform(task, &batch)?, sender)? {
            return Ok(false);
        }
    }
    if left > 0 {
        opened.verify()?;
    }
    Ok(true)
}

/// Sends a batch in pieces of about the size that batches aim for. `false` when nobody listens any more.
pub(crate) fn send_in_pieces(task: &FileTask, batch: &RecordBatch, sender: &Sender) -> Result<bool> {
    let target = task.budget.batch_target() as u64;
    let pieces = visible_bytes(batch).div_ceil(target).max(1);
    let step = usize::try_from((batch.num_rows() as u64).div_ceil(pieces))
        .unwrap_or(1)
        .max(1);
    let mut from = 0;
    while from < batch.num_rows() {
        let rows = step.min(batch.num_rows() - from);
        let piece = batch.slice(from, rows);
        let piece = if pieces > 1 { own(&piece)? } else { piece };
        if !sender.send(task.complete(piece)?)? {
            return Ok(false);
        }
        from += rows;
    }
    Ok(true)
}

/// A piece that does not hold on to the batch it was cut from.
fn own(piece: &RecordBatch) -> Result<RecordBatch> {
    let copied = |array: &ArrayRef| -> Result<ArrayRef> {
        match array.data_type() {
            DataType::Utf8View => Ok(Arc::new(array.as_string_view().gc())),
            DataType::BinaryView => Ok(Arc::new(array.as_binary_view().gc())),
            _ => {
                let all = arrow::array::UInt64Array::from_iter_values(0..array.len() as u64);
                arrow::compute::take(array, &all, None)
                    .map_err(|cause| Error::bug("cannot copy a part of a batch").with_cause(&cause))
            }
        }
    };
    let arrays = piece.columns().iter().map(copied).collect::<Result<Vec<_>>>()?;
    let options = arrow::record_batch::RecordBatchOptions::new().with_row_count(Some(piece.num_rows()));
    RecordBatch::try_new_with_options(piece.schema(), arrays, &options)
        .map_err(|cause| Error::bug("cannot cut a batch").with_cause(&cause))
}
