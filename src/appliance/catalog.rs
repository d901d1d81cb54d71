//! Which overlays and stacks there are, which of them an appliance gets, and in which order.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::document::{Document, Text};
use super::error::{LoadError, Report, hint};
use super::names;

/// The folder `overlays/`.
pub(super) struct Catalog {
    dir: PathBuf,
    /// Names of all overlays, sorted.
    pub(super) names: Vec<String>,
    stacks: Document,
}

impl Catalog {
    /// Lists `dir`.
    pub(super) fn open(dir: PathBuf) -> Result<Self, LoadError> {
        let help = "overlays/ must lie beside appliance.toml";
        let error = |source| LoadError::Read { path: dir.clone(), source, help };
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&dir).map_err(error)? {
            let entry = entry.map_err(error)?;
            if entry.path().join("overlay.toml").is_file() {
                names.extend(entry.file_name().into_string());
            }
        }
        names.sort();
        let stacks = Document::read(&dir.join("stacks.toml"), "it names sets of overlays")?;
        Ok(Self { dir, names, stacks })
    }

    /// Names of the overlays of `stack`, each with where it is named.
    pub(super) fn stack<'a>(&'a self, stack: &Text<'_>, report: &'a Report) -> Vec<Text<'a>> {
        let mut found = None;
        let stacks = self.stacks.root(report).entries();
        for (name, node) in &stacks {
            let Some(table) = node.table() else { continue };
            table.only(&["description", "overlays"]);
            let example = "description = \"What it is for\"";
            table.require("description", example).and_then(|node| node.string());
            let overlays = table.require("overlays", "overlays = [\"base\"]");
            let overlays = overlays.map(|node| node.strings()).unwrap_or_default();
            if name.value == stack.value {
                found = Some(overlays);
            }
        }
        if found.is_none() {
            let known = stacks.iter().map(|(name, _)| name.value.as_str());
            let help = hint(&stack.value, "stacks", known);
            stack.fail(format!("unknown stack \"{}\"", stack.value), help);
        }
        found.unwrap_or_default()
    }

    /// Reads the overlays `wanted` and all that they require.
    pub(super) fn read(
        &self,
        wanted: &[Text<'_>],
        report: &Report,
    ) -> Result<BTreeMap<String, Document>, LoadError> {
        let mut documents = BTreeMap::new();
        let mut queue: BTreeSet<String> =
            wanted.iter().filter_map(|text| self.known(text)).collect();
        while let Some(name) = queue.pop_first() {
            let path = self.path(&name).join("overlay.toml");
            let document = Document::read(&path, "it must be readable")?;
            let requires = document.root(report).strings("requires");
            let more = requires.iter().filter_map(|text| self.known(text));
            queue.extend(more.filter(|more| !documents.contains_key(more) && *more != name));
            documents.insert(name, document);
        }
        Ok(documents)
    }

    /// The overlay's folder.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(Path::new(name))
    }

    /// Users and groups that Debian packages make.
    pub(super) fn debian_accounts(&self) -> Result<BTreeSet<String>, LoadError> {
        let path = self.dir.join("debian/ids.toml");
        if !path.exists() {
            return Ok(BTreeSet::new());
        }
        let document = Document::read(&path, "it must be readable")?;
        let report = Report::default();
        let ids = document.root(&report).table("ids").map(|table| table.entries());
        Ok(ids.unwrap_or_default().into_iter().map(|(name, _)| name.value).collect())
    }

    fn known(&self, text: &Text<'_>) -> Option<String> {
        let found = self.names.iter().find(|name| **name == text.value).cloned();
        if found.is_none() {
            let help = hint(&text.value, "overlays", self.names.iter().map(String::as_str));
            text.fail(format!("unknown overlay \"{}\"", text.value), help);
        }
        found.filter(|_| names::name(text, "an overlay's name").is_some())
    }
}

/// Puts each after those it requires, ties in name order; reports a cycle. `requires`: by overlay,
/// all of them among its keys.
pub(super) fn order(requires: &BTreeMap<String, Vec<Text<'_>>>) -> Vec<String> {
    let mut order: Vec<String> = Vec::new();
    while order.len() < requires.len() {
        let missing =
            |needs: &[Text<'_>]| needs.iter().position(|need| !order.contains(&need.value));
        let mut left = requires.iter().filter(|(name, _)| !order.contains(name));
        match left.clone().find(|(_, needs)| missing(needs).is_none()) {
            Some((name, _)) => order.push(name.clone()),
            None => {
                let first = left.next().map(|(name, _)| name.as_str()).unwrap_or_default();
                let next = |name: &str| missing(&requires[name]).map(|at| &requires[name][at]);
                report_cycle(first, next);
                return order;
            }
        }
    }
    order
}

/// `next`: one that the overlay of this name waits for, and where it says so.
fn report_cycle<'t, 'a: 't>(first: &str, next: impl Fn(&str) -> Option<&'t Text<'a>>) {
    let mut path: Vec<&str> = vec![first];
    while let Some(need) = path.last().and_then(|last| next(last)) {
        if let Some(start) = path.iter().position(|name| *name == need.value) {
            path.push(&need.value);
            let help = "remove one of these from \"requires\"";
            let message = match &path[start..] {
                [name, _] => format!("overlay \"{name}\" requires itself"),
                cycle => format!("overlays require each other: {}", cycle.join(" -> ")),
            };
            need.fail(message, help);
            return;
        }
        path.push(&need.value);
    }
}
