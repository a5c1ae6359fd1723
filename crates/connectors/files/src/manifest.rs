//! What a destination remembers beside its files: fences, the last commit of each stream, the parts of a folder.
//!
//! One JSON document per target: `_synqx_manifest.json` inside a folder of parts, `.{name}.synqx.json` beside a
//! single file. It is replaced as a whole, by an atomic rename. It holds no rows; locks and renames are in `place`.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use synqx_model::{Code, Error, Position, Result, RunId, StreamKey};
use synqx_sdk::Committed;

use crate::content::Stamp;

/// The manifest's name in a folder of parts.
pub(crate) const NAME: &str = "_synqx_manifest.json";
/// The layout this version writes.
const VERSION: u32 = 1;
/// Runs of a stream whose leftovers are still looked for.
const RUNS: usize = 32;

/// What is remembered about one target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// The layout.
    pub(crate) version: u32,
    /// Streams that write here, by their printed key.
    pub(crate) streams: BTreeMap<String, StreamRecord>,
    /// The files that are the table, by name. Empty for a single file.
    #[serde(default)]
    pub(crate) parts: Vec<Part>,
    /// The columns of the parts: name and type. Empty while no run has committed.
    #[serde(default)]
    pub(crate) columns: Vec<(String, String)>,
    /// Rows of a single file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rows: Option<u64>,
    /// A single file that is being renamed into place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pending: Option<Pending>,
    /// What the last `replace` with `keep_previous` replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) previous: Option<Previous>,
    /// Parts that are no longer listed and may still be there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) obsolete: Vec<String>,
}

impl Default for Manifest {
    fn default() -> Self {
        Manifest {
            version: VERSION,
            streams: BTreeMap::new(),
            parts: Vec::new(),
            columns: Vec::new(),
            rows: None,
            pending: None,
            previous: None,
            obsolete: Vec::new(),
        }
    }
}

/// What is remembered about a stream.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct StreamRecord {
    /// The highest fence claimed.
    pub(crate) fence: u64,
    /// The last commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) committed: Option<Commit>,
    /// Short ids of runs that began here, newest last: whose leftovers to look for.
    #[serde(default)]
    pub(crate) runs: Vec<String>,
}

/// A commit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Commit {
    /// The run.
    pub(crate) run: RunId,
    /// The position committed with its rows.
    pub(crate) position: Position,
    /// The document's hash.
    pub(crate) spec_hash: String,
}

/// What a rename makes true. It is noted before the rename, so a crash before the commit is noted cannot hide that the
/// rows are there: a pipeline that reads the file it writes would be applied twice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Pending {
    /// The printed key of the stream.
    pub(crate) stream: String,
    /// Its commit.
    pub(crate) commit: Commit,
    /// The file under its hidden name. A rename changes none of it.
    pub(crate) stamp: Stamp,
    /// Its rows.
    pub(crate) rows: u64,
    /// Its columns.
    pub(crate) columns: Vec<(String, String)>,
    /// It is the previous version that goes back, so that there is none afterwards.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) undoes: bool,
}

/// A version that was replaced and is kept. A single file lies beside the new one under a hidden name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Previous {
    /// The parts of a folder.
    #[serde(default)]
    pub(crate) parts: Vec<Part>,
    /// Its columns.
    #[serde(default)]
    pub(crate) columns: Vec<(String, String)>,
    /// The rows of a single file, where SynqX wrote it.
    #[serde(default)]
    pub(crate) rows: Option<u64>,
}

/// One file of a folder of parts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part {
    /// Its name below the folder.
    pub(crate) name: String,
    /// Its rows, where SynqX wrote it.
    pub(crate) rows: Option<u64>,
    /// Its size.
    pub(crate) bytes: u64,
    /// The run that wrote it; none for a file that was there before.
    pub(crate) run: Option<RunId>,
}

impl Manifest {
    /// The record of a stream, made when there is none.
    pub(crate) fn stream(&mut self, key: &StreamKey) -> &mut StreamRecord {
        self.streams.entry(key.to_string()).or_default()
    }

    /// The fence stored for a stream.
    pub(crate) fn fence(&self, key: &StreamKey) -> u64 {
        self.streams
            .get(&key.to_string())
            .map_or(0, |record| record.fence)
    }

    /// The parts that are the table, and those of the version before that are kept.
    pub(crate) fn kept(&self) -> impl Iterator<Item = &Part> {
        let previous = self.previous.iter().flat_map(|previous| &previous.parts);
        self.parts.iter().chain(previous)
    }

    /// The last commit of a stream.
    pub(crate) fn committed(&self, key: &StreamKey) -> Option<Committed> {
        let commit = self.streams.get(&key.to_string())?.committed.as_ref()?;
        Some(Committed {
            run: commit.run,
            position: commit.position.clone(),
            spec_hash: commit.spec_hash.clone(),
        })
    }

    /// Decides about a rename that was begun: it is a commit if the file at `path` is the one that was to be renamed.
    /// Errors: `E0211`.
    pub(crate) fn settle(&mut self, path: &Path) -> Result<()> {
        let Some(pending) = &self.pending else {
            return Ok(());
        };
        let renamed = match std::fs::metadata(path) {
            Ok(found) => Stamp::of(&found) == pending.stamp,
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => false,
            Err(cause) => return Err(crate::content::cannot_read(&path.display().to_string(), &cause)),
        };
        if let Some(pending) = self.pending.take().filter(|_| renamed) {
            self.rows = Some(pending.rows);
            self.columns = pending.columns;
            if pending.undoes {
                self.previous = None;
            }
            self.streams.entry(pending.stream).or_default().committed = Some(pending.commit);
        }
        Ok(())
    }

    /// The document as text.
    pub(crate) fn to_text(&self) -> Result<String> {
        serde_json::to_string_pretty(self)
            .map_err(|cause| Error::bug("cannot render a manifest").with_cause(&cause))
    }

    /// Reads the document. Errors: `E0503`.
    pub(crate) fn from_text(text: &[u8], label: &str) -> Result<Self> {
        let broken = || {
            Error::new(Code::E0503, format!("cannot read the record `{label}`")).with_hint(
                "restore it from a backup; deleting it forgets positions and, in a folder, which parts count",
            )
        };
        let manifest: Manifest = serde_json::from_slice(text).map_err(|cause| broken().with_cause(&cause))?;
        if manifest.version != VERSION {
            return Err(broken().with_detail(format!(
                "It has layout {}, this version knows {VERSION}.",
                manifest.version
            )));
        }
        Ok(manifest)
    }
}

impl StreamRecord {
    /// Notes that a run began.
    pub(crate) fn begun(&mut self, run: &str) {
        self.runs.retain(|known| known != run);
        self.runs.push(run.to_owned());
        let beyond = self.runs.len().saturating_sub(RUNS);
        self.runs.drain(..beyond);
    }
}

/// The manifest of a folder, if it has one. Errors: `E0211`, `E0503`.
pub(crate) fn read(folder: &Path) -> Result<Option<Manifest>> {
    read_file(&folder.join(NAME))
}

/// A record, if it is there. Errors: `E0211`, `E0503`.
pub(crate) fn read_file(path: &Path) -> Result<Option<Manifest>> {
    let label = path.display().to_string();
    match std::fs::read(path) {
        Ok(bytes) => Manifest::from_text(&bytes, &label).map(Some),
        Err(cause)
            if matches!(
                cause.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        Err(cause) => Err(crate::content::cannot_read(&label, &cause)),
    }
}
