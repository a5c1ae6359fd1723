//! A run and its attempts: prepare everything, then follow the protocol with real effects.
//!
//! An attempt compiles the document anew, so nothing of a failed one leaks into the next. Faults that may pass are
//! retried with growing waits under the same run id; a join that did not fit in memory is repeated once with joins
//! that spill. What is left behind by a run that died is found through its intent.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use synqx_model::dag::Graph;
use synqx_model::event::{EventKind, StepState};
use synqx_model::manifest::Manifest;
use synqx_model::spec::{Load as LoadSpec, Operator, RetryStrategy, WriteMode};
use synqx_model::{Code, Error, PipelineSpec, Position, Result, Retry, RunId, SourcePosition, StreamKey};
use synqx_plan::{JoinPolicy, Output, PlanGraph, PlanOptions, RunContext, compile};
use synqx_sdk::{Budget, Connection, Load, OrderBy, Preparation, Receipt, Role, Target};

use crate::flow::{Flow, OpenLoad, cancelled};
use crate::intent::Intent;
use crate::open::{Connections, load_target, sources};
use crate::progress::{Ticker, report as report_progress};
use crate::protocol::{Command, Ending, Observed, Protocol};
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

/// A load of an attempt, prepared.
pub(crate) struct PreparedLoad {
    pub(crate) node: String,
    pub(crate) label: String,
    pub(crate) target: Target,
    pub(crate) preparation: Preparation,
    pub(crate) connection: Arc<dyn Connection>,
    pub(crate) position: Position,
}

/// Everything an attempt needs before it begins.
pub(crate) struct Prepared {
    pub(crate) plan: PlanGraph,
    pub(crate) loads: Vec<PreparedLoad>,
    pub(crate) budget: Budget,
    /// Holds the connections open.
    _connections: Connections,
}

impl Prepared {
    #[expect(
        clippy::too_many_lines,
        reason = "the order of opening, compiling and preparing is the point; to be split"
    )]
    /// Opens, describes, compiles and prepares; with `dry` nothing is changed anywhere.
    pub(crate) async fn new(
        engine: &Engine,
        spec: &PipelineSpec,
        run: Option<RunId>,
        options: &RunOptions,
        spill: &Path,
        joins: JoinPolicy,
    ) -> Result<Self> {
        let graph = Graph::build(spec)?;
        refuse_later(spec)?;
        let budget = Budget::new(options.memory);
        let mut connections = Connections::default();
        let opened = sources(engine, spec, options, &budget, &mut connections).await;
        let targets = destinations(engine, spec, options, &budget, &mut connections).await;
        let (opened, targets) = match (opened, targets) {
            (Ok(opened), Ok(targets)) => (opened, targets),
            (opened, targets) => {
                let errors = opened.err().into_iter().chain(targets.err());
                return Err(
                    Error::all(errors).unwrap_or_else(|| Error::bug("connections failed without a reason"))
                );
            }
        };
        let mut spool = BTreeSet::new();
        for (node, (connection, _)) in &targets {
            let limits = connection.destination().map(|d| d.limits().concurrent_loads);
            if limits == Some(1) {
                let domain = connection.domain().await?;
                for extract in upstream(&graph, node) {
                    if let Some(source) = opened.get(&extract)
                        && source.connection.domain().await? == domain
                    {
                        spool.insert(extract);
                    }
                }
            }
        }
        let plan_options = PlanOptions {
            budget: budget.clone(),
            parallel: options.streams(),
            spill_dir: spill.to_owned(),
            joins,
            spool,
        };
        let plan = compile(spec, &graph, &opened, &plan_options).await?;
        let mut loads = Vec::new();
        let mut errors = Vec::new();
        for fragment in &plan.fragments {
            let Output::Load(node) = &fragment.output else {
                continue;
            };
            let Some((connection, load)) = targets.get(node) else {
                continue;
            };
            let mut target = target(spec, node, load, run.unwrap_or_else(RunId::fresh));
            target.schema = Arc::clone(&fragment.schema);
            target.source_key = source_key(spec, &graph, node, &opened, &target);
            let mut position = Position::default();
            for extract in upstream(&graph, node) {
                if let Some(source) = opened.get(&extract) {
                    let read = SourcePosition {
                        source: source.table.identity.clone(),
                        cursor: None,
                    };
                    position.0.insert(extract, read);
                }
            }
            let Some(destination) = connection.destination() else {
                continue;
            };
            match destination.prepare(&target, run.is_none()).await {
                Ok(preparation) => loads.push(PreparedLoad {
                    node: node.clone(),
                    label: format!("{}.{}", load.to.as_deref().unwrap_or_default(), target.asset),
                    target,
                    preparation,
                    connection: Arc::clone(connection),
                    position,
                }),
                Err(error) => errors.push(error.at_node(node)),
            }
        }
        match Error::all(errors) {
            Some(error) => Err(error),
            None => Ok(Prepared {
                plan,
                loads,
                budget,
                _connections: connections,
            }),
        }
    }
}

/// What the document can say and this release does not do yet is refused, never ignored. Errors: `E0111`.
fn refuse_later(spec: &PipelineSpec) -> Result<()> {
    let mut errors = Vec::new();
    if spec.quarantine.is_some() {
        errors.push(
            Error::new(
                Code::E0111,
                "`quarantine: {to, asset}` is not available in this release",
            )
            .with_hint("leave it out: rejected rows are kept as Parquet under `.synqx/quarantine/`"),
        );
    }
    for node in spec.nodes.iter().filter(|node| node.timeout.is_some()) {
        errors.push(
            Error::new(
                Code::E0111,
                "`timeout` of a node is not available in this release",
            )
            .at_node(&node.id)
            .with_hint(
                "leave it out; a connection's own timeouts (`statement_timeout`, `connect_timeout`) work",
            ),
        );
    }
    Error::all(errors).map_or(Ok(()), Err)
}

type Targets<'a> = BTreeMap<String, (Arc<dyn Connection>, &'a LoadSpec)>;

/// Opens every load's connection. Errors, all at once: `E0103`, `E0109`, `E0111`, `E0115`.
async fn destinations<'a>(
    engine: &Engine,
    spec: &'a PipelineSpec,
    options: &RunOptions,
    budget: &Budget,
    connections: &mut Connections,
) -> Result<Targets<'a>> {
    let mut targets = BTreeMap::new();
    let mut errors = Vec::new();
    for node in &spec.nodes {
        let Operator::Load(load) = &node.operator else {
            continue;
        };
        let opened = async {
            if let WriteMode::DeleteInsert | WriteMode::Scd2 | WriteMode::Mirror = load.write {
                return Err(Error::new(
                    Code::E0111,
                    format!(
                        "write mode `{}` is not available in this release",
                        load.write.as_str()
                    ),
                )
                .with_hint("use `append`, `replace` or `upsert`"));
            }
            let (name, _) = load_target(load, &node.id)?;
            let connection = connections
                .get(engine, spec, name, Role::Destination, options, budget)
                .await?;
            if connection.destination().is_none() {
                return Err(
                    Error::new(Code::E0115, format!("connection `{name}` cannot be written"))
                        .with_hint("load into another connection"),
                );
            }
            Ok(connection)
        };
        match opened.await {
            Ok(connection) => {
                targets.insert(node.id.clone(), (connection, load));
            }
            Err(error) => errors.push(error.at_node(&node.id)),
        }
    }
    Error::all(errors).map_or(Ok(targets), Err)
}

fn target(spec: &PipelineSpec, node: &str, load: &LoadSpec, run: RunId) -> Target {
    let asset = load.asset.clone().unwrap_or_default();
    Target {
        stream: StreamKey {
            pipeline: spec.key().to_owned(),
            node: node.to_owned(),
            asset: asset.clone(),
        },
        asset,
        mode: load.write,
        schema: Arc::new(arrow::datatypes::Schema::empty()),
        key: load.key.clone(),
        order_by: load.order_by.iter().map(|text| OrderBy::parse(text)).collect(),
        source_key: Vec::new(),
        policy: load.schema,
        create: load.create,
        allow_loss: load.allow_loss.clone(),
        replace: load.replace.clone().unwrap_or_default(),
        lanes: load.lanes.map(|lanes| lanes as usize),
        options: load.options.clone(),
        run,
        spec_hash: spec.hash(),
    }
}

/// Extracts a node's rows come from.
fn upstream(graph: &Graph, node: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut queue = vec![node.to_owned()];
    while let Some(next) = queue.pop() {
        let inputs = &graph.inputs[&next];
        if inputs.is_empty() && !found.contains(&next) {
            found.push(next);
        }
        queue.extend(inputs.iter().map(|i| i.node.clone()));
    }
    found.sort();
    found
}

/// The primary key of the only source, when rows pass one by one and its columns arrive untouched.
fn source_key(
    spec: &PipelineSpec,
    graph: &Graph,
    load: &str,
    opened: &BTreeMap<String, synqx_plan::OpenSource>,
    target: &Target,
) -> Vec<String> {
    let mut touched: BTreeSet<String> = BTreeSet::new();
    let mut current = load.to_owned();
    loop {
        let Some(node) = spec.node(&current) else {
            return Vec::new();
        };
        match &node.operator {
            Operator::Extract(_) => break,
            Operator::Load(_)
            | Operator::Filter(_)
            | Operator::Sort(_)
            | Operator::Validate(_)
            | Operator::Drop(_) => {}
            Operator::Deduplicate(_) => {}
            Operator::Map(map) => touched.extend(map.columns.iter().map(|(name, _)| name.to_owned())),
            Operator::Cast(cast) => touched.extend(cast.columns.iter().map(|(name, _)| name.to_owned())),
            Operator::Rename(rename) => {
                touched.extend(
                    rename
                        .columns
                        .iter()
                        .flat_map(|(old, new)| [old.to_owned(), new.clone()]),
                );
            }
            _ => return Vec::new(),
        }
        match graph.inputs[&current].as_slice() {
            [input] => current = input.node.clone(),
            _ => return Vec::new(),
        }
    }
    let Some(source) = opened.get(&current) else {
        return Vec::new();
    };
    let key = &source.table.primary_key;
    let arrives = |name: &String| target.schema.field_with_name(name).is_ok() && !touched.contains(name);
    if key.iter().all(arrives) {
        key.clone()
    } else {
        Vec::new()
    }
}

/// How one attempt ended.
enum Attempted {
    Succeeded(Box<Manifest>),
    Failed {
        error: Error,
        left: Left,
        manifest: Option<Box<Manifest>>,
    },
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
    let intent = match Graph::build(spec)
        .and_then(|_| Intent::take(&options.state_dir, spec.key(), &spec.hash(), &options.probe))
    {
        Ok(intent) => intent,
        Err(error) => return recorder.refused(error),
    };
    options.events.begin(intent.run);
    let mut joins = JoinPolicy::Hash;
    let mut attempt = 1;
    // What an attempt could not find out stays open until a later one has asked every destination.
    let mut open_question = intent.resumed;
    loop {
        let started = EventKind::RunStarted {
            pipeline: spec.key().to_owned(),
            attempt,
            resumed: intent.resumed,
            steps: spec.nodes.iter().map(|n| n.id.clone()).collect(),
        };
        options.events.emit(started);
        let attempted = Box::pin(one_attempt(engine, spec, options, &intent, joins, &recorder)).await;
        let (error, left, manifest) = match attempted {
            Attempted::Succeeded(manifest) => {
                return recorder.finished(*manifest, None, attempt, &intent.run);
            }
            Attempted::Failed {
                error,
                left,
                manifest,
            } => (error, left, manifest),
        };
        open_question = match left {
            Left::Nothing => false,
            Left::Unknown => open_question,
            Left::Something => true,
        };
        let spill_instead = error.code() == Code::E0804 && joins == JoinPolicy::Hash;
        let wait = if spill_instead {
            Some(Duration::ZERO)
        } else {
            next_wait(spec, options, &error, attempt)
        };
        if let Some(wait) = wait.filter(|_| !options.cancel.is_cancelled()) {
            if spill_instead {
                joins = JoinPolicy::SortMerge;
            }
            let clean = engine.clean(error).to_json();
            options.events.emit(EventKind::Retry {
                attempt,
                wait_ms: wait.as_millis() as u64,
                error: clean,
            });
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = options.cancel.cancelled() => {}
            }
            attempt += 1;
            continue;
        }
        if !open_question && let Err(stuck) = intent.close() {
            tracing::warn!("{stuck}");
        }
        let manifest = manifest.map_or_else(|| recorder.empty(intent.run), |manifest| *manifest);
        return recorder.finished(manifest, Some(engine.clean(error)), attempt, &intent.run);
    }
}

/// How long to wait before the next attempt; `None` when there is none.
fn next_wait(spec: &PipelineSpec, options: &RunOptions, error: &Error, attempt: u32) -> Option<Duration> {
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
    if attempt > max {
        return None;
    }
    Some(match strategy {
        RetryStrategy::Fixed => first,
        RetryStrategy::Linear => first * attempt,
        RetryStrategy::Exponential => {
            let doubled = first * 2u32.saturating_pow(attempt - 1).min(64);
            let jitter = u32::from_str_radix(&RunId::fresh().short()[..4], 16).unwrap_or(0);
            doubled + doubled.mul_f64(f64::from(jitter) / 65_536.0 / 2.0)
        }
    })
}

#[expect(
    clippy::too_many_lines,
    reason = "builds one attempt and judges its end; to be split"
)]
async fn one_attempt(
    engine: &Engine,
    spec: &PipelineSpec,
    options: &RunOptions,
    intent: &Intent,
    joins: JoinPolicy,
    recorder: &Recorder<'_>,
) -> Attempted {
    let early = |error: Error| Attempted::Failed {
        error,
        left: Left::Unknown,
        manifest: None,
    };
    let spill = match spill_dir() {
        Ok(spill) => spill,
        Err(error) => return early(error),
    };
    let prepared = Box::pin(Prepared::new(
        engine,
        spec,
        Some(intent.run),
        options,
        spill.path(),
        joins,
    ))
    .await;
    let prepared = match prepared {
        Ok(prepared) => prepared,
        Err(error) => return early(error),
    };
    let quarantine = Arc::new(Quarantine::new(
        &options.state_dir,
        spec.key(),
        intent.run,
        &options.probe,
    ));
    let count = prepared.loads.len();
    let mut attempt = Attempt {
        options,
        intent,
        quarantine: Arc::clone(&quarantine),
        loads: (0..count).map(|_| None).collect(),
        receipts: vec![None; count],
        skipped: vec![false; count],
        undecided: BTreeSet::new(),
        asked: vec![false; count],
        fences: vec![0; count],
        kept: Vec::new(),
        prepared: &prepared,
    };
    let steps: Vec<String> = prepared.plan.steps.iter().map(|s| s.node.clone()).collect();
    let ticker = Ticker::start(
        prepared.plan.meters.clone(),
        steps.clone(),
        Arc::clone(&options.events),
    );
    let started = Instant::now();
    let ending = Box::pin(attempt.follow()).await;
    drop(ticker);
    report_progress(
        &prepared.plan.meters,
        &steps,
        options.events.as_ref(),
        started,
        &mut BTreeMap::new(),
    );
    let manifest = recorder.manifest(&attempt, intent.run);
    match ending {
        Ending::Succeeded => match manifest.verify() {
            Ok(()) => Attempted::Succeeded(Box::new(manifest)),
            Err(error) => Attempted::Failed {
                error,
                left: Left::Nothing,
                manifest: Some(Box::new(manifest)),
            },
        },
        Ending::Failed { error, published } => {
            let left = if published > 0 || !attempt.undecided.is_empty() {
                Left::Something
            } else if attempt.asked.iter().all(|asked| *asked) {
                Left::Nothing
            } else {
                Left::Unknown
            };
            // Rejected rows of a published load must not be lost with the files of this attempt.
            if error.code() != Code::E1001 && left == Left::Nothing {
                quarantine.discard();
            }
            Attempted::Failed {
                error,
                left,
                manifest: Some(Box::new(manifest)),
            }
        }
    }
}

/// The effects of one attempt, as the protocol asks for them.
pub(crate) struct Attempt<'a> {
    options: &'a RunOptions,
    intent: &'a Intent,
    quarantine: Arc<Quarantine>,
    loads: Vec<Option<Box<dyn Load>>>,
    pub(crate) receipts: Vec<Option<Receipt>>,
    /// Loads that an earlier attempt had committed.
    pub(crate) skipped: Vec<bool>,
    undecided: BTreeSet<usize>,
    /// Loads whose destination has said what it holds of this run.
    asked: Vec<bool>,
    pub(crate) fences: Vec<u64>,
    pub(crate) kept: Vec<Kept>,
    pub(crate) prepared: &'a Prepared,
}

impl Attempt<'_> {
    async fn follow(&mut self) -> Ending {
        let (mut protocol, mut command) = Protocol::start(self.prepared.loads.len());
        loop {
            let observed = match command {
                Command::Begin { load } => self.begin(load).await,
                Command::Execute => self.execute().await,
                Command::Seal => self.seal(),
                Command::Commit { load } => self.commit(load).await,
                Command::Abort { load } => self.abort(load).await,
                Command::Close => match self.intent.close() {
                    Ok(()) => Observed::Closed,
                    Err(error) => Observed::Failed { error },
                },
                Command::End(ending) => return ending,
            };
            command = protocol.step(observed);
        }
    }

    fn state(&self, load: usize, state: StepState) {
        self.options.events.emit(EventKind::StepState {
            step: self.prepared.loads[load].node.clone(),
            state,
        });
    }

    async fn begin(&mut self, load: usize) -> Observed {
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
        let committed = begun.committed().is_some_and(|c| c.run == self.intent.run);
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
            events: Arc::clone(&self.options.events),
        };
        let mut open = BTreeMap::new();
        for (prepared, load) in self.prepared.loads.iter().zip(self.loads.iter_mut()) {
            if let Some(load) = load {
                open.insert(
                    prepared.node.clone(),
                    OpenLoad {
                        load,
                        lanes: prepared.preparation.lanes,
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

    fn seal(&mut self) -> Observed {
        match tokio::task::block_in_place(|| self.quarantine.seal()) {
            Err(error) => return Observed::Failed { error },
            Ok(kept) => self.kept.extend(kept),
        }
        let mut failed = Vec::new();
        for check in self.prepared.plan.meters.checks() {
            let rows = check.failed();
            self.options.events.emit(EventKind::Check {
                step: check.node.clone(),
                check: check.check.clone(),
                failed_rows: rows,
                action: check.action.as_str().to_owned(),
            });
            if rows > 0 && check.action == synqx_model::spec::OnFail::Fail {
                let kept = self
                    .kept
                    .iter()
                    .map(|k| k.path.display().to_string())
                    .collect::<Vec<_>>()
                    .join(", ");
                failed.push(
                    Error::new(
                        Code::E1001,
                        format!("{rows} rows fail the check `{}`", check.check),
                    )
                    .at_node(&check.node)
                    .with_detail(format!("Nothing was published. The failing rows are in {kept}."))
                    .with_hint("look at the rows, mend the source or the check, and run again"),
                );
            }
        }
        Observed::Sealed {
            failed: Error::all(failed),
        }
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

impl RunOutcome {
    pub(crate) fn kept(manifest: Manifest, error: Option<Error>, state_dir: &Path) -> Self {
        if let Err(stuck) = write_manifest(&manifest, state_dir) {
            tracing::warn!("{stuck}");
        }
        RunOutcome { manifest, error }
    }
}
