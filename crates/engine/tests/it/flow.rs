//! Whole runs from files to files: operators, checks, routing, shared nodes, and sums that close.
//!
//! Each test is a document and its result, so they also read as examples of what an operator does.

use synqx_model::Code;
use synqx_model::manifest::StepKind;

use crate::setting::{files_below, read, run, sorted_lines, succeed, write};

const CONNECTIONS: &str = "name: t\nconnections: {d: {type: local_file, path: .}}\nnodes:\n";

fn people(dir: &std::path::Path) {
    write(
        dir,
        "p.csv",
        "id,name,city,age\n1,Ann,Rome,30\n2,Bob,Oslo,\n3,Cid,Rome,41\n4,,Oslo,17\n5,Eve,Bonn,17\n",
    );
    write(dir, "c.csv", "city,country\nRome,Italy\nOslo,Norway\n");
}

/// Runs one operator node `n` over people (`p`) and cities (`c`) and returns the lines written.
async fn one(node: &str) -> Vec<String> {
    let dir = tempfile::tempdir().expect("a folder");
    people(dir.path());
    let cities = if node.contains('c') && (node.contains("right: c") || node.contains(" c ")) {
        "  c: {extract: {from: d, asset: c.csv}}\n"
    } else {
        ""
    };
    let yaml = format!(
        "{CONNECTIONS}  p: {{extract: {{from: d, asset: p.csv}}}}\n{cities}  n: {{{node}}}\n  out: {{load: {{input: n, to: d, asset: o.csv, write: replace}}}}\n"
    );
    let outcome = succeed(dir.path(), &yaml).await;
    outcome.manifest.verify().expect("sums close");
    sorted_lines(dir.path(), "o.csv")
}

#[tokio::test(flavor = "multi_thread")]
async fn filter_keeps_what_is_true() {
    assert_eq!(
        one("filter: {input: p, where: 'age > 18'}").await,
        ["1,Ann,Rome,30", "3,Cid,Rome,41"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn map_replaces_adds_and_keeps() {
    let lines = one("map: {input: p, columns: {age: 'age + 1', shout: 'upper(name)'}}").await;
    assert_eq!(lines[0], "1,Ann,Rome,31,ANN");
    assert_eq!(
        one("map: {input: p, keep: false, columns: {k: 'id * 10'}}").await,
        ["10", "20", "30", "40", "50"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rename_drop_and_fill_nulls() {
    assert_eq!(
        one("rename: {input: p, columns: {city: town}}").await[0],
        "1,Ann,Rome,30"
    );
    assert_eq!(one("drop: {input: p, columns: [name, city]}").await[1], "2,");
    assert_eq!(
        one("fill_nulls: {input: p, columns: {age: 0, name: '?'}}").await[3],
        "4,?,Oslo,17"
    );
    let by_mean = one("fill_nulls: {input: p, strategy: max, subset: [age]}").await;
    assert_eq!(by_mean[1], "2,Bob,Oslo,41");
}

#[tokio::test(flavor = "multi_thread")]
async fn regex_replace_respects_its_subset() {
    assert_eq!(
        one("regex_replace: {input: p, subset: [city], pattern: '^(.)o', replacement: '\\1_'}").await[0],
        "1,Ann,R_me,30"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn deduplicate_keeps_first_or_last_in_order() {
    let first = one("deduplicate: {input: p, key: [city], order_by: [id]}").await;
    assert_eq!(first, ["1,Ann,Rome,30", "2,Bob,Oslo,", "5,Eve,Bonn,17"]);
    let last = one("deduplicate: {input: p, key: [city], order_by: [id], keep: last}").await;
    assert_eq!(last, ["3,Cid,Rome,41", "4,,Oslo,17", "5,Eve,Bonn,17"]);
    let least = one("deduplicate: {input: p, key: [city]}").await;
    assert_eq!(least, first, "no order: the least row, on every run");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_of_no_order_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    people(dir.path());
    let yaml = format!(
        "{CONNECTIONS}  p: {{extract: {{from: d, asset: p.csv}}}}\n  s: {{deduplicate: {{input: p, key: [city], keep: last}}}}\n  out: {{load: {{input: s, to: d, asset: o.csv, write: replace}}}}\n"
    );
    let error = run(dir.path(), &yaml).await.error.expect("refused");
    assert_eq!(
        (error.code(), error.node()),
        (Code::E0103, Some("s")),
        "{error:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn aggregate_and_sort() {
    let lines =
        one("aggregate: {input: p, group_by: [city], columns: {n: count(*), oldest: max(age)}}").await;
    assert_eq!(lines, ["Bonn,1,17", "Oslo,2,17", "Rome,2,41"]);
    let dir = tempfile::tempdir().expect("a folder");
    people(dir.path());
    let yaml = format!(
        "{CONNECTIONS}  p: {{extract: {{from: d, asset: p.csv}}}}\n  s: {{sort: {{input: p, by: [age desc nulls last, id]}}}}\n  out: {{load: {{input: s, to: d, asset: o.csv, write: replace}}}}\n"
    );
    succeed(dir.path(), &yaml).await;
    let ids: Vec<String> = read(dir.path(), "o.csv")
        .lines()
        .skip(1)
        .map(|l| l[..1].to_owned())
        .collect();
    assert_eq!(ids, ["3", "1", "4", "5", "2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn joins_of_every_kind() {
    let inner = one("join: {left: p, right: c, on: [city]}").await;
    assert_eq!(inner.len(), 4);
    assert_eq!(inner[0], "1,Ann,Rome,30,Italy");
    assert_eq!(
        one("join: {left: p, right: c, on: [city], how: left}").await[4],
        "5,Eve,Bonn,17,"
    );
    assert_eq!(
        one("join: {left: p, right: c, on: [city], how: anti}").await,
        ["5,Eve,Bonn,17"]
    );
    assert_eq!(
        one("join: {left: p, right: c, on: [city], how: semi}")
            .await
            .len(),
        4
    );
    assert_eq!(
        one("join: {left: p, right: c, on: [city], how: full}")
            .await
            .len(),
        5
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_union_by_name_fills_what_an_input_lacks() {
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), "a.csv", "id,x\n1,a\n");
    write(dir.path(), "b.csv", "y,id\nb,2\n");
    let yaml = format!(
        "{CONNECTIONS}  a: {{extract: {{from: d, asset: a.csv}}}}\n  b: {{extract: {{from: d, asset: b.csv}}}}\n  u: {{union: {{inputs: [a, b]}}}}\n  out: {{load: {{input: u, to: d, asset: o.csv, write: replace}}}}\n"
    );
    succeed(dir.path(), &yaml).await;
    let header = read(dir.path(), "o.csv").lines().next().map(str::to_owned);
    assert_eq!(header.as_deref(), Some("id,x,y"));
    // A union has no order.
    assert_eq!(sorted_lines(dir.path(), "o.csv"), ["1,a,", "2,,b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cast_fails_nulls_or_quarantines() {
    let dir = tempfile::tempdir().expect("a folder");
    write(
        dir.path(),
        "a.csv",
        "id,n,d\n1,5,31/12/2024\n2,x,01/02/2025\n3,7,31/31/2025\n",
    );
    let yaml = |on_error: &str| {
        format!(
            "{CONNECTIONS}  a: {{extract: {{from: d, asset: a.csv}}}}\n  k: {{cast: {{input: a, columns: {{n: bigint, d: {{type: date, format: '%d/%m/%Y'}}}}, on_error: {on_error}}}}}\n  out: {{load: {{input: k, to: d, asset: o.csv, write: replace}}}}\n"
        )
    };
    let failed = run(dir.path(), &yaml("fail")).await.error.expect("a failure");
    assert!(matches!(failed.code(), Code::E0404 | Code::E1001), "{failed:?}");
    assert!(!dir.path().join("o.csv").exists());
    succeed(dir.path(), &yaml("null")).await;
    assert_eq!(
        read(dir.path(), "o.csv"),
        "id,n,d\n1,5,2024-12-31\n2,,2025-02-01\n3,7,\n"
    );
    let outcome = succeed(dir.path(), &yaml("quarantine")).await;
    assert_eq!(read(dir.path(), "o.csv"), "id,n,d\n1,5,2024-12-31\n");
    let step = outcome
        .manifest
        .steps
        .iter()
        .find(|s| s.node == "k")
        .expect("the step");
    assert_eq!((step.rows_out, step.quarantined), (1, 2));
    assert_eq!(outcome.manifest.quarantine.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_warn_drop_and_quarantine_with_exact_sums() {
    let dir = tempfile::tempdir().expect("a folder");
    people(dir.path());
    let yaml = format!(
        "{CONNECTIONS}  p: {{extract: {{from: d, asset: p.csv}}}}\n  v:\n    validate:\n      input: p\n      checks:\n        - {{column: age, check: not_null, on_fail: warn}}\n        - {{column: name, check: not_null, on_fail: quarantine}}\n        - {{column: city, check: accepted_values, values: [Rome, Oslo], on_fail: drop}}\n  out: {{load: {{input: v, to: d, asset: o.csv, write: replace}}}}\n"
    );
    let outcome = succeed(dir.path(), &yaml).await;
    assert_eq!(
        sorted_lines(dir.path(), "o.csv"),
        ["1,Ann,Rome,30", "2,Bob,Oslo,", "3,Cid,Rome,41"]
    );
    let step = outcome
        .manifest
        .steps
        .iter()
        .find(|s| s.node == "v")
        .expect("the step");
    assert_eq!((step.rows_out, step.quarantined, step.dropped), (3, 1, 1));
    assert_eq!(
        step.checks.iter().map(|c| c.failed_rows).collect::<Vec<_>>(),
        [1, 1, 1]
    );
    assert_eq!(outcome.manifest.state, "succeeded_with_warnings");
    assert!(dir.path().join(".synqx/quarantine").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_check_publishes_nothing_and_keeps_the_evidence() {
    let dir = tempfile::tempdir().expect("a folder");
    people(dir.path());
    write(dir.path(), "o.csv", "old\n");
    let yaml = format!(
        "{CONNECTIONS}  p: {{extract: {{from: d, asset: p.csv}}}}\n  v: {{validate: {{input: p, checks: [{{column: city, check: unique, reject: all}}]}}}}\n  out: {{load: {{input: v, to: d, asset: o.csv, write: replace}}}}\n"
    );
    let outcome = run(dir.path(), &yaml).await;
    let error = outcome.error.expect("a failure");
    assert_eq!(error.code(), Code::E1001);
    assert!(error.message().starts_with("4 rows fail"), "{error}");
    assert_eq!(read(dir.path(), "o.csv"), "old\n");
    assert_eq!(outcome.manifest.quarantine.len(), 1);
    let leftovers: Vec<_> = files_below(dir.path())
        .into_iter()
        .filter(|f| f.contains("tmp"))
        .collect();
    assert!(leftovers.is_empty(), "{leftovers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_routes_each_row_once() {
    let dir = tempfile::tempdir().expect("a folder");
    people(dir.path());
    let yaml = format!(
        "{CONNECTIONS}  p: {{extract: {{from: d, asset: p.csv}}}}\n  s: {{switch: {{input: p, cases: [{{when: 'age > 35', to: old}}, {{when: 'age > 18', to: adult}}], else: rest}}}}\n  a: {{load: {{input: s.old, to: d, asset: old.csv, write: replace}}}}\n  b: {{load: {{input: s.adult, to: d, asset: adult.csv, write: replace}}}}\n  c: {{load: {{input: s.rest, to: d, asset: rest.csv, write: replace}}}}\n"
    );
    let outcome = succeed(dir.path(), &yaml).await;
    assert_eq!(sorted_lines(dir.path(), "old.csv"), ["3,Cid,Rome,41"]);
    assert_eq!(sorted_lines(dir.path(), "adult.csv"), ["1,Ann,Rome,30"]);
    assert_eq!(sorted_lines(dir.path(), "rest.csv").len(), 3);
    let step = outcome
        .manifest
        .steps
        .iter()
        .find(|s| s.node == "s")
        .expect("the step");
    assert_eq!(step.rows_out, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_node_runs_once_and_every_edge_is_counted() {
    let dir = tempfile::tempdir().expect("a folder");
    people(dir.path());
    let yaml = format!(
        "{CONNECTIONS}  p: {{extract: {{from: d, asset: p.csv}}}}\n  pairs: {{sql: 'select x.id as a, y.id as b from p x join p y on x.city = y.city and x.id < y.id'}}\n  big: {{filter: {{input: p, where: 'id > 3'}}}}\n  o1: {{load: {{input: pairs, to: d, asset: pairs.csv, write: replace}}}}\n  o2: {{load: {{input: big, to: d, asset: big.csv, write: replace}}}}\n"
    );
    let outcome = succeed(dir.path(), &yaml).await;
    assert_eq!(sorted_lines(dir.path(), "pairs.csv"), ["1,3", "2,4"]);
    let extract = outcome
        .manifest
        .steps
        .iter()
        .find(|s| s.kind == StepKind::Extract)
        .expect("the step");
    assert_eq!(extract.rows_out, 5, "the source was read once");
    let pairs = outcome
        .manifest
        .steps
        .iter()
        .find(|s| s.node == "pairs")
        .expect("the step");
    assert_eq!((pairs.rows_in[0].emitted, pairs.rows_in[0].received), (10, 10));
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_the_plan_are_reported_together() {
    let dir = tempfile::tempdir().expect("a folder");
    people(dir.path());
    let yaml = format!(
        "{CONNECTIONS}  p: {{extract: {{from: d, asset: p.csv}}}}\n  a: {{filter: {{input: p, where: 'agee > 1'}}}}\n  b: {{filter: {{input: p, where: 'name + 1 > 2 and'}}}}\n  c: {{validate: {{input: p, checks: [{{column: citty, check: not_null}}]}}}}\n  o1: {{load: {{input: a, to: d, asset: a.csv, write: replace}}}}\n  o2: {{load: {{input: b, to: d, asset: b.csv, write: replace}}}}\n  o3: {{load: {{input: c, to: d, asset: c.csv, write: replace}}}}\n"
    );
    let error = run(dir.path(), &yaml).await.error.expect("faults");
    let found: Vec<_> = error
        .iter()
        .map(|e| (e.node().unwrap_or_default(), e.code()))
        .collect();
    assert_eq!(
        found,
        [("a", Code::E0401), ("b", Code::E0801), ("c", Code::E0401)],
        "{error:?}"
    );
    assert!(
        error.iter().any(|e| e.hint() == Some("did you mean `city`?")),
        "{error:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sums_close_when_a_filter_stops_at_a_check_or_an_aggregate() {
    let dir = tempfile::tempdir().expect("a folder");
    people(dir.path());
    let yaml = format!(
        "{CONNECTIONS}  p: {{extract: {{from: d, asset: p.csv}}}}\n  v: {{validate: {{input: p, checks: [{{column: age, check: not_null, on_fail: drop}}]}}}}\n  m: {{map: {{input: v, columns: {{age2: 'age * 2'}}}}}}\n  f: {{filter: {{input: m, where: 'age > 20'}}}}\n  g: {{aggregate: {{input: f, group_by: [city], columns: {{n: count(*)}}}}}}\n  h: {{filter: {{input: g, where: 'n > 1'}}}}\n  w: {{map: {{input: h, columns: {{n2: 'n + 1'}}}}}}\n  out: {{load: {{input: w, to: d, asset: o.csv, write: replace}}}}\n"
    );
    let outcome = succeed(dir.path(), &yaml).await;
    assert_eq!(sorted_lines(dir.path(), "o.csv"), ["Rome,2,3"]);
    let step = outcome
        .manifest
        .steps
        .iter()
        .find(|s| s.node == "v")
        .expect("the step");
    assert_eq!((step.rows_in[0].received, step.rows_out, step.dropped), (5, 4, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_over_a_branch_computes_and_leaves_texts_alone() {
    let dir = tempfile::tempdir().expect("a folder");
    people(dir.path());
    let yaml = format!(
        "{CONNECTIONS}  p: {{extract: {{from: d, asset: p.csv}}}}\n  route: {{switch: {{input: p, cases: [{{when: 'id > 3', to: big}}], else: small}}}}\n  x: {{sql: \"select id + 1 as n, 'route.big' as t from route.big\"}}\n  y: {{load: {{input: x, to: d, asset: big.csv, write: replace}}}}\n  z: {{load: {{input: route.small, to: d, asset: small.csv, write: replace}}}}\n"
    );
    succeed(dir.path(), &yaml).await;
    assert_eq!(
        sorted_lines(dir.path(), "big.csv"),
        ["5,route.big", "6,route.big"]
    );
}
