//! `synqx check`: every problem at once, in the document, its graph, its plan and its connections.
//!
//! Also what `doctor FILE` asks of connections. Each connection is opened once per part it plays; one that no
//! node names is looked at as a source, because a typo in it will matter one day.

use std::collections::BTreeSet;

use synqx_engine::{Engine, RunOptions};
use synqx_model::spec::Operator;
use synqx_model::{Code, PipelineSpec, Result};
use synqx_sdk::{Finding, Role};

use crate::args::CheckArgs;
use crate::render;
use crate::render::number::plural;
use crate::session::{self, Session};

/// Reports everything that is wrong with a document.
pub(crate) async fn check(args: &CheckArgs, session: &Session) -> Result<u8> {
    let document = crate::document::load(args.file.as_deref())?;
    let engine = session.engine(&session::absolute(&document.base_dir))?;
    let options = session::options(&document.base_dir, &args.resources)?;
    let paint = session.terminal.out_paint;
    let mut codes: Vec<u8> = Vec::new();
    let mut out = String::new();
    for connection in connections(&engine, &document.spec, &options).await {
        let findings = connection.findings;
        codes.extend(findings.iter().filter(|f| !f.ok).map(|_| connection.code.exit()));
        out.push_str(&render::check::render_all(&connection.title, &findings, paint));
    }
    session.terminal.out(&out);
    if let Err(error) = Box::pin(engine.plan(&document.spec, &options)).await {
        codes.extend(error.iter().map(|one| one.code().exit()));
        session.terminal.error(&error, session.verbose);
    }
    let name = document.path.display();
    match codes.iter().min() {
        None => {
            session
                .terminal
                .out(&format!("{} {name} can run\n", paint.good("✓")));
            Ok(0)
        }
        Some(code) => {
            let problems = plural(codes.len() as u64, "problem");
            session
                .terminal
                .out(&format!("{} {name} cannot run: {problems}\n", paint.bad("✗")));
            Ok(*code)
        }
    }
}

/// What was found about one connection in one part.
#[derive(Debug)]
pub(crate) struct Checked {
    /// Name, kind and part.
    pub(crate) title: String,
    /// What was looked at.
    pub(crate) findings: Vec<Finding>,
    /// The code a problem stands for.
    pub(crate) code: Code,
}

/// Opens and checks every connection of a document.
pub(crate) async fn connections(engine: &Engine, spec: &PipelineSpec, options: &RunOptions) -> Vec<Checked> {
    let mut checked = Vec::new();
    for (name, role) in parts(spec) {
        let kind = spec
            .connections
            .get(&name)
            .map_or("?", |connection| connection.kind.as_str());
        let title = format!("{name} ({kind}, as {})", role.as_str());
        let code = role.code(Code::E0201, Code::E0301);
        let opened = match engine.connect(spec, &name, role, options).await {
            Ok(connection) => connection.check().await.map_err(|error| engine.clean(error)),
            Err(error) => Err(error),
        };
        let (findings, code) = match opened {
            Ok(findings) => (findings, code),
            Err(error) => (vec![Finding::bad("configuration", &error)], error.code()),
        };
        checked.push(Checked {
            title,
            findings,
            code,
        });
    }
    checked
}

/// Every connection with the parts it plays, sources first.
fn parts(spec: &PipelineSpec) -> BTreeSet<(String, Role)> {
    let mut parts = BTreeSet::new();
    for node in &spec.nodes {
        let part = match &node.operator {
            Operator::Extract(extract) => extract.from.clone().map(|name| (name, Role::Source)),
            Operator::Lookup(lookup) => lookup.from.clone().map(|name| (name, Role::Source)),
            Operator::Load(load) => load.to.clone().map(|name| (name, Role::Destination)),
            _ => None,
        };
        parts.extend(part.filter(|(name, _)| spec.connections.contains_key(name)));
    }
    if let Some(quarantine) = &spec.quarantine
        && spec.connections.contains_key(&quarantine.to)
    {
        parts.insert((quarantine.to.clone(), Role::Destination));
    }
    for name in spec.connections.keys() {
        if !parts.iter().any(|(known, _)| known == name) {
            parts.insert((name.clone(), Role::Source));
        }
    }
    parts
}
