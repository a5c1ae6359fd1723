//! From a document to something that can be run: plan graph, fragments, what sinks into which source, and why not.
//!
//! The only crate that names DataFusion. It compiles *and executes* fragments, but shows Arrow types only, so that
//! nothing else depends on how relational work is done. It owns no commit, no exchange files and no verdicts: those
//! are the engine's. `compile` is the way in; `lower` has one function per operator; `step` and `check` are the two
//! operators of our own; `source` and `exchange` are what fragments read.

mod annotations;
mod arithmetic;
mod check;
mod compact;
mod compile;
mod cut;
mod display;
mod estimate;
mod exact;
mod exchange;
mod formats;
mod fragment;
mod functions;
mod gauge;
mod held;
mod json_value;
mod lower;
mod mask;
mod memory;
mod meter;
mod pass;
mod predicate;
mod relay;
mod session;
mod source;
mod step;
mod sum;
mod text_tests;
mod time_text;
mod tokens;
#[cfg(test)]
mod transparency;
mod trouble;
mod unions;
mod uses;

pub use check::{RejectSink, Rejected};
pub use compile::{OpenSource, PlanGraph, PlanOptions, Range, StepInfo, compile, edge_name};
pub use display::{Placement, SourceReport};
pub use exchange::{Exchange, Spool, SpoolWriter};
pub use fragment::{Fragment, JoinPolicy, Output, RunContext};
pub use meter::{CheckMeter, Meters, Rule, StepMeter};
pub use relay::Relay;
pub use tokens::Salt;
