//! SQLite values as Arrow columns: one builder per column, values taken by reference, nothing guessed.
//!
//! SQLite types values, not columns. A value whose storage class or text does not have the column's form is `E0208`
//! with table, column and rowid, never with the value itself.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryViewBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Decimal256Builder,
    FixedSizeBinaryBuilder, Float64Builder, Int64Builder, StringViewBuilder, Time64MicrosecondBuilder,
    TimestampMicrosecondBuilder, TimestampNanosecondBuilder,
};
use arrow::datatypes::i256;
use rusqlite::types::ValueRef;
use synqx_sdk::text;

use crate::mapping::Kind;

/// Why a value was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Its storage class: `integer`, `real`, `text`, `blob`.
    Class(&'static str),
    /// Its text does not have the form.
    Form,
    /// Its text is not UTF-8.
    Encoding,
}

/// A column being built.
pub(crate) enum Builder {
    Boolean(BooleanBuilder),
    Integer(Int64Builder),
    Real(Float64Builder),
    Decimal128(Decimal128Builder, u8, i8),
    Decimal256(Decimal256Builder, u8, i8),
    Numeric(StringViewBuilder),
    Text(StringViewBuilder),
    Blob(BinaryViewBuilder),
    Date(Date32Builder),
    Time(Time64MicrosecondBuilder),
    Micros(TimestampMicrosecondBuilder, bool),
    Nanos(TimestampNanosecondBuilder, bool),
    Uuid(FixedSizeBinaryBuilder),
}

impl Builder {
    /// A builder for columns of a meaning.
    pub(crate) fn new(kind: Kind) -> Self {
        let zone = |zoned: bool| zoned.then(|| Arc::<str>::from("UTC"));
        match kind {
            Kind::Boolean => Builder::Boolean(BooleanBuilder::new()),
            Kind::Integer => Builder::Integer(Int64Builder::new()),
            Kind::Real => Builder::Real(Float64Builder::new()),
            Kind::Decimal(p, s) if p <= 38 => {
                let data_type = arrow::datatypes::DataType::Decimal128(p, s);
                Builder::Decimal128(Decimal128Builder::new().with_data_type(data_type), p, s)
            }
            Kind::Decimal(p, s) => {
                let data_type = arrow::datatypes::DataType::Decimal256(p, s);
                Builder::Decimal256(Decimal256Builder::new().with_data_type(data_type), p, s)
            }
            Kind::Numeric => Builder::Numeric(StringViewBuilder::new()),
            Kind::Text | Kind::Json | Kind::Untyped => Builder::Text(StringViewBuilder::new()),
            Kind::Blob => Builder::Blob(BinaryViewBuilder::new()),
            Kind::Date => Builder::Date(Date32Builder::new()),
            Kind::Time => Builder::Time(Time64MicrosecondBuilder::new()),
            Kind::Timestamp { nanos: false, zoned } => Builder::Micros(
                TimestampMicrosecondBuilder::new().with_timezone_opt(zone(zoned)),
                zoned,
            ),
            Kind::Timestamp { nanos: true, zoned } => Builder::Nanos(
                TimestampNanosecondBuilder::new().with_timezone_opt(zone(zoned)),
                zoned,
            ),
            Kind::Uuid => Builder::Uuid(FixedSizeBinaryBuilder::new(16)),
        }
    }

    /// Appends a value and returns about how many bytes it takes.
    pub(crate) fn push(&mut self, value: ValueRef<'_>) -> Result<usize, Refusal> {
        if matches!(value, ValueRef::Null) {
            self.push_null();
            return Ok(8);
        }
        match (&mut *self, value) {
            (Builder::Integer(b), ValueRef::Integer(i)) => b.append_value(i),
            (Builder::Boolean(b), ValueRef::Integer(i @ (0 | 1))) => b.append_value(i == 1),
            (Builder::Boolean(_), ValueRef::Integer(_)) => return Err(Refusal::Form),
            (Builder::Real(b), ValueRef::Real(x)) => b.append_value(x),
            (Builder::Real(b), ValueRef::Integer(i)) if i.unsigned_abs() <= 1 << 53 => {
                b.append_value(i as f64)
            }
            (Builder::Text(b), ValueRef::Text(t)) => {
                b.append_value(utf8(t)?);
                return Ok(16 + t.len());
            }
            (Builder::Text(b), ValueRef::Integer(i)) => b.append_value(i.to_string()),
            (Builder::Blob(b), ValueRef::Blob(t)) => {
                b.append_value(t);
                return Ok(16 + t.len());
            }
            (Builder::Decimal128(b, p, s), ValueRef::Integer(i)) => {
                b.append_value(scaled(i, *p, *s)?.to_i128().ok_or(Refusal::Form)?)
            }
            (Builder::Decimal128(b, p, s), ValueRef::Text(t)) => {
                b.append_value(
                    text::parse_decimal(utf8(t)?, *p, *s)
                        .and_then(i256::to_i128)
                        .ok_or(Refusal::Form)?,
                );
            }
            (Builder::Decimal256(b, p, s), ValueRef::Integer(i)) => b.append_value(scaled(i, *p, *s)?),
            (Builder::Decimal256(b, p, s), ValueRef::Text(t)) => {
                b.append_value(text::parse_decimal(utf8(t)?, *p, *s).ok_or(Refusal::Form)?);
            }
            (Builder::Numeric(b), ValueRef::Integer(i)) => b.append_value(i.to_string()),
            (Builder::Numeric(b), ValueRef::Text(t)) => {
                b.append_value(plain_number(utf8(t)?).ok_or(Refusal::Form)?);
                return Ok(16 + t.len());
            }
            (Builder::Date(b), ValueRef::Text(t)) => {
                b.append_value(text::parse_date(utf8(t)?).ok_or(Refusal::Form)?)
            }
            (Builder::Time(b), ValueRef::Text(t)) => {
                b.append_value(text::parse_time(utf8(t)?).ok_or(Refusal::Form)?)
            }
            (Builder::Micros(b, zoned), ValueRef::Text(t)) => {
                b.append_value(micros(utf8(t)?, *zoned).ok_or(Refusal::Form)?);
            }
            (Builder::Nanos(b, zoned), ValueRef::Text(t)) => {
                b.append_value(nanos(utf8(t)?, *zoned).ok_or(Refusal::Form)?);
            }
            (Builder::Uuid(b), ValueRef::Text(t)) => {
                b.append_value(parse_uuid(t).ok_or(Refusal::Form)?)
                    .map_err(|_| Refusal::Form)?;
            }
            (Builder::Uuid(b), ValueRef::Blob(t)) if t.len() == 16 => {
                b.append_value(t).map_err(|_| Refusal::Form)?
            }
            (_, value) => return Err(Refusal::Class(class(value))),
        }
        Ok(16)
    }

    fn push_null(&mut self) {
        match self {
            Builder::Boolean(b) => b.append_null(),
            Builder::Integer(b) => b.append_null(),
            Builder::Real(b) => b.append_null(),
            Builder::Decimal128(b, ..) => b.append_null(),
            Builder::Decimal256(b, ..) => b.append_null(),
            Builder::Numeric(b) | Builder::Text(b) => b.append_null(),
            Builder::Blob(b) => b.append_null(),
            Builder::Date(b) => b.append_null(),
            Builder::Time(b) => b.append_null(),
            Builder::Micros(b, _) => b.append_null(),
            Builder::Nanos(b, _) => b.append_null(),
            Builder::Uuid(b) => b.append_null(),
        }
    }

    /// The column so far; the builder starts anew.
    pub(crate) fn finish(&mut self) -> ArrayRef {
        match self {
            Builder::Boolean(b) => Arc::new(b.finish()),
            Builder::Integer(b) => Arc::new(b.finish()),
            Builder::Real(b) => Arc::new(b.finish()),
            Builder::Decimal128(b, ..) => Arc::new(b.finish()),
            Builder::Decimal256(b, ..) => Arc::new(b.finish()),
            Builder::Numeric(b) | Builder::Text(b) => Arc::new(b.finish()),
            Builder::Blob(b) => Arc::new(b.finish()),
            Builder::Date(b) => Arc::new(b.finish()),
            Builder::Time(b) => Arc::new(b.finish()),
            Builder::Micros(b, _) => Arc::new(b.finish()),
            Builder::Nanos(b, _) => Arc::new(b.finish()),
            Builder::Uuid(b) => Arc::new(b.finish()),
        }
    }
}

/// The storage class of a value.
pub(crate) fn class(value: ValueRef<'_>) -> &'static str {
    match value {
        ValueRef::Null => "null",
        ValueRef::Integer(_) => "integer",
        ValueRef::Real(_) => "real",
        ValueRef::Text(_) => "text",
        ValueRef::Blob(_) => "blob",
    }
}

fn utf8(bytes: &[u8]) -> Result<&str, Refusal> {
    std::str::from_utf8(bytes).map_err(|_| Refusal::Encoding)
}

fn scaled(value: i64, precision: u8, scale: i8) -> Result<i256, Refusal> {
    let digits = value.unsigned_abs().checked_ilog10().map_or(0, |n| n + 1);
    let scale = u32::try_from(scale).map_err(|_| Refusal::Form)?;
    if digits + scale > u32::from(precision) {
        return Err(Refusal::Form);
    }
    i256::from(value)
        .checked_mul(i256::from_i128(10).checked_pow(scale).ok_or(Refusal::Form)?)
        .ok_or(Refusal::Form)
}

/// A plain decimal number without an exponent, or one of PostgreSQL's words for what is no number.
fn plain_number(text: &str) -> Option<&str> {
    if matches!(text, "NaN" | "Infinity" | "-Infinity") {
        return Some(text);
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
    let plain = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    (plain(whole) && plain(part)).then_some(text)
}

fn micros(text: &str, zoned: bool) -> Option<i64> {
    let read = text::parse_timestamp(text)?;
    if zoned {
        read.instant()
    } else {
        read.offset.is_none().then_some(read.local)
    }
}

/// As `micros`, with up to nine digits of a second's fraction.
fn nanos(text: &str, zoned: bool) -> Option<i64> {
    let Some(dot) = text.find('.') else {
        return micros(text, zoned)?.checked_mul(1000);
    };
    let digits = text[dot + 1..].bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 || digits > 9 {
        return None;
    }
    let fraction: i64 = format!("{:0<9}", &text[dot + 1..dot + 1 + digits]).parse().ok()?;
    let whole = format!("{}{}", &text[..dot], &text[dot + 1 + digits..]);
    // The whole second before the earliest nanosecond is out of range by itself.
    i64::try_from(i128::from(micros(&whole, zoned)?) * 1000 + i128::from(fraction)).ok()
}

fn parse_uuid(text: &[u8]) -> Option<[u8; 16]> {
    let hyphens = [8, 13, 18, 23];
    if text.len() != 36 || hyphens.iter().any(|at| text[*at] != b'-') {
        return None;
    }
    let mut out = [0u8; 16];
    let mut digits = text
        .iter()
        .enumerate()
        .filter(|(at, _)| !hyphens.contains(at))
        .map(|(_, byte)| char::from(*byte).to_digit(16));
    for byte in &mut out {
        let (high, low) = (digits.next()??, digits.next()??);
        *byte = u8::try_from(high << 4 | low).ok()?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_does_not_have_the_columns_form() {
        let push = |kind, value: ValueRef<'_>| Builder::new(kind).push(value).map(|_| ());
        assert_eq!(
            push(Kind::Integer, ValueRef::Text(b"5")),
            Err(Refusal::Class("text"))
        );
        assert_eq!(
            push(Kind::Decimal(5, 2), ValueRef::Real(1.5)),
            Err(Refusal::Class("real"))
        );
        assert_eq!(
            push(Kind::Decimal(5, 2), ValueRef::Integer(1000)),
            Err(Refusal::Form)
        );
        assert_eq!(push(Kind::Decimal(5, 2), ValueRef::Integer(-999)), Ok(()));
        assert_eq!(push(Kind::Boolean, ValueRef::Integer(2)), Err(Refusal::Form));
        assert_eq!(push(Kind::Text, ValueRef::Text(b"\xff")), Err(Refusal::Encoding));
        assert_eq!(
            push(
                Kind::Timestamp {
                    nanos: false,
                    zoned: false
                },
                ValueRef::Text(b"2013-01-01T05:00:00Z")
            ),
            Err(Refusal::Form)
        );
        assert_eq!(push(Kind::Numeric, ValueRef::Text(b"1e5")), Err(Refusal::Form));
        assert_eq!(push(Kind::Numeric, ValueRef::Text(b"nan")), Err(Refusal::Form));
        assert_eq!(push(Kind::Numeric, ValueRef::Text(b"NaN")), Ok(()));
        assert_eq!(push(Kind::Numeric, ValueRef::Text(b"-Infinity")), Ok(()));
        assert_eq!(
            push(Kind::Decimal(5, 2), ValueRef::Text(b"NaN")),
            Err(Refusal::Form)
        );
        assert_eq!(
            push(Kind::Real, ValueRef::Integer(i64::MAX)),
            Err(Refusal::Class("integer"))
        );
    }

    #[test]
    fn reads_nanoseconds_before_and_after_the_epoch() {
        assert_eq!(nanos("1970-01-01 00:00:00.123456789", false), Some(123_456_789));
        assert_eq!(nanos("1969-12-31 23:59:59.999999999", false), Some(-1));
        assert_eq!(nanos("1970-01-01T00:00:00.5Z", true), Some(500_000_000));
        assert_eq!(nanos("1970-01-01 00:00:00.1234567891", false), None);
    }
}
