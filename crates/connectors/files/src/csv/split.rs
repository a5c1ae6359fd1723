//! Finds records and cells in bytes: quotes, doubled quotes, line ends of all three kinds, comments, blank lines.
//!
//! It keeps for every cell whether it had quotes, because that tells NULL from the empty text. It copies nothing and
//! knows no types. Bytes that end inside a record are `Incomplete`: the caller reads on and asks again.

use std::borrow::Cow;

use memchr::{memchr, memchr2};

use super::dialect::Dialect;

/// Where a cell is and how it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cell {
    /// First byte, inside the quotes.
    pub(crate) start: u32,
    /// One past the last byte.
    pub(crate) end: u32,
    /// How it was written.
    pub(crate) form: Form,
}

/// How a cell was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Without quotes.
    Bare,
    /// In quotes.
    Quoted,
    /// In quotes, with doubled quotes or escapes inside.
    Escaped,
}

impl Cell {
    /// The text as it stands in the file.
    #[inline]
    pub(crate) fn text<'a>(&self, text: &'a str) -> &'a str {
        &text[self.start as usize..self.end as usize]
    }
}

/// The text of a cell without its doubled quotes and escapes.
pub(crate) fn unescape<'a>(raw: &'a str, cell: &Cell, dialect: &Dialect) -> Cow<'a, str> {
    if cell.form != Form::Escaped {
        return Cow::Borrowed(raw);
    }
    let mut plain = String::with_capacity(raw.len());
    let mut characters = raw.chars();
    let is = |c: char, byte: Option<u8>| byte.is_some_and(|b| c == char::from(b));
    while let Some(c) = characters.next() {
        if is(c, dialect.escape) || is(c, dialect.quote) {
            plain.extend(characters.next());
        } else {
            plain.push(c);
        }
    }
    Cow::Owned(plain)
}

/// What [`record`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// A record that ends before this byte.
    Record(usize),
    /// Nothing but a comment or a blank line, which ends before this byte.
    Nothing(usize),
    /// The bytes end inside a record.
    Incomplete,
    /// The bytes end, and the file with them.
    End,
}

/// Why bytes are no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broken {
    /// A quote that opens at this byte is never closed.
    Unclosed(usize),
    /// Text follows the closing quote at this byte.
    AfterQuote(usize),
}

/// Finds the record that begins at `at` and appends its cells. `last`: no bytes come after these. `single`: the
/// file has one column, so a blank line is a record with an empty cell. After `Incomplete` some cells may have been
/// appended: they tell in which column the bytes end.
pub(crate) fn record(
    bytes: &[u8],
    mut at: usize,
    (last, single): (bool, bool),
    dialect: &Dialect,
    cells: &mut Vec<Cell>,
) -> Result<Step, Broken> {
    match bytes.get(at) {
        None => return Ok(if last { Step::End } else { Step::Incomplete }),
        Some(byte) if Some(*byte) == dialect.comment => {
            return Ok(match memchr(b'\n', &bytes[at..]) {
                Some(length) => Step::Nothing(at + length + 1),
                None if last => Step::Nothing(bytes.len()),
                None => Step::Incomplete,
            });
        }
        Some(b'\n' | b'\r') if !single => {
            return Ok(line_end(bytes, at, last).map_or(Step::Incomplete, Step::Nothing));
        }
        Some(_) => {}
    }
    loop {
        let form;
        let (start, end);
        if dialect.quote.is_some() && bytes.get(at).copied() == dialect.quote {
            let Some((close, escaped)) = closing_quote(bytes, at, last, dialect)? else {
                return Ok(Step::Incomplete);
            };
            form = if escaped { Form::Escaped } else { Form::Quoted };
            (start, end) = (at + 1, close);
            at = close + 1;
        } else {
            form = Form::Bare;
            start = at;
            while at < bytes.len() && !dialect.stops[usize::from(bytes[at])] {
                at += 1;
            }
            end = at;
        }
        let cell = Cell {
            start: start as u32,
            end: end as u32,
            form,
        };
        match bytes.get(at) {
            None if last => {
                cells.push(cell);
                return Ok(Step::Record(at));
            }
            None => return Ok(Step::Incomplete),
            Some(byte) if *byte == dialect.delimiter => {
                cells.push(cell);
                at += 1;
            }
            Some(b'\n') => {
                cells.push(cell);
                return Ok(Step::Record(at + 1));
            }
            Some(b'\r') => {
                let Some(after) = line_end(bytes, at, last) else {
                    return Ok(Step::Incomplete);
                };
                cells.push(cell);
                return Ok(Step::Record(after));
            }
            Some(_) => return Err(Broken::AfterQuote(at)),
        }
    }
}

/// One past the line end at `at`; `None` when that depends on bytes not read yet.
fn line_end(bytes: &[u8], at: usize, last: bool) -> Option<usize> {
    match (bytes[at], bytes.get(at + 1)) {
        (b'\n', _) => Some(at + 1),
        (_, Some(b'\n')) => Some(at + 2),
        (_, Some(_)) => Some(at + 1),
        (_, None) => last.then_some(at + 1),
    }
}

/// The closing quote of the cell that opens at `open`, and whether there is anything to unescape.
fn closing_quote(
    bytes: &[u8],
    open: usize,
    last: bool,
    dialect: &Dialect,
) -> Result<Option<(usize, bool)>, Broken> {
    let quote = dialect.quote.unwrap_or(b'"');
    let incomplete = if last {
        Err(Broken::Unclosed(open))
    } else {
        Ok(None)
    };
    let (mut at, mut escaped) = (open + 1, false);
    loop {
        let found = match dialect.escape {
            Some(escape) => memchr2(quote, escape, &bytes[at..]),
            None => memchr(quote, &bytes[at..]),
        };
        let Some(offset) = found else { return incomplete };
        at += offset;
        let next = bytes.get(at + 1);
        if bytes[at] != quote || next == Some(&quote) {
            if next.is_none() {
                return incomplete;
            }
            escaped = true;
            at += 2;
        } else if next.is_none() && !last {
            return Ok(None);
        } else {
            return Ok(Some((at, escaped)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{CsvOptions, Format};

    fn all(text: &str, options: CsvOptions) -> Vec<Vec<(String, bool)>> {
        let dialect = Dialect::new(Format::Csv, &options).expect("a dialect");
        let (mut at, mut rows) = (0, Vec::new());
        loop {
            let mut cells = Vec::new();
            match record(text.as_bytes(), at, (true, false), &dialect, &mut cells).expect("well formed") {
                Step::Record(next) => {
                    let row = cells.iter().map(|c| {
                        (
                            unescape(c.text(text), c, &dialect).into_owned(),
                            c.form != Form::Bare,
                        )
                    });
                    rows.push(row.collect());
                    at = next;
                }
                Step::Nothing(next) => at = next,
                Step::Incomplete => panic!("these are all bytes"),
                Step::End => return rows,
            }
        }
    }

    fn row(cells: &[(&str, bool)]) -> Vec<(String, bool)> {
        cells
            .iter()
            .map(|(text, quoted)| ((*text).to_owned(), *quoted))
            .collect()
    }

    #[test]
    fn keeps_quotes_apart_from_emptiness() {
        let rows = all("a,\"\",,\"x\"\"y\"\r\n\n1,2\r\"l\n\",3", CsvOptions::default());
        assert_eq!(
            rows,
            vec![
                row(&[("a", false), ("", true), ("", false), ("x\"y", true)]),
                row(&[("1", false), ("2", false)]),
                row(&[("l\n", true), ("3", false)]),
            ]
        );
    }

    #[test]
    fn knows_escapes_and_comments() {
        let options = CsvOptions {
            escape: Some("\\".into()),
            comment: Some("#".into()),
            ..Default::default()
        };
        assert_eq!(
            all("# no\n\"a\\\"b\",c#\n", options),
            vec![row(&[("a\"b", true), ("c#", false)])]
        );
    }

    #[test]
    fn every_cut_is_incomplete_or_the_same() {
        let text = b"a,\"b\"\"c\",d\r\n\"e\r\nf\",,\r\n";
        let dialect = Dialect::new(Format::Csv, &CsvOptions::default()).expect("a dialect");
        let mut whole = Vec::new();
        assert_eq!(
            record(text, 0, (true, false), &dialect, &mut whole),
            Ok(Step::Record(12))
        );
        for cut in 0..text.len() {
            let mut cells = Vec::new();
            match record(&text[..cut], 0, (false, false), &dialect, &mut cells) {
                Ok(Step::Record(12)) => assert_eq!(cells, whole),
                Ok(Step::Incomplete) => assert!(cut < 12, "cut at {cut}"),
                other => panic!("{other:?} at {cut}"),
            }
        }
    }
}
