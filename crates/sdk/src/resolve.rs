//! Turning `secret://` references into values, on the side that runs the work.
//!
//! The trait is here so that engine and connectors need not know where secrets live; providers are in the
//! `secrets` crate. A resolved value is registered with the run's redactor before anybody sees it.

use async_trait::async_trait;
use serde_json::{Map, Value};
use synqx_model::Result;

/// Resolves secret references.
#[async_trait]
pub trait Resolve: Send + Sync {
    /// The value of one reference. Errors: `E0601`–`E0604`.
    async fn resolve(&self, reference: &str) -> Result<String>;

    /// A copy of a configuration with every text that is a reference replaced by its value, at any depth.
    async fn resolve_config(&self, config: &Map<String, Value>) -> Result<Map<String, Value>> {
        let mut resolved = Map::new();
        for (key, value) in config {
            resolved.insert(key.clone(), resolve_value(self, value).await?);
        }
        Ok(resolved)
    }
}

async fn resolve_value<R: Resolve + ?Sized>(resolver: &R, value: &Value) -> Result<Value> {
    Ok(match value {
        Value::String(text) if text.starts_with("secret://") => resolver.resolve(text).await?.into(),
        Value::Array(items) => {
            let mut resolved = Vec::with_capacity(items.len());
            for item in items {
                resolved.push(Box::pin(resolve_value(resolver, item)).await?);
            }
            resolved.into()
        }
        Value::Object(map) => {
            let mut resolved = Map::new();
            for (key, item) in map {
                resolved.insert(key.clone(), Box::pin(resolve_value(resolver, item)).await?);
            }
            resolved.into()
        }
        other => other.clone(),
    })
}
