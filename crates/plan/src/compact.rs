//! Batches a sorter can account for: few rows, few bytes, and no buffer shared with other batches.
//!
//! A sorter reserves what the buffers of a batch take in memory, and takes rows out of it in pieces. A large batch, a
//! slice of one, or text views that share one large buffer are then counted many times over, and a sort that
//! would spill is refused instead; what a merge puts out refers to the buffers of all its inputs. This operator stands
//! below every sort and every merge of sorted streams and copies such batches into small ones.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, UInt32Array};
use datafusion::arrow::compute::take;
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::joins::SortMergeJoinExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::spill::get_record_batch_memory_size;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildStats, ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties,
    ReplaceChildrenOptions, Statistics, StatisticsArgs,
};
use futures::{StreamExt, TryStreamExt};
use synqx_sdk::lane::visible_bytes;

use crate::memory::BudgetPool;

/// No batch is cut smaller than this.
const LEAST: usize = 32 << 10;

/// Puts the operator below every sort that keeps all its rows, and between sorts and what merges them.
pub(crate) fn below_sorts(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|node| {
        let sorts = node
            .downcast_ref::<SortExec>()
            .is_some_and(|sort| sort.fetch().is_none());
        let merges = node.is::<SortPreservingMergeExec>() || node.is::<SortMergeJoinExec>();
        if !sorts && !merges {
            return Ok(Transformed::no(node));
        }
        let compact = |input: &Arc<dyn ExecutionPlan>| -> Arc<dyn ExecutionPlan> {
            Arc::new(CompactExec {
                input: Arc::clone(input),
            })
        };
        let inputs = node.children().into_iter().map(compact).collect();
        let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        node.replace_children(inputs, options).map(Transformed::yes)
    })
    .data()
}

#[derive(Debug)]
struct CompactExec {
    input: Arc<dyn ExecutionPlan>,
}

impl DisplayAs for CompactExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CompactExec")
    }
}

impl ExecutionPlan for CompactExec {
    fn name(&self) -> &str {
        "CompactExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let input = children.swap_remove(0);
        Ok(Arc::new(CompactExec { input }))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let rows = context.session_config().batch_size();
        let input = self.input.execute(partition, Arc::clone(&context))?;
        let schema = input.schema();
        let pieces = input
            .map_ok(move |batch| {
                let pool = context.memory_pool().downcast_ref::<BudgetPool>();
                let bytes = pool.map_or(usize::MAX, BudgetPool::batch_share).max(LEAST);
                futures::stream::iter(pieces(&batch, rows, bytes))
            })
            .try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, pieces.boxed())))
    }

    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        _: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        Ok(Arc::clone(&inputs[0]))
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }
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
