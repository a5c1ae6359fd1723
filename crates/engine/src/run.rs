//! A run: attempts until one succeeds or nothing more can be expected of trying.
//!
//! An attempt compiles the document anew, so nothing of a failed one leaks into the next. Faults that may pass are
//! retried with growing waits under the same run id; a join that did not fit in memory is repeated once with joins
//! that spill. What is left behind by a run that died is found through its intent.

use std::path::Path;
use std::time::Duration;

use synqx_model::dag::Graph;
use synqx_model::event::EventKind;
use synqx_model::manifest::Manifest;
use synqx_model::spec::RetryStrategy;
use synqx_model::{Code, Error, PipelineSpec, Result, Retry, RunId};
use synqx_plan::JoinPolicy;

use crate::attempt::Attempt;
use crate::flow::cancelled;
use crate::intent::Intent;
use crate::prepare::Prepared;
use crate::protocol::Ending;
use crate::record::{Recorder, write_manifest};
use crate::rejects::{Kept, Quarantine};
use crate::{Engine, RunOptions, RunOutcome};

/// A folder for spill files that goes with its guard. Errors: `E0806`.
pub(crate) fn spill_dir() -> Result<tempfile::TempDir> {
    tempfile::Builder::new()
        .prefix("synqx-")
        .tempdir()
        .map_err(|cause| {
            Error::new(Code::E0806, "cannot make a folder for spill files")
                .with_cause(&cause)
                .with_hint("make the temporary folder writable, or set TMPDIR to another")
        })
}

/// How one attempt ended.
enum Attempted {
    Succeeded(Box<Manifest>),
    Failed(Failure),
}

struct Failure {
    error: Error,
    left: Left,
    manifest: Option<Box<Manifest>>,
    /// It held joins in memory; other joins would spill.
    held_joins: bool,
}

/// What a failed attempt leaves for a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    /// Every destination was asked and none holds rows of this run.
    Nothing,
    /// The attempt ended before it had asked.
    Unknown,
    /// Rows are published, or may be.
    Something,
}

/// Runs a document to its end.
pub(crate) async fn run(engine: &Engine, spec: &PipelineSpec, options: &RunOptions) -> RunOutcome {
    let recorder = Recorder::start(spec, options);
    let intent = match Graph::build(spec).and_then(|_| Intent::take(options, spec.key(), &spec.hash())) {
        Ok(intent) => intent,
        Err(error) => return recorder.refused(error),
    };
    options.events.begin(intent.run);
    let mut joins = JoinPolicy::Hash;
    let (mut attempt, mut retried) = (1, 0);
    // What an attempt could not find out stays open until a later one has asked every destination.
    let mut open_question = intent.resumed;
    loop {
        options.events.emit(EventKind::RunStarted {
            pipeline: spec.key().to_owned(),
            attempt,
            resumed: intent.resumed,
            steps: spec.nodes.iter().map(|n| n.id.clone()).collect(),
        });
        let failure = match Box::pin(one_attempt(engine, spec, options, &intent, joins, &recorder)).await {
            Attempted::Succeeded(manifest) => {
                return recorder.finished(*manifest, None, attempt, &intent.run);
            }
            Attempted::Failed(failure) => failure,
        };
        open_question = match failure.left {
            Left::Nothing => false,
            Left::Unknown => open_question,
            Left::Something => true,
        };
        let spill_instead = failure.error.code() == Code::E0804 && failure.held_joins;
        let wait = if spill_instead {
            Some(Duration::ZERO)
        } else {
            next_wait(spec, options, &failure.error, retried)
        };
        let Some(wait) = wait.filter(|_| !options.cancel.is_cancelled()) else {
            if !open_question && let Err(stuck) = intent.close() {
                tracing::warn!("{stuck}");
            }
            let manifest = failure
                .manifest
                .map_or_else(|| recorder.empty(intent.run), |manifest| *manifest);
            return recorder.finished(manifest, Some(engine.clean(failure.error)), attempt, &intent.run);
        };
        if spill_instead {
            joins = JoinPolicy::SortMerge;
        } else {
            retried += 1;
        }
        options.events.emit(EventKind::Retry {
            attempt,
            wait_ms: wait.as_millis() as u64,
            error: engine.clean(failure.error).to_json(),
        });
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = options.cancel.cancelled() => {}
        }
        attempt += 1;
    }
}

/// How long to wait before the next attempt after so many retries; `None` when there is none.
fn next_wait(spec: &PipelineSpec, options: &RunOptions, error: &Error, retried: u32) -> Option<Duration> {
    if error.retry() != Retry::Backoff {
        return None;
    }
    let policy = error
        .node()
        .and_then(|node| spec.node(node))
        .and_then(|node| node.retry.clone());
    let (max, first, strategy) = match &policy {
        Some(policy) => (policy.max, policy.delay.0, policy.strategy),
        None => (options.retries, options.backoff, RetryStrategy::Exponential),
    };
    if retried >= max {
        return None;
    }
    Some(match strategy {
        RetryStrategy::Fixed => first,
        RetryStrategy::Linear => first * (retried + 1),
        RetryStrategy::Exponential => {
            let doubled = first * 2u32.saturating_pow(retried).min(64);
            let jitter = u32::from_str_radix(&RunId::fresh().short()[..4], 16).unwrap_or(0);
            doubled + doubled.mul_f64(f64::from(jitter) / 65_536.0 / 2.0)
        }
    })
}

async fn one_attempt(
    engine: &Engine,
    spec: &PipelineSpec,
    options: &RunOptions,
    intent: &Intent,
    joins: JoinPolicy,
    recorder: &Recorder<'_>,
) -> Attempted {
    let early = |error: Error| {
        Attempted::Failed(Failure {
            error,
            left: Left::Unknown,
            manifest: None,
            held_joins: false,
        })
    };
    let spill = match spill_dir() {
        Ok(spill) => spill,
        Err(error) => return early(error),
    };
    let preparing = Prepared::new(engine, spec, Some(intent), options, spill.path(), joins);
    let prepared = tokio::select! {
        biased;
        () = options.cancel.cancelled() => Err(cancelled()),
        prepared = Box::pin(preparing) => prepared,
    };
    let prepared = match prepared {
        Ok(prepared) => prepared,
        Err(error) => return early(error),
    };
    for note in &prepared.notes {
        options.events.emit(EventKind::Warning {
            step: None,
            message: note.clone(),
        });
    }
    let quarantine = Quarantine::new(spec, options, intent.run);
    let mut attempt = Attempt::new(options, intent, quarantine, &prepared, recorder);
    let ending = attempt.follow().await;
    let manifest = Box::new(recorder.manifest(&attempt, intent.run));
    match ending {
        Ending::Succeeded => match manifest.verify() {
            Ok(()) => {
                attempt.kept.iter().for_each(Kept::forget_loaded);
                Attempted::Succeeded(manifest)
            }
            // The intent is closed: the rows are published, and what the destination counted does not add up.
            Err(error) => Attempted::Failed(Failure {
                error,
                left: Left::Nothing,
                manifest: Some(manifest),
                held_joins: false,
            }),
        },
        Ending::Failed { error, published } => {
            let left = attempt.left(published);
            // Rejected rows of a published load must not be lost with the files of this attempt.
            if error.code() != Code::E1001 && left == Left::Nothing {
                attempt.quarantine.discard();
            }
            Attempted::Failed(Failure {
                error,
                left,
                manifest: Some(manifest),
                held_joins: prepared.plan.holds_joins(),
            })
        }
    }
}

impl Attempt<'_> {
    fn left(&self, published: usize) -> Left {
        if published > 0 || !self.undecided.is_empty() {
            Left::Something
        } else if self.asked.iter().all(|asked| *asked) {
            Left::Nothing
        } else {
            Left::Unknown
        }
    }
}

impl RunOutcome {
    pub(crate) fn kept(manifest: Manifest, error: Option<Error>, state_dir: &Path) -> Self {
        if let Err(stuck) = write_manifest(&manifest, state_dir) {
            tracing::warn!("{stuck}");
        }
        RunOutcome { manifest, error }
    }
}
