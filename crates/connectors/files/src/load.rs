//! A load that has begun: its staging, its lanes, and the one act that publishes rows, position and fence.
//!
//! A single file is published by a rename, which is noted in the record before and confirmed there after it: the next
//! `begin` after a crash between the two recognises the file. A folder is published by replacing its manifest, which lists the parts and holds position and
//! fence. Whatever happens before that act leaves what was there untouched.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use synqx_model::spec::WriteMode;
use synqx_model::{Code, Error, Position, Result};
use synqx_sdk::probe::{Effect, Moment, Probe, Protection};
use synqx_sdk::{Budget, Committed, Env, Load, Receipt, Target, Writer};

use crate::config::WriteOptions;
use crate::content::Stamp;
use crate::lane::Lane;
use crate::manifest::{self, Commit, Manifest, Part, Pending, Previous};
use crate::place::{Lock, cannot_write, folder_of, followed, remove, rename, replace_file, sync_folder};
use crate::read::blocking;
use crate::write::{Look, noted};

/// Where rows go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// One file, with its record beside it.
    File {
        /// The file.
        path: PathBuf,
        /// Its record.
        record: PathBuf,
    },
    /// A folder of parts, with its manifest inside.
    Folder {
        /// The folder.
        path: PathBuf,
        /// Its manifest.
        record: PathBuf,
    },
}

impl Place {
    /// A single file. A link stays a link: what is replaced is the file it leads to.
    pub(crate) fn file(path: PathBuf) -> Self {
        let path = followed(path);
        let record = beside(&path, ".synqx.json");
        Place::File { path, record }
    }

    /// A folder of parts.
    pub(crate) fn parts(path: PathBuf) -> Self {
        Place::Folder {
            record: path.join(manifest::NAME),
            path,
        }
    }

    /// The file or folder.
    pub(crate) fn path(&self) -> &Path {
        match self {
            Place::File { path, .. } | Place::Folder { path, .. } => path,
        }
    }

    /// The folder that files are made in.
    pub(crate) fn folder(&self) -> &Path {
        match self {
            Place::File { path, .. } => folder_of(path),
            Place::Folder { path, .. } => path,
        }
    }

    /// Where fences and positions are kept.
    pub(crate) fn record(&self) -> &Path {
        match self {
            Place::File { record, .. } | Place::Folder { record, .. } => record,
        }
    }

    /// What is remembered here, with renames that a crash left undecided decided. Errors: `E0211`, `E0503`.
    pub(crate) fn remembered(&self) -> Result<Option<Manifest>> {
        let mut manifest = manifest::read_file(self.record())?;
        if let (Place::File { path, .. }, Some(manifest)) = (self, &mut manifest) {
            manifest.settle(path)?;
        }
        Ok(manifest)
    }

    /// The file that is locked while the record changes.
    pub(crate) fn lock(&self) -> PathBuf {
        self.record().with_extension("lock")
    }

    /// Where a replaced single file is kept.
    pub(crate) fn previous(path: &Path) -> PathBuf {
        beside(path, ".previous")
    }

    /// What `begin` compares.
    pub(crate) fn fingerprint(&self) -> &'static str {
        match self {
            Place::File { .. } => "file",
            Place::Folder { .. } => "folder",
        }
    }

    /// The hidden name of a single file while a run writes it.
    pub(crate) fn staging(path: &Path, run: &str) -> PathBuf {
        beside(path, &format!(".synqx-{run}.tmp"))
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let name = path
        .file_name()
        .map(|n| n.to_string_lossy().into_owned())
        .unwrap_or_default();
    path.with_file_name(format!(".{name}{suffix}"))
}

/// A file that is whole and durable under its hidden name.
#[derive(Debug, Clone)]
pub(crate) struct Staged {
    /// The hidden name.
    pub(crate) hidden: PathBuf,
    /// Its name once published, below the folder.
    pub(crate) name: String,
    /// Its rows.
    pub(crate) rows: u64,
    /// Its size.
    pub(crate) bytes: u64,
}

/// What the lanes of a load share.
pub(crate) struct Staging {
    pub(crate) place: Place,
    pub(crate) options: WriteOptions,
    pub(crate) schema: SchemaRef,
    pub(crate) sources: Vec<Option<usize>>,
    pub(crate) run: String,
    pub(crate) lanes: usize,
    pub(crate) budget: Budget,
    pub(crate) probe: Arc<dyn Probe>,
    /// Names made on disk, for `abort`.
    made: Mutex<Vec<PathBuf>>,
    staged: Mutex<Vec<Staged>>,
    over: AtomicBool,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Staging {
    pub(crate) fn new(look: Look, target: &Target, lanes: usize, env: &Env) -> Self {
        Staging {
            place: look.place,
            options: look.options,
            schema: look.schema,
            sources: look.sources,
            run: target.run.short(),
            lanes,
            budget: env.budget.clone(),
            probe: env.probe.clone(),
            made: Mutex::new(Vec::new()),
            staged: Mutex::new(Vec::new()),
            over: AtomicBool::new(false),
        }
    }

    /// Notes a hidden file before it is made. Errors: `E0701` once the load was given up.
    pub(crate) fn announce(&self, hidden: &Path) -> Result<()> {
        locked(&self.made).push(hidden.to_owned());
        if self.over.load(Ordering::SeqCst) {
            return Err(
                Error::new(Code::E0701, "the load was given up while a lane was writing")
                    .with_hint("run again"),
            );
        }
        Ok(())
    }

    /// Takes a file that is whole and durable.
    pub(crate) fn take(&self, staged: Staged) {
        locked(&self.staged).push(staged);
    }

    /// Removes every hidden file.
    fn clear(&self) -> Result<()> {
        self.over.store(true, Ordering::SeqCst);
        let made = std::mem::take(&mut *locked(&self.made));
        let results: Vec<_> = made.iter().map(|path| remove(path)).collect();
        results.into_iter().try_for_each(|result| result.map(drop))
    }
}

/// A load that has begun.
pub(crate) struct FileLoad {
    staging: Arc<Staging>,
    target: Target,
    fence: u64,
    committed: Option<Committed>,
    opened: usize,
}

impl FileLoad {
    pub(crate) fn new(
        staging: Arc<Staging>,
        target: Target,
        fence: u64,
        committed: Option<Committed>,
    ) -> Self {
        FileLoad {
            staging,
            target,
            fence,
            committed,
            opened: 0,
        }
    }

    fn commit_blocking(&self, position: &Position) -> Result<Receipt> {
        if self.opened == 0 && matches!(self.staging.place, Place::File { .. }) {
            Lane::new(self.staging.clone(), 0)?.finish()?;
        }
        let mut published = false;
        let outcome = match &self.staging.place {
            Place::File { path, .. } => self.publish_file(path, position, &mut published),
            Place::Folder { path, .. } => self.publish_folder(path, position, &mut published),
        };
        match outcome {
            Err(error) if published => Err(Error::new(
                Code::E0317,
                format!("the answer to the commit of `{}` was lost", self.target.asset),
            )
            .with_detail(
                "The rows may have been published. The next run of the pipeline finds out before it writes.",
            )
            .with_hint("run again")
            .with_cause(&error)),
            Err(error) => {
                // What was there before is untouched; the staging has no further use.
                let _ = self.staging.clear();
                Err(error)
            }
            Ok(receipt) => Ok(receipt),
        }
    }

    /// The record under lock, if this load still holds the fence. Errors: `E0501`, `E0312`.
    fn guarded(&self) -> Result<(Lock, Manifest)> {
        let place = &self.staging.place;
        let lock = Lock::take(&place.lock())?;
        let manifest = place.remembered()?.unwrap_or_default();
        let stored = manifest.fence(&self.target.stream);
        if stored != self.fence && self.staging.probe.protects(Protection::Fence) {
            return Err(Error::new(
                Code::E0501,
                format!("another run took over `{}`", self.target.asset),
            )
            .with_detail(format!(
                "This run holds fence {}, the target stores {stored}. Nothing was published.",
                self.fence
            ))
            .with_hint("let the other run finish; it covers the same rows"));
        }
        Ok((lock, manifest))
    }

    fn record(&self, manifest: &mut Manifest, position: &Position) {
        manifest.columns = self.columns();
        manifest.stream(&self.target.stream).committed = Some(self.done(position));
    }

    fn columns(&self) -> Vec<(String, String)> {
        let columns = self.staging.schema.fields().iter();
        columns
            .map(|f| (f.name().clone(), noted(self.staging.options.format, f)))
            .collect()
    }

    fn done(&self, position: &Position) -> Commit {
        Commit {
            run: self.target.run,
            position: position.clone(),
            spec_hash: self.target.spec_hash.clone(),
        }
    }

    /// What the rename of a file will make true.
    fn pending(&self, file: &Staged, position: &Position) -> Result<Pending> {
        let metadata = std::fs::metadata(&file.hidden).map_err(|cause| cannot_write(&file.hidden, &cause))?;
        Ok(Pending {
            stream: self.target.stream.to_string(),
            commit: self.done(position),
            stamp: Stamp::of(&metadata),
            rows: file.rows,
            columns: self.columns(),
            undoes: false,
        })
    }

    fn publish_file(&self, path: &Path, position: &Position, published: &mut bool) -> Result<Receipt> {
        let (_lock, mut manifest) = self.guarded()?;
        let probe = &self.staging.probe;
        let staged = locked(&self.staging.staged).clone();
        let [file] = staged.as_slice() else {
            return Err(Error::bug(format!(
                "a single file has {} finished lanes",
                staged.len()
            )));
        };
        probe.reach(Effect::Ready, Moment::Before)?;
        if self.target.replace.keep_previous {
            self.keep_file(path, &mut manifest)?;
        }
        if probe.protects(Protection::OneAct) {
            manifest.pending = Some(self.pending(file, position)?);
            replace_file(self.staging.place.record(), &manifest.to_text()?)?;
        }
        probe.reach(Effect::Ready, Moment::After)?;
        probe.reach(Effect::Publish, Moment::Before)?;
        rename(&file.hidden, path)?;
        *published = true;
        sync_folder(folder_of(path))?;
        probe.reach(Effect::Publish, Moment::After)?;
        manifest.pending = None;
        let replaced = manifest.rows.replace(file.rows);
        self.record(&mut manifest, position);
        probe.reach(Effect::Record, Moment::Before)?;
        replace_file(self.staging.place.record(), &manifest.to_text()?)?;
        probe.reach(Effect::Record, Moment::After)?;
        Ok(Receipt {
            inserted: file.rows,
            deleted: replaced.unwrap_or(0),
            ..Receipt::default()
        })
    }

    /// Keeps the file that is about to be replaced beside it: a second name for it, or a copy where there is none.
    fn keep_file(&self, path: &Path, manifest: &mut Manifest) -> Result<()> {
        if !path.exists() {
            return Ok(());
        }
        let kept = Place::previous(path);
        let staged = Place::staging(&kept, &self.staging.run);
        self.staging.announce(&staged)?;
        remove(&staged)?;
        std::fs::hard_link(path, &staged)
            .or_else(|_| std::fs::copy(path, &staged).map(drop))
            .map_err(|cause| cannot_write(&staged, &cause))?;
        rename(&staged, &kept)?;
        // Two names of one file: such a rename does nothing. An earlier attempt had kept it already.
        remove(&staged)?;
        manifest.previous = Some(Previous {
            parts: Vec::new(),
            columns: manifest.columns.clone(),
            rows: manifest.rows,
        });
        Ok(())
    }

    /// Gives whole parts the names that the manifest will list.
    fn name_parts(&self, folder: &Path, staged: &[Staged]) -> Result<()> {
        let probe = &self.staging.probe;
        probe.reach(Effect::Ready, Moment::Before)?;
        for file in staged {
            let path = folder.join(&file.name);
            self.staging.announce(&path)?;
            rename(&file.hidden, &path)?;
        }
        sync_folder(folder)?;
        probe.reach(Effect::Ready, Moment::After)
    }

    fn publish_folder(&self, folder: &Path, position: &Position, published: &mut bool) -> Result<Receipt> {
        let (_lock, mut manifest) = self.guarded()?;
        let probe = &self.staging.probe;
        let mut staged = locked(&self.staging.staged).clone();
        staged.sort_by(|a, b| a.name.cmp(&b.name));
        let mut deleted = 0;
        if self.target.mode == WriteMode::Replace {
            let mut old = std::mem::take(&mut manifest.parts);
            deleted = old.iter().map(|part| part.rows.unwrap_or(0)).sum();
            if self.target.replace.keep_previous {
                let kept = Previous {
                    parts: std::mem::take(&mut old),
                    columns: manifest.columns.clone(),
                    rows: None,
                };
                let older = manifest.previous.replace(kept);
                old = older.map(|previous| previous.parts).unwrap_or_default();
            }
            manifest.obsolete.extend(old.into_iter().map(|part| part.name));
        }
        let run = Some(self.target.run);
        let new = staged.iter().map(|file| Part {
            name: file.name.clone(),
            rows: Some(file.rows),
            bytes: file.bytes,
            run,
        });
        manifest.parts.extend(new);
        let last = probe.protects(Protection::ManifestLast);
        if last {
            self.name_parts(folder, &staged)?;
        }
        let one_act = probe.protects(Protection::OneAct);
        if one_act {
            self.record(&mut manifest, position);
        }
        let text = manifest.to_text()?;
        probe.reach(Effect::Publish, Moment::Before)?;
        // From here on the new manifest may be the one that counts, whatever the answer.
        *published = true;
        replace_file(self.staging.place.record(), &text)?;
        probe.reach(Effect::Publish, Moment::After)?;
        if !last {
            self.name_parts(folder, &staged)?;
        }
        if !one_act {
            self.record(&mut manifest, position);
            replace_file(self.staging.place.record(), &manifest.to_text()?)?;
        }
        let mut notes = Vec::new();
        if !manifest.obsolete.is_empty() {
            probe.reach(Effect::Cleanup, Moment::Before)?;
            let left = manifest
                .obsolete
                .iter()
                .filter(|name| remove(&folder.join(name)).is_err())
                .count();
            if left > 0 {
                notes.push(format!(
                    "{left} replaced part(s) could not be removed; the next run tries again"
                ));
            }
            probe.reach(Effect::Cleanup, Moment::After)?;
        }
        let inserted = staged.iter().map(|file| file.rows).sum();
        Ok(Receipt {
            inserted,
            deleted,
            notes,
            ..Receipt::default()
        })
    }
}

#[async_trait]
impl Load for FileLoad {
    fn fence(&self) -> u64 {
        self.fence
    }

    fn committed(&self) -> Option<&Committed> {
        self.committed.as_ref()
    }

    async fn writer(&mut self) -> Result<Box<dyn Writer>> {
        if self.opened >= self.staging.lanes {
            return Err(Error::bug(format!(
                "a load of {} lane(s) was asked for one more",
                self.staging.lanes
            )));
        }
        let (staging, lane) = (self.staging.clone(), self.opened);
        self.opened += 1;
        let lane = blocking(move || Lane::new(staging, lane)).await?;
        Ok(Box::new(lane.into_writer()))
    }

    async fn commit(self: Box<Self>, position: &Position) -> Result<Receipt> {
        let position = position.clone();
        blocking(move || self.commit_blocking(&position)).await
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        blocking(move || self.staging.clear()).await
    }
}
