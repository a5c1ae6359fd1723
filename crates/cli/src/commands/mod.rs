//! One file per verb. A verb reads its arguments, asks the engine or a connection, and hands facts to
//! `render`.
//!
//! Every verb returns the process's exit code or an error, whose code decides it. `flow` is what `run`, `cp` and
//! `backfill` share.

mod backfill;
mod check;
mod completions;
mod connectors;
mod cp;
mod discover;
mod doctor;
mod explain;
mod flow;
mod generate;
mod init;
mod plan;
mod preview;
mod quarantine;
mod rollback;
mod run;

use synqx_model::Result;

use crate::args::{Arguments, Internal, Verb};
use crate::session::Session;

/// Does what the command line says and returns the exit code.
pub(crate) async fn dispatch(args: Arguments, session: &Session) -> Result<u8> {
    match args.verb {
        Verb::Run(args) => run::run(&args, session).await,
        Verb::Backfill(args) => backfill::backfill(&args, session).await,
        Verb::Plan(args) => plan::plan(&args, session).await,
        Verb::Check(args) => check::check(&args, session).await,
        Verb::Rollback(args) => rollback::rollback(&args, session).await,
        Verb::Cp(args) => cp::cp(&args, session).await,
        Verb::Init(args) => init::init(&args, session),
        Verb::Discover(args) => discover::discover(&args, session).await,
        Verb::Preview(args) => preview::preview(&args, session).await,
        Verb::Quarantine(args) => quarantine::quarantine(&args, session).await,
        Verb::Connectors(args) => connectors::connectors(&args, session),
        Verb::Explain(args) => explain::explain(&args, session),
        Verb::Doctor(args) => doctor::doctor(&args, session).await,
        Verb::Completions(args) => completions::completions(&args, session),
        Verb::Internal(args) => match args.what {
            Internal::Gen { out, check } => generate::generate(&out, check, session),
        },
    }
}
