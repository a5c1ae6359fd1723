//! Rust source with comments and literals replaced by spaces, so that a rule sees code alone.
//!
//! A rule that looks for `async fn` must not find it in a comment or a string. Positions and lines stay, so a
//! finding still names the right line. It is not a parser: it knows comments, strings and characters, nothing else.

/// The same number of lines and characters; everything that is no code is a space.
pub(super) fn mask(source: &str) -> String {
    let chars: Vec<char> = source.chars().collect();
    let mut masked: Vec<char> = Vec::with_capacity(chars.len());
    let mut at = 0;
    while at < chars.len() {
        let end = literal_end(&chars, at).unwrap_or(at);
        if end == at {
            masked.push(chars[at]);
            at += 1;
        } else {
            masked.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    masked.into_iter().collect()
}

/// Where the comment or literal that begins here ends; `None` when none begins here.
fn literal_end(chars: &[char], at: usize) -> Option<usize> {
    let ahead = |offset: usize| chars.get(at + offset).copied();
    match (chars[at], ahead(1)) {
        ('/', Some('/')) => Some(line_end(chars, at)),
        ('/', Some('*')) => Some(block_end(chars, at)),
        ('"', _) => Some(string_end(chars, at + 1)),
        ('r', Some('"' | '#')) if !word_before(chars, at) => raw_end(chars, at + 1),
        ('b' | 'c', Some('r')) if !word_before(chars, at) => raw_end(chars, at + 2),
        ('\'', _) => character_end(chars, at),
        _ => None,
    }
}

fn word_before(chars: &[char], at: usize) -> bool {
    at.checked_sub(1)
        .is_some_and(|before| chars[before].is_alphanumeric() || chars[before] == '_')
}

fn line_end(chars: &[char], at: usize) -> usize {
    chars[at..]
        .iter()
        .position(|c| *c == '\n')
        .map_or(chars.len(), |length| at + length)
}

fn block_end(chars: &[char], at: usize) -> usize {
    let (mut depth, mut here) = (0_usize, at);
    while here < chars.len() {
        match (chars[here], chars.get(here + 1)) {
            ('/', Some('*')) => {
                depth += 1;
                here += 2;
            }
            ('*', Some('/')) => {
                depth -= 1;
                here += 2;
                if depth == 0 {
                    return here;
                }
            }
            _ => here += 1,
        }
    }
    chars.len()
}

/// After the closing quote of a string whose content begins at `at`.
fn string_end(chars: &[char], at: usize) -> usize {
    let mut here = at;
    while here < chars.len() {
        match chars[here] {
            '\\' => here += 2,
            '"' => return here + 1,
            _ => here += 1,
        }
    }
    chars.len()
}

/// After the end of a raw string whose hashes begin at `at`; `None` when this is no raw string (`r#type`).
fn raw_end(chars: &[char], at: usize) -> Option<usize> {
    let hashes = chars[at..].iter().take_while(|c| **c == '#').count();
    if chars.get(at + hashes) != Some(&'"') {
        return None;
    }
    let closing: Vec<char> = std::iter::once('"')
        .chain(std::iter::repeat_n('#', hashes))
        .collect();
    let content = at + hashes + 1;
    let length = chars[content..]
        .windows(closing.len())
        .position(|window| window == closing);
    Some(length.map_or(chars.len(), |length| content + length + closing.len()))
}

/// After a character literal; `None` for a lifetime.
fn character_end(chars: &[char], at: usize) -> Option<usize> {
    if chars.get(at + 1) == Some(&'\\') {
        let rest = chars.get(at + 3..)?;
        return rest
            .iter()
            .position(|c| *c == '\'')
            .map(|length| at + 3 + length + 1);
    }
    (chars.get(at + 2) == Some(&'\'')).then_some(at + 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(source: &str) -> String {
        mask(source).split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn comments_and_literals_become_spaces() {
        assert_eq!(kept("a // b\nc /* d /* e */ f */ g"), "a c g");
        assert_eq!(
            kept(r##"a "b \" c" d r#"e " f"# g br"h" i b"j" k"##),
            "a d g i b k"
        );
        assert_eq!(kept(r"a '\'' b '\u{41}' c '{' d b'}' e"), "a b c d b e");
    }

    #[test]
    fn lifetimes_and_raw_names_stay() {
        assert_eq!(
            kept("fn f<'a>(x: &'a str) -> r#type"),
            "fn f<'a>(x: &'a str) -> r#type"
        );
    }

    #[test]
    fn lines_stay_where_they_are() {
        let source = "a\n\"x\ny\"\n/*\n*/b";
        assert_eq!(mask(source).lines().count(), source.lines().count());
        assert_eq!(mask(source).chars().count(), source.chars().count());
    }
}
