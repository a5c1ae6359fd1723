//! Values of JSON text by path, as text: what `flatten` takes columns from.
//!
//! Numbers keep the digits they were written with, strings lose their escapes, objects and arrays are their own JSON.
//! A path that leads nowhere, and JSON's null, are NULL. Of a key written twice the last counts, as in `jsonb`.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, BooleanArray, ListBuilder, StringViewArray, StringViewBuilder,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::cast::as_string_view_array;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use serde_json::value::RawValue;
use synqx_model::{Code, Error};

use crate::trouble::outward;

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Segment {
    /// A key of an object.
    Key(String),
    /// A place in an array, from 0.
    At(usize),
}

/// Reads `a.b[0]."c.d"`. Errors: `E0103`.
pub(crate) fn path(text: &str) -> synqx_model::Result<Vec<Segment>> {
    let wrong = || {
        Error::new(Code::E0103, format!("`{text}` is not a path into JSON"))
            .with_hint("write keys and places: `address.city`, `items[0].price`, `\"a.b\".c`")
    };
    let mut segments = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        if let Some(place) = rest.strip_prefix('[') {
            let (number, after) = place.split_once(']').ok_or_else(wrong)?;
            segments.push(Segment::At(number.trim().parse().map_err(|_| wrong())?));
            rest = after;
        } else {
            let quoted = rest.strip_prefix('"').and_then(|inner| inner.split_once('"'));
            let (key, after) = quoted.unwrap_or_else(|| {
                let end = rest.find(['.', '[']).unwrap_or(rest.len());
                rest.split_at(end)
            });
            if key.is_empty() && quoted.is_none() {
                return Err(wrong());
            }
            segments.push(Segment::Key(key.to_owned()));
            rest = after;
        }
        rest = match rest.strip_prefix('.') {
            Some("") => return Err(wrong()),
            Some(after) => after,
            None if rest.is_empty() || rest.starts_with('[') => rest,
            None => return Err(wrong()),
        };
    }
    if segments.is_empty() {
        return Err(wrong());
    }
    Ok(segments)
}

/// What comes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Shape {
    /// The value as text.
    Text,
    /// The value as JSON.
    Json,
    /// An array's elements, each as text.
    Texts,
    /// An array's elements, each as JSON.
    Jsons,
    /// Whether the text is JSON at all.
    Valid,
}

impl Shape {
    fn is_list(self) -> bool {
        matches!(self, Shape::Texts | Shape::Jsons)
    }

    fn data_type(self) -> DataType {
        match self {
            Shape::Texts | Shape::Jsons => {
                DataType::List(Arc::new(Field::new_list_field(DataType::Utf8View, true)))
            }
            Shape::Text | Shape::Json => DataType::Utf8View,
            Shape::Valid => DataType::Boolean,
        }
    }
}

/// `json_value(text)` for one path. Text that is no JSON, and a value that is no array where one is wanted, are an
/// error of ours when `strict`, else NULL.
pub(crate) fn json_value(path: Vec<Segment>, shape: Shape, strict: bool) -> ScalarUDF {
    ScalarUDF::new_from_impl(JsonValue {
        path,
        shape,
        strict,
        signature: Signature::any(1, Volatility::Immutable),
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct JsonValue {
    path: Vec<Segment>,
    shape: Shape,
    strict: bool,
    signature: Signature,
}

impl ScalarUDFImpl for JsonValue {
    fn name(&self) -> &str {
        "json_value"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.shape.data_type())
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        Ok(Arc::new(Field::new(self.name(), self.shape.data_type(), true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let texts = args.args[0].to_array(args.number_rows)?;
        let texts = cast(&texts, &DataType::Utf8View)?;
        let texts = as_string_view_array(&texts)?;
        let values: ArrayRef = if self.shape == Shape::Valid {
            let valid = texts.iter().map(|text| text.map(|text| find(text, &[]).is_ok()));
            Arc::new(valid.collect::<BooleanArray>())
        } else if self.shape.is_list() {
            let mut lists = ListBuilder::new(StringViewBuilder::new());
            for text in texts {
                match self.elements(text)? {
                    Some(elements) => {
                        elements.into_iter().for_each(|e| lists.values().append_option(e));
                        lists.append(true);
                    }
                    None => lists.append(false),
                }
            }
            Arc::new(lists.finish())
        } else {
            let mut values = Vec::with_capacity(texts.len());
            for text in texts {
                values.push(self.value(text)?);
            }
            Arc::new(StringViewArray::from_iter(values))
        };
        Ok(ColumnarValue::Array(values))
    }
}

impl JsonValue {
    fn value<'a>(&self, text: Option<&'a str>) -> Result<Option<Cow<'a, str>>> {
        let Some(text) = text else { return Ok(None) };
        match find(text, &self.path) {
            Ok(found) => Ok(found.and_then(|raw| as_text(raw, self.shape == Shape::Json))),
            Err(_) if !self.strict => Ok(None),
            Err(_) => Err(outward(misfit("text is not JSON"))),
        }
    }

    fn elements<'a>(&self, text: Option<&'a str>) -> Result<Option<Vec<Option<Cow<'a, str>>>>> {
        let Some(text) = text else { return Ok(None) };
        let found = match find(text, &self.path) {
            Ok(found) => found.filter(|raw| *raw != "null"),
            Err(_) if !self.strict => None,
            Err(_) => return Err(outward(misfit("text is not JSON"))),
        };
        let Some(raw) = found else { return Ok(None) };
        match serde_json::from_str::<Vec<&RawValue>>(raw) {
            Ok(elements) => {
                let json = self.shape == Shape::Jsons;
                Ok(Some(
                    elements.into_iter().map(|e| as_text(e.get(), json)).collect(),
                ))
            }
            Err(_) if !self.strict => Ok(None),
            Err(_) => Err(outward(misfit("a JSON value is not an array"))),
        }
    }
}

fn misfit(what: &str) -> Error {
    Error::new(Code::E0404, what)
        .with_hint("`on_error: null` or `on_error: quarantine` under `json` keeps going")
}

/// The JSON at a path; none where the path leads nowhere.
fn find<'a>(text: &'a str, path: &[Segment]) -> serde_json::Result<Option<&'a str>> {
    let mut current: &RawValue = serde_json::from_str(text)?;
    for segment in path {
        let raw = current.get();
        let next = match segment {
            Segment::Key(key) if raw.starts_with('{') => {
                let mut object: HashMap<Cow<'a, str>, &'a RawValue> = serde_json::from_str(raw)?;
                object.remove(key.as_str())
            }
            Segment::At(place) if raw.starts_with('[') => {
                let array: Vec<&'a RawValue> = serde_json::from_str(raw)?;
                array.get(*place).copied()
            }
            _ => None,
        };
        match next {
            Some(next) => current = next,
            None => return Ok(None),
        }
    }
    Ok(Some(current.get()))
}

/// A value as text; NULL for null. Strings are unescaped unless JSON is wanted.
fn as_text(raw: &str, json: bool) -> Option<Cow<'_, str>> {
    if raw == "null" {
        return None;
    }
    if json || !raw.starts_with('"') {
        return Some(Cow::Borrowed(raw));
    }
    serde_json::from_str::<String>(raw).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at<'a>(text: &'a str, place: &str) -> Option<Cow<'a, str>> {
        let found = find(text, &path(place).expect("a path")).expect("JSON");
        found.and_then(|raw| as_text(raw, false))
    }

    #[test]
    fn values_are_found_and_keep_their_digits() {
        let text =
            r#" {"a": {"b": [10, {"c.d": "x\ny"}]}, "n": 12345678901234567890.10, "z": null, "a\"": true} "#;
        assert_eq!(at(text, "a.b[0]").as_deref(), Some("10"));
        assert_eq!(at(text, "a.b[1].\"c.d\"").as_deref(), Some("x\ny"));
        assert_eq!(at(text, "n").as_deref(), Some("12345678901234567890.10"));
        assert_eq!(at(text, "a.b[1]").as_deref(), Some(r#"{"c.d": "x\ny"}"#));
        for nowhere in ["z", "a.x", "a.b[7]", "n.m", "a[0]", "z.y"] {
            assert_eq!(at(text, nowhere), None, "{nowhere}");
        }
        assert_eq!(at(r#"{"k": 1, "k": 2}"#, "k").as_deref(), Some("2"));
        assert_eq!(at("[[1,2],[3]]", "[1][0]").as_deref(), Some("3"));
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for text in ["", ".", "a.", ".a", "a..b", "a[", "a[x]", "a[0]b", "\"a\"b"] {
            assert!(path(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_no_json_is_an_error() {
        for text in ["", "{", "{'a': 1}", "nul", "1 2"] {
            assert!(find(text, &[Segment::Key("a".into())]).is_err(), "{text}");
        }
    }
}
