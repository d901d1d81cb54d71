//! One of two images that are compared: its manifest, and the files of its root slot.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ext4_view::Ext4;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::CompareError;
use crate::image::{MANIFEST, RootImage, RootPlace, parse_manifest, slot};

/// Longer files are not shown.
const LONGEST: u64 = 1 << 20;

/// What is said of an image as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct About {
    /// Its id.
    pub id: String,
    /// The appliance's name.
    pub appliance: String,
    /// The newest date of its lock's indexes, seconds since 1970.
    pub epoch: i64,
    /// Bytes of the root image, which an update writes.
    pub root: u64,
    /// How many files it has, links and folders too.
    pub files: usize,
    /// Bytes of their contents.
    pub bytes: u64,
}

/// A file, as the manifest has it. Times are left out: they follow the contents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Attributes {
    /// `file`, `dir`, `symlink`, ...
    #[serde(rename = "type")]
    pub kind: String,
    /// Octal.
    pub mode: String,
    /// `USER:GROUP`, by name where the image has one.
    pub owner: String,
    /// Bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Of a link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Of the contents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Extended attributes and device numbers.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub more: Value,
}

#[derive(Deserialize)]
struct Manifest {
    id: String,
    appliance: String,
    epoch: i64,
    root: RootPlace,
    files: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    path: String,
    #[serde(rename = "type")]
    kind: String,
    mode: String,
    uid: u32,
    gid: u32,
    size: Option<u64>,
    target: Option<String>,
    sha256: Option<String>,
    #[serde(default)]
    xattrs: Value,
    #[serde(default)]
    device: Value,
}

/// An image.
pub(super) struct Side {
    pub(super) about: About,
    pub(super) files: BTreeMap<String, Attributes>,
    /// By name: what `/etc/passwd` and `/etc/group` say.
    pub(super) users: BTreeMap<String, String>,
    pub(super) groups: BTreeMap<String, String>,
    slot: Ext4,
    path: PathBuf,
}

impl Side {
    pub(super) fn open(dir: &Path) -> Result<Self, CompareError> {
        let path = dir.join(MANIFEST);
        let text = fs::read(&path)
            .map_err(|source| CompareError::Read { path: path.clone(), source: source.into() })?;
        let manifest: Manifest = parse_manifest(&text)
            .map_err(|source| CompareError::Read { path, source: source.into() })?;
        let path = dir.join(&manifest.root.file);
        let slot = RootImage::at(dir, &manifest.root)
            .and_then(slot::open)
            .map_err(|source| CompareError::Read { path: path.clone(), source: source.into() })?;
        let about = About {
            id: manifest.id,
            appliance: manifest.appliance,
            epoch: manifest.epoch,
            root: manifest.root.size,
            files: manifest.files.len(),
            bytes: manifest.files.iter().filter_map(|file| file.size).sum(),
        };
        let (files, users, groups) = Default::default();
        let mut side = Self { about, files, users, groups, slot, path };
        let table = |text: Option<String>| fields(&text.unwrap_or_default());
        let (passwd, group) = (table(side.text("/etc/passwd")?), table(side.text("/etc/group")?));
        let numbered = |table: &[Vec<String>]| {
            let named = |row: &Vec<String>| Some((row.get(2)?.parse().ok()?, row[0].clone()));
            table.iter().filter_map(named).collect::<BTreeMap<u32, String>>()
        };
        let (uids, gids) = (numbered(&passwd), numbered(&group));
        let name = |names: &BTreeMap<u32, String>, id: u32| {
            names.get(&id).cloned().unwrap_or_else(|| id.to_string())
        };
        side.files = manifest
            .files
            .into_iter()
            .map(|entry| {
                let owner = format!("{}:{}", name(&uids, entry.uid), name(&gids, entry.gid));
                let Entry { path, kind, mode, size, target, sha256, .. } = entry;
                let more = match (entry.xattrs, entry.device) {
                    (Value::Null, Value::Null) => Value::Null,
                    (xattrs, Value::Null) => xattrs,
                    (xattrs, device) => serde_json::json!([device, xattrs]),
                };
                (path, Attributes { kind, mode, owner, size, target, sha256, more })
            })
            .collect();
        let field = |row: &[String], at: usize| row.get(at).cloned().unwrap_or_default();
        let user = |row: &Vec<String>| {
            let words = [2, 3, 5, 6].map(|at| field(row, at));
            let [uid, gid, home, shell] = words;
            (field(row, 0), format!("uid {uid}, gid {gid}, {home}, {shell}"))
        };
        let group_of = |row: &Vec<String>| match field(row, 3) {
            members if members.is_empty() => (field(row, 0), format!("gid {}", field(row, 2))),
            members => (field(row, 0), format!("gid {}: {members}", field(row, 2))),
        };
        side.users = passwd.iter().map(user).collect();
        side.groups = group.iter().map(group_of).collect();
        Ok(side)
    }

    /// The text of a file; `None`: it is not there, or no text, or too long.
    pub(super) fn text(&self, path: &str) -> Result<Option<String>, CompareError> {
        let failed = |source: ext4_view::Ext4Error| CompareError::Inside {
            image: self.path.clone(),
            path: path.to_owned(),
            source: source.into(),
        };
        if !self.slot.exists(path).map_err(failed)? {
            return Ok(None);
        }
        if self.slot.metadata(path).map_err(failed)?.len() > LONGEST {
            return Ok(None);
        }
        let bytes = self.slot.read(path).map_err(failed)?;
        let text = String::from_utf8(bytes).ok();
        Ok(text.filter(|text| !text.contains('\0')))
    }
}

/// Lines of fields between colons, as passwd(5) and group(5) have them.
fn fields(text: &str) -> Vec<Vec<String>> {
    let row = |line: &str| line.split(':').map(ToOwned::to_owned).collect();
    text.lines().filter(|line| !line.is_empty()).map(row).collect()
}
