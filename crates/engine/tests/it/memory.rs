//! Sort, join and deduplicate over ten times the budget: they spill, finish and stay inside it (decision 9).
//!
//! The data is generated as 180 MB of CSV against a budget of 17 MiB. The budget's own peak is what is judged here;
//! resident memory belongs to the whole process and is measured from the command line.

use std::fmt::Write as _;
use std::io::Write as _;

use synqx_model::ByteSize;

use crate::setting::{engine, options, spec};

const ROWS: u64 = 1_150_000;
const BUDGET: ByteSize = ByteSize::mib(17);

fn big_file(dir: &std::path::Path, name: &str, step: u64) {
    let file = std::fs::File::create(dir.join(name)).expect("a file");
    let mut file = std::io::BufWriter::new(file);
    writeln!(file, "k,v,pad").expect("a line");
    let mut line = String::new();
    for i in 0..ROWS {
        line.clear();
        let k = (i * step) % ROWS;
        let _ = write!(line, "{k},{},padding-{:060}", i % 1000, k);
        writeln!(file, "{line}").expect("a line");
    }
}

/// Runs one node over ten times its budget and returns the rows written.
async fn rows_of(node: &str) -> u64 {
    let dir = tempfile::tempdir().expect("a folder");
    big_file(dir.path(), "a.csv", 7_919);
    big_file(dir.path(), "b.csv", 104_729);
    let yaml = format!(
        "name: big\nconnections: {{d: {{type: local_file, path: .}}}}\nnodes:\n  a: {{extract: {{from: d, asset: a.csv}}}}\n  b: {{extract: {{from: d, asset: b.csv}}}}\n{node}\n  out: {{load: {{input: n, to: d, asset: o.parquet, write: replace}}}}\n"
    );
    let mut options = options(dir.path());
    options.memory = BUDGET;
    let bytes = std::fs::metadata(dir.path().join("a.csv")).expect("a file").len() * 2;
    assert!(
        bytes >= 10 * BUDGET.0,
        "{bytes} bytes are not enough to prove anything"
    );
    let outcome = engine().run(&spec(&yaml), &options).await;
    if let Some(error) = outcome.error {
        panic!("{error:?}");
    }
    let peak = outcome.manifest.peak_budget;
    assert!(
        peak <= options.memory.0 * 5 / 4,
        "peak {peak} of {}",
        options.memory
    );
    outcome
        .manifest
        .steps
        .iter()
        .find(|s| s.node == "out")
        .expect("the load")
        .rows_out
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_larger_than_the_budget_spills() {
    let node =
        "  bb: {rename: {input: b, columns: {v: w, pad: pad2}}}\n  n: {join: {left: a, right: bb, on: [k]}}";
    assert_eq!(rows_of(node).await, ROWS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sort_larger_than_the_budget_spills() {
    let node = "  u: {union: {inputs: [a, b]}}\n  n: {sort: {input: u, by: [pad desc]}}";
    assert_eq!(rows_of(node).await, 2 * ROWS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deduplication_larger_than_the_budget_spills() {
    let node = "  u: {union: {inputs: [a, b]}}\n  n: {deduplicate: {input: u, key: [k], order_by: [v desc]}}";
    assert_eq!(rows_of(node).await, ROWS);
}
