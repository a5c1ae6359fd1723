//! How large the pages of a column chunk are, from their headers alone, before anything is unpacked.
//!
//! The `parquet` crate tells a page's size only together with its bytes, and a page may be larger than the budget.
//! Headers are Thrift's compact protocol (`PageHeader` in parquet.thrift, the Thrift compact protocol specification):
//! the few numbers that matter are picked out, everything else is skipped. Values are never looked at here.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};

use parquet::file::metadata::ColumnChunkMetaData;

/// One page of a column chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Page {
    /// It holds the dictionary, not rows.
    pub(crate) dictionary: bool,
    /// Values with NULLs; rows, where the column does not repeat.
    pub(crate) values: u64,
    /// Bytes once unpacked.
    pub(crate) bytes: u64,
    /// Bytes in the file.
    pub(crate) packed: u64,
}

/// The pages of a column chunk in order. Errors when the file cannot be read or the headers make no sense.
pub(crate) fn pages(file: &File, chunk: &ColumnChunkMetaData) -> io::Result<Vec<Page>> {
    let (start, length) = chunk.byte_range();
    let mut input = BufReader::with_capacity(4 << 10, file.try_clone()?);
    input.seek(SeekFrom::Start(start))?;
    let (mut pages, mut at) = (Vec::new(), 0u64);
    while at < length {
        let mut header = Header {
            input: &mut input,
            taken: 0,
        };
        let page = header.page()?;
        let taken = header.taken;
        input.seek_relative(i64::try_from(page.packed).map_err(|_| senseless())?)?;
        at += taken + page.packed;
        pages.push(page);
    }
    Ok(pages)
}

fn senseless() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the header of a page makes no sense")
}

const STOP: u8 = 0;
const TRUE: u8 = 1;
const FALSE: u8 = 2;
const BYTE: u8 = 3;
const I16: u8 = 4;
const I32: u8 = 5;
const I64: u8 = 6;
const DOUBLE: u8 = 7;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const SET: u8 = 10;
const MAP: u8 = 11;
const STRUCT: u8 = 12;

/// A header being read.
struct Header<R> {
    input: R,
    taken: u64,
}

impl<R: Read> Header<R> {
    fn byte(&mut self) -> io::Result<u8> {
        let mut byte = [0];
        self.input.read_exact(&mut byte)?;
        self.taken += 1;
        Ok(byte[0])
    }

    fn drop_bytes(&mut self, count: u64) -> io::Result<()> {
        let dropped = io::copy(&mut (&mut self.input).take(count), &mut io::sink())?;
        self.taken += dropped;
        if dropped == count {
            Ok(())
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }

    fn varint(&mut self) -> io::Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(senseless())
    }

    fn number(&mut self) -> io::Result<i64> {
        let raw = self.varint()?;
        Ok((raw >> 1) as i64 ^ -((raw & 1) as i64))
    }

    fn size(&mut self) -> io::Result<u64> {
        u64::try_from(self.number()?).map_err(|_| senseless())
    }

    /// The next field of a structure: its type and id. `None` at the end.
    fn field(&mut self, last: &mut i64) -> io::Result<Option<(u8, i64)>> {
        let byte = self.byte()?;
        let (delta, kind) = (byte >> 4, byte & 0x0f);
        if kind == STOP {
            return Ok(None);
        }
        *last = if delta == 0 {
            self.number()?
        } else {
            *last + i64::from(delta)
        };
        Ok(Some((kind, *last)))
    }

    fn page(&mut self) -> io::Result<Page> {
        let (mut page, mut last) = (Page::default(), 0);
        while let Some((kind, id)) = self.field(&mut last)? {
            match (id, kind) {
                (1, I32) => page.dictionary = self.number()? == 2,
                (2, I32) => page.bytes = self.size()?,
                (3, I32) => page.packed = self.size()?,
                (5 | 7 | 8, STRUCT) => page.values = self.values()?,
                _ => self.skip(kind, 0)?,
            }
        }
        Ok(page)
    }

    /// The first field of each kind of page header is its number of values.
    fn values(&mut self) -> io::Result<u64> {
        let (mut values, mut last) = (0, 0);
        while let Some((kind, id)) = self.field(&mut last)? {
            match (id, kind) {
                (1, I32) => values = self.size()?,
                _ => self.skip(kind, 0)?,
            }
        }
        Ok(values)
    }

    /// Skips a value in a structure, where a boolean is in its type.
    fn skip(&mut self, kind: u8, depth: u8) -> io::Result<()> {
        if depth > 16 {
            return Err(senseless());
        }
        match kind {
            TRUE | FALSE => Ok(()),
            BYTE => self.drop_bytes(1),
            I16 | I32 | I64 => self.varint().map(drop),
            DOUBLE => self.drop_bytes(8),
            BINARY => {
                let length = self.varint()?;
                self.drop_bytes(length)
            }
            LIST | SET => {
                let byte = self.byte()?;
                let count = match byte >> 4 {
                    15 => self.varint()?,
                    count => u64::from(count),
                };
                (0..count).try_for_each(|_| self.skip_item(byte & 0x0f, depth))
            }
            MAP => {
                let count = self.varint()?;
                let kinds = if count == 0 { 0 } else { self.byte()? };
                (0..count).try_for_each(|_| {
                    self.skip_item(kinds >> 4, depth)?;
                    self.skip_item(kinds & 0x0f, depth)
                })
            }
            STRUCT => {
                let mut last = 0;
                while let Some((kind, _)) = self.field(&mut last)? {
                    self.skip(kind, depth + 1)?;
                }
                Ok(())
            }
            _ => Err(senseless()),
        }
    }

    /// Skips an item of a list or map, where a boolean is a byte.
    fn skip_item(&mut self, kind: u8, depth: u8) -> io::Result<()> {
        match kind {
            TRUE | FALSE => self.drop_bytes(1),
            kind => self.skip(kind, depth + 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, StringArray};
    use arrow::record_batch::RecordBatch;
    use parquet::arrow::ArrowWriter;
    use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
    use parquet::basic::Compression;
    use parquet::file::properties::{WriterProperties, WriterVersion};

    use super::*;

    /// Pages of one text column: of a few long values, or of many short ones with a dictionary.
    fn written(texts: &[String], version: WriterVersion, dictionary: bool) -> (Vec<Page>, u64) {
        let properties = WriterProperties::builder()
            .set_writer_version(version)
            .set_compression(Compression::SNAPPY)
            .set_dictionary_enabled(dictionary)
            .set_data_page_row_count_limit(100)
            .set_write_batch_size(100)
            .build();
        let column: ArrayRef = Arc::new(StringArray::from_iter_values(texts));
        let batch = RecordBatch::try_from_iter([("text", column)]).expect("a batch");
        let mut file = tempfile::tempfile().expect("a file");
        let mut writer = ArrowWriter::try_new(&mut file, batch.schema(), Some(properties)).expect("a writer");
        writer.write(&batch).expect("writes");
        writer.close().expect("closes");
        let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()).expect("a footer");
        let group = metadata.metadata().row_group(0);
        let (_, length) = group.column(0).byte_range();
        (pages(&file, group.column(0)).expect("pages"), length)
    }

    #[test]
    fn finds_every_page_of_both_versions_with_and_without_dictionary() {
        let texts: Vec<String> = (0..1000).map(|n| format!("{:>200}", n % 10)).collect();
        for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
            for dictionary in [false, true] {
                let (pages, length) = written(&texts, version, dictionary);
                let rows: Vec<_> = pages.iter().filter(|p| !p.dictionary).collect();
                assert_eq!(rows.iter().map(|p| p.values).sum::<u64>(), 1000, "{pages:?}");
                assert!(rows.len() >= 10, "{pages:?}");
                let dictionaries: Vec<_> = pages.iter().filter(|p| p.dictionary).collect();
                assert_eq!(dictionaries.len(), usize::from(dictionary));
                assert!(dictionaries.iter().all(|p| p.bytes == 10 * 204 && p.values == 10));
                // The second version leaves out what a value has in common with the one before.
                let whole = !dictionary && version == WriterVersion::PARQUET_1_0;
                assert!(!whole || rows.iter().all(|p| p.bytes >= 204 * p.values));
                assert!(pages.iter().map(|p| p.packed).sum::<u64>() < length);
            }
        }
    }

    #[test]
    fn refuses_what_is_no_header() {
        for bytes in [&[0x15, 0x00][..], &[0x1d; 40], &[0xff; 40]] {
            let mut header = Header {
                input: bytes,
                taken: 0,
            };
            assert!(header.page().is_err(), "{bytes:?}");
        }
    }
}
