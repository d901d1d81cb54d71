//! Changing a tree: inserting, removing, merging, following links; what would be ambiguous or unsafe is
//! refused.

use std::collections::BTreeMap;

use super::{Entry, FileRef, Meta, Node, Tree, TreePath};

/// A change that would make a tree ambiguous or impossible.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TreeError {
    /// Something other than an equal directory is there already.
    #[error("{path} is there already")]
    Duplicate {
        /// The path in question.
        path: TreePath,
    },
    /// The parent is missing or not a directory.
    #[error("{path}: its parent directory is missing or no directory")]
    Parent {
        /// The path in question.
        path: TreePath,
    },
    /// A hard link whose target is not a regular file of the tree.
    #[error("{path}: hard link to {target}, which is no regular file of this tree")]
    BrokenLink {
        /// The link.
        path: TreePath,
        /// What it names.
        target: TreePath,
    },
    /// Nothing is there.
    #[error("{path} does not exist")]
    Missing {
        /// The path in question.
        path: String,
    },
}

impl Tree {
    /// Adds an entry below an existing directory.
    ///
    /// # Errors
    /// The path is taken, or its parent is no directory.
    pub fn insert(&mut self, path: TreePath, entry: Entry) -> Result<(), TreeError> {
        if self.entries.contains_key(&path) {
            return Err(TreeError::Duplicate { path });
        }
        self.replace(path, entry)
    }

    /// Adds an entry, taking the place of what is there. A directory with contents is only replaced by
    /// another directory.
    ///
    /// # Errors
    /// The parent is no directory, or the path is a directory in use.
    pub fn replace(&mut self, path: TreePath, entry: Entry) -> Result<(), TreeError> {
        if let Some(parent) = path.parent()
            && !matches!(self.get(parent), Some(Entry { node: Node::Dir, .. }))
        {
            return Err(TreeError::Parent { path });
        }
        if entry.node != Node::Dir && self.below(path.as_str()).next().is_some() {
            return Err(TreeError::Duplicate { path });
        }
        self.entries.insert(path, entry);
        Ok(())
    }

    /// Makes `path` and its missing parents directories, root-owned, mode 0755.
    ///
    /// # Errors
    /// Something on the way is no directory.
    pub fn make_dirs(&mut self, path: &TreePath, mtime: i64) -> Result<(), TreeError> {
        let text = path.as_str();
        let ends = text.match_indices('/').map(|(at, _)| at).chain([text.len()]);
        for end in ends {
            let part: TreePath = text[..end].parse().expect("a prefix of a path is a path");
            match self.get(part.as_str()) {
                Some(Entry { node: Node::Dir, .. }) => {}
                Some(_) => return Err(TreeError::Parent { path: part }),
                None => {
                    self.insert(part, Entry { meta: Meta::root(0o755, mtime), node: Node::Dir })?
                }
            }
        }
        Ok(())
    }

    /// Removes an entry and all below it, and gives back how many went. A hard link's target keeps its
    /// contents under the next name.
    pub fn remove(&mut self, path: &str) -> usize {
        self.remove_all([path])
    }

    /// The same of several at once.
    pub fn remove_all<'a>(&mut self, paths: impl IntoIterator<Item = &'a str>) -> usize {
        let mut gone = 0;
        let mut files = BTreeMap::new();
        for path in paths {
            let mut doomed: Vec<_> = self.below(path).map(|(path, _)| path.clone()).collect();
            doomed.extend(self.entries.get_key_value(path).map(|(path, _)| path.clone()));
            for path in doomed {
                let Some(entry) = self.entries.remove(path.as_str()) else { continue };
                gone += 1;
                if matches!(entry.node, Node::File(_)) {
                    files.insert(path, entry);
                }
            }
        }
        if !files.is_empty() {
            self.promote_links(files);
        }
        gone
    }

    /// Removes every entry that `doomed` says so of by its path, and all below it.
    pub fn remove_where(&mut self, doomed: impl Fn(&str, &Entry) -> bool) {
        let fits = |(path, entry): &(&TreePath, &Entry)| doomed(path.as_str(), entry);
        let paths: Vec<_> = self.iter().filter(fits).map(|(path, _)| path.clone()).collect();
        self.remove_all(paths.iter().map(TreePath::as_str));
    }

    /// Removes a symbolic or hard link, so that something else can take its place and its target stays.
    pub fn remove_if_link(&mut self, path: &str) {
        if matches!(self.get(path), Some(Entry { node: Node::Symlink(_) | Node::HardLink(_), .. }))
        {
            self.entries.remove(path);
        }
    }

    /// Makes no time later than `latest`.
    pub fn clamp_times(&mut self, latest: i64) {
        for entry in self.entries.values_mut() {
            entry.meta.mtime = entry.meta.mtime.min(latest);
        }
    }

    /// Gives the first remaining hard link to each of these removed files the file itself, and points the others at it.
    fn promote_links(&mut self, mut files: BTreeMap<TreePath, Entry>) {
        let mut heirs: BTreeMap<TreePath, TreePath> = BTreeMap::new();
        let mut promoted = Vec::new();
        for (path, entry) in &mut self.entries {
            let Node::HardLink(to) = &entry.node else { continue };
            if let Some(heir) = heirs.get(to) {
                entry.node = Node::HardLink(heir.clone());
            } else if let Some(file) = files.remove(to) {
                heirs.insert(to.clone(), path.clone());
                promoted.push((path.clone(), file));
            }
        }
        self.entries.extend(promoted);
    }

    /// Checks that every hard link names a regular file of this tree.
    ///
    /// # Errors
    /// The first that does not.
    pub fn check_links(&self) -> Result<(), TreeError> {
        for (path, entry) in self.iter() {
            if let Node::HardLink(target) = &entry.node
                && !matches!(self.get(target.as_str()), Some(Entry { node: Node::File(_), .. }))
            {
                return Err(TreeError::BrokenLink { path: path.clone(), target: target.clone() });
            }
        }
        Ok(())
    }

    /// The regular file at `path`; symbolic links, also in the middle of the path, are followed as the
    /// kernel would with this tree as its root (40 at most), hard links too.
    ///
    /// # Errors
    /// There is none.
    pub fn file(&self, path: &str) -> Result<(&FileRef, &Meta), TreeError> {
        let missing = || TreeError::Missing { path: path.to_owned() };
        let real = self.resolve(path).ok_or_else(missing)?;
        let mut entry = self.get(real.as_str()).ok_or_else(missing)?;
        if let Node::HardLink(target) = &entry.node {
            entry = self.get(target.as_str()).ok_or_else(missing)?;
        }
        match &entry.node {
            Node::File(file) => Ok((file, &entry.meta)),
            _ => Err(missing()),
        }
    }

    /// Where `path` leads when symbolic links are followed inside this tree; `None` when that is nothing,
    /// the root, or a loop. `..` above the root stays at the root, as the kernel has it.
    pub fn resolve(&self, path: &str) -> Option<TreePath> {
        let mut todo: Vec<String> = path.split('/').rev().map(str::to_owned).collect();
        let mut done: Vec<String> = Vec::new();
        let mut follows = 0;
        while let Some(part) = todo.pop() {
            match part.as_str() {
                "" | "." => continue,
                ".." => _ = done.pop(),
                _ => done.push(part),
            }
            let here = done.join("/");
            if let Some(Entry { node: Node::Symlink(target), .. }) = self.get(&here) {
                follows += 1;
                if follows > 40 {
                    return None;
                }
                done.pop();
                if target.starts_with('/') {
                    done.clear();
                }
                todo.extend(target.split('/').rev().map(str::to_owned));
            }
        }
        let real: TreePath = done.join("/").parse().ok()?;
        self.get(real.as_str()).is_some().then_some(real)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::tree::Location;

    fn path(text: &str) -> TreePath {
        text.parse().expect(text)
    }

    fn file(contents: &str) -> Entry {
        let digest = Digest::of(contents.as_bytes());
        let at = Location { pack: digest, offset: 0 };
        let node = Node::File(FileRef { digest, size: contents.len() as u64, at });
        Entry { meta: Meta::root(0o644, 0), node }
    }

    fn link(target: &str) -> Entry {
        Entry { meta: Meta::root(0o777, 0), node: Node::Symlink(target.into()) }
    }

    #[test]
    fn duplicates_and_orphans_are_refused() {
        let mut tree = Tree::new();
        tree.insert(path("a"), file("1")).expect("first");
        assert_eq!(
            tree.insert(path("a"), file("2")),
            Err(TreeError::Duplicate { path: path("a") })
        );
        assert_eq!(
            tree.insert(path("a/b"), file("")),
            Err(TreeError::Parent { path: path("a/b") })
        );
        assert_eq!(
            tree.insert(path("x/y"), file("")),
            Err(TreeError::Parent { path: path("x/y") })
        );
        tree.make_dirs(&path("d/e"), 0).expect("directories");
        assert!(tree.replace(path("d"), file("")).is_err(), "a directory in use stays");
        assert!(tree.make_dirs(&path("a/z"), 0).is_err(), "a file is no parent");
    }

    #[test]
    fn removing_a_file_hands_it_to_its_next_name() {
        let mut tree = Tree::new();
        tree.insert(path("a"), file("1")).expect("a");
        for name in ["b", "c"] {
            let entry = Entry { meta: Meta::default(), node: Node::HardLink(path("a")) };
            tree.insert(path(name), entry).expect(name);
        }
        assert_eq!(tree.remove("a"), 1);
        assert_eq!(tree.get("b"), Some(&file("1")));
        assert_eq!(tree.get("c").map(|entry| &entry.node), Some(&Node::HardLink(path("b"))));
        tree.check_links().expect("no link is broken");
    }

    #[test]
    fn links_resolve_inside_the_tree_only() {
        let mut tree = Tree::new();
        tree.make_dirs(&path("usr/bin"), 0).expect("dirs");
        tree.insert(path("usr/bin/dash"), file("dash")).expect("dash");
        for (name, target) in [
            ("bin", "usr/bin"),
            ("usr/bin/sh", "../../../../bin/dash"),
            ("loop", "loop"),
            ("out", "/nowhere"),
        ] {
            tree.insert(path(name), link(target)).expect(name);
        }
        assert_eq!(tree.resolve("/bin/sh"), Some(path("usr/bin/dash")));
        assert_eq!(tree.file("bin/sh").map(|(file, _)| file.size), Ok(4));
        assert_eq!(tree.resolve("loop"), None);
        assert_eq!(tree.resolve("out"), None);
    }

    #[test]
    fn below_lists_a_directory_and_not_its_neighbours() {
        let mut tree = Tree::new();
        for name in ["a/b", "a/c/d", "a-x", "ab"] {
            tree.make_dirs(&path(name), 0).expect(name);
        }
        let names: Vec<_> = tree.below("a").map(|(path, _)| path.to_string()).collect();
        assert_eq!(names, ["a/b", "a/c", "a/c/d"]);
    }
}
