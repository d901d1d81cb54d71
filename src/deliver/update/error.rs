//! Why there is no new image on the box.

use std::io;
use std::path::PathBuf;

use super::chunks::ChunkError;
use super::remote::RemoteError;

/// An update did not come about.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    /// A file cannot be read.
    #[error("reading {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// An image cannot be used.
    #[error("reading {}: {why}", path.display())]
    Manifest {
        /// Its manifest.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// A root image cannot be cut up.
    #[error("reading {}: {source}", path.display())]
    Chunks {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ChunkError,
    },
    /// The box, or the way to it.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// Tried, and given up by the box itself.
    #[error(
        "{host} went back to the image {from}, by itself: {reason}\n  help: it runs, and no data are lost; \
         `chatimg history {host}` has it, /state/.chatimg/failed on the box the journal of the trial"
    )]
    WentBack {
        /// The box.
        host: String,
        /// The image that runs.
        from: String,
        /// What was wrong with the other.
        reason: String,
    },
    /// Nobody knows what became of it.
    #[error(
        "{host} has not told what became of the image {to} within {minutes} min: {last}\n  help: unless it was confirmed it \
         goes back by itself; look with `chatimg history {host}`, and at its console if it does not answer"
    )]
    Lost {
        /// The box.
        host: String,
        /// The image that was tried.
        to: String,
        /// How long was waited.
        minutes: u64,
        /// What came last, from ssh or the box.
        last: String,
    },
    /// The user stopped waiting while the box was on its way.
    #[error(
        "no longer waiting for {host}, which tries the image {to}\n  help: within its 10 minutes run `ssh {host} sudo \
         chatimg-admin update confirm` to keep it; else the box goes back by itself"
    )]
    NotWaiting {
        /// The box.
        host: String,
        /// The image.
        to: String,
    },
}

impl UpdateError {
    /// What `chatimg` exits with: 1: the box is as it was, 3: it went back, 4: that is not known.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::WentBack { .. } => 3,
            Self::Lost { .. } | Self::NotWaiting { .. } => 4,
            _ => 1,
        }
    }
}
