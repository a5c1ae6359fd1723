//! Rows in motion: runs the fragments of an attempt and drives their streams into exchanges and writers.
//!
//! Fragments run one after another in the graph's order; inside one, every stream has a task of its own. The first
//! error stops all tasks of the fragment. Cancelling stops them between two batches.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt};
use synqx_model::event::{EventKind, StepState};
use synqx_model::{Code, Error, Result};
use synqx_plan::{Exchange, Fragment, Output, PlanGraph, Relay, RunContext, Spool, StepMeter};
use synqx_sdk::{BatchStream, Load, RawReader, Writer};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::Events;
use crate::progress::report;

/// What fragments of one attempt run with.
pub(crate) struct Flow<'a> {
    pub(crate) plan: &'a PlanGraph,
    pub(crate) run: RunContext,
    pub(crate) parallel: usize,
    pub(crate) cancel: CancellationToken,
    /// Longest times of steps.
    pub(crate) timeouts: BTreeMap<String, Duration>,
    pub(crate) events: Arc<dyn Events>,
    pub(crate) started: Instant,
}

/// A load that takes rows in this attempt.
pub(crate) struct OpenLoad<'a> {
    pub(crate) load: &'a mut Box<dyn Load>,
    pub(crate) lanes: usize,
    /// The scan whose rows are relayed undecoded, instead of the fragment's.
    pub(crate) relay: Option<&'a Relay>,
}

/// How long lanes that were told to stop are waited for.
const GRACE: Duration = Duration::from_secs(10);

/// The error of a run the user stopped.
pub(crate) fn cancelled() -> Error {
    Error::new(Code::E0701, "the run was cancelled")
        .with_hint("nothing half-done is visible; run it again to start over")
}

impl Flow<'_> {
    /// Runs every fragment that a load still needs. Errors: `E0702`, and those of sources, plan and destinations.
    pub(crate) async fn run(mut self, loads: &mut BTreeMap<String, OpenLoad<'_>>) -> Result<()> {
        // Cancelled with the run, and by itself when a step is out of time.
        let run = std::mem::take(&mut self.cancel);
        self.cancel = run.child_token();
        let mut rows = std::pin::pin!(self.fragments(loads));
        let late = tokio::select! {
            done = &mut rows => return done,
            late = self.late() => late,
        };
        self.cancel.cancel();
        // Lanes stop between two batches; a call that hangs is given up with the stream that waits for it.
        let _ = tokio::time::timeout(GRACE, rows).await;
        Err(late)
    }

    /// Ends when a step is out of time.
    async fn late(&self) -> Error {
        if self.timeouts.is_empty() {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep(Duration::from_millis(50)).await;
            for (node, limit) in &self.timeouts {
                let working = self.plan.meters.step(node).and_then(|meter| meter.working());
                if working.is_some_and(|working| working > *limit) {
                    return self.out_of_time(node, *limit);
                }
            }
        }
    }

    fn out_of_time(&self, node: &str, limit: Duration) -> Error {
        let rows = self.plan.meters.step(node).map_or(0, |meter| meter.rows());
        let limit = synqx_model::render_duration(limit);
        Error::new(
            Code::E0702,
            format!("the step took longer than its timeout of {limit}"),
        )
        .at_node(node)
        .with_detail(format!("{rows} rows had passed."))
        .with_hint("raise `timeout`, or find what holds the step up with `synqx plan`")
    }

    async fn fragments(&self, loads: &mut BTreeMap<String, OpenLoad<'_>>) -> Result<()> {
        let needed = needed(self.plan, loads);
        for fragment in self.plan.fragments.iter().filter(|f| needed.contains(&f.id)) {
            self.mark(fragment, StepState::Running);
            match &fragment.output {
                Output::Exchange(exchange) => self.fill(fragment, exchange).await?,
                Output::Load(node) => {
                    let open = loads
                        .get_mut(node)
                        .ok_or_else(|| Error::bug("a load is not open"))?;
                    self.load(fragment, open)
                        .await
                        .map_err(|error| error.at_node(node))?;
                }
            }
            self.mark(fragment, StepState::Written);
        }
        Ok(())
    }

    fn mark(&self, fragment: &Fragment, state: StepState) {
        if state == StepState::Written {
            // The last counts come before the word that says they are the last.
            let steps: Vec<String> = self.plan.steps.iter().map(|step| step.node.clone()).collect();
            let (meters, events) = (&self.plan.meters, self.events.as_ref());
            report(meters, &steps, events, self.started, &mut BTreeMap::new());
        }
        let is_load = matches!(fragment.output, Output::Load(_));
        let state = if !is_load && state == StepState::Written {
            StepState::Succeeded
        } else {
            state
        };
        self.events.emit(EventKind::StepState {
            step: fragment.node.clone(),
            state,
        });
    }

    async fn fill(&self, fragment: &Fragment, exchange: &Arc<Exchange>) -> Result<()> {
        let streams = fragment.execute(self.parallel, self.run.clone()).await?;
        let mut tasks: JoinSet<Result<Spool>> = JoinSet::new();
        for (lane, stream) in streams.into_iter().enumerate() {
            let (exchange, cancel) = (Arc::clone(exchange), self.cancel.clone());
            tasks.spawn(fill_lane(exchange, lane, stream, cancel));
        }
        let spools = join(tasks).await?;
        exchange.publish(spools);
        Ok(())
    }

    async fn load(&self, fragment: &Fragment, open: &mut OpenLoad<'_>) -> Result<()> {
        if let Some(relay) = open.relay {
            return self.relay(fragment, relay, open).await;
        }
        let streams = fragment.execute(open.lanes.max(1), self.run.clone()).await?;
        let mut lanes: Vec<(BatchStream, Box<dyn Writer>)> = Vec::new();
        for stream in streams {
            lanes.push((stream, open.load.writer().await?));
        }
        let meter = self.plan.meters.step(&fragment.node).cloned().unwrap_or_default();
        let mut tasks: JoinSet<Result<()>> = JoinSet::new();
        for (stream, writer) in lanes {
            tasks.spawn(write_lane(
                stream,
                writer,
                Arc::clone(&meter),
                self.cancel.clone(),
            ));
        }
        join(tasks).await.map(|_| ())
    }

    /// Hands the rows of a scan on as they are; the lanes share its parts.
    async fn relay(&self, fragment: &Fragment, relay: &Relay, open: &mut OpenLoad<'_>) -> Result<()> {
        let extract = relay.extract().to_owned();
        let reader = relay.open().await.map_err(|error| error.at_node(&extract))?;
        let reader: Arc<dyn RawReader> = Arc::from(reader);
        let parts = Arc::new(AtomicUsize::new(0));
        let count = relay.plan().partitions.len();
        let load = self.plan.meters.step(&fragment.node).cloned().unwrap_or_default();
        let mut tasks: JoinSet<Result<()>> = JoinSet::new();
        for _ in 0..open.lanes.clamp(1, count.max(1)) {
            let lane = RawLane {
                reader: Arc::clone(&reader),
                parts: Arc::clone(&parts),
                count,
                extract: extract.clone(),
                steps: relay.meters().map(Arc::clone).collect(),
                load: Arc::clone(&load),
                cancel: self.cancel.clone(),
            };
            tasks.spawn(lane.run(open.load.writer().await?));
        }
        join(tasks).await.map(|_| ())
    }
}

/// One lane of a relay.
struct RawLane {
    reader: Arc<dyn RawReader>,
    /// The next part that no lane has taken.
    parts: Arc<AtomicUsize>,
    count: usize,
    extract: String,
    steps: Vec<Arc<StepMeter>>,
    load: Arc<StepMeter>,
    cancel: CancellationToken,
}

impl RawLane {
    async fn run(self, mut writer: Box<dyn Writer>) -> Result<()> {
        self.meters().for_each(|meter| meter.open());
        let mut handed = 0;
        loop {
            let part = self.parts.fetch_add(1, Ordering::Relaxed);
            if part >= self.count {
                break;
            }
            let at = |error: Error| error.at_node(&self.extract);
            let mut rows = self.reader.read(part).await.map_err(at)?;
            while let Some(chunk) = next(&mut rows, &self.cancel).await.map_err(at)? {
                let (rows, bytes) = (chunk.rows, chunk.bytes.len() as u64);
                writer.write_raw(chunk).await?;
                handed += rows;
                self.meters().for_each(|meter| meter.emit(rows, bytes));
            }
        }
        let written = writer.finish().await?;
        self.meters().for_each(|meter| meter.finish());
        accounted(handed, written.rows)
    }

    fn meters(&self) -> impl Iterator<Item = &Arc<StepMeter>> {
        self.steps.iter().chain([&self.load])
    }
}

async fn fill_lane(
    exchange: Arc<Exchange>,
    lane: usize,
    mut stream: BatchStream,
    cancel: CancellationToken,
) -> Result<Spool> {
    let mut writer = exchange.writer(lane)?;
    while let Some(batch) = next(&mut stream, &cancel).await? {
        tokio::task::block_in_place(|| writer.write(&batch))?;
    }
    tokio::task::block_in_place(|| writer.finish())
}

async fn write_lane(
    mut stream: BatchStream,
    mut writer: Box<dyn Writer>,
    meter: Arc<StepMeter>,
    cancel: CancellationToken,
) -> Result<()> {
    meter.open();
    let mut handed = 0;
    while let Some(batch) = next(&mut stream, &cancel).await? {
        let (rows, bytes) = (batch.num_rows() as u64, synqx_sdk::lane::visible_bytes(&batch));
        writer.write(batch).await?;
        handed += rows;
        meter.emit(rows, bytes);
    }
    drop(stream);
    let written = writer.finish().await?;
    meter.finish();
    accounted(handed, written.rows)
}

/// A writer must have written what it was handed. Errors: `E0505`.
fn accounted(handed: u64, written: u64) -> Result<()> {
    if written == handed {
        return Ok(());
    }
    Err(Error::new(
        Code::E0505,
        "a writer does not account for the rows it was handed",
    )
    .with_detail(format!(
        "It was handed {handed} rows and says it wrote {written}."
    ))
    .with_hint("nothing was published; report this with run.json"))
}

async fn next<T>(
    stream: &mut Pin<Box<dyn Stream<Item = Result<T>> + Send>>,
    cancel: &CancellationToken,
) -> Result<Option<T>> {
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(cancelled()),
        batch = stream.next() => batch.transpose(),
    }
}

/// All results, or the first error with every other task stopped and waited for.
async fn join<T: Send + 'static>(mut tasks: JoinSet<Result<T>>) -> Result<Vec<T>> {
    let mut results = Vec::new();
    let mut failure: Option<Error> = None;
    while let Some(joined) = tasks.join_next().await {
        let result = joined.unwrap_or_else(|stopped| match stopped.is_cancelled() {
            true => Err(cancelled()),
            false => Err(Error::bug(format!("a lane stopped: {stopped}"))),
        });
        match result {
            Ok(value) => results.push(value),
            Err(error) if failure.is_none() => {
                failure = Some(error);
                tasks.abort_all();
            }
            Err(_) => {}
        }
    }
    failure.map_or(Ok(results), Err)
}

/// Fragments that a load still to be written needs.
fn needed(plan: &PlanGraph, loads: &BTreeMap<String, OpenLoad<'_>>) -> BTreeSet<usize> {
    let mut nodes: BTreeSet<&str> = BTreeSet::new();
    let mut fragments = BTreeSet::new();
    for fragment in plan.fragments.iter().rev() {
        let wanted = match &fragment.output {
            Output::Load(node) => loads.contains_key(node),
            Output::Exchange(_) => nodes.contains(fragment.node.as_str()),
        };
        if wanted {
            fragments.insert(fragment.id);
            nodes.extend(fragment.reads.iter().map(String::as_str));
        }
    }
    fragments
}
