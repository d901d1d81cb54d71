//! Two builds of one lock: what differs, by trees, not by bytes. All that the manifests say counts, also what nobody knows here; what
//! two images are to people, who need not hear of times and places, is [`crate::compare`]'s.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use super::EvidenceError;
use super::files::read;
use super::place::{Slots, initrds, place};
use crate::image::MANIFEST;
use crate::image::sums::{SUMS, Sums, parse};

const TREE: &str = "root file system";
/// The tree that all differences of an initrd are of, and where it lies in the root file system.
const INITRD: (&str, &str) = ("initrd", "/boot/initrd.img");
/// What holds the image's id, and so differs whenever anything does.
const FOLLOWING: [&str; 3] = ["/boot/chatimg-id", "/boot/SHA256SUMS", "/usr/lib/chatimg/boot/"];

/// A place in which a second build is not the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deviation {
    /// `root file system`, `disk-1.img`
    pub tree: String,
    /// `/etc/passwd`, `chatimg-esp`
    pub place: String,
    /// What.
    pub what: String,
}

impl std::fmt::Display for Deviation {
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

/// The chatimg that built an image, if it is not this one: its version and the digest of its sources. The image's id depends on
/// them.
///
/// # Errors
/// The image's manifest cannot be read.
pub fn other_builder(dir: &Path) -> Result<Option<String>, EvidenceError> {
    let built = &manifest(dir)?["built"];
    let (version, source) = (text(&built["chatimg"]), text(&built["source"]));
    Ok((source != env!("CHATIMG_SOURCE"))
        .then(|| format!("chatimg {version} of the sources {source}")))
}

/// What differs between an image and one that was built again, what may be the cause first. None: every byte of both is the
/// same.
///
/// # Errors
/// A manifest cannot be read.
pub fn compare(dir: &Path, dir_again: &Path) -> Result<Vec<Deviation>, EvidenceError> {
    let (image, again) = (manifest(dir)?, manifest(dir_again)?);
    let slots = Slots::open((dir, &image), (dir_again, &again));
    let mut all = files(&image, &again, slots.as_ref());
    let same_tree = all.is_empty();
    for (image, again) in pairs(&image["disks"], &again["disks"], "file") {
        let name = image.or(again).and_then(|disk| disk["file"].as_str()).unwrap_or_default();
        match (image, again) {
            (Some(image), Some(again)) => extents(name, image, again, same_tree, &mut all),
            _ => all.push(deviation("disks", name, "only one of them has this disk")),
        }
    }
    if same_tree && image["root"]["sha256"] != again["root"]["sha256"] {
        all.push(deviation(
            TREE,
            "all of it",
            "the trees are the same, and the file systems are not",
        ));
    }
    if all.is_empty() {
        all = beside(&image, &again, (&sums(dir)?, &sums(dir_again)?));
    }
    Ok(all)
}

fn sums(dir: &Path) -> Result<Sums, EvidenceError> {
    let path = dir.join(SUMS);
    let sums = std::str::from_utf8(&read(&path)?).ok().and_then(parse);
    sums.ok_or_else(|| EvidenceError::damaged(&path, "it is not what sha256sum writes"))
}

/// The files beside the disks. Which chatimg built an image is no part of it; all else is.
fn beside(image: &Value, again: &Value, (sums, sums_again): (&Sums, &Sums)) -> Vec<Deviation> {
    let mut all = Vec::new();
    let neutral = |manifest: &Value| {
        let mut manifest = manifest.clone();
        for key in ["chatimg", "source"] {
            manifest["built"][key] = Value::Null;
        }
        manifest
    };
    let (image, again) = (neutral(image), neutral(again));
    let objects = [&image, &again].map(|manifest| manifest.as_object().into_iter().flatten());
    let keys: BTreeSet<&String> = objects.into_iter().flatten().map(|(key, _)| key).collect();
    for key in keys.into_iter().filter(|key| image[*key] != again[*key]) {
        all.push(deviation(MANIFEST, key, "what it says of that differs"));
    }
    for (name, digest) in sums.iter().filter(|(name, _)| *name != MANIFEST) {
        // The disks are among the sums of a signed image only; they were compared by their extents.
        if let Some(again) = sums_again.get(name).filter(|again| *again != digest) {
            all.push(deviation(name, "all of it", format!("sha256 {digest} became {again}")));
        }
    }
    all
}

fn deviation(tree: &str, place: &str, what: impl Into<String>) -> Deviation {
    Deviation { tree: tree.to_owned(), place: place.to_owned(), what: what.into() }
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

/// The root file system, path by path, and the initrd in it.
fn files(image: &Value, again: &Value, slots: Option<&Slots>) -> Vec<Deviation> {
    let (mut all, mut inside) = (Vec::new(), Vec::new());
    for (image, again) in pairs(&image["files"], &again["files"], "path") {
        let path = image.or(again).and_then(|file| file["path"].as_str()).unwrap_or_default();
        match (image, again) {
            (Some(_), None) => all.push(deviation(TREE, path, "only the image has it")),
            (None, Some(_)) => all.push(deviation(TREE, path, "only the new build has it")),
            (Some(image), Some(again)) if image != again => {
                let keys = [image, again].into_iter().filter_map(Value::as_object);
                let keys: BTreeSet<&String> = keys.flat_map(|object| object.keys()).collect();
                let changed = keys.into_iter().filter(|key| image[*key] != again[*key]);
                let mut texts: Vec<_> = changed
                    .map(|key| format!("{key} {} became {}", text(&image[key]), text(&again[key])))
                    .collect();
                let both = |key: &str| image[key].is_string() && again[key].is_string();
                let contents =
                    slots.filter(|_| both("sha256") && image["sha256"] != again["sha256"]);
                if let Some([image, again]) = contents.and_then(|slots| slots.contents(path)) {
                    texts.push(place([&image, &again]));
                    let members = (path == INITRD.1).then(|| initrds([&image, &again])).flatten();
                    let members = members.into_iter().flatten();
                    inside.extend(members.map(|(name, how)| deviation(INITRD.0, &name, how)));
                }
                all.push(deviation(TREE, path, texts.join(", ")));
            }
            _ => {}
        }
    }
    all.extend(inside);
    all.sort_by_key(|found| {
        found.tree == TREE && FOLLOWING.iter().any(|start| found.place.starts_with(start))
    });
    all
}

/// A value of the manifest, as people write it.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "none".to_owned(),
        other => other.to_string(),
    }
}

/// A disk by its partitions; the root slots are passed over where the tree has told what differs there.
fn extents(name: &str, image: &Value, again: &Value, slots: bool, all: &mut Vec<Deviation>) {
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
            if !slots && place.starts_with("chatimg-root-") {
                continue;
            }
            all.push(deviation(name, place, format!("the bytes from {start} on differ")));
        }
    }
    if image["size"] != again["size"] || image["partitions"] != again["partitions"] {
        all.push(deviation(name, "partition table", "the partitions differ"));
    }
}
