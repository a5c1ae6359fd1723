//! What is read from good files: types, NULLs, folders, patterns, compression, encodings, projection.
//!
//! Bad files are in `bad_input`.

use std::io::Write;

use arrow::datatypes::DataType;
use serde_json::json;
use synqx_sdk::type_names::render_type;

use crate::bench::{Bench, none, shown};

fn words(batch: &arrow::record_batch::RecordBatch) -> Vec<String> {
    batch
        .schema()
        .fields()
        .iter()
        .map(|f| render_type(f.data_type()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn csv_types_are_inferred_without_loss() {
    let bench = Bench::new();
    bench.file(
        "t.csv",
        "id,zip,big,x,d,ts,tz,b,t,none\n\
         1,01234,9223372036854775808,1.5,2013-01-31,2013-01-31 05:00:00,2013-01-31T05:00:00Z,true,\"a \"\"b\"\"\",\n\
         -2,98765,1,1e3,2013-02-01,2013-01-31 05:00:00.25,2013-01-31T05:00:00+01:00,false,\"\",\n",
    );
    let batch = bench.read("t.csv", none()).await.expect("reads");
    let expected = [
        "bigint",
        "text",
        "decimal(38,0)",
        "double",
        "date",
        "timestamp",
        "timestamptz",
        "boolean",
        "text",
        "text",
    ];
    assert_eq!(words(&batch), expected);
    assert_eq!(shown(&batch, "zip"), ["01234", "98765"]);
    assert_eq!(shown(&batch, "big"), ["9223372036854775808", "1"]);
    assert_eq!(
        shown(&batch, "tz"),
        ["2013-01-31T05:00:00Z", "2013-01-31T04:00:00Z"]
    );
    assert_eq!(shown(&batch, "t"), ["a \"b\"", ""]);
    assert_eq!(shown(&batch, "none"), ["∅", "∅"]);
    let table = bench.describe("t.csv", none()).await.expect("describes");
    assert!(table.notes[0].contains("all 2 rows"), "{:?}", table.notes);
    assert!(table.identity.starts_with("local_file:/"));
}

#[tokio::test(flavor = "multi_thread")]
async fn null_markers_and_declared_types_are_obeyed() {
    let bench = Bench::new();
    bench.file("t.csv", "a;b\n007;NA\n8;\"NA\"\n");
    let options = json!({ "delimiter": ";", "nulls": ["NA", ""], "columns": { "a": "bigint" } });
    let batch = bench.read("t.csv", options).await.expect("reads");
    assert_eq!(shown(&batch, "a"), ["7", "8"]);
    assert_eq!(shown(&batch, "b"), ["∅", "NA"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_without_header_gets_numbered_or_declared_names() {
    let bench = Bench::new();
    bench.file("t.csv", "1,x\n2,y\n");
    let batch = bench
        .read("t.csv", json!({ "header": false }))
        .await
        .expect("reads");
    assert_eq!(shown(&batch, "column_1"), ["1", "2"]);
    let columns = json!({ "header": false, "columns": { "n": "int", "s": "text" } });
    let batch = bench.read("t.csv", columns).await.expect("reads");
    assert_eq!(shown(&batch, "s"), ["x", "y"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn blank_lines_comments_and_skipped_lines_are_no_rows() {
    let bench = Bench::new();
    bench.file(
        "t.csv",
        "made by hand\r\n# comment\r\na,b\r\n\r\n1,2\r\n# more\r\n3,4",
    );
    let batch = bench
        .read("t.csv", json!({ "skip_rows": 1, "comment": "#" }))
        .await
        .expect("reads");
    assert_eq!(shown(&batch, "a"), ["1", "3"]);
    bench.file("one.csv", "a\nx\n\ny\n");
    assert_eq!(
        shown(&bench.read("one.csv", none()).await.expect("reads"), "a"),
        ["x", "∅", "y"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn compression_is_known_by_content_and_encodings_by_mark() {
    let bench = Bench::new();
    let gzip = |text: &str| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).expect("packs");
        encoder.finish().expect("packs")
    };
    let members = [gzip("a,b\n1,ä\n"), gzip("2,ö\n")].concat();
    bench.file("misnamed.csv", members);
    assert_eq!(
        shown(&bench.read("misnamed.csv", none()).await.expect("reads"), "b"),
        ["ä", "ö"]
    );
    bench.file(
        "z.csv.zst",
        zstd::encode_all("a\n1\n".as_bytes(), 1).expect("packs"),
    );
    assert_eq!(
        shown(&bench.read("z.csv.zst", none()).await.expect("reads"), "a"),
        ["1"]
    );
    let utf16: Vec<u8> = "\u{feff}a,b\r\n1,ü\r\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    bench.file("wide.csv", utf16);
    assert_eq!(
        shown(&bench.read("wide.csv", none()).await.expect("reads"), "b"),
        ["ü"]
    );
    bench.file("latin.csv", b"a\nM\xfcnchen\n");
    let batch = bench
        .read("latin.csv", json!({ "encoding": "windows-1252" }))
        .await
        .expect("reads");
    assert_eq!(shown(&batch, "a"), ["München"]);
    bench.file("marked.csv", "\u{feff}a\n1\n");
    assert_eq!(
        shown(&bench.read("marked.csv", none()).await.expect("reads"), "a"),
        ["1"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_and_patterns_read_every_file_with_their_keys() {
    let bench = Bench::new();
    bench.file("f/year=2024/month=01/a.csv", "x,y\n1,p\n");
    bench.file("f/year=2023/month=12/b.csv", "y,x\nq,2\n");
    bench.file("f/_SUCCESS", "");
    bench.file("f/.hidden.csv", "nonsense");
    let batch = bench.read("f/", none()).await.expect("reads");
    assert_eq!(shown(&batch, "x"), ["2", "1"]);
    assert_eq!(shown(&batch, "year"), ["2023", "2024"]);
    assert_eq!(
        batch.schema().field_with_name("year").expect("there").data_type(),
        &DataType::Int64
    );
    assert_eq!(shown(&batch, "month"), ["12", "01"]);
    let batch = bench.read("f/year=2024/**/*.csv", none()).await.expect("reads");
    assert_eq!(shown(&batch, "y"), ["p"]);
    let (batch, _) = bench
        .scan("f", none(), Some(vec!["month", "y"]), vec![])
        .await
        .expect("reads");
    assert_eq!(batch.num_columns(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_alone_is_zero_rows() {
    let bench = Bench::new();
    bench.file("t.csv", "a,b\n");
    assert_eq!(bench.read("t.csv", none()).await.expect("reads").num_rows(), 0);
    bench.file("e.csv", "");
    let options = json!({ "columns": { "a": "bigint" } });
    assert_eq!(bench.read("e.csv", options).await.expect("reads").num_rows(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn discover_finds_what_it_named() {
    let bench = Bench::new();
    bench.file("odd[1].csv", "a\n");
    let rows = crate::bench::batch(vec![(
        "a",
        std::sync::Arc::new(arrow::array::Int64Array::from(vec![1])),
    )]);
    bench
        .write("out/", synqx_model::spec::WriteMode::Append, none(), &rows)
        .await
        .expect("writes");
    let connection = bench.connection(synqx_sdk::Role::Source);
    let every = connection.discover(None).await.expect("lists");
    let names: Vec<_> = every.iter().map(|a| a.name.as_str()).collect();
    assert_eq!(names, ["odd[1].csv", "out/"]);
    for name in names.into_iter().chain(["out", "o*t"]) {
        let found = connection.discover(Some(name)).await.expect("lists");
        assert_eq!(found.len(), 1, "{name}");
    }
    assert!(
        connection
            .discover(Some("nothing"))
            .await
            .expect("lists")
            .is_empty()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn discover_lists_data_files_in_order() {
    let bench = Bench::new();
    bench.file("b.csv", "a\n");
    bench.file("a/x.parquet", "");
    bench.file("notes.txt", "");
    let connection = bench.connection(synqx_sdk::Role::Source);
    let names: Vec<_> = connection
        .discover(None)
        .await
        .expect("lists")
        .into_iter()
        .map(|a| a.name)
        .collect();
    assert_eq!(names, ["a/x.parquet", "b.csv"]);
    for name in &names {
        let found = connection.discover(Some(name)).await.expect("lists");
        assert_eq!(found.iter().map(|a| &a.name).collect::<Vec<_>>(), [name]);
    }
    assert!(
        connection
            .check()
            .await
            .expect("checks")
            .iter()
            .all(|finding| finding.ok)
    );
}
