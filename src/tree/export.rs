//! A tree as files in a folder of the host, for programs that only read folders. No root is needed: owners,
//! devices and extended attributes stay behind, and everything is writable by its owner.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Entry, Node, Tree};
use crate::digest::Digest;
use crate::store::{Store, StoreError};

/// Why a tree could not be written out.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The operating system refused.
    #[error("writing {}: {source}", path.display())]
    Io {
        /// What was being written.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The contents could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn modified(entry: &Entry) -> SystemTime {
    let seconds = Duration::from_secs(entry.meta.mtime.unsigned_abs());
    match entry.meta.mtime {
        0.. => UNIX_EPOCH + seconds,
        _ => UNIX_EPOCH - seconds,
    }
}

/// The names of all that is below a folder, as paths from there.
fn names_below(dir: &Path) -> io::Result<BTreeSet<PathBuf>> {
    let (mut names, mut todo) = (BTreeSet::new(), vec![dir.to_owned()]);
    while let Some(folder) = todo.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                todo.push(entry.path());
            }
            names.extend(entry.path().strip_prefix(dir).map(Path::to_owned));
        }
    }
    Ok(names)
}

impl Tree {
    /// Writes all entries below the empty folder `dest`.
    ///
    /// # Errors
    /// A file cannot be written, or its contents cannot be read.
    pub fn export(&self, store: &Store, dest: &Path) -> Result<(), ExportError> {
        for (path, entry) in self.iter() {
            let target = dest.join(path.as_str());
            let io = |source| ExportError::Io { path: target.clone(), source };
            match &entry.node {
                Node::Dir => fs::create_dir(&target).map_err(io)?,
                Node::Symlink(to) => symlink(to, &target).map_err(io)?,
                Node::File(file) => {
                    let mode = if entry.meta.mode & 0o111 == 0 { 0o644 } else { 0o755 };
                    fs::write(&target, store.read(file)?)
                        .and_then(|()| File::open(&target)?.set_modified(modified(entry)))
                        .and_then(|()| {
                            fs::set_permissions(&target, fs::Permissions::from_mode(mode))
                        })
                        .map_err(io)?;
                }
                // A link's target may come after it, so links are made last.
                Node::HardLink(_) => {}
                Node::CharDevice { .. } | Node::BlockDevice { .. } | Node::Fifo => {}
            }
        }
        for (path, entry) in self.iter() {
            if let Node::HardLink(first) = &entry.node {
                let target = dest.join(path.as_str());
                fs::hard_link(dest.join(first.as_str()), &target)
                    .map_err(|source| ExportError::Io { path: target, source })?;
            }
        }
        Ok(())
    }

    /// Whether `dest` still holds what [`Self::export`] wrote, as far as names, kinds, sizes and times tell.
    pub fn is_exported(&self, dest: &Path) -> bool {
        self.iter().all(|(path, entry)| {
            let target = dest.join(path.as_str());
            let meta = fs::symlink_metadata(&target);
            match &entry.node {
                Node::Dir => meta.is_ok_and(|meta| meta.is_dir()),
                Node::Symlink(to) => {
                    fs::read_link(&target).is_ok_and(|found| found.as_os_str() == to.as_str())
                }
                Node::File(file) => meta.is_ok_and(|meta| {
                    meta.is_file()
                        && meta.len() == file.size
                        && meta.modified().is_ok_and(|time| time == modified(entry))
                }),
                Node::HardLink(_) => meta.is_ok_and(|meta| meta.is_file()),
                Node::CharDevice { .. } | Node::BlockDevice { .. } | Node::Fifo => true,
            }
        })
    }

    /// What of `dest` is not as [`Self::export`] wrote it, contents and all; `None`: everything is.
    ///
    /// # Errors
    /// Something cannot be read.
    pub fn check_export(&self, dest: &Path) -> io::Result<Option<String>> {
        let mut left = names_below(dest)?;
        for (path, entry) in self.iter() {
            if matches!(entry.node, Node::CharDevice { .. } | Node::BlockDevice { .. } | Node::Fifo)
            {
                continue;
            }
            if !left.remove(Path::new(path.as_str())) {
                return Ok(Some(format!("{path} is not there")));
            }
            let target = dest.join(path.as_str());
            let meta = fs::symlink_metadata(&target)?;
            let entry = match &entry.node {
                Node::HardLink(first) => self.get(first.as_str()),
                _ => Some(entry),
            };
            let right = match entry.map(|entry| (&entry.node, entry.meta.mode & 0o111)) {
                Some((Node::File(file), mode)) => {
                    meta.is_file()
                        && (meta.permissions().mode() & 0o111 == 0) == (mode == 0)
                        && meta.len() == file.size
                        && Digest::of(&fs::read(&target)?) == file.digest
                }
                Some((Node::Symlink(to), _)) => {
                    meta.is_symlink() && fs::read_link(&target)?.as_os_str() == to.as_str()
                }
                _ => meta.is_dir(),
            };
            if !right {
                return Ok(Some(format!("{path} is not what was put there")));
            }
        }
        let extra = left.first().map(|path| format!("{} was not put there", path.display()));
        Ok(extra)
    }

    /// The part of the tree whose paths `wanted` accepts, with the directories on the way to them. A hard
    /// link whose file stays behind becomes that file.
    #[must_use]
    pub fn filter(&self, wanted: impl Fn(&str) -> bool) -> Self {
        let mut part = Self::new();
        for (path, entry) in self.iter().filter(|(path, _)| wanted(path.as_str())) {
            let mut end = 0;
            while let Some(at) = path.as_str()[end..].find('/') {
                end += at;
                let parent = &path.as_str()[..end];
                if part.get(parent).is_none()
                    && let Some((parent, entry)) = self.entries.get_key_value(parent)
                {
                    part.entries.insert(parent.clone(), entry.clone());
                }
                end += 1;
            }
            part.entries.insert(path.clone(), entry.clone());
        }
        part.adopt_links(self);
        part
    }

    fn adopt_links(&mut self, whole: &Self) {
        let lost: Vec<_> = self
            .iter()
            .filter_map(|(path, entry)| match &entry.node {
                Node::HardLink(first) if self.get(first.as_str()).is_none() => {
                    Some((path.clone(), first.clone()))
                }
                _ => None,
            })
            .collect();
        for (path, first) in lost {
            // An earlier link to the same file may have become the file.
            let heir = self.iter().find(|(other, entry)| {
                **other != path
                    && matches!((&entry.node, whole.get(other.as_str()).map(|entry| &entry.node)),
                        (Node::File(_), Some(Node::HardLink(to))) if *to == first)
            });
            let node = match heir {
                Some((heir, _)) => Some(Node::HardLink(heir.clone())),
                None => whole.get(first.as_str()).map(|entry| entry.node.clone()),
            };
            if let (Some(node), Some(entry)) = (node, self.get_mut(path.as_str())) {
                entry.node = node;
            }
        }
    }

    /// Puts all of `other` over this tree: what is there already gives way, but a directory stays as it is.
    ///
    /// # Errors
    /// A directory in use would have to give way, or a parent is no directory.
    pub fn overlay(&mut self, other: &Self) -> Result<(), super::TreeError> {
        for (path, entry) in other.iter() {
            let both_dirs = entry.node == Node::Dir
                && matches!(self.get(path.as_str()), Some(old) if old.node == Node::Dir);
            if !both_dirs {
                self.replace(path.clone(), entry.clone())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::tree::{Entry, Meta};

    #[test]
    fn a_part_of_a_tree_can_be_written_out_with_its_links() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let store = Store::open(&dir.path().join("store")).expect("store");
        let tree = store.tree::<StoreError>(Digest::of(b"t"), |pack| {
            let mut tree = Tree::new();
            let file = pack.append(b"#!/bin/sh\n")?;
            let mut add = |path: &str, mode, node| {
                let entry = Entry { meta: Meta::root(mode, 0), node };
                tree.insert(path.parse().expect(path), entry).expect(path);
            };
            add("a", 0o755, Node::Dir);
            add("a/first", 0o4755, Node::File(file));
            add("a/second", 0o755, Node::HardLink("a/first".parse().expect("path")));
            add("a/third", 0o755, Node::HardLink("a/first".parse().expect("path")));
            add("a/link", 0o777, Node::Symlink("second".into()));
            add("b", 0o600, Node::File(file));
            Ok(tree)
        });
        let part = tree.expect("made").filter(|path| path.starts_with("a/") && path != "a/first");
        part.check_links().expect("no link lost its file");
        let dest = dir.path().join("out");
        fs::create_dir(&dest).expect("folder");
        part.export(&store, &dest).expect("written");
        assert_eq!(fs::read(dest.join("a/link")).expect("read"), b"#!/bin/sh\n");
        assert_eq!(fs::read(dest.join("a/third")).expect("read"), b"#!/bin/sh\n");
        assert!(!dest.join("b").exists() && !dest.join("a/first").exists());
        let mode = fs::metadata(dest.join("a/second")).expect("stat").permissions().mode();
        assert_eq!(mode & 0o7777, 0o755, "set-id bits stay behind");
    }
}
