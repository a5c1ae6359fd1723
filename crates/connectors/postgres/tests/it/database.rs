//! A throw-away database per test, and short words for moving rows through the connector.
//!
//! It is not a fixture of data: each test makes the tables it talks about, so that it can be read alone.

use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use futures::TryStreamExt;
use serde_json::json;
use synqx_model::spec::{PartitionBy, ReplaceOptions, SchemaPolicy, WriteMode};
use synqx_model::{Position, Result, RunId, StreamKey};
use synqx_postgres::Postgres;
use synqx_sdk::registry::AnyConnector;
use synqx_sdk::{Connection, Dataset, Env, FenceClaim, Load, Predicate, Receipt, Role, Scan, Target};
use tokio_postgres::NoTls;

/// Both servers.
pub(crate) const SERVERS: [&str; 2] = ["postgres15", "postgres18"];

fn server(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .find(|p| p.join(".services/env.json").exists());
    let root = root.expect("the servers are up: run `cargo x up`");
    let text = std::fs::read_to_string(root.join(".services/env.json")).expect("env.json reads");
    let env: serde_json::Value = serde_json::from_str(&text).expect("env.json is JSON");
    env[name]
        .as_str()
        .unwrap_or_else(|| panic!("env.json names no {name}"))
        .to_owned()
}

/// A database that exists as long as this does.
pub(crate) struct Database {
    pub(crate) url: String,
    name: String,
    server: String,
    pub(crate) client: tokio_postgres::Client,
}

pub(crate) async fn connect(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("connects");
    tokio::spawn(connection);
    client
}

impl Database {
    pub(crate) async fn new(server_name: &str) -> Database {
        let server = server(server_name);
        let name = format!("t_{}_{}", std::process::id(), RunId::fresh().short());
        connect(&server)
            .await
            .batch_execute(&format!("CREATE DATABASE {name}"))
            .await
            .expect("creates");
        let url = format!("{}/{name}", server.rsplit_once('/').expect("a url").0);
        let client = connect(&url).await;
        Database {
            url,
            name,
            server,
            client,
        }
    }

    pub(crate) async fn run(&self, sql: &str) {
        self.client
            .batch_execute(sql)
            .await
            .unwrap_or_else(|e| panic!("{sql}: {e:?}"));
    }

    pub(crate) async fn text(&self, sql: &str) -> String {
        let row = self
            .client
            .query_one(sql, &[])
            .await
            .unwrap_or_else(|e| panic!("{sql}: {e:?}"));
        row.get::<_, Option<String>>(0).unwrap_or_else(|| "NULL".into())
    }

    pub(crate) async fn count(&self, from: &str) -> i64 {
        self.client
            .query_one(&format!("SELECT count(*) FROM {from}"), &[])
            .await
            .unwrap_or_else(|e| panic!("{from}: {e:?}"))
            .get(0)
    }

    pub(crate) fn open(&self, role: Role) -> Arc<dyn Connection> {
        self.open_with(json!({"url": self.url}), Env::standalone("db", role, "/"))
    }

    pub(crate) fn open_with(&self, config: serde_json::Value, env: Env) -> Arc<dyn Connection> {
        AnyConnector::open(&Postgres, config.as_object().expect("a map"), env).expect("opens")
    }

    pub(crate) async fn close(self) {
        drop(self.client);
        connect(&self.server)
            .await
            .batch_execute(&format!("DROP DATABASE {} WITH (FORCE)", self.name))
            .await
            .expect("drops");
    }
}

/// A scan of everything.
pub(crate) async fn scan(connection: &dyn Connection, dataset: Dataset) -> Result<Scan> {
    let table = connection.describe(&dataset).await?;
    let columns = table.schema.fields().iter().map(|f| f.name().clone()).collect();
    Ok(Scan {
        dataset,
        table,
        columns,
        predicates: Vec::new(),
        limit: None,
        partition: PartitionBy::Auto,
        parallel: 4,
    })
}

pub(crate) async fn read(connection: &dyn Connection, scan: &Scan) -> Result<Vec<RecordBatch>> {
    let source = connection.source().expect("a source");
    let plan = source.plan(scan).await?;
    let reader = source.open(scan, &plan).await?;
    let mut batches = Vec::new();
    for i in 0..plan.partitions.len() {
        batches.extend(reader.read(i).await?.try_collect::<Vec<_>>().await?);
    }
    Ok(batches)
}

pub(crate) async fn read_all(
    connection: &dyn Connection,
    asset: &str,
) -> Result<(SchemaRef, Vec<RecordBatch>)> {
    let scan = scan(connection, Dataset::asset(asset)).await?;
    Ok((Arc::clone(&scan.table.schema), read(connection, &scan).await?))
}

pub(crate) async fn read_where(
    connection: &dyn Connection,
    asset: &str,
    predicates: Vec<Predicate>,
) -> Result<Vec<RecordBatch>> {
    let mut scan = scan(connection, Dataset::asset(asset)).await?;
    scan.predicates = predicates;
    read(connection, &scan).await
}

pub(crate) fn rows(batches: &[RecordBatch]) -> usize {
    batches.iter().map(RecordBatch::num_rows).sum()
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
            node: "n".into(),
            asset: asset.into(),
        },
        run: RunId::fresh(),
        spec_hash: "hash".into(),
    }
}

pub(crate) async fn begin(connection: &dyn Connection, target: &Target) -> Result<Box<dyn Load>> {
    let destination = connection.destination().expect("a destination");
    let prepared = destination.prepare(target, false).await?;
    destination.begin(target, &prepared, FenceClaim::Next).await
}

/// Writes batches round-robin into every lane and commits.
pub(crate) async fn write(
    connection: &dyn Connection,
    target: &Target,
    batches: &[RecordBatch],
) -> Result<Receipt> {
    let destination = connection.destination().expect("a destination");
    let prepared = destination.prepare(target, false).await?;
    let mut load = destination.begin(target, &prepared, FenceClaim::Next).await?;
    let mut lanes = Vec::new();
    for _ in 0..prepared.lanes {
        lanes.push(load.writer().await?);
    }
    for (i, batch) in batches.iter().enumerate() {
        let lane = i % lanes.len();
        lanes[lane].write(batch.clone()).await?;
    }
    for lane in lanes {
        lane.finish().await?;
    }
    load.commit(&Position::default()).await
}
