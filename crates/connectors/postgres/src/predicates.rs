//! Conditions that sink into a read: what is accepted, and as which SQL.
//!
//! Exact only where PostgreSQL and the engine are certain to agree: integers, decimals, booleans, dates, timestamps,
//! and equality and LIKE of text under a collation whose equality is bytewise. Never floats (NaN), never text order
//! under a locale, never a column that is read through a cast. Constants are rendered with type and quotes.

use synqx_sdk::predicate::render_decimal;
use synqx_sdk::{Acceptance, Comparison, Literal, Predicate, TableSchema, annotation, text, type_names};

use crate::names::{literal, quote};

/// What a column allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Domain {
    Number,
    Bool,
    Date,
    Timestamp,
    Instant,
    Text { ordered: bool },
    Nothing,
}

/// Facts about columns that are not in the Arrow schema travel under these keys.
pub(crate) const EQUALITY: &str = "synqx.postgresql.equality";

fn domain(table: &TableSchema, column: &str) -> Domain {
    let Ok(field) = table.schema.field_with_name(column) else {
        return Domain::Nothing;
    };
    let native = annotation::native(field, crate::mapping::SYSTEM).unwrap_or("");
    let base = native.split('(').next().unwrap_or("");
    let zoned = native.ends_with("with time zone");
    let told = type_names::is_text(field.data_type());
    match base {
        // Read as text: its order and its equality are not the type's.
        "date" | "timestamp" | "timestamp without time zone" | "timestamp with time zone" if told => {
            Domain::Nothing
        }
        "smallint" | "integer" | "bigint" => Domain::Number,
        "numeric" if !annotation::is_numeric_text(field) => Domain::Number,
        "boolean" => Domain::Bool,
        "date" => Domain::Date,
        "timestamp without time zone" => Domain::Timestamp,
        "timestamp with time zone" => Domain::Instant,
        "timestamp" if zoned => Domain::Instant,
        "timestamp" => Domain::Timestamp,
        "text" | "character varying" => match field.metadata().get(EQUALITY).map(String::as_str) {
            Some("bytewise") => Domain::Text { ordered: false },
            Some("ordered") => Domain::Text { ordered: true },
            _ => Domain::Nothing,
        },
        _ => Domain::Nothing,
    }
}

/// Whether a read applies a predicate exactly.
pub(crate) fn accepts(table: &TableSchema, predicate: &Predicate) -> Acceptance {
    if render(table, predicate).is_some() {
        Acceptance::Exact
    } else {
        Acceptance::No
    }
}

/// The SQL of a predicate; `None` when it is not accepted.
pub(crate) fn render(table: &TableSchema, predicate: &Predicate) -> Option<String> {
    match predicate {
        Predicate::Compare { column, op, literal } => {
            let domain = domain(table, column);
            if let Domain::Text { ordered: false } = domain
                && !matches!(op, Comparison::Eq | Comparison::NotEq)
            {
                return None;
            }
            Some(format!(
                "{} {} {}",
                quote(column),
                op.as_sql(),
                constant(domain, literal)?
            ))
        }
        Predicate::In {
            column,
            literals,
            negated,
        } => {
            if literals.is_empty() {
                return None;
            }
            let domain = domain(table, column);
            let items: Option<Vec<String>> = literals.iter().map(|l| constant(domain, l)).collect();
            Some(format!(
                "{}{} IN ({})",
                quote(column),
                if *negated { " NOT" } else { "" },
                items?.join(", ")
            ))
        }
        Predicate::IsNull { column, negated } => {
            let field = table.schema.field_with_name(column).ok()?;
            let native = annotation::native(field, crate::mapping::SYSTEM)?;
            // A composite "IS NULL" when all its fields are; through the cast it is not.
            let simple = domain(table, column) != Domain::Nothing
                || matches!(
                    native,
                    "real"
                        | "double precision"
                        | "numeric"
                        | "text"
                        | "uuid"
                        | "bytea"
                        | "json"
                        | "jsonb"
                        | "interval"
                );
            simple.then(|| format!("{} IS{} NULL", quote(column), if *negated { " NOT" } else { "" }))
        }
        Predicate::Like {
            column,
            pattern,
            negated,
        } => {
            let Domain::Text { .. } = domain(table, column) else {
                return None;
            };
            // A pattern that ends in its escape is an error in PostgreSQL.
            let escapes = pattern.chars().rev().take_while(|c| *c == '\\').count();
            if escapes % 2 == 1 || pattern.contains('\0') {
                return None;
            }
            let not = if *negated { " NOT" } else { "" };
            Some(format!("{}{not} LIKE {}", quote(column), literal(pattern)))
        }
        Predicate::And(parts) => all(table, parts, " AND "),
        Predicate::Or(parts) => all(table, parts, " OR "),
        Predicate::Not(part) => Some(format!("NOT ({})", render(table, part)?)),
    }
}

fn all(table: &TableSchema, parts: &[Predicate], word: &str) -> Option<String> {
    if parts.is_empty() {
        return None;
    }
    let parts: Option<Vec<String>> = parts.iter().map(|p| render(table, p)).collect();
    Some(format!("({})", parts?.join(word)))
}

fn constant(domain: Domain, value: &Literal) -> Option<String> {
    Some(match (domain, value) {
        // As an integer where it is one, so that an index on an integer column is used.
        (Domain::Number, Literal::Int(n)) if i64::try_from(*n).is_ok() => format!("'{n}'::pg_catalog.int8"),
        (Domain::Number, Literal::Int(n)) => format!("'{n}'::pg_catalog.numeric"),
        (Domain::Number, Literal::Decimal(n, scale)) => {
            format!("'{}'::pg_catalog.numeric", render_decimal(*n, *scale))
        }
        (Domain::Bool, Literal::Bool(b)) => format!("{b}"),
        (Domain::Date, Literal::Date(days)) => format!("'{}'::pg_catalog.date", day(i64::from(*days))?),
        (Domain::Timestamp, Literal::Timestamp(micros)) => {
            format!("'{}'::pg_catalog.timestamp", moment(*micros)?)
        }
        (Domain::Instant, Literal::Instant(micros)) => {
            format!("'{}+00'::pg_catalog.timestamptz", moment(*micros)?)
        }
        (Domain::Text { .. }, Literal::Text(t)) if !t.contains('\0') => literal(t),
        _ => return None,
    })
}

/// A date every PostgreSQL reads alike: years 1 to 9999.
fn day(days: i64) -> Option<String> {
    let text = text::render_date(days);
    (text.len() == 10 && !text.starts_with("0000")).then_some(text)
}

fn moment(micros: i64) -> Option<String> {
    let text = text::render_timestamp(micros, false);
    (!text.starts_with(['-', '+']) && !text.starts_with("0000")).then_some(text)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{DataType, Field, Schema, TimeUnit};

    use super::*;

    fn table() -> TableSchema {
        let field = |name: &str, data_type: DataType, native: &str, equality: Option<&str>| {
            let field = annotation::annotate(
                Field::new(name, data_type, true),
                annotation::SYSTEM,
                crate::mapping::SYSTEM,
            );
            let field = annotation::annotate(field, annotation::NATIVE, native);
            match equality {
                Some(e) => annotation::annotate(field, EQUALITY, e),
                None => field,
            }
        };
        let fields = vec![
            field("id", DataType::Int32, "integer", None),
            field("price", DataType::Decimal128(10, 2), "numeric(10,2)", None),
            field("name", DataType::Utf8View, "text", Some("bytewise")),
            field(
                "code",
                DataType::Utf8View,
                "character varying(8)",
                Some("ordered"),
            ),
            field("loose", DataType::Utf8View, "public.citext", Some("bytewise")),
            field(
                "when",
                DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
                "timestamp with time zone",
                None,
            ),
            field("x", DataType::Float64, "double precision", None),
            field("net", DataType::Utf8View, "inet", None),
            field("day", DataType::Date32, "date", None),
        ];
        TableSchema::of(Arc::new(Schema::new(fields)), "t")
    }

    fn compare(column: &str, op: Comparison, literal: Literal) -> Predicate {
        Predicate::Compare {
            column: column.into(),
            op,
            literal,
        }
    }

    #[test]
    fn what_both_sides_agree_on_is_rendered_with_types() {
        for (predicate, sql) in [
            (
                compare("id", Comparison::GtEq, Literal::Int(-5)),
                "\"id\" >= '-5'::pg_catalog.int8",
            ),
            (
                compare("price", Comparison::Lt, Literal::Decimal(1250, 2)),
                "\"price\" < '12.50'::pg_catalog.numeric",
            ),
            (
                compare("name", Comparison::Eq, Literal::Text("it's \\".into())),
                "\"name\" = E'it''s \\\\'",
            ),
            (
                compare("code", Comparison::Gt, Literal::Text("m".into())),
                "\"code\" > 'm'",
            ),
            (
                compare("day", Comparison::Eq, Literal::Date(0)),
                "\"day\" = '1970-01-01'::pg_catalog.date",
            ),
            (
                compare("when", Comparison::Lt, Literal::Instant(1)),
                "\"when\" < '1970-01-01 00:00:00.000001+00'::pg_catalog.timestamptz",
            ),
            (
                Predicate::In {
                    column: "id".into(),
                    literals: vec![Literal::Int(1), Literal::Int(2)],
                    negated: true,
                },
                "\"id\" NOT IN ('1'::pg_catalog.int8, '2'::pg_catalog.int8)",
            ),
            (
                Predicate::Like {
                    column: "name".into(),
                    pattern: "a\\%b%".into(),
                    negated: false,
                },
                "\"name\" LIKE E'a\\\\%b%'",
            ),
            (
                Predicate::Or(vec![
                    Predicate::IsNull {
                        column: "x".into(),
                        negated: true,
                    },
                    Predicate::Not(Box::new(compare("id", Comparison::Eq, Literal::Int(1)))),
                ]),
                "(\"x\" IS NOT NULL OR NOT (\"id\" = '1'::pg_catalog.int8))",
            ),
        ] {
            assert_eq!(render(&table(), &predicate).as_deref(), Some(sql));
            assert_eq!(accepts(&table(), &predicate), Acceptance::Exact);
        }
    }

    #[test]
    fn what_they_may_not_agree_on_stays_with_the_engine() {
        for predicate in [
            compare("x", Comparison::Lt, Literal::Float(1.0)),
            compare("name", Comparison::Lt, Literal::Text("m".into())),
            compare("loose", Comparison::Eq, Literal::Text("m".into())),
            compare("net", Comparison::Eq, Literal::Text("::1".into())),
            compare("id", Comparison::Eq, Literal::Text("1".into())),
            compare("when", Comparison::Eq, Literal::Timestamp(0)),
            compare("day", Comparison::Eq, Literal::Date(i32::MAX)),
            compare("absent", Comparison::Eq, Literal::Int(1)),
            Predicate::Like {
                column: "name".into(),
                pattern: "a\\".into(),
                negated: false,
            },
            Predicate::And(vec![]),
            Predicate::And(vec![
                compare("id", Comparison::Eq, Literal::Int(1)),
                compare("x", Comparison::Eq, Literal::Float(1.0)),
            ]),
        ] {
            assert_eq!(accepts(&table(), &predicate), Acceptance::No, "{predicate}");
        }
    }
}
