//! What can go wrong in the store.

use std::io;
use std::path::Path;

use crate::digest::Digest;
use crate::failure::IoFailure;

/// A failure of the store, with the path it happened at.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system refused.
    #[error("{}{}", .0, hint(&.0.source))]
    Io(#[from] IoFailure),
    /// Bytes differ from the digest they are named by. What was bad has been removed.
    #[error(
        "{what}: expected SHA-256 {expected}, got {actual}; the bad copy was removed, so run the command again"
    )]
    Corrupt {
        /// What was read.
        what: String,
        /// The digest it is named by.
        expected: Digest,
        /// The digest it has.
        actual: Digest,
    },
    /// A stored document cannot be read. It has been removed.
    #[error("{what}: {why}; it was removed, so run the command again")]
    Damaged {
        /// What was read.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// The user asked to stop.
    #[error(transparent)]
    Interrupted(#[from] crate::interrupt::Interrupted),
    /// A tree names contents that are no longer there.
    #[error("the store lacks the contents of result {pack}; run the command again")]
    MissingPack {
        /// The key of the result.
        pack: Digest,
    },
}

impl StoreError {
    /// For `map_err`: an operating system error while `doing` something to `path`.
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        IoFailure::when(doing, path)
    }
}

fn hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            " (free some space, or point CHATIMG_STORE at a larger disk)"
        }
        io::ErrorKind::PermissionDenied => {
            " (check the owner of that folder, or set CHATIMG_STORE)"
        }
        _ => "",
    }
}
