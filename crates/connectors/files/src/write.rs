//! The writing part: what a target is, whether rows fit it, and how a load begins under its fence.
//!
//! A name with an extension is one file: replaced by an atomic rename. A name without is a folder of parts, published
//! by its manifest. `load` holds what happens between begin and commit, `lane` one writer; nothing is read here but
//! the record and, for an append, the schema of what is there.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use async_trait::async_trait;
use synqx_model::spec::{SchemaPolicy, WriteMode};
use synqx_model::{Code, Error, Result, StreamKey};
use synqx_sdk::annotation::is_uuid;
use synqx_sdk::probe::{Effect, Moment, Protection};
use synqx_sdk::type_names::{parse_type, render_type};
use synqx_sdk::{
    Action, ColumnPath, Committed, Dataset, Delivery, Destination, Env, FenceClaim, FenceKind, Limits, Load,
    Preparation, PublishPath, Receipt, Target,
};

use crate::config::{Format, WriteOptions, is_folder};
use crate::load::{FileLoad, Place, Staging};
use crate::manifest::{self, Manifest, Part};
use crate::place::{Lock, cannot_write, folder_of, remove, replace_file, sync_folder};
use crate::read::{Files, blocking};
use crate::rollback::rollback;
use crate::{assets, avro, fixed, ipc, parquet};

/// What files can and cannot promise.
pub(crate) fn limits() -> Limits {
    Limits {
        identifier_bytes: None,
        case_insensitive: false,
        columns: None,
        transactional_ddl: false,
        modes: vec![WriteMode::Append, WriteMode::Replace],
        parallel_writers: 8,
        concurrent_loads: 64,
        timestamp_digits: 9,
        decimal_digits: Some(76),
        nul_in_text: true,
        fence: FenceKind::LockFile,
        delivery: Delivery::ExactlyOnceByManifest,
    }
}

/// The writing part of a connection.
#[derive(Debug, Clone)]
pub(crate) struct Writing {
    /// The files.
    pub(crate) files: Files,
    /// What the connection was handed.
    pub(crate) env: Env,
    /// Its limits.
    pub(crate) limits: Limits,
}

/// A target, looked at.
pub(crate) struct Look {
    /// Where it is.
    pub(crate) place: Place,
    /// How it is written.
    pub(crate) options: WriteOptions,
    /// What is remembered about it.
    pub(crate) manifest: Option<Manifest>,
    /// Whether the file, or a folder with files, is there.
    exists: bool,
    /// The schema of the files.
    pub(crate) schema: SchemaRef,
    /// For each column of the files the incoming column; none is NULL.
    pub(crate) sources: Vec<Option<usize>>,
    notes: Vec<String>,
}

impl Writing {
    /// The name that decides. Without an asset the connection's own path is the target.
    fn named(&self, asset: &str) -> String {
        if asset.is_empty() {
            self.files.root.to_string_lossy().into_owned()
        } else {
            asset.to_owned()
        }
    }

    fn place(&self, asset: &str) -> Place {
        let path = assets::place(&self.files.root, asset);
        // Without an asset the connection's own path is the target, and its name decides.
        let named = if asset.is_empty() {
            path.to_string_lossy().into_owned()
        } else {
            asset.to_owned()
        };
        if is_folder(&named) {
            Place::parts(path)
        } else {
            Place::file(path)
        }
    }

    /// Looks at a target and checks everything that can be known. Errors, all at once.
    fn look(&self, target: &Target) -> Result<Look> {
        let place = self.place(&target.asset);
        mode_possible(target, &place)?;
        let options = WriteOptions::new(&self.files.config, &self.named(&target.asset), &target.options)?;
        let kind = std::fs::metadata(place.path());
        let exists = match (&place, &kind) {
            (_, Err(cause)) if cause.kind() == std::io::ErrorKind::NotFound => false,
            (_, Err(cause)) => return Err(cannot_write(place.path(), cause)),
            (Place::File { .. }, Ok(found)) if found.is_file() => true,
            (Place::Folder { .. }, Ok(found)) if found.is_dir() => true,
            (_, Ok(_)) => return Err(other_kind(target, &place)),
        };
        if !exists && !target.create {
            return Err(
                Error::new(Code::E0304, format!("`{}` does not exist", target.asset))
                    .with_hint("create it, or leave `create: false` out"),
            );
        }
        let manifest = manifest::read_file(place.record())?;
        let mut wrong = Vec::new();
        let mut look = Look {
            place,
            options,
            manifest,
            exists,
            schema: target.schema.clone(),
            sources: Vec::new(),
            notes: Vec::new(),
        };
        look.sources = (0..target.schema.fields().len()).map(Some).collect();
        refuse_types(&look.options, target, &mut wrong);
        if look.options.format == Format::Fixed {
            wrong.extend(fixed::write::check(&target.schema, &look.options).err());
        }
        if matches!(look.place, Place::Folder { .. }) && exists {
            self.foreign_files(&look, target, &mut wrong)?;
            if target.mode != WriteMode::Replace && wrong.is_empty() {
                self.match_schema(&mut look, target, &mut wrong)?;
            }
        }
        Error::all(wrong).map_or(Ok(look), Err)
    }

    /// Compares the incoming schema with that of the parts that are there.
    fn match_schema(&self, look: &mut Look, target: &Target, wrong: &mut Vec<Error>) -> Result<()> {
        let stored = look
            .manifest
            .as_ref()
            .map(|m| m.columns.clone())
            .unwrap_or_default();
        let format = look.options.format;
        // The manifest's types are what text is read as; JSON says its own.
        let typed =
            format.is_typed() || (!stored.is_empty() && !matches!(format, Format::Json | Format::Jsonl));
        let found = if !stored.is_empty() {
            stored
        } else if look.manifest.as_ref().is_none_or(|m| !m.parts.is_empty()) {
            self.described(look, target)?
        } else {
            return Ok(());
        };
        if found.is_empty() {
            return Ok(());
        }
        match merge(&found, target, (format, typed)) {
            Ok((schema, sources, notes)) => {
                look.schema = schema;
                look.sources = sources;
                look.notes.extend(notes);
            }
            Err(error) => wrong.push(error),
        }
        Ok(())
    }

    /// The columns of the files in a folder; none when it has no files.
    fn described(&self, look: &Look, target: &Target) -> Result<Vec<(String, String)>> {
        // Without a manifest the names say which files are data; with one, its parts are of the format written here.
        let mut options = serde_json::Map::new();
        if look.manifest.is_some() {
            options.insert("format".to_owned(), look.options.format.as_str().into());
        }
        let dataset = Dataset {
            asset: Some(target.asset.clone()),
            query: None,
            options,
            files: None,
        };
        match self.files.describe(&dataset) {
            Ok(table) => Ok(table
                .schema
                .fields()
                .iter()
                .map(|f| (f.name().clone(), render_type(f.data_type())))
                .collect()),
            Err(error) if matches!(error.code(), Code::E0204 | Code::E0409) => Ok(Vec::new()),
            // No name says that it is data; files of other formats were refused before.
            Err(error) if error.code() == Code::E0103 && look.manifest.is_none() => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    fn prepare_blocking(&self, target: &Target, dry: bool) -> Result<Preparation> {
        let look = self.look(target)?;
        let folder = look.place.folder();
        let mut actions = Vec::new();
        if !folder.is_dir() {
            actions.push(Action {
                text: format!("create folder {}", folder.display()),
                when: "prepare",
            });
            if !dry {
                std::fs::create_dir_all(folder).map_err(|cause| cannot_write(folder, &cause))?;
            }
        }
        actions.push(Action {
            text: format!("raise the fence in {}", look.place.record().display()),
            when: "begin",
        });
        let (path, why) = match &look.place {
            Place::File { path, .. } => {
                actions.push(Action {
                    text: format!("write a hidden file and rename it to {}", path.display()),
                    when: "commit",
                });
                (PublishPath::Fresh, "one file is replaced by an atomic rename")
            }
            Place::Folder { .. } => {
                actions.push(Action {
                    text: format!("rename the parts and replace {}", look.place.record().display()),
                    when: "commit",
                });
                (PublishPath::Manifest, "parts count once the manifest lists them")
            }
        };
        let lanes = match look.place {
            Place::File { .. } => 1,
            Place::Folder { .. } => target.lanes.unwrap_or(1).clamp(1, self.limits.parallel_writers),
        };
        Ok(Preparation {
            path,
            why: why.to_owned(),
            lanes,
            raw: false,
            delivery: if path == PublishPath::Fresh {
                Delivery::ExactlyOnce
            } else {
                Delivery::ExactlyOnceByManifest
            },
            actions,
            columns: held(look.options.format, target),
            notes: look.notes,
            fingerprint: look.place.fingerprint().to_owned(),
        })
    }

    fn begin_blocking(&self, target: &Target, prepared: &Preparation, claim: FenceClaim) -> Result<FileLoad> {
        let look = self.look(target)?;
        if look.place.fingerprint() != prepared.fingerprint {
            return Err(other_kind(target, &look.place));
        }
        let folder = look.place.folder();
        std::fs::create_dir_all(folder).map_err(|cause| cannot_write(folder, &cause))?;
        let _lock = Lock::take(&look.place.lock())?;
        let known = look.place.remembered()?;
        let mut manifest = match known {
            Some(manifest) => manifest,
            None => Manifest {
                parts: self.adopted(&look, target)?,
                ..Manifest::default()
            },
        };
        let stored = manifest.fence(&target.stream);
        let fence = match claim {
            FenceClaim::Next => stored + 1,
            FenceClaim::Exact(wanted) if wanted < stored => {
                return Err(Error::new(
                    Code::E0504,
                    format!(
                        "fence {wanted} is older than the {stored} stored for `{}`",
                        target.asset
                    ),
                )
                .with_detail("A newer run of this stream has begun.")
                .with_hint("let the newer run finish; this one has to stop"));
            }
            FenceClaim::Exact(wanted) => wanted,
        };
        let probe = &self.env.probe;
        let record = manifest.stream(&target.stream);
        record.fence = fence;
        record.begun(&target.run.short());
        probe.reach(Effect::Fence, Moment::Before)?;
        replace_file(look.place.record(), &manifest.to_text()?)?;
        probe.reach(Effect::Fence, Moment::After)?;
        probe.reach(Effect::Sweep, Moment::Before)?;
        if probe.protects(Protection::Sweep) {
            sweep(&look.place, &mut manifest, target)?;
        }
        probe.reach(Effect::Sweep, Moment::After)?;
        let committed = manifest.committed(&target.stream);
        let staging = Staging::new(look, target, prepared.lanes, &self.env);
        Ok(FileLoad::new(Arc::new(staging), target.clone(), fence, committed))
    }

    /// Files that were in a folder before SynqX wrote there: they stay part of the table.
    fn adopted(&self, look: &Look, target: &Target) -> Result<Vec<Part>> {
        if !matches!(look.place, Place::Folder { .. }) || !look.exists || target.mode == WriteMode::Replace {
            return Ok(Vec::new());
        }
        let found = self.foreign(look)?;
        Ok(found
            .into_iter()
            .filter(|file| file.format == look.options.format)
            .map(|file| Part {
                name: file.name,
                rows: None,
                bytes: file.bytes,
                run: None,
            })
            .collect())
    }

    /// Data files of a folder that no manifest of ours accounts for. What a reader of this connection would take for
    /// data is data, so the connection's own format counts before the extension.
    fn foreign(&self, look: &Look) -> Result<Vec<Foreign>> {
        let listed: Vec<&Part> = look.manifest.iter().flat_map(Manifest::kept).collect();
        let set = match assets::find(look.place.path(), "") {
            Ok(set) if set.manifest.is_none() => set.files,
            Ok(_) => assets::unlisted(look.place.path())?,
            Err(error) if error.code() == Code::E0204 => Vec::new(),
            Err(error) => return Err(error),
        };
        let ours = |name: &str| listed.iter().any(|part| part.name == name && part.run.is_some());
        let found = set.into_iter().filter_map(|file| {
            let name = assets::below(&file.path, look.place.path());
            let format = self.files.config.format.or_else(|| Format::of_name(&name))?;
            let foreign = !ours(&name) && !is_part(look, &name);
            foreign.then_some(Foreign {
                name,
                bytes: file.stamp.len,
                format,
            })
        });
        Ok(found.collect())
    }

    /// Files of somebody else are not ours to remove, and a first manifest would hide those it cannot list.
    fn foreign_files(&self, look: &Look, target: &Target, wrong: &mut Vec<Error>) -> Result<()> {
        let (own, first) = (look.options.format, look.manifest.is_none());
        let mut found = self.foreign(look)?;
        found.retain(|file| match target.mode {
            // Another format beside our manifest is hidden already, and no reader of the manifest expects it.
            WriteMode::Replace => first || file.format == own,
            _ => first && file.format != own,
        });
        let Some(file) = found.first() else {
            return Ok(());
        };
        let (message, consequence) = match target.mode {
            WriteMode::Replace => (
                format!(
                    "cannot replace the folder `{}`: it holds files that SynqX did not write",
                    target.asset
                ),
                "Replacing would leave them beside the new parts.",
            ),
            _ => (
                format!(
                    "cannot append {} to the folder `{}`: it holds files of another format",
                    own.as_str(),
                    target.asset
                ),
                "The folder's manifest could not list them, so nobody would read them any more.",
            ),
        };
        wrong.push(
            Error::new(Code::E0310, message)
                .with_detail(format!(
                    "There are {}, among them `{}`. {consequence}",
                    found.len(),
                    file.name
                ))
                .with_hint("move them away, or write to a new folder"),
        );
        Ok(())
    }
}

/// A data file of a folder that SynqX did not write.
struct Foreign {
    name: String,
    bytes: u64,
    format: Format,
}

fn mode_possible(target: &Target, place: &Place) -> Result<()> {
    let word = target.mode.as_str();
    match (target.mode, place) {
        (WriteMode::Replace, _) if target.replace.truncate => Err(Error::new(
            Code::E0310,
            format!("`{}` cannot be replaced with `truncate: true`", target.asset),
        )
        .with_detail("Files are replaced as a whole; there is no table that could be emptied.")
        .with_hint("leave `truncate` out")),
        (WriteMode::Replace, _) | (WriteMode::Append, Place::Folder { .. }) => Ok(()),
        (WriteMode::Append, Place::File { .. }) => Err(Error::new(
            Code::E0310,
            format!("cannot append to the single file `{}`", target.asset),
        )
        .with_hint("name a folder instead, such as `out/`, or use `write: replace`")),
        _ => Err(Error::new(
            Code::E0310,
            format!("files cannot be written with `write: {word}`"),
        )
        .with_hint("use `append` to a folder, or `replace`; a database can do the rest")),
    }
}

fn other_kind(target: &Target, place: &Place) -> Error {
    let (wanted, found) = match place {
        Place::File { .. } => ("a file", "a folder"),
        Place::Folder { .. } => ("a folder", "a file"),
    };
    Error::new(Code::E0311, format!("`{}` is {found}, not {wanted}", target.asset))
        .with_detail("A name with an extension is a file; a name that ends with `/` or has no extension is a folder of parts.")
        .with_hint("remove what is there, or choose another name")
}

/// The type of a column as the manifest notes it: what the parts are read as. Text that would not give a value of the
/// type back as it was written is noted as text.
pub(crate) fn noted(format: Format, field: &Field) -> String {
    use DataType::{Date64, Decimal32, Decimal64, Decimal128, Decimal256, Duration, Interval, Null, Time64};
    let data_type = field.data_type();
    let as_text = match data_type {
        Null | Date64 | Duration(_) | Interval(_) | Time64(TimeUnit::Nanosecond) => true,
        Decimal32(_, scale) | Decimal64(_, scale) | Decimal128(_, scale) | Decimal256(_, scale) => *scale < 0,
        _ => is_uuid(field),
    };
    if as_text && !format.is_typed() {
        "text".to_owned()
    } else {
        render_type(data_type)
    }
}

/// How a file holds each column: as its own types where the format has types, else as text.
fn held(format: Format, target: &Target) -> Vec<ColumnPath> {
    let typed = format.is_typed();
    let path = |field: &FieldRef| {
        let own = if typed {
            render_type(field.data_type())
        } else {
            "text".to_owned()
        };
        ColumnPath::of(field, own, !typed, None)
    };
    target.schema.fields().iter().map(path).collect()
}

/// Types that the format cannot hold.
fn refuse_types(options: &WriteOptions, target: &Target, wrong: &mut Vec<Error>) {
    for field in target.schema.fields() {
        let refused = match options.format {
            Format::Parquet => parquet::write::refusal(field.data_type()),
            Format::Avro => avro::write::refusal(field),
            Format::Arrow => ipc::write::refusal(field.data_type()),
            _ => match field.data_type() {
                DataType::Union(..) => Some((Code::E0407, "text has no form for it")),
                _ => None,
            },
        };
        if let Some((code, why)) = refused {
            let word = render_type(field.data_type());
            wrong.push(
                Error::new(
                    code,
                    format!(
                        "column `{}` ({word}) cannot be written as {}",
                        field.name(),
                        options.format.as_str()
                    ),
                )
                .with_detail(format!("{why}."))
                .with_hint(format!(
                    "cast it, such as `cast: {{ columns: {{ {}: text }} }}`",
                    field.name()
                )),
            );
        }
    }
}

/// Whether a name is a leftover part of a run that is on record.
fn is_part(look: &Look, name: &str) -> bool {
    let runs = look
        .manifest
        .iter()
        .flat_map(|m| m.streams.values())
        .flat_map(|record| &record.runs);
    runs.into_iter()
        .any(|run| name.starts_with(&format!("part-{run}-")))
}

type Merged = (SchemaRef, Vec<Option<usize>>, Vec<String>);

/// The schema to write so that it fits the parts that are there. Errors: `E0405` with every difference.
/// The types of formats that hold none may be `known` nevertheless.
fn merge(found: &[(String, String)], target: &Target, (format, known): (Format, bool)) -> Result<Merged> {
    let typed = format.is_typed();
    let mut differences = Vec::new();
    let (mut fields, mut sources, mut notes): (Vec<Arc<Field>>, Vec<Option<usize>>, Vec<String>) =
        Default::default();
    for (name, word) in found {
        match target.schema.fields().iter().position(|f| f.name() == name) {
            Some(index) => {
                let field = &target.schema.fields()[index];
                let own = noted(format, field);
                if known && own != *word {
                    differences.push(format!("`{name}` is {word} there and {own} here"));
                }
                fields.push(field.clone());
                sources.push(Some(index));
            }
            None if target.policy == SchemaPolicy::Strict => {
                differences.push(format!("`{name}` ({word}) is missing here"))
            }
            None => {
                notes.push(format!(
                    "column `{name}` is not among the incoming ones and stays NULL"
                ));
                let data_type = parse_type(word).unwrap_or(DataType::Utf8View);
                fields.push(Arc::new(Field::new(name, data_type, true)));
                sources.push(None);
            }
        }
    }
    for (index, field) in target.schema.fields().iter().enumerate() {
        if found.iter().any(|(name, _)| name == field.name()) {
            continue;
        }
        match target.policy {
            SchemaPolicy::Ignore => notes.push(format!(
                "column `{}` is not in the folder and is left out",
                field.name()
            )),
            SchemaPolicy::Evolve if typed => {
                notes.push(format!(
                    "column `{}` is new; parts without it read as NULL",
                    field.name()
                ));
                fields.push(field.clone());
                sources.push(Some(index));
            }
            _ => differences.push(format!(
                "`{}` ({}) is not there",
                field.name(),
                render_type(field.data_type())
            )),
        }
    }
    if differences.is_empty() && sources.iter().all(Option::is_none) {
        differences.push("the load and the folder have no column in common".to_owned());
    }
    if differences.is_empty() {
        return Ok((Arc::new(Schema::new(fields)), sources, notes));
    }
    Err(Error::new(Code::E0405, format!("the columns differ from those of the files in `{}`", target.asset))
        .with_detail(format!("{}.", differences.join("; ")))
        .with_hint(match (target.policy, typed) {
            (SchemaPolicy::Strict, true) => "set `schema: evolve` to add columns, `schema: ignore` to load what both sides have, or cast before the load",
            (SchemaPolicy::Strict, false) => "set `schema: ignore` to load what both sides have, or select and cast them as they are there before the load",
            _ => "cast the columns before the load, or write to a new folder",
        }))
}

/// Removes what earlier runs of the stream left behind: staging, parts no manifest lists, parts that were replaced.
fn sweep(place: &Place, manifest: &mut Manifest, target: &Target) -> Result<()> {
    let folder = place.folder();
    let mut removed = false;
    let runs = manifest.stream(&target.stream).runs.clone();
    let gone = |path: PathBuf| remove(&path);
    for run in &runs {
        if let Place::File { path, .. } = place {
            removed |= gone(Place::staging(path, run))?;
        }
    }
    if matches!(place, Place::Folder { .. }) {
        let obsolete = std::mem::take(&mut manifest.obsolete);
        for name in obsolete
            .iter()
            .filter(|name| !manifest.kept().any(|part| part.name == **name))
        {
            removed |= gone(folder.join(name))?;
        }
        let entries = std::fs::read_dir(folder).map_err(|cause| cannot_write(folder, &cause))?;
        for entry in entries {
            let entry = entry.map_err(|cause| cannot_write(folder, &cause))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let of_run = |run: &String| {
                name.starts_with(&format!("part-{run}-")) || name.starts_with(&format!(".part-{run}-"))
            };
            if runs.iter().any(of_run) && !manifest.kept().any(|part| part.name == name) {
                removed |= gone(entry.path())?;
            }
        }
    }
    if removed {
        sync_folder(folder_of(place.record()))
    } else {
        Ok(())
    }
}

#[async_trait]
impl Destination for Writing {
    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn location(&self, asset: &str) -> Option<PathBuf> {
        let place = self.place(asset);
        Some(assets::canonical(place.path()))
    }

    async fn committed(&self, asset: &str, stream: &StreamKey) -> Result<Option<Committed>> {
        let (place, stream) = (self.place(asset), stream.clone());
        blocking(move || {
            let manifest = place.remembered()?;
            Ok(manifest.and_then(|manifest| manifest.committed(&stream)))
        })
        .await
    }

    async fn prepare(&self, target: &Target, dry: bool) -> Result<Preparation> {
        let (writing, target) = (self.clone(), target.clone());
        blocking(move || writing.prepare_blocking(&target, dry)).await
    }

    async fn begin(
        &self,
        target: &Target,
        prepared: &Preparation,
        claim: FenceClaim,
    ) -> Result<Box<dyn Load>> {
        let (writing, target, prepared) = (self.clone(), target.clone(), prepared.clone());
        let load = blocking(move || writing.begin_blocking(&target, &prepared, claim)).await?;
        Ok(Box::new(load))
    }

    async fn rollback(&self, target: &Target) -> Result<Receipt> {
        let (place, target) = (self.place(&target.asset), target.clone());
        let probe = Arc::clone(&self.env.probe);
        blocking(move || rollback(&place, &target, probe.as_ref())).await
    }
}
