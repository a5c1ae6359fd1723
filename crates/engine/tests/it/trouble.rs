//! Bad input and bad luck at the level of whole runs: each has its code, and nothing is lost or half-visible.
//!
//! What one connector finds out alone is tested beside the connector; here are the cases that need a run.

use std::sync::Arc;
use std::time::Duration;

use synqx_model::{ByteSize, Code};
use synqx_sdk::{Effect, Moment, Probe};
use tokio::sync::Semaphore;

use crate::setting::{engine, files_below, options, read, run, spec, succeed, write};

fn copy(load: &str) -> String {
    format!(
        "name: t\nconnections: {{d: {{type: local_file, path: .}}, s: {{type: sqlite, path: ./t.db}}}}\nnodes:\n  a: {{extract: {{from: d, asset: a.csv}}}}\n  out: {{load: {{input: a, {load}}}}}\n"
    )
}

fn count(dir: &std::path::Path) -> i64 {
    let db = rusqlite::Connection::open(dir.join("t.db")).expect("a database");
    db.query_row("select count(*) from t", [], |row| row.get(0))
        .expect("a count")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upsert_names_duplicates_and_null_keys_and_changes_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), "a.csv", "k,v\n1,a\n2,b\n");
    let yaml = copy("to: s, asset: t, write: upsert, key: [k]");
    succeed(dir.path(), &yaml).await;
    write(dir.path(), "a.csv", "k,v\n3,a\n3,b\n");
    let error = run(dir.path(), &yaml).await.error.expect("duplicates");
    assert_eq!(error.code(), Code::E0308, "{error:?}");
    write(dir.path(), "a.csv", "k,v\n3,a\n,b\n");
    let error = run(dir.path(), &yaml).await.error.expect("a NULL key");
    assert_eq!(error.code(), Code::E0309, "{error:?}");
    assert_eq!(count(dir.path()), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upsert_closes_its_sums() {
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), "a.csv", "k,v\n1,a\n2,b\n");
    let yaml = copy("to: s, asset: t, write: upsert, key: [k], order_by: [v]");
    succeed(dir.path(), &yaml).await;
    write(dir.path(), "a.csv", "k,v\n1,a\n2,c\n3,d\n3,e\n");
    let outcome = succeed(dir.path(), &yaml).await;
    let load = outcome
        .manifest
        .steps
        .iter()
        .find_map(|s| s.load.clone())
        .expect("a load");
    assert_eq!(
        (load.inserted, load.updated, load.unchanged, load.superseded),
        (1, 1, 1, 1)
    );
}

/// Stops the first run where it is about to publish, until it is told to go on.
#[derive(Debug)]
struct Hold {
    reached: Semaphore,
    go: Semaphore,
}

impl Probe for Hold {
    fn reach(&self, effect: Effect, moment: Moment) -> synqx_model::Result<()> {
        if (effect, moment) == (Effect::Seal, Moment::Before) {
            self.reached.add_permits(1);
            let go = &self.go;
            let wait = async { go.acquire().await.map(|p| p.forget()) };
            let _ = futures::executor::block_on(wait);
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_runs_at_once_the_second_wins_and_the_first_publishes_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), "a.csv", "k,v\n1,a\n2,b\n");
    let yaml = copy("to: s, asset: t, write: append");
    succeed(dir.path(), &yaml).await;
    let hold = Arc::new(Hold {
        reached: Semaphore::new(0),
        go: Semaphore::new(0),
    });
    let mut held = options(dir.path());
    held.probe = Arc::clone(&hold) as _;
    let first = {
        let yaml = yaml.clone();
        tokio::spawn(async move { engine().run(&spec(&yaml), &held).await })
    };
    tokio::time::timeout(Duration::from_secs(30), hold.reached.acquire())
        .await
        .expect("in time")
        .expect("open")
        .forget();
    let second = run(dir.path(), &yaml).await;
    hold.go.add_permits(100);
    let first = first.await.expect("the first run");
    assert!(second.error.is_none(), "{:?}", second.error);
    assert_eq!(first.error.map(|e| e.code()), Some(Code::E0501));
    assert_eq!(count(dir.path()), 4, "the first run, once, and the second, once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_run_leaves_nothing_behind() {
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), "a.csv", "k,v\n1,a\n");
    write(dir.path(), "o.csv", "old\n");
    let options = options(dir.path());
    options.cancel.cancel();
    let outcome = engine()
        .run(&spec(&copy("to: d, asset: o.csv, write: replace")), &options)
        .await;
    assert_eq!(outcome.error.map(|e| e.code()), Some(Code::E0701));
    assert_eq!(outcome.manifest.state, "cancelled");
    assert_eq!(read(dir.path(), "o.csv"), "old\n");
    assert!(
        !files_below(dir.path())
            .iter()
            .any(|f| f.contains("tmp") || f.ends_with("intent"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_said_and_the_old_file_stays() {
    let disk = tempfile::tempdir().expect("a folder");
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"])
        .arg(disk.path())
        .status()
        .expect("mount runs");
    assert!(
        mounted.success(),
        "this test mounts a tiny tmpfs and needs root, as `cargo x up` does"
    );
    let dir = tempfile::tempdir().expect("a folder");
    let mut text = String::from("k,v\n");
    for i in 0..40_000 {
        text.push_str(&format!("{i},{}\n", "y".repeat(30)));
    }
    write(dir.path(), "a.csv", &text);
    write(disk.path(), "o.csv", "old\n");
    let yaml = copy("to: full, asset: o.csv, write: replace").replace(
        "connections: {",
        &format!(
            "connections: {{full: {{type: local_file, path: \"{}\"}}, ",
            disk.path().display()
        ),
    );
    let outcome = run(dir.path(), &yaml).await;
    let (old, files) = (read(disk.path(), "o.csv"), files_below(disk.path()));
    let unmounted = std::process::Command::new("umount")
        .arg(disk.path())
        .status()
        .expect("umount runs");
    assert!(unmounted.success());
    assert_eq!(outcome.error.map(|e| e.code()), Some(Code::E0306));
    assert_eq!(old, "old\n");
    assert!(!files.iter().any(|f| f.contains("tmp")), "{files:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_huge_value_is_refused_by_a_small_budget_and_passes_a_large_one() {
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), "a.csv", &format!("k,v\n1,{}\n", "z".repeat(20 << 20)));
    let yaml = copy("to: d, asset: o.parquet, write: replace");
    let error = run(dir.path(), &yaml).await.error.expect("too large");
    assert_eq!(error.code(), Code::E0805, "{error:?}");
    assert!(error.message().contains("`v`"), "{error}");
    let mut roomy = options(dir.path());
    roomy.memory = ByteSize::mib(512);
    let outcome = engine().run(&spec(&yaml), &roomy).await;
    assert!(outcome.error.is_none(), "{:?}", outcome.error);
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_names_are_only_names() {
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), "a.csv", "\"k \"\"q\"\"\",🚀\n1,a\n");
    succeed(
        dir.path(),
        &copy("to: s, asset: 't \"x\" 🚀; drop', write: replace"),
    )
    .await;
    let db = rusqlite::Connection::open(dir.path().join("t.db")).expect("a database");
    let name: String = db
        .query_row(
            "select name from sqlite_master where type = 'table' and name not like '\\_synqx%' escape '\\'",
            [],
            |r| r.get(0),
        )
        .expect("a table");
    assert!(name.contains('🚀'), "{name}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_file_and_a_header_alone() {
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), "a.csv", "");
    let yaml = copy("to: d, asset: o.csv, write: replace");
    assert_eq!(
        run(dir.path(), &yaml).await.error.map(|e| e.code()),
        Some(Code::E0409)
    );
    write(dir.path(), "a.csv", "k,v\n");
    succeed(dir.path(), &yaml).await;
    assert_eq!(read(dir.path(), "o.csv"), "k,v\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_into_the_database_it_reads_from_is_spooled_first() {
    let dir = tempfile::tempdir().expect("a folder");
    let db = rusqlite::Connection::open(dir.path().join("t.db")).expect("a database");
    db.execute_batch("create table src (k integer, v text); insert into src values (1, 'a'), (2, 'b');")
        .expect("a table");
    drop(db);
    let yaml = "name: t\nconnections: {s: {type: sqlite, path: ./t.db}}\nnodes:\n  a: {extract: {from: s, asset: src}}\n  out: {load: {input: a, to: s, asset: t, write: replace}}\n";
    succeed(dir.path(), yaml).await;
    assert_eq!(count(dir.path()), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_out_of_time_ends_the_run_and_publishes_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let rows: String = (0..150_000)
        .map(|i| format!("{},{i}\n", i * 7919 % 150_000))
        .collect();
    write(dir.path(), "a.csv", &format!("k,v\n{rows}"));
    let yaml = "name: t\nconnections: {d: {type: local_file, path: .}}\nnodes:\n  a: {extract: {from: d, asset: a.csv}}\n  s: {sort: {input: a, by: [k]}, timeout: 1ms}\n  out: {load: {input: s, to: d, asset: o.csv, write: replace}}\n";
    let outcome = run(dir.path(), yaml).await;
    let error = outcome.error.expect("out of time");
    assert_eq!(
        (error.code(), error.node()),
        (Code::E0702, Some("s")),
        "{error:?}"
    );
    let left = files_below(dir.path());
    let staging = |f: &String| f == "o.csv" || f.contains("tmp") || f.ends_with("intent");
    assert!(!left.iter().any(staging), "{left:?}");
    succeed(dir.path(), &yaml.replace("1ms", "10m")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_while_rows_flow_names_the_node_that_raised_it() {
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), "a.csv", "k,v\n1,12\n2,many\n");
    let nodes = [
        ("c: {cast: {input: a, columns: {v: int}}}", Code::E0404),
        ("c: {sql: \"select k, 1 / (k - 2) as v from a\"}", Code::E0803),
    ];
    for (node, code) in nodes {
        let yaml = format!(
            "name: t\nconnections: {{d: {{type: local_file, path: .}}}}\nnodes:\n  a: {{extract: {{from: d, asset: a.csv}}}}\n  {node}\n  f: {{filter: {{input: c, where: \"v is not null\"}}}}\n  out: {{load: {{input: f, to: d, asset: o.csv, write: replace}}}}\n"
        );
        let error = run(dir.path(), &yaml).await.error.expect("fails");
        assert_eq!((error.code(), error.node()), (code, Some("c")), "{error:?}");
    }
}

const QUARANTINED: &str = "name: t\nconnections: {d: {type: local_file, path: .}, s: {type: sqlite, path: ./t.db}}\nquarantine: {to: s, asset: rejects}\nnodes:\n  a: {extract: {from: d, asset: a.csv}}\n  v: {validate: {input: a, checks: [{column: v, check: range, min: 0, on_fail: quarantine}]}}\n  out: {load: {input: v, to: s, asset: t, write: append}}\n";

fn rejects(dir: &std::path::Path) -> Vec<(i64, i64, String)> {
    let db = rusqlite::Connection::open(dir.join("t.db")).expect("a database");
    let mut query = db
        .prepare("select k, v, _synqx_node from rejects order by k")
        .expect("the quarantine");
    let rows = query
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .expect("rows");
    rows.map(|row| row.expect("a row")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn rejected_rows_go_to_the_quarantine_target_of_the_document() {
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), "a.csv", "k,v\n1,5\n2,-1\n3,7\n4,-9\n");
    let outcome = succeed(dir.path(), QUARANTINED).await;
    assert_eq!(outcome.manifest.quarantine, ["s.rejects"]);
    assert_eq!(count(dir.path()), 2);
    let expected = [(2, -1, "v".to_owned()), (4, -9, "v".to_owned())];
    assert_eq!(rejects(dir.path()), expected);
    let left = files_below(&dir.path().join(".synqx/quarantine"));
    assert!(left.is_empty(), "the target has the rows: {left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_check_keeps_its_rows_as_a_file_and_leaves_the_quarantine_target_alone() {
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), "a.csv", "k,v\n1,5\n2,-1\n,7\n");
    let yaml = QUARANTINED.replace(
        "checks: [",
        "checks: [{column: k, check: not_null, on_fail: fail}, ",
    );
    let outcome = run(dir.path(), &yaml).await;
    assert_eq!(outcome.error.map(|e| e.code()), Some(Code::E1001));
    let left = files_below(&dir.path().join(".synqx/quarantine"));
    assert_eq!(left.len(), 1, "the evidence: {left:?}");
    let db = rusqlite::Connection::open(dir.path().join("t.db")).expect("a database");
    let tables: i64 = db
        .query_row(
            "select count(*) from sqlite_master where name in ('t', 'rejects')",
            [],
            |row| row.get(0),
        )
        .expect("a count");
    assert_eq!(tables, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_steps_with_one_quarantine_need_a_place_each() {
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), "a.csv", "k,v\n1,5\n2,-1\n3,7\n");
    let yaml = QUARANTINED.replace(
        "  out: {load: {input: v",
        "  w: {validate: {input: v, checks: [{column: v, check: range, max: 6, on_fail: quarantine}]}}\n  out: {load: {input: w",
    );
    let error = run(dir.path(), &yaml).await.error.expect("refused");
    assert_eq!(error.code(), Code::E0103, "{error:?}");
    let outcome = succeed(
        dir.path(),
        &yaml.replace("asset: rejects", "asset: \"{node}_rejects\""),
    )
    .await;
    assert_eq!(outcome.manifest.quarantine, ["s.v_rejects", "s.w_rejects"]);
    assert_eq!(count(dir.path()), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_loads_of_one_target_are_refused_before_anything_is_made() {
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), "a.csv", "k,v\n1,a\n");
    let one = copy("to: s, asset: t, write: append");
    let same = format!("{one}  again: {{load: {{input: a, to: s, asset: t, write: append}}}}\n");
    let other_name = same
        .replace(
            "s: {type: sqlite, path: ./t.db}",
            "s: {type: sqlite, path: ./t.db}, s2: {type: sqlite, path: t.db}",
        )
        .replace(
            "input: a, to: s, asset: t, write: append}}\n  again",
            "input: a, to: s2, asset: t, write: append}}\n  again",
        );
    assert_ne!(same, other_name);
    for yaml in [same, other_name] {
        let error = run(dir.path(), &yaml).await.error.expect("is refused");
        assert_eq!(error.code(), Code::E0103, "{error:?}");
        assert!(!dir.path().join("t.db").exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cycle_an_unknown_column_and_a_number_out_of_range_have_their_codes() {
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), "a.csv", "id,amount\n1,5\n2,3000000000\n");
    let document = |nodes: &str| {
        format!(
            "name: t\nconnections: {{d: {{type: local_file, path: .}}}}\nnodes:\n  a: {{extract: {{from: d, asset: a.csv, options: {{columns: {{id: int, amount: bigint}}}}}}}}\n{nodes}"
        )
    };
    let load = "  out: {load: {input: f, to: d, asset: o.csv, write: replace}}\n";
    let cycle = document(&format!(
        "  e: {{filter: {{input: f, where: 'id > 0'}}}}\n  f: {{filter: {{input: e, where: 'id > 1'}}}}\n{load}"
    ));
    let unknown = document(&format!(
        "  f: {{filter: {{input: a, where: 'amuont > 1'}}}}\n{load}"
    ));
    let narrow = document(&format!(
        "  f: {{cast: {{input: a, columns: {{amount: int}}}}}}\n{load}"
    ));
    let declared = document(&load.replace("input: f", "input: a")).replace("amount: bigint", "amount: int");
    for (yaml, code, node) in [
        (cycle, Code::E0104, None),
        (unknown, Code::E0401, Some("f")),
        (narrow, Code::E0404, Some("f")),
        (declared, Code::E0208, Some("a")),
    ] {
        let error = run(dir.path(), &yaml).await.error.expect("is refused");
        assert_eq!(error.code(), code, "{error:?}");
        assert!(node.is_none() || error.node() == node, "{error:?}");
        assert!(
            code != Code::E0401 || format!("{error:?}").contains("amount"),
            "names the nearest: {error:?}"
        );
        assert!(!dir.path().join("o.csv").exists());
    }
}
