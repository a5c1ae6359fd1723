//! Decimals and floats in one UNION of a `sql` node become double, as in PostgreSQL.
//!
//! DataFusion would make decimals of the floats, which changes them: 23804580.2 became 23804580.199999998001152.
//! The rule runs before types are coerced. The `union` operator refuses such a mix (`lower/widen.rs`).

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Union, cast};
use datafusion::optimizer::AnalyzerRule;

/// Makes decimals double where a union has floats in the same column.
#[derive(Debug)]
pub(crate) struct FloatUnions;

impl AnalyzerRule for FloatUnions {
    fn name(&self) -> &str {
        "float_unions"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(floated).map(|done| done.data)
    }
}

fn floated(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let LogicalPlan::Union(union) = &plan else {
        return Ok(Transformed::no(plan));
    };
    let has = |index: usize, test: fn(&DataType) -> bool| {
        let mut inputs = union.inputs.iter();
        inputs.any(|input| {
            let fields = input.schema().fields();
            fields.get(index).is_some_and(|field| test(field.data_type()))
        })
    };
    let mixed: Vec<bool> = (0..plan.schema().fields().len())
        .map(|index| has(index, DataType::is_decimal) && has(index, DataType::is_floating))
        .collect();
    if !mixed.contains(&true) {
        return Ok(Transformed::no(plan));
    }
    let inputs = union.inputs.iter().map(|input| {
        let columns = input.schema().columns().into_iter().enumerate();
        let exprs = columns.map(|(index, column)| {
            if !mixed.get(index).is_some_and(|mixed| *mixed) {
                return Expr::Column(column);
            }
            let (relation, name) = (column.relation.clone(), column.name.clone());
            cast(Expr::Column(column), DataType::Float64).alias_qualified(relation, name)
        });
        LogicalPlanBuilder::from(input.as_ref().clone())
            .project(exprs.collect::<Vec<_>>())?
            .build()
            .map(Arc::new)
    });
    let union = Union::try_new_with_loose_types(inputs.collect::<Result<_>>()?)?;
    Ok(Transformed::yes(LogicalPlan::Union(union)))
}
