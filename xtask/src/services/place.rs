//! Where the servers live: folders, ports, and the user they run as.
//!
//! PostgreSQL refuses to run as root, and another user may be unable to enter a checkout below a private home
//! folder; then the data goes to a folder of its own under the temporary folder. `env.json`, the logs and the
//! lock stay in the checkout either way. It starts nothing: that is `postgres`.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Server;
use crate::failure::{Explain, Failure, Result};
use crate::process;

/// The first port: below the ephemeral range, where no outgoing connection of another program can sit.
const FIRST_PORT: u16 = 21_500;
/// How far apart the ports are that one server tries when something else listens on the first.
const PORT_STEP: u16 = 10;
const PORT_TRIES: u16 = 20;

/// The user the servers run as when this process is root.
#[derive(Debug)]
struct Owner {
    uid: u32,
    gid: u32,
}

#[derive(Debug)]
pub(super) struct Place {
    /// `env.json`, `lock` and `log/`.
    pub(super) home: PathBuf,
    /// `data/`, `tls/` and `npm/`: everything that the servers' user must be able to enter.
    store: PathBuf,
    owner: Option<Owner>,
}

/// The folder that holds `env.json`: `.services` in the checkout, or `SYNQX_SERVICES`.
pub(super) fn home(root: &Path) -> Result<PathBuf> {
    let home = match std::env::var_os("SYNQX_SERVICES") {
        Some(folder) => root.join(folder),
        None => root.join(".services"),
    };
    open_folder(&home)?;
    Ok(home)
}

/// False on a machine where root has never installed a server, so that none can be running.
pub(super) fn has_owner() -> bool {
    !process::is_root() || Owner::postgres().is_ok()
}

impl Place {
    pub(super) fn find(home: PathBuf) -> Result<Self> {
        let owner = if process::is_root() {
            Some(Owner::postgres()?)
        } else {
            None
        };
        let mut place = Self {
            store: home.clone(),
            home,
            owner,
        };
        if !process::succeeds(place.as_owner("test").arg("-x").arg(&place.home)) {
            place.store = std::env::temp_dir().join(format!("synqx-services-{:016x}", hash(&place.home)));
            open_folder(&place.store)?;
            own_folder(&place.store)?;
        }
        for folder in [
            place.home.join("log"),
            place.store.join("data"),
            place.store.join("tls"),
        ] {
            open_folder(&folder)?;
        }
        Ok(place)
    }

    pub(super) fn data(&self, server: Server) -> PathBuf {
        self.store.join("data").join(server.name())
    }

    pub(super) fn log(&self, server: Server) -> PathBuf {
        self.home.join("log").join(format!("{}.log", server.name()))
    }

    pub(super) fn npm(&self) -> PathBuf {
        self.store.join("npm")
    }

    pub(super) fn tls(&self) -> PathBuf {
        self.store.join("tls")
    }

    pub(super) fn ca(&self) -> PathBuf {
        self.tls().join("ca.pem")
    }

    /// A command that runs as the servers' user, from a folder that user can enter.
    pub(super) fn as_owner(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = match &self.owner {
            None => Command::new(program),
            Some(owner) => {
                let mut command = Command::new("setpriv");
                command.args([
                    "--reuid",
                    &owner.uid.to_string(),
                    "--regid",
                    &owner.gid.to_string(),
                ]);
                command.arg("--init-groups").arg(program.as_ref());
                command
            }
        };
        command
            .current_dir("/")
            .env_remove("LD_LIBRARY_PATH")
            .env_remove("PGDATA");
        command
    }

    /// Hands a file or folder to the servers' user.
    pub(super) fn give(&self, path: &Path, mode: u32) -> Result<()> {
        set_mode(path, mode)?;
        match &self.owner {
            None => Ok(()),
            Some(owner) => chown(path, Some(owner.uid), Some(owner.gid))
                .explain(|| format!("cannot give {} to user postgres", path.display())),
        }
    }
}

impl Owner {
    fn postgres() -> Result<Self> {
        let number = |flag: &str| -> Result<u32> {
            let text = process::capture(Command::new("id").args([flag, "postgres"]))?;
            text.trim()
                .parse()
                .explain(|| format!("`id {flag} postgres` printed {text:?}"))
        };
        Ok(Self {
            uid: number("-u")?,
            gid: number("-g")?,
        })
    }
}

/// A port for that server on which nothing listens now.
pub(super) fn free_port(server: Server) -> Result<u16> {
    let first = first_port(std::env::var("SYNQX_SERVICES_PORT").ok().as_deref())?;
    let mut candidates = candidates(first, server);
    candidates
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .explain(|| format!("no free port from {first} upwards: set SYNQX_SERVICES_PORT"))
}

fn first_port(setting: Option<&str>) -> Result<u16> {
    match setting {
        None => Ok(FIRST_PORT),
        Some(text) => text
            .parse()
            .explain(|| format!("SYNQX_SERVICES_PORT is no port: {text:?}")),
    }
}

fn candidates(first: u16, server: Server) -> impl Iterator<Item = u16> {
    let offset = match server {
        Server::Postgres15 => 0,
        Server::Postgres18 => 1,
    };
    (0..PORT_TRIES).filter_map(move |step| first.checked_add(step * PORT_STEP + offset))
}

/// Creates a folder that everyone may enter; its parents keep their modes.
fn open_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path).explain(|| format!("cannot create {}", path.display()))?;
    set_mode(path, 0o755)
}

pub(super) fn set_mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .explain(|| format!("cannot set the mode of {}", path.display()))
}

/// The temporary folder is shared: a folder there that somebody else made is not used.
fn own_folder(path: &Path) -> Result<()> {
    let found = fs::symlink_metadata(path).explain(|| format!("cannot read {}", path.display()))?;
    let me = process::capture(Command::new("id").arg("-u"))?;
    if found.is_dir() && found.uid().to_string() == me.trim() {
        return Ok(());
    }
    Err(Failure::new(format!(
        "{} belongs to somebody else: set SYNQX_SERVICES",
        path.display()
    )))
}

/// FNV-1a of a path, so that two checkouts never share a folder.
fn hash(folder: &Path) -> u64 {
    folder
        .as_os_str()
        .as_encoded_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_never_try_the_same_port() {
        let of = |server| candidates(21_500, server).collect::<Vec<_>>();
        let (a, b) = (of(Server::Postgres15), of(Server::Postgres18));
        assert_eq!((a[0], b[0], a[1]), (21_500, 21_501, 21_510));
        assert!(a.iter().all(|port| !b.contains(port) && *port < 32_768));
    }

    #[test]
    fn a_taken_port_is_passed_over() {
        let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        assert!(TcpListener::bind(taken.local_addr().unwrap()).is_err());
        assert!(first_port(Some("no")).is_err());
        assert_eq!(first_port(Some("23000")).unwrap(), 23_000);
    }

    #[test]
    fn checkouts_get_folders_of_their_own() {
        assert_ne!(hash(Path::new("/a/synqx")), hash(Path::new("/b/synqx")));
    }
}
