//! How one delimited file is written down, with every default decided.
//!
//! Made from the options of a connection and an extract. It knows which texts are NULL; it reads no bytes.

use encoding_rs::{Encoding, UTF_8};
use synqx_model::{Code, Error, Result};

use crate::config::{CsvOptions, Format, encoding, one_byte};

/// A dialect.
#[derive(Debug, Clone)]
pub(crate) struct Dialect {
    /// Between cells.
    pub(crate) delimiter: u8,
    /// Around cells.
    pub(crate) quote: Option<u8>,
    /// Takes the meaning from the next byte inside quotes.
    pub(crate) escape: Option<u8>,
    /// The first record names the columns.
    pub(crate) header: bool,
    /// The encoding when there is no byte order mark.
    pub(crate) encoding: &'static Encoding,
    /// Texts that mean NULL; `None` is the empty cell without quotes.
    pub(crate) nulls: Vec<Vec<u8>>,
    /// Lines to leave out at the beginning.
    pub(crate) skip_rows: usize,
    /// Lines that begin with it are left out.
    pub(crate) comment: Option<u8>,
    /// Whether a byte ends a cell without quotes.
    pub(crate) stops: [bool; 256],
}

impl Dialect {
    /// Decides every default. Errors: `E0103`.
    pub(crate) fn new(format: Format, options: &CsvOptions) -> Result<Self> {
        let byte = |key: &str, text: &Option<String>, default: Option<u8>| match text {
            Some(text) => one_byte(key, text),
            None => Ok(default),
        };
        let default = if format == Format::Tsv { b'\t' } else { b',' };
        let delimiter = byte("delimiter", &options.delimiter, Some(default))?.unwrap_or(default);
        let quote = byte("quote", &options.quote, Some(b'"'))?;
        if quote == Some(delimiter) {
            return Err(
                Error::new(Code::E0103, "`quote` and `delimiter` are the same character")
                    .with_hint("write `quote: \"\"` when the file has no quotes"),
            );
        }
        let mut stops = [false; 256];
        for stop in [delimiter, b'\n', b'\r'] {
            stops[usize::from(stop)] = true;
        }
        Ok(Dialect {
            delimiter,
            quote,
            escape: byte("escape", &options.escape, None)?.filter(|e| Some(*e) != quote),
            header: options.header.unwrap_or(true),
            encoding: options.encoding.as_deref().map_or(Ok(UTF_8), encoding)?,
            nulls: options.nulls.as_ref().map_or_else(
                || vec![Vec::new()],
                |texts| texts.iter().map(|t| t.clone().into_bytes()).collect(),
            ),
            skip_rows: options.skip_rows.unwrap_or(0),
            comment: byte("comment", &options.comment, None)?,
            stops,
        })
    }

    /// Whether the text of a cell without quotes means NULL.
    #[inline]
    pub(crate) fn is_null(&self, text: &[u8]) -> bool {
        self.nulls.iter().any(|null| null == text)
    }
}
