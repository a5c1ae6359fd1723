//! PostgreSQL 13 and newer, as source and as destination.
//!
//! Reads tables, views and queries by binary COPY from one snapshot, in parallel over ctid or column ranges.
//! Writes append, replace and upsert by binary COPY; rows, position and fence are one transaction: exactly once.
//!
//! | file | what |
//! |---|---|
//! | `config`, `tls`, `wire`, `client` | configuration, encryption, watched frames, sessions |
//! | `errors` | SQLSTATE → code |
//! | `names`, `catalog`, `mapping`, `numeric` | names, the catalog, native ↔ Arrow |
//! | `read`, `special`, `partition`, `predicates`, `decode` | reading |
//! | `definition` | what a created column gets besides its type |
//! | `fit`, `encode`, `write/` | writing |

mod block;
mod catalog;
mod client;
mod config;
mod connection;
mod cursor;
mod decode;
mod definition;
mod encode;
mod errors;
mod fit;
mod frames;
#[doc(hidden)]
pub mod fuzz;
mod mapping;
mod names;
mod numeric;
mod partition;
mod predicates;
mod raw;
mod read;
mod special;
mod tls;
mod wire;
mod write;

use std::sync::Arc;

use synqx_model::Result;
use synqx_model::spec::WriteMode;
use synqx_sdk::{Connection, Connector, ConnectorSpec, Delivery, Env, FenceKind, Limits};

pub use config::{Config, Tls, TlsMode};

/// The connector `postgresql`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Postgres;

/// What PostgreSQL can and cannot promise.
fn limits() -> Limits {
    Limits {
        identifier_bytes: Some(names::IDENTIFIER_BYTES),
        case_insensitive: false,
        columns: Some(1600),
        transactional_ddl: true,
        modes: vec![
            WriteMode::Append,
            WriteMode::Replace,
            WriteMode::Upsert,
            WriteMode::DeleteInsert,
            WriteMode::Scd2,
            WriteMode::Mirror,
        ],
        parallel_writers: 4,
        concurrent_loads: 8,
        timestamp_digits: 6,
        decimal_digits: Some(1000),
        nul_in_text: false,
        fence: FenceKind::Transaction,
        delivery: Delivery::ExactlyOnce,
    }
}

impl Connector for Postgres {
    const KIND: &'static str = "postgresql";
    type Config = Config;

    fn spec(&self) -> ConnectorSpec {
        ConnectorSpec {
            kind: Self::KIND,
            title: "PostgreSQL",
            summary: "Tables, views and queries of PostgreSQL 13 and newer, by binary COPY",
            source: true,
            destination: Some(limits()),
            schemes: &["postgres", "postgresql"],
        }
    }

    fn open(&self, config: Config, env: Env) -> Result<Arc<dyn Connection>> {
        let settings = config::Settings::of(config, &env)?;
        Ok(Arc::new(connection::Database::new(
            client::Link { settings, env },
            limits(),
        )))
    }
}
