//! Functions of our own that documents and lowered operators use.
//!
//! Few on purpose: a function belongs here only when SQL has no way to say it. `parse_time(text, format)` reads a
//! date or timestamp by a strftime format and is NULL where the text does not match, so that the caller decides
//! what a mismatch means. `sum` is ours because it must not wrap.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Int64Array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::common::cast::as_string_view_array;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::context::SessionContext;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use synqx_model::{Code, Error};

use crate::sum::sum;
use crate::time_text::TimeFormat;
use crate::trouble::outward;

/// Makes the functions known to a session.
pub(crate) fn register(context: &SessionContext) {
    context.register_udf(parse_time(DataType::Timestamp(TimeUnit::Microsecond, None)));
    context.register_udaf(sum());
}

/// `parse_time(text, format)` → the type, NULL where the text does not match.
pub(crate) fn parse_time(target: DataType) -> ScalarUDF {
    ScalarUDF::new_from_impl(ParseTime {
        signature: Signature::exact(
            vec![DataType::Utf8View, DataType::Utf8View],
            Volatility::Immutable,
        ),
        target,
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ParseTime {
    signature: Signature,
    target: DataType,
}

impl ScalarUDFImpl for ParseTime {
    fn name(&self) -> &str {
        "parse_time"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.target.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let format = match &args.args[1] {
            ColumnarValue::Scalar(ScalarValue::Utf8View(Some(format))) => format,
            _ => return Err(DataFusionError::Plan("parse_time needs a constant format".into())),
        };
        let format = TimeFormat::new(format, &self.target)
            .map_err(|(message, hint)| outward(Error::new(Code::E0103, message).with_hint(hint)))?;
        let texts = args.args[0].to_array(rows)?;
        let texts = as_string_view_array(&texts)?;
        let parsed: Int64Array = texts
            .iter()
            .map(|text| text.and_then(|text| format.read(text)))
            .collect();
        let parsed: ArrayRef = match self.target {
            DataType::Date32 => cast(&cast(&parsed, &DataType::Int32)?, &DataType::Date32)?,
            _ => cast(&parsed, &self.target)?,
        };
        Ok(ColumnarValue::Array(Arc::clone(&parsed)))
    }
}
