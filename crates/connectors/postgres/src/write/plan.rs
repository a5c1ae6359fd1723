//! Decides how rows reach a target: which columns, which path, which DDL. Looks at the catalog, changes nothing.
//!
//! `prepare` prints a plan and `begin` makes it again and compares: the plan is a function of the target and the
//! catalog, so what was printed is what is done or the run stops with `E0311`.

use arrow::datatypes::Field;
use synqx_model::nearest::did_you_mean;
use synqx_model::spec::{SchemaPolicy, WriteMode};
use synqx_model::{Code, Error, Result};
use synqx_sdk::{ColumnPath, Fidelity, PublishPath, Target, annotation, type_names};

use super::design::{self, Design, define, probe, unsupported};
use super::ties;
use crate::catalog::{self, Column, Relation};
use crate::client::{Link, Session};
use crate::encode::Lane;
use crate::fit::{self, Misfit};
use crate::mapping::{Kind, SYSTEM};
use crate::names::{TableName, check_identifier, fnv, quote, quote_all};
use crate::raw;

/// One column that is written.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    pub(crate) lane: Lane,
    /// The target's column.
    pub(crate) column: Column,
    /// Written as this type into staging, then cast.
    pub(crate) staging: Option<&'static str>,
}

/// How rows reach the target.
#[derive(Debug)]
pub(crate) struct WritePlan {
    pub(crate) table: TableName,
    pub(crate) existing: Option<Relation>,
    pub(crate) columns: Vec<Written>,
    /// How they are held, for `synqx plan`.
    pub(crate) held: Vec<ColumnPath>,
    /// How many columns arrive; the mode writes those after them itself.
    pub(crate) arriving: usize,
    /// Rows arrive as they are to be written; nothing is decoded or converted.
    pub(crate) raw: bool,
    /// The table to be made, where there is none.
    pub(crate) made: Design,
    pub(crate) alters: Vec<String>,
    pub(crate) path: PublishPath,
    pub(crate) why: String,
    pub(crate) lanes: usize,
    /// The key has a unique index that `ON CONFLICT` can use.
    pub(crate) indexed: bool,
    /// Triggers or rules may keep rows of an upsert out of the target.
    pub(crate) guarded: bool,
    /// A foreign key that refers to the target can be checked at the end of a replace.
    pub(crate) deferrable: bool,
    pub(crate) notes: Vec<String>,
    pub(crate) fingerprint: String,
}

impl WritePlan {
    pub(crate) fn column_list(&self) -> String {
        quote_all(self.columns.iter().map(|c| c.column.name.as_str()))
    }

    /// The columns whose values arrive.
    pub(crate) fn arrived(&self) -> impl Iterator<Item = &Written> {
        self.columns.iter().filter(|c| c.lane.index < self.arriving)
    }

    /// The target in statements that change or count its own rows: tables that inherit from it keep theirs.
    pub(crate) fn only(&self) -> String {
        let partitioned = self.existing.as_ref().is_some_and(|r| r.kind == "p");
        let only = if partitioned { "" } else { "ONLY " };
        format!("{only}{}", self.table.sql())
    }

    pub(crate) fn has_casts(&self) -> bool {
        self.columns.iter().any(|c| c.staging.is_some())
    }

    pub(crate) fn previous(&self) -> TableName {
        super::rollback::previous_of(&self.table)
    }
}

/// Makes the plan. Errors, all at once: `E0103`, `E0116`, `E0304`, `E0310`, `E0402`, `E0403`, `E0405`–`E0409`.
pub(crate) async fn plan(session: &Session, link: &Link, target: &Target) -> Result<WritePlan> {
    check_request(target)?;
    let arriving = target.schema.fields().len();
    let target = &target.with_own_columns();
    let table = TableName::parse(&target.asset, &link.settings.schema)?;
    let existing = catalog::fetch_relation(session, &table).await?;
    let mut errors = Vec::new();
    let mut notes = Vec::new();
    let mut alters = Vec::new();
    let mut made = Design::default();
    let layout = match &existing {
        Some(relation) => {
            if !matches!(relation.kind.as_str(), "r" | "p") {
                return Err(Error::new(
                    Code::E0310,
                    format!("`{}` is no table: rows cannot be written to it", table.label()),
                )
                .with_hint("name a table"));
            }
            own_columns_exist(relation, target)?;
            match_columns(session, relation, target, &mut errors, &mut notes, &mut alters).await?
        }
        None if !target.create => {
            return Err(catalog::not_found(session, &table)
                .await
                .or_hint("set `create: true` to have it made"));
        }
        None => {
            made = design::design(session, &table, target, &mut notes).await?;
            std::mem::take(&mut made.layout)
        }
    };
    let relayed = target
        .raw
        .as_ref()
        .filter(|_| target.own_columns_named().next().is_none())
        .map(|form| raw::columns(target, form, session.version, &layout));
    let (raw, (columns, held)) = match relayed {
        Some(Ok(columns)) => {
            let held = relayed_as(target, &columns);
            (true, (columns, held))
        }
        Some(Err(why)) => {
            notes.push(format!("rows are decoded on their way, because {why}"));
            (false, fit_columns(target, &layout, &mut errors, &mut notes))
        }
        None => (false, fit_columns(target, &layout, &mut errors, &mut notes)),
    };
    errors.extend(unwritten(target, &table, &layout));
    if let Some(error) = Error::all(errors) {
        return Err(error);
    }
    let mut plan = WritePlan {
        fingerprint: String::new(),
        indexed: existing.as_ref().is_none_or(|r| has_unique(r, &target.key)),
        guarded: false,
        deferrable: false,
        lanes: target.lanes.unwrap_or(1).clamp(1, 4),
        path: PublishPath::Direct,
        why: String::new(),
        table,
        existing,
        columns,
        held,
        made,
        arriving,
        raw,
        alters,
        notes,
    };
    choose_path(session, target, &mut plan).await?;
    plan.fingerprint = fingerprint(&plan);
    Ok(plan)
}

fn fingerprint(plan: &WritePlan) -> String {
    let seen = plan
        .existing
        .as_ref()
        .map_or_else(|| "absent".to_owned(), Relation::fingerprint);
    let columns = plan
        .columns
        .iter()
        .map(|c| format!("{}:{:?}", c.column.name, c.staging))
        .collect::<String>();
    format!(
        "{:016x}",
        fnv(&format!(
            "{seen}|{}|{}|{}|{}|{}|{columns}",
            plan.path.as_str(),
            plan.indexed,
            plan.guarded,
            plan.raw,
            plan.lanes
        ))
    )
}

fn has_unique(relation: &Relation, key: &[String]) -> bool {
    relation.kind == "r"
        && relation
            .unique
            .iter()
            .any(|u| u.len() == key.len() && key.iter().all(|k| u.contains(k)))
}

/// Columns of the key or the order that arrive and that the target does not take.
fn unwritten(target: &Target, table: &TableName, layout: &[Column]) -> Vec<Error> {
    let order_by = target.order_by.iter().map(|o| &o.column);
    let named = target
        .key
        .iter()
        .map(|k| (k, "key", Code::E0408))
        .chain(order_by.map(|o| (o, "order_by", Code::E0401)))
        .chain(
            target
                .partition_by
                .iter()
                .map(|p| (p, "partition_by", Code::E0401)),
        )
        .chain(target.scd2.time.iter().map(|t| (t, "scd2.time", Code::E0401)))
        .chain(target.scd2.track.iter().map(|t| (t, "scd2.track", Code::E0401)));
    named
        .filter(|(name, ..)| !layout.iter().any(|c| c.name == **name && !c.generated))
        .filter(|_| !matches!(target.mode, WriteMode::Append | WriteMode::Replace))
        .map(|(name, word, code)| {
            let label = table.label();
            Error::new(
                code,
                format!("the column `{name}` of `{word}` is not in table `{label}`, or is computed there"),
            )
            .with_hint("name columns that the load writes, or set `schema: evolve`, which adds columns")
        })
        .collect()
}

fn check_request(target: &Target) -> Result<()> {
    super::sequences::wanted(target)?;
    let fields = target.schema.fields();
    if fields.is_empty() {
        return Err(Error::new(
            Code::E0409,
            format!("there are no columns to write to `{}`", target.asset),
        )
        .with_hint("select at least one column"));
    }
    let names: Vec<&str> = fields.iter().map(|f| f.name().as_str()).collect();
    let mut errors = target.check_mode();
    for own in target.own_columns() {
        errors.extend(check_identifier(own.name(), "column").err());
    }
    for (i, name) in names.iter().enumerate() {
        if let Err(error) = check_identifier(name, "column") {
            errors.push(error);
        }
        if names[..i].contains(name) {
            errors.push(
                Error::new(Code::E0406, format!("two columns are called `{name}`"))
                    .with_hint("rename one of them"),
            );
        }
    }
    if target.mode == WriteMode::Upsert && target.key.is_empty() {
        errors.push(Error::new(Code::E0408, "an upsert needs a key").with_hint("set `key: [column, …]`"));
    }
    for key in &target.key {
        if !names.contains(&key.as_str()) {
            let error = Error::new(Code::E0408, format!("the key column `{key}` does not arrive"));
            errors.push(error.with_hint(did_you_mean(key, names.iter().copied())));
        }
    }
    for order in &target.order_by {
        if !names.contains(&order.column.as_str()) {
            let error = Error::new(
                Code::E0401,
                format!("the column `{}` of `order_by` does not arrive", order.column),
            );
            errors.push(error.with_hint(did_you_mean(&order.column, names.iter().copied())));
        }
    }
    Error::all(errors).map_or(Ok(()), Err)
}

/// A history or a mirror that marks needs columns of its own, which no policy leaves out. Errors: `E0310`.
fn own_columns_exist(relation: &Relation, target: &Target) -> Result<()> {
    let lacking: Vec<&str> = target
        .own_columns_named()
        .filter(|name| relation.column(name).is_none())
        .collect();
    let addable = target.mode == WriteMode::Mirror && target.policy != SchemaPolicy::Ignore;
    if lacking.is_empty() || addable {
        return Ok(());
    }
    let (label, word) = (relation.table.label(), target.mode.as_str());
    Err(Error::new(
        Code::E0310,
        format!(
            "table `{label}` lacks columns that `write: {word}` keeps: `{}`",
            lacking.join("`, `")
        ),
    )
    .with_hint("name the columns it has in the mode's options, add them, or load into a new table"))
}

/// The target's columns after the policy has been applied.
async fn match_columns(
    session: &Session,
    relation: &Relation,
    target: &Target,
    errors: &mut Vec<Error>,
    notes: &mut Vec<String>,
    alters: &mut Vec<String>,
) -> Result<Vec<Column>> {
    let label = relation.table.label();
    let mut layout = relation.columns.clone();
    let mut differences = Vec::new();
    let mut added = Vec::new();
    for field in target.schema.fields() {
        match relation.column(field.name()) {
            Some(column) if target.policy == SchemaPolicy::Evolve => {
                if let Some(wider) = widened(field, column) {
                    alters.push(format!(
                        "ALTER TABLE {} ALTER COLUMN {} TYPE {wider}",
                        relation.table.sql(),
                        quote(field.name())
                    ));
                    if let Some(slot) = layout.iter_mut().find(|c| c.name == *field.name()) {
                        slot.kind = if wider == "bigint" {
                            Kind::Int8
                        } else if wider == "integer" {
                            Kind::Int4
                        } else {
                            Kind::Text
                        };
                        slot.native = wider;
                    }
                }
            }
            Some(_) => {}
            None => match target.policy {
                SchemaPolicy::Strict => {
                    differences.push(format!("`{}` arrives and is not in the target", field.name()))
                }
                SchemaPolicy::Evolve => {
                    let definition = define(session, field, notes).await?;
                    alters.push(format!(
                        "ALTER TABLE {} ADD COLUMN {definition}",
                        relation.table.sql()
                    ));
                    added.push(definition);
                }
                SchemaPolicy::Ignore => notes.push(format!(
                    "column `{}` is not in the target and is left out",
                    field.name()
                )),
            },
        }
    }
    for column in &relation.columns {
        let arrives = target.schema.field_with_name(&column.name).is_ok();
        match (arrives, column.generated) {
            (true, true) => notes.push(format!(
                "column `{}` is computed by the target and is not written",
                column.name
            )),
            (false, false) => match absent(column, target) {
                Ok(note) => notes.push(note),
                Err(difference) => differences.push(difference),
            },
            _ => {}
        }
    }
    if !differences.is_empty() {
        errors.push(
            Error::new(Code::E0405, format!("the columns differ from those of table `{label}`"))
                .with_detail(format!("{}.", differences.join("; ")))
                .with_hint("rename or drop columns in the pipeline, or set `schema: evolve` (adds columns, and leaves out what does not arrive) or `schema: ignore`"),
        );
    }
    layout.extend(probe(session, &added).await?);
    Ok(layout)
}

/// What a column that the target has and the load lacks means: a note, or a difference that stops the load.
fn absent(column: &Column, target: &Target) -> std::result::Result<String, String> {
    let name = &column.name;
    let identity = !column.identity.is_empty();
    let strict = target.policy == SchemaPolicy::Strict;
    if column.not_null && !column.has_default && !identity {
        return Err(format!(
            "`{name}` of the target must not be NULL, has no default and does not arrive"
        ));
    }
    let filled = match (identity, column.has_default) {
        (true, _) => "its numbers",
        (false, true) => "its default",
        (false, false) => "NULL",
    };
    match (strict, target.mode) {
        (true, WriteMode::Replace) if !identity => Err(format!(
            "`{name}` of the target does not arrive, and every row would get {filled}"
        )),
        (true, _) if !identity && !column.has_default => {
            Err(format!("`{name}` of the target does not arrive"))
        }
        (_, WriteMode::Upsert | WriteMode::Mirror) => Ok(format!(
            "column `{name}` does not arrive: new rows get {filled}, other rows keep what they have"
        )),
        _ => Ok(format!("column `{name}` does not arrive: rows get {filled}")),
    }
}

/// The wider type `evolve` gives a column, where the incoming one needs it.
fn widened(field: &Field, column: &Column) -> Option<String> {
    use arrow::datatypes::DataType as D;
    if !column.plain || column.generated {
        return None;
    }
    match (field.data_type(), &column.kind) {
        (D::Int64 | D::UInt32, Kind::Int2 | Kind::Int4) => Some("bigint".into()),
        (D::Int32 | D::UInt16, Kind::Int2) => Some("integer".into()),
        (source, Kind::Text) if type_names::is_text(source) => {
            let length = |native: &str| -> Option<u32> {
                native
                    .strip_prefix("character varying(")?
                    .strip_suffix(')')?
                    .parse()
                    .ok()
            };
            let has = length(&column.native)?;
            match annotation::native(field, SYSTEM) {
                Some(native) => match length(native) {
                    Some(wants) if wants > has => Some(native.to_owned()),
                    None if matches!(native, "text" | "character varying") => Some("text".into()),
                    _ => None,
                },
                None => None,
            }
        }
        _ => None,
    }
}

fn fit_columns(
    target: &Target,
    layout: &[Column],
    errors: &mut Vec<Error>,
    notes: &mut Vec<String>,
) -> (Vec<Written>, Vec<ColumnPath>) {
    let (mut columns, mut held) = (Vec::new(), Vec::new());
    let (mut losses, mut narrow) = (Vec::new(), Vec::new());
    for (index, field) in target.schema.fields().iter().enumerate() {
        let Some(column) = layout
            .iter()
            .find(|c| c.name == *field.name())
            .filter(|c| !c.generated)
        else {
            continue;
        };
        match fit::fit(field, column) {
            Ok(fit) => {
                notes.extend(fit::too_long(field, column));
                if fit.narrow {
                    narrow.push(format!(
                        "`{}` is {} in the target and {} here",
                        field.name(),
                        column.native,
                        type_names::render_type(field.data_type())
                    ));
                }
                let native = column.native.clone();
                let text = is_textual(&column.kind);
                held.push(ColumnPath::of(field, native, text, fit.loss.clone()));
                if let Some(loss) = fit.loss {
                    if target.allow_loss.contains(field.name()) {
                        notes.push(format!("column `{}` loses {loss}, as allowed", field.name()));
                    } else {
                        losses.push(format!(
                            "`{}` ({} → {}) would lose {loss}",
                            field.name(),
                            type_names::render_type(field.data_type()),
                            column.native
                        ));
                    }
                }
                let lane = Lane {
                    index,
                    name: field.name().clone(),
                    wire: fit.wire,
                };
                columns.push(Written {
                    lane,
                    column: column.clone(),
                    staging: fit.staging,
                });
            }
            Err(Misfit::Unsupported) => errors.push(unsupported(field)),
            Err(Misfit::Types) => errors.push(
                Error::new(
                    Code::E0402,
                    format!(
                        "column `{}` is {} and the target's is {}",
                        field.name(),
                        type_names::render_type(field.data_type()),
                        column.native
                    ),
                )
                .with_hint("convert it with a `cast` step before the load"),
            ),
        }
    }
    errors.extend(misfits(target, &losses, &narrow));
    if columns.is_empty() && errors.is_empty() {
        errors.push(
            Error::new(
                Code::E0409,
                format!("no column arrives that `{}` has", target.asset),
            )
            .with_hint("rename columns in the pipeline"),
        );
    }
    (columns, held)
}

/// Columns whose bytes are relayed: they are what they were.
fn relayed_as(target: &Target, columns: &[Written]) -> Vec<ColumnPath> {
    let path = |written: &Written| {
        let native = written.column.native.clone();
        ColumnPath {
            wire: "binary COPY".to_owned(),
            fidelity: Fidelity::Exact,
            ..ColumnPath::of(target.schema.field(written.lane.index), native, false, None)
        }
    };
    columns.iter().map(path).collect()
}

/// Whether a column holds text and nothing else.
fn is_textual(kind: &Kind) -> bool {
    matches!(kind, Kind::Text | Kind::Bpchar | Kind::Json | Kind::Jsonb)
}

/// The errors for columns that would lose something, and for columns that do not hold every number that may arrive.
fn misfits(target: &Target, losses: &[String], narrow: &[String]) -> Vec<Error> {
    let mut errors = Vec::new();
    if !losses.is_empty() {
        errors.push(
            Error::new(
                Code::E0403,
                format!("`{}` cannot hold every column without loss", target.asset),
            )
            .with_detail(format!("{}.", losses.join("; ")))
            .with_hint(
                "change the target's column, convert in the pipeline, or consent with `allow_loss: [column]`",
            ),
        );
    }
    if !narrow.is_empty() {
        errors.push(
            Error::new(
                Code::E0405,
                format!("columns of `{}` are narrower than what arrives", target.asset),
            )
            .with_detail(format!("{}.", narrow.join("; ")))
            .with_hint(match target.policy {
                SchemaPolicy::Evolve => {
                    "put a `cast` before the load, or widen the target's column with ALTER TABLE"
                }
                _ => "put a `cast` before the load, or set `schema: evolve`, which widens whole numbers",
            }),
        );
    }
    errors
}

async fn choose_path(session: &Session, target: &Target, plan: &mut WritePlan) -> Result<()> {
    let casts = plan.has_casts();
    if let Some(relation) = &plan.existing
        && !matches!(target.mode, WriteMode::Append | WriteMode::Replace)
    {
        plan.guarded = ties::guarded(session, relation).await?;
    }
    if let Some(relation) = plan.existing.as_ref().filter(|_| ties::deletes(target)) {
        let references = ties::references(session, relation).await?;
        ties::check_references(target, &relation.table.label(), &references)?;
        plan.deferrable = references.iter().any(|r| r.deferrable);
    }
    if plan.existing.is_some() {
        super::mirror::check_scope(session, target, plan).await?;
    }
    let (path, why): (_, String) = match (&plan.existing, target.mode) {
        (_, WriteMode::DeleteInsert) => (
            PublishPath::Staged,
            "the slices that arrive are deleted and inserted again in one transaction".into(),
        ),
        (_, WriteMode::Mirror) => (
            PublishPath::Staged,
            "staged rows are compared with the target, and what is missing there is deleted, in one transaction".into(),
        ),
        (_, WriteMode::Scd2) => (
            PublishPath::Staged,
            "staged versions are compared with the history; changed ones are closed and opened in one transaction".into(),
        ),
        (_, WriteMode::Upsert) => (
            PublishPath::Staged,
            "an upsert compares staged rows with the target in one statement".into(),
        ),
        (None, _) if casts => (
            PublishPath::Staged,
            "some columns are converted by the server when they are published".into(),
        ),
        (None, _) => (
            PublishPath::Fresh,
            "the table does not exist: it is filled under a staging name and renamed".into(),
        ),
        (Some(_), WriteMode::Append) if casts => (
            PublishPath::Staged,
            "some columns are converted by the server when they are published".into(),
        ),
        (Some(_), WriteMode::Append) if plan.lanes > 1 => (
            PublishPath::Staged,
            "several lanes fill staging, one statement publishes it".into(),
        ),
        (Some(_), WriteMode::Append) => (
            PublishPath::Direct,
            "one lane: rows, position and fence are one transaction on the target".into(),
        ),
        (Some(relation), _) => {
            let mut ties = ties::ties(session, relation).await?;
            if target.replace.truncate {
                ties.push("`truncate` was asked for".into());
            }
            if casts {
                ties.push("some columns are converted by the server when they are published".into());
            }
            if ties.is_empty() {
                (
                    PublishPath::Fresh,
                    "nothing depends on the table: a new one is filled beside it and swapped in by rename"
                        .into(),
                )
            } else {
                (
                    PublishPath::Staged,
                    format!(
                        "the table stays and its rows are replaced in one transaction, because {}",
                        ties.join(", ")
                    ),
                )
            }
        }
    };
    if let Some(lock) = lock_taken(path, target, plan) {
        plan.notes.push(format!("lock on the target: {lock}"));
    }
    if path == PublishPath::Direct {
        plan.lanes = 1;
    }
    (plan.path, plan.why) = (path, why);
    Ok(())
}

/// The lock that publishing takes on the target, in words.
fn lock_taken(path: PublishPath, target: &Target, plan: &WritePlan) -> Option<&'static str> {
    match (path, target.mode, &plan.existing) {
        (PublishPath::Fresh, WriteMode::Replace, Some(_)) => {
            Some("ACCESS EXCLUSIVE for the moment of the swap")
        }
        (PublishPath::Staged, WriteMode::Replace, Some(_)) if target.replace.truncate => Some(
            "ACCESS EXCLUSIVE while rows are replaced; readers with an older snapshot see the table empty",
        ),
        (PublishPath::Staged, WriteMode::Replace, Some(_)) => {
            Some("SHARE ROW EXCLUSIVE while rows are replaced: reading goes on, writing waits")
        }
        (PublishPath::Staged, WriteMode::DeleteInsert | WriteMode::Mirror | WriteMode::Scd2, Some(_)) => {
            Some("SHARE ROW EXCLUSIVE while rows are published: reading goes on, writing waits")
        }
        (PublishPath::Staged, WriteMode::Upsert, Some(_)) if !plan.indexed => Some(
            "SHARE ROW EXCLUSIVE during the upsert, because no unique index matches the key: reading goes on, writing waits",
        ),
        (PublishPath::Staged, WriteMode::Upsert, Some(_)) if plan.guarded => Some(
            "SHARE ROW EXCLUSIVE during the upsert, because triggers or rules may keep rows out and are counted against: reading goes on, writing waits",
        ),
        _ => None,
    }
}
