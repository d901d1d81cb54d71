//! A tree as a read-only ext4 file system.
//!
//! `mkext4` fixes all metadata from the declared tree and emits it first; contents follow in tree order at
//! rising offsets, each byte once. Nothing of a clock or a random source gets in: UUID and hash seed are the same for
//! every image (all metadata checksums depend on the UUID: with another one nothing of an update's metadata would be on
//! the box already), the file system's own times are the epoch. The file system is as large as
//! its contents need, not as the slot: it is never written to, and the rest of a slot stays a hole.

mod chunks;

use std::collections::HashMap;
use std::io;
use std::sync::mpsc::{Receiver, sync_channel};

use mkext4::build::ImageWriter;
use mkext4::{FsBuilder, InodeCount, InodeHandle, Layout, Options, ROOT, RegionSink, SpecialKind};
use uuid::Uuid;

use chunks::Assembler;
pub use chunks::Chunk;

use super::ImageError;
use crate::interrupt;
use crate::store::{Store, StoreError};
use crate::tree::{Entry, FileRef, Meta, Node, Tree, TreePath};

const BLOCK: u64 = 4096;
/// Sizes are multiples of this.
const GRAIN: u64 = 16 << 20;
/// Never used, for the file system is mounted read-only; as small as ext4 allows.
const JOURNAL_BLOCKS: u32 = 1024;
const LABEL: &str = "chatimg-root";
const READERS: usize = 2;
/// Files that a reader may be ahead.
const QUEUE: usize = 4;
const ROOT_UUID: Uuid = uuid::uuid!("0b8a9c51-8f62-4f0f-9d3e-7f2f6b1c9a10");

/// A file system whose every metadata byte is settled.
#[derive(Debug)]
pub struct Plan {
    layout: Layout,
    /// In the order of their offsets.
    files: Vec<(InodeHandle, FileRef)>,
}

impl Plan {
    /// Lays out `tree` in at most `capacity` bytes.
    ///
    /// # Errors
    /// It does not fit, or holds something ext4 cannot.
    pub fn new(tree: &Tree, epoch: i64, capacity: u64) -> Result<Self, ImageError> {
        let needed = estimate(tree);
        let mut size = needed.next_multiple_of(GRAIN);
        loop {
            if size > capacity {
                return Err(ImageError::TooLarge { needed: size, capacity });
            }
            match Self::of_size(tree, epoch, size) {
                Err(ImageError::Ext4 { source: mkext4::Error::Invalid(why), .. })
                    if why.contains("too small") || why.contains("full") =>
                {
                    size += GRAIN;
                }
                result => return result,
            }
        }
    }

    fn of_size(tree: &Tree, epoch: i64, size: u64) -> Result<Self, ImageError> {
        let mut options = Options::new(size, *ROOT_UUID.as_bytes(), epoch);
        options.label = Some(LABEL.to_owned());
        options.inodes = InodeCount::Exact(inodes(tree));
        options.reserved_percent = 0;
        options.journal_blocks = Some(JOURNAL_BLOCKS);
        let mut builder = FsBuilder::new(options).map_err(ImageError::ext4("the file system"))?;
        let files = declare(&mut builder, tree)?;
        let layout = builder.seal().map_err(ImageError::ext4("the file system"))?;
        Ok(Self { layout, files })
    }

    /// Bytes of the file system.
    pub fn size(&self) -> u64 {
        self.layout.image_len()
    }

    /// Makes it: `take` gets all of it in order, chunk by chunk, each with its offset.
    ///
    /// # Errors
    /// Contents cannot be read from the store, `take` fails, or the user interrupted.
    pub fn write(
        &self,
        store: &Store,
        take: impl FnMut(u64, Chunk) -> io::Result<()>,
    ) -> Result<(), ImageError> {
        let mut assembler = Assembler::new(self.size(), take);
        let mut writer =
            self.layout.writer(&mut assembler).map_err(ImageError::ext4("the file system"))?;
        std::thread::scope(|scope| {
            // The readers take turns, so that checking digests and writing overlap.
            let queues: Vec<_> = (0..READERS)
                .map(|turn| {
                    let (send, queue) = sync_channel(QUEUE);
                    let files = self.files.iter().skip(turn).step_by(READERS);
                    scope.spawn(move || {
                        for (_, file) in files {
                            if send.send(store.read(file)).is_err() {
                                break; // The writer gave up: nobody needs the rest.
                            }
                        }
                    });
                    queue
                })
                .collect();
            self.fill(&mut writer, queues)
        })?;
        writer.finish().map_err(ImageError::ext4("the file system"))?;
        if !assembler.is_complete() {
            let why = "its writer left bytes out".to_owned();
            return Err(ImageError::Format { what: "the root file system", why });
        }
        Ok(())
    }

    fn fill<S: RegionSink>(
        &self,
        writer: &mut ImageWriter<'_, S>,
        queues: Vec<Receiver<Result<Vec<u8>, StoreError>>>,
    ) -> Result<(), ImageError> {
        for (index, (handle, _)) in self.files.iter().enumerate() {
            interrupt::check()?;
            let bytes = queues[index % READERS].recv().expect("a reader sends every file")?;
            writer
                .fill(*handle, &mut bytes.as_slice())
                .map_err(ImageError::ext4("the file system"))?;
        }
        Ok(())
    }
}

/// Bytes that hold the tree for sure, or nearly so: [`Plan::new`] takes more if not.
fn estimate(tree: &Tree) -> u64 {
    let blocks: u64 = tree
        .iter()
        .map(|(_, entry)| match &entry.node {
            Node::File(file) => file.size.div_ceil(BLOCK),
            Node::Dir => 1,
            _ => 0,
        })
        .sum();
    let contents = (blocks + blocks / 512) * BLOCK;
    contents + u64::from(inodes(tree)) * 256 + (u64::from(JOURNAL_BLOCKS) + 1024) * BLOCK
}

/// One for each entry that has its own, and ext4's eleven.
fn inodes(tree: &Tree) -> u32 {
    let links = tree.iter().filter(|(_, entry)| matches!(entry.node, Node::HardLink(_))).count();
    u32::try_from(tree.len() - links + 16).unwrap_or(u32::MAX)
}

/// Declares all entries; gives back the files that have contents.
fn declare(
    builder: &mut FsBuilder,
    tree: &Tree,
) -> Result<Vec<(InodeHandle, FileRef)>, ImageError> {
    let mut handles: HashMap<&str, InodeHandle> = HashMap::new();
    let mut files = Vec::new();
    let links = |entry: &Entry| matches!(entry.node, Node::HardLink(_));
    // A link may come before its target in path order, so links come last.
    for (path, entry) in tree.iter().filter(|(_, entry)| !links(entry)) {
        let parent = parent_of(path, &handles);
        let handle =
            declare_one(builder, parent, path, entry).map_err(ImageError::ext4(path.as_str()))?;
        if let Node::File(file) = &entry.node
            && file.size > 0
        {
            files.push((handle, *file));
        }
        for (name, value) in &entry.meta.xattrs {
            builder.set_xattr(handle, name, value).map_err(ImageError::ext4(path.as_str()))?;
        }
        handles.insert(path.as_str(), handle);
    }
    for (path, entry) in tree.iter() {
        if let Node::HardLink(target) = &entry.node {
            let target = handles[target.as_str()];
            builder
                .hardlink(parent_of(path, &handles), path.name(), target)
                .map_err(ImageError::ext4(path.as_str()))?;
        }
    }
    Ok(files)
}

fn parent_of(path: &TreePath, handles: &HashMap<&str, InodeHandle>) -> InodeHandle {
    path.parent().map_or(ROOT, |parent| handles[parent])
}

fn declare_one(
    builder: &mut FsBuilder,
    parent: InodeHandle,
    path: &TreePath,
    entry: &Entry,
) -> mkext4::Result<InodeHandle> {
    let Meta { mode, uid, gid, mtime, .. } = entry.meta;
    let meta = mkext4::Meta::new(mode, uid, gid, (mtime, 0));
    let name = path.name();
    let device = |kind| (meta, kind);
    let (meta, kind) = match &entry.node {
        Node::Dir => return builder.mkdir(parent, name, meta),
        Node::File(file) => return builder.file(parent, name, meta, file.size),
        Node::Symlink(target) => return builder.symlink(parent, name, target, meta),
        Node::CharDevice { major, minor } => {
            device(SpecialKind::Char { major: *major, minor: *minor })
        }
        Node::BlockDevice { major, minor } => {
            device(SpecialKind::Block { major: *major, minor: *minor })
        }
        Node::Fifo => device(SpecialKind::Fifo),
        Node::HardLink(_) => unreachable!("links are declared by their targets' handles"),
    };
    builder.mknod(parent, name, meta, kind)
}

#[cfg(test)]
mod tests;
