//! Data quality: what each check takes and refuses, thresholds and levels, what the quarantine holds, sums that close.
//!
//! Most checks are judged in one run over one small table, as users do it; the quarantine says which row failed which
//! rule. The property test knows the rules by itself and compares.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use arrow::array::{AsArray, RecordBatch};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use proptest::prelude::*;
use synqx_engine::RunOutcome;
use synqx_model::Code;
use synqx_model::manifest::{CheckRecord, Level};

use crate::setting::{files_below, read, run, sorted_lines, succeed, write};

/// A document that validates `p.csv` with these columns into `o.csv`.
fn document(columns: &str, checks: &str) -> String {
    format!(
        "name: q\nconnections: {{d: {{type: local_file, path: .}}}}\nnodes:\n  p: {{extract: {{from: d, asset: p.csv, options: {{columns: {{{columns}}}}}}}}}\n  v:\n    validate:\n      input: p\n      checks:\n{checks}  out: {{load: {{input: v, to: d, asset: o.csv, write: replace}}}}\n"
    )
}

/// Each as a line of a document.
fn lines(checks: &[&str]) -> String {
    checks
        .iter()
        .map(|check| format!("        - {{{check}}}\n"))
        .collect()
}

fn quarantined(dir: &Path) -> Vec<RecordBatch> {
    let files = files_below(&dir.join(".synqx/quarantine"));
    let mut batches = Vec::new();
    for file in files.iter().filter(|file| file.ends_with(".parquet")) {
        let file = std::fs::File::open(dir.join(".synqx/quarantine").join(file)).expect("a file");
        let reader = ParquetRecordBatchReaderBuilder::try_new(file)
            .expect("parquet")
            .build()
            .expect("parquet");
        batches.extend(reader.map(|batch| batch.expect("rows")));
    }
    batches
}

fn texts(batch: &RecordBatch, column: &str) -> Vec<String> {
    let column = batch
        .column_by_name(column)
        .unwrap_or_else(|| panic!("no column {column}"));
    let column = arrow::compute::cast(column, &arrow::datatypes::DataType::Utf8).expect("text");
    column
        .as_string::<i32>()
        .iter()
        .map(|text| text.unwrap_or("NULL").to_owned())
        .collect()
}

/// Rule → ids of the rows that failed it.
fn failures(dir: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for batch in quarantined(dir) {
        for (id, rules) in texts(&batch, "id").into_iter().zip(texts(&batch, "_synqx_rules")) {
            for rule in rules.split("; ") {
                found.entry(rule.to_owned()).or_default().insert(id.clone());
            }
        }
    }
    found
}

fn checks(outcome: &RunOutcome) -> Vec<CheckRecord> {
    let step = outcome
        .manifest
        .steps
        .iter()
        .find(|step| step.node == "v")
        .expect("the node");
    step.checks.clone()
}

/// Runs checks that set rows aside and compares the ids that failed each.
async fn judged(columns: &str, rows: &str, expected: &[(&str, &str)]) {
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), "p.csv", rows);
    let named = expected
        .iter()
        .enumerate()
        .map(|(i, (check, _))| format!("        - {{name: r{i}, on_fail: quarantine, {check}}}\n"));
    let yaml = document(columns, &named.collect::<String>());
    let outcome = succeed(dir.path(), &yaml).await;
    outcome.manifest.verify().expect("sums close");
    let found = failures(dir.path());
    for (i, (check, ids)) in expected.iter().enumerate() {
        let ids: BTreeSet<String> = ids.split_whitespace().map(str::to_owned).collect();
        let rule = format!("r{i}");
        assert_eq!(found.get(&rule).cloned().unwrap_or_default(), ids, "{check}");
    }
}

const TEXTS: &str = "id,t\n1,abc\n2,\n3,\"\"\n4,\"  \"\n5,Ünï\n6,N/A\n7,a_c\n8,\"{\"\"a\"\": 1}\"\n9,2024-02-30\n10,12.50\n11,29/02/2024\n";

#[tokio::test(flavor = "multi_thread")]
async fn texts_are_judged_as_they_stand() {
    judged(
        "id: bigint, t: text",
        TEXTS,
        &[
            ("column: t, check: not_null", "2"),
            ("column: t, check: missing, values: ['N/A', '']", "2 3 6"),
            (
                "column: t, check: missing, values: ['N/A'], pattern: '^ *$'",
                "2 3 4 6",
            ),
            ("column: t, check: not_empty_string", "3"),
            (
                "column: t, check: not_empty_string, trim: true, null_passes: false",
                "2 3 4",
            ),
            ("column: t, check: length, min: 3, max: 3", "3 4 8 9 10 11"),
            (
                "column: t, check: regex, pattern: '^[a-c_]+$'",
                "3 4 5 6 8 9 10 11",
            ),
            ("column: t, check: not_regex, pattern: '^[a-c_]+$'", "1 7"),
            (
                "column: t, check: not_regex, pattern: '^[a-c_]+$', null_passes: false",
                "1 2 7",
            ),
            ("column: t, check: like, pattern: 'a_c'", "3 4 5 6 8 9 10 11"),
            ("column: t, check: like, pattern: 'a\\_c'", "1 3 4 5 6 8 9 10 11"),
            ("column: t, check: json", "1 3 4 5 6 7 9 11"),
            (
                "column: t, check: date_format, format: '%d/%m/%Y'",
                "1 3 4 5 6 7 8 9 10",
            ),
            (
                "column: t, check: format, format: iso_date",
                "1 3 4 5 6 7 8 9 10 11",
            ),
            (
                "column: t, check: castable, type: 'decimal(4,2)'",
                "1 3 4 5 6 7 8 9 11",
            ),
            (
                "column: t, check: castable, type: int, null_passes: false",
                "1 2 3 4 5 6 7 8 9 10 11",
            ),
            (
                "column: t, check: fits_decimal, precision: 4, scale: 1",
                "1 3 4 5 6 7 8 9 11",
            ),
            (
                "column: t, check: accepted_values, values: [abc, Ünï]",
                "3 4 6 7 8 9 10 11",
            ),
            ("column: t, check: rejected_values, values: [abc, Ünï]", "1 5"),
            ("column: t, check: type, type: text", ""),
            ("check: condition, condition: \"t <> 'abc'\"", "1 2"),
            (
                "check: condition, condition: \"t <> 'abc'\", null_passes: true",
                "1",
            ),
            ("column: t, check: required_if, when: 'id < 3'", "2"),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_are_judged_exactly() {
    let rows = "id,n,m,f,d\n1,5,5,0.5,1.25\n2,-1,0,-0.0,0.00\n3,,1,NaN,\n4,0,9223372036854775807,1e300,99999999.99\n5,10,-10,0.0,-0.01\n";
    judged(
        "id: bigint, n: smallint, m: bigint, f: double, d: 'decimal(10,2)'",
        rows,
        &[
            ("column: n, check: range, min: 0, max: 10", "2"),
            (
                "column: n, check: range, min: 0, max: 10, exclusive: true",
                "2 4 5",
            ),
            ("column: n, check: range, min: 0, max: 10, exclusive: max", "2 5"),
            ("column: n, check: range, min: -0.5, max: 100000", "2"),
            ("column: n, check: range, min: 0, null_passes: false", "2 3"),
            ("column: n, check: positive", "2 4"),
            ("column: n, check: non_negative", "2"),
            ("column: f, check: non_negative", "3"),
            ("column: f, check: positive", "2 3 5"),
            ("column: f, check: range, min: 0", "3"),
            ("column: f, check: range, max: 0, exclusive: max", "1 2 3 4 5"),
            ("column: f, check: range, min: 0, max: 0", "1 3 4"),
            ("column: f, check: accepted_values, values: [0, 0.5]", "3 4"),
            ("column: d, check: range, min: 0, max: 1.255", "4 5"),
            ("column: d, check: range, max: '99999999.98'", "4"),
            (
                "column: d, check: accepted_values, values: [1.25, '99999999.99']",
                "2 5",
            ),
            ("column: d, check: fits_decimal, precision: 3, scale: 1", "1 4 5"),
            ("column: m, check: castable, type: smallint", "4"),
            ("column: n, check: compare, operator: '>', other: m", "1 2 4"),
            (
                "column: n, check: compare, operator: '=', other: m, null_passes: false",
                "2 3 4 5",
            ),
            ("columns: [n, m], check: sum_equals, value: 10", "2 4 5"),
            (
                "columns: [n, m], check: sum_equals, value: 0, tolerance: 1",
                "1 4",
            ),
            (
                "columns: [n], check: sum_equals, other: m, null_passes: false",
                "2 3 4 5",
            ),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn times_are_judged_by_the_clock_of_the_run() {
    judged(
        "id: bigint, t: timestamp, z: timestamptz, d: date",
        "id,t,z,d\n1,2000-01-01 00:00:00,2000-01-01 00:00:00Z,2000-01-01\n2,2999-01-01 00:00:00,2999-01-01 00:00:00Z,2999-01-01\n3,,,\n",
        &[
            ("column: t, check: not_in_future", "2"),
            ("column: z, check: not_in_future, null_passes: false", "2 3"),
            ("column: d, check: not_in_future", "2"),
            ("column: d, check: not_before, min: 2000-01-01", ""),
            ("column: d, check: not_before, min: 2000-01-02", "1"),
            ("column: z, check: not_before, max_age: 365d", "1"),
            ("column: d, check: range, min: 2000-01-01, max: 2000-12-31", "2"),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_judged_among_others() {
    judged(
        "id: bigint, k: text, n: bigint",
        "id,k,n\n1,a,1\n2,a,2\n3,b,2\n4,,\n5,,1\n6,c,9\n",
        &[
            ("column: k, check: unique, order_by: [id]", "2"),
            ("column: k, check: unique, reject: all", "1 2"),
            ("columns: [k, n], check: unique", ""),
            ("column: n, check: increasing, order_by: [id]", "5"),
            (
                "column: n, check: increasing, order_by: [id], strict: true",
                "3 5",
            ),
            ("column: n, check: decreasing, order_by: [id]", "2 6"),
        ],
    )
    .await;
}

/// A check, the code it is refused with, and a part of the message.
const REFUSED: [(&str, Code, &str); 20] = [
    ("column: t, check: range, min: 1", Code::E0402, "does not fit"),
    (
        "column: id, check: accepted_values, values: ['x']",
        Code::E0402,
        "does not fit",
    ),
    (
        "column: t, check: accepted_values, values: [1]",
        Code::E0402,
        "does not fit",
    ),
    (
        "column: id, check: accepted_values, values: [1.5]",
        Code::E0402,
        "does not fit",
    ),
    ("column: id, check: length, min: 1", Code::E0402, "is not text"),
    ("column: t, check: positive", Code::E0402, "is not a number"),
    (
        "column: t, check: freshness, max_age: 1d, on_fail: warn",
        Code::E0402,
        "is not a date",
    ),
    (
        "column: t, check: format, format: emial",
        Code::E0103,
        "unknown format",
    ),
    (
        "column: t, check: format, format: email, min: 3",
        Code::E0103,
        "means nothing",
    ),
    (
        "column: t, check: regex, pattern: '('",
        Code::E0103,
        "regular expression",
    ),
    (
        "column: t, check: type, type: bigint",
        Code::E0402,
        "demands bigint",
    ),
    (
        "column: t, check: compare, operator: '<', other: id",
        Code::E0402,
        "`id` is bigint",
    ),
    (
        "column: id, check: compare, operator: '~', other: id",
        Code::E0103,
        "does not compare",
    ),
    ("column: ident, check: not_null", Code::E0401, "`ident`"),
    ("column: id, check: increasing", Code::E0103, "`order_by`"),
    ("column: t, check: not_in_future", Code::E0402, "is not a date"),
    ("columns: [id], check: sum_equals", Code::E0103, "either"),
    (
        "check: row_count, min: 1, on_fail: drop",
        Code::E0103,
        "cannot `drop`",
    ),
    ("check: row_count", Code::E0103, "`min`"),
    (
        "check: condition, condition: 'id > 0', fail_above: 1%",
        Code::E0103,
        "contradict",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_cannot_be_meant_is_refused_before_the_run() {
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), "p.csv", "id,t,f\n1,a,1\n");
    for (check, code, word) in REFUSED {
        let outcome = run(
            dir.path(),
            &document("id: bigint, t: text, f: double", &lines(&[check])),
        )
        .await;
        let error = outcome.error.unwrap_or_else(|| panic!("{check} is accepted"));
        assert_eq!(error.code(), code, "{check}: {error:?}");
        assert!(error.message().contains(word), "{check}: {}", error.message());
        assert!(error.hint().is_some(), "{check}");
    }
}

const TEN: &str = "id\n1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_breaker_sets_rows_aside_up_to_its_threshold_and_then_fails() {
    for (threshold, breaks) in [("20%", false), ("19.9%", true), ("2", false), ("1", true)] {
        let dir = tempfile::tempdir().expect("a folder");
        write(dir.path(), "p.csv", TEN);
        let check = format!("column: id, check: range, min: 3, on_fail: quarantine, fail_above: {threshold}");
        let outcome = run(dir.path(), &document("id: bigint", &lines(&[&check]))).await;
        let record = &checks(&outcome)[0];
        assert_eq!(
            (record.failed_rows, record.judged_rows, record.success),
            (2, 10, false)
        );
        assert!((record.ratio - 0.2).abs() < 1e-9);
        if breaks {
            let error = outcome.error.expect("breaks");
            assert_eq!((error.code(), record.level), (Code::E1001, Level::Fail));
            assert!(
                error
                    .detail()
                    .is_some_and(|text| text.contains("of 10 rows may fail")),
                "{error:?}"
            );
            assert!(!dir.path().join("o.csv").exists(), "nothing is published");
        } else {
            assert!(outcome.error.is_none(), "{threshold}: {:?}", outcome.error);
            assert_eq!(
                (sorted_lines(dir.path(), "o.csv").len(), record.level),
                (8, Level::Warn)
            );
        }
        assert_eq!(
            quarantined(dir.path())
                .iter()
                .map(RecordBatch::num_rows)
                .sum::<usize>(),
            2
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn levels_follow_thresholds_and_not_actions() {
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), "p.csv", TEN);
    let state = async |check: &str| {
        let outcome = succeed(dir.path(), &document("id: bigint", &lines(&[check]))).await;
        (
            outcome.manifest.state.clone(),
            checks(&outcome)[0].level,
            sorted_lines(dir.path(), "o.csv").len(),
        )
    };
    let fails_two = "column: id, check: range, min: 3";
    let plain = "succeeded".to_owned();
    let warned = "succeeded_with_warnings".to_owned();
    assert_eq!(
        state(&format!("{fails_two}, on_fail: observe")).await,
        (plain.clone(), Level::Ok, 10)
    );
    assert_eq!(
        state(&format!("{fails_two}, on_fail: observe, warn_above: 1")).await,
        (warned.clone(), Level::Warn, 10)
    );
    assert_eq!(
        state(&format!("{fails_two}, on_fail: warn")).await,
        (warned.clone(), Level::Warn, 10)
    );
    assert_eq!(
        state(&format!("{fails_two}, on_fail: drop, warn_above: 50%")).await,
        (plain.clone(), Level::Ok, 8)
    );
    assert_eq!(
        state(&format!("{fails_two}, on_fail: quarantine")).await,
        (warned, Level::Warn, 8)
    );
    assert_eq!(
        state("column: id, check: range, min: 1").await,
        (plain, Level::Ok, 10)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_is_judged_in_the_same_pass() {
    let rows = "id,n,t\n1,10,2000-01-01 00:00:00\n2,,2001-01-01 00:00:00\n3,20,\n4,30,\n";
    for (check, holds) in [
        ("check: row_count, min: 4, max: 4", true),
        ("check: row_count, min: 5", false),
        ("column: n, check: null_ratio, max: 0.25", true),
        ("column: n, check: null_ratio, max: 0.25, exclusive: max", false),
        ("column: t, check: null_ratio, max: 0.49", false),
        ("column: n, check: mean, min: 20, max: 20", true),
        ("column: n, check: mean, max: 19.99", false),
        ("column: n, check: minimum, min: 10", true),
        ("column: n, check: minimum, min: 11", false),
        ("column: n, check: maximum, max: 30", true),
        ("column: n, check: maximum, max: 29", false),
        ("column: n, check: sum, min: 60, max: 60", true),
        ("column: n, check: sum, min: 61", false),
        ("column: t, check: freshness, max_age: 20000d", true),
        ("column: t, check: freshness, max_age: 30d", false),
    ] {
        let dir = tempfile::tempdir().expect("a folder");
        write(dir.path(), "p.csv", rows);
        let columns = "id: bigint, n: bigint, t: timestamp";
        let outcome = run(dir.path(), &document(columns, &lines(&[check]))).await;
        assert_eq!(outcome.error.is_none(), holds, "{check}: {:?}", outcome.error);
        assert_eq!(
            dir.path().join("o.csv").exists(),
            holds,
            "{check}: a failed run publishes nothing"
        );
        let record = &checks(&outcome)[0];
        assert_eq!((record.success, record.judged_rows), (holds, 4), "{check}");
        assert!(record.measured.is_some(), "{check}");
        let warned = run(
            dir.path(),
            &document(columns, &lines(&[&format!("{check}, on_fail: warn")])),
        )
        .await;
        assert!(warned.error.is_none(), "{check}");
        assert_eq!(
            checks(&warned)[0].level,
            if holds { Level::Ok } else { Level::Warn },
            "{check}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_table_has_a_stated_result() {
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), "p.csv", "id,t\n");
    for (check, level) in [
        ("column: id, check: not_null", Level::Ok),
        (
            "column: id, check: not_null, on_fail: quarantine, fail_above: 0%",
            Level::Ok,
        ),
        ("check: row_count, min: 1", Level::Fail),
        ("check: row_count, max: 1", Level::Ok),
        ("column: id, check: null_ratio, max: 0", Level::Ok),
        (
            "column: id, check: null_ratio, max: 0, on_empty: fail",
            Level::Fail,
        ),
        ("column: id, check: mean, min: 5, on_empty: warn", Level::Warn),
        ("column: id, check: sum, min: 5", Level::Ok),
        ("column: t, check: freshness, max_age: 1d", Level::Fail),
        (
            "column: t, check: freshness, max_age: 1d, on_empty: pass",
            Level::Ok,
        ),
    ] {
        let outcome = run(
            dir.path(),
            &document("id: bigint, t: timestamp", &lines(&[check])),
        )
        .await;
        assert_eq!(checks(&outcome)[0].level, level, "{check}");
        assert_eq!(outcome.error.is_some(), level == Level::Fail, "{check}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_above_does_not_hide_rows_from_the_table() {
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), "p.csv", TEN);
    let yaml = document("id: bigint", &lines(&["check: row_count, max: 9, on_fail: warn"])).replace(
        "  out: {load: {input: v",
        "  l: {sql: 'select * from v limit 1'}\n  out: {load: {input: l",
    );
    let outcome = succeed(dir.path(), &yaml).await;
    assert_eq!(
        (checks(&outcome)[0].judged_rows, checks(&outcome)[0].level),
        (10, Level::Warn)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_quarantine_says_what_why_where_and_when() {
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), "p.csv", "id,t\n1,a\n,b\n3,c\n,d\n");
    let yaml = document(
        "id: bigint, t: text",
        &lines(&[
            "column: id, check: not_null, on_fail: quarantine",
            "column: t, check: regex, pattern: '^[abc]$', on_fail: warn",
            "column: id, check: not_null, on_fail: quarantine, null_passes: false",
        ])
        .replace(", null_passes: false", ""),
    );
    let outcome = succeed(dir.path(), &yaml).await;
    let batch = &quarantined(dir.path())[0];
    assert_eq!(texts(batch, "t"), ["b", "d"], "the rows as they were");
    assert_eq!(
        texts(batch, "_synqx_rules"),
        [
            "id.not_null; id.not_null.2",
            "id.not_null; t.regex; id.not_null.2"
        ],
        "every rule the row failed, each with an id of its own"
    );
    assert_eq!(
        texts(batch, "_synqx_reasons")[1],
        "id is not NULL; t matches ^[abc]$; id is not NULL"
    );
    assert_eq!(texts(batch, "_synqx_row"), ["0", "1"]);
    assert_eq!(texts(batch, "_synqx_node")[0], "v");
    assert_eq!(texts(batch, "_synqx_source")[0], "d.p.csv");
    assert_eq!(texts(batch, "_synqx_run")[0], outcome.manifest.run.to_string());
    assert_eq!(texts(batch, "_synqx_spec")[0], outcome.manifest.spec_hash);
    assert_eq!(texts(batch, "_synqx_origin")[0], "NULL");
    assert!(texts(batch, "_synqx_at")[0].starts_with("20"));
}

#[tokio::test(flavor = "multi_thread")]
async fn run_json_lists_every_check_with_its_share_and_level() {
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), "p.csv", TEN);
    let checks = lines(&[
        "column: id, check: range, max: 9, on_fail: warn, severity: critical, warn_above: 5%",
        "column: id, check: maximum, max: 5, on_fail: observe",
    ]);
    succeed(dir.path(), &document("id: bigint", &checks)).await;
    let record: serde_json::Value = serde_json::from_str(&read(dir.path(), ".synqx/run.json")).expect("JSON");
    let steps = record["steps"].as_array().expect("steps");
    let step = steps.iter().find(|step| step["node"] == "v").expect("the node");
    let first = &step["checks"][0];
    assert_eq!(
        (first["rule"].as_str(), first["assertion"].as_str()),
        (Some("id.range"), Some("range"))
    );
    assert_eq!(
        (first["level"].as_str(), first["action"].as_str()),
        (Some("warn"), Some("warn"))
    );
    assert_eq!(
        (first["severity"].as_str(), first["warn_above"].as_str()),
        (Some("critical"), Some("5%"))
    );
    assert_eq!(
        (first["ratio"].as_f64(), first["success"].as_bool()),
        (Some(0.1), Some(false))
    );
    let second = &step["checks"][1];
    assert_eq!(
        (second["measured"].as_f64(), second["level"].as_str()),
        (Some(10.0), Some("ok"))
    );
}

/// What a rule of the property test demands, known without the engine.
#[derive(Debug, Clone)]
enum Demand {
    NotNull,
    AtLeast(i64),
    OneOf(Vec<i64>),
    Even,
}

fn demand() -> impl Strategy<Value = Demand> {
    prop_oneof![
        Just(Demand::NotNull),
        (-5i64..5).prop_map(Demand::AtLeast),
        proptest::collection::vec(-5i64..5, 1..4).prop_map(Demand::OneOf),
        Just(Demand::Even),
    ]
}

impl Demand {
    fn yaml(&self, null_passes: bool) -> String {
        match self {
            Demand::NotNull => "column: n, check: not_null".to_owned(),
            Demand::AtLeast(min) => {
                format!("column: n, check: range, min: {min}, null_passes: {null_passes}")
            }
            Demand::OneOf(values) => {
                format!("column: n, check: accepted_values, values: {values:?}, null_passes: {null_passes}")
            }
            Demand::Even => format!("check: condition, condition: 'n % 2 = 0', null_passes: {null_passes}"),
        }
    }

    fn holds(&self, value: Option<i64>, null_passes: bool) -> bool {
        match (self, value) {
            (Demand::NotNull, value) => value.is_some(),
            (_, None) => null_passes,
            (Demand::AtLeast(min), Some(n)) => n >= *min,
            (Demand::OneOf(values), Some(n)) => values.contains(&n),
            (Demand::Even, Some(n)) => n % 2 == 0,
        }
    }
}

const ACTIONS: [&str; 4] = ["observe", "warn", "drop", "quarantine"];

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn good_and_bad_and_dropped_rows_are_the_input(
        values in proptest::collection::vec(proptest::option::weighted(0.8, -6i64..6), 0..60),
        rules in proptest::collection::vec((demand(), any::<bool>(), 0usize..4), 1..6),
    ) {
        let dir = tempfile::tempdir().expect("a folder");
        let rows: String = values.iter().enumerate().map(|(id, n)| format!("{id},{}\n", n.map_or(String::new(), |n| n.to_string()))).collect();
        write(dir.path(), "p.csv", &format!("id,n\n{rows}"));
        let yaml: Vec<String> = rules.iter().map(|(demand, null, action)| format!("{}, on_fail: {}", demand.yaml(*null), ACTIONS[*action])).collect();
        let yaml: Vec<&str> = yaml.iter().map(String::as_str).collect();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let outcome = runtime.block_on(succeed(dir.path(), &document("id: bigint, n: bigint", &lines(&yaml))));
        outcome.manifest.verify().expect("sums close");
        let (mut good, mut aside, mut dropped) = (Vec::new(), BTreeSet::new(), 0);
        for (id, value) in values.iter().enumerate() {
            let strongest = rules.iter().filter(|(demand, null, _)| !demand.holds(*value, *null)).map(|(_, _, action)| *action).max();
            match strongest {
                Some(3) => { aside.insert(id.to_string()); }
                Some(2) => dropped += 1,
                _ => good.push(format!("{id},{}", value.map_or(String::new(), |n| n.to_string()))),
            }
        }
        good.sort();
        prop_assert_eq!(sorted_lines(dir.path(), "o.csv"), good);
        let kept: BTreeSet<String> = quarantined(dir.path()).iter().flat_map(|batch| texts(batch, "id")).collect();
        prop_assert_eq!(&kept, &aside);
        let step = outcome.manifest.steps.iter().find(|step| step.node == "v").expect("the node").clone();
        prop_assert_eq!((step.quarantined, step.dropped), (aside.len() as u64, dropped));
        for ((demand, null, _), record) in rules.iter().zip(&step.checks) {
            let failed = values.iter().filter(|value| !demand.holds(**value, *null)).count() as u64;
            prop_assert_eq!((record.failed_rows, record.judged_rows), (failed, values.len() as u64));
        }
    }
}
