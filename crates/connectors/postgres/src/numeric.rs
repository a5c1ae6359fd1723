//! PostgreSQL's binary numeric ↔ Arrow decimals ↔ exact text.
//!
//! On the wire: four 16-bit words (digit groups, weight of the first, sign, digits after the point to show) and
//! base-10000 groups (`numeric_send`/`numeric_recv` in the server's numeric.c). No value passes through a float.

use arrow::datatypes::i256;

const POSITIVE: u16 = 0x0000;
const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xC000;
const PLUS_INFINITY: u16 = 0xD000;
const MINUS_INFINITY: u16 = 0xF000;

/// Powers of ten that an i64 holds.
const POWERS: [i64; 19] = {
    let mut powers = [1i64; 19];
    let mut i = 1;
    while i < 19 {
        powers[i] = powers[i - 1] * 10;
        i += 1;
    }
    powers
};

/// Why a numeric cannot become a decimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The bytes are not a numeric.
    Malformed,
    /// NaN or an infinity.
    NotFinite,
    /// More digits, or more places, than the decimal has.
    TooLarge,
}

/// A numeric as it came.
pub(crate) struct Wire<'a> {
    groups: &'a [u8],
    weight: i32,
    sign: u16,
    places: usize,
}

impl<'a> Wire<'a> {
    /// Reads the header and checks every length.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, Trouble> {
        let (head, groups) = bytes.split_first_chunk::<8>().ok_or(Trouble::Malformed)?;
        let word = |i: usize| u16::from_be_bytes([head[i], head[i + 1]]);
        let sign = word(4);
        let known = matches!(sign, POSITIVE | NEGATIVE | NAN | PLUS_INFINITY | MINUS_INFINITY);
        if !known || groups.len() != usize::from(word(0)) * 2 {
            return Err(Trouble::Malformed);
        }
        Ok(Wire {
            groups,
            weight: i32::from(word(2) as i16),
            sign,
            places: usize::from(word(6) & 0x3fff),
        })
    }

    fn groups(&self) -> impl Iterator<Item = i64> + '_ {
        self.groups
            .chunks_exact(2)
            .map(|g| i64::from(u16::from_be_bytes([g[0], g[1]])))
    }

    /// The unscaled value of a decimal with `scale` places and at most `precision` digits.
    pub(crate) fn decimal<T: Whole>(&self, precision: u8, scale: i8) -> Result<T, Trouble> {
        if !matches!(self.sign, POSITIVE | NEGATIVE) {
            return Err(Trouble::NotFinite);
        }
        if let Some(value) = self.short(precision, scale) {
            let value = T::of(value);
            return Ok(if self.sign == NEGATIVE {
                value.negated()
            } else {
                value
            });
        }
        let mut value = T::default();
        // The power of ten the current group counts.
        let mut power = 4 * self.weight + i32::from(scale);
        let mut last = 0;
        let mut any = false;
        for group in self.groups() {
            if group > 9999 {
                return Err(Trouble::Malformed);
            }
            if power >= 0 {
                value = value
                    .shift(4)
                    .and_then(|v| v.plus(group))
                    .ok_or(Trouble::TooLarge)?;
                last = power;
            } else {
                let cut = 10i64.pow((-power).min(4) as u32);
                if group % cut != 0 {
                    return Err(Trouble::TooLarge);
                }
                if power > -4 {
                    value = value
                        .shift((4 + power) as u32)
                        .and_then(|v| v.plus(group / cut))
                        .ok_or(Trouble::TooLarge)?;
                }
                last = 0;
            }
            any = true;
            power -= 4;
        }
        if any && last > 0 {
            let zeros = u32::try_from(last).map_err(|_| Trouble::TooLarge)?;
            value = value.shift(zeros).ok_or(Trouble::TooLarge)?;
        }
        if !value.fits(precision) {
            return Err(Trouble::TooLarge);
        }
        Ok(if self.sign == NEGATIVE {
            value.negated()
        } else {
            value
        })
    }

    /// The same without its sign, for values of at most 18 digits that need no cutting: most of what there is.
    fn short(&self, precision: u8, scale: i8) -> Option<i64> {
        let count = i32::try_from(self.groups.len() / 2).ok()?;
        // The power of ten of the last group; above it come four digits a group.
        let last = 4 * (self.weight + 1 - count) + i32::from(scale);
        if count > 4 || last < -3 || last + 4 * count > 18 {
            return None;
        }
        let mut value = 0i64;
        for group in self.groups() {
            if group > 9999 {
                return None;
            }
            value = value * 10_000 + group;
        }
        if last < 0 {
            let cut = POWERS[last.unsigned_abs() as usize];
            if value % cut != 0 {
                return None;
            }
            value /= cut;
        } else if value != 0 {
            value *= POWERS[last as usize];
        }
        (precision >= 18 || value < POWERS[usize::from(precision)]).then_some(value)
    }

    /// The value as PostgreSQL prints it.
    pub(crate) fn text(&self, out: &mut String) -> Result<(), Trouble> {
        out.clear();
        match self.sign {
            NAN => out.push_str("NaN"),
            PLUS_INFINITY => out.push_str("Infinity"),
            MINUS_INFINITY => out.push_str("-Infinity"),
            _ => {
                if self.sign == NEGATIVE {
                    out.push('-');
                }
                let groups: Vec<i64> = self.groups().collect();
                if groups.iter().any(|g| *g > 9999) {
                    return Err(Trouble::Malformed);
                }
                let group = |at: i32| -> i64 {
                    usize::try_from(self.weight - at)
                        .ok()
                        .and_then(|i| groups.get(i))
                        .copied()
                        .unwrap_or(0)
                };
                for at in (0..=self.weight.max(0)).rev() {
                    if at == self.weight.max(0) {
                        out.push_str(&group(at).to_string());
                    } else {
                        push_group(out, group(at));
                    }
                }
                if self.places > 0 {
                    out.push('.');
                    let end = out.len() + self.places;
                    for at in 1..=self.places.div_ceil(4) as i32 {
                        push_group(out, group(-at));
                    }
                    out.truncate(end);
                }
            }
        }
        Ok(())
    }
}

fn push_group(out: &mut String, group: i64) {
    for unit in [1000, 100, 10, 1] {
        out.push(char::from(b'0' + (group / unit % 10) as u8));
    }
}

/// A wide integer a decimal is stored in.
pub(crate) trait Whole: Default + Copy {
    /// A small number.
    fn of(n: i64) -> Self;
    /// Times a power of ten.
    fn shift(self, power: u32) -> Option<Self>;
    /// Plus a small number.
    fn plus(self, n: i64) -> Option<Self>;
    /// Has at most so many digits.
    fn fits(self, precision: u8) -> bool;
    /// With the other sign.
    fn negated(self) -> Self;
}

impl Whole for i128 {
    fn of(n: i64) -> Self {
        i128::from(n)
    }
    fn shift(self, power: u32) -> Option<Self> {
        if self == 0 {
            return Some(0);
        }
        self.checked_mul(10i128.checked_pow(power)?)
    }
    fn plus(self, n: i64) -> Option<Self> {
        self.checked_add(i128::from(n))
    }
    fn fits(self, precision: u8) -> bool {
        10i128
            .checked_pow(u32::from(precision))
            .is_none_or(|limit| self < limit)
    }
    fn negated(self) -> Self {
        -self
    }
}

impl Whole for i256 {
    fn of(n: i64) -> Self {
        i256::from_i128(i128::from(n))
    }
    fn shift(self, power: u32) -> Option<Self> {
        if self == i256::ZERO {
            return Some(self);
        }
        self.checked_mul(i256::from_i128(10).checked_pow(power)?)
    }
    fn plus(self, n: i64) -> Option<Self> {
        self.checked_add(i256::from_i128(i128::from(n)))
    }
    fn fits(self, precision: u8) -> bool {
        i256::from_i128(10)
            .checked_pow(u32::from(precision))
            .is_none_or(|limit| self < limit)
    }
    fn negated(self) -> Self {
        self.wrapping_neg()
    }
}

/// Appends a numeric given by sign and ASCII digits; `places` of them are after the point.
pub(crate) fn write_digits(out: &mut Vec<u8>, negative: bool, digits: &[u8], places: usize, shown: usize) {
    let whole = digits.len().saturating_sub(places);
    let leading = digits.iter().take_while(|d| **d == b'0').count();
    let significant = digits.len() - digits.iter().rev().take_while(|d| **d == b'0').count();
    let start = out.len();
    out.extend([0u8; 8]);
    let (mut groups, mut weight) = (0u16, 0i32);
    if leading < significant {
        // Position of a digit counted from the point: the units digit is 0, tenths are -1.
        let first = whole as i32 - 1 - leading as i32;
        weight = first.div_euclid(4);
        let mut at = leading as i32 - (3 - first.rem_euclid(4));
        while at < significant as i32 {
            let mut group = 0u16;
            for i in at..at + 4 {
                let digit = usize::try_from(i)
                    .ok()
                    .and_then(|i| digits.get(i))
                    .map_or(0, |d| d - b'0');
                group = group * 10 + u16::from(digit);
            }
            out.extend(group.to_be_bytes());
            groups += 1;
            at += 4;
        }
    }
    let sign = if negative && groups > 0 {
        NEGATIVE
    } else {
        POSITIVE
    };
    let head = [groups, weight as i16 as u16, sign, shown as u16];
    for (i, word) in head.iter().enumerate() {
        out[start + 2 * i..start + 2 * i + 2].copy_from_slice(&word.to_be_bytes());
    }
}

/// Appends the length and a numeric of at most 18 digits, with at most 15 places; false when it is another.
pub(crate) fn write_short(out: &mut Vec<u8>, unscaled: i128, scale: i8) -> bool {
    let Ok(small) = i64::try_from(unscaled) else {
        return false;
    };
    let value = small.unsigned_abs();
    if !(0..=15).contains(&scale) || value >= POWERS[18] as u64 {
        return false;
    }
    let places = scale as usize;
    // Places are filled up to whole groups of four.
    let filled = places.div_ceil(4);
    let unit = POWERS[places] as u64;
    let (mut whole, mut part) = (value / unit, value % unit * POWERS[filled * 4 - places] as u64);
    let mut groups = [0u16; 10];
    let mut first = 5;
    for i in (0..filled).rev() {
        groups[5 + i] = (part % 10_000) as u16;
        part /= 10_000;
    }
    while whole > 0 {
        first -= 1;
        groups[first] = (whole % 10_000) as u16;
        whole /= 10_000;
    }
    let mut end = 5 + filled;
    while end > first && groups[end - 1] == 0 {
        end -= 1;
    }
    while first < end && groups[first] == 0 {
        first += 1;
    }
    let count = end - first;
    let weight = if count == 0 { 0 } else { 4 - first as i16 };
    let sign = if small < 0 { NEGATIVE } else { POSITIVE };
    let mut room = [0u8; 32];
    room[..4].copy_from_slice(&(8 + 2 * count as i32).to_be_bytes());
    room[4..6].copy_from_slice(&(count as u16).to_be_bytes());
    room[6..8].copy_from_slice(&weight.to_be_bytes());
    room[8..10].copy_from_slice(&sign.to_be_bytes());
    room[10..12].copy_from_slice(&(places as u16).to_be_bytes());
    for (slot, group) in room[12..].chunks_exact_mut(2).zip(&groups[first..end]) {
        slot.copy_from_slice(&group.to_be_bytes());
    }
    out.extend_from_slice(&room[..12 + 2 * count]);
    true
}

/// Appends a numeric given as an unscaled integer.
pub(crate) fn write_i128(out: &mut Vec<u8>, unscaled: i128, scale: i8) {
    let mut room = [b'0'; 40];
    let mut at = room.len();
    let mut rest = unscaled.unsigned_abs();
    while rest > u128::from(u64::MAX) {
        room[at - 1] = b'0' + (rest % 10) as u8;
        rest /= 10;
        at -= 1;
    }
    let mut small = rest as u64;
    while small > 0 {
        room[at - 1] = b'0' + (small % 10) as u8;
        small /= 10;
        at -= 1;
    }
    write_scaled(out, unscaled < 0, &room[at..], scale);
}

/// Appends a numeric given as a wide unscaled integer.
pub(crate) fn write_i256(out: &mut Vec<u8>, unscaled: i256, scale: i8) {
    let text = unscaled.to_string();
    let digits = text.trim_start_matches('-');
    write_scaled(out, text.starts_with('-'), digits.as_bytes(), scale);
}

fn write_scaled(out: &mut Vec<u8>, negative: bool, digits: &[u8], scale: i8) {
    if scale >= 0 {
        let places = scale as usize;
        if digits.len() >= places {
            return write_digits(out, negative, digits, places, places);
        }
        let mut padded = vec![b'0'; places];
        padded[places - digits.len()..].copy_from_slice(digits);
        return write_digits(out, negative, &padded, places, places);
    }
    let mut padded = digits.to_vec();
    padded.resize(digits.len() + usize::from(scale.unsigned_abs()), b'0');
    write_digits(out, negative, &padded, 0, 0);
}

/// Appends a numeric given as text (`-12.50`, `1e-7`, `NaN`, `Infinity`); `None` when it is no number.
pub(crate) fn write_text(out: &mut Vec<u8>, text: &str) -> Option<()> {
    let text = text.trim();
    let special = match text.to_ascii_lowercase().as_str() {
        "nan" => Some(NAN),
        "infinity" | "+infinity" | "inf" | "+inf" => Some(PLUS_INFINITY),
        "-infinity" | "-inf" => Some(MINUS_INFINITY),
        _ => None,
    };
    if let Some(sign) = special {
        out.extend([0, 0, 0, 0]);
        out.extend(sign.to_be_bytes());
        out.extend([0, 0]);
        return Some(());
    }
    let (negative, rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (rest, 0),
    };
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let plain = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if (whole.is_empty() && part.is_empty()) || !plain(whole) || !plain(part) || exponent.abs() > 16_000 {
        return None;
    }
    let mut digits = Vec::with_capacity(whole.len() + part.len());
    digits.extend(whole.bytes());
    digits.extend(part.bytes());
    let places = i32::try_from(part.len()).ok()? - exponent;
    if places < 0 {
        digits.resize(digits.len() + places.unsigned_abs() as usize, b'0');
    }
    let places = places.max(0) as usize;
    if places > digits.len() {
        let mut padded = vec![b'0'; places - digits.len()];
        padded.append(&mut digits);
        digits = padded;
    }
    if places > 16_383 || digits.len() - places > 131_072 {
        return None;
    }
    write_digits(out, negative, &digits, places, places);
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text_of(bytes: &[u8]) -> String {
        let mut text = String::new();
        Wire::parse(bytes)
            .expect("a numeric")
            .text(&mut text)
            .expect("prints");
        text
    }

    #[test]
    fn text_reads_what_it_prints() {
        for text in [
            "0",
            "0.00",
            "1",
            "-1",
            "9999",
            "10000",
            "10000.0001",
            "0.0001",
            "0.00010",
            "-0.5",
            "123456789012345678901234567890.123",
            "NaN",
            "Infinity",
            "-Infinity",
            "100000000",
            "0.000000001",
            "99990000",
        ] {
            let mut bytes = Vec::new();
            write_text(&mut bytes, text).expect("a number");
            assert_eq!(text_of(&bytes), text);
        }
        for (text, printed) in [
            ("1e3", "1000"),
            ("1.5e-3", "0.0015"),
            ("+7", "7"),
            ("-0", "0"),
            ("007.10", "7.10"),
        ] {
            let mut bytes = Vec::new();
            write_text(&mut bytes, text).expect("a number");
            assert_eq!(text_of(&bytes), printed);
        }
        for wrong in ["", ".", "-", "1 2", "0x1", "1e", "e1", "1.2.3"] {
            assert!(write_text(&mut Vec::new(), wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn special_values_are_no_decimals_and_excess_digits_are_not_cut() {
        let wire = |text: &str| {
            let mut bytes = Vec::new();
            write_text(&mut bytes, text).expect("a number");
            Wire::parse(&bytes).expect("a numeric").decimal::<i128>(5, 2)
        };
        assert_eq!(wire("NaN"), Err(Trouble::NotFinite));
        assert_eq!(wire("123.456"), Err(Trouble::TooLarge));
        assert_eq!(wire("1234"), Err(Trouble::TooLarge));
        assert_eq!(wire("123.40"), Ok(12340));
        assert!(Wire::parse(&[0, 1, 0, 0, 0, 0, 0, 0]).is_err());
    }

    proptest! {
        #[test]
        fn decimals_come_back(unscaled in -10i128.pow(38) + 1..10i128.pow(38), scale in 0i8..=38) {
            let mut bytes = Vec::new();
            write_i128(&mut bytes, unscaled, scale);
            let wire = Wire::parse(&bytes).expect("a numeric");
            prop_assert_eq!(wire.decimal::<i128>(38, scale), Ok(unscaled));
            prop_assert_eq!(wire.decimal::<i256>(76, scale), Ok(i256::from_i128(unscaled)));
            let mut again = Vec::new();
            write_i256(&mut again, i256::from_i128(unscaled), scale);
            prop_assert_eq!(&bytes, &again);
            let text = text_of(&bytes);
            let mut third = Vec::new();
            write_text(&mut third, &text).expect("a number");
            prop_assert_eq!(bytes, third);
        }

        #[test]
        fn short_numbers_come_back_and_are_written_as_long_ones(
            unscaled in prop_oneof![any::<i64>(), -100_000i64..100_000, (0u32..18).prop_map(|p| 10i64.pow(p))],
            scale in 0i8..=18,
            wider in 0i8..4,
        ) {
            let unscaled = i128::from(unscaled);
            let (mut long, mut short) = (Vec::new(), Vec::new());
            write_i128(&mut long, unscaled, scale);
            if write_short(&mut short, unscaled, scale) {
                prop_assert_eq!(&short[..4], &(long.len() as i32).to_be_bytes()[..]);
                prop_assert_eq!(&short[4..], &long[..]);
            }
            let wire = Wire::parse(&long).expect("a numeric");
            prop_assert_eq!(wire.decimal::<i128>(38, scale), Ok(unscaled));
            prop_assert_eq!(wire.decimal::<i128>(38, scale + wider), Ok(unscaled * 10i128.pow(wider as u32)));
            let digits = unscaled.unsigned_abs().checked_ilog10().unwrap_or(0) as u8 + 1;
            prop_assert_eq!(wire.decimal::<i128>(digits, scale), Ok(unscaled));
            if digits > 1 {
                prop_assert_eq!(wire.decimal::<i128>(digits - 1, scale), Err(Trouble::TooLarge));
            }
            if unscaled % 10 != 0 && scale > 0 {
                prop_assert_eq!(wire.decimal::<i128>(38, scale - 1), Err(Trouble::TooLarge));
            }
        }

        #[test]
        fn no_bytes_make_it_stop(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(wire) = Wire::parse(&bytes) {
                let _ = wire.decimal::<i128>(38, 4);
                let _ = wire.decimal::<i256>(76, 4);
            }
        }
    }
}
