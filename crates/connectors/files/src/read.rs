//! The reading part: what an asset looks like, how a scan is split, and the thread that reads a partition.
//!
//! A partition reads some files, for Parquet ranges of row groups, one after another; `pack` says which. A description
//! infers types once; reading uses the types of the description, so plan and run agree. Formats are parsed in their own
//! folders.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, UInt32Array, new_null_array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use synqx_model::spec::PartitionBy;
use synqx_model::{Code, Error, Result};
use synqx_sdk::lane::{Sender, spawn_reader};
use synqx_sdk::{
    Acceptance, BatchStream, Budget, Dataset, NewFiles, Partition, Predicate, ReadPlan, Reader, Scan, Source,
    TableSchema,
};

use crate::assets::{self, Entry, FileSet};
use crate::config::{Config, Drift, Format, ReadOptions};
use crate::content::Opened;
use crate::csv::cells;
use crate::csv::dialect::Dialect;
use crate::csv::infer::Evidence;
use crate::csv::number::SharedWays;
use crate::describe::{FORMAT, describe_files};
use crate::format::{agree, of_content, unknown_format};
use crate::pack::pack;
use crate::{avro, csv, fixed, ipc, json, parquet, track, xlsx, xml};

/// What the beginning of a text file shows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sample {
    /// Columns in order with the evidence of their cells.
    pub(crate) columns: Vec<(String, Evidence)>,
    /// Rows looked at.
    pub(crate) rows: u64,
    /// Bytes of text looked at.
    pub(crate) bytes: u64,
    /// Whether that is the whole file.
    pub(crate) whole: bool,
}

/// One file to read, or a part of it.
#[derive(Debug, Clone)]
pub(crate) struct FileTask {
    /// The file.
    pub(crate) entry: Entry,
    /// Its format.
    pub(crate) format: Format,
    /// Row groups to read; all when absent.
    pub(crate) groups: Option<Vec<usize>>,
    /// The document's options.
    pub(crate) options: Arc<ReadOptions>,
    /// The columns the file is expected to have.
    pub(crate) columns: Vec<String>,
    /// Wanted columns that are in the file.
    pub(crate) file_schema: SchemaRef,
    /// Wanted columns, those of folders too.
    pub(crate) schema: SchemaRef,
    /// How doubles are written in each column of delimited text, over all files that are read together.
    pub(crate) ways: Arc<HashMap<String, SharedWays>>,
    /// The file may lack columns that others have.
    pub(crate) lenient: bool,
    /// No more rows are needed.
    pub(crate) limit: Option<u64>,
    /// The run's memory.
    pub(crate) budget: Budget,
}

impl FileTask {
    /// A task that only looks at a file.
    pub(crate) fn look(entry: &Entry, format: Format, options: &Arc<ReadOptions>, budget: &Budget) -> Self {
        let none: SchemaRef = Arc::new(Schema::empty());
        FileTask {
            entry: entry.clone(),
            format,
            groups: None,
            options: options.clone(),
            columns: Vec::new(),
            file_schema: none.clone(),
            schema: none,
            ways: Arc::default(),
            lenient: options.drift == Drift::Union,
            limit: None,
            budget: budget.clone(),
        }
    }

    /// Adds the columns that the file's folders stand for.
    pub(crate) fn complete(&self, batch: RecordBatch) -> Result<RecordBatch> {
        let rows = batch.num_rows();
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(self.schema.fields().len());
        for field in self.schema.fields() {
            match batch.column_by_name(field.name()) {
                Some(array) => arrays.push(array.clone()),
                None if self.lenient && !self.in_path(field.name()) => {
                    arrays.push(new_null_array(field.data_type(), rows));
                }
                None => arrays.push(self.constant(field, rows)?),
            }
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options)
            .map_err(|cause| Error::bug("cannot add the columns of folders to a batch").with_cause(&cause))
    }

    /// Whether the file's folders stand for a column.
    fn in_path(&self, name: &str) -> bool {
        self.entry.keys.iter().any(|(key, _)| key == name)
    }

    fn constant(&self, field: &Field, rows: usize) -> Result<ArrayRef> {
        let text = self
            .entry
            .keys
            .iter()
            .find(|(name, _)| name == field.name())
            .and_then(|(_, text)| text.as_deref());
        let dialect = Dialect::new(Format::Csv, &Default::default())?;
        let value = cells::single(text, field.name(), field.data_type(), &dialect)?.ok_or_else(|| {
            let word = synqx_sdk::type_names::render_type(field.data_type());
            Error::new(
                Code::E0208,
                format!(
                    "the folder of `{}` does not fit column `{}` ({word})",
                    self.entry.label,
                    field.name()
                ),
            )
            .with_hint(format!(
                "declare the type with `options: {{ columns: {{ {}: text }} }}`",
                field.name()
            ))
        })?;
        arrow::compute::take(&value, &UInt32Array::from(vec![0; rows]), None)
            .map_err(|cause| Error::bug("cannot repeat the value of a folder").with_cause(&cause))
    }
}

/// What a partition's `spec` says.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Piece {
    entry: Entry,
    format: Format,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    groups: Option<Vec<usize>>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    lenient: bool,
}

/// The reading part of a connection.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    /// The configuration.
    pub(crate) config: Arc<Config>,
    /// The folder, or the file.
    pub(crate) root: PathBuf,
    /// The run's memory.
    pub(crate) budget: Budget,
}

impl Files {
    /// Finds the files of an asset and the format they share.
    pub(crate) fn find(&self, dataset: &Dataset) -> Result<(FileSet, Format, Arc<ReadOptions>)> {
        if dataset.query.is_some() {
            return Err(Error::new(Code::E0103, "files cannot be read with a query")
                .with_hint("name the file with `asset:` and put the query into a `sql` node"));
        }
        let options = Arc::new(ReadOptions::new(&self.config, &dataset.options)?);
        let asset = dataset.asset.as_deref().unwrap_or("");
        let mut set = assets::find(&self.root, asset)?;
        let format = one_format(&mut set, &options, asset)?;
        if let Some(range) = &dataset.files {
            track::narrow(&mut set, range)?;
        }
        for file in &set.files {
            agree(&file.path, &file.label, format)?;
        }
        Ok((set, format, options))
    }

    /// Describes an asset.
    pub(crate) fn describe(&self, dataset: &Dataset) -> Result<TableSchema> {
        let (set, format, options) = self.find(dataset)?;
        describe_files(&set, format, &options, &self.budget)
    }

    /// The files of an asset against a mark.
    fn new_files_blocking(&self, dataset: &Dataset, after: Option<&str>) -> Result<NewFiles> {
        let options = ReadOptions::new(&self.config, &dataset.options)?;
        let asset = dataset.asset.as_deref().unwrap_or("");
        let mut set = assets::find(&self.root, asset)?;
        one_format(&mut set, &options, asset)?;
        track::mark(&set, after, options.rewritten)
    }

    fn plan_blocking(&self, scan: &Scan) -> Result<ReadPlan> {
        let (set, format, options) = self.find(&scan.dataset)?;
        let schema = wanted(&scan.table.schema, &scan.columns)?;
        let mut notes = Vec::new();
        let (mut pieces, mut rows, mut kept) = (Vec::new(), Some(0u64), (0usize, 0usize));
        for entry in &set.files {
            let whole = Piece {
                entry: entry.clone(),
                format,
                groups: None,
                lenient: options.drift == Drift::Union || set.manifest.is_some(),
            };
            if format != Format::Parquet {
                pieces.push((whole, entry.stamp.len));
                rows = None;
                continue;
            }
            let task = FileTask::look(entry, format, &options, &self.budget);
            let layout = parquet::read::layout(&task, &scan.predicates)?;
            kept = (kept.0 + layout.kept.len(), kept.1 + layout.groups);
            rows = rows.map(|sum| sum + layout.rows);
            for (groups, bytes) in layout.ranges(scan.parallel, set.files.len()) {
                let groups = Some(groups);
                pieces.push((
                    Piece {
                        groups,
                        ..whole.clone()
                    },
                    bytes,
                ));
            }
        }
        if kept.0 < kept.1 {
            notes.push(format!(
                "{} of {} row groups are read, the others cannot hold rows that pass",
                kept.0, kept.1
            ));
        }
        let partitions = match &scan.partition {
            PartitionBy::Column(_) => {
                return Err(Error::new(Code::E0103, "files cannot be split by a column")
                    .with_hint("write `partition: auto` or `partition: none`"));
            }
            PartitionBy::None => vec![partition(pieces.into_iter().map(|(piece, _)| piece).collect())?],
            PartitionBy::Auto => pack(pieces, scan.parallel)
                .into_iter()
                .map(partition)
                .collect::<Result<_>>()?,
        };
        let pushed = scan
            .predicates
            .iter()
            .map(|p| format!("row groups by {p}"))
            .collect();
        let bytes = set.files.iter().map(|f| f.stamp.len).sum();
        Ok(ReadPlan {
            schema,
            partitions,
            statement: scan.dataset.label().to_owned(),
            pushed,
            limited: false,
            rows,
            bytes: Some(bytes),
            notes,
        })
    }
}

fn partition(pieces: Vec<Piece>) -> Result<Partition> {
    let mut labels: Vec<String> = pieces.iter().map(label).collect();
    if labels.len() > 3 {
        labels = vec![labels[0].clone(), format!("… {} more", labels.len() - 1)];
    }
    let spec = serde_json::to_string(&pieces)
        .map_err(|cause| Error::bug("cannot render a partition").with_cause(&cause))?;
    Ok(Partition {
        label: labels.join(", "),
        spec,
    })
}

fn label(piece: &Piece) -> String {
    match piece.groups.as_deref() {
        Some([first, .., last]) => format!("{}, row groups {first}–{last}", piece.entry.label),
        Some([only]) => format!("{}, row group {only}", piece.entry.label),
        _ => piece.entry.label.clone(),
    }
}

/// The format every file of the set has; files of no known format are left out and noted. Errors: `E0103`.
fn one_format(set: &mut FileSet, options: &ReadOptions, asset: &str) -> Result<Format> {
    if let Some(format) = options
        .format
        .or(options.fields.is_some().then_some(Format::Fixed))
    {
        return Ok(format);
    }
    if let [only] = set.files.as_slice() {
        let named = Format::of_name(&only.path.to_string_lossy());
        if let Some(format) = named {
            return Ok(format);
        }
        let found = of_content(&only.path, &only.label)?.ok_or_else(|| unknown_format(&only.label))?;
        set.notes.push(format!(
            "`{}` is read as {}, as its content says",
            only.label,
            found.as_str()
        ));
        return Ok(found);
    }
    let before = set.files.len();
    let mut formats = Vec::new();
    set.files.retain(|file| {
        Format::of_name(&file.label).is_some_and(|format| {
            if !formats.contains(&format) {
                formats.push(format);
            }
            true
        })
    });
    if set.files.len() < before {
        set.notes.push(format!(
            "{} file(s) of unknown format are left out",
            before - set.files.len()
        ));
    }
    match formats.as_slice() {
        [one] => Ok(*one),
        [] if set.manifest.is_some() => Ok(Format::Parquet),
        [] => Err(unknown_format(asset)),
        several => {
            let words: Vec<_> = several.iter().map(|f| f.as_str()).collect();
            Err(Error::new(
                Code::E0103,
                format!("`{asset}` holds files of several formats: {}", words.join(", ")),
            )
            .with_hint(format!(
                "read one format with a pattern, such as `{}/*.{}`",
                asset.trim_end_matches('/'),
                words[0]
            )))
        }
    }
}

/// The wanted columns of a schema, in the wanted order. Errors: `E0401`.
fn wanted(schema: &SchemaRef, columns: &[String]) -> Result<SchemaRef> {
    let mut fields = Vec::with_capacity(columns.len());
    for name in columns {
        let (_, field) = schema.fields().find(name).ok_or_else(|| {
            let names = schema.fields().iter().map(|f| f.name().as_str());
            Error::new(Code::E0401, format!("there is no column `{name}`"))
                .with_hint(synqx_model::nearest::did_you_mean(name, names))
        })?;
        fields.push(field.clone());
    }
    Ok(Arc::new(Schema::new(fields)))
}

#[async_trait]
impl Source for Files {
    fn accepts(&self, table: &TableSchema, predicate: &Predicate) -> Acceptance {
        match table.schema.metadata().get(FORMAT).map(String::as_str) {
            Some("parquet") => parquet::prune::accepts(&table.schema, predicate),
            _ => Acceptance::No,
        }
    }

    async fn new_files(&self, dataset: &Dataset, after: Option<&str>) -> Result<Option<NewFiles>> {
        let (files, dataset, after) = (self.clone(), dataset.clone(), after.map(str::to_owned));
        blocking(move || files.new_files_blocking(&dataset, after.as_deref()).map(Some)).await
    }

    async fn finds(&self, dataset: &Dataset, place: &Path, replaces: bool) -> Result<bool> {
        assets::finds(
            &self.root,
            dataset.asset.as_deref().unwrap_or(""),
            place,
            replaces,
        )
    }

    async fn plan(&self, scan: &Scan) -> Result<ReadPlan> {
        let (files, scan) = (self.clone(), scan.clone());
        blocking(move || files.plan_blocking(&scan)).await
    }

    async fn open(&self, scan: &Scan, plan: &ReadPlan) -> Result<Box<dyn Reader>> {
        let mut partitions = Vec::with_capacity(plan.partitions.len());
        for partition in &plan.partitions {
            let pieces: Vec<Piece> = serde_json::from_str(&partition.spec)
                .map_err(|cause| Error::bug("cannot read back a partition").with_cause(&cause))?;
            partitions.push(pieces);
        }
        let options = Arc::new(ReadOptions::new(&self.config, &scan.dataset.options)?);
        // A limit counts rows that pass; with predicates that are only narrowed here, it cannot be applied.
        let limit = scan.limit.filter(|_| scan.predicates.is_empty());
        let (table, schema, budget) = (
            scan.table.schema.clone(),
            plan.schema.clone(),
            self.budget.clone(),
        );
        let doubles = schema
            .fields()
            .iter()
            .filter(|f| *f.data_type() == DataType::Float64);
        let ways: Arc<HashMap<_, _>> = Arc::new(
            doubles
                .map(|f| (f.name().clone(), SharedWays::default()))
                .collect(),
        );
        let tasks = blocking(move || {
            let make = |piece: Piece| {
                let ways = ways.clone();
                task(piece, &table, &schema, &options, &budget).map(|task| FileTask { limit, ways, ..task })
            };
            partitions
                .into_iter()
                .map(|pieces| pieces.into_iter().map(make).collect())
                .collect::<Result<Vec<_>>>()
        })
        .await?;
        Ok(Box::new(OpenFiles {
            tasks,
            budget: self.budget.clone(),
        }))
    }
}

/// A piece with everything needed to read it. Errors: `E0215` when the file is not as planned.
fn task(
    piece: Piece,
    table: &SchemaRef,
    schema: &SchemaRef,
    options: &Arc<ReadOptions>,
    budget: &Budget,
) -> Result<FileTask> {
    let Piece {
        entry,
        format,
        groups,
        lenient,
    } = piece;
    let now = std::fs::metadata(&entry.path).map(|m| crate::content::Stamp::of(&m));
    if now.ok() != Some(entry.stamp) {
        return Err(Error::new(
            Code::E0215,
            format!("`{}` is not the file the read was planned with", entry.label),
        )
        .with_detail("It was changed, replaced or removed since.")
        .with_hint("run again when nobody writes to it"));
    }
    let in_path = |name: &str| entry.keys.iter().any(|(key, _)| key == name);
    let fields: Vec<_> = schema
        .fields()
        .iter()
        .filter(|f| !in_path(f.name()))
        .cloned()
        .collect();
    let columns = table
        .fields()
        .iter()
        .map(|f| f.name().clone())
        .filter(|name| !in_path(name))
        .collect();
    Ok(FileTask {
        columns,
        file_schema: Arc::new(Schema::new(fields)),
        schema: schema.clone(),
        format,
        groups,
        options: options.clone(),
        ways: Arc::default(),
        lenient,
        limit: None,
        budget: budget.clone(),
        entry,
    })
}

struct OpenFiles {
    tasks: Vec<Vec<FileTask>>,
    budget: Budget,
}

#[async_trait]
impl Reader for OpenFiles {
    async fn read(&self, partition: usize) -> Result<BatchStream> {
        let tasks = self
            .tasks
            .get(partition)
            .cloned()
            .ok_or_else(|| Error::bug("there is no such partition"))?;
        let capacity = self.budget.batch_target() * 2;
        Ok(spawn_reader(&self.budget, capacity, move |sender| {
            for task in &tasks {
                if !read_file(task, sender)? {
                    break;
                }
            }
            Ok(())
        }))
    }
}

/// Reads one file. `false` when nobody listens any more, so the next file need not be opened.
fn read_file(task: &FileTask, sender: &Sender) -> Result<bool> {
    let opened = Opened::new(&task.entry.path, &task.entry.label)?;
    if opened.stamp != task.entry.stamp {
        return Err(crate::content::changed(&task.entry.label));
    }
    match task.format {
        Format::Csv | Format::Tsv => csv::read::read(task, opened, sender),
        Format::Jsonl | Format::Json => json::read::read(task, opened, sender),
        Format::Parquet => {
            // Its decoder panics over a dictionary page that is not there.
            crate::content::contained(&task.entry.label, || parquet::read::read(task, opened, sender))
        }
        Format::Avro => avro::read::read(task, &opened, sender),
        Format::Arrow => ipc::read::read(task, &opened, sender),
        Format::Xlsx => xlsx::read::read(task, &opened, sender),
        Format::Xml => xml::read::read(task, opened, sender),
        Format::Fixed => fixed::read::read(task, opened, sender),
    }
}

/// Runs blocking work on a thread made for it.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(failure) => Err(Error::bug(format!("a thread for file work stopped: {failure}"))),
    }
}

/// The types readers of this house produce for a type of a file.
pub(crate) fn house_type(data_type: &DataType) -> DataType {
    retyped(data_type, &|flat| match flat {
        DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
        DataType::Binary | DataType::LargeBinary => DataType::BinaryView,
        other => other.clone(),
    })
}

/// A type with its flat types exchanged, inside lists, structs and maps as well, and without dictionaries.
pub(crate) fn retyped(data_type: &DataType, flat: &dyn Fn(&DataType) -> DataType) -> DataType {
    let inner = |field: &Arc<Field>| {
        let data_type = retyped(field.data_type(), flat);
        Arc::new(field.as_ref().clone().with_data_type(data_type))
    };
    match data_type {
        DataType::Dictionary(_, value) => retyped(value, flat),
        DataType::List(field) => DataType::List(inner(field)),
        DataType::LargeList(field) => DataType::LargeList(inner(field)),
        DataType::FixedSizeList(field, n) => DataType::FixedSizeList(inner(field), *n),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(inner).collect()),
        DataType::Map(field, sorted) => DataType::Map(inner(field), *sorted),
        other => flat(other),
    }
}
