//! The pipeline document as types: one `PipelineSpec`, two spellings (YAML in git, JSON of the API).
//!
//! `yaml` and `json` read and write the spellings, `decode` turns a tree of values into these types and reports
//! everything wrong with it at once, `operator` holds what a node can be, `load` what a load says, `schema` generates the JSON Schema.
//! The types hold what was written; what it means for data is decided by the `plan` crate.

pub mod checks;
mod decode;
mod json;
pub mod load;
pub mod operator;
pub mod reshape;
mod schema;
mod yaml;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

pub use checks::*;
pub use decode::{decode, decode_map};
pub use load::*;
pub use operator::*;
pub use reshape::*;
pub use schema::json_schema;

use crate::size::Span;

/// A pipeline version: what it reads, what it does, where it writes.
#[derive(Debug, Clone, PartialEq)]
pub struct PipelineSpec {
    /// Fixes the pipeline's identity for positions and fences; without it the name is the identity.
    pub id: Option<String>,
    /// The pipeline's name.
    pub name: String,
    /// One or two sentences for people.
    pub description: Option<String>,
    /// When the control plane starts it.
    pub schedule: Option<Schedule>,
    /// Connections by name. Empty when the control plane holds them.
    pub connections: BTreeMap<String, ConnectionSpec>,
    /// Where rejected rows go; by default a Parquet file under `.synqx/quarantine/`.
    pub quarantine: Option<Quarantine>,
    /// The nodes, in the order of the document.
    pub nodes: Vec<Node>,
}

/// A cron schedule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Five or six cron fields.
    pub cron: String,
    /// IANA time zone; UTC when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// Whether the schedule fires.
    #[serde(default = "yes")]
    pub enabled: bool,
}

fn yes() -> bool {
    true
}

/// A connection: the connector's kind and its own configuration, which the connector reads.
#[derive(Debug, Clone, PartialEq)]
pub struct ConnectionSpec {
    /// `local_file`, `postgresql`, `sqlite`, …
    pub kind: String,
    /// The connector's configuration; any text may be a `secret://` reference.
    pub config: Map<String, Value>,
}

/// Where rejected rows go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Quarantine {
    /// Connection.
    pub to: String,
    /// Asset at that connection.
    pub asset: String,
}

/// One node of the graph.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Letters, digits, `_` and `-`; begins with a letter or `_`.
    pub id: String,
    /// A name for people.
    pub name: Option<String>,
    /// What it does.
    pub operator: Operator,
    /// How often and when this node's work is repeated after a passing fault.
    pub retry: Option<RetryPolicy>,
    /// Longest time for this node.
    pub timeout: Option<Span>,
}

/// How work is repeated after a passing fault.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RetryPolicy {
    /// Repetitions after the first attempt.
    pub max: u32,
    /// How the wait grows.
    #[serde(default)]
    pub strategy: RetryStrategy,
    /// The first wait.
    #[serde(default = "one_second")]
    pub delay: Span,
}

fn one_second() -> Span {
    Span(std::time::Duration::from_secs(1))
}

/// How the wait between attempts grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RetryStrategy {
    /// Always the same.
    Fixed,
    /// One, two, three … times the delay.
    Linear,
    /// Doubles each time, with jitter.
    #[default]
    Exponential,
}

impl PipelineSpec {
    /// What positions and fences are filed under: the `id`, else the name.
    pub fn key(&self) -> &str {
        self.id.as_deref().unwrap_or(&self.name)
    }

    /// SHA-256 of the canonical JSON, hex. Two documents that mean the same node for node hash alike.
    pub fn hash(&self) -> String {
        let text = canonical(&self.to_value());
        Sha256::digest(text.as_bytes())
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect()
    }

    /// The node of this id.
    pub fn node(&self, id: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.id == id)
    }
}

/// JSON text with keys sorted at every level.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let sorted: BTreeMap<_, _> = map.iter().collect();
            let parts: Vec<_> = sorted
                .iter()
                .map(|(k, v)| format!("{}:{}", Value::from(k.as_str()), canonical(v)))
                .collect();
            format!("{{{}}}", parts.join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
