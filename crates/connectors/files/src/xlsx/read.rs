//! Reads one sheet of a workbook: its header and a sample for `describe`, or all of it as batches.
//!
//! Rows arrive one after another; rows without any value are left out. Values beyond the header are refused. Errors
//! name the file and the cell, never a value.

use std::collections::HashSet;
use std::fs::File;
use std::io::BufReader;

use arrow::datatypes::DataType;
use calamine::{Reader, Xlsx, XlsxCellReader, XlsxError};
use synqx_model::nearest::did_you_mean;
use synqx_model::{Code, Error, Result};
use synqx_sdk::lane::Sender;

use super::cell::{Cell, Kind, address};
use super::guard;
use crate::config::Sheet;
use crate::content::{Opened, cannot_read, contained};
use crate::csv::infer::Evidence;
use crate::read::{FileTask, Sample};
use crate::table::{TextTable, markers, unfit};

/// Columns and rows that a sheet can have.
const WIDEST: u32 = 16_384;
const LONGEST: u32 = 1_048_576;

/// The cells that are read; ends are included, all from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Area {
    top: u32,
    left: u32,
    bottom: u32,
    right: u32,
}

impl Area {
    /// Reads `B3:F100`, `B3:F` or `B3`. Errors: `E0103`.
    fn parse(text: &str) -> Result<Area> {
        let wrong = || {
            Error::new(Code::E0103, format!("`{text}` is not a range of cells"))
                .with_hint("write `range: \"B3:F100\"`, or `\"B3:F\"` for all rows from the third on")
        };
        let (from, to) = text.split_once(':').unwrap_or((text, ""));
        let corner = |text: &str| -> Option<(Option<u32>, Option<u32>)> {
            let text = text.trim();
            let digits = text
                .find(|c: char| !c.is_ascii_alphabetic())
                .unwrap_or(text.len());
            let (letters, number) = text.split_at(digits);
            let column = letters.bytes().try_fold(0u32, |sum, letter| {
                let value = u32::from(letter.to_ascii_uppercase() - b'A') + 1;
                Some(sum * 26 + value).filter(|sum| *sum <= WIDEST)
            })?;
            let row = match number {
                "" => None,
                number => Some(number.parse::<u32>().ok().filter(|n| (1..=LONGEST).contains(n))?),
            };
            Some(((!letters.is_empty()).then_some(column), row))
        };
        let (left, top) = corner(from).ok_or_else(wrong)?;
        let (right, bottom) = corner(to).ok_or_else(wrong)?;
        let area = Area {
            top: top.unwrap_or(1) - 1,
            left: left.unwrap_or(1) - 1,
            bottom: bottom.unwrap_or(LONGEST) - 1,
            right: right.unwrap_or(WIDEST) - 1,
        };
        let empty = left.is_none() && top.is_none();
        if empty || area.top > area.bottom || area.left > area.right {
            return Err(wrong());
        }
        Ok(area)
    }

    const ALL: Area = Area {
        top: 0,
        left: 0,
        bottom: LONGEST - 1,
        right: WIDEST - 1,
    };
}

/// A row that has values.
#[derive(Debug, Default)]
struct Row {
    /// Its number, from 0.
    number: u32,
    /// Its cells with their columns, from 0, in order.
    cells: Vec<(u32, Cell)>,
}

/// A sheet being read.
struct Rows<'a> {
    cells: XlsxCellReader<'a, BufReader<File>>,
    label: &'a str,
    area: Area,
    skip: usize,
    /// The first cell of the next row.
    ahead: Option<(u32, u32, Cell)>,
    /// The last cell was read: asking for another one is an error.
    ended: bool,
    bytes: u64,
    limit: u64,
}

impl<'a> Rows<'a> {
    /// The next row with a value inside the area. Errors: `E0210`, `E0805`.
    fn next(&mut self) -> Result<Option<Row>> {
        loop {
            let Some(row) = self.any()? else {
                return Ok(None);
            };
            if row.number > self.area.bottom {
                return Ok(None);
            }
            if row.number < self.area.top || row.cells.is_empty() {
                continue;
            }
            if self.skip > 0 {
                self.skip -= 1;
                continue;
            }
            return Ok(Some(row));
        }
    }

    fn any(&mut self) -> Result<Option<Row>> {
        let mut row: Option<Row> = None;
        let mut bytes = 0;
        if let Some((number, column, cell)) = self.ahead.take() {
            row = Some(Row {
                number,
                cells: vec![(column, cell)],
            });
        }
        loop {
            if self.ended {
                return Ok(row);
            }
            let found = contained(self.label, || {
                self.cells.next_cell().map_err(|cause| broken(self.label, &cause))
            })?;
            let Some(found) = found else {
                self.ended = true;
                return Ok(row);
            };
            let (number, column) = found.get_position();
            if number >= LONGEST || column >= WIDEST {
                return Err(disorder(self.label, "it has a cell outside of every sheet"));
            }
            let inside = (self.area.left..=self.area.right).contains(&column);
            let Some(cell) = Cell::of(found.get_value()).filter(|_| inside) else {
                continue;
            };
            self.bytes += cell.text.len() as u64 + 16;
            bytes += cell.text.len() as u64;
            if bytes > self.limit {
                return Err(Error::new(
                    Code::E0805,
                    format!(
                        "row {} of `{}` is larger than a quarter of the memory budget",
                        u64::from(number) + 1,
                        self.label
                    ),
                )
                .with_hint("run with a larger `--memory`, or leave columns out with `range`"));
            }
            match &mut row {
                None => {
                    row = Some(Row {
                        number,
                        cells: vec![(column, cell)],
                    });
                }
                Some(open) if open.number == number => {
                    if open.cells.last().is_some_and(|(before, _)| *before >= column) {
                        return Err(disorder(self.label, "its cells are not in order"));
                    }
                    open.cells.push((column, cell));
                }
                Some(open) if open.number > number => {
                    return Err(disorder(self.label, "its rows are not in order"));
                }
                Some(_) => {
                    self.ahead = Some((number, column, cell));
                    return Ok(row);
                }
            }
        }
    }
}

fn disorder(label: &str, why: &str) -> Error {
    Error::new(Code::E0210, format!("`{label}` is damaged: {why}"))
        .with_hint("save it again with Excel or LibreOffice, or as CSV")
}

fn broken(label: &str, cause: &XlsxError) -> Error {
    match cause {
        XlsxError::Password => Error::new(Code::E0210, format!("`{label}` is locked with a password"))
            .with_hint("save it without a password"),
        // The decoder's own words may hold text of the sheet.
        other => Error::new(
            Code::E0210,
            format!("`{label}` is not a workbook that can be read"),
        )
        .with_detail(format!("{}.", what(other)))
        .with_hint("save it again with Excel or LibreOffice, or as CSV"),
    }
}

/// What is wrong with a workbook, without text of it.
fn what(cause: &XlsxError) -> String {
    match cause {
        XlsxError::Io(_) | XlsxError::Zip(_) => "A part of it cannot be unpacked".to_owned(),
        XlsxError::Xml(_) | XlsxError::XmlAttr(_) => "A part of it is not well-formed XML".to_owned(),
        XlsxError::XmlEof(part) => format!("`{part}` ends too early"),
        XlsxError::UnexpectedNode(node) => format!("`{node}` is not as it should be"),
        XlsxError::Unexpected(why) => format!("It is not as it should be: {why}"),
        XlsxError::FileNotFound(_) | XlsxError::RelationshipNotFound => "A part of it is missing".to_owned(),
        XlsxError::ParseFloat(_) | XlsxError::ParseInt(_) | XlsxError::Parse(_) => {
            "A number in it cannot be read".to_owned()
        }
        XlsxError::CellTAttribute(_) => "A cell is of a kind that Excel does not have".to_owned(),
        _ => "A cell has a name that no sheet has".to_owned(),
    }
}

/// The name of the wanted sheet. Errors: `E0204`.
fn sheet_name(book: &Xlsx<BufReader<File>>, task: &FileTask) -> Result<String> {
    let names = book.sheet_names();
    let label = &task.entry.label;
    let found = match &task.options.sheet {
        None => names.first().cloned(),
        Some(Sheet::Number(number)) => number.checked_sub(1).and_then(|index| names.get(index)).cloned(),
        Some(Sheet::Name(name)) => names.iter().find(|known| *known == name).cloned(),
    };
    found.ok_or_else(|| {
        let wanted = match &task.options.sheet {
            Some(Sheet::Name(name)) => name.clone(),
            Some(Sheet::Number(number)) => number.to_string(),
            None => String::new(),
        };
        Error::new(Code::E0204, format!("`{label}` has no sheet `{wanted}`"))
            .with_detail(format!("It has {} sheet(s); numbers count from 1.", names.len()))
            .with_hint(did_you_mean(&wanted, names.iter().map(String::as_str)))
    })
}

/// The columns of a sheet: names and places.
struct Columns {
    names: Vec<String>,
    first: u32,
    /// The first row of values, where there is no header.
    row: Option<Row>,
}

/// Finds the header. `None` for a sheet without values. Errors: `E0406`.
fn columns(rows: &mut Rows<'_>, task: &FileTask, known: &[String]) -> Result<Option<Columns>> {
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    let header = task.options.csv.header.unwrap_or(true);
    let (first, last) = match (row.cells.first(), row.cells.last()) {
        (Some((first, _)), Some((last, _))) => (*first, *last),
        _ => return Ok(None),
    };
    let given = task.options.range.is_some();
    let first = if given || !header { rows.area.left } else { first };
    if !header {
        // Without a header the place decides; how wide the sheet is, its first row and the known columns say.
        let wide = (last - first + 1).max(known.len() as u32);
        let names = match known.len() as u32 == wide {
            true => known.to_vec(),
            false => (1..=wide).map(|n| format!("column_{n}")).collect(),
        };
        return Ok(Some(Columns {
            names,
            first,
            row: Some(row),
        }));
    }
    let mut names: Vec<String> = (first..=last)
        .map(|c| format!("column_{}", c - first + 1))
        .collect();
    for (column, cell) in row.cells.into_iter().filter(|(_, cell)| !cell.text.is_empty()) {
        names[(column - first) as usize] = cell.text;
    }
    let mut seen = HashSet::new();
    if let Some(name) = names.iter().find(|name| !seen.insert(name.as_str())) {
        return Err(Error::new(
            Code::E0406,
            format!("the header of `{}` names column `{name}` twice", rows.label),
        )
        .with_hint("rename one of them in the sheet, or read other cells with `range`"));
    }
    Ok(Some(Columns {
        names,
        first,
        row: None,
    }))
}

impl Columns {
    /// The next row of values.
    fn next(&mut self, rows: &mut Rows<'_>) -> Result<Option<Row>> {
        match self.row.take() {
            Some(row) => Ok(Some(row)),
            None => rows.next(),
        }
    }

    /// The column of a cell. Errors: `E0206` beyond the last one.
    fn index(&self, rows: &Rows<'_>, row: u32, column: u32) -> Result<usize> {
        let index = column.checked_sub(self.first).map(|index| index as usize);
        index.filter(|index| *index < self.names.len()).ok_or_else(|| {
            let cell = address(row, column);
            Error::new(
                Code::E0206,
                format!(
                    "cell {cell} of `{}` is beyond the columns of the header",
                    rows.label
                ),
            )
            .with_hint("give the column a name in the header, or leave it out with `range: \"A1:F\"`")
        })
    }
}

/// Opens the wanted sheet and hands its rows to `work`.
fn with_rows<T>(
    task: &FileTask,
    opened: &Opened,
    work: impl FnOnce(&mut Rows<'_>) -> Result<T>,
) -> Result<T> {
    let label = task.entry.label.as_str();
    let _held = contained(label, || guard::reserve(opened, &task.budget))?;
    let file = File::open(&opened.path).map_err(|cause| cannot_read(label, &cause))?;
    let area = task.options.range.as_deref().map_or(Ok(Area::ALL), Area::parse)?;
    let mut book = contained(label, || {
        Xlsx::new(BufReader::new(file)).map_err(|cause: XlsxError| broken(label, &cause))
    })?;
    let name = sheet_name(&book, task)?;
    let cells = contained(label, || {
        book.worksheet_cells_reader(&name).map_err(|cause| match cause {
            XlsxError::NotAWorksheet(_) => {
                Error::new(Code::E0204, format!("`{name}` of `{label}` holds no cells"))
                    .with_hint("name another sheet with `sheet`")
            }
            other => broken(label, &other),
        })
    })?;
    let mut rows = Rows {
        cells,
        label,
        area,
        skip: task.options.csv.skip_rows.unwrap_or(0),
        ahead: None,
        ended: false,
        bytes: 0,
        limit: task.budget.row_limit().min(1 << 30),
    };
    let done = work(&mut rows)?;
    opened.verify()?;
    Ok(done)
}

fn known(task: &FileTask) -> Vec<String> {
    let names = task.options.columns.iter().map(|(name, _)| name.clone());
    names
        .filter(|name| !task.entry.keys.iter().any(|(key, _)| key == name))
        .collect()
}

/// Looks at the beginning of a sheet.
pub(crate) fn sample(task: &FileTask, bytes: u64) -> Result<Sample> {
    let opened = Opened::new(&task.entry.path, &task.entry.label)?;
    let nulls = markers(task);
    let most = task.options.infer_rows.unwrap_or(u64::MAX);
    with_rows(task, &opened, |rows| {
        let Some(mut columns) = columns(rows, task, &known(task))? else {
            return Ok(Sample {
                whole: true,
                ..Sample::default()
            });
        };
        let mut evidence = vec![Evidence::default(); columns.names.len()];
        let (mut count, mut whole) = (0, true);
        while let Some(row) = columns.next(rows)? {
            for (column, cell) in &row.cells {
                let index = columns.index(rows, row.number, *column)?;
                match cell.kind {
                    _ if nulls.contains(&cell.text) => evidence[index].null(),
                    Kind::Words => evidence[index].words(),
                    _ => evidence[index].text(&cell.text),
                }
            }
            count += 1;
            if rows.bytes >= bytes || count >= most {
                whole = false;
                break;
            }
        }
        Ok(Sample {
            columns: std::mem::take(&mut columns.names)
                .into_iter()
                .zip(evidence)
                .collect(),
            rows: count,
            bytes: rows.bytes,
            whole,
        })
    })
}

/// Reads a sheet and sends its batches. `false` when nobody listens any more.
pub(crate) fn read(task: &FileTask, opened: &Opened, sender: &Sender) -> Result<bool> {
    with_rows(task, opened, |rows| {
        let Some(mut columns) = columns(rows, task, &task.columns)? else {
            return Ok(true);
        };
        let fields = task.file_schema.fields();
        let wanted: Vec<Option<usize>> = fields
            .iter()
            .map(|field| columns.names.iter().position(|name| name == field.name()))
            .collect();
        crate::drift::same_columns(task, &columns.names)?;
        let first = columns.first;
        let place = wanted.clone();
        let word = move |column: usize, row: u64| {
            let index = place[column].unwrap_or(0) as u32;
            format!("cell {}", address(row as u32, first + index))
        };
        let mut table = TextTable::new(task, false, Box::new(word))?;
        let mut left = task.limit.unwrap_or(u64::MAX);
        while left > 0 {
            let Some(row) = columns.next(rows)? else {
                break;
            };
            let mut found: Vec<Option<&Cell>> = vec![None; columns.names.len()];
            for (column, cell) in &row.cells {
                found[columns.index(rows, row.number, *column)?] = Some(cell);
            }
            for (index, field) in fields.iter().enumerate() {
                let cell = wanted[index].and_then(|at| found[at]);
                let declared = task.options.declared(field.name()).is_some();
                let text = *field.data_type() == DataType::Utf8View;
                if let Some(cell) = cell
                    && cell.kind == Kind::Words
                    && !text
                    && !declared
                    && !table.is_null(&cell.text)
                {
                    let at = first + wanted[index].unwrap_or(0) as u32;
                    return Err(unfit(
                        task,
                        field,
                        &format!("cell {}", address(row.number, at)),
                        false,
                    ));
                }
                let midnight = matches!(field.data_type(), DataType::Timestamp(..));
                let shown = cell.map(|cell| match cell.kind {
                    Kind::Day if midnight => format!("{} 00:00:00", cell.text),
                    _ => cell.text.clone(),
                });
                table.push(index, &[shown.as_deref()]);
            }
            left -= 1;
            if let Some(batch) = table.end_row(u64::from(row.number))?
                && !sender.send(task.complete(batch)?)?
            {
                return Ok(false);
            }
        }
        match table.finish()? {
            Some(batch) => sender.send(task.complete(batch)?),
            None => Ok(true),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_cells_are_understood() {
        let area = |text: &str| Area::parse(text).map(|a| (a.top, a.left, a.bottom, a.right));
        assert_eq!(area("B3:F100").expect("a range"), (2, 1, 99, 5));
        assert_eq!(area("B3:F").expect("a range"), (2, 1, LONGEST - 1, 5));
        assert_eq!(area("A1").expect("a range"), (0, 0, LONGEST - 1, WIDEST - 1));
        for wrong in ["", "F1:B2", "B0", "ZZZZ1", "B3:F100:G", "1B"] {
            assert_eq!(area(wrong).expect_err("refused").code(), Code::E0103, "{wrong}");
        }
    }
}
