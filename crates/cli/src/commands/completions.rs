//! `synqx completions`: what a shell needs to complete verbs and options.
//!
//! Made by clap from the same types that read the command line.

use clap::CommandFactory;
use synqx_model::Result;

use crate::args::{Arguments, CompletionsArgs};
use crate::session::Session;

/// Prints completions.
pub(crate) fn completions(args: &CompletionsArgs, session: &Session) -> Result<u8> {
    let mut out = Vec::new();
    clap_complete::generate(args.shell, &mut Arguments::command(), "synqx", &mut out);
    session.terminal.out(&String::from_utf8_lossy(&out));
    Ok(0)
}
