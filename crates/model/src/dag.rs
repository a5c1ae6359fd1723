//! The graph of a document: edges, order, parallel layers, and every structural fault at once.
//!
//! Edges are derived from `input`, `inputs`, `left`/`right` and the relations a `sql` text names. This is pure
//! structure: columns, types and connections are checked later, where they are known (`plan`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::ControlFlow;

use sqlparser::ast::{ObjectName, Query, SetExpr, Statement, Visit, Visitor};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

use crate::nearest::did_you_mean;
use crate::spec::{Lookup, Node, Operator, PipelineSpec};
use crate::{Code, Error, Result};

/// One end of an edge: a node, or one branch of a switch.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InputRef {
    /// Upstream node.
    pub node: String,
    /// Branch of a switch.
    pub branch: Option<String>,
}

impl fmt::Display for InputRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.branch {
            Some(branch) => write!(f, "{}.{branch}", self.node),
            None => f.write_str(&self.node),
        }
    }
}

/// The graph of a valid document.
#[derive(Debug, Clone, PartialEq)]
pub struct Graph {
    /// Node → its inputs, in the order the operator names them.
    pub inputs: BTreeMap<String, Vec<InputRef>>,
    /// Node → the nodes that read it.
    pub consumers: BTreeMap<String, Vec<String>>,
    /// Node → how often its rows are read (a self-join in SQL reads twice).
    pub uses: BTreeMap<String, usize>,
    /// Nodes such that inputs come first; ties in the order of the document.
    pub order: Vec<String>,
    /// Nodes that can run side by side, layer by layer.
    pub layers: Vec<Vec<String>>,
}

impl Graph {
    /// Builds the graph. Errors (all at once): `E0104` cycle, `E0105` unknown input, `E0106` missing input,
    /// `E0107` unreachable, `E0112` extract with input, `E0801` SQL that does not parse.
    pub fn build(spec: &PipelineSpec) -> Result<Graph> {
        let mut errors = Vec::new();
        let mut inputs = BTreeMap::new();
        for node in &spec.nodes {
            match node_inputs(node, spec) {
                Ok(found) => {
                    let known = found
                        .into_iter()
                        .filter(|input| match check_input(input, node, spec) {
                            Ok(()) => true,
                            Err(error) => {
                                errors.push(error);
                                false
                            }
                        });
                    inputs.insert(node.id.clone(), known.collect::<Vec<_>>());
                }
                Err(error) => {
                    errors.push(error.at_node(&node.id));
                    inputs.insert(node.id.clone(), Vec::new());
                }
            }
        }
        let mut consumers: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for node in &spec.nodes {
            for input in &inputs[&node.id] {
                let list = consumers.entry(input.node.clone()).or_default();
                if !list.contains(&node.id) {
                    list.push(node.id.clone());
                }
            }
        }
        let uses = count_uses(spec, &inputs);
        let (layers, order) = layer(spec, &inputs, &mut errors);
        shared_targets(spec, &mut errors);
        if errors.is_empty() {
            unreachable(spec, &consumers, &mut errors);
        }
        match Error::all(errors) {
            Some(error) => Err(error),
            None => Ok(Graph {
                inputs,
                consumers,
                uses,
                order,
                layers,
            }),
        }
    }
}

fn check_input(input: &InputRef, node: &Node, spec: &PipelineSpec) -> Result<()> {
    let known = || {
        spec.nodes
            .iter()
            .map(|n| n.id.as_str())
            .filter(|id| *id != node.id)
    };
    let Some(upstream) = spec.node(&input.node) else {
        return Err(Error::new(
            Code::E0105,
            format!("`{}` reads `{input}`, which is not a node", node.id),
        )
        .at_node(&node.id)
        .with_hint(did_you_mean(&input.node, known())));
    };
    match (&upstream.operator, &input.branch) {
        (Operator::Switch(switch), Some(branch)) => {
            let branches: Vec<&str> = switch
                .cases
                .iter()
                .map(|case| case.to.as_str())
                .chain(switch.otherwise.as_deref())
                .collect();
            if branches.contains(&branch.as_str()) {
                return Ok(());
            }
            Err(Error::new(
                Code::E0105,
                format!("switch `{}` has no branch `{branch}`", upstream.id),
            )
            .at_node(&node.id)
            .with_hint(did_you_mean(branch, branches)))
        }
        (Operator::Switch(switch), None) => {
            let branch = switch.cases.first().map_or("…", |case| case.to.as_str());
            Err(Error::new(
                Code::E0105,
                format!(
                    "`{}` reads switch `{}` without naming a branch",
                    node.id, upstream.id
                ),
            )
            .at_node(&node.id)
            .with_hint(format!("write `{}.{branch}`", upstream.id)))
        }
        (Operator::Load(_), _) => Err(Error::new(
            Code::E0105,
            format!("`{}` reads load `{}`, which emits no rows", node.id, upstream.id),
        )
        .at_node(&node.id)
        .with_hint("read the node that feeds the load instead")),
        (_, Some(_)) => Err(
            Error::new(Code::E0105, format!("`{}` has no branches", upstream.id))
                .at_node(&node.id)
                .with_hint(format!("write `{}`", upstream.id)),
        ),
        (_, None) => Ok(()),
    }
}

fn parse_ref(text: &str, spec: &PipelineSpec) -> InputRef {
    if spec.node(text).is_none()
        && let Some((node, branch)) = text.split_once('.')
    {
        return InputRef {
            node: node.to_owned(),
            branch: Some(branch.to_owned()),
        };
    }
    InputRef {
        node: text.to_owned(),
        branch: None,
    }
}

fn node_inputs(node: &Node, spec: &PipelineSpec) -> Result<Vec<InputRef>> {
    let texts: Vec<String> = match &node.operator {
        Operator::Extract(_) => return Ok(Vec::new()),
        Operator::Join(join) => vec![join.left.clone(), join.right.clone()],
        Operator::Lookup(lookup) => lookup_inputs(node, lookup)?,
        Operator::Union(union) if union.inputs.len() < 2 => {
            return Err(Error::new(
                Code::E0106,
                format!("union `{}` has fewer than two inputs", node.id),
            )
            .with_hint("name them: `inputs: [a, b]`"));
        }
        Operator::Union(union) => union.inputs.clone(),
        Operator::Sql(sql) => {
            let relations = relations(&sql.0)?;
            if relations.is_empty() {
                return Err(
                    Error::new(Code::E0106, format!("sql `{}` names no relation", node.id))
                        .with_hint("select from another node by its id"),
                );
            }
            relations
        }
        operator => match operator.input() {
            Some(input) => vec![input.to_owned()],
            None => {
                return Err(Error::new(
                    Code::E0106,
                    format!("{} `{}` has no input", operator.word(), node.id),
                )
                .with_hint("name the upstream node: `input: …`"));
            }
        },
    };
    Ok(texts.iter().map(|text| parse_ref(text, spec)).collect())
}

/// The input, then the reference where it is a node. Errors: `E0103`, `E0106`.
fn lookup_inputs(node: &Node, lookup: &Lookup) -> Result<Vec<String>> {
    let Some(input) = &lookup.input else {
        return Err(
            Error::new(Code::E0106, format!("lookup `{}` has no input", node.id))
                .with_hint("name the upstream node: `input: …`"),
        );
    };
    let asset = lookup.from.is_some() || lookup.asset.is_some();
    match &lookup.reference {
        Some(_) if asset => Err(Error::new(
            Code::E0103,
            format!("lookup `{}` names its reference twice", node.id),
        )
        .with_hint("keep `reference`, or `from` and `asset`")),
        Some(reference) => Ok(vec![input.clone(), reference.clone()]),
        None if asset => Ok(vec![input.clone()]),
        None => Err(
            Error::new(Code::E0106, format!("lookup `{}` has no reference", node.id))
                .with_hint("name a node: `reference: …`, or an asset: `from: …` and `asset: …`"),
        ),
    }
}

fn count_uses(spec: &PipelineSpec, inputs: &BTreeMap<String, Vec<InputRef>>) -> BTreeMap<String, usize> {
    let mut uses = BTreeMap::new();
    for node in &spec.nodes {
        for input in &inputs[&node.id] {
            let times = match &node.operator {
                Operator::Sql(sql) => relation_uses(&sql.0, &input.to_string()),
                _ => 1,
            };
            *uses.entry(input.node.clone()).or_insert(0) += times;
        }
    }
    uses
}

/// How often a SELECT reads a relation.
pub fn relation_uses(sql: &str, name: &str) -> usize {
    parse_select(sql).map_or(1, |found| found.names.iter().filter(|n| *n == name).count())
}

/// Whether a SELECT has a WHERE, HAVING, QUALIFY or LIMIT anywhere: not every row needs to come through.
pub fn narrows(sql: &str) -> bool {
    parse_select(sql).is_ok_and(|found| found.narrows)
}

/// The relations a SELECT names, without its own CTEs, each once, in order of appearance. Errors: `E0801`.
pub fn relations(sql: &str) -> Result<Vec<String>> {
    let mut names: Vec<String> = Vec::new();
    for name in parse_select(sql)?.names {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

fn parse_select(sql: &str) -> Result<Relations> {
    let statements = Parser::parse_sql(&PostgreSqlDialect {}, sql).map_err(|cause| {
        Error::new(Code::E0801, "the SQL does not parse")
            .with_detail(format!("{cause}."))
            .with_hint("one SELECT in PostgreSQL's spelling, with node ids as tables")
    })?;
    if statements.len() != 1 || !matches!(statements[0], Statement::Query(_)) {
        return Err(Error::new(Code::E0801, "the SQL is not one SELECT")
            .with_hint("a `sql` node holds exactly one SELECT; use one node per statement"));
    }
    let mut found = Relations::default();
    let _ = statements.visit(&mut found);
    Ok(found)
}

#[derive(Default)]
struct Relations {
    names: Vec<String>,
    /// CTE names of the enclosing queries, innermost last.
    scopes: Vec<BTreeSet<String>>,
    /// A query keeps only some of the rows.
    narrows: bool,
}

/// A SELECT of a query, or of one side of a set operation, has a condition on rows.
fn filters(body: &SetExpr) -> bool {
    match body {
        SetExpr::Select(select) => {
            select.selection.is_some() || select.having.is_some() || select.qualify.is_some()
        }
        SetExpr::SetOperation { left, right, .. } => filters(left) || filters(right),
        _ => false,
    }
}

impl Visitor for Relations {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let ctes = query
            .with
            .iter()
            .flat_map(|with| &with.cte_tables)
            .map(|cte| cte.alias.name.value.clone());
        self.scopes.push(ctes.collect());
        self.narrows |= query.limit_clause.is_some() || query.fetch.is_some() || filters(&query.body);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.scopes.pop();
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, name: &ObjectName) -> ControlFlow<()> {
        let parts: Vec<String> = name
            .0
            .iter()
            .filter_map(|part| part.as_ident())
            .map(|i| i.value.clone())
            .collect();
        let text = parts.join(".");
        let is_cte = parts.len() == 1 && self.scopes.iter().any(|scope| scope.contains(&text));
        if !is_cte {
            self.names.push(text);
        }
        ControlFlow::Continue(())
    }
}

fn layer(
    spec: &PipelineSpec,
    inputs: &BTreeMap<String, Vec<InputRef>>,
    errors: &mut Vec<Error>,
) -> (Vec<Vec<String>>, Vec<String>) {
    let mut done: BTreeSet<&str> = BTreeSet::new();
    let mut layers = Vec::new();
    loop {
        let ready: Vec<String> = spec
            .nodes
            .iter()
            .filter(|n| !done.contains(n.id.as_str()))
            .filter(|n| inputs[&n.id].iter().all(|i| done.contains(i.node.as_str())))
            .map(|n| n.id.clone())
            .collect();
        if ready.is_empty() {
            break;
        }
        done.extend(
            spec.nodes
                .iter()
                .map(|n| n.id.as_str())
                .filter(|id| ready.iter().any(|r| r == id)),
        );
        layers.push(ready);
    }
    let stuck: Vec<&str> = spec
        .nodes
        .iter()
        .map(|n| n.id.as_str())
        .filter(|id| !done.contains(id))
        .collect();
    if let Some(cycle) = find_cycle(&stuck, inputs) {
        errors.push(
            Error::new(
                Code::E0104,
                format!("the nodes {} read each other in a cycle", cycle.join(" → ")),
            )
            .at_node(&cycle[0])
            .with_hint("remove one of these inputs; data flows from extracts to loads only"),
        );
    }
    let order = layers.iter().flatten().cloned().collect();
    (layers, order)
}

fn find_cycle(stuck: &[&str], inputs: &BTreeMap<String, Vec<InputRef>>) -> Option<Vec<String>> {
    let mut path: Vec<String> = vec![(*stuck.first()?).to_owned()];
    loop {
        let last = path.last()?;
        let next = inputs[last]
            .iter()
            .map(|i| i.node.clone())
            .find(|n| stuck.contains(&n.as_str()))?;
        if let Some(start) = path.iter().position(|n| *n == next) {
            let mut cycle: Vec<String> = path.split_off(start);
            cycle.reverse();
            cycle.push(cycle[0].clone());
            return Some(cycle);
        }
        path.push(next);
    }
}

/// Two loads of one document cannot share a target: each plans for a table that only it changes.
fn shared_targets(spec: &PipelineSpec, errors: &mut Vec<Error>) {
    let mut seen: BTreeMap<(&str, &str), &str> = BTreeMap::new();
    for node in &spec.nodes {
        let Operator::Load(load) = &node.operator else {
            continue;
        };
        let (Some(to), Some(asset)) = (load.to.as_deref(), load.asset.as_deref()) else {
            continue;
        };
        match seen.insert((to, asset), &node.id) {
            Some(other) => errors.push(shares_target(&node.id, other)),
            None => continue,
        }
    }
}

/// Why a load may not write where another one does. `E0103`.
pub fn shares_target(load: &str, other: &str) -> Error {
    Error::new(Code::E0103, format!("writes the same target as `{other}`"))
        .at_node(load)
        .with_hint("bring the rows together with `union` and load them once")
}

fn unreachable(spec: &PipelineSpec, consumers: &BTreeMap<String, Vec<String>>, errors: &mut Vec<Error>) {
    if !spec
        .nodes
        .iter()
        .any(|node| matches!(node.operator, Operator::Load(_)))
    {
        errors.push(
            Error::new(Code::E0106, "the document has no load")
                .with_hint("add a `load` node: a run that writes nothing is no run"),
        );
        return;
    }
    for node in &spec.nodes {
        let is_load = matches!(node.operator, Operator::Load(_));
        if !is_load && !consumers.contains_key(&node.id) {
            errors.push(
                Error::new(Code::E0107, format!("no load is reached from node `{}`", node.id))
                    .at_node(&node.id)
                    .with_hint("read it from another node, or remove it"),
            );
        }
    }
}

#[cfg(test)]
mod tests;
