//! One function per operator: from its configuration to a relational plan over its inputs.
//!
//! Most operators are a SELECT and are lowered as one: the user's expressions are parsed on their own first (so
//! nothing can escape its place), every name of ours is quoted, and DataFusion types the whole. What SQL cannot
//! say exactly (casts by Arrow type, checks) is built node by node. Adding an operator starts here.

mod cast;
mod columns;
mod flatten;
mod lookup;
mod mask;
mod pivot;
mod relational;
mod text;
mod validate;
mod verdict;
mod widen;
mod window;

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::catalog::memory::MemorySchemaProvider;
use datafusion::catalog::view::ViewTable;
use datafusion::common::TableReference;
use datafusion::execution::context::SessionContext;
use datafusion::logical_expr::LogicalPlan;
use synqx_model::Result;
use synqx_model::dag::InputRef;
use synqx_model::spec::{Node, Operator};

pub(crate) use self::text::{expression, names, order_item, quoted, require};
use crate::meter::Meters;
use crate::tokens::Salt;
use crate::trouble::{Phase, inward};
use crate::uses::disguised;

/// The column a switch's exchange carries: the number of the branch that takes the row, NULL for none.
pub(crate) const BRANCH: &str = "__synqx_branch";

/// What lowering one node works with.
pub(crate) struct Lowering<'a> {
    pub(crate) context: &'a SessionContext,
    pub(crate) node: &'a Node,
    /// The node's inputs in the order it names them.
    pub(crate) inputs: Vec<(InputRef, LogicalPlan)>,
    pub(crate) meters: &'a mut Meters,
    /// When the run began, in Unix milliseconds.
    pub(crate) started_ms: i64,
    /// The key of a mask, when the run has resolved it.
    pub(crate) salt: Option<&'a Salt>,
}

impl Lowering<'_> {
    /// The plan of the node. Errors: `E04xx`, `E08xx`.
    pub(crate) async fn lower(&mut self) -> Result<LogicalPlan> {
        let node = self.node;
        match &node.operator {
            Operator::Extract(_) | Operator::Load(_) => Ok(self.input().clone()),
            Operator::Filter(filter) => {
                let condition = expression(&filter.condition)?;
                self.select(&format!("select * from input where ({condition})"))
                    .await
            }
            Operator::Map(map) => self.map(map).await,
            Operator::Cast(cast) => self.cast(cast),
            Operator::Rename(rename) => self.rename(rename),
            Operator::Drop(drop) => self.drop_columns(drop),
            Operator::FillNulls(fill) => self.fill_nulls(fill).await,
            Operator::RegexReplace(replace) => self.regex_replace(replace).await,
            Operator::Deduplicate(deduplicate) => self.deduplicate(deduplicate).await,
            Operator::Sort(sort) => self.sort(sort).await,
            Operator::Aggregate(aggregate) => self.aggregate(aggregate).await,
            Operator::Window(window) => self.window(window).await,
            Operator::Pivot(pivot) => self.pivot(pivot).await,
            Operator::Unpivot(unpivot) => self.unpivot(unpivot).await,
            Operator::Flatten(flatten) => self.flatten(flatten).await,
            Operator::Mask(mask) => self.mask(mask),
            Operator::Join(join) => self.join(join).await,
            Operator::Lookup(lookup) => self.lookup(lookup).await,
            Operator::Union(union) => self.union(union),
            Operator::Sql(sql) => self.sql(&sql.0).await,
            Operator::Validate(validate) => self.validate(validate).await,
            Operator::Switch(switch) => self.switch(switch).await,
        }
    }

    /// The only input.
    pub(crate) fn input(&self) -> &LogicalPlan {
        &self.inputs[0].1
    }

    /// Column names of the only input.
    pub(crate) fn names(&self) -> Vec<String> {
        names(self.input())
    }

    /// A SELECT over the only input, called `input`.
    pub(crate) async fn select(&self, sql: &str) -> Result<LogicalPlan> {
        self.query(sql, BTreeMap::from([("input".to_owned(), self.input().clone())]))
            .await
    }

    /// A SELECT over named relations. Errors: `E04xx`, `E08xx`.
    pub(crate) async fn query(
        &self,
        sql: &str,
        relations: BTreeMap<String, LogicalPlan>,
    ) -> Result<LogicalPlan> {
        let relations = relations
            .into_iter()
            .map(|(name, plan)| (TableReference::bare(name), plan))
            .collect();
        self.query_over(sql, relations).await
    }

    async fn query_over(
        &self,
        sql: &str,
        relations: BTreeMap<TableReference, LogicalPlan>,
    ) -> Result<LogicalPlan> {
        let tables = relations.into_iter().map(|(name, plan)| {
            let table: Arc<dyn TableProvider> = Arc::new(ViewTable::new(plan, None));
            (name, table)
        });
        let names: Vec<TableReference> = tables
            .map(|(name, table)| {
                self.schema_for(&name)?;
                self.context
                    .register_table(name.clone(), table)
                    .map_err(|e| inward(e, Phase::Planning))?;
                Ok(name)
            })
            .collect::<Result<_>>()?;
        let planned = self.context.state().create_logical_plan(sql).await;
        for name in names {
            self.context
                .deregister_table(name)
                .map_err(|e| inward(e, Phase::Planning))?;
        }
        planned.map_err(|e| inward(e, Phase::Planning))
    }

    /// A switch's branches are tables of a schema that has the switch's name.
    fn schema_for(&self, name: &TableReference) -> Result<()> {
        let (Some(schema), Some(catalog)) = (name.schema(), self.context.catalog("datafusion")) else {
            return Ok(());
        };
        if catalog.schema(schema).is_none() {
            let empty = Arc::new(MemorySchemaProvider::new());
            catalog
                .register_schema(schema, empty)
                .map_err(|e| inward(e, Phase::Planning))?;
        }
        Ok(())
    }

    /// Fails with the nearest name unless the input has the column. Errors: `E0401`.
    pub(crate) fn require(&self, column: &str) -> Result<()> {
        require(&self.names(), column)
    }

    /// A column to order by where any order will do: text that is really something else as the text it is.
    pub(crate) fn order_key(&self, column: &str) -> String {
        if disguised(self.input()).iter().any(|name| name == column) {
            format!("cast({} as text)", quoted(column))
        } else {
            quoted(column)
        }
    }

    /// The inputs are known by their own names and in lower case; `route.big` is table `big` of schema `route`.
    async fn sql(&self, sql: &str) -> Result<LogicalPlan> {
        let mut relations = BTreeMap::new();
        for (input, plan) in &self.inputs {
            let name = |node: &str| match &input.branch {
                None => TableReference::bare(node),
                Some(branch) => TableReference::partial(node, branch.as_str()),
            };
            relations.insert(name(&input.node), plan.clone());
            relations.insert(name(&input.node.to_lowercase()), plan.clone());
        }
        self.query_over(sql, relations).await
    }
}
