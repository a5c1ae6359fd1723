//! Text files are clean: no trailing blanks, no tabs, no path of somebody's machine.
//!
//! Blanks at the end of a line make noise in every later change, and a path of one machine breaks on all others.
//! Data is left alone: what lies under `input/`, `expected/`, `fixtures/` or `cases/` is written as it must be.

use super::Finding;
use super::tree::Tree;

const KINDS: [&str; 13] = [
    "rs", "toml", "md", "yaml", "yml", "json", "sql", "sh", "txt", "js", "ts", "css", "html",
];
const DATA_FOLDERS: [&str; 4] = ["input", "expected", "fixtures", "cases"];
/// Assembled, so that this file does not find itself.
const MACHINE_PATHS: [&str; 3] = [
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
];

/// No blanks at the end of a line, no tabs, a newline at the end of the file.
pub(super) fn whitespace(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.texts().filter(|(path, _)| is_prose_or_code(path)) {
        for (number, line) in text.split('\n').enumerate() {
            if line.ends_with([' ', '\t', '\r']) {
                findings.push(Finding::line(
                    "whitespace",
                    path,
                    number + 1,
                    "blanks at the end of the line",
                ));
            } else if line.contains('\t') {
                findings.push(Finding::line(
                    "whitespace",
                    path,
                    number + 1,
                    "a tab: indent with spaces",
                ));
            }
        }
        if !text.is_empty() && !text.ends_with('\n') {
            findings.push(Finding::file(
                "whitespace",
                path,
                "no newline at the end of the file",
            ));
        }
    }
    findings
}

/// No absolute path of a machine, in any text file.
pub(super) fn machine_paths(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.texts() {
        for (number, line) in text.lines().enumerate() {
            findings.extend(
                MACHINE_PATHS
                    .iter()
                    .find(|needle| begins_a_path(line, needle))
                    .map(|needle| {
                        Finding::line(
                            "machine-path",
                            path,
                            number + 1,
                            format!("`{needle}…` exists on one machine only"),
                        )
                    }),
            );
        }
    }
    findings
}

/// True when the needle is the beginning of a path, and not the middle of a longer one or of an address.
fn begins_a_path(line: &str, needle: &str) -> bool {
    line.match_indices(needle).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '}' | '~' | '*'))
    })
}

fn is_prose_or_code(path: &str) -> bool {
    let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
    let data = folders.split('/').any(|folder| DATA_FOLDERS.contains(&folder));
    let kind = name.rsplit_once('.').map(|(_, kind)| kind);
    !data && kind.is_none_or(|kind| KINDS.contains(&kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_tabs_and_a_missing_newline_are_found() {
        let tree = Tree::of(&[
            ("a.rs", "a \n\tb\nc\n"),
            (".ci/run", "a\r\n"),
            ("b.md", "a"),
            ("examples/x/expected/a.txt", "a \t"),
            ("a.csv", "a\t"),
            ("good.md", "a\n"),
        ]);
        let found: Vec<(String, usize)> = whitespace(&tree)
            .into_iter()
            .map(|finding| (finding.path, finding.line))
            .collect();
        let expected = [(".ci/run", 1), ("a.rs", 1), ("a.rs", 2), ("b.md", 0)];
        assert_eq!(found, expected.map(|(path, line)| (path.to_owned(), line)));
    }

    #[test]
    fn a_path_of_one_machine_is_found() {
        let [work, root, home] = MACHINE_PATHS;
        let text = format!("cd {work}main\n\"{root}x\"\nhttps://a.b{work}x target{work} fine\n{home}me\n");
        let found: Vec<usize> = machine_paths(&Tree::of(&[("a.csv", &text)]))
            .into_iter()
            .map(|finding| finding.line)
            .collect();
        assert_eq!(found, [1, 2, 4]);
    }
}
