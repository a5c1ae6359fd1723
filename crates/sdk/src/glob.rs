//! Patterns of `*` and `?` over whole names, as `discover` takes them.
//!
//! `*` is any number of characters, `?` is one; everything else is itself and case counts. Names of tables have no
//! folders, so `*` passes over dots too. Patterns of file paths (`**`, `[a-z]`) are `local_file`'s own.

/// Whether a name matches a pattern.
pub fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if *c == '?' || *c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match star {
                // The last star takes one character more, and what follows it is tried again.
                Some((at, from)) => {
                    p = at + 1;
                    n = from + 1;
                    star = Some((at, from + 1));
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_as_a_whole() {
        for (pattern, name) in [
            ("*", ""),
            ("*", "a"),
            ("", ""),
            ("fl*s", "flights"),
            ("?b", "ab"),
            ("*a*", "bab"),
            ("a*b*c", "aXbXbXc"),
            ("public.*", "public.flights"),
            ("*.fl?ghts", "a.flights"),
            ("?", "ü"),
            ("**", "x"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("", "a"),
            ("a", "ab"),
            ("?", ""),
            ("fl*s", "flight"),
            ("public.f", "public.flights"),
            ("a*b", "abc"),
            ("Flights", "flights"),
        ] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }
}
