//! What a run did, at its end: rows per load, checks that found something, warnings, where the record is.
//!
//! Everything comes from the manifest, the same numbers that `run.json` holds; nothing is counted here.

use std::path::Path;
use std::time::Duration;

use synqx_model::ByteSize;
use synqx_model::manifest::{LoadRecord, Manifest, StepRecord};
use synqx_model::size::human_bytes;

use super::number::{count, plural, time};
use super::paint::Paint;
use super::table::Table;

/// The summary, ending in a line break. `title` is what people call the run, `record` is where `run.json` is,
/// if it was written; paths below `here` are shown relative to it.
pub(crate) fn render(
    title: &str,
    manifest: &Manifest,
    record: Option<&Path>,
    here: &Path,
    paint: Paint,
) -> String {
    let near = |path: &Path| path.strip_prefix(here).unwrap_or(path).display().to_string();
    let mut out = format!("\n{}\n", headline(title, manifest, paint));
    let loads = loads(manifest);
    if !loads.is_empty() {
        out.push_str(&format!("\n{}", loads.render(paint)));
    }
    let checks = checks(manifest);
    if !checks.is_empty() {
        out.push_str(&format!("\n{}", checks.render(paint)));
    }
    let mut notes = String::new();
    for place in &manifest.quarantine {
        notes.push_str(&format!(
            "  {} {}\n",
            paint.warn("quarantined:"),
            near(Path::new(place))
        ));
    }
    for warning in &manifest.warnings {
        notes.push_str(&format!("  {} {warning}\n", paint.warn("warning:")));
    }
    if let Some(record) = record {
        notes.push_str(&format!("  {} {}\n", paint.dim("record:"), near(record)));
    }
    if !notes.is_empty() {
        out.push_str(&format!("\n{notes}"));
    }
    out
}

fn headline(title: &str, manifest: &Manifest, paint: Paint) -> String {
    let title = paint.bold(title);
    let state = match manifest.state.as_str() {
        "succeeded" => paint.good("✓ succeeded"),
        "succeeded_with_warnings" => paint.warn("✓ succeeded with warnings"),
        "cancelled" => paint.warn("■ cancelled"),
        _ => paint.bad("✗ failed"),
    };
    let mut text = format!(
        "{title} {state} in {}",
        time(Duration::from_secs_f64(manifest.seconds.max(0.0)))
    );
    if manifest.attempts > 1 {
        text.push_str(&format!(", {} attempts", manifest.attempts));
    }
    if manifest.peak_resident > 0 {
        let (peak, budget) = (
            human_bytes(manifest.peak_resident),
            ByteSize(manifest.memory_budget),
        );
        text.push_str(&paint.dim(&format!(", peak memory {peak}, budget {budget}")));
    }
    text
}

/// A number, or nothing for zero; a column of zeros disappears.
fn some(n: u64) -> String {
    if n == 0 { String::new() } else { count(n) }
}

fn loads(manifest: &Manifest) -> Table {
    let mut table = Table::new(&[
        "LOAD",
        ">ROWS",
        ">INSERTED",
        ">UPDATED",
        ">UNCHANGED",
        ">SUPERSEDED",
        ">DELETED",
        ">QUARANTINED",
        ">DROPPED",
        "PATH",
        "",
    ])
    .indented(2);
    for step in &manifest.steps {
        if let Some(load) = &step.load {
            table.row(load_row(step, load));
        }
    }
    table
}

fn load_row(step: &StepRecord, load: &LoadRecord) -> Vec<String> {
    let rows: u64 = step.rows_in.iter().map(|edge| edge.received).sum();
    let note = if load.already_committed {
        "committed by an earlier attempt"
    } else {
        ""
    };
    let mut cells = vec![step.node.clone(), count(rows)];
    cells.extend(
        [
            load.inserted,
            load.updated,
            load.unchanged,
            load.superseded,
            load.deleted,
        ]
        .map(some),
    );
    cells.extend([step.quarantined, step.dropped].map(some));
    cells.extend([load.publish_path.clone(), note.to_owned()]);
    cells
}

/// A share in percent, never rounded to nothing.
fn share(ratio: f64) -> String {
    match ratio * 100.0 {
        percent if percent < 0.01 => "< 0.01%".to_owned(),
        percent => format!("{percent:.2}%"),
    }
}

fn checks(manifest: &Manifest) -> Table {
    let mut table = Table::new(&["CHECK", "STEP", ">FAILED", ">SHARE", "ACTION", "LEVEL"]).indented(2);
    for step in &manifest.steps {
        for check in step.checks.iter().filter(|check| !check.success) {
            let (rows, share) = match check.failed_rows {
                0 => ("table".to_owned(), String::new()),
                rows => (plural(rows, "row"), share(check.ratio)),
            };
            table.row([
                check.check.clone(),
                step.node.clone(),
                rows,
                share,
                check.action.clone(),
                check.level.as_str().to_owned(),
            ]);
        }
    }
    table
}
