//! The formats and compressions of files: their words, their extensions, and how the first bytes tell them apart.
//!
//! Content decides and a name is only a hint: a name that contradicts the content is an error that says what the file
//! is. Formats without a signature (text) are told by name or option alone. Nothing is parsed here.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use synqx_model::{Code, Error, Result};

use crate::content::{head_of, tail_of};

/// A file format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Comma separated values.
    Csv,
    /// Tab separated values.
    Tsv,
    /// One JSON object per line.
    Jsonl,
    /// An array of JSON objects, or objects one after another.
    Json,
    /// Apache Parquet.
    Parquet,
    /// Apache Avro object container files.
    Avro,
    /// Arrow IPC files and streams (Feather version 2).
    Arrow,
    /// A sheet of an Excel workbook; read only.
    Xlsx,
    /// Repeated elements of an XML document; read only.
    Xml,
    /// Lines whose columns stand at fixed places.
    Fixed,
}

impl Format {
    /// Every format.
    pub const ALL: [Format; 10] = [
        Format::Csv,
        Format::Tsv,
        Format::Jsonl,
        Format::Json,
        Format::Parquet,
        Format::Avro,
        Format::Arrow,
        Format::Xlsx,
        Format::Xml,
        Format::Fixed,
    ];

    /// The word of the document.
    pub fn as_str(self) -> &'static str {
        match self {
            Format::Csv => "csv",
            Format::Tsv => "tsv",
            Format::Jsonl => "jsonl",
            Format::Json => "json",
            Format::Parquet => "parquet",
            Format::Avro => "avro",
            Format::Arrow => "arrow",
            Format::Xlsx => "xlsx",
            Format::Xml => "xml",
            Format::Fixed => "fixed",
        }
    }

    /// The extension of files written.
    pub fn extension(self) -> &'static str {
        match self {
            Format::Fixed => "txt",
            other => other.as_str(),
        }
    }

    /// The format an extension stands for. `txt` stands for none: anything may be in it.
    pub fn of_extension(extension: &str) -> Option<Format> {
        Some(match extension.to_ascii_lowercase().as_str() {
            "csv" => Format::Csv,
            "tsv" | "tab" => Format::Tsv,
            "jsonl" | "ndjson" => Format::Jsonl,
            "json" => Format::Json,
            "parquet" | "pq" => Format::Parquet,
            "avro" => Format::Avro,
            "arrow" | "arrows" | "ipc" | "feather" => Format::Arrow,
            "xlsx" | "xlsm" => Format::Xlsx,
            "xml" => Format::Xml,
            _ => return None,
        })
    }

    /// The format a file name says, below an extension of compression: `flights.csv.gz` is CSV.
    pub fn of_name(name: &str) -> Option<Format> {
        let base = name.rsplit('/').next().unwrap_or(name);
        let (stem, extension) = base.rsplit_once('.')?;
        match Compression::of_extension(extension) {
            Some(_) => stem
                .rsplit_once('.')
                .and_then(|(_, inner)| Format::of_extension(inner)),
            None => Format::of_extension(extension),
        }
    }

    /// Whether it is delimited text.
    pub fn is_delimited(self) -> bool {
        matches!(self, Format::Csv | Format::Tsv)
    }

    /// Whether it is text, which may be packed and has an encoding.
    pub fn is_text(self) -> bool {
        !matches!(
            self,
            Format::Parquet | Format::Avro | Format::Arrow | Format::Xlsx
        )
    }

    /// Whether files of it can be written.
    pub fn is_written(self) -> bool {
        !matches!(self, Format::Xlsx | Format::Xml)
    }

    /// Whether the file itself says the types of its columns.
    pub fn is_typed(self) -> bool {
        matches!(self, Format::Parquet | Format::Avro | Format::Arrow)
    }
}

/// How bytes are packed on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip (text formats).
    Gzip,
    /// Zstandard.
    Zstd,
    /// Snappy (Parquet, Avro).
    Snappy,
    /// LZ4 (Parquet, Arrow).
    Lz4,
    /// Deflate (Avro).
    Deflate,
}

impl Compression {
    /// The compression an extension stands for, on writing.
    pub fn of_extension(extension: &str) -> Option<Compression> {
        match extension.to_ascii_lowercase().as_str() {
            "gz" | "gzip" => Some(Compression::Gzip),
            "zst" | "zstd" => Some(Compression::Zstd),
            _ => None,
        }
    }

    /// Whether files of a format can be packed with it.
    pub(crate) fn fits(self, format: Format) -> bool {
        use Compression::{Deflate, Gzip, Lz4, None, Snappy, Zstd};
        match format {
            Format::Parquet => matches!(self, None | Zstd | Snappy | Lz4),
            Format::Avro => matches!(self, None | Zstd | Snappy | Deflate),
            Format::Arrow => matches!(self, None | Zstd | Lz4),
            _ => matches!(self, None | Gzip | Zstd),
        }
    }

    /// What a format can be packed with, for messages.
    pub(crate) fn words(format: Format) -> &'static str {
        match format {
            Format::Parquet => "`zstd`, `snappy`, `lz4`, `none`",
            Format::Avro => "`deflate`, `snappy`, `zstd`, `none`",
            Format::Arrow => "`lz4`, `zstd`, `none`",
            _ => "`none`, `gzip`, `zstd`",
        }
    }
}

/// What the first bytes of a file say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Magic {
    /// Nothing: text, or nothing at all.
    Silent,
    /// A format that is read.
    Is(Format),
    /// Something that is not read.
    Foreign {
        /// What it is.
        what: &'static str,
        /// What to do.
        hint: &'static str,
    },
}

/// What the first bytes of a file (unpacked) say.
pub(crate) fn magic(head: &[u8]) -> Magic {
    let foreign = |what, hint| Magic::Foreign { what, hint };
    match head {
        [b'P', b'A', b'R', b'1', ..] => Magic::Is(Format::Parquet),
        [b'P', b'A', b'R', b'E', ..] => foreign(
            "a Parquet file with an encrypted footer",
            "decrypt it first; keys are not supported",
        ),
        [b'O', b'b', b'j', 1, ..] => Magic::Is(Format::Avro),
        [b'A', b'R', b'R', b'O', b'W', b'1', 0, 0, ..] | [0xff, 0xff, 0xff, 0xff, ..] => {
            Magic::Is(Format::Arrow)
        }
        [b'F', b'E', b'A', b'1', ..] => foreign(
            "a Feather file of version 1",
            "write it again with a newer Arrow: version 2 is read",
        ),
        [b'P', b'K', 3, 4, ..] => Magic::Is(Format::Xlsx),
        [0xd0, 0xcf, 0x11, 0xe0, ..] => foreign(
            "an old or encrypted Office file (.xls)",
            "save it as .xlsx without a password",
        ),
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => foreign(
            "packed with bzip2, which is not unpacked here",
            "unpack it with `bunzip2`, or pack it with gzip or zstd",
        ),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => foreign(
            "packed with xz, which is not unpacked here",
            "unpack it with `unxz`, or pack it with gzip or zstd",
        ),
        [0x04, 0x22, 0x4d, 0x18, ..] => foreign(
            "packed with lz4, which is not unpacked here",
            "unpack it with `unlz4`, or pack it with gzip or zstd",
        ),
        [b'O', b'R', b'C', ..] if head.len() > 3 && !head[3].is_ascii_graphic() => {
            foreign("an ORC file, which is not read", "convert it to Parquet")
        }
        _ => Magic::Silent,
    }
}

/// Holds a file against the format it is to be read as. Empty files are of every format. Errors: `E0103`, `E0210`.
pub(crate) fn agree(path: &Path, label: &str, format: Format) -> Result<()> {
    let head = head_of(path, label)?;
    if head.plain.is_empty() {
        return Ok(());
    }
    match magic(&head.plain) {
        // A table of text may have a first column `PAR1`; a Parquet file ends with the word as well.
        Magic::Is(Format::Parquet) if format.is_text() && !head.packed && tail_of(path, label)? != *b"PAR1" => Ok(()),
        Magic::Is(found) if found == format && head.packed => Err(Error::new(
            Code::E0210,
            format!("`{label}` is {} inside a compressed file", a(format)),
        )
        .with_hint("unpack it: files of this format are packed inside")),
        Magic::Is(found) if found == format => Ok(()),
        Magic::Is(found) => Err(Error::new(
            Code::E0103,
            format!("`{label}` is {}, not {}", a(found), a(format)),
        )
        .with_detail("Its first bytes say so.")
        .with_hint(format!(
            "write `options: {{ format: {} }}`, or give the file its right name",
            found.as_str()
        ))),
        Magic::Foreign { what, hint } => {
            Err(Error::new(Code::E0210, format!("`{label}` is {what}")).with_hint(hint))
        }
        Magic::Silent if format.is_text() => Ok(()),
        Magic::Silent => Err(Error::new(Code::E0210, format!("`{label}` is not {}", a(format)))
            .with_detail("It does not begin as such files do.")
            .with_hint(
                "name its real format with `options: { format: csv }`, or fetch the file again: it may be damaged",
            )),
    }
}

fn a(format: Format) -> &'static str {
    match format {
        Format::Csv => "a CSV file",
        Format::Tsv => "a TSV file",
        Format::Jsonl => "a file of JSON lines",
        Format::Json => "a JSON file",
        Format::Parquet => "a Parquet file",
        Format::Avro => "an Avro file",
        Format::Arrow => "an Arrow file",
        Format::Xlsx => "an Excel workbook (or another zip archive)",
        Format::Xml => "an XML document",
        Format::Fixed => "a file of fixed columns",
    }
}

/// The format the content of a file shows, where it shows one.
pub(crate) fn of_content(path: &Path, label: &str) -> Result<Option<Format>> {
    match magic(&head_of(path, label)?.plain) {
        Magic::Is(format) => Ok(Some(format)),
        Magic::Silent => Ok(None),
        Magic::Foreign { what, hint } => {
            Err(Error::new(Code::E0210, format!("`{label}` is {what}")).with_hint(hint))
        }
    }
}

/// The error for a name that does not say its format.
pub(crate) fn unknown_format(name: &str) -> Error {
    let words: Vec<_> = Format::ALL.iter().map(|f| f.as_str()).collect();
    Error::new(
        Code::E0103,
        format!("the name `{name}` does not say which format the file has"),
    )
    .with_detail(format!("The known formats are {}.", words.join(", ")))
    .with_hint("name it under `options: { format: csv }`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_formats() {
        assert_eq!(Format::of_name("a/flights.CSV.gz"), Some(Format::Csv));
        assert_eq!(Format::of_name("x.ndjson"), Some(Format::Jsonl));
        assert_eq!(Format::of_name("x.feather"), Some(Format::Arrow));
        assert_eq!(Format::of_name("flights"), None);
        for format in Format::ALL.into_iter().filter(|f| *f != Format::Fixed) {
            assert_eq!(Format::of_extension(format.extension()), Some(format));
        }
    }

    #[test]
    fn first_bytes_say_what_a_file_is() {
        assert_eq!(magic(b"PAR1...."), Magic::Is(Format::Parquet));
        assert_eq!(magic(b"Obj\x01...."), Magic::Is(Format::Avro));
        assert_eq!(magic(b"PK\x03\x04"), Magic::Is(Format::Xlsx));
        assert_eq!(magic(b"id,name\n"), Magic::Silent);
        assert_eq!(magic(b"ORC,name\n"), Magic::Silent);
        assert_eq!(magic(b"ARROW1,ARROW2\n"), Magic::Silent);
        assert_eq!(magic(b"BZh"), Magic::Silent);
        assert!(matches!(magic(b"BZh91AY"), Magic::Foreign { .. }));
        assert_eq!(magic(b""), Magic::Silent);
    }
}
