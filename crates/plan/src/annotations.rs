//! Puts the annotations of native types back on columns that passed a plan unchanged.
//!
//! A column of the output that is, by lineage, a column of a source keeps that source's annotations; any expression
//! that is more than the column itself loses them, because its native type would be a lie.

use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::Column;
use datafusion::logical_expr::{Expr, JoinType, LogicalPlan};
use std::sync::Arc;
use synqx_sdk::annotation;

use crate::check::Check;
use crate::step::Step;

/// The output schema of a plan with annotations traced to their sources.
pub(crate) fn annotated(plan: &LogicalPlan) -> SchemaRef {
    let fields = plan.schema().fields().iter().enumerate().map(|(index, field)| {
        let metadata = field
            .metadata()
            .iter()
            .filter(|(key, _)| !annotation::ALL.contains(&key.as_str()));
        let mut metadata: std::collections::HashMap<_, _> =
            metadata.map(|(k, v)| (k.clone(), v.clone())).collect();
        if let Some(origin) = origin(plan, index)
            && origin.data_type() == field.data_type()
        {
            metadata.extend(origin.metadata().clone());
        }
        Field::new(field.name(), field.data_type().clone(), field.is_nullable()).with_metadata(metadata)
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// The source's field a column of the output is, when it is one and nothing else.
pub(crate) fn origin(plan: &LogicalPlan, index: usize) -> Option<Field> {
    match plan {
        LogicalPlan::TableScan(scan) => {
            let name = scan.projected_schema.field(index).name();
            scan.source.schema().field_with_name(name).ok().cloned()
        }
        LogicalPlan::Projection(projection) => through(&projection.expr[index], &projection.input),
        LogicalPlan::Window(window) => (index < window.input.schema().fields().len())
            .then(|| origin(&window.input, index))
            .flatten(),
        LogicalPlan::Aggregate(aggregate) => aggregate
            .group_expr
            .get(index)
            .and_then(|expr| through(expr, &aggregate.input)),
        LogicalPlan::Filter(filter) => origin(&filter.input, index),
        LogicalPlan::Sort(sort) => origin(&sort.input, index),
        LogicalPlan::Limit(limit) => origin(&limit.input, index),
        LogicalPlan::Repartition(repartition) => origin(&repartition.input, index),
        LogicalPlan::SubqueryAlias(alias) => origin(&alias.input, index),
        LogicalPlan::Distinct(distinct) => origin(distinct.input(), index),
        LogicalPlan::Join(join) => {
            let left = join.left.schema().fields().len();
            match join.join_type {
                JoinType::LeftSemi | JoinType::LeftAnti => origin(&join.left, index),
                JoinType::RightSemi | JoinType::RightAnti => origin(&join.right, index),
                _ if index < left => origin(&join.left, index),
                _ => origin(&join.right, index - left),
            }
        }
        LogicalPlan::Union(union) => {
            let origins = union.inputs.iter().map(|input| origin(input, index));
            alike(origins.collect::<Option<Vec<Field>>>()?)
        }
        LogicalPlan::RecursiveQuery(query) => origin(&query.static_term, index),
        LogicalPlan::Unnest(unnest) => {
            let from = *unnest.dependency_indices.get(index)?;
            let field = origin(&unnest.input, from)?;
            match field.data_type() {
                DataType::List(item) | DataType::LargeList(item)
                    if unnest.list_type_columns.iter().any(|(list, _)| *list == from) =>
                {
                    Some(item.as_ref().clone())
                }
                _ if unnest.struct_type_columns.contains(&from) => None,
                _ => Some(field),
            }
        }
        LogicalPlan::Extension(extension) => {
            let node = extension.node.as_any();
            if let Some(step) = node.downcast_ref::<Step>() {
                return origin(&step.input, index);
            }
            node.downcast_ref::<Check>()
                .and_then(|check| origin(&check.input, index))
        }
        _ => None,
    }
}

/// The field that several are, if they are one. What their catalogs say beyond the type may differ; then it is dropped.
fn alike(fields: Vec<Field>) -> Option<Field> {
    let first = fields.first()?.clone();
    if fields.iter().all(|field| field.metadata() == first.metadata()) {
        return Some(first);
    }
    let bare = |field: &Field| {
        let mut metadata = field.metadata().clone();
        metadata.remove(annotation::DEFINITION);
        metadata
    };
    let wanted = bare(&first);
    let same = fields.iter().all(|field| bare(field) == wanted);
    same.then(|| first.with_metadata(wanted))
}

fn through(expr: &Expr, input: &LogicalPlan) -> Option<Field> {
    match expr {
        Expr::Alias(alias) => through(&alias.expr, input),
        Expr::Column(column) => origin(input, position(column, input)?),
        _ => None,
    }
}

pub(crate) fn position(column: &Column, input: &LogicalPlan) -> Option<usize> {
    input.schema().maybe_index_of_column(column)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_of_a_union_keep_their_type_though_their_defaults_differ() {
        let field = |native: &str, default: &str| {
            let field = Field::new("c", DataType::Utf8View, true);
            let field = annotation::annotate(field, annotation::NATIVE, native);
            annotation::annotate(field, annotation::DEFINITION, default)
        };
        let kept = |fields| alike(fields).map(|f: Field| f.metadata().len());
        assert_eq!(kept(vec![field("inet", "1"), field("inet", "1")]), Some(2));
        assert_eq!(kept(vec![field("inet", "1"), field("inet", "2")]), Some(1));
        assert_eq!(kept(vec![field("inet", "1"), field("cidr", "1")]), None);
        assert_eq!(kept(vec![]), None);
    }
}
