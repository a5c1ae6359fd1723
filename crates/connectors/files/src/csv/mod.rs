//! Delimited text: CSV, TSV and their dialects.
//!
//! `dialect` is how a file is written down, `split` finds records and cells in bytes, `infer` recognises types,
//! `cells` turns cells into Arrow columns, `read` drives these over a file, `write` renders batches. A cell is NULL
//! when it is empty *and* without quotes (or one of `nulls` without quotes); `""` is the empty text.

pub(crate) mod cells;
pub(crate) mod dialect;
mod encoding;
pub(crate) mod infer;
pub(crate) mod number;
pub(crate) mod read;
pub(crate) mod split;
pub(crate) mod write;
