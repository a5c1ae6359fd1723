//! `synqx backfill`: an interval of an incremental extract once more, slice by slice.
//!
//! Each slice is a run and looks like one; between them one line says which comes next. The first slice that fails
//! ends the verb, and the same words go on with it.

use synqx_engine::BackfillRequest;
use synqx_model::Result;

use super::flow::show;
use crate::args::BackfillArgs;
use crate::document;
use crate::session::{self, Session};

/// Fills back.
pub(crate) async fn backfill(args: &BackfillArgs, session: &Session) -> Result<u8> {
    let document = document::load(args.file.as_deref())?;
    let engine = session.engine(&session::absolute(&document.base_dir))?;
    let options = session::options(&document.base_dir, &args.resources)?;
    let request = BackfillRequest {
        from: args.from.clone(),
        to: args.to.clone(),
        extract: args.extract.clone(),
        slice: args.slice.clone(),
        allow_append: args.allow_append,
    };
    let mut work = Box::pin(engine.backfill(&document.spec, &request, &options)).await?;
    let say = |text: &str| {
        if !args.manner.json && !args.manner.quiet {
            session.terminal.err(text);
        }
    };
    if work.done > 0 {
        say(&format!(
            "{} of {} slices are done already\n",
            work.done,
            work.slices()
        ));
    }
    while work.done < work.slices() {
        say(&format!(
            "slice {} of {}: `{}` of `{}` from {} to below {}\n",
            work.done + 1,
            work.slices(),
            work.column,
            work.extract,
            work.bounds[work.done],
            work.bounds[work.done + 1],
        ));
        let runs = async |options: &_| work.next(&engine, options).await;
        Box::pin(show(session, &document.spec, options.clone(), &args.manner, runs)).await?;
    }
    say(&format!(
        "filled back: `{}` from {} to below {}; the stored position is as it was\n",
        work.extract,
        work.bounds[0],
        work.bounds[work.slices()],
    ));
    work.finish();
    Ok(0)
}
