//! Cursor values of incremental reads: which types can be one, their stored text, and the greatest of a column.
//!
//! A cursor only grows and every source compares it alike: integers, decimals, dates, timestamps. Text is none,
//! because two systems order it differently. The text form is exact, so that a position survives any number of runs.

use std::cmp::Ordering;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Int8Type, Int16Type, Int32Type, Int64Type, Schema, TimeUnit,
    TimestampMicrosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use futures::TryStreamExt;
use synqx_model::spec::PartitionBy;
use synqx_model::{Code, Error, Result};

use crate::connector::TableSchema;
use crate::predicate::{Acceptance, Comparison, Literal, Predicate, render_decimal};
use crate::read::{Dataset, HighWater, Scan, Source};
use crate::text;

/// Whether a column of this type can be a cursor.
pub fn can_be_cursor(data_type: &DataType) -> bool {
    data_type.is_integer()
        || matches!(
            data_type,
            DataType::Decimal128(..) | DataType::Date32 | DataType::Timestamp(TimeUnit::Microsecond, _)
        )
}

/// The stored text of a value; the empty text for what cannot be a cursor.
pub fn render(value: &Literal) -> String {
    match value {
        Literal::Int(n) => n.to_string(),
        Literal::Decimal(n, scale) => render_decimal(*n, *scale),
        Literal::Date(days) => text::render_date(i64::from(*days)),
        Literal::Timestamp(micros) => text::render_timestamp(*micros, false),
        Literal::Instant(micros) => text::render_timestamp(*micros, true),
        Literal::Bool(_) | Literal::Float(_) | Literal::Text(_) | Literal::Bytes(_) => String::new(),
    }
}

/// Reads a stored text as a value of a column's type.
pub fn parse(stored: &str, data_type: &DataType) -> Option<Literal> {
    match data_type {
        DataType::Decimal128(precision, scale) if *scale >= 0 => {
            let value = text::parse_decimal(stored, *precision, *scale)?;
            Some(Literal::Decimal(value.to_i128()?, *scale))
        }
        DataType::Date32 => text::parse_date(stored).map(Literal::Date),
        DataType::Timestamp(TimeUnit::Microsecond, None) => {
            let read = text::parse_timestamp(stored)?;
            read.offset.is_none().then_some(Literal::Timestamp(read.local))
        }
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => {
            text::parse_timestamp(stored)?.instant().map(Literal::Instant)
        }
        other if other.is_integer() => stored.parse().ok().map(Literal::Int),
        _ => None,
    }
}

/// The value so much earlier; `None` for what is no time.
pub fn earlier(value: &Literal, by: std::time::Duration) -> Option<Literal> {
    let micros = i64::try_from(by.as_micros()).ok()?;
    Some(match value {
        Literal::Timestamp(at) => Literal::Timestamp(at.saturating_sub(micros)),
        Literal::Instant(at) => Literal::Instant(at.saturating_sub(micros)),
        Literal::Date(days) => {
            // A part of a day reaches back the whole day.
            let back = micros.div_euclid(86_400_000_000) + i64::from(micros % 86_400_000_000 != 0);
            Literal::Date(i32::try_from(i64::from(*days) - back).ok()?)
        }
        _ => return None,
    })
}

/// The value so much later; `None` for what is no time, and for a date and a part of a day.
pub fn later(value: &Literal, by: std::time::Duration) -> Option<Literal> {
    let micros = i64::try_from(by.as_micros()).ok()?;
    Some(match value {
        Literal::Timestamp(at) => Literal::Timestamp(at.checked_add(micros)?),
        Literal::Instant(at) => Literal::Instant(at.checked_add(micros)?),
        Literal::Date(days) if micros % 86_400_000_000 == 0 => {
            Literal::Date(days.checked_add(i32::try_from(micros / 86_400_000_000).ok()?)?)
        }
        _ => return None,
    })
}

/// The number so many whole steps further; `None` for what is no number.
pub fn further(value: &Literal, by: i128) -> Option<Literal> {
    Some(match value {
        Literal::Int(n) => Literal::Int(n.checked_add(by)?),
        Literal::Decimal(n, scale) => {
            let one = 10i128.checked_pow(u32::try_from(*scale).ok()?)?;
            Literal::Decimal(n.checked_add(by.checked_mul(one)?)?, *scale)
        }
        _ => return None,
    })
}

/// Reads what a person wrote as a value of a column's type: the stored text, a date for a time, a time without an offset
/// as UTC.
pub fn read(written: &str, data_type: &DataType) -> Option<Literal> {
    let midnight = format!("{written}T00:00:00");
    parse(written, data_type)
        .or_else(|| parse(&midnight, data_type))
        .or_else(|| parse(&format!("{written}Z"), data_type))
        .or_else(|| parse(&format!("{midnight}Z"), data_type))
}

/// Compares two values of one column.
pub fn compare(left: &Literal, right: &Literal) -> Option<Ordering> {
    match (left, right) {
        (Literal::Int(a), Literal::Int(b)) => Some(a.cmp(b)),
        (Literal::Decimal(a, s), Literal::Decimal(b, t)) if s == t => Some(a.cmp(b)),
        (Literal::Date(a), Literal::Date(b)) => Some(a.cmp(b)),
        (Literal::Timestamp(a), Literal::Timestamp(b)) | (Literal::Instant(a), Literal::Instant(b)) => {
            Some(a.cmp(b))
        }
        _ => None,
    }
}

/// The greatest value of an array.
pub fn greatest(array: &dyn Array) -> Option<Literal> {
    macro_rules! most {
        ($kind:ty) => {
            arrow::compute::max(array.as_primitive::<$kind>())
        };
    }
    let int = |value: Option<i128>| value.map(Literal::Int);
    match array.data_type() {
        DataType::Int8 => int(most!(Int8Type).map(Into::into)),
        DataType::Int16 => int(most!(Int16Type).map(Into::into)),
        DataType::Int32 => int(most!(Int32Type).map(Into::into)),
        DataType::Int64 => int(most!(Int64Type).map(Into::into)),
        DataType::UInt8 => int(most!(UInt8Type).map(Into::into)),
        DataType::UInt16 => int(most!(UInt16Type).map(Into::into)),
        DataType::UInt32 => int(most!(UInt32Type).map(Into::into)),
        DataType::UInt64 => int(most!(UInt64Type).map(Into::into)),
        DataType::Decimal128(_, scale) => most!(Decimal128Type).map(|n| Literal::Decimal(n, *scale)),
        DataType::Date32 => most!(Date32Type).map(Literal::Date),
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let most = most!(TimestampMicrosecondType);
            most.map(|at| {
                if zone.is_some() {
                    Literal::Instant(at)
                } else {
                    Literal::Timestamp(at)
                }
            })
        }
        _ => None,
    }
}

/// The high-water mark by reading the column: right for every source in which nobody else can still add rows below
/// what is read (files; databases with one writer).
pub async fn by_reading<S: Source + ?Sized>(
    source: &S,
    dataset: &Dataset,
    table: &TableSchema,
    column: &str,
    after: Option<&Literal>,
) -> Result<HighWater> {
    let newer = after.map(|after| Predicate::Compare {
        column: column.to_owned(),
        op: Comparison::Gt,
        literal: after.clone(),
    });
    let accepted = newer.filter(|newer| source.accepts(table, newer) != Acceptance::No);
    let scan = Scan {
        dataset: dataset.clone(),
        table: table.clone(),
        columns: vec![column.to_owned()],
        predicates: accepted.into_iter().collect(),
        limit: None,
        partition: PartitionBy::None,
        parallel: 1,
    };
    let plan = source.plan(&scan).await?;
    let reader = source.open(&scan, &plan).await?;
    let mut water = HighWater::default();
    for partition in 0..plan.partitions.len() {
        let mut rows = reader.read(partition).await?;
        while let Some(batch) = rows.try_next().await? {
            let values = batch.column(0);
            water.nulls += values.null_count() as u64;
            let above = |value: &Literal, than: Option<&Literal>| {
                than.is_none_or(|than| compare(value, than) == Some(Ordering::Greater))
            };
            let found = greatest(values.as_ref());
            let found = found.filter(|found| above(found, after) && above(found, water.value.as_ref()));
            water.value = found.or(water.value);
        }
    }
    Ok(water)
}

/// The type of a cursor column, when it can be one. Errors: `E0401`, `E0402`.
pub fn column_type<'a>(schema: &'a Schema, column: &str) -> Result<&'a DataType> {
    let field = schema.field_with_name(column).map_err(|_| {
        let names = schema.fields().iter().map(|f| f.name().as_str());
        Error::new(Code::E0401, format!("there is no cursor column `{column}`"))
            .with_hint(synqx_model::nearest::did_you_mean(column, names))
    })?;
    if can_be_cursor(field.data_type()) {
        return Ok(field.data_type());
    }
    Err(Error::new(
        Code::E0402,
        format!(
            "`{column}` is {}, which cannot be a cursor",
            crate::type_names::render_type(field.data_type())
        ),
    )
    .with_hint("name a column of integers, exact decimals, dates or timestamps"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use arrow::array::{Date32Array, Int64Array, TimestampMicrosecondArray};

    use super::*;

    #[test]
    fn stored_texts_come_back_exactly() {
        let zoned = DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::from("UTC")));
        let plain = DataType::Timestamp(TimeUnit::Microsecond, None);
        let cases = [
            (Literal::Int(i128::from(i64::MAX)), DataType::Int64),
            (Literal::Int(-5), DataType::Int32),
            (Literal::Decimal(-1_234_500, 4), DataType::Decimal128(20, 4)),
            (Literal::Date(-719_162), DataType::Date32),
            (Literal::Timestamp(1_700_000_000_123_456), plain),
            (Literal::Instant(-1), zoned),
        ];
        for (value, data_type) in cases {
            assert_eq!(
                parse(&render(&value), &data_type),
                Some(value.clone()),
                "{value:?}"
            );
        }
        assert_eq!(parse("2024-01-01 00:00:00", &DataType::Int64), None);
    }

    #[test]
    fn the_greatest_of_a_column_is_found_beside_nulls() {
        let ints = Int64Array::from(vec![Some(3), None, Some(-7)]);
        assert_eq!(greatest(&ints), Some(Literal::Int(3)));
        assert_eq!(
            greatest(&Date32Array::from(vec![None, Some(4)])),
            Some(Literal::Date(4))
        );
        let times = TimestampMicrosecondArray::from(vec![5, 9]).with_timezone("UTC");
        assert_eq!(greatest(&times), Some(Literal::Instant(9)));
        assert_eq!(greatest(&Int64Array::from(vec![None::<i64>])), None);
    }

    #[test]
    fn a_person_may_leave_out_the_time_and_the_offset() {
        let zoned = DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::from("UTC")));
        let plain = DataType::Timestamp(TimeUnit::Microsecond, None);
        let day = 86_400_000_000;
        assert_eq!(read("1970-01-02", &zoned), Some(Literal::Instant(day)));
        assert_eq!(read("1970-01-02T00:00:00", &zoned), Some(Literal::Instant(day)));
        assert_eq!(read("1970-01-02", &plain), Some(Literal::Timestamp(day)));
        assert_eq!(read("1970-01-02", &DataType::Date32), Some(Literal::Date(1)));
        assert_eq!(read("1970-01-02T00:00:00Z", &plain), None);
        assert_eq!(read("x", &DataType::Int64), None);
        assert_eq!(
            later(&Literal::Date(1), Duration::from_secs(86_400)),
            Some(Literal::Date(2))
        );
        assert_eq!(later(&Literal::Date(1), Duration::from_secs(3_600)), None);
        assert_eq!(
            further(&Literal::Decimal(150, 2), 2),
            Some(Literal::Decimal(350, 2))
        );
    }

    #[test]
    fn a_lookback_of_part_of_a_day_is_a_day() {
        let hour = Duration::from_secs(3_600);
        assert_eq!(earlier(&Literal::Date(10), hour), Some(Literal::Date(9)));
        assert_eq!(
            earlier(&Literal::Instant(3_600_000_001), hour),
            Some(Literal::Instant(1))
        );
        assert_eq!(earlier(&Literal::Int(5), hour), None);
    }
}
