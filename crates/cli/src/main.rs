//! `synqx`: moves data between systems, exactly as planned, and says what it did.
//!
//! This file only starts things: allocator, TLS provider, arguments, runtime, exit code. Verbs are in
//! `commands`, what they show is made in `render`, and everything that leaves the process goes through
//! `terminal`, which hides secrets. No logic of moving data lives in this crate: that is the engine's.

mod args;
mod commands;
mod display;
mod document;
mod locate;
mod machine;
mod render;
mod replay;
mod session;
mod stop;
mod terminal;

use std::process::ExitCode;

use synqx_model::{Code, Error};

use crate::session::Session;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Worker threads compile SQL with deep recursion; the system's default of 2 MiB is small for that.
const STACK: usize = 8 << 20;

fn main() -> ExitCode {
    let args = match args::parse() {
        Ok(args) => args,
        Err(args::Refused::Answered) => return ExitCode::SUCCESS,
        Err(args::Refused::Wrong(error)) => {
            let session = Session::plain();
            session.terminal.error(&error, false);
            return ExitCode::from(error.code().exit());
        }
    };
    // The first provider installed wins; a second installation cannot happen in this process.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let session = Session::new(&args.global);
    let verbose = args.global.verbose;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_stack_size(STACK)
        .build();
    let ended = match runtime {
        Ok(runtime) => {
            let ended = runtime.block_on(Box::pin(commands::dispatch(args, &session)));
            // Blocking reads that a cancelled run left behind must not keep the process.
            runtime.shutdown_timeout(std::time::Duration::from_millis(500));
            ended
        }
        Err(cause) => Err(Error::new(Code::E9901, "cannot start worker threads")
            .with_hint("check the limits of this machine: `ulimit -u`")
            .with_cause(&cause)),
    };
    match ended.and_then(|code| {
        session
            .terminal
            .lost_output()
            .filter(|_| code == 0)
            .map_or(Ok(code), Err)
    }) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            session.terminal.error(&error, verbose);
            ExitCode::from(error.code().exit())
        }
    }
}
