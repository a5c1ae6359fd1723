//! The suites every connector runs against its real system: the contract, as tests.
//!
//! A connector's `tests/it/conformance.rs` implements [`Fixture`] for its system and calls [`destination`] and
//! [`source`]; both return a [`Report`]. The suites know nothing of vendors: they branch on `Limits` and on what the
//! fixture says it can do. `samples` has the awkward values, `rows` compares sets of rows, `evaluate` judges
//! pushdown, `bench` drives a load step by step. This is not a load generator and measures nothing.

pub mod bench;
pub mod evaluate;
pub mod report;
pub mod rows;
pub mod samples;

mod destination;
mod evolution;
mod faults;
mod history;
mod keyed;
mod modes;
mod pushdown;
mod roundtrip;
mod source;

use std::path::PathBuf;
use std::sync::Arc;

use arrow::datatypes::Field;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use serde_json::{Map, Value};
use synqx_model::Result;

use crate::budget::Budget;
use crate::connector::{Connection, Env, Role};
use crate::probe::Probe;
use crate::read::Dataset;

pub use bench::Bench;
pub use report::{Case, Outcome, Report};
pub use rows::{Rows, same_rows};

/// What a suite asks a connection to be opened with.
#[derive(Debug, Clone)]
pub struct Opening {
    /// The part it plays.
    pub role: Role,
    /// The memory it may use.
    pub budget: Budget,
    /// Who is told of its effects.
    pub probe: Arc<dyn Probe>,
    /// With credentials the system must refuse.
    pub wrong_login: bool,
}

impl Opening {
    /// The environment to hand to `Connector::open`.
    pub fn env(&self, base_dir: impl Into<PathBuf>) -> Env {
        let mut env = Env::standalone("conformance", self.role, base_dir);
        env.budget = self.budget.clone();
        env.probe = Arc::clone(&self.probe);
        env
    }
}

/// A real system, seen from outside the connector. Asset names are what a document would write.
#[async_trait]
pub trait Fixture: Send + Sync {
    /// The system, for reports: `postgresql 15`.
    fn system(&self) -> String;

    /// Opens a connection. Wrong credentials are only asked for when [`Fixture::has_logins`].
    fn open(&self, opening: &Opening) -> Result<Arc<dyn Connection>>;

    /// How a document writes the object of exactly this name; `None` when the system cannot have such a name.
    fn asset(&self, name: &str) -> Option<String>;

    /// Names of staging objects, temporary files, locks and the like that are there now and should not be, over the
    /// whole system (the fixture has a database or folder of its own).
    async fn leftovers(&self) -> Result<Vec<String>, String>;

    /// Removes an asset behind the connector's back.
    async fn remove(&self, asset: &str) -> Result<(), String>;

    /// Makes an asset with these rows for the source suite. `None`: through the connector's own destination.
    async fn seed(&self, _asset: &str, _batches: &[RecordBatch]) -> Option<Result<(), String>> {
        None
    }

    /// Whether [`Fixture::seed`] can make such a column; asked only when the fixture seeds by itself.
    fn seeds(&self, _field: &Field) -> bool {
        true
    }

    /// The system has logins that can be wrong.
    fn has_logins(&self) -> bool {
        false
    }

    /// Texts that no error, finding or `Debug` may contain.
    fn secrets(&self) -> Vec<String> {
        Vec::new()
    }

    /// What is written comes back with its types. Where it does not (text formats), values are only compared where it
    /// happens to, and elsewhere must be NULL where they were.
    fn keeps_types(&self) -> bool {
        true
    }

    /// An asset knows the types of its columns, so that other ones are refused.
    fn remembers_types(&self) -> bool {
        true
    }

    /// Columns may have any name; else odd ones are refused before the run.
    fn takes_any_name(&self) -> bool {
        true
    }

    /// Options of a load into every asset.
    fn load_options(&self) -> Map<String, Value> {
        Map::new()
    }

    /// What a document reads an asset as.
    fn dataset(&self, asset: &str) -> Dataset {
        Dataset::asset(asset)
    }

    /// Makes things that depend on an asset with columns `id` and `note` (a view, a grant, a foreign key); `None` when
    /// the system has none.
    async fn make_dependants(&self, _asset: &str) -> Option<Result<(), String>> {
        None
    }

    /// Whether what [`Fixture::make_dependants`] made still works and sees the rows of now.
    async fn check_dependants(&self, _asset: &str) -> Result<(), String> {
        Ok(())
    }
}

/// Runs every destination case.
pub async fn destination(fixture: &dyn Fixture) -> Report {
    let bench = Bench::new(fixture);
    let mut report = Report::new(fixture.system(), "destination");
    destination::run(&bench, &mut report).await;
    roundtrip::run(&bench, &mut report).await;
    keyed::run(&bench, &mut report).await;
    modes::run(&bench, &mut report).await;
    history::run(&bench, &mut report).await;
    evolution::run(&bench, &mut report).await;
    faults::run(&bench, &mut report).await;
    bench.no_secrets(&mut report);
    report
}

/// Runs every source case.
pub async fn source(fixture: &dyn Fixture) -> Report {
    let bench = Bench::new(fixture);
    let mut report = Report::new(fixture.system(), "source");
    source::run(&bench, &mut report).await;
    pushdown::run(&bench, &mut report).await;
    bench.no_secrets(&mut report);
    report
}
