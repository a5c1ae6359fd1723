//! The quarantine: rejected rows as Parquet files beside the pipeline, whole and with their reasons.
//!
//! One file per validate node under `<state>/quarantine/<pipeline>/<run>/`. Rows are written while the run flows
//! and made durable before any load commits, so a row is never gone from both sides. Where the document names a
//! quarantine target, a load of its own takes the rows from these files and commits before all others; the files
//! stay when that load did not publish, as the evidence of a failed check.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use arrow::array::{ArrayRef, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use synqx_model::dag::Graph;
use synqx_model::spec::Operator;
use synqx_model::{Code, Error, PipelineSpec, Result, RunId};
use synqx_plan::{RejectSink, Rejected};
use synqx_sdk::{Effect, Load, Moment, Probe, Target};

use crate::RunOptions;

/// Columns added to every rejected row: the rules it failed and why, where it was rejected, by which run of which
/// document, where its node reads from, its number in the file, when, and the row it was before a replay.
pub(crate) const RULES: &str = "_synqx_rules";
const REASONS: &str = "_synqx_reasons";
const NODE: &str = "_synqx_node";
const RUN: &str = "_synqx_run";
const SPEC: &str = "_synqx_spec";
const SOURCE: &str = "_synqx_source";
/// The number of a row in its quarantine file, from zero.
pub const ROW: &str = "_synqx_row";
const AT: &str = "_synqx_at";
/// `run/node/row` of the rejected row that a replay read; NULL for rows of a source.
pub const ORIGIN: &str = "_synqx_origin";

/// The quarantine of one attempt.
#[derive(Debug)]
pub(crate) struct Quarantine {
    dir: PathBuf,
    run: RunId,
    spec_hash: String,
    /// Node → the assets its rows come from.
    sources: BTreeMap<String, String>,
    /// `run/node` of the rejected rows that this run replays.
    origin: Option<String>,
    files: Mutex<BTreeMap<String, Open>>,
    probe: Arc<dyn Probe>,
}

struct Open {
    path: PathBuf,
    rows: u64,
    writer: ArrowWriter<File>,
}

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Open({}, {} rows)", self.path.display(), self.rows)
    }
}

/// A finished quarantine file.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    /// The validate node.
    pub(crate) node: String,
    /// Where it is.
    pub(crate) path: PathBuf,
    /// The quarantine target that has its rows by now.
    pub(crate) loaded: Option<String>,
}

/// What a file is called until it is whole.
const PART: &str = "parquet.part";

/// Where rejected rows of a pipeline are.
pub(crate) fn home(state_dir: &Path, pipeline: &str) -> PathBuf {
    state_dir
        .join("quarantine")
        .join(crate::intent::folder_name(pipeline))
}

fn folder(state_dir: &Path, pipeline: &str, run: RunId) -> PathBuf {
    home(state_dir, pipeline).join(run.to_string())
}

/// The assets that rows of each node come from, as people call them.
fn sources(spec: &PipelineSpec) -> BTreeMap<String, String> {
    let Ok(graph) = Graph::build(spec) else {
        return BTreeMap::new();
    };
    let label = |node: &String| match &spec.node(node)?.operator {
        Operator::Extract(extract) => {
            let asset = extract.asset.as_deref().unwrap_or("query");
            Some(format!("{}.{asset}", extract.from.as_deref().unwrap_or_default()))
        }
        _ => None,
    };
    let of = |node: &String| {
        crate::prepare::upstream(&graph, node)
            .iter()
            .filter_map(label)
            .collect::<Vec<_>>()
    };
    let nodes = graph.order.iter();
    nodes.map(|node| (node.clone(), of(node).join("; "))).collect()
}

/// Removes what a run that died before it published had set aside.
pub(crate) fn sweep(state_dir: &Path, pipeline: &str, run: RunId) {
    let _ = std::fs::remove_dir_all(folder(state_dir, pipeline, run));
}

fn failed(path: &Path, cause: &dyn std::error::Error) -> Error {
    Error::new(
        Code::E1002,
        format!("cannot write the quarantine file `{}`", path.display()),
    )
    .with_cause(cause)
    .with_hint("free disk space or make the folder writable; nothing was published")
}

impl Quarantine {
    /// A quarantine for one attempt of a run. Whole files of an earlier attempt of the same run stay until this one
    /// has whole files of the same nodes.
    pub(crate) fn new(spec: &PipelineSpec, options: &RunOptions, run: RunId) -> Self {
        let replay = options.replay.as_ref();
        let pipeline = replay.map_or(spec.key(), |replay| replay.pipeline.as_str());
        Quarantine {
            dir: folder(&options.state_dir, pipeline, run),
            run,
            spec_hash: spec.hash(),
            sources: sources(spec),
            origin: replay.map(|replay| replay.origin.clone()),
            files: Mutex::default(),
            probe: Arc::clone(&options.probe),
        }
    }

    /// Makes every file durable and returns all of the run. A file of an earlier attempt stays when its step did not
    /// run again (its loads had committed); of a step that did, it is out of date. Errors: `E1002`.
    pub(crate) fn seal(&self, ran_again: &dyn Fn(&str) -> bool) -> Result<Vec<Kept>> {
        let files = match self.files.lock() {
            Ok(mut files) => std::mem::take(&mut *files),
            Err(poisoned) => std::mem::take(&mut *poisoned.into_inner()),
        };
        for kept in self.whole() {
            if ran_again(&kept.node) && !files.contains_key(&kept.node) {
                std::fs::remove_file(&kept.path).map_err(|e| failed(&kept.path, &e))?;
            }
        }
        for (_, open) in files {
            self.probe.reach(Effect::Quarantine, Moment::Before)?;
            let Open { path, rows, writer } = open;
            let whole = path.with_extension("");
            let file = writer.into_inner().map_err(|e| failed(&path, &e))?;
            file.sync_all()
                .and_then(|()| std::fs::rename(&path, &whole))
                .map_err(|e| failed(&path, &e))?;
            crate::intent::sync_folder(&self.dir);
            self.probe.reach(Effect::Quarantine, Moment::After)?;
            tracing::debug!(rows, "quarantine file is durable");
        }
        Ok(self.whole())
    }

    fn whole(&self) -> Vec<Kept> {
        let Ok(entries) = std::fs::read_dir(&self.dir) else {
            return Vec::new();
        };
        let paths = entries.filter_map(|entry| entry.ok().map(|e| e.path()));
        let whole = paths.filter(|path| path.extension().is_some_and(|e| e == "parquet"));
        let mut kept: Vec<Kept> = whole
            .filter_map(|path| {
                let node = path.file_stem()?.to_str()?.to_owned();
                Some(Kept {
                    node,
                    path,
                    loaded: None,
                })
            })
            .collect();
        kept.sort_by(|a, b| a.node.cmp(&b.node));
        kept
    }

    /// Removes what was written; for a run that published nothing and was not failed by a check.
    pub(crate) fn discard(&self) {
        if let Ok(mut files) = self.files.lock() {
            files.clear();
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }

    fn append(&self, rejected: &Rejected) -> Result<()> {
        let path = self.dir.join(format!("{}.{PART}", rejected.node));
        let mut files = self
            .files
            .lock()
            .map_err(|_| Error::bug("the quarantine was poisoned"))?;
        let first = files.get(&rejected.node).map_or(0, |open| open.rows);
        let batch = self.labelled(rejected, first).map_err(|e| failed(&path, &e))?;
        if !files.contains_key(&rejected.node) {
            std::fs::create_dir_all(&self.dir).map_err(|e| failed(&path, &e))?;
            let file = File::create(&path).map_err(|e| failed(&path, &e))?;
            let properties = WriterProperties::builder()
                .set_compression(Compression::ZSTD(ZstdLevel::default()))
                .set_max_row_group_row_count(Some(65_536))
                .build();
            let writer = ArrowWriter::try_new(file, batch.schema(), Some(properties))
                .map_err(|e| failed(&path, &e))?;
            files.insert(
                rejected.node.clone(),
                Open {
                    path: path.clone(),
                    rows: 0,
                    writer,
                },
            );
        }
        if let Some(open) = files.get_mut(&rejected.node) {
            open.rows += batch.num_rows() as u64;
            open.writer.write(&batch).map_err(|e| failed(&path, &e))?;
            if open.writer.in_progress_size() > 4 << 20 {
                open.writer.flush().map_err(|e| failed(&path, &e))?;
            }
        }
        Ok(())
    }
}

#[async_trait]
impl RejectSink for Quarantine {
    async fn reject(&self, rejected: Rejected) -> Result<()> {
        tokio::task::block_in_place(|| self.append(&rejected))
    }
}

/// The columns of rejected rows with what is added to them. A row that a replay read brings its origin along.
pub(crate) fn labelled_schema(rows: &Schema) -> SchemaRef {
    let own = |field: &&Arc<Field>| field.name() != ORIGIN;
    let mut fields: Vec<_> = rows.fields().iter().filter(own).cloned().collect();
    for name in [RULES, NODE, RUN] {
        fields.push(Arc::new(Field::new(name, DataType::Utf8, false)));
    }
    // Nullable, so that a quarantine target that was made without them can get them.
    for name in [REASONS, SPEC, SOURCE] {
        fields.push(Arc::new(Field::new(name, DataType::Utf8, true)));
    }
    fields.push(Arc::new(Field::new(ROW, DataType::Int64, true)));
    let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    fields.push(Arc::new(Field::new(AT, utc, true)));
    fields.push(Arc::new(Field::new(ORIGIN, DataType::Utf8, true)));
    Arc::new(Schema::new(fields))
}

impl Quarantine {
    /// The rows with what is known of their rejection; `first` is the number of the first of them.
    fn labelled(
        &self,
        rejected: &Rejected,
        first: u64,
    ) -> std::result::Result<RecordBatch, arrow::error::ArrowError> {
        let rows = rejected.rows.num_rows();
        let schema = rejected.rows.schema();
        let own = schema.fields().iter().zip(rejected.rows.columns());
        let own = own.filter(|(field, _)| field.name() != ORIGIN);
        let mut columns: Vec<ArrayRef> = own.map(|(_, column)| Arc::clone(column)).collect();
        let constant = |text: &str| Arc::new(StringArray::from(vec![text; rows])) as ArrayRef;
        columns.push(Arc::new(rejected.rules.clone()));
        columns.push(constant(&rejected.node));
        columns.push(constant(&self.run.to_string()));
        columns.push(Arc::new(rejected.reasons.clone()));
        columns.push(constant(&self.spec_hash));
        columns.push(constant(
            self.sources.get(&rejected.node).map_or("", String::as_str),
        ));
        let first = i64::try_from(first).unwrap_or(i64::MAX);
        columns.push(Arc::new(Int64Array::from_iter_values((first..).take(rows))));
        let now = chrono::Utc::now().timestamp_micros();
        columns.push(Arc::new(
            TimestampMicrosecondArray::from(vec![now; rows]).with_timezone("UTC"),
        ));
        columns.push(match rejected.rows.column_by_name(ORIGIN) {
            Some(origin) => cast(origin, &DataType::Utf8)?,
            None => Arc::new(StringArray::from(vec![self.origin.as_deref(); rows])),
        });
        RecordBatch::try_new(labelled_schema(&schema), columns)
    }
}

impl Kept {
    /// Where the rows are, for people.
    pub(crate) fn place(&self) -> String {
        self.loaded
            .clone()
            .unwrap_or_else(|| self.path.display().to_string())
    }

    /// Removes the file of rows that the quarantine target has.
    pub(crate) fn forget_loaded(&self) {
        if self.loaded.is_some() {
            let _ = std::fs::remove_file(&self.path);
        }
    }

    /// Hands the rows to the load of the quarantine target and returns how many. Errors: `E1002`, and those of the
    /// destination.
    pub(crate) async fn load(&self, target: &Target, load: &mut dyn Load, batch_bytes: usize) -> Result<u64> {
        let unreadable = |cause: &dyn std::error::Error| {
            Error::new(
                Code::E1002,
                format!("cannot read the quarantine file `{}`", self.path.display()),
            )
            .with_cause(cause)
            .with_hint("check the disk; nothing was published")
        };
        let file = File::open(&self.path).map_err(|e| unreadable(&e))?;
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| unreadable(&e))?;
        let groups = builder.metadata().row_groups();
        let widest = groups
            .iter()
            .map(|group| group.total_byte_size() / group.num_rows().max(1))
            .max();
        let width = usize::try_from(widest.unwrap_or(0)).unwrap_or(0).max(1);
        let reader = builder
            .with_batch_size((batch_bytes / width).clamp(1, 1_024))
            .build()
            .map_err(|e| unreadable(&e))?;
        let mut writer = load.writer().await?;
        for batch in reader {
            let batch = batch.map_err(|e| unreadable(&e))?;
            let batch = RecordBatch::try_new(Arc::clone(&target.schema), batch.columns().to_vec())
                .map_err(|e| unreadable(&e))?;
            writer.write(batch).await?;
        }
        writer.finish().await.map(|written| written.rows)
    }
}
