//! The crash matrix: kill the process before and after every effect, lose every commit's answer, restart, compare.
//!
//! The harness re-executes this test binary: the child runs a pipeline with a probe that aborts the process at one
//! cell (effect, moment, occurrence), the parent runs the same document again in the same folder and compares the
//! destination with the undisturbed one. A cell that is not reached says so in the table; a wrong one fails, and so does
//! one in which nothing was wrong before the restart: then nothing would be shown. A second pass kills the restarted run
//! as well, at every cell. Another test removes a protection and demands that the harness sees it.

mod postgres;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use synqx_model::{Code, Error, Result};
use synqx_sdk::{Effect, Moment, Probe};

use crate::setting::{engine, files_below, options, read, sorted_lines, spec, write};

const ROWS: usize = 12_000;

/// Where a child is told what to do.
const CHILD: &str = "SYNQX_CRASH_CHILD";

/// Aborts the process at one cell, or loses the answer there.
#[derive(Debug)]
pub(crate) struct Cell {
    effect: Effect,
    moment: Moment,
    nth: u32,
    kill: bool,
    seen: AtomicU32,
}

impl Cell {
    pub(crate) fn new(effect: Effect, moment: Moment, nth: u32, kill: bool) -> Self {
        Cell {
            effect,
            moment,
            nth,
            kill,
            seen: AtomicU32::new(0),
        }
    }
}

impl Probe for Cell {
    fn reach(&self, effect: Effect, moment: Moment) -> Result<()> {
        if (effect, moment) != (self.effect, self.moment)
            || self.seen.fetch_add(1, Ordering::SeqCst) + 1 != self.nth
        {
            return Ok(());
        }
        if self.kill {
            std::process::abort();
        }
        Err(Error::new(Code::E0317, "the answer was lost"))
    }
}

/// Counts how often each cell is reached, so that only those are tried.
#[derive(Debug, Default)]
struct Reached(Mutex<BTreeMap<(Effect, Moment), u32>>);

impl Reached {
    fn often(&self, effect: Effect, moment: Moment) -> u32 {
        let counts = self.0.lock().expect("counts");
        counts.get(&(effect, moment)).copied().unwrap_or_default()
    }
}

impl Probe for Reached {
    fn reach(&self, effect: Effect, moment: Moment) -> Result<()> {
        *self
            .0
            .lock()
            .expect("counts")
            .entry((effect, moment))
            .or_default() += 1;
        Ok(())
    }
}

/// How often an effect is worth killing at. A new effect without a row here does not compile.
fn occurrences(effect: Effect) -> &'static [u32] {
    match effect {
        Effect::Write => &[1, 3],
        Effect::Intent
        | Effect::Interval
        | Effect::Fence
        | Effect::Sweep
        | Effect::Stage
        | Effect::Seal
        | Effect::Quarantine
        | Effect::Mark
        | Effect::Publish
        | Effect::Record
        | Effect::Cleanup
        | Effect::Done => &[1],
    }
}

/// The child: runs a document under a probe. Without its variable it is not a child and has nothing to do.
#[tokio::test(flavor = "multi_thread")]
async fn child() {
    let Ok(task) = std::env::var(CHILD) else { return };
    let parts: Vec<&str> = task.splitn(5, '|').collect();
    let effect = *Effect::ALL
        .iter()
        .find(|e| e.as_str() == parts[1])
        .expect("an effect");
    let moment = if parts[2] == "before" {
        Moment::Before
    } else {
        Moment::After
    };
    let dir = Path::new(parts[0]);
    let mut options = options(dir);
    options.memory = synqx_model::ByteSize::mib(8);
    options.probe = Arc::new(Cell::new(
        effect,
        moment,
        parts[3].parse().expect("a number"),
        true,
    ));
    let outcome = engine().run(&spec(&read(dir, "pipeline.yaml")), &options).await;
    if let Some(error) = outcome.error {
        panic!("{error:?}");
    }
}

/// Kills a run at a cell. `false` when the cell was not reached (the run then ended well).
fn killed_at(dir: &Path, effect: Effect, moment: Moment, nth: u32) -> bool {
    let moment = if moment == Moment::Before {
        "before"
    } else {
        "after"
    };
    let status = Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", "crash::child", "--test-threads", "1"])
        .env(
            CHILD,
            format!("{}|{}|{moment}|{nth}|", dir.display(), effect.as_str()),
        )
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status()
        .expect("a child");
    assert!(
        status.success() || status.code().is_none(),
        "the child failed by itself at {} {moment}",
        effect.as_str()
    );
    status.code().is_none()
}

/// What a scenario needs to know about its destination.
#[async_trait::async_trait]
trait Scenario: Sync {
    /// For the table.
    fn name(&self) -> String;
    /// A fresh folder (and table) with what is there before the run. Returns the document.
    async fn prepare(&self, dir: &Path) -> String;
    /// The destination's rows, sorted.
    async fn rows(&self, dir: &Path) -> Vec<String>;
    /// Staging that is still there.
    async fn leftovers(&self, dir: &Path) -> Vec<String>;
    /// Looking at the rows changes nothing, so that they can be looked at before the restart.
    fn shows_harm(&self) -> bool {
        true
    }
}

/// What a load says besides its mode, on a table with columns k and v.
fn mode_keys(mode: &str) -> &'static str {
    match mode {
        "upsert" | "mirror" => ", key: [k]",
        "delete_insert" => ", partition_by: [k]",
        "scd2" => ", key: [k], scd2: {time: k}",
        _ => "",
    }
}

/// A table with rows that the modes treat differently: one whose key does not arrive, one whose key does.
fn table_ddl(mode: &str) -> &'static str {
    match mode {
        "append" => "create table t (k bigint primary key, v text); insert into t values (-5, 'old');",
        "scd2" => {
            "create table t (k bigint, v text, valid_from bigint, valid_to bigint, is_current boolean, primary key (k, valid_from)); \
             insert into t values (-5, 'old', 1, null, true), (77, 'old', 5, null, true);"
        }
        _ => "create table t (k bigint primary key, v text); insert into t values (-5, 'old'), (77, 'old');",
    }
}

/// A row of that table as text.
fn row_text(mode: &str) -> &'static str {
    match mode {
        "scd2" => {
            "k || ',' || v || ',' || valid_from || ',' || coalesce(valid_to, -1) || case when is_current then ' now' else '' end"
        }
        _ => "k || ',' || v",
    }
}

fn source(dir: &Path) {
    source_of(dir, ROWS);
}

fn source_of(dir: &Path, rows: usize) {
    let mut text = String::from("k,v\n");
    for i in 0..rows {
        text.push_str(&format!("{i},value {i} {}\n", "x".repeat(40)));
    }
    write(dir, "in/src.csv", &text);
}

fn document(connection: &str, load: &str) -> String {
    format!(
        "name: crash\nconnections:\n  src: {{type: local_file, path: ./in}}\n  dst: {connection}\nnodes:\n  a: {{extract: {{from: src, asset: src.csv}}}}\n  v: {{validate: {{input: a, checks: [{{column: k, check: range, min: 10, on_fail: quarantine}}]}}}}\n  out: {{load: {{input: v, to: dst, {load}}}}}\n"
    )
}

async fn restart(dir: &Path) -> Arc<Reached> {
    let reached = Arc::new(Reached::default());
    let mut options = options(dir);
    options.memory = synqx_model::ByteSize::mib(8);
    options.probe = Arc::clone(&reached) as Arc<dyn Probe>;
    let outcome = engine().run(&spec(&read(dir, "pipeline.yaml")), &options).await;
    if let Some(error) = outcome.error {
        panic!("the restart failed: {error:?}");
    }
    reached
}

/// What is wrong with a folder, compared with the undisturbed rows.
async fn faults(scenario: &dyn Scenario, dir: &Path, undisturbed: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    let rows = scenario.rows(dir).await;
    if rows != undisturbed {
        found.push(format!("{} rows instead of {}", rows.len(), undisturbed.len()));
    }
    let leftovers = scenario.leftovers(dir).await;
    if !leftovers.is_empty() {
        found.push(format!("left behind {leftovers:?}"));
    }
    let intents = files_below(&dir.join(".synqx/runs"));
    let intents: Vec<String> = intents.into_iter().filter(|f| f.ends_with("intent")).collect();
    if !intents.is_empty() {
        found.push(format!("left behind {intents:?}"));
    }
    found
}

/// A folder that is ready for a run.
async fn ready(scenario: &dyn Scenario) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    source(dir.path());
    let yaml = scenario.prepare(dir.path()).await;
    write(dir.path(), "pipeline.yaml", &yaml);
    dir
}

/// Runs every cell of a scenario and prints its row of the table. Holes are collected, so one run shows them all.
async fn matrix(scenario: &dyn Scenario) {
    let started = std::time::Instant::now();
    let (reached, undisturbed) = {
        let dir = ready(scenario).await;
        let reached = restart(dir.path()).await;
        (reached, scenario.rows(dir.path()).await)
    };
    assert!(undisturbed.len() >= ROWS - 10, "{} rows", undisturbed.len());
    let mut holes = Vec::new();
    let mut row = format!("{:<26}", scenario.name());
    for effect in Effect::ALL {
        for moment in [Moment::Before, Moment::After] {
            for nth in occurrences(*effect) {
                if reached.often(*effect, moment) < *nth {
                    row.push_str(" ·");
                    continue;
                }
                let cell = format!("{} {moment:?} {nth}", effect.as_str());
                let dir = ready(scenario).await;
                if !killed_at(dir.path(), *effect, moment, *nth) {
                    holes.push(format!("{cell}: was not reached a second time"));
                }
                // A run killed after its intent was closed had succeeded; a person would not run it again.
                if (*effect, moment) != (Effect::Done, Moment::After) {
                    // Looking may itself read further (`Incremental` does), so not there.
                    if scenario.shows_harm() && faults(scenario, dir.path(), &undisturbed).await.is_empty() {
                        holes.push(format!("{cell}: nothing was wrong before the restart"));
                    }
                    restart(dir.path()).await;
                }
                let wrong = faults(scenario, dir.path(), &undisturbed).await;
                row.push_str(if wrong.is_empty() { " ✓" } else { " ✗" });
                holes.extend(wrong.into_iter().map(|wrong| format!("{cell}: {wrong}")));
            }
        }
    }
    println!("{row}  {:.0} s", started.elapsed().as_secs_f64());
    recovery(scenario, &undisturbed, &mut holes).await;
    assert!(holes.is_empty(), "{}:\n  {}", scenario.name(), holes.join("\n  "));
    lost_answer(scenario, &undisturbed).await;
}

/// Kills a run just before and just after it publishes, kills its restart at every cell, and restarts once more.
async fn recovery(scenario: &dyn Scenario, undisturbed: &[String], holes: &mut Vec<String>) {
    let started = std::time::Instant::now();
    let mut row = format!("{:<26}", format!("  again {}", scenario.name()));
    for first in [Moment::Before, Moment::After] {
        row.push_str(" |");
        let dead = async || {
            let dir = ready(scenario).await;
            assert!(killed_at(dir.path(), Effect::Publish, first, 1), "is reached");
            dir
        };
        let reached = restart(dead().await.path()).await;
        for effect in Effect::ALL {
            for second in [Moment::Before, Moment::After] {
                if reached.often(*effect, second) == 0 {
                    row.push_str(" ·");
                    continue;
                }
                let dir = dead().await;
                assert!(killed_at(dir.path(), *effect, second, 1), "is reached again");
                if (*effect, second) != (Effect::Done, Moment::After) {
                    restart(dir.path()).await;
                }
                let wrong = faults(scenario, dir.path(), undisturbed).await;
                row.push_str(if wrong.is_empty() { " ✓" } else { " ✗" });
                let cell = format!("publish {first:?}, then {} {second:?}", effect.as_str());
                holes.extend(wrong.into_iter().map(|wrong| format!("{cell}: {wrong}")));
            }
        }
    }
    println!("{row}  {:.0} s", started.elapsed().as_secs_f64());
}

/// The commit's answer is lost, the process lives: the run itself must find out and end right.
async fn lost_answer(scenario: &dyn Scenario, undisturbed: &[String]) {
    let dir = tempfile::tempdir().expect("a folder");
    source(dir.path());
    let yaml = scenario.prepare(dir.path()).await;
    write(dir.path(), "pipeline.yaml", &yaml);
    let mut options = options(dir.path());
    options.memory = synqx_model::ByteSize::mib(8);
    options.retries = 2;
    options.probe = Arc::new(Cell::new(Effect::Publish, Moment::After, 1, false));
    let outcome = engine().run(&spec(&yaml), &options).await;
    assert!(
        outcome.error.is_none(),
        "{}: {:?}",
        scenario.name(),
        outcome.error
    );
    assert_eq!(
        scenario.rows(dir.path()).await,
        undisturbed,
        "{}: after a lost answer",
        scenario.name()
    );
    assert!(
        scenario.leftovers(dir.path()).await.is_empty(),
        "{}: after a lost answer",
        scenario.name()
    );
}

struct Files(&'static str);

#[async_trait::async_trait]
impl Scenario for Files {
    fn name(&self) -> String {
        format!("files {}", self.0)
    }

    async fn prepare(&self, dir: &Path) -> String {
        let keeping = if self.0.ends_with("keeping") {
            ", replace: {keep_previous: true}"
        } else {
            ""
        };
        match self.0.trim_end_matches(" keeping") {
            "file replace" => {
                write(dir, "out/o.csv", "k,v\n-1,old\n");
                document(
                    "{type: local_file, path: ./out}",
                    &format!("asset: o.csv, write: replace{keeping}"),
                )
            }
            mode => {
                let first = document(
                    "{type: local_file, path: ./out}",
                    "asset: parts/, write: append, options: {format: csv}",
                )
                .replace("name: crash", "name: earlier")
                .replace("src.csv", "old.csv");
                write(dir, "in/old.csv", "k,v\n100,old\n");
                let outcome = engine().run(&spec(&first), &options(dir)).await;
                assert!(outcome.error.is_none(), "{:?}", outcome.error);
                let mode = mode.trim_start_matches("folder ");
                document(
                    "{type: local_file, path: ./out}",
                    &format!("asset: parts/, write: {mode}{keeping}, options: {{format: csv}}"),
                )
            }
        }
    }

    async fn rows(&self, dir: &Path) -> Vec<String> {
        if self.0.starts_with("file replace") {
            let mut rows = sorted_lines(dir, "out/o.csv");
            if dir.join("out/.o.csv.previous").exists() {
                let previous = sorted_lines(dir, "out/.o.csv.previous");
                rows.extend(previous.into_iter().map(|row| format!("previous {row}")));
            }
            return rows;
        }
        let manifest: serde_json::Value =
            serde_json::from_str(&read(dir, "out/parts/_synqx_manifest.json")).expect("JSON");
        let parts = manifest["parts"].as_array().expect("parts");
        let mut rows = Vec::new();
        for part in parts {
            rows.extend(sorted_lines(
                dir,
                &format!("out/parts/{}", part["name"].as_str().expect("a name")),
            ));
        }
        for part in manifest["previous"]["parts"].as_array().into_iter().flatten() {
            let name = part["name"].as_str().expect("a name");
            let previous = sorted_lines(dir, &format!("out/parts/{name}"));
            rows.extend(previous.into_iter().map(|row| format!("previous {row}")));
        }
        rows.sort();
        rows
    }

    async fn leftovers(&self, dir: &Path) -> Vec<String> {
        let files = files_below(&dir.join("out"));
        if self.0.starts_with("file replace") {
            return files.into_iter().filter(|f| f.contains("tmp")).collect();
        }
        let manifest = read(dir, "out/parts/_synqx_manifest.json");
        let stray = |f: &String| {
            let name = f.rsplit('/').next().unwrap_or(f);
            f.contains("tmp") || (name.starts_with("part-") && !manifest.contains(name))
        };
        files.into_iter().filter(stray).collect()
    }
}

struct Sqlite(&'static str);

#[async_trait::async_trait]
impl Scenario for Sqlite {
    fn name(&self) -> String {
        format!("sqlite {}", self.0)
    }

    async fn prepare(&self, dir: &Path) -> String {
        let db = rusqlite::Connection::open(dir.join("t.db")).expect("a database");
        db.execute_batch(table_ddl(self.0)).expect("a table");
        document(
            "{type: sqlite, path: ./t.db}",
            &format!("asset: t, write: {}{}", self.0, mode_keys(self.0)),
        )
    }

    async fn rows(&self, dir: &Path) -> Vec<String> {
        let db = rusqlite::Connection::open(dir.join("t.db")).expect("a database");
        let mut statement = db
            .prepare(&format!("select {} from t", row_text(self.0)))
            .expect("a query");
        let rows = statement
            .query_map([], |row| row.get::<_, String>(0))
            .expect("rows");
        let mut rows: Vec<String> = rows.map(|r| r.expect("a row")).collect();
        rows.sort();
        rows
    }

    async fn leftovers(&self, dir: &Path) -> Vec<String> {
        let db = rusqlite::Connection::open(dir.join("t.db")).expect("a database");
        let mut statement =
            db.prepare("select name from sqlite_master where name like '\\_synqx%' escape '\\' and name <> '_synqx_commit' and type = 'table'").expect("a query");
        let names = statement
            .query_map([], |row| row.get::<_, String>(0))
            .expect("rows");
        names.map(|n| n.expect("a name")).collect()
    }
}

fn two_databases(dir: &Path) -> Vec<String> {
    let mut rows = Vec::new();
    for file in ["t.db", "u.db"] {
        let db = rusqlite::Connection::open(dir.join(file)).expect("a database");
        let mut statement = db.prepare("select k || ',' || v from t").expect("a query");
        let found = statement
            .query_map([], |row| row.get::<_, String>(0))
            .expect("rows");
        rows.extend(found.map(|row| format!("{file} {}", row.expect("a row"))));
    }
    rows.sort();
    rows
}

/// An incremental read into two databases that had half of the rows before. Tables have no key, so a row that comes
/// twice is seen; a further run at the end sees whether the positions of both go on from the same place.
struct Incremental;

#[async_trait::async_trait]
impl Scenario for Incremental {
    fn name(&self) -> String {
        "incremental, two loads".to_owned()
    }

    fn shows_harm(&self) -> bool {
        false
    }

    async fn prepare(&self, dir: &Path) -> String {
        let yaml = document("{type: sqlite, path: ./t.db}", "asset: t, write: append")
            .replace("asset: src.csv}", "asset: src.csv, sync: incremental, cursor: k}")
            .replace("nodes:", "  other: {type: sqlite, path: ./u.db}\nnodes:");
        let yaml = format!("{yaml}  second: {{load: {{input: v, to: other, asset: t, write: append}}}}\n");
        source_of(dir, ROWS / 2);
        let outcome = engine().run(&spec(&yaml), &options(dir)).await;
        assert!(outcome.error.is_none(), "{:?}", outcome.error);
        source(dir);
        yaml
    }

    async fn rows(&self, dir: &Path) -> Vec<String> {
        source_of(dir, ROWS + 50);
        restart(dir).await;
        two_databases(dir)
    }

    async fn leftovers(&self, dir: &Path) -> Vec<String> {
        Sqlite("append").leftovers(dir).await
    }
}

/// New files into two databases that had the first file before. The file killed over is `src.csv`; another one follows.
struct NewFiles;

#[async_trait::async_trait]
impl Scenario for NewFiles {
    fn name(&self) -> String {
        "new files, two loads".to_owned()
    }

    async fn prepare(&self, dir: &Path) -> String {
        let yaml = document("{type: sqlite, path: ./t.db}", "asset: t, write: append")
            .replace("asset: src.csv}", "asset: \"*.csv\", sync: incremental}")
            .replace("nodes:", "  other: {type: sqlite, path: ./u.db}\nnodes:");
        let yaml = format!("{yaml}  second: {{load: {{input: v, to: other, asset: t, write: append}}}}\n");
        std::fs::rename(dir.join("in/src.csv"), dir.join("src.csv")).expect("moves");
        write(dir, "in/z.csv", "k,v\n100001,first\n");
        let outcome = engine().run(&spec(&yaml), &options(dir)).await;
        assert!(outcome.error.is_none(), "{:?}", outcome.error);
        std::fs::rename(dir.join("src.csv"), dir.join("in/src.csv")).expect("moves");
        yaml
    }

    fn shows_harm(&self) -> bool {
        false
    }

    async fn rows(&self, dir: &Path) -> Vec<String> {
        write(dir, "in/a.csv", "k,v\n100002,late\n");
        restart(dir).await;
        two_databases(dir)
    }

    async fn leftovers(&self, dir: &Path) -> Vec<String> {
        Sqlite("append").leftovers(dir).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_of_new_files_have_no_hole() {
    matrix(&NewFiles).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn incremental_runs_have_no_hole() {
    matrix(&Incremental).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_have_no_hole() {
    let modes = [
        "file replace",
        "file replace keeping",
        "folder append",
        "folder replace",
        "folder replace keeping",
    ];
    for mode in modes {
        matrix(&Files(mode)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_has_no_hole() {
    for mode in ["append", "replace", "upsert"] {
        matrix(&Sqlite(mode)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_has_no_hole_in_modes_that_delete_or_keep_history() {
    for mode in ["delete_insert", "mirror", "scd2"] {
        matrix(&Sqlite(mode)).await;
    }
}

/// Without the intent a restart cannot know that its rows are there: the harness must see them twice.
#[tokio::test(flavor = "multi_thread")]
async fn the_harness_sees_a_protection_that_was_removed() {
    let scenario = Sqlite("append");
    let dir = tempfile::tempdir().expect("a folder");
    source(dir.path());
    let yaml = scenario
        .prepare(dir.path())
        .await
        .replace("asset: t,", "asset: u,");
    write(dir.path(), "pipeline.yaml", &yaml);
    assert!(
        killed_at(dir.path(), Effect::Publish, Moment::After, 1),
        "the cell is reached"
    );
    std::fs::remove_dir_all(dir.path().join(".synqx/runs")).expect("the intent");
    restart(dir.path()).await;
    let db = rusqlite::Connection::open(dir.path().join("t.db")).expect("a database");
    let rows: i64 = db
        .query_row("select count(*) from u", [], |row| row.get(0))
        .expect("a count");
    assert_eq!(rows, 2 * (ROWS as i64 - 10));
}

/// A run of this document that died after an effect, in a folder of its own.
async fn died_after(scenario: &dyn Scenario, effect: Effect) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().expect("a folder");
    source(dir.path());
    let yaml = scenario.prepare(dir.path()).await;
    write(dir.path(), "pipeline.yaml", &yaml);
    assert!(killed_at(dir.path(), effect, Moment::After, 1), "is reached");
    (dir, yaml)
}

/// `--reset` means the beginning, also when an interrupted run had noted another interval.
#[tokio::test(flavor = "multi_thread")]
async fn a_reset_is_not_forgotten_over_an_interrupted_run() {
    let (dir, yaml) = died_after(&Incremental, Effect::Interval).await;
    let mut options = options(dir.path());
    options.reset = true;
    let outcome = engine().run(&spec(&yaml), &options).await;
    assert!(outcome.error.is_none(), "{:?}", outcome.error);
    let read = outcome
        .manifest
        .steps
        .iter()
        .find(|s| s.node == "a")
        .expect("the extract");
    assert_eq!(
        read.rows_out, ROWS as u64,
        "everything was read from the beginning"
    );
}

/// A document that was changed after its run died while publishing could write rows a second time: it must stop.
#[tokio::test(flavor = "multi_thread")]
async fn a_changed_document_does_not_repeat_what_a_dead_run_published() {
    let scenario = Sqlite("append");
    let (dir, yaml) = died_after(&scenario, Effect::Publish).await;
    let published = scenario.rows(dir.path()).await;
    let changed = format!("{yaml}\ndescription: another version\n");
    let refused = engine().run(&spec(&changed), &options(dir.path())).await;
    assert_eq!(refused.error.map(|e| e.code()), Some(Code::E0506));
    assert_eq!(scenario.rows(dir.path()).await, published, "nothing was written");
    restart(dir.path()).await;
    assert_eq!(
        scenario.rows(dir.path()).await,
        published,
        "the old document finishes, once"
    );
    let after = engine().run(&spec(&changed), &options(dir.path())).await;
    // The table has a unique key, so that the second append of the same rows is refused, as it should be.
    assert_eq!(
        after.error.map(|e| e.code()),
        Some(Code::E0307),
        "and then the new one runs"
    );
}

/// Before anything is published a changed document may begin anew, and leftovers of the dead run are swept.
#[tokio::test(flavor = "multi_thread")]
async fn a_changed_document_runs_after_a_run_that_died_early() {
    let (dir, yaml) = died_after(&Sqlite("append"), Effect::Quarantine).await;
    let changed = format!("{yaml}\ndescription: another version\n");
    let outcome = engine().run(&spec(&changed), &options(dir.path())).await;
    assert!(outcome.error.is_none(), "{:?}", outcome.error);
    let quarantines = files_below(&dir.path().join(".synqx/quarantine"));
    assert_eq!(
        quarantines.len(),
        1,
        "those of the dead run are gone: {quarantines:?}"
    );
    assert_eq!(outcome.manifest.quarantine.len(), 1);
}

/// The quarantine's load commits first. A row that is set aside only by the restart must not be lost with its file.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_set_aside_after_the_quarantine_had_committed_is_kept() {
    let dir = tempfile::tempdir().expect("a folder");
    source(dir.path());
    let yaml = document("{type: sqlite, path: ./t.db}", "asset: t, write: append")
        .replace("nodes:", "quarantine: {to: dst, asset: rejects}\nnodes:");
    write(dir.path(), "pipeline.yaml", &yaml);
    assert!(
        killed_at(dir.path(), Effect::Publish, Moment::After, 1),
        "is reached"
    );
    let db = rusqlite::Connection::open(dir.path().join("t.db")).expect("a database");
    let count = |table: &str| -> i64 {
        db.query_row(&format!("select count(*) from {table}"), [], |row| row.get(0))
            .expect("a count")
    };
    assert_eq!(
        count("rejects"),
        10,
        "the quarantine has committed, the load has not"
    );
    let late = format!("{}-7,late\n", read(dir.path(), "in/src.csv"));
    write(dir.path(), "in/src.csv", &late);
    restart(dir.path()).await;
    assert_eq!((count("t"), count("rejects")), (ROWS as i64 - 10, 10));
    let kept = files_below(&dir.path().join(".synqx/quarantine"));
    assert_eq!(
        kept.len(),
        1,
        "eleven rows were set aside, so their file stays: {kept:?}"
    );
}
