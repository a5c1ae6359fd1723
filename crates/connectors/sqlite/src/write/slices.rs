//! `delete_insert`: every stored row of every slice that arrives is deleted, then what arrived is inserted.
//!
//! A slice is one combination of values of `partition_by`; NULL is a value of its own (`IS` compares it so). No row, no
//! slice. Foreign keys do not act on the deletion; what would point nowhere afterwards is refused.

use rusqlite::Connection;
use synqx_sdk::{Receipt, Target};

use super::publish::{Done, accounted, check_orphans, count, drop_table, insert, join, orphans};
use super::shape::Shape;
use crate::client::quote;

/// Replaces the slices of `rows` staged rows. Errors: `E0307`, `E0505`.
pub(super) fn publish(
    connection: &Connection,
    shape: &Shape,
    wanted: &Target,
    staging: &str,
    rows: u64,
) -> Done<Receipt> {
    let (target, stage) = (
        format!("main.{}", quote(&shape.name)),
        format!("main.{}", quote(staging)),
    );
    let columns: Vec<String> = wanted
        .partition_by
        .iter()
        .map(|name| shape.column_of(name).to_owned())
        .collect();
    let same = join(&columns, " AND ", |c| format!("t.{c} IS s.{c}"));
    let slices = join(&columns, ", ", |c| c);
    let arrives = format!("EXISTS (SELECT 1 FROM (SELECT DISTINCT {slices} FROM {stage}) AS s WHERE {same})");
    let before = orphans(connection, shape)?;
    let deleted = connection.execute(&format!("DELETE FROM {target} AS t WHERE {arrives}"), [])? as u64;
    let left = format!("SELECT count(*) FROM (SELECT 1 FROM {target} AS t WHERE {arrives} LIMIT 1)");
    accounted(
        shape,
        "rows of the slices after they were deleted",
        0,
        count(connection, &left)?,
    )?;
    let inserted = insert(connection, shape, staging, rows)?;
    drop_table(connection, staging)?;
    check_orphans(connection, shape, before)?;
    Ok(Receipt {
        inserted,
        deleted,
        ..Receipt::default()
    })
}
