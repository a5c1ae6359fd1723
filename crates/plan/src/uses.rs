//! What may be done with text that only looks like text: numbers without digits, citext, enums.
//!
//! Such columns keep their source's text, so copies are exact; but comparing, ordering, grouping or joining that
//! text says something else than the source would ('10' sorts before '9'). A walk over the lowered plan finds, by
//! the lineage of columns, every use that is more than passing on, `is null`, `count` or an explicit cast. `E0402`.

use datafusion::arrow::datatypes::Field;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::expr::{AggregateFunctionParams, Sort, WindowFunctionParams};
use datafusion::logical_expr::{
    BinaryExpr, Cast, Distinct, Expr, LogicalPlan, Operator, TryCast, WindowFunctionDefinition,
};
use synqx_model::{Code, Error, Result};
use synqx_sdk::annotation;
use synqx_sdk::type_names::is_text;

use crate::annotations::{annotated, origin, position};

/// How a column is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    /// Its value: compared for equality, computed with.
    Value,
    /// Its place in an order.
    Order,
}

/// What a text column really is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Disguise {
    /// A number of any size.
    Number,
    /// Text that compares without case.
    Caseless,
    /// Another native type (an enum, a network address, …): equal texts are equal values, their order differs.
    Native(String),
}

/// PostgreSQL's types that are text.
const TEXTS: [&str; 12] = [
    "text",
    "character varying",
    "varchar",
    "character",
    "char",
    "bpchar",
    "name",
    "\"char\"",
    "json",
    "jsonb",
    "xml",
    "uuid",
];

/// Functions that are explicit casts.
const CASTS: [&str; 5] = [
    "arrow_cast",
    "arrow_try_cast",
    "arrow_typeof",
    "exact_cast",
    "try_exact_cast",
];

fn disguise(field: &Field) -> Option<Disguise> {
    if !is_text(field.data_type()) {
        return None;
    }
    if annotation::is_numeric_text(field) {
        return Some(Disguise::Number);
    }
    let native = annotation::native(field, "postgresql")?;
    let plain = native.split('(').next().unwrap_or_default().trim();
    if plain == "citext" || plain.ends_with(".citext") {
        return Some(Disguise::Caseless);
    }
    (!TEXTS.contains(&plain)).then(|| Disguise::Native(native.to_owned()))
}

/// Columns of a plan whose text is not what orders or compares them.
pub(crate) fn disguised(plan: &LogicalPlan) -> Vec<String> {
    let schema = annotated(plan);
    let fields = schema.fields().iter();
    fields
        .filter(|field| disguise(field).is_some())
        .map(|field| field.name().clone())
        .collect()
}

/// Refuses a plan that uses such a column for more than its text. Errors: `E0402`.
pub(crate) fn check_uses(plan: &LogicalPlan) -> Result<()> {
    let mut found: Vec<Error> = Vec::new();
    let _ = plan.apply_with_subqueries(|node| {
        for error in node_faults(node) {
            if !found.iter().any(|known| known.message() == error.message()) {
                found.push(error);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    });
    Error::all(found).map_or(Ok(()), Err)
}

fn node_faults(plan: &LogicalPlan) -> Vec<Error> {
    let mut uses = Uses {
        inputs: plan.inputs(),
        faults: Vec::new(),
    };
    match plan {
        LogicalPlan::TableScan(_) => {}
        LogicalPlan::Projection(projection) => {
            for expr in &projection.expr {
                if !matches!(bare(expr), Expr::Column(_)) {
                    uses.expr(expr, Use::Value);
                }
            }
        }
        LogicalPlan::Sort(sort) => uses.order(&sort.expr),
        LogicalPlan::Distinct(Distinct::All(input)) => uses.whole(input),
        LogicalPlan::Distinct(Distinct::On(on)) => {
            on.on_expr.iter().for_each(|expr| uses.expr(expr, Use::Value));
            uses.order(on.sort_expr.as_deref().unwrap_or_default());
        }
        LogicalPlan::RecursiveQuery(query) if query.is_distinct => uses.whole(&query.static_term),
        LogicalPlan::Unnest(_) => {}
        other => {
            let _ = other.apply_expressions(|expr| {
                uses.expr(expr, Use::Value);
                Ok(TreeNodeRecursion::Continue)
            });
        }
    }
    uses.faults
}

fn bare(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => bare(&alias.expr),
        other => other,
    }
}

struct Uses<'a> {
    inputs: Vec<&'a LogicalPlan>,
    faults: Vec<Error>,
}

impl Uses<'_> {
    fn field(&mut self, name: &str, field: &Field, how: Use) {
        let Some(disguise) = disguise(field) else { return };
        if how == Use::Order || !matches!(disguise, Disguise::Native(_)) {
            self.faults.push(refused(name, &disguise));
        }
    }

    fn column(&mut self, column: &datafusion::common::Column, how: Use) {
        let origin = self
            .inputs
            .iter()
            .find_map(|input| origin(input, position(column, input)?));
        if let Some(field) = origin {
            self.field(&column.name, &field, how);
        }
    }

    /// Every column of a plan is compared.
    fn whole(&mut self, plan: &LogicalPlan) {
        for (index, field) in plan.schema().fields().iter().enumerate() {
            if let Some(origin) = origin(plan, index) {
                self.field(field.name(), &origin, Use::Value);
            }
        }
    }

    /// The only column of a subquery is a value here.
    fn subquery(&mut self, plan: &LogicalPlan) {
        if let (Some(field), Some(origin)) = (plan.schema().fields().first(), origin(plan, 0)) {
            self.field(field.name(), &origin, Use::Value);
        }
    }

    fn order(&mut self, sorts: &[Sort]) {
        sorts.iter().for_each(|sort| self.expr(&sort.expr, Use::Order));
    }

    fn expr(&mut self, expr: &Expr, how: Use) {
        match expr {
            Expr::Column(column) => self.column(column, how),
            Expr::OuterReferenceColumn(field, column) => self.field(&column.name, field, how),
            Expr::Alias(alias) => self.expr(&alias.expr, how),
            Expr::IsNull(inner) | Expr::IsNotNull(inner) if is_column(inner) => {}
            Expr::Cast(Cast { expr: inner, .. }) | Expr::TryCast(TryCast { expr: inner, .. })
                if is_column(inner) => {}
            Expr::ScalarFunction(function)
                if CASTS.contains(&function.name()) && function.args.first().is_some_and(is_column) => {}
            Expr::ScalarFunction(function) if matches!(function.name(), "greatest" | "least") => {
                function.args.iter().for_each(|arg| self.expr(arg, Use::Order));
            }
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
                let how = if orders(*op) { Use::Order } else { Use::Value };
                self.expr(left, how);
                self.expr(right, how);
            }
            Expr::Between(between) => {
                for part in [&between.expr, &between.low, &between.high] {
                    self.expr(part, Use::Order);
                }
            }
            Expr::AggregateFunction(aggregate) => self.aggregate(aggregate.func.name(), &aggregate.params),
            Expr::WindowFunction(window) => self.window(&window.fun, &window.params),
            Expr::InSubquery(membership) => {
                self.expr(&membership.expr, Use::Value);
                self.subquery(&membership.subquery.subquery);
            }
            Expr::ScalarSubquery(subquery) => self.subquery(&subquery.subquery),
            other => {
                let _ = other.apply_children(|child| {
                    self.expr(child, Use::Value);
                    Ok(TreeNodeRecursion::Continue)
                });
            }
        }
    }

    fn aggregate(&mut self, name: &str, params: &AggregateFunctionParams) {
        self.arguments(name, &params.args, params.distinct);
        if let Some(filter) = &params.filter {
            self.expr(filter, Use::Value);
        }
        self.order(&params.order_by);
    }

    fn window(&mut self, function: &WindowFunctionDefinition, params: &WindowFunctionParams) {
        self.arguments(function.name(), &params.args, params.distinct);
        for expr in params.partition_by.iter().chain(params.filter.as_deref()) {
            self.expr(expr, Use::Value);
        }
        self.order(&params.order_by);
    }

    fn arguments(&mut self, name: &str, args: &[Expr], distinct: bool) {
        let how = if matches!(name, "min" | "max") {
            Use::Order
        } else {
            Use::Value
        };
        for arg in args {
            if name != "count" || distinct || !is_column(arg) {
                self.expr(arg, how);
            }
        }
    }
}

fn is_column(expr: &Expr) -> bool {
    matches!(bare(expr), Expr::Column(_) | Expr::OuterReferenceColumn(..))
}

fn orders(op: Operator) -> bool {
    matches!(op, Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq)
}

fn refused(column: &str, disguise: &Disguise) -> Error {
    let refused = |what: String| Error::new(Code::E0402, format!("column `{column}` {what}"));
    match disguise {
        Disguise::Number => refused("is a number of any size, which cannot be computed with".into())
            .with_detail(
                "PostgreSQL's numeric without digits travels as text, exactly; as text, 10 sorts before 9 and \
                 1.0 differs from 1.",
            )
            .with_hint(format!("cast it first: `cast({column} as decimal(38,10))`")),
        Disguise::Caseless => refused("is citext, which compares without case".into())
            .with_detail("It travels as text, and a comparison here would tell cases apart.")
            .with_hint(format!("write `lower(cast({column} as text))`, or `cast({column} as text)` to tell cases apart")),
        Disguise::Native(native) => refused(format!("has the order of its type `{native}`, not of text"))
            .with_detail("It travels as text; the order of the text is another one.")
            .with_hint(format!("write `cast({column} as text)` if the order of the text is meant")),
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::DataType;

    use super::*;

    fn column(native: &str) -> Field {
        let field = Field::new("c", DataType::Utf8View, true);
        let field = annotation::annotate(field, annotation::SYSTEM, "postgresql");
        annotation::annotate(field, annotation::NATIVE, native)
    }

    #[test]
    fn text_is_text_and_everything_else_is_named() {
        for text in ["text", "character varying(40)", "character(3)", "jsonb", "name"] {
            assert_eq!(disguise(&column(text)), None, "{text}");
        }
        assert_eq!(disguise(&column("public.citext")), Some(Disguise::Caseless));
        assert_eq!(
            disguise(&column("mood")),
            Some(Disguise::Native("mood".to_owned()))
        );
    }

    #[tokio::test]
    async fn equal_texts_of_an_enum_are_equal_and_no_order_is_invented() {
        use std::sync::Arc;

        use datafusion::arrow::datatypes::Schema;
        use datafusion::datasource::MemTable;
        use datafusion::prelude::SessionContext;

        let fields = [("mood", "mood"), ("mail", "citext"), ("word", "text")];
        let fields = fields.map(|(name, native)| column(native).with_name(name));
        let schema = Arc::new(Schema::new(fields.to_vec()));
        let context = SessionContext::new();
        let table = MemTable::try_new(schema, vec![vec![]]).expect("a table");
        context.register_table("t", Arc::new(table)).expect("a table");
        for (sql, refused) in [
            (
                "select * from t where mood = 'sad' and mood in ('sad', 'ok')",
                None,
            ),
            ("select mood, count(*) from t group by mood", None),
            ("select a.* from t a join t b on a.mood = b.mood", None),
            ("select distinct mood, word from t order by word", None),
            (
                "select cast(mail as text) = 'a' from t order by cast(mood as text)",
                None,
            ),
            ("select coalesce(mood, 'none') from t", None),
            ("select * from t order by mood", Some("mood")),
            ("select min(mood) from t", Some("mood")),
            ("select * from t where mood > 'ok'", Some("mood")),
            ("select array_agg(word order by mood) from t", Some("mood")),
            ("select * from t where mail = 'a'", Some("mail")),
            ("select * from t where mail like 'a%'", Some("mail")),
            ("select distinct mail from t", Some("mail")),
            (
                "select max(x) from (select mail as x from t limit 5) q",
                Some("x"),
            ),
        ] {
            let plan = context.state().create_logical_plan(sql).await.expect("a plan");
            let found = check_uses(&plan).err().map(|error| error.message().to_owned());
            let named = found.as_deref().and_then(|text| text.split('`').nth(1));
            assert_eq!(named, refused, "{sql}: {found:?}");
        }
    }
}
