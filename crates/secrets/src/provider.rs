//! Where secrets live: environment variables, files, and commands that print one.
//!
//! A provider turns a path into bytes and knows nothing of keys and encodings (`value`). `exec` never meets a shell
//! and never runs what a document names: a document picks from commands that whoever starts the process configured,
//! and may fill one marked place of their arguments. What a command writes to its error output is not kept at all.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use synqx_model::nearest::{did_you_mean, nearest};
use synqx_model::{Code, Error, Result};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::reference::{Reference, wrong};
use crate::value::Raw;

/// The providers of this release.
pub(crate) const NAMES: [&str; 3] = ["env", "file", "exec"];

/// The element of a command's argument list that a reference may fill.
pub const PLACEHOLDER: &str = "{}";

const MOST_BYTES: u64 = 1 << 20;

/// What the providers are given. Holds no secret of its own, except the variables.
pub(crate) struct Providers {
    pub(crate) base_dir: PathBuf,
    /// Variables instead of the process's own, for agents and tests.
    pub(crate) variables: Option<BTreeMap<String, String>>,
    pub(crate) commands: BTreeMap<String, Vec<String>>,
    pub(crate) timeout: Duration,
}

/// Whether a provider exists and has the options set. Errors: `E0601`, `E0602`.
pub(crate) fn check(reference: &Reference) -> Result<()> {
    if !NAMES.contains(&reference.provider.as_str()) {
        return Err(Error::new(
            Code::E0602,
            format!("unknown secret provider `{}`", reference.provider),
        )
        .with_hint(did_you_mean(&reference.provider, NAMES)));
    }
    match reference.provider_options().first() {
        Some(option) => Err(wrong(&format!(
            "Provider `{}` has no option `{option}`",
            reference.provider
        ))
        .with_hint(format!(
            "leave `{option}=…` out; only `encoding` works with `{}`",
            NAMES.join("`, `")
        ))),
        None => Ok(()),
    }
}

impl Providers {
    /// The bytes behind a reference. Errors: `E0601`–`E0604`.
    pub(crate) async fn fetch(&self, reference: &Reference) -> Result<Raw> {
        check(reference)?;
        match reference.provider.as_str() {
            "env" => self.variable(reference),
            "file" => self.file(reference).await,
            _ => self.command(reference).await,
        }
    }

    fn variable(&self, reference: &Reference) -> Result<Raw> {
        let name = reference.path.as_str();
        let value = match &self.variables {
            Some(variables) => variables.get(name).map(OsString::from),
            // `var_os` may panic on names no system has.
            None if name.contains(['=', '\0']) => None,
            None => std::env::var_os(name),
        };
        value.map(|value| Raw(value.into_encoded_bytes())).ok_or_else(|| {
            let known: Vec<String> = match &self.variables {
                Some(variables) => variables.keys().cloned().collect(),
                None => std::env::vars_os()
                    .filter_map(|(name, _)| name.into_string().ok())
                    .collect(),
            };
            let near = nearest(name, known.iter().map(String::as_str))
                .map(|near| format!("did you mean `{near}`? else "));
            not_found(reference, &format!("The environment variable {name} is not set")).with_hint(format!(
                "{}set it for the process that runs synqx",
                near.unwrap_or_default()
            ))
        })
    }

    async fn file(&self, reference: &Reference) -> Result<Raw> {
        let path = file_path(&self.base_dir, &reference.path);
        let failed = |error: std::io::Error| {
            match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => {
                not_found(reference, &format!("There is no file {}", path.display()))
                    .with_hint("check the path; what follows `secret://file` is absolute, `secret://file/./…` is relative to the document")
            }
            _ => provider_failed(reference, &format!("The system said: {}", error.kind()))
                .with_hint("give the user that runs synqx the right to read the file"),
        }
        };
        let file = tokio::fs::File::open(&path).await.map_err(failed)?;
        read_bounded(file, reference).await?.map_err(failed)
    }

    async fn command(&self, reference: &Reference) -> Result<Raw> {
        let (name, argument) = match reference.path.split_once('/') {
            Some((name, argument)) => (name, Some(argument)),
            None => (reference.path.as_str(), None),
        };
        let template = self.commands.get(name).ok_or_else(|| {
            let hint = if self.commands.is_empty() {
                "no command is configured; set SYNQX_SECRET_COMMANDS where synqx runs, such as '{\"pass\": [\"pass\", \"show\", \"{}\"]}'".to_owned()
            } else {
                did_you_mean(name, self.commands.keys().map(String::as_str))
            };
            not_found(reference, &format!("No secret command is called {name}")).with_hint(hint)
        })?;
        let argv = fill(template, argument)?;
        let (program, arguments) = argv.split_first().ok_or_else(|| {
            provider_failed(reference, "The command is an empty list")
                .with_hint("write the program first: [\"pass\", \"show\", \"{}\"]")
        })?;
        let run = self.run(program, arguments, reference);
        tokio::time::timeout(self.timeout, run).await.unwrap_or_else(|_| {
            Err(provider_failed(
                reference,
                &format!("The command did not end within {}s", self.timeout.as_secs()),
            )
            .with_hint("run the command by hand; it gets no terminal and cannot ask for anything"))
        })
    }

    async fn run(&self, program: &str, arguments: &[String], reference: &Reference) -> Result<Raw> {
        let by_hand =
            "run the command by hand as the user that runs synqx; its error output is not shown here";
        let mut child = tokio::process::Command::new(program)
            .args(arguments)
            .current_dir(&self.base_dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| {
                provider_failed(
                    reference,
                    &format!("The command could not be started: {}", error.kind()),
                )
                .with_hint("check that the program is installed and on PATH, or write its full path")
            })?;
        let output = child
            .stdout
            .take()
            .ok_or_else(|| Error::bug("a secret command has no output"))?;
        let raw = read_bounded(output, reference).await?.map_err(|error| {
            provider_failed(
                reference,
                &format!("Its output could not be read: {}", error.kind()),
            )
            .with_hint(by_hand)
        })?;
        let status = child.wait().await.map_err(|error| {
            provider_failed(
                reference,
                &format!("Its end could not be awaited: {}", error.kind()),
            )
            .with_hint(by_hand)
        })?;
        if !status.success() {
            return Err(
                provider_failed(reference, &format!("The command ended with {status}")).with_hint(by_hand),
            );
        }
        Ok(raw)
    }
}

/// The argument list of a run: the placeholder is replaced as a whole element, never inside one, and never by
/// something that looks like an option.
fn fill(template: &[String], argument: Option<&str>) -> Result<Vec<String>> {
    let place = template.iter().position(|element| element == PLACEHOLDER);
    let mut argv = template.to_vec();
    match (place, argument) {
        (None, None) => {}
        (Some(at), Some(argument)) if at > 0 && !argument.is_empty() && !argument.starts_with('-') => {
            argument.clone_into(&mut argv[at]);
        }
        (Some(_), Some(_)) => {
            return Err(wrong(
                "The argument after the command's name is empty or begins with `-`",
            ));
        }
        (None, Some(_)) => return Err(wrong("The command takes no argument, and the reference has one")),
        (Some(_), None) => {
            return Err(wrong("The command takes an argument, and the reference has none")
                .with_hint("write `secret://exec/<command>/<argument>`"));
        }
    }
    Ok(argv)
}

/// `run/secrets/x` is `/run/secrets/x`; `./x` and `../x` are relative to the document.
fn file_path(base_dir: &Path, path: &str) -> PathBuf {
    if path.starts_with("./") || path.starts_with("../") {
        return base_dir.join(path.strip_prefix("./").unwrap_or(path));
    }
    let drive = path.as_bytes().get(1) == Some(&b':');
    if cfg!(windows) && drive {
        PathBuf::from(path)
    } else {
        Path::new("/").join(path.trim_start_matches('/'))
    }
}

async fn read_bounded(source: impl AsyncRead + Unpin, reference: &Reference) -> Result<std::io::Result<Raw>> {
    let mut bytes = Vec::new();
    if let Err(error) = source.take(MOST_BYTES + 1).read_to_end(&mut bytes).await {
        return Ok(Err(error));
    }
    if bytes.len() as u64 > MOST_BYTES {
        return Err(provider_failed(reference, "The value is larger than 1 MiB")
            .with_hint("point the reference at the secret itself"));
    }
    Ok(Ok(Raw(bytes)))
}

fn not_found(reference: &Reference, detail: &str) -> Error {
    Error::new(Code::E0603, format!("secret `{reference}` not found")).with_detail(format!("{detail}."))
}

fn provider_failed(reference: &Reference, detail: &str) -> Error {
    Error::new(
        Code::E0604,
        format!(
            "secret provider `{}` failed for `{reference}`",
            reference.provider
        ),
    )
    .with_detail(format!("{detail}."))
}
