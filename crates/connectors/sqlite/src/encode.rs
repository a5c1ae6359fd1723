//! Arrow values as SQLite values, column by column, without a text per number.
//!
//! A `Column` is made once per batch: it knows the array, and how the target stores this meaning. `value` then yields
//! what is bound for one row. A value SQLite cannot keep (NaN becomes NULL there) is refused by column name.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryViewArray, RecordBatch, StringViewArray};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Decimal256Type, Field, Float32Type, Float64Type, Int64Type, Schema,
    Time64MicrosecondType, TimeUnit, TimestampMicrosecondType, TimestampNanosecondType, UInt64Type, i256,
};
use rusqlite::ToSql;
use rusqlite::types::{ToSqlOutput, ValueRef};
use synqx_model::{Code, Error, Result, ResultExt};
use synqx_sdk::text;

use crate::mapping::{Affinity, Kind, affinity, kind_of};

/// How values of a column are bound.
enum Values {
    Null,
    Boolean(arrow::array::BooleanArray),
    Int(arrow::array::Int64Array),
    /// An unsigned integer that must fit the signed one SQLite has.
    Unsigned(arrow::array::UInt64Array),
    Real(arrow::array::Float64Array),
    Text(StringViewArray),
    /// JSON in a column of NUMERIC affinity: a bare number would become a number.
    NumericJson(StringViewArray),
    Blob(BinaryViewArray),
    Date(arrow::array::Date32Array),
    Time(arrow::array::Time64MicrosecondArray),
    Micros(arrow::array::TimestampMicrosecondArray, bool),
    Nanos(arrow::array::TimestampNanosecondArray, bool),
    /// An exact decimal as text with so many places.
    Decimal128(arrow::array::Decimal128Array, i8),
    Decimal256(arrow::array::Decimal256Array, i8),
    Uuid(arrow::array::FixedSizeBinaryArray),
}

/// A column ready to be bound.
pub(crate) struct Column {
    name: String,
    values: Values,
    /// The scratch text of the current row.
    text: String,
    refuse_null: bool,
    /// SQLite would store a negative zero as the integer 0 here, and nobody consented.
    refuse_negative_zero: bool,
}

/// What the target does with a column.
#[derive(Debug, Clone)]
pub(crate) struct Slot {
    /// The field that arrives.
    pub(crate) field: Field,
    /// The declared type of the column it goes to.
    pub(crate) declared: String,
    /// Its place in the batch.
    pub(crate) index: usize,
    /// NULL is refused here (`E0309`): a key.
    pub(crate) key: bool,
    /// `allow_loss` names the column.
    pub(crate) loss: bool,
}

/// A value to be bound.
pub(crate) struct Bound<'a>(ValueRef<'a>);

impl Bound<'_> {
    /// Bytes of the value.
    pub(crate) fn bytes(&self) -> u64 {
        match self.0 {
            ValueRef::Null => 0,
            ValueRef::Integer(_) | ValueRef::Real(_) => 8,
            ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.len() as u64,
        }
    }
}

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(self.0))
    }
}

impl Column {
    /// Gets a column of a batch ready. Errors: `E0404`, `E0407`.
    pub(crate) fn new(batch: &RecordBatch, slot: &Slot) -> Result<Self> {
        let array = plain(batch.column(slot.index), &slot.field)?;
        let values = values(&array, slot)?;
        Ok(Column {
            name: slot.field.name().clone(),
            values,
            text: String::new(),
            refuse_null: slot.key,
            refuse_negative_zero: !slot.loss && affinity(&slot.declared) != Affinity::Blob,
        })
    }

    /// The value of a row, to be bound at once. Errors: `E0309`, `E0404`.
    pub(crate) fn value(&mut self, row: usize) -> Result<Bound<'_>> {
        self.text.clear();
        let null = match &self.values {
            Values::Null => true,
            Values::Boolean(a) => a.is_null(row),
            Values::Int(a) => a.is_null(row),
            Values::Unsigned(a) => a.is_null(row),
            Values::Real(a) => a.is_null(row),
            Values::Text(a) | Values::NumericJson(a) => a.is_null(row),
            Values::Blob(a) => a.is_null(row),
            Values::Date(a) => a.is_null(row),
            Values::Time(a) => a.is_null(row),
            Values::Micros(a, _) => a.is_null(row),
            Values::Nanos(a, _) => a.is_null(row),
            Values::Decimal128(a, _) => a.is_null(row),
            Values::Decimal256(a, _) => a.is_null(row),
            Values::Uuid(a) => a.is_null(row),
        };
        if null {
            if self.refuse_null {
                return Err(
                    Error::new(Code::E0309, format!("key column `{}` has a NULL", self.name))
                        .with_hint("drop such rows before the load, such as with `validate` and `not_null`"),
                );
            }
            return Ok(Bound(ValueRef::Null));
        }
        self.present(row).map(Bound)
    }

    fn present(&mut self, row: usize) -> Result<ValueRef<'_>> {
        match &self.values {
            Values::Null => return Ok(ValueRef::Null),
            Values::Boolean(a) => return Ok(ValueRef::Integer(i64::from(a.value(row)))),
            Values::Int(a) => return Ok(ValueRef::Integer(a.value(row))),
            Values::Unsigned(a) => {
                let value = i64::try_from(a.value(row)).map_err(|_| {
                    self.refused("A number is larger than 9223372036854775807, the largest SQLite has")
                })?;
                return Ok(ValueRef::Integer(value));
            }
            Values::Real(a) => {
                let value = a.value(row);
                if value.is_nan() {
                    return Err(self.refused("A value is NaN, which SQLite would turn into NULL"));
                }
                if value == 0.0 && value.is_sign_negative() && self.refuse_negative_zero {
                    return Err(self
                        .refused("A value is -0.0, which SQLite stores as 0")
                        .with_hint(format!(
                            "add `allow_loss: [{}]`, or add 0.0 to it before the load",
                            self.name
                        )));
                }
                return Ok(ValueRef::Real(value));
            }
            Values::Text(a) => return Ok(ValueRef::Text(a.value(row).as_bytes())),
            Values::NumericJson(a) => {
                let value = a.value(row);
                if value
                    .trim_start()
                    .starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.'))
                {
                    return Err(self.refused(
                        "A JSON value is a bare number, which a column of this type would not keep as text",
                    ));
                }
                return Ok(ValueRef::Text(value.as_bytes()));
            }
            Values::Blob(a) => return Ok(ValueRef::Blob(a.value(row))),
            Values::Date(a) => self.text.push_str(&text::render_date(i64::from(a.value(row)))),
            Values::Time(a) => self.text.push_str(&text::render_time(a.value(row))),
            Values::Micros(a, zoned) => self.text.push_str(&text::render_timestamp(a.value(row), *zoned)),
            Values::Nanos(a, zoned) => render_nanos(&mut self.text, a.value(row), *zoned),
            Values::Decimal128(a, scale) => render_decimal(&mut self.text, a.value(row), *scale),
            Values::Decimal256(a, scale) => render_decimal256(&mut self.text, a.value(row), *scale),
            Values::Uuid(a) => render_uuid(&mut self.text, a.value(row)),
        }
        Ok(ValueRef::Text(self.text.as_bytes()))
    }

    fn refused(&self, detail: &str) -> Error {
        Error::new(
            Code::E0404,
            format!("a value of column `{}` cannot be stored in SQLite", self.name),
        )
        .with_detail(format!("{detail}."))
        .with_hint("change the value before the load with `map`, or cast the column")
    }
}

/// Dictionaries unpacked, nested values as JSON text, years of `Date64` and small units in their common unit.
fn plain(array: &ArrayRef, field: &Field) -> Result<ArrayRef> {
    let to = |target: &DataType| {
        let options = arrow::compute::CastOptions {
            safe: false,
            ..Default::default()
        };
        arrow::compute::cast_with_options(array, target, &options)
            .coded(Code::E0404, || {
                format!(
                    "a value of column `{}` does not convert to {target}",
                    field.name()
                )
            })
            .map_err(|e| e.or_hint("cast the column before the load"))
    };
    let unit = |zone: &Option<Arc<str>>| DataType::Timestamp(TimeUnit::Microsecond, zone.clone());
    Ok(match array.data_type() {
        DataType::Dictionary(_, value) => return plain(&to(value)?, field),
        DataType::Int8 | DataType::Int16 | DataType::Int32 => to(&DataType::Int64)?,
        DataType::UInt8 | DataType::UInt16 | DataType::UInt32 => to(&DataType::Int64)?,
        DataType::Float16 | DataType::Float32 => to(&DataType::Float64)?,
        DataType::Utf8 | DataType::LargeUtf8 => to(&DataType::Utf8View)?,
        DataType::Binary | DataType::LargeBinary => to(&DataType::BinaryView)?,
        DataType::Date64 => to(&DataType::Date32)?,
        DataType::Time32(_) => to(&DataType::Time64(TimeUnit::Microsecond))?,
        DataType::Timestamp(TimeUnit::Second | TimeUnit::Millisecond, zone) => to(&unit(zone))?,
        DataType::Decimal32(p, s) | DataType::Decimal64(p, s) => to(&DataType::Decimal128(*p, *s))?,
        DataType::List(_)
        | DataType::LargeList(_)
        | DataType::FixedSizeList(..)
        | DataType::Struct(_)
        | DataType::Map(..) => Arc::new(json_text(array, field)?),
        _ => Arc::clone(array),
    })
}

fn values(array: &ArrayRef, slot: &Slot) -> Result<Values> {
    let (to, affinity) = (kind_of(&slot.declared), affinity(&slot.declared));
    let as_text = affinity == Affinity::Text;
    let wrong = || {
        Error::bug(format!(
            "column `{}` arrived as {} after preparation",
            slot.field.name(),
            array.data_type()
        ))
    };
    let decimal_places = |scale: i8| match to {
        Kind::Decimal(_, places) => places,
        _ => scale.max(0),
    };
    Ok(match array.data_type() {
        DataType::Null => Values::Null,
        DataType::Boolean => Values::Boolean(array.as_boolean().clone()),
        DataType::Int64 if as_text => Values::Decimal128(decimals(array, 38, 0, slot)?, decimal_places(0)),
        DataType::Int64 if to == Kind::Real => Values::Real(loose(array, slot)?),
        DataType::Int64 => Values::Int(array.as_primitive::<Int64Type>().clone()),
        DataType::UInt64 if as_text => Values::Decimal128(decimals(array, 38, 0, slot)?, decimal_places(0)),
        DataType::UInt64 if to == Kind::Real => Values::Real(loose(array, slot)?),
        DataType::UInt64 => Values::Unsigned(array.as_primitive::<UInt64Type>().clone()),
        DataType::Float64 => Values::Real(array.as_primitive::<Float64Type>().clone()),
        DataType::Utf8View if affinity == Affinity::Numeric && to == Kind::Json => {
            Values::NumericJson(array.as_string_view().clone())
        }
        DataType::Utf8View if to == Kind::Real => Values::Real(loose(array, slot)?),
        DataType::Utf8View => Values::Text(array.as_string_view().clone()),
        DataType::BinaryView => Values::Blob(array.as_binary_view().clone()),
        DataType::FixedSizeBinary(16) if to == Kind::Uuid => {
            Values::Uuid(array.as_fixed_size_binary().clone())
        }
        DataType::FixedSizeBinary(_) => {
            let blob = cast(array, &DataType::Binary).and_then(|a| cast(&a, &DataType::BinaryView));
            let blob = blob.coded(Code::E0404, || {
                format!("column `{}` does not convert to bytes", slot.field.name())
            })?;
            Values::Blob(blob.as_binary_view().clone())
        }
        DataType::Date32 => Values::Date(array.as_primitive::<Date32Type>().clone()),
        DataType::Time64(TimeUnit::Microsecond) => {
            Values::Time(array.as_primitive::<Time64MicrosecondType>().clone())
        }
        DataType::Timestamp(TimeUnit::Microsecond, zone) => Values::Micros(
            array.as_primitive::<TimestampMicrosecondType>().clone(),
            zone.is_some(),
        ),
        DataType::Timestamp(TimeUnit::Nanosecond, zone) => Values::Nanos(
            array.as_primitive::<TimestampNanosecondType>().clone(),
            zone.is_some(),
        ),
        DataType::Decimal128(..) | DataType::Decimal256(..) if to == Kind::Real => {
            Values::Real(loose(array, slot)?)
        }
        DataType::Decimal128(_, 0) | DataType::Decimal256(_, 0) if !as_text && to != Kind::Untyped => {
            let ints = exact(array, &DataType::Int64, slot)?;
            Values::Int(ints.as_primitive::<Int64Type>().clone())
        }
        DataType::Decimal128(_, s) | DataType::Decimal256(_, s)
            if !as_text && affinity != Affinity::Blob && *s != 0 =>
        {
            Values::Real(loose(array, slot)?)
        }
        DataType::Decimal128(_, s) => Values::Decimal128(
            rescaled128(array, *s, decimal_places(*s), slot)?,
            decimal_places(*s),
        ),
        DataType::Decimal256(_, s) => {
            let array = exact(array, &DataType::Decimal256(76, decimal_places(*s)), slot)?;
            Values::Decimal256(array.as_primitive::<Decimal256Type>().clone(), decimal_places(*s))
        }
        _ => return Err(wrong()),
    })
}

/// A conversion that must keep every value.
fn exact(array: &ArrayRef, target: &DataType, slot: &Slot) -> Result<ArrayRef> {
    let options = arrow::compute::CastOptions {
        safe: false,
        ..Default::default()
    };
    arrow::compute::cast_with_options(array, target, &options).map_err(|_| {
        Error::new(
            Code::E0404,
            format!(
                "a value of column `{}` does not fit its column in SQLite",
                slot.field.name()
            ),
        )
        .with_detail(format!("The column is declared {}.", slot.declared))
        .with_hint("cast the column before the load, or declare the target's column wider")
    })
}

/// A conversion to floating point, which `allow_loss` consented to.
fn loose(array: &ArrayRef, slot: &Slot) -> Result<arrow::array::Float64Array> {
    Ok(exact(array, &DataType::Float64, slot)?
        .as_primitive::<Float64Type>()
        .clone())
}

fn decimals(
    array: &ArrayRef,
    precision: u8,
    scale: i8,
    slot: &Slot,
) -> Result<arrow::array::Decimal128Array> {
    let wide = exact(array, &DataType::Decimal128(precision, scale), slot)?;
    rescaled128(
        &wide,
        scale,
        match kind_of(&slot.declared) {
            Kind::Decimal(_, places) => places,
            _ => scale,
        },
        slot,
    )
}

fn rescaled128(array: &ArrayRef, from: i8, to: i8, slot: &Slot) -> Result<arrow::array::Decimal128Array> {
    let array = if from == to {
        Arc::clone(array)
    } else {
        exact(array, &DataType::Decimal128(38, to), slot)?
    };
    if let Kind::Decimal(precision, _) = kind_of(&slot.declared) {
        let narrow = array.as_primitive::<Decimal128Type>();
        if precision < 38 && narrow.validate_decimal_precision(precision).is_err() {
            return Err(exact_refused(slot));
        }
    }
    Ok(array.as_primitive::<Decimal128Type>().clone())
}

fn exact_refused(slot: &Slot) -> Error {
    Error::new(
        Code::E0404,
        format!(
            "a value of column `{}` has more digits than its column in SQLite",
            slot.field.name()
        ),
    )
    .with_detail(format!("The column is declared {}.", slot.declared))
    .with_hint("cast the column before the load, or declare the target's column wider")
}

/// Nested values as JSON, one text per row.
fn json_text(array: &ArrayRef, field: &Field) -> Result<StringViewArray> {
    let schema = Arc::new(Schema::new(vec![Field::new(
        "v",
        array.data_type().clone(),
        true,
    )]));
    let failed = |cause: arrow::error::ArrowError| {
        Error::new(
            Code::E0407,
            format!("column `{}` has no form as JSON", field.name()),
        )
        .with_cause(&cause)
        .with_hint("leave the column out, or take its parts apart with `map`")
    };
    if has_non_finite(array.as_ref()) {
        return Err(Error::new(
            Code::E0404,
            format!("a value inside column `{}` is NaN or infinite", field.name()),
        )
        .with_detail("JSON has no form for such numbers.")
        .with_hint("replace it before the load with `map`, or leave the column out"));
    }
    let batch = RecordBatch::try_new(schema, vec![Arc::clone(array)]).map_err(failed)?;
    let mut writer = arrow::json::WriterBuilder::new()
        .with_explicit_nulls(true)
        .build::<_, arrow::json::writer::LineDelimited>(Vec::new());
    writer.write(&batch).map_err(failed)?;
    writer.finish().map_err(failed)?;
    let lines = String::from_utf8(writer.into_inner()).map_err(|_| Error::bug("JSON that is not UTF-8"))?;
    let bodies = lines
        .lines()
        .map(|line| line.strip_prefix("{\"v\":").and_then(|l| l.strip_suffix('}')));
    let texts: Vec<Option<&str>> = bodies
        .enumerate()
        .map(|(row, body)| body.filter(|_| array.is_valid(row)))
        .collect();
    if texts.len() != array.len() {
        return Err(Error::bug(format!(
            "{} JSON lines for {} rows",
            texts.len(),
            array.len()
        )));
    }
    Ok(StringViewArray::from(texts))
}

/// Whether a float anywhere inside is NaN or infinite.
fn has_non_finite(array: &dyn Array) -> bool {
    match array.data_type() {
        DataType::Float32 => array
            .as_primitive::<Float32Type>()
            .iter()
            .flatten()
            .any(|x| !x.is_finite()),
        DataType::Float64 => array
            .as_primitive::<Float64Type>()
            .iter()
            .flatten()
            .any(|x| !x.is_finite()),
        DataType::Float16 => cast(array, &DataType::Float32).is_ok_and(|wide| has_non_finite(wide.as_ref())),
        DataType::List(_) => array
            .as_list::<i32>()
            .iter()
            .flatten()
            .any(|item| has_non_finite(item.as_ref())),
        DataType::LargeList(_) => array
            .as_list::<i64>()
            .iter()
            .flatten()
            .any(|item| has_non_finite(item.as_ref())),
        DataType::FixedSizeList(..) => array
            .as_fixed_size_list()
            .iter()
            .flatten()
            .any(|item| has_non_finite(item.as_ref())),
        DataType::Struct(_) => array
            .as_struct()
            .columns()
            .iter()
            .any(|part| has_non_finite(part.as_ref())),
        DataType::Map(..) => array.as_map().iter().flatten().any(|item| has_non_finite(&item)),
        _ => false,
    }
}

fn render_nanos(out: &mut String, nanos: i64, zoned: bool) {
    let (micros, rest) = (nanos.div_euclid(1000), nanos.rem_euclid(1000));
    let text = text::render_timestamp(micros, zoned);
    let text = text.strip_suffix('Z').unwrap_or(&text);
    out.push_str(text);
    if rest != 0 {
        let micros = micros.rem_euclid(1_000_000);
        let whole = out.find('.').unwrap_or(out.len());
        out.truncate(whole);
        let digits = format!("{micros:06}{rest:03}");
        let _ = write!(out, ".{}", digits.trim_end_matches('0'));
    }
    if zoned {
        out.push('Z');
    }
}

fn render_decimal(out: &mut String, unscaled: i128, scale: i8) {
    out.push_str(&synqx_sdk::predicate::render_decimal(unscaled, scale));
}

fn render_decimal256(out: &mut String, unscaled: i256, scale: i8) {
    let text = unscaled.to_string();
    let (sign, digits) = text
        .strip_prefix('-')
        .map_or(("", text.as_str()), |digits| ("-", digits));
    let scale = usize::try_from(scale).unwrap_or(0);
    let padded = format!("{digits:0>width$}", width = scale + 1);
    let (whole, part) = padded.split_at(padded.len() - scale);
    out.push_str(sign);
    out.push_str(whole);
    if scale > 0 {
        out.push('.');
        out.push_str(part);
    }
}

fn render_uuid(out: &mut String, bytes: &[u8]) {
    for (i, byte) in bytes.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            out.push('-');
        }
        let _ = write!(out, "{byte:02x}");
    }
}
