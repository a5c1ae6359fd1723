//! Sequences of serial and identity columns go on where the loaded values end.
//!
//! A load that writes its own numbers leaves the column's sequence behind, and the next row that asks it for a number
//! would collide. In the publishing transaction the sequence is moved to the greatest value, never back. `setval` itself
//! is not undone by a rollback (PostgreSQL, "Sequence Manipulation Functions"): then there is a gap, and no collision.

use synqx_model::{Code, Error, Result};
use synqx_sdk::{Receipt, Target};
use tokio_postgres::types::Type;

use super::plan::WritePlan;
use crate::client::Session;
use crate::names::{TableName, literal, quote};

/// The option of a load that leaves sequences alone when it is false.
pub(super) const OPTION: &str = "advance_sequences";

const OWNED: &str = "SELECT a.attname::text, n.nspname::text, c.relname::text, s.seqincrement > 0, s.seqmax, s.seqmin, \
     pg_catalog.has_sequence_privilege(c.oid, 'UPDATE') AND pg_catalog.has_sequence_privilege(c.oid, 'SELECT') \
       AND pg_catalog.has_column_privilege(d.refobjid, a.attnum, 'SELECT') \
     FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_class c ON c.oid = d.objid AND c.relkind = 'S' \
     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace JOIN pg_catalog.pg_sequence s ON s.seqrelid = c.oid \
     JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid \
     WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass \
     AND d.refobjid = $1::pg_catalog.text::pg_catalog.regclass AND d.deptype IN ('a', 'i') ORDER BY a.attnum";

/// Whether sequences are to be moved. Errors: `E0102`, `E0103`.
pub(super) fn wanted(target: &Target) -> Result<bool> {
    if let Some(key) = target.options.keys().find(|key| *key != OPTION) {
        return Err(Error::new(
            Code::E0102,
            format!("`{key}` is not an option of a PostgreSQL table"),
        )
        .with_hint(format!("remove it; the only one is `{OPTION}`")));
    }
    match target.options.get(OPTION) {
        None => Ok(true),
        Some(value) => value.as_bool().ok_or_else(|| {
            Error::new(Code::E0103, format!("`{OPTION}` is not true or false"))
                .with_hint(format!("write `options: {{{OPTION}: false}}`, or leave it out"))
        }),
    }
}

/// Moves the sequences of columns that were written. What may not be moved is noted. Errors: `E03xx`.
pub(super) async fn advance(
    plan: &WritePlan,
    target: &Target,
    session: &Session,
    receipt: &mut Receipt,
) -> Result<()> {
    if !wanted(target)? {
        return Ok(());
    }
    let doing = format!("advance the sequences of table `{}`", plan.table.label());
    let name = plan.table.sql();
    for row in session.query(OWNED, &[(&name, Type::TEXT)], &doing).await? {
        let column: String = row.get(0);
        if !plan.arrived().any(|c| c.column.name == column) {
            continue;
        }
        let sequence = TableName::new(row.get::<_, String>(1), row.get::<_, String>(2));
        if !row.get::<_, bool>(6) {
            receipt.notes.push(format!(
                "the sequence `{}` of column `{column}` was not advanced: this user has no right to",
                sequence.label()
            ));
            continue;
        }
        let (greatest, beyond, limit) = if row.get(3) {
            ("max", ">", format!("<= {}", row.get::<_, i64>(4)))
        } else {
            ("min", "<", format!(">= {}", row.get::<_, i64>(5)))
        };
        let (column, sql) = (quote(&column), sequence.sql());
        let advance = format!(
            "SELECT pg_catalog.setval({}::pg_catalog.regclass, m.x::pg_catalog.int8) FROM (SELECT {greatest}({column}) AS x FROM {name}) AS m, {sql} AS s \
             WHERE m.x {limit} AND (m.x {beyond} s.last_value OR m.x = s.last_value AND NOT s.is_called)",
            literal(&sql)
        );
        session.query(&advance, &[], &doing).await?;
    }
    Ok(())
}
