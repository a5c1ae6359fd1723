//! Rows of texts made into batches: for formats whose cells arrive one by one and not as a block of a window.
//!
//! Cells are collected per column and parsed by `csv::cells`, so every text format reads numbers and times alike. What
//! is collected is reserved from the budget. Which cells there are, the formats know; CSV has its own faster way.

use std::sync::Arc;

use arrow::array::{ArrayRef, ListArray};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use synqx_model::{Code, Error, Result};
use synqx_sdk::Reservation;
use synqx_sdk::type_names::render_type;

use crate::config::CsvOptions;
use crate::csv::cells::{Block, Column, Rule};
use crate::csv::dialect::Dialect;
use crate::csv::number::SharedWays;
use crate::csv::split::{Cell, Form};
use crate::format::Format;
use crate::read::FileTask;

/// What stands for NULL among the collected texts; no format can hold it as a value.
const NULL: &str = "\0";

/// Where a value is, in words: the column's index and the number that was given with the row.
pub(crate) type Where<'a> = Box<dyn Fn(usize, u64) -> String + 'a>;

/// Rows being collected.
pub(crate) struct TextTable<'a> {
    task: &'a FileTask,
    columns: Vec<TextColumn>,
    dialect: Dialect,
    markers: Vec<String>,
    own: SharedWays,
    /// Whether an inferred type has to give back the text, or only the value.
    written: bool,
    place: Where<'a>,
    rows: Vec<u64>,
    bytes: usize,
    held: Reservation,
    who: String,
}

struct TextColumn {
    column: Column,
    text: String,
    cells: Vec<Cell>,
    /// Items of each row; none for a row that is NULL. Absent for columns that are no lists.
    lengths: Option<Vec<Option<usize>>>,
}

impl TextColumn {
    fn new(field: &Field) -> Result<Self> {
        let (flat, list) = match field.data_type() {
            DataType::List(item) => (item.data_type(), true),
            other => (other, false),
        };
        Ok(TextColumn {
            column: Column::new(field.name(), flat)?,
            text: String::new(),
            cells: Vec::new(),
            lengths: list.then(Vec::new),
        })
    }

    fn push(&mut self, text: Option<&str>) {
        let start = self.text.len() as u32;
        self.text.push_str(text.unwrap_or(NULL));
        self.cells.push(Cell {
            start,
            end: self.text.len() as u32,
            form: if text.is_some() { Form::Quoted } else { Form::Bare },
        });
    }

    /// Parses what was collected. Errors: the index of the cell that does not fit.
    fn finish(&mut self, dialect: &Dialect, rule: Rule<'_>) -> std::result::Result<ArrayRef, usize> {
        let block = Block {
            text: &self.text,
            cells: &self.cells,
            width: 1,
            dialect,
        };
        self.column.append(block, 0, rule)?;
        self.text.clear();
        self.cells.clear();
        Ok(self.column.finish())
    }
}

impl<'a> TextTable<'a> {
    /// For the wanted columns of a file. `written`: an inferred type has to give back the text of a cell, not only its
    /// value. Errors: `E0407`, `E0804`.
    pub(crate) fn new(task: &'a FileTask, written: bool, place: Where<'a>) -> Result<Self> {
        let columns = task.file_schema.fields().iter();
        let mut dialect = Dialect::new(Format::Csv, &CsvOptions::default())?;
        dialect.nulls = vec![NULL.as_bytes().to_vec()];
        let who = format!("a batch of `{}`", task.entry.label);
        Ok(TextTable {
            columns: columns
                .map(|field| TextColumn::new(field))
                .collect::<Result<_>>()?,
            dialect,
            markers: markers(task),
            own: SharedWays::default(),
            written,
            place,
            rows: Vec::new(),
            bytes: 0,
            held: task.budget.reserve(&who, 0)?,
            who,
            task,
        })
    }

    /// Whether a text means NULL here.
    pub(crate) fn is_null(&self, text: &str) -> bool {
        self.markers.iter().any(|marker| marker == text)
    }

    /// Adds the values of the next column of the row: none, one, or several of a column that is a list. `false` when
    /// there are several and the column is no list.
    pub(crate) fn push(&mut self, column: usize, values: &[Option<&str>]) -> bool {
        self.bytes += values.iter().map(|v| v.map_or(0, str::len) + 12).sum::<usize>() + 8;
        let markers = &self.markers;
        let real = |value: &Option<&'_ str>| value.is_some_and(|text| !markers.iter().any(|m| m == text));
        let column = &mut self.columns[column];
        match (&mut column.lengths, values) {
            (Some(lengths), _) => {
                lengths.push((!values.is_empty()).then_some(values.len()));
                for value in values {
                    column.push(value.filter(|_| real(value)));
                }
            }
            (None, []) => column.push(None),
            (None, [value]) => column.push(value.filter(|_| real(value))),
            (None, _) => return false,
        }
        true
    }

    /// Ends a row; `number` is what its place is told by. A batch when enough rows are collected. Errors: `E0208`,
    /// `E0804`.
    pub(crate) fn end_row(&mut self, number: u64) -> Result<Option<RecordBatch>> {
        self.rows.push(number);
        self.bytes += 8;
        if self.bytes < self.task.budget.batch_target() && !self.rows.len().is_multiple_of(1024) {
            return Ok(None);
        }
        // The texts, and the arrays they become.
        self.held.resize(&self.who, 2 * self.bytes as u64)?;
        if self.bytes < self.task.budget.batch_target() {
            return Ok(None);
        }
        self.finish()
    }

    /// The rows that are left. Errors: `E0208`.
    pub(crate) fn finish(&mut self) -> Result<Option<RecordBatch>> {
        if self.rows.is_empty() {
            return Ok(None);
        }
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(self.columns.len());
        let fields = self.task.file_schema.fields();
        for (index, (column, field)) in self.columns.iter_mut().zip(fields).enumerate() {
            let declared = self.task.options.declared(field.name()).is_some();
            let rule = match (declared, self.written) {
                (true, _) => Rule::Declared,
                (false, true) => Rule::Written(self.task.ways.get(field.name()).unwrap_or(&self.own)),
                (false, false) => Rule::Value,
            };
            let array = column.finish(&self.dialect, rule).map_err(|cell| {
                let row = row_of(column.lengths.as_deref(), cell);
                let number = self.rows.get(row).copied().unwrap_or(0);
                unfit(self.task, field, &(self.place)(index, number), declared)
            })?;
            arrays.push(match column.lengths.take() {
                None => array,
                Some(lengths) => {
                    column.lengths = Some(Vec::new());
                    list(field, &lengths, array)?
                }
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows.len()));
        self.rows.clear();
        self.bytes = 0;
        self.held.resize(&self.who, 0)?;
        RecordBatch::try_new_with_options(self.task.file_schema.clone(), arrays, &options)
            .map(Some)
            .map_err(|cause| Error::bug("cannot make a batch of texts").with_cause(&cause))
    }
}

/// The texts that mean NULL in a file; the empty one where the document does not say.
pub(crate) fn markers(task: &FileTask) -> Vec<String> {
    let nulls = task.options.csv.nulls.clone();
    nulls.unwrap_or_else(|| vec![String::new()])
}

/// The row a cell of a column belongs to.
fn row_of(lengths: Option<&[Option<usize>]>, cell: usize) -> usize {
    let Some(lengths) = lengths else { return cell };
    let mut before = 0;
    for (row, length) in lengths.iter().enumerate() {
        before += length.unwrap_or(0);
        if cell < before {
            return row;
        }
    }
    lengths.len()
}

fn list(field: &Field, lengths: &[Option<usize>], values: ArrayRef) -> Result<ArrayRef> {
    let DataType::List(item) = field.data_type() else {
        return Err(Error::bug("a list column is not of a list type"));
    };
    let mut offsets = vec![0i32];
    for length in lengths {
        let end = i32::try_from(length.unwrap_or(0)).ok();
        let end = end.and_then(|n| offsets[offsets.len() - 1].checked_add(n));
        offsets.push(end.ok_or_else(|| Error::bug("a batch holds too many list items"))?);
    }
    let nulls: NullBuffer = lengths.iter().map(Option::is_some).collect();
    let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
    ListArray::try_new(item.clone(), offsets, values, Some(nulls))
        .map(|list| Arc::new(list) as ArrayRef)
        .map_err(|cause| Error::bug("cannot make a list").with_cause(&cause))
}

/// The error for a value that is not of its column's type. `place`: where it is, such as `line 7`.
pub(crate) fn unfit(task: &FileTask, field: &Field, place: &str, declared: bool) -> Error {
    let (label, word) = (&task.entry.label, render_type(field.data_type()));
    let name = field.name();
    Error::new(
        Code::E0208,
        format!("value in {place} of `{label}` does not fit column `{name}` ({word})"),
    )
    .with_detail(match declared {
        true => "The type is declared under `columns:`.",
        false => {
            "The type was inferred from the beginning of the data and would not give this value back as it is."
        }
    })
    .with_hint(format!(
        "declare the type with `options: {{ columns: {{ {name}: text }} }}`, or the marker of missing values with \
         `nulls: [\"NA\", \"\"]`"
    ))
}
