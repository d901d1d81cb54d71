//! Locked .debs to trees in the store, several at a time.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::packages::{ComposeError, Event};
use crate::debian::control::Control;
use crate::debian::deb;
use crate::digest::{Digest, Hasher};
use crate::lock::Deb;
use crate::parallel::try_map;
use crate::store::{StepError, Store};
use crate::tree::{FileRef, Tree};

/// A package, ready to be merged.
pub(super) struct Package {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) arch: String,
    pub(super) control: Control,
    /// What [`deb::import`] makes.
    pub(super) tree: Tree,
}

impl Package {
    /// The name that dpkg uses for this package's files: with the architecture if several may coexist.
    pub(super) fn file_name(&self) -> String {
        if self.control.get("Multi-Arch") == Some("same") {
            format!("{}:{}", self.name, self.arch)
        } else {
            self.name.clone()
        }
    }

    /// A member of the control archive as text; `None` if there is none.
    pub(super) fn control_text(
        &self,
        store: &Store,
        member: &str,
    ) -> Result<Option<String>, ComposeError> {
        let Ok((file, _)) = self.tree.file(&format!("control/{member}")) else { return Ok(None) };
        self.text(store, file, member).map(Some)
    }

    /// The names of its files in the order of its archive.
    pub(super) fn list(&self, store: &Store) -> Result<String, ComposeError> {
        let (file, _) = self.tree.file("list")?;
        self.text(store, file, "list")
    }

    fn text(&self, store: &Store, file: &FileRef, what: &str) -> Result<String, ComposeError> {
        String::from_utf8(store.read(file)?)
            .map_err(|_| self.problem(format!("its control file {what} is not UTF-8")))
    }

    pub(super) fn problem(&self, why: String) -> ComposeError {
        ComposeError::Package { package: self.name.clone(), why }
    }
}

/// Imports all packages, the largest first, so that no thread is left alone with one at the end.
pub(super) fn all(
    store: &Store,
    debs: &[Deb],
    events: &(dyn Fn(Event) + Sync),
) -> Result<Vec<Package>, ComposeError> {
    let order = largest_first(debs);
    let done = AtomicUsize::new(0);
    let total = debs.len();
    try_map(&order, |deb| {
        let package = import(store, deb)?;
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        events(Event::Imported { package: deb.name.clone(), done, total });
        Ok(package)
    })
}

fn largest_first(debs: &[Deb]) -> Vec<&Deb> {
    let mut order: Vec<_> = debs.iter().collect();
    order.sort_by_key(|deb| std::cmp::Reverse(deb.size));
    order
}

/// Imports packages, the largest first, until there is something better to do.
pub(super) fn ahead(store: &Store, debs: &[Deb], enough: &AtomicBool) -> Result<(), ComposeError> {
    let order = largest_first(debs);
    let work = |deb: &&Deb| match enough.load(Ordering::Relaxed) {
        true => Ok(()),
        false => import(store, deb).map(|_| ()),
    };
    try_map(&order, work).map(|_| ())
}

fn import(store: &Store, deb: &Deb) -> Result<Package, ComposeError> {
    let package = deb.name.clone();
    let result = store.tree(key(&deb.digest), |pack| {
        let missing = || ComposeError::MissingBlob { package: package.clone(), digest: deb.digest };
        let reader = store.open_blob(&deb.digest)?.ok_or_else(missing)?;
        deb::import(reader, pack).or_else(|source| {
            // A damaged copy shows as a damaged archive first; this removes it and says so.
            store.read_blob(&deb.digest)?;
            Err(ComposeError::Deb { package: package.clone(), source })
        })
    });
    let tree = result.map_err(StepError::into_inner)?;
    check(store, deb, tree)
}

fn key(deb: &Digest) -> Digest {
    let mut key = Hasher::step("import-deb");
    key.field(deb.as_bytes());
    key.finish()
}

/// The package must be the one that the lock names.
fn check(store: &Store, deb: &Deb, tree: Tree) -> Result<Package, ComposeError> {
    let mut package = Package {
        name: deb.name.clone(),
        version: deb.version.clone(),
        arch: deb.arch.clone(),
        control: Control::default(),
        tree,
    };
    let text = package.control_text(store, "control")?;
    let text = text.ok_or_else(|| package.problem("it has no control file".to_owned()))?;
    package.control = Control::parse(&text).map_err(|error| package.problem(error.to_string()))?;
    for (field, locked) in
        [("Package", &deb.name), ("Version", &deb.version), ("Architecture", &deb.arch)]
    {
        let found = package.control.get(field).unwrap_or_default();
        if found != locked {
            let why = format!("its {field} is '{found}', but '{locked}' is locked");
            return Err(package.problem(why));
        }
    }
    Ok(package)
}
