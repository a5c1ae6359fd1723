//! Values as text, exactly, both ways: dates, times, timestamps, decimals.
//!
//! Every connector that reads or writes text uses these, so a date is spelled one way in the house (ISO 8601,
//! years beyond 9999 with a sign). Parsing never guesses: what is not exactly the type is `None`.

use arrow::datatypes::i256;

/// Days since 1970-01-01 of a proleptic Gregorian date; `None` when there is no such day.
pub fn days_from_civil(year: i64, month: u32, day: u32) -> Option<i32> {
    if !(1..=12).contains(&month) || day == 0 || day > days_in_month(year, month) {
        return None;
    }
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let year_of_era = shifted.rem_euclid(400);
    let month_index = i64::from((month + 9) % 12);
    let day_of_year = (153 * month_index + 2) / 5 + i64::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    i32::try_from(era * 146_097 + day_of_era - 719_468).ok()
}

fn days_in_month(year: i64, month: u32) -> u32 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Year, month, day of a day number.
pub fn civil_from_days(days: i64) -> (i64, u32, u32) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * month_index + 2) / 5 + 1) as u32;
    let month = if month_index < 10 {
        month_index + 3
    } else {
        month_index - 9
    } as u32;
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Reads `2013-01-31`. Years have four digits, or more with a sign.
pub fn parse_date(text: &str) -> Option<i32> {
    let (year, rest) = parse_year(text)?;
    let bytes = rest.as_bytes();
    if bytes.len() != 6 || bytes[0] != b'-' || bytes[3] != b'-' {
        return None;
    }
    days_from_civil(year, two(bytes, 1)?, two(bytes, 4)?)
}

fn parse_year(text: &str) -> Option<(i64, &str)> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, text),
    };
    let end = digits
        .bytes()
        .position(|b| !b.is_ascii_digit())
        .unwrap_or(digits.len());
    let signed = digits.len() != text.len();
    if end < 4 || (end > 4 && !signed) || end > 7 {
        return None;
    }
    Some((sign * digits[..end].parse::<i64>().ok()?, &digits[end..]))
}

fn two(bytes: &[u8], at: usize) -> Option<u32> {
    let (a, b) = (*bytes.get(at)?, *bytes.get(at + 1)?);
    (a.is_ascii_digit() && b.is_ascii_digit()).then(|| u32::from(a - b'0') * 10 + u32::from(b - b'0'))
}

/// A time of day as microseconds, and what follows it. `None` when a digit beyond the sixth is not zero.
fn parse_clock(text: &str) -> Option<(i64, &str)> {
    let bytes = text.as_bytes();
    let (hour, minute) = (two(bytes, 0)?, two(bytes, 3)?);
    if bytes.get(2) != Some(&b':') || hour > 23 || minute > 59 {
        return None;
    }
    let (mut second, mut at, mut micros) = (0, 5, 0i64);
    if bytes.get(5) == Some(&b':') {
        second = two(bytes, 6)?;
        at = 8;
        if bytes.get(8) == Some(&b'.') {
            let digits = bytes[9..].iter().take_while(|b| b.is_ascii_digit()).count();
            if digits == 0 || bytes[9..9 + digits].iter().skip(6).any(|b| *b != b'0') {
                return None;
            }
            for i in 0..6 {
                micros = micros * 10
                    + if i < digits {
                        i64::from(bytes[9 + i] - b'0')
                    } else {
                        0
                    };
            }
            at = 9 + digits;
        }
    }
    if second > 59 {
        return None;
    }
    Some((
        i64::from(hour * 3600 + minute * 60 + second) * 1_000_000 + micros,
        &text[at..],
    ))
}

/// Reads `13:05`, `13:05:09`, `13:05:09.25` as microseconds since midnight.
pub fn parse_time(text: &str) -> Option<i64> {
    parse_clock(text).and_then(|(micros, rest)| rest.is_empty().then_some(micros))
}

/// A timestamp in text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextTimestamp {
    /// Microseconds since 1970-01-01T00:00:00, of the clock reading as written.
    pub local: i64,
    /// Seconds east of UTC, when the text says.
    pub offset: Option<i32>,
}

impl TextTimestamp {
    /// Microseconds since 1970-01-01T00:00:00 UTC, when the text has an offset.
    pub fn instant(&self) -> Option<i64> {
        self.offset
            .and_then(|offset| self.local.checked_sub(i64::from(offset) * 1_000_000))
    }
}

/// Reads `2013-01-31 13:05:09`, with `T` or a space, with or without seconds, fraction and offset (`Z`, `+02`, `+02:00`).
pub fn parse_timestamp(text: &str) -> Option<TextTimestamp> {
    let split = text.find(['T', 't', ' '])?;
    let days = parse_date(&text[..split])?;
    let (clock, rest) = parse_clock(&text[split + 1..])?;
    // The first day that has any timestamp begins before the first timestamp.
    let local = i64::try_from(i128::from(days) * 86_400_000_000 + i128::from(clock)).ok()?;
    let rest = rest.trim_start();
    let offset = match rest.as_bytes() {
        [] => None,
        [b'Z' | b'z'] => Some(0),
        [sign @ (b'+' | b'-'), digits @ ..] => {
            let hours = two(digits, 0)?;
            let minutes = match digits.len() {
                2 => 0,
                4 => two(digits, 2)?,
                5 if digits[2] == b':' => two(digits, 3)?,
                _ => return None,
            };
            if hours > 15 || minutes > 59 {
                return None;
            }
            let seconds = (hours * 3600 + minutes * 60) as i32;
            Some(if *sign == b'-' { -seconds } else { seconds })
        }
        _ => return None,
    };
    Some(TextTimestamp { local, offset })
}

/// An exact decimal with `scale` places; `None` when the text is no plain decimal or has more places than `scale`.
pub fn parse_decimal(text: &str, precision: u8, scale: i8) -> Option<i256> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let plain = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if (whole.is_empty() && part.is_empty()) || !plain(whole) || !plain(part) || scale < 0 {
        return None;
    }
    let scale = scale as usize;
    let kept = part.trim_end_matches('0');
    if kept.len() > scale {
        return None;
    }
    let whole = whole.trim_start_matches('0');
    if whole.len() + scale > usize::from(precision) {
        return None;
    }
    let text = format!("{}{whole}{kept:0<scale$}", if negative { "-" } else { "" });
    i256::from_string(if text.is_empty() || text == "-" {
        "0"
    } else {
        &text
    })
}

/// `2013-01-31`; years outside 0000–9999 carry a sign.
pub fn render_date(days: i64) -> String {
    let (year, month, day) = civil_from_days(days);
    format!("{}-{month:02}-{day:02}", render_year(year))
}

fn render_year(year: i64) -> String {
    match year {
        0..=9999 => format!("{year:04}"),
        _ => format!("{}{:05}", if year < 0 { '-' } else { '+' }, year.unsigned_abs()),
    }
}

/// `13:05:09`, with a fraction only when there is one.
pub fn render_time(micros: i64) -> String {
    let (seconds, fraction) = (micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000));
    let clock = format!(
        "{:02}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    );
    if fraction == 0 {
        return clock;
    }
    let digits = format!("{fraction:06}");
    format!("{clock}.{}", digits.trim_end_matches('0'))
}

/// `2013-01-31 13:05:09` (`T` and `Z` for an instant: `2013-01-31T13:05:09Z`).
pub fn render_timestamp(micros: i64, zoned: bool) -> String {
    let (days, clock) = (
        micros.div_euclid(86_400_000_000),
        micros.rem_euclid(86_400_000_000),
    );
    if zoned {
        format!("{}T{}Z", render_date(days), render_time(clock))
    } else {
        format!("{} {}", render_date(days), render_time(clock))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_read_what_they_print_over_the_whole_range() {
        for days in (-3_000_000..3_000_000)
            .step_by(977)
            .chain([0, -1, 59, 60, 11_016, -719_528, -719_529])
        {
            assert_eq!(
                parse_date(&render_date(days)),
                i32::try_from(days).ok(),
                "{}",
                render_date(days)
            );
        }
        assert_eq!(render_date(0), "1970-01-01");
        for wrong in [
            "2013-02-29",
            "2013-1-01",
            "13-01-01",
            "2013-13-01",
            "2013-01-32",
            "2013-01-01x",
            "",
        ] {
            assert_eq!(parse_date(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn timestamps_keep_clock_and_offset_apart() {
        let naive = parse_timestamp("2013-01-01 05:00:00").expect("reads");
        let zoned = parse_timestamp("2013-01-01T05:00:00.25+02:00").expect("reads");
        assert_eq!((naive.offset, naive.instant()), (None, None));
        assert_eq!(zoned.instant(), Some(naive.local + 250_000 - 7_200_000_000));
        assert_eq!(render_timestamp(naive.local, false), "2013-01-01 05:00:00");
        assert_eq!(render_timestamp(-1, true), "1969-12-31T23:59:59.999999Z");
        for extreme in [i64::MIN, i64::MIN + 1, i64::MAX] {
            let read = |zoned| parse_timestamp(&render_timestamp(extreme, zoned)).expect("reads");
            assert_eq!(
                (read(false).local, read(true).instant()),
                (extreme, Some(extreme))
            );
        }
        for wrong in [
            "2013-01-01",
            "2013-01-01 25:00:00",
            "2013-01-01 05:00:00.1234567",
            "2013-01-01 05:00:00 x",
        ] {
            assert_eq!(parse_timestamp(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn decimals_are_exact_or_refused() {
        let read = |t: &str| parse_decimal(t, 10, 2).and_then(|v| v.to_i128());
        assert_eq!(read("12.3"), Some(1230));
        assert_eq!(read("-0.05"), Some(-5));
        assert_eq!(read("12.30000"), Some(1230));
        assert_eq!(read("00012"), Some(1200));
        for wrong in ["12.345", "123456789", "1e3", "", ".", "-", "1 2"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
