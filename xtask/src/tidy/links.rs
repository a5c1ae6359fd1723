//! Links in Markdown files to files of this repository lead somewhere.
//!
//! Documents rot at their links first: a renamed file breaks them silently. Only links to this repository are
//! followed, and only to a file or folder that is tracked. Addresses on the web and anchors are not checked.

use super::Finding;
use super::tree::Tree;

/// Every relative link of every Markdown file.
pub(super) fn resolve(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.texts().filter(|(path, _)| path.ends_with(".md")) {
        for (line, target) in links(text) {
            let goal = goal(path, &target);
            if !goal.as_deref().is_some_and(|goal| tree.holds(goal)) {
                findings.push(Finding::line(
                    "link",
                    path,
                    line,
                    format!("`{target}` leads nowhere"),
                ));
            }
        }
    }
    findings
}

/// Line and target of each link outside code that may lead into the repository.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut in_fence = false;
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_fence = !in_fence;
        } else if !in_fence {
            // Every second piece between back-quotes is code.
            let prose: String = line
                .split('`')
                .enumerate()
                .map(|(i, piece)| if i % 2 == 0 { piece } else { "" })
                .collect();
            for piece in prose.split("](").skip(1) {
                let target = piece.split([')', ' ']).next().unwrap_or_default();
                let outside = target.contains("://") || target.starts_with("mailto:");
                let target = target.split('#').next().unwrap_or_default();
                if !outside && !target.is_empty() {
                    found.push((number + 1, target.to_owned()));
                }
            }
        }
    }
    found
}

/// The path from the root that a link means; `None` when it leaves the repository.
fn goal(file: &str, target: &str) -> Option<String> {
    let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
    let whole = match target.strip_prefix('/') {
        Some(from_root) => from_root.to_owned(),
        None => format!("{folder}/{target}"),
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in whole.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_leads_nowhere_is_found() {
        let page = "[a](b.md#part) [c](../README.md) [d](gone.md \"t\") [e](https://x.y/z) [f](#g)\n\
                    ```\n[h](gone2.md)\n```\n`[i](gone3.md)` ![j](/docs) [k](../../out.md)\n";
        let tree = Tree::of(&[
            ("docs/a.md", page),
            ("docs/b.md", ""),
            ("README.md", "[x](docs/)"),
        ]);
        let found: Vec<(usize, String)> = resolve(&tree)
            .into_iter()
            .map(|finding| (finding.line, finding.message))
            .collect();
        assert_eq!(
            found,
            [
                (1, "`gone.md` leads nowhere".to_owned()),
                (5, "`../../out.md` leads nowhere".to_owned())
            ]
        );
    }
}
