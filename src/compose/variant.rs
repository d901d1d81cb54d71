//! A composed tree with some other files: what tests update to.

use std::path::Path;

use super::ApplianceError;
use super::overlay;
use super::system::{SystemError, SystemRoot};
use crate::digest::Hasher;
use crate::store::{StepError, Store};
use crate::tree::Tree;

/// How the kernel's name begins; a version follows.
const KERNEL: &str = "boot/vmlinuz-";

/// `root` with the files of a folder, a mirror of `/` as those of overlays are, in the place of its own. The kernel is
/// called `boot/vmlinuz` there.
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
        let kernel = root.below("boot").find(|(path, _)| path.as_str().starts_with(KERNEL));
        let kernel = kernel.map(|(path, _)| path.as_str().to_owned());
        let mut root = SystemRoot::of(root.clone(), store, pack, epoch);
        for source in sources {
            let to = kernel.as_deref().filter(|_| source.path() == "boot/vmlinuz");
            source.put(&mut root, to)?;
        }
        Ok(root.tree)
    });
    Ok(tree.map_err(StepError::<SystemError>::into_inner)?)
}
