//! Whose each file is that overlays bring: nothing of theirs takes the place of something else of theirs unnoticed. What
//! packages bring gives way to all of it.

use std::collections::BTreeMap;
use std::fmt;

use super::system::real;
use crate::appliance::Overlay;
use crate::tree::{Node, Tree};

/// What chatimg itself makes.
const OWN: [&str; 10] = [
    "etc/group",
    "etc/gshadow",
    "etc/passwd",
    "etc/shadow",
    "usr/lib/chatimg/health",
    "usr/lib/chatimg/image.json",
    "usr/lib/chatimg/ports",
    "usr/lib/chatimg/rollback",
    "usr/lib/chatimg/secrets",
    "usr/lib/chatimg/state",
];

/// Who has a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// chatimg itself.
    Chatimg,
    /// The folder `files` of an overlay.
    Files(String),
    /// Something that an overlay fetches or makes: what it is, its name, the overlay.
    Part(&'static str, String, String),
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chatimg => write!(f, "chatimg itself"),
            Self::Files(overlay) => write!(f, "files/ of overlay \"{overlay}\""),
            Self::Part(what, name, overlay) => {
                write!(f, "{what} \"{name}\" of overlay \"{overlay}\"")
            }
        }
    }
}

/// Two have the same file, or one has a file where the other has a folder.
#[derive(Debug, thiserror::Error)]
#[error("/{path}: {second} has this file, and {first} has {other}; {help}")]
pub struct Clash {
    path: String,
    /// What the first one has there.
    other: String,
    first: Owner,
    second: Owner,
    help: &'static str,
}

/// All files that are somebody's, by where they come to lie.
pub(super) struct Claims<'t> {
    /// Whose links lead elsewhere.
    packages: &'t Tree,
    owners: BTreeMap<String, Owner>,
}

impl<'t> Claims<'t> {
    pub(super) fn new(packages: &'t Tree) -> Self {
        Self { packages, owners: OWN.map(|path| (path.to_owned(), Owner::Chatimg)).into() }
    }

    /// Files of an overlay's `files/`. They take the place of what the overlay itself brings, or one that it requires.
    pub(super) fn files<'p>(
        &mut self,
        overlay: &Overlay,
        paths: impl IntoIterator<Item = &'p str>,
    ) -> Result<(), Clash> {
        let owner = Owner::Files(overlay.name.clone());
        let gives_way = |first: &Owner| match first {
            Owner::Chatimg => false,
            Owner::Files(other) => overlay.requires.contains(other),
            Owner::Part(_, _, other) => *other == overlay.name || overlay.requires.contains(other),
        };
        paths.into_iter().try_for_each(|path| self.claim(path, &owner, gives_way))
    }

    /// All files of a tree that an overlay fetches or makes; nothing gives way to them.
    pub(super) fn part(
        &mut self,
        overlay: &Overlay,
        (what, name): (&'static str, &str),
        tree: &Tree,
    ) -> Result<(), Clash> {
        let owner = Owner::Part(what, name.to_owned(), overlay.name.clone());
        let files = tree.iter().filter(|(_, entry)| entry.node != Node::Dir);
        files.into_iter().try_for_each(|(path, _)| self.claim(path.as_str(), &owner, |_| false))
    }

    fn claim(
        &mut self,
        path: &str,
        owner: &Owner,
        gives_way: impl Fn(&Owner) -> bool,
    ) -> Result<(), Clash> {
        let path = real(self.packages, path).map_or(path.to_owned(), |real| real.to_string());
        let clash = |other: String, first: &Owner, help| {
            let (path, first, second) = (path.clone(), first.clone(), owner.clone());
            Err(Clash { path, other, first, second, help })
        };
        let files = matches!(owner, Owner::Files(_));
        let elsewhere = if files { "leave it out" } else { "put one elsewhere, by its \"into\"" };
        if let Some(first) = self.owners.get(&path).filter(|first| !gives_way(first)) {
            let help = match first {
                Owner::Chatimg => "leave it out",
                Owner::Files(_) if !files => {
                    "leave it out of files/, or put the other one elsewhere, by its \"into\""
                }
                _ if files => "leave one out, or let this overlay require the other to replace it",
                _ => elsewhere,
            };
            return clash("it, too".to_owned(), first, help);
        }
        for (end, _) in path.match_indices('/') {
            if let Some(first) = self.owners.get(&path[..end]) {
                return clash(format!("the file /{}", &path[..end]), first, elsewhere);
            }
        }
        let inside = format!("{path}/");
        let below = self.owners.range(inside.clone()..).next();
        if let Some((other, first)) = below.filter(|(other, _)| other.starts_with(&inside)) {
            return clash(format!("/{other}"), first, elsewhere);
        }
        self.owners.insert(path, owner.clone());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Entry, Meta};

    fn overlay(name: &str, requires: &[&str]) -> Overlay {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let plan = crate::appliance::load(&root.join("appliance.toml")).expect("a plan");
        let requires = requires.iter().map(|name| (*name).to_owned()).collect();
        Overlay { name: name.to_owned(), requires, ..plan.overlays[0].clone() }
    }

    fn tree(paths: &[&str]) -> Tree {
        let mut tree = Tree::new();
        for path in paths {
            let path: crate::tree::TreePath = path.parse().expect("a path");
            if let Some(parent) = path.parent() {
                tree.make_dirs(&parent.parse().expect("a path"), 0).expect("folders");
            }
            let node = Node::Symlink("x".to_owned());
            tree.insert(path, Entry { meta: Meta::root(0o777, 0), node }).expect("inserted");
        }
        tree
    }

    #[test]
    fn two_that_have_the_same_file_are_both_named() {
        let (a, b) = (overlay("a", &[]), overlay("b", &["a"]));
        let packages = Tree::new();
        let mut claims = Claims::new(&packages);
        claims
            .part(&a, ("input", "one"), &tree(&["srv/www/index.html", "srv/www/a.js"]))
            .expect("first");
        claims.part(&b, ("bundle", "two"), &tree(&["srv/www/b.js"])).expect("beside");
        for (what, paths) in [
            (("bundle", "three"), &["srv/www/c.js", "srv/www/index.html"][..]),
            (("input", "three"), &["srv/www"]),
            (("Python environment", "three"), &["srv/www/a.js/lib/x"]),
        ] {
            let error = claims.part(&b, what, &tree(paths)).expect_err("taken").to_string();
            for word in [
                "/srv/www",
                "input \"one\" of overlay \"a\"",
                "\"three\" of overlay \"b\"",
                "\"into\"",
            ] {
                assert!(error.contains(word), "{error}");
            }
        }
    }

    #[test]
    fn only_files_of_overlays_replace_something_and_only_what_is_required() {
        let (a, b, c) = (overlay("a", &[]), overlay("b", &["a"]), overlay("c", &[]));
        let packages = Tree::new();
        let mut claims = Claims::new(&packages);
        claims.part(&a, ("input", "one"), &tree(&["srv/x", "srv/y"])).expect("first");
        claims.files(&a, ["srv/x", "etc/motd"]).expect("its own");
        claims.files(&b, ["srv/x", "srv/y", "etc/motd"]).expect("of one that is required");
        let error = claims.files(&c, ["etc/motd"]).expect_err("not required").to_string();
        assert!(error.starts_with("/etc/motd: files/ of overlay \"c\" has this file, and files/ of overlay \"b\" has it, too"), "{error}");
        let error = claims.part(&b, ("bundle", "two"), &tree(&["etc/motd"])).expect_err("taken");
        assert!(
            error
                .to_string()
                .contains("files/ of overlay \"b\" has it, too; leave it out of files/"),
            "{error}"
        );
        let error = claims.files(&c, ["etc/passwd"]).expect_err("chatimg's").to_string();
        assert!(error.contains("chatimg itself has it, too; leave it out"), "{error}");
    }
}
