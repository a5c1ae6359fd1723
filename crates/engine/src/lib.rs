//! Drives one run: open, plan, begin under a fence, flow, check, commit, record.
//!
//! The engine is handed a document, a registry of connectors and a resolver of secrets; it names no system itself.
//! `protocol` is the pure heart: which load may commit when, and what a lost answer means. Everything with effects
//! stands around it: `run` (attempts and retries), `prepare` (what is found out beforehand), `attempt` (the effects
//! the protocol asks for), `incremental` (where a read begins and ends), `backfill` (intervals that a person names),
//! `modes` (what a write mode asks of the document), `rollback`, `intent` (what a restart finds), `flow` (rows from
//! fragments to writers), `rejects` and `quarantine` (what was set aside, and what was replayed), `record` (the manifest
//! whose sums must close).

mod attempt;
mod backfill;
mod flow;
mod incremental;
mod intent;
mod modes;
mod new_files;
mod open;
mod prepare;
mod progress;
mod protocol;
mod quarantine;
mod record;
mod rejects;
mod report;
mod resident;
mod rollback;
mod run;

use std::path::PathBuf;
use std::sync::Arc;

use synqx_model::event::EventKind;
use synqx_model::manifest::Manifest;
use synqx_model::{ByteSize, Error, PipelineSpec, Redactor, Result, RunId};
use synqx_sdk::{Connection, FenceClaim, Probe, Registry, Resolve, Role};
use tokio_util::sync::CancellationToken;

pub use backfill::{Backfill, BackfillRequest};
pub use quarantine::{Ledger, Rejects, Replay, Replayed, newest_success, rejects};
pub use rejects::{ORIGIN, ROW};
pub use report::{LoadReport, PlanReport};
pub use rollback::RolledBack;
pub use synqx_plan::{JoinPolicy, Placement, SourceReport};

/// Told of every event of a run, in order. Must not block for long.
pub trait Events: Send + Sync {
    /// The id of the run that begins, once, before its first event.
    fn begin(&self, _run: RunId) {}

    /// One event.
    fn emit(&self, event: EventKind);
}

/// Drops every event.
#[derive(Debug, Clone, Copy)]
pub struct Silent;

impl Events for Silent {
    fn emit(&self, _: EventKind) {}
}

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
    pub(crate) slice: Option<backfill::Slice>,
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

/// How a run ended.
#[derive(Debug)]
pub struct RunOutcome {
    /// The record of the run, also written as `run.json` into the state folder.
    pub manifest: Manifest,
    /// Why it did not succeed.
    pub error: Option<Error>,
}

/// Connectors, secrets and redaction: what every run of a process shares.
#[derive(Clone)]
pub struct Engine {
    pub(crate) registry: Registry,
    pub(crate) resolver: Arc<dyn Resolve>,
    pub(crate) redactor: Redactor,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Engine({:?})", self.registry)
    }
}

impl Engine {
    /// An engine with these connectors.
    pub fn new(registry: Registry, resolver: Arc<dyn Resolve>, redactor: Redactor) -> Self {
        Engine {
            registry,
            resolver,
            redactor,
        }
    }

    /// Checks, plans and describes a document without moving a row or changing anything. Errors: everything a run
    /// could find out beforehand, all at once.
    pub async fn plan(&self, spec: &PipelineSpec, options: &RunOptions) -> Result<PlanReport> {
        report::plan(self, &spec.expanded(), options)
            .await
            .map_err(|error| self.clean(error))
    }

    /// Runs a document to its end, retrying faults that may pass. Texts of the outcome are redacted.
    pub async fn run(&self, spec: &PipelineSpec, options: &RunOptions) -> RunOutcome {
        let mut outcome = Box::pin(run::run(self, &spec.expanded(), options)).await;
        outcome.error = outcome.error.map(|error| self.clean(error));
        outcome
    }

    /// Opens one connection of a document for one-off work (check, discover, preview). Errors: `E0109`, `E0110`,
    /// `E06xx`.
    pub async fn connect(
        &self,
        spec: &PipelineSpec,
        name: &str,
        role: Role,
        options: &RunOptions,
    ) -> Result<Arc<dyn Connection>> {
        let budget = synqx_sdk::Budget::new(options.memory);
        open::connection(self, spec, name, role, options, &budget)
            .await
            .map_err(|error| self.clean(error))
    }

    /// The connectors this engine has.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Hides every secret in an error's texts.
    pub fn clean(&self, error: Error) -> Error {
        error.map_text(&|text| self.redactor.clean(text))
    }
}
