//! What can go wrong while an image is put on disks, and what the disks are then.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use crate::deliver::device::{DeviceError, Objection};
use crate::failure::IoFailure;
use crate::image::layout::Part;

/// A failure to put an image on disks.
#[derive(Debug, thiserror::Error)]
pub enum FlashError {
    /// The operating system refused, before anything was written.
    #[error(transparent)]
    Io(#[from] IoFailure),
    /// The image's description is of no use.
    #[error("reading {}: {why}; run `chatimg build` to make the image anew", path.display())]
    Manifest {
        /// The description.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// More or fewer disks than the image has.
    #[error("the image {id} is for {}, and {} given; {advice}", disks(*needs), were(*given))]
    Count {
        /// Of the image.
        id: String,
        /// Disks of the image.
        needs: usize,
        /// Disks, or files, that were named.
        given: usize,
        /// What to do.
        advice: &'static str,
    },
    /// There is no such disk.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The disk is not fit, or in use.
    #[error("{disk} cannot be flashed:{}", list(why))]
    Refused {
        /// The disk.
        disk: String,
        /// Each reason, and what to do.
        why: Vec<Objection>,
    },
    /// The kernel knows a use of it that this process does not see.
    #[error(
        "{disk} is in use, though this process cannot see by whom (another container's mount, ZFS, a virtual machine \
         ...): `fuser --verbose DISK` may tell; end that first"
    )]
    Held {
        /// The disk.
        disk: String,
    },
    /// A program has a partition of it open.
    #[error(
        "a program has a partition of {disk} open: `fuser --verbose` on its partitions tells which; end it first"
    )]
    Open {
        /// The disk.
        disk: String,
    },
    /// Another program has locked it.
    #[error(
        "another program (a second flash, a partitioning tool) is at work on {disk}; wait for it"
    )]
    Locked {
        /// The disk.
        disk: String,
    },
    /// Not for this user.
    #[error(
        "opening {disk}: writing to it is not allowed; run this as root, with sudo for example"
    )]
    Permission {
        /// The disk.
        disk: String,
    },
    /// Another medium is in it.
    #[error("{disk} is not the disk any more that it was when it was chosen; choose again")]
    Exchanged {
        /// The disk.
        disk: String,
    },
    /// The same disk for both legs.
    #[error(
        "{what} is named twice, and each of the box's disks needs one of its own; name another one"
    )]
    Same {
        /// The disk or file.
        what: String,
    },
    /// The file to write is there.
    #[error("{} is there already; remove it first, or choose another name", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The settings do not fit.
    #[error("the host settings have {size} bytes, and their partition {room}; shorten them")]
    Settings {
        /// Bytes.
        size: usize,
        /// Bytes.
        room: u64,
    },
    /// The image is older than host settings.
    #[error(
        "the image {id} has no partition for host settings (number {}); run `chatimg build` to make it anew",
        Part::Settings.number()
    )]
    NoSettings {
        /// The image.
        id: String,
    },
    /// It ended while disks were being written to.
    #[error("{fault}; {left}")]
    Stopped {
        /// Why.
        fault: Fault,
        /// How the disks are now.
        left: Left,
    },
}

/// What ended the work on a disk.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The image's file cannot be read.
    #[error("reading {} at byte {at}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Where.
        at: u64,
        /// Why.
        source: io::Error,
    },
    /// The image's file is not what its manifest says.
    #[error(
        "{} is damaged or was changed: from byte {start} on it is not what its manifest says; run `chatimg build` to \
         make it anew",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the wrong part begins.
        start: u64,
    },
    /// The disk reports an error.
    #[error("{doing} {disk} at byte {at}: {source}{}", hint(source))]
    Disk {
        /// A gerund.
        doing: &'static str,
        /// The disk.
        disk: String,
        /// Where.
        at: u64,
        /// What it reports.
        source: io::Error,
    },
    /// The disk is not there any more.
    #[error("{doing} {disk}: the disk vanished ({source}); look at its cable, adapter and power")]
    Vanished {
        /// A gerund.
        doing: &'static str,
        /// The disk.
        disk: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// What comes back is not what was written.
    #[error(
        "{disk} does not give back what was written to it, from byte {at} on: it is broken, smaller than it says, or \
         its adapter is; take another one"
    )]
    Differs {
        /// The disk.
        disk: String,
        /// Where the wrong part begins.
        at: u64,
    },
    /// The user asked to stop.
    #[error("interrupted")]
    Interrupted,
    /// The work on the other disk failed.
    #[error("ended because the other disk failed")]
    Other,
}

/// How the disks are after a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Left {
    /// As they were.
    Untouched,
    /// Wiping them had begun.
    Wiping(Vec<String>),
    /// Without a partition table.
    Blank(Vec<String>),
    /// All contents are there and verified, but the table is not, and could not be taken away again.
    Unsure(Vec<String>),
    /// These were files, and are removed.
    Removed,
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let its =
            |names: &[String]| if names.len() == 1 { ("has", "it") } else { ("have", "them") };
        match self {
            Self::Untouched => write!(f, "nothing was written"),
            Self::Wiping(names) => {
                let (_, it) = its(names);
                write!(f, "what was on {} may be lost: do not start from {it}", names.join(" and "))
            }
            Self::Blank(names) => {
                let (have, it) = its(names);
                let names = names.join(" and ");
                write!(
                    f,
                    "{names} {have} no partition table now, so that nothing starts from {it}: flash {it} again"
                )
            }
            Self::Unsure(names) => {
                let (_, it) = its(names);
                let names = names.join(" and ");
                write!(
                    f,
                    "the partition table of {names} may be there in part: do not start from {it}, flash {it} again"
                )
            }
            Self::Removed => write!(f, "the unfinished file was removed"),
        }
    }
}

impl FlashError {
    /// For `map_err`: an operating system error while `doing` something to `path`.
    pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        IoFailure::when(doing, path)
    }

    pub(super) fn manifest(path: &Path, why: String) -> Self {
        Self::Manifest { path: path.to_owned(), why }
    }
}

fn hint(source: &io::Error) -> &'static str {
    match source.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EIO | Errno::EREMOTEIO | Errno::EILSEQ | Errno::ENODATA) => {
            " (bad sectors, or a bad cable or adapter: try another one, and do not trust this disk)"
        }
        Some(Errno::ENOSPC | Errno::EDQUOT) => " (there is no room behind it: free some)",
        Some(Errno::EFBIG) => " (that file system holds no file as large)",
        _ => "",
    }
}

fn list(why: &[Objection]) -> String {
    why.iter().map(|reason| format!("\n  {reason}")).collect()
}

fn disks(count: usize) -> String {
    if count == 1 { "one disk".to_owned() } else { format!("{count} disks") }
}

fn were(count: usize) -> String {
    if count == 1 { "one was".to_owned() } else { format!("{count} were") }
}
