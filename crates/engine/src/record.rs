//! The record of a run: builds the manifest from counters and receipts, verifies it, writes `run.json`.
//!
//! `run.json` of the last run lies in the state folder; every run's record is kept beside it by run id. A run
//! whose sums do not close has failed, whatever else it says.

use std::path::Path;
use std::time::Instant;

use synqx_model::dag::Graph;
use synqx_model::event::EventKind;
use synqx_model::manifest::{CheckRecord, EdgeCount, Level, LoadRecord, Manifest, StepKind, StepRecord};
use synqx_model::spec::Operator;
use synqx_model::{Code, Error, PipelineSpec, Result, ResultExt, RunId};
use synqx_plan::{Meters, StepInfo, edge_name};

use crate::attempt::Attempt;
use crate::rejects::Kept;
use crate::{RunOptions, RunOutcome, resident};

/// What is known of a run from its start.
pub(crate) struct Recorder<'a> {
    spec: &'a PipelineSpec,
    options: &'a RunOptions,
    started: Instant,
    started_ms: i64,
}

impl<'a> Recorder<'a> {
    /// Starts the clock.
    pub(crate) fn start(spec: &'a PipelineSpec, options: &'a RunOptions) -> Self {
        Recorder {
            spec,
            options,
            started: Instant::now(),
            started_ms: chrono::Utc::now().timestamp_millis(),
        }
    }

    /// A manifest without steps.
    pub(crate) fn empty(&self, run: RunId) -> Manifest {
        Manifest {
            run,
            pipeline: self.spec.key().to_owned(),
            spec_hash: self.spec.hash(),
            synqx: env!("CARGO_PKG_VERSION").to_owned(),
            state: "failed".to_owned(),
            started_ms: self.started_ms,
            seconds: self.started.elapsed().as_secs_f64(),
            attempts: 1,
            memory_budget: self.options.memory.0,
            peak_budget: 0,
            peak_resident: resident::peak_bytes(),
            steps: Vec::new(),
            quarantine: Vec::new(),
            warnings: Vec::new(),
            error: None,
        }
    }

    /// The outcome of a run that could not even begin.
    pub(crate) fn refused(&self, error: Error) -> RunOutcome {
        let run = RunId::fresh();
        self.options.events.begin(run);
        self.finished(self.empty(run), Some(error), 1, &run)
    }

    /// The end of a run: final state, last event, `run.json`.
    pub(crate) fn finished(
        &self,
        mut manifest: Manifest,
        error: Option<Error>,
        attempts: u32,
        run: &RunId,
    ) -> RunOutcome {
        manifest.run = *run;
        manifest.attempts = attempts;
        manifest.seconds = self.started.elapsed().as_secs_f64();
        manifest.peak_resident = resident::peak_bytes();
        let warned = manifest
            .steps
            .iter()
            .flat_map(|s| &s.checks)
            .any(|check| check.level > Level::Ok);
        manifest.state = match &error {
            Some(error) if error.code() == Code::E0701 => "cancelled",
            Some(_) => "failed",
            None if warned || !manifest.warnings.is_empty() => "succeeded_with_warnings",
            None => "succeeded",
        }
        .to_owned();
        manifest.error = error.as_ref().map(Error::to_json);
        let rows = manifest
            .steps
            .iter()
            .filter(|s| s.kind == StepKind::Load)
            .map(|s| s.rows_out)
            .sum();
        self.options.events.emit(EventKind::RunFinished {
            state: manifest.state.clone(),
            error: manifest.error.clone(),
            rows,
            seconds: manifest.seconds,
        });
        RunOutcome::kept(manifest, error, &self.options.state_dir)
    }

    /// The manifest of an attempt.
    pub(crate) fn manifest(&self, attempt: &Attempt<'_>, run: RunId) -> Manifest {
        let plan = &attempt.prepared.plan;
        let mut manifest = self.empty(run);
        manifest.peak_budget = attempt.prepared.budget.peak();
        let Ok(graph) = Graph::build(self.spec) else {
            return manifest;
        };
        manifest.steps = plan
            .steps
            .iter()
            .map(|step| self.step(step, &graph, attempt))
            .collect();
        manifest.quarantine = attempt.kept.iter().map(Kept::place).collect();
        let receipts = attempt.receipts.iter().flatten();
        manifest.warnings = attempt.prepared.notes.clone();
        manifest.warnings.extend(receipts.flat_map(|r| r.notes.clone()));
        let all_skipped = !attempt.skipped.is_empty() && attempt.skipped.iter().all(|skipped| *skipped);
        let read = |step: &StepInfo| plan.meters.step(&step.node).is_some_and(|meter| meter.started());
        // After a lost answer loads are skipped as well, but this run has read and published their rows.
        if all_skipped && !plan.steps.iter().any(read) {
            manifest.warnings.push(format!(
                "nothing was read: {run} had published everything before it was interrupted; run again for newer rows"
            ));
        }
        manifest
    }

    fn step(&self, step: &StepInfo, graph: &Graph, attempt: &Attempt<'_>) -> StepRecord {
        let meters = &attempt.prepared.plan.meters;
        let meter = meters.step(&step.node).cloned().unwrap_or_default();
        let mut rows_in = self.edges(step, graph, meters);
        if let (Some((judged, _)), [edge]) = (meter.judged(), rows_in.as_mut_slice()) {
            edge.received = judged;
        }
        let received: u64 = rows_in.iter().map(|edge| edge.received).sum();
        let operator = self.spec.node(&step.node).map(|n| &n.operator);
        // A step that changes the number of rows may judge before or after it does.
        let judged = meter.judged().filter(|_| step.kind != StepKind::RowChanging);
        let mut rows_out = judged.map_or(meter.rows(), |(_, passed)| passed);
        if let Some(Operator::Switch(_)) = operator {
            rows_out = self.branch_rows(&step.node, graph, meters);
        }
        // A step that did not run has judged nothing, which is not the same as an empty table.
        let checks = meters
            .checks()
            .iter()
            .filter(|check| check.node == step.node && meter.started());
        let checks: Vec<CheckRecord> = checks.map(|check| check.record()).collect();
        let (quarantined, dropped) = (meter.quarantined(), meter.dropped());
        let may_filter = match operator {
            Some(Operator::Filter(_)) => true,
            Some(Operator::Switch(switch)) => switch.otherwise.is_none(),
            _ => step.absorbs && meter.judged().is_none(),
        };
        let inputs_complete = step.inputs.iter().all(|input| {
            let name = input.split('.').next().unwrap_or(input);
            meters.step(name).is_none_or(|m| m.complete() || !m.started())
        });
        StepRecord {
            node: step.node.clone(),
            operator: step.operator.to_owned(),
            kind: step.kind,
            rows_out,
            bytes: meter.bytes(),
            filtered: if may_filter && step.kind == StepKind::RowWise {
                received.saturating_sub(rows_out + quarantined + dropped)
            } else {
                0
            },
            quarantined: if step.kind == StepKind::Load {
                0
            } else {
                quarantined
            },
            dropped,
            source_filtered: meter.source_filtered() || (step.absorbs && meter.judged().is_none()),
            partial_read: !(meter.complete() && inputs_complete),
            seconds: meter.elapsed().as_secs_f64(),
            load: load_record(&step.node, attempt),
            checks,
            rows_in,
        }
    }

    fn edges(&self, step: &StepInfo, graph: &Graph, meters: &Meters) -> Vec<EdgeCount> {
        graph.inputs[&step.node]
            .iter()
            .map(|input| {
                let name = input.to_string();
                let emitted = meters.step(&input.node).map_or(0, |m| m.rows());
                let shared = meters.step(&edge_name(&name, &step.node));
                let received = match (shared, step.kind) {
                    (Some(meter), _) => meter.rows(),
                    (None, StepKind::Load) => meters.step(&step.node).map_or(0, |m| m.rows()),
                    (None, _) => emitted,
                };
                // A branch is counted where it is read; a node read twice by one consumer arrives twice.
                let emitted = match (&input.branch, shared) {
                    (Some(_), _) => received,
                    (None, Some(_)) => emitted * self.reads(&name, &step.node).unwrap_or(1),
                    (None, None) => emitted,
                };
                let looks_again = self.reads(&name, &step.node).is_none();
                let received = if looks_again { emitted } else { received };
                EdgeCount {
                    from: name,
                    emitted,
                    received,
                }
            })
            .collect()
    }

    /// How often a consumer reads a node: more than once in a self-join. `None` where it looks at its whole input
    /// again for a computed value, as often as the plan needs.
    fn reads(&self, input: &str, consumer: &str) -> Option<u64> {
        match self.spec.node(consumer).map(|node| &node.operator) {
            Some(Operator::Sql(sql)) => Some(synqx_model::dag::relation_uses(&sql.0, input).max(1) as u64),
            Some(Operator::FillNulls(fill)) if fill.strategy.is_some() => None,
            _ => Some(1),
        }
    }

    /// Rows the branches of a switch handed on, each branch once.
    fn branch_rows(&self, switch: &str, graph: &Graph, meters: &Meters) -> u64 {
        let mut seen = std::collections::BTreeMap::new();
        for (consumer, inputs) in &graph.inputs {
            for input in inputs.iter().filter(|i| i.node == switch) {
                let rows = meters
                    .step(&edge_name(&input.to_string(), consumer))
                    .map_or(0, |m| m.rows());
                seen.insert(input.to_string(), rows);
            }
        }
        seen.values().sum()
    }
}

fn load_record(node: &str, attempt: &Attempt<'_>) -> Option<LoadRecord> {
    let index = attempt.prepared.loads.iter().position(|load| load.node == node)?;
    let load = &attempt.prepared.loads[index];
    let receipt = attempt.receipts[index].clone().unwrap_or_default();
    if attempt.receipts[index].is_none() && !attempt.skipped[index] {
        return None;
    }
    Some(LoadRecord {
        inserted: receipt.inserted,
        updated: receipt.updated,
        unchanged: receipt.unchanged,
        superseded: receipt.superseded,
        deleted: receipt.deleted,
        publish_path: load.preparation.path.as_str().to_owned(),
        fence: attempt.fences[index],
        position: load.position.clone(),
        already_committed: attempt.skipped[index],
    })
}

/// Writes `run.json` and the run's own copy, atomically. Errors: `E0503`.
pub(crate) fn write_manifest(manifest: &Manifest, state_dir: &Path) -> Result<()> {
    let text =
        serde_json::to_string_pretty(manifest).coded(Code::E9901, || "a manifest does not serialise")?;
    let own = state_dir
        .join("runs")
        .join(crate::intent::folder_name(&manifest.pipeline));
    let failed = || {
        format!(
            "cannot write the record of the run into `{}`",
            state_dir.display()
        )
    };
    std::fs::create_dir_all(&own).coded(Code::E0503, failed)?;
    for path in [
        own.join(format!("{}.json", manifest.run)),
        state_dir.join("run.json"),
    ] {
        let staged = path.with_extension(format!("json.{}.tmp", manifest.run.short()));
        std::fs::write(&staged, &text)
            .and_then(|()| std::fs::rename(&staged, &path))
            .coded(Code::E0503, failed)?;
    }
    Ok(())
}
