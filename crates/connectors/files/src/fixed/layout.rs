//! Where the columns of a line are, as a document says it, checked.
//!
//! Places are counted in characters from 1. They may leave gaps, which are not read and written as blanks; they may
//! not overlap. Types are declared under `columns:` like everywhere else, or inferred.

use serde::Deserialize;
use synqx_model::{Code, Error, Result};

/// A column of a line, as the document says it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Place {
    /// The column's name.
    pub(crate) name: String,
    /// Its first character, from 1.
    pub(crate) start: usize,
    /// How many characters it has.
    pub(crate) width: usize,
    /// Which blanks around a value are not part of it.
    #[serde(default)]
    pub(crate) trim: Trim,
    /// Where a value that is shorter than its place stands.
    #[serde(default)]
    pub(crate) align: Align,
    /// What the rest of its place is filled with.
    #[serde(default)]
    pub(crate) pad: Option<char>,
}

/// Which blanks around a value are not part of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Trim {
    #[default]
    Both,
    Left,
    Right,
    None,
}

/// Where a value stands in its place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Align {
    #[default]
    Left,
    Right,
}

impl Trim {
    /// The text without the blanks that are not part of it.
    pub(crate) fn apply(self, text: &str) -> &str {
        match self {
            Trim::Both => text.trim_matches(' '),
            Trim::Left => text.trim_start_matches(' '),
            Trim::Right => text.trim_end_matches(' '),
            Trim::None => text,
        }
    }
}

/// The columns of a line, in the order of the document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    /// The columns.
    pub(crate) places: Vec<Place>,
    /// Characters of a line.
    pub(crate) width: usize,
}

/// Characters a line may have.
const WIDEST: usize = 1 << 20;

impl Layout {
    /// Checks the places. Errors: `E0103`, `E0406`.
    pub(crate) fn new(places: Vec<Place>) -> Result<Self> {
        let hint = "write `fields: [{ name: id, start: 1, width: 6 }]`; `start` counts characters from 1";
        let wrong = |what: String| Error::new(Code::E0103, what).with_hint(hint);
        if places.is_empty() {
            return Err(wrong("`fields` names no column".to_owned()));
        }
        let mut by_start: Vec<&Place> = places.iter().collect();
        by_start.sort_by_key(|place| place.start);
        let mut end = 1;
        let mut before: Option<&Place> = None;
        for place in by_start {
            let name = &place.name;
            if place.start == 0 || place.width == 0 || place.start.saturating_add(place.width) > WIDEST {
                return Err(
                    wrong(format!("the place of field `{name}` is not in a line")).with_detail(format!(
                        "`start` is from 1 on, `width` at least 1, a line at most {WIDEST} characters."
                    )),
                );
            }
            if let Some(other) = before.filter(|_| place.start < end) {
                return Err(wrong(format!("the fields `{}` and `{name}` overlap", other.name)));
            }
            if places.iter().filter(|other| other.name == *name).count() > 1 {
                return Err(
                    Error::new(Code::E0406, format!("`fields` names column `{name}` twice"))
                        .with_hint("give every field a name of its own"),
                );
            }
            end = place.start + place.width;
            before = Some(place);
        }
        Ok(Layout {
            width: end - 1,
            places,
        })
    }
}

/// The error for a document that does not say where the columns are.
pub(crate) fn unknown() -> Error {
    Error::new(Code::E0103, "a file of fixed columns needs `fields`")
        .with_hint("write `options: { fields: [{ name: id, start: 1, width: 6 }, { name: name, start: 7, width: 20 }] }`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(places: serde_json::Value) -> Result<Layout> {
        Layout::new(serde_json::from_value(places).expect("places"))
    }

    #[test]
    fn places_that_overlap_or_repeat_are_refused() {
        let good = layout(serde_json::json!([
            { "name": "b", "start": 5, "width": 3 }, { "name": "a", "start": 1, "width": 4 }
        ]));
        assert_eq!(good.expect("fits").width, 7);
        for (places, code) in [
            (serde_json::json!([]), Code::E0103),
            (
                serde_json::json!([{ "name": "a", "start": 0, "width": 4 }]),
                Code::E0103,
            ),
            (
                serde_json::json!([{ "name": "a", "start": 1, "width": 0 }]),
                Code::E0103,
            ),
            (
                serde_json::json!([{ "name": "a", "start": 1, "width": 4 }, { "name": "b", "start": 4, "width": 1 }]),
                Code::E0103,
            ),
            (
                serde_json::json!([{ "name": "a", "start": 1, "width": 1 }, { "name": "a", "start": 4, "width": 1 }]),
                Code::E0406,
            ),
        ] {
            assert_eq!(
                layout(places.clone()).expect_err("refused").code(),
                code,
                "{places}"
            );
        }
    }
}
