//! A finished image's root image: what a slot holds, from its first byte on. It is no file of its own but lies in the image of
//! the first disk, where `manifest.json` says.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::MANIFEST;
use crate::digest::Digest;

/// What `root` of a manifest says.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Place {
    /// The file beside the manifest.
    pub file: String,
    /// First byte there.
    pub start: u64,
    /// Bytes.
    pub size: u64,
    /// Of all of them.
    pub sha256: Digest,
}

#[derive(Deserialize)]
struct Manifest {
    root: Place,
}

/// One that is open.
#[derive(Debug)]
pub struct RootImage {
    file: File,
    path: PathBuf,
    start: u64,
    size: u64,
}

impl RootImage {
    /// Opens the one of the image in a folder.
    ///
    /// # Errors
    /// As [`RootImage::at`], or the manifest cannot be read.
    pub fn open(dir: &Path) -> io::Result<Self> {
        let Manifest { root } = serde_json::from_slice(&fs::read(dir.join(MANIFEST))?)?;
        Self::at(dir, &root)
    }

    /// The same by a manifest that was read already.
    ///
    /// # Errors
    /// The file is not there, or ends before it does.
    pub fn at(dir: &Path, place: &Place) -> io::Result<Self> {
        let Place { file: name, start, size, .. } = place;
        if name.contains('/') || name.starts_with('.') {
            let why = format!("'{name}' is no name of a file beside the manifest");
            return Err(io::Error::other(why));
        }
        let path = dir.join(name);
        let file = File::open(&path)?;
        let len = file.metadata()?.len();
        if start.checked_add(*size).is_none_or(|end| end > len) {
            let why = format!("it has {len} bytes, not {size} from byte {start} on");
            return Err(io::Error::other(why));
        }
        Ok(Self { file, path, start: *start, size: *size })
    }

    /// One that is all of a file.
    #[cfg(test)]
    pub(crate) fn of_file(file: File) -> Self {
        let size = file.metadata().expect("a file").len();
        Self { file, path: PathBuf::new(), start: 0, size }
    }

    /// The file that it lies in.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Reads from a byte of it on.
    ///
    /// # Errors
    /// It ends before that, or cannot be read.
    pub fn read_exact_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        if at.checked_add(bytes.len() as u64).is_none_or(|end| end > self.size) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.file.read_exact_at(bytes, self.start + at)
    }

    /// The same, once more.
    ///
    /// # Errors
    /// There are no more open files to be had.
    pub fn try_clone(&self) -> io::Result<Self> {
        let Self { path, start, size, .. } = self;
        Ok(Self { file: self.file.try_clone()?, path: path.clone(), start: *start, size: *size })
    }
}
