//! Texts that people read: pure functions from facts to strings, so that tests can look at every word.
//!
//! `paint` and `number` are the alphabet, `table` aligns, the others show one thing each. Nothing here prints
//! or asks the world outside; time and terminal width are arguments.

pub(crate) mod check;
pub(crate) mod connector;
pub(crate) mod error;
pub(crate) mod live;
pub(crate) mod markdown;
pub(crate) mod number;
pub(crate) mod paint;
pub(crate) mod plan;
pub(crate) mod rows;
pub(crate) mod summary;
pub(crate) mod table;
