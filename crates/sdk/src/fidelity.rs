//! How faithfully a target holds each column: what `synqx plan` prints below a load, and `--json` in full.
//!
//! A column has three types on its way: the source's own, the Arrow type it travels as, the target's. Connectors say
//! the third and what is lost; the rest is read off the field. Nothing here decides whether a loss is allowed.

use arrow::datatypes::Field;
use serde::Serialize;

use crate::annotation;
use crate::type_names::{is_text, render_type};

/// How a value that went the whole way compares with what it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fidelity {
    /// The same value, in a type of its own.
    Exact,
    /// The same value, printed in full as text on its way or at its end.
    ExactAsText,
    /// Something is lost, and the document consents.
    Lossy,
}

impl Fidelity {
    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Fidelity::Exact => "exact",
            Fidelity::ExactAsText => "exact as text",
            Fidelity::Lossy => "lossy, as allowed",
        }
    }
}

/// A column on its way into a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ColumnPath {
    /// Its name.
    pub column: String,
    /// The type it has in its source, where it arrives unchanged; else what the pipeline made of it.
    pub source: String,
    /// The type it travels as.
    pub wire: String,
    /// The type it has in the target.
    pub target: String,
    /// What becomes of its values.
    pub fidelity: Fidelity,
    /// What is lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<String>,
}

impl ColumnPath {
    /// A field that arrives at a column of the type `target`, which keeps it as text or in a type of its own.
    pub fn of(field: &Field, target: impl Into<String>, as_text: bool, loss: Option<String>) -> Self {
        let wire = render_type(field.data_type());
        let native = field.metadata().get(annotation::NATIVE);
        // Text in its source too, or numbers, JSON and the like that became text.
        let told = native.is_some_and(|native| is_text(field.data_type()) && !is_text_type(native));
        let text = as_text && !is_text(field.data_type());
        let fidelity = match &loss {
            Some(_) => Fidelity::Lossy,
            None if told || text => Fidelity::ExactAsText,
            None => Fidelity::Exact,
        };
        ColumnPath {
            column: field.name().clone(),
            source: native.unwrap_or(&wire).clone(),
            wire,
            target: target.into(),
            fidelity,
            loss,
        }
    }
}

/// Native types that are text to begin with.
const TEXTS: [&str; 12] = [
    "text",
    "char",
    "character",
    "character varying",
    "varchar",
    "bpchar",
    "name",
    "clob",
    "citext",
    "json",
    "jsonb",
    "xml",
];

fn is_text_type(native: &str) -> bool {
    let base = native.split('(').next().unwrap_or_default().trim();
    TEXTS.contains(&base.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;

    use super::*;

    #[test]
    fn a_native_type_that_became_text_is_told_from_text() {
        let field = |native: Option<&str>, data_type| {
            let field = Field::new("c", data_type, true);
            native.map_or(field.clone(), |native| {
                annotation::annotate(field, annotation::NATIVE, native)
            })
        };
        let judge = |field: &Field, as_text, loss: Option<&str>| {
            ColumnPath::of(field, "t", as_text, loss.map(str::to_owned)).fidelity
        };
        assert_eq!(
            judge(&field(Some("inet"), DataType::Utf8View), false, None),
            Fidelity::ExactAsText
        );
        assert_eq!(
            judge(
                &field(Some("character varying(3)"), DataType::Utf8View),
                true,
                None
            ),
            Fidelity::Exact
        );
        assert_eq!(
            judge(&field(None, DataType::Utf8View), true, None),
            Fidelity::Exact
        );
        assert_eq!(
            judge(&field(None, DataType::Date32), true, None),
            Fidelity::ExactAsText
        );
        assert_eq!(
            judge(&field(Some("date"), DataType::Date32), false, None),
            Fidelity::Exact
        );
        assert_eq!(
            judge(&field(None, DataType::Float64), false, Some("digits")),
            Fidelity::Lossy
        );
    }
}
