//! Incremental reads: where each begins, how far it goes, and what is refused because rows would be lost or doubled.
//!
//! A read begins at the position its loads have committed and ends at a mark taken before it. Both are written into
//! the intent before a row is read, so that a restart finishes the same interval at every load (decision 7). The
//! destination's record is the truth: `begin` compares it with what the interval was made from.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use synqx_model::dag::Graph;
use synqx_model::spec::{Extract, Load as LoadSpec, Operator, Sync, WriteMode};
use synqx_model::{Code, Cursor, Error, PipelineSpec, Position, Result, RunId, SourcePosition};
use synqx_plan::{OpenSource, Range};
use synqx_sdk::type_names::render_type;
use synqx_sdk::{Committed, Connection, Literal, cursor};

use crate::RunOptions;
use crate::backfill::Slice;
use crate::intent::Intent;
use crate::new_files;
use crate::prepare::{Reached, Targets, stream_key, upstream};

/// What a run reads of one extract, in the stored form of its cursor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Interval {
    /// Above this; from the beginning when none.
    pub(crate) from: Option<String>,
    /// Up to this; nothing when none.
    pub(crate) to: Option<String>,
}

/// Extract node → its interval.
pub(crate) type Intervals = BTreeMap<String, Interval>;

/// What the loads of a document had committed when the intervals were made, and what a person should read.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    pub(crate) by_load: BTreeMap<String, Option<Committed>>,
    pub(crate) notes: Vec<String>,
}

impl Stored {
    /// What a load has stored, to be stored again as it is.
    pub(crate) fn position(&self, load: &str) -> Position {
        let committed = self.by_load.get(load).and_then(Option::as_ref);
        committed
            .map(|committed| committed.position.clone())
            .unwrap_or_default()
    }
}

/// Gives the extract of a backfill its slice. Errors: `E0501`, `E0301`, `E0302`, `E0503`.
async fn slice(
    spec: &PipelineSpec,
    slice: &Slice,
    intent: Option<&Intent>,
    opened: &mut BTreeMap<String, OpenSource>,
    targets: &Targets<'_>,
) -> Result<Stored> {
    let mut stored = Stored::default();
    for (load, (connection, target)) in targets {
        let committed = committed(spec, load, connection, target).await;
        stored
            .by_load
            .insert(load.clone(), committed.map_err(|error| error.at_node(load))?);
    }
    if let Some(source) = opened.get_mut(&slice.extract) {
        source.range = Some(slice.range.clone());
    }
    let Some(intent) = intent else { return Ok(stored) };
    let runs = stored.by_load.iter().map(|(load, committed)| {
        let from = committed.as_ref().map(|committed| committed.run.to_string());
        (load.clone(), Interval { from, to: None })
    });
    let now: Intervals = runs.collect();
    let Some(before) = intent.intervals() else {
        intent.record(&now)?;
        return Ok(stored);
    };
    let own = Some(intent.run.to_string());
    for (load, (_, target)) in targets {
        let (Some(before), Some(now)) = (before.get(load), now.get(load)) else {
            continue;
        };
        // Rows that may be there already are appended again only when nobody can have hidden them.
        if target.write == WriteMode::Append && now.from != before.from && now.from != own {
            return Err(Error::new(
                Code::E0501,
                "another run loaded while this slice was interrupted, so nobody knows whether its rows are there",
            )
            .at_node(load)
            .with_detail(format!("The slice is run {}.", intent.run))
            .with_hint("delete the slice's interval from the target and its folder under `.synqx/backfills`, then start again"));
        }
    }
    Ok(stored)
}

/// Gives every incremental extract its range. Errors: `E0103`, `E0401`, `E0402`, `E0502`, `E0507`, `E02xx`, `E03xx`.
pub(crate) async fn narrow(
    spec: &PipelineSpec,
    graph: &Graph,
    options: &RunOptions,
    intent: Option<&Intent>,
    opened: &mut BTreeMap<String, OpenSource>,
    targets: &Targets<'_>,
) -> Result<Stored> {
    if let Some(part) = &options.slice {
        return slice(spec, part, intent, opened, targets).await;
    }
    let mut stored = Stored::default();
    let mut intervals = Intervals::new();
    let mut errors = Vec::new();
    for node in &spec.nodes {
        let (Operator::Extract(extract), Some(source)) = (&node.operator, opened.get_mut(&node.id)) else {
            continue;
        };
        if extract.sync != Sync::Incremental {
            continue;
        }
        let read = async {
            let one = One::new(&node.id, extract, source, graph, targets)?;
            for (load, (connection, target)) in &one.loads {
                if !stored.by_load.contains_key(*load) {
                    let committed = committed(spec, load, connection, target).await;
                    let committed = committed.map_err(|error| error.at_node(*load))?;
                    stored.by_load.insert((*load).to_owned(), committed);
                }
            }
            let known = intent.and_then(|intent| Some((intent.run, intent.intervals()?.remove(&node.id)?)));
            if extract.cursor.is_none() {
                return one.new_files(source, options, known, &mut stored).await;
            }
            let (range, interval) = one.range(source, options, known, &mut stored).await?;
            source.range = Some(range);
            Ok(interval)
        };
        match read.await {
            Ok(interval) => {
                intervals.insert(node.id.clone(), interval);
            }
            Err(error) => errors.push(error.at_node(&node.id)),
        }
    }
    if let Some(error) = Error::all(errors) {
        return Err(error);
    }
    if let Some(intent) = intent.filter(|_| !intervals.is_empty()) {
        intent.record(&intervals)?;
    }
    Ok(stored)
}

async fn committed(
    spec: &PipelineSpec,
    load: &str,
    connection: &Arc<dyn Connection>,
    target: &LoadSpec,
) -> Result<Option<Committed>> {
    let asset = target.asset.clone().unwrap_or_default();
    let destination = connection
        .destination()
        .ok_or_else(|| Error::bug("a destination that does not write"))?;
    destination
        .committed(&asset, &stream_key(spec, load, &asset))
        .await
}

/// One incremental extract and the loads its rows reach.
pub(crate) struct One<'a> {
    pub(crate) node: &'a str,
    extract: &'a Extract,
    column: &'a str,
    pub(crate) loads: Vec<(&'a str, &'a Reached<'a>)>,
    /// Every load can take a row twice.
    pub(crate) idempotent: bool,
}

impl<'a> One<'a> {
    fn new(
        node: &'a str,
        extract: &'a Extract,
        source: &OpenSource,
        graph: &Graph,
        targets: &'a Targets<'_>,
    ) -> Result<Self> {
        let reached = targets
            .iter()
            .filter(|(load, _)| upstream(graph, load).iter().any(|extract| extract == node));
        let loads: Vec<_> = reached.map(|(load, target)| (load.as_str(), target)).collect();
        let modes = || loads.iter().map(|(_, (_, load))| load.write);
        let idempotent = modes().all(|mode| mode == WriteMode::Upsert);
        let Some(column) = extract.cursor.as_deref() else {
            new_files::check(extract, &modes().collect::<Vec<_>>())?;
            return Ok(One {
                node,
                extract,
                column: new_files::COLUMN,
                loads,
                idempotent,
            });
        };
        let data_type = cursor::column_type(&source.table.schema, column)?;
        if modes().any(|mode| mode == WriteMode::Replace) {
            return Err(replaces());
        }
        if extract.lookback.is_some() && !idempotent {
            return Err(Error::new(Code::E0103, "`lookback` reads rows again")
                .with_detail("A load that appends would have them twice.")
                .with_hint("use `write: upsert` with a key"));
        }
        if data_type.is_integer() && extract.lookback.is_some() {
            return Err(Error::new(
                Code::E0103,
                format!("`lookback` needs a time, `{column}` is a number"),
            )
            .with_hint("leave `lookback` out"));
        }
        if *data_type == arrow::datatypes::DataType::Date32 && !idempotent {
            return Err(Error::new(
                Code::E0103,
                format!("`{column}` is a date: rows of the newest day may still come"),
            )
            .with_detail("They would be missed, and reading the day again would append its rows twice.")
            .with_hint("use `write: upsert`, or a timestamp or number as the cursor"));
        }
        Ok(One {
            node,
            extract,
            column,
            loads,
            idempotent,
        })
    }

    /// The range and its stored form.
    async fn range(
        &self,
        source: &OpenSource,
        options: &RunOptions,
        known: Option<(RunId, Interval)>,
        stored: &mut Stored,
    ) -> Result<(Range, Interval)> {
        let interval = match known {
            Some((run, interval)) if self.may_resume(run, &interval, options, stored)? => interval,
            _ => self.fresh(source, options, stored).await?,
        };
        let data_type = cursor::column_type(&source.table.schema, self.column)?;
        let value = |text: &Option<String>| -> Result<Option<Literal>> {
            let parse = |text: &String| cursor::parse(text, data_type).ok_or_else(|| self.unreadable(text));
            text.as_ref().map(parse).transpose()
        };
        let mut from = value(&interval.from)?;
        if let (Some(begin), Some(lookback)) = (&from, &self.extract.lookback) {
            from = cursor::earlier(begin, lookback.0);
        }
        let range = Range {
            column: self.column.to_owned(),
            from,
            inclusive: self.idempotent,
            to: value(&interval.to)?,
            below: false,
        };
        Ok((range, interval))
    }

    /// Whether the interval of an interrupted run still holds. A reset begins anew as long as no load has committed it.
    /// Errors: `E0501` when others went on in between.
    pub(crate) fn may_resume(
        &self,
        run: RunId,
        interval: &Interval,
        options: &RunOptions,
        stored: &Stored,
    ) -> Result<bool> {
        let mut own = 0;
        let mut moved = 0;
        for (load, _) in &self.loads {
            let Some(committed) = stored.by_load.get(*load).and_then(Option::as_ref) else {
                moved += usize::from(interval.from.is_some());
                continue;
            };
            if committed.run == run {
                own += 1;
            } else if !options.reset && self.value_in(committed) != interval.from {
                moved += 1;
            }
        }
        match (own, moved) {
            (0, _) if options.reset && interval.from.is_some() => Ok(false),
            (_, 0) => Ok(true),
            (0, _) => Ok(false),
            _ => Err(
                Error::new(Code::E0501, "another run moved the position of a load in between")
                    .with_detail("This run had published some of its loads before it was interrupted.")
                    .with_hint(
                        "run with `--abandon` to leave its rows as they are and begin a run of its own",
                    ),
            ),
        }
    }

    fn value_in(&self, committed: &Committed) -> Option<String> {
        let position = committed.position.0.get(self.node)?;
        position.cursor.as_ref().map(|cursor| cursor.value.clone())
    }

    async fn fresh(
        &self,
        source: &OpenSource,
        options: &RunOptions,
        stored: &mut Stored,
    ) -> Result<Interval> {
        let data_type = cursor::column_type(&source.table.schema, self.column)?;
        let before = if options.reset {
            None
        } else {
            self.stored_position(source, options, stored)?
        };
        let adopted_without_value = before.as_ref().is_some_and(|position| position.cursor.is_none());
        let text = before
            .and_then(|position| position.cursor)
            .map(|cursor| cursor.value);
        let from = match &text {
            Some(text) => Some(cursor::parse(text, data_type).ok_or_else(|| self.unreadable(text))?),
            None => None,
        };
        let reads = source
            .connection
            .source()
            .ok_or_else(|| Error::bug("a source that does not read"))?;
        let water = reads
            .high_water(&source.dataset, &source.table, self.column, from.as_ref())
            .await?;
        stored.notes.extend(water.notes);
        if from.is_none() && water.nulls > 0 {
            stored.notes.push(format!(
                "{} rows of `{}` have no `{}`: an incremental read never sees them",
                water.nulls, self.node, self.column
            ));
        }
        let to = water.value.as_ref().or(from.as_ref()).map(cursor::render);
        Ok(Interval {
            from: if adopted_without_value { to.clone() } else { text },
            to,
        })
    }

    /// Where the loads are, when they agree. Errors: `E0502`.
    pub(crate) fn stored_position(
        &self,
        source: &OpenSource,
        options: &RunOptions,
        stored: &Stored,
    ) -> Result<Option<SourcePosition>> {
        let of = |load: &str| {
            let committed = stored.by_load.get(load).and_then(Option::as_ref)?;
            committed.position.0.get(self.node).cloned()
        };
        let mut positions: Vec<Option<SourcePosition>> =
            self.loads.iter().map(|(load, _)| of(load)).collect();
        positions.dedup();
        let refuse = |what: String, detail: String| {
            Error::new(Code::E0502, what).with_detail(detail).with_hint(
                "run with `--reset` to read everything from the beginning, or with `--adopt` to go on from what is stored",
            )
        };
        let [position] = positions.as_slice() else {
            if positions.is_empty() {
                return Ok(None);
            }
            return Err(Error::new(
                Code::E0502,
                "the loads of this extract are at different positions",
            )
            .with_detail("One of them is new, or was renamed, or failed when the others went on.")
            .with_hint("run with `--reset` to read everything from the beginning into all of them"));
        };
        let Some(position) = position else {
            return Ok(None);
        };
        let now = &source.table.identity;
        if position.source != *now && !options.adopt {
            let detail = format!("Stored: {}. Now: {now}.", position.source);
            return Err(refuse(
                "the source of the stored position changed".to_owned(),
                detail,
            ));
        }
        match &position.cursor {
            Some(cursor) if cursor.column == self.column => {}
            Some(cursor) => {
                return Err(Error::new(Code::E0502, "the cursor column of the stored position changed")
                    .with_detail(format!("Stored: `{}`. Now: `{}`.", cursor.column, self.column))
                    .with_hint("name the old column again, or run with `--reset` to read everything from the beginning"));
            }
            None if options.adopt => {}
            None => {
                let detail = "Earlier runs read everything, so nothing says which rows are new.".to_owned();
                return Err(refuse("the stored position has no cursor".to_owned(), detail));
            }
        }
        Ok(Some(position.clone()))
    }

    fn unreadable(&self, text: &str) -> Error {
        Error::new(
            Code::E0502,
            format!(
                "the stored value of `{}` does not fit the column any more",
                self.column
            ),
        )
        .with_detail(format!("It is `{text}`."))
        .with_hint(
            "give the column its old type, or run with `--reset` to read everything from the beginning",
        )
    }
}

/// The error for a load that would remove what earlier runs have loaded.
pub(crate) fn replaces() -> Error {
    Error::new(
        Code::E0103,
        "an incremental extract cannot feed a load with `write: replace`",
    )
    .with_detail("The rows of earlier runs would be removed.")
    .with_hint("use `append` or `upsert`, or `sync: full`")
}

/// What a load's rows will have been read from.
pub(crate) fn position(graph: &Graph, node: &str, opened: &BTreeMap<String, OpenSource>) -> Position {
    let mut position = Position::default();
    for extract in upstream(graph, node) {
        let Some(source) = opened.get(&extract) else {
            continue;
        };
        // An incremental read that has never seen a row has no position: the next one begins where it did.
        if source.range.as_ref().is_some_and(|range| range.to.is_none()) {
            continue;
        }
        let value = source.range.as_ref().and_then(|range| {
            let field = source.table.schema.field_with_name(&range.column).ok()?;
            Some(Cursor {
                column: range.column.clone(),
                data_type: render_type(field.data_type()),
                value: cursor::render(range.to.as_ref()?),
            })
        });
        let files = source.dataset.files.as_ref().map(|range| Cursor {
            column: new_files::COLUMN.to_owned(),
            data_type: new_files::TYPE.to_owned(),
            value: range.to.clone(),
        });
        let read = SourcePosition {
            source: source.table.identity.clone(),
            cursor: value.or(files),
        };
        position.0.insert(extract, read);
    }
    position
}
