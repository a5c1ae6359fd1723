//! Where the servers are that tests run against.
//!
//! `cargo x up` starts them and writes `.services/env.json` at the workspace root; `SYNQX_TEST_PG15` and
//! `SYNQX_TEST_PG18` override it. A missing server is a failure with the command to run: a test that skips itself
//! proves nothing. This is not a way to start servers.

use std::path::{Path, PathBuf};

use serde_json::Value;

/// A server a test can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Server {
    /// PostgreSQL 15.
    Postgres15,
    /// PostgreSQL 18.
    Postgres18,
}

impl Server {
    /// Every server.
    pub const ALL: [Server; 2] = [Server::Postgres15, Server::Postgres18];

    /// For reports: `postgresql 15`.
    pub fn title(self) -> &'static str {
        match self {
            Server::Postgres15 => "postgresql 15",
            Server::Postgres18 => "postgresql 18",
        }
    }

    fn names(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Server::Postgres15 => ("SYNQX_TEST_PG15", "postgres15", "log15"),
            Server::Postgres18 => ("SYNQX_TEST_PG18", "postgres18", "log18"),
        }
    }

    /// URL of the server's maintenance database. Panics with what to run when there is none.
    pub fn url(self) -> String {
        or_panic(self.try_url())
    }

    /// URL of the server's maintenance database; the error says what to run.
    pub fn try_url(self) -> Result<String, String> {
        let (variable, key, _) = self.names();
        match std::env::var(variable) {
            Ok(url) if !url.is_empty() => Ok(url),
            _ => entry(key),
        }
    }

    /// The server's log file, for tests that look at what reached the server. Panics when it is not known.
    pub fn log(self) -> PathBuf {
        PathBuf::from(or_panic(entry(self.names().2)))
    }
}

/// The certificate authority the servers' certificates are signed with. Panics when it is not known.
pub fn certificate_authority() -> PathBuf {
    PathBuf::from(or_panic(entry("ca")))
}

/// The workspace root: the nearest folder above this crate whose Cargo.toml has a `[workspace]`.
pub fn workspace_root() -> Result<PathBuf, String> {
    let start = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").to_owned());
    Path::new(&start)
        .ancestors()
        .find(|folder| {
            std::fs::read_to_string(folder.join("Cargo.toml")).is_ok_and(|text| text.contains("[workspace]"))
        })
        .map(Path::to_path_buf)
        .ok_or_else(|| format!("there is no workspace above {start}"))
}

fn entry(key: &str) -> Result<String, String> {
    lookup(&workspace_root()?.join(".services").join("env.json"), key)
}

fn lookup(path: &Path, key: &str) -> Result<String, String> {
    let missing =
        |why: String| format!("this test needs a server ({key}): {why}; run `cargo x up`, tests never skip");
    let text =
        std::fs::read_to_string(path).map_err(|e| missing(format!("cannot read {}: {e}", path.display())))?;
    let json: Value = serde_json::from_str(&text).map_err(|e| missing(format!("{}: {e}", path.display())))?;
    match json.get(key).and_then(Value::as_str) {
        Some(value) => Ok(value.to_owned()),
        None => Err(missing(format!("{} does not name it", path.display()))),
    }
}

#[expect(
    clippy::panic,
    reason = "a test without its server fails with the command to run, it never skips"
)]
fn or_panic(found: Result<String, String>) -> String {
    match found {
        Ok(value) => value,
        Err(why) => panic!("{why}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_root_above_a_crate() {
        let root = workspace_root().expect("a workspace");
        assert!(root.join("crates/testkit").is_dir());
    }

    #[test]
    fn a_missing_server_is_told_with_the_command_to_run() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("env.json");
        let absent = lookup(&path, "postgres15").expect_err("no file");
        assert!(
            absent.contains("cargo x up") && absent.contains("postgres15"),
            "{absent}"
        );
        std::fs::write(&path, r#"{"postgres18": "postgres://x"}"#).expect("writes");
        assert!(
            lookup(&path, "postgres15")
                .expect_err("not named")
                .contains("cargo x up")
        );
        assert_eq!(lookup(&path, "postgres18").as_deref(), Ok("postgres://x"));
    }
}
