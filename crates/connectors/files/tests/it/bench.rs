//! A folder for one test, a connection on it, and shortcuts through the contract: read everything, write everything.
//!
//! Nothing here asserts; it only drives the connector as the engine would.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::compute::concat_batches;
use arrow::datatypes::DataType;
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use futures::StreamExt;
use serde_json::{Map, Value};
use synqx_files::{Config, LocalFile};
use synqx_model::spec::{PartitionBy, SchemaPolicy, WriteMode};
use synqx_model::{ByteSize, Position, Result, RunId, StreamKey};
use synqx_sdk::probe::Quiet;
use synqx_sdk::{
    Budget, Connection, Connector, Dataset, Env, FenceClaim, Predicate, Probe, Receipt, Role, Scan,
    TableSchema, Target,
};
use tempfile::TempDir;

/// A folder with a connection on it.
pub(crate) struct Bench {
    pub(crate) dir: TempDir,
    pub(crate) budget: Budget,
    pub(crate) probe: Arc<dyn Probe>,
    /// The connection's defaults for CSV.
    pub(crate) csv: Value,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Bench {
            dir: tempfile::tempdir().expect("a folder"),
            budget: Budget::new(Budget::DEFAULT),
            probe: Arc::new(Quiet),
            csv: none(),
        }
    }

    pub(crate) fn with_memory(mut self, size: ByteSize) -> Self {
        self.budget = Budget::new(size);
        self
    }

    pub(crate) fn file(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
        std::fs::write(path, bytes).expect("a file");
    }

    pub(crate) fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.path().join(name)).expect("a file")
    }

    pub(crate) fn names(&self, folder: &str) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.dir.path().join(folder))
            .expect("a folder")
            .map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    pub(crate) fn connection(&self, role: Role) -> Arc<dyn Connection> {
        let mut env = Env::standalone("files", role, self.dir.path());
        env.budget = self.budget.clone();
        env.probe = self.probe.clone();
        let config: Config = serde_json::from_value(serde_json::json!({ "path": ".", "csv": self.csv }))
            .expect("a configuration");
        LocalFile.open(config, env).expect("opens")
    }

    pub(crate) async fn describe(&self, asset: &str, options: Value) -> Result<TableSchema> {
        self.connection(Role::Source)
            .describe(&dataset(asset, options))
            .await
    }

    pub(crate) async fn read(&self, asset: &str, options: Value) -> Result<RecordBatch> {
        self.scan(asset, options, None, Vec::new())
            .await
            .map(|(batch, _)| batch)
    }

    /// Reads columns under predicates; also the plan's rows.
    pub(crate) async fn scan(
        &self,
        asset: &str,
        options: Value,
        columns: Option<Vec<&str>>,
        predicates: Vec<Predicate>,
    ) -> Result<(RecordBatch, Option<u64>)> {
        let connection = self.connection(Role::Source);
        let dataset = dataset(asset, options);
        let table = connection.describe(&dataset).await?;
        let source = connection.source().expect("a source");
        let columns = match columns {
            Some(names) => names.into_iter().map(str::to_owned).collect(),
            None => table.schema.fields().iter().map(|f| f.name().clone()).collect(),
        };
        let scan = Scan {
            dataset,
            table,
            columns,
            predicates,
            limit: None,
            partition: PartitionBy::Auto,
            parallel: 2,
        };
        let plan = source.plan(&scan).await?;
        let reader = source.open(&scan, &plan).await?;
        let mut batches = Vec::new();
        for partition in 0..plan.partitions.len() {
            let mut stream = reader.read(partition).await?;
            while let Some(batch) = stream.next().await {
                batches.push(batch?);
            }
        }
        Ok((
            concat_batches(&plan.schema, &batches).expect("one schema"),
            plan.rows,
        ))
    }

    pub(crate) fn target(&self, asset: &str, mode: WriteMode, batch: &RecordBatch) -> Target {
        Target {
            asset: asset.to_owned(),
            mode,
            schema: batch.schema(),
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
            replace: Default::default(),
            lanes: None,
            raw: None,
            options: Map::new(),
            stream: StreamKey {
                pipeline: "p".into(),
                node: "n".into(),
                asset: asset.to_owned(),
            },
            run: RunId::fresh(),
            spec_hash: "h".into(),
        }
    }

    /// Writes a batch as the engine would: a run that is on record already is not written again.
    pub(crate) async fn load(&self, target: &Target, batch: &RecordBatch) -> Result<Receipt> {
        let connection = self.connection(Role::Destination);
        let destination = connection.destination().expect("a destination");
        let prepared = destination.prepare(target, false).await?;
        let mut load = destination.begin(target, &prepared, FenceClaim::Next).await?;
        if load.committed().is_some_and(|c| c.run == target.run) {
            return Ok(Receipt {
                inserted: batch.num_rows() as u64,
                ..Receipt::default()
            });
        }
        let written = async {
            let mut writer = load.writer().await?;
            writer.write(batch.clone()).await?;
            writer.finish().await
        };
        if let Err(error) = written.await {
            load.abort().await?;
            return Err(error);
        }
        load.commit(&Position::default()).await
    }

    pub(crate) async fn write(
        &self,
        asset: &str,
        mode: WriteMode,
        options: Value,
        batch: &RecordBatch,
    ) -> Result<Receipt> {
        let mut target = self.target(asset, mode, batch);
        target.options = options.as_object().cloned().unwrap_or_default();
        self.load(&target, batch).await
    }
}

pub(crate) fn dataset(asset: &str, options: Value) -> Dataset {
    Dataset {
        asset: Some(asset.to_owned()),
        query: None,
        options: options.as_object().cloned().unwrap_or_default(),
        files: None,
    }
}

pub(crate) fn none() -> Value {
    Value::Object(Map::new())
}

/// A column as text, NULL as `∅`.
pub(crate) fn shown(batch: &RecordBatch, column: &str) -> Vec<String> {
    let array = batch.column_by_name(column).expect("the column");
    let options = FormatOptions::default().with_null("∅");
    // Names of zones need a database that the tests have no use for.
    let array = &match array.data_type() {
        DataType::Timestamp(unit, Some(_)) => {
            arrow::compute::cast(array, &DataType::Timestamp(*unit, Some("+00:00".into()))).expect("casts")
        }
        _ => array.clone(),
    };
    let formatter = ArrayFormatter::try_new(array, &options).expect("prints");
    (0..array.len())
        .map(|row| formatter.value(row).to_string())
        .collect()
}

pub(crate) fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)))
        .expect("a batch")
}

/// The error of a read, which must fail.
pub(crate) async fn failure(bench: &Bench, asset: &str, options: Value) -> synqx_model::Error {
    let error = bench.read(asset, options).await.expect_err("must fail");
    assert!(error.hint().is_some(), "{error} lacks a hint");
    error
}
