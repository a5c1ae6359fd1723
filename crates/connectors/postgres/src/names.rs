//! Names: how a document writes a table, how SQL quotes it, and what SynqX calls its own tables.
//!
//! A document's parts are taken verbatim, case included; a part may be double-quoted. Everything that reaches SQL
//! is quoted here and nowhere else. Staging names carry the stream's hash, the run and a nonce, so that a zombie
//! never shares a table with its successor.

use synqx_model::{Code, Error, Result, RunId, StreamKey};

/// The longest identifier, bytes (`NAMEDATALEN - 1`).
pub(crate) const IDENTIFIER_BYTES: usize = 63;

/// The table that holds fences and positions, in the schema of each target.
pub(crate) const RECORD_TABLE: &str = "_synqx_commit";

/// A table's schema and name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct TableName {
    pub(crate) schema: String,
    pub(crate) name: String,
}

impl TableName {
    pub(crate) fn new(schema: impl Into<String>, name: impl Into<String>) -> Self {
        TableName {
            schema: schema.into(),
            name: name.into(),
        }
    }

    /// Reads `table`, `schema.table`, `"odd.name"."t""x"`. Errors: `E0116`.
    pub(crate) fn parse(text: &str, default_schema: &str) -> Result<Self> {
        let mut parts = split(text)?;
        let (Some(name), schema) = (parts.pop(), parts.pop()) else {
            return Err(bad(text, "it is empty"));
        };
        if !parts.is_empty() {
            return Err(bad(text, "it has more than a schema and a name"));
        }
        let table = TableName {
            schema: schema.unwrap_or_else(|| default_schema.to_owned()),
            name,
        };
        check_identifier(&table.schema, "schema")?;
        check_identifier(&table.name, "table")?;
        Ok(table)
    }

    /// Quoted for SQL.
    pub(crate) fn sql(&self) -> String {
        format!("{}.{}", quote(&self.schema), quote(&self.name))
    }

    /// As a document writes it: quoted only where it must be.
    pub(crate) fn label(&self) -> String {
        format!("{}.{}", part_label(&self.schema), part_label(&self.name))
    }

    /// Another table of the same schema.
    pub(crate) fn sibling(&self, name: impl Into<String>) -> Self {
        TableName {
            schema: self.schema.clone(),
            name: name.into(),
        }
    }
}

fn part_label(part: &str) -> String {
    if part.is_empty() || part.contains(['.', '"']) {
        quote(part)
    } else {
        part.to_owned()
    }
}

fn bad(text: &str, why: &str) -> Error {
    Error::new(
        Code::E0116,
        format!("cannot read `{text}` as the name of a table: {why}"),
    )
    .with_hint(
        "write table, schema.table, or double-quote a part that contains a dot: \"my.schema\".\"my.table\"",
    )
}

fn split(text: &str) -> Result<Vec<String>> {
    let mut parts = Vec::new();
    let mut chars = text.chars().peekable();
    loop {
        let mut part = String::new();
        if chars.peek() == Some(&'"') {
            chars.next();
            loop {
                match chars.next() {
                    Some('"') if chars.peek() == Some(&'"') => {
                        chars.next();
                        part.push('"');
                    }
                    Some('"') => break,
                    Some(c) => part.push(c),
                    None => return Err(bad(text, "a quote is not closed")),
                }
            }
        } else {
            while let Some(c) = chars.next_if(|c| *c != '.') {
                part.push(c);
            }
        }
        if part.is_empty() {
            return Err(bad(text, "a part is empty"));
        }
        parts.push(part);
        match chars.next() {
            None => return Ok(parts),
            Some('.') => {}
            Some(_) => return Err(bad(text, "something follows a closing quote")),
        }
    }
}

/// Refuses what PostgreSQL would cut or cannot hold. Errors: `E0116`.
pub(crate) fn check_identifier(name: &str, kind: &str) -> Result<()> {
    let problem = if name.is_empty() {
        "is empty".to_owned()
    } else if name.contains('\0') {
        "contains the NUL character".to_owned()
    } else if name.len() > IDENTIFIER_BYTES {
        format!("has {} bytes; PostgreSQL holds {IDENTIFIER_BYTES}", name.len())
    } else {
        return Ok(());
    };
    let shown: String = name.chars().filter(|c| *c != '\0').take(80).collect();
    Err(
        Error::new(Code::E0116, format!("the {kind} name `{shown}` {problem}"))
            .with_hint("rename it in the pipeline, for a column with a `rename` step"),
    )
}

/// An identifier, quoted.
pub(crate) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Identifiers, quoted, separated by commas.
pub(crate) fn quote_all<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(quote).collect::<Vec<_>>().join(", ")
}

/// A text constant. The `E` form keeps backslashes literal whatever `standard_conforming_strings` says.
pub(crate) fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') {
        format!("E'{}'", quoted.replace('\\', "\\\\"))
    } else {
        format!("'{quoted}'")
    }
}

/// What all staging tables of a stream begin with.
pub(crate) fn staging_prefix(stream: &StreamKey) -> String {
    format!("_synqx_{:016x}_", fnv(&stream.to_string()))
}

/// The staging table of one attempt.
pub(crate) fn staging_name(stream: &StreamKey, run: &RunId) -> String {
    format!(
        "{}{}_{}",
        staging_prefix(stream),
        run.short(),
        RunId::fresh().short()
    )
}

/// Two numbers for an advisory lock on a text.
pub(crate) fn advisory(text: &str) -> i64 {
    fnv(text) as i64
}

/// A name with a suffix that still fits: what is cut is replaced by a hash.
pub(crate) fn suffixed(name: &str, suffix: &str) -> String {
    let whole = format!("{name}{suffix}");
    if whole.len() <= IDENTIFIER_BYTES {
        return whole;
    }
    let mark = format!("_{:08x}", fnv(name) as u32);
    let mut end = IDENTIFIER_BYTES - suffix.len() - mark.len();
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{mark}{suffix}", &name[..end])
}

/// FNV-1a, 64 bits: names tables, protects nothing.
pub(crate) fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<(String, String)> {
        TableName::parse(text, "public").ok().map(|t| (t.schema, t.name))
    }

    #[test]
    fn reads_names_verbatim_and_writes_what_it_reads() {
        for (text, schema, name) in [
            ("flights", "public", "flights"),
            ("Mart.Flights", "Mart", "Flights"),
            ("\"we\"\"ird.🚀\"", "public", "we\"ird.🚀"),
            ("\"a.b\".\"c\"", "a.b", "c"),
            ("my schema.select", "my schema", "select"),
        ] {
            let pair = (schema.to_owned(), name.to_owned());
            assert_eq!(parse(text), Some(pair.clone()), "{text}");
            assert_eq!(parse(&TableName::new(schema, name).label()), Some(pair));
        }
        for wrong in ["", ".", "a.", "a.b.c", "\"a", "\"a\"b", &"x".repeat(64)] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn quotes_everything() {
        assert_eq!(
            TableName::new("s", "a\"; drop table x; --").sql(),
            "\"s\".\"a\"\"; drop table x; --\""
        );
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("a\\'"), "E'a\\\\'''");
    }

    #[test]
    fn own_names_fit_and_differ() {
        let stream = StreamKey {
            pipeline: "p".into(),
            node: "n".into(),
            asset: "a".into(),
        };
        let run = RunId::fresh();
        let name = staging_name(&stream, &run);
        assert!(name.len() <= IDENTIFIER_BYTES && name.starts_with(&staging_prefix(&stream)));
        assert_ne!(name, staging_name(&stream, &run));
        let long = suffixed(&"é".repeat(31), "__previous");
        assert!(long.len() <= IDENTIFIER_BYTES && long.ends_with("__previous"));
    }
}
