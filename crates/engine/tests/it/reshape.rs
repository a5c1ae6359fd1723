//! Operators that change the shape of rows: window, pivot, unpivot, flatten. Masks and lookups are in `enrich`.
//!
//! Expected values are computed by hand, or by `sql` over the same rows. Every refusal names the node and what is wrong.

use std::path::Path;

use synqx_model::{Code, Error};

use crate::setting::{engine, options, read, run, sorted_lines, spec, succeed, write};

const CONNECTIONS: &str = "name: t\nconnections: {d: {type: local_file, path: .}}\nnodes:\n";

/// A document over `p.csv` (node `p`) and `r.csv` (node `r`, when named) with more nodes, whose node `n` is loaded.
pub(crate) fn document(nodes: &str) -> String {
    let reference = if nodes.contains("reference: r") {
        "  r: {extract: {from: d, asset: r.csv}}\n"
    } else {
        ""
    };
    format!(
        "{CONNECTIONS}  p: {{extract: {{from: d, asset: p.csv}}}}\n{reference}{nodes}\n  out: {{load: {{input: n, to: d, asset: o.csv, write: replace}}}}\n"
    )
}

pub(crate) fn node(text: &str) -> String {
    document(&format!("  n: {{{text}}}"))
}

/// Header and sorted lines that a node makes of a CSV file.
async fn lines(csv: &str, text: &str) -> Vec<String> {
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), "p.csv", csv);
    written(dir.path(), &node(text)).await
}

pub(crate) async fn written(dir: &Path, yaml: &str) -> Vec<String> {
    let outcome = succeed(dir, yaml).await;
    outcome.manifest.verify().expect("sums close");
    let mut all = vec![read(dir, "o.csv").lines().next().unwrap_or_default().to_owned()];
    all.extend(sorted_lines(dir, "o.csv"));
    all
}

pub(crate) async fn refused(dir: &Path, yaml: &str) -> Error {
    let outcome = run(dir, yaml).await;
    assert!(!dir.join("o.csv").exists(), "{yaml}");
    outcome
        .error
        .unwrap_or_else(|| panic!("the run succeeded: {yaml}"))
}

/// The first error of a node over a CSV file.
pub(crate) async fn refusal(csv: &str, text: &str) -> Error {
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), "p.csv", csv);
    let error = refused(dir.path(), &node(text)).await;
    assert_eq!(error.node(), Some("n"), "{error:?}");
    assert!(error.hint().is_some(), "{error:?}");
    error
}

const SALES: &str = "shop,day,amount,word\na,1,10,x\na,2,30,y\na,3,20,x\nb,1,5,y\nb,2,,x\n";

#[tokio::test(flavor = "multi_thread")]
async fn window_functions_see_the_neighbours_in_order() {
    let numbered = lines(
        SALES,
        "window: {input: p, partition_by: [shop], order_by: [amount desc nulls last], columns: {nth: row_number(), r: rank(), half: ntile(2)}}",
    )
    .await;
    assert_eq!(
        numbered,
        [
            "shop,day,amount,word,nth,r,half",
            "a,1,10,x,3,3,2",
            "a,2,30,y,1,1,1",
            "a,3,20,x,2,2,1",
            "b,1,5,y,1,1,1",
            "b,2,,x,2,2,2"
        ]
    );
    let shifted = lines(
        SALES,
        "window: {input: p, partition_by: [shop], order_by: [day], columns: {before: lag(amount), after: 'lead(amount, 1, -1)', first: first_value(amount), second: 'nth_value(amount, 2)'}}",
    )
    .await;
    assert_eq!(
        shifted[1..],
        [
            "a,1,10,x,,30,10,",
            "a,2,30,y,10,20,10,30",
            "a,3,20,x,30,-1,10,30",
            "b,1,5,y,,,5,",
            "b,2,,x,5,-1,5,"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn window_frames_are_the_nodes_or_the_columns_own() {
    let framed = lines(
        SALES,
        "window: {input: p, partition_by: [shop], order_by: [day], frame: rows between 1 preceding and current row, columns: {two: sum(amount), all: {function: count(*), frame: rows between unbounded preceding and unbounded following}, near: {function: max(amount), frame: range between 1 preceding and 1 following}, peers: {function: count(*), frame: groups between current row and 1 following}}}",
    )
    .await;
    assert_eq!(
        framed[1..],
        [
            "a,1,10,x,10,3,30,2",
            "a,2,30,y,40,3,30,2",
            "a,3,20,x,50,3,30,1",
            "b,1,5,y,5,2,5,2",
            "b,2,,x,5,2,5,1"
        ]
    );
    let whole = lines(
        "g,v\na,9223372036854775807\na,9223372036854775807\nb,1\n",
        "window: {input: p, partition_by: [g], columns: {total: sum(v), n: count(*) filter (where v > 1), mean: avg(v)}}",
    )
    .await;
    let total = whole[1].split(',').collect::<Vec<_>>();
    assert_eq!(
        total[2..4],
        ["18446744073709551614", "2"],
        "sums are exact: {whole:?}"
    );
    assert_eq!(
        total[4].parse::<f64>(),
        Ok(9_223_372_036_854_775_807_f64),
        "means are floats"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_that_say_nothing_or_two_things_are_refused() {
    for (text, code, named) in [
        (
            "window: {input: p, columns: {n1: row_number()}}",
            Code::E0103,
            "row_number",
        ),
        (
            "window: {input: p, columns: {n1: 'lag(day)'}}",
            Code::E0103,
            "lag",
        ),
        (
            "window: {input: p, frame: rows between 1 preceding and current row, columns: {n1: sum(day)}}",
            Code::E0103,
            "a frame",
        ),
        (
            "window: {input: p, order_by: [day], columns: {n1: sum(day) + 1}}",
            Code::E0103,
            "sum(day) + 1",
        ),
        (
            "window: {input: p, order_by: [day], columns: {n1: 'sum(day) over ()'}}",
            Code::E0103,
            "sum(day) over ()",
        ),
        (
            "window: {input: p, order_by: [day], columns: {shop: row_number()}}",
            Code::E0406,
            "shop",
        ),
        (
            "window: {input: p, order_by: [dya], columns: {n1: row_number()}}",
            Code::E0401,
            "dya",
        ),
        (
            "window: {input: p, partition_by: [shpo], columns: {n1: sum(day)}}",
            Code::E0401,
            "shpo",
        ),
        (
            "window: {input: p, order_by: [day], frame: rows 3, columns: {n1: sum(day)}}",
            Code::E0801,
            "rows 3",
        ),
        ("window: {input: p, columns: {n1: sum(word)}}", Code::E0402, ""),
        ("window: {input: p, columns: {n1: upper(word)}}", Code::E0802, ""),
        ("window: {input: p, columns: {}}", Code::E0409, ""),
    ] {
        let error = refusal(SALES, text).await;
        assert_eq!(error.code(), code, "{text}: {error:?}");
        assert!(error.message().contains(named), "{text}: {error:?}");
    }
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), "p.csv", SALES);
    let yaml = node("window: {input: p, partition_by: [shop], columns: {total: sum(amount)}}");
    let plan = engine()
        .plan(&spec(&yaml), &options(dir.path()))
        .await
        .expect("a plan");
    let notes: Vec<_> = plan.fragments.iter().flat_map(|f| &f.notes).collect();
    assert!(notes.iter().any(|n| n.contains("cannot spill")), "{notes:?}");
    let yaml =
        node("window: {input: p, partition_by: [shop], order_by: [day], columns: {total: sum(amount)}}");
    let plan = engine()
        .plan(&spec(&yaml), &options(dir.path()))
        .await
        .expect("a plan");
    let notes: Vec<_> = plan.fragments.iter().flat_map(|f| &f.notes).collect();
    assert!(notes.is_empty(), "{notes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_too_large_for_the_budget_is_an_error_and_a_running_one_is_not() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut csv = String::from("id,text\n");
    for id in 0..120_000 {
        csv.push_str(&format!("{id},{id:->180}\n"));
    }
    write(dir.path(), "p.csv", &csv);
    let whole = node("window: {input: p, columns: {last: max(text)}}");
    let mut small = options(dir.path());
    small.memory = synqx_model::ByteSize::mib(16);
    let error = engine()
        .run(&spec(&whole), &small)
        .await
        .error
        .expect("too large");
    assert_eq!(error.code(), Code::E0804, "{error:?}");
    let running = node("window: {input: p, order_by: [id], columns: {last: max(text)}}");
    let outcome = engine().run(&spec(&running), &small).await;
    assert!(outcome.error.is_none(), "{:?}", outcome.error);
    let step = outcome
        .manifest
        .steps
        .iter()
        .find(|s| s.node == "n")
        .expect("the step");
    assert_eq!((step.rows_in[0].received, step.rows_out), (120_000, 120_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pivot_makes_one_row_per_group_and_one_column_per_value() {
    let sums = lines(
        SALES,
        "pivot: {input: p, group_by: [shop], column: word, values: [x, y], cell: sum(amount)}",
    )
    .await;
    assert_eq!(sums, ["shop,x,y", "a,30,30", "b,,5"]);
    let named = lines(
        SALES,
        "pivot: {input: p, group_by: [shop], column: day, values: {first: 1, third: 3}, cell: count(*) filter (where amount > 5), unknown: ignore}",
    )
    .await;
    assert_eq!(named, ["shop,first,third", "a,1,1", "b,0,0"]);
    let nulls = lines(
        "g,k,v\na,x,1\na,,2\nb,,4\n",
        "pivot: {input: p, group_by: [g], column: k, values: [x, null], prefix: k_, cell: sum(v)}",
    )
    .await;
    assert_eq!(nulls, ["g,k_x,k_null", "a,1,2", "b,,4"]);
    let whole = lines(
        "k,v\nx,1\nx,2\n",
        "pivot: {input: p, column: k, values: [x, z], cell: sum(v)}",
    )
    .await;
    assert_eq!(whole, ["x,z", "3,"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pivots_unknown_values_fail_are_set_aside_or_count_for_nothing() {
    let pivot = |unknown: &str| {
        format!(
            "pivot: {{input: p, group_by: [shop], column: day, values: [1, 2], cell: count(*), unknown: {unknown}}}"
        )
    };
    let error = {
        let dir = tempfile::tempdir().expect("a folder");
        write(dir.path(), "p.csv", SALES);
        refused(dir.path(), &node(&pivot("fail"))).await
    };
    assert_eq!(error.code(), Code::E1001, "{error:?}");
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), "p.csv", SALES);
    let aside = succeed(dir.path(), &node(&pivot("quarantine"))).await;
    assert_eq!(sorted_lines(dir.path(), "o.csv"), ["a,1,1", "b,1,1"]);
    let step = aside
        .manifest
        .steps
        .iter()
        .find(|s| s.node == "n")
        .expect("the step");
    assert_eq!(
        (step.rows_in[0].received, step.rows_out, step.quarantined),
        (5, 2, 1)
    );
    let only_unknown = lines("shop,day\nz,9\n", &pivot("ignore")).await;
    assert_eq!(only_unknown, ["shop,1,2", "z,0,0"], "its group stays");
    let null = {
        let dir = tempfile::tempdir().expect("a folder");
        write(dir.path(), "p.csv", "shop,day\na,\na,1\n");
        refused(dir.path(), &node(&pivot("fail"))).await
    };
    assert_eq!(null.code(), Code::E1001, "NULL is a value like others: {null:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pivots_that_cannot_be_are_refused() {
    for (text, code, named) in [
        (
            "pivot: {input: p, column: wrd, values: [x], cell: count(*)}",
            Code::E0401,
            "wrd",
        ),
        (
            "pivot: {input: p, column: word, values: [x, x], cell: count(*)}",
            Code::E0406,
            "x",
        ),
        (
            "pivot: {input: p, column: word, values: [1], cell: count(*)}",
            Code::E0402,
            "word",
        ),
        (
            "pivot: {input: p, column: day, values: ['1'], cell: count(*)}",
            Code::E0402,
            "day",
        ),
        (
            "pivot: {input: p, column: day, values: [1.5], cell: count(*)}",
            Code::E0402,
            "day",
        ),
        (
            "pivot: {input: p, group_by: [shop], column: word, values: [shop], cell: count(*)}",
            Code::E0406,
            "shop",
        ),
        (
            "pivot: {input: p, column: word, values: [], cell: count(*)}",
            Code::E0409,
            "",
        ),
        (
            "pivot: {input: p, column: word, values: [x], cell: 1 + count(*)}",
            Code::E0103,
            "",
        ),
        (
            "pivot: {input: p, column: word, values: [x], cell: upper(word)}",
            Code::E0802,
            "",
        ),
    ] {
        let error = refusal(SALES, text).await;
        assert_eq!(error.code(), code, "{text}: {error:?}");
        assert!(error.message().contains(named), "{text}: {error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unpivot_makes_one_row_per_column_in_a_type_that_holds_all() {
    let csv = "id,a,b,c\n1,10,2.5,x\n2,,7,y\n";
    let typed = |node: &str| {
        document(&format!(
            "  k: {{cast: {{input: p, columns: {{a: int, b: 'decimal(10,2)'}}}}}}\n  n: {{{node}}}"
        ))
    };
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), "p.csv", csv);
    let error = refused(dir.path(), &typed("unpivot: {input: k, columns: [a, c]}")).await;
    assert_eq!(
        (error.code(), error.node()),
        (Code::E0402, Some("n")),
        "{error:?}"
    );
    let numbers = written(
        dir.path(),
        &typed("unpivot: {input: k, columns: [a, b], name: what, value: n}"),
    )
    .await;
    assert_eq!(
        numbers,
        ["id,c,what,n", "1,x,a,10.00", "1,x,b,2.50", "2,y,b,7.00"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unpivot_leaves_nulls_out_unless_asked() {
    let csv = "id,a,b\n1,10,20\n2,,7\n3,,\n";
    let without = lines(csv, "unpivot: {input: p, columns: [a, b], name: what, value: n}").await;
    assert_eq!(without, ["id,what,n", "1,a,10", "1,b,20", "2,b,7"]);
    let with = lines(csv, "unpivot: {input: p, columns: [b, a], include_nulls: true}").await;
    assert_eq!(
        with,
        [
            "id,name,value",
            "1,a,10",
            "1,b,20",
            "2,a,",
            "2,b,7",
            "3,a,",
            "3,b,"
        ]
    );
    let back = {
        let dir = tempfile::tempdir().expect("a folder");
        write(dir.path(), "p.csv", csv);
        written(
            dir.path(),
            &document(
                "  u: {unpivot: {input: p, columns: [a, b]}}\n  n: {pivot: {input: u, group_by: [id], column: name, values: [a, b], cell: max(value)}}",
            ),
        )
        .await
    };
    assert_eq!(back, ["id,a,b", "1,10,20", "2,,7"]);
    assert_eq!(
        lines("id,a,b\n", "unpivot: {input: p, columns: [a, b]}")
            .await
            .len(),
        1,
        "no rows of none"
    );
    for (text, code) in [
        ("unpivot: {input: p, columns: [a, bb]}", Code::E0401),
        ("unpivot: {input: p, columns: [a, a]}", Code::E0406),
        ("unpivot: {input: p, columns: [a, b], name: id}", Code::E0406),
        (
            "unpivot: {input: p, columns: [a, b], name: x, value: x}",
            Code::E0406,
        ),
        ("unpivot: {input: p, columns: []}", Code::E0409),
    ] {
        let error = refusal(csv, text).await;
        assert_eq!(error.code(), code, "{text}: {error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_become_rows_with_their_places() {
    let lists = "  l: {sql: \"select id, case when id = 3 then null when id = 2 then array_remove(make_array(id), id) else make_array(id * 10, null, id) end as items from p\"}\n";
    let exploded = |keys: &str| {
        document(&format!(
            "{lists}  n: {{flatten: {{input: l, explode: items{keys}}}}}"
        ))
    };
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), "p.csv", "id\n1\n2\n3\n");
    let inner = written(dir.path(), &exploded("")).await;
    assert_eq!(inner, ["id,items", "1,", "1,1", "1,10"]);
    let outer = written(dir.path(), &exploded(", outer: true, ordinal: nth")).await;
    assert_eq!(outer, ["id,items,nth", "1,,2", "1,1,3", "1,10,1", "2,,", "3,,"]);
    let placed = written(dir.path(), &exploded(", ordinal: nth")).await;
    assert_eq!(placed, ["id,items,nth", "1,,2", "1,1,3", "1,10,1"]);
    for (keys, code) in [(", ordinal: id", Code::E0406), (", unpack: {id: x}", Code::E0402)] {
        let dir = tempfile::tempdir().expect("a folder");
        write(dir.path(), "p.csv", "id\n1\n");
        let error = refused(dir.path(), &exploded(keys)).await;
        assert_eq!((error.code(), error.node()), (code, Some("n")), "{error:?}");
    }
    for (text, code) in [
        ("flatten: {input: p, explode: id}", Code::E0402),
        ("flatten: {input: p, explode: idd}", Code::E0401),
        ("flatten: {input: p}", Code::E0103),
        ("flatten: {input: p, outer: true}", Code::E0103),
        ("flatten: {input: p, unpack: {id: x}}", Code::E0402),
    ] {
        assert_eq!(refusal("id\n1\n", text).await.code(), code, "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn structs_become_columns_and_a_null_struct_has_null_fields() {
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), "p.csv", "id,a\n1,x\n2,y\n");
    let structs = "  s: {sql: \"select id, case when id = 1 then named_struct('id', id * 10, 'deep', named_struct('word', a)) end as s from p\"}\n";
    let yaml = document(&format!(
        "{structs}  m: {{flatten: {{input: s, unpack: {{s: s_}}}}}}\n  n: {{flatten: {{input: m, unpack: {{s_deep: ''}}}}}}"
    ));
    assert_eq!(
        written(dir.path(), &yaml).await,
        ["id,s_id,word", "1,10,x", "2,,"]
    );
    let twice = document(&format!(
        "{structs}  n: {{flatten: {{input: s, unpack: {{s: ''}}}}}}"
    ));
    assert_eq!(
        run(dir.path(), &twice).await.error.map(|e| e.code()),
        Some(Code::E0406)
    );
    let both = document(
        "  l: {sql: \"select id, make_array(named_struct('w', a), named_struct('w', 'z')) as items from p\"}\n  n: {flatten: {input: l, explode: items, unpack: {items: item_}}}",
    );
    assert_eq!(
        written(dir.path(), &both).await,
        ["id,item_w", "1,x", "1,z", "2,y", "2,z"]
    );
}

const DOCS: &str = "id,doc\n1,\"{\"\"who\"\": {\"\"name\"\": \"\"Ann\"\"}, \"\"n\"\": 12345678901234567890.10, \"\"tags\"\": [\"\"a\"\", null, \"\"b\"\"]}\"\n2,\"{\"\"n\"\": 7, \"\"tags\"\": []}\"\n3,\n";

#[tokio::test(flavor = "multi_thread")]
async fn json_text_becomes_typed_columns_and_its_arrays_rows() {
    let columns = lines(
        DOCS,
        "flatten: {input: p, json: {column: doc, keep: false, fields: {name: {path: who.name, type: text}, n: 'decimal(30,2)', second: {path: 'tags[1]', type: text}, tags: json}}}",
    )
    .await;
    assert_eq!(
        columns,
        [
            "id,name,n,second,tags",
            "1,Ann,12345678901234567890.10,,\"[\"\"a\"\", null, \"\"b\"\"]\"",
            "2,,7.00,,[]",
            "3,,,,"
        ]
    );
    let rows = lines(
        DOCS,
        "flatten: {input: p, json: {column: doc, keep: false, fields: {tags: 'text[]'}}, explode: tags, ordinal: nth}",
    )
    .await;
    assert_eq!(rows, ["id,tags,nth", "1,,2", "1,a,1", "1,b,3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn json_that_does_not_convert_fails_nulls_or_is_set_aside() {
    let csv = "id,doc\n1,\"{\"\"n\"\": 1}\"\n2,\"{\"\"n\"\": 1.5}\"\n3,oops\n4,\"{\"\"n\"\": {}}\"\n5,null\n";
    let flatten = |on_error: &str| {
        format!(
            "flatten: {{input: p, json: {{column: doc, keep: false, fields: {{n: bigint}}, on_error: {on_error}}}}}"
        )
    };
    let error = refusal(csv, &flatten("fail")).await;
    assert_eq!(error.code(), Code::E0404, "{error:?}");
    assert!(!format!("{error:?}").contains("oops"), "{error:?}");
    assert_eq!(
        lines(csv, &flatten("null")).await,
        ["id,n", "1,1", "2,", "3,", "4,", "5,"]
    );
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), "p.csv", csv);
    let outcome = succeed(dir.path(), &node(&flatten("quarantine"))).await;
    assert_eq!(sorted_lines(dir.path(), "o.csv"), ["1,1", "5,"]);
    let step = outcome
        .manifest
        .steps
        .iter()
        .find(|s| s.node == "n")
        .expect("the step");
    assert_eq!((step.rows_out, step.quarantined), (2, 3));
    for (fields, code) in [
        ("{n: bigint, n2: {path: 'a..b', type: text}}", Code::E0103),
        ("{n: 'bigint[]'}", Code::E0103),
        ("{n: bigant}", Code::E0103),
        ("{id: bigint}", Code::E0406),
        ("{}", Code::E0409),
    ] {
        let text = format!("flatten: {{input: p, json: {{column: doc, fields: {fields}}}}}");
        assert_eq!(refusal(csv, &text).await.code(), code, "{text}");
    }
    let number = refusal(csv, "flatten: {input: p, json: {column: id, fields: {a: text}}}").await;
    assert_eq!(number.code(), Code::E0402);
}
