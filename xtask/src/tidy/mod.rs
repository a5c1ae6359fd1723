//! `cargo x tidy`: the rules of this house that no compiler or linter checks.
//!
//! What is not checked decays, so every rule of STYLE.md and ARCHITECTURE.md that a program can decide is one
//! function here, with a test that shows it fail. A finding is a rule, a file and a sentence; a few may be
//! excused in `tidy-exceptions.txt`, which may only shrink. It is not a linter: what clippy, rustfmt or rustc can
//! say, they say (see `clippy.toml`).

mod codes;
mod exceptions;
mod graph;
mod licences;
mod links;
mod mask;
mod shape;
mod test_habits;
mod text;
mod tree;

use std::fmt;

use crate::failure::{Failure, Result};
use crate::workspace;
use exceptions::Exceptions;
use graph::Graph;
use tree::Tree;

/// One broken rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    path: String,
    /// 1-based; 0 when the whole file is meant.
    line: usize,
    rule: &'static str,
    message: String,
}

impl Finding {
    fn file(rule: &'static str, path: &str, message: impl Into<String>) -> Self {
        Self::line(rule, path, 0, message)
    }

    fn line(rule: &'static str, path: &str, line: usize, message: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line,
            rule,
            message: message.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}: {}", self.path, self.rule, self.message),
            line => write!(f, "{}:{line}: {}: {}", self.path, self.rule, self.message),
        }
    }
}

/// Runs every rule; prints each finding and fails when there is one.
pub(crate) fn run() -> Result<()> {
    let root = workspace::root()?;
    let tree = Tree::read(&root)?;
    let graph = Graph::read(&root)?;
    let mut findings = Vec::new();
    findings.extend(graph::direction(&graph));
    findings.extend(graph::datafusion_in_plan_alone(&graph));
    findings.extend(graph::absent_from_closure(&graph));
    findings.extend(graph::one_version(&graph));
    findings.extend(graph::banned(&graph));
    findings.extend(graph::inherits_lints(&graph, &tree));
    findings.extend(licences::allowed(&graph));
    findings.extend(shape::headers(&tree));
    findings.extend(shape::lengths(&tree));
    findings.extend(shape::module_names(&tree));
    findings.extend(shape::trait_sizes(&tree));
    findings.extend(shape::no_async_in_model(&tree));
    findings.extend(test_habits::no_ignored_tests(&tree));
    findings.extend(test_habits::no_sleeps_in_tests(&tree));
    findings.extend(codes::pages(&tree));
    findings.extend(links::resolve(&tree));
    findings.extend(text::whitespace(&tree));
    findings.extend(text::machine_paths(&tree));
    let mut findings = Exceptions::read(&tree)?.apply(findings);
    findings.sort();
    for finding in &findings {
        println!("{finding}");
    }
    if findings.is_empty() {
        println!(
            "tidy: {} files and {} packages, nothing to say",
            tree.len(),
            graph.len()
        );
        return Ok(());
    }
    Err(Failure::new(format!("tidy: {} findings", findings.len())))
}
