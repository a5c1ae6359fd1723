//! Checks of a whole table: what is measured while rows pass, and whether it lies within its bounds.
//!
//! One pass, a few numbers of memory. Integers and decimals are summed and compared exactly, floats as floats; a NaN
//! is within no bounds. What was measured is for `run.json` only, because the greatest value of a table is a value of
//! a row.

use std::cmp::Ordering;
use std::sync::Mutex;

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{
    DataType, Decimal128Type, Float64Type, TimeUnit, TimestampMillisecondType,
};
use datafusion::error::{DataFusionError, Result};
use synqx_model::spec::OnEmpty;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Measure {
    /// Rows.
    Rows,
    /// NULLs among the rows.
    Nulls,
    /// Milliseconds between the newest time and the start of the run.
    Age,
    /// The mean of the values.
    Mean,
    /// The smallest value.
    Minimum,
    /// The greatest value.
    Maximum,
    /// The sum of the values.
    Sum,
}

/// A decimal number: `digits / 10^scale`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Number {
    digits: i128,
    scale: u32,
}

impl Number {
    /// Reads a decimal number with at most 38 digits.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (number, exponent) = match text.trim().split_once(['e', 'E']) {
            Some((number, exponent)) => (number, exponent.parse::<i32>().ok()?),
            None => (text.trim(), 0),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let bare = whole.trim_start_matches(['+', '-']);
        let is_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        if whole.len() - bare.len() > 1
            || (bare.len() + fraction.len()) == 0
            || !is_digits(bare)
            || !is_digits(fraction)
        {
            return None;
        }
        let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
        let scale = i32::try_from(fraction.len()).ok()?.checked_sub(exponent)?;
        match u32::try_from(scale) {
            Ok(scale) if scale <= 38 => Some(Number { digits, scale }),
            Ok(_) => None,
            Err(_) => Some(Number {
                digits: digits.checked_mul(10i128.checked_pow(scale.unsigned_abs())?)?,
                scale: 0,
            }),
        }
    }

    /// So many whole ones.
    pub(crate) fn whole(digits: i128) -> Self {
        Number { digits, scale: 0 }
    }

    /// Its digits, without the point.
    pub(crate) fn digits(self) -> i128 {
        self.digits
    }

    /// Digits behind the point.
    pub(crate) fn scale(self) -> u32 {
        self.scale
    }

    fn float(self) -> f64 {
        self.digits as f64 / 10f64.powi(self.scale as i32)
    }

    fn times(self, count: i128) -> Option<Self> {
        Some(Number {
            digits: self.digits.checked_mul(count)?,
            ..self
        })
    }

    /// Exact where both fit the same scale, else as floats.
    fn compare(self, other: Number) -> Option<Ordering> {
        let scale = self.scale.max(other.scale);
        let raised = |n: Number| n.digits.checked_mul(10i128.checked_pow(scale - n.scale)?);
        match (raised(self), raised(other)) {
            (Some(left), Some(right)) => Some(left.cmp(&right)),
            _ => self.float().partial_cmp(&other.float()),
        }
    }
}

/// What a measure may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) min: Option<Number>,
    pub(crate) max: Option<Number>,
    pub(crate) exclusive_min: bool,
    pub(crate) exclusive_max: bool,
}

impl Bounds {
    /// Whether a value lies within, given how it compares with a bound.
    fn hold(&self, compare: impl Fn(Number) -> Option<Ordering>) -> bool {
        let above = self.min.is_none_or(|min| match compare(min) {
            Some(Ordering::Greater) => true,
            Some(Ordering::Equal) => !self.exclusive_min,
            _ => false,
        });
        above
            && self.max.is_none_or(|max| match compare(max) {
                Some(Ordering::Less) => true,
                Some(Ordering::Equal) => !self.exclusive_max,
                _ => false,
            })
    }
}

/// A measure of one check.
#[derive(Debug)]
pub(crate) struct Gauge {
    measure: Measure,
    bounds: Bounds,
    on_empty: OnEmpty,
    /// Unix milliseconds of the run's start.
    started_ms: i64,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    rows: u64,
    values: u64,
    tally: Option<Tally>,
}

#[derive(Debug, Clone, Copy)]
enum Tally {
    Exact {
        scale: u32,
        sum: i128,
        min: i128,
        max: i128,
    },
    Float {
        sum: f64,
        lost: f64,
        min: f64,
        max: f64,
    },
}

/// How a measure compares with its bounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Reading {
    /// Within.
    Holds(f64),
    /// Outside.
    Violated(f64),
    /// There was nothing to measure.
    Empty(OnEmpty),
}

impl Gauge {
    pub(crate) fn new(measure: Measure, bounds: Bounds, on_empty: OnEmpty, started_ms: i64) -> Self {
        Gauge {
            measure,
            bounds,
            on_empty,
            started_ms,
            seen: Mutex::default(),
        }
    }

    /// Whether what is measured can be shown: a count or an age, never what may be a value of a row.
    pub(crate) fn is_count(&self) -> bool {
        matches!(self.measure, Measure::Rows | Measure::Nulls | Measure::Age)
    }

    /// Looks at a batch. Errors: a sum of more than 38 digits.
    pub(crate) fn see(&self, values: &ArrayRef) -> Result<()> {
        let tally = match self.measure {
            Measure::Rows | Measure::Nulls => None,
            Measure::Age => newest(values)?,
            _ => tally(values)?,
        };
        let mut seen = self
            .seen
            .lock()
            .map_err(|_| DataFusionError::Internal("a gauge was poisoned".into()))?;
        seen.rows += values.len() as u64;
        seen.values += (values.len() - values.logical_null_count()) as u64;
        seen.tally = match (seen.tally, tally) {
            (Some(left), Some(right)) => Some(left.and(right)?),
            (left, right) => left.or(right),
        };
        Ok(())
    }

    /// What was measured, once every row was seen.
    pub(crate) fn reading(&self) -> Reading {
        let Ok(seen) = self.seen.lock() else {
            return Reading::Violated(f64::NAN);
        };
        let fraction = |sum: Number, count: u64| {
            let count = i128::from(count);
            let holds = self.bounds.hold(|bound| match bound.times(count) {
                Some(bound) => sum.compare(bound),
                None => (sum.float() / count as f64).partial_cmp(&bound.float()),
            });
            self.judged(holds, sum.float() / count as f64)
        };
        match (self.measure, seen.tally) {
            (Measure::Rows, _) => fraction(Number::whole(i128::from(seen.rows)), 1),
            (Measure::Nulls, _) if seen.rows > 0 => {
                fraction(Number::whole(i128::from(seen.rows - seen.values)), seen.rows)
            }
            (Measure::Nulls, _) | (_, None) => Reading::Empty(self.on_empty),
            (Measure::Age, Some(tally)) => {
                fraction(Number::whole(i128::from(self.started_ms) - tally.greatest()), 1)
            }
            (measure, Some(Tally::Exact { scale, sum, min, max })) => {
                let (digits, count) = match measure {
                    Measure::Mean => (sum, seen.values),
                    Measure::Minimum => (min, 1),
                    Measure::Maximum => (max, 1),
                    _ => (sum, 1),
                };
                fraction(Number { digits, scale }, count)
            }
            (measure, Some(Tally::Float { sum, lost, min, max })) => {
                let value = match measure {
                    Measure::Mean => (sum + lost) / seen.values as f64,
                    Measure::Minimum => min,
                    Measure::Maximum => max,
                    _ => sum + lost,
                };
                let holds = !value.is_nan() && self.bounds.hold(|bound| value.partial_cmp(&bound.float()));
                self.judged(holds, value)
            }
        }
    }

    fn judged(&self, holds: bool, value: f64) -> Reading {
        if holds {
            Reading::Holds(value)
        } else {
            Reading::Violated(value)
        }
    }
}

impl Tally {
    fn greatest(self) -> i128 {
        match self {
            Tally::Exact { max, .. } => max,
            Tally::Float { max, .. } => max as i128,
        }
    }

    fn and(self, other: Tally) -> Result<Tally> {
        Ok(match (self, other) {
            (
                Tally::Exact { scale, sum, min, max },
                Tally::Exact {
                    sum: sum2,
                    min: min2,
                    max: max2,
                    ..
                },
            ) => Tally::Exact {
                scale,
                sum: sum.checked_add(sum2).ok_or_else(too_large)?,
                min: min.min(min2),
                max: max.max(max2),
            },
            (
                Tally::Float { sum, lost, min, max },
                Tally::Float {
                    sum: sum2,
                    lost: lost2,
                    min: min2,
                    max: max2,
                },
            ) => {
                let (sum, error) = added(sum, sum2);
                Tally::Float {
                    sum,
                    lost: lost + lost2 + error,
                    min: least(min, min2),
                    max: -least(-max, -max2),
                }
            }
            (left, _) => left,
        })
    }
}

/// The smaller; NaN when one is.
fn least(left: f64, right: f64) -> f64 {
    if left.is_nan() || left < right {
        left
    } else {
        right
    }
}

/// A sum of floats and what rounding took from it (Neumaier).
fn added(left: f64, right: f64) -> (f64, f64) {
    let sum = left + right;
    let error = if left.abs() >= right.abs() {
        (left - sum) + right
    } else {
        (right - sum) + left
    };
    (sum, if sum.is_finite() { error } else { 0.0 })
}

fn too_large() -> DataFusionError {
    DataFusionError::Execution("a sum of a check has more than 38 digits".into())
}

fn newest(values: &ArrayRef) -> Result<Option<Tally>> {
    let zone = match values.data_type() {
        DataType::Timestamp(_, zone) => zone.clone(),
        _ => None,
    };
    let times = cast(values, &DataType::Timestamp(TimeUnit::Millisecond, zone))?;
    let newest = times
        .as_primitive::<TimestampMillisecondType>()
        .iter()
        .flatten()
        .max();
    Ok(newest.map(|at| Tally::Exact {
        scale: 0,
        sum: 0,
        min: 0,
        max: i128::from(at),
    }))
}

fn tally(values: &ArrayRef) -> Result<Option<Tally>> {
    if values.data_type().is_floating() {
        let floats = cast(values, &DataType::Float64)?;
        let mut tally: Option<Tally> = None;
        for value in floats.as_primitive::<Float64Type>().iter().flatten() {
            let one = Tally::Float {
                sum: value,
                lost: 0.0,
                min: value,
                max: value,
            };
            tally = Some(match tally {
                None => one,
                Some(tally) => tally.and(one)?,
            });
        }
        return Ok(tally);
    }
    let scale = match values.data_type() {
        DataType::Decimal32(_, s) | DataType::Decimal64(_, s) | DataType::Decimal128(_, s) => *s,
        _ => 0,
    };
    let exact = cast(values, &DataType::Decimal128(38, scale))?;
    let mut found: Option<(i128, i128, i128)> = None;
    for value in exact.as_primitive::<Decimal128Type>().iter().flatten() {
        found = Some(match found {
            None => (value, value, value),
            Some((sum, min, max)) => (
                sum.checked_add(value).ok_or_else(too_large)?,
                min.min(value),
                max.max(value),
            ),
        });
    }
    let scale = u32::try_from(scale).unwrap_or(0);
    Ok(found.map(|(sum, min, max)| Tally::Exact { scale, sum, min, max }))
}

/// Whether values of a type can be summed and compared here.
pub(crate) fn is_measurable(data_type: &DataType) -> bool {
    match data_type {
        DataType::Decimal32(_, s) | DataType::Decimal64(_, s) | DataType::Decimal128(_, s) => *s >= 0,
        DataType::Decimal256(..) => false,
        other => other.is_numeric(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{Decimal128Array, Float64Array, Int64Array};

    use super::*;

    fn gauge(measure: Measure, min: Option<&str>, max: Option<&str>) -> Gauge {
        let number = |text: &str| Number::parse(text).expect("a number");
        let bounds = Bounds {
            min: min.map(number),
            max: max.map(number),
            exclusive_min: false,
            exclusive_max: false,
        };
        Gauge::new(measure, bounds, OnEmpty::Warn, 1_000_000)
    }

    fn ints(values: &[Option<i64>]) -> ArrayRef {
        Arc::new(Int64Array::from(values.to_vec()))
    }

    #[test]
    fn sums_and_means_of_integers_are_exact() {
        let sum = gauge(
            Measure::Sum,
            Some("18446744073709551613"),
            Some("18446744073709551613"),
        );
        sum.see(&ints(&[Some(i64::MAX), None])).expect("sees");
        sum.see(&ints(&[Some(i64::MAX), Some(-1)])).expect("sees");
        assert!(matches!(sum.reading(), Reading::Holds(_)), "{:?}", sum.reading());
        let mean = gauge(Measure::Mean, None, Some("0.333"));
        mean.see(&ints(&[Some(0), Some(0), Some(1), None])).expect("sees");
        assert!(
            matches!(mean.reading(), Reading::Violated(_)),
            "a third is more than 0.333"
        );
        let cents = Decimal128Array::from(vec![10, 20])
            .with_precision_and_scale(10, 2)
            .expect("fits");
        let sum = gauge(Measure::Sum, Some("0.3"), Some("0.30"));
        sum.see(&(Arc::new(cents) as ArrayRef)).expect("sees");
        assert!(matches!(sum.reading(), Reading::Holds(_)));
    }

    #[test]
    fn nothing_to_measure_has_a_stated_result() {
        let none = ints(&[None, None]);
        for measure in [Measure::Mean, Measure::Minimum, Measure::Maximum, Measure::Sum] {
            let gauge = gauge(measure, Some("1"), None);
            gauge.see(&none).expect("sees");
            assert_eq!(gauge.reading(), Reading::Empty(OnEmpty::Warn));
        }
        let nulls = gauge(Measure::Nulls, None, Some("0.5"));
        assert_eq!(nulls.reading(), Reading::Empty(OnEmpty::Warn));
        nulls.see(&none).expect("sees");
        assert_eq!(nulls.reading(), Reading::Violated(1.0));
        assert_eq!(
            gauge(Measure::Rows, Some("1"), None).reading(),
            Reading::Violated(0.0)
        );
    }

    #[test]
    fn a_nan_is_within_no_bounds() {
        for measure in [Measure::Mean, Measure::Minimum, Measure::Maximum, Measure::Sum] {
            for values in [vec![1.0, f64::NAN, 2.0], vec![f64::NAN, 1.0], vec![1.0, f64::NAN]] {
                let gauge = gauge(measure, Some("-1e30"), Some("1e30"));
                gauge
                    .see(&(Arc::new(Float64Array::from(values)) as ArrayRef))
                    .expect("sees");
                assert!(matches!(gauge.reading(), Reading::Violated(_)), "{measure:?}");
            }
        }
    }

    #[test]
    fn numbers_are_read_exactly_or_not_at_all() {
        assert_eq!(
            Number::parse("-1.50"),
            Some(Number {
                digits: -150,
                scale: 2
            })
        );
        assert_eq!(Number::parse("2e3"), Some(Number::whole(2000)));
        assert_eq!(Number::parse("25e-1"), Some(Number { digits: 25, scale: 1 }));
        for wrong in ["", "x", "1.2.3", "--1", "+-1", "1e", "0x10"] {
            assert_eq!(Number::parse(wrong), None, "{wrong}");
        }
    }
}
