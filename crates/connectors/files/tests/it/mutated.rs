//! Every reader over damaged files: an answer or an error with a code, soon, and never more memory than the budget.
//!
//! The inputs are the same in every run up to the time there is (`testkit::mutate`). A failure names seed and number.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use synqx_model::spec::WriteMode;
use synqx_model::{ByteSize, Code};
use synqx_testkit::mutate::Mutants;

use crate::bench::{Bench, none};

/// Time for each format, and inputs at most.
const TIME: Duration = Duration::from_millis(1_200);
const MOST: u64 = 2_000;

fn data(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    std::fs::read(folder.join(name)).expect("a reference file")
}

/// Bytes of memory the process has had at most, where the system tells.
fn most_resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) << 10
}

/// Reads damaged files of a format until the time is over.
async fn survives(name: &str, corpus: Vec<Vec<u8>>, options: Value) {
    let bench = Bench::new().with_memory(ByteSize::mib(32));
    for good in &corpus {
        bench.file(name, good);
        bench
            .read(name, options.clone())
            .await
            .expect("the inputs themselves are good");
    }
    let before = most_resident();
    let seed = 0x5eed;
    let mut mutants = Mutants::new(&corpus, seed);
    let begin = std::time::Instant::now();
    while mutants.number < MOST && (begin.elapsed() < TIME || mutants.number < 20) {
        let bytes = mutants.make();
        let which = format!("{name}, seed {seed}, input {}", mutants.number);
        bench.file(name, &bytes);
        let read = tokio::time::timeout(Duration::from_secs(20), bench.read(name, options.clone())).await;
        assert!(read.is_ok(), "{which}: it hangs");
        match read.expect("it ends") {
            Ok(_) => {}
            Err(error) => {
                assert_ne!(error.code(), Code::E9901, "{which}: {error:?}");
                assert!(error.hint().is_some(), "{which}: {error:?} has no hint");
            }
        }
        // A reader's thread gives its memory back when it ends, which may be a moment later.
        for _ in 0..10_000 {
            if bench.budget.used() == 0 {
                break;
            }
            tokio::task::yield_now().await;
        }
        assert_eq!(bench.budget.used(), 0, "{which}: memory is not given back");
        assert!(bench.budget.peak() <= bench.budget.limit(), "{which}");
    }
    let grown = most_resident().saturating_sub(before);
    assert!(grown < 1 << 30, "{name}: {grown} bytes more than before");
}

/// Rows of several types in a file of this house.
async fn written(name: &str) -> Vec<u8> {
    let bench = Bench::new();
    bench.file(
        "t.csv",
        "id,name,x,at\n1,é long enough not to be inlined,1.5,2024-01-01 00:00:00\n2,,2.5,\n",
    );
    let batch = bench.read("t.csv", none()).await.expect("reads");
    bench
        .write(name, WriteMode::Replace, none(), &batch)
        .await
        .expect("writes");
    std::fs::read(bench.dir.path().join(name)).expect("bytes")
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_text_is_survived() {
    let csv = b"id,name,x\n1,\"a \"\"q\"\", b\",1.5\n2,,\n3,\"line\nend\",-7e3\n".to_vec();
    survives("t.csv", vec![csv.clone(), b"a\n\n1\n".to_vec()], none()).await;
    let packed = zstd::encode_all(csv.as_slice(), 1).expect("packs");
    survives("t.csv.zst", vec![packed], none()).await;
    let json =
        b"[{\"a\":1,\"b\":[1,2,{\"c\":null}],\"d\":{\"e\":\"\\u00e9\"}}, {\"a\":2.5e3,\"b\":[],\"d\":null}]"
            .to_vec();
    survives("t.json", vec![json], none()).await;
    survives(
        "t.jsonl",
        vec![b"{\"a\":1,\"b\":\"x\"}\n{\"a\":true}\n".to_vec()],
        none(),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_documents_and_lines_are_survived() {
    let xml = b"<?xml version=\"1.0\" encoding=\"utf-8\"?><r><x a=\"1\"><b>t &amp; u</b><c>1</c><c>2</c></x><x><b><![CDATA[z]]></b></x></r>";
    survives("t.xml", vec![xml.to_vec()], none()).await;
    let options = json!({ "fields": [{ "name": "a", "start": 1, "width": 3 }, { "name": "b", "start": 4, "width": 4 }] });
    survives("t.txt", vec!["001abcd\n002 é  \n".as_bytes().to_vec()], options).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_avro_and_arrow_files_are_survived() {
    let avro = [
        "types-null.avro",
        "types-deflate.avro",
        "types-snappy.avro",
        "types-zstandard.avro",
    ]
    .map(data);
    survives("t.avro", avro.to_vec(), none()).await;
    let arrow = [
        "t-none.arrow",
        "t-lz4.arrow",
        "t-zstd.arrow",
        "t-none.arrows",
        "t-zstd.arrows",
    ]
    .map(data);
    survives("t.arrow", arrow.to_vec(), none()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_workbooks_and_parquet_files_are_survived() {
    survives("t.xlsx", ["book.xlsx", "mac.xlsx"].map(data).to_vec(), none()).await;
    survives("t.parquet", vec![written("t.parquet").await], none()).await;
}
