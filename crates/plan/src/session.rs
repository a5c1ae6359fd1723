//! The DataFusion session of one compilation: configuration, memory, our operators' planners.
//!
//! Everything that shapes how a fragment runs is set here once. Defaults that would surprise (automatic statistics
//! reads, catalogs, URL tables) are off; a document can only see the relations its node names.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::execution::context::{QueryPlanner, SessionContext};
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{LogicalPlan, UserDefinedLogicalNode};
use datafusion::optimizer::{Analyzer, AnalyzerRule};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner};
use datafusion::prelude::SessionConfig;

use crate::arithmetic::CheckedIntegers;
use crate::check::{Check, CheckExec};
use crate::compile::PlanOptions;
use crate::fragment::JoinPolicy;
use crate::functions;
use crate::memory::{BudgetPool, operator_bytes};
use crate::step::{Step, StepExec};
use crate::trouble::{Phase, inward};
use crate::unions::FloatUnions;

/// A session for compiling and running fragments.
pub(crate) fn session(options: &PlanOptions) -> synqx_model::Result<SessionContext> {
    // Every stream of every sort holds a share: a small budget is spent on few of them, in smaller batches.
    let operators = operator_bytes(&options.budget);
    // Two at least: with one, DataFusion knows hash joins only.
    let streams = options.parallel.min(operators >> 24).max(2);
    let mut config = SessionConfig::new()
        .with_target_partitions(streams)
        .with_batch_size((operators >> 13).clamp(512, 8192))
        .with_information_schema(false)
        .with_create_default_catalog_and_schema(true)
        .with_collect_statistics(false);
    let set = config.options_mut();
    set.optimizer.prefer_hash_join = options.joins == JoinPolicy::Hash;
    set.optimizer.repartition_file_scans = false;
    // The pool guarantees every merge its share; nothing has to be set aside beforehand.
    set.execution.sort_spill_reservation_bytes = (operators / 64).min(1 << 20);
    set.execution.sort_in_place_threshold_bytes = (operators / 64).min(1 << 20);
    set.sql_parser.dialect = datafusion::config::Dialect::PostgreSQL;
    let disk = DiskManagerBuilder::default()
        .with_mode(DiskManagerMode::Directories(vec![options.spill_dir.clone()]));
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(BudgetPool::new(options.budget.clone())))
        .with_disk_manager_builder(disk)
        .build_arc()
        .map_err(|e| inward(e, Phase::Planning))?;
    let state = SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(runtime)
        .with_default_features()
        .with_analyzer_rules(analyzer_rules())
        .with_query_planner(Arc::new(Planner))
        .build();
    let context = SessionContext::new_with_state(state);
    functions::register(&context);
    Ok(context)
}

/// DataFusion's, and ours: before types are coerced, and after.
fn analyzer_rules() -> Vec<Arc<dyn AnalyzerRule + Send + Sync>> {
    let mut rules = Analyzer::new().rules;
    let coercion = rules.iter().position(|rule| rule.name() == "type_coercion");
    rules.insert(coercion.unwrap_or_default(), Arc::new(FloatUnions));
    rules.push(Arc::new(CheckedIntegers));
    rules
}

#[derive(Debug)]
struct Planner;

#[async_trait]
impl QueryPlanner for Planner {
    async fn create_physical_plan(
        &self,
        plan: &LogicalPlan,
        session: &dyn Session,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let planner = DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(OwnOperators)]);
        planner.create_physical_plan(plan, session).await
    }
}

struct OwnOperators;

#[async_trait]
impl ExtensionPlanner for OwnOperators {
    async fn plan_extension(
        &self,
        planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        logical_inputs: &[&LogicalPlan],
        physical_inputs: &[Arc<dyn ExecutionPlan>],
        session: &dyn Session,
        context: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        if let Some(step) = node.as_any().downcast_ref::<Step>() {
            return Ok(Some(Arc::new(StepExec::new(
                step,
                Arc::clone(&physical_inputs[0]),
            ))));
        }
        if let Some(check) = node.as_any().downcast_ref::<Check>() {
            let schema = logical_inputs[0].schema();
            let verdicts = check
                .verdicts
                .iter()
                .map(|v| planner.create_physical_expr(v, schema, session, context))
                .collect::<Result<_>>()?;
            return Ok(Some(Arc::new(CheckExec::new(
                check,
                verdicts,
                Arc::clone(&physical_inputs[0]),
            ))));
        }
        Ok(None)
    }
}

/// Whether any operator of a plan satisfies a test.
pub(crate) fn any_operator(plan: &LogicalPlan, test: &dyn Fn(&LogicalPlan) -> bool) -> bool {
    let mut found = false;
    let _ = plan.apply(|node| {
        found |= test(node);
        Ok(if found {
            TreeNodeRecursion::Stop
        } else {
            TreeNodeRecursion::Continue
        })
    });
    found
}
