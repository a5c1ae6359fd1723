//! A Markdown page on a terminal: headings bold, code indented and coloured, links as their text.
//!
//! Made for the pages in docs/errors, which use headings, lists, fenced code, tables and inline code. Without
//! colours the page stays readable text; nothing is re-wrapped.

use super::paint::Paint;

/// The page for a terminal.
pub(crate) fn render(page: &str, paint: Paint) -> String {
    let mut out = String::with_capacity(page.len());
    let mut in_code = false;
    for line in page.lines() {
        let trimmed = line.trim_start();
        if trimmed.starts_with("```") {
            in_code = !in_code;
            continue;
        }
        if in_code {
            out.push_str(&format!("    {}\n", paint.name(line)));
        } else if let Some(title) = trimmed.strip_prefix("# ").or(trimmed.strip_prefix("## ")) {
            out.push_str(&format!("{}\n", paint.bold(&inline(title, Paint::off()))));
        } else {
            out.push_str(&format!("{}\n", inline(line, paint)));
        }
    }
    out
}

/// Inline code and links; only relative links lose their address, since the pages are inside the binary.
fn inline(line: &str, paint: Paint) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(at) = rest.find(['`', '[']) {
        out.push_str(&rest[..at]);
        let tail = &rest[at..];
        let taken = if tail.starts_with('`') {
            code(tail, paint)
        } else {
            link(tail)
        };
        let (text, length) = taken.unwrap_or_else(|| (tail[..1].to_owned(), 1));
        out.push_str(&text);
        rest = &tail[length..];
    }
    out.push_str(rest);
    out
}

/// `` `text` `` → painted text, and how many bytes it took.
fn code(tail: &str, paint: Paint) -> Option<(String, usize)> {
    let end = tail[1..].find('`')?;
    let text = &tail[1..=end];
    let shown = if paint == Paint::off() {
        format!("`{text}`")
    } else {
        paint.name(text)
    };
    Some((shown, end + 2))
}

/// `[text](address)` → text, with the address when it leads outside.
fn link(tail: &str) -> Option<(String, usize)> {
    let close = tail.find("](")?;
    let end = tail[close..].find(')')? + close;
    let (text, address) = (&tail[1..close], &tail[close + 2..end]);
    if text.contains('[') {
        return None;
    }
    let shown = if address.contains("://") {
        format!("{text} ({address})")
    } else {
        text.to_owned()
    };
    Some((shown, end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_text_code_and_links() {
        let page = "# E1: `x`\n\nSee [E2](E2.md) and `a [b]`.\n\n```yaml\nk: [v]\n```\n- [ ] open\n";
        assert_eq!(
            render(page, Paint::off()),
            "E1: `x`\n\nSee E2 and `a [b]`.\n\n    k: [v]\n- [ ] open\n"
        );
        assert!(render(page, Paint::on()).contains("\x1b[36ma [b]\x1b[0m"));
    }
}
