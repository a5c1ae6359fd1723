//! What a run intends, written down before it reads, and found again by a restart.
//!
//! One file per run under `<state>/runs/<pipeline>/`, held under an operating-system lock while the run lives. An
//! unlocked intent of the same document is a run that died: the next run takes over its id, so that loads it had
//! committed are recognised by their destinations and skipped, and the others are finished. An intent is never a
//! position: it says what was meant, not what was read.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use synqx_model::{Code, Error, Result, ResultExt, RunId};
use synqx_sdk::{Effect, Moment, Probe, Protection};

use crate::RunOptions;
use crate::incremental::Intervals;

/// An intent, held.
#[derive(Debug)]
pub(crate) struct Intent {
    /// The run.
    pub(crate) run: RunId,
    /// An earlier process had begun it.
    pub(crate) resumed: bool,
    /// When this process took it up, in Unix milliseconds; the clock of checks.
    pub(crate) started_ms: i64,
    path: PathBuf,
    /// Holds the lock.
    file: File,
    intervals: Mutex<Option<Intervals>>,
    probe: Arc<dyn Probe>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Stored {
    run: RunId,
    spec_hash: String,
    started_ms: i64,
}

/// A line behind the intent: the run begins to publish.
const PUBLISHING: &str = "publishing";
/// A line behind the intent: what the incremental extracts read.
const INTERVALS: &str = "intervals ";

/// A run whose process is gone.
struct Dead {
    path: PathBuf,
    file: File,
    stored: Stored,
    publishing: bool,
    intervals: Option<Intervals>,
}

impl Intent {
    /// Finds the newest dead run of this document, or begins a new one. Dead runs of another document are swept when
    /// they had published nothing; `abandon` leaves all of them as they are. Errors: `E0503`, `E0506`.
    pub(crate) fn take(options: &RunOptions, pipeline: &str, spec_hash: &str) -> Result<Self> {
        let (state_dir, probe) = (&options.state_dir, &options.probe);
        let dir = match &options.slice {
            Some(slice) => slice.dir.clone(),
            None => runs(state_dir, pipeline),
        };
        let mut found: Option<Dead> = None;
        for dead in dead_runs(&dir)? {
            let same = dead.stored.spec_hash == spec_hash;
            if options.abandon || !probe.protects(Protection::Intent) {
                dead.forget(state_dir, pipeline)?;
            } else if same
                && found
                    .as_ref()
                    .is_none_or(|found| dead.publishing && !found.publishing)
            {
                if let Some(other) = found.replace(dead) {
                    other.forget(state_dir, pipeline)?;
                }
            } else if dead.publishing && !same {
                return Err(unfinished(&dead, pipeline));
            } else {
                dead.forget(state_dir, pipeline)?;
            }
        }
        match found {
            Some(dead) => Ok(Intent {
                run: dead.stored.run,
                resumed: true,
                started_ms: chrono::Utc::now().timestamp_millis(),
                path: dead.path,
                file: dead.file,
                intervals: Mutex::new(dead.intervals.filter(|_| probe.protects(Protection::Interval))),
                probe: Arc::clone(probe),
            }),
            None => {
                let run = options
                    .replay
                    .as_ref()
                    .map_or_else(RunId::fresh, |replay| replay.run);
                Intent::begin(&dir, spec_hash, probe, run)
            }
        }
    }

    /// Fails when a run of the pipeline stopped while it was publishing: what it left must be finished first. Errors:
    /// `E0503`, `E0506`.
    pub(crate) fn none_publishing(options: &RunOptions, pipeline: &str) -> Result<()> {
        let dead = dead_runs(&runs(&options.state_dir, pipeline))?;
        match dead.iter().find(|dead| dead.publishing) {
            None => Ok(()),
            Some(dead) => Err(Error::new(
                Code::E0506,
                format!(
                    "{} of `{pipeline}` stopped while it was publishing",
                    dead.stored.run
                ),
            )
            .with_detail("Some of its loads may have published their rows, and a backfill would hide which.")
            .with_hint("finish it with `synqx run`, then start the backfill again")),
        }
    }

    fn begin(dir: &Path, spec_hash: &str, probe: &Arc<dyn Probe>, run: RunId) -> Result<Self> {
        let path = dir.join(format!("{run}.intent"));
        let failed = || format!("cannot write `{}`", path.display());
        probe.reach(Effect::Intent, Moment::Before)?;
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .open(&path)
            .coded(Code::E0503, failed)
            .map_err(hint)?;
        file.lock().coded(Code::E0503, failed).map_err(hint)?;
        if !is_still(&file, &path) {
            // Another run took the still empty file for a dead one and removed it before it was locked.
            return Intent::begin(dir, spec_hash, probe, run);
        }
        let stored = Stored {
            run,
            spec_hash: spec_hash.to_owned(),
            started_ms: chrono::Utc::now().timestamp_millis(),
        };
        let text = serde_json::to_string(&stored).coded(Code::E9901, || "an intent does not serialise")?;
        file.write_all(format!("{text}\n").as_bytes())
            .and_then(|()| file.sync_all())
            .coded(Code::E0503, failed)
            .map_err(hint)?;
        sync_folder(dir);
        probe.reach(Effect::Intent, Moment::After)?;
        Ok(Intent {
            run,
            resumed: false,
            started_ms: stored.started_ms,
            path,
            file,
            intervals: Mutex::default(),
            probe: Arc::clone(probe),
        })
    }

    /// Notes, durably, that rows may become visible from now on. Errors: `E0503`.
    pub(crate) fn publish(&self) -> Result<()> {
        self.probe.reach(Effect::Mark, Moment::Before)?;
        self.note(PUBLISHING)?;
        self.probe.reach(Effect::Mark, Moment::After)
    }

    /// What the incremental extracts of this run read, once that is decided.
    pub(crate) fn intervals(&self) -> Option<Intervals> {
        self.intervals
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Notes, durably, what the incremental extracts read: every attempt and every restart reads the same. Errors:
    /// `E0503`.
    pub(crate) fn record(&self, intervals: &Intervals) -> Result<()> {
        let mut known = self.intervals.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_ref() == Some(intervals) {
            return Ok(());
        }
        let text = serde_json::to_string(intervals).coded(Code::E9901, || "intervals do not serialise")?;
        self.probe.reach(Effect::Interval, Moment::Before)?;
        self.note(&format!("{INTERVALS}{text}"))?;
        self.probe.reach(Effect::Interval, Moment::After)?;
        *known = Some(intervals.clone());
        Ok(())
    }

    /// A line behind the others: one that is cut short by a crash leaves those before it readable.
    fn note(&self, line: &str) -> Result<()> {
        let mut file = &self.file;
        file.seek(std::io::SeekFrom::End(0))
            .and_then(|_| file.write_all(format!("\n{line}\n").as_bytes()))
            .and_then(|()| file.sync_all())
            .coded(Code::E0503, || format!("cannot write `{}`", self.path.display()))
            .map_err(hint)
    }

    /// Nothing is left to do for a restart. Errors: `E0503`.
    pub(crate) fn close(&self) -> Result<()> {
        self.probe.reach(Effect::Done, Moment::Before)?;
        match std::fs::remove_file(&self.path) {
            Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
                return Err(cause)
                    .coded(Code::E0503, || format!("cannot remove `{}`", self.path.display()))
                    .map_err(hint);
            }
            _ => {}
        }
        self.probe.reach(Effect::Done, Moment::After)
    }
}

/// Where intents of a pipeline's runs are.
fn runs(state_dir: &Path, pipeline: &str) -> PathBuf {
    state_dir.join("runs").join(folder_name(pipeline))
}

/// Whether the name still leads to the file that was opened; its owner may have closed the run meanwhile.
fn is_still(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(held), Ok(named)) => (held.dev(), held.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

fn hint(error: Error) -> Error {
    error.with_hint("make the folder writable, or choose another with `--state DIR`")
}

/// Runs of a pipeline whose process is gone, newest first, each with its lock now ours. Half-written intents have no
/// content: nothing had begun. Errors: `E0503`.
fn dead_runs(dir: &Path) -> Result<Vec<Dead>> {
    let failed = || format!("cannot keep run state in `{}`", dir.display());
    let read = || -> std::io::Result<Vec<PathBuf>> {
        std::fs::create_dir_all(dir)?;
        let paths = std::fs::read_dir(dir)?.filter_map(|entry| entry.ok().map(|e| e.path()));
        Ok(paths
            .filter(|path| path.extension().is_some_and(|e| e == "intent"))
            .collect())
    };
    let mut paths = read().coded(Code::E0503, failed).map_err(hint)?;
    paths.sort();
    let mut runs = Vec::new();
    for path in paths.into_iter().rev() {
        let Some((file, text)) = unlocked(&path) else {
            continue;
        };
        let mut lines = text.lines();
        match serde_json::from_str(lines.next().unwrap_or_default()) {
            Ok(stored) => {
                let (mut publishing, mut intervals) = (false, None);
                for line in lines {
                    match line.strip_prefix(INTERVALS) {
                        Some(text) => intervals = serde_json::from_str(text).ok().or(intervals),
                        // Also when it was cut short.
                        None => publishing |= line.starts_with('p'),
                    }
                }
                runs.push(Dead {
                    path,
                    file,
                    stored,
                    publishing,
                    intervals,
                });
            }
            Err(_) => std::fs::remove_file(&path)
                .coded(Code::E0503, failed)
                .map_err(hint)?,
        }
    }
    Ok(runs)
}

/// A file whose process is gone, with its lock now ours, and its text.
fn unlocked(path: &Path) -> Option<(File, String)> {
    let mut file = OpenOptions::new().read(true).write(true).open(path).ok()?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock | TryLockError::Error(_)) => return None,
    }
    if !is_still(&file, path) {
        return None;
    }
    let mut text = String::new();
    file.rewind().ok()?;
    file.read_to_string(&mut text).ok()?;
    Some((file, text))
}

impl Dead {
    /// Removes the intent, and the rejected rows of a run that published nothing. Errors: `E0503`.
    fn forget(self, state_dir: &Path, pipeline: &str) -> Result<()> {
        if !self.publishing {
            crate::rejects::sweep(state_dir, pipeline, self.stored.run);
        }
        std::fs::remove_file(&self.path)
            .coded(Code::E0503, || format!("cannot remove `{}`", self.path.display()))
            .map_err(hint)
    }
}

fn unfinished(dead: &Dead, pipeline: &str) -> Error {
    let run = dead.stored.run;
    Error::new(
        Code::E0506,
        format!("{run} of `{pipeline}` stopped while it was publishing, and the document has changed since"),
    )
    .with_detail("Some of its loads may have published their rows.")
    .with_hint(
        "put the old document back and run it to finish that run, or run with `--abandon` to leave its rows as they are",
    )
}

/// A folder name that no two pipelines share.
pub(crate) fn folder_name(pipeline: &str) -> String {
    use sha2::{Digest, Sha256};
    let clean: String = pipeline
        .chars()
        .map(|c| if c.is_alphanumeric() || c == '-' { c } else { '_' })
        .take(40)
        .collect();
    let hash: String = Sha256::digest(pipeline.as_bytes())
        .iter()
        .take(4)
        .map(|b| format!("{b:02x}"))
        .collect();
    format!("{clean}-{hash}")
}

/// Makes a new name in a folder durable, where the platform can.
pub(crate) fn sync_folder(dir: &Path) {
    if let Ok(folder) = File::open(dir) {
        let _ = folder.sync_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(dir: &Path, abandon: bool) -> RunOptions {
        let mut options = RunOptions::new(dir);
        options.abandon = abandon;
        options
    }

    fn take(dir: &Path, hash: &str) -> Intent {
        Intent::take(&options(dir, false), "p/q", hash).expect("an intent")
    }

    #[test]
    fn a_dead_run_is_resumed_and_a_living_one_is_left_alone() {
        let dir = tempfile::tempdir().expect("a folder");
        let first = take(dir.path(), "h");
        let second = take(dir.path(), "h");
        assert_ne!(first.run, second.run, "the first still lives");
        let dead = first.run;
        second.close().expect("closes");
        drop(first);
        let third = take(dir.path(), "h");
        assert_eq!((third.run, third.resumed), (dead, true));
    }

    #[test]
    fn a_changed_document_starts_anew_and_a_closed_run_is_forgotten() {
        let dir = tempfile::tempdir().expect("a folder");
        let first = take(dir.path(), "h").run;
        assert_ne!(take(dir.path(), "other").run, first);
        let closed = take(dir.path(), "other");
        closed.close().expect("closes");
        drop(closed);
        assert!(!take(dir.path(), "other").resumed);
    }

    #[test]
    fn an_abandoned_run_of_the_same_document_is_not_resumed() {
        let dir = tempfile::tempdir().expect("a folder");
        let first = take(dir.path(), "h");
        first.publish().expect("is noted");
        let run = first.run;
        drop(first);
        let anew = Intent::take(&options(dir.path(), true), "p/q", "h").expect("begins anew");
        assert!(anew.run != run && !anew.resumed);
    }

    #[test]
    fn a_changed_document_stops_at_a_run_that_had_begun_to_publish() {
        let dir = tempfile::tempdir().expect("a folder");
        let first = take(dir.path(), "h");
        first.publish().expect("is noted");
        let run = first.run;
        drop(first);
        let refused = Intent::take(&options(dir.path(), false), "p/q", "other").expect_err("stops");
        assert_eq!(refused.code(), Code::E0506);
        let resumed = take(dir.path(), "h");
        assert_eq!(
            (resumed.run, resumed.resumed),
            (run, true),
            "the old document goes on"
        );
        resumed.publish().expect("is noted again");
        drop(resumed);
        let anew = Intent::take(&options(dir.path(), true), "p/q", "other").expect("abandons it");
        assert_ne!(anew.run, run);
        assert!(!anew.resumed);
    }
}
