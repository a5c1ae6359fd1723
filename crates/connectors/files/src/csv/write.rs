//! Writes delimited text (RFC 4180) so that reading it gives back the same values.
//!
//! Quotes only where needed; NULL is the empty cell without quotes (or the `nulls` text), the empty text is `""`, and
//! a value that looks like NULL stands in quotes.
//! Numbers in full, floats in their shortest exact form, times in ISO, bytes as `\x` and hex, nested values as JSON.

use std::fs::File;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use synqx_model::{Code, Error, Result};

use super::encoding::Encoder;
use crate::config::WriteOptions;
use crate::encode::{Encode, Packed};
use crate::json::render::{Printer, Shape, printers};

/// Bytes rendered before they are handed on.
const CHUNK: usize = 128 << 10;

/// A delimited file being written.
pub(crate) struct DelimitedFile {
    out: Packed,
    delimiter: u8,
    quote: Option<u8>,
    escape: Option<u8>,
    encoding: Encoder,
    null: Vec<u8>,
    markers: Vec<Vec<u8>>,
    special: [bool; 256],
    row: u64,
}

impl DelimitedFile {
    /// Begins a file with its header.
    pub(crate) fn new(out: Packed, schema: &SchemaRef, options: &WriteOptions) -> Result<Self> {
        let mut special = [false; 256];
        let others = options.comment.into_iter().chain(options.quote);
        for byte in [options.delimiter, b'\n', b'\r'].into_iter().chain(others) {
            special[usize::from(byte)] = true;
        }
        let mut file = DelimitedFile {
            out,
            delimiter: options.delimiter,
            quote: options.quote,
            escape: options.escape,
            encoding: Encoder::new(options.encoding),
            row: 0,
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
                file.text(field.name().as_bytes(), field.name(), &mut line)?;
            }
            line.push(b'\n');
            file.emit(&line)?;
        }
        Ok(file)
    }

    /// Hands rendered rows on, encoded. Errors: `E0307` for characters that the encoding does not have.
    fn emit(&mut self, lines: &[u8]) -> Result<()> {
        if !self.encoding.changes() {
            return self.out.put(lines);
        }
        let text = String::from_utf8_lossy(lines);
        match self.encoding.encode(&text) {
            Some(bytes) => self.out.put(&bytes),
            None => Err(Error::new(
                Code::E0307,
                format!(
                    "row {} of the load has a character that {} does not have",
                    self.row,
                    self.encoding.name()
                ),
            )
            .with_hint("write `encoding: utf-8`, or replace the character before the load")),
        }
    }

    /// A text cell: in quotes where it would be read as something else. Errors: `E0307` when there are no quotes.
    fn text(&self, text: &[u8], column: &str, line: &mut Vec<u8>) -> Result<()> {
        let plain = !text.is_empty()
            && !self.markers.iter().any(|marker| marker == text)
            && !text.iter().any(|b| self.special[usize::from(*b)]);
        if plain {
            line.extend_from_slice(text);
            return Ok(());
        }
        let Some(quote) = self.quote else {
            return Err(Error::new(
                Code::E0307,
                format!("a value of column `{column}` needs quotes, and `quote` is empty"),
            )
            .with_detail(format!(
                "It is in row {} of the load, and is empty, means NULL, or holds a delimiter or line end.",
                self.row + 1
            ))
            .with_hint("leave `quote` out, or choose a `delimiter` and `nulls` that no value has"));
        };
        line.push(quote);
        for byte in text {
            if *byte == quote || Some(*byte) == self.escape {
                line.push(self.escape.unwrap_or(quote));
            }
            line.push(*byte);
        }
        line.push(quote);
        Ok(())
    }

    fn cell(
        &self,
        (printer, column): (&Printer, &str),
        row: usize,
        scratch: &mut Vec<u8>,
        line: &mut Vec<u8>,
    ) -> Result<()> {
        if printer.is_null(row) {
            line.extend_from_slice(&self.null);
            return Ok(());
        }
        if let Some(text) = printer.text(row) {
            return self.text(text.as_bytes(), column, line);
        }
        scratch.clear();
        match printer.shape() {
            Shape::Nested => printer.json(row, scratch),
            Shape::Number | Shape::Text => printer.plain(row, scratch),
        }
        self.text(scratch, column, line)
    }
}

impl Encode for DelimitedFile {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let columns = printers(batch)?;
        let schema = batch.schema();
        let (mut lines, mut scratch) = (Vec::with_capacity(CHUNK * 2), Vec::new());
        for row in 0..batch.num_rows() {
            for (index, column) in columns.iter().enumerate() {
                if index > 0 {
                    lines.push(self.delimiter);
                }
                let name = schema.field(index).name();
                self.cell((column, name), row, &mut scratch, &mut lines)?;
            }
            lines.push(b'\n');
            self.row += 1;
            // Row by row where a character may be refused, so that the refusal names its row.
            if lines.len() >= CHUNK || self.encoding.changes() {
                self.emit(&lines)?;
                lines.clear();
            }
        }
        self.emit(&lines)
    }

    fn bytes(&self) -> u64 {
        self.out.bytes()
    }

    fn finish(self: Box<Self>) -> Result<File> {
        self.out.finish()
    }
}
