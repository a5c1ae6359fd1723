//! Opening the file, the thread that owns a connection, and SQLite's errors as codes.
//!
//! Every call into SQLite blocks, so it happens on a blocking thread: `File::run` for one-off work, a `Worker` for a
//! load, whose connection must live on one thread for its whole life. What SQLite says is classified here only.

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use rusqlite::ffi::ErrorCode;
use rusqlite::{Connection, OpenFlags};
use synqx_model::{Code, Error, Result};
use synqx_sdk::Role;

/// A database file and how to open it.
#[derive(Debug, Clone)]
pub(crate) struct File {
    /// The connection's name in the document.
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) role: Role,
    pub(crate) create: bool,
    pub(crate) wal: bool,
    pub(crate) busy_timeout: Duration,
}

impl File {
    /// Whether the file is there.
    pub(crate) fn exists(&self) -> bool {
        self.path.exists()
    }

    /// The path with links resolved, also for a file that does not exist yet.
    pub(crate) fn canonical(&self) -> PathBuf {
        if let Ok(path) = self.path.canonicalize() {
            return path;
        }
        let folder = self
            .path
            .parent()
            .filter(|p| !p.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        match (folder.canonicalize(), self.path.file_name()) {
            (Ok(folder), Some(name)) => folder.join(name),
            _ => self.path.clone(),
        }
    }

    /// Opens for reading. Errors: `E0211`, `E0210`, `E0203`.
    pub(crate) fn open_to_read(&self) -> Result<Connection> {
        if !self.exists() {
            return Err(self.missing());
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection =
            Connection::open_with_flags(&self.path, flags).map_err(|e| self.error(&e, "open"))?;
        self.prepare(&connection)?;
        Ok(connection)
    }

    /// Opens for writing, and makes the file when that is allowed. Errors: `E0304`, `E0313`, `E0303`, `E0312`.
    pub(crate) fn open_to_write(&self) -> Result<Connection> {
        let fresh = !self.exists();
        if fresh && !self.create {
            return Err(self.missing());
        }
        let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        if fresh {
            flags |= OpenFlags::SQLITE_OPEN_CREATE;
        }
        let connection =
            Connection::open_with_flags(&self.path, flags).map_err(|e| self.error(&e, "open"))?;
        self.prepare(&connection)?;
        if fresh || self.wal {
            let mode: String = connection
                .query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))
                .map_err(|e| self.error(&e, "switch to WAL mode"))?;
            tracing::debug!(connection = %self.name, mode, "journal mode");
        }
        // Renames here are of whole tables whose dependents were looked at before; SQLite must not rewrite others.
        connection
            .execute_batch(
                "PRAGMA legacy_alter_table = ON; PRAGMA synchronous = FULL; PRAGMA temp_store = DEFAULT",
            )
            .map_err(|e| self.error(&e, "configure"))?;
        Ok(connection)
    }

    fn prepare(&self, connection: &Connection) -> Result<()> {
        connection
            .busy_timeout(self.busy_timeout)
            .map_err(|e| self.error(&e, "configure"))?;
        connection.set_prepared_statement_cache_capacity(64);
        // The first look at the content: tells a database from any other file.
        connection
            .query_row("PRAGMA schema_version", [], |row| row.get::<_, i64>(0))
            .map(|_| ())
            .map_err(|e| self.error(&e, "read"))
    }

    fn missing(&self) -> Error {
        let code = self.role.code(Code::E0211, Code::E0304);
        let hint = match self.role {
            Role::Source => "check `path:`; it is relative to the document's folder",
            Role::Destination => "check `path:`, or write `create: true` to make the file",
        };
        Error::new(
            code,
            format!(
                "database file `{}` of connection `{}` does not exist",
                self.path.display(),
                self.name
            ),
        )
        .with_hint(hint)
    }

    /// A SQLite error as a coded one; `verb` is what was tried with the file.
    pub(crate) fn error(&self, error: &rusqlite::Error, verb: &str) -> Error {
        classify(
            error,
            self.role,
            &format!(
                "cannot {verb} database `{}` of connection `{}`",
                self.path.display(),
                self.name
            ),
        )
    }

    /// A SQLite error of a statement about a table.
    pub(crate) fn statement_error(&self, error: &rusqlite::Error, verb: &str, table: &str) -> Error {
        classify(
            error,
            self.role,
            &format!("cannot {verb} table `{table}` of connection `{}`", self.name),
        )
    }

    /// Opens an existing file to look at its catalog, without changing anything.
    pub(crate) fn open_to_inspect(&self) -> Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection =
            Connection::open_with_flags(&self.path, flags).map_err(|e| self.error(&e, "open"))?;
        self.prepare(&connection)?;
        Ok(connection)
    }

    /// Opens an existing file for writing, to see whether that is possible.
    pub(crate) fn open_to_inspect_writable(&self) -> Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection =
            Connection::open_with_flags(&self.path, flags).map_err(|e| self.error(&e, "open"))?;
        self.prepare(&connection)?;
        Ok(connection)
    }

    /// Whether a file can be made here. Errors: `E0304`, `E0313`.
    pub(crate) fn check_folder(&self) -> Result<()> {
        if !self.create {
            return Err(self.missing());
        }
        let folder = self
            .path
            .parent()
            .filter(|p| !p.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        if folder.is_dir() {
            return Ok(());
        }
        Err(Error::new(
            Code::E0313,
            format!(
                "cannot make database `{}` of connection `{}`",
                self.path.display(),
                self.name
            ),
        )
        .with_detail(format!("There is no folder `{}`.", folder.display()))
        .with_hint("make the folder first, or correct `path:`"))
    }

    /// Runs blocking work away from the async threads.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&File) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let file = self.clone();
        tokio::task::spawn_blocking(move || work(&file))
            .await
            .map_err(|failure| Error::bug(format!("a SQLite thread stopped: {failure}")))?
    }
}

/// A SQLite error as a coded one. SQLite's own text names tables, columns and constraints, never values.
pub(crate) fn classify(error: &rusqlite::Error, role: Role, message: &str) -> Error {
    let (code, hint) = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => (
            role.code(Code::E0201, Code::E0312),
            "another program holds the file's lock; end it, wait, or raise `busy_timeout:` of the connection",
        ),
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => (
            role.code(Code::E0210, Code::E0313),
            "check that `path:` names a SQLite database; `sqlite3 <file> 'pragma integrity_check'` tells what is damaged",
        ),
        Some(ErrorCode::CannotOpen) => (
            role.code(Code::E0211, Code::E0313),
            "check the path, and the rights on the file and its folder",
        ),
        Some(
            ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::AuthorizationForStatementDenied,
        ) => (
            role.code(Code::E0203, Code::E0303),
            "give the user that runs synqx rights on the file and its folder",
        ),
        Some(ErrorCode::DiskFull) => (
            Code::E0306,
            "make room on the disk; nothing of this load was published",
        ),
        Some(ErrorCode::SystemIoFailure) => (
            role.code(Code::E0205, Code::E0305),
            "check the disk; network file systems do not work well with SQLite",
        ),
        Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch) => (
            role.code(Code::E0212, Code::E0307),
            "correct the rows before the load, such as with `validate`, or change the constraint",
        ),
        Some(ErrorCode::TooBig) => (
            role.code(Code::E0208, Code::E0307),
            "SQLite holds values of up to 1 GB; leave the column out or split it",
        ),
        Some(ErrorCode::OperationInterrupted) => (Code::E0701, "run again"),
        Some(ErrorCode::OutOfMemory) => (Code::E0804, "run with more memory"),
        _ => (
            role.code(Code::E0212, Code::E0316),
            "run the statement with the `sqlite3` shell to see more",
        ),
    };
    Error::new(code, message)
        .with_detail(format!("SQLite said: {}.", said(error).trim_end_matches('.')))
        .with_hint(hint)
}

/// SQLite's own words.
fn said(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::SqliteFailure(_, Some(text)) => text.clone(),
        rusqlite::Error::SqlInputError { msg, .. } => msg.clone(),
        other => other.to_string(),
    }
}

/// An identifier as SQL writes it.
pub(crate) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Identifiers with commas.
pub(crate) fn quote_all<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(quote).collect::<Vec<_>>().join(", ")
}

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// A thread that owns a connection and does one job after the other. Dropping the worker ends the thread, which
/// closes the connection and with it undoes an open transaction.
#[derive(Debug)]
pub(crate) struct Worker {
    jobs: mpsc::Sender<Job>,
    closed: tokio::sync::oneshot::Receiver<()>,
}

impl Worker {
    /// Starts the thread and opens the file in it.
    pub(crate) async fn start(file: &File) -> Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let (ready, opened) = tokio::sync::oneshot::channel();
        let (closing, closed) = tokio::sync::oneshot::channel();
        let file = file.clone();
        std::thread::Builder::new()
            .name("synqx-sqlite".to_owned())
            .spawn(move || match file.open_to_write() {
                Ok(mut connection) => {
                    let _ = ready.send(Ok(()));
                    while let Ok(job) = queue.recv() {
                        job(&mut connection);
                    }
                    drop(connection);
                    let _ = closing.send(());
                }
                Err(error) => {
                    let _ = ready.send(Err(error));
                }
            })
            .map_err(|cause| {
                Error::new(Code::E0313, "cannot start a thread for SQLite")
                    .with_cause(&cause)
                    .with_hint("raise the limit of threads")
            })?;
        opened.await.map_err(|_| stopped())??;
        Ok(Worker { jobs, closed })
    }

    /// Ends the thread and waits until it has closed the file.
    pub(crate) async fn close(self) {
        drop(self.jobs);
        let _ = self.closed.await;
    }

    /// Does a job and waits for its result. A caller that stops waiting does not stop the job.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (done, result) = tokio::sync::oneshot::channel();
        let job: Job = Box::new(move |connection| {
            let _ = done.send(job(connection));
        });
        self.jobs.send(job).map_err(|_| stopped())?;
        result.await.map_err(|_| stopped())?
    }
}

fn stopped() -> Error {
    Error::bug("the SQLite thread of a load stopped")
}
