//! The `validate` operator: each check becomes one boolean verdict over the row, in exact three-valued logic.
//!
//! Row rules are expressions; `unique` looks at neighbours in a sorted window, which spills. A NULL value passes
//! every rule of one column except `not_null`; a condition that is NULL fails. Both can be changed per check.

use datafusion::logical_expr::{Expr, LogicalPlan};
use synqx_model::spec::{Check, CheckKind, OnFail, UniqueReject, Validate};
use synqx_model::{Code, Error, Result};
use synqx_sdk::type_names::{is_text, render_type};

use super::columns::{literal, pattern};
use super::{Lowering, expression, order_item, quoted};
use crate::trouble::{Phase, inward};

impl Lowering<'_> {
    pub(super) async fn validate(&mut self, spec: &Validate) -> Result<LogicalPlan> {
        let mut errors = Vec::new();
        let mut helpers = Vec::new();
        let mut rules: Vec<(String, String, OnFail)> = Vec::new();
        for (index, check) in spec.checks.iter().enumerate() {
            match self.verdict(index, check, &mut helpers) {
                Ok(verdict) => {
                    let words = check.name.clone().unwrap_or_else(|| in_words(check));
                    rules.push((verdict, words, check.on_fail.unwrap_or(spec.on_fail)));
                }
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
        let state = self.context.state();
        let mut typed: Vec<(Expr, String, OnFail)> = Vec::new();
        for (verdict, words, action) in rules {
            let expr = state
                .create_logical_expr(&verdict, input.schema())
                .map_err(|e| inward(e, Phase::Planning))?;
            typed.push((expr, words, action));
        }
        let checked = self.check_node(input, typed)?;
        if helpers.is_empty() {
            return Ok(checked);
        }
        let columns: Vec<String> = names.iter().map(|n| quoted(n)).collect();
        let relations = std::collections::BTreeMap::from([("checked".to_owned(), checked)]);
        self.query(&format!("select {} from checked", columns.join(", ")), relations)
            .await
    }

    /// The verdict as SQL; helpers are window columns it needs.
    fn verdict(&self, index: usize, check: &Check, helpers: &mut Vec<String>) -> Result<String> {
        let place = format!("checks[{index}]");
        if check.check == CheckKind::Condition {
            let text = check
                .condition
                .as_deref()
                .ok_or_else(|| lacks(&place, "condition"))?;
            let verdict = format!("({})", expression(text)?);
            return Ok(if check.null_passes == Some(true) {
                format!("coalesce({verdict}, true)")
            } else {
                verdict
            });
        }
        if check.check == CheckKind::Unique {
            return self.unique(index, check, &place, helpers);
        }
        let name = check.column.as_deref().ok_or_else(|| lacks(&place, "column"))?;
        self.require(name)?;
        let column = quoted(name);
        let verdict = match check.check {
            CheckKind::NotNull => return Ok(format!("{column} is not null")),
            CheckKind::Range => bounds(&column, check, name, &place, check.exclusive)?,
            CheckKind::Length => {
                self.text_column(name)?;
                bounds(&format!("character_length({column})"), check, name, &place, false)?
            }
            CheckKind::AcceptedValues => {
                if check.values.is_empty() {
                    return Err(lacks(&place, "values"));
                }
                let values = check
                    .values
                    .iter()
                    .map(|v| literal(v, name))
                    .collect::<Result<Vec<_>>>()?;
                format!("{column} in ({})", values.join(", "))
            }
            CheckKind::Regex => {
                self.text_column(name)?;
                let text = check.pattern.as_deref().ok_or_else(|| lacks(&place, "pattern"))?;
                pattern(text)?;
                format!("regexp_like({column}, '{}')", text.replace('\'', "''"))
            }
            CheckKind::Unique | CheckKind::Condition => return Err(Error::bug("a check was lowered twice")),
        };
        let passes = check.null_passes.unwrap_or(true);
        Ok(if passes {
            format!("({column} is null or {verdict})")
        } else {
            format!("({verdict})")
        })
    }

    fn text_column(&self, name: &str) -> Result<()> {
        let field = self
            .input()
            .schema()
            .field_with_unqualified_name(name)
            .map_err(|e| inward(e, Phase::Planning))?;
        if is_text(field.data_type()) {
            return Ok(());
        }
        Err(Error::new(
            Code::E0402,
            format!(
                "column `{name}` is not text but {}",
                render_type(field.data_type())
            ),
        )
        .with_hint("use `range`, or a `condition` with a cast"))
    }

    fn unique(&self, index: usize, check: &Check, place: &str, helpers: &mut Vec<String>) -> Result<String> {
        let mut columns: Vec<&str> = check.columns.iter().map(String::as_str).collect();
        columns.extend(check.column.as_deref());
        if columns.is_empty() {
            return Err(lacks(place, "column"));
        }
        if let Some(error) = Error::all(columns.iter().filter_map(|name| self.require(name).err())) {
            return Err(error);
        }
        let key: Vec<String> = columns.iter().map(|n| quoted(n)).collect();
        let order: Vec<String> = check
            .order_by
            .iter()
            .map(|text| order_item(text).map(|item| item.to_sql()))
            .collect::<Result<_>>()?;
        let order = if order.is_empty() {
            let any: Vec<String> = columns.iter().map(|name| self.order_key(name)).collect();
            any.join(", ")
        } else {
            order.join(", ")
        };
        let window = format!("over (partition by {} order by {order})", key.join(", "));
        helpers.push(format!("row_number() {window} as __synqx_row_{index}"));
        let any_null: Vec<String> = key.iter().map(|k| format!("{k} is null")).collect();
        let alone = match check.reject {
            UniqueReject::Rest => format!("__synqx_row_{index} = 1"),
            UniqueReject::All => {
                helpers.push(format!("lead(1) {window} as __synqx_next_{index}"));
                format!("(__synqx_row_{index} = 1 and __synqx_next_{index} is null)")
            }
        };
        Ok(format!("({} or {alone})", any_null.join(" or ")))
    }
}

fn lacks(place: &str, key: &str) -> Error {
    Error::new(Code::E0103, format!("{place} lacks the key `{key}`"))
        .with_hint(format!("add `{key}: …` to the check"))
}

fn bounds(value: &str, check: &Check, name: &str, place: &str, exclusive: bool) -> Result<String> {
    let (low, high) = if exclusive { (">", "<") } else { (">=", "<=") };
    let mut parts = Vec::new();
    if let Some(min) = &check.min {
        parts.push(format!("{value} {low} {}", literal(min, name)?));
    }
    if let Some(max) = &check.max {
        parts.push(format!("{value} {high} {}", literal(max, name)?));
    }
    if parts.is_empty() {
        return Err(lacks(place, "min"));
    }
    Ok(format!("({})", parts.join(" and ")))
}

/// A check in words, for reports and the quarantine.
fn in_words(check: &Check) -> String {
    let column = match (&check.column, check.columns.as_slice()) {
        (Some(column), _) => column.clone(),
        (None, columns) => columns.join(", "),
    };
    let bound = |value: &Option<serde_json::Value>| value.as_ref().map(ToString::to_string);
    match check.check {
        CheckKind::NotNull => format!("{column} is not NULL"),
        CheckKind::Unique => format!("{column} is unique"),
        CheckKind::AcceptedValues => format!("{column} is one of {} values", check.values.len()),
        CheckKind::Regex => format!(
            "{column} matches {}",
            check.pattern.as_deref().unwrap_or_default()
        ),
        CheckKind::Condition => check.condition.clone().unwrap_or_default(),
        CheckKind::Range | CheckKind::Length => {
            let what = if check.check == CheckKind::Length {
                format!("length of {column}")
            } else {
                column
            };
            match (bound(&check.min), bound(&check.max)) {
                (Some(min), Some(max)) => format!("{what} between {min} and {max}"),
                (Some(min), None) => format!("{what} at least {min}"),
                (None, Some(max)) => format!("{what} at most {max}"),
                (None, None) => what,
            }
        }
    }
}
