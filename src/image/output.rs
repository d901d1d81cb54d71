//! The folder `images/`.
//!
//! ```text
//! images/<id>/{disk.img,manifest.json}   a finished image; never changed. A mirror has disk-1.img and disk-2.img;
//!                                        beside them lie SHA256SUMS and what `evidence` puts there
//! images/current -> <id>                 the newest; switched last, by a rename
//! images/.building-XXXXXX/               under way; held (flock) by its builder
//! images/.verify-XXXXXX/                 the same of an image that is built again to be compared
//! images/.lock                           held for moments: making, sweeping, switching
//! ```
//!
//! An image is written under another name, synced, and renamed, so a name that exists is whole; a builder
//! that dies leaves only a `.building-` folder that nobody holds, and the next builder removes it.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::ImageError;
use crate::appliance::Disks;

/// The file in an image's folder that says what is in the image.
pub const MANIFEST: &str = "manifest.json";
const SINGLE: &[&str] = &["disk.img"];
const MIRROR: &[&str] = &["disk-1.img", "disk-2.img"];

/// The files of an appliance's disks.
pub(super) fn disks(disks: Disks) -> &'static [&'static str] {
    match disks {
        Disks::Single => SINGLE,
        Disks::Mirror => MIRROR,
    }
}

const BUILDING: &str = ".building-";
/// A folder of `chatimg verify`, with the image that it builds; held (flock) meanwhile.
pub(super) const VERIFYING: &str = ".verify-";

/// The folder of images.
#[derive(Debug)]
pub(super) struct Images {
    dir: PathBuf,
}

/// A new image's folder, removed when dropped.
#[derive(Debug)]
pub(super) struct Work {
    dir: tempfile::TempDir,
    _lock: File,
}

impl Work {
    pub(super) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// It is to be looked at, and not removed.
    pub(super) fn keep(self) -> PathBuf {
        self.dir.keep()
    }
}

impl Images {
    /// Opens or makes the folder, and removes what dead builders left.
    pub(super) fn open(dir: &Path) -> Result<Self, ImageError> {
        fs::create_dir_all(dir).map_err(ImageError::io("creating", dir))?;
        let images = Self { dir: dir.to_owned() };
        let _lock = images.lock()?;
        let entries = fs::read_dir(dir).map_err(ImageError::io("listing", dir))?;
        for entry in entries.flatten() {
            let stale = entry.file_name().to_string_lossy().starts_with(BUILDING)
                && File::open(entry.path()).is_ok_and(|folder| folder.try_lock().is_ok());
            if stale {
                let path = entry.path();
                remove_if_there(&path)?; // Its builder may just be cleaning up itself.
            }
        }
        Ok(images)
    }

    fn lock(&self) -> Result<File, ImageError> {
        let path = self.dir.join(".lock");
        let mut options = OpenOptions::new();
        let file = options.create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(ImageError::io("opening", &path))?;
        file.lock().map_err(ImageError::io("locking", &path))?;
        Ok(file)
    }

    /// The folder of a finished image. Its manifest was written last: whatever is newer was changed since, by a
    /// machine that was started from it, say, and is no longer that image.
    pub(super) fn find(&self, id: &str) -> Option<PathBuf> {
        let dir = self.dir.join(id);
        let written = |name: &str| fs::metadata(dir.join(name)).ok()?.modified().ok();
        let last = written(MANIFEST)?;
        let whole = |name: &&str| written(name).is_some_and(|time| time <= last);
        disks_in(&dir)?.iter().all(whole).then_some(dir)
    }

    /// Makes a folder to build in.
    pub(super) fn begin(&self) -> Result<Work, ImageError> {
        self.make(BUILDING)
    }

    /// Makes a folder that is held.
    pub(super) fn make(&self, prefix: &str) -> Result<Work, ImageError> {
        let _lock = self.lock()?;
        let dir = tempfile::Builder::new()
            .prefix(prefix)
            .tempdir_in(&self.dir)
            .map_err(ImageError::io("creating a folder in", &self.dir))?;
        let file = File::open(dir.path()).map_err(ImageError::io("opening", dir.path()))?;
        file.lock().map_err(ImageError::io("locking", dir.path()))?;
        Ok(Work { dir, _lock: file })
    }

    /// Gives a finished folder its name. Its files are synced already. What has that name and is no whole image is
    /// somebody's work: it gets another name, which comes back second.
    pub(super) fn finish(
        &self,
        work: Work,
        id: &str,
    ) -> Result<(PathBuf, Option<PathBuf>), ImageError> {
        let from = work.path();
        let to = self.dir.join(id);
        let mode = |path: &Path, mode| {
            fs::set_permissions(path, Permissions::from_mode(mode))
                .map_err(ImageError::io("setting the mode of", path))
        };
        mode(from, 0o755)?;
        let files = fs::read_dir(from).map_err(ImageError::io("listing", from))?;
        for file in files.flatten() {
            mode(&file.path(), 0o444)?;
        }
        sync_dir(from)?;
        let _lock = self.lock()?;
        if self.find(id).is_some() {
            return Ok((to, None)); // Another builder was faster; its bytes are the same.
        }
        let aside = (1..)
            .map(|number| self.dir.join(format!("{id}.changed-{number}")))
            .find(|path| !path.exists())
            .filter(|_| to.exists());
        if let Some(aside) = &aside {
            fs::rename(&to, aside).map_err(ImageError::io("renaming", &to))?;
        }
        fs::rename(from, &to).map_err(ImageError::io("renaming", from))?;
        sync_dir(&self.dir)?;
        Ok((to, aside))
    }

    /// Takes something in this folder away, unless somebody uses it or it is what `current` points at; says whether it
    /// did.
    pub(super) fn remove(&self, path: &Path) -> Result<bool, ImageError> {
        let _lock = self.lock()?;
        let current = self.current().map(|id| self.dir.join(id));
        let Ok(folder) = File::open(path) else { return Ok(false) };
        if current.is_some_and(|current| current == path) || folder.try_lock().is_err() {
            return Ok(false);
        }
        // What is cut short is finished by whoever opens the folder next, and is no image meanwhile.
        let dead = tempfile::Builder::new().prefix(BUILDING).tempdir_in(&self.dir);
        let dead = dead.map_err(ImageError::io("creating a folder in", &self.dir))?.keep();
        fs::rename(path, &dead).map_err(ImageError::io("moving", path))?;
        remove_if_there(&dead)?;
        Ok(true)
    }

    /// The id that `current` points at.
    pub(super) fn current(&self) -> Option<String> {
        fs::read_link(self.dir.join("current")).ok()?.into_os_string().into_string().ok()
    }

    /// Points `current` at a finished image.
    pub(super) fn switch(&self, id: &str) -> Result<(), ImageError> {
        let _lock = self.lock()?;
        let current = self.dir.join("current");
        if fs::read_link(&current).is_ok_and(|target| target == Path::new(id)) {
            return Ok(());
        }
        let new = self.dir.join(".current-new");
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(ImageError::io("removing", &new)(error));
            }
            _ => {}
        }
        symlink(id, &new).map_err(ImageError::io("creating", &new))?;
        fs::rename(&new, &current).map_err(ImageError::io("switching", &current))?;
        sync_dir(&self.dir)
    }
}

/// Which files of disks an image's folder has; `None` if it has no set of them.
pub(super) fn disks_in(dir: &Path) -> Option<&'static [&'static str]> {
    [SINGLE, MIRROR].into_iter().find(|names| names.iter().all(|name| dir.join(name).is_file()))
}

fn remove_if_there(dir: &Path) -> Result<(), ImageError> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(ImageError::io("removing", dir)(error))
        }
        _ => Ok(()),
    }
}

fn sync_dir(path: &Path) -> Result<(), ImageError> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(ImageError::io("syncing", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DISK: &str = "disk-2.img";

    fn finished(images: &Images, id: &str) -> PathBuf {
        let work = images.begin().expect("begins");
        for name in MIRROR.iter().chain(&[MANIFEST]) {
            fs::write(work.path().join(name), id).expect("writes");
        }
        images.finish(work, id).expect("finishes").0
    }

    #[test]
    fn current_is_switched_last_and_stays_when_a_build_stops() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let images = Images::open(dir.path()).expect("opens");
        let first = finished(&images, "first");
        images.switch("first").expect("switches");
        assert_eq!(images.find("first"), Some(first));

        let stopped = images.begin().expect("begins");
        fs::write(stopped.path().join(DISK), "half").expect("writes");
        drop(stopped);
        finished(&images, "second");
        let current = dir.path().join("current");
        assert_eq!(fs::read_link(&current).expect("link"), Path::new("first"));
        images.switch("second").expect("switches");
        images.switch("second").expect("again");
        assert_eq!(fs::read_to_string(current.join(DISK)).expect("reads"), "second");
        let hidden = |entry: &fs::DirEntry| {
            let name = entry.file_name();
            name != ".lock" && name.to_string_lossy().starts_with('.')
        };
        assert!(!fs::read_dir(dir.path()).expect("lists").flatten().any(|e| hidden(&e)));
    }

    #[test]
    fn what_dead_builders_left_goes_and_living_ones_keep_theirs() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let images = Images::open(dir.path()).expect("opens");
        let living = images.begin().expect("begins");
        let dead = dir.path().join(".building-dead");
        fs::create_dir(&dead).expect("creates");
        fs::write(dead.join(DISK), "half").expect("writes");
        Images::open(dir.path()).expect("opens again");
        assert!(!dead.exists() && living.path().exists());
    }

    #[test]
    fn an_image_that_was_written_to_is_built_again() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let images = Images::open(dir.path()).expect("opens");
        let disk = finished(&images, "id").join(DISK);
        assert_eq!(fs::metadata(&disk).expect("disk").permissions().mode() & 0o777, 0o444);
        assert!(images.find("id").is_some());
        let file = File::open(&disk).expect("opens");
        let later = std::time::SystemTime::now() + std::time::Duration::from_secs(1);
        file.set_modified(later).expect("as a guest's write would");
        assert_eq!(images.find("id"), None);
        finished(&images, "id");
        assert!(images.find("id").is_some());
        assert!(dir.path().join("id.changed-1").join(DISK).is_file(), "nothing is lost");
    }

    #[test]
    fn an_image_that_lost_a_file_is_built_again() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let images = Images::open(dir.path()).expect("opens");
        let image = finished(&images, "id");
        for name in [DISK, MANIFEST] {
            fs::remove_file(image.join(name)).expect("removes");
            assert_eq!(images.find("id"), None, "{name}");
            assert_eq!(finished(&images, "id"), image);
            assert!(images.find("id").is_some(), "{name}");
        }
    }
}
