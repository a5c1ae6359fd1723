//! Ctrl-C, a closed terminal and the signal to end: the first asks for a clean stop, the second does not wait.
//!
//! A clean stop lets the engine undo what is staged. Not waiting is safe for the data as well, because the
//! next run sweeps; it only leaves more for that run to do.

use tokio_util::sync::CancellationToken;

/// Exit code of a cancelled run.
const CANCELLED: i32 = 7;

/// Watches for signals until the returned guard is dropped.
pub(crate) fn watch(cancel: CancellationToken, say: impl Fn(&str) + Send + 'static) -> Watch {
    Watch(tokio::spawn(async move {
        next_signal().await;
        say("stopping cleanly… (Ctrl-C again stops at once)");
        cancel.cancel();
        next_signal().await;
        say("stopped at once; the next run sweeps what is left");
        std::process::exit(CANCELLED);
    }))
}

/// Ends the watch when dropped.
#[derive(Debug)]
pub(crate) struct Watch(tokio::task::JoinHandle<()>);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Completes at the next SIGINT, SIGTERM or SIGHUP.
async fn next_signal() {
    let interrupt = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        match (signal(SignalKind::terminate()), signal(SignalKind::hangup())) {
            (Ok(mut terminate), Ok(mut hangup)) => {
                tokio::select! {
                    _ = interrupt => {}
                    _ = terminate.recv() => {}
                    _ = hangup.recv() => {}
                }
            }
            _ => drop(interrupt.await),
        }
    }
    #[cfg(not(unix))]
    drop(interrupt.await);
}
