//! A sample tree with every kind of entry goes out and is read back by another implementation.

use std::process::Command;

use ext4_view::{Ext4, FileType};

use super::*;
use crate::digest::Digest;

const EPOCH: i64 = 1_700_000_000;

/// A store, and a tree of every kind of entry with files of sizes around a block's.
fn sample() -> (tempfile::TempDir, Store, Tree) {
    let dir = tempfile::tempdir().expect("temporary folder");
    let store = Store::open(dir.path()).expect("store");
    let tree = store.tree(Digest::of(b"sample"), |pack| {
        let mut tree = Tree::new();
        let mut add = |path: &str, meta, node| {
            tree.insert(path.parse().expect(path), Entry { meta, node }).expect(path);
        };
        let meta = |mode| Meta::root(mode, EPOCH - 1000);
        add("bin", meta(0o777), Node::Symlink("usr/bin".into()));
        add("dev", meta(0o755), Node::Dir);
        add("dev/null", meta(0o666), Node::CharDevice { major: 1, minor: 3 });
        add("dev/sdz", meta(0o660), Node::BlockDevice { major: 8, minor: 400 });
        add("dev/pipe", meta(0o600), Node::Fifo);
        add("a-link", Meta::default(), Node::HardLink("usr/size-4097".parse().expect("path")));
        add("usr", meta(0o2755), Node::Dir);
        for size in [0usize, 1, 4095, 4096, 4097, 1 << 20] {
            let bytes: Vec<u8> = (0..size).map(|at| (at % 251) as u8 + 1).collect();
            let owned = Meta { uid: 104, gid: 70_000, ..meta(0o4640) };
            add(&format!("usr/size-{size}"), owned, Node::File(pack.append(&bytes)?));
        }
        let long = "x/".repeat(100);
        add("usr/long-link", meta(0o777), Node::Symlink(long));
        let mut capable = meta(0o755);
        capable.xattrs.insert("security.capability".into(), vec![1, 0, 0, 2, 0, 4, 0, 0]);
        add("usr/ping", capable, Node::File(pack.append(b"ping")?));
        add("usr/many", meta(0o755), Node::Dir);
        for index in 0..2000 {
            add(&format!("usr/many/grüße-{index}"), meta(0o644), Node::File(pack.append(b"")?));
        }
        Ok::<_, StoreError>(tree)
    });
    (dir, store, tree.expect("tree"))
}

fn image(store: &Store, tree: &Tree) -> Vec<u8> {
    let plan = Plan::new(tree, EPOCH, 64 << 20).expect("plan");
    let mut bytes = Vec::new();
    let take = |at, chunk: Chunk| {
        assert_eq!(at, bytes.len() as u64);
        bytes.extend_from_slice(chunk.bytes());
        Ok(())
    };
    plan.write(store, take).expect("writes");
    assert_eq!(bytes.len() as u64, plan.size());
    bytes
}

#[test]
fn every_entry_reads_back_as_it_went_in() {
    let (_dir, store, tree) = sample();
    let fs = Ext4::load(Box::new(image(&store, &tree))).expect("opens");
    assert_eq!(fs.label().to_str(), Ok(LABEL));
    for (path, entry) in tree.iter() {
        let (meta, node) = match &entry.node {
            Node::HardLink(target) => {
                let target = tree.get(target.as_str()).expect("target");
                (&target.meta, &target.node)
            }
            node => (&entry.meta, node),
        };
        let full = format!("/{path}");
        let read = fs.symlink_metadata(full.as_str()).expect(&full);
        assert_eq!(read.mode() & 0o7777, meta.mode, "{path}");
        assert_eq!((read.uid(), read.gid()), (meta.uid, meta.gid), "{path}");
        let kind = match node {
            Node::Dir => FileType::Directory,
            Node::File(file) => {
                let bytes = fs.read(full.as_str()).expect(&full);
                assert_eq!(Digest::of(&bytes), file.digest, "{path}");
                FileType::Regular
            }
            Node::Symlink(target) => {
                let link = fs.read_link(full.as_str()).expect(&full);
                assert_eq!(link.to_str(), Ok(target.as_str()), "{path}");
                FileType::Symlink
            }
            Node::CharDevice { .. } => FileType::CharacterDevice,
            Node::BlockDevice { .. } => FileType::BlockDevice,
            Node::Fifo | Node::HardLink(_) => FileType::Fifo,
        };
        assert_eq!(read.file_type(), kind, "{path}");
    }
}

#[test]
fn capabilities_links_times_and_devices_are_kept() {
    let (_dir, store, tree) = sample();
    let bytes = image(&store, &tree);
    let fs = mkext4::reader::Fs::open(&bytes[..]).expect("opens");
    let inode = |path: &str| fs.resolve(path).expect(path);
    assert_eq!(inode("/a-link"), inode("/usr/size-4097"));
    let xattrs = fs.xattrs(inode("/usr/ping")).expect("attributes");
    let wanted = (6, b"capability".to_vec(), vec![1, 0, 0, 2, 0, 4, 0, 0]);
    let read: Vec<_> = xattrs.into_iter().map(|x| (x.name_index, x.name, x.value)).collect();
    assert_eq!(read, [wanted], "6 stands for security.");
    let inode_of = |path: &str| fs.inode(inode(path)).expect(path);
    assert_eq!(inode_of("/usr/size-4097").links_count, 2);
    assert_eq!(i64::from(inode_of("/usr/ping").mtime), EPOCH - 1000);
    assert!(fs.verify().expect("verifies").is_empty());
}

#[test]
fn the_same_tree_gives_the_same_bytes_and_another_does_not() {
    let (_dir, store, tree) = sample();
    let first = Digest::of(&image(&store, &tree));
    assert_eq!(Digest::of(&image(&store, &tree)), first);
    let mut other = tree.clone();
    other.get_mut("usr/ping").expect("ping").meta.mtime += 1;
    assert_ne!(Digest::of(&image(&store, &other)), first);
}

#[test]
fn the_bytes_are_those_of_the_pinned_writer() {
    // A new version of mkext4 may lay things out anew: then raise `image::VERSION`, and change this.
    let (_dir, store, tree) = sample();
    let digest = Digest::of(&image(&store, &tree)).short();
    assert_eq!(digest, "bdd1c219259432cb");
}

#[test]
fn e2fsck_finds_nothing_to_mend() {
    let (_dir, store, tree) = sample();
    let file = tempfile::NamedTempFile::new().expect("temporary file");
    std::fs::write(file.path(), image(&store, &tree)).expect("writes");
    // Where the host has no e2fsck, reading back has to do.
    let e2fsck = ["/usr/sbin/e2fsck", "/sbin/e2fsck"]
        .into_iter()
        .find(|path| std::path::Path::new(path).exists());
    if let Some(e2fsck) = e2fsck {
        let check = Command::new(e2fsck).arg("-fn").arg(file.path()).output().expect("runs");
        assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
    }
}

#[test]
fn a_tree_larger_than_its_slot_is_refused_with_both_sizes() {
    let (_dir, store, tree) = sample();
    _ = store;
    let error = Plan::new(&tree, EPOCH, 8 << 20).expect_err("too large").to_string();
    assert!(error.contains("needs 16 MiB") && error.contains("has 8 MiB"), "{error}");
}
