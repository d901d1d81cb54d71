//! The owner's signature.

use std::path::Path;

use super::files::Folder;
use super::{EvidenceError, PROVENANCE, SIGNATURE, UPDATE, UPDATE_SIGNATURE, dsse, provenance};
use crate::deliver::update::Source;
use crate::image::sums::{SUMS, text};
use crate::minisign::SecretKey;
use crate::whole::{Access, Whole};

/// What was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The image's id.
    pub id: String,
    /// Files that were written, in order.
    pub files: Vec<&'static str>,
}

/// The comment that a signature of the sums carries.
pub(super) fn comment(id: &str) -> String {
    format!("image {id}")
}

/// Signs the image in a folder, once all of it was read and found to be what was built.
///
/// # Errors
/// It is damaged, or cannot be written to; what was there is still there, or replaced by the same for this key.
pub fn sign(dir: &Path, key: &SecretKey) -> Result<Signed, EvidenceError> {
    let folder = Folder::open(dir)?;
    folder.check_contents()?;
    let sums = folder.all_sums()?;
    let sums_text = text(&sums);
    let signature = key.sign(sums_text.as_bytes(), &comment(&folder.id)).to_string();
    let envelope = dsse::seal(&provenance::statement(&folder.manifest, &sums), key);
    let (update, update_signature) = folder.description.signed(key)?;
    let files: [(&'static str, &[u8]); 5] = [
        (UPDATE, &update),
        (UPDATE_SIGNATURE, update_signature.as_bytes()),
        (PROVENANCE, envelope.as_bytes()),
        (SUMS, sums_text.as_bytes()),
        (SIGNATURE, signature.as_bytes()),
    ];
    for (name, bytes) in files {
        replace(dir, name, bytes)?;
    }
    Ok(Signed { id: folder.id, files: files.map(|(name, _)| name).to_vec() })
}

/// Signs for boxes alone what they are told of the image in a folder (docs/update.md). Of the image nothing but its description
/// is read: a box compares what it gets with that.
///
/// # Errors
/// It is no image, or cannot be written to.
pub fn sign_update(dir: &Path, key: &SecretKey) -> Result<Signed, EvidenceError> {
    let description = Source::open(dir)?.description;
    let (update, signature) = description.signed(key)?;
    replace(dir, UPDATE, &update)?;
    replace(dir, UPDATE_SIGNATURE, signature.as_bytes())?;
    Ok(Signed { id: description.id, files: vec![UPDATE, UPDATE_SIGNATURE] })
}

fn replace(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), EvidenceError> {
    let path = dir.join(name);
    let whole = Whole::beside(&path, Access::ReadOnly);
    whole.write(bytes).map_err(EvidenceError::io("writing", &path))
}
