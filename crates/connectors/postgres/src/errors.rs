//! What PostgreSQL and the driver say, as the house's codes.
//!
//! One function from SQLSTATE to code per part being played. PostgreSQL's DETAIL and CONTEXT contain values of rows,
//! and so do the messages of classes 22 (data) and 23 (constraints) and of RAISE: none of them is ever repeated.
//! What is safe to say about such a row is the constraint, table and column.

use synqx_model::{Code, Error};
use synqx_sdk::Role;
use tokio_postgres::error::{DbError, SqlState};

/// What a statement was part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Reaching the server and logging in.
    Connect,
    /// Anything after.
    Work,
}

/// Text of an underlying error that is safe to show.
#[derive(Debug)]
struct Cause(String);

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Cause {}

/// Adds text as the cause.
pub(crate) fn with_text(error: Error, text: impl Into<String>) -> Error {
    error.with_cause(&Cause(text.into()))
}

/// The house's error for a driver error. `doing` continues "cannot …" and names the object.
pub(crate) fn classify(role: Role, phase: Phase, doing: &str, error: &tokio_postgres::Error) -> Error {
    if let Some(db) = error.as_db_error() {
        return of_server(role, doing, db);
    }
    let text = chain(error);
    let make = |source, destination| Error::new(role.code(source, destination), format!("cannot {doing}"));
    if text.starts_with("error performing TLS handshake") {
        let hint = if text.contains("does not support TLS") {
            "the server offers no TLS: set `tls: {mode: disable}` or `prefer`, or enable `ssl` on the server"
        } else {
            "check `tls.ca` and the host name in the server's certificate; `tls: {mode: require}` encrypts without checking"
        };
        return make(Code::E0213, Code::E0314).with_cause(error).with_hint(hint);
    }
    if phase == Phase::Connect {
        if text.contains("password missing") || text.starts_with("authentication error") {
            return make(Code::E0202, Code::E0302)
                .with_cause(error)
                .with_hint("set `password` (best as a secret reference) in the connection");
        }
        return make(Code::E0201, Code::E0301).with_cause(error).with_hint(
            "check `host` and `port`, that the server runs, and that a firewall lets this machine in",
        );
    }
    make(Code::E0205, Code::E0305)
        .with_cause(error)
        .with_hint("the connection broke or the server stopped; run again, nothing was half-published")
}

/// An error's text with those of its sources.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(inner) = next {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        next = inner.source();
    }
    text
}

/// The error for a server that did not answer in time.
pub(crate) fn timed_out(role: Role, doing: &str, seconds: f64) -> Error {
    Error::new(
        role.code(Code::E0201, Code::E0301),
        format!("cannot {doing}: no answer within {seconds} s"),
    )
    .with_hint("check `host` and `port` and the firewall, or raise `connect_timeout`")
}

fn of_server(role: Role, doing: &str, db: &DbError) -> Error {
    let state = db.code().code();
    let error = Error::new(code_of(role, state), message(role, doing, db));
    let error = match speakable(state) {
        true => with_text(error, format!("{} (SQLSTATE {state})", db.message())),
        false => with_text(error, format!("SQLSTATE {state}")),
    };
    let error = match shown(state) && db.where_().is_none() && db.routine() != Some("exec_stmt_raise") {
        true => error.with_detail(format!(
            "PostgreSQL said: {} (SQLSTATE {state}).",
            db.message().trim_end_matches('.')
        )),
        false => error,
    };
    error.with_hint(hint(role, state, db))
}

fn message(role: Role, doing: &str, db: &DbError) -> String {
    let class = &db.code().code()[..2];
    match (class, db.constraint()) {
        ("23", Some(constraint)) if role == Role::Destination => {
            format!(
                "cannot {doing}: a row violates the constraint `{constraint}`{}",
                of_table(db)
            )
        }
        ("23", None) if *db.code() == SqlState::NOT_NULL_VIOLATION => {
            let column = db.column().unwrap_or("?");
            format!(
                "cannot {doing}: a row has NULL in the column `{column}`, which must not be NULL{}",
                of_table(db)
            )
        }
        ("22", _) => match db.where_().and_then(copy_column) {
            Some(column) => format!("cannot {doing}: {} in column `{column}`", data_problem(db.code())),
            None => format!("cannot {doing}: {}", data_problem(db.code())),
        },
        _ => format!("cannot {doing}"),
    }
}

fn of_table(db: &DbError) -> String {
    db.table()
        .map(|table| format!(" of table `{table}`"))
        .unwrap_or_default()
}

/// The column in `COPY t, line 3, column name` (a value may follow; it is cut).
fn copy_column(context: &str) -> Option<String> {
    let line = context.lines().find(|line| line.starts_with("COPY "))?;
    let from = line.find(", column ")? + ", column ".len();
    let rest = &line[from..];
    Some(rest[..rest.find(": ").unwrap_or(rest.len())].to_owned())
}

fn data_problem(state: &SqlState) -> &'static str {
    match state.code() {
        "22001" => "a text is longer than the column holds",
        "22003" => "a number is out of range",
        "22007" | "22008" => "a date or time is not valid",
        "22P02" | "22P03" => "a text is not valid for the column's type",
        "22021" => "a text has a character the database's encoding does not hold",
        "22012" => "a division by zero",
        "22P05" => "a text has a character that cannot be converted",
        _ => "a value is not valid",
    }
}

/// Whether the server's message is free of row values.
fn speakable(state: &str) -> bool {
    !matches!(&state[..2], "22" | "23" | "P0")
}

/// Whether the server's message is about statements, names and limits, which a user must see to correct them.
/// What a function of the database says is not shown: it can hold anything.
fn shown(state: &str) -> bool {
    matches!(
        &state[..2],
        "0A" | "25" | "26" | "28" | "3D" | "3F" | "42" | "53" | "54" | "55" | "57"
    )
}

/// The code of a SQLSTATE.
pub(crate) fn code_of(role: Role, state: &str) -> Code {
    let (source, destination) = match state {
        "28P01" | "28000" | "3D000" => (Code::E0202, Code::E0302),
        "42501" => (Code::E0203, Code::E0303),
        "25006" => (Code::E0212, Code::E0303),
        "42P01" | "3F000" => (Code::E0204, Code::E0304),
        "53300" | "57P03" => (Code::E0201, Code::E0301),
        "42P07" => (Code::E0212, Code::E0311),
        "53100" => (Code::E0212, Code::E0306),
        "40001" if role == Role::Source => (Code::E0205, Code::E0305),
        "55P03" | "40P01" | "40001" => (Code::E0212, Code::E0312),
        "57P01" | "57P02" | "57P05" => (Code::E0205, Code::E0305),
        _ => match &state[..2] {
            "08" => (Code::E0205, Code::E0305),
            "22" | "23" => (Code::E0212, Code::E0307),
            _ => (Code::E0212, Code::E0316),
        },
    };
    role.code(source, destination)
}

fn hint(role: Role, state: &str, db: &DbError) -> String {
    match state {
        "28P01" => "the password or user is wrong: check `user` and `password` of the connection".into(),
        "28000" => "the server does not let this user in: check `user`, `password` and the server's pg_hba.conf".into(),
        "3D000" => "the database does not exist: check `database` of the connection".into(),
        "42501" if role == Role::Source => "grant the user SELECT on it and USAGE on its schema".into(),
        "42501" => "grant the user what is missing: USAGE and CREATE on the schema, INSERT, UPDATE, DELETE on the table".into(),
        "25006" => "the server is read-only, such as a standby: connect to the primary".into(),
        "42P01" => "check the name and schema; `synqx discover` lists what there is, names are case-sensitive".into(),
        "42P07" => "run again: somebody made the table in the meantime".into(),
        "3F000" => "create the schema or name another one".into(),
        "53300" => "the server has no free connections: lower the number of lanes or raise max_connections".into(),
        "53100" => "free space on the database server's disk, then run again".into(),
        "55P03" | "40P01" | "40001" => {
            "another transaction holds the lock: run again later, or raise `lock_timeout`".into()
        }
        "57014" => "the statement was cancelled on the server: raise `statement_timeout` or ask who cancelled it".into(),
        "57P01" | "57P02" | "57P03" | "57P05" => "the server stopped or is starting: run again when it is up".into(),
        _ => match &state[..2] {
            "22" => "look at the rows in question, or change the column's type".into(),
            "23" => format!(
                "find the rows with a check in the pipeline (`validate`), or change the constraint{}",
                db.constraint().map(|c| format!(" `{c}`")).unwrap_or_default()
            ),
            "42" => "correct the statement or name: the server's message says what is wrong".into(),
            "08" => "run again; nothing was half-published".into(),
            _ => "see the server's message and its log".into(),
        },
    }
}

/// Whether the server may have acted although we got this error for a COMMIT.
pub(crate) fn answer_lost(error: &tokio_postgres::Error) -> bool {
    match error.as_db_error() {
        None => true,
        Some(db) => {
            let state = db.code().code();
            state.starts_with("08") || state.starts_with("57P")
        }
    }
}

/// `E0317` for a commit without an answer.
pub(crate) fn lost_answer(doing: &str) -> Error {
    Error::new(
        Code::E0317,
        format!("the connection broke while the server was asked to {doing}"),
    )
    .with_detail("The server may or may not have committed.")
    .with_hint("run again: the next run reads what was committed and continues from there")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sqlstates_have_a_code_for_each_part() {
        use Code::*;
        for (state, source, destination) in [
            ("28P01", E0202, E0302),
            ("28000", E0202, E0302),
            ("3D000", E0202, E0302),
            ("42501", E0203, E0303),
            ("42P01", E0204, E0304),
            ("08006", E0205, E0305),
            ("57P01", E0205, E0305),
            ("42601", E0212, E0316),
            ("53100", E0212, E0306),
            ("23505", E0212, E0307),
            ("23502", E0212, E0307),
            ("22001", E0212, E0307),
            ("55P03", E0212, E0312),
            ("40P01", E0212, E0312),
            ("53300", E0201, E0301),
            ("XX000", E0212, E0316),
        ] {
            assert_eq!(code_of(Role::Source, state), source, "{state}");
            assert_eq!(code_of(Role::Destination, state), destination, "{state}");
        }
    }

    #[test]
    fn messages_that_hold_values_are_not_repeated() {
        assert!(!speakable("23505") && !speakable("22P02") && !speakable("P0001"));
        assert!(speakable("42P01") && speakable("57014"));
        assert!(shown("42601") && shown("54011") && !shown("23505") && !shown("22P02") && !shown("P0001"));
        assert!(!shown("XX000") && !shown("38000") && !shown("HV000"));
        assert_eq!(
            copy_column("COPY t, line 7, column price: \"s3cr3t: x\"").as_deref(),
            Some("price")
        );
        assert_eq!(copy_column("SQL statement"), None);
    }
}
