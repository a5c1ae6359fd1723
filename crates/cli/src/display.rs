//! Shows a run while it works: a table drawn in place, lines, JSON events, or nothing.
//!
//! The engine calls `emit` from its own threads and must not wait, so events only change the board; a task of
//! its own draws eight times per second. JSON events are written as they come, in order. It decides nothing
//! about the run.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use synqx_engine::Events;
use synqx_model::dag::Graph;
use synqx_model::event::{Event, EventKind};
use synqx_model::{PipelineSpec, RunId};

use crate::args::Manner;
use crate::render::live::Board;
use crate::terminal::Terminal;

const REDRAW: Duration = Duration::from_millis(125);

/// How a run is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Drawn in place.
    Live,
    /// One line per change.
    Lines,
    /// NDJSON on standard output.
    Json,
    /// Nothing.
    Quiet,
}

/// Shows one run. Clones show the same one.
#[derive(Clone)]
pub(crate) struct Display(Arc<Inner>);

struct Inner {
    terminal: Terminal,
    mode: Mode,
    started: Instant,
    state: Mutex<State>,
}

struct State {
    board: Board,
    run: RunId,
    seq: u64,
    canvas: Option<Canvas>,
}

impl std::fmt::Debug for Display {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Display({:?})", self.0.mode)
    }
}

impl Display {
    /// A display for a document.
    pub(crate) fn new(terminal: &Terminal, spec: &PipelineSpec, manner: &Manner) -> Self {
        let mode = match manner {
            Manner { json: true, .. } => Mode::Json,
            Manner { quiet: true, .. } => Mode::Quiet,
            _ if terminal.live => Mode::Live,
            _ => Mode::Lines,
        };
        let operators: BTreeMap<String, String> = spec
            .nodes
            .iter()
            .map(|node| (node.id.clone(), node.operator.word().to_owned()))
            .collect();
        let canvas = (mode == Mode::Live).then(Canvas::new);
        // A wrong graph has no consumers here; the run itself says what is wrong with it.
        let consumers = Graph::build(spec).map_or_else(|_| BTreeMap::new(), |graph| graph.consumers);
        let board = Board::new(spec.name.clone(), operators, consumers);
        let state = State {
            board,
            run: RunId::fresh(),
            seq: 0,
            canvas,
        };
        Display(Arc::new(Inner {
            terminal: terminal.clone(),
            mode,
            started: Instant::now(),
            state: Mutex::new(state),
        }))
    }

    /// Draws until the guard is dropped.
    pub(crate) fn draw(&self) -> Drawing {
        let display = self.clone();
        let task = (self.0.mode == Mode::Live).then(|| {
            tokio::spawn(async move {
                let mut interval = tokio::time::interval(REDRAW);
                loop {
                    interval.tick().await;
                    display.redraw();
                }
            })
        });
        Drawing {
            display: self.clone(),
            task,
        }
    }

    /// A sentence above the table, or a line.
    pub(crate) fn say(&self, text: &str) {
        let state = self.state();
        match (&state.canvas, self.0.mode) {
            (Some(canvas), _) => canvas.say(&self.0.terminal.clean(text)),
            (None, Mode::Lines) => self.0.terminal.err(&format!("{text}\n")),
            (None, _) => {}
        }
    }

    /// A sentence below the table that stays there, or a line.
    pub(crate) fn notice(&self, text: &str) {
        match &self.state().canvas {
            Some(canvas) => canvas.foot.set_message(text.to_owned()),
            None if self.0.mode == Mode::Lines => self.0.terminal.err(&format!("{text}\n")),
            None => {}
        }
    }

    fn redraw(&self) {
        let mut state = self.state();
        let lines = state
            .board
            .lines(self.0.started.elapsed(), self.0.terminal.err_paint);
        let lines: Vec<String> = lines.iter().map(|line| self.0.terminal.clean(line)).collect();
        if let Some(canvas) = &mut state.canvas {
            canvas.draw(&lines);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_json(&self, kind: EventKind) {
        let mut state = self.state();
        state.seq += 1;
        let at_ms = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_millis() as i64);
        let event = Event {
            seq: state.seq,
            at_ms,
            run: state.run,
            kind,
        };
        if let Ok(line) = serde_json::to_string(&event) {
            self.0.terminal.out(&format!("{line}\n"));
        }
    }
}

impl Events for Display {
    fn begin(&self, run: RunId) {
        self.state().run = run;
    }

    fn emit(&self, event: EventKind) {
        if self.0.mode == Mode::Json {
            return self.write_json(event);
        }
        let now = self.0.started.elapsed();
        let mut state = self.state();
        state.board.apply(&event, now);
        let change = (self.0.mode == Mode::Lines)
            .then(|| state.board.change(&event, now))
            .flatten();
        drop(state);
        if let Some(line) = change {
            self.0.terminal.err(&format!("{line}\n"));
        }
        match event {
            EventKind::Warning { step, message } => {
                let at = step.map_or(String::new(), |step| format!("[{step}] "));
                self.say(&format!(
                    "{} {at}{message}",
                    self.0.terminal.err_paint.warn("warning:")
                ));
            }
            EventKind::Retry {
                attempt,
                wait_ms,
                error,
            } => {
                let (code, message) = (error["code"].as_str(), error["message"].as_str());
                let why = format!("{} {}", code.unwrap_or_default(), message.unwrap_or_default());
                let wait = crate::render::number::time(Duration::from_millis(wait_ms));
                let word = self.0.terminal.err_paint.warn("retry:");
                self.say(&format!("{word} attempt {attempt} failed, next in {wait}: {why}"));
            }
            _ => {}
        }
    }
}

/// Draws until dropped; the last picture stays.
#[derive(Debug)]
pub(crate) struct Drawing {
    display: Display,
    task: Option<tokio::task::JoinHandle<()>>,
}

impl Drop for Drawing {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            self.display.redraw();
            let canvas = self.display.state().canvas.take();
            if let Some(canvas) = canvas {
                canvas.leave();
            }
        }
    }
}

/// Lines at the bottom of the terminal, redrawn in place.
///
/// The last one is short, and the cursor rests there: the `^C` that a terminal echoes must not wrap a full line.
struct Canvas {
    screen: MultiProgress,
    bars: Vec<ProgressBar>,
    foot: ProgressBar,
    style: ProgressStyle,
}

impl Canvas {
    fn new() -> Self {
        let screen = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(20));
        // The templates are constants of this program; the default style only differs in looks.
        let style =
            |text| ProgressStyle::with_template(text).unwrap_or_else(|_| ProgressStyle::default_bar());
        let foot = screen.add(
            ProgressBar::new_spinner()
                .with_style(style("{msg}"))
                .with_message(" "),
        );
        Canvas {
            screen,
            bars: Vec::new(),
            foot,
            style: style("{wide_msg}"),
        }
    }

    fn draw(&mut self, lines: &[String]) {
        while self.bars.len() < lines.len() {
            let bar = ProgressBar::new_spinner().with_style(self.style.clone());
            self.bars.push(self.screen.insert_before(&self.foot, bar));
        }
        for (bar, line) in self.bars.iter().zip(lines) {
            if bar.message() != *line {
                bar.set_message(line.clone());
            }
        }
        self.foot.tick();
    }

    fn say(&self, text: &str) {
        // A terminal that cannot be written to has nobody in front of it.
        let _ = self.screen.println(text);
    }

    fn leave(self) {
        for bar in self.bars.iter().chain([&self.foot]) {
            bar.abandon();
        }
    }
}
