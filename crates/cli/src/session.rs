//! What every verb shares: the terminal, the redactor, the connectors this binary has, and the log.
//!
//! An engine is made per document, because relative secret files belong to the document's folder. Making a
//! session is cheap: nothing is opened and nothing is contacted.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use synqx_engine::{Engine, RunOptions};
use synqx_model::{ByteSize, Redactor, Result};
use synqx_sdk::{Registry, Resolve};
use synqx_secrets::Secrets;

use crate::args::{Color, Global, Resources};
use crate::terminal::Terminal;

/// What every verb shares.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) terminal: Terminal,
    pub(crate) redactor: Redactor,
    pub(crate) verbose: bool,
}

impl Session {
    /// A session as the command line wants it; starts the log when one is asked for.
    pub(crate) fn new(global: &Global) -> Self {
        let redactor = Redactor::default();
        let terminal = Terminal::new(global.color, redactor.clone());
        if let Some(filter) = global
            .log_level
            .as_deref()
            .filter(|text| !text.is_empty() && *text != "off")
        {
            start_log(filter, redactor.clone());
        }
        Session {
            terminal,
            redactor,
            verbose: global.verbose,
        }
    }

    /// A session before the command line is understood.
    pub(crate) fn plain() -> Self {
        let redactor = Redactor::default();
        Session {
            terminal: Terminal::new(Color::Auto, redactor.clone()),
            redactor,
            verbose: false,
        }
    }

    /// An engine for a document in `base_dir`. Errors: `E0604` when the secret commands cannot be read.
    pub(crate) fn engine(&self, base_dir: &Path) -> Result<Engine> {
        self.engine_with(base_dir, BTreeMap::new())
    }

    /// As [`Session::engine`], with secrets that were taken out of URLs: reference → value.
    pub(crate) fn engine_with(&self, base_dir: &Path, given: BTreeMap<String, String>) -> Result<Engine> {
        for value in given.values() {
            self.redactor.register(value);
        }
        let secrets = Secrets::from_process(self.redactor.clone(), base_dir)?;
        let resolver = Arc::new(Resolver { given, secrets });
        Ok(Engine::new(registry(), resolver, self.redactor.clone()))
    }
}

/// The connectors of this binary.
pub(crate) fn registry() -> Registry {
    Registry::default()
        .with(synqx_files::LocalFile)
        .with(synqx_sqlite::SqliteConnector)
        .with(synqx_postgres::Postgres)
}

/// Options of a run in a folder. Errors: `E0114` for a size that cannot be read.
pub(crate) fn options(base_dir: &Path, resources: &Resources) -> Result<RunOptions> {
    let mut options = RunOptions::new(absolute(base_dir));
    options.memory = ByteSize::parse(&resources.memory)?;
    options.parallel = resources.parallel;
    if let Some(state) = &resources.state {
        options.state_dir = absolute(state);
    }
    Ok(options)
}

/// The path from the root; the path itself when the current folder is gone.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Secrets of URLs first, then the providers.
struct Resolver {
    given: BTreeMap<String, String>,
    secrets: Secrets,
}

#[async_trait]
impl Resolve for Resolver {
    async fn resolve(&self, reference: &str) -> Result<String> {
        match self.given.get(reference) {
            Some(value) => Ok(value.clone()),
            None => self.secrets.resolve(reference).await,
        }
    }
}

/// Sends the log to standard error, every line through the redactor.
fn start_log(filter: &str, redactor: Redactor) {
    let filter = tracing_subscriber::EnvFilter::new(filter);
    let writer = move || CleanLines {
        redactor: redactor.clone(),
    };
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(false);
    // Only a second log in one process could fail here, and there is none.
    let _ = log.try_init();
}

struct CleanLines {
    redactor: Redactor,
}

impl std::io::Write for CleanLines {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        let text = self.redactor.clean(&String::from_utf8_lossy(buffer));
        std::io::stderr().lock().write_all(text.as_bytes())?;
        Ok(buffer.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
