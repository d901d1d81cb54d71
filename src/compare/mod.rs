//! What differs between two images: `chatimg diff`.
//!
//! ```text
//! side      one image: its manifest, and the files of its root slot
//! lines     what differs between two texts
//! words     all of it for people, short
//! page      the same as a page for a browser
//! ```
//!
//! Packages, units and ports are compared as `chatimg plan` does ([`crate::deliver::preview`]). Nothing depends on the clock
//! or on this machine: the same two images always give the same words.

mod lines;
mod page;
mod side;
mod words;

pub use lines::{Hunk, hunks};
pub use page::page;
pub use side::{About, Attributes};
pub use words::lines;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::deliver::preview::{Change, Changes, Facts, Kind, diff, enabled, is_configuration};
use crate::deliver::update::UpdateError;
use side::Side;

/// Two images cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// A file of an image cannot be read.
    #[error("reading {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A file inside an image cannot be read.
    #[error("reading {path} in {}: {source}", image.display())]
    Inside {
        /// The image.
        image: PathBuf,
        /// The file.
        path: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A manifest makes no sense.
    #[error(transparent)]
    Facts(#[from] UpdateError),
}

/// All that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The old image.
    pub from: About,
    /// The new one.
    pub to: About,
    /// Packages, wheels and other inputs.
    pub packages: Vec<Change>,
    /// Files below `/etc`, with what differs in them.
    pub configuration: Vec<Configuration>,
    /// systemd's units, and whether they start by themselves.
    pub units: Vec<Change>,
    /// Users.
    pub users: Vec<Change>,
    /// Groups.
    pub groups: Vec<Change>,
    /// Open ports, `NUMBER/PROTOCOL`.
    pub ports: Vec<Change>,
    /// All files.
    pub files: Vec<FileChange>,
}

/// A file that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileChange {
    /// Where it is.
    pub path: String,
    /// What became of it.
    pub change: Kind,
    /// What of it differs: `contents`, `mode`, `owner`, `target`, `type`, `attributes`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub differs: Vec<&'static str>,
    /// What it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Attributes>,
    /// What it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Attributes>,
}

/// A file below `/etc` that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Configuration {
    /// Where it is.
    pub path: String,
    /// What became of it.
    pub change: Kind,
    /// What differs besides its text: a link's target, its mode; or why no text is shown.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// What differs in its text.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hunks: Vec<Hunk>,
}

impl Difference {
    /// Compares the images in two folders.
    ///
    /// # Errors
    /// One of them cannot be read.
    pub fn between(from: &Path, to: &Path) -> Result<Self, CompareError> {
        let own = BTreeSet::new();
        let changes = Changes::between(&Facts::read(from, &own)?, &Facts::read(to, &own)?);
        let (from, to) = (Side::open(from)?, Side::open(to)?);
        let files = files(&from, &to);
        let configuration = files.iter().filter(|file| is_configuration(&file.path));
        let configuration =
            configuration.map(|file| configured(file, &from, &to)).collect::<Result<_, _>>()?;
        Ok(Self {
            packages: changes.packages,
            configuration,
            units: diff(&units(&from), &units(&to), |unit| Some(&unit.0)),
            users: diff(&from.users, &to.users, Some),
            groups: diff(&from.groups, &to.groups, Some),
            ports: changes.ports,
            files,
            from: from.about,
            to: to.about,
        })
    }

    /// Whether nothing differs but the names.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.packages.is_empty() && self.ports.is_empty()
    }
}

fn files(from: &Side, to: &Side) -> Vec<FileChange> {
    let paths: BTreeSet<&String> = from.files.keys().chain(to.files.keys()).collect();
    let change = |path: &String| {
        let (before, now) = (from.files.get(path), to.files.get(path));
        let (change, differs) = match (before, now) {
            (Some(before), Some(now)) if before == now => return None,
            (Some(before), Some(now)) => (Kind::Changed, differing(before, now)),
            (None, _) => (Kind::Added, Vec::new()),
            (_, None) => (Kind::Removed, Vec::new()),
        };
        let (from, to) = (before.cloned(), now.cloned());
        Some(FileChange { path: path.clone(), change, differs, from, to })
    };
    paths.into_iter().filter_map(change).collect()
}

fn differing(a: &Attributes, b: &Attributes) -> Vec<&'static str> {
    let all = [
        ("type", a.kind != b.kind),
        ("contents", (a.sha256.as_ref(), a.size) != (b.sha256.as_ref(), b.size)),
        ("target", a.target != b.target),
        ("mode", a.mode != b.mode),
        ("owner", a.owner != b.owner),
        ("attributes", a.more != b.more),
    ];
    all.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}

/// What differs in a file below `/etc`.
fn configured(file: &FileChange, from: &Side, to: &Side) -> Result<Configuration, CompareError> {
    let mut notes = Vec::new();
    if let (Some(a), Some(b)) = (&file.from, &file.to) {
        for (what, a, b) in
            [("type", &a.kind, &b.kind), ("mode", &a.mode, &b.mode), ("owner", &a.owner, &b.owner)]
        {
            if a != b {
                notes.push(format!("{what} {a} -> {b}"));
            }
        }
    }
    let target = |side: &Option<Attributes>| side.as_ref()?.target.clone();
    match (target(&file.from), target(&file.to)) {
        (Some(a), Some(b)) if a != b => notes.push(format!("link to {a} -> {b}")),
        (None, Some(to)) | (Some(to), None) => notes.push(format!("link to {to}")),
        _ => {}
    }
    let is_file = |side: &Option<Attributes>| side.as_ref().is_some_and(|it| it.kind == "file");
    let text = |side: &Side, attributes| match is_file(attributes) {
        true => side.text(&file.path),
        false => Ok(Some(String::new())),
    };
    let mut shown = Vec::new();
    if is_file(&file.from) || is_file(&file.to) {
        match (text(from, &file.from)?, text(to, &file.to)?) {
            (Some(a), Some(b)) => shown = hunks(&a, &b),
            _ => notes.push("no text, or more than 1 MiB".to_owned()),
        }
    }
    Ok(Configuration { path: file.path.clone(), change: file.change, notes, hunks: shown })
}

/// Units by name: whether they are enabled, and what tells one from another of that name.
fn units(side: &Side) -> BTreeMap<String, (String, Vec<String>)> {
    let mut units = BTreeMap::<String, (String, Vec<String>)>::new();
    for (path, file) in &side.files {
        if let Some(unit) = enabled(path) {
            units.entry(unit.to_owned()).or_default().0 = "enabled".to_owned();
        }
        let below = ["/etc/systemd/system/", "/usr/lib/systemd/system/"];
        let Some(rest) = below.iter().find_map(|dir| path.strip_prefix(dir)) else { continue };
        // Drop-ins count as their unit's.
        let name = rest.split_once(".d/").map_or(rest, |(unit, _)| unit);
        let suffixes = [".service", ".socket", ".timer", ".target", ".mount", ".path", ".slice"];
        if file.kind != "dir" && !name.contains('/') && suffixes.iter().any(|it| name.ends_with(it))
        {
            let contents = file.sha256.as_ref().or(file.target.as_ref());
            let unit = units.entry(name.to_owned()).or_default();
            unit.1.push(format!("{path} {}", contents.map_or("", String::as_str)));
        }
    }
    for (state, _) in units.values_mut().filter(|(state, _)| state.is_empty()) {
        *state = "not enabled".to_owned();
    }
    units
}
