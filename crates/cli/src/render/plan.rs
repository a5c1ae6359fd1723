//! `synqx plan` in words: layers, steps, what each source is asked for, what each load will do.
//!
//! The order is that of a reader's questions: what runs, what leaves the sources, what happens to the
//! targets. Every sentence of a note is shown; long lists of columns and partitions are counted and cut
//! unless `verbose`.

use synqx_engine::{LoadReport, Placement, PlanReport, SourceReport};
use synqx_model::ByteSize;
use synqx_model::size::human_bytes;
use synqx_sdk::{ColumnPath, FenceKind, Fidelity};

use super::number::{count, plural};
use super::paint::Paint;
use super::table::Table;

const SHOWN_COLUMNS: usize = 8;
const SHOWN_PARTITIONS: usize = 4;

/// The plan, ending in "nothing was changed".
pub(crate) fn render(report: &PlanReport, verbose: bool, paint: Paint) -> String {
    let hash = report.spec_hash.get(..12).unwrap_or(&report.spec_hash);
    let mut out = format!(
        "{} {}\n",
        paint.bold(&report.pipeline),
        paint.dim(&format!(
            "document {hash}, {} of memory, {}",
            ByteSize(report.memory),
            plural(report.parallel as u64, "stream")
        )),
    );
    out.push_str(&heading("Layers", paint));
    for (i, layer) in report.layers.iter().enumerate() {
        out.push_str(&format!("  {}  {}\n", i + 1, layer.join(", ")));
    }
    out.push_str(&heading("Steps", paint));
    out.push_str(&steps(report, paint));
    out.push_str(&heading("Sources", paint));
    for source in &report.sources {
        out.push_str(&source_block(source, verbose, paint));
    }
    let fragments: Vec<String> = (0..report.fragments.len())
        .filter_map(|at| stream(report, at, verbose, paint))
        .collect();
    if !fragments.is_empty() {
        out.push_str(&heading("Streams", paint));
        out.extend(fragments);
    }
    out.push_str(&heading("Loads", paint));
    for load in &report.loads {
        out.push_str(&load_block(load, verbose, paint));
    }
    if !report.notes.is_empty() {
        out.push('\n');
    }
    for note in &report.notes {
        out.push_str(&format!("{} {note}\n", paint.warn("note:")));
    }
    out.push_str(&format!("\n{}\n", paint.good("nothing was changed")));
    out
}

fn heading(text: &str, paint: Paint) -> String {
    format!("\n{}\n", paint.bold(text))
}

/// Where a step runs, in words.
fn placement(placement: Placement) -> &'static str {
    match placement {
        Placement::Pushed => "in the database",
        Placement::Engine => "here",
        Placement::Cluster => "on a cluster",
        Placement::Raw => "bytes relayed",
    }
}

fn steps(report: &PlanReport, paint: Paint) -> String {
    let mut table = Table::new(&["STEP", "OPERATOR", "RUNS", "READS"]).indented(2);
    for step in &report.steps {
        table.row([
            paint.name(&step.node),
            step.operator.clone(),
            placement(step.placement).to_owned(),
            step.inputs.join(", "),
        ]);
    }
    table.render(paint)
}

/// `word  text`, further lines below the first; nothing for an empty text.
fn fact(word: &str, text: &str, paint: Paint) -> String {
    let mut out = String::new();
    for (i, line) in text.lines().enumerate() {
        let word = if i == 0 { word } else { "" };
        out.push_str(&format!("    {} {line}\n", paint.dim(&format!("{word:<10}"))));
    }
    out
}

/// The first few, and how many more.
fn some_of(items: &[String], shown: usize) -> String {
    let mut text = items.iter().take(shown).cloned().collect::<Vec<_>>().join(", ");
    if items.len() > shown {
        text.push_str(&format!(", and {} more", items.len() - shown));
    }
    text
}

fn source_block(source: &SourceReport, verbose: bool, paint: Paint) -> String {
    let all = |short: usize| if verbose { usize::MAX } else { short };
    let mut out = format!("  {}\n", paint.name(&source.node));
    out.push_str(&fact("reads", &source.statement, paint));
    let columns = format!(
        "{} of {}: {}",
        source.columns.len(),
        source.columns_of_asset,
        some_of(&source.columns, all(SHOWN_COLUMNS))
    );
    out.push_str(&fact("columns", &columns, paint));
    let exact = source.exact.iter().map(|p| format!("{p} (by the source)"));
    let superset = source
        .superset
        .iter()
        .map(|p| format!("{p} (by the source as far as it can, and again here)"));
    let filters: Vec<String> = exact.chain(superset).collect();
    out.push_str(&fact("filters", &filters.join("\n"), paint));
    if let Some(limit) = source.limit {
        out.push_str(&fact("limit", &plural(limit, "row"), paint));
    }
    let partitions = match source.partitions.len() {
        0 => "none: nothing to read".to_owned(),
        n => format!("{n}: {}", some_of(&source.partitions, all(SHOWN_PARTITIONS))),
    };
    out.push_str(&fact("partitions", &partitions, paint));
    let expected: Vec<String> = source
        .rows
        .map(|n| format!("about {} rows", count(n)))
        .into_iter()
        .chain(source.bytes.map(human_bytes))
        .collect();
    out.push_str(&fact("expected", &expected.join(", "), paint));
    for note in &source.notes {
        out.push_str(&fact("note", note, paint));
    }
    out
}

/// A stream, when there is something to say about it.
fn stream(report: &PlanReport, at: usize, verbose: bool, paint: Paint) -> Option<String> {
    let fragment = report.fragments.get(at)?;
    if !verbose && fragment.notes.is_empty() && fragment.output != "exchange" {
        return None;
    }
    let what = match fragment.output {
        "exchange" => "kept in spill files, because several loads read it",
        _ => "streams into its load",
    };
    let mut out = format!("  {} {}\n", paint.name(&fragment.node), paint.dim(what));
    out.push_str(&fact("reads", &fragment.reads.join(", "), paint));
    if verbose {
        let columns: Vec<String> = fragment
            .columns
            .iter()
            .map(|(name, kind)| format!("{name} {kind}"))
            .collect();
        out.push_str(&fact("columns", &columns.join("\n"), paint));
    }
    for note in &fragment.notes {
        out.push_str(&fact("note", note, paint));
    }
    Some(out)
}

/// How faithfully the columns are held: one line where all are, else a line per column that is not simply itself.
fn fidelity(columns: &[ColumnPath], verbose: bool) -> String {
    if columns.is_empty() {
        return String::new();
    }
    let shown: Vec<&ColumnPath> = columns
        .iter()
        .filter(|path| verbose || path.fidelity != Fidelity::Exact)
        .collect();
    let exact = columns.len()
        - shown
            .iter()
            .filter(|path| path.fidelity == Fidelity::Lossy)
            .count();
    let mut lines = vec![if exact == columns.len() {
        format!("{}, every value held exactly", plural(exact as u64, "column"))
    } else {
        format!(
            "{exact} of {} held exactly",
            plural(columns.len() as u64, "column")
        )
    }];
    for path in shown {
        let loss = path
            .loss
            .as_ref()
            .map_or(String::new(), |loss| format!(": {loss}"));
        let way = [&path.source, &path.wire, &path.target];
        let way: Vec<&str> = way.iter().map(|word| word.as_str()).collect();
        lines.push(format!(
            "{}  {}  {}{loss}",
            path.column,
            way.join(" → "),
            path.fidelity.as_str()
        ));
    }
    lines.join("\n")
}

fn load_block(load: &LoadReport, verbose: bool, paint: Paint) -> String {
    let prepared = &load.preparation;
    let mut out = format!("  {} → {}\n", paint.name(&load.node), paint.name(&load.target));
    out.push_str(&fact("mode", load.mode, paint));
    out.push_str(&fact("guarantee", load.guarantee, paint));
    out.push_str(&fact(
        "path",
        &format!("{}: {}", prepared.path.as_str(), prepared.why),
        paint,
    ));
    out.push_str(&fact("writers", &prepared.lanes.to_string(), paint));
    out.push_str(&fact("columns", &fidelity(&prepared.columns, verbose), paint));
    for action in &prepared.actions {
        out.push_str(&fact(&format!("at {}", action.when), &action.text, paint));
    }
    for note in &prepared.notes {
        out.push_str(&fact("note", note, paint));
    }
    out
}

/// How a late writer is kept out, in words.
pub(crate) fn fence(kind: FenceKind) -> &'static str {
    match kind {
        FenceKind::Transaction => "checked in the transaction that publishes",
        FenceKind::ConditionalPut => "checked by a conditional put",
        FenceKind::LockFile => "checked under a lock on a file beside the target",
        FenceKind::None => "none: a zombie can publish",
    }
}
