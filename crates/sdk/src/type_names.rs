//! Type names as documents write them, and Arrow types as people read them.
//!
//! One spelling for `cast`, for declared CSV columns and for messages. Text is carried as string views, timestamps
//! in microseconds (other units are read, `timestamp(9)` writes nanoseconds), decimals exactly.

use arrow::datatypes::{DataType, IntervalUnit, TimeUnit};
use synqx_model::nearest::did_you_mean;
use synqx_model::{Code, Error, Result};

const NAMES: [&str; 20] = [
    "boolean",
    "smallint",
    "int",
    "bigint",
    "real",
    "double",
    "decimal(p,s)",
    "text",
    "bytes",
    "date",
    "time",
    "timestamp",
    "timestamptz",
    "interval",
    "tinyint",
    "utinyint",
    "usmallint",
    "uint",
    "ubigint",
    "null",
];

/// Reads a type name such as `bigint`, `decimal(10,2)`, `timestamptz`, `text`. Errors: `E0103`.
pub fn parse_type(text: &str) -> Result<DataType> {
    let lower = text.trim().to_lowercase();
    let (name, arguments) = match lower.split_once('(') {
        Some((name, rest)) => (
            name.trim(),
            rest.trim_end_matches(')')
                .split(',')
                .map(|a| a.trim().to_owned())
                .collect(),
        ),
        None => (lower.as_str(), Vec::new()),
    };
    let unknown = || {
        Error::new(Code::E0103, format!("`{text}` is not a type")).with_hint(format!(
            "{}; see docs/reference/types.md",
            did_you_mean(name, NAMES)
        ))
    };
    let number = |i: usize| arguments.get(i).and_then(|a: &String| a.parse::<i16>().ok());
    Ok(match name {
        "boolean" | "bool" => DataType::Boolean,
        "tinyint" | "int1" => DataType::Int8,
        "smallint" | "int2" => DataType::Int16,
        "int" | "integer" | "int4" => DataType::Int32,
        "bigint" | "int8" | "long" => DataType::Int64,
        "utinyint" => DataType::UInt8,
        "usmallint" => DataType::UInt16,
        "uint" => DataType::UInt32,
        "ubigint" => DataType::UInt64,
        "real" | "float4" | "float" => DataType::Float32,
        "double" | "double precision" | "float8" => DataType::Float64,
        "decimal" | "numeric" => {
            let precision = number(0).unwrap_or(38);
            let scale = number(1).unwrap_or(if arguments.is_empty() { 10 } else { 0 });
            let scale = i8::try_from(scale).map_err(|_| unknown())?;
            match u8::try_from(precision) {
                Ok(p @ 1..=38) if scale <= p as i8 => DataType::Decimal128(p, scale),
                Ok(p @ 39..=76) if scale <= p as i8 => DataType::Decimal256(p, scale),
                _ => return Err(unknown()),
            }
        }
        "text" | "varchar" | "string" | "char" | "character varying" => DataType::Utf8View,
        "bytes" | "bytea" | "blob" | "binary" => DataType::BinaryView,
        "date" => DataType::Date32,
        "time" => DataType::Time64(TimeUnit::Microsecond),
        "timestamp" | "datetime" | "timestamp without time zone" => {
            DataType::Timestamp(unit(number(0)).ok_or_else(unknown)?, None)
        }
        "timestamptz" | "timestamp with time zone" | "instant" => {
            DataType::Timestamp(unit(number(0)).ok_or_else(unknown)?, Some("UTC".into()))
        }
        "interval" => DataType::Interval(IntervalUnit::MonthDayNano),
        "null" => DataType::Null,
        _ => return Err(unknown()),
    })
}

fn unit(digits: Option<i16>) -> Option<TimeUnit> {
    match digits {
        None | Some(4..=6) => Some(TimeUnit::Microsecond),
        Some(0) => Some(TimeUnit::Second),
        Some(1..=3) => Some(TimeUnit::Millisecond),
        Some(7..=9) => Some(TimeUnit::Nanosecond),
        Some(_) => None,
    }
}

/// The type as documents write it; [`parse_type`] reads every flat type it prints.
pub fn render_type(data_type: &DataType) -> String {
    match data_type {
        DataType::Null => "null".into(),
        DataType::Boolean => "boolean".into(),
        DataType::Int8 => "tinyint".into(),
        DataType::Int16 => "smallint".into(),
        DataType::Int32 => "int".into(),
        DataType::Int64 => "bigint".into(),
        DataType::UInt8 => "utinyint".into(),
        DataType::UInt16 => "usmallint".into(),
        DataType::UInt32 => "uint".into(),
        DataType::UInt64 => "ubigint".into(),
        DataType::Float16 | DataType::Float32 => "real".into(),
        DataType::Float64 => "double".into(),
        DataType::Decimal32(p, s)
        | DataType::Decimal64(p, s)
        | DataType::Decimal128(p, s)
        | DataType::Decimal256(p, s) => {
            format!("decimal({p},{s})")
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "text".into(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "bytes".into(),
        DataType::FixedSizeBinary(n) => format!("bytes({n})"),
        DataType::Date32 | DataType::Date64 => "date".into(),
        DataType::Time32(_) | DataType::Time64(_) => "time".into(),
        DataType::Timestamp(unit, zone) => {
            let name = if zone.is_some() {
                "timestamptz"
            } else {
                "timestamp"
            };
            match unit {
                TimeUnit::Second => format!("{name}(0)"),
                TimeUnit::Millisecond => format!("{name}(3)"),
                TimeUnit::Microsecond => name.into(),
                TimeUnit::Nanosecond => format!("{name}(9)"),
            }
        }
        DataType::Duration(_) | DataType::Interval(_) => "interval".into(),
        DataType::List(f) | DataType::LargeList(f) | DataType::ListView(f) | DataType::LargeListView(f) => {
            format!("{}[]", render_type(f.data_type()))
        }
        DataType::FixedSizeList(f, n) => format!("{}[{n}]", render_type(f.data_type())),
        DataType::Struct(fields) => {
            let parts: Vec<_> = fields
                .iter()
                .map(|f| format!("{} {}", f.name(), render_type(f.data_type())))
                .collect();
            format!("struct({})", parts.join(", "))
        }
        DataType::Map(..) => "map".into(),
        DataType::Dictionary(_, value) => render_type(value),
        other => other.to_string(),
    }
}

/// Text types, all of them.
pub fn is_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, value) => is_text(value),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_prints() {
        for name in [
            "boolean",
            "tinyint",
            "smallint",
            "int",
            "bigint",
            "ubigint",
            "real",
            "double",
            "decimal(10,2)",
            "decimal(60,10)",
            "text",
            "bytes",
            "date",
            "time",
            "timestamp",
            "timestamptz",
            "timestamp(9)",
            "interval",
        ] {
            assert_eq!(parse_type(name).map(|t| render_type(&t)).as_deref(), Ok(name));
        }
    }

    #[test]
    fn refuses_what_is_no_type_with_the_nearest_name() {
        let error = parse_type("bigant").expect_err("no type");
        assert_eq!(error.code(), Code::E0103);
        assert!(error.hint().is_some_and(|h| h.contains("`bigint`")));
        assert!(parse_type("decimal(80,2)").is_err());
        assert!(parse_type("decimal(5,9)").is_err());
    }
}
