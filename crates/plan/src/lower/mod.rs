//! One function per operator: from its configuration to a relational plan over its inputs.
//!
//! Most operators are a SELECT and are lowered as one: the user's expressions are parsed on their own first (so
//! nothing can escape its place), every name of ours is quoted, and DataFusion types the whole. What SQL cannot
//! say exactly (casts by Arrow type, checks) is built node by node. Adding an operator starts here.

mod cast;
mod columns;
mod relational;
mod validate;

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::catalog::view::ViewTable;
use datafusion::execution::context::SessionContext;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;
use synqx_model::dag::InputRef;
use synqx_model::nearest::did_you_mean;
use synqx_model::spec::{Node, Operator};
use synqx_model::{Code, Error, Result};

use crate::meter::Meters;
use crate::trouble::{Phase, inward};

/// The column a switch's exchange carries: the number of the branch that takes the row, NULL for none.
pub(crate) const BRANCH: &str = "__synqx_branch";

/// What lowering one node works with.
pub(crate) struct Lowering<'a> {
    pub(crate) context: &'a SessionContext,
    pub(crate) node: &'a Node,
    /// The node's inputs in the order it names them.
    pub(crate) inputs: Vec<(InputRef, LogicalPlan)>,
    pub(crate) meters: &'a mut Meters,
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
            Operator::Join(join) => self.join(join).await,
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
        let mut registered = Vec::new();
        for (name, plan) in relations {
            let table: Arc<dyn TableProvider> = Arc::new(ViewTable::new(plan, None));
            let reference = datafusion::common::TableReference::bare(name);
            let previous = self.context.register_table(reference.clone(), table);
            previous.map_err(|e| inward(e, Phase::Planning))?;
            registered.push(reference);
        }
        let planned = self.context.state().create_logical_plan(sql).await;
        for reference in registered {
            self.context
                .deregister_table(reference)
                .map_err(|e| inward(e, Phase::Planning))?;
        }
        planned.map_err(|e| inward(e, Phase::Planning))
    }

    /// Fails with the nearest name unless the input has the column. Errors: `E0401`.
    pub(crate) fn require(&self, column: &str) -> Result<()> {
        require(&self.names(), column)
    }

    async fn sql(&self, sql: &str) -> Result<LogicalPlan> {
        let mut relations = BTreeMap::new();
        let mut text = sql.to_owned();
        for (input, plan) in &self.inputs {
            match &input.branch {
                None => {
                    relations.insert(input.node.clone(), plan.clone());
                    relations.insert(input.node.to_lowercase(), plan.clone());
                }
                Some(branch) => {
                    // `route.big` would be a schema and a table; the relation is registered under one name.
                    let flat = format!("{}__{branch}", input.node).to_lowercase();
                    text = text.replace(&format!("{}.{branch}", input.node), &flat);
                    relations.insert(flat, plan.clone());
                }
            }
        }
        self.query(&text, relations).await
    }
}

/// Column names of a plan.
pub(crate) fn names(plan: &LogicalPlan) -> Vec<String> {
    plan.schema().fields().iter().map(|f| f.name().clone()).collect()
}

/// Fails with the nearest name unless the column is there. Errors: `E0401`.
pub(crate) fn require(names: &[String], column: &str) -> Result<()> {
    if names.iter().any(|name| name == column) {
        return Ok(());
    }
    Err(Error::new(Code::E0401, format!("there is no column `{column}`"))
        .with_hint(did_you_mean(column, names.iter().map(String::as_str))))
}

/// A name as SQL.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The user's text, if it is one whole SQL expression. Errors: `E0801`.
pub(crate) fn expression(text: &str) -> Result<&str> {
    let parsed = Parser::new(&PostgreSqlDialect {})
        .try_with_sql(text)
        .and_then(|mut parser| {
            parser.parse_expr()?;
            Ok(parser.peek_token().token)
        });
    match parsed {
        Ok(Token::EOF) => Ok(text),
        Ok(token) => Err(
            Error::new(Code::E0801, format!("`{text}` is not one SQL expression"))
                .with_detail(format!("It ends before `{token}`."))
                .with_hint("write a single expression; use a `sql` node for a whole SELECT"),
        ),
        Err(cause) => Err(
            Error::new(Code::E0801, format!("the expression `{text}` does not parse"))
                .with_detail(format!("{cause}."))
                .with_hint("expressions are written in PostgreSQL's spelling"),
        ),
    }
}

/// The user's text, if it is one ORDER BY item: an expression, `asc|desc`, `nulls first|last`. Errors: `E0801`.
pub(crate) fn order_item(text: &str) -> Result<OrderItem> {
    let parsed = Parser::new(&PostgreSqlDialect {})
        .try_with_sql(text)
        .and_then(|mut parser| {
            let item = parser.parse_order_by_expr()?;
            Ok((item, parser.peek_token().token))
        });
    match parsed {
        Ok((item, Token::EOF)) => {
            let descending = item.options.asc == Some(false);
            let nulls_first = item.options.nulls_first.unwrap_or(descending);
            Ok(OrderItem {
                expr: item.expr.to_string(),
                descending,
                nulls_first,
            })
        }
        _ => Err(
            Error::new(Code::E0801, format!("`{text}` is not something to order by"))
                .with_hint("write a column or expression, then `desc` or `nulls first` if needed"),
        ),
    }
}

/// One ORDER BY item, normalised.
pub(crate) struct OrderItem {
    expr: String,
    descending: bool,
    nulls_first: bool,
}

impl OrderItem {
    /// As SQL.
    pub(crate) fn to_sql(&self) -> String {
        let direction = if self.descending { "desc" } else { "asc" };
        let nulls = if self.nulls_first { "first" } else { "last" };
        format!("{} {direction} nulls {nulls}", self.expr)
    }

    /// The opposite order.
    pub(crate) fn reversed(self) -> Self {
        OrderItem {
            expr: self.expr,
            descending: !self.descending,
            nulls_first: !self.nulls_first,
        }
    }
}
