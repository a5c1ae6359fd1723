//! What an asset looks like: its columns and types, inferred from text or taken from Parquet footers.
//!
//! Inference looks at 10 MiB of text, spread over the first files of a set, and says so in a note. Declared types
//! win; a folder with a manifest knows its types. Nothing here reads a whole file.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use synqx_model::nearest::did_you_mean;
use synqx_model::size::human_bytes;
use synqx_model::{Code, Error, Result};
use synqx_sdk::type_names::parse_type;
use synqx_sdk::{Budget, TableSchema};

use crate::assets::FileSet;
use crate::config::{Drift, Format, ReadOptions};
use crate::csv::infer::Evidence;
use crate::read::{FileTask, Sample};
use crate::{avro, csv, drift, fixed, ipc, json, parquet, xlsx, xml};

/// The schema's metadata key that names the format.
pub(crate) const FORMAT: &str = "synqx.format";
/// Bytes of text types are inferred from.
pub(crate) const SAMPLE: u64 = 10 << 20;
/// Files of a set that are looked at.
const FILES: usize = 32;

/// Describes the files of an asset. Errors: `E0401`, `E0406`, `E0409`, `E02xx`.
pub(crate) fn describe_files(
    set: &FileSet,
    format: Format,
    options: &Arc<ReadOptions>,
    budget: &Budget,
) -> Result<TableSchema> {
    let looks: Vec<FileTask> = set
        .files
        .iter()
        .map(|entry| FileTask {
            lenient: options.drift == Drift::Union || set.manifest.is_some(),
            ..FileTask::look(entry, format, options, budget)
        })
        .collect();
    let mut table = match format {
        _ if set.files.is_empty() => known_columns(set, options),
        Format::Csv | Format::Tsv => texts(set, &looks, options, csv::read::sample)?,
        Format::Fixed => texts(set, &looks, options, fixed::read::sample)?,
        Format::Xml => texts(set, &looks, options, xml::read::sample)?,
        Format::Xlsx => texts(set, &looks, options, xlsx::read::sample)?,
        Format::Jsonl | Format::Json => json::infer::describe(&looks, options)?,
        Format::Parquet => drift::describe(&filled(&looks), parquet::read::look)?,
        Format::Avro => drift::describe(&filled(&looks), avro::read::look)?,
        Format::Arrow => drift::describe(&filled(&looks), ipc::read::look)?,
    };
    let (keys, mut key_notes) = path_columns(set, options)?;
    let mut fields: Vec<Arc<Field>> = table.schema.fields().iter().cloned().collect();
    for key in keys {
        // A column of the folders wins over one of the same name in the file, as everywhere else.
        fields.retain(|field| field.name() != key.name());
        fields.push(Arc::new(key));
    }
    declared_exist(&fields, options)?;
    if fields.is_empty() {
        return Err(no_columns(set));
    }
    let metadata = HashMap::from([(FORMAT.to_owned(), format.as_str().to_owned())]);
    table.schema = Arc::new(Schema::new_with_metadata(fields, metadata));
    table.identity.clone_from(&set.identity);
    table.bytes = Some(set.files.iter().map(|file| file.stamp.len).sum());
    table.notes.append(&mut key_notes);
    table.notes.extend(set.notes.iter().cloned());
    Ok(table)
}

/// The columns of a folder whose manifest lists no part.
fn known_columns(set: &FileSet, options: &ReadOptions) -> TableSchema {
    let known = set.manifest.iter().flat_map(|manifest| &manifest.columns);
    let typed = |name: &str, word: &str| {
        options
            .declared(name)
            .cloned()
            .or_else(|| parse_type(word).ok())
            .unwrap_or(DataType::Utf8View)
    };
    let fields: Vec<_> = known
        .map(|(name, word)| Field::new(name, typed(name, word), true))
        .collect();
    TableSchema {
        rows: Some(0),
        rows_at_most: Some(0),
        ..TableSchema::of(Arc::new(Schema::new(fields)), "")
    }
}

fn declared_exist(fields: &[Arc<Field>], options: &ReadOptions) -> Result<()> {
    let names = || fields.iter().map(|f| f.name().as_str());
    let unknown = options
        .columns
        .iter()
        .filter(|(name, _)| !names().any(|n| n == name))
        .map(|(name, _)| {
            Error::new(
                Code::E0401,
                format!("`columns:` declares `{name}`, which the file does not have"),
            )
            .with_hint(did_you_mean(name, names()))
        });
    Error::all(unknown).map_or(Ok(()), Err)
}

fn no_columns(set: &FileSet) -> Error {
    let label = set.files.first().map_or("the folder", |file| file.label.as_str());
    Error::new(
        Code::E0409,
        format!("`{label}` is empty, so its columns are not known"),
    )
    .with_hint("declare them with `options: { columns: { id: bigint, name: text } }`, or leave the file out")
}

/// Columns that folders such as `year=2024` stand for, typed over all their values.
fn path_columns(set: &FileSet, options: &ReadOptions) -> Result<(Vec<Field>, Vec<String>)> {
    let mut keys: Vec<(String, Evidence)> = Vec::new();
    for (name, text) in set.files.iter().flat_map(|file| &file.keys) {
        let index = match keys.iter().position(|(known, _)| known == name) {
            Some(index) => index,
            None => {
                keys.push((name.clone(), Evidence::default()));
                keys.len() - 1
            }
        };
        match text {
            Some(text) => keys[index].1.text(text),
            None => keys[index].1.null(),
        }
    }
    for file in &set.files {
        if let Some((name, _)) = keys
            .iter()
            .find(|(name, _)| !file.keys.iter().any(|(key, _)| key == name))
        {
            return Err(Error::new(
                Code::E0206,
                format!(
                    "`{}` is not in a folder `{name}=…` like the other files",
                    file.label
                ),
            )
            .with_hint("move it, or read it in an extract of its own"));
        }
    }
    let fields: Vec<_> = keys
        .into_iter()
        .map(|(name, evidence)| {
            let data_type = options
                .declared(&name)
                .cloned()
                .unwrap_or_else(|| evidence.decide().0);
            Field::new(name, data_type, true)
        })
        .collect();
    let notes = if fields.is_empty() {
        Vec::new()
    } else {
        let names: Vec<_> = fields.iter().map(|f| format!("`{}`", f.name())).collect();
        vec![format!("taken from folder names: {}", names.join(", "))]
    };
    Ok((fields, notes))
}

/// The files that are not empty, if there are any: an empty file has no columns and no rows.
fn filled(looks: &[FileTask]) -> Vec<FileTask> {
    looks
        .iter()
        .filter(|look| look.entry.stamp.len > 0)
        .cloned()
        .collect()
}

/// What the beginnings of the first files show together, and how many of them have other columns. Errors: `E0206`.
fn samples(looks: &[FileTask], sampler: Sampler) -> Result<(Sample, usize)> {
    let share = SAMPLE / (looks.len().clamp(1, FILES) as u64);
    let mut sum = Sample {
        whole: looks.len() <= FILES,
        ..Sample::default()
    };
    let mut first: Option<&str> = None;
    let mut lacking = 0usize;
    for look in looks.iter().take(FILES) {
        let sample = sampler(look, share)?;
        if sample.columns.is_empty() {
            sum.whole &= sample.whole;
            continue;
        }
        sum = match first {
            None => Sample {
                whole: sum.whole && sample.whole,
                ..sample
            },
            Some(other) => {
                lacking += usize::from(!same_names(&sum, &sample));
                merge(sum, sample, (other, look))?
            }
        };
        first.get_or_insert(&look.entry.label);
    }
    Ok((sum, lacking))
}

/// Looks at the beginning of a file.
type Sampler = fn(&FileTask, u64) -> Result<Sample>;

fn texts(set: &FileSet, looks: &[FileTask], options: &ReadOptions, sampler: Sampler) -> Result<TableSchema> {
    let (sum, lacking) = samples(looks, sampler)?;
    let known = set
        .manifest
        .as_ref()
        .map(|m| m.columns.as_slice())
        .unwrap_or_default();
    let known = |name: &str| {
        known
            .iter()
            .find(|(n, _)| n == name)
            .and_then(|(_, word)| parse_type(word).ok())
    };
    let mut notes = Vec::new();
    let mut fields = Vec::new();
    let mut inferred = 0;
    if lacking > 0 {
        notes.push(format!(
            "{lacking} of {} files have other columns; what a file lacks is NULL there",
            looks.len()
        ));
    }
    let sheet = looks.first().is_some_and(|look| look.format == Format::Xlsx);
    for (name, evidence) in sum.columns {
        let data_type = options
            .declared(&name)
            .cloned()
            .or_else(|| known(&name))
            .unwrap_or_else(|| {
                inferred += 1;
                let (data_type, note) = if sheet {
                    evidence.decide_cells()
                } else {
                    evidence.decide()
                };
                notes.extend(note.map(|note| format!("column `{name}` {note}")));
                match evidence.repeated {
                    true => DataType::List(Arc::new(Field::new("item", data_type, true))),
                    false => data_type,
                }
            });
        fields.push(Field::new(name, data_type, true));
    }
    if fields.is_empty() {
        fields.extend(
            options
                .columns
                .iter()
                .map(|(name, data_type)| Field::new(name, data_type.clone(), true)),
        );
    }
    if inferred > 0 {
        let rows = if sum.whole {
            format!("all {} rows", sum.rows)
        } else {
            format!("the first {} rows ({})", sum.rows, human_bytes(sum.bytes))
        };
        notes.insert(
            0,
            format!("the types of {inferred} column(s) are inferred from {rows}"),
        );
    }
    let mut table = TableSchema::of(Arc::new(Schema::new(fields)), "");
    table.rows = match (sum.whole, sum.bytes) {
        (true, _) => Some(sum.rows),
        (false, 1..) => estimate(set, sum.rows, sum.bytes),
        _ => None,
    };
    table.rows_at_most = sum.whole.then_some(sum.rows);
    table.notes = notes;
    Ok(table)
}

/// Rows by size, for files that are not packed.
fn estimate(set: &FileSet, rows: u64, bytes: u64) -> Option<u64> {
    let packed = set
        .files
        .iter()
        .any(|f| f.label.ends_with(".gz") || f.label.ends_with(".zst"));
    let total: u64 = set.files.iter().map(|f| f.stamp.len).sum();
    (!packed).then(|| (u128::from(total) * u128::from(rows) / u128::from(bytes)) as u64)
}

fn same_names(sum: &Sample, next: &Sample) -> bool {
    sum.columns.len() == next.columns.len()
        && sum
            .columns
            .iter()
            .all(|(name, _)| next.columns.iter().any(|(other, _)| other == name))
}

fn merge(mut sum: Sample, next: Sample, (first, look): (&str, &FileTask)) -> Result<Sample> {
    let names = |sample: &Sample, other: &Sample| -> Vec<String> {
        let lacks = |name: &String| !other.columns.iter().any(|(known, _)| known == name);
        let names = sample.columns.iter().map(|(name, _)| name);
        names.filter(|name| lacks(name)).cloned().collect()
    };
    let (lacking, beyond) = (names(&sum, &next), names(&next, &sum));
    // Rows of XML say themselves what they have; a path that a file does not have is a value that is missing.
    let lenient = look.lenient || look.format == Format::Xml;
    let same = lacking.is_empty() && beyond.is_empty();
    if !lenient && !same {
        return Err(drift::other_columns(
            (&look.entry.label, first),
            &lacking,
            &beyond,
        ));
    }
    for (name, evidence) in next.columns {
        if let Some((_, known)) = sum.columns.iter_mut().find(|(known, _)| *known == name) {
            known.join(&evidence);
        } else {
            sum.columns.push((name, evidence));
        }
    }
    sum.rows += next.rows;
    sum.bytes += next.bytes;
    sum.whole &= next.whole;
    Ok(sum)
}
