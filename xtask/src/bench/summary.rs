//! From raw lines to figures: the last complete run of a lane, medians, ratios, and whether the bars are met.
//!
//! A contestant has figures only when every one of its runs was right; one wrong result disqualifies it. A bar whose
//! figures are missing is open, never met. It writes no text of the report.

use super::lane::{Bar, Lane};
use super::record::{Outcome, Record};

/// One contestant of one lane. Seconds, bytes.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) tool: String,
    pub(super) version: String,
    /// The publish path SynqX says it took.
    pub(super) path: Option<String>,
    pub(super) state: State,
}

#[derive(Debug, Clone)]
pub(super) enum State {
    Measured(Medians),
    /// Missing, failed or wrong, in words.
    Out(String),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Medians {
    pub(super) runs: usize,
    pub(super) wall: f64,
    pub(super) least: f64,
    pub(super) most: f64,
    pub(super) cpu: f64,
    pub(super) server_cpu: Option<f64>,
    pub(super) peak: f64,
    pub(super) rows_per_cpu: f64,
}

/// A lane at one scale.
#[derive(Debug)]
pub(super) struct Summary {
    pub(super) lane: &'static Lane,
    pub(super) scale: String,
    pub(super) lines: Vec<Line>,
    /// One line of the run, for what all of them share.
    pub(super) sample: Record,
}

/// What became of a bar.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Standing {
    /// The figure, and whether it is good enough.
    Known(f64, bool),
    Open,
}

/// The last complete run at each scale, the smallest scale first.
pub(super) fn of(lane: &'static Lane, records: &[Record]) -> Vec<Summary> {
    let mut scales: Vec<&str> = records.iter().map(|record| record.scale.as_str()).collect();
    scales.sort_by(|a, b| number(a).total_cmp(&number(b)));
    scales.dedup();
    let last = |scale: &str| {
        let complete = |record: &&Record| record.complete && record.scale == scale;
        let run = records.iter().filter(complete).map(|record| record.run).max()?;
        let lines: Vec<&Record> = records.iter().filter(|r| r.run == run && r.complete).collect();
        Some(Summary {
            lane,
            scale: scale.to_owned(),
            sample: (*lines.first()?).clone(),
            lines: lane
                .contestants
                .iter()
                .filter_map(|contestant| line(contestant.name, &lines))
                .collect(),
        })
    };
    scales.into_iter().filter_map(last).collect()
}

fn number(scale: &str) -> f64 {
    scale.parse().unwrap_or(0.0)
}

fn line(name: &str, records: &[&Record]) -> Option<Line> {
    let mine: Vec<&&Record> = records
        .iter()
        .filter(|record| record.contestant == name)
        .collect();
    let first = mine.first()?;
    let trouble = mine.iter().find_map(|record| match &record.outcome {
        Outcome::Right(_) => None,
        Outcome::Wrong(_, reason) => Some(format!("wrong result: {reason}")),
        Outcome::Failed(reason) => Some(format!("failed: {reason}")),
        Outcome::Missing(reason) => Some(format!("missing: {reason}")),
    });
    let figures: Vec<_> = mine
        .iter()
        .filter_map(|record| match record.outcome {
            Outcome::Right(figures) => Some(figures),
            _ => None,
        })
        .collect();
    let walls = sorted(figures.iter().map(|f| f.wall));
    let cpu = median(sorted(figures.iter().map(|f| f.cpu)));
    let measured = || Medians {
        runs: figures.len(),
        wall: median(walls.clone()),
        least: walls.first().copied().unwrap_or_default(),
        most: walls.last().copied().unwrap_or_default(),
        cpu,
        server_cpu: (!figures.is_empty() && figures.iter().all(|f| f.server_cpu.is_some()))
            .then(|| median(sorted(figures.iter().filter_map(|f| f.server_cpu)))),
        peak: median(sorted(figures.iter().map(|f| f.peak_tree as f64))),
        rows_per_cpu: first.work_rows as f64 / cpu.max(0.01),
    };
    Some(Line {
        name: name.to_owned(),
        tool: first.tool.clone(),
        version: first.version.clone(),
        path: first.own["paths"][0].as_str().map(str::to_owned),
        state: trouble.map_or_else(|| State::Measured(measured()), State::Out),
    })
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

/// Of an even number, the mean of the two in the middle.
fn median(sorted: Vec<f64>) -> f64 {
    let half = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        length if length % 2 == 1 => sorted[half],
        _ => f64::midpoint(sorted[half - 1], sorted[half]),
    }
}

impl Summary {
    pub(super) fn medians(&self, name: &str) -> Option<Medians> {
        self.lines.iter().find_map(|line| match line.state {
            State::Measured(medians) if line.name == name => Some(medians),
            _ => None,
        })
    }

    pub(super) fn reference(&self) -> Option<Medians> {
        self.medians(self.lane.reference)
    }

    /// Seconds of the fastest contestant that is not SynqX.
    fn best_other(&self) -> Option<f64> {
        let walls = self.lines.iter().filter_map(|line| match line.state {
            State::Measured(medians) if line.tool != "synqx" => Some(medians.wall),
            _ => None,
        });
        walls.min_by(f64::total_cmp)
    }

    /// `all` are the summaries of the lane at every scale.
    pub(super) fn standing(&self, bar: Bar, all: &[Self]) -> Standing {
        let at_most = |figure: f64, limit: f64| Standing::Known(figure, figure <= limit);
        let at_least = |figure: f64, limit: f64| Standing::Known(figure, figure >= limit);
        let judged = match bar {
            Bar::Wall { of, times, plus_ms } => {
                self.medians(of).zip(self.reference()).map(|(own, reference)| {
                    let within = own.wall <= reference.wall * times + plus_ms / 1000.0;
                    Standing::Known(own.wall / reference.wall, within)
                })
            }
            Bar::Cpu { of } => self
                .medians(of)
                .zip(self.reference())
                .map(|(own, reference)| at_most(own.cpu / reference.cpu.max(0.01), 1.0)),
            Bar::Faster { of, times } => self
                .medians(of)
                .zip(self.best_other())
                .map(|(own, best)| at_least(best / own.wall, times)),
            Bar::NotSlower { of, times } => self
                .medians(of)
                .zip(self.best_other())
                .map(|(own, best)| at_most(own.wall / best, times)),
            Bar::RowsPerCpu { of, least } => self.medians(of).map(|own| at_least(own.rows_per_cpu, least)),
            Bar::Milliseconds { of, most } => self.medians(of).map(|own| at_most(own.wall * 1000.0, most)),
            Bar::Resident { of, most } => self.medians(of).map(|own| at_most(own.peak, most as f64)),
            Bar::Growth { of, times } => {
                let at = |scale: &str| {
                    let summary = all.iter().find(|summary| summary.scale == scale)?;
                    Some(summary.medians(of)?.peak)
                };
                at("1").zip(at("10")).map(|(one, ten)| at_most(ten / one, times))
            }
        };
        judged.unwrap_or(Standing::Open)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::lanes;
    use super::super::record::tests::record;
    use super::*;

    pub(in crate::bench) fn lane(name: &str) -> &'static Lane {
        lanes::all().find(|lane| lane.name == name).unwrap()
    }

    /// The reference takes 10 s, SynqX 10.4 s in the middle, and sling lost rows once.
    pub(in crate::bench) fn measured() -> Vec<Record> {
        let mut records = Vec::new();
        for (round, (reference, own)) in [(9.0, 10.4), (10.0, 30.0), (11.0, 10.0)].into_iter().enumerate() {
            let round = round as u64 + 1;
            records.push(record("psql binary pipe", "psql", round, reference));
            records.push(record("synqx direct", "synqx", round, own));
        }
        let mut wrong = record("sling", "sling", 1, 60.0);
        if let Outcome::Right(figures) = wrong.outcome {
            wrong.outcome = Outcome::Wrong(figures, "5 rows instead of 6".to_owned());
        }
        records.push(record("sling", "sling", 1, 60.0));
        records.push(wrong);
        records
    }

    #[test]
    fn the_median_counts_and_one_wrong_result_disqualifies() {
        let summaries = of(lane("pg-pg-raw"), &measured());
        let summary = &summaries[0];
        let own = summary.medians("synqx direct").unwrap();
        assert_eq!((own.runs, own.wall, own.least, own.most), (3, 10.4, 10.0, 30.0));
        assert!(summary.medians("sling").is_none());
        let sling = summary.lines.iter().find(|line| line.name == "sling").unwrap();
        assert!(matches!(&sling.state, State::Out(why) if why.contains("5 rows instead of 6")));
    }

    #[test]
    fn a_bar_is_met_missed_or_open() {
        let summaries = of(lane("pg-pg-raw"), &measured());
        let judge = |bar| summaries[0].standing(bar, &summaries);
        let wall = |times| Bar::Wall {
            of: "synqx direct",
            times,
            plus_ms: 0.0,
        };
        assert_eq!(judge(wall(1.05)), Standing::Known(1.04, true));
        assert_eq!(judge(wall(1.03)), Standing::Known(1.04, false));
        let open = Bar::Cpu { of: "synqx fresh" };
        assert_eq!(judge(open), Standing::Open);
        let faster = Bar::Faster {
            of: "synqx direct",
            times: 1.3,
        };
        assert!(matches!(judge(faster), Standing::Known(ratio, false) if ratio < 1.0));
        let resident = Bar::Resident {
            of: "synqx direct",
            most: 200_000_000,
        };
        assert_eq!(judge(resident), Standing::Known(100_000_000.0, true));
    }

    #[test]
    fn the_last_complete_run_of_each_scale_is_taken() {
        let mut records = measured();
        let mut later = record("synqx direct", "synqx", 1, 1.0);
        later.run = 8;
        later.complete = false;
        records.push(later.clone());
        later.scale = "10".to_owned();
        later.complete = true;
        records.push(later);
        let summaries = of(lane("pg-pg-raw"), &records);
        let scales: Vec<&str> = summaries.iter().map(|summary| summary.scale.as_str()).collect();
        assert_eq!(scales, ["1", "10"]);
        assert_eq!(summaries[0].medians("synqx direct").unwrap().wall, 10.4);
        let growth = Bar::Growth {
            of: "synqx direct",
            times: 1.15,
        };
        assert_eq!(
            summaries[0].standing(growth, &summaries),
            Standing::Known(1.0, true)
        );
    }
}
