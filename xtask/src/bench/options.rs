//! The words after `cargo x bench`.
//!
//! Few and checked: a mistyped lane or tool must not become a bench that measures something else. It runs nothing.

use super::lane::Lane;
use super::lanes;
use crate::failure::{Explain, Failure, Result};

/// Runs that are smaller than these are trials: noise, and kept out of the repository.
const FIGURE_SCALE: f64 = 1.0;
const FIGURE_RUNS: usize = 5;

#[derive(Debug)]
pub(super) struct Options {
    pub(super) lanes: Vec<&'static Lane>,
    /// As written: it names folders and the database.
    pub(super) scale: String,
    pub(super) runs: usize,
    /// Words of tools; empty means all.
    pub(super) only: Vec<String>,
    pub(super) list: bool,
    /// Render the report again from what is there.
    pub(super) report: bool,
}

impl Options {
    pub(super) fn parse(words: &[&str]) -> Result<Self> {
        let mut options = Self {
            lanes: Vec::new(),
            scale: "1".to_owned(),
            runs: FIGURE_RUNS,
            only: Vec::new(),
            list: false,
            report: false,
        };
        let mut words = words.iter().copied();
        while let Some(word) = words.next() {
            let mut value = || words.next().explain(|| format!("{word} needs a value"));
            match word {
                "--scale" => options.scale = scale(value()?)?,
                "--runs" => options.runs = runs(value()?)?,
                "--only" => options.only = tools(value()?)?,
                "--list" => options.list = true,
                "--report" => options.report = true,
                flag if flag.starts_with('-') => {
                    return Err(Failure::new(format!(
                        "unknown option {flag}; there are --scale, --runs, --only, --list, --report"
                    )));
                }
                name => options.lanes.extend(named(name)?),
            }
        }
        if options.lanes.is_empty() {
            options.lanes = lanes::all().collect();
        }
        Ok(options)
    }

    /// True for a run that may be quoted and is kept in the repository.
    pub(super) fn figure(&self) -> bool {
        self.runs >= FIGURE_RUNS && self.scale.parse().is_ok_and(|scale: f64| scale >= FIGURE_SCALE)
    }
}

/// A lane, or all lanes whose names begin with the word and a dash: `sql`, `pg-pg`.
fn named(name: &str) -> Result<Vec<&'static Lane>> {
    let begin = format!("{name}-");
    let found: Vec<_> = lanes::all()
        .filter(|lane| lane.name == name || lane.name.starts_with(&begin))
        .collect();
    if found.is_empty() {
        let names: Vec<_> = lanes::all().map(|lane| lane.name).collect();
        return Err(Failure::new(format!(
            "no lane {name}; there are {}",
            names.join(", ")
        )));
    }
    Ok(found)
}

fn scale(text: &str) -> Result<String> {
    let plain = text.chars().all(|c| c.is_ascii_digit() || c == '.');
    let number: f64 = text.parse().explain(|| format!("--scale {text}"))?;
    if !plain || !(0.001..=100.0).contains(&number) {
        return Err(Failure::new(format!("--scale {text}: between 0.001 and 100")));
    }
    Ok(text.to_owned())
}

fn runs(text: &str) -> Result<usize> {
    let number = text.parse().explain(|| format!("--runs {text}"))?;
    if number == 0 {
        return Err(Failure::new("--runs 0: at least one run is measured"));
    }
    Ok(number)
}

fn tools(text: &str) -> Result<Vec<String>> {
    let known: Vec<&str> = lanes::all()
        .flat_map(|lane| lane.contestants)
        .map(|contestant| contestant.tool.word())
        .collect();
    let asked: Vec<String> = text.split(',').map(str::to_owned).collect();
    match asked.iter().find(|word| !known.contains(&word.as_str())) {
        Some(word) => Err(Failure::new(format!("no lane uses a tool {word}"))),
        None => Ok(asked),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(words: &[&str]) -> Vec<&'static str> {
        let options = Options::parse(words).unwrap();
        options.lanes.iter().map(|lane| lane.name).collect()
    }

    #[test]
    fn a_lane_or_its_group_is_chosen_and_a_mistyped_one_refused() {
        assert_eq!(names(&["upsert"]), ["upsert"]);
        assert_eq!(names(&["sql"]), ["sql-q1", "sql-q3", "sql-q18"]);
        assert!(names(&[]).len() > 10);
        let failure = Options::parse(&["pg-parqet"]).unwrap_err().to_string();
        assert!(failure.contains("pg-parquet"), "{failure}");
    }

    #[test]
    fn small_runs_are_trials() {
        assert!(Options::parse(&[]).unwrap().figure());
        assert!(!Options::parse(&["--scale", "0.1"]).unwrap().figure());
        assert!(!Options::parse(&["--runs", "3"]).unwrap().figure());
    }

    #[test]
    fn values_that_make_no_sense_are_refused() {
        for words in [
            ["--scale", "0"],
            ["--scale", "x"],
            ["--scale", "1e1"],
            ["--runs", "0"],
            ["--only", "nobody"],
        ] {
            assert!(Options::parse(&words).is_err(), "{words:?}");
        }
        assert!(Options::parse(&["--only"]).is_err());
        assert!(Options::parse(&["--fast"]).is_err());
    }
}
