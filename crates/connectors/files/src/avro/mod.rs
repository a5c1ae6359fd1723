//! Avro object container files, read and written.
//!
//! `blocks` takes a file apart and unpacks its blocks within the budget, `read` decodes them, `write` makes files of
//! types that Avro holds without loss. Schema registries and single messages are not here.

mod blocks;
pub(crate) mod read;
pub(crate) mod write;
