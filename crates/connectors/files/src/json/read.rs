//! Reads one file of JSON objects and sends its batches.
//!
//! A key that the description does not know is an error, because dropping it would lose data; a missing key is NULL.
//! Errors name file, line and object, never a value.

use std::collections::HashMap;

use arrow::array::ArrayRef;
use arrow::datatypes::Field;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use encoding_rs::UTF_8;
use synqx_model::{Code, Error, Result};
use synqx_sdk::lane::Sender;
use synqx_sdk::type_names::render_type;

use super::decode::{Failed, Unfit, Values};
use super::infer::cause_without_value;
use super::objects::{Objects, Pairs};
use crate::config::Format;
use crate::content::{Opened, Text};
use crate::csv::dialect::Dialect;
use crate::read::FileTask;
use crate::window::Window;

/// Objects decoded before their size is looked at.
const STEP: usize = 256;

struct Table<'a> {
    task: &'a FileTask,
    columns: Vec<Values>,
    /// Every key of the description; with the column that wants it.
    keys: HashMap<&'a str, Option<usize>>,
    dialect: Dialect,
    rows: usize,
    /// Line of the first object of the batch, and objects before it.
    begin: (u64, u64),
}

/// Reads a file and sends its batches. `false` when nobody listens any more.
pub(crate) fn read(task: &FileTask, opened: Opened, sender: &Sender) -> Result<bool> {
    let window = Window::new(Text::new(opened, UTF_8)?, &task.budget)?;
    let mut objects = Objects::new(window, task.format == Format::Jsonl);
    let fields = task.file_schema.fields();
    let strict = |field: &Field| task.options.declared(field.name()).is_none();
    let columns = fields
        .iter()
        .map(|field| Values::new(field, strict(field)))
        .collect::<Result<Vec<_>>>()?;
    let keys = task
        .columns
        .iter()
        .map(|name| (name.as_str(), fields.iter().position(|f| f.name() == name)))
        .collect();
    let dialect = Dialect::new(Format::Csv, &Default::default())?;
    let mut table = Table {
        task,
        columns,
        keys,
        dialect,
        rows: 0,
        begin: (1, 0),
    };
    let mut left = task.limit.unwrap_or(u64::MAX);
    let who = format!("a batch of `{}`", task.entry.label);
    let mut held = task.budget.reserve(&who, 0)?;
    while left > 0 {
        let Some(place) = objects.next(&task.budget)? else {
            break;
        };
        table.object(&objects, place)?;
        objects.window.consume(place.1);
        left -= 1;
        if !table.rows.is_multiple_of(STEP) && place.1 <= 64 << 10 {
            continue;
        }
        let bytes = table.columns.iter().map(Values::bytes).sum::<usize>();
        held.resize(&who, bytes as u64)?;
        if bytes >= task.budget.batch_target() {
            held.resize(&who, 0)?;
            if !sender.send(task.complete(table.batch(&objects)?)?)? {
                return Ok(false);
            }
            table.begin = (objects.window.line(), objects.row);
        }
    }
    if left > 0 {
        objects.window.verify()?;
    }
    drop(held);
    if table.rows == 0 {
        return Ok(true);
    }
    sender.send(task.complete(table.batch(&objects)?)?)
}

impl Table<'_> {
    fn object(&mut self, objects: &Objects, place: (usize, usize)) -> Result<()> {
        let raw = objects.text(place)?;
        let pairs: Pairs<'_> = serde_json::from_str(raw).map_err(|cause| {
            objects
                .broken("its syntax is wrong")
                .with_cause(&cause_without_value(&cause))
        })?;
        let mut filled = vec![false; self.columns.len()];
        for (key, value) in &pairs.0 {
            match self.keys.get(key.0.as_ref()) {
                Some(Some(index)) => {
                    if std::mem::replace(&mut filled[*index], true) {
                        let name = self.task.file_schema.field(*index).name();
                        return Err(Error::new(
                            Code::E0406,
                            format!(
                                "line {} of `{}` has the key `{name}` twice",
                                objects.window.line(),
                                objects.window.label()
                            ),
                        )
                        .with_hint("fix the line; which of the two is meant cannot be known"));
                    }
                    let pushed = self.columns[*index].push(value.get());
                    pushed.map_err(|_| self.unfit(objects, *index, (objects.window.line(), objects.row)))?;
                }
                Some(None) => {}
                None => return Err(unknown_key(objects, &key.0)),
            }
        }
        self.columns
            .iter_mut()
            .zip(filled)
            .filter(|(_, filled)| !filled)
            .for_each(|(column, _)| column.null());
        self.rows += 1;
        Ok(())
    }

    fn batch(&mut self, objects: &Objects) -> Result<RecordBatch> {
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(self.columns.len());
        for index in 0..self.columns.len() {
            match self.columns[index].finish(&self.dialect) {
                Ok(array) => arrays.push(array),
                Err(Failed::Bug(error)) => return Err(error),
                Err(Failed::Unfit(Unfit::At(row))) => {
                    let row = row as u64;
                    let line = if self.task.format == Format::Jsonl {
                        self.begin.0 + row
                    } else {
                        self.begin.0
                    };
                    return Err(self.unfit(objects, index, (line, self.begin.1 + row + 1)));
                }
                Err(Failed::Unfit(_)) => {
                    return Err(self.unfit(objects, index, (self.begin.0, self.begin.1 + 1)));
                }
            }
        }
        let options = RecordBatchOptions::new().with_row_count(Some(std::mem::take(&mut self.rows)));
        RecordBatch::try_new_with_options(self.task.file_schema.clone(), arrays, &options)
            .map_err(|cause| Error::bug("cannot make a batch of objects").with_cause(&cause))
    }

    fn unfit(&self, objects: &Objects, index: usize, (line, row): (u64, u64)) -> Error {
        let field = self.task.file_schema.field(index);
        let word = render_type(field.data_type());
        let label = objects.window.label();
        Error::new(
            Code::E0208,
            format!(
                "value near line {line} of `{label}` does not fit column `{}` ({word})",
                field.name()
            ),
        )
        .with_detail(format!("It is in object {row} or soon after it."))
        .with_hint(format!(
            "declare the type with `options: {{ columns: {{ {}: text }} }}`, or raise `infer_rows`",
            field.name()
        ))
    }
}

fn unknown_key(objects: &Objects, key: &str) -> Error {
    let (line, label) = (objects.window.line(), objects.window.label());
    Error::new(
        Code::E0208,
        format!("line {line} of `{label}` has the key `{key}`, which the objects before do not have"),
    )
    .with_detail(format!(
        "It is object {}. Columns were inferred from the beginning of the data.",
        objects.row
    ))
    .with_hint(format!(
        "declare it with `options: {{ columns: {{ {key}: text }} }}`"
    ))
}
