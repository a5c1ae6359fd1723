//! `delete_insert`: every stored row of every slice that arrives is deleted, then what arrived is inserted.
//!
//! A slice is one combination of values of `partition_by`; NULL is a value of its own. Slices without NULL are found by
//! equality, which the server can hash; the others, if there are any, by IS NOT DISTINCT FROM. No row, no slice.

use synqx_model::Result;
use synqx_sdk::{Receipt, Target};

use super::plan::WritePlan;
use super::{publish, sql};
use crate::client::Session;
use crate::names::{TableName, quote};

/// Whether any column of a slice is NULL, or none is.
fn nulls(target: &Target, any: bool) -> String {
    let (word, is) = if any {
        (" OR ", "IS NULL")
    } else {
        (" AND ", "IS NOT NULL")
    };
    let parts = target.partition_by.iter().map(|p| format!("s.{} {is}", quote(p)));
    parts.collect::<Vec<_>>().join(word)
}

fn listed(target: &Target, alias: &str) -> String {
    let parts = target
        .partition_by
        .iter()
        .map(|p| format!("{alias}.{}", quote(p)));
    parts.collect::<Vec<_>>().join(", ")
}

/// Rows `t` of the target in slices that arrive and have no NULL.
fn in_whole_slice(plan: &WritePlan, target: &Target, staging: &TableName) -> String {
    format!(
        "({}) IN (SELECT {} FROM {} AS s WHERE {})",
        listed(target, "t"),
        listed(target, "s"),
        sql::staged(plan, staging),
        nulls(target, false)
    )
}

/// Rows `t` of the target in slices that arrive and have a NULL.
fn in_null_slice(plan: &WritePlan, target: &Target, staging: &TableName) -> String {
    let same = target.partition_by.iter().map(|p| {
        let name = quote(p);
        format!("t.{name} IS NOT DISTINCT FROM s.{name}")
    });
    format!(
        "EXISTS (SELECT FROM (SELECT DISTINCT {} FROM {} AS s WHERE {}) AS s WHERE {})",
        listed(target, "s"),
        sql::staged(plan, staging),
        nulls(target, true),
        same.collect::<Vec<_>>().join(" AND ")
    )
}

/// The two deletions: slices without NULL, slices with one.
pub(super) fn deletions(plan: &WritePlan, target: &Target, staging: &TableName) -> [String; 2] {
    let only = plan.only();
    [
        format!(
            "DELETE FROM {only} AS t WHERE {}",
            in_whole_slice(plan, target, staging)
        ),
        format!(
            "DELETE FROM {only} AS t WHERE {}",
            in_null_slice(plan, target, staging)
        ),
    ]
}

/// Replaces the slices of `written` staged rows. Errors: `E0310`, `E0307`, `E0505`.
pub(super) async fn publish(
    plan: &WritePlan,
    target: &Target,
    session: &Session,
    staging: &TableName,
    written: u64,
) -> Result<Receipt> {
    let doing = format!("replace slices of table `{}`", plan.table.label());
    session.run(&format!("ANALYZE {}", staging.sql()), &doing).await?;
    publish::hold(plan, target, session, &doing).await?;
    let [whole, with_null] = deletions(plan, target, staging);
    let removed = session.execute(&whole, &[], &doing).await;
    let mut deleted = removed.map_err(publish::still_referred_to)?;
    let any_null = format!(
        "SELECT count(*) FROM {} AS s WHERE {}",
        sql::staged(plan, staging),
        nulls(target, true)
    );
    let null_slices = session.count(&any_null, &doing).await? > 0;
    if null_slices {
        let removed = session.execute(&with_null, &[], &doing).await;
        deleted += removed.map_err(publish::still_referred_to)?;
    }
    if plan.guarded {
        let mut left = in_whole_slice(plan, target, staging);
        if null_slices {
            left = format!("{left} OR {}", in_null_slice(plan, target, staging));
        }
        let left = format!("SELECT count(*) FROM {} AS t WHERE {left}", plan.only());
        let left = session.count(&left, &doing).await?;
        publish::accounted(plan, "rows of the slices after they were deleted", 0, left)?;
    }
    let inserted = session
        .execute(&sql::insert_staged(plan, staging), &[], &doing)
        .await?;
    publish::accounted(plan, "rows to be inserted", written, inserted)?;
    publish::check_deferred(plan, session, &doing).await?;
    Ok(Receipt {
        inserted,
        deleted,
        ..Receipt::default()
    })
}
