//! The connection: check it, list its tables, describe one, and say which file it is.
//!
//! Thin: everything that knows SQLite is in `client`, `catalog` and `read`.

use async_trait::async_trait;
use synqx_model::Result;
use synqx_sdk::{Asset, Connection, Dataset, Destination, Finding, Role, Source, TableSchema, glob};

use crate::client::File;
use crate::{Sqlite, catalog, read};

#[async_trait]
impl Connection for Sqlite {
    async fn check(&self) -> Result<Vec<Finding>> {
        self.file.run(|file| Ok(check(file))).await
    }

    async fn discover(&self, pattern: Option<&str>) -> Result<Vec<Asset>> {
        let pattern = pattern.map(str::to_owned);
        self.file
            .run(move |file| {
                if file.role == Role::Destination && !file.exists() {
                    return Ok(Vec::new());
                }
                let connection = file.open_to_read()?;
                let refuse = |e: rusqlite::Error| file.error(&e, "read the catalog of");
                let mut assets = Vec::new();
                for (table, kind) in catalog::assets(&connection).map_err(refuse)? {
                    let name = catalog::asset_name(&table);
                    if pattern
                        .as_deref()
                        .is_some_and(|p| !glob::matches(p, &name) && !glob::matches(p, &table))
                    {
                        continue;
                    }
                    let described = catalog::table(&connection, &table).map_err(refuse)?;
                    let rows = match described.filter(|t| !t.view && !t.is_virtual) {
                        Some(t) => catalog::estimate(&connection, &t).map_err(refuse)?,
                        None => None,
                    };
                    assets.push(Asset {
                        name,
                        kind,
                        rows,
                        bytes: None,
                        comment: None,
                    });
                }
                Ok(assets)
            })
            .await
    }

    async fn describe(&self, dataset: &Dataset) -> Result<TableSchema> {
        let dataset = dataset.clone();
        self.file
            .run(move |file| read::describe(file, &file.open_to_read()?, &dataset))
            .await
    }

    async fn domain(&self) -> Result<String> {
        self.file
            .run(|file| Ok(format!("sqlite:{}", file.canonical().display())))
            .await
    }

    fn source(&self) -> Option<&dyn Source> {
        Some(self)
    }

    fn destination(&self) -> Option<&dyn Destination> {
        Some(self)
    }
}

fn check(file: &File) -> Vec<Finding> {
    if file.role == Role::Destination && !file.exists() {
        return vec![match file.check_folder() {
            Ok(()) => Finding::good(
                "file",
                format!("{} will be made by the first load", file.path.display()),
            ),
            Err(error) => Finding::bad("file", &error),
        }];
    }
    let connection = match file.open_to_read() {
        Ok(connection) => connection,
        Err(error) => return vec![Finding::bad("file", &error)],
    };
    let mut findings = vec![Finding::good("file", file.path.display().to_string())];
    let mode = connection.query_row("PRAGMA journal_mode", [], |row| row.get::<_, String>(0));
    findings.push(match mode {
        Ok(mode) => Finding::good("journal mode", mode),
        Err(error) => Finding::bad("journal mode", &file.error(&error, "read")),
    });
    if file.role == Role::Destination {
        let locked = file.open_to_inspect_writable().and_then(|c| {
            c.execute_batch("BEGIN IMMEDIATE; ROLLBACK")
                .map_err(|e| file.error(&e, "write"))
        });
        findings.push(match locked {
            Ok(()) => Finding::good("rights", "the file can be written"),
            Err(error) => Finding::bad("rights", &error),
        });
    }
    findings
}
