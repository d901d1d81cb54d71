//! What is in an image: by its manifest; or, of one that was built elsewhere, as the box that runs it tells.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::verdict::Formats;
use crate::deliver::update::UpdateError;
use crate::image::MANIFEST;

/// One image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The image's id.
    pub id: String,
    /// Version by name: `nginx`, `matrix-synapse (synapse)`.
    pub packages: BTreeMap<String, String>,
    /// Something that differs when the file does, by path.
    pub files: BTreeMap<String, String>,
    /// Open ports; `None`: not known.
    pub ports: Option<BTreeSet<String>>,
    /// Names of units that start by themselves.
    pub units: BTreeSet<String>,
    /// Programs whose data have a format.
    pub formats: Formats,
    /// Folders that `files` is about; empty: everywhere.
    pub folders: Vec<String>,
}

#[derive(Deserialize)]
struct Manifest {
    id: String,
    #[serde(default)]
    formats: Formats,
    ports: Option<BTreeSet<String>>,
    inputs: Vec<Input>,
    files: Vec<Entry>,
}

#[derive(Deserialize)]
struct Input {
    kind: String,
    name: String,
    version: Option<String>,
    env: Option<String>,
    sha256: Option<String>,
    #[serde(rename = "in-image", default = "yes")]
    in_image: bool,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
struct Entry {
    path: String,
    #[serde(rename = "type")]
    kind: String,
    mode: String,
    target: Option<String>,
    sha256: Option<String>,
}

/// What a box is asked, by a shell, and [`Facts::told`] reads.
pub const REMOTE: &str = "sudo -n sh -c '
echo \"@image\"; cat /usr/lib/chatimg/image.json
echo \"@debs\"; dpkg-query -W -f \"\\${Package} \\${Version}\\\\n\"
echo \"@wheels\"; ls -d /opt/*/lib/python3*/site-packages/*.dist-info 2>/dev/null
echo \"@links\"; find /etc -type l -printf \"%p %l\\\\n\"
echo \"@files\"; find /etc -type f ! -path /etc/hostname ! -path /etc/hosts -exec sha256sum {} +
true'";

impl Facts {
    /// By the manifest in an image's folder. `own`: further paths that are configuration, besides `/etc`.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(dir: &Path, own: &BTreeSet<String>) -> Result<Self, UpdateError> {
        let path = dir.join(MANIFEST);
        let text =
            fs::read(&path).map_err(|source| UpdateError::Read { path: path.clone(), source })?;
        let bad = |why: String| UpdateError::Manifest { path: path.clone(), why };
        let manifest: Manifest =
            serde_json::from_slice(&text).map_err(|error| bad(error.to_string()))?;
        Ok(Self::of(manifest, own))
    }

    fn of(manifest: Manifest, own: &BTreeSet<String>) -> Self {
        let inputs = manifest.inputs.into_iter().filter(|it| it.in_image && it.kind != "index");
        let package = |input: Input| {
            let short = |digest: String| digest.chars().take(12).collect();
            let version = input.version.or(input.sha256.map(short)).unwrap_or_default();
            let name = match input.env {
                Some(env) => format!("{} ({env})", input.name),
                None => input.name,
            };
            (name, version)
        };
        let (mut files, mut units) = (BTreeMap::new(), BTreeSet::new());
        for Entry { path, kind, mode, target, sha256 } in manifest.files {
            if let Some(unit) = enabled(&path) {
                units.insert(unit.to_owned());
            } else if kind != "dir" && (is_configuration(&path) || own.contains(&path)) {
                let contents = target.or(sha256).unwrap_or_default();
                // Of a link the mode says nothing; and a box is not asked for modes.
                let mode = if own.contains(&path) { mode } else { String::new() };
                files.insert(path, format!("{contents}{mode}"));
            }
        }
        Self {
            id: manifest.id,
            packages: inputs.map(package).collect(),
            files,
            ports: manifest.ports,
            units,
            formats: manifest.formats,
            folders: Vec::new(),
        }
    }

    /// Whether `files` would have this path if it were there.
    pub(super) fn tells_of(&self, path: &str) -> bool {
        let below = |folder: &String| path.starts_with(folder.as_str());
        self.folders.is_empty() || self.folders.iter().any(below)
    }
}

/// Below `/etc`, but for what is made of the rest.
pub(crate) fn is_configuration(path: &str) -> bool {
    path.starts_with("/etc/") && path != "/etc/ld.so.cache"
}

/// The unit that a link enables.
pub(crate) fn enabled(path: &str) -> Option<&str> {
    let (dir, unit) = path.strip_prefix("/etc/systemd/system/")?.split_once('/')?;
    let wanted = dir.ends_with(".wants") || dir.ends_with(".requires");
    wanted.then_some(unit)
}

impl Facts {
    /// Reads what [`REMOTE`] prints. `id`: the image, as the kernel was told.
    pub fn told(text: &str, id: &str) -> Self {
        let mut facts = Self::default();
        let (mut section, mut image) = ("", String::new());
        (facts.id, facts.folders) = (id.to_owned(), vec!["/etc/".to_owned()]);
        for line in text.lines() {
            let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
            match (line.strip_prefix('@'), section) {
                (Some(name), _) => section = name,
                (None, "image") => image.push_str(line),
                (None, "debs") => _ = facts.packages.insert(first.to_owned(), rest.to_owned()),
                (None, "wheels") => facts.packages.extend(wheel(Path::new(line))),
                (None, "links") => match enabled(first) {
                    Some(unit) => _ = facts.units.insert(unit.to_owned()),
                    None => _ = facts.files.insert(first.to_owned(), rest.to_owned()),
                },
                (None, "files") if is_configuration(rest.trim_start()) => {
                    facts.files.insert(rest.trim_start().to_owned(), first.to_owned());
                }
                _ => {}
            }
        }
        let image: Value = serde_json::from_str(&image).unwrap_or_default();
        let part = |key| image.get(key).cloned().unwrap_or_default();
        facts.formats = serde_json::from_value(part("formats")).unwrap_or_default();
        facts.ports = serde_json::from_value(part("ports")).ok();
        facts
    }
}

/// `/opt/synapse/lib/python3.13/site-packages/matrix_synapse-1.163.2.dist-info`
fn wheel(path: &Path) -> Option<(String, String)> {
    let env = path.strip_prefix("/opt").ok()?.components().next()?.as_os_str().to_str()?;
    let stem = PathBuf::from(path).file_name()?.to_str()?.strip_suffix(".dist-info")?.to_owned();
    let (name, version) = stem.rsplit_once('-')?;
    // PEP 503.
    let name = name.to_lowercase().replace(['_', '.'], "-");
    Some((format!("{name} ({env})"), version.to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_manifest_has_everything() {
        let manifest = json!({
            "id": "x", "formats": {"a": ["1", "1"]}, "ports": ["443/tcp"],
            "inputs": [
                {"kind": "index", "name": "trixie", "sha256": "d"},
                {"kind": "deb", "name": "nginx", "version": "1", "sha256": "d", "in-image": true},
                {"kind": "deb", "name": "grub", "version": "1", "sha256": "d", "in-image": false},
                {"kind": "wheel", "name": "matrix-synapse", "version": "2", "env": "synapse"},
                {"kind": "url", "name": "element", "sha256": "0123456789abcdef"},
            ],
            "files": [
                {"path": "/etc", "type": "dir", "mode": "0755"},
                {"path": "/etc/motd", "type": "file", "mode": "0644", "sha256": "m"},
                {"path": "/etc/ld.so.cache", "type": "file", "mode": "0644", "sha256": "l"},
                {"path": "/etc/systemd/system/multi-user.target.wants/nginx.service",
                 "type": "symlink", "mode": "0777", "target": "/usr/lib/systemd/system/nginx.service"},
                {"path": "/usr/bin/bash", "type": "file", "mode": "0755", "sha256": "b"},
                {"path": "/usr/lib/own", "type": "file", "mode": "0755", "sha256": "o"},
            ],
        });
        let manifest = serde_json::from_value(manifest).expect("a manifest");
        let facts = Facts::of(manifest, &BTreeSet::from(["/usr/lib/own".to_owned()]));
        let packages: Vec<_> = facts.packages.iter().map(|(a, b)| format!("{a}={b}")).collect();
        assert_eq!(packages, ["element=0123456789ab", "matrix-synapse (synapse)=2", "nginx=1"]);
        let files: Vec<_> = facts.files.iter().map(|(a, b)| format!("{a}={b}")).collect();
        assert_eq!(files, ["/etc/motd=m", "/usr/lib/own=o0755"]);
        assert_eq!(facts.units, BTreeSet::from(["nginx.service".to_owned()]));
        assert_eq!(facts.ports, Some(BTreeSet::from(["443/tcp".to_owned()])));
    }

    #[test]
    fn a_box_tells_most_of_it() {
        let text = "@image\n{\n \"formats\": {\"a\": [\"1\", \"1\"]}\n}\n@debs\nnginx 1.26-3\n@wheels\n\
            /opt/synapse/lib/python3.13/site-packages/matrix_synapse-1.163.2.dist-info\n@links\n\
            /etc/localtime /usr/share/zoneinfo/localtime\n\
            /etc/systemd/system/multi-user.target.wants/nginx.service /usr/lib/x\n@files\n\
            abc  /etc/motd\n";
        let facts = Facts::told(text, "x");
        assert_eq!(facts.id, "x");
        assert_eq!(facts.packages["matrix-synapse (synapse)"], "1.163.2");
        assert_eq!(facts.packages["nginx"], "1.26-3");
        assert_eq!(facts.files["/etc/motd"], "abc");
        assert_eq!(facts.files["/etc/localtime"], "/usr/share/zoneinfo/localtime");
        assert!(facts.units.contains("nginx.service") && facts.formats.contains_key("a"));
        assert!(facts.ports.is_none() && !facts.tells_of("/usr/lib/own"));
    }
}
