//! The function behind the `mask` operator: a column's values, hidden by one method. NULL stays NULL.
//!
//! It is a function and no SQL, so that no rule of the optimizer can look into it; its field says `synqx.masked`,
//! which passes through plans with the column. Which types a method takes is decided by `lower::mask`.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray, StringViewArray, new_null_array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{
    ArrowPrimitiveType, DataType, Field, FieldRef, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use datafusion::common::cast::{as_binary_view_array, as_string_view_array};
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use synqx_model::Error;
use synqx_model::spec::{MaskHow, PartialMask};
use synqx_sdk::annotation;
use synqx_sdk::type_names::is_text;

use crate::tokens::{Keyed, Salt};
use crate::trouble::outward;

/// What a redacted value becomes.
const REDACTED: &str = "***";

/// `mask(value)` by one method. Without the salt it only plans.
pub(crate) fn mask(how: MaskHow, salt: Option<Salt>) -> ScalarUDF {
    ScalarUDF::new_from_impl(Masking {
        how,
        salt,
        signature: Signature::any(1, Volatility::Immutable),
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Masking {
    how: MaskHow,
    salt: Option<Salt>,
    signature: Signature,
}

/// The method's word.
pub(crate) fn word(how: MaskHow) -> &'static str {
    match how {
        MaskHow::Hash => "hash",
        MaskHow::Redact => "redact",
        MaskHow::Tokenize => "tokenize",
        MaskHow::Null => "null",
        MaskHow::Partial(_) => "partial",
    }
}

impl ScalarUDFImpl for Masking {
    fn name(&self) -> &str {
        "mask"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(match self.how {
            MaskHow::Null => types[0].clone(),
            MaskHow::Tokenize if types[0].is_integer() => types[0].clone(),
            _ => DataType::Utf8View,
        })
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let from = &args.arg_fields[0];
        let nullable = self.how == MaskHow::Null || from.is_nullable();
        let data_type = self.return_type(&[from.data_type().clone()])?;
        let field = Field::new(self.name(), data_type, nullable);
        Ok(Arc::new(annotation::annotate(
            field,
            annotation::MASKED,
            word(self.how),
        )))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let values = args.args[0].to_array(args.number_rows)?;
        let masked: ArrayRef = match self.how {
            MaskHow::Null => new_null_array(values.data_type(), values.len()),
            MaskHow::Redact => texts(&values, |_| REDACTED.to_owned())?,
            MaskHow::Partial(kept) => texts(&values, |text| partial(text, kept))?,
            MaskHow::Hash => {
                let keyed = self.keyed()?;
                match values.data_type() {
                    DataType::Binary | DataType::LargeBinary | DataType::BinaryView => {
                        let values = cast(&values, &DataType::BinaryView)?;
                        let values = as_binary_view_array(&values)?.iter();
                        let hashes: StringViewArray =
                            values.map(|bytes| bytes.map(|bytes| keyed.hash(bytes))).collect();
                        Arc::new(hashes)
                    }
                    _ => texts(&values, |text| keyed.hash(text.as_bytes()))?,
                }
            }
            MaskHow::Tokenize => {
                let keyed = self.keyed()?;
                if is_text(values.data_type()) {
                    texts(&values, |text| keyed.text(text))?
                } else {
                    whole(&values, &keyed)?
                }
            }
        };
        Ok(ColumnarValue::Array(masked))
    }
}

impl Masking {
    fn keyed(&self) -> Result<Keyed> {
        let salt = self.salt.as_ref();
        let salt = salt.ok_or_else(|| outward(Error::bug("a mask ran without its salt")))?;
        salt.keyed().map_err(outward)
    }
}

fn texts(values: &ArrayRef, change: impl Fn(&str) -> String) -> Result<ArrayRef> {
    let values = cast(values, &DataType::Utf8View)?;
    let values = as_string_view_array(&values)?.iter();
    let changed: StringViewArray = values.map(|text| text.map(&change)).collect();
    Ok(Arc::new(changed))
}

/// The ends stay when something between them is hidden; a value no longer than both ends is hidden whole.
fn partial(text: &str, kept: PartialMask) -> String {
    let count = text.chars().count();
    let (first, last) = (kept.first as usize, kept.last as usize);
    if first.saturating_add(last) >= count {
        return "*".repeat(count);
    }
    let hidden = |(place, c)| {
        if place < first || place >= count - last {
            c
        } else {
            '*'
        }
    };
    text.chars().enumerate().map(hidden).collect()
}

fn whole(values: &ArrayRef, keyed: &Keyed) -> Result<ArrayRef> {
    match values.data_type() {
        DataType::Int8 => tokens::<Int8Type>(values, keyed),
        DataType::Int16 => tokens::<Int16Type>(values, keyed),
        DataType::Int32 => tokens::<Int32Type>(values, keyed),
        DataType::Int64 => tokens::<Int64Type>(values, keyed),
        DataType::UInt8 => tokens::<UInt8Type>(values, keyed),
        DataType::UInt16 => tokens::<UInt16Type>(values, keyed),
        DataType::UInt32 => tokens::<UInt32Type>(values, keyed),
        DataType::UInt64 => tokens::<UInt64Type>(values, keyed),
        _ => Err(outward(Error::bug("a token of a type that has none"))),
    }
}

fn tokens<T>(values: &ArrayRef, keyed: &Keyed) -> Result<ArrayRef>
where
    T: ArrowPrimitiveType,
    T::Native: Into<i128> + TryFrom<i128>,
{
    let bits = size_of::<T::Native>() * 8;
    let most = |negative: bool| match (T::DATA_TYPE.is_signed_integer(), negative) {
        (true, true) => 1u128 << (bits - 1),
        (true, false) => (1u128 << (bits - 1)) - 1,
        (false, _) => (1u128 << bits) - 1,
    };
    let values = values.as_primitive::<T>();
    let tokens: PrimitiveArray<T> = values
        .iter()
        .map(|value| {
            let value: i128 = value?.into();
            T::Native::try_from(keyed.whole(value, most(value < 0))).ok()
        })
        .collect();
    if tokens.null_count() != values.null_count() {
        return Err(outward(Error::bug("a token does not fit its type")));
    }
    Ok(Arc::new(tokens))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_never_show_a_whole_value() {
        let kept = |first, last| PartialMask { first, last };
        assert_eq!(partial("4111222233334444", kept(0, 4)), "************4444");
        assert_eq!(partial("Ångström", kept(1, 1)), "Å******m");
        assert_eq!(partial("1234", kept(2, 2)), "****");
        assert_eq!(partial("1234", kept(9, 9)), "****");
        assert_eq!(partial("", kept(1, 0)), "");
    }
}
