//! The owner's signature.

use std::os::unix::fs::FileExt;
use std::path::Path;

use super::files::{Folder, pieces};
use super::{
    EvidenceError, PROVENANCE, ROOT, SIGNATURE, UPDATE, UPDATE_SIGNATURE, dsse, provenance,
};
use crate::deliver::update::Source;
use crate::digest::Hasher;
use crate::image::is_zero;
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

/// Puts beside the image in a folder what boxes without a network are given (docs/update.md): its root image, and, signed, what
/// they are told of that.
///
/// # Errors
/// It is no image, or damaged, or cannot be written to.
pub fn sign_update(dir: &Path, key: &SecretKey) -> Result<Signed, EvidenceError> {
    let source = Source::open(dir)?;
    let (update, signature) = source.description.signed(key)?;
    copy_root(dir, &source)?;
    replace(dir, UPDATE, &update)?;
    replace(dir, UPDATE_SIGNATURE, signature.as_bytes())?;
    Ok(Signed { id: source.description.id, files: vec![ROOT, UPDATE, UPDATE_SIGNATURE] })
}

fn copy_root(dir: &Path, source: &Source) -> Result<(), EvidenceError> {
    let (root, path) = (source.root(), dir.join(ROOT));
    let failed = |error| EvidenceError::io("writing", &path)(error);
    Whole::beside(&path, Access::ReadOnly).write_with(failed, |file| {
        file.set_len(root.size()).map_err(failed)?;
        let mut hasher = Hasher::new();
        let read = |bytes: &mut [u8], at| root.read_exact_at(bytes, at);
        pieces(read, root.path(), 0..root.size(), |at, bytes| {
            hasher.update(bytes);
            if !is_zero(bytes) {
                file.write_all_at(bytes, at).map_err(failed)?;
            }
            Ok(true)
        })?;
        match hasher.finish() == source.description.root.sha256 {
            true => Ok(()),
            false => Err(EvidenceError::damaged(
                root.path(),
                "its root image is not what manifest.json says",
            )),
        }
    })
}

fn replace(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), EvidenceError> {
    let path = dir.join(name);
    let whole = Whole::beside(&path, Access::ReadOnly);
    whole.write(bytes).map_err(EvidenceError::io("writing", &path))
}
