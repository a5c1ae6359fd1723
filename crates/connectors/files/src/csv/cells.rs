//! Turns the cells of one column into an Arrow array, straight from the bytes of the file.
//!
//! One loop per column and block, so the type is decided once and not per cell. A declared type reads what people
//! write (`+5`, `007`); a type that was inferred reads only what would have been inferred, so that a later value
//! cannot lose its zeros or digits silently. Nothing is rounded: what does not fit is reported with its row.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryViewBuilder, BooleanBuilder, Decimal128Builder, Decimal256Builder, PrimitiveBuilder,
    StringViewBuilder,
};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type, i256,
};
use synqx_model::{Code, Error, Result};
use synqx_sdk::text::{days_from_civil, parse_date, parse_decimal, parse_time, parse_timestamp};

use super::dialect::Dialect;
use super::number::{Number, SharedWays, double_as_written, is_exact_double, parse_integer};
use super::split::{Cell, Form, unescape};

/// The records of a block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Block<'a> {
    /// The text the cells point into.
    pub(crate) text: &'a str,
    /// Cells, record after record.
    pub(crate) cells: &'a [Cell],
    /// Cells of a record.
    pub(crate) width: usize,
    /// How the text is written down.
    pub(crate) dialect: &'a Dialect,
}

/// How exactly a cell must be what its type says.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Rule<'a> {
    /// The type is declared: what people write is read.
    Declared,
    /// The type was inferred from values: the value must stay the same.
    Value,
    /// The type was inferred from text: the text must be what the value is printed as. Holds the column's ways to
    /// write doubles.
    Written(&'a SharedWays),
}

impl Rule<'_> {
    /// Whether the type was inferred.
    pub(crate) fn is_inferred(self) -> bool {
        !matches!(self, Rule::Declared)
    }
}

/// Builds one column.
#[derive(Debug)]
pub(crate) enum Column {
    Boolean(BooleanBuilder),
    Int8(PrimitiveBuilder<Int8Type>),
    Int16(PrimitiveBuilder<Int16Type>),
    Int32(PrimitiveBuilder<Int32Type>),
    Int64(PrimitiveBuilder<Int64Type>),
    UInt8(PrimitiveBuilder<UInt8Type>),
    UInt16(PrimitiveBuilder<UInt16Type>),
    UInt32(PrimitiveBuilder<UInt32Type>),
    UInt64(PrimitiveBuilder<UInt64Type>),
    Float32(PrimitiveBuilder<Float32Type>),
    Float64(PrimitiveBuilder<Float64Type>),
    Date(PrimitiveBuilder<Date32Type>),
    Time(PrimitiveBuilder<Time64MicrosecondType>),
    Seconds(PrimitiveBuilder<TimestampSecondType>, bool),
    Millis(PrimitiveBuilder<TimestampMillisecondType>, bool),
    Micros(PrimitiveBuilder<TimestampMicrosecondType>, bool),
    Nanos(PrimitiveBuilder<TimestampNanosecondType>, bool),
    Decimal128(Decimal128Builder, u8, i8),
    Decimal256(Decimal256Builder, u8, i8),
    Text(StringViewBuilder),
    Bytes(BinaryViewBuilder),
}

impl Column {
    /// A builder for a type. Errors: `E0407` when delimited text cannot hold it.
    pub(crate) fn new(name: &str, data_type: &DataType) -> Result<Self> {
        let of = data_type.clone();
        Ok(match data_type {
            DataType::Boolean => Column::Boolean(BooleanBuilder::new()),
            DataType::Int8 => Column::Int8(PrimitiveBuilder::new()),
            DataType::Int16 => Column::Int16(PrimitiveBuilder::new()),
            DataType::Int32 => Column::Int32(PrimitiveBuilder::new()),
            DataType::Int64 => Column::Int64(PrimitiveBuilder::new()),
            DataType::UInt8 => Column::UInt8(PrimitiveBuilder::new()),
            DataType::UInt16 => Column::UInt16(PrimitiveBuilder::new()),
            DataType::UInt32 => Column::UInt32(PrimitiveBuilder::new()),
            DataType::UInt64 => Column::UInt64(PrimitiveBuilder::new()),
            DataType::Float32 => Column::Float32(PrimitiveBuilder::new()),
            DataType::Float64 => Column::Float64(PrimitiveBuilder::new()),
            DataType::Date32 => Column::Date(PrimitiveBuilder::new()),
            DataType::Time64(TimeUnit::Microsecond) => Column::Time(PrimitiveBuilder::new()),
            DataType::Timestamp(unit, zone) => {
                let zoned = zone.is_some();
                match unit {
                    TimeUnit::Second => Column::Seconds(PrimitiveBuilder::new().with_data_type(of), zoned),
                    TimeUnit::Millisecond => {
                        Column::Millis(PrimitiveBuilder::new().with_data_type(of), zoned)
                    }
                    TimeUnit::Microsecond => {
                        Column::Micros(PrimitiveBuilder::new().with_data_type(of), zoned)
                    }
                    TimeUnit::Nanosecond => Column::Nanos(PrimitiveBuilder::new().with_data_type(of), zoned),
                }
            }
            DataType::Decimal128(p, s) => {
                Column::Decimal128(Decimal128Builder::new().with_data_type(of), *p, *s)
            }
            DataType::Decimal256(p, s) => {
                Column::Decimal256(Decimal256Builder::new().with_data_type(of), *p, *s)
            }
            DataType::Utf8View => Column::Text(StringViewBuilder::new()),
            DataType::BinaryView => Column::Bytes(BinaryViewBuilder::new()),
            other => {
                let word = synqx_sdk::type_names::render_type(other);
                return Err(Error::new(
                    Code::E0407,
                    format!("column `{name}` cannot be read from text as {word}"),
                )
                .with_hint("declare it as text and convert it with `cast`"));
            }
        })
    }

    /// Bytes a row of this column takes, without the contents of texts.
    pub(crate) fn width(&self) -> usize {
        match self {
            Column::Boolean(_) | Column::Int8(_) | Column::UInt8(_) => 1,
            Column::Text(_) | Column::Bytes(_) | Column::Decimal128(..) => 16,
            Column::Decimal256(..) => 32,
            _ => 8,
        }
    }

    /// Appends the cells at `position` of every record. Errors: the index of the first record whose cell does not fit.
    pub(crate) fn append(
        &mut self,
        block: Block<'_>,
        position: usize,
        rule: Rule<'_>,
    ) -> std::result::Result<(), usize> {
        let strict = rule.is_inferred();
        match self {
            Column::Text(builder) => texts(builder, block, position),
            Column::Boolean(builder) => each(block, position, |cell| match cell {
                None => {
                    builder.append_null();
                    Some(())
                }
                Some(text) => boolean(text, strict).map(|value| builder.append_value(value)),
            }),
            Column::Bytes(builder) => each(block, position, |cell| match cell {
                None => {
                    builder.append_null();
                    Some(())
                }
                Some(text) => unhex(text).map(|value| builder.append_value(value)),
            }),
            Column::Int64(b) if strict => fill(b, block, position, |t| parse_integer(t.as_bytes())),
            Column::Int8(b) => fill(b, block, position, |t| t.parse().ok()),
            Column::Int16(b) => fill(b, block, position, |t| t.parse().ok()),
            Column::Int32(b) => fill(b, block, position, |t| t.parse().ok()),
            Column::Int64(b) => fill(b, block, position, |t| {
                parse_integer(t.as_bytes()).or_else(|| t.parse().ok())
            }),
            Column::UInt8(b) => fill(b, block, position, |t| t.parse().ok()),
            Column::UInt16(b) => fill(b, block, position, |t| t.parse().ok()),
            Column::UInt32(b) => fill(b, block, position, |t| t.parse().ok()),
            Column::UInt64(b) => fill(b, block, position, |t| t.parse().ok()),
            Column::Float32(b) => fill(b, block, position, |t| {
                finite(t, t.parse::<f32>().ok()?, f32::is_finite)
            }),
            Column::Float64(b) => match rule {
                Rule::Written(ways) => fill(b, block, position, |t| written_double(t, ways)),
                Rule::Value => fill(b, block, position, equal_double),
                Rule::Declared => fill(b, block, position, |t| {
                    finite(t, t.parse::<f64>().ok()?, f64::is_finite)
                }),
            },
            Column::Date(b) => fill(b, block, position, parse_date),
            Column::Time(b) => fill(b, block, position, parse_time),
            Column::Seconds(b, zoned) => fill(b, block, position, |t| whole(micros(t, *zoned)?, 1_000_000)),
            Column::Millis(b, zoned) => fill(b, block, position, |t| whole(micros(t, *zoned)?, 1_000)),
            Column::Micros(b, zoned) => fill(b, block, position, |t| micros(t, *zoned)),
            Column::Nanos(b, zoned) => fill(b, block, position, |t| nanos(t, *zoned)),
            Column::Decimal128(b, p, s) => fill(b, block, position, |t| {
                if strict {
                    written_decimal(t, *s)?
                };
                decimal128(t, *p, *s)
            }),
            Column::Decimal256(b, p, s) => fill(b, block, position, |t| parse_decimal(t, *p, *s)),
        }
    }

    /// The array of everything appended since the last call.
    pub(crate) fn finish(&mut self) -> ArrayRef {
        macro_rules! finish {
            ($($variant:ident),+) => {
                match self {
                    Column::Seconds(b, _) => Arc::new(b.finish()),
                    Column::Millis(b, _) => Arc::new(b.finish()),
                    Column::Micros(b, _) => Arc::new(b.finish()),
                    Column::Nanos(b, _) => Arc::new(b.finish()),
                    Column::Decimal128(b, ..) => Arc::new(b.finish()),
                    Column::Decimal256(b, ..) => Arc::new(b.finish()),
                    $(Column::$variant(b) => Arc::new(b.finish())),+
                }
            };
        }
        finish!(
            Boolean, Int8, Int16, Int32, Int64, UInt8, UInt16, UInt32, UInt64, Float32, Float64, Date, Time,
            Text, Bytes
        )
    }
}

/// An array of one text in a type; `None` when it does not fit. For columns whose value is in a path.
pub(crate) fn single(
    text: Option<&str>,
    name: &str,
    data_type: &DataType,
    dialect: &Dialect,
) -> Result<Option<ArrayRef>> {
    let mut column = Column::new(name, data_type)?;
    let shown = text.unwrap_or("");
    // A value is there or not, whatever the file calls NULL: the quoted form of a text says so.
    let form = if text.is_some() { Form::Quoted } else { Form::Bare };
    let mut dialect = dialect.clone();
    dialect.nulls = vec![Vec::new()];
    let cell = Cell {
        start: 0,
        end: shown.len() as u32,
        form,
    };
    let block = Block {
        text: shown,
        cells: &[cell],
        width: 1,
        dialect: &dialect,
    };
    Ok(column
        .append(block, 0, Rule::Declared)
        .ok()
        .map(|()| column.finish()))
}

fn fill<T: ArrowPrimitiveType>(
    builder: &mut PrimitiveBuilder<T>,
    block: Block<'_>,
    position: usize,
    parse: impl Fn(&str) -> Option<T::Native>,
) -> std::result::Result<(), usize> {
    each(block, position, |cell| match cell {
        None => {
            builder.append_null();
            Some(())
        }
        Some(text) => parse(text).map(|value| builder.append_value(value)),
    })
}

/// Calls `take` with every cell of a column that is not text. A NULL marker counts in quotes too, but only where it is
/// no value of the type: `"-999"` is a number that was told from the marker `-999` by its quotes.
#[inline]
fn each(
    block: Block<'_>,
    position: usize,
    mut take: impl FnMut(Option<&str>) -> Option<()>,
) -> std::result::Result<(), usize> {
    for (row, record) in block.cells.chunks_exact(block.width).enumerate() {
        let cell = &record[position];
        let text = cell.text(block.text);
        let null = block.dialect.is_null(text.as_bytes());
        let taken = match cell.form {
            Form::Bare if null => take(None),
            Form::Bare | Form::Quoted => take(Some(text)),
            Form::Escaped => take(Some(&unescape(text, cell, block.dialect))),
        };
        if taken.is_none() && !(null && take(None).is_some()) {
            return Err(row);
        }
    }
    Ok(())
}

fn texts(
    builder: &mut StringViewBuilder,
    block: Block<'_>,
    position: usize,
) -> std::result::Result<(), usize> {
    for record in block.cells.chunks_exact(block.width) {
        let cell = &record[position];
        let text = cell.text(block.text);
        match cell.form {
            Form::Bare if block.dialect.is_null(text.as_bytes()) => builder.append_null(),
            Form::Bare | Form::Quoted => builder.append_value(text),
            Form::Escaped => builder.append_value(unescape(text, cell, block.dialect)),
        }
    }
    Ok(())
}

fn boolean(text: &str, strict: bool) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ if strict => None,
        "t" | "T" | "1" => Some(true),
        "f" | "F" | "0" => Some(false),
        _ => None,
    }
}

/// A number too large for the type is not infinity; only the word is.
fn finite<F>(text: &str, value: F, is_finite: fn(F) -> bool) -> Option<F>
where
    F: Copy,
{
    (is_finite(value) || !text.bytes().any(|b| b.is_ascii_digit())).then_some(value)
}

fn written_double(text: &str, ways: &SharedWays) -> Option<f64> {
    let (value, way) = double_as_written(text)?;
    ways.take(way).then_some(value)
}

fn equal_double(text: &str) -> Option<f64> {
    let number = Number::scan(text.as_bytes())?;
    is_exact_double(text, &number)
        .then(|| text.parse().ok())
        .flatten()
}

fn written_decimal(text: &str, scale: i8) -> Option<()> {
    let number = Number::scan(text.as_bytes())?;
    (number.is_decimal() && usize::try_from(scale) == Ok(number.places)).then_some(())
}

fn whole(micros: i64, unit: i64) -> Option<i64> {
    (micros % unit == 0).then_some(micros / unit)
}

/// Microseconds of a timestamp; an offset is required for an instant and refused for a clock reading.
fn micros(text: &str, zoned: bool) -> Option<i64> {
    if let Some(value) = plain_micros(text.as_bytes(), zoned) {
        return Some(value);
    }
    let read = parse_timestamp(text)?;
    match (zoned, read.offset) {
        (true, Some(_)) => read.instant(),
        (false, None) => Some(read.local),
        _ => None,
    }
}

/// The common form without fraction: `2013-01-01T05:00:00Z`, `2013-01-01 05:00:00`.
#[inline]
fn plain_micros(text: &[u8], zoned: bool) -> Option<i64> {
    let clock: &[u8; 19] = match text {
        [clock @ .., b'Z'] if zoned => clock.try_into().ok()?,
        clock if !zoned => clock.try_into().ok()?,
        _ => return None,
    };
    let digits = |from: usize, to: usize| {
        clock[from..to].iter().try_fold(0u32, |sum, b| {
            b.is_ascii_digit().then(|| sum * 10 + u32::from(b - b'0'))
        })
    };
    if clock[4] != b'-'
        || clock[7] != b'-'
        || !matches!(clock[10], b'T' | b' ')
        || clock[13] != b':'
        || clock[16] != b':'
    {
        return None;
    }
    let days = days_from_civil(i64::from(digits(0, 4)?), digits(5, 7)?, digits(8, 10)?)?;
    let (hour, minute, second) = (digits(11, 13)?, digits(14, 16)?, digits(17, 19)?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    Some((i64::from(days) * 86_400 + i64::from(hour * 3600 + minute * 60 + second)) * 1_000_000)
}

/// Nanoseconds of a timestamp with up to nine places.
fn nanos(text: &str, zoned: bool) -> Option<i64> {
    let Some(dot) = text.find('.') else {
        return micros(text, zoned)?.checked_mul(1000);
    };
    let length = text[dot + 1..].bytes().take_while(u8::is_ascii_digit).count();
    let fraction = &text[dot + 1..dot + 1 + length];
    if length <= 6 {
        return micros(text, zoned)?.checked_mul(1000);
    }
    let (kept, beyond) = fraction[6..].split_at(3.min(length - 6));
    if beyond.bytes().any(|b| b != b'0') {
        return None;
    }
    let cut = format!("{}{}", &text[..dot + 7], &text[dot + 1 + length..]);
    let below: i64 = format!("{kept:0<3}").parse().ok()?;
    micros(&cut, zoned)?.checked_mul(1000)?.checked_add(below)
}

fn decimal128(text: &str, precision: u8, scale: i8) -> Option<i128> {
    let bytes = text.as_bytes();
    let (negative, digits) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, bytes),
    };
    let scale_places = usize::try_from(scale).ok()?;
    if digits.len() <= 18 && digits.first().is_some_and(u8::is_ascii_digit) {
        let (mut value, mut places, mut point) = (0i64, 0usize, false);
        for byte in digits {
            match byte {
                b'0'..=b'9' => {
                    value = value * 10 + i64::from(byte - b'0');
                    places += usize::from(point);
                }
                b'.' if !point => point = true,
                _ => return None,
            }
        }
        if places <= scale_places && (!point || places > 0) {
            let scaled =
                i128::from(value).checked_mul(10i128.checked_pow((scale_places - places) as u32)?)?;
            if scaled < 10i128.pow(u32::from(precision.min(38))) {
                return Some(if negative { -scaled } else { scaled });
            }
            return None;
        }
    }
    parse_decimal(text, precision, scale).and_then(i256::to_i128)
}

/// `\x00ff` as bytes.
fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("\\x")?.as_bytes();
    if digits.len() % 2 != 0 {
        return None;
    }
    digits
        .chunks(2)
        .map(|pair| Some((hex(pair[0])? << 4) | hex(pair[1])?))
        .collect()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_times_and_decimals_exactly_or_not_at_all() {
        assert_eq!(micros("2013-01-01T10:00:00Z", true), Some(1_357_034_400_000_000));
        assert_eq!(
            micros("2013-01-01T10:00:00+01:00", true),
            Some(1_357_030_800_000_000)
        );
        assert_eq!(micros("2013-01-01T10:00:00Z", false), None);
        assert_eq!(micros("2013-01-01 10:00:00", true), None);
        assert_eq!(nanos("1970-01-01 00:00:00.000000123", false), Some(123));
        assert_eq!(nanos("1970-01-01 00:00:00.0000001234", false), None);
        assert_eq!(decimal128("-12.5", 10, 2), Some(-1250));
        assert_eq!(decimal128("12.505", 10, 2), None);
        assert_eq!(decimal128("12.500", 10, 2), Some(1250));
        assert_eq!(decimal128("99999999.99", 10, 2), Some(9_999_999_999));
        assert_eq!(decimal128("100000000", 10, 2), None);
        assert_eq!(unhex("\\x00ff"), Some(vec![0, 255]));
        assert_eq!(unhex("00ff"), None);
    }
}
