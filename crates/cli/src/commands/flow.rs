//! Running a document with everything a person sees around it: display, signals, summary, exit code.
//!
//! Shared by `run`, `cp` and `backfill`, so that a copy in one line and a slice look and behave like any run.

use std::path::Path;
use std::sync::Arc;

use synqx_engine::{Engine, RunOptions, RunOutcome};
use synqx_model::{PipelineSpec, Result};

use crate::args::Manner;
use crate::display::Display;
use crate::session::Session;
use crate::{render, stop};

/// Runs and shows; the exit code is that of the error.
pub(crate) async fn flow(
    session: &Session,
    engine: &Engine,
    spec: &PipelineSpec,
    options: RunOptions,
    manner: &Manner,
) -> Result<u8> {
    let runs = async |options: &RunOptions| engine.run(spec, options).await;
    show(session, spec, options, manner, runs).await
}

/// As [`flow`], whatever it is that runs.
pub(crate) async fn show(
    session: &Session,
    spec: &PipelineSpec,
    mut options: RunOptions,
    manner: &Manner,
    runs: impl AsyncFnOnce(&RunOptions) -> RunOutcome,
) -> Result<u8> {
    let display = Display::new(&session.terminal, spec, manner);
    options.events = Arc::new(display.clone());
    options.retries = manner.retries;
    let watch = stop::watch(options.cancel.clone(), {
        let display = display.clone();
        move |text| display.notice(text)
    });
    let drawing = display.draw();
    let outcome = Box::pin(runs(&options)).await;
    drop(drawing);
    drop(watch);
    if !manner.quiet && !manner.json {
        let record = options.state_dir.join("run.json");
        let record = record.is_file().then_some(record);
        let here = crate::session::absolute(Path::new("."));
        let (manifest, paint) = (&outcome.manifest, session.terminal.err_paint);
        let text = render::summary::render(&spec.name, manifest, record.as_deref(), &here, paint);
        session.terminal.err(&text);
    }
    match outcome.error {
        None => Ok(0),
        Some(error) => Err(error),
    }
}
