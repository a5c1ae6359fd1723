//! From staging into the target, inside the transaction that also records position and fence.
//!
//! Each way returns exact counts. Nothing here begins or ends a transaction; a failure is undone by whoever did.

use rusqlite::Connection;
use synqx_model::{Code, Error};
use synqx_sdk::Receipt;

use super::ledger::Failure;
use super::shape::{How, Shape};
use crate::catalog;
use crate::client::{quote, quote_all};

type Done<T> = Result<T, Failure>;

/// Moves the staged rows; `rows` is how many were staged.
pub(crate) fn publish(connection: &Connection, shape: &Shape, staging: &str, rows: u64) -> Done<Receipt> {
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
            let inserted = insert(connection, shape, staging)?;
            drop_table(connection, staging)?;
            Ok(Receipt {
                inserted,
                ..Receipt::default()
            })
        }
        How::Refill => refill(connection, shape, staging),
        How::Upsert => upsert(connection, shape, staging, rows),
    }
}

fn drop_table(connection: &Connection, name: &str) -> Done<()> {
    connection.execute(&format!("DROP TABLE main.{}", quote(name)), [])?;
    Ok(())
}

fn insert(connection: &Connection, shape: &Shape, staging: &str) -> Done<u64> {
    let columns = quote_all(shape.columns.iter().map(String::as_str));
    let sql = format!(
        "INSERT INTO main.{} ({columns}) SELECT {columns} FROM main.{}",
        quote(&shape.name),
        quote(staging)
    );
    Ok(connection.execute(&sql, [])? as u64)
}

fn count(connection: &Connection, sql: &str) -> Done<u64> {
    let n: i64 = connection.query_row(sql, [], |row| row.get(0))?;
    Ok(u64::try_from(n).unwrap_or(0))
}

fn previous(shape: &Shape) -> String {
    format!("{}__previous", shape.name)
}

fn swap(connection: &Connection, shape: &Shape, staging: &str, rows: u64) -> Done<Receipt> {
    let target = format!("main.{}", quote(&shape.name));
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

fn refill(connection: &Connection, shape: &Shape, staging: &str) -> Done<Receipt> {
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
    let inserted = insert(connection, shape, staging)?;
    drop_table(connection, staging)?;
    if orphans(connection, shape)? > before {
        return Err(Error::new(
            Code::E0307,
            format!("the new rows of `{}` break a foreign key", shape.name),
        )
        .with_detail("Rows of this table or of tables that refer to it would point at rows that are gone.")
        .with_hint("load the tables in an order that keeps the references, or use `write: upsert`")
        .into());
    }
    Ok(Receipt {
        inserted,
        deleted,
        ..Receipt::default()
    })
}

/// Rows whose foreign keys point nowhere, of the target and of the tables that refer to it.
fn orphans(connection: &Connection, shape: &Shape) -> Done<u64> {
    let mut tables = catalog::children(connection, &shape.name)?;
    let own: bool = connection.query_row(
        "SELECT count(*) > 0 FROM pragma_foreign_key_list(?1)",
        [&shape.name],
        |row| row.get(0),
    )?;
    if own && !tables.contains(&shape.name) {
        tables.push(shape.name.clone());
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

fn upsert(connection: &Connection, shape: &Shape, staging: &str, rows: u64) -> Done<Receipt> {
    let (target, stage) = (
        format!("main.{}", quote(&shape.name)),
        format!("main.{}", quote(staging)),
    );
    if shape.table.is_none() {
        connection.execute(&format!("CREATE TABLE {target}{}", shape.definition), [])?;
    }
    let superseded = deduplicate(connection, shape, &stage)?;
    let same_key = join(&shape.key, " AND ", |k| format!("t.{k} = s.{k}"));
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
    let unique = shape.table.as_ref().is_none_or(|t| t.has_unique_key(&shape.key));
    let columns = quote_all(shape.columns.iter().map(String::as_str));
    let inserted = distinct - known;
    let updated = if unique {
        let key = quote_all(shape.key.iter().map(String::as_str));
        let action = if others.is_empty() {
            "NOTHING".to_owned()
        } else {
            let set = join(&others, ", ", |c| format!("{c} = excluded.{c}"));
            let differs = join(&others, " OR ", |c| {
                format!("t.{c} IS NOT excluded.{c} COLLATE BINARY")
            });
            format!("UPDATE SET {set} WHERE {differs}")
        };
        let sql = format!(
            "INSERT INTO {target} AS t ({columns}) SELECT {columns} FROM {stage} WHERE true ON CONFLICT ({key}) DO {action}"
        );
        let changed = connection.execute(&sql, [])? as u64;
        changed
            .checked_sub(inserted)
            .ok_or_else(|| Error::bug("an upsert changed fewer rows than are new"))?
    } else {
        let differs = join(&others, " OR ", |c| format!("t.{c} IS NOT s.{c} COLLATE BINARY"));
        let mut updated = 0;
        if !others.is_empty() {
            let changing = format!(
                "SELECT count(*) FROM {stage} s WHERE EXISTS (SELECT 1 FROM {target} t WHERE {same_key} AND ({differs}))"
            );
            updated = count(connection, &changing)?;
            let set = join(&others, ", ", |c| format!("{c} = s.{c}"));
            connection.execute(
                &format!("UPDATE {target} AS t SET {set} FROM {stage} s WHERE {same_key} AND ({differs})"),
                [],
            )?;
        }
        connection.execute(
            &format!("INSERT INTO {target} ({columns}) SELECT {columns} FROM {stage} s WHERE NOT {matched}"),
            [],
        )?;
        updated
    };
    drop_table(connection, staging)?;
    let unchanged = known
        .checked_sub(updated)
        .ok_or_else(|| Error::bug("an upsert updated more keys than were known"))?;
    Ok(Receipt {
        inserted,
        updated,
        unchanged,
        superseded,
        ..Receipt::default()
    })
}

/// Leaves the newest row of each key in staging, and says how many lost. Errors: `E0308`.
fn deduplicate(connection: &Connection, shape: &Shape, stage: &str) -> Done<u64> {
    let key = quote_all(shape.key.iter().map(String::as_str));
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

fn join(columns: &[String], word: &str, part: impl Fn(String) -> String) -> String {
    columns
        .iter()
        .map(|c| part(quote(c)))
        .collect::<Vec<_>>()
        .join(word)
}
