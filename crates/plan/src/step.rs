//! `Step`: the transparent operator at every node boundary. It counts, and changes nothing else.
//!
//! Predicates, projections and limits pass through it on their way to the source; ordering, partitioning and
//! statistics are kept. A plan with steps optimises to the plan without them (`transparency` strips them and compares).

use std::fmt;
use std::hash::{Hash, Hasher};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DFSchemaRef, Statistics};
use datafusion::error::Result;
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::execution_plan::CardinalityEffect;
use datafusion::physical_plan::filter_pushdown::{
    ChildPushdownResult, FilterDescription, FilterPushdownPhase, FilterPushdownPropagation,
};
use datafusion::physical_plan::{
    ChildStats, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, StatisticsArgs,
};
use futures::{Stream, StreamExt};

use synqx_sdk::lane::visible_bytes;

use crate::meter::StepMeter;
use crate::trouble::{Phase, inward, outward};

/// The logical step.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) node: String,
    pub(crate) input: LogicalPlan,
    pub(crate) meter: Arc<StepMeter>,
    /// It has expressions of its own; one that fails below a step without any was sunk from further up.
    pub(crate) computes: bool,
}

impl PartialEq for Step {
    fn eq(&self, other: &Self) -> bool {
        self.node == other.node && self.input == other.input
    }
}

impl Eq for Step {}

impl PartialOrd for Step {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.node.cmp(&other.node))
            .filter(|o| o.is_ne())
            .or_else(|| self.input.partial_cmp(&other.input))
    }
}

impl Hash for Step {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.node.hash(state);
        self.input.hash(state);
    }
}

impl UserDefinedLogicalNodeCore for Step {
    fn name(&self) -> &str {
        "Step"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.input.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn prevent_predicate_push_down_columns(&self) -> std::collections::HashSet<String> {
        Default::default()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Step: {}", self.node)
    }

    fn with_exprs_and_inputs(&self, _: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        Ok(Step {
            node: self.node.clone(),
            input: inputs.swap_remove(0),
            meter: Arc::clone(&self.meter),
            computes: self.computes,
        })
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        Some(vec![output_columns.to_vec()])
    }

    fn supports_limit_pushdown(&self) -> bool {
        true
    }
}

/// The physical step.
#[derive(Debug, Clone)]
pub(crate) struct StepExec {
    node: String,
    input: Arc<dyn ExecutionPlan>,
    meter: Arc<StepMeter>,
    computes: bool,
}

impl StepExec {
    pub(crate) fn node(&self) -> &str {
        &self.node
    }

    pub(crate) fn input(&self) -> &Arc<dyn ExecutionPlan> {
        &self.input
    }

    pub(crate) fn meter(&self) -> &Arc<StepMeter> {
        &self.meter
    }

    pub(crate) fn new(step: &Step, input: Arc<dyn ExecutionPlan>) -> Self {
        StepExec {
            node: step.node.clone(),
            input,
            meter: Arc::clone(&step.meter),
            computes: step.computes,
        }
    }

    fn over(&self, input: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        Arc::new(StepExec {
            node: self.node.clone(),
            input,
            meter: Arc::clone(&self.meter),
            computes: self.computes,
        })
    }
}

impl DisplayAs for StepExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StepExec: {}", self.node)
    }
}

impl ExecutionPlan for StepExec {
    fn name(&self) -> &str {
        "StepExec"
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
        Ok(self.over(children.swap_remove(0)))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context)?;
        self.meter.open();
        Ok(Box::pin(Counted {
            input,
            raiser: self.computes.then(|| self.node.clone()),
            meter: Arc::clone(&self.meter),
            done: false,
        }))
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

    fn supports_limit_pushdown(&self) -> bool {
        true
    }

    fn with_fetch(&self, limit: Option<usize>) -> Option<Arc<dyn ExecutionPlan>> {
        self.input.with_fetch(limit).map(|input| self.over(input))
    }

    fn fetch(&self) -> Option<usize> {
        self.input.fetch()
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
    }

    fn gather_filters_for_pushdown(
        &self,
        _: FilterPushdownPhase,
        parent_filters: Vec<Arc<dyn PhysicalExpr>>,
        _: &ConfigOptions,
    ) -> Result<FilterDescription> {
        FilterDescription::from_children(parent_filters, &self.children())
    }

    fn handle_child_pushdown_result(
        &self,
        _: FilterPushdownPhase,
        child_pushdown_result: ChildPushdownResult,
        _: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn ExecutionPlan>>> {
        Ok(FilterPushdownPropagation::if_all(child_pushdown_result))
    }
}

struct Counted {
    input: SendableRecordBatchStream,
    /// Named by errors that name no node yet.
    raiser: Option<String>,
    meter: Arc<StepMeter>,
    done: bool,
}

impl Stream for Counted {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = self.input.poll_next_unpin(context);
        match &polled {
            Poll::Ready(Some(Ok(batch))) => {
                self.meter.emit(batch.num_rows() as u64, visible_bytes(batch));
            }
            Poll::Ready(None) if !self.done => {
                self.done = true;
                self.meter.finish();
            }
            _ => {}
        }
        // The first step an error passes is the one whose expressions raised it.
        polled.map_err(|error| match &self.raiser {
            Some(node) => outward(inward(error, Phase::Running).at_node(node)),
            None => error,
        })
    }
}

impl RecordBatchStream for Counted {
    fn schema(&self) -> SchemaRef {
        self.input.schema()
    }
}
