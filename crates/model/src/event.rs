//! What a run says while it works: one event per line (NDJSON) for machines, the same facts for the live table.
//!
//! Events are facts in the order they happened; they carry counts, never rows. `seq` rises by one per event.

use serde::{Deserialize, Serialize};

use crate::ids::RunId;

/// The state of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// Not started.
    Waiting,
    /// Reading, computing or writing.
    Running,
    /// A load that has written its rows and waits for all others before it commits.
    Written,
    /// Publishing rows, position and fence.
    Committing,
    /// Done.
    Succeeded,
    /// A load that an earlier attempt of this run has already committed.
    Skipped,
    /// Stopped by an error.
    Failed,
    /// Stopped by the user.
    Cancelled,
}

/// One event of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Rises by one.
    pub seq: u64,
    /// Milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// The run.
    pub run: RunId,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum EventKind {
    /// The run began.
    RunStarted {
        pipeline: String,
        attempt: u32,
        resumed: bool,
        steps: Vec<String>,
    },
    /// A step changed state.
    StepState { step: String, state: StepState },
    /// Counters of a step, at most a few times per second.
    Progress {
        step: String,
        rows: u64,
        bytes: u64,
        rows_per_s: u64,
        expected_rows: Option<u64>,
    },
    /// A check was judged.
    Check {
        step: String,
        check: String,
        rule: String,
        failed_rows: u64,
        action: String,
        level: crate::manifest::Level,
    },
    /// Something worth a person's attention that did not stop the run.
    Warning { step: Option<String>, message: String },
    /// An attempt failed and will be repeated.
    Retry {
        attempt: u32,
        wait_ms: u64,
        error: serde_json::Value,
    },
    /// The run ended.
    RunFinished {
        state: String,
        error: Option<serde_json::Value>,
        rows: u64,
        seconds: f64,
    },
}
