//! Writes lines whose columns stand at fixed places, so that reading them gives back the same values.
//!
//! A value that is longer than its place, or that reading could not tell from its padding or from NULL, is refused
//! with the column and the row (E0307); nothing is cut off.

use std::fs::File;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use synqx_model::{Code, Error, Result};

use super::layout::{Align, Layout, Trim, unknown};
use crate::config::WriteOptions;
use crate::encode::{Encode, Packed};
use crate::json::render::{Printer, Shape, printers};

/// A file of fixed columns being written.
pub(crate) struct FixedFile {
    out: Packed,
    layout: Layout,
    /// For each place its column.
    columns: Vec<usize>,
    /// The order of the places in the line.
    order: Vec<usize>,
    null: String,
    markers: Vec<String>,
    row: u64,
}

/// Whether the columns and the places are the same. Errors: `E0103`, `E0405`.
pub(crate) fn check(schema: &SchemaRef, options: &WriteOptions) -> Result<()> {
    let layout = options.fields.as_ref().ok_or_else(unknown)?;
    if options.encoding != encoding_rs::UTF_8 {
        return Err(Error::new(Code::E0103, "fixed columns are written as UTF-8 only")
            .with_hint("write `encoding: utf-8` under `options` of the load"));
    }
    let mut wrong = Vec::new();
    for field in schema.fields() {
        if !layout.places.iter().any(|place| place.name == *field.name()) {
            wrong.push(format!("column `{}` has no field", field.name()));
        }
    }
    for place in &layout.places {
        match schema.field_with_name(&place.name) {
            Err(_) => wrong.push(format!("field `{}` has no column", place.name)),
            Ok(field) if place.pad.is_some_and(|pad| pad != ' ') && !field.data_type().is_numeric() => wrong
                .push(format!(
                    "field `{}` is no number, so its padding could not be told from it",
                    place.name
                )),
            Ok(_) => {}
        }
        if options.null.chars().count() > place.width {
            wrong.push(format!("the text for NULL is longer than field `{}`", place.name));
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    Err(Error::new(Code::E0405, "the columns are not those of `fields`")
        .with_detail(format!("{}.", wrong.join("; ")))
        .with_hint("name every column once under `fields`, or select those columns before the load"))
}

impl FixedFile {
    /// Begins a file. Errors: `E0103`, `E0405`.
    pub(crate) fn new(out: Packed, schema: &SchemaRef, options: &WriteOptions) -> Result<Self> {
        check(schema, options)?;
        let layout = options.fields.clone().ok_or_else(unknown)?;
        let columns = layout
            .places
            .iter()
            .filter_map(|place| schema.index_of(&place.name).ok());
        let columns = columns.collect();
        let mut order: Vec<usize> = (0..layout.places.len()).collect();
        order.sort_by_key(|index| layout.places[*index].start);
        Ok(FixedFile {
            out,
            columns,
            order,
            layout,
            null: options.null.clone(),
            markers: options.markers.clone(),
            row: 0,
        })
    }

    fn cell(&self, index: usize, text: Option<&str>, line: &mut String) -> Result<()> {
        let place = &self.layout.places[index];
        let refuse = |what: &str, hint: &str| {
            Err(
                Error::new(Code::E0307, format!("a value of column `{}` {what}", place.name))
                    .with_detail(format!(
                        "It is in row {} of the load; the field has {} characters.",
                        self.row + 1,
                        place.width
                    ))
                    .with_hint(hint),
            )
        };
        let shown = text.unwrap_or(&self.null);
        let characters = shown.chars().count();
        if characters > place.width {
            return refuse(
                "is longer than its field",
                "make the field wider, or shorten the value before the load",
            );
        }
        if shown.contains(['\n', '\r']) {
            return refuse("holds a line end", "remove it before the load, or write CSV");
        }
        let pad = place.pad.unwrap_or(' ');
        if let Some(text) = text {
            // What reading would make of the value with its padding.
            let padded = characters < place.width && pad == ' ';
            let kept = |trim: Trim| {
                !padded
                    || matches!(
                        (trim, place.align),
                        (Trim::Both, _) | (Trim::Right, Align::Left) | (Trim::Left, Align::Right)
                    )
            };
            if place.trim.apply(text) != text || !kept(place.trim) {
                return refuse(
                    "begins or ends with blanks, or could not be told from its padding",
                    "trim it before the load, or write CSV",
                );
            }
            if self.markers.iter().any(|marker| marker == text) {
                return refuse(
                    "is the text that means NULL",
                    "choose another text with `nulls: \"NULL\"` under `options` of the load",
                );
            }
        }
        let fill: String =
            std::iter::repeat_n(if text.is_none() { ' ' } else { pad }, place.width - characters).collect();
        match place.align {
            Align::Left => line.extend([shown, &fill]),
            Align::Right if shown.starts_with('-') && pad == '0' => {
                line.push('-');
                line.extend([fill.as_str(), &shown[1..]]);
            }
            Align::Right => line.extend([fill.as_str(), shown]),
        }
        Ok(())
    }
}

/// The text of a value; none for NULL.
fn text<'a>(printer: &'a Printer, row: usize, scratch: &'a mut Vec<u8>) -> Option<std::borrow::Cow<'a, str>> {
    if printer.is_null(row) {
        return None;
    }
    scratch.clear();
    if let Some(text) = printer.text(row) {
        return Some(text.into());
    }
    match printer.shape() {
        Shape::Nested => printer.json(row, scratch),
        Shape::Number | Shape::Text => printer.plain(row, scratch),
    }
    Some(String::from_utf8_lossy(scratch))
}

impl Encode for FixedFile {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let columns = printers(batch)?;
        let (mut lines, mut scratch) = (String::new(), Vec::new());
        for row in 0..batch.num_rows() {
            let mut at = 1;
            for index in &self.order {
                let place = &self.layout.places[*index];
                lines.extend(std::iter::repeat_n(' ', place.start - at));
                let value = text(&columns[self.columns[*index]], row, &mut scratch);
                self.cell(*index, value.as_deref(), &mut lines)?;
                at = place.start + place.width;
            }
            lines.push('\n');
            self.row += 1;
            if lines.len() >= 128 << 10 {
                self.out.put(lines.as_bytes())?;
                lines.clear();
            }
        }
        self.out.put(lines.as_bytes())
    }

    fn bytes(&self) -> u64 {
        self.out.bytes()
    }

    fn finish(self: Box<Self>) -> Result<File> {
        self.out.finish()
    }
}
