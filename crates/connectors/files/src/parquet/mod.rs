//! Parquet: footers tell schema and rows exactly, statistics tell which row groups a predicate can skip.
//!
//! `read` describes and reads, `portions` sizes its batches by what `pages` tells, `prune` compares predicates with
//! statistics, `write` makes files within the budget.
//! Encoding and decoding are the `parquet` crate's.

pub(crate) mod pages;
pub(crate) mod portions;
pub(crate) mod prune;
pub(crate) mod read;
pub(crate) mod write;
