//! What a restart does when the document, the options or the source are not those of the run that died.
//!
//! These are stories, not cells: each kills one run and looks at what another one makes of it.

use synqx_model::Code;
use synqx_sdk::Effect;

use super::scenarios::{Incremental, Sqlite};
use super::{ROWS, Scenario, document, ready, restart, source_of};
use crate::killing::{Job, after, killed_at};
use crate::setting::{engine, files_below, options, read, spec, write};

/// A run of this document that died after an effect, in a folder of its own.
async fn died_after(scenario: &dyn Scenario, effect: Effect) -> (tempfile::TempDir, String) {
    let dir = ready(scenario, ROWS).await;
    assert!(killed_at(dir.path(), Job::Run, after(effect)), "is reached");
    let yaml = read(dir.path(), "pipeline.yaml");
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
    let published = scenario.seen(dir.path()).await;
    let changed = format!("{yaml}\ndescription: another version\n");
    let refused = engine().run(&spec(&changed), &options(dir.path())).await;
    assert_eq!(refused.error.map(|e| e.code()), Some(Code::E0506));
    assert_eq!(scenario.seen(dir.path()).await, published, "nothing was written");
    restart(dir.path()).await;
    assert_eq!(
        scenario.seen(dir.path()).await,
        published,
        "the old document finishes, once"
    );
    let anew = engine().run(&spec(&changed), &options(dir.path())).await;
    assert!(
        anew.error.is_none(),
        "and then the new one runs: {:?}",
        anew.error
    );
    let again = scenario.seen(dir.path()).await;
    assert_eq!(again[0].len(), 2 * published[0].len() - 1, "an append appends");
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
    source_of(dir.path(), ROWS);
    let yaml = document("{type: sqlite, path: ./t.db}", "asset: t, write: append")
        .replace("nodes:", "quarantine: {to: dst, asset: rejects}\nnodes:");
    write(dir.path(), "pipeline.yaml", &yaml);
    assert!(
        killed_at(dir.path(), Job::Run, after(Effect::Publish)),
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
