//! `synqx cp SRC DST`: a pipeline of two nodes, written by the command line.
//!
//! The document's identity comes from the two places, never from a password or an option, so a copy that was
//! cut off is resumed by the same line. A target table that exists needs `--mode`; a file is replaced, as
//! `cp` does.

use std::collections::BTreeMap;
use std::path::Path;

use synqx_engine::{Engine, RunOptions};
use synqx_model::spec::{Extract, Load, Node, Operator, WriteMode};
use synqx_model::{Code, Error, PipelineSpec, Result};
use synqx_sdk::{Dataset, Role};

use super::flow::flow;
use crate::args::CopyArgs;
use crate::locate::{self, Place, Wanted};
use crate::session::{self, Session};

const SOURCE: &str = "source";
const TARGET: &str = "target";

/// Copies one table, file or folder.
pub(crate) async fn cp(args: &CopyArgs, session: &Session) -> Result<u8> {
    let (source, target) = match (
        locate::find(&args.src, Wanted::Asset, SOURCE),
        locate::find(&args.dst, Wanted::Asset, TARGET),
    ) {
        (Ok(source), Ok(target)) => (source, target),
        (source, target) => {
            let errors = [source.err(), target.err()].into_iter().flatten();
            return Err(
                Error::all(errors).unwrap_or_else(|| Error::bug("a place was refused without a reason"))
            );
        }
    };
    let here = session::absolute(Path::new("."));
    let mut options = session::options(&here, &args.resources)?;
    let secrets: BTreeMap<String, String> = source
        .secrets
        .clone()
        .into_iter()
        .chain(target.secrets.clone())
        .collect();
    let engine = session.engine_with(&here, secrets)?;
    let mut spec = document(&source, &target, args);
    let mode = match args.mode {
        Some(mode) => mode.write_mode(),
        None => {
            refuse_existing_table(&engine, &spec, &target, &options).await?;
            WriteMode::Replace
        }
    };
    if mode == WriteMode::Upsert && args.key.is_empty() {
        return Err(Error::new(Code::E0114, "an upsert needs to know the key")
            .with_hint("name its columns: `--mode upsert --key order_id`"));
    }
    if mode != WriteMode::Upsert && !(args.key.is_empty() && args.order_by.is_empty()) {
        return Err(
            Error::new(Code::E0114, "`--key` and `--order-by` are for an upsert")
                .with_hint("add `--mode upsert`, or leave them out"),
        );
    }
    if let Some(Operator::Load(load)) = spec.nodes.last_mut().map(|node| &mut node.operator) {
        load.write = mode;
    }
    args.earlier.apply(&mut options);
    Box::pin(flow(session, &engine, &spec, options, &args.manner)).await
}

fn document(source: &Place, target: &Place, args: &CopyArgs) -> PipelineSpec {
    let node = |id: &str, operator| Node {
        id: id.to_owned(),
        name: None,
        operator,
        retry: None,
        timeout: None,
    };
    let extract = Extract {
        from: Some(SOURCE.to_owned()),
        asset: Some(source.asset.clone()),
        ..Default::default()
    };
    let load = Load {
        input: Some(SOURCE.to_owned()),
        to: Some(TARGET.to_owned()),
        asset: Some(target.asset.clone()),
        key: args.key.clone(),
        order_by: args.order_by.clone(),
        create: true,
        ..Default::default()
    };
    let connections = [
        (SOURCE.to_owned(), source.connection.clone()),
        (TARGET.to_owned(), target.connection.clone()),
    ]
    .into();
    let mut spec = PipelineSpec {
        id: None,
        name: format!("{} → {}", source.label, target.label),
        description: None,
        schedule: None,
        connections,
        quarantine: None,
        nodes: vec![node(SOURCE, Operator::Extract(extract))],
    };
    let identity = PipelineSpec {
        nodes: Vec::new(),
        ..spec.clone()
    }
    .hash();
    spec.id = Some(format!("cp-{}", identity.get(..16).unwrap_or(&identity)));
    spec.nodes.push(node(TARGET, Operator::Load(load)));
    spec
}

/// Without `--mode`, only a target that does not exist, or a file, may be written. Errors: `E0114`, and
/// whatever keeps the target from being looked at.
async fn refuse_existing_table(
    engine: &Engine,
    spec: &PipelineSpec,
    target: &Place,
    options: &RunOptions,
) -> Result<()> {
    if target.connection.kind == "local_file" {
        return Ok(());
    }
    let connection = engine.connect(spec, TARGET, Role::Destination, options).await?;
    match connection.describe(&Dataset::asset(&target.asset)).await {
        Ok(_) => Err(Error::new(Code::E0114, format!("`{}` exists already", target.label))
            .with_detail("Nothing was read and nothing was changed.")
            .with_hint("say what to do with its rows: `--mode append`, `--mode replace` or `--mode upsert --key …`")),
        Err(error) if matches!(error.code(), Code::E0204 | Code::E0304) => Ok(()),
        Err(error) => Err(engine.clean(error)),
    }
}
