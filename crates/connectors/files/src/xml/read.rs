//! Reads the rows of an XML document, one element at a time.
//!
//! The elements that are rows are named by `record: /catalog/book`, or are the children of the root. A path that the
//! description does not know is an error, because leaving it out would lose data; a path that a row lacks is NULL.

use std::borrow::Cow;
use std::collections::HashMap;

use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};
use synqx_model::nearest::did_you_mean;
use synqx_model::{Code, Error, Result};
use synqx_sdk::lane::Sender;

use super::feed::Feed;
use super::record::{DEPTH, Record};
use crate::content::Opened;
use crate::csv::infer::Evidence;
use crate::read::{FileTask, Sample};
use crate::table::{TextTable, markers};

/// Paths below a row.
const PATHS: usize = 4_096;

/// A document being read.
struct Rows {
    reader: Reader<Feed>,
    buffer: Vec<u8>,
    /// Names of the elements down to the rows; empty: the children of the root.
    path: Vec<String>,
    /// Names of the open elements outside rows.
    outside: Vec<String>,
    label: String,
    /// Line at which the row began.
    line: u64,
    rows: u64,
    root: bool,
}

impl Rows {
    fn open(task: &FileTask, opened: Opened) -> Result<Self> {
        let mut reader = Reader::from_reader(Feed::open(task, opened)?);
        let config = reader.config_mut();
        config.expand_empty_elements = true;
        config.check_end_names = true;
        let path = task.options.record.as_deref().unwrap_or_default();
        Ok(Rows {
            reader,
            buffer: Vec::new(),
            path: path
                .split('/')
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .collect(),
            outside: Vec::new(),
            label: task.entry.label.clone(),
            line: 1,
            rows: 0,
            root: false,
        })
    }

    fn damaged(&self, why: &str) -> Error {
        let line = self.reader.get_ref().line;
        Error::new(
            Code::E0210,
            format!("line {line} of `{}` is not well-formed XML", self.label),
        )
        .with_detail(format!("{why}."))
        .with_hint("fetch the file again if it was cut short, or have it mended where it is made")
    }

    /// Whether an element below the open ones is a row.
    fn is_row(&self, name: &str) -> bool {
        match self.path.as_slice() {
            [] => self.outside.len() == 1,
            [before @ .., last] => last == name && *before == *self.outside,
        }
    }

    /// Reads the next row. `false` at the end of the document. Errors: `E0210`, `E0407`, `E0805`.
    fn next(&mut self, record: &mut Record) -> Result<bool> {
        record.clear();
        loop {
            self.buffer.clear();
            if record.depth() == 0 {
                self.reader.get_mut().mark();
            }
            let mut buffer = std::mem::take(&mut self.buffer);
            let event = self.reader.read_event_into(&mut buffer);
            let step = match event {
                Ok(event) => self.take(&event, record),
                Err(cause) => Err(match (self.reader.get_mut().failure(), cause) {
                    (Some(failure), _) => failure,
                    (None, quick_xml::Error::IllFormed(why)) => self.damaged(&words(&why)),
                    (None, _) => self.damaged("Its syntax is wrong"),
                }),
            };
            self.buffer = buffer;
            match step? {
                Step::On => {}
                Step::Row => {
                    self.rows += 1;
                    return Ok(true);
                }
                Step::End => return Ok(false),
            }
        }
    }

    fn take(&mut self, event: &Event<'_>, record: &mut Record) -> Result<Step> {
        let inside = record.depth() > 0;
        match event {
            Event::Start(start) | Event::Empty(start) => {
                let name = start.local_name();
                let name = name.as_ref();
                if self.outside.len() + record.depth() >= DEPTH {
                    return Err(self.damaged("Its elements stand too deep in each other"));
                }
                if !inside && self.root && self.outside.is_empty() {
                    return Err(self.damaged("It has several root elements"));
                }
                if inside || self.is_row(name) {
                    if !inside {
                        self.line = self.reader.get_ref().line;
                    }
                    self.root = true;
                    record.begin(name);
                    self.attributes(start, record)?;
                } else {
                    self.root = true;
                    self.outside.push(name.to_owned());
                }
            }
            Event::End(_) if inside => {
                if let Some(path) = record.end() {
                    return Err(self.repeated(&path));
                }
                if record.found.len() > PATHS {
                    return Err(Error::new(
                        Code::E0407,
                        format!("the rows of `{}` have more than {PATHS} paths", self.label),
                    )
                    .with_hint("name a smaller element with `record: /path/to/rows`"));
                }
                if record.depth() == 0 {
                    return Ok(Step::Row);
                }
            }
            Event::End(_) => {
                self.outside.pop();
            }
            Event::Text(text) if inside => record.text(&text.xml10_content()),
            Event::CData(text) if inside => record.text(&text.xml10_content()),
            Event::GeneralRef(reference) if inside => {
                let resolved = match reference.resolve_char_ref() {
                    Ok(Some(character)) => Cow::Owned(character.to_string()),
                    _ => match quick_xml::escape::resolve_predefined_entity(reference) {
                        Some(text) => Cow::Borrowed(text),
                        None => return Err(self.damaged("It refers to an entity that is not declared")),
                    },
                };
                record.text(&resolved);
            }
            Event::DocType(_) => {
                return Err(Error::new(
                    Code::E0210,
                    format!("`{}` has a document type, which is not read", self.label),
                )
                .with_detail("Its entities could make a small file large, or read other files.")
                .with_hint("remove `<!DOCTYPE …>` where the file is made"));
            }
            Event::Text(text) if !text.trim().is_empty() && self.outside.is_empty() => {
                return Err(self.damaged("Text stands outside the root element"));
            }
            Event::Eof => {
                if inside || !self.outside.is_empty() || !self.root {
                    return Err(self.damaged("It ends before its root element does"));
                }
                return Ok(Step::End);
            }
            _ => {}
        }
        Ok(Step::On)
    }

    fn attributes(&self, start: &BytesStart<'_>, record: &mut Record) -> Result<()> {
        for attribute in start.attributes() {
            let attribute = attribute.map_err(|_| self.damaged("An attribute is written wrongly"))?;
            let name = attribute.key;
            if name.as_namespace_binding().is_some() {
                continue;
            }
            let value = attribute
                .normalized_value(XmlVersion::Implicit1_0)
                .map_err(|_| self.damaged("An attribute refers to an entity that is not declared"))?;
            record.attribute(name.local_name().as_ref(), &value);
        }
        Ok(())
    }

    fn repeated(&self, path: &str) -> Error {
        let rows = match self.path.as_slice() {
            [] => format!("…/{path}"),
            names => format!("/{}/{path}", names.join("/")),
        };
        Error::new(
            Code::E0407,
            format!(
                "the row in line {} of `{}` has several `{path}` with values of their own",
                self.line, self.label
            ),
        )
        .with_detail("Columns could not tell which of their values belong together.")
        .with_hint(format!("read those elements as rows: `record: {rows}`"))
    }

    /// The error for a document in which no element is a row.
    fn no_rows(&self) -> Error {
        let path = format!("/{}", self.path.join("/"));
        Error::new(Code::E0409, format!("`{}` has no element `{path}`", self.label)).with_hint(
            "name the elements that are rows, from the root on and without prefixes: `record: /catalog/book`",
        )
    }
}

enum Step {
    On,
    Row,
    End,
}

/// What is wrong with the structure, without text of the document.
fn words(why: &quick_xml::errors::IllFormedError) -> String {
    use quick_xml::errors::IllFormedError::{MismatchedEndTag, MissingEndTag, UnmatchedEndTag};
    match why {
        MissingEndTag(_) => "It ends before its root element does".to_owned(),
        UnmatchedEndTag(_) | MismatchedEndTag { .. } => "An end tag has no start tag of its name".to_owned(),
        _ => "Its structure is wrong".to_owned(),
    }
}

/// Looks at the beginning of a document.
pub(crate) fn sample(task: &FileTask, bytes: u64) -> Result<Sample> {
    let mut rows = Rows::open(task, Opened::new(&task.entry.path, &task.entry.label)?)?;
    let nulls = markers(task);
    let mut record = Record::default();
    let mut columns: Vec<(String, Evidence)> = Vec::new();
    let mut whole = true;
    let most = task.options.infer_rows.unwrap_or(u64::MAX);
    while rows.next(&mut record)? {
        for (index, (path, found)) in record.found.iter().enumerate() {
            if columns.len() <= index {
                columns.push((path.clone(), Evidence::default()));
            }
            let evidence = &mut columns[index].1;
            evidence.repeated |= found.ends.len() > 1;
            for value in found.values() {
                match nulls.iter().any(|null| null == value) {
                    true => evidence.null(),
                    false => evidence.text(value),
                }
            }
        }
        if rows.reader.get_ref().offset >= bytes || rows.rows >= most {
            whole = false;
            break;
        }
    }
    if columns.is_empty() && !rows.path.is_empty() && task.options.columns.is_empty() {
        return Err(rows.no_rows());
    }
    // Declared paths are columns even where the beginning has none of them.
    for (name, _) in &task.options.columns {
        if !columns.iter().any(|(known, _)| known == name)
            && !task.entry.keys.iter().any(|(key, _)| key == name)
        {
            columns.push((name.clone(), Evidence::default()));
        }
    }
    Ok(Sample {
        columns,
        rows: rows.rows,
        bytes: rows.reader.get_ref().offset,
        whole,
    })
}

/// Reads a document and sends its batches. `false` when nobody listens any more.
pub(crate) fn read(task: &FileTask, opened: Opened, sender: &Sender) -> Result<bool> {
    let mut rows = Rows::open(task, opened)?;
    let mut table = TextTable::new(
        task,
        true,
        Box::new(|_, line| format!("the row that begins in line {line}")),
    )?;
    let fields = task.file_schema.fields();
    // Every path of the description; with the column that wants it.
    let known: HashMap<&str, Option<usize>> = task
        .columns
        .iter()
        .map(|name| (name.as_str(), fields.iter().position(|f| f.name() == name)))
        .collect();
    let mut record = Record::default();
    let mut places: Vec<Option<usize>> = Vec::new();
    let mut left = task.limit.unwrap_or(u64::MAX);
    let mut held = task.budget.reserve("a row of XML", 0)?;
    while left > 0 && rows.next(&mut record)? {
        held.resize("a row of XML", rows.reader.get_ref().since())?;
        for (path, _) in &record.found[places.len()..] {
            places.push(
                *known
                    .get(path.as_str())
                    .ok_or_else(|| unknown_path(task, &rows, path))?,
            );
        }
        for column in 0..fields.len() {
            let index = places.iter().position(|place| *place == Some(column));
            let values: Vec<Option<&str>> = match index {
                Some(index) => record.found[index].1.values().map(Some).collect(),
                None => Vec::new(),
            };
            if !table.push(column, &values) {
                return Err(several(task, &rows, fields[column].name()));
            }
        }
        left -= 1;
        if let Some(batch) = table.end_row(rows.line)?
            && !sender.send(task.complete(batch)?)?
        {
            return Ok(false);
        }
    }
    if left > 0 {
        rows.reader.get_ref().verify()?;
    }
    match table.finish()? {
        Some(batch) => sender.send(task.complete(batch)?),
        None => Ok(true),
    }
}

fn unknown_path(task: &FileTask, rows: &Rows, path: &str) -> Error {
    let names = task.columns.iter().map(String::as_str);
    Error::new(
        Code::E0208,
        format!(
            "the row in line {} of `{}` has `{path}`, which the beginning of the data did not have",
            rows.line, rows.label
        ),
    )
    .with_hint(format!(
        "declare it with `options: {{ columns: {{ \"{path}\": text }} }}`; {}",
        did_you_mean(path, names)
    ))
}

fn several(task: &FileTask, rows: &Rows, column: &str) -> Error {
    let declared = task.options.declared(column).is_some();
    Error::new(
        Code::E0208,
        format!(
            "the row in line {} of `{}` has several values of `{column}`, which is no list",
            rows.line, rows.label
        ),
    )
    .with_detail(match declared {
        true => "The type is declared under `columns:`.",
        false => "The beginning of the data had one at most.",
    })
    .with_hint("look at more of the data with `infer_rows`, or leave the type out so that a list is inferred")
}
