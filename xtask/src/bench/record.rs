//! One run as a line of JSON: what was run, on what, what it cost, whether the result was right.
//!
//! Raw lines are kept so that a figure can be looked into years later and a report rendered again. They carry
//! versions, settings and the command line with variables in the place of paths and addresses; no host name and no
//! path of a machine. It computes nothing: that is `summary`.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};

use super::measure::Figures;
use crate::failure::{Explain, Result};

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Outcome {
    /// The content was right, or the lane leaves none.
    Right(Figures),
    /// It ended well and the content was wrong: the figure does not count.
    Wrong(Figures, String),
    /// It did not end well.
    Failed(String),
    /// The tool is not on this machine.
    Missing(String),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Record {
    /// The same for all lines of one lane in one bench; grows with time.
    pub(super) run: u64,
    /// False when `--only` left somebody out.
    pub(super) complete: bool,
    pub(super) lane: String,
    pub(super) scale: String,
    /// 1 is the first measured round; 0 for what never got that far.
    pub(super) round: u64,
    pub(super) contestant: String,
    pub(super) tool: String,
    pub(super) version: String,
    pub(super) command: String,
    pub(super) outcome: Outcome,
    /// Rows the work moves or reads.
    pub(super) work_rows: u64,
    /// Rows found at the destination; none when the lane leaves none.
    pub(super) rows: Option<u64>,
    /// What SynqX says about itself in `run.json`: rows, bytes, publish path; null for others.
    pub(super) own: Value,
    /// The commit SynqX was built from, when the bench built it.
    pub(super) commit: Option<String>,
    /// Cores, memory, kernel, PostgreSQL and its settings, load before the lane began.
    pub(super) machine: Value,
}

impl Record {
    fn json(&self) -> Value {
        let (word, figures, reason) = match &self.outcome {
            Outcome::Right(figures) => ("right", Some(figures), None),
            Outcome::Wrong(figures, reason) => ("wrong", Some(figures), Some(reason)),
            Outcome::Failed(reason) => ("failed", None, Some(reason)),
            Outcome::Missing(reason) => ("missing", None, Some(reason)),
        };
        json!({
            "run": self.run, "complete": self.complete, "lane": self.lane, "scale": self.scale,
            "round": self.round, "contestant": self.contestant, "tool": self.tool, "version": self.version,
            "command": self.command, "outcome": word, "reason": reason,
            "wall_seconds": figures.map(|f| f.wall),
            "cpu_seconds": figures.map(|f| f.cpu),
            "server_cpu_seconds": figures.and_then(|f| f.server_cpu),
            "peak_tree_bytes": figures.map(|f| f.peak_tree),
            "peak_largest_bytes": figures.map(|f| f.peak_largest),
            "work_rows": self.work_rows, "rows": self.rows, "own": self.own,
            "commit": self.commit, "machine": self.machine,
        })
    }

    fn parse(line: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(line).ok()?;
        let text = |key: &str| value[key].as_str().map(str::to_owned);
        let figures = || {
            Some(Figures {
                wall: value["wall_seconds"].as_f64()?,
                cpu: value["cpu_seconds"].as_f64()?,
                server_cpu: value["server_cpu_seconds"].as_f64(),
                peak_tree: value["peak_tree_bytes"].as_u64()?,
                peak_largest: value["peak_largest_bytes"].as_u64()?,
            })
        };
        let outcome = match value["outcome"].as_str()? {
            "right" => Outcome::Right(figures()?),
            "wrong" => Outcome::Wrong(figures()?, text("reason")?),
            "failed" => Outcome::Failed(text("reason")?),
            "missing" => Outcome::Missing(text("reason")?),
            _ => return None,
        };
        Some(Self {
            run: value["run"].as_u64()?,
            complete: value["complete"].as_bool()?,
            lane: text("lane")?,
            scale: text("scale")?,
            round: value["round"].as_u64()?,
            contestant: text("contestant")?,
            tool: text("tool")?,
            version: text("version")?,
            command: text("command")?,
            outcome,
            work_rows: value["work_rows"].as_u64()?,
            rows: value["rows"].as_u64(),
            own: value["own"].clone(),
            commit: text("commit"),
            machine: value["machine"].clone(),
        })
    }

    /// Adds the line to the lane's file, at once, so that a bench that is stopped keeps what it measured.
    pub(super) fn append(&self, folder: &Path) -> Result<()> {
        let results = folder.join("results");
        fs::create_dir_all(&results).explain(|| format!("cannot create {}", results.display()))?;
        let path = results.join(format!("{}.jsonl", self.lane));
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .explain(|| format!("cannot open {}", path.display()))?;
        writeln!(file, "{}", self.json()).explain(|| format!("cannot write {}", path.display()))
    }
}

/// All lines of a lane, oldest first; a line that cannot be read is an error, not a gap.
pub(super) fn read(folder: &Path, lane: &str) -> Result<Vec<Record>> {
    let path = folder.join("results").join(format!("{lane}.jsonl"));
    let Ok(text) = fs::read_to_string(&path) else {
        return Ok(Vec::new());
    };
    text.lines()
        .enumerate()
        .map(|(at, line)| {
            Record::parse(line).explain(|| format!("{}:{} is no result", path.display(), at + 1))
        })
        .collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A measured run of so many seconds; other figures follow from them.
    pub(in crate::bench) fn record(contestant: &str, tool: &str, round: u64, wall: f64) -> Record {
        let figures = Figures {
            wall,
            cpu: wall / 2.0,
            server_cpu: Some(wall),
            peak_tree: 100_000_000,
            peak_largest: 90_000_000,
        };
        Record {
            run: 7,
            complete: true,
            lane: "pg-pg-raw".to_owned(),
            scale: "1".to_owned(),
            round,
            contestant: contestant.to_owned(),
            tool: tool.to_owned(),
            version: "1.0".to_owned(),
            command: "true".to_owned(),
            outcome: Outcome::Right(figures),
            work_rows: 6_000_000,
            rows: Some(6_000_000),
            own: Value::Null,
            commit: Some("abc".to_owned()),
            machine: json!({ "cores": 2 }),
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let folder = std::env::temp_dir().join(format!("synqx-bench-record-{}", std::process::id()));
        let mut written = vec![record("a", "psql", 1, 2.5), record("b", "sling", 1, 3.5)];
        written[1].outcome = Outcome::Missing("no wheel".to_owned());
        let mut failed = record("c", "dlt", 2, 1.0);
        failed.outcome = Outcome::Failed("exit status: 1".to_owned());
        failed.rows = None;
        let mut wrong = record("d", "dlt", 2, 1.0);
        if let Outcome::Right(figures) = wrong.outcome {
            wrong.outcome = Outcome::Wrong(figures, "5 rows instead of 6".to_owned());
        }
        written.extend([failed, wrong]);
        for record in &written {
            record.append(&folder).unwrap();
        }
        assert_eq!(read(&folder, "pg-pg-raw").unwrap(), written);
        assert_eq!(read(&folder, "upsert").unwrap(), []);
        fs::write(folder.join("results/upsert.jsonl"), "{}\n").unwrap();
        assert!(read(&folder, "upsert").is_err());
        fs::remove_dir_all(folder).unwrap();
    }
}
