//! The `validate` operator: every check lowered, rows' checks to verdicts, the table's checks to measures.
//!
//! All checks of a node are one operator over one pass. Only `unique`, `increasing` and `decreasing` look at other
//! rows: they get helper columns from a sorted window, which spills, and the helpers are taken out again behind the
//! check. What a rule is called and how it reads in reports is decided here as well.

use datafusion::arrow::datatypes::DataType;
use datafusion::logical_expr::{Extension, LogicalPlan, LogicalPlanBuilder, lit};
use serde_json::Value;
use synqx_model::spec::{Check as CheckSpec, CheckKind, Exclusive, OnEmpty, OnFail, UniqueReject, Validate};
use synqx_model::{Code, Error, Result, render_duration};

use super::verdict::Verdict;
use super::{Lowering, order_item, quoted};
use crate::check::{Check, Judged};
use crate::gauge::{Bounds, Gauge, Measure, Number, is_measurable};
use crate::meter::Rule;
use crate::trouble::{Phase, inward};

impl Lowering<'_> {
    pub(super) async fn validate(&mut self, spec: &Validate) -> Result<LogicalPlan> {
        if spec.checks.is_empty() {
            return Err(
                Error::new(Code::E0103, "the node has no checks").with_hint("add one under `checks:`")
            );
        }
        let mut errors = Vec::new();
        let mut helpers = Vec::new();
        for (index, check) in spec.checks.iter().enumerate() {
            let place = format!("checks[{index}]");
            let fit = check.misplaced(&place, spec.on_fail);
            match fit.and_then(|()| self.helpers(index, check, &place)) {
                Ok(found) => helpers.extend(found),
                Err(error) => errors.push(error),
            }
        }
        if let Some(error) = Error::all(errors) {
            return Err(error);
        }
        let names = self.names();
        let input = if helpers.is_empty() {
            self.input().clone()
        } else {
            self.select(&format!("select *, {} from input", helpers.join(", ")))
                .await?
        };
        let judged = self.judged(spec, &input)?;
        let checked = self.check_node(input, judged)?;
        if helpers.is_empty() {
            return Ok(checked);
        }
        let columns: Vec<String> = names.iter().map(|n| quoted(n)).collect();
        let relations = std::collections::BTreeMap::from([("checked".to_owned(), checked)]);
        self.query(&format!("select {} from checked", columns.join(", ")), relations)
            .await
    }

    /// A check over a plan.
    pub(super) fn check_node(&mut self, input: LogicalPlan, rules: Vec<Judged>) -> Result<LogicalPlan> {
        let check = Check::over(input, &self.node.id, rules, self.meters);
        LogicalPlanBuilder::from(LogicalPlan::Extension(Extension {
            node: std::sync::Arc::new(check),
        }))
        .build()
        .map_err(|e| inward(e, Phase::Planning))
    }

    /// Every check, lowered. Errors: all at once.
    fn judged(&self, spec: &Validate, input: &LogicalPlan) -> Result<Vec<Judged>> {
        let mut errors = Vec::new();
        let mut judged = Vec::new();
        for (index, check) in spec.checks.iter().enumerate() {
            let verdict = Verdict {
                lowering: self,
                input,
                check,
                place: format!("checks[{index}]"),
                index,
            };
            let rule = rule(check, check.action(spec.on_fail));
            let lowered = if check.check.is_of_table() {
                verdict.measured(rule)
            } else {
                verdict
                    .expr()
                    .map(|expr| Judged::row(rule, expr, null_passes(check)))
            };
            match lowered {
                Ok(lowered) => judged.push(lowered),
                Err(error) => errors.push(error),
            }
        }
        Error::all(errors).map_or(Ok(judged), Err)
    }

    /// Columns a check needs that know about other rows.
    fn helpers(&self, index: usize, check: &CheckSpec, place: &str) -> Result<Vec<String>> {
        if !check.check.looks_at_other_rows() {
            return Ok(Vec::new());
        }
        let columns = check.named();
        let Some(first) = columns.first() else {
            return Err(lacks(place, "column"));
        };
        if let Some(error) = Error::all(columns.iter().filter_map(|name| self.require(name).err())) {
            return Err(error);
        }
        let order: Vec<String> = check
            .order_by
            .iter()
            .map(|text| order_item(text).map(|item| item.to_sql()))
            .collect::<Result<_>>()?;
        if check.check != CheckKind::Unique {
            if order.is_empty() {
                return Err(lacks(place, "order_by"));
            }
            return Ok(vec![format!(
                "lag({}) ignore nulls over (order by {}) as {}",
                quoted(first),
                order.join(", "),
                helper("before", index)
            )]);
        }
        let key: Vec<String> = columns.iter().map(|n| quoted(n)).collect();
        let any: Vec<String> = columns.iter().map(|name| self.order_key(name)).collect();
        let order = if order.is_empty() { any } else { order };
        let window = format!(
            "over (partition by {} order by {})",
            key.join(", "),
            order.join(", ")
        );
        let mut helpers = vec![format!("row_number() {window} as {}", helper("row", index))];
        if check.reject == UniqueReject::All {
            helpers.push(format!("lead(1) {window} as {}", helper("next", index)));
        }
        Ok(helpers)
    }
}

impl Verdict<'_> {
    /// A check of the whole table. Errors: `E0103`, `E0401`, `E0402`.
    fn measured(&self, rule: Rule) -> Result<Judged> {
        let check = self.check;
        let measure = match check.check {
            CheckKind::RowCount => Measure::Rows,
            CheckKind::NullRatio => Measure::Nulls,
            CheckKind::Freshness => Measure::Age,
            CheckKind::Mean => Measure::Mean,
            CheckKind::Minimum => Measure::Minimum,
            CheckKind::Maximum => Measure::Maximum,
            CheckKind::Sum => Measure::Sum,
            _ => return Err(Error::bug("a check of rows was lowered as one of the table")),
        };
        let value = if measure == Measure::Rows {
            lit(true)
        } else {
            let name = check
                .column
                .as_deref()
                .ok_or_else(|| lacks(&self.place, "column"))?;
            let (column, data_type) = self.column(name)?;
            match measure {
                Measure::Nulls => {}
                Measure::Age if matches!(data_type, DataType::Date32 | DataType::Timestamp(..)) => {}
                Measure::Age => return Err(self.wrong_type(&data_type, "a date or timestamp")),
                _ if is_measurable(&data_type) => {}
                _ => return Err(self.wrong_type(&data_type, "a number of at most 38 digits")),
            }
            column
        };
        let on_empty = check.on_empty.unwrap_or(match measure {
            Measure::Age => OnEmpty::Fail,
            _ => OnEmpty::Pass,
        });
        let gauge = Gauge::new(measure, self.bounds(measure)?, on_empty, self.lowering.started_ms);
        Ok(Judged::table(rule, value, gauge))
    }

    fn bounds(&self, measure: Measure) -> Result<Bounds> {
        let check = self.check;
        let number = |value: &Option<Value>| match value {
            None => Ok(None),
            Some(value) => {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                Number::parse(&text).map(Some).ok_or_else(|| {
                    Error::new(Code::E0103, format!("{}: a bound is not a number", self.place))
                        .with_hint("write `min` and `max` as numbers such as 10 or 0.05")
                })
            }
        };
        let (min, mut max) = (number(&check.min)?, number(&check.max)?);
        if measure == Measure::Age {
            let age = check.max_age.ok_or_else(|| lacks(&self.place, "max_age"))?;
            max = Some(Number::whole(
                i128::try_from(age.0.as_millis()).unwrap_or(i128::MAX),
            ));
        }
        if min.is_none() && max.is_none() {
            return Err(lacks(&self.place, "min"));
        }
        Ok(Bounds {
            min,
            max,
            exclusive_min: check.exclusive.min(),
            exclusive_max: check.exclusive.max(),
        })
    }
}

/// The name of a helper column; no rejected row shows it.
pub(super) fn helper(what: &str, index: usize) -> String {
    format!("__synqx_{what}_{index}")
}

pub(super) fn lacks(place: &str, key: &str) -> Error {
    Error::new(Code::E0103, format!("{place} lacks the key `{key}`"))
        .with_hint(format!("add `{key}: …` to the check"))
}

/// Whether a NULL verdict passes. `not_null`, `missing`, `required_if` and `unique` have none.
fn null_passes(check: &CheckSpec) -> bool {
    match check.check {
        CheckKind::NotNull | CheckKind::Missing | CheckKind::RequiredIf | CheckKind::Unique => false,
        CheckKind::Condition => check.null_passes.unwrap_or(false),
        _ => check.null_passes.unwrap_or(true),
    }
}

fn rule(check: &CheckSpec, action: OnFail) -> Rule {
    let mut columns: Vec<String> = check.named().into_iter().map(str::to_owned).collect();
    columns.extend(check.other.clone());
    Rule {
        id: check.id(),
        assertion: check.check.as_str(),
        columns,
        words: check.name.clone().unwrap_or_else(|| in_words(check)),
        action,
        warn_above: check.warn_above,
        fail_above: check.fail_above,
        severity: check.severity,
    }
}

/// A check in words, for reports and the quarantine.
fn in_words(check: &CheckSpec) -> String {
    let column = check.named().join(", ");
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let age = || {
        check
            .max_age
            .map_or_else(String::new, |age| render_duration(age.0))
    };
    match check.check {
        CheckKind::NotNull => format!("{column} is not NULL"),
        CheckKind::Missing => format!("{column} is not missing"),
        CheckKind::NotEmptyString => format!("{column} is not empty"),
        CheckKind::Range => between(&column, check),
        CheckKind::Length => between(&format!("length of {column}"), check),
        CheckKind::Positive => format!("{column} is positive"),
        CheckKind::NonNegative => format!("{column} is not negative"),
        CheckKind::AcceptedValues => format!("{column} is one of {} values", check.values.len()),
        CheckKind::RejectedValues => format!("{column} is none of {} values", check.values.len()),
        CheckKind::Regex => format!("{column} matches {}", text(&check.pattern)),
        CheckKind::NotRegex => format!("{column} does not match {}", text(&check.pattern)),
        CheckKind::Like => format!("{column} is like {}", text(&check.pattern)),
        CheckKind::Format => format!("{column} has the format {} (version 1)", text(&check.format)),
        CheckKind::DateFormat => format!("{column} is a date by {}", text(&check.format)),
        CheckKind::Json => format!("{column} is JSON"),
        CheckKind::Type => format!("{column} is of type {}", text(&check.r#type)),
        CheckKind::Castable => format!("{column} converts to {}", text(&check.r#type)),
        CheckKind::FitsDecimal => format!(
            "{column} fits decimal({},{})",
            check.precision.unwrap_or_default(),
            check.scale.unwrap_or_default()
        ),
        CheckKind::NotInFuture => format!("{column} is not in the future"),
        CheckKind::NotBefore => match &check.min {
            Some(min) => format!("{column} is not before {}", plain(min)),
            None => format!("{column} is at most {} old", age()),
        },
        CheckKind::Compare => format!("{column} {} {}", text(&check.operator), text(&check.other)),
        CheckKind::SumEquals => {
            let right = check.value.as_ref().map_or_else(|| text(&check.other), plain);
            format!("{} = {right}", check.columns.join(" + "))
        }
        CheckKind::RequiredIf => format!("{column} is not NULL where {}", text(&check.when)),
        CheckKind::Unique => format!("{column} is unique"),
        CheckKind::Increasing => format!("{column} increases"),
        CheckKind::Decreasing => format!("{column} decreases"),
        CheckKind::Condition => text(&check.condition),
        CheckKind::RowCount => between("rows", check),
        CheckKind::NullRatio => between(&format!("share of NULLs in {column}"), check),
        CheckKind::Freshness => format!("newest {column} is at most {} old", age()),
        CheckKind::Mean | CheckKind::Minimum | CheckKind::Maximum | CheckKind::Sum => {
            between(&format!("{} of {column}", check.check.as_str()), check)
        }
    }
}

/// A value of the document as it was written.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn between(what: &str, check: &CheckSpec) -> String {
    let (least, most) = (
        if check.exclusive.min() {
            "above"
        } else {
            "at least"
        },
        if check.exclusive.max() { "below" } else { "at most" },
    );
    match (&check.min, &check.max) {
        (Some(min), Some(max)) if check.exclusive == Exclusive::Neither => {
            format!("{what} between {} and {}", plain(min), plain(max))
        }
        (Some(min), Some(max)) => format!("{what} {least} {} and {most} {}", plain(min), plain(max)),
        (Some(min), None) => format!("{what} {least} {}", plain(min)),
        (None, Some(max)) => format!("{what} {most} {}", plain(max)),
        (None, None) => what.to_owned(),
    }
}
