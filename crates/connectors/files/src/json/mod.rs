//! JSON lines and JSON: objects as rows.
//!
//! `objects` finds the objects of a file, `infer` columns and types, `decode` turns objects into Arrow columns and
//! `read` drives them; `render` prints any Arrow value as JSON (CSV cells use it too), `write` renders batches.

pub(crate) mod decode;
pub(crate) mod infer;
pub(crate) mod objects;
pub(crate) mod read;
pub(crate) mod render;
pub(crate) mod write;
