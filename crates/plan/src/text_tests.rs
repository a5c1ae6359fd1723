//! Tests of text that checks need and SQL does not have: formats, patterns, lengths, JSON, dates by a format.
//!
//! One function per test, made while a check is lowered and never known to documents. A NULL stays NULL, so that the
//! check decides about it. Nothing is allocated per row; a pattern is compiled once.

use std::hash::{Hash, Hasher};

use datafusion::arrow::array::{Array, BooleanArray};
use datafusion::arrow::buffer::BooleanBuffer;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::cast::as_string_view_array;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, cast,
};
use serde::de::IgnoredAny;

use crate::formats::Format;
use crate::time_text::TimeFormat;

/// What is demanded of a text.
#[derive(Debug, Clone)]
pub(crate) enum TextTest {
    /// It is of a format.
    Is(Format),
    /// It matches a pattern somewhere.
    Matches(regex::Regex),
    /// It is not empty; with `true` not white space alone.
    NotEmpty(bool),
    /// It has between so many and so many characters.
    Characters(u64, u64),
    /// It is one JSON value (RFC 8259).
    Json,
    /// It is a time by a format.
    Time(TimeFormat),
}

impl TextTest {
    /// The test as a boolean expression over a text column.
    pub(crate) fn over(self, column: Expr) -> Expr {
        let function = TextFunction {
            test: self,
            signature: Signature::exact(vec![DataType::Utf8View], Volatility::Immutable),
        };
        ScalarUDF::new_from_impl(function).call(vec![cast(column, DataType::Utf8View)])
    }

    fn holds(&self, text: &str) -> bool {
        match self {
            TextTest::Is(format) => format.holds(text),
            TextTest::Matches(pattern) => pattern.is_match(text),
            TextTest::NotEmpty(false) => !text.is_empty(),
            TextTest::NotEmpty(true) => text.chars().any(|c| !c.is_whitespace()),
            TextTest::Characters(least, most) => {
                let characters = if text.is_ascii() {
                    text.len()
                } else {
                    text.chars().count()
                };
                (*least..=*most).contains(&(characters as u64))
            }
            TextTest::Json => serde_json::from_str::<IgnoredAny>(text).is_ok(),
            TextTest::Time(format) => format.read(text).is_some(),
        }
    }

    /// What tells two tests apart.
    fn words(&self) -> String {
        match self {
            TextTest::Matches(pattern) => format!("matches {}", pattern.as_str()),
            other => format!("{other:?}"),
        }
    }
}

#[derive(Debug)]
struct TextFunction {
    test: TextTest,
    signature: Signature,
}

impl PartialEq for TextFunction {
    fn eq(&self, other: &Self) -> bool {
        self.test.words() == other.test.words()
    }
}

impl Eq for TextFunction {}

impl Hash for TextFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.test.words().hash(state);
    }
}

impl ScalarUDFImpl for TextFunction {
    fn name(&self) -> &str {
        "text_test"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let texts = args.args[0].to_array(args.number_rows)?;
        let texts = as_string_view_array(&texts)?;
        let holds = match texts.nulls() {
            None => BooleanBuffer::collect_bool(texts.len(), |i| self.test.holds(texts.value(i))),
            Some(nulls) => BooleanBuffer::collect_bool(texts.len(), |i| {
                nulls.is_valid(i) && self.test.holds(texts.value(i))
            }),
        };
        let verdicts = BooleanArray::new(holds, texts.nulls().cloned());
        Ok(ColumnarValue::Array(std::sync::Arc::new(verdicts)))
    }
}
