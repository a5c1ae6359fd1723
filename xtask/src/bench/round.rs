//! Runs a lane: everybody in turn, one warm-up and then the measured rounds, each result verified.
//!
//! A B A B instead of A A B B, so that a machine that slows down slows everybody. Before each run, and outside of
//! its time, the destination is brought back to its first state and the server writes a checkpoint, so nobody pays
//! for the run before. Who fails or is wrong in the warm-up is reported and not run again. It renders nothing.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::content::{Truths, Verdict};
use super::lane::{Contestant, Lane, Step};
use super::machine;
use super::measure::{self, Clock, Figures};
use super::options::Options;
use super::place::{self, Place};
use super::record::{Outcome, Record};
use crate::failure::{Explain, Failure, Result};
use crate::process;

/// A run that takes longer is killed and counts as failed: at scale 1, and in proportion above.
const LIMIT_SECONDS: f64 = 900.0;

/// What stays the same for all lanes of one bench.
#[derive(Debug)]
pub(super) struct Session<'a> {
    options: &'a Options,
    place: &'a Place,
    synqx: PathBuf,
    commit: Option<String>,
    clock: Clock,
    truths: Truths,
}

/// A contestant that can run, and its version.
#[derive(Debug)]
struct Starter {
    contestant: &'static Contestant,
    version: String,
    /// Out of the race since the warm-up.
    out: bool,
}

impl<'a> Session<'a> {
    pub(super) fn new(options: &'a Options, place: &'a Place, synqx: PathBuf) -> Result<Self> {
        Ok(Self {
            options,
            place,
            commit: machine::commit(&place.root),
            synqx,
            clock: Clock::new(machine::postmaster(place)?)?,
            truths: Truths::default(),
        })
    }

    /// Runs one lane to its end; every figure is in the lane's file when this returns.
    pub(super) fn lane(&mut self, lane: &'static Lane) -> Result<()> {
        println!("\n{}: {}", lane.name, lane.work);
        for step in lane.setup {
            self.step(*step)?;
        }
        let rows = self.place.ask(lane.rows)?;
        let blank = Record {
            run: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_secs()),
            complete: self.options.only.is_empty(),
            lane: lane.name.to_owned(),
            scale: self.options.scale.clone(),
            round: 0,
            contestant: String::new(),
            tool: String::new(),
            version: String::new(),
            command: String::new(),
            outcome: Outcome::Missing(String::new()),
            work_rows: rows.parse().explain(|| format!("{} counts no rows", lane.name))?,
            rows: None,
            own: Value::Null,
            machine: machine::describe(self.place)?,
            commit: self.commit.clone(),
        };
        let mut starters = self.starters(lane, &blank)?;
        for round in 0..=self.options.runs {
            for starter in starters.iter_mut().filter(|starter| !starter.out) {
                let record = self.turn(starter, &blank, round)?;
                let fine = matches!(record.outcome, Outcome::Right(_));
                say(&record, round);
                starter.out = !fine;
                // The warm-up is no figure; that somebody cannot do the work is a result.
                if round > 0 || !fine {
                    self.keep(&record)?;
                }
            }
        }
        Ok(())
    }

    /// Those whose tool is there. The reference always takes part: without it there is no ratio.
    fn starters(&self, lane: &'static Lane, blank: &Record) -> Result<Vec<Starter>> {
        let mut starters = Vec::new();
        for contestant in lane.contestants {
            let word = contestant.tool.word();
            let asked = self.options.only.is_empty() || self.options.only.iter().any(|only| only == word);
            if !asked && contestant.name != lane.reference {
                continue;
            }
            match contestant.tool.ensure(self.place, &self.synqx) {
                Ok(version) => starters.push(Starter {
                    contestant,
                    version,
                    out: false,
                }),
                Err(failure) => {
                    eprintln!("{failure}");
                    let mut record = blank.clone();
                    fill(&mut record, contestant, "");
                    record.outcome = Outcome::Missing("could not be installed".to_owned());
                    say(&record, 0);
                    self.keep(&record)?;
                }
            }
        }
        Ok(starters)
    }

    fn keep(&self, record: &Record) -> Result<()> {
        record.append(&self.place.results(self.options.figure()))
    }

    fn step(&self, step: Step) -> Result<()> {
        match step {
            Step::File(name) => self.place.file(name),
            Step::Shell(line) => {
                self.fresh()?;
                let mut command = self.shell(line)?;
                process::capture(&mut command).map(drop)
            }
        }
    }

    /// Empty output and state folders.
    fn fresh(&self) -> Result<()> {
        place::emptied(&self.place.out())?;
        place::emptied(&self.place.state())
    }

    /// A line of `sh` in the root of the checkout.
    fn shell(&self, line: &str) -> Result<Command> {
        let mut command = process::shell(line, &[]);
        command
            .current_dir(&self.place.root)
            .envs(self.place.variables(&self.synqx)?);
        Ok(command)
    }

    /// One run of one contestant, from a clean destination to a verdict.
    fn turn(&mut self, starter: &Starter, blank: &Record, round: usize) -> Result<Record> {
        let contestant = starter.contestant;
        let mut record = blank.clone();
        fill(&mut record, contestant, &starter.version);
        record.round = round as u64;
        let mut runs = Vec::new();
        for _ in 0..contestant.repeat {
            self.fresh()?;
            for statements in contestant.reset {
                self.place.sql(statements)?;
            }
            // Not between starts of milliseconds, which touch no table.
            if contestant.repeat == 1 {
                self.place.sql("checkpoint")?;
            }
            match self.once(contestant)? {
                (figures, None) => runs.push(figures),
                (_, Some(trouble)) => {
                    record.outcome = Outcome::Failed(trouble);
                    return Ok(record);
                }
            }
        }
        let figures = middle(&mut runs).explain(|| "nothing was run".to_owned())?;
        record.own = own(&self.place.state());
        record.outcome = match self.truths.judge(self.place, contestant.check)? {
            Verdict::Unchecked => Outcome::Right(figures),
            Verdict::Right(digest) => {
                record.rows = Some(digest.rows);
                Outcome::Right(figures)
            }
            Verdict::Wrong(reason) => Outcome::Wrong(figures, reason),
        };
        Ok(record)
    }

    /// The measured span. What the command prints goes to files, and the end of it is shown when it fails.
    fn once(&self, contestant: &Contestant) -> Result<(Figures, Option<String>)> {
        let said = self.place.work().join("said");
        let file = File::create(&said).explain(|| format!("cannot write {}", said.display()))?;
        let copy = file.try_clone().explain(|| "cannot share a file".to_owned())?;
        let mut command = self.shell(contestant.command)?;
        command.stdin(Stdio::null()).stdout(copy).stderr(file);
        let scale: f64 = self.options.scale.parse().unwrap_or(1.0);
        let limit = Duration::from_secs_f64(LIMIT_SECONDS * scale.max(1.0));
        let (figures, trouble) = measure::measure(&mut command, self.clock, limit)?;
        if trouble.is_some() {
            let text = fs::read(&said).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let lines: Vec<&str> = text.lines().collect();
            for line in lines.iter().skip(lines.len().saturating_sub(12)) {
                eprintln!("    {line}");
            }
        }
        Ok((figures, trouble))
    }
}

fn fill(record: &mut Record, contestant: &Contestant, version: &str) {
    record.contestant = contestant.name.to_owned();
    record.tool = contestant.tool.word().to_owned();
    record.version = version.to_owned();
    record.command = contestant.command.to_owned();
}

/// The run in the middle by wall time.
fn middle(runs: &mut [Figures]) -> Option<Figures> {
    runs.sort_by(|a, b| a.wall.total_cmp(&b.wall));
    runs.get(runs.len() / 2).copied()
}

/// What a run of SynqX wrote into `run.json`: rows and bytes of its loads, the publish path.
fn own(state: &Path) -> Value {
    let text = fs::read_to_string(state.join("run.json")).unwrap_or_default();
    let Ok(manifest) = serde_json::from_str::<Value>(&text) else {
        return Value::Null;
    };
    let steps = manifest["steps"].as_array().cloned().unwrap_or_default();
    let loads: Vec<&Value> = steps.iter().filter(|step| step["kind"] == "load").collect();
    let sum = |key: &str| loads.iter().filter_map(|load| load[key].as_u64()).sum::<u64>();
    json!({
        "rows": sum("rows_out"),
        "bytes": sum("bytes"),
        "peak_budget": manifest["peak_budget"],
        "peak_resident": manifest["peak_resident"],
        "paths": loads.iter().map(|load| &load["load"]["publish_path"]).collect::<Vec<_>>(),
    })
}

fn say(record: &Record, round: usize) {
    let when = if round == 0 {
        "warm-up".to_owned()
    } else {
        format!("round {round}")
    };
    let figures = |f: &Figures| {
        format!(
            "{:8.3} s {:8.2} CPU-s {:7.1} MB",
            f.wall,
            f.cpu,
            f.peak_tree as f64 / 1e6
        )
    };
    let what = match &record.outcome {
        Outcome::Right(f) => figures(f),
        Outcome::Wrong(f, reason) => format!("{}  WRONG: {reason}", figures(f)),
        Outcome::Failed(reason) => format!("FAILED: {reason}"),
        Outcome::Missing(reason) => format!("MISSING: {reason}"),
    };
    println!("  {when:8} {:28} {what}", record.contestant);
}

/// The binary that is measured: the one of the variable, or a release build of this checkout.
pub(super) fn synqx(root: &Path) -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("SYNQX_BENCH_BINARY") {
        let path = PathBuf::from(path);
        // Commands run in the root of the checkout, wherever the bench was called from.
        if let (true, Ok(whole)) = (path.is_file(), fs::canonicalize(&path)) {
            return Ok(whole);
        }
        return Err(Failure::new(format!(
            "SYNQX_BENCH_BINARY names no file: {}",
            path.display()
        )));
    }
    crate::cli_binary::build_release(root)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_run_counts() {
        let run = |wall: f64| Figures {
            wall,
            cpu: 0.0,
            server_cpu: None,
            peak_tree: 0,
            peak_largest: 0,
        };
        let mut runs = [run(9.0), run(1.0), run(2.0)];
        assert_eq!(middle(&mut runs).unwrap().wall, 2.0);
        assert_eq!(middle(&mut []), None);
    }

    #[test]
    fn the_manifest_of_a_run_is_summed_over_its_loads() {
        let folder = std::env::temp_dir().join(format!("synqx-bench-own-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let steps = json!([
            { "kind": "extract", "rows_out": 9, "bytes": 90 },
            { "kind": "load", "rows_out": 4, "bytes": 40, "load": { "publish_path": "direct" } },
            { "kind": "load", "rows_out": 5, "bytes": 50, "load": { "publish_path": "fresh" } },
        ]);
        fs::write(folder.join("run.json"), json!({ "steps": steps }).to_string()).unwrap();
        let own = own(&folder);
        assert_eq!((own["rows"].as_u64(), own["bytes"].as_u64()), (Some(9), Some(90)));
        assert_eq!(own["paths"], json!(["direct", "fresh"]));
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(super::own(&folder), Value::Null);
    }
}
