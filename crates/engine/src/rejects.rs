//! The quarantine: rejected rows as Parquet files beside the pipeline, whole and with their reasons.
//!
//! One file per validate node under `<state>/quarantine/<pipeline>/<run>/`. Rows are written while the run flows
//! and made durable before any load commits, so a row is never gone from both sides. Where the document names a
//! quarantine target, the rows go there instead, through the same load protocol as any other rows.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use arrow::array::{ArrayRef, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use synqx_model::{Code, Error, Result, RunId};
use synqx_plan::{RejectSink, Rejected};
use synqx_sdk::{Effect, Moment, Probe};

/// Columns added to every rejected row.
const RULES: &str = "_synqx_rules";
const NODE: &str = "_synqx_node";
const RUN: &str = "_synqx_run";

/// The quarantine of one attempt.
#[derive(Debug)]
pub(crate) struct Quarantine {
    dir: PathBuf,
    run: RunId,
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
    /// Where it is.
    pub(crate) path: PathBuf,
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
    /// A quarantine for one attempt of a run; leftovers of an earlier attempt of the same run are replaced.
    pub(crate) fn new(state_dir: &Path, pipeline: &str, run: RunId, probe: &Arc<dyn Probe>) -> Self {
        let dir = state_dir
            .join("quarantine")
            .join(crate::intent::folder_name(pipeline))
            .join(run.to_string());
        Quarantine {
            dir,
            run,
            files: Mutex::default(),
            probe: Arc::clone(probe),
        }
    }

    /// Makes every file durable. Errors: `E1002`.
    pub(crate) fn seal(&self) -> Result<Vec<Kept>> {
        let files = match self.files.lock() {
            Ok(mut files) => std::mem::take(&mut *files),
            Err(poisoned) => std::mem::take(&mut *poisoned.into_inner()),
        };
        let mut kept = Vec::new();
        for (_, open) in files {
            self.probe.reach(Effect::Quarantine, Moment::Before)?;
            let Open { path, rows, writer } = open;
            let file = writer.into_inner().map_err(|e| failed(&path, &e))?;
            file.sync_all().map_err(|e| failed(&path, &e))?;
            crate::intent::sync_folder(&self.dir);
            self.probe.reach(Effect::Quarantine, Moment::After)?;
            tracing::debug!(rows, "quarantine file is durable");
            kept.push(Kept { path });
        }
        Ok(kept)
    }

    /// Removes what was written; for a run that published nothing and was not failed by a check.
    pub(crate) fn discard(&self) {
        if let Ok(mut files) = self.files.lock() {
            files.clear();
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }

    fn append(&self, rejected: &Rejected) -> Result<()> {
        let path = self.dir.join(format!("{}.parquet", rejected.node));
        let batch = labelled(rejected, &self.run.to_string()).map_err(|e| failed(&path, &e))?;
        let mut files = self
            .files
            .lock()
            .map_err(|_| Error::bug("the quarantine was poisoned"))?;
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

/// The rows with their rules, node and run.
fn labelled(rejected: &Rejected, run: &str) -> std::result::Result<RecordBatch, arrow::error::ArrowError> {
    let rows = rejected.rows.num_rows();
    let mut fields: Vec<Field> = rejected
        .rows
        .schema()
        .fields()
        .iter()
        .map(|f| f.as_ref().clone())
        .collect();
    let mut columns: Vec<ArrayRef> = rejected.rows.columns().to_vec();
    let constant = |text: &str| Arc::new(StringArray::from(vec![text; rows])) as ArrayRef;
    let extra: [(&str, ArrayRef); 3] = [
        (RULES, Arc::new(rejected.rules.clone())),
        (NODE, constant(&rejected.node)),
        (RUN, constant(run)),
    ];
    for (name, column) in extra {
        fields.push(Field::new(name, DataType::Utf8, false));
        columns.push(column);
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}
