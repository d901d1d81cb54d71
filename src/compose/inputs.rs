//! Files and archives by address and npm packages, put where their overlay wants them.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::GzDecoder;

use super::system::{SystemError, SystemRoot};
use crate::appliance::{Input, InputKind, Overlay};
use crate::debian::archive::{self, Limited, OnlyZeros};
use crate::debian::unpack::{Source, unpack};
use crate::digest::{Digest, Hasher};
use crate::lock::{Lock, npm_root};
use crate::store::{PackWriter, StepError, Store};
use crate::tree::{Entry, Meta, Node, Tree, TreePath};

/// No package or archive unpacks to more.
const MAX_BYTES: u64 = 1 << 30;

/// The inputs of an overlay, each with its files under their paths on the box.
pub(super) fn all<'a>(
    store: &Store,
    overlay: &'a Overlay,
    lock: &Lock,
) -> Result<Vec<(&'a Input, Tree)>, SystemError> {
    let one = |input| Ok((input, unpacked(store, input, lock)?));
    overlay.inputs.iter().map(one).collect()
}

/// The files of one, kept, or unpacked now.
pub(super) fn unpacked(store: &Store, input: &Input, lock: &Lock) -> Result<Tree, SystemError> {
    let wrong = |why: String| SystemError::Input { name: input.name.clone(), why };
    let absent = || wrong("it is not in the store".to_owned());
    let (digest, size) = locked(lock, input.kind, &input.name).ok_or_else(absent)?;
    let mut key = Hasher::step("input");
    key.field(digest.as_bytes()).field(format!("{:?}", input.kind)).field(&input.into);
    key.field(lock.epoch.to_le_bytes());
    let made = store.tree(key.finish(), |pack| {
        let mut blob = store.open_blob(&digest)?.ok_or_else(absent)?;
        let mut tree = Tree::new();
        let mut put = |path: &str, mode, node| {
            let path: TreePath = path.trim_start_matches('/').parse()?;
            if let Some(parent) = path.parent() {
                tree.make_dirs(&parent.parse()?, lock.epoch)?;
            }
            let meta = Meta::root(mode, lock.epoch);
            Ok::<_, SystemError>(tree.replace(path, Entry { meta, node })?)
        };
        match input.kind {
            InputKind::Url => {
                let file =
                    pack.append_from(&mut blob)?.map_err(|error| wrong(error.to_string()))?;
                put(&input.into, 0o644, Node::File(file))?;
            }
            InputKind::Npm | InputKind::Archive => {
                put(&input.into, 0o755, Node::Dir)?;
                let files = package(&mut blob, size, pack).or_else(|why| {
                    // A damaged copy shows as a damaged archive first; this removes it and says so.
                    store.read_blob(&digest)?;
                    Err(wrong(why))
                })?;
                for (path, mode, node) in files {
                    put(&format!("{}/{path}", input.into), mode, node)?;
                }
            }
        }
        Ok(tree)
    });
    made.map_err(StepError::<SystemError>::into_inner)
}

/// Puts the inputs of an overlay into the tree; of folders above theirs only those that are missing.
pub(super) fn put(root: &mut SystemRoot<'_>, inputs: &[(&Input, Tree)]) -> Result<(), SystemError> {
    for (input, tree) in inputs {
        let into = input.into.trim_start_matches('/');
        for (path, entry) in tree.iter() {
            if entry.node != Node::Dir || path.as_str() == into {
                root.put(path.as_str(), entry.meta.clone(), entry.node.clone())?;
            }
        }
    }
    Ok(())
}

/// Digest and bytes.
fn locked(lock: &Lock, kind: InputKind, name: &str) -> Option<(Digest, u64)> {
    match kind {
        InputKind::Url | InputKind::Archive => {
            lock.urls.iter().find(|url| url.name == name).map(|url| (url.digest, url.size))
        }
        InputKind::Npm => npm_root(lock, name).map(|tarball| (tarball.digest, tarball.size)),
    }
}

/// The files of an npm tarball or another .tar.gz of so many bytes, its one top folder (`package`, mostly) taken off.
pub(super) fn package(
    blob: impl Read,
    size: u64,
    pack: &mut PackWriter,
) -> Result<Vec<(String, u16, Node)>, String> {
    within(archive::limit(size).min(MAX_BYTES), blob, pack)
}

fn within(
    limit: u64,
    blob: impl Read,
    pack: &mut PackWriter,
) -> Result<Vec<(String, u16, Node)>, String> {
    let failed = |error: io::Error| error.to_string();
    let mut tree = Tree::new();
    let mut packed = BufReader::with_capacity(1 << 16, blob);
    let mut reader = Limited::new(GzDecoder::new(&mut packed), limit);
    unpack(&mut reader, "", Source::Files, &mut tree, pack).map_err(|error| error.to_string())?;
    io::copy(&mut reader, &mut OnlyZeros).map_err(failed)?;
    drop(reader);
    if !packed.fill_buf().map_err(failed)?.is_empty() {
        return Err("something follows its compressed contents".to_owned());
    }
    let mut files = Vec::new();
    let mut tops = tree.iter().filter(|(path, _)| path.parent().is_none());
    if let Some((second, _)) = tops.nth(1) {
        return Err(format!("it has /{second} beside its first folder, and may have one only"));
    }
    for (path, entry) in tree.iter() {
        match (path.as_str().split_once('/'), &entry.node) {
            (Some((_, inside)), Node::File(_)) => {
                let mode = if entry.meta.mode & 0o100 == 0 { 0o644 } else { 0o755 };
                files.push((inside.to_owned(), mode, entry.node.clone()));
            }
            (_, Node::Dir) => {}
            _ => return Err(format!("/{path} is no file in the archive's one folder")),
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::store::StoreError;

    fn tarball(entries: &[(&str, tar::EntryType, u32, &str)]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, kind, mode, contents) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(*mode);
            // npm leaves owners blank.
            header.as_old_mut().uid = [0; 8];
            header.as_old_mut().gid = [0; 8];
            header.set_mtime(499_162_500);
            header.set_size(contents.len() as u64);
            if *kind == tar::EntryType::Symlink {
                header.set_link_name("/etc/passwd").expect("a target");
            }
            // Names that tar's own functions refuse.
            header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
            header.set_cksum();
            tar.append(&header, contents.as_bytes()).expect("appends");
        }
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(&tar.into_inner().expect("a tar")).expect("compresses");
        gz.finish().expect("compresses")
    }

    fn files(bytes: &[u8]) -> Result<Vec<(String, u16)>, String> {
        files_within(MAX_BYTES, bytes)
    }

    fn files_within(limit: u64, bytes: &[u8]) -> Result<Vec<(String, u16)>, String> {
        let dir = tempfile::tempdir().expect("folder");
        let store = Store::open(dir.path()).expect("store");
        let mut result = Err("not run".to_owned());
        let tree = store.tree(Digest::of(b"test"), |pack| {
            result = within(limit, bytes, pack);
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

    #[test]
    fn archives_that_want_out_or_have_no_one_folder_are_refused() {
        use tar::EntryType::{Char, Regular};
        let one = |path| {
            tarball(&[("element-v1/index.html", Regular, 0o644, ""), (path, Regular, 0o644, "")])
        };
        assert_eq!(files(&one("element-v1/x")).expect("one folder").len(), 2);
        for (path, word) in [
            ("../x", "../x"),
            ("element-v1/../../x", ".."),
            ("element-v2/x", "element-v2"),
            ("element-v1/index.html", "index.html"),
        ] {
            let error = files(&one(path)).expect_err(path);
            assert!(error.contains(word), "{path}: {error}");
        }
        assert!(files(&tarball(&[("a/null", Char, 0o666, "")])).is_err());
    }

    #[test]
    fn folders_that_no_entry_names_are_bounded() {
        let mut tar = tar::Builder::new(Vec::new());
        let deep = "a/".repeat(2000);
        for number in 0..20 {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o644);
            header.set_size(0);
            tar.append_data(&mut header, format!("package/{number}/{deep}x"), &[][..])
                .expect("appends");
        }
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(&tar.into_inner().expect("a tar")).expect("compresses");
        let bytes = gz.finish().expect("compresses");
        let error = files(&bytes).expect_err("it asks for 40,000 folders");
        assert!(error.contains("the archive has too many folders"), "{error}");
    }

    #[test]
    fn what_git_says_of_the_whole_archive_is_no_file() {
        use tar::EntryType::{Regular, XGlobalHeader};
        let bytes = tarball(&[
            (
                "pax_global_header",
                XGlobalHeader,
                0o666,
                "52 comment=0123456789012345678901234567890123456789\n",
            ),
            ("element-v1/index.html", Regular, 0o644, ""),
        ]);
        assert_eq!(files(&bytes).expect("an archive"), [("index.html".to_owned(), 0o644)]);
        let bytes = tarball(&[("g", XGlobalHeader, 0o666, "17 path=../passwd\n")]);
        let error = files(&bytes).expect_err("it renames");
        assert!(error.contains("more than a comment"), "{error}");
    }

    #[test]
    fn an_archive_that_unpacks_to_too_much_is_refused() {
        let zeros = "0".repeat(1 << 20);
        let bytes = tarball(&[("package/zeros", tar::EntryType::Regular, 0o644, &zeros)]);
        assert!(bytes.len() < 1 << 14, "it is small");
        assert_eq!(files_within(2 << 20, &bytes).expect("it fits").len(), 1);
        let error = files_within(1 << 20, &bytes).expect_err("headers come on top");
        assert!(error.contains("it unpacks to over"), "{error}");
    }
}
