//! The npm packages of a bundle: each finds the very versions that its own ranges allow, and nothing that it does not name.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;

use serde::Deserialize;

use super::BundleError;
use crate::compose::inputs::package;
use crate::digest::{Digest, Hasher};
use crate::lock::{Lock, NpmTarball, npm_locked, npm_root};
use crate::store::{StepError, Store};
use crate::tree::{Entry, Meta, Node, Tree, TreePath};

/// An unpacked npm package.
pub(super) struct Package {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) tree: Tree,
    /// Names of what it depends on, and the digests of their tarballs.
    needs: BTreeMap<String, Digest>,
}

impl Package {
    /// A package, and the tarballs of what it depends on.
    fn of<'a>(
        store: &Store,
        lock: &'a Lock,
        tarball: &NpmTarball,
    ) -> Result<(Self, Vec<&'a NpmTarball>), BundleError> {
        let tree = unpacked(store, tarball)?;
        let bad = |why: String| bad_package(&tarball.name, why);
        let (file, _) = tree.file("package.json").map_err(|error| bad(error.to_string()))?;
        let manifest: Manifest = serde_json::from_slice(&store.read(file)?)
            .map_err(|error| bad(format!("package.json: {error}")))?;
        let Manifest { dependencies, optional_dependencies: optional } = manifest;
        let (mut needs, mut tarballs) = (BTreeMap::new(), Vec::new());
        for (name, range) in dependencies.iter().chain(&optional) {
            match npm_locked(lock, name, range) {
                Some(needed) => {
                    needs.insert(name.clone(), needed.digest);
                    tarballs.push(needed);
                }
                // For another kind of machine.
                None if optional.contains_key(name) => {}
                None => return Err(bad(format!("it needs {name} {range}, which is not locked"))),
            }
        }
        let (name, version) = (tarball.name.clone(), tarball.version.clone());
        Ok((Self { name, version, tree, needs }, tarballs))
    }

    /// Its folder in `node_modules`, which names beginning with a dot cannot collide with.
    fn home(&self) -> String {
        format!(".locked/{}@{}/node_modules", self.name.replace('/', "+"), self.version)
    }
}

/// What matters of a `package.json`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    #[serde(default)]
    dependencies: BTreeMap<String, String>,
    #[serde(default)]
    optional_dependencies: BTreeMap<String, String>,
}

/// Packages with all that they depend on.
#[derive(Default)]
pub(super) struct Closure {
    /// By the digests of their tarballs.
    pub(super) packages: BTreeMap<Digest, Package>,
    /// Those that sources may import, by name.
    pub(super) roots: BTreeMap<String, Digest>,
}

impl Closure {
    pub(super) fn of(store: &Store, lock: &Lock, names: &[String]) -> Result<Self, BundleError> {
        let mut closure = Self::default();
        let mut next = Vec::new();
        for name in names {
            let root = npm_root(lock, name).ok_or_else(|| bad_package(name, "it is not locked"))?;
            closure.roots.insert(name.clone(), root.digest);
            next.push(root);
        }
        while let Some(tarball) = next.pop() {
            if let Slot::Vacant(slot) = closure.packages.entry(tarball.digest) {
                let (package, needs) = Package::of(store, lock, tarball)?;
                slot.insert(package);
                next.extend(needs);
            }
        }
        Ok(closure)
    }

    /// All packages, each beside links to what it depends on.
    pub(super) fn node_modules(&self) -> Result<Tree, BundleError> {
        let mut tree = Tree::new();
        for package in self.packages.values() {
            let home = package.home();
            for (path, entry) in package.tree.iter().filter(|(_, entry)| entry.node != Node::Dir) {
                put(&mut tree, &format!("{home}/{}/{path}", package.name), entry.clone())?;
            }
            // A package that names itself is itself.
            for (name, digest) in package.needs.iter().filter(|(name, _)| **name != package.name) {
                self.link(&mut tree, &format!("{home}/{name}"), digest)?;
            }
        }
        for (name, digest) in &self.roots {
            self.link(&mut tree, name, digest)?;
        }
        Ok(tree)
    }

    /// From a path in `node_modules` up to that, and down to a package.
    fn link(&self, tree: &mut Tree, path: &str, to: &Digest) -> Result<(), BundleError> {
        let (up, to) = ("../".repeat(path.matches('/').count()), &self.packages[to]);
        let to = Node::Symlink(format!("{up}{}/{}", to.home(), to.name));
        put(tree, path, Entry { meta: Meta::root(0o777, 0), node: to })
    }
}

fn bad_package(name: &str, why: impl Into<String>) -> BundleError {
    BundleError::Package { name: name.to_owned(), why: why.into() }
}

/// A package's files, its top folder taken off.
fn unpacked(store: &Store, tarball: &NpmTarball) -> Result<Tree, BundleError> {
    let mut key = Hasher::step("npm-package");
    key.field(tarball.digest.as_bytes());
    let made = store.tree(key.finish(), |pack| {
        let blob = store.open_blob(&tarball.digest)?;
        let blob = blob.ok_or_else(|| bad_package(&tarball.name, "it is not in the store"))?;
        let files = package(blob, tarball.size, pack);
        let files = files.or_else(|why| {
            // A damaged copy shows as a damaged archive first; this removes it and says so.
            store.read_blob(&tarball.digest)?;
            Err(bad_package(&tarball.name, why))
        })?;
        let mut tree = Tree::new();
        for (path, mode, node) in files {
            put(&mut tree, &path, Entry { meta: Meta::root(mode, 0), node })?;
        }
        Ok(tree)
    });
    made.map_err(StepError::<BundleError>::into_inner)
}

/// Adds an entry, with the folders above it.
pub(super) fn put(tree: &mut Tree, path: &str, entry: Entry) -> Result<(), BundleError> {
    let path: TreePath = path.parse()?;
    if let Some(parent) = path.parent() {
        tree.make_dirs(&parent.parse()?, entry.meta.mtime)?;
    }
    Ok(tree.insert(path, entry)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::Request;

    /// A lock of packages `(name, version, package.json)`, and a store that has them.
    fn locked(packages: &[(&str, &str, &str)]) -> (tempfile::TempDir, Store, Lock) {
        let dir = tempfile::tempdir().expect("folder");
        let store = Store::open(dir.path()).expect("store");
        let mut lock = Lock::default();
        for (name, version, manifest) in packages {
            let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(
                Vec::new(),
                flate2::Compression::fast(),
            ));
            for (path, text) in [("package/package.json", *manifest), ("package/index.js", version)]
            {
                let mut header = tar::Header::new_gnu();
                header.set_size(text.len() as u64);
                header.set_mode(0o644);
                tar.append_data(&mut header, path, text.as_bytes()).expect("appends");
            }
            let bytes = tar.into_inner().and_then(|gz| gz.finish()).expect("a tarball");
            lock.npm.push(NpmTarball {
                name: (*name).to_owned(),
                version: (*version).to_owned(),
                integrity: String::new(),
                size: bytes.len() as u64,
                digest: store.add_blob(&bytes).expect("a blob"),
            });
        }
        (dir, store, lock)
    }

    fn ask(lock: &mut Lock, requests: &[(&str, &str)]) -> Vec<String> {
        let npm = requests.iter().map(|(name, range)| ((*name).to_owned(), (*range).to_owned()));
        lock.request = Request { npm: npm.collect(), ..Request::default() };
        lock.request.npm.keys().cloned().collect()
    }

    /// The version that a package finds by a path in `node_modules`.
    fn found(store: &Store, tree: &Tree, path: &str) -> String {
        let (file, _) = tree.file(&format!("{path}/index.js")).unwrap_or_else(|e| panic!("{e}"));
        String::from_utf8(store.read(file).expect("contents")).expect("text")
    }

    #[test]
    fn each_package_finds_the_versions_that_it_asks_for_and_nothing_else() {
        let (_dir, store, mut lock) = locked(&[
            ("@scope/one", "1.0.0", r#"{"dependencies": {"two": "^1"}}"#),
            ("three", "3.0.0", r#"{"dependencies": {"two": "^10", "@scope/one": "1.x"}}"#),
            ("two", "1.5.0", r#"{"optionalDependencies": {"absent": "*", "three": "^3"}}"#),
            ("two", "10.0.0", "{}"),
            ("two", "9.0.0", "{}"),
            ("unasked", "1.0.0", "{}"),
        ]);
        let names = ask(&mut lock, &[("@scope/one", "^1"), ("three", "^3"), ("two", ">=9")]);
        let closure = Closure::of(&store, &lock, &names).unwrap_or_else(|e| panic!("{e}"));
        let tree = closure.node_modules().unwrap_or_else(|e| panic!("{e}"));
        let one = ".locked/@scope+one@1.0.0/node_modules";
        let two = ".locked/two@1.5.0/node_modules";
        let three = ".locked/three@3.0.0/node_modules";
        for (path, version) in [
            ("two".to_owned(), "10.0.0"),
            ("@scope/one".to_owned(), "1.0.0"),
            (format!("{one}/two"), "1.5.0"),
            (format!("{three}/two"), "10.0.0"),
            (format!("{three}/@scope/one"), "1.0.0"),
            (format!("{two}/three"), "3.0.0"),
        ] {
            assert_eq!(found(&store, &tree, &path), version, "{path}");
        }
        assert!(tree.get("unasked").is_none() && tree.get(&format!("{one}/three")).is_none());
        assert!(!tree.iter().any(|(path, _)| path.as_str().contains("two@9")));
        tree.check_links().expect("no link leads out");
    }

    #[test]
    fn what_is_not_locked_is_named() {
        let (_dir, store, mut lock) = locked(&[
            ("one", "1.0.0", r#"{"dependencies": {"two": "^1"}}"#),
            ("two", "2.0.0", "{"),
        ]);
        for (request, words) in [
            (("one", "^1"), "npm package one: it needs two ^1, which is not locked"),
            (("two", "^2"), "npm package two: package.json:"),
            (("three", "^1"), "npm package three: it is not locked"),
        ] {
            let names = ask(&mut lock, &[request]);
            let error = Closure::of(&store, &lock, &names).err().expect("cannot be").to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
