//! dpkg's `status`: what is left to do before, and what it says after.

use std::collections::{BTreeMap, BTreeSet};

use super::work::Run;
use super::{Left, RunError};
use crate::debian::relation::parse_field;
use crate::lock::Deb;
use crate::store::Store;
use crate::tree::Tree;

/// Where it is.
pub(super) const PATH: &str = "var/lib/dpkg/status";

fn read(store: &Store, tree: &Tree) -> Result<String, RunError> {
    let Ok((file, _)) = tree.file(PATH) else { return Ok(String::new()) };
    Ok(String::from_utf8_lossy(&store.read(file)?).into_owned())
}

fn field<'a>(paragraph: &'a str, name: &str) -> Option<&'a str> {
    let value = |line: &'a str| line.strip_prefix(name)?.strip_prefix(": ");
    paragraph.lines().find_map(value)
}

fn paragraphs(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split("\n\n").filter_map(|paragraph| Some((field(paragraph, "Package")?, paragraph)))
}

/// What is left to do.
pub(super) fn left<'a>(store: &Store, tree: &Tree, debs: &'a [Deb]) -> Result<Left<'a>, RunError> {
    let text = read(store, tree)?;
    let states: BTreeMap<_, _> = paragraphs(&text)
        .map(|(name, paragraph)| (name, field(paragraph, "Status").unwrap_or_default()))
        .collect();
    let first = essential(&text).into_iter().map(str::to_owned).collect();
    let mut left = Left { unpack: Vec::new(), configure: Vec::new(), triggers: Vec::new(), first };
    for deb in debs {
        match states.get(deb.name.as_str()) {
            None => {
                left.unpack.push(deb);
                left.configure.push(deb.name.clone());
            }
            Some(&"install ok unpacked") => left.configure.push(deb.name.clone()),
            Some(&"install ok triggers-pending") => left.triggers.push(deb.name.clone()),
            Some(_) => {}
        }
    }
    left.unpack.sort_by(|a, b| a.name.cmp(&b.name));
    left.configure.sort();
    left.triggers.sort();
    Ok(left)
}

/// What every script may use without its package's saying so: essential packages, and what these need.
fn essential(text: &str) -> BTreeSet<&str> {
    let all: BTreeMap<_, _> = paragraphs(text).collect();
    let names = |paragraph, name| {
        let groups = parse_field(field(paragraph, name).unwrap_or_default()).unwrap_or_default();
        groups.into_iter().flatten().map(|relation| relation.name)
    };
    let mut providers: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (name, paragraph) in &all {
        for provided in names(paragraph, "Provides").chain([*name]) {
            providers.entry(provided).or_default().push(*name);
        }
    }
    let is_essential = |paragraph: &&str| field(paragraph, "Essential") == Some("yes");
    let essential = all.iter().filter(|(_, paragraph)| is_essential(paragraph));
    let mut todo: Vec<_> = essential.map(|(name, _)| *name).collect();
    let mut found = BTreeSet::new();
    while let Some(name) = todo.pop() {
        if found.insert(name) {
            let needed = ["Pre-Depends", "Depends"].map(|kind| names(all[name], kind));
            let needed = needed.into_iter().flatten();
            todo.extend(needed.filter_map(|name| providers.get(name)).flatten());
        }
    }
    found
}

/// The text of `status` when all is done: ours, and dpkg's own of what dpkg unpacked.
pub(super) fn settled(run: &Run<'_>, store: &Store, tree: &Tree) -> Result<String, RunError> {
    let (ours, theirs) = (read(store, tree)?, run.text(PATH)?);
    let mut all: BTreeMap<_, _> = paragraphs(&theirs).collect();
    all.extend(paragraphs(&ours));
    let mut text = String::new();
    for paragraph in all.values() {
        for line in paragraph.lines() {
            if line.starts_with("Status: ") {
                text.push_str("Status: install ok installed\n");
            } else if !line.starts_with("Triggers-") {
                text.push_str(line);
                text.push('\n');
            }
        }
        text.push('\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_essential_packages_need_comes_first() {
        let text = "Package: base-files\nEssential: yes\nPre-Depends: awk\n\n\
                    Package: gawk\nProvides: awk\nDepends: libc6 (>= 2.38), libmpfr6 | libmpfr4\n\n\
                    Package: libmpfr6\nDepends: libc6\n\n\
                    Package: mariadb-server\nDepends: gawk\n\n";
        let found: Vec<_> = essential(text).into_iter().collect();
        assert_eq!(found, ["base-files", "gawk", "libmpfr6"]);
    }
}
