//! `run.json`: the record of one run, with sums that must close.
//!
//! Every edge is counted on both sides. Row-wise nodes close `in = out + filtered + quarantined + dropped`; a load
//! closes `in = inserted + updated + unchanged + superseded + quarantined + dropped`. `verify` is the third
//! sentence of the house as a function: a run whose sums do not close fails with `E0505`.

use serde::{Deserialize, Serialize};

use crate::ids::RunId;
use crate::position::Position;
use crate::spec::{Severity, Threshold};
use crate::{Code, Error};

/// How a node's rows relate to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    /// Reads a source.
    Extract,
    /// One row in, at most one row out: the sums must close.
    RowWise,
    /// Joins, aggregates, unions …: in and out are recorded without an equation.
    RowChanging,
    /// Writes to a destination: the sums must close.
    Load,
}

/// Rows of one step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// The node.
    pub node: String,
    /// Its operator, as the document spells it.
    pub operator: String,
    /// How its sums relate.
    pub kind: StepKind,
    /// Rows per input edge, as this step received them, in the order of its inputs.
    pub rows_in: Vec<EdgeCount>,
    /// Rows it emitted (to each consumer alike); for loads, rows handed to the writers.
    pub rows_out: u64,
    /// Bytes of Arrow memory that passed.
    pub bytes: u64,
    /// Rows a condition removed.
    pub filtered: u64,
    /// Rows set aside.
    pub quarantined: u64,
    /// Rows a check dropped.
    pub dropped: u64,
    /// A filter of this node was taken over by the source, which does not say what it removed.
    pub source_filtered: bool,
    /// A limit above cut the read short.
    pub partial_read: bool,
    /// Seconds between the first and the last batch.
    pub seconds: f64,
    /// For loads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<LoadRecord>,
    /// For validate nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<CheckRecord>,
}

/// Rows that arrived over one edge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgeCount {
    /// The upstream node.
    pub from: String,
    /// Rows as the producer counted them.
    pub emitted: u64,
    /// Rows as this step counted them.
    pub received: u64,
}

/// What a load did with its rows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadRecord {
    /// Rows that are new at the destination.
    pub inserted: u64,
    /// Rows that changed.
    pub updated: u64,
    /// Rows that were there, equal.
    pub unchanged: u64,
    /// Rows that lost against a newer one of the same key in this load.
    pub superseded: u64,
    /// Rows removed from the destination (not part of the equation).
    pub deleted: u64,
    /// *direct*, *fresh* or *staged*.
    pub publish_path: String,
    /// The fence this load committed under.
    pub fence: u64,
    /// What was committed with the rows.
    pub position: Position,
    /// An earlier attempt of this run had committed it.
    pub already_committed: bool,
}

/// How far a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// It holds, or what failed is below every threshold.
    #[default]
    Ok,
    /// The run succeeds with warnings.
    Warn,
    /// The run fails.
    Fail,
}

impl Level {
    /// The word of `run.json`.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Ok => "ok",
            Level::Warn => "warn",
            Level::Fail => "fail",
        }
    }
}

/// How a check went. `assertion`, `columns`, `success` and `severity` are what OpenLineage calls an assertion.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct CheckRecord {
    /// The check in words, such as `dep_delay between -120 and 2000`.
    pub check: String,
    /// What happens to failing rows.
    pub action: String,
    /// Rows that failed this check; of a check of the whole table, none.
    pub failed_rows: u64,
    /// The rule's id, as the quarantine names it.
    #[serde(default)]
    pub rule: String,
    /// What is demanded, in the word of the document, such as `range`.
    #[serde(default)]
    pub assertion: String,
    /// The columns judged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// Whether it holds for every row, or for the table.
    #[serde(default)]
    pub success: bool,
    /// What the run makes of it.
    #[serde(default)]
    pub level: Level,
    /// Rows it judged.
    #[serde(default)]
    pub judged_rows: u64,
    /// Failed rows by judged rows, 0 to 1; 0 when there were none.
    #[serde(default)]
    pub ratio: f64,
    /// As the document says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    /// As the document says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warn_above: Option<Threshold>,
    /// As the document says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fail_above: Option<Threshold>,
    /// What a check of the whole table measured: rows, a share, an age in milliseconds, or a number that may be a value of a row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured: Option<f64>,
}

/// The record of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The run.
    pub run: RunId,
    /// The pipeline's key.
    pub pipeline: String,
    /// Hash of the document (SHA-256 of its canonical JSON).
    pub spec_hash: String,
    /// Version of the program.
    pub synqx: String,
    /// `succeeded`, `succeeded_with_warnings`, `failed`, `cancelled`.
    pub state: String,
    /// Unix milliseconds.
    pub started_ms: i64,
    /// Wall-clock seconds.
    pub seconds: f64,
    /// Attempts made.
    pub attempts: u32,
    /// The byte budget.
    pub memory_budget: u64,
    /// Most bytes of the budget in use at once.
    pub peak_budget: u64,
    /// Most resident memory of the process, bytes.
    pub peak_resident: u64,
    /// One record per step, in the order of the graph.
    pub steps: Vec<StepRecord>,
    /// Where rejected rows went.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quarantine: Vec<String>,
    /// Warnings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Why the run ended early.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<serde_json::Value>,
}

impl Manifest {
    /// Checks every edge and every equation. Errors: `E0505` naming each step whose sums do not close.
    pub fn verify(&self) -> Result<(), Error> {
        match Error::all(
            self.steps
                .iter()
                .filter_map(|step| step.imbalance().map(|m| unbalanced(step, m))),
        ) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

fn unbalanced(step: &StepRecord, message: String) -> Error {
    Error::new(
        Code::E0505,
        format!("rows of step `{}` are not accounted for", step.node),
    )
    .at_node(&step.node)
    .with_detail(message)
    .with_hint("do not trust this run's result; run it again, and report it with run.json")
}

impl StepRecord {
    /// The first sum that does not close, in words.
    pub fn imbalance(&self) -> Option<String> {
        if !self.partial_read {
            for edge in &self.rows_in {
                if edge.emitted != edge.received {
                    return Some(format!(
                        "`{}` emitted {} rows, {} arrived.",
                        edge.from, edge.emitted, edge.received
                    ));
                }
            }
        }
        let received: u64 = self.rows_in.iter().map(|edge| edge.received).sum();
        match (self.kind, &self.load) {
            (StepKind::RowWise, _) if !self.source_filtered && !self.partial_read => {
                let out = self.rows_out + self.filtered + self.quarantined + self.dropped;
                (received != out).then(|| {
                    format!(
                        "{received} rows in, but {} out + {} filtered + {} quarantined + {} dropped = {out}.",
                        self.rows_out, self.filtered, self.quarantined, self.dropped
                    )
                })
            }
            (StepKind::Load, Some(load)) if !load.already_committed => {
                let out = load.inserted + load.updated + load.unchanged + load.superseded;
                let out = out + self.quarantined + self.dropped;
                (received != out).then(|| {
                    format!(
                        "{received} rows in, but {} inserted + {} updated + {} unchanged + {} superseded = {out}.",
                        load.inserted, load.updated, load.unchanged, load.superseded
                    )
                })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(kind: StepKind, emitted: u64, received: u64, out: u64) -> StepRecord {
        StepRecord {
            node: "n".into(),
            operator: "filter".into(),
            kind,
            rows_in: vec![EdgeCount {
                from: "m".into(),
                emitted,
                received,
            }],
            rows_out: out,
            bytes: 0,
            filtered: 0,
            quarantined: 0,
            dropped: 0,
            source_filtered: false,
            partial_read: false,
            seconds: 0.0,
            load: None,
            checks: vec![],
        }
    }

    #[test]
    fn a_lost_row_on_an_edge_is_seen() {
        assert!(step(StepKind::RowChanging, 10, 9, 4).imbalance().is_some());
        assert!(step(StepKind::RowChanging, 10, 10, 4).imbalance().is_none());
    }

    #[test]
    fn a_row_wise_step_must_close() {
        assert!(step(StepKind::RowWise, 10, 10, 9).imbalance().is_some());
        let mut closed = step(StepKind::RowWise, 10, 10, 9);
        closed.quarantined = 1;
        assert!(closed.imbalance().is_none());
    }

    #[test]
    fn a_load_must_close() {
        let mut load = step(StepKind::Load, 10, 10, 10);
        load.load = Some(LoadRecord {
            inserted: 7,
            updated: 1,
            unchanged: 1,
            ..Default::default()
        });
        assert!(load.imbalance().is_some());
        load.load = Some(LoadRecord {
            inserted: 7,
            updated: 1,
            unchanged: 1,
            superseded: 1,
            ..Default::default()
        });
        assert!(load.imbalance().is_none());
    }
}
