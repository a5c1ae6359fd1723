//! What the figures were measured on: cores, memory, kernel, the server and those of its settings that matter.
//!
//! A figure without its machine is a rumour. Names of hosts, users and folders are left out on purpose.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::place::Place;
use crate::failure::Result;
use crate::process;

const SETTINGS: [&str; 6] = [
    "shared_buffers",
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "wal_level",
    "max_wal_size",
];

pub(super) fn describe(place: &Place) -> Result<Value> {
    let mut settings = json!({});
    for name in SETTINGS {
        settings[name] = json!(place.ask(&format!("show {name}"))?);
    }
    let kernel = process::capture(Command::new("uname").arg("-sr"))?;
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kilobytes = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    Ok(json!({
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "memory_bytes": kilobytes.map(|kilobytes| kilobytes * 1024),
        "kernel": kernel.trim(),
        "postgresql": place.ask("show server_version_num")?,
        "settings": settings,
        "load_before": load.split_whitespace().next(),
    }))
}

/// The process id of the server, when it runs on this machine and says so.
pub(super) fn postmaster(place: &Place) -> Result<Option<u32>> {
    let text = place.ask("select split_part(pg_read_file('postmaster.pid'), chr(10), 1)")?;
    let pid: Option<u32> = text.parse().ok();
    let name = |pid: u32| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Ok(pid.filter(|pid| name(*pid).trim() == "postgres"))
}

/// The commit of the checkout, marked when files have changed since; none when another binary is measured.
pub(super) fn commit(root: &Path) -> Option<String> {
    if std::env::var_os("SYNQX_BENCH_BINARY").is_some() {
        return None;
    }
    let mut git = Command::new("git");
    git.current_dir(root).args(["describe", "--always", "--dirty"]);
    process::capture(&mut git).ok().map(|text| text.trim().to_owned())
}
