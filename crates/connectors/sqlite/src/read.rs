//! Reading: describe a table or query, plan one statement, and scan it in one snapshot on a blocking thread.
//!
//! A reader is one connection with one open read transaction, so there is one partition: SQLite cannot share a
//! snapshot between connections. Dropping the stream interrupts the statement.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema, SchemaRef};
use async_trait::async_trait;
use futures::StreamExt;
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, InterruptHandle, params_from_iter};
use synqx_model::{Code, Error, Result};
use synqx_sdk::lane::{Sender, spawn_reader};
use synqx_sdk::type_names::{parse_type, render_type};
use synqx_sdk::{
    Acceptance, BatchStream, Budget, Dataset, Partition, Predicate, ReadPlan, Reader, Scan, Source,
    TableSchema, annotation,
};

use crate::Sqlite;
use crate::catalog::{self, Table};
use crate::client::{File, quote, quote_all};
use crate::config::ReadOptions;
use crate::decode::{Builder, Refusal, class};
use crate::mapping::{Affinity, Kind, SYSTEM, affinity, kind_of};
use crate::predicate;

/// Bytes by which a batch grows before they are reserved.
const RESERVED: u64 = 64 << 10;
/// Rows looked at to find the types of columns that declare none.
const SAMPLE: usize = 10_000;

/// What a dataset is, in SQL.
struct Origin {
    /// What follows FROM.
    from: String,
    table: Option<Table>,
}

fn origin(connection: &Connection, file: &File, dataset: &Dataset) -> Result<Origin> {
    let refuse = |e: &rusqlite::Error| file.error(e, "read the catalog of");
    if let Some(query) = &dataset.query {
        let query = query.trim().trim_end_matches(';');
        return Ok(Origin {
            from: format!("(\n{query}\n)"),
            table: None,
        });
    }
    let asset = dataset.asset.as_deref().unwrap_or_default();
    let name = catalog::table_name(asset);
    match catalog::table(connection, &name).map_err(|e| refuse(&e))? {
        Some(table) => Ok(Origin {
            from: format!("main.{}", quote(&table.name)),
            table: Some(table),
        }),
        None => {
            let known = catalog::assets(connection).map_err(|e| refuse(&e))?;
            Err(Error::new(
                Code::E0204,
                format!("table `{asset}` not found in connection `{}`", file.name),
            )
            .with_hint(synqx_model::nearest::did_you_mean(
                asset,
                known.iter().map(|(name, _)| name.as_str()),
            )))
        }
    }
}

/// Describes a dataset.
pub(crate) fn describe(file: &File, connection: &Connection, dataset: &Dataset) -> Result<TableSchema> {
    let options: ReadOptions = synqx_model::spec::decode_map(&dataset.options, "options")?;
    let origin = origin(connection, file, dataset)?;
    let refuse = |e: &rusqlite::Error| file.statement_error(e, "read", dataset.label());
    let sql = format!("SELECT * FROM {}", origin.from);
    let names: Vec<(String, String)> = {
        let statement = connection.prepare(&sql).map_err(|e| refuse(&e))?;
        if !statement.readonly() || statement.parameter_count() > 0 {
            return Err(Error::new(
                Code::E0212,
                format!("the query of connection `{}` is no plain SELECT", file.name),
            )
            .with_hint("write one SELECT without parameters"));
        }
        statement
            .columns()
            .iter()
            .map(|c| (c.name().to_owned(), c.decl_type().unwrap_or("").to_owned()))
            .collect()
    };
    duplicates(&names, dataset)?;
    let mut fields = Vec::with_capacity(names.len());
    let mut unknown = Vec::new();
    for (place, (name, result_type)) in names.iter().enumerate() {
        let column = origin.table.as_ref().and_then(|t| t.column(name));
        let declared = column.map_or(result_type.as_str(), |c| c.declared.as_str());
        let kind = match options.columns.get(name) {
            Some(wanted) => overridden(name, wanted)?,
            None => kind_of(declared),
        };
        if kind == Kind::Untyped && !options.columns.contains_key(name) {
            unknown.push(place);
        }
        fields.push(annotated(kind.field(name), declared, &origin, file, connection)?);
    }
    known_overrides(&options, &names, dataset)?;
    let mut notes = Vec::new();
    if !unknown.is_empty() {
        let kinds = sample(connection, &sql, &unknown).map_err(|e| refuse(&e))?;
        for (place, kind) in unknown.iter().zip(kinds) {
            let metadata = fields[*place].metadata().clone();
            let field = kind.field(fields[*place].name());
            let merged = field.metadata().clone().into_iter().chain(metadata).collect();
            fields[*place] = field.with_metadata(merged);
        }
        let list: Vec<&str> = unknown.iter().map(|place| names[*place].0.as_str()).collect();
        notes.push(format!(
            "no type is declared for {}; taken from the first {SAMPLE} rows",
            list.join(", ")
        ));
    }
    let label = origin
        .table
        .as_ref()
        .map_or_else(|| dataset.label().to_owned(), |t| t.name.clone());
    let identity = format!("sqlite:{}#{label}", file.canonical().display());
    let mut schema = TableSchema::of(Arc::new(Schema::new(fields)), identity);
    schema.notes = notes;
    if let Some(table) = &origin.table {
        schema.primary_key = table.primary_key();
        schema.unique = table.unique();
        schema.rows = if table.view {
            None
        } else {
            catalog::estimate(connection, table).map_err(|e| refuse(&e))?
        };
    }
    Ok(schema)
}

/// Declared types are of columns that exist.
fn known_overrides(options: &ReadOptions, names: &[(String, String)], dataset: &Dataset) -> Result<()> {
    if let Some(name) = options
        .columns
        .keys()
        .find(|name| !names.iter().any(|(n, _)| n == *name))
    {
        let hint = synqx_model::nearest::did_you_mean(name, names.iter().map(|(n, _)| n.as_str()));
        return Err(Error::new(
            Code::E0401,
            format!(
                "column `{name}` of options.columns is not in `{}`",
                dataset.label()
            ),
        )
        .with_hint(hint));
    }
    Ok(())
}

fn duplicates(names: &[(String, String)], dataset: &Dataset) -> Result<()> {
    let twice = names
        .iter()
        .enumerate()
        .find(|(i, (name, _))| names[..*i].iter().any(|(n, _)| n == name));
    match twice {
        Some((_, (name, _))) => Err(Error::new(
            Code::E0406,
            format!("column `{name}` appears twice in `{}`", dataset.label()),
        )
        .with_hint("give one of them another name with `AS`")),
        None => Ok(()),
    }
}

fn overridden(name: &str, wanted: &str) -> Result<Kind> {
    let data_type = match wanted.trim().to_lowercase().as_str() {
        "json" => return Ok(Kind::Json),
        "uuid" => return Ok(Kind::Uuid),
        "numeric" | "decimal" => return Ok(Kind::Numeric),
        _ => parse_type(wanted)?,
    };
    let kind = Kind::of_field(&Field::new(name, data_type, true))?;
    // Narrow numbers are read as the wide ones SQLite has; a cast follows where it matters.
    Ok(kind)
}

fn annotated(
    field: Field,
    declared: &str,
    origin: &Origin,
    file: &File,
    connection: &Connection,
) -> Result<Field> {
    let field = annotation::annotate(field, annotation::SYSTEM, SYSTEM);
    let mut field = annotation::annotate(field, annotation::NATIVE, declared);
    let Some(table) = &origin.table else {
        return Ok(field);
    };
    let Some(column) = table.column(field.name()) else {
        return Ok(field);
    };
    if column.collation != "BINARY" {
        field = annotation::annotate(field, annotation::COLLATION, column.collation.clone());
    }
    let plain = !table.view && !table.is_virtual;
    let integers = (table.strict && affinity(declared) == Affinity::Integer)
        || table.rowid_alias() == Some(field.name());
    let text = affinity(declared) == Affinity::Text && column.collation == "BINARY";
    let read_as = |data_type: arrow::datatypes::DataType| *field.data_type() == data_type;
    let mark = if plain && integers && read_as(arrow::datatypes::DataType::Int64) {
        predicate::INTEGERS
    } else if plain
        && text
        && kind_of(declared) == Kind::Text
        && read_as(arrow::datatypes::DataType::Utf8View)
    {
        let encoding: String = connection
            .query_row("PRAGMA encoding", [], |row| row.get(0))
            .map_err(|e| file.error(&e, "read the encoding of"))?;
        if encoding == "UTF-8" {
            predicate::TEXT
        } else {
            predicate::TEXT_EQUAL
        }
    } else {
        return Ok(field);
    };
    Ok(annotation::annotate(field, predicate::MARK, mark))
}

/// The meanings of columns that declare none, from the storage classes of the first rows.
fn sample(connection: &Connection, sql: &str, places: &[usize]) -> rusqlite::Result<Vec<Kind>> {
    let mut seen: Vec<Vec<&'static str>> = vec![Vec::new(); places.len()];
    let mut statement = connection.prepare(&format!("{sql} LIMIT {SAMPLE}"))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        for (place, classes) in places.iter().zip(&mut seen) {
            let found = class(row.get_ref(*place)?);
            if found != "null" && !classes.contains(&found) {
                classes.push(found);
            }
        }
    }
    let kind = |classes: &Vec<&str>| match classes.as_slice() {
        ["integer"] => Kind::Integer,
        ["blob"] => Kind::Blob,
        classes if !classes.is_empty() && classes.iter().all(|c| ["integer", "real"].contains(c)) => {
            Kind::Real
        }
        _ => Kind::Text,
    };
    Ok(seen.iter().map(kind).collect())
}

/// A statement and its parameters.
struct Statement {
    sql: String,
    parameters: Vec<Value>,
    /// The wanted columns are followed by the rowid.
    rowid: bool,
    limited: bool,
    pushed: Vec<String>,
}

fn statement(origin: &Origin, scan: &Scan) -> Result<Statement> {
    let mut parameters = Vec::new();
    let (mut conditions, mut pushed) = (Vec::new(), Vec::new());
    let mut exact = true;
    for predicate in &scan.predicates {
        let acceptance = predicate::accepts(&scan.table, predicate);
        exact &= acceptance == Acceptance::Exact;
        if acceptance == Acceptance::No {
            continue;
        }
        let before = parameters.len();
        match predicate::render(predicate, &mut parameters) {
            Some(condition) => {
                pushed.push(predicate::show(&condition, &parameters));
                conditions.push(condition);
            }
            None => parameters.truncate(before),
        }
    }
    let rowid = origin.table.as_ref().and_then(Table::rowid_name);
    let mut columns = quote_all(scan.columns.iter().map(String::as_str));
    if let Some(rowid) = rowid {
        columns = if columns.is_empty() {
            rowid.to_owned()
        } else {
            format!("{columns}, {rowid}")
        };
    } else if columns.is_empty() {
        columns = "NULL".to_owned();
    }
    let mut sql = format!("SELECT {columns} FROM {}", origin.from);
    if !conditions.is_empty() {
        sql.push_str(&format!(" WHERE {}", conditions.join(" AND ")));
    }
    let limit = scan.limit.filter(|_| exact);
    if let Some(limit) = limit {
        sql.push_str(&format!(" LIMIT {limit}"));
    }
    Ok(Statement {
        sql,
        parameters,
        rowid: rowid.is_some(),
        limited: limit.is_some(),
        pushed,
    })
}

/// The schema of the wanted columns.
fn projected(scan: &Scan) -> Result<SchemaRef> {
    let mut fields = Vec::with_capacity(scan.columns.len());
    for name in &scan.columns {
        let field = scan.table.schema.field_with_name(name).map_err(|_| {
            let known = scan.table.schema.fields().iter().map(|f| f.name().as_str());
            Error::new(
                Code::E0401,
                format!("column `{name}` is not in `{}`", scan.dataset.label()),
            )
            .with_hint(synqx_model::nearest::did_you_mean(name, known))
        })?;
        fields.push(field.clone());
    }
    Ok(Arc::new(Schema::new(fields)))
}

#[async_trait]
impl Source for Sqlite {
    fn accepts(&self, table: &TableSchema, predicate: &Predicate) -> Acceptance {
        predicate::accepts(table, predicate)
    }

    async fn plan(&self, scan: &Scan) -> Result<ReadPlan> {
        let scan = scan.clone();
        self.file
            .run(move |file| {
                let connection = file.open_to_read()?;
                let origin = origin(&connection, file, &scan.dataset)?;
                let statement = statement(&origin, &scan)?;
                let rows = match (scan.table.rows, scan.limit) {
                    (Some(rows), Some(limit)) => Some(rows.min(limit)),
                    (rows, limit) => rows.or(limit),
                };
                Ok(ReadPlan {
                    schema: projected(&scan)?,
                    partitions: vec![Partition {
                        label: scan.dataset.label().to_owned(),
                        spec: String::new(),
                    }],
                    statement: predicate::show(&statement.sql, &statement.parameters),
                    pushed: statement.pushed,
                    limited: statement.limited,
                    rows,
                    bytes: None,
                    notes: scan.table.notes.clone(),
                })
            })
            .await
    }

    async fn open(&self, scan: &Scan, plan: &ReadPlan) -> Result<Box<dyn Reader>> {
        let (scan, planned) = (scan.clone(), Arc::clone(&plan.schema));
        let budget = self.env.budget.clone();
        self.file
            .run(move |file| {
                let connection = file.open_to_read()?;
                let refuse = |e: &rusqlite::Error| file.error(e, "take a snapshot of");
                // BEGIN alone takes nothing: the first read does.
                connection
                    .execute_batch("BEGIN; SELECT count(*) FROM sqlite_schema")
                    .map_err(|e| refuse(&e))?;
                let changed = || {
                    Error::new(
                        Code::E0215,
                        format!(
                            "`{}` of connection `{}` changed after planning",
                            scan.dataset.label(),
                            file.name
                        ),
                    )
                    .with_hint("run again; the read is planned anew")
                };
                let now = match describe(file, &connection, &scan.dataset) {
                    Err(error) if error.code() == Code::E0204 => return Err(changed()),
                    other => other?,
                };
                let same = |field: &Field| {
                    now.schema
                        .field_with_name(field.name())
                        .is_ok_and(|f| f.data_type() == field.data_type())
                };
                if !planned.fields().iter().all(|field| same(field)) {
                    return Err(changed());
                }
                let origin = origin(&connection, file, &scan.dataset)?;
                let statement = statement(&origin, &scan)?;
                let place = origin
                    .table
                    .map_or_else(|| "the query".to_owned(), |t| format!("table `{}`", t.name));
                let scanner = Scanner {
                    file: file.clone(),
                    place,
                    from: origin.from,
                    statement,
                    schema: planned,
                    budget,
                };
                let interrupt = Arc::new(connection.get_interrupt_handle());
                Ok(Box::new(Open {
                    scanner: Mutex::new(Some((connection, scanner))),
                    interrupt,
                }) as Box<dyn Reader>)
            })
            .await
    }
}

/// An open read: a connection in a read transaction, until the one partition is read.
struct Open {
    scanner: Mutex<Option<(Connection, Scanner)>>,
    interrupt: Arc<InterruptHandle>,
}

/// Interrupts the statement when the stream is dropped. After the end there is nothing left to interrupt.
struct Stop(Arc<InterruptHandle>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.interrupt();
    }
}

#[async_trait]
impl Reader for Open {
    async fn read(&self, partition: usize) -> Result<BatchStream> {
        let taken = self.scanner.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((connection, scanner)) = taken.filter(|_| partition == 0) else {
            return Err(Error::bug(format!(
                "partition {partition} of a SQLite read was asked for twice or does not exist"
            )));
        };
        let budget = scanner.budget.clone();
        let stop = Stop(Arc::clone(&self.interrupt));
        let stream = spawn_reader(&budget, budget.batch_target() * 2, move |sender| {
            scanner.scan(&connection, sender)
        });
        Ok(Box::pin(stream.map(move |batch| {
            let _ = &stop;
            batch
        })))
    }
}

/// Everything a scan needs besides the connection.
struct Scanner {
    file: File,
    place: String,
    from: String,
    statement: Statement,
    schema: SchemaRef,
    budget: Budget,
}

impl Scanner {
    fn scan(&self, connection: &Connection, sender: &Sender) -> Result<()> {
        let failed = |e: &rusqlite::Error| self.failed(connection, e);
        // Longer values are not even put together in memory.
        let longest = i32::try_from(self.budget.row_limit())
            .unwrap_or(i32::MAX)
            .min(1_000_000_000);
        connection
            .set_limit(rusqlite::limits::Limit::SQLITE_LIMIT_LENGTH, longest.max(1 << 20))
            .map_err(|e| failed(&e))?;
        let mut statement = connection.prepare(&self.statement.sql).map_err(|e| failed(&e))?;
        let mut rows = statement
            .query(params_from_iter(&self.statement.parameters))
            .map_err(|e| failed(&e))?;
        let mut builders = self.builders()?;
        let (target, row_limit) = (self.budget.batch_target(), self.budget.row_limit());
        let (mut in_batch, mut bytes, mut total) = (0usize, 0usize, 0u64);
        let who = format!("a batch of {}", self.place);
        let mut held = self.budget.reserve(&who, 0)?;
        while let Some(row) = rows.next().map_err(|e| failed(&e))? {
            total += 1;
            for (place, builder) in builders.iter_mut().enumerate() {
                let value = row.get_ref(place).map_err(|e| failed(&e))?;
                if let ValueRef::Text(data) | ValueRef::Blob(data) = value
                    && data.len() as u64 > row_limit
                {
                    return Err(self.budget.row_too_large(
                        self.schema.field(place).name(),
                        &self.place,
                        data.len() as u64,
                    ));
                }
                match builder.push(value) {
                    Ok(size) => bytes += size,
                    Err(refusal) => {
                        let rowid = if self.statement.rowid {
                            row.get(builders.len()).ok()
                        } else {
                            None
                        };
                        return Err(self.refused(place, refusal, rowid, total));
                    }
                }
            }
            in_batch += 1;
            if bytes as u64 >= held.bytes() + RESERVED {
                held.resize(&who, bytes as u64)?;
            }
            if bytes >= target || in_batch >= 1 << 20 {
                held.resize(&who, 0)?;
                if !sender.send(self.batch(&mut builders, in_batch)?)? {
                    return Ok(());
                }
                (in_batch, bytes) = (0, 0);
            }
        }
        drop(held);
        if in_batch > 0 {
            sender.send(self.batch(&mut builders, in_batch)?)?;
        }
        Ok(())
    }

    fn builders(&self) -> Result<Vec<Builder>> {
        self.schema
            .fields()
            .iter()
            .map(|field| Kind::of_field(field).map(Builder::new))
            .collect()
    }

    fn batch(&self, builders: &mut [Builder], rows: usize) -> Result<RecordBatch> {
        let columns = builders.iter_mut().map(Builder::finish).collect();
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .map_err(|e| Error::bug(format!("a batch of SQLite rows does not fit its schema: {e}")))
    }

    fn failed(&self, connection: &Connection, error: &rusqlite::Error) -> Error {
        if error.sqlite_error_code() == Some(rusqlite::ffi::ErrorCode::TooBig)
            && let Some(found) = self.longest(connection)
        {
            return found;
        }
        self.file.error(error, &format!("read {} of", self.place))
    }

    /// Finds the column whose value is too large; `octet_length` does not read the value.
    fn longest(&self, connection: &Connection) -> Option<Error> {
        for field in self.schema.fields() {
            let sql = format!(
                "SELECT max(octet_length({})) FROM {}",
                quote(field.name()),
                self.from
            );
            let bytes: i64 = connection.query_row(&sql, [], |row| row.get(0)).ok()?;
            let bytes = u64::try_from(bytes).unwrap_or(0);
            if bytes > self.budget.row_limit() {
                return Some(self.budget.row_too_large(field.name(), &self.place, bytes));
            }
        }
        None
    }

    fn refused(&self, place: usize, refusal: Refusal, rowid: Option<i64>, row: u64) -> Error {
        let field = self.schema.field(place);
        let at = rowid.map_or_else(
            || format!("row {row} of the result"),
            |rowid| format!("rowid {rowid}"),
        );
        let name = field.name();
        let type_name = render_type(field.data_type());
        if refusal == Refusal::Encoding {
            return Error::new(
                Code::E0207,
                format!("text at {at} of {} is not UTF-8 in column `{name}`", self.place),
            )
            .with_hint(format!(
                "read it as bytes: `query: select cast({} as blob) …`",
                quote(name)
            ));
        }
        let stored = match refusal {
            Refusal::Class(class) => format!("It is stored as {class}."),
            _ => "It does not have the form of the type.".to_owned(),
        };
        let declared = field
            .metadata()
            .get(annotation::NATIVE)
            .map_or("", String::as_str);
        Error::new(Code::E0208, format!("value at {at} of {} does not fit column `{name}` ({type_name})", self.place))
            .with_detail(format!("{stored} The column is declared {}.", if declared.is_empty() { "without a type" } else { declared }))
            .with_hint(format!(
                "read the column as what it holds with `options: {{ columns: {{ {name}: {} }} }}`, or convert it in a `query` with CAST",
                if refusal == Refusal::Class("real") { "double" } else { "text" }
            ))
    }
}
