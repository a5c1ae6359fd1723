//! Running other programs: to the end, with their output shown or taken, and with failures that name the command.
//!
//! Every task is mostly other programs (cargo, apt-get, npm, psql), so how they are called lives in one place.
//! It is not a shell: no pipes, no globbing, and no program that stays behind (that is `services::postgres`).

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::failure::{Explain, Failure, Result};

/// Runs with inherited output and no standard input; anything but success is a failure.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    command.stdin(Stdio::null());
    let status = command
        .status()
        .explain(|| format!("cannot start `{}`", show(command)))?;
    if status.success() {
        return Ok(());
    }
    Err(Failure::new(format!("`{}` ended with {status}", show(command))))
}

/// Runs and returns standard output; a failure carries the end of standard error.
pub(crate) fn capture(command: &mut Command) -> Result<String> {
    let output = output(command)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let mut last: Vec<&str> = said.lines().rev().take(12).collect();
    last.reverse();
    Err(Failure::new(format!(
        "`{}` ended with {}\n{}",
        show(command),
        output.status,
        last.join("\n")
    )))
}

/// True when the program ran and succeeded; its output is dropped.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    output(command).is_ok_and(|output| output.status.success())
}

fn output(command: &mut Command) -> Result<std::process::Output> {
    command.stdin(Stdio::null());
    command
        .output()
        .explain(|| format!("cannot start `{}`", show(command)))
}

/// True when a program of that name is on the `PATH`.
pub(crate) fn on_path(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}

/// The cargo that runs this task, in the workspace root, without what `cargo run` told this process about xtask.
pub(crate) fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    for (name, _) in std::env::vars_os() {
        let Some(text) = name.to_str() else { continue };
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(name);
        }
    }
    if in_ci() {
        command.env("CARGO_INCREMENTAL", "0");
    }
    command
}

/// A shell script with arguments, for what std has no call for (signals, `apt-get` under a guard).
pub(crate) fn shell(script: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script, "sh"]).args(arguments);
    command
}

/// True when this process may do anything; decides whether the servers need another user.
pub(crate) fn is_root() -> bool {
    capture(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}

/// True on a CI machine, where a run may change the machine and nobody answers.
pub(crate) fn in_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false" && value != "0")
}

/// The command line as a person would type it, for messages.
pub(crate) fn show(command: &Command) -> String {
    let name = Path::new(command.get_program())
        .file_name()
        .unwrap_or(command.get_program());
    let words = std::iter::once(name)
        .chain(command.get_args())
        .map(OsStr::to_string_lossy);
    words
        .map(|word| {
            if word.contains(' ') {
                format!("'{word}'")
            } else {
                word.into_owned()
            }
        })
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_command_and_what_it_said() {
        let failure =
            capture(Command::new("/bin/sh").args(["-c", "echo no such luck >&2; exit 3"])).unwrap_err();
        let text = failure.to_string();
        assert!(text.contains("sh -c 'echo no such luck >&2; exit 3'"), "{text}");
        assert!(text.ends_with("no such luck"), "{text}");
    }

    #[test]
    fn finds_programs_on_the_path_only() {
        assert!(on_path("sh"));
        assert!(!on_path("no-such-program-anywhere"));
    }
}
