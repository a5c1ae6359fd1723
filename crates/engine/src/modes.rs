//! What a write mode asks of the rest of the document, judged before anything is opened.
//!
//! A mode that deletes what does not arrive must be fed whole: a read of what is new, or a filter on the way, would
//! make it delete rows that the source still has. What a mode asks of the rows themselves is `sdk::modes`.

use synqx_model::dag::{Graph, narrows};
use synqx_model::spec::{Load, Operator, Sync, WriteMode};
use synqx_model::{Code, Error, PipelineSpec, Result};

/// Refuses options of another mode, and rows that are known to be a part only. Errors, all at once: `E0103`.
pub(crate) fn check(spec: &PipelineSpec, graph: &Graph, node: &str, load: &Load) -> Result<()> {
    let mut errors = Vec::new();
    let mode = load.write;
    let options = [
        (
            "partition_by",
            !load.partition_by.is_empty(),
            WriteMode::DeleteInsert,
        ),
        ("scd2", load.scd2.is_some(), WriteMode::Scd2),
        ("mirror", load.mirror.is_some(), WriteMode::Mirror),
        ("replace", load.replace.is_some(), WriteMode::Replace),
    ];
    for (key, given, of) in options {
        if given && mode != of {
            let what = format!(
                "`{key}` is an option of `write: {}`, not of `{}`",
                of.as_str(),
                mode.as_str()
            );
            errors.push(
                Error::new(Code::E0103, what)
                    .with_hint(format!("remove `{key}`, or write `write: {}`", of.as_str())),
            );
        }
    }
    let percents = [
        load.scd2
            .as_ref()
            .map(|o| ("scd2.max_close_percent", o.max_close_percent)),
        load.mirror
            .as_ref()
            .map(|o| ("mirror.max_delete_percent", o.max_delete_percent)),
    ];
    for (key, percent) in percents
        .into_iter()
        .flatten()
        .filter(|(_, percent)| *percent > 100)
    {
        errors.push(
            Error::new(Code::E0103, format!("`{key}` is {percent}"))
                .with_hint("write a whole number from 0 to 100"),
        );
    }
    errors.extend(partial(spec, graph, node, load));
    Error::all(errors).map_or(Ok(()), Err)
}

/// What is to be read about how the load is fed, without being an error.
pub(crate) fn notes(spec: &PipelineSpec, graph: &Graph, node: &str, load: &Load) -> Vec<String> {
    let above = above(graph, node);
    let operators = || {
        above
            .iter()
            .filter_map(|(id, _)| spec.node(id))
            .map(|n| &n.operator)
    };
    let mut notes = Vec::new();
    let incremental = |o: &Operator| matches!(o, Operator::Extract(e) if e.sync == Sync::Incremental);
    if load.write == WriteMode::DeleteInsert && operators().any(incremental) {
        notes.push(
            "the read is incremental, and slices are replaced whole: `lookback` must cover every slice that arrives"
                .to_owned(),
        );
    }
    if deletes_missing(load) && operators().any(|o| matches!(o, Operator::Validate(_))) {
        notes.push("rows that a check sets aside do not arrive, so their keys count as missing".to_owned());
    }
    notes
}

/// Keys that do not arrive have consequences.
fn deletes_missing(load: &Load) -> bool {
    match load.write {
        WriteMode::Mirror => true,
        WriteMode::Scd2 => load.scd2.as_ref().is_some_and(|options| options.close_missing),
        WriteMode::Append | WriteMode::Replace | WriteMode::Upsert | WriteMode::DeleteInsert => false,
    }
}

/// Why the rows of a load that deletes are known to be a part of the source only.
fn partial(spec: &PipelineSpec, graph: &Graph, node: &str, load: &Load) -> Option<Error> {
    if !deletes_missing(load) {
        return None;
    }
    let mode = load.write.as_str();
    let scoped = match &load.mirror {
        Some(options) => options.whole_target || !options.scope.is_empty(),
        None => load.write == WriteMode::Scd2,
    };
    for (id, branch) in above(graph, node) {
        let operator = &spec.node(&id)?.operator;
        if matches!(operator, Operator::Extract(extract) if extract.sync == Sync::Incremental) {
            return Some(
                Error::new(
                    Code::E0103,
                    format!(
                        "`write: {mode}` deletes what does not arrive, and `{id}` reads only what is new"
                    ),
                )
                .with_detail("Rows that did not change would be taken for rows that are gone.")
                .with_hint("read with `sync: full`, or use `write: upsert`"),
            );
        }
        let filters = match operator {
            Operator::Filter(_) => true,
            Operator::Switch(_) => branch,
            Operator::Sql(sql) => narrows(&sql.0),
            _ => false,
        };
        if filters && !scoped {
            return Some(
                Error::new(
                    Code::E0103,
                    format!("`write: mirror` deletes what does not arrive, and `{id}` lets only a part of the rows through"),
                )
                .with_hint(
                    "say which part of the target that is, `mirror: {scope: {column: value}}`, or `mirror: {whole_target: true}` \
                     when the target holds nothing else",
                ),
            );
        }
    }
    None
}

/// Every node above a load, and whether it is read through one of its branches.
fn above(graph: &Graph, node: &str) -> Vec<(String, bool)> {
    let mut found: Vec<(String, bool)> = Vec::new();
    let mut queue = vec![node.to_owned()];
    while let Some(next) = queue.pop() {
        for input in graph.inputs.get(&next).into_iter().flatten() {
            if !found.iter().any(|(id, _)| *id == input.node) {
                found.push((input.node.clone(), input.branch.is_some()));
                queue.push(input.node.clone());
            }
        }
    }
    found
}
