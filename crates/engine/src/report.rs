//! `synqx plan`: the truth about a run before it runs.
//!
//! Sources plan their scans, destinations prepare without changing anything, and the report says where each part
//! runs, what reaches which source, how rows become visible and what a repeated run would mean.

use std::collections::BTreeMap;

use serde::Serialize;
use synqx_model::dag::Graph;
use synqx_model::{PipelineSpec, Result};
use synqx_plan::{Placement, SourceReport};
use synqx_sdk::Preparation;

use crate::prepare::Prepared;
use crate::{Engine, RunOptions};

/// The plan of a document.
#[derive(Debug, Clone, Serialize)]
pub struct PlanReport {
    /// The pipeline's key.
    pub pipeline: String,
    /// Hash of the document.
    pub spec_hash: String,
    /// The byte budget.
    pub memory: u64,
    /// Streams side by side.
    pub parallel: usize,
    /// Nodes that can run side by side, layer by layer.
    pub layers: Vec<Vec<String>>,
    /// Node → operator and placement, in the order of the graph.
    pub steps: Vec<StepReport>,
    /// Fragments in the order they run.
    pub fragments: Vec<FragmentReport>,
    /// What each source is asked for.
    pub sources: Vec<SourceReport>,
    /// What each load will do.
    pub loads: Vec<LoadReport>,
    /// Sentences about the run as a whole.
    pub notes: Vec<String>,
}

/// A node in the plan.
#[derive(Debug, Clone, Serialize)]
pub struct StepReport {
    /// The node.
    pub node: String,
    /// Its operator.
    pub operator: String,
    /// Where it runs.
    pub placement: Placement,
    /// Its inputs.
    pub inputs: Vec<String>,
}

/// A fragment in the plan.
#[derive(Debug, Clone, Serialize)]
pub struct FragmentReport {
    /// The load, or the shared node kept in spill files.
    pub node: String,
    /// `load` or `exchange`.
    pub output: &'static str,
    /// Shared nodes it reads.
    pub reads: Vec<String>,
    /// Column names and types that come out.
    pub columns: BTreeMap<String, String>,
    /// What a person should know, such as how joins run.
    pub notes: Vec<String>,
}

/// A load in the plan.
#[derive(Debug, Clone, Serialize)]
pub struct LoadReport {
    /// The load node.
    pub node: String,
    /// Connection and asset.
    pub target: String,
    /// The write mode.
    pub mode: &'static str,
    /// The guarantee in words.
    pub guarantee: &'static str,
    /// The publish path, lanes, statements.
    pub preparation: Preparation,
}

pub(crate) async fn plan(engine: &Engine, spec: &PipelineSpec, options: &RunOptions) -> Result<PlanReport> {
    let graph = Graph::build(spec)?;
    let spill = crate::run::spill_dir()?;
    let policy = synqx_plan::JoinPolicy::Hash;
    let prepared = Prepared::new(engine, spec, None, options, spill.path(), policy).await?;
    let sources = prepared.plan.source_reports().await?;
    let steps = prepared.plan.steps.iter().map(|step| StepReport {
        node: step.node.clone(),
        operator: step.operator.to_owned(),
        placement: step.placement,
        inputs: step.inputs.clone(),
    });
    let fragments = prepared.plan.fragments.iter().map(|fragment| FragmentReport {
        node: fragment.node.clone(),
        output: if matches!(fragment.output, synqx_plan::Output::Load(_)) {
            "load"
        } else {
            "exchange"
        },
        reads: fragment.reads.clone(),
        columns: fragment
            .schema
            .fields()
            .iter()
            .map(|f| {
                (
                    f.name().clone(),
                    synqx_sdk::type_names::render_type(f.data_type()),
                )
            })
            .collect(),
        notes: fragment.notes.clone(),
    });
    let loads = prepared.loads.iter().map(|load| LoadReport {
        node: load.node.clone(),
        target: load.label.clone(),
        mode: load.target.mode.as_str(),
        guarantee: load.preparation.delivery.as_str(),
        preparation: load.preparation.clone(),
    });
    let (steps, fragments) = (steps.collect(), fragments.collect());
    let loads: Vec<_> = loads.collect();
    let mut notes = prepared.notes.clone();
    if loads.len() > 1 {
        notes.push(
            "loads commit one after another once all have written; there is no atomicity across destinations"
                .to_owned(),
        );
    }
    Ok(PlanReport {
        pipeline: spec.key().to_owned(),
        spec_hash: spec.hash(),
        memory: options.memory.0,
        parallel: options.streams(),
        layers: graph.layers.clone(),
        steps,
        fragments,
        sources,
        loads,
        notes,
    })
}
