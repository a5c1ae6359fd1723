//! Writes delimited text (RFC 4180) so that reading it gives back the same values.
//!
//! Quotes only where needed; NULL is the empty cell without quotes (or the `nulls` text), the empty text is `""`, and
//! a value that looks like NULL stands in quotes.
//! Numbers in full, floats in their shortest exact form, times in ISO, bytes as `\x` and hex, nested values as JSON.

use std::fs::File;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use synqx_model::Result;

use crate::config::WriteOptions;
use crate::encode::{Encode, Packed};
use crate::json::render::{Printer, Shape, printers};

/// Bytes rendered before they are handed on.
const CHUNK: usize = 128 << 10;

/// A delimited file being written.
pub(crate) struct DelimitedFile {
    out: Packed,
    delimiter: u8,
    null: Vec<u8>,
    markers: Vec<Vec<u8>>,
    special: [bool; 256],
}

impl DelimitedFile {
    /// Begins a file with its header.
    pub(crate) fn new(out: Packed, schema: &SchemaRef, options: &WriteOptions) -> Result<Self> {
        let mut special = [false; 256];
        let comment = options.comment;
        for byte in [options.delimiter, b'"', b'\n', b'\r'].into_iter().chain(comment) {
            special[usize::from(byte)] = true;
        }
        let mut file = DelimitedFile {
            out,
            delimiter: options.delimiter,
            null: options.null.clone().into_bytes(),
            markers: options
                .markers
                .iter()
                .map(|text| text.clone().into_bytes())
                .collect(),
            special,
        };
        if options.header {
            let mut line = Vec::new();
            for (index, field) in schema.fields().iter().enumerate() {
                if index > 0 {
                    line.push(file.delimiter);
                }
                file.text(field.name().as_bytes(), &mut line);
            }
            line.push(b'\n');
            file.out.put(&line)?;
        }
        Ok(file)
    }

    /// A text cell: in quotes where it would be read as something else.
    fn text(&self, text: &[u8], line: &mut Vec<u8>) {
        let plain = !text.is_empty()
            && !self.markers.iter().any(|marker| marker == text)
            && !text.iter().any(|b| self.special[usize::from(*b)]);
        if plain {
            line.extend_from_slice(text);
            return;
        }
        line.push(b'"');
        for byte in text {
            if *byte == b'"' {
                line.push(b'"');
            }
            line.push(*byte);
        }
        line.push(b'"');
    }

    fn cell(&self, printer: &Printer, row: usize, scratch: &mut Vec<u8>, line: &mut Vec<u8>) {
        if printer.is_null(row) {
            line.extend_from_slice(&self.null);
            return;
        }
        if let Some(text) = printer.text(row) {
            self.text(text.as_bytes(), line);
            return;
        }
        scratch.clear();
        match printer.shape() {
            Shape::Nested => printer.json(row, scratch),
            Shape::Number | Shape::Text => printer.plain(row, scratch),
        }
        self.text(scratch, line);
    }
}

impl Encode for DelimitedFile {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let columns = printers(batch)?;
        let (mut lines, mut scratch) = (Vec::with_capacity(CHUNK * 2), Vec::new());
        for row in 0..batch.num_rows() {
            for (index, column) in columns.iter().enumerate() {
                if index > 0 {
                    lines.push(self.delimiter);
                }
                self.cell(column, row, &mut scratch, &mut lines);
            }
            lines.push(b'\n');
            if lines.len() >= CHUNK {
                self.out.put(&lines)?;
                lines.clear();
            }
        }
        self.out.put(&lines)
    }

    fn bytes(&self) -> u64 {
        self.out.bytes()
    }

    fn finish(self: Box<Self>) -> Result<File> {
        self.out.finish()
    }
}
