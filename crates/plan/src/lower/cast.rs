//! The `cast` operator: exact types, formats for text, and three answers to a value that does not convert.
//!
//! `fail` uses the strict cast and ends the run; `null` uses the forgiving one; `quarantine` judges each row by
//! whether every value converted and sets the others aside with their original values. A value that would be
//! rounded or cut does not convert: `exact` judges by converting back.

use datafusion::arrow::datatypes::DataType;
use datafusion::logical_expr::{Expr, LogicalPlan, cast, lit, try_cast};
use datafusion::scalar::ScalarValue;
use synqx_model::spec::{Cast, CastError, CastTo, OnFail};
use synqx_model::{Code, Error, Result};
use synqx_sdk::type_names::{parse_type, render_type};

use super::Lowering;
use crate::check::Judged;
use crate::exact::{exact_cast, may_lose};
use crate::functions::parse_time;
use crate::meter::Rule;
use crate::time_text::TimeFormat;

impl Lowering<'_> {
    pub(super) fn cast(&mut self, spec: &Cast) -> Result<LogicalPlan> {
        let mut targets: Vec<(String, CastTo, DataType)> = Vec::new();
        let mut errors = Vec::new();
        for (name, to) in spec.columns.iter() {
            match self
                .require(name)
                .and_then(|()| parse_type(to.type_name()))
                .and_then(|t| formatted(to, t))
            {
                Ok(data_type) => targets.push((name.to_owned(), to.clone(), data_type)),
                Err(error) => errors.push(error),
            }
        }
        if let Some(error) = Error::all(errors) {
            return Err(error);
        }
        let target = |name: &str| targets.iter().find(|(n, _, _)| n == name);
        if spec.on_error == CastError::Quarantine {
            let checked = self.quarantine_misfits(&targets)?;
            self.inputs[0].1 = checked;
        }
        let strict = spec.on_error == CastError::Fail;
        if strict
            && targets
                .iter()
                .any(|(_, to, _)| matches!(to, CastTo::Formatted(_)))
        {
            let checked = self.fail_misfits(&targets)?;
            self.inputs[0].1 = checked;
        }
        let fields = self.input().schema().fields().clone();
        self.project(|index, name, column| {
            let from = fields[index].data_type();
            Some(match target(name) {
                None => column,
                Some((_, to, data_type)) => converted(column, from, to, data_type, strict).alias(name),
            })
        })
    }

    /// A check that sets aside rows with a value that does not convert.
    fn quarantine_misfits(&mut self, targets: &[(String, CastTo, DataType)]) -> Result<LogicalPlan> {
        self.judge_misfits(targets, OnFail::Quarantine)
    }

    fn fail_misfits(&mut self, targets: &[(String, CastTo, DataType)]) -> Result<LogicalPlan> {
        let formatted: Vec<_> = targets
            .iter()
            .filter(|t| matches!(t.1, CastTo::Formatted(_)))
            .cloned()
            .collect();
        self.judge_misfits(&formatted, OnFail::Fail)
    }

    fn judge_misfits(
        &mut self,
        targets: &[(String, CastTo, DataType)],
        action: OnFail,
    ) -> Result<LogicalPlan> {
        let rules: Vec<Judged> = targets
            .iter()
            .map(|(name, to, data_type)| {
                let found = self.input().schema().qualified_field_with_unqualified_name(name);
                let (qualifier, from) = match found {
                    Ok((qualifier, field)) => (qualifier.cloned(), field.data_type().clone()),
                    Err(_) => (None, DataType::Null),
                };
                let column = Expr::Column(datafusion::common::Column::new(qualifier, name));
                let converts = column
                    .clone()
                    .is_null()
                    .or(forgiving(column, &from, to, data_type).is_not_null());
                let words = format!("{name} converts to {}", render_type(data_type));
                Judged::row(Rule::of(name, "castable", words, action), converts, false)
            })
            .collect();
        let input = self.input().clone();
        self.check_node(input, rules)
    }
}

/// A format is for text that becomes a date or timestamp. Errors: `E0103`.
fn formatted(to: &CastTo, data_type: DataType) -> Result<DataType> {
    match to {
        CastTo::Type(_) => Ok(data_type),
        CastTo::Formatted(format) => match data_type {
            DataType::Date32 | DataType::Timestamp(..) => TimeFormat::new(&format.format, &data_type)
                .map(|_| data_type)
                .map_err(|(message, hint)| Error::new(Code::E0103, message).with_hint(hint)),
            _ => Err(Error::new(
                Code::E0103,
                format!("a format cannot be used for {}", render_type(&data_type)),
            )
            .with_hint("formats are for `date` and `timestamp`")),
        },
    }
}

/// The conversion: an error where a value does not convert when `strict`, else NULL.
pub(super) fn converted(
    column: Expr,
    from: &DataType,
    to: &CastTo,
    data_type: &DataType,
    strict: bool,
) -> Expr {
    match to {
        CastTo::Type(_) if strict && may_lose(from, data_type) => {
            exact_cast(data_type.clone(), true).call(vec![column])
        }
        CastTo::Type(_) if strict => cast(column, data_type.clone()),
        to => forgiving(column, from, to, data_type),
    }
}

/// The conversion that is NULL where a value does not convert, or not without loss.
pub(super) fn forgiving(column: Expr, from: &DataType, to: &CastTo, data_type: &DataType) -> Expr {
    match to {
        CastTo::Type(_) if may_lose(from, data_type) => {
            exact_cast(data_type.clone(), false).call(vec![column])
        }
        CastTo::Type(_) => try_cast(column, data_type.clone()),
        CastTo::Formatted(format) => {
            let text = cast(column, DataType::Utf8View);
            let pattern = lit(ScalarValue::Utf8View(Some(format.format.clone())));
            parse_time(data_type.clone()).call(vec![text, pattern])
        }
    }
}
