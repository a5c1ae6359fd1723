//! The metadata keys under which a column's native definition travels with its Arrow field.
//!
//! A copy between two systems of one family recreates the exact definition from these; everybody else ignores
//! them. `plan` re-attaches them by lineage and drops them on any expression that is not the column itself.

use std::collections::HashMap;

use arrow::datatypes::Field;

/// The system family the native type belongs to, such as `postgresql`.
pub const SYSTEM: &str = "synqx.system";
/// The full native type, such as `numeric(12,2)` or `character varying(40)`.
pub const NATIVE: &str = "synqx.native";
/// The column's collation.
pub const COLLATION: &str = "synqx.collation";
/// The column's comment.
pub const COMMENT: &str = "synqx.comment";
/// What the source's catalog says of the column beyond its type, in the words of its connector.
pub const DEFINITION: &str = "synqx.definition";
/// What the Arrow type cannot say: [`LOGICAL_NUMERIC`], …
pub const LOGICAL: &str = "synqx.logical";
/// Text that holds an exact decimal number of any size.
pub const LOGICAL_NUMERIC: &str = "numeric";
/// The key of Arrow's canonical extension types.
pub const EXTENSION: &str = "ARROW:extension:name";
/// Arrow's canonical JSON extension (text).
pub const EXTENSION_JSON: &str = "arrow.json";
/// Arrow's canonical UUID extension (16 bytes).
pub const EXTENSION_UUID: &str = "arrow.uuid";

/// Every key this module owns; what a derived expression must lose.
pub const ALL: [&str; 7] = [SYSTEM, NATIVE, COLLATION, COMMENT, DEFINITION, LOGICAL, EXTENSION];

/// Adds one annotation to a field.
pub fn annotate(field: Field, key: &str, value: impl Into<String>) -> Field {
    let mut metadata = field.metadata().clone();
    metadata.insert(key.to_owned(), value.into());
    field.with_metadata(metadata)
}

/// The native type of a field, if it comes from this system.
pub fn native<'a>(field: &'a Field, system: &str) -> Option<&'a str> {
    let metadata: &HashMap<String, String> = field.metadata();
    (metadata.get(SYSTEM).map(String::as_str) == Some(system))
        .then(|| metadata.get(NATIVE).map(String::as_str))
        .flatten()
}

/// Whether a field is JSON text.
pub fn is_json(field: &Field) -> bool {
    field.metadata().get(EXTENSION).map(String::as_str) == Some(EXTENSION_JSON)
}

/// Whether a field is a UUID.
pub fn is_uuid(field: &Field) -> bool {
    field.metadata().get(EXTENSION).map(String::as_str) == Some(EXTENSION_UUID)
}

/// Whether a text field holds exact decimal numbers of any size.
pub fn is_numeric_text(field: &Field) -> bool {
    field.metadata().get(LOGICAL).map(String::as_str) == Some(LOGICAL_NUMERIC)
}
