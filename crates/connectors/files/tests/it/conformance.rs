//! The shared suites against real folders: folders of parts as destinations, Parquet and a single CSV file as sources.
//!
//! The fixture knows a folder from outside: what is a part, a record or a lock, and what is left behind.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, TimeUnit};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use serde_json::json;
use synqx_files::{Config, LocalFile};
use synqx_model::Result;
use synqx_sdk::conformance::rows::{Rows, Value, from_order_bits};
use synqx_sdk::conformance::{self, Fixture, Opening};
use synqx_sdk::{Connection, Connector, text};
use tempfile::TempDir;

fn open(dir: &TempDir, opening: &Opening, format: &str) -> Result<Arc<dyn Connection>> {
    let config: Config =
        serde_json::from_value(json!({ "path": ".", "format": format })).expect("a configuration");
    LocalFile.open(config, opening.env(dir.path()))
}

/// Every file below a folder, by its path from there.
fn files(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)
            .expect("a folder")
            .map(|entry| entry.expect("an entry"))
        {
            match entry.file_type().expect("a type").is_dir() {
                true => folders.push(entry.path()),
                false => found.push(entry.path()),
            }
        }
    }
    found
}

/// Temporary files, and parts that their folder's manifest does not list.
fn leftovers(root: &Path) -> Vec<String> {
    let left = files(root).into_iter().filter(|path| {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if name.ends_with(".tmp") || name.starts_with(".part-") {
            return true;
        }
        let manifest = path.with_file_name("_synqx_manifest.json");
        name.starts_with("part-")
            && !std::fs::read_to_string(manifest).is_ok_and(|text| text.contains(&format!("\"{name}\"")))
    });
    left.map(|path| path.strip_prefix(root).expect("below").display().to_string())
        .collect()
}

/// A folder of parts of one format.
struct Folder {
    dir: TempDir,
    format: &'static str,
}

impl Folder {
    fn of(format: &'static str) -> Self {
        Folder {
            dir: tempfile::tempdir().expect("a folder"),
            format,
        }
    }
}

#[async_trait]
impl Fixture for Folder {
    fn system(&self) -> String {
        format!("local_file ({} folder)", self.format)
    }

    fn open(&self, opening: &Opening) -> Result<Arc<dyn Connection>> {
        open(&self.dir, opening, self.format)
    }

    fn asset(&self, name: &str) -> Option<String> {
        Some(format!("{name}/"))
    }

    async fn leftovers(&self) -> Result<Vec<String>, String> {
        Ok(leftovers(self.dir.path()))
    }

    fn keeps_types(&self) -> bool {
        // Avro keeps the types, and not that a text is a number.
        matches!(self.format, "parquet" | "arrow")
    }

    fn remembers_types(&self) -> bool {
        self.format != "jsonl"
    }

    fn takes_any_name(&self) -> bool {
        self.format != "avro"
    }

    async fn remove(&self, asset: &str) -> Result<(), String> {
        std::fs::remove_dir_all(self.dir.path().join(asset)).map_err(|e| format!("{asset}: {e}"))
    }
}

struct CsvFile {
    dir: TempDir,
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(b) => b.to_string(),
        Value::Number(n) => n.clone(),
        Value::Float(bits) => format!("{:?}", from_order_bits(*bits)),
        Value::Date(days) => text::render_date(*days),
        Value::Timestamp(nanos) => text::render_timestamp((nanos / 1000) as i64, false),
        Value::Instant(nanos) => text::render_timestamp((nanos / 1000) as i64, true),
        Value::Text(text) => format!("\"{}\"", text.replace('"', "\"\"")),
        other => unreachable!("the fixture does not write {other}"),
    }
}

#[async_trait]
impl Fixture for CsvFile {
    fn system(&self) -> String {
        "local_file (CSV file)".into()
    }

    fn open(&self, opening: &Opening) -> Result<Arc<dyn Connection>> {
        open(&self.dir, opening, "csv")
    }

    fn asset(&self, name: &str) -> Option<String> {
        Some(format!("{name}.csv"))
    }

    async fn leftovers(&self) -> Result<Vec<String>, String> {
        Ok(leftovers(self.dir.path()))
    }

    async fn remove(&self, asset: &str) -> Result<(), String> {
        std::fs::remove_file(self.dir.path().join(asset)).map_err(|e| format!("{asset}: {e}"))
    }

    fn seeds(&self, field: &Field) -> bool {
        matches!(
            field.data_type(),
            DataType::Int64
                | DataType::Boolean
                | DataType::Float64
                | DataType::Utf8View
                | DataType::Date32
                | DataType::Timestamp(TimeUnit::Microsecond, _)
                | DataType::Decimal128(10, 0)
        )
    }

    async fn seed(&self, asset: &str, batches: &[RecordBatch]) -> Option<Result<(), String>> {
        let schema = batches.first()?.schema();
        let names: Vec<_> = schema.fields().iter().map(|f| f.name().clone()).collect();
        let mut out = format!("{}\n", names.join(","));
        for row in Rows::of(batches).rows {
            out.push_str(&row.iter().map(cell).collect::<Vec<_>>().join(","));
            out.push('\n');
        }
        Some(std::fs::write(self.dir.path().join(asset), out).map_err(|e| e.to_string()))
    }
}

async fn is_a_destination(format: &'static str) {
    let report = conformance::destination(&Folder::of(format)).await;
    let green = report.assert_green();
    assert!(green.is_ok(), "{}", green.err().unwrap_or_default());
}

async fn is_a_source(format: &'static str) {
    let report = conformance::source(&Folder::of(format)).await;
    let green = report.assert_green();
    assert!(green.is_ok(), "{}", green.err().unwrap_or_default());
}

#[tokio::test(flavor = "multi_thread")]
async fn parquet_folder_is_a_destination() {
    is_a_destination("parquet").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn avro_folder_is_a_destination() {
    is_a_destination("avro").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn arrow_folder_is_a_destination() {
    is_a_destination("arrow").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn csv_folder_is_a_destination() {
    is_a_destination("csv").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jsonl_folder_is_a_destination() {
    is_a_destination("jsonl").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parquet_folder_is_a_source() {
    is_a_source("parquet").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn csv_file_is_a_source() {
    let fixture = CsvFile {
        dir: tempfile::tempdir().expect("a folder"),
    };
    let report = conformance::source(&fixture).await;
    report.assert_green().unwrap_or_else(|why| panic!("{why}"));
}
