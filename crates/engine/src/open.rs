//! Opens the connections a document names, once per part they play, with their secrets resolved.
//!
//! Every problem with a connection is found before anything is read, and reported with all the others.

use std::collections::BTreeMap;
use std::sync::Arc;

use synqx_model::nearest::did_you_mean;
use synqx_model::spec::{Extract, Load, Operator, PipelineSpec, Sync};
use synqx_model::{Code, Error, Result};
use synqx_plan::OpenSource;
use synqx_sdk::{Budget, Connection, Dataset, Env, Role};

use crate::{Engine, RunOptions};

/// The connections of one attempt.
#[derive(Default)]
pub(crate) struct Connections {
    open: BTreeMap<(String, Role), Arc<dyn Connection>>,
}

impl Connections {
    /// A connection, opened when it is new. Errors: `E0109`, `E0110`, `E01xx`, `E06xx`.
    #[expect(clippy::too_many_arguments, reason = "the engine's surroundings, passed once")]
    pub(crate) async fn get(
        &mut self,
        engine: &Engine,
        spec: &PipelineSpec,
        name: &str,
        role: Role,
        options: &RunOptions,
        budget: &Budget,
    ) -> Result<Arc<dyn Connection>> {
        if let Some(open) = self.open.get(&(name.to_owned(), role)) {
            return Ok(Arc::clone(open));
        }
        let opened = connection(engine, spec, name, role, options, budget).await?;
        self.open.insert((name.to_owned(), role), Arc::clone(&opened));
        Ok(opened)
    }
}

/// Opens one connection. Errors: `E0109` unknown, `E0110` no such connector, `E0102`/`E0103` bad configuration,
/// `E06xx` secrets.
pub(crate) async fn connection(
    engine: &Engine,
    spec: &PipelineSpec,
    name: &str,
    role: Role,
    options: &RunOptions,
    budget: &Budget,
) -> Result<Arc<dyn Connection>> {
    let Some(connection) = spec.connections.get(name) else {
        return Err(
            Error::new(Code::E0109, format!("there is no connection `{name}`"))
                .with_hint(did_you_mean(name, spec.connections.keys().map(String::as_str))),
        );
    };
    let connector = engine.registry.get(&connection.kind)?;
    let config = engine.resolver.resolve_config(&connection.config).await?;
    register_plain_secrets(engine, &config);
    let env = Env {
        name: name.to_owned(),
        role,
        base_dir: options.base_dir.clone(),
        budget: budget.clone(),
        probe: Arc::clone(&options.probe),
        redactor: engine.redactor.clone(),
    };
    connector.open(&config, env)
}

/// A secret typed into the document is no less a secret.
fn register_plain_secrets(engine: &Engine, config: &serde_json::Map<String, serde_json::Value>) {
    for (key, value) in config {
        match value {
            serde_json::Value::String(text) if synqx_model::redact::is_secret_key(key) => {
                engine.redactor.register(text)
            }
            serde_json::Value::Object(inner) => register_plain_secrets(engine, inner),
            _ => {}
        }
    }
}

/// Opens and describes every extract. Errors, all at once, each naming its node.
pub(crate) async fn sources(
    engine: &Engine,
    spec: &PipelineSpec,
    options: &RunOptions,
    budget: &Budget,
    connections: &mut Connections,
) -> Result<BTreeMap<String, OpenSource>> {
    let mut open = BTreeMap::new();
    let mut errors = Vec::new();
    for node in &spec.nodes {
        let Operator::Extract(extract) = &node.operator else {
            continue;
        };
        let described = async {
            let name = connection_name(extract.from.as_deref(), extract.asset_id, &node.id)?;
            let connection = connections
                .get(engine, spec, name, Role::Source, options, budget)
                .await?;
            describe(extract, connection, name).await
        };
        match described.await {
            Ok(source) => {
                open.insert(node.id.clone(), source);
            }
            Err(error) => errors.push(error.at_node(&node.id)),
        }
    }
    Error::all(errors).map_or(Ok(open), Err)
}

pub(crate) async fn describe(
    extract: &Extract,
    connection: Arc<dyn Connection>,
    name: &str,
) -> Result<OpenSource> {
    if extract.sync == Sync::Cdc {
        return Err(
            Error::new(Code::E0111, "`sync: cdc` is not available in this release")
                .with_hint("use `sync: full` or `sync: incremental`"),
        );
    }
    if extract.sync == Sync::Full && (extract.cursor.is_some() || extract.lookback.is_some()) {
        return Err(Error::new(
            Code::E0103,
            "`cursor` and `lookback` belong to an incremental extract",
        )
        .with_hint("add `sync: incremental`, or leave them out"));
    }
    if connection.source().is_none() {
        return Err(
            Error::new(Code::E0115, format!("connection `{name}` cannot be read"))
                .with_hint("read from another connection"),
        );
    }
    let dataset = match (&extract.asset, &extract.query) {
        (Some(_), Some(_)) => {
            return Err(
                Error::new(Code::E0103, "the extract has both `asset` and `query`")
                    .with_hint("keep one of them"),
            );
        }
        (None, None) => {
            return Err(
                Error::new(Code::E0103, "the extract names neither `asset` nor `query`").with_hint(format!(
                    "add `asset: …`; `synqx discover` lists what `{name}` has"
                )),
            );
        }
        (asset, query) => Dataset {
            asset: asset.clone(),
            query: query.clone(),
            options: extract.options.clone(),
            files: None,
        },
    };
    let table = connection.describe(&dataset).await?;
    Ok(OpenSource {
        connection,
        dataset,
        table,
        partition: extract.partition.clone(),
        range: None,
    })
}

/// The connection and asset of a load. Errors: `E0103`, `E0115`.
pub(crate) fn load_target<'a>(load: &'a Load, node: &str) -> Result<(&'a str, &'a str)> {
    let name = connection_name(load.to.as_deref(), load.asset_id, node)?;
    let asset = load.asset.as_deref().ok_or_else(|| {
        Error::new(Code::E0103, "the load names no `asset`")
            .with_hint("add `asset: …`: a table, file or folder")
    })?;
    Ok((name, asset))
}

pub(crate) fn connection_name<'a>(
    name: Option<&'a str>,
    asset_id: Option<i64>,
    node: &str,
) -> Result<&'a str> {
    match (name, asset_id) {
        (Some(name), _) => Ok(name),
        (None, Some(id)) => Err(Error::new(
            Code::E0109,
            format!("asset {id} of `{node}` is known to a control plane only"),
        )
        .with_hint("name a connection and an asset to run from the command line")),
        (None, None) => Err(Error::new(Code::E0109, format!("`{node}` names no connection"))
            .with_hint("add `from:` to an extract, `to:` to a load")),
    }
}
