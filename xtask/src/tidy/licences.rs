//! Licences of everything that is linked: an SPDX expression must be satisfied by the allow-list.
//!
//! SynqX is MIT or Apache-2.0, so what it links must be permissive; a copyleft crate that comes in through three
//! others is seen here, on the day it comes in. The expressions are those the packages declare: whether a
//! declaration is true is not checked.

use super::Finding;
use super::graph::Graph;

const ALLOWED: [&str; 13] = [
    "MIT",
    "MIT-0",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Every package may be used under licences of the list alone.
pub(super) fn allowed(graph: &Graph) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in &graph.packages {
        let expression = package.licence.as_deref().unwrap_or("none");
        if !satisfied(expression) {
            let place = package.manifest.as_deref().unwrap_or("Cargo.lock");
            let words = format!(
                "{} {} has the licence {expression}",
                package.name, package.version
            );
            findings.push(Finding::file("licence", place, words));
        }
    }
    findings
}

/// True when some choice in the expression needs only licences of the list.
fn satisfied(expression: &str) -> bool {
    // The old notation `MIT/Apache-2.0` means OR.
    let spaced = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    any(&mut rest).is_some_and(|good| good && rest.is_empty())
}

/// `a OR b`; `None` when the words are no expression.
fn any(words: &mut &[&str]) -> Option<bool> {
    let mut good = all(words)?;
    while let Some(rest) = words.strip_prefix(&["OR"]) {
        *words = rest;
        good |= all(words)?;
    }
    Some(good)
}

/// `a AND b`, which binds tighter.
fn all(words: &mut &[&str]) -> Option<bool> {
    let mut good = one(words)?;
    while let Some(rest) = words.strip_prefix(&["AND"]) {
        *words = rest;
        good &= one(words)?;
    }
    Some(good)
}

/// A licence, a licence with an exception, or an expression in brackets.
fn one(words: &mut &[&str]) -> Option<bool> {
    let (first, rest) = words.split_first()?;
    *words = rest;
    if *first == "(" {
        let good = any(words)?;
        *words = words.strip_prefix(&[")"])?;
        return Some(good);
    }
    if let ["WITH", exception, rest @ ..] = *words {
        *words = rest;
        return Some(ALLOWED.contains(&format!("{first} WITH {exception}").as_str()));
    }
    Some(ALLOWED.contains(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_counts_and_a_demand_does_not() {
        for good in [
            "MIT",
            "MIT/Apache-2.0",
            "GPL-3.0-only OR MIT",
            "(MIT OR GPL-3.0-only) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception",
            "CC0-1.0 OR Apache-2.0 OR Apache-2.0 WITH LLVM-exception",
        ] {
            assert!(satisfied(good), "{good}");
        }
        for bad in [
            "GPL-3.0-only",
            "MIT AND MPL-2.0",
            "MIT OR",
            "(MIT",
            "",
            "none",
            "MIT WITH GCC-exception-3.1",
        ] {
            assert!(!satisfied(bad), "{bad}");
        }
    }
}
