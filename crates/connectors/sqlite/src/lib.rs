//! SQLite database files as source and destination.
//!
//! `client` opens files and classifies errors, `catalog` knows the tables, `mapping` the types. `read` scans in one
//! snapshot; `write` stages in the same file and publishes rows, position and fence in one transaction, so a repeated
//! run gives every row once. One writer at a time, because the file has one write lock.

mod catalog;
mod client;
pub mod config;
mod connection;
mod decode;
mod encode;
mod mapping;
mod predicate;
mod read;
mod write;

use std::sync::Arc;

use synqx_model::Result;
use synqx_sdk::{Connection, Connector, ConnectorSpec, Env, Limits};

use crate::client::File;
pub use crate::config::Config;

/// The connector `sqlite`.
#[derive(Debug, Clone, Copy, Default)]
pub struct SqliteConnector;

impl Connector for SqliteConnector {
    const KIND: &'static str = "sqlite";
    type Config = Config;

    fn spec(&self) -> ConnectorSpec {
        ConnectorSpec {
            kind: Self::KIND,
            title: "SQLite",
            summary: "a SQLite database file",
            source: true,
            destination: Some(write::limits()),
            schemes: &["sqlite"],
        }
    }

    fn open(&self, config: Config, env: Env) -> Result<Arc<dyn Connection>> {
        let file = File {
            name: env.name.clone(),
            path: env.base_dir.join(&config.path),
            role: env.role,
            create: config.create,
            wal: config.wal,
            busy_timeout: config.busy_timeout.0,
        };
        Ok(Arc::new(Sqlite {
            file,
            env,
            limits: write::limits(),
        }))
    }
}

/// One database file.
#[derive(Debug)]
pub(crate) struct Sqlite {
    file: File,
    env: Env,
    limits: Limits,
}
