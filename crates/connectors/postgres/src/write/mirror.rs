//! `mirror`: an upsert, and what the source no longer has is deleted or marked, within the document's scope.
//!
//! Everything is counted under the lock before anything is changed, and a load that would delete more than it may stops
//! there (`E0318`). What is missing goes first, so that its unique values are free for the rows that come.

use synqx_model::{Code, Error, Result};
use synqx_sdk::{Receipt, ScopeValue, Target};

use super::plan::WritePlan;
use super::{publish, sql};
use crate::client::Session;
use crate::names::{TableName, literal, quote};

/// The scope as a condition on rows called `alias`. Errors: `E0103`.
fn scope(target: &Target, alias: &str) -> Result<String> {
    let mut parts = Vec::new();
    for one in target.scope()? {
        let name = format!("{alias}.{}", quote(&one.column));
        let values: Vec<String> = one.values.iter().map(constant).collect();
        let mut any = Vec::new();
        if !values.is_empty() {
            any.push(format!("{name} IN ({})", values.join(", ")));
        }
        if one.null {
            any.push(format!("{name} IS NULL"));
        }
        parts.push(format!("({})", any.join(" OR ")));
    }
    if parts.is_empty() {
        parts.push("true".to_owned());
    }
    Ok(parts.join(" AND "))
}

fn constant(value: &ScopeValue) -> String {
    match value {
        ScopeValue::Bool(is) => format!("'{is}'"),
        ScopeValue::Text(text) => literal(text),
    }
}

/// Lets the server read the scope's values as the columns' types, before any row moves. Errors: `E0103`.
pub(super) async fn check_scope(session: &Session, target: &Target, plan: &WritePlan) -> Result<()> {
    for one in target.scope()? {
        let Some(column) = plan.columns.iter().find(|c| c.column.name == one.column) else {
            let what = format!(
                "the column `{}` of `mirror.scope` is not in the target",
                one.column
            );
            return Err(Error::new(Code::E0401, what)
                .with_hint("name a column of the target, or set `schema: evolve`, which adds it"));
        };
        let native = &column.column.native;
        for value in &one.values {
            let cast = format!("SELECT {}::{native} IS NULL", constant(value));
            let read = session.query(&cast, &[], "read a value of `mirror.scope`").await;
            if read.is_err() {
                let what = format!("a value of `mirror.scope.{}` is no {native}", one.column);
                return Err(Error::new(Code::E0103, what)
                    .with_hint("write it as PostgreSQL writes a value of that type"));
            }
        }
    }
    Ok(())
}

/// Rows `t` that the load may delete.
fn within(plan: &WritePlan, target: &Target) -> Result<String> {
    let alive = target
        .marker()
        .map_or_else(String::new, |marker| format!(" AND t.{} IS NULL", quote(marker)));
    Ok(format!(
        "{} AS t WHERE {}{alive}",
        plan.only(),
        scope(target, "t")?
    ))
}

fn missing(plan: &WritePlan, target: &Target, staging: &TableName) -> String {
    format!(
        "NOT EXISTS (SELECT FROM {} AS s WHERE {})",
        sql::staged(plan, staging),
        sql::same_key(target, "t", "s")
    )
}

/// Removes or marks what does not arrive. Errors: `E0103`.
pub(super) fn deletion(plan: &WritePlan, target: &Target, staging: &TableName) -> Result<String> {
    let (within, missing) = (within(plan, target)?, missing(plan, target, staging));
    Ok(match target.marker() {
        None => format!("DELETE FROM {within} AND {missing}"),
        Some(marker) => {
            let from = within.replacen(
                " AS t WHERE ",
                &format!(
                    " AS t SET {} = '{}'::pg_catalog.timestamptz WHERE ",
                    quote(marker),
                    target.run_time()
                ),
                1,
            );
            format!("UPDATE {from} AND {missing}")
        }
    })
}

/// Makes the target, within the scope, what arrived. Errors: `E0307`, `E0308`, `E0309`, `E0310`, `E0318`, `E0505`.
pub(super) async fn publish(
    plan: &WritePlan,
    target: &Target,
    session: &Session,
    staging: &TableName,
    written: u64,
) -> Result<Receipt> {
    let label = plan.table.label();
    let doing = format!("mirror into table `{label}`");
    session.run(&format!("ANALYZE {}", staging.sql()), &doing).await?;
    publish::hold(plan, target, session, &doing).await?;
    publish::check_keys(plan, target, session, staging, &doing).await?;
    let strangers = format!(
        "SELECT count(*) FROM {} AS s WHERE ({}) IS NOT TRUE",
        sql::staged(plan, staging),
        scope(target, "s")?
    );
    let strangers = session.count(&strangers, &doing).await?;
    if strangers > 0 {
        return Err(outside(&label, strangers));
    }
    let (within, missing) = (within(plan, target)?, missing(plan, target, staging));
    let stored = session
        .count(&format!("SELECT count(*) FROM {within}"), &doing)
        .await?;
    let doomed = format!("SELECT count(*) FROM {within} AND {missing}");
    let doomed = session.count(&doomed, &doing).await?;
    target.check_share(doomed, stored)?;
    let mut deleted = 0;
    if doomed > 0 {
        let removed = session
            .execute(&deletion(plan, target, staging)?, &[], &doing)
            .await;
        deleted = removed.map_err(publish::still_referred_to)?;
        publish::accounted(plan, "rows to be deleted", doomed, deleted)?;
    }
    let mut receipt = Receipt {
        deleted,
        ..Receipt::default()
    };
    Box::pin(publish::merge_staged(
        plan,
        target,
        session,
        staging,
        written,
        &mut receipt,
    ))
    .await?;
    publish::check_deferred(plan, session, &doing).await?;
    Ok(receipt)
}

fn outside(label: &str, strangers: u64) -> Error {
    Error::new(
        Code::E0307,
        format!("{strangers} rows for table `{label}` are outside `mirror.scope`"),
    )
    .with_detail(
        "A mirror deletes within its scope only, so such rows would stay for ever. Nothing was published.",
    )
    .with_hint("filter the rows by the same condition before the load, or widen the scope")
}
