//! A sliding window over the text of a file: what is being parsed, and where in the file it is.
//!
//! The window grows only for a record that does not fit, up to the largest row the budget allows, and its memory is
//! reserved. It counts lines and bytes so that every parser can say where something is; it parses nothing itself.

use synqx_model::{Code, Error, Result};
use synqx_sdk::{Budget, Reservation};

use crate::content::Text;

/// Bytes of a window at first.
const FIRST: usize = 256 << 10;

/// The window.
#[derive(Debug)]
pub(crate) struct Window {
    text: Text,
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    last: bool,
    line: u64,
    offset: u64,
    limit: usize,
    held: Reservation,
}

impl Window {
    /// A window at the beginning of a text. Errors: `E0804`.
    pub(crate) fn new(text: Text, budget: &Budget) -> Result<Self> {
        let limit = usize::try_from(budget.row_limit())
            .unwrap_or(usize::MAX)
            .clamp(FIRST, 1 << 30);
        let held = budget.reserve("the window over a file", FIRST as u64)?;
        Ok(Window {
            text,
            bytes: vec![0; FIRST],
            start: 0,
            end: 0,
            last: false,
            line: 1,
            offset: 0,
            limit,
            held,
        })
    }

    /// What messages call the file.
    pub(crate) fn label(&self) -> &str {
        self.text.label()
    }

    /// The bytes not consumed yet.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Whether no bytes come after these.
    pub(crate) fn is_last(&self) -> bool {
        self.last
    }

    /// The number of the line that begins here, from 1.
    pub(crate) fn line(&self) -> u64 {
        self.line
    }

    /// The line of a byte of the window.
    pub(crate) fn line_at(&self, at: usize) -> u64 {
        let until = at.min(self.end - self.start);
        self.line + memchr::memchr_iter(b'\n', &self.bytes()[..until]).count() as u64
    }

    /// Bytes before the window, in the unpacked file.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Moves the window's beginning.
    pub(crate) fn consume(&mut self, bytes: usize) {
        self.line = self.line_at(bytes);
        self.start += bytes;
        self.offset += bytes as u64;
    }

    /// Reads on. `false` when the window is full and may not grow: the record is too large.
    pub(crate) fn more(&mut self) -> Result<bool> {
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.bytes.len() {
            let grown = (self.bytes.len() * 2).min(self.limit);
            if grown == self.bytes.len() {
                return Ok(false);
            }
            self.held.resize("a large row", grown as u64)?;
            self.bytes.resize(grown, 0);
        }
        while self.end < self.bytes.len() && !self.last {
            match self.text.read(&mut self.bytes[self.end..])? {
                0 => self.last = true,
                n => self.end += n,
            }
        }
        Ok(true)
    }

    /// Whether the file is still what it was when it was opened. Errors: `E0209`.
    pub(crate) fn verify(&self) -> Result<()> {
        self.text.verify()
    }

    /// The error for bytes that are not UTF-8, `at` bytes into the window.
    pub(crate) fn not_utf8(&self, at: usize, column: Option<&str>) -> Error {
        let place = column.map_or(String::new(), |name| format!(", column `{name}`"));
        let message = format!(
            "line {} of `{}`{place} is not UTF-8",
            self.line_at(at),
            self.label()
        );
        Error::new(Code::E0207, message)
            .with_detail(format!(
                "The bytes from offset {} of the unpacked file on are no UTF-8 text.",
                self.offset + at as u64
            ))
            .with_hint("name the file's encoding with `options: { encoding: windows-1252 }`")
    }
}
