//! The `flatten` operator: JSON text to columns, one list to rows, structs to columns, in this order.
//!
//! Each part is a plan over the part before it, so a node can take values out of JSON, make rows of a list among
//! them and columns of its structs. What does not convert is judged as `cast` judges it.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{NullHandling, UnnestOptions};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use synqx_model::spec::{CastError, CastTo, Flatten, FlattenJson, JsonField, OnFail, OrderedMap};
use synqx_model::{Code, Error, Result};
use synqx_sdk::type_names::{is_text, parse_type, render_type};

use super::cast::converted;
use super::{Lowering, quoted};
use crate::check::Judged;
use crate::json_value::{Segment, Shape, json_value, path};
use crate::meter::Rule;
use crate::trouble::{Phase, duplicate, inward};

/// A column taken out of JSON.
struct Taken {
    name: String,
    path: Vec<Segment>,
    shape: Shape,
    data_type: DataType,
}

impl Lowering<'_> {
    pub(super) async fn flatten(&mut self, spec: &Flatten) -> Result<LogicalPlan> {
        if spec.json.is_none() && spec.explode.is_none() && spec.unpack.is_empty() {
            return Err(Error::new(Code::E0103, "the flatten takes nothing apart")
                .with_hint("add `json`, `explode` or `unpack`"));
        }
        if spec.explode.is_none() && (spec.outer || spec.ordinal.is_some()) {
            return Err(
                Error::new(Code::E0103, "`outer` and `ordinal` belong to `explode`")
                    .with_hint("name the list: `explode: column`"),
            );
        }
        if let Some(json) = &spec.json {
            self.inputs[0].1 = self.json(json)?;
        }
        if let Some(list) = &spec.explode {
            self.inputs[0].1 = self.explode(list, spec).await?;
        }
        if !spec.unpack.is_empty() {
            self.inputs[0].1 = self.unpack(&spec.unpack).await?;
        }
        Ok(self.input().clone())
    }

    fn json(&mut self, spec: &FlattenJson) -> Result<LogicalPlan> {
        self.require(&spec.column)?;
        let from = self.type_of(&spec.column)?;
        if !is_text(&from) {
            let is = render_type(&from);
            return Err(Error::new(
                Code::E0402,
                format!("column `{}` is not text but {is}", spec.column),
            )
            .with_hint("JSON is text here; `unpack` takes structs apart"));
        }
        let mut names = self.names();
        if !spec.keep {
            names.retain(|name| *name != spec.column);
        }
        let mut taken = Vec::new();
        let mut errors = Vec::new();
        for (name, field) in spec.fields.iter() {
            if names.iter().any(|known| known == name) {
                errors.push(duplicate(name).with_hint("give the column another name and write its `path`"));
            }
            match take(name, field) {
                Ok(one) => taken.push(one),
                Err(error) => errors.push(error),
            }
        }
        if taken.is_empty() && errors.is_empty() {
            errors.push(
                Error::new(Code::E0409, "the JSON gives no columns")
                    .with_hint("name them: `fields: {city: text}`"),
            );
        }
        if let Some(error) = Error::all(errors) {
            return Err(error);
        }
        if spec.on_error == CastError::Quarantine {
            let rules = self.json_rules(&spec.column, &taken)?;
            self.inputs[0].1 = self.check_node(self.input().clone(), rules)?;
        }
        let strict = spec.on_error == CastError::Fail;
        let text = self.column(&spec.column)?;
        let columns = self.input().schema().columns().into_iter();
        let mut exprs: Vec<Expr> = columns
            .filter(|column| spec.keep || column.name != spec.column)
            .map(Expr::Column)
            .collect();
        for one in &taken {
            exprs.push(one.value(&text, strict).alias(&one.name));
        }
        LogicalPlanBuilder::from(self.input().clone())
            .project(exprs)
            .and_then(LogicalPlanBuilder::build)
            .map_err(|e| inward(e, Phase::Planning))
    }

    /// What sets a row aside: text that is no JSON, a value that does not convert.
    fn json_rules(&self, column: &str, taken: &[Taken]) -> Result<Vec<Judged>> {
        let text = self.column(column)?;
        let aside = OnFail::Quarantine;
        let valid = json_value(Vec::new(), Shape::Valid, false).call(vec![text.clone()]);
        let is_json = text.clone().is_null().or(valid);
        let rule = Rule::of(column, "json", format!("{column} is JSON"), aside);
        let mut rules = vec![Judged::row(rule, is_json, false)];
        for one in taken {
            let there = json_value(one.path.clone(), Shape::Json, false).call(vec![text.clone()]);
            let fits = there.is_null().or(one.value(&text, false).is_not_null());
            let words = format!("{} converts to {}", one.name, render_type(&one.data_type));
            rules.push(Judged::row(
                Rule::of(&one.name, "castable", words, aside),
                fits,
                false,
            ));
        }
        Ok(rules)
    }

    fn column(&self, name: &str) -> Result<Expr> {
        let found = self.input().schema().qualified_field_with_unqualified_name(name);
        let (qualifier, _) = found.map_err(|e| inward(e, Phase::Planning))?;
        Ok(Expr::Column(datafusion::common::Column::new(
            qualifier.cloned(),
            name,
        )))
    }

    async fn explode(&self, list: &str, spec: &Flatten) -> Result<LogicalPlan> {
        self.require(list)?;
        match self.type_of(list)? {
            DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) => {}
            other => {
                let is = render_type(&other);
                return Err(
                    Error::new(Code::E0402, format!("column `{list}` is not a list but {is}"))
                        .with_hint("JSON text becomes a list by `json`, with type `text[]` or `json[]`"),
                );
            }
        }
        let mut rows = self.input().clone();
        let mut lists = vec![list];
        if let Some(ordinal) = &spec.ordinal {
            if self.names().contains(ordinal) {
                return Err(duplicate(ordinal).with_hint("choose another name for `ordinal`"));
            }
            let places = format!(
                "range(1, coalesce(cast(cardinality({}) as bigint), 0) + 1)",
                quoted(list)
            );
            rows = self
                .select(&format!("select *, {places} as {} from input", quoted(ordinal)))
                .await?;
            lists.push(ordinal);
        }
        let columns = rows.schema().columns();
        let columns = columns
            .into_iter()
            .filter(|column| lists.contains(&column.name.as_str()));
        let nulls = if spec.outer {
            NullHandling::PreserveAndExpandEmpty
        } else {
            NullHandling::Drop
        };
        LogicalPlanBuilder::from(rows)
            .unnest_columns_with_options(columns.collect(), UnnestOptions::new().with_null_handling(nulls))
            .and_then(LogicalPlanBuilder::build)
            .map_err(|e| inward(e, Phase::Planning))
    }

    async fn unpack(&self, structs: &OrderedMap<String>) -> Result<LogicalPlan> {
        if let Some(error) = Error::all(structs.iter().filter_map(|(name, _)| self.require(name).err())) {
            return Err(error);
        }
        let mut items = Vec::new();
        let mut names: Vec<String> = Vec::new();
        for field in self.input().schema().fields() {
            let (name, column) = (field.name(), quoted(field.name()));
            let Some(prefix) = structs.get(name) else {
                names.push(name.clone());
                items.push(column);
                continue;
            };
            let DataType::Struct(parts) = field.data_type() else {
                let is = render_type(field.data_type());
                return Err(
                    Error::new(Code::E0402, format!("column `{name}` is not a struct but {is}"))
                        .with_hint("`explode` takes lists apart, `json` takes text apart"),
                );
            };
            for part in parts {
                let new = format!("{prefix}{}", part.name());
                let key = part.name().replace('\'', "''");
                // A struct that is NULL may hide values of its fields.
                items.push(format!(
                    "case when {column} is null then null else get_field({column}, '{key}') end as {}",
                    quoted(&new)
                ));
                names.push(new);
            }
        }
        for (index, name) in names.iter().enumerate() {
            if names[..index].contains(name) {
                return Err(
                    duplicate(name).with_hint("put something before the fields: `unpack: {column: prefix_}`")
                );
            }
        }
        self.select(&format!("select {} from input", items.join(", ")))
            .await
    }
}

impl Taken {
    /// The value in its type: an error where it does not convert when `strict`, else NULL.
    fn value(&self, text: &Expr, strict: bool) -> Expr {
        let value = json_value(self.path.clone(), self.shape, strict).call(vec![text.clone()]);
        if self.shape != Shape::Text || is_text(&self.data_type) {
            return value;
        }
        converted(
            value,
            &DataType::Utf8View,
            &CastTo::Type(String::new()),
            &self.data_type,
            strict,
        )
    }
}

/// Errors: `E0103`.
fn take(name: &str, field: &JsonField) -> Result<Taken> {
    let (segments, type_name) = match field {
        JsonField::Type(type_name) => (vec![Segment::Key(name.to_owned())], type_name),
        JsonField::At(place) => (path(&place.path)?, &place.r#type),
    };
    let (shape, data_type) = match type_name.trim().to_lowercase().as_str() {
        "json" => (Shape::Json, DataType::Utf8View),
        "text[]" => (Shape::Texts, DataType::Utf8View),
        "json[]" => (Shape::Jsons, DataType::Utf8View),
        other if other.ends_with("[]") => {
            return Err(
                Error::new(Code::E0103, format!("`{type_name}` cannot be taken out of JSON"))
                    .with_hint("take `text[]`, `explode` it and `cast` its elements"),
            );
        }
        other => (Shape::Text, parse_type(other)?),
    };
    Ok(Taken {
        name: name.to_owned(),
        path: segments,
        shape,
        data_type,
    })
}
