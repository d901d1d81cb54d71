//! Folders that programs read: trees written out once and used often.

use std::fs;
use std::path::{Path, PathBuf};

use super::results::seal;
use super::{Kind, StepError, Store, StoreError, files};
use crate::digest::Digest;
use crate::tree::Tree;

/// Where it stands which tree a folder holds.
pub(super) fn record(folder: &Path) -> PathBuf {
    folder.with_extension("doc")
}

impl Store {
    /// The folder that `make` fills with a tree, given an empty one: found under its key, or made now and kept. Nobody
    /// may write into it afterwards; one that is not `whole` any more is made again.
    ///
    /// # Errors
    /// `make`'s own, or the store's.
    pub fn folder<E>(
        &self,
        key: Digest,
        tree: &Tree,
        make: impl FnOnce(&Path) -> Result<(), E>,
        whole: impl Fn(&Path) -> bool,
    ) -> Result<PathBuf, StepError<E>> {
        self.relies_on(Kind::Folder, &key)?;
        let target = self.sharded("folders", &key);
        if target.is_dir() && whole(&target) {
            return Ok(target);
        }
        let _lock = self.lock(&key)?;
        if target.is_dir() {
            if whole(&target) {
                return Ok(target);
            }
            // Out of the way first: a removal that is cut short must not look like a folder.
            let (dead, _alive) = files::locked_tempdir(&self.root.join("tmp"))?;
            fs::rename(&target, dead.path().join("dead"))
                .map_err(StoreError::io("moving", &target))?;
        }
        let (dir, _alive) = files::locked_tempdir(&self.root.join("tmp"))?;
        make(dir.path()).map_err(StepError::Step)?;
        files::sync_filesystem(dir.path())?;
        let parent = target.parent().expect("folders lie in a folder");
        files::create_dirs(parent)?;
        // First: without a folder it means nothing.
        let (record, text) = (record(&target), tree.encode());
        let sealed = format!("{}\n{text}", seal(&text));
        files::write_whole(&self.root.join("tmp"), &record, sealed.as_bytes())?;
        let dir = dir.keep();
        fs::rename(&dir, &target).map_err(StoreError::io("renaming", &dir))?;
        files::sync_dir(parent)?;
        Ok(target)
    }

    /// An empty folder for a program's input and output, removed when dropped.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn scratch(&self) -> Result<Scratch, StoreError> {
        let (dir, lock) = files::locked_tempdir(&self.root.join("tmp"))?;
        Ok(Scratch { dir, _lock: lock })
    }
}

/// A folder that goes when this does.
#[derive(Debug)]
pub struct Scratch {
    dir: tempfile::TempDir,
    _lock: files::Lock,
}

impl Scratch {
    /// Where it is.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_folder_is_made_once_and_whole_or_not_at_all() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let store = Store::open(dir.path()).expect("store");
        let key = Digest::of(b"folder");
        let failed = store.folder(
            key,
            &Tree::new(),
            |dir| {
                fs::write(dir.join("half"), b"").expect("write");
                Err("no")
            },
            |_| true,
        );
        assert!(matches!(failed, Err(StepError::Step("no"))));
        let made = store.folder::<()>(
            key,
            &Tree::new(),
            |dir| {
                assert_eq!(
                    fs::read_dir(dir).expect("list").count(),
                    0,
                    "nothing is left of the failure"
                );
                fs::write(dir.join("whole"), b"").expect("write");
                Ok(())
            },
            |_| true,
        );
        let whole = |dir: &Path| dir.join("whole").is_file();
        let found = store.folder::<()>(key, &Tree::new(), |_| panic!("made twice"), whole);
        let made = made.expect("made");
        assert_eq!(made, found.expect("found"));
        fs::remove_file(made.join("whole")).expect("somebody cleans up");
        let write = |dir: &Path| fs::write(dir.join("whole"), b"");
        let again = store.folder::<io::Error>(key, &Tree::new(), write, whole);
        assert!(whole(&again.expect("made again")));
        assert_eq!(fs::read_dir(store.root.join("tmp")).expect("tmp").count(), 0);
    }
}
