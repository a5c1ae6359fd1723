//! Conditions that may sink into SQLite, and how they are written there.
//!
//! SQLite compares by storage class first, so a condition is exact only where the column cannot hold another class:
//! integers of a STRICT table or the rowid, text under the BINARY collation in a column of TEXT affinity. NULL tests
//! are exact everywhere. Everything else stays with the engine, LIKE above all: SQLite's takes `a` for `A` and stops at
//! a NUL character, so it misses rows that pass. The note `MARK` on a field says which it is.

use arrow::datatypes::Field;
use rusqlite::types::Value;
use synqx_sdk::{Acceptance, Comparison, Literal, Predicate, TableSchema};

use crate::client::quote;

/// Field metadata: what comparisons are exact.
pub(crate) const MARK: &str = "synqx.sqlite.compare";
/// Only integers can be in the column.
pub(crate) const INTEGERS: &str = "integers";
/// Text is compared byte by byte, in UTF-8.
pub(crate) const TEXT: &str = "text";
/// As `TEXT`, but only equality means the same: the file is in UTF-16.
pub(crate) const TEXT_EQUAL: &str = "text-equal";

/// Constants and parts a pushed condition may have: SQLite refuses statements that are too deep.
const MOST: usize = 500;

/// What this source makes of a predicate.
pub(crate) fn accepts(table: &TableSchema, predicate: &Predicate) -> Acceptance {
    if size(predicate) > MOST {
        return Acceptance::No;
    }
    judge(table, predicate)
}

fn size(predicate: &Predicate) -> usize {
    match predicate {
        Predicate::In { literals, .. } => literals.len(),
        Predicate::And(parts) | Predicate::Or(parts) => parts.iter().map(size).sum(),
        Predicate::Not(part) => 1 + size(part),
        Predicate::Compare { .. } | Predicate::IsNull { .. } | Predicate::Like { .. } => 1,
    }
}

fn judge(table: &TableSchema, predicate: &Predicate) -> Acceptance {
    let mark = |column: &str| {
        let field: Option<&Field> = table.schema.field_with_name(column).ok();
        field.map(|f| f.metadata().get(MARK).map_or("", String::as_str))
    };
    match predicate {
        Predicate::IsNull { column, .. } if mark(column).is_some() => Acceptance::Exact,
        Predicate::Compare { column, op, literal } => compare(mark(column), *op, literal),
        Predicate::In { column, literals, .. } if !literals.is_empty() => {
            let each = literals.iter().map(|l| compare(mark(column), Comparison::Eq, l));
            each.min().unwrap_or(Acceptance::No)
        }
        Predicate::And(parts) | Predicate::Or(parts) if !parts.is_empty() => parts
            .iter()
            .map(|part| judge(table, part))
            .min()
            .unwrap_or(Acceptance::No),
        Predicate::Not(part) if judge(table, part) == Acceptance::Exact => Acceptance::Exact,
        _ => Acceptance::No,
    }
}

fn compare(mark: Option<&str>, op: Comparison, literal: &Literal) -> Acceptance {
    let equality = matches!(op, Comparison::Eq | Comparison::NotEq);
    let exact = match (mark, literal) {
        (Some(INTEGERS), Literal::Int(i)) => i64::try_from(*i).is_ok(),
        (Some(TEXT), Literal::Text(_)) => true,
        (Some(TEXT_EQUAL), Literal::Text(_)) => equality,
        _ => false,
    };
    if exact { Acceptance::Exact } else { Acceptance::No }
}

/// A predicate as SQL with numbered parameters. `None` for what is never accepted.
pub(crate) fn render(predicate: &Predicate, parameters: &mut Vec<Value>) -> Option<String> {
    let mut bind = |literal: &Literal| {
        parameters.push(match literal {
            Literal::Int(i) => Value::Integer(i64::try_from(*i).ok()?),
            Literal::Text(text) => Value::Text(text.clone()),
            _ => return None,
        });
        Some(format!("?{}", parameters.len()))
    };
    let not = |negated: bool| if negated { " NOT" } else { "" };
    Some(match predicate {
        Predicate::IsNull { column, negated } => format!("{} IS{} NULL", quote(column), not(*negated)),
        Predicate::Compare { column, op, literal } => {
            format!("{} {} {}", quote(column), op.as_sql(), bind(literal)?)
        }
        Predicate::In {
            column,
            literals,
            negated,
        } => {
            let list = literals.iter().map(bind).collect::<Option<Vec<_>>>()?;
            format!("{}{} IN ({})", quote(column), not(*negated), list.join(", "))
        }
        Predicate::Like { .. } => return None,
        Predicate::And(parts) => list(parts, " AND ", parameters)?,
        Predicate::Or(parts) => list(parts, " OR ", parameters)?,
        Predicate::Not(part) => format!("NOT ({})", render(part, parameters)?),
    })
}

fn list(parts: &[Predicate], word: &str, parameters: &mut Vec<Value>) -> Option<String> {
    let parts = parts
        .iter()
        .map(|part| render(part, parameters))
        .collect::<Option<Vec<_>>>()?;
    Some(format!("({})", parts.join(word)))
}

/// The same with the values written out, for people.
pub(crate) fn show(sql: &str, parameters: &[Value]) -> String {
    let mut shown = sql.to_owned();
    for (i, value) in parameters.iter().enumerate().rev() {
        let literal = match value {
            Value::Integer(n) => n.to_string(),
            Value::Text(text) => format!("'{}'", text.replace('\'', "''")),
            _ => continue,
        };
        shown = shown.replace(&format!("?{}", i + 1), &literal);
    }
    shown
}
