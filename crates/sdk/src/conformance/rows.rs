//! Rows as values: what a column's cell is once its Arrow spelling is taken away.
//!
//! A number is a number whatever its width, text is text whether it is a view or a dictionary, a timestamp is its
//! nanoseconds. Naive and zoned stay different, so do floats and exact numbers; all NaN are one, -0.0 is not 0.0.
//! Sets of rows are compared as multisets. This is for tests: it is exact and slow.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::*;
use arrow::record_batch::RecordBatch;

use crate::annotation;

/// One cell.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value {
    /// NULL.
    Null,
    /// Boolean.
    Bool(bool),
    /// An exact number in canonical form: no leading or trailing zeros, no exponent.
    Number(String),
    /// The bits of a double, in total order; every NaN is the same.
    Float(u64),
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// Days since 1970-01-01.
    Date(i64),
    /// Nanoseconds since midnight.
    Time(i64),
    /// Nanoseconds since 1970-01-01T00:00:00 without a zone.
    Timestamp(i128),
    /// Nanoseconds since 1970-01-01T00:00:00 UTC.
    Instant(i128),
    /// Months, days, nanoseconds. A duration is nanoseconds only.
    Interval(i64, i64, i128),
    /// A list.
    List(Vec<Value>),
    /// A structure: names and values.
    Struct(Vec<(String, Value)>),
    /// A map, in key order.
    Map(Vec<(Value, Value)>),
    /// A type this file does not know, as Arrow displays its type. Equal to nothing a connector should return.
    Unknown(String),
}

/// Every cell of a column; text that is annotated as a number becomes one.
pub fn column_values(field: &Field, array: &ArrayRef) -> Vec<Value> {
    (0..array.len())
        .map(|row| match cell(array, row) {
            Value::Text(text) if annotation::is_numeric_text(field) => {
                canonical_number(&text).map_or(Value::Text(text), Value::Number)
            }
            other => other,
        })
        .collect()
}

/// One cell, by position.
pub fn cell(array: &dyn Array, row: usize) -> Value {
    if array.is_null(row) || *array.data_type() == DataType::Null {
        return Value::Null;
    }
    scalar(array, row)
        .or_else(|| temporal(array, row))
        .or_else(|| nested(array, row))
        .unwrap_or_else(|| Value::Unknown(array.data_type().to_string()))
}

macro_rules! primitive {
    ($array:expr, $row:expr, $kind:ty) => {
        $array.as_primitive::<$kind>().value($row)
    };
}

fn scalar(array: &dyn Array, row: usize) -> Option<Value> {
    let integer = |n: i128| Value::Number(n.to_string());
    Some(match array.data_type() {
        DataType::Boolean => Value::Bool(array.as_boolean().value(row)),
        DataType::Int8 => integer(primitive!(array, row, Int8Type).into()),
        DataType::Int16 => integer(primitive!(array, row, Int16Type).into()),
        DataType::Int32 => integer(primitive!(array, row, Int32Type).into()),
        DataType::Int64 => integer(primitive!(array, row, Int64Type).into()),
        DataType::UInt8 => integer(primitive!(array, row, UInt8Type).into()),
        DataType::UInt16 => integer(primitive!(array, row, UInt16Type).into()),
        DataType::UInt32 => integer(primitive!(array, row, UInt32Type).into()),
        DataType::UInt64 => integer(primitive!(array, row, UInt64Type).into()),
        DataType::Float16 => float(primitive!(array, row, Float16Type).to_f64()),
        DataType::Float32 => float(primitive!(array, row, Float32Type).into()),
        DataType::Float64 => float(primitive!(array, row, Float64Type)),
        DataType::Decimal32(_, scale) => decimal(&primitive!(array, row, Decimal32Type).to_string(), *scale),
        DataType::Decimal64(_, scale) => decimal(&primitive!(array, row, Decimal64Type).to_string(), *scale),
        DataType::Decimal128(_, scale) => {
            decimal(&primitive!(array, row, Decimal128Type).to_string(), *scale)
        }
        DataType::Decimal256(_, scale) => {
            decimal(&primitive!(array, row, Decimal256Type).to_string(), *scale)
        }
        DataType::Utf8 => Value::Text(array.as_string::<i32>().value(row).to_owned()),
        DataType::LargeUtf8 => Value::Text(array.as_string::<i64>().value(row).to_owned()),
        DataType::Utf8View => Value::Text(array.as_string_view().value(row).to_owned()),
        DataType::Binary => Value::Bytes(array.as_binary::<i32>().value(row).to_vec()),
        DataType::LargeBinary => Value::Bytes(array.as_binary::<i64>().value(row).to_vec()),
        DataType::BinaryView => Value::Bytes(array.as_binary_view().value(row).to_vec()),
        DataType::FixedSizeBinary(_) => Value::Bytes(array.as_fixed_size_binary().value(row).to_vec()),
        _ => return None,
    })
}

fn temporal(array: &dyn Array, row: usize) -> Option<Value> {
    Some(match array.data_type() {
        DataType::Date32 => Value::Date(primitive!(array, row, Date32Type).into()),
        DataType::Date64 => {
            let millis = primitive!(array, row, Date64Type);
            match millis.rem_euclid(86_400_000) {
                0 => Value::Date(millis.div_euclid(86_400_000)),
                _ => Value::Timestamp(i128::from(millis) * 1_000_000),
            }
        }
        DataType::Time32(TimeUnit::Second) => {
            Value::Time(i64::from(primitive!(array, row, Time32SecondType)) * 1_000_000_000)
        }
        DataType::Time32(_) => {
            Value::Time(i64::from(primitive!(array, row, Time32MillisecondType)) * 1_000_000)
        }
        DataType::Time64(TimeUnit::Microsecond) => {
            Value::Time(primitive!(array, row, Time64MicrosecondType) * 1_000)
        }
        DataType::Time64(_) => Value::Time(primitive!(array, row, Time64NanosecondType)),
        DataType::Timestamp(unit, zone) => {
            let (count, factor) = match unit {
                TimeUnit::Second => (primitive!(array, row, TimestampSecondType), 1_000_000_000),
                TimeUnit::Millisecond => (primitive!(array, row, TimestampMillisecondType), 1_000_000),
                TimeUnit::Microsecond => (primitive!(array, row, TimestampMicrosecondType), 1_000),
                TimeUnit::Nanosecond => (primitive!(array, row, TimestampNanosecondType), 1),
            };
            let nanos = i128::from(count) * factor;
            if zone.is_some() {
                Value::Instant(nanos)
            } else {
                Value::Timestamp(nanos)
            }
        }
        DataType::Duration(unit) => {
            let (count, factor) = match unit {
                TimeUnit::Second => (primitive!(array, row, DurationSecondType), 1_000_000_000),
                TimeUnit::Millisecond => (primitive!(array, row, DurationMillisecondType), 1_000_000),
                TimeUnit::Microsecond => (primitive!(array, row, DurationMicrosecondType), 1_000),
                TimeUnit::Nanosecond => (primitive!(array, row, DurationNanosecondType), 1),
            };
            Value::Interval(0, 0, i128::from(count) * factor)
        }
        DataType::Interval(IntervalUnit::YearMonth) => {
            Value::Interval(primitive!(array, row, IntervalYearMonthType).into(), 0, 0)
        }
        DataType::Interval(IntervalUnit::DayTime) => {
            let value = primitive!(array, row, IntervalDayTimeType);
            Value::Interval(0, value.days.into(), i128::from(value.milliseconds) * 1_000_000)
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let value = primitive!(array, row, IntervalMonthDayNanoType);
            Value::Interval(value.months.into(), value.days.into(), value.nanoseconds.into())
        }
        _ => return None,
    })
}

fn nested(array: &dyn Array, row: usize) -> Option<Value> {
    let items = |items: ArrayRef| Value::List((0..items.len()).map(|i| cell(&items, i)).collect());
    Some(match array.data_type() {
        DataType::Dictionary(..) => {
            let dictionary = array.as_any_dictionary();
            let keys = dictionary.normalized_keys();
            cell(dictionary.values(), *keys.get(row)?)
        }
        DataType::List(_) => items(array.as_list::<i32>().value(row)),
        DataType::LargeList(_) => items(array.as_list::<i64>().value(row)),
        DataType::ListView(_) => items(array.as_list_view::<i32>().value(row)),
        DataType::LargeListView(_) => items(array.as_list_view::<i64>().value(row)),
        DataType::FixedSizeList(..) => items(array.as_fixed_size_list().value(row)),
        DataType::Struct(fields) => {
            let parts = array.as_struct();
            let named = fields.iter().zip(parts.columns());
            Value::Struct(
                named
                    .map(|(field, column)| (field.name().clone(), cell(column, row)))
                    .collect(),
            )
        }
        DataType::Map(..) => {
            let entries = array.as_map().value(row);
            let mut pairs: Vec<_> = (0..entries.len())
                .map(|i| (cell(entries.column(0), i), cell(entries.column(1), i)))
                .collect();
            pairs.sort();
            Value::Map(pairs)
        }
        _ => return None,
    })
}

fn float(value: f64) -> Value {
    Value::Float(order_bits(if value.is_nan() { f64::NAN } else { value }))
}

/// The bits of a double, arranged so that comparing them is the total order.
pub fn order_bits(value: f64) -> u64 {
    let bits = value.to_bits();
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}

/// The double behind [`order_bits`].
pub fn from_order_bits(bits: u64) -> f64 {
    f64::from_bits(if bits >> 63 == 1 { bits & !(1 << 63) } else { !bits })
}

fn decimal(unscaled: &str, scale: i8) -> Value {
    let (sign, digits) = unscaled
        .strip_prefix('-')
        .map_or(("", unscaled), |digits| ("-", digits));
    let text = match usize::try_from(scale) {
        Ok(scale) => {
            let padded = format!("{digits:0>width$}", width = scale + 1);
            let (whole, part) = padded.split_at(padded.len() - scale);
            format!("{sign}{whole}.{part}")
        }
        Err(_) => format!("{sign}{digits}{}", "0".repeat(usize::from(scale.unsigned_abs()))),
    };
    canonical_number(&text).map_or(Value::Text(text), Value::Number)
}

/// A plain decimal without leading and trailing zeros; `None` for anything else, such as `NaN`.
pub fn canonical_number(text: &str) -> Option<String> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let plain = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if (whole.is_empty() && part.is_empty()) || !plain(whole) || !plain(part) {
        return None;
    }
    let (whole, part) = (whole.trim_start_matches('0'), part.trim_end_matches('0'));
    let whole = if whole.is_empty() { "0" } else { whole };
    let sign = if negative && (whole != "0" || !part.is_empty()) {
        "-"
    } else {
        ""
    };
    Some(if part.is_empty() {
        format!("{sign}{whole}")
    } else {
        format!("{sign}{whole}.{part}")
    })
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Value::Null => "NULL".to_owned(),
            Value::Number(number) => number.clone(),
            Value::Float(bits) => format!("{:?}", from_order_bits(*bits)),
            Value::Text(text) => format!("{text:?}"),
            other => format!("{other:?}"),
        };
        match text.char_indices().nth(80) {
            Some((at, _)) => write!(f, "{}… ({} characters)", &text[..at], text.chars().count()),
            None => f.write_str(&text),
        }
    }
}

/// A set of rows: column names, and one vector of values per row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rows {
    /// Column names.
    pub columns: Vec<String>,
    /// Rows, in the order they came.
    pub rows: Vec<Vec<Value>>,
}

impl Rows {
    /// The rows of batches that share a schema, as content: numbers are numbers, also those carried as text.
    pub fn of(batches: &[RecordBatch]) -> Self {
        Self::with(batches, column_values)
    }

    /// The rows of batches as an engine compares them: numbers carried as text are text.
    pub fn raw(batches: &[RecordBatch]) -> Self {
        Self::with(batches, |_, array| {
            (0..array.len()).map(|row| cell(array, row)).collect()
        })
    }

    fn with(batches: &[RecordBatch], values_of: fn(&Field, &ArrayRef) -> Vec<Value>) -> Self {
        let Some(first) = batches.first() else {
            return Rows::default();
        };
        let columns = first
            .schema()
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .collect();
        let mut rows = Vec::new();
        for batch in batches {
            let schema = batch.schema();
            let values: Vec<_> = schema
                .fields()
                .iter()
                .zip(batch.columns())
                .map(|(f, a)| values_of(f, a))
                .collect();
            rows.extend((0..batch.num_rows()).map(|row| values.iter().map(|c| c[row].clone()).collect()));
        }
        Rows { columns, rows }
    }

    /// The same rows with these columns only, in this order; `Err` names what is missing.
    pub fn select(&self, columns: &[String]) -> Result<Rows, String> {
        let mut at = Vec::new();
        for wanted in columns {
            let found = self.columns.iter().position(|name| name == wanted);
            at.push(found.ok_or_else(|| format!("there is no column {wanted:?}, only {:?}", self.columns))?);
        }
        let rows = self
            .rows
            .iter()
            .map(|row| at.iter().map(|i| row[*i].clone()).collect())
            .collect();
        Ok(Rows {
            columns: columns.to_vec(),
            rows,
        })
    }

    /// Row → how often it is there.
    pub fn counted(&self) -> BTreeMap<&[Value], i64> {
        let mut counts = BTreeMap::new();
        for row in &self.rows {
            *counts.entry(row.as_slice()).or_insert(0) += 1;
        }
        counts
    }
}

/// What tells two sets of rows apart, for people; `Ok` when they are the same rows, each as often. Columns are matched
/// by name; `key` names the columns by which a person finds a row again (none: the whole row is shown).
pub fn same_rows(expected: &Rows, found: &Rows, key: &[&str]) -> Result<(), String> {
    if expected.rows.is_empty() && found.rows.is_empty() {
        return Ok(());
    }
    let found = match found.rows.is_empty() {
        true => Rows {
            columns: expected.columns.clone(),
            rows: Vec::new(),
        },
        false if expected.rows.is_empty() => found.clone(),
        false if found.columns.len() != expected.columns.len() => {
            return Err(format!(
                "expected columns {:?}, found {:?}",
                expected.columns, found.columns
            ));
        }
        false => found.select(&expected.columns)?,
    };
    let mut difference = expected.counted();
    for (row, count) in found.counted() {
        *difference.entry(row).or_insert(0) -= count;
    }
    difference.retain(|_, count| *count != 0);
    if difference.is_empty() {
        return Ok(());
    }
    Err(describe(expected, &found, &difference, key))
}

fn describe(expected: &Rows, found: &Rows, difference: &BTreeMap<&[Value], i64>, key: &[&str]) -> String {
    let missing: i64 = difference.values().filter(|n| **n > 0).sum();
    let surplus: i64 = -difference.values().filter(|n| **n < 0).sum::<i64>();
    let mut text = format!(
        "expected {} rows, found {}: {missing} missing, {surplus} surplus",
        expected.rows.len(),
        found.rows.len()
    );
    let keys: Vec<usize> = key
        .iter()
        .filter_map(|k| expected.columns.iter().position(|c| c == k))
        .collect();
    let name = |row: &[Value]| -> Vec<Value> { keys.iter().map(|i| row[*i].clone()).collect() };
    for (row, _) in difference.iter().filter(|(_, n)| **n > 0).take(5) {
        let partner = difference
            .iter()
            .find(|(other, n)| **n < 0 && !keys.is_empty() && name(other) == name(row));
        let _ = match partner {
            Some((other, _)) => write!(text, "\n  changed {}", changes(expected, row, other, &keys)),
            None => write!(text, "\n  missing {}", shown(expected, row, &keys)),
        };
    }
    let unmatched = |row: &[Value]| {
        keys.is_empty()
            || !difference
                .iter()
                .any(|(other, n)| *n > 0 && name(other) == name(row))
    };
    for (row, _) in difference
        .iter()
        .filter(|(row, n)| **n < 0 && unmatched(row))
        .take(5)
    {
        let _ = write!(text, "\n  surplus {}", shown(expected, row, &keys));
    }
    text
}

fn shown(rows: &Rows, row: &[Value], keys: &[usize]) -> String {
    let all: Vec<usize> = (0..row.len()).take(12).collect();
    let parts: Vec<_> = if keys.is_empty() { &all[..] } else { keys }
        .iter()
        .filter_map(|i| Some(format!("{}={}", rows.columns.get(*i)?, row.get(*i)?)))
        .collect();
    parts.join(", ")
}

fn changes(rows: &Rows, expected: &[Value], found: &[Value], keys: &[usize]) -> String {
    let pairs = expected
        .iter()
        .zip(found)
        .enumerate()
        .filter(|(_, (a, b))| a != b)
        .take(5);
    let parts: Vec<_> = pairs
        .map(|(i, (a, b))| {
            format!(
                "{}: expected {a}, found {b}",
                rows.columns.get(i).map_or("?", String::as_str)
            )
        })
        .collect();
    format!("{}: {}", shown(rows, expected, keys), parts.join("; "))
}
