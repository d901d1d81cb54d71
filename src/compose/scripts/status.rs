//! dpkg's `status`: what is left to do before, and what it says after.

use std::collections::BTreeMap;

use super::work::Run;
use super::{Left, RunError};
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
    let mut left = Left { unpack: Vec::new(), configure: Vec::new(), triggers: Vec::new() };
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
