//! A reservation for what a window holds: whole partitions of its input, which it does not count itself.
//!
//! DataFusion's window over unbounded frames keeps its input until the end and reserves nothing for it. This operator
//! stands below it, passes batches on and reserves them twice (once kept, once put together), so that a
//! partition too large for the budget is `E0804` instead of memory nobody allowed. Bounded windows need none.

use std::sync::Arc;

use datafusion::arrow::record_batch::RecordBatch;
use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::windows::WindowAggExec;
use futures::TryStreamExt;
use synqx_sdk::lane::visible_bytes;

use crate::pass::below;

/// Puts the operator below every window that keeps its input.
pub(crate) fn below_windows(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    below(plan, |node| node.is::<WindowAggExec>(), ("HeldExec", reserved))
}

fn reserved(
    input: SendableRecordBatchStream,
    partition: usize,
    context: &Arc<TaskContext>,
) -> SendableRecordBatchStream {
    let held = MemoryConsumer::new(format!("Window[{partition}]")).register(context.memory_pool());
    let schema = input.schema();
    // The reservation lives as long as the stream, which the window keeps until it ends.
    let counted = input.and_then(move |batch: RecordBatch| {
        let bytes = usize::try_from(visible_bytes(&batch)).unwrap_or(usize::MAX);
        let grown = held.try_grow(bytes.saturating_mul(2));
        std::future::ready(grown.map(|()| batch))
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, counted))
}
