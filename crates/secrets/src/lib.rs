//! Resolves `secret://` references on the side that runs the work, from variables, files and configured commands.
//!
//! `reference` is the grammar, `provider` asks the outside, `value` chooses the part and undoes the encoding. Every
//! value is registered with the run's `Redactor` before anybody sees it, kept in memory only, and looked up once per
//! run, so a user name and a password of one secret always come from the same answer. What it is not: a store.

mod provider;
pub mod reference;
mod value;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use synqx_model::{Code, Error, Redactor, Result};
use synqx_sdk::Resolve;
use tokio::sync::OnceCell;

pub use crate::provider::PLACEHOLDER;
use crate::provider::Providers;
pub use crate::reference::Reference;
use crate::value::Raw;

/// The variable that configures the commands of `secret://exec/…`: a JSON object, name → argument list.
pub const COMMANDS_VARIABLE: &str = "SYNQX_SECRET_COMMANDS";

/// How long a command may take.
pub const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

/// Provider and path: what one look-up answers.
type Place = (String, String);

/// The resolver of one run. Values stay in memory until it is dropped.
pub struct Secrets {
    providers: Providers,
    redactor: Redactor,
    answers: Mutex<HashMap<Place, Arc<OnceCell<Raw>>>>,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets")
            .field("base_dir", &self.providers.base_dir)
            .finish_non_exhaustive()
    }
}

impl Secrets {
    /// A resolver that registers every value with `redactor`. Relative files (`secret://file/./…`) are relative to
    /// `base_dir`, the document's folder. No command is configured.
    pub fn new(redactor: Redactor, base_dir: impl Into<PathBuf>) -> Self {
        let providers = Providers {
            base_dir: base_dir.into(),
            variables: None,
            commands: BTreeMap::new(),
            timeout: COMMAND_TIMEOUT,
        };
        Secrets {
            providers,
            redactor,
            answers: Mutex::new(HashMap::new()),
        }
    }

    /// As [`Secrets::new`], with the commands of [`COMMANDS_VARIABLE`]. Errors: `E0604` when that is not a JSON object
    /// of argument lists.
    pub fn from_process(redactor: Redactor, base_dir: impl Into<PathBuf>) -> Result<Self> {
        let mut secrets = Secrets::new(redactor, base_dir);
        if let Some(text) = std::env::var_os(COMMANDS_VARIABLE) {
            secrets.providers.commands = parse_commands(&text.to_string_lossy())?;
        }
        Ok(secrets)
    }

    /// Adds a command of `secret://exec/<name>`. An element `{}` of the list takes the reference's argument.
    pub fn with_command(
        mut self,
        name: impl Into<String>,
        argv: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        self.providers
            .commands
            .insert(name.into(), argv.into_iter().map(Into::into).collect());
        self
    }

    /// Looks variables up here instead of in the process's environment.
    pub fn with_variables(mut self, variables: BTreeMap<String, String>) -> Self {
        self.providers.variables = Some(variables);
        self
    }

    /// Changes how long a command may take.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.providers.timeout = timeout;
        self
    }

    /// Whether a reference parses and its provider exists, without looking anything up. Errors: `E0601`, `E0602`.
    pub fn check(&self, reference: &str) -> Result<()> {
        provider::check(&Reference::parse(reference)?)
    }

    fn answer(&self, reference: &Reference) -> Arc<OnceCell<Raw>> {
        let place = (reference.provider.clone(), reference.path.clone());
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(answers.entry(place).or_default())
    }
}

#[async_trait]
impl Resolve for Secrets {
    async fn resolve(&self, reference: &str) -> Result<String> {
        let reference = Reference::parse(reference)?;
        provider::check(&reference)?;
        let answer = self.answer(&reference);
        let raw = answer
            .get_or_try_init(|| self.providers.fetch(&reference))
            .await?;
        value::extract(raw, &reference, &self.redactor)
    }
}

fn parse_commands(text: &str) -> Result<BTreeMap<String, Vec<String>>> {
    serde_json::from_str(text).map_err(|_| {
        Error::new(
            Code::E0604,
            format!("cannot read the secret commands in {COMMANDS_VARIABLE}"),
        )
        .with_hint(
            "write a JSON object of argument lists, such as '{\"pass\": [\"pass\", \"show\", \"{}\"]}'",
        )
    })
}

#[cfg(test)]
mod tests;
