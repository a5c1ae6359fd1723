//! Recognises the type of a column from its cells without ever losing information.
//!
//! A type is chosen only when every cell seen is that type *and* can be printed back: `007` stays text, integers
//! beyond 64 bits become decimals, a number becomes a double only if the double says the same number. What is mixed
//! is text. JSON and partition folders use the same rules.

use arrow::datatypes::{DataType, TimeUnit};
use synqx_sdk::text::{parse_date, parse_timestamp};

/// What one text can be, narrowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `true` or `false`.
    Boolean,
    /// A whole number of 64 bits.
    Integer,
    /// A whole number of up to 38 digits.
    Wide,
    /// A number that a double holds exactly as written.
    Double,
    /// A number that a double would change.
    Inexact,
    /// An ISO date.
    Date,
    /// An ISO date and clock without an offset.
    Timestamp,
    /// An ISO date and clock with an offset.
    Instant,
    /// Anything else.
    Text,
}

/// The narrowest kind of a text.
pub(crate) fn kind_of(text: &str) -> Kind {
    let bytes = text.as_bytes();
    match bytes.first() {
        None => Kind::Text,
        Some(b't' | b'T' | b'f' | b'F') => match text {
            "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => Kind::Boolean,
            _ => Kind::Text,
        },
        Some(b'-' | b'.' | b'0'..=b'9') => number_or_date(text),
        Some(_) => Kind::Text,
    }
}

fn number_or_date(text: &str) -> Kind {
    if let Some(number) = Number::scan(text.as_bytes()) {
        return if number.plain {
            if parse_integer(text.as_bytes()).is_some() {
                Kind::Integer
            } else if number.digits <= 38 {
                Kind::Wide
            } else {
                Kind::Inexact
            }
        } else if is_exact_double(text, &number) {
            Kind::Double
        } else {
            Kind::Inexact
        };
    }
    if text.len() == 10 {
        return if parse_date(text).is_some() {
            Kind::Date
        } else {
            Kind::Text
        };
    }
    match parse_timestamp(text) {
        Some(read) if read.offset.is_some() => Kind::Instant,
        Some(_) => Kind::Timestamp,
        None => Kind::Text,
    }
}

/// A number as it is written, without superfluous signs and zeros.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Number {
    /// Digits only.
    plain: bool,
    /// Significant digits.
    digits: usize,
}

impl Number {
    /// Reads `-?(0|[1-9][0-9]*)(.[0-9]+)?([eE][+-]?[0-9]+)?`; `-0` is none, because an integer would lose the sign.
    pub(crate) fn scan(bytes: &[u8]) -> Option<Number> {
        let unsigned = bytes.strip_prefix(b"-").unwrap_or(bytes);
        let run = |from: usize| unsigned[from..].iter().take_while(|b| b.is_ascii_digit()).count();
        let whole = run(0);
        if whole == 0 || (whole > 1 && unsigned[0] == b'0') {
            return None;
        }
        let (mut at, mut plain, mut part) = (whole, true, 0);
        if unsigned.get(at) == Some(&b'.') {
            part = run(at + 1);
            if part == 0 {
                return None;
            }
            (at, plain) = (at + 1 + part, false);
        }
        if matches!(unsigned.get(at), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(unsigned.get(at + 1), Some(b'+' | b'-')));
            let exponent = run((at + 1 + sign).min(unsigned.len()));
            if exponent == 0 {
                return None;
            }
            (at, plain) = (at + 1 + sign + exponent, false);
        }
        if at != unsigned.len() || (plain && unsigned.len() < bytes.len() && unsigned == b"0") {
            return None;
        }
        let mantissa = &unsigned[..whole + if part > 0 { part + 1 } else { 0 }];
        let leading = mantissa.iter().take_while(|b| matches!(b, b'0' | b'.')).count();
        let digits = mantissa[leading..].iter().filter(|b| **b != b'.').count();
        Some(Number { plain, digits })
    }
}

/// Whether a double holds the number exactly as written.
pub(crate) fn is_exact_double(text: &str, number: &Number) -> bool {
    let Ok(value) = text.parse::<f64>() else {
        return false;
    };
    if value == 0.0 {
        return number.digits == 0;
    }
    if !value.is_normal() {
        return false;
    }
    number.digits <= 15 || decimal_form(text) == decimal_form(&format!("{value:e}"))
}

/// Significant digits without outer zeros, and the power of ten of the last one.
fn decimal_form(text: &str) -> Option<(String, i64)> {
    let unsigned = text.trim_start_matches('-');
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let exponent: i64 = exponent.parse().ok()?;
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{part}");
    let kept = digits.trim_end_matches('0');
    let power = exponent - part.len() as i64 + (digits.len() - kept.len()) as i64;
    Some((kept.trim_start_matches('0').to_owned(), power))
}

/// A whole number of 64 bits, written without superfluous zeros or signs.
#[inline]
pub(crate) fn parse_integer(bytes: &[u8]) -> Option<i64> {
    let (negative, digits) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, bytes),
    };
    match digits {
        [] => return None,
        [b'0'] => return (!negative).then_some(0),
        [b'0', ..] => return None,
        _ => {}
    }
    if digits.len() > 19 {
        return None;
    }
    let mut value: u64 = 0;
    for digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        // 19 digits are below 2^64.
        value = value * 10 + u64::from(digit);
    }
    if negative {
        0i64.checked_sub_unsigned(value)
    } else {
        i64::try_from(value).ok()
    }
}

/// What the cells of a column have been so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Evidence {
    seen: [bool; 9],
    /// Cells that were NULL.
    pub(crate) nulls: u64,
    /// An integer has too many digits for a double.
    long_integer: bool,
}

impl Evidence {
    /// Counts a NULL.
    pub(crate) fn null(&mut self) {
        self.nulls += 1;
    }

    /// Takes a text into account.
    pub(crate) fn text(&mut self, text: &str) {
        if self.seen[Kind::Text as usize] {
            return;
        }
        let kind = kind_of(text);
        if kind == Kind::Integer && text.len() > 15 {
            let digits = Number::scan(text.as_bytes());
            self.long_integer |= digits.is_some_and(|number| !is_exact_double(text, &number));
        }
        self.seen[kind as usize] = true;
    }

    /// Adds what other cells of the column have been.
    pub(crate) fn join(&mut self, other: &Evidence) {
        for (seen, more) in self.seen.iter_mut().zip(other.seen) {
            *seen |= more;
        }
        self.nulls += other.nulls;
        self.long_integer |= other.long_integer;
    }

    /// The type, and what a person should know about it.
    pub(crate) fn decide(&self) -> (DataType, Option<&'static str>) {
        let has = |kind: Kind| self.seen[kind as usize];
        let only = |kinds: &[Kind]| (0..9).all(|i| !self.seen[i] || kinds.iter().any(|k| *k as usize == i));
        if !self.seen.contains(&true) {
            return (DataType::Utf8View, None);
        }
        if only(&[Kind::Boolean]) {
            return (DataType::Boolean, None);
        }
        if only(&[Kind::Integer]) {
            return (DataType::Int64, None);
        }
        if only(&[Kind::Integer, Kind::Wide]) {
            return (DataType::Decimal128(38, 0), None);
        }
        if only(&[Kind::Integer, Kind::Double]) && !self.long_integer {
            return (DataType::Float64, None);
        }
        if only(&[Kind::Integer, Kind::Wide, Kind::Double, Kind::Inexact]) {
            return (
                DataType::Utf8View,
                Some(
                    "holds numbers that a double would change, so it stays text; declare `decimal(p,s)` or `double`",
                ),
            );
        }
        if only(&[Kind::Date]) {
            return (DataType::Date32, None);
        }
        if only(&[Kind::Timestamp]) {
            return (DataType::Timestamp(TimeUnit::Microsecond, None), None);
        }
        if only(&[Kind::Instant]) {
            return (
                DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
                None,
            );
        }
        let mixed = !has(Kind::Text);
        (
            DataType::Utf8View,
            mixed.then_some("holds values of several types, so it stays text"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(texts: &[&str]) -> DataType {
        let mut evidence = Evidence::default();
        texts.iter().for_each(|text| evidence.text(text));
        evidence.decide().0
    }

    #[test]
    fn never_chooses_a_type_that_loses() {
        let text = DataType::Utf8View;
        assert_eq!(decided(&["1", "-20", "0"]), DataType::Int64);
        assert_eq!(decided(&["007", "1"]), text);
        assert_eq!(decided(&["+1"]), text);
        assert_eq!(decided(&["-0"]), text);
        assert_eq!(
            decided(&["9223372036854775808", "1"]),
            DataType::Decimal128(38, 0)
        );
        assert_eq!(decided(&[&"9".repeat(39)]), text);
        assert_eq!(decided(&["1e5", "2.50", "3"]), DataType::Float64);
        assert_eq!(decided(&["10.357019999999999"]), DataType::Float64);
        assert_eq!(decided(&["10.3570199999999991234"]), text);
        assert_eq!(decided(&["1e400"]), text);
        assert_eq!(decided(&["1.5", "9007199254740993"]), text);
        assert_eq!(decided(&["00.5"]), text);
        assert_eq!(decided(&["NaN"]), text);
        assert_eq!(decided(&["true", "false"]), DataType::Boolean);
        assert_eq!(decided(&["true", "1"]), text);
        assert_eq!(decided(&["2013-01-01"]), DataType::Date32);
        assert_eq!(decided(&["2013-01-01", "2013-02-30"]), text);
        assert_eq!(
            decided(&["2013-01-01T05:00:00Z"]),
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
        );
        assert_eq!(
            decided(&["2013-01-01 05:00:00"]),
            DataType::Timestamp(TimeUnit::Microsecond, None)
        );
        assert_eq!(decided(&["2013-01-01 05:00:00", "2013-01-01 05:00:00Z"]), text);
        assert_eq!(decided(&[]), text);
    }

    #[test]
    fn integers_end_at_64_bits() {
        assert_eq!(parse_integer(b"9223372036854775807"), Some(i64::MAX));
        assert_eq!(parse_integer(b"-9223372036854775808"), Some(i64::MIN));
        for wrong in [
            "9223372036854775808",
            "-9223372036854775809",
            "",
            "-",
            "01",
            "1a",
            "99999999999999999999",
        ] {
            assert_eq!(parse_integer(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
