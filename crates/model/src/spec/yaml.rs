//! The YAML spelling: what a person writes and what git keeps.
//!
//! Reading refuses duplicate keys and tells line and column of a syntax error. Writing uses one spelling, in one
//! order, so a document that went through the API and back shows no noise in a diff.

use serde_json::{Map, Value};

use super::{PipelineSpec, decode};
use crate::{Code, Error, Result};

impl PipelineSpec {
    /// Reads YAML. Errors: `E0101` with line and column, `E0102`, `E0103`, all found at once.
    pub fn from_yaml(text: &str) -> Result<Self> {
        let tree: serde_yaml_ng::Value = serde_yaml_ng::from_str(text).map_err(|error| syntax(&error))?;
        decode::document(to_json(tree)?)
    }

    /// Reads YAML or JSON, whichever the text is.
    pub fn from_text(text: &str) -> Result<Self> {
        if text.trim_start().starts_with('{') {
            Self::from_json(text)
        } else {
            Self::from_yaml(text)
        }
    }

    /// Writes YAML.
    pub fn to_yaml(&self) -> String {
        serde_yaml_ng::to_string(&self.to_value()).unwrap_or_default()
    }

    /// The document as a tree, in the YAML shape.
    pub fn to_value(&self) -> Value {
        let mut top = Map::new();
        let mut put = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                top.insert(key.to_owned(), value);
            }
        };
        put("id", self.id.clone().map(Value::from));
        put("name", Some(self.name.clone().into()));
        put("description", self.description.clone().map(Value::from));
        put("schedule", self.schedule.as_ref().map(value_of));
        if !self.connections.is_empty() {
            let connections = self.connections.iter().map(|(name, connection)| {
                let mut map = Map::new();
                map.insert("type".to_owned(), connection.kind.clone().into());
                map.extend(connection.config.clone());
                (name.clone(), Value::Object(map))
            });
            put("connections", Some(connections.collect::<Map<_, _>>().into()));
        }
        put("quarantine", self.quarantine.as_ref().map(value_of));
        let nodes = self.nodes.iter().map(|node| {
            let mut map = Map::new();
            if let Some(name) = &node.name {
                map.insert("name".to_owned(), name.clone().into());
            }
            if let Value::Object(operator) = value_of(&node.operator) {
                map.extend(operator);
            }
            if let Some(retry) = &node.retry {
                map.insert("retry".to_owned(), value_of(retry));
            }
            if let Some(timeout) = &node.timeout {
                map.insert("timeout".to_owned(), value_of(timeout));
            }
            (node.id.clone(), Value::Object(map))
        });
        put("nodes", Some(nodes.collect::<Map<_, _>>().into()));
        Value::Object(top)
    }
}

/// A type of the document as a tree; they all serialise.
pub(super) fn value_of<T: serde::Serialize>(value: &T) -> Value {
    serde_json::to_value(value).unwrap_or(Value::Null)
}

fn syntax(error: &serde_yaml_ng::Error) -> Error {
    let place = error.location().map_or(String::new(), |l| {
        format!(" at line {}, column {}", l.line(), l.column())
    });
    Error::new(Code::E0101, format!("the YAML does not parse{place}"))
        .with_detail(format!("{error}."))
        .with_hint("check indentation, quotes and duplicate keys at that place")
}

fn to_json(tree: serde_yaml_ng::Value) -> Result<Value> {
    use serde_yaml_ng::Value as Yaml;
    Ok(match tree {
        Yaml::Null => Value::Null,
        Yaml::Bool(b) => b.into(),
        Yaml::Number(n) => match (n.as_i64(), n.as_u64(), n.as_f64()) {
            (Some(i), _, _) => i.into(),
            (_, Some(u), _) => u.into(),
            (_, _, Some(f)) if f.is_finite() => f.into(),
            _ => Value::String(n.to_string()),
        },
        Yaml::String(s) => s.into(),
        Yaml::Sequence(items) => items.into_iter().map(to_json).collect::<Result<Vec<_>>>()?.into(),
        Yaml::Mapping(map) => map
            .into_iter()
            .map(|(key, value)| Ok((key_text(key)?, to_json(value)?)))
            .collect::<Result<Map<_, _>>>()?
            .into(),
        Yaml::Tagged(tagged) => {
            return Err(
                Error::new(Code::E0101, format!("the YAML tag {} is not allowed", tagged.tag))
                    .with_hint("write the value without a tag"),
            );
        }
    })
}

fn key_text(key: serde_yaml_ng::Value) -> Result<String> {
    use serde_yaml_ng::Value as Yaml;
    match key {
        Yaml::String(text) => Ok(text),
        Yaml::Bool(b) => Ok(b.to_string()),
        Yaml::Number(n) => Ok(n.to_string()),
        _ => {
            Err(Error::new(Code::E0101, "a key of the YAML is not a text").with_hint("keys are plain words"))
        }
    }
}
