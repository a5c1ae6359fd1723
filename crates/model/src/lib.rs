//! What a pipeline *is*: the document, its graph, its checks, ids, positions, errors and run records.
//!
//! Everything here is plain data and pure functions. There is no I/O, no clock in the logic, no async runtime,
//! so every crate of the house can depend on it and nothing here can block, leak or fail for an outside reason.

pub mod code;
pub mod dag;
pub mod error;
pub mod event;
pub mod explain;
pub mod ids;
pub mod manifest;
pub mod nearest;
pub mod position;
pub mod redact;
pub mod size;
pub mod spec;

pub use code::{Blame, Code, Retry};
pub use error::{Error, Result, ResultExt};
pub use ids::{RunId, StreamKey};
pub use position::{Cursor, Position, SourcePosition};
pub use redact::Redactor;
pub use size::{ByteSize, render_duration};
pub use spec::PipelineSpec;
