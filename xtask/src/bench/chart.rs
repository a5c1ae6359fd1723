//! One SVG with a group of bars per lane: how long everybody took, in ratio to the lane's reference.
//!
//! Written by hand because a plotting library is a heavy way to draw rectangles. Colours follow the reader's light
//! or dark setting, and every bar carries its figure as text. Lanes without rows to move (`start`, `memory`,
//! `quality`) have no place in it.

use std::fmt::Write;

use super::summary::{Medians, State, Summary};

/// The lanes that are drawn, in this order.
const DRAWN: [&str; 7] = [
    "pg-pg-raw",
    "pg-pg-typed",
    "pg-parquet",
    "csv-pg",
    "parquet-pg",
    "upsert",
    "incremental",
];

const WIDTH: usize = 820;
const NAMES: usize = 230;
const BARS: f64 = 420.0;
const ROW: usize = 20;
const HEAD: usize = 26;
const GAP: usize = 14;

const STYLE: &str = "text{font:12px system-ui,sans-serif;fill:#24292f}.lane{font-weight:600}\
.note{fill:#57606a}.own{fill:#1a7f64}.ref{fill:#57606a}.peer{fill:#b6bec8}\
@media (prefers-color-scheme:dark){text{fill:#e6edf3}.note{fill:#9198a1}.own{fill:#3fb68b}\
.ref{fill:#9198a1}.peer{fill:#484f58}}";

/// The picture, or none when no drawn lane has a reference.
pub(super) fn render(summaries: &[Summary]) -> Option<String> {
    let drawn: Vec<(&Summary, Medians)> = DRAWN
        .iter()
        .filter_map(|name| summaries.iter().find(|summary| summary.lane.name == *name))
        .filter_map(|summary| Some((summary, summary.reference()?)))
        .collect();
    if drawn.is_empty() {
        return None;
    }
    let (mut body, mut y) = (String::new(), 8);
    for (summary, reference) in drawn {
        y = group(&mut body, summary, reference, y);
    }
    Some(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {y}\" width=\"{WIDTH}\" height=\"{y}\" \
         role=\"img\" aria-label=\"Wall time of each tool in ratio to the reference of its lane; shorter is faster\">\n\
         <style>{STYLE}</style>\n{body}</svg>\n"
    ))
}

/// Draws one lane from `y` on and returns where the next begins.
fn group(body: &mut String, summary: &Summary, reference: Medians, y: usize) -> usize {
    let mut bars: Vec<(&str, &str, Medians)> = summary
        .lines
        .iter()
        .filter_map(|line| match line.state {
            State::Measured(medians) => {
                let class = if line.name == summary.lane.reference {
                    "ref"
                } else if line.tool == "synqx" {
                    "own"
                } else {
                    "peer"
                };
                Some((line.name.as_str(), class, medians))
            }
            State::Out(_) => None,
        })
        .collect();
    bars.sort_by(|a, b| a.2.wall.total_cmp(&b.2.wall));
    let longest = bars.last().map_or(1.0, |bar| bar.2.wall);
    let _ = writeln!(
        body,
        "<text class=\"lane\" x=\"8\" y=\"{}\">{}</text><text class=\"note\" x=\"{NAMES}\" y=\"{}\">\
         scale {}, wall time, shorter is faster</text>",
        y + 14,
        escape(summary.lane.name),
        y + 14,
        escape(&summary.scale),
    );
    let mut y = y + HEAD;
    for (name, class, medians) in bars {
        let width = (medians.wall / longest * BARS).max(2.0);
        let _ = writeln!(
            body,
            "<text x=\"16\" y=\"{}\">{}</text><rect class=\"{class}\" x=\"{NAMES}\" y=\"{y}\" \
             width=\"{width:.1}\" height=\"{}\" rx=\"2\"/><text x=\"{:.1}\" y=\"{}\">{:.2}×  {:.2} s</text>",
            y + 12,
            escape(name),
            ROW - 5,
            NAMES as f64 + width + 8.0,
            y + 12,
            medians.wall / reference.wall,
            medians.wall,
        );
        y += ROW;
    }
    y + GAP
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::super::summary::{self, tests::lane, tests::measured};
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_times_and_the_disqualified_have_none() {
        let picture = render(&summary::of(lane("pg-pg-raw"), &measured())).unwrap();
        assert!(
            picture.contains("1.00×  10.00 s") && picture.contains("1.04×  10.40 s"),
            "{picture}"
        );
        assert!(
            picture.contains("class=\"own\" x=\"230\" y=\"54\" width=\"420.0\""),
            "{picture}"
        );
        assert!(picture.contains("width=\"403.8\""), "{picture}");
        assert!(!picture.contains("sling"));
        assert_eq!(picture.matches("<rect").count(), 2);
    }

    #[test]
    fn nothing_measured_is_no_picture() {
        assert_eq!(render(&[]), None);
        assert_eq!(escape("a<b & c>"), "a&lt;b &amp; c&gt;");
    }
}
