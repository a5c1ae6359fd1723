//! The writing part of a connection: prepare, begin under a fence, write in lanes, commit once.
//!
//! One commit publishes rows, position and fence together, or nothing. What a destination stores about a stream is
//! the truth about it: `begin` waits for any commit in flight to be decided before it reads that record, so a lost
//! answer is known for certain afterwards.

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use serde::Serialize;
use serde_json::{Map, Value};
use synqx_model::spec::{MirrorOptions, ReplaceOptions, Scd2Options, SchemaPolicy, WriteMode};
use synqx_model::{Code, Error, Position, Result, RunId, StreamKey};

use crate::fidelity::ColumnPath;
use crate::limits::{Delivery, Limits};
use crate::raw::{RawChunk, RawForm};

/// Where and how rows are to be written.
#[derive(Debug, Clone)]
pub struct Target {
    /// Table, file or folder, as written in the document.
    pub asset: String,
    /// How rows meet what is there.
    pub mode: WriteMode,
    /// The schema of the incoming batches.
    pub schema: SchemaRef,
    /// Key columns of `upsert`, `mirror` and `scd2`.
    pub key: Vec<String>,
    /// The columns that name the slices of `delete_insert`.
    pub partition_by: Vec<String>,
    /// How `scd2` keeps history.
    pub scd2: Scd2Options,
    /// How `mirror` deletes.
    pub mirror: MirrorOptions,
    /// Which row of a key is the newest: the greatest in this order.
    pub order_by: Vec<OrderBy>,
    /// The primary key of the source, where all its columns arrive unchanged: a created table gets it too.
    pub source_key: Vec<String>,
    /// Other unique keys of the source, on the same terms.
    pub source_unique: Vec<Vec<String>>,
    /// What happens when the schemas differ.
    pub policy: SchemaPolicy,
    /// Make the target when it does not exist.
    pub create: bool,
    /// Columns that may be held with loss.
    pub allow_loss: Vec<String>,
    /// How `replace` publishes.
    pub replace: ReplaceOptions,
    /// Writers wanted; the destination decides when absent.
    pub lanes: Option<usize>,
    /// The raw form in which the rows can arrive; decoded batches when none.
    pub raw: Option<RawForm>,
    /// The connector's options for this asset.
    pub options: Map<String, Value>,
    /// What positions and fences are filed under.
    pub stream: StreamKey,
    /// The run that writes.
    pub run: RunId,
    /// The document's hash, stored with the position.
    pub spec_hash: String,
}

/// A column and its direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderBy {
    /// Column.
    pub column: String,
    /// The smallest wins instead of the greatest.
    pub descending: bool,
}

impl OrderBy {
    /// Reads `updated_at`, `updated_at desc`, `version asc`.
    pub fn parse(text: &str) -> Self {
        let trimmed = text.trim();
        let lower = trimmed.to_lowercase();
        for (suffix, descending) in [(" desc", true), (" asc", false)] {
            if lower.ends_with(suffix) {
                let column = trimmed[..trimmed.len() - suffix.len()].trim().to_owned();
                return OrderBy { column, descending };
            }
        }
        OrderBy {
            column: trimmed.to_owned(),
            descending: false,
        }
    }
}

/// How rows become visible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PublishPath {
    /// Written into the target inside the transaction that also writes position and fence.
    Direct,
    /// Written under a staging name and published by rename.
    Fresh,
    /// Written into staging, published by one set-based statement.
    Staged,
    /// Parts listed by a manifest that is replaced last.
    Manifest,
}

impl PublishPath {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            PublishPath::Direct => "direct",
            PublishPath::Fresh => "fresh",
            PublishPath::Staged => "staged",
            PublishPath::Manifest => "manifest",
        }
    }
}

/// What a destination will do.
#[derive(Debug, Clone, Serialize)]
pub struct Preparation {
    /// How rows become visible.
    pub path: PublishPath,
    /// Why this path, in words.
    pub why: String,
    /// Writers.
    pub lanes: usize,
    /// What a repeated run means for the rows, in this mode at this target.
    pub delivery: Delivery,
    /// Rows are taken in the raw form that was offered; where they are not, a note says why.
    pub raw: bool,
    /// Statements and file operations, in order.
    pub actions: Vec<Action>,
    /// How each column that is written is held; empty where the destination does not say.
    pub columns: Vec<ColumnPath>,
    /// Sentences a person should read: locks held, what is not carried over.
    pub notes: Vec<String>,
    /// The target as it was seen; `begin` compares and refuses with `E0311` when it has changed.
    pub fingerprint: String,
}

/// One statement or file operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Action {
    /// The SQL, or the operation in words.
    pub text: String,
    /// When it is done: at `prepare`, `begin` or `commit`.
    pub when: &'static str,
}

/// Which fence a load asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FenceClaim {
    /// Stored + 1: a person at a terminal.
    Next,
    /// This one, refused with `E0504` when a higher one is stored: an agent with a lease.
    Exact(u64),
}

/// What a destination has stored about a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The run whose rows were committed last.
    pub run: RunId,
    /// The position committed with them.
    pub position: Position,
    /// The document's hash at that time.
    pub spec_hash: String,
}

/// The writing part of a connection.
#[async_trait]
pub trait Destination: Send + Sync {
    /// What it can and cannot promise.
    fn limits(&self) -> &Limits;

    /// What was committed last for a stream, without changing anything; `begin` tells again under the fence. Errors:
    /// `E0301`, `E0302`, `E0503`.
    async fn committed(&self, asset: &str, stream: &StreamKey) -> Result<Option<Committed>>;

    /// Looks at the target and decides. With `dry` nothing is changed; without, what must exist before rows can
    /// flow is made (idempotent). Errors, all at once: `E0304`, `E0310`, `E0403`, `E0405`, `E0408`, `E03xx`.
    async fn prepare(&self, target: &Target, dry: bool) -> Result<Preparation>;

    /// Raises the fence, waits for an in-flight commit of the stream to be decided, sweeps leftovers of the stream,
    /// reads what is stored. Errors: `E0311` the target is no longer as prepared, `E0312`, `E0504`.
    async fn begin(
        &self,
        target: &Target,
        prepared: &Preparation,
        claim: FenceClaim,
    ) -> Result<Box<dyn Load>>;

    /// Puts back the rows that the last `replace` with `keep_previous` replaced, once: they are gone from beside the
    /// target afterwards. Raises the fence, so that a run that is under way publishes nothing, and records
    /// `target.run` with an empty position, so that the next run reads everything. Errors: `E0304` when there is no
    /// previous version, `E0310`, `E0501`, `E03xx`.
    async fn rollback(&self, target: &Target) -> Result<Receipt> {
        Err(
            Error::new(Code::E0310, format!("`{}` cannot be rolled back", target.asset))
                .with_detail("This connector keeps no previous version.")
                .with_hint("run the pipeline again with the rows you want"),
        )
    }
}

/// A load that has begun.
#[async_trait]
pub trait Load: Send + Sync {
    /// The fence it holds.
    fn fence(&self) -> u64;

    /// What was committed last for this stream.
    fn committed(&self) -> Option<&Committed>;

    /// Opens a lane. Called at most `Preparation::lanes` times, before any lane is finished.
    async fn writer(&mut self) -> Result<Box<dyn Writer>>;

    /// Publishes rows, position and fence, or nothing. Errors: `E0501` when a newer run holds the fence, `E0317`
    /// when the answer was lost (begin again and look at `committed`), `E0308`, `E0309`, `E03xx`.
    async fn commit(self: Box<Self>, position: &Position) -> Result<Receipt>;

    /// Undoes everything that was staged.
    async fn abort(self: Box<Self>) -> Result<()>;
}

/// One lane of a load.
#[async_trait]
pub trait Writer: Send {
    /// Writes a batch of the target's schema. A batch of zero rows is fine.
    async fn write(&mut self, batch: RecordBatch) -> Result<()>;

    /// Writes rows in the raw form that the preparation took. A lane takes batches or raw rows, never both.
    async fn write_raw(&mut self, _chunk: RawChunk) -> Result<()> {
        Err(Error::bug("raw rows are written where none are taken"))
    }

    /// Makes the lane's rows durable (or ready, on the direct path).
    async fn finish(self: Box<Self>) -> Result<Written>;
}

/// What a lane wrote.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    /// Rows.
    pub rows: u64,
    /// Bytes in the destination's own format.
    pub bytes: u64,
}

/// What a commit did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Receipt {
    /// Rows that are new.
    pub inserted: u64,
    /// Rows that changed.
    pub updated: u64,
    /// Rows that were there, equal.
    pub unchanged: u64,
    /// Rows that lost against a newer one of the same key.
    pub superseded: u64,
    /// Rows of the target that were removed, marked as deleted, or closed because their key did not arrive.
    pub deleted: u64,
    /// Sentences a person should read.
    pub notes: Vec<String>,
}
