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
/// called `boot/vmlinuz` there. A Python module's bytecode goes with it: it is used without a look at its source.
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
            if let Some(bytecode) = bytecode(source.path()) {
                root.tree.remove_where(|path, _| path.starts_with(&bytecode));
            }
            let to = kernel.as_deref().filter(|_| source.path() == "boot/vmlinuz");
            source.put(&mut root, to)?;
        }
        Ok(root.tree)
    });
    Ok(tree.map_err(StepError::<SystemError>::into_inner)?)
}

/// How the path of a Python module's bytecode begins; a version follows.
fn bytecode(path: &str) -> Option<String> {
    let (folder, name) = path.strip_suffix(".py")?.rsplit_once('/')?;
    Some(format!("{folder}/__pycache__/{name}.cpython-"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Entry, Meta, Node};

    #[test]
    fn a_module_of_its_own_is_not_shadowed_by_the_old_one() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let store = Store::open(&dir.path().join("store")).expect("a store");
        let mut tree = Tree::new();
        let (old, other) =
            ("opt/a/__pycache__/b.cpython-313.pyc", "opt/a/__pycache__/bc.cpython-313.pyc");
        tree.make_dirs(&"opt/a/__pycache__".parse().expect("path"), 0).expect("folders");
        for path in [old, other, "opt/a/b.py"] {
            let entry = Entry { meta: Meta::root(0o644, 0), node: Node::Fifo };
            tree.insert(path.parse().expect("path"), entry).expect(path);
        }
        let files = dir.path().join("files");
        std::fs::create_dir_all(files.join("opt/a")).expect("folder");
        std::fs::write(files.join("opt/a/b.py"), "new = True\n").expect("a module");
        let made = with_files(&store, &tree, &files, 0).expect("a variant");
        assert!(made.get(old).is_none() && made.get(other).is_some());
        assert!(matches!(made.get("opt/a/b.py"), Some(Entry { node: Node::File(_), .. })));
    }
}
