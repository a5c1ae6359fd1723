//! Reads Parquet: schema and row counts from the footer, wanted columns of wanted row groups as batches.
//!
//! Text arrives as string views and dictionaries as their values. Files of one asset may have columns the others
//! lack; those are NULL. Old INT96 timestamps are read in microseconds, which hold every date they can mean.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::RecordBatch;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
    RowSelector,
};
use parquet::basic::Type as Physical;
use synqx_model::{Error, Result};
use synqx_sdk::Predicate;
use synqx_sdk::lane::Sender;

use super::portions::{self, Portion};
use super::prune;
use crate::content::{Opened, contained, damaged};
use crate::drift::{Seen, conform};
use crate::read::{FileTask, house_type};

/// Bytes of row groups that one partition should have at least.
const PARTITION: i64 = 32 << 20;

fn footer(opened: &Opened) -> Result<ArrowReaderMetadata> {
    contained(&opened.label, || {
        ArrowReaderMetadata::load(&opened.file, ArrowReaderOptions::new())
            .map_err(|cause| broken(opened, &cause))
    })
}

fn broken(opened: &Opened, cause: &dyn std::error::Error) -> Error {
    opened
        .verify()
        .err()
        .unwrap_or_else(|| damaged(&opened.label, cause))
}

/// The schema of a file in the types of the house.
fn house_schema(metadata: &ArrowReaderMetadata) -> SchemaRef {
    let fields = metadata
        .schema()
        .fields()
        .iter()
        .enumerate()
        .map(|(index, field)| {
            let data_type = if is_int96(metadata, index) {
                DataType::Timestamp(TimeUnit::Microsecond, None)
            } else {
                house_type(field.data_type())
            };
            Arc::new(field.as_ref().clone().with_data_type(data_type))
        });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn is_int96(metadata: &ArrowReaderMetadata, root: usize) -> bool {
    let parquet = metadata.parquet_schema();
    let field = parquet.root_schema().get_fields().get(root);
    field.is_some_and(|field| field.is_primitive() && field.get_physical_type() == Physical::INT96)
}

/// Looks at a footer: the columns and rows of a file.
pub(crate) fn look(look: &FileTask) -> Result<Seen> {
    let opened = Opened::new(&look.entry.path, &look.entry.label)?;
    if opened.stamp.len == 0 {
        return Ok(Seen::nothing());
    }
    let metadata = footer(&opened)?;
    let schema = house_schema(&metadata);
    let legacy = (0..schema.fields().len()).filter(|position| is_int96(&metadata, *position));
    let notes = legacy
        .map(|position| {
            format!(
                "column `{}` is a legacy INT96 timestamp, read in microseconds",
                schema.field(position).name()
            )
        })
        .collect();
    let rows = metadata.metadata().file_metadata().num_rows();
    Ok(Seen {
        schema,
        rows: Some(u64::try_from(rows).unwrap_or(0)),
        notes,
    })
}

/// The row groups of a file that a scan needs.
pub(crate) struct Layout {
    /// Row groups that may hold rows that pass, with their size.
    pub(crate) kept: Vec<(usize, i64)>,
    /// Row groups of the file.
    pub(crate) groups: usize,
    /// Rows of the groups kept.
    pub(crate) rows: u64,
}

impl Layout {
    /// Ranges of row groups, with their bytes, for about `parallel` partitions over `files` files.
    pub(crate) fn ranges(&self, parallel: usize, files: usize) -> Vec<(Vec<usize>, u64)> {
        let per_file = parallel.div_ceil(files.max(1)).max(1) as i64;
        let total: i64 = self.kept.iter().map(|(_, bytes)| *bytes).sum();
        let target = (total / per_file).max(PARTITION.min(total));
        let mut ranges = Vec::new();
        let (mut range, mut size) = (Vec::new(), 0i64);
        let bytes_of = |size: i64| u64::try_from(size).unwrap_or(0);
        for (group, bytes) in &self.kept {
            if !range.is_empty() && size + bytes > target {
                ranges.push((std::mem::take(&mut range), bytes_of(size)));
                size = 0;
            }
            range.push(*group);
            size += bytes;
        }
        if !range.is_empty() {
            ranges.push((range, bytes_of(size)));
        }
        ranges
    }
}

/// Looks at the footer of a file: which row groups the predicates leave.
pub(crate) fn layout(task: &FileTask, predicates: &[Predicate]) -> Result<Layout> {
    let opened = Opened::new(&task.entry.path, &task.entry.label)?;
    if opened.stamp.len == 0 {
        return Ok(Layout {
            kept: Vec::new(),
            groups: 0,
            rows: 0,
        });
    }
    let metadata = footer(&opened)?;
    let groups = metadata.metadata().row_groups();
    let skipped = prune::skipped(&metadata, predicates);
    let kept: Vec<_> = (0..groups.len())
        .filter(|i| !skipped[*i])
        .map(|i| (i, groups[i].total_byte_size()))
        .collect();
    let rows = kept
        .iter()
        .map(|(i, _)| u64::try_from(groups[*i].num_rows()).unwrap_or(0))
        .sum();
    Ok(Layout {
        kept,
        groups: groups.len(),
        rows,
    })
}

/// Reads row groups and sends their batches. `false` when nobody listens any more.
pub(crate) fn read(task: &FileTask, opened: Opened, sender: &Sender) -> Result<bool> {
    if opened.stamp.len == 0 {
        return Ok(true);
    }
    let plain = footer(&opened)?;
    let house = house_schema(&plain);
    let viewed = ArrowReaderOptions::new().with_schema(house);
    let metadata = ArrowReaderMetadata::try_new(plain.metadata().clone(), viewed).unwrap_or(plain);
    let roots: Vec<usize> = {
        let fields = metadata.schema().fields();
        (0..fields.len())
            .filter(|i| task.file_schema.field_with_name(fields[*i].name()).is_ok())
            .collect()
    };
    let groups = task
        .groups
        .clone()
        .unwrap_or_else(|| (0..metadata.metadata().num_row_groups()).collect());
    let mut left = usize::try_from(task.limit.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
    let who = format!("the rows of `{}` being read", task.entry.label);
    let mut held = task.budget.reserve(&who, 0)?;
    for group in groups {
        let found = metadata.metadata().row_groups().get(group);
        let info = found.ok_or_else(|| crate::content::changed(&opened.label))?;
        let place = format!("row group {group} of `{}`", task.entry.label);
        let reading = portions::plan(&opened.file, &metadata, info, &roots, (&task.budget, &place))?;
        held.resize(&who, reading.held)?;
        for portion in &reading.portions {
            if left == 0 {
                return Ok(true);
            }
            for batch in batches(&opened, &metadata, &roots, (group, *portion, left))? {
                let batch = batch.map_err(|cause| broken(&opened, &cause))?;
                left = left.saturating_sub(batch.num_rows());
                let batch = conform(task, &batch)?;
                refuse_large(task, &batch, &metadata, &reading.suspects)?;
                if !sender.send(task.complete(batch)?)? {
                    return Ok(false);
                }
            }
        }
    }
    opened.verify().map(|()| true)
}

/// Decodes a portion of a row group, `left` rows at most.
fn batches(
    opened: &Opened,
    metadata: &ArrowReaderMetadata,
    roots: &[usize],
    (group, portion, left): (usize, Portion, usize),
) -> Result<ParquetRecordBatchReader> {
    let file = opened
        .file
        .try_clone()
        .map_err(|cause| crate::content::cannot_read(&opened.label, &cause))?;
    let mask = ProjectionMask::roots(metadata.parquet_schema(), roots.iter().copied());
    let mut builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata.clone())
        .with_row_groups(vec![group])
        .with_projection(mask)
        .with_batch_size(portion.batch)
        .with_limit(left);
    let rows = metadata.metadata().row_group(group).num_rows();
    if usize::try_from(rows) != Ok(portion.rows) && rows > 0 {
        let wanted = [
            RowSelector::skip(portion.start),
            RowSelector::select(portion.rows),
        ];
        builder = builder.with_row_selection(wanted.to_vec().into());
    }
    builder.build().map_err(|cause| broken(opened, &cause))
}

/// Refuses values that are larger than the budget moves. Errors: `E0805`.
fn refuse_large(
    task: &FileTask,
    batch: &RecordBatch,
    metadata: &ArrowReaderMetadata,
    suspects: &[usize],
) -> Result<()> {
    for root in suspects {
        let name = metadata.schema().field(*root).name();
        let bytes = batch.column_by_name(name).map_or(0, portions::measure);
        if bytes > task.budget.row_limit() {
            let place = format!("`{}`", task.entry.label);
            return Err(task.budget.row_too_large(name, &place, bytes));
        }
    }
    Ok(())
}
