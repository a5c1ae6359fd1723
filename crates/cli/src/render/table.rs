//! Columns that line up: headings, cells that may be painted, numbers to the right.
//!
//! Widths are counted in characters and ignore colours. Nothing wraps; what is too long is the caller's
//! choice to cut.

use super::paint::Paint;

/// Which side a column leans to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Left,
    Right,
}

/// A table being filled.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<(String, Side)>,
    rows: Vec<Vec<String>>,
    indent: usize,
}

impl Table {
    /// Headings; one that begins with `>` leans right.
    pub(crate) fn new(headings: &[&str]) -> Self {
        let column = |text: &&str| match text.strip_prefix('>') {
            Some(rest) => (rest.to_owned(), Side::Right),
            None => ((*text).to_owned(), Side::Left),
        };
        Table {
            columns: headings.iter().map(column).collect(),
            rows: Vec::new(),
            indent: 0,
        }
    }

    /// Indents every line.
    pub(crate) fn indented(mut self, spaces: usize) -> Self {
        self.indent = spaces;
        self
    }

    /// Adds a row of as many cells as there are headings.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Whether no row was added.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table; columns without a heading and without text are left out.
    pub(crate) fn render(&self, paint: Paint) -> String {
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|c| {
                let cells = self
                    .rows
                    .iter()
                    .filter_map(|row| row.get(c))
                    .map(|cell| width(cell));
                cells.chain([width(&self.columns[c].0)]).max().unwrap_or(0)
            })
            .collect();
        let filled = |c: &usize| {
            self.rows
                .iter()
                .any(|row| row.get(*c).is_some_and(|cell| !cell.is_empty()))
        };
        let shown: Vec<usize> = (0..self.columns.len()).filter(filled).collect();
        let line = |cells: &dyn Fn(usize) -> String| {
            let padded: Vec<String> = shown
                .iter()
                .map(|c| pad(&cells(*c), widths[*c], self.columns[*c].1))
                .collect();
            format!("{}{}", " ".repeat(self.indent), padded.join("  "))
                .trim_end()
                .to_owned()
                + "\n"
        };
        let mut out = String::new();
        if self.columns.iter().any(|(heading, _)| !heading.is_empty()) {
            out.push_str(&line(&|c| paint.dim(&self.columns[c].0)));
        }
        for row in &self.rows {
            out.push_str(&line(&|c| row.get(c).cloned().unwrap_or_default()));
        }
        out
    }
}

/// Characters a text takes on the screen, without colour codes. Wide characters count two.
pub(crate) fn width(text: &str) -> usize {
    let mut in_code = false;
    let mut sum = 0;
    for c in text.chars() {
        match c {
            '\x1b' => in_code = true,
            'm' if in_code => in_code = false,
            _ if in_code => {}
            c => sum += columns_of(c),
        }
    }
    sum
}

/// East Asian wide and emoji take two columns, combining marks none; the ranges are those of Unicode's
/// EastAsianWidth that occur in texts. An error here only shifts a cell.
fn columns_of(c: char) -> usize {
    match u32::from(c) {
        0x0300..=0x036F | 0x200B..=0x200F | 0xFE00..=0xFE0F => 0,
        0x1100..=0x115F
        | 0x2E80..=0x303E
        | 0x3041..=0xA4CF
        | 0xAC00..=0xD7A3
        | 0xF900..=0xFAFF
        | 0xFE30..=0xFE6F
        | 0xFF00..=0xFF60
        | 0xFFE0..=0xFFE6
        | 0x1F300..=0x1FAFF
        | 0x20000..=0x3FFFD => 2,
        _ => 1,
    }
}

/// Fills a text up to a width.
pub(crate) fn pad(text: &str, to: usize, side: Side) -> String {
    let spaces = " ".repeat(to.saturating_sub(width(text)));
    match side {
        Side::Left => format!("{text}{spaces}"),
        Side::Right => format!("{spaces}{text}"),
    }
}

/// Cuts a plain text to a width, marking the cut.
pub(crate) fn cut(text: &str, to: usize) -> String {
    if width(text) <= to {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut used = 0;
    for c in text.chars() {
        used += columns_of(c);
        if used + 1 > to {
            break;
        }
        out.push(c);
    }
    out.push('…');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_up_whatever_the_colours() {
        let mut table = Table::new(&["NAME", ">ROWS", ""]);
        table.row([Paint::on().name("a"), "1,000".to_owned(), String::new()]);
        table.row(["long name".to_owned(), "7".to_owned(), String::new()]);
        let text = table.render(Paint::off());
        assert_eq!(
            text,
            "NAME        ROWS\n\x1b[36ma\x1b[0m          1,000\nlong name      7\n"
        );
    }

    #[test]
    fn cuts_by_columns_not_by_bytes() {
        assert_eq!(cut("äöüäöü", 4), "äöü…");
        assert_eq!(cut("日本語", 5), "日本…");
        assert_eq!(cut("abc", 3), "abc");
    }
}
