//! The connector against real servers: PostgreSQL 15 and 18, each test in a database of its own.
//!
//! `database` makes and removes the databases, `pool` keeps connections for the suites; the other modules say what must hold. Servers come from `cargo x up`
//! and a test without one fails.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::too_many_lines,
    reason = "a test that cannot go on says why and stops; a table of cases is read as one"
)]

mod conformance;
mod database;
mod definitions;
mod deleting;
mod facts;
mod guarding;
mod pool;
mod reading;
mod relations;
mod round_trip;
mod trouble;
mod upserting;
mod writing;
