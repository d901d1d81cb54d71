//! Why a disk must not be written to.

use std::fmt;

use super::{Disk, Use};
use crate::image::layout::SECTOR;

/// What is asked of a disk.
#[derive(Clone, Copy, Debug)]
pub struct Need {
    /// Bytes of the image.
    pub size: u64,
}

/// A reason against a disk. Its text says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Objection {
    /// Somebody uses it.
    Used(Use),
    /// The image does not fit.
    TooSmall {
        /// Bytes of the disk.
        has: u64,
        /// Bytes of the image.
        needs: u64,
    },
    /// There is no medium in it, or it was taken out.
    Empty,
    /// Its sectors are not those that the image counts in.
    Sectors(u64),
    /// It cannot be written to.
    ReadOnly,
    /// It is no disk that could be put into a box.
    MadeUp,
}

impl fmt::Display for Objection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Used(usage) => usage.fmt(f),
            Self::TooSmall { has, needs } => write!(
                f,
                "it has {has} bytes ({:.1} GiB), the image needs {needs} ({:.1} GiB): take a larger disk",
                gib(*has),
                gib(*needs)
            ),
            Self::Empty => write!(f, "there is no medium in it: insert one"),
            Self::Sectors(size) => write!(
                f,
                "its logical sectors have {size} bytes, and the image counts in sectors of {SECTOR}: take a disk with \
                 those, or have this one reformatted to them (`nvme format --lbaf`, `hdparm --set-sector-size`)"
            ),
            Self::ReadOnly => write!(
                f,
                "it is read-only: look for a switch on it, or run `blockdev --setrw` if it was set by software"
            ),
            Self::MadeUp => write!(
                f,
                "it is made of other disks, of memory, or is no hard disk at all: name the disk itself"
            ),
        }
    }
}

/// For people.
pub(super) fn gib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}

impl Disk {
    /// Every reason against writing an image to it; none: it may be done.
    pub fn objections(&self, need: Need) -> Vec<Objection> {
        let mut against: Vec<_> = self.uses.iter().cloned().map(Objection::Used).collect();
        let mut add = |yes: bool, objection| against.extend(yes.then_some(objection));
        add(self.made_up, Objection::MadeUp);
        add(self.read_only, Objection::ReadOnly);
        add(self.size == 0, Objection::Empty);
        let small = self.size > 0 && self.size < need.size;
        add(small, Objection::TooSmall { has: self.size, needs: need.size });
        add(self.sector != SECTOR, Objection::Sectors(self.sector));
        against
    }
}
