//! Where things are: the root of the checkout, its tracked files, and the target folder.
//!
//! The root is found from the folder of this crate upwards, or from the current folder when the binary was
//! moved, so that every task works from any folder. It is not a reader of manifests: see `tidy::graph`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::{Explain, Result};
use crate::process;

/// The folder that holds the workspace's `Cargo.toml`.
pub(crate) fn root() -> Result<PathBuf> {
    let from_cargo = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let start = match from_cargo {
        Some(folder) => folder,
        None => std::env::current_dir().explain(|| "cannot read the current folder".to_owned())?,
    };
    start
        .ancestors()
        .find(|folder| {
            fs::read_to_string(folder.join("Cargo.toml")).is_ok_and(|text| text.contains("[workspace]"))
        })
        .map(Path::to_path_buf)
        .explain(|| format!("no Cargo.toml with [workspace] above {}", start.display()))
}

/// Where cargo puts what it builds.
pub(crate) fn target(root: &Path) -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => root.join(folder),
        None => root.join("target"),
    }
}

/// Every file that is tracked or would be by `git add .`, relative to the root and sorted.
pub(crate) fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let listed = process::capture(Command::new("git").current_dir(root).args([
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]))?;
    let mut files: Vec<PathBuf> = listed
        .split('\0')
        .filter(|name| !name.is_empty())
        .map(PathBuf::from)
        .filter(|file| root.join(file).is_file())
        .collect();
    files.sort();
    files.dedup();
    Ok(files)
}

/// A folder with the same content; what stood at `to` before is removed.
pub(crate) fn copy_fresh(from: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        fs::remove_dir_all(to).explain(|| format!("cannot remove {}", to.display()))?;
    }
    copy(from, to)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).explain(|| format!("cannot create {}", to.display()))?;
    for entry in fs::read_dir(from).explain(|| format!("cannot list {}", from.display()))? {
        let entry = entry.explain(|| format!("cannot list {}", from.display()))?;
        let (source, copy_of) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy(&source, &copy_of)?;
        } else {
            fs::copy(&source, &copy_of).explain(|| format!("cannot copy {}", source.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_holds_this_crate() {
        let root = root().unwrap();
        assert!(root.join("xtask/src/workspace.rs").is_file());
        assert!(files(&root).unwrap().contains(&PathBuf::from("xtask/Cargo.toml")));
    }
}
