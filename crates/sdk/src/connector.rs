//! A connector (the kind), a connection (one configured system) and what both describe.
//!
//! A connection plays two parts, source and destination, and is opened for one of them, so its errors carry the
//! right codes. Nothing here reads or writes rows: see `read` and `write`.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use synqx_model::{Code, Redactor, Result};

use crate::budget::Budget;
use crate::limits::Limits;
use crate::probe::{Probe, Quiet};
use crate::read::{Dataset, Source};
use crate::write::Destination;

/// A kind of system SynqX can talk to.
pub trait Connector: Send + Sync + 'static {
    /// The word of the document, such as `postgresql`.
    const KIND: &'static str;
    /// Its configuration; the JSON Schema and the console's form are generated from it.
    type Config: DeserializeOwned + JsonSchema + Send;

    /// What it is and what it promises.
    fn spec(&self) -> ConnectorSpec;

    /// Makes a connection. Nothing is contacted yet. Errors: `E01xx`.
    fn open(&self, config: Self::Config, env: Env) -> Result<Arc<dyn Connection>>;
}

/// What a connector is and what it promises.
#[derive(Debug, Clone, Serialize)]
pub struct ConnectorSpec {
    /// The word of the document.
    pub kind: &'static str,
    /// For people.
    pub title: &'static str,
    /// One line.
    pub summary: &'static str,
    /// Reads.
    pub source: bool,
    /// Writes, with these limits.
    pub destination: Option<Limits>,
    /// URL schemes `synqx cp` recognises.
    pub schemes: &'static [&'static str],
}

/// Which part a connection plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// It is read.
    Source,
    /// It is written.
    Destination,
}

impl Role {
    /// Picks the code of the part being played: `role.code(E0201, E0301)`.
    pub fn code(self, source: Code, destination: Code) -> Code {
        match self {
            Role::Source => source,
            Role::Destination => destination,
        }
    }

    /// The word for messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Source => "source",
            Role::Destination => "destination",
        }
    }
}

/// What a connection is handed.
#[derive(Debug, Clone)]
pub struct Env {
    /// The connection's name in the document, for messages.
    pub name: String,
    /// Which part it plays.
    pub role: Role,
    /// Relative paths are relative to this folder (the document's).
    pub base_dir: PathBuf,
    /// The run's memory.
    pub budget: Budget,
    /// Told of every effect.
    pub probe: Arc<dyn Probe>,
    /// Where a connection registers secrets it derives, such as a password inside a URL.
    pub redactor: Redactor,
}

impl Env {
    /// An environment for one-off work (check, discover) and tests.
    pub fn standalone(name: impl Into<String>, role: Role, base_dir: impl Into<PathBuf>) -> Self {
        Env {
            name: name.into(),
            role,
            base_dir: base_dir.into(),
            budget: Budget::new(Budget::DEFAULT),
            probe: Arc::new(Quiet),
            redactor: Redactor::default(),
        }
    }
}

/// One configured system.
#[async_trait]
pub trait Connection: Send + Sync {
    /// A named list of findings: reachable, TLS, login, rights. An unreachable system is a finding, not an error.
    async fn check(&self) -> Result<Vec<Finding>>;

    /// What can be read or written, in a stable order; `pattern` is a glob over asset names.
    async fn discover(&self, pattern: Option<&str>) -> Result<Vec<Asset>>;

    /// Schema, keys and size of an asset or query. Errors: `E0204` when it does not exist, `E02xx`, `E04xx`.
    async fn describe(&self, dataset: &Dataset) -> Result<TableSchema>;

    /// The write domain (system identity and database or file). Two loads into one domain share its limits, and a
    /// load into the domain it reads from may need spooling. Not a URL: two URLs of one database give one domain.
    async fn domain(&self) -> Result<String>;

    /// The reading part, if it has one.
    fn source(&self) -> Option<&dyn Source>;

    /// The writing part, if it has one.
    fn destination(&self) -> Option<&dyn Destination>;
}

/// One line of a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at: `reachable`, `TLS`, `login`, `rights`.
    pub name: String,
    /// Whether it is well.
    pub ok: bool,
    /// What was found.
    pub detail: String,
    /// What to do, when it is not well.
    pub hint: Option<String>,
}

impl Finding {
    /// Something that is well.
    pub fn good(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Finding {
            name: name.into(),
            ok: true,
            detail: detail.into(),
            hint: None,
        }
    }

    /// Something that is not; takes message and hint from the error.
    pub fn bad(name: impl Into<String>, error: &synqx_model::Error) -> Self {
        Finding {
            name: name.into(),
            ok: false,
            detail: error.to_string(),
            hint: error.hint().map(str::to_owned),
        }
    }
}

/// Something that can be read or written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Asset {
    /// The name a document uses.
    pub name: String,
    /// What it is.
    pub kind: AssetKind,
    /// Rows, as far as the system knows without counting.
    pub rows: Option<u64>,
    /// Bytes, as far as the system knows.
    pub bytes: Option<u64>,
    /// The system's comment.
    pub comment: Option<String>,
}

/// What an asset is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AssetKind {
    /// A table.
    Table,
    /// A partitioned table.
    PartitionedTable,
    /// A view.
    View,
    /// A materialised view.
    MaterializedView,
    /// A foreign table.
    ForeignTable,
    /// A file.
    File,
    /// A folder of parts.
    Folder,
}

/// Schema, keys and size of something.
#[derive(Debug, Clone)]
pub struct TableSchema {
    /// Arrow schema; native types travel as field metadata (`annotation`).
    pub schema: SchemaRef,
    /// Primary key columns.
    pub primary_key: Vec<String>,
    /// Other unique keys.
    pub unique: Vec<Vec<String>>,
    /// Rows, estimated.
    pub rows: Option<u64>,
    /// Rows at most, where the system is certain (a Parquet footer, not a statistic).
    pub rows_at_most: Option<u64>,
    /// Bytes, estimated.
    pub bytes: Option<u64>,
    /// Names the system and asset, so that a stored position can tell whether it is still the same source.
    pub identity: String,
    /// Sentences a person should read, such as "types inferred from the first 10,000 rows".
    pub notes: Vec<String>,
}

impl TableSchema {
    /// A schema and nothing else known.
    pub fn of(schema: SchemaRef, identity: impl Into<String>) -> Self {
        TableSchema {
            schema,
            primary_key: Vec::new(),
            unique: Vec::new(),
            rows: None,
            rows_at_most: None,
            bytes: None,
            identity: identity.into(),
            notes: Vec::new(),
        }
    }
}
