//! An exchange: rows of a shared node, kept in spill files that every consumer reads.
//!
//! A node with several consumers runs once. Its rows are written as Arrow IPC streams, one file per lane, and read
//! back by each consumer with only the columns it wants. The engine drives the writing; the files live in the
//! run's spill folder and go with it.

use std::fmt;
use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, make_array};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::arrow::ipc::reader::StreamReader;
use datafusion::arrow::ipc::writer::StreamWriter;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Statistics, stats::Precision};
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties, StatisticsArgs,
};
use futures::{StreamExt, TryStreamExt};
use synqx_model::{Code, Error, ResultExt};
use synqx_sdk::{Budget, lane};

use crate::meter::StepMeter;
use crate::trouble::outward;

/// The files of one shared node.
pub struct Exchange {
    /// The shared node.
    pub node: String,
    /// The schema of what is written: the union of what the consumers need.
    schema: Mutex<SchemaRef>,
    dir: PathBuf,
    budget: Budget,
    lanes: usize,
    files: Mutex<Vec<Spool>>,
}

/// One file of an exchange.
#[derive(Debug, Clone)]
pub struct Spool {
    /// Where it is.
    pub path: PathBuf,
    /// Rows in it.
    pub rows: u64,
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Exchange({})", self.node)
    }
}

fn spill_failed(cause: &dyn std::error::Error) -> Error {
    Error::new(
        Code::E0806,
        "cannot write or read the spill files of a shared node",
    )
    .with_cause(cause)
    .with_hint("free disk space for the temporary folder, or set TMPDIR to another disk")
}

impl Exchange {
    pub(crate) fn new(node: &str, schema: SchemaRef, dir: PathBuf, budget: Budget, lanes: usize) -> Self {
        let schema = Mutex::new(schema);
        Exchange {
            node: node.to_owned(),
            schema,
            dir,
            budget,
            lanes,
            files: Mutex::default(),
        }
    }

    pub(crate) fn schema(&self) -> SchemaRef {
        match self.schema.lock() {
            Ok(schema) => Arc::clone(&schema),
            Err(poisoned) => Arc::clone(&poisoned.into_inner()),
        }
    }

    pub(crate) fn narrow(&self, schema: SchemaRef) {
        if let Ok(mut current) = self.schema.lock() {
            *current = schema;
        }
    }

    /// Writes one lane to a file of its own; blocking. Errors: `E0806`.
    pub fn writer(&self, lane: usize) -> synqx_model::Result<SpoolWriter> {
        let path = self.dir.join(format!("exchange-{}-{lane}.arrow", self.node));
        let file = File::create(&path).map_err(|e| spill_failed(&e))?;
        let writer = StreamWriter::try_new(BufWriter::with_capacity(1 << 20, file), &self.schema());
        Ok(SpoolWriter {
            writer: writer.map_err(|e| spill_failed(&e))?,
            path,
            rows: 0,
        })
    }

    /// Makes finished files readable by the consumers.
    pub fn publish(&self, spools: Vec<Spool>) {
        if let Ok(mut files) = self.files.lock() {
            *files = spools;
        }
    }

    fn spools(&self) -> Vec<Spool> {
        self.files.lock().map(|files| files.clone()).unwrap_or_default()
    }
}

/// Writes one file of an exchange.
pub struct SpoolWriter {
    writer: StreamWriter<BufWriter<File>>,
    path: PathBuf,
    rows: u64,
}

impl fmt::Debug for SpoolWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpoolWriter({} rows)", self.rows)
    }
}

impl SpoolWriter {
    /// Appends a batch. Errors: `E0806`.
    pub fn write(&mut self, batch: &RecordBatch) -> synqx_model::Result<()> {
        let compact = compact(batch).map_err(|e| spill_failed(&e))?;
        self.rows += compact.num_rows() as u64;
        self.writer.write(&compact).map_err(|e| spill_failed(&e))
    }

    /// Ends the file.
    pub fn finish(mut self) -> synqx_model::Result<Spool> {
        self.writer.finish().map_err(|e| spill_failed(&e))?;
        Ok(Spool {
            path: self.path,
            rows: self.rows,
        })
    }
}

/// A batch without the parts of view buffers that its rows do not use.
fn compact(batch: &RecordBatch) -> std::result::Result<RecordBatch, datafusion::arrow::error::ArrowError> {
    let columns = batch.columns().iter().map(|column| match column.data_type() {
        DataType::Utf8View => Arc::new(column.as_string_view().gc()) as ArrayRef,
        DataType::BinaryView => Arc::new(column.as_binary_view().gc()) as ArrayRef,
        _ => make_array(column.to_data()),
    });
    let options =
        datafusion::arrow::record_batch::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(batch.schema(), columns.collect(), &options)
}

/// What a consumer sees of an exchange. It shows every column of the node; only those somebody reads are stored.
#[derive(Debug)]
pub(crate) struct ExchangeTable {
    pub(crate) exchange: Arc<Exchange>,
    pub(crate) full: SchemaRef,
    /// Counts what this consumer read.
    pub(crate) meter: Arc<StepMeter>,
}

#[async_trait]
impl TableProvider for ExchangeTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.full)
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = match projection {
            Some(indices) => Arc::new(self.full.project(indices)?),
            None => Arc::clone(&self.full),
        };
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&schema)),
            Partitioning::UnknownPartitioning(self.exchange.lanes.max(1)),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(Arc::new(ExchangeExec {
            exchange: Arc::clone(&self.exchange),
            schema,
            meter: Arc::clone(&self.meter),
            properties: Arc::new(properties),
        }))
    }
}

#[derive(Debug)]
struct ExchangeExec {
    exchange: Arc<Exchange>,
    schema: SchemaRef,
    meter: Arc<StepMeter>,
    properties: Arc<PlanProperties>,
}

impl DisplayAs for ExchangeExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ExchangeExec: {}", self.exchange.node)
    }
}

impl ExecutionPlan for ExchangeExec {
    fn name(&self) -> &str {
        "ExchangeExec"
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
        self.meter.open();
        let Some(spool) = self.exchange.spools().into_iter().nth(partition) else {
            self.meter.finish();
            let empty = futures::stream::empty();
            return Ok(Box::pin(RecordBatchStreamAdapter::new(
                Arc::clone(&self.schema),
                empty,
            )));
        };
        let schema = Arc::clone(&self.schema);
        let (meter, done) = (Arc::clone(&self.meter), Arc::clone(&self.meter));
        let stream = lane::spawn_reader(
            &self.exchange.budget,
            self.exchange.budget.batch_target(),
            move |sender| read_spool(&spool, &schema, sender),
        );
        let end = futures::stream::poll_fn(move |_| {
            done.finish();
            std::task::Poll::Ready(None)
        });
        let counted = stream
            .inspect_ok(move |batch| meter.emit(batch.num_rows() as u64, 0))
            .map_err(outward);
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            Arc::clone(&self.schema),
            counted.chain(end),
        )))
    }

    fn statistics_from_inputs(
        &self,
        _: &[Arc<Statistics>],
        args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        let partition = args.partition();
        let mut statistics = Statistics::new_unknown(&self.schema);
        let spools = self.exchange.spools();
        if partition.is_none() && !spools.is_empty() {
            let rows = spools.iter().map(|spool| spool.rows).sum::<u64>();
            statistics.num_rows = Precision::Inexact(usize::try_from(rows).unwrap_or(usize::MAX));
        }
        Ok(Arc::new(statistics))
    }
}

fn read_spool(spool: &Spool, schema: &SchemaRef, sender: &lane::Sender) -> synqx_model::Result<()> {
    let file = File::open(&spool.path).map_err(|e| spill_failed(&e))?;
    let reader =
        StreamReader::try_new(BufReader::with_capacity(1 << 20, file), None).map_err(|e| spill_failed(&e))?;
    let stored = reader.schema();
    let indices: Vec<usize> = schema
        .fields()
        .iter()
        .map(|field| stored.index_of(field.name()))
        .collect::<std::result::Result<_, _>>()
        .coded(Code::E9901, || "a spill file lacks a column its consumer needs")?;
    for batch in reader {
        let batch = batch.map_err(|e| spill_failed(&e))?;
        let options =
            datafusion::arrow::record_batch::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let columns = indices.iter().map(|i| Arc::clone(batch.column(*i))).collect();
        let batch = RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options).coded(
            Code::E9901,
            || "a spill file has other types than its consumer expects",
        )?;
        if !sender.send(batch)? {
            break;
        }
    }
    Ok(())
}
