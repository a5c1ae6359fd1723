//! How far an incremental read may go: the greatest cursor value below which nobody can add a row any more.
//!
//! A row gets its cursor (`now()`, a sequence) before its transaction commits, so a greater value can be visible
//! while a smaller one is still to come. So the mark is taken first, then every transaction that was open at that
//! moment is waited for, and only then the read takes its snapshot. Nothing is locked, and no right is needed.

use std::time::{Duration, Instant};

use synqx_model::{Code, Error, Result};
use synqx_sdk::{Comparison, HighWater, Literal, Predicate, TableSchema, cursor};

use crate::client::Session;
use crate::names::quote;
use crate::predicates;

/// Transactions of this database that are open, ours excluded: each holds its own number as a lock.
const OPEN: &str = "SELECT l.virtualtransaction FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid \
     WHERE l.locktype = 'virtualxid' AND l.mode = 'ExclusiveLock' AND l.granted AND a.pid <> pg_catalog.pg_backend_pid() \
     AND a.datname = pg_catalog.current_database() AND a.usename IS NOT NULL";

/// How often open transactions are looked at.
const EVERY: Duration = Duration::from_millis(50);

/// The condition `column > value` as SQL; `None` when PostgreSQL and the engine might read it differently.
pub(crate) fn newer(table: &TableSchema, column: &str, after: &Literal) -> Option<String> {
    let newer = Predicate::Compare {
        column: column.to_owned(),
        op: Comparison::Gt,
        literal: after.clone(),
    };
    predicates::render(table, &newer)
}

/// The mark of a column. `from` is a table or a subquery, `condition` what makes a row new. Errors: `E0404`, `E02xx`.
pub(crate) async fn mark(
    session: &Session,
    table: &TableSchema,
    (from, place): (&str, &str),
    column: &str,
    condition: Option<String>,
    patience: Duration,
) -> Result<HighWater> {
    let (name, doing) = (quote(column), format!("find the newest `{column}` of {place}"));
    let sql = match condition {
        Some(condition) => {
            format!("SELECT pg_catalog.max({name})::text, 0::int8 FROM {from} WHERE {condition}")
        }
        None => format!(
            "SELECT pg_catalog.max({name})::text, pg_catalog.count(*) FILTER (WHERE {name} IS NULL) FROM {from}"
        ),
    };
    let row = session.query_one(&sql, &[], &doing).await?;
    let nulls = row.get::<_, i64>(1).unsigned_abs();
    let Some(text) = row.get::<_, Option<String>>(0) else {
        return Ok(HighWater {
            nulls,
            ..HighWater::default()
        });
    };
    let data_type = cursor::column_type(&table.schema, column)?;
    let value = cursor::parse(&text, data_type).ok_or_else(|| {
        Error::new(
            Code::E0404,
            format!("the newest `{column}` of {place} cannot be a cursor"),
        )
        .with_detail("It is infinite, or beyond the year 9999.")
        .with_hint("correct the row, or read a query that leaves it out")
    })?;
    let left = wait(session, patience).await?;
    let mut notes = Vec::new();
    if left > 0 {
        notes.push(format!(
            "{left} transactions that were open when the newest `{column}` of {place} was read are still open after {}: \
             a row that one of them adds below it is not read later; a `lookback` or a later run of `sync: full` finds it",
            synqx_model::render_duration(patience)
        ));
    }
    Ok(HighWater {
        value: Some(value),
        nulls,
        notes,
    })
}

/// Waits until the transactions open now have ended; how many have not in time.
async fn wait(session: &Session, patience: Duration) -> Result<usize> {
    let doing = "look for open transactions";
    let open = async || -> Result<Vec<String>> {
        let rows = session.query(OPEN, &[], doing).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    };
    let mut before = open().await?;
    let begun = Instant::now();
    while !before.is_empty() && begun.elapsed() < patience {
        tokio::time::sleep(EVERY).await;
        let still = open().await?;
        before.retain(|transaction| still.contains(transaction));
    }
    Ok(before.len())
}
