//! Processes that die on purpose: this test binary runs itself as a child, under a probe that kills it at one cell.
//!
//! A cell is an effect, a moment and the how-manieth time it is reached. The same probe counts what is reached, loses
//! an answer instead of killing, and takes protections away. What is compared afterwards is the business of others.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::str::FromStr;
use std::sync::{Arc, Mutex};

use synqx_engine::RunOptions;
use synqx_model::{ByteSize, Code, Error, Result};
use synqx_sdk::{Effect, Moment, Probe, Protection};

use crate::setting::{engine, options, read, spec};

/// Where a child is told what to do.
const CHILD: &str = "SYNQX_KILLED_CHILD";

/// A place in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) effect: Effect,
    pub(crate) moment: Moment,
    pub(crate) nth: u32,
}

/// The first time that an effect is about to happen.
pub(crate) fn before(effect: Effect) -> Cell {
    let (moment, nth) = (Moment::Before, 1);
    Cell { effect, moment, nth }
}

/// The first time that an effect has happened.
pub(crate) fn after(effect: Effect) -> Cell {
    let (moment, nth) = (Moment::After, 1);
    Cell { effect, moment, nth }
}

impl Cell {
    pub(crate) fn nth(self, nth: u32) -> Self {
        Cell { nth, ..self }
    }
}

impl std::fmt::Display for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let moment = match self.moment {
            Moment::Before => "before",
            Moment::After => "after",
        };
        write!(f, "{}-{moment}", self.effect.as_str())?;
        match self.nth {
            1 => Ok(()),
            nth => write!(f, "-{nth}"),
        }
    }
}

impl FromStr for Cell {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let mut parts = text.split('-');
        let word = parts.next().unwrap_or_default();
        let effect = Effect::ALL.iter().find(|effect| effect.as_str() == word);
        let effect = *effect.ok_or_else(|| format!("no effect: {text}"))?;
        let cell = match parts.next() {
            Some("before") => before(effect),
            _ => after(effect),
        };
        Ok(cell.nth(parts.next().map_or(1, |nth| nth.parse().expect("a number"))))
    }
}

/// What happens at the cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Die,
    LoseTheAnswer,
}

/// Counts what is reached, strikes at one cell, and has some protections removed.
#[derive(Debug, Default)]
pub(crate) struct Script {
    strike: Option<(Cell, Then)>,
    removed: Vec<Protection>,
    reached: Mutex<BTreeMap<(Effect, Moment), u32>>,
}

impl Script {
    /// The answer to an effect is lost once.
    pub(crate) fn loses_the_answer(cell: Cell) -> Self {
        Script {
            strike: Some((cell, Then::LoseTheAnswer)),
            ..Script::default()
        }
    }

    /// Nothing strikes, and these protections are not there.
    pub(crate) fn without(removed: &[Protection]) -> Self {
        Script {
            removed: removed.to_vec(),
            ..Script::default()
        }
    }

    /// How often a place was reached.
    pub(crate) fn often(&self, cell: Cell) -> u32 {
        let counts = self.reached.lock().expect("counts");
        counts
            .get(&(cell.effect, cell.moment))
            .copied()
            .unwrap_or_default()
    }
}

impl Probe for Script {
    fn reach(&self, effect: Effect, moment: Moment) -> Result<()> {
        let nth = {
            let mut counts = self.reached.lock().expect("counts");
            let count = counts.entry((effect, moment)).or_default();
            *count += 1;
            *count
        };
        match self.strike {
            Some((cell, then)) if cell == (Cell { effect, moment, nth }) => match then {
                Then::Die => std::process::abort(),
                Then::LoseTheAnswer => Err(Error::new(Code::E0317, "the answer was lost")),
            },
            _ => Ok(()),
        }
    }

    fn protects(&self, protection: Protection) -> bool {
        !self.removed.contains(&protection)
    }
}

/// What a child does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Job {
    /// Runs `pipeline.yaml`.
    Run,
    /// Fills `pipeline.yaml` back as `request` says.
    Backfill,
    /// Rolls the load of `pipeline.yaml` back.
    Rollback,
}

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Killed,
    /// The cell was not reached, and the work ended well.
    Finished,
    /// The work failed by itself.
    Failed,
}

/// Options of runs that are to be killed: so little memory that rows come in several batches.
pub(crate) fn small(dir: &Path) -> RunOptions {
    let mut options = options(dir);
    options.memory = ByteSize::mib(8);
    options
}

/// The child. Without its variable it is not a child and has nothing to do.
#[tokio::test(flavor = "multi_thread")]
async fn child() {
    let Ok(task) = std::env::var(CHILD) else { return };
    let [job, cell, removed, dir] = task
        .splitn(4, '|')
        .collect::<Vec<_>>()
        .try_into()
        .expect("four parts");
    let removed = |protection: &&Protection| removed.split(',').any(|word| word == protection.as_str());
    let script = Script {
        strike: Some((cell.parse().expect("a cell"), Then::Die)),
        removed: Protection::ALL.iter().filter(removed).copied().collect(),
        ..Script::default()
    };
    let dir = Path::new(dir);
    let mut options = small(dir);
    options.probe = Arc::new(script);
    let outcome = match job {
        "Run" => {
            let yaml = read(dir, "pipeline.yaml");
            engine()
                .run(&spec(&yaml), &options)
                .await
                .error
                .map_or(Ok(()), Err)
        }
        "Backfill" => crate::backfill::fill_as_requested(dir, &options).await,
        _ => crate::crash::rollback::roll_back(dir, &options).await.map(drop),
    };
    if let Err(error) = outcome {
        panic!("{error:?}");
    }
}

/// Has a child work in a folder until it reaches a cell.
pub(crate) fn strike(dir: &Path, job: Job, cell: Cell, removed: &[Protection]) -> Fate {
    let removed: Vec<&str> = removed.iter().map(|protection| protection.as_str()).collect();
    let task = format!("{job:?}|{cell}|{}|{}", removed.join(","), dir.display());
    let status = Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", "killing::child", "--test-threads", "1"])
        .env(CHILD, task)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("a child");
    match status.code() {
        None => Fate::Killed,
        Some(0) => Fate::Finished,
        Some(_) => Fate::Failed,
    }
}

/// Kills work at a cell. `false` when the cell was not reached and the work ended well.
pub(crate) fn killed_at(dir: &Path, job: Job, cell: Cell) -> bool {
    let fate = strike(dir, job, cell, &[]);
    assert_ne!(fate, Fate::Failed, "the child failed by itself at {cell}");
    fate == Fate::Killed
}
