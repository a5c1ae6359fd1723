//! `mirror`: an upsert, and what the source no longer has is deleted or marked, within the document's scope.
//!
//! Everything is counted before anything is changed, and a load that would delete more than it may stops there
//! (`E0318`). What is missing goes first, so that its unique values are free for the rows that come.

use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};
use synqx_model::{Code, Error};
use synqx_sdk::{Receipt, ScopeValue, Target};

use super::ledger::Failure;
use super::publish::{Done, accounted, check_orphans, join, orphans, upsert};
use super::shape::Shape;
use crate::client::quote;

/// The scope as a condition on rows called `alias`, with its values.
fn scope(shape: &Shape, wanted: &Target, alias: &str) -> Done<(String, Vec<Value>)> {
    let (mut parts, mut values) = (Vec::new(), Vec::new());
    for one in wanted.scope()? {
        let name = format!("{alias}.{}", quote(shape.column_of(&one.column)));
        let mut any = Vec::new();
        for value in one.values {
            values.push(match value {
                ScopeValue::Bool(is) => Value::Integer(i64::from(is)),
                ScopeValue::Text(text) => Value::Text(text),
            });
            any.push(format!("{name} = ?{}", values.len()));
        }
        if one.null {
            any.push(format!("{name} IS NULL"));
        }
        parts.push(format!("({})", any.join(" OR ")));
    }
    if parts.is_empty() {
        parts.push("1".to_owned());
    }
    Ok((parts.join(" AND "), values))
}

fn count(connection: &Connection, sql: &str, values: &[Value]) -> Done<u64> {
    let n: i64 = connection.query_row(sql, params_from_iter(values), |row| row.get(0))?;
    Ok(u64::try_from(n).unwrap_or(0))
}

/// Makes the target, within the scope, what arrived. Errors: `E0307`, `E0308`, `E0318`, `E0505`.
pub(super) fn publish(
    connection: &Connection,
    shape: &Shape,
    wanted: &Target,
    staging: &str,
    rows: u64,
) -> Done<Receipt> {
    let (target, stage) = (
        format!("main.{}", quote(&shape.name)),
        format!("main.{}", quote(staging)),
    );
    let before = orphans(connection, shape)?;
    let (inside, values) = scope(shape, wanted, "s")?;
    let strangers = format!("SELECT count(*) FROM {stage} AS s WHERE ({inside}) IS NOT TRUE");
    let strangers = count(connection, &strangers, &values)?;
    if strangers > 0 {
        return Err(outside(shape, strangers));
    }
    let index = format!("{staging}_key");
    let keys = join(&shape.key, ", ", |c| c);
    connection.execute(
        &format!(
            "CREATE INDEX main.{} ON {} ({keys})",
            quote(&index),
            quote(staging)
        ),
        [],
    )?;
    let (within, values) = scope(shape, wanted, "t")?;
    let marker = wanted.marker().map(|marker| quote(shape.column_of(marker)));
    let alive = marker
        .as_ref()
        .map_or_else(String::new, |m| format!(" AND t.{m} IS NULL"));
    let same_key = join(&shape.key, " AND ", |k| format!("s.{k} = t.{k}"));
    let within = format!("{target} AS t WHERE {within}{alive}");
    let missing = format!("NOT EXISTS (SELECT 1 FROM {stage} AS s WHERE {same_key})");
    let stored = count(connection, &format!("SELECT count(*) FROM {within}"), &values)?;
    let doomed = format!("SELECT count(*) FROM {within} AND {missing}");
    let doomed = count(connection, &doomed, &values)?;
    wanted.check_share(doomed, stored)?;
    let delete = match marker {
        None => format!("DELETE FROM {within} AND {missing}"),
        Some(marker) => {
            let set = format!(" AS t SET {marker} = '{}' WHERE ", wanted.run_time());
            format!(
                "UPDATE {} AND {missing}",
                within.replacen(" AS t WHERE ", &set, 1)
            )
        }
    };
    let deleted = connection.execute(&delete, params_from_iter(&values))? as u64;
    accounted(shape, "rows to be deleted", doomed, deleted)?;
    let receipt = upsert(connection, shape, staging, rows)?;
    check_orphans(connection, shape, before)?;
    Ok(Receipt { deleted, ..receipt })
}

fn outside(shape: &Shape, strangers: u64) -> Failure {
    let name = &shape.name;
    Failure::Coded(
        Error::new(
            Code::E0307,
            format!("{strangers} rows for table `{name}` are outside `mirror.scope`"),
        )
        .with_detail("A mirror deletes within its scope only, so such rows would stay for ever. Nothing was published.")
        .with_hint("filter the rows by the same condition before the load, or widen the scope"),
    )
}
