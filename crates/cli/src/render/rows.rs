//! Rows of a preview: names and types above, values below, numbers to the right, NULL told from text.
//!
//! Cells are cut to a readable length; columns that do not fit the terminal are named below instead of
//! wrapping.

use arrow::datatypes::{DataType, SchemaRef};
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use synqx_model::{Error, Result};
use synqx_sdk::{annotation, type_names};

use super::paint::Paint;
use super::table::{Side, cut, pad, width};

const LONGEST_CELL: usize = 40;

/// The rows as a table. `screen` is the terminal's width; `None` shows every column.
pub(crate) fn render(
    schema: &SchemaRef,
    batches: &[RecordBatch],
    screen: Option<usize>,
    paint: Paint,
) -> Result<String> {
    let columns = schema.fields().iter().enumerate().map(|(i, field)| {
        let logical = match () {
            () if annotation::is_json(field) => "json".to_owned(),
            () if annotation::is_uuid(field) => "uuid".to_owned(),
            () if annotation::is_numeric_text(field) => "numeric".to_owned(),
            () => type_names::render_type(field.data_type()),
        };
        let mut cells = Vec::new();
        for batch in batches {
            cells.extend(texts(batch, i, annotation::is_uuid(field))?);
        }
        let side = if leans_right(field.data_type()) {
            Side::Right
        } else {
            Side::Left
        };
        Ok(Column::new(field.name(), logical, cells, side))
    });
    let columns = columns.collect::<Result<Vec<Column>>>()?;
    let shown = fitting(&columns, screen);
    let mut out = String::new();
    let line = |cells: Vec<String>| format!("{}\n", cells.join("  ").trim_end());
    out.push_str(&line(
        columns[..shown]
            .iter()
            .map(|c| paint.bold(&c.fill(&c.name)))
            .collect(),
    ));
    out.push_str(&line(
        columns[..shown]
            .iter()
            .map(|c| paint.dim(&c.fill(&c.kind)))
            .collect(),
    ));
    let rows = columns.first().map_or(0, |column| column.cells.len());
    for row in 0..rows {
        let cell = |c: &Column| match &c.cells[row] {
            Some(text) => c.fill(text),
            None => paint.dim(&c.fill("NULL")),
        };
        out.push_str(&line(columns[..shown].iter().map(cell).collect()));
    }
    if shown < columns.len() {
        let hidden: Vec<String> = columns[shown..]
            .iter()
            .map(|c| format!("{} {}", c.name, c.kind))
            .collect();
        out.push_str(&paint.dim(&format!("… {} more columns: {}", hidden.len(), hidden.join(", "))));
        out.push('\n');
    }
    Ok(out)
}

struct Column {
    name: String,
    kind: String,
    cells: Vec<Option<String>>,
    width: usize,
    side: Side,
}

impl Column {
    fn new(name: &str, kind: String, cells: Vec<Option<String>>, side: Side) -> Self {
        let name = cut(name, LONGEST_CELL);
        let widths = cells.iter().map(|cell| cell.as_deref().map_or(4, width));
        let width = widths.chain([width(&name), width(&kind)]).max().unwrap_or(0);
        Column {
            name,
            kind,
            cells,
            width,
            side,
        }
    }

    fn fill(&self, text: &str) -> String {
        pad(text, self.width, self.side)
    }
}

/// How many columns fit, at least one.
fn fitting(columns: &[Column], screen: Option<usize>) -> usize {
    let Some(screen) = screen else {
        return columns.len();
    };
    let mut used = 0;
    let fits = columns.iter().take_while(|column| {
        used += column.width + 2;
        used <= screen + 2
    });
    fits.count().max(1).min(columns.len())
}

fn leans_right(data_type: &DataType) -> bool {
    data_type.is_numeric()
}

fn texts(batch: &RecordBatch, column: usize, uuid: bool) -> Result<Vec<Option<String>>> {
    let array = batch.column(column);
    let options = FormatOptions::default().with_display_error(true);
    let formatter = ArrayFormatter::try_new(array.as_ref(), &options)
        .map_err(|cause| Error::bug("a column cannot be shown").with_cause(&cause))?;
    Ok((0..batch.num_rows())
        .map(|row| {
            (!array.is_null(row)).then(|| {
                let text = formatter.value(row).to_string();
                let text = if uuid { hyphenated(&text) } else { text };
                cut(&one_line(&text), LONGEST_CELL)
            })
        })
        .collect())
}

/// Line breaks and tabs shown as such; control characters never reach the terminal.
fn one_line(text: &str) -> String {
    text.chars()
        .flat_map(|c| match c {
            '\n' => "↵".chars().collect::<Vec<_>>(),
            '\r' => Vec::new(),
            '\t' => vec!['→'],
            c if c.is_control() => vec!['·'],
            c => vec![c],
        })
        .collect()
}

fn hyphenated(hex: &str) -> String {
    match (
        hex.get(..8),
        hex.get(8..12),
        hex.get(12..16),
        hex.get(16..20),
        hex.get(20..),
    ) {
        (Some(a), Some(b), Some(c), Some(d), Some(e)) if hex.len() == 32 => format!("{a}-{b}-{c}-{d}-{e}"),
        _ => hex.to_owned(),
    }
}
