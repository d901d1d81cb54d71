//! The few file system operations that the store is made of.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::Path;
use std::time::Duration;

use super::StoreError;
use crate::interrupt;

/// `mkdir -p`.
pub(super) fn create_dirs(path: &Path) -> Result<(), StoreError> {
    fs::create_dir_all(path).map_err(StoreError::io("creating", path))
}

/// Flushes a folder, so that a rename into it survives a power cut.
pub(super) fn sync_dir(path: &Path) -> Result<(), StoreError> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(StoreError::io("syncing", path))
}

/// Flushes all that was written to the file system of `path`: cheaper than one fsync for each of many files.
pub(super) fn sync_filesystem(path: &Path) -> Result<(), StoreError> {
    let dir = File::open(path).map_err(StoreError::io("opening", path))?;
    nix::unistd::syncfs(dir).map_err(|errno| StoreError::io("syncing", path)(errno.into()))
}

/// An exclusive advisory lock (flock), released when dropped. The file stays: removing it would let two
/// holders each lock a different file of that name.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Waits for the lock.
    pub(super) fn take(path: &Path) -> Result<Self, StoreError> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .map_err(StoreError::io("opening", path))?;
        // Not File::lock, which Ctrl-C would not end.
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { _file: file }),
                Err(TryLockError::WouldBlock) => {
                    interrupt::check()?;
                    std::thread::sleep(Duration::from_millis(50));
                }
                Err(TryLockError::Error(error)) => {
                    return Err(StoreError::io("locking", path)(error));
                }
            }
        }
    }
}

/// A new folder in `parent`, locked for as long as somebody writes in it.
pub(super) fn locked_tempdir(parent: &Path) -> Result<(tempfile::TempDir, Lock), StoreError> {
    let dir =
        tempfile::tempdir_in(parent).map_err(StoreError::io("creating a folder in", parent))?;
    let file = File::open(dir.path()).map_err(StoreError::io("opening", dir.path()))?;
    file.lock().map_err(StoreError::io("locking", dir.path()))?;
    Ok((dir, Lock { _file: file }))
}

/// Removes folders of [`locked_tempdir`] whose writer died. A folder is made a moment before it is locked,
/// so the youngest are left alone.
pub(super) fn sweep(parent: &Path, older_than: Duration) -> Result<(), StoreError> {
    let entries = fs::read_dir(parent).map_err(StoreError::io("listing", parent))?;
    for path in entries.flatten().map(|entry| entry.path()) {
        // Whatever goes wrong here, another process was faster or the next sweep gets it.
        let Ok(dir) = File::open(&path) else { continue };
        let age = dir.metadata().and_then(|meta| meta.modified()).map(|at| at.elapsed());
        if matches!(age, Ok(Ok(age)) if age >= older_than) && dir.try_lock().is_ok() {
            _ = fs::remove_dir_all(&path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_takes_what_the_dead_left_and_spares_the_living() {
        let parent = tempfile::tempdir().expect("temporary folder");
        let (living, _lock) = locked_tempdir(parent.path()).expect("living");
        let (dead, lock) = locked_tempdir(parent.path()).expect("dead");
        let dead = dead.keep();
        drop(lock);
        sweep(parent.path(), Duration::from_secs(3600)).expect("sweep");
        assert!(dead.exists(), "too young to be judged");
        sweep(parent.path(), Duration::ZERO).expect("sweep");
        assert!(!dead.exists() && living.path().exists());
    }
}
