//! The stages of `cargo x test` and `cargo x check`: what they run, in which order, and how long each took.
//!
//! The first stage that fails ends the run, so the last lines of a log name the culprit. The tests' own closing
//! lines are added up into one, because a workspace has many test binaries and the last one alone says little.
//! It is not a build system: every stage is a call of cargo or of another module.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::failure::{Explain, Failure, Result};
use crate::services::{self, Talk};
use crate::{cli_binary, examples, process, tidy, workspace};

/// What the test binaries reported, added up.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
    ignored: u64,
    measured: u64,
    filtered: u64,
}

impl Tally {
    /// Adds a libtest line `test result: ok. 3 passed; 0 failed; …`; any other line changes nothing.
    fn add(&mut self, line: &str) {
        let Some(counts) = line.strip_prefix("test result: ") else {
            return;
        };
        let counts = counts.split_once(". ").map_or("", |(_, counts)| counts);
        for part in counts.split(';') {
            let mut words = part.split_whitespace();
            let (Some(number), Some(kind)) = (words.next(), words.next()) else {
                continue;
            };
            let Ok(number) = number.parse::<u64>() else {
                continue;
            };
            match kind {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                "measured" => self.measured += number,
                "filtered" => self.filtered += number,
                _ => {}
            }
        }
    }

    fn line(&self, took: Duration) -> String {
        let word = if self.failed == 0 { "ok" } else { "FAILED" };
        format!(
            "test result: {word}. {} passed; {} failed; {} ignored; {} measured; {} filtered out; finished in {:.2}s",
            self.passed,
            self.failed,
            self.ignored,
            self.measured,
            self.filtered,
            took.as_secs_f64()
        )
    }
}

/// The stages of one run, with the time each took.
#[derive(Debug, Default)]
struct Run {
    done: Vec<(&'static str, Duration)>,
}

impl Run {
    fn stage<T>(&mut self, name: &'static str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        println!("== {name}");
        let start = Instant::now();
        let outcome = work();
        let took = start.elapsed();
        self.done.push((name, took));
        let word = if outcome.is_ok() { "ok" } else { "FAILED" };
        println!("== {name}: {word} in {:.1} s", took.as_secs_f64());
        outcome.map_err(|failure| {
            self.summary(false);
            Failure::new(format!("stage {name}: {failure}"))
        })
    }

    fn summary(&self, good: bool) {
        println!("== summary");
        let count = self.done.len();
        for (position, (name, took)) in self.done.iter().enumerate() {
            let word = if good || position + 1 < count {
                "ok"
            } else {
                "FAILED"
            };
            println!("{name:<10} {:>8.1} s  {word}", took.as_secs_f64());
        }
    }
}

/// `cargo x test`: everything CI runs.
pub(crate) fn test() -> Result<()> {
    let root = workspace::root()?;
    let mut run = Run::default();
    run.stage("up", || services::up(Talk::Full))?;
    quick(&mut run, &root)?;
    let start = Instant::now();
    let tally = run.stage("tests", || tests(&root))?;
    let took = start.elapsed();
    run.stage("gen", || crate::generate(cli_binary::Generate::Check))?;
    run.stage("examples", examples::run)?;
    if process::in_ci() {
        run.stage("clean", || unchanged(&root))?;
    }
    run.summary(true);
    println!("{}", tally.line(took));
    Ok(())
}

/// `cargo x check`: what needs no server and no test run.
pub(crate) fn check() -> Result<()> {
    let root = workspace::root()?;
    let mut run = Run::default();
    quick(&mut run, &root)?;
    run.summary(true);
    Ok(())
}

/// `cargo x bless`: the case tests rewrite what they expect.
pub(crate) fn bless() -> Result<()> {
    let root = workspace::root()?;
    process::run(
        process::cargo(&root)
            .args(["test", "--workspace", "--locked", "--", "cases"])
            .env("BLESS", "1"),
    )
}

fn quick(run: &mut Run, root: &Path) -> Result<()> {
    run.stage("fmt", || {
        process::run(process::cargo(root).args(["fmt", "--all", "--check"]))
    })?;
    run.stage("tidy", tidy::run)?;
    run.stage("clippy", || {
        let words = [
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "-D",
            "warnings",
        ];
        process::run(process::cargo(root).args(words))
    })
}

/// Runs every test of the workspace, passing the output on while counting what it reports.
fn tests(root: &Path) -> Result<Tally> {
    let mut command = process::cargo(root);
    command
        .args(["test", "--workspace", "--locked", "--no-fail-fast"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let shown = process::show(&command);
    let mut child = command.spawn().explain(|| format!("cannot start `{shown}`"))?;
    let output = child
        .stdout
        .take()
        .explain(|| format!("no output from `{shown}`"))?;
    let mut tally = Tally::default();
    for line in BufReader::new(output).split(b'\n') {
        let line = line.explain(|| format!("cannot read the output of `{shown}`"))?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        tally.add(&line);
    }
    let status = child.wait().explain(|| format!("cannot wait for `{shown}`"))?;
    if !status.success() {
        return Err(Failure::new(format!(
            "`{shown}` ended with {status}; {} tests failed",
            tally.failed
        )));
    }
    if tally.passed == 0 {
        return Err(Failure::new(format!("`{shown}` ran no test")));
    }
    Ok(tally)
}

/// A run that changed a tracked file (a stale `Cargo.lock`, an unformatted generated page) is not clean.
fn unchanged(root: &Path) -> Result<()> {
    let mut command = Command::new("git");
    command
        .current_dir(root)
        .args(["status", "--porcelain", "--untracked-files=no"]);
    let changed = process::capture(&mut command)?;
    if changed.trim().is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!(
        "the run changed tracked files:\n{}",
        changed.trim_end()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_up_the_closing_lines_of_many_test_binaries() {
        let mut tally = Tally::default();
        tally.add("test tidy::tests::fails ... ok");
        tally.add(
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.01s",
        );
        tally.add("test result: FAILED. 4 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s");
        assert_eq!(
            tally,
            Tally {
                passed: 7,
                failed: 1,
                ignored: 1,
                measured: 0,
                filtered: 2
            }
        );
        let line = tally.line(Duration::from_millis(1500));
        assert_eq!(
            line,
            "test result: FAILED. 7 passed; 1 failed; 1 ignored; 0 measured; 2 filtered out; finished in 1.50s"
        );
    }

    #[test]
    fn the_first_stage_that_fails_is_named() {
        let mut run = Run::default();
        run.stage("one", || Ok(())).unwrap();
        let failure = run
            .stage("two", || Err::<(), _>(Failure::new("broken")))
            .unwrap_err();
        assert_eq!(failure.to_string(), "stage two: broken");
        assert_eq!(run.done.len(), 2);
    }
}
