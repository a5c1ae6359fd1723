//! The table `_synqx_commit`: fence, position and last run of each stream, in the same file as the rows.
//!
//! Every function here runs inside a transaction somebody else opened, and says nothing about when it commits.

use rusqlite::{Connection, OptionalExtension, params};
use synqx_model::{Code, Error, Position, Result, RunId, StreamKey};
use synqx_sdk::{Committed, FenceClaim};

const CREATE: &str = "CREATE TABLE IF NOT EXISTS main._synqx_commit (stream TEXT NOT NULL PRIMARY KEY, fence INTEGER NOT NULL, \
     run_id TEXT, position TEXT, spec_hash TEXT, committed_at TEXT) WITHOUT ROWID";

/// What can go wrong: SQLite, or what is stored.
pub(crate) enum Failure {
    Sqlite(rusqlite::Error),
    Coded(Error),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Failure::Sqlite(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Coded(error)
    }
}

/// Raises the fence of a stream and returns it with what was committed last. Errors: `E0504`, `E0503`.
pub(crate) fn raise(
    connection: &Connection,
    stream: &StreamKey,
    claim: FenceClaim,
) -> Result<(u64, Option<Committed>), Failure> {
    connection.execute(CREATE, [])?;
    let key = stream.to_string();
    let (before, committed) = stored(connection, &key)?;
    let fence = match claim {
        FenceClaim::Next => before + 1,
        FenceClaim::Exact(fence) if fence < before => {
            return Err(Error::new(
                Code::E0504,
                format!("fence {fence} of stream `{key}` is older than the stored one"),
            )
            .with_detail(format!("The destination has fence {before}."))
            .with_hint("a newer run owns this stream; start a new run")
            .into());
        }
        FenceClaim::Exact(fence) => fence,
    };
    let number = i64::try_from(fence).map_err(|_| Error::bug("a fence beyond 63 bits"))?;
    connection.execute(
        "INSERT INTO main._synqx_commit (stream, fence) VALUES (?1, ?2) ON CONFLICT (stream) DO UPDATE SET fence = excluded.fence",
        params![key, number],
    )?;
    Ok((fence, committed))
}

/// What was committed last for a stream, where anything was. Errors: `E0503`.
pub(crate) fn committed(connection: &Connection, stream: &StreamKey) -> Result<Option<Committed>, Failure> {
    let exists = "SELECT count(*) FROM main.sqlite_master WHERE type = 'table' AND name = '_synqx_commit'";
    let tables: i64 = connection.query_row(exists, [], |row| row.get(0))?;
    if tables == 0 {
        return Ok(None);
    }
    Ok(stored(connection, &stream.to_string())?.1)
}

/// The fence of a stream and what was committed last.
fn stored(connection: &Connection, key: &str) -> Result<(u64, Option<Committed>), Failure> {
    type Row = (i64, Option<String>, Option<String>, Option<String>);
    let stored: Option<Row> = connection
        .query_row(
            "SELECT fence, run_id, position, spec_hash FROM main._synqx_commit WHERE stream = ?1",
            [key],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
        )
        .optional()?;
    let fence = stored.as_ref().map_or(0, |row| u64::try_from(row.0).unwrap_or(0));
    let Some((_, Some(run), Some(position), spec_hash)) = stored else {
        return Ok((fence, None));
    };
    let run: RunId = run.parse().map_err(|_| {
        Error::new(
            Code::E0503,
            format!("cannot read the run stored for stream `{key}` in _synqx_commit"),
        )
        .with_hint("the row was changed by hand; correct it, or delete it to start over")
    })?;
    let committed = Committed {
        run,
        position: Position::from_text(&position)?,
        spec_hash: spec_hash.unwrap_or_default(),
    };
    Ok((fence, Some(committed)))
}

/// Refuses to go on when another run has taken the fence: `E0501`.
pub(crate) fn check(connection: &Connection, stream: &StreamKey, fence: u64) -> Result<(), Failure> {
    let stored: Option<i64> = connection
        .prepare_cached("SELECT fence FROM main._synqx_commit WHERE stream = ?1")?
        .query_row([stream.to_string()], |row| row.get(0))
        .optional()?;
    if stored.and_then(|s| u64::try_from(s).ok()) == Some(fence) {
        Ok(())
    } else {
        Err(taken(stream).into())
    }
}

/// The fence that is stored for a stream, whoever holds it.
pub(crate) fn fence(connection: &Connection, stream: &StreamKey) -> Result<u64, Failure> {
    Ok(stored(connection, &stream.to_string())?.0)
}

/// Records what is being committed; hits exactly the row with our fence or fails with `E0501`.
pub(crate) fn record(connection: &Connection, commit: &Record) -> Result<(), Failure> {
    let fence = i64::try_from(commit.fence).map_err(|_| Error::bug("a fence beyond 63 bits"))?;
    let changed = connection.execute(
        "UPDATE main._synqx_commit SET run_id = ?3, position = ?4, spec_hash = ?5, \
         committed_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now') WHERE stream = ?1 AND fence = ?2",
        params![
            commit.stream.to_string(),
            fence,
            commit.run.to_string(),
            commit.position.to_text(),
            commit.spec_hash
        ],
    )?;
    if changed == 1 {
        Ok(())
    } else {
        Err(taken(&commit.stream).into())
    }
}

/// What a commit stores.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) stream: StreamKey,
    pub(crate) fence: u64,
    pub(crate) run: RunId,
    pub(crate) position: Position,
    pub(crate) spec_hash: String,
}

fn taken(stream: &StreamKey) -> Error {
    Error::new(Code::E0501, format!("another run took over stream `{stream}`"))
        .with_detail("Its fence in _synqx_commit is no longer ours; nothing of this run was published.")
        .with_hint("let the newer run finish; start only one run of a pipeline at a time")
}
