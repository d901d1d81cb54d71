//! Two builds of one lock: what differs, by trees, not by bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use super::EvidenceError;
use super::files::read;
use crate::image::{MANIFEST, ROOT};

/// A place in which two images differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// `root file system`, `disk-1.img`
    pub tree: String,
    /// `/etc/passwd`, `chatimg-esp`
    pub place: String,
    /// What.
    pub what: String,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}: {}", self.tree, self.place, self.what)
    }
}

fn manifest(dir: &Path) -> Result<Value, EvidenceError> {
    let path = dir.join(MANIFEST);
    serde_json::from_slice(&read(&path)?)
        .map_err(|error| EvidenceError::damaged(&path, error.to_string()))
}

/// Inputs that only one of an image and a lock has: `deb bash 5.2`. `inputs`: the lock's ([`crate::image::inputs`]).
///
/// # Errors
/// The image's manifest cannot be read.
pub fn foreign_inputs(dir: &Path, inputs: &Value) -> Result<Vec<String>, EvidenceError> {
    let manifest = manifest(dir)?;
    let lines = |inputs: &Value| {
        let inputs = inputs.as_array().into_iter().flatten();
        let text = |input: &Value, key: &str| input[key].as_str().unwrap_or_default().to_owned();
        let line = |input: &Value| {
            (
                input["sha256"].to_string(),
                format!(
                    "{} {} {}",
                    text(input, "kind"),
                    text(input, "name"),
                    text(input, "version")
                ),
            )
        };
        inputs.map(line).collect::<BTreeSet<_>>()
    };
    let (image, lock) = (lines(&manifest["inputs"]), lines(inputs));
    let of = |line: &(String, String), whose: &str| format!("{} (only in {whose})", line.1.trim());
    let only_image = image.difference(&lock).map(|line| of(line, "the image"));
    let only_lock = lock.difference(&image).map(|line| of(line, "the lock"));
    Ok(only_image.chain(only_lock).collect())
}

/// What differs between an image and one that was built again. None: every byte of both is the same.
///
/// # Errors
/// A manifest cannot be read.
pub fn compare(image: &Path, again: &Path) -> Result<Vec<Difference>, EvidenceError> {
    let (image, again) = (manifest(image)?, manifest(again)?);
    let mut all = files(&image, &again);
    let same_tree = all.is_empty();
    for (image, again) in pairs(&image["disks"], &again["disks"], "file") {
        let name = image.or(again).and_then(|disk| disk["file"].as_str()).unwrap_or_default();
        match (image, again) {
            (Some(image), Some(again)) => extents(name, image, again, &mut all),
            _ => all.push(difference("disks", name, "only one of them has this disk")),
        }
    }
    if same_tree && image["root"] != again["root"] {
        all.push(difference(
            ROOT,
            "all of it",
            "the trees are the same, and the file systems are not",
        ));
    }
    Ok(all)
}

fn difference(tree: &str, place: &str, what: impl Into<String>) -> Difference {
    Difference { tree: tree.to_owned(), place: place.to_owned(), what: what.into() }
}

/// Entries of two lists, by a key of theirs.
fn pairs<'a>(
    image: &'a Value,
    again: &'a Value,
    key: &str,
) -> Vec<(Option<&'a Value>, Option<&'a Value>)> {
    let map = |list: &'a Value| -> BTreeMap<String, &'a Value> {
        let list = list.as_array().into_iter().flatten();
        list.map(|entry| (entry[key].to_string(), entry)).collect()
    };
    let (image, again) = (map(image), map(again));
    let keys: BTreeSet<&String> = image.keys().chain(again.keys()).collect();
    keys.into_iter().map(|key| (image.get(key).copied(), again.get(key).copied())).collect()
}

/// The root file system, path by path.
fn files(image: &Value, again: &Value) -> Vec<Difference> {
    const TREE: &str = "root file system";
    let mut all = Vec::new();
    for (image, again) in pairs(&image["files"], &again["files"], "path") {
        let path = image.or(again).and_then(|file| file["path"].as_str()).unwrap_or_default();
        match (image, again) {
            (Some(_), None) => all.push(difference(TREE, path, "only the image has it")),
            (None, Some(_)) => all.push(difference(TREE, path, "only the new build has it")),
            (Some(image), Some(again)) if image != again => {
                let keys = [image, again].into_iter().filter_map(Value::as_object);
                let keys: BTreeSet<&String> = keys.flat_map(|object| object.keys()).collect();
                let changed = keys.into_iter().filter(|key| image[*key] != again[*key]);
                let texts: Vec<_> = changed
                    .map(|key| format!("{key} {} became {}", image[key], again[key]))
                    .collect();
                all.push(difference(TREE, path, texts.join(", ")));
            }
            _ => {}
        }
    }
    all
}

/// A disk outside of the root slot: by partition.
fn extents(name: &str, image: &Value, again: &Value, all: &mut Vec<Difference>) {
    let partitions = image["partitions"].as_array().into_iter().flatten();
    let partitions: Vec<_> = partitions
        .filter_map(|part| {
            Some((part["start"].as_u64()?, part["size"].as_u64()?, part["name"].as_str()?))
        })
        .collect();
    for (image, again) in pairs(&image["extents"], &again["extents"], "start") {
        if image != again {
            let start =
                image.or(again).and_then(|extent| extent["start"].as_u64()).unwrap_or_default();
            let part =
                partitions.iter().find(|(from, size, _)| (*from..from + size).contains(&start));
            let place = part.map_or("partition table", |(_, _, name)| name);
            all.push(difference(name, place, format!("the bytes from {start} on differ")));
        }
    }
    if image["size"] != again["size"] || image["partitions"] != again["partitions"] {
        all.push(difference(name, "partition table", "the partitions differ"));
    }
}
