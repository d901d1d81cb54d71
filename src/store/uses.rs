//! Who needs what of the store: [`gc`](super::Collected) takes nothing of that.
//!
//! ```text
//! using/XXXXXX              a process at work (it holds the file's flock): a line "results HEX" for each thing that it
//!                           relies on, written before it looks whether the thing is there
//! roots/ID/appliance        a link to the appliance.toml of a project folder; ID is a digest of that path
//! roots/ID/build, ...       what the last command of that kind relied on, in such lines
//! locks/gate                shared while a line is written, held alone while things are taken away
//! ```
//!
//! So a process either wrote its line before `gc` took things away, and they stay, or looks afterwards, and makes
//! anew what is gone. What a dead process left in `using/` counts for a day: its work is often taken up again.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use super::{Store, StoreError, files};
use crate::digest::Digest;

/// The kinds of things that the store keeps; each has a folder of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A fetched input.
    Blob,
    /// What a step made.
    Result,
    /// A tree written out.
    Folder,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Blob, Self::Result, Self::Folder];

    /// The folder they lie in, which is their name in lists, too.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Blob => "blobs",
            Self::Result => "results",
            Self::Folder => "folders",
        }
    }
}

/// One thing in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Item {
    /// What it is.
    pub kind: Kind,
    /// Its digest or key.
    pub digest: Digest,
}

/// What this process relies on.
#[derive(Debug, Default)]
pub(super) struct Uses {
    seen: BTreeSet<Item>,
    file: Option<(File, PathBuf)>,
    /// Whether that stands elsewhere, too.
    kept: bool,
}

impl Drop for Uses {
    fn drop(&mut self) {
        if let Some((_, path)) = self.file.as_ref().filter(|_| self.kept) {
            _ = fs::remove_file(path);
        }
    }
}

/// A project folder that used the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    /// Its `appliance.toml`.
    pub appliance: PathBuf,
    /// Its folder in `roots/`.
    pub(super) root: PathBuf,
}

impl Store {
    /// Says that this process relies on a thing, whether or not it is there yet.
    pub(super) fn relies_on(&self, kind: Kind, digest: &Digest) -> Result<(), StoreError> {
        let item = Item { kind, digest: *digest };
        let mut uses = self.uses.lock().unwrap_or_else(PoisonError::into_inner);
        if uses.seen.contains(&item) {
            return Ok(());
        }
        let _gate = files::Lock::share(&self.gate())?;
        if uses.file.is_none() {
            let dir = self.root.join("using");
            let made = tempfile::NamedTempFile::new_in(&dir).and_then(|file| {
                file.as_file().lock()?;
                file.keep().map_err(|error| error.error)
            });
            uses.file = Some(made.map_err(StoreError::io("creating a file in", &dir))?);
        }
        if let Some((file, path)) = &mut uses.file {
            // A line that was cut short by an error must not spoil this one.
            let line = format!("\n{} {digest}\n", kind.name());
            file.write_all(line.as_bytes()).map_err(StoreError::io("writing", path))?;
        }
        uses.seen.insert(item);
        Ok(())
    }

    /// Keeps what this process relied on for as long as the project is there: under the name of a command, instead of
    /// what stood there (`anew`), or besides that.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn keep_uses(&self, appliance: &Path, command: &str, anew: bool) -> Result<(), StoreError> {
        let appliance =
            fs::canonicalize(appliance).map_err(StoreError::io("resolving", appliance))?;
        let id = Digest::of(appliance.as_os_str().as_bytes()).short();
        let root = self.root.join("roots").join(id);
        let mut uses = self.uses.lock().unwrap_or_else(PoisonError::into_inner);
        let _gate = files::Lock::share(&self.gate())?;
        files::create_dirs(&root)?;
        match symlink(&appliance, root.join(LINK)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(StoreError::io("creating a link in", &root)(error));
            }
            _ => {}
        }
        let list = root.join(command);
        let before = if anew { BTreeSet::new() } else { read_list(&list)? };
        let all: BTreeSet<_> = before.union(&uses.seen).collect();
        if anew || all.len() > before.len() {
            let line = |item: &&Item| format!("{} {}\n", item.kind.name(), item.digest);
            let text: String = all.iter().map(line).collect();
            files::write_whole(&root, &list, text.as_bytes())?;
        }
        uses.kept = true;
        Ok(())
    }

    /// The project folders that used this store, sorted.
    ///
    /// # Errors
    /// They cannot be listed.
    pub fn projects(&self) -> Result<Vec<Project>, StoreError> {
        let mut projects = Vec::new();
        for root in list(&self.root.join("roots"))? {
            // Without a link nothing was kept: the process was stopped before that.
            if let Ok(appliance) = fs::read_link(root.join(LINK)) {
                projects.push(Project { appliance, root });
            }
        }
        projects.sort_by(|a, b| a.appliance.cmp(&b.appliance));
        Ok(projects)
    }

    pub(super) fn gate(&self) -> PathBuf {
        self.root.join("locks").join(GATE)
    }
}

/// See the drawing above.
pub(super) const GATE: &str = "gate";
const LINK: &str = "appliance";

impl Project {
    /// What its commands relied on.
    pub(super) fn uses(&self) -> Result<BTreeSet<Item>, StoreError> {
        let mut all = BTreeSet::new();
        for path in list(&self.root)?.into_iter().filter(|path| !path.ends_with(LINK)) {
            all.extend(read_list(&path)?);
        }
        Ok(all)
    }
}

/// The things that a list names; what is no line of a list is passed over. None: there is no such list.
pub(super) fn read_list(path: &Path) -> Result<BTreeSet<Item>, StoreError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        Err(error) => return Err(StoreError::io("reading", path)(error)),
    };
    let item = |line: &str| {
        let (name, digest) = line.split_once(' ')?;
        let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name)?;
        Some(Item { kind, digest: digest.parse().ok()? })
    };
    Ok(String::from_utf8_lossy(&bytes).lines().filter_map(item).collect())
}

/// What is in a folder.
pub(super) fn list(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let entries = fs::read_dir(dir).map_err(StoreError::io("listing", dir))?;
    Ok(entries.flatten().map(|entry| entry.path()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_relies_on_stands_there_until_it_is_kept() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let appliance = dir.path().join("appliance.toml");
        fs::write(&appliance, "").expect("write");
        let using = dir.path().join("store/using");
        let store = Store::open(&dir.path().join("store")).expect("store");
        let blob = store.add_blob(b"x").expect("add");
        let live = list(&using).expect("list");
        let item = Item { kind: Kind::Blob, digest: blob };
        assert_eq!(read_list(&live[0]).expect("list"), BTreeSet::from([item]));
        drop(store);
        assert_eq!(list(&using).expect("list"), live, "it may have failed");

        let store = Store::open(&dir.path().join("store")).expect("store");
        store.add_blob(b"y").expect("add");
        store.keep_uses(&appliance, "build", true).expect("keeps");
        drop(store);
        assert_eq!(list(&using).expect("list"), live);
        let store = Store::open(&dir.path().join("store")).expect("store");
        assert!(store.has_blob(&blob));
        store.keep_uses(&appliance, "build", false).expect("keeps");
        let projects = store.projects().expect("projects");
        assert_eq!(projects.len(), 1);
        assert_eq!(projects[0].uses().expect("uses").len(), 2, "x and y");
        store.keep_uses(&appliance, "build", true).expect("keeps");
        assert_eq!(projects[0].uses().expect("uses"), BTreeSet::from([item]));
    }
}
