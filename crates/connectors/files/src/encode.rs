//! One interface over the formats a file can be written in, and the packed byte stream under the text formats.
//!
//! An encoder is made for one file and ends with the file flushed, not yet synced: making it durable is the lane's
//! act, announced to the probe.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use flate2::write::GzEncoder;
use synqx_model::Result;
use synqx_sdk::Budget;

use crate::config::{Compression, Format, WriteOptions};
use crate::csv::write::DelimitedFile;
use crate::json::write::JsonFile;
use crate::parquet::write::ParquetFile;
use crate::place::cannot_write;

/// A file being written.
pub(crate) trait Encode: Send {
    /// Writes rows.
    fn write(&mut self, batch: &RecordBatch) -> Result<()>;
    /// Bytes so far, about.
    fn bytes(&self) -> u64;
    /// Ends the file.
    fn finish(self: Box<Self>) -> Result<File>;
}

/// Begins a file. `lanes`: how many share the budget.
pub(crate) fn encoder(
    path: &Path,
    file: File,
    schema: SchemaRef,
    options: &WriteOptions,
    share: (&Budget, usize),
) -> Result<Box<dyn Encode>> {
    Ok(match options.format {
        Format::Parquet => Box::new(ParquetFile::new(file, path, schema, options, share)?),
        Format::Csv | Format::Tsv => Box::new(DelimitedFile::new(
            Packed::new(file, path, options.compression)?,
            &schema,
            options,
        )?),
        Format::Jsonl | Format::Json => Box::new(JsonFile::new(
            Packed::new(file, path, options.compression)?,
            schema,
            options.format,
        )?),
    })
}

enum Stream {
    Plain(BufWriter<File>),
    Gzip(GzEncoder<BufWriter<File>>),
    Zstd(zstd::stream::write::Encoder<'static, BufWriter<File>>),
}

/// A file that packs what is written to it.
pub(crate) struct Packed {
    stream: Stream,
    path: PathBuf,
    bytes: u64,
}

impl Packed {
    /// Begins to pack into a file.
    pub(crate) fn new(file: File, path: &Path, compression: Compression) -> Result<Self> {
        let file = BufWriter::with_capacity(256 << 10, file);
        let stream = match compression {
            Compression::Gzip => Stream::Gzip(GzEncoder::new(file, flate2::Compression::default())),
            Compression::Zstd => {
                let encoder =
                    zstd::stream::write::Encoder::new(file, 3).map_err(|cause| cannot_write(path, &cause))?;
                Stream::Zstd(encoder)
            }
            Compression::None | Compression::Snappy | Compression::Lz4 => Stream::Plain(file),
        };
        Ok(Packed {
            stream,
            path: path.to_owned(),
            bytes: 0,
        })
    }

    /// Writes bytes.
    pub(crate) fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.bytes += bytes.len() as u64;
        let written = match &mut self.stream {
            Stream::Plain(stream) => stream.write_all(bytes),
            Stream::Gzip(stream) => stream.write_all(bytes),
            Stream::Zstd(stream) => stream.write_all(bytes),
        };
        written.map_err(|cause| cannot_write(&self.path, &cause))
    }

    /// Bytes written, before packing.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Ends the stream.
    pub(crate) fn finish(self) -> Result<File> {
        let end = || -> io::Result<File> {
            let buffered = match self.stream {
                Stream::Plain(stream) => stream,
                Stream::Gzip(stream) => stream.finish()?,
                Stream::Zstd(stream) => stream.finish()?,
            };
            buffered.into_inner().map_err(io::IntoInnerError::into_error)
        };
        end().map_err(|cause| cannot_write(&self.path, &cause))
    }
}
