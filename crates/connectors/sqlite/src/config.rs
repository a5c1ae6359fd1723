//! What a document may write about a SQLite file, and about one asset of it.
//!
//! Plain data with the words users read; nothing is opened here.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use synqx_model::size::Span;

/// A SQLite database file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The database file, relative to the document's folder.
    pub path: PathBuf,
    /// A destination may make the file when it does not exist. A source never does.
    #[serde(default = "yes")]
    pub create: bool,
    /// How long to wait for another program's lock, such as `10s`.
    #[serde(default = "ten_seconds")]
    pub busy_timeout: Span,
    /// Put an existing file into WAL mode, so that readers and the load do not block each other. Files that SynqX makes
    /// are in WAL mode; the mode stays with the file.
    #[serde(default)]
    pub wal: bool,
}

fn yes() -> bool {
    true
}

fn ten_seconds() -> Span {
    Span(Duration::from_secs(10))
}

/// Options of an extract.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReadOptions {
    /// Column → type, instead of what the table declares.
    #[serde(default)]
    pub(crate) columns: BTreeMap<String, String>,
}

/// Options of a load: none.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WriteOptions {}
