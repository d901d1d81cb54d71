//! A composed tree with some other files: what tests update to.

use std::path::Path;

use super::ApplianceError;
use super::overlay;
use super::system::{SystemError, SystemRoot};
use crate::digest::Hasher;
use crate::store::{StepError, Store};
use crate::tree::Tree;

/// `root` with the files of a folder, a mirror of `/` as those of overlays are, in the place of its own.
///
/// # Errors
/// They cannot be read, or do not fit in.
pub fn with_files(
    store: &Store,
    root: &Tree,
    files: &Path,
    epoch: i64,
) -> Result<Tree, ApplianceError> {
    let sources = overlay::read_plain(files)?;
    let mut key = Hasher::step("variant");
    key.field(root.id().as_bytes()).field(epoch.to_le_bytes());
    sources.iter().for_each(|source| source.identify(&mut key));
    let tree = store.tree(key.finish(), |pack| {
        let mut root = SystemRoot::of(root.clone(), store, pack, epoch);
        for source in sources {
            source.put(&mut root)?;
        }
        Ok(root.tree)
    });
    Ok(tree.map_err(StepError::<SystemError>::into_inner)?)
}
