//! `synqx discover`: what can be read at a connection of a document, or at a path or URL.
//!
//! Also how `preview` opens what it shows. A path or URL becomes a document of one connection called
//! `source`.

use std::path::Path;

use synqx_engine::{Engine, RunOptions};
use synqx_model::nearest::did_you_mean;
use synqx_model::size::human_bytes;
use synqx_model::spec::ConnectionSpec;
use synqx_model::{Code, Error, PipelineSpec, Result};
use synqx_sdk::{Asset, AssetKind, Role};

use crate::args::{DiscoverArgs, Resources};
use crate::document;
use crate::locate::{self, Wanted};
use crate::render::number::count;
use crate::render::table::{Table, cut};
use crate::session::{self, Session};

const SOURCE: &str = "source";
const LONGEST_COMMENT: usize = 60;

/// Lists assets.
pub(crate) async fn discover(args: &DiscoverArgs, session: &Session) -> Result<u8> {
    let opened = if document::looks_like_document(&args.place) {
        open_document(Path::new(&args.place), session)?
    } else {
        if args.connection.is_some() {
            return Err(Error::new(Code::E0114, "a connection is named, but no document")
                .with_hint("`synqx discover pipeline.yaml CONNECTION`"));
        }
        open_place(&args.place, Wanted::System, session)?.0
    };
    let names: Vec<String> = match &args.connection {
        Some(name) if opened.spec.connections.contains_key(name) => vec![name.clone()],
        Some(name) => return Err(unknown_connection(&opened.spec, name)),
        None => opened.spec.connections.keys().cloned().collect(),
    };
    let several = names.len() > 1;
    for name in names {
        let connection = opened
            .engine
            .connect(&opened.spec, &name, Role::Source, &opened.options)
            .await?;
        let found = connection
            .discover(args.pattern.as_deref())
            .await
            .map_err(|e| opened.engine.clean(e))?;
        let mut out = String::new();
        if args.json {
            for asset in &found {
                let line = serde_json::to_string(asset)
                    .map_err(|cause| Error::bug("an asset cannot be written as JSON").with_cause(&cause))?;
                out.push_str(&format!("{line}\n"));
            }
        } else {
            if several {
                out.push_str(&format!("{}\n", session.terminal.out_paint.bold(&name)));
            }
            out.push_str(&table(&found, session));
        }
        session.terminal.out(&out);
    }
    Ok(0)
}

fn table(found: &[Asset], session: &Session) -> String {
    let paint = session.terminal.out_paint;
    if found.is_empty() {
        return "nothing found\n".to_owned();
    }
    let mut table = Table::new(&["NAME", "KIND", ">ROWS", ">SIZE", "COMMENT"]);
    for asset in found {
        table.row([
            paint.name(&asset.name),
            kind(asset.kind).to_owned(),
            asset.rows.map_or(String::new(), count),
            asset.bytes.map_or(String::new(), human_bytes),
            asset.comment.as_deref().map_or(String::new(), |text| {
                cut(&text.replace('\n', " "), LONGEST_COMMENT)
            }),
        ]);
    }
    table.render(paint)
}

fn kind(kind: AssetKind) -> &'static str {
    match kind {
        AssetKind::Table => "table",
        AssetKind::PartitionedTable => "partitioned table",
        AssetKind::View => "view",
        AssetKind::MaterializedView => "materialised view",
        AssetKind::ForeignTable => "foreign table",
        AssetKind::File => "file",
        AssetKind::Folder => "folder",
    }
}

/// A document with what is needed to open its connections.
pub(super) struct Opened {
    pub(super) engine: Engine,
    pub(super) spec: PipelineSpec,
    pub(super) options: RunOptions,
}

/// Opens a document for one-off work.
pub(super) fn open_document(path: &Path, session: &Session) -> Result<Opened> {
    let document = document::load(Some(path))?;
    let engine = session.engine(&session::absolute(&document.base_dir))?;
    let options = session::options(&document.base_dir, &one_off())?;
    Ok(Opened {
        engine,
        spec: document.spec,
        options,
    })
}

/// Opens a path or URL for one-off work; also its asset. The connection is called `source`.
pub(super) fn open_place(text: &str, wanted: Wanted, session: &Session) -> Result<(Opened, String)> {
    let place = locate::find(text, wanted, SOURCE)?;
    let here = session::absolute(Path::new("."));
    let engine = session.engine_with(&here, place.secrets)?;
    let options = session::options(&here, &one_off())?;
    let spec = one_connection(place.label, place.connection);
    Ok((
        Opened {
            engine,
            spec,
            options,
        },
        place.asset,
    ))
}

/// The error for a connection the document does not have.
pub(super) fn unknown_connection(spec: &PipelineSpec, name: &str) -> Error {
    Error::new(Code::E0109, format!("there is no connection `{name}`"))
        .with_hint(did_you_mean(name, spec.connections.keys().map(String::as_str)))
}

fn one_off() -> Resources {
    Resources {
        memory: "512MiB".to_owned(),
        parallel: 1,
        state: None,
    }
}

fn one_connection(name: String, connection: ConnectionSpec) -> PipelineSpec {
    PipelineSpec {
        id: None,
        name,
        description: None,
        schedule: None,
        connections: [(SOURCE.to_owned(), connection)].into(),
        quarantine: None,
        nodes: Vec::new(),
    }
}
