//! What `local_file` promises, against real files: reading, writing, bad input, the commit protocol.
//!
//! Every test makes its own folder and its own files. `bench` is the support shared by them.

#![expect(
    clippy::expect_used,
    reason = "support code of tests fails a test by panicking"
)]

mod bad_input;
mod bench;
mod commit;
mod conformance;
mod formats;
mod json;
mod kinds;
mod large_values;
mod mutated;
mod peers;
mod reading;
