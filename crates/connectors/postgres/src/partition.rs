//! How a read is split: ctid ranges of plain tables, ranges of a column, or not at all.
//!
//! Ranges are half-open, the first and last have no outer end, so every row is in exactly one, whatever is added
//! between planning and the snapshot. NULLs of a column belong to the first range.

use serde::{Deserialize, Serialize};
use synqx_model::nearest::did_you_mean;
use synqx_model::spec::{PartitionBy, PartitionColumn};
use synqx_model::{Code, Error, Result};
use synqx_sdk::{Partition, Scan, text};
use tokio_postgres::types::Type;

use crate::catalog::Relation;
use crate::client::Session;
use crate::mapping::Kind;
use crate::names::{TableName, quote};

/// Tables below this are read in one stream.
const WORTH_SPLITTING: u64 = 64 << 20;
const PAGE: u64 = 8192;

/// What is read, and which part of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part {
    /// The FROM item.
    pub(crate) from: String,
    /// The condition of the part.
    pub(crate) only: Option<String>,
}

impl Part {
    fn partition(self, label: String) -> Result<Partition> {
        let spec = serde_json::to_string(&self)
            .map_err(|e| Error::bug(format!("a partition does not serialise: {e}")))?;
        Ok(Partition { label, spec })
    }

    /// Reads what [`Part::partition`] wrote.
    pub(crate) fn of(partition: &Partition) -> Result<Part> {
        serde_json::from_str(&partition.spec)
            .map_err(|e| Error::bug(format!("a partition does not read: {e}")))
    }
}

/// Everything in one part.
pub(crate) fn whole(from: &str, label: &str) -> Result<Vec<Partition>> {
    Ok(vec![
        Part {
            from: from.to_owned(),
            only: None,
        }
        .partition(label.to_owned())?,
    ])
}

/// Splits the read of a relation (or, with `relation` absent, of a query).
pub(crate) async fn split(
    session: &Session,
    scan: &Scan,
    relation: Option<&Relation>,
    from: &str,
) -> Result<Vec<Partition>> {
    match (&scan.partition, relation) {
        (PartitionBy::Column(column), _) => by_column(session, scan, column, from).await,
        (PartitionBy::Auto, Some(relation)) if scan.parallel > 1 && scan.limit.is_none() => {
            match by_pages(session, relation, scan.parallel).await? {
                Some(partitions) => Ok(partitions),
                None => whole(from, scan.dataset.label()),
            }
        }
        _ => whole(from, scan.dataset.label()),
    }
}

/// The plain tables a relation's rows are in, with their sizes in pages.
pub(crate) async fn leaves(session: &Session, relation: &Relation) -> Result<Vec<(TableName, u64)>> {
    let rows = session
        .query(
            "SELECT n.nspname::text, c.relname::text, c.relkind::text, pg_catalog.pg_relation_size(c.oid) / current_setting('block_size')::bigint \
             FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.oid = $1 AND c.relkind IN ('r', 'm') OR c.oid IN (SELECT relid FROM pg_catalog.pg_partition_tree($1) WHERE isleaf AND relid <> $1) \
             ORDER BY c.oid",
            &[(&relation.oid, Type::OID)],
            &format!("look up the partitions of table `{}`", relation.table.label()),
        )
        .await?;
    if rows.iter().any(|row| row.get::<_, String>(2) == "f") {
        return Ok(Vec::new());
    }
    Ok(rows
        .iter()
        .map(|row| {
            (
                TableName::new(row.get::<_, String>(0), row.get::<_, String>(1)),
                row.get::<_, i64>(3).max(0) as u64,
            )
        })
        .collect())
}

async fn by_pages(session: &Session, relation: &Relation, parallel: usize) -> Result<Option<Vec<Partition>>> {
    let large = relation.bytes.is_some_and(|b| b > WORTH_SPLITTING);
    if session.version < 140_000 || !large || !matches!(relation.kind.as_str(), "r" | "m" | "p") {
        return Ok(None);
    }
    let leaves = leaves(session, relation).await?;
    let total: u64 = leaves.iter().map(|l| l.1).sum();
    if leaves.is_empty() {
        return Ok(None);
    }
    let step = (total / (parallel as u64 * 2).max(1)).max(WORTH_SPLITTING / PAGE / 4);
    let mut partitions = Vec::new();
    for (table, pages) in leaves {
        let ranges = page_ranges(pages, step);
        // ONLY: a child's rows would be found through the parent's pages too.
        let from = if relation.kind == "p" {
            format!("ONLY {}", table.sql())
        } else {
            table.sql()
        };
        for (low, high) in ranges {
            let (only, label) = page_condition(low, high, &table.label());
            partitions.push(
                Part {
                    from: from.clone(),
                    only,
                }
                .partition(label)?,
            );
        }
    }
    Ok(Some(partitions))
}

fn page_ranges(pages: u64, step: u64) -> Vec<(u64, Option<u64>)> {
    let count = (pages / step).max(1);
    (0..count)
        .map(|i| (i * step, (i + 1 < count).then_some((i + 1) * step)))
        .collect()
}

fn page_condition(low: u64, high: Option<u64>, table: &str) -> (Option<String>, String) {
    let from = (low > 0).then(|| format!("ctid >= '({low},0)'::pg_catalog.tid"));
    let to = high.map(|high| format!("ctid < '({high},0)'::pg_catalog.tid"));
    let conditions: Vec<String> = from.into_iter().chain(to).collect();
    let end = high.map_or("end".to_owned(), |h| h.to_string());
    (
        (!conditions.is_empty()).then(|| conditions.join(" AND ")),
        format!("{table} pages {low}–{end}"),
    )
}

async fn by_column(
    session: &Session,
    scan: &Scan,
    by: &PartitionColumn,
    from: &str,
) -> Result<Vec<Partition>> {
    let name = &by.column;
    let names = scan.table.schema.fields().iter().map(|f| f.name().as_str());
    let Ok(field) = scan.table.schema.field_with_name(name) else {
        return Err(Error::new(
            Code::E0401,
            format!("there is no column `{name}` to split the read by"),
        )
        .with_hint(did_you_mean(name, names)));
    };
    let kind = [
        Kind::Int2,
        Kind::Int4,
        Kind::Int8,
        Kind::Date,
        Kind::Timestamp(6),
        Kind::TimestampTz(6),
    ]
    .into_iter()
    .find(|kind| kind.arrow() == *field.data_type());
    let Some(kind) = kind else {
        return Err(Error::new(
            Code::E0402,
            format!("the read cannot be split by column `{name}`"),
        )
        .with_hint("split by a column of integers, dates or timestamps"));
    };
    let quoted = quote(name);
    let (number, finite) = match kind {
        Kind::Date => (
            format!("({quoted} - '1970-01-01'::date)::int8"),
            format!("isfinite({quoted})"),
        ),
        Kind::Timestamp(_) | Kind::TimestampTz(_) => (
            format!("(extract(epoch FROM {quoted}) * 1000000)::int8"),
            format!("isfinite({quoted})"),
        ),
        _ => (format!("{quoted}::int8"), "true".to_owned()),
    };
    let sql = format!("SELECT min({number}), max({number}) FROM {from} WHERE {finite}");
    let row = session
        .query_one(&sql, &[], &format!("find the range of column `{name}`"))
        .await?;
    let (Some(low), Some(high)) = (row.get::<_, Option<i64>>(0), row.get::<_, Option<i64>>(1)) else {
        return whole(from, scan.dataset.label());
    };
    let bounds = bounds(low, high, by.count);
    let mut partitions = Vec::new();
    for i in 0..=bounds.len() {
        let after = i
            .checked_sub(1)
            .map(|i| format!("{quoted} >= {}", bound(&kind, bounds[i])));
        let before = bounds.get(i).map(|b| format!("{quoted} < {}", bound(&kind, *b)));
        let only = match (after, before) {
            (None, None) => None,
            (None, Some(before)) => Some(format!("({before} OR {quoted} IS NULL)")),
            (Some(after), None) => Some(after),
            (Some(after), Some(before)) => Some(format!("{after} AND {before}")),
        };
        partitions.push(
            Part {
                from: from.to_owned(),
                only,
            }
            .partition(format!("{name} range {} of {}", i + 1, bounds.len() + 1))?,
        );
    }
    Ok(partitions)
}

/// The inner bounds of `count` ranges over `low..=high`.
fn bounds(low: i64, high: i64, count: u32) -> Vec<i64> {
    let width = i128::from(high) - i128::from(low) + 1;
    let count = i128::from(count.clamp(1, 1024)).min(width);
    (1..count)
        .map(|i| (i128::from(low) + width * i / count) as i64)
        .collect()
}

fn bound(kind: &Kind, value: i64) -> String {
    match kind {
        Kind::Date => format!("('1970-01-01'::pg_catalog.date + {value})"),
        Kind::Timestamp(_) => {
            format!("('1970-01-01'::pg_catalog.timestamp + {value} * '1 microsecond'::pg_catalog.interval)")
        }
        Kind::TimestampTz(_) => format!(
            "'{}'::pg_catalog.timestamptz",
            text::render_timestamp(value, true)
        ),
        _ => format!("'{value}'::pg_catalog.int8"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_leave_nothing_out_and_overlap_nowhere() {
        assert_eq!(page_ranges(10, 4), [(0, Some(4)), (4, None)]);
        assert_eq!(page_ranges(0, 4), [(0, None)]);
        assert_eq!(page_condition(0, None, "t").0, None);
        assert_eq!(bounds(0, 9, 2), [5]);
        assert!(bounds(7, 7, 8).is_empty());
        assert_eq!(bounds(i64::MIN, i64::MAX, 2), [0]);
        for (low, high, count) in [(0, 100, 7), (-3, 3, 100), (i64::MIN, i64::MAX, 1000)] {
            let inner = bounds(low, high, count);
            assert!(inner.windows(2).all(|w| w[0] < w[1]) && inner.iter().all(|b| *b > low && *b <= high));
        }
    }
}
