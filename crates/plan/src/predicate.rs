//! DataFusion filters as the closed predicates a source understands.
//!
//! Only what means exactly the same is translated; everything else stays with the engine. Types are looked at, not
//! guessed: a comparison is translated when the constant has the column's own type (coercion has put casts around
//! the constant already, so a cast around the *column* means the types differ and the filter stays here).

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use synqx_model::{Code, Error};
use synqx_sdk::{Comparison, Literal, Predicate};

/// A constant as a value of a column's type. Errors: `E0404` when the type cannot hold it.
pub(crate) fn scalar(value: &Literal, data_type: &DataType) -> synqx_model::Result<ScalarValue> {
    let plain = match value {
        Literal::Int(n) => i64::try_from(*n).ok().map(|n| ScalarValue::Int64(Some(n))),
        Literal::Decimal(n, scale) => Some(ScalarValue::Decimal128(Some(*n), 38, *scale)),
        Literal::Date(days) => Some(ScalarValue::Date32(Some(*days))),
        Literal::Timestamp(at) => Some(ScalarValue::TimestampMicrosecond(Some(*at), None)),
        Literal::Instant(at) => Some(ScalarValue::TimestampMicrosecond(Some(*at), Some("UTC".into()))),
        Literal::Bool(_) | Literal::Float(_) | Literal::Text(_) | Literal::Bytes(_) => None,
    };
    let held = plain.and_then(|plain| plain.cast_to(data_type).ok());
    held.filter(|held| !held.is_null()).ok_or_else(|| {
        Error::new(Code::E0404, "a cursor value does not fit its column any more")
            .with_hint("run with `--reset` to read everything from the beginning")
    })
}

/// The predicate that means the same as a filter, if there is one.
pub(crate) fn translate(expr: &Expr) -> Option<Predicate> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => binary(left, *op, right),
        Expr::Not(inner) => match inner.as_ref() {
            Expr::Column(c) => Some(compare(&c.name, Comparison::Eq, Literal::Bool(false))),
            inner => Some(Predicate::Not(Box::new(translate(inner)?))),
        },
        Expr::IsNull(inner) => Some(Predicate::IsNull {
            column: column(inner)?,
            negated: false,
        }),
        Expr::IsNotNull(inner) => Some(Predicate::IsNull {
            column: column(inner)?,
            negated: true,
        }),
        Expr::InList(list) => Some(Predicate::In {
            column: column(&list.expr)?,
            literals: list.list.iter().map(literal).collect::<Option<_>>()?,
            negated: list.negated,
        }),
        Expr::Between(between) => {
            let name = column(&between.expr)?;
            let low = compare(&name, Comparison::GtEq, literal(&between.low)?);
            let high = compare(&name, Comparison::LtEq, literal(&between.high)?);
            let both = Predicate::And(vec![low, high]);
            Some(if between.negated {
                Predicate::Not(Box::new(both))
            } else {
                both
            })
        }
        Expr::Like(like) if !like.case_insensitive && like.escape_char.is_none_or(|c| c == '\\') => {
            let Literal::Text(pattern) = literal(&like.pattern)? else {
                return None;
            };
            Some(Predicate::Like {
                column: column(&like.expr)?,
                pattern,
                negated: like.negated,
            })
        }
        Expr::Column(c) => Some(compare(&c.name, Comparison::Eq, Literal::Bool(true))),
        _ => None,
    }
}

fn compare(column: &str, op: Comparison, literal: Literal) -> Predicate {
    Predicate::Compare {
        column: column.to_owned(),
        op,
        literal,
    }
}

fn binary(left: &Expr, op: Operator, right: &Expr) -> Option<Predicate> {
    match op {
        Operator::And => Some(Predicate::And(vec![translate(left)?, translate(right)?])),
        Operator::Or => Some(Predicate::Or(vec![translate(left)?, translate(right)?])),
        _ => {
            let op = comparison(op)?;
            if let (Some(name), Some(value)) = (column(left), literal(right)) {
                return Some(compare(&name, op, value));
            }
            Some(compare(&column(right)?, mirrored(op), literal(left)?))
        }
    }
}

fn comparison(op: Operator) -> Option<Comparison> {
    Some(match op {
        Operator::Eq => Comparison::Eq,
        Operator::NotEq => Comparison::NotEq,
        Operator::Lt => Comparison::Lt,
        Operator::LtEq => Comparison::LtEq,
        Operator::Gt => Comparison::Gt,
        Operator::GtEq => Comparison::GtEq,
        _ => return None,
    })
}

fn mirrored(op: Comparison) -> Comparison {
    match op {
        Comparison::Lt => Comparison::Gt,
        Comparison::LtEq => Comparison::GtEq,
        Comparison::Gt => Comparison::Lt,
        Comparison::GtEq => Comparison::LtEq,
        same => same,
    }
}

fn column(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Column(column) => Some(column.name.clone()),
        _ => None,
    }
}

fn literal(expr: &Expr) -> Option<Literal> {
    let Expr::Literal(value, _) = expr else {
        return None;
    };
    Some(match value {
        ScalarValue::Boolean(Some(b)) => Literal::Bool(*b),
        ScalarValue::Int8(Some(i)) => Literal::Int((*i).into()),
        ScalarValue::Int16(Some(i)) => Literal::Int((*i).into()),
        ScalarValue::Int32(Some(i)) => Literal::Int((*i).into()),
        ScalarValue::Int64(Some(i)) => Literal::Int((*i).into()),
        ScalarValue::UInt8(Some(i)) => Literal::Int((*i).into()),
        ScalarValue::UInt16(Some(i)) => Literal::Int((*i).into()),
        ScalarValue::UInt32(Some(i)) => Literal::Int((*i).into()),
        ScalarValue::UInt64(Some(i)) => Literal::Int((*i).into()),
        ScalarValue::Decimal128(Some(v), _, s) => Literal::Decimal(*v, *s),
        ScalarValue::Float32(Some(x)) => Literal::Float((*x).into()),
        ScalarValue::Float64(Some(x)) => Literal::Float(*x),
        ScalarValue::Utf8(Some(t)) | ScalarValue::LargeUtf8(Some(t)) | ScalarValue::Utf8View(Some(t)) => {
            Literal::Text(t.clone())
        }
        ScalarValue::Binary(Some(b))
        | ScalarValue::LargeBinary(Some(b))
        | ScalarValue::BinaryView(Some(b)) => Literal::Bytes(b.clone()),
        ScalarValue::Date32(Some(d)) => Literal::Date(*d),
        ScalarValue::TimestampMicrosecond(Some(t), None) => Literal::Timestamp(*t),
        ScalarValue::TimestampMicrosecond(Some(t), Some(_)) => Literal::Instant(*t),
        _ => return None,
    })
}

/// Whether a column's type is one whose comparisons mean the same everywhere SynqX reads from. Floats are not
/// (NaN and negative zero differ), nor are nested types.
pub(crate) fn is_comparable(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Boolean
            | DataType::Int8
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::UInt8
            | DataType::UInt16
            | DataType::UInt32
            | DataType::UInt64
            | DataType::Decimal128(..)
            | DataType::Utf8
            | DataType::LargeUtf8
            | DataType::Utf8View
            | DataType::Date32
            | DataType::Timestamp(TimeUnit::Microsecond, _)
    )
}
