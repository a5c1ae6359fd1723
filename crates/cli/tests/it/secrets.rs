//! A secret never leaves the process, whatever goes wrong.
//!
//! A canary value is put where secrets go, the run fails because nothing answers on port 1, and then neither
//! a stream nor a file may hold the canary.

use std::path::Path;

use crate::{stderr, stdout, synqx};

const CANARY: &str = "canary-S3cr3t-93471";

const PIPELINE: &str = "\
name: secretive
connections:
  shop: { type: postgresql, host: 127.0.0.1, port: 1, database: shop, user: etl, password: secret://env/CANARY }
  out:  { type: local_file, path: . }
nodes:
  orders: { extract: { from: shop, asset: public.orders } }
  file:   { load: { input: orders, to: out, asset: orders.csv, write: replace } }
";

#[test]
fn a_resolved_secret_is_in_no_output_and_no_file() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("pipeline.yaml"), PIPELINE).expect("written");
    for arguments in [
        vec!["run", "--retries", "0", "--verbose", "--log-level", "trace"],
        vec!["run", "--retries", "0", "--json"],
        vec!["plan", "--verbose"],
        vec!["check", "--verbose"],
        vec!["doctor", "pipeline.yaml"],
        vec!["discover", "pipeline.yaml", "shop"],
        vec!["preview", "pipeline.yaml", "orders"],
    ] {
        let ended = synqx(folder.path(), &arguments)
            .env("CANARY", CANARY)
            .output()
            .expect("runs");
        assert_eq!(ended.status.code(), Some(4), "{arguments:?}: {}", stderr(&ended));
        assert!(
            !(stdout(&ended) + &stderr(&ended)).contains(CANARY),
            "{arguments:?} shows the secret"
        );
    }
    nowhere_in(folder.path());
}

#[test]
fn a_password_in_a_url_is_in_no_output_and_no_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("postgres://etl:{CANARY}@127.0.0.1:1/shop/public.orders");
    let other = format!("mysql://u:{CANARY}@h/d/t");
    for arguments in [
        vec!["cp", &url, "x.csv", "--retries", "0", "--verbose"],
        vec!["cp", "x.csv", &url, "--retries", "0", "--json"],
        vec!["preview", &url],
        vec!["discover", &url, "extra"],
        vec!["cp", &url, "x.csv", "--no-such-option"],
        vec!["run", &url],
        vec!["cp", &url, &other],
    ] {
        let ended = synqx(folder.path(), &arguments).output().expect("runs");
        assert!(!ended.status.success());
        assert!(
            !(stdout(&ended) + &stderr(&ended)).contains(CANARY),
            "{arguments:?} shows the secret"
        );
    }
    nowhere_in(folder.path());
}

fn nowhere_in(folder: &Path) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            nowhere_in(&path);
        } else {
            let bytes = std::fs::read(&path).expect("readable");
            let found = bytes
                .windows(CANARY.len())
                .any(|window| window == CANARY.as_bytes());
            assert!(!found, "{} holds the secret", path.display());
        }
    }
}
