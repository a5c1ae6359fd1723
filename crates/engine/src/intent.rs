//! What a run intends, written down before it reads, and found again by a restart.
//!
//! One file per run under `<state>/runs/<pipeline>/`, held under an operating-system lock while the run lives. An
//! unlocked intent of the same document is a run that died: the next run takes over its id, so that loads it had
//! committed are recognised by their destinations and skipped, and the others are finished. An intent is never a
//! position: it says what was meant, not what was read.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use synqx_model::{Code, Error, Result, ResultExt, RunId};
use synqx_sdk::{Effect, Moment, Probe};

/// An intent, held.
#[derive(Debug)]
pub(crate) struct Intent {
    /// The run.
    pub(crate) run: RunId,
    /// An earlier process had begun it.
    pub(crate) resumed: bool,
    path: PathBuf,
    /// Holds the lock.
    _file: File,
    probe: Arc<dyn Probe>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    run: RunId,
    spec_hash: String,
    started_ms: i64,
}

impl Intent {
    /// Finds the newest dead run of this document, or begins a new one. Errors: `E0503`.
    pub(crate) fn take(
        state_dir: &Path,
        pipeline: &str,
        spec_hash: &str,
        probe: &Arc<dyn Probe>,
    ) -> Result<Self> {
        let dir = state_dir.join("runs").join(folder_name(pipeline));
        let failed = || format!("cannot keep run state in `{}`", dir.display());
        std::fs::create_dir_all(&dir)
            .coded(Code::E0503, failed)
            .map_err(hint)?;
        let mut paths: Vec<PathBuf> = std::fs::read_dir(&dir)
            .coded(Code::E0503, failed)
            .map_err(hint)?
            .filter_map(|entry| entry.ok().map(|e| e.path()))
            .filter(|path| path.extension().is_some_and(|e| e == "intent"))
            .collect();
        paths.sort();
        let mut found: Option<Intent> = None;
        for path in paths.into_iter().rev() {
            let Some((file, stored)) = dead(&path) else {
                continue;
            };
            let same = stored.filter(|stored| stored.spec_hash == spec_hash);
            match (same, &found) {
                (Some(stored), None) => {
                    let probe = Arc::clone(probe);
                    found = Some(Intent {
                        run: stored.run,
                        resumed: true,
                        path,
                        _file: file,
                        probe,
                    });
                }
                _ => std::fs::remove_file(&path)
                    .coded(Code::E0503, failed)
                    .map_err(hint)?,
            }
        }
        match found {
            Some(intent) => Ok(intent),
            None => Intent::begin(&dir, spec_hash, probe),
        }
    }

    fn begin(dir: &Path, spec_hash: &str, probe: &Arc<dyn Probe>) -> Result<Self> {
        let run = RunId::fresh();
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
            return Intent::begin(dir, spec_hash, probe);
        }
        let stored = Stored {
            run,
            spec_hash: spec_hash.to_owned(),
            started_ms: chrono::Utc::now().timestamp_millis(),
        };
        let text = serde_json::to_string(&stored).coded(Code::E9901, || "an intent does not serialise")?;
        file.write_all(text.as_bytes())
            .and_then(|()| file.sync_all())
            .coded(Code::E0503, failed)
            .map_err(hint)?;
        sync_folder(dir);
        probe.reach(Effect::Intent, Moment::After)?;
        Ok(Intent {
            run,
            resumed: false,
            path,
            _file: file,
            probe: Arc::clone(probe),
        })
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

/// An intent whose process is gone, with its lock now ours. Half-written ones have no content: nothing had begun.
fn dead(path: &Path) -> Option<(File, Option<Stored>)> {
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
    Some((file, serde_json::from_str(&text).ok()))
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
    use synqx_sdk::probe::Quiet;

    use super::*;

    fn take(dir: &Path, hash: &str) -> Intent {
        let probe: Arc<dyn Probe> = Arc::new(Quiet);
        Intent::take(dir, "p/q", hash, &probe).expect("an intent")
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
}
