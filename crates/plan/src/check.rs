//! `Check`: the opaque operator of a `validate` node. It judges every row and decides which go on.
//!
//! A row passes a rule when the rule IS TRUE; everything else fails, so pass and fail are exact complements. The
//! operator blocks filters and limits from above and requires every column, because quarantine stores whole rows.
//! Rejected rows leave through the run's `RejectSink`; the strongest action among a row's failing rules decides.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{Array, BooleanArray, StringBuilder};
use datafusion::arrow::compute::{filter_record_batch, or};
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::DFSchemaRef;
use datafusion::common::cast::as_boolean_array;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::StreamExt;
use synqx_model::spec::OnFail;

use crate::fragment::RunContext;
use crate::meter::{CheckMeter, StepMeter};
use crate::trouble::outward;

/// Rows a check took out of the stream.
#[derive(Debug)]
pub struct Rejected {
    /// The validate node.
    pub node: String,
    /// Whole rows, as they arrived at the check.
    pub rows: RecordBatch,
    /// For each row the names of the rules it failed, joined by `; `.
    pub rules: datafusion::arrow::array::StringArray,
    /// Whether the rows failed the run (evidence) instead of being set aside.
    pub fatal: bool,
}

/// Where rejected rows go.
#[async_trait]
pub trait RejectSink: Send + Sync + fmt::Debug {
    /// Keeps rows. Errors: `E1002`.
    async fn reject(&self, rejected: Rejected) -> synqx_model::Result<()>;
}

/// One rule of the node.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    pub(crate) meter: Arc<CheckMeter>,
}

/// The logical check. `verdicts` are boolean expressions, one per rule.
#[derive(Debug, Clone)]
pub(crate) struct Check {
    pub(crate) node: String,
    pub(crate) input: LogicalPlan,
    pub(crate) verdicts: Vec<Expr>,
    pub(crate) rules: Vec<Rule>,
    pub(crate) meter: Arc<StepMeter>,
}

/// Columns of our own, which no rejected row shows.
const HELPER: &str = "__synqx_";

impl Check {
    /// Whether a rule sets rows aside for the quarantine.
    pub(crate) fn sets_aside(&self) -> bool {
        self.rules
            .iter()
            .any(|rule| rule.meter.action == OnFail::Quarantine)
    }

    /// The columns of rejected rows.
    pub(crate) fn visible(&self) -> SchemaRef {
        let fields = self.input.schema().as_arrow().fields();
        let visible = fields.iter().filter(|field| !field.name().starts_with(HELPER));
        Arc::new(Schema::new(visible.cloned().collect::<Vec<_>>()))
    }
}

impl PartialEq for Check {
    fn eq(&self, other: &Self) -> bool {
        self.node == other.node && self.input == other.input && self.verdicts == other.verdicts
    }
}

impl Eq for Check {}

impl PartialOrd for Check {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.node.cmp(&other.node))
            .filter(|o| o.is_ne())
            .or_else(|| self.input.partial_cmp(&other.input))
    }
}

impl Hash for Check {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.node.hash(state);
        self.input.hash(state);
        self.verdicts.hash(state);
    }
}

impl UserDefinedLogicalNodeCore for Check {
    fn name(&self) -> &str {
        "Check"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.input.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        self.verdicts.clone()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdicts: Vec<_> = self.verdicts.iter().map(ToString::to_string).collect();
        write!(f, "Check: {} [{}]", self.node, verdicts.join(", "))
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        Ok(Check {
            input: inputs.swap_remove(0),
            verdicts: exprs,
            ..self.clone()
        })
    }
}

/// The physical check.
#[derive(Debug, Clone)]
pub(crate) struct CheckExec {
    node: String,
    input: Arc<dyn ExecutionPlan>,
    verdicts: Vec<Arc<dyn PhysicalExpr>>,
    rules: Vec<Rule>,
    meter: Arc<StepMeter>,
}

impl CheckExec {
    pub(crate) fn new(
        check: &Check,
        verdicts: Vec<Arc<dyn PhysicalExpr>>,
        input: Arc<dyn ExecutionPlan>,
    ) -> Self {
        CheckExec {
            node: check.node.clone(),
            input,
            verdicts,
            rules: check.rules.clone(),
            meter: Arc::clone(&check.meter),
        }
    }
}

impl DisplayAs for CheckExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CheckExec: {}, {} rules", self.node, self.rules.len())
    }
}

impl ExecutionPlan for CheckExec {
    fn name(&self) -> &str {
        "CheckExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        for verdict in &self.verdicts {
            if f(verdict)? == TreeNodeRecursion::Stop {
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(CheckExec {
            input: children.swap_remove(0),
            ..Self::clone(&self)
        }))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let run = context.session_config().get_extension::<RunContext>();
        let sink = run
            .map(|run| Arc::clone(&run.rejects))
            .ok_or_else(|| outward(synqx_model::Error::bug("a check runs without a reject sink")))?;
        let input = self.input.execute(partition, context)?;
        let schema = input.schema();
        let check = Arc::new(self.clone());
        let judged = input.filter_map(move |batch| {
            let (check, sink) = (Arc::clone(&check), Arc::clone(&sink));
            async move {
                let judged = match batch {
                    Ok(batch) => {
                        let rows = batch.num_rows() as u64;
                        let passed = check.judge(batch, sink.as_ref()).await;
                        if let Ok(passed) = &passed {
                            check.meter.judge(rows, passed.num_rows() as u64);
                        }
                        passed
                    }
                    Err(error) => Err(error),
                };
                match judged {
                    Ok(batch) if batch.num_rows() == 0 => None,
                    other => Some(other),
                }
            }
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, judged)))
    }
}

impl CheckExec {
    /// Counts failures, hands rejected rows to the sink, returns the rows that go on.
    async fn judge(&self, batch: RecordBatch, sink: &dyn RejectSink) -> Result<RecordBatch> {
        let rows = batch.num_rows();
        let mut failures: Vec<(usize, BooleanArray)> = Vec::new();
        for (index, verdict) in self.verdicts.iter().enumerate() {
            let value = verdict.evaluate(&batch)?.into_array(rows)?;
            let failed = failed(as_boolean_array(&value)?);
            if failed.true_count() > 0 {
                self.rules[index].meter.fail(failed.true_count() as u64);
                failures.push((index, failed));
            }
        }
        failures.retain(|(index, _)| self.rules[*index].meter.action != OnFail::Warn);
        if failures.is_empty() {
            return Ok(batch);
        }
        let union = |wanted: &dyn Fn(OnFail) -> bool| -> Result<BooleanArray> {
            let mut any = BooleanArray::from(vec![false; rows]);
            for (index, failed) in &failures {
                if wanted(self.rules[*index].meter.action) {
                    any = or(&any, failed)?;
                }
            }
            Ok(any)
        };
        let fatal = union(&|action| action == OnFail::Fail)?;
        let kept_aside = union(&|action| action == OnFail::Quarantine)?;
        let out = union(&|_| true)?;
        let aside = without(&kept_aside, &fatal);
        let (fatal_rows, aside_rows) = (fatal.true_count() as u64, aside.true_count() as u64);
        for (mask, is_fatal) in [(&fatal, true), (&aside, false)] {
            if mask.true_count() > 0 {
                let rejected = self.rejected(&batch, mask, &failures, is_fatal)?;
                sink.reject(rejected).await.map_err(outward)?;
            }
        }
        self.meter.quarantine(fatal_rows + aside_rows);
        self.meter
            .drop_rows(out.true_count() as u64 - fatal_rows - aside_rows);
        Ok(filter_record_batch(
            &batch,
            &datafusion::arrow::compute::not(&out)?,
        )?)
    }

    fn rejected(
        &self,
        batch: &RecordBatch,
        mask: &BooleanArray,
        failures: &[(usize, BooleanArray)],
        fatal: bool,
    ) -> Result<Rejected> {
        let mut rules = StringBuilder::new();
        for row in (0..batch.num_rows()).filter(|row| mask.value(*row)) {
            let failed = failures
                .iter()
                .filter(|(_, f)| f.value(row))
                .map(|(i, _)| self.rules[*i].meter.check.as_str());
            rules.append_value(failed.collect::<Vec<_>>().join("; "));
        }
        let visible: Vec<usize> = (0..batch.num_columns())
            .filter(|i| !batch.schema_ref().field(*i).name().starts_with(HELPER))
            .collect();
        let rows = filter_record_batch(&batch.project(&visible)?, mask)?;
        Ok(Rejected {
            node: self.node.clone(),
            rows,
            rules: rules.finish(),
            fatal,
        })
    }
}

/// NOT (verdict IS TRUE): false and NULL fail.
fn failed(verdict: &BooleanArray) -> BooleanArray {
    (0..verdict.len())
        .map(|i| Some(!(verdict.is_valid(i) && verdict.value(i))))
        .collect()
}

fn without(mask: &BooleanArray, removed: &BooleanArray) -> BooleanArray {
    (0..mask.len())
        .map(|i| Some(mask.value(i) && !removed.value(i)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_and_false_fail_and_only_true_passes() {
        let verdict = BooleanArray::from(vec![Some(true), Some(false), None]);
        assert_eq!(failed(&verdict), BooleanArray::from(vec![false, true, true]));
    }
}
