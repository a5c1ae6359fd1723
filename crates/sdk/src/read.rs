//! The reading part of a connection: plan a scan, open it once, read its partitions.
//!
//! `plan` contacts the catalog only and says what it took over; `open` takes the snapshot that all partitions of
//! one read share and holds it until the reader is dropped. Every row is in exactly one partition.

use std::path::Path;
use std::pin::Pin;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use futures::Stream;
use serde::Serialize;
use serde_json::{Map, Value};
use synqx_model::spec::PartitionBy;
use synqx_model::{Error, Result};

use crate::connector::TableSchema;
use crate::predicate::{Acceptance, Literal, Predicate};
use crate::raw::{RawForm, RawReader};

/// Batches as they arrive. Batches aim for `Budget::batch_target` bytes.
pub type BatchStream = Pin<Box<dyn Stream<Item = Result<RecordBatch>> + Send>>;

/// What is read: an asset or a query, with the connector's options for it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Dataset {
    /// Table, file, glob or folder, as written in the document.
    pub asset: Option<String>,
    /// A query in the source's own SQL.
    pub query: Option<String>,
    /// The connector's options for this asset.
    pub options: Map<String, Value>,
    /// The files of an incremental read without a cursor column; all of them when none. The engine says, no document.
    pub files: Option<FileRange>,
}

impl Dataset {
    /// An asset without options.
    pub fn asset(name: impl Into<String>) -> Self {
        Dataset {
            asset: Some(name.into()),
            ..Default::default()
        }
    }

    /// What messages call it.
    pub fn label(&self) -> &str {
        self.asset.as_deref().or(self.query.as_deref()).unwrap_or("?")
    }
}

/// A request to read.
#[derive(Debug, Clone)]
pub struct Scan {
    /// What.
    pub dataset: Dataset,
    /// Its description, from `Connection::describe`, as the plan was made with.
    pub table: TableSchema,
    /// Columns wanted, in this order.
    pub columns: Vec<String>,
    /// Conjuncts the source said it accepts, exactly or as a superset.
    pub predicates: Vec<Predicate>,
    /// No more rows are needed. A source may return more.
    pub limit: Option<u64>,
    /// How the document wants the read split.
    pub partition: PartitionBy,
    /// Partitions that can be read at once.
    pub parallel: usize,
}

/// What a source will do.
#[derive(Debug, Clone, Serialize)]
pub struct ReadPlan {
    /// The schema of the batches: the columns wanted, in order.
    #[serde(skip)]
    pub schema: SchemaRef,
    /// Disjoint parts that together are everything.
    pub partitions: Vec<Partition>,
    /// The statement or path, as a person would run it, for `synqx plan`.
    pub statement: String,
    /// Predicates it applies, in its own words.
    pub pushed: Vec<String>,
    /// It applies the limit itself.
    pub limited: bool,
    /// Rows expected after predicates and limit.
    pub rows: Option<u64>,
    /// Bytes expected.
    pub bytes: Option<u64>,
    /// Sentences a person should read.
    pub notes: Vec<String>,
}

/// How far an incremental read may go.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HighWater {
    /// The greatest value; none when there are no new rows.
    pub value: Option<Literal>,
    /// Rows whose cursor is NULL, which no incremental read sees; counted when everything is new.
    pub nulls: u64,
    /// Sentences a person should read.
    pub notes: Vec<String>,
}

/// The files that an incremental read without a cursor column takes. Marks are made by [`Source::new_files`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRange {
    /// The files that were read before; none were when there is none.
    pub from: Option<String>,
    /// The files there were when the read began.
    pub to: String,
}

/// The files of an asset, against a mark.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewFiles {
    /// Marks all files there are now.
    pub mark: String,
    /// Files that the earlier mark does not have.
    pub new: u64,
    /// Files that have changed since the earlier mark and are to be read again, by name.
    pub again: Vec<String>,
}

/// One part of a read. What `spec` means is the connector's own business.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Partition {
    /// For people: `rows 0–999999`, `ctid (0,0)–(4000,0)`, `flights.csv`.
    pub label: String,
    /// What the connector needs to read it.
    pub spec: String,
}

/// The reading part of a connection.
#[async_trait]
pub trait Source: Send + Sync {
    /// What it would make of a predicate over a described asset. Pure.
    fn accepts(&self, table: &TableSchema, predicate: &Predicate) -> Acceptance;

    /// The greatest value of a cursor column above `after` that an incremental read may go up to: no transaction that
    /// was at work when it was found can still add a row at or below it. By default the column is read, which is right
    /// where there are no such transactions. Errors: `E02xx`.
    async fn high_water(
        &self,
        dataset: &Dataset,
        table: &TableSchema,
        column: &str,
        after: Option<&Literal>,
    ) -> Result<HighWater> {
        crate::cursor::by_reading(self, dataset, table, column, after).await
    }

    /// The files of a dataset against a mark that it made before; `None` for sources that are not made of files.
    /// Errors: `E0502` when a file that was read before has changed and the document does not say what then; `E02xx`.
    async fn new_files(&self, _dataset: &Dataset, _after: Option<&str>) -> Result<Option<NewFiles>> {
        Ok(None)
    }

    /// Whether reading a dataset would find what a load leaves at a place (`Destination::location`). `replaces`: the
    /// load replaces what is there, so a dataset that is that very place is no matter. Errors: `E0103`.
    async fn finds(&self, _dataset: &Dataset, _place: &Path, _replaces: bool) -> Result<bool> {
        Ok(false)
    }

    /// Plans a scan; reads the catalog, never rows. Errors: `E02xx`, `E04xx`.
    async fn plan(&self, scan: &Scan) -> Result<ReadPlan>;

    /// Takes the snapshot and gets ready. Errors: `E0215` when the asset is no longer as planned, `E02xx`.
    async fn open(&self, scan: &Scan, plan: &ReadPlan) -> Result<Box<dyn Reader>>;

    /// The form in which the scan's rows could be handed over undecoded; none where there is none. Errors: `E02xx`.
    async fn raw_form(&self, _scan: &Scan) -> Result<Option<RawForm>> {
        Ok(None)
    }

    /// Like `open`, for rows in their raw form. Only asked of a source that has one. Errors: `E0215`, `E02xx`.
    async fn open_raw(&self, _scan: &Scan, _plan: &ReadPlan) -> Result<Box<dyn RawReader>> {
        Err(Error::bug("a source without a raw form is read raw"))
    }
}

/// An open read. Dropping it releases the snapshot; dropping a stream stops the work behind it, also on a server.
#[async_trait]
pub trait Reader: Send + Sync {
    /// Reads one partition of the plan.
    async fn read(&self, partition: usize) -> Result<BatchStream>;
}
