//! A certificate authority and a certificate for each server, made on this machine.
//!
//! The TLS modes of the PostgreSQL connector are tested against real servers, so the servers need certificates
//! that a client can check, and one that it must refuse: `postgres15` is valid for `localhost` and `127.0.0.1`,
//! `postgres18` for `localhost` alone, so that a check of the host name fails on its address. Nothing here
//! secures anything: the keys lie in a throw-away folder.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::Server;
use super::place::{Place, set_mode};
use crate::failure::{Explain, Result};
use crate::process;

const CONFIG: &str = "\
[req]
distinguished_name = name
prompt = no
[name]
CN = SynqX test
[ca]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
[postgres15]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = DNS:localhost,IP:127.0.0.1
[postgres18]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = DNS:localhost
";

/// Validity in days of everything made here; renewed when less than a week is left.
const DAYS: &str = "365";
const WEEK_IN_SECONDS: &str = "604800";

/// Makes what is missing or about to expire; true when servers must be restarted to see it.
pub(super) fn ensure(place: &Place) -> Result<bool> {
    let folder = place.tls();
    let config = folder.join("openssl.cnf");
    let same = fs::read_to_string(&config).is_ok_and(|text| text == CONFIG);
    let valid = |name: &str| {
        let mut command = Command::new("openssl");
        command
            .args(["x509", "-noout", "-checkend", WEEK_IN_SECONDS, "-in"])
            .arg(folder.join(name));
        process::succeeds(&mut command)
    };
    if same
        && ["ca.pem", "postgres15.pem", "postgres18.pem"]
            .into_iter()
            .all(valid)
    {
        return Ok(false);
    }
    let draft = folder.join("openssl.cnf.new");
    fs::write(&draft, CONFIG).explain(|| format!("cannot write {}", draft.display()))?;
    make(&folder, &draft, "ca")?;
    set_mode(&folder.join("ca.key"), 0o600)?;
    set_mode(&folder.join("ca.pem"), 0o644)?;
    for server in Server::ALL {
        make(&folder, &draft, server.name())?;
        place.give(&folder.join(format!("{}.key", server.name())), 0o600)?;
        place.give(&folder.join(format!("{}.pem", server.name())), 0o644)?;
    }
    // Last, so that a run that was cut short is done again.
    fs::rename(&draft, &config).explain(|| format!("cannot write {}", config.display()))?;
    Ok(true)
}

/// A key and a certificate: the authority signs itself, everything else is signed by the authority.
fn make(folder: &Path, config: &Path, name: &str) -> Result<()> {
    let mut command = Command::new("openssl");
    command.current_dir(folder).env_remove("LD_LIBRARY_PATH");
    command.args([
        "req",
        "-x509",
        "-new",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
    ]);
    command
        .args(["-days", DAYS, "-sha256", "-extensions", name, "-config"])
        .arg(config);
    command.args(["-keyout", &format!("{name}.key"), "-out", &format!("{name}.pem")]);
    command.args(["-subj", &format!("/CN=SynqX test {name}")]);
    if name != "ca" {
        command.args(["-CA", "ca.pem", "-CAkey", "ca.key"]);
    }
    process::capture(&mut command).map(drop)
}
