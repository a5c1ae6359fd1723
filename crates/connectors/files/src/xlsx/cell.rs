//! What a cell of a sheet means: its kind and its value as text.
//!
//! Excel has numbers, texts, truth values and errors; a date is a number with a format. Days are dates, days with a
//! clock are timestamps, clocks and durations are texts such as `12:30:00`. Errors are texts such as `#N/A`, which
//! `nulls` can name.

use calamine::{DataRef, ExcelDateTime};
use synqx_sdk::text::{parse_date, parse_timestamp};

/// What a cell is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A text, whatever it looks like.
    Words,
    /// A number.
    Number,
    /// A truth value.
    Boolean,
    /// A day.
    Day,
    /// A day and a clock.
    Moment,
}

/// A cell that is not empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) kind: Kind,
    pub(crate) text: String,
}

impl Cell {
    /// What a stored value means; none for an empty cell.
    pub(crate) fn of(value: &DataRef<'_>) -> Option<Cell> {
        let (kind, text) = match value {
            DataRef::Empty => return None,
            DataRef::Int(n) => (Kind::Number, n.to_string()),
            DataRef::Float(n) => (Kind::Number, number(*n)),
            DataRef::String(text) => (Kind::Words, text.clone()),
            DataRef::SharedString(text) => (Kind::Words, (*text).to_owned()),
            DataRef::Bool(truth) => (Kind::Boolean, truth.to_string()),
            DataRef::DateTime(at) => moment(at),
            DataRef::DateTimeIso(text) => (iso(text), text.clone()),
            DataRef::DurationIso(text) => (Kind::Words, text.clone()),
            DataRef::Error(error) => (Kind::Words, error.to_string()),
        };
        Some(Cell { kind, text })
    }
}

/// The shortest text that is the number.
fn number(n: f64) -> String {
    if n == 0.0 {
        return "0".to_owned();
    }
    if n.fract() == 0.0 && n.abs() < 1e15 {
        return format!("{n:.0}");
    }
    serde_json::Number::from_f64(n).map_or_else(|| n.to_string(), |n| n.to_string())
}

fn iso(text: &str) -> Kind {
    match (parse_date(text), parse_timestamp(text)) {
        (Some(_), _) => Kind::Day,
        (None, Some(read)) if read.offset.is_none() => Kind::Moment,
        _ => Kind::Words,
    }
}

/// Days Excel counts to: the end of the year 9999.
const DAYS: f64 = 2_958_466.0;

fn moment(at: &ExcelDateTime) -> (Kind, String) {
    let days = at.as_f64();
    if !(0.0..DAYS).contains(&days) {
        return (Kind::Number, number(days));
    }
    if at.is_duration() {
        let millis = (days * 86_400_000.0).round() as u64;
        let hours = millis / 3_600_000;
        return (Kind::Words, format!("{hours:02}:{}", clock_rest(millis)));
    }
    let (year, month, day, hour, minute, second, milli) = at.to_ymd_hms_milli();
    let millis = u64::from(minute) * 60_000 + u64::from(second) * 1_000 + u64::from(milli);
    let clock = format!("{hour:02}:{}", clock_rest(millis));
    let date = format!("{year:04}-{month:02}-{day:02}");
    match () {
        () if days < 1.0 => (Kind::Words, clock),
        () if days.fract() == 0.0 => (Kind::Day, date),
        () => (Kind::Moment, format!("{date} {clock}")),
    }
}

/// Minutes, seconds and, where there are any, milliseconds of an hour.
fn clock_rest(millis: u64) -> String {
    let (minute, second, milli) = (millis / 60_000 % 60, millis / 1_000 % 60, millis % 1_000);
    match milli {
        0 => format!("{minute:02}:{second:02}"),
        _ => format!("{minute:02}:{second:02}.{milli:03}"),
    }
}

/// A cell's name, such as `AB12`; both from 0.
pub(crate) fn address(row: u32, column: u32) -> String {
    let (mut letters, mut rest) = (Vec::new(), u64::from(column) + 1);
    while rest > 0 {
        rest -= 1;
        letters.push(char::from(b'A' + (rest % 26) as u8));
        rest /= 26;
    }
    let letters: String = letters.into_iter().rev().collect();
    format!("{letters}{}", u64::from(row) + 1)
}

#[cfg(test)]
mod tests {
    use calamine::ExcelDateTimeType;

    use super::*;

    fn dated(days: f64, later: bool) -> (Kind, String) {
        moment(&ExcelDateTime::new(days, ExcelDateTimeType::DateTime, later))
    }

    #[test]
    fn days_are_counted_from_1900_or_1904() {
        assert_eq!(dated(1.0, false), (Kind::Day, "1900-01-01".into()));
        assert_eq!(dated(59.0, false), (Kind::Day, "1900-02-28".into()));
        assert_eq!(dated(61.0, false), (Kind::Day, "1900-03-01".into()));
        assert_eq!(dated(45_943.0, false), (Kind::Day, "2025-10-13".into()));
        assert_eq!(dated(44_481.0, true), (Kind::Day, "2025-10-13".into()));
        assert_eq!(
            dated(45_943.5, false),
            (Kind::Moment, "2025-10-13 12:00:00".into())
        );
        assert_eq!(dated(0.5, false), (Kind::Words, "12:00:00".into()));
        assert_eq!(dated(-3.0, false), (Kind::Number, "-3".into()));
        let long = ExcelDateTime::new(1.5, ExcelDateTimeType::TimeDelta, false);
        assert_eq!(moment(&long), (Kind::Words, "36:00:00".into()));
    }

    #[test]
    fn numbers_are_shown_as_short_as_they_can_be() {
        for (n, text) in [
            (5.0, "5"),
            (-0.0, "0"),
            (0.1, "0.1"),
            (1e300, "1e+300"),
            (2.5e-9, "2.5e-9"),
        ] {
            assert_eq!(number(n), text);
        }
    }

    #[test]
    fn cells_have_names() {
        assert_eq!(
            [address(0, 0), address(9, 25), address(0, 26), address(0, 16_383)],
            ["A1", "Z10", "AA1", "XFD1"]
        );
    }
}
