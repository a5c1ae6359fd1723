//! Findings that are excused, each with its reason, in `xtask/tidy-exceptions.txt`.
//!
//! A rule without a way out is switched off at the first hard case; a way out without a lid becomes the rule. So
//! the list has exactly `LENGTH` lines: an entry that excuses nothing must go, and the number goes down with it.
//! Clippy's exceptions do not belong here: they stand in the code, as `#[expect(…, reason = "…")]`.

use super::Finding;
use super::tree::Tree;
use crate::failure::{Explain, Failure, Result};

const FILE: &str = "xtask/tidy-exceptions.txt";
/// How many entries the file has. This number may only go down.
const LENGTH: usize = 0;

#[derive(Debug)]
struct Exception {
    line: usize,
    rule: String,
    path: String,
}

#[derive(Debug)]
pub(super) struct Exceptions(Vec<Exception>);

impl Exceptions {
    pub(super) fn read(tree: &Tree) -> Result<Self> {
        Self::parse(tree.text(FILE).unwrap_or_default(), LENGTH)
    }

    /// Lines are `<rule> <path> # <reason>`; empty lines and lines that begin with `#` are comments.
    fn parse(text: &str, length: usize) -> Result<Self> {
        let mut entries = Vec::new();
        for (number, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let line_of = || format!("{FILE}:{}: not `<rule> <path> # <reason>`", number + 1);
            let (entry, reason) = line.split_once('#').explain(line_of)?;
            let words: Vec<&str> = entry.split_whitespace().collect();
            let ([rule, path], false) = (words.as_slice(), reason.trim().is_empty()) else {
                return Err(Failure::new(line_of()));
            };
            entries.push(Exception {
                line: number + 1,
                rule: (*rule).to_owned(),
                path: (*path).to_owned(),
            });
        }
        if entries.len() == length {
            return Ok(Self(entries));
        }
        Err(Failure::new(format!(
            "{FILE} has {} entries and xtask/src/tidy/exceptions.rs says {length}: the list may only shrink, and \
             the number with it",
            entries.len()
        )))
    }

    /// Takes out what is excused; an entry that excuses nothing becomes a finding itself.
    pub(super) fn apply(&self, findings: Vec<Finding>) -> Vec<Finding> {
        let excuses =
            |entry: &Exception, finding: &Finding| entry.rule == finding.rule && entry.path == finding.path;
        let stale: Vec<Finding> = self
            .0
            .iter()
            .filter(|entry| !findings.iter().any(|finding| excuses(entry, finding)))
            .map(|entry| {
                let words = format!("{} {} is in order now: remove the line", entry.rule, entry.path);
                Finding::line("exception", FILE, entry.line, words)
            })
            .collect();
        let mut left: Vec<Finding> = findings
            .into_iter()
            .filter(|finding| !self.0.iter().any(|entry| excuses(entry, finding)))
            .collect();
        left.extend(stale);
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exception_excuses_its_rule_and_file_only() {
        let list = Exceptions::parse("# why\nsleep a.rs # measures time\n", 1).unwrap();
        let findings = vec![
            Finding::line("sleep", "a.rs", 3, ""),
            Finding::file("header", "a.rs", ""),
            Finding::file("sleep", "b.rs", ""),
        ];
        let left = list.apply(findings);
        assert_eq!(left.len(), 2);
        assert!(
            left.iter()
                .all(|finding| finding.rule == "header" || finding.path == "b.rs")
        );
    }

    #[test]
    fn a_stale_exception_is_found() {
        let left = Exceptions::parse("sleep a.rs # measures time\n", 1)
            .unwrap()
            .apply(Vec::new());
        assert_eq!((left[0].rule, left[0].line), ("exception", 1));
    }

    #[test]
    fn the_list_cannot_grow_unseen_and_needs_reasons() {
        assert!(
            Exceptions::parse("sleep a.rs # why\n", 0)
                .unwrap_err()
                .to_string()
                .contains("only shrink")
        );
        assert!(Exceptions::parse("sleep a.rs\n", 1).is_err());
        assert!(Exceptions::parse("sleep a.rs # \n", 1).is_err());
    }
}
