//! The shared suites against a real database file.
//!
//! The fixture looks at the file with SQLite itself: which tables are there and which of them are staging.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::json;
use synqx_model::Result;
use synqx_sdk::Connection;
use synqx_sdk::conformance::{self, Fixture, Opening};
use synqx_sdk::registry::AnyConnector;
use synqx_sqlite::SqliteConnector;
use tempfile::TempDir;

struct Sqlite {
    dir: TempDir,
}

impl Sqlite {
    fn new() -> Self {
        let fixture = Sqlite {
            dir: tempfile::tempdir().expect("a folder"),
        };
        fixture
            .raw()
            .execute_batch("PRAGMA journal_mode = WAL")
            .expect("WAL");
        fixture
    }

    fn raw(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.dir.path().join("mart.db")).expect("a database")
    }
}

#[async_trait]
impl Fixture for Sqlite {
    fn system(&self) -> String {
        "sqlite".into()
    }

    fn open(&self, opening: &Opening) -> Result<Arc<dyn Connection>> {
        let config = json!({ "path": "mart.db", "busy_timeout": "5s" });
        let config = config.as_object().expect("an object").clone();
        AnyConnector::open(&SqliteConnector, &config, opening.env(self.dir.path()))
    }

    fn asset(&self, name: &str) -> Option<String> {
        Some(name.to_owned())
    }

    async fn leftovers(&self) -> Result<Vec<String>, String> {
        let raw = self.raw();
        let sql = "SELECT name FROM sqlite_schema WHERE name LIKE '\\_synqx\\_%' ESCAPE '\\' AND name <> '_synqx_commit'";
        let mut statement = raw.prepare(sql).map_err(|e| e.to_string())?;
        let names = statement
            .query_map([], |row| row.get(0))
            .map_err(|e| e.to_string())?;
        names.collect::<rusqlite::Result<_>>().map_err(|e| e.to_string())
    }

    async fn remove(&self, asset: &str) -> Result<(), String> {
        let raw = self.raw();
        raw.busy_timeout(std::time::Duration::from_secs(5))
            .map_err(|e| e.to_string())?;
        raw.execute_batch(&format!("DROP TABLE \"{}\"", asset.replace('"', "\"\"")))
            .map_err(|e| e.to_string())
    }

    async fn make_dependants(&self, asset: &str) -> Option<Result<(), String>> {
        let sql = format!(
            "CREATE VIEW \"view of {asset}\" AS SELECT id, note FROM \"{asset}\"; CREATE INDEX \"index of {asset}\" ON \"{asset}\" (note)"
        );
        Some(self.raw().execute_batch(&sql).map_err(|e| e.to_string()))
    }

    async fn check_dependants(&self, asset: &str) -> Result<(), String> {
        let raw = self.raw();
        let count = |sql: String| {
            raw.query_row(&sql, [], |row| row.get::<_, i64>(0))
                .map_err(|e| format!("{sql}: {e}"))
        };
        let seen = count(format!("SELECT count(*) FROM \"view of {asset}\""))?;
        let there = count(format!("SELECT count(*) FROM \"{asset}\""))?;
        let indexes = count(format!(
            "SELECT count(*) FROM sqlite_schema WHERE name = 'index of {asset}'"
        ))?;
        match (seen == there, indexes) {
            (true, 1) => Ok(()),
            _ => Err(format!(
                "the view has {seen} rows of {there}, {indexes} indexes are left"
            )),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_is_a_destination() {
    let report = conformance::destination(&Sqlite::new()).await;
    report.assert_green().unwrap_or_else(|why| panic!("{why}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_is_a_source() {
    let report = conformance::source(&Sqlite::new()).await;
    report.assert_green().unwrap_or_else(|why| panic!("{why}"));
}
