//! The catalog as the rest of the crate sees it: relations, columns, types, keys, and who the server is.
//!
//! Everything comes from `pg_catalog`, never from samples of rows. Sessions of scope `Catalog` have only
//! `pg_catalog` in their search path, so `format_type` prints any other type with its schema.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use synqx_model::nearest::did_you_mean;
use synqx_model::{Code, Error, Result};
use synqx_sdk::{Role, TableSchema, annotation};
use tokio_postgres::types::Type;

use crate::client::{Link, Scope, Session};
use crate::definition::{Definition, Identity, UserType, constant};
use crate::mapping::{Kind, SYSTEM};
use crate::names::{TableName, fnv};

/// A column as the catalog has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: String,
    /// `format_type`, schema-qualified unless built in.
    pub(crate) native: String,
    pub(crate) kind: Kind,
    /// Rows that are written must have a value.
    pub(crate) not_null: bool,
    /// No row that is stored can be NULL: somebody has checked them all.
    pub(crate) never_null: bool,
    /// `a` always, `d` by default, empty.
    pub(crate) identity: String,
    pub(crate) generated: bool,
    pub(crate) has_default: bool,
    pub(crate) comment: Option<String>,
    /// Quoted, where it is not the type's own.
    pub(crate) collation: Option<String>,
    /// Equality is bytewise.
    pub(crate) deterministic: bool,
    /// Order is bytewise.
    pub(crate) bytewise: bool,
    /// The declared type is the base type itself, no domain.
    pub(crate) plain: bool,
    /// Dimensions an array was declared with; 0 for other types.
    pub(crate) dimensions: i16,
    /// What a copy of the column gets besides its type.
    pub(crate) definition: Definition,
}

/// A relation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Relation {
    pub(crate) oid: u32,
    pub(crate) table: TableName,
    /// `pg_class.relkind`.
    pub(crate) kind: String,
    pub(crate) columns: Vec<Column>,
    pub(crate) primary_key: Vec<String>,
    /// Column lists of unique, immediate, total indexes, the primary key's included.
    pub(crate) unique: Vec<Vec<String>>,
    pub(crate) rows: Option<u64>,
    pub(crate) bytes: Option<u64>,
    /// What a reader of it should know.
    pub(crate) notes: Vec<&'static str>,
}

impl Relation {
    pub(crate) fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|c| c.name == name)
    }

    /// Changes whenever columns or types do.
    pub(crate) fn fingerprint(&self) -> String {
        let mut text = format!("{}|{}", self.oid, self.kind);
        for c in &self.columns {
            text.push_str(&format!(
                "|{}:{}:{}:{}{}:{}",
                c.name, c.native, c.not_null, c.identity, c.generated, c.has_default
            ));
        }
        format!("{:016x}", fnv(&text))
    }
}

#[derive(Debug, Clone)]
struct TypeRow {
    schema: String,
    name: String,
    class: String,
    base: u32,
    base_typmod: i32,
    element: u32,
    is_array: bool,
}

/// Types by oid, with everything they rest on.
#[derive(Debug, Default)]
pub(crate) struct Types(HashMap<u32, TypeRow>);

impl Types {
    /// Fetches types and, step by step, their base and element types. int2vector and oidvector have elements and are
    /// no arrays: they count from 0.
    pub(crate) async fn fetch(session: &Session, oids: impl IntoIterator<Item = u32>) -> Result<Types> {
        let mut types = Types::default();
        let mut wanted: Vec<u32> = oids.into_iter().collect();
        while !wanted.is_empty() {
            wanted.sort_unstable();
            wanted.dedup();
            let rows = session
                .query(
                    "SELECT t.oid, n.nspname::text, t.typname::text, t.typtype::text, t.typbasetype, t.typtypmod, t.typelem, \
                     t.typelem <> 0 AND EXISTS (SELECT FROM pg_catalog.pg_type e WHERE e.oid = t.typelem AND e.typarray = t.oid) \
                     FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace WHERE t.oid = ANY($1)",
                    &[(&wanted, Type::OID_ARRAY)],
                    "read the catalog's types",
                )
                .await?;
            wanted.clear();
            for row in rows {
                let found = TypeRow {
                    schema: row.get(1),
                    name: row.get(2),
                    class: row.get(3),
                    base: row.get(4),
                    base_typmod: row.get(5),
                    element: row.get(6),
                    is_array: row.get(7),
                };
                wanted.extend([found.base, found.element].into_iter().filter(|oid| *oid != 0));
                types.0.insert(row.get(0), found);
            }
            wanted.retain(|oid| !types.0.contains_key(oid));
        }
        Ok(types)
    }

    /// The user's own types that columns of these types rest on, by the column's place. Asks only where there are any.
    async fn fetch_own(
        &self,
        session: &Session,
        columns: &[u32],
        doing: &str,
    ) -> Result<HashMap<usize, Vec<UserType>>> {
        if self.0.values().all(|row| row.schema == "pg_catalog") {
            return Ok(HashMap::new());
        }
        let rows = session
            .query(OWN_TYPES, &[(&columns, Type::OID_ARRAY)], doing)
            .await?;
        let read = |row: &tokio_postgres::Row| {
            let at = usize::try_from(row.get::<_, i64>(0) - 1).unwrap_or_default();
            let types = serde_json::from_str(&row.get::<_, String>(1));
            types
                .map(|types| (at, types))
                .map_err(|e| Error::bug(format!("a type of the user does not read: {e}")))
        };
        rows.iter().map(read).collect()
    }

    /// How a type is sent.
    pub(crate) fn kind(&self, oid: u32, typmod: i32) -> Kind {
        let Some(row) = self.0.get(&oid) else {
            return Kind::Other;
        };
        match row.class.as_str() {
            "d" => self.kind(
                row.base,
                if row.base_typmod >= 0 {
                    row.base_typmod
                } else {
                    typmod
                },
            ),
            "e" => Kind::Enum,
            _ if row.is_array => match self.kind(row.element, typmod) {
                element if element.is_element() => Kind::Array(Box::new(element), row.element),
                _ => Kind::Other,
            },
            _ if row.schema == "pg_catalog" => Kind::of_builtin(oid, typmod),
            _ if row.name == "citext" => Kind::Text,
            _ => Kind::Other,
        }
    }

    fn is_citext(&self, oid: u32) -> bool {
        self.0
            .get(&oid)
            .is_some_and(|t| t.name == "citext" || (t.class == "d" && self.is_citext(t.base)))
    }

    fn is_domain(&self, oid: u32) -> bool {
        self.0.get(&oid).is_some_and(|t| t.class == "d")
    }
}

const RELATION: &str = "SELECT c.oid, c.relkind::text, c.reltuples::float8, \
     CASE WHEN c.relkind IN ('r', 'm', 'p') THEN (SELECT coalesce(sum(pg_catalog.pg_relation_size(x.oid)), 0)::bigint FROM pg_catalog.pg_class x \
       WHERE x.oid = c.oid OR (c.relkind = 'p' AND x.oid IN (SELECT relid FROM pg_catalog.pg_partition_tree(c.oid)))) END, \
     (SELECT sum(greatest(x.reltuples, 0))::float8 FROM pg_catalog.pg_class x WHERE c.relkind = 'p' AND x.relkind = 'r' \
       AND x.oid IN (SELECT relid FROM pg_catalog.pg_partition_tree(c.oid))), \
     pg_catalog.has_schema_privilege(n.oid, 'USAGE'), pg_catalog.row_security_active(c.oid), c.relkind = 'r' AND c.relhassubclass \
     FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p', 'v', 'm', 'f')";

/// Text order is bytewise under libc's C and the built-in provider; ICU's is not, whatever `datcollate` says (encodings
/// 0, 6 and 8 are SQL_ASCII, UTF8 and LATIN1). `attnotnull` is a claim of foreign tables, holds for future rows only
/// under a NOT VALID constraint, and does not bind tables that inherit.
const COLUMNS: &str = "SELECT a.attname::text, a.atttypid, a.atttypmod, pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnotnull, \
     a.attidentity::text, a.attgenerated::text <> '', a.atthasdef, pg_catalog.col_description(a.attrelid, a.attnum), \
     CASE WHEN a.attcollation <> 0 AND a.attcollation <> t.typcollation \
       THEN pg_catalog.quote_ident(cn.nspname) || '.' || pg_catalog.quote_ident(co.collname) END, \
     coalesce(co.collisdeterministic, true), \
     coalesce(d.encoding IN (0, 6, 8) AND CASE \
       WHEN co.collprovider <> 'd' THEN co.collprovider = 'b' OR (co.collprovider = 'c' AND co.collcollate IN ('C', 'POSIX')) \
       ELSE CASE coalesce(pg_catalog.to_jsonb(d) ->> 'datlocprovider', 'c') WHEN 'b' THEN true WHEN 'c' THEN d.datcollate IN ('C', 'POSIX') ELSE false END \
       END, false), \
     a.attnotnull AND NOT EXISTS (WITH RECURSIVE tree(oid) AS (SELECT a.attrelid UNION SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN tree ON i.inhparent = tree.oid) \
       SELECT FROM tree JOIN pg_catalog.pg_class x ON x.oid = tree.oid JOIN pg_catalog.pg_attribute b ON b.attrelid = x.oid AND b.attname = a.attname \
       WHERE x.relkind = 'f' OR NOT b.attnotnull OR EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.conrelid = x.oid AND k.contype = 'n' \
         AND NOT k.convalidated AND b.attnum = ANY (k.conkey))), a.attndims::int2, pg_catalog.pg_get_expr(ad.adbin, ad.adrelid), \
     EXISTS (SELECT FROM pg_catalog.pg_depend p JOIN pg_catalog.pg_class q ON q.oid = p.objid AND q.relkind = 'S' \
       WHERE p.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND p.refclassid = p.classid AND p.refobjid = a.attrelid \
       AND p.refobjsubid = a.attnum AND p.deptype = 'a') \
     FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
     LEFT JOIN pg_catalog.pg_attrdef ad ON ad.adrelid = a.attrelid AND ad.adnum = a.attnum \
     LEFT JOIN pg_catalog.pg_collation co ON co.oid = a.attcollation LEFT JOIN pg_catalog.pg_namespace cn ON cn.oid = co.collnamespace \
     JOIN pg_catalog.pg_database d ON d.datname = pg_catalog.current_database() \
     WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";

/// Per column, the types of the user it rests on, each after those it needs. Left out are types that a statement of
/// ours cannot make again: of extensions, ranges, rows of tables, domains with conditions, defaults or collations.
const OWN_TYPES: &str = "WITH RECURSIVE need(at, oid, depth) AS ( \
       SELECT x.at, x.oid, 0 FROM unnest($1::oid[]) WITH ORDINALITY AS x(oid, at) \
       UNION SELECT n.at, x.oid, n.depth + 1 FROM need n JOIN pg_catalog.pg_type t ON t.oid = n.oid CROSS JOIN LATERAL ( \
         SELECT t.typbasetype WHERE t.typtype = 'd' UNION ALL SELECT t.typelem WHERE t.typelem <> 0 \
         UNION ALL SELECT b.atttypid FROM pg_catalog.pg_attribute b \
           WHERE t.typtype = 'c' AND b.attrelid = t.typrelid AND b.attnum > 0 AND NOT b.attisdropped) AS x(oid)), \
     deepest AS (SELECT at, oid, max(depth) AS depth FROM need GROUP BY at, oid) \
     SELECT m.at, pg_catalog.json_agg(pg_catalog.json_build_object('schema', s.nspname, 'name', t.typname, 'not_null', t.typnotnull, \
       'labels', (SELECT pg_catalog.json_agg(e.enumlabel ORDER BY e.enumsortorder) FROM pg_catalog.pg_enum e WHERE e.enumtypid = t.oid), \
       'attributes', (SELECT pg_catalog.json_agg(pg_catalog.json_build_array(b.attname, pg_catalog.format_type(b.atttypid, b.atttypmod)) ORDER BY b.attnum) \
         FROM pg_catalog.pg_attribute b WHERE t.typtype = 'c' AND b.attrelid = t.typrelid AND b.attnum > 0 AND NOT b.attisdropped), \
       'base', CASE WHEN t.typtype = 'd' THEN pg_catalog.format_type(t.typbasetype, t.typtypmod) END) ORDER BY m.depth DESC)::text \
     FROM deepest m JOIN pg_catalog.pg_type t ON t.oid = m.oid JOIN pg_catalog.pg_namespace s ON s.oid = t.typnamespace \
     WHERE s.nspname NOT IN ('pg_catalog', 'information_schema') AND (t.typtype = 'e' \
       OR t.typtype = 'c' AND EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = t.typrelid AND c.relkind = 'c') \
       OR t.typtype = 'd' AND t.typdefault IS NULL AND t.typcollation = (SELECT b.typcollation FROM pg_catalog.pg_type b WHERE b.oid = t.typbasetype) \
         AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.contypid = t.oid AND k.contype = 'c')) \
       AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend p WHERE p.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND p.objid = t.oid AND p.deptype = 'e') \
     GROUP BY m.at";

const KEYS: &str = "SELECT i.indisprimary, (SELECT array_agg(a.attname::text ORDER BY k.n) \
     FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, n) \
     JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum WHERE k.n <= i.indnkeyatts) \
     FROM pg_catalog.pg_index i WHERE i.indrelid = $1 AND i.indisunique AND i.indimmediate AND i.indisvalid AND i.indpred IS NULL \
     AND i.indexprs IS NULL ORDER BY i.indisprimary DESC, i.indexrelid";

/// A relation by name; `None` when there is none. `lookup` also tells whether the schema may be used.
pub(crate) async fn fetch_relation(session: &Session, table: &TableName) -> Result<Option<Relation>> {
    let doing = format!("look up table `{}`", table.label());
    let rows = session
        .query(
            RELATION,
            &[(&table.schema, Type::TEXT), (&table.name, Type::TEXT)],
            &doing,
        )
        .await?;
    let Some(row) = rows.first() else { return Ok(None) };
    if !row.get::<_, bool>(5) {
        return Err(denied(session.role(), "the schema", &table.schema));
    }
    let oid: u32 = row.get(0);
    let kind: String = row.get(1);
    let tuples = row.get::<_, Option<f64>>(4).unwrap_or(row.get::<_, f64>(2));
    let bytes = row.get::<_, Option<i64>>(3).and_then(|b| u64::try_from(b).ok());
    let columns = fetch_columns(session, oid, &doing).await?;
    let mut primary_key = Vec::new();
    let mut unique = Vec::new();
    for row in session.query(KEYS, &[(&oid, Type::OID)], &doing).await? {
        let Some(names) = row.get::<_, Option<Vec<String>>>(1) else {
            continue;
        };
        if row.get::<_, bool>(0) {
            primary_key.clone_from(&names);
        }
        unique.push(names);
    }
    Ok(Some(Relation {
        oid,
        table: table.clone(),
        kind,
        columns,
        primary_key,
        unique,
        rows: (tuples >= 0.0).then_some(tuples as u64),
        bytes,
        notes: notes_of(row),
    }))
}

/// What a row of [`RELATION`] says about which rows are read.
fn notes_of(row: &tokio_postgres::Row) -> Vec<&'static str> {
    let secured = "row-level security holds for this user: rows that its policies hide are not read";
    let inherited = "rows of tables that inherit from it are read too";
    let said = [(row.get(6), secured), (row.get(7), inherited)];
    said.into_iter()
        .filter(|(is, _)| *is)
        .map(|(_, note)| note)
        .collect()
}

/// The columns of a relation.
pub(crate) async fn fetch_columns(session: &Session, oid: u32, doing: &str) -> Result<Vec<Column>> {
    let rows = session.query(COLUMNS, &[(&oid, Type::OID)], doing).await?;
    let oids: Vec<u32> = rows.iter().map(|row| row.get(1)).collect();
    let types = Types::fetch(session, oids.iter().copied()).await?;
    let mut made_of = types.fetch_own(session, &oids, doing).await?;
    Ok(rows
        .iter()
        .enumerate()
        .map(|(at, row)| {
            let (type_oid, typmod): (u32, i32) = (row.get(1), row.get(2));
            let (native, dimensions): (String, i16) = (row.get(3), row.get(13));
            Column {
                name: row.get(0),
                // format_type prints one pair of brackets, however many were declared.
                native: native + &"[]".repeat(usize::try_from(dimensions - 1).unwrap_or(0)),
                kind: types.kind(type_oid, typmod),
                not_null: row.get(4),
                identity: row.get(5),
                generated: row.get(6),
                has_default: row.get(7),
                comment: row.get(8),
                collation: row.get(9),
                deterministic: row.get::<_, bool>(10) && !types.is_citext(type_oid),
                bytewise: row.get::<_, bool>(11) && !types.is_citext(type_oid),
                plain: !types.is_domain(type_oid),
                never_null: row.get(12),
                dimensions,
                definition: Definition {
                    types: made_of.remove(&at).unwrap_or_default(),
                    ..definition_of(row)
                },
            }
        })
        .collect())
}

/// What a row of [`COLUMNS`] says beyond the type.
fn definition_of(row: &tokio_postgres::Row) -> Definition {
    let identity = match row.get::<_, String>(5).as_str() {
        "a" => Some(Identity::Always),
        "d" => Some(Identity::ByDefault),
        _ => row.get::<_, bool>(15).then_some(Identity::ByDefault),
    };
    let expression: Option<String> = row.get(14);
    let default = expression.as_deref().and_then(constant);
    let left = match (&expression, row.get::<_, bool>(6)) {
        (Some(_), true) => Some("computed in its source; the new table holds the values".to_owned()),
        (Some(text), false) if default.is_none() && identity.is_none() && !text.starts_with("NULL::") => {
            Some(format!("its default {text} is no constant and is not copied"))
        }
        _ => None,
    };
    Definition {
        identity,
        default: default.filter(|_| !row.get::<_, bool>(6)),
        left,
        types: Vec::new(),
    }
}

/// The columns of a query, from preparing it.
pub(crate) async fn fetch_query_columns(
    session: &Session,
    link: &Link,
    query: &str,
    doing: &str,
) -> Result<Vec<Column>> {
    let text = format!("SELECT * FROM (\n{}\n) AS q", trim_query(query));
    session.enter(link, Scope::Data).await?;
    let statement = session
        .client()
        .prepare(&text)
        .await
        .map_err(|e| session.classify(doing, &e))?;
    session.enter(link, Scope::Catalog).await?;
    let shapes: Vec<(String, u32, i32)> = statement
        .columns()
        .iter()
        .map(|c| (c.name().to_owned(), c.type_().oid(), c.type_modifier()))
        .collect();
    let types = Types::fetch(session, shapes.iter().map(|s| s.1)).await?;
    let (oids, typmods): (Vec<u32>, Vec<i32>) = shapes.iter().map(|s| (s.1, s.2)).unzip();
    let mut made_of = types.fetch_own(session, &oids, doing).await?;
    let names = session
        .query(
            "SELECT pg_catalog.format_type(o, m) FROM unnest($1::oid[], $2::int4[]) WITH ORDINALITY AS x(o, m, n) ORDER BY n",
            &[(&oids, Type::OID_ARRAY), (&typmods, Type::INT4_ARRAY)],
            doing,
        )
        .await?;
    Ok(shapes
        .into_iter()
        .zip(names)
        .enumerate()
        .map(|(at, ((name, oid, typmod), native))| Column {
            name,
            native: native.get(0),
            kind: types.kind(oid, typmod),
            not_null: false,
            never_null: false,
            identity: String::new(),
            generated: false,
            has_default: false,
            comment: None,
            collation: None,
            deterministic: false,
            bytewise: false,
            plain: !types.is_domain(oid),
            dimensions: 0,
            definition: Definition {
                types: made_of.remove(&at).unwrap_or_default(),
                ..Definition::default()
            },
        })
        .collect())
}

/// A query without what would end it early.
pub(crate) fn trim_query(query: &str) -> &str {
    query.trim().trim_end_matches(';').trim_end()
}

/// The Arrow field of a column, with its native definition.
pub(crate) fn field_of(column: &Column) -> Field {
    let mut field = column
        .kind
        .mark(Field::new(&column.name, column.kind.arrow(), !column.never_null));
    field = annotation::annotate(field, annotation::SYSTEM, SYSTEM);
    field = annotation::annotate(field, annotation::NATIVE, column.native.clone());
    if let Some(collation) = &column.collation {
        field = annotation::annotate(field, annotation::COLLATION, collation.clone());
    }
    if column.deterministic && column.kind == Kind::Text {
        let equality = if column.bytewise { "ordered" } else { "bytewise" };
        field = annotation::annotate(field, crate::predicates::EQUALITY, equality);
    }
    field = column.definition.mark(field);
    if let Some(comment) = &column.comment {
        field = annotation::annotate(field, annotation::COMMENT, comment.clone());
    }
    field
}

/// The Arrow schema of columns. Errors: `E0406` when two have one name, `E0409` when there are none.
pub(crate) fn schema_of(columns: &[Column], what: &str) -> Result<SchemaRef> {
    if columns.is_empty() {
        return Err(Error::new(Code::E0409, format!("{what} has no columns"))
            .with_hint("read something with at least one column"));
    }
    for (i, column) in columns.iter().enumerate() {
        if columns[..i].iter().any(|other| other.name == column.name) {
            return Err(
                Error::new(Code::E0406, format!("{what} has two columns `{}`", column.name))
                    .with_hint("give one of them another name in the query, with `as`"),
            );
        }
    }
    Ok(Arc::new(Schema::new(
        columns.iter().map(field_of).collect::<Vec<_>>(),
    )))
}

/// A described relation.
pub(crate) fn table_schema(relation: &Relation, identity: String) -> Result<TableSchema> {
    let schema = schema_of(&relation.columns, &format!("table `{}`", relation.table.label()))?;
    let mut table = TableSchema::of(schema, identity);
    table.primary_key.clone_from(&relation.primary_key);
    table.unique = relation
        .unique
        .iter()
        .filter(|u| **u != relation.primary_key)
        .cloned()
        .collect();
    table.rows = relation.rows;
    table.bytes = relation.bytes;
    table
        .notes
        .extend(relation.notes.iter().map(|note| (*note).to_owned()));
    let through_text: Vec<&str> = relation
        .columns
        .iter()
        .filter(|c| matches!(c.kind, Kind::Other | Kind::TimeTz(_) | Kind::Inet))
        .map(|c| c.name.as_str())
        .collect();
    if !through_text.is_empty() {
        table.notes.push(format!(
            "read as text, exactly as PostgreSQL prints it: {}",
            through_text.join(", ")
        ));
    }
    if relation.columns.iter().any(|c| c.kind == Kind::Money) {
        table.notes.push(
            "money is read as decimal(19,2); what it is worth depends on the server's lc_monetary".into(),
        );
    }
    Ok(table)
}

/// A permission error that names the object.
pub(crate) fn denied(role: Role, kind: &str, name: &str) -> Error {
    Error::new(
        role.code(Code::E0203, Code::E0303),
        format!("{kind} `{name}` may not be used by this user"),
    )
    .with_hint(format!(
        "GRANT USAGE ON SCHEMA {} to the user",
        crate::names::quote(name)
    ))
}

/// The error for a relation that is not there, with the nearest name.
pub(crate) async fn not_found(session: &Session, table: &TableName) -> Error {
    let names = session
        .query(
            "SELECT n.nspname::text, c.relname::text FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.relkind IN ('r','p','v','m','f') AND n.nspname NOT IN ('pg_catalog', 'information_schema') \
             AND n.nspname NOT LIKE 'pg\\_toast%' AND NOT c.relispartition ORDER BY 1, 2 LIMIT 2000",
            &[],
            "list tables",
        )
        .await
        .unwrap_or_default();
    let labels: Vec<String> = names
        .iter()
        .map(|row| TableName::new(row.get::<_, String>(0), row.get::<_, String>(1)).label())
        .collect();
    Error::new(
        session.role().code(Code::E0204, Code::E0304),
        format!("table `{}` does not exist", table.label()),
    )
    .with_hint(did_you_mean(&table.label(), labels.iter().map(String::as_str)))
}

/// `postgresql:{system}/{database}`: the same for every URL of one database.
pub(crate) async fn domain(session: &Session, link: &Link) -> Result<String> {
    let doing = "ask the server who it is";
    let database = session
        .query_one(
            "SELECT oid::text FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()",
            &[],
            doing,
        )
        .await?
        .get::<_, String>(0);
    let system = session
        .query(
            "SELECT system_identifier::text FROM pg_catalog.pg_control_system()",
            &[],
            doing,
        )
        .await;
    let system = match system {
        Ok(rows) => rows.first().map(|row| row.get::<_, String>(0)),
        Err(error) if error.code() == link.role().code(Code::E0203, Code::E0303) => None,
        Err(error) => return Err(error),
    };
    let system = system.unwrap_or_else(|| {
        link.settings
            .place
            .rsplit_once('/')
            .map_or(link.settings.place.clone(), |p| p.0.to_owned())
    });
    Ok(format!("postgresql:{system}/{database}"))
}
