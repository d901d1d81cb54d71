//! What one path of a tree is.

use std::collections::BTreeMap;

use super::TreePath;
use crate::digest::Digest;

/// One path's node and metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Owner, mode, time, extended attributes. For a hard link: those of its target, ignored here.
    pub meta: Meta,
    /// Kind and contents.
    pub node: Node,
}

/// Metadata of an entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// Permission bits with setuid, setgid and sticky (`0o7777` at most).
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time in whole seconds since 1970, UTC.
    pub mtime: i64,
    /// Extended attributes by full name (`security.capability`).
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

impl Meta {
    /// Root-owned, without extended attributes.
    pub fn root(mode: u16, mtime: i64) -> Self {
        Self { mode, mtime, ..Self::default() }
    }
}

/// The kinds of entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A directory.
    Dir,
    /// A regular file.
    File(FileRef),
    /// A symbolic link and its target, verbatim.
    Symlink(String),
    /// Another name of the regular file at this path of the same tree.
    HardLink(TreePath),
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
}

/// A regular file's contents: what they are, and where the store has them.
#[derive(Clone, Copy, Debug)]
pub struct FileRef {
    /// SHA-256 of the contents.
    pub digest: Digest,
    /// Length in bytes.
    pub size: u64,
    /// Where the bytes lie; no part of the file's identity.
    pub at: Location,
}

impl PartialEq for FileRef {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest && self.size == other.size
    }
}

impl Eq for FileRef {}

/// Bytes in the pack that belongs to one result of the store (see [`crate::store`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// Key of the step whose result holds the pack.
    pub pack: Digest,
    /// Offset of the first byte in that pack.
    pub offset: u64,
}
