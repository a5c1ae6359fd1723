//! The shape of Rust files: headers, lengths, names, sizes of traits, and no `async fn` in the model.
//!
//! A newcomer finds a file by guessing its name and learns from its first lines what it is; both stay true only
//! when they are checked. The length and arguments of functions are not checked here: clippy does.

use super::Finding;
use super::tree::{RustFile, Tree};

const HEADER_LINES: std::ops::RangeInclusive<usize> = 3..=20;
const FILE_LINES: usize = 800;
const ROOT_FILE_LINES: usize = 200;
const TRAIT_METHODS: usize = 10;
const BANNED_NAMES: [&str; 7] = ["utils", "common", "helpers", "misc", "manager", "types", "v2"];

/// Every Rust file opens with what it is, why it exists and what it is not.
pub(super) fn headers(tree: &Tree) -> Vec<Finding> {
    let check = |file: RustFile<'_>| {
        let lines = file
            .text
            .lines()
            .take_while(|line| line.starts_with("//!"))
            .count();
        let words =
            format!("opens with {lines} lines of `//!`, not 3 to 20: say what it is, why, what it is not");
        (!HEADER_LINES.contains(&lines)).then(|| Finding::file("header", file.path, words))
    };
    tree.rust().filter_map(check).collect()
}

/// Files fit a reader's head: 800 lines, 200 for `lib.rs` and `mod.rs`.
pub(super) fn lengths(tree: &Tree) -> Vec<Finding> {
    let check = |file: RustFile<'_>| {
        let limit = match file.path.rsplit('/').next() {
            Some("lib.rs" | "mod.rs") => ROOT_FILE_LINES,
            _ => FILE_LINES,
        };
        let lines = file.text.lines().count();
        (lines > limit).then(|| {
            Finding::file(
                "file-length",
                file.path,
                format!("{lines} lines, at most {limit}"),
            )
        })
    };
    tree.rust().filter_map(check).collect()
}

/// Modules are named after things of the domain.
pub(super) fn module_names(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.rust() {
        let mut names: Vec<&str> = file.path.trim_end_matches(".rs").split('/').collect();
        names.extend(file.code.lines().filter_map(inline_module));
        let banned = names.into_iter().find(|name| BANNED_NAMES.contains(name));
        findings.extend(banned.map(|name| {
            Finding::file(
                "module-name",
                file.path,
                format!("`{name}` says nothing: name it after what it holds"),
            )
        }));
    }
    findings
}

fn inline_module(line: &str) -> Option<&str> {
    let (before, after) = line.split_once("mod ")?;
    let begins = before.trim().is_empty() || before.trim_start().starts_with("pub");
    let name = after.split(|c: char| !c.is_alphanumeric() && c != '_').next()?;
    begins.then_some(name)
}

/// A trait that asks for more than ten methods is two traits.
pub(super) fn trait_sizes(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.rust() {
        for (line, name, methods) in traits(&file.code) {
            if methods > TRAIT_METHODS {
                let words = format!("trait {name} requires {methods} methods, at most {TRAIT_METHODS}");
                findings.push(Finding::line("trait-size", file.path, line, words));
            }
        }
    }
    findings
}

/// Line, name and number of required methods of each trait.
fn traits(code: &str) -> Vec<(usize, String, usize)> {
    let mut found = Vec::new();
    let mut offset = 0;
    for (number, line) in code.split_inclusive('\n').enumerate() {
        let mut words = line
            .split_whitespace()
            .skip_while(|word| word.starts_with("pub") || *word == "unsafe");
        if words.next() == Some("trait")
            && let Some(name) = words.next()
        {
            let name = name
                .split(|c: char| !c.is_alphanumeric() && c != '_')
                .next()
                .unwrap_or(name);
            found.push((number + 1, name.to_owned(), required_methods(&code[offset..])));
        }
        offset += line.len();
    }
    found
}

/// Counts `fn …;` directly inside the first braces.
fn required_methods(code: &str) -> usize {
    let Some(open) = code.find('{') else { return 0 };
    let (mut braces, mut brackets, mut required) = (0_usize, 0_usize, 0);
    let mut in_signature = false;
    let mut word = String::new();
    for c in code[open..].chars() {
        if c.is_alphanumeric() || c == '_' {
            word.push(c);
            continue;
        }
        if word == "fn" && braces == 1 && brackets == 0 {
            in_signature = true;
        }
        word.clear();
        match c {
            '{' => {
                braces += 1;
                in_signature = false;
            }
            '}' => {
                braces -= 1;
                if braces == 0 {
                    break;
                }
            }
            '(' | '[' => brackets += 1,
            ')' | ']' => brackets = brackets.saturating_sub(1),
            ';' if in_signature && brackets == 0 => {
                required += 1;
                in_signature = false;
            }
            _ => {}
        }
    }
    required
}

/// The model describes; it never waits.
pub(super) fn no_async_in_model(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.rust().filter(|file| file.path.starts_with("crates/model/")) {
        for (number, line) in file.code.lines().enumerate() {
            let mut words = line.split_whitespace();
            if words.any(|word| word == "async") || line.contains(".await") {
                findings.push(Finding::line(
                    "async-model",
                    file.path,
                    number + 1,
                    "the model has no async",
                ));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_or_endless_header_is_found() {
        let long = "//! x\n".repeat(21);
        let good = "//! a\n//!\n//! b\n\nfn f() {}\n";
        let tree = Tree::of(&[
            ("a.rs", "//! a\n//! b\nfn f() {}"),
            ("b.rs", &long),
            ("c.rs", good),
            ("d.md", ""),
        ]);
        let paths: Vec<String> = headers(&tree).into_iter().map(|finding| finding.path).collect();
        assert_eq!(paths, ["a.rs", "b.rs"]);
    }

    #[test]
    fn a_long_file_is_found() {
        let lines = |count: usize| "x\n".repeat(count);
        let tree = Tree::of(&[
            ("a/lib.rs", &lines(201)),
            ("a/mod.rs", &lines(200)),
            ("a/b.rs", &lines(801)),
            ("a/c.rs", &lines(800)),
        ]);
        let paths: Vec<String> = lengths(&tree).into_iter().map(|finding| finding.path).collect();
        assert_eq!(paths, ["a/b.rs", "a/lib.rs"]);
    }

    #[test]
    fn a_name_that_says_nothing_is_found() {
        let tree = Tree::of(&[
            ("crates/a/src/utils.rs", ""),
            ("crates/a/src/types/row.rs", ""),
            ("crates/a/src/lib.rs", "pub(crate) mod helpers {\n}"),
            ("crates/a/src/row.rs", "// mod common;\nlet x = \"mod misc\";"),
        ]);
        let paths: Vec<String> = module_names(&tree)
            .into_iter()
            .map(|finding| finding.path)
            .collect();
        assert_eq!(
            paths,
            [
                "crates/a/src/lib.rs",
                "crates/a/src/types/row.rs",
                "crates/a/src/utils.rs"
            ]
        );
    }

    #[test]
    fn a_trait_with_eleven_required_methods_is_found() {
        let methods = |count: usize| "    async fn f(&self, x: [u8; 4]) -> Result<(), E>;\n".repeat(count);
        let provided =
            "    fn g(&self) -> u8 {\n        fn h() {}\n        1;\n        2\n    }\n    type T;\n";
        let big = format!(
            "/// fn x();\npub trait Big<T>: Send {{\n{provided}{}}}\n",
            methods(11)
        );
        let small = format!("trait Small {{\n{}{provided}}}\n{big}", methods(10));
        assert_eq!(traits(&super::super::mask::mask(&small)).len(), 2);
        let findings = trait_sizes(&Tree::of(&[("a.rs", &big), ("b.rs", &small)]));
        assert_eq!(findings.len(), 2);
        assert_eq!(findings[0].line, 2);
        assert!(
            findings
                .iter()
                .all(|finding| finding.message.contains("trait Big requires 11"))
        );
    }

    #[test]
    fn async_in_the_model_is_found() {
        let code = "// async fn a()\nfn b() {}\npub async fn c() {}\n";
        let tree = Tree::of(&[("crates/model/src/a.rs", code), ("crates/sdk/src/a.rs", code)]);
        let findings = no_async_in_model(&tree);
        assert_eq!(findings.len(), 1);
        assert_eq!(
            (findings[0].path.as_str(), findings[0].line),
            ("crates/model/src/a.rs", 3)
        );
    }
}
