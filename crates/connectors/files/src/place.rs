//! Durable file operations: locks, atomic replacement, synced renames, and what a failing disk means.
//!
//! A rename is durable only when its folder is synced too; every change that must survive a crash goes through here.
//! Nothing here knows streams, fences or formats.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use synqx_model::{Code, Error, Result};

/// How long a lock is waited for. It is held for moments: to claim a fence, to publish.
const PATIENCE: Duration = Duration::from_secs(30);

/// The error for a file operation at the destination.
pub(crate) fn cannot_write(path: &Path, cause: &io::Error) -> Error {
    use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    let label = path.display();
    let error = match cause.kind() {
        StorageFull | QuotaExceeded => Error::new(Code::E0306, format!("no space left to write `{label}`"))
            .with_detail("The staging of this run is removed; what was there before is untouched.")
            .with_hint("free some space or choose another folder, then run again"),
        PermissionDenied | ReadOnlyFilesystem => {
            Error::new(Code::E0303, format!("no permission to write `{label}`"))
                .with_hint("give this user the right to write there, or choose another folder")
        }
        _ => Error::new(Code::E0313, format!("cannot write `{label}`"))
            .with_hint("check the disk and the path, then run again"),
    };
    error.with_cause(cause)
}

/// An exclusive lock on a file that is only there to be locked. Released on drop.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock, waiting for whoever has it. Errors: `E0312`, `E03xx`.
    pub(crate) fn take(path: &Path) -> Result<Lock> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .map_err(|e| cannot_write(path, &e))?;
        let begin = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Lock { _file: file }),
                Err(TryLockError::WouldBlock) if begin.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(5))
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(Error::new(
                        Code::E0312,
                        format!("the lock `{}` is held by another run", path.display()),
                    )
                    .with_detail(format!("It was waited for {} seconds.", PATIENCE.as_secs()))
                    .with_hint("wait for the other run to end, then run again"));
                }
                Err(TryLockError::Error(cause)) => {
                    return Err(
                        Error::new(Code::E0312, format!("cannot lock `{}`", path.display()))
                            .with_hint("write to a file system that has locks")
                            .with_cause(&cause),
                    );
                }
            }
        }
    }
}

/// Makes renames and removals in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> Result<()> {
    let sync = || File::open(folder)?.sync_all();
    sync().map_err(|cause| cannot_write(folder, &cause))
}

/// Replaces a small file as a whole, durably.
pub(crate) fn replace_file(path: &Path, text: &str) -> Result<()> {
    let staging = staging_of(path);
    let write = || -> io::Result<()> {
        let mut file = File::create(&staging)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&staging, path)
    };
    write().map_err(|cause| {
        let _ = std::fs::remove_file(&staging);
        cannot_write(path, &cause)
    })?;
    sync_folder(folder_of(path))
}

fn staging_of(path: &Path) -> PathBuf {
    let name = path
        .file_name()
        .map(|n| n.to_string_lossy().into_owned())
        .unwrap_or_default();
    path.with_file_name(format!(".{}.tmp", name.trim_start_matches('.')))
}

/// The folder a file is in.
pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Removes a file; one that is not there is fine.
pub(crate) fn remove(path: &Path) -> Result<bool> {
    match std::fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(cause) => Err(cannot_write(path, &cause)),
    }
}

/// Where a file really is: replacing a link would leave its target as it was.
pub(crate) fn followed(mut path: PathBuf) -> PathBuf {
    // As many links as Linux follows; who goes in circles is told so when the file is looked at.
    for _ in 0..40 {
        let Ok(target) = std::fs::read_link(&path) else {
            break;
        };
        path = folder_of(&path).join(target);
    }
    path
}

/// Gives a file that will replace another one the rights of that one.
#[cfg(unix)]
pub(crate) fn keep_mode(file: &File, replaced: &Path) -> Result<()> {
    let keep = || -> io::Result<()> {
        let old = match std::fs::metadata(replaced) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(()),
            found => found?.permissions(),
        };
        // A file system without modes refuses to set any.
        if file.metadata()?.permissions() == old {
            return Ok(());
        }
        file.set_permissions(old)
    };
    keep().map_err(|cause| cannot_write(replaced, &cause))
}

/// Gives a file that will replace another one the rights of that one.
#[cfg(not(unix))]
pub(crate) fn keep_mode(_: &File, _: &Path) -> Result<()> {
    Ok(())
}

/// Renames a file.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<()> {
    std::fs::rename(from, to).map_err(|cause| cannot_write(to, &cause))
}
