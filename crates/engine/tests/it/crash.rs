//! The crash matrix: kill the process before and after every effect, lose every commit's answer, restart, compare.
//!
//! `killing` has the process that dies; here a parent runs the same document again in the same folder and compares with
//! an undisturbed run what readers see, what was set aside and what lies around. Before the restart readers must see what
//! was there before, or the new rows, and something must be wrong, else the cell would show nothing. A second pass kills
//! the restarted run as well. `cases` says which protection each cell needs, by taking protections away.

mod alive;
mod cases;
mod changed;
mod postgres;
pub(crate) mod rollback;
mod scenarios;

use std::path::Path;
use std::sync::Arc;

use synqx_model::Result;
use synqx_sdk::{Effect, Moment, Probe, Protection};

use crate::killing::{Cell, Fate, Job, Script, after, before, killed_at, small, strike};
use crate::setting::{engine, files_below, read, spec, write};

const ROWS: usize = 12_000;

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
        | Effect::Ready
        | Effect::Publish
        | Effect::Record
        | Effect::Cleanup
        | Effect::Done => &[1],
    }
}

/// Every cell, in the order of effects.
fn cells() -> impl Iterator<Item = Cell> {
    Effect::ALL.iter().flat_map(|effect| {
        let moments = [before(*effect), after(*effect)];
        moments
            .into_iter()
            .flat_map(|cell| occurrences(cell.effect).iter().map(move |nth| cell.nth(*nth)))
    })
}

/// What a scenario needs to know about its destination.
#[async_trait::async_trait]
trait Scenario: Sync {
    /// For the table.
    fn name(&self) -> String;
    /// What can be taken away here.
    fn protections(&self) -> &'static [Protection];
    /// Makes what is there before the run; `in/src.csv` has `size` rows already. Returns the document.
    async fn prepare(&self, dir: &Path, size: usize) -> String;
    /// What readers of each load see: rows, sorted.
    async fn seen(&self, dir: &Path) -> Vec<Vec<String>>;
    /// Staging that is still there.
    async fn leftovers(&self, dir: &Path) -> Vec<String>;
    /// What happens to the source between a crash and the restart.
    fn meanwhile(&self, _dir: &Path, _size: usize) {}
    /// What happens after the run that is looked at: a next one, where its rows depend on this one's position.
    async fn later(&self, _dir: &Path, _size: usize) -> Result<()> {
        Ok(())
    }
}

/// What a load says besides its mode, on a table with columns k and v.
fn mode_keys(mode: &str) -> &'static str {
    match mode {
        "upsert" | "mirror" => ", key: [k]",
        "delete_insert" => ", partition_by: [k]",
        "scd2" => ", key: [k], scd2: {time: k}",
        "replace keeping" => ", replace: {keep_previous: true}",
        _ => "",
    }
}

/// A table with rows that the modes treat differently: one whose key does not arrive, one whose key does. An append has
/// no key that would refuse rows that come twice.
fn table_ddl(mode: &str) -> &'static str {
    match mode {
        "append" => "create table t (k bigint, v text); insert into t values (-5, 'old');",
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

/// Runs the document of a folder under a script.
async fn run_under(dir: &Path, script: &Arc<Script>) -> Result<()> {
    let mut options = small(dir);
    options.probe = Arc::clone(script) as Arc<dyn Probe>;
    let outcome = engine().run(&spec(&read(dir, "pipeline.yaml")), &options).await;
    outcome.error.map_or(Ok(()), Err)
}

async fn restart(dir: &Path) -> Arc<Script> {
    let script = Arc::new(Script::default());
    if let Err(error) = run_under(dir, &script).await {
        panic!("the restart failed: {error:?}");
    }
    script
}

/// Rows that were set aside, and files that are not whole.
fn set_aside(dir: &Path) -> (i64, Vec<String>) {
    use parquet::file::reader::{FileReader, SerializedFileReader};
    let home = dir.join(".synqx/quarantine");
    let (whole, parts): (Vec<_>, Vec<_>) = files_below(&home)
        .into_iter()
        .partition(|name| name.ends_with(".parquet"));
    let rows = whole.iter().map(|name| {
        let file = std::fs::File::open(home.join(name)).expect("a file");
        let reader = SerializedFileReader::new(file).expect("a quarantine file");
        reader.metadata().file_metadata().num_rows()
    });
    (rows.sum(), parts)
}

/// What an undisturbed run makes of a scenario.
struct Undisturbed {
    /// What readers see before it, and after it.
    visible: [Vec<Vec<String>>; 2],
    /// What they see at the end, after what comes later.
    end: Vec<Vec<String>>,
    set_aside: i64,
    reached: Arc<Script>,
}

impl Undisturbed {
    async fn of(scenario: &dyn Scenario, size: usize) -> Self {
        let dir = ready(scenario, size).await;
        let first = scenario.seen(dir.path()).await;
        let reached = restart(dir.path()).await;
        let visible = [first, scenario.seen(dir.path()).await];
        assert_ne!(
            visible[0],
            visible[1],
            "{}: a run that does nothing",
            scenario.name()
        );
        let later = scenario.later(dir.path(), size).await;
        later.expect("an undisturbed scenario");
        Undisturbed {
            visible,
            end: scenario.seen(dir.path()).await,
            set_aside: set_aside(dir.path()).0,
            reached,
        }
    }

    /// What readers of a load see must be all of the old rows or all of the new ones.
    async fn torn(&self, scenario: &dyn Scenario, dir: &Path) -> Option<String> {
        let seen = scenario.seen(dir).await;
        let [first, last] = &self.visible;
        let torn = seen
            .iter()
            .zip(first.iter().zip(last))
            .position(|(seen, (first, last))| seen != first && seen != last);
        torn.map(|load| {
            format!(
                "readers of load {load} see {} rows, neither old nor new",
                seen[load].len()
            )
        })
    }

    /// What is wrong with a folder whose run was disturbed and has ended.
    async fn faults(&self, scenario: &dyn Scenario, dir: &Path, size: usize) -> Vec<String> {
        let mut found = Vec::new();
        if let Err(error) = scenario.later(dir, size).await {
            found.push(format!("the run after it failed: {error}"));
        }
        let seen = scenario.seen(dir).await;
        for (load, (seen, end)) in seen.iter().zip(&self.end).enumerate() {
            if seen != end {
                found.push(format!(
                    "load {load}: {} rows instead of {}",
                    seen.len(),
                    end.len()
                ));
            }
        }
        let (rows, parts) = set_aside(dir);
        if rows != self.set_aside {
            found.push(format!("{rows} rows are set aside instead of {}", self.set_aside));
        }
        let intents = files_below(&dir.join(".synqx/runs"));
        let intents = intents.into_iter().filter(|f| f.ends_with("intent"));
        let left: Vec<String> = scenario
            .leftovers(dir)
            .await
            .into_iter()
            .chain(parts)
            .chain(intents)
            .collect();
        if !left.is_empty() {
            found.push(format!("left behind {left:?}"));
        }
        found
    }

    /// Whether nothing is wrong before the restart: then nothing would be shown.
    async fn idle(&self, scenario: &dyn Scenario, dir: &Path) -> bool {
        let intents = files_below(&dir.join(".synqx/runs"));
        scenario.seen(dir).await == self.visible[1]
            && scenario.leftovers(dir).await.is_empty()
            && !intents.iter().any(|f| f.ends_with("intent"))
    }
}

/// A folder that is ready for a run.
async fn ready(scenario: &dyn Scenario, size: usize) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    source_of(dir.path(), size);
    let yaml = scenario.prepare(dir.path(), size).await;
    write(dir.path(), "pipeline.yaml", &yaml);
    dir
}

/// A run killed after its intent was closed had succeeded; a person would not run it again.
fn succeeded(cell: Cell) -> bool {
    (cell.effect, cell.moment) == (Effect::Done, Moment::After)
}

/// Runs every cell of a scenario and prints its row of the table. Holes are collected, so one run shows them all.
async fn matrix(scenario: &dyn Scenario) {
    let started = std::time::Instant::now();
    let undisturbed = Undisturbed::of(scenario, ROWS).await;
    let mut holes = Vec::new();
    let mut row = format!("{:<26}", scenario.name());
    for cell in cells() {
        if undisturbed.reached.often(cell) < cell.nth {
            row.push_str(" ·");
            continue;
        }
        let dir = ready(scenario, ROWS).await;
        if !killed_at(dir.path(), Job::Run, cell) {
            holes.push(format!("{cell}: was not reached a second time"));
        }
        let mut wrong = Vec::new();
        wrong.extend(undisturbed.torn(scenario, dir.path()).await);
        scenario.meanwhile(dir.path(), ROWS);
        if !succeeded(cell) {
            if undisturbed.idle(scenario, dir.path()).await {
                wrong.push("nothing was wrong before the restart".to_owned());
            }
            restart(dir.path()).await;
        }
        wrong.extend(undisturbed.faults(scenario, dir.path(), ROWS).await);
        row.push_str(if wrong.is_empty() { " ✓" } else { " ✗" });
        holes.extend(wrong.into_iter().map(|wrong| format!("{cell}: {wrong}")));
    }
    println!("{row}  {:.0} s", started.elapsed().as_secs_f64());
    recovery(scenario, &undisturbed, &mut holes).await;
    assert!(holes.is_empty(), "{}:\n  {}", scenario.name(), holes.join("\n  "));
    lost_answer(scenario, &undisturbed).await;
}

/// Kills a run just before and just after it publishes, kills its restart at every cell, and restarts once more.
async fn recovery(scenario: &dyn Scenario, undisturbed: &Undisturbed, holes: &mut Vec<String>) {
    let started = std::time::Instant::now();
    let mut row = format!("{:<26}", format!("  again {}", scenario.name()));
    for first in [before(Effect::Publish), after(Effect::Publish)] {
        row.push_str(" |");
        let dead = async || {
            let dir = ready(scenario, ROWS).await;
            assert!(killed_at(dir.path(), Job::Run, first), "is reached");
            scenario.meanwhile(dir.path(), ROWS);
            dir
        };
        let reached = restart(dead().await.path()).await;
        for second in cells().filter(|cell| cell.nth == 1) {
            if reached.often(second) == 0 {
                row.push_str(" ·");
                continue;
            }
            let dir = dead().await;
            assert!(killed_at(dir.path(), Job::Run, second), "is reached again");
            if !succeeded(second) {
                restart(dir.path()).await;
            }
            let wrong = undisturbed.faults(scenario, dir.path(), ROWS).await;
            row.push_str(if wrong.is_empty() { " ✓" } else { " ✗" });
            holes.extend(
                wrong
                    .into_iter()
                    .map(|wrong| format!("{first}, then {second}: {wrong}")),
            );
        }
    }
    println!("{row}  {:.0} s", started.elapsed().as_secs_f64());
}

/// The commit's answer is lost, the process lives: the run itself must find out and end right.
async fn lost_answer(scenario: &dyn Scenario, undisturbed: &Undisturbed) {
    let dir = ready(scenario, ROWS).await;
    let mut options = small(dir.path());
    options.retries = 2;
    options.probe = Arc::new(Script::loses_the_answer(after(Effect::Publish)));
    let outcome = engine()
        .run(&spec(&read(dir.path(), "pipeline.yaml")), &options)
        .await;
    let name = scenario.name();
    assert!(outcome.error.is_none(), "{name}: {:?}", outcome.error);
    let wrong = undisturbed.faults(scenario, dir.path(), ROWS).await;
    assert!(wrong.is_empty(), "{name}: after a lost answer: {wrong:?}");
}
