//! One writer of a load: batches in, finished hidden files out.
//!
//! A folder's lane begins another part when one is large enough and makes none for zero rows; a single file is made
//! even then. The blocking work of each batch runs on a thread of its own; the lane travels there and back.

use std::fs::OpenOptions;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{ArrayRef, new_null_array};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use async_trait::async_trait;
use synqx_model::{Error, Result};
use synqx_sdk::probe::{Effect, Moment, Protection};
use synqx_sdk::{Writer, Written};

use crate::encode::{Encode, encoder};
use crate::load::{Place, Staged, Staging};
use crate::place::{cannot_write, keep_mode};
use crate::read::blocking;

struct Current {
    encoder: Box<dyn Encode>,
    hidden: PathBuf,
    name: String,
    rows: u64,
}

/// A lane; its methods block.
pub(crate) struct Lane {
    staging: Arc<Staging>,
    lane: usize,
    parts: usize,
    current: Option<Current>,
    written: Written,
}

impl Lane {
    /// Opens a lane; a single file is made at once.
    pub(crate) fn new(staging: Arc<Staging>, lane: usize) -> Result<Self> {
        let mut lane = Lane {
            staging,
            lane,
            parts: 0,
            current: None,
            written: Written::default(),
        };
        if matches!(lane.staging.place, Place::File { .. }) {
            lane.begin()?;
        }
        Ok(lane)
    }

    fn begin(&mut self) -> Result<&mut Current> {
        let staging = &self.staging;
        let (hidden, name) = match &staging.place {
            Place::File { path, .. } if staging.probe.protects(Protection::Rename) => {
                (Place::staging(path, &staging.run), String::new())
            }
            Place::File { path, .. } => (path.clone(), String::new()),
            Place::Folder { path, .. } => {
                let name = format!(
                    "part-{}-{:03}-{:05}.{}",
                    staging.run,
                    self.lane,
                    self.parts,
                    staging.options.extension()
                );
                (path.join(format!(".{name}.tmp")), name)
            }
        };
        self.parts += 1;
        staging.probe.reach(Effect::Stage, Moment::Before)?;
        staging.announce(&hidden)?;
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&hidden)
            .map_err(|cause| cannot_write(&hidden, &cause))?;
        if let Place::File { path, .. } = &staging.place {
            keep_mode(&file, path)?;
        }
        staging.probe.reach(Effect::Stage, Moment::After)?;
        let share = (&staging.budget, staging.lanes);
        let encoder = encoder(&hidden, file, staging.schema.clone(), &staging.options, share)?;
        Ok(self.current.insert(Current {
            encoder,
            hidden,
            name,
            rows: 0,
        }))
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        self.staging.probe.reach(Effect::Write, Moment::Before)?;
        let batch = self.fitted(batch)?;
        let current = match &mut self.current {
            Some(current) => current,
            None => self.begin()?,
        };
        current.encoder.write(&batch)?;
        current.rows += batch.num_rows() as u64;
        let full = current.encoder.bytes() >= self.staging.options.part_bytes;
        self.staging.probe.reach(Effect::Write, Moment::After)?;
        if full && matches!(self.staging.place, Place::Folder { .. }) {
            self.seal()?;
        }
        Ok(())
    }

    /// The batch with the columns the files have.
    fn fitted(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(self.staging.sources.len());
        for (source, field) in self.staging.sources.iter().zip(self.staging.schema.fields()) {
            arrays.push(match source.and_then(|index| batch.columns().get(index)) {
                Some(array) => array.clone(),
                None => new_null_array(field.data_type(), batch.num_rows()),
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(self.staging.schema.clone(), arrays, &options).map_err(|cause| {
            Error::bug("a batch does not have the schema the load was prepared for").with_cause(&cause)
        })
    }

    /// Ends the current file and makes it durable.
    fn seal(&mut self) -> Result<()> {
        let Some(current) = self.current.take() else {
            return Ok(());
        };
        let Current {
            encoder,
            hidden,
            name,
            rows,
        } = current;
        self.staging.probe.reach(Effect::Seal, Moment::Before)?;
        let file = encoder.finish()?;
        let sealed = file
            .sync_all()
            .and_then(|()| file.metadata())
            .map_err(|cause| cannot_write(&hidden, &cause))?;
        self.staging.probe.reach(Effect::Seal, Moment::After)?;
        self.written.rows += rows;
        self.written.bytes += sealed.len();
        self.staging.take(Staged {
            hidden,
            name,
            rows,
            bytes: sealed.len(),
        });
        Ok(())
    }

    /// Ends the lane.
    pub(crate) fn finish(mut self) -> Result<Written> {
        self.seal()?;
        Ok(self.written)
    }

    /// The lane for asynchronous callers.
    pub(crate) fn into_writer(self) -> LaneWriter {
        LaneWriter { lane: Some(self) }
    }
}

/// A lane whose work is done on blocking threads.
pub(crate) struct LaneWriter {
    lane: Option<Lane>,
}

impl LaneWriter {
    fn take(&mut self) -> Result<Lane> {
        self.lane
            .take()
            .ok_or_else(|| Error::bug("a lane was used after it had failed"))
    }
}

#[async_trait]
impl Writer for LaneWriter {
    async fn write(&mut self, batch: RecordBatch) -> Result<()> {
        let mut lane = self.take()?;
        let lane = blocking(move || {
            lane.write(&batch)?;
            Ok(lane)
        })
        .await?;
        self.lane = Some(lane);
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<Written> {
        let lane = self.take()?;
        blocking(move || lane.finish()).await
    }
}
