//! `synqx internal gen`: the part of docs/reference that is made from the program, so that it cannot disagree
//! with it.
//!
//! Writes the same bytes on every machine: no dates, no terminal width, sorted. `--check` compares and names
//! what is stale; `cargo x gen --check` runs it in CI.

use std::collections::BTreeMap;
use std::path::Path;

use clap::CommandFactory;
use serde_json::Value;
use synqx_model::code::Retry;
use synqx_model::{Code, Error, Result, ResultExt};

use crate::args::Arguments;
use crate::render::paint::Paint;
use crate::session::{self, Session};

/// Path below docs/reference → text.
type Files = BTreeMap<String, String>;

/// Writes the files, or compares them.
pub(crate) fn generate(out: &Path, check: bool, session: &Session) -> Result<u8> {
    let files = files()?;
    if check {
        let stale: Vec<&String> = files
            .iter()
            .filter(|(name, text)| std::fs::read_to_string(out.join(name)).ok().as_ref() != Some(text))
            .map(|(name, _)| name)
            .collect();
        if stale.is_empty() {
            session
                .terminal
                .out(&format!("{} generated files are current\n", files.len()));
            return Ok(0);
        }
        let names: Vec<String> = stale
            .iter()
            .map(|name| out.join(name).display().to_string())
            .collect();
        return Err(Error::new(
            Code::E0114,
            format!("{} generated files are not current", names.len()),
        )
        .with_detail(names.join("\n"))
        .with_hint("run `cargo x gen` and commit what it writes"));
    }
    for (name, text) in &files {
        let path = out.join(name);
        let write = || {
            std::fs::create_dir_all(path.parent().unwrap_or(out))?;
            std::fs::write(&path, text)
        };
        write()
            .coded(Code::E0114, || format!("cannot write `{}`", path.display()))
            .map_err(|error| error.with_hint("name a folder that can be written"))?;
        session.terminal.out(&format!("wrote {}\n", path.display()));
    }
    Ok(0)
}

fn files() -> Result<Files> {
    let mut files = Files::new();
    files.insert(
        "pipeline.schema.json".to_owned(),
        pretty(&synqx_model::spec::json_schema())?,
    );
    for connector in session::registry().iter() {
        files.insert(
            format!("connectors/{}.schema.json", connector.kind()),
            pretty(&connector.config_schema())?,
        );
    }
    files.insert("connectors.md".to_owned(), connectors());
    files.insert("errors.md".to_owned(), errors());
    files.insert("exit-codes.md".to_owned(), exit_codes());
    files.insert("cli.md".to_owned(), command_line());
    Ok(files)
}

fn pretty(value: &Value) -> Result<String> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|cause| Error::bug("a schema cannot be written as JSON").with_cause(&cause))?;
    Ok(format!("{text}\n"))
}

const MADE: &str = "<!-- Made by `cargo x gen`; change the program, not this file. -->\n";

fn connectors() -> String {
    let mut out = format!("# Connectors\n\n{MADE}\n`synqx connectors` prints this for the binary at hand.\n");
    for connector in session::registry().iter() {
        let spec = connector.spec();
        let shown = crate::render::connector::show(&spec, &connector.config_schema(), Paint::off());
        let body = shown.splitn(3, '\n').nth(2).unwrap_or_default();
        out.push_str(&format!(
            "\n## {} (`{}`)\n\n{}.\n\n```text\n{}\n```\n",
            spec.title,
            spec.kind,
            spec.summary,
            body.trim_matches('\n')
        ));
    }
    out
}

fn errors() -> String {
    let mut out =
        format!("# Error codes\n\n{MADE}\n| code | situation | exit | try again |\n|---|---|---|---|\n");
    for code in Code::ALL {
        out.push_str(&format!(
            "| [{code}](../errors/{code}.md) | {} | {} | {} |\n",
            code.title(),
            code.exit(),
            retry(code.retry())
        ));
    }
    out
}

fn retry(retry: Retry) -> &'static str {
    match retry {
        Retry::Backoff => "SynqX does, with growing waits",
        Retry::AfterFix => "after a fix",
        Retry::Never => "not this run",
    }
}

fn exit_codes() -> String {
    let meanings = [
        (0, "the run succeeded, maybe with warnings"),
        (1, "a bug in SynqX"),
        (2, "configuration: document, command line, secrets, SQL, memory"),
        (3, "schema and types"),
        (4, "source"),
        (5, "destination"),
        (6, "state: positions, fences, another run took over"),
        (7, "cancelled"),
        (8, "checks failed the run, or rejected rows could not be kept"),
    ];
    let mut out = format!("# Exit codes\n\n{MADE}\n| exit | meaning | codes |\n|---|---|---|\n");
    for (exit, meaning) in meanings {
        let codes: Vec<String> = Code::ALL
            .iter()
            .filter(|code| code.exit() == exit)
            .map(|code| format!("[{code}](../errors/{code}.md)"))
            .collect();
        out.push_str(&format!("| {exit} | {meaning} | {} |\n", codes.join(" ")));
    }
    out.push_str("\n`synqx check` reports every problem and ends with the lowest of their codes.\n");
    out
}

fn command_line() -> String {
    let mut out = format!("# The command line\n\n{MADE}{}", include_str!("cli_intro.md"));
    let mut command = Arguments::command().term_width(100);
    command.build();
    out.push_str(&format!("\n## synqx\n\n```text\n{}\n```\n", help(&mut command)));
    let verbs = command.get_subcommands_mut().filter(|verb| !verb.is_hide_set());
    for verb in verbs {
        out.push_str(&format!(
            "\n## synqx {}\n\n```text\n{}\n```\n",
            verb.get_name().to_owned(),
            help(verb)
        ));
    }
    out
}

fn help(command: &mut clap::Command) -> String {
    let text = command.clone().term_width(100).render_long_help().to_string();
    text.lines()
        .map(str::trim_end)
        .collect::<Vec<_>>()
        .join("\n")
        .trim_end()
        .to_owned()
}
