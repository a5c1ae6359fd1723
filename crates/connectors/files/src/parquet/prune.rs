//! Compares predicates with the statistics of row groups: a group that cannot hold a row that passes is skipped.
//!
//! Only integers, dates, timestamps, decimals and text are compared; floats are not, because of NaN. Whatever is
//! unknown keeps the group, and so do statistics of old writers, which compared bytes as signed numbers. The engine
//! applies every predicate again, so this is only ever a superset.

use std::cmp::Ordering;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Date32Type, Decimal128Type, Schema, TimeUnit, UInt64Type};
use parquet::arrow::arrow_reader::ArrowReaderMetadata;
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::basic::{ColumnOrder, SortOrder, Type as Physical};
use synqx_sdk::{Acceptance, Comparison, Literal, Predicate};

/// What statistics can do for a predicate.
pub(crate) fn accepts(schema: &Schema, predicate: &Predicate) -> Acceptance {
    let comparable = |column: &str, literal: &Literal| {
        schema
            .field_with_name(column)
            .is_ok_and(|field| is_comparable(field.data_type(), literal))
    };
    let usable = match predicate {
        Predicate::Compare { column, op, literal } => *op != Comparison::NotEq && comparable(column, literal),
        Predicate::In {
            column,
            literals,
            negated,
        } => !negated && literals.iter().all(|l| comparable(column, l)),
        Predicate::IsNull { column, .. } => schema
            .field_with_name(column)
            .is_ok_and(|f| !f.data_type().is_nested()),
        Predicate::And(parts) => parts
            .iter()
            .any(|part| accepts(schema, part) == Acceptance::Superset),
        Predicate::Or(parts) => {
            !parts.is_empty()
                && parts
                    .iter()
                    .all(|part| accepts(schema, part) == Acceptance::Superset)
        }
        Predicate::Like { .. } | Predicate::Not(_) => false,
    };
    if usable {
        Acceptance::Superset
    } else {
        Acceptance::No
    }
}

fn is_comparable(data_type: &DataType, literal: &Literal) -> bool {
    match literal {
        Literal::Int(_) | Literal::Decimal(..) => {
            data_type.is_integer() || matches!(data_type, DataType::Decimal128(..))
        }
        Literal::Text(_) => matches!(
            data_type,
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
        ),
        Literal::Date(_) => *data_type == DataType::Date32,
        Literal::Timestamp(_) => matches!(data_type, DataType::Timestamp(_, None)),
        Literal::Instant(_) => matches!(data_type, DataType::Timestamp(_, Some(_))),
        Literal::Bool(_) | Literal::Float(_) | Literal::Bytes(_) => false,
    }
}

/// For each row group whether it can be skipped.
pub(crate) fn skipped(metadata: &ArrowReaderMetadata, predicates: &[Predicate]) -> Vec<bool> {
    let groups = metadata.metadata().num_row_groups();
    let mut skipped = vec![false; groups];
    for predicate in predicates {
        if let Some(more) = impossible(metadata, predicate) {
            skipped
                .iter_mut()
                .zip(more)
                .for_each(|(skip, impossible)| *skip |= impossible);
        }
    }
    skipped
}

/// For each row group whether no row of it can pass; `None` when nothing is known.
fn impossible(metadata: &ArrowReaderMetadata, predicate: &Predicate) -> Option<Vec<bool>> {
    match predicate {
        Predicate::Compare { column, op, literal } => {
            let range = Range::of(metadata, column)?;
            Some(
                (0..range.sound.len())
                    .map(|group| range.excludes(group, *op, literal))
                    .collect(),
            )
        }
        Predicate::In {
            column,
            literals,
            negated: false,
        } => {
            let range = Range::of(metadata, column)?;
            let none = |group| {
                literals
                    .iter()
                    .all(|literal| range.excludes(group, Comparison::Eq, literal))
            };
            Some((0..range.sound.len()).map(none).collect())
        }
        Predicate::IsNull { column, negated } => {
            let nulls = converter(metadata, column)?
                .row_group_null_counts(metadata.metadata().row_groups())
                .ok()?;
            let groups = metadata.metadata().row_groups().iter().enumerate();
            Some(
                groups
                    .map(|(i, group)| {
                        let rows = u64::try_from(group.num_rows()).unwrap_or(u64::MAX);
                        nulls.is_valid(i) && nulls.value(i) == if *negated { rows } else { 0 }
                    })
                    .collect(),
            )
        }
        Predicate::And(parts) => {
            let known: Vec<_> = parts
                .iter()
                .filter_map(|part| impossible(metadata, part))
                .collect();
            let first = known.first()?.len();
            Some(
                (0..first)
                    .map(|group| known.iter().any(|part| part[group]))
                    .collect(),
            )
        }
        Predicate::Or(parts) => {
            let known: Option<Vec<_>> = parts.iter().map(|part| impossible(metadata, part)).collect();
            let known = known?;
            let first = known.first()?.len();
            Some(
                (0..first)
                    .map(|group| known.iter().all(|part| part[group]))
                    .collect(),
            )
        }
        Predicate::In { .. } | Predicate::Like { .. } | Predicate::Not(_) => None,
    }
}

fn converter<'a>(metadata: &'a ArrowReaderMetadata, column: &'a str) -> Option<StatisticsConverter<'a>> {
    let converter =
        StatisticsConverter::try_new(column, metadata.schema(), metadata.parquet_schema()).ok()?;
    Some(converter.with_missing_null_counts_as_zero(false))
}

/// The least and the greatest value of a column in every row group.
struct Range {
    /// For each row group whether its statistics were made in the order that values have.
    sound: Vec<bool>,
    least: ArrayRef,
    greatest: ArrayRef,
}

impl Range {
    fn of(metadata: &ArrowReaderMetadata, column: &str) -> Option<Range> {
        let converter = converter(metadata, column)?;
        let groups = metadata.metadata().row_groups();
        let (least, greatest) = (
            converter.row_group_mins(groups).ok()?,
            converter.row_group_maxes(groups).ok()?,
        );
        Some(Range {
            sound: sound(metadata, converter.parquet_column_index()?),
            least,
            greatest,
        })
    }

    fn excludes(&self, group: usize, op: Comparison, literal: &Literal) -> bool {
        if !self.sound[group] {
            return false;
        }
        let least = compare(&self.least, group, literal);
        let greatest = compare(&self.greatest, group, literal);
        let is =
            |side: Option<Ordering>, wanted: &[Ordering]| side.is_some_and(|found| wanted.contains(&found));
        match op {
            Comparison::Eq => is(least, &[Ordering::Greater]) || is(greatest, &[Ordering::Less]),
            Comparison::NotEq => false,
            Comparison::Lt => is(least, &[Ordering::Greater, Ordering::Equal]),
            Comparison::LtEq => is(least, &[Ordering::Greater]),
            Comparison::Gt => is(greatest, &[Ordering::Less, Ordering::Equal]),
            Comparison::GtEq => is(greatest, &[Ordering::Less]),
        }
    }
}

/// For each row group whether the least and the greatest value of a leaf can be believed. Statistics in the fields
/// `min` and `max`, and any without a column order, were made by comparing signed bytes or signed numbers
/// (parquet.thrift, `Statistics` and `ColumnOrder`): they are right for signed numbers alone.
fn sound(metadata: &ArrowReaderMetadata, leaf: usize) -> Vec<bool> {
    let column = metadata.parquet_schema().column(leaf);
    let numbers = matches!(column.physical_type(), Physical::INT32 | Physical::INT64);
    let signed = numbers && column.sort_order() == SortOrder::SIGNED;
    let ordered = matches!(
        metadata.metadata().file_metadata().column_order(leaf),
        ColumnOrder::TYPE_DEFINED_ORDER(_)
    );
    let groups = metadata.metadata().row_groups().iter();
    groups
        .map(|group| {
            let statistics = group.column(leaf).statistics();
            signed || (ordered && statistics.is_none_or(|s| !s.is_min_max_deprecated()))
        })
        .collect()
}

/// A statistic against a constant; `None` when it is unknown or of another kind.
fn compare(values: &ArrayRef, at: usize, literal: &Literal) -> Option<Ordering> {
    if values.is_null(at) {
        return None;
    }
    match literal {
        Literal::Int(number) => compare_number(number_at(values, at)?, (*number, 0)),
        Literal::Decimal(unscaled, scale) => compare_number(number_at(values, at)?, (*unscaled, *scale)),
        Literal::Text(text) => match values.data_type() {
            DataType::Utf8 => Some(
                values
                    .as_string::<i32>()
                    .value(at)
                    .as_bytes()
                    .cmp(text.as_bytes()),
            ),
            DataType::LargeUtf8 => Some(
                values
                    .as_string::<i64>()
                    .value(at)
                    .as_bytes()
                    .cmp(text.as_bytes()),
            ),
            DataType::Utf8View => Some(values.as_string_view().value(at).as_bytes().cmp(text.as_bytes())),
            _ => None,
        },
        Literal::Date(days) => values
            .as_primitive_opt::<Date32Type>()
            .map(|dates| dates.value(at).cmp(days)),
        Literal::Timestamp(micros) => match values.data_type() {
            DataType::Timestamp(unit, None) => compare_time(values, at, *unit, *micros),
            _ => None,
        },
        Literal::Instant(micros) => match values.data_type() {
            DataType::Timestamp(unit, Some(_)) => compare_time(values, at, *unit, *micros),
            _ => None,
        },
        Literal::Bool(_) | Literal::Float(_) | Literal::Bytes(_) => None,
    }
}

fn compare_time(values: &ArrayRef, at: usize, unit: TimeUnit, micros: i64) -> Option<Ordering> {
    let raw = arrow::compute::cast(values, &DataType::Int64).ok()?;
    let raw = i128::from(raw.as_primitive::<arrow::datatypes::Int64Type>().value(at));
    let nanos = match unit {
        TimeUnit::Second => raw * 1_000_000_000,
        TimeUnit::Millisecond => raw * 1_000_000,
        TimeUnit::Microsecond => raw * 1_000,
        TimeUnit::Nanosecond => raw,
    };
    Some(nanos.cmp(&(i128::from(micros) * 1_000)))
}

/// An integer or decimal as unscaled value and scale.
fn number_at(values: &ArrayRef, at: usize) -> Option<(i128, i8)> {
    match values.data_type() {
        DataType::Decimal128(_, scale) => Some((values.as_primitive::<Decimal128Type>().value(at), *scale)),
        DataType::UInt64 => Some((i128::from(values.as_primitive::<UInt64Type>().value(at)), 0)),
        other if other.is_integer() => {
            let wide = arrow::compute::cast(values, &DataType::Int64).ok()?;
            Some((
                i128::from(wide.as_primitive::<arrow::datatypes::Int64Type>().value(at)),
                0,
            ))
        }
        _ => None,
    }
}

fn compare_number(left: (i128, i8), right: (i128, i8)) -> Option<Ordering> {
    let scale = left.1.max(right.1);
    let raise = |(value, own): (i128, i8)| {
        let power = u32::try_from(i32::from(scale) - i32::from(own)).ok()?;
        value.checked_mul(10i128.checked_pow(power)?)
    };
    Some(raise(left)?.cmp(&raise(right)?))
}
