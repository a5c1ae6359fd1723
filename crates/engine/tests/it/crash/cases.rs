//! Which protection each cell of the matrix needs: every cell is run again with protections taken away.
//!
//! A cell is killed and restarted without one protection after another: those without which it ends wrong guard it. A
//! cell that ends right without any of them, and without all, proves nothing, and is listed under `nothing`; one that
//! needs two to go has both named. What is wrong even without a crash is needed `always`. The lists are files under
//! `tests/cases/crash`, so a cell that loses its guard fails; `BLESS=1` rewrites them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use synqx_sdk::{Effect, Moment, Protection};

use super::postgres::{Postgres, Relayed};
use super::scenarios::{FILE_MODES, Files, Incremental, NewFiles, Sqlite};
use super::{Cell, Fate, Job, Scenario, Script, Undisturbed, cells, ready, run_under, strike, succeeded};

const SIZE: usize = 300;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/cases/crash")
}

/// Compares a list with its file, or rewrites the file.
pub(super) fn expect(name: &str, found: &str) {
    let path = folder().join(format!(
        "{}.txt",
        name.replace([' ', ','], "-").replace("--", "-")
    ));
    if std::env::var_os("BLESS").is_some() {
        std::fs::create_dir_all(folder()).expect("a folder");
        std::fs::write(&path, found).expect("a file");
        return;
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        found,
        expected,
        "{name}: guards are not those of {}",
        path.display()
    );
}

/// Kills at a cell and restarts, both without some protections; what is wrong in the end.
async fn harm(
    scenario: &dyn Scenario,
    undisturbed: &Undisturbed,
    cell: Cell,
    removed: &[Protection],
) -> Option<String> {
    let dir = ready(scenario, SIZE).await;
    let dir = dir.path();
    match strike(dir, Job::Run, cell, removed) {
        Fate::Killed => {}
        Fate::Failed => return Some("the run failed by itself".to_owned()),
        Fate::Finished => return Some("the effect is gone".to_owned()),
    }
    if let Some(torn) = undisturbed.torn(scenario, dir).await {
        return Some(torn);
    }
    scenario.meanwhile(dir, SIZE);
    if !succeeded(cell) {
        let script = Arc::new(Script::without(removed));
        if let Err(error) = run_under(dir, &script).await {
            return Some(format!("the restart failed: {error}"));
        }
    }
    let wrong = undisturbed.faults(scenario, dir, SIZE).await;
    wrong.into_iter().next()
}

/// Whether a run that nothing disturbs ends wrong without a protection.
async fn is_always_needed(scenario: &dyn Scenario, undisturbed: &Undisturbed, one: Protection) -> bool {
    let dir = ready(scenario, SIZE).await;
    let script = Arc::new(Script::without(&[one]));
    let ran = run_under(dir.path(), &script).await;
    ran.is_err() || !undisturbed.faults(scenario, dir.path(), SIZE).await.is_empty()
}

/// The protections without which a cell ends wrong, in words.
async fn guards_of(
    scenario: &dyn Scenario,
    undisturbed: &Undisturbed,
    cell: Cell,
    protections: &[Protection],
) -> Vec<String> {
    let mut guards = Vec::new();
    for one in protections {
        if harm(scenario, undisturbed, cell, &[*one]).await.is_some() {
            guards.push(one.as_str().to_owned());
        }
    }
    if !guards.is_empty() {
        return guards;
    }
    // Until staging is made there is nothing that two of them could guard together.
    let staged = (cell.effect, cell.moment) > (Effect::Stage, Moment::Before);
    let others = protections
        .iter()
        .filter(|one| staged && **one != Protection::Intent);
    for one in others {
        let pair = [Protection::Intent, *one];
        if harm(scenario, undisturbed, cell, &pair).await.is_some() {
            guards.push(format!("intent with {}", one.as_str()));
        }
    }
    if guards.is_empty() {
        let without_all = harm(scenario, undisturbed, cell, protections).await;
        guards.push(without_all.map_or("nothing", |_| "several together").to_owned());
    }
    guards
}

/// Looks at every cell of a scenario.
async fn guards(scenario: &dyn Scenario) {
    let started = std::time::Instant::now();
    let undisturbed = Undisturbed::of(scenario, SIZE).await;
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut protections = Vec::new();
    for one in scenario.protections() {
        match is_always_needed(scenario, &undisturbed, *one).await {
            true => drop(found.insert(one.as_str().to_owned(), vec!["always".to_owned()])),
            false => protections.push(*one),
        }
    }
    for cell in cells().filter(|cell| undisturbed.reached.often(*cell) >= cell.nth) {
        for guard in guards_of(scenario, &undisturbed, cell, &protections).await {
            found.entry(guard).or_default().push(cell.to_string());
        }
    }
    let lines: Vec<String> = found
        .iter()
        .map(|(guard, cells)| format!("{guard}: {}\n", cells.join(" ")))
        .collect();
    let text = lines.concat();
    let name = scenario.name();
    println!(
        "{name} guarded by  {:.0} s\n{text}",
        started.elapsed().as_secs_f64()
    );
    expect(&name, &text);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_guards_each_cell_of_files() {
    for mode in FILE_MODES {
        guards(&Files(mode)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_guards_each_cell_of_sqlite() {
    for mode in ["append", "replace", "replace keeping", "upsert"] {
        guards(&Sqlite(mode)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_guards_each_cell_of_sqlite_in_modes_that_delete_or_keep_history() {
    for mode in ["delete_insert", "mirror", "scd2"] {
        guards(&Sqlite(mode)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_guards_each_cell_of_reads_that_go_on() {
    guards(&Incremental).await;
    guards(&NewFiles).await;
}

async fn postgresql(modes: &[&'static str]) {
    for mode in modes {
        let scenario = Postgres::new(mode).await;
        guards(&scenario).await;
        scenario.1.discard().await.expect("dropped");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_guards_each_cell_of_postgresql() {
    postgresql(&["append", "replace", "replace keeping", "upsert"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_guards_each_cell_of_postgresql_in_modes_that_delete_or_keep_history() {
    postgresql(&["delete_insert", "mirror", "scd2"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_guards_each_cell_of_relayed_rows() {
    for mode in ["append", "replace"] {
        let scenario = Relayed(Postgres::new(mode).await);
        guards(&scenario).await;
        scenario.0.1.discard().await.expect("dropped");
    }
}

/// The lists are what the tests above have seen; none of the protections may be missing from all of them.
#[test]
fn every_protection_guards_something() {
    let files = std::fs::read_dir(folder()).expect("the lists");
    let lists: Vec<String> = files
        .map(|file| std::fs::read_to_string(file.expect("a file").path()).expect("a list"))
        .collect();
    for protection in Protection::ALL {
        let line = format!("{}: ", protection.as_str());
        let alone = |text: &String| text.lines().any(|l| l.starts_with(&line) && l.len() > line.len());
        let with = format!("with {}: ", protection.as_str());
        assert!(
            lists.iter().any(|text| alone(text) || text.contains(&with)),
            "nothing needs `{}`",
            protection.as_str()
        );
    }
}
