//! Error codes and their pages: every code has a page in `docs/errors`, and every page a code.
//!
//! `synqx explain E0204` prints the page, so a code without one leaves a user alone, and a page without a code
//! is a promise nobody keeps. The codes are read as text from the table in the model, whose rows begin with
//! them. What a page says is not judged here.

use std::collections::BTreeSet;

use super::Finding;
use super::tree::Tree;

const TABLE: &str = "crates/model/src/code.rs";
const PAGES: &str = "docs/errors/";

/// Codes and pages match one to one.
pub(super) fn pages(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut codes = BTreeSet::new();
    for (number, line) in tree.text(TABLE).unwrap_or_default().lines().enumerate() {
        let Some(code) = row(line) else { continue };
        codes.insert(code);
        let page = format!("{PAGES}{code}.md");
        if !tree.holds(&page) {
            findings.push(Finding::line(
                "error-code",
                TABLE,
                number + 1,
                format!("{code} has no page {page}"),
            ));
        }
    }
    for (path, _) in tree.texts() {
        let name = path.strip_prefix(PAGES).and_then(|name| name.strip_suffix(".md"));
        if let Some(name) = name.filter(|name| is_code(name) && !codes.contains(name)) {
            findings.push(Finding::file(
                "error-code",
                path,
                format!("{name} is not in {TABLE}"),
            ));
        }
    }
    findings
}

/// The code of a row `E0101 "title",` of the table; match arms and comments are no rows.
fn row(line: &str) -> Option<&str> {
    let (code, title) = line.trim_start().split_once(' ')?;
    (is_code(code) && title.starts_with('"')).then_some(code)
}

fn is_code(word: &str) -> bool {
    let digits = word.strip_prefix('E').unwrap_or_default();
    digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: &str =
        "codes! {\n    E0101 \"a\",\n    E0102 \"b\",\n    // E0109 \"c\"\n}\n    E0103 | E0104 => 2,\n";

    #[test]
    fn a_page_without_a_code_is_found() {
        let pages_of = [
            "docs/errors/E0101.md",
            "docs/errors/E0102.md",
            "docs/errors/E0105.md",
        ];
        let mut files = vec![(TABLE, ROWS), ("docs/errors/README.md", "")];
        files.extend(pages_of.map(|path| (path, "")));
        let findings = pages(&Tree::of(&files));
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].message, "E0105 is not in crates/model/src/code.rs");
    }

    #[test]
    fn a_code_without_a_page_is_found() {
        let findings = pages(&Tree::of(&[(TABLE, ROWS), ("docs/errors/E0101.md", "")]));
        assert_eq!(findings.len(), 1);
        assert_eq!(
            (findings[0].line, findings[0].message.as_str()),
            (3, "E0102 has no page docs/errors/E0102.md")
        );
    }
}
