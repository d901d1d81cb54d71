//! Patterns of paths and names.

/// Whether a pattern with `*` for anything fits the whole of a path or name.
pub(super) fn fits(pattern: &str, path: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(last) = parts.next_back() else { return first == path };
    let between = path.strip_prefix(first).and_then(|rest| rest.strip_suffix(last));
    let Some(mut rest) = between else { return false };
    // The first place of each is the best one, for anything may come after it.
    parts.all(|part| match rest.find(part) {
        Some(at) => {
            rest = &rest[at + part.len()..];
            true
        }
        None => false,
    })
}

#[cfg(test)]
mod tests {
    use super::fits;

    /// Straight from the definition.
    fn simple(pattern: &str, path: &str) -> bool {
        match pattern.split_once('*') {
            None => pattern == path,
            Some((before, after)) => path
                .strip_prefix(before)
                .is_some_and(|rest| (0..=rest.len()).any(|at| simple(after, &rest[at..]))),
        }
    }

    #[test]
    fn every_short_pattern_fits_what_it_says() {
        let words = |letters: &[char], longest: usize| {
            let mut words = vec![String::new()];
            let mut last = words.clone();
            for _ in 0..longest {
                last = last
                    .iter()
                    .flat_map(|word| letters.iter().map(move |letter| format!("{word}{letter}")))
                    .collect();
                words.extend(last.iter().cloned());
            }
            words
        };
        for pattern in words(&['a', 'b', '*'], 5) {
            for path in words(&['a', 'b'], 5) {
                assert_eq!(fits(&pattern, &path), simple(&pattern, &path), "{pattern} {path}");
            }
        }
    }
}
