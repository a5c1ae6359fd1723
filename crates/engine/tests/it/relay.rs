//! The raw lane: rows between two PostgreSQL tables of the same types pass as binary COPY, undecoded.
//!
//! What no Arrow type holds (infinities, arrays of several dimensions, `24:00:00`) arrives all the same; where types or
//! versions differ the plan says why rows are decoded. Crashes in the raw lane are rows of the crash matrix.

use std::path::Path;

use synqx_engine::PlanReport;
use synqx_model::Code;
use synqx_plan::Placement;
use synqx_testkit::database::ThrowAwayDatabase;
use synqx_testkit::services::Server;

use crate::setting::{engine, options, run, spec, succeed};

/// Types with values that only the raw lane carries, one column each.
const TABLE: &str = "CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TABLE t (id bigint PRIMARY KEY, n numeric, n2 numeric(12,2), f float8, d date, \
    ts timestamptz, t time, iv interval, m money, j json, b jsonb, u uuid, by bytea, i inet, a int[], ta text[], r int4range, mr datemultirange, \
    p point, po polygon, v varbit(9), ts2 tsvector, l pg_lsn, x xml, c char(5), vc varchar(7), e mood, x8 xid8, ch \"char\")";

const ROWS: &str = "INSERT INTO t VALUES \
    (1, 'NaN', 'NaN', '-Infinity', 'infinity', '-infinity', '24:00:00', '-178000000 years', '-92233720368547758.08', '{\"a\" :1,\"a\":2}', '{\"n\": 1e400}', \
     '00000000-0000-0000-0000-000000000000', '', '::1/64', '[2:3]={7,NULL}', '{{a,b},{c,NULL}}', 'empty', '{[2020-01-01,2021-01-01),[2022-01-01,infinity)}', \
     '(NaN,-0)', '((0,0),(1,1),(2,0))', '101', 'fat:2A cat', '16/B374D848', '<a>1</a>', 'ab', 'x', 'ok', '18446744073709551615', 'z'), \
    (2, 'Infinity', 0.10, -0.0, '4713-01-01 BC', '294276-12-31 23:59:59.999999+00', '00:00', '1 mon -1 day 00:00:00.000001', 0, 'null', 'null', \
     'ffffffff-ffff-ffff-ffff-ffffffffffff', '\\x00ff', '10.0.0.1', '{}', '{}', '(,5)', '{}', '(1e-310,1e308)', '((0,0))', '', '', '0/0', '', '', '', 'sad', '0', ''), \
    (3, repeat('9', 900)::numeric, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)";

/// Every row as text, in the order of the key.
const SEEN: &str = "SELECT (t.*)::text FROM t ORDER BY id";

struct Pair {
    from: ThrowAwayDatabase,
    to: ThrowAwayDatabase,
}

impl Pair {
    async fn of(from: Server, to: Server) -> Pair {
        Pair {
            from: ThrowAwayDatabase::on(from).await.expect("a database"),
            to: ThrowAwayDatabase::on(to).await.expect("a database"),
        }
    }

    fn document(&self, extract: &str, between: &str, load: &str) -> String {
        format!(
            "name: relay\nconnections:\n  s: {{type: postgresql, url: '{}'}}\n  d: {{type: postgresql, url: '{}'}}\nnodes:\n  a: {{extract: {{from: s, asset: t{extract}}}}}\n{between}  out: {{load: {{to: d, asset: t, {load}}}}}\n",
            self.from.url(),
            self.to.url()
        )
    }
}

async fn texts(database: &ThrowAwayDatabase, sql: &str) -> Vec<String> {
    let client = database.client().await.expect("a client");
    let rows = client.query(sql, &[]).await.expect(sql);
    rows.iter().map(|row| row.get(0)).collect()
}

async fn plan(dir: &Path, document: &str) -> PlanReport {
    engine()
        .plan(&spec(document), &options(dir))
        .await
        .expect("a plan")
}

fn placements(report: &PlanReport) -> Vec<Placement> {
    report.steps.iter().map(|step| step.placement).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_nothing_else_carries_arrive_on_both_paths_and_across_versions() {
    for (server, write) in [
        (Server::Postgres15, "append"),
        (Server::Postgres18, "append"),
        (Server::Postgres18, "replace"),
    ] {
        let dir = tempfile::tempdir().expect("a folder");
        let pair = Pair::of(Server::Postgres15, server).await;
        pair.from.execute(TABLE).await.expect("the source");
        pair.from.execute(ROWS).await.expect("its rows");
        pair.to.execute(TABLE).await.expect("the target");
        let document = pair.document("", "", &format!("input: a, write: {write}"));
        let report = plan(dir.path(), &document).await;
        assert!(
            placements(&report)
                .iter()
                .all(|placement| *placement == Placement::Raw),
            "{:?}",
            report.loads
        );
        let outcome = succeed(dir.path(), &document).await;
        assert_eq!(
            texts(&pair.from, SEEN).await,
            texts(&pair.to, SEEN).await,
            "{write}"
        );
        let counted: Vec<u64> = outcome.manifest.steps.iter().map(|step| step.rows_out).collect();
        assert_eq!(counted[0], 3, "{counted:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_created_table_has_the_types_and_parts_share_the_lanes() {
    for lanes in [1, 3] {
        let dir = tempfile::tempdir().expect("a folder");
        let pair = Pair::of(Server::Postgres15, Server::Postgres15).await;
        let fill = "CREATE TABLE t (id int PRIMARY KEY, n numeric(10,3), v varchar(40)); INSERT INTO t SELECT i, i / 7.0, repeat('x', i % 40) FROM generate_series(1, 50000) i";
        pair.from.execute(fill).await.expect("the source");
        let document = pair.document(
            ", partition: {column: id, count: 5}",
            "",
            &format!("input: a, write: append, create: true, lanes: {lanes}"),
        );
        let report = plan(dir.path(), &document).await;
        assert_eq!(placements(&report)[0], Placement::Raw, "{:?}", report.loads);
        succeed(dir.path(), &document).await;
        assert_eq!(texts(&pair.from, SEEN).await, texts(&pair.to, SEEN).await);
        let types = "SELECT string_agg(format_type(atttypid, atttypmod), ' ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > 0";
        assert_eq!(texts(&pair.from, types).await, texts(&pair.to, types).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_and_choices_of_columns_sink_and_the_rest_is_relayed() {
    let dir = tempfile::tempdir().expect("a folder");
    let pair = Pair::of(Server::Postgres15, Server::Postgres15).await;
    pair.from
        .execute("CREATE TABLE t (id int, secret text, n numeric); INSERT INTO t SELECT i, 's', i FROM generate_series(1, 1000) i")
        .await
        .expect("the source");
    let document = pair.document(
        "",
        "  f: {filter: {input: a, where: id > 900}}\n  k: {drop: {input: f, columns: [secret]}}\n",
        "input: k, write: append, create: true",
    );
    let report = plan(dir.path(), &document).await;
    assert!(
        placements(&report)
            .iter()
            .all(|placement| *placement == Placement::Raw),
        "{report:?}"
    );
    assert!(
        !report.sources[0].statement.contains("secret"),
        "{}",
        report.sources[0].statement
    );
    let outcome = succeed(dir.path(), &document).await;
    let whole = "SELECT count(*)::text || ' ' || sum(n)::text FROM t";
    assert_eq!(texts(&pair.to, whole).await, ["100 95050"]);
    assert!(
        outcome
            .manifest
            .steps
            .iter()
            .all(|step| step.rows_out == 100 || step.node == "out")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_decoded_where_types_or_versions_differ_and_the_plan_says_why() {
    let dir = tempfile::tempdir().expect("a folder");
    for (from, to, source, target, why) in [
        (
            Server::Postgres15,
            Server::Postgres15,
            "id int",
            "id bigint",
            "column `id` is bigint here and integer in the source",
        ),
        (
            Server::Postgres15,
            Server::Postgres15,
            "id int, n numeric(9,2)",
            "id int, n numeric(12,2)",
            "column `n` is numeric(12,2) here",
        ),
        (
            Server::Postgres18,
            Server::Postgres15,
            "id int",
            "id int",
            "the source is PostgreSQL 18 and the target 15",
        ),
    ] {
        let pair = Pair::of(from, to).await;
        pair.from
            .execute(&format!("CREATE TABLE t ({source}); INSERT INTO t VALUES (7)"))
            .await
            .expect("the source");
        pair.to
            .execute(&format!("CREATE TABLE t ({target})"))
            .await
            .expect("the target");
        let document = pair.document("", "", "input: a, write: append");
        let report = plan(dir.path(), &document).await;
        assert_eq!(placements(&report), [Placement::Engine, Placement::Engine]);
        let notes = &report.loads[0].preparation.notes;
        assert!(notes.iter().any(|note| note.contains(why)), "{notes:?}");
        succeed(dir.path(), &document).await;
        assert_eq!(texts(&pair.to, "SELECT id::text FROM t").await, ["7"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_of_objects_and_of_types_are_not_relayed() {
    let dir = tempfile::tempdir().expect("a folder");
    let pair = Pair::of(Server::Postgres15, Server::Postgres15).await;
    let table = "CREATE TYPE pair AS (a int, b text); CREATE TABLE t (id int, r regclass, p pair)";
    // A table that only the target has moves its numbers on.
    pair.to
        .execute("CREATE TABLE before ()")
        .await
        .expect("another table");
    for database in [&pair.from, &pair.to] {
        database.execute(table).await.expect("a table");
    }
    pair.from
        .execute("INSERT INTO t VALUES (1, 't'::regclass, '(1,x)')")
        .await
        .expect("a row");
    let document = pair.document("", "", "input: a, write: append");
    assert!(
        placements(&plan(dir.path(), &document).await)
            .iter()
            .all(|p| *p == Placement::Engine)
    );
    succeed(dir.path(), &document).await;
    assert_eq!(
        texts(&pair.from, SEEN.trim_end_matches(" ORDER BY id")).await,
        texts(&pair.to, "SELECT (t.*)::text FROM t").await
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_the_target_refuses_publishes_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let pair = Pair::of(Server::Postgres15, Server::Postgres15).await;
    pair.from
        .execute("CREATE TABLE t (id int); INSERT INTO t SELECT i FROM generate_series(1, 100000) i")
        .await
        .expect("the source");
    pair.to
        .execute("CREATE TABLE t (id int CHECK (id <> 99999))")
        .await
        .expect("the target");
    let document = pair.document("", "", "input: a, write: append");
    let error = run(dir.path(), &document).await.error.expect("is refused");
    assert_eq!(
        (error.code(), error.node()),
        (Code::E0307, Some("out")),
        "{error:?}"
    );
    assert_eq!(texts(&pair.to, "SELECT count(*)::text FROM t").await, ["0"]);
    pair.to
        .execute("ALTER TABLE t DROP CONSTRAINT t_id_check")
        .await
        .expect("is mended");
    succeed(dir.path(), &document).await;
    assert_eq!(
        texts(&pair.to, "SELECT count(DISTINCT id)::text FROM t").await,
        ["100000"]
    );
}
