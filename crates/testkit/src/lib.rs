//! What the tests of this house share: servers, throw-away databases, broken networks, awkward rows.
//!
//! `services` finds the servers that `cargo x up` started and fails, never skips, when they are missing;
//! `database` makes a database of a test's own; `proxy` is a TCP proxy that misbehaves on command; `batches` makes
//! rows of every Arrow type and compares sets of rows; `mutate` damages bytes for parsers. Nothing here ships: it is a
//! dev-dependency only.

pub mod batches;
pub mod database;
pub mod mutate;
pub mod proxy;
pub mod services;

pub use batches::assert_same_rows;
pub use database::ThrowAwayDatabase;
pub use proxy::{Direction, FaultProxy};
pub use services::Server;
