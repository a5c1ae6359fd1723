//! The statements of writing, rendered from a plan. Pure: what `prepare` prints is what is run.
//!
//! Rows in staging are called `s`, the target `t`. Columns that the server must convert are cast on the way out of
//! staging, so keys are compared, and duplicates found, in the target's own types.

use synqx_model::spec::WriteMode;
use synqx_sdk::{OrderBy, Target};

use super::plan::WritePlan;
use crate::catalog::Column;
use crate::definition::Identity;
use crate::fit::publish_cast;
use crate::mapping::Kind;
use crate::names::{RECORD_TABLE, TableName, literal, quote, quote_all};

/// The record of fences and positions.
pub(crate) fn record_table(table: &TableName) -> TableName {
    table.sibling(RECORD_TABLE)
}

pub(crate) fn create_record(table: &TableName) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {} (stream text PRIMARY KEY, fence bigint NOT NULL, run_id text, position text, spec_hash text, committed_at timestamptz)",
        record_table(table).sql()
    )
}

/// Must hit one row, or another run has taken the fence.
pub(crate) fn update_record(table: &TableName) -> String {
    format!(
        "UPDATE {} SET run_id = $3, position = $4, spec_hash = $5, committed_at = now() WHERE stream = $1 AND fence = $2",
        record_table(table).sql()
    )
}

pub(crate) fn copy_in(table: &TableName, plan: &WritePlan) -> String {
    let columns = quote_all(plan.arrived().map(|c| c.column.name.as_str()));
    format!("COPY {} ({columns}) FROM STDIN (FORMAT binary)", table.sql())
}

/// The table a run fills: like the one it replaces, as it will be created, or bare columns for staging.
pub(crate) fn create_staging(staging: &TableName, plan: &WritePlan, fresh: bool) -> String {
    match (fresh, &plan.existing) {
        (true, Some(relation)) => format!(
            "CREATE TABLE {} (LIKE {} INCLUDING ALL)",
            staging.sql(),
            relation.table.sql()
        ),
        (true, None) => format!(
            "CREATE TABLE {} ({})",
            staging.sql(),
            plan.made.definitions.join(", ")
        ),
        (false, _) => {
            let columns: Vec<String> = plan
                .columns
                .iter()
                .map(|c| {
                    let native = c.staging.unwrap_or(&c.column.native);
                    let collation = match (&c.column.collation, c.staging) {
                        (Some(collation), None) => format!(" COLLATE {collation}"),
                        _ => String::new(),
                    };
                    format!("{} {native}{collation}", quote(&c.column.name))
                })
                .collect();
            format!("CREATE UNLOGGED TABLE {} ({})", staging.sql(), columns.join(", "))
        }
    }
}

pub(crate) fn create_target(plan: &WritePlan) -> Vec<String> {
    let mut statements = vec![format!(
        "CREATE TABLE {} ({})",
        plan.table.sql(),
        plan.made.definitions.join(", ")
    )];
    statements.extend(dress_target(plan));
    statements
}

/// Key and comments of a new table.
pub(crate) fn dress_target(plan: &WritePlan) -> Vec<String> {
    let mut statements = Vec::new();
    if !plan.made.primary_key.is_empty() {
        let key = quote_all(plan.made.primary_key.iter().map(String::as_str));
        statements.push(format!(
            "ALTER TABLE {} ADD PRIMARY KEY ({key})",
            plan.table.sql()
        ));
    }
    for key in &plan.made.unique {
        let key = quote_all(key.iter().map(String::as_str));
        statements.push(format!("ALTER TABLE {} ADD UNIQUE ({key})", plan.table.sql()));
    }
    for (column, comment) in &plan.made.comments {
        statements.push(format!(
            "COMMENT ON COLUMN {}.{} IS {}",
            plan.table.sql(),
            quote(column),
            literal(comment)
        ));
    }
    statements
}

/// Has the server number the columns of a new table, from after its rows.
pub(crate) fn number_target(plan: &WritePlan) -> Vec<String> {
    let table = plan.table.sql();
    let number = |(name, identity): &(String, Identity)| {
        let column = quote(name);
        let who = match identity {
            Identity::Always => "ALWAYS",
            Identity::ByDefault => "BY DEFAULT",
        };
        [
            format!("ALTER TABLE {table} ALTER COLUMN {column} ADD GENERATED {who} AS IDENTITY"),
            format!(
                "SELECT pg_catalog.setval(pg_catalog.pg_get_serial_sequence({}, {}), max({column})) FROM {table} HAVING max({column}) > 0",
                literal(&table),
                literal(name)
            ),
        ]
    };
    plan.made.numbered.iter().flat_map(number).collect()
}

/// Staged rows in the target's types.
pub(super) fn staged(plan: &WritePlan, staging: &TableName) -> String {
    let columns: Vec<String> = plan
        .columns
        .iter()
        .map(|c| {
            let name = quote(&c.column.name);
            if c.staging.is_some() {
                format!("{} AS {name}", publish_cast(&c.column, &name))
            } else {
                name
            }
        })
        .collect();
    format!("(SELECT {} FROM {})", columns.join(", "), staging.sql())
}

pub(super) fn overriding(plan: &WritePlan) -> &'static str {
    if plan.columns.iter().any(|c| c.column.identity == "a") {
        " OVERRIDING SYSTEM VALUE"
    } else {
        ""
    }
}

pub(crate) fn insert_staged(plan: &WritePlan, staging: &TableName) -> String {
    let columns = plan.column_list();
    format!(
        "INSERT INTO {} ({columns}){} SELECT {columns} FROM {} AS s",
        plan.table.sql(),
        overriding(plan),
        staged(plan, staging)
    )
}

pub(crate) fn count_null_keys(plan: &WritePlan, staging: &TableName, key: &[String]) -> String {
    let any = key
        .iter()
        .map(|k| format!("{} IS NULL", quote(k)))
        .collect::<Vec<_>>()
        .join(" OR ");
    format!("SELECT count(*) FROM {} AS s WHERE {any}", staged(plan, staging))
}

/// Keys whose newest row is not one row.
pub(crate) fn count_tied_keys(plan: &WritePlan, staging: &TableName, target: &Target) -> String {
    let key = keys(target);
    if target.order_by.is_empty() {
        return format!(
            "SELECT count(*) FROM (SELECT 1 FROM {} AS s GROUP BY {key} HAVING count(*) > 1) AS d",
            staged(plan, staging)
        );
    }
    format!(
        "SELECT count(*) FROM (SELECT 1 FROM (SELECT {key}, rank() OVER (PARTITION BY {key} ORDER BY {}) AS \"_synqx_rank\" FROM {} AS s) AS r \
         WHERE \"_synqx_rank\" = 1 GROUP BY {key} HAVING count(*) > 1) AS d",
        newest_first(&target.order_by),
        staged(plan, staging)
    )
}

fn keys(target: &Target) -> String {
    quote_all(target.key.iter().map(String::as_str))
}

fn newest_first(order_by: &[OrderBy]) -> String {
    let parts: Vec<String> = order_by
        .iter()
        .map(|o| {
            format!(
                "{} {} NULLS LAST",
                quote(&o.column),
                if o.descending { "ASC" } else { "DESC" }
            )
        })
        .collect();
    parts.join(", ")
}

/// The newest staged row of each key.
pub(crate) fn winners(plan: &WritePlan, staging: &TableName, target: &Target) -> String {
    if target.order_by.is_empty() {
        return staged(plan, staging);
    }
    let key = keys(target);
    format!(
        "(SELECT DISTINCT ON ({key}) * FROM {} AS s ORDER BY {key}, {})",
        staged(plan, staging),
        newest_first(&target.order_by)
    )
}

/// Whether two values of a column differ in anything a reader could see.
fn differs(column: &Column, left: &str, right: &str) -> String {
    let name = quote(&column.name);
    let bytewise = match column.kind {
        // Equality would overlook scale, case, key order, or does not exist.
        Kind::Numeric(None)
        | Kind::Jsonb
        | Kind::Json
        | Kind::Inet
        | Kind::Other
        | Kind::Float4
        | Kind::Float8
        | Kind::TimeTz(_)
        | Kind::Interval(_) => true,
        Kind::Text | Kind::Bpchar => !column.deterministic,
        Kind::Array(..) => true,
        _ => false,
    };
    if bytewise {
        format!("({left}.{name})::text COLLATE \"C\" IS DISTINCT FROM ({right}.{name})::text COLLATE \"C\"")
    } else {
        format!("{left}.{name} IS DISTINCT FROM {right}.{name}")
    }
}

fn values<'a>(plan: &'a WritePlan, target: &'a Target) -> impl Iterator<Item = &'a Column> {
    plan.columns
        .iter()
        .map(|c| &c.column)
        .filter(|c| !target.key.contains(&c.name))
}

/// Whether the staged row is older than the stored one, in the columns of `order_by`; NULL is the oldest. `None`
/// without an order, or where there is nothing stored yet.
fn older(plan: &WritePlan, target: &Target, incoming: &str, stored: &str) -> Option<String> {
    plan.existing.as_ref()?;
    if target.mode == WriteMode::Mirror {
        // What the source says now is right; the order only chooses among rows of one load.
        return None;
    }
    let mut cases = Vec::new();
    let mut equal = Vec::new();
    for order in &target.order_by {
        let name = quote(&order.column);
        let (new, old) = (format!("{incoming}.{name}"), format!("{stored}.{name}"));
        let beaten = if order.descending { ">" } else { "<" };
        let mut case = equal.clone();
        case.push(format!(
            "{old} IS NOT NULL AND ({new} IS NULL OR {new} {beaten} {old})"
        ));
        cases.push(format!("({})", case.join(" AND ")));
        equal.push(format!("{new} IS NOT DISTINCT FROM {old}"));
    }
    (!cases.is_empty()).then(|| format!("({})", cases.join(" OR ")))
}

pub(super) fn same_key(target: &Target, left: &str, right: &str) -> String {
    let pairs = target
        .key
        .iter()
        .map(|k| format!("{left}.{0} = {right}.{0}", quote(k)));
    pairs.collect::<Vec<_>>().join(" AND ")
}

/// The columns an upsert changes.
fn changes<'a>(plan: &'a WritePlan, target: &'a Target) -> Vec<&'a Column> {
    values(plan, target).filter(|c| c.identity != "a").collect()
}

pub(super) fn any_differs(changes: &[&Column], left: &str, right: &str) -> String {
    let parts: Vec<String> = changes.iter().map(|c| differs(c, left, right)).collect();
    if parts.is_empty() {
        "false".to_owned()
    } else {
        parts.join(" OR ")
    }
}

/// Staged keys whose stored row is newer; counted after an upsert has locked the stored rows, or under a lock.
pub(crate) fn count_beaten(plan: &WritePlan, staging: &TableName, target: &Target) -> Option<String> {
    let older = older(plan, target, "s", "t")?;
    Some(format!(
        "SELECT count(*) FROM {} AS s WHERE EXISTS (SELECT FROM {} AS t WHERE {} AND {older})",
        winners(plan, staging, target),
        plan.only(),
        same_key(target, "t", "s")
    ))
}

/// What an upsert will find: staged keys that are stored, that will change, and that are beaten by a newer row.
pub(crate) fn foresee(plan: &WritePlan, staging: &TableName, target: &Target) -> String {
    let older = older(plan, target, "s", "t").unwrap_or_else(|| "false".to_owned());
    let keys: Vec<String> = target.key.iter().map(|k| format!("s.{}", quote(k))).collect();
    format!(
        "SELECT count(*), count(*) FILTER (WHERE differs AND NOT beaten), count(*) FILTER (WHERE beaten) FROM \
         (SELECT bool_or({}) AS differs, bool_or({older}) AS beaten FROM {} AS s JOIN {} AS t ON {} GROUP BY {}) AS k",
        any_differs(&changes(plan, target), "t", "s"),
        winners(plan, staging, target),
        plan.only(),
        same_key(target, "t", "s"),
        keys.join(", ")
    )
}

/// Inserts and updates in one statement; answers with both counts.
pub(crate) fn upsert_indexed(plan: &WritePlan, staging: &TableName, target: &Target) -> String {
    let columns = plan.column_list();
    let changes = changes(plan, target);
    let action = if changes.is_empty() {
        "DO NOTHING".to_owned()
    } else {
        let set = changes
            .iter()
            .map(|c| format!("{0} = excluded.{0}", quote(&c.name)))
            .collect::<Vec<_>>()
            .join(", ");
        let differ = any_differs(&changes, "t", "excluded");
        match older(plan, target, "excluded", "t") {
            Some(older) => format!("DO UPDATE SET {set} WHERE ({differ}) AND NOT {older}"),
            None => format!("DO UPDATE SET {set} WHERE {differ}"),
        }
    };
    format!(
        "WITH w AS (INSERT INTO {} AS t ({columns}){} SELECT {columns} FROM {} AS s ON CONFLICT ({}) {action} RETURNING (t.xmax = 0) AS fresh) \
         SELECT count(*) FILTER (WHERE fresh), count(*) FILTER (WHERE NOT fresh) FROM w",
        plan.table.sql(),
        overriding(plan),
        winners(plan, staging, target),
        keys(target)
    )
}

/// Without a unique index: updates, then inserts, under a lock. The first counts changed keys.
pub(crate) fn update_then_insert(
    plan: &WritePlan,
    staging: &TableName,
    target: &Target,
) -> (Option<String>, String) {
    let (table, only) = (plan.table.sql(), plan.only());
    let join = same_key(target, "t", "s");
    let changes = changes(plan, target);
    let rows = winners(plan, staging, target);
    let update = (!changes.is_empty()).then(|| {
        let set = changes
            .iter()
            .map(|c| format!("{0} = s.{0}", quote(&c.name)))
            .collect::<Vec<_>>()
            .join(", ");
        let differ = any_differs(&changes, "t", "s");
        // Several stored rows may have one key: the newest of them speaks for all.
        let newest = older(plan, target, "s", "n").map_or_else(String::new, |older| {
            let join = same_key(target, "n", "s");
            format!(" AND NOT EXISTS (SELECT FROM {only} AS n WHERE {join} AND {older})")
        });
        let returned: Vec<String> = target.key.iter().map(|k| format!("s.{}", quote(k))).collect();
        let returned = returned.join(", ");
        format!(
            "WITH u AS (UPDATE {only} AS t SET {set} FROM {rows} AS s WHERE {join} AND ({differ}){newest} RETURNING {returned}) \
             SELECT count(*) FROM (SELECT DISTINCT * FROM u) AS d"
        )
    });
    let columns = plan.column_list();
    let insert = format!(
        "INSERT INTO {table} ({columns}){} SELECT {columns} FROM {rows} AS s WHERE NOT EXISTS (SELECT FROM {only} AS t WHERE {join})",
        overriding(plan)
    );
    (update, insert)
}
