//! The `mask` operator: which methods take which types, and what comes out.
//!
//! `hash`, `redact` and `partial` give text, `tokenize` keeps text and whole numbers, `null` keeps every type. A method
//! that cannot take a column's type is refused; nothing passes unmasked.

use datafusion::arrow::datatypes::DataType;
use datafusion::logical_expr::{Expr, LogicalPlan, cast};
use synqx_model::spec::{Mask, MaskHow};
use synqx_model::{Code, Error, Result};
use synqx_sdk::type_names::{is_text, render_type};

use super::Lowering;
use crate::mask::{mask, word};

impl Lowering<'_> {
    pub(super) fn mask(&self, spec: &Mask) -> Result<LogicalPlan> {
        if spec.columns.is_empty() {
            return Err(Error::new(Code::E0409, "the mask names no column")
                .with_hint("name columns: `columns: {email: hash}`"));
        }
        let mut errors = Vec::new();
        for (name, how) in spec.columns.iter() {
            let fault = self
                .require(name)
                .and_then(|()| self.type_of(name))
                .and_then(|data_type| takes(name, *how, &data_type));
            errors.extend(fault.err());
            if matches!(how, MaskHow::Hash | MaskHow::Tokenize) && spec.salt.is_none() {
                errors.push(
                    Error::new(
                        Code::E0103,
                        format!("`{}` of column `{name}` needs a `salt`", word(*how)),
                    )
                    .with_detail("Without a key everybody can compute the hash of every likely value.")
                    .with_hint("add `salt: secret://env/MASK_SALT` to the mask"),
                );
            }
        }
        if let Some(error) = Error::all(errors) {
            return Err(error);
        }
        let fields = self.input().schema().fields().clone();
        self.project(|index, name, column| {
            let Some(how) = spec.columns.get(name) else {
                return Some(column);
            };
            let function = mask(*how, self.salt.cloned());
            let value = hidden(column, *how, fields[index].data_type());
            Some(function.call(vec![value]).alias(name))
        })
    }
}

/// The column as the method takes it: by the text of its value, but for bytes, numbers to tokenize and NULL.
fn hidden(column: Expr, how: MaskHow, data_type: &DataType) -> Expr {
    let as_it_is = match how {
        MaskHow::Null => true,
        MaskHow::Tokenize => data_type.is_integer(),
        MaskHow::Redact => nested(data_type) || is_bytes(data_type),
        _ => is_bytes(data_type),
    };
    match how {
        // Whether there is a value is all that it says.
        MaskHow::Redact if as_it_is => cast(column.is_not_null(), DataType::Utf8View),
        _ if as_it_is => column,
        _ => cast(column, DataType::Utf8View),
    }
}

fn is_bytes(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView
    )
}

fn nested(data_type: &DataType) -> bool {
    data_type.is_nested()
}

/// Errors: `E0402`.
fn takes(name: &str, how: MaskHow, data_type: &DataType) -> Result<()> {
    let fits = match how {
        MaskHow::Null | MaskHow::Redact => true,
        MaskHow::Hash => !nested(data_type),
        MaskHow::Partial(_) => is_text(data_type),
        MaskHow::Tokenize => is_text(data_type) || data_type.is_integer(),
    };
    if fits {
        return Ok(());
    }
    let (word, is) = (word(how), render_type(data_type));
    Err(Error::new(
        Code::E0402,
        format!("`{word}` cannot mask column `{name}`, which is {is}"),
    )
    .with_hint(match how {
        MaskHow::Hash => "flatten it first, or use `redact` or `null`",
        _ => "cast it to text first, or use `hash`, `redact` or `null`",
    }))
}
