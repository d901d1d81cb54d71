//! The boot files of a slot: what GRUB reads from it, under fixed names.
//!
//! ```text
//! /boot/vmlinuz      hard link to the kernel package's vmlinuz-VERSION
//! /boot/initrd.img   see [`super::initrd`]
//! /boot/chatimg-id   the image's id, as an environment block: `load_env` and `sed` can both read it
//! /boot/SHA256SUMS   "HEX  NAME" for the three above; GRUB and sha256sum can both check it
//! ```
//!
//! And `/usr/lib/chatimg/disks.json`: which disks and partitions are this appliance's, for whoever replaces one:
//!
//! ```text
//! {"raid": "mirror", "disks": [{"number": 1, "guid": "...", "esp-serial": "0123ABCD",
//!                               "partitions": {"1": "guid", ...}}, ...]}
//! ```
//!
//! And `/usr/lib/chatimg/boot/`: see [`super::starter`].

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::envblock::EnvBlock;
use super::layout::{Layout, Leg, PARTS, Part};
use super::starter::{self, Starter};
use super::{ImageError, ImageSpec, initrd};
use crate::digest::{Digest, Hasher};
use crate::store::{PackWriter, StepError, Store};
use crate::tree::{Entry, Meta, Node, Tree, TreePath};

/// Where the tools have a static busybox.
pub(super) const BUSYBOX: &str = "usr/bin/busybox";
const INITRD: &str = "boot/initrd.img";
const KERNEL_PREFIX: &str = "boot/vmlinuz-";

/// The root tree with its boot files.
///
/// # Errors
/// There is not exactly one kernel, or a part of the initrd is missing.
pub(super) fn with_boot_files(
    store: &Store,
    spec: &ImageSpec,
    layout: &Layout,
    id: &str,
    starter: &Starter,
) -> Result<Tree, ImageError> {
    let kernel = kernel(spec.root)?;
    let version = &kernel.as_str()[KERNEL_PREFIX.len()..];
    let sources = initrd::Sources { root: spec.root, tools: spec.tools, disks: spec.disks };
    let plan = initrd::Plan::new(store, &sources, version, spec.epoch)?;
    let made = store
        .tree(plan.key(), |pack| one_file(pack, INITRD, &plan.build(store)?, spec.epoch))
        .map_err(StepError::into_inner)?;
    let initrd = initrd::find(&made, INITRD)?;

    let id_text = id_file(id)?;
    let kernel_file = initrd::find(spec.root, kernel.as_str())?;
    let sums = format!(
        "{}  vmlinuz\n{}  initrd.img\n{}  chatimg-id\n",
        kernel_file.digest,
        initrd.digest,
        Digest::of(id_text.as_bytes())
    );
    let disks = format!("{}\n", disks(layout));
    let mut key = Hasher::step("boot files");
    key.field(&id_text).field(&sums).field(&disks).field(spec.epoch.to_le_bytes());
    for (_, bytes) in starter.files() {
        key.field(Digest::of(bytes).as_bytes());
    }
    let small = store.tree(key.finish(), |pack| {
        let mut tree = one_file(pack, "boot/chatimg-id", id_text.as_bytes(), spec.epoch)?;
        add(&mut tree, pack, "boot/SHA256SUMS", sums.as_bytes(), spec.epoch)?;
        add(&mut tree, pack, "usr/lib/chatimg/disks.json", disks.as_bytes(), spec.epoch)?;
        for (name, bytes) in starter.files() {
            add(&mut tree, pack, &format!("{}/{name}", starter::FOLDER), bytes, spec.epoch)?;
        }
        Ok(tree)
    });
    let small = small.map_err(StepError::<ImageError>::into_inner)?;

    let mut root = spec.root.clone();
    root.make_dirs(&path("state"), spec.epoch)?;
    let link = Entry { meta: Meta::default(), node: Node::HardLink(kernel) };
    root.replace(path("boot/vmlinuz"), link)?;
    for (path, entry) in made.iter().chain(small.iter()) {
        match entry.node {
            Node::Dir => root.make_dirs(path, spec.epoch)?,
            _ => root.replace(path.clone(), entry.clone())?,
        }
    }
    Ok(root)
}

/// The path of the one kernel.
fn kernel(root: &Tree) -> Result<TreePath, ImageError> {
    let mut kernels = root
        .below("boot")
        .filter(|(path, entry)| {
            path.as_str().starts_with(KERNEL_PREFIX) && matches!(entry.node, Node::File(_))
        })
        .map(|(path, _)| path);
    match (kernels.next(), kernels.next()) {
        (Some(only), None) => Ok(only.clone()),
        (None, _) => Err(missing("a kernel (/boot/vmlinuz-VERSION)")),
        (Some(one), Some(two)) => Err(ImageError::Format {
            what: "the boot files",
            why: format!("there are two kernels, /{one} and /{two}; only one can be the image's"),
        }),
    }
}

fn disks(layout: &Layout) -> Value {
    let disk = |leg: Leg| {
        let guid =
            |part: Part| (part.number().to_string(), layout.part_guid(leg, part).to_string());
        json!({
            "number": leg.number(), "guid": layout.disk_guid(leg).to_string(),
            "esp-serial": format!("{:08X}", layout.esp_serial(leg)),
            "partitions": PARTS.map(guid).into_iter().collect::<BTreeMap<_, _>>(),
        })
    };
    json!({"raid": layout.disks().raid(), "disks": layout.legs().map(disk).collect::<Vec<_>>()})
}

fn id_file(id: &str) -> Result<String, ImageError> {
    let mut block = EnvBlock::default();
    block
        .set("id", id)
        .map_err(|error| ImageError::Format { what: "the image id", why: error.to_string() })?;
    Ok(block.text())
}

fn one_file(
    pack: &mut PackWriter,
    name: &str,
    bytes: &[u8],
    epoch: i64,
) -> Result<Tree, ImageError> {
    let mut tree = Tree::new();
    add(&mut tree, pack, name, bytes, epoch)?;
    Ok(tree)
}

fn add(
    tree: &mut Tree,
    pack: &mut PackWriter,
    name: &str,
    bytes: &[u8],
    epoch: i64,
) -> Result<(), ImageError> {
    let node = Node::File(pack.append(bytes)?);
    if let Some(parent) = path(name).parent() {
        tree.make_dirs(&path(parent), epoch)?;
    }
    tree.insert(path(name), Entry { meta: Meta::root(0o644, epoch), node })?;
    Ok(())
}

fn path(text: &str) -> TreePath {
    text.parse().expect("a plain relative path")
}

fn missing(what: &str) -> ImageError {
    let fix = "check that the lock names a kernel package (linux-image-amd64)";
    ImageError::Missing { what: what.to_owned(), fix }
}
