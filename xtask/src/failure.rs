//! The one error of the task runner: a sentence that says what was tried and what came back.
//!
//! A task runner has no caller that would match on a kind of error, so there are no kinds: every failure is
//! printed once, by `main`, and ends the process. It is not the `Error` of the product, which has codes.

use std::fmt;

pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// What went wrong, ready to print after `error: `.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Puts the attempted action in front of a foreign error.
pub(crate) trait Explain<T> {
    fn explain(self, attempt: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: fmt::Display> Explain<T> for std::result::Result<T, E> {
    fn explain(self, attempt: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Failure(format!("{}: {error}", attempt())))
    }
}

impl<T> Explain<T> for Option<T> {
    fn explain(self, attempt: impl FnOnce() -> String) -> Result<T> {
        self.ok_or_else(|| Failure(attempt()))
    }
}
