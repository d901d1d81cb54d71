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

mod packages;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::finish::Finish;
use super::overlay;
use super::system::SystemError;
use crate::appliance::{Bundle, Overlay, Plan};
use crate::digest::{Digest, Hasher};
use crate::lock::Lock;
use crate::sandbox::{self, Confinement, SandboxError};
use crate::store::{PackWriter, StepError, StoreError};
use crate::tree::{Entry, ExportError, Meta, Node, PathError, Tree, TreeError};
use packages::{Closure, put};

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
