//! Recognises the type of a column from its cells without ever losing information.
//!
//! A type is chosen only when every cell seen is that type *and* can be printed back: `007` stays text, integers
//! beyond 64 bits become decimals, other numbers become doubles or decimals where those give back every character
//! (`number`). What is mixed is text. Partition folders use the same rules; of JSON, whose numbers are numbers and not
//! texts, only the values have to stay.

use arrow::datatypes::{DataType, TimeUnit};
use synqx_sdk::text::{parse_date, parse_timestamp};

use super::number::{Number, Numbers, parse_integer};

/// What one text can be, narrowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `true` or `false`.
    Boolean,
    /// A whole number of 64 bits.
    Integer,
    /// A whole number of up to 38 digits.
    Wide,
    /// Any other number.
    Real,
    /// An ISO date.
    Date,
    /// An ISO date and clock without an offset.
    Timestamp,
    /// An ISO date and clock with an offset.
    Instant,
    /// Anything else.
    Text,
}

/// The narrowest kind of a text, and the number that it is.
fn kind_of(text: &str) -> (Kind, Option<Number>) {
    let bytes = text.as_bytes();
    let kind = match bytes.first() {
        Some(b't' | b'T' | b'f' | b'F') => match text {
            "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => Kind::Boolean,
            _ => Kind::Text,
        },
        Some(b'-' | b'.' | b'0'..=b'9') => match Number::scan(bytes) {
            Some(number) => return (number_kind(bytes, &number), Some(number)),
            None => date_kind(text),
        },
        _ => Kind::Text,
    };
    (kind, None)
}

fn number_kind(bytes: &[u8], number: &Number) -> Kind {
    match number.is_plain() {
        true if parse_integer(bytes).is_some() => Kind::Integer,
        true if number.digits <= 38 => Kind::Wide,
        _ => Kind::Real,
    }
}

fn date_kind(text: &str) -> Kind {
    if text.len() == 10 {
        return match parse_date(text) {
            Some(_) => Kind::Date,
            None => Kind::Text,
        };
    }
    match parse_timestamp(text) {
        Some(read) if read.offset.is_some() => Kind::Instant,
        Some(_) => Kind::Timestamp,
        None => Kind::Text,
    }
}

/// What the cells of a column have been so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Evidence {
    seen: [bool; 8],
    /// Cells that were NULL.
    pub(crate) nulls: u64,
    numbers: Numbers,
    /// A row had several values: the column is a list.
    pub(crate) repeated: bool,
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
        let (kind, number) = kind_of(text);
        if let Some(number) = number {
            self.numbers.add(text, &number);
        }
        self.seen[kind as usize] = true;
    }

    /// Takes a value into account that is text, whatever it looks like.
    pub(crate) fn words(&mut self) {
        self.seen[Kind::Text as usize] = true;
    }

    /// Adds what other cells of the column have been.
    pub(crate) fn join(&mut self, other: &Evidence) {
        for (seen, more) in self.seen.iter_mut().zip(other.seen) {
            *seen |= more;
        }
        self.nulls += other.nulls;
        self.repeated |= other.repeated;
        self.numbers.join(&other.numbers);
    }

    /// The type that gives every text back, and what a person should know about it.
    pub(crate) fn decide(&self) -> (DataType, Option<&'static str>) {
        let number = match self.numbers.common_places() {
            _ if self.numbers.are_written_doubles() => Some(DataType::Float64),
            Some(places) => Some(DataType::Decimal128(38, places)),
            None => None,
        };
        self.decide_with(
            number,
            "holds numbers that no type gives back as they are written, such as `1.10` beside `1.1`, so it stays \
             text; declare `decimal(p,s)` or `double`",
        )
    }

    /// The type that holds every value of JSON, and what a person should know about it.
    pub(crate) fn decide_values(&self) -> (DataType, Option<&'static str>) {
        let equal = self.numbers.are_equal_doubles() && !self.seen[Kind::Wide as usize];
        self.decide_with(
            equal.then_some(DataType::Float64),
            "holds numbers that a double would change, so it stays text; declare `decimal(p,s)` or `double`",
        )
    }

    /// The type that holds every cell of a sheet, and what a person should know about it. A day among times is the
    /// beginning of that day.
    pub(crate) fn decide_cells(&self) -> (DataType, Option<&'static str>) {
        let times = [Kind::Date as usize, Kind::Timestamp as usize];
        let only = (0..8).all(|kind| !self.seen[kind] || times.contains(&kind));
        if only && self.seen[Kind::Timestamp as usize] {
            return (DataType::Timestamp(TimeUnit::Microsecond, None), None);
        }
        let (data_type, note) = self.decide_values();
        let several = self.seen.iter().filter(|seen| **seen).count() > 1;
        if data_type == DataType::Utf8View && several && note.is_none() {
            return (
                data_type,
                Some("holds cells of several kinds, so all of them are text"),
            );
        }
        (data_type, note)
    }

    /// `number`: the type of numbers that are not all whole.
    fn decide_with(&self, number: Option<DataType>, why: &'static str) -> (DataType, Option<&'static str>) {
        let only = |kinds: &[Kind]| (0..8).all(|i| !self.seen[i] || kinds.iter().any(|k| *k as usize == i));
        let instant = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let known = match () {
            () if !self.seen.contains(&true) => Some(DataType::Utf8View),
            () if only(&[Kind::Boolean]) => Some(DataType::Boolean),
            () if only(&[Kind::Integer]) => Some(DataType::Int64),
            () if only(&[Kind::Integer, Kind::Wide]) => Some(DataType::Decimal128(38, 0)),
            () if only(&[Kind::Integer, Kind::Wide, Kind::Real]) => {
                let note = number.is_none().then_some(why);
                return (number.unwrap_or(DataType::Utf8View), note);
            }
            () if only(&[Kind::Date]) => Some(DataType::Date32),
            () if only(&[Kind::Timestamp]) => Some(DataType::Timestamp(TimeUnit::Microsecond, None)),
            () if only(&[Kind::Instant]) => Some(instant),
            () => None,
        };
        let mixed = known.is_none() && !self.seen[Kind::Text as usize];
        (
            known.unwrap_or(DataType::Utf8View),
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
        assert_eq!(decided(&["1012", "39.02", "-0.5"]), DataType::Float64);
        assert_eq!(decided(&["1.0", "2.55"]), DataType::Float64);
        assert_eq!(decided(&["1e300", "1e-7", "2.5"]), DataType::Float64);
        assert_eq!(decided(&["0.00001", "2.5"]), DataType::Float64);
        assert_eq!(decided(&["1.10", "1.1"]), text);
        assert_eq!(decided(&["1.0", "1"]), text);
        assert_eq!(decided(&["1E5"]), text);
        assert_eq!(decided(&["1e5", "3e7"]), text);
        assert_eq!(decided(&["1e3", "1012", "1012.3"]), DataType::Float64);
        assert_eq!(decided(&["1e3", "1000"]), text);
        assert_eq!(decided(&["1e-05", "0.5"]), DataType::Float64);
        assert_eq!(decided(&["0.00001", "1e-5"]), text);
        assert_eq!(decided(&["2.50", "10.00", "-0.25"]), DataType::Decimal128(38, 2));
        assert_eq!(decided(&["2.50", "3"]), text);
        assert_eq!(decided(&["2.50", "-0.00"]), text);
        assert_eq!(decided(&["10.357019999999999"]), DataType::Float64);
        assert_eq!(decided(&["10.3570199999999991234"]), DataType::Decimal128(38, 19));
        assert_eq!(decided(&["10.3570199999999991234", "1.5"]), text);
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
    fn numbers_of_json_keep_their_value() {
        let of = |texts: &[&str]| {
            let mut evidence = Evidence::default();
            texts.iter().for_each(|text| evidence.text(text));
            evidence.decide_values().0
        };
        assert_eq!(of(&["1e5", "2.50", "3", "1.0"]), DataType::Float64);
        assert_eq!(of(&["1.5", "9007199254740993"]), DataType::Utf8View);
        assert_eq!(of(&["1.5", "9223372036854775808"]), DataType::Utf8View);
    }

    #[test]
    fn evidence_of_two_files_is_that_of_one() {
        for (left, right) in [
            ("1.10", "1.1"),
            ("1", "1.0"),
            ("2.50", "10.00"),
            ("1", "2.5"),
            ("a", "1"),
        ] {
            let (mut one, mut other) = (Evidence::default(), Evidence::default());
            one.text(left);
            other.text(right);
            one.join(&other);
            assert_eq!(one.decide().0, decided(&[left, right]), "{left} {right}");
        }
    }
}
