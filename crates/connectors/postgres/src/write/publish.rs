//! The commit: fence, rows and position in one transaction, on each path.
//!
//! The fence row is updated first on paths with staging, so a successor's `begin` waits for the outcome; on the
//! direct path last, so that it does not wait for a long copy. A broken connection during COMMIT is `E0317`: nobody
//! knows, and nothing is undone.

use std::sync::atomic::Ordering;

use synqx_model::spec::WriteMode;
use synqx_model::{Code, Error, Position, Result};
use synqx_sdk::{Effect, Moment, PublishPath, Receipt, Target};
use tokio_postgres::types::Type;

use super::load::TableLoad;
use super::plan::WritePlan;
use super::{sql, swap};
use crate::client::Session;
use crate::errors::{answer_lost, lost_answer, with_text};
use crate::names::{TableName, quote};

/// Publishes a load. Errors: `E0501`, `E0317`, `E0308`, `E0309`, `E03xx`.
pub(crate) async fn commit(load: TableLoad, position: &Position) -> Result<Receipt> {
    let (session, open) = {
        let mut main = load.main.lock().await;
        (main.session.take(), main.open)
    };
    let session = session.ok_or_else(|| Error::bug("a load is committed before its lane is finished"))?;
    let outcome = publish(&load, &session, open, position).await;
    if let Err(error) = &outcome
        && error.code() != Code::E0317
    {
        // The connection may be gone; staging that stays is swept by the next begin.
        if session.run("ROLLBACK", "roll back").await.is_ok()
            && let Err(error) = load.drop_staging(&session).await
        {
            tracing::debug!(code = %error.code(), "staging could not be removed");
        }
    }
    outcome
}

async fn publish(load: &TableLoad, session: &Session, open: bool, position: &Position) -> Result<Receipt> {
    let doing = format!("publish table `{}`", load.plan.table.label());
    if !open {
        session.run("BEGIN", &doing).await?;
    }
    let direct = load.plan.path == PublishPath::Direct;
    let mut receipt = Receipt::default();
    if direct {
        receipt.inserted = load.rows.load(Ordering::Acquire);
        record(load, session, position).await?;
    } else {
        record(load, session, position).await?;
        let staging = load
            .staging
            .as_ref()
            .ok_or_else(|| Error::bug("a staged load has no staging"))?;
        match (load.plan.path, &load.plan.existing) {
            (PublishPath::Fresh, Some(relation)) => {
                Box::pin(swap::swap(session, &load.plan, relation, staging, &load.target)).await?;
                receipt.inserted = load.rows.load(Ordering::Acquire);
                receipt
                    .notes
                    .push("the rows of the replaced table were not counted".into());
            }
            (PublishPath::Fresh, None) => {
                let rename = format!(
                    "COMMENT ON TABLE {0} IS NULL; ALTER TABLE {0} RENAME TO {1}",
                    staging.sql(),
                    quote(&load.plan.table.name)
                );
                session.run(&rename, &doing).await?;
                run_all(session, sql::dress_target(&load.plan), &doing).await?;
                receipt.inserted = load.rows.load(Ordering::Acquire);
            }
            _ => Box::pin(publish_staged(load, session, staging, &mut receipt)).await?,
        }
    }
    let probe = &load.link.env.probe;
    probe.reach(Effect::Publish, Moment::Before)?;
    if let Err(error) = session.run_raw("COMMIT").await {
        return Err(if answer_lost(&error) {
            with_text(lost_answer(&doing), error.to_string())
        } else {
            session.classify(&doing, &error)
        });
    }
    probe
        .reach(Effect::Publish, Moment::After)
        .map_err(|e| with_text(lost_answer(&doing), e.to_string()))?;
    Ok(receipt)
}

/// Records the position under the fence. Errors: `E0501`.
async fn record(load: &TableLoad, session: &Session, position: &Position) -> Result<()> {
    let fence = i64::try_from(load.fence).map_err(|_| Error::bug("a fence is larger than a bigint"))?;
    let (stream, run, text) = (
        load.target.stream.to_string(),
        load.target.run.to_string(),
        position.to_text(),
    );
    let hit = session
        .execute(
            &sql::update_record(&load.plan.table),
            &[
                (&stream, Type::TEXT),
                (&fence, Type::INT8),
                (&run, Type::TEXT),
                (&text, Type::TEXT),
                (&load.target.spec_hash, Type::TEXT),
            ],
            "record the position",
        )
        .await?;
    if hit == 1 {
        return Ok(());
    }
    Err(taken_over(&stream))
}

/// The error of a run whose stream another run holds now.
pub(crate) fn taken_over(stream: &str) -> Error {
    Error::new(
        Code::E0501,
        format!("another run took over the stream `{stream}`"),
    )
    .with_detail("It raised the fence after this run began; nothing of this run was published.")
    .with_hint("let the newer run finish; do not run one pipeline twice at once")
}

async fn run_all(session: &Session, statements: Vec<String>, doing: &str) -> Result<()> {
    if statements.is_empty() {
        return Ok(());
    }
    session.run(&statements.join("; "), doing).await
}

/// Keeps other writers out and lets readers read.
pub(crate) fn lock_writers(plan: &WritePlan) -> String {
    format!("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE", plan.table.sql())
}

/// What makes room for the new rows of a replace that keeps the table.
pub(crate) fn empty_target(plan: &WritePlan, target: &Target) -> Vec<String> {
    let table = plan.table.sql();
    let mut statements = vec![lock_writers(plan)];
    if target.replace.keep_previous {
        let previous = plan.previous().sql();
        statements.push(format!("DROP TABLE IF EXISTS {previous}"));
        statements.push(format!("CREATE TABLE {previous} AS TABLE {table}"));
    }
    statements.push(if target.replace.truncate {
        format!("TRUNCATE {table}")
    } else {
        format!("DELETE FROM {table}")
    });
    statements
}

async fn publish_staged(
    load: &TableLoad,
    session: &Session,
    staging: &TableName,
    receipt: &mut Receipt,
) -> Result<()> {
    let (plan, target) = (&load.plan, &load.target);
    let doing = format!("publish table `{}`", plan.table.label());
    let written = load.rows.load(Ordering::Acquire);
    // Unlogged staging is emptied when the server crashes and comes back.
    let staged = session
        .count(&format!("SELECT count(*) FROM {}", staging.sql()), &doing)
        .await?;
    if staged != written {
        return Err(Error::new(
            Code::E0305,
            format!(
                "staging for table `{}` lost rows: the server was restarted",
                plan.table.label()
            ),
        )
        .with_hint("run again; nothing was published"));
    }
    if plan.existing.is_none() {
        run_all(session, sql::create_target(plan), &doing).await?;
    }
    match target.mode {
        WriteMode::Upsert => Box::pin(upsert(load, session, staging, written, receipt)).await?,
        mode => {
            if mode == WriteMode::Replace && plan.existing.is_some() {
                for statement in empty_target(plan, target) {
                    let removed = session.execute(&statement, &[], &doing).await?;
                    if statement.starts_with("DELETE") {
                        receipt.deleted = removed;
                    }
                }
            }
            session
                .execute(&sql::insert_staged(plan, staging), &[], &doing)
                .await?;
            receipt.inserted = written;
        }
    }
    session
        .run(&format!("DROP TABLE {}", staging.sql()), &doing)
        .await
}

async fn upsert(
    load: &TableLoad,
    session: &Session,
    staging: &TableName,
    written: u64,
    receipt: &mut Receipt,
) -> Result<()> {
    let (plan, target) = (&load.plan, &load.target);
    let label = plan.table.label();
    let doing = format!("upsert into table `{label}`");
    let keys = target.key.join("`, `");
    session.run(&format!("ANALYZE {}", staging.sql()), &doing).await?;
    let nulls = session
        .count(&sql::count_null_keys(plan, staging, &target.key), &doing)
        .await?;
    if nulls > 0 {
        return Err(Error::new(
            Code::E0309,
            format!("{nulls} rows for table `{label}` have NULL in the key `{keys}`"),
        )
        .with_hint("filter such rows out or quarantine them with a `not_null` check"));
    }
    let tied = session
        .count(&sql::count_tied_keys(plan, staging, target), &doing)
        .await?;
    if tied > 0 {
        let (detail, hint) = if target.order_by.is_empty() {
            (
                "There is no `order_by` that says which row of a key is the newest.",
                "set `order_by`, or deduplicate before the load",
            )
        } else {
            (
                "Their newest rows are equal in `order_by`.",
                "add a column to `order_by` that tells them apart",
            )
        };
        return Err(Error::new(
            Code::E0308,
            format!("{tied} keys (`{keys}`) arrive more than once for table `{label}`"),
        )
        .with_detail(detail)
        .with_hint(hint));
    }
    let chosen = if target.order_by.is_empty() {
        written
    } else {
        session
            .count(
                &format!(
                    "SELECT count(*) FROM {} AS w",
                    sql::winners(plan, staging, target)
                ),
                &doing,
            )
            .await?
    };
    receipt.superseded = written.saturating_sub(chosen);
    if plan.indexed {
        let row = session
            .query_one(&sql::upsert_indexed(plan, staging, target), &[], &doing)
            .await?;
        receipt.inserted = row.get::<_, i64>(0).unsigned_abs();
        receipt.updated = row.get::<_, i64>(1).unsigned_abs();
    } else {
        session.run(&lock_writers(plan), &doing).await?;
        let (update, insert) = sql::update_then_insert(plan, staging, target);
        if let Some(update) = update {
            receipt.updated = session.count(&update, &doing).await?;
        }
        receipt.inserted = session.execute(&insert, &[], &doing).await?;
    }
    receipt.unchanged = chosen.saturating_sub(receipt.inserted + receipt.updated);
    Ok(())
}
