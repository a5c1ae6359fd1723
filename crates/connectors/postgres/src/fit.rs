//! Judges whether an incoming column fits a target column, and how it is written there.
//!
//! A type that holds every value is a fit; one that holds fewer numbers is told, so that the run is refused before it
//! begins; silent change is a loss that must be consented to by name; everything else does not fit. Types the server does not take in a binary form of ours are written as
//! text into staging and cast by the statement that publishes.

use arrow::datatypes::{DataType, Field, TimeUnit};
use synqx_sdk::{annotation, type_names};

use crate::catalog::Column;
use crate::mapping::{Kind, SYSTEM};

/// How values are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wire {
    Bool,
    Int2,
    Int4,
    Int8,
    Oid,
    Float4,
    Float8,
    Numeric,
    Text,
    Jsonb,
    Bytes,
    Date,
    Time,
    Timestamp,
    Interval,
    Uuid,
    /// Every value is NULL.
    Null,
    /// Element and its type's oid.
    List(Box<Wire>, u32),
}

/// A column that fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fit {
    pub(crate) wire: Wire,
    /// Written as this type into staging, then cast.
    pub(crate) staging: Option<&'static str>,
    /// What may be lost.
    pub(crate) loss: Option<String>,
    /// The column does not hold every value of the type that arrives: some would be refused while they are written.
    pub(crate) narrow: bool,
}

/// Why a column does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Misfit {
    /// No conversion that keeps the meaning.
    Types,
    /// The Arrow type has no PostgreSQL type.
    Unsupported,
}

fn exact(wire: Wire) -> Result<Fit, Misfit> {
    Ok(Fit {
        wire,
        staging: None,
        loss: None,
        narrow: false,
    })
}

fn lossy(wire: Wire, loss: impl Into<String>) -> Result<Fit, Misfit> {
    Ok(Fit {
        wire,
        staging: None,
        loss: Some(loss.into()),
        narrow: false,
    })
}

fn through(wire: Wire, staging: &'static str) -> Result<Fit, Misfit> {
    Ok(Fit {
        wire,
        staging: Some(staging),
        loss: None,
        narrow: false,
    })
}

/// Whether and how a field is written into a column.
pub(crate) fn fit(field: &Field, column: &Column) -> Result<Fit, Misfit> {
    let mut fit = match fit_kind(field, field.data_type(), &column.kind) {
        Err(Misfit::Types) if is_verbatim(field, column) => through(Wire::Text, "pg_catalog.text")?,
        judged => judged?,
    };
    // A value of this very type, such as timestamp(3), goes back where it came from unchanged.
    if annotation::native(field, SYSTEM) == Some(column.native.as_str()) {
        fit.loss = None;
    } else {
        fit.narrow = is_narrower(&column.kind, field.data_type());
    }
    Ok(fit)
}

/// Whether a text is what PostgreSQL printed of a value of the column's own type, which the column holds as it is.
fn is_verbatim(field: &Field, column: &Column) -> bool {
    let base = |native: &str| match native.split_once('(') {
        Some((head, rest)) => head.to_owned() + rest.split_once(')').map_or("", |(_, tail)| tail),
        None => native.to_owned(),
    };
    let whole = matches!(
        column.kind,
        Kind::Date | Kind::Time(6) | Kind::Timestamp(6) | Kind::TimestampTz(6) | Kind::Interval(true)
    );
    let timed = whole
        || matches!(
            column.kind,
            Kind::Time(_) | Kind::Timestamp(_) | Kind::TimestampTz(_) | Kind::Interval(_)
        );
    let native =
        annotation::native(field, SYSTEM).filter(|_| timed && type_names::is_text(field.data_type()));
    native.is_some_and(|native| native == column.native || (whole && base(native) == base(&column.native)))
}

/// Whether a column does not hold every value of a number type, or of lists of it.
fn is_narrower(target: &Kind, source: &DataType) -> bool {
    let holds = |least: i128, most: i128| range(source).is_some_and(|(from, to)| from < least || to > most);
    match (target, source) {
        (_, DataType::Dictionary(_, value)) => is_narrower(target, value),
        (Kind::Int2, _) => holds(i16::MIN.into(), i16::MAX.into()),
        (Kind::Int4, _) => holds(i32::MIN.into(), i32::MAX.into()),
        (Kind::Int8, _) => holds(i64::MIN.into(), i64::MAX.into()),
        (Kind::Oid, _) => holds(0, u32::MAX.into()),
        // Money counts cents in a bigint.
        (Kind::Money, _) => holds(i128::from(i64::MIN) / 100, i128::from(i64::MAX) / 100),
        (Kind::Numeric(Some((precision, scale))), _) => {
            digits(source).is_some_and(|digits| digits > i32::from(*precision) - i32::from(*scale))
        }
        (
            Kind::Array(element, _),
            DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _),
        ) => is_narrower(element, item.data_type()),
        _ => false,
    }
}

/// What a plan says about text that may be longer than its column: there is no text type to cast to, so it is told.
pub(crate) fn too_long(field: &Field, column: &Column) -> Option<String> {
    let length = |native: &str| -> Option<u32> {
        let rest = native
            .strip_prefix("character varying(")
            .or_else(|| native.strip_prefix("character("))?;
        rest.strip_suffix(')')?.parse().ok()
    };
    let most = length(&column.native)?;
    let arrives = annotation::native(field, SYSTEM).and_then(length);
    let longer = arrives.is_none_or(|arrives| arrives > most) && type_names::is_text(field.data_type());
    longer.then(|| {
        format!(
            "column `{}`: a text of more than {most} characters stops the run, the target's is {}",
            field.name(),
            column.native
        )
    })
}

/// Digits before the point that a number type can have.
fn digits(source: &DataType) -> Option<i32> {
    match decimal_of(source) {
        Some((precision, scale)) => Some(i32::from(precision) - i32::from(scale)),
        None => {
            let (least, most) = range(source)?;
            let larger = least.unsigned_abs().max(most.unsigned_abs());
            i32::try_from(larger.ilog10() + 1).ok()
        }
    }
}

/// The least and the greatest whole number of a type.
fn range(source: &DataType) -> Option<(i128, i128)> {
    Some(match source {
        DataType::Int8 => (i8::MIN.into(), i8::MAX.into()),
        DataType::Int16 => (i16::MIN.into(), i16::MAX.into()),
        DataType::Int32 => (i32::MIN.into(), i32::MAX.into()),
        DataType::Int64 => (i64::MIN.into(), i64::MAX.into()),
        DataType::UInt8 => (0, u8::MAX.into()),
        DataType::UInt16 => (0, u16::MAX.into()),
        DataType::UInt32 => (0, u32::MAX.into()),
        DataType::UInt64 => (0, u64::MAX.into()),
        other => {
            let (precision, scale) = decimal_of(other)?;
            let digits = (i32::from(precision) - i32::from(scale)).max(0).unsigned_abs();
            let most = 10i128.checked_pow(digits).map_or(i128::MAX, |most| most - 1);
            (-most, most)
        }
    })
}

fn fit_kind(field: &Field, source: &DataType, target: &Kind) -> Result<Fit, Misfit> {
    use DataType as D;
    if let D::Dictionary(_, value) = source {
        return fit_kind(field, value, target);
    }
    let integer = source.is_integer();
    let whole = integer || matches!(decimal_of(source), Some((_, s)) if s <= 0);
    match (source, target) {
        (D::Null, _) => exact(Wire::Null),
        (
            D::Struct(_)
            | D::Map(..)
            | D::Union(..)
            | D::RunEndEncoded(..)
            | D::ListView(_)
            | D::LargeListView(_),
            _,
        ) => Err(Misfit::Unsupported),
        (D::Boolean, Kind::Bool) => exact(Wire::Bool),
        (_, Kind::Int2) if whole => exact(Wire::Int2),
        (_, Kind::Int4) if whole => exact(Wire::Int4),
        (_, Kind::Int8) if whole => exact(Wire::Int8),
        (_, Kind::Oid) if integer => exact(Wire::Oid),
        (_, Kind::Int2 | Kind::Int4 | Kind::Int8) if decimal_of(source).is_some() => Err(Misfit::Types),
        (D::Float16 | D::Float32, Kind::Float4) => exact(Wire::Float4),
        (D::Float16 | D::Float32 | D::Float64, Kind::Float8) => exact(Wire::Float8),
        (D::Float64, Kind::Float4) => lossy(Wire::Float4, "digits beyond real's 24 bits"),
        (D::Int8 | D::Int16 | D::UInt8 | D::UInt16, Kind::Float4) => exact(Wire::Float4),
        (D::Int8 | D::Int16 | D::Int32 | D::UInt8 | D::UInt16 | D::UInt32, Kind::Float8) => {
            exact(Wire::Float8)
        }
        (_, Kind::Float4 | Kind::Float8) if integer => lossy(
            if *target == Kind::Float4 {
                Wire::Float4
            } else {
                Wire::Float8
            },
            "digits beyond the float's precision",
        ),
        (_, Kind::Numeric(declared)) => numeric(field, source, *declared),
        (_, Kind::Money) if whole || decimal_of(source).is_some_and(|(_, s)| s <= 2) => {
            through(Wire::Numeric, "pg_catalog.numeric")
        }
        (_, Kind::Text | Kind::Bpchar | Kind::Json | Kind::Enum) if type_names::is_text(source) => {
            exact(Wire::Text)
        }
        (_, Kind::Jsonb) if type_names::is_text(source) => exact(Wire::Jsonb),
        (_, Kind::Uuid | Kind::Inet | Kind::TimeTz(_) | Kind::Array(..) | Kind::Other)
            if type_names::is_text(source) =>
        {
            let loss = rounded(target);
            through(Wire::Text, "pg_catalog.text").map(|fit| Fit { loss, ..fit })
        }
        (D::FixedSizeBinary(16), Kind::Uuid) => exact(Wire::Uuid),
        (D::Binary | D::LargeBinary | D::BinaryView | D::FixedSizeBinary(_), Kind::Bytea) => {
            exact(Wire::Bytes)
        }
        (D::Date32 | D::Date64, Kind::Date) => exact(Wire::Date),
        (D::Date32, Kind::Timestamp(_)) => exact(Wire::Timestamp),
        (D::Time32(unit) | D::Time64(unit), Kind::Time(digits)) => clock(Wire::Time, *unit, *digits),
        (D::Timestamp(unit, None), Kind::Timestamp(digits)) => clock(Wire::Timestamp, *unit, *digits),
        (D::Timestamp(unit, Some(_)), Kind::TimestampTz(digits)) => clock(Wire::Timestamp, *unit, *digits),
        (D::Interval(_) | D::Duration(_), Kind::Interval(true)) => exact(Wire::Interval),
        (D::Interval(_) | D::Duration(_), Kind::Interval(false)) => lossy(
            Wire::Interval,
            "fields and digits that the column's interval does not have",
        ),
        (D::List(item) | D::LargeList(item) | D::FixedSizeList(item, _), Kind::Array(element, oid)) => {
            let inner = fit_kind(item, item.data_type(), element)?;
            if inner.staging.is_some() {
                return Err(Misfit::Types);
            }
            Ok(Fit {
                wire: Wire::List(Box::new(inner.wire), *oid),
                staging: None,
                loss: inner.loss,
                narrow: false,
            })
        }
        _ => Err(Misfit::Types),
    }
}

/// What a type, or the elements of an array, would lose of a text with more digits: the cast rounds them in silence.
fn rounded(target: &Kind) -> Option<String> {
    match target {
        Kind::Array(element, _) => rounded(element),
        Kind::Numeric(Some((_, scale))) => Some(format!("decimal places beyond {scale}")),
        Kind::Time(digits) | Kind::TimeTz(digits) | Kind::Timestamp(digits) | Kind::TimestampTz(digits)
            if *digits < 6 =>
        {
            Some(format!("decimal places of the second beyond {digits}"))
        }
        Kind::Interval(false) => {
            Some("fields and digits that the element's interval does not have".to_owned())
        }
        _ => None,
    }
}

fn clock(wire: Wire, unit: TimeUnit, digits: u8) -> Result<Fit, Misfit> {
    let has = match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    };
    if has > digits {
        return lossy(wire, format!("decimal places of the second beyond {digits}"));
    }
    exact(wire)
}

fn decimal_of(source: &DataType) -> Option<(u8, i8)> {
    match source {
        DataType::Decimal32(p, s)
        | DataType::Decimal64(p, s)
        | DataType::Decimal128(p, s)
        | DataType::Decimal256(p, s) => Some((*p, *s)),
        _ => None,
    }
}

fn numeric(field: &Field, source: &DataType, declared: Option<(u16, i16)>) -> Result<Fit, Misfit> {
    if source.is_integer() {
        return match declared {
            Some((_, scale)) if scale < 0 => lossy(Wire::Numeric, format!("digits below 10^{}", -scale)),
            _ => exact(Wire::Numeric),
        };
    }
    if let Some((_, places)) = decimal_of(source) {
        return match declared {
            Some((_, scale)) if scale < i16::from(places) => {
                lossy(Wire::Numeric, format!("decimal places beyond {scale}"))
            }
            _ => exact(Wire::Numeric),
        };
    }
    if type_names::is_text(source) && annotation::is_numeric_text(field) {
        return match declared {
            None => exact(Wire::Numeric),
            Some((_, scale)) => lossy(Wire::Numeric, format!("decimal places beyond {scale}")),
        };
    }
    Err(Misfit::Types)
}

/// The expression that publishes a column from staging; lengths are left to the assignment, which refuses what a cast would cut.
pub(crate) fn publish_cast(column: &Column, name: &str) -> String {
    let native = column.native.as_str();
    if native == "regclass" {
        // Its cast looks a relation up; its input also reads `-`, which it prints for none.
        return format!("pg_catalog.regclassin(pg_catalog.textout({name}))");
    }
    let (element, brackets) = native.split_at(native.find("[]").unwrap_or(native.len()));
    let base = match element.split('(').next() {
        Some("bit varying") => "pg_catalog.varbit",
        Some("bit") => "pg_catalog.\"bit\"",
        Some("character varying") => "pg_catalog.\"varchar\"",
        Some("character") => "pg_catalog.bpchar",
        _ => return format!("{name}::{native}"),
    };
    format!("{name}::{base}{brackets}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(source: DataType, target: Kind) -> &'static str {
        let narrow = is_narrower(&target, &source);
        match fit_kind(&Field::new("c", source.clone(), true), &source, &target) {
            Ok(Fit { loss: Some(_), .. }) => "loss",
            Ok(_) if narrow => "narrow",
            Ok(Fit { staging: Some(_), .. }) => "cast",
            Ok(_) => "exact",
            Err(_) => "no",
        }
    }

    #[test]
    fn nothing_is_changed_in_silence() {
        let micros = |zone: bool| DataType::Timestamp(TimeUnit::Microsecond, zone.then(|| "UTC".into()));
        for (source, target, verdict) in [
            (DataType::Int64, Kind::Int4, "narrow"),
            (DataType::UInt64, Kind::Int8, "narrow"),
            (DataType::UInt32, Kind::Int4, "narrow"),
            (DataType::UInt16, Kind::Int4, "exact"),
            (DataType::Int32, Kind::Oid, "narrow"),
            (DataType::UInt32, Kind::Oid, "exact"),
            (DataType::Int64, Kind::Money, "narrow"),
            (DataType::Int32, Kind::Money, "cast"),
            (DataType::UInt64, Kind::Numeric(Some((20, 0))), "exact"),
            (DataType::UInt64, Kind::Numeric(Some((19, 0))), "narrow"),
            (DataType::Int32, Kind::Numeric(Some((12, 2))), "exact"),
            (DataType::Int32, Kind::Numeric(Some((11, 2))), "narrow"),
            (
                DataType::Decimal128(13, 2),
                Kind::Numeric(Some((12, 2))),
                "narrow",
            ),
            (DataType::Decimal256(76, 20), Kind::Numeric(None), "exact"),
            (DataType::Decimal128(9, 0), Kind::Int4, "exact"),
            (DataType::Decimal128(18, 0), Kind::Int8, "exact"),
            (DataType::Decimal256(60, 0), Kind::Int8, "narrow"),
            (DataType::Decimal128(7, -2), Kind::Int4, "exact"),
            (DataType::Decimal128(8, -2), Kind::Int4, "narrow"),
            (DataType::Float64, Kind::Float4, "loss"),
            (DataType::Int64, Kind::Float8, "loss"),
            (DataType::Decimal128(10, 2), Kind::Numeric(Some((12, 2))), "exact"),
            (DataType::Decimal128(10, 4), Kind::Numeric(Some((12, 2))), "loss"),
            (DataType::Decimal128(10, 2), Kind::Int4, "no"),
            (DataType::Decimal128(10, 0), Kind::Int4, "narrow"),
            (DataType::Utf8, Kind::Int4, "no"),
            (DataType::Utf8, Kind::Other, "cast"),
            (DataType::Utf8, Kind::Enum, "exact"),
            (DataType::Int32, Kind::Text, "no"),
            (micros(false), Kind::TimestampTz(6), "no"),
            (micros(true), Kind::TimestampTz(6), "exact"),
            (micros(true), Kind::TimestampTz(3), "loss"),
            (DataType::Utf8, Kind::TimeTz(6), "cast"),
            (DataType::Utf8, Kind::TimeTz(3), "loss"),
            (DataType::Utf8, Kind::Date, "no"),
            (
                DataType::Interval(arrow::datatypes::IntervalUnit::MonthDayNano),
                Kind::Interval(true),
                "exact",
            ),
            (
                DataType::Interval(arrow::datatypes::IntervalUnit::MonthDayNano),
                Kind::Interval(false),
                "loss",
            ),
            (
                DataType::Timestamp(TimeUnit::Nanosecond, None),
                Kind::Timestamp(6),
                "loss",
            ),
            (
                DataType::Struct(arrow::datatypes::Fields::empty()),
                Kind::Jsonb,
                "no",
            ),
        ] {
            assert_eq!(
                judge(source.clone(), target.clone()),
                verdict,
                "{source} → {target:?}"
            );
        }
    }
}
