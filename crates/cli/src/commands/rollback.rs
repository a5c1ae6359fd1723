//! `synqx rollback`: the rows that the last replace of a load replaced are put back.
//!
//! The destination does it under the stream's fence; this says what came back and what went.

use synqx_model::Result;

use crate::args::RollbackArgs;
use crate::document;
use crate::render::number::plural;
use crate::session::{self, Session};

/// Rolls a load back.
pub(crate) async fn rollback(args: &RollbackArgs, session: &Session) -> Result<u8> {
    let document = document::load(args.file.as_deref())?;
    let engine = session.engine(&session::absolute(&document.base_dir))?;
    let options = session::options(&document.base_dir, &args.resources)?;
    let done = Box::pin(engine.rollback(&document.spec, args.load.as_deref(), &options)).await?;
    let paint = session.terminal.out_paint;
    session.terminal.out(&format!(
        "{} {} ({}): {} of before are back, {} went\n",
        paint.good("✓"),
        done.target,
        done.node,
        plural(done.receipt.inserted, "row"),
        plural(done.receipt.deleted, "row")
    ));
    for note in &done.receipt.notes {
        session.terminal.out(&format!("  {note}\n"));
    }
    Ok(0)
}
