//! What a lane is: the work, who does it, how a result is checked, and the bar it is held against.
//!
//! Lanes are data (the tables in `lanes/`), so that a reader sees at once what is compared with what, and a new
//! contestant is a new row. Commands are lines of `sh`, run in the root of the checkout with the variables that
//! `place::Place::variables` sets: what is recorded is what a person can repeat. It runs nothing: that is
//! `round`.

use super::tool::Tool;

/// One piece of work that several contestants do.
#[derive(Debug)]
pub(super) struct Lane {
    /// The word of the command line and of the result file.
    pub(super) name: &'static str,
    /// What is done, in one sentence of the report.
    pub(super) work: &'static str,
    /// A query that counts the rows the work moves or reads: what rows per CPU-second divides.
    pub(super) rows: &'static str,
    /// Run once before the first round, outside of the measured time.
    pub(super) setup: &'static [Step],
    /// The contestant whose median every other is divided by.
    pub(super) reference: &'static str,
    pub(super) contestants: &'static [Contestant],
    pub(super) bars: &'static [Bar],
}

/// One way of doing the work.
#[derive(Debug)]
pub(super) struct Contestant {
    /// Unique within the lane.
    pub(super) name: &'static str,
    pub(super) tool: Tool,
    /// Statements that bring the destination back to its first state, before every run.
    pub(super) reset: &'static [&'static str],
    /// A line of `sh`.
    pub(super) command: &'static str,
    pub(super) check: Check,
    /// How often the command is run for one figure; the median counts. For commands of milliseconds.
    pub(super) repeat: usize,
}

/// What happens before the first round.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    /// A file of `benches/sql`, run on the database of the bench.
    File(&'static str),
    /// A line of `sh` that must succeed.
    Shell(&'static str),
}

/// How the content of the destination is compared with what it must be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Check {
    /// Only the exit code: the work leaves no rows anywhere.
    Exit,
    /// Rows of `found` against rows of `wanted`, two relations of the bench database.
    Table(&'static Content),
    /// Rows of a Parquet file or folder under the output folder against rows of `wanted` in the database.
    Parquet(&'static Content),
}

/// A relation, its counterpart, and the text one of their rows is hashed as.
#[derive(Debug)]
pub(super) struct Content {
    /// What stands behind `from` for the truth: a table or a query in parentheses with an alias.
    pub(super) wanted: &'static str,
    /// What stands behind `from` for the result: a table, or a path below the output folder.
    pub(super) found: &'static str,
    /// Expressions separated by commas, valid in PostgreSQL and in DuckDB alike; each tool's own choice of a
    /// type is evened out here, so a value counts and not its storage.
    pub(super) columns: &'static str,
}

/// What the design demands. Every figure is the median of the measured runs.
#[derive(Debug, Clone, Copy)]
pub(super) enum Bar {
    /// Wall time at most `times` that of the reference, plus milliseconds.
    Wall {
        of: &'static str,
        times: f64,
        plus_ms: f64,
    },
    /// CPU time at most that of the reference.
    Cpu { of: &'static str },
    /// At least so many times faster than the fastest of the others that are not SynqX.
    Faster { of: &'static str, times: f64 },
    /// Wall time at most `times` that of the fastest other that is not SynqX.
    NotSlower { of: &'static str, times: f64 },
    /// Rows per CPU-second at least.
    RowsPerCpu { of: &'static str, least: f64 },
    /// Wall time in milliseconds at most.
    Milliseconds { of: &'static str, most: f64 },
    /// Peak resident bytes of the process tree at most.
    Resident { of: &'static str, most: u64 },
    /// Peak resident memory at scale 10 at most `times` that at scale 1.
    Growth { of: &'static str, times: f64 },
}
