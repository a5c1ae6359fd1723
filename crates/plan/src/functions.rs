//! Functions of our own that documents and lowered operators use.
//!
//! Few on purpose: a function belongs here only when SQL has no way to say it. `parse_time(text, format)` reads a
//! date or timestamp by a strftime format and is NULL where the text does not match, so that the caller decides
//! what a mismatch means.

use std::sync::Arc;

use chrono::NaiveDateTime;
use datafusion::arrow::array::{Array, ArrayRef, TimestampMicrosecondBuilder};
use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::common::cast::as_string_view_array;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::context::SessionContext;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// Makes the functions known to a session.
pub(crate) fn register(context: &SessionContext) {
    context.register_udf(parse_time());
}

/// `parse_time(text, format)` → timestamp without zone, NULL where the text does not match.
pub(crate) fn parse_time() -> ScalarUDF {
    ScalarUDF::new_from_impl(ParseTime {
        signature: Signature::exact(
            vec![DataType::Utf8View, DataType::Utf8View],
            Volatility::Immutable,
        ),
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ParseTime {
    signature: Signature,
}

impl ScalarUDFImpl for ParseTime {
    fn name(&self) -> &str {
        "parse_time"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Timestamp(TimeUnit::Microsecond, None))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let format = match &args.args[1] {
            ColumnarValue::Scalar(ScalarValue::Utf8View(Some(format))) => format.clone(),
            _ => return Err(DataFusionError::Plan("parse_time needs a constant format".into())),
        };
        let texts = args.args[0].to_array(rows)?;
        let texts = as_string_view_array(&texts)?;
        let mut parsed = TimestampMicrosecondBuilder::with_capacity(texts.len());
        for text in texts.iter() {
            parsed.append_option(text.and_then(|text| parse_by(text, &format)));
        }
        Ok(ColumnarValue::Array(Arc::new(parsed.finish()) as ArrayRef))
    }
}

fn parse_by(text: &str, format: &str) -> Option<i64> {
    let time = NaiveDateTime::parse_from_str(text, format).ok().or_else(|| {
        chrono::NaiveDate::parse_from_str(text, format)
            .ok()
            .and_then(|date| date.and_hms_opt(0, 0, 0))
    })?;
    Some(time.and_utc().timestamp_micros())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_dates_and_timestamps_and_nothing_else() {
        assert_eq!(parse_by("31/01/1970", "%d/%m/%Y"), Some(30 * 86_400_000_000));
        assert_eq!(
            parse_by("1970-01-01 00:00:01.5", "%Y-%m-%d %H:%M:%S%.f"),
            Some(1_500_000)
        );
        assert_eq!(parse_by("32/01/1970", "%d/%m/%Y"), None);
    }
}
