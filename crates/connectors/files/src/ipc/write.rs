//! Writes Arrow files that every reader of the format understands: no views, no dictionaries, packed buffers.
//!
//! The annotations of columns travel in the schema, so a read gives back the same fields. A batch is reserved while it
//! is encoded. Streams are not written.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::CompressionType;
use arrow::ipc::writer::{FileWriter, IpcWriteOptions};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use synqx_model::{Code, Error, Result};
use synqx_sdk::Budget;
use synqx_sdk::lane::visible_bytes;

use crate::encode::{Counted, Encode};
use crate::format::Compression;
use crate::place::cannot_write;
use crate::read::retyped;

/// An Arrow file being written.
pub(crate) struct ArrowFile {
    writer: FileWriter<Counted>,
    schema: SchemaRef,
    path: PathBuf,
    budget: Budget,
}

/// The type a column is written in.
pub(crate) fn written_type(data_type: &DataType) -> DataType {
    retyped(data_type, &|flat| match flat {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        other => other.clone(),
    })
}

/// Casts the columns of a batch to a schema that holds the same values.
pub(crate) fn recast(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let mut arrays: Vec<ArrayRef> = Vec::with_capacity(batch.num_columns());
    for (array, field) in batch.columns().iter().zip(schema.fields()) {
        arrays.push(match array.data_type() == field.data_type() {
            true => array.clone(),
            false => cast(array, field.data_type()).map_err(|cause| {
                let name = field.name();
                Error::bug(format!("cannot write column `{name}` in its type")).with_cause(&cause)
            })?,
        });
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), arrays, &options)
        .map_err(|cause| Error::bug("cannot make a batch to write").with_cause(&cause))
}

/// The error of an encoder: that of the disk, where it was the disk.
pub(crate) fn explain(path: &Path, cause: &(dyn std::error::Error + 'static)) -> Error {
    let mut next = Some(cause);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return cannot_write(path, io);
        }
        next = match error.downcast_ref::<ArrowError>() {
            Some(ArrowError::IoError(_, io)) => return cannot_write(path, io),
            _ => error.source(),
        };
    }
    Error::new(Code::E0313, format!("cannot write `{}`", path.display()))
        .with_hint("check the disk and the path, then run again")
}

impl ArrowFile {
    /// Begins a file.
    pub(crate) fn new(
        file: File,
        path: &Path,
        schema: &SchemaRef,
        compression: Compression,
        budget: &Budget,
    ) -> Result<Self> {
        let fields = schema.fields().iter();
        let fields: Vec<Field> = fields
            .map(|field| {
                field
                    .as_ref()
                    .clone()
                    .with_data_type(written_type(field.data_type()))
            })
            .collect();
        let schema: SchemaRef = Arc::new(Schema::new(fields));
        let codec = match compression {
            Compression::Lz4 => Some(CompressionType::LZ4_FRAME),
            Compression::Zstd => Some(CompressionType::ZSTD),
            _ => None,
        };
        let failed = |cause: ArrowError| explain(path, &cause);
        let options = IpcWriteOptions::default()
            .try_with_compression(codec)
            .map_err(failed)?;
        let writer = FileWriter::try_new_with_options(Counted::new(file), &schema, options);
        Ok(ArrowFile {
            writer: writer.map_err(failed)?,
            schema,
            path: path.to_owned(),
            budget: budget.clone(),
        })
    }
}

impl Encode for ArrowFile {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let _held = self
            .budget
            .reserve("a batch being written", 2 * visible_bytes(batch))?;
        let batch = recast(batch, &self.schema)?;
        self.writer
            .write(&batch)
            .map_err(|cause| explain(&self.path, &cause))
    }

    fn bytes(&self) -> u64 {
        self.writer.get_ref().bytes()
    }

    fn finish(self: Box<Self>) -> Result<File> {
        let path = self.path;
        let counted = self.writer.into_inner().map_err(|cause| explain(&path, &cause))?;
        counted.finish().map_err(|cause| cannot_write(&path, &cause))
    }
}

/// Why Arrow files are not written with a type.
pub(crate) fn refusal(data_type: &DataType) -> Option<(Code, &'static str)> {
    match data_type {
        DataType::Duration(_) => Some((Code::E0407, "it could not be read back")),
        other if crate::drift::unsupported(other) => Some((Code::E0407, "it could not be read back")),
        _ => None,
    }
}
