//! Turns the objects of a block into Arrow columns of a known schema.
//!
//! Flat values are collected as cells and parsed by `csv::cells`, so both formats read numbers and times alike.
//! A value of another kind than its column is refused, unless the column is text: then it keeps the JSON.

use std::sync::Arc;

use arrow::array::{ArrayRef, ListArray, StructArray};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, Fields};
use synqx_model::{Error, Result};
use synqx_sdk::annotation::is_json;

use super::objects::{Items, Pairs, Plain, Sort, sort};
use crate::csv::cells::{Block, Column, Rule};
use crate::csv::dialect::Dialect;
use crate::csv::split::{Cell, Form};

/// Collects the values of one column.
pub(crate) struct Values {
    field: Arc<Field>,
    kind: Kind,
    strict: bool,
}

enum Kind {
    Flat {
        column: Box<Column>,
        text: String,
        cells: Vec<Cell>,
    },
    List {
        lengths: Vec<usize>,
        valid: Vec<bool>,
        item: Box<Values>,
    },
    Struct {
        valid: Vec<bool>,
        children: Vec<Values>,
    },
}

/// A value that does not fit its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// This value.
    Here,
    /// The value of this flat column's record in the block.
    At(usize),
    /// Some value inside the nested column.
    Inside,
}

impl Values {
    /// For a field; `strict`: its type was inferred. Errors: `E0407`.
    pub(crate) fn new(field: &Arc<Field>, strict: bool) -> Result<Self> {
        let kind = match field.data_type() {
            DataType::List(item) => Kind::List {
                lengths: Vec::new(),
                valid: Vec::new(),
                item: Box::new(Values::new(item, strict)?),
            },
            DataType::Struct(fields) => Kind::Struct {
                valid: Vec::new(),
                children: fields
                    .iter()
                    .map(|child| Values::new(child, strict))
                    .collect::<Result<_>>()?,
            },
            other => Kind::Flat {
                column: Box::new(Column::new(field.name(), other)?),
                text: String::new(),
                cells: Vec::new(),
            },
        };
        Ok(Values {
            field: field.clone(),
            kind,
            strict,
        })
    }

    /// Appends a NULL.
    pub(crate) fn null(&mut self) {
        match &mut self.kind {
            Kind::Flat { text, cells, .. } => {
                let at = text.len() as u32;
                cells.push(Cell {
                    start: at,
                    end: at,
                    form: Form::Bare,
                });
            }
            Kind::List { lengths, valid, .. } => {
                lengths.push(0);
                valid.push(false);
            }
            Kind::Struct { valid, children } => {
                valid.push(false);
                children.iter_mut().for_each(Values::null);
            }
        }
    }

    /// Appends a value.
    pub(crate) fn push(&mut self, raw: &str) -> std::result::Result<(), Unfit> {
        let found = sort(raw);
        let json = is_json(&self.field);
        if found == Sort::Null {
            self.null();
            return Ok(());
        }
        match &mut self.kind {
            Kind::Flat { text, cells, .. } => {
                let start = text.len() as u32;
                let words = *self.field.data_type() == DataType::Utf8View;
                let numeric = self.field.data_type().is_numeric();
                let form = match found {
                    Sort::Text if !json => {
                        let plain: Plain<'_> = serde_json::from_str(raw).map_err(|_| Unfit::Here)?;
                        if !words && (self.strict || plain.0.is_empty()) {
                            return Err(Unfit::Here);
                        }
                        text.push_str(&plain.0);
                        Form::Quoted
                    }
                    Sort::Number if self.strict && !words && !numeric => return Err(Unfit::Here),
                    Sort::Boolean if self.strict && numeric => return Err(Unfit::Here),
                    Sort::Array | Sort::Object if !words => return Err(Unfit::Here),
                    _ => {
                        text.push_str(raw);
                        Form::Quoted
                    }
                };
                cells.push(Cell {
                    start,
                    end: text.len() as u32,
                    form,
                });
            }
            Kind::List { lengths, valid, item } => {
                if found != Sort::Array {
                    return Err(Unfit::Here);
                }
                let items: Items<'_> = serde_json::from_str(raw).map_err(|_| Unfit::Here)?;
                items.0.iter().try_for_each(|value| item.push(value.get()))?;
                lengths.push(items.0.len());
                valid.push(true);
            }
            Kind::Struct { valid, children } => {
                if found != Sort::Object {
                    return Err(Unfit::Here);
                }
                let pairs: Pairs<'_> = serde_json::from_str(raw).map_err(|_| Unfit::Here)?;
                let mut filled = vec![false; children.len()];
                for (position, (key, value)) in pairs.0.iter().enumerate() {
                    let here = children.get(position).is_some_and(|c| *c.field.name() == key.0);
                    let index = if here {
                        Some(position)
                    } else {
                        children.iter().position(|c| *c.field.name() == key.0)
                    };
                    match index {
                        Some(index) if !filled[index] => children[index].push(value.get())?,
                        _ => return Err(Unfit::Here),
                    }
                    filled[index.unwrap_or(0)] = true;
                }
                children
                    .iter_mut()
                    .zip(filled)
                    .filter(|(_, filled)| !filled)
                    .for_each(|(child, _)| child.null());
                valid.push(true);
            }
        }
        Ok(())
    }

    /// Bytes collected, about.
    pub(crate) fn bytes(&self) -> usize {
        match &self.kind {
            Kind::Flat { text, cells, column } => text.len() + cells.len() * column.width(),
            Kind::List { lengths, item, .. } => lengths.len() * 5 + item.bytes(),
            Kind::Struct { valid, children } => {
                valid.len() + children.iter().map(Values::bytes).sum::<usize>()
            }
        }
    }

    /// The array of what was collected. Errors: which value does not fit.
    pub(crate) fn finish(&mut self, dialect: &Dialect) -> std::result::Result<ArrayRef, Failed> {
        match &mut self.kind {
            Kind::Flat { column, text, cells } => {
                let block = Block {
                    text,
                    cells,
                    width: 1,
                    dialect,
                };
                let rule = if self.strict { Rule::Value } else { Rule::Declared };
                column
                    .append(block, 0, rule)
                    .map_err(|row| Failed::Unfit(Unfit::At(row)))?;
                text.clear();
                cells.clear();
                Ok(column.finish())
            }
            Kind::List { lengths, valid, item } => {
                let values = item.finish(dialect).map_err(Failed::inside)?;
                let mut offsets = vec![0i32];
                for length in std::mem::take(lengths) {
                    let end = i32::try_from(length)
                        .ok()
                        .and_then(|n| offsets[offsets.len() - 1].checked_add(n));
                    offsets.push(
                        end.ok_or_else(|| Failed::Bug(Error::bug("a batch holds too many list items")))?,
                    );
                }
                let nulls = NullBuffer::from(std::mem::take(valid));
                let DataType::List(field) = self.field.data_type() else {
                    return Err(Failed::Bug(Error::bug("a list column is not of a list type")));
                };
                let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
                ListArray::try_new(field.clone(), offsets, values, Some(nulls))
                    .map(|list| Arc::new(list) as ArrayRef)
                    .map_err(|cause| Failed::Bug(Error::bug("cannot make a list").with_cause(&cause)))
            }
            Kind::Struct { valid, children } => {
                let arrays = children
                    .iter_mut()
                    .map(|child| child.finish(dialect))
                    .collect::<std::result::Result<Vec<_>, _>>();
                let arrays = arrays.map_err(Failed::inside)?;
                let fields: Fields = children.iter().map(|child| child.field.clone()).collect();
                StructArray::try_new(fields, arrays, Some(NullBuffer::from(std::mem::take(valid))))
                    .map(|all| Arc::new(all) as ArrayRef)
                    .map_err(|cause| Failed::Bug(Error::bug("cannot make a structure").with_cause(&cause)))
            }
        }
    }
}

/// Why a column could not be made.
#[derive(Debug)]
pub(crate) enum Failed {
    /// A value does not fit.
    Unfit(Unfit),
    /// Something that should not happen.
    Bug(Error),
}

impl Failed {
    fn inside(self) -> Failed {
        match self {
            Failed::Unfit(_) => Failed::Unfit(Unfit::Inside),
            bug => bug,
        }
    }
}
