//! What is in `images/`, and what of it may go.

mod leftover;

pub use leftover::{Leftover, Spared, keep_for_run, leftovers, remove};

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::output::{Images, MANIFEST, VERIFYING, Work};
use super::{ImageError, manifest};
use crate::digest::Digest;
use crate::disk_use::on_disk;
use crate::lock::Lock;

/// A folder of `images/` that has a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Listed {
    /// The image's id; of one that was changed the folder's name.
    pub id: String,
    /// Its folder.
    pub dir: PathBuf,
    /// Whether `current` points at it.
    pub current: bool,
    /// Whether it is what was built: all files are there, and none was written to since.
    pub whole: bool,
    /// What its files take on the disk, in bytes.
    pub on_disk: u64,
    /// Seconds since 1970 at which it was built here.
    pub built: u64,
    /// The appliance: its domain, unless another name was given.
    pub appliance: String,
    /// The newest date of the lock's indexes, seconds since 1970: how old what is in it is.
    pub epoch: i64,
    /// A digest of all of the lock's inputs that shape the image: the same for images of one lock.
    pub inputs: Digest,
}

#[derive(Deserialize)]
struct Head {
    id: String,
    appliance: String,
    epoch: i64,
    #[serde(default)]
    inputs: Value,
}

/// What [`Listed::inputs`] is of an image that is built of this lock.
pub fn inputs_of(lock: &Lock) -> Digest {
    Digest::of(manifest::inputs(lock).to_string().as_bytes())
}

/// All images, the newest first.
///
/// # Errors
/// The folder cannot be read.
pub fn list(images: &Path) -> Result<Vec<Listed>, ImageError> {
    if !images.is_dir() {
        return Ok(Vec::new());
    }
    let output = Images::open(images)?;
    let current = output.current();
    let mut found = Vec::new();
    for dir in entries(images)? {
        let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let path = dir.join(MANIFEST);
        // One that is being built has a name that begins so.
        if dir.is_symlink() || !dir.is_dir() || name.starts_with('.') {
            continue;
        }
        let Ok(text) = fs::read(&path) else { continue };
        // Of another version of chatimg, or of something else: it is not ours to judge.
        let Ok(head) = serde_json::from_slice::<Head>(&text) else { continue };
        let built =
            modified(&path).and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
        found.push(Listed {
            current: current.as_ref() == Some(&name),
            whole: head.id == name && output.find(&name).is_some(),
            on_disk: on_disk(&dir),
            built: built.unwrap_or_default().as_secs(),
            appliance: head.appliance,
            epoch: head.epoch,
            inputs: Digest::of(head.inputs.to_string().as_bytes()),
            id: name,
            dir,
        });
    }
    found.sort_by(|a, b| (b.built, &a.id).cmp(&(a.built, &b.id)));
    Ok(found)
}

/// Keeps [`leftovers`] off an image for as long as this is held.
#[derive(Debug)]
pub struct Hold {
    _dir: Option<File>,
}

/// Holds an image's folder; waits while somebody looks whether it is held.
pub fn hold(dir: &Path) -> Hold {
    // Where that cannot be had, whoever removes the image sees nobody, and open files stay open.
    Hold { _dir: File::open(dir).ok().filter(|dir| dir.lock_shared().is_ok()) }
}

/// A folder in `images/` for an image that is built again; it goes when this does. [`leftovers`] knows what a killed
/// process leaves.
#[derive(Debug)]
pub struct Again(Work);

/// Makes a folder to build an image in again.
///
/// # Errors
/// It cannot be made.
pub fn again(images: &Path) -> Result<Again, ImageError> {
    Images::open(images)?.make(VERIFYING).map(Again)
}

impl Again {
    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Leaves it to be looked at.
    pub fn keep(self) -> PathBuf {
        self.0.keep()
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::symlink_metadata(path).ok()?.modified().ok()
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>, ImageError> {
    let entries = fs::read_dir(dir).map_err(ImageError::io("listing", dir))?;
    Ok(entries.flatten().map(|entry| entry.path()).collect())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    /// A folder of images, each a second older than the one before.
    pub(super) fn images(ids: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("temporary folder");
        for (age, id) in ids.iter().enumerate() {
            let image = dir.path().join(id);
            fs::create_dir(&image).expect("folder");
            let manifest = json!({"id": id, "appliance": "a.example", "epoch": 7, "inputs": []});
            fs::write(image.join("disk.img"), [7; 9000]).expect("write");
            fs::write(image.join(MANIFEST), manifest.to_string()).expect("write");
            for name in ["disk.img", MANIFEST] {
                let time = SystemTime::now() - Duration::from_secs(age as u64 + 1);
                File::open(image.join(name)).and_then(|it| it.set_modified(time)).expect("time");
            }
        }
        symlink(ids[0], dir.path().join("current")).expect("link");
        dir
    }

    #[test]
    fn images_are_listed_with_what_they_take() {
        let dir = images(&["a1", "b2"]);
        fs::create_dir(dir.path().join("mine")).expect("somebody's");
        let listed = list(dir.path()).expect("lists");
        let ids: Vec<_> = listed.iter().map(|image| (&*image.id, image.current)).collect();
        assert_eq!(ids, [("a1", true), ("b2", false)]);
        assert!(listed.iter().all(|image| image.whole && image.appliance == "a.example"));
        assert!((9_000..100_000).contains(&listed[0].on_disk), "{}", listed[0].on_disk);
        assert_eq!(list(&dir.path().join("none")).expect("lists"), []);
    }
}
