//! Proves that a run moved what it should: row counts, and hashes that do not depend on the order of rows.
//!
//! A table is compared inside PostgreSQL by the sum of the hashes of its rows' text. A Parquet file is read by
//! DuckDB, which hashes the same text that PostgreSQL writes for the truth, so no tool judges its own work. Truths are
//! computed once per bench. A sum of 64-bit hashes is no proof against an adversary, only against mistakes.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Command;

use super::lane::{Check, Content};
use super::place::Place;
use super::tool;
use crate::failure::{Explain, Failure, Result};
use crate::{process, services};

/// Rows and the sum of their hashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Digest {
    pub(super) rows: u64,
    hash: String,
}

impl Digest {
    /// Two words: the rows and the sum.
    fn parse(text: &str) -> Result<Self> {
        let mut words = text.split_whitespace();
        let rows = words.next().and_then(|word| word.parse().ok());
        let hash = words.next();
        let (rows, hash) = rows.zip(hash).explain(|| format!("no digest: {text}"))?;
        Ok(Self {
            rows,
            hash: hash.to_owned(),
        })
    }
}

/// Digests of what must arrive, by how they were asked for.
#[derive(Debug, Default)]
pub(super) struct Truths(HashMap<String, Digest>);

/// What a check found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Right(Digest),
    /// In words, without a value of a row.
    Wrong(String),
    /// The lane leaves no rows.
    Unchecked,
}

impl Truths {
    pub(super) fn judge(&mut self, place: &Place, check: Check) -> Result<Verdict> {
        let (wanted, found) = match check {
            Check::Exit => return Ok(Verdict::Unchecked),
            Check::Table(content) => {
                let key = format!("table {} {}", content.wanted, content.columns);
                let wanted = self.wanted(key, || table(place, content.wanted, content.columns))?;
                (wanted, table(place, content.found, content.columns))
            }
            Check::Parquet(content) => {
                let key = format!("text {} {}", content.wanted, content.columns);
                let wanted = self.wanted(key, || text(place, content))?;
                (wanted, parquet(place, content))
            }
        };
        if wanted.rows == 0 {
            return Err(Failure::new(
                "the truth of this lane has no rows: nothing would be proved",
            ));
        }
        Ok(match found {
            Err(failure) => {
                eprintln!("{failure}");
                Verdict::Wrong("the destination cannot be read".to_owned())
            }
            Ok(found) if found == wanted => Verdict::Right(found),
            Ok(found) if found.rows != wanted.rows => {
                Verdict::Wrong(format!("{} rows instead of {}", found.rows, wanted.rows))
            }
            Ok(found) => Verdict::Wrong(format!("{} rows of other content", found.rows)),
        })
    }

    fn wanted(&mut self, key: String, ask: impl FnOnce() -> Result<Digest>) -> Result<Digest> {
        if let Some(known) = self.0.get(&key) {
            return Ok(known.clone());
        }
        let digest = ask()?;
        self.0.insert(key, digest.clone());
        Ok(digest)
    }
}

fn table(place: &Place, from: &str, columns: &str) -> Result<Digest> {
    let query = format!(
        "select count(*) || ' ' || coalesce(sum(hashtextextended(row({columns})::text, 0)), 0) from {from}"
    );
    Digest::parse(&place.ask(&query)?)
}

fn judge_script(place: &Place) -> Result<(PathBuf, PathBuf)> {
    let python = tool::ARROW.ensure(place)?.join("bin/python");
    Ok((python, place.root.join("benches/peers/content.py")))
}

/// The truth as PostgreSQL writes it, hashed by DuckDB.
fn text(place: &Place, content: &Content) -> Result<Digest> {
    let (python, script) = judge_script(place)?;
    let query = format!(
        "copy (select concat_ws('|', {}) from {}) to stdout (format csv, force_quote *)",
        content.columns, content.wanted
    );
    let mut command = process::shell("\"$1\" -X -q -d \"$2\" -c \"$3\" | \"$4\" \"$5\" lines", &[]);
    command
        .arg(services::psql(&place.url)?.get_program())
        .args([&place.url, &query])
        .args([&python, &script]);
    Digest::parse(&process::capture(&mut command)?)
}

fn parquet(place: &Place, content: &Content) -> Result<Digest> {
    let (python, script) = judge_script(place)?;
    let file = place.out().join(content.found);
    let answer = process::capture(
        Command::new(python)
            .arg(script)
            .arg("parquet")
            .arg(file)
            .arg(content.columns),
    )?;
    Digest::parse(&answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_rows_and_a_hash_or_nothing() {
        let digest = Digest::parse("12 -99\n").unwrap();
        assert_eq!((digest.rows, digest.hash.as_str()), (12, "-99"));
        assert_ne!(digest, Digest::parse("12 -98").unwrap());
        assert!(Digest::parse("12").is_err());
        assert!(Digest::parse("many 1").is_err());
    }

    /// On the real server: order does not matter, values, NULLs and doubled rows do.
    #[test]
    fn a_lost_doubled_or_changed_row_is_wrong() {
        let root = crate::workspace::root().unwrap();
        let mut place = Place::new(&root, "0.001").unwrap();
        place.url = place.admin.clone();
        let digest = |rows: &str| table(&place, &format!("(values {rows}) t (a, b)"), "a, b").unwrap();
        let truth = digest("(1, 'x'), (2, null)");
        assert_eq!(truth, digest("(2, null), (1, 'x')"));
        for wrong in [
            "(1, 'x')",
            "(1, 'x'), (1, 'x')",
            "(1, 'x'), (2, '')",
            "(1, 'x'), (3, null)",
            "(1, 'x'), (2, null), (2, null)",
        ] {
            assert_ne!(truth, digest(wrong), "{wrong}");
        }
    }
}
