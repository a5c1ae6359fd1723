//! The `cast` operator: exact types, formats for text, and three answers to a value that does not convert.
//!
//! `fail` uses the strict cast and ends the run; `null` uses the forgiving one; `quarantine` judges each row by
//! whether every value converted and sets the others aside with their original values.

use datafusion::arrow::datatypes::DataType;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast, lit, try_cast};
use datafusion::scalar::ScalarValue;
use synqx_model::spec::{Cast, CastError, CastTo, OnFail};
use synqx_model::{Code, Error, Result};
use synqx_sdk::type_names::{parse_type, render_type};

use super::Lowering;
use crate::functions::parse_time;
use crate::trouble::{Phase, inward};

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
        self.project(|_, name, column| {
            Some(match target(name) {
                None => column,
                Some((_, to @ CastTo::Formatted(_), data_type)) => {
                    forgiving(column, to, data_type).alias(name)
                }
                Some((_, _, data_type)) if strict => cast(column, data_type.clone()).alias(name),
                Some((_, to, data_type)) => forgiving(column, to, data_type).alias(name),
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
        let rules: Vec<(Expr, String)> = targets
            .iter()
            .map(|(name, to, data_type)| {
                let column = Expr::Column(datafusion::common::Column::new(
                    self.input()
                        .schema()
                        .qualified_field_with_unqualified_name(name)
                        .ok()
                        .and_then(|(q, _)| q.cloned()),
                    name,
                ));
                let converts = column
                    .clone()
                    .is_null()
                    .or(forgiving(column, to, data_type).is_not_null());
                (converts, format!("{name} converts to {}", render_type(data_type)))
            })
            .collect();
        let input = self.input().clone();
        self.check_node(
            input,
            rules.into_iter().map(|(e, words)| (e, words, action)).collect(),
        )
    }

    /// A check over a plan. Each rule: verdict, its words, what happens to failing rows.
    pub(super) fn check_node(
        &mut self,
        input: LogicalPlan,
        rules: Vec<(Expr, String, OnFail)>,
    ) -> Result<LogicalPlan> {
        use crate::check::{Check, Rule};
        use crate::meter::CheckMeter;
        use datafusion::logical_expr::Extension;
        use std::sync::Arc;

        let node = self.node.id.clone();
        let mut verdicts = Vec::new();
        let mut metered = Vec::new();
        for (verdict, words, action) in rules {
            let meter = self.meters.add_check(CheckMeter::new(&node, words, action));
            verdicts.push(verdict);
            metered.push(Rule { meter });
        }
        let meter = self.meters.step_mut(&node);
        let check = Check {
            node,
            input,
            verdicts,
            rules: metered,
            meter,
        };
        LogicalPlanBuilder::from(LogicalPlan::Extension(Extension {
            node: Arc::new(check),
        }))
        .build()
        .map_err(|e| inward(e, Phase::Planning))
    }
}

/// A format is for text that becomes a date or timestamp. Errors: `E0103`.
fn formatted(to: &CastTo, data_type: DataType) -> Result<DataType> {
    match to {
        CastTo::Type(_) => Ok(data_type),
        CastTo::Formatted(format) => match data_type {
            DataType::Date32 | DataType::Timestamp(..) if valid_format(&format.format) => Ok(data_type),
            DataType::Date32 | DataType::Timestamp(..) => Err(Error::new(
                Code::E0103,
                format!("`{}` is not a time format", format.format),
            )
            .with_hint("use strftime letters, such as `%d/%m/%Y %H:%M:%S`")),
            _ => Err(Error::new(
                Code::E0103,
                format!("a format cannot be used for {}", render_type(&data_type)),
            )
            .with_hint("formats are for `date` and `timestamp`")),
        },
    }
}

fn valid_format(format: &str) -> bool {
    !chrono::format::StrftimeItems::new(format).any(|item| matches!(item, chrono::format::Item::Error))
}

/// The conversion that is NULL where a value does not convert.
fn forgiving(column: Expr, to: &CastTo, data_type: &DataType) -> Expr {
    match to {
        CastTo::Type(_) => try_cast(column, data_type.clone()),
        CastTo::Formatted(format) => {
            let text = cast(column, DataType::Utf8View);
            let pattern = lit(ScalarValue::Utf8View(Some(format.format.clone())));
            cast(parse_time().call(vec![text, pattern]), data_type.clone())
        }
    }
}
