//! From staging into the target, inside the transaction that also records position and fence.
//!
//! Each way returns exact counts. Nothing here begins or ends a transaction; a failure is undone by whoever did.

use rusqlite::Connection;
use synqx_model::{Code, Error};
use synqx_sdk::{Receipt, Target};

use super::ledger::Failure;
use super::shape::{How, Shape};
use super::{history, mirror, newest, slices};
use crate::catalog;
use crate::client::{quote, quote_all};

pub(super) type Done<T> = Result<T, Failure>;

/// Moves the staged rows; `rows` is how many were staged.
pub(crate) fn publish(
    connection: &Connection,
    shape: &Shape,
    wanted: &Target,
    staging: &str,
    rows: u64,
) -> Done<Receipt> {
    let target = format!("main.{}", quote(&shape.name));
    if shape.how != How::Swap {
        for (name, declared) in &shape.added {
            connection.execute(
                &format!("ALTER TABLE {target} ADD COLUMN {} {declared}", quote(name)),
                [],
            )?;
        }
    }
    match shape.how {
        How::Rename => {
            connection.execute(
                &format!(
                    "ALTER TABLE main.{} RENAME TO {}",
                    quote(staging),
                    quote(&shape.name)
                ),
                [],
            )?;
            Ok(Receipt {
                inserted: rows,
                ..Receipt::default()
            })
        }
        How::Swap => swap(connection, shape, staging, rows),
        How::Append => {
            let inserted = insert(connection, shape, staging, rows)?;
            drop_table(connection, staging)?;
            Ok(Receipt {
                inserted,
                ..Receipt::default()
            })
        }
        How::Refill => refill(connection, shape, staging, rows),
        How::Upsert => upsert(connection, shape, staging, rows),
        How::Slices | How::Mirror | How::History => {
            if shape.table.is_none() {
                connection.execute(&format!("CREATE TABLE {target}{}", shape.definition), [])?;
            }
            match shape.how {
                How::Slices => slices::publish(connection, shape, wanted, staging, rows),
                How::Mirror => mirror::publish(connection, shape, wanted, staging, rows),
                _ => history::publish(connection, shape, wanted, staging, rows),
            }
        }
    }
}

pub(super) fn drop_table(connection: &Connection, name: &str) -> Done<()> {
    connection.execute(&format!("DROP TABLE main.{}", quote(name)), [])?;
    Ok(())
}

/// Inserts the staged rows; all of them, or `E0505`.
pub(super) fn insert(connection: &Connection, shape: &Shape, staging: &str, rows: u64) -> Done<u64> {
    let columns = quote_all(shape.columns.iter().map(String::as_str));
    let sql = format!(
        "{} INTO main.{} ({columns}) SELECT {columns} FROM main.{}",
        shape.insert_words(),
        quote(&shape.name),
        quote(staging)
    );
    let before = present(connection, shape)?;
    let inserted = connection.execute(&sql, [])? as u64;
    accounted(shape, "rows to be inserted", rows, inserted)?;
    still_there(connection, shape, before, inserted)?;
    Ok(inserted)
}

/// The rows of a target whose constraints replace rows in silence; elsewhere they need not be counted.
fn present(connection: &Connection, shape: &Shape) -> Done<Option<u64>> {
    if !shape.is_tolerant() {
        return Ok(None);
    }
    let sql = format!("SELECT count(*) FROM main.{}", quote(&shape.name));
    count(connection, &sql).map(Some)
}

/// No row that was there is gone. Errors: `E0505`.
fn still_there(connection: &Connection, shape: &Shape, before: Option<u64>, inserted: u64) -> Done<()> {
    match (before, present(connection, shape)?) {
        (Some(before), Some(after)) => accounted(shape, "rows in all afterwards", before + inserted, after),
        _ => Ok(()),
    }
}

/// What SQLite says it did must be what it was given to do. Errors: `E0505`.
pub(super) fn accounted(shape: &Shape, what: &str, expected: u64, done: u64) -> Done<()> {
    if expected == done {
        return Ok(());
    }
    let name = &shape.name;
    Err(
        Error::new(Code::E0505, format!("rows for `{name}` are not accounted for"))
            .with_detail(format!(
                "There should be {expected} {what}, and SQLite says {done}. Nothing was published. \
                 An ON CONFLICT clause in the table's definition, or a trigger, ignores or replaces rows."
            ))
            .with_hint(format!(
                "look at `.schema {name}` in sqlite3; remove the clause, or use `write: upsert` with that key"
            ))
            .into(),
    )
}

pub(super) fn count(connection: &Connection, sql: &str) -> Done<u64> {
    let n: i64 = connection.query_row(sql, [], |row| row.get(0))?;
    Ok(u64::try_from(n).unwrap_or(0))
}

fn previous(shape: &Shape) -> String {
    format!("{}__previous", shape.name)
}

fn swap(connection: &Connection, shape: &Shape, staging: &str, rows: u64) -> Done<Receipt> {
    let target = format!("main.{}", quote(&shape.name));
    if shape.is_tolerant() {
        let staged = count(
            connection,
            &format!("SELECT count(*) FROM main.{}", quote(staging)),
        )?;
        accounted(shape, "rows to be published", rows, staged)?;
    }
    let deleted = count(connection, &format!("SELECT count(*) FROM {target}"))?;
    let names: Vec<String> = {
        let mut statement = connection
            .prepare("SELECT name FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL AND tbl_name = ?1 COLLATE NOCASE")?;
        statement
            .query_map([&shape.name], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?
    };
    if shape.keep_previous {
        for name in names {
            connection.execute(&format!("DROP INDEX main.{}", quote(&name)), [])?;
        }
        connection.execute(
            &format!("DROP TABLE IF EXISTS main.{}", quote(&previous(shape))),
            [],
        )?;
        connection.execute(
            &format!("ALTER TABLE {target} RENAME TO {}", quote(&previous(shape))),
            [],
        )?;
    } else {
        drop_table(connection, &shape.name)?;
    }
    connection.execute(
        &format!(
            "ALTER TABLE main.{} RENAME TO {}",
            quote(staging),
            quote(&shape.name)
        ),
        [],
    )?;
    for sql in shape
        .table
        .iter()
        .flat_map(|t| &t.indexes)
        .filter_map(|i| i.sql.as_deref())
    {
        connection.execute(sql, [])?;
    }
    Ok(Receipt {
        inserted: rows,
        deleted,
        ..Receipt::default()
    })
}

fn refill(connection: &Connection, shape: &Shape, staging: &str, rows: u64) -> Done<Receipt> {
    let target = format!("main.{}", quote(&shape.name));
    let before = orphans(connection, shape)?;
    if shape.keep_previous {
        let previous = quote(&previous(shape));
        connection.execute(&format!("DROP TABLE IF EXISTS main.{previous}"), [])?;
        connection.execute(
            &format!("CREATE TABLE main.{previous} AS SELECT * FROM {target}"),
            [],
        )?;
    }
    let deleted = connection.execute(&format!("DELETE FROM {target}"), [])? as u64;
    let left = count(
        connection,
        &format!("SELECT count(*) FROM (SELECT 1 FROM {target} LIMIT 1)"),
    )?;
    accounted(shape, "rows after the old ones were deleted", 0, left)?;
    let inserted = insert(connection, shape, staging, rows)?;
    drop_table(connection, staging)?;
    check_orphans(connection, shape, before)?;
    Ok(Receipt {
        inserted,
        deleted,
        ..Receipt::default()
    })
}

/// No more rows point nowhere than did before. Errors: `E0307`.
pub(super) fn check_orphans(connection: &Connection, shape: &Shape, before: u64) -> Done<()> {
    check_orphans_of(connection, &shape.name, before)
}

/// As [`check_orphans`], for a table.
pub(super) fn check_orphans_of(connection: &Connection, table: &str, before: u64) -> Done<()> {
    if orphans_of(connection, table)? <= before {
        return Ok(());
    }
    Err(Error::new(
        Code::E0307,
        format!("the new rows of `{table}` break a foreign key"),
    )
    .with_detail("Rows of this table or of tables that refer to it would point at rows that are gone.")
    .with_hint("load the tables in an order that keeps the references, or use `write: upsert`")
    .into())
}

/// Rows whose foreign keys point nowhere, of the target and of the tables that refer to it.
pub(super) fn orphans(connection: &Connection, shape: &Shape) -> Done<u64> {
    orphans_of(connection, &shape.name)
}

/// As [`orphans`], for a table.
pub(super) fn orphans_of(connection: &Connection, table: &str) -> Done<u64> {
    let mut tables = catalog::children(connection, table)?;
    let own: bool = connection.query_row(
        "SELECT count(*) > 0 FROM pragma_foreign_key_list(?1)",
        [table],
        |row| row.get(0),
    )?;
    if own && !tables.iter().any(|child| child == table) {
        tables.push(table.to_owned());
    }
    let mut sum = 0;
    for table in tables {
        let n: i64 = connection.query_row(
            "SELECT count(*) FROM pragma_foreign_key_check(?1)",
            [&table],
            |row| row.get(0),
        )?;
        sum += u64::try_from(n).unwrap_or(0);
    }
    Ok(sum)
}

pub(super) fn upsert(connection: &Connection, shape: &Shape, staging: &str, rows: u64) -> Done<Receipt> {
    let (target, stage) = (
        format!("main.{}", quote(&shape.name)),
        format!("main.{}", quote(staging)),
    );
    if shape.table.is_none() && shape.how == How::Upsert {
        connection.execute(&format!("CREATE TABLE {target}{}", shape.definition), [])?;
    }
    let same_key = join(&shape.key, " AND ", |k| format!("t.{k} = s.{k}"));
    let mut superseded = deduplicate(connection, &shape.key, shape, &stage)?;
    superseded += newest::remove_beaten(connection, shape, &stage, &target, &same_key)?;
    let matched = format!("EXISTS (SELECT 1 FROM {target} t WHERE {same_key})");
    let distinct = rows - superseded;
    let known = count(
        connection,
        &format!("SELECT count(*) FROM {stage} s WHERE {matched}"),
    )?;
    let others: Vec<String> = shape
        .columns
        .iter()
        .filter(|c| !shape.key.contains(c))
        .cloned()
        .collect();
    let differs = if others.is_empty() {
        "false".to_owned()
    } else {
        join(&others, " OR ", |c| format!("t.{c} IS NOT s.{c} COLLATE BINARY"))
    };
    let changing = count(
        connection,
        &format!(
            "SELECT count(*) FROM {stage} s WHERE EXISTS (SELECT 1 FROM {target} t WHERE {same_key} AND ({differs}))"
        ),
    )?;
    let new = distinct - known;
    let before = present(connection, shape)?;
    if shape.table.as_ref().is_none_or(|t| t.has_unique_key(&shape.key)) {
        let touched = upsert_indexed(connection, shape, &stage, &others)?;
        accounted(shape, "rows to be inserted or updated", new + changing, touched)?;
    } else {
        let columns = quote_all(shape.columns.iter().map(String::as_str));
        if !others.is_empty() {
            let set = join(&others, ", ", |c| format!("{c} = s.{c}"));
            // Several stored rows may have one key, so the rows are no count of keys.
            let touched = connection.execute(
                &format!("UPDATE {target} AS t SET {set} FROM {stage} s WHERE {same_key} AND ({differs})"),
                [],
            )? as u64;
            if touched < changing {
                accounted(shape, "rows to be updated", changing, touched)?;
            }
        }
        let words = shape.insert_words();
        let inserted = connection.execute(
            &format!("{words} INTO {target} ({columns}) SELECT {columns} FROM {stage} s WHERE NOT {matched}"),
            [],
        )? as u64;
        accounted(shape, "rows to be inserted", new, inserted)?;
    }
    still_there(connection, shape, before, new)?;
    drop_table(connection, staging)?;
    Ok(Receipt {
        inserted: new,
        updated: changing,
        unchanged: known - changing,
        superseded,
        ..Receipt::default()
    })
}

/// The statement of an upsert by a unique key; how many rows it inserted or updated.
fn upsert_indexed(connection: &Connection, shape: &Shape, stage: &str, others: &[String]) -> Done<u64> {
    let target = format!("main.{}", quote(&shape.name));
    let columns = quote_all(shape.columns.iter().map(String::as_str));
    let key = quote_all(shape.key.iter().map(String::as_str));
    let action = if others.is_empty() {
        "NOTHING".to_owned()
    } else {
        let set = join(others, ", ", |c| format!("{c} = excluded.{c}"));
        let differs = join(others, " OR ", |c| {
            format!("t.{c} IS NOT excluded.{c} COLLATE BINARY")
        });
        format!("UPDATE SET {set} WHERE {differs}")
    };
    let words = shape.insert_words();
    let sql = format!(
        "{words} INTO {target} AS t ({columns}) SELECT {columns} FROM {stage} WHERE true ON CONFLICT ({key}) DO {action}"
    );
    Ok(connection.execute(&sql, [])? as u64)
}

/// Leaves the newest row of each key in staging, and says how many lost. Errors: `E0308`.
pub(super) fn deduplicate(connection: &Connection, key: &[String], shape: &Shape, stage: &str) -> Done<u64> {
    let key = quote_all(key.iter().map(String::as_str));
    // Keys are compared as the staging columns are: with the target's collations.
    let ties = format!(
        "SELECT count(*) FROM (SELECT rank() OVER w AS place, row_number() OVER w AS number FROM {stage} \
         WINDOW w AS (PARTITION BY {key} ORDER BY _synqx_order DESC)) WHERE place = 1 AND number > 1"
    );
    let ties = count(connection, &ties)?;
    if ties > 0 {
        return Err(Error::new(Code::E0308, format!("several rows of the load into `{}` have one key and none is the newest", shape.name))
            .with_detail(format!("{ties} rows tie with another one. The key is {key}."))
            .with_hint("name columns that tell which row is the newest with `order_by`, or put a `deduplicate` before the load")
            .into());
    }
    let losers = format!(
        "DELETE FROM {stage} WHERE _synqx_seq IN (SELECT _synqx_seq FROM (SELECT _synqx_seq, row_number() OVER \
         (PARTITION BY {key} ORDER BY _synqx_order DESC) AS number FROM {stage}) WHERE number > 1)"
    );
    Ok(connection.execute(&losers, [])? as u64)
}

pub(super) fn join(columns: &[String], word: &str, part: impl Fn(String) -> String) -> String {
    columns
        .iter()
        .map(|c| part(quote(c)))
        .collect::<Vec<_>>()
        .join(word)
}
