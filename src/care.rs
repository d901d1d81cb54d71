//! Frees space: first in a project's `images/`, then in the store.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::image::inventory::{self, Leftover, Spared};
use crate::image::{ImageError, MANIFEST};
use crate::store::{Collected, Needs, Store, StoreError};
use crate::whole::parent;

/// Space cannot be freed.
#[derive(Debug, thiserror::Error)]
pub enum CareError {
    /// Images are in the way.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The store's failure.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What to free.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The project's `appliance.toml`; `None`: there is no project here, only the store is looked at.
    pub project: Option<PathBuf>,
    /// So many images stay besides `current`.
    pub keep: usize,
    /// Free what only projects need whose folders are gone.
    pub forget_missing: bool,
    /// Only tell.
    pub dry_run: bool,
}

/// What was freed, or would be.
#[derive(Clone, Debug)]
pub struct Freed {
    /// Of `images/`.
    pub images: Vec<Leftover>,
    /// Images that stay, and why.
    pub spared: Vec<Spared>,
    /// Of the store.
    pub store: Collected,
}

/// Frees what nobody needs.
///
/// # Errors
/// What somebody needs is not known, or something cannot be removed.
pub fn free(store: &Store, rules: &Rules) -> Result<Freed, CareError> {
    let images = rules.project.as_ref().map(|project| images_of(project));
    let (mut gone, spared) = match images.as_ref().filter(|images| images.is_dir()) {
        Some(images) => inventory::leftovers(images, rules.keep)?,
        None => Default::default(),
    };
    if let Some(images) = images.as_ref().filter(|_| !rules.dry_run) {
        let mut removed = Vec::new();
        for leftover in gone {
            if inventory::remove(images, &leftover)? {
                removed.push(leftover);
            }
        }
        gone = removed;
    }
    let without =
        gone.iter().filter_map(|leftover| fs::canonicalize(&leftover.path).ok()).collect();
    let files = |appliance: &Path| named_in(appliance, &without);
    let needs = Needs {
        files: &files,
        project: rules.project.clone(),
        forget_missing: rules.forget_missing,
        dry_run: rules.dry_run,
    };
    Ok(Freed { images: gone, spared, store: store.collect(&needs)? })
}

fn images_of(appliance: &Path) -> PathBuf {
    parent(appliance).join("images")
}

/// The files of a project that name its inputs: its lock, and the manifests of all images but those that go.
fn named_in(appliance: &Path, without: &BTreeSet<PathBuf>) -> io::Result<Vec<PathBuf>> {
    let mut files = vec![appliance.with_extension("lock")];
    let entries = match fs::read_dir(images_of(appliance)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(files),
        entries => entries?,
    };
    for entry in entries {
        let dir = entry?.path();
        let goes = fs::canonicalize(&dir).is_ok_and(|dir| without.contains(&dir));
        if !goes && dir.join(MANIFEST).is_file() {
            files.push(dir.join(MANIFEST));
        }
    }
    Ok(files)
}
