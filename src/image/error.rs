//! What can go wrong while an image is made.

use std::io;
use std::path::{Path, PathBuf};

use crate::failure::IoFailure;
use crate::store::StoreError;
use crate::tree::TreeError;

/// A failure to make an image. Nothing that was there before has changed.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// It would hold a secret.
    #[error("the image would hold a secret: {what}; take it out of what this is made from")]
    Secret {
        /// Where, and what.
        what: String,
    },
    /// The operating system refused.
    #[error("{}{}", .0, hint(&.0.source))]
    Io(#[from] IoFailure),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The tree and the boot files do not go together.
    #[error("adding the boot files to the root file system: {0}")]
    Tree(#[from] TreeError),
    /// The ext4 writer refused.
    #[error("writing {what} to ext4: {source}")]
    Ext4 {
        /// A path, or the file system itself.
        what: String,
        /// Why.
        source: mkext4::Error,
    },
    /// The root file system is larger than its slot.
    #[error(
        "the root file system needs {} MiB, a slot has {} MiB: raise the slot size of the target, or take packages out",
        needed >> 20, capacity >> 20
    )]
    TooLarge {
        /// Bytes.
        needed: u64,
        /// Bytes.
        capacity: u64,
    },
    /// A slot size that no disk should have.
    #[error("slot size {size}: it must be a whole number of MiB, from 64 MiB to 64 GiB")]
    SlotSize {
        /// Bytes.
        size: u64,
    },
    /// Something the image needs is not in the tree.
    #[error("the root file system lacks {what}: {fix}")]
    Missing {
        /// What.
        what: String,
        /// What to do about it.
        fix: &'static str,
    },
    /// A part cannot be made as it has to be.
    #[error("making {what}: {why}")]
    Format {
        /// Which part.
        what: &'static str,
        /// What is wrong.
        why: String,
    },
    /// An image is not as it was built.
    #[error(
        "{} was changed or copied since its build; run `chatimg build` to make it anew", dir.display()
    )]
    Changed {
        /// Its folder.
        dir: PathBuf,
    },
    /// No image is meant by that.
    #[error("there is no image '{name}' in {}; {hint}", images.display())]
    Unknown {
        /// What the user said.
        name: String,
        /// Where it was looked for.
        images: PathBuf,
        /// What there is.
        hint: String,
    },
    /// The user asked to stop.
    #[error(transparent)]
    Interrupted(#[from] crate::interrupt::Interrupted),
}

impl ImageError {
    /// For `map_err`: an operating system error while `doing` something to `path`.
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        IoFailure::when(doing, path)
    }

    /// For `map_err`: the ext4 writer's refusal of `what`.
    pub(super) fn ext4(what: &str) -> impl FnOnce(mkext4::Error) -> Self {
        let what = what.to_owned();
        move |source| match source {
            mkext4::Error::Io(source) => Self::io("writing", Path::new("the root slot"))(source),
            source => Self::Ext4 { what, source },
        }
    }
}

fn hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            " (free some space, or remove old folders below images/)"
        }
        io::ErrorKind::PermissionDenied => " (check the owner of that folder)",
        _ => "",
    }
}
