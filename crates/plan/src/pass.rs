//! An operator that hands its input on, changed at most in how rows are put into batches or in what is reserved for them.
//!
//! It stands below operators that need such a thing of their input (`compact`, `held`) and is put there after planning, so that no
//! rule of the optimizer has to know it. Order, partitions and statistics are the input's. It is not a step: it counts nothing.

use std::fmt;
use std::sync::Arc;

use datafusion::common::Statistics;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::{
    ChildStats, ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties,
    ReplaceChildrenOptions, StatisticsArgs,
};

/// What becomes of the stream of one partition.
pub(crate) type Pass = fn(SendableRecordBatchStream, usize, &Arc<TaskContext>) -> SendableRecordBatchStream;

/// Puts the operator between every operator that is `wanted` and each of its inputs.
pub(crate) fn below(
    plan: Arc<dyn ExecutionPlan>,
    wanted: impl Fn(&dyn ExecutionPlan) -> bool,
    (name, pass): (&'static str, Pass),
) -> Result<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|node| {
        if !wanted(node.as_ref()) {
            return Ok(Transformed::no(node));
        }
        let passed = |input: &Arc<dyn ExecutionPlan>| -> Arc<dyn ExecutionPlan> {
            let input = Arc::clone(input);
            Arc::new(PassExec { name, input, pass })
        };
        let inputs = node.children().into_iter().map(passed).collect();
        let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        node.replace_children(inputs, options).map(Transformed::yes)
    })
    .data()
}

#[derive(Debug)]
struct PassExec {
    name: &'static str,
    input: Arc<dyn ExecutionPlan>,
    pass: Pass,
}

impl DisplayAs for PassExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl ExecutionPlan for PassExec {
    fn name(&self) -> &str {
        self.name
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
        Ok(Arc::new(PassExec {
            name: self.name,
            input: children.swap_remove(0),
            pass: self.pass,
        }))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, Arc::clone(&context))?;
        Ok((self.pass)(input, partition, &context))
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
