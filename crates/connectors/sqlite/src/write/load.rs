//! A load that has begun: its thread, its staging table, its one lane and its one commit.
//!
//! Each batch is one short transaction that first looks whether the fence is still ours. The commit is one transaction
//! with `synchronous = FULL`; everything staged before it becomes durable with it, because it is the same file.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::RecordBatch;
use async_trait::async_trait;
use rusqlite::{Connection, TransactionBehavior};
use sha2::{Digest, Sha256};
use synqx_model::{Code, Error, Position, Result};
use synqx_sdk::{
    Committed, Effect, Env, FenceClaim, Load, Moment, Preparation, Probe, Protection, Receipt, Target,
    Writer, Written,
};

use super::ledger::{self, Failure, Record};
use super::newest;
use super::publish::publish;
use super::shape::{Shape, plan_shape};
use crate::catalog::{self, OURS};
use crate::client::{File, Worker, quote, quote_all};
use crate::encode::Column;

/// What every job of a load needs to know.
#[derive(Debug)]
struct Context {
    file: File,
    target: Target,
    shape: Shape,
    staging: String,
    fence: u64,
    /// The fence is looked at.
    fenced: bool,
    /// Position and rows are one transaction.
    one_act: bool,
}

impl Context {
    /// Refuses to go on when another run has taken the fence: `E0501`.
    fn hold(&self, connection: &Connection) -> Result<(), Failure> {
        if self.fenced {
            ledger::check(connection, &self.target.stream, self.fence)
        } else {
            Ok(())
        }
    }

    /// What the commit stores.
    fn record(&self, connection: &Connection, position: &Position) -> Result<(), Failure> {
        let fence = if self.fenced {
            self.fence
        } else {
            ledger::fence(connection, &self.target.stream)?
        };
        let record = Record {
            stream: self.target.stream.clone(),
            fence,
            run: self.target.run,
            position: position.clone(),
            spec_hash: self.target.spec_hash.clone(),
        };
        ledger::record(connection, &record)
    }

    /// A failure as an error about the target; the staging table's name never reaches a person.
    fn explain(&self, failure: Failure, verb: &str) -> Error {
        match failure {
            Failure::Coded(error) => error,
            Failure::Sqlite(error) => self
                .file
                .statement_error(&error, verb, &self.shape.name)
                .map_text(&|text| text.replace(&self.staging, &self.shape.name)),
        }
    }

    /// Runs work in a write transaction.
    fn transaction<T>(
        &self,
        connection: &mut Connection,
        verb: &str,
        work: impl FnOnce(&Connection) -> Result<T, Failure>,
    ) -> Result<T> {
        let done = transaction(connection, work);
        done.map_err(|failure| self.explain(failure, verb))
    }
}

fn transaction<T>(
    connection: &mut Connection,
    work: impl FnOnce(&Connection) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let value = work(&transaction)?;
    transaction.commit()?;
    Ok(value)
}

/// What the staging tables of a stream begin with.
fn staging_prefix(target: &Target) -> String {
    let hash = Sha256::digest(target.stream.to_string().as_bytes());
    let hash: String = hash.iter().take(4).map(|b| format!("{b:02x}")).collect();
    format!("{OURS}{hash}_")
}

/// Begins a load. Errors: `E0311`, `E0312`, `E0504`, `E03xx`.
pub(crate) async fn begin(
    file: &File,
    env: &Env,
    target: &Target,
    prepared: &Preparation,
    claim: FenceClaim,
) -> Result<Loading> {
    let probe = Arc::clone(&env.probe);
    let worker = Worker::start(file).await?;
    probe.reach(Effect::Fence, Moment::Before)?;
    let (wanted, place, fingerprint) = (target.clone(), file.clone(), prepared.fingerprint.clone());
    let (fence, committed, shape) = worker
        .call(move |connection| {
            let begun = transaction(connection, |c| raise(c, &wanted, &fingerprint, claim));
            begun.map_err(|failure| match failure {
                Failure::Coded(error) => error,
                Failure::Sqlite(error) => place.statement_error(&error, "begin a load into", &wanted.asset),
            })
        })
        .await?;
    probe.reach(Effect::Fence, Moment::After)?;
    let prefix = staging_prefix(target);
    let staging = format!("{prefix}{}", target.run.short());
    let context = Arc::new(Context {
        file: file.clone(),
        target: target.clone(),
        shape,
        staging,
        fence,
        fenced: probe.protects(Protection::Fence),
        one_act: probe.protects(Protection::OneAct),
    });
    let sweeps = probe.protects(Protection::Sweep);
    probe.reach(Effect::Sweep, Moment::Before)?;
    let sweeping = Arc::clone(&context);
    worker
        .call(move |connection| {
            sweeping.transaction(connection, "sweep leftovers of", |c| {
                sweeping.hold(c)?;
                if sweeps { sweep(c, &prefix) } else { Ok(()) }
            })
        })
        .await?;
    probe.reach(Effect::Sweep, Moment::After)?;
    Ok(Loading {
        worker: Arc::new(worker),
        probe,
        context,
        committed,
        rows: Arc::default(),
        staged: false,
    })
}

fn raise(
    connection: &Connection,
    target: &Target,
    fingerprint: &str,
    claim: FenceClaim,
) -> Result<(u64, Option<Committed>, Shape), Failure> {
    let (fence, committed) = ledger::raise(connection, &target.stream, claim)?;
    let name = catalog::table_name(&target.asset);
    let done = committed.as_ref().is_some_and(|c| c.run == target.run);
    if !done && catalog::fingerprint(connection, &name)? != fingerprint {
        return Err(changed(&name).into());
    }
    let table = catalog::table(connection, &name)?;
    let shape = match plan_shape(table, target, catalog::dependents(connection, &name)?) {
        // What this run published may no longer look like what it was planned for, and need not.
        Err(_) if done => plan_shape(
            None,
            &Target {
                create: true,
                ..target.clone()
            },
            Vec::new(),
        )?,
        other => other?,
    };
    Ok((fence, committed, shape))
}

fn changed(name: &str) -> Error {
    Error::new(
        Code::E0311,
        format!("table `{name}` changed after the load was planned"),
    )
    .with_detail("Its definition, its indexes or what depends on it are no longer the same.")
    .with_hint("run again; the load is planned anew")
}

fn sweep(connection: &Connection, prefix: &str) -> Result<(), Failure> {
    let names: Vec<String> = {
        let mut statement = connection
            .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND substr(name, 1, ?2) = ?1")?;
        statement
            .query_map((prefix, prefix.chars().count() as i64), |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?
    };
    for name in names {
        connection.execute(&format!("DROP TABLE main.{}", quote(&name)), [])?;
    }
    Ok(())
}

/// A load in progress.
#[derive(Debug)]
pub(crate) struct Loading {
    worker: Arc<Worker>,
    probe: Arc<dyn Probe>,
    context: Arc<Context>,
    committed: Option<Committed>,
    rows: Arc<AtomicU64>,
    staged: bool,
}

impl Loading {
    async fn stage(&mut self) -> Result<()> {
        if self.staged {
            return Ok(());
        }
        self.probe.reach(Effect::Stage, Moment::Before)?;
        let context = Arc::clone(&self.context);
        self.worker
            .call(move |connection| {
                let relax = |c: &Connection| -> rusqlite::Result<()> {
                    let mode: String = c.query_row("PRAGMA journal_mode", [], |row| row.get(0))?;
                    // In WAL mode NORMAL cannot damage the file, and the commit makes everything before it durable.
                    if mode == "wal" {
                        c.execute_batch("PRAGMA synchronous = NORMAL")
                    } else {
                        Ok(())
                    }
                };
                relax(connection).map_err(|e| context.explain(e.into(), "stage rows for"))?;
                context.transaction(connection, "stage rows for", |c| {
                    context.hold(c)?;
                    for statement in context.shape.stage(&context.staging) {
                        c.execute(&statement, [])?;
                    }
                    Ok(())
                })
            })
            .await?;
        self.staged = true;
        self.probe.reach(Effect::Stage, Moment::After)
    }

    /// Ends the thread, which closes the file, and waits for it.
    async fn close(self) {
        if let Some(worker) = Arc::into_inner(self.worker) {
            worker.close().await;
        }
    }
}

#[async_trait]
impl Load for Loading {
    fn fence(&self) -> u64 {
        self.context.fence
    }

    fn committed(&self) -> Option<&Committed> {
        self.committed.as_ref()
    }

    async fn writer(&mut self) -> Result<Box<dyn Writer>> {
        self.stage().await?;
        Ok(Box::new(Lane {
            worker: Arc::clone(&self.worker),
            probe: Arc::clone(&self.probe),
            context: Arc::clone(&self.context),
            rows: Arc::clone(&self.rows),
            written: Written::default(),
        }))
    }

    async fn commit(mut self: Box<Self>, position: &Position) -> Result<Receipt> {
        self.stage().await?;
        let rows = self.rows.load(Ordering::Acquire);
        let (context, committed) = (Arc::clone(&self.context), position.clone());
        self.probe.reach(Effect::Publish, Moment::Before)?;
        let receipt = self
            .worker
            .call(move |connection| commit_on(connection, &context, &committed, rows))
            .await?;
        let answer = self.probe.reach(Effect::Publish, Moment::After);
        if !self.context.one_act {
            let (context, committed) = (Arc::clone(&self.context), position.clone());
            self.worker
                .call(move |connection| {
                    context.transaction(connection, "record the position of", |c| {
                        context.record(c, &committed)
                    })
                })
                .await?;
        }
        self.close().await;
        match answer {
            Ok(()) => Ok(receipt),
            Err(error) if error.code() == Code::E0317 => Err(error),
            Err(error) => Err(lost("The commit was made.").with_cause(&error)),
        }
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        let context = Arc::clone(&self.context);
        self.probe.reach(Effect::Cleanup, Moment::Before)?;
        self.worker
            .call(move |connection| {
                context.transaction(connection, "clean up after", |c| {
                    c.execute(
                        &format!("DROP TABLE IF EXISTS main.{}", quote(&context.staging)),
                        [],
                    )?;
                    Ok(())
                })
            })
            .await?;
        self.probe.reach(Effect::Cleanup, Moment::After)?;
        self.close().await;
        Ok(())
    }
}

fn lost(detail: &str) -> Error {
    Error::new(Code::E0317, "the answer to the commit of a SQLite load was lost")
        .with_detail(detail)
        .with_hint("run again; a run that was committed is not written twice")
}

fn commit_on(
    connection: &mut Connection,
    context: &Context,
    position: &Position,
    rows: u64,
) -> Result<Receipt> {
    let coded = |error: rusqlite::Error| context.explain(error.into(), "publish the load into");
    // Emptying a table must not cascade into others; what it leaves behind is checked afterwards.
    let switch = if context.shape.how.checks_orphans() {
        "PRAGMA foreign_keys = OFF"
    } else {
        "PRAGMA foreign_keys = ON"
    };
    connection.execute_batch(switch).map_err(coded)?;
    connection
        .execute_batch("PRAGMA synchronous = FULL")
        .map_err(coded)?;
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(coded)?;
    let work = || -> Result<Receipt, Failure> {
        if context.one_act {
            context.record(&transaction, position)?;
        }
        let name = &context.shape.name;
        let table = catalog::table(&transaction, name)?;
        let known = context.shape.table.as_ref();
        let same = table.as_ref().map(|t| &t.sql) == known.map(|t| &t.sql)
            && catalog::dependents(&transaction, name)? == context.shape.dependents
            && table.map(|t| t.indexes.len()) == known.map(|t| t.indexes.len());
        if !same {
            return Err(changed(name).into());
        }
        publish(
            &transaction,
            &context.shape,
            &context.target,
            &context.staging,
            rows,
        )
    };
    let receipt = work().map_err(|failure| context.explain(failure, "publish the load into"))?;
    match transaction.commit() {
        Ok(()) => Ok(receipt),
        Err(error) if error.sqlite_error_code() == Some(rusqlite::ffi::ErrorCode::SystemIoFailure) => {
            Err(lost("The disk failed while the transaction was committed.").with_cause(&error))
        }
        Err(error) => Err(coded(error)),
    }
}

/// The lane.
struct Lane {
    worker: Arc<Worker>,
    probe: Arc<dyn Probe>,
    context: Arc<Context>,
    rows: Arc<AtomicU64>,
    written: Written,
}

#[async_trait]
impl Writer for Lane {
    async fn write(&mut self, batch: RecordBatch) -> Result<()> {
        let rows = batch.num_rows() as u64;
        if rows == 0 {
            return Ok(());
        }
        self.probe.reach(Effect::Write, Moment::Before)?;
        let context = Arc::clone(&self.context);
        let bytes = self
            .worker
            .call(move |connection| {
                context.transaction(connection, "write rows for", |c| {
                    context.hold(c)?;
                    insert(c, &context, &batch)
                })
            })
            .await?;
        self.rows.fetch_add(rows, Ordering::AcqRel);
        self.written.rows += rows;
        self.written.bytes += bytes;
        self.probe.reach(Effect::Write, Moment::After)
    }

    async fn finish(self: Box<Self>) -> Result<Written> {
        // Every batch is in the file already; the commit makes all of it durable.
        self.probe.reach(Effect::Seal, Moment::Before)?;
        self.probe.reach(Effect::Seal, Moment::After)?;
        Ok(self.written)
    }
}

/// Inserts a batch into staging and returns the bytes that were bound.
fn insert(connection: &Connection, context: &Context, batch: &RecordBatch) -> Result<u64, Failure> {
    let shape = &context.shape;
    let mut columns = shape
        .arrived()
        .map(|(slot, _)| Column::new(batch, slot))
        .collect::<Result<Vec<_>>>()?;
    let order = order_bytes(batch, context)?;
    let mut names: Vec<&str> = shape.arrived().map(|(_, column)| column.as_str()).collect();
    if order.is_some() {
        names.push("_synqx_order");
    }
    let places = (1..=names.len())
        .map(|n| format!("?{n}"))
        .collect::<Vec<_>>()
        .join(", ");
    let sql = format!(
        "{} INTO main.{} ({}) VALUES ({places})",
        shape.insert_words(),
        quote(&context.staging),
        quote_all(names.iter().copied())
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut bytes = 0;
    for row in 0..batch.num_rows() {
        for (place, column) in columns.iter_mut().enumerate() {
            let value = column.value(row)?;
            bytes += value.bytes();
            statement.raw_bind_parameter(place + 1, value)?;
        }
        if let Some(order) = &order {
            statement.raw_bind_parameter(names.len(), order.row(row).as_ref())?;
        }
        statement.raw_execute()?;
    }
    Ok(bytes)
}

/// The order of an upsert as bytes that compare like the values, greatest = newest, NULL oldest. Columns that the
/// target stores are compared as what both sides can be read as.
fn order_bytes(batch: &RecordBatch, context: &Context) -> Result<Option<arrow::row::Rows>> {
    let target = &context.target;
    if target.order_by.is_empty() || !target.has_key() {
        return Ok(None);
    }
    let mut columns = Vec::new();
    for (i, order) in target.order_by.iter().enumerate() {
        let array = batch
            .column_by_name(&order.column)
            .ok_or_else(|| Error::bug(format!("`order_by` column `{}` did not arrive", order.column)))?;
        let array = match context.shape.order.get(i) {
            Some(stored) => newest::as_kind(array, stored.kind, &order.column)?,
            None => Arc::clone(array),
        };
        columns.push((array, order.descending));
    }
    newest::bytes(&columns).map(Some)
}
