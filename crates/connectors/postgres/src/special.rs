//! Columns that travel as PostgreSQL's exact text, because Arrow has no place for some of their values.
//!
//! Dates and timestamps may be `infinity`, a bounded numeric NaN, a time `24:00:00`, an interval longer than Arrow's
//! nanoseconds, an array has dimensions and bounds that a list does not know. The option `special_values` of an
//! extract chooses such columns before anything is read; the native type stays on the field, so a load into
//! PostgreSQL casts back to the very same value. An array that is declared with several dimensions is always text.
//! Not here: types that no Arrow type holds at all, which are text in every read (`mapping`).

use serde_json::{Map, Value};
use synqx_model::nearest::did_you_mean;
use synqx_model::{Code, Error, Result};

use crate::catalog::Column;
use crate::mapping::Kind;

/// The only option of a PostgreSQL asset.
const OPTION: &str = "special_values";

/// What the option says.
enum Wish {
    /// A value without a place in Arrow stops the read.
    Fail,
    /// Every column whose type has such values is read as text.
    Text,
    /// These columns are.
    Columns(Vec<String>),
}

/// Turns columns into text, as the options of an extract ask for. Errors: `E0102`, `E0103`, `E0401`.
pub(crate) fn apply(columns: &mut [Column], options: &Map<String, Value>, place: &str) -> Result<()> {
    match wish(options)? {
        Wish::Fail => {}
        Wish::Text => columns.iter_mut().for_each(|column| {
            verbatim(column);
        }),
        Wish::Columns(names) => {
            for name in &names {
                let known: Vec<String> = columns.iter().map(|c| c.name.clone()).collect();
                let Some(column) = columns.iter_mut().find(|c| c.name == *name) else {
                    return Err(Error::new(Code::E0401, format!("{place} has no column `{name}`"))
                        .with_hint(did_you_mean(name, known.iter().map(String::as_str))));
                };
                if !verbatim(column) {
                    return Err(Error::new(
                        Code::E0103,
                        format!(
                            "column `{name}` of {place} is {}, which has no special values",
                            column.native
                        ),
                    )
                    .with_hint(format!("take it out of `{OPTION}`: every value of it is read")));
                }
            }
        }
    }
    for column in columns.iter_mut().filter(|c| c.dimensions > 1) {
        verbatim(column);
    }
    Ok(())
}

fn wish(options: &Map<String, Value>) -> Result<Wish> {
    if let Some(key) = options.keys().find(|key| *key != OPTION) {
        return Err(Error::new(
            Code::E0102,
            format!("`{key}` is not an option of a PostgreSQL asset"),
        )
        .with_hint(did_you_mean(key, [OPTION])));
    }
    let wrong = || {
        Error::new(
            Code::E0103,
            format!("`{OPTION}` is neither a word nor a list of columns"),
        )
        .with_hint(format!(
            "write `{OPTION}: text`, `{OPTION}: fail`, or `{OPTION}: [column, …]`"
        ))
    };
    match options.get(OPTION) {
        None => Ok(Wish::Fail),
        Some(Value::String(word)) if word == "fail" => Ok(Wish::Fail),
        Some(Value::String(word)) if word == "text" => Ok(Wish::Text),
        Some(Value::Array(names)) => names
            .iter()
            .map(|name| name.as_str().map(str::to_owned).ok_or_else(wrong))
            .collect::<Result<_>>()
            .map(Wish::Columns),
        Some(_) => Err(wrong()),
    }
}

/// Has a column read as text, where its type has values that Arrow's does not have; tells whether it has.
fn verbatim(column: &mut Column) -> bool {
    column.kind = match &column.kind {
        // Decoded here: every numeric has a text, NaN included.
        Kind::Numeric(Some(_)) => Kind::Numeric(None),
        Kind::Date
        | Kind::Time(_)
        | Kind::Timestamp(_)
        | Kind::TimestampTz(_)
        | Kind::Interval(_)
        | Kind::Array(..) => Kind::Other,
        // The same as they are.
        Kind::Numeric(None) | Kind::Other | Kind::TimeTz(_) => return true,
        _ => return false,
    };
    true
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn asked(options: Value) -> Result<Wish> {
        wish(options.as_object().expect("a map"))
    }

    #[test]
    fn the_option_is_a_word_or_a_list_of_columns() {
        assert!(matches!(asked(json!({})), Ok(Wish::Fail)));
        assert!(matches!(asked(json!({"special_values": "text"})), Ok(Wish::Text)));
        assert!(
            matches!(asked(json!({"special_values": ["a"]})), Ok(Wish::Columns(names)) if names == ["a"])
        );
        for (options, code) in [
            (json!({"special_value": "text"}), Code::E0102),
            (json!({"special_values": "null"}), Code::E0103),
            (json!({"special_values": [1]}), Code::E0103),
            (json!({"special_values": true}), Code::E0103),
        ] {
            let error = asked(options.clone())
                .err()
                .unwrap_or_else(|| panic!("{options} was taken"));
            assert!(
                error.code() == code && error.hint().is_some(),
                "{options}: {error}"
            );
        }
    }
}
