//! One configured database: check it, list what it holds, describe it.
//!
//! Every question opens a session of its own and closes it: nothing is kept between a plan and a run, so a
//! connection never holds a lock, a snapshot or a slot of the server while nobody works.

use std::sync::Arc;

use async_trait::async_trait;
use synqx_model::{Code, Result};
use synqx_sdk::{
    Asset, AssetKind, Connection, Dataset, Destination, Finding, Limits, Role, Source, TableSchema, glob,
};
use tokio_postgres::types::Type;

use crate::catalog;
use crate::client::{Link, Scope, Session};
use crate::names::{TableName, fnv, quote};
use crate::read::find;

/// One configured database.
#[derive(Debug)]
pub(crate) struct Database {
    link: Arc<Link>,
    limits: Limits,
}

impl Database {
    pub(crate) fn new(link: Link, limits: Limits) -> Self {
        Database {
            link: Arc::new(link),
            limits,
        }
    }

    pub(crate) fn link(&self) -> &Arc<Link> {
        &self.link
    }

    pub(crate) fn limits_record(&self) -> &Limits {
        &self.limits
    }

    async fn rights(&self, session: &Session) -> Result<Finding> {
        let schema = &self.link.settings.schema;
        let row = session
            .query(
                "SELECT pg_catalog.has_schema_privilege(oid, 'USAGE'), pg_catalog.has_schema_privilege(oid, 'CREATE') \
                 FROM pg_catalog.pg_namespace WHERE nspname = $1",
                &[(schema, Type::TEXT)],
                "look up rights",
            )
            .await?;
        let Some(row) = row.first() else {
            return Ok(Finding {
                name: "rights".into(),
                ok: false,
                detail: format!("the schema `{schema}` does not exist"),
                hint: Some(format!(
                    "CREATE SCHEMA {}, or name another `schema`",
                    quote(schema)
                )),
            });
        };
        let (usage, create): (bool, bool) = (row.get(0), row.get(1));
        let missing = match (usage, create, self.link.role()) {
            (false, _, _) => Some("USAGE"),
            (true, false, Role::Destination) => Some("CREATE"),
            _ => None,
        };
        Ok(match missing {
            None => Finding::good(
                "rights",
                format!(
                    "the schema `{schema}` can be used{}",
                    if create { " and tables created in it" } else { "" }
                ),
            ),
            Some(right) => Finding {
                name: "rights".into(),
                ok: false,
                detail: format!("the user has no {right} on the schema `{schema}`"),
                hint: Some(format!("GRANT {right} ON SCHEMA {} to the user", quote(schema))),
            },
        })
    }
}

/// Tables and views, the leaves of partitioned tables and SynqX's own tables left out.
const ASSETS: &str = "SELECT n.nspname::text, c.relname::text, c.relkind::text, c.reltuples::float8, \
     CASE WHEN c.relkind IN ('r', 'm') THEN pg_catalog.pg_relation_size(c.oid) END, pg_catalog.obj_description(c.oid, 'pg_class') \
     FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition AND c.relname NOT LIKE '\\_synqx\\_%' \
     AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_' \
     AND pg_catalog.has_schema_privilege(n.oid, 'USAGE') ORDER BY n.nspname COLLATE \"C\", c.relname COLLATE \"C\"";

#[async_trait]
impl Connection for Database {
    async fn check(&self) -> Result<Vec<Finding>> {
        let role = self.link.role();
        let place = &self.link.settings.place;
        let session = match Session::connect(&self.link, Scope::Catalog).await {
            Ok(session) => session,
            Err(error) => {
                let code = error.code();
                let mut findings = Vec::new();
                if code == role.code(Code::E0202, Code::E0302) {
                    findings.push(Finding::good("reachable", format!("{place} answers")));
                    findings.push(Finding::bad("login", &error));
                } else if code == role.code(Code::E0213, Code::E0314) {
                    findings.push(Finding::good("reachable", format!("{place} answers")));
                    findings.push(Finding::bad("TLS", &error));
                } else if code == role.code(Code::E0214, Code::E0315) {
                    findings.push(Finding::good("reachable", format!("{place} answers")));
                    findings.push(Finding::bad("version", &error));
                } else {
                    findings.push(Finding::bad("reachable", &error));
                }
                return Ok(findings);
            }
        };
        let encrypted = if session.encrypted {
            "encrypted"
        } else {
            "not encrypted"
        };
        let user = session
            .query_one("SELECT current_user::text", &[], "ask who we are")
            .await?
            .get::<_, String>(0);
        let mut findings = vec![
            Finding::good("reachable", format!("{place} answers")),
            Finding::good("TLS", encrypted),
            Finding::good("login", format!("as `{user}`")),
            Finding::good(
                "version",
                format!(
                    "PostgreSQL {}.{}",
                    session.version / 10_000,
                    session.version % 10_000
                ),
            ),
            self.rights(&session).await?,
        ];
        if role == Role::Destination {
            let standby = session
                .query_one(
                    "SELECT pg_catalog.pg_is_in_recovery()",
                    &[],
                    "ask whether it is a standby",
                )
                .await?;
            if standby.get::<_, bool>(0) {
                findings.push(Finding {
                    name: "writable".into(),
                    ok: false,
                    detail: "the server is a standby and takes no writes".into(),
                    hint: Some("connect to the primary".into()),
                });
            }
        }
        Ok(findings)
    }

    async fn discover(&self, pattern: Option<&str>) -> Result<Vec<Asset>> {
        let session = Session::connect(&self.link, Scope::Catalog).await?;
        let rows = session.query(ASSETS, &[], "list tables").await?;
        Ok(rows
            .iter()
            .map(|row| Asset {
                name: TableName::new(row.get::<_, String>(0), row.get::<_, String>(1)).label(),
                kind: match row.get::<_, String>(2).as_str() {
                    "p" => AssetKind::PartitionedTable,
                    "v" => AssetKind::View,
                    "m" => AssetKind::MaterializedView,
                    "f" => AssetKind::ForeignTable,
                    _ => AssetKind::Table,
                },
                rows: Some(row.get::<_, f64>(3))
                    .filter(|n| *n >= 0.0 && row.get::<_, String>(2) != "v")
                    .map(|n| n as u64),
                bytes: row.get::<_, Option<i64>>(4).and_then(|b| u64::try_from(b).ok()),
                comment: row.get(5),
            })
            .filter(|asset| {
                pattern.is_none_or(|p| {
                    let bare = asset
                        .name
                        .strip_prefix(&format!("{}.", self.link.settings.schema));
                    glob::matches(p, &asset.name) || bare.is_some_and(|name| glob::matches(p, name))
                })
            })
            .collect())
    }

    async fn describe(&self, dataset: &Dataset) -> Result<TableSchema> {
        let session = Session::connect(&self.link, Scope::Catalog).await?;
        let found = find(&session, &self.link, dataset).await?;
        let domain = catalog::domain(&session, &self.link).await?;
        match &found.relation {
            Some(relation) => catalog::table_schema(relation, format!("{domain}/{}", relation.table.label())),
            None => {
                let schema = catalog::schema_of(&found.columns, &found.place)?;
                let mut table = TableSchema::of(schema, format!("{domain}/query:{:016x}", fnv(&found.from)));
                table
                    .notes
                    .push("of a query: keys, sizes and what is never NULL are not known".into());
                Ok(table)
            }
        }
    }

    async fn domain(&self) -> Result<String> {
        let session = Session::connect(&self.link, Scope::Catalog).await?;
        catalog::domain(&session, &self.link).await
    }

    fn source(&self) -> Option<&dyn Source> {
        Some(self)
    }

    fn destination(&self) -> Option<&dyn Destination> {
        Some(self)
    }
}
