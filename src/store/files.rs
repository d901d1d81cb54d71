//! The few file system operations that the store is made of.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use super::StoreError;
use crate::interrupt;
use crate::whole::{Access, Whole};

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

/// Puts a small file in place, whole or not at all. `work`: a folder of the same file system.
pub(super) fn write_whole(work: &Path, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let whole = Whole { work, ..Whole::beside(path, Access::Owner) };
    whole.write(bytes).map_err(StoreError::io("writing", path))
}

/// An advisory lock (flock), released when dropped. Its file stays, but for those that [`Lock::remove`] takes away.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
}

impl Lock {
    /// Waits until nobody else has it.
    pub(super) fn take(path: &Path) -> Result<Self, StoreError> {
        Self::wait(path, File::try_lock)
    }

    /// Waits until nobody has it alone.
    pub(super) fn share(path: &Path) -> Result<Self, StoreError> {
        Self::wait(path, File::try_lock_shared)
    }

    /// Takes it unless somebody has it.
    pub(super) fn try_take(path: &Path) -> Result<Option<Self>, StoreError> {
        let file = Self::open(path)?;
        let free = file.try_lock().is_ok() && is_at(&file, path);
        Ok(free.then_some(Self { file }))
    }

    fn open(path: &Path) -> Result<File, StoreError> {
        let mut options = OpenOptions::new();
        let file = options.create(true).truncate(false).write(true).open(path);
        file.map_err(StoreError::io("opening", path))
    }

    fn wait(
        path: &Path,
        lock: impl Fn(&File) -> Result<(), TryLockError>,
    ) -> Result<Self, StoreError> {
        let mut file = Self::open(path)?;
        // Not File::lock, which Ctrl-C would not end.
        loop {
            match lock(&file) {
                Ok(()) if is_at(&file, path) => return Ok(Self { file }),
                // It was removed meanwhile: two holders would each lock a different file of that name.
                Ok(()) => file = Self::open(path)?,
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

    /// Removes the file of a lock that is held alone.
    pub(super) fn remove(self, path: &Path) {
        _ = fs::remove_file(path);
        drop(self.file);
    }
}

/// Whether the path still leads to this file.
fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(file), Ok(there)) = (file.metadata(), fs::metadata(path)) else { return false };
    (file.dev(), file.ino()) == (there.dev(), there.ino())
}

/// A new folder in `parent`, locked for as long as somebody writes in it.
pub(super) fn locked_tempdir(parent: &Path) -> Result<(tempfile::TempDir, Lock), StoreError> {
    let dir =
        tempfile::tempdir_in(parent).map_err(StoreError::io("creating a folder in", parent))?;
    let file = File::open(dir.path()).map_err(StoreError::io("opening", dir.path()))?;
    file.lock().map_err(StoreError::io("locking", dir.path()))?;
    Ok((dir, Lock { file }))
}

/// Removes folders of [`locked_tempdir`] and files of [`write_whole`] whose writer died. A folder is made a moment before it is locked,
/// so the youngest are left alone.
pub(super) fn sweep(parent: &Path, older_than: Duration) -> Result<(), StoreError> {
    let entries = fs::read_dir(parent).map_err(StoreError::io("listing", parent))?;
    for path in entries.flatten().map(|entry| entry.path()) {
        // Whatever goes wrong here, another process was faster or the next sweep gets it.
        let Ok(dir) = File::open(&path) else { continue };
        let age = dir.metadata().and_then(|meta| meta.modified()).map(|at| at.elapsed());
        if matches!(age, Ok(Ok(age)) if age >= older_than) && dir.try_lock().is_ok() {
            _ = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
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
        let half = parent.path().join(".half");
        fs::write(&half, "half").expect("write");
        sweep(parent.path(), Duration::from_secs(3600)).expect("sweep");
        assert!(dead.exists(), "too young to be judged");
        sweep(parent.path(), Duration::ZERO).expect("sweep");
        assert!(!dead.exists() && !half.exists() && living.path().exists());
    }

    #[test]
    fn whoever_waits_for_a_lock_that_is_removed_takes_the_new_one() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let path = dir.path().join("lock");
        let held = Lock::take(&path).expect("takes it");
        assert!(Lock::try_take(&path).expect("looks").is_none());
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| Lock::take(&path).expect("waits"));
            std::thread::sleep(Duration::from_millis(120));
            held.remove(&path);
            let lock = waiting.join().expect("takes it");
            assert!(is_at(&lock.file, &path), "another one could take it, too");
            assert!(Lock::try_take(&path).expect("looks").is_none());
        });
    }
}
