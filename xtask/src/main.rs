//! `cargo x …`: the only task runner of this repository.
//!
//! It exists so that a newcomer, CI and the README all call the same commands: what a person runs before a
//! commit is what decides whether the commit lands. It is std plus `serde_json`, so that it builds in seconds.
//! It is not part of the product: nothing here ships, and no crate depends on it.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a task runner talks to the terminal; it is never a library"
)]

mod bench;
mod ci;
mod cli_binary;
mod coverage;
mod demo;
mod examples;
mod failure;
mod process;
mod services;
mod tidy;
mod workspace;

use std::process::ExitCode;

use failure::{Failure, Result};

const HELP: &str = "\
cargo x <command>

  demo            run the main job on the data in examples/, in a fresh copy under .demo/
  test            everything CI runs: services, fmt, tidy, clippy, tests, generated files, examples
  check           fmt, clippy and tidy: the quick half of `test`
  up [--quiet]    install and start PostgreSQL 15 and 18 for the tests, on private ports of 127.0.0.1
  down            stop them
  env             print the variables that name them, as shell exports
  examples        run every example and compare with its expected/
  bless           run the case tests and let them rewrite their expectations
  gen [--check]   write docs/reference from the binary, or check that it is current
  tidy            the house rules that no other tool checks
  bench [LANE…] [--scale 1] [--runs 5] [--only TOOL,…] [--list] [--report]
                  SynqX and its peers in turn, verified, into benches/
  ci              the same as `test`
";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match dispatch(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

pub(crate) fn generate(what: cli_binary::Generate) -> Result<()> {
    cli_binary::generate(what)?;
    coverage::generate(what)
}

fn dispatch(words: &[&str]) -> Result<()> {
    match words {
        ["demo"] => demo::run(),
        ["test" | "ci"] => ci::test(),
        ["check"] => ci::check(),
        ["up"] => services::up(services::Talk::Full).map(drop),
        ["up", "--quiet"] => services::up(services::Talk::Quiet).map(drop),
        ["down"] => services::down(),
        ["env"] => services::print_env(),
        ["bless"] => ci::bless(),
        ["examples"] => examples::run(),
        ["gen"] => generate(cli_binary::Generate::Write),
        ["gen", "--check"] => generate(cli_binary::Generate::Check),
        ["tidy"] => tidy::run(),
        ["bench", words @ ..] => bench::run(words),
        [] | ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            Ok(())
        }
        _ => Err(Failure::new(format!(
            "unknown command: cargo x {}\n\n{HELP}",
            words.join(" ")
        ))),
    }
}
