//! Whether the files of an image are those that were built, and who says so.

use std::path::Path;

use super::files::{Folder, read};
use super::sign::comment;
use super::{EvidenceError, PROVENANCE, SIGNATURE, UPDATE, UPDATE_SIGNATURE, dsse, provenance};
use crate::image::sums::{SUMS, text};
use crate::minisign::{PublicKey, Signature};

/// What is known of an image whose files are whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The image's id.
    pub id: String,
    /// Number of the key that signed it; `None`: nobody did, it only agrees with itself.
    pub signed_by: Option<String>,
}

/// Checks every file of an image's folder: small ones first, then all bytes of the disks. `key`: whom to believe.
///
/// # Errors
/// A bit of any of its files is not what it was, a signature is missing or of another key.
pub fn verify(dir: &Path, key: Option<&PublicKey>) -> Result<Verified, EvidenceError> {
    let folder = Folder::open(dir)?;
    // What was made for a box alone says nothing of the rest.
    if folder.has(UPDATE) {
        update(&folder)?;
    }
    let signed = [SIGNATURE, PROVENANCE].iter().any(|name| folder.has(name));
    let signed_by = match (signed || folder.has_disks(), key) {
        (false, None) => None,
        (false, Some(_)) => return Err(EvidenceError::NotSigned(dir.to_owned())),
        (true, None) => return Err(EvidenceError::NoKey(dir.to_owned())),
        (true, Some(key)) => {
            signatures(&folder, key)?;
            Some(key.number())
        }
    };
    folder.check_contents()?;
    Ok(Verified { id: folder.id, signed_by })
}

fn signatures(folder: &Folder, key: &PublicKey) -> Result<(), EvidenceError> {
    let sums = text(&folder.sums);
    signature(folder, SIGNATURE, sums.as_bytes(), key)?;
    if !folder.has_disks() {
        return Err(EvidenceError::damaged(&folder.dir.join(SUMS), "it does not name the disks"));
    }
    let path = folder.dir.join(PROVENANCE);
    let statement = provenance::statement(&folder.manifest, &folder.sums);
    dsse::check(&read(&path)?, &statement, key).map_err(|why| EvidenceError::Signature {
        path,
        why,
        key: key.number(),
    })?;
    signature(folder, UPDATE_SIGNATURE, &update(folder)?, key)
}

/// What boxes are told, which is what the manifest says.
fn update(folder: &Folder) -> Result<Vec<u8>, EvidenceError> {
    let (expected, path) = (folder.description.to_bytes()?, folder.dir.join(UPDATE));
    match read(&path)? == expected {
        true => Ok(expected),
        false => Err(EvidenceError::damaged(&path, "it does not state what manifest.json says")),
    }
}

/// A signature by minisign, of which every byte is as we write it: it does not cover its own first line.
fn signature(
    folder: &Folder,
    name: &str,
    bytes: &[u8],
    key: &PublicKey,
) -> Result<(), EvidenceError> {
    let path = folder.dir.join(name);
    let file = String::from_utf8_lossy(&read(&path)?).into_owned();
    let wrong =
        |why: String| EvidenceError::Signature { path: path.clone(), why, key: key.number() };
    let signature = Signature::parse(&file).map_err(|error| wrong(error.to_string()))?;
    signature.verify(bytes, key).map_err(|error| wrong(error.to_string()))?;
    if signature.comment() != comment(&folder.id) {
        return Err(wrong(format!("it is for {}", signature.comment())));
    }
    // Made by minisign itself, its first line may say anything.
    match signature.to_string() == file {
        true => Ok(()),
        false => Err(wrong("its comment is not chatimg's".to_owned())),
    }
}
