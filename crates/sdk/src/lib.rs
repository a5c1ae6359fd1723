//! What a connector promises, and what it is handed to keep the promise.
//!
//! `connector` has the traits of a connection, `read` those of a source, `write` those of a destination; `limits`
//! is the plain record the rest of the house branches on instead of vendor names, `modes` what a write mode asks of any destination. `predicate` is the closed set of
//! conditions that may sink into a source, `annotation` owns the metadata keys of native types, `cursor` has the values of
//! incremental reads, `budget` and `lane` bound memory, `glob` matches names, `probe` is where a test may kill the process, `conformance` holds the suites
//! every connector runs.
//! Life cycle, one word per step: parse → check → discover → prepare → open → read/write → commit → confirm → close.

pub mod annotation;
pub mod budget;
pub mod conformance;
pub mod connector;
pub mod cursor;
pub mod fidelity;
pub mod glob;
pub mod lane;
pub mod limits;
pub mod modes;
pub mod predicate;
pub mod probe;
pub mod raw;
pub mod read;
pub mod registry;
pub mod resolve;
pub mod text;
pub mod type_names;
pub mod write;

pub use budget::{Budget, Reservation};
pub use connector::{
    Asset, AssetKind, Connection, Connector, ConnectorSpec, Env, Finding, Role, TableSchema,
};
pub use fidelity::{ColumnPath, Fidelity};
pub use limits::{Delivery, FenceKind, Limits};
pub use modes::{ScopeColumn, ScopeValue};
pub use predicate::{Acceptance, Comparison, Literal, Predicate};
pub use probe::{Effect, Moment, Probe, Protection};
pub use raw::{RawChunk, RawForm, RawReader, RawStream};
pub use read::{
    BatchStream, Dataset, FileRange, HighWater, NewFiles, Partition, ReadPlan, Reader, Scan, Source,
};
pub use registry::Registry;
pub use resolve::Resolve;
pub use write::{
    Action, Committed, Destination, FenceClaim, Load, OrderBy, Preparation, PublishPath, Receipt, Target,
    Writer, Written,
};
