//! The document of a replay: a pipeline from the node that rejected rows downwards, reading those rows.
//!
//! The node keeps its checks and its id and reads the rejected rows instead of its input; what only fed it is gone,
//! what stands beside it (the other side of a join) stays. That is the same as if the rows had come through the first
//! time only where rows pass one by one, so everything that looks at several rows is refused by name. Pure: it opens
//! nothing and knows nothing of the ledger.

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use synqx_engine::{ORIGIN, ROW, Replayed};
use synqx_model::dag::Graph;
use synqx_model::spec::{
    ConnectionSpec, DropColumns, Extract, Filter, JoinHow, Load, MapColumns, Node, Operator, OrderedMap,
    WriteMode,
};
use synqx_model::{Code, Error, PipelineSpec, Result};

const CONNECTION: &str = "__replay";
const READ: &str = "__replay_read";
const ROWS: &str = "__replay_rows";
const MARKED: &str = "__replay_marked";
const DONE: &str = "__replay_done";

/// Where the rows of a replay are.
#[derive(Debug)]
pub(crate) struct Rows<'a> {
    /// The connection and asset that read them.
    pub(crate) connection: ConnectionSpec,
    pub(crate) asset: String,
    /// Types of columns, where the file has none.
    pub(crate) options: Map<String, Value>,
    /// The columns the node knows, without those of the quarantine.
    pub(crate) columns: Vec<String>,
    /// Whether the file brings origins of its own.
    pub(crate) has_origin: bool,
    /// Which rows.
    pub(crate) entry: &'a Replayed,
}

/// What a replay's positions and fences are filed under; each has its own.
pub(crate) fn key(pipeline: &str, entry: &Replayed) -> String {
    format!("{pipeline}/replay/{}", entry.run)
}

/// Whether a load of the document makes its target anew below this node, so that only the newest run's rows count.
pub(crate) fn replaces(spec: &PipelineSpec, node: &str) -> Result<bool> {
    let graph = Graph::build(spec)?;
    let below = downstream(&graph, node);
    let mut loads = spec.nodes.iter().filter(|n| below.contains(&n.id));
    Ok(loads.any(|n| matches!(&n.operator, Operator::Load(load) if load.write == WriteMode::Replace)))
}

/// The document of a replay. Errors: `E0105` when the node is gone, `E0111` where rows do not pass one by one.
pub(crate) fn document(spec: &PipelineSpec, rows: Rows<'_>) -> Result<PipelineSpec> {
    let graph = Graph::build(spec)?;
    let node = rows.entry.node.as_str();
    if !spec.nodes.iter().any(|known| known.id == node) {
        return Err(
            Error::new(Code::E0105, format!("the document has no node `{node}` any more"))
                .with_detail("The rows were rejected by a node of this name, and are replayed through it.")
                .with_hint("give the node its name back"),
        );
    }
    let below = downstream(&graph, node);
    let upserts = spec
        .nodes
        .iter()
        .filter(|n| below.contains(&n.id))
        .all(|n| match &n.operator {
            Operator::Load(load) => load.write == WriteMode::Upsert,
            _ => true,
        });
    let mut kept: BTreeSet<String> = below.clone();
    for id in &below {
        let beside = graph.inputs[id]
            .iter()
            .filter(|input| !below.contains(&input.node) && input.node != node);
        beside.for_each(|input| keep(&graph, &input.node, &mut kept));
    }
    let mut errors = Vec::new();
    let mut nodes = reading(&rows);
    for original in &spec.nodes {
        let is_it = original.id == node;
        if !is_it && !kept.contains(&original.id) {
            continue;
        }
        let mut replayed = original.clone();
        if is_it || below.contains(&original.id) {
            if let Err(error) = adapt(&mut replayed, node, &below, upserts) {
                errors.push(error.at_node(&original.id));
            }
            rename_inputs(&mut replayed.operator, node);
        }
        if is_it {
            if let Some(input) = replayed.operator.input_mut() {
                *input = Some(MARKED.to_owned());
            }
            nodes.push(replayed);
            let columns = vec![ORIGIN.to_owned()];
            nodes.push(plain(
                DONE,
                Operator::Drop(DropColumns {
                    input: Some(node.to_owned()),
                    columns,
                }),
            ));
        } else {
            nodes.push(replayed);
        }
    }
    if let Some(error) = Error::all(errors) {
        return Err(error);
    }
    let mut connections = spec.connections.clone();
    connections.insert(CONNECTION.to_owned(), rows.connection);
    Ok(PipelineSpec {
        id: Some(key(spec.key(), rows.entry)),
        name: format!("{} (replay of {node})", spec.name),
        schedule: None,
        connections,
        quarantine: None,
        nodes,
        ..spec.clone()
    })
}

fn plain(id: &str, operator: Operator) -> Node {
    Node {
        id: id.to_owned(),
        name: None,
        operator,
        retry: None,
        timeout: None,
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Nodes that read the rows and mark each with where it was rejected first.
fn reading(rows: &Rows<'_>) -> Vec<Node> {
    let extract = Extract {
        from: Some(CONNECTION.to_owned()),
        asset: Some(rows.asset.clone()),
        options: rows.options.clone(),
        ..Extract::default()
    };
    let number = quoted(ROW);
    let ranges = rows.entry.rows.iter();
    let ranges: Vec<String> = ranges
        .map(|(first, last)| format!("({number} >= {first} and {number} <= {last})"))
        .collect();
    let here = format!(
        "'{}/{}/' || cast({number} as text)",
        rows.entry.from, rows.entry.node
    );
    let origin = if rows.has_origin {
        format!("coalesce({}, {here})", quoted(ORIGIN))
    } else {
        here
    };
    let mut columns: Vec<(String, String)> = rows
        .columns
        .iter()
        .map(|name| (name.clone(), quoted(name)))
        .collect();
    columns.push((ORIGIN.to_owned(), origin));
    vec![
        plain(READ, Operator::Extract(extract)),
        plain(
            ROWS,
            Operator::Filter(Filter {
                input: Some(READ.to_owned()),
                condition: ranges.join(" or "),
            }),
        ),
        plain(
            MARKED,
            Operator::Map(MapColumns {
                input: Some(ROWS.to_owned()),
                columns: OrderedMap(columns),
                keep: false,
            }),
        ),
    ]
}

/// Every node that rows of a node reach.
fn downstream(graph: &Graph, node: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut queue = vec![node.to_owned()];
    while let Some(next) = queue.pop() {
        for consumer in graph.consumers.get(&next).into_iter().flatten() {
            if found.insert(consumer.clone()) {
                queue.push(consumer.clone());
            }
        }
    }
    found
}

/// A node and everything above it.
fn keep(graph: &Graph, node: &str, kept: &mut BTreeSet<String>) {
    if kept.insert(node.to_owned()) {
        for input in &graph.inputs[node] {
            keep(graph, &input.node, kept);
        }
    }
}

fn refused(node: &str, why: &str) -> Error {
    Error::new(Code::E0111, format!("rows rejected before `{node}` cannot be replayed: {why}"))
        .with_detail("A replay sends rejected rows through the rest of the pipeline, which gives the same result only where rows pass one by one.")
        .with_hint("mend the source and run the pipeline again")
}

/// Makes a node fit a replay, or refuses it.
fn adapt(node: &mut Node, start: &str, below: &BTreeSet<String>, upserts: bool) -> Result<()> {
    let id = node.id.clone();
    let text = serde_json::to_string(&node.operator)
        .unwrap_or_default()
        .to_lowercase();
    let looks_around = ["select", " over", ")over"]
        .iter()
        .any(|word| text.contains(word));
    let follows = |input: &str| {
        let input = input.split('.').next().unwrap_or(input);
        input == start || below.contains(input)
    };
    match &mut node.operator {
        Operator::Load(load) => replayed_load(load, &id)?,
        _ if looks_around => {
            return Err(refused(
                &id,
                "it has a query or a window, which may look at other rows",
            ));
        }
        Operator::Validate(validate) => {
            validate.checks.retain(|check| !check.check.is_of_table());
            let among = validate
                .checks
                .iter()
                .find(|check| check.check.looks_at_other_rows());
            if let Some(check) = among.filter(|_| !upserts) {
                let word = check.check.as_str();
                return Err(refused(
                    &id,
                    &format!("its check `{word}` compares each row with all others"),
                ));
            }
            for check in &mut validate.checks {
                // A share of rows that were all rejected before says nothing.
                check.warn_above = None;
                check.fail_above = None;
            }
            if validate.checks.is_empty() {
                node.operator = Operator::Filter(Filter {
                    input: validate.input.clone(),
                    condition: "true".to_owned(),
                });
            }
        }
        Operator::Join(join) => {
            let one_by_one = matches!(
                join.how,
                JoinHow::Inner | JoinHow::Left | JoinHow::Semi | JoinHow::Anti
            );
            if !one_by_one || !follows(&join.left) || follows(&join.right) {
                return Err(refused(&id, "the join is not from these rows to another side"));
            }
        }
        Operator::FillNulls(fill) if fill.strategy.is_some() => {
            return Err(refused(&id, "its strategy is computed over all rows"));
        }
        Operator::Filter(_)
        | Operator::Map(_)
        | Operator::Cast(_)
        | Operator::Rename(_)
        | Operator::Drop(_)
        | Operator::FillNulls(_)
        | Operator::RegexReplace(_)
        | Operator::Sort(_)
        | Operator::Switch(_) => {}
        other => {
            let word = other.word();
            return Err(refused(&id, &format!("`{word}` looks at several rows, or may")));
        }
    }
    Ok(())
}

/// The other rows are there already: these are added to them.
fn replayed_load(load: &mut Load, id: &str) -> Result<()> {
    match load.write {
        WriteMode::Append | WriteMode::Upsert => {}
        WriteMode::Replace => {
            load.write = WriteMode::Append;
            load.replace = None;
        }
        WriteMode::DeleteInsert | WriteMode::Scd2 | WriteMode::Mirror => {
            let why = format!("`{}` would take them for all rows", load.write.as_str());
            return Err(refused(id, &why));
        }
    }
    Ok(())
}

/// Consumers of the node read what comes behind it.
fn rename_inputs(operator: &mut Operator, node: &str) {
    let rename = |name: &mut String| {
        if name == node {
            *name = DONE.to_owned();
        }
    };
    match operator {
        Operator::Join(join) => rename(&mut join.left),
        other => {
            if let Some(Some(input)) = other.input_mut() {
                rename(input);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    use synqx_engine::Rejects;
    use synqx_model::RunId;

    use super::*;

    const HEAD: &str = "name: p\nconnections: {d: {type: local_file, path: .}}\nnodes:\n  a: {extract: {from: d, asset: a.csv}}\n  b: {extract: {from: d, asset: b.csv}}\n";

    fn replayed(nodes: &str) -> Result<PipelineSpec> {
        let spec = PipelineSpec::from_yaml(&format!("{HEAD}{nodes}")).expect("a document");
        let rejects = Rejects {
            run: RunId::fresh(),
            node: "v".into(),
            path: PathBuf::new(),
            rows: 3,
            rules: BTreeMap::new(),
            state: None,
            started_ms: None,
        };
        let entry = Replayed::begin(&rejects, vec![(0, 2)], None);
        let connection = ConnectionSpec {
            kind: "local_file".into(),
            config: Map::new(),
        };
        let rows = Rows {
            connection,
            asset: "v.parquet".into(),
            options: Map::new(),
            columns: vec!["id".into()],
            has_origin: true,
            entry: &entry,
        };
        let document = document(&spec, rows)?;
        Graph::build(&document).map(|_| document)
    }

    const CHECKED: &str = "  v: {validate: {input: a, checks: [{column: id, check: not_null, on_fail: quarantine, fail_above: 1%}]}}\n";

    #[test]
    fn the_node_reads_the_rejected_rows_and_the_rest_follows() {
        let document = replayed(&format!(
            "{CHECKED}  j: {{join: {{left: v, right: b, on: [id]}}}}\n  f: {{filter: {{input: a, where: 'id > 1'}}}}\n  o: {{load: {{input: j, to: d, asset: o, write: replace}}}}\n  other: {{load: {{input: f, to: d, asset: f.csv, write: replace}}}}\n"
        ))
        .expect("can be replayed");
        let ids: Vec<&str> = document.nodes.iter().map(|node| node.id.as_str()).collect();
        assert_eq!(
            ids,
            [READ, ROWS, MARKED, "b", "v", DONE, "j", "o"],
            "what only fed it is gone"
        );
        match &document.node("o").expect("the load").operator {
            Operator::Load(load) => assert_eq!(load.write, WriteMode::Append),
            other => panic!("{other:?}"),
        }
        match &document.node("v").expect("the check").operator {
            Operator::Validate(validate) => assert_eq!(validate.checks[0].fail_above, None),
            other => panic!("{other:?}"),
        }
        assert!(document.key().starts_with("p/replay/run_"));
    }

    #[test]
    fn a_mode_that_takes_rows_for_all_rows_is_refused() {
        for mode in ["mirror, key: [id]", "scd2, key: [id]"] {
            let nodes = format!(
                "{CHECKED}  j: {{join: {{left: v, right: b, on: [id]}}}}\n  o: {{load: {{input: j, to: d, asset: o, write: {mode}}}}}\n"
            );
            let refused = replayed(&nodes).expect_err(mode);
            assert_eq!(refused.code(), Code::E0111, "{refused:?}");
            assert!(
                refused.message().contains("for all rows"),
                "{}",
                refused.message()
            );
        }
    }

    #[test]
    fn what_looks_at_several_rows_is_refused() {
        for (nodes, word) in [
            (
                "  g: {aggregate: {input: v, group_by: [id], columns: {n: count(*)}}}\n",
                "aggregate",
            ),
            ("  g: {deduplicate: {input: v, key: [id]}}\n", "deduplicate"),
            ("  g: {sql: 'select * from v'}\n", "query"),
            (
                "  g: {map: {input: v, columns: {n: 'row_number() over ()'}}}\n",
                "window",
            ),
            ("  g: {join: {left: b, right: v, on: [id]}}\n", "join"),
            ("  g: {join: {left: v, right: b, on: [id], how: full}}\n", "join"),
            ("  g: {union: {inputs: [v, b]}}\n", "union"),
            (
                "  g: {validate: {input: v, checks: [{column: id, check: unique}]}}\n",
                "unique",
            ),
            (
                "  g: {fill_nulls: {input: v, strategy: mean, subset: [id]}}\n",
                "strategy",
            ),
        ] {
            let load = "  o: {load: {input: g, to: d, asset: o.csv, write: replace}}\n  k: {load: {input: b, to: d, asset: k.csv, write: replace}}\n";
            let refused = replayed(&format!("{CHECKED}{nodes}{load}")).expect_err(word);
            assert_eq!(refused.code(), Code::E0111, "{refused:?}");
            assert!(refused.message().contains(word), "{}", refused.message());
        }
    }
}
