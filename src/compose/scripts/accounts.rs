//! Users and groups that scripts made get the ids that are theirs in every image: those of `overlays/debian/ids.toml`, or one that
//! hangs on the name, whatever adduser found free.

use std::collections::{BTreeMap, BTreeSet};

use super::work::Run;
use super::{Delta, RunError};
use crate::digest::Digest;
use crate::store::PackWriter;
use crate::tree::Node;

/// Where ids of unlisted names come from: apart from those of packages whose scripts are understood.
const FREE_IDS: std::ops::Range<u32> = 500..900;
/// Ids that a script may have given to a user of its own making.
const MADE: std::ops::RangeInclusive<u32> = 100..=59_999;
/// The files, each with the places of user and group ids in its lines.
const FILES: [(&str, Option<usize>, Option<usize>); 4] = [
    ("etc/passwd", Some(2), Some(3)),
    ("etc/group", None, Some(2)),
    ("etc/shadow", None, None),
    ("etc/gshadow", None, None),
];

type Rows = Vec<Vec<String>>;

fn rows(text: &str) -> Rows {
    let lines = text.lines().filter(|line| !line.is_empty());
    lines.map(|line| line.split(':').map(str::to_owned).collect()).collect()
}

/// Name to id.
fn ids(rows: &Rows) -> BTreeMap<String, u32> {
    let pairs = rows.iter().filter_map(|row| Some((row[0].clone(), row.get(2)?.parse().ok()?)));
    pairs.collect()
}

/// Gives new users and groups their ids, in the account files and in everything that is theirs.
pub(super) fn settle(
    run: &Run<'_>,
    delta: &mut Delta,
    fixed: &BTreeMap<String, u32>,
    pack: &mut PackWriter,
) -> Result<(), RunError> {
    let before = |path: &str| match run.tree.file(path) {
        Ok((file, _)) => {
            let bytes = run.store.read(file)?;
            Ok::<_, RunError>(rows(&String::from_utf8_lossy(&bytes)))
        }
        Err(_) => Ok(Rows::new()),
    };
    let (old_users, users) = (ids(&before("etc/passwd")?), ids(&rows(&run.text("etc/passwd")?)));
    let (old_groups, groups) = (ids(&before("etc/group")?), ids(&rows(&run.text("etc/group")?)));
    let renumbered = Renumbered::new((&old_users, &users), (&old_groups, &groups), fixed);
    for entry in delta.values_mut().flatten() {
        let meta = &mut entry.meta;
        meta.uid = renumbered.users.get(&meta.uid).copied().unwrap_or(meta.uid);
        meta.gid = renumbered.groups.get(&meta.gid).copied().unwrap_or(meta.gid);
    }
    for (path, uid, gid) in FILES {
        let Some(Some(entry)) = delta.get_mut(path) else { continue };
        let old: BTreeSet<_> = before(path)?.into_iter().map(|row| row[0].clone()).collect();
        let mut rows = rows(&run.text(path)?);
        for row in &mut rows {
            for (at, ids) in [(uid, &renumbered.users), (gid, &renumbered.groups)] {
                let Some(field) = at.and_then(|at| row.get_mut(at)) else { continue };
                if let Some(id) = field.parse().ok().and_then(|id: u32| ids.get(&id)) {
                    *field = id.to_string();
                }
            }
        }
        let (mut lines, mut new): (Rows, Rows) =
            rows.into_iter().partition(|row| old.contains(&row[0]));
        new.sort();
        lines.append(&mut new);
        let text: String = lines.iter().map(|row| row.join(":") + "\n").collect();
        entry.node = Node::File(pack.append(text.as_bytes())?);
    }
    Ok(())
}

/// New ids by those that adduser gave.
struct Renumbered {
    users: BTreeMap<u32, u32>,
    groups: BTreeMap<u32, u32>,
}

type Ids = BTreeMap<String, u32>;

impl Renumbered {
    fn new(
        (old_users, users): (&Ids, &Ids),
        (old_groups, groups): (&Ids, &Ids),
        fixed: &Ids,
    ) -> Self {
        let new = |old: &Ids, all: &Ids| -> Ids {
            let made =
                |(name, id): &(&String, &u32)| !old.contains_key(*name) && MADE.contains(*id);
            all.iter().filter(made).map(|(name, id)| (name.clone(), *id)).collect()
        };
        let (new_users, new_groups) = (new(old_users, users), new(old_groups, groups));
        let mut taken: BTreeSet<u32> = fixed.values().copied().collect();
        taken.extend(old_users.values().chain(old_groups.values()));
        let mut renumbered = Self { users: BTreeMap::new(), groups: BTreeMap::new() };
        let names: BTreeSet<_> = new_users.keys().chain(new_groups.keys()).collect();
        for name in names {
            let id = fixed.get(name).copied().unwrap_or_else(|| free(name, &taken));
            taken.insert(id);
            if let Some(given) = new_users.get(name) {
                renumbered.users.insert(*given, id);
            }
            if let Some(given) = new_groups.get(name) {
                renumbered.groups.insert(*given, id);
            }
        }
        renumbered
    }
}

/// An id that hangs on the name; the next one if that is taken.
fn free(name: &str, taken: &BTreeSet<u32>) -> u32 {
    let count = FREE_IDS.end - FREE_IDS.start;
    let bytes = Digest::of(name.as_bytes());
    let bytes = bytes.as_bytes();
    let start = u32::from(u16::from_le_bytes([bytes[0], bytes[1]])) % count;
    let ids = (0..count).map(|step| FREE_IDS.start + (start + step) % count);
    ids.chain(60_000..).find(|id| !taken.contains(id)).expect("there is a free id")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(pairs: &[(&str, u32)]) -> Ids {
        pairs.iter().map(|(name, id)| ((*name).to_owned(), *id)).collect()
    }

    #[test]
    fn ids_hang_on_names_and_not_on_what_adduser_found_free() {
        let old = table(&[("root", 0), ("sshd", 989)]);
        let fixed = table(&[("mysql", 505)]);
        let with = |new: &[(&str, u32)]| {
            let all: Ids = old.clone().into_iter().chain(table(new)).collect();
            Renumbered::new((&old, &all), (&old, &all), &fixed)
        };
        let one = with(&[("mysql", 100), ("redis", 101)]);
        let other = with(&[("redis", 100), ("zabbix", 101), ("mysql", 102)]);
        assert_eq!((one.users[&100], other.users[&102]), (505, 505), "as ids.toml has it");
        assert_eq!(one.users[&101], other.users[&100], "redis is redis");
        assert_eq!(one.groups, one.users, "a group of the same name has the same id");
        assert!(FREE_IDS.contains(&one.users[&101]));
        assert!(!one.users.contains_key(&989), "who was there keeps its id");
        let fixed_by_script = with(&[("uucp2", 11)]);
        assert!(fixed_by_script.users.is_empty(), "ids below 100 are Debian's to give");
    }

    #[test]
    fn two_names_never_share_an_id() {
        let names: Vec<_> = (0..450).map(|number| format!("u{number}")).collect();
        let all: Ids = names.iter().cloned().zip(100..).collect();
        let none = Ids::new();
        let renumbered = Renumbered::new((&none, &all), (&none, &all), &none);
        let ids: BTreeSet<_> = renumbered.users.values().collect();
        assert_eq!(ids.len(), names.len());
    }
}
