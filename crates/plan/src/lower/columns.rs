//! Operators that work on columns of one input: map, rename, drop, fill_nulls, regex_replace.
//!
//! Each keeps the order of columns; what is not named passes unchanged (with its native type). `subset` is
//! respected, and a strategy of `fill_nulls` is computed over the whole input, never per batch.

use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use serde_json::Value;
use synqx_model::spec::{DropColumns, FillNulls, FillStrategy, MapColumns, RegexReplace, Rename};
use synqx_model::{Code, Error, Result};
use synqx_sdk::type_names::{is_text, render_type};

use super::{Lowering, expression, quoted};
use crate::trouble::{Phase, duplicate, inward};
use crate::uses::disguised;

impl Lowering<'_> {
    pub(super) async fn map(&self, map: &MapColumns) -> Result<LogicalPlan> {
        let mut items: Vec<String> = Vec::new();
        if map.keep {
            for name in self.names() {
                match map.columns.get(&name) {
                    Some(text) => items.push(format!("({}) as {}", expression(text)?, quoted(&name))),
                    None => items.push(quoted(&name)),
                }
            }
        }
        let known = if map.keep { self.names() } else { Vec::new() };
        for (name, text) in map
            .columns
            .iter()
            .filter(|(name, _)| !known.iter().any(|k| k == name))
        {
            items.push(format!("({}) as {}", expression(text)?, quoted(name)));
        }
        if items.is_empty() {
            return Err(Error::new(Code::E0409, "the map keeps no column")
                .with_hint("name columns, or set `keep: true`"));
        }
        self.select(&format!("select {} from input", items.join(", ")))
            .await
    }

    /// The input's columns, each passed through `change` (`None` removes it).
    pub(super) fn project(&self, change: impl Fn(usize, &str, Expr) -> Option<Expr>) -> Result<LogicalPlan> {
        let columns = self.input().schema().columns();
        let exprs = columns.into_iter().enumerate().filter_map(|(i, column)| {
            let name = column.name.clone();
            change(i, &name, Expr::Column(column))
        });
        LogicalPlanBuilder::from(self.input().clone())
            .project(exprs.collect::<Vec<_>>())
            .and_then(LogicalPlanBuilder::build)
            .map_err(|e| inward(e, Phase::Planning))
    }

    pub(super) fn rename(&self, rename: &Rename) -> Result<LogicalPlan> {
        let names = self.names();
        let missing = rename
            .columns
            .iter()
            .filter_map(|(old, _)| self.require(old).err());
        if let Some(error) = Error::all(missing) {
            return Err(error);
        }
        let new_name = |old: &str| rename.columns.get(old).cloned().unwrap_or_else(|| old.to_owned());
        let new_names: Vec<String> = names.iter().map(|n| new_name(n)).collect();
        if let Some(twice) = new_names
            .iter()
            .enumerate()
            .find(|(i, n)| new_names[..*i].contains(n))
        {
            return Err(duplicate(twice.1));
        }
        self.project(|_, name, column| {
            Some(if rename.columns.get(name).is_some() {
                column.alias(new_name(name))
            } else {
                column
            })
        })
    }

    pub(super) fn drop_columns(&self, drop: &DropColumns) -> Result<LogicalPlan> {
        if let Some(error) = Error::all(drop.columns.iter().filter_map(|name| self.require(name).err())) {
            return Err(error);
        }
        if self.names().iter().all(|name| drop.columns.contains(name)) {
            return Err(
                Error::new(Code::E0409, "every column is dropped").with_hint("keep at least one column")
            );
        }
        self.project(|_, name, column| (!drop.columns.iter().any(|d| d == name)).then_some(column))
    }

    pub(super) async fn fill_nulls(&self, fill: &FillNulls) -> Result<LogicalPlan> {
        let named = fill
            .columns
            .iter()
            .map(|(name, _)| name)
            .chain(fill.subset.iter().map(String::as_str));
        if let Some(error) = Error::all(named.filter_map(|name| self.require(name).err())) {
            return Err(error);
        }
        let disguised = disguised(self.input());
        let mut items = Vec::new();
        for field in self.input().schema().fields() {
            let name = field.name();
            let in_subset = fill.subset.is_empty() || fill.subset.contains(name);
            let quoted_name = quoted(name);
            let filled = match (fill.columns.get(name), &fill.value, fill.strategy) {
                (Some(value), _, _) => Some(literal(value, name)?),
                (None, Some(value), _)
                    if in_subset
                        && (!fill.subset.is_empty()
                            || (fits(value, field.data_type()) && !disguised.contains(name))) =>
                {
                    Some(literal(value, name)?)
                }
                (None, None, Some(strategy))
                    if in_subset && (field.data_type().is_numeric() || !fill.subset.is_empty()) =>
                {
                    Some(match strategy {
                        FillStrategy::Zero => "0".to_owned(),
                        FillStrategy::Mean => format!("(select avg({quoted_name}) from input)"),
                        FillStrategy::Min => format!("(select min({quoted_name}) from input)"),
                        FillStrategy::Max => format!("(select max({quoted_name}) from input)"),
                    })
                }
                _ => None,
            };
            items.push(match filled {
                Some(value) => {
                    format!(
                        "coalesce({quoted_name}, arrow_cast({value}, '{}')) as {quoted_name}",
                        field.data_type()
                    )
                }
                None => quoted_name,
            });
        }
        self.select(&format!("select {} from input", items.join(", ")))
            .await
    }

    pub(super) async fn regex_replace(&self, replace: &RegexReplace) -> Result<LogicalPlan> {
        if let Some(error) = Error::all(replace.subset.iter().filter_map(|name| self.require(name).err())) {
            return Err(error);
        }
        pattern(&replace.pattern)?;
        let text = |s: &str| format!("'{}'", s.replace('\'', "''"));
        let disguised = disguised(self.input());
        let mut items = Vec::new();
        for field in self.input().schema().fields() {
            let name = quoted(field.name());
            let named = replace.subset.contains(field.name());
            if named && !is_text(field.data_type()) {
                return Err(Error::new(
                    Code::E0402,
                    format!(
                        "column `{}` is not text but {}",
                        field.name(),
                        render_type(field.data_type())
                    ),
                )
                .with_hint("cast it to text first"));
            }
            items.push(
                if named
                    || (replace.subset.is_empty()
                        && is_text(field.data_type())
                        && !disguised.contains(field.name()))
                {
                    format!(
                        "regexp_replace({name}, {}, {}, 'g') as {name}",
                        text(&replace.pattern),
                        text(&replace.replacement)
                    )
                } else {
                    name
                },
            );
        }
        self.select(&format!("select {} from input", items.join(", ")))
            .await
    }
}

/// The text as a regular expression. Errors: `E0103`.
pub(super) fn pattern(text: &str) -> Result<regex::Regex> {
    regex::Regex::new(text).map_err(|cause| {
        Error::new(Code::E0103, "the pattern is not a regular expression")
            .with_detail(format!("{cause}."))
            .with_hint("patterns use the syntax of the Rust `regex` crate")
    })
}

/// A document's value as a SQL literal. Errors: `E0103`.
pub(super) fn literal(value: &Value, place: &str) -> Result<String> {
    match value {
        Value::Bool(b) => Ok(b.to_string()),
        Value::Number(n) => Ok(n.to_string()),
        Value::String(s) => Ok(format!("'{}'", s.replace('\'', "''"))),
        _ => Err(Error::new(
            Code::E0103,
            format!("the value for `{place}` is not a number, text or boolean"),
        )
        .with_hint("write a single value")),
    }
}

/// Whether a value written without naming columns fits a column's type.
fn fits(value: &Value, data_type: &datafusion::arrow::datatypes::DataType) -> bool {
    match value {
        Value::Bool(_) => *data_type == datafusion::arrow::datatypes::DataType::Boolean,
        Value::Number(n) => {
            data_type.is_floating() || data_type.is_decimal() || (data_type.is_integer() && !n.is_f64())
        }
        Value::String(_) => is_text(data_type),
        _ => false,
    }
}
