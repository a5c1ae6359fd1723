//! Which files of an asset have been read before: the memory of incremental reads without a cursor column.
//!
//! A mark is the set of files there were when a read began: of each its name, and its length and time of change, as
//! digests of 64 bits each. A file is new when its name is not in the mark, in whatever order names arrive; one whose
//! name is there and whose state is not was rewritten. Files that are gone are forgotten, so a mark is never larger
//! than the listing. What the contents are is not looked at: a file replaced by one of the same length and the same
//! time of change, to the nanosecond, is taken for the same.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};
use synqx_model::{Code, Error, Result};
use synqx_sdk::{FileRange, NewFiles};

use crate::assets::{Entry, FileSet};
use crate::config::Rewritten;

/// Files that one mark remembers.
const MOST: usize = 100_000;
/// How a mark of this version begins.
const VERSION: &str = "1:";
/// Characters of one file in a mark.
const WIDTH: usize = 32;

/// The files of a mark: the digest of the name, the digest of the state.
type Known = BTreeMap<u64, u64>;

fn digest(bytes: &[u8]) -> u64 {
    let hash = Sha256::digest(bytes);
    let mut head = [0; 8];
    head.copy_from_slice(&hash[..8]);
    u64::from_be_bytes(head)
}

fn name_of(entry: &Entry) -> u64 {
    digest(entry.label.as_bytes())
}

fn state_of(entry: &Entry) -> u64 {
    let mut bytes = entry.stamp.len.to_be_bytes().to_vec();
    bytes.extend(entry.stamp.modified.to_be_bytes());
    digest(&bytes)
}

fn render(known: &Known) -> String {
    let mut text = String::with_capacity(VERSION.len() + known.len() * WIDTH);
    text.push_str(VERSION);
    for (name, state) in known {
        text.push_str(&format!("{name:016x}{state:016x}"));
    }
    text
}

fn parse(mark: &str) -> Result<Known> {
    let broken = || {
        Error::new(Code::E0502, "the stored list of files cannot be read").with_hint(
            "use the version of SynqX that wrote it, or run with `--reset` to read every file again",
        )
    };
    let list = mark
        .strip_prefix(VERSION)
        .filter(|list| list.is_ascii() && list.len() % WIDTH == 0);
    let list = list.ok_or_else(broken)?;
    let number = |text: &str| u64::from_str_radix(text, 16).map_err(|_| broken());
    (0..list.len() / WIDTH)
        .map(|index| {
            let (name, state) = list[index * WIDTH..(index + 1) * WIDTH].split_at(16);
            Ok((number(name)?, number(state)?))
        })
        .collect()
}

fn read_before(range: &FileRange) -> Result<Known> {
    range.from.as_deref().map_or(Ok(Known::new()), parse)
}

/// Marks the files there are, and tells those that `after` does not cover. Errors: `E0103`, `E0502`.
pub(crate) fn mark(set: &FileSet, after: Option<&str>, rewritten: Rewritten) -> Result<NewFiles> {
    if set.files.len() > MOST {
        return Err(Error::new(
            Code::E0103,
            format!(
                "an incremental read remembers {MOST} files at most, there are {}",
                set.files.len()
            ),
        )
        .with_hint("move files that were read to another folder, or name fewer with a pattern"));
    }
    let known = after.map_or(Ok(Known::new()), parse)?;
    let mut now = Known::new();
    let mut found = NewFiles::default();
    let mut changed = Vec::new();
    for file in &set.files {
        let (name, state) = (name_of(file), state_of(file));
        match known.get(&name) {
            None => found.new += 1,
            Some(before) if *before != state => changed.push(file.label.clone()),
            Some(_) => {}
        }
        now.insert(name, state);
    }
    if let (Some(first), Rewritten::Fail) = (changed.first(), rewritten) {
        return Err(
            Error::new(Code::E0502, format!("`{first}` has changed since it was read"))
                .with_detail(format!(
                    "{} of the files that earlier runs read have another length or time of change.",
                    changed.len()
                ))
                .with_hint(
                    "write new rows to new files; or read such files again with `options: { rewritten: reread }` and \
                     `write: upsert`; or run with `--reset` to read everything",
                ),
        );
    }
    found.again = changed;
    found.mark = render(&now);
    Ok(found)
}

/// Leaves the files of a range. Errors: `E0215` when one of them is gone or changed, `E0502`.
pub(crate) fn narrow(set: &mut FileSet, range: &FileRange) -> Result<()> {
    let (from, to) = (read_before(range)?, parse(&range.to)?);
    let wanted = |name: &u64, state: &u64| from.get(name) != Some(state);
    let expected = to.iter().filter(|(name, state)| wanted(name, state)).count();
    let all = set.files.len();
    set.files.retain(|file| {
        let (name, state) = (name_of(file), state_of(file));
        to.get(&name) == Some(&state) && wanted(&name, &state)
    });
    if set.files.len() != expected {
        return Err(Error::new(
            Code::E0215,
            "a file that this run has to read is gone or has changed",
        )
        .with_detail(format!(
            "{expected} files were new when the run began, {} of them are still as they were.",
            set.files.len()
        ))
        .with_hint("put the file back and run again, or run with `--abandon` to begin a run of its own"));
    }
    set.notes.push(format!("{expected} of {all} files are new"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::Stamp;

    fn set(files: &[(&str, u64)]) -> FileSet {
        let entry = |(label, len): &(&str, u64)| Entry {
            path: (*label).into(),
            label: (*label).to_owned(),
            stamp: Stamp {
                len: *len,
                modified: 7,
                inode: 1,
            },
            keys: Vec::new(),
        };
        FileSet {
            files: files.iter().map(entry).collect(),
            identity: String::new(),
            manifest: None,
            notes: Vec::new(),
        }
    }

    fn labels(set: &FileSet) -> Vec<&str> {
        set.files.iter().map(|file| file.label.as_str()).collect()
    }

    #[test]
    fn new_names_are_found_wherever_they_sort_and_changes_are_seen() {
        let first = mark(&set(&[("b", 1), ("d", 1)]), None, Rewritten::Fail).expect("marks");
        assert_eq!(first.new, 2);
        let mut later = set(&[("a", 1), ("b", 1), ("c", 1), ("d", 1), ("e", 1)]);
        let second = mark(&later, Some(&first.mark), Rewritten::Fail).expect("marks");
        assert_eq!(second.new, 3);
        let range = FileRange {
            from: Some(first.mark.clone()),
            to: second.mark,
        };
        narrow(&mut later, &range).expect("narrows");
        assert_eq!(labels(&later), ["a", "c", "e"]);
        assert_eq!(
            narrow(&mut set(&[("a", 1), ("c", 2), ("e", 1)]), &range)
                .expect_err("changed")
                .code(),
            Code::E0215
        );
        let grown = set(&[("b", 2), ("d", 1)]);
        let refused = mark(&grown, Some(&first.mark), Rewritten::Fail).expect_err("grown");
        assert!(refused.code() == Code::E0502 && refused.message().contains("`b`"));
        let again = mark(&grown, Some(&first.mark), Rewritten::Reread).expect("marks");
        assert_eq!(again.again, ["b"]);
        let mut grown = grown;
        let range = FileRange {
            from: Some(first.mark),
            to: again.mark,
        };
        narrow(&mut grown, &range).expect("narrows");
        assert_eq!(labels(&grown), ["b"]);
    }

    #[test]
    fn marks_that_nobody_wrote_are_refused() {
        for text in ["", "2:", "1:abc", "1:zz", "1:ééééééééééééééééé"] {
            assert_eq!(parse(text).expect_err("refused").code(), Code::E0502, "{text}");
        }
        assert!(parse("1:").expect("empty").is_empty());
    }
}
