//! A network that fails in the middle, between a run and a real PostgreSQL: cut, refused, or an answer that is lost.
//!
//! A proxy of the test kit stands between them. Each case demands the code, that nothing is half-visible, and that the
//! next attempt (or the next run) gives every row exactly once. What a source was asked for is read from its log.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use synqx_engine::{Events, RunOutcome};
use synqx_model::Code;
use synqx_model::event::EventKind;
use synqx_sdk::{Effect, Moment, Probe};
use synqx_testkit::database::ThrowAwayDatabase;
use synqx_testkit::proxy::{Direction, FaultProxy};
use synqx_testkit::services::Server;

use crate::setting::{engine, files_below, options, run, sorted_lines, spec, succeed, write};

const ROWS: i64 = 60_000;

/// A faithful proxy to the server of a URL.
pub(crate) async fn proxy_to(url: &str) -> Arc<FaultProxy> {
    let host = url.split('@').nth(1).and_then(|rest| rest.split('/').next());
    let proxy = FaultProxy::start(host.expect("a host")).await;
    Arc::new(proxy.expect("a proxy"))
}

struct Setting {
    dir: tempfile::TempDir,
    database: ThrowAwayDatabase,
    proxy: Arc<FaultProxy>,
}

impl Setting {
    async fn new() -> Self {
        let database = ThrowAwayDatabase::on(Server::Postgres15)
            .await
            .expect("cargo x up");
        let proxy = proxy_to(&database.url()).await;
        let dir = tempfile::tempdir().expect("a folder");
        let mut rows = String::from("k,v\n");
        for k in 0..ROWS {
            rows.push_str(&format!("{k},value {k} {}\n", "x".repeat(30)));
        }
        write(dir.path(), "a.csv", &rows);
        Setting { dir, database, proxy }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn document(&self, nodes: &str) -> String {
        // Unencrypted, so that the proxy can read what goes by.
        let url = format!("{}?sslmode=disable", self.proxy.url(&self.database.url()));
        format!(
            "name: t\nconnections: {{d: {{type: local_file, path: .}}, p: {{type: postgresql, url: \"{url}\"}}}}\nnodes:\n{nodes}"
        )
    }

    /// Files → PostgreSQL, appended.
    fn load(&self) -> String {
        self.document(
            "  a: {extract: {from: d, asset: a.csv}}\n  out: {load: {input: a, to: p, asset: public.t, write: append}}\n",
        )
    }

    /// PostgreSQL → file.
    fn extract(&self) -> String {
        self.document(
            "  a: {extract: {from: p, asset: public.s}}\n  out: {load: {input: a, to: d, asset: o.csv, write: replace}}\n",
        )
    }

    async fn source(&self) {
        let make =
            format!("create table s as select g as k, 'value ' || g as v from generate_series(1, {ROWS}) g");
        self.database.execute(&make).await.expect("a table");
    }

    async fn rows(&self) -> (i64, i64) {
        let client = self.database.client().await.expect("a client");
        let row = client
            .query_one("select count(*), count(distinct k) from public.t", &[])
            .await;
        row.map(|row| (row.get(0), row.get(1))).unwrap_or((0, 0))
    }

    async fn leftovers(&self) -> i64 {
        let client = self.database.client().await.expect("a client");
        let query = "select count(*) from pg_class where relname like '\\_synqx%' and relkind = 'r' and relname <> '_synqx_commit'";
        client.query_one(query, &[]).await.expect("a count").get(0)
    }
}

async fn again(setting: &Setting, yaml: &str, retries: u32) -> RunOutcome {
    let mut options = options(setting.path());
    options.retries = retries;
    engine().run(&spec(yaml), &options).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_gone_mid_copy_is_said_and_the_next_attempt_has_every_row() {
    let setting = Setting::new().await;
    setting.source().await;
    write(setting.path(), "o.csv", "old\n");
    setting.proxy.cut_after(Direction::ToClient, 400_000);
    let error = again(&setting, &setting.extract(), 0)
        .await
        .error
        .expect("the source is gone");
    assert_eq!(
        (error.code(), error.node()),
        (Code::E0205, Some("a")),
        "{error:?}"
    );
    assert_eq!(
        crate::setting::read(setting.path(), "o.csv"),
        "old\n",
        "the old file stays"
    );
    setting.proxy.cut_after(Direction::ToClient, 400_000);
    let outcome = again(&setting, &setting.extract(), 2).await;
    assert!(outcome.error.is_none(), "{:?}", outcome.error);
    assert_eq!(outcome.manifest.attempts, 2);
    assert_eq!(sorted_lines(setting.path(), "o.csv").len() as i64, ROWS);
    setting.database.discard().await.expect("dropped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_gone_mid_copy_is_said_and_nothing_is_there() {
    let setting = Setting::new().await;
    let ddl = "create table t (k bigint, v text)";
    setting.database.execute(ddl).await.expect("a table");
    setting.proxy.cut_after(Direction::ToServer, 300_000);
    let error = again(&setting, &setting.load(), 0)
        .await
        .error
        .expect("the destination is gone");
    assert_eq!(
        (error.code(), error.node()),
        (Code::E0305, Some("out")),
        "{error:?}"
    );
    assert_eq!(setting.rows().await, (0, 0), "nothing is visible");
    setting.proxy.cut_after(Direction::ToServer, 300_000);
    let outcome = again(&setting, &setting.load(), 2).await;
    assert!(outcome.error.is_none(), "{:?}", outcome.error);
    assert_eq!(
        (setting.rows().await, setting.leftovers().await),
        ((ROWS, ROWS), 0)
    );
    setting.database.discard().await.expect("dropped");
}

/// What is lost of the first commit that publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lost {
    /// The server never hears of it.
    Request,
    /// The server has done it, and nobody learns of it.
    Answer,
}

/// Breaks the connection at the first commit that publishes.
#[derive(Debug)]
pub(crate) struct Breaks {
    proxy: Arc<FaultProxy>,
    lost: Lost,
    done: AtomicBool,
}

impl Breaks {
    pub(crate) fn at_the_commit(proxy: &Arc<FaultProxy>, lost: Lost) -> Arc<Self> {
        Arc::new(Breaks {
            proxy: Arc::clone(proxy),
            lost,
            done: AtomicBool::new(false),
        })
    }
}

impl Probe for Breaks {
    fn reach(&self, effect: Effect, moment: Moment) -> synqx_model::Result<()> {
        if (effect, moment) == (Effect::Publish, Moment::Before) && !self.done.swap(true, Ordering::SeqCst) {
            match self.lost {
                Lost::Answer => self.proxy.lose_answer(b"COMMIT", b"COMMIT"),
                Lost::Request => self.proxy.cut_after(Direction::ToServer, 0),
            }
        }
        Ok(())
    }
}

/// The server commits and its answer never arrives: the next attempt must find its rows there and not write them again.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_to_the_commit_is_asked_for_and_rows_are_there_once() {
    for retries in [0, 2] {
        let setting = Setting::new().await;
        let ddl = "create table t (k bigint, v text)";
        setting.database.execute(ddl).await.expect("a table");
        let mut options = options(setting.path());
        options.retries = retries;
        options.probe = Breaks::at_the_commit(&setting.proxy, Lost::Answer);
        let outcome = engine().run(&spec(&setting.load()), &options).await;
        tokio::time::timeout(Duration::from_secs(10), setting.proxy.fired(1))
            .await
            .expect("the answer was lost");
        let told = &outcome.manifest.warnings;
        assert!(
            !told.iter().any(|w| w.contains("nothing was read")),
            "this run read every row: {told:?}"
        );
        let after = succeed_unless(outcome, &setting).await;
        assert_eq!(
            setting.rows().await,
            (ROWS, ROWS),
            "with {retries} retries: {after}"
        );
        assert_eq!(setting.leftovers().await, 0);
        setting.database.discard().await.expect("dropped");
    }
}

/// The server rolls back and its answer never arrives: the old rows are there once, and a second rollback finds nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_to_a_rollback_leaves_the_previous_rows_there_once() {
    let setting = Setting::new().await;
    let old = "create table t (k bigint, v text); insert into t values (-1, 'old'), (-2, 'old')";
    setting.database.execute(old).await.expect("a table");
    let keeping = "write: replace, replace: {keep_previous: true}";
    let yaml = setting.load().replace("write: append", keeping);
    succeed(setting.path(), &yaml).await;
    assert_eq!(setting.rows().await, (ROWS, ROWS));
    let mut options = options(setting.path());
    options.probe = Breaks::at_the_commit(&setting.proxy, Lost::Answer);
    for code in [Code::E0317, Code::E0304] {
        let refused = engine().rollback(&spec(&yaml), None, &options).await;
        assert_eq!(refused.map_err(|e| e.code()), Err(code));
        assert_eq!(setting.rows().await, (2, 2), "the old rows, once");
    }
    assert_eq!(setting.leftovers().await, 0);
    setting.database.discard().await.expect("dropped");
}

/// A run that failed because it could not ask is finished by the next one.
async fn succeed_unless(outcome: RunOutcome, setting: &Setting) -> &'static str {
    match outcome.error {
        None => "decided within the run",
        Some(_) => {
            succeed(setting.path(), &setting.load()).await;
            "decided by the next run"
        }
    }
}

/// Tells when a run begins to wait for its next attempt.
#[derive(Default)]
struct Retried(tokio::sync::Notify);

impl Events for Retried {
    fn emit(&self, event: EventKind) {
        if matches!(event, EventKind::Retry { .. }) {
            self.0.notify_one();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_refuses_connections_is_tried_again() {
    let setting = Setting::new().await;
    setting.proxy.refuse().await;
    let error = again(&setting, &setting.load(), 0).await.error.expect("refused");
    assert_eq!(error.code(), Code::E0301, "{error:?}");
    let retried = Arc::new(Retried::default());
    let waiting = {
        let (yaml, mut options) = (setting.load(), options(setting.path()));
        (options.retries, options.backoff) = (8, Duration::from_millis(50));
        options.events = Arc::clone(&retried) as _;
        tokio::spawn(async move { engine().run(&spec(&yaml), &options).await })
    };
    retried.0.notified().await;
    setting.proxy.accept().await.expect("accepts again");
    let outcome = waiting.await.expect("the run");
    assert!(outcome.error.is_none(), "{:?}", outcome.error);
    assert!(outcome.manifest.attempts > 1);
    assert_eq!(setting.rows().await, (ROWS, ROWS));
    setting.database.discard().await.expect("dropped");
}

/// Filters, columns and limits reach the server: its own log is the witness.
#[tokio::test(flavor = "multi_thread")]
async fn the_server_logs_the_filter_and_the_columns_it_was_asked_for() {
    let setting = Setting::new().await;
    setting.source().await;
    let log_everything = format!(
        "alter database {} set log_statement = 'all'",
        setting.database.name()
    );
    setting
        .database
        .execute(&log_everything)
        .await
        .expect("a setting");
    let yaml = setting.document(
        "  a: {extract: {from: p, asset: public.s}}\n  b: {rename: {input: a, columns: {k: id}}}\n  f: {filter: {input: b, where: \"id between 41001 and 41010\"}}\n  m: {map: {input: f, columns: {id: id}, keep: false}}\n  out: {load: {input: m, to: d, asset: o.csv, write: replace}}\n",
    );
    succeed(setting.path(), &yaml).await;
    assert_eq!(sorted_lines(setting.path(), "o.csv").len(), 10);
    let log = std::fs::read_to_string(Server::Postgres15.log()).expect("the server's log");
    let copies: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("COPY") && line.contains("41001") && line.contains("41010"))
        .collect();
    assert!(!copies.is_empty(), "no COPY with the condition was logged");
    assert!(
        copies.iter().all(|line| !line.contains("\"v\"")),
        "the unused column was read: {copies:?}"
    );
    setting.database.discard().await.expect("dropped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_named_with_quotes_and_emoji_is_written_and_read() {
    let setting = Setting::new().await;
    let asset = r#"public."o""d 🦀 table""#;
    let out = format!(
        "  a: {{extract: {{from: d, asset: a.csv}}}}\n  out: {{load: {{input: a, to: p, asset: '{asset}', write: replace}}}}\n"
    );
    succeed(setting.path(), &setting.document(&out)).await;
    let back = format!(
        "  a: {{extract: {{from: p, asset: '{asset}'}}}}\n  out: {{load: {{input: a, to: d, asset: o.csv, write: replace}}}}\n"
    );
    succeed(setting.path(), &setting.document(&back)).await;
    assert_eq!(
        sorted_lines(setting.path(), "o.csv"),
        sorted_lines(setting.path(), "a.csv")
    );
    setting.database.discard().await.expect("dropped");
}

/// A file that grows between plan and end of the read is another file: stop, and leave what was there.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_grows_while_it_is_read_is_refused() {
    use std::io::Write as _;
    let dir = tempfile::tempdir().expect("a folder");
    let rows: String = (0..400_000).map(|k| format!("{k},value\n")).collect();
    let path = write(dir.path(), "a.csv", &format!("k,v\n{rows}"));
    let over = Arc::new(AtomicBool::new(false));
    let growing = {
        let over = Arc::clone(&over);
        std::thread::spawn(move || {
            let mut file = std::fs::OpenOptions::new()
                .append(true)
                .open(path)
                .expect("the file");
            while !over.load(Ordering::SeqCst) {
                file.write_all(b"-1,late\n").expect("a row");
            }
        })
    };
    let yaml = "name: t\nconnections: {d: {type: local_file, path: .}}\nnodes:\n  a: {extract: {from: d, asset: a.csv}}\n  s: {sort: {input: a, by: [k]}}\n  out: {load: {input: s, to: d, asset: o.csv, write: replace}}\n";
    let outcome = run(dir.path(), yaml).await;
    over.store(true, Ordering::SeqCst);
    growing.join().expect("the writer");
    let error = outcome.error.expect("the file grew");
    // Noticed when it is opened, or while it is read.
    assert!(matches!(error.code(), Code::E0209 | Code::E0215), "{error:?}");
    assert_eq!(error.node(), Some("a"));
    assert!(!files_below(dir.path()).contains(&"o.csv".to_owned()));
    succeed(dir.path(), yaml).await;
}
