//! The command line as types: verbs, options, and the help that people read.
//!
//! Help is part of the product: every verb has a sentence, its options, and examples that run. What clap
//! refuses becomes `E0114` in the voice of every other error. Sizes and names are judged by the verbs, so
//! their errors carry hints.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use synqx_model::nearest::nearest;
use synqx_model::redact::mask_urls;
use synqx_model::spec::WriteMode;
use synqx_model::{Code, Error};

/// Why there are no arguments to work with.
pub(crate) enum Refused {
    /// Help or version was asked for and shown.
    Answered,
    /// They are wrong: `E0114`.
    Wrong(Error),
}

const ABOUT: &str = "\
Move data between files and databases: one document, one plan, every row accounted for.";

const AFTER: &str = "\
Examples:
  synqx init                                        write a small pipeline that runs
  synqx run pipeline.yaml                           run it
  synqx plan pipeline.yaml                          what it would do, and why
  synqx cp orders.csv orders.parquet                one table in one line
  synqx explain E0204                               what an error means and what to do

Exit codes: 0 ok, 2 configuration, 3 schema, 4 source, 5 destination, 6 state, 7 cancelled, 8 checks, 1 bug.";

/// Everything on the command line.
#[derive(Debug, Parser)]
#[command(name = "synqx", version, about = ABOUT, after_help = AFTER, disable_help_subcommand = true)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    max_term_width = 100
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) verb: Verb,
    #[command(flatten)]
    pub(crate) global: Global,
}

/// Options of every verb.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Global {
    /// Show causes below errors, and notes that are usually left out
    #[arg(long, short, global = true, help_heading = "Everywhere")]
    pub(crate) verbose: bool,
    /// Write a log to standard error: error, warn, info, debug, trace, or filters such as synqx=debug
    #[arg(
        long,
        global = true,
        value_name = "LEVEL",
        env = "SYNQX_LOG",
        help_heading = "Everywhere"
    )]
    pub(crate) log_level: Option<String>,
    /// When to use colours; NO_COLOR is honoured
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        help_heading = "Everywhere"
    )]
    pub(crate) color: Color,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Run(RunArgs),
    Backfill(BackfillArgs),
    Plan(PlanArgs),
    Check(CheckArgs),
    Rollback(RollbackArgs),
    Cp(CopyArgs),
    Init(InitArgs),
    Discover(DiscoverArgs),
    Preview(PreviewArgs),
    Quarantine(QuarantineArgs),
    Connectors(ConnectorsArgs),
    Explain(ExplainArgs),
    Doctor(DoctorArgs),
    Completions(CompletionsArgs),
    #[command(hide = true)]
    Internal(InternalArgs),
}

/// How much a run may use and where it remembers.
#[derive(Debug, Clone, Args)]
pub(crate) struct Resources {
    /// Memory for rows on their way, such as 96MiB or 2GiB
    #[arg(long, value_name = "SIZE", default_value = "512MiB")]
    pub(crate) memory: String,
    /// Streams side by side; 0 takes one per core
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) parallel: usize,
    /// Folder of the run's state and run.json; `.synqx` beside the document by default
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<std::path::PathBuf>,
}

/// What is done about what earlier runs left.
#[derive(Debug, Clone, Args)]
pub(crate) struct Earlier {
    /// Leave the rows of an interrupted run as they are and start anew, instead of finishing it
    #[arg(long)]
    pub(crate) abandon: bool,
    /// Read incremental extracts from the beginning
    #[arg(long, conflicts_with = "adopt")]
    pub(crate) reset: bool,
    /// Take the stored position although it belongs to another source, or to earlier full reads
    #[arg(long)]
    pub(crate) adopt: bool,
}

impl Earlier {
    pub(crate) fn apply(&self, options: &mut synqx_engine::RunOptions) {
        options.abandon = self.abandon;
        options.reset = self.reset;
        options.adopt = self.adopt;
    }
}

/// What a run shows and how often it tries.
#[derive(Debug, Clone, Args)]
pub(crate) struct Manner {
    /// Attempts after the first, for faults that may pass
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(crate) retries: u32,
    /// Print events as JSON, one per line, on standard output, and nothing else there
    #[arg(long)]
    pub(crate) json: bool,
    /// Print errors only
    #[arg(long, short, conflicts_with = "json")]
    pub(crate) quiet: bool,
}

/// Run a pipeline
///
/// Reads the document, plans, moves the rows and commits each load once. On a terminal a table shows every step while
/// it works; elsewhere each change of state is one line on standard error. Ctrl-C stops cleanly: nothing half-published.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  synqx run                                         pipeline.yaml or synqx.yaml of this folder
  synqx run nightly.yaml --memory 2GiB              with more memory
  synqx run pipeline.yaml --json > events.ndjson    events for a program
  synqx run pipeline.yaml --quiet --state /var/lib/synqx/nightly")]
pub(crate) struct RunArgs {
    /// The document; pipeline.yaml or synqx.yaml of this folder by default
    pub(crate) file: Option<std::path::PathBuf>,
    #[command(flatten)]
    pub(crate) resources: Resources,
    #[command(flatten)]
    pub(crate) earlier: Earlier,
    #[command(flatten)]
    pub(crate) manner: Manner,
}

/// Read an interval of an incremental extract once more
///
/// Reads the rows whose cursor is at FROM or above and below TO, and loads them where the document says. The stored position
/// stays as it is. Slices are committed one after another; a backfill that was stopped goes on with the same words.
/// Loads must be able to take a row twice: `write: upsert`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  synqx backfill pipeline.yaml --from 2024-01-01 --to 2024-02-01 --slice 1d
  synqx backfill pipeline.yaml --from 0 --to 1000000 --slice 100000 --extract orders
  synqx backfill pipeline.yaml --from 2024-01-01T00:00:00Z --to 2024-01-01T06:00:00Z")]
pub(crate) struct BackfillArgs {
    /// The document; pipeline.yaml or synqx.yaml of this folder by default
    pub(crate) file: Option<std::path::PathBuf>,
    /// The first cursor value that is read
    #[arg(long, value_name = "VALUE", allow_hyphen_values = true)]
    pub(crate) from: String,
    /// The first cursor value that is not read any more
    #[arg(long, value_name = "VALUE", allow_hyphen_values = true)]
    pub(crate) to: String,
    /// The incremental extract, where the document has several
    #[arg(long, value_name = "NODE")]
    pub(crate) extract: Option<String>,
    /// How much one slice takes: a duration such as 1d or 6h, or a number for a numeric cursor
    #[arg(long, value_name = "SIZE")]
    pub(crate) slice: Option<String>,
    /// Also load with `write: append`, which has rows twice that were loaded before
    #[arg(long)]
    pub(crate) allow_append: bool,
    #[command(flatten)]
    pub(crate) manner: Manner,
    #[command(flatten)]
    pub(crate) resources: Resources,
}

/// Show what a run would do, and change nothing
///
/// Prints the layers, where each step runs, what reaches each source (statement, columns, filters, limit, partitions)
/// and what each load will do: how rows become visible, the guarantee, every statement and when it is executed.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  synqx plan pipeline.yaml
  synqx plan pipeline.yaml --json | jq .loads")]
pub(crate) struct PlanArgs {
    /// The document; pipeline.yaml or synqx.yaml of this folder by default
    pub(crate) file: Option<std::path::PathBuf>,
    #[command(flatten)]
    pub(crate) resources: Resources,
    /// Print the plan as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Put back the rows that the last replace of a load replaced
///
/// For loads with `replace: {keep_previous: true}`. The rows of before take the place of those of now, once, in one
/// transaction; the next run of the pipeline reads everything again. A run that is under way publishes nothing.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  synqx rollback pipeline.yaml
  synqx rollback pipeline.yaml --load out")]
pub(crate) struct RollbackArgs {
    /// The document; pipeline.yaml or synqx.yaml of this folder by default
    pub(crate) file: Option<std::path::PathBuf>,
    /// The load, where several keep what they replace
    #[arg(long, value_name = "NODE")]
    pub(crate) load: Option<String>,
    #[command(flatten)]
    pub(crate) resources: Resources,
}

/// Find everything that is wrong, all at once
///
/// Checks the document, its graph, its plan and every connection, and reports all problems together. Changes nothing.
/// The exit code is that of the problem nearest to the document: 2 before 3 before 4 before 5.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  synqx check pipeline.yaml
  synqx check pipeline.yaml && synqx run pipeline.yaml")]
pub(crate) struct CheckArgs {
    /// The document; pipeline.yaml or synqx.yaml of this folder by default
    pub(crate) file: Option<std::path::PathBuf>,
    #[command(flatten)]
    pub(crate) resources: Resources,
}

/// Copy one table, file or folder
///
/// SRC and DST are paths or URLs. It is a pipeline of two nodes and runs like one: same engine, same guarantees. A new
/// target is made; a file is replaced; a table that exists already needs `--mode`, so that nothing is lost by accident.
#[derive(Debug, Args)]
#[command(after_help = "\
Places:
  ./orders.parquet  ./folder/  'in/*.csv'           files; the ending says the format
  postgres://user@host:5432/shop/public.orders      database and table: the last segment is the table
  postgres://user@host/public.orders                the table; the database is PGDATABASE, else the user's name
  postgres://user@host/shop?asset=public.orders     the same, said outright
  sqlite:shop.db/orders  sqlite:///data/shop.db?asset=orders
  User and password come from the URL, else from PGUSER and PGPASSWORD.

Examples:
  synqx cp orders.csv orders.parquet
  synqx cp postgres://etl@localhost/shop/public.orders ./orders.parquet
  synqx cp ./orders.parquet postgres://etl@localhost/mart/public.orders --mode upsert --key order_id
  synqx cp 'in/*.csv' sqlite:shop.db/orders --mode append")]
pub(crate) struct CopyArgs {
    /// Where rows come from: a path or a URL
    pub(crate) src: String,
    /// Where they go: a path or a URL
    pub(crate) dst: String,
    /// What to do with rows that are there; needed for a table that exists
    #[arg(long, value_name = "MODE")]
    pub(crate) mode: Option<CopyMode>,
    /// Key columns of an upsert
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',')]
    pub(crate) key: Vec<String>,
    /// Which row of a key is the newest: the greatest in these columns wins
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',')]
    pub(crate) order_by: Vec<String>,
    #[command(flatten)]
    pub(crate) resources: Resources,
    #[command(flatten)]
    pub(crate) earlier: Earlier,
    #[command(flatten)]
    pub(crate) manner: Manner,
}

/// Write modes of `cp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CopyMode {
    /// Add rows; a repeated attempt adds them once
    Append,
    /// The target becomes exactly these rows
    Replace,
    /// By key: new rows are added, known ones changed
    Upsert,
}

impl CopyMode {
    /// The mode of the document.
    pub(crate) fn write_mode(self) -> WriteMode {
        match self {
            CopyMode::Append => WriteMode::Append,
            CopyMode::Replace => WriteMode::Replace,
            CopyMode::Upsert => WriteMode::Upsert,
        }
    }
}

/// Write a small pipeline that runs
///
/// Makes a document and a few rows of CSV to start from. Files that exist are never touched.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  synqx init
  synqx init shop && cd shop && synqx run")]
pub(crate) struct InitArgs {
    /// The folder; this one by default
    #[arg(default_value = ".")]
    pub(crate) dir: std::path::PathBuf,
}

/// List what can be read
///
/// Lists the tables or files of a connection of a document, or of a path or URL.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  synqx discover pipeline.yaml                      every connection of the document
  synqx discover pipeline.yaml shop --pattern 'sales.*'
  synqx discover ./input
  synqx discover postgres://etl@localhost/shop")]
pub(crate) struct DiscoverArgs {
    /// A document, a folder or a URL
    pub(crate) place: String,
    /// A connection of the document
    pub(crate) connection: Option<String>,
    /// Only names that match, such as 'sales.*'
    #[arg(long, value_name = "GLOB")]
    pub(crate) pattern: Option<String>,
    /// Print JSON, one asset per line
    #[arg(long)]
    pub(crate) json: bool,
}

/// Show some rows with their types
///
/// Shows the first rows of a file or table, of an asset of a connection, or of what an extract of a document reads.
/// Other nodes of a document cannot be shown yet: preview the extract that feeds them.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  synqx preview input/flights.csv
  synqx preview postgres://etl@localhost/shop/public.orders --rows 5
  synqx preview pipeline.yaml flights               an extract of the document
  synqx preview pipeline.yaml shop public.orders    an asset of a connection")]
pub(crate) struct PreviewArgs {
    /// A path or URL of an asset, or a document
    pub(crate) place: String,
    /// An extract or a connection of the document
    pub(crate) name: Option<String>,
    /// An asset of the connection
    pub(crate) asset: Option<String>,
    /// Rows to show
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20)]
    pub(crate) rows: usize,
}

/// Look at rejected rows, and run them through the rest of the pipeline again
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  synqx quarantine list pipeline.yaml
  synqx quarantine show pipeline.yaml --node clean --limit 5
  synqx quarantine replay pipeline.yaml             with the document as it is now
  synqx cp .synqx/quarantine/…/clean.parquet fixed.csv
  synqx quarantine replay pipeline.yaml --node clean --file fixed.csv")]
pub(crate) struct QuarantineArgs {
    #[command(subcommand)]
    pub(crate) what: Quarantined,
}

/// What can be done with rejected rows.
#[derive(Debug, Subcommand)]
pub(crate) enum Quarantined {
    /// List runs and nodes that rejected rows, with the rules and what was replayed
    List {
        #[command(flatten)]
        which: Which,
        /// Print JSON, one file per line
        #[arg(long)]
        json: bool,
    },
    /// Show rejected rows
    Show {
        #[command(flatten)]
        which: Which,
        /// Rows to show
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: usize,
        /// Print JSON, one row per line
        #[arg(long)]
        json: bool,
    },
    /// Run rejected rows through their node and what follows it, each row once
    Replay(ReplayArgs),
}

/// Which rejected rows.
#[derive(Debug, Clone, Args)]
pub(crate) struct Which {
    /// The document; pipeline.yaml or synqx.yaml of this folder by default
    pub(crate) file: Option<std::path::PathBuf>,
    /// Only rows of this run
    #[arg(long, value_name = "RUN")]
    pub(crate) run: Option<String>,
    /// Only rows of this node
    #[arg(long, value_name = "NODE")]
    pub(crate) node: Option<String>,
    /// Folder of the runs' state; `.synqx` beside the document by default
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<std::path::PathBuf>,
}

/// A replay.
#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    #[command(flatten)]
    pub(crate) which: Which,
    /// Corrected rows: a CSV, JSON or Parquet file that keeps the column _synqx_row
    #[arg(long = "file", value_name = "FILE")]
    pub(crate) corrected: Option<std::path::PathBuf>,
    /// Memory for rows on their way, such as 96MiB or 2GiB
    #[arg(long, value_name = "SIZE", default_value = "512MiB")]
    pub(crate) memory: String,
    #[command(flatten)]
    pub(crate) manner: Manner,
}

/// List the connectors, or show one
///
/// Without KIND: what each can read and write and what it guarantees. With KIND: its limits and its configuration.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  synqx connectors
  synqx connectors postgresql
  synqx connectors postgresql --json                its JSON Schema")]
pub(crate) struct ConnectorsArgs {
    /// The connector, such as postgresql
    pub(crate) kind: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Explain an error: what happened and what to do
///
/// Prints the page of an error code. Without CODE: all of them.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  synqx explain E0204
  synqx explain 0204
  synqx explain | grep secret")]
pub(crate) struct ExplainArgs {
    /// The code, such as E0204
    pub(crate) code: Option<String>,
}

/// Look at this machine, and at the connections of a document
///
/// Version, folders, memory, limits; with FILE, also whether each connection can be reached and used. Changes nothing.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  synqx doctor
  synqx doctor pipeline.yaml")]
pub(crate) struct DoctorArgs {
    /// A document, to test its connections
    pub(crate) file: Option<std::path::PathBuf>,
    #[command(flatten)]
    pub(crate) resources: Resources,
}

/// Print completions for a shell
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  synqx completions bash > /etc/bash_completion.d/synqx
  synqx completions zsh > \"${fpath[1]}/_synqx\"
  synqx completions fish > ~/.config/fish/completions/synqx.fish")]
pub(crate) struct CompletionsArgs {
    /// The shell
    pub(crate) shell: clap_complete::Shell,
}

/// For the people who build SynqX
#[derive(Debug, Args)]
pub(crate) struct InternalArgs {
    #[command(subcommand)]
    pub(crate) what: Internal,
}

/// What the builders of SynqX need.
#[derive(Debug, Subcommand)]
pub(crate) enum Internal {
    /// Write the generated part of docs/reference
    Gen {
        /// The folder
        #[arg(long, value_name = "DIR")]
        out: std::path::PathBuf,
        /// Write nothing; fail when a file is not current
        #[arg(long)]
        check: bool,
    },
}

/// Reads the process's arguments; shows help or version when asked for.
pub(crate) fn parse() -> Result<Arguments, Refused> {
    Arguments::try_parse().map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let _ = error.print();
            Refused::Answered
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = Arguments::command().print_help();
            Refused::Wrong(
                Error::new(Code::E0114, "no verb is given")
                    .with_hint("begin with `synqx init`, or `synqx run FILE`"),
            )
        }
        _ => Refused::Wrong(explain(&error)),
    })
}

/// Clap's error in the voice of the house.
fn explain(error: &clap::Error) -> Error {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => Some(texts.join("`, `")),
        _ => None,
    };
    let argument = text(ContextKind::InvalidArg).unwrap_or_else(|| "an argument".to_owned());
    let value = text(ContextKind::InvalidValue).unwrap_or_default();
    let message = match error.kind() {
        ErrorKind::UnknownArgument => format!("there is no option `{argument}`"),
        ErrorKind::InvalidSubcommand => {
            format!(
                "there is no verb `{}`",
                text(ContextKind::InvalidSubcommand).unwrap_or_default()
            )
        }
        ErrorKind::InvalidValue if value.is_empty() => format!("`{argument}` lacks its value"),
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
            format!("`{value}` is not a value of `{argument}`")
        }
        ErrorKind::MissingRequiredArgument => format!("`{argument}` is missing"),
        ErrorKind::MissingSubcommand => "no verb is given".to_owned(),
        ErrorKind::ArgumentConflict => {
            let other = text(ContextKind::PriorArg).unwrap_or_else(|| "another option".to_owned());
            format!("`{argument}` and `{other}` exclude each other")
        }
        _ => "the command line cannot be read".to_owned(),
    };
    let suggestion = [
        ContextKind::SuggestedArg,
        ContextKind::SuggestedSubcommand,
        ContextKind::SuggestedValue,
    ]
    .into_iter()
    .find_map(text)
    .or_else(|| nearest_verb(&text(ContextKind::InvalidSubcommand)?));
    let valid = match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(values)) if !values.is_empty() => {
            Some(format!("use one of `{}`", values.join("`, `")))
        }
        _ => None,
    };
    let verb = std::env::args()
        .nth(1)
        .filter(|word| Arguments::command().find_subcommand(word).is_some());
    let help = match verb {
        Some(verb) => format!("see `synqx {verb} --help`"),
        None => "see `synqx --help`".to_owned(),
    };
    let hint = suggestion
        .map(|near| format!("did you mean `{near}`?"))
        .or(valid)
        .unwrap_or(help);
    Error::new(Code::E0114, mask_urls(&message)).with_hint(mask_urls(&hint))
}

/// The verb somebody may have meant.
fn nearest_verb(word: &str) -> Option<String> {
    let command = Arguments::command();
    let verbs = command
        .get_subcommands()
        .filter(|verb| !verb.is_hide_set())
        .map(clap::Command::get_name);
    nearest(word, verbs).map(str::to_owned)
}
