//! Steps are transparent (decision 2): a plan with a step above every operator asks its sources for the same columns,
//! filters and limits as the plan without, and optimises to the same operators once the steps are stripped.
//!
//! The queries have the shapes documents and the TPC-H schema lead to. Projections and limits are left out of the
//! comparison of operators (what they ask of sources and sorts is in it): two projections that touch are merged and
//! a step between them keeps both, a limit is repeated above each step it passes; neither moves a row more.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionContext;
use synqx_model::ByteSize;
use synqx_sdk::Budget;

use crate::compile::PlanOptions;
use crate::fragment::JoinPolicy;
use crate::meter::StepMeter;
use crate::step::Step;

/// A source that takes every filter.
#[derive(Debug)]
struct Takes(SchemaRef);

#[async_trait]
impl TableProvider for Takes {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.0)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Exact; filters.len()])
    }

    async fn scan(
        &self,
        _: &dyn Session,
        _: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Err(DataFusionError::Internal("only planned".to_owned()))
    }
}

fn table(context: &SessionContext, name: &str, columns: &[(&str, DataType)]) {
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, data_type)| Field::new(*name, data_type.clone(), true))
        .collect();
    let provider = Arc::new(Takes(Arc::new(Schema::new(fields))));
    context.register_table(name, provider).expect("a table");
}

fn context() -> SessionContext {
    let options = PlanOptions {
        started_ms: 0,
        budget: Budget::new(ByteSize::mib(64)),
        parallel: 2,
        spill_dir: std::env::temp_dir(),
        joins: JoinPolicy::SortMerge,
        salts: Default::default(),
        spool: Default::default(),
    };
    let context = crate::session::session(&options).expect("a session");
    let (int, text, number, date) = (
        DataType::Int64,
        DataType::Utf8,
        DataType::Float64,
        DataType::Date32,
    );
    let orders = [
        ("o_orderkey", int.clone()),
        ("o_custkey", int.clone()),
        ("o_totalprice", number.clone()),
        ("o_orderdate", date.clone()),
        ("o_comment", text.clone()),
    ];
    table(&context, "orders", &orders);
    let lineitem = [
        ("l_orderkey", int.clone()),
        ("l_quantity", number.clone()),
        ("l_extendedprice", number.clone()),
        ("l_discount", number),
        ("l_returnflag", text.clone()),
        ("l_shipdate", date),
    ];
    table(&context, "lineitem", &lineitem);
    table(
        &context,
        "customer",
        &[("c_custkey", int), ("c_name", text.clone()), ("c_segment", text)],
    );
    context
}

const QUERIES: [&str; 14] = [
    "select * from orders",
    "select o_orderkey from orders where o_totalprice > 100 and o_comment is not null",
    "select o_orderkey + 1 as next from orders where o_orderkey in (1, 2, 3, 5, 8) limit 10",
    "select * from (select o_orderkey as id, o_totalprice as price from orders) where id > 7 and price < 3",
    "select * from orders order by o_orderdate desc limit 5",
    "select distinct c_segment from customer where c_name like 'A%'",
    "select l_returnflag, sum(l_quantity) as q, avg(l_discount) as d, count(*) as n from lineitem where l_shipdate <= date '1998-09-02' group by l_returnflag order by l_returnflag",
    "select o_orderkey, c_name from orders join customer on o_custkey = c_custkey where c_segment = 'BUILDING' and o_totalprice > 5",
    "select c_name, o_orderkey from customer left join orders on c_custkey = o_custkey and o_totalprice > 9 where c_custkey < 100",
    "select o_custkey, sum(l_extendedprice * (1 - l_discount)) as revenue from orders join lineitem on o_orderkey = l_orderkey where o_orderdate < date '1995-03-15' and l_shipdate > date '1995-03-15' group by o_custkey having sum(l_extendedprice) > 3 order by revenue desc limit 10",
    "select c_name from customer where c_custkey in (select o_custkey from orders where o_totalprice > 1000)",
    "select c_name from customer where not exists (select 1 from orders where o_custkey = c_custkey)",
    "select o_orderkey as k from orders where o_orderkey > 5 union all select l_orderkey from lineitem where l_quantity > 5",
    "select o_orderkey, row_number() over (partition by o_custkey order by o_orderdate) as n from orders where o_custkey = 3",
];

fn stepped(plan: LogicalPlan) -> LogicalPlan {
    let mut count = 0;
    let wrapped = plan.transform_up(|node| {
        let boundary = matches!(
            node,
            LogicalPlan::TableScan(_)
                | LogicalPlan::Filter(_)
                | LogicalPlan::Projection(_)
                | LogicalPlan::Join(_)
                | LogicalPlan::Aggregate(_)
                | LogicalPlan::Union(_)
                | LogicalPlan::Sort(_)
        );
        if !boundary {
            return Ok(Transformed::no(node));
        }
        count += 1;
        let step = Step {
            node: format!("n{count}"),
            input: node,
            meter: Arc::new(StepMeter::default()),
            computes: true,
        };
        Ok(Transformed::yes(LogicalPlan::Extension(Extension {
            node: Arc::new(step),
        })))
    });
    wrapped.data().expect("steps")
}

fn stripped(plan: LogicalPlan) -> LogicalPlan {
    let bare = plan.transform_up(|node| match &node {
        LogicalPlan::Extension(extension) => match extension.node.as_any().downcast_ref::<Step>() {
            Some(step) => Ok(Transformed::yes(step.input.clone())),
            None => Ok(Transformed::no(node)),
        },
        _ => Ok(Transformed::no(node)),
    });
    bare.data().expect("a plan")
}

/// What each source is asked for, and the operators above, from the root down.
fn shape(plan: &LogicalPlan) -> (Vec<String>, Vec<String>) {
    let (mut asked, mut operators) = (Vec::new(), Vec::new());
    plan.apply(|node| {
        match node {
            LogicalPlan::TableScan(scan) => {
                let mut filters: Vec<String> = scan.filters.iter().map(ToString::to_string).collect();
                filters.sort();
                asked.push(format!(
                    "{} {:?} {filters:?} {:?}",
                    scan.table_name,
                    scan.projected_schema.field_names(),
                    scan.fetch
                ));
            }
            LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_) | LogicalPlan::Limit(_) => {}
            other => operators.push(other.display().to_string()),
        }
        Ok(TreeNodeRecursion::Continue)
    })
    .expect("a walk");
    asked.sort();
    (asked, operators)
}

#[tokio::test]
async fn a_plan_with_steps_asks_and_does_what_the_plan_without_them_does() {
    let context = context();
    for query in QUERIES {
        let plan = context.state().create_logical_plan(query).await.expect("a plan");
        let without = context.state().optimize(&plan).expect("optimises");
        let with = context
            .state()
            .optimize(&stepped(plan))
            .expect("optimises with steps");
        let with = stripped(with);
        assert_eq!(shape(&with), shape(&without), "{query}\n{with}\n{without}");
    }
}
