//! A fragment: one relational plan that runs as a whole, from sources and exchanges to one output.
//!
//! A fragment with a check runs exactly once, because rejects leave it while it runs. What comes out are plain
//! Arrow streams, one per lane, with the annotations of native types put back on columns that passed unchanged.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::execution::context::SessionContext;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_expr::Partitioning;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use futures::StreamExt;
use synqx_model::{Error, Result};
use synqx_sdk::BatchStream;
use tokio::sync::OnceCell;

use crate::check::RejectSink;
use crate::compact::below_sorts;
use crate::exchange::Exchange;
use crate::held::below_windows;
use crate::trouble::{Phase, inward};

/// How joins of a fragment are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinPolicy {
    /// Hash joins: the build side is known to be small.
    Hash,
    /// Sort-merge joins: spill, never exhaust the budget.
    SortMerge,
}

/// Where a fragment's rows go.
#[derive(Debug, Clone)]
pub enum Output {
    /// A load node.
    Load(String),
    /// Spill files that several consumers read.
    Exchange(Arc<Exchange>),
}

/// What a running fragment is handed.
#[derive(Debug, Clone)]
pub struct RunContext {
    /// Where rejected rows go.
    pub rejects: Arc<dyn RejectSink>,
}

/// One relational plan that runs as a whole.
pub struct Fragment {
    /// Position in the plan graph.
    pub id: usize,
    /// The node it computes: a load, or a shared node.
    pub node: String,
    /// Where its rows go.
    pub output: Output,
    /// Shared nodes it reads.
    pub reads: Vec<String>,
    /// The schema of what comes out.
    pub schema: SchemaRef,
    /// How its joins run.
    pub joins: JoinPolicy,
    /// Sentences a person should read.
    pub notes: Vec<String>,
    pub(crate) logical: LogicalPlan,
    pub(crate) context: SessionContext,
    pub(crate) physical: OnceCell<Arc<dyn ExecutionPlan>>,
}

impl fmt::Debug for Fragment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fragment({}, {})", self.id, self.node)
    }
}

impl Fragment {
    /// Makes the physical plan; sources plan their scans now. Errors: `E02xx`, `E08xx`.
    pub(crate) async fn physical(&self) -> Result<&Arc<dyn ExecutionPlan>> {
        self.physical
            .get_or_try_init(|| async {
                let mut state = self.context.state();
                state.config_mut().options_mut().optimizer.prefer_hash_join = self.joins == JoinPolicy::Hash;
                let plan = state.create_physical_plan(&self.logical).await;
                plan.and_then(below_sorts)
                    .and_then(below_windows)
                    .map_err(|e| inward(e, Phase::Planning))
            })
            .await
    }

    /// Streams of the output, at most `lanes`. The run begins when they are polled.
    pub async fn execute(&self, lanes: usize, run: RunContext) -> Result<Vec<BatchStream>> {
        let mut plan = Arc::clone(self.physical().await?);
        let partitions = plan.output_partitioning().partition_count();
        if partitions > lanes {
            plan = if lanes <= 1 {
                Arc::new(CoalescePartitionsExec::new(plan))
            } else {
                let spread = RepartitionExec::try_new(plan, Partitioning::RoundRobinBatch(lanes));
                Arc::new(spread.map_err(|e| inward(e, Phase::Planning))?)
            };
        }
        let mut state = self.context.state();
        state.config_mut().set_extension(Arc::new(run));
        let task = state.task_ctx();
        let mut streams: Vec<BatchStream> = Vec::new();
        for partition in 0..plan.output_partitioning().partition_count() {
            let stream = plan
                .execute(partition, Arc::clone(&task))
                .map_err(|e| inward(e, Phase::Running))?;
            let schema = Arc::clone(&self.schema);
            streams.push(Box::pin(stream.map(move |batch| {
                let batch = batch.map_err(|e| inward(e, Phase::Running))?;
                dress(batch, &schema)
            })));
        }
        Ok(streams)
    }
}

/// The batch under the fragment's schema (same types, annotations put back).
fn dress(batch: RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), batch.columns().to_vec(), &options).map_err(
        |cause| Error::bug("a fragment sent a batch of another schema than it planned").with_cause(&cause),
    )
}
