//! Prints any Arrow value: plain for CSV cells, as JSON for objects and nested cells.
//!
//! A printer is made once per column and batch; rare encodings (dictionaries, small integers, offsets) are cast to
//! one of a few forms first. Nothing is rounded: decimals and integers in full, floats shortest and exact.

use std::io::Write;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryViewArray, BooleanArray, Decimal128Array, Decimal256Array, Float32Array,
    Float64Array, Int64Array, StringViewArray, UInt64Array,
};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Decimal128Type, Decimal256Type, Field, Float32Type, Float64Type, Int64Type, TimeUnit,
    UInt64Type, i256,
};
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use synqx_model::{Code, Error, Result};
use synqx_sdk::annotation::{is_json, is_uuid};
use synqx_sdk::predicate::render_decimal;
use synqx_sdk::text::{render_date, render_time, render_timestamp};

/// How a value looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// JSON prints it without quotes.
    Number,
    /// JSON prints it in quotes.
    Text,
    /// A list or a structure.
    Nested,
}

/// Prints the values of one array.
pub(crate) struct Printer {
    nulls: Option<NullBuffer>,
    form: Form,
}

enum Form {
    Null,
    Boolean(BooleanArray),
    Int(Int64Array),
    UInt(UInt64Array),
    Float32(Float32Array),
    Float64(Float64Array),
    Decimal128(Decimal128Array),
    Decimal256(Decimal256Array),
    Text(StringViewArray),
    Json(StringViewArray),
    Bytes(BinaryViewArray),
    Uuid(ArrayRef),
    Date(Int64Array),
    /// Values per second, and whether it is an instant.
    Timestamp(Int64Array, i64, bool),
    /// Values per second.
    Time(Int64Array, i64),
    /// Whatever Arrow itself prints: durations, intervals.
    Other(ArrayRef),
    List(Vec<usize>, Box<Printer>),
    Struct(Vec<(Vec<u8>, Printer)>),
    Map(Vec<usize>, Box<Printer>, Box<Printer>),
}

/// Printers of every column.
pub(crate) fn printers(batch: &RecordBatch) -> Result<Vec<Printer>> {
    let schema = batch.schema();
    batch
        .columns()
        .iter()
        .zip(schema.fields())
        .map(|(array, field)| printer(field, array))
        .collect()
}

fn per_second(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    }
}

fn printer(field: &Field, array: &ArrayRef) -> Result<Printer> {
    let to = |data_type: &DataType| {
        cast(array, data_type).map_err(|cause| {
            Error::new(Code::E0404, format!("cannot print column `{}`", field.name()))
                .with_hint("cast the column to text before the load")
                .with_cause(&cause)
        })
    };
    let ints = || to(&DataType::Int64).map(|a| a.as_primitive::<Int64Type>().clone());
    let form = match array.data_type() {
        DataType::Null => Form::Null,
        DataType::Dictionary(_, value) => return printer(field, &to(value)?),
        DataType::RunEndEncoded(_, value) => return printer(field, &to(value.data_type())?),
        DataType::Boolean => Form::Boolean(array.as_boolean().clone()),
        DataType::UInt64 => Form::UInt(array.as_primitive::<UInt64Type>().clone()),
        other if other.is_integer() => Form::Int(ints()?),
        DataType::Float16 | DataType::Float32 => {
            Form::Float32(to(&DataType::Float32)?.as_primitive::<Float32Type>().clone())
        }
        DataType::Float64 => Form::Float64(array.as_primitive::<Float64Type>().clone()),
        DataType::Decimal32(p, s) | DataType::Decimal64(p, s) | DataType::Decimal128(p, s) => {
            Form::Decimal128(
                to(&DataType::Decimal128(*p, *s))?
                    .as_primitive::<Decimal128Type>()
                    .clone(),
            )
        }
        DataType::Decimal256(..) => Form::Decimal256(array.as_primitive::<Decimal256Type>().clone()),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            let texts = to(&DataType::Utf8View)?.as_string_view().clone();
            if is_json(field) {
                Form::Json(texts)
            } else {
                Form::Text(texts)
            }
        }
        DataType::FixedSizeBinary(16) if is_uuid(field) => Form::Uuid(array.clone()),
        DataType::FixedSizeBinary(_) => Form::Bytes(
            to(&DataType::Binary)
                .and_then(|binary| {
                    cast(&binary, &DataType::BinaryView)
                        .map_err(|cause| Error::bug("cannot view bytes").with_cause(&cause))
                })?
                .as_binary_view()
                .clone(),
        ),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => {
            Form::Bytes(to(&DataType::BinaryView)?.as_binary_view().clone())
        }
        DataType::Date32 => Form::Date({
            let days = to(&DataType::Int32)?;
            cast(&days, &DataType::Int64)
                .map_err(|cause| Error::bug("cannot widen days").with_cause(&cause))?
                .as_primitive::<Int64Type>()
                .clone()
        }),
        DataType::Date64 => Form::Timestamp(ints()?, 1_000, false),
        DataType::Timestamp(unit, zone) => Form::Timestamp(ints()?, per_second(*unit), zone.is_some()),
        DataType::Time32(unit) => {
            let raw = to(&DataType::Int32)?;
            let wide = cast(&raw, &DataType::Int64)
                .map_err(|cause| Error::bug("cannot widen times").with_cause(&cause))?;
            Form::Time(wide.as_primitive::<Int64Type>().clone(), per_second(*unit))
        }
        DataType::Time64(unit) => Form::Time(ints()?, per_second(*unit)),
        nested if nested.is_nested() => nested_form(array, &to)?,
        _ => Form::Other(array.clone()),
    };
    Ok(Printer {
        nulls: array.logical_nulls(),
        form,
    })
}

fn nested_form(array: &ArrayRef, to: &dyn Fn(&DataType) -> Result<ArrayRef>) -> Result<Form> {
    Ok(match array.data_type() {
        DataType::List(item) => {
            let list = array.as_list::<i32>();
            let offsets = list
                .value_offsets()
                .iter()
                .map(|o| usize::try_from(*o).unwrap_or(0))
                .collect();
            Form::List(offsets, Box::new(printer(item, list.values())?))
        }
        DataType::LargeList(item) => {
            let list = array.as_list::<i64>();
            let offsets = list
                .value_offsets()
                .iter()
                .map(|o| usize::try_from(*o).unwrap_or(0))
                .collect();
            Form::List(offsets, Box::new(printer(item, list.values())?))
        }
        DataType::FixedSizeList(item, _) | DataType::ListView(item) | DataType::LargeListView(item) => {
            return nested_form(&to(&DataType::LargeList(item.clone()))?, to);
        }
        DataType::Struct(_) => {
            let all = array.as_struct();
            let mut children = Vec::new();
            for (child, values) in all.fields().iter().zip(all.columns()) {
                let mut name = Vec::new();
                quoted(child.name(), &mut name);
                name.push(b':');
                children.push((name, printer(child, values)?));
            }
            Form::Struct(children)
        }
        DataType::Map(..) => {
            let map = array.as_map();
            let offsets = map
                .value_offsets()
                .iter()
                .map(|o| usize::try_from(*o).unwrap_or(0))
                .collect();
            let value = Field::new("value", map.values().data_type().clone(), true);
            let key = Field::new("key", map.keys().data_type().clone(), false);
            Form::Map(
                offsets,
                Box::new(printer(&key, map.keys())?),
                Box::new(printer(&value, map.values())?),
            )
        }
        _ => Form::Other(Arc::clone(array)),
    })
}

impl Printer {
    /// Whether the value is NULL.
    #[inline]
    pub(crate) fn is_null(&self, row: usize) -> bool {
        matches!(self.form, Form::Null) || self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }

    /// How values look.
    pub(crate) fn shape(&self) -> Shape {
        match &self.form {
            Form::List(..) | Form::Struct(_) | Form::Map(..) => Shape::Nested,
            Form::Null
            | Form::Boolean(_)
            | Form::Int(_)
            | Form::UInt(_)
            | Form::Float32(_)
            | Form::Float64(_)
            | Form::Decimal128(_)
            | Form::Decimal256(_) => Shape::Number,
            _ => Shape::Text,
        }
    }

    /// The text of a text value, without copying.
    #[inline]
    pub(crate) fn text(&self, row: usize) -> Option<&str> {
        match &self.form {
            Form::Text(texts) | Form::Json(texts) => Some(texts.value(row)),
            _ => None,
        }
    }

    /// Prints a value that is not NULL and not nested, without quotes.
    pub(crate) fn plain(&self, row: usize, out: &mut Vec<u8>) {
        // Writing to a vector cannot fail.
        let _ = match &self.form {
            Form::Boolean(values) => write!(out, "{}", values.value(row)),
            Form::Int(values) => {
                integer(values.value(row), out);
                Ok(())
            }
            Form::UInt(values) => write!(out, "{}", values.value(row)),
            Form::Float32(values) => write!(out, "{:?}", values.value(row)),
            Form::Float64(values) => write!(out, "{:?}", values.value(row)),
            Form::Decimal128(values) => write!(out, "{}", render_decimal(values.value(row), values.scale())),
            // A zero with a negative scale is still one digit.
            Form::Decimal256(values) if values.value(row) == i256::ZERO && values.scale() <= 0 => {
                write!(out, "0")
            }
            Form::Decimal256(values) => write!(out, "{}", values.value_as_string(row)),
            Form::Text(values) | Form::Json(values) => out.write_all(values.value(row).as_bytes()),
            Form::Bytes(values) => hex(values.value(row), out),
            Form::Uuid(values) => uuid(values.as_fixed_size_binary().value(row), out),
            Form::Date(values) => out.write_all(render_date(values.value(row)).as_bytes()),
            Form::Timestamp(values, unit, zoned) => timestamp(values.value(row), *unit, *zoned, out),
            Form::Time(values, unit) => time(values.value(row), *unit, out),
            Form::Other(values) => match ArrayFormatter::try_new(values, &FormatOptions::default()) {
                Ok(formatter) => write!(out, "{}", formatter.value(row)),
                Err(_) => Ok(()),
            },
            Form::Null | Form::List(..) | Form::Struct(_) | Form::Map(..) => Ok(()),
        };
    }

    /// Prints a value as JSON.
    pub(crate) fn json(&self, row: usize, out: &mut Vec<u8>) {
        if self.is_null(row) {
            out.extend_from_slice(b"null");
            return;
        }
        match &self.form {
            Form::Json(texts) => embed(texts.value(row), out),
            Form::Text(texts) => quoted(texts.value(row), out),
            Form::Float32(values) if !values.value(row).is_finite() => self.in_quotes(row, out),
            Form::Float64(values) if !values.value(row).is_finite() => self.in_quotes(row, out),
            Form::List(offsets, items) => {
                out.push(b'[');
                for item in offsets[row]..offsets[row + 1] {
                    if item > offsets[row] {
                        out.push(b',');
                    }
                    items.json(item, out);
                }
                out.push(b']');
            }
            Form::Struct(children) => {
                out.push(b'{');
                for (index, (name, child)) in children.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    out.extend_from_slice(name);
                    child.json(row, out);
                }
                out.push(b'}');
            }
            Form::Map(offsets, keys, values) => {
                out.push(b'{');
                for item in offsets[row]..offsets[row + 1] {
                    if item > offsets[row] {
                        out.push(b',');
                    }
                    keys.in_quotes(item, out);
                    out.push(b':');
                    values.json(item, out);
                }
                out.push(b'}');
            }
            _ if self.shape() == Shape::Number => self.plain(row, out),
            _ => self.in_quotes(row, out),
        }
    }

    fn in_quotes(&self, row: usize, out: &mut Vec<u8>) {
        let mut plain = Vec::new();
        self.plain(row, &mut plain);
        quoted(&String::from_utf8_lossy(&plain), out);
    }
}

fn integer(value: i64, out: &mut Vec<u8>) {
    let mut digits = [0u8; 20];
    let (mut at, mut rest) = (digits.len(), value.unsigned_abs());
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[at..]);
}

/// JSON text as it is, on one line; text that is no JSON becomes a JSON text.
fn embed(text: &str, out: &mut Vec<u8>) {
    match serde_json::from_str::<&serde_json::value::RawValue>(text) {
        // Outside of strings a line end is only space, and inside of them JSON does not allow one.
        Ok(raw) => out.extend(
            raw.get()
                .bytes()
                .map(|b| if matches!(b, b'\n' | b'\r') { b' ' } else { b }),
        ),
        Err(_) => quoted(text, out),
    }
}

/// A text as JSON.
pub(crate) fn quoted(text: &str, out: &mut Vec<u8>) {
    // Writing to a vector cannot fail.
    let _ = serde_json::to_writer(out, text);
}

fn hex(bytes: &[u8], out: &mut Vec<u8>) -> std::io::Result<()> {
    out.extend_from_slice(b"\\x");
    bytes.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
}

fn uuid(bytes: &[u8], out: &mut Vec<u8>) -> std::io::Result<()> {
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        write!(out, "{byte:02x}")?;
    }
    Ok(())
}

fn fraction(below: i64, unit: i64) -> String {
    if below == 0 {
        return String::new();
    }
    let width = unit.ilog10() as usize;
    format!(".{}", format!("{below:0width$}").trim_end_matches('0'))
}

fn timestamp(value: i64, unit: i64, zoned: bool, out: &mut Vec<u8>) -> std::io::Result<()> {
    let (seconds, below) = (value.div_euclid(unit), value.rem_euclid(unit));
    let days = seconds.div_euclid(86_400);
    let clock = render_time(seconds.rem_euclid(86_400) * 1_000_000);
    if unit == 1_000_000 {
        return out.write_all(render_timestamp(value, zoned).as_bytes());
    }
    let (middle, end) = if zoned { ('T', "Z") } else { (' ', "") };
    write!(
        out,
        "{}{middle}{clock}{}{end}",
        render_date(days),
        fraction(below, unit)
    )
}

fn time(value: i64, unit: i64, out: &mut Vec<u8>) -> std::io::Result<()> {
    let (seconds, below) = (value.div_euclid(unit), value.rem_euclid(unit));
    write!(
        out,
        "{}{}",
        render_time(seconds * 1_000_000),
        fraction(below, unit)
    )
}
