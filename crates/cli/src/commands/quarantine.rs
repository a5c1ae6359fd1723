//! `synqx quarantine`: what a pipeline rejected, the rows themselves, and their way back into the pipeline.
//!
//! `list` and `show` read the quarantine files of the state folder. `replay` writes an entry into the ledger, runs the
//! document that `crate::replay` makes of it, and marks the entry; an entry that was begun is finished first. Rows that
//! went to a quarantine target of the document are not here: they are rows of that target.

use std::path::{Path, PathBuf};

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Int64Type, SchemaRef};
use futures::StreamExt;
use serde_json::{Map, Value, json};
use synqx_engine::{
    Engine, Ledger, ORIGIN, ROW, Rejects, Replay, Replayed, RunOptions, newest_success, rejects,
};
use synqx_model::{ByteSize, Code, Error, PipelineSpec, Result, RunId};
use synqx_sdk::{Connection, Dataset, Role, Scan, type_names};

use super::flow::flow;
use super::preview::rows;
use crate::args::{QuarantineArgs, Quarantined, ReplayArgs, Which};
use crate::document::{self, Document};
use crate::locate::{self, Place, Wanted};
use crate::render::number::{count, plural};
use crate::render::table::Table;
use crate::session::{self, Session};
use crate::{render, replay};

/// Columns that the quarantine adds begin so.
const OWN: &str = "_synqx_";

/// Lists, shows or replays.
pub(crate) async fn quarantine(args: &QuarantineArgs, session: &Session) -> Result<u8> {
    match &args.what {
        Quarantined::List { which, json } => list(&Chosen::find(which)?, *json, session),
        Quarantined::Show { which, limit, json } => {
            Box::pin(show(&Chosen::find(which)?, *limit, *json, session)).await
        }
        Quarantined::Replay(args) => Box::pin(replay_all(args, session)).await,
    }
}

/// A document and the files of its quarantine that are meant.
struct Chosen {
    document: Document,
    options: RunOptions,
    files: Vec<Rejects>,
}

impl Chosen {
    fn find(which: &Which) -> Result<Self> {
        let document = document::load(which.file.as_deref())?;
        let mut options = RunOptions::new(session::absolute(&document.base_dir));
        if let Some(state) = &which.state {
            options.state_dir = session::absolute(state);
        }
        let run = which.run.as_deref().map(str::parse::<RunId>).transpose()?;
        let mut files = rejects(&options.state_dir, document.spec.key())?;
        files.retain(|file| run.is_none_or(|run| file.run == run));
        files.retain(|file| which.node.as_ref().is_none_or(|node| file.node == *node));
        Ok(Chosen {
            document,
            options,
            files,
        })
    }

    fn key(&self) -> &str {
        self.document.spec.key()
    }

    fn ledger(&self) -> Result<Ledger> {
        Ledger::read(&self.options.state_dir, self.key())
    }

    fn engine(&self, session: &Session) -> Result<Engine> {
        session.engine(&session::absolute(&self.document.base_dir))
    }
}

fn nothing(chosen: &Chosen, session: &Session) -> u8 {
    session.terminal.err(&format!(
        "no rejected rows of `{}` are kept here\n",
        chosen.document.spec.name
    ));
    if let Some(target) = &chosen.document.spec.quarantine {
        session.terminal.err(&format!(
            "rejected rows of runs that succeeded are at `{}.{}`\n",
            target.to, target.asset
        ));
    }
    0
}

fn list(chosen: &Chosen, json: bool, session: &Session) -> Result<u8> {
    let ledger = chosen.ledger()?;
    if chosen.files.is_empty() && !json {
        return Ok(nothing(chosen, session));
    }
    let paint = session.terminal.out_paint;
    let mut table = Table::new(&[
        "RUN",
        "BEGAN",
        "NODE",
        ">ROWS",
        ">REPLAYED",
        "RUN STATE",
        ">",
        "RULES",
    ]);
    let mut out = String::new();
    for file in &chosen.files {
        let replayed = ledger.done(file);
        let unfinished = ledger.unfinished(file).map(|entry| entry.run.to_string());
        if json {
            let line = json!({
                "run": file.run, "node": file.node, "path": file.path, "rows": file.rows, "replayed": replayed,
                "unfinished_replay": unfinished, "state": file.state, "started_ms": file.started_ms, "rules": file.rules,
            });
            out.push_str(&format!("{line}\n"));
            continue;
        }
        let began = file.started_ms.and_then(chrono::DateTime::from_timestamp_millis);
        let began = began.map_or_else(String::new, |at| at.format("%Y-%m-%d %H:%M:%SZ").to_string());
        let state = match (&file.state, unfinished) {
            (_, Some(_)) => "replay unfinished".to_owned(),
            (Some(state), None) => state.replace('_', " "),
            (None, None) => "unfinished".to_owned(),
        };
        for (index, (rules, rows)) in file.rules.iter().enumerate() {
            let first = |text: String| if index == 0 { text } else { String::new() };
            table.row([
                first(file.run.to_string()),
                first(began.clone()),
                first(file.node.clone()),
                first(count(file.rows)),
                first(if replayed > 0 {
                    count(replayed)
                } else {
                    String::new()
                }),
                first(state.clone()),
                count(*rows),
                rules.clone(),
            ]);
        }
    }
    out.push_str(&table.render(paint));
    session.terminal.out(&out);
    Ok(0)
}

async fn show(chosen: &Chosen, limit: usize, json: bool, session: &Session) -> Result<u8> {
    if chosen.files.is_empty() && !json {
        return Ok(nothing(chosen, session));
    }
    let engine = chosen.engine(session)?;
    let mut left = limit;
    for file in &chosen.files {
        if left == 0 {
            break;
        }
        let (_, connection, dataset) = opened(&engine, chosen, &file.path, Map::new()).await?;
        let (table, batches) = rows(connection.as_ref(), &dataset, left)
            .await
            .map_err(|e| engine.clean(e))?;
        let shown: usize = batches.iter().map(|batch| batch.num_rows()).sum();
        left -= shown;
        if json {
            let mut lines = arrow::json::LineDelimitedWriter::new(Vec::new());
            let refs: Vec<_> = batches.iter().collect();
            let unwritable = |cause| Error::bug("rows cannot be written as JSON").with_cause(&cause);
            lines.write_batches(&refs).map_err(unwritable)?;
            lines.finish().map_err(unwritable)?;
            session
                .terminal
                .out(&String::from_utf8_lossy(&lines.into_inner()));
            continue;
        }
        let paint = session.terminal.out_paint;
        let head = format!(
            "{} {}: {} of {}",
            file.run,
            file.node,
            count(shown as u64),
            plural(file.rows, "row")
        );
        let text = render::rows::render(&table.schema, &batches, session.terminal.width(), paint)?;
        session.terminal.out(&format!(
            "{}\n{text}{}\n\n",
            paint.bold(&head),
            paint.dim(&file.path.display().to_string())
        ));
    }
    Ok(0)
}

/// A file as a source of its own.
async fn opened(
    engine: &Engine,
    chosen: &Chosen,
    path: &Path,
    options: Map<String, Value>,
) -> Result<(Place, std::sync::Arc<dyn Connection>, Dataset)> {
    let place = locate::find(
        &session::absolute(path).display().to_string(),
        Wanted::Asset,
        "source",
    )?;
    let spec = PipelineSpec {
        connections: [("rows".to_owned(), place.connection.clone())].into(),
        nodes: Vec::new(),
        ..chosen.document.spec.clone()
    };
    let connection = engine
        .connect(&spec, "rows", Role::Source, &chosen.options)
        .await?;
    let dataset = Dataset {
        asset: Some(place.asset.clone()),
        query: None,
        options,
        files: None,
    };
    Ok((place, connection, dataset))
}

async fn replay_all(args: &ReplayArgs, session: &Session) -> Result<u8> {
    let mut chosen = Chosen::find(&args.which)?;
    chosen.options.memory = ByteSize::parse(&args.memory)?;
    if chosen.files.is_empty() {
        return Ok(nothing(&chosen, session));
    }
    let mut ledger = Ledger::hold(&chosen.options.state_dir, chosen.key())?;
    let files = replayable(&chosen, &args.which, session)?;
    let files: Vec<&Rejects> = match &args.corrected {
        None => files,
        Some(_) => vec![only(&files)?],
    };
    let mut replayed = 0;
    for file in files {
        let corrected = args.corrected.as_deref().map(session::absolute);
        let Some(entry) = entry(&chosen, file, corrected, &ledger, session).await? else {
            continue;
        };
        replay_one(&chosen, file, entry, &mut ledger, args, session).await?;
        replayed += 1;
    }
    if replayed == 0 && !args.manner.quiet {
        session.terminal.err("nothing is left to replay\n");
    }
    Ok(0)
}

/// Files whose run published its other rows, and whose rows no later run has made out of date.
fn replayable<'a>(chosen: &'a Chosen, which: &Which, session: &Session) -> Result<Vec<&'a Rejects>> {
    let newest = newest_success(&chosen.options.state_dir, chosen.key())?;
    let mut files = Vec::new();
    for file in &chosen.files {
        let outdated = replay::replaces(&chosen.document.spec, &file.node)?
            && newest.is_some_and(|newest| file.run < newest);
        let why = match () {
            () if !file.is_of_published_run() => {
                "that run did not succeed: mend the source or the check and run the pipeline again"
            }
            () if outdated => "a later run has replaced the target and has judged its source anew",
            () => {
                files.push(file);
                continue;
            }
        };
        if which.run.is_some() {
            let message = format!("rows of {} at `{}` are not replayed", file.run, file.node);
            return Err(Error::new(Code::E0114, message).with_hint(why));
        }
        session
            .terminal
            .err(&format!("skipped: {} {}: {why}\n", file.run, file.node));
    }
    Ok(files)
}

fn only<'a>(files: &[&'a Rejects]) -> Result<&'a Rejects> {
    match files {
        [file] => Ok(file),
        [] => Err(Error::new(
            Code::E0114,
            "there are no rejected rows that the file could correct",
        )
        .with_hint("`synqx quarantine list` shows what there is")),
        several => Err(Error::new(
            Code::E0114,
            format!("the file may correct rows of {} runs and nodes", several.len()),
        )
        .with_hint("name one with `--run` and `--node`")),
    }
}

/// What is to be replayed of a file: the entry that was begun, or a new one; none when everything was.
async fn entry(
    chosen: &Chosen,
    file: &Rejects,
    corrected: Option<PathBuf>,
    ledger: &Ledger,
    session: &Session,
) -> Result<Option<Replayed>> {
    let what = format!("{} {}", file.run, file.node);
    if let Some(begun) = ledger.unfinished(file) {
        if corrected.is_some() && corrected != begun.file {
            let from = begun.file.as_ref().unwrap_or(&file.path).display();
            return Err(Error::new(
                Code::E0114,
                format!("an interrupted replay of {what} is unfinished"),
            )
            .with_detail(format!("It reads `{from}`."))
            .with_hint("finish it first: `synqx quarantine replay` without `--file`"));
        }
        session
            .terminal
            .err(&format!("finishing {} of {what}\n", begun.run));
        return Ok(Some(begun.clone()));
    }
    let done = ledger.done(file);
    if done > 0 {
        let rows = plural(done, "row");
        session.terminal.err(&format!(
            "{what}: {rows} of {} were replayed before\n",
            count(file.rows)
        ));
    }
    let pending = ledger.pending(file);
    let Some(path) = corrected else {
        let entry = Replayed::begin(file, pending, None);
        return Ok(Some(entry).filter(|entry| entry.count() > 0));
    };
    let numbers = Box::pin(corrected_rows(chosen, file, &path, session)).await?;
    let is_pending = |row: &u64| pending.iter().any(|(first, last)| (first..=last).contains(&row));
    let known = numbers.iter().filter(|row| !is_pending(row)).count();
    if known > 0 {
        return Err(Error::new(
            Code::E0114,
            format!(
                "{} of `{}` were replayed before, or are none of {what}",
                plural(known as u64, "row"),
                path.display()
            ),
        )
        .with_detail("The column `_synqx_row` says which rejected row a row corrects.")
        .with_hint("leave those rows out of the file; nothing was done"));
    }
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for row in numbers {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == row => *last = row,
            _ => ranges.push((row, row)),
        }
    }
    Ok(Some(Replayed::begin(file, ranges, Some(path))).filter(|entry| entry.count() > 0))
}

/// Which rejected rows a file corrects, ascending. Errors: `E0114` when it does not say, or says one twice.
async fn corrected_rows(chosen: &Chosen, file: &Rejects, path: &Path, session: &Session) -> Result<Vec<u64>> {
    let engine = chosen.engine(session)?;
    let options = column_types(&engine, chosen, file, path).await?;
    let (_, connection, dataset) = opened(&engine, chosen, path, options).await?;
    let table = connection.describe(&dataset).await.map_err(|e| engine.clean(e))?;
    let wrong = |message: String| {
        Error::new(Code::E0114, message)
            .with_detail("The column `_synqx_row` says which rejected row a row corrects, and each may occur once.")
            .with_hint("make the file from the quarantine file and keep that column: `synqx cp …/node.parquet fixed.csv`")
    };
    if table.schema.field_with_name(ROW).is_err() {
        return Err(wrong(format!("`{}` has no column `{ROW}`", path.display())));
    }
    let scan = Scan {
        dataset,
        columns: vec![ROW.to_owned()],
        predicates: Vec::new(),
        limit: None,
        partition: synqx_model::spec::PartitionBy::None,
        parallel: 1,
        table,
    };
    let source = connection
        .source()
        .ok_or_else(|| Error::bug("files cannot be read"))?;
    let plan = source.plan(&scan).await?;
    let reader = source.open(&scan, &plan).await?;
    let mut numbers = Vec::new();
    for partition in 0..plan.partitions.len() {
        let mut stream = reader.read(partition).await?;
        while let Some(batch) = stream.next().await.transpose()? {
            let column = arrow::compute::cast(batch.column(0), &DataType::Int64).map_err(|cause| {
                wrong(format!("`{ROW}` of `{}` is no number", path.display())).with_cause(&cause)
            })?;
            for number in column.as_primitive::<Int64Type>() {
                let number = number.and_then(|number| u64::try_from(number).ok());
                numbers.push(
                    number.ok_or_else(|| wrong(format!("`{ROW}` of `{}` lacks a number", path.display())))?,
                );
            }
        }
    }
    numbers.sort_unstable();
    if numbers.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(wrong(format!("a row occurs twice in `{}`", path.display())));
    }
    Ok(numbers)
}

/// Whether a file says the types of its columns by itself.
fn is_parquet(path: &Path) -> bool {
    path.extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("parquet"))
}

/// The types the rejected rows had, for a file of text that has none.
async fn column_types(
    engine: &Engine,
    chosen: &Chosen,
    file: &Rejects,
    path: &Path,
) -> Result<Map<String, Value>> {
    if is_parquet(path) {
        return Ok(Map::new());
    }
    let here = schema(engine, chosen, &file.path, Map::new()).await?;
    let there = schema(engine, chosen, path, Map::new()).await?;
    let mut columns = Map::new();
    for field in here
        .fields()
        .iter()
        .filter(|field| there.field_with_name(field.name()).is_ok())
    {
        let name = type_names::render_type(field.data_type());
        if type_names::parse_type(&name).is_err() {
            return Err(Error::new(
                Code::E0114,
                format!(
                    "column `{}` is {name}, which a file of text does not keep",
                    field.name()
                ),
            )
            .with_hint("write the corrected rows as Parquet"));
        }
        columns.insert(field.name().clone(), Value::from(name));
    }
    Ok(Map::from_iter([("columns".to_owned(), Value::Object(columns))]))
}

async fn schema(
    engine: &Engine,
    chosen: &Chosen,
    path: &Path,
    options: Map<String, Value>,
) -> Result<SchemaRef> {
    let (_, connection, dataset) = opened(engine, chosen, path, options).await?;
    let table = connection.describe(&dataset).await.map_err(|e| engine.clean(e))?;
    Ok(table.schema)
}

/// Writes the entry down, runs it, marks it.
async fn replay_one(
    chosen: &Chosen,
    file: &Rejects,
    mut entry: Replayed,
    ledger: &mut Ledger,
    args: &ReplayArgs,
    session: &Session,
) -> Result<()> {
    let engine = chosen.engine(session)?;
    let path = entry.file.clone().unwrap_or_else(|| file.path.clone());
    let options = column_types(&engine, chosen, file, &path).await?;
    let rejected = schema(&engine, chosen, &file.path, Map::new()).await?;
    let given = schema(&engine, chosen, &path, options.clone()).await?;
    let names = rejected.fields().iter().map(|field| field.name().clone());
    let columns: Vec<String> = names.filter(|name| !name.starts_with(OWN)).collect();
    let place = locate::find(
        &session::absolute(&path).display().to_string(),
        Wanted::Asset,
        "source",
    )?;
    let rows = replay::Rows {
        connection: place.connection,
        asset: place.asset,
        options,
        columns,
        has_origin: given.field_with_name(ORIGIN).is_ok(),
        entry: &entry,
    };
    let spec = replay::document(&chosen.document.spec, rows)?;
    let fresh = ledger.unfinished(file).is_none();
    ledger.note(&entry)?;
    let mut options = chosen.options.clone();
    options.replay = Some(Replay {
        run: entry.run,
        pipeline: chosen.key().to_owned(),
        origin: format!("{}/{}", entry.from, entry.node),
    });
    match Box::pin(flow(session, &engine, &spec, options, &args.manner)).await {
        Ok(_) => {
            entry.done = true;
            ledger.note(&entry)
        }
        Err(error) => {
            // An entry that an earlier process began may be published although its intent is gone, and after E0505
            // nobody knows: such an entry stays, and is finished under its run id.
            if fresh && error.code() != Code::E0505 {
                ledger.take_back(&entry, spec.key())?;
            }
            Err(error)
        }
    }
}
