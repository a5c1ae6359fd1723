//! Batches a sorter can account for: few rows, few bytes, and no buffer shared with other batches.
//!
//! A sorter reserves what the buffers of a batch take in memory, and takes rows out of it in pieces. A large batch, a
//! slice of one, or text views that share one large buffer are then counted many times over, and a sort that
//! would spill is refused instead; what a merge puts out refers to the buffers of all its inputs. This operator stands
//! below every sort and every merge of sorted streams and copies such batches into small ones.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, UInt32Array};
use datafusion::arrow::compute::take;
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::SortMergeJoinExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::spill::get_record_batch_memory_size;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt, TryStreamExt};
use synqx_sdk::lane::visible_bytes;

use crate::memory::BudgetPool;
use crate::pass::below;

/// No batch is cut smaller than this.
const LEAST: usize = 32 << 10;

/// Puts the operator below every sort that keeps all its rows, and between sorts and what merges them.
pub(crate) fn below_sorts(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let sorts_or_merges = |node: &dyn ExecutionPlan| {
        let sort = node.downcast_ref::<SortExec>();
        let merges = node.is::<SortPreservingMergeExec>() || node.is::<SortMergeJoinExec>();
        merges || sort.is_some_and(|sort| sort.fetch().is_none())
    };
    below(plan, sorts_or_merges, ("CompactExec", compacted))
}

fn compacted(
    input: SendableRecordBatchStream,
    _: usize,
    context: &Arc<TaskContext>,
) -> SendableRecordBatchStream {
    let context = Arc::clone(context);
    let rows = context.session_config().batch_size();
    let schema = input.schema();
    let cut = input
        .map_ok(move |batch| {
            let pool = context.memory_pool().downcast_ref::<BudgetPool>();
            let bytes = pool.map_or(usize::MAX, BudgetPool::batch_share).max(LEAST);
            futures::stream::iter(pieces(&batch, rows, bytes))
        })
        .try_flatten();
    Box::pin(RecordBatchStreamAdapter::new(schema, cut.boxed()))
}

/// The batch in pieces of at most `rows` rows and about `bytes` bytes, each with buffers of its own; the batch itself
/// when it is such a piece already.
fn pieces(batch: &RecordBatch, rows: usize, bytes: usize) -> Vec<Result<RecordBatch>> {
    let count = batch.num_rows();
    let visible = usize::try_from(visible_bytes(batch)).unwrap_or(usize::MAX);
    let held = get_record_batch_memory_size(batch);
    if count <= rows && visible <= bytes && held <= visible.saturating_mul(2).max(LEAST) {
        return vec![Ok(batch.clone())];
    }
    let width = visible.div_ceil(count.max(1)).max(1);
    let step = (bytes / width).clamp(1, rows.max(1));
    (0..count)
        .step_by(step)
        .map(|start| copied(batch, start, step.min(count - start)))
        .collect()
}

fn copied(batch: &RecordBatch, start: usize, rows: usize) -> Result<RecordBatch> {
    let slice = batch.slice(start, rows);
    let every = UInt32Array::from_iter_values(0..u32::try_from(rows).unwrap_or(u32::MAX));
    let columns = slice
        .columns()
        .iter()
        .map(|column| own(column, &every))
        .collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(
        slice.schema(),
        columns,
        &options,
    )?)
}

fn own(column: &ArrayRef, every: &UInt32Array) -> Result<ArrayRef> {
    Ok(match column.data_type() {
        DataType::Utf8View => Arc::new(column.as_string_view().gc()),
        DataType::BinaryView => Arc::new(column.as_binary_view().gc()),
        _ => take(column, every, None)?,
    })
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Int64Array, StringViewArray};

    use super::*;

    fn batch(rows: usize) -> RecordBatch {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows as i64));
        let texts: ArrayRef = Arc::new(StringViewArray::from_iter_values(
            (0..rows).map(|i| format!("a text longer than twelve bytes, {i}")),
        ));
        RecordBatch::try_from_iter([("n", numbers), ("t", texts)]).expect("a batch")
    }

    #[test]
    fn a_large_batch_becomes_pieces_that_hold_only_their_own_rows() {
        let whole = batch(10_000);
        let cut: Vec<RecordBatch> = pieces(&whole, 4_096, 64 << 10)
            .into_iter()
            .collect::<Result<_>>()
            .expect("pieces");
        assert!(cut.len() > 3);
        let together = datafusion::arrow::compute::concat_batches(&whole.schema(), &cut).expect("one");
        assert_eq!(together, whole);
        for piece in &cut {
            assert!(
                get_record_batch_memory_size(piece) <= 2 * (64 << 10),
                "shares a buffer"
            );
        }
    }

    #[test]
    fn a_sparse_view_of_a_large_buffer_is_copied_and_a_small_batch_is_not() {
        let sparse = batch(10_000).slice(17, 100);
        let cut = pieces(&sparse, 4_096, 1 << 20);
        let piece = cut.into_iter().next().expect("one").expect("copied");
        assert_eq!(piece, sparse);
        assert!(get_record_batch_memory_size(&piece) < get_record_batch_memory_size(&sparse) / 10);
        let small = batch(100);
        let same = pieces(&small, 4_096, 1 << 20).remove(0).expect("as it was");
        assert!(Arc::ptr_eq(small.column(0), same.column(0)));
    }

    #[test]
    fn no_rows_are_no_pieces_or_one_empty_one() {
        let rows: usize = pieces(&batch(0), 10, 10)
            .into_iter()
            .map(|b| b.expect("b").num_rows())
            .sum();
        assert_eq!(rows, 0);
    }
}
