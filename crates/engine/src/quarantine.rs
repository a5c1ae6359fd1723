//! What is in a pipeline's quarantine, and the ledger of what was replayed of it.
//!
//! A replay is a run of its own stream whose id the ledger fixes before it begins. Destinations store run ids with the
//! rows, so a replay that is repeated after any crash finds its rows there and adds none; only then its entry says
//! *done*, and rows of a done entry are not offered again. Rows that are part of an entry which is not done are
//! replayed by finishing that entry, never by another one. Nothing here reads a row's values.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use arrow::array::AsArray;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::{Deserialize, Serialize};
use synqx_model::manifest::Manifest;
use synqx_model::{Code, Error, Result, ResultExt, RunId};

use crate::rejects::{RULES, home};

/// The rejected rows of one node in one run.
#[derive(Debug, Clone, PartialEq)]
pub struct Rejects {
    /// The run that rejected them.
    pub run: RunId,
    /// The node that did.
    pub node: String,
    /// The Parquet file.
    pub path: PathBuf,
    /// Rows in it.
    pub rows: u64,
    /// Rows by the rules they failed together.
    pub rules: BTreeMap<String, u64>,
    /// How the run ended; none when it has no record (it is at work, or was killed).
    pub state: Option<String>,
    /// When it began, in Unix milliseconds.
    pub started_ms: Option<i64>,
}

impl Rejects {
    /// Whether the other rows of the run were published, so that these are missing.
    pub fn is_of_published_run(&self) -> bool {
        self.state
            .as_deref()
            .is_some_and(|state| state.starts_with("succeeded"))
    }
}

/// The quarantine of a pipeline, oldest run first. Errors: `E0503` when it cannot be read.
pub fn rejects(state_dir: &Path, pipeline: &str) -> Result<Vec<Rejects>> {
    let home = home(state_dir, pipeline);
    let mut found = Vec::new();
    for dir in entries(&home)? {
        let name = dir.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Ok(run) = name.parse::<RunId>() else {
            continue;
        };
        let record = record_of(state_dir, run)?;
        for path in entries(&dir)? {
            if path.extension().is_none_or(|e| e != "parquet") {
                continue;
            }
            let Some(node) = path.file_stem().and_then(|stem| stem.to_str()) else {
                continue;
            };
            let rules = rules_of(&path)?;
            found.push(Rejects {
                run,
                node: node.to_owned(),
                rows: rules.values().sum(),
                rules,
                state: record.as_ref().map(|record| record.state.clone()),
                started_ms: record.as_ref().map(|record| record.started_ms),
                path,
            });
        }
    }
    found.sort_by(|a, b| (a.run, &a.node).cmp(&(b.run, &b.node)));
    Ok(found)
}

/// Files and folders of a folder, sorted; none when it is not there.
fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let read = match std::fs::read_dir(dir) {
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read.coded(Code::E0503, || {
            format!("cannot read the folder `{}`", dir.display())
        })?,
    };
    let mut paths: Vec<PathBuf> = read.filter_map(|entry| entry.ok().map(|e| e.path())).collect();
    paths.sort();
    Ok(paths)
}

/// The record of a run, under whichever pipeline it ran.
fn record_of(state_dir: &Path, run: RunId) -> Result<Option<Manifest>> {
    for dir in entries(&state_dir.join("runs"))? {
        let path = dir.join(format!("{run}.json"));
        if let Ok(text) = std::fs::read_to_string(&path) {
            let read = serde_json::from_str(&text);
            return read
                .coded(Code::E0503, || {
                    format!("cannot read the record `{}`", path.display())
                })
                .map(Some);
        }
    }
    Ok(None)
}

/// The newest run of a pipeline that succeeded. Errors: `E0503`.
pub fn newest_success(state_dir: &Path, pipeline: &str) -> Result<Option<RunId>> {
    let dir = state_dir.join("runs").join(crate::intent::folder_name(pipeline));
    for path in entries(&dir)?.into_iter().rev() {
        let run = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
        let Some(run) = run.filter(|_| path.extension().is_some_and(|e| e == "json")) else {
            continue;
        };
        if record_of(state_dir, run)?.is_some_and(|record| record.state.starts_with("succeeded")) {
            return Ok(Some(run));
        }
    }
    Ok(None)
}

fn rules_of(path: &Path) -> Result<BTreeMap<String, u64>> {
    let failed = || format!("cannot read the quarantine file `{}`", path.display());
    let file = File::open(path).coded(Code::E1002, failed)?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).coded(Code::E1002, failed)?;
    let columns = ProjectionMask::columns(builder.parquet_schema(), [RULES]);
    let reader = builder
        .with_projection(columns)
        .build()
        .coded(Code::E1002, failed)?;
    let mut rules = BTreeMap::new();
    for batch in reader {
        let batch = batch.coded(Code::E1002, failed)?;
        for text in batch.column(0).as_string::<i32>().iter().flatten() {
            *rules.entry(text.to_owned()).or_default() += 1;
        }
    }
    Ok(rules)
}

/// What a run that replays rejected rows must know. Its id is fixed by the ledger, so that a destination which has
/// the rows recognises it however often it is repeated.
#[derive(Debug, Clone)]
pub struct Replay {
    /// The run's id.
    pub run: RunId,
    /// The pipeline whose rows they are; rows that fail again go back to its quarantine.
    pub pipeline: String,
    /// `run/node` of the rejected rows.
    pub origin: String,
}

/// One replay: which rows of which file, by which run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Replayed {
    /// The run that replays.
    pub run: RunId,
    /// The run that rejected the rows.
    pub from: RunId,
    /// The node that did.
    pub node: String,
    /// First and last number of the rows, inclusive, ascending.
    pub rows: Vec<(u64, u64)>,
    /// The file of corrected rows, where they do not come from the quarantine file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// Whether every load has the rows.
    pub done: bool,
    /// When it was begun, in Unix milliseconds.
    pub at_ms: i64,
}

impl Replayed {
    /// An entry that is about to begin.
    pub fn begin(from: &Rejects, rows: Vec<(u64, u64)>, file: Option<PathBuf>) -> Self {
        Replayed {
            run: RunId::fresh(),
            from: from.run,
            node: from.node.clone(),
            rows,
            file,
            done: false,
            at_ms: chrono::Utc::now().timestamp_millis(),
        }
    }

    /// How many rows.
    pub fn count(&self) -> u64 {
        count(&self.rows)
    }
}

/// Rows in ranges.
fn count(ranges: &[(u64, u64)]) -> u64 {
    ranges.iter().map(|(first, last)| last - first + 1).sum()
}

/// The ledger of a pipeline's replays, held by one process at a time.
#[derive(Debug)]
pub struct Ledger {
    dir: PathBuf,
    state_dir: PathBuf,
    entries: Vec<Replayed>,
    /// Holds the lock.
    _lock: Option<File>,
}

impl Ledger {
    /// The ledger as it is, to look at. Errors: `E0503`.
    pub fn read(state_dir: &Path, pipeline: &str) -> Result<Self> {
        let dir = home(state_dir, pipeline).join("replays");
        let mut found = Vec::new();
        for path in entries(&dir)? {
            if path.extension().is_none_or(|e| e != "json") {
                continue;
            }
            let failed = || format!("cannot read the ledger entry `{}`", path.display());
            let text = std::fs::read_to_string(&path).coded(Code::E0503, failed)?;
            found.push(serde_json::from_str(&text).coded(Code::E0503, failed)?);
        }
        Ok(Ledger {
            dir,
            state_dir: state_dir.to_owned(),
            entries: found,
            _lock: None,
        })
    }

    /// The ledger, held until it is dropped. Errors: `E0503`, also when another process replays.
    pub fn hold(state_dir: &Path, pipeline: &str) -> Result<Self> {
        let dir = home(state_dir, pipeline).join("replays");
        let path = dir.join("lock");
        let failed = || format!("cannot write the ledger in `{}`", dir.display());
        std::fs::create_dir_all(&dir).coded(Code::E0503, failed)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .coded(Code::E0503, failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::new(
                    Code::E0503,
                    format!("another process replays rows of `{pipeline}`"),
                )
                .with_hint("wait until it has ended, and try again"));
            }
            Err(TryLockError::Error(cause)) => return Err(cause).coded(Code::E0503, failed),
        }
        let mut ledger = Ledger::read(state_dir, pipeline)?;
        ledger._lock = Some(lock);
        Ok(ledger)
    }

    /// The entry of these rows that was begun and is not done.
    pub fn unfinished(&self, of: &Rejects) -> Option<&Replayed> {
        self.of(of).find(|entry| !entry.done)
    }

    /// How many rows were replayed.
    pub fn done(&self, of: &Rejects) -> u64 {
        self.of(of).filter(|entry| entry.done).map(Replayed::count).sum()
    }

    /// The rows no entry has.
    pub fn pending(&self, of: &Rejects) -> Vec<(u64, u64)> {
        let mut taken: Vec<(u64, u64)> = self.of(of).flat_map(|entry| entry.rows.clone()).collect();
        taken.sort_unstable();
        let mut pending = Vec::new();
        let mut next = 0;
        for (first, last) in taken {
            if first > next {
                pending.push((next, first - 1));
            }
            next = next.max(last + 1);
        }
        if next < of.rows {
            pending.push((next, of.rows - 1));
        }
        pending
    }

    fn of(&self, of: &Rejects) -> impl Iterator<Item = &Replayed> {
        let (run, node) = (of.run, of.node.clone());
        let entries = self.entries.iter();
        entries.filter(move |entry| entry.from == run && entry.node == node)
    }

    /// Writes an entry down, durably; nothing may begin before. Errors: `E0503`.
    pub fn note(&mut self, entry: &Replayed) -> Result<()> {
        let failed = || format!("cannot write the ledger in `{}`", self.dir.display());
        let text =
            serde_json::to_string_pretty(entry).coded(Code::E9901, || "an entry does not serialise")?;
        let path = self.path(entry);
        let staged = path.with_extension("json.tmp");
        let write = || -> std::io::Result<()> {
            let mut file = File::create(&staged)?;
            std::io::Write::write_all(&mut file, text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&staged, &path)
        };
        write().coded(Code::E0503, failed)?;
        crate::intent::sync_folder(&self.dir);
        self.entries.retain(|known| known.run != entry.run);
        self.entries.push(entry.clone());
        Ok(())
    }

    /// Takes an entry back whose run failed and has left nothing anywhere; false when it may have. Errors: `E0503`.
    pub fn take_back(&mut self, entry: &Replayed, replay_pipeline: &str) -> Result<bool> {
        let runs = self
            .state_dir
            .join("runs")
            .join(crate::intent::folder_name(replay_pipeline));
        if runs.join(format!("{}.intent", entry.run)).exists() {
            return Ok(false);
        }
        let failed = || format!("cannot write the ledger in `{}`", self.dir.display());
        std::fs::remove_file(self.path(entry)).coded(Code::E0503, failed)?;
        self.entries.retain(|known| known.run != entry.run);
        Ok(true)
    }

    fn path(&self, entry: &Replayed) -> PathBuf {
        self.dir.join(format!("{}.json", entry.run))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(rows: u64) -> Rejects {
        Rejects {
            run: RunId::fresh(),
            node: "v".into(),
            path: PathBuf::new(),
            rows,
            rules: BTreeMap::new(),
            state: Some("succeeded_with_warnings".into()),
            started_ms: None,
        }
    }

    #[test]
    fn rows_of_an_entry_are_not_offered_again() {
        let dir = tempfile::tempdir().expect("a folder");
        let rejects = file(10);
        let mut ledger = Ledger::hold(dir.path(), "p").expect("is held");
        assert_eq!(ledger.pending(&rejects), [(0, 9)]);
        let mut entry = Replayed::begin(&rejects, vec![(7, 7), (2, 4)], None);
        ledger.note(&entry).expect("is noted");
        assert_eq!(ledger.pending(&rejects), [(0, 1), (5, 6), (8, 9)]);
        assert_eq!(
            (ledger.done(&rejects), ledger.unfinished(&rejects)),
            (0, Some(&entry))
        );
        entry.done = true;
        ledger.note(&entry).expect("is noted");
        let again = Ledger::read(dir.path(), "p").expect("is read");
        assert_eq!((again.done(&rejects), again.unfinished(&rejects)), (4, None));
        assert_eq!(again.pending(&file(3)), [(0, 2)], "another run's rows are others");
        assert!(again.pending(&file(0)).is_empty());
    }

    #[test]
    fn one_process_replays_at_a_time() {
        let dir = tempfile::tempdir().expect("a folder");
        let held = Ledger::hold(dir.path(), "p").expect("is held");
        assert_eq!(
            Ledger::hold(dir.path(), "p").expect_err("is refused").code(),
            Code::E0503
        );
        drop(held);
        Ledger::hold(dir.path(), "p").expect("is free");
    }

    #[test]
    fn an_entry_is_taken_back_only_when_nothing_is_left_of_its_run() {
        let dir = tempfile::tempdir().expect("a folder");
        let rejects = file(2);
        let mut ledger = Ledger::hold(dir.path(), "p").expect("is held");
        let entry = Replayed::begin(&rejects, vec![(0, 1)], None);
        ledger.note(&entry).expect("is noted");
        let runs = dir
            .path()
            .join("runs")
            .join(crate::intent::folder_name("p/replay"));
        std::fs::create_dir_all(&runs).expect("a folder");
        let intent = runs.join(format!("{}.intent", entry.run));
        std::fs::write(&intent, "{}").expect("an intent");
        assert!(!ledger.take_back(&entry, "p/replay").expect("is asked"));
        std::fs::remove_file(&intent).expect("is gone");
        assert!(ledger.take_back(&entry, "p/replay").expect("is asked"));
        assert_eq!(
            Ledger::read(dir.path(), "p").expect("is read").pending(&rejects),
            [(0, 1)]
        );
    }
}
