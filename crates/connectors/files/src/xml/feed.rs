//! Hands the text of an XML document to the parser, decoded, and stops before a part of it gets too large.
//!
//! The parser collects what lies between two tags in one piece, so the bytes since the last piece are counted and
//! bounded here. Lines are counted for messages. The XML declaration is taken out: its encoding has been obeyed.

use std::io::{self, BufRead, Read};

use encoding_rs::{Encoding, UTF_8};
use synqx_model::{Code, Error, Result};

use crate::config::encoding;
use crate::content::{Opened, Text, head_text};
use crate::read::FileTask;

/// Bytes read at once.
const CHUNK: usize = 64 << 10;
/// Bytes of a document that are looked at for its declaration.
const DECLARATION: usize = 512;

/// The text of a document.
pub(crate) struct Feed {
    text: Text,
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// Lines passed.
    pub(crate) line: u64,
    /// Bytes passed.
    pub(crate) offset: u64,
    /// Bytes passed since the last mark.
    since: u64,
    limit: u64,
    failed: Option<Error>,
}

impl Feed {
    /// Opens a document. Errors: `E0103`, `E02xx`.
    pub(crate) fn open(task: &FileTask, opened: Opened) -> Result<Self> {
        let own = match &task.options.csv.encoding {
            Some(label) => encoding(label)?,
            None => declared(&opened)?,
        };
        let mut feed = Feed {
            text: Text::new(opened, own)?,
            bytes: vec![0; CHUNK],
            start: 0,
            end: 0,
            line: 1,
            offset: 0,
            since: 0,
            limit: task.budget.row_limit().min(1 << 30),
            failed: None,
        };
        feed.skip_declaration()?;
        Ok(feed)
    }

    /// The parser has taken what it was collecting.
    pub(crate) fn mark(&mut self) {
        self.since = 0;
    }

    /// Bytes since the last mark.
    pub(crate) fn since(&self) -> u64 {
        self.since
    }

    /// What went wrong when the parser saw an error of reading.
    pub(crate) fn failure(&mut self) -> Option<Error> {
        self.failed.take()
    }

    /// Whether the file is still what it was when it was opened. Errors: `E0209`.
    pub(crate) fn verify(&self) -> Result<()> {
        self.text.verify()
    }

    fn skip_declaration(&mut self) -> Result<()> {
        while self.end < DECLARATION {
            match self.text.read(&mut self.bytes[self.end..])? {
                0 => break,
                n => self.end += n,
            }
        }
        let head = &self.bytes[..self.end];
        if head.starts_with(b"<?xml")
            && let Some(end) = memchr::memchr(b'>', head)
        {
            self.consume(end + 1);
        }
        Ok(())
    }
}

impl Read for Feed {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let bytes = self.fill_buf()?;
        let length = bytes.len().min(into.len());
        into[..length].copy_from_slice(&bytes[..length]);
        self.consume(length);
        Ok(length)
    }
}

impl BufRead for Feed {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.since > self.limit {
            self.failed = Some(
                Error::new(
                    Code::E0805,
                    format!(
                        "line {} of `{}` is part of a row too large for the memory budget",
                        self.line,
                        self.text.label()
                    ),
                )
                .with_detail(format!("More than {} bytes belong to it.", self.limit))
                .with_hint("run with a larger `--memory`, or name a smaller element with `record`"),
            );
            return Err(io::Error::other("too large"));
        }
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            match self.text.read(&mut self.bytes) {
                Ok(n) => self.end = n,
                Err(error) => {
                    self.failed = Some(error);
                    return Err(io::Error::other("unreadable"));
                }
            }
        }
        Ok(&self.bytes[self.start..self.end])
    }

    fn consume(&mut self, amount: usize) {
        let passed = &self.bytes[self.start..self.start + amount];
        self.line += memchr::memchr_iter(b'\n', passed).count() as u64;
        self.start += amount;
        self.offset += amount as u64;
        self.since += amount as u64;
    }
}

/// The encoding the document declares; a byte order mark wins later. Errors: `E0103`, `E0210`, `E0211`.
fn declared(opened: &Opened) -> Result<&'static Encoding> {
    let head = head_text(opened, DECLARATION)?;
    let head = String::from_utf8_lossy(&head);
    let Some(declaration) = head.strip_prefix("<?xml").and_then(|rest| rest.split_once("?>")) else {
        return Ok(UTF_8);
    };
    let Some((_, after)) = declaration.0.split_once("encoding") else {
        return Ok(UTF_8);
    };
    let after = after.trim_start().trim_start_matches('=').trim_start();
    let quote = after.chars().next().unwrap_or(' ');
    let label = after.get(1..).and_then(|rest| rest.split_once(quote));
    label.map_or(Ok(UTF_8), |(label, _)| encoding(label))
}
