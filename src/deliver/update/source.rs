//! An image on its way to a box: its root image, and what is said of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::UpdateError;
use super::chunks::Chunks;
use crate::digest::Digest;
use crate::image::{MANIFEST, RootImage, RootPlace, parse_manifest};
use crate::minisign::SecretKey;

/// The version of `update.json` that is made.
const VERSION: u32 = 1;

/// What is said of an image to a box, and signed: `update.json`. Its keys are in order here, so they are there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// Of which appliance it is.
    pub appliance: String,
    /// Seconds since 1970: how new what it is made of is.
    pub epoch: i64,
    /// For each program whose data have a format: its version, and the oldest that reads what it writes.
    #[serde(default)]
    pub formats: BTreeMap<String, (String, String)>,
    /// The image's id.
    pub id: String,
    /// For which disks: `none`, `mirror`.
    pub raid: String,
    /// The root image.
    pub root: RootFile,
    /// The version of this form.
    pub schema: u32,
}

/// Of the root image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFile {
    /// Of all its bytes.
    pub sha256: Digest,
    /// Bytes.
    pub size: u64,
}

impl Description {
    /// What a manifest says. `path`: its file, for messages.
    ///
    /// # Errors
    /// It makes no sense, or is of another version.
    pub fn of_manifest(text: &[u8], path: &Path) -> Result<Self, UpdateError> {
        let bad = |why: String| UpdateError::Manifest { path: path.to_owned(), why };
        let said: Self = parse_manifest(text).map_err(|error| bad(error.to_string()))?;
        Ok(Self { schema: VERSION, ..said })
    }

    /// The bytes that are sent, and their signature: `update.json` and `update.json.minisig`.
    ///
    /// # Errors
    /// None that can happen.
    pub fn signed(&self, key: &SecretKey) -> Result<(Vec<u8>, String), UpdateError> {
        let bytes = self.to_bytes()?;
        let signature = key.sign(&bytes, &format!("image {}", self.id)).to_string();
        Ok((bytes, signature))
    }

    /// The bytes that are signed and sent.
    ///
    /// # Errors
    /// None that can happen.
    pub fn to_bytes(&self) -> Result<Vec<u8>, UpdateError> {
        serde_json::to_vec(self).map_err(|error| UpdateError::Manifest {
            path: PathBuf::from("update.json"),
            why: error.to_string(),
        })
    }
}

/// A finished image.
#[derive(Debug)]
pub struct Source {
    /// What is said of it.
    pub description: Description,
    root: RootImage,
}

impl Source {
    /// Opens the image in a folder. Whether it is whole is seen where it arrives: the description has its digest.
    ///
    /// # Errors
    /// It is of another version, or its files do not fit each other.
    pub fn open(dir: &Path) -> Result<Self, UpdateError> {
        let path = dir.join(MANIFEST);
        let read = |path: PathBuf| |source| UpdateError::Read { path, source };
        let text = fs::read(&path).map_err(read(path.clone()))?;
        let description = Description::of_manifest(&text, &path)?;
        let place = RootPlace::of_manifest(&text)
            .map_err(|error| UpdateError::Manifest { path, why: error.to_string() })?;
        let root = RootImage::at(dir, &place).map_err(read(dir.join(&place.file)))?;
        Ok(Self { description, root })
    }

    /// The root image.
    pub fn root(&self) -> &RootImage {
        &self.root
    }

    /// Cuts the root image up, on all cores.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn chunks(&self, progress: &(dyn Fn(u64) + Sync)) -> Result<Chunks, UpdateError> {
        Chunks::read(&self.root, progress)
            .map_err(|source| UpdateError::Chunks { path: self.root.path().to_owned(), source })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::image::SCHEMA;

    fn open(manifest: &serde_json::Value, root: &[u8]) -> Result<Source, String> {
        let dir = tempfile::tempdir().expect("folder");
        fs::write(dir.path().join("manifest.json"), manifest.to_string()).expect("write");
        fs::write(dir.path().join("disk.img"), root).expect("write");
        Source::open(dir.path()).map_err(|error| error.to_string())
    }

    fn manifest() -> serde_json::Value {
        json!({
            "schema": SCHEMA, "id": "3150c281b22d6c0c", "appliance": "chat.example", "raid": "mirror",
            "epoch": 1_795_140_670, "tree": "t",
            "root": {"file": "disk.img", "start": 1, "size": 3, "sha256": Digest::of(b"abc")},
            "formats": {"matrix-synapse": ["1.142.0", "1.98"]}, "disks": [], "files": [],
        })
    }

    #[test]
    fn a_description_is_always_the_same_bytes() {
        let source = open(&manifest(), b"-abc").expect("opens");
        let bytes = source.description.to_bytes().expect("writes");
        let expected = "{\"appliance\":\"chat.example\",\"epoch\":1795140670,\
            \"formats\":{\"matrix-synapse\":[\"1.142.0\",\"1.98\"]},\"id\":\"3150c281b22d6c0c\",\
            \"raid\":\"mirror\",\"root\":{\"sha256\":\
            \"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\",\"size\":3},\
            \"schema\":1}";
        assert_eq!(String::from_utf8(bytes).expect("UTF-8"), expected);
    }

    #[test]
    fn an_image_without_formats_has_none() {
        let mut manifest = manifest();
        manifest.as_object_mut().expect("a table").remove("formats");
        let source = open(&manifest, b"-abc").expect("opens");
        assert!(source.description.formats.is_empty());
    }

    #[test]
    fn files_that_do_not_fit_are_refused() {
        let error = open(&manifest(), b"abc").expect_err("refused");
        assert!(
            error.contains("it is 3 bytes long, and the root image is 3 from byte 1 on"),
            "{error}"
        );
        let mut other = manifest();
        other["root"]["file"] = json!("../disk.img");
        let error = open(&other, b"-abc").expect_err("refused");
        assert!(error.contains("is no name of a file"), "{error}");
        let mut other = manifest();
        other["schema"] = json!(SCHEMA - 1);
        let error = open(&other, b"-abc").expect_err("refused");
        assert!(error.contains("of version 3"), "{error}");
    }
}
