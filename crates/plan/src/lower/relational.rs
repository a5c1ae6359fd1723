//! Operators over whole relations: deduplicate, sort, aggregate, join, union, switch.
//!
//! Each says exactly which SQL it is. All of them can spill, except a join on something else than equal columns,
//! which the plan warns of.

use std::collections::BTreeMap;

use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast};
use synqx_model::spec::{Aggregate, Deduplicate, Join, JoinHow, JoinOn, Keep, Sort, Switch, Union, UnionBy};
use synqx_model::{Code, Error, Result};

use super::widen::shared_type;
use super::{BRANCH, Lowering, expression, names, order_item, quoted, require};
use crate::predicate::is_comparable;
use crate::trouble::{Phase, duplicate, inward};

impl Lowering<'_> {
    pub(super) async fn deduplicate(&self, spec: &Deduplicate) -> Result<LogicalPlan> {
        if let Some(error) = Error::all(spec.key.iter().filter_map(|name| self.require(name).err())) {
            return Err(error);
        }
        if spec.key.is_empty() && spec.order_by.is_empty() {
            return self.select("select distinct * from input").await;
        }
        if spec.order_by.is_empty() && spec.keep == Keep::Last {
            return Err(
                Error::new(Code::E0103, "`keep: last` says nothing without an order")
                    .with_detail("Rows have no order of their own: streams run side by side.")
                    .with_hint("add `order_by: [column]`"),
            );
        }
        let key = if spec.key.is_empty() {
            self.names()
        } else {
            spec.key.clone()
        };
        let key: Vec<String> = key.iter().map(|n| quoted(n)).collect();
        let mut order = Vec::new();
        for text in &spec.order_by {
            let item = order_item(text)?;
            order.push(
                if spec.keep == Keep::Last {
                    item.reversed()
                } else {
                    item
                }
                .to_sql(),
            );
        }
        if order.is_empty() {
            order = self.sortable();
        }
        let order = order.join(", ");
        let columns: Vec<String> = self.names().iter().map(|n| quoted(n)).collect();
        let columns = columns.join(", ");
        self.select(&format!(
            "select {columns} from (select *, row_number() over (partition by {} order by {order}) as __synqx_rank from input) ranked where __synqx_rank = 1",
            key.join(", ")
        ))
        .await
    }

    /// Every column that can be compared: without an order of the document, a repeated run keeps the same rows.
    fn sortable(&self) -> Vec<String> {
        let fields = self.input().schema().fields().iter();
        let sortable = fields.filter(|field| is_comparable(field.data_type()));
        let columns: Vec<String> = sortable.map(|field| self.order_key(field.name())).collect();
        if columns.is_empty() {
            self.names().iter().map(|name| self.order_key(name)).collect()
        } else {
            columns
        }
    }

    pub(super) async fn sort(&self, spec: &Sort) -> Result<LogicalPlan> {
        if spec.by.is_empty() {
            return Err(Error::new(Code::E0103, "the sort names nothing to order by")
                .with_hint("write `by: [column]`"));
        }
        let items = spec
            .by
            .iter()
            .map(|text| order_item(text).map(|item| item.to_sql()))
            .collect::<Result<Vec<_>>>()?;
        self.select(&format!("select * from input order by {}", items.join(", ")))
            .await
    }

    pub(super) async fn aggregate(&self, spec: &Aggregate) -> Result<LogicalPlan> {
        let known = self.names();
        let mut items = Vec::new();
        let mut groups = Vec::new();
        for text in &spec.group_by {
            if known.contains(text) {
                items.push(quoted(text));
                groups.push(quoted(text));
            } else {
                let text = expression(text)?;
                items.push(format!("({text})"));
                groups.push(format!("({text})"));
            }
        }
        for (name, text) in spec.columns.iter() {
            items.push(format!("({}) as {}", expression(text)?, quoted(name)));
        }
        if items.is_empty() {
            return Err(Error::new(Code::E0409, "the aggregate computes no column")
                .with_hint("name columns: `total: sum(amount)`"));
        }
        let by = if groups.is_empty() {
            String::new()
        } else {
            format!(" group by {}", groups.join(", "))
        };
        self.select(&format!("select {} from input{by}", items.join(", ")))
            .await
    }

    pub(super) async fn join(&self, spec: &Join) -> Result<LogicalPlan> {
        let (left, right) = (names(&self.inputs[0].1), names(&self.inputs[1].1));
        let relations = BTreeMap::from([
            ("left".to_owned(), self.inputs[0].1.clone()),
            ("right".to_owned(), self.inputs[1].1.clone()),
        ]);
        let keys: &[String] = match &spec.on {
            JoinOn::Columns(keys) => keys,
            JoinOn::Condition(_) => &[],
        };
        let missing = keys
            .iter()
            .flat_map(|key| [require(&left, key).err(), require(&right, key).err()])
            .flatten();
        if let Some(error) = Error::all(missing) {
            return Err(error);
        }
        self.comparable_keys(keys)?;
        let condition = match &spec.on {
            JoinOn::Columns(keys) if keys.is_empty() => {
                return Err(
                    Error::new(Code::E0103, "the join names no columns").with_hint("write `on: [column]`")
                );
            }
            JoinOn::Columns(keys) => {
                let equal = keys
                    .iter()
                    .map(|k| format!("\"left\".{0} = \"right\".{0}", quoted(k)));
                equal.collect::<Vec<_>>().join(" and ")
            }
            JoinOn::Condition(text) => sides_quoted(expression(text)?),
        };
        let half = matches!(spec.how, JoinHow::Semi | JoinHow::Anti);
        let mut items: Vec<String> = left.iter().map(|name| left_item(name, keys, spec.how)).collect();
        if !half {
            for name in right.iter().filter(|name| !keys.contains(name)) {
                if left.contains(name) {
                    return Err(duplicate(name).with_hint(format!(
                        "put a `rename` or `drop` node before the join: both inputs have `{name}`"
                    )));
                }
                items.push(format!("\"right\".{}", quoted(name)));
            }
        }
        let how = match spec.how {
            JoinHow::Inner => "inner",
            JoinHow::Left => "left",
            JoinHow::Right => "right",
            JoinHow::Full => "full",
            JoinHow::Semi => "left semi",
            JoinHow::Anti => "left anti",
        };
        let items = items.join(", ");
        self.query(
            &format!("select {items} from \"left\" {how} join \"right\" on ({condition})"),
            relations,
        )
        .await
    }

    /// Keys of both sides must have a type that holds the values of both. Errors: `E0402`.
    fn comparable_keys(&self, keys: &[String]) -> Result<()> {
        let data_type = |side: usize, key: &str| {
            let field = self.inputs[side].1.schema().field_with_unqualified_name(key);
            field.map(|field| field.data_type().clone()).ok()
        };
        let faults = keys.iter().filter_map(|key| {
            let (left, right) = (data_type(0, key)?, data_type(1, key)?);
            shared_type(key, &left, &right, "join").err()
        });
        Error::all(faults).map_or(Ok(()), Err)
    }

    /// The inputs of a union with every column in the type all of them share. Errors: `E0402`.
    fn widened(&self, by: UnionBy) -> Result<Vec<LogicalPlan>> {
        let plans = self.inputs.iter().map(|(_, plan)| plan);
        let place = |index: usize, name: &str| match by {
            UnionBy::Name => name.to_owned(),
            UnionBy::Position => index.to_string(),
        };
        let mut types: BTreeMap<String, DataType> = BTreeMap::new();
        let mut errors = Vec::new();
        for plan in plans.clone() {
            for (index, field) in plan.schema().fields().iter().enumerate() {
                let key = place(index, field.name());
                let Some(known) = types.get(&key) else {
                    types.insert(key, field.data_type().clone());
                    continue;
                };
                match shared_type(field.name(), known, field.data_type(), "union") {
                    Ok(shared) => drop(types.insert(key, shared)),
                    Err(error) => errors.push(error),
                }
            }
        }
        if let Some(error) = Error::all(errors) {
            return Err(error);
        }
        let widened = plans.map(|plan| {
            let fields = plan.schema().fields().iter().enumerate();
            let fits = |(index, field): (usize, &FieldRef)| {
                let shared = types.get(&place(index, field.name()));
                shared.is_none_or(|shared| shared.equals_datatype(field.data_type()))
            };
            if fields.into_iter().all(fits) {
                return Ok(plan.clone());
            }
            let columns = plan.schema().columns().into_iter().zip(plan.schema().fields());
            let exprs = columns.enumerate().map(|(index, (column, field))| {
                let name = field.name();
                match types.get(&place(index, name)) {
                    Some(shared) if !shared.equals_datatype(field.data_type()) => {
                        cast(Expr::Column(column), shared.clone()).alias(name)
                    }
                    _ => Expr::Column(column),
                }
            });
            LogicalPlanBuilder::from(plan.clone())
                .project(exprs.collect::<Vec<_>>())
                .and_then(LogicalPlanBuilder::build)
                .map_err(|e| inward(e, Phase::Planning))
        });
        widened.collect()
    }

    pub(super) fn union(&self, spec: &Union) -> Result<LogicalPlan> {
        if spec.by == UnionBy::Position {
            let counts = self.inputs.iter().map(|(_, plan)| plan.schema().fields().len());
            let counts: Vec<usize> = counts.collect();
            if counts.iter().any(|count| *count != counts[0]) {
                return Err(Error::new(
                    Code::E0402,
                    "the inputs of a union by position have different numbers of columns",
                )
                .with_detail(format!(
                    "They have {} columns.",
                    counts
                        .iter()
                        .map(ToString::to_string)
                        .collect::<Vec<_>>()
                        .join(", ")
                ))
                .with_hint("use `by: name`, or drop columns before"));
            }
        }
        let mut plans = self.widened(spec.by)?.into_iter();
        let Some(first) = plans.next() else {
            return Err(Error::bug("a union without inputs"));
        };
        let mut builder = LogicalPlanBuilder::from(first);
        for plan in plans {
            builder = match spec.by {
                UnionBy::Name => builder.union_by_name(plan),
                UnionBy::Position => builder.union(plan),
            }
            .map_err(|e| inward(e, Phase::Planning))?;
        }
        if spec.distinct {
            builder = builder.distinct().map_err(|e| inward(e, Phase::Planning))?;
        }
        builder.build().map_err(|e| inward(e, Phase::Planning))
    }

    /// All columns and the number of the first case whose condition is true.
    pub(super) async fn switch(&self, spec: &Switch) -> Result<LogicalPlan> {
        if spec.cases.is_empty() {
            return Err(Error::new(Code::E0103, "the switch has no case")
                .with_hint("write `cases: [{when: …, to: …}]`"));
        }
        let mut cases = String::new();
        for (index, case) in spec.cases.iter().enumerate() {
            cases.push_str(&format!(" when ({}) then {index}", expression(&case.when)?));
        }
        if spec.otherwise.is_some() {
            cases.push_str(&format!(" else {}", spec.cases.len()));
        }
        self.select(&format!(
            "select *, arrow_cast(case{cases} end, 'Int32') as {BRANCH} from input"
        ))
        .await
    }
}

fn left_item(name: &str, keys: &[String], how: JoinHow) -> String {
    let name_sql = quoted(name);
    if !keys.iter().any(|k| k == name) {
        return format!("\"left\".{name_sql}");
    }
    match how {
        JoinHow::Full => format!("coalesce(\"left\".{name_sql}, \"right\".{name_sql}) as {name_sql}"),
        JoinHow::Right => format!("\"right\".{name_sql}"),
        _ => format!("\"left\".{name_sql}"),
    }
}

/// `left` and `right` are words of SQL; as names of the sides they must be quoted. Texts in quotes stay as they are.
fn sides_quoted(condition: &str) -> String {
    let Ok(pattern) = regex::Regex::new(r#"(?i)(^|[^\w".])(left|right)\s*\."#) else {
        return condition.to_owned();
    };
    let quote = |part: &str| {
        let named = |c: &regex::Captures<'_>| format!("{}\"{}\".", &c[1], c[2].to_lowercase());
        pattern.replace_all(part, named).into_owned()
    };
    let parts = condition.split('\'').enumerate();
    parts
        .map(|(i, part)| if i % 2 == 0 { quote(part) } else { part.to_owned() })
        .collect::<Vec<_>>()
        .join("'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_are_quoted_and_texts_are_not() {
        assert_eq!(
            sides_quoted("left.a = Right.b and right.c <> 'left.x'"),
            "\"left\".a = \"right\".b and \"right\".c <> 'left.x'"
        );
    }
}
