//! The store: everything fetched or made, under its digest or key, so that nothing is fetched or made twice.
//!
//! ```text
//! blobs/ab/abcd...          a fetched input, named by the SHA-256 of its bytes
//! partial/abcd...           the same while it is being fetched; a broken download resumes here (without a digest: tmp/)
//! results/ab/abcd.../doc    what a step made, named by the step's key: one line "sha256 HEX", then text
//! results/ab/abcd.../pack   the file contents that a tree in `doc` names, one after the other
//! folders/ab/abcd.../      trees written out for programs to run or read (the tools)
//! folders/ab/abcd....doc    which tree that is, sealed as a result's `doc`
//! locks/abcd...             held (flock) while somebody makes that blob or result
//! tmp/                      what is being written; anything here without a lock is rubbish
//! using/ roots/             who needs what: see `uses`
//! corrupt/                  what `verify` found damaged
//! ```
//!
//! A key is the SHA-256 of (step name, step version, parameters, input digests). Writers fill a temporary
//! place, fsync, and rename, so a name that exists is whole; readers check digests (but of what their own process
//! has just written), so what has rotted on the disk is reported and removed, never served. Any number of processes may share
//! one store.

mod arriving;
mod blobs;
mod error;
mod files;
mod folders;
mod gc;
pub(crate) mod results;
mod uses;
mod verify;

pub use arriving::NewBlob;
pub use blobs::{BlobReader, PartialBlob};
pub use error::StoreError;
pub use folders::Scratch;
pub use gc::{Amount, Collected, Needs};
pub use results::{PackWriter, StepError};
pub use uses::{Item, Kind, Project};
pub use verify::{Damage, Verified};

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::digest::Digest;

/// An open store. Cheap to share between threads by reference.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    packs: Mutex<HashMap<Digest, Arc<File>>>,
    /// Results that this process has written.
    fresh: Mutex<HashSet<Digest>>,
    uses: Mutex<uses::Uses>,
}

/// All folders of a store.
const DIRS: [&str; 9] =
    ["blobs", "partial", "results", "folders", "locks", "tmp", "using", "roots", "corrupt"];

impl Store {
    /// Opens the store at `root`, making its folders where they are missing.
    ///
    /// # Errors
    /// The folders cannot be made.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        for dir in DIRS {
            files::create_dirs(&root.join(dir))?;
        }
        // Programs run in other folders and must find it, and what names it must name it in one way.
        let root = std::fs::canonicalize(root).map_err(StoreError::io("resolving", root))?;
        files::sweep(&root.join("tmp"), Duration::from_secs(600))?;
        Ok(Self { root, packs: Mutex::default(), fresh: Mutex::default(), uses: Mutex::default() })
    }

    /// The folder that holds the store.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn sharded(&self, kind: &str, digest: &Digest) -> PathBuf {
        let name = digest.to_string();
        self.root.join(kind).join(&name[..2]).join(name)
    }

    /// Waits until no other process or thread holds the lock of `digest`, then holds it until dropped.
    fn lock(&self, digest: &Digest) -> Result<files::Lock, StoreError> {
        files::Lock::take(&self.root.join("locks").join(digest.to_string()))
    }
}
