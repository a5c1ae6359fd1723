//! The one error type that crosses crate borders.
//!
//! An error names the thing (`message`), the facts (`detail`) and the next action (`hint`). It never carries a row
//! value or a secret. Several problems found together travel as one error with `others`, so a user sees them all.

use std::fmt;

use crate::code::{Blame, Code, Retry};

/// `Result` with the house's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A numbered error with message, detail and hint. Cheap to move: one pointer.
#[derive(Clone, PartialEq)]
pub struct Error(Box<Inner>);

#[derive(Clone, PartialEq)]
struct Inner {
    code: Code,
    message: String,
    detail: Option<String>,
    hint: Option<String>,
    node: Option<String>,
    cause: Option<String>,
    others: Vec<Error>,
}

impl Error {
    /// A new error. `message` is lower case, has no full stop, says what was tried and names the object.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Error(Box::new(Inner {
            code,
            message: message.into(),
            detail: None,
            hint: None,
            node: None,
            cause: None,
            others: Vec::new(),
        }))
    }

    /// An invariant of SynqX itself did not hold.
    pub fn bug(message: impl Into<String>) -> Self {
        Error::new(Code::E9901, message)
            .with_hint("please report this with the run's run.json; it is not your fault")
    }

    /// Adds facts, as full sentences.
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    /// Adds the next action.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Adds the next action unless there is one.
    pub fn or_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint.get_or_insert_with(|| hint.into());
        self
    }

    /// Names the node of the pipeline, unless an inner layer has named it.
    pub fn at_node(mut self, node: impl Into<String>) -> Self {
        self.0.node.get_or_insert_with(|| node.into());
        self.0.others = self.0.others.drain(..).collect();
        self
    }

    /// Keeps the text of the underlying error, with its chain of sources, for `--verbose` and logs.
    pub fn with_cause(mut self, cause: &dyn std::error::Error) -> Self {
        let mut text = cause.to_string();
        let mut next = cause.source();
        while let Some(inner) = next {
            let inner_text = inner.to_string();
            if !text.contains(&inner_text) {
                text.push_str(": ");
                text.push_str(&inner_text);
            }
            next = inner.source();
        }
        self.0.cause = Some(text);
        self
    }

    /// Joins several errors into one that reports them all; `None` for an empty list.
    pub fn all(errors: impl IntoIterator<Item = Error>) -> Option<Error> {
        let mut errors = errors.into_iter();
        let mut first = errors.next()?;
        for mut error in errors {
            let nested = std::mem::take(&mut error.0.others);
            first.0.others.push(error);
            first.0.others.extend(nested);
        }
        Some(first)
    }

    /// This error and those that were found with it.
    pub fn iter(&self) -> impl Iterator<Item = &Error> {
        std::iter::once(self).chain(self.0.others.iter())
    }

    /// The number.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// What was tried, on what.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Facts.
    pub fn detail(&self) -> Option<&str> {
        self.0.detail.as_deref()
    }

    /// The next action.
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// The node of the pipeline this is about.
    pub fn node(&self) -> Option<&str> {
        self.0.node.as_deref()
    }

    /// The underlying error's text.
    pub fn cause(&self) -> Option<&str> {
        self.0.cause.as_deref()
    }

    /// Who has to act.
    pub fn blame(&self) -> Blame {
        self.0.code.blame()
    }

    /// Whether trying again can help.
    pub fn retry(&self) -> Retry {
        self.0.code.retry()
    }

    /// The same error with every text passed through `clean` (redaction at the border of the process).
    pub fn map_text(mut self, clean: &dyn Fn(&str) -> String) -> Self {
        let inner = &mut *self.0;
        inner.message = clean(&inner.message);
        for text in [&mut inner.detail, &mut inner.hint, &mut inner.cause] {
            *text = text.as_deref().map(clean);
        }
        inner.others = std::mem::take(&mut inner.others)
            .into_iter()
            .map(|e| e.map_text(clean))
            .collect();
        self
    }

    /// The error as a JSON object (`code, message, detail, hint, node, cause`), for events and `--json`.
    pub fn to_json(&self) -> serde_json::Value {
        let mut map = serde_json::Map::new();
        map.insert("code".into(), self.code().as_str().into());
        map.insert("message".into(), self.message().into());
        for (key, value) in [
            ("node", self.node()),
            ("detail", self.detail()),
            ("hint", self.hint()),
            ("cause", self.cause()),
        ] {
            if let Some(value) = value {
                map.insert(key.into(), value.into());
            }
        }
        if !self.0.others.is_empty() {
            map.insert(
                "others".into(),
                self.0.others.iter().map(Error::to_json).collect(),
            );
        }
        map.into()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.0.code)?;
        if let Some(node) = &self.0.node {
            write!(f, "[{node}] ")?;
        }
        f.write_str(&self.0.message)?;
        if let Some(cause) = &self.0.cause {
            write!(f, ": {cause}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")?;
        if let Some(detail) = &self.0.detail {
            write!(f, "\n  detail: {detail}")?;
        }
        if let Some(hint) = &self.0.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        for other in &self.0.others {
            write!(f, "\n{other:?}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// Turns a foreign error into a coded one at the place where it is understood.
pub trait ResultExt<T> {
    /// Gives the foreign error a code and a message; its text is kept as cause.
    fn coded<M: Into<String>>(self, code: Code, message: impl FnOnce() -> M) -> Result<T>;
}

impl<T, E: std::error::Error> ResultExt<T> for std::result::Result<T, E> {
    fn coded<M: Into<String>>(self, code: Code, message: impl FnOnce() -> M) -> Result<T> {
        self.map_err(|cause| Error::new(code, message()).with_cause(&cause))
    }
}
