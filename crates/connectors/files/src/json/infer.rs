//! Finds the columns of JSON objects and their types, in the order they appear.
//!
//! Objects become structures, arrays lists, values of several kinds text that holds the JSON. Numbers keep their
//! value (`csv::infer`); texts stay text, because JSON says that they are. A missing key is NULL.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use encoding_rs::UTF_8;
use synqx_model::size::human_bytes;
use synqx_model::{Code, Error, Result};
use synqx_sdk::TableSchema;
use synqx_sdk::annotation::{EXTENSION, EXTENSION_JSON, annotate};

use super::objects::{Items, Objects, Pairs, Sort, sort};
use crate::config::{Format, ReadOptions};
use crate::content::Text;
use crate::csv::infer::Evidence;
use crate::describe::SAMPLE;
use crate::read::FileTask;
use crate::window::Window;

/// Files of a set that are looked at.
const FILES: usize = 32;
/// Objects in objects that become structures; deeper ones stay JSON.
const DEPTH: usize = 16;

/// What the values of a column have been.
#[derive(Debug, Default)]
struct Seen {
    boolean: bool,
    text: bool,
    numbers: Option<Evidence>,
    items: Option<Box<Seen>>,
    fields: Option<Vec<(String, Seen)>>,
    json: bool,
}

impl Seen {
    fn value(&mut self, raw: &str, depth: usize) -> serde_json::Result<()> {
        match sort(raw) {
            Sort::Null => {}
            Sort::Boolean => self.boolean = true,
            Sort::Text => self.text = true,
            Sort::Number => self.numbers.get_or_insert_default().text(raw),
            Sort::Array | Sort::Object if depth >= DEPTH => self.json = true,
            Sort::Array => {
                let items = self.items.get_or_insert_default();
                for item in serde_json::from_str::<Items<'_>>(raw)?.0 {
                    items.value(item.get(), depth + 1)?;
                }
            }
            Sort::Object => self.object(raw, depth)?,
        }
        Ok(())
    }

    fn object(&mut self, raw: &str, depth: usize) -> serde_json::Result<()> {
        let fields = self.fields.get_or_insert_default();
        for (position, (key, value)) in serde_json::from_str::<Pairs<'_>>(raw)?.0.into_iter().enumerate() {
            let here = fields.get(position).is_some_and(|(name, _)| *name == key.0);
            let known = if here {
                Some(position)
            } else {
                fields.iter().position(|(name, _)| *name == key.0)
            };
            let index = known.unwrap_or_else(|| {
                fields.push((key.0.into_owned(), Seen::default()));
                fields.len() - 1
            });
            fields[index].1.value(value.get(), depth + 1)?;
        }
        Ok(())
    }

    fn field(&self, name: &str, notes: &mut Vec<String>) -> Field {
        let kinds = [
            self.boolean,
            self.text,
            self.numbers.is_some(),
            self.items.is_some(),
            self.fields.is_some(),
        ];
        let several = kinds.iter().filter(|seen| **seen).count() > 1;
        let empty = self.fields.as_ref().is_some_and(Vec::is_empty);
        if several || empty || self.json {
            notes.push(format!(
                "column `{name}` holds values of several kinds, so it is text that holds the JSON"
            ));
            return annotate(
                Field::new(name, DataType::Utf8View, true),
                EXTENSION,
                EXTENSION_JSON,
            );
        }
        let data_type = if self.boolean {
            DataType::Boolean
        } else if let Some(numbers) = &self.numbers {
            let (data_type, note) = numbers.decide_values();
            notes.extend(note.map(|note| format!("column `{name}` {note}")));
            data_type
        } else if let Some(items) = &self.items {
            DataType::List(Arc::new(items.field("item", notes)))
        } else if let Some(fields) = &self.fields {
            DataType::Struct(
                fields
                    .iter()
                    .map(|(name, seen)| seen.field(name, notes))
                    .collect(),
            )
        } else {
            DataType::Utf8View
        };
        Field::new(name, data_type, true)
    }
}

/// Describes files of JSON by the beginning of the first ones.
pub(crate) fn describe(looks: &[FileTask], options: &ReadOptions) -> Result<TableSchema> {
    let share = SAMPLE / (looks.len().clamp(1, FILES) as u64);
    let mut seen = Seen {
        fields: Some(Vec::new()),
        ..Seen::default()
    };
    let (mut rows, mut bytes, mut whole) = (0, 0, looks.len() <= FILES);
    for look in looks.iter().take(FILES) {
        let text = Text::open(&look.entry.path, &look.entry.label, UTF_8)?;
        let mut objects = Objects::new(Window::new(text, &look.budget)?, look.format == Format::Jsonl);
        while let Some(place) = objects.next(&look.budget)? {
            let raw = objects.text(place)?.trim();
            if sort(raw) != Sort::Object {
                return Err(objects.broken("it is something else than an object"));
            }
            seen.object(raw, 0).map_err(|cause| {
                objects
                    .broken("its syntax is wrong")
                    .with_cause(&cause_without_value(&cause))
            })?;
            objects.window.consume(place.1);
            if objects.window.offset() >= share || options.infer_rows.is_some_and(|most| objects.row >= most)
            {
                whole &=
                    objects.window.is_last() && objects.window.bytes().iter().all(u8::is_ascii_whitespace);
                break;
            }
        }
        rows += objects.row;
        bytes += objects.window.offset();
    }
    let mut notes = Vec::new();
    let mut fields: Vec<Field> = Vec::new();
    for (name, seen) in seen.fields.iter().flatten() {
        fields.push(match options.declared(name) {
            Some(declared) => Field::new(name, declared.clone(), true),
            None => seen.field(name, &mut notes),
        });
    }
    for (name, data_type) in &options.columns {
        if !fields.iter().any(|field| field.name() == name) {
            fields.push(Field::new(name, data_type.clone(), true));
        }
    }
    let seen = if whole {
        format!("all {rows} rows")
    } else {
        format!("the first {rows} rows ({})", human_bytes(bytes))
    };
    notes.insert(0, format!("columns and types are inferred from {seen}"));
    let mut table = TableSchema::of(Arc::new(Schema::new(fields)), "");
    table.rows = whole.then_some(rows);
    table.notes = notes;
    Ok(table)
}

/// What serde says, which names places and never values.
pub(crate) fn cause_without_value(cause: &serde_json::Error) -> Error {
    Error::new(Code::E0210, format!("wrong JSON at character {}", cause.column()))
}
