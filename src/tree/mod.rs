//! Trees: what a root file system contains, as data, so that composing one needs no root.
//!
//! A [`Tree`] is a sorted map from path to [`Entry`]. File contents are named by digest and lie in
//! the store's packs ([`Location`]); the tree's id is the digest of its canonical encoding
//! ([`encode`]), which leaves locations out.

mod encode;
mod entry;
mod export;
mod merge;
mod path;

pub use encode::DecodeError;
pub use entry::{Entry, FileRef, Location, Meta, Node};
pub use export::ExportError;
pub use merge::TreeError;
pub use path::{PathError, TreePath};

use std::collections::BTreeMap;

use crate::digest::Digest;

/// A file system tree. Every entry's parent directories are entries too, but for the root itself,
/// which is always a directory, mode 0755, owner 0:0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    entries: BTreeMap<TreePath, Entry>,
}

impl Tree {
    /// An empty tree: just the root directory.
    pub fn new() -> Self {
        Self::default()
    }

    /// The entry at `path`; symbolic links are not followed.
    pub fn get(&self, path: &str) -> Option<&Entry> {
        self.entries.get(path)
    }

    /// Mutable access to the entry at `path`; symbolic links are not followed.
    pub fn get_mut(&mut self, path: &str) -> Option<&mut Entry> {
        self.entries.get_mut(path)
    }

    /// All entries in path order (byte order of the whole path: a directory before its contents).
    pub fn iter(&self) -> impl Iterator<Item = (&TreePath, &Entry)> {
        self.entries.iter()
    }

    /// The entries strictly below `dir`, in path order.
    pub fn below<'a>(&'a self, dir: &str) -> impl Iterator<Item = (&'a TreePath, &'a Entry)> {
        let prefix = format!("{dir}/");
        let skip = prefix.clone();
        self.entries
            .range::<str, _>((std::ops::Bound::Included(skip.as_str()), std::ops::Bound::Unbounded))
            .take_while(move |(path, _)| path.as_str().starts_with(&prefix))
    }

    /// Number of entries, the root not counted.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is nothing but the root.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The digest of the canonical encoding: equal ids mean equal trees, contents included.
    pub fn id(&self) -> Digest {
        Digest::of(self.canonical().as_bytes())
    }
}
