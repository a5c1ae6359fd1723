//! Protections that are needed while everybody lives: the fence, when another run overtakes; the barrier, when a check fails.
//!
//! A run is held up between its barrier and its first commit; a second run of the document reads a newer source and ends
//! well. The first must then publish nothing. Without the fence it does, and the harness must see it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, mpsc};

use synqx_model::{Code, Result};
use synqx_sdk::{Effect, Moment, Probe, Protection};
use tokio::sync::oneshot;

use super::postgres::Postgres;
use super::scenarios::{Files, Sqlite, table};
use super::{Scenario, Script, cases, document, ready, run_under, small, source_of};
use crate::setting::{engine, read, spec, write};

const SIZE: usize = 200;

/// Holds a run up before its first commit.
#[derive(Debug)]
struct Held {
    removed: Vec<Protection>,
    arrived: Mutex<Option<oneshot::Sender<()>>>,
    released: Mutex<mpsc::Receiver<()>>,
}

impl Probe for Held {
    fn reach(&self, effect: Effect, moment: Moment) -> Result<()> {
        let arrived = self
            .arrived
            .lock()
            .expect("held")
            .take_if(|_| (effect, moment) == (Effect::Mark, Moment::After));
        if let Some(arrived) = arrived {
            arrived.send(()).expect("somebody waits");
            let released = self.released.lock().expect("held");
            tokio::task::block_in_place(|| released.recv()).expect("is released");
        }
        Ok(())
    }

    fn protects(&self, protection: Protection) -> bool {
        !self.removed.contains(&protection)
    }
}

/// What the overtaken run says, and whether it changed what the other one had published.
async fn overtaken(scenario: &dyn Scenario, removed: &[Protection]) -> (Option<Code>, bool) {
    let dir = ready(scenario, SIZE).await;
    let dir = dir.path();
    let (arrived, arrives) = oneshot::channel();
    let (release, released) = mpsc::channel();
    let mut options = small(dir);
    options.probe = Arc::new(Held {
        removed: removed.to_vec(),
        arrived: Mutex::new(Some(arrived)),
        released: Mutex::new(released),
    });
    let yaml = read(dir, "pipeline.yaml");
    let first = tokio::spawn(async move { engine().run(&spec(&yaml), &options).await });
    arrives.await.expect("the run comes to its barrier");
    source_of(dir, SIZE + 10);
    let newer = read(dir, "in/src.csv").replace("value", "newer");
    write(dir, "in/src.csv", &newer);
    let second = run_under(dir, &Arc::new(Script::without(removed))).await;
    second.expect("the run that overtakes");
    let published = scenario.seen(dir).await;
    release.send(()).expect("it waits");
    let first = first.await.expect("the run that was overtaken");
    let changed = scenario.seen(dir).await != published;
    (first.error.map(|error| error.code()), changed)
}

/// Which protections have to go until an overtaken run publishes.
async fn overtaking(scenario: &dyn Scenario, found: &mut BTreeMap<String, Vec<String>>) {
    let name = scenario.name();
    let protected = overtaken(scenario, &[]).await;
    assert_eq!(protected, (Some(Code::E0501), false), "{name}");
    let mut guard = "nothing";
    for (removed, words) in [
        (&[Protection::Fence][..], "fence"),
        (&[Protection::Fence, Protection::Sweep], "sweep with fence"),
    ] {
        let (_, changed) = overtaken(scenario, removed).await;
        if changed {
            guard = words;
            break;
        }
    }
    // Where it stays "nothing", a commit is refused for other reasons as well: the table was exchanged meanwhile.
    found
        .entry(guard.to_owned())
        .or_default()
        .push(name.replace(' ', "-"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_run_that_was_overtaken_publishes_nothing_and_without_the_fence_it_would() {
    let mut found = BTreeMap::new();
    for mode in ["file replace", "folder append", "folder replace"] {
        overtaking(&Files(mode), &mut found).await;
    }
    for mode in ["append", "replace", "upsert"] {
        overtaking(&Sqlite(mode), &mut found).await;
    }
    for mode in ["append", "replace", "upsert"] {
        let scenario = Postgres::new(mode).await;
        overtaking(&scenario, &mut found).await;
        scenario.1.discard().await.expect("dropped");
    }
    let lines = found
        .iter()
        .map(|(guard, names)| format!("{guard}: {}\n", names.join(" ")));
    let text: String = lines.collect();
    println!("overtaken runs, guarded by\n{text}");
    cases::expect("overtaken", &text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_check_publishes_nothing_and_without_the_barrier_it_would() {
    for (removed, published) in [(&[][..], false), (&[Protection::Barrier], true)] {
        let dir = tempfile::tempdir().expect("a folder");
        source_of(dir.path(), SIZE);
        let yaml = document("{type: sqlite, path: ./t.db}", "asset: t, write: append");
        write(dir.path(), "pipeline.yaml", &yaml.replace("quarantine}", "fail}"));
        let script = Arc::new(Script::without(removed));
        let error = run_under(dir.path(), &script).await.expect_err("the check fails");
        assert_eq!(error.code(), Code::E1001);
        let rows = table(&dir.path().join("t.db"), "t", "k || ''");
        assert_eq!(!rows.is_empty(), published, "without {removed:?}");
    }
}
