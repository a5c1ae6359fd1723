//! A folder with a database file, connections to it for both parts, and a load or a read from start to end.
//!
//! What the other modules share; it holds no test.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use futures::TryStreamExt;
use serde_json::json;
use synqx_model::spec::{PartitionBy, ReplaceOptions, SchemaPolicy, WriteMode};
use synqx_model::{Position, Result, RunId, StreamKey};
use synqx_sdk::probe::Quiet;
use synqx_sdk::{
    Connection, Dataset, Env, FenceClaim, Load, Predicate, Probe, Receipt, Registry, Role, Scan, Target,
};
use synqx_sqlite::SqliteConnector;

/// A folder that is removed at the end, and the database in it.
pub(crate) struct House {
    dir: tempfile::TempDir,
}

impl House {
    pub(crate) fn new() -> Self {
        House {
            dir: tempfile::tempdir().expect("a folder"),
        }
    }

    pub(crate) fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("mart.db")
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A plain connection, as another program would have it.
    pub(crate) fn raw(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.path()).expect("a database")
    }

    pub(crate) fn sql(&self, statements: &str) {
        self.raw().execute_batch(statements).expect(statements);
    }

    /// The rows of a query as text, columns joined with `|`.
    pub(crate) fn rows(&self, query: &str) -> Vec<String> {
        let raw = self.raw();
        let mut statement = raw.prepare(query).expect(query);
        let columns = statement.column_count();
        let rows = statement.query_map([], |row| {
            let cell = |i: usize| -> rusqlite::Result<String> {
                use rusqlite::types::ValueRef::*;
                Ok(match row.get_ref(i)? {
                    Null => "NULL".into(),
                    Integer(n) => n.to_string(),
                    Real(x) => format!("{x:?}"),
                    Text(t) => String::from_utf8_lossy(t).into_owned(),
                    Blob(b) => format!("{} bytes", b.len()),
                })
            };
            (0..columns)
                .map(cell)
                .collect::<rusqlite::Result<Vec<_>>>()
                .map(|cells| cells.join("|"))
        });
        rows.expect(query).collect::<rusqlite::Result<_>>().expect(query)
    }

    pub(crate) fn staging_tables(&self) -> Vec<String> {
        self.rows("SELECT name FROM sqlite_schema WHERE name LIKE '\\_synqx\\_%' ESCAPE '\\' AND name <> '_synqx_commit'")
            .into_iter()
            .filter(|name| !name.starts_with("sqlite_"))
            .collect()
    }

    pub(crate) fn open(&self, role: Role) -> Arc<dyn Connection> {
        self.open_with(role, Arc::new(Quiet))
    }

    pub(crate) fn open_with(&self, role: Role, probe: Arc<dyn Probe>) -> Arc<dyn Connection> {
        let mut env = Env::standalone("mart", role, self.dir.path());
        env.probe = probe;
        let config = json!({ "path": "mart.db", "busy_timeout": "150ms" });
        let registry = Registry::default().with(SqliteConnector);
        registry
            .get("sqlite")
            .expect("known")
            .open(config.as_object().expect("a map"), env)
            .expect("opens")
    }
}

pub(crate) fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)))
        .expect("a batch")
}

pub(crate) fn target(asset: &str, mode: WriteMode, schema: SchemaRef) -> Target {
    Target {
        asset: asset.into(),
        mode,
        schema,
        key: Vec::new(),
        order_by: Vec::new(),
        partition_by: Vec::new(),
        scd2: Default::default(),
        mirror: Default::default(),
        source_key: Vec::new(),
        source_unique: Vec::new(),
        policy: SchemaPolicy::Strict,
        create: true,
        allow_loss: Vec::new(),
        replace: ReplaceOptions::default(),
        lanes: None,
        raw: None,
        options: serde_json::Map::new(),
        stream: StreamKey {
            pipeline: "p".into(),
            node: "out".into(),
            asset: asset.into(),
        },
        run: RunId::fresh(),
        spec_hash: "hash".into(),
    }
}

pub(crate) fn position(source: &str) -> Position {
    let position = synqx_model::SourcePosition {
        source: source.into(),
        cursor: None,
    };
    Position([("in".to_owned(), position)].into())
}

pub(crate) async fn begin(connection: &dyn Connection, target: &Target) -> Result<Box<dyn Load>> {
    let destination = connection.destination().expect("a destination");
    let prepared = destination.prepare(target, false).await?;
    destination.begin(target, &prepared, FenceClaim::Next).await
}

/// A whole load, as the engine does it: skipped when the run was committed before.
pub(crate) async fn load(
    connection: &dyn Connection,
    target: &Target,
    batches: &[RecordBatch],
) -> Result<Option<Receipt>> {
    let mut load = begin(connection, target).await?;
    if load.committed().is_some_and(|c| c.run == target.run) {
        return Ok(None);
    }
    let mut writer = load.writer().await?;
    for batch in batches {
        writer.write(batch.clone()).await?;
    }
    writer.finish().await?;
    load.commit(&position("s")).await.map(Some)
}

pub(crate) async fn scan(
    connection: &dyn Connection,
    dataset: Dataset,
    predicates: Vec<Predicate>,
) -> Result<RecordBatch> {
    let table = connection.describe(&dataset).await?;
    let columns = table.schema.fields().iter().map(|f| f.name().clone()).collect();
    let scan = Scan {
        dataset,
        table,
        columns,
        predicates,
        limit: None,
        partition: PartitionBy::Auto,
        parallel: 1,
    };
    read(connection, &scan).await
}

pub(crate) async fn read(connection: &dyn Connection, scan: &Scan) -> Result<RecordBatch> {
    let source = connection.source().expect("a source");
    let plan = source.plan(scan).await?;
    let reader = source.open(scan, &plan).await?;
    let mut batches = Vec::new();
    for partition in 0..plan.partitions.len() {
        let part: Vec<RecordBatch> = reader.read(partition).await?.try_collect().await?;
        batches.extend(part);
    }
    Ok(concat_batches(&plan.schema, &batches).expect("one schema"))
}

pub(crate) async fn read_table(house: &House, asset: &str) -> RecordBatch {
    let source = house.open(Role::Source);
    scan(source.as_ref(), Dataset::asset(asset), Vec::new())
        .await
        .expect(asset)
}
