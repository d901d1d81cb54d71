//! From a tree to disks: `disk.img`, or one for each leg of a mirror, in user space.
//!
//! Every byte is a function of the [`ImageSpec`]: no clock, no random source, no program of the host. What
//! the image holds and where is in [`layout`]; how it starts is in `grub/grub.cfg` and `initrd/init.sh`.

mod boot;
mod disk;
pub mod envblock;
mod error;
mod ext4;
mod fat;
mod gpt;
pub mod grub;
pub(crate) mod initrd;
pub mod inventory;
pub mod layout;
mod manifest;
pub mod md;
mod naming;
mod output;
mod root;
mod secrets;
pub(crate) mod slot;
mod sparse;
mod starter;
pub mod sums;

pub use error::ImageError;
pub use grub::GrubParts;
pub use initrd::{MDADM as INITRD_MDADM, WANTED as INITRD_MODULES};
pub use manifest::{SCHEMA, parse as parse_manifest};
pub use naming::named;
pub use output::MANIFEST;
pub use root::{Place as RootPlace, RootImage, beside};
pub(crate) use sparse::{is_zero, punch_hole};

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::appliance::Disks;
use crate::digest::{Digest, Hasher};
use crate::lock::Lock;
use crate::store::Store;
use crate::tree::Tree;
use layout::Layout;
use starter::Starter;

/// What to build an image from.
#[derive(Clone, Copy, Debug)]
pub struct ImageSpec<'a> {
    /// The appliance's name; GUIDs come from it.
    pub name: &'a str,
    /// Seconds since 1970; stands for "now".
    pub epoch: i64,
    /// Bytes of one root slot.
    pub slot_size: u64,
    /// The machine's disks.
    pub disks: Disks,
    /// The root file system, kernel and modules included, without the boot files made here.
    pub root: &'a Tree,
    /// Holds `usr/bin/busybox`, statically linked.
    pub tools: &'a Tree,
    /// GRUB for both firmwares.
    pub grub: &'a GrubParts,
    /// Named in the manifest.
    pub lock: &'a Lock,
    /// For the manifest: programs whose data have a format, each with its version and the oldest that reads what it
    /// writes.
    pub formats: &'a BTreeMap<String, (String, String)>,
    /// For the manifest: open ports, `443/tcp`.
    pub ports: &'a BTreeSet<String>,
    /// For the manifest: digest of what was asked for (`compose::identity`).
    pub plan: Digest,
    /// Files to lie beside the image: name, contents.
    pub beside: &'a [(&'static str, String)],
}

/// What happens while an image is built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A part of the work begins.
    Step(&'static str),
    /// An image of the same id was there, but had been changed since its build; it has this name now.
    Changed(PathBuf),
    /// So many bytes of the root slot are written.
    Root {
        /// Bytes done.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
}

/// A finished image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuiltImage {
    /// 16 hexadecimal digits.
    pub id: String,
    /// `images/<id>`, with the disks and `manifest.json`.
    pub dir: PathBuf,
    /// Whether it was there already.
    pub found: bool,
}

impl BuiltImage {
    /// The bootable disks: one, or the legs of a mirror.
    pub fn disks(&self) -> Vec<PathBuf> {
        let names = output::disks_in(&self.dir).unwrap_or_default();
        names.iter().map(|name| self.dir.join(name)).collect()
    }
}

/// Builds the image into `images/<id>` unless it is there, and points `images/current` at it.
///
/// # Errors
/// A part is missing or does not fit, the disk is full, or the user interrupted; `images/current` is
/// as it was then.
pub fn build(
    store: &Store,
    spec: &ImageSpec,
    images: &Path,
    events: &dyn Fn(Event),
) -> Result<BuiltImage, ImageError> {
    let layout = Layout::new(spec.name, spec.slot_size, spec.disks)?;
    let id = id(spec, &layout)?;
    let output = output::Images::open(images)?;
    if let Some((dir, _hold)) = held(&output, &id) {
        output.switch(&id)?;
        return Ok(BuiltImage { id, dir, found: true });
    }
    events(Event::Step("making the initrd"));
    let starter = Starter::new(spec, &layout)?;
    for (name, bytes) in starter.files() {
        secrets::refuse(&format!("the disks' boot {name}"), bytes)?;
    }
    let root = boot::with_boot_files(store, spec, &layout, &id, &starter)?;
    events(Event::Step("laying out the root slot"));
    let plan = ext4::Plan::new(&root, spec.epoch, layout.slot_capacity())?;
    let work = output.begin()?;
    events(Event::Step("writing the disk"));
    let boot = disk::Boot::new(spec, &layout, &id, &starter)?;
    let contents = disk::write(store, &boot, &plan, work.path(), events)?;
    let mut sums = sums::Sums::new();
    for (name, text) in spec.beside {
        sums::save(&work.path().join(name), text.as_bytes())?;
        sums.insert((*name).to_owned(), Digest::of(text.as_bytes()));
    }
    let manifest = work.path().join(output::MANIFEST);
    manifest::write(&manifest, spec, &layout, &id, &root, &contents)?;
    let text = std::fs::read(&manifest).map_err(ImageError::io("reading", &manifest))?;
    sums.insert(output::MANIFEST.to_owned(), Digest::of(&text));
    sums::write(work.path(), &sums)?;
    let (dir, aside) = output.finish(work, &id)?;
    if let Some(aside) = aside {
        events(Event::Changed(aside));
    }
    output.switch(&id)?;
    Ok(BuiltImage { id, dir, found: false })
}

/// Points `images/current` at the image of this id, if it is there and whole.
///
/// # Errors
/// The folder cannot be written.
pub fn find(images: &Path, id: &str) -> Result<Option<BuiltImage>, ImageError> {
    let output = output::Images::open(images)?;
    let Some((dir, _hold)) = held(&output, id) else { return Ok(None) };
    output.switch(id)?;
    Ok(Some(BuiltImage { id: id.to_owned(), dir, found: true }))
}

/// A whole image that nobody removes before `current` points at it.
fn held(output: &output::Images, id: &str) -> Option<(PathBuf, inventory::Hold)> {
    let hold = inventory::hold(&output.find(id)?);
    Some((output.find(id)?, hold))
}

/// The image of this id, if it is there and whole; `images/current` stays.
///
/// # Errors
/// The folder cannot be read.
pub fn find_in(images: &Path, id: &str) -> Result<Option<BuiltImage>, ImageError> {
    let dir = output::Images::open(images)?.find(id);
    Ok(dir.map(|dir| BuiltImage { id: id.to_owned(), dir, found: true }))
}

/// The newest image, if there is one.
///
/// # Errors
/// The folder cannot be read, or the image was changed since its build.
pub fn current(images: &Path) -> Result<Option<BuiltImage>, ImageError> {
    if !images.is_dir() {
        return Ok(None);
    }
    let output = output::Images::open(images)?;
    let Some(id) = output.current() else { return Ok(None) };
    match output.find(&id) {
        Some(dir) => Ok(Some(BuiltImage { id, dir, found: true })),
        None if images.join(&id).exists() => Err(ImageError::Changed { dir: images.join(id) }),
        None => Ok(None),
    }
}

/// Everything of a lock that shapes an image, as its manifest lists it.
pub fn inputs(lock: &Lock) -> serde_json::Value {
    manifest::inputs(lock)
}

/// The image's id: a digest of everything that the bytes of its disks, and of the files beside them, depend on.
fn id(spec: &ImageSpec, layout: &Layout) -> Result<String, ImageError> {
    let mut key = Hasher::step("image");
    key.field(layout.parameters()).field(spec.epoch.to_le_bytes());
    key.field(spec.root.id().as_bytes());
    key.field(initrd::find(spec.tools, boot::BUSYBOX)?.digest.as_bytes());
    for part in [&spec.grub.boot_img, &spec.grub.core_img, &spec.grub.efi] {
        key.field(Digest::of(part).as_bytes());
    }
    key.field(manifest::inputs(spec.lock).to_string());
    key.field(manifest::told(spec).to_string());
    for (name, text) in spec.beside {
        key.field(name).field(text);
    }
    Ok(key.finish().short())
}
