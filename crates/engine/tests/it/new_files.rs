//! Incremental reads of files without a cursor column: every file once, late names too, rewritten files never unseen.
//!
//! Killed runs are in `crash`, with the other incremental reads.

use std::path::Path;

use synqx_model::Code;

use crate::setting::{engine, options, run, sorted_lines, spec, succeed, write};

const COPY: &str = "name: t\nconnections: {s: {type: local_file, path: ./in}, d: {type: sqlite, path: ./d.db}}\nnodes:\n  a: {extract: {from: s, asset: \"*.csv\", sync: incremental}}\n  out: {load: {input: a, to: d, asset: dst, write: append}}\n";

fn ids(dir: &Path) -> String {
    let db = rusqlite::Connection::open(dir.join("d.db")).expect("a database");
    db.query_row(
        "select coalesce(group_concat(id, ' '), '') from (select id from dst order by id)",
        [],
        |row| row.get(0),
    )
    .expect("rows")
}

fn refused(outcome: &synqx_engine::RunOutcome) -> (Code, String) {
    let error = outcome.error.as_ref().expect("refused");
    assert!(error.hint().is_some());
    (error.code(), error.message().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_file_is_read_once_whatever_its_name() {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    write(dir, "in/m.csv", "id\n1\n");
    write(dir, "in/p.csv", "id\n2\n");
    succeed(dir, COPY).await;
    assert_eq!(ids(dir), "1 2");
    succeed(dir, COPY).await;
    assert_eq!(ids(dir), "1 2", "nothing is new");
    // Names before, between and after those that were read.
    for (name, id) in [("a", 3), ("n", 4), ("z", 5)] {
        write(dir, &format!("in/{name}.csv"), &format!("id\n{id}\n"));
    }
    let third = succeed(dir, COPY).await;
    assert_eq!(ids(dir), "1 2 3 4 5");
    let read = third
        .manifest
        .steps
        .iter()
        .find(|s| s.node == "a")
        .expect("the extract");
    assert_eq!(read.rows_out, 3, "only new files are read");
    // A file that is gone is nothing to stop for.
    std::fs::remove_file(dir.join("in/m.csv")).expect("removes");
    write(dir, "in/q.csv", "id\n6\n");
    succeed(dir, COPY).await;
    assert_eq!(ids(dir), "1 2 3 4 5 6");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_has_grown_stops_the_run_or_is_read_again() {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    write(dir, "in/a.csv", "id,v\n1,x\n");
    let upsert = COPY.replace("write: append", "write: upsert, key: [id]");
    succeed(dir, &upsert).await;
    write(dir, "in/a.csv", "id,v\n1,y\n2,z\n");
    let (code, message) = refused(&run(dir, &upsert).await);
    assert!(code == Code::E0502 && message.contains("`a.csv`"), "{message}");
    let again = upsert.replace(
        "sync: incremental",
        "sync: incremental, options: {rewritten: reread}",
    );
    let outcome = engine().run(&spec(&again), &options(dir)).await;
    assert!(outcome.error.is_none(), "{:?}", outcome.error);
    assert_eq!(ids(dir), "1 2");
    let append = COPY
        .replace("name: t", "name: u")
        .replace("asset: dst", "asset: other");
    succeed(dir, &append).await;
    write(dir, "in/a.csv", "id,v\n1,y\n2,z\n3,zz\n");
    let again = append.replace(
        "sync: incremental",
        "sync: incremental, options: {rewritten: reread}",
    );
    assert_eq!(
        refused(&run(dir, &again).await).0,
        Code::E0103,
        "an appending load would have rows twice"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_new_files_cannot_do_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    write(dir, "in/a.csv", "id\n1\n");
    for (from, to) in [
        ("write: append", "write: replace"),
        ("sync: incremental", "sync: incremental, lookback: 10m"),
        ("type: local_file, path: ./in", "type: sqlite, path: ./s.db"),
    ] {
        let yaml = COPY
            .replace(from, to)
            .replace("\"*.csv\"", if to.contains("sqlite") { "t" } else { "\"*.csv\"" });
        if to.contains("sqlite") {
            let db = rusqlite::Connection::open(dir.join("s.db")).expect("a database");
            db.execute_batch("create table t (id integer)").expect("a table");
        }
        assert_eq!(refused(&run(dir, &yaml).await).0, Code::E0103, "{to}");
    }
    // What full reads have stored says nothing about files: a choice is asked for.
    let full = COPY.replace("sync: incremental", "sync: full");
    succeed(dir, &full).await;
    assert_eq!(refused(&run(dir, COPY).await).0, Code::E0502);
    let mut adopt = options(dir);
    adopt.adopt = true;
    let outcome = engine().run(&spec(COPY), &adopt).await;
    assert!(outcome.error.is_none(), "{:?}", outcome.error);
    write(dir, "in/b.csv", "id\n2\n");
    succeed(dir, COPY).await;
    assert_eq!(ids(dir), "1 2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_into_what_its_extract_reads_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    write(dir, "in/a.csv", "id\n1\n");
    let document = |asset: &str, load: &str| {
        format!(
            "name: t\nconnections: {{s: {{type: local_file, path: ./in}}, d: {{type: local_file, path: .}}}}\nnodes:\n  a: {{extract: {{from: s, asset: \"{asset}\"}}}}\n  out: {{load: {{input: a, to: d, {load}}}}}\n"
        )
    };
    for (asset, load) in [
        ("*.csv", "asset: in/all.csv, write: replace"),
        ("", "asset: in/all.csv, write: replace"),
        (
            "**/*.csv",
            "asset: in/parts/, write: append, options: {format: csv}",
        ),
        (".", "asset: in/parts/, write: append, options: {format: csv}"),
    ] {
        let (code, message) = refused(&run(dir, &document(asset, load)).await);
        assert_eq!(code, Code::E0103, "{asset} {load}: {message}");
        assert!(message.contains("reads"), "{message}");
    }
    assert_eq!(
        std::fs::read_dir(dir.join("in")).expect("a folder").count(),
        1,
        "nothing was made"
    );
    // Replacing the very file that is read, and writing where no read looks, are fine.
    for (asset, load) in [
        ("a.csv", "asset: in/a.csv, write: replace"),
        ("*.csv", "asset: in/_all.csv, write: replace"),
        ("*.csv", "asset: in/all.parquet, write: replace"),
        ("*.csv", "asset: out/all.csv, write: replace"),
    ] {
        succeed(dir, &document(asset, load)).await;
    }
    assert_eq!(sorted_lines(dir, "out/all.csv"), ["1"]);
}
