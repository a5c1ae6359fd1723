//! A predicate's truth over one row, the slow and obvious way: SQL's three-valued logic.
//!
//! It is the judge of pushdown: rows read without a predicate and filtered here must be the rows a source returns
//! when it applies the predicate itself. Semantics are the engine's: text by bytes, floats in total order (every NaN
//! is the greatest and equal to itself, -0.0 is below 0.0), LIKE over characters. It shares no code with any source.

use std::cmp::Ordering;

use crate::conformance::rows::{Rows, Value, canonical_number, order_bits};
use crate::predicate::{Comparison, Literal, Predicate, render_decimal};

/// `Some(true)`, `Some(false)`, or `None` for unknown. `Err` names a column or a pair of types that do not meet.
pub fn evaluate(predicate: &Predicate, rows: &Rows, row: &[Value]) -> Result<Option<bool>, String> {
    let value = |column: &str| {
        let at = rows.columns.iter().position(|name| name == column);
        at.and_then(|i| row.get(i))
            .ok_or_else(|| format!("there is no column {column:?}"))
    };
    Ok(match predicate {
        Predicate::Compare { column, op, literal } => {
            compare(value(column)?, literal)?.map(|found| holds(*op, found))
        }
        Predicate::In {
            column,
            literals,
            negated,
        } => {
            let value = value(column)?;
            let mut result = Some(false);
            for literal in literals {
                match compare(value, literal)? {
                    Some(Ordering::Equal) => result = Some(true),
                    None if result == Some(false) => result = None,
                    _ => {}
                }
            }
            result.map(|inside| inside != *negated)
        }
        Predicate::IsNull { column, negated } => Some((*value(column)? == Value::Null) != *negated),
        Predicate::Like {
            column,
            pattern,
            negated,
        } => match value(column)? {
            Value::Null => None,
            Value::Text(text) => {
                let (text, pattern): (Vec<char>, Vec<char>) =
                    (text.chars().collect(), pattern.chars().collect());
                Some(like(&text, &pattern) != *negated)
            }
            other => return Err(format!("LIKE over {other}")),
        },
        Predicate::And(parts) => fold(parts, rows, row, false)?,
        Predicate::Or(parts) => fold(parts, rows, row, true)?,
        Predicate::Not(part) => evaluate(part, rows, row)?.map(|truth| !truth),
    })
}

/// AND stops at false, OR at true; otherwise one unknown makes all unknown.
fn fold(parts: &[Predicate], rows: &Rows, row: &[Value], decisive: bool) -> Result<Option<bool>, String> {
    let mut result = Some(!decisive);
    for part in parts {
        match evaluate(part, rows, row)? {
            Some(truth) if truth == decisive => return Ok(Some(decisive)),
            Some(_) => {}
            None => result = None,
        }
    }
    Ok(result)
}

fn holds(op: Comparison, found: Ordering) -> bool {
    match op {
        Comparison::Eq => found.is_eq(),
        Comparison::NotEq => found.is_ne(),
        Comparison::Lt => found.is_lt(),
        Comparison::LtEq => found.is_le(),
        Comparison::Gt => found.is_gt(),
        Comparison::GtEq => found.is_ge(),
    }
}

fn compare(value: &Value, literal: &Literal) -> Result<Option<Ordering>, String> {
    Ok(Some(match (value, literal) {
        (Value::Null, _) => return Ok(None),
        (Value::Bool(a), Literal::Bool(b)) => a.cmp(b),
        (Value::Number(a), Literal::Int(b)) => compare_numbers(a, &b.to_string()),
        (Value::Number(a), Literal::Decimal(unscaled, scale)) => {
            let text = render_decimal(*unscaled, *scale);
            compare_numbers(a, &canonical_number(&text).unwrap_or(text))
        }
        (Value::Float(a), Literal::Float(b)) => a.cmp(&order_bits(if b.is_nan() { f64::NAN } else { *b })),
        (Value::Text(a), Literal::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
        (Value::Bytes(a), Literal::Bytes(b)) => a.cmp(b),
        (Value::Date(a), Literal::Date(b)) => a.cmp(&i64::from(*b)),
        (Value::Timestamp(a), Literal::Timestamp(b)) | (Value::Instant(a), Literal::Instant(b)) => {
            a.cmp(&(i128::from(*b) * 1_000))
        }
        (value, literal) => return Err(format!("{value} and {literal} cannot be compared")),
    }))
}

/// Orders two canonical numbers of any size.
pub fn compare_numbers(a: &str, b: &str) -> Ordering {
    let split = |text: &str| {
        let (negative, digits) = text
            .strip_prefix('-')
            .map_or((false, text), |digits| (true, digits));
        let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
        (
            negative,
            whole.trim_start_matches('0').to_owned(),
            part.to_owned(),
        )
    };
    let ((a_negative, a_whole, a_part), (b_negative, b_whole, b_part)) = (split(a), split(b));
    let size = a_whole
        .len()
        .cmp(&b_whole.len())
        .then_with(|| a_whole.cmp(&b_whole))
        .then_with(|| a_part.cmp(&b_part));
    match (a_negative, b_negative) {
        (false, false) => size,
        (true, true) => size.reverse(),
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
    }
}

fn like(text: &[char], pattern: &[char]) -> bool {
    match pattern {
        [] => text.is_empty(),
        ['%', rest @ ..] => (0..=text.len()).any(|at| like(&text[at..], rest)),
        ['_', rest @ ..] => text.split_first().is_some_and(|(_, more)| like(more, rest)),
        ['\\', wanted, rest @ ..] | [wanted, rest @ ..] => text
            .split_first()
            .is_some_and(|(found, more)| found == wanted && like(more, rest)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn truth(predicate: &Predicate, value: Value) -> Option<bool> {
        let rows = Rows {
            columns: vec!["a".into()],
            rows: Vec::new(),
        };
        evaluate(predicate, &rows, &[value]).expect("types meet")
    }

    fn at_least(n: i128) -> Predicate {
        Predicate::Compare {
            column: "a".into(),
            op: Comparison::GtEq,
            literal: Literal::Int(n),
        }
    }

    #[test]
    fn unknown_is_neither_true_nor_false() {
        let known = at_least(5);
        let number = |n: &str| Value::Number(n.into());
        assert_eq!(truth(&known, Value::Null), None);
        assert_eq!(truth(&Predicate::Not(Box::new(known.clone())), Value::Null), None);
        let is_null = Predicate::IsNull {
            column: "a".into(),
            negated: false,
        };
        assert_eq!(
            truth(&Predicate::Or(vec![known.clone(), is_null.clone()]), Value::Null),
            Some(true)
        );
        assert_eq!(
            truth(&Predicate::And(vec![known.clone(), is_null]), number("7")),
            Some(false)
        );
        let none_of = Predicate::In {
            column: "a".into(),
            literals: vec![Literal::Int(1)],
            negated: true,
        };
        assert_eq!(truth(&none_of, Value::Null), None);
        assert_eq!(
            (truth(&known, number("4.99")), truth(&known, number("10"))),
            (Some(false), Some(true))
        );
    }

    #[test]
    fn numbers_of_any_size_are_ordered() {
        let sorted = [
            "-1000", "-99.5", "-1", "-0.5", "-0.05", "0", "0.05", "0.5", "1", "1.01", "99", "1000",
        ];
        for (i, a) in sorted.iter().enumerate() {
            for (j, b) in sorted.iter().enumerate() {
                assert_eq!(compare_numbers(a, b), i.cmp(&j), "{a} and {b}");
            }
        }
    }

    #[test]
    fn like_knows_both_wildcards_and_the_escape() {
        let matches = |text: &str, pattern: &str| {
            let predicate = Predicate::Like {
                column: "a".into(),
                pattern: pattern.into(),
                negated: false,
            };
            truth(&predicate, Value::Text(text.into())) == Some(true)
        };
        assert!(matches("a%b", r"a\%b") && !matches("axb", r"a\%b"));
        assert!(matches("ü\nz", "__z") && matches("", "%") && !matches("", "_") && !matches("ABC", "abc"));
    }
}
