//! What `synqx plan` shows of a plan graph: where each part runs, what sank into which source, and why not.
//!
//! Plain records, filled while sources plan their scans; the words are the CLI's. Placement has all its words from
//! the start, so that nothing downstream changes when pushdown and clusters arrive.

use serde::Serialize;
use synqx_sdk::{Acceptance, Predicate, RawForm, ReadPlan, Scan};

use crate::relay::Relay;

/// Where a part of the plan runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Placement {
    /// One statement in the database that holds the data.
    Pushed,
    /// Streamed here, bounded memory, spill to disk.
    Engine,
    /// Ballista or Spark.
    Cluster,
    /// Bytes relayed, nothing decoded.
    Raw,
}

/// What a source was asked for.
#[derive(Debug, Clone, Serialize)]
pub struct SourceReport {
    /// The extract node.
    pub node: String,
    /// The statement or path, as a person would run it.
    pub statement: String,
    /// Columns read.
    pub columns: Vec<String>,
    /// Columns the asset has.
    pub columns_of_asset: usize,
    /// Filters the source applies exactly.
    pub exact: Vec<String>,
    /// Filters the source applies as a superset; applied again here.
    pub superset: Vec<String>,
    /// The limit that reached the source.
    pub limit: Option<u64>,
    /// Parts read side by side, by label.
    pub partitions: Vec<String>,
    /// Rows expected.
    pub rows: Option<u64>,
    /// Bytes expected.
    pub bytes: Option<u64>,
    /// Sentences a person should read.
    pub notes: Vec<String>,
}

impl SourceReport {
    pub(crate) fn new(
        node: &str,
        scan: &Scan,
        plan: &ReadPlan,
        judged: &[(Predicate, Acceptance)],
        offered: usize,
    ) -> Self {
        let with = |wanted: Acceptance| {
            judged
                .iter()
                .filter(|(_, a)| *a == wanted)
                .map(|(p, _)| p.to_string())
                .collect::<Vec<_>>()
        };
        debug_assert!(judged.len() <= offered);
        SourceReport {
            node: node.to_owned(),
            statement: plan.statement.clone(),
            columns: scan.columns.clone(),
            columns_of_asset: scan.table.schema.fields().len(),
            exact: with(Acceptance::Exact),
            superset: with(Acceptance::Superset),
            limit: scan.limit,
            partitions: plan.partitions.iter().map(|p| p.label.clone()).collect(),
            rows: plan.rows,
            bytes: plan.bytes,
            notes: scan.table.notes.iter().chain(&plan.notes).cloned().collect(),
        }
    }

    /// The scan is read in its raw form, maybe in other parts.
    pub(crate) fn relayed(&mut self, relay: &Relay, form: &RawForm) {
        let plan = relay.plan();
        self.statement.clone_from(&form.statement);
        self.columns.clone_from(&relay.scan().columns);
        self.partitions = plan.partitions.iter().map(|p| p.label.clone()).collect();
        self.notes = relay
            .scan()
            .table
            .notes
            .iter()
            .chain(&plan.notes)
            .cloned()
            .collect();
    }
}
