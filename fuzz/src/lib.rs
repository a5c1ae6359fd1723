//! What a fuzzer calls: one function per parser of bytes that come from outside.
//!
//! Whatever the bytes are, each ends with a value or with an error that has a code and says what to do; `E9901` (a fault
//! of SynqX) and a panic are finds. Targets of cargo-fuzz call these functions, and so does a test of the engine, over the
//! corpus and over damaged inputs of it, because cargo-fuzz needs a nightly compiler and continuous integration has none.

use serde_json::json;
use synqx_files::{Config, LocalFile};
use synqx_model::{Code, PipelineSpec, Result};
use synqx_sdk::{Connector, Dataset, Env, Role, Scan};

/// A target's name, and what it does with bytes.
pub type Entry = (&'static str, fn(&[u8]));

/// Every function by the name of its target and of its corpus.
pub const ENTRIES: [Entry; 5] = [
    ("csv", csv),
    ("json", json_text),
    ("spec_yaml", spec_yaml),
    ("spec_json", spec_json),
    ("copy_binary", copy_binary),
];

/// A CSV file.
pub fn csv(bytes: &[u8]) {
    judge(read("t.csv", bytes));
}

/// A JSON document, and the same bytes as JSON lines.
pub fn json_text(bytes: &[u8]) {
    judge(read("t.json", bytes));
    judge(read("t.jsonl", bytes));
}

/// A pipeline in YAML. What is read is read again from what is written, and is the same.
pub fn spec_yaml(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Some(spec) = judge(PipelineSpec::from_yaml(text))
    {
        let again = PipelineSpec::from_yaml(&spec.to_yaml());
        assert!(
            again.is_ok_and(|again| again.hash() == spec.hash()),
            "it is written as another document"
        );
    }
}

/// A pipeline in JSON.
pub fn spec_json(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        judge(PipelineSpec::from_json(text));
    }
}

/// A binary COPY of PostgreSQL, in one piece and in small ones.
pub fn copy_binary(bytes: &[u8]) {
    let whole = judge(synqx_postgres::fuzz::decode_copy(bytes, usize::MAX));
    let pieces = judge(synqx_postgres::fuzz::decode_copy(bytes, 7));
    assert_eq!(whole, pieces, "chunks decide what is read");
}

fn judge<T>(outcome: Result<T>) -> Option<T> {
    match outcome {
        Ok(value) => Some(value),
        Err(error) => {
            for one in error.iter() {
                assert_ne!(one.code(), Code::E9901, "{one:?}");
                assert!(one.hint().is_some(), "no hint: {one:?}");
            }
            None
        }
    }
}

/// Reads bytes as the file of this name; how many rows it has.
fn read(name: &str, bytes: &[u8]) -> Result<usize> {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join(name), bytes).expect("a file");
    let config: Config = serde_json::from_value(json!({ "path": "." })).expect("a configuration");
    let connection = LocalFile.open(config, Env::standalone("fuzz", Role::Source, dir.path()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let dataset = Dataset::asset(name);
        let table = connection.describe(&dataset).await?;
        let columns = table.schema.fields().iter().map(|f| f.name().clone()).collect();
        let scan = Scan {
            dataset,
            table,
            columns,
            predicates: Vec::new(),
            limit: None,
            partition: Default::default(),
            parallel: 1,
        };
        let source = connection.source().expect("files are read");
        let plan = source.plan(&scan).await?;
        let reader = source.open(&scan, &plan).await?;
        let mut rows = 0;
        for partition in 0..plan.partitions.len() {
            let mut stream = reader.read(partition).await?;
            while let Some(batch) = futures::StreamExt::next(&mut stream).await {
                rows += batch?.num_rows();
            }
        }
        Ok(rows)
    })
}
