//! `docs/reference/batch-coverage.md`: what a batch load must get right, and the test or the sentence for each point.
//!
//! The points and their tests are listed in `batch-coverage.list` beside it; every test that is named there must
//! exist, so a renamed or removed test fails `cargo x gen --check` until somebody looks at the point again. It does
//! not run the tests.
//!
//! The list: `= heading`; `17 | point`; below it `test part-of-the-path name` and `text a sentence`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::cli_binary::Generate;
use crate::failure::{Explain, Failure, Result};
use crate::workspace;

const LIST: &str = "docs/reference/batch-coverage.list";
const PAGE: &str = "docs/reference/batch-coverage.md";
/// How many points the list must have.
const POINTS: usize = 90;

const HEAD: &str = "\
# Batch coverage

What a batch load between systems must get right, point by point, and the test that shows it. A point without a test says
why. Written by `cargo x gen` from `batch-coverage.list` beside this page; each test named here exists.
";

/// Writes the page, or checks that it is current.
pub(crate) fn generate(what: Generate) -> Result<()> {
    let root = workspace::root()?;
    let list = fs::read_to_string(root.join(LIST)).explain(|| format!("cannot read {LIST}"))?;
    let page = render(&list, &tests(&root)?)?;
    let path = root.join(PAGE);
    if what == Generate::Write {
        fs::write(&path, page).explain(|| format!("cannot write {PAGE}"))?;
        println!("wrote {PAGE}");
        return Ok(());
    }
    match fs::read_to_string(&path) {
        Ok(text) if text == page => Ok(()),
        _ => Err(Failure::new(format!("{PAGE} is not current: run `cargo x gen`"))),
    }
}

/// Name → files of the tests of that name.
fn tests(root: &Path) -> Result<BTreeMap<String, Vec<String>>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in workspace::files(root)? {
        let name = file.to_string_lossy().into_owned();
        if !name.ends_with(".rs") {
            continue;
        }
        let text = fs::read_to_string(root.join(&file)).explain(|| format!("cannot read {name}"))?;
        let mut marked = false;
        for line in text.lines().map(str::trim) {
            if line.starts_with("#[test") || line.starts_with("#[tokio::test") {
                marked = true;
            } else if marked && let Some((_, rest)) = line.split_once("fn ") {
                let test = rest.split('(').next().unwrap_or_default();
                found.entry(test.to_owned()).or_default().push(name.clone());
                marked = false;
            }
        }
    }
    Ok(found)
}

fn render(list: &str, tests: &BTreeMap<String, Vec<String>>) -> Result<String> {
    let mut page = HEAD.to_owned();
    let mut points: Vec<Point> = Vec::new();
    for line in list.lines().filter(|line| !line.trim().is_empty()) {
        let wrong = || Failure::new(format!("{LIST}: `{line}` is not understood"));
        if let Some(heading) = line.strip_prefix("= ") {
            points.iter().for_each(|point| page.push_str(&point.row()));
            points.clear();
            page.push_str(&format!(
                "\n## {heading}\n\n|  | point | tests | remarks |\n|---|---|---|---|\n"
            ));
        } else if let Some(reference) = line.trim().strip_prefix("test ") {
            let (part, name) = reference.split_once(' ').ok_or_else(wrong)?;
            let files = tests.get(name).map(Vec::as_slice).unwrap_or_default();
            let file = files.iter().find(|file| file.contains(part)).ok_or_else(|| {
                Failure::new(format!(
                    "{LIST}: there is no test `{name}` in a file like `{part}`"
                ))
            })?;
            points
                .last_mut()
                .ok_or_else(wrong)?
                .tests
                .push(format!("[{name}](/{file})"));
        } else if let Some(text) = line.trim().strip_prefix("text ") {
            points.last_mut().ok_or_else(wrong)?.remarks.push(text.to_owned());
        } else {
            let (number, what) = line.split_once(" | ").ok_or_else(wrong)?;
            points.push(Point {
                number: number.parse().map_err(|_| wrong())?,
                what: what.to_owned(),
                ..Point::default()
            });
        }
    }
    points.iter().for_each(|point| page.push_str(&point.row()));
    complete(list)?;
    Ok(page)
}

#[derive(Default)]
struct Point {
    number: usize,
    what: String,
    tests: Vec<String>,
    remarks: Vec<String>,
}

impl Point {
    fn row(&self) -> String {
        let (tests, remarks) = (self.tests.join("<br>"), self.remarks.join(" "));
        format!("| {} | {} | {tests} | {remarks} |\n", self.number, self.what)
    }
}

/// Every point is there once, in order, with a test or a sentence.
fn complete(list: &str) -> Result<()> {
    let mut expected = 1;
    let mut answered = true;
    for line in list.lines() {
        if let Some((number, _)) = line.split_once(" | ") {
            if number.trim() != expected.to_string() || !answered {
                return Err(Failure::new(format!(
                    "{LIST}: point {expected} is missing, or the one before it has neither test nor sentence"
                )));
            }
            (expected, answered) = (expected + 1, false);
        } else {
            answered |= line.trim().starts_with("test ") || line.trim().starts_with("text ");
        }
    }
    if expected == POINTS + 1 && answered {
        return Ok(());
    }
    Err(Failure::new(format!(
        "{LIST} has {} points of {POINTS}",
        expected - 1
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_that_is_gone_is_told() {
        let tests = BTreeMap::from([("here".to_owned(), vec!["crates/a/tests/it/x.rs".to_owned()])]);
        let failure = render("= A\n1 | a point\n  test a/ gone\n", &tests).unwrap_err();
        assert!(failure.to_string().contains("`gone`"), "{failure}");
        let failure = render("= A\n1 | a point\n  test a/ here\n", &tests).unwrap_err();
        assert!(failure.to_string().contains("1 points of 90"), "{failure}");
    }
}
