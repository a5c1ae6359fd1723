//! Values that must not change on their way: overflow, sums, text that is really a number, casts that lose, checks
//! whose input nobody reads to the end.
//!
//! File to file, so no server is needed; what only a database's columns carry is tested in `crates/plan`.

use synqx_engine::RunOutcome;
use synqx_model::{Code, Error};

use crate::setting::{read, run, sorted_lines, succeed, write};

const CONNECTIONS: &str = "name: t\nconnections: {d: {type: local_file, path: .}}\nnodes:\n";

/// A document over `p.csv` (node `p`) with more nodes, whose node `n` is loaded.
fn document(nodes: &str) -> String {
    format!(
        "{CONNECTIONS}  p: {{extract: {{from: d, asset: p.csv}}}}\n{nodes}\n  out: {{load: {{input: n, to: d, asset: o.csv, write: replace}}}}\n"
    )
}

/// Runs one node `n` over a CSV file and returns the lines written.
async fn lines(csv: &str, node: &str) -> Vec<String> {
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), "p.csv", csv);
    let outcome = succeed(dir.path(), &document(&format!("  n: {{{node}}}"))).await;
    outcome.manifest.verify().expect("sums close");
    sorted_lines(dir.path(), "o.csv")
}

/// Runs one node `n` that must fail, without a file left.
async fn refusal(csv: &str, node: &str) -> Error {
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), "p.csv", csv);
    let outcome = run(dir.path(), &document(&format!("  n: {{{node}}}"))).await;
    assert!(!dir.path().join("o.csv").exists(), "{node}");
    failed(outcome, node)
}

fn failed(outcome: RunOutcome, node: &str) -> Error {
    outcome
        .error
        .unwrap_or_else(|| panic!("the run succeeded: {node}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn integers_that_overflow_are_errors_and_not_other_numbers() {
    let csv = "id,big,neg\n200,9223372036854775807,-9223372036854775808\n";
    for expression in [
        "cast(id as smallint) * cast(id as smallint)",
        "big + id",
        "neg - id",
        "big * 2",
        "9223372036854775807 + id",
        "9223372036854775807 + 1",
        "-neg",
        "case when id > 1 then big + 1 else 0 end",
        "sum(big + id) over ()",
    ] {
        let error = refusal(csv, &format!("map: {{input: p, columns: {{x: '{expression}'}}}}")).await;
        assert_eq!(error.code(), Code::E0404, "{expression}: {error:?}");
        assert_eq!(error.node(), Some("n"), "{expression}: {error:?}");
        assert!(!format!("{error:?}").contains("922337"), "{error:?}");
    }
    for node in [
        "filter: {input: p, where: 'big + id > 0'}",
        "sort: {input: p, by: ['big + id']}",
        "aggregate: {input: p, group_by: ['big + id'], columns: {n: count(*)}}",
        "aggregate: {input: p, columns: {m: 'max(big + id)'}}",
        "validate: {input: p, checks: [{check: condition, condition: 'big + id > 0', on_fail: drop}]}",
        "sql: 'select l.id from p l join p r on l.big + l.id < r.big * 2'",
        "sql: 'select id from p where exists (select 1 from p q where q.big + p.id > 0)'",
    ] {
        let error = refusal(csv, node).await;
        assert_eq!(error.code(), Code::E0404, "{node}: {error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn integers_that_fit_compute_as_before() {
    let csv = "id,f\n7,0.5\n,1.5\n";
    let node = "map: {input: p, keep: false, columns: {a: 'id + 1', b: '2 - id', c: 'id * id', d: '-id', e: 'id + f', g: '1 + 2'}}";
    assert_eq!(lines(csv, node).await, [",,,,,3", "8,-5,49,-7,7.5,3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn sums_of_integers_are_exact() {
    let csv = "g,big\na,9223372036854775807\na,9223372036854775807\nb,-9223372036854775808\nb,-1\nc,\n";
    let sums = lines(
        csv,
        "aggregate: {input: p, group_by: [g], columns: {s: sum(big)}}",
    )
    .await;
    assert_eq!(sums, ["a,18446744073709551614", "b,-9223372036854775809", "c,"]);
    let whole = lines(csv, "aggregate: {input: p, columns: {s: sum(big), n: count(*)}}").await;
    assert_eq!(whole, ["9223372036854775805,5"]);
    let distinct = lines(
        csv,
        "aggregate: {input: p, group_by: [g], columns: {s: sum(distinct big), t: sum(big), n: count(distinct big)}}",
    )
    .await;
    assert_eq!(distinct[0], "a,9223372036854775807,18446744073709551614,1");
    let window = lines(
        csv,
        "sql: 'select g, sum(big) over (partition by g order by big rows between 1 preceding and current row) as s from p'",
    )
    .await;
    assert!(
        window.contains(&"a,18446744073709551614".to_owned()),
        "{window:?}"
    );
    let filtered = lines(csv, "sql: 'select sum(big) filter (where big < 0) as s from p'").await;
    assert_eq!(filtered, ["-9223372036854775809"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn sums_have_postgres_types_and_decimals_do_not_wrap() {
    let csv = "id,d\n1,99999999999999999999999999999999999999\n2,99999999999999999999999999999999999999\n";
    for (argument, expected) in [
        ("cast(id as smallint)", "Int64"),
        ("cast(id as int)", "Int64"),
        ("id", "\"Decimal128(38, 0)\""),
        ("cast(id as double)", "Float64"),
    ] {
        let node = format!("sql: 'select arrow_typeof(sum({argument})) as t from p'");
        assert_eq!(lines(csv, &node).await, [expected]);
    }
    let error = refusal(csv, "sql: 'select sum(cast(d as decimal(38,0))) as s from p'").await;
    assert_eq!(error.code(), Code::E0404, "{error:?}");
    let read_back = read_sum(csv).await;
    assert_eq!(read_back, "s\n3\n");
}

async fn read_sum(csv: &str) -> String {
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), "p.csv", csv);
    succeed(
        dir.path(),
        &document("  n: {sql: 'select sum(distinct id) as s from p'}"),
    )
    .await;
    read(dir.path(), "o.csv")
}

/// Rows 1 to 20000; the last one is 13 too much.
fn many() -> String {
    let mut csv = "id,v\n".to_owned();
    for id in 1..20_000 {
        csv.push_str(&format!("{id},{}\n", id % 7));
    }
    csv + "20000,20\n"
}

const STOPPERS: [&str; 6] = [
    "  n: {sql: 'select * from c limit 1'}",
    "  e: {extract: {from: d, asset: e.csv, options: {columns: {id: bigint}}}}\n  n: {join: {left: c, right: e, on: [id]}}",
    "  e: {extract: {from: d, asset: e.csv, options: {columns: {id: bigint}}}}\n  n: {join: {left: c, right: e, on: [id], how: semi}}",
    "  m: {map: {input: c, columns: {w: 'v + 1'}}}\n  n: {sql: 'select * from m limit 1'}",
    "  n: {filter: {input: c, where: '1 = 0'}}",
    "  e: {extract: {from: d, asset: e.csv, options: {columns: {id: bigint}}}}\n  n: {sql: 'select * from e where exists (select 1 from c where c.id = e.id)'}",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_row_is_found_although_nobody_reads_so_far() {
    for stopper in STOPPERS {
        let dir = tempfile::tempdir().expect("a folder");
        write(dir.path(), "p.csv", &many());
        write(dir.path(), "e.csv", "id,x\n");
        let check = "  c: {validate: {input: p, checks: [{column: v, check: range, max: 10}]}}";
        let outcome = run(dir.path(), &document(&format!("{check}\n{stopper}"))).await;
        let error = failed(outcome, stopper);
        assert_eq!(error.code(), Code::E1001, "{stopper}: {error:?}");
        assert!(!dir.path().join("o.csv").exists(), "{stopper}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quarantine_gets_every_failing_row_although_nobody_reads_so_far() {
    let checks = [
        "  c: {validate: {input: p, checks: [{column: v, check: range, max: 10, on_fail: quarantine}]}}",
        "  x: {map: {input: p, columns: {v: \"case when v > 10 then 'x' else '1' end\"}}}\n  c: {cast: {input: x, columns: {v: bigint}, on_error: quarantine}}",
    ];
    for (check, stopper) in checks
        .iter()
        .flat_map(|check| STOPPERS.map(|stopper| (check, stopper)))
    {
        let dir = tempfile::tempdir().expect("a folder");
        write(dir.path(), "p.csv", &many());
        write(dir.path(), "e.csv", "id,x\n");
        let outcome = succeed(dir.path(), &document(&format!("{check}\n{stopper}"))).await;
        outcome.manifest.verify().expect("sums close");
        let step = outcome
            .manifest
            .steps
            .iter()
            .find(|s| s.node == "c")
            .expect("the step");
        assert_eq!((step.rows_out, step.quarantined), (19_999, 1), "{stopper}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_directly_before_a_load_is_not_kept_on_disk() {
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), "p.csv", "id,v\n1,2\n");
    let check = "  c: {validate: {input: p, checks: [{column: v, check: range, max: 10}]}}\n  f: {filter: {input: c, where: 'v > 1'}}\n  n: {map: {input: f, columns: {w: 'v + 1'}}}";
    let outcome = succeed(dir.path(), &document(check)).await;
    assert!(
        outcome.manifest.steps.iter().all(|s| !s.node.contains('→')),
        "{:?}",
        outcome.manifest.steps
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_format_keeps_offset_time_and_digits_or_says_no() {
    let cast = |kind: &str, format: &str, on_error: &str| {
        format!(
            "cast: {{input: p, columns: {{t: {{type: {kind}, format: '{format}'}}}}, on_error: {on_error}}}"
        )
    };
    let csv = "id,t\n1,x2024-01-02 03:04:05+0200\n";
    let read = lines(csv, &cast("timestamptz", "x%Y-%m-%d %H:%M:%S%z", "fail")).await;
    assert_eq!(read, ["1,2024-01-02T01:04:05Z"]);
    let csv_12 = "id,t\n1,x01/02/2024 03:04:05\n";
    for (csv, kind, format) in [
        (csv, "timestamp", "x%Y-%m-%d %H:%M:%S%z"),
        (csv_12, "timestamp", "x%m/%d/%Y %I:%M:%S"),
        (csv_12, "timestamp", "x%d/%m"),
    ] {
        let error = refusal(csv, &cast(kind, format, "fail")).await;
        assert_eq!(
            (error.code(), error.node()),
            (Code::E0103, Some("n")),
            "{error:?}"
        );
    }
    let csv = "id,t\n1,x2024-01-02 03:04:05.1234567\n2,x2024-01-02 03:04:05.1234560\n";
    let format = "x%Y-%m-%d %H:%M:%S%.f";
    let error = refusal(csv, &cast("timestamp", format, "fail")).await;
    assert_eq!(error.code(), Code::E1001, "{error:?}");
    let read = lines(csv, &cast("timestamp", format, "\"null\"")).await;
    assert_eq!(read, ["1,", "2,2024-01-02 03:04:05.123456"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cast_node_loses_nothing_silently() {
    let csv = "id,f,t\n1,1.9,12.345\n2,2.0,12.34\n";
    let cast = |columns: &str, on_error: &str| {
        format!("cast: {{input: p, columns: {{{columns}}}, on_error: {on_error}}}")
    };
    for columns in ["f: bigint", "t: 'decimal(10,2)'", "f: int"] {
        let error = refusal(csv, &cast(columns, "fail")).await;
        assert_eq!(
            (error.code(), error.node()),
            (Code::E0404, Some("n")),
            "{columns}: {error:?}"
        );
        assert!(!format!("{error:?}").contains("1.9"), "{error:?}");
    }
    let nulls = lines(csv, &cast("f: bigint, t: 'decimal(10,2)'", "\"null\"")).await;
    assert_eq!(nulls, ["1,,", "2,2,12.34"]);
    let kept = lines(csv, &cast("f: bigint", "quarantine")).await;
    assert_eq!(kept, ["2,2,12.34"]);
    let big = "id\n9007199254740993\n9007199254740992\n";
    assert_eq!(
        lines(big, &cast("id: double", "quarantine")).await,
        ["9007199254740992.0"]
    );
    let text = "id\nx12.345\nx12.340\n";
    let node = "sql: 'select cast(substr(id, 2) as decimal(10,2)) as d, cast(2.5 as bigint) as h from p'";
    let rounded = lines(text, node).await;
    assert_eq!(rounded, ["12.34,2", "12.35,2"], "decimals round, floats are cut");
}

/// A SQLite table with a number of any size, which travels as text, and one node `n` over it.
fn numeric_document(dir: &std::path::Path, nodes: &str) -> String {
    let db = rusqlite::Connection::open(dir.join("s.db")).expect("a database");
    db.execute_batch("create table t (id integer, price numeric_text); insert into t values (1, '10'), (2, '9'), (3, '9.0')")
        .expect("a table");
    format!(
        "name: t\nconnections: {{d: {{type: local_file, path: .}}, s: {{type: sqlite, path: ./s.db}}}}\nnodes:\n  p: {{extract: {{from: s, asset: t}}}}\n{nodes}\n  out: {{load: {{input: n, to: d, asset: o.csv, write: replace}}}}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_travels_as_text_is_not_compared_as_text() {
    for node in [
        "sort: {input: p, by: [price]}",
        "sort: {input: p, by: ['price desc']}",
        "filter: {input: p, where: 'price > 9'}",
        "filter: {input: p, where: \"price = '9'\"}",
        "filter: {input: p, where: \"price in ('9', '10')\"}",
        "filter: {input: p, where: 'price between 1 and 9'}",
        "map: {input: p, columns: {x: 'price + 1'}}",
        "map: {input: p, columns: {x: 'greatest(price, price)'}}",
        "aggregate: {input: p, columns: {m: max(price)}}",
        "aggregate: {input: p, columns: {m: min(price)}}",
        "aggregate: {input: p, columns: {m: count(distinct price)}}",
        "aggregate: {input: p, group_by: [price], columns: {m: count(*)}}",
        "deduplicate: {input: p, key: [price]}",
        "deduplicate: {input: p}",
        "deduplicate: {input: p, key: [id], order_by: [price]}",
        "validate: {input: p, checks: [{column: price, check: unique}]}",
        "validate: {input: p, checks: [{column: price, check: range, min: 1}]}",
        "validate: {input: p, checks: [{column: price, check: accepted_values, values: ['9']}]}",
        "fill_nulls: {input: p, columns: {price: '0'}}",
        "switch: {input: p, cases: [{when: 'price > 9', to: a}]}",
        "sql: 'select row_number() over (order by price) as r from p'",
        "sql: 'select row_number() over (partition by price order by id) as r from p'",
        "sql: 'select distinct price from p'",
        "sql: 'select l.id from p l join p r on l.price = r.price'",
        "sql: 'select l.id from p l join p r using (price)'",
        "sql: 'select id from p where exists (select 1 from p q where q.price = p.price)'",
        "sql: \"select id from p where '9' in (select price from p)\"",
        "sql: 'select id from (select id, price as x from p) q where x > 5'",
        "sql: 'with w as (select * from p) select max(price) as m from w'",
        "sql: 'select price from p union select price from p'",
    ] {
        let dir = tempfile::tempdir().expect("a folder");
        let mut yaml = numeric_document(dir.path(), &format!("  n: {{{node}}}"));
        if node.starts_with("switch") {
            yaml = yaml.replace("input: n,", "input: n.a,");
        }
        let error = failed(run(dir.path(), &yaml).await, node);
        assert_eq!(
            (error.code(), error.node()),
            (Code::E0402, Some("n")),
            "{node}: {error:?}"
        );
        assert!(
            error.hint().is_some_and(|hint| hint.contains("cast")),
            "{error:?}"
        );
    }
    let renamed = "  m: {rename: {input: p, columns: {price: cost}}}\n  k: {filter: {input: m, where: 'id > 0'}}\n  n: {sort: {input: k, by: [cost]}}\n  o: {sort: {input: k, by: [id]}}\n  l: {load: {input: o, to: d, asset: l.csv, write: replace}}";
    let dir = tempfile::tempdir().expect("a folder");
    let error = failed(
        run(dir.path(), &numeric_document(dir.path(), renamed)).await,
        renamed,
    );
    assert_eq!(
        (error.code(), error.node()),
        (Code::E0402, Some("n")),
        "behind an exchange: {error:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_travels_as_text_passes_and_is_cast() {
    for (nodes, expected) in [
        (
            "  n: {filter: {input: p, where: 'price is not null and id > 1'}}",
            "2,9|3,9.0",
        ),
        ("  n: {sort: {input: p, by: [id desc]}}", "1,10|2,9|3,9.0"),
        ("  n: {deduplicate: {input: p, key: [id]}}", "1,10|2,9|3,9.0"),
        ("  n: {aggregate: {input: p, columns: {n: count(price)}}}", "3"),
        ("  n: {sql: 'select id, price as x from p'}", "1,10|2,9|3,9.0"),
        ("  n: {fill_nulls: {input: p, value: none}}", "1,10|2,9|3,9.0"),
        (
            "  n: {validate: {input: p, checks: [{column: price, check: not_null}]}}",
            "1,10|2,9|3,9.0",
        ),
        (
            "  n: {sql: 'select max(cast(price as decimal(10,2))) as m from p'}",
            "10.00",
        ),
        (
            "  k: {cast: {input: p, columns: {price: 'decimal(10,2)'}}}\n  n: {filter: {input: k, where: 'price > 9'}}",
            "1,10.00",
        ),
        (
            "  k: {cast: {input: p, columns: {price: bigint}, on_error: quarantine}}\n  n: {filter: {input: k, where: 'price > 9'}}",
            "1,10",
        ),
    ] {
        let dir = tempfile::tempdir().expect("a folder");
        let yaml = numeric_document(dir.path(), nodes);
        succeed(dir.path(), &yaml).await;
        let lines = sorted_lines(dir.path(), "o.csv").join("|");
        assert_eq!(lines, expected, "{nodes}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unions_and_join_keys_mix_no_types_that_lose() {
    let nodes = |left: &str, right: &str, operator: &str| {
        format!(
            "{CONNECTIONS}  p: {{extract: {{from: d, asset: p.csv}}}}\n  a: {{map: {{input: p, keep: false, columns: {{k: '{left}', x: id}}}}}}\n  b: {{map: {{input: p, keep: false, columns: {{k: '{right}', y: id}}}}}}\n  n: {{{operator}}}\n  out: {{load: {{input: n, to: d, asset: o.csv, write: replace}}}}\n"
        )
    };
    let operators = [
        "union: {inputs: [a, b]}",
        "union: {inputs: [a, b], by: position}",
        "join: {left: a, right: b, on: [k]}",
    ];
    let stamp = "timestamp \"2024-01-02 03:04:05\"".replace('"', "''");
    let zoned = format!("arrow_cast({stamp}, ''Timestamp(Microsecond, Some(\"UTC\"))'')");
    let refused = [
        ("9007199254740993", "cast(id as double)"),
        (stamp.as_str(), zoned.as_str()),
        ("cast(id as text)", "id"),
        ("cast(id as decimal(10,2))", "cast(id as double)"),
        ("date ''2024-01-02''", stamp.as_str()),
    ];
    for ((left, right), operator) in refused.iter().flat_map(|pair| operators.map(|o| (pair, o))) {
        let dir = tempfile::tempdir().expect("a folder");
        write(dir.path(), "p.csv", "id\n1\n");
        let yaml = nodes(left, right, operator);
        let error = failed(run(dir.path(), &yaml).await, &yaml);
        assert_eq!(
            (error.code(), error.node()),
            (Code::E0402, Some("n")),
            "{yaml}{error:?}"
        );
        assert!(
            error.hint().is_some_and(|hint| hint.contains("cast")),
            "{error:?}"
        );
    }
    let kept = [
        ("cast(id as int)", "id", "1|1"),
        ("cast(id as int)", "cast(id as double)", "1.0|1.0"),
        (
            "cast(id as decimal(5,1))",
            "cast(id as decimal(8,3))",
            "1.000|1.000",
        ),
        ("cast(id as decimal(5,1))", "id", "1.0|1.0"),
        ("null", "id", "|1"),
    ];
    for (left, right, expected) in kept {
        let dir = tempfile::tempdir().expect("a folder");
        write(dir.path(), "p.csv", "id\n1\n");
        succeed(dir.path(), &nodes(left, right, operators[0])).await;
        let lines = sorted_lines(dir.path(), "o.csv");
        let keys: Vec<&str> = lines
            .iter()
            .map(|line| line.split(',').next().unwrap_or_default())
            .collect();
        assert_eq!(keys.join("|"), expected, "{left} {right}");
        succeed(dir.path(), &nodes(left, right, operators[2])).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_hold_no_row_value() {
    let csv = "id,v\n4111,O'Brien 4111222233334444\n";
    for expression in [
        "cast(v as bigint)",
        "cast(v as date)",
        "cast(v as timestamp)",
        "cast(v as decimal(10,2))",
        "arrow_cast(id, ''Int8'')",
        "cast(id as decimal(3,1))",
        "id / (id - 4111)",
        "to_timestamp(v)",
        "regexp_like(v, v || ''('')",
        "chr(id * 1000000)",
    ] {
        let error = refusal(csv, &format!("map: {{input: p, columns: {{x: '{expression}'}}}}")).await;
        let shown = format!("{error:?} {error}");
        for secret in ["4111", "Brien"] {
            let said = shown.replace(expression, "");
            assert!(!said.contains(secret), "{expression}: {shown}");
        }
        assert!(
            matches!(error.code(), Code::E0404 | Code::E0803),
            "{expression}: {error:?}"
        );
        assert_eq!(error.node(), Some("n"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_float_in_a_union_of_sql_stays_what_it_is() {
    let csv = "id\n7\n";
    let node = "sql: 'select cast(23804580.2 as double) as t from p union all select sum(id) from p'";
    assert_eq!(lines(csv, node).await, ["23804580.2", "7.0"]);
    let node = "sql: 'select sum(id) as t from p union all select 0.5 from p order by 1'";
    assert_eq!(lines(csv, node).await, ["0.5", "7.0"]);
}
