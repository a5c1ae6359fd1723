//! Finds the objects of a file and takes them apart: keys with their values as they stand there.
//!
//! JSON lines are cut at line ends, so a damaged line is named exactly. Other JSON may be one array of objects or
//! objects one after another; an array must be closed, because one that is not lost its end on the way. Values stay
//! text: a number is never turned into a float.

use std::borrow::Cow;
use std::fmt;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use synqx_model::{Code, Error, Result};
use synqx_sdk::Budget;

use crate::window::Window;

/// Where between the objects of a JSON file the window begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Nothing was seen yet.
    Start,
    /// After an object that is in no array.
    Loose,
    /// After the `[` of the array.
    Opened,
    /// After an object of the array.
    Item,
    /// After a comma of the array.
    Comma,
    /// After the `]` of the array.
    Closed,
}

/// The objects of a file.
pub(crate) struct Objects {
    pub(crate) window: Window,
    lines: bool,
    /// Objects found so far.
    pub(crate) row: u64,
    at: At,
}

impl Objects {
    /// `lines`: one object per line.
    pub(crate) fn new(window: Window, lines: bool) -> Self {
        Objects {
            window,
            lines,
            row: 0,
            at: At::Start,
        }
    }

    /// Finds the next object: its place in the window, and where to go on. `None` at the end. Errors: `E0210`, `E0805`.
    pub(crate) fn next(&mut self, budget: &Budget) -> Result<Option<(usize, usize)>> {
        loop {
            let found = if self.lines { self.line() } else { self.value()? };
            match found {
                Some((start, end)) if start == end => self.window.consume(end),
                Some((start, end)) => {
                    self.row += 1;
                    return Ok(Some((start, end)));
                }
                None if self.window.is_last() => {
                    return match self.window.bytes().iter().all(u8::is_ascii_whitespace) {
                        false => Err(self.broken("the object that begins here is cut short")),
                        true if matches!(self.at, At::Opened | At::Item | At::Comma) => Err(self.unclosed()),
                        true => Ok(None),
                    };
                }
                None => self.more(budget)?,
            }
        }
    }

    /// The next line without its end; an empty range for a blank line.
    fn line(&self) -> Option<(usize, usize)> {
        let bytes = self.window.bytes();
        let end = match memchr::memchr(b'\n', bytes) {
            Some(at) => at + 1,
            None if self.window.is_last() && !bytes.is_empty() => bytes.len(),
            None => return None,
        };
        let blank = bytes[..end].iter().all(u8::is_ascii_whitespace);
        Some(if blank { (end, end) } else { (0, end) })
    }

    /// The next object; an empty range for what is between objects.
    fn value(&mut self) -> Result<Option<(usize, usize)>> {
        let bytes = self.window.bytes();
        let space = bytes.iter().take_while(|b| b.is_ascii_whitespace()).count();
        let (next, why) = match (self.at, bytes.get(space)) {
            (_, None) => return Ok((space > 0).then_some((space, space))),
            (At::Start | At::Loose, Some(b'{')) => (At::Loose, ""),
            (At::Opened | At::Comma, Some(b'{')) => (At::Item, ""),
            (At::Start, Some(b'[')) => (At::Opened, ""),
            (At::Item, Some(b',')) => (At::Comma, ""),
            (At::Opened | At::Item, Some(b']')) => (At::Closed, ""),
            (At::Closed, _) => (At::Closed, "text follows the end of the array"),
            (At::Item, _) => (At::Item, "a comma or the end of the array was expected after it"),
            (at, _) => (at, "an object was expected here"),
        };
        if !why.is_empty() {
            return Err(self.broken(why));
        }
        let found = match next {
            At::Loose | At::Item => object_end(&bytes[space..]).map(|length| (space, space + length)),
            _ => Some((space + 1, space + 1)),
        };
        if found.is_some() {
            self.at = next;
        }
        Ok(found)
    }

    /// The error for an array without its end.
    fn unclosed(&self) -> Error {
        let label = self.window.label();
        Error::new(
            Code::E0210,
            format!("`{label}` is cut short: its array is never closed"),
        )
        .with_detail(format!("The file ends after object {}, without `]`.", self.row))
        .with_hint("fetch the file again; compare its size with the original")
    }

    fn more(&mut self, budget: &Budget) -> Result<()> {
        if self.window.more()? {
            return Ok(());
        }
        let column = last_key(self.window.bytes()).unwrap_or_else(|| "?".to_owned());
        let place = format!("line {} of `{}`", self.window.line(), self.window.label());
        Err(budget.row_too_large(&column, &place, self.window.bytes().len() as u64))
    }

    /// The error for bytes that are no object.
    pub(crate) fn broken(&self, why: &str) -> Error {
        let (line, label) = (self.window.line(), self.window.label());
        Error::new(Code::E0210, format!("line {line} of `{label}` is not a JSON object"))
            .with_detail(format!("It is object {}; {why}.", self.row.max(1)))
            .with_hint("fix the line; files of one object per line are `format: jsonl`, arrays of objects `format: json`")
    }

    /// The text of an object. Errors: `E0207`.
    pub(crate) fn text(&self, (start, end): (usize, usize)) -> Result<&str> {
        std::str::from_utf8(&self.window.bytes()[start..end])
            .map_err(|cause| self.window.not_utf8(start + cause.valid_up_to(), None))
    }
}

/// The length of the object at the beginning, if it ends here.
fn object_end(bytes: &[u8]) -> Option<usize> {
    let (mut depth, mut at) = (0usize, 0);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => at = string_end(bytes, at)?,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
        at += 1;
    }
    None
}

/// The closing quote of the string that opens at `open`.
fn string_end(bytes: &[u8], open: usize) -> Option<usize> {
    let mut at = open + 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes[at] == b'"' {
            return Some(at);
        }
        at += 2;
    }
}

/// The key whose value the bytes end in.
fn last_key(bytes: &[u8]) -> Option<String> {
    let (mut depth, mut at, mut key) = (0usize, 0, None);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                let Some(end) = string_end(bytes, at) else { break };
                if depth == 1 && bytes.get(end + 1) == Some(&b':') {
                    key = Some(String::from_utf8_lossy(&bytes[at + 1..end]).into_owned());
                }
                at = end;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
    key
}

/// A key or text, borrowed where it has no escapes.
pub(crate) struct Plain<'a>(pub(crate) Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Plain<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Plain<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> std::result::Result<Plain<'de>, E> {
                Ok(Plain(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> std::result::Result<Plain<'de>, E> {
                Ok(Plain(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// The keys of an object with their values.
pub(crate) struct Pairs<'a>(pub(crate) Vec<(Plain<'a>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Pairs<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Map;
        impl<'de> Visitor<'de> for Map {
            type Value = Pairs<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Pairs<'de>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Map)
    }
}

/// The items of an array.
pub(crate) struct Items<'a>(pub(crate) Vec<&'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Items<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Seq;
        impl<'de> Visitor<'de> for Seq {
            type Value = Items<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<Items<'de>, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Items(items))
            }
        }
        deserializer.deserialize_seq(Seq)
    }
}

/// What a value is, by its first character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sort {
    Null,
    Boolean,
    Number,
    Text,
    Array,
    Object,
}

/// What a value is.
pub(crate) fn sort(raw: &str) -> Sort {
    match raw.as_bytes().first() {
        Some(b'n') | None => Sort::Null,
        Some(b't' | b'f') => Sort::Boolean,
        Some(b'"') => Sort::Text,
        Some(b'[') => Sort::Array,
        Some(b'{') => Sort::Object,
        Some(_) => Sort::Number,
    }
}
