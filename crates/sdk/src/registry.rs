//! The connectors a program was built with, behind one erased interface.
//!
//! The blanket implementation reads a document's configuration into the connector's own type, so a connector
//! never parses anything itself and every unknown key gets the same treatment.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};
use synqx_model::nearest::did_you_mean;
use synqx_model::spec::decode_map;
use synqx_model::{Code, Error, Result};

use crate::connector::{Connection, Connector, ConnectorSpec, Env};

/// A connector with its configuration type erased.
pub trait AnyConnector: Send + Sync {
    /// The word of the document.
    fn kind(&self) -> &'static str;
    /// What it is and promises.
    fn spec(&self) -> ConnectorSpec;
    /// JSON Schema of its configuration.
    fn config_schema(&self) -> Value;
    /// Reads the configuration and makes a connection. Errors: `E0102`, `E0103`.
    fn open(&self, config: &Map<String, Value>, env: Env) -> Result<Arc<dyn Connection>>;
}

impl<C: Connector> AnyConnector for C {
    fn kind(&self) -> &'static str {
        C::KIND
    }

    fn spec(&self) -> ConnectorSpec {
        Connector::spec(self)
    }

    fn config_schema(&self) -> Value {
        schemars::schema_for!(C::Config).to_value()
    }

    fn open(&self, config: &Map<String, Value>, env: Env) -> Result<Arc<dyn Connection>> {
        let config = decode_map::<C::Config>(config, &format!("connections.{}", env.name))?;
        Connector::open(self, config, env)
    }
}

/// Connectors by kind. Clones share them.
#[derive(Clone, Default)]
pub struct Registry(BTreeMap<&'static str, Arc<dyn AnyConnector>>);

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Registry {
    /// Adds a connector.
    pub fn with(mut self, connector: impl Connector) -> Self {
        self.0.insert(AnyConnector::kind(&connector), Arc::new(connector));
        self
    }

    /// The connector of a kind. Errors: `E0110` with the nearest known kind.
    pub fn get(&self, kind: &str) -> Result<&dyn AnyConnector> {
        self.0.get(kind).map(Arc::as_ref).ok_or_else(|| {
            Error::new(Code::E0110, format!("there is no connector `{kind}`"))
                .with_hint(did_you_mean(kind, self.0.keys().copied()))
        })
    }

    /// Every connector, by kind.
    pub fn iter(&self) -> impl Iterator<Item = &dyn AnyConnector> {
        self.0.values().map(Arc::as_ref)
    }
}
