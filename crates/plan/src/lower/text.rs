//! User texts inside SQL of ours: names quoted, expressions parsed whole, order items normalised.
//!
//! What the user wrote is parsed on its own before it is put into a SELECT, so it cannot reach beyond its place.

use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;
use synqx_model::nearest::did_you_mean;
use synqx_model::{Code, Error, Result};

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
