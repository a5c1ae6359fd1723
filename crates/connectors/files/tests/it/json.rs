//! JSON lines and JSON: nesting, mixed kinds, exact numbers, damaged lines.
//!
//! Texts of JSON stay text; only JSON's own kinds decide types.

use serde_json::json;
use synqx_model::Code;
use synqx_sdk::type_names::render_type;

use crate::bench::{Bench, failure, none, shown};

#[tokio::test(flavor = "multi_thread")]
async fn objects_become_columns_in_order_of_appearance() {
    let bench = Bench::new();
    let one = r#"{"id":1,"big":9223372036854775808,"x":1.5,"t":"2013-01-01","o":{"a":1,"b":["p","q"]},"m":1,"ok":true}"#;
    let two = r#"{"id":2,"x":2,"t":"ä\n","o":{"b":[]},"m":{"k":"v"},"late":null,"big":1}"#;
    bench.file("t.jsonl", format!("{one}\n\n{two}\n"));
    bench.file("t.json", format!("[{one},\n {two}]\n"));
    bench.file("u.json", format!("{one} {two}"));
    for (name, options) in [("t.jsonl", none()), ("t.json", none()), ("u.json", none())] {
        let batch = bench.read(name, options).await.expect("reads");
        let types: Vec<_> = batch
            .schema()
            .fields()
            .iter()
            .map(|f| format!("{} {}", f.name(), render_type(f.data_type())))
            .collect();
        let expected = [
            "id bigint",
            "big decimal(38,0)",
            "x double",
            "t text",
            "o struct(a bigint, b text[])",
            "m text",
            "ok boolean",
            "late text",
        ];
        assert_eq!(types, expected, "{name}");
        assert_eq!(shown(&batch, "big"), ["9223372036854775808", "1"]);
        assert_eq!(shown(&batch, "t"), ["2013-01-01", "ä\n"]);
        assert_eq!(shown(&batch, "m"), ["1", r#"{"k":"v"}"#]);
        assert_eq!(shown(&batch, "ok"), ["true", "∅"]);
        let (some, _) = bench
            .scan(name, none(), Some(vec!["ok", "id"]), vec![])
            .await
            .expect("reads");
        assert_eq!(
            (shown(&some, "id"), some.num_columns()),
            (vec!["1".to_owned(), "2".to_owned()], 2)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_later_is_refused_with_its_line() {
    let bench = Bench::new();
    bench.file("t.jsonl", "{\"a\":1}\n{\"a\":2}\n{\"a\":\"SECRET\"}\n");
    let error = failure(&bench, "t.jsonl", json!({ "infer_rows": 2 })).await;
    assert_eq!(error.code(), Code::E0208);
    assert!(
        error.message().contains("line 3") && !format!("{error:?}").contains("SECRET"),
        "{error:?}"
    );
    bench.file("k.jsonl", "{\"a\":1}\n{\"a\":2,\"b\":3}\n");
    assert_eq!(
        failure(&bench, "k.jsonl", json!({ "infer_rows": 1 }))
            .await
            .code(),
        Code::E0208
    );
    let declared = json!({ "infer_rows": 1, "columns": { "b": "bigint" } });
    assert_eq!(
        shown(&bench.read("k.jsonl", declared).await.expect("reads"), "b"),
        ["∅", "3"]
    );
    bench.file("twice.jsonl", "{\"a\":1,\"a\":2}\n");
    assert_eq!(failure(&bench, "twice.jsonl", none()).await.code(), Code::E0406);
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_lines_are_named() {
    let bench = Bench::new();
    for text in [
        "{\"a\":1}\n{\"a\":\n",
        "{\"a\":1}\n[1]\n",
        "{\"a\":1}\n{\"a\":1} x\n",
    ] {
        bench.file("t.jsonl", text);
        let error = failure(&bench, "t.jsonl", none()).await;
        assert_eq!(error.code(), Code::E0210, "{text}");
        assert!(error.message().contains("line 2 of `t.jsonl`"), "{error:?}");
    }
    bench.file("t.json", "[{\"a\":1}, {\"a\"");
    assert_eq!(failure(&bench, "t.json", none()).await.code(), Code::E0210);
    bench.file("b.jsonl", b"{\"a\":\"\xff\"}\n");
    assert_eq!(failure(&bench, "b.jsonl", none()).await.code(), Code::E0207);
    bench.file("e.jsonl", "");
    assert_eq!(failure(&bench, "e.jsonl", none()).await.code(), Code::E0409);
}

#[tokio::test(flavor = "multi_thread")]
async fn nested_values_return_from_json_lines() {
    let bench = Bench::new();
    let text = "{\"o\":{\"a\":1,\"b\":[\"p\",null]},\"n\":12345678901234567890}\n{\"o\":null,\"n\":null}\n";
    bench.file("t.jsonl", text);
    let rows = bench.read("t.jsonl", none()).await.expect("reads");
    bench
        .write("u.jsonl", synqx_model::spec::WriteMode::Replace, none(), &rows)
        .await
        .expect("writes");
    assert_eq!(bench.text("u.jsonl"), text);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_array_ends_where_it_is_closed_and_the_file_with_it() {
    let bench = Bench::new();
    for text in [
        "[{\"a\":1},{\"a\":2}",
        "[{\"a\":1},{\"a\":2},",
        "[{\"a\":1}\n",
        "[",
        "[{\"a\":1}] {\"a\":2}",
        "[{\"a\":1}]]",
        "[{\"a\":1}] x",
        "[{\"a\":1} {\"a\":2}]",
        "[{\"a\":1},,{\"a\":2}]",
        "[{\"a\":1},]",
        "{\"a\":1} [{\"a\":2}]",
    ] {
        bench.file("t.json", text);
        let error = failure(&bench, "t.json", json!({ "columns": { "a": "bigint" } })).await;
        assert_eq!(error.code(), Code::E0210, "{text}");
        assert!(error.message().contains("`t.json`"), "{error:?}");
    }
    for text in ["[{\"a\":1},{\"a\":2}]\n \n", " [ {\"a\":1} , {\"a\":2} ] "] {
        bench.file("t.json", text);
        assert_eq!(
            shown(&bench.read("t.json", none()).await.expect(text), "a"),
            ["1", "2"]
        );
    }
    bench.file("t.json", "[ ]\n");
    let empty = bench
        .read("t.json", json!({ "columns": { "a": "bigint" } }))
        .await;
    assert_eq!(empty.expect("reads").num_rows(), 0);
}
