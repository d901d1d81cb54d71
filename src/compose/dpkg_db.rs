//! dpkg's own record of what is installed, `/var/lib/dpkg`, so that scanners and dpkg itself find it.
//!
//! ```text
//! status                 a paragraph for each package
//! info/NAME.list         its files; info/NAME.md5sums, .conffiles, .postinst ...: its control members
//! diversions             path, where it goes, by whom
//! statoverride           owner group mode path
//! triggers/File          path package;  triggers/NAME: the packages interested in NAME
//! arch, arch-native      amd64
//! ```
//!
//! Source: dpkg's lib/dpkg (parse.c: the order of fields; trigdeferred, infodb).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::actions::{make_dirs, md5_hex};
use super::import::Package;
use super::merge::Diversion;
use super::packages::ComposeError;
use super::root::Root;
use super::triggers;
use crate::debian::scripts::{Action, Place};
use crate::tree::Node;

const DIR: &str = "/var/lib/dpkg";

/// Fields of `status` that come first, in dpkg's order; others follow as the package has them.
const ORDER: &[&str] = &[
    "Package",
    "Essential",
    "Protected",
    "Status",
    "Priority",
    "Section",
    "Installed-Size",
    "Origin",
    "Maintainer",
    "Bugs",
    "Architecture",
    "Multi-Arch",
    "Source",
    "Version",
    "Config-Version",
    "Replaces",
    "Provides",
    "Depends",
    "Pre-Depends",
    "Recommends",
    "Suggests",
    "Breaks",
    "Conflicts",
    "Enhances",
    "Conffiles",
    "Description",
    "Triggers-Pending",
];

/// Fields that list packages: written with one space between their parts.
const RELATIONS: &[&str] = &[
    "Replaces",
    "Provides",
    "Depends",
    "Pre-Depends",
    "Recommends",
    "Suggests",
    "Breaks",
    "Conflicts",
    "Enhances",
];

/// How far a package is installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// All is done.
    Installed,
    /// But for these triggers.
    Triggered(Vec<String>),
    /// Its postinst is yet to run.
    Unpacked,
    /// So is its preinst: nothing of it is there.
    Absent,
}

/// Writes the whole database.
pub(super) fn write<'a>(
    root: &mut Root<'_>,
    packages: &[(&Package, &State)],
    diversions: &[Diversion],
    actions: impl Iterator<Item = &'a Action>,
) -> Result<(), ComposeError> {
    let mut packages = packages.to_vec();
    packages.sort_by(|a, b| a.0.name.cmp(&b.0.name));
    let mut status = String::new();
    for (package, state) in &packages {
        info(root, package)?;
        paragraph(root, package, state, &mut status)?;
    }
    let packages: Vec<_> = packages.into_iter().map(|(package, _)| package).collect();
    root.write(&format!("{DIR}/status"), status.as_bytes(), 0o644)?;
    root.write(&format!("{DIR}/info/format"), b"1\n", 0o644)?;
    let arch = packages.iter().map(|package| &package.arch).find(|arch| *arch != "all");
    let arch = format!("{}\n", arch.map_or("amd64", String::as_str));
    for name in ["arch", "arch-native"] {
        root.write(&format!("{DIR}/{name}"), arch.as_bytes(), 0o644)?;
    }
    let lines = diversions
        .iter()
        .map(|Diversion { path, to, package }| format!("{path}\n{to}\n{package}\n"));
    root.write(&format!("{DIR}/diversions"), lines.collect::<String>().as_bytes(), 0o644)?;
    let overrides = overrides(actions);
    // dpkg makes this one with the first line.
    if !overrides.is_empty() {
        root.write(&format!("{DIR}/statoverride"), overrides.as_bytes(), 0o644)?;
    }
    write_triggers(root, &packages)
}

/// The control members of one package and the list of its files.
fn info(root: &mut Root<'_>, package: &Package) -> Result<(), ComposeError> {
    let name = package.file_name();
    for (path, entry) in package.tree.below("control") {
        let Node::File(file) = &entry.node else {
            return Err(package.problem(format!("{path} is no regular file")));
        };
        if path.name() != "control" {
            let mut meta = entry.meta.clone();
            (meta.uid, meta.gid, meta.mtime) = (0, 0, meta.mtime.min(root.epoch));
            root.put(&format!("{DIR}/info/{name}.{}", path.name()), meta, Node::File(*file))?;
        }
    }
    let list = package.list(root.store)?;
    root.write(&format!("{DIR}/info/{name}.list"), list.as_bytes(), 0o644)
}

fn paragraph(
    root: &Root<'_>,
    package: &Package,
    state: &State,
    out: &mut String,
) -> Result<(), ComposeError> {
    let conffiles = conffiles(root, package)?;
    let mut line = |name: &str, value: &str| {
        let space = if value.is_empty() || value.starts_with('\n') { "" } else { " " };
        // Writing to a String cannot fail.
        _ = writeln!(out, "{name}:{space}{value}");
    };
    for &field in ORDER {
        match (field, package.control.get(field)) {
            ("Status", _) => line(
                field,
                match state {
                    State::Installed => "install ok installed",
                    State::Triggered(_) => "install ok triggers-pending",
                    State::Unpacked | State::Absent => "install ok unpacked",
                },
            ),
            ("Triggers-Pending", _) => {
                if let State::Triggered(names) = state {
                    line(field, &names.join(" "));
                }
            }
            ("Conffiles", _) if !conffiles.is_empty() => line(field, &conffiles),
            (_, Some(value)) if RELATIONS.contains(&field) => line(field, &relations(value)),
            // dpkg keeps even the space at the end of this one.
            ("Description", Some(_)) => {
                let raw =
                    package.control.fields().find(|(name, _)| name.eq_ignore_ascii_case(field));
                line(field, raw.map_or("", |(_, value)| value));
            }
            (_, Some(value)) => line(field, value),
            (_, None) => {}
        }
    }
    for (name, value) in package.control.fields() {
        if !ORDER.iter().any(|field| field.eq_ignore_ascii_case(name)) {
            line(name, value);
        }
    }
    out.push('\n');
    Ok(())
}

/// `a (>= 1) | b, c`, however it was spaced.
fn relations(value: &str) -> String {
    let one = |item: &str| {
        let words = item.replace('(', " ( ").replace(')', " ) ");
        let words: Vec<_> = words.split_whitespace().collect();
        let text = words.join(" ").replace("( ", "(").replace(" )", ")");
        // "(>=1)" becomes "(>= 1)".
        match text.split_once('(') {
            Some((name, rest)) => {
                let end = rest.find(|c: char| !"<>=".contains(c)).unwrap_or(rest.len());
                format!("{name}({} {}", &rest[..end], rest[end..].trim_start())
            }
            None => text,
        }
    };
    let alternatives = |item: &str| item.split('|').map(one).collect::<Vec<_>>().join(" | ");
    let items = value.split(',').map(str::trim).filter(|item| !item.is_empty());
    items.map(alternatives).collect::<Vec<_>>().join(", ")
}

/// The value of the Conffiles field: each file with the MD5 of its shipped contents.
fn conffiles(root: &Root<'_>, package: &Package) -> Result<String, ComposeError> {
    let mut out = String::new();
    let text = package.control_text(root.store, "conffiles")?.unwrap_or_default();
    for path in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(gone) = path.strip_prefix("remove-on-upgrade ") {
            _ = write!(out, "\n {} newconffile remove-on-upgrade", gone.trim());
            continue;
        }
        let (file, _) = package
            .tree
            .file(&format!("data{path}"))
            .map_err(|_| package.problem(format!("it lists conffile {path}, which it lacks")))?;
        let digest = md5_hex(&root.store.read(file)?);
        _ = write!(out, "\n {path} {digest}");
    }
    Ok(out)
}

fn overrides<'a>(actions: impl Iterator<Item = &'a Action>) -> String {
    let lines = actions.filter_map(|action| match action {
        Action::Statoverride(Place { path, owner, group, mode }) => {
            let (owner, group) = (owner.as_deref()?, group.as_deref()?);
            Some(format!("{owner} {group} {} {path}\n", mode.as_deref()?))
        }
        _ => None,
    });
    lines.collect()
}

fn write_triggers(root: &mut Root<'_>, packages: &[&Package]) -> Result<(), ComposeError> {
    let mut files = String::new();
    let mut named: BTreeMap<String, String> = BTreeMap::new();
    for package in packages {
        for (verb, trigger) in triggers::of(root.store, package)? {
            let suffix = match verb.as_str() {
                "interest" | "interest-await" => "",
                "interest-noawait" => "/noawait",
                _ => continue,
            };
            let who = format!("{}{suffix}", package.file_name());
            if trigger.starts_with('/') {
                _ = writeln!(files, "{trigger} {who}");
            } else {
                _ = writeln!(named.entry(trigger).or_default(), "{who}");
            }
        }
    }
    make_dirs(root, &format!("{DIR}/triggers"))?;
    root.write(&format!("{DIR}/triggers/File"), files.as_bytes(), 0o644)?;
    for (name, text) in named {
        root.write(&format!("{DIR}/triggers/{name}"), text.as_bytes(), 0o644)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relations_are_spaced_as_dpkg_does() {
        for (given, wanted) in [
            ("a", "a"),
            ("a(>=1),b|c (<<2:3-4)", "a (>= 1), b | c (<< 2:3-4)"),
            ("a:any (= 1) ,\n b [amd64]", "a:any (= 1), b [amd64]"),
        ] {
            assert_eq!(relations(given), wanted);
        }
    }
}
