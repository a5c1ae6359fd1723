//! Writes JSON: one object per line, or one array of objects.
//!
//! NULL is written as `null`, so every line has every column. Integers and decimals are written in full as numbers,
//! infinities and NaN, which JSON lacks, as texts.

use std::fs::File;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use synqx_model::Result;

use super::render::{printers, quoted};
use crate::config::Format;
use crate::encode::{Encode, Packed};

/// Bytes rendered before they are handed on.
const CHUNK: usize = 128 << 10;

/// A JSON file being written.
pub(crate) struct JsonFile {
    out: Packed,
    names: Vec<Vec<u8>>,
    array: bool,
    first: bool,
}

impl JsonFile {
    /// Begins a file.
    pub(crate) fn new(mut out: Packed, schema: SchemaRef, format: Format) -> Result<Self> {
        let names = schema.fields().iter().map(|field| {
            let mut name = Vec::new();
            quoted(field.name(), &mut name);
            name.push(b':');
            name
        });
        let array = format == Format::Json;
        if array {
            out.put(b"[")?;
        }
        Ok(JsonFile {
            names: names.collect(),
            out,
            array,
            first: true,
        })
    }
}

impl Encode for JsonFile {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let columns = printers(batch)?;
        let mut lines = Vec::with_capacity(CHUNK * 2);
        for row in 0..batch.num_rows() {
            if self.array {
                lines.extend_from_slice(if self.first { b"\n" } else { b",\n" });
            }
            self.first = false;
            lines.push(b'{');
            for (index, (name, column)) in self.names.iter().zip(&columns).enumerate() {
                if index > 0 {
                    lines.push(b',');
                }
                lines.extend_from_slice(name);
                column.json(row, &mut lines);
            }
            lines.push(b'}');
            if !self.array {
                lines.push(b'\n');
            }
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

    fn finish(mut self: Box<Self>) -> Result<File> {
        if self.array {
            self.out.put(b"\n]\n")?;
        }
        self.out.finish()
    }
}
