//! What a document may say about files: the connection's configuration and the options of an extract or a load.
//!
//! Options of an extract override those of the connection. Everything is checked here, before a file is touched;
//! what a file itself says (its header, its schema) is found out elsewhere.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use synqx_model::nearest::did_you_mean;
use synqx_model::spec::{OrderedMap, decode_map};
use synqx_model::{ByteSize, Code, Error, Result};

use crate::fixed::layout::{Layout, Place};
use crate::format::unknown_format;
pub use crate::format::{Compression, Format};

/// A folder of files, or one file.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The folder that assets are relative to, or a single file. Relative to the document's folder.
    pub path: String,
    /// The format of every asset of this connection. Without it, the extension of the file decides.
    #[serde(default)]
    pub format: Option<Format>,
    /// How CSV files of this connection are written down. Each extract or load may say otherwise under `options`.
    #[serde(default)]
    pub csv: CsvOptions,
}

/// How a CSV file is written down.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CsvOptions {
    /// One character between cells. Default: comma, for `tsv` the tab.
    #[serde(default)]
    pub delimiter: Option<String>,
    /// The character around cells that hold delimiters. Default `"`; empty for none.
    #[serde(default)]
    pub quote: Option<String>,
    /// A character that takes the meaning from the next one inside quotes. Default: none, quotes are doubled.
    #[serde(default)]
    pub escape: Option<String>,
    /// Whether the first record names the columns. Default true.
    #[serde(default)]
    pub header: Option<bool>,
    /// The text encoding, such as `utf-8`, `windows-1252`, `utf-16le`. A byte order mark wins. Default `utf-8`.
    #[serde(default)]
    pub encoding: Option<String>,
    /// Cell texts that mean NULL. Default: the empty cell without quotes.
    #[serde(default)]
    pub nulls: Option<Vec<String>>,
    /// Lines to leave out at the beginning.
    #[serde(default)]
    pub skip_rows: Option<usize>,
    /// Lines that begin with this character are left out. Default: none.
    #[serde(default)]
    pub comment: Option<String>,
}

/// Options of an extract.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExtractOptions {
    format: Option<Format>,
    delimiter: Option<String>,
    quote: Option<String>,
    escape: Option<String>,
    header: Option<bool>,
    encoding: Option<String>,
    nulls: Option<Vec<String>>,
    skip_rows: Option<usize>,
    comment: Option<String>,
    #[serde(default)]
    columns: OrderedMap<String>,
    infer_rows: Option<u64>,
    schema_drift: Option<Drift>,
    rewritten: Option<Rewritten>,
    sheet: Option<Sheet>,
    range: Option<String>,
    record: Option<String>,
    fields: Option<Vec<Place>>,
    #[serde(default)]
    short_lines: ShortLines,
}

/// What happens when the files of one read do not have the same columns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Drift {
    /// The read is refused.
    #[default]
    Fail,
    /// The columns of all files; what a file lacks is NULL, types are widened where nothing is lost.
    Union,
}

/// What happens when a file that an incremental read has read before is not the same any more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Rewritten {
    /// The read is refused.
    #[default]
    Fail,
    /// The whole file is read again; the load must be able to take rows twice.
    Reread,
}

/// A sheet of a workbook: its name, or its number from 1.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(crate) enum Sheet {
    Number(usize),
    Name(String),
}

/// What a line of fixed columns means that ends before its last column does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ShortLines {
    /// It is damaged.
    #[default]
    Fail,
    /// Blanks at its end were cut off.
    Pad,
}

/// How files are to be read, checked.
#[derive(Debug, Clone)]
pub(crate) struct ReadOptions {
    /// The format, when the document says.
    pub(crate) format: Option<Format>,
    /// How CSV is written down.
    pub(crate) csv: CsvOptions,
    /// Columns with a declared type, in the order of the document.
    pub(crate) columns: Vec<(String, arrow::datatypes::DataType)>,
    /// Rows to look at when types are inferred.
    pub(crate) infer_rows: Option<u64>,
    /// What happens when files have other columns than others.
    pub(crate) drift: Drift,
    /// What happens when a file that was read before has changed.
    pub(crate) rewritten: Rewritten,
    /// The sheet of a workbook; the first one when the document does not say.
    pub(crate) sheet: Option<Sheet>,
    /// The cells of a sheet, such as `B3:F100`.
    pub(crate) range: Option<String>,
    /// The path of the elements of an XML document that are rows.
    pub(crate) record: Option<String>,
    /// Where the columns of a line are.
    pub(crate) fields: Option<Layout>,
    /// What lines that are too short mean.
    pub(crate) short_lines: ShortLines,
}

impl ReadOptions {
    /// Reads the options of an extract over those of the connection. Errors: `E0102`, `E0103`.
    pub(crate) fn new(config: &Config, options: &Map<String, Value>) -> Result<Self> {
        let own: ExtractOptions = decode_map(options, "options")?;
        let base = &config.csv;
        let csv = CsvOptions {
            delimiter: own.delimiter.or_else(|| base.delimiter.clone()),
            quote: own.quote.or_else(|| base.quote.clone()),
            escape: own.escape.or_else(|| base.escape.clone()),
            header: own.header.or(base.header),
            encoding: own.encoding.or_else(|| base.encoding.clone()),
            nulls: own.nulls.or_else(|| base.nulls.clone()),
            skip_rows: own.skip_rows.or(base.skip_rows),
            comment: own.comment.or_else(|| base.comment.clone()),
        };
        let mut columns = Vec::new();
        let mut wrong = Vec::new();
        for (name, text) in own.columns.iter() {
            match synqx_sdk::type_names::parse_type(text) {
                Ok(data_type) => columns.push((name.to_owned(), data_type)),
                Err(error) => wrong.push(error),
            }
        }
        if let Some(error) = Error::all(wrong) {
            return Err(error);
        }
        Ok(ReadOptions {
            format: own.format.or(config.format),
            csv,
            columns,
            infer_rows: own.infer_rows,
            drift: own.schema_drift.unwrap_or_default(),
            rewritten: own.rewritten.unwrap_or_default(),
            sheet: own.sheet,
            range: own.range,
            record: own.record,
            fields: own.fields.map(Layout::new).transpose()?,
            short_lines: own.short_lines,
        })
    }

    /// The declared type of a column.
    pub(crate) fn declared(&self, column: &str) -> Option<&arrow::datatypes::DataType> {
        self.columns
            .iter()
            .find(|(name, _)| name == column)
            .map(|(_, data_type)| data_type)
    }
}

/// Options of a load.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LoadOptions {
    format: Option<Format>,
    compression: Option<Compression>,
    delimiter: Option<String>,
    quote: Option<String>,
    escape: Option<String>,
    encoding: Option<String>,
    header: Option<bool>,
    nulls: Option<String>,
    fields: Option<Vec<Place>>,
    row_group_bytes: Option<ByteSize>,
    part_bytes: Option<ByteSize>,
}

/// Size at which a folder gets another part, when the document does not say: between the 100 and 250 MB that
/// warehouses and query engines like.
const PART: u64 = 192 << 20;

/// How files are to be written, checked.
#[derive(Debug, Clone)]
pub(crate) struct WriteOptions {
    /// The format.
    pub(crate) format: Format,
    /// The compression.
    pub(crate) compression: Compression,
    /// The byte between cells.
    pub(crate) delimiter: u8,
    /// The byte around cells; none when cells never have quotes.
    pub(crate) quote: Option<u8>,
    /// The byte before a quote inside quotes; none when quotes are doubled.
    pub(crate) escape: Option<u8>,
    /// The encoding of text.
    pub(crate) encoding: &'static encoding_rs::Encoding,
    /// Where the columns of a line are, for `fixed`.
    pub(crate) fields: Option<Layout>,
    /// Whether CSV begins with the column names.
    pub(crate) header: bool,
    /// The text of NULL in CSV.
    pub(crate) null: String,
    /// Texts that a reader of this connection takes for NULL where they stand without quotes; `null` is among them.
    pub(crate) markers: Vec<String>,
    /// Begins lines that a reader of this connection leaves out.
    pub(crate) comment: Option<u8>,
    /// Bytes of a Parquet row group while it is being made.
    pub(crate) row_group_bytes: Option<u64>,
    /// Bytes after which a folder gets another part.
    pub(crate) part_bytes: u64,
}

impl WriteOptions {
    /// Reads the options of a load. `asset` decides what they leave open. Errors: `E0102`, `E0103`.
    pub(crate) fn new(config: &Config, asset: &str, options: &Map<String, Value>) -> Result<Self> {
        let own: LoadOptions = decode_map(options, "options")?;
        let folder = is_folder(asset);
        let named = Format::of_name(asset);
        let format = match own.format.or(config.format).or(named) {
            Some(format) => format,
            None if folder => Format::Parquet,
            None => return Err(unknown_format(asset)),
        };
        let compression = packing(own.compression, format, asset)?;
        let delimiter = match own.delimiter.as_ref().or(config.csv.delimiter.as_ref()) {
            Some(text) => one_byte("delimiter", text)?.unwrap_or(b','),
            None if format == Format::Tsv => b'\t',
            None => b',',
        };
        let byte =
            |key: &str, own: &Option<String>, base: &Option<String>| match own.as_ref().or(base.as_ref()) {
                Some(text) => one_byte(key, text).map(Some),
                None => Ok(None),
            };
        let quote = byte("quote", &own.quote, &config.csv.quote)?.unwrap_or(Some(b'"'));
        let escape = byte("escape", &own.escape, &config.csv.escape)?.flatten();
        if quote == Some(delimiter) || (escape.is_some() && escape == Some(delimiter)) {
            return Err(Error::new(
                Code::E0103,
                "`delimiter` is the same character as `quote` or `escape`",
            )
            .with_hint("choose another `delimiter`, such as `\";\"`"));
        }
        if format.is_text() && config.csv.skip_rows.is_some_and(|rows| rows > 0) {
            return Err(Error::new(
                Code::E0103,
                "`skip_rows` of the connection would leave out the first lines of what is written",
            )
            .with_hint("write through a connection of its own, without `skip_rows`"));
        }
        let label = own.encoding.as_ref().or(config.csv.encoding.as_ref());
        let encoding = label.map_or(Ok(encoding_rs::UTF_8), |label| encoding(label))?;
        let fields = own.fields.map(Layout::new).transpose()?;
        let (null, markers) = null_markers(own.nulls, config, (format, delimiter, quote))?;
        let comment = config.csv.comment.as_deref();
        Ok(WriteOptions {
            format,
            compression,
            delimiter,
            quote,
            escape: escape.filter(|escape| Some(*escape) != quote),
            encoding,
            fields,
            header: own.header.or(config.csv.header).unwrap_or(true),
            null,
            markers,
            comment: comment.map_or(Ok(None), |text| one_byte("comment", text))?,
            row_group_bytes: own.row_group_bytes.map(|b| b.0),
            part_bytes: own.part_bytes.map_or(PART, |b| b.0.max(1)),
        })
    }

    /// The extension of parts, such as `csv.gz`.
    pub(crate) fn extension(&self) -> String {
        let base = self.format.extension();
        match (self.format, self.compression) {
            (format, _) if !format.is_text() => base.to_owned(),
            (_, Compression::None) => base.to_owned(),
            (_, Compression::Gzip) => format!("{base}.gz"),
            (_, _) => format!("{base}.zst"),
        }
    }
}

/// How files of a format are packed. Errors: `E0103`.
fn packing(own: Option<Compression>, format: Format, asset: &str) -> Result<Compression> {
    let extension = (!is_folder(asset))
        .then(|| asset.rsplit_once('.'))
        .flatten()
        .map(|(_, e)| e);
    let by_name = extension.and_then(Compression::of_extension);
    if !format.is_written() {
        return Err(
            Error::new(Code::E0103, format!("{} files are read only", format.as_str())).with_hint(
                "write `format: csv`, `jsonl`, `parquet`, `avro` or `arrow`, and name the file so",
            ),
        );
    }
    let compression = match (own, format) {
        (Some(chosen), _) => chosen,
        (None, Format::Parquet | Format::Arrow) => Compression::Zstd,
        (None, Format::Avro) => Compression::Deflate,
        (None, _) => by_name.unwrap_or(Compression::None),
    };
    if !compression.fits(format) {
        return Err(Error::new(
            Code::E0103,
            format!(
                "{} files cannot be written with this compression",
                format.as_str()
            ),
        )
        .with_hint(format!("use one of {}", Compression::words(format))));
    }
    if by_name.is_some_and(|named| !format.is_text() || named != compression) {
        return Err(Error::new(
            Code::E0103,
            format!("the name `{asset}` and the compression contradict each other"),
        )
        .with_hint("leave `compression` out, or change the extension"));
    }
    Ok(compression)
}

/// The text of NULL, and every text that reading takes for NULL. Errors: `E0103` when NULL could not be read back.
fn null_markers(
    own: Option<String>,
    config: &Config,
    (format, delimiter, quote): (Format, u8, Option<u8>),
) -> Result<(String, Vec<String>)> {
    let mut markers = config.csv.nulls.clone().unwrap_or_else(|| vec![String::new()]);
    let Some(null) = own.or_else(|| markers.first().cloned()) else {
        return match format.is_delimited() {
            false => Ok((String::new(), markers)),
            true => Err(Error::new(
                Code::E0103,
                "`nulls: []` of the connection leaves no text for NULL",
            )
            .with_hint("write `nulls: \"NA\"` under `options` of the load")),
        };
    };
    let breaks = |byte: u8| byte == delimiter || Some(byte) == quote || matches!(byte, b'\n' | b'\r');
    if format.is_delimited() && null.bytes().any(breaks) {
        return Err(Error::new(
            Code::E0103,
            "the text for NULL holds a delimiter, a quote or a line end",
        )
        .with_hint("choose another one with `nulls: \"NA\"` under `options` of the load"));
    }
    if !markers.contains(&null) {
        markers.push(null.clone());
    }
    Ok((null, markers))
}

/// Whether a target's name means a folder of parts: it ends with `/` or has no extension.
pub(crate) fn is_folder(asset: &str) -> bool {
    let base = asset.rsplit('/').next().unwrap_or(asset);
    base.is_empty() || base == "." || !base.trim_start_matches('.').contains('.')
}

/// One ASCII character, or none for the empty text. Errors: `E0103`.
pub(crate) fn one_byte(key: &str, text: &str) -> Result<Option<u8>> {
    match text.as_bytes() {
        [] => Ok(None),
        [byte] if byte.is_ascii() && !matches!(byte, b'\n' | b'\r') => Ok(Some(*byte)),
        _ if text == "\\t" => Ok(Some(b'\t')),
        _ => Err(
            Error::new(Code::E0103, format!("`{key}` is not one ASCII character"))
                .with_hint(format!("write `{key}: \";\"` or another single character")),
        ),
    }
}

/// An encoding by its label. Errors: `E0103`.
pub(crate) fn encoding(label: &str) -> Result<&'static encoding_rs::Encoding> {
    const COMMON: [&str; 8] = [
        "utf-8",
        "utf-16le",
        "utf-16be",
        "windows-1252",
        "iso-8859-1",
        "iso-8859-15",
        "shift_jis",
        "gbk",
    ];
    encoding_rs::Encoding::for_label(label.as_bytes()).ok_or_else(|| {
        Error::new(Code::E0103, format!("`{label}` is not a text encoding"))
            .with_hint(did_you_mean(label, COMMON))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_whether_it_is_a_folder() {
        assert!(is_folder("out/") && is_folder("out") && is_folder("a.b/out") && !is_folder("out.parquet"));
    }

    #[test]
    fn options_are_refused_with_the_nearest_name() {
        let config = Config {
            path: ".".into(),
            format: None,
            csv: CsvOptions::default(),
        };
        let options = serde_json::json!({ "delimeter": ";" });
        let error = ReadOptions::new(&config, options.as_object().expect("a map")).expect_err("unknown");
        assert!(error.code() == Code::E0102 && error.hint().is_some_and(|h| h.contains("delimiter")));
        assert_eq!(one_byte("quote", "ab").expect_err("two").code(), Code::E0103);
    }
}
