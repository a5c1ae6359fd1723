//! "Did you mean …": the nearest known name to a mistyped one.
//!
//! One rule for keys, columns, nodes, connections, tables and files, so suggestions feel the same everywhere.
//! A suggestion is only made when it is close enough to be more likely right than noise.

/// The candidate nearest to `wanted`, if any is near enough (Damerau-Levenshtein, at most a third of the length,
/// or the same letters in another case, or one a part of the other).
pub fn nearest<'a>(wanted: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = wanted.to_lowercase();
    let limit = (wanted.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .filter_map(|candidate| {
            let other = candidate.to_lowercase();
            let distance = strsim::damerau_levenshtein(&lower, &other);
            let part =
                lower.len() >= 4 && (other.contains(&lower) || lower.contains(&other)) && other.len() >= 4;
            (distance <= limit || part).then_some((distance, candidate))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// A hint sentence: the nearest name, else the list of what there is (at most 20 names).
pub fn did_you_mean<'a>(wanted: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    let all: Vec<&str> = candidates.into_iter().collect();
    match nearest(wanted, all.iter().copied()) {
        Some(name) => format!("did you mean `{name}`?"),
        None if all.is_empty() => "there is nothing to choose from".to_owned(),
        None => {
            let shown = all
                .iter()
                .take(20)
                .map(|n| format!("`{n}`"))
                .collect::<Vec<_>>()
                .join(", ");
            let more = if all.len() > 20 {
                format!(" and {} more", all.len() - 20)
            } else {
                String::new()
            };
            format!("known names: {shown}{more}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_only_what_is_near() {
        assert_eq!(nearest("tailnmu", ["tailnum", "carrier"]), Some("tailnum"));
        assert_eq!(nearest("Carrier", ["tailnum", "carrier"]), Some("carrier"));
        assert_eq!(nearest("xyz", ["tailnum", "carrier"]), None);
    }
}
