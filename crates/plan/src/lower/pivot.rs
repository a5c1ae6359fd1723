//! The `pivot` and `unpivot` operators: rows to columns and back.
//!
//! A pivot is an aggregate with one filtered call per value; its values stand in the document, so its columns are
//! known before a row is read. An unpivot takes one array of each row apart, so its input is read once.

use datafusion::arrow::datatypes::DataType;
use datafusion::logical_expr::{Expr, LogicalPlan};
use serde_json::Value;
use synqx_model::spec::{OnFail, Pivot, PivotValues, Unknown, Unpivot};
use synqx_model::{Code, Error, Result};
use synqx_sdk::type_names::{is_text, render_type};

use super::widen::common;
use super::{Lowering, quoted};
use crate::check::Judged;
use crate::meter::Rule;
use crate::trouble::{Phase, duplicate, inward};

impl Lowering<'_> {
    pub(super) async fn pivot(&mut self, spec: &Pivot) -> Result<LogicalPlan> {
        let named = spec.group_by.iter().chain([&spec.column]);
        if let Some(error) = Error::all(named.filter_map(|name| self.require(name).err())) {
            return Err(error);
        }
        let data_type = self.type_of(&spec.column)?;
        let column = quoted(&spec.column);
        let mut cell = self.call(&spec.cell, false)?;
        let own = match cell.filter.take() {
            Some(filter) => format!(" and ({filter})"),
            None => String::new(),
        };
        let mut items: Vec<String> = spec.group_by.iter().map(|name| quoted(name)).collect();
        let mut names = spec.group_by.clone();
        let mut conditions: Vec<String> = Vec::new();
        let mut errors = Vec::new();
        for (name, value) in values(spec) {
            let condition = match is_value(&column, &spec.column, &value, &data_type) {
                Ok(condition) => condition,
                Err(error) => {
                    errors.push(error);
                    continue;
                }
            };
            if names.contains(&name) || conditions.contains(&condition) {
                errors.push(
                    duplicate(&name).with_hint("name each value once, or write `values: {name: value}`"),
                );
                continue;
            }
            items.push(format!(
                "{cell} filter (where {condition}{own}) as {}",
                quoted(&name)
            ));
            names.push(name);
            conditions.push(condition);
        }
        if conditions.is_empty() && errors.is_empty() {
            errors.push(
                Error::new(Code::E0409, "the pivot names no values")
                    .with_hint("list them: `values: [a, b]`; columns must be known before a row is read"),
            );
        }
        if let Some(error) = Error::all(errors) {
            return Err(error);
        }
        let action = match spec.unknown {
            Unknown::Ignore => None,
            Unknown::Fail => Some(OnFail::Fail),
            Unknown::Quarantine => Some(OnFail::Quarantine),
        };
        if let Some(action) = action {
            let verdict = self.typed(&conditions.join(" or "))?;
            let words = format!(
                "{} is one of the pivot's {} values",
                spec.column,
                conditions.len()
            );
            let rule = Rule::of(&spec.column, "known_value", words, action);
            let rule = Judged::row(rule, verdict, false);
            self.inputs[0].1 = self.check_node(self.input().clone(), vec![rule])?;
        }
        let by = match spec.group_by.as_slice() {
            [] => String::new(),
            columns => {
                let columns: Vec<String> = columns.iter().map(|name| quoted(name)).collect();
                format!(" group by {}", columns.join(", "))
            }
        };
        self.select(&format!("select {} from input{by}", items.join(", ")))
            .await
    }

    pub(super) async fn unpivot(&self, spec: &Unpivot) -> Result<LogicalPlan> {
        if let Some(error) = Error::all(spec.columns.iter().filter_map(|name| self.require(name).err())) {
            return Err(error);
        }
        let Some(first) = spec.columns.first() else {
            return Err(Error::new(Code::E0409, "the unpivot names no columns")
                .with_hint("list them: `columns: [a, b]`"));
        };
        let mut data_type = self.type_of(first)?;
        for (index, name) in spec.columns.iter().enumerate() {
            if spec.columns[..index].contains(name) {
                return Err(duplicate(name).with_hint("name each column once"));
            }
            let own = self.type_of(name)?;
            data_type = common(&data_type, &own).ok_or_else(|| no_common(first, &data_type, name, &own))?;
        }
        let names = self.names();
        let kept: Vec<&String> = names.iter().filter(|name| !spec.columns.contains(name)).collect();
        for new in [&spec.name, &spec.value] {
            if kept.contains(&new) || spec.name == spec.value {
                return Err(duplicate(new).with_hint("choose other names with `name` and `value`"));
            }
        }
        let mut items: Vec<String> = kept.iter().map(|name| quoted(name)).collect();
        let labels: Vec<String> = spec
            .columns
            .iter()
            .map(|name| format!("arrow_cast({}, 'Utf8View')", text_literal(name)))
            .collect();
        items.push(format!(
            "unnest(make_array({})) as {}",
            labels.join(", "),
            quoted(&spec.name)
        ));
        let cells: Vec<String> = spec
            .columns
            .iter()
            .map(|name| format!("arrow_cast({}, '{data_type}')", quoted(name)))
            .collect();
        items.push(format!(
            "unnest(make_array({})) as {}",
            cells.join(", "),
            quoted(&spec.value)
        ));
        let rows = self
            .select(&format!("select {} from input", items.join(", ")))
            .await?;
        if spec.include_nulls {
            return Ok(rows);
        }
        let relations = std::collections::BTreeMap::from([("rows".to_owned(), rows)]);
        self.query(
            &format!("select * from \"rows\" where {} is not null", quoted(&spec.value)),
            relations,
        )
        .await
    }

    /// The type of a column of the only input.
    pub(super) fn type_of(&self, name: &str) -> Result<DataType> {
        let field = self.input().schema().field_with_unqualified_name(name);
        field
            .map(|field| field.data_type().clone())
            .map_err(|e| inward(e, Phase::Planning))
    }

    /// SQL of ours over the only input, typed.
    pub(super) fn typed(&self, sql: &str) -> Result<Expr> {
        self.context
            .state()
            .create_logical_expr(sql, self.input().schema())
            .map_err(|e| inward(e, Phase::Planning))
    }
}

/// The columns that values become: names and values.
fn values(spec: &Pivot) -> Vec<(String, Value)> {
    let prefix = spec.prefix.as_deref().unwrap_or_default();
    match &spec.values {
        PivotValues::Named(named) => named.0.clone(),
        PivotValues::List(list) => {
            let name = |value: &Value| match value {
                Value::String(text) => format!("{prefix}{text}"),
                other => format!("{prefix}{other}"),
            };
            list.iter().map(|value| (name(value), value.clone())).collect()
        }
    }
}

/// Whether a column has a value, as SQL. The value must be written as the column's type is. Errors: `E0402`.
fn is_value(column: &str, name: &str, value: &Value, data_type: &DataType) -> Result<String> {
    let literal = match value {
        Value::Null => return Ok(format!("{column} is null")),
        Value::Bool(value) if *data_type == DataType::Boolean => return Ok(format!("{column} is {value}")),
        Value::String(text) if is_text(data_type) || *data_type == DataType::Date32 => text_literal(text),
        Value::Number(number) if data_type.is_integer() && !number.is_f64() => number.to_string(),
        _ => {
            return Err(Error::new(
                Code::E0402,
                format!(
                    "a value of the pivot does not fit column `{name}`, which is {}",
                    render_type(data_type)
                ),
            )
            .with_detail("A pivot takes values of text, whole numbers, booleans and dates (`2024-01-31`).")
            .with_hint("write the values as the column has them, or `cast` the column to text before"));
        }
    };
    Ok(format!("{column} = arrow_cast({literal}, '{data_type}')"))
}

fn text_literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn no_common(first: &str, left: &DataType, name: &str, right: &DataType) -> Error {
    let (left, right) = (render_type(left), render_type(right));
    Error::new(
        Code::E0402,
        format!("columns `{first}` and `{name}` of the unpivot are {left} and {right}"),
    )
    .with_detail("No type holds every value of both unchanged.")
    .with_hint(format!(
        "put a `cast` node before: `{{{name}: {left}}}`, or both to text"
    ))
}
