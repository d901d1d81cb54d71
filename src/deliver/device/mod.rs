//! The disks of this machine: what they are, who uses them, and what is on them. Everything is read from `/sys`,
//! `/proc`, `/run/udev` and the disks themselves; nothing is changed.

mod contents;
mod identity;
pub(crate) mod mounts;
mod objection;
mod uses;

pub use objection::{Need, Objection};
use uses::Kind;
pub use uses::Use;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::sys::stat;

use crate::failure::IoFailure;

/// What the kernel counts sizes in, whatever the disk's own sectors are.
const KERNEL_SECTOR: u64 = 512;
/// What was being done when a disk went away.
const READING: &str = "reading about";

/// A machine, seen through its file systems.
#[derive(Clone, Debug)]
pub struct Machine {
    root: PathBuf,
}

/// A whole disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// The kernel's name: `sda`.
    pub name: String,
    /// Its node: `/dev/sda`.
    pub path: PathBuf,
    /// Major and minor number.
    pub number: (u64, u64),
    /// Bytes.
    pub size: u64,
    /// Bytes of a logical sector.
    pub sector: u64,
    /// Vendor and model, if they are known.
    pub model: Option<String>,
    /// Its serial number, if it has one.
    pub serial: Option<String>,
    /// Counts up with every medium that appears: another stick in the same slot has another one.
    pub sequence: Option<u64>,
    /// The kernel refuses to write to it.
    pub read_only: bool,
    /// Made of other disks, or of memory: nothing that could be taken out and put into a box.
    pub made_up: bool,
    /// Who uses it.
    pub uses: Vec<Use>,
}

/// Why there is no such disk.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The path leads nowhere, or the kernel does not tell.
    #[error(transparent)]
    Io(#[from] IoFailure),
    /// No block device.
    #[error(
        "{} is no disk; `chatimg flash` without --disk lists those of this machine, and --image-file writes a file",
        path.display()
    )]
    NotADisk {
        /// As it was asked for.
        path: PathBuf,
    },
    /// A partition.
    #[error(
        "{} is a partition of /dev/{whole}; the image has a partition table of its own and needs the whole disk: \
         give --disk /dev/{whole}, if all of it may be erased",
        path.display()
    )]
    Partition {
        /// As it was asked for.
        path: PathBuf,
        /// The disk's name.
        whole: String,
    },
}

impl DeviceError {
    fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        IoFailure::when(doing, path)
    }
}

impl Default for Machine {
    fn default() -> Self {
        Self { root: PathBuf::from("/") }
    }
}

impl Machine {
    /// The disk behind a path, which may be a link such as those in `/dev/disk/by-id`.
    ///
    /// # Errors
    /// There is none, or it is a partition.
    pub fn disk(&self, path: &Path) -> Result<Disk, DeviceError> {
        let node =
            stat::stat(path).map_err(|errno| DeviceError::io("looking for", path)(errno.into()))?;
        if stat::SFlag::from_bits_truncate(node.st_mode) & stat::SFlag::S_IFMT
            != stat::SFlag::S_IFBLK
        {
            return Err(DeviceError::NotADisk { path: path.to_owned() });
        }
        self.numbered(path, (stat::major(node.st_rdev), stat::minor(node.st_rdev)))
    }

    /// The disk of this number, which was asked for as `path`.
    fn numbered(&self, path: &Path, (major, minor): (u64, u64)) -> Result<Disk, DeviceError> {
        let link = self.sys(&format!("dev/block/{major}:{minor}"));
        let dir = link.canonicalize().map_err(DeviceError::io("looking for", &link))?;
        if dir.join("partition").exists() {
            let whole = dir.parent().map(file_name).unwrap_or_default();
            return Err(DeviceError::Partition { path: path.to_owned(), whole });
        }
        self.described(&dir)
    }

    /// Every disk of the machine, by name. What has no medium, or is a loop device, is left out.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub fn disks(&self) -> Result<Vec<Disk>, DeviceError> {
        let dir = self.sys("block");
        let entries = fs::read_dir(&dir).map_err(DeviceError::io("listing", &dir))?;
        let mut disks = Vec::new();
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let hidden = text(&entry.path().join("hidden")).is_some_and(|hidden| hidden == "1");
            if hidden || name.starts_with("loop") {
                continue;
            }
            // One that was just taken out is none any more.
            let Ok(dir) = entry.path().canonicalize() else { continue };
            match self.described(&dir) {
                Ok(disk) => disks.extend(Some(disk).filter(|disk| disk.size > 0 && !disk.made_up)),
                Err(DeviceError::Io(IoFailure { doing: READING, .. })) => {}
                Err(error) => return Err(error),
            }
        }
        disks.sort_by(|a, b| (a.name.len(), &a.name).cmp(&(b.name.len(), &b.name)));
        Ok(disks)
    }

    /// The disk whose folder in `/sys` this is.
    fn described(&self, dir: &Path) -> Result<Disk, DeviceError> {
        let name = file_name(dir);
        let fail = || {
            let source = io::Error::new(io::ErrorKind::NotFound, "the kernel does not tell");
            DeviceError::io(READING, dir)(source)
        };
        let number = text(&dir.join("dev")).as_deref().and_then(parse_number).ok_or_else(fail)?;
        let size: u64 = value(&dir.join("size")).ok_or_else(fail)?;
        let identity = identity::Identity::of(self, dir, number);
        Ok(Disk {
            path: self.root.join("dev").join(&name),
            number,
            size: size * KERNEL_SECTOR,
            sector: value(&dir.join("queue/logical_block_size")).unwrap_or(KERNEL_SECTOR),
            model: identity.model,
            serial: identity.serial,
            sequence: value(&dir.join("diskseq")),
            read_only: value(&dir.join("ro")).is_some_and(|flag: u64| flag != 0),
            made_up: is_made_up(&name, dir),
            uses: uses::of(self, &name)?,
            name,
        })
    }

    /// What is on a disk, in a few words.
    pub fn contents(&self, disk: &Disk) -> String {
        contents::describe(self, disk)
    }

    fn sys(&self, path: &str) -> PathBuf {
        self.root.join("sys").join(path)
    }
}

impl Disk {
    /// What is typed to confirm that it may be erased: a serial number that no other one of `all` disks has; else its
    /// name, too, or instead. Docks and cheap adapters give all their disks the same number.
    pub fn word(&self, all: &[Self]) -> String {
        let Some(serial) = &self.serial else { return self.name.clone() };
        let shared = |other: &Self| other.name != self.name && other.serial == self.serial;
        match all.iter().any(shared) {
            true => format!("{serial}/{}", self.name),
            false => serial.clone(),
        }
    }

    /// Names of the md arrays that it, or a part of it, belongs to.
    pub fn arrays(&self) -> impl Iterator<Item = String> {
        self.uses.iter().filter_map(|usage| match usage {
            Use::Holder { holder, kind: Kind::Md, .. } => Some(holder.clone()),
            _ => None,
        })
    }

    /// Whether it is still the same disk with the same medium, as far as the kernel can tell.
    pub fn is(&self, other: &Self) -> bool {
        let key = |disk: &Self| (disk.number, disk.sequence, disk.size, disk.serial.clone());
        key(self) == key(other)
    }
}

impl std::fmt::Display for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.path.display())?;
        match (&self.model, &self.serial) {
            (Some(model), Some(serial)) => write!(f, " ({model}, serial {serial})"),
            (Some(model), None) => write!(f, " ({model})"),
            (None, Some(serial)) => write!(f, " (serial {serial})"),
            (None, None) => Ok(()),
        }
    }
}

fn is_made_up(name: &str, dir: &Path) -> bool {
    let memory_or_optical = ["ram", "zram", "sr", "fd"];
    let plain = |prefix: &str| {
        name.strip_prefix(prefix).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    let of_others =
        fs::read_dir(dir.join("slaves")).is_ok_and(|mut slaves| slaves.next().is_some());
    let stacked = ["md", "dm", "bcache"].iter().any(|kind| dir.join(kind).exists());
    memory_or_optical.iter().any(|prefix| plain(prefix)) || of_others || stacked
}

/// `8:16`
fn parse_number(text: &str) -> Option<(u64, u64)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// A one-line file of `/sys`, as text that is fit to be shown.
fn text(path: &Path) -> Option<String> {
    let bytes = fs::read(path).ok()?;
    Some(identity::printable(&bytes)).filter(|text| !text.is_empty())
}

fn value<T: std::str::FromStr>(path: &Path) -> Option<T> {
    text(path)?.parse().ok()
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
