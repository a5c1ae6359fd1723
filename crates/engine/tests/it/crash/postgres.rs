//! The rows of the crash matrix that have PostgreSQL as their destination: every mode, and rows relayed undecoded.
//!
//! Each scenario has a database of its own. How cells are killed and judged is the parent's business.

use std::path::Path;

use synqx_plan::Placement;
use synqx_sdk::Protection;
use synqx_testkit::database::ThrowAwayDatabase;
use synqx_testkit::services::Server;

use super::scenarios::{OF_TABLES, first_word};
use super::{Scenario, document, matrix, mode_keys, row_text, table_ddl};
use crate::setting::{engine, options, spec};

/// A table of PostgreSQL, in a mode, in a database of its own.
pub(super) struct Postgres(pub(super) &'static str, pub(super) ThrowAwayDatabase);

impl Postgres {
    pub(super) async fn new(mode: &'static str) -> Self {
        let database = ThrowAwayDatabase::on(Server::Postgres15).await;
        Postgres(mode, database.expect("cargo x up"))
    }
}

#[async_trait::async_trait]
impl Scenario for Postgres {
    fn name(&self) -> String {
        format!("postgresql {}", self.0)
    }

    async fn prepare(&self, _: &Path, _: usize) -> String {
        let ddl = format!(
            "drop table if exists t, t__previous cascade; drop table if exists _synqx_commit; {}",
            table_ddl(self.0)
        );
        self.1.execute(&ddl).await.expect("a table");
        document(
            &format!("{{type: postgresql, url: \"{}\"}}", self.1.url()),
            &format!(
                "asset: public.t, write: {}{}",
                first_word(self.0),
                mode_keys(self.0)
            ),
        )
    }

    fn protections(&self) -> &'static [Protection] {
        OF_TABLES
    }

    async fn seen(&self, _: &Path) -> Vec<Vec<String>> {
        let client = self.1.client().await.expect("a client");
        let rows = async |query: String| -> Vec<String> {
            let rows = client.query(&query, &[]).await.expect("rows");
            rows.iter().map(|row| row.get(0)).collect()
        };
        let mut seen = rows(format!("select {} from public.t", row_text(self.0))).await;
        let kept = "select relname::text from pg_class where relname = 't__previous'".to_owned();
        if !rows(kept).await.is_empty() {
            seen.extend(rows("select 'previous ' || k || ',' || v from public.t__previous".to_owned()).await);
        }
        seen.sort();
        vec![seen]
    }

    async fn leftovers(&self, _: &Path) -> Vec<String> {
        let client = self.1.client().await.expect("a client");
        let query = "select relname::text from pg_class where relname like '\\_synqx%' and relkind = 'r' and relname <> '_synqx_commit'";
        client
            .query(query, &[])
            .await
            .expect("rows")
            .iter()
            .map(|r| r.get(0))
            .collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_has_no_hole() {
    postgresql(&["append", "replace", "replace keeping", "upsert"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_has_no_hole_in_modes_that_delete_or_keep_history() {
    postgresql(&["delete_insert", "mirror", "scd2"]).await;
}

async fn postgresql(modes: &[&'static str]) {
    for mode in modes {
        let scenario = Postgres::new(mode).await;
        matrix(&scenario).await;
        scenario.1.discard().await.expect("dropped");
    }
}

/// Rows relayed undecoded, from a table beside the target.
pub(super) struct Relayed(pub(super) Postgres);

#[async_trait::async_trait]
impl Scenario for Relayed {
    fn name(&self) -> String {
        format!("{} relayed", self.0.name())
    }

    fn protections(&self) -> &'static [Protection] {
        use Protection::{Intent, OneAct, RunId, Sweep};
        &[OneAct, Intent, RunId, Sweep]
    }

    async fn prepare(&self, dir: &Path, size: usize) -> String {
        self.0.prepare(dir, size).await;
        let Postgres(mode, database) = &self.0;
        let source = format!(
            "drop table if exists src; create table src (k bigint primary key, v text); \
             insert into src select i, 'value ' || i || repeat('x', 40) from generate_series(0, {}) i",
            size - 1
        );
        database.execute(&source).await.expect("a source");
        let yaml = format!(
            "name: crash\nconnections:\n  db: {{type: postgresql, url: \"{}\"}}\nnodes:\n  a: {{extract: {{from: db, asset: src}}}}\n  out: {{load: {{input: a, to: db, asset: public.t, write: {mode}}}}}\n",
            database.url()
        );
        let report = engine().plan(&spec(&yaml), &options(dir)).await.expect("a plan");
        assert!(
            report.steps.iter().all(|step| step.placement == Placement::Raw),
            "{report:?}"
        );
        yaml
    }

    async fn seen(&self, dir: &Path) -> Vec<Vec<String>> {
        self.0.seen(dir).await
    }

    async fn leftovers(&self, dir: &Path) -> Vec<String> {
        self.0.leftovers(dir).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn relayed_rows_have_no_hole() {
    for mode in ["append", "replace"] {
        let scenario = Relayed(Postgres::new(mode).await);
        matrix(&scenario).await;
        scenario.0.1.discard().await.expect("dropped");
    }
}
