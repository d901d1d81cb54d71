//! Files by address and npm packages, put where their overlay wants them.

use flate2::read::GzDecoder;

use super::system::{SystemError, SystemRoot};
use crate::appliance::{InputKind, Overlay};
use crate::debian::unpack::{Source, unpack};
use crate::digest::{Digest, Hasher};
use crate::lock::{Lock, npm_root};
use crate::store::PackWriter;
use crate::tree::{Node, Tree};

/// Adds what [`put`] takes from the lock to a key.
pub(super) fn identify(overlay: &Overlay, lock: &Lock, key: &mut Hasher) {
    for input in &overlay.inputs {
        let digest = locked(lock, input.kind, &input.name);
        key.field(&input.into).field(digest.map(|digest| digest.to_string()).unwrap_or_default());
    }
}

/// Puts the inputs of an overlay into the tree.
pub(super) fn put(
    root: &mut SystemRoot<'_>,
    overlay: &Overlay,
    lock: &Lock,
) -> Result<(), SystemError> {
    for input in &overlay.inputs {
        let wrong = |why: String| SystemError::Input { name: input.name.clone(), why };
        let bytes = match locked(lock, input.kind, &input.name) {
            Some(digest) => root.store.read_blob(&digest)?,
            None => None,
        };
        let bytes = bytes.ok_or_else(|| wrong("it is not in the store".to_owned()))?;
        match input.kind {
            InputKind::Url => {
                let node = Node::File(root.pack.append(&bytes)?);
                root.put(&input.into, root.meta(0o644), node)?;
            }
            InputKind::Npm => {
                let package = package(&bytes, root.pack).map_err(wrong)?;
                root.put(&input.into, root.meta(0o755), Node::Dir)?;
                for (path, mode, node) in package {
                    let path = format!("{}/{path}", input.into);
                    root.put(&path, root.meta(mode), node)?;
                }
            }
        }
    }
    Ok(())
}

fn locked(lock: &Lock, kind: InputKind, name: &str) -> Option<Digest> {
    match kind {
        InputKind::Url => lock.urls.iter().find(|url| url.name == name).map(|url| url.digest),
        InputKind::Npm => npm_root(lock, name).map(|tarball| tarball.digest),
    }
}

/// The files of an npm tarball, its one top folder (`package`, mostly) taken off.
fn package(bytes: &[u8], pack: &mut PackWriter) -> Result<Vec<(String, u16, Node)>, String> {
    let mut tree = Tree::new();
    unpack(&mut GzDecoder::new(bytes), "", Source::System, &mut tree, pack)
        .map_err(|error| error.to_string())?;
    let mut files = Vec::new();
    for (path, entry) in tree.iter() {
        match (path.as_str().split_once('/'), &entry.node) {
            (Some((_, inside)), Node::File(_)) => {
                let mode = if entry.meta.mode & 0o100 == 0 { 0o644 } else { 0o755 };
                files.push((inside.to_owned(), mode, entry.node.clone()));
            }
            (_, Node::Dir) => {}
            _ => return Err(format!("/{path} is no file in the package's folder")),
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::store::{Store, StoreError};

    fn tarball(entries: &[(&str, tar::EntryType, u32, &str)]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, kind, mode, contents) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(*mode);
            header.set_uid(1000);
            header.set_gid(1000);
            header.set_mtime(499_162_500);
            header.set_size(contents.len() as u64);
            if *kind == tar::EntryType::Symlink {
                header.set_link_name("/etc/passwd").expect("a target");
            }
            tar.append_data(&mut header, path, contents.as_bytes()).expect("appends");
        }
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(&tar.into_inner().expect("a tar")).expect("compresses");
        gz.finish().expect("compresses")
    }

    fn files(bytes: &[u8]) -> Result<Vec<(String, u16)>, String> {
        let dir = tempfile::tempdir().expect("folder");
        let store = Store::open(dir.path()).expect("store");
        let mut result = Err("not run".to_owned());
        let tree = store.tree(Digest::of(b"test"), |pack| {
            result = package(bytes, pack);
            Ok::<_, StoreError>(Tree::new())
        });
        tree.expect("a tree");
        result.map(|files| files.into_iter().map(|(path, mode, _)| (path, mode)).collect())
    }

    #[test]
    fn a_package_comes_without_its_top_folder_and_with_plain_modes() {
        use tar::EntryType::Regular;
        let bytes = tarball(&[
            ("package/package.json", Regular, 0o600, "{}"),
            ("package/bin/run.js", Regular, 0o777, "#!"),
        ]);
        let expected = [("bin/run.js".to_owned(), 0o755), ("package.json".to_owned(), 0o644)];
        assert_eq!(files(&bytes).expect("a package"), expected);
    }

    #[test]
    fn links_and_files_beside_the_folder_are_refused() {
        use tar::EntryType::{Regular, Symlink};
        let link = tarball(&[("package/x", Symlink, 0o777, "")]);
        assert!(files(&link).expect_err("a link").contains("package/x"));
        let beside = tarball(&[("x", Regular, 0o644, "")]);
        assert!(files(&beside).expect_err("beside").contains("/x"));
        assert!(files(b"no tarball").is_err());
    }
}
