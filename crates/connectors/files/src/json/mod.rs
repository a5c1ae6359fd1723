//! JSON lines and JSON: objects as rows.
//!
//! `infer` finds columns and types, `decode` turns objects into Arrow columns, `read` finds the objects of a file,
//! `render` prints any Arrow value as JSON (CSV cells use it too), `write` renders batches.

pub(crate) mod infer;
pub(crate) mod read;
pub(crate) mod render;
pub(crate) mod write;
