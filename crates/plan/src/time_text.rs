//! Dates and timestamps read from text by a strftime format, exactly or not at all.
//!
//! A format is judged before the run: it must say a whole date, a whole time if it says any (`%I` needs `%p`), and
//! an offset only where the target keeps an instant. A text is read as the format says: its offset is applied, and
//! digits of the second that the target cannot hold make it unreadable instead of being cut.

use chrono::format::{Fixed, Item, Numeric, Parsed, StrftimeItems, parse};
use chrono::{DateTime, Datelike, NaiveDateTime, TimeZone, Utc};
use datafusion::arrow::datatypes::{DataType, TimeUnit};

/// A format for one type.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct TimeFormat {
    items: Vec<Item<'static>>,
    target: DataType,
    has_time: bool,
    has_fraction: bool,
}

impl TimeFormat {
    /// The format, or the reason why it does not say what the type needs: a message and a hint.
    pub(crate) fn new(format: &str, target: &DataType) -> Result<TimeFormat, (String, &'static str)> {
        let letters = "use strftime letters, such as `%d/%m/%Y %H:%M:%S`";
        let items = StrftimeItems::new(format)
            .parse_to_owned()
            .map_err(|_| (format!("`{format}` is not a time format"), letters))?;
        let reads = TimeFormat {
            has_time: items.iter().any(is_time),
            has_fraction: items
                .iter()
                .any(|item| matches!(item, Item::Fixed(Fixed::Nanosecond))),
            target: target.clone(),
            items,
        };
        if reads.items.contains(&Item::Fixed(Fixed::TimezoneName)) {
            return Err((
                format!("`{format}` has the name of a zone, which says no offset"),
                "use `%z` for offsets such as +02:00; leave names out",
            ));
        }
        if reads
            .items
            .iter()
            .any(|item| matches!(item, Item::Numeric(Numeric::Nanosecond, _)))
        {
            return Err((
                format!("`{format}` counts nanoseconds with `%f`"),
                "write `%S%.f` for a fraction of the second",
            ));
        }
        let sample = reads.sample(format).ok_or((
            format!("`{format}` does not say a whole date or time"),
            "it needs year, month and day, and with any time the hour (`%H`, or `%I` with `%p`) and minute",
        ))?;
        if sample.offset().is_some() && !matches!(target, DataType::Timestamp(_, Some(_))) {
            return Err((
                format!("`{format}` has an offset, which the type would lose"),
                "read it as `timestamptz`",
            ));
        }
        Ok(reads)
    }

    /// A known moment through the format and back, if that says all the target needs.
    fn sample(&self, format: &str) -> Option<Parsed> {
        use std::fmt::Write;

        let moment = Utc
            .with_ymd_and_hms(2003, 2, 1, 16, 5, 0)
            .single()?
            .fixed_offset();
        let mut text = String::new();
        // Only parsing knows the permissive offset.
        let writes = format.replace("%#z", "%z");
        write!(text, "{}", moment.format(&writes)).ok()?;
        let parsed = self.parsed(&text)?;
        self.moment(&parsed)?;
        Some(parsed)
    }

    fn parsed(&self, text: &str) -> Option<Parsed> {
        let mut parsed = Parsed::new();
        parse(&mut parsed, text, self.items.iter()).ok()?;
        Some(parsed)
    }

    /// What was said, in UTC where an offset was said.
    fn moment(&self, parsed: &Parsed) -> Option<NaiveDateTime> {
        if !self.has_time {
            return parsed.to_naive_date().ok()?.and_hms_opt(0, 0, 0);
        }
        match parsed.offset() {
            Some(_) => parsed.to_datetime().ok().map(|at: DateTime<_>| at.naive_utc()),
            None => parsed.to_naive_datetime_with_offset(0).ok(),
        }
    }

    /// The value in the target's unit; none when the text does not match or the target cannot hold it.
    pub(crate) fn read(&self, text: &str) -> Option<i64> {
        if self.has_fraction && has_more_than_nanoseconds(text) {
            return None;
        }
        let moment = self.moment(&self.parsed(text)?)?;
        let unit: i128 = match &self.target {
            DataType::Timestamp(TimeUnit::Second, _) => 1_000_000_000,
            DataType::Timestamp(TimeUnit::Millisecond, _) => 1_000_000,
            DataType::Timestamp(TimeUnit::Microsecond, _) => 1_000,
            DataType::Timestamp(TimeUnit::Nanosecond, _) => 1,
            _ => {
                let epoch = DateTime::UNIX_EPOCH.naive_utc().date().num_days_from_ce();
                return Some(i64::from(moment.date().num_days_from_ce() - epoch));
            }
        };
        let at = moment.and_utc();
        let nanoseconds =
            i128::from(at.timestamp()) * 1_000_000_000 + i128::from(at.timestamp_subsec_nanos());
        (nanoseconds % unit == 0)
            .then(|| i64::try_from(nanoseconds / unit).ok())
            .flatten()
    }
}

fn is_time(item: &Item<'_>) -> bool {
    match item {
        Item::Numeric(numeric, _) => matches!(
            numeric,
            Numeric::Hour
                | Numeric::Hour12
                | Numeric::Minute
                | Numeric::Second
                | Numeric::Nanosecond
                | Numeric::Timestamp
        ),
        Item::Fixed(fixed) => !matches!(
            fixed,
            Fixed::ShortMonthName | Fixed::LongMonthName | Fixed::ShortWeekdayName | Fixed::LongWeekdayName
        ),
        _ => false,
    }
}

/// Whether a fraction in the text has digits beyond the ninth, which chrono would skip.
fn has_more_than_nanoseconds(text: &str) -> bool {
    text.split('.').skip(1).any(|rest| {
        let digits = rest.bytes().take_while(u8::is_ascii_digit);
        digits.skip(9).any(|digit| digit != b'0')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000_000;

    fn wall() -> DataType {
        DataType::Timestamp(TimeUnit::Microsecond, None)
    }

    fn instant() -> DataType {
        DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
    }

    fn read(text: &str, format: &str, target: &DataType) -> Option<i64> {
        TimeFormat::new(format, target).expect("a format").read(text)
    }

    #[test]
    fn reads_dates_and_timestamps_and_nothing_else() {
        assert_eq!(read("31/01/1970", "%d/%m/%Y", &wall()), Some(30 * DAY));
        assert_eq!(read("31/01/1970", "%d/%m/%Y", &DataType::Date32), Some(30));
        assert_eq!(
            read("1970-01-01 00:00:01.5", "%Y-%m-%d %H:%M:%S%.f", &wall()),
            Some(1_500_000)
        );
        assert_eq!(read("32/01/1970", "%d/%m/%Y", &wall()), None);
        assert_eq!(
            read("01/31/1970 01:02:03 PM", "%m/%d/%Y %I:%M:%S %p", &wall()),
            Some(30 * DAY + 46_923_000_000)
        );
        assert_eq!(read("60", "%s", &wall()), Some(60_000_000));
    }

    #[test]
    fn offsets_are_applied_and_digits_are_not_cut() {
        let format = "%Y-%m-%d %H:%M:%S%z";
        assert_eq!(read("1970-01-01 02:00:00+0200", format, &instant()), Some(0));
        let format = "%Y-%m-%d %H:%M:%S%.f";
        assert_eq!(read("1970-01-01 00:00:00.123456789", format, &wall()), None);
        assert_eq!(
            read("1970-01-01 00:00:00.123456000", format, &wall()),
            Some(123_456)
        );
        assert_eq!(read("1970-01-01 00:00:00.0000000001", format, &wall()), None);
        let nanoseconds = DataType::Timestamp(TimeUnit::Nanosecond, None);
        assert_eq!(
            read("1970-01-01 00:00:00.123456789", format, &nanoseconds),
            Some(123_456_789)
        );
    }

    #[test]
    fn formats_that_lose_something_are_refused() {
        for (format, target) in [
            ("%m/%d/%Y %I:%M:%S", wall()),
            ("%m/%d/%Y %I:%M:%S", DataType::Date32),
            ("%Y-%m-%d %H:%M:%S%z", wall()),
            ("%Y-%m-%d %H:%M:%S%#z", wall()),
            ("%Y-%m-%dT%H:%M:%S%:z", DataType::Date32),
            ("%Y-%m-%d %H:%M:%S %Z", instant()),
            ("%Y-%m-%d %H:%M:%S.%f", wall()),
            ("%d/%m", wall()),
            ("%H:%M", wall()),
            ("%Y-%m-%d %H", wall()),
            ("%Q", wall()),
        ] {
            assert!(TimeFormat::new(format, &target).is_err(), "{format} {target}");
        }
    }
}
