//! Numbers as they are written: which types give a text back character by character.
//!
//! A double keeps the number but not how it was written: `1.10` and `1.1`, `1` and `1.0`, `1E5` and `100000` are one
//! double each. So text is read as a double only where it has the fewest digits that say the number, and where a choice
//! remains (`Ways`) a column makes one: then no two texts of a column are one double. Decimals keep the number of
//! places. Kinds of cells are decided in `infer`.

use std::sync::atomic::{AtomicU16, Ordering};

/// A number as it is written, without superfluous signs and zeros in front.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Number {
    /// Digits before the point.
    pub(crate) whole: usize,
    /// Digits after the point.
    pub(crate) places: usize,
    /// Significant digits.
    pub(crate) digits: usize,
    /// Whether it has an exponent.
    pub(crate) exponent: bool,
    /// Whether a minus stands in front.
    negative: bool,
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
        let (mut at, mut places, mut exponent) = (whole, 0, false);
        if unsigned.get(at) == Some(&b'.') {
            places = run(at + 1);
            if places == 0 {
                return None;
            }
            at += 1 + places;
        }
        let mantissa = &unsigned[..at];
        if matches!(unsigned.get(at), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(unsigned.get(at + 1), Some(b'+' | b'-')));
            let digits = run((at + 1 + sign).min(unsigned.len()));
            if digits == 0 {
                return None;
            }
            (at, exponent) = (at + 1 + sign + digits, true);
        }
        let negative = unsigned.len() < bytes.len();
        if at != unsigned.len() || (negative && unsigned == b"0") {
            return None;
        }
        let leading = mantissa.iter().take_while(|b| matches!(b, b'0' | b'.')).count();
        let digits = mantissa[leading..].iter().filter(|b| **b != b'.').count();
        Some(Number {
            whole,
            places,
            digits,
            exponent,
            negative,
        })
    }

    /// Whether it is digits only.
    pub(crate) fn is_plain(&self) -> bool {
        self.places == 0 && !self.exponent
    }

    /// Whether a decimal with as many places is printed as the text is: it has neither exponents nor a negative zero.
    pub(crate) fn is_decimal(&self) -> bool {
        let negative_zero = self.negative && self.digits == 0;
        !self.exponent && !negative_zero
    }
}

/// Ways to write doubles that a column has used. Where there are two for a double, the column may use one.
///
/// Some writers begin to use exponents where plain numbers get too long (`1e16`), some where they are longer (`1e3`), so
/// numbers are told apart by whether they are far from one and whether the exponent makes them shorter: with and without
/// exponent may stand side by side, but not within one of these four ranges.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Ways(u16);

impl Ways {
    /// `5`, not `5.0`.
    const BARE: Ways = Ways(1);
    /// `5.0`, not `5`.
    const POINTED: Ways = Ways(2);
    /// `1e5` and `1e-5`.
    const TERSE: Ways = Ways(4);
    /// `1e+05` and `1e-05`.
    const PADDED: Ways = Ways(8);
    /// Numbers without exponent, a bit for each range.
    const PLAIN: u32 = 4;
    /// Numbers with exponent, a bit for each range.
    const EXPONENT: u32 = 8;

    /// A number of so many significant digits whose first one stands for this power of ten.
    fn of(kind: u32, digits: usize, power: i64) -> Ways {
        let far = !(-4..16).contains(&power);
        let size = power.unsigned_abs();
        let digits = digits as u64;
        let plain = match power {
            ..0 => digits + 1 + size,
            _ => (size + 1).max(if digits > size + 1 { digits + 1 } else { 0 }),
        };
        let exponent = u64::from(size.checked_ilog10().unwrap_or(0)) + 1 + u64::from(power < 0);
        let terse = digits + u64::from(digits > 1) + 1 + exponent;
        Ways(1 << (kind + 2 * u32::from(far) + u32::from(terse < plain)))
    }

    /// Both.
    pub(crate) fn and(self, other: Ways) -> Ways {
        Ways(self.0 | other.0)
    }

    /// Whether two texts may be one double.
    pub(crate) fn clash(self) -> bool {
        let ranges = (self.0 >> Self::PLAIN) & (self.0 >> Self::EXPONENT) & 15;
        self.0 & 3 == 3 || self.0 & 12 == 12 || ranges != 0
    }

    /// Whether there is nothing but exponents, which a double would not print: rather names such as `1e5` than numbers.
    fn may_be_names(self) -> bool {
        (self.0 >> Self::EXPONENT) & 3 != 0 && (self.0 >> Self::PLAIN) & 15 == 0
    }
}

/// The ways of a column that several readers read at the same time.
#[derive(Debug, Default)]
pub(crate) struct SharedWays(AtomicU16);

impl SharedWays {
    /// Adds ways; `false` when they clash with those before, of whichever reader.
    pub(crate) fn take(&self, ways: Ways) -> bool {
        let before = self.0.load(Ordering::Relaxed);
        if before | ways.0 == before {
            return !Ways(before).clash();
        }
        let before = self.0.fetch_or(ways.0, Ordering::Relaxed);
        !Ways(before).and(ways).clash()
    }
}

/// The double that a text says with the fewest digits, and the ways it is written in; `None` when there is none.
pub(crate) fn double_as_written(text: &str) -> Option<(f64, Ways)> {
    let Some(number) = Number::scan(text.as_bytes()) else {
        return match text {
            "NaN" => Some((f64::NAN, Ways::default())),
            "inf" => Some((f64::INFINITY, Ways::default())),
            "-inf" => Some((f64::NEG_INFINITY, Ways::default())),
            _ => None,
        };
    };
    let ways = if number.exponent {
        with_exponent(text, &number)?
    } else {
        without_exponent(text, &number)?
    };
    if !is_exact_double(text, &number) {
        return None;
    }
    Some((text.parse().ok()?, ways))
}

/// `39.02`, `5`, `5.0`: no zeros at the end but for the one place of a whole number.
fn without_exponent(text: &str, number: &Number) -> Option<Ways> {
    let zeros = text.bytes().rev().take_while(|b| *b == b'0').count();
    let whole = number.whole as i64;
    match number.places {
        _ if number.digits == 0 && number.places <= 1 => Some(match number.places {
            0 => Ways::BARE.and(Ways::of(Ways::PLAIN, 1, 0)),
            _ => Ways::POINTED.and(Ways::of(Ways::PLAIN, 1, 0)),
        }),
        0 => Some(Ways::BARE.and(Ways::of(Ways::PLAIN, number.digits - zeros, whole - 1))),
        1 if zeros > 0 => {
            let digits = text.trim_start_matches('-').len() - 2;
            let trailing = text
                .trim_end_matches(".0")
                .bytes()
                .rev()
                .take_while(|b| *b == b'0');
            Some(Ways::POINTED.and(Ways::of(Ways::PLAIN, digits - trailing.count(), whole - 1)))
        }
        _ if zeros > 0 => None,
        places if number.digits <= places => {
            let power = number.digits as i64 - 1 - places as i64;
            Some(Ways::of(Ways::PLAIN, number.digits, power))
        }
        _ => Some(Ways::of(Ways::PLAIN, number.digits, whole - 1)),
    }
}

/// `1e3`, `1.5e-07`: one digit that is not zero before the point, no zero at the end, the exponent in a usual form.
fn with_exponent(text: &str, number: &Number) -> Option<Ways> {
    let (mantissa, exponent) = text.split_once('e')?;
    let mantissa = mantissa.trim_start_matches('-');
    if number.whole != 1 || mantissa.starts_with('0') || (number.places > 0 && mantissa.ends_with('0')) {
        return None;
    }
    let digits = exponent.trim_start_matches(['+', '-']).as_bytes();
    let style = match (exponent.as_bytes().first()?, digits) {
        (b'+', [_, _]) | (b'-', [b'0', _]) => Ways::PADDED,
        (b'+', [b'1'..=b'9', _, _, ..]) => Ways::PADDED,
        (b'+', _) => return None,
        (b'-', [b'1'..=b'9', _, ..]) => Ways::default(),
        (_, [b'0'] | [b'1'..=b'9', ..]) => Ways::TERSE,
        _ => return None,
    };
    let power: i64 = exponent.parse().ok()?;
    Some(style.and(Ways::of(Ways::EXPONENT, number.digits, power)))
}

/// Whether a double holds the number exactly as written, whatever the text of it looks like.
pub(crate) fn is_exact_double(text: &str, number: &Number) -> bool {
    let Ok(value) = text.parse::<f64>() else {
        return false;
    };
    if value == 0.0 {
        return number.digits == 0;
    }
    (value.is_normal() && number.digits <= 15) || decimal_form(text) == decimal_form(&format!("{value:e}"))
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

/// What the numbers of a column have been.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Numbers {
    ways: Ways,
    /// One is not what a double is written as.
    unwritten: bool,
    /// One is another number as a double.
    unequal: bool,
    /// One has an exponent or is a negative zero.
    undecimal: bool,
    /// Most digits before the point.
    whole: usize,
    /// Fewest and most places.
    places: Option<(usize, usize)>,
}

impl Numbers {
    /// Takes a number into account.
    pub(crate) fn add(&mut self, text: &str, number: &Number) {
        match double_as_written(text) {
            Some((_, ways)) => self.ways = self.ways.and(ways),
            None => {
                self.unwritten = true;
                self.unequal |= !is_exact_double(text, number);
            }
        }
        self.undecimal |= !number.is_decimal();
        self.whole = self.whole.max(number.whole);
        self.spread(Some((number.places, number.places)));
    }

    fn spread(&mut self, more: Option<(usize, usize)>) {
        self.places = match (self.places, more) {
            (Some((low, high)), Some((least, most))) => Some((low.min(least), high.max(most))),
            (known, more) => known.or(more),
        };
    }

    /// Adds the numbers of other cells.
    pub(crate) fn join(&mut self, other: &Numbers) {
        self.ways = self.ways.and(other.ways);
        self.unwritten |= other.unwritten;
        self.unequal |= other.unequal;
        self.undecimal |= other.undecimal;
        self.whole = self.whole.max(other.whole);
        self.spread(other.places);
    }

    /// Whether doubles give every text back.
    pub(crate) fn are_written_doubles(&self) -> bool {
        !self.unwritten && !self.ways.clash() && !self.ways.may_be_names()
    }

    /// Whether doubles are the same numbers, however they were written.
    pub(crate) fn are_equal_doubles(&self) -> bool {
        !self.unequal
    }

    /// The places that every number has, when decimals of 38 digits give every text back.
    pub(crate) fn common_places(&self) -> Option<i8> {
        let (least, most) = self.places?;
        let fits = least == most && !self.undecimal && self.whole + most <= 38;
        i8::try_from(most).ok().filter(|_| fits)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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

    #[test]
    fn a_double_is_read_only_from_its_fewest_digits() {
        for text in [
            "0.1", "-0.5", "39.02", "1012", "5.0", "0", "-0.0", "1e300", "1e-5", "1.5e-07", "1e+16",
            "5e-324", "1e3", "0.00001", "100.0", "10.5", "NaN",
        ] {
            assert!(double_as_written(text).is_some(), "{text}");
        }
        for text in [
            "1.10",
            "1E5",
            "10e5",
            "1.0e5",
            "0e5",
            "1e05",
            "1e+5",
            "1.00",
            "0.00",
            "0.30000000000000001",
            "9007199254740993",
            "1e400",
            "-0",
            "+1",
            "007",
        ] {
            assert!(double_as_written(text).is_none(), "{text}");
        }
    }

    #[test]
    fn ways_that_clash_are_told_by_the_value_alone() {
        let ways = |text: &str| double_as_written(text).expect(text).1;
        for value in [
            1e-5f64, 1.5e-4, 1e-4, 0.5, 0.25, 0.001, 1.0, 12.0, 100.0, 1000.0, 1012.0, 2e5, 123_456.5, 1e15,
            1e16, 1.5e20,
        ] {
            let plain = format!("{value}");
            let terse = format!("{value:e}");
            assert!(ways(&plain).and(ways(&terse)).clash(), "{plain} {terse}");
            if value.fract() == 0.0 {
                assert!(ways(&plain).and(ways(&format!("{plain}.0"))).clash(), "{plain}");
                assert!(ways(&format!("{plain}.0")).and(ways(&terse)).clash(), "{plain}");
            }
            assert!(!ways("2.5").and(ways(&format!("{value:?}"))).clash(), "{value:?}");
        }
        assert!(!ways("1012").and(ways("1e3")).clash() && ways("2000").and(ways("1e3")).clash());
        assert!(ways("1e5").and(ways("1e-05")).clash());
    }

    proptest! {
        #[test]
        fn two_texts_that_do_not_clash_are_two_doubles(
            left in "-?[0-9]{1,3}(\\.[0-9]{1,4})?(e-?[0-9])?", right in "-?[0-9]{1,3}(\\.[0-9]{1,4})?(e-?[0-9])?",
        ) {
            if let (Some((a, one)), Some((b, other))) = (double_as_written(&left), double_as_written(&right))
                && left != right && !one.and(other).clash()
            {
                prop_assert_ne!(a.to_bits(), b.to_bits(), "{} {}", left, right);
            }
        }
    }
}
