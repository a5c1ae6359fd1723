//! Collects the values of one row while its element is read: by path below the element, in order.
//!
//! `@id` is an attribute of the element, `author/name` the text of an element below it, `author/@id` an attribute
//! there, `#text` the element's own text. A path with several values is a list; an element with children or attributes
//! that comes several times cannot be held in columns and is refused by the caller.

/// How deep elements may stand in each other.
pub(crate) const DEPTH: usize = 128;

/// A value of a row.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Its values, one after another.
    pub(crate) text: String,
    /// Where each value ends.
    pub(crate) ends: Vec<usize>,
}

impl Found {
    /// The values.
    pub(crate) fn values(&self) -> impl Iterator<Item = &str> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.text[start..*end])
    }
}

/// An element that is open inside the row.
#[derive(Debug)]
struct Open {
    /// Bytes of the path before its name.
    before: usize,
    /// Its text so far.
    text: String,
    /// It has children or attributes.
    complex: bool,
}

/// A row being collected. Paths stay from row to row, so their order is that of their first appearance.
#[derive(Debug, Default)]
pub(crate) struct Record {
    /// Every path seen, with what this row has there.
    pub(crate) found: Vec<(String, Found)>,
    /// Elements that are no mere texts, with how often they came in this row.
    groups: Vec<(String, usize)>,
    open: Vec<Open>,
    path: String,
}

impl Record {
    /// Forgets the values of the last row.
    pub(crate) fn clear(&mut self) {
        for (_, found) in &mut self.found {
            found.text.clear();
            found.ends.clear();
        }
        for (_, times) in &mut self.groups {
            *times = 0;
        }
    }

    /// Elements open inside the row, the row's own among them.
    pub(crate) fn depth(&self) -> usize {
        self.open.len()
    }

    /// An element begins; the first one is the row's own.
    pub(crate) fn begin(&mut self, name: &str) {
        let before = self.path.len();
        if let Some(parent) = self.open.last_mut() {
            parent.complex = true;
            if !self.path.is_empty() {
                self.path.push('/');
            }
            self.path.push_str(name);
        }
        self.open.push(Open {
            before,
            text: String::new(),
            complex: false,
        });
    }

    /// An attribute of the element that is open.
    pub(crate) fn attribute(&mut self, name: &str, value: &str) {
        if let Some(open) = self.open.last_mut() {
            open.complex = true;
        }
        let path = match self.path.as_str() {
            "" => format!("@{name}"),
            path => format!("{path}/@{name}"),
        };
        self.add(&path, value);
    }

    /// Text of the element that is open.
    pub(crate) fn text(&mut self, text: &str) {
        if let Some(open) = self.open.last_mut() {
            open.text.push_str(text);
        }
    }

    /// The element that is open ends. The path of a group that came twice, which columns cannot hold.
    pub(crate) fn end(&mut self) -> Option<String> {
        let open = self.open.pop()?;
        let path = self.path.clone();
        let blank = open.text.trim().is_empty();
        let mut twice = None;
        match (self.open.is_empty(), open.complex) {
            // The row's own text, beside its children or alone.
            (true, complex) if !blank || !complex => self.add("#text", open.text.trim()),
            (false, false) => self.add(&path, open.text.trim()),
            (false, true) => {
                if !blank {
                    self.add(&format!("{path}/#text"), open.text.trim());
                }
                let times = match self.groups.iter_mut().find(|(known, _)| *known == path) {
                    Some((_, times)) => times,
                    None => {
                        self.groups.push((path.clone(), 0));
                        let last = self.groups.len() - 1;
                        &mut self.groups[last].1
                    }
                };
                *times += 1;
                twice = (*times > 1).then_some(path);
            }
            _ => {}
        }
        self.path.truncate(open.before);
        twice
    }

    fn add(&mut self, path: &str, value: &str) {
        let index = match self.found.iter().position(|(known, _)| known == path) {
            Some(index) => index,
            None => {
                self.found.push((path.to_owned(), Found::default()));
                self.found.len() - 1
            }
        };
        let found = &mut self.found[index].1;
        found.text.push_str(value);
        found.ends.push(found.text.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_path_and_repeated_groups_are_told() {
        let mut record = Record::default();
        record.begin("book");
        record.attribute("id", "7");
        for name in ["A", "B"] {
            record.begin("tag");
            record.text(name);
            assert_eq!(record.end(), None);
        }
        for _ in 0..2 {
            record.begin("author");
            record.begin("name");
            record.text(" x ");
            record.end();
            let twice = record.end();
            assert_eq!(twice.is_some(), record.groups[0].1 > 1);
        }
        record.end();
        let shown: Vec<(&str, Vec<&str>)> = record
            .found
            .iter()
            .map(|(path, found)| (path.as_str(), found.values().collect()))
            .collect();
        assert_eq!(
            shown,
            [
                ("@id", vec!["7"]),
                ("tag", vec!["A", "B"]),
                ("author/name", vec!["x", "x"])
            ]
        );
        record.clear();
        assert!(record.found.iter().all(|(_, found)| found.values().count() == 0));
    }
}
