//! Writes Parquet with a bounded row group: what is in progress is reserved from the budget and flushed at a limit.
//!
//! The Arrow schema with its annotations is stored in the file, so a read gives back the same fields. Types that
//! Parquet cannot hold without loss are refused before the first row (`refusal`).

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use arrow::datatypes::{DataType, IntervalUnit, SchemaRef};
use arrow::record_batch::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression as Codec, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use synqx_model::{Code, Error, Result};
use synqx_sdk::{Budget, Reservation};

use crate::config::WriteOptions;
use crate::encode::Encode;
use crate::format::Compression;
use crate::place::cannot_write;

/// A Parquet file being written.
pub(crate) struct ParquetFile {
    writer: ArrowWriter<BufWriter<File>>,
    path: PathBuf,
    limit: usize,
    held: Reservation,
}

impl ParquetFile {
    /// Begins a file. `lanes`: how many share the budget.
    pub(crate) fn new(
        file: File,
        path: &Path,
        schema: SchemaRef,
        options: &WriteOptions,
        (budget, lanes): (&Budget, usize),
    ) -> Result<Self> {
        let share = usize::try_from(budget.limit() / 8).unwrap_or(usize::MAX) / lanes.max(1);
        let wanted = options
            .row_group_bytes
            .and_then(|b| usize::try_from(b).ok())
            .unwrap_or(64 << 20);
        let limit = wanted.min(share).max(1 << 20);
        let properties = WriterProperties::builder()
            .set_compression(codec(options.compression))
            .set_created_by(format!("SynqX {}", env!("CARGO_PKG_VERSION")))
            .build();
        let held = budget.reserve("a Parquet row group", 0)?;
        let writer = ArrowWriter::try_new(BufWriter::new(file), schema, Some(properties))
            .map_err(|cause| explain(path, &cause))?;
        Ok(ParquetFile {
            writer,
            path: path.to_owned(),
            limit,
            held,
        })
    }
}

fn codec(compression: Compression) -> Codec {
    match compression {
        Compression::None | Compression::Gzip | Compression::Deflate => Codec::UNCOMPRESSED,
        Compression::Snappy => Codec::SNAPPY,
        Compression::Lz4 => Codec::LZ4_RAW,
        Compression::Zstd => Codec::ZSTD(ZstdLevel::default()),
    }
}

fn explain(path: &Path, cause: &ParquetError) -> Error {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(cause);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return cannot_write(path, io);
        }
        next = error.source();
    }
    Error::new(Code::E0313, format!("cannot write `{}`", path.display()))
        .with_hint("check the disk and the path, then run again")
        .with_cause(cause)
}

impl Encode for ParquetFile {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.writer
            .write(batch)
            .map_err(|cause| explain(&self.path, &cause))?;
        let size = self.writer.memory_size();
        let fits = size < self.limit && self.held.resize("a Parquet row group", size as u64).is_ok();
        if !fits {
            self.writer.flush().map_err(|cause| explain(&self.path, &cause))?;
            self.held
                .resize("a Parquet row group", self.writer.memory_size() as u64)?;
        }
        Ok(())
    }

    fn bytes(&self) -> u64 {
        (self.writer.bytes_written() + self.writer.in_progress_size()) as u64
    }

    fn finish(self: Box<Self>) -> Result<File> {
        let path = self.path;
        let buffered = self.writer.into_inner().map_err(|cause| explain(&path, &cause))?;
        buffered
            .into_inner()
            .map_err(|cause| cannot_write(&path, cause.error()))
    }
}

/// Why Parquet cannot hold a type without loss.
pub(crate) fn refusal(data_type: &DataType) -> Option<(Code, &'static str)> {
    match data_type {
        DataType::Interval(IntervalUnit::MonthDayNano) => Some((
            Code::E0403,
            "Parquet has no interval of months, days and nanoseconds",
        )),
        DataType::Decimal32(_, scale)
        | DataType::Decimal64(_, scale)
        | DataType::Decimal128(_, scale)
        | DataType::Decimal256(_, scale)
            if *scale < 0 =>
        {
            Some((Code::E0407, "Parquet has no decimals with a negative scale"))
        }
        DataType::Union(..)
        | DataType::RunEndEncoded(..)
        | DataType::ListView(_)
        | DataType::LargeListView(_) => Some((Code::E0407, "Parquet has no such type")),
        DataType::Struct(fields) if fields.is_empty() => {
            Some((Code::E0407, "Parquet has no structure without fields"))
        }
        DataType::Struct(fields) => fields.iter().find_map(|field| refusal(field.data_type())),
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::FixedSizeList(field, _)
        | DataType::Map(field, _) => refusal(field.data_type()),
        DataType::Dictionary(_, value) => refusal(value),
        _ => None,
    }
}
