//! `benches/README.md`: what was measured, against which bar, and how to do it again.
//!
//! The text around the figures is `benches/method.md` and `benches/corrections.md`, written by people; the tables come
//! from the raw lines alone, so nobody types a figure. It measures nothing.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use super::chart;
use super::lane::Bar;
use super::lanes;
use super::record;
use super::summary::{self, Line, Medians, Standing, State, Summary};
use crate::failure::{Explain, Result};

/// Renders report and chart of the raw lines below `folder`; `texts` holds the written parts.
pub(super) fn write(folder: &Path, texts: &Path) -> Result<()> {
    let part = |name: &str| {
        let path = texts.join(name);
        fs::read_to_string(&path).explain(|| format!("cannot read {}", path.display()))
    };
    let mut lanes_text = String::new();
    let mut all = Vec::new();
    for lane in lanes::all() {
        let summaries = summary::of(lane, &record::read(folder, lane.name)?);
        if !summaries.is_empty() {
            lanes_text.push_str(&section(&summaries));
        }
        all.extend(summaries);
    }
    if all.is_empty() {
        lanes_text.push_str("No complete run of any lane has been recorded yet.\n");
    }
    let text = format!(
        "<!-- Made by `cargo x bench`; change method.md or corrections.md, or run it, not this file. -->\n\n{}\n# Figures\n\n{}\n{}",
        part("method.md")?,
        lanes_text,
        part("corrections.md")?
    );
    let mut files = vec![("README.md", text)];
    if let Some(chart) = chart::render(&all) {
        files.push(("chart.svg", chart));
    }
    for (name, text) in files {
        let path = folder.join(name);
        fs::write(&path, text).explain(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// One lane at all of its scales.
fn section(summaries: &[Summary]) -> String {
    let Some(first) = summaries.first() else {
        return String::new();
    };
    let mut text = format!("## {}\n\n{}\n", first.lane.name, first.lane.work);
    for summary in summaries {
        let machine = &summary.sample.machine;
        let word = |value: &serde_json::Value| value.as_str().unwrap_or("?").to_owned();
        let _ = write!(
            text,
            "\nScale {}, {} rows; {} cores, {:.0} GB, {}, PostgreSQL {}, load before {}{}.\n\n",
            summary.scale,
            summary.sample.work_rows,
            machine["cores"],
            machine["memory_bytes"].as_f64().unwrap_or(0.0) / 1e9,
            word(&machine["kernel"]),
            word(&machine["postgresql"]),
            word(&machine["load_before"]),
            summary
                .sample
                .commit
                .as_ref()
                .map_or_else(String::new, |commit| format!(", SynqX at {commit}")),
        );
        text.push_str(
            "| | version, path | median s | min–max | ratio | CPU-s | server CPU-s | peak MB | M rows per CPU-s |\n\
             |---|---|---:|---:|---:|---:|---:|---:|---:|\n",
        );
        let reference = summary.reference();
        for line in &summary.lines {
            text.push_str(&row(line, summary.lane.reference, reference));
        }
        text.push('\n');
        for bar in summary.lane.bars {
            let standing = summary.standing(*bar, summaries);
            let _ = writeln!(text, "- {}", judged(*bar, standing));
        }
    }
    let _ = write!(text, "\nAgain: `cargo x bench {}", first.lane.name);
    if first.scale != "1" {
        let _ = write!(text, " --scale {}", first.scale);
    }
    text.push_str("`. Commands:\n\n```sh\n");
    for contestant in first.lane.contestants {
        let _ = writeln!(text, "# {}\n{}", contestant.name, contestant.command);
    }
    text.push_str("```\n\n");
    text
}

fn row(line: &Line, reference_name: &str, reference: Option<Medians>) -> String {
    let name = if line.name == reference_name {
        format!("{} (reference)", line.name)
    } else {
        line.name.clone()
    };
    let version = match &line.path {
        Some(path) => format!("{}, {path}", line.version),
        None => line.version.clone(),
    };
    let medians = match &line.state {
        State::Out(why) => return format!("| {name} | {version} | {why} | | | | | | |\n"),
        State::Measured(medians) => medians,
    };
    let ratio = reference.map_or_else(
        || "–".to_owned(),
        |reference| format!("{:.2}×", medians.wall / reference.wall),
    );
    let server = medians
        .server_cpu
        .map_or_else(|| "–".to_owned(), |server| format!("{server:.2}"));
    format!(
        "| {name} | {version} | {} | {}–{} | {ratio} | {:.2} | {server} | {} | {} |\n",
        seconds(medians.wall),
        seconds(medians.least),
        seconds(medians.most),
        medians.cpu,
        // What ends within the first sample has shown nothing.
        if medians.peak < 1e6 {
            "–".to_owned()
        } else {
            format!("{:.0}", medians.peak / 1e6)
        },
        // Below five ticks of the kernel's clock a quotient says nothing.
        if medians.cpu < 0.05 {
            "–".to_owned()
        } else {
            format!("{:.2}", medians.rows_per_cpu / 1e6)
        },
    )
}

/// Three digits that matter, down to a tenth of a millisecond.
fn seconds(value: f64) -> String {
    if value < 0.1 {
        format!("{value:.4}")
    } else if value < 10.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.1}")
    }
}

/// The bar in words, and what became of it.
fn judged(bar: Bar, standing: Standing) -> String {
    let (demand, unit) = match bar {
        Bar::Wall { of, times, plus_ms } if plus_ms > 0.0 => (
            format!("{of}: at most {times}× the reference plus {plus_ms} ms"),
            "×",
        ),
        Bar::Wall { of, times, .. } => (format!("{of}: at most {times}× the reference"), "×"),
        Bar::Cpu { of } => (format!("{of}: no more CPU than the reference"), "×"),
        Bar::Faster { of, times } => (format!("{of}: at least {times}× faster than the best other"), "×"),
        Bar::NotSlower { of, times } => (format!("{of}: at most {times}× the best other"), "×"),
        Bar::RowsPerCpu { of, least } => (
            format!("{of}: at least {:.1} M rows per CPU-second", least / 1e6),
            " M",
        ),
        Bar::Milliseconds { of, most } => (format!("{of}: at most {most} ms"), " ms"),
        Bar::Resident { of, most } => (
            format!("{of}: at most {:.0} MB resident", most as f64 / 1e6),
            " MB",
        ),
        Bar::Growth { of, times } => (
            format!("{of}: peak at scale 10 at most {times}× that at scale 1"),
            "×",
        ),
    };
    let (figure, met) = match standing {
        Standing::Open => return format!("{demand}: **open**, a figure is missing"),
        Standing::Known(figure, met) => (figure, met),
    };
    let shown = match bar {
        Bar::RowsPerCpu { .. } | Bar::Resident { .. } => figure / 1e6,
        _ => figure,
    };
    let word = if met { "met" } else { "**missed**" };
    format!("{demand}: {word}, {shown:.2}{unit}")
}

#[cfg(test)]
mod tests {
    use super::super::summary::tests::{lane, measured};
    use super::*;

    #[test]
    fn the_table_shows_ratios_bars_and_who_was_disqualified() {
        let text = section(&summary::of(lane("pg-pg-raw"), &measured()));
        for expected in [
            "| psql binary pipe (reference) | 1.0 | 10.0 | 9.00–11.0 | 1.00× |",
            "| synqx direct | 1.0 | 10.4 | 10.0–30.0 | 1.04× | 5.20 | 10.40 | 100 | 1.15 |",
            "| sling | 1.0 | wrong result: 5 rows instead of 6 |",
            "synqx direct: at most 1.05× the reference: met, 1.04×",
            "synqx fresh: at most 1.05× the reference: **open**",
            "cargo x bench pg-pg-raw`",
        ] {
            assert!(text.contains(expected), "{expected}\n{text}");
        }
    }

    #[test]
    fn a_report_without_runs_says_so() {
        let folder = std::env::temp_dir().join(format!("synqx-bench-report-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        for name in ["method.md", "corrections.md"] {
            fs::write(folder.join(name), format!("# {name}\n")).unwrap();
        }
        write(&folder, &folder).unwrap();
        let text = fs::read_to_string(folder.join("README.md")).unwrap();
        assert!(text.contains("No complete run"), "{text}");
        assert!(text.contains("# method.md") && text.contains("# corrections.md"));
        assert!(!folder.join("chart.svg").exists());
        for record in measured() {
            record.append(&folder).unwrap();
        }
        write(&folder, &folder).unwrap();
        let text = fs::read_to_string(folder.join("README.md")).unwrap();
        assert!(
            text.contains("## pg-pg-raw") && !text.contains("No complete run"),
            "{text}"
        );
        assert!(folder.join("chart.svg").is_file());
        fs::remove_dir_all(folder).unwrap();
    }
}
