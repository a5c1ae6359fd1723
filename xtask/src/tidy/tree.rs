//! The files of the repository as the rules see them: a path, and the text when it is text.
//!
//! They are read once, and the tests of the rules build a tree from literals instead of files. It knows nothing
//! of any rule.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::mask::mask;
use crate::failure::{Explain, Result};
use crate::workspace;

/// Paths are relative to the root, with `/` between their parts.
#[derive(Debug, Default)]
pub(super) struct Tree {
    /// `None` for a file that is not UTF-8 text.
    files: BTreeMap<String, Option<String>>,
}

/// A Rust file: its text, and the same text with comments and literals blanked.
#[derive(Debug)]
pub(super) struct RustFile<'a> {
    pub(super) path: &'a str,
    pub(super) text: &'a str,
    pub(super) code: String,
}

impl Tree {
    pub(super) fn read(root: &Path) -> Result<Self> {
        let mut files = BTreeMap::new();
        for path in workspace::files(root)? {
            let bytes = fs::read(root.join(&path)).explain(|| format!("cannot read {}", path.display()))?;
            let text = if bytes.contains(&0) {
                None
            } else {
                String::from_utf8(bytes).ok()
            };
            files.insert(path.to_string_lossy().into_owned(), text);
        }
        Ok(Self { files })
    }

    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    pub(super) fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path)?.as_deref()
    }

    /// Every text file.
    pub(super) fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files
            .iter()
            .filter_map(|(path, text)| Some((path.as_str(), text.as_deref()?)))
    }

    pub(super) fn rust(&self) -> impl Iterator<Item = RustFile<'_>> {
        self.texts()
            .filter(|(path, _)| path.ends_with(".rs"))
            .map(|(path, text)| RustFile {
                path,
                text,
                code: mask(text),
            })
    }

    /// True for a file, and for a folder that holds one.
    pub(super) fn holds(&self, path: &str) -> bool {
        let folder = format!("{}/", path.trim_end_matches('/'));
        self.files.contains_key(path)
            || path.is_empty()
            || self
                .files
                .range(folder.clone()..)
                .next()
                .is_some_and(|(first, _)| first.starts_with(&folder))
    }
}

#[cfg(test)]
impl Tree {
    pub(super) fn of(files: &[(&str, &str)]) -> Self {
        Self {
            files: files
                .iter()
                .map(|(path, text)| ((*path).to_owned(), Some((*text).to_owned())))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_held_when_a_file_in_it_is() {
        let tree = Tree::of(&[("docs/errors/E0101.md", ""), ("docs-old/a.md", "")]);
        assert!(tree.holds("docs/errors/E0101.md") && tree.holds("docs/errors") && tree.holds("docs/"));
        assert!(!tree.holds("docs/err") && !tree.holds("docs/errors/E0102.md"));
    }
}
