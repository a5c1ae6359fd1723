//! The rows of the crash matrix that have PostgreSQL as their destination: every mode, and rows relayed undecoded.
//!
//! Each scenario has a database of its own. How cells are killed and judged is the parent's business.

use std::path::Path;

use synqx_plan::Placement;
use synqx_testkit::database::ThrowAwayDatabase;
use synqx_testkit::services::Server;

use super::{ROWS, Scenario, document, matrix, mode_keys, row_text, table_ddl};
use crate::setting::{engine, options, spec};

struct Postgres(&'static str, ThrowAwayDatabase);

#[async_trait::async_trait]
impl Scenario for Postgres {
    fn name(&self) -> String {
        format!("postgresql {}", self.0)
    }

    async fn prepare(&self, _: &Path) -> String {
        let ddl = format!(
            "drop table if exists t cascade; drop table if exists _synqx_commit; {}",
            table_ddl(self.0)
        );
        self.1.execute(&ddl).await.expect("a table");
        document(
            &format!("{{type: postgresql, url: \"{}\"}}", self.1.url()),
            &format!("asset: public.t, write: {}{}", self.0, mode_keys(self.0)),
        )
    }

    async fn rows(&self, _: &Path) -> Vec<String> {
        let client = self.1.client().await.expect("a client");
        let rows = client
            .query(&format!("select {} from public.t", row_text(self.0)), &[])
            .await
            .expect("rows");
        let mut rows: Vec<String> = rows.iter().map(|r| r.get(0)).collect();
        rows.sort();
        rows
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
    postgresql(&["append", "replace", "upsert"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_has_no_hole_in_modes_that_delete_or_keep_history() {
    postgresql(&["delete_insert", "mirror", "scd2"]).await;
}

async fn postgresql(modes: &[&'static str]) {
    for mode in modes {
        let database = ThrowAwayDatabase::on(Server::Postgres15)
            .await
            .expect("cargo x up");
        let scenario = Postgres(mode, database);
        matrix(&scenario).await;
        scenario.1.discard().await.expect("dropped");
    }
}

/// Rows relayed undecoded, from a table beside the target.
struct Relayed(Postgres);

#[async_trait::async_trait]
impl Scenario for Relayed {
    fn name(&self) -> String {
        format!("{} relayed", self.0.name())
    }

    async fn prepare(&self, dir: &Path) -> String {
        self.0.prepare(dir).await;
        let Postgres(mode, database) = &self.0;
        let source = format!(
            "drop table if exists src; create table src (k bigint primary key, v text); \
             insert into src select i, 'value ' || i || repeat('x', 40) from generate_series(0, {}) i",
            ROWS - 1
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

    async fn rows(&self, dir: &Path) -> Vec<String> {
        self.0.rows(dir).await
    }

    async fn leftovers(&self, dir: &Path) -> Vec<String> {
        self.0.leftovers(dir).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn relayed_rows_have_no_hole() {
    for mode in ["append", "replace"] {
        let database = ThrowAwayDatabase::on(Server::Postgres15)
            .await
            .expect("cargo x up");
        let scenario = Relayed(Postgres(mode, database));
        matrix(&scenario).await;
        scenario.0.1.discard().await.expect("dropped");
    }
}
