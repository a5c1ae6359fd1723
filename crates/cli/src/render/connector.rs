//! Connectors as people read them: what each can do, its limits, and the keys of its configuration.
//!
//! The keys come from the JSON Schema that is generated from the type that reads them, so this cannot
//! disagree with what is accepted. It is not a validator.

use serde_json::{Map, Value};
use synqx_sdk::{ConnectorSpec, Limits};

use super::number::count;
use super::paint::Paint;
use super::plan::fence;
use super::table::Table;

/// One line per connector.
pub(crate) fn list(specs: &[ConnectorSpec], paint: Paint) -> String {
    let mut table = Table::new(&["KIND", "READS", "WRITES", "A REPEATED RUN GIVES", "WHAT"]);
    for spec in specs {
        let yes = |b: bool| if b { "yes" } else { "no" }.to_owned();
        let modes = spec.destination.as_ref().map_or_else(|| "no".to_owned(), modes);
        let delivery = spec
            .destination
            .as_ref()
            .map_or(String::new(), |l| l.delivery.as_str().to_owned());
        table.row([
            paint.name(spec.kind),
            yes(spec.source),
            modes,
            delivery,
            spec.title.to_owned(),
        ]);
    }
    table.render(paint)
}

fn modes(limits: &Limits) -> String {
    limits
        .modes
        .iter()
        .map(|mode| mode.as_str())
        .collect::<Vec<_>>()
        .join(", ")
}

/// One connector in full.
pub(crate) fn show(spec: &ConnectorSpec, schema: &Value, paint: Paint) -> String {
    let mut out = format!(
        "{} {}\n{}\n",
        paint.bold(spec.title),
        paint.name(spec.kind),
        spec.summary
    );
    let mut facts = Table::new(&["", ""]).indented(2);
    let mut fact = |word: &str, text: String| facts.row([paint.dim(word), text]);
    fact("reads", if spec.source { "yes" } else { "no" }.to_owned());
    fact(
        "URLs",
        spec.schemes
            .iter()
            .map(|s| format!("{s}:"))
            .collect::<Vec<_>>()
            .join(" "),
    );
    if let Some(limits) = &spec.destination {
        let number = |n: Option<u64>| n.map_or_else(|| "no limit".to_owned(), count);
        fact("writes", modes(limits));
        fact(
            "a repeated run",
            format!("gives every row {}", limits.delivery.as_str()),
        );
        fact("late writers", fence(limits.fence).to_owned());
        fact(
            "writers",
            format!("up to {} at once per load", limits.parallel_writers),
        );
        fact("loads", format!("up to {} at once", limits.concurrent_loads));
        fact(
            "DDL",
            if limits.transactional_ddl {
                "part of transactions"
            } else {
                "not part of transactions"
            }
            .to_owned(),
        );
        fact("columns", number(limits.columns.map(|n| n as u64)));
        fact(
            "names",
            format!(
                "{}{}",
                limits
                    .identifier_bytes
                    .map_or_else(|| "no limit".to_owned(), |n| format!("up to {n} bytes")),
                if limits.case_insensitive {
                    ", case does not tell them apart"
                } else {
                    ""
                }
            ),
        );
        fact(
            "decimals",
            limits
                .decimal_digits
                .map_or_else(|| "no limit".to_owned(), |n| format!("up to {n} digits")),
        );
        fact(
            "timestamps",
            format!("{} decimal places of a second", limits.timestamp_digits),
        );
    }
    out.push_str(&format!("\n{}", facts.render(paint)));
    out.push_str(&format!(
        "\n{}\n{}",
        paint.bold("Configuration"),
        keys(schema, paint)
    ));
    out
}

/// The keys of a JSON Schema object as a table; nested objects as `outer.inner`.
pub(crate) fn keys(schema: &Value, paint: Paint) -> String {
    let mut table = Table::new(&["KEY", "TYPE", "", "MEANING"]).indented(2);
    collect(schema, schema, "", 0, &mut table, paint);
    table.render(paint)
}

fn collect(root: &Value, schema: &Value, prefix: &str, depth: usize, table: &mut Table, paint: Paint) {
    let Some(properties) = schema["properties"].as_object() else {
        return;
    };
    let required: Vec<&str> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    for (key, property) in properties {
        let target = resolve(root, property);
        let meaning = property["description"]
            .as_str()
            .or(target["description"].as_str())
            .unwrap_or_default();
        let need = if required.contains(&key.as_str()) {
            "required".to_owned()
        } else {
            match property.get("default").filter(|d| !d.is_null() && !d.is_object()) {
                Some(value) => format!("default {}", plain(value)),
                None => String::new(),
            }
        };
        let name = format!("{prefix}{key}");
        table.row([
            paint.name(&name),
            kind(root, target),
            need,
            meaning.replace('\n', " "),
        ]);
        if depth < 3 {
            collect(root, target, &format!("{name}."), depth + 1, table, paint);
        }
    }
}

/// Follows `$ref`, and `anyOf` with null.
fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    if let Some(path) = schema["$ref"].as_str().and_then(|r| r.strip_prefix('#')) {
        return root.pointer(path).unwrap_or(schema);
    }
    let choices = schema["anyOf"].as_array().or(schema["allOf"].as_array());
    match choices.and_then(|list| list.iter().find(|choice| choice["type"] != "null")) {
        Some(choice) => resolve(root, choice),
        None => schema,
    }
}

fn kind(root: &Value, schema: &Value) -> String {
    if let Some(values) = schema["enum"].as_array() {
        return values.iter().map(plain).collect::<Vec<_>>().join(" | ");
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        return choices
            .iter()
            .map(|c| c.get("const").map_or_else(|| kind(root, resolve(root, c)), plain))
            .collect::<Vec<_>>()
            .join(" | ");
    }
    let word = match &schema["type"] {
        Value::String(one) => one.clone(),
        Value::Array(several) => several
            .iter()
            .filter_map(Value::as_str)
            .find(|t| *t != "null")
            .unwrap_or("any")
            .to_owned(),
        _ => "any".to_owned(),
    };
    match word.as_str() {
        "array" => format!("list of {}", kind(root, resolve(root, &schema["items"]))),
        "object" if schema["properties"].is_object() => "map".to_owned(),
        "object" => match schema["additionalProperties"].as_object() {
            Some(inner) => format!("map of {}", item_kind(root, inner)),
            None => "map".to_owned(),
        },
        "string" => match schema["examples"].as_array().and_then(|e| e.first()) {
            Some(example) => format!("text, such as {}", plain(example)),
            None => "text".to_owned(),
        },
        "boolean" => "true | false".to_owned(),
        "integer" => "whole number".to_owned(),
        word => word.to_owned(),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn item_kind(root: &Value, inner: &Map<String, Value>) -> String {
    let schema = Value::Object(inner.clone());
    kind(root, resolve(root, &schema))
}
