//! What a run is told besides its document: where it works, with how much, and what it may do about a stored state.
//!
//! Everything has a default that suits a laptop. The command line sets these; a document never does.

use std::path::PathBuf;
use std::sync::Arc;

use synqx_model::ByteSize;
use synqx_sdk::{FenceClaim, Probe};
use tokio_util::sync::CancellationToken;

use crate::backfill::Slice;
use crate::{Events, Replay, Silent};

/// What a run needs besides the document.
#[derive(Clone)]
pub struct RunOptions {
    /// Relative paths of the document are relative to this folder.
    pub base_dir: PathBuf,
    /// Intents, quarantine and the last `run.json` live here (`.synqx` beside the document).
    pub state_dir: PathBuf,
    /// The run's byte budget.
    pub memory: ByteSize,
    /// Streams that run side by side; the machine's cores when zero.
    pub parallel: usize,
    /// Attempts after the first, for faults that may pass.
    pub retries: u32,
    /// The first wait between attempts; it doubles, with jitter.
    pub backoff: std::time::Duration,
    /// Which fence loads ask for.
    pub fence: FenceClaim,
    /// Leaves the rows of an interrupted run as they are, instead of finishing it or stopping at it.
    pub abandon: bool,
    /// Reads incremental extracts from the beginning.
    pub reset: bool,
    /// Takes a stored position for that of another source, or of an earlier full read.
    pub adopt: bool,
    /// The rejected rows this run replays, when it does.
    pub replay: Option<Replay>,
    /// Makes the run a slice of a backfill.
    pub(crate) slice: Option<Slice>,
    /// Stops the run cleanly.
    pub cancel: CancellationToken,
    /// Told of every effect; `Quiet` outside tests.
    pub probe: Arc<dyn Probe>,
    /// Told of every event.
    pub events: Arc<dyn Events>,
}

impl std::fmt::Debug for RunOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RunOptions({}, {})", self.base_dir.display(), self.memory)
    }
}

impl RunOptions {
    /// Defaults for a document in `base_dir`: 512 MiB, all cores, three retries, state in `.synqx` beside it.
    pub fn new(base_dir: impl Into<PathBuf>) -> Self {
        let base_dir = base_dir.into();
        RunOptions {
            state_dir: base_dir.join(".synqx"),
            base_dir,
            memory: synqx_sdk::Budget::DEFAULT,
            parallel: 0,
            retries: 3,
            backoff: std::time::Duration::from_millis(500),
            fence: FenceClaim::Next,
            abandon: false,
            reset: false,
            adopt: false,
            replay: None,
            slice: None,
            cancel: CancellationToken::new(),
            probe: Arc::new(synqx_sdk::probe::Quiet),
            events: Arc::new(Silent),
        }
    }

    pub(crate) fn streams(&self) -> usize {
        match self.parallel {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            n => n,
        }
    }
}
