//! `manifest.json`: what an image was made of and what is in it. One line per input and per file, sorted;
//! nothing of the machine that built it. A disk's `extents` are the parts of its image that hold something, each with
//! its digest; all other bytes of the disk are zero. `root` is where the root image lies ([`super::root`]).

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Error as _};
use serde_json::{Value, json};

use super::disk::{Contents, Extent};
use super::layout::{Layout, Leg, PARTS, Part};
use super::{ImageError, ImageSpec, output};
use crate::digest::Digest;
use crate::lock::{Deb, DebArchive, Group, Lock};
use crate::tree::{Entry, Node, Tree, TreePath};

/// Its version: raise this when readers must change.
pub const SCHEMA: u32 = 4;

#[derive(Deserialize)]
struct Version {
    schema: u32,
}

/// What a reader wants of a manifest.
///
/// # Errors
/// It is none, lacks that, or another version of chatimg wrote it.
pub fn parse<T: DeserializeOwned>(text: &[u8]) -> serde_json::Result<T> {
    let Version { schema } = serde_json::from_slice(text)?;
    if schema != SCHEMA {
        return Err(serde_json::Error::custom(format!(
            "another version of chatimg wrote it: it is of version {schema}, and {SCHEMA} is understood; run `chatimg build` again"
        )));
    }
    serde_json::from_slice(text)
}

/// Everything of the lock that shapes the image, as a list; the tools that only test it are left out.
pub(super) fn inputs(lock: &Lock) -> Value {
    let index = lock.indexes.iter().map(|index| {
        json!({"kind": "index", "name": index.suite, "date": index.date, "sha256": index.digest})
    });
    let debs = lock.debs.iter().filter(|deb| shapes_image(deb)).map(|deb| {
        let archive = match deb.archive {
            DebArchive::Debian => "debian",
            DebArchive::DebianSecurity => "debian-security",
        };
        json!({
            "kind": "deb", "name": deb.name, "version": deb.version, "arch": deb.arch,
            "archive": archive, "path": deb.path, "size": deb.size, "sha256": deb.digest,
            "in-image": deb.groups.contains(&Group::Image),
        })
    });
    let wheels = lock.wheels.iter().map(|wheel| {
        json!({
            "kind": "wheel", "name": wheel.name, "version": wheel.version, "env": wheel.env,
            "file": wheel.file, "size": wheel.size, "sha256": wheel.digest,
        })
    });
    let npm = lock.npm.iter().map(|package| {
        json!({
            "kind": "npm", "name": package.name, "version": package.version,
            "integrity": package.integrity, "size": package.size, "sha256": package.digest,
        })
    });
    let urls = lock.urls.iter().map(
        |url| json!({"kind": "url", "name": url.name, "size": url.size, "sha256": url.digest}),
    );
    index.chain(debs).chain(wheels).chain(npm).chain(urls).collect()
}

fn shapes_image(deb: &Deb) -> bool {
    deb.groups.iter().any(|group| *group != Group::Vm)
}

/// Writes the manifest, synced.
pub(super) fn write(
    path: &Path,
    spec: &ImageSpec,
    layout: &Layout,
    id: &str,
    root: &Tree,
    contents: &Contents,
) -> Result<(), ImageError> {
    let files = output::disks(layout.disks());
    let mut head = told(spec);
    head["id"] = id.into();
    head["tree"] = json!(root.id());
    head["root"] = json!({
        "file": files[0], "start": contents.root.start, "size": contents.root.size,
        "sha256": contents.root.digest,
    });
    let disks: Vec<_> = layout
        .legs()
        .zip(files)
        .zip(&contents.disks)
        .map(|((leg, file), extents)| disk(layout, leg, file, extents))
        .collect();
    let inputs = inputs(spec.lock);
    let save = || {
        let file = File::create_new(path)?;
        let mut out = BufWriter::new(&file);
        let head = head.to_string();
        writeln!(out, "{},", head.strip_suffix('}').unwrap_or(&head))?;
        list(&mut out, "disks", disks.iter().cloned())?;
        writeln!(out, ",")?;
        list(&mut out, "inputs", inputs.as_array().into_iter().flatten().cloned())?;
        writeln!(out, ",")?;
        list(&mut out, "files", root.iter().map(|(path, entry)| file_entry(root, path, entry)))?;
        writeln!(out, "\n}}")?;
        out.flush()?;
        drop(out);
        file.sync_all()
    };
    save().map_err(ImageError::io("writing", path))
}

/// What it says that is in no byte of the disks: of which request, and by which chatimg.
pub(super) fn told(spec: &ImageSpec) -> Value {
    json!({
        "schema": SCHEMA, "appliance": spec.name, "epoch": spec.epoch, "raid": spec.disks.raid(),
        "formats": spec.formats, "ports": spec.ports,
        "built": {
            "chatimg": env!("CARGO_PKG_VERSION"), "source": env!("CHATIMG_SOURCE"),
            "lock": Digest::of(spec.lock.to_toml().as_bytes()), "plan": spec.plan,
        },
    })
}

fn disk(layout: &Layout, leg: Leg, file: &str, extents: &[Extent]) -> Value {
    let part = |part: Part| {
        let span = layout.span(part);
        json!({
            "number": part.number(), "name": part.name(), "start": span.start, "size": span.len,
            "guid": layout.part_guid(leg, part).to_string(),
        })
    };
    let extent = |extent: &Extent| json!({"start": extent.start, "size": extent.size, "sha256": extent.digest});
    json!({
        "file": file, "size": layout.disk_size(), "guid": layout.disk_guid(leg).to_string(),
        "partitions": PARTS.map(part), "extents": extents.iter().map(extent).collect::<Vec<_>>(),
    })
}

fn list(
    out: &mut impl Write,
    name: &str,
    values: impl Iterator<Item = Value>,
) -> std::io::Result<()> {
    write!(out, "\"{name}\": [")?;
    for (index, value) in values.enumerate() {
        write!(out, "{}\n{value}", if index > 0 { "," } else { "" })?;
    }
    write!(out, "\n]")
}

fn file_entry(tree: &Tree, path: &TreePath, entry: &Entry) -> Value {
    let meta = match &entry.node {
        Node::HardLink(target) => tree.get(target.as_str()).map_or(&entry.meta, |to| &to.meta),
        _ => &entry.meta,
    };
    let mut value = json!({
        "path": format!("/{path}"), "mode": format!("{:04o}", meta.mode), "uid": meta.uid,
        "gid": meta.gid, "mtime": meta.mtime,
    });
    let mut set = |name: &str, to: Value| value[name] = to;
    match &entry.node {
        Node::Dir => set("type", "dir".into()),
        Node::Fifo => set("type", "fifo".into()),
        Node::File(file) => {
            set("type", "file".into());
            set("size", file.size.into());
            set("sha256", json!(file.digest));
        }
        Node::Symlink(target) => {
            set("type", "symlink".into());
            set("target", target.as_str().into());
        }
        Node::HardLink(target) => {
            set("type", "hardlink".into());
            set("target", format!("/{target}").into());
        }
        Node::CharDevice { major, minor } | Node::BlockDevice { major, minor } => {
            let block = matches!(entry.node, Node::BlockDevice { .. });
            set("type", if block { "blockdev" } else { "chardev" }.into());
            set("device", json!([major, minor]));
        }
    }
    if !meta.xattrs.is_empty() {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let pairs = meta.xattrs.iter().map(|(name, bytes)| (name.clone(), Value::from(hex(bytes))));
        value["xattrs"] = Value::Object(pairs.collect());
    }
    value
}
