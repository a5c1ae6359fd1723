//! What SQLite knows of its tables: columns, keys, what depends on them, and how many rows there may be.
//!
//! Reads `sqlite_schema` and pragmas only, never rows (one exception: `max(rowid)`, which is the end of a tree).
//! Everything is looked up by name without regard to ASCII case, as SQLite itself does.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, params};
use sha2::{Digest, Sha256};
use synqx_sdk::AssetKind;

use crate::client::quote;

/// How tables of ours begin; they are not assets.
pub(crate) const OURS: &str = "_synqx_";

type Sql<T> = rusqlite::Result<T>;

/// A table or view.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    pub(crate) name: String,
    pub(crate) view: bool,
    /// `CREATE VIRTUAL TABLE`.
    pub(crate) is_virtual: bool,
    pub(crate) sql: String,
    pub(crate) strict: bool,
    pub(crate) without_rowid: bool,
    pub(crate) columns: Vec<Column>,
    pub(crate) indexes: Vec<Index>,
}

/// A column.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) declared: String,
    pub(crate) not_null: bool,
    pub(crate) has_default: bool,
    /// Place in the primary key, from 1; 0 when it is not part of it.
    pub(crate) key: u32,
    pub(crate) generated: bool,
    pub(crate) collation: String,
}

/// An index.
#[derive(Debug, Clone)]
pub(crate) struct Index {
    pub(crate) unique: bool,
    pub(crate) partial: bool,
    /// `c`: made by `CREATE INDEX`, so it has a statement of its own.
    pub(crate) sql: Option<String>,
    /// Key columns; `None` stands for an expression.
    pub(crate) columns: Vec<Option<String>>,
}

impl Table {
    /// The primary key's columns, in its order.
    pub(crate) fn primary_key(&self) -> Vec<String> {
        let mut key: Vec<&Column> = self.columns.iter().filter(|c| c.key > 0).collect();
        key.sort_by_key(|c| c.key);
        key.into_iter().map(|c| c.name.clone()).collect()
    }

    /// The other unique keys whose columns are plain.
    pub(crate) fn unique(&self) -> Vec<Vec<String>> {
        let primary = self.primary_key();
        let plain = self.indexes.iter().filter(|i| i.unique && !i.partial);
        plain
            .filter_map(|i| i.columns.iter().cloned().collect::<Option<Vec<_>>>())
            .filter(|c| *c != primary)
            .collect()
    }

    /// Whether an `INTEGER PRIMARY KEY` column is the rowid itself; NULL there means "next number".
    pub(crate) fn rowid_alias(&self) -> Option<&str> {
        let mut key = self.columns.iter().filter(|c| c.key > 0);
        let (first, more) = (key.next()?, key.next().is_some());
        let alias =
            !more && !self.without_rowid && !self.view && first.declared.eq_ignore_ascii_case("INTEGER");
        alias.then_some(first.name.as_str())
    }

    /// The name under which the rowid can be asked for, if any is left.
    pub(crate) fn rowid_name(&self) -> Option<&'static str> {
        if self.view || self.without_rowid || self.is_virtual {
            return None;
        }
        let free = |word: &&str| !self.columns.iter().any(|c| c.name.eq_ignore_ascii_case(word));
        ["rowid", "_rowid_", "oid"].into_iter().find(|word| free(word))
    }

    /// A column by name: exactly, else without regard to ASCII case.
    pub(crate) fn column(&self, name: &str) -> Option<&Column> {
        let exact = self.columns.iter().find(|c| c.name == name);
        exact.or_else(|| self.columns.iter().find(|c| c.name.eq_ignore_ascii_case(name)))
    }

    /// Whether a full unique index or the primary key has exactly these columns.
    pub(crate) fn has_unique_key(&self, key: &[String]) -> bool {
        let same = |columns: &[String]| {
            columns.len() == key.len()
                && columns
                    .iter()
                    .all(|c| key.iter().any(|k| k.eq_ignore_ascii_case(c)))
        };
        same(&self.primary_key()) || self.unique().iter().any(|columns| same(columns))
    }
}

/// The table name an asset stands for: verbatim, without `main.`, and without double quotes around it.
pub(crate) fn table_name(asset: &str) -> String {
    let prefixed = asset
        .get(..5)
        .is_some_and(|head| head.eq_ignore_ascii_case("main."));
    let name = if prefixed { &asset[5..] } else { asset };
    let inner = name
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .filter(|inner| !inner.is_empty());
    inner.map_or_else(|| name.to_owned(), |inner| inner.replace("\"\"", "\""))
}

/// The asset that stands for a table: its name, quoted only where it would be read as something else.
pub(crate) fn asset_name(table: &str) -> String {
    if table_name(table) == table {
        table.to_owned()
    } else {
        quote(table)
    }
}

/// Looks a table or view up.
pub(crate) fn table(connection: &Connection, name: &str) -> Sql<Option<Table>> {
    let found = connection
        .prepare_cached("SELECT name, type = 'view', coalesce(sql, '') FROM sqlite_schema WHERE name = ?1 COLLATE NOCASE AND type IN ('table', 'view')")?
        .query_row([name], |row| Ok((row.get::<_, String>(0)?, row.get::<_, bool>(1)?, row.get::<_, String>(2)?)))
        .optional()?;
    let Some((name, view, sql)) = found else {
        return Ok(None);
    };
    let (without_rowid, strict, is_virtual) = connection
        .prepare_cached(
            "SELECT wr, strict, type = 'virtual' FROM pragma_table_list(?1) WHERE schema = 'main'",
        )?
        .query_row([&name], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?
        .unwrap_or((false, false, false));
    let mut columns = columns(connection, &name, view || is_virtual)?;
    // In a STRICT table ANY keeps what it is given; elsewhere the word means NUMERIC.
    for column in columns
        .iter_mut()
        .filter(|c| strict && c.declared.eq_ignore_ascii_case("ANY"))
    {
        column.declared.clear();
    }
    let indexes = indexes(connection, &name)?;
    Ok(Some(Table {
        name,
        view,
        is_virtual,
        sql,
        strict,
        without_rowid,
        columns,
        indexes,
    }))
}

fn columns(connection: &Connection, table: &str, plain: bool) -> Sql<Vec<Column>> {
    let mut statement = connection.prepare_cached(
        "SELECT name, type, \"notnull\", dflt_value IS NOT NULL, pk, hidden FROM pragma_table_xinfo(?1) WHERE hidden <> 1 ORDER BY cid",
    )?;
    let rows = statement.query_map([table], |row| {
        let hidden: i64 = row.get(5)?;
        Ok(Column {
            name: row.get(0)?,
            declared: row.get(1)?,
            not_null: row.get(2)?,
            has_default: row.get(3)?,
            key: row.get(4)?,
            generated: hidden >= 2,
            collation: "BINARY".to_owned(),
        })
    })?;
    let mut columns = rows.collect::<Sql<Vec<_>>>()?;
    for column in columns.iter_mut().filter(|_| !plain) {
        let (_, collation, ..) = connection.column_metadata(Some("main"), table, column.name.as_str())?;
        if let Some(collation) = collation.and_then(|c| c.to_str().ok()) {
            column.collation = collation.to_uppercase();
        }
        // What xinfo gives of a generated column's type ends with its marker.
        let upper = column.declared.to_uppercase();
        if let Some(end) = upper.strip_suffix("GENERATED ALWAYS").map(str::len) {
            column.declared.truncate(end);
            column.declared.truncate(column.declared.trim_end().len());
        }
    }
    Ok(columns)
}

fn indexes(connection: &Connection, table: &str) -> Sql<Vec<Index>> {
    let mut list = connection.prepare_cached(
        "SELECT l.name, l.\"unique\", l.partial, s.sql FROM pragma_index_list(?1) l LEFT JOIN sqlite_schema s ON s.type = 'index' AND s.name = l.name ORDER BY l.name",
    )?;
    let found = list.query_map([table], |row| {
        Ok((
            row.get::<_, String>(0)?,
            row.get::<_, bool>(1)?,
            row.get::<_, bool>(2)?,
            row.get::<_, Option<String>>(3)?,
        ))
    })?;
    let found = found.collect::<Sql<Vec<_>>>()?;
    let mut keys =
        connection.prepare_cached("SELECT name FROM pragma_index_xinfo(?1) WHERE key = 1 ORDER BY seqno")?;
    let mut indexes = Vec::with_capacity(found.len());
    for (name, unique, partial, sql) in found {
        let columns = keys
            .query_map([&name], |row| row.get(0))?
            .collect::<Sql<Vec<Option<String>>>>()?;
        indexes.push(Index {
            unique,
            partial,
            sql,
            columns,
        });
    }
    Ok(indexes)
}

/// What mentions a table: `view v`, `trigger x`, `foreign key of child`.
pub(crate) fn dependents(connection: &Connection, table: &str) -> Sql<Vec<String>> {
    let mut statement = connection.prepare_cached(
        "SELECT type || ' ' || name FROM sqlite_schema WHERE (type = 'view' OR type = 'trigger') \
         AND (tbl_name = ?1 COLLATE NOCASE OR instr(lower(sql), lower(?1)) > 0) AND name <> ?1 COLLATE NOCASE ORDER BY 1",
    )?;
    let mut found = statement
        .query_map([table], |row| row.get(0))?
        .collect::<Sql<Vec<String>>>()?;
    found.extend(
        children(connection, table)?
            .into_iter()
            .map(|child| format!("foreign key of {child}")),
    );
    Ok(found)
}

/// Tables whose foreign keys point at this one.
pub(crate) fn children(connection: &Connection, table: &str) -> Sql<Vec<String>> {
    let mut statement = connection.prepare_cached(
        "SELECT DISTINCT s.name FROM sqlite_schema s, pragma_foreign_key_list(s.name) f \
         WHERE s.type = 'table' AND f.\"table\" = ?1 COLLATE NOCASE ORDER BY 1",
    )?;
    statement.query_map([table], |row| row.get(0))?.collect()
}

/// A hash of everything that is defined about a table and what depends on it; `absent` when there is none.
pub(crate) fn fingerprint(connection: &Connection, name: &str) -> Sql<String> {
    let mut statement = connection.prepare_cached(
        "SELECT type, name, coalesce(sql, '') FROM sqlite_schema WHERE tbl_name = ?1 COLLATE NOCASE ORDER BY type, name",
    )?;
    let mut hash = Sha256::new();
    let mut rows = statement.query(params![name])?;
    let mut any = false;
    while let Some(row) = rows.next()? {
        any = true;
        for i in 0..3 {
            let part = row.get_ref(i)?;
            if let ValueRef::Text(text) = part {
                hash.update(text);
            }
            hash.update([0]);
        }
    }
    if !any {
        return Ok("absent".to_owned());
    }
    for dependent in dependents(connection, name)? {
        hash.update(dependent.as_bytes());
        hash.update([0]);
    }
    Ok(hash
        .finalize()
        .iter()
        .take(16)
        .map(|b| format!("{b:02x}"))
        .collect())
}

/// Rows, as far as SQLite knows without counting.
pub(crate) fn estimate(connection: &Connection, table: &Table) -> Sql<Option<u64>> {
    let analysed: bool = connection.query_row(
        "SELECT count(*) FROM sqlite_schema WHERE name = 'sqlite_stat1'",
        [],
        |row| row.get(0),
    )?;
    if analysed {
        let stat: Option<String> = connection
            .query_row(
                "SELECT stat FROM sqlite_stat1 WHERE tbl = ?1 COLLATE NOCASE LIMIT 1",
                [&table.name],
                |row| row.get(0),
            )
            .optional()?
            .flatten();
        if let Some(rows) = stat.and_then(|s| s.split(' ').next().and_then(|n| n.parse().ok())) {
            return Ok(Some(rows));
        }
    }
    let Some(rowid) = table.rowid_name() else {
        return Ok(None);
    };
    let sql = format!("SELECT max({rowid}) FROM main.{}", quote(&table.name));
    let last: Option<i64> = connection.query_row(&sql, [], |row| row.get(0))?;
    Ok(Some(last.map_or(0, |last| u64::try_from(last).unwrap_or(0))))
}

/// Names and kinds of everything that can be read, by name.
pub(crate) fn assets(connection: &Connection) -> Sql<Vec<(String, AssetKind)>> {
    let mut statement = connection.prepare(
        "SELECT name, type FROM sqlite_schema WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name",
    )?;
    let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
    let all = rows.collect::<Sql<Vec<_>>>()?;
    let kind = |word: &str| {
        if word == "view" {
            AssetKind::View
        } else {
            AssetKind::Table
        }
    };
    Ok(all
        .into_iter()
        .filter(|(name, _)| !name.starts_with(OURS))
        .map(|(name, word)| (name, kind(&word)))
        .collect())
}
