//! What every test here needs: an engine with all connectors, a folder, documents, and ways to read results back.
//!
//! Results are read by other means than the connectors under test wherever that is possible.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use synqx_engine::{Engine, RunOptions, RunOutcome};
use synqx_model::{ByteSize, Error, PipelineSpec, Redactor, Result};
use synqx_sdk::{Registry, Resolve};

#[derive(Debug)]
struct NoSecrets;

#[async_trait]
impl Resolve for NoSecrets {
    async fn resolve(&self, reference: &str) -> Result<String> {
        Err(Error::bug(format!("no secret is expected here: {reference}")))
    }
}

pub(crate) fn engine() -> Engine {
    engine_with(Arc::new(NoSecrets))
}

/// An engine whose secrets come from here.
pub(crate) fn engine_with(secrets: Arc<dyn Resolve>) -> Engine {
    let registry = Registry::default()
        .with(synqx_files::LocalFile)
        .with(synqx_sqlite::SqliteConnector)
        .with(synqx_postgres::Postgres);
    Engine::new(registry, secrets, Redactor::default())
}

pub(crate) fn spec(yaml: &str) -> PipelineSpec {
    PipelineSpec::from_yaml(yaml).unwrap_or_else(|e| panic!("{e:?}\n{yaml}"))
}

pub(crate) fn options(dir: &Path) -> RunOptions {
    let mut options = RunOptions::new(dir);
    options.memory = ByteSize::mib(32);
    options.parallel = 2;
    options.retries = 0;
    options.backoff = std::time::Duration::from_millis(5);
    options
}

/// Runs a document in a folder.
pub(crate) async fn run(dir: &Path, yaml: &str) -> RunOutcome {
    engine().run(&spec(yaml), &options(dir)).await
}

/// Runs a document that must succeed.
pub(crate) async fn succeed(dir: &Path, yaml: &str) -> RunOutcome {
    let outcome = run(dir, yaml).await;
    if let Some(error) = &outcome.error {
        panic!("{error:?}\n{yaml}");
    }
    outcome
}

/// A text file in a folder.
pub(crate) fn write(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    std::fs::write(&path, text).expect("a file");
    path
}

pub(crate) fn read(dir: &Path, name: &str) -> String {
    std::fs::read_to_string(dir.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// Lines of a CSV file without its header, sorted.
pub(crate) fn sorted_lines(dir: &Path, name: &str) -> Vec<String> {
    let mut lines: Vec<String> = read(dir, name).lines().skip(1).map(str::to_owned).collect();
    lines.sort();
    lines
}

/// Every file below a folder, relative, sorted.
pub(crate) fn files_below(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut queue = vec![dir.to_owned()];
    while let Some(next) = queue.pop() {
        let Ok(entries) = std::fs::read_dir(&next) else {
            continue;
        };
        for entry in entries.flatten() {
            let path = entry.path();
            if path.is_dir() {
                queue.push(path);
            } else {
                found.push(
                    path.strip_prefix(dir)
                        .expect("below")
                        .to_string_lossy()
                        .into_owned(),
                );
            }
        }
    }
    found.sort();
    found
}
