//! `local_file`: CSV, TSV, JSON lines, JSON and Parquet on this machine, as a source and as a destination.
//!
//! An asset is a file, a glob or a folder. `assets` finds the files, `content` unpacks and decodes them, one folder
//! per format parses and renders; `read` and `write` implement the contract. One file is replaced by an atomic
//! rename (exactly once); a folder of parts is published by its manifest (exactly once for readers of the manifest).
//! Object stores are not here: they publish by conditional put, not by rename.

mod assets;
mod config;
mod content;
mod csv;
mod describe;
mod encode;
mod json;
mod lane;
mod load;
mod manifest;
mod pack;
mod parquet;
mod place;
mod read;
mod rollback;
mod window;
mod write;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use synqx_model::{Code, Error, Result};
use synqx_sdk::{
    Asset, Connection, Connector, ConnectorSpec, Dataset, Destination, Env, Finding, Role, Source,
    TableSchema,
};

pub use config::{Compression, Config, CsvOptions, Format};

use read::{Files, blocking};
use write::Writing;

/// The connector.
#[derive(Debug, Clone, Copy, Default)]
pub struct LocalFile;

impl Connector for LocalFile {
    const KIND: &'static str = "local_file";
    type Config = Config;

    fn spec(&self) -> ConnectorSpec {
        ConnectorSpec {
            kind: Self::KIND,
            title: "Local files",
            summary: "CSV, TSV, JSON lines, JSON and Parquet files and folders on this machine",
            source: true,
            destination: Some(write::limits()),
            schemes: &["file"],
        }
    }

    fn open(&self, config: Config, env: Env) -> Result<Arc<dyn Connection>> {
        if config.path.trim().is_empty() {
            return Err(Error::new(
                Code::E0103,
                format!("`path` of connection `{}` is empty", env.name),
            )
            .with_hint("write `path: ./data`"));
        }
        let root = assets::root(&config, &env.base_dir);
        let files = Files {
            config: Arc::new(config),
            root,
            budget: env.budget.clone(),
        };
        Ok(Arc::new(LocalFiles {
            writing: Writing {
                files,
                env,
                limits: write::limits(),
            },
        }))
    }
}

/// A folder of files, or one file.
struct LocalFiles {
    writing: Writing,
}

impl LocalFiles {
    fn files(&self) -> &Files {
        &self.writing.files
    }
}

#[async_trait]
impl Connection for LocalFiles {
    async fn check(&self) -> Result<Vec<Finding>> {
        let (root, role) = (self.files().root.clone(), self.writing.env.role);
        blocking(move || Ok(findings(&root, role))).await
    }

    async fn discover(&self, pattern: Option<&str>) -> Result<Vec<Asset>> {
        let (root, pattern) = (self.files().root.clone(), pattern.map(str::to_owned));
        blocking(move || assets::discover(&root, pattern.as_deref())).await
    }

    async fn describe(&self, dataset: &Dataset) -> Result<TableSchema> {
        let (files, dataset) = (self.files().clone(), dataset.clone());
        blocking(move || files.describe(&dataset)).await
    }

    async fn domain(&self) -> Result<String> {
        let root = self.files().root.clone();
        blocking(move || {
            let folder = if root.is_file() {
                place::folder_of(&root).to_owned()
            } else {
                root
            };
            Ok(format!("local_file:{}", assets::canonical(&folder).display()))
        })
        .await
    }

    fn source(&self) -> Option<&dyn Source> {
        Some(self.files())
    }

    fn destination(&self) -> Option<&dyn Destination> {
        Some(&self.writing)
    }
}

/// Whether the folder is there and can be read or written.
fn findings(root: &PathBuf, role: Role) -> Vec<Finding> {
    let label = root.display().to_string();
    let metadata = match std::fs::metadata(root) {
        Ok(metadata) => metadata,
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound && role == Role::Destination => {
            return vec![Finding::good(
                "path",
                format!("`{label}` does not exist yet; a load makes it"),
            )];
        }
        Err(cause) => {
            let error = Error::new(
                role.code(Code::E0204, Code::E0304),
                format!("cannot find `{label}`"),
            )
            .with_hint("change `path:` of the connection")
            .with_cause(&cause);
            return vec![Finding::bad("path", &error)];
        }
    };
    let mut findings = vec![Finding::good(
        "path",
        format!(
            "`{label}` is {}",
            if metadata.is_dir() { "a folder" } else { "a file" }
        ),
    )];
    let tried = match role {
        Role::Source if metadata.is_dir() => std::fs::read_dir(root).map(drop),
        Role::Source => std::fs::File::open(root).map(drop),
        Role::Destination => try_write(if metadata.is_dir() {
            root
        } else {
            place::folder_of(root)
        }),
    };
    findings.push(match (tried, role) {
        (Ok(()), Role::Source) => Finding::good("rights", "it can be read"),
        (Ok(()), Role::Destination) => Finding::good("rights", "files can be made in it"),
        (Err(cause), Role::Source) => Finding::bad("rights", &content::cannot_read(&label, &cause)),
        (Err(cause), Role::Destination) => Finding::bad("rights", &place::cannot_write(root, &cause)),
    });
    findings
}

/// Makes and removes a hidden file: the only way to know.
fn try_write(folder: &std::path::Path) -> std::io::Result<()> {
    let path = folder.join(format!(".synqx-check-{}.tmp", std::process::id()));
    std::fs::File::create(&path)?;
    std::fs::remove_file(&path)
}
