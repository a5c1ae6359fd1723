//! Every bad input has its own code, names file and place, and never prints a value.
//!
//! Values that must not appear are spelled `SECRET`.

use std::io::Write;

use serde_json::json;
use synqx_model::{ByteSize, Code};

use crate::bench::{Bench, failure, none};

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_file_names_the_nearest() {
    let bench = Bench::new();
    bench.file("flights.csv", "a\n1\n");
    let error = failure(&bench, "flihgts.csv", none()).await;
    assert_eq!(error.code(), Code::E0204);
    assert!(
        error.hint().is_some_and(|h| h.contains("`flights.csv`")),
        "{error:?}"
    );
    assert_eq!(failure(&bench, "*.parquet", none()).await.code(), Code::E0204);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ragged_row_names_line_and_row() {
    let bench = Bench::new();
    bench.file("t.csv", "a,b\n1,\"x\ny\"\nSECRET,2,3\n");
    let error = failure(&bench, "t.csv", none()).await;
    assert_eq!(error.code(), Code::E0206);
    assert!(
        error
            .message()
            .contains("line 4 of `t.csv` has 3 cells, expected 2"),
        "{error:?}"
    );
    assert!(error.detail().is_some_and(|d| d.contains("row 2")), "{error:?}");
    bench.file("u.csv", "a,b\n1\n");
    assert_eq!(failure(&bench, "u.csv", none()).await.code(), Code::E0206);
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_utf8_names_line_column_and_offset() {
    let bench = Bench::new();
    bench.file("t.csv", b"a,b\n1,ok\n2,M\xfcnchen\n");
    let error = failure(&bench, "t.csv", none()).await;
    assert_eq!(error.code(), Code::E0207);
    assert!(
        error.message().contains("line 3 of `t.csv`, column `b`"),
        "{error:?}"
    );
    assert!(
        error.detail().is_some_and(|d| d.contains("offset 12")),
        "{error:?}"
    );
    assert!(error.hint().is_some_and(|h| h.contains("encoding")), "{error:?}");
    bench.file("w.csv", [0xff, 0xfe, b'a', 0, b'\n', 0, 0x00, 0xdc]);
    assert_eq!(failure(&bench, "w.csv", none()).await.code(), Code::E0207);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_does_not_fit_is_named_but_not_printed() {
    let bench = Bench::new();
    bench.file("t.csv", "a,b\n1,2\n300,4\nSECRET,5\n");
    let error = failure(&bench, "t.csv", json!({ "columns": { "a": "tinyint" } })).await;
    assert_eq!(error.code(), Code::E0208);
    assert!(
        error
            .message()
            .contains("line 3 of `t.csv` does not fit column `a` (tinyint)"),
        "{error:?}"
    );
    let error = failure(&bench, "t.csv", json!({ "infer_rows": 2 })).await;
    assert_eq!(error.code(), Code::E0208);
    assert!(!format!("{error:?}").contains("SECRET"));
    bench.file("zeros.csv", "a\n1\n2\n007\n");
    assert_eq!(
        failure(&bench, "zeros.csv", json!({ "infer_rows": 2 }))
            .await
            .code(),
        Code::E0208
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_files_are_told_from_changed_ones() {
    let bench = Bench::new();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let text: String = (0..50_000).map(|i| format!("{i},{}\n", i * 7)).collect();
    encoder.write_all(b"a,b\n").expect("packs");
    encoder.write_all(text.as_bytes()).expect("packs");
    let packed = encoder.finish().expect("packs");
    bench.file("cut.csv.gz", &packed[..packed.len() / 2]);
    assert_eq!(failure(&bench, "cut.csv.gz", none()).await.code(), Code::E0210);
    bench.file("open.csv", "a,b\n1,\"never closed\n2,3\n");
    assert_eq!(failure(&bench, "open.csv", none()).await.code(), Code::E0210);
    bench.file("after.csv", "a,b\n1,\"x\"y\n");
    assert_eq!(failure(&bench, "after.csv", none()).await.code(), Code::E0210);
    bench.file("no.parquet", "this is not Parquet at all");
    assert_eq!(failure(&bench, "no.parquet", none()).await.code(), Code::E0210);
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_and_empty_files_have_their_codes() {
    let bench = Bench::new();
    bench.file("twice.csv", "a,a\n1,2\n");
    assert_eq!(failure(&bench, "twice.csv", none()).await.code(), Code::E0406);
    bench.file("empty.csv", "");
    assert_eq!(failure(&bench, "empty.csv", none()).await.code(), Code::E0409);
    bench.file("t.csv", "a,\n1,2\n");
    let table = bench.describe("t.csv", none()).await.expect("describes");
    assert_eq!(table.schema.field(1).name(), "column_2");
    assert_eq!(
        failure(&bench, "t.csv", json!({ "columns": { "b": "text" } }))
            .await
            .code(),
        Code::E0401
    );
    assert_eq!(
        failure(&bench, "t.csv", json!({ "nul": ["NA"] })).await.code(),
        Code::E0102
    );
    bench.file("what.dat", "x");
    assert_eq!(failure(&bench, "what.dat", none()).await.code(), Code::E0103);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_huge_field_stops_at_a_quarter_of_the_budget() {
    let bench = Bench::new().with_memory(ByteSize::mib(32));
    let mut text = b"a,b\n1,".to_vec();
    text.resize(20 << 20, b'x');
    bench.file("t.csv", &text);
    let error = failure(&bench, "t.csv", none()).await;
    assert_eq!(error.code(), Code::E0805);
    assert!(error.message().contains("`b`"), "{error:?}");
    assert!(
        bench.budget.peak() <= 9 << 20,
        "{} bytes were taken",
        bench.budget.peak()
    );
    let roomy = Bench {
        budget: synqx_sdk::Budget::new(ByteSize::mib(256)),
        ..bench
    };
    assert_eq!(roomy.read("t.csv", none()).await.expect("reads").num_rows(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_changes_while_it_is_read_is_refused() {
    use futures::StreamExt;
    use synqx_model::spec::PartitionBy;
    let bench = Bench::new().with_memory(ByteSize::mib(8));
    let row = format!("{}\n", "x".repeat(99));
    bench.file("t.csv", format!("a\n{}", row.repeat(100_000)));
    let connection = bench.connection(synqx_sdk::Role::Source);
    let dataset = crate::bench::dataset("t.csv", none());
    let table = connection.describe(&dataset).await.expect("describes");
    let source = connection.source().expect("a source");
    let scan = synqx_sdk::Scan {
        dataset,
        table,
        columns: vec!["a".into()],
        predicates: vec![],
        limit: None,
        partition: PartitionBy::Auto,
        parallel: 1,
    };
    let plan = source.plan(&scan).await.expect("plans");
    let reader = source.open(&scan, &plan).await.expect("opens");
    let mut stream = reader.read(0).await.expect("reads");
    assert!(stream.next().await.is_some_and(|batch| batch.is_ok()));
    let mut file = std::fs::OpenOptions::new()
        .append(true)
        .open(bench.dir.path().join("t.csv"))
        .expect("opens");
    file.write_all(b"one more\n").expect("appends");
    let rest: Vec<_> = stream.collect().await;
    let error = rest.into_iter().find_map(Result::err).expect("an error");
    assert_eq!(error.code(), Code::E0209);
    let error = source.open(&scan, &plan).await.err().expect("changed");
    assert_eq!(error.code(), Code::E0215);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_with_one_column_more_or_less_names_that_column() {
    let bench = Bench::new();
    bench.file("more/1.csv", "a,b\n1,2\n");
    bench.file("more/2.csv", "a,b,c\n1,2,3\n");
    let error = failure(&bench, "more/", none()).await;
    assert_eq!(error.code(), Code::E0206);
    let detail = error.detail().expect("a detail");
    assert!(
        detail.contains("`c`") && !detail.contains("`a`") && !detail.contains("`b`"),
        "{detail}"
    );
    bench.file("less/1.csv", "a,b,c\n1,2,3\n");
    bench.file("less/2.csv", "c,a\n1,2\n");
    let error = failure(&bench, "less/", none()).await;
    let detail = error.detail().expect("a detail");
    assert!(
        detail.contains("lacks `b`") && !detail.contains("`a`") && !detail.contains("`c`"),
        "{detail}"
    );
}
