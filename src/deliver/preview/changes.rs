//! From one image to another.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Facts;

/// What became of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// It is new.
    Added,
    /// It is another.
    Changed,
    /// It is gone.
    Removed,
}

/// One thing that is not the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What it is: a package's name, a path.
    pub name: String,
    /// What became of it.
    pub change: Kind,
    /// Its version before, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Its version now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// All that is not the same, each list sorted by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// With versions.
    pub packages: Vec<Change>,
    /// Configuration.
    pub files: Vec<Change>,
    /// Open ports.
    pub ports: Vec<Change>,
    /// Enabled units.
    pub units: Vec<Change>,
}

impl Changes {
    /// What is in `to` and not in `from`, and the other way round.
    pub fn between(from: &Facts, to: &Facts) -> Self {
        // A box tells only what it can: of what it does not, nothing is said.
        let files = |facts: &Facts| {
            let both = |path: &&String| from.tells_of(path) && to.tells_of(path);
            let files = facts.files.iter().filter(|(path, _)| both(path));
            files.map(|(path, contents)| (path.clone(), contents.clone())).collect()
        };
        let named = |names: &std::collections::BTreeSet<String>| {
            names.iter().map(|name| (name.clone(), String::new())).collect()
        };
        Self {
            packages: diff(&from.packages, &to.packages, Some),
            files: diff(&files(from), &files(to), |_| None),
            ports: from
                .ports
                .as_ref()
                .zip(to.ports.as_ref())
                .map_or(Vec::new(), |(from, to)| diff(&named(from), &named(to), |_| None)),
            units: diff(&named(&from.units), &named(&to.units), |_| None),
        }
    }
}

/// What differs between two sets of named things. `shown`: what is said of one, its version for instance.
pub(crate) fn diff<'a, T: PartialEq>(
    from: &'a BTreeMap<String, T>,
    to: &'a BTreeMap<String, T>,
    shown: impl Fn(&'a T) -> Option<&'a String>,
) -> Vec<Change> {
    let mut names: Vec<&String> = from.keys().chain(to.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let change = |name: &String| {
        let (before, now) = (from.get(name), to.get(name));
        let change = match (before, now) {
            (Some(before), Some(now)) if before == now => return None,
            (Some(_), Some(_)) => Kind::Changed,
            (None, _) => Kind::Added,
            (_, None) => Kind::Removed,
        };
        let version = |thing: Option<&'a T>| thing.and_then(&shown).cloned();
        Some(Change { name: name.clone(), change, from: version(before), to: version(now) })
    };
    names.into_iter().filter_map(change).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_same_is_not_told() {
        let map = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, to)| ((*name).to_owned(), (*to).to_owned())).collect()
        };
        let from = map(&[("bash", "5"), ("curl", "8.1"), ("dash", "1")]);
        let to = map(&[("bash", "5"), ("curl", "8.2"), ("exim", "4")]);
        let told = diff(&from, &to, Some);
        let told: Vec<_> = told
            .iter()
            .map(|it| (&*it.name, it.change, it.from.as_deref(), it.to.as_deref()))
            .collect();
        assert_eq!(
            told,
            [
                ("curl", Kind::Changed, Some("8.1"), Some("8.2")),
                ("dash", Kind::Removed, Some("1"), None),
                ("exim", Kind::Added, None, Some("4")),
            ]
        );
    }
}
