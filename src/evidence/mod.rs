//! What proves an image to somebody else: digests of its files, the owner's signature of them, and a signed statement of what it was
//! made from. Signing and verifying work on the folder of a finished image alone.
//!
//! ```text
//! manifest.json          every file of the root file system, every input, every extent of the disks   by `build`
//! sbom.*.json            what it is made of, for other programs                                       by `build`
//! SHA256SUMS             of these; when signed, of the disks, too                                     by `build`, `sign`
//! SHA256SUMS.minisig     the owner's signature of that: covers all of the above                       by `sign`
//! provenance.dsse.json   in-toto statement of the same files and what they were made from             by `sign`
//! update.json(.minisig)  what a box is told (docs/update.md)                                          by `sign`, `key sign`
//! root.img               a copy of the root image, for a box without a network                        by `key sign`
//! ```
//!
//! Nothing else than what these functions write is taken: each text is made anew and compared, so no bit of it can change unseen.

pub(crate) mod dsse;
mod files;
mod place;
mod provenance;
mod rebuild;
mod sign;
mod verify;

pub use rebuild::{Deviation, compare, foreign_inputs, other_builder};
pub use sign::{Signed, sign, sign_update};
pub use verify::{Verified, verify};

use std::io;
use std::path::{Path, PathBuf};

use crate::deliver::flash::FlashError;
use crate::deliver::update::UpdateError;
use crate::failure::IoFailure;

/// The signed statement's file.
pub const PROVENANCE: &str = "provenance.dsse.json";
/// The signature of the sums.
pub const SIGNATURE: &str = "SHA256SUMS.minisig";
const ROOT: &str = "root.img";
const UPDATE: &str = "update.json";
const UPDATE_SIGNATURE: &str = "update.json.minisig";

/// An image is not proved.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] IoFailure),
    /// A file is missing.
    #[error("checking {}: it is not there; {help}", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// What to do.
        help: &'static str,
    },
    /// A file is not what was built or signed.
    #[error(
        "checking {}: {why}; the image is damaged, or was changed: do not use it, build it again or get it anew",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How that is known.
        why: String,
    },
    /// The image is signed by nobody.
    #[error("checking {}: the image is not signed; its owner runs `chatimg sign`", .0.display())]
    NotSigned(PathBuf),
    /// The image is signed, and there is no key to check that with.
    #[error(
        "checking {}: the image is signed; name the owner's public key with --key (`chatimg key show` says it)",
        .0.display()
    )]
    NoKey(PathBuf),
    /// Another key signed it.
    #[error("checking {}: {why}; the key that you trust is {key}", path.display())]
    Signature {
        /// The signature.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
        /// Number of the key.
        key: String,
    },
    /// The manifest cannot be used.
    #[error(transparent)]
    Disks(#[from] FlashError),
    /// The manifest cannot be used.
    #[error(transparent)]
    Update(#[from] UpdateError),
    /// The user stopped it.
    #[error(transparent)]
    Interrupted(#[from] crate::interrupt::Interrupted),
}

impl EvidenceError {
    fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| match source.kind() {
            io::ErrorKind::NotFound => Self::Missing {
                path,
                help: "was the image built by an older chatimg? Remove its folder, and run `chatimg build`",
            },
            _ => Self::Io(IoFailure { doing, path, source }),
        }
    }

    fn damaged(path: &Path, why: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_owned(), why: why.into() }
    }
}
