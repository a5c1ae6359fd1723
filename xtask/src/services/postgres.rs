//! One PostgreSQL server: its data folder, its settings, starting and stopping it.
//!
//! The settings serve the tests: logical decoding and prepared transactions are on, every statement is logged so
//! that a test can read the query a server received, the superuser needs no password and every other role needs
//! one. A server is known by the process id in its own data folder, checked against that process's command
//! line, so a stale id stops nobody else's process. It installs nothing: that is `install`.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use super::place::{self, Place};
use super::{Server, install, psql};
use crate::failure::{Explain, Failure, Result};
use crate::process;

/// The superuser is trusted; every other role needs its password.
const ACCESS: &str = "\
# type  database     user      address       method
host    all          postgres  127.0.0.1/32  trust
host    replication  postgres  127.0.0.1/32  trust
host    all          all       127.0.0.1/32  scram-sha-256
host    replication  all       127.0.0.1/32  scram-sha-256
";

const SETTINGS: &str = "\
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 200
shared_buffers = 64MB
password_encryption = 'scram-sha-256'
wal_level = logical
max_wal_senders = 30
max_replication_slots = 30
max_prepared_transactions = 20
fsync = off
synchronous_commit = off
full_page_writes = off
jit = off
timezone = 'UTC'
log_timezone = 'UTC'
lc_messages = 'C'
log_destination = 'stderr'
logging_collector = off
log_statement = 'all'
log_line_prefix = '%m [%p] app=%a db=%d user=%u '
ssl = on
";

const START_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(super) struct Running {
    pub(super) port: u16,
    pub(super) started: bool,
}

/// What a data folder says about the server that holds it.
#[derive(Debug, PartialEq, Eq)]
struct Holder {
    pid: u32,
    port: u16,
}

/// Leaves a good server alone, and otherwise starts one.
pub(super) fn ensure(place: &Place, server: Server, restart: bool) -> Result<Running> {
    let data = place.data(server);
    let settings = settings(place, server);
    if let Some(holder) = holder(&data) {
        let same = fs::read_to_string(data.join("synqx.conf")).is_ok_and(|text| text == settings)
            && fs::read_to_string(data.join("pg_hba.conf")).is_ok_and(|text| text == ACCESS);
        if same && !restart && answers(holder.port) {
            return Ok(Running {
                port: holder.port,
                started: false,
            });
        }
        stop(place, server)?;
    }
    initialise(place, server)?;
    for (name, text) in [("synqx.conf", settings.as_str()), ("pg_hba.conf", ACCESS)] {
        let file = data.join(name);
        fs::write(&file, text).explain(|| format!("cannot write {}", file.display()))?;
        place.give(&file, 0o600)?;
    }
    // Nobody holds this folder (checked above), so what a killed server left behind must not look like a holder.
    drop(fs::remove_file(data.join("postmaster.pid")));
    let port = place::free_port(server)?;
    let mut child = start(place, server, port)?;
    wait_until_ready(place, server, port, &mut child)?;
    Ok(Running { port, started: true })
}

/// Stops the server that holds this data folder; false when there is none.
pub(super) fn stop(place: &Place, server: Server) -> Result<bool> {
    let data = place.data(server);
    let Some(holder) = holder(&data) else {
        return Ok(false);
    };
    // INT: a fast shutdown. KILL only when that did not end it.
    for signal in ["INT", "KILL"] {
        process::capture(&mut process::shell(
            "kill -s \"$1\" \"$2\"",
            &[signal, &holder.pid.to_string()],
        ))
        .or_else(|failure| {
            if holds(holder.pid, &data) {
                Err(failure)
            } else {
                Ok(String::new())
            }
        })?;
        let start = Instant::now();
        while start.elapsed() < STOP_LIMIT {
            if !holds(holder.pid, &data) {
                return Ok(true);
            }
            std::thread::sleep(PAUSE);
        }
    }
    Err(Failure::new(format!(
        "{} (process {}) does not stop",
        server.name(),
        holder.pid
    )))
}

fn settings(place: &Place, server: Server) -> String {
    let file = |suffix: &str| {
        let path = place.tls().join(format!("{}.{suffix}", server.name()));
        path.display().to_string().replace('\'', "''")
    };
    let (name, certificate, key) = (server.name(), file("pem"), file("key"));
    format!(
        "{SETTINGS}ssl_cert_file = '{certificate}'\nssl_key_file = '{key}'\ncluster_name = 'synqx-{name}'\n"
    )
}

/// Makes the data folder unless a complete one of this version is there.
fn initialise(place: &Place, server: Server) -> Result<()> {
    let data = place.data(server);
    if fs::read_to_string(data.join("PG_VERSION")).is_ok_and(|version| version.trim() == server.major()) {
        return Ok(());
    }
    let draft = data.with_extension("new");
    for folder in [&data, &draft] {
        if folder.exists() {
            fs::remove_dir_all(folder).explain(|| format!("cannot remove {}", folder.display()))?;
        }
    }
    fs::create_dir(&draft).explain(|| format!("cannot create {}", draft.display()))?;
    place.give(&draft, 0o700)?;
    let mut initdb = place.as_owner(install::programs(place, server).join("initdb"));
    initdb.args([
        "--username=postgres",
        "--auth=trust",
        "--encoding=UTF8",
        "--locale=C.UTF-8",
    ]);
    process::capture(initdb.args(["--no-sync", "--no-instructions", "-D"]).arg(&draft))?;
    let main = draft.join("postgresql.conf");
    let text = fs::read_to_string(&main).explain(|| format!("cannot read {}", main.display()))?;
    fs::write(&main, format!("{text}\ninclude = 'synqx.conf'\n"))
        .explain(|| format!("cannot write {}", main.display()))?;
    // A folder with this name is complete: an initdb that was cut short is done again.
    fs::rename(&draft, &data).explain(|| format!("cannot rename {}", draft.display()))
}

/// Starts the server in a session of its own, so that it outlives this process and its terminal.
fn start(place: &Place, server: Server, port: u16) -> Result<Child> {
    let log = place.log(server);
    let file = |append: bool| {
        let mut options = File::options();
        options.create(true).write(true).append(append).truncate(!append);
        options
            .open(&log)
            .explain(|| format!("cannot write {}", log.display()))
    };
    drop(file(false)?);
    place::set_mode(&log, 0o644)?;
    let mut command = place.as_owner("setsid");
    command.arg(install::programs(place, server).join("postgres"));
    command
        .arg("-D")
        .arg(place.data(server))
        .args(["-p", &port.to_string()]);
    command
        .stdin(Stdio::null())
        .stdout(file(true)?)
        .stderr(file(true)?);
    command
        .spawn()
        .explain(|| format!("cannot start `{}`", process::show(&command)))
}

fn wait_until_ready(place: &Place, server: Server, port: u16, child: &mut Child) -> Result<()> {
    let start = Instant::now();
    let log = place.log(server);
    let said = || fs::read_to_string(&log).unwrap_or_default().trim_end().to_owned();
    while start.elapsed() < START_LIMIT {
        if let Ok(Some(status)) = child.try_wait() {
            return Err(Failure::new(format!(
                "{} ended with {status}:\n{}",
                server.name(),
                said()
            )));
        }
        // An open port alone may be somebody else's: the data folder must name it too.
        if holder(&place.data(server)).is_some_and(|holder| holder.port == port) && answers(port) {
            return Ok(());
        }
        std::thread::sleep(PAUSE);
    }
    Err(Failure::new(format!(
        "{} does not answer on port {port}:\n{}",
        server.name(),
        said()
    )))
}

fn answers(port: u16) -> bool {
    psql(&format!("postgres://postgres@127.0.0.1:{port}/postgres"))
        .is_ok_and(|mut psql| process::succeeds(psql.env("PGCONNECT_TIMEOUT", "5").args(["-c", "select 1"])))
}

/// The running server of a data folder, if there is one.
fn holder(data: &Path) -> Option<Holder> {
    let holder = read_holder(&fs::read_to_string(data.join("postmaster.pid")).ok()?)?;
    holds(holder.pid, data).then_some(holder)
}

/// Line 1 of `postmaster.pid` is the process id, line 4 the port.
fn read_holder(text: &str) -> Option<Holder> {
    let mut lines = text.lines().map(str::trim);
    let pid = lines.next()?.parse().ok()?;
    let port = lines.nth(2)?.parse().ok()?;
    Some(Holder { pid, port })
}

/// True when that process lives and was started on that data folder.
fn holds(pid: u32, data: &Path) -> bool {
    let process = Path::new("/proc").join(pid.to_string());
    let (Ok(state), Ok(words)) = (
        fs::read_to_string(process.join("stat")),
        fs::read(process.join("cmdline")),
    ) else {
        return false;
    };
    let dead = state
        .rsplit_once(") ")
        .is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']));
    !dead
        && words
            .split(|byte| *byte == 0)
            .any(|word| word == data.as_os_str().as_encoded_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_process_and_the_port_of_a_data_folder() {
        let text = "4711\n/data\n1700000000\n21500\n\n127.0.0.1\n  1 2\nready   \n";
        assert_eq!(
            read_holder(text),
            Some(Holder {
                pid: 4711,
                port: 21_500
            })
        );
        assert_eq!(read_holder("4711\n"), None);
        assert_eq!(read_holder("\n\n\n\n"), None);
    }

    #[test]
    fn a_living_process_on_another_folder_is_not_the_holder() {
        assert!(!holds(std::process::id(), Path::new("/no/such/data")));
        assert!(!holds(u32::MAX, Path::new("/no/such/data")));
        let program = std::env::args_os().next().unwrap();
        assert!(holds(std::process::id(), Path::new(&program)));
    }
}
