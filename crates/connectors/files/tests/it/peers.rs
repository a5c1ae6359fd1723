//! Files that other libraries made (`tests/data/make.py`): Avro by fastavro, Arrow by pyarrow, workbooks by openpyxl.
//!
//! Values are compared as text with what the script put in. Files of this house are in `formats` and `kinds`.

use std::path::Path;

use serde_json::json;
use synqx_model::Code;
use synqx_sdk::type_names::render_type;

use crate::bench::{Bench, failure, none, shown};

/// A folder with the reference files.
fn bench(names: &[&str]) -> Bench {
    let bench = Bench::new();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    for name in names {
        bench.file(name, std::fs::read(data.join(name)).expect("a reference file"));
    }
    bench
}

#[tokio::test(flavor = "multi_thread")]
async fn every_avro_type_is_read_from_every_codec() {
    for codec in ["null", "deflate", "snappy", "zstandard"] {
        let name = format!("types-{codec}.avro");
        let bench = bench(&[&name]);
        let batch = bench.read(&name, none()).await.expect("reads");
        let expected: [(&str, &str, [&str; 2]); 17] = [
            ("id", "bigint", ["1", "-9223372036854775808"]),
            ("i", "int", ["∅", "-2147483648"]),
            ("f", "real", ["1.5", "-0.0"]),
            ("x", "double", ["0.1", "∅"]),
            ("b", "boolean", ["true", "false"]),
            ("s", "text", ["é long text that is not inlined", "∅"]),
            ("raw", "bytes", ["00ff", ""]),
            ("amount", "decimal(12,2)", ["-12345.67", "0.00"]),
            ("fx", "decimal(18,4)", ["99999999999.1234", "-0.0001"]),
            ("day", "date", ["1969-12-31", "9999-12-31"]),
            ("clock", "time", ["23:59:59.999999", "00:00:00"]),
            (
                "at",
                "timestamptz",
                ["2024-03-31T01:30:00.123456Z", "0001-01-01T00:00:00Z"],
            ),
            ("at_ms", "timestamptz(3)", ["2024-03-31T01:30:00.123Z", "∅"]),
            (
                "here",
                "timestamp",
                ["2024-03-31T02:30:00.000001", "1900-01-01T00:00:00"],
            ),
            ("color", "text", ["green", "red"]),
            ("tags", "text[]", ["[a, ∅]", "[]"]),
            ("nested", "struct(a int, b text)", ["{a: 1, b: ∅}", "∅"]),
        ];
        let mut wrong = Vec::new();
        for (column, word, values) in expected {
            let field = batch.schema().field_with_name(column).expect(column).clone();
            let found = (render_type(field.data_type()), shown(&batch, column));
            if (found.0.as_str(), found.1.as_slice()) != (word, &values.map(str::to_owned)[..]) {
                wrong.push(format!("{column}: {found:?}"));
            }
        }
        assert!(wrong.is_empty(), "{codec}: {}", wrong.join("\n"));
        let schema = batch.schema();
        let uuid = schema.field_with_name("u").expect("u");
        assert!(synqx_sdk::annotation::is_uuid(uuid), "{uuid:?}");
        assert_eq!(shown(&batch, "u")[0], "12345678123456781234567812345678");
        let table = bench.describe(&name, none()).await.expect("describes");
        assert_eq!(table.rows_at_most, Some(2));
        let (one, _) = bench
            .scan(&name, none(), Some(vec!["amount", "id"]), Vec::new())
            .await
            .expect("reads some columns");
        assert_eq!(shown(&one, "amount"), ["-12345.67", "0.00"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn arrow_files_and_streams_are_read_packed_and_with_dictionaries() {
    for name in [
        "t-none.arrow",
        "t-lz4.arrow",
        "t-zstd.arrow",
        "t-none.arrows",
        "t-lz4.arrows",
        "t-zstd.arrows",
    ] {
        let bench = bench(&[name]);
        let batch = bench.read(name, none()).await.expect("reads");
        assert_eq!(batch.num_rows(), 6, "{name}");
        assert_eq!(shown(&batch, "d"), ["x", "y", "x", "x", "y", "x"], "{name}");
        assert_eq!(shown(&batch, "dec")[..3], ["1.50", "∅", "-2.25"], "{name}");
        assert_eq!(shown(&batch, "l")[..3], ["[1, ∅]", "∅", "[]"], "{name}");
        let table = bench.describe(name, none()).await.expect("describes");
        assert_eq!(table.rows_at_most, Some(6), "{name}");
        // Cut anywhere, it is damaged and says so.
        let whole = std::fs::read(bench.dir.path().join(name)).expect("bytes");
        for length in [whole.len() - 1, whole.len() - 9, whole.len() / 2, 20, 3] {
            bench.file(name, &whole[..length]);
            let error = failure(&bench, name, none()).await;
            assert_eq!(error.code(), Code::E0210, "{name} of {length} bytes: {error:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cells_of_a_sheet_have_the_types_they_have_in_excel() {
    let bench = bench(&["book.xlsx", "mac.xlsx"]);
    let batch = bench.read("book.xlsx", none()).await.expect("reads");
    let words: Vec<String> = batch
        .schema()
        .fields()
        .iter()
        .map(|f| render_type(f.data_type()))
        .collect();
    assert_eq!(
        words,
        [
            "bigint",
            "text",
            "double",
            "date",
            "timestamp",
            "boolean",
            "text",
            "text"
        ]
    );
    assert_eq!(shown(&batch, "id"), ["1", "2", "3"], "the empty row is no row");
    assert_eq!(shown(&batch, "name"), ["é", "∅", "007"]);
    assert_eq!(shown(&batch, "amount"), ["1.5", "-0.1", "1e300"]);
    assert_eq!(shown(&batch, "day"), ["2024-02-29", "1900-03-01", "∅"]);
    assert_eq!(
        shown(&batch, "at"),
        ["2024-02-29T13:30:00", "2024-03-01T00:00:00", "∅"]
    );
    assert_eq!(shown(&batch, "ok"), ["true", "false", "∅"]);
    assert_eq!(shown(&batch, "mixed"), ["5", "five", "true"]);
    assert_eq!(shown(&batch, "clock"), ["12:30:00", "00:00:01", "∅"]);
    let mac = bench.read("mac.xlsx", none()).await.expect("reads");
    assert_eq!(shown(&mac, "day"), ["2024-02-29"], "days counted from 1904");
    let options = json!({ "columns": { "clock": "time", "id": "decimal(10,2)" } });
    let declared = bench.read("book.xlsx", options).await.expect("reads");
    assert_eq!(shown(&declared, "clock"), ["12:30:00", "00:00:01", "∅"]);
    assert_eq!(shown(&declared, "id"), ["1.00", "2.00", "3.00"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sheet_is_named_and_cut_and_what_does_not_fit_is_named_by_its_cell() {
    let bench = bench(&["book.xlsx"]);
    let cells = json!({ "sheet": "Cells", "range": "B3:C", "nulls": ["", "#N/A"] });
    let batch = bench.read("book.xlsx", cells).await.expect("reads");
    // openpyxl stores no results with formulas, so the cell is empty.
    assert_eq!(
        (shown(&batch, "a"), shown(&batch, "b")),
        (vec!["1".into(), "2".into()], vec!["∅".into(), "∅".into()])
    );
    let by_number = json!({ "sheet": 2, "range": "B3:C5", "header": false });
    let batch = bench.read("book.xlsx", by_number).await.expect("reads");
    assert_eq!(shown(&batch, "column_1"), ["a", "1", "2"]);
    for (options, code, says) in [
        (json!({ "sheet": "Order" }), Code::E0204, "no sheet `Order`"),
        (json!({ "sheet": 3 }), Code::E0204, "no sheet `3`"),
        (json!({ "range": "F1:A9" }), Code::E0103, "range of cells"),
        (json!({ "sheet": "Cells" }), Code::E0206, "cell E9"),
        (
            json!({ "columns": { "mixed": "bigint" } }),
            Code::E0208,
            "cell G3",
        ),
        (json!({ "format": "csv" }), Code::E0103, "Excel"),
    ] {
        let error = failure(&bench, "book.xlsx", options.clone()).await;
        assert_eq!(error.code(), code, "{options} {error:?}");
        assert!(error.message().contains(says), "{options} {error:?}");
        assert!(!format!("{error:?}").contains("five"), "a value is in {error:?}");
    }
}
