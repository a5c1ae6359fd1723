//! `synqx plan`: what a run would do. Nothing is changed anywhere.
//!
//! The engine makes the report; this prints it as words or as JSON.

use synqx_model::{Error, Result};

use crate::args::PlanArgs;
use crate::session::{self, Session};
use crate::{document, render};

/// Prints the plan of a document.
pub(crate) async fn plan(args: &PlanArgs, session: &Session) -> Result<u8> {
    let document = document::load(args.file.as_deref())?;
    let engine = session.engine(&session::absolute(&document.base_dir))?;
    let options = session::options(&document.base_dir, &args.resources)?;
    let report = Box::pin(engine.plan(&document.spec, &options)).await?;
    let text = if args.json {
        let json = serde_json::to_string_pretty(&report)
            .map_err(|cause| Error::bug("a plan cannot be written as JSON").with_cause(&cause))?;
        format!("{json}\n")
    } else {
        render::plan::render(&report, session.verbose, session.terminal.out_paint)
    };
    session.terminal.out(&text);
    Ok(0)
}
