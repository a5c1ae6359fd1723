//! Graph tests: derived edges, layers, and each structural fault with its code.
//!
//! Documents are written as YAML, as a user would, so the tests also read as examples.
//! No I/O.

use super::*;

fn spec(nodes: &str) -> PipelineSpec {
    PipelineSpec::from_yaml(&format!("name: t\nnodes:\n{nodes}")).expect("a document that decodes")
}

fn codes(nodes: &str) -> Vec<&'static str> {
    Graph::build(&spec(nodes))
        .expect_err("a fault")
        .iter()
        .map(|e| e.code().as_str())
        .collect()
}

const A: &str = "  a: {extract: {from: x, asset: a.csv}}\n  b: {extract: {from: x, asset: b.csv}}\n";

#[test]
fn edges_come_from_sql_text_without_its_ctes() {
    let graph = Graph::build(&spec(&format!(
        "{A}  j: {{sql: 'with c as (select * from a) select * from c join b using (k) where k in (select k from a)'}}\n  out: {{load: {{input: j, to: x, asset: o}}}}"
    )))
    .expect("valid");
    let names: Vec<String> = graph.inputs["j"].iter().map(ToString::to_string).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(graph.layers, vec![vec!["a", "b"], vec!["j"], vec!["out"]]);
    assert_eq!(graph.consumers["a"], ["j"]);
}

#[test]
fn a_cycle_is_named_node_by_node() {
    let nodes = "  p: {filter: {input: q, where: 'true'}}\n  q: {filter: {input: p, where: 'true'}}\n  out: {load: {input: p, to: x, asset: o}}";
    let error = Graph::build(&spec(nodes)).expect_err("cycle");
    assert_eq!(error.code(), Code::E0104);
    assert!(error.message().contains("→"), "{error}");
}

#[test]
fn unknown_inputs_are_all_reported_with_the_nearest_name() {
    let error = Graph::build(&spec(&format!(
        "{A}  f: {{filter: {{input: aa, where: 'true'}}}}\n  g: {{sql: 'select * from bb'}}\n  out: {{load: {{input: f, to: x, asset: o}}}}"
    )))
    .expect_err("two faults");
    let hints: Vec<_> = error.iter().filter_map(|e| e.hint()).collect();
    assert_eq!(hints, ["did you mean `a`?", "did you mean `b`?"]);
}

#[test]
fn loads_need_inputs_and_nodes_need_consumers() {
    assert_eq!(
        codes(&format!("{A}  out: {{load: {{to: x, asset: o}}}}")),
        ["E0106"]
    );
    assert_eq!(
        codes(&format!("{A}  out: {{load: {{input: a, to: x, asset: o}}}}")),
        ["E0107"]
    );
    assert_eq!(codes("  a: {extract: {from: x, asset: a.csv}}"), ["E0106"]);
}

#[test]
fn a_switch_is_read_by_branch() {
    let switch = "  a: {extract: {from: x, asset: a}}\n  s: {switch: {input: a, cases: [{when: 'k > 1', to: big}], else: small}}\n";
    let good = format!(
        "{switch}  o1: {{load: {{input: s.big, to: x, asset: o}}}}\n  o2: {{load: {{input: s.small, to: x, asset: p}}}}"
    );
    assert!(Graph::build(&spec(&good)).is_ok());
    assert_eq!(
        codes(&format!("{switch}  o1: {{load: {{input: s, to: x, asset: o}}}}")),
        ["E0105"]
    );
    assert_eq!(
        codes(&format!(
            "{switch}  o1: {{load: {{input: s.bgi, to: x, asset: o}}}}"
        )),
        ["E0105"]
    );
}

#[test]
fn sql_must_be_one_select() {
    assert_eq!(
        codes(&format!(
            "{A}  j: {{sql: 'delete from a'}}\n  out: {{load: {{input: j, to: x, asset: o}}}}"
        )),
        ["E0801"]
    );
}
