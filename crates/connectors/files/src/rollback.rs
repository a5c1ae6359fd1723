//! Puts back the version that the last `replace` with `keep_previous` replaced: under the lock, with a new fence, once.
//!
//! A folder goes back by its manifest, a single file by a rename that is noted before it, as publishing does. The stream's
//! record says afterwards that this rollback was its last run and that nothing has been read.

use std::path::Path;

use synqx_model::{Code, Error, Position, Result};
use synqx_sdk::probe::{Effect, Moment, Probe};
use synqx_sdk::{Receipt, Target};

use crate::content::Stamp;
use crate::load::Place;
use crate::manifest::{Commit, Manifest, Pending, Previous};
use crate::place::{Lock, cannot_write, folder_of, remove, rename, replace_file, sync_folder};

/// Puts the previous version back. Errors: `E0304`, `E0312`, `E0313`, `E0503`.
pub(crate) fn rollback(place: &Place, target: &Target, probe: &dyn Probe) -> Result<Receipt> {
    if place
        .remembered()?
        .is_none_or(|manifest| manifest.previous.is_none())
    {
        return Err(none(target));
    }
    let _lock = Lock::take(&place.lock())?;
    let mut manifest = place.remembered()?.unwrap_or_default();
    let Some(previous) = manifest.previous.clone() else {
        return Err(none(target));
    };
    manifest.stream(&target.stream).fence += 1;
    let commit = Commit {
        run: target.run,
        position: Position::default(),
        spec_hash: target.spec_hash.clone(),
    };
    match place {
        Place::File { path, .. } => file(place, path, manifest, previous, commit, (target, probe)),
        Place::Folder { path, .. } => folder(place, path, manifest, previous, commit, (target, probe)),
    }
}

fn none(target: &Target) -> Error {
    Error::new(Code::E0304, format!("`{}` has no previous version", target.asset))
        .with_hint("only a load with `replace: {keep_previous: true}` keeps one, and it can be put back once")
}

fn folder(
    place: &Place,
    path: &Path,
    mut manifest: Manifest,
    previous: Previous,
    commit: Commit,
    (target, probe): (&Target, &dyn Probe),
) -> Result<Receipt> {
    manifest.previous = None;
    let undone = std::mem::replace(&mut manifest.parts, previous.parts);
    manifest.columns = previous.columns;
    let rows = |parts: &[crate::manifest::Part]| parts.iter().map(|part| part.rows.unwrap_or(0)).sum();
    let mut receipt = Receipt {
        inserted: rows(&manifest.parts),
        deleted: rows(&undone),
        ..Receipt::default()
    };
    manifest.obsolete.extend(undone.into_iter().map(|part| part.name));
    manifest.stream(&target.stream).committed = Some(commit);
    probe.reach(Effect::Publish, Moment::Before)?;
    replace_file(place.record(), &manifest.to_text()?)?;
    probe.reach(Effect::Publish, Moment::After)?;
    // What cannot be removed now is on record, and the next run's sweep tries again.
    let left = manifest
        .obsolete
        .iter()
        .filter(|name| remove(&path.join(name)).is_err())
        .count();
    if left > 0 {
        receipt.notes.push(format!(
            "{left} part(s) could not be removed; the next run tries again"
        ));
    }
    Ok(receipt)
}

fn file(
    place: &Place,
    path: &Path,
    mut manifest: Manifest,
    previous: Previous,
    commit: Commit,
    (target, probe): (&Target, &dyn Probe),
) -> Result<Receipt> {
    let kept = Place::previous(path);
    let metadata = match std::fs::metadata(&kept) {
        Ok(metadata) => metadata,
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Err(none(target)),
        Err(cause) => return Err(cannot_write(&kept, &cause)),
    };
    let receipt = Receipt {
        inserted: previous.rows.unwrap_or(0),
        deleted: manifest.rows.unwrap_or(0),
        ..Receipt::default()
    };
    // Until the rename the previous version stays on record: a rollback that dies before it can be done again.
    manifest.pending = Some(Pending {
        stream: target.stream.to_string(),
        commit,
        stamp: Stamp::of(&metadata),
        rows: receipt.inserted,
        columns: previous.columns,
        undoes: true,
    });
    probe.reach(Effect::Ready, Moment::Before)?;
    replace_file(place.record(), &manifest.to_text()?)?;
    probe.reach(Effect::Ready, Moment::After)?;
    probe.reach(Effect::Publish, Moment::Before)?;
    rename(&kept, path)?;
    sync_folder(folder_of(path))?;
    probe.reach(Effect::Publish, Moment::After)?;
    manifest.settle(path)?;
    manifest.rows = previous.rows;
    probe.reach(Effect::Record, Moment::Before)?;
    replace_file(place.record(), &manifest.to_text()?)?;
    probe.reach(Effect::Record, Moment::After)?;
    Ok(receipt)
}
