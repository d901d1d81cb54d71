//! Bundles: web files made by esbuild of an overlay's sources and npm packages.
//!
//! ```text
//! /usr/...                                       esbuild and the C library
//! /src/app.js ...                                the overlay's folder of the bundle's name, templates rendered
//! /src/node_modules/NAME                      -> .locked/NAME@VERSION/node_modules/NAME
//! /src/node_modules/.locked/NAME@VERSION/node_modules/NAME/...      a package
//! /src/node_modules/.locked/NAME@VERSION/node_modules/OTHER      -> what it depends on
//! /out/...                                       what comes out
//! ```
//!
//! Every package finds the very versions that its own ranges allow, and nothing that it does not name. Links cannot lead out:
//! the packages have none of their own. The law that nothing of the host gets in is kept twice: esbuild runs in the sandbox,
//! and its own list of what it read must name nothing outside `/src`.

use std::collections::btree_map::Entry as Slot;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::finish::Finish;
use super::inputs::package;
use super::overlay;
use super::system::SystemError;
use crate::appliance::{Bundle, Overlay, Plan};
use crate::digest::{Digest, Hasher};
use crate::lock::{Lock, NpmTarball, npm_locked, npm_root};
use crate::sandbox::{self, Confinement, SandboxError};
use crate::store::{PackWriter, StepError, Store, StoreError};
use crate::tree::{Entry, ExportError, Meta, Node, PathError, Tree, TreeError, TreePath};

const ESBUILD: &str = "usr/bin/esbuild";

/// A bundle cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// A package is missing, damaged or hostile.
    #[error("npm package {name}: {why}")]
    Package {
        /// Its name.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// esbuild refuses the sources.
    #[error("bundle {bundle}: esbuild says:\n{words}")]
    Refused {
        /// The bundle.
        bundle: String,
        /// What it says.
        words: String,
    },
    /// esbuild read what it must not, or left what nobody understands.
    #[error("bundle {bundle}: {why}")]
    Bad {
        /// The bundle.
        bundle: String,
        /// What is wrong.
        why: String,
    },
    /// A folder for esbuild cannot be made, or what it made cannot be read.
    #[error("bundle {bundle}: {}: {source}", path.display())]
    Io {
        /// The bundle.
        bundle: String,
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// esbuild cannot be run.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// The packages cannot be laid out.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// The overlay's sources.
    #[error(transparent)]
    Source(#[from] SystemError),
    /// What comes out does not fit into the tree.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A name that cannot be in a tree.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The store's failure.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Adds the sources of all bundles of an overlay to a key.
pub(super) fn identify(
    plan: &Plan,
    overlay: &Overlay,
    key: &mut Hasher,
) -> Result<(), SystemError> {
    for bundle in &overlay.bundles {
        let sources = overlay::read(plan, overlay, &bundle.name)?;
        sources.iter().for_each(|source| source.identify(key));
    }
    Ok(())
}

/// The files of a bundle: kept, or made now, shut in as well as this host allows, or so.
pub(super) fn make(
    context: Finish<'_>,
    plan: &Plan,
    overlay: &Overlay,
    bundle: &Bundle,
    lock: &Lock,
    confinement: Option<Confinement>,
) -> Result<Tree, BundleError> {
    let sources = overlay::read(plan, overlay, &bundle.name)?;
    let unfit = |source: &&overlay::Source| {
        let top = source.path().split('/').next();
        source.contents().is_none() || matches!(top, Some("node_modules" | "package.json"))
    };
    if let Some(source) = sources.iter().find(unfit) {
        // Links would lead elsewhere; the others have esbuild take what nobody locked.
        let why = format!("{} cannot be among its sources: remove it", source.path());
        return Err(BundleError::Bad { bundle: bundle.name.clone(), why });
    }
    let closure = Closure::of(context.store, lock, &bundle.npm)?;
    let mut key = Hasher::step("bundle");
    key.field(context.tools.id().as_bytes()).field(context.epoch.to_le_bytes());
    key.field(format!("{bundle:?}"));
    sources.iter().for_each(|source| source.identify(&mut key));
    for package in closure.packages.values() {
        key.field(&package.name).field(&package.version).field(package.tree.id().as_bytes());
    }
    for (name, digest) in &closure.roots {
        key.field(name).field(digest.as_bytes());
    }
    let made = context.store.tree(key.finish(), |pack| {
        let confinement = confinement.unwrap_or_else(|| Confinement::best(context.tools));
        let work = Work { context, bundle, confinement };
        work.run(&sources, &closure.node_modules()?, pack)
    });
    made.map_err(StepError::into_inner)
}

/// An unpacked npm package.
struct Package {
    name: String,
    version: String,
    tree: Tree,
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
struct Closure {
    /// By the digests of their tarballs.
    packages: BTreeMap<Digest, Package>,
    /// Those that sources may import, by name.
    roots: BTreeMap<String, Digest>,
}

impl Closure {
    fn of(store: &Store, lock: &Lock, names: &[String]) -> Result<Self, BundleError> {
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
    fn node_modules(&self) -> Result<Tree, BundleError> {
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

fn put(tree: &mut Tree, path: &str, entry: Entry) -> Result<(), BundleError> {
    let path: TreePath = path.parse()?;
    if let Some(parent) = path.parent() {
        tree.make_dirs(&parent.parse()?, entry.meta.mtime)?;
    }
    Ok(tree.insert(path, entry)?)
}

/// What esbuild says about its work.
#[derive(Deserialize)]
struct Report {
    inputs: BTreeMap<String, serde::de::IgnoredAny>,
}

/// One run of esbuild.
struct Work<'a> {
    context: Finish<'a>,
    bundle: &'a Bundle,
    confinement: Confinement,
}

impl Work<'_> {
    fn run(
        &self,
        sources: &[overlay::Source],
        modules: &Tree,
        pack: &mut PackWriter,
    ) -> Result<Tree, BundleError> {
        let Finish { store, tools, .. } = self.context;
        let scratch = store.scratch()?;
        let root = scratch.path();
        let src = root.join("src");
        sandbox::furnish(tools, root, ESBUILD).map_err(self.io(root))?;
        let folder = src.join("node_modules");
        fs::create_dir_all(&folder).map_err(self.io(&folder))?;
        modules.export(store, &folder)?;
        for source in sources {
            source.write(&src).map_err(self.io(&src.join(source.path())))?;
        }
        // Else esbuild looks for one in the folders above.
        let manifest = src.join("package.json");
        fs::write(&manifest, "{}\n").map_err(self.io(&manifest))?;
        let output = sandbox::run(tools, self.confinement, root, ESBUILD, &self.args())?;
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr).trim_end().to_owned();
            return Err(BundleError::Refused { bundle: self.bundle.name.clone(), words });
        }
        self.check(root)?;
        self.take(sources, &root.join("out"), pack)
    }

    fn args(&self) -> Vec<String> {
        let Bundle { entries, assets, external, .. } = self.bundle;
        let mut args: Vec<String> = entries.iter().map(|entry| format!("src/{entry}")).collect();
        let fixed = [
            "--bundle",
            "--minify",
            "--format=iife",
            "--platform=browser",
            "--target=es2022",
            "--charset=utf8",
            "--outdir=out",
            "--outbase=src",
            "--asset-names=[name]-[hash]",
            "--metafile=report.json",
            "--tsconfig-raw={}",
            "--log-level=warning",
            "--color=false",
        ];
        args.extend(fixed.map(str::to_owned));
        args.extend(assets.iter().map(|ending| format!("--loader:.{ending}=file")));
        args.extend(external.iter().map(|module| format!("--external:{module}")));
        args
    }

    /// esbuild must have read nothing but what was laid out.
    fn check(&self, root: &Path) -> Result<(), BundleError> {
        let path = root.join("report.json");
        let bytes = fs::read(&path).map_err(self.io(&path))?;
        let report: Report =
            serde_json::from_slice(&bytes).map_err(|error| self.bad(format!("report: {error}")))?;
        // Modules that are left out for browsers have a name with a colon before it.
        let own =
            |path: &&String| !path.starts_with("src/") && !path.starts_with("(disabled):src/");
        match report.inputs.keys().find(own) {
            Some(path) => Err(self.bad(format!("it reads {path}, which is none of its sources"))),
            None => Ok(()),
        }
    }

    /// What came out, entries under the names that browsers may keep for ever.
    fn take(
        &self,
        sources: &[overlay::Source],
        out: &Path,
        pack: &mut PackWriter,
    ) -> Result<Tree, BundleError> {
        let mut tree = Tree::new();
        let into = self.bundle.into.trim_matches('/');
        let mut file = |name: &str, bytes: &[u8]| {
            let node = Node::File(pack.append(bytes)?);
            let meta = Meta::root(0o644, self.context.epoch);
            put(&mut tree, &format!("{into}/{name}"), Entry { meta, node })
        };
        let mut names = BTreeMap::new();
        let mut made = BTreeSet::new();
        for found in fs::read_dir(out).map_err(self.io(out))? {
            made.insert(found.map_err(self.io(out))?.file_name());
        }
        for name in made {
            let path = out.join(&name);
            let name = name.to_string_lossy().into_owned();
            let bytes = fs::read(&path).map_err(self.io(&path))?;
            let named = self.named(&name, &bytes);
            file(&named, &bytes)?;
            names.insert(name, named);
        }
        for page in &self.bundle.pages {
            let source = sources.iter().find(|source| source.path() == page);
            let bytes = source.and_then(overlay::Source::contents).unwrap_or_default();
            let mut text = String::from_utf8(bytes.to_vec())
                .map_err(|_| self.bad(format!("the page {page} is not UTF-8")))?;
            for (name, named) in &names {
                text = text.replace(&format!("\"{name}\""), &format!("\"{named}\""));
            }
            file(page, text.as_bytes())?;
        }
        Ok(tree)
    }

    /// `app.js` becomes `app-HASH.js`, unless it is to keep its name; assets have their hash from esbuild.
    fn named(&self, name: &str, bytes: &[u8]) -> String {
        let Bundle { entries, keep_names, .. } = self.bundle;
        // A script that names styles has them beside it, under its own name.
        let entry = |entry: &String| name == entry || stem(entry) == stem(name);
        if keep_names.iter().any(|kept| kept == name) || !entries.iter().any(entry) {
            return name.to_owned();
        }
        let ending = &name[stem(name).len()..];
        format!("{}-{}{ending}", stem(name), Digest::of(bytes).short())
    }

    fn bad(&self, why: impl Into<String>) -> BundleError {
        BundleError::Bad { bundle: self.bundle.name.clone(), why: why.into() }
    }

    fn io(&self, path: &Path) -> impl FnOnce(io::Error) -> BundleError {
        let (bundle, path) = (self.bundle.name.clone(), path.to_owned());
        move |source| BundleError::Io { bundle, path, source }
    }
}

/// A file's name without its ending.
fn stem(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
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
