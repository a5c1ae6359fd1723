//! The commit: fence, rows and position in one transaction, on each path.
//!
//! The fence row is updated first on paths with staging, so a successor's `begin` waits for the outcome; on the
//! direct path last, so that it does not wait for a long copy. A broken connection during COMMIT is `E0317`: nobody
//! knows, and nothing is undone.

use std::sync::atomic::Ordering;

use synqx_model::spec::WriteMode;
use synqx_model::{Code, Error, Position, Result};
use synqx_sdk::{Effect, Moment, Probe, Protection, PublishPath, Receipt, Target};
use tokio_postgres::types::Type;

use super::load::TableLoad;
use super::plan::WritePlan;
use super::{history, mirror, sequences, slices, sql, swap, ties};
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
    let one_act = load.link.env.probe.protects(Protection::OneAct);
    let direct = load.plan.path == PublishPath::Direct;
    let mut receipt = Receipt::default();
    if one_act {
        record(load, session, position).await?;
    }
    if direct {
        receipt.inserted = load.rows.load(Ordering::Acquire);
    } else {
        let staging = load
            .staging
            .as_ref()
            .ok_or_else(|| Error::bug("a staged load has no staging"))?;
        match (load.plan.path, &load.plan.existing) {
            (PublishPath::Fresh, Some(relation)) => {
                Box::pin(swap::swap(session, &load.plan, relation, staging, &load.target)).await?;
                receipt.inserted = load.rows.load(Ordering::Acquire);
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
    run_all(session, sql::number_target(&load.plan), &doing).await?;
    sequences::advance(&load.plan, &load.target, session, &mut receipt).await?;
    make_visible(session, load.link.env.probe.as_ref(), &doing).await?;
    if !one_act {
        record(load, session, position).await?;
    }
    Ok(receipt)
}

/// Ends the transaction that publishes. Errors: `E0317` when the answer was lost, else what the server says.
pub(super) async fn make_visible(session: &Session, probe: &dyn Probe, doing: &str) -> Result<()> {
    probe.reach(Effect::Publish, Moment::Before)?;
    if let Err(error) = session.run_raw("COMMIT").await {
        return Err(if answer_lost(&error) {
            with_text(lost_answer(doing), error.to_string())
        } else {
            session.classify(doing, &error)
        });
    }
    probe
        .reach(Effect::Publish, Moment::After)
        .map_err(|e| with_text(lost_answer(doing), e.to_string()))
}

/// Records the position under the fence. Errors: `E0501`.
async fn record(load: &TableLoad, session: &Session, position: &Position) -> Result<()> {
    let mut fence = i64::try_from(load.fence).map_err(|_| Error::bug("a fence is larger than a bigint"))?;
    if !load.link.env.probe.protects(Protection::Fence) {
        fence = super::load::stored_fence(session, &load.plan.table, &load.target.stream).await?;
    }
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

/// Keeps new triggers out, and nothing else.
fn hold_triggers(plan: &WritePlan) -> String {
    format!("LOCK TABLE {} IN ROW EXCLUSIVE MODE", plan.table.sql())
}

/// What makes room for the new rows of a replace that keeps the table.
pub(crate) fn empty_target(plan: &WritePlan, target: &Target) -> Vec<String> {
    let only = plan.only();
    let mut statements = vec![lock_writers(plan)];
    if target.replace.keep_previous {
        let previous = plan.previous().sql();
        statements.push(format!("DROP TABLE IF EXISTS {previous}"));
        statements.push(format!("CREATE TABLE {previous} AS TABLE {only}"));
    }
    if plan.deferrable {
        statements.push("SET CONSTRAINTS ALL DEFERRED".to_owned());
    }
    statements.push(if target.replace.truncate {
        format!("TRUNCATE {only}")
    } else {
        format!("DELETE FROM {only}")
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
        WriteMode::Upsert => {
            let doing = format!("upsert into table `{}`", plan.table.label());
            session.run(&format!("ANALYZE {}", staging.sql()), &doing).await?;
            check_keys(plan, target, session, staging, &doing).await?;
            Box::pin(merge_staged(plan, target, session, staging, written, receipt)).await?;
        }
        WriteMode::DeleteInsert => {
            *receipt = Box::pin(slices::publish(plan, target, session, staging, written)).await?;
        }
        WriteMode::Mirror => {
            *receipt = Box::pin(mirror::publish(plan, target, session, staging, written)).await?;
        }
        WriteMode::Scd2 => {
            *receipt = Box::pin(history::publish(plan, target, session, staging, written)).await?;
        }
        mode @ (WriteMode::Append | WriteMode::Replace) => {
            if mode == WriteMode::Replace && plan.existing.is_some() {
                receipt.deleted = Box::pin(make_room(plan, target, session, &doing)).await?;
            }
            let inserted = session
                .execute(&sql::insert_staged(plan, staging), &[], &doing)
                .await?;
            accounted(plan, "rows to be inserted", written, inserted)?;
            receipt.inserted = inserted;
            if mode == WriteMode::Replace {
                check_deferred(plan, session, &doing).await?;
            }
        }
    }
    session
        .run(&format!("DROP TABLE {}", staging.sql()), &doing)
        .await
}

/// Empties the target of a replace that keeps the table; how many rows went. Errors: `E0310`, `E0307`, `E0505`.
async fn make_room(plan: &WritePlan, target: &Target, session: &Session, doing: &str) -> Result<u64> {
    let mut deleted = 0;
    for (i, statement) in empty_target(plan, target).iter().enumerate() {
        let removed = session.execute(statement, &[], doing).await;
        let removed = removed.map_err(still_referred_to)?;
        if statement.starts_with("DELETE") {
            deleted = removed;
        }
        if let (0, Some(relation)) = (i, &plan.existing) {
            // Under the lock nobody can add a foreign key any more.
            let references = ties::references(session, relation).await?;
            ties::check_references(target, &plan.table.label(), &references)?;
        }
    }
    let guarded = match &plan.existing {
        Some(relation) => ties::guarded(session, relation).await?,
        None => false,
    };
    let first = format!("SELECT count(*) FROM (SELECT FROM {} LIMIT 1) AS t", plan.only());
    // Nothing else keeps rows from being deleted, and reading takes a right that writing does not need.
    if !guarded || session.count(&first, doing).await? == 0 {
        return Ok(deleted);
    }
    Err(unaccounted(
        plan,
        format!("{deleted} rows were deleted and some are still there"),
    ))
}

/// A row that others refer to cannot be deleted, not even to come back a moment later.
pub(super) fn still_referred_to(error: Error) -> Error {
    if error.code() != Code::E0307 {
        return error;
    }
    error.with_hint(
        "rows of other tables refer to rows of this one: use `write: upsert`, or declare the foreign key DEFERRABLE, \
         so that it is checked when the new rows are there",
    )
}

fn unaccounted(plan: &WritePlan, facts: String) -> Error {
    kept_out(&plan.table.label(), facts)
}

/// `E0505` for a server that did something else with rows than it was asked to.
pub(crate) fn kept_out(label: &str, facts: String) -> Error {
    Error::new(
        Code::E0505,
        format!("rows for table `{label}` are not accounted for"),
    )
    .with_detail(format!(
        "{facts}. Nothing was published. A trigger or rule of the table keeps rows out, or changes them."
    ))
    .with_hint(format!(
        "look at the triggers and rules of `{label}` (`\\d` in psql); load into a table without them"
    ))
}

/// What the server says it did must be what it was given to do. Errors: `E0505`.
pub(super) fn accounted(plan: &WritePlan, what: &str, given: u64, done: u64) -> Result<()> {
    if given == done {
        return Ok(());
    }
    Err(unaccounted(
        plan,
        format!("There were {given} {what}, and the server says {done}"),
    ))
}

/// Brings staged rows into the target by key. Errors: `E0505`, `E0311`.
pub(super) async fn merge_staged(
    plan: &WritePlan,
    target: &Target,
    session: &Session,
    staging: &TableName,
    written: u64,
    receipt: &mut Receipt,
) -> Result<()> {
    let doing = format!("upsert into table `{}`", plan.table.label());
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
    let done = Box::pin(merge(plan, target, session, staging, chosen)).await?;
    receipt.inserted = done.inserted;
    receipt.updated = done.updated;
    receipt.superseded = written - chosen + done.beaten;
    receipt.unchanged = done.unchanged;
    Ok(())
}

/// Keeps writers out of a target whose rows are about to be deleted or closed, and looks again whom that would reach.
/// Errors: `E0310`, `E0312`.
pub(super) async fn hold(plan: &WritePlan, target: &Target, session: &Session, doing: &str) -> Result<()> {
    session.run(&lock_writers(plan), doing).await?;
    if let Some(relation) = plan.existing.as_ref().filter(|_| ties::deletes(target)) {
        // Under the lock nobody can add a foreign key any more.
        let references = ties::references(session, relation).await?;
        ties::check_references(target, &plan.table.label(), &references)?;
    }
    if plan.deferrable {
        session.run("SET CONSTRAINTS ALL DEFERRED", doing).await?;
    }
    Ok(())
}

/// Checks the foreign keys that were waiting for the new rows. Errors: `E0307`.
pub(super) async fn check_deferred(plan: &WritePlan, session: &Session, doing: &str) -> Result<()> {
    if !plan.deferrable {
        return Ok(());
    }
    let check = session.run("SET CONSTRAINTS ALL IMMEDIATE", doing).await;
    check.map_err(still_referred_to)
}

/// Refuses keys that are NULL, and keys whose newest row is not one row. Errors: `E0308`, `E0309`.
pub(super) async fn check_keys(
    plan: &WritePlan,
    target: &Target,
    session: &Session,
    staging: &TableName,
    doing: &str,
) -> Result<()> {
    let label = plan.table.label();
    let keys = target.key.join("`, `");
    let nulls = session
        .count(&sql::count_null_keys(plan, staging, &target.key), doing)
        .await?;
    if nulls > 0 {
        return Err(Error::new(
            Code::E0309,
            format!("{nulls} rows for table `{label}` have NULL in the key `{keys}`"),
        )
        .with_hint("filter such rows out or quarantine them with a `not_null` check"));
    }
    let tied = session
        .count(&sql::count_tied_keys(plan, staging, target), doing)
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
    Ok(())
}

/// What an upsert did with the keys it was given.
struct Merged {
    inserted: u64,
    updated: u64,
    unchanged: u64,
    /// The stored row is newer.
    beaten: u64,
}

/// Inserts and updates `chosen` staged rows. Errors: `E0505` when the server did not do with each what it should.
async fn merge(
    plan: &WritePlan,
    target: &Target,
    session: &Session,
    staging: &TableName,
    chosen: u64,
) -> Result<Merged> {
    let doing = format!("upsert into table `{}`", plan.table.label());
    let locked = !plan.indexed || plan.guarded || target.mode == WriteMode::Mirror;
    session
        .run(
            &if locked {
                lock_writers(plan)
            } else {
                hold_triggers(plan)
            },
            &doing,
        )
        .await?;
    if let (false, Some(relation)) = (locked, &plan.existing)
        && ties::guarded(session, relation).await?
    {
        let what = format!("table `{}` got a trigger while it was loaded", plan.table.label());
        return Err(Error::new(Code::E0311, what).with_hint("run again: the plan is made anew"));
    }
    let foreseen = if locked {
        let row = session
            .query_one(&sql::foresee(plan, staging, target), &[], &doing)
            .await?;
        let count = |i| row.get::<_, i64>(i).unsigned_abs();
        Some((count(0), count(1), count(2)))
    } else {
        None
    };
    let (inserted, updated) = insert_and_update(plan, target, session, staging, &doing).await?;
    let Some((known, changing, beaten)) = foreseen else {
        // Nothing can keep a row out, and the stored rows are locked now: what is left is equal, or newer.
        let beaten = match sql::count_beaten(plan, staging, target) {
            Some(count) => session.count(&count, &doing).await?,
            None => 0,
        };
        let unchanged = chosen.checked_sub(inserted + updated + beaten);
        return match unchanged {
            Some(unchanged) => Ok(Merged {
                inserted,
                updated,
                unchanged,
                beaten,
            }),
            None => Err(unaccounted(
                plan,
                format!(
                    "There were {chosen} keys, and {inserted} rows inserted, {updated} updated, {beaten} older"
                ),
            )),
        };
    };
    let expected = chosen.saturating_sub(known) + changing;
    accounted(
        plan,
        "rows to be inserted or updated",
        expected,
        inserted + updated,
    )?;
    Ok(Merged {
        inserted,
        updated,
        unchanged: known.saturating_sub(changing + beaten),
        beaten,
    })
}

/// Runs the statements of an upsert; the server's counts of new and changed keys.
async fn insert_and_update(
    plan: &WritePlan,
    target: &Target,
    session: &Session,
    staging: &TableName,
    doing: &str,
) -> Result<(u64, u64)> {
    if plan.indexed {
        let row = session
            .query_one(&sql::upsert_indexed(plan, staging, target), &[], doing)
            .await?;
        let count = |i| row.get::<_, i64>(i).unsigned_abs();
        return Ok((count(0), count(1)));
    }
    let (update, insert) = sql::update_then_insert(plan, staging, target);
    let updated = match update {
        Some(update) => session.count(&update, doing).await?,
        None => 0,
    };
    Ok((session.execute(&insert, &[], doing).await?, updated))
}
