//! The one door out of the process: standard output, standard error, colours.
//!
//! Every text passes the redactor here, so a secret that was resolved for this process cannot be printed by
//! any verb. A reader that goes away (`synqx explain | head`) ends the output and never the work: a run whose watcher
//! has left still moves its rows. An output that is lost for another reason (a full disk) is told at the end. It
//! is not a renderer: see `render`.

use std::io::{ErrorKind, IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};

use synqx_model::{Code, Error, Redactor};

use crate::args::Color;
use crate::render;
use crate::render::paint::Paint;

/// Where texts go.
#[derive(Debug, Clone)]
pub(crate) struct Terminal {
    redactor: Redactor,
    lost: Arc<Mutex<Lost>>,
    /// Colours of standard output.
    pub(crate) out_paint: Paint,
    /// Colours of standard error.
    pub(crate) err_paint: Paint,
    /// Standard error is a terminal a person looks at.
    pub(crate) live: bool,
}

/// Outputs that nobody reads any more, and why.
#[derive(Debug, Default)]
struct Lost {
    out: Option<std::io::Error>,
    err: Option<std::io::Error>,
}

impl Terminal {
    /// The process's terminal.
    pub(crate) fn new(color: Color, redactor: Redactor) -> Self {
        let (out, err) = (std::io::stdout().is_terminal(), std::io::stderr().is_terminal());
        let paint = |terminal: bool| match color {
            Color::Always => Paint::on(),
            Color::Never => Paint::off(),
            Color::Auto => Paint::when(terminal && allows_colour()),
        };
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Terminal {
            redactor,
            lost: Arc::default(),
            out_paint: paint(out),
            err_paint: paint(err),
            live: err && !dumb,
        }
    }

    /// Writes to standard output.
    pub(crate) fn out(&self, text: &str) {
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        write_all(
            std::io::stdout().lock(),
            &self.redactor.clean(text),
            &mut lost.out,
        );
    }

    /// Writes to standard error.
    pub(crate) fn err(&self, text: &str) {
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        write_all(
            std::io::stderr().lock(),
            &self.redactor.clean(text),
            &mut lost.err,
        );
    }

    /// Standard output that was asked for and could not be written. A reader that went away did not want it: `E0117`.
    pub(crate) fn lost_output(&self) -> Option<Error> {
        let lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        let cause = lost
            .out
            .as_ref()
            .filter(|cause| cause.kind() != ErrorKind::BrokenPipe)?;
        Some(
            Error::new(Code::E0117, "standard output could not be written to its end")
                .with_cause(cause)
                .with_hint(
                    "free disk space or write elsewhere; what a run had to move has moved: see run.json",
                ),
        )
    }

    /// Shows an error, and all that were found with it, on standard error.
    pub(crate) fn error(&self, error: &Error, verbose: bool) {
        self.err(&render::error::render(error, verbose, self.err_paint));
    }

    /// Hides secrets in a text that somebody else shows.
    pub(crate) fn clean(&self, text: &str) -> String {
        self.redactor.clean(text)
    }

    /// Columns of the terminal behind standard output; `None` when it is not one.
    pub(crate) fn width(&self) -> Option<usize> {
        if !std::io::stdout().is_terminal() {
            return None;
        }
        let from_variable = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
        from_variable
            .or_else(size_of_tty)
            .filter(|columns| *columns >= 20)
    }
}

/// `NO_COLOR` (any value but the empty one) and `TERM=dumb` switch colours off.
fn allows_colour() -> bool {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    set("NO_COLOR").is_none() && set("TERM").is_none_or(|term| term != "dumb")
}

/// Asks `stty`, which every Unix has; a wrong answer only costs a line break.
fn size_of_tty() -> Option<usize> {
    let tty = std::fs::File::open("/dev/tty").ok()?;
    let answer = std::process::Command::new("stty")
        .arg("size")
        .stdin(tty)
        .output()
        .ok()?;
    String::from_utf8(answer.stdout)
        .ok()?
        .split_whitespace()
        .nth(1)?
        .parse()
        .ok()
}

fn write_all(mut to: impl Write, text: &str, lost: &mut Option<std::io::Error>) {
    if lost.is_none() {
        *lost = to.write_all(text.as_bytes()).and_then(|()| to.flush()).err();
    }
}
