//! What the lanes read: TPC-H files and tables, made once per scale and kept.
//!
//! `tpchgen-cli` writes CSV and Parquet; PostgreSQL gets the CSV by COPY. The tables are vacuumed and analysed,
//! autovacuum is off for them, so that no lane pays for another lane's housekeeping. The tables are the truth of every
//! lane, those that read files too: files that differ from them would show as wrong results. Tables that one lane
//! alone needs are made by that lane's setup.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use super::place::Place;
use super::tool;
use crate::failure::{Explain, Result};
use crate::{process, services};

const TABLES: [&str; 3] = ["lineitem", "orders", "customer"];

/// Changes when the tables do, so that old databases are made anew.
const EDITION: &str = "1";

/// Makes files and tables of the scale present, and points `current` at them.
pub(super) fn ensure(place: &Place) -> Result<()> {
    files(place)?;
    let current = place.current();
    if current.symlink_metadata().is_ok() {
        fs::remove_file(&current).explain(|| format!("cannot remove {}", current.display()))?;
    }
    symlink(place.data(), &current).explain(|| format!("cannot link {}", current.display()))?;
    tables(place)
}

fn files(place: &Place) -> Result<()> {
    let data = place.data();
    let missing = |format: &str| {
        TABLES
            .iter()
            .any(|table| !data.join(format!("{table}.{format}")).is_file())
    };
    for format in ["csv", "parquet"] {
        if missing(format) {
            println!("generating TPC-H at scale {} as {format}", place.scale);
            let fresh = place.work().join("fresh");
            super::place::emptied(&fresh)?;
            let venv = tool::DATA.ensure(place)?;
            process::capture(
                Command::new(venv.join("bin/tpchgen-cli"))
                    .args([format, "-s", &place.scale, "-T", &TABLES.join(","), "-o"])
                    .arg(&fresh),
            )?;
            for table in TABLES {
                let name = format!("{table}.{format}");
                let (from, to) = (fresh.join(&name), data.join(&name));
                fs::rename(&from, &to).explain(|| format!("cannot move {}", from.display()))?;
            }
        }
    }
    Ok(())
}

/// The database of the scale; the comment on it says that it is complete.
fn tables(place: &Place) -> Result<()> {
    let database = &place.database;
    let query =
        format!("select shobj_description(oid, 'pg_database') from pg_database where datname = '{database}'");
    let mut psql = services::psql(&place.admin)?;
    if process::capture(psql.args(["-At", "-c", &query]))?.trim() == EDITION {
        return Ok(());
    }
    println!("loading TPC-H at scale {} into {database}", place.scale);
    for statement in [
        format!("drop database if exists {database} with (force)"),
        format!("create database {database}"),
    ] {
        process::capture(services::psql(&place.admin)?.args(["-c", &statement]))?;
    }
    place.file("tables.sql")?;
    for table in TABLES {
        let file = place.data().join(format!("{table}.csv"));
        place.sql(&format!(
            "\\copy {table} from '{}' (format csv, header)",
            file.display()
        ))?;
    }
    place.sql("vacuum analyze")?;
    place.sql("checkpoint")?;
    let done = format!("comment on database {database} is '{EDITION}'");
    process::capture(services::psql(&place.admin)?.args(["-c", &done])).map(drop)
}
