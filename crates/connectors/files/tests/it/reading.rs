//! What is read from good files: types, NULLs, folders, patterns, compression, encodings, projection.
//!
//! Bad files are in `bad_input`.

use std::io::Write;

use arrow::datatypes::DataType;
use futures::StreamExt;
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
         -2,98765,1,1000,2013-02-01,2013-01-31 05:00:00.25,2013-01-31T05:00:00+01:00,false,\"\",\n",
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
async fn numbers_are_inferred_only_where_they_return_as_they_are_written() {
    let bench = Bench::new();
    bench.file(
        "t.csv",
        "r,py,price,version,exp,sci,far\n\
         1012,1.0,10.50,1.10,1E5,1e300,0.00001\n\
         39.02,2.55,-0.25,1.1,2.5,2.5,2.5\n",
    );
    let batch = bench.read("t.csv", none()).await.expect("reads");
    let types = [
        "double",
        "double",
        "decimal(38,2)",
        "text",
        "text",
        "double",
        "double",
    ];
    assert_eq!(words(&batch), types);
    assert_eq!(shown(&batch, "version"), ["1.10", "1.1"]);
    assert_eq!(shown(&batch, "price"), ["10.50", "-0.25"]);
    assert_eq!(shown(&batch, "exp"), ["1E5", "2.5"]);
    let table = bench.describe("t.csv", none()).await.expect("describes");
    assert!(
        table.notes.iter().any(|n| n.contains("`version` holds numbers")),
        "{:?}",
        table.notes
    );
    bench
        .write("u.csv", synqx_model::spec::WriteMode::Replace, none(), &batch)
        .await
        .expect("writes");
    let again = bench.read("u.csv", none()).await.expect("reads");
    assert_eq!(again, batch, "what is written is read as what it was");
    bench.file("v/x=1.10/a.csv", "n\n1\n");
    bench.file("v/x=1.1/a.csv", "n\n2\n");
    let mut keys = shown(&bench.read("v/", none()).await.expect("reads"), "x");
    keys.sort();
    assert_eq!(keys, ["1.1", "1.10"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_number_that_would_not_return_is_refused() {
    use synqx_model::Code;
    let bench = Bench::new();
    let short = json!({ "infer_rows": 2 });
    for later in ["1.10", "1E5", "7.0", "1e0"] {
        bench.file("t.csv", format!("n\n1\n2.5\n{later}\n"));
        let error = crate::bench::failure(&bench, "t.csv", short.clone()).await;
        assert_eq!(error.code(), Code::E0208, "{later}");
        assert!(error.message().contains("line 4"), "{error:?}");
    }
    for later in ["1.5", "1.500", "-0.00", "3"] {
        bench.file("t.csv", format!("n\n1.50\n2.25\n{later}\n"));
        let error = crate::bench::failure(&bench, "t.csv", short.clone()).await;
        assert_eq!(error.code(), Code::E0208, "{later}");
    }
    // Neither file decides alone how whole numbers are written.
    bench.file("set/a.csv", "n\n2.5\n1.5\n3\n");
    bench.file("set/b.csv", "n\n2.5\n1.5\n3.0\n");
    assert_eq!(
        crate::bench::failure(&bench, "set/", short).await.code(),
        Code::E0208
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn decimals_and_doubles_return_from_a_csv_folder() {
    use arrow::array::{Decimal128Array, Float64Array};
    use synqx_model::spec::WriteMode;
    let bench = Bench::new();
    let decimals =
        Decimal128Array::from(vec![Some(1250), None, Some(0), Some(-5)]).with_precision_and_scale(10, 2);
    let rows = crate::bench::batch(vec![
        ("d", std::sync::Arc::new(decimals.expect("fits"))),
        (
            "x",
            std::sync::Arc::new(Float64Array::from(vec![1e22, f64::INFINITY, 1.0, -0.0])),
        ),
    ]);
    let csv = json!({ "format": "csv" });
    bench
        .write("out/", WriteMode::Append, csv, &rows)
        .await
        .expect("writes");
    assert_eq!(bench.read("out/", none()).await.expect("reads"), rows);
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
async fn the_nulls_a_file_of_one_column_begins_with_are_rows() {
    let bench = Bench::new();
    let plain = json!({ "header": false });
    bench.file("t.csv", "\n\r\nx\n\ny\n");
    let batch = bench.read("t.csv", plain.clone()).await.expect("reads");
    assert_eq!(shown(&batch, "column_1"), ["∅", "∅", "x", "∅", "y"]);
    bench.file("two.csv", "\n\nx,1\n\n");
    let batch = bench.read("two.csv", plain.clone()).await.expect("reads");
    assert_eq!(shown(&batch, "column_1"), ["x"]);
    bench.file("blank.csv", "\n\n\n");
    let named = json!({ "header": false, "columns": { "a": "text" } });
    let batch = bench.read("blank.csv", named).await.expect("reads");
    assert_eq!(shown(&batch, "a"), ["∅", "∅", "∅"]);
    bench.file("set/a.csv", "\n");
    bench.file("set/b.csv", "#\n\n7\n");
    let options = json!({ "header": false, "comment": "#" });
    let batch = bench.read("set/", options.clone()).await.expect("reads");
    assert_eq!(shown(&batch, "column_1"), ["∅", "∅", "7"]);
    let table = bench.describe("set/", options).await.expect("describes");
    assert!(
        table.rows_at_most.is_none_or(|rows| rows >= 3),
        "{:?}",
        table.rows_at_most
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_files_are_a_few_partitions_in_order() {
    let bench = Bench::new();
    for index in 0..500 {
        bench.file(&format!("set/{index:03}.csv"), format!("n\n{index}\n"));
    }
    let (reader, plan) = open(&bench, "set/", 4).await;
    assert_eq!(plan.partitions.len(), 4);
    assert!(
        plan.partitions.iter().all(|p| p.label.len() < 100),
        "{:?}",
        plan.partitions[0].label
    );
    let mut seen = Vec::new();
    for partition in 0..plan.partitions.len() {
        let batches: Vec<_> = reader.read(partition).await.expect("opens").collect().await;
        for batch in batches {
            seen.extend(shown(&batch.expect("reads"), "n"));
        }
    }
    assert_eq!(seen, (0..500).map(|i| i.to_string()).collect::<Vec<_>>());
    bench.file("set/333.csv", "n\nSECRET\n");
    let error = crate::bench::failure(&bench, "set/", json!({ "columns": { "n": "bigint" } })).await;
    assert!(error.message().contains("line 2 of `set/333.csv`"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn parquet_files_are_packed_too() {
    let bench = Bench::new();
    for index in 0..20i64 {
        let rows = crate::bench::batch(vec![(
            "n",
            std::sync::Arc::new(arrow::array::Int64Array::from(vec![index])),
        )]);
        let name = format!("set/{index:02}.parquet");
        let written = bench
            .write(&name, synqx_model::spec::WriteMode::Replace, none(), &rows)
            .await;
        written.expect("writes");
    }
    let (_, plan) = open(&bench, "set/", 3).await;
    assert_eq!(plan.partitions.len(), 3);
    let rows = bench.read("set/", none()).await.expect("reads");
    assert_eq!(
        shown(&rows, "n"),
        (0..20).map(|i| i.to_string()).collect::<Vec<_>>()
    );
}

/// A reader of every column of an asset.
async fn open(
    bench: &Bench,
    asset: &str,
    parallel: usize,
) -> (Box<dyn synqx_sdk::Reader>, synqx_sdk::ReadPlan) {
    let connection = bench.connection(synqx_sdk::Role::Source);
    let dataset = crate::bench::dataset(asset, none());
    let table = connection.describe(&dataset).await.expect("describes");
    let scan = synqx_sdk::Scan {
        columns: table.schema.fields().iter().map(|f| f.name().clone()).collect(),
        dataset,
        table,
        predicates: vec![],
        limit: None,
        partition: synqx_model::spec::PartitionBy::Auto,
        parallel,
    };
    let source = connection.source().expect("a source");
    let plan = source.plan(&scan).await.expect("plans");
    (source.open(&scan, &plan).await.expect("opens"), plan)
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
