//! Modes that delete, mark or keep history, in whole runs: what is refused beforehand, what the record says, going back.
//!
//! What each mode does with rows is in the shared conformance suite; crashes are in `crash`.

use std::path::Path;

use synqx_model::{Code, Error};

use crate::setting::{engine, options, run, spec, succeed, write};

fn sql(dir: &Path, text: &str) {
    let db = rusqlite::Connection::open(dir.join("d.db")).expect("a database");
    db.execute_batch(text).expect(text);
}

fn told(dir: &Path, query: &str) -> String {
    let db = rusqlite::Connection::open(dir.join("d.db")).expect("a database");
    db.query_row(query, [], |row| row.get::<_, Option<String>>(0))
        .expect(query)
        .unwrap_or_default()
}

const ROWS: &str =
    "select group_concat(row, ' ') from (select id || coalesce(part, '-') as row from t order by id, part)";

/// A document with nodes between the extract `a` and the load.
fn document(between: &str, input: &str, load: &str) -> String {
    format!(
        "name: t\nconnections: {{s: {{type: local_file, path: ./in}}, d: {{type: sqlite, path: ./d.db}}}}\nnodes:\n  a: {{extract: {{from: s, asset: a.csv}}}}\n{between}  out: {{load: {{input: {input}, to: d, asset: t, {load}}}}}\n"
    )
}

async fn planned(dir: &Path, yaml: &str) -> Result<Vec<String>, Error> {
    let report = engine().plan(&spec(yaml), &options(dir)).await?;
    Ok(report
        .loads
        .iter()
        .flat_map(|load| load.preparation.notes.clone())
        .collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_is_not_fed_with_a_part() {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    write(dir, "in/a.csv", "id,part\n1,a\n2,b\n");
    let mirror = "write: mirror, key: [id]";
    let filter = "  f: {filter: {input: a, where: \"part = 'a'\"}}\n";
    let sql = "  f: {sql: \"select * from a where part = 'a'\"}\n";
    let limit = "  f: {sql: \"select * from (select * from a limit 1) as b\"}\n";
    let switch = "  f: {switch: {input: a, cases: [{when: \"part = 'a'\", to: some}], else: rest}}\n  g: {load: {input: f.rest, to: d, asset: u, write: append}}\n";
    for (between, input) in [(filter, "f"), (sql, "f"), (limit, "f"), (switch, "f.some")] {
        let refused = planned(dir, &document(between, input, mirror)).await;
        let error = refused.expect_err("refused");
        assert_eq!(error.code(), Code::E0103, "{between}");
        assert!(error.message().contains("`f`"), "{error:?}");
        for consent in ["scope: {part: a}", "whole_target: true"] {
            let load = format!("{mirror}, mirror: {{{consent}}}");
            planned(dir, &document(between, input, &load))
                .await
                .expect(consent);
        }
    }
    let plain = "  f: {sql: \"select id, upper(part) as part from a\"}\n";
    planned(dir, &document(plain, "f", mirror))
        .await
        .expect("all rows");
    let whole = document("", "a", "write: mirror, key: [id], mirror: {whole_target: true}");
    let incremental = whole.replace("asset: a.csv", "asset: a.csv, sync: incremental, cursor: id");
    let error = planned(dir, &incremental).await.expect_err("refused");
    assert_eq!(error.code(), Code::E0103, "{error:?}");
    let history = document("", "a", "write: scd2, key: [id], scd2: {close_missing: true}");
    let history = history.replace("asset: a.csv", "asset: a.csv, sync: incremental, cursor: id");
    let error = planned(dir, &history).await.expect_err("refused");
    assert_eq!(error.code(), Code::E0103, "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn options_of_another_mode_are_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    write(dir, "in/a.csv", "id,part\n1,a\n");
    for load in [
        "write: append, partition_by: [id]",
        "write: upsert, key: [id], mirror: {}",
        "write: mirror, key: [id], scd2: {}",
        "write: append, replace: {keep_previous: true}",
        "write: mirror, key: [id], mirror: {max_delete_percent: 101}",
        "write: scd2, key: [id], scd2: {close_missing: true, time: id}",
        "write: delete_insert",
        "write: mirror, key: [id], mirror: {scope: {part: {a: b}}}",
    ] {
        let error = planned(dir, &document("", "a", load)).await.expect_err(load);
        assert_eq!(error.code(), Code::E0103, "{load}: {error:?}");
    }
    for load in ["write: mirror", "write: scd2"] {
        let error = planned(dir, &document("", "a", load)).await.expect_err(load);
        assert_eq!(error.code(), Code::E0408, "{load}: {error:?}");
    }
    for load in [
        "write: delete_insert, partition_by: [id]",
        "write: mirror, key: [id]",
    ] {
        let files = document("", "a", load).replace("to: d, asset: t", "to: s, asset: out/");
        let error = planned(dir, &files).await.expect_err(load);
        assert_eq!(error.code(), Code::E0310, "{load}: {error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_of_every_mode_are_in_the_record() {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    write(dir, "in/a.csv", "id,part\n1,a\n2,b\n5,e\n");
    sql(
        dir,
        "create table t (id integer, part text); insert into t values (1, 'a'), (2, 'x'), (3, 'a'), (4, 'b')",
    );
    let load = |outcome: &synqx_engine::RunOutcome| {
        let step = outcome
            .manifest
            .steps
            .iter()
            .find(|s| s.node == "out")
            .expect("the load");
        let load = step.load.clone().expect("a load");
        [load.inserted, load.updated, load.unchanged, load.deleted]
    };
    let slices = document("", "a", "write: delete_insert, partition_by: [part]");
    let outcome = succeed(dir, &slices).await;
    assert_eq!(load(&outcome), [3, 0, 0, 3]);
    assert_eq!(outcome.manifest.state, "succeeded");
    assert_eq!(told(dir, ROWS), "1a 2b 2x 5e");
    sql(
        dir,
        "delete from t where part = 'x'; insert into t values (9, 'z')",
    );
    let mirror = document("", "a", "write: mirror, key: [id]");
    write(dir, "in/a.csv", "id,part\n1,a\n2,B\n5,e\n6,f\n");
    assert_eq!(load(&succeed(dir, &mirror).await), [1, 1, 2, 1]);
    assert_eq!(told(dir, ROWS), "1a 2B 5e 6f");
    write(dir, "in/a.csv", "id,part\n");
    let empty = "asset: a.csv, options: {columns: {id: bigint, part: text}}";
    let refused = run(dir, &mirror.replace("asset: a.csv", empty)).await;
    let error = refused.error.expect("an error");
    assert!(error.iter().any(|e| e.code() == Code::E0318), "{error:?}");
    assert!(
        error
            .hint()
            .is_some_and(|hint| hint.contains("max_delete_percent: 100")),
        "{error:?}"
    );
    assert_eq!(told(dir, ROWS), "1a 2B 5e 6f");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_is_made_once_and_the_next_run_reads_everything() {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    sql(
        dir,
        "create table t (id integer primary key, part text); insert into t values (1, 'old')",
    );
    write(dir, "in/a.csv", "id,part\n2,new\n3,new\n");
    let yaml = document("", "a", "write: replace, replace: {keep_previous: true}");
    let back = || async { engine().rollback(&spec(&yaml), None, &options(dir)).await };
    let early = back().await.expect_err("nothing was replaced yet");
    assert_eq!(early.code(), Code::E0304, "{early:?}");
    succeed(dir, &yaml).await;
    assert_eq!(told(dir, ROWS), "2new 3new");
    let done = back().await.expect("goes back");
    assert_eq!(
        (done.node.as_str(), done.receipt.inserted, done.receipt.deleted),
        ("out", 1, 2)
    );
    assert_eq!(told(dir, ROWS), "1old");
    assert_eq!(back().await.expect_err("once").code(), Code::E0304);
    succeed(dir, &yaml).await;
    assert_eq!(told(dir, ROWS), "2new 3new");
    let plain = document("", "a", "write: replace");
    let refused = engine().rollback(&spec(&plain), None, &options(dir)).await;
    assert_eq!(refused.expect_err("it keeps nothing").code(), Code::E0103);
    let wrong = engine().rollback(&spec(&yaml), Some("a"), &options(dir)).await;
    assert_eq!(wrong.expect_err("no such load").code(), Code::E0114);
}
