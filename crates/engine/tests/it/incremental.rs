//! Incremental runs: every new row once, the position never ahead of the rows, and a stop where it would not be so.
//!
//! Crashes between two runs, and in the middle of one with two loads, are in `crash`.

use std::path::Path;

use synqx_engine::RunOutcome;
use synqx_model::Code;
use synqx_testkit::database::ThrowAwayDatabase;
use synqx_testkit::services::Server;

use crate::setting::{engine, options, run, spec, succeed, write};

const COPY: &str = "name: t\nconnections: {s: {type: sqlite, path: ./s.db}, d: {type: sqlite, path: ./d.db}}\nnodes:\n  a: {extract: {from: s, asset: src, sync: incremental, cursor: id}}\n  out: {load: {input: a, to: d, asset: dst, write: append}}\n";

pub(crate) fn sql(dir: &Path, file: &str, text: &str) {
    let db = rusqlite::Connection::open(dir.join(file)).expect("a database");
    db.execute_batch(text).expect(text);
}

pub(crate) fn number(dir: &Path, file: &str, query: &str) -> i64 {
    let db = rusqlite::Connection::open(dir.join(file)).expect("a database");
    db.query_row(query, [], |row| row.get(0)).expect(query)
}

fn source(dir: &Path) {
    sql(
        dir,
        "s.db",
        "create table src (id integer primary key, v text) strict; insert into src values (1, 'a'), (2, 'b'), (5, 'c')",
    );
}

fn dst(dir: &Path) -> (i64, i64) {
    (
        number(dir, "d.db", "select count(*) from dst"),
        number(dir, "d.db", "select count(distinct id) from dst"),
    )
}

fn cursor(outcome: &RunOutcome, load: &str) -> Option<String> {
    let step = outcome
        .manifest
        .steps
        .iter()
        .find(|s| s.node == load)
        .expect("the load");
    let position = &step.load.as_ref().expect("a load").position;
    let read = position.0.get("a")?;
    read.cursor.as_ref().map(|c| c.value.clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_new_row_arrives_once_over_many_runs() {
    let dir = tempfile::tempdir().expect("a folder");
    source(dir.path());
    let first = succeed(dir.path(), COPY).await;
    assert_eq!(
        (dst(dir.path()), cursor(&first, "out").as_deref()),
        ((3, 3), Some("5"))
    );
    let nothing = succeed(dir.path(), COPY).await;
    assert_eq!(
        (dst(dir.path()), cursor(&nothing, "out").as_deref()),
        ((3, 3), Some("5"))
    );
    sql(dir.path(), "s.db", "insert into src values (6, 'd'), (9, 'e')");
    let third = succeed(dir.path(), COPY).await;
    assert_eq!(
        (dst(dir.path()), cursor(&third, "out").as_deref()),
        ((5, 5), Some("9"))
    );
    let read = third
        .manifest
        .steps
        .iter()
        .find(|s| s.node == "a")
        .expect("the extract");
    assert_eq!(read.rows_out, 2, "only what is new was read");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_source_has_no_position_and_nulls_are_told() {
    let dir = tempfile::tempdir().expect("a folder");
    sql(dir.path(), "s.db", "create table src (id integer, v text) strict");
    let first = succeed(dir.path(), COPY).await;
    assert_eq!(cursor(&first, "out"), None);
    sql(dir.path(), "s.db", "insert into src values (1, 'a'), (null, 'b')");
    let second = succeed(dir.path(), COPY).await;
    assert_eq!(dst(dir.path()).0, 1);
    assert!(
        second
            .manifest
            .warnings
            .iter()
            .any(|w| w.contains("1 rows of `a` have no `id`")),
        "{:?}",
        second.manifest.warnings
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_of_another_source_or_column_stops_the_run_with_a_choice() {
    let dir = tempfile::tempdir().expect("a folder");
    source(dir.path());
    succeed(
        dir.path(),
        &COPY.replace("sync: incremental, cursor: id", "sync: full"),
    )
    .await;
    let error = run(dir.path(), COPY).await.error.expect("no cursor is stored");
    assert_eq!(
        (error.code(), error.node()),
        (Code::E0502, Some("a")),
        "{error:?}"
    );
    let mut adopting = options(dir.path());
    adopting.adopt = true;
    let adopted = engine().run(&spec(COPY), &adopting).await;
    assert!(adopted.error.is_none(), "{:?}", adopted.error);
    assert_eq!(
        (dst(dir.path()), cursor(&adopted, "out").as_deref()),
        ((3, 3), Some("5")),
        "nothing is read again"
    );
    let other = COPY.replace("cursor: id", "cursor: n");
    sql(
        dir.path(),
        "s.db",
        "alter table src add column n integer; update src set n = id",
    );
    let error = run(dir.path(), &other).await.error.expect("another column");
    assert_eq!(error.code(), Code::E0502, "{error:?}");
    sql(dir.path(), "s.db", "alter table src drop column n");
    std::fs::copy(dir.path().join("s.db"), dir.path().join("moved.db")).expect("a copy");
    let moved = COPY.replace("./s.db", "./moved.db");
    let error = run(dir.path(), &moved).await.error.expect("another source");
    assert_eq!(error.code(), Code::E0502, "{error:?}");
    sql(dir.path(), "moved.db", "insert into src (id, v) values (6, 'd')");
    let adopted = engine().run(&spec(&moved), &adopting).await;
    assert!(adopted.error.is_none(), "{:?}", adopted.error);
    assert_eq!(dst(dir.path()), (4, 4));
    let mut resetting = options(dir.path());
    resetting.reset = true;
    let reset = engine().run(&spec(&moved), &resetting).await;
    // The target was made with the source's key, so that an append of all rows again is refused; an upsert is not.
    assert_eq!(reset.error.map(|e| e.code()), Some(Code::E0307));
    let upsert = moved.replace("write: append", "write: upsert, key: [id]");
    let reset = engine().run(&spec(&upsert), &resetting).await;
    assert!(reset.error.is_none(), "{:?}", reset.error);
    let read = reset
        .manifest
        .steps
        .iter()
        .find(|s| s.node == "a")
        .expect("the extract");
    assert_eq!(
        (read.rows_out, dst(dir.path())),
        (4, (4, 4)),
        "everything was read again"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn modes_that_would_lose_or_double_rows_are_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    source(dir.path());
    write(dir.path(), "a.csv", "day,v\n2024-01-01,x\n");
    let of_dates = COPY
        .replace(
            "s: {type: sqlite, path: ./s.db}",
            "s: {type: local_file, path: .}",
        )
        .replace("asset: src", "asset: a.csv")
        .replace("cursor: id", "cursor: day");
    for (yaml, code) in [
        (COPY.replace("write: append", "write: replace"), Code::E0103),
        (
            COPY.replace("cursor: id", "cursor: id, lookback: 5m"),
            Code::E0103,
        ),
        (COPY.replace(", cursor: id", ""), Code::E0103),
        (
            COPY.replace("{input: a", "{input: l")
                .replace("  out:", "  l: {sql: select * from a limit 2}\n  out:"),
            Code::E0103,
        ),
        (COPY.replace("cursor: id", "cursor: v"), Code::E0402),
        (COPY.replace("cursor: id", "cursor: idd"), Code::E0401),
        (COPY.replace("sync: incremental", "sync: full"), Code::E0103),
        (of_dates, Code::E0103),
    ] {
        let error = run(dir.path(), &yaml).await.error.expect("is refused");
        assert_eq!(error.code(), code, "{yaml}\n{error:?}");
    }
    assert!(!dir.path().join("d.db").exists(), "nothing was made");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_is_new_stops_the_run_until_everything_is_read_again() {
    let dir = tempfile::tempdir().expect("a folder");
    source(dir.path());
    succeed(dir.path(), COPY).await;
    let two = format!("{COPY}  second: {{load: {{input: a, to: d, asset: dst2, write: append}}}}\n");
    let error = run(dir.path(), &two).await.error.expect("they differ");
    assert_eq!(error.code(), Code::E0502, "{error:?}");
}

struct Shop {
    dir: tempfile::TempDir,
    database: ThrowAwayDatabase,
}

impl Shop {
    async fn new() -> Self {
        let database = ThrowAwayDatabase::on(Server::Postgres15)
            .await
            .expect("cargo x up");
        let make = "create table orders (id bigserial primary key, v text, at timestamptz not null default now()); \
                    insert into orders (v, at) values ('a', '2024-03-31 01:59:59.999999+00'), ('b', '2024-03-31 02:00:00+00')";
        database.execute(make).await.expect("a table");
        let dir = tempfile::tempdir().expect("a folder");
        Shop { dir, database }
    }

    fn document(&self, cursor: &str, load: &str) -> String {
        format!(
            "name: shop\nconnections: {{p: {{type: postgresql, url: \"{}\"}}, d: {{type: sqlite, path: ./d.db}}}}\nnodes:\n  a: {{extract: {{from: p, asset: public.orders, sync: incremental, cursor: {cursor}}}}}\n  out: {{load: {{input: a, to: d, asset: dst, {load}}}}}\n",
            self.database.url()
        )
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upsert_reads_ties_of_the_last_value_again() {
    let shop = Shop::new().await;
    let yaml = shop.document("at", "write: upsert, key: [id]");
    let first = succeed(shop.dir.path(), &yaml).await;
    assert_eq!(cursor(&first, "out").as_deref(), Some("2024-03-31T02:00:00Z"));
    let tie = "insert into orders (v, at) values ('tie', '2024-03-31 04:00:00+02')";
    shop.database.execute(tie).await.expect("a tie");
    succeed(shop.dir.path(), &yaml).await;
    assert_eq!(
        dst(shop.dir.path()),
        (3, 3),
        "the row with the same cursor came later and is there"
    );
    let late = "insert into orders (v, at) values ('late', '2024-03-31 01:58:00+00')";
    shop.database.execute(late).await.expect("a late row");
    succeed(shop.dir.path(), &yaml).await;
    assert_eq!(dst(shop.dir.path()), (3, 3), "it is below the position");
    succeed(
        shop.dir.path(),
        &yaml.replace("cursor: at", "cursor: at, lookback: 5m"),
    )
    .await;
    assert_eq!(dst(shop.dir.path()), (4, 4), "a lookback finds it");
    shop.database.discard().await.expect("dropped");
}

/// A row takes its number, another one with a greater number is committed first. The read must not go past the first.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_committed_late_is_waited_for() {
    let shop = Shop::new().await;
    let yaml = shop.document("id", "write: append");
    let mut slow = shop.database.client().await.expect("a client");
    let open = slow.transaction().await.expect("a transaction");
    open.execute("insert into orders (v) values ('slow')", &[])
        .await
        .expect("a row");
    shop.database
        .execute("insert into orders (v) values ('fast')")
        .await
        .expect("a row");
    let running = {
        let (yaml, options) = (yaml.clone(), options(shop.dir.path()));
        tokio::spawn(async move { engine().run(&spec(&yaml), &options).await })
    };
    // The read looks at its open transactions by this query; once it has, it waits for ours.
    let watching = "select count(*) from pg_stat_activity where datname = current_database() and query like '%virtualxid%' and pid <> pg_backend_pid()";
    let watcher = shop.database.client().await.expect("a client");
    while watcher
        .query_one(watching, &[])
        .await
        .expect("a count")
        .get::<_, i64>(0)
        == 0
    {
        tokio::task::yield_now().await;
    }
    open.commit().await.expect("commits");
    let outcome = running.await.expect("the run");
    assert!(outcome.error.is_none(), "{:?}", outcome.error);
    assert_eq!(cursor(&outcome, "out").as_deref(), Some("4"));
    assert_eq!(dst(shop.dir.path()), (4, 4), "the slow row is not lost");
    shop.database.discard().await.expect("dropped");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_range_reaches_the_server() {
    let shop = Shop::new().await;
    let yaml = shop.document("id", "write: append");
    succeed(shop.dir.path(), &yaml).await;
    shop.database
        .execute("insert into orders (v) select 'x' from generate_series(1, 40)")
        .await
        .expect("rows");
    let plan = engine()
        .plan(&spec(&yaml), &options(shop.dir.path()))
        .await
        .expect("a plan");
    let statement = &plan.sources[0].statement;
    assert!(statement.contains("\"id\" > '2'::pg_catalog.int8"), "{statement}");
    assert!(
        statement.contains("\"id\" <= '42'::pg_catalog.int8"),
        "{statement}"
    );
    shop.database.discard().await.expect("dropped");
}
