//! From a document and its opened sources to a plan graph, with every fault reported at once.
//!
//! Nodes are lowered in the graph's order; each is typed as soon as it is lowered, so an error names its node. A
//! node is cut out into a fragment of its own when several consumers read it, or when it routes rows; everything
//! else stays one relational plan per load, which is what lets filters sink all the way into a source.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Column, TableReference};
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::execution::context::SessionContext;
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, LogicalPlanBuilder, TableScan};
use datafusion::prelude::{col, lit};
use synqx_model::dag::{Graph, InputRef};
use synqx_model::manifest::StepKind;
use synqx_model::spec::{Load, Node, Operator, PartitionBy, PipelineSpec, Switch};
use synqx_model::{Code, Error, Result};
use synqx_sdk::{Budget, Connection, Dataset, Literal, RawForm, TableSchema};
use tokio::sync::OnceCell;

use crate::annotations::annotated;
use crate::check::Check;
use crate::cut::{Cuts, absorbs, checks};
use crate::display::{Placement, SourceReport};
use crate::estimate::{bytes_at_most, notes};
use crate::exchange::{Exchange, ExchangeTable};
use crate::fragment::{Fragment, JoinPolicy, Output};
use crate::lower::{BRANCH, Lowering, names, quoted, require};
use crate::meter::Meters;
use crate::predicate::scalar;
use crate::relay::Relay;
use crate::session::{any_operator, session};
use crate::source::SourceTable;
use crate::step::Step;
use crate::tokens::Salt;
use crate::trouble::{Phase, duplicate, inward};
use crate::uses::check_uses;

/// An extract's connection, described.
#[derive(Clone)]
#[expect(
    missing_debug_implementations,
    reason = "a connection may hold secrets and prints nothing"
)]
pub struct OpenSource {
    /// The connection, opened as a source.
    pub connection: Arc<dyn Connection>,
    /// What is read.
    pub dataset: Dataset,
    /// Its description.
    pub table: TableSchema,
    /// How the document wants it split.
    pub partition: PartitionBy,
    /// The part an incremental read takes; everything when none.
    pub range: Option<Range>,
}

/// The rows of an incremental read, by its cursor column.
#[derive(Debug, Clone, PartialEq)]
pub struct Range {
    /// The cursor column.
    pub column: String,
    /// Rows above this value; all when none.
    pub from: Option<Literal>,
    /// Rows at `from` as well.
    pub inclusive: bool,
    /// Rows up to this value; none at all when there is none.
    pub to: Option<Literal>,
    /// Only rows below `to`, none at it.
    pub below: bool,
}

/// How to compile.
#[derive(Debug, Clone)]
pub struct PlanOptions {
    /// The run's memory.
    pub budget: Budget,
    /// Streams that run side by side.
    pub parallel: usize,
    /// Where operators spill; must exist.
    pub spill_dir: PathBuf,
    /// Hash joins where they are known to fit; `SortMerge` forces every join to spill instead.
    pub joins: JoinPolicy,
    /// When the run began, in Unix milliseconds: what checks call now.
    pub started_ms: i64,
    /// Nodes whose rows are kept in an exchange before anything is written, because a load writes where they read.
    pub spool: BTreeSet<String>,
    /// Mask node → its key. A plan that never runs needs none.
    pub salts: BTreeMap<String, Salt>,
}

/// A compiled document.
#[derive(Debug)]
pub struct PlanGraph {
    /// Fragments, such that what one reads comes before it.
    pub fragments: Vec<Fragment>,
    /// Steps in the order of the graph.
    pub steps: Vec<StepInfo>,
    /// Counters by node.
    pub meters: Meters,
    /// Filled when fragments make their physical plans.
    reports: Arc<Mutex<Vec<SourceReport>>>,
}

/// A node as a step of the run.
#[derive(Debug, Clone)]
pub struct StepInfo {
    /// The node.
    pub node: String,
    /// Its operator.
    pub operator: &'static str,
    /// How its sums relate.
    pub kind: StepKind,
    /// Its inputs.
    pub inputs: Vec<String>,
    /// Where it runs.
    pub placement: Placement,
    /// A condition further down may sink below this step, so the rows it removes are missing here already.
    pub absorbs: bool,
}

impl PlanGraph {
    /// Steps whose checks may set rows aside, with the columns of those rows.
    pub fn quarantines(&self) -> BTreeMap<String, SchemaRef> {
        let found = std::cell::RefCell::new(BTreeMap::new());
        for fragment in &self.fragments {
            any_operator(&fragment.logical, &|plan| {
                if let LogicalPlan::Extension(extension) = plan
                    && let Some(check) = extension.node.as_any().downcast_ref::<Check>()
                    && check.sets_aside()
                {
                    found.borrow_mut().insert(check.node.clone(), check.visible());
                }
                false
            });
        }
        found.into_inner()
    }

    /// Whether a limit may leave rows of a source unread.
    pub fn has_limit(&self) -> bool {
        let cuts = |plan: &LogicalPlan| match plan {
            LogicalPlan::Limit(_) => true,
            LogicalPlan::Sort(sort) => sort.fetch.is_some(),
            LogicalPlan::TableScan(scan) => scan.fetch.is_some(),
            _ => false,
        };
        self.fragments
            .iter()
            .any(|fragment| any_operator(&fragment.logical, &cuts))
    }

    /// Whether a join holds one of its sides in memory where it could spill instead.
    pub fn holds_joins(&self) -> bool {
        let joins = |plan: &LogicalPlan| matches!(plan, LogicalPlan::Join(join) if !join.on.is_empty());
        self.fragments
            .iter()
            .any(|fragment| fragment.joins == JoinPolicy::Hash && any_operator(&fragment.logical, &joins))
    }

    /// Notes that a load's rows are relayed undecoded.
    pub fn relayed(&mut self, load: &str, relay: &Relay, form: &RawForm) {
        let nodes = relay.nodes();
        for step in &mut self.steps {
            if step.node == load || nodes.contains(&step.node.as_str()) {
                step.placement = Placement::Raw;
            }
        }
        if let Ok(mut reports) = self.reports.lock()
            && let Some(report) = reports.iter_mut().find(|report| report.node == relay.extract())
        {
            report.relayed(relay, form);
        }
    }

    /// Lets every source plan its scan and returns what each was asked for. Errors: `E02xx`, `E08xx`.
    pub async fn source_reports(&self) -> Result<Vec<SourceReport>> {
        for fragment in &self.fragments {
            fragment.physical().await?;
        }
        Ok(self
            .reports
            .lock()
            .map(|reports| reports.clone())
            .unwrap_or_default())
    }
}

/// Compiles a document. Errors, all at once: `E0401`, `E0402`, `E0406`, `E0408`, `E08xx`, each naming its node.
pub async fn compile(
    spec: &PipelineSpec,
    graph: &Graph,
    sources: &BTreeMap<String, OpenSource>,
    options: &PlanOptions,
) -> Result<PlanGraph> {
    let mut options = options.clone();
    loop {
        let (compiled, lost) = compile_once(spec, graph, sources, &options).await?;
        let known = options.spool.len();
        options.spool.extend(lost);
        if options.spool.len() == known {
            return Ok(compiled);
        }
        // The optimizer found that nobody needs the rows of a check; kept on their own, they are judged all the same.
    }
}

/// A plan graph, and the nodes whose checks the optimizer removed from it.
async fn compile_once(
    spec: &PipelineSpec,
    graph: &Graph,
    sources: &BTreeMap<String, OpenSource>,
    options: &PlanOptions,
) -> Result<(PlanGraph, BTreeSet<String>)> {
    let context = session(options)?;
    let mut compiler = Compiler {
        spec,
        graph,
        sources,
        options,
        context,
        meters: Meters::default(),
        relations: BTreeMap::new(),
        fragments: Vec::new(),
        reports: Arc::default(),
        failed: BTreeSet::new(),
    };
    let mut errors = Vec::new();
    for id in &graph.order {
        let Some(node) = spec.node(id) else { continue };
        if graph.inputs[id]
            .iter()
            .any(|input| compiler.failed.contains(&input.node))
        {
            compiler.failed.insert(id.clone());
            continue;
        }
        if let Err(error) = compiler.node(node).await {
            compiler.failed.insert(id.clone());
            errors.push(error.at_node(id));
        }
    }
    match Error::all(errors) {
        Some(error) => Err(error),
        None => compiler.finish(),
    }
}

struct Compiler<'a> {
    spec: &'a PipelineSpec,
    graph: &'a Graph,
    sources: &'a BTreeMap<String, OpenSource>,
    options: &'a PlanOptions,
    context: SessionContext,
    meters: Meters,
    /// Node or branch → its rows.
    relations: BTreeMap<InputRef, Relation>,
    fragments: Vec<Draft>,
    reports: Arc<Mutex<Vec<SourceReport>>>,
    failed: BTreeSet<String>,
}

/// The rows of a node, or of one branch of a switch.
enum Relation {
    /// Part of its only consumer's plan.
    Plan(LogicalPlan),
    /// Kept in spill files; `branch` selects the rows of one branch.
    Exchange {
        exchange: Arc<Exchange>,
        full: SchemaRef,
        branch: Option<i32>,
    },
}

/// A fragment before the exchanges it reads and writes are narrowed to what is needed.
struct Draft {
    node: String,
    output: Output,
    plan: LogicalPlan,
}

impl Compiler<'_> {
    async fn node(&mut self, node: &Node) -> Result<()> {
        let plan = self.lowered(node).await?;
        self.check_types(&plan)?;
        check_uses(&plan)?;
        unique_names(&plan)?;
        let meter = self.meters.step_mut(&node.id);
        if let Operator::Load(load) = &node.operator {
            check_load(load, &names(&plan))?;
            self.fragments.push(Draft {
                node: node.id.clone(),
                output: Output::Load(node.id.clone()),
                plan,
            });
            return Ok(());
        }
        let step = Step {
            node: node.id.clone(),
            input: plan,
            meter,
            computes: !matches!(node.operator, Operator::Extract(_)),
        };
        let step = LogicalPlan::Extension(Extension { node: Arc::new(step) });
        if let Operator::Switch(switch) = &node.operator {
            self.branches(node, switch, step);
            return Ok(());
        }
        let relation = if self.cuts().is_kept(&node.id) {
            let (exchange, full) = self.cut(node, step);
            Relation::Exchange {
                exchange,
                full,
                branch: None,
            }
        } else {
            Relation::Plan(step)
        };
        let whole = InputRef {
            node: node.id.clone(),
            branch: None,
        };
        self.relations.insert(whole, relation);
        Ok(())
    }

    async fn lowered(&mut self, node: &Node) -> Result<LogicalPlan> {
        if let Operator::Extract(_) = &node.operator {
            return self.extract(node);
        }
        let inputs = self.graph.inputs[&node.id].clone();
        let inputs = inputs.into_iter().map(|input| {
            let rows = self.rows_of(&input, node)?;
            Ok((input, rows))
        });
        let inputs = inputs.collect::<Result<Vec<_>>>()?;
        let mut lowering = Lowering {
            context: &self.context,
            node,
            inputs,
            meters: &mut self.meters,
            started_ms: self.options.started_ms,
            salt: self.options.salts.get(&node.id),
        };
        lowering.lower().await
    }

    /// Cuts at a switch: its rows are kept once, and each branch reads its part of them.
    fn branches(&mut self, node: &Node, switch: &Switch, step: LogicalPlan) {
        let (exchange, full) = self.cut(node, step);
        let names = switch.cases.iter().map(|case| case.to.clone());
        for (index, branch) in (0i32..).zip(names.chain(switch.otherwise.clone())) {
            let relation = Relation::Exchange {
                exchange: Arc::clone(&exchange),
                full: Arc::clone(&full),
                branch: Some(index),
            };
            let input = InputRef {
                node: node.id.clone(),
                branch: Some(branch),
            };
            self.relations.insert(input, relation);
        }
    }

    /// An input as a consumer reads it, under the input's name.
    fn rows_of(&mut self, input: &InputRef, consumer: &Node) -> Result<LogicalPlan> {
        let name = input.to_string();
        let relation = self
            .relations
            .get(input)
            .ok_or_else(|| Error::bug(format!("input `{name}` was not lowered")))?;
        let plan = match relation {
            Relation::Plan(plan) => plan.clone(),
            Relation::Exchange {
                exchange,
                full,
                branch,
            } => {
                let edge = edge_name(&name, &consumer.id);
                let meter = self.meters.step_mut(&edge);
                self.meters.step_mut(&consumer.id).read_on(&meter);
                let (exchange, full, branch) = (Arc::clone(exchange), Arc::clone(full), *branch);
                match branch {
                    None => scan(
                        &input.node,
                        Arc::new(ExchangeTable {
                            exchange,
                            full,
                            meter,
                        }),
                    )?,
                    Some(index) => {
                        let unmetered = Arc::default();
                        let shared = scan(
                            &input.node,
                            Arc::new(ExchangeTable {
                                exchange,
                                full,
                                meter: unmetered,
                            }),
                        )?;
                        let step = Step {
                            node: edge,
                            input: branch_rows(&shared, index)?,
                            meter,
                            computes: false,
                        };
                        LogicalPlan::Extension(Extension { node: Arc::new(step) })
                    }
                }
            }
        };
        aliased(plan, &name)
    }

    fn extract(&mut self, node: &Node) -> Result<LogicalPlan> {
        let open = self
            .sources
            .get(&node.id)
            .ok_or_else(|| Error::bug("an extract was not opened"))?
            .clone();
        if open.table.schema.fields().is_empty() {
            return Err(
                Error::new(Code::E0409, format!("`{}` has no columns", open.dataset.label()))
                    .with_hint("declare them under `options: {columns: {name: type}}`"),
            );
        }
        let meter = self.meters.step_mut(&node.id);
        if let Some(rows) = open.table.rows {
            meter.expect(rows);
        }
        let (range, schema) = (open.range.clone(), Arc::clone(&open.table.schema));
        let table = SourceTable {
            node: node.id.clone(),
            open,
            parallel: self.options.parallel,
            meter,
            reports: Arc::clone(&self.reports),
        };
        let rows = scan(&node.id, Arc::new(table))?;
        match range {
            None => Ok(rows),
            Some(range) => within(rows, &range, &schema),
        }
    }

    /// Makes a node a fragment of its own whose rows are kept in an exchange.
    fn cut(&mut self, node: &Node, plan: LogicalPlan) -> (Arc<Exchange>, SchemaRef) {
        let full = annotated(&plan);
        let exchange = Arc::new(Exchange::new(
            &node.id,
            Arc::clone(&full),
            self.options.spill_dir.clone(),
            self.options.budget.clone(),
            self.options.parallel,
        ));
        self.fragments.push(Draft {
            node: node.id.clone(),
            output: Output::Exchange(Arc::clone(&exchange)),
            plan,
        });
        (exchange, full)
    }

    fn cuts(&self) -> Cuts<'_> {
        Cuts {
            spec: self.spec,
            graph: self.graph,
            spool: &self.options.spool,
        }
    }

    fn check_types(&self, plan: &LogicalPlan) -> Result<()> {
        let state = self.context.state();
        state
            .analyzer()
            .execute_and_check(plan.clone(), state.config_options(), |_, _| {})
            .map(|_| ())
            .map_err(|e| inward(e, Phase::Planning))
    }

    /// Optimises consumers first, so that each exchange stores only the columns somebody reads.
    fn finish(mut self) -> Result<(PlanGraph, BTreeSet<String>)> {
        let mut lost = BTreeSet::new();
        let mut wanted: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut fragments = Vec::new();
        let drafts: Vec<Draft> = self.fragments.drain(..).collect();
        let state = self.context.state();
        for draft in drafts.into_iter().rev() {
            let Draft {
                node,
                output,
                mut plan,
            } = draft;
            if let Output::Exchange(exchange) = &output {
                plan = narrowed(plan, exchange, wanted.get(&node))?;
            }
            let schema = annotated(&plan);
            let logical = state
                .optimize(&plan)
                .map_err(|e| inward(e, Phase::Planning).at_node(&node))?;
            lost.extend(checks(&plan).difference(&checks(&logical)).cloned());
            let schema = retyped(&schema, &logical);
            if let Output::Exchange(exchange) = &output {
                exchange.narrow(Arc::clone(&schema));
            }
            // Also what the optimizer found nobody needs: its checks judge all the same, but nothing arrives.
            let needed = read_columns(&logical, &mut wanted);
            let reads = read_columns(&plan, &mut BTreeMap::new());
            each_exchange(&plan, &mut |_, table| {
                if !needed.contains(&table.exchange.node) {
                    self.meters.forget(&table.meter);
                }
            });
            let joins = self.join_policy(&logical);
            let notes = notes(&logical, joins);
            fragments.push(Fragment {
                id: 0,
                node,
                output,
                reads,
                schema,
                joins,
                notes,
                logical,
                context: self.context.clone(),
                physical: OnceCell::new(),
            });
        }
        fragments.reverse();
        for (id, fragment) in fragments.iter_mut().enumerate() {
            fragment.id = id;
        }
        let steps = self
            .graph
            .order
            .iter()
            .filter_map(|id| self.spec.node(id))
            .map(|node| step_info(node, self.spec, self.graph));
        let graph = PlanGraph {
            fragments,
            steps: steps.collect(),
            meters: self.meters.clone(),
            reports: Arc::clone(&self.reports),
        };
        Ok((graph, lost))
    }

    /// Hash joins when every join has a side known to be at most a quarter of the budget, else sort-merge.
    fn join_policy(&self, plan: &LogicalPlan) -> JoinPolicy {
        if self.options.joins == JoinPolicy::SortMerge {
            return JoinPolicy::SortMerge;
        }
        let quarter = self.options.budget.limit() / 4;
        let small = |side: &LogicalPlan| bytes_at_most(side).is_some_and(|bytes| bytes <= quarter);
        let large = any_operator(plan, &|p| match p {
            LogicalPlan::Join(join) => !small(&join.left) && !small(&join.right),
            _ => false,
        });
        if large {
            JoinPolicy::SortMerge
        } else {
            JoinPolicy::Hash
        }
    }
}

/// The rows of a range.
fn within(rows: LogicalPlan, range: &Range, schema: &Schema) -> Result<LogicalPlan> {
    let data_type = synqx_sdk::cursor::column_type(schema, &range.column)?;
    let cursor = Expr::Column(Column::from_name(range.column.clone()));
    let bound = |value: &Literal| -> Result<Expr> { Ok(lit(scalar(value, data_type)?)) };
    let condition = match &range.to {
        None => lit(false),
        Some(to) if range.below => cursor.clone().lt(bound(to)?),
        Some(to) => cursor.clone().lt_eq(bound(to)?),
    };
    let condition = match &range.from {
        None => condition,
        Some(from) if range.inclusive => condition.and(cursor.gt_eq(bound(from)?)),
        Some(from) => condition.and(cursor.gt(bound(from)?)),
    };
    LogicalPlanBuilder::from(rows)
        .filter(condition)
        .and_then(LogicalPlanBuilder::build)
        .map_err(|e| inward(e, Phase::Planning))
}

/// The meter of what a consumer read of a shared node or branch.
pub fn edge_name(input: &str, consumer: &str) -> String {
    format!("{input} → {consumer}")
}

fn step_info(node: &Node, spec: &PipelineSpec, graph: &Graph) -> StepInfo {
    let kind = match &node.operator {
        Operator::Extract(_) => StepKind::Extract,
        Operator::Load(_) => StepKind::Load,
        Operator::Filter(_)
        | Operator::Map(_)
        | Operator::Cast(_)
        | Operator::Rename(_)
        | Operator::Drop(_)
        | Operator::FillNulls(_)
        | Operator::RegexReplace(_)
        | Operator::Validate(_)
        | Operator::Switch(_)
        | Operator::Sort(_)
        | Operator::Window(_)
        | Operator::Mask(_) => StepKind::RowWise,
        Operator::Flatten(flatten) if flatten.explode.is_none() => StepKind::RowWise,
        Operator::Deduplicate(_)
        | Operator::Pivot(_)
        | Operator::Unpivot(_)
        | Operator::Flatten(_)
        | Operator::Lookup(_)
        | Operator::Aggregate(_)
        | Operator::Join(_)
        | Operator::Union(_)
        | Operator::Sql(_) => StepKind::RowChanging,
    };
    let inputs = graph.inputs[&node.id].iter().map(ToString::to_string).collect();
    let absorbs = absorbs(&node.id, spec, graph);
    StepInfo {
        node: node.id.clone(),
        operator: node.operator.word(),
        kind,
        inputs,
        placement: Placement::Engine,
        absorbs,
    }
}

fn scan(name: &str, table: Arc<dyn datafusion::catalog::TableProvider>) -> Result<LogicalPlan> {
    LogicalPlanBuilder::scan(TableReference::bare(name), provider_as_source(table), None)
        .and_then(LogicalPlanBuilder::build)
        .map_err(|e| inward(e, Phase::Planning))
}

fn aliased(plan: LogicalPlan, name: &str) -> Result<LogicalPlan> {
    LogicalPlanBuilder::from(plan)
        .alias(TableReference::bare(name))
        .and_then(LogicalPlanBuilder::build)
        .map_err(|e| inward(e, Phase::Planning))
}

/// The rows of one branch, without the routing column.
fn branch_rows(shared: &LogicalPlan, index: i32) -> Result<LogicalPlan> {
    let columns = names(shared)
        .into_iter()
        .filter(|n| n != BRANCH)
        .map(|n| col(quoted(&n)));
    LogicalPlanBuilder::from(shared.clone())
        .filter(col(BRANCH).eq(lit(index)))
        .and_then(|b| b.project(columns.collect::<Vec<_>>()))
        .and_then(LogicalPlanBuilder::build)
        .map_err(|e| inward(e, Phase::Planning))
}

fn unique_names(plan: &LogicalPlan) -> Result<()> {
    let all = names(plan);
    let twice = all
        .iter()
        .enumerate()
        .filter(|(i, name)| all[..*i].contains(name))
        .map(|(_, name)| duplicate(name));
    Error::all(twice).map_or(Ok(()), Err)
}

/// Key, order and loss columns of a load must arrive. Errors: `E0408`, `E0401`, `E0103`.
fn check_load(load: &Load, columns: &[String]) -> Result<()> {
    let mut errors: Vec<Error> = Vec::new();
    for key in load.key.iter().filter(|key| !columns.contains(key)) {
        let near = synqx_model::nearest::did_you_mean(key, columns.iter().map(String::as_str));
        errors.push(
            Error::new(
                Code::E0408,
                format!("key column `{key}` does not arrive at the load"),
            )
            .with_hint(near),
        );
    }
    let order = load
        .order_by
        .iter()
        .map(|text| synqx_sdk::OrderBy::parse(text).column);
    for column in order.chain(load.allow_loss.iter().cloned()) {
        errors.extend(require(columns, &column).err());
    }
    if load.write == synqx_model::spec::WriteMode::Upsert && load.key.is_empty() {
        errors.push(
            Error::new(Code::E0408, "an upsert has no key").with_hint("name the key columns: `key: [id]`"),
        );
    }
    Error::all(errors).map_or(Ok(()), Err)
}

/// The plan of a shared node with only the columns its consumers read (one at least).
fn narrowed(
    plan: LogicalPlan,
    exchange: &Exchange,
    wanted: Option<&BTreeSet<String>>,
) -> Result<LogicalPlan> {
    let schema = exchange.schema();
    let keep = |name: &str| wanted.is_none_or(|wanted| wanted.contains(name));
    let mut kept: Vec<String> = schema
        .fields()
        .iter()
        .map(|f| f.name().clone())
        .filter(|n| keep(n))
        .collect();
    if kept.is_empty() {
        kept.extend(schema.fields().first().map(|f| f.name().clone()));
    }
    if kept.len() == schema.fields().len() {
        return Ok(plan);
    }
    let columns = plan
        .schema()
        .columns()
        .into_iter()
        .filter(|c| kept.contains(&c.name));
    let columns: Vec<_> = columns.map(datafusion::logical_expr::Expr::Column).collect();
    LogicalPlanBuilder::from(plan)
        .project(columns)
        .and_then(LogicalPlanBuilder::build)
        .map_err(|e| inward(e, Phase::Planning))
}

/// Annotations of `schema` on the types the optimised plan really has.
fn retyped(schema: &SchemaRef, plan: &LogicalPlan) -> SchemaRef {
    let fields = schema
        .fields()
        .iter()
        .zip(plan.schema().fields())
        .map(|(annotated, real)| {
            let field = annotated.as_ref().clone();
            if annotated.data_type() == real.data_type() {
                field.with_nullable(real.is_nullable())
            } else {
                datafusion::arrow::datatypes::Field::new(
                    real.name(),
                    real.data_type().clone(),
                    real.is_nullable(),
                )
            }
        });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// Which exchanges a plan reads, and which of their columns.
fn read_columns(plan: &LogicalPlan, wanted: &mut BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let mut reads = Vec::new();
    each_exchange(plan, &mut |scan, table| {
        let columns = wanted.entry(table.exchange.node.clone()).or_default();
        columns.extend(scan.projected_schema.fields().iter().map(|f| f.name().clone()));
        for filter in &scan.filters {
            columns.extend(filter.column_refs().iter().map(|c| c.name.clone()));
        }
        if !reads.contains(&table.exchange.node) {
            reads.push(table.exchange.node.clone());
        }
    });
    reads
}

fn each_exchange(plan: &LogicalPlan, found: &mut dyn FnMut(&TableScan, &ExchangeTable)) {
    let _ = plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && let Ok(provider) = source_as_provider(&scan.source)
            && let Some(table) = (provider.as_ref() as &dyn std::any::Any).downcast_ref::<ExchangeTable>()
        {
            found(scan, table);
        }
        Ok(TreeNodeRecursion::Continue)
    });
}
