//! What came out of a suite: one line per case, and whether a build may be green with it.
//!
//! A refusal with a code is a good answer where the contract allows one; a failure never is. The connector table of
//! the docs is computed from these reports, so a case's name is part of the product. This file runs nothing.

use std::fmt::{self, Write as _};

use synqx_model::Code;

/// How one case ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The promise was kept.
    Passed,
    /// The system cannot do it and says so with a code, before anything is changed.
    Refused(Code, String),
    /// The promise was broken.
    Failed(String),
    /// The connector does not make this promise.
    NotApplicable(String),
}

/// One case of a suite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// A sentence.
    pub name: String,
    /// How it ended.
    pub outcome: Outcome,
}

/// What came out of a suite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The system under test, such as `postgresql 15`.
    pub system: String,
    /// `destination` or `source`.
    pub suite: &'static str,
    /// Every case, in the order they ran.
    pub cases: Vec<Case>,
}

impl Report {
    /// An empty report.
    pub fn new(system: impl Into<String>, suite: &'static str) -> Self {
        Report {
            system: system.into(),
            suite,
            cases: Vec::new(),
        }
    }

    /// Adds a case.
    pub fn add(&mut self, name: impl Into<String>, outcome: Outcome) {
        self.cases.push(Case {
            name: name.into(),
            outcome,
        });
    }

    /// The cases whose promise was broken.
    pub fn failures(&self) -> impl Iterator<Item = &Case> {
        self.cases
            .iter()
            .filter(|case| matches!(case.outcome, Outcome::Failed(_)))
    }

    /// `Err` with every failure and the counts, unless nothing failed and something passed.
    pub fn assert_green(&self) -> Result<(), String> {
        let passed = self.cases.iter().any(|case| case.outcome == Outcome::Passed);
        if passed && self.failures().next().is_none() {
            return Ok(());
        }
        Err(self.to_string())
    }

    /// A table for the docs: one row per case.
    pub fn to_markdown(&self) -> String {
        let mut text = format!(
            "### {}: {}\n\n| case | outcome |\n|---|---|\n",
            self.system, self.suite
        );
        for case in &self.cases {
            let outcome = match &case.outcome {
                Outcome::Passed => "passed".to_owned(),
                Outcome::Refused(code, why) => format!("refused {code}: {why}"),
                Outcome::Failed(why) => format!("**failed**: {why}"),
                Outcome::NotApplicable(why) => format!("not applicable: {why}"),
            };
            let cell = |text: &str| text.replace('|', "\\|").replace('\n', "<br>");
            // Writing to a String cannot fail.
            let _ = writeln!(text, "| {} | {} |", cell(&case.name), cell(&outcome));
        }
        text
    }

    fn count(&self, wanted: fn(&Outcome) -> bool) -> usize {
        self.cases.iter().filter(|case| wanted(&case.outcome)).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} as {}: {} passed, {} refused, {} not applicable, {} failed",
            self.system,
            self.suite,
            self.count(|o| *o == Outcome::Passed),
            self.count(|o| matches!(o, Outcome::Refused(..))),
            self.count(|o| matches!(o, Outcome::NotApplicable(_))),
            self.failures().count(),
        )?;
        for case in self.failures() {
            if let Outcome::Failed(why) = &case.outcome {
                writeln!(f, "  failed: {}\n    {}", case.name, why.replace('\n', "\n    "))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_green_only_when_something_passed_and_nothing_failed() {
        let mut report = Report::new("x", "source");
        assert!(report.assert_green().is_err(), "nothing ran");
        report.add("a", Outcome::NotApplicable("no logins".into()));
        assert!(report.assert_green().is_err(), "nothing passed");
        report.add("b", Outcome::Passed);
        report.add("c", Outcome::Refused(Code::E0407, "no intervals".into()));
        assert_eq!(report.assert_green(), Ok(()));
        report.add("d | e", Outcome::Failed("one row\ntoo many".into()));
        let text = report.assert_green().expect_err("failed");
        assert!(
            text.contains("1 failed") && text.contains("d | e") && text.contains("too many"),
            "{text}"
        );
        assert!(
            report
                .to_markdown()
                .contains("| d \\| e | **failed**: one row<br>too many |")
        );
    }
}
