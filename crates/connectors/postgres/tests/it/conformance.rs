//! The shared suites against real servers, PostgreSQL 15 and 18.
//!
//! Each run has a database of its own, owned by a plain role with a password: the superuser would hide missing rights
//! and the server trusts it without one. Connections go through `pool`, which keeps them: the suites open thousands.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::json;
use synqx_postgres::Postgres;
use synqx_sdk::Connection;
use synqx_sdk::conformance::{self, Fixture, Opening, Report};
use synqx_sdk::registry::AnyConnector;

use crate::database::{Database, connect};
use crate::pool::Pool;

const PASSWORD: &str = "c0rrect horse/battery@staple";
/// What the server stores of it, made with one round instead of 4096: a debug build needs 50 ms for those, per connection.
const VERIFIER: &str = "SCRAM-SHA-256$1:c3lucXgtY29uZm9ybS0xNg==$BDFainkcoyKoIjSSkUJ29Uuj0wKU/3Ob7dzFlFtWLfs=:l0WqdS5R3ftO3xQDxl3I/9S8/hTNPB4gDn9b2Q6RV2M=";
const WRONG: &str = "wr0ng donkey/battery@staple";

/// A database, and the role that owns it; both have one name.
struct Owned {
    server: &'static str,
    database: Database,
    role: String,
    pool: Pool,
}

fn encoded(text: &str) -> String {
    text.bytes()
        .map(|b| {
            if b.is_ascii_alphanumeric() {
                char::from(b).to_string()
            } else {
                format!("%{b:02X}")
            }
        })
        .collect()
}

/// Host and port of a URL.
fn host(url: &str) -> &str {
    let from = url.find('@').expect("a user") + 1;
    let to = url.rfind('/').expect("a database");
    &url[from..to]
}

impl Owned {
    async fn on(server: &'static str) -> Self {
        let database = Database::new(server).await;
        let role = database.text("SELECT current_database()::text").await;
        database
            .run(&format!(
                "CREATE ROLE {role} LOGIN PASSWORD '{VERIFIER}'; ALTER DATABASE {role} OWNER TO {role}"
            ))
            .await;
        let pool = Pool::to(host(&database.url)).await;
        Owned {
            server,
            database,
            role,
            pool,
        }
    }

    async fn discard(self) {
        let maintenance = format!(
            "{}/postgres",
            self.database.url.rsplit_once('/').expect("a url").0
        );
        self.database.close().await;
        let sql = format!("DROP ROLE {}", self.role);
        connect(&maintenance)
            .await
            .batch_execute(&sql)
            .await
            .expect("drops the role");
    }

    async fn execute(&self, sql: &str) -> Result<(), String> {
        self.database
            .client
            .batch_execute(sql)
            .await
            .map_err(|e| format!("{sql}: {e:?}"))
    }

    async fn number(&self, sql: &str) -> Result<i64, String> {
        let row = self
            .database
            .client
            .query_one(sql, &[])
            .await
            .map_err(|e| format!("{sql}: {e:?}"))?;
        Ok(row.get(0))
    }
}

fn quoted(asset: &str) -> String {
    let part = |part: &str| match part.starts_with('"') {
        true => part.to_owned(),
        false => format!("\"{part}\""),
    };
    let (schema, name) = asset.split_once('.').expect("a schema");
    format!("{}.{}", part(schema), part(name))
}

#[async_trait]
impl Fixture for Owned {
    fn system(&self) -> String {
        self.server.into()
    }

    fn open(&self, opening: &Opening) -> synqx_model::Result<Arc<dyn Connection>> {
        let password = if opening.wrong_login { WRONG } else { PASSWORD };
        let login = format!("{}:{}@", self.role, encoded(password));
        let mut url = self.database.url.replace("postgres@", &login);
        if !opening.wrong_login {
            let pool = self.pool.address.to_string();
            url = format!("{}?sslmode=disable", url.replace(host(&self.database.url), &pool));
        }
        let config = json!({ "url": url });
        AnyConnector::open(
            &Postgres,
            config.as_object().expect("an object"),
            opening.env("/"),
        )
    }

    fn asset(&self, name: &str) -> Option<String> {
        let quote = name.contains(['.', '"']);
        Some(if quote {
            format!("public.\"{}\"", name.replace('"', "\"\""))
        } else {
            format!("public.{name}")
        })
    }

    async fn leftovers(&self) -> Result<Vec<String>, String> {
        let sql = "SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                   WHERE n.nspname NOT IN ('pg_catalog', 'pg_toast', 'information_schema') \
                   AND (c.relname LIKE '\\_synqx\\_%' OR c.relname LIKE '%\\_\\_previous%') AND c.relname NOT LIKE '\\_synqx\\_commit%'";
        let rows = self
            .database
            .client
            .query(sql, &[])
            .await
            .map_err(|e| format!("{e:?}"))?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    async fn remove(&self, asset: &str) -> Result<(), String> {
        self.execute(&format!(
            "SET lock_timeout = '5s'; DROP TABLE {} CASCADE",
            quoted(asset)
        ))
        .await
    }

    fn has_logins(&self) -> bool {
        true
    }

    fn secrets(&self) -> Vec<String> {
        vec![PASSWORD.into(), WRONG.into(), encoded(PASSWORD), encoded(WRONG)]
    }

    async fn make_dependants(&self, asset: &str) -> Option<Result<(), String>> {
        let table = quoted(asset);
        let sql = format!(
            "ALTER TABLE {table} ADD PRIMARY KEY (id); CREATE VIEW dependant AS SELECT id, note FROM {table}; \
             GRANT SELECT ON {table} TO PUBLIC; COMMENT ON TABLE {table} IS 'kept'"
        );
        Some(self.execute(&sql).await)
    }

    async fn check_dependants(&self, asset: &str) -> Result<(), String> {
        let table = quoted(asset);
        let seen = self.number("SELECT count(*) FROM dependant").await?;
        let there = self.number(&format!("SELECT count(*) FROM {table}")).await?;
        let keys = format!(
            "SELECT count(*) FROM pg_constraint WHERE conrelid = '{table}'::regclass AND contype = 'p'"
        );
        let kept = format!(
            "SELECT count(*) FROM pg_class WHERE oid = '{table}'::regclass AND relacl IS NOT NULL AND obj_description(oid) = 'kept'"
        );
        let (keys, kept) = (self.number(&keys).await?, self.number(&kept).await?);
        match (seen == there, keys, kept) {
            (true, 1, 1) => Ok(()),
            _ => Err(format!(
                "the view has {seen} rows of {there}, {keys} primary keys, {kept} tables with grant and comment"
            )),
        }
    }
}

async fn green(server: &'static str, suite: &str) {
    let fixture = Owned::on(server).await;
    let report: Report = match suite {
        "source" => conformance::source(&fixture).await,
        _ => conformance::destination(&fixture).await,
    };
    fixture.discard().await;
    report.assert_green().unwrap_or_else(|why| panic!("{why}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_15_is_a_destination() {
    green("postgres15", "destination").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_15_is_a_source() {
    green("postgres15", "source").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_18_is_a_destination() {
    green("postgres18", "destination").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_18_is_a_source() {
    green("postgres18", "source").await;
}
