//! The contestants' programs: pinned versions, environments of their own, installed by script.
//!
//! Peers disagree about the versions of their libraries, so each group has its own virtual environment below
//! `target/bench`, stamped with its pins: an install is a no-op until a pin changes. A tool that cannot be
//! installed is reported as missing with the reason; it never drops out of the report in silence. Newer versions of
//! sling and ingestr fetch their program at run time from hosts that a mirror of PyPI does not carry, so the newest
//! wheels that have it inside are pinned. It runs no lane.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::place::Place;
use crate::failure::{Explain, Failure, Result};
use crate::process;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tool {
    Synqx,
    Psql,
    Connectorx,
    Adbc,
    Polars,
    Duckdb,
    DuckdbPostgres,
    Ingestr,
    Sling,
    Dlt,
    Pgloader,
}

/// A virtual environment: its name and its pins.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Venv {
    name: &'static str,
    pins: &'static [&'static str],
}

/// Makes the data.
pub(super) const DATA: Venv = Venv {
    name: "data",
    pins: &["tpchgen-cli==4.0.0"],
};

/// Peers that hand over Arrow, and the judge of Parquet files.
pub(super) const ARROW: Venv = Venv {
    name: "arrow",
    pins: &[
        "connectorx==0.4.6",
        "adbc-driver-manager==1.13.0",
        "adbc-driver-postgresql==1.13.0",
        "polars==2.1.0",
        "duckdb==2.0.0",
        "pyarrow==26.0.1",
    ],
};

/// The last DuckDB whose PostgreSQL extension is on PyPI.
const DUCKDB14: Venv = Venv {
    name: "duckdb14",
    pins: &["duckdb==1.4.4", "duckdb-ext-postgres==1.4.4.20260205"],
};

const INGESTR: Venv = Venv {
    name: "ingestr",
    pins: &["ingestr==0.15.9"],
};

const SLING: Venv = Venv {
    name: "sling",
    pins: &["sling-linux-amd64==1.4.11"],
};

const DLT: Venv = Venv {
    name: "dlt",
    pins: &[
        "dlt==1.31.0",
        "connectorx==0.4.6",
        "psycopg2-binary==2.9.13",
        "sqlalchemy==2.1.9",
        "pyarrow==26.0.1",
    ],
};

impl Tool {
    /// The word of `--only` and of the report.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Synqx => "synqx",
            Self::Psql => "psql",
            Self::Connectorx => "connectorx",
            Self::Adbc => "adbc",
            Self::Polars => "polars",
            Self::Duckdb => "duckdb",
            Self::DuckdbPostgres => "duckdb-postgres",
            Self::Ingestr => "ingestr",
            Self::Sling => "sling",
            Self::Dlt => "dlt",
            Self::Pgloader => "pgloader",
        }
    }

    /// The environment a tool lives in; programs of the system have none.
    fn venv(self) -> Option<&'static Venv> {
        match self {
            Self::Synqx | Self::Psql | Self::Pgloader => None,
            Self::Connectorx | Self::Adbc | Self::Polars | Self::Duckdb => Some(&ARROW),
            Self::DuckdbPostgres => Some(&DUCKDB14),
            Self::Ingestr => Some(&INGESTR),
            Self::Sling => Some(&SLING),
            Self::Dlt => Some(&DLT),
        }
    }

    /// Makes the tool present and says its version.
    pub(super) fn ensure(self, place: &Place, synqx: &Path) -> Result<String> {
        if let Some(venv) = self.venv() {
            venv.ensure(place)?;
            return Ok(venv.version(self));
        }
        match self {
            Self::Synqx => first_line(Command::new(synqx).arg("--version")),
            Self::Psql => first_line(crate::services::psql(&place.url)?.arg("--version")),
            _ => pgloader(),
        }
    }
}

impl Venv {
    pub(super) fn folder(&self, place: &Place) -> PathBuf {
        place.home.join(format!("venv-{}", self.name))
    }

    /// Installs the pins unless the stamp says they are there.
    pub(super) fn ensure(&self, place: &Place) -> Result<PathBuf> {
        let folder = self.folder(place);
        let stamp = folder.join("pins");
        let pins = self.pins.join("\n");
        if fs::read_to_string(&stamp).is_ok_and(|there| there == pins) {
            return Ok(folder);
        }
        println!("installing {}", self.pins.join(", "));
        process::capture(
            Command::new("python3")
                .args(["-m", "venv", "--clear"])
                .arg(&folder),
        )?;
        process::capture(
            Command::new(folder.join("bin/pip"))
                .args(["install", "--quiet", "--disable-pip-version-check"])
                .args(self.pins),
        )?;
        fs::write(&stamp, pins).explain(|| format!("cannot write {}", stamp.display()))?;
        Ok(folder)
    }

    /// The pin of the package that is named like the tool.
    fn version(&self, tool: Tool) -> String {
        let word = tool.word().split('-').next().unwrap_or_default();
        let pin = self.pins.iter().find(|pin| pin.starts_with(word));
        let version = pin.and_then(|pin| pin.split_once("=="));
        version.map_or_else(|| "unknown".to_owned(), |(_, version)| version.to_owned())
    }
}

fn first_line(command: &mut Command) -> Result<String> {
    let said = process::capture(command)?;
    let line = said.lines().next().unwrap_or_default();
    // `psql (PostgreSQL) 15.18 (Debian …)` and `synqx 0.1.0`: the first word that begins with a digit.
    let version = line
        .split_whitespace()
        .find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    Ok(version.unwrap_or(line).to_owned())
}

/// Debian's package; installing needs root, so without it the package is named.
fn pgloader() -> Result<String> {
    if !process::on_path("pgloader") {
        if !process::is_root() {
            return Err(Failure::new("not installed (Debian package pgloader)"));
        }
        println!("installing pgloader");
        process::capture(
            Command::new("apt-get")
                .env("DEBIAN_FRONTEND", "noninteractive")
                .args(["-o", "DPkg::Lock::Timeout=300", "-qq", "install", "-y"])
                .args(["--no-install-recommends", "pgloader"]),
        )?;
    }
    let said = process::capture(Command::new("pgloader").arg("--version"))?;
    let version = said.lines().next().and_then(|line| line.split('"').nth(1));
    Ok(version.unwrap_or("unknown").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_peer_has_an_exact_pin_of_its_own_name() {
        for tool in [
            Tool::Connectorx,
            Tool::Adbc,
            Tool::Polars,
            Tool::Duckdb,
            Tool::DuckdbPostgres,
            Tool::Ingestr,
            Tool::Sling,
            Tool::Dlt,
        ] {
            let venv = tool.venv().unwrap();
            assert_ne!(venv.version(tool), "unknown", "{}", tool.word());
            assert!(venv.pins.iter().all(|pin| pin.contains("==")), "{:?}", venv.pins);
        }
    }
}
