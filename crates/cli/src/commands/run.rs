//! `synqx run`: a document from its first row to its last commit.
//!
//! Reads the document and the options; what happens then is `flow`, which `cp` shares.

use synqx_model::Result;

use super::flow::flow;
use crate::args::RunArgs;
use crate::document;
use crate::session::{self, Session};

/// Runs a document.
pub(crate) async fn run(args: &RunArgs, session: &Session) -> Result<u8> {
    let options_of = |base| session::options(base, &args.resources);
    let document = document::load(args.file.as_deref())?;
    let engine = session.engine(&session::absolute(&document.base_dir))?;
    let mut options = options_of(&document.base_dir)?;
    args.earlier.apply(&mut options);
    Box::pin(flow(session, &engine, &document.spec, options, &args.manner)).await
}
