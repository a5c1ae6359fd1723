//! Backfills: an incremental extract over an interval of its cursor that a person names, one slice after another.
//!
//! Each slice is a run of its own over [from, to) with an intent of its own; it writes the stored position back as it
//! was, so incremental runs go on from where they were. What is done is noted before the slice's intent is closed: a
//! backfill that was killed goes on with the slice it was at. It is no scheduler, and knows no rows: modes that would
//! have rows twice are refused.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;
use sha2::{Digest, Sha256};
use synqx_model::dag::Graph;
use synqx_model::nearest::did_you_mean;
use synqx_model::size::parse_duration;
use synqx_model::spec::{Extract, Operator, Sync, WriteMode};
use synqx_model::{Code, Error, PipelineSpec, Result, ResultExt};
use synqx_plan::Range;
use synqx_sdk::{Budget, Literal, Role, cursor};

use crate::intent::{Intent, folder_name, sync_folder};
use crate::open::{connection, connection_name, describe};
use crate::prepare::upstream;
use crate::{Engine, RunOptions, RunOutcome, run};

/// Slices of one backfill at most.
const MOST: usize = 100_000;

/// What to read again.
#[derive(Debug, Clone, Default, Serialize)]
pub struct BackfillRequest {
    /// The first cursor value, as the position is stored: a number, `2024-01-31`, `2024-01-31T12:00:00Z`.
    pub from: String,
    /// The first value that is not read any more.
    pub to: String,
    /// The extract; the only incremental one when absent.
    pub extract: Option<String>,
    /// How much one slice takes: a duration (`1d`), or a number for a numeric cursor. Everything at once when absent.
    pub slice: Option<String>,
    /// Also load with `append`, which has rows twice that were loaded before.
    pub allow_append: bool,
}

/// A backfill, planned and held: no other process runs the same one.
#[derive(Debug)]
pub struct Backfill {
    /// The extract.
    pub extract: String,
    /// Its cursor column.
    pub column: String,
    /// Where the slices begin, and the end of the last one, in stored form.
    pub bounds: Vec<String>,
    /// Slices that are done.
    pub done: usize,
    spec: PipelineSpec,
    values: Vec<Literal>,
    dir: PathBuf,
    _lock: File,
}

/// The part of a run's options that makes it a slice of a backfill.
#[derive(Debug, Clone)]
pub(crate) struct Slice {
    pub(crate) extract: String,
    pub(crate) range: Range,
    /// Where the slice's intent lives.
    pub(crate) dir: PathBuf,
    /// Where it is noted that so many slices are done, with this one.
    progress: PathBuf,
    after: usize,
}

impl Slice {
    /// Notes, durably, that this slice is done. Errors: `E0503`.
    pub(crate) fn note(&self) -> Result<()> {
        let fresh = self.progress.with_extension("new");
        let write = || -> std::io::Result<()> {
            let mut file = File::create(&fresh)?;
            file.write_all(self.after.to_string().as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&fresh, &self.progress)
        };
        write().coded(Code::E0503, || {
            format!("cannot write `{}`", self.progress.display())
        })?;
        if let Some(dir) = self.progress.parent() {
            sync_folder(dir);
        }
        Ok(())
    }
}

impl Backfill {
    /// How many slices it has.
    pub fn slices(&self) -> usize {
        self.bounds.len().saturating_sub(1)
    }

    /// Runs the next slice. Errors in the outcome; the next call tries the same slice again.
    pub async fn next(&mut self, engine: &Engine, options: &RunOptions) -> RunOutcome {
        let mut options = options.clone();
        let range = Range {
            column: self.column.clone(),
            from: self.values.get(self.done).cloned(),
            inclusive: true,
            to: self.values.get(self.done + 1).cloned(),
            below: true,
        };
        options.slice = Some(Slice {
            extract: self.extract.clone(),
            range,
            dir: self.dir.join(format!("slice-{}", self.done)),
            progress: self.dir.join("progress"),
            after: self.done + 1,
        });
        let mut outcome = Box::pin(run::run(engine, &self.spec, &options)).await;
        outcome.error = outcome.error.map(|error| engine.clean(error));
        if outcome.error.is_none() {
            self.done += 1;
        }
        outcome
    }

    /// Forgets a backfill whose slices are all done: the same words begin a new one.
    pub fn finish(self) {
        if self.done >= self.slices() {
            let _ = std::fs::remove_dir_all(&self.dir);
            // The pipeline's folder, and that of all backfills, where nothing else is in them.
            for folder in self.dir.ancestors().skip(1).take(2) {
                let _ = std::fs::remove_dir(folder);
            }
        }
    }
}

impl Engine {
    /// Plans a backfill, or takes up the one that was interrupted; its slices are run one after another. Errors: `E0103`,
    /// `E0114`, `E0503`, `E0506`, and those of the source.
    pub async fn backfill(
        &self,
        spec: &PipelineSpec,
        request: &BackfillRequest,
        options: &RunOptions,
    ) -> Result<Backfill> {
        plan(self, spec, request, options)
            .await
            .map_err(|error| self.clean(error))
    }
}

/// Plans a backfill, or finds the one that was interrupted. Errors: `E0103`, `E0114`, `E0401`, `E0402`, `E0503`,
/// `E0506`, and those of the source.
async fn plan(
    engine: &Engine,
    spec: &PipelineSpec,
    request: &BackfillRequest,
    options: &RunOptions,
) -> Result<Backfill> {
    let spec = spec.expanded();
    let graph = Graph::build(&spec)?;
    let (node, extract) = chosen(&spec, request)?;
    let spec = reduced(&spec, &graph, &node);
    fits(&spec, &graph, &node, request)?;
    Intent::none_publishing(options, spec.key())?;
    let column = extract.cursor.clone().ok_or_else(|| {
        Error::new(Code::E0103, "an incremental extract needs a `cursor`")
            .at_node(&node)
            .with_hint("name a column that only grows: `cursor: updated_at`")
    })?;
    let name = connection_name(extract.from.as_deref(), extract.asset_id, &node)?;
    let budget = Budget::new(options.memory);
    let source = connection(engine, &spec, name, Role::Source, options, &budget).await?;
    let source = describe(&extract, source, name).await;
    let source = source.map_err(|error| error.at_node(&node))?;
    let data_type =
        cursor::column_type(&source.table.schema, &column).map_err(|error| error.at_node(&node))?;
    let value = |option: &str, text: &str| {
        cursor::read(text, data_type).ok_or_else(|| {
            let kind = synqx_sdk::type_names::render_type(data_type);
            Error::new(
                Code::E0114,
                format!("`--{option} {text}` is not a value of `{column}`, which is {kind}"),
            )
            .with_hint("write a number, `2024-01-31` or `2024-01-31T12:00:00Z`; a time without an offset is UTC for timestamptz")
        })
    };
    let (from, to) = (value("from", &request.from)?, value("to", &request.to)?);
    let values = bounds(from, to, request.slice.as_deref())?;
    let (dir, lock) = held(&spec, &node, request, options)?;
    let bounds: Vec<String> = values.iter().map(cursor::render).collect();
    let done = std::fs::read_to_string(dir.join("progress")).ok();
    let done = done.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    Ok(Backfill {
        extract: node,
        column,
        done: std::cmp::min(done, bounds.len() - 1),
        bounds,
        spec,
        values,
        dir,
        _lock: lock,
    })
}

/// The extract that is meant. Errors: `E0103`, `E0114`.
fn chosen(spec: &PipelineSpec, request: &BackfillRequest) -> Result<(String, Extract)> {
    let incremental: Vec<(&str, &Extract)> = spec
        .nodes
        .iter()
        .filter_map(|node| match &node.operator {
            Operator::Extract(extract) if extract.sync == Sync::Incremental => {
                Some((node.id.as_str(), extract))
            }
            _ => None,
        })
        .collect();
    let names = || incremental.iter().map(|(name, _)| *name);
    let found = match (&request.extract, incremental.as_slice()) {
        (_, []) => {
            return Err(Error::new(
                Code::E0103,
                "the document has no incremental extract to fill back",
            )
            .with_hint("add `sync: incremental` and a `cursor` to an extract"));
        }
        (Some(name), all) => all.iter().find(|(known, _)| known == name),
        (None, [one]) => Some(one),
        (None, _) => {
            return Err(
                Error::new(Code::E0114, "the document has several incremental extracts").with_hint(format!(
                    "name one with `--extract`: {}",
                    names().collect::<Vec<_>>().join(", ")
                )),
            );
        }
    };
    found
        .map(|(name, extract)| ((*name).to_owned(), (*extract).clone()))
        .ok_or_else(|| {
            let name = request.extract.as_deref().unwrap_or_default();
            Error::new(
                Code::E0114,
                format!("`{name}` is no incremental extract of the document"),
            )
            .with_hint(did_you_mean(name, names()))
        })
}

/// The document with what the extract's rows reach, and what that needs.
fn reduced(spec: &PipelineSpec, graph: &Graph, extract: &str) -> PipelineSpec {
    let mut kept: Vec<String> = Vec::new();
    let reached = |node: &str| upstream(graph, node).iter().any(|source| source == extract);
    let loads = spec
        .nodes
        .iter()
        .filter(|node| matches!(node.operator, Operator::Load(_)));
    let mut queue: Vec<String> = loads
        .filter(|node| reached(&node.id))
        .map(|node| node.id.clone())
        .collect();
    while let Some(next) = queue.pop() {
        queue.extend(graph.inputs[&next].iter().map(|input| input.node.clone()));
        kept.push(next);
    }
    let nodes = spec.nodes.iter().filter(|node| kept.contains(&node.id));
    PipelineSpec {
        nodes: nodes.cloned().collect(),
        ..spec.clone()
    }
}

/// Whether every load can take the interval's rows again. Errors, all at once: `E0103`.
fn fits(spec: &PipelineSpec, graph: &Graph, extract: &str, request: &BackfillRequest) -> Result<()> {
    let mut errors = Vec::new();
    for node in &spec.nodes {
        let fault = match &node.operator {
            Operator::Extract(other) if other.sync != Sync::Full && node.id != extract => Some((
                format!("`{}` is another incremental extract of the same load", node.id),
                "A slice says nothing about which of its rows belong to it.",
                "fill back a document in which the loads have one incremental extract",
            )),
            Operator::Load(load) => refused(load.write, request.allow_append).map(|(detail, hint)| {
                (
                    format!("a backfill cannot load with `write: {}`", load.write.as_str()),
                    detail,
                    hint,
                )
            }),
            _ => None,
        };
        if let Some((message, detail, hint)) = fault {
            let error = Error::new(Code::E0103, message).at_node(&node.id);
            errors.push(error.with_detail(detail).with_hint(hint));
        }
    }
    if graph.inputs.is_empty() {
        errors.push(Error::bug("a document without nodes has an extract"));
    }
    Error::all(errors).map_or(Ok(()), Err)
}

/// Why rows of an interval that were loaded before cannot be loaded again, and what to do.
fn refused(mode: WriteMode, allow_append: bool) -> Option<(&'static str, &'static str)> {
    match mode {
        WriteMode::Upsert => None,
        WriteMode::DeleteInsert => Some((
            "A slice that ends inside a partition would remove the rows another slice put there.",
            "use `write: upsert` with a key",
        )),
        WriteMode::Append if allow_append => None,
        WriteMode::Append => Some((
            "Rows of the interval that were loaded before would be there twice.",
            "use `write: upsert` with a key; or delete the interval from the target first and add `--allow-append`",
        )),
        WriteMode::Replace => Some((
            "Each slice would remove the rows of the others.",
            "use `write: upsert`, or read everything with `sync: full`",
        )),
        WriteMode::Scd2 | WriteMode::Mirror => Some((
            "A slice is not the whole source: rows outside it would count as changed or gone.",
            "use `write: upsert`, or read everything with `sync: full`",
        )),
    }
}

/// Where slices begin, and the end of the last one. Errors: `E0114`.
fn bounds(from: Literal, to: Literal, slice: Option<&str>) -> Result<Vec<Literal>> {
    let before =
        |left: &Literal, right: &Literal| cursor::compare(left, right) == Some(std::cmp::Ordering::Less);
    if !before(&from, &to) {
        return Err(Error::new(Code::E0114, "`--from` is not before `--to`")
            .with_detail("The interval is [from, to): the first value is read, the last is not.")
            .with_hint("exchange them, or name a later `--to`"));
    }
    let mut values = vec![from];
    if let Some(slice) = slice {
        let wrong = || {
            Error::new(Code::E0114, format!("`--slice {slice}` cuts no such cursor")).with_hint(
                "write a duration for times (`1d`, `6h`; whole days for dates), a whole number for numbers",
            )
        };
        loop {
            let last = values.last().ok_or_else(wrong)?;
            let next = match last {
                Literal::Int(_) | Literal::Decimal(..) => {
                    let step: i128 = slice.parse().ok().filter(|step| *step > 0).ok_or_else(wrong)?;
                    cursor::further(last, step)
                }
                _ => {
                    let step = parse_duration(slice).map_err(|_| wrong())?;
                    cursor::later(last, step)
                }
            };
            let next = next.filter(|next| before(last, next)).ok_or_else(wrong)?;
            if !before(&next, &to) {
                break;
            }
            if values.len() >= MOST {
                return Err(Error::new(
                    Code::E0114,
                    format!("`--slice {slice}` makes more than {MOST} slices"),
                )
                .with_hint("name a larger slice"));
            }
            values.push(next);
        }
    }
    values.push(to);
    Ok(values)
}

/// The folder of this backfill, held against other processes. Errors: `E0503`.
fn held(
    spec: &PipelineSpec,
    extract: &str,
    request: &BackfillRequest,
    options: &RunOptions,
) -> Result<(PathBuf, File)> {
    let words = serde_json::to_string(request).coded(Code::E9901, || "a backfill does not serialise")?;
    let text = format!("{}|{extract}|{words}", spec.hash());
    let id: String = Sha256::digest(text.as_bytes())
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let dir = folder(&options.state_dir, spec.key()).join(id);
    let path = dir.join("lock");
    let failed = || format!("cannot keep the state of a backfill in `{}`", dir.display());
    let hint = "make the folder writable, or choose another with `--state DIR`";
    std::fs::create_dir_all(&dir)
        .coded(Code::E0503, failed)
        .map_err(|error| error.with_hint(hint))?;
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .coded(Code::E0503, failed)
        .map_err(|error| error.with_hint(hint))?;
    if lock.try_lock().is_err() {
        return Err(Error::new(Code::E0503, "another process runs this backfill")
            .with_hint("wait for it to end; it goes on by itself"));
    }
    Ok((dir, lock))
}

fn folder(state_dir: &Path, pipeline: &str) -> PathBuf {
    state_dir.join("backfills").join(folder_name(pipeline))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(from: Literal, to: Literal, slice: Option<&str>) -> Vec<String> {
        let values = bounds(from, to, slice).expect("bounds");
        values.iter().map(cursor::render).collect()
    }

    #[test]
    fn slices_meet_and_end_at_the_end() {
        assert_eq!(
            cut(Literal::Int(0), Literal::Int(25), Some("10")),
            ["0", "10", "20", "25"]
        );
        assert_eq!(
            cut(Literal::Int(0), Literal::Int(20), Some("10")),
            ["0", "10", "20"]
        );
        assert_eq!(cut(Literal::Int(0), Literal::Int(20), None), ["0", "20"]);
        assert_eq!(
            cut(Literal::Date(19_723), Literal::Date(19_726), Some("2d")),
            ["2024-01-01", "2024-01-03", "2024-01-04"]
        );
        let hour = 3_600_000_000;
        assert_eq!(
            cut(Literal::Instant(0), Literal::Instant(3 * hour), Some("2h")).len(),
            3
        );
        for (from, to, slice) in [
            (Literal::Int(5), Literal::Int(5), None),
            (Literal::Int(5), Literal::Int(4), None),
            (Literal::Int(0), Literal::Int(5), Some("1d")),
            (Literal::Int(0), Literal::Int(5), Some("0")),
            (Literal::Int(0), Literal::Int(i128::from(i64::MAX)), Some("1")),
            (Literal::Date(0), Literal::Date(5), Some("7")),
            (Literal::Date(0), Literal::Date(5), Some("6h")),
            (Literal::Instant(0), Literal::Instant(5), Some("0s")),
        ] {
            let error = bounds(from.clone(), to, slice).expect_err("refused");
            assert_eq!(error.code(), Code::E0114, "{from:?} {slice:?}");
        }
    }
}
