//! `synqx preview`: the first rows of an asset, with their types.
//!
//! Reads through the same scan that a run uses, with a limit, one partition after another, and stops as soon
//! as it has enough. What a node computes cannot be shown yet; an extract's asset can.

use std::path::Path;

use arrow::record_batch::RecordBatch;
use futures::StreamExt;
use synqx_model::nearest::did_you_mean;
use synqx_model::size::human_bytes;
use synqx_model::spec::{Operator, PartitionBy};
use synqx_model::{Code, Error, Result};
use synqx_sdk::{Connection, Dataset, Role, Scan, TableSchema};

use super::discover::{Opened, open_document, open_place, unknown_connection};
use crate::args::PreviewArgs;
use crate::locate::Wanted;
use crate::render::number::{count, plural};
use crate::session::Session;
use crate::{document, render};

/// Shows rows.
pub(crate) async fn preview(args: &PreviewArgs, session: &Session) -> Result<u8> {
    let (opened, name, dataset) = find(args, session)?;
    let connection = opened
        .engine
        .connect(&opened.spec, &name, Role::Source, &opened.options)
        .await?;
    let shown = Box::pin(rows(connection.as_ref(), &dataset, args.rows)).await;
    let (table, batches) = shown.map_err(|error| opened.engine.clean(error))?;
    let paint = session.terminal.out_paint;
    let text = render::rows::render(&table.schema, &batches, session.terminal.width(), paint)?;
    let read: usize = batches.iter().map(RecordBatch::num_rows).sum();
    let mut facts = vec![plural(read as u64, "row")];
    facts.extend(
        table
            .rows
            .filter(|rows| *rows > read as u64)
            .map(|rows| format!("of about {}", count(rows))),
    );
    facts.push(plural(table.schema.fields().len() as u64, "column"));
    facts.extend(table.bytes.map(human_bytes));
    let mut out = format!(
        "{text}{}\n",
        paint.dim(&facts.join(", ").replace(", of about", " of about"))
    );
    for note in &table.notes {
        out.push_str(&format!("{} {note}\n", paint.dim("note:")));
    }
    session.terminal.out(&out);
    Ok(0)
}

fn find(args: &PreviewArgs, session: &Session) -> Result<(Opened, String, Dataset)> {
    if !document::looks_like_document(&args.place) {
        if args.name.is_some() {
            return Err(Error::new(
                Code::E0114,
                "a path or URL names one asset; there is nothing to add to it",
            )
            .with_hint("`synqx preview PATH`, or `synqx preview pipeline.yaml NODE`"));
        }
        let (opened, asset) = open_place(&args.place, Wanted::Asset, session)?;
        let name = opened.spec.connections.keys().next().cloned().unwrap_or_default();
        return Ok((opened, name, Dataset::asset(asset)));
    }
    let opened = open_document(Path::new(&args.place), session)?;
    let extracts = || {
        opened
            .spec
            .nodes
            .iter()
            .filter(|n| matches!(n.operator, Operator::Extract(_)))
            .map(|n| n.id.as_str())
    };
    let Some(name) = &args.name else {
        return Err(
            Error::new(Code::E0114, "it is not said what of the document to show").with_hint(format!(
                "name an extract: {}; or a connection and an asset",
                did_you_mean("", extracts())
            )),
        );
    };
    if let Some(asset) = &args.asset {
        if !opened.spec.connections.contains_key(name) {
            return Err(unknown_connection(&opened.spec, name));
        }
        let (name, dataset) = (name.clone(), Dataset::asset(asset));
        return Ok((opened, name, dataset));
    }
    match opened.spec.node(name).map(|node| &node.operator) {
        Some(Operator::Extract(extract)) => {
            let dataset = Dataset {
                asset: extract.asset.clone(),
                query: extract.query.clone(),
                options: extract.options.clone(),
                files: None,
            };
            let connection = extract.from.clone().ok_or_else(|| {
                Error::new(Code::E0109, format!("`{name}` names no connection"))
                    .with_hint("add `from:` to it")
            })?;
            Ok((opened, connection, dataset))
        }
        Some(operator) => Err(Error::new(
            Code::E0111,
            format!(
                "`{name}` is a {}; only what an extract reads can be shown in this release",
                operator.word()
            ),
        )
        .with_hint(format!("preview what feeds it: {}", did_you_mean("", extracts())))),
        None if opened.spec.connections.contains_key(name) => Err(Error::new(
            Code::E0114,
            format!("`{name}` is a connection, and no asset is named"),
        )
        .with_hint(format!("`synqx discover {} {name}` lists its assets", args.place))),
        None => {
            let known: Vec<&str> = extracts()
                .chain(opened.spec.connections.keys().map(String::as_str))
                .collect();
            Err(
                Error::new(Code::E0105, format!("there is no node or connection `{name}`"))
                    .with_hint(did_you_mean(name, known)),
            )
        }
    }
}

/// The first rows, cut to exactly as many as were asked for.
pub(super) async fn rows(
    connection: &dyn Connection,
    dataset: &Dataset,
    wanted: usize,
) -> Result<(TableSchema, Vec<RecordBatch>)> {
    let table = connection.describe(dataset).await?;
    let source = connection.source().ok_or_else(|| {
        Error::new(Code::E0115, "this connection cannot be read")
            .with_hint("`synqx connectors` says which can")
    })?;
    let scan = Scan {
        dataset: dataset.clone(),
        table: table.clone(),
        columns: table
            .schema
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .collect(),
        predicates: Vec::new(),
        limit: Some(wanted as u64),
        partition: PartitionBy::None,
        parallel: 1,
    };
    let plan = source.plan(&scan).await?;
    let mut batches = Vec::new();
    let mut missing = wanted;
    if missing == 0 || plan.partitions.is_empty() {
        return Ok((table, batches));
    }
    let reader = source.open(&scan, &plan).await?;
    for partition in 0..plan.partitions.len() {
        let mut stream = reader.read(partition).await?;
        while missing > 0 {
            let Some(batch) = stream.next().await.transpose()? else {
                break;
            };
            let batch = batch.slice(0, batch.num_rows().min(missing));
            missing -= batch.num_rows();
            batches.push(batch);
        }
        if missing == 0 {
            break;
        }
    }
    Ok((table, batches))
}
