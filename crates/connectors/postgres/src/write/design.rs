//! Designs a table that does not exist yet: its columns as PostgreSQL will define them, and what follows the rows.
//!
//! The design is tried out in a transaction that is rolled back, so that types, collations and their columns are the
//! server's own words. A column that comes from PostgreSQL gets its exact type back; where that is a type of the user
//! which is not here, it is made, or the column is refused by name. Columns of existing tables are matched in `plan`.

use arrow::datatypes::Field;
use synqx_model::spec::WriteMode;
use synqx_model::{Code, Error, Result};
use synqx_sdk::{Target, annotation, type_names};
use tokio_postgres::types::Type;

use crate::catalog::{self, Column};
use crate::client::Session;
use crate::definition::{Definition, Identity};
use crate::mapping::{SYSTEM, native_for};
use crate::names::{TableName, literal, quote};

/// A table to be made.
#[derive(Debug, Default)]
pub(crate) struct Design {
    /// Its columns, as the server sees them.
    pub(crate) layout: Vec<Column>,
    /// Types to be made first.
    pub(crate) types: Vec<String>,
    /// Name and definition of each column.
    pub(crate) definitions: Vec<String>,
    pub(crate) comments: Vec<(String, String)>,
    pub(crate) primary_key: Vec<String>,
    pub(crate) unique: Vec<Vec<String>>,
    /// Columns the server numbers from now on.
    pub(crate) numbered: Vec<(String, Identity)>,
}

/// Designs the table of a target. Errors: `E0304`, `E0407`, all columns at once.
pub(crate) async fn design(
    session: &Session,
    table: &TableName,
    target: &Target,
    notes: &mut Vec<String>,
) -> Result<Design> {
    let exists = session
        .query(
            "SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = $1",
            &[(&table.schema, Type::TEXT)],
            "look up a schema",
        )
        .await?;
    if exists.is_empty() {
        return Err(Error::new(
            Code::E0304,
            format!("the schema `{}` does not exist", table.schema),
        )
        .with_hint(format!("CREATE SCHEMA {}", quote(&table.schema))));
    }
    let doing = "try out the columns of a new table";
    session.run("BEGIN", doing).await?;
    let designed = tried_out(session, target, notes).await;
    session.run("ROLLBACK", doing).await?;
    let mut design = designed?;
    let system = |name: &String| {
        let field = target.schema.field_with_name(name);
        field.is_ok_and(|field| annotation::native(field, SYSTEM).is_some())
    };
    design.primary_key = match target.mode {
        WriteMode::Upsert | WriteMode::Mirror => target.key.clone(),
        WriteMode::Scd2 => {
            let from = std::iter::once(&target.scd2.valid_from);
            target.key.iter().chain(from).cloned().collect()
        }
        _ => target.source_key.clone(),
    };
    // The other modes keep rows that the source has no more, or several of one key.
    let whole = matches!(target.mode, WriteMode::Append | WriteMode::Replace);
    let others = target
        .source_unique
        .iter()
        .filter(|key| **key != design.primary_key);
    design.unique = others
        .filter(|key| whole && key.iter().all(system))
        .cloned()
        .collect();
    if target.mode == WriteMode::Scd2 {
        design.numbered.clear();
    }
    number_keys(&mut design, notes);
    if target.schema.fields().iter().any(|field| system(field.name())) {
        notes.push(
            "the new table gets types, collations, NOT NULL, keys, identities, constant defaults and comments of columns; \
             checks, foreign keys, other indexes, triggers, policies, partitions and grants are not copied"
                .into(),
        );
    }
    Ok(design)
}

/// Keeps the numbering of columns of a key. Elsewhere rows may have been joined or gathered from several tables, and
/// the server would number what is no longer a number of rows.
fn number_keys(design: &mut Design, notes: &mut Vec<String>) {
    let keys = design.unique.iter().chain([&design.primary_key]);
    let keyed: Vec<String> = keys.flatten().cloned().collect();
    design.numbered.retain(|(name, _)| {
        let kept = keyed.contains(name);
        if !kept {
            notes.push(format!(
                "column `{name}`: numbered in its source and not in the new table, which has no key with it"
            ));
        }
        kept
    });
}

/// Works in a transaction that is rolled back.
async fn tried_out(session: &Session, target: &Target, notes: &mut Vec<String>) -> Result<Design> {
    let mut design = Design::default();
    let mut errors = Vec::new();
    for field in target.schema.fields() {
        let definition = Definition::of(field);
        make_types(session, &definition, &mut design.types).await?;
        match define(session, field, notes).await {
            Ok(mut text) => {
                complete(&mut text, field, &definition, &mut design.numbered, notes);
                design.definitions.push(text);
            }
            Err(error) if error.code() == Code::E0407 => errors.push(error),
            // The transaction is over.
            Err(error) => return Err(error),
        }
        if let Some(comment) = field.metadata().get(annotation::COMMENT) {
            design.comments.push((field.name().clone(), comment.clone()));
        }
    }
    if let Some(error) = Error::all(errors) {
        return Err(error);
    }
    design.layout = layout(session, &design.definitions).await?;
    Ok(design)
}

/// Adds what a column has besides its type.
fn complete(
    text: &mut String,
    field: &Field,
    definition: &Definition,
    numbered: &mut Vec<(String, Identity)>,
    notes: &mut Vec<String>,
) {
    if !field.is_nullable() {
        text.push_str(" NOT NULL");
    }
    if let Some(default) = &definition.default {
        text.push_str(&format!(" DEFAULT {}", literal(default)));
    }
    match definition.identity {
        Some(identity) if !field.is_nullable() => numbered.push((field.name().clone(), identity)),
        Some(_) => notes.push(format!(
            "column `{}`: the new table does not number it, because it may be NULL",
            field.name()
        )),
        None => {}
    }
    if let Some(left) = &definition.left {
        notes.push(format!("column `{}`: {left}", field.name()));
    }
}

/// Makes the types of a column that are not here yet. Those that cannot be made are left to [`define`], which refuses.
async fn make_types(session: &Session, definition: &Definition, made: &mut Vec<String>) -> Result<()> {
    for user_type in &definition.types {
        if is_type(session, &user_type.sql()).await? {
            continue;
        }
        let Some(create) = user_type.create() else {
            continue;
        };
        let mut sound = true;
        for needed in user_type.needs() {
            sound &= is_type(session, needed).await?;
        }
        if sound {
            let done = session
                .run(&create, &format!("make the type {}", user_type.sql()))
                .await;
            done.map_err(|error| error.or_hint(format!("CREATE SCHEMA {}", quote(&user_type.schema))))?;
            made.push(create);
        }
    }
    Ok(())
}

/// Whether a text is the name of a type that is here. `to_regtype` runs the server's own type parser, so a text that
/// passes is a type and nothing else; what it cannot read is no type.
async fn is_type(session: &Session, native: &str) -> Result<bool> {
    let look = "SELECT pg_catalog.to_regtype($1)::text";
    let found = session
        .query(look, &[(&native, Type::TEXT)], "look up a type")
        .await?;
    Ok(found
        .first()
        .is_some_and(|row| row.get::<_, Option<String>>(0).is_some()))
}

/// The name and the type of a new column. Errors: `E0407`.
pub(crate) async fn define(session: &Session, field: &Field, notes: &mut Vec<String>) -> Result<String> {
    let own = annotation::native(field, SYSTEM);
    let native = match own {
        Some(native) if is_type(session, native).await? => native.to_owned(),
        Some(native) => return Err(absent(field, native)),
        None => native_for(field).ok_or_else(|| unsupported(field))?,
    };
    let mut definition = format!("{} {native}", quote(field.name()));
    if let Some(collation) = field
        .metadata()
        .get(annotation::COLLATION)
        .filter(|_| own.is_some())
    {
        let look = "SELECT pg_catalog.to_regcollation($1)::text";
        let found = session
            .query(look, &[(collation, Type::TEXT)], "look up a collation")
            .await?;
        if found
            .first()
            .is_some_and(|row| row.get::<_, Option<String>>(0).is_some())
        {
            definition.push_str(&format!(" COLLATE {collation}"));
        } else {
            notes.push(format!(
                "column `{}`: the collation {collation} does not exist here",
                field.name()
            ));
        }
    }
    Ok(definition)
}

/// A type of the user, or of an extension, that is not here and is not made.
fn absent(field: &Field, native: &str) -> Error {
    let name = field.name();
    Error::new(
        Code::E0407,
        format!("column `{name}` is {native} in its source, and the target's database has no such type"),
    )
    .with_detail("Enums, composite types and domains without conditions are made; types of extensions, ranges and domains with conditions are not.")
    .with_hint(format!(
        "make the type there (CREATE EXTENSION, CREATE DOMAIN, …), or turn the column into text with `cast: {{columns: {{{name}: text}}}}`"
    ))
}

/// A type that PostgreSQL has nothing for.
pub(crate) fn unsupported(field: &Field) -> Error {
    Error::new(
        Code::E0407,
        format!(
            "column `{}` of type {} has no type in PostgreSQL",
            field.name(),
            type_names::render_type(field.data_type())
        ),
    )
    .with_hint("flatten it, or turn it into JSON text, in the pipeline")
}

/// Columns that do not exist yet, seen through a temporary table that is rolled back.
pub(crate) async fn probe(session: &Session, definitions: &[String]) -> Result<Vec<Column>> {
    if definitions.is_empty() {
        return Ok(Vec::new());
    }
    let doing = "try out the columns of a new table";
    session.run("BEGIN", doing).await?;
    let columns = layout(session, definitions).await;
    session.run("ROLLBACK", doing).await?;
    columns
}

/// What the server makes of definitions, inside a transaction.
async fn layout(session: &Session, definitions: &[String]) -> Result<Vec<Column>> {
    let doing = "try out the columns of a new table";
    let create = format!(
        "CREATE TEMPORARY TABLE \"_synqx_probe\" ({}) ON COMMIT DROP",
        definitions.join(", ")
    );
    session.run(&create, doing).await?;
    let look = "SELECT 'pg_temp._synqx_probe'::pg_catalog.regclass::oid";
    let row = session.query_one(look, &[], doing).await?;
    catalog::fetch_columns(session, row.get(0), doing).await
}
