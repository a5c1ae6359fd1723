//! What this machine has: memory, free disk, open-file limit. Asked of the system's own files and of `df`.
//!
//! Every answer may be `None` on a system that keeps it elsewhere; `doctor` then says so instead of guessing.

use std::path::Path;

/// Bytes of memory this process may use: the machine's, or its container's when that is less.
pub(crate) fn memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    let container = [
        "/sys/fs/cgroup/memory.max",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    ]
    .iter()
    .filter_map(|path| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok())
    .min();
    Some((kib * 1024).min(container.unwrap_or(u64::MAX)))
}

/// Bytes free for this user in the file system of a folder.
pub(crate) fn free_space(folder: &Path) -> Option<u64> {
    let output = std::process::Command::new("df")
        .arg("-Pk")
        .arg(folder)
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let kib: u64 = text.lines().nth(1)?.split_whitespace().nth(3)?.parse().ok()?;
    Some(kib * 1024)
}

/// Files this process may have open.
pub(crate) fn open_files() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = text.lines().find(|line| line.starts_with("Max open files"))?;
    line.split_whitespace().nth(3)?.parse().ok()
}

/// Whether files can be made in a folder; the folder is made when it is missing and `create` says so.
pub(crate) fn try_write(folder: &Path) -> std::io::Result<()> {
    let path = folder.join(format!(".synqx-doctor-{}", std::process::id()));
    std::fs::File::create_new(&path)?;
    std::fs::remove_file(&path)
}

/// The nearest folder above a path that exists.
pub(crate) fn existing_ancestor(path: &Path) -> &Path {
    path.ancestors()
        .find(|folder| folder.is_dir())
        .unwrap_or(Path::new("."))
}
