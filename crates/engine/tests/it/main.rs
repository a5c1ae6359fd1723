//! Integration tests of the engine: whole runs through real connectors, and the crash matrix.
//!
//! One binary for all of them, because each binary that links DataFusion costs seconds. Servers come from
//! `cargo x up`; a test that needs one fails when it is missing.
#![cfg(test)]

mod backfill;
mod crash;
mod enrich;
mod every_type;
mod flow;
mod fuzzed;
mod growing;
mod incremental;
mod killing;
mod memory;
mod modes;
mod network;
mod new_files;
mod quality;
mod random_values;
mod relay;
mod reshape;
mod setting;
mod trouble;
mod values;
