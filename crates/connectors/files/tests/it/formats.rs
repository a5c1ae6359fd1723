//! Values that are written and read back: every type through Parquet, every text through CSV.
//!
//! What a format cannot hold must be refused before the first row.

use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::*;
use parquet::file::metadata::{ParquetMetaDataReader, ParquetMetaDataWriter};
use parquet::file::statistics::Statistics;
use proptest::prelude::*;
use serde_json::json;
use synqx_model::Code;
use synqx_model::spec::WriteMode;
use synqx_sdk::{Comparison, Literal, Predicate};

use crate::bench::{Bench, batch, none, shown};

#[expect(clippy::too_many_lines, reason = "a list of one column per type")]
fn every_type() -> RecordBatch {
    let zone: Option<Arc<str>> = Some("UTC".into());
    let ints = Int32Array::from(vec![Some(1), None, Some(3)]);
    let list = ListArray::from_iter_primitive::<Int64Type, _, _>(vec![
        Some(vec![Some(1), None]),
        None,
        Some(vec![]),
    ]);
    let fields = Fields::from(vec![
        Field::new("n", DataType::Int32, true),
        Field::new("s", DataType::Utf8View, true),
    ]);
    let texts = StringViewArray::from(vec![Some("a long text that is not inlined"), None, Some("")]);
    let nested = StructArray::new(
        fields,
        vec![Arc::new(ints.clone()), Arc::new(texts.clone())],
        None,
    );
    let fixed = FixedSizeBinaryArray::try_from_sparse_iter_with_size(
        vec![Some([1u8; 16]), None, Some([2; 16])].into_iter(),
        16,
    );
    batch(vec![
        (
            "boolean",
            Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)])),
        ),
        (
            "i8",
            Arc::new(Int8Array::from(vec![Some(i8::MIN), None, Some(i8::MAX)])),
        ),
        (
            "i16",
            Arc::new(Int16Array::from(vec![Some(i16::MIN), None, Some(i16::MAX)])),
        ),
        (
            "i64",
            Arc::new(Int64Array::from(vec![Some(i64::MIN), None, Some(i64::MAX)])),
        ),
        (
            "u8",
            Arc::new(UInt8Array::from(vec![Some(0), None, Some(u8::MAX)])),
        ),
        (
            "u16",
            Arc::new(UInt16Array::from(vec![Some(0), None, Some(u16::MAX)])),
        ),
        (
            "u32",
            Arc::new(UInt32Array::from(vec![Some(0), None, Some(u32::MAX)])),
        ),
        (
            "u64",
            Arc::new(UInt64Array::from(vec![Some(0), None, Some(u64::MAX)])),
        ),
        (
            "f32",
            Arc::new(Float32Array::from(vec![Some(0.1), None, Some(f32::INFINITY)])),
        ),
        (
            "f64",
            Arc::new(Float64Array::from(vec![Some(0.1), None, Some(-0.0)])),
        ),
        (
            "d128",
            Arc::new(
                Decimal128Array::from(vec![Some(-12345), None, Some(1)])
                    .with_precision_and_scale(38, 9)
                    .expect("fits"),
            ),
        ),
        (
            "d256",
            Arc::new(
                Decimal256Array::from(vec![
                    Some(i256::MAX / i256::from(100)),
                    None,
                    Some(i256::from(-1)),
                ])
                .with_precision_and_scale(76, 20)
                .expect("fits"),
            ),
        ),
        ("text", Arc::new(texts)),
        (
            "bytes",
            Arc::new(BinaryViewArray::from(vec![Some(&b"\0\xff"[..]), None, Some(b"")])),
        ),
        ("uuid", Arc::new(fixed.expect("16 bytes"))),
        (
            "date",
            Arc::new(Date32Array::from(vec![Some(-719_528), None, Some(2_932_896)])),
        ),
        (
            "time",
            Arc::new(Time64MicrosecondArray::from(vec![
                Some(0),
                None,
                Some(86_399_999_999),
            ])),
        ),
        (
            "seconds",
            Arc::new(TimestampSecondArray::from(vec![Some(-1), None, Some(1)])),
        ),
        (
            "millis",
            Arc::new(TimestampMillisecondArray::from(vec![Some(-1), None, Some(1)])),
        ),
        (
            "naive",
            Arc::new(TimestampMicrosecondArray::from(vec![Some(-1), None, Some(1)])),
        ),
        (
            "instant",
            Arc::new(TimestampMicrosecondArray::from(vec![Some(-1), None, Some(1)]).with_timezone_opt(zone)),
        ),
        (
            "nanos",
            Arc::new(TimestampNanosecondArray::from(vec![Some(-1), None, Some(1)])),
        ),
        (
            "duration",
            Arc::new(DurationMicrosecondArray::from(vec![Some(-1), None, Some(1)])),
        ),
        ("list", Arc::new(list)),
        ("struct", Arc::new(nested)),
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_returns_from_parquet_as_it_went() {
    let bench = Bench::new();
    let rows = every_type();
    for compression in ["zstd", "snappy", "lz4", "none"] {
        bench
            .write(
                "t.parquet",
                WriteMode::Replace,
                json!({ "compression": compression }),
                &rows,
            )
            .await
            .expect("writes");
        let back = bench.read("t.parquet", none()).await.expect("reads");
        for (index, field) in rows.schema().fields().iter().enumerate() {
            assert_eq!(
                back.schema().field(index).data_type(),
                field.data_type(),
                "{}",
                field.name()
            );
            assert_eq!(back.column(index), rows.column(index), "{}", field.name());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn annotations_travel_and_rare_encodings_become_plain() {
    let bench = Bench::new();
    let dictionary: DictionaryArray<Int32Type> = vec!["a", "b", "a"].into_iter().collect();
    let field = synqx_sdk::annotation::annotate(
        Field::new("d", dictionary.data_type().clone(), true),
        "synqx.native",
        "citext",
    );
    let rows = RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![Arc::new(dictionary)])
        .expect("a batch");
    bench
        .write("t.parquet", WriteMode::Replace, none(), &rows)
        .await
        .expect("writes");
    let back = bench.read("t.parquet", none()).await.expect("reads");
    assert_eq!(back.schema().field(0).data_type(), &DataType::Utf8View);
    assert_eq!(
        back.schema()
            .field(0)
            .metadata()
            .get("synqx.native")
            .map(String::as_str),
        Some("citext")
    );
    assert_eq!(shown(&back, "d"), ["a", "b", "a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_parquet_cannot_hold_is_refused_before_the_first_row() {
    let bench = Bench::new();
    let interval = IntervalMonthDayNanoArray::from(vec![IntervalMonthDayNano::new(1, 2, 3)]);
    let rows = batch(vec![("i", Arc::new(interval))]);
    let error = bench
        .write("t.parquet", WriteMode::Replace, none(), &rows)
        .await
        .expect_err("refused");
    assert_eq!(error.code(), Code::E0403);
    assert!(
        error.message().contains("`i`") && error.hint().is_some(),
        "{error:?}"
    );
    assert!(bench.names(".").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn decimals_with_a_negative_scale_are_plain_numbers_in_text_and_refused_by_parquet() {
    let bench = Bench::new();
    let small = Decimal128Array::from(vec![0, 12]).with_precision_and_scale(5, -2);
    let large = Decimal256Array::from(vec![i256::ZERO, i256::from(-12)]).with_precision_and_scale(50, -2);
    let rows = batch(vec![
        ("small", Arc::new(small.expect("fits"))),
        ("large", Arc::new(large.expect("fits"))),
    ]);
    for (name, text) in [
        ("t.csv", "small,large\n0,0\n1200,-1200\n"),
        (
            "t.jsonl",
            "{\"small\":0,\"large\":0}\n{\"small\":1200,\"large\":-1200}\n",
        ),
    ] {
        let written = bench.write(name, WriteMode::Replace, none(), &rows).await;
        written.expect("writes");
        assert_eq!(bench.text(name), text);
    }
    let refused = bench.write("t.parquet", WriteMode::Replace, none(), &rows).await;
    let error = refused.expect_err("refused");
    assert!(
        error
            .iter()
            .all(|e| e.code() == Code::E0407 && e.hint().is_some()),
        "{error:?}"
    );
    assert_eq!(error.iter().count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn statistics_skip_row_groups_and_lose_no_row() {
    let bench = Bench::new();
    let rows = batch(vec![
        ("n", Arc::new(Int64Array::from_iter_values(0..200_000))),
        (
            "t",
            Arc::new(StringViewArray::from_iter_values(
                (0..200_000).map(|i| format!("key {i:06} {}", i * 7919 % 1000)),
            )),
        ),
    ]);
    let connection = bench.connection(synqx_sdk::Role::Destination);
    let mut target = bench.target("t.parquet", WriteMode::Replace, &rows);
    target.options.insert("row_group_bytes".into(), "1MiB".into());
    let destination = connection.destination().expect("a destination");
    let prepared = destination.prepare(&target, false).await.expect("prepares");
    let mut load = destination
        .begin(&target, &prepared, synqx_sdk::FenceClaim::Next)
        .await
        .expect("begins");
    let mut writer = load.writer().await.expect("a lane");
    for start in (0..200_000).step_by(10_000) {
        writer.write(rows.slice(start, 10_000)).await.expect("writes");
    }
    writer.finish().await.expect("finishes");
    load.commit(&Default::default()).await.expect("commits");
    let narrow = |op, literal| Predicate::Compare {
        column: "n".into(),
        op,
        literal,
    };
    let (some, planned) = bench
        .scan(
            "t.parquet",
            none(),
            None,
            vec![narrow(Comparison::Lt, Literal::Int(5))],
        )
        .await
        .expect("reads");
    assert!(
        planned.is_some_and(|rows| rows < 100_000),
        "{planned:?} rows planned"
    );
    assert_eq!(&shown(&some, "n")[..5], ["0", "1", "2", "3", "4"]);
    let text = Predicate::In {
        column: "t".into(),
        literals: vec![Literal::Text("key 199999 81".into())],
        negated: false,
    };
    let (some, planned) = bench
        .scan("t.parquet", none(), Some(vec!["t"]), vec![text])
        .await
        .expect("reads");
    assert!(
        planned.is_some_and(|rows| rows < 100_000),
        "{planned:?} rows planned"
    );
    assert!(shown(&some, "t").iter().any(|t| t == "key 199999 81"));
    let nothing = Predicate::IsNull {
        column: "n".into(),
        negated: false,
    };
    let (some, _) = bench
        .scan("t.parquet", none(), None, vec![nothing])
        .await
        .expect("reads");
    assert_eq!(some.num_rows(), 0);
}

/// The file with statistics as parquet-mr wrote them before 1.10: in `min` and `max`, by signed bytes.
fn with_old_statistics(path: &std::path::Path, columns: Vec<Statistics>) {
    let bytes = bytes::Bytes::from(std::fs::read(path).expect("the file"));
    let metadata = ParquetMetaDataReader::new()
        .parse_and_finish(&bytes)
        .expect("a footer");
    let group = metadata.row_group(0).clone();
    let chunks = group.columns().iter().zip(columns).map(|(chunk, old)| {
        let chunk = chunk.clone().into_builder().set_statistics(old);
        chunk
            .set_column_index_offset(None)
            .set_offset_index_offset(None)
            .build()
            .expect("a chunk")
    });
    let group = group.clone().into_builder().set_column_metadata(chunks.collect());
    let changed = metadata
        .into_builder()
        .set_row_groups(vec![group.build().expect("a group")])
        .build();
    let footer = u32::from_le_bytes(
        bytes[bytes.len() - 8..bytes.len() - 4]
            .try_into()
            .expect("4 bytes"),
    );
    let mut out = bytes[..bytes.len() - 8 - footer as usize].to_vec();
    ParquetMetaDataWriter::new(&mut out, &changed)
        .finish()
        .expect("a footer");
    std::fs::write(path, out).expect("writes");
}

#[tokio::test(flavor = "multi_thread")]
async fn statistics_in_signed_order_skip_only_signed_numbers() {
    let bench = Bench::new();
    let decimals = Decimal128Array::from(vec![1, 2, -3]).with_precision_and_scale(38, 0);
    let rows = batch(vec![
        (
            "t",
            Arc::new(StringViewArray::from(vec!["a", "b", "é"])) as ArrayRef,
        ),
        ("u", Arc::new(UInt64Array::from(vec![1, 2, u64::MAX]))),
        ("d", Arc::new(decimals.expect("fits"))),
        ("n", Arc::new(Int64Array::from(vec![1, 2, -3]))),
    ]);
    bench
        .write("t.parquet", WriteMode::Replace, none(), &rows)
        .await
        .expect("writes");
    let text = |t: &str| Some(t.as_bytes().into());
    // As unsigned bytes -3 is the greatest decimal, which is what some writers said.
    let decimal = |n: i128| Some(n.to_be_bytes().to_vec().into());
    with_old_statistics(
        &bench.dir.path().join("t.parquet"),
        vec![
            Statistics::byte_array(text("é"), text("b"), None, Some(0), true),
            Statistics::int64(Some(-1), Some(2), None, Some(0), true),
            Statistics::fixed_len_byte_array(decimal(1), decimal(-3), None, Some(0), true),
            Statistics::int64(Some(-3), Some(2), None, Some(0), true),
        ],
    );
    let equal = |column: &str, literal| Predicate::Compare {
        column: column.into(),
        op: Comparison::Eq,
        literal,
    };
    for (column, literal) in [
        ("t", Literal::Text("é".into())),
        ("t", Literal::Text("a".into())),
        ("u", Literal::Decimal(u64::MAX.into(), 0)),
        ("u", Literal::Int(1)),
        ("d", Literal::Int(-3)),
        ("d", Literal::Int(2)),
        ("n", Literal::Int(2)),
    ] {
        let predicate = equal(column, literal.clone());
        let (seen, _) = bench
            .scan("t.parquet", none(), None, vec![predicate])
            .await
            .expect("reads");
        assert_eq!(seen.num_rows(), 3, "{column} {literal:?}: the row group holds it");
    }
    let beyond = equal("n", Literal::Int(3));
    let (seen, _) = bench
        .scan("t.parquet", none(), None, vec![beyond])
        .await
        .expect("reads");
    assert_eq!(
        seen.num_rows(),
        0,
        "signed numbers are in order in old statistics too"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn csv_says_what_it_is_told() {
    let bench = Bench::new();
    let rows = batch(vec![
        (
            "a,b",
            Arc::new(StringArray::from(vec![Some("x\"y"), None, Some("")])),
        ),
        (
            "n",
            Arc::new(Float64Array::from(vec![Some(1.0), None, Some(1e300)])),
        ),
        (
            "t",
            Arc::new(TimestampMillisecondArray::from(vec![Some(1500), None, Some(0)]).with_timezone("UTC")),
        ),
    ]);
    bench
        .write("t.csv", WriteMode::Replace, none(), &rows)
        .await
        .expect("writes");
    let expected =
        "\"a,b\",n,t\n\"x\"\"y\",1.0,1970-01-01T00:00:01.5Z\n,,\n\"\",1e300,1970-01-01T00:00:00Z\n";
    assert_eq!(bench.text("t.csv"), expected);
    bench
        .write(
            "t.tsv",
            WriteMode::Replace,
            json!({ "header": false, "nulls": "NA" }),
            &rows.slice(1, 2),
        )
        .await
        .expect("writes");
    assert_eq!(
        bench.text("t.tsv"),
        "NA\tNA\tNA\n\"\"\t1e300\t1970-01-01T00:00:00Z\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_looks_like_null_returns_through_the_same_connection() {
    let mut bench = Bench::new();
    let rows = batch(vec![
        (
            "t",
            Arc::new(StringViewArray::from(vec![
                Some("NA"),
                None,
                Some(""),
                Some("-999"),
            ])) as ArrayRef,
        ),
        (
            "n",
            Arc::new(Int64Array::from(vec![Some(-999), None, Some(5), Some(6)])),
        ),
    ]);
    for nulls in [
        json!(["NA"]),
        json!(["NA", ""]),
        json!(["-999", "NA"]),
        json!([""]),
    ] {
        bench.csv = json!({ "nulls": nulls, "comment": "#" });
        for name in ["t.csv", "t.tsv"] {
            bench
                .write(name, WriteMode::Replace, none(), &rows)
                .await
                .expect("writes");
            let back = bench.read(name, none()).await.expect("reads");
            assert_eq!(back.columns(), rows.columns(), "{nulls}: {}", bench.text(name));
        }
    }
    bench.csv = json!({ "nulls": ["NA", ""] });
    bench
        .write("t.csv", WriteMode::Replace, none(), &rows)
        .await
        .expect("writes");
    assert_eq!(bench.text("t.csv"), "t,n\n\"NA\",-999\nNA,NA\n\"\",5\n-999,6\n");
    bench.file("q.csv", "n\n\"7\"\n\"\"\n");
    let declared = json!({ "columns": { "n": "bigint" } });
    assert_eq!(
        shown(&bench.read("q.csv", declared).await.expect("reads"), "n"),
        ["7", "∅"]
    );
    for nulls in [json!([]), json!(["a,b"])] {
        bench.csv = json!({ "nulls": nulls });
        let error = bench
            .write("t.csv", WriteMode::Replace, none(), &rows)
            .await
            .expect_err("refused");
        assert!(error.code() == Code::E0103 && error.hint().is_some(), "{error:?}");
        bench
            .write("t.parquet", WriteMode::Replace, none(), &rows)
            .await
            .expect("has no markers");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn packed_text_is_read_back() {
    let bench = Bench::new();
    let rows = batch(vec![("n", Arc::new(Int64Array::from_iter_values(0..1000)))]);
    for name in ["t.csv.gz", "t.csv.zst", "t.jsonl.gz", "t.json"] {
        bench
            .write(name, WriteMode::Replace, none(), &rows)
            .await
            .expect("writes");
        assert_eq!(
            bench.read(name, none()).await.expect("reads").column(0),
            rows.column(0),
            "{name}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn any_text_returns_from_csv(
        rows in prop::collection::vec((prop::option::of("[a,\"\n\r;é\t #\\\\]{0,6}"), prop::option::of("\\PC{0,8}")), 1..20),
        tab in any::<bool>(),
    ) {
        let bench = Bench::new();
        let (left, right): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
        let rows = batch(vec![
            ("left", Arc::new(StringViewArray::from_iter(left)) as ArrayRef),
            ("right", Arc::new(StringViewArray::from_iter(right))),
        ]);
        let name = if tab { "t.tsv" } else { "t.csv" };
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let back = runtime.block_on(async {
            bench.write(name, WriteMode::Replace, none(), &rows).await.expect("writes");
            bench.read(name, json!({ "columns": { "left": "text", "right": "text" } })).await.expect("reads")
        });
        prop_assert_eq!(back.columns(), rows.columns());
    }
}
