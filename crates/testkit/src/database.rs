//! A PostgreSQL database that belongs to one test and goes away with it.
//!
//! Tests run in parallel against one server, so each makes its own database under a name nobody else has. It is
//! dropped with force when the value drops, also when the test failed. This is not a pool and not a fixture of rows.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio_postgres::{Client, NoTls};

use crate::services::Server;

/// A database of one test's own.
#[derive(Debug)]
pub struct ThrowAwayDatabase {
    server: String,
    name: String,
    dropped: bool,
}

static NEXT: AtomicU64 = AtomicU64::new(0);

impl ThrowAwayDatabase {
    /// Creates a database with a unique name on a server of `cargo x up`.
    pub async fn on(server: Server) -> Result<Self, String> {
        Self::create(&server.try_url()?).await
    }

    /// Creates a database with a unique name on the server at `url`.
    pub async fn create(url: &str) -> Result<Self, String> {
        let since = std::time::SystemTime::UNIX_EPOCH
            .elapsed()
            .map_err(|e| e.to_string())?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("synqx_test_{}_{}_{number}", std::process::id(), since.as_nanos());
        run(
            url,
            &format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'"),
        )
        .await?;
        Ok(ThrowAwayDatabase {
            server: url.to_owned(),
            name,
            dropped: false,
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its URL: the server's, with the database replaced.
    pub fn url(&self) -> String {
        with_database(&self.server, &self.name)
    }

    /// A plain client of this database, for looking at it without SynqX.
    pub async fn client(&self) -> Result<Client, String> {
        connect(&self.url()).await
    }

    /// Runs statements in this database.
    pub async fn execute(&self, sql: &str) -> Result<(), String> {
        run(&self.url(), sql).await
    }

    /// Drops it now, ending every session in it.
    pub async fn discard(mut self) -> Result<(), String> {
        self.dropped = true;
        run(&self.server, &self.removal()).await
    }

    fn removal(&self) -> String {
        format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name)
    }
}

impl Drop for ThrowAwayDatabase {
    fn drop(&mut self) {
        if self.dropped {
            return;
        }
        let (server, sql) = (self.server.clone(), self.removal());
        // A runtime of its own, on a thread of its own: the test's may be shutting down.
        let cleaner = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime
                .map_err(|e| e.to_string())
                .and_then(|runtime| runtime.block_on(run(&server, &sql)))
        });
        // A database left behind is swept with its server (`cargo x down`); a panic in drop would hide the failure.
        let _ = cleaner.join();
    }
}

async fn connect(url: &str) -> Result<Client, String> {
    let (client, connection) = tokio_postgres::connect(url, NoTls)
        .await
        .map_err(|e| explain(&e))?;
    tokio::spawn(connection);
    Ok(client)
}

async fn run(url: &str, sql: &str) -> Result<(), String> {
    connect(url)
        .await?
        .batch_execute(sql)
        .await
        .map_err(|e| format!("{sql}: {}", explain(&e)))
}

fn explain(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(db) => db.to_string(),
        None => format!("{error} (is the server up? run `cargo x up`)"),
    }
}

/// The same URL with another database.
pub fn with_database(url: &str, database: &str) -> String {
    let (base, query) = url
        .split_once('?')
        .map_or((url, None), |(base, query)| (base, Some(query)));
    let authority_at = base.find("://").map_or(0, |at| at + 3);
    let end = base[authority_at..]
        .find('/')
        .map_or(base.len(), |at| authority_at + at);
    match query {
        Some(query) => format!("{}/{database}?{query}", &base[..end]),
        None => format!("{}/{database}", &base[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_the_database_of_a_url() {
        assert_eq!(
            with_database("postgres://u:p@h:5/a?x=1", "b"),
            "postgres://u:p@h:5/b?x=1"
        );
        assert_eq!(with_database("postgres://u@h", "b"), "postgres://u@h/b");
    }

    #[tokio::test]
    async fn is_there_while_it_lives_and_gone_afterwards() {
        for server in Server::ALL {
            let database = ThrowAwayDatabase::on(server).await.expect("creates");
            let name = database.name().to_owned();
            database
                .execute("CREATE TABLE t (n int); INSERT INTO t VALUES (1)")
                .await
                .expect("is usable");
            let open = database.client().await.expect("connects");
            drop(database);
            assert!(
                open.simple_query("SELECT 1").await.is_err(),
                "a session survived its database"
            );
            let admin = connect(&server.url()).await.expect("connects");
            let left = admin
                .query("SELECT 1 FROM pg_database WHERE datname = $1", &[&name])
                .await
                .expect("asks");
            assert!(left.is_empty());
        }
    }
}
