//! The connector against real database files: types, names, modes, faults, locks, pushed conditions.
//!
//! Each module is one promise; `house` is the small world they share. No server, no network, no sleeps.

#![expect(
    clippy::expect_used,
    clippy::too_many_lines,
    reason = "a test that cannot go on says why and stops; a table of cases is read as one"
)]

mod conformance;
mod faults;
mod fidelity;
mod house;
mod modes;
mod reading;
