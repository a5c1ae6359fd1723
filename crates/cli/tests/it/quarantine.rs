//! Rejected rows from the command line: listed, shown, replayed once whatever happens, corrected by hand.
//!
//! Rows go into a SQLite table without a key, so a row that is applied twice is seen.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::{output, stderr, stdout, synqx};

fn document(least: i64) -> String {
    format!(
        "name: shop\nconnections: {{d: {{type: local_file, path: .}}, s: {{type: sqlite, path: ./t.db}}}}\nnodes:\n  a: {{extract: {{from: d, asset: a.csv}}}}\n  m: {{map: {{input: a, columns: {{w: 'v * 2'}}}}}}\n  v: {{validate: {{input: m, checks: [{{column: v, check: range, min: {least}, on_fail: quarantine}}]}}}}\n  n: {{map: {{input: v, columns: {{x: 'w + 1'}}}}}}\n  out: {{load: {{input: n, to: s, asset: t, write: append}}}}\n"
    )
}

/// A folder in which a run has rejected ids 3 and 5 of 1 to 6.
fn rejected() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(
        folder.path().join("a.csv"),
        "id,v\n1,1\n2,2\n3,-3\n4,4\n5,-5\n6,6\n",
    )
    .expect("a file");
    relax(folder.path(), 0);
    let ran = output(folder.path(), &["run"]);
    assert!(ran.status.success(), "{}", stderr(&ran));
    assert_eq!(
        table(folder.path()),
        ["1|1|2|3", "2|2|4|5", "4|4|8|9", "6|6|12|13"]
    );
    folder
}

fn relax(folder: &Path, least: i64) {
    std::fs::write(folder.join("pipeline.yaml"), document(least)).expect("a document");
}

fn table(folder: &Path) -> Vec<String> {
    let db = rusqlite::Connection::open(folder.join("t.db")).expect("a database");
    let mut statement = db
        .prepare("select id || '|' || v || '|' || w || '|' || x from t order by id")
        .expect("a query");
    let rows = statement.query_map([], |row| row.get(0)).expect("rows");
    rows.map(|row| row.expect("a row")).collect()
}

const ALL: [&str; 6] = [
    "1|1|2|3",
    "2|2|4|5",
    "3|-3|-6|-5",
    "4|4|8|9",
    "5|-5|-10|-9",
    "6|6|12|13",
];

fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut queue = vec![folder.join(".synqx/quarantine")];
    while let Some(next) = queue.pop() {
        for entry in std::fs::read_dir(&next).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                queue.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn replay(folder: &Path, more: &[&str]) -> std::process::Output {
    output(folder, &[&["quarantine", "replay"], more].concat())
}

#[test]
fn rejected_rows_are_listed_and_shown() {
    let folder = rejected();
    let listed = stdout(&output(folder.path(), &["quarantine", "list"]));
    for part in ["run_", "v", "v.range", "succeeded with warnings", "2"] {
        assert!(listed.contains(part), "lacks {part}:\n{listed}");
    }
    let line = stdout(&output(folder.path(), &["quarantine", "list", "--json"]));
    let line: serde_json::Value = serde_json::from_str(line.trim()).expect("one line of JSON");
    assert_eq!(
        (
            line["rows"].as_u64(),
            line["replayed"].as_u64(),
            line["rules"]["v.range"].as_u64()
        ),
        (Some(2), Some(0), Some(2))
    );
    let shown = stdout(&output(folder.path(), &["quarantine", "show"]));
    assert!(
        shown.contains("-3") && shown.contains("-5") && shown.contains("_synqx_reasons"),
        "{shown}"
    );
    let rows = stdout(&output(
        folder.path(),
        &["quarantine", "show", "--json", "--limit", "1"],
    ));
    let row: serde_json::Value = serde_json::from_str(rows.trim()).expect("one row of JSON");
    assert_eq!(
        (row["v"].as_i64(), row["_synqx_reasons"].as_str()),
        (Some(-3), Some("v at least 0"))
    );
    let none = output(folder.path(), &["quarantine", "show", "--node", "other"]);
    assert!(none.status.success() && stderr(&none).contains("no rejected rows"));
}

#[test]
fn rows_are_replayed_through_a_newer_document_once() {
    let folder = rejected();
    relax(folder.path(), -9);
    let first = replay(folder.path(), &[]);
    assert!(first.status.success(), "{}", stderr(&first));
    assert_eq!(
        table(folder.path()),
        ALL,
        "from the check on: what stands above it is not applied again"
    );
    let again = replay(folder.path(), &[]);
    assert!(
        again.status.success() && stderr(&again).contains("nothing is left to replay"),
        "{}",
        stderr(&again)
    );
    assert_eq!(table(folder.path()), ALL);
    let listed = stdout(&output(folder.path(), &["quarantine", "list", "--json"]));
    let line: serde_json::Value = serde_json::from_str(listed.trim()).expect("one file");
    assert_eq!(line["replayed"].as_u64(), Some(2));
}

#[test]
fn rows_that_fail_again_return_with_their_origin() {
    let folder = rejected();
    relax(folder.path(), -4);
    let ran = replay(folder.path(), &[]);
    assert!(ran.status.success(), "{}", stderr(&ran));
    assert_eq!(table(folder.path()).len(), 5, "one of two passes now");
    let shown = stdout(&output(folder.path(), &["quarantine", "show", "--json"]));
    let rows: Vec<serde_json::Value> = shown
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(rows.len(), 3, "the two of the run, the one of the replay");
    let again = &rows[2];
    let origin = format!("{}/v/1", rows[0]["_synqx_run"].as_str().expect("a run"));
    assert_eq!(
        (again["v"].as_i64(), again["_synqx_origin"].as_str()),
        (Some(-5), Some(origin.as_str()))
    );
    relax(folder.path(), -9);
    assert!(replay(folder.path(), &[]).status.success());
    assert_eq!(table(folder.path()), ALL, "and from there it is replayed as well");
}

/// The window between the end of the run and the mark in the ledger: the destination knows the run.
#[test]
fn a_replay_whose_mark_was_lost_adds_no_row() {
    let folder = rejected();
    relax(folder.path(), -9);
    assert!(replay(folder.path(), &[]).status.success());
    let entry = files(folder.path(), ".json").pop().expect("an entry");
    let text = std::fs::read_to_string(&entry).expect("an entry");
    std::fs::write(&entry, text.replace("\"done\": true", "\"done\": false")).expect("an entry");
    let again = replay(folder.path(), &[]);
    assert!(
        again.status.success() && stderr(&again).contains("finishing run_"),
        "{}",
        stderr(&again)
    );
    assert_eq!(table(folder.path()), ALL);
    assert!(
        std::fs::read_to_string(&entry)
            .expect("an entry")
            .contains("\"done\": true")
    );
}

#[test]
fn a_replay_killed_at_any_event_loses_and_doubles_nothing() {
    for events in 1.. {
        let folder = rejected();
        relax(folder.path(), -9);
        let mut child = synqx(folder.path(), &["quarantine", "replay", "--json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let seen = lines.take(events).count();
        let _ = child.kill();
        let _ = child.wait();
        let finished = replay(folder.path(), &[]);
        assert!(finished.status.success(), "{}", stderr(&finished));
        assert_eq!(table(folder.path()), ALL, "after {events} events");
        if seen < events {
            break;
        }
    }
}

#[test]
fn corrected_rows_replace_the_rejected_ones() {
    let folder = rejected();
    let file = files(folder.path(), "v.parquet").pop().expect("a file");
    let copied = output(folder.path(), &["cp", &file.display().to_string(), "fixed.csv"]);
    assert!(copied.status.success(), "{}", stderr(&copied));
    let text = std::fs::read_to_string(folder.path().join("fixed.csv")).expect("a file");
    let fixed: Vec<String> = text
        .lines()
        .filter(|line| !line.starts_with("5,"))
        .map(|line| line.replacen("3,-3,", "3,30,", 1))
        .collect();
    std::fs::write(folder.path().join("fixed.csv"), fixed.join("\n") + "\n").expect("a file");
    let ran = replay(folder.path(), &["--node", "v", "--file", "fixed.csv"]);
    assert!(ran.status.success(), "{}", stderr(&ran));
    assert!(
        table(folder.path()).contains(&"3|30|-6|-5".to_owned()),
        "{:?}",
        table(folder.path())
    );
    let again = replay(folder.path(), &["--node", "v", "--file", "fixed.csv"]);
    assert_eq!(again.status.code(), Some(2), "{}", stderr(&again));
    assert!(
        stderr(&again).contains("were replayed before"),
        "{}",
        stderr(&again)
    );
    relax(folder.path(), -9);
    assert!(replay(folder.path(), &[]).status.success());
    assert_eq!(table(folder.path()).len(), 6, "the other row was still to come");
    std::fs::write(folder.path().join("other.csv"), "id,v\n1,1\n").expect("a file");
    relax(folder.path(), 0);
    let folder = rejected();
    std::fs::write(folder.path().join("other.csv"), "id,v,w\n1,1,2\n").expect("a file");
    let refused = replay(folder.path(), &["--file", "other.csv"]);
    assert!(
        stderr(&refused).contains("has no column `_synqx_row`"),
        "{}",
        stderr(&refused)
    );
}

#[test]
fn rows_of_a_run_that_failed_are_not_replayed() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("a.csv"), "id,v\n1,1\n2,-2\n").expect("a file");
    std::fs::write(
        folder.path().join("pipeline.yaml"),
        document(0).replace("quarantine}]", "fail}]"),
    )
    .expect("a document");
    assert_eq!(output(folder.path(), &["run"]).status.code(), Some(8));
    relax(folder.path(), -9);
    let skipped = replay(folder.path(), &[]);
    assert!(
        skipped.status.success() && stderr(&skipped).contains("that run did not succeed"),
        "{}",
        stderr(&skipped)
    );
    let db = rusqlite::Connection::open(folder.path().join("t.db")).expect("a database");
    let tables: i64 = db
        .query_row("select count(*) from sqlite_master where name = 't'", [], |row| {
            row.get(0)
        })
        .expect("a count");
    assert_eq!(tables, 0, "nothing was loaded");
}

#[test]
fn rows_that_do_not_pass_one_by_one_are_refused_by_name() {
    let folder = rejected();
    let yaml = document(-9).replace(
        "n: {map: {input: v, columns: {x: 'w + 1'}}}",
        "n: {aggregate: {input: v, group_by: [id, v, w], columns: {x: count(*)}}}",
    );
    std::fs::write(folder.path().join("pipeline.yaml"), yaml).expect("a document");
    let refused = replay(folder.path(), &[]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        stderr(&refused).contains("E0111") && stderr(&refused).contains("`n`"),
        "{}",
        stderr(&refused)
    );
    assert_eq!(table(folder.path()).len(), 4);
}

/// Native types that are text or bytes here come back as what they were.
#[tokio::test(flavor = "multi_thread")]
async fn native_types_survive_the_quarantine() {
    let database =
        synqx_testkit::database::ThrowAwayDatabase::on(synqx_testkit::services::Server::Postgres15)
            .await
            .expect("cargo x up");
    let ddl = "create type mood as enum ('sad', 'ok');
        create table src (id bigint primary key, u uuid, j jsonb, n numeric, m mood, a int[], t timestamptz, i inet, d numeric(10,2), b bytea, v varchar(10));
        insert into src select g, gen_random_uuid(), '{\"a\": 1}', 1.50 + g, 'ok', '{1,null}', now(), '10.0.0.1', g, '\\x00ff', 'x' from generate_series(1, 4) g";
    database.execute(ddl).await.expect("a table");
    let folder = tempfile::tempdir().expect("a folder");
    for (most, verb) in [(2, &["run"][..]), (9, &["quarantine", "replay"])] {
        let yaml = format!(
            "name: types\nconnections: {{p: {{type: postgresql, url: \"{}\"}}}}\nnodes:\n  a: {{extract: {{from: p, asset: public.src}}}}\n  v: {{validate: {{input: a, checks: [{{column: id, check: range, max: {most}, on_fail: quarantine}}]}}}}\n  o: {{load: {{input: v, to: p, asset: public.dst, write: append}}}}\n",
            database.url()
        );
        std::fs::write(folder.path().join("pipeline.yaml"), yaml).expect("a document");
        let ran = output(folder.path(), verb);
        assert!(ran.status.success(), "{}", stderr(&ran));
    }
    let client = database.client().await.expect("a client");
    let different = "select count(*) from ((table src except all table dst) union all (table dst except all table src)) x";
    let different: i64 = client.query_one(different, &[]).await.expect("a count").get(0);
    assert_eq!(different, 0);
    drop(client);
    database.discard().await.expect("dropped");
}
