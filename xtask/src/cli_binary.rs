//! The `synqx` binary as the tasks use it: built once with the features of the whole workspace, then run.
//!
//! `cargo run -p synqx-cli` would choose another feature set than `cargo test --workspace` and build the heavy
//! dependencies a second time; selecting the whole workspace and one binary does not. It is not the demo or the
//! examples, which say what to run.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::{Explain, Result};
use crate::{process, workspace};

/// Where the generated reference lives.
const REFERENCE: &str = "docs/reference";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Generate {
    Write,
    Check,
}

/// Builds the binary with the dev profile and returns its path.
pub(crate) fn build(root: &Path) -> Result<PathBuf> {
    process::run(process::cargo(root).args(["build", "--workspace", "--locked", "--bin", "synqx"]))?;
    let binary = workspace::target(root).join("debug/synqx");
    binary
        .is_file()
        .then_some(())
        .explain(|| format!("cargo built no {}", binary.display()))?;
    Ok(binary)
}

/// Builds the binary with the release profile, which figures are measured with, and returns its path.
pub(crate) fn build_release(root: &Path) -> Result<PathBuf> {
    process::run(process::cargo(root).args([
        "build",
        "--release",
        "--workspace",
        "--locked",
        "--bin",
        "synqx",
    ]))?;
    let binary = workspace::target(root).join("release/synqx");
    binary
        .is_file()
        .then_some(())
        .explain(|| format!("cargo built no {}", binary.display()))?;
    Ok(binary)
}

/// `synqx internal gen`: schemas, spec and error reference, command-line reference.
pub(crate) fn generate(what: Generate) -> Result<()> {
    let root = workspace::root()?;
    let binary = build(&root)?;
    let mut command = Command::new(binary);
    command
        .current_dir(&root)
        .args(["internal", "gen", "--out", REFERENCE]);
    if what == Generate::Check {
        command.arg("--check");
    }
    process::run(&mut command)
}
