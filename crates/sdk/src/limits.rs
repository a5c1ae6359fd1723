//! What a destination can and cannot promise, as a plain record.
//!
//! Code branches on a limit, never on a vendor's name; `synqx plan` prints what follows from them.
//! A number that is `None` means there is no such limit.

use serde::Serialize;
use synqx_model::spec::WriteMode;

/// What a destination can and cannot promise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Longest identifier, bytes.
    pub identifier_bytes: Option<usize>,
    /// Names that differ only in case are one name.
    pub case_insensitive: bool,
    /// Most columns of a table.
    pub columns: Option<usize>,
    /// DDL is part of transactions.
    pub transactional_ddl: bool,
    /// Write modes it can do.
    pub modes: Vec<WriteMode>,
    /// Writers that may work at once on one load.
    pub parallel_writers: usize,
    /// Loads that may be open at once in one write domain.
    pub concurrent_loads: usize,
    /// Finest timestamp unit held without loss, as decimal places of a second.
    pub timestamp_digits: u8,
    /// Most digits of a decimal.
    pub decimal_digits: Option<u16>,
    /// Text may contain the NUL character.
    pub nul_in_text: bool,
    /// How a late writer is kept out.
    pub fence: FenceKind,
    /// What a repeated run means for the rows.
    pub delivery: Delivery,
}

/// How a late writer is kept out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FenceKind {
    /// Checked inside the transaction that publishes.
    Transaction,
    /// Checked by a conditional put.
    ConditionalPut,
    /// Checked under a lock on a file beside the target.
    LockFile,
    /// Not at all: a zombie can publish.
    None,
}

/// What a repeated run means for the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// Every row once.
    ExactlyOnce,
    /// Every row once for readers of the manifest; others may see parts early.
    ExactlyOnceByManifest,
    /// Every row, maybe more than once.
    AtLeastOnce,
}

impl Delivery {
    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Delivery::ExactlyOnce => "exactly once",
            Delivery::ExactlyOnceByManifest => "exactly once for readers of the manifest",
            Delivery::AtLeastOnce => "at least once",
        }
    }
}
