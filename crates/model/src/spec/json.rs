//! The JSON spelling of the API: `nodes[]` with operator types and `edges[]`, as clients of the predecessor send it.
//!
//! Reading turns it into the YAML shape and decodes that, so both spellings obey the same rules; aliases of the
//! predecessor (`overwrite`, `derive`, …) end here. docs/reference/spec-mapping.md pairs every key.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::decode::{Findings, document};
use super::{Operator, PipelineSpec, Sql, decode};
use crate::dag::Graph;
use crate::nearest::did_you_mean;
use crate::size::render_duration;
use crate::{Code, Error, Result};

const DOCUMENT_KEYS: [&str; 12] = [
    "id",
    "name",
    "description",
    "schedule_cron",
    "schedule_timezone",
    "schedule_enabled",
    "connections",
    "quarantine",
    "initial_version",
    "config_snapshot",
    "nodes",
    "edges",
];
const NODE_KEYS: [&str; 20] = [
    "node_id",
    "name",
    "operator_type",
    "operator_class",
    "config",
    "source_asset_id",
    "destination_asset_id",
    "order_index",
    "write_strategy",
    "sync_mode",
    "schema_evolution_policy",
    "data_contract",
    "guardrails",
    "quarantine_asset_id",
    "column_mapping",
    "max_retries",
    "retry_strategy",
    "retry_delay_seconds",
    "timeout_seconds",
    "description",
];
/// Keys of the API form that a later issue gives a meaning; a value in one of them is `E0111`.
const LATER_KEYS: [&str; 4] = [
    "data_contract",
    "guardrails",
    "quarantine_asset_id",
    "column_mapping",
];

impl PipelineSpec {
    /// Reads JSON: the API's form, or the YAML shape written as JSON. Errors as [`PipelineSpec::from_yaml`].
    pub fn from_json(text: &str) -> Result<Self> {
        let value: Value = serde_json::from_str(text).map_err(|error| {
            Error::new(
                Code::E0101,
                format!(
                    "the JSON does not parse at line {}, column {}",
                    error.line(),
                    error.column()
                ),
            )
            .with_detail(format!("{error}."))
            .with_hint("check commas, quotes and brackets at that place")
        })?;
        Self::from_json_value(value)
    }

    /// As [`PipelineSpec::from_json`], from a parsed value.
    pub fn from_json_value(value: Value) -> Result<Self> {
        let is_api =
            value.get("initial_version").is_some() || value.get("nodes").is_some_and(Value::is_array);
        document(if is_api { from_api(value)? } else { value })
    }

    /// Writes the API's form. Reading it back gives the same document.
    pub fn to_api_json(&self) -> Value {
        let schedule = self.schedule.as_ref();
        let mut top = json!({
            "name": self.name,
            "description": self.description,
            "schedule_cron": schedule.map(|s| s.cron.clone()),
            "schedule_timezone": schedule.and_then(|s| s.timezone.clone()),
            "schedule_enabled": schedule.map(|s| s.enabled),
            "initial_version": {
                "config_snapshot": {},
                "nodes": self.nodes.iter().enumerate().map(|(i, n)| self.node_to_api(n, i + 1)).collect::<Vec<_>>(),
                "edges": self.edges_to_api(),
            }
        });
        let yaml_shape = self.to_value();
        for key in ["id", "connections", "quarantine"] {
            if let Some(value) = yaml_shape.get(key) {
                top[key] = value.clone();
            }
        }
        top
    }

    fn edges_to_api(&self) -> Vec<Value> {
        let Ok(graph) = Graph::build(self) else {
            return Vec::new();
        };
        let mut edges = Vec::new();
        for node in &self.nodes {
            for input in &graph.inputs[&node.id] {
                edges.push(json!({ "from_node_id": input.node, "to_node_id": node.id }));
            }
        }
        edges
    }

    fn node_to_api(&self, node: &super::Node, order: usize) -> Value {
        let word = node.operator.word();
        let mut config = match super::yaml::value_of(&node.operator).get(word).cloned() {
            Some(Value::Object(map)) => map,
            Some(Value::String(query)) => Map::from_iter([("query".to_owned(), query.into())]),
            _ => Map::new(),
        };
        let mut api = Map::new();
        let mut put = |key: &str, value: Value| {
            api.insert(key.to_owned(), value);
        };
        put("node_id", node.id.clone().into());
        put("name", node.name.clone().map_or(Value::Null, Value::from));
        let operator_type = match word {
            "extract" | "load" | "validate" | "join" | "union" | "switch" => word,
            _ => "transform",
        };
        put("operator_type", operator_type.into());
        put(
            "operator_class",
            self.operator_class(&node.operator, &mut config).into(),
        );
        for (key, api_key) in [
            ("write", "write_strategy"),
            ("schema", "schema_evolution_policy"),
            ("sync", "sync_mode"),
        ] {
            if matches!(word, "load" | "extract")
                && let Some(value) = config.shift_remove(key)
            {
                put(api_key, value);
            }
        }
        if let Some(id) = config.shift_remove("asset_id") {
            put(
                if word == "extract" {
                    "source_asset_id"
                } else {
                    "destination_asset_id"
                },
                id,
            );
        }
        put("order_index", order.into());
        if let Some(retry) = &node.retry {
            put("max_retries", retry.max.into());
            put("retry_strategy", super::yaml::value_of(&retry.strategy));
            put("retry_delay_seconds", seconds(retry.delay.0));
        }
        if let Some(timeout) = &node.timeout {
            put("timeout_seconds", seconds(timeout.0));
        }
        put("config", config.into());
        api.into()
    }

    fn operator_class(&self, operator: &Operator, config: &mut Map<String, Value>) -> String {
        let (connection, connector) = match operator {
            Operator::Extract(extract) => (&extract.from, &extract.connector),
            Operator::Load(load) => (&load.to, &load.connector),
            other => return other.word().to_owned(),
        };
        match connection {
            Some(name) => self
                .connections
                .get(name)
                .map(|c| c.kind.clone())
                .unwrap_or_default(),
            None => {
                config.shift_remove("connector");
                connector.clone().unwrap_or_default()
            }
        }
    }
}

fn seconds(duration: Duration) -> Value {
    if duration.subsec_millis() == 0 {
        duration.as_secs().into()
    } else {
        (duration.as_millis() as f64 / 1000.0).into()
    }
}

/// The API's form as the YAML shape.
fn from_api(value: Value) -> Result<Value> {
    let mut findings = Findings::default();
    let Value::Object(mut api) = value else {
        return Err(Error::new(Code::E0101, "the document is not a map")
            .with_hint("send an object with `name` and `initial_version`"));
    };
    refuse_unknown(&api, &DOCUMENT_KEYS, "the document", &mut findings);
    let mut version = match api.shift_remove("initial_version") {
        Some(Value::Object(version)) => version,
        _ => api.clone(),
    };
    if version.contains_key("config_snapshot") || version.contains_key("edges") {
        refuse_unknown(&version, &DOCUMENT_KEYS, "`initial_version`", &mut findings);
    }
    if let Some(Value::Object(snapshot)) = version.get("config_snapshot")
        && !snapshot.is_empty()
    {
        findings.push(later("config_snapshot", "`initial_version`"));
    }
    let mut top = Map::new();
    for key in ["id", "name", "description", "connections", "quarantine"] {
        if let Some(value) = api.shift_remove(key).filter(|v| !v.is_null()) {
            top.insert(key.to_owned(), value);
        }
    }
    if let Some(cron) = api.get("schedule_cron").filter(|v| !v.is_null()) {
        let mut schedule = Map::from_iter([("cron".to_owned(), cron.clone())]);
        for (key, to) in [("schedule_timezone", "timezone"), ("schedule_enabled", "enabled")] {
            if let Some(value) = api.get(key).filter(|v| !v.is_null()) {
                schedule.insert(to.to_owned(), value.clone());
            }
        }
        top.insert("schedule".to_owned(), schedule.into());
    }
    let nodes = version
        .shift_remove("nodes")
        .and_then(|v| v.as_array().cloned())
        .unwrap_or_default();
    let edges = version
        .shift_remove("edges")
        .and_then(|v| v.as_array().cloned())
        .unwrap_or_default();
    let nodes = nodes_from_api(nodes, &edges, &mut findings);
    top.insert("nodes".to_owned(), nodes.into());
    findings.finish(Some(top.into()))
}

fn refuse_unknown(map: &Map<String, Value>, known: &[&str], place: &str, findings: &mut Findings) {
    for key in map.keys().filter(|key| !known.contains(&key.as_str())) {
        findings.push(
            Error::new(Code::E0102, format!("unknown key `{key}` in {place}"))
                .with_hint(did_you_mean(key, known.iter().copied())),
        );
    }
}

fn later(key: &str, place: &str) -> Error {
    Error::new(
        Code::E0111,
        format!("`{key}` of {place} is not available in this release"),
    )
    .with_hint("leave it out; nothing is accepted and then ignored")
}

fn nodes_from_api(mut nodes: Vec<Value>, edges: &[Value], findings: &mut Findings) -> Map<String, Value> {
    nodes.sort_by_key(|node| {
        node.get("order_index")
            .and_then(Value::as_i64)
            .unwrap_or(i64::MAX)
    });
    let mut result = Map::new();
    for node in nodes {
        let Value::Object(node) = node else {
            findings.push(
                Error::new(Code::E0103, "an entry of `nodes` is not an object")
                    .with_hint("each node is an object with `node_id`"),
            );
            continue;
        };
        let Some(id) = node.get("node_id").and_then(Value::as_str).map(str::to_owned) else {
            findings
                .push(Error::new(Code::E0103, "a node lacks `node_id`").with_hint("give each node an id"));
            continue;
        };
        if result.contains_key(&id) {
            findings.push(
                Error::new(Code::E0108, format!("two nodes are called `{id}`"))
                    .at_node(&id)
                    .with_hint("rename one of them"),
            );
            continue;
        }
        refuse_unknown(&node, &NODE_KEYS, &format!("node `{id}`"), findings);
        let incoming: Vec<String> = edges
            .iter()
            .filter(|edge| edge.get("to_node_id").and_then(Value::as_str) == Some(&id))
            .filter_map(|edge| {
                edge.get("from_node_id")
                    .and_then(Value::as_str)
                    .map(str::to_owned)
            })
            .collect();
        if let Some(value) = findings.keep(node_from_api(&id, &node, &incoming).map_err(|e| e.at_node(&id))) {
            result.insert(id, value);
        }
    }
    unknown_edge_ends(&result, edges, findings);
    result
}

fn unknown_edge_ends(nodes: &Map<String, Value>, edges: &[Value], findings: &mut Findings) {
    for edge in edges {
        for key in ["from_node_id", "to_node_id"] {
            match edge.get(key).and_then(Value::as_str) {
                Some(id) if nodes.contains_key(id) => {}
                Some(id) => findings.push(
                    Error::new(Code::E0105, format!("an edge names `{id}`, which is not a node"))
                        .with_hint(did_you_mean(id, nodes.keys().map(String::as_str))),
                ),
                None => findings.push(
                    Error::new(Code::E0103, format!("an edge lacks `{key}`"))
                        .with_hint("an edge has both ends"),
                ),
            }
        }
    }
}

fn node_from_api(id: &str, api: &Map<String, Value>, incoming: &[String]) -> Result<Value> {
    for key in LATER_KEYS {
        let empty = match api.get(key) {
            None | Some(Value::Null) => true,
            Some(Value::Object(map)) => map.is_empty(),
            Some(Value::Array(items)) => items.is_empty(),
            Some(_) => false,
        };
        if !empty {
            return Err(later(key, &format!("node `{id}`")));
        }
    }
    let text = |key: &str| api.get(key).and_then(Value::as_str);
    let config = api
        .get("config")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    let class = text("operator_class").unwrap_or_default();
    let (word, mut config) = operator_from_api(id, text("operator_type").unwrap_or_default(), class, config)?;
    rename_fields(&word, class, api, &mut config);
    apply_edges(id, &word, &mut config, incoming)?;
    let mut node = Map::new();
    if let Some(name) = text("name") {
        node.insert("name".to_owned(), name.into());
    }
    let body = match (word.as_str(), config.get("query")) {
        ("sql", Some(query)) => query.clone(),
        _ => config.into(),
    };
    node.insert(word, body);
    let strategy = text("retry_strategy").filter(|s| *s != "none");
    if let Some(max) = api
        .get("max_retries")
        .and_then(Value::as_u64)
        .filter(|max| *max > 0 || strategy.is_some())
    {
        let mut retry = Map::from_iter([("max".to_owned(), max.into())]);
        if let Some(strategy) = strategy {
            retry.insert("strategy".to_owned(), strategy.replace("_backoff", "").into());
        }
        if let Some(delay) = api.get("retry_delay_seconds").and_then(Value::as_f64) {
            retry.insert(
                "delay".to_owned(),
                render_duration(Duration::from_secs_f64(delay.max(0.0))).into(),
            );
        }
        node.insert("retry".to_owned(), retry.into());
    }
    if let Some(timeout) = api.get("timeout_seconds").and_then(Value::as_f64) {
        node.insert(
            "timeout".to_owned(),
            render_duration(Duration::from_secs_f64(timeout.max(0.0))).into(),
        );
    }
    Ok(node.into())
}

/// The operator's word and its configuration, aliases resolved.
fn operator_from_api(
    id: &str,
    kind: &str,
    class: &str,
    mut config: Map<String, Value>,
) -> Result<(String, Map<String, Value>)> {
    let word = match kind {
        "extract" | "load" | "validate" | "join" | "union" | "switch" | "sub_pipeline" => kind,
        "merge" => "union",
        "noop" => {
            config.insert("columns".to_owned(), Value::Object(Map::new()));
            "map"
        }
        "transform" => match class {
            "derive" => "map",
            "map" if config.contains_key("rename") => {
                if let Some(columns) = config.shift_remove("rename") {
                    config.insert("columns".to_owned(), columns);
                }
                "rename"
            }
            "map" if config.contains_key("drop") => {
                if let Some(columns) = config.shift_remove("drop") {
                    config.insert("columns".to_owned(), columns);
                }
                "drop"
            }
            other => other,
        },
        other => {
            let known = [
                "extract",
                "transform",
                "validate",
                "load",
                "join",
                "union",
                "merge",
                "noop",
                "sub_pipeline",
                "switch",
            ];
            return Err(Error::new(
                Code::E0103,
                format!("unknown operator_type `{other}` of node `{id}`"),
            )
            .with_hint(did_you_mean(other, known)));
        }
    };
    Ok((word.to_owned(), config))
}

/// Moves the API's node fields into the operator's configuration.
fn rename_fields(word: &str, class: &str, api: &Map<String, Value>, config: &mut Map<String, Value>) {
    if !matches!(word, "extract" | "load") {
        return;
    }
    let connection = if word == "extract" { "from" } else { "to" };
    if !class.is_empty() && !config.contains_key(connection) && !config.contains_key("connector") {
        config.insert("connector".to_owned(), class.into());
    }
    let fields: &[(&str, &str)] = if word == "extract" {
        &[("source_asset_id", "asset_id"), ("sync_mode", "sync")]
    } else {
        &[
            ("destination_asset_id", "asset_id"),
            ("write_strategy", "write"),
            ("schema_evolution_policy", "schema"),
        ]
    };
    for (api_key, key) in fields {
        if let Some(value) = api.get(*api_key).filter(|v| !v.is_null()) {
            let value = match value.as_str() {
                Some("overwrite") => "replace".into(),
                Some("full_load" | "full_refresh") => "full".into(),
                _ => value.clone(),
            };
            config.insert((*key).to_owned(), value);
        }
    }
}

/// Explicit edges give inputs to operators that name none; where both are given they must agree.
#[expect(
    clippy::too_many_lines,
    reason = "one arm per family of operators: the whole list in one place"
)]
fn apply_edges(id: &str, word: &str, config: &mut Map<String, Value>, incoming: &[String]) -> Result<()> {
    if incoming.is_empty() {
        return Ok(());
    }
    let disagree = |named: &[String]| {
        Error::new(
            Code::E0103,
            format!("the edges into `{id}` and its inputs disagree"),
        )
        .with_detail(format!(
            "Edges come from {}; the node names {}.",
            incoming.join(", "),
            named.join(", ")
        ))
        .with_hint("name the inputs in one place, or the same in both")
    };
    let same = |named: &[String]| {
        let node_of = |text: &String| text.split('.').next().unwrap_or_default().to_owned();
        let (mut a, mut b): (Vec<_>, Vec<_>) = (
            named.iter().map(node_of).collect(),
            incoming.iter().map(node_of).collect(),
        );
        a.sort();
        a.dedup();
        b.sort();
        b.dedup();
        a == b
    };
    match word {
        "extract" => Err(
            Error::new(Code::E0112, format!("extract `{id}` has an incoming edge"))
                .with_hint("an extract reads a source; remove the edge"),
        ),
        "union" => {
            let named = strings(config.get("inputs"));
            if named.is_empty() {
                config.insert("inputs".to_owned(), incoming.to_vec().into());
                return Ok(());
            }
            if same(&named) {
                Ok(())
            } else {
                Err(disagree(&named))
            }
        }
        "join" => {
            let side = |key: &str| config.get(key).and_then(Value::as_str).map(str::to_owned);
            let (Some(left), Some(right)) = (side("left"), side("right")) else {
                return Err(Error::new(
                    Code::E0106,
                    format!("join `{id}` does not say which input is left and which is right"),
                )
                .with_hint("add `left` and `right` to its config; sides are never guessed from order"));
            };
            let named = [left, right];
            if same(&named) {
                Ok(())
            } else {
                Err(disagree(&named))
            }
        }
        "lookup" if config.contains_key("reference") => {
            let named: Vec<String> = ["input", "reference"]
                .iter()
                .filter_map(|key| config.get(*key).and_then(Value::as_str).map(str::to_owned))
                .collect();
            if named.len() < 2 {
                return Err(Error::new(
                    Code::E0106,
                    format!("lookup `{id}` does not say which input gets the columns"),
                )
                .with_hint("add `input` and `reference` to its config; they are never guessed from order"));
            }
            if same(&named) {
                Ok(())
            } else {
                Err(disagree(&named))
            }
        }
        "sql" => {
            let text = config
                .get("query")
                .or_else(|| config.get("sql"))
                .and_then(Value::as_str);
            let text = text.unwrap_or_default().to_owned();
            config.insert("query".to_owned(), text.clone().into());
            let Sql(text) = decode::<Sql>(text.into(), &format!("nodes.{id}.sql"))?;
            let named = crate::dag::relations(&text)?;
            if same(&named) {
                Ok(())
            } else {
                Err(disagree(&named))
            }
        }
        _ => match config.get("input").and_then(Value::as_str).map(str::to_owned) {
            Some(named) if !same(std::slice::from_ref(&named)) => Err(disagree(&[named])),
            Some(_) => Ok(()),
            None if incoming.len() == 1 => {
                config.insert("input".to_owned(), incoming[0].clone().into());
                Ok(())
            }
            None => Err(Error::new(
                Code::E0106,
                format!(
                    "{word} `{id}` takes one input, but {} edges lead to it",
                    incoming.len()
                ),
            )
            .with_hint("put a `union` or a `join` before it")),
        },
    }
}

fn strings(value: Option<&Value>) -> Vec<String> {
    value
        .and_then(Value::as_array)
        .map(|items| {
            items
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect()
        })
        .unwrap_or_default()
}
