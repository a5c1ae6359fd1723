//! Types that rows of several inputs can share without a value changing.
//!
//! DataFusion finds a common type for almost anything: bigint and double become double, a timestamp becomes an
//! instant. A union and the keys of a join take only a type that holds every value of both sides exactly; anything
//! else is the document's decision, written as a `cast`.

use datafusion::arrow::datatypes::{DECIMAL128_MAX_PRECISION, DECIMAL256_MAX_PRECISION, DataType, TimeUnit};
use synqx_model::{Code, Error, Result};
use synqx_sdk::type_names::{is_text, render_type};

/// The type that holds every value of both exactly, if there is one.
pub(super) fn common(left: &DataType, right: &DataType) -> Option<DataType> {
    match (left, right) {
        _ if left == right || left.equals_datatype(right) => Some(left.clone()),
        (DataType::Null, other) | (other, DataType::Null) => Some(other.clone()),
        _ if is_text(left) && is_text(right) => Some(DataType::Utf8View),
        _ if is_bytes(left) && is_bytes(right) => Some(DataType::BinaryView),
        (DataType::Timestamp(a, None), DataType::Timestamp(b, None)) => {
            Some(DataType::Timestamp(finer(*a, *b), None))
        }
        (DataType::Timestamp(a, Some(zone)), DataType::Timestamp(b, Some(_))) => {
            Some(DataType::Timestamp(finer(*a, *b), Some(zone.clone())))
        }
        _ if left.is_floating() && right.is_floating() => Some(DataType::Float64),
        _ if left.is_floating() => whole_and_float(right, left),
        _ if right.is_floating() => whole_and_float(left, right),
        _ => exact_numbers(left, right),
    }
}

fn is_bytes(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView
    )
}

fn finer(left: TimeUnit, right: TimeUnit) -> TimeUnit {
    let order = [TimeUnit::Nanosecond, TimeUnit::Microsecond, TimeUnit::Millisecond];
    let finest = order.into_iter().find(|unit| *unit == left || *unit == right);
    finest.unwrap_or(TimeUnit::Second)
}

/// Whole numbers up to 32 bits are exact as double, up to 16 as real.
fn whole_and_float(whole: &DataType, float: &DataType) -> Option<DataType> {
    match whole {
        DataType::Int8 | DataType::Int16 | DataType::UInt8 | DataType::UInt16 => Some(float.clone()),
        DataType::Int32 | DataType::UInt32 => Some(DataType::Float64),
        _ => None,
    }
}

fn exact_numbers(left: &DataType, right: &DataType) -> Option<DataType> {
    let (digits, places) = (shape(left)?, shape(right)?);
    if left.is_integer() && right.is_integer() {
        return whole(left, right);
    }
    let scale = digits.1.max(places.1);
    let precision = u8::try_from((digits.0 - digits.1).max(places.0 - places.1) + scale).ok()?;
    let scale = i8::try_from(scale).ok()?;
    match precision {
        p if p <= DECIMAL128_MAX_PRECISION => Some(DataType::Decimal128(precision, scale)),
        p if p <= DECIMAL256_MAX_PRECISION => Some(DataType::Decimal256(precision, scale)),
        _ => None,
    }
}

/// Digits and places that a whole number or decimal can have.
fn shape(data_type: &DataType) -> Option<(i16, i16)> {
    Some(match data_type {
        DataType::Int8 | DataType::UInt8 => (3, 0),
        DataType::Int16 | DataType::UInt16 => (5, 0),
        DataType::Int32 | DataType::UInt32 => (10, 0),
        DataType::Int64 => (19, 0),
        DataType::UInt64 => (20, 0),
        DataType::Decimal32(p, s)
        | DataType::Decimal64(p, s)
        | DataType::Decimal128(p, s)
        | DataType::Decimal256(p, s) => (i16::from(*p), i16::from(*s)),
        _ => return None,
    })
}

fn whole(left: &DataType, right: &DataType) -> Option<DataType> {
    let bits = |data_type: &DataType| data_type.primitive_width().unwrap_or(8);
    if left.is_signed_integer() == right.is_signed_integer() {
        return Some(if bits(left) >= bits(right) { left } else { right }.clone());
    }
    let (signed, unsigned) = if left.is_signed_integer() {
        (left, right)
    } else {
        (right, left)
    };
    let wide = bits(signed).max(bits(unsigned) * 2);
    Some(match wide {
        2 => DataType::Int16,
        4 => DataType::Int32,
        8 => DataType::Int64,
        _ => DataType::Decimal128(20, 0),
    })
}

/// The common type of a column, or the refusal to mix. Errors: `E0402`.
pub(super) fn shared_type(column: &str, left: &DataType, right: &DataType, place: &str) -> Result<DataType> {
    common(left, right).ok_or_else(|| {
        let (left, right) = (render_type(left), render_type(right));
        Error::new(
            Code::E0402,
            format!("column `{column}` is {left} in one input of the {place} and {right} in another"),
        )
        .with_detail("No type of the two holds every value of both unchanged.")
        .with_hint(format!(
            "put a `cast` node before one of them: `{{{column}: {left}}}` or `{{{column}: {right}}}`"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_types_that_hold_both_are_common() {
        let zoned = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let wall = DataType::Timestamp(TimeUnit::Microsecond, None);
        for (left, right, both) in [
            (DataType::Int16, DataType::Int64, Some(DataType::Int64)),
            (DataType::UInt32, DataType::Int32, Some(DataType::Int64)),
            (
                DataType::UInt64,
                DataType::Int64,
                Some(DataType::Decimal128(20, 0)),
            ),
            (DataType::Int32, DataType::Float64, Some(DataType::Float64)),
            (DataType::Int64, DataType::Float64, None),
            (DataType::Float32, DataType::Float64, Some(DataType::Float64)),
            (
                DataType::Decimal128(10, 2),
                DataType::Int64,
                Some(DataType::Decimal128(21, 2)),
            ),
            (
                DataType::Decimal128(10, 4),
                DataType::Decimal128(9, 1),
                Some(DataType::Decimal128(12, 4)),
            ),
            (DataType::Decimal128(10, 2), DataType::Float64, None),
            (DataType::Utf8, DataType::Utf8View, Some(DataType::Utf8View)),
            (DataType::Utf8View, DataType::Int64, None),
            (DataType::Date32, wall.clone(), None),
            (wall, zoned, None),
            (DataType::Boolean, DataType::Int8, None),
        ] {
            assert_eq!(common(&left, &right), both, "{left} {right}");
            assert_eq!(common(&right, &left), both, "{right} {left}");
        }
    }
}
