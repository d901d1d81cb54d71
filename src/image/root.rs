//! A finished image's root image: what a slot holds, from its first byte on. It is no file of its own but lies in the image of
//! the first disk, where `manifest.json` says.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::MANIFEST;
use super::manifest::parse;
use crate::digest::Digest;

/// Where a file of an image is that its manifest names.
///
/// # Errors
/// That is no name.
pub fn beside(dir: &Path, name: &str) -> Result<PathBuf, String> {
    match name.is_empty() || name.contains('/') || name.starts_with('.') {
        true => Err(format!("'{name}' is no name of a file beside it")),
        false => Ok(dir.join(name)),
    }
}

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

impl Place {
    /// Reads it in a manifest.
    ///
    /// # Errors
    /// See [`parse`].
    pub fn of_manifest(text: &[u8]) -> serde_json::Result<Self> {
        Ok(parse::<Manifest>(text)?.root)
    }
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
        Self::at(dir, &Place::of_manifest(&fs::read(dir.join(MANIFEST))?)?)
    }

    /// The same by a manifest that was read already.
    ///
    /// # Errors
    /// The file is not there, or ends before it does.
    pub fn at(dir: &Path, place: &Place) -> io::Result<Self> {
        let Place { file: name, start, size, .. } = place;
        let path = beside(dir, name).map_err(io::Error::other)?;
        let file = File::open(&path)?;
        let len = file.metadata()?.len();
        if start.checked_add(*size).is_none_or(|end| end > len) {
            let why = format!(
                "it is {len} bytes long, and the root image is {size} from byte {start} on"
            );
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

#[cfg(test)]
mod tests {
    use super::*;

    fn place(file: &str, start: u64, size: u64) -> Place {
        Place { file: file.to_owned(), start, size, sha256: Digest::of(b"") }
    }

    #[test]
    fn nothing_is_read_of_what_lies_before_or_behind_it() {
        let dir = tempfile::tempdir().expect("folder");
        fs::write(dir.path().join("disk.img"), b"before-image-behind").expect("writes");
        let root = RootImage::at(dir.path(), &place("disk.img", 7, 5)).expect("opens");
        let root = root.try_clone().expect("the same");
        assert_eq!(root.size(), 5);
        let mut bytes = [0; 5];
        root.read_exact_at(&mut bytes, 0).expect("reads");
        assert_eq!(&bytes, b"image");
        for at in [1, 5, u64::MAX] {
            assert!(root.read_exact_at(&mut bytes, at).is_err(), "{at}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let dir = tempfile::tempdir().expect("folder");
        fs::write(dir.path().join("disk.img"), b"disk").expect("writes");
        for (file, start, size, why) in [
            ("disk.img", 1, 4, "it is 4 bytes long, and the root image is 4 from byte 1 on"),
            ("disk.img", u64::MAX, 4, "from byte 18446744073709551615 on"),
            ("../disk.img", 0, 4, "no name of a file"),
            (".disk.img", 0, 4, "no name of a file"),
            ("", 0, 4, "no name of a file"),
            ("disk-1.img", 0, 4, "No such file"),
        ] {
            let error = RootImage::at(dir.path(), &place(file, start, size)).expect_err(why);
            assert!(error.to_string().contains(why), "{error}");
        }
        let error = RootImage::open(dir.path()).expect_err("no manifest");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        fs::write(dir.path().join(MANIFEST), "{\"schema\": 3}").expect("writes");
        let error = RootImage::open(dir.path()).expect_err("another version").to_string();
        assert!(error.contains("of version 3") && error.contains("chatimg build"), "{error}");
    }
}
