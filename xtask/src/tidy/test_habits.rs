//! Habits that make tests lie: switching them off, and sleeping until something has probably happened.
//!
//! A skipped test proves nothing, and a sleep is a race that has not been lost yet. Both are refused in every
//! test; a test that is about the passing of time itself may be excused in the exceptions file. Code outside
//! tests may sleep: whether it should is for a reviewer.

use super::Finding;
use super::tree::{RustFile, Tree};

/// Assembled, so that this file does not find itself.
const IGNORE: &str = concat!("#[", "ignore");
const SLEEPS: [&str; 2] = [concat!("thread::", "sleep"), concat!("time::", "sleep")];

/// No test is switched off.
pub(super) fn no_ignored_tests(tree: &Tree) -> Vec<Finding> {
    find(
        tree,
        |_| 1,
        "ignored-test",
        |line| {
            line.trim_start()
                .starts_with(IGNORE)
                .then_some("a test that does not run proves nothing: repair or delete it")
        },
    )
}

/// No test waits by the clock.
pub(super) fn no_sleeps_in_tests(tree: &Tree) -> Vec<Finding> {
    find(tree, tests_begin, "sleep", |line| {
        let sleeps = SLEEPS.iter().any(|sleep| line.contains(sleep));
        sleeps.then_some("wait for the event, not for the clock")
    })
}

/// Looks at each line of code from the one that `begin` gives; 0 leaves the file out.
fn find(
    tree: &Tree,
    begin: impl Fn(&RustFile<'_>) -> usize,
    rule: &'static str,
    judge: impl Fn(&str) -> Option<&'static str>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.rust() {
        let begin = begin(&file);
        if begin == 0 {
            continue;
        }
        for (number, line) in file.code.lines().enumerate().skip(begin - 1) {
            findings.extend(judge(line).map(|words| Finding::line(rule, file.path, number + 1, words)));
        }
    }
    findings
}

/// The first line of tests in a file: 1 in a test file, the line of `#[cfg(test)]` elsewhere, 0 without tests.
/// Tests stand at the end of a file in this house, so everything after that line is one.
fn tests_begin(file: &RustFile<'_>) -> usize {
    let test_file = file
        .path
        .split('/')
        .any(|part| matches!(part, "tests" | "benches" | "tests.rs" | "conformance"));
    if test_file {
        return 1;
    }
    file.code
        .lines()
        .position(|line| line.trim_start().starts_with("#[cfg(test)]"))
        .map_or(0, |index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_switched_off_test_is_found() {
        let code = format!("#[test]\n{IGNORE} = \"slow\"]\nfn a() {{}}\n// {IGNORE}]\n");
        let findings = no_ignored_tests(&Tree::of(&[("crates/a/src/b.rs", &code)]));
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].line, 2);
    }

    #[test]
    fn a_sleep_in_a_test_is_found() {
        let code = format!(
            "fn a() {{ std::{}(d); }}\n#[cfg(test)]\nmod tests {{ tokio::{}(d) }}\n",
            SLEEPS[0], SLEEPS[1]
        );
        let paths = [
            "crates/a/src/b.rs",
            "crates/a/tests/it/c.rs",
            "crates/a/src/tests.rs",
        ];
        let tree = Tree::of(&paths.map(|path| (path, code.as_str())));
        let found: Vec<(String, usize)> = no_sleeps_in_tests(&tree)
            .into_iter()
            .map(|finding| (finding.path, finding.line))
            .collect();
        let expected = [
            (paths[0], 3),
            (paths[2], 1),
            (paths[2], 3),
            (paths[1], 1),
            (paths[1], 3),
        ];
        assert_eq!(found, expected.map(|(path, line)| (path.to_owned(), line)));
    }
}
