//! Rows that pass between two connections without being decoded, in a form both systems understand.
//!
//! The source says in which form it can hand a scan over, the destination whether it takes that form at its target.
//! The engine asks both only where a plan has nothing to do between them; position, fence and commit are the same as
//! for decoded rows. Rows are counted by the source's messages and compared with what the destination says it took.

use std::pin::Pin;

use async_trait::async_trait;
use bytes::Bytes;
use futures::Stream;
use synqx_model::Result;

/// Chunks as they arrive.
pub type RawStream = Pin<Box<dyn Stream<Item = Result<RawChunk>> + Send>>;

/// A form of rows, and what the columns are in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawForm {
    /// The form's name, such as `postgresql binary copy`.
    pub format: &'static str,
    /// The source's version, in its own numbering: a destination that is older may not know everything it writes.
    pub version: u32,
    /// The native type of each column, in the order of the scan.
    pub types: Vec<String>,
    /// The statement that reads it, as a person would run it.
    pub statement: String,
}

/// Whole rows in a raw form, without header or trailer.
#[derive(Debug, Clone)]
pub struct RawChunk {
    /// The rows.
    pub bytes: Bytes,
    /// How many.
    pub rows: u64,
}

/// An open raw read. Dropping it releases the snapshot.
#[async_trait]
pub trait RawReader: Send + Sync {
    /// Reads one partition of the plan.
    async fn read(&self, partition: usize) -> Result<RawStream>;
}
