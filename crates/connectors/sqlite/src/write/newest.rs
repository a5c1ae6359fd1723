//! Which of two rows of a key is newer: the order of an upsert as bytes, for rows that arrive and rows that are stored.
//!
//! SQLite compares texts, and the text of a decimal or of a time with a zone does not order like its value. So stored
//! values are read as this connector reads them, and both sides become bytes that compare like the values.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::compute::{CastOptions, SortOptions, cast_with_options};
use arrow::row::{RowConverter, Rows, SortField};
use rusqlite::Connection;
use synqx_model::{Code, Error, Result, ResultExt};

use super::ledger::Failure;
use super::shape::Shape;
use crate::client::quote;
use crate::decode::Builder;
use crate::mapping::Kind;

/// Rows that are compared at once.
const CHUNK: usize = 4096;

/// A column as what both sides are compared as. Errors: `E0404`.
pub(crate) fn as_kind(array: &ArrayRef, kind: Kind, name: &str) -> Result<ArrayRef> {
    let wanted = kind.field(name);
    if array.data_type() == wanted.data_type() {
        return Ok(Arc::clone(array));
    }
    let options = CastOptions {
        safe: false,
        ..Default::default()
    };
    cast_with_options(array, wanted.data_type(), &options)
        .coded(Code::E0404, || {
            format!("a value of `order_by` column `{name}` cannot be compared with what is stored")
        })
        .map_err(|e| e.or_hint("cast the column to the type of the target's before the load"))
}

/// Columns, and whether the smallest wins, as bytes: the greatest is the newest, NULL is the oldest. Errors: `E0310`.
pub(crate) fn bytes(columns: &[(ArrayRef, bool)]) -> Result<Rows> {
    let hint = "order by a column of a simple type";
    let failed = || "the columns of `order_by` cannot be ordered".to_owned();
    let fields = columns.iter().map(|(array, descending)| {
        let options = SortOptions {
            descending: *descending,
            nulls_first: true,
        };
        SortField::new_with_options(array.data_type().clone(), options)
    });
    let converter = RowConverter::new(fields.collect())
        .coded(Code::E0310, failed)
        .map_err(|e| e.or_hint(hint))?;
    let arrays: Vec<ArrayRef> = columns.iter().map(|(array, _)| Arc::clone(array)).collect();
    converter
        .convert_columns(&arrays)
        .coded(Code::E0310, failed)
        .map_err(|e| e.or_hint(hint))
}

/// Removes staged rows whose key is stored with a newer row, and says how many. Errors: `E0310`.
pub(crate) fn remove_beaten(
    connection: &Connection,
    shape: &Shape,
    stage: &str,
    target: &str,
    same_key: &str,
) -> Result<u64, Failure> {
    if shape.order.is_empty() {
        return Ok(0);
    }
    let stored: Vec<String> = shape
        .order
        .iter()
        .map(|o| format!("t.{}", quote(&o.column)))
        .collect();
    let sql = format!(
        "SELECT s._synqx_seq, s._synqx_order, {} FROM {stage} s JOIN {target} t ON {same_key}",
        stored.join(", ")
    );
    let mut beaten = Vec::new();
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query([])?;
    let mut chunk = Chunk::new(shape);
    while let Some(row) = rows.next()? {
        for (i, (builder, order)) in chunk.builders.iter_mut().zip(&shape.order).enumerate() {
            let value = row.get_ref(i + 2)?;
            builder
                .push(value)
                .map_err(|_| unreadable(shape, &order.column))?;
        }
        let order: Vec<u8> = row.get(1)?;
        chunk.incoming.push((row.get(0)?, order));
        if chunk.incoming.len() == CHUNK {
            beaten.extend(chunk.beaten(shape)?);
        }
    }
    beaten.extend(chunk.beaten(shape)?);
    drop(rows);
    let mut remove = connection.prepare(&format!("DELETE FROM {stage} WHERE _synqx_seq = ?1"))?;
    let mut removed = 0;
    for seq in beaten {
        removed += remove.execute([seq])? as u64;
    }
    Ok(removed)
}

fn unreadable(shape: &Shape, column: &str) -> Error {
    Error::new(
        Code::E0310,
        format!(
            "rows cannot be compared with those of `{}` by `order_by`",
            shape.name
        ),
    )
    .with_detail(format!(
        "A stored value of column `{column}` has not the form of the column's declared type."
    ))
    .with_hint("correct the stored values, or order by another column")
}

/// Pairs of a staged row and a stored one.
struct Chunk {
    /// Number and order of the staged row.
    incoming: Vec<(i64, Vec<u8>)>,
    /// The order columns of the stored row.
    builders: Vec<Builder>,
}

impl Chunk {
    fn new(shape: &Shape) -> Self {
        Chunk {
            incoming: Vec::with_capacity(CHUNK),
            builders: shape.order.iter().map(|o| Builder::new(o.kind)).collect(),
        }
    }

    /// The staged rows that are older than the stored ones; the chunk is empty again.
    fn beaten(&mut self, shape: &Shape) -> Result<Vec<i64>> {
        let columns: Vec<(ArrayRef, bool)> = self
            .builders
            .iter_mut()
            .zip(&shape.order)
            .map(|(builder, order)| (builder.finish(), order.descending))
            .collect();
        let stored = bytes(&columns)?;
        // The stored order may be a part of the whole one, and then is smaller when it is equal.
        let incoming = std::mem::take(&mut self.incoming).into_iter();
        Ok(incoming
            .zip(stored.iter())
            .filter(|((_, order), stored)| stored.as_ref() > order.as_slice())
            .map(|((seq, _), _)| seq)
            .collect())
    }
}
