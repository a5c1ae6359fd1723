//! Cuts the lines of a file into columns at fixed places.
//!
//! A line that is longer than its last column, or shorter without `short_lines: pad`, is ragged. Errors name file,
//! line and column, never a value.

use synqx_model::{Code, Error, Result};
use synqx_sdk::lane::Sender;

use super::layout::{Layout, Place, unknown};
use crate::config::{ShortLines, encoding};
use crate::content::{Opened, Text};
use crate::csv::infer::Evidence;
use crate::read::{FileTask, Sample};
use crate::table::{TextTable, markers};
use crate::window::Window;

/// A file being read line by line.
struct Lines<'a> {
    window: Window,
    layout: &'a Layout,
    short: ShortLines,
    row: u64,
}

impl<'a> Lines<'a> {
    fn open(task: &'a FileTask, opened: Opened) -> Result<Self> {
        let options = &task.options;
        let encoding = options.csv.encoding.as_deref();
        let encoding = encoding.map_or(Ok(encoding_rs::UTF_8), encoding_of)?;
        let mut lines = Lines {
            window: Window::new(Text::new(opened, encoding)?, &task.budget)?,
            layout: options.fields.as_ref().ok_or_else(unknown)?,
            short: options.short_lines,
            row: 0,
        };
        for _ in 0..options.csv.skip_rows.unwrap_or(0) {
            match lines.next(task)? {
                Some((_, end)) => lines.window.consume(end),
                None => break,
            }
        }
        lines.row = 0;
        Ok(lines)
    }

    /// The length of the next line without its end and with it; `None` at the end of the file.
    fn next(&mut self, task: &FileTask) -> Result<Option<(usize, usize)>> {
        loop {
            let bytes = self.window.bytes();
            let found = match memchr::memchr(b'\n', bytes) {
                Some(at) => Some((at, at + 1)),
                None if self.window.is_last() && bytes.is_empty() => return Ok(None),
                None if self.window.is_last() => Some((bytes.len(), bytes.len())),
                None => None,
            };
            if let Some((length, end)) = found {
                let length = length - usize::from(length > 0 && bytes[length - 1] == b'\r');
                self.row += 1;
                return Ok(Some((length, end)));
            }
            if !self.window.more()? {
                let place = format!("line {} of `{}`", self.window.line(), self.window.label());
                let column = &self.layout.places[0].name;
                return Err(task
                    .budget
                    .row_too_large(column, &place, self.window.bytes().len() as u64));
            }
        }
    }

    fn text(&self, length: usize) -> Result<&str> {
        std::str::from_utf8(&self.window.bytes()[..length])
            .map_err(|cause| self.window.not_utf8(cause.valid_up_to(), None))
    }

    /// The columns' texts of a line. Errors: `E0206`.
    fn cut<'t>(&self, line: &'t str, into: &mut Vec<&'t str>) -> Result<()> {
        into.clear();
        let plain = line.is_ascii();
        let characters = if plain { line.len() } else { line.chars().count() };
        let ragged = |what: String| {
            Error::new(
                Code::E0206,
                format!("line {} of `{}` {what}", self.window.line(), self.window.label()),
            )
            .with_detail(format!(
                "It has {characters} characters, the fields end at {}.",
                self.layout.width
            ))
        };
        if characters > self.layout.width && line.chars().skip(self.layout.width).any(|c| c != ' ') {
            return Err(ragged("is longer than its fields".to_owned())
                .with_hint("correct `fields`, or name the rest of the line as a field"));
        }
        for place in &self.layout.places {
            let (start, end) = (place.start - 1, place.start - 1 + place.width);
            if characters < end && self.short == ShortLines::Fail {
                return Err(ragged(format!("ends before field `{}` does", place.name)).with_hint(
                    "fetch the file again if it was cut short, or write `short_lines: pad` when blanks at the end of \
                     lines are left out",
                ));
            }
            into.push(place.trim.apply(piece(line, (start, end), plain)));
        }
        Ok(())
    }
}

fn encoding_of(label: &str) -> Result<&'static encoding_rs::Encoding> {
    encoding(label)
}

/// The characters from `start` to `end`, as far as there are any.
fn piece(line: &str, (start, end): (usize, usize), plain: bool) -> &str {
    if plain {
        return &line[start.min(line.len())..end.min(line.len())];
    }
    let at = |n: usize| line.char_indices().nth(n).map_or(line.len(), |(at, _)| at);
    &line[at(start)..at(end)]
}

/// Looks at the beginning of a file.
pub(crate) fn sample(task: &FileTask, bytes: u64) -> Result<Sample> {
    let opened = Opened::new(&task.entry.path, &task.entry.label)?;
    let mut lines = Lines::open(task, opened)?;
    let nulls = markers(task);
    let mut evidence = vec![Evidence::default(); lines.layout.places.len()];
    let mut whole = true;
    let most = task.options.infer_rows.unwrap_or(u64::MAX);
    while let Some((length, end)) = lines.next(task)? {
        if length > 0 {
            let mut cells = Vec::new();
            lines.cut(lines.text(length)?, &mut cells)?;
            for (text, evidence) in cells.iter().zip(&mut evidence) {
                match nulls.iter().any(|null| null == text) {
                    true => evidence.null(),
                    false => evidence.text(text),
                }
            }
        }
        lines.window.consume(end);
        if lines.window.offset() >= bytes || lines.row >= most {
            whole = lines.window.is_last() && lines.window.bytes().is_empty();
            break;
        }
    }
    let name = |place: &Place| place.name.clone();
    Ok(Sample {
        columns: lines.layout.places.iter().map(name).zip(evidence).collect(),
        rows: lines.row,
        bytes: lines.window.offset(),
        whole,
    })
}

/// Reads a file and sends its batches. `false` when nobody listens any more.
pub(crate) fn read(task: &FileTask, opened: Opened, sender: &Sender) -> Result<bool> {
    let mut lines = Lines::open(task, opened)?;
    let fields = task.file_schema.fields().iter();
    let places: Vec<usize> = fields
        .filter_map(|field| {
            lines
                .layout
                .places
                .iter()
                .position(|place| place.name == *field.name())
        })
        .collect();
    let mut table = TextTable::new(task, true, Box::new(|_, line| format!("line {line}")))?;
    let mut left = task.limit.unwrap_or(u64::MAX);
    while left > 0 {
        let Some((length, end)) = lines.next(task)? else {
            break;
        };
        if length > 0 {
            let mut cells = Vec::new();
            lines.cut(lines.text(length)?, &mut cells)?;
            for (column, place) in places.iter().enumerate() {
                table.push(column, &[Some(cells[*place])]);
            }
            left -= 1;
            if let Some(batch) = table.end_row(lines.window.line())?
                && !sender.send(task.complete(batch)?)?
            {
                return Ok(false);
            }
        }
        lines.window.consume(end);
    }
    if left > 0 {
        lines.window.verify()?;
    }
    match table.finish()? {
        Some(batch) => sender.send(task.complete(batch)?),
        None => Ok(true),
    }
}
