//! Where the bench keeps its things: data, environments of peers, outputs, results.
//!
//! Everything that can be made again lies under `target/bench`; what is kept lies under `benches`. A run that is
//! too small to be a figure is written beside the data instead, so a trial never changes a file of the repository.
//! It creates nothing but folders.

use std::fs;
use std::path::{Path, PathBuf};

use crate::failure::{Explain, Result};
use crate::services::{self, Server};
use crate::{process, workspace};

/// Paths and addresses of one scale.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) root: PathBuf,
    /// `target/bench`.
    pub(super) home: PathBuf,
    pub(super) scale: String,
    /// The database of this scale.
    pub(super) url: String,
    /// The maintenance database of the same server.
    pub(super) admin: String,
    /// The database's name: `bench_sf1`, `bench_sf0_1`.
    pub(super) database: String,
}

impl Place {
    pub(super) fn new(root: &Path, scale: &str) -> Result<Self> {
        let admin = services::url(Server::Postgres15)?;
        let server = admin
            .rsplit_once('/')
            .map_or(admin.as_str(), |(server, _)| server);
        let database = format!("bench_sf{}", scale.replace('.', "_"));
        let place = Self {
            home: workspace::target(root).join("bench"),
            root: root.to_path_buf(),
            scale: scale.to_owned(),
            // No contestant pays for encryption: some would and some would not by their defaults.
            url: format!("{server}/{database}?sslmode=disable"),
            database,
            admin,
        };
        for folder in [place.data(), place.work()] {
            fs::create_dir_all(&folder).explain(|| format!("cannot create {}", folder.display()))?;
        }
        Ok(place)
    }

    /// Generated files of this scale.
    pub(super) fn data(&self) -> PathBuf {
        self.home.join("data").join(format!("sf{}", self.scale))
    }

    /// Where `benches/pipelines` read: a link to the data of the scale that runs now.
    pub(super) fn current(&self) -> PathBuf {
        self.home.join("data").join("current")
    }

    /// What contestants write; emptied before every run.
    pub(super) fn out(&self) -> PathBuf {
        self.home.join("out")
    }

    /// State of SynqX, of sling and of dlt; emptied before every run.
    pub(super) fn state(&self) -> PathBuf {
        self.home.join("state")
    }

    /// Scratch: what contestants print.
    pub(super) fn work(&self) -> PathBuf {
        self.home.join("work")
    }

    /// Where raw results and the report go: the repository for figures, the target folder for trials.
    pub(super) fn results(&self, figure: bool) -> PathBuf {
        if figure {
            self.root.join("benches")
        } else {
            self.home.join("trials")
        }
    }

    /// The variables that commands of lanes use, telemetry switched off.
    pub(super) fn variables(&self, synqx: &Path) -> Result<Vec<(&'static str, String)>> {
        let psql = services::psql(&self.url)?;
        let text = |path: &Path| path.to_string_lossy().into_owned();
        Ok(vec![
            ("SYNQX", text(synqx)),
            ("PSQL", psql.get_program().to_string_lossy().into_owned()),
            ("BENCH_PG_URL", self.url.clone()),
            // Some peers insist on a password; the role is trusted, so any will do.
            (
                "BENCH_PG_URL_PASSWORD",
                self.url.replacen("postgres@", "postgres:any@", 1),
            ),
            ("BENCH_HOME", text(&self.home)),
            ("BENCH_DATA", text(&self.data())),
            ("BENCH_OUT", text(&self.out())),
            ("BENCH_STATE", text(&self.state())),
            ("PGSSLMODE", "disable".to_owned()),
            ("PGOPTIONS", "-c client_min_messages=warning".to_owned()),
            ("NO_COLOR", "1".to_owned()),
            ("DO_NOT_TRACK", "1".to_owned()),
            ("TELEMETRY_OPTOUT", "1".to_owned()),
            ("DISABLE_TELEMETRY", "true".to_owned()),
            ("INGESTR_DISABLE_TELEMETRY", "true".to_owned()),
            ("RUNTIME__DLTHUB_TELEMETRY", "false".to_owned()),
            ("SLING_DISABLE_TELEMETRY", "TRUE".to_owned()),
            ("SLING_HOME_DIR", text(&self.home.join("state").join("sling"))),
            ("DLT_DATA_DIR", text(&self.home.join("state").join("dlt"))),
        ])
    }

    /// Runs statements on the database of the bench.
    pub(super) fn sql(&self, statements: &str) -> Result<()> {
        process::capture(services::psql(&self.url)?.args(["-c", statements])).map(drop)
    }

    /// Runs a file of `benches/sql` on the database of the bench.
    pub(super) fn file(&self, name: &str) -> Result<()> {
        let path = self.root.join("benches/sql").join(name);
        process::capture(services::psql(&self.url)?.arg("-f").arg(path)).map(drop)
    }

    /// The one value a query answers with.
    pub(super) fn ask(&self, query: &str) -> Result<String> {
        let answer = process::capture(services::psql(&self.url)?.args(["-At", "-c", query]))?;
        Ok(answer.trim().to_owned())
    }
}

/// An empty folder, whatever stood there.
pub(super) fn emptied(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).explain(|| format!("cannot remove {}", folder.display()))?;
    }
    fs::create_dir_all(folder).explain(|| format!("cannot create {}", folder.display()))
}
