//! Integration tests of the engine: whole runs through real connectors, and the crash matrix.
//!
//! One binary for all of them, because each binary that links DataFusion costs seconds. Servers come from
//! `cargo x up`; a test that needs one fails when it is missing.
#![cfg(test)]

mod crash;
mod every_type;
mod flow;
mod incremental;
mod memory;
mod modes;
mod network;
mod quality;
mod random_values;
mod relay;
mod setting;
mod trouble;
mod values;
