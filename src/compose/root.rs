//! The root file system under construction: reading and changing it by absolute paths, as scripts do.

use std::collections::BTreeMap;

use super::packages::ComposeError;
use super::users::Accounts;
use crate::debian::scripts::Place;
use crate::store::{PackWriter, Store};
use crate::tree::{Entry, FileRef, Meta, Node, Tree, TreePath};

/// A tree with all that is needed to change it.
pub(super) struct Root<'a> {
    pub(super) tree: Tree,
    pub(super) store: &'a Store,
    pub(super) pack: &'a mut PackWriter,
    /// "Now" for everything that is made.
    pub(super) epoch: i64,
    pub(super) accounts: Accounts,
}

impl Root<'_> {
    /// Where an absolute path lies when links in all but its last part are followed. What does not exist
    /// is taken as it is written.
    pub(super) fn real(&self, path: &str) -> Result<TreePath, ComposeError> {
        real(&self.tree, path)
    }

    /// What is at a path; a link at its end is not followed.
    pub(super) fn get(&self, path: &str) -> Option<&Entry> {
        self.tree.get(self.real(path).ok()?.as_str())
    }

    /// Whether there is something at a path when all links are followed.
    pub(super) fn exists(&self, path: &str) -> bool {
        self.tree.resolve(path).is_some()
    }

    /// The text of a shipped file; `None` if there is no such file.
    pub(super) fn text(&self, path: &str) -> Result<Option<String>, ComposeError> {
        let Some(bytes) = self.bytes(path)? else { return Ok(None) };
        let text = String::from_utf8(bytes);
        text.map(Some).map_err(|_| ComposeError::action(path, "the file is not UTF-8"))
    }

    /// The contents of a shipped file; `None` if there is no such file.
    pub(super) fn bytes(&self, path: &str) -> Result<Option<Vec<u8>>, ComposeError> {
        match self.tree.file(path) {
            Ok((file, _)) => Ok(Some(self.store.read(file)?)),
            Err(_) => Ok(None),
        }
    }

    /// Makes or replaces a root-owned file.
    pub(super) fn write(
        &mut self,
        path: &str,
        contents: &[u8],
        mode: u16,
    ) -> Result<(), ComposeError> {
        let file = self.pack.append(contents)?;
        self.put(path, Meta::root(mode, self.epoch), Node::File(file))
    }

    /// Makes or replaces a root-owned symbolic link. An empty directory gives way.
    pub(super) fn link(&mut self, path: &str, to: &str) -> Result<(), ComposeError> {
        let node = Node::Symlink(to.to_owned());
        self.put(path, Meta::root(0o777, self.epoch), node)
    }

    /// Makes or replaces an entry; missing parents are made.
    pub(super) fn put(&mut self, path: &str, meta: Meta, node: Node) -> Result<(), ComposeError> {
        let path = self.real(path)?;
        if let Some(parent) = path.parent() {
            self.tree.make_dirs(&parent.parse()?, self.epoch)?;
        }
        self.tree.replace(path, Entry { meta, node })?;
        Ok(())
    }

    /// Makes something unless something is there.
    pub(super) fn put_if_absent(
        &mut self,
        place: &Place,
        node: Node,
        default_mode: u16,
    ) -> Result<(), ComposeError> {
        if self.get(&place.path).is_some() {
            return Ok(());
        }
        let meta = self.changed(place, Meta::root(default_mode, self.epoch))?;
        self.put(&place.path, meta, node)
    }

    /// Changes owner, group and mode of what is there.
    pub(super) fn set(&mut self, place: &Place) -> Result<(), ComposeError> {
        let nothing = || ComposeError::action(&place.path, "there is nothing to change there");
        let mut path = self.tree.resolve(&place.path).ok_or_else(nothing)?;
        if let Some(Entry { node: Node::HardLink(first), .. }) = self.tree.get(path.as_str()) {
            path = first.clone();
        }
        let old = self.tree.get(path.as_str()).ok_or_else(nothing)?.meta.clone();
        let meta = self.changed(place, old)?;
        self.tree.get_mut(path.as_str()).ok_or_else(nothing)?.meta = meta;
        Ok(())
    }

    fn changed(&self, place: &Place, mut meta: Meta) -> Result<Meta, ComposeError> {
        let unknown = |what: &str, name: &str| {
            ComposeError::action(&place.path, format!("there is no {what} '{name}'"))
        };
        if let Some(owner) = &place.owner {
            meta.uid = self.accounts.uid(owner).ok_or_else(|| unknown("user", owner))?;
        }
        if let Some(group) = &place.group {
            meta.gid = self.accounts.gid(group).ok_or_else(|| unknown("group", group))?;
        }
        if let Some(mode) = &place.mode {
            let bits = u16::from_str_radix(mode, 8).ok().filter(|mode| *mode <= 0o7777);
            meta.mode = bits
                .ok_or_else(|| ComposeError::action(&place.path, format!("bad mode {mode:?}")))?;
        }
        Ok(meta)
    }

    /// The files directly in a folder, by name.
    pub(super) fn files_in(&self, folder: &str) -> BTreeMap<String, FileRef> {
        let Some(folder) = self.tree.resolve(folder) else { return BTreeMap::new() };
        let below = self.tree.below(folder.as_str());
        below
            .filter(|(path, _)| path.parent() == Some(folder.as_str()))
            .filter_map(|(path, _)| {
                let (file, _) = self.tree.file(path.as_str()).ok()?;
                Some((path.name().to_owned(), *file))
            })
            .collect()
    }
}

/// Where an absolute path lies in a tree when links in all but its last part are followed.
pub(super) fn real(tree: &Tree, path: &str) -> Result<TreePath, ComposeError> {
    let path: TreePath = path.parse()?;
    let Some(parent) = path.parent() else { return Ok(path) };
    // What is in the tree lies below real directories only.
    if matches!(tree.get(parent), Some(Entry { node: Node::Dir, .. })) {
        return Ok(path);
    }
    if let Some(parent) = tree.resolve(parent) {
        return Ok(parent.join(path.name())?);
    }
    let parent = real(tree, parent)?;
    Ok(parent.join(path.name())?)
}
