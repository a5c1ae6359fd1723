//! Replaces a table by one that was filled beside it, inside the publishing transaction.
//!
//! Only for tables nothing depends on (`ties::ties`, looked up again under the lock). Owner, grants, comment, index
//! and sequence names, sequence values and ownership go over, so that afterwards only the rows are different.

use synqx_model::{Code, Error, Result};
use synqx_sdk::Target;
use tokio_postgres::types::Type;

use super::plan::WritePlan;
use super::ties::ties;
use crate::catalog::{self, Relation};
use crate::client::Session;
use crate::names::{TableName, literal, quote, suffixed};

/// Swaps `staging` in for the target. Errors: `E0311` when the target changed, `E0303`, `E0312`.
pub(crate) async fn swap(
    session: &Session,
    plan: &WritePlan,
    relation: &Relation,
    staging: &TableName,
    target: &Target,
) -> Result<()> {
    let doing = format!("swap table `{}`", plan.table.label());
    session
        .run(
            &format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", plan.table.sql()),
            &doing,
        )
        .await?;
    session.run("SET LOCAL search_path TO pg_catalog", &doing).await?;
    let now = catalog::fetch_relation(session, &plan.table).await?;
    let unchanged = now
        .as_ref()
        .is_some_and(|now| now.fingerprint() == relation.fingerprint());
    if !unchanged || !ties(session, relation).await?.is_empty() {
        return Err(Error::new(
            Code::E0311,
            format!(
                "table `{}` changed while it was being replaced",
                plan.table.label()
            ),
        )
        .with_hint("run again: the plan is made anew"));
    }
    let fresh = session
        .query_one(
            "SELECT $1::pg_catalog.regclass::oid",
            &[(&staging.sql(), Type::TEXT)],
            &doing,
        )
        .await?
        .get::<_, u32>(0);
    let mut statements = owner_and_grants(session, relation.oid, fresh, staging, &doing).await?;
    let indexes = pair_indexes(session, relation.oid, fresh, &doing).await?;
    let sequences = sequences(session, relation.oid, fresh, &doing).await?;
    statements.extend(hand_over_sequences(staging, &sequences));
    statements.extend(remove_old(plan, target, &indexes, &sequences));
    statements.extend(take_name(plan, staging, &indexes, &sequences));
    session.run(&statements.join("; "), &doing).await
}

/// Serial sequences change hands; identity sequences go on counting where the old ones were.
fn hand_over_sequences(staging: &TableName, sequences: &[Sequence]) -> Vec<String> {
    sequences
        .iter()
        .map(|sequence| match &sequence.fresh {
            // A serial column: the default of the new table uses the old sequence, which must outlive the old table.
            None => {
                let (old, column) = (sequence.old.sql(), quote(&sequence.column));
                format!("ALTER SEQUENCE {old} OWNED BY {}.{column}", staging.sql())
            }
            Some(fresh) => {
                let (fresh, old) = (literal(&fresh.sql()), sequence.old.sql());
                format!("SELECT pg_catalog.setval({fresh}, last_value, is_called) FROM {old}")
            }
        })
        .collect()
}

/// Drops the old table, or keeps it under another name with its indexes and sequences.
fn remove_old(
    plan: &WritePlan,
    target: &Target,
    indexes: &[(String, String)],
    sequences: &[Sequence],
) -> Vec<String> {
    let table = plan.table.sql();
    if !target.replace.keep_previous {
        return vec![format!("DROP TABLE {table}")];
    }
    let previous = plan.previous();
    let mut statements = vec![format!("DROP TABLE IF EXISTS {}", previous.sql())];
    for sequence in sequences {
        let (old, column) = (&sequence.old, quote(&sequence.column));
        statements.push(if sequence.fresh.is_none() {
            format!("ALTER TABLE {table} ALTER COLUMN {column} DROP DEFAULT")
        } else {
            format!(
                "ALTER SEQUENCE {} RENAME TO {}",
                old.sql(),
                quote(&suffixed(&old.name, "__previous"))
            )
        });
    }
    statements.push(format!("ALTER TABLE {table} RENAME TO {}", quote(&previous.name)));
    for (old, _) in indexes {
        let (index, kept) = (plan.table.sibling(old), quote(&suffixed(old, "__previous")));
        statements.push(format!("ALTER INDEX {} RENAME TO {kept}", index.sql()));
    }
    statements
}

/// Gives the new table, its indexes and its sequences the names of the old ones.
fn take_name(
    plan: &WritePlan,
    staging: &TableName,
    indexes: &[(String, String)],
    sequences: &[Sequence],
) -> Vec<String> {
    let mut statements = vec![format!(
        "ALTER TABLE {} RENAME TO {}",
        staging.sql(),
        quote(&plan.table.name)
    )];
    for (old, fresh) in indexes {
        let fresh = plan.table.sibling(fresh);
        statements.push(format!("ALTER INDEX {} RENAME TO {}", fresh.sql(), quote(old)));
    }
    for sequence in sequences {
        if let Some(fresh) = &sequence.fresh {
            statements.push(format!(
                "ALTER SEQUENCE {} RENAME TO {}",
                fresh.sql(),
                quote(&sequence.old.name)
            ));
        }
    }
    statements
}

async fn owner_and_grants(
    session: &Session,
    old: u32,
    fresh: u32,
    staging: &TableName,
    doing: &str,
) -> Result<Vec<String>> {
    let row = session
        .query_one(
            "SELECT pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(o.relowner)), o.relowner = f.relowner, \
             pg_catalog.obj_description(o.oid, 'pg_class'), o.relacl IS NOT NULL, f.relacl IS NOT NULL \
             FROM pg_catalog.pg_class o, pg_catalog.pg_class f WHERE o.oid = $1 AND f.oid = $2",
            &[(&old, Type::OID), (&fresh, Type::OID)],
            doing,
        )
        .await?;
    let (owner, same, comment): (String, bool, Option<String>) = (row.get(0), row.get(1), row.get(2));
    let (had, has): (bool, bool) = (row.get(3), row.get(4));
    let table = staging.sql();
    let comment = comment.map_or_else(|| "NULL".to_owned(), |c| literal(&c));
    let mut statements = vec![format!("COMMENT ON TABLE {table} IS {comment}")];
    let grants = "SELECT CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) END, \
                  a.privilege_type, a.is_grantable FROM pg_catalog.pg_class c, pg_catalog.aclexplode(c.relacl) a WHERE c.oid = $1";
    if has {
        for row in session.query(grants, &[(&fresh, Type::OID)], doing).await? {
            statements.push(format!(
                "REVOKE {} ON {table} FROM {}",
                row.get::<_, String>(1),
                row.get::<_, String>(0)
            ));
        }
    }
    if had {
        statements.push(format!("REVOKE ALL ON {table} FROM CURRENT_USER"));
        for row in session.query(grants, &[(&old, Type::OID)], doing).await? {
            let option = if row.get::<_, bool>(2) {
                " WITH GRANT OPTION"
            } else {
                ""
            };
            statements.push(format!(
                "GRANT {} ON {table} TO {}{option}",
                row.get::<_, String>(1),
                row.get::<_, String>(0)
            ));
        }
    }
    if !same {
        statements.push(format!("ALTER TABLE {table} OWNER TO {owner}"));
    }
    Ok(statements)
}

/// Each index of the old table with the one `LIKE` made for it.
async fn pair_indexes(session: &Session, old: u32, fresh: u32, doing: &str) -> Result<Vec<(String, String)>> {
    let rows = session
        .query(
            "WITH d AS (SELECT i.indrelid, c.relname::text AS name, \
               row(i.indisprimary, i.indisunique, i.indisexclusion, k.contype, \
                 pg_catalog.substring(pg_catalog.pg_get_indexdef(i.indexrelid), ' USING .*$'))::text AS shape, i.indexrelid \
               FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid \
               LEFT JOIN pg_catalog.pg_constraint k ON k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x') \
               WHERE i.indrelid IN ($1, $2)), \
             n AS (SELECT *, row_number() OVER (PARTITION BY indrelid, shape ORDER BY indexrelid) AS nth FROM d) \
             SELECT o.name, f.name FROM n o LEFT JOIN n f ON f.indrelid = $2 AND f.shape = o.shape AND f.nth = o.nth WHERE o.indrelid = $1 ORDER BY 1",
            &[(&old, Type::OID), (&fresh, Type::OID)],
            doing,
        )
        .await?;
    rows.iter()
        .map(|row| {
            let old: String = row.get(0);
            let fresh = row.get::<_, Option<String>>(1).ok_or_else(|| {
                Error::new(
                    Code::E0311,
                    format!("the index `{old}` was made or changed while its table was being replaced"),
                )
                .with_hint("run again: the plan is made anew")
            })?;
            Ok((old, fresh))
        })
        .collect()
}

/// A sequence of a column; an identity column has a fresh one in the new table.
struct Sequence {
    column: String,
    old: TableName,
    fresh: Option<TableName>,
}

async fn sequences(session: &Session, old: u32, fresh: u32, doing: &str) -> Result<Vec<Sequence>> {
    let rows = session
        .query(
            "SELECT d.refobjid, a.attname::text, n.nspname::text, c.relname::text, d.deptype::text FROM pg_catalog.pg_depend d \
             JOIN pg_catalog.pg_class c ON c.oid = d.objid AND c.relkind = 'S' JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid \
             WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.refclassid = 'pg_catalog.pg_class'::regclass \
             AND d.refobjid IN ($1, $2) AND d.deptype IN ('a', 'i') ORDER BY c.oid",
            &[(&old, Type::OID), (&fresh, Type::OID)],
            doing,
        )
        .await?;
    let table = |row: &tokio_postgres::Row| TableName::new(row.get::<_, String>(2), row.get::<_, String>(3));
    let mut found = Vec::new();
    for row in rows.iter().filter(|row| row.get::<_, u32>(0) == old) {
        let column: String = row.get(1);
        let identity = row.get::<_, String>(4) == "i";
        let twin = rows.iter().find(|r| {
            r.get::<_, u32>(0) == fresh && r.get::<_, String>(1) == column && r.get::<_, String>(4) == "i"
        });
        if identity && twin.is_none() {
            return Err(Error::bug("an identity column has no sequence in the new table"));
        }
        found.push(Sequence {
            column,
            old: table(row),
            fresh: twin.filter(|_| identity).map(table),
        });
    }
    Ok(found)
}
