//! An extract as a relation: what DataFusion sees of a connection's source.
//!
//! Filters are offered to the source one by one and the source's answer decides what is applied again here. The
//! snapshot is taken when the first partition is polled, and shared by all partitions of the read.

use std::fmt;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Statistics, stats::Precision};
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties, StatisticsArgs,
};
use futures::{StreamExt, TryStreamExt};
use synqx_model::Error;
use synqx_sdk::{Acceptance, Predicate, ReadPlan, Reader, Scan};
use tokio::sync::OnceCell;

use crate::compile::OpenSource;
use crate::display::SourceReport;
use crate::meter::StepMeter;
use crate::predicate::{is_comparable, translate};
use crate::trouble::outward;

/// The relation of one extract.
pub(crate) struct SourceTable {
    pub(crate) node: String,
    pub(crate) open: OpenSource,
    pub(crate) parallel: usize,
    pub(crate) meter: Arc<StepMeter>,
    /// What was planned, for `synqx plan`.
    pub(crate) reports: Arc<Mutex<Vec<SourceReport>>>,
}

impl fmt::Debug for SourceTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SourceTable({})", self.node)
    }
}

impl SourceTable {
    fn judge(&self, expr: &Expr) -> Option<(Predicate, Acceptance)> {
        let predicate = translate(expr)?;
        let schema = &self.open.table.schema;
        let comparable = predicate.columns().iter().all(|name| {
            schema.field_with_name(name).is_ok_and(|field| {
                is_comparable(field.data_type()) || matches!(predicate, Predicate::IsNull { .. })
            })
        });
        let source = self.open.connection.source()?;
        let acceptance = if comparable {
            source.accepts(&self.open.table, &predicate)
        } else {
            Acceptance::No
        };
        Some((predicate, acceptance))
    }
}

#[async_trait]
impl TableProvider for SourceTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.open.table.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let answer = |filter: &&Expr| match self.judge(filter).map(|(_, acceptance)| acceptance) {
            Some(Acceptance::Exact) => TableProviderFilterPushDown::Exact,
            Some(Acceptance::Superset) => TableProviderFilterPushDown::Inexact,
            Some(Acceptance::No) | None => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(answer).collect())
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let table = &self.open.table;
        let wanted: SchemaRef = match projection {
            Some(indices) => Arc::new(table.schema.project(indices)?),
            None => Arc::clone(&table.schema),
        };
        let mut columns: Vec<String> = wanted.fields().iter().map(|f| f.name().clone()).collect();
        if columns.is_empty() {
            columns.extend(table.schema.fields().first().map(|f| f.name().clone()));
        }
        let judged: Vec<(Predicate, Acceptance)> = filters.iter().filter_map(|f| self.judge(f)).collect();
        let scan = Scan {
            dataset: self.open.dataset.clone(),
            table: table.clone(),
            columns,
            predicates: judged.iter().map(|(p, _)| p.clone()).collect(),
            limit: limit.map(|l| l as u64),
            partition: self.open.partition.clone(),
            parallel: self.parallel,
        };
        let source = self
            .open
            .connection
            .source()
            .ok_or_else(|| outward(Error::bug("a source that does not read")))?;
        let plan = source
            .plan(&scan)
            .await
            .map_err(|e| outward(e.at_node(&self.node)))?;
        if judged.iter().any(|(_, a)| *a == Acceptance::Exact) {
            self.meter.mark_source_filtered();
        }
        if let Some(rows) = plan.rows {
            self.meter.expect(rows);
        }
        if let Ok(mut reports) = self.reports.lock() {
            reports.push(SourceReport::new(
                &self.node,
                &scan,
                &plan,
                &judged,
                filters.len(),
            ));
        }
        Ok(Arc::new(SourceExec::new(
            self.node.clone(),
            self.open.clone(),
            scan,
            plan,
            wanted,
        )))
    }
}

/// Reads the partitions of a planned scan.
pub(crate) struct SourceExec {
    node: String,
    open: OpenSource,
    scan: Arc<Scan>,
    plan: Arc<ReadPlan>,
    schema: SchemaRef,
    reader: Arc<OnceCell<Box<dyn Reader>>>,
    properties: Arc<PlanProperties>,
}

impl SourceExec {
    pub(crate) fn node(&self) -> &str {
        &self.node
    }

    pub(crate) fn scan(&self) -> &Scan {
        &self.scan
    }

    pub(crate) fn plan(&self) -> &ReadPlan {
        &self.plan
    }

    pub(crate) fn open(&self) -> &OpenSource {
        &self.open
    }

    fn new(node: String, open: OpenSource, scan: Scan, plan: ReadPlan, schema: SchemaRef) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&schema)),
            Partitioning::UnknownPartitioning(plan.partitions.len().max(1)),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        SourceExec {
            node,
            open,
            scan: Arc::new(scan),
            plan: Arc::new(plan),
            schema,
            reader: Arc::default(),
            properties: Arc::new(properties),
        }
    }
}

impl fmt::Debug for SourceExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SourceExec({})", self.node)
    }
}

impl DisplayAs for SourceExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "SourceExec: {}, {} partitions, {}",
            self.node,
            self.plan.partitions.len(),
            self.plan.statement
        )
    }
}

impl ExecutionPlan for SourceExec {
    fn name(&self) -> &str {
        "SourceExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, _: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, partition: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        if self.plan.partitions.is_empty() {
            let empty = futures::stream::empty();
            return Ok(Box::pin(RecordBatchStreamAdapter::new(
                Arc::clone(&self.schema),
                empty,
            )));
        }
        let (reader, open) = (Arc::clone(&self.reader), self.open.clone());
        let (scan, plan, node) = (Arc::clone(&self.scan), Arc::clone(&self.plan), self.node.clone());
        let opened = async move {
            let source = open
                .connection
                .source()
                .ok_or_else(|| Error::bug("a source that does not read"))?;
            let reader = reader.get_or_try_init(|| source.open(&scan, &plan)).await?;
            reader.read(partition).await
        };
        let schema = Arc::clone(&self.schema);
        let name = node.clone();
        let stream = futures::stream::once(opened)
            .try_flatten()
            .map(move |batch| batch.and_then(|batch| conform(batch, &schema, &name)))
            .map_err(move |error| outward(error.at_node(&node)));
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            Arc::clone(&self.schema),
            stream,
        )))
    }

    fn statistics_from_inputs(
        &self,
        _: &[Arc<Statistics>],
        args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        let partition = args.partition();
        let mut statistics = Statistics::new_unknown(&self.schema);
        if partition.is_none() {
            let exact = |n: u64| Precision::Inexact(usize::try_from(n).unwrap_or(usize::MAX));
            statistics.num_rows = self.plan.rows.map_or(Precision::Absent, exact);
            statistics.total_byte_size = self.plan.bytes.map_or(Precision::Absent, exact);
        }
        Ok(Arc::new(statistics))
    }
}

/// The batch under the schema that was promised; a connector that sends other types is a bug that must be seen.
fn conform(batch: RecordBatch, schema: &SchemaRef, node: &str) -> synqx_model::Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    if schema.fields().is_empty() {
        return RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &options)
            .map_err(|cause| Error::bug("an empty batch cannot be made").with_cause(&cause));
    }
    RecordBatch::try_new_with_options(Arc::clone(schema), batch.columns().to_vec(), &options).map_err(
        |cause| {
            Error::bug(format!(
                "the source of `{node}` sent a batch of another schema than it planned"
            ))
            .with_cause(&cause)
        },
    )
}
