//! Fragments that change nothing: the rows of one scan, maybe fewer columns in another order, counted on their way.
//!
//! What such a fragment would send can be relayed undecoded where source and destination agree on a form. Whether
//! nothing happens is read off the physical plan, after everything that could sink into the source has sunk.

use std::sync::Arc;

use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::projection::ProjectionExec;
use synqx_model::spec::PartitionBy;
use synqx_model::{Error, Result};
use synqx_sdk::{RawReader, ReadPlan, Scan, Source};

use crate::compile::OpenSource;
use crate::fragment::Fragment;
use crate::meter::StepMeter;
use crate::source::SourceExec;
use crate::step::{Step, StepExec};

/// A scan whose rows a fragment hands on as they are.
pub struct Relay {
    extract: String,
    open: OpenSource,
    scan: Scan,
    plan: ReadPlan,
    steps: Vec<(String, Arc<StepMeter>)>,
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Relay({:?})", self.nodes())
    }
}

impl Relay {
    /// What is read: the columns are those of the fragment, in its order, under the names of the source.
    pub fn scan(&self) -> &Scan {
        &self.scan
    }

    /// The source.
    pub fn source(&self) -> Result<&dyn Source> {
        let source = self.open.connection.source();
        source.ok_or_else(|| Error::bug("a source that does not read"))
    }

    /// The extract.
    pub fn extract(&self) -> &str {
        &self.extract
    }

    /// The nodes whose rows pass, the extract first.
    pub fn nodes(&self) -> Vec<&str> {
        self.steps.iter().map(|(node, _)| node.as_str()).collect()
    }

    /// The counters of those nodes.
    pub fn meters(&self) -> impl Iterator<Item = &Arc<StepMeter>> {
        self.steps.iter().map(|(_, meter)| meter)
    }

    /// Plans the read anew where it is not one for so many lanes; one lane reads one part. Errors: `E02xx`.
    pub async fn for_lanes(mut self, lanes: usize) -> Result<Self> {
        let whole = self.plan.schema.fields().len() == self.scan.columns.len();
        if whole && (lanes > 1 || self.plan.partitions.len() <= 1) {
            return Ok(self);
        }
        if lanes <= 1 {
            self.scan.partition = PartitionBy::None;
        }
        self.scan.parallel = lanes.max(1);
        self.plan = self.source()?.plan(&self.scan).await?;
        Ok(self)
    }

    /// What the source will do.
    pub fn plan(&self) -> &ReadPlan {
        &self.plan
    }

    /// Takes the snapshot. Errors: `E0215`, `E02xx`.
    pub async fn open(&self) -> Result<Box<dyn RawReader>> {
        self.source()?.open_raw(&self.scan, &self.plan).await
    }
}

impl Fragment {
    /// The scan whose rows are the fragment's, where the fragment does nothing with them. Errors: `E02xx`.
    pub async fn relay(&self) -> Result<Option<Relay>> {
        if !passes(&self.logical) {
            return Ok(None);
        }
        let physical = self.physical().await?;
        let mut steps = Vec::new();
        let Some((source, columns)) = untouched(physical.as_ref(), &mut steps) else {
            return Ok(None);
        };
        let mut scan = source.scan().clone();
        let mut wanted: Vec<String> = Vec::with_capacity(columns.len());
        for index in columns {
            match scan.columns.get(index) {
                Some(name) if !wanted.contains(name) => wanted.push(name.clone()),
                _ => return Ok(None),
            }
        }
        scan.columns = wanted;
        steps.reverse();
        Ok(Some(Relay {
            extract: source.node().to_owned(),
            open: source.open().clone(),
            plan: source.plan().clone(),
            scan,
            steps,
        }))
    }
}

/// Whether a plan can come out as a bare scan, before a physical one is made of it.
fn passes(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::TableScan(_) => true,
        LogicalPlan::SubqueryAlias(alias) => passes(&alias.input),
        LogicalPlan::Projection(projection) => passes(&projection.input),
        LogicalPlan::Extension(extension) => match extension.node.as_any().downcast_ref::<Step>() {
            Some(step) => passes(&step.input),
            None => false,
        },
        _ => false,
    }
}

/// The scan below steps and bare choices of columns, with the scan's column behind each column that comes out.
fn untouched<'a>(
    plan: &'a dyn ExecutionPlan,
    steps: &mut Vec<(String, Arc<StepMeter>)>,
) -> Option<(&'a SourceExec, Vec<usize>)> {
    if let Some(source) = plan.downcast_ref::<SourceExec>() {
        let columns = source.schema().fields().len();
        return Some((source, (0..columns).collect()));
    }
    if let Some(step) = plan.downcast_ref::<StepExec>() {
        steps.push((step.node().to_owned(), Arc::clone(step.meter())));
        return untouched(step.input().as_ref(), steps);
    }
    if let Some(yielding) = plan.downcast_ref::<CooperativeExec>() {
        return untouched(yielding.input().as_ref(), steps);
    }
    let projection = plan.downcast_ref::<ProjectionExec>()?;
    let (source, below) = untouched(projection.input().as_ref(), steps)?;
    let columns = projection.expr().iter().map(|chosen| {
        let column = chosen.expr.downcast_ref::<Column>()?;
        below.get(column.index()).copied()
    });
    Some((source, columns.collect::<Option<Vec<usize>>>()?))
}
