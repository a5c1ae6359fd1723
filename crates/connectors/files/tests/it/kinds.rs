//! The newer formats from both sides: XML, fixed columns, Avro, Arrow; content against names; files that differ.
//!
//! Files of other libraries are in `peers`, hostile ones in `mutated`.

use serde_json::json;
use synqx_model::spec::WriteMode;
use synqx_model::{ByteSize, Code};
use synqx_sdk::type_names::render_type;

use crate::bench::{Bench, failure, none, shown};

const BOOKS: &str = "<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?>\n<c:catalog xmlns:c=\"urn:c\">\n \
    <c:meta><made>today</made></c:meta>\n \
    <book id=\"1\" lang=\"en &amp; fr\"><title>A &lt;b&gt; &#233; \u{e9}</title><price>1.50</price><tag>x</tag><tag>y</tag>\
    <author><name>N</name><born>1970-01-01</born></author></book>\n \
    <book id=\"2\"><title><![CDATA[raw <x>]]></title><price/><author><name/></author></book>\n</c:catalog>\n";

fn latin(text: &str) -> Vec<u8> {
    text.chars()
        .map(|c| u8::try_from(u32::from(c)).expect("latin"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn elements_of_a_document_are_rows_and_their_paths_columns() {
    let bench = Bench::new();
    bench.file("b.xml", latin(BOOKS));
    let options = json!({ "record": "/catalog/book" });
    let batch = bench.read("b.xml", options.clone()).await.expect("reads");
    let words: Vec<(String, String)> = batch
        .schema()
        .fields()
        .iter()
        .map(|f| (f.name().clone(), render_type(f.data_type())))
        .collect();
    let words: Vec<(&str, &str)> = words.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    assert_eq!(
        words,
        [
            ("@id", "bigint"),
            ("@lang", "text"),
            ("title", "text"),
            ("price", "decimal(38,2)"),
            ("tag", "text[]"),
            ("author/name", "text"),
            ("author/born", "date"),
        ]
    );
    assert_eq!(shown(&batch, "title"), ["A <b> é é", "raw <x>"]);
    assert_eq!(shown(&batch, "@lang"), ["en & fr", "∅"]);
    assert_eq!(shown(&batch, "price"), ["1.50", "∅"]);
    assert_eq!(shown(&batch, "tag"), ["[x, y]", "∅"]);
    assert_eq!(shown(&batch, "author/born"), ["1970-01-01", "∅"]);
    let declared = json!({ "record": "/catalog/book", "columns": { "price": "double", "isbn": "text" } });
    let batch = bench.read("b.xml", declared).await.expect("reads");
    assert_eq!(
        (shown(&batch, "price"), shown(&batch, "isbn")),
        (vec!["1.5".into(), "∅".into()], vec!["∅".into(), "∅".into()])
    );
    // Rows are the children of the root when the document does not say; these are of two kinds.
    let batch = bench.read("b.xml", none()).await.expect("reads");
    assert_eq!(batch.num_rows(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_that_are_traps_or_broken_are_refused() {
    let bench = Bench::new();
    let bomb = "<!DOCTYPE r [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;\">]><r><x>&b;</x></r>";
    let deep = format!("<r><x>{}{}</x></r>", "<a>".repeat(300), "</a>".repeat(300));
    for (text, code, says) in [
        (bomb, Code::E0210, "document type"),
        ("<r><x>&unknown;</x></r>", Code::E0210, "line 1"),
        ("<r>\n<x a=\"&unknown;\"/></r>", Code::E0210, "line 2"),
        ("<r><x>1</x>", Code::E0210, "not well-formed"),
        ("<r><x>1</y></r>", Code::E0210, "not well-formed"),
        ("<r/><r/>", Code::E0210, "not well-formed"),
        (deep.as_str(), Code::E0210, "not well-formed"),
        (
            "<r><x><a><b>1</b></a><a><b>2</b></a></x></r>",
            Code::E0407,
            "several `a`",
        ),
        ("no xml at all", Code::E0210, "not well-formed"),
    ] {
        bench.file("t.xml", text);
        let error = failure(&bench, "t.xml", none()).await;
        assert_eq!(error.code(), code, "{text} {error:?}");
        assert!(error.message().contains(says), "{text} {error:?}");
    }
    let late = json!({ "infer_rows": 1 });
    for (text, says) in [
        ("<r><x><a>1</a></x><x><b>1</b></x></r>", "`b`"),
        (
            "<r><x><a>1</a></x><x><a>1</a><a>2</a></x></r>",
            "several values of `a`",
        ),
        ("<r><x><a>1</a></x>\n<x><a>z</a></x></r>", "line 2"),
    ] {
        bench.file("t.xml", text);
        let error = failure(&bench, "t.xml", late.clone()).await;
        assert_eq!(error.code(), Code::E0208, "{text} {error:?}");
        assert!(error.message().contains(says), "{text} {error:?}");
    }
    let small = Bench::new().with_memory(ByteSize::mib(2));
    small.file("t.xml", format!("<r><x><a>{}</a></x></r>", "y".repeat(1 << 20)));
    assert_eq!(failure(&small, "t.xml", none()).await.code(), Code::E0805);
    bench.file("t.xml", "<r><x/></r>");
    assert_eq!(
        failure(&bench, "t.xml", json!({ "record": "/r/y" })).await.code(),
        Code::E0409
    );
}

fn places() -> serde_json::Value {
    json!([
        { "name": "id", "start": 1, "width": 5, "align": "right", "pad": "0" },
        { "name": "name", "start": 7, "width": 6 },
        { "name": "n", "start": 13, "width": 4, "align": "right" },
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn fixed_columns_are_cut_by_characters() {
    let bench = Bench::new();
    bench.file("t.txt", "00012 éclair  -7\n00003         12\n");
    let options = json!({ "fields": places(), "columns": { "id": "bigint" } });
    let batch = bench.read("t.txt", options.clone()).await.expect("reads");
    assert_eq!(shown(&batch, "id"), ["12", "3"]);
    assert_eq!(shown(&batch, "name"), ["éclair", "∅"]);
    assert_eq!(shown(&batch, "n"), ["-7", "12"]);
    let inferred = bench
        .read("t.txt", json!({ "fields": places() }))
        .await
        .expect("reads");
    assert_eq!(
        shown(&inferred, "id"),
        ["00012", "00003"],
        "zeros are kept where nobody says number"
    );
    bench.file("t.txt", "00012 abc\n");
    let error = failure(&bench, "t.txt", options.clone()).await;
    assert!(
        error.code() == Code::E0206 && error.message().contains("line 1"),
        "{error:?}"
    );
    let padded = json!({ "fields": places(), "short_lines": "pad" });
    assert_eq!(
        shown(&bench.read("t.txt", padded).await.expect("reads"), "name"),
        ["abc"]
    );
    bench.file("t.txt", "00012 abc       x\n");
    assert_eq!(failure(&bench, "t.txt", options).await.code(), Code::E0206);
    assert_eq!(
        failure(&bench, "t.txt", json!({ "format": "fixed" }))
            .await
            .code(),
        Code::E0103
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn fixed_columns_are_written_whole_or_not_at_all() {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringViewArray};
    let bench = Bench::new();
    let options = json!({ "format": "fixed", "fields": places() });
    let rows = |name: Option<&str>, id: i64| {
        crate::bench::batch(vec![
            ("id", Arc::new(Int64Array::from(vec![id, -3]))),
            ("name", Arc::new(StringViewArray::from(vec![name, Some("b b")]))),
            ("n", Arc::new(Int64Array::from(vec![None, Some(9999)]))),
        ])
    };
    let written = bench
        .write("o.txt", WriteMode::Replace, options.clone(), &rows(None, 12))
        .await;
    written.expect("writes");
    assert_eq!(bench.text("o.txt"), "00012           \n-0003 b b   9999\n");
    let again = json!({ "fields": places(), "columns": { "id": "bigint", "name": "text", "n": "bigint" } });
    assert_eq!(bench.read("o.txt", again).await.expect("reads"), rows(None, 12));
    for (batch, says) in [
        (rows(Some("too long"), 1), "`name`"),
        (rows(Some(" x"), 1), "`name`"),
        (rows(Some(""), 1), "`name`"),
        (rows(Some("a\nb"), 1), "`name`"),
        (rows(Some("a"), 123_456), "`id`"),
    ] {
        let error = bench
            .write("o.txt", WriteMode::Replace, options.clone(), &batch)
            .await
            .expect_err("refused");
        assert_eq!(error.code(), Code::E0307, "{error:?}");
        assert!(
            error.message().contains(says) && error.detail().is_some_and(|d| d.contains("row 1")),
            "{error:?}"
        );
    }
    let batch = crate::bench::batch(vec![("other", Arc::new(Int64Array::from(vec![1])))]);
    let error = bench
        .write("o.txt", WriteMode::Replace, options, &batch)
        .await
        .expect_err("refused");
    assert_eq!(error.code(), Code::E0405);
}

#[tokio::test(flavor = "multi_thread")]
async fn content_wins_over_names() {
    let bench = Bench::new();
    bench.file("t.csv", "a,b\n1,2\n");
    let rows = bench.read("t.csv", none()).await.expect("reads");
    for (name, format) in [("p.parquet", "parquet"), ("p.avro", "avro"), ("p.arrow", "arrow")] {
        bench
            .write(name, WriteMode::Replace, none(), &rows)
            .await
            .expect("writes");
        assert_eq!(bench.read(name, none()).await.expect("reads"), rows, "{name}");
        let bytes = std::fs::read(bench.dir.path().join(name)).expect("bytes");
        bench.file("lies.csv", &bytes);
        let error = failure(&bench, "lies.csv", none()).await;
        assert_eq!(error.code(), Code::E0103, "{name}");
        assert!(error.hint().is_some_and(|h| h.contains(format)), "{error:?}");
        bench.file("nameless", &bytes);
        assert_eq!(
            bench.read("nameless", none()).await.expect("reads"),
            rows,
            "{name}"
        );
        let table = bench.describe("nameless", none()).await.expect("describes");
        assert!(
            table.notes.iter().any(|n| n.contains(format)),
            "{:?}",
            table.notes
        );
        bench.file(name, "a,b\n1,2\n");
        assert_eq!(failure(&bench, name, none()).await.code(), Code::E0210, "{name}");
    }
    for (bytes, says) in [
        (&b"BZh91AY&SY"[..], "bzip2"),
        (&b"\xfd7zXZ\0\0\0"[..], "xz"),
        (&b"\xd0\xcf\x11\xe0\0\0\0\0"[..], "Office"),
    ] {
        bench.file("t.csv", bytes);
        let error = failure(&bench, "t.csv", none()).await;
        assert!(
            error.code() == Code::E0210 && error.message().contains(says),
            "{error:?}"
        );
    }
    // Words of a header that are signatures elsewhere.
    for header in ["PAR1", "ARROW1", "ORC"] {
        bench.file("words.csv", format!("{header},b\n1,2\n"));
        assert_eq!(bench.read("words.csv", none()).await.expect(header).num_rows(), 1);
    }
    // A name of compression over plain text is only a name; text packed under a plain name is unpacked.
    bench.file("plain.csv.gz", "a,b\n1,2\n");
    assert_eq!(bench.read("plain.csv.gz", none()).await.expect("reads"), rows);
    let packed = zstd::encode_all(&b"a,b\n1,2\n"[..], 1).expect("packs");
    bench.file("packed.csv", packed);
    assert_eq!(bench.read("packed.csv", none()).await.expect("reads"), rows);
    assert_eq!(failure(&bench, "none", none()).await.code(), Code::E0204);
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_files_and_files_of_a_header_are_no_rows() {
    let bench = Bench::new();
    bench.file("in/a.csv", "a,b\n1,2\n");
    bench.file("in/b.csv", "a,b\n");
    bench.file("in/c.csv", "");
    let batch = bench.read("in/", none()).await.expect("reads");
    assert_eq!(batch.num_rows(), 1);
    bench.file("only.csv", "a,b\n");
    let batch = bench.read("only.csv", none()).await.expect("reads");
    assert_eq!((batch.num_rows(), batch.num_columns()), (0, 2));
    for name in ["e.csv", "e.parquet", "e.avro", "e.arrow", "e.jsonl"] {
        bench.file(name, "");
        assert_eq!(failure(&bench, name, none()).await.code(), Code::E0409, "{name}");
    }
    let rows = bench.read("in/a.csv", none()).await.expect("reads");
    for format in ["parquet", "avro", "arrow"] {
        bench
            .write(&format!("{format}/a.{format}"), WriteMode::Replace, none(), &rows)
            .await
            .expect("writes");
        bench.file(&format!("{format}/b.{format}"), "");
        let set = format!("{format}/*.{format}");
        assert_eq!(bench.read(&set, none()).await.expect("reads"), rows, "{format}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_with_other_columns_stop_or_are_joined() {
    let bench = Bench::new();
    bench.file("a.csv", "id,n\n1,5\n");
    bench.file("b.csv", "extra,id\nx,2\n");
    let error = failure(&bench, "*.csv", none()).await;
    assert_eq!(error.code(), Code::E0206);
    let detail = error.detail().expect("a detail");
    assert!(
        error.message().contains("`b.csv`") && detail.contains("`n`") && detail.contains("`extra`"),
        "{error:?}"
    );
    let union = json!({ "schema_drift": "union" });
    let batch = bench.read("*.csv", union.clone()).await.expect("reads");
    assert_eq!(shown(&batch, "id"), ["1", "2"]);
    assert_eq!(
        (shown(&batch, "n"), shown(&batch, "extra")),
        (vec!["5".into(), "∅".into()], vec!["∅".into(), "x".into()])
    );
    let table = bench.describe("*.csv", union.clone()).await.expect("describes");
    assert!(
        table.notes.iter().any(|n| n.contains("1 of 2 files")),
        "{:?}",
        table.notes
    );
    let typed = |columns: serde_json::Value| json!({ "columns": columns });
    for format in ["parquet", "avro", "arrow"] {
        let narrow = bench
            .read("a.csv", typed(json!({ "id": "int", "n": "real" })))
            .await
            .expect("reads");
        let wide = bench
            .read("b.csv", typed(json!({ "id": "decimal(12,2)" })))
            .await
            .expect("reads");
        bench
            .write(
                &format!("{format}/1.{format}"),
                WriteMode::Replace,
                none(),
                &narrow,
            )
            .await
            .expect("writes");
        bench
            .write(&format!("{format}/2.{format}"), WriteMode::Replace, none(), &wide)
            .await
            .expect("writes");
        let set = format!("{format}/*.{format}");
        let error = failure(&bench, &set, none()).await;
        assert_eq!(error.code(), Code::E0206, "{format}");
        let batch = bench.read(&set, union.clone()).await.expect("reads");
        assert_eq!(shown(&batch, "id"), ["1.00", "2.00"], "{format}");
        assert_eq!(shown(&batch, "extra"), ["∅", "x"], "{format}");
        let other = bench
            .read("a.csv", typed(json!({ "id": "text", "n": "real" })))
            .await
            .expect("reads");
        bench
            .write(
                &format!("{format}/2.{format}"),
                WriteMode::Replace,
                none(),
                &other,
            )
            .await
            .expect("writes");
        let error = failure(&bench, &set, union.clone()).await;
        assert!(
            error.code() == Code::E0402 && error.message().contains("`id`"),
            "{error:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn csv_is_written_in_the_dialect_the_connection_reads() {
    use std::sync::Arc;

    use arrow::array::StringViewArray;
    let mut bench = Bench::new();
    bench.csv = json!({ "delimiter": ";", "quote": "'", "escape": "\\", "encoding": "windows-1252" });
    let texts = vec![
        Some("it's; \\ \"é\""),
        None,
        Some(""),
        Some("a\nb"),
        Some("plain"),
    ];
    let batch = crate::bench::batch(vec![
        ("t;x", Arc::new(StringViewArray::from(texts.clone()))),
        ("u", Arc::new(StringViewArray::from(texts))),
    ]);
    let options = json!({ "columns": { "t;x": "text", "u": "text" } });
    bench
        .write("o.csv", WriteMode::Replace, none(), &batch)
        .await
        .expect("writes");
    let bytes = std::fs::read(bench.dir.path().join("o.csv")).expect("bytes");
    assert!(
        bytes.contains(&0xe9) && bytes.starts_with(b"'t;x';u\n"),
        "{:?}",
        String::from_utf8_lossy(&bytes)
    );
    assert_eq!(bench.read("o.csv", options.clone()).await.expect("reads"), batch);
    for encoding in ["utf-16le", "utf-16be", "utf-8", "shift_jis"] {
        bench.csv = json!({ "encoding": encoding });
        let plain = crate::bench::batch(vec![("t;x", Arc::new(StringViewArray::from(vec!["a,b", "ｱ"])))]);
        bench
            .write("o.csv", WriteMode::Replace, none(), &plain)
            .await
            .expect(encoding);
        assert_eq!(
            bench.read("o.csv", none()).await.expect(encoding),
            plain,
            "{encoding}"
        );
    }
    bench.csv = json!({ "encoding": "windows-1252" });
    let foreign = crate::bench::batch(vec![("t", Arc::new(StringViewArray::from(vec!["ok", "ł"])))]);
    let error = bench
        .write("o.csv", WriteMode::Replace, none(), &foreign)
        .await
        .expect_err("refused");
    assert!(
        error.code() == Code::E0307 && error.message().contains("row 2"),
        "{error:?}"
    );
    bench.csv = json!({ "quote": "" });
    let quoted = crate::bench::batch(vec![("t", Arc::new(StringViewArray::from(vec!["a,b"])))]);
    let error = bench
        .write("o.csv", WriteMode::Replace, none(), &quoted)
        .await
        .expect_err("refused");
    assert_eq!(error.code(), Code::E0307);
    bench.csv = json!({ "skip_rows": 1 });
    let error = bench
        .write("o.csv", WriteMode::Replace, none(), &quoted)
        .await
        .expect_err("refused");
    assert_eq!(error.code(), Code::E0103);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_avro_cannot_hold_is_refused_by_name() {
    use std::sync::Arc;

    use arrow::array::{Int64Array, IntervalMonthDayNanoArray, Time64NanosecondArray};
    let bench = Bench::new();
    for (batch, code) in [
        (
            crate::bench::batch(vec![("a b", Arc::new(Int64Array::from(vec![1])))]),
            Code::E0116,
        ),
        (
            crate::bench::batch(vec![("t", Arc::new(Time64NanosecondArray::from(vec![1])))]),
            Code::E0407,
        ),
        (
            crate::bench::batch(vec![("t", Arc::new(IntervalMonthDayNanoArray::from(vec![None])))]),
            Code::E0407,
        ),
    ] {
        let error = bench
            .write("o.avro", WriteMode::Replace, none(), &batch)
            .await
            .expect_err("refused");
        assert_eq!(error.code(), code, "{error:?}");
        assert!(error.hint().is_some());
    }
    assert!(bench.names("").is_empty(), "nothing was made");
}

/// A number as Avro writes it.
fn long(value: i64) -> Vec<u8> {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    let mut bytes = Vec::new();
    while rest >= 0x80 {
        bytes.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
    bytes
}

/// An Avro file of one block.
fn avro(schema: &[u8], codec: &[u8], rows: i64, block: &[u8]) -> Vec<u8> {
    let mut file = b"Obj\x01".to_vec();
    file.extend(long(2));
    for (key, value) in [(&b"avro.schema"[..], schema), (&b"avro.codec"[..], codec)] {
        file.extend(long(key.len() as i64));
        file.extend(key);
        file.extend(long(value.len() as i64));
        file.extend(value);
    }
    file.extend(long(0));
    file.extend([7; 16]);
    file.extend(long(rows));
    file.extend(long(block.len() as i64));
    file.extend(block);
    file.extend([7; 16]);
    file
}

#[tokio::test(flavor = "multi_thread")]
async fn avro_schemas_that_are_no_columns_are_refused() {
    let bench = Bench::new();
    let record = |fields: &str| format!("{{\"type\":\"record\",\"name\":\"r\",\"fields\":[{fields}]}}");
    for (schema, block, code) in [
        (
            record("{\"name\":\"next\",\"type\":[\"null\",\"r\"]}"),
            vec![0],
            Code::E0407,
        ),
        (
            record("{\"name\":\"u\",\"type\":[\"int\",\"string\"]}"),
            vec![0, 2],
            Code::E0407,
        ),
        // A list of nulls may claim to be of any length.
        (
            record("{\"name\":\"l\",\"type\":{\"type\":\"array\",\"items\":\"null\"}}"),
            [long(1 << 60), long(0)].concat(),
            Code::E0407,
        ),
        ("\"string\"".to_owned(), vec![0], Code::E0407),
        ("{".to_owned(), vec![0], Code::E0210),
    ] {
        bench.file("t.avro", avro(schema.as_bytes(), b"null", 1, &block));
        let error = failure(&bench, "t.avro", none()).await;
        assert_eq!(error.code(), code, "{schema} {error:?}");
    }
    bench.file(
        "t.avro",
        avro(
            record("{\"name\":\"a\",\"type\":\"long\"}").as_bytes(),
            b"bzip2",
            1,
            &[2],
        ),
    );
    assert_eq!(failure(&bench, "t.avro", none()).await.code(), Code::E0210);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_packed_block_larger_than_the_budget_is_refused_and_not_unpacked() {
    let bench = Bench::new().with_memory(ByteSize::mib(8));
    // A block of 64 MiB of zeros in some KiB: {"t": bytes}.
    let schema = br#"{"type":"record","name":"r","fields":[{"name":"t","type":"bytes"}]}"#;
    let mut plain = long(64 << 20);
    plain.extend(std::iter::repeat_n(0u8, 64 << 20));
    let packed = zstd::encode_all(plain.as_slice(), 1).expect("packs");
    let file = avro(schema, b"zstandard", 1, &packed);
    bench.file("t.avro", &file);
    let error = failure(&bench, "t.avro", none()).await;
    assert_eq!(error.code(), Code::E0805, "{error:?}");
    assert!(bench.budget.peak() <= bench.budget.limit() && bench.budget.used() == 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_get_another_part_by_the_bytes_on_disk() {
    use std::sync::Arc;

    use arrow::array::StringViewArray;
    let bench = Bench::new();
    let text = "the same words over and over ".repeat(40);
    let rows = crate::bench::batch(vec![(
        "t",
        Arc::new(StringViewArray::from(vec![text.as_str(); 2_000])),
    )]);
    let parts = |names: Vec<String>| names.iter().filter(|name| name.starts_with("part-")).count();
    // 2.3 MB of text, a few KB packed: one part, and one for each batch where every byte counts.
    for (compression, expected) in [("gzip", 1), ("none", 2)] {
        let folder = format!("{compression}/");
        let options = json!({ "format": "csv", "compression": compression, "part_bytes": "1MiB" });
        for _ in 0..1 {
            let mut target = bench.target(&folder, WriteMode::Append, &rows);
            target.options = options.as_object().cloned().expect("a map");
            let connection = bench.connection(synqx_sdk::Role::Destination);
            let destination = connection.destination().expect("a destination");
            let prepared = destination.prepare(&target, false).await.expect("prepares");
            let claim = synqx_sdk::FenceClaim::Next;
            let mut load = destination
                .begin(&target, &prepared, claim)
                .await
                .expect("begins");
            let mut writer = load.writer().await.expect("a writer");
            for _ in 0..2 {
                writer.write(rows.clone()).await.expect("writes");
            }
            writer.finish().await.expect("ends");
            load.commit(&synqx_model::Position::default())
                .await
                .expect("commits");
        }
        assert_eq!(parts(bench.names(&folder)), expected, "{compression}");
    }
}
