//! `cargo x up`, `down` and `env`: the real PostgreSQL servers that the tests talk to.
//!
//! A test that needs a server must find one on every machine, with the same settings, without touching a server
//! that is already there. So this installs what is missing, keeps everything in one throw-away folder, listens
//! on 127.0.0.1 alone, and writes `env.json`, which the tests read. It is not a way to run PostgreSQL for
//! anything that matters: `fsync` is off and the superuser needs no password.

mod install;
mod place;
mod postgres;
mod tls;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use serde_json::{Value, json};

use crate::failure::{Explain, Result};
use crate::workspace;
use place::Place;

/// The servers there are. The order is the order of their ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    Postgres15,
    Postgres18,
}

impl Server {
    const ALL: [Self; 2] = [Self::Postgres15, Self::Postgres18];

    fn name(self) -> &'static str {
        match self {
            Self::Postgres15 => "postgres15",
            Self::Postgres18 => "postgres18",
        }
    }

    fn major(self) -> &'static str {
        match self {
            Self::Postgres15 => "15",
            Self::Postgres18 => "18",
        }
    }

    /// The variable that names this server's URL and wins over `env.json`.
    fn variable(self) -> &'static str {
        match self {
            Self::Postgres15 => "SYNQX_TEST_PG15",
            Self::Postgres18 => "SYNQX_TEST_PG18",
        }
    }

    /// The key of this server's log file in `env.json`.
    fn log_key(self) -> &'static str {
        match self {
            Self::Postgres15 => "log15",
            Self::Postgres18 => "log18",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Talk {
    Full,
    Quiet,
}

impl Talk {
    fn say(self, line: &str) {
        if self == Self::Full {
            println!("{line}");
        }
    }
}

/// Installs, starts and describes both servers; does nothing to one that already runs as it should.
pub(crate) fn up(talk: Talk) -> Result<()> {
    let root = workspace::root()?;
    let home = place::home(&root)?;
    let _lock = lock(&home)?;
    install::debian(talk)?;
    let place = Place::find(home)?;
    install::postgres18(&place, talk)?;
    let renewed = tls::ensure(&place)?;
    let mut facts = json!({});
    for server in Server::ALL {
        let start = Instant::now();
        let running = postgres::ensure(&place, server, renewed)?;
        let seconds = start.elapsed().as_secs_f64();
        let word = if running.started {
            format!("started in {seconds:.1} s")
        } else {
            "already running".into()
        };
        talk.say(&format!(
            "{} on 127.0.0.1:{}: {word}",
            server.name(),
            running.port
        ));
        facts[server.name()] = json!(format!("postgres://postgres@127.0.0.1:{}/postgres", running.port));
        facts[server.log_key()] = json!(place.log(server));
    }
    facts["ca"] = json!(place.ca());
    write_facts(&facts_path(&place.home), &facts)
}

/// Stops both servers and withdraws `env.json`; the data stays for the next `up`.
pub(crate) fn down() -> Result<()> {
    let root = workspace::root()?;
    let home = place::home(&root)?;
    let _lock = lock(&home)?;
    let facts = facts_path(&home);
    if facts.exists() {
        fs::remove_file(&facts).explain(|| format!("cannot remove {}", facts.display()))?;
    }
    if !place::has_owner() {
        println!("no server can be running: there is no user postgres");
        return Ok(());
    }
    let place = Place::find(home)?;
    for server in Server::ALL {
        let word = if postgres::stop(&place, server)? {
            "stopped"
        } else {
            "was not running"
        };
        println!("{}: {word}", server.name());
    }
    Ok(())
}

/// `cargo x env`: `eval "$(cargo x env)"` gives a shell the same servers the tests use.
pub(crate) fn print_env() -> Result<()> {
    for server in Server::ALL {
        println!("export {}={}", server.variable(), url(server)?);
    }
    Ok(())
}

/// The URL of a running server: the variable if it is set, else what `up` wrote.
pub(crate) fn url(server: Server) -> Result<String> {
    if let Ok(url) = std::env::var(server.variable()) {
        return Ok(url);
    }
    let path = facts_path(&place::home(&workspace::root()?)?);
    let text =
        fs::read_to_string(&path).explain(|| format!("no {}: run `cargo x up` first", path.display()))?;
    let facts: Value = serde_json::from_str(&text).explain(|| format!("cannot read {}", path.display()))?;
    let url = facts[server.name()].as_str();
    url.map(str::to_owned)
        .explain(|| format!("{} names no {}", path.display(), server.name()))
}

/// A `psql` on that database which reads no start-up file and stops at the first error.
pub(crate) fn psql(url: &str) -> Result<Command> {
    let program = install::psql().explain(|| "psql is missing: run `cargo x up` first".to_owned())?;
    let mut command = Command::new(program);
    command
        .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", url])
        .env_remove("LD_LIBRARY_PATH");
    Ok(command)
}

fn facts_path(home: &Path) -> PathBuf {
    home.join("env.json")
}

/// Two tasks at once take turns; the lock goes with the process, so it is never stale.
fn lock(home: &Path) -> Result<File> {
    let path = home.join("lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .explain(|| format!("cannot open {}", path.display()))?;
    file.lock()
        .explain(|| format!("cannot lock {}", path.display()))?;
    Ok(file)
}

/// Written beside and renamed, so that a test never reads half a file.
fn write_facts(path: &Path, facts: &Value) -> Result<()> {
    let fresh = path.with_extension("json.new");
    fs::write(&fresh, format!("{facts:#}\n")).explain(|| format!("cannot write {}", fresh.display()))?;
    fs::rename(&fresh, path).explain(|| format!("cannot write {}", path.display()))
}
