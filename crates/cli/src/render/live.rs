//! The live table of a run: one line per step, made from events and the time.
//!
//! `Board` only remembers what events said; `lines` turns it into text for any moment, so tests need no
//! terminal and no clock. Drawing in place is `display`'s. Rates are of the whole step so far, which is what
//! a person can add up.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use synqx_model::event::{EventKind, StepState};
use synqx_model::manifest::Level;
use synqx_model::size::human_bytes;

use super::number::{count, plural, rate, time};
use super::paint::Paint;
use super::table::{Side, cut, pad};

const FRAMES: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];
const LONGEST_NAME: usize = 24;

/// What is known of a step.
#[derive(Debug, Clone)]
struct Step {
    name: String,
    operator: String,
    state: StepState,
    rows: u64,
    bytes: u64,
    rows_per_s: u64,
    expected: Option<u64>,
    began: Option<Duration>,
    ended: Option<Duration>,
}

/// What is known of a run.
#[derive(Debug, Clone)]
pub(crate) struct Board {
    title: String,
    operators: BTreeMap<String, String>,
    /// Step → the steps that read it.
    consumers: BTreeMap<String, Vec<String>>,
    steps: Vec<Step>,
    attempt: u32,
    over: bool,
}

impl Board {
    /// A board for a pipeline whose nodes have these operators and these consumers.
    pub(crate) fn new(
        title: impl Into<String>,
        operators: BTreeMap<String, String>,
        consumers: BTreeMap<String, Vec<String>>,
    ) -> Self {
        Board {
            title: title.into(),
            operators,
            consumers,
            steps: Vec::new(),
            attempt: 1,
            over: false,
        }
    }

    /// Takes a fact in. `now` is the time since the start.
    pub(crate) fn apply(&mut self, event: &EventKind, now: Duration) {
        match event {
            EventKind::RunStarted { attempt, steps, .. } => {
                self.attempt = *attempt;
                self.over = false;
                self.steps = steps.iter().map(|name| self.fresh(name)).collect();
            }
            EventKind::StepState { step, state } => {
                let step = self.step(step);
                step.state = *state;
                match state {
                    StepState::Waiting => {}
                    StepState::Running | StepState::Written | StepState::Committing => {
                        step.began.get_or_insert(now);
                    }
                    _ => step.ended = Some(now),
                }
                self.settle(now);
            }
            EventKind::Progress {
                step,
                rows,
                bytes,
                rows_per_s,
                expected_rows,
            } => {
                let step = self.step(step);
                (step.rows, step.bytes, step.rows_per_s) = (*rows, *bytes, *rows_per_s);
                step.expected = *expected_rows;
                step.began.get_or_insert(now);
                if step.state == StepState::Waiting {
                    step.state = StepState::Running;
                }
            }
            EventKind::RunFinished { .. } => self.over = true,
            EventKind::Check { .. } | EventKind::Warning { .. } | EventKind::Retry { .. } => {}
        }
    }

    /// A step is done when every step that reads it has all its rows; nobody says so in an event.
    fn settle(&mut self, now: Duration) {
        loop {
            let has_all: BTreeSet<&str> = self
                .steps
                .iter()
                .filter(|s| s.has_all())
                .map(|s| s.name.as_str())
                .collect();
            let is_done = |step: &Step| {
                let readers = self
                    .consumers
                    .get(&step.name)
                    .map(Vec::as_slice)
                    .unwrap_or_default();
                matches!(step.state, StepState::Waiting | StepState::Running)
                    && !readers.is_empty()
                    && readers.iter().all(|reader| has_all.contains(reader.as_str()))
            };
            let Some(at) = self.steps.iter().position(is_done) else {
                return;
            };
            let step = &mut self.steps[at];
            step.state = StepState::Succeeded;
            step.ended.get_or_insert(now);
        }
    }

    fn fresh(&self, name: &str) -> Step {
        Step {
            name: name.to_owned(),
            operator: self.operators.get(name).cloned().unwrap_or_default(),
            state: StepState::Waiting,
            rows: 0,
            bytes: 0,
            rows_per_s: 0,
            expected: None,
            began: None,
            ended: None,
        }
    }

    fn step(&mut self, name: &str) -> &mut Step {
        let at = match self.steps.iter().position(|step| step.name == name) {
            Some(at) => at,
            None => {
                self.steps.push(self.fresh(name));
                self.steps.len() - 1
            }
        };
        &mut self.steps[at]
    }

    /// Title, headings, one line per step, and a line about the run.
    pub(crate) fn lines(&self, now: Duration, paint: Paint) -> Vec<String> {
        let longest = |text: fn(&Step) -> &str, least: usize| {
            self.steps
                .iter()
                .map(|step| text(step).chars().count())
                .max()
                .unwrap_or(0)
                .clamp(least, LONGEST_NAME)
        };
        let (names, operators) = (longest(|s| &s.name, 4), longest(|s| &s.operator, 8));
        let heading = format!(
            "  {}  {}  {}  {:>11}  {:>10}  {:>9}  TIME",
            pad("STEP", names, Side::Left),
            pad("OPERATOR", operators, Side::Left),
            pad("STATE", 10, Side::Left),
            "ROWS",
            "BYTES",
            "ROWS/S",
        );
        let mut lines = vec![self.headline(now, paint), paint.dim(&heading)];
        for step in &self.steps {
            lines.push(step.line(names, operators, now, self.over, paint));
        }
        lines
    }

    fn headline(&self, now: Duration, paint: Paint) -> String {
        let read: u64 = self
            .steps
            .iter()
            .filter(|s| s.operator == "extract")
            .map(|s| s.rows)
            .sum();
        let mut text = format!("{}  {}", paint.bold(&self.title), paint.dim(&time(now)));
        if read > 0 {
            text.push_str(&paint.dim(&format!(", {} read", plural(read, "row"))));
        }
        if self.attempt > 1 {
            text.push_str(&paint.warn(&format!(", attempt {}", self.attempt)));
        }
        text
    }

    /// One line for a change of state, for output that is no terminal; `None` for events that change nothing.
    pub(crate) fn change(&self, event: &EventKind, now: Duration) -> Option<String> {
        let at = format!("{:>7}", time(now));
        Some(match event {
            EventKind::RunStarted {
                attempt,
                resumed,
                steps,
                ..
            } => {
                let again = if *attempt > 1 {
                    format!(", attempt {attempt}")
                } else {
                    String::new()
                };
                let resumed = if *resumed {
                    ", resumes an interrupted run"
                } else {
                    ""
                };
                format!(
                    "{at}  {}: {}{again}{resumed}",
                    self.title,
                    plural(steps.len() as u64, "step")
                )
            }
            EventKind::StepState { step, state } => {
                let known = self.steps.iter().find(|s| s.name == *step);
                let rows = known.filter(|s| s.rows > 0).map_or(String::new(), |s| {
                    format!("  {}, {}", plural(s.rows, "row"), human_bytes(s.bytes))
                });
                format!("{at}  {step} {}{rows}", word(*state))
            }
            EventKind::Check {
                step,
                check,
                failed_rows,
                action,
                ..
            } if *failed_rows > 0 => {
                format!(
                    "{at}  {step} {} failed `{check}`: {action}",
                    plural(*failed_rows, "row")
                )
            }
            EventKind::Check {
                step, check, level, ..
            } if *level != Level::Ok => format!("{at}  {step} does not hold: `{check}`: {}", level.as_str()),
            _ => return None,
        })
    }
}

impl Step {
    /// Whether no more rows will reach it.
    fn has_all(&self) -> bool {
        use StepState::{Committing, Skipped, Succeeded, Written};
        matches!(self.state, Written | Committing | Succeeded | Skipped)
    }

    fn line(&self, names: usize, operators: usize, now: Duration, over: bool, paint: Paint) -> String {
        let frame = FRAMES[(now.as_millis() / 120) as usize % FRAMES.len()];
        let state = word(self.state);
        let (icon, state) = match self.state {
            StepState::Waiting => (paint.dim("·"), paint.dim(state)),
            StepState::Running if over => (paint.dim("·"), paint.dim("stopped")),
            StepState::Running | StepState::Committing => (paint.name(frame), paint.name(state)),
            StepState::Written => (paint.name("◆"), paint.name(state)),
            StepState::Succeeded | StepState::Skipped => (paint.good("✓"), paint.good(state)),
            StepState::Failed => (paint.bad("✗"), paint.bad(state)),
            StepState::Cancelled => (paint.warn("■"), paint.warn(state)),
        };
        let number = |n: u64, text: String| if n == 0 { String::new() } else { text };
        let line = format!(
            "{icon} {}  {}  {}  {:>11}  {:>10}  {:>9}  {}",
            pad(&cut(&self.name, names), names, Side::Left),
            paint.dim(&pad(&self.operator, operators, Side::Left)),
            pad(&state, 10, Side::Left),
            number(self.rows, count(self.rows)),
            number(self.bytes, human_bytes(self.bytes)),
            number(self.rows_per_s, rate(self.rows_per_s)),
            self.clock(now),
        );
        line.trim_end().to_owned()
    }

    /// Elapsed, and what is left where the number of rows is known beforehand.
    fn clock(&self, now: Duration) -> String {
        let Some(began) = self.began else {
            return String::new();
        };
        let elapsed = self.ended.unwrap_or(now).saturating_sub(began);
        match self
            .expected
            .filter(|expected| *expected > self.rows && self.rows > 0)
        {
            Some(expected) if self.state == StepState::Running && elapsed > Duration::from_secs(1) => {
                let share = self.rows as f64 / expected as f64;
                let left = elapsed.mul_f64((1.0 - share) / share);
                format!("{}, {:.0}%, {} left", time(elapsed), share * 100.0, time(left))
            }
            _ => time(elapsed),
        }
    }
}

/// The word of a state.
pub(crate) fn word(state: StepState) -> &'static str {
    match state {
        StepState::Waiting => "waiting",
        StepState::Running => "running",
        StepState::Written => "written",
        StepState::Committing => "committing",
        StepState::Succeeded => "done",
        StepState::Skipped => "done before",
        StepState::Failed => "failed",
        StepState::Cancelled => "cancelled",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board() -> Board {
        let operators = [("flights", "extract"), ("out", "load")];
        let mut board = Board::new(
            "demo",
            operators.map(|(a, b)| (a.to_owned(), b.to_owned())).into(),
            [("flights".to_owned(), vec!["out".to_owned()])].into(),
        );
        board.apply(
            &EventKind::RunStarted {
                pipeline: "demo".into(),
                attempt: 1,
                resumed: false,
                steps: vec!["flights".into(), "out".into()],
            },
            Duration::ZERO,
        );
        board
    }

    #[test]
    fn a_step_with_a_known_size_says_what_is_left() {
        let mut board = board();
        let progress = EventKind::Progress {
            step: "flights".into(),
            rows: 250_000,
            bytes: 3 << 20,
            rows_per_s: 125_000,
            expected_rows: Some(1_000_000),
        };
        board.apply(
            &EventKind::StepState {
                step: "flights".into(),
                state: StepState::Running,
            },
            Duration::ZERO,
        );
        board.apply(&progress, Duration::from_secs(2));
        let lines = board.lines(Duration::from_secs(2), Paint::off());
        assert_eq!(lines[0], "demo  2.0s, 250,000 rows read");
        assert!(
            lines[2].contains("250,000     3.0 MiB   125.0k/s  2.0s, 25%, 6.0s left"),
            "{}",
            lines[2]
        );
        assert_eq!(lines[3], "· out      load      waiting");
    }

    #[test]
    fn a_step_is_done_when_its_readers_have_its_rows() {
        let mut board = board();
        board.apply(
            &EventKind::StepState {
                step: "out".into(),
                state: StepState::Written,
            },
            Duration::from_secs(1),
        );
        let lines = board.lines(Duration::from_secs(2), Paint::off());
        assert!(
            lines[2].starts_with("✓ flights") && lines[3].starts_with("◆ out"),
            "{lines:?}"
        );
    }

    #[test]
    fn every_change_of_state_is_a_line_elsewhere() {
        let mut board = board();
        let event = EventKind::StepState {
            step: "out".into(),
            state: StepState::Succeeded,
        };
        board.apply(&event, Duration::from_secs(3));
        assert_eq!(
            board.change(&event, Duration::from_secs(3)).as_deref(),
            Some("   3.0s  out done")
        );
    }

    #[test]
    fn a_second_attempt_begins_anew() {
        let mut board = board();
        board.apply(
            &EventKind::StepState {
                step: "out".into(),
                state: StepState::Failed,
            },
            Duration::ZERO,
        );
        let again = EventKind::RunStarted {
            pipeline: "demo".into(),
            attempt: 2,
            resumed: true,
            steps: vec!["flights".into(), "out".into()],
        };
        board.apply(&again, Duration::from_secs(1));
        let lines = board.lines(Duration::from_secs(1), Paint::off());
        assert!(
            lines[0].ends_with("attempt 2") && lines[3].contains("waiting"),
            "{lines:?}"
        );
    }
}
