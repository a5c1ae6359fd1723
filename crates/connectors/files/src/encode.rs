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
use synqx_model::{Error, Result};
use synqx_sdk::Budget;

use crate::avro::write::AvroFile;
use crate::config::WriteOptions;
use crate::csv::write::DelimitedFile;
use crate::fixed::write::FixedFile;
use crate::format::{Compression, Format};
use crate::ipc::write::ArrowFile;
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
        Format::Fixed => Box::new(FixedFile::new(
            Packed::new(file, path, options.compression)?,
            &schema,
            options,
        )?),
        Format::Avro => Box::new(AvroFile::new(file, path, &schema, options.compression, share.0)?),
        Format::Arrow => Box::new(ArrowFile::new(file, path, &schema, options.compression, share.0)?),
        Format::Xlsx | Format::Xml => return Err(Error::bug("a format that is read only was to be written")),
    })
}

/// A buffered file that knows how many bytes were written to it.
pub(crate) struct Counted {
    file: BufWriter<File>,
    bytes: u64,
}

impl Counted {
    /// Begins to count.
    pub(crate) fn new(file: File) -> Self {
        Counted {
            file: BufWriter::with_capacity(256 << 10, file),
            bytes: 0,
        }
    }

    /// Bytes so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Hands everything to the file.
    pub(crate) fn finish(self) -> io::Result<File> {
        self.file.into_inner().map_err(io::IntoInnerError::into_error)
    }
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

enum Stream {
    Plain(Counted),
    Gzip(GzEncoder<Counted>),
    Zstd(zstd::stream::write::Encoder<'static, Counted>),
}

/// A file that packs what is written to it.
pub(crate) struct Packed {
    stream: Stream,
    path: PathBuf,
}

impl Packed {
    /// Begins to pack into a file.
    pub(crate) fn new(file: File, path: &Path, compression: Compression) -> Result<Self> {
        let file = Counted::new(file);
        let stream = match compression {
            Compression::Gzip => Stream::Gzip(GzEncoder::new(file, flate2::Compression::default())),
            Compression::Zstd => {
                let encoder =
                    zstd::stream::write::Encoder::new(file, 3).map_err(|cause| cannot_write(path, &cause))?;
                Stream::Zstd(encoder)
            }
            Compression::None | Compression::Snappy | Compression::Lz4 | Compression::Deflate => {
                Stream::Plain(file)
            }
        };
        Ok(Packed {
            stream,
            path: path.to_owned(),
        })
    }

    /// Writes bytes.
    pub(crate) fn put(&mut self, bytes: &[u8]) -> Result<()> {
        let written = match &mut self.stream {
            Stream::Plain(stream) => stream.write_all(bytes),
            Stream::Gzip(stream) => stream.write_all(bytes),
            Stream::Zstd(stream) => stream.write_all(bytes),
        };
        written.map_err(|cause| cannot_write(&self.path, &cause))
    }

    /// Bytes of the file so far, packed.
    pub(crate) fn bytes(&self) -> u64 {
        match &self.stream {
            Stream::Plain(stream) => stream.bytes(),
            Stream::Gzip(stream) => stream.get_ref().bytes(),
            Stream::Zstd(stream) => stream.get_ref().bytes(),
        }
    }

    /// Ends the stream.
    pub(crate) fn finish(self) -> Result<File> {
        let end = || -> io::Result<File> {
            let buffered = match self.stream {
                Stream::Plain(stream) => stream,
                Stream::Gzip(stream) => stream.finish()?,
                Stream::Zstd(stream) => stream.finish()?,
            };
            buffered.finish()
        };
        end().map_err(|cause| cannot_write(&self.path, &cause))
    }
}
