//! The one door out of the process: standard output, standard error, colours.
//!
//! Every text passes the redactor here, so a secret that was resolved for this process cannot be printed by
//! any verb. A reader that goes away (`synqx explain | head`) ends the output quietly. It is not a renderer:
//! see `render`.

use std::io::{IsTerminal, Write};

use synqx_model::{Error, Redactor};

use crate::args::Color;
use crate::render;
use crate::render::paint::Paint;

/// Where texts go.
#[derive(Debug, Clone)]
pub(crate) struct Terminal {
    redactor: Redactor,
    /// Colours of standard output.
    pub(crate) out_paint: Paint,
    /// Colours of standard error.
    pub(crate) err_paint: Paint,
    /// Standard error is a terminal a person looks at.
    pub(crate) live: bool,
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
            out_paint: paint(out),
            err_paint: paint(err),
            live: err && !dumb,
        }
    }

    /// Writes to standard output.
    pub(crate) fn out(&self, text: &str) {
        write_all(std::io::stdout().lock(), &self.redactor.clean(text));
    }

    /// Writes to standard error.
    pub(crate) fn err(&self, text: &str) {
        write_all(std::io::stderr().lock(), &self.redactor.clean(text));
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

fn write_all(mut to: impl Write, text: &str) {
    // The only error that happens in practice is a reader that went away; there is nobody left to tell.
    if to.write_all(text.as_bytes()).and_then(|()| to.flush()).is_err() {
        std::process::exit(0);
    }
}
