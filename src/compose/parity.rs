//! Compares a tree of ours with what real dpkg made of the same packages.
//!
//! Kinds, modes, owners (by name: ids of system users depend on the order of installation), links, contents and
//! extended attributes are compared; times are not. Every difference must be on a list with its reason, and
//! every entry of the list must be needed:
//!
//! ```toml
//! [[difference]]
//! what = "missing"                 # see `What`
//! paths = ["etc/ssh/ssh_host_*"]   # '*' stands for anything
//! reason = "host keys are made on first boot"
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Deserialize;

use super::pattern::fits;
use crate::store::{Store, StoreError};
use crate::tree::{Entry, Node, Tree, TreePath};

/// In what an entry differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// Only dpkg has it.
    Missing,
    /// Only we have it.
    Extra,
    /// File, directory, link ..., or another set of hard links.
    Kind,
    /// Permission bits.
    Mode,
    /// Owner or group, by name.
    Owner,
    /// The target of a symbolic link.
    Link,
    /// Contents, but only the order of their lines.
    Order,
    /// Contents, but only numbers between colons and the order of lines (passwd and its like).
    Ids,
    /// Contents in any other way.
    Contents,
    /// Extended attributes.
    Xattrs,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// The path, without a leading slash.
    pub path: String,
    /// In what.
    pub what: What,
    /// Ours, then dpkg's.
    pub detail: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}{}", self.what, self.path, self.detail)
    }
}

/// The list of accepted differences.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accepted {
    /// Its entries.
    #[serde(default)]
    pub difference: Vec<Rule>,
}

/// Differences that are right, and why.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// In what.
    pub what: What,
    /// Where; `*` stands for anything.
    pub paths: Vec<String>,
    /// Why it is right that way.
    pub reason: String,
}

/// The outcome.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// How many paths were compared.
    pub compared: usize,
    /// Differences without a reason.
    pub unexplained: Vec<Difference>,
    /// Patterns that fit no difference.
    pub unused: Vec<String>,
    /// How many differences each reason explains.
    pub explained: BTreeMap<String, usize>,
}

/// Compares `ours` with `dpkg`'s tree; the contents of both are in `store`.
///
/// # Errors
/// Contents cannot be read.
pub fn compare(
    ours: (&Tree, &Store),
    dpkg: (&Tree, &Store),
    accepted: &Accepted,
) -> Result<Report, StoreError> {
    let sides = [Side::new(ours.0, ours.1)?, Side::new(dpkg.0, dpkg.1)?];
    let (ours, dpkg) = (ours.0, dpkg.0);
    let mut differences = Vec::new();
    let paths: BTreeSet<_> = ours.iter().chain(dpkg.iter()).map(|(path, _)| path).collect();
    for path in &paths {
        entry(&sides, path, &mut differences)?;
    }
    Ok(judge(paths.len(), differences, accepted))
}

fn judge(compared: usize, differences: Vec<Difference>, accepted: &Accepted) -> Report {
    let mut report = Report { compared, ..Report::default() };
    let mut used = BTreeSet::new();
    for difference in differences {
        let rule = accepted.difference.iter().enumerate().find_map(|(index, rule)| {
            let fits = |pattern: &String| fits(pattern, &difference.path);
            let pattern = rule.paths.iter().position(fits).filter(|_| rule.what == difference.what);
            pattern.map(|pattern| (index, pattern))
        });
        match rule {
            None => report.unexplained.push(difference),
            Some((index, pattern)) => {
                used.insert((index, pattern));
                let reason = accepted.difference[index].reason.clone();
                *report.explained.entry(reason).or_default() += 1;
            }
        }
    }
    for (index, rule) in accepted.difference.iter().enumerate() {
        for (at, pattern) in rule.paths.iter().enumerate() {
            if !used.contains(&(index, at)) {
                report.unused.push(format!("{:?} {pattern}", rule.what));
            }
        }
    }
    report
}

struct Side<'a> {
    tree: &'a Tree,
    store: &'a Store,
    users: BTreeMap<u32, String>,
    groups: BTreeMap<u32, String>,
    /// The first name, in path order, of each file with several.
    first_names: BTreeMap<&'a TreePath, &'a TreePath>,
}

impl<'a> Side<'a> {
    fn new(tree: &'a Tree, store: &'a Store) -> Result<Self, StoreError> {
        let names = |path: &str| -> Result<BTreeMap<u32, String>, StoreError> {
            let Ok((file, _)) = tree.file(path) else { return Ok(BTreeMap::new()) };
            let text = String::from_utf8_lossy(&store.read(file)?).into_owned();
            let name = |line: &str| {
                let fields: Vec<_> = line.split(':').collect();
                Some((fields.get(2)?.parse().ok()?, (*fields.first()?).to_owned()))
            };
            Ok(text.lines().filter_map(name).collect())
        };
        let mut first_names = BTreeMap::new();
        let mut of_target: BTreeMap<&TreePath, Vec<&TreePath>> = BTreeMap::new();
        for (path, entry) in tree.iter() {
            if let Node::HardLink(target) = &entry.node {
                of_target.entry(target).or_insert_with(|| vec![target]).push(path);
            }
        }
        for names in of_target.into_values() {
            let first = names.iter().min().copied();
            first_names.extend(names.into_iter().filter_map(|name| Some((name, first?))));
        }
        let (users, groups) = (names("etc/passwd")?, names("etc/group")?);
        Ok(Self { tree, store, users, groups, first_names })
    }

    /// The entry with a hard link's real metadata and contents.
    fn entry(&self, path: &TreePath) -> Option<&'a Entry> {
        match self.tree.get(path.as_str())? {
            Entry { node: Node::HardLink(target), .. } => self.tree.get(target.as_str()),
            entry => Some(entry),
        }
    }

    fn owner(&self, entry: &Entry) -> String {
        let name = |names: &BTreeMap<u32, String>, id: u32| {
            names.get(&id).cloned().unwrap_or_else(|| id.to_string())
        };
        format!("{}:{}", name(&self.users, entry.meta.uid), name(&self.groups, entry.meta.gid))
    }
}

fn entry(
    sides: &[Side<'_>; 2],
    path: &TreePath,
    out: &mut Vec<Difference>,
) -> Result<(), StoreError> {
    let mut differ = |what, detail: String| {
        out.push(Difference { path: path.as_str().to_owned(), what, detail });
    };
    let (ours, dpkg) = match (sides[0].entry(path), sides[1].entry(path)) {
        (Some(ours), Some(dpkg)) => (ours, dpkg),
        (None, _) => {
            differ(What::Missing, String::new());
            return Ok(());
        }
        (_, None) => {
            differ(What::Extra, String::new());
            return Ok(());
        }
    };
    let (ours_name, dpkg_name) = (sides[0].first_names.get(path), sides[1].first_names.get(path));
    if std::mem::discriminant(&ours.node) != std::mem::discriminant(&dpkg.node)
        || ours_name != dpkg_name
    {
        differ(What::Kind, String::new());
        return Ok(());
    }
    if ours.meta.mode != dpkg.meta.mode {
        differ(What::Mode, format!(": {:o}, dpkg {:o}", ours.meta.mode, dpkg.meta.mode));
    }
    let owners = (sides[0].owner(ours), sides[1].owner(dpkg));
    if owners.0 != owners.1 {
        differ(What::Owner, format!(": {}, dpkg {}", owners.0, owners.1));
    }
    if ours.meta.xattrs != dpkg.meta.xattrs {
        differ(What::Xattrs, String::new());
    }
    match (&ours.node, &dpkg.node) {
        (Node::File(ours), Node::File(dpkg)) if ours != dpkg => {
            let what = contents(&sides[0].store.read(ours)?, &sides[1].store.read(dpkg)?);
            differ(what, format!(": {} bytes, dpkg {}", ours.size, dpkg.size));
        }
        (Node::Symlink(ours), Node::Symlink(dpkg)) if ours != dpkg => {
            differ(What::Link, format!(": {ours}, dpkg {dpkg}"));
        }
        (ours, dpkg) if !matches!(ours, Node::File(_)) && ours != dpkg => {
            differ(What::Kind, String::new());
        }
        _ => {}
    }
    Ok(())
}

/// How different contents differ.
fn contents(ours: &[u8], dpkg: &[u8]) -> What {
    let sorted = |bytes: &[u8], ids: bool| {
        let text = std::str::from_utf8(bytes).ok()?;
        let line = |line: &str| if ids { masked(line) } else { line.to_owned() };
        let mut lines: Vec<_> = text.lines().map(line).collect();
        lines.sort();
        Some(lines)
    };
    match (sorted(ours, false), sorted(dpkg, false)) {
        (Some(a), Some(b)) if a == b => What::Order,
        (Some(_), Some(_)) if sorted(ours, true) == sorted(dpkg, true) => What::Ids,
        _ => What::Contents,
    }
}

/// The line without the numbers between its colons.
fn masked(line: &str) -> String {
    let is_number = |field: &&str| !field.is_empty() && field.bytes().all(|b| b.is_ascii_digit());
    let fields = line.split(':').map(|field| if is_number(&field) { "#" } else { field });
    fields.collect::<Vec<_>>().join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(what: What, pattern: &str) -> Rule {
        Rule { what, paths: vec![pattern.to_owned()], reason: "r".to_owned() }
    }

    #[test]
    fn only_listed_differences_pass_and_only_needed_entries() {
        let difference =
            |path: &str, what| Difference { path: path.into(), what, detail: String::new() };
        let differences = vec![
            difference("etc/ssh/key", What::Missing),
            difference("etc/motd", What::Contents),
            difference("etc/motd", What::Mode),
        ];
        let accepted = Accepted {
            difference: vec![
                rule(What::Missing, "etc/ssh/*"),
                rule(What::Contents, "etc/motd"),
                rule(What::Extra, "etc/*"),
            ],
        };
        let report = judge(3, differences, &accepted);
        assert_eq!(report.unexplained, [difference("etc/motd", What::Mode)]);
        assert_eq!(report.unused, ["Extra etc/*"]);
        assert_eq!(report.explained["r"], 2);
    }

    #[test]
    fn contents_differ_in_order_in_ids_or_really() {
        assert_eq!(contents(b"a\nb\n", b"b\na\n"), What::Order);
        assert_eq!(contents(b"x:1:2\na\n", b"a\nx:3:4\n"), What::Ids);
        assert_eq!(contents(b"x:1\n", b"y:1\n"), What::Contents);
        assert_eq!(contents(b"\xff", b"\xfe"), What::Contents);
    }
}
