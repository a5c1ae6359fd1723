//! The built binary as people and scripts meet it: words, exit codes, streams, signals.
//!
//! Every test runs `synqx` in a folder of its own and looks at what comes out of the process. What the engine
//! does with rows is proved in its own crate; here one file to one file is enough.
#![expect(
    clippy::expect_used,
    reason = "a helper of a test that cannot go on fails the test"
)]

mod copy;
mod quarantine;
mod run;
mod secrets;
mod words;

use std::path::Path;
use std::process::{Command, Output};

/// The binary, in a folder, without the caller's settings.
fn synqx(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_synqx"));
    command.current_dir(folder).args(arguments);
    for name in ["SYNQX_LOG", "NO_COLOR", "PGUSER", "PGPASSWORD", "PGDATABASE"] {
        command.env_remove(name);
    }
    command
}

/// Runs to the end.
fn output(folder: &Path, arguments: &[&str]) -> Output {
    synqx(folder, arguments).output().expect("the binary starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

/// A folder with the example of `synqx init`.
fn example() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let made = output(folder.path(), &["init"]);
    assert!(made.status.success(), "{}", stderr(&made));
    folder
}
