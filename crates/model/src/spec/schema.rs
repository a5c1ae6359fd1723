//! The JSON Schema of the document, generated from the same types that read it.
//!
//! Editors complete from it and the server publishes it; `cargo x gen --check` keeps the committed copy true.
//! It describes the YAML shape; the API's JSON shape is mapped to it in docs/reference/spec-mapping.md.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::{Operator, Quarantine, RetryPolicy, Schedule};
use crate::size::Span;

/// The schema as JSON.
pub fn json_schema() -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let schedule = generator.subschema_for::<Schedule>();
    let quarantine = generator.subschema_for::<Quarantine>();
    let retry = generator.subschema_for::<RetryPolicy>();
    let timeout = generator.subschema_for::<Span>();
    let operators = operator_properties(&generator.subschema_for::<Operator>().to_value(), &mut generator);
    let one_of: Vec<Value> = operators
        .keys()
        .map(|word| json!({ "required": [word] }))
        .collect();
    let mut node = operators;
    node.insert("name".to_owned(), json!({ "type": "string" }));
    node.insert("retry".to_owned(), retry.to_value());
    node.insert("timeout".to_owned(), timeout.to_value());
    let mut definitions: Map<String, Value> = generator.take_definitions(true);
    definitions.shift_remove("Operator");
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "SynqX pipeline",
        "type": "object",
        "additionalProperties": false,
        "required": ["name", "nodes"],
        "properties": {
            "id": { "type": "string", "description": "Fixes the pipeline's identity for positions and fences." },
            "name": { "type": "string", "minLength": 1 },
            "description": { "type": "string" },
            "schedule": schedule.to_value(),
            "connections": {
                "type": "object",
                "additionalProperties": {
                    "type": "object",
                    "required": ["type"],
                    "properties": { "type": { "type": "string", "description": "Connector kind; `synqx connectors` lists them." } }
                }
            },
            "quarantine": quarantine.to_value(),
            "nodes": {
                "type": "object",
                "minProperties": 1,
                "propertyNames": { "pattern": "^[\\p{L}_][\\p{L}\\p{N}_-]*$" },
                "additionalProperties": {
                    "type": "object",
                    "additionalProperties": false,
                    "oneOf": one_of,
                    "properties": node
                }
            }
        },
        "$defs": definitions
    })
}

/// The operator enum's one-key variants as properties of a node.
fn operator_properties(reference: &Value, generator: &mut schemars::SchemaGenerator) -> Map<String, Value> {
    let definition = reference
        .get("$ref")
        .and_then(Value::as_str)
        .and_then(|r| r.rsplit('/').next().map(str::to_owned));
    let schema = match definition {
        Some(name) => generator.definitions().get(&name).cloned().unwrap_or(Value::Null),
        None => reference.clone(),
    };
    let variants = schema
        .get("oneOf")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let mut properties = Map::new();
    for variant in variants {
        let Some(entries) = variant.get("properties").and_then(Value::as_object) else {
            continue;
        };
        for (word, property) in entries {
            let mut property = property.clone();
            if let (Value::Object(map), Some(text)) = (&mut property, variant.get("description")) {
                map.insert("description".to_owned(), text.clone());
            }
            properties.insert(word.clone(), property);
        }
    }
    properties
}
