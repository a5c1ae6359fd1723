//! From a tree of values to the document's types, reporting everything wrong at once.
//!
//! The tree comes from YAML or JSON; the rules are the same. Every unknown key is an error with the nearest known
//! one, every error names its place (`nodes.clean.validate.checks[1]`), and decoding goes on to find the rest.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{ConnectionSpec, LATER_OPERATORS, Node, Operator, PipelineSpec};
use crate::nearest::did_you_mean;
use crate::{Code, Error, Result};

const TOP_KEYS: [&str; 7] = [
    "id",
    "name",
    "description",
    "schedule",
    "connections",
    "quarantine",
    "nodes",
];
const NODE_KEYS: [&str; 3] = ["name", "retry", "timeout"];

/// Decodes a value into a type whose struct refuses unknown keys. `place` names it in errors: `E0102`, `E0103`.
pub fn decode<T: DeserializeOwned>(value: Value, place: &str) -> Result<T> {
    T::deserialize(value).map_err(|error| explain(&error.to_string(), place))
}

/// As [`decode`], for a map of options.
pub fn decode_map<T: DeserializeOwned>(map: &Map<String, Value>, place: &str) -> Result<T> {
    decode(Value::Object(map.clone()), place)
}

/// Turns serde's sentence into a coded error; unknown fields and variants get the nearest known one.
fn explain(text: &str, place: &str) -> Error {
    let quoted: Vec<&str> = text.split('`').skip(1).step_by(2).collect();
    let unknown_key = text.contains("unknown field `");
    if unknown_key || text.contains("unknown variant `") {
        let start = quoted
            .iter()
            .position(|q| {
                text.contains(&format!("unknown field `{q}`"))
                    || text.contains(&format!("unknown variant `{q}`"))
            })
            .unwrap_or(0);
        let (wanted, known) = (quoted[start], &quoted[start + 1..]);
        let (code, what) = if unknown_key {
            (Code::E0102, "unknown key")
        } else {
            (Code::E0103, "unknown word")
        };
        return Error::new(code, format!("{what} `{wanted}` in {place}"))
            .with_hint(did_you_mean(wanted, known.iter().copied()));
    }
    if let Some(field) = text
        .strip_prefix("missing field `")
        .and_then(|rest| rest.split('`').next())
    {
        return Error::new(Code::E0103, format!("{place} lacks the key `{field}`")).with_hint(format!(
            "add `{field}: …`; `synqx explain E0103` shows where each operator's keys are listed"
        ));
    }
    Error::new(Code::E0103, format!("wrong value in {place}"))
        .with_detail(format!("{}.", text.trim_end_matches('.')))
        .with_hint("change the value to the type the key expects")
}

/// Collects errors while decoding goes on.
#[derive(Default)]
pub(super) struct Findings(Vec<Error>);

impl Findings {
    pub(super) fn keep<T>(&mut self, result: Result<T>) -> Option<T> {
        result.map_err(|error| self.0.push(error)).ok()
    }

    pub(super) fn push(&mut self, error: Error) {
        self.0.push(error);
    }

    pub(super) fn finish<T>(self, value: Option<T>) -> Result<T> {
        match (Error::all(self.0), value) {
            (Some(error), _) => Err(error),
            (None, Some(value)) => Ok(value),
            (None, None) => Err(Error::bug("a document was refused without a reason")),
        }
    }
}

/// Decodes the YAML shape of a document (also written as JSON).
pub(super) fn document(value: Value) -> Result<PipelineSpec> {
    let Value::Object(mut top) = value else {
        return Err(Error::new(Code::E0101, "the document is not a map")
            .with_hint("begin with `name:` and `nodes:`; `synqx init` writes an example"));
    };
    let mut findings = Findings::default();
    unknown_keys(&top, &TOP_KEYS, "the document", &mut findings);
    let name = match top.shift_remove("name") {
        Some(Value::String(name)) if !name.trim().is_empty() => Some(name),
        Some(_) => findings.keep(Err(Error::new(
            Code::E0103,
            "`name` of the document is not a text",
        )
        .with_hint("write `name: my_pipeline`"))),
        None => findings.keep(Err(Error::new(Code::E0103, "the document lacks the key `name`")
            .with_hint("add `name: my_pipeline` at the top"))),
    };
    let id = optional(&mut top, "id", "`id`", &mut findings);
    let description = optional(&mut top, "description", "`description`", &mut findings);
    let schedule = optional(&mut top, "schedule", "`schedule`", &mut findings);
    let quarantine = optional(&mut top, "quarantine", "`quarantine`", &mut findings);
    let connections = connections(top.shift_remove("connections"), &mut findings);
    let nodes = nodes(top.shift_remove("nodes"), &mut findings);
    let spec = name.map(|name| PipelineSpec {
        id,
        name,
        description,
        schedule,
        connections,
        quarantine,
        nodes,
    });
    findings.finish(spec)
}

fn unknown_keys(map: &Map<String, Value>, known: &[&str], place: &str, findings: &mut Findings) {
    for key in map.keys().filter(|key| !known.contains(&key.as_str())) {
        findings.push(
            Error::new(Code::E0102, format!("unknown key `{key}` in {place}"))
                .with_hint(did_you_mean(key, known.iter().copied())),
        );
    }
}

fn optional<T: DeserializeOwned>(
    map: &mut Map<String, Value>,
    key: &str,
    place: &str,
    findings: &mut Findings,
) -> Option<T> {
    match map.shift_remove(key) {
        None | Some(Value::Null) => None,
        Some(value) => findings.keep(decode(value, place)),
    }
}

fn connections(value: Option<Value>, findings: &mut Findings) -> BTreeMap<String, ConnectionSpec> {
    let mut connections = BTreeMap::new();
    let Some(map) = as_map(value, "connections", findings) else {
        return connections;
    };
    for (name, value) in map {
        let Some(mut config) = as_map(
            Some(at_least_empty(value)),
            &format!("connections.{name}"),
            findings,
        ) else {
            continue;
        };
        match config.shift_remove("type") {
            Some(Value::String(kind)) => {
                connections.insert(name, ConnectionSpec { kind, config });
            }
            _ => findings.push(
                Error::new(Code::E0103, format!("connections.{name} lacks the key `type`")).with_hint(
                    "say which connector it is, such as `type: local_file`; `synqx connectors` lists them",
                ),
            ),
        }
    }
    connections
}

fn as_map(value: Option<Value>, place: &str, findings: &mut Findings) -> Option<Map<String, Value>> {
    match value {
        None | Some(Value::Null) => None,
        Some(Value::Object(map)) => Some(map),
        Some(_) => {
            findings.push(
                Error::new(Code::E0103, format!("{place} is not a map"))
                    .with_hint("write `key: value` pairs"),
            );
            None
        }
    }
}

/// Nothing after the colon is an empty map, not one less.
fn at_least_empty(value: Value) -> Value {
    match value {
        Value::Null => Value::Object(Map::new()),
        value => value,
    }
}

fn nodes(value: Option<Value>, findings: &mut Findings) -> Vec<Node> {
    let Some(map) = as_map(value, "nodes", findings).filter(|map| !map.is_empty()) else {
        findings.push(
            Error::new(Code::E0103, "the document has no nodes")
                .with_hint("add at least an `extract` and a `load` under `nodes:`"),
        );
        return Vec::new();
    };
    map.into_iter()
        .filter_map(|(id, value)| node(id, value, findings))
        .collect()
}

/// Decodes one node; every error found is filed under its id.
pub(super) fn node(id: String, value: Value, findings: &mut Findings) -> Option<Node> {
    let mut inner = Findings::default();
    let place = format!("nodes.{id}");
    let decoded = as_map(Some(at_least_empty(value)), &place, &mut inner)
        .and_then(|map| node_from_map(&id, map, &place, &mut inner));
    for error in inner.0 {
        findings.push(error.at_node(&id));
    }
    decoded
}

fn node_from_map(
    id: &str,
    mut map: Map<String, Value>,
    place: &str,
    findings: &mut Findings,
) -> Option<Node> {
    if !is_valid_id(id) {
        findings.push(
            Error::new(Code::E0116, format!("`{id}` cannot name a node"))
                .with_hint("use letters, digits, `_` and `-`, beginning with a letter or `_`"),
        );
    }
    let name = optional(&mut map, "name", &format!("{place}.name"), findings);
    let retry = optional(&mut map, "retry", &format!("{place}.retry"), findings);
    let timeout = optional(&mut map, "timeout", &format!("{place}.timeout"), findings);
    let mut words: Vec<String> = map.keys().cloned().collect();
    let word = match words.len() {
        1 => words.remove(0),
        0 => {
            findings.push(
                Error::new(Code::E0103, format!("{place} names no operator"))
                    .with_hint(did_you_mean("", Operator::WORDS.iter().copied())),
            );
            return None;
        }
        _ => {
            let known =
                |w: &String| Operator::WORDS.contains(&w.as_str()) || LATER_OPERATORS.contains(&w.as_str());
            let (operators, strangers): (Vec<_>, Vec<_>) = words.into_iter().partition(known);
            for key in &strangers {
                let candidates = NODE_KEYS.iter().chain(Operator::WORDS.iter()).copied();
                findings.push(
                    Error::new(Code::E0102, format!("unknown key `{key}` in {place}"))
                        .with_hint(did_you_mean(key, candidates)),
                );
            }
            if operators.len() > 1 {
                findings.push(
                    Error::new(
                        Code::E0103,
                        format!("{place} names several operators: {}", operators.join(", ")),
                    )
                    .with_hint("give each operator a node of its own"),
                );
            }
            operators.into_iter().next()?
        }
    };
    let config = map.shift_remove(&word)?;
    let operator = findings.keep(operator(&word, config, place))?;
    Some(Node {
        id: id.to_owned(),
        name,
        operator,
        retry,
        timeout,
    })
}

fn operator(word: &str, config: Value, place: &str) -> Result<Operator> {
    if LATER_OPERATORS.contains(&word) {
        return Err(Error::new(
            Code::E0111,
            format!("operator `{word}` is not available in this release"),
        )
        .with_hint(
            "express it with `sql`, or leave the node out; `synqx explain E0111` lists what runs today",
        ));
    }
    if !Operator::WORDS.contains(&word) {
        return Err(
            Error::new(Code::E0102, format!("unknown operator `{word}` in {place}"))
                .with_hint(did_you_mean(word, Operator::WORDS.iter().copied())),
        );
    }
    let mut map = Map::new();
    map.insert(word.to_owned(), config);
    decode(Value::Object(map), &format!("{place}.{word}"))
}

/// Letters, digits, `_`, `-`; begins with a letter or `_`.
pub(super) fn is_valid_id(id: &str) -> bool {
    let mut chars = id.chars();
    chars.next().is_some_and(|c| c.is_alphabetic() || c == '_')
        && chars.all(|c| c.is_alphanumeric() || c == '_' || c == '-')
}
