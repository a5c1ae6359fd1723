//! Backfills: an interval read once more, slice by slice, while the stored position stays where it is.
//!
//! Killed between and inside slices and started again, the destination is what an undisturbed backfill makes of it, and
//! the next incremental run goes on as if there had been none. Compared by SQL of the destination itself.

use std::path::Path;

use synqx_engine::{BackfillRequest, RunOptions};
use synqx_model::{Code, Error, Result};
use synqx_sdk::Effect;
use synqx_testkit::database::ThrowAwayDatabase;
use synqx_testkit::services::Server;

use crate::incremental::{number, sql};
use crate::killing::{Job, after, before, killed_at};
use crate::setting::{engine, options, read, spec, succeed, write};

const UPSERT: &str = "name: t\nconnections: {s: {type: sqlite, path: ./s.db}, d: {type: sqlite, path: ./d.db}}\nnodes:\n  a: {extract: {from: s, asset: src, sync: incremental, cursor: at}}\n  out: {load: {input: a, to: d, asset: dst, write: upsert, key: [id]}}\n";

/// Rows 1 to 40 with cursor values 1 to 40; rows of 11 to 30 were changed behind the cursor's back after a run.
async fn changed_behind(dir: &Path) {
    sql(
        dir,
        "s.db",
        "create table src (id integer primary key, at integer, v text) strict;
         insert into src select value, value, 'old' from (with recursive n(value) as (select 1 union all select value + 1 from n where value < 40) select value from n)",
    );
    succeed(dir, UPSERT).await;
    sql(dir, "s.db", "update src set v = 'new'");
}

fn request(from: &str, to: &str, slice: Option<&str>) -> BackfillRequest {
    BackfillRequest {
        from: from.to_owned(),
        to: to.to_owned(),
        slice: slice.map(str::to_owned),
        ..BackfillRequest::default()
    }
}

/// Runs a backfill to its end. Returns how many slices this process ran.
async fn fill(yaml: &str, request: &BackfillRequest, options: &RunOptions) -> Result<usize> {
    let engine = engine();
    let mut work = engine.backfill(&spec(yaml), request, options).await?;
    let before = work.done;
    while work.done < work.slices() {
        let outcome = work.next(&engine, options).await;
        if let Some(error) = outcome.error {
            return Err(error);
        }
        outcome.manifest.verify()?;
    }
    let ran = work.done - before;
    work.finish();
    Ok(ran)
}

fn new_rows(dir: &Path) -> (i64, i64, i64) {
    let of = |query| number(dir, "d.db", query);
    (
        of("select count(*) from dst where v = 'new'"),
        of("select coalesce(min(id), 0) from dst where v = 'new'"),
        of("select coalesce(max(id), 0) from dst where v = 'new'"),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interval_is_read_again_and_the_position_stays() {
    let dir = tempfile::tempdir().expect("a folder");
    changed_behind(dir.path()).await;
    let position = "select position from _synqx_commit";
    let before = text(dir.path(), position);
    let ran = fill(UPSERT, &request("11", "31", Some("7")), &options(dir.path())).await;
    assert_eq!(ran.expect("fills"), 3);
    assert_eq!(new_rows(dir.path()), (20, 11, 30), "[11, 31)");
    assert!(
        !dir.path().join(".synqx/backfills").exists(),
        "an empty folder stays"
    );
    assert_eq!(text(dir.path(), position), before);
    sql(dir.path(), "s.db", "insert into src values (41, 41, 'next')");
    let next = succeed(dir.path(), UPSERT).await;
    let step = next
        .manifest
        .steps
        .iter()
        .find(|s| s.node == "a")
        .expect("the extract");
    assert_eq!(step.rows_out, 2, "the last value again and what is new");
    let again = fill(UPSERT, &request("11", "31", Some("7")), &options(dir.path())).await;
    assert_eq!(
        again.expect("fills again"),
        3,
        "done is forgotten, and nothing is doubled"
    );
    assert_eq!(number(dir.path(), "d.db", "select count(*) from dst"), 41);
}

fn text(dir: &Path, query: &str) -> String {
    let db = rusqlite::Connection::open(dir.join("d.db")).expect("a database");
    db.query_row(query, [], |row| row.get(0)).expect(query)
}

#[tokio::test(flavor = "multi_thread")]
async fn before_any_run_a_backfill_leaves_no_position() {
    let dir = tempfile::tempdir().expect("a folder");
    sql(
        dir.path(),
        "s.db",
        "create table src (id integer primary key, at integer, v text) strict; insert into src values (1, 1, 'a'), (2, 2, 'b'), (3, 3, 'c')",
    );
    let ran = fill(UPSERT, &request("2", "3", None), &options(dir.path())).await;
    assert_eq!(ran.expect("fills"), 1);
    assert_eq!(number(dir.path(), "d.db", "select sum(id) from dst"), 2);
    succeed(dir.path(), UPSERT).await;
    assert_eq!(
        number(dir.path(), "d.db", "select sum(id) from dst"),
        6,
        "everything is new"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_double_or_lose_rows_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    changed_behind(dir.path()).await;
    let two = UPSERT.replace("  out:", "  b: {extract: {from: s, asset: src, sync: incremental, cursor: id}}\n  u: {union: {inputs: [a, b]}}\n  out:").replace("input: a", "input: u");
    let mut named = request("1", "2", None);
    named.extract = Some("a".to_owned());
    let mut wrong = request("1", "2", None);
    wrong.extract = Some("aa".to_owned());
    let append = UPSERT.replace("write: upsert, key: [id]", "write: append");
    let replace = UPSERT.replace("write: upsert, key: [id]", "write: replace");
    let full = UPSERT.replace(", sync: incremental, cursor: at", "");
    for (yaml, request, code, words) in [
        (append.as_str(), request("1", "2", None), Code::E0103, "append"),
        (&replace, request("1", "2", None), Code::E0103, "replace"),
        (&full, request("1", "2", None), Code::E0103, "no incremental"),
        (&two, request("1", "2", None), Code::E0114, "several"),
        (&two, named, Code::E0103, "another"),
        (UPSERT, wrong, Code::E0114, "aa"),
        (UPSERT, request("2", "2", None), Code::E0114, "before"),
        (UPSERT, request("x", "2", None), Code::E0114, "--from x"),
        (UPSERT, request("1", "2", Some("1d")), Code::E0114, "--slice 1d"),
    ] {
        let error = fill(yaml, &request, &options(dir.path())).await.expect_err(yaml);
        assert_eq!(error.code(), code, "{error:?}");
        assert!(error.message().contains(words), "{error:?}");
        assert!(error.hint().is_some(), "{error:?}");
    }
    assert_eq!(new_rows(dir.path()).0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn append_with_consent_has_each_slice_once() {
    let dir = tempfile::tempdir().expect("a folder");
    sql(
        dir.path(),
        "s.db",
        "create table src (id integer, at integer) strict; insert into src values (1, 1), (2, 2), (3, 3), (4, 4)",
    );
    let append = UPSERT.replace("write: upsert, key: [id]", "write: append");
    let mut request = request("1", "4", Some("1"));
    request.allow_append = true;
    assert_eq!(
        fill(&append, &request, &options(dir.path()))
            .await
            .expect("fills"),
        3
    );
    assert_eq!(
        number(dir.path(), "d.db", "select count(*) * 100 + sum(id) from dst"),
        306
    );
}

/// What a child does: fills `pipeline.yaml` back as the lines of `request` say.
pub(crate) async fn fill_as_requested(dir: &Path, options: &RunOptions) -> Result<()> {
    let lines: Vec<String> = read(dir, "request").lines().map(str::to_owned).collect();
    let filled = fill(&read(dir, "pipeline.yaml"), &asked(&lines), options).await;
    filled.map(drop)
}

fn asked(lines: &[String]) -> BackfillRequest {
    BackfillRequest {
        allow_append: true,
        ..request(&lines[0], &lines[1], Some(&lines[2]))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_and_between_slices_it_goes_on_and_nothing_is_doubled() {
    let mut reached = 0;
    for cell in [
        after(Effect::Intent).nth(2),
        after(Effect::Interval).nth(2),
        after(Effect::Write).nth(2),
        after(Effect::Mark).nth(2),
        before(Effect::Publish).nth(2),
        after(Effect::Publish).nth(2),
        before(Effect::Done).nth(2),
        after(Effect::Done).nth(2),
        after(Effect::Publish).nth(4),
        after(Effect::Done).nth(4),
    ] {
        let dir = tempfile::tempdir().expect("a folder");
        sql(
            dir.path(),
            "s.db",
            "create table src (id integer, at integer) strict; insert into src values (1, 1), (2, 2), (3, 3), (4, 3), (5, 4), (6, 5)",
        );
        let append = UPSERT.replace("write: upsert, key: [id]", "write: append");
        write(dir.path(), "pipeline.yaml", &append);
        write(dir.path(), "request", "1\n5\n1\n");
        reached += usize::from(killed_at(dir.path(), Job::Backfill, cell));
        let lines: Vec<String> = read(dir.path(), "request").lines().map(str::to_owned).collect();
        let ran = fill(&append, &asked(&lines), &options(dir.path())).await;
        ran.unwrap_or_else(|error| panic!("{cell}: {error:?}"));
        assert_eq!(
            number(
                dir.path(),
                "d.db",
                "select count(*) * 1000 + count(distinct id) * 100 + sum(id) from dst"
            ),
            5515,
            "{cell}"
        );
    }
    assert_eq!(reached, 10, "every cell was reached");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_appending_slice_that_nobody_can_know_of_stops() {
    let dir = tempfile::tempdir().expect("a folder");
    sql(
        dir.path(),
        "s.db",
        "create table src (id integer, at integer) strict; insert into src values (1, 1), (2, 2), (3, 3)",
    );
    let append = UPSERT.replace("write: upsert, key: [id]", "write: append");
    write(dir.path(), "pipeline.yaml", &append);
    write(dir.path(), "request", "1\n3\n1\n");
    assert!(killed_at(
        dir.path(),
        Job::Backfill,
        after(Effect::Publish).nth(2)
    ));
    succeed(dir.path(), &append).await;
    let lines: Vec<String> = read(dir.path(), "request").lines().map(str::to_owned).collect();
    let error: Error = fill(&append, &asked(&lines), &options(dir.path()))
        .await
        .expect_err("stops");
    assert_eq!(
        (error.code(), error.node()),
        (Code::E0501, Some("out")),
        "{error:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_stopped_while_publishing_is_finished_first() {
    let dir = tempfile::tempdir().expect("a folder");
    changed_behind(dir.path()).await;
    let intent = {
        let held = engine()
            .backfill(&spec(UPSERT), &request("1", "3", None), &options(dir.path()))
            .await
            .expect("held");
        let twice = engine()
            .backfill(&spec(UPSERT), &request("1", "3", None), &options(dir.path()))
            .await;
        assert_eq!(twice.expect_err("is held").code(), Code::E0503);
        drop(held);
        let runs = std::fs::read_dir(dir.path().join(".synqx/runs")).expect("runs");
        let folder = runs.flatten().next().expect("the pipeline").path();
        let path = folder.join("run_00000000000070008000000000000000.intent");
        let text = "{\"run\":\"run_00000000000070008000000000000000\",\"spec_hash\":\"x\",\"started_ms\":0}\n\npublishing\n";
        std::fs::write(&path, text).expect("an intent");
        path
    };
    let error = fill(UPSERT, &request("1", "3", None), &options(dir.path()))
        .await
        .expect_err("unfinished");
    assert_eq!(error.code(), Code::E0506, "{error:?}");
    std::fs::remove_file(intent).expect("gone");
    fill(UPSERT, &request("1", "3", None), &options(dir.path()))
        .await
        .expect("fills");
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_times_are_filled_back_by_the_day() {
    for server in [Server::Postgres15, Server::Postgres18] {
        let database = ThrowAwayDatabase::on(server).await.expect("a database");
        let client = database.client().await.expect("a client");
        client
            .batch_execute(
                "create table src (id int primary key, at timestamptz not null, v text);
                 insert into src select n, timestamptz '2024-01-01 00:00+00' + (n - 1) * interval '6 hours', 'old' from generate_series(1, 40) n",
            )
            .await
            .expect("a source");
        let dir = tempfile::tempdir().expect("a folder");
        let yaml = format!(
            "name: t\nconnections: {{p: {{type: postgresql, url: '{}'}}}}\nnodes:\n  a: {{extract: {{from: p, asset: public.src, sync: incremental, cursor: at}}}}\n  out: {{load: {{input: a, to: p, asset: public.dst, write: upsert, key: [id]}}}}\n",
            database.url()
        );
        succeed(dir.path(), &yaml).await;
        client
            .batch_execute("update src set v = 'new'")
            .await
            .expect("changes");
        let before: String = client
            .query_one("select position from _synqx_commit", &[])
            .await
            .expect("a position")
            .get(0);
        let request = request("2024-01-02", "2024-01-05T06:00:00+00:00", Some("1d"));
        write(dir.path(), "pipeline.yaml", &yaml);
        write(
            dir.path(),
            "request",
            "2024-01-02\n2024-01-05T06:00:00+00:00\n1d\n",
        );
        assert!(
            killed_at(dir.path(), Job::Backfill, after(Effect::Publish).nth(2)),
            "killed in the second slice"
        );
        let asked = BackfillRequest {
            allow_append: true,
            ..request
        };
        assert_eq!(
            fill(&yaml, &asked, &options(dir.path())).await.expect("goes on"),
            3,
            "the first slice is done"
        );
        let row = client
            .query_one("select count(*), min(id), max(id), (select position from _synqx_commit) from dst where v = 'new'", &[])
            .await
            .expect("rows");
        let found: (i64, i32, i32, String) = (row.get(0), row.get(1), row.get(2), row.get(3));
        assert_eq!(found, (13, 5, 17, before));
        database.discard().await.expect("dropped");
    }
}
