//! The one table native type ↔ Arrow type ↔ what is lost. Nothing else in the crate knows it.
//!
//! Reading: a [`Kind`] says how the server sends a type and which Arrow type holds it without loss; what has no
//! Arrow type that holds it is read as text through a cast ([`Kind::Other`]) and keeps its native name.
//! Writing: [`native_for`] is the column a field becomes in a new table, [`fit`](crate::fit) judges existing ones.

use std::sync::Arc;

use arrow::datatypes::{
    DECIMAL128_MAX_PRECISION, DECIMAL256_MAX_PRECISION, DataType, Field, IntervalUnit, TimeUnit,
};
use synqx_sdk::annotation;

/// The system's word in annotations.
pub(crate) const SYSTEM: &str = "postgresql";

/// How the server sends and takes a type in binary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Bool,
    Int2,
    Int4,
    Int8,
    Oid,
    Float4,
    Float8,
    /// Precision and scale, where declared.
    Numeric(Option<(u16, i16)>),
    /// text, varchar, name, citext.
    Text,
    Bpchar,
    Bytea,
    Date,
    /// Digits of the second.
    Time(u8),
    Timestamp(u8),
    TimestampTz(u8),
    /// Whether it holds every field and six digits: not `interval(3)`, not `interval year`.
    Interval(bool),
    Uuid,
    Json,
    Jsonb,
    Money,
    Enum,
    /// Element and its type's oid.
    Array(Box<Kind>, u32),
    /// Read and written as text. Its cast to text adds the mask of a single host, which its output leaves out.
    Inet,
    /// Digits of the second. Read and written as text.
    TimeTz(u8),
    /// Anything else: read and written as text.
    Other,
}

impl Kind {
    /// The kind of a built-in base type.
    pub(crate) fn of_builtin(oid: u32, typmod: i32) -> Kind {
        let digits = if (0..=6).contains(&typmod) {
            typmod as u8
        } else {
            6
        };
        match oid {
            16 => Kind::Bool,
            21 => Kind::Int2,
            23 => Kind::Int4,
            20 => Kind::Int8,
            26 => Kind::Oid,
            700 => Kind::Float4,
            701 => Kind::Float8,
            1700 => Kind::Numeric(numeric_typmod(typmod)),
            25 | 1043 | 19 => Kind::Text,
            1042 => Kind::Bpchar,
            17 => Kind::Bytea,
            1082 => Kind::Date,
            1083 => Kind::Time(digits),
            1114 => Kind::Timestamp(digits),
            1184 => Kind::TimestampTz(digits),
            1186 => Kind::Interval(interval_is_whole(typmod)),
            1266 => Kind::TimeTz(digits),
            2950 => Kind::Uuid,
            114 => Kind::Json,
            3802 => Kind::Jsonb,
            790 => Kind::Money,
            869 => Kind::Inet,
            _ => Kind::Other,
        }
    }

    /// Whether arrays of it are read as lists.
    pub(crate) fn is_element(&self) -> bool {
        !matches!(
            self,
            Kind::Array(..) | Kind::Other | Kind::TimeTz(_) | Kind::Inet | Kind::Money | Kind::Oid
        )
    }

    /// How a read asks for a column, given its quoted name.
    pub(crate) fn read(&self, name: &str) -> String {
        match self {
            Kind::Other | Kind::TimeTz(_) => format!("{name}::pg_catalog.text"),
            Kind::Inet => format!("pg_catalog.textin(pg_catalog.inet_out({name}))"),
            Kind::Money => format!("{name}::pg_catalog.numeric"),
            _ => name.to_owned(),
        }
    }

    /// The Arrow type that holds it.
    pub(crate) fn arrow(&self) -> DataType {
        match self {
            Kind::Bool => DataType::Boolean,
            Kind::Int2 => DataType::Int16,
            Kind::Int4 => DataType::Int32,
            Kind::Int8 => DataType::Int64,
            Kind::Oid => DataType::UInt32,
            Kind::Float4 => DataType::Float32,
            Kind::Float8 => DataType::Float64,
            Kind::Numeric(declared) => match declared.and_then(|(p, s)| decimal_shape(p, s)) {
                Some((p, s)) if p <= DECIMAL128_MAX_PRECISION => DataType::Decimal128(p, s),
                Some((p, s)) => DataType::Decimal256(p, s),
                None => DataType::Utf8View,
            },
            Kind::Text
            | Kind::Bpchar
            | Kind::Json
            | Kind::Jsonb
            | Kind::Enum
            | Kind::Inet
            | Kind::TimeTz(_)
            | Kind::Other => DataType::Utf8View,
            Kind::Bytea => DataType::BinaryView,
            Kind::Date => DataType::Date32,
            Kind::Time(_) => DataType::Time64(TimeUnit::Microsecond),
            Kind::Timestamp(_) => DataType::Timestamp(TimeUnit::Microsecond, None),
            Kind::TimestampTz(_) => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Kind::Interval(_) => DataType::Interval(IntervalUnit::MonthDayNano),
            Kind::Uuid => DataType::FixedSizeBinary(16),
            Kind::Money => DataType::Decimal128(19, 2),
            Kind::Array(element, _) => {
                DataType::List(Arc::new(element.mark(Field::new("item", element.arrow(), true))))
            }
        }
    }

    /// Adds what the Arrow type cannot say.
    pub(crate) fn mark(&self, field: Field) -> Field {
        match self {
            Kind::Uuid => annotation::annotate(field, annotation::EXTENSION, annotation::EXTENSION_UUID),
            Kind::Json | Kind::Jsonb => {
                annotation::annotate(field, annotation::EXTENSION, annotation::EXTENSION_JSON)
            }
            Kind::Numeric(_) if *field.data_type() == DataType::Utf8View => {
                annotation::annotate(field, annotation::LOGICAL, annotation::LOGICAL_NUMERIC)
            }
            _ => field,
        }
    }
}

/// Precision and scale in a numeric's typmod.
fn numeric_typmod(typmod: i32) -> Option<(u16, i16)> {
    if typmod < 4 {
        return None;
    }
    let bits = typmod - 4;
    // The scale is eleven bits with a sign since PostgreSQL 15.
    let scale = ((bits & 0x7ff) ^ 1024) - 1024;
    Some((((bits >> 16) & 0xffff) as u16, scale as i16))
}

/// Fields in the upper sixteen bits, digits in the lower (`INTERVAL_TYPMOD` of the server's timestamp.h).
fn interval_is_whole(typmod: i32) -> bool {
    typmod < 0 || (typmod >> 16 == 0x7fff && matches!(typmod & 0xffff, 6 | 0xffff))
}

/// The Arrow decimal that holds numeric(p, s): a negative scale becomes digits, a scale beyond the precision widens it.
fn decimal_shape(precision: u16, scale: i16) -> Option<(u8, i8)> {
    let (digits, places) = match scale {
        s if s < 0 => (i32::from(precision) - i32::from(s), 0),
        s => (i32::from(precision).max(i32::from(s)), s),
    };
    (digits <= i32::from(DECIMAL256_MAX_PRECISION)).then_some((digits as u8, places as i8))
}

/// The native type a new column gets for a field that does not come from PostgreSQL; `None` when there is none.
pub(crate) fn native_for(field: &Field) -> Option<String> {
    Some(match field.data_type() {
        DataType::Null => "text".into(),
        DataType::Boolean => "boolean".into(),
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => "smallint".into(),
        DataType::Int32 | DataType::UInt16 => "integer".into(),
        DataType::Int64 | DataType::UInt32 => "bigint".into(),
        DataType::UInt64 => "numeric(20,0)".into(),
        DataType::Float16 | DataType::Float32 => "real".into(),
        DataType::Float64 => "double precision".into(),
        DataType::Decimal32(p, s)
        | DataType::Decimal64(p, s)
        | DataType::Decimal128(p, s)
        | DataType::Decimal256(p, s) => {
            if *s < 0 {
                format!("numeric({},0)", i32::from(*p) - i32::from(*s))
            } else {
                format!("numeric({p},{s})")
            }
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            if annotation::is_json(field) {
                "json".into()
            } else if annotation::is_numeric_text(field) {
                "numeric".into()
            } else {
                "text".into()
            }
        }
        DataType::FixedSizeBinary(16) if annotation::is_uuid(field) => "uuid".into(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            "bytea".into()
        }
        DataType::Date32 | DataType::Date64 => "date".into(),
        DataType::Time32(_) | DataType::Time64(_) => "time".into(),
        DataType::Timestamp(_, None) => "timestamp".into(),
        DataType::Timestamp(_, Some(_)) => "timestamptz".into(),
        DataType::Duration(_) | DataType::Interval(_) => "interval".into(),
        DataType::Dictionary(_, value) => {
            native_for(&Field::new(field.name(), value.as_ref().clone(), true))?
        }
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            if matches!(
                item.data_type(),
                DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..)
            ) {
                return None;
            }
            format!("{}[]", native_for(item)?)
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numeric_becomes_the_smallest_exact_decimal_or_text() {
        let typmod = |p: i32, s: i32| ((p << 16) | (s & 0x7ff)) + 4;
        let arrow = |p, s| Kind::of_builtin(1700, typmod(p, s)).arrow();
        assert_eq!(arrow(12, 2), DataType::Decimal128(12, 2));
        assert_eq!(arrow(38, 38), DataType::Decimal128(38, 38));
        assert_eq!(arrow(39, 0), DataType::Decimal256(39, 0));
        assert_eq!(arrow(3, 5), DataType::Decimal128(5, 5));
        assert_eq!(arrow(3, -2), DataType::Decimal128(5, 0));
        assert_eq!(arrow(1000, 2), DataType::Utf8View);
        assert_eq!(Kind::of_builtin(1700, -1).arrow(), DataType::Utf8View);
    }

    #[test]
    fn every_flat_arrow_type_has_a_column_or_is_refused() {
        for (data_type, native) in [
            (DataType::UInt64, Some("numeric(20,0)")),
            (DataType::Decimal128(10, -3), Some("numeric(13,0)")),
            (
                DataType::Timestamp(TimeUnit::Nanosecond, Some("Europe/Paris".into())),
                Some("timestamptz"),
            ),
            (
                DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8)),
                Some("text"),
            ),
            (
                DataType::List(Arc::new(Field::new("item", DataType::Int32, true))),
                Some("integer[]"),
            ),
            (DataType::Struct(arrow::datatypes::Fields::empty()), None),
        ] {
            assert_eq!(
                native_for(&Field::new("c", data_type.clone(), true)).as_deref(),
                native,
                "{data_type}"
            );
        }
        let json = annotation::annotate(
            Field::new("c", DataType::Utf8View, true),
            annotation::EXTENSION,
            annotation::EXTENSION_JSON,
        );
        assert_eq!(native_for(&json).as_deref(), Some("json"));
    }
}
