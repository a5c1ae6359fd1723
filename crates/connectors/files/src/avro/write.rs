//! Writes Avro files in types that hold every value; what Avro cannot hold is refused before the first row.
//!
//! Narrow integers become `int` or `long`, unsigned ones of 64 bits decimals, seconds milliseconds: values stay what
//! they are. Zones become UTC, as everywhere. Names must be names of Avro.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::RecordBatch;
use arrow_avro::compression::CompressionCodec;
use arrow_avro::writer::format::AvroOcfFormat;
use arrow_avro::writer::{Writer, WriterBuilder};
use synqx_model::{Code, Error, Result};
use synqx_sdk::Budget;
use synqx_sdk::annotation::is_uuid;
use synqx_sdk::lane::visible_bytes;

use crate::encode::{Counted, Encode};
use crate::format::Compression;
use crate::ipc::write::{explain, recast};

/// Bytes of a block, about.
const BLOCK: u64 = 512 << 10;

/// An Avro file being written.
pub(crate) struct AvroFile {
    writer: Writer<Tracked, AvroOcfFormat>,
    schema: SchemaRef,
    path: PathBuf,
    budget: Budget,
    bytes: Arc<std::sync::atomic::AtomicU64>,
}

/// A file whose bytes are counted for somebody else: the encoder does not let go of it before the end.
struct Tracked {
    file: Counted,
    bytes: Arc<std::sync::atomic::AtomicU64>,
}

impl std::io::Write for Tracked {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.bytes
            .store(self.file.bytes(), std::sync::atomic::Ordering::Relaxed);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

/// The type that holds a type's values in Avro, or why there is none.
fn avro_type(data_type: &DataType) -> std::result::Result<DataType, &'static str> {
    use DataType::{
        Binary, Decimal128, Decimal256, FixedSizeBinary, Int32, Int64, List, Struct, Timestamp, Utf8,
    };
    let inner = |field: &Arc<Field>| -> std::result::Result<Arc<Field>, &'static str> {
        if !is_name(field.name()) {
            return Err("a field inside has a name that is no name of Avro");
        }
        let data_type = avro_type(field.data_type())?;
        Ok(Arc::new(Field::new(field.name(), data_type, field.is_nullable())))
    };
    Ok(match data_type {
        DataType::Boolean | Int32 | Int64 | DataType::Float32 | DataType::Float64 | DataType::Date32 => {
            data_type.clone()
        }
        DataType::Int8 | DataType::Int16 | DataType::UInt8 | DataType::UInt16 => Int32,
        DataType::UInt32 => Int64,
        DataType::UInt64 => Decimal128(20, 0),
        DataType::Float16 => DataType::Float32,
        DataType::Decimal32(p, s) | DataType::Decimal64(p, s) | Decimal128(p, s)
            if (0..=*p as i8).contains(s) =>
        {
            Decimal128(*p, *s)
        }
        Decimal256(p, s) if (0..=*p as i8).contains(s) => data_type.clone(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Utf8,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => Binary,
        FixedSizeBinary(1..) => data_type.clone(),
        DataType::Time32(_) => DataType::Time32(TimeUnit::Millisecond),
        DataType::Time64(TimeUnit::Microsecond) => data_type.clone(),
        Timestamp(unit, zone) => {
            let unit = if *unit == TimeUnit::Second {
                TimeUnit::Millisecond
            } else {
                *unit
            };
            Timestamp(unit, zone.as_ref().map(|_| "+00:00".into()))
        }
        DataType::Dictionary(_, value) => avro_type(value)?,
        List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => List(Arc::new(
            Field::new(item.name(), avro_type(item.data_type())?, item.is_nullable()),
        )),
        Struct(fields) if !fields.is_empty() => {
            Struct(fields.iter().map(inner).collect::<std::result::Result<_, _>>()?)
        }
        DataType::Time64(_) => return Err("Avro has no times of day in nanoseconds"),
        DataType::Interval(_) => {
            return Err("Avro has no interval that is signed or finer than milliseconds");
        }
        _ => return Err("Avro has no such type"),
    })
}

/// Why a column cannot be written as Avro.
pub(crate) fn refusal(field: &Field) -> Option<(Code, &'static str)> {
    if !is_name(field.name()) {
        return Some((
            Code::E0116,
            "a name of Avro begins with a letter or `_` and has letters, digits and `_` only",
        ));
    }
    avro_type(field.data_type()).err().map(|why| (Code::E0407, why))
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

impl AvroFile {
    /// Begins a file.
    pub(crate) fn new(
        file: File,
        path: &Path,
        schema: &SchemaRef,
        compression: Compression,
        budget: &Budget,
    ) -> Result<Self> {
        let mut fields = Vec::with_capacity(schema.fields().len());
        for field in schema.fields() {
            let data_type = avro_type(field.data_type())
                .map_err(|why| Error::bug(format!("column `{}` was not refused: {why}", field.name())))?;
            let mut written = Field::new(field.name(), data_type, field.is_nullable());
            if is_uuid(field) {
                let uuid = [("logicalType".to_owned(), "uuid".to_owned())];
                written = written.with_metadata(uuid.into());
            }
            fields.push(written);
        }
        let schema: SchemaRef = Arc::new(Schema::new(fields));
        let codec = match compression {
            Compression::Deflate => Some(CompressionCodec::Deflate),
            Compression::Snappy => Some(CompressionCodec::Snappy),
            Compression::Zstd => Some(CompressionCodec::ZStandard),
            _ => None,
        };
        let bytes = Arc::default();
        let tracked = Tracked {
            file: Counted::new(file),
            bytes: Arc::clone(&bytes),
        };
        let writer = WriterBuilder::new(schema.as_ref().clone())
            .with_compression(codec)
            .build::<_, AvroOcfFormat>(tracked)
            .map_err(|cause| explain(path, &cause))?;
        Ok(AvroFile {
            writer,
            schema,
            path: path.to_owned(),
            budget: budget.clone(),
            bytes,
        })
    }
}

impl Encode for AvroFile {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let bytes = visible_bytes(batch);
        let _held = self.budget.reserve("a batch being written", 3 * bytes)?;
        let batch = recast(batch, &self.schema)?;
        let pieces = bytes.div_ceil(BLOCK).max(1);
        let step = usize::try_from((batch.num_rows() as u64).div_ceil(pieces))
            .unwrap_or(1)
            .max(1);
        let mut from = 0;
        while from < batch.num_rows() {
            let rows = step.min(batch.num_rows() - from);
            self.writer
                .write(&batch.slice(from, rows))
                .map_err(|cause| explain(&self.path, &cause))?;
            from += rows;
        }
        Ok(())
    }

    fn bytes(&self) -> u64 {
        self.bytes.load(std::sync::atomic::Ordering::Relaxed)
    }

    fn finish(mut self: Box<Self>) -> Result<File> {
        let path = self.path.clone();
        self.writer.finish().map_err(|cause| explain(&path, &cause))?;
        let file = self.writer.into_inner().file;
        file.finish()
            .map_err(|cause| crate::place::cannot_write(&path, &cause))
    }
}
