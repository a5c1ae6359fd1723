//! How many rows and bytes a plan can have at most, and what a person should know of its joins.
//!
//! Only what sources are certain of counts: a guess would decide wrongly whether a join may be held in memory.

use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::{Expr, JoinType, LogicalPlan};

use crate::fragment::JoinPolicy;
use crate::session::any_operator;
use crate::source::SourceTable;

/// Bytes a plan's rows can have at most, where the sources are certain.
pub(crate) fn bytes_at_most(plan: &LogicalPlan) -> Option<u64> {
    let width = plan
        .schema()
        .fields()
        .iter()
        .map(|f| f.data_type().primitive_width().unwrap_or(48) as u64)
        .sum::<u64>();
    rows_at_most(plan).map(|rows| rows.saturating_mul(width + 8))
}

fn rows_at_most(plan: &LogicalPlan) -> Option<u64> {
    match plan {
        LogicalPlan::TableScan(scan) => {
            let provider = source_as_provider(&scan.source).ok()?;
            let any = provider.as_ref() as &dyn std::any::Any;
            any.downcast_ref::<SourceTable>()
                .and_then(|table| table.open.table.rows_at_most)
        }
        LogicalPlan::Projection(p) => rows_at_most(&p.input),
        LogicalPlan::Filter(f) => rows_at_most(&f.input),
        LogicalPlan::SubqueryAlias(a) => rows_at_most(&a.input),
        LogicalPlan::Sort(s) => rows_at_most(&s.input),
        LogicalPlan::Window(w) => rows_at_most(&w.input),
        LogicalPlan::Distinct(d) => rows_at_most(d.input()),
        LogicalPlan::Aggregate(a) if a.group_expr.is_empty() => Some(1),
        LogicalPlan::Aggregate(a) => rows_at_most(&a.input),
        LogicalPlan::Join(j) if matches!(j.join_type, JoinType::LeftSemi | JoinType::LeftAnti) => {
            rows_at_most(&j.left)
        }
        LogicalPlan::Extension(e) => e.node.inputs().first().and_then(|input| rows_at_most(input)),
        _ => None,
    }
}

/// What cannot spill, in words.
pub(crate) fn notes(plan: &LogicalPlan, joins: JoinPolicy) -> Vec<String> {
    let mut notes = Vec::new();
    if any_operator(plan, &|p| matches!(p, LogicalPlan::Join(j) if j.on.is_empty())) {
        notes.push(
            "a join without an equality of columns cannot spill: one side is held in memory".to_owned(),
        );
    }
    if any_operator(
        plan,
        &|p| matches!(p, LogicalPlan::Window(w) if w.window_expr.iter().any(keeps_rows)),
    ) {
        notes.push(
            "a window whose frame reaches the end of its partition cannot spill: its rows are held in memory"
                .to_owned(),
        );
    }
    if any_operator(plan, &|p| matches!(p, LogicalPlan::Join(j) if !j.on.is_empty())) {
        notes.push(match joins {
            JoinPolicy::Hash => "hash join: one side is known to fit a quarter of the budget".to_owned(),
            JoinPolicy::SortMerge => {
                "sort-merge join: no side is known to be small; both are sorted and may spill".to_owned()
            }
        });
    }
    notes
}

/// Functions that count a partition before they say anything.
const WHOLE: [&str; 3] = ["ntile", "percent_rank", "cume_dist"];
/// Functions that look back or one row ahead, whatever the frame says.
const STREAMED: [&str; 5] = ["row_number", "rank", "dense_rank", "lag", "lead"];

/// Whether a window function needs all rows of its input at once.
fn keeps_rows(expr: &Expr) -> bool {
    match expr {
        Expr::Alias(alias) => keeps_rows(&alias.expr),
        Expr::WindowFunction(window) => {
            let name = window.fun.name();
            WHOLE.contains(&name)
                || (!STREAMED.contains(&name) && window.params.window_frame.end_bound.is_unbounded())
        }
        _ => false,
    }
}
