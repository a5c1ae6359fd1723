//! The one table: declared SQLite type ↔ Arrow type ↔ how a value is stored.
//!
//! SQLite has five storage classes and lets any column hold any of them; what a column *means* is its declared type.
//! `Kind` is that meaning. Names this connector declares end in `_TEXT` where the exact form is text, because a name
//! without it (`DECIMAL`, `JSON`) has NUMERIC affinity, and SQLite would turn the text `1.10` into the number 1.1.

use arrow::datatypes::{DataType, Field, TimeUnit};
use synqx_model::{Code, Error, Result};
use synqx_sdk::annotation;
use synqx_sdk::type_names::render_type;

/// The system of native annotations.
pub(crate) const SYSTEM: &str = "sqlite";

/// What SQLite prefers to store in a column (sqlite.org/datatype3.html, section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Affinity {
    Integer,
    Text,
    Blob,
    Real,
    Numeric,
}

/// The affinity of a declared type.
pub(crate) fn affinity(declared: &str) -> Affinity {
    let upper = declared.to_uppercase();
    let has = |part: &str| upper.contains(part);
    if has("INT") {
        Affinity::Integer
    } else if has("CHAR") || has("CLOB") || has("TEXT") {
        Affinity::Text
    } else if has("BLOB") || upper.trim().is_empty() {
        Affinity::Blob
    } else if has("REAL") || has("FLOA") || has("DOUB") {
        Affinity::Real
    } else {
        Affinity::Numeric
    }
}

/// What a column means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Boolean,
    Integer,
    Real,
    /// Digits, places.
    Decimal(u8, i8),
    /// An exact decimal of any size.
    Numeric,
    Text,
    Blob,
    Date,
    Time,
    /// Nanoseconds instead of microseconds; with a zone.
    Timestamp {
        nanos: bool,
        zoned: bool,
    },
    Json,
    Uuid,
    /// Nothing declared: whatever is stored.
    Untyped,
}

/// What a declared type means.
pub(crate) fn kind_of(declared: &str) -> Kind {
    let lower = declared.trim().to_lowercase();
    let (name, arguments) = match lower.split_once('(') {
        Some((name, rest)) => (
            name.trim().to_owned(),
            rest.split(')').next().unwrap_or("").to_owned(),
        ),
        None => (lower.clone(), String::new()),
    };
    let numbers: Vec<i16> = arguments
        .split(',')
        .filter_map(|a| a.trim().parse().ok())
        .collect();
    let nanos = numbers.first().is_some_and(|digits| *digits > 6);
    match name.as_str() {
        "boolean" | "bool" => Kind::Boolean,
        "date" | "date_text" => Kind::Date,
        "time" | "time_text" => Kind::Time,
        "datetime" | "timestamp" | "timestamp_text" | "timestamp without time zone" => {
            Kind::Timestamp { nanos, zoned: false }
        }
        "timestamptz" | "timestamptz_text" | "timestamp with time zone" | "datetimeoffset" => {
            Kind::Timestamp { nanos, zoned: true }
        }
        "decimal" | "numeric" | "dec" | "number" | "decimal_text" | "numeric_text" => {
            match numbers.as_slice() {
                [precision] => decimal(*precision, 0),
                [precision, scale] => decimal(*precision, *scale),
                _ => Kind::Numeric,
            }
        }
        "json" | "jsonb" | "json_text" => Kind::Json,
        "uuid" | "guid" | "uniqueidentifier" | "uuid_text" => Kind::Uuid,
        _ => match affinity(declared) {
            Affinity::Integer => Kind::Integer,
            Affinity::Text => Kind::Text,
            Affinity::Real => Kind::Real,
            Affinity::Blob if !name.is_empty() => Kind::Blob,
            // `STRING`, `ANY`, `MONEY`: a name SQLite takes for NUMERIC says nothing about the values.
            Affinity::Blob | Affinity::Numeric => Kind::Untyped,
        },
    }
}

fn decimal(precision: i16, scale: i16) -> Kind {
    match (u8::try_from(precision), i8::try_from(scale)) {
        (Ok(p @ 1..=76), Ok(s)) if s >= 0 && i16::from(s) <= precision => Kind::Decimal(p, s),
        _ => Kind::Numeric,
    }
}

impl Kind {
    /// The field a column of this meaning is read as.
    pub(crate) fn field(self, name: &str) -> Field {
        let field = |data_type| Field::new(name, data_type, true);
        match self {
            Kind::Boolean => field(DataType::Boolean),
            Kind::Integer => field(DataType::Int64),
            Kind::Real => field(DataType::Float64),
            Kind::Decimal(p @ 0..=38, s) => field(DataType::Decimal128(p, s)),
            Kind::Decimal(p, s) => field(DataType::Decimal256(p, s)),
            Kind::Numeric => annotation::annotate(
                field(DataType::Utf8View),
                annotation::LOGICAL,
                annotation::LOGICAL_NUMERIC,
            ),
            Kind::Text | Kind::Untyped => field(DataType::Utf8View),
            Kind::Blob => field(DataType::BinaryView),
            Kind::Date => field(DataType::Date32),
            Kind::Time => field(DataType::Time64(TimeUnit::Microsecond)),
            Kind::Timestamp { nanos, zoned } => {
                let unit = if nanos {
                    TimeUnit::Nanosecond
                } else {
                    TimeUnit::Microsecond
                };
                field(DataType::Timestamp(unit, zoned.then(|| "UTC".into())))
            }
            Kind::Json => annotation::annotate(
                field(DataType::Utf8View),
                annotation::EXTENSION,
                annotation::EXTENSION_JSON,
            ),
            Kind::Uuid => annotation::annotate(
                field(DataType::FixedSizeBinary(16)),
                annotation::EXTENSION,
                annotation::EXTENSION_UUID,
            ),
        }
    }

    /// The meaning of a field that was read, or that is to be written. Errors: `E0407`.
    pub(crate) fn of_field(field: &Field) -> Result<Kind> {
        Ok(match field.data_type() {
            DataType::Null => Kind::Text,
            DataType::Boolean => Kind::Boolean,
            DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => Kind::Integer,
            DataType::UInt8 | DataType::UInt16 | DataType::UInt32 => Kind::Integer,
            DataType::UInt64 => Kind::Decimal(20, 0),
            DataType::Float16 | DataType::Float32 | DataType::Float64 => Kind::Real,
            DataType::Decimal32(p, s)
            | DataType::Decimal64(p, s)
            | DataType::Decimal128(p, s)
            | DataType::Decimal256(p, s) => match u8::try_from(i16::from(*p) - i16::from(*s.min(&0))) {
                Ok(precision @ 1..=76) => Kind::Decimal(precision, (*s).max(0)),
                _ => Kind::Numeric,
            },
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
                if annotation::is_numeric_text(field) =>
            {
                Kind::Numeric
            }
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View if annotation::is_json(field) => {
                Kind::Json
            }
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Kind::Text,
            DataType::FixedSizeBinary(16) if annotation::is_uuid(field) => Kind::Uuid,
            DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_) => Kind::Blob,
            DataType::Date32 | DataType::Date64 => Kind::Date,
            DataType::Time32(_) | DataType::Time64(TimeUnit::Microsecond) => Kind::Time,
            DataType::Timestamp(unit, zone) => Kind::Timestamp {
                nanos: *unit == TimeUnit::Nanosecond,
                zoned: zone.is_some(),
            },
            DataType::List(_)
            | DataType::LargeList(_)
            | DataType::FixedSizeList(..)
            | DataType::Struct(_)
            | DataType::Map(..) => Kind::Json,
            DataType::Dictionary(_, value) => Kind::of_field(
                &Field::new(field.name(), value.as_ref().clone(), true)
                    .with_metadata(field.metadata().clone()),
            )?,
            other => {
                return Err(Error::new(
                    Code::E0407,
                    format!("SQLite has no form for column `{}`", field.name()),
                )
                .with_detail(format!("Its type is {}.", render_type(other)))
                .with_hint("put a `cast` to text or bigint before the load"));
            }
        })
    }

    /// The name a created column is declared with.
    pub(crate) fn declared(self) -> String {
        match self {
            Kind::Boolean => "BOOLEAN".into(),
            Kind::Integer => "INTEGER".into(),
            Kind::Real => "REAL".into(),
            Kind::Decimal(p, s) => format!("DECIMAL_TEXT({p},{s})"),
            Kind::Numeric => "NUMERIC_TEXT".into(),
            Kind::Text => "TEXT".into(),
            Kind::Blob => "BLOB".into(),
            Kind::Date => "DATE_TEXT".into(),
            Kind::Time => "TIME_TEXT".into(),
            Kind::Timestamp { nanos, zoned } => {
                let digits = if nanos { "(9)" } else { "" };
                format!("{}_TEXT{digits}", if zoned { "TIMESTAMPTZ" } else { "TIMESTAMP" })
            }
            Kind::Json => "JSON_TEXT".into(),
            Kind::Uuid => "UUID_TEXT".into(),
            Kind::Untyped => String::new(),
        }
    }
}

/// How well a column of the load fits a column of the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fit {
    /// Every value is held exactly, or refused one by one while writing.
    Exact,
    /// Values would be rounded.
    Lossy,
    /// Different things.
    No,
}

/// Whether a column of the target, as declared, holds what arrives.
pub(crate) fn fit(incoming: &Field, declared: &str) -> Result<Fit> {
    let (from, to, affinity) = (Kind::of_field(incoming)?, kind_of(declared), affinity(declared));
    let null = *incoming.data_type() == DataType::Null;
    let as_text = affinity == Affinity::Text || affinity == Affinity::Blob;
    let narrow = matches!(
        incoming.data_type(),
        DataType::Int8
            | DataType::Int16
            | DataType::Int32
            | DataType::UInt8
            | DataType::UInt16
            | DataType::UInt32
    );
    Ok(match (from, to) {
        _ if null => Fit::Exact,
        (Kind::Boolean | Kind::Integer | Kind::Real | Kind::Blob, Kind::Untyped) => Fit::Exact,
        (Kind::Text | Kind::Json, Kind::Untyped) if affinity == Affinity::Blob => Fit::Exact,
        (Kind::Text | Kind::Json, Kind::Untyped) => Fit::Lossy,
        (Kind::Integer, Kind::Decimal(..) | Kind::Numeric) => Fit::Exact,
        (Kind::Integer, Kind::Real) if narrow => Fit::Exact,
        (Kind::Integer, Kind::Real) => Fit::Lossy,
        // What a NUMERIC column stores of a float is the float itself.
        (Kind::Real, Kind::Decimal(..) | Kind::Numeric) if affinity == Affinity::Numeric => Fit::Exact,
        (Kind::Decimal(_, 0), Kind::Integer) => Fit::Exact,
        (Kind::Decimal(_, s), Kind::Decimal(_, to)) if s <= to && (as_text || s == 0) => Fit::Exact,
        (Kind::Decimal(_, s), Kind::Numeric) if as_text || s == 0 => Fit::Exact,
        (Kind::Decimal(..) | Kind::Numeric, Kind::Real) => Fit::Lossy,
        (Kind::Decimal(..) | Kind::Numeric, Kind::Decimal(..) | Kind::Numeric)
            if affinity == Affinity::Numeric =>
        {
            Fit::Lossy
        }
        (Kind::Numeric, Kind::Numeric | Kind::Text) if as_text => Fit::Exact,
        (Kind::Json, Kind::Text) | (Kind::Text, Kind::Json) | (Kind::Uuid, Kind::Blob) => Fit::Exact,
        (
            Kind::Timestamp {
                zoned: a,
                nanos: from,
            },
            Kind::Timestamp { zoned: b, nanos: to },
        ) if a == b => {
            if from && !to {
                Fit::Lossy
            } else {
                Fit::Exact
            }
        }
        (a, b) if a == b => Fit::Exact,
        _ => Fit::No,
    })
}

/// What values that arrive and values that a column stores are compared as, to tell which is greater; `None` where
/// they have no common order.
pub(crate) fn comparable(incoming: &Field, declared: &str) -> Option<Kind> {
    Some(match (Kind::of_field(incoming).ok()?, kind_of(declared)) {
        (Kind::Json, _) | (_, Kind::Json) => return None,
        (Kind::Real, _) | (_, Kind::Real) => Kind::Real,
        (Kind::Integer, Kind::Decimal(_, s)) => Kind::Decimal(38, s),
        (Kind::Integer, Kind::Numeric) => Kind::Decimal(38, 0),
        (Kind::Decimal(p, _), Kind::Decimal(q, s)) => Kind::Decimal(p.max(q), s),
        (Kind::Decimal(_, s), Kind::Numeric) => Kind::Decimal(76, s),
        (from, Kind::Untyped) => from,
        (_, to) => to,
    })
}

/// The declared type a created column gets: the source's own, when it is SQLite and holds every value exactly.
pub(crate) fn declare(field: &Field) -> Result<String> {
    let kind = Kind::of_field(field)?;
    if let Some(native) = annotation::native(field, SYSTEM) {
        let same = if native.trim().is_empty() {
            kind == Kind::Text || kind == Kind::Blob
        } else {
            fit(field, native)? == Fit::Exact
        };
        if same && is_plain(native) {
            let collation = field
                .metadata()
                .get(annotation::COLLATION)
                .filter(|c| kind == Kind::Text && ["NOCASE", "RTRIM"].contains(&c.as_str()));
            return Ok(collation.map_or_else(|| native.to_owned(), |c| format!("{native} COLLATE {c}")));
        }
    }
    Ok(kind.declared())
}

/// Whether a declared type is words with numbers in parentheses, so that it may stand in a statement unquoted.
pub(crate) fn is_plain(declared: &str) -> bool {
    let (words, rest) = declared.split_at(declared.find('(').unwrap_or(declared.len()));
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ' ');
    let number = |c: char| c.is_ascii_digit() || matches!(c, ',' | ' ' | '+' | '-');
    let first = words.trim().chars().next();
    // A constraint's first word must not slip in as a type.
    let reserved = [
        "constraint",
        "primary",
        "not",
        "null",
        "unique",
        "check",
        "default",
        "collate",
        "references",
        "generated",
        "as",
    ];
    let clean = words
        .split_whitespace()
        .all(|w| !reserved.contains(&w.to_lowercase().as_str()));
    first.is_none_or(|c| c.is_ascii_alphabetic())
        && words.chars().all(word)
        && clean
        && (rest.is_empty() || (rest.ends_with(')') && rest[1..rest.len() - 1].chars().all(number)))
}
