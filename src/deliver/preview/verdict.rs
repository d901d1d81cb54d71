//! Whether a box could go back from an update, by the formats of its programs' data.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::compose::numbers;

/// What going back takes; the worse, the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Return {
    /// Nothing: the older programs read what the newer ones write (`chatimg rollback --keep-data`).
    WithData,
    /// The snapshot: what was written since is lost, but for messages that are exported (`--with-data`).
    NeedsSnapshot,
    /// The new image could not even read what is there: the box refuses it.
    OneWay,
}

/// Of one program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Verdict {
    /// The format's name.
    pub name: String,
    /// Its version now; `None`: it is new.
    pub from: Option<String>,
    /// Its version after the update; `None`: it is gone.
    pub to: Option<String>,
    /// What going back takes.
    pub going_back: Return,
}

/// Each program's version, and the oldest that reads what it writes.
pub(super) type Formats = BTreeMap<String, (String, String)>;

pub(super) fn judge(from: &Formats, to: &Formats) -> Vec<Verdict> {
    let mut names: Vec<&String> = from.keys().chain(to.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let reads = |program: &str, oldest: &str| numbers(program) >= numbers(oldest);
    names
        .into_iter()
        .map(|name| {
            let (old, new) = (from.get(name), to.get(name));
            let going_back = match (old, new) {
                (Some((_, oldest)), Some((now, _))) if !reads(now, oldest) => Return::OneWay,
                (Some((before, _)), Some((_, oldest))) if !reads(before, oldest) => {
                    Return::NeedsSnapshot
                }
                _ => Return::WithData,
            };
            let version =
                |pair: Option<&(String, String)>| pair.map(|(version, _)| version.clone());
            Verdict { name: name.clone(), from: version(old), to: version(new), going_back }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn formats(version: &str, oldest: &str) -> Formats {
        Formats::from([("synapse".to_owned(), (version.to_owned(), oldest.to_owned()))])
    }

    #[test]
    fn who_reads_what() {
        for (from, to, expected) in [
            (("1.163.2", "1.100"), ("1.170.0", "1.100"), Return::WithData),
            (("1.163.2", "1.100"), ("1.170.0", "1.163.3"), Return::NeedsSnapshot),
            (("1.163.2", "1.163"), ("1.162.0", "1.100"), Return::OneWay),
            (("17.12-0+deb13u1", "17"), ("18.1-1", "18"), Return::NeedsSnapshot),
        ] {
            let (from, to) = (formats(from.0, from.1), formats(to.0, to.1));
            assert_eq!(judge(&from, &to)[0].going_back, expected, "{from:?} {to:?}");
        }
        let new = judge(&Formats::new(), &formats("1", "1"));
        assert_eq!((new[0].going_back, &new[0].from), (Return::WithData, &None));
    }
}
