//! The life of one load: fence, sweep, staging, lanes, commit or abort.
//!
//! The direct path has one connection: its lane copies inside the transaction that will record the position. The
//! other paths have one connection per lane, each its own transaction into staging. Whatever is dropped half-way is
//! rolled back by the closing of its connection, or swept by the next `begin` of the stream.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use bytes::Bytes;
use futures::SinkExt;
use synqx_model::{Code, Error, Position, Result, StreamKey};
use synqx_sdk::{
    Committed, Effect, FenceClaim, Load, Moment, Protection, PublishPath, RawChunk, Receipt, Target, Writer,
    Written,
};
use tokio::sync::Mutex;
use tokio_postgres::CopyInSink;
use tokio_postgres::types::Type;

use super::plan::WritePlan;
use super::{publish, sql};
use crate::catalog;
use crate::client::{Link, Scope, Session};
use crate::encode::Encoder;
use crate::names::{TableName, literal, staging_name, staging_prefix};

/// The connection a load works on; the direct lane borrows it.
pub(crate) struct Main {
    pub(crate) session: Option<Session>,
    /// A transaction is open on it.
    pub(crate) open: bool,
}

/// A load that has begun.
pub(crate) struct TableLoad {
    pub(crate) link: Arc<Link>,
    pub(crate) plan: WritePlan,
    pub(crate) target: Target,
    pub(crate) fence: u64,
    committed: Option<Committed>,
    pub(crate) staging: Option<TableName>,
    pub(crate) main: Arc<Mutex<Main>>,
    /// Rows of finished lanes.
    pub(crate) rows: Arc<AtomicU64>,
    lanes: usize,
}

impl TableLoad {
    /// Takes the fence, sweeps, makes staging.
    pub(crate) async fn begin(
        link: &Arc<Link>,
        session: Session,
        plan: WritePlan,
        target: &Target,
        claim: FenceClaim,
    ) -> Result<Self> {
        let probe = &link.env.probe;
        super::ensure_record(&session, &plan.table).await?;
        probe.reach(Effect::Fence, Moment::Before)?;
        let (fence, committed) = take_fence(&session, &plan.table, target, claim).await?;
        probe.reach(Effect::Fence, Moment::After)?;
        probe.reach(Effect::Sweep, Moment::Before)?;
        if probe.protects(Protection::Sweep) {
            sweep(&session, &plan.table, target).await?;
        }
        probe.reach(Effect::Sweep, Moment::After)?;
        let mut staging = None;
        if plan.path != PublishPath::Direct {
            let table = plan.table.sibling(staging_name(&target.stream, &target.run));
            probe.reach(Effect::Stage, Moment::Before)?;
            let create = sql::create_staging(&table, &plan, plan.path == PublishPath::Fresh);
            let mark = format!(
                "COMMENT ON TABLE {} IS {}",
                table.sql(),
                literal(&target.stream.to_string())
            );
            session
                .run(
                    &format!("BEGIN; {create}; {mark}; COMMIT"),
                    &format!("make staging for table `{}`", plan.table.label()),
                )
                .await?;
            probe.reach(Effect::Stage, Moment::After)?;
            staging = Some(table);
        }
        Ok(TableLoad {
            link: Arc::clone(link),
            plan,
            target: target.clone(),
            fence,
            committed,
            staging,
            main: Arc::new(Mutex::new(Main {
                session: Some(session),
                open: false,
            })),
            rows: Arc::new(AtomicU64::new(0)),
            lanes: 0,
        })
    }

    /// Staging is gone: a newer run of the stream has swept it, if it holds the fence; else the error as it is.
    async fn swept(&self, error: Error) -> Error {
        let record = sql::record_table(&self.plan.table).sql();
        let stream = self.target.stream.to_string();
        let doing = "look at the fence";
        let stored = async {
            // The driver cannot use a connection again whose copy was refused.
            let session = Session::connect(&self.link, Scope::Data).await?;
            let sql = format!("SELECT fence FROM {record} WHERE stream = $1");
            session.query(&sql, &[(&stream, Type::TEXT)], doing).await
        };
        let fence = stored
            .await
            .ok()
            .and_then(|rows| rows.first().map(|row| row.get::<_, i64>(0).unsigned_abs()));
        match fence {
            Some(fence) if fence > self.fence => publish::taken_over(&stream),
            _ => error,
        }
    }

    /// Removes this attempt's staging, as far as that is still possible.
    pub(crate) async fn drop_staging(&self, session: &Session) -> Result<()> {
        let Some(staging) = &self.staging else {
            return Ok(());
        };
        session
            .run(
                &format!("DROP TABLE IF EXISTS {}", staging.sql()),
                "remove staging",
            )
            .await
    }
}

/// Raises the fence; the row's lock waits for a commit in flight. Errors: `E0504`, `E0312`.
pub(super) async fn take_fence(
    session: &Session,
    table: &TableName,
    target: &Target,
    claim: FenceClaim,
) -> Result<(u64, Option<Committed>)> {
    let record = sql::record_table(table).sql();
    let stream = target.stream.to_string();
    let doing = format!("take the fence of stream `{stream}`");
    let returning = "RETURNING t.fence, t.run_id, t.position, t.spec_hash";
    let too_large = || Error::bug("a fence is larger than a bigint");
    let rows = match claim {
        FenceClaim::Next => {
            let sql = format!(
                "INSERT INTO {record} AS t (stream, fence) VALUES ($1, 1) ON CONFLICT (stream) DO UPDATE SET fence = t.fence + 1 {returning}"
            );
            session.query(&sql, &[(&stream, Type::TEXT)], &doing).await?
        }
        FenceClaim::Exact(fence) => {
            let fence = i64::try_from(fence).map_err(|_| too_large())?;
            let sql = format!(
                "INSERT INTO {record} AS t (stream, fence) VALUES ($1, $2) ON CONFLICT (stream) DO UPDATE SET fence = excluded.fence WHERE t.fence <= excluded.fence {returning}"
            );
            session
                .query(&sql, &[(&stream, Type::TEXT), (&fence, Type::INT8)], &doing)
                .await?
        }
    };
    let Some(row) = rows.first() else {
        let stored = stored_fence(session, table, &target.stream).await?;
        return Err(Error::new(
            Code::E0504,
            format!("the fence of stream `{stream}` is older than the one at the destination"),
        )
        .with_detail(format!("The destination has {stored}."))
        .with_hint("a newer run has taken over; let it work, or start a new run"));
    };
    let fence = u64::try_from(row.get::<_, i64>(0)).map_err(|_| Error::bug("a stored fence is negative"))?;
    Ok((fence, committed_of(row)?))
}

/// The fence that is stored for a stream, whoever holds it. Errors: `E03xx`.
pub(super) async fn stored_fence(session: &Session, table: &TableName, stream: &StreamKey) -> Result<i64> {
    let (record, stream) = (sql::record_table(table).sql(), stream.to_string());
    let sql = format!("SELECT fence FROM {record} WHERE stream = $1");
    let doing = format!("look at the fence of stream `{stream}`");
    let row = session.query_one(&sql, &[(&stream, Type::TEXT)], &doing).await?;
    Ok(row.get(0))
}

/// A row of fence, run, position and hash.
fn committed_of(row: &tokio_postgres::Row) -> Result<Option<Committed>> {
    match (row.get::<_, Option<String>>(1), row.get::<_, Option<String>>(2)) {
        (Some(run), Some(position)) => Ok(Some(Committed {
            run: run.parse()?,
            position: Position::from_text(&position)?,
            spec_hash: row.get::<_, Option<String>>(3).unwrap_or_default(),
        })),
        _ => Ok(None),
    }
}

/// What was committed last for a stream, where anything was. Errors: `E0303`, `E0503`.
pub(crate) async fn committed(
    session: &Session,
    table: &TableName,
    stream: &StreamKey,
) -> Result<Option<Committed>> {
    let record = sql::record_table(table);
    if catalog::fetch_relation(session, &record).await?.is_none() {
        return Ok(None);
    }
    let stream = stream.to_string();
    let sql = format!(
        "SELECT fence, run_id, position, spec_hash FROM {} WHERE stream = $1",
        record.sql()
    );
    let doing = format!("read the last commit of stream `{stream}`");
    let rows = session.query(&sql, &[(&stream, Type::TEXT)], &doing).await?;
    rows.first().map_or(Ok(None), committed_of)
}

/// Drops staging that earlier attempts of the stream left. What a zombie still holds is left to the next `begin`.
async fn sweep(session: &Session, table: &TableName, target: &Target) -> Result<()> {
    let stream = target.stream.to_string();
    let prefix = staging_prefix(&target.stream);
    let rows = session
        .query(
            "SELECT c.relname::text FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE n.nspname = $1 AND c.relkind = 'r' AND pg_catalog.starts_with(c.relname::text, $2) \
             AND pg_catalog.obj_description(c.oid, 'pg_class') = $3 ORDER BY 1",
            &[(&table.schema, Type::TEXT), (&prefix, Type::TEXT), (&stream, Type::TEXT)],
            "look for leftovers",
        )
        .await?;
    for row in rows {
        let leftover = table.sibling(row.get::<_, String>(0));
        match session
            .run(
                &format!("DROP TABLE IF EXISTS {}", leftover.sql()),
                "remove a leftover",
            )
            .await
        {
            Err(error) if error.code() == Code::E0312 => {
                tracing::warn!(table = %leftover.label(), "a leftover is still in use; the next run removes it");
            }
            other => other?,
        }
    }
    Ok(())
}

#[async_trait]
impl Load for TableLoad {
    fn fence(&self) -> u64 {
        self.fence
    }

    fn committed(&self) -> Option<&Committed> {
        self.committed.as_ref()
    }

    async fn writer(&mut self) -> Result<Box<dyn Writer>> {
        if self.lanes >= self.plan.lanes {
            return Err(Error::bug("more lanes were opened than were prepared"));
        }
        self.lanes += 1;
        let table = self.staging.as_ref().unwrap_or(&self.plan.table);
        let doing = format!("write to table `{}`", self.plan.table.label());
        let session = match self.staging {
            None => {
                let mut main = self.main.lock().await;
                main.open = true;
                main.session
                    .take()
                    .ok_or_else(|| Error::bug("the direct lane is already open"))?
            }
            Some(_) => Session::connect(&self.link, Scope::Data).await?,
        };
        session.run("BEGIN", &doing).await?;
        let statement = sql::copy_in(table, &self.plan);
        session.set_busy(true);
        let sink = match session.client().copy_in::<_, Bytes>(statement.as_str()).await {
            Ok(sink) => sink,
            Err(error) => {
                session.set_busy(false);
                let error = session.classify(&doing, &error);
                return Err(match self.staging {
                    Some(_) if error.code() == Code::E0304 => self.swept(error).await,
                    _ => error,
                });
            }
        };
        let lanes = self.plan.arrived().map(|c| c.lane.clone()).collect();
        Ok(Box::new(Lane {
            link: Arc::clone(&self.link),
            sink: Box::pin(sink),
            raw: self.plan.raw,
            encoder: Encoder::new(lanes, format!("table `{}`", self.plan.table.label())),
            main: self.staging.is_none().then(|| Arc::clone(&self.main)),
            session,
            rows: Arc::clone(&self.rows),
            doing,
            table: self.plan.table.label(),
        }))
    }

    async fn commit(self: Box<Self>, position: &Position) -> Result<Receipt> {
        Box::pin(publish::commit(*self, position)).await
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        let session = self.main.lock().await.session.take();
        if let Some(session) = &session
            && self.main.lock().await.open
        {
            session.run("ROLLBACK", "roll back").await?;
        }
        if self.staging.is_none() {
            return Ok(());
        }
        let session = match session {
            Some(session) => session,
            None => Session::connect(&self.link, Scope::Data).await?,
        };
        self.link.env.probe.reach(Effect::Cleanup, Moment::Before)?;
        self.drop_staging(&session).await?;
        self.link.env.probe.reach(Effect::Cleanup, Moment::After)
    }
}

/// One lane: one copy.
struct Lane {
    link: Arc<Link>,
    sink: Pin<Box<CopyInSink<Bytes>>>,
    encoder: Encoder,
    /// Raw rows were announced.
    raw: bool,
    /// Where the direct lane gives its connection back.
    main: Option<Arc<Mutex<Main>>>,
    session: Session,
    rows: Arc<AtomicU64>,
    doing: String,
    table: String,
}

impl Lane {
    async fn send(&mut self, bytes: Bytes) -> Result<()> {
        match self.sink.send(bytes).await {
            Ok(()) => Ok(()),
            Err(error) => {
                // What the server said, if it said something, comes with the end of the copy.
                let error = match self.sink.as_mut().finish().await {
                    Err(told) if told.as_db_error().is_some() => told,
                    _ => error,
                };
                Err(self.session.classify(&self.doing, &error))
            }
        }
    }
}

#[async_trait]
impl Writer for Lane {
    async fn write(&mut self, batch: RecordBatch) -> Result<()> {
        if self.raw {
            return Err(Error::bug("a batch arrives where raw rows were announced"));
        }
        self.link.env.probe.reach(Effect::Write, Moment::Before)?;
        let mut rows = self.encoder.open(&batch)?;
        while let Some(bytes) = self.encoder.fill(&mut rows)? {
            self.send(bytes).await?;
        }
        self.link.env.probe.reach(Effect::Write, Moment::After)
    }

    async fn write_raw(&mut self, chunk: RawChunk) -> Result<()> {
        self.link.env.probe.reach(Effect::Write, Moment::Before)?;
        if let Some(header) = self.encoder.pass(&chunk) {
            self.send(header).await?;
        }
        self.send(chunk.bytes).await?;
        self.link.env.probe.reach(Effect::Write, Moment::After)
    }

    async fn finish(mut self: Box<Self>) -> Result<Written> {
        let last = self.encoder.finish();
        self.send(last).await?;
        self.link.env.probe.reach(Effect::Seal, Moment::Before)?;
        let rows = self
            .sink
            .as_mut()
            .finish()
            .await
            .map_err(|e| self.session.classify(&self.doing, &e))?;
        self.session.set_busy(false);
        let given = self.encoder.rows;
        if rows != given {
            let table = &self.table;
            return Err(publish::kept_out(
                table,
                format!("There were {given} rows to be written, and the server says {rows}"),
            ));
        }
        let bytes = self.encoder.bytes;
        match self.main.take() {
            None => self.session.run("COMMIT", &self.doing).await?,
            Some(main) => main.lock().await.session = Some(self.session),
        }
        self.rows.fetch_add(rows, Ordering::AcqRel);
        self.link.env.probe.reach(Effect::Seal, Moment::After)?;
        Ok(Written { rows, bytes })
    }
}
