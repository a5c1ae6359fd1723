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
mod options;
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

use std::sync::Arc;

use synqx_model::event::EventKind;
use synqx_model::manifest::Manifest;
use synqx_model::{Error, PipelineSpec, Redactor, Result, RunId};
use synqx_sdk::{Connection, Registry, Resolve, Role};

pub use backfill::{Backfill, BackfillRequest};
pub use options::RunOptions;
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
