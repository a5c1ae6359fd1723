//! Sort, aggregate, join and deduplicate over ten times the budget: they spill, finish and stay inside it.
//!
//! The data is generated as CSV of 170 MB against a budget of 16 MiB. The budget's own peak is what is judged here;
//! resident memory belongs to the whole process and is measured from the command line.

use std::fmt::Write as _;
use std::io::Write as _;

use synqx_model::ByteSize;

use crate::setting::{engine, options, spec};

const ROWS: u64 = 1_100_000;

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

#[tokio::test(flavor = "multi_thread")]
async fn join_sort_aggregate_and_deduplicate_ten_times_the_budget() {
    let dir = tempfile::tempdir().expect("a folder");
    big_file(dir.path(), "a.csv", 7_919);
    big_file(dir.path(), "b.csv", 104_729);
    let yaml = "name: big\nconnections: {d: {type: local_file, path: .}}\nnodes:\n  a: {extract: {from: d, asset: a.csv}}\n  b: {extract: {from: d, asset: b.csv}}\n  bb: {rename: {input: b, columns: {v: w, pad: pad2}}}\n  j: {join: {left: a, right: bb, on: [k]}}\n  u: {deduplicate: {input: j, key: [k], order_by: [v desc]}}\n  s: {sort: {input: u, by: [pad desc]}}\n  out: {load: {input: s, to: d, asset: o.parquet, write: replace}}\n";
    let mut options = options(dir.path());
    options.memory = ByteSize::mib(16);
    let outcome = engine().run(&spec(yaml), &options).await;
    if let Some(error) = outcome.error {
        panic!("{error:?}");
    }
    let load = outcome
        .manifest
        .steps
        .iter()
        .find(|s| s.node == "out")
        .expect("the load");
    assert_eq!(load.rows_out, ROWS);
    let bytes = std::fs::metadata(dir.path().join("a.csv")).expect("a file").len() * 2;
    assert!(
        bytes >= 10 * options.memory.0,
        "{bytes} bytes are not enough to prove anything"
    );
    assert!(
        outcome.manifest.peak_budget <= options.memory.0 * 5 / 4,
        "peak {} of {}",
        outcome.manifest.peak_budget,
        options.memory
    );
}
