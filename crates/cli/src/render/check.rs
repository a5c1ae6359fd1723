//! Findings about connections and this machine: one line each, with what to do below those that are not well.
//!
//! Used by `check` and `doctor`, so that a finding looks the same wherever it is met.

use synqx_sdk::Finding;

use super::paint::Paint;

/// `  ✓ name  detail`, and a hint below when it is not well.
pub(crate) fn render(finding: &Finding, names: usize, paint: Paint) -> String {
    let mark = if finding.ok {
        paint.good("✓")
    } else {
        paint.bad("✗")
    };
    let mut out = format!("  {mark} {:<names$}  {}\n", finding.name, finding.detail);
    if let Some(hint) = finding.hint.as_deref().filter(|_| !finding.ok) {
        out.push_str(&format!(
            "    {} {} {hint}\n",
            " ".repeat(names),
            paint.warn(" hint:")
        ));
    }
    out
}

/// A heading and its findings, aligned.
pub(crate) fn render_all(title: &str, findings: &[Finding], paint: Paint) -> String {
    let names = findings.iter().map(|f| f.name.chars().count()).max().unwrap_or(0);
    let lines: String = findings
        .iter()
        .map(|finding| render(finding, names, paint))
        .collect();
    format!("{}\n{lines}", paint.bold(title))
}
