//! A session: one connection with the settings SynqX depends on, and errors already classified.
//!
//! Dropping a session whose statement is still running cancels it on the server and closes the connection, so that
//! nothing keeps running, or holding locks, for nobody. An idle session is closed in the orderly way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use synqx_model::{Code, Error, Result};
use synqx_sdk::{Env, Role};
use tokio_postgres::config::{SslMode, SslNegotiation};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row};

use crate::config::{Settings, TlsMode};
use crate::errors::{Phase, classify, timed_out};
use crate::frames::RowLimit;
use crate::names::{literal, quote};
use crate::tls::client_config;
use crate::wire::Guarded;

/// The oldest server that is supported.
const OLDEST: u32 = 130_000;

/// What every session of a connection shares.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) settings: Settings,
    pub(crate) env: Env,
}

impl Link {
    pub(crate) fn role(&self) -> Role {
        self.env.role
    }
}

/// One connection to the server.
pub(crate) struct Session {
    client: Client,
    task: tokio::task::JoinHandle<()>,
    guarded: Guarded,
    limit: Arc<RowLimit>,
    busy: AtomicBool,
    role: Role,
    /// The server's `server_version_num`.
    pub(crate) version: u32,
    /// Encrypted.
    pub(crate) encrypted: bool,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Session({})", self.version)
    }
}

/// What names without a schema mean in a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Only `pg_catalog`: the catalog then prints every other type with its schema.
    Catalog,
    /// The connection's schema and `public`: what a user's query means.
    Data,
}

impl Scope {
    fn path(self, link: &Link) -> String {
        match self {
            Scope::Catalog => "pg_catalog".to_owned(),
            Scope::Data if link.settings.schema == "public" => "public".to_owned(),
            Scope::Data => format!("{}, public", quote(&link.settings.schema)),
        }
    }
}

impl Session {
    /// Connects. Errors: `E0201`/`E0301`, `E0202`/`E0302`, `E0213`/`E0314`, `E0214`/`E0315`.
    pub(crate) async fn connect(link: &Link, scope: Scope) -> Result<Session> {
        let doing = format!("connect to `{}` ({})", link.env.name, link.settings.place);
        let limit = RowLimit::new(link.env.budget.row_limit());
        let mode = link.settings.tls.mode;
        let attempt = async {
            if mode == TlsMode::Disable || link.settings.socket {
                return Self::dial(link, false, &limit, &doing).await;
            }
            match Self::dial(link, true, &limit, &doing).await {
                Err(error)
                    if mode == TlsMode::Prefer
                        && error.code() == link.role().code(Code::E0213, Code::E0314) =>
                {
                    Self::dial(link, false, &limit, &doing).await
                }
                other => other,
            }
        };
        let patience = link.settings.connect_timeout;
        let mut session = tokio::time::timeout(patience * 2, Box::pin(attempt))
            .await
            .map_err(|_| timed_out(link.role(), &doing, patience.as_secs_f64()))??;
        session.set_up(link, scope, &doing).await?;
        Ok(session)
    }

    async fn dial(link: &Link, encrypted: bool, limit: &Arc<RowLimit>, doing: &str) -> Result<Session> {
        let role = link.role();
        let tls = if encrypted {
            Some(client_config(&link.settings.tls, role)?)
        } else {
            None
        };
        let mut config = link.settings.driver.clone();
        // A plain TCP connection takes the driver's "TLS at once" path with a guard that encrypts nothing.
        match (encrypted, link.settings.socket) {
            (true, _) => config
                .ssl_mode(SslMode::Require)
                .ssl_negotiation(SslNegotiation::Postgres),
            (false, false) => config
                .ssl_mode(SslMode::Require)
                .ssl_negotiation(SslNegotiation::Direct),
            (false, true) => config.ssl_mode(SslMode::Disable),
        };
        if config.get_user().is_none() {
            return Err(Error::new(
                role.code(Code::E0202, Code::E0302),
                format!("cannot {doing}: there is no user"),
            )
            .with_hint("set `user` in the connection"));
        }
        let guarded = Guarded::new(tls, Arc::clone(limit));
        let (client, connection) = config
            .connect(guarded.clone())
            .await
            .map_err(|e| classify(role, Phase::Connect, doing, &e))?;
        let task = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(closed = error.is_closed(), "a PostgreSQL connection ended");
            }
        });
        let limit = Arc::clone(limit);
        Ok(Session {
            client,
            task,
            guarded,
            limit,
            busy: AtomicBool::new(false),
            role,
            version: 0,
            encrypted,
        })
    }

    /// Changes what names without a schema mean.
    pub(crate) async fn enter(&self, link: &Link, scope: Scope) -> Result<()> {
        self.run(
            &format!("SET search_path TO {}", scope.path(link)),
            "set the search path",
        )
        .await
    }

    async fn set_up(&mut self, link: &Link, scope: Scope, doing: &str) -> Result<()> {
        let settings = &link.settings;
        let path = scope.path(link);
        let sql = format!(
            "SET search_path TO {path}; SET TimeZone TO 'UTC'; SET DateStyle TO 'ISO, YMD'; SET IntervalStyle TO 'iso_8601'; \
             SET extra_float_digits TO 3; SET bytea_output TO 'hex'; SET client_encoding TO 'UTF8'; SET xmloption TO 'content'; \
             SET lock_timeout TO {}; SET statement_timeout TO {}; SET idle_in_transaction_session_timeout TO 0; \
             SET standard_conforming_strings TO on",
            millis(settings.lock_timeout),
            millis(settings.statement_timeout),
        );
        self.run(&sql, doing).await?;
        let row = self.query_one("SELECT current_setting('server_version_num'), CASE WHEN name IS NOT NULL THEN set_config(name, '10s', false) END FROM (VALUES (1)) one(x) \
             LEFT JOIN pg_catalog.pg_settings ON name = 'client_connection_check_interval'", &[], doing).await?;
        self.version = row
            .get::<_, String>(0)
            .parse()
            .map_err(|_| Error::bug("server_version_num is not a number"))?;
        if self.version < OLDEST {
            return Err(Error::new(
                link.role().code(Code::E0214, Code::E0315),
                format!(
                    "cannot {doing}: the server is PostgreSQL {}",
                    self.version / 10_000
                ),
            )
            .with_hint("PostgreSQL 13 is the oldest that is supported"));
        }
        Ok(())
    }

    /// Runs statements without parameters, without results.
    pub(crate) async fn run(&self, sql: &str, doing: &str) -> Result<()> {
        self.watch(self.client.batch_execute(sql))
            .await
            .map_err(|e| self.classify(doing, &e))
    }

    /// Runs statements; the driver's own error.
    pub(crate) async fn run_raw(&self, sql: &str) -> Result<(), tokio_postgres::Error> {
        self.watch(self.client.batch_execute(sql)).await
    }

    /// Runs one statement and tells how many rows it touched.
    pub(crate) async fn execute(
        &self,
        sql: &str,
        parameters: &[(&(dyn ToSql + Sync), Type)],
        doing: &str,
    ) -> Result<u64> {
        self.watch(self.client.execute_typed(sql, parameters))
            .await
            .map_err(|e| self.classify(doing, &e))
    }

    /// Rows of one statement.
    pub(crate) async fn query(
        &self,
        sql: &str,
        parameters: &[(&(dyn ToSql + Sync), Type)],
        doing: &str,
    ) -> Result<Vec<Row>> {
        self.watch(self.client.query_typed(sql, parameters))
            .await
            .map_err(|e| self.classify(doing, &e))
    }

    /// The one row of a statement.
    pub(crate) async fn query_one(
        &self,
        sql: &str,
        parameters: &[(&(dyn ToSql + Sync), Type)],
        doing: &str,
    ) -> Result<Row> {
        let rows = self.query(sql, parameters, doing).await?;
        rows.into_iter()
            .next()
            .ok_or_else(|| Error::bug(format!("no row came back to {doing}")))
    }

    /// A count.
    pub(crate) async fn count(&self, sql: &str, doing: &str) -> Result<u64> {
        let row = self.query_one(sql, &[], doing).await?;
        u64::try_from(row.get::<_, i64>(0)).map_err(|_| Error::bug("a count is negative"))
    }

    async fn watch<T>(&self, work: impl Future<Output = T>) -> T {
        self.busy.store(true, Ordering::Release);
        let outcome = work.await;
        self.busy.store(false, Ordering::Release);
        outcome
    }

    /// Marks that a copy runs, so that dropping the session cancels it.
    pub(crate) fn set_busy(&self, busy: bool) {
        self.busy.store(busy, Ordering::Release);
    }

    /// The driver's handle, for copies.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// The part this session plays.
    pub(crate) fn role(&self) -> Role {
        self.role
    }

    /// A driver error of this session as the house's.
    pub(crate) fn classify(&self, doing: &str, error: &tokio_postgres::Error) -> Error {
        classify(self.role, Phase::Work, doing, error)
    }

    /// Column and size of a row that was too large.
    pub(crate) fn refused_row(&self) -> Option<(usize, u64)> {
        self.limit.refused()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if !self.busy.load(Ordering::Acquire) {
            return;
        }
        let (token, guarded) = (self.client.cancel_token(), self.guarded.clone());
        let task = self.task.abort_handle();
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => {
                runtime.spawn(async move {
                    let _ = tokio::time::timeout(Duration::from_secs(5), token.cancel_query(guarded)).await;
                    task.abort();
                });
            }
            Err(_) => task.abort(),
        }
    }
}

/// The setting's value in milliseconds; zero is no limit.
fn millis(duration: Duration) -> String {
    literal(&format!("{}ms", duration.as_millis()))
}
