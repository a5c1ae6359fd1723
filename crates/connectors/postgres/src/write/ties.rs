//! What other objects have to do with the target: what forbids a swap, what a DELETE would reach, what swallows rows.
//!
//! Asked when the load is planned, and again under the lock that publishes: a foreign key or trigger made in between
//! must not change what happens to anybody's rows.

use synqx_model::spec::{DeleteHow, WriteMode};
use synqx_model::{Code, Error, Result};
use synqx_sdk::Target;
use tokio_postgres::types::Type;

use crate::catalog::Relation;
use crate::client::Session;

/// What keeps a table from being swapped by rename, in words.
const TIES: &str = "SELECT array_remove(ARRAY[ \
     CASE WHEN c.relkind <> 'r' THEN 'it is partitioned' END, \
     CASE WHEN c.relpersistence <> 'p' THEN 'it is unlogged or temporary' END, \
     CASE WHEN NOT pg_catalog.pg_has_role(c.relowner, 'USAGE') THEN 'it belongs to another user' END, \
     CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_rewrite r ON r.oid = d.objid AND d.classid = 'pg_catalog.pg_rewrite'::regclass \
       WHERE d.refobjid = c.oid AND d.refclassid = 'pg_catalog.pg_class'::regclass) THEN 'views or rules depend on it' END, \
     CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.deptype = 'n' AND ((d.refobjid = c.oid AND d.refclassid = 'pg_catalog.pg_class'::regclass \
       AND d.classid NOT IN ('pg_catalog.pg_rewrite'::regclass, 'pg_catalog.pg_constraint'::regclass)) OR (d.refclassid = 'pg_catalog.pg_type'::regclass \
       AND (d.refobjid = c.reltype OR d.refobjid = (SELECT typarray FROM pg_catalog.pg_type WHERE oid = c.reltype))))) THEN 'functions or types depend on it' END, \
     CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.contype = 'f' AND (k.confrelid = c.oid OR k.conrelid = c.oid)) THEN 'it has foreign keys' END, \
     CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal) THEN 'it has triggers' END, \
     CASE WHEN c.relrowsecurity THEN 'it has row security' END, \
     CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_inherits i WHERE i.inhrelid = c.oid OR i.inhparent = c.oid) THEN 'it inherits or is inherited' END, \
     CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_publication_tables p WHERE p.schemaname = $2 AND p.tablename = c.relname) THEN 'it is published' END, \
     CASE WHEN c.reloptions IS NOT NULL OR c.reltablespace <> 0 OR c.relreplident <> 'd' THEN 'it has storage or replica settings' END, \
     CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND (a.attacl IS NOT NULL OR a.attoptions IS NOT NULL)) \
       THEN 'its columns have grants or options of their own' END \
     ], NULL) FROM pg_catalog.pg_class c WHERE c.oid = $1";

/// Reasons against a swap.
pub(crate) async fn ties(session: &Session, relation: &Relation) -> Result<Vec<String>> {
    let row = session
        .query_one(
            TIES,
            &[(&relation.oid, Type::OID), (&relation.table.schema, Type::TEXT)],
            "look up what depends on the target",
        )
        .await?;
    Ok(row.get(0))
}

/// The target with its partitions and the tables that inherit from it: what a statement on it reaches.
const TREE: &str = "WITH RECURSIVE tree(oid) AS (SELECT $1::pg_catalog.oid UNION \
     SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN tree ON i.inhparent = tree.oid)";

/// A foreign key of another table that refers to the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference {
    constraint: String,
    table: String,
    /// `pg_constraint.confdeltype`.
    on_delete: String,
    /// The check can wait for the end of the transaction.
    pub(crate) deferrable: bool,
}

impl Reference {
    /// What a DELETE does to the rows that refer to the deleted one, beyond refusing it.
    fn reach(&self) -> Option<&'static str> {
        match self.on_delete.as_str() {
            "c" => Some("ON DELETE CASCADE would remove"),
            "n" => Some("ON DELETE SET NULL would empty the reference of"),
            "d" => Some("ON DELETE SET DEFAULT would change the reference of"),
            _ => None,
        }
    }
}

/// Foreign keys of other tables that refer to the target.
pub(crate) async fn references(session: &Session, relation: &Relation) -> Result<Vec<Reference>> {
    let sql = format!(
        "{TREE} SELECT k.conname::text, n.nspname || '.' || c.relname, k.confdeltype::text, k.condeferrable \
         FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class c ON c.oid = k.conrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE k.contype = 'f' AND k.confrelid IN (SELECT oid FROM tree) AND k.conrelid NOT IN (SELECT oid FROM tree) ORDER BY 2, 1"
    );
    let rows = session
        .query(
            &sql,
            &[(&relation.oid, Type::OID)],
            "look up what refers to the target",
        )
        .await?;
    Ok(rows
        .iter()
        .map(|row| Reference {
            constraint: row.get(0),
            table: row.get(1),
            on_delete: row.get(2),
            deferrable: row.get(3),
        })
        .collect())
}

/// Rows are deleted from the target.
pub(crate) fn deletes(target: &Target) -> bool {
    match target.mode {
        WriteMode::Replace | WriteMode::DeleteInsert => true,
        WriteMode::Mirror => target.mirror.delete == DeleteHow::Hard,
        WriteMode::Append | WriteMode::Upsert | WriteMode::Scd2 => false,
    }
}

/// Refuses deletions that would change rows of other tables, or that the server never allows. Errors: `E0310`.
pub(crate) fn check_references(target: &Target, label: &str, references: &[Reference]) -> Result<()> {
    if !deletes(target) {
        return Ok(());
    }
    let named = |r: &Reference| format!("`{}` of table `{}`", r.constraint, r.table);
    let reached: Vec<String> = references
        .iter()
        .filter_map(|r| {
            r.reach()
                .map(|what| format!("{}: {what} rows of that table", named(r)))
        })
        .collect();
    if !reached.is_empty() {
        return Err(Error::new(
            Code::E0310,
            format!(
                "`write: {}` of table `{label}` would change rows of other tables",
                target.mode.as_str()
            ),
        )
        .with_detail(format!(
            "It deletes rows, and foreign keys act on that: {}.",
            reached.join("; ")
        ))
        .with_hint(if target.mode == WriteMode::Mirror {
            "use `mirror: {delete: soft}`, or make the constraint ON DELETE NO ACTION"
        } else {
            "use `write: upsert`, or make the constraint ON DELETE NO ACTION"
        }));
    }
    if target.mode == WriteMode::Replace && target.replace.truncate && !references.is_empty() {
        let all: Vec<String> = references.iter().map(named).collect();
        return Err(
            Error::new(Code::E0310, format!("table `{label}` cannot be truncated"))
                .with_detail(format!("Foreign keys refer to it: {}.", all.join("; ")))
                .with_hint("remove `truncate: true`, or use `write: upsert`"),
        );
    }
    Ok(())
}

/// Whether triggers or rules may keep rows of a statement out of the target, or in it, or change their keys.
pub(crate) async fn guarded(session: &Session, relation: &Relation) -> Result<bool> {
    let sql = format!(
        "{TREE} SELECT EXISTS (SELECT FROM pg_catalog.pg_trigger t WHERE t.tgrelid IN (SELECT oid FROM tree) AND NOT t.tgisinternal AND t.tgenabled <> 'D') \
         OR EXISTS (SELECT FROM pg_catalog.pg_rewrite r WHERE r.ev_class IN (SELECT oid FROM tree) AND r.ev_type IN ('2', '3', '4'))"
    );
    let row = session
        .query_one(
            &sql,
            &[(&relation.oid, Type::OID)],
            "look for triggers on the target",
        )
        .await?;
    Ok(row.get(0))
}
