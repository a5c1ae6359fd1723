//! `Check`: the opaque operator of a `validate` node. It judges every row and decides which go on.
//!
//! A row passes a rule when the rule IS TRUE (or NULL, where the rule says so); everything else fails, so pass and
//! fail are exact complements. Each rule is one bit mask per batch; reasons are written for rejected rows only. Checks
//! of the whole table look at the same batches and let every row pass. The operator blocks filters and limits from above and requires every column, because quarantine stores whole rows.
//! Rejected rows leave through the run's `RejectSink`; the strongest action among a row's failing rules decides.

use std::collections::BTreeSet;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{Array, BooleanArray, StringArray, StringBuilder};
use datafusion::arrow::buffer::BooleanBuffer;
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::cast::as_boolean_array;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DFSchemaRef, ScalarValue};
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{ColumnarValue, Expr, LogicalPlan, UserDefinedLogicalNodeCore};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::StreamExt;
use synqx_model::spec::OnFail;

use crate::fragment::RunContext;
use crate::gauge::Gauge;
use crate::meter::{CheckMeter, Meters, Rule, StepMeter};
use crate::trouble::outward;

/// Rows a check took out of the stream.
#[derive(Debug)]
pub struct Rejected {
    /// The validate node.
    pub node: String,
    /// Whole rows, as they arrived at the check.
    pub rows: RecordBatch,
    /// For each row the ids of all rules it failed, joined by `; `.
    pub rules: StringArray,
    /// The same rules in words.
    pub reasons: StringArray,
    /// Whether the rows failed the run (evidence) instead of being set aside.
    pub fatal: bool,
}

/// Where rejected rows go.
#[async_trait]
pub trait RejectSink: Send + Sync + fmt::Debug {
    /// Keeps rows. Errors: `E1002`.
    async fn reject(&self, rejected: Rejected) -> synqx_model::Result<()>;
}

/// One rule, lowered: a verdict about each row, or a measure of the whole table.
#[derive(Debug)]
pub(crate) struct Judged {
    rule: Rule,
    expr: Expr,
    null_passes: bool,
    gauge: Option<Gauge>,
}

impl Judged {
    /// A rule about rows: `verdict` is a boolean, and NULL fails unless `null_passes`.
    pub(crate) fn row(rule: Rule, verdict: Expr, null_passes: bool) -> Self {
        Judged {
            rule,
            expr: verdict,
            null_passes,
            gauge: None,
        }
    }

    /// A rule about the table: the gauge sees every value.
    pub(crate) fn table(rule: Rule, value: Expr, gauge: Gauge) -> Self {
        Judged {
            rule,
            expr: value,
            null_passes: false,
            gauge: Some(gauge),
        }
    }
}

/// What stands beside each expression of the node.
#[derive(Debug, Clone)]
pub(crate) struct Test {
    meter: Arc<CheckMeter>,
    null_passes: bool,
}

/// The logical check: per test a boolean verdict, or the value that is measured.
#[derive(Debug, Clone)]
pub(crate) struct Check {
    pub(crate) node: String,
    pub(crate) input: LogicalPlan,
    pub(crate) verdicts: Vec<Expr>,
    tests: Vec<Test>,
    meter: Arc<StepMeter>,
}

/// Columns of our own, which no rejected row shows.
const HELPER: &str = "__synqx_";

impl Check {
    /// A check over a plan, its rules known to the run.
    pub(crate) fn over(input: LogicalPlan, node: &str, rules: Vec<Judged>, meters: &mut Meters) -> Self {
        let mut verdicts = Vec::new();
        let mut tests = Vec::new();
        let mut ids = BTreeSet::new();
        for Judged {
            mut rule,
            expr,
            null_passes,
            gauge,
        } in rules
        {
            let id = rule.id.clone();
            let mut times = 1;
            while !ids.insert(rule.id.clone()) {
                times += 1;
                rule.id = format!("{id}.{times}");
            }
            verdicts.push(expr);
            let meter = meters.add_check(CheckMeter::new(node, rule, gauge));
            tests.push(Test { meter, null_passes });
        }
        Check {
            node: node.to_owned(),
            input,
            verdicts,
            tests,
            meter: meters.step_mut(node),
        }
    }

    /// Whether a rule sets rows aside for the quarantine.
    pub(crate) fn sets_aside(&self) -> bool {
        self.tests
            .iter()
            .any(|test| test.meter.rule.action == OnFail::Quarantine)
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
    tests: Vec<Test>,
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
            tests: check.tests.clone(),
            meter: Arc::clone(&check.meter),
        }
    }
}

impl DisplayAs for CheckExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CheckExec: {}, {} rules", self.node, self.tests.len())
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

/// The rows that fail one rule.
struct Failed {
    test: usize,
    rows: BooleanBuffer,
}

impl CheckExec {
    /// Counts failures, hands rejected rows to the sink, returns the rows that go on.
    async fn judge(&self, batch: RecordBatch, sink: &dyn RejectSink) -> Result<RecordBatch> {
        let failures = self.failures(&batch)?;
        let rows = batch.num_rows();
        let union = |wanted: &dyn Fn(OnFail) -> bool| {
            let mut of = failures.iter().filter(|failed| wanted(self.action(failed)));
            let first = of.next().map(|failed| failed.rows.clone());
            first.map(|first| of.fold(first, |any, failed| &any | &failed.rows))
        };
        let Some(out) = union(&|action| action > OnFail::Warn) else {
            return Ok(batch);
        };
        let none = || BooleanBuffer::new_unset(rows);
        let fatal = union(&|action| action == OnFail::Fail).unwrap_or_else(none);
        let aside = union(&|action| action == OnFail::Quarantine).unwrap_or_else(none);
        let aside = &aside & &!&fatal;
        for (mask, is_fatal) in [(&fatal, true), (&aside, false)] {
            if mask.count_set_bits() > 0 {
                let rejected = self.rejected(&batch, mask, &failures, is_fatal)?;
                sink.reject(rejected).await.map_err(outward)?;
            }
        }
        let kept = (fatal.count_set_bits() + aside.count_set_bits()) as u64;
        self.meter.quarantine(kept);
        self.meter.drop_rows(out.count_set_bits() as u64 - kept);
        Ok(filter_record_batch(&batch, &BooleanArray::new(!&out, None))?)
    }

    fn action(&self, failed: &Failed) -> OnFail {
        self.tests[failed.test].meter.rule.action
    }

    /// Judges a batch by every rule; the rules that some rows fail.
    fn failures(&self, batch: &RecordBatch) -> Result<Vec<Failed>> {
        let rows = batch.num_rows();
        let mut failures = Vec::new();
        for (index, (expr, test)) in self.verdicts.iter().zip(&self.tests).enumerate() {
            let value = expr.evaluate(batch)?;
            if let Some(gauge) = test.meter.gauge() {
                gauge.see(&value.into_array(rows)?)?;
                test.meter.count(rows as u64, 0);
                continue;
            }
            if matches!(value, ColumnarValue::Scalar(ScalarValue::Boolean(Some(true)))) {
                test.meter.count(rows as u64, 0);
                continue;
            }
            let value = value.into_array(rows)?;
            let failed = failed(as_boolean_array(&value)?, test.null_passes);
            let count = failed.count_set_bits();
            test.meter.count(rows as u64, count as u64);
            if count > 0 {
                failures.push(Failed {
                    test: index,
                    rows: failed,
                });
            }
        }
        Ok(failures)
    }

    fn rejected(
        &self,
        batch: &RecordBatch,
        mask: &BooleanBuffer,
        failures: &[Failed],
        fatal: bool,
    ) -> Result<Rejected> {
        let (mut rules, mut reasons) = (StringBuilder::new(), StringBuilder::new());
        for row in mask.set_indices() {
            let failed = failures.iter().filter(|failed| failed.rows.value(row));
            let failed: Vec<_> = failed.map(|failed| &self.tests[failed.test].meter.rule).collect();
            let joined = |text: fn(&Rule) -> &str| {
                failed
                    .iter()
                    .map(|rule| text(rule))
                    .collect::<Vec<_>>()
                    .join("; ")
            };
            rules.append_value(joined(|rule| &rule.id));
            reasons.append_value(joined(|rule| &rule.words));
        }
        let visible: Vec<usize> = (0..batch.num_columns())
            .filter(|i| !batch.schema_ref().field(*i).name().starts_with(HELPER))
            .collect();
        let mask = BooleanArray::new(mask.clone(), None);
        let rows = filter_record_batch(&batch.project(&visible)?, &mask)?;
        Ok(Rejected {
            node: self.node.clone(),
            rows,
            rules: rules.finish(),
            reasons: reasons.finish(),
            fatal,
        })
    }
}

/// NOT (verdict IS TRUE): false and NULL fail; with `null_passes` only false fails.
fn failed(verdict: &BooleanArray, null_passes: bool) -> BooleanBuffer {
    match (verdict.nulls(), null_passes) {
        (None, _) => !verdict.values(),
        (Some(nulls), false) => !&(verdict.values() & nulls.inner()),
        (Some(nulls), true) => &!verdict.values() & nulls.inner(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_and_false_fail_and_only_true_passes() {
        let verdict = BooleanArray::from(vec![Some(true), Some(false), None]);
        assert_eq!(
            failed(&verdict, false),
            BooleanBuffer::from(vec![false, true, true])
        );
        assert_eq!(
            failed(&verdict, true),
            BooleanBuffer::from(vec![false, true, false])
        );
        let sliced = verdict.slice(1, 2);
        assert_eq!(failed(&sliced, false), BooleanBuffer::from(vec![true, true]));
        assert_eq!(failed(&sliced, true), BooleanBuffer::from(vec![true, false]));
    }
}
