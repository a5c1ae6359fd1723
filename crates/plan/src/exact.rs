//! Casts of a `cast` node that may lose something, judged value by value.
//!
//! A number is converted, converted back and compared; text is looked at. What comes back different was rounded or
//! cut: it does not convert, and the node's `on_error` decides. `cast(x as t)` inside SQL expressions is not
//! touched: it rounds and cuts like SQL does. Into floats only whole numbers and infinities are judged, because
//! rounding decimal fractions is what a float is; a timestamp that becomes a date loses its time, as in SQL.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use datafusion::arrow::compute::kernels::cmp::eq;
use datafusion::arrow::compute::{cast, nullif};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Float64Type, TimeUnit};
use datafusion::common::cast::as_string_view_array;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use synqx_model::{Code, Error};
use synqx_sdk::type_names::{is_text, render_type};

use crate::trouble::outward;

/// How a conversion is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Judgement {
    /// The value, converted back, is the same.
    Back,
    /// The same but for the last digits of a float.
    Near,
    /// A finite number stays finite.
    Finite,
    /// Text with at most so many decimal places.
    Places(i64),
    /// Text of a time whose second has at most so many digits.
    Digits(usize),
}

fn judgement(from: &DataType, to: &DataType) -> Option<Judgement> {
    let scale = |data_type: &DataType| match data_type {
        DataType::Decimal32(_, s)
        | DataType::Decimal64(_, s)
        | DataType::Decimal128(_, s)
        | DataType::Decimal256(_, s) => i64::from(*s),
        _ => 0,
    };
    match to {
        _ if is_text(from) => match to {
            _ if to.is_decimal() => Some(Judgement::Places(scale(to))),
            _ if to.is_floating() => Some(Judgement::Finite),
            DataType::Timestamp(unit, _) | DataType::Time32(unit) | DataType::Time64(unit) => {
                Some(Judgement::Digits(digits(*unit)))
            }
            _ => None,
        },
        _ if from.is_floating() && to.is_integer() => Some(Judgement::Back),
        _ if from.is_floating() && to.is_decimal() => Some(Judgement::Near),
        _ if from.is_floating() && to.is_floating() => Some(Judgement::Finite),
        _ if from.is_integer() && to.is_floating() => Some(Judgement::Back),
        _ if from.is_decimal() && to.is_floating() => Some(Judgement::Finite),
        _ if (from.is_decimal() || from.is_integer()) && (to.is_decimal() || to.is_integer()) => {
            (scale(to) < scale(from)).then_some(Judgement::Back)
        }
        DataType::Timestamp(to, _) | DataType::Time32(to) | DataType::Time64(to) => match from {
            DataType::Timestamp(from, _) | DataType::Time32(from) | DataType::Time64(from) => {
                (digits(*to) < digits(*from)).then_some(Judgement::Back)
            }
            _ => None,
        },
        _ => None,
    }
}

fn digits(unit: TimeUnit) -> usize {
    match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    }
}

/// Whether values of one type can be changed by a conversion to another, so that each must be judged.
pub(crate) fn may_lose(from: &DataType, to: &DataType) -> bool {
    judgement(from, to).is_some()
}

/// The conversion without loss: an error of ours when `strict`, else NULL.
pub(crate) fn exact_cast(to: DataType, strict: bool) -> ScalarUDF {
    ScalarUDF::new_from_impl(ExactCast {
        to,
        strict,
        signature: Signature::any(1, Volatility::Immutable),
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ExactCast {
    to: DataType,
    strict: bool,
    signature: Signature,
}

impl ScalarUDFImpl for ExactCast {
    fn name(&self) -> &str {
        if self.strict {
            "exact_cast"
        } else {
            "try_exact_cast"
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.to.clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let nullable = !self.strict || args.arg_fields[0].is_nullable();
        Ok(Arc::new(Field::new(self.name(), self.to.clone(), nullable)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let values = args.args[0].to_array(args.number_rows)?;
        let converted = exactly(&values, &self.to)?;
        if self.strict && converted.logical_null_count() > values.logical_null_count() {
            return Err(outward(misfit(values.data_type(), &self.to)));
        }
        Ok(ColumnarValue::Array(converted))
    }
}

fn misfit(from: &DataType, to: &DataType) -> Error {
    let (from, to) = (render_type(from), render_type(to));
    Error::new(Code::E0404, format!("a value cannot be converted from {from} to {to}"))
        .with_detail("It does not fit, or it would be rounded or cut.")
        .with_hint(
            "`on_error: null` or `on_error: quarantine` keeps going; `round(x, n)` in a `map` before rounds on purpose",
        )
}

/// The values converted, NULL where they do not convert or would change.
pub(crate) fn exactly(values: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    let converted = cast(values, to)?;
    let kept: BooleanArray = match judgement(values.data_type(), to) {
        None => return Ok(converted),
        Some(Judgement::Back) if values.data_type().is_floating() => {
            near(values, &cast(&converted, &DataType::Float64)?, 0.0)?
        }
        Some(Judgement::Back) => eq(&cast(&converted, values.data_type())?, values)?,
        Some(Judgement::Near) => {
            let last_digits = match values.data_type() {
                DataType::Float64 => 4.0 * f64::EPSILON,
                DataType::Float32 => 4.0 * f64::from(f32::EPSILON),
                _ => 4e-3,
            };
            near(values, &cast(&converted, &DataType::Float64)?, last_digits)?
        }
        Some(Judgement::Finite) => finite(values, &cast(&converted, &DataType::Float64)?)?,
        Some(Judgement::Places(places)) => texts(values, |text| fits_places(text, places))?,
        Some(Judgement::Digits(digits)) => texts(values, |text| fits_digits(text, digits))?,
    };
    let lost: BooleanArray = kept.iter().map(|kept| Some(kept != Some(true))).collect();
    Ok(nullif(&converted, &lost)?)
}

/// Whether floats are the same but for a part of themselves.
fn near(values: &ArrayRef, back: &ArrayRef, part: f64) -> Result<BooleanArray> {
    let values = cast(values, &DataType::Float64)?;
    let pairs = values
        .as_primitive::<Float64Type>()
        .iter()
        .zip(back.as_primitive::<Float64Type>().iter());
    Ok(pairs
        .map(|(value, back)| Some((value? - back?).abs() <= part * value?.abs()))
        .collect())
}

/// Whether an infinity was one before.
fn finite(values: &ArrayRef, converted: &ArrayRef) -> Result<BooleanArray> {
    let converted = converted.as_primitive::<Float64Type>();
    if !converted.iter().flatten().any(f64::is_infinite) {
        return Ok(BooleanArray::from(vec![true; values.len()]));
    }
    let words = cast(values, &DataType::Utf8View)?;
    let words = as_string_view_array(&words)?.iter();
    Ok(words
        .zip(converted.iter())
        .map(|(word, converted)| Some(!converted?.is_infinite() || word?.to_lowercase().contains("inf")))
        .collect())
}

fn texts(values: &ArrayRef, fits: impl Fn(&str) -> bool) -> Result<BooleanArray> {
    let words = cast(values, &DataType::Utf8View)?;
    let words = as_string_view_array(&words)?;
    Ok(words.iter().map(|word| word.map(&fits)).collect())
}

/// Whether a decimal number written as text needs at most so many places. Other text is left to the cast.
fn fits_places(text: &str, places: i64) -> bool {
    let (number, exponent) = match text.trim().split_once(['e', 'E']) {
        Some((number, exponent)) => match exponent.parse::<i64>() {
            Ok(exponent) => (number, exponent),
            Err(_) => return true,
        },
        None => (text.trim(), 0),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits: String = whole.trim_start_matches(['+', '-']).to_owned() + fraction;
    let significant = digits.trim_end_matches('0');
    if significant.is_empty() {
        return true;
    }
    let zeros = (digits.len() - significant.len()) as i64;
    fraction.len() as i64 - exponent - zeros <= places
}

/// Whether the fraction of the second has at most so many digits.
fn fits_digits(text: &str, digits: usize) -> bool {
    let Some((_, rest)) = text.rsplit_once('.') else {
        return true;
    };
    let mut beyond = rest.bytes().take_while(u8::is_ascii_digit).skip(digits);
    beyond.all(|digit| digit == b'0')
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Decimal128Array, Float64Array, Int64Array, StringViewArray};

    use super::*;

    fn nulls(values: ArrayRef, to: &DataType) -> Vec<bool> {
        let converted = exactly(&values, to).expect("converts");
        (0..converted.len()).map(|i| converted.is_null(i)).collect()
    }

    #[test]
    fn what_would_change_does_not_convert() {
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![1.0, 1.9, 9.3e18, f64::NAN, -0.0]));
        assert_eq!(nulls(floats, &DataType::Int64), [false, true, true, true, false]);
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![0.1, 12.345, 1_234_567_890.12, 1e300]));
        assert_eq!(
            nulls(floats, &DataType::Decimal128(20, 2)),
            [false, true, false, true]
        );
        let whole: ArrayRef = Arc::new(Int64Array::from(vec![1 << 53, (1 << 53) + 1, i64::MAX]));
        assert_eq!(nulls(whole, &DataType::Float64), [false, true, true]);
        let decimals = Decimal128Array::from(vec![1200, 1234, 1999]);
        let decimals: ArrayRef = Arc::new(decimals.with_precision_and_scale(10, 3).expect("fits"));
        assert_eq!(
            nulls(Arc::clone(&decimals), &DataType::Decimal128(10, 2)),
            [false, true, true]
        );
        assert_eq!(nulls(decimals, &DataType::Int32), [true, true, true]);
    }

    #[test]
    fn text_is_looked_at() {
        let text = |values: Vec<&str>| -> ArrayRef { Arc::new(StringViewArray::from(values)) };
        let numbers = text(vec!["12.34", "12.345", "12.3400", "15e0", "1.25e-1", "x"]);
        assert_eq!(
            nulls(numbers, &DataType::Decimal128(10, 2)),
            [false, true, false, true, true, true],
            "exponents do not convert at all"
        );
        let numbers = text(vec!["1", "1.9", "1.0"]);
        assert_eq!(nulls(numbers, &DataType::Int64)[..2], [false, true]);
        let times = text(vec![
            "2020-01-01 00:00:00.123456789",
            "2020-01-01 00:00:00.123456",
        ]);
        let micro = DataType::Timestamp(TimeUnit::Microsecond, None);
        assert_eq!(nulls(times, &micro), [true, false]);
        let floats = text(vec!["1e400", "inf", "1e300"]);
        assert_eq!(nulls(floats, &DataType::Float64), [true, false, false]);
    }
}
