//! What a column's definition says beyond its type, on its way from one PostgreSQL to another.
//!
//! Identity, a constant default and the user's own types travel as one JSON text in the field's metadata. A file can
//! carry that text too, and a file may lie: names and constants are quoted here, types pass the server's own type
//! parser before they stand in a statement, and no expression is ever taken over. Not here: keys, which the engine
//! follows through the pipeline (`Target::source_key`).

use arrow::datatypes::Field;
use serde::{Deserialize, Serialize};
use synqx_sdk::annotation;

use crate::mapping::SYSTEM;
use crate::names::{TableName, check_identifier, literal, quote};

/// What a created column gets besides its type.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Definition {
    /// The server numbers rows; a serial column counts as one that is numbered by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) identity: Option<Identity>,
    /// A constant default, as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) default: Option<String>,
    /// What a copy does not take over, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) left: Option<String>,
    /// The user's own types it rests on, each after those it needs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) types: Vec<UserType>,
}

/// Who may write a numbered column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Identity {
    Always,
    ByDefault,
}

/// A type that can be made again: an enum, a composite type, or a domain without conditions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UserType {
    pub(crate) schema: String,
    pub(crate) name: String,
    /// Labels of an enum, in its order.
    #[serde(default)]
    labels: Option<Vec<String>>,
    /// Names and types of a composite type.
    #[serde(default)]
    attributes: Option<Vec<(String, String)>>,
    /// What a domain is made of.
    #[serde(default)]
    base: Option<String>,
    /// A domain that refuses NULL.
    #[serde(default)]
    not_null: bool,
}

impl UserType {
    /// Its quoted name.
    pub(crate) fn sql(&self) -> String {
        TableName::new(&*self.schema, &*self.name).sql()
    }

    /// The types that stand in its statement and must be types, nothing else.
    pub(crate) fn needs(&self) -> impl Iterator<Item = &str> {
        let attributes = self
            .attributes
            .iter()
            .flatten()
            .map(|(_, native)| native.as_str());
        attributes.chain(self.base.as_deref())
    }

    /// The statement that makes it; `None` for what can only be made by hand.
    pub(crate) fn create(&self) -> Option<String> {
        let names = self.attributes.iter().flatten().map(|(name, _)| name);
        let sound = |name: &String| check_identifier(name, "name").is_ok();
        if !names.chain([&self.schema, &self.name]).all(sound) {
            return None;
        }
        let type_name = self.sql();
        match (&self.labels, &self.attributes, &self.base) {
            (Some(labels), None, None) => {
                let labels: Vec<String> = labels.iter().map(|label| literal(label)).collect();
                Some(format!("CREATE TYPE {type_name} AS ENUM ({})", labels.join(", ")))
            }
            (None, Some(attributes), None) => {
                let parts = attributes
                    .iter()
                    .map(|(name, native)| format!("{} {native}", quote(name)));
                let parts: Vec<String> = parts.collect();
                Some(format!("CREATE TYPE {type_name} AS ({})", parts.join(", ")))
            }
            (None, None, Some(base)) => {
                let not_null = if self.not_null { " NOT NULL" } else { "" };
                Some(format!("CREATE DOMAIN {type_name} AS {base}{not_null}"))
            }
            _ => None,
        }
    }
}

impl Definition {
    /// What a field carries, where it comes from PostgreSQL.
    pub(crate) fn of(field: &Field) -> Definition {
        let text = field.metadata().get(annotation::DEFINITION);
        let own = annotation::native(field, SYSTEM).and(text);
        own.and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_default()
    }

    /// Puts it on a field, unless there is nothing to say.
    pub(crate) fn mark(&self, field: Field) -> Field {
        match serde_json::to_string(self) {
            Ok(text) if *self != Definition::default() => {
                annotation::annotate(field, annotation::DEFINITION, text)
            }
            _ => field,
        }
    }
}

/// The text of a default that is a constant, as `pg_get_expr` prints it: `'a''b'::text`, `-1.5`, `true`.
pub(crate) fn constant(expression: &str) -> Option<String> {
    let number = |text: &str| {
        let digits = text.strip_prefix('-').unwrap_or(text);
        digits.starts_with(|c: char| c.is_ascii_digit())
            && digits.bytes().all(|b| b.is_ascii_digit() || b == b'.')
    };
    if matches!(expression, "true" | "false") || number(expression) {
        return Some(expression.to_owned());
    }
    let mut value = String::new();
    let mut rest = expression.strip_prefix('\'')?.chars().peekable();
    loop {
        match rest.next()? {
            '\'' if rest.peek() == Some(&'\'') => {
                rest.next();
                value.push('\'');
            }
            '\'' => break,
            c => value.push(c),
        }
    }
    let cast: String = rest.collect();
    let type_name = cast.strip_prefix("::").unwrap_or(&cast);
    let plain = |c: char| c.is_alphanumeric() || " _\".,()[]".contains(c);
    type_name.chars().all(plain).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_constants_are_taken_for_constants() {
        for (expression, value) in [
            ("'a''b'::text", Some("a'b")),
            ("''::character varying", Some("")),
            ("'{}'::text[]", Some("{}")),
            ("'-5'::integer", Some("-5")),
            (
                "'2024-01-01 00:00:00+00'::timestamp with time zone",
                Some("2024-01-01 00:00:00+00"),
            ),
            ("'x'::\"My Schema\".\"Mood\"", Some("x")),
            ("0", Some("0")),
            ("-1.50", Some("-1.50")),
            ("true", Some("true")),
            ("now()", None),
            ("CURRENT_TIMESTAMP", None),
            ("('now'::text)::date", None),
            ("nextval('s'::regclass)", None),
            ("'a'::text || 'b'::text", None),
            ("'a'::text; DROP TABLE t", None),
            ("1 + 1", None),
            ("'a", None),
            ("NULL::text", None),
            ("-", None),
        ] {
            assert_eq!(constant(expression).as_deref(), value, "{expression}");
        }
    }

    #[test]
    fn names_and_labels_are_quoted_wherever_the_text_came_from() {
        let made = |json: &str| serde_json::from_str::<UserType>(json).expect("reads").create();
        assert_eq!(
            made(r#"{"schema": "s", "name": "a\"b", "labels": ["x'); DROP TABLE t; --"]}"#).as_deref(),
            Some("CREATE TYPE \"s\".\"a\"\"b\" AS ENUM ('x''); DROP TABLE t; --')")
        );
        assert_eq!(
            made(r#"{"schema": "s", "name": "d", "base": "integer", "not_null": true}"#).as_deref(),
            Some("CREATE DOMAIN \"s\".\"d\" AS integer NOT NULL")
        );
        assert_eq!(made(r#"{"schema": "", "name": "d", "base": "integer"}"#), None);
        assert_eq!(made(r#"{"schema": "s", "name": "d"}"#), None);
    }
}
