//! Who uses a disk: file systems, swap, and what is built upon it or one of its partitions, however high that is
//! stacked. What another mount namespace does may not show here; the kernel refuses to hand out such a disk.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::Path;

use super::mounts::InUse;
use super::{DeviceError, Machine, parse_number, text};

/// One use of a disk. `device` is the disk, a partition, or what is built upon them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Use {
    /// A file system that the running system needs.
    System {
        /// What is mounted.
        device: String,
        /// Where.
        at: String,
    },
    /// Another file system.
    Mounted {
        /// What is mounted.
        device: String,
        /// Where.
        at: String,
    },
    /// Swap space.
    Swap {
        /// The name of a device.
        device: String,
    },
    /// Something is built upon it.
    Holder {
        /// What it is built upon.
        device: String,
        /// Its name in the kernel.
        holder: String,
        /// What that is, and how to take it down.
        kind: Kind,
    },
}

/// What is built upon a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A RAID.
    Md,
    /// A logical volume, by its name in the device mapper.
    Lvm(String),
    /// An opened encrypted volume, by its name.
    Crypt(String),
    /// Paths to the same disk, by their name.
    Multipath(String),
    /// Another device of the device mapper, by its name.
    Dm(String),
    /// A loop device.
    Loop,
    /// A file system of several devices.
    Btrfs,
    /// Something else.
    Other,
}

impl fmt::Display for Use {
    /// The reason, and what to do.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System { device, at } => write!(
                f,
                "it carries the running system ({at} is mounted from {device}): choose another disk, or start this \
                 machine from another one"
            ),
            Self::Mounted { device, at } => {
                write!(f, "{device} is mounted on {at}: run `umount {at}` first")
            }
            Self::Swap { device } => {
                write!(f, "{device} is in use as swap: run `swapoff /dev/{device}` first")
            }
            Self::Holder { device, holder, kind } => match kind {
                Kind::Md => write!(
                    f,
                    "{device} is part of the RAID {holder}: run `mdadm --stop /dev/{holder}` first"
                ),
                Kind::Lvm(name) => write!(
                    f,
                    "{device} carries the logical volume {name}: run `dmsetup info {name}` to see which, then \
                     `vgchange --activate n` for its volume group"
                ),
                Kind::Crypt(name) => write!(
                    f,
                    "{device} carries the opened encrypted volume {name}: run `cryptsetup close {name}` first"
                ),
                Kind::Multipath(name) => write!(
                    f,
                    "{device} is one of several paths to the disk {name}: run `multipath -f {name}` first"
                ),
                Kind::Dm(name) => {
                    write!(f, "{device} is used by {name}: run `dmsetup remove {name}` first")
                }
                Kind::Loop => write!(
                    f,
                    "{device} is behind the loop device {holder}: run `losetup --detach /dev/{holder}` first"
                ),
                Kind::Btrfs => {
                    write!(f, "{device} is part of a mounted btrfs ({holder}): unmount that first")
                }
                Kind::Other => {
                    write!(f, "{device} is used by {holder}: end that first")
                }
            },
        }
    }
}

/// Everything that uses the disk of this name; the running system first.
///
/// # Errors
/// The kernel does not tell what is mounted.
pub(super) fn of(machine: &Machine, name: &str) -> Result<Vec<Use>, DeviceError> {
    let search = Search { machine, in_use: InUse::of(machine)? };
    let mut found = Vec::new();
    search.collect(name, &mut BTreeSet::new(), &mut found);
    found.sort_by_key(|found| !matches!(found, Use::System { .. }));
    Ok(found)
}

struct Search<'a> {
    machine: &'a Machine,
    in_use: InUse,
}

impl Search<'_> {
    /// Of `name`, its partitions, and whatever is built upon these.
    fn collect(&self, name: &str, seen: &mut BTreeSet<String>, found: &mut Vec<Use>) {
        if !seen.insert(name.to_owned()) {
            return;
        }
        let dir = self.machine.sys(&format!("block/{name}"));
        let parts = partitions(&dir);
        let nodes = std::iter::once((name.to_owned(), dir.clone()))
            .chain(parts.into_iter().map(|part| (part.clone(), dir.join(part))));
        for (node, dir) in nodes {
            self.direct(&node, &dir, found);
            for (holder, kind) in self.holders(&node, &dir) {
                let device = node.clone();
                found.push(Use::Holder { device, holder: holder.clone(), kind });
                self.collect(&holder, seen, found);
            }
        }
    }

    fn direct(&self, node: &str, dir: &Path, found: &mut Vec<Use>) {
        let number = text(&dir.join("dev")).as_deref().and_then(parse_number);
        let mut places = BTreeSet::new();
        for mount in &self.in_use.mounts {
            if (Some(mount.number) == number || mount.source == node) && places.insert(&mount.at) {
                let (device, at) = (node.to_owned(), mount.at.clone());
                let system = matches!(&*at, "/" | "/usr" | "/boot" | "/boot/efi" | "/efi" | "/nix");
                found.push(if system {
                    Use::System { device, at }
                } else {
                    Use::Mounted { device, at }
                });
            }
        }
        if self.in_use.swaps.iter().any(|swap| swap == node) {
            found.push(Use::Swap { device: node.to_owned() });
        }
    }

    fn holders(&self, node: &str, dir: &Path) -> Vec<(String, Kind)> {
        let mut holders: Vec<_> = names(&dir.join("holders"))
            .into_iter()
            .map(|holder| {
                let kind = self.kind(&holder);
                (holder, kind)
            })
            .collect();
        let node_path = Path::new("/dev").join(node);
        for name in names(&self.machine.sys("block")) {
            let backing = self.machine.sys(&format!("block/{name}/loop/backing_file"));
            if text(&backing).is_some_and(|file| Path::new(&file) == node_path) {
                holders.push((name, Kind::Loop));
            }
        }
        for id in names(&self.machine.sys("fs/btrfs")) {
            if self.machine.sys(&format!("fs/btrfs/{id}/devices/{node}")).exists() {
                holders.push((id, Kind::Btrfs));
            }
        }
        holders
    }

    fn kind(&self, holder: &str) -> Kind {
        let dir = self.machine.sys(&format!("block/{holder}"));
        if dir.join("md").exists() {
            return Kind::Md;
        }
        let Some(name) = text(&dir.join("dm/name")) else { return Kind::Other };
        let id = text(&dir.join("dm/uuid")).unwrap_or_default();
        match id.split('-').next() {
            Some("LVM") => Kind::Lvm(name),
            Some("CRYPT") => Kind::Crypt(name),
            Some("mpath") => Kind::Multipath(name),
            _ => Kind::Dm(name),
        }
    }
}

/// The names of a disk's partitions, in order.
pub(super) fn partitions(dir: &Path) -> Vec<String> {
    let mut parts = names(dir);
    parts.retain(|name| dir.join(name).join("partition").exists());
    parts.sort_by_key(|name| super::value::<u32>(&dir.join(name).join("partition")));
    parts
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<_> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
