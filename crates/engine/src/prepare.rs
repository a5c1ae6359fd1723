//! What an attempt needs before it begins: connections open, documents compiled, destinations asked.
//!
//! Nothing is changed anywhere but what a destination's `prepare` must make beforehand, and with `dry` not even that.
//! Every problem that can be found beforehand is found here, and reported with all the others.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use synqx_model::dag::{Graph, shares_target};
use synqx_model::spec::{Load as LoadSpec, Mask, Operator, SchemaPolicy, WriteMode};
use synqx_model::{Code, Error, PipelineSpec, Position, Result, RunId, StreamKey};
use synqx_plan::{Fragment, JoinPolicy, OpenSource, Output, PlanGraph, PlanOptions, Relay, Salt, compile};
use synqx_sdk::{Budget, Committed, Connection, OrderBy, Preparation, RawForm, Role, Target};

use crate::incremental::{narrow, position};
use crate::intent::Intent;
use crate::open::{Connections, load_target, sources};
use crate::rejects::labelled_schema;
use crate::{Engine, RunOptions, modes};

/// A load of an attempt, prepared.
pub(crate) struct PreparedLoad {
    pub(crate) node: String,
    /// The step whose rejected rows it takes; a load of the document takes a fragment's.
    pub(crate) rejects_of: Option<String>,
    pub(crate) label: String,
    pub(crate) target: Target,
    pub(crate) preparation: Preparation,
    pub(crate) connection: Arc<dyn Connection>,
    pub(crate) position: Position,
    /// What was committed last when the range of an incremental read was made; `begin` must find the same.
    pub(crate) expected: Option<Option<Committed>>,
    /// The scan whose rows are relayed undecoded, and their form, where they are.
    pub(crate) relay: Option<(Relay, RawForm)>,
}

/// Everything an attempt needs before it begins.
pub(crate) struct Prepared {
    pub(crate) plan: PlanGraph,
    pub(crate) loads: Vec<PreparedLoad>,
    pub(crate) budget: Budget,
    /// Longest times of steps.
    pub(crate) timeouts: BTreeMap<String, Duration>,
    /// Sentences a person should read.
    pub(crate) notes: Vec<String>,
    /// Holds the connections open.
    _connections: Connections,
}

impl Prepared {
    /// Opens, describes, compiles and prepares; without an intent nothing is changed anywhere.
    pub(crate) async fn new(
        engine: &Engine,
        spec: &PipelineSpec,
        intent: Option<&Intent>,
        options: &RunOptions,
        spill: &Path,
        joins: JoinPolicy,
    ) -> Result<Self> {
        let graph = Graph::build(spec)?;
        let budget = Budget::new(options.memory);
        let mut connections = Connections::default();
        let opened = sources(engine, spec, options, &budget, &mut connections).await;
        let targets = destinations(engine, spec, &graph, options, &budget, &mut connections).await;
        let (mut opened, targets) = both(opened, targets)?;
        one_load_each(&targets).await?;
        never_its_own_source(&graph, &opened, &targets).await?;
        let mut stored = narrow(spec, &graph, options, intent, &mut opened, &targets).await?;
        let run = intent.map(|intent| intent.run);
        let plan_options = PlanOptions {
            budget: budget.clone(),
            parallel: options.streams(),
            spill_dir: spill.to_owned(),
            joins,
            started_ms: intent.map_or_else(now_ms, |intent| intent.started_ms),
            spool: read_first(&graph, &opened, &targets).await?,
            salts: salts(engine, spec, run.is_some(), &mut stored.notes).await?,
        };
        let mut plan = compile(spec, &graph, &opened, &plan_options).await?;
        if plan.has_limit() && opened.values().any(is_incremental) {
            return Err(limited());
        }
        let mut errors = Vec::new();
        let aside = quarantine_loads(engine, spec, run, options, &plan, &budget, &mut connections).await;
        let mut loads = aside.unwrap_or_else(|error| {
            errors.push(error);
            Vec::new()
        });
        for load in &mut loads {
            load.position = position(&graph, load.rejects_of.as_deref().unwrap_or_default(), &opened);
        }
        for fragment in &plan.fragments {
            let Output::Load(node) = &fragment.output else {
                continue;
            };
            let Some((connection, load)) = targets.get(node) else {
                continue;
            };
            let mut target = target(spec, node, load, run.unwrap_or_else(RunId::fresh));
            target.schema = Arc::clone(&fragment.schema);
            (target.source_key, target.source_unique) = source_keys(spec, &graph, node, &opened, &target);
            let relayed = relayed(fragment, connection, node, load, target, run.is_none());
            match relayed.await {
                Ok(mut load) => {
                    load.position = match &options.slice {
                        None => position(&graph, node, &opened),
                        Some(_) => stored.position(node),
                    };
                    load.preparation
                        .notes
                        .extend(modes::notes(spec, &graph, node, targets[node].1));
                    load.expected = stored.by_load.get(node).cloned();
                    loads.push(load);
                }
                Err(error) => errors.push(error.at_node(node)),
            }
        }
        for load in &loads {
            if let Some((relay, form)) = &load.relay {
                plan.relayed(&load.node, relay, form);
            }
        }
        match Error::all(errors) {
            Some(error) => Err(error),
            None => Ok(Prepared {
                plan,
                loads,
                budget,
                timeouts: timeouts(spec),
                notes: stored.notes,
                _connections: connections,
            }),
        }
    }
}

fn is_incremental(source: &OpenSource) -> bool {
    source.range.is_some() || source.dataset.files.is_some()
}

/// What a load leaves where its own extract looks would be read by the next run, and doubled. Errors: `E0103`.
async fn never_its_own_source(
    graph: &Graph,
    opened: &BTreeMap<String, OpenSource>,
    targets: &Targets<'_>,
) -> Result<()> {
    let mut errors = Vec::new();
    for (node, (connection, load)) in targets {
        let asset = load.asset.as_deref().unwrap_or_default();
        let Some(place) = connection.destination().and_then(|d| d.location(asset)) else {
            continue;
        };
        let replaces = load.write == WriteMode::Replace;
        for extract in upstream(graph, node) {
            let Some((open, source)) = opened
                .get(&extract)
                .and_then(|o| Some((o, o.connection.source()?)))
            else {
                continue;
            };
            if source.finds(&open.dataset, &place, replaces).await? {
                let error = Error::new(
                    Code::E0103,
                    format!("the load writes `{asset}` where the extract `{extract}` reads"),
                )
                .with_detail("The next run would read its rows as well.")
                .with_hint(
                    "write to another folder, or under a name that the extract's pattern does not match",
                );
                errors.push(error.at_node(node));
            }
        }
    }
    Error::all(errors).map_or(Ok(()), Err)
}

/// The position moves past every row of the interval, also those a limit leaves out.
fn limited() -> Error {
    Error::new(
        Code::E0103,
        "a limit and an incremental extract do not go together in one document",
    )
    .with_detail("Rows beyond the limit would count as read and never arrive.")
    .with_hint("leave the limit out, or read with `sync: full`")
}

fn now_ms() -> i64 {
    chrono::Utc::now().timestamp_millis()
}

/// The keys of masks. A plan without a run shows all but values, so a key that is not there is only told. Errors, all at
/// once: `E0103`, `E06xx`.
async fn salts(
    engine: &Engine,
    spec: &PipelineSpec,
    runs: bool,
    notes: &mut Vec<String>,
) -> Result<BTreeMap<String, Salt>> {
    let mut salts = BTreeMap::new();
    let mut errors = Vec::new();
    for node in &spec.nodes {
        let Operator::Mask(Mask {
            salt: Some(reference),
            ..
        }) = &node.operator
        else {
            continue;
        };
        if !reference.starts_with("secret://") {
            let plain = Error::new(Code::E0103, "the salt of a mask is written into the document");
            errors.push(
                plain.at_node(&node.id).with_hint(
                    "store it as a secret and write its reference: `salt: secret://env/MASK_SALT`",
                ),
            );
            continue;
        }
        let salt = engine.resolver.resolve(reference).await;
        match salt.and_then(|text| Salt::new(&text)) {
            Ok(salt) => drop(salts.insert(node.id.clone(), salt)),
            Err(error) if !runs && matches!(error.code(), Code::E0603 | Code::E0604) => notes.push(format!(
                "the salt of `{}` cannot be read here ({}); a run needs it",
                node.id,
                error.code()
            )),
            Err(error) => errors.push(error.at_node(&node.id)),
        }
    }
    Error::all(errors).map_or(Ok(salts), Err)
}

fn timeouts(spec: &PipelineSpec) -> BTreeMap<String, Duration> {
    let limit = |node: &synqx_model::spec::Node| Some((node.id.clone(), node.timeout.as_ref()?.0));
    spec.nodes.iter().filter_map(limit).collect()
}

/// Both, or every error of both.
fn both<A, B>(left: Result<A>, right: Result<B>) -> Result<(A, B)> {
    match (left, right) {
        (Ok(left), Ok(right)) => Ok((left, right)),
        (left, right) => Err(Error::all(left.err().into_iter().chain(right.err()))
            .unwrap_or_else(|| Error::bug("connections failed without a reason"))),
    }
}

/// Two connections may lead to one table. Only loads of one asset name are asked where they lead. Errors: `E0103`.
async fn one_load_each(targets: &Targets<'_>) -> Result<()> {
    let mut by_asset: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (node, (_, load)) in targets {
        by_asset
            .entry(load.asset.as_deref().unwrap_or_default())
            .or_default()
            .push(node);
    }
    for nodes in by_asset.values().filter(|nodes| nodes.len() > 1) {
        let mut seen: BTreeMap<String, &str> = BTreeMap::new();
        for node in nodes {
            let domain = targets[*node].0.domain().await;
            if let Some(other) = seen.insert(domain.map_err(|error| error.at_node(*node))?, node) {
                return Err(shares_target(node, other));
            }
        }
    }
    Ok(())
}

/// Extracts that must be read to their end before their own destination is written: one file that takes one writer.
async fn read_first(
    graph: &Graph,
    opened: &BTreeMap<String, OpenSource>,
    targets: &Targets<'_>,
) -> Result<BTreeSet<String>> {
    let mut first = BTreeSet::new();
    for (node, (connection, _)) in targets {
        let one_at_a_time = connection
            .destination()
            .is_some_and(|d| d.limits().concurrent_loads == 1);
        if !one_at_a_time {
            continue;
        }
        let domain = connection.domain().await?;
        for extract in upstream(graph, node) {
            if let Some(source) = opened.get(&extract)
                && source.connection.domain().await? == domain
            {
                first.insert(extract);
            }
        }
    }
    Ok(first)
}

/// A load of a fragment, prepared: its rows are relayed where the fragment hands on a scan and both sides agree on a form.
/// Errors: those of planning a read and of `prepare`.
async fn relayed(
    fragment: &Fragment,
    connection: &Arc<dyn Connection>,
    node: &str,
    load: &LoadSpec,
    mut target: Target,
    dry: bool,
) -> Result<PreparedLoad> {
    let relay = fragment.relay().await?;
    let form = match &relay {
        Some(relay) => {
            let form = relay.source()?.raw_form(relay.scan()).await;
            form.map_err(|error| error.at_node(relay.extract()))?
        }
        None => None,
    };
    target.raw.clone_from(&form);
    let mut prepared = prepared(connection, node, load, target, dry).await?;
    if let (Some(relay), Some(form), true) = (relay, form, prepared.preparation.raw) {
        prepared.relay = Some((relay.for_lanes(prepared.preparation.lanes).await?, form));
    }
    Ok(prepared)
}

async fn prepared(
    connection: &Arc<dyn Connection>,
    node: &str,
    load: &LoadSpec,
    target: Target,
    dry: bool,
) -> Result<PreparedLoad> {
    let destination = connection
        .destination()
        .ok_or_else(|| Error::bug("a destination that does not write"))?;
    Ok(PreparedLoad {
        node: node.to_owned(),
        rejects_of: None,
        label: format!("{}.{}", load.to.as_deref().unwrap_or_default(), target.asset),
        preparation: destination.prepare(&target, dry).await?,
        target,
        connection: Arc::clone(connection),
        position: Position::default(),
        expected: None,
        relay: None,
    })
}

/// The loads that take rejected rows, where the document says where to. They come first, so that a row is in the
/// quarantine before any load has committed without it. Errors: `E0103`, and those of the destination.
#[expect(clippy::too_many_arguments, reason = "the engine's surroundings, passed once")]
async fn quarantine_loads(
    engine: &Engine,
    spec: &PipelineSpec,
    run: Option<RunId>,
    options: &RunOptions,
    plan: &PlanGraph,
    budget: &Budget,
    connections: &mut Connections,
) -> Result<Vec<PreparedLoad>> {
    let (Some(quarantine), steps) = (&spec.quarantine, plan.quarantines()) else {
        return Ok(Vec::new());
    };
    if steps.len() > 1 && !quarantine.asset.contains("{node}") {
        return Err(Error::new(
            Code::E0103,
            format!(
                "{} steps set rows aside, and `quarantine` names one asset",
                steps.len()
            ),
        )
        .with_detail("Their rows have different columns.")
        .with_hint("write `{node}` into the asset's name: each step then has one of its own"));
    }
    let role = Role::Destination;
    let connection = connections
        .get(engine, spec, &quarantine.to, role, options, budget)
        .await?;
    if connection.destination().is_none() {
        return Err(Error::new(
            Code::E0115,
            format!("connection `{}` cannot be written", quarantine.to),
        )
        .with_hint("name another connection in `quarantine`"));
    }
    let mut loads = Vec::new();
    for (step, rows) in steps {
        let load = LoadSpec {
            to: Some(quarantine.to.clone()),
            asset: Some(quarantine.asset.replace("{node}", &step)),
            write: WriteMode::Append,
            schema: SchemaPolicy::Evolve,
            create: true,
            ..LoadSpec::default()
        };
        let name = format!("{step}.quarantine");
        let mut target = target(spec, &name, &load, run.unwrap_or_else(RunId::fresh));
        target.schema = labelled_schema(&rows);
        let prepared = prepared(&connection, &name, &load, target, run.is_none()).await;
        let prepared = prepared.map_err(|error| error.at_node(&step))?;
        loads.push(PreparedLoad {
            rejects_of: Some(step),
            ..prepared
        });
    }
    Ok(loads)
}

/// The destination of a load, opened.
pub(crate) type Reached<'a> = (Arc<dyn Connection>, &'a LoadSpec);

/// Load node → its destination.
pub(crate) type Targets<'a> = BTreeMap<String, Reached<'a>>;

/// Opens every load's connection. Errors, all at once: `E0103`, `E0109`, `E0115`.
async fn destinations<'a>(
    engine: &Engine,
    spec: &'a PipelineSpec,
    graph: &Graph,
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
            modes::check(spec, graph, &node.id, load)?;
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

/// What fence and position of a load are filed under.
pub(crate) fn stream_key(spec: &PipelineSpec, load: &str, asset: &str) -> StreamKey {
    StreamKey {
        pipeline: spec.key().to_owned(),
        node: load.to_owned(),
        asset: asset.to_owned(),
    }
}

pub(crate) fn target(spec: &PipelineSpec, node: &str, load: &LoadSpec, run: RunId) -> Target {
    let asset = load.asset.clone().unwrap_or_default();
    Target {
        stream: stream_key(spec, node, &asset),
        asset,
        mode: load.write,
        schema: Arc::new(arrow::datatypes::Schema::empty()),
        key: load.key.clone(),
        partition_by: load.partition_by.clone(),
        scd2: load.scd2.as_deref().cloned().unwrap_or_default(),
        mirror: load.mirror.as_deref().cloned().unwrap_or_default(),
        order_by: load.order_by.iter().map(|text| OrderBy::parse(text)).collect(),
        source_key: Vec::new(),
        source_unique: Vec::new(),
        policy: load.schema,
        create: load.create,
        allow_loss: load.allow_loss.clone(),
        replace: load.replace.clone().unwrap_or_default(),
        lanes: load.lanes.map(|lanes| lanes as usize),
        raw: None,
        options: load.options.clone(),
        run,
        spec_hash: spec.hash(),
    }
}

/// Extracts a node's rows come from.
pub(crate) fn upstream(graph: &Graph, node: &str) -> Vec<String> {
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

/// The primary key and the unique keys of the only source, when rows pass one by one and their columns arrive untouched.
fn source_keys(
    spec: &PipelineSpec,
    graph: &Graph,
    load: &str,
    opened: &BTreeMap<String, OpenSource>,
    target: &Target,
) -> (Vec<String>, Vec<Vec<String>>) {
    let mut touched: BTreeSet<String> = BTreeSet::new();
    let mut current = load.to_owned();
    loop {
        let Some(node) = spec.node(&current) else {
            return <_>::default();
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
            _ => return <_>::default(),
        }
        match graph.inputs[&current].as_slice() {
            [input] => current = input.node.clone(),
            _ => return <_>::default(),
        }
    }
    let Some(source) = opened.get(&current) else {
        return <_>::default();
    };
    let arrives = |name: &String| target.schema.field_with_name(name).is_ok() && !touched.contains(name);
    let whole = |key: &&Vec<String>| !key.is_empty() && key.iter().all(arrives);
    let primary = Some(&source.table.primary_key).filter(whole).cloned();
    let unique = source.table.unique.iter().filter(whole).cloned();
    (primary.unwrap_or_default(), unique.collect())
}
