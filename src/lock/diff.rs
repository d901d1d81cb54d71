//! What changed between two locks, in words.

use std::collections::BTreeMap;
use std::fmt;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Lock;

/// One input that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// `debian`, `python ENV`, `npm`, `url` or `index`.
    pub kind: String,
    /// The input's name.
    pub name: String,
    /// Version before; `None`: it was not there.
    pub old: Option<String>,
    /// Version now; `None`: it is gone.
    pub new: Option<String>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, name, old, new } = self;
        match (old, new) {
            (Some(old), Some(new)) => write!(f, "~ {kind} {name} {old} -> {new}"),
            (None, Some(new)) => write!(f, "+ {kind} {name} {new}"),
            (Some(old), None) => write!(f, "- {kind} {name} {old}"),
            (None, None) => Ok(()),
        }
    }
}

/// Name and kind of an input, to what tells its versions apart.
type Versions = BTreeMap<(String, String), String>;

impl Lock {
    /// What is different in `newer`, sorted by kind, then name. Two files of the same version that differ
    /// in their bytes are a change too.
    pub fn changes(&self, newer: &Self) -> Vec<Change> {
        let (old, new) = (self.versions(), newer.versions());
        let mut keys: Vec<_> = old.keys().chain(new.keys()).collect();
        keys.sort();
        keys.dedup();
        keys.into_iter()
            .filter(|key| old.get(key) != new.get(key))
            .map(|key| Change {
                kind: key.0.clone(),
                name: key.1.clone(),
                old: old.get(key).cloned(),
                new: new.get(key).cloned(),
            })
            .collect()
    }

    fn versions(&self) -> Versions {
        let mut versions = Versions::new();
        let mut add = |kind: String, name: &str, version: String| {
            versions.insert((kind, name.to_owned()), version);
        };
        for index in &self.indexes {
            let date = OffsetDateTime::from_unix_timestamp(index.date).ok();
            let date = date.and_then(|date| date.format(&Rfc3339).ok());
            let version =
                format!("of {} ({})", date.unwrap_or_default(), &index.digest.short()[..8]);
            add("index".to_owned(), &index.suite, version);
        }
        for deb in &self.debs {
            let version = format!("{} ({})", deb.version, &deb.digest.short()[..8]);
            add("debian".to_owned(), &deb.name, version);
        }
        for wheel in &self.wheels {
            let version = format!("{} ({})", wheel.version, &wheel.digest.short()[..8]);
            add(format!("python {}", wheel.env), &wheel.name, version);
        }
        for npm in &self.npm {
            // Several versions of one package may be there at once.
            let name = format!("{}@{}", npm.name, npm.version);
            add("npm".to_owned(), &name, npm.digest.short()[..8].to_owned());
        }
        for url in &self.urls {
            add("url".to_owned(), &url.name, url.digest.short());
        }
        versions
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::lock::Wheel;

    fn wheel(name: &str, version: &str, bytes: &str) -> Wheel {
        Wheel {
            env: "synapse".into(),
            name: name.into(),
            version: version.into(),
            file: format!("{name}-{version}-py3-none-any.whl"),
            size: 1,
            digest: Digest::of(bytes.as_bytes()),
        }
    }

    #[test]
    fn additions_removals_moves_and_silent_rebuilds_are_all_changes() {
        let lock = |wheels| Lock { wheels, ..Lock::default() };
        let old = lock(vec![wheel("a", "1", "a"), wheel("b", "1", "b"), wheel("c", "1", "c")]);
        let new = lock(vec![wheel("a", "2", "A"), wheel("c", "1", "other"), wheel("d", "1", "d")]);
        let lines: Vec<_> = old.changes(&new).iter().map(Change::to_string).collect();
        let starts = [
            "~ python synapse a 1 (",
            "- python synapse b 1 (",
            "~ python synapse c 1 (",
            "+ python synapse d 1 (",
        ];
        assert_eq!(lines.len(), starts.len(), "{lines:?}");
        for (line, start) in lines.iter().zip(starts) {
            assert!(line.starts_with(start), "{line}");
        }
        assert!(old.changes(&old).is_empty());
    }
}
