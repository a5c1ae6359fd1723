//! Reads one delimited file: its header and a sample for `describe`, or all of it as batches.
//!
//! Every record must have as many cells as the header, every file of a set the same columns. Errors name file, line
//! and row, never a value. Blocks of text are checked to be UTF-8 once, then every wanted column is decoded in turn.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use synqx_model::{Code, Error, Result};
use synqx_sdk::lane::Sender;
use synqx_sdk::type_names::render_type;

use super::cells::{Block, Column, Rule};
use super::dialect::Dialect;
use super::infer::Evidence;
use super::number::SharedWays;
use super::split::{Broken, Cell, Form, Step, record, unescape};
use crate::content::{Opened, Text};
use crate::drift::same_columns;
use crate::read::{FileTask, Sample};
use crate::window::Window;

/// Bytes decoded at once: small enough that cells and text stay in the processor's cache.
const BLOCK: usize = 128 << 10;

/// A file being read.
struct File<'a> {
    window: Window,
    dialect: &'a Dialect,
    names: Vec<String>,
    cells: Vec<Cell>,
    row: u64,
}

/// What [`File::open`] found.
enum Begin<'a> {
    /// A file with records.
    File(Box<File<'a>>),
    /// Blank lines without a header: NULLs of one column, if it has one column.
    Blank,
    /// No record at all.
    Nothing,
}

/// What a file begins with.
enum First {
    /// A record that ends before this byte of the window.
    Record(usize),
    /// Nothing but blank lines, in a file without header.
    Blank,
    /// Nothing but comments, or blank lines before a header that never comes.
    Nothing,
}

impl<'a> File<'a> {
    /// Opens a file and reads its header. `known`: the columns the file is expected to have, used when it names none.
    /// Errors: `E0406`, `E02xx`.
    fn open(window: Window, dialect: &'a Dialect, known: &[String]) -> Result<Begin<'a>> {
        let mut file = File {
            window,
            dialect,
            names: Vec::new(),
            cells: Vec::new(),
            row: 0,
        };
        file.skip_lines()?;
        let end = match file.first_record()? {
            First::Record(end) => end,
            First::Blank if known.len() == 1 => {
                file.names = known.to_vec();
                return Ok(Begin::File(Box::new(file)));
            }
            First::Blank => return Ok(Begin::Blank),
            First::Nothing => return Ok(Begin::Nothing),
        };
        let bytes = &file.window.bytes()[..end];
        let text =
            std::str::from_utf8(bytes).map_err(|cause| file.window.not_utf8(cause.valid_up_to(), None))?;
        if dialect.header {
            let plain = |cell: &Cell| unescape(cell.text(text), cell, dialect).into_owned();
            file.names = header_names(file.cells.iter().map(plain), file.window.label())?;
            file.window.consume(end);
        } else if known.len() == file.cells.len() {
            file.names = known.to_vec();
        } else {
            file.names = (1..=file.cells.len()).map(|n| format!("column_{n}")).collect();
        }
        file.cells.clear();
        Ok(Begin::File(Box::new(file)))
    }

    fn skip_lines(&mut self) -> Result<()> {
        let mut left = self.dialect.skip_rows;
        while left > 0 {
            match memchr::memchr(b'\n', self.window.bytes()) {
                Some(at) => {
                    self.window.consume(at + 1);
                    left -= 1;
                }
                None if self.window.is_last() => {
                    let all = self.window.bytes().len();
                    self.window.consume(all);
                    return Ok(());
                }
                None => self.more(None)?,
            }
        }
        Ok(())
    }

    /// Finds the first record after comments and blank lines and leaves its cells in `cells`. Without a header a blank
    /// line may be the NULL of a file of one column, so it stays in the window.
    fn first_record(&mut self) -> Result<First> {
        let mut at = 0;
        loop {
            self.cells.clear();
            let last = self.window.is_last();
            let bytes = self.window.bytes();
            match record(bytes, at, (last, false), self.dialect, &mut self.cells) {
                Ok(Step::Record(end)) => return Ok(First::Record(end)),
                Ok(Step::Nothing(end)) => {
                    let blank = matches!(bytes.get(at), Some(b'\n' | b'\r'));
                    if at > 0 || (blank && !self.dialect.header) {
                        at = end;
                    } else {
                        self.window.consume(end);
                    }
                }
                Ok(Step::Incomplete) => self.more(None)?,
                Ok(Step::End) if at > 0 => return Ok(First::Blank),
                Ok(Step::End) => return Ok(First::Nothing),
                Err(broken) => return Err(self.broken(broken)),
            }
        }
    }

    /// Reads on; a record that fills the window is too large.
    fn more(&mut self, budget: Option<&synqx_sdk::Budget>) -> Result<()> {
        if self.window.more()? {
            return Ok(());
        }
        let column = self
            .names
            .get(self.cells.len())
            .map_or_else(|| format!("column_{}", self.cells.len() + 1), Clone::clone);
        let place = format!("line {} of `{}`", self.window.line(), self.window.label());
        let bytes = self.window.bytes().len() as u64;
        Err(match budget {
            Some(budget) => budget.row_too_large(&column, &place, bytes),
            None => Error::new(
                Code::E0805,
                format!("column `{column}` has a value too large for the memory budget ({place})"),
            )
            .with_hint("run with a larger `--memory`"),
        })
    }

    /// Finds the records of the next block: the end of the block in the window and the records. `None` at the end.
    fn block(&mut self, budget: &synqx_sdk::Budget, most: u64) -> Result<Option<(usize, usize)>> {
        let width = self.names.len();
        loop {
            self.cells.clear();
            let (mut at, mut records) = (0, 0usize);
            let mut partial = 0;
            while at < BLOCK && (records as u64) < most {
                let before = self.cells.len();
                let place = (self.window.is_last(), width == 1);
                match record(self.window.bytes(), at, place, self.dialect, &mut self.cells) {
                    Ok(Step::Record(end)) => {
                        if self.cells.len() - before != width {
                            return Err(self.ragged(at, records, self.cells.len() - before));
                        }
                        (at, records) = (end, records + 1);
                    }
                    Ok(Step::Nothing(end)) => at = end,
                    Ok(Step::Incomplete) => {
                        partial = self.cells.len() - before;
                        self.cells.truncate(before);
                        break;
                    }
                    Ok(Step::End) => break,
                    Err(broken) => return Err(self.broken(broken)),
                }
            }
            if records > 0 {
                return Ok(Some((at, records)));
            }
            self.window.consume(at);
            if self.window.is_last() && self.window.bytes().is_empty() {
                return Ok(None);
            }
            if at == 0 {
                self.cells.resize(
                    partial,
                    Cell {
                        start: 0,
                        end: 0,
                        form: Form::Bare,
                    },
                );
                self.more(Some(budget))?;
            }
        }
    }

    fn ragged(&self, at: usize, records: usize, found: usize) -> Error {
        let (line, row, label) = (
            self.window.line_at(at),
            self.row + records as u64 + 1,
            self.window.label(),
        );
        let width = self.names.len();
        Error::new(Code::E0206, format!("line {line} of `{label}` has {found} cells, expected {width}"))
            .with_detail(format!("It is row {row} of the file. The columns are counted from its {}.", if self.dialect.header { "header" } else { "first record" }))
            .with_hint("put quotes around cells that hold the delimiter, or set `delimiter:` or `quote:` under `options`")
    }

    fn broken(&self, broken: Broken) -> Error {
        let label = self.window.label();
        match broken {
            Broken::Unclosed(at) => Error::new(
                Code::E0210,
                format!(
                    "a quote that opens in line {} of `{label}` is never closed",
                    self.window.line_at(at)
                ),
            )
            .with_hint(
                "the file may be cut short; or set `quote: \"\"` under `options` when it has no quotes",
            ),
            Broken::AfterQuote(at) => Error::new(
                Code::E0210,
                format!(
                    "text follows a closing quote in line {} of `{label}`",
                    self.window.line_at(at)
                ),
            )
            .with_hint(
                "double the quotes inside cells, or set `escape: \"\\\\\"` or `quote: \"\"` under `options`",
            ),
        }
    }

    /// The text of a block. Errors: `E0207` naming line and column.
    fn text(&self, end: usize) -> Result<&str> {
        let bytes = &self.window.bytes()[..end];
        std::str::from_utf8(bytes).map_err(|cause| {
            let at = cause.valid_up_to();
            let index = self
                .cells
                .iter()
                .position(|c| (c.start as usize) <= at && at < c.end as usize);
            let column = index.map(|index| self.names[index % self.names.len()].as_str());
            self.window.not_utf8(at, column)
        })
    }
}

/// Column names of a header: empty ones are numbered, equal ones refused. Errors: `E0406`.
fn header_names(cells: impl Iterator<Item = String>, label: &str) -> Result<Vec<String>> {
    let names: Vec<String> = cells
        .enumerate()
        .map(|(i, name)| {
            if name.is_empty() {
                format!("column_{}", i + 1)
            } else {
                name
            }
        })
        .collect();
    let mut seen = HashSet::new();
    match names.iter().find(|name| !seen.insert(name.as_str())) {
        None => Ok(names),
        Some(name) => Err(Error::new(Code::E0406, format!("the header of `{label}` names column `{name}` twice"))
            .with_hint("rename one of them in the file, or read with `header: false`, `skip_rows: 1` and names under `columns:`")),
    }
}

fn declared_names(task: &FileTask) -> Vec<String> {
    task.options
        .columns
        .iter()
        .map(|(name, _)| name.clone())
        .collect()
}

/// Looks at the beginning of a file: its columns and what their cells can be.
pub(crate) fn sample(task: &FileTask, bytes: u64) -> Result<Sample> {
    let dialect = Dialect::new(task.format, &task.options.csv)?;
    let text = Text::open(&task.entry.path, &task.entry.label, dialect.encoding)?;
    let window = Window::new(text, &task.budget)?;
    let mut file = match File::open(window, &dialect, &declared_names(task))? {
        Begin::File(file) => file,
        // How many rows blank lines are is known once another file says how many columns there are.
        Begin::Blank => return Ok(Sample::default()),
        Begin::Nothing => {
            return Ok(Sample {
                whole: true,
                ..Sample::default()
            });
        }
    };
    let mut evidence = vec![Evidence::default(); file.names.len()];
    let mut whole = true;
    let most = task.options.infer_rows.unwrap_or(u64::MAX);
    while let Some((end, records)) = file.block(&task.budget, most - file.row)? {
        let text = file.text(end)?;
        for cells in file.cells.chunks_exact(file.names.len()) {
            for (cell, evidence) in cells.iter().zip(&mut evidence) {
                let raw = cell.text(text);
                match cell.form {
                    Form::Bare if dialect.is_null(raw.as_bytes()) => evidence.null(),
                    Form::Bare | Form::Quoted => evidence.text(raw),
                    Form::Escaped => evidence.text(&unescape(raw, cell, &dialect)),
                }
            }
        }
        file.row += records as u64;
        file.window.consume(end);
        if file.window.offset() >= bytes || file.row >= most {
            whole = file.window.is_last() && file.window.bytes().is_empty();
            break;
        }
    }
    Ok(Sample {
        columns: file.names.into_iter().zip(evidence).collect(),
        rows: file.row,
        bytes: file.window.offset(),
        whole,
    })
}

/// The wanted columns that are in this file, and where. Errors: `E0206` when the file has other columns than planned.
fn positions(task: &FileTask, names: &[String]) -> Result<(SchemaRef, Vec<usize>)> {
    same_columns(task, names)?;
    let fields = task.file_schema.fields().iter();
    let found = fields.filter_map(|field| {
        let place = names.iter().position(|name| name == field.name())?;
        Some((field.clone(), place))
    });
    let (fields, places): (Vec<_>, Vec<_>) = found.unzip();
    Ok((Arc::new(Schema::new(fields)), places))
}

/// Reads a file and sends its batches. `false` when nobody listens any more.
pub(crate) fn read(task: &FileTask, opened: Opened, sender: &Sender) -> Result<bool> {
    let dialect = Dialect::new(task.format, &task.options.csv)?;
    let window = Window::new(Text::new(opened, dialect.encoding)?, &task.budget)?;
    let Begin::File(mut file) = File::open(window, &dialect, &task.columns)? else {
        return Ok(true);
    };
    let (schema, places) = positions(task, &file.names)?;
    let mut columns = Vec::with_capacity(places.len());
    for field in schema.fields() {
        columns.push(Column::new(field.name(), field.data_type())?);
    }
    let width: usize = columns.iter().map(Column::width).sum();
    let target = task.budget.batch_target();
    let (mut rows, mut weight) = (0usize, 0usize);
    let who = format!("a batch of `{}`", file.window.label());
    let mut held = task.budget.reserve(&who, 0)?;
    let mut left = task.limit.unwrap_or(u64::MAX);
    let own = SharedWays::default();
    while left > 0 {
        let Some((end, records)) = file.block(&task.budget, left)? else {
            break;
        };
        let text = file.text(end)?;
        let block = Block {
            text,
            cells: &file.cells,
            width: file.names.len(),
            dialect: &dialect,
        };
        for ((column, place), field) in columns.iter_mut().zip(&places).zip(schema.fields()) {
            let rule = match task.options.declared(field.name()) {
                Some(_) => Rule::Declared,
                None => Rule::Written(task.ways.get(field.name()).unwrap_or(&own)),
            };
            if let Err(bad) = column.append(block, *place, rule) {
                let at = file.cells[bad * file.names.len() + place].start as usize;
                return Err(unfit(&file, at, bad, field, rule.is_inferred()));
            }
        }
        (rows, weight) = (
            rows + records,
            weight + records * width + text_bytes(&columns, end),
        );
        left -= records as u64;
        file.row += records as u64;
        file.window.consume(end);
        held.resize(&who, weight as u64)?;
        if weight >= target {
            held.resize(&who, 0)?;
            if !sender.send(task.complete(batch(&schema, &mut columns, rows)?)?)? {
                return Ok(false);
            }
            (rows, weight) = (0, 0);
        }
    }
    if left > 0 {
        file.window.verify()?;
    }
    drop(held);
    if rows == 0 {
        return Ok(true);
    }
    sender.send(task.complete(batch(&schema, &mut columns, rows)?)?)
}

/// An upper bound of what the block adds to text columns.
fn text_bytes(columns: &[Column], end: usize) -> usize {
    if columns
        .iter()
        .any(|c| matches!(c, Column::Text(_) | Column::Bytes(_)))
    {
        end
    } else {
        0
    }
}

fn batch(schema: &SchemaRef, columns: &mut [Column], rows: usize) -> Result<RecordBatch> {
    let arrays: Vec<ArrayRef> = columns.iter_mut().map(Column::finish).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema.clone(), arrays, &options)
        .map_err(|cause| Error::bug("cannot make a batch of cells").with_cause(&cause))
}

fn unfit(file: &File<'_>, at: usize, bad: usize, field: &arrow::datatypes::Field, strict: bool) -> Error {
    let (line, label, word) = (
        file.window.line_at(at),
        file.window.label(),
        render_type(field.data_type()),
    );
    let origin = if strict {
        "The type was inferred from the beginning of the data and would not give this value back as it is written"
    } else {
        "The type is declared under `columns:`"
    };
    let message = format!(
        "value in line {line} of `{label}` does not fit column `{}` ({word})",
        field.name()
    );
    Error::new(Code::E0208, message)
        .with_detail(format!("It is row {} of the file. {origin}.", file.row + bad as u64 + 1))
        .with_hint(format!("declare the type with `options: {{ columns: {{ {}: text }} }}`, or the marker of missing values with `nulls: [\"NA\", \"\"]`", field.name()))
}
