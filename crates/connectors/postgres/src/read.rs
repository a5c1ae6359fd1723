//! Reading: one statement per part, all parts from one exported snapshot, decoded as they arrive.
//!
//! `plan` reads the catalog (and a column's range when asked to split by it); `open` takes the snapshot and looks
//! again whether the columns are as planned. Dropping a stream cancels the statement on the server.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use synqx_model::nearest::did_you_mean;
use synqx_model::{Code, Error, Result};
use synqx_sdk::{
    Acceptance, BatchStream, Dataset, HighWater, Literal, Predicate, RawForm, RawReader, ReadPlan, Reader,
    Reservation, Scan, Source, TableSchema, annotation,
};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio_postgres::CopyOutStream;

use crate::catalog::{self, Column, Relation};
use crate::client::{Link, Scope, Session};
use crate::connection::Database;
use crate::cursor;
use crate::decode::Decoder;
use crate::mapping::Kind;
use crate::names::{TableName, quote};
use crate::partition::{self, Part};
use crate::predicates;
use crate::raw;
use crate::special;

/// A dataset as the catalog has it now.
pub(crate) struct Found {
    pub(crate) relation: Option<Relation>,
    pub(crate) columns: Vec<Column>,
    /// The FROM item.
    pub(crate) from: String,
    /// What messages call it.
    pub(crate) place: String,
}

/// Looks a dataset up. Errors: `E0102`, `E0103`, `E0204`, `E0203`, `E0212`, `E0401`.
pub(crate) async fn find(session: &Session, link: &Link, dataset: &Dataset) -> Result<Found> {
    if let Some(query) = &dataset.query {
        let place = format!("the query on `{}`", link.env.name);
        let mut columns =
            catalog::fetch_query_columns(session, link, query, &format!("describe {place}")).await?;
        special::apply(&mut columns, &dataset.options, &place)?;
        return Ok(Found {
            relation: None,
            columns,
            from: format!("(\n{}\n) AS q", catalog::trim_query(query)),
            place,
        });
    }
    let Some(asset) = &dataset.asset else {
        return Err(Error::new(Code::E0103, "neither a table nor a query is named")
            .with_hint("set `asset` or `query`"));
    };
    let table = TableName::parse(asset, &link.settings.schema)?;
    match catalog::fetch_relation(session, &table).await? {
        Some(mut relation) => {
            let place = format!("table `{}`", table.label());
            special::apply(&mut relation.columns, &dataset.options, &place)?;
            Ok(Found {
                columns: relation.columns.clone(),
                from: table.sql(),
                place,
                relation: Some(relation),
            })
        }
        None => Err(catalog::not_found(session, &table).await),
    }
}

/// The columns wanted, in order, compared with what the plan was made with. Errors: `E0401`, `E0215`.
fn project(scan: &Scan, found: &Found) -> Result<(SchemaRef, Vec<Kind>)> {
    let mut fields = Vec::new();
    let mut kinds = Vec::new();
    for name in &scan.columns {
        let Ok(planned) = scan.table.schema.field_with_name(name) else {
            let names = scan.table.schema.fields().iter().map(|f| f.name().as_str());
            return Err(
                Error::new(Code::E0401, format!("{} has no column `{name}`", found.place))
                    .with_hint(did_you_mean(name, names)),
            );
        };
        let changed = |how: &str| {
            Error::new(
                Code::E0215,
                format!(
                    "column `{name}` of {} {how} since the run was planned",
                    found.place
                ),
            )
            .with_hint("run again: the plan is made anew")
        };
        let column = found
            .columns
            .iter()
            .find(|c| c.name == *name)
            .ok_or_else(|| changed("was removed"))?;
        let field = catalog::field_of(column);
        let native = |f| annotation::native(f, crate::mapping::SYSTEM).map(str::to_owned);
        if field.data_type() != planned.data_type() || native(&field) != native(planned) {
            return Err(changed("changed its type"));
        }
        if field.is_nullable() && !planned.is_nullable() {
            return Err(changed("may now be NULL"));
        }
        fields.push(field.with_nullable(planned.is_nullable()));
        kinds.push(column.kind.clone());
    }
    Ok((Arc::new(Schema::new(fields)), kinds))
}

/// The statement of one part. Without kinds the columns are read as they are.
fn statement(scan: &Scan, kinds: Option<&[Kind]>, part: &Part) -> Result<String> {
    let names = scan.columns.iter().map(|name| quote(name));
    let columns: Vec<String> = match kinds {
        Some(kinds) => names.zip(kinds).map(|(name, kind)| kind.read(&name)).collect(),
        None => names.collect(),
    };
    let mut conditions: Vec<String> = part.only.clone().into_iter().collect();
    for predicate in &scan.predicates {
        let sql = predicates::render(&scan.table, predicate)
            .ok_or_else(|| Error::bug("a predicate was handed over that had not been accepted"))?;
        conditions.push(format!("({sql})"));
    }
    let mut sql = format!("SELECT {} FROM {}", columns.join(", "), part.from);
    if !conditions.is_empty() {
        sql.push_str(&format!(" WHERE {}", conditions.join(" AND ")));
    }
    if let Some(limit) = scan.limit {
        sql.push_str(&format!(" LIMIT {limit}"));
    }
    Ok(format!("COPY ({sql}) TO STDOUT (FORMAT binary)"))
}

#[async_trait]
impl Source for Database {
    fn accepts(&self, table: &TableSchema, predicate: &Predicate) -> Acceptance {
        predicates::accepts(table, predicate)
    }

    async fn high_water(
        &self,
        dataset: &Dataset,
        table: &TableSchema,
        column: &str,
        after: Option<&Literal>,
    ) -> Result<HighWater> {
        let link = self.link();
        let condition = after.map(|after| cursor::newer(table, column, after));
        if condition.as_ref().is_some_and(Option::is_none) {
            return synqx_sdk::cursor::by_reading(self, dataset, table, column, after).await;
        }
        let session = Session::connect(link, Scope::Catalog).await?;
        let found = find(&session, link, dataset).await?;
        session.enter(link, Scope::Data).await?;
        let from = (found.from.as_str(), found.place.as_str());
        let patience = link.settings.lock_timeout;
        cursor::mark(&session, table, from, column, condition.flatten(), patience).await
    }

    async fn plan(&self, scan: &Scan) -> Result<ReadPlan> {
        let link = self.link();
        let session = Session::connect(link, Scope::Catalog).await?;
        let found = find(&session, link, &scan.dataset).await?;
        let (schema, kinds) = project(scan, &found)?;
        session.enter(link, Scope::Data).await?;
        let partitions = Box::pin(partition::split(
            &session,
            scan,
            found.relation.as_ref(),
            &found.from,
        ))
        .await?;
        let shown = statement(scan, Some(&kinds), &everything(&found))?;
        let pushed = scan
            .predicates
            .iter()
            .filter_map(|p| predicates::render(&scan.table, p))
            .collect();
        let known = found.relation.as_ref().and_then(|r| r.rows);
        let limited = scan.limit.is_some() && partitions.len() == 1;
        let mut notes = Vec::new();
        if partitions.len() > 1 {
            notes.push(format!("read in {} parts from one snapshot", partitions.len()));
        }
        Ok(ReadPlan {
            schema,
            limited,
            statement: shown,
            pushed,
            rows: match (scan.limit, known, scan.predicates.is_empty()) {
                (Some(limit), Some(rows), _) => Some(rows.min(limit)),
                (Some(limit), None, _) => Some(limit),
                (None, rows, true) => rows,
                (None, _, false) => None,
            },
            bytes: found.relation.as_ref().and_then(|r| r.bytes),
            partitions,
            notes,
        })
    }

    async fn open(&self, scan: &Scan, plan: &ReadPlan) -> Result<Box<dyn Reader>> {
        let shared = Box::pin(self.begin(scan, plan, false)).await?;
        Ok(Box::new(TableReader(Arc::new(shared))))
    }

    async fn raw_form(&self, scan: &Scan) -> Result<Option<RawForm>> {
        let link = self.link();
        let session = Session::connect(link, Scope::Catalog).await?;
        let found = find(&session, link, &scan.dataset).await?;
        project(scan, &found)?;
        let wanted = |name: &String| found.columns.iter().find(|c| c.name == *name);
        let columns: Vec<&Column> = scan.columns.iter().filter_map(wanted).collect();
        if !columns.iter().all(|column| raw::is_portable(column)) {
            return Ok(None);
        }
        Ok(Some(RawForm {
            format: raw::FORMAT,
            version: session.version,
            types: columns.iter().map(|c| c.native.clone()).collect(),
            statement: statement(scan, None, &everything(&found))?,
        }))
    }

    async fn open_raw(&self, scan: &Scan, plan: &ReadPlan) -> Result<Box<dyn RawReader>> {
        let shared = Box::pin(self.begin(scan, plan, true)).await?;
        Ok(Box::new(raw::CopyReader(Arc::new(shared))))
    }
}

/// The whole of a dataset as one part.
fn everything(found: &Found) -> Part {
    Part {
        from: found.from.clone(),
        only: None,
    }
}

impl Database {
    /// Takes the snapshot of a read, whose columns are as planned.
    async fn begin(&self, scan: &Scan, plan: &ReadPlan, raw: bool) -> Result<Shared> {
        let link = self.link();
        let session = Session::connect(link, Scope::Catalog).await?;
        session
            .run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", "begin a read")
            .await?;
        let found = find(&session, link, &scan.dataset).await.map_err(gone)?;
        let (schema, kinds) = project(scan, &found)?;
        if schema.fields().len() != plan.schema.fields().len() {
            return Err(Error::bug("the scan is not the one that was planned"));
        }
        let parts = plan.partitions.iter().map(Part::of).collect::<Result<Vec<_>>>()?;
        check_leaves(&session, &found, &parts).await?;
        let statements = parts
            .iter()
            .map(|part| statement(scan, (!raw).then_some(kinds.as_slice()), part))
            .collect::<Result<Vec<_>>>()?;
        let snapshot = match statements.len() {
            0 | 1 => None,
            _ => Some(
                session
                    .query_one("SELECT pg_catalog.pg_export_snapshot()", &[], "export a snapshot")
                    .await?
                    .get::<_, String>(0),
            ),
        };
        session.enter(link, Scope::Data).await?;
        Ok(Shared {
            link: Arc::clone(link),
            snapshot,
            holder: Mutex::new(Holder {
                session: Some(session),
                waiting: (0..statements.len()).collect(),
            }),
            permits: Arc::new(Semaphore::new(scan.parallel.max(1))),
            statements,
            schema,
            kinds,
            place: found.place,
        })
    }
}

/// A table that is not there any more was there when the plan was made.
fn gone(error: Error) -> Error {
    if error.code() != Code::E0204 {
        return error;
    }
    Error::new(Code::E0215, format!("{} any more", error.message()))
        .with_hint("run again: the plan is made anew")
}

/// A partition attached since planning is in none of the planned parts. Errors: `E0215`.
async fn check_leaves(session: &Session, found: &Found, parts: &[Part]) -> Result<()> {
    let Some(relation) = found
        .relation
        .as_ref()
        .filter(|r| r.kind == "p" && parts.len() > 1)
    else {
        return Ok(());
    };
    if parts.iter().any(|p| p.from == found.from) {
        return Ok(());
    }
    let leaves = partition::leaves(session, relation).await?;
    let planned = |table: &TableName| parts.iter().any(|p| p.from == format!("ONLY {}", table.sql()));
    let known: BTreeSet<&str> = parts.iter().map(|p| p.from.as_str()).collect();
    if leaves.len() == known.len() && leaves.iter().all(|(table, _)| planned(table)) {
        return Ok(());
    }
    Err(Error::new(
        Code::E0215,
        format!("{} got or lost partitions since the run was planned", found.place),
    )
    .with_hint("run again: the plan is made anew"))
}

/// An open read.
struct TableReader(Arc<Shared>);

/// What the parts of a read share.
pub(crate) struct Shared {
    link: Arc<Link>,
    snapshot: Option<String>,
    holder: Mutex<Holder>,
    /// As many parts as the read may have connections at once. Taken before a part connects, so that nothing that
    /// holds one waits for another.
    permits: Arc<Semaphore>,
    statements: Vec<String>,
    schema: SchemaRef,
    kinds: Vec<Kind>,
    place: String,
}

/// Holds the snapshot until every part has it; a read of one part uses the session itself.
struct Holder {
    session: Option<Session>,
    waiting: BTreeSet<usize>,
}

impl Shared {
    /// What messages call the source.
    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    /// How many parts there are.
    pub(crate) fn parts(&self) -> usize {
        self.statements.len()
    }

    /// A session whose transaction sees the snapshot of the read.
    async fn session(&self, partition: usize, doing: &str) -> Result<Session> {
        if self.snapshot.is_none()
            && let Some(session) = self.holder.lock().await.session.take()
        {
            return Ok(session);
        }
        let session = Session::connect(&self.link, Scope::Data).await?;
        let mut begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY".to_owned();
        if let Some(snapshot) = &self.snapshot {
            begin.push_str(&format!(
                "; SET TRANSACTION SNAPSHOT {}",
                crate::names::literal(snapshot)
            ));
        }
        session.run(&begin, doing).await?;
        let done = {
            let mut holder = self.holder.lock().await;
            holder.waiting.remove(&partition);
            let all = holder.waiting.is_empty();
            if all { holder.session.take() } else { None }
        };
        if let Some(holder) = done {
            // Its locks would keep this very run from replacing what a query names.
            holder.run("COMMIT", doing).await?;
        }
        Ok(session)
    }
}

#[async_trait]
impl Reader for TableReader {
    async fn read(&self, partition: usize) -> Result<BatchStream> {
        if partition >= self.0.statements.len() {
            return Err(Error::bug("there is no such partition"));
        }
        // Nothing is connected before the stream is polled.
        let flow = Flow::open(Arc::clone(&self.0), partition);
        let batches = |flow: Flow| {
            futures::stream::try_unfold(flow, |mut flow| async move {
                Ok(flow.next().await?.map(|batch| (batch, flow)))
            })
        };
        Ok(Box::pin(
            futures::stream::once(flow).map_ok(batches).try_flatten(),
        ))
    }
}

/// The messages of one part's copy.
pub(crate) struct CopyFlow {
    shared: Arc<Shared>,
    /// `None` after the end.
    open: Option<Open>,
}

/// What a part holds while it is read.
struct Open {
    session: Session,
    copy: Pin<Box<CopyOutStream>>,
    _held: Reservation,
    _permit: OwnedSemaphorePermit,
}

impl CopyFlow {
    pub(crate) async fn open(shared: Arc<Shared>, partition: usize) -> Result<CopyFlow> {
        let (link, place) = (&shared.link, &shared.place);
        let permit = Arc::clone(&shared.permits)
            .acquire_owned()
            .await
            .map_err(|_| Error::bug("the permits of a read are gone"))?;
        let session = shared.session(partition, &format!("read {place}")).await?;
        let budget = &link.env.budget;
        let held = budget.reserve(&format!("a reader of {place}"), budget.batch_target() as u64)?;
        session.set_busy(true);
        let sql = shared.statements[partition].as_str();
        let copy = session.client().copy_out(sql).await.map_err(|e| {
            session.set_busy(false);
            broken(link, &session, &shared.schema, place, &e)
        })?;
        let open = Open {
            session,
            copy: Box::pin(copy),
            _held: held,
            _permit: permit,
        };
        Ok(CopyFlow {
            open: Some(open),
            shared,
        })
    }

    /// The next message; none after the last, when locks and connection are given back.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>> {
        let Some(open) = &mut self.open else {
            return Ok(None);
        };
        match open.copy.next().await {
            Some(Ok(message)) => Ok(Some(message)),
            Some(Err(error)) => {
                let shared = &self.shared;
                let (link, place) = (&shared.link, &shared.place);
                let broken = broken(link, &open.session, &shared.schema, place, &error);
                open.session.set_busy(false);
                self.open = None;
                Err(broken)
            }
            None => {
                open.session.set_busy(false);
                let doing = format!("read {}", self.shared.place);
                // The locks and the connection go now, not when the consumer drops the stream.
                open.session.run("COMMIT", &doing).await?;
                self.open = None;
                Ok(None)
            }
        }
    }
}

/// A decoded read in progress.
struct Flow {
    copy: CopyFlow,
    /// `None` after the end.
    decoder: Option<Decoder>,
}

impl Flow {
    async fn open(shared: Arc<Shared>, partition: usize) -> Result<Flow> {
        let budget = shared.link.env.budget.clone();
        let copy = CopyFlow::open(Arc::clone(&shared), partition).await?;
        let decoder = Decoder::new(
            Arc::clone(&shared.schema),
            &shared.kinds,
            budget.batch_target(),
            budget.row_limit(),
            shared.place.clone(),
        );
        Ok(Flow {
            copy,
            decoder: Some(decoder),
        })
    }

    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        let Some(decoder) = &mut self.decoder else {
            return Ok(None);
        };
        while let Some(message) = self.copy.next().await? {
            decoder.feed(&message)?;
            if decoder.full()
                && let Some(batch) = decoder.batch()?
            {
                return Ok(Some(batch));
            }
        }
        let last = decoder.end()?;
        self.decoder = None;
        Ok(last)
    }
}

/// The error of a copy: a row that was too large, else what the driver says.
fn broken(
    link: &Link,
    session: &Session,
    schema: &Schema,
    place: &str,
    error: &tokio_postgres::Error,
) -> Error {
    match session.refused_row() {
        Some((column, bytes)) => {
            let name = schema.fields().get(column).map_or("?", |f| f.name().as_str());
            link.env.budget.row_too_large(name, place, bytes)
        }
        None => session.classify(&format!("read {place}"), error),
    }
}
