//! The `window` operator: functions over the neighbours of each row, one OVER clause for all of them.
//!
//! Each column is one function call; partition, order and frame are the node's, or the column's own frame. A function
//! whose result depends on an order needs one: rows have no order of their own.

use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;
use synqx_model::spec::{Window, WindowColumn};
use synqx_model::{Code, Error, Result};

use super::{Lowering, expression, order_item, quoted};
use crate::trouble::duplicate;

/// Functions that say nothing without an order.
const ORDERED: [&str; 11] = [
    "row_number",
    "rank",
    "dense_rank",
    "percent_rank",
    "cume_dist",
    "ntile",
    "lag",
    "lead",
    "first_value",
    "last_value",
    "nth_value",
];

impl Lowering<'_> {
    pub(super) async fn window(&self, spec: &Window) -> Result<LogicalPlan> {
        if spec.columns.is_empty() {
            return Err(Error::new(Code::E0409, "the window computes no column")
                .with_hint("name columns: `nth: row_number()`"));
        }
        let names = self.names();
        let mut errors: Vec<Error> = Vec::new();
        let mut over = Vec::new();
        let parts: Vec<_> = spec.partition_by.iter().map(|text| self.part(text)).collect();
        let parts: Vec<String> = kept(parts, &mut errors);
        if !parts.is_empty() {
            over.push(format!("partition by {}", parts.join(", ")));
        }
        let order: Vec<_> = spec
            .order_by
            .iter()
            .map(|text| order_item(text).map(|item| item.to_sql()))
            .collect();
        let order: Vec<String> = kept(order, &mut errors);
        if !order.is_empty() {
            over.push(format!("order by {}", order.join(", ")));
        }
        let over = over.join(" ");
        let mut items = vec!["*".to_owned()];
        for (name, column) in spec.columns.iter() {
            if names.iter().any(|known| known == name) {
                errors.push(duplicate(name).with_hint("give the window's column another name"));
                continue;
            }
            match framed(self, column, spec) {
                Ok((function, frame)) => {
                    items.push(format!("{function} over ({over}{frame}) as {}", quoted(name)));
                }
                Err(error) => errors.push(error),
            }
        }
        match Error::all(errors) {
            Some(error) => Err(error),
            None => {
                self.select(&format!("select {} from input", items.join(", ")))
                    .await
            }
        }
    }

    /// A column, or an expression, to partition by.
    fn part(&self, text: &str) -> Result<String> {
        if self.names().iter().any(|name| name == text) {
            return Ok(quoted(text));
        }
        Ok(format!("({})", expression(text)?))
    }

    /// The user's text, if it is one call of a function over many rows, without OVER. DataFusion would take a function of
    /// one row and forget the rest of the clause. Errors: `E0103`, `E0801`, `E0802`.
    pub(super) fn call(&self, text: &str, windows: bool) -> Result<ast::Function> {
        expression(text)?;
        let parsed = Parser::new(&PostgreSqlDialect {})
            .try_with_sql(text)
            .and_then(|mut parser| parser.parse_expr());
        let function = match parsed {
            Ok(ast::Expr::Function(function)) if function.over.is_none() => function,
            Ok(_) => {
                let error = Error::new(Code::E0103, format!("`{text}` is not one call of a function"));
                return Err(error
                    .with_detail("A column is one call; what stands around it is computed after.")
                    .with_hint(
                        "write the call alone, without OVER; compute with the result in a `map` after it",
                    ));
            }
            Err(_) => return Err(Error::bug("an expression parsed once and not twice")),
        };
        let name = function.name.to_string().replace('"', "").to_lowercase();
        let state = self.context.state();
        let known = state.aggregate_functions().contains_key(&name)
            || (windows && state.window_functions().contains_key(&name));
        if known {
            return Ok(function);
        }
        let kind = if windows {
            "window function or aggregate"
        } else {
            "aggregate"
        };
        Err(Error::new(Code::E0802, format!("`{name}` is no {kind}"))
            .with_detail("It computes one row, or does not exist.")
            .with_hint("compute it in a `map` before or after; aggregates are `sum`, `count`, `min`, `max`, `avg` and the like"))
    }
}

fn kept<T>(results: Vec<Result<T>>, errors: &mut Vec<Error>) -> Vec<T> {
    let keep = |result: Result<T>| result.map_err(|error| errors.push(error)).ok();
    results.into_iter().filter_map(keep).collect()
}

/// The call and its frame as SQL. Errors: `E0103`, `E0801`.
fn framed(lowering: &Lowering<'_>, column: &WindowColumn, spec: &Window) -> Result<(String, String)> {
    let (text, frame) = match column {
        WindowColumn::Function(text) => (text, spec.frame.as_deref()),
        WindowColumn::Framed(own) => (&own.function, Some(own.frame.as_str())),
    };
    let call = lowering.call(text, true)?;
    let name = call.name.to_string().to_lowercase();
    if spec.order_by.is_empty() && (frame.is_some() || ORDERED.contains(&name.as_str())) {
        let what = if frame.is_some() { "a frame" } else { name.as_str() };
        return Err(Error::new(
            Code::E0103,
            format!("{what} of a window says nothing without an order"),
        )
        .with_detail("Rows have no order of their own: streams run side by side.")
        .with_hint("add `order_by: [column]`"));
    }
    let frame = match frame {
        Some(text) => format!(" {}", window_frame(text)?),
        None => String::new(),
    };
    Ok((call.to_string(), frame))
}

fn window_frame(text: &str) -> Result<String> {
    let parsed = Parser::new(&PostgreSqlDialect {})
        .try_with_sql(text)
        .and_then(|mut parser| {
            let frame = parser.parse_window_frame()?;
            Ok((frame, parser.peek_token().token))
        });
    match parsed {
        Ok((frame, Token::EOF)) => {
            let spec = ast::WindowSpec {
                window_name: None,
                partition_by: Vec::new(),
                order_by: Vec::new(),
                window_frame: Some(frame),
            };
            Ok(spec.to_string())
        }
        _ => Err(
            Error::new(Code::E0801, format!("`{text}` is not a frame")).with_hint(
                "write `rows between 6 preceding and current row`, or begin with `range` or `groups`",
            ),
        ),
    }
}
