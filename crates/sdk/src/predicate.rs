//! The closed set of conditions that may sink into a source.
//!
//! `plan` turns a filter into these where it can; a source answers for each whether it will apply it exactly, will
//! return at least the rows that pass, or not at all. Whatever is not exact is applied again by the engine.

use std::fmt;

/// A typed constant.
#[derive(Debug, Clone, PartialEq)]
pub enum Literal {
    /// Boolean.
    Bool(bool),
    /// Any integer.
    Int(i128),
    /// Exact decimal: unscaled value and scale.
    Decimal(i128, i8),
    /// Floating point.
    Float(f64),
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// Days since 1970-01-01.
    Date(i32),
    /// Microseconds since 1970-01-01T00:00:00 without a zone.
    Timestamp(i64),
    /// Microseconds since 1970-01-01T00:00:00 UTC.
    Instant(i64),
}

/// A comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `=`
    Eq,
    /// `<>`
    NotEq,
    /// `<`
    Lt,
    /// `<=`
    LtEq,
    /// `>`
    Gt,
    /// `>=`
    GtEq,
}

impl Comparison {
    /// As SQL writes it.
    pub fn as_sql(self) -> &'static str {
        match self {
            Comparison::Eq => "=",
            Comparison::NotEq => "<>",
            Comparison::Lt => "<",
            Comparison::LtEq => "<=",
            Comparison::Gt => ">",
            Comparison::GtEq => ">=",
        }
    }
}

/// A condition over the columns of one source. SQL's three-valued logic: a row passes when it is true.
#[derive(Debug, Clone, PartialEq)]
pub enum Predicate {
    /// `column op literal`
    Compare {
        /// Column.
        column: String,
        /// Operator.
        op: Comparison,
        /// Constant.
        literal: Literal,
    },
    /// `column [NOT] IN (…)`
    In {
        /// Column.
        column: String,
        /// Constants.
        literals: Vec<Literal>,
        /// NOT IN.
        negated: bool,
    },
    /// `column IS [NOT] NULL`
    IsNull {
        /// Column.
        column: String,
        /// IS NOT NULL.
        negated: bool,
    },
    /// `column [NOT] LIKE pattern` (case-sensitive, `%` and `_`, escape `\`)
    Like {
        /// Column.
        column: String,
        /// Pattern.
        pattern: String,
        /// NOT LIKE.
        negated: bool,
    },
    /// All are true.
    And(Vec<Predicate>),
    /// At least one is true.
    Or(Vec<Predicate>),
    /// Not true and not NULL.
    Not(Box<Predicate>),
}

/// What a source makes of a predicate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Acceptance {
    /// Not applied.
    No,
    /// Returns every row that passes, and maybe others.
    Superset,
    /// Returns exactly the rows that pass.
    Exact,
}

impl Predicate {
    /// Every column it names, each once.
    pub fn columns(&self) -> Vec<&str> {
        let mut names = Vec::new();
        self.collect(&mut names);
        names
    }

    fn collect<'a>(&'a self, names: &mut Vec<&'a str>) {
        match self {
            Predicate::Compare { column, .. }
            | Predicate::In { column, .. }
            | Predicate::IsNull { column, .. }
            | Predicate::Like { column, .. } => {
                if !names.contains(&column.as_str()) {
                    names.push(column);
                }
            }
            Predicate::And(parts) | Predicate::Or(parts) => parts.iter().for_each(|part| part.collect(names)),
            Predicate::Not(part) => part.collect(names),
        }
    }
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Literal::Bool(b) => write!(f, "{b}"),
            Literal::Int(i) => write!(f, "{i}"),
            Literal::Decimal(unscaled, scale) => f.write_str(&render_decimal(*unscaled, *scale)),
            Literal::Float(x) => write!(f, "{x:?}"),
            Literal::Text(text) => write!(f, "'{}'", text.replace('\'', "''")),
            Literal::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
            Literal::Date(days) => write!(f, "date {days}"),
            Literal::Timestamp(micros) => write!(f, "timestamp {micros}µs"),
            Literal::Instant(micros) => write!(f, "instant {micros}µs"),
        }
    }
}

/// An exact decimal as text.
pub fn render_decimal(unscaled: i128, scale: i8) -> String {
    if unscaled == 0 && scale <= 0 {
        return "0".to_owned();
    }
    if scale <= 0 {
        return format!("{unscaled}{}", "0".repeat(usize::from(scale.unsigned_abs())));
    }
    let scale = scale as usize;
    let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = scale + 1);
    let (whole, part) = digits.split_at(digits.len() - scale);
    format!("{}{whole}.{part}", if unscaled < 0 { "-" } else { "" })
}

impl fmt::Display for Predicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, parts: &[Predicate], word: &str| {
            f.write_str("(")?;
            for (i, part) in parts.iter().enumerate() {
                if i > 0 {
                    write!(f, " {word} ")?;
                }
                write!(f, "{part}")?;
            }
            f.write_str(")")
        };
        let not = |negated: bool| if negated { " NOT" } else { "" };
        match self {
            Predicate::Compare { column, op, literal } => write!(f, "{column} {} {literal}", op.as_sql()),
            Predicate::In {
                column,
                literals,
                negated,
            } => {
                let items: Vec<_> = literals.iter().map(ToString::to_string).collect();
                write!(f, "{column}{} IN ({})", not(*negated), items.join(", "))
            }
            Predicate::IsNull { column, negated } => write!(f, "{column} IS{} NULL", not(*negated)),
            Predicate::Like {
                column,
                pattern,
                negated,
            } => write!(f, "{column}{} LIKE '{pattern}'", not(*negated)),
            Predicate::And(parts) => list(f, parts, "AND"),
            Predicate::Or(parts) => list(f, parts, "OR"),
            Predicate::Not(part) => write!(f, "NOT ({part})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_plain_numbers_at_every_scale() {
        for (unscaled, scale, text) in [
            (0, 0, "0"),
            (0, -3, "0"),
            (0, 2, "0.00"),
            (-12, -2, "-1200"),
            (-5, 2, "-0.05"),
            (1234, 2, "12.34"),
        ] {
            assert_eq!(render_decimal(unscaled, scale), text);
        }
    }
}
