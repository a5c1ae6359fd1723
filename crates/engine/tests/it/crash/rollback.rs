//! `synqx rollback` killed at each of its effects, and with its answer lost: then done again, by hand as people do.
//!
//! Whatever happened, the rows of before the replace are there once, a further rollback is refused by its code, and a run
//! brings the new rows again. An answer that a network loses is in `network`.

use std::path::Path;
use std::sync::Arc;

use synqx_engine::{RolledBack, RunOptions};
use synqx_model::{Code, Result};
use synqx_sdk::{Effect, Probe};

use super::postgres::Postgres;
use super::scenarios::{Files, Sqlite};
use super::{Scenario, cells, ready, restart};
use crate::killing::{Job, Script, after, killed_at, small};
use crate::setting::{engine, read, spec};

const SIZE: usize = 60;

/// Rolls the document of a folder back.
pub(crate) async fn roll_back(dir: &Path, options: &RunOptions) -> Result<RolledBack> {
    let yaml = read(dir, "pipeline.yaml");
    engine().rollback(&spec(&yaml), None, options).await
}

async fn roll_back_under(dir: &Path, script: &Arc<Script>) -> std::result::Result<(), Code> {
    let mut options = small(dir);
    options.probe = Arc::clone(script) as Arc<dyn Probe>;
    let outcome = roll_back(dir, &options).await;
    outcome.map(drop).map_err(|error| error.code())
}

/// A folder whose rows were replaced once.
async fn replaced(scenario: &dyn Scenario) -> tempfile::TempDir {
    let dir = ready(scenario, SIZE).await;
    restart(dir.path()).await;
    dir
}

async fn goes_back_once(scenario: &dyn Scenario) {
    let name = scenario.name();
    let quiet = || Arc::new(Script::default());
    let old = scenario.seen(ready(scenario, SIZE).await.path()).await;
    let (script, new) = {
        let (dir, script) = (replaced(scenario).await, quiet());
        let new = scenario.seen(dir.path()).await;
        assert_eq!(roll_back_under(dir.path(), &script).await, Ok(()), "{name}");
        assert_eq!(scenario.seen(dir.path()).await, old, "{name}: the old rows");
        (script, new)
    };
    assert_ne!(old, new, "{name}");
    let mut killed = 0;
    for cell in cells().filter(|cell| script.often(*cell) >= cell.nth) {
        let dir = replaced(scenario).await;
        let dir = dir.path();
        assert!(killed_at(dir, Job::Rollback, cell), "{name}: {cell} is reached");
        killed += 1;
        let seen = scenario.seen(dir).await;
        assert!(seen == old || seen == new, "{name}: {cell}: torn: {seen:?}");
        let expected = if seen == old { Err(Code::E0304) } else { Ok(()) };
        let again = roll_back_under(dir, &quiet()).await;
        assert_eq!(again, expected, "{name}: {cell}: done again");
        assert_eq!(
            scenario.seen(dir).await,
            old,
            "{name}: {cell}: the old rows, once"
        );
        let further = roll_back_under(dir, &quiet()).await;
        assert_eq!(further, Err(Code::E0304), "{name}: {cell}: a further rollback");
        restart(dir).await;
        assert_eq!(scenario.seen(dir).await, new, "{name}: {cell}: run once more");
        let left = scenario.leftovers(dir).await;
        assert!(left.is_empty(), "{name}: {cell}: left behind {left:?}");
    }
    assert!(killed >= 2, "{name}: {killed} cells");
    let dir = replaced(scenario).await;
    let lost = Arc::new(Script::loses_the_answer(after(Effect::Publish)));
    for code in [Code::E0317, Code::E0304] {
        assert_eq!(roll_back_under(dir.path(), &lost).await, Err(code), "{name}");
        assert_eq!(scenario.seen(dir.path()).await, old, "{name}: {code}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_of_files_that_dies_is_done_once() {
    goes_back_once(&Files("file replace keeping")).await;
    goes_back_once(&Files("folder replace keeping")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_of_sqlite_that_dies_is_done_once() {
    goes_back_once(&Sqlite("replace keeping")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_of_postgresql_that_dies_is_done_once() {
    let scenario = Postgres::new("replace keeping").await;
    goes_back_once(&scenario).await;
    scenario.1.discard().await.expect("dropped");
}
