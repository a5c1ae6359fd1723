//! The effects of one attempt: what the protocol asks for, done to real destinations.
//!
//! The protocol decides, this obeys and reports back. Progress is told while rows flow; the sums of the manifest are
//! verified before the first commit, and before it the intent notes that publishing begins.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use synqx_model::event::{EventKind, StepState};
use synqx_model::manifest::{CheckRecord, Level};
use synqx_model::{Code, Error, Result, Retry, StreamKey};
use synqx_plan::{CheckMeter, RunContext};
use synqx_sdk::{Load, Protection, Receipt};

use crate::RunOptions;
use crate::flow::{Flow, OpenLoad, cancelled};
use crate::intent::Intent;
use crate::prepare::Prepared;
use crate::progress::{Ticker, report as report_progress};
use crate::protocol::{Command, Ending, Observed, Protocol};
use crate::record::Recorder;
use crate::rejects::{Kept, Quarantine};

/// The effects of one attempt, as the protocol asks for them.
pub(crate) struct Attempt<'a> {
    options: &'a RunOptions,
    intent: &'a Intent,
    recorder: &'a Recorder<'a>,
    pub(crate) quarantine: Arc<Quarantine>,
    loads: Vec<Option<Box<dyn Load>>>,
    pub(crate) receipts: Vec<Option<Receipt>>,
    /// Loads that an earlier attempt had committed.
    pub(crate) skipped: Vec<bool>,
    /// Loads whose commit may have happened.
    pub(crate) undecided: BTreeSet<usize>,
    /// Loads whose destination has said what it holds of this run.
    pub(crate) asked: Vec<bool>,
    pub(crate) fences: Vec<u64>,
    pub(crate) kept: Vec<Kept>,
    pub(crate) prepared: &'a Prepared,
}

impl<'a> Attempt<'a> {
    pub(crate) fn new(
        options: &'a RunOptions,
        intent: &'a Intent,
        quarantine: Quarantine,
        prepared: &'a Prepared,
        recorder: &'a Recorder<'a>,
    ) -> Self {
        let count = prepared.loads.len();
        Attempt {
            options,
            intent,
            recorder,
            quarantine: Arc::new(quarantine),
            loads: (0..count).map(|_| None).collect(),
            receipts: vec![None; count],
            skipped: vec![false; count],
            undecided: BTreeSet::new(),
            asked: vec![false; count],
            fences: vec![0; count],
            kept: Vec::new(),
            prepared,
        }
    }

    /// Follows the protocol to its end, telling progress on the way.
    pub(crate) async fn follow(&mut self) -> Ending {
        let steps: Vec<String> = self.prepared.plan.steps.iter().map(|s| s.node.clone()).collect();
        let (meters, events) = (
            self.prepared.plan.meters.clone(),
            Arc::clone(&self.options.events),
        );
        let ticker = Ticker::start(meters.clone(), steps.clone(), Arc::clone(&events));
        let started = Instant::now();
        let ending = Box::pin(self.obey()).await;
        drop(ticker);
        report_progress(&meters, &steps, events.as_ref(), started, &mut BTreeMap::new());
        ending
    }

    async fn obey(&mut self) -> Ending {
        let barrier = self.options.probe.protects(Protection::Barrier);
        let (mut protocol, mut command) = Protocol::start(self.prepared.loads.len(), barrier);
        loop {
            let observed = match command {
                Command::Begin { load } => self.begin(load).await,
                Command::Execute => self.execute().await,
                Command::Seal => self.seal().await,
                Command::Commit { load } => self.commit(load).await,
                Command::Abort { load } => self.abort(load).await,
                Command::Close => match self.close() {
                    Ok(()) => Observed::Closed,
                    Err(error) => Observed::Failed { error },
                },
                Command::End(ending) => return ending,
            };
            command = protocol.step(observed);
        }
    }

    /// A slice of a backfill is noted before its intent goes, so that a restart never has it twice.
    fn close(&self) -> Result<()> {
        if let Some(slice) = &self.options.slice {
            slice.note()?;
        }
        if !self.options.probe.protects(Protection::Quarantine) {
            self.quarantine.seal(&|_| false)?;
        }
        self.intent.close()
    }

    fn state(&self, load: usize, state: StepState) {
        if self.prepared.loads[load].rejects_of.is_some() {
            return;
        }
        self.options.events.emit(EventKind::StepState {
            step: self.prepared.loads[load].node.clone(),
            state,
        });
    }

    async fn begin(&mut self, load: usize) -> Observed {
        if self.options.cancel.is_cancelled() {
            return Observed::Failed { error: cancelled() };
        }
        let prepared = &self.prepared.loads[load];
        let Some(destination) = prepared.connection.destination() else {
            return Observed::Failed {
                error: Error::bug("a destination that does not write"),
            };
        };
        let asked = self.undecided.contains(&load);
        let mut tries = 0;
        let begun = loop {
            match destination
                .begin(&prepared.target, &prepared.preparation, self.options.fence)
                .await
            {
                Err(error) if asked && error.retry() == Retry::Backoff && tries < self.options.retries => {
                    tries += 1;
                    tokio::time::sleep(self.options.backoff * tries).await;
                }
                other => break other,
            }
        };
        let begun = match begun {
            Ok(begun) => begun,
            // After a lost answer the target may look changed because our own commit changed it.
            Err(error) => {
                return Observed::Failed {
                    error: error.at_node(&prepared.node),
                };
            }
        };
        let known = self.options.probe.protects(Protection::RunId);
        let committed = known && begun.committed().is_some_and(|c| c.run == self.intent.run);
        let moved = prepared
            .expected
            .as_ref()
            .is_some_and(|expected| expected.as_ref() != begun.committed());
        if moved && !committed {
            if let Err(error) = begun.abort().await {
                tracing::warn!("{error}");
            }
            return Observed::Failed {
                error: moved_on(&prepared.target.stream).at_node(&prepared.node),
            };
        }
        self.undecided.remove(&load);
        self.asked[load] = true;
        if committed {
            self.skipped[load] = self.receipts[load].is_none();
            if let Err(error) = begun.abort().await {
                tracing::warn!("{error}");
            }
            self.state(load, StepState::Skipped);
        } else {
            self.fences[load] = begun.fence();
            self.loads[load] = Some(begun);
        }
        Observed::Began { load, committed }
    }

    async fn execute(&mut self) -> Observed {
        let flow = Flow {
            plan: &self.prepared.plan,
            run: RunContext {
                rejects: Arc::clone(&self.quarantine) as _,
            },
            parallel: self.options.streams(),
            cancel: self.options.cancel.clone(),
            timeouts: self.prepared.timeouts.clone(),
            events: Arc::clone(&self.options.events),
            started: Instant::now(),
        };
        let mut open = BTreeMap::new();
        for (prepared, load) in self.prepared.loads.iter().zip(self.loads.iter_mut()) {
            if let Some(load) = load {
                open.insert(
                    prepared.node.clone(),
                    OpenLoad {
                        load,
                        lanes: prepared.preparation.lanes,
                        relay: prepared.relay.as_ref().map(|(relay, _)| relay),
                    },
                );
            }
        }
        match flow.run(&mut open).await {
            Ok(()) if self.options.cancel.is_cancelled() => Observed::Failed { error: cancelled() },
            Ok(()) => Observed::Written,
            Err(error) => Observed::Failed { error },
        }
    }

    async fn seal(&mut self) -> Observed {
        let meters = &self.prepared.plan.meters;
        let ran = |node: &str| meters.step(node).is_some_and(|meter| meter.started());
        if self.options.probe.protects(Protection::Quarantine) {
            match tokio::task::block_in_place(|| self.quarantine.seal(&ran)) {
                Err(error) => return Observed::Failed { error },
                Ok(kept) => self.kept = kept,
            }
        }
        let mut failed = Vec::new();
        for check in self.prepared.plan.meters.checks() {
            if !ran(&check.node) {
                continue;
            }
            let record = check.record();
            if record.level == Level::Fail {
                failed.push(self.failed_check(check, &record));
            }
            self.options.events.emit(EventKind::Check {
                step: check.node.clone(),
                check: record.check,
                rule: record.rule,
                failed_rows: record.failed_rows,
                action: record.action,
                level: record.level,
            });
        }
        if failed.is_empty() {
            failed.extend(self.load_rejects().await.err());
        }
        if failed.is_empty() {
            // Rows that were lost between two steps must be noticed while nothing is published.
            failed.extend(self.recorder.manifest(self, self.intent.run).verify().err());
        }
        if failed.is_empty() {
            // From here on a restart with another document could publish rows a second time.
            failed.extend(self.intent.publish().err());
        }
        Observed::Sealed {
            failed: Error::all(failed),
        }
    }

    /// Rejected rows go to the quarantine target, where there is one.
    async fn load_rejects(&mut self) -> Result<()> {
        for (prepared, load) in self.prepared.loads.iter().zip(self.loads.iter_mut()) {
            let Some(step) = &prepared.rejects_of else {
                continue;
            };
            let Some(kept) = self.kept.iter_mut().find(|kept| kept.node == *step) else {
                continue;
            };
            // A load that an earlier attempt committed has that attempt's rows. These may be others: they stay a file.
            let Some(load) = load else {
                continue;
            };
            let bytes = self.prepared.budget.batch_target();
            let loaded = kept.load(&prepared.target, load.as_mut(), bytes).await;
            let loaded = loaded.map_err(|error| error.at_node(step))?;
            let set_aside = self
                .prepared
                .plan
                .meters
                .step(step)
                .map_or(0, |meter| meter.quarantined());
            if loaded != set_aside {
                return Err(Error::new(Code::E0505, "rejected rows are not accounted for")
                    .at_node(step)
                    .with_detail(format!(
                        "{set_aside} rows were set aside, {loaded} reached the quarantine."
                    ))
                    .with_hint("nothing was published; report this with run.json"));
            }
            kept.loaded = Some(prepared.label.clone());
        }
        Ok(())
    }

    fn failed_check(&self, check: &CheckMeter, record: &CheckRecord) -> Error {
        if check.is_of_table() {
            return table_failed(check, record);
        }
        let rows = record.failed_rows;
        let limit = check.rule.fail_above.map_or_else(String::new, |limit| {
            let judged = record.judged_rows;
            format!(" At most {limit} of {judged} rows may fail.")
        });
        let kept = self.kept.iter().find(|kept| kept.node == check.node);
        let place = kept.map_or_else(String::new, |kept| {
            format!(" The failing rows are in `{}`.", kept.path.display())
        });
        Error::new(
            Code::E1001,
            format!("{rows} rows fail the check `{}`", record.check),
        )
        .at_node(&check.node)
        .with_detail(format!("Nothing was published.{limit}{place}"))
        .with_hint("look at the rows, mend the source or the check, and run again")
    }

    async fn commit(&mut self, load: usize) -> Observed {
        let prepared = &self.prepared.loads[load];
        let Some(open) = self.loads[load].take() else {
            return Observed::Failed {
                error: Error::bug("a load commits that is not open"),
            };
        };
        self.state(load, StepState::Committing);
        match open.commit(&prepared.position).await {
            Ok(receipt) => {
                for note in &receipt.notes {
                    let message = note.clone();
                    self.options.events.emit(EventKind::Warning {
                        step: Some(prepared.node.clone()),
                        message,
                    });
                }
                self.receipts[load] = Some(receipt);
                self.state(load, StepState::Succeeded);
                Observed::Committed { load }
            }
            Err(error) if error.retry() == Retry::Backoff => {
                self.undecided.insert(load);
                Observed::AnswerLost {
                    load,
                    error: error.at_node(&prepared.node),
                }
            }
            Err(error) => {
                self.state(load, StepState::Failed);
                Observed::Failed {
                    error: error.at_node(&prepared.node),
                }
            }
        }
    }

    async fn abort(&mut self, load: usize) -> Observed {
        if let Some(open) = self.loads[load].take()
            && let Err(error) = open.abort().await
        {
            // The next `begin` of the stream sweeps what could not be removed now.
            tracing::warn!("{error}");
        }
        let state = if self.options.cancel.is_cancelled() {
            StepState::Cancelled
        } else {
            StepState::Failed
        };
        self.state(load, state);
        Observed::Aborted { load }
    }
}

fn table_failed(check: &CheckMeter, record: &CheckRecord) -> Error {
    let measured = check
        .measured_count()
        .map_or_else(String::new, |value| format!(" Measured: {value}."));
    Error::new(
        Code::E1001,
        format!("the table fails the check `{}`", record.check),
    )
    .at_node(&check.node)
    .with_detail(format!(
        "{} rows were judged; nothing was published.{measured}",
        record.judged_rows
    ))
    .with_hint("look at the source, mend it or the check, and run again")
}

fn moved_on(stream: &StreamKey) -> Error {
    Error::new(
        Code::E0507,
        format!("the position of stream `{stream}` moved while the run was planned"),
    )
    .with_detail("Another run of the pipeline committed in between; nothing of this one was written.")
    .with_hint("nothing to do: the attempt is repeated from the new position")
}
