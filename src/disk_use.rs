//! What lies on the disk: how much it takes, how old it is, whether somebody holds it. For those who free space.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

/// Bytes that a file or folder takes: blocks, not lengths, as disks are mostly holes. Hard links count once.
pub(crate) fn on_disk(path: &Path) -> u64 {
    fn add(path: &Path, seen: &mut BTreeSet<u64>) -> u64 {
        let Ok(meta) = fs::symlink_metadata(path) else { return 0 };
        if !meta.is_dir() && meta.nlink() > 1 && !seen.insert(meta.ino()) {
            return 0;
        }
        let below = if meta.is_dir() { fs::read_dir(path).ok() } else { None };
        let below = below.into_iter().flatten().flatten();
        meta.blocks() * 512 + below.map(|entry| add(&entry.path(), seen)).sum::<u64>()
    }
    add(path, &mut BTreeSet::new())
}

/// Whether it is there and was not written to for so long; a link is judged itself.
pub(crate) fn older(path: &Path, age: Duration) -> bool {
    let modified = fs::symlink_metadata(path).and_then(|meta| meta.modified());
    modified.is_ok_and(|time| time.elapsed().is_ok_and(|elapsed| elapsed >= age))
}

/// Whether it is there, and a process holds a lock (flock) of it.
pub(crate) fn is_held(path: &Path) -> bool {
    File::open(path).is_ok_and(|file| file.try_lock().is_err())
}

/// Whether it is there, and no process does.
pub(crate) fn is_free(path: &Path) -> bool {
    File::open(path).is_ok_and(|file| file.try_lock().is_ok())
}
