//! Puts the files of all packages into one tree by dpkg's rules.
//!
//! A directory that is there stays as it is; a link to a directory stays a link, and what belongs below
//! goes where it leads. A file that two packages ship is an error, unless one of them replaces the other.

use std::collections::HashMap;

use super::import::Package;
use super::packages::ComposeError;
use super::root::real;
use crate::debian::version::Version;
use crate::tree::{Entry, Node, Tree, TreePath};

/// Other packages' file at `path` goes to `to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Diversion {
    pub(super) path: String,
    pub(super) to: String,
    /// Whose own file stays.
    pub(super) package: String,
}

/// The merged tree; no time in it is after `epoch`.
pub(super) fn merge(
    packages: &[&Package],
    diversions: &[Diversion],
    epoch: i64,
) -> Result<Tree, ComposeError> {
    let mut merger = Merger { tree: Tree::new(), owners: HashMap::new(), packages, epoch };
    for (index, package) in packages.iter().enumerate() {
        let diverted: HashMap<&str, &str> = diversions
            .iter()
            .filter(|diversion| diversion.package != package.name)
            .map(|diversion| (diversion.path.as_str(), diversion.to.as_str()))
            .collect();
        for (path, entry) in package.tree.below("data") {
            merger.add(index, inside(path), entry, &diverted)?;
        }
    }
    Ok(merger.tree)
}

/// `/usr/bin/x` for `data/usr/bin/x`.
fn inside(path: &TreePath) -> &str {
    path.as_str().strip_prefix("data").unwrap_or(path.as_str())
}

struct Merger<'a> {
    tree: Tree,
    /// Which package brought what is no directory.
    owners: HashMap<TreePath, usize>,
    packages: &'a [&'a Package],
    epoch: i64,
}

impl Merger<'_> {
    fn add(
        &mut self,
        index: usize,
        path: &str,
        entry: &Entry,
        diverted: &HashMap<&str, &str>,
    ) -> Result<(), ComposeError> {
        let path = real(&self.tree, diverted.get(path).unwrap_or(&path))?;
        let mut entry = entry.clone();
        entry.meta.mtime = entry.meta.mtime.min(self.epoch);
        if let Node::HardLink(target) = &entry.node {
            let target = inside(target);
            let target = real(&self.tree, diverted.get(target).unwrap_or(&target))?;
            entry.node = Node::HardLink(target);
        }
        let new_is_dir = entry.node == Node::Dir;
        match self.tree.get(path.as_str()).map(|there| &there.node) {
            None => {}
            Some(Node::Dir) if new_is_dir || matches!(entry.node, Node::Symlink(_)) => {
                return Ok(());
            }
            Some(Node::Symlink(_)) if new_is_dir && self.leads_to_dir(&path) => return Ok(()),
            Some(_) => {
                if !self.takes_over(index, &path)? {
                    return Ok(());
                }
                self.tree.remove(path.as_str());
            }
        }
        if let Some(parent) = path.parent() {
            self.tree.make_dirs(&parent.parse()?, self.epoch)?;
        }
        if !new_is_dir {
            self.owners.insert(path.clone(), index);
        }
        self.tree.insert(path, entry)?;
        Ok(())
    }

    fn leads_to_dir(&self, path: &TreePath) -> bool {
        let target = self.tree.resolve(path.as_str());
        let entry = target.and_then(|target| self.tree.get(target.as_str()));
        matches!(entry, Some(Entry { node: Node::Dir, .. }))
    }

    /// Whether package `new` takes the file at `path` from the package that has it.
    fn takes_over(&self, new: usize, path: &TreePath) -> Result<bool, ComposeError> {
        let new = self.packages[new];
        let Some(&old) = self.owners.get(path) else {
            return Err(ComposeError::Conflict {
                path: format!("/{path}"),
                first: "a directory of another package".to_owned(),
                second: new.name.clone(),
            });
        };
        let old = self.packages[old];
        if replaces(new, old) {
            return Ok(true);
        }
        if replaces(old, new) {
            return Ok(false);
        }
        let (first, second) = (old.name.clone(), new.name.clone());
        Err(ComposeError::Conflict { path: format!("/{path}"), first, second })
    }
}

/// Whether `a` says that it replaces `b` at its version.
fn replaces(a: &Package, b: &Package) -> bool {
    let field = a.control.get("Replaces").unwrap_or_default();
    field.split(',').any(|item| {
        let (name, condition) = item.split_once('(').unwrap_or((item, ""));
        let name = name.trim().split(':').next().unwrap_or_default();
        name == b.name && satisfies(&b.version, condition.trim().trim_end_matches(')'))
    })
}

fn satisfies(version: &str, condition: &str) -> bool {
    let end = condition.find(|c: char| !"<>=".contains(c)).unwrap_or(condition.len());
    let (operator, wanted) = condition.split_at(end);
    if operator.is_empty() {
        return condition.is_empty();
    }
    let (Ok(version), Ok(wanted)) = (Version::parse(version), Version::parse(wanted.trim())) else {
        return false;
    };
    match operator {
        "<<" => version < wanted,
        "<=" | "<" => version <= wanted,
        "=" => version == wanted,
        ">=" | ">" => version >= wanted,
        ">>" => version > wanted,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_replaced_packages_count() {
        for (condition, holds) in [
            ("", true),
            ("<< 1.1", true),
            ("<< 1.0", false),
            ("<= 1.0", true),
            (">> 1.0~rc1", true),
            ("= 1:1.0", false),
            ("?? 1", false),
        ] {
            assert_eq!(satisfies("1.0", condition), holds, "{condition}");
        }
    }
}
