//! What a load will do to a table: which columns meet which, what is created, and how rows are published.
//!
//! Pure: from what the catalog says and what the document wants to a `Shape`, with every difference reported at once.
//! `begin` makes the shape again from the catalog and compares fingerprints, so nothing is decided on old knowledge.

use arrow::datatypes::Field;
use synqx_model::spec::{SchemaPolicy, WriteMode};
use synqx_model::{Code, Error, Result};
use synqx_sdk::annotation;
use synqx_sdk::type_names::render_type;
use synqx_sdk::{Action, ColumnPath, Delivery, FenceKind, Limits, Preparation, PublishPath, Target};

use crate::catalog::{self, OURS, Table};
use crate::client::{quote, quote_all};
use crate::config::WriteOptions;
use crate::encode::Slot;
use crate::mapping::{self, Affinity, Fit, affinity, fit, is_plain};

/// What SQLite can and cannot promise.
pub(crate) fn limits() -> Limits {
    Limits {
        identifier_bytes: None,
        case_insensitive: true,
        columns: Some(2000),
        transactional_ddl: true,
        modes: vec![
            WriteMode::Append,
            WriteMode::Replace,
            WriteMode::Upsert,
            WriteMode::DeleteInsert,
            WriteMode::Scd2,
            WriteMode::Mirror,
        ],
        parallel_writers: 1,
        concurrent_loads: 1,
        timestamp_digits: 9,
        decimal_digits: Some(76),
        nul_in_text: true,
        fence: FenceKind::Transaction,
        delivery: Delivery::ExactlyOnce,
    }
}

/// How rows get from staging into the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// The staging table becomes the target.
    Rename,
    /// The target is dropped and the staging table takes its name.
    Swap,
    /// Rows are added.
    Append,
    /// Rows are deleted, then added.
    Refill,
    /// By key.
    Upsert,
    /// The slices that arrive are deleted, then rows are added.
    Slices,
    /// By key, and what does not arrive is deleted or marked.
    Mirror,
    /// Versions of a key are closed and opened.
    History,
}

impl How {
    /// Rows go away without foreign keys acting on it; what that leaves behind is checked afterwards.
    pub(crate) fn checks_orphans(self) -> bool {
        matches!(self, How::Refill | How::Slices | How::Mirror)
    }
}

/// A column of `order_by` that the target stores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ordered {
    pub(crate) column: String,
    pub(crate) descending: bool,
    /// What both sides are compared as.
    pub(crate) kind: mapping::Kind,
}

/// A decision about a load.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    pub(crate) name: String,
    pub(crate) table: Option<Table>,
    pub(crate) how: How,
    /// What arrives, in the order of `columns`.
    pub(crate) slots: Vec<Slot>,
    /// The target's column for each slot.
    pub(crate) columns: Vec<String>,
    /// Columns that are added: name and declared type.
    pub(crate) added: Vec<(String, String)>,
    /// How many columns arrive; the mode writes those after them itself.
    pub(crate) arriving: usize,
    /// The target's key columns, where the mode has a key.
    pub(crate) key: Vec<String>,
    pub(crate) keep_previous: bool,
    pub(crate) dependents: Vec<String>,
    /// The leading columns of `order_by` that the target has, to be compared with what is stored.
    pub(crate) order: Vec<Ordered>,
    why: &'static str,
    notes: Vec<String>,
    /// The statement's part after the name, for a table that is created or swapped.
    pub(crate) definition: String,
}

/// Decides. Errors, all at once: `E0304`, `E0310`, `E0403`, `E0405`, `E0406`, `E0407`, `E0408`, `E0409`.
pub(crate) fn plan_shape(table: Option<Table>, target: &Target, dependents: Vec<String>) -> Result<Shape> {
    let name = table
        .as_ref()
        .map_or_else(|| catalog::table_name(&target.asset), |t| t.name.clone());
    synqx_model::spec::decode_map::<WriteOptions>(&target.options, "options")?;
    refuse_target(&name, table.as_ref(), target)?;
    let (arriving, mode_errors) = (target.schema.fields().len(), target.check_mode());
    let target = &target.with_own_columns();
    let Columns {
        mut slots,
        columns,
        added,
        mut errors,
        notes,
    } = match &table {
        Some(table) => mark_rowid(table, meet(table, target)),
        None => create(target)?,
    };
    errors.extend(mode_errors);
    let key = key_columns(target, &slots, &columns, &mut errors);
    errors.extend(unwritten(target, &name, &slots));
    if let Some(error) = Error::all(errors) {
        return Err(error);
    }
    let keys = match target.mode {
        WriteMode::Upsert | WriteMode::Mirror => target.key.clone(),
        WriteMode::Scd2 => target.version_key(),
        _ => target.source_key.clone(),
    };
    let created = table.is_none() || target.has_key();
    for slot in slots
        .iter_mut()
        .filter(|slot| created && keys.contains(slot.field.name()))
    {
        slot.key = true;
    }
    let (how, why) = choose(table.as_ref(), target, &name, &dependents);
    let primary = match target.mode {
        WriteMode::Scd2 => key.iter().chain([&target.scd2.valid_from]).cloned().collect(),
        _ if target.has_key() => key.clone(),
        _ => target.source_key.clone(),
    };
    let definition = match (&table, how) {
        (Some(table), How::Swap) => body(table).unwrap_or_default(),
        (None, _) => define(&slots, &columns, &primary),
        _ => String::new(),
    };
    let order = match &table {
        Some(_) if how == How::Upsert => ordered(target, &slots, &columns, &added),
        _ => Vec::new(),
    };
    let keep_previous = target.replace.keep_previous && table.is_some() && target.mode == WriteMode::Replace;
    Ok(Shape {
        name,
        table,
        how,
        slots,
        columns,
        added,
        arriving,
        key,
        keep_previous,
        dependents,
        order,
        why,
        notes,
        definition,
    })
}

/// The leading columns of `order_by` in which what arrives can be compared with what is stored.
fn ordered(target: &Target, slots: &[Slot], columns: &[String], added: &[(String, String)]) -> Vec<Ordered> {
    let one = |order: &synqx_sdk::OrderBy| {
        let at = slots.iter().position(|s| *s.field.name() == order.column)?;
        let (slot, column) = (&slots[at], &columns[at]);
        if added.iter().any(|(name, _)| name == column) {
            return None;
        }
        Some(Ordered {
            column: column.clone(),
            descending: order.descending,
            kind: mapping::comparable(&slot.field, &slot.declared)?,
        })
    };
    target.order_by.iter().map_while(one).collect()
}

fn refuse_target(name: &str, table: Option<&Table>, target: &Target) -> Result<()> {
    let refuse = |detail: &str, hint: &str| {
        let message = format!("cannot {} into `{name}`", target.mode.as_str());
        Err(Error::new(Code::E0310, message)
            .with_detail(detail)
            .with_hint(hint))
    };
    if name.to_lowercase().starts_with(OURS) || name.to_lowercase().starts_with("sqlite_") || name.is_empty()
    {
        return refuse(
            "Names that begin with `_synqx_` or `sqlite_` are taken.",
            "choose another asset name",
        );
    }
    match table {
        None if !target.create => Err(Error::new(Code::E0304, format!("table `{name}` does not exist"))
            .with_hint("write `create: true`, or create the table first")),
        Some(table) if table.view => refuse("It is a view.", "load into the table behind it"),
        Some(table) if table.is_virtual => refuse("It is a virtual table.", "load into a plain table"),
        Some(table) => {
            let addable = target.mode == WriteMode::Mirror && target.policy != SchemaPolicy::Ignore;
            match target.own_columns_named().find(|own| table.column(own).is_none()) {
                Some(own) if !addable => refuse(
                    &format!("The table has no column `{own}`, which this mode keeps."),
                    "name the columns it has in the mode's options, add them, or load into a new table",
                ),
                _ => Ok(()),
            }
        }
        None => Ok(()),
    }
}

struct Columns {
    slots: Vec<Slot>,
    columns: Vec<String>,
    added: Vec<(String, String)>,
    errors: Vec<Error>,
    notes: Vec<String>,
}

fn create(target: &Target) -> Result<Columns> {
    let mut found = Columns {
        slots: Vec::new(),
        columns: Vec::new(),
        added: Vec::new(),
        errors: Vec::new(),
        notes: Vec::new(),
    };
    if target.schema.fields().is_empty() {
        return Err(Error::new(
            Code::E0409,
            format!("the load into `{}` has no columns", target.asset),
        )
        .with_hint("a table needs at least one column; check the nodes before the load"));
    }
    for (index, field) in target.schema.fields().iter().enumerate() {
        if found.columns.iter().any(|c| c.eq_ignore_ascii_case(field.name())) {
            found.errors.push(
                Error::new(
                    Code::E0406,
                    format!(
                        "column `{}` appears twice in the load into `{}`",
                        field.name(),
                        target.asset
                    ),
                )
                .with_detail("Names that differ only in case are one name in SQLite.")
                .with_hint("put a `rename` before the load"),
            );
        }
        match mapping::declare(field) {
            Ok(declared) => found.slots.push(Slot {
                field: field.as_ref().clone(),
                declared,
                index,
                key: false,
                loss: target.allow_loss.contains(field.name()),
            }),
            Err(error) => found.errors.push(error),
        }
        found.columns.push(field.name().clone());
    }
    Ok(found)
}

fn meet(table: &Table, target: &Target) -> Columns {
    let mut found = Columns {
        slots: Vec::new(),
        columns: Vec::new(),
        added: Vec::new(),
        errors: Vec::new(),
        notes: Vec::new(),
    };
    let mut differences = Vec::new();
    let ignore = target.policy == SchemaPolicy::Ignore;
    for (index, field) in target.schema.fields().iter().enumerate() {
        let slot = |declared: &str| Slot {
            field: field.as_ref().clone(),
            declared: declared.to_owned(),
            index,
            key: false,
            loss: target.allow_loss.contains(field.name()),
        };
        match table.column(field.name()) {
            Some(column) if column.generated => {
                if !ignore {
                    differences.push(format!("~ {}: generated in the target.", field.name()));
                }
            }
            Some(column) if found.columns.contains(&column.name) => {
                differences.push(format!(
                    "~ {}: the load has it twice, in different case.",
                    column.name
                ));
            }
            Some(column) => {
                match fit(field, &column.declared) {
                    Ok(Fit::Exact) => {}
                    Ok(Fit::Lossy) if target.allow_loss.contains(field.name()) => {}
                    Ok(Fit::Lossy) => found.errors.push(lossy(field, &column.declared)),
                    Ok(Fit::No) => differences.push(format!(
                        "~ {}: target {}, load {}.",
                        field.name(),
                        if column.declared.is_empty() {
                            "without a type"
                        } else {
                            &column.declared
                        },
                        render_type(field.data_type())
                    )),
                    Err(error) => found.errors.push(error),
                }
                found.slots.push(slot(&column.declared));
                found.columns.push(column.name.clone());
            }
            None if ignore => {}
            None => match (target.policy, mapping::declare(field)) {
                (SchemaPolicy::Evolve, Ok(declared)) => {
                    found.slots.push(slot(&declared));
                    found.columns.push(field.name().clone());
                    found.added.push((field.name().clone(), declared));
                }
                (SchemaPolicy::Evolve, Err(error)) => found.errors.push(error),
                _ => differences.push(format!(
                    "+ {} {} (not in the target).",
                    field.name(),
                    render_type(field.data_type())
                )),
            },
        }
    }
    absent(table, target, &mut found, &mut differences);
    if !differences.is_empty() {
        found.errors.push(
            Error::new(Code::E0405, format!("schema of the load differs from target `{}`", table.name))
                .with_detail(differences.join(" "))
                .with_hint("use `schema: evolve` to add columns and leave out what does not arrive, or `schema: ignore` to load the columns both sides have; a column's type is changed with `cast`"),
        );
    }
    found
}

/// NULL in the column that is the rowid would become a number of SQLite's choice.
fn mark_rowid(table: &Table, mut found: Columns) -> Columns {
    for (slot, column) in found.slots.iter_mut().zip(&found.columns) {
        slot.key = table.rowid_alias() == Some(column.as_str());
    }
    found
}

/// What the target has and the load lacks: notes, or differences that stop the load.
fn absent(table: &Table, target: &Target, found: &mut Columns, differences: &mut Vec<String>) {
    let ignore = target.policy == SchemaPolicy::Ignore;
    for column in table
        .columns
        .iter()
        .filter(|c| !c.generated && !found.columns.contains(&c.name))
    {
        let numbered = table.rowid_alias() == Some(column.name.as_str());
        let filled = !column.not_null || column.has_default || numbered;
        let silent = match (target.policy, target.mode) {
            (SchemaPolicy::Strict, WriteMode::Replace) => numbered,
            (SchemaPolicy::Strict, _) => numbered || column.has_default,
            _ => filled,
        };
        let what = match (numbered, column.has_default) {
            (true, _) => "the next number",
            (false, true) => "its default",
            (false, false) => "NULL",
        };
        if silent && matches!(target.mode, WriteMode::Upsert | WriteMode::Mirror) {
            found.notes.push(format!(
                "column `{}` does not arrive: new rows get {what}, other rows keep what they have",
                column.name
            ));
        } else if silent {
            found.notes.push(format!(
                "column `{}` does not arrive: rows get {what}",
                column.name
            ));
        } else {
            let needed = if filled { "" } else { ", and it needs a value" };
            differences.push(format!(
                "- {} {} (not in the load{needed}).",
                column.name, column.declared
            ));
        }
    }
    if ignore && found.slots.is_empty() {
        differences.push("The load and the target have no column in common.".to_owned());
    }
}

fn lossy(field: &Field, declared: &str) -> Error {
    let form = match affinity(declared) {
        Affinity::Real => "floating point",
        _ => "a number of at most 15 exact digits, or floating point",
    };
    Error::new(
        Code::E0403,
        format!(
            "column `{}` cannot be held without loss by its column in SQLite",
            field.name()
        ),
    )
    .with_detail(format!(
        "The column is declared {declared}, which keeps {} as {form}.",
        render_type(field.data_type())
    ))
    .with_hint(format!(
        "add `allow_loss: [{}]`, or declare the column {}",
        field.name(),
        mapping::Kind::of_field(field)
            .map(mapping::Kind::declared)
            .unwrap_or_else(|_| "TEXT".to_owned())
    ))
}

/// The target's names of the key columns; marks their slots.
fn key_columns(target: &Target, slots: &[Slot], columns: &[String], errors: &mut Vec<Error>) -> Vec<String> {
    if !target.has_key() {
        return Vec::new();
    }
    if target.key.is_empty() && target.mode == WriteMode::Upsert {
        errors.push(
            Error::new(
                Code::E0408,
                format!("the upsert into `{}` has no key", target.asset),
            )
            .with_hint("add `key: [column]`"),
        );
    }
    let mut key = Vec::new();
    let place = |name: &str| slots.iter().position(|slot| slot.field.name() == name);
    for name in &target.key {
        match place(name) {
            Some(at) => key.extend(columns.get(at).cloned()),
            None => errors.push(
                Error::new(
                    Code::E0408,
                    format!("key column `{name}` is not in the load into `{}`", target.asset),
                )
                .with_hint("name columns that both the load and its target have"),
            ),
        }
    }
    for order in target
        .order_by
        .iter()
        .filter(|order| target.schema.index_of(&order.column).is_err())
    {
        errors.push(
            Error::new(
                Code::E0401,
                format!(
                    "column `{}` of `order_by` is not in the load into `{}`",
                    order.column, target.asset
                ),
            )
            .with_hint("name a column of the load"),
        );
    }
    for order in &target.order_by {
        if target
            .schema
            .field_with_name(&order.column)
            .is_ok_and(annotation::is_numeric_text)
        {
            errors.push(
                Error::new(
                    Code::E0310,
                    format!("column `{}` of `order_by` is a decimal of any size", order.column),
                )
                .with_hint("cast it to a decimal with digits and places before the load"),
            );
        }
    }
    key
}

/// Columns that the mode names and that arrive but are not written.
fn unwritten(target: &Target, name: &str, slots: &[Slot]) -> Vec<Error> {
    let named: Vec<&str> = match target.mode {
        WriteMode::DeleteInsert => target.partition_by.iter().map(String::as_str).collect(),
        WriteMode::Scd2 => {
            let columns = target.scd2.time.iter().chain(&target.scd2.track);
            columns.map(String::as_str).collect()
        }
        WriteMode::Mirror => target.mirror.scope.iter().map(|(column, _)| column).collect(),
        _ => Vec::new(),
    };
    let lacking = named.into_iter().filter(|column| {
        target.schema.field_with_name(column).is_ok() && !slots.iter().any(|s| s.field.name() == *column)
    });
    lacking
        .map(|column| {
            let what = format!(
                "the column `{column}` that `write: {}` names is not in table `{name}`",
                target.mode.as_str()
            );
            Error::new(Code::E0401, what)
                .with_hint("name columns that the load writes, or set `schema: evolve`, which adds columns")
        })
        .collect()
}

fn choose(table: Option<&Table>, target: &Target, name: &str, dependents: &[String]) -> (How, &'static str) {
    match target.mode {
        WriteMode::DeleteInsert => {
            return (
                How::Slices,
                "the slices that arrive are deleted and inserted again",
            );
        }
        WriteMode::Mirror => {
            return (
                How::Mirror,
                "rows meet what is there by key, and what is missing is deleted",
            );
        }
        WriteMode::Scd2 => return (How::History, "versions are compared with the history by key"),
        WriteMode::Append | WriteMode::Replace | WriteMode::Upsert => {}
    }
    let Some(table) = table else {
        return match target.mode {
            WriteMode::Upsert => (
                How::Upsert,
                "the table is created by this run; rows of one key are sorted out in staging",
            ),
            _ => (How::Rename, "the table is created by this run"),
        };
    };
    match target.mode {
        WriteMode::Upsert => (How::Upsert, "rows meet what is there by key"),
        WriteMode::Replace if target.replace.truncate => (How::Refill, "`truncate` was asked for"),
        WriteMode::Replace if !dependents.is_empty() => {
            (How::Refill, "views, triggers or foreign keys depend on the table")
        }
        WriteMode::Replace if !swappable(table, name) => (
            How::Refill,
            "the table's definition cannot be made again under another name",
        ),
        WriteMode::Replace => (
            How::Swap,
            "nothing depends on the table, so a new one takes its place",
        ),
        _ => (
            How::Append,
            "rows are added to a table that exists, and the lock is free while they arrive",
        ),
    }
}

/// A definition that mentions its own name, or counts upwards, is not made again under another one.
fn swappable(table: &Table, name: &str) -> bool {
    let Some(body) = body(table) else { return false };
    let lower = body.to_lowercase();
    let mut words = lower.split(|c: char| !c.is_alphanumeric() && c != '_');
    !words.any(|word| word == name.to_lowercase() || word == "autoincrement")
        && (name.chars().all(|c| c.is_alphanumeric() || c == '_') || !lower.contains(&name.to_lowercase()))
}

/// What follows the name in `CREATE TABLE name …`.
pub(crate) fn body(table: &Table) -> Option<String> {
    let rest = table
        .sql
        .get(..12)
        .filter(|head| head.eq_ignore_ascii_case("CREATE TABLE"))?;
    let rest = table.sql[rest.len()..].trim_start();
    let close = match rest.chars().next()? {
        quote @ ('"' | '`' | '\'') => quote,
        '[' => ']',
        _ => {
            let end = rest.find(|c: char| c.is_whitespace() || c == '(')?;
            return Some(rest[end..].to_owned());
        }
    };
    let mut at = 1;
    loop {
        at += rest[at..].find(close)? + 1;
        if close == ']' || !rest[at..].starts_with(close) {
            return Some(rest[at..].to_owned());
        }
        at += 1;
    }
}

fn define(slots: &[Slot], columns: &[String], key: &[String]) -> String {
    let in_key = |name: &str| key.iter().any(|k| k == name);
    let rowid = key.len() == 1
        && slots
            .iter()
            .any(|s| in_key(s.field.name()) && s.declared == "INTEGER");
    let mut parts: Vec<String> = Vec::with_capacity(columns.len() + 1);
    for (slot, column) in slots.iter().zip(columns) {
        let constraint = match in_key(slot.field.name()) {
            true if rowid => " PRIMARY KEY NOT NULL",
            true => " NOT NULL",
            false => "",
        };
        parts.push(
            format!("{} {}{constraint}", quote(column), slot.declared)
                .trim_end()
                .to_owned(),
        );
    }
    if !key.is_empty() && !rowid {
        parts.push(format!(
            "PRIMARY KEY ({})",
            quote_all(key.iter().map(String::as_str))
        ));
    }
    format!(" ({})", parts.join(", "))
}

impl Shape {
    /// Constraints of the target replace or ignore rows that break them.
    pub(crate) fn is_tolerant(&self) -> bool {
        self.words().contains("on conflict")
    }

    /// The first words of a statement that inserts. A NULL that a constraint would replace by the default is refused.
    pub(crate) fn insert_words(&self) -> &'static str {
        if self.words().contains("not null on conflict") {
            "INSERT OR ABORT"
        } else {
            "INSERT"
        }
    }

    /// The target's definition in lower case, with single blanks.
    fn words(&self) -> String {
        let sql = self.table.as_ref().map_or("", |t| t.sql.as_str()).to_lowercase();
        sql.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// The target's column that takes what arrives, or what the mode writes, under a name of the document.
    pub(crate) fn column_of(&self, name: &str) -> &str {
        let at = self.slots.iter().position(|slot| slot.field.name() == name);
        at.and_then(|at| self.columns.get(at)).map_or("", String::as_str)
    }

    /// The slots and columns whose values arrive.
    pub(crate) fn arrived(&self) -> impl Iterator<Item = (&Slot, &String)> {
        let both = self.slots.iter().zip(&self.columns);
        both.filter(|(slot, _)| slot.index < self.arriving)
    }

    /// The statements that make the staging table.
    pub(crate) fn stage(&self, staging: &str) -> Vec<String> {
        let staging = quote(staging);
        if matches!(self.how, How::Rename | How::Swap) {
            let mut statements = vec![format!("CREATE TABLE main.{staging}{}", self.definition)];
            statements.extend(self.added.iter().map(|(name, declared)| {
                format!("ALTER TABLE main.{staging} ADD COLUMN {} {declared}", quote(name))
            }));
            return statements;
        }
        let mut parts = vec!["\"_synqx_seq\" INTEGER PRIMARY KEY".to_owned()];
        for (slot, column) in self.slots.iter().zip(&self.columns) {
            let collation = self
                .table
                .as_ref()
                .and_then(|t| t.column(column))
                .map(|c| c.collation.as_str());
            let collation = collation
                .filter(|c| ["NOCASE", "RTRIM"].contains(c))
                .map(|c| format!(" COLLATE {c}"));
            parts.push(format!(
                "{} {}{}",
                quote(column),
                plain_type(&slot.declared),
                collation.unwrap_or_default()
            ));
        }
        parts.push("\"_synqx_order\" BLOB".to_owned());
        vec![format!("CREATE TABLE main.{staging} ({})", parts.join(", "))]
    }

    fn columns_held(&self) -> Vec<ColumnPath> {
        let path = |slot: &Slot| {
            let lossy = slot.loss && !matches!(fit(&slot.field, &slot.declared), Ok(Fit::Exact));
            let loss = lossy.then(|| format!("what {} does not hold", slot.declared));
            ColumnPath::of(
                &slot.field,
                slot.declared.clone(),
                is_told(&slot.declared, &slot.field),
                loss,
            )
        };
        self.slots.iter().map(path).collect()
    }

    /// What `prepare` answers.
    pub(crate) fn preparation(&self, fingerprint: String) -> Preparation {
        let mut actions = Vec::new();
        let mut act = |text: String, when: &'static str| actions.push(Action { text, when });
        for statement in self.stage("_synqx_<stream>_<run>") {
            act(statement, "begin");
        }
        for (name, declared) in self.added.iter().filter(|_| self.how != How::Swap) {
            act(
                format!(
                    "ALTER TABLE {} ADD COLUMN {} {declared}",
                    quote(&self.name),
                    quote(name)
                ),
                "commit",
            );
        }
        let table = quote(&self.name);
        match self.how {
            How::Rename => act(format!("CREATE TABLE {table}{}", self.definition), "commit"),
            How::Swap => act(
                format!("replace {table} by the staging table, in one transaction"),
                "commit",
            ),
            How::Append => act(format!("INSERT INTO {table} SELECT … FROM staging"), "commit"),
            How::Refill => act(
                format!("DELETE FROM {table}; INSERT INTO {table} SELECT … FROM staging"),
                "commit",
            ),
            How::Slices | How::Mirror | How::History | How::Upsert => {
                if self.table.is_none() {
                    act(format!("CREATE TABLE {table}{}", self.definition), "commit");
                }
                let key = quote_all(self.key.iter().map(String::as_str));
                act(
                    match self.how {
                        How::Slices => format!(
                            "DELETE FROM {table} the slices that are staged; INSERT INTO {table} SELECT … FROM staging"
                        ),
                        How::Mirror => format!(
                            "delete or mark what is missing in staging; upsert into {table} by ({key})"
                        ),
                        How::History => {
                            format!("close changed versions of {table} by ({key}); insert the new ones")
                        }
                        _ => format!("upsert into {table} by ({key})"),
                    },
                    "commit",
                );
            }
        }
        let mut notes = self.notes.clone();
        notes.push(
            "the file's write lock is held while a batch is staged and while the load is published, not between".to_owned(),
        );
        if self.how == How::Refill && !self.dependents.is_empty() {
            notes.push(format!(
                "the table is emptied and filled again, because of {}; its triggers fire",
                self.dependents.join(", ")
            ));
        }
        if self.how == How::Upsert && self.table.as_ref().is_some_and(|t| !t.has_unique_key(&self.key)) {
            notes.push("no unique index matches the key, so rows are compared with UPDATE and INSERT; an index on the key makes this faster".to_owned());
        }
        if self.keep_previous {
            notes.push(format!(
                "the previous rows stay as `{}__previous`, without indexes",
                self.name
            ));
        }
        Preparation {
            path: if self.how == How::Rename {
                PublishPath::Fresh
            } else {
                PublishPath::Staged
            },
            why: self.why.to_owned(),
            lanes: 1,
            raw: false,
            delivery: Delivery::ExactlyOnce,
            actions,
            columns: self.columns_held(),
            notes,
            fingerprint,
        }
    }
}

/// Whether a column keeps values of another type as text.
fn is_told(declared: &str, field: &Field) -> bool {
    affinity(declared) == Affinity::Text
        || mapping::declare(field).is_ok_and(|own| own == declared && own.ends_with("_TEXT"))
}

/// A declared type that may stand in a statement, with the same affinity.
fn plain_type(declared: &str) -> &str {
    if is_plain(declared) {
        return declared;
    }
    match affinity(declared) {
        Affinity::Integer => "INTEGER",
        Affinity::Text => "TEXT",
        Affinity::Blob => "BLOB",
        Affinity::Real => "REAL",
        Affinity::Numeric => "NUMERIC",
    }
}
