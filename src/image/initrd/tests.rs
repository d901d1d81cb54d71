//! The initrd of a small made-up kernel.

use super::*;
use crate::store::{PackWriter, StoreError};
use crate::tree::{Entry, Meta, Node};

const MODULES: &str = "usr/lib/modules/6.1";

fn add(tree: &mut Tree, pack: &mut PackWriter, path: &str, bytes: &[u8]) {
    let path: crate::tree::TreePath = path.parse().expect("path");
    let parent = path.parent().expect("not at the top").parse().expect("path");
    tree.make_dirs(&parent, 0).expect("folders");
    let node = Node::File(pack.append(bytes).expect("appends"));
    tree.insert(path, Entry { meta: Meta::root(0o644, 0), node }).expect("inserts");
}

/// A root with all wanted modules, one with a dependency and a soft dependency.
fn sample() -> (tempfile::TempDir, Store, Tree) {
    let dir = tempfile::tempdir().expect("temporary folder");
    let store = Store::open(dir.path()).expect("store");
    let tree = store.tree(Digest::of(b"root"), |pack| {
        let mut tree = Tree::new();
        let mut dep = "k/jbd2.ko:\nk/crc.ko:\n".to_owned();
        for name in WANTED {
            match name {
                "ext4" => dep.push_str("k/ext4.ko: k/jbd2.ko\n"),
                name => dep.push_str(&format!("k/{name}.ko:\n")),
            }
        }
        for line in dep.lines() {
            let path = line.split(':').next().expect("path");
            let bytes = format!("\x7fELF {}", modules::name_of(path));
            add(&mut tree, pack, &format!("{MODULES}/{path}"), bytes.as_bytes());
        }
        add(&mut tree, pack, &format!("{MODULES}/modules.dep"), dep.as_bytes());
        add(
            &mut tree,
            pack,
            &format!("{MODULES}/modules.softdep"),
            b"softdep ext4 pre: crypto-x\n",
        );
        add(&mut tree, pack, &format!("{MODULES}/modules.alias"), b"alias crypto-x crc\n");
        add(&mut tree, pack, &format!("{MODULES}/modules.builtin"), b"");
        add(&mut tree, pack, "usr/bin/busybox", b"busybox");
        for (_, path) in MDADM {
            add(&mut tree, pack, path, path.as_bytes());
        }
        Ok::<_, StoreError>(tree)
    });
    (dir, store, tree.expect("tree"))
}

fn planned(store: &Store, tree: &Tree, disks: Disks, epoch: i64) -> Result<Plan, ImageError> {
    Plan::new(store, &Sources { root: tree, tools: tree, disks }, "6.1", epoch)
}

#[test]
fn modules_are_plain_and_in_loading_order() {
    let (_dir, store, tree) = sample();
    let plan = planned(&store, &tree, Disks::Single, 0).expect("plan");
    let packed = plan.build(&store).expect("builds");
    let cpio = zstd::decode_all(&packed[..]).expect("zstd");
    let text = String::from_utf8_lossy(&cpio);
    assert!(text.contains("\x7fELF ext4"), "the module is there");
    assert!(text.contains("raid1\ncrc\njbd2\next4\nxfs\n"), "ext4 comes after what it needs");
    assert!(text.contains("#!/bin/sh"), "the script is there");
    assert_eq!(plan.build(&store).expect("builds again"), packed);
}

#[test]
fn only_a_mirror_takes_mdadm() {
    let (_dir, store, tree) = sample();
    for (disks, there) in [(Disks::Single, false), (Disks::Mirror, true)] {
        let packed = planned(&store, &tree, disks, 0).and_then(|plan| plan.build(&store));
        let cpio = zstd::decode_all(&packed.expect("builds")[..]).expect("zstd");
        let text = String::from_utf8_lossy(&cpio);
        for (name, contents) in MDADM {
            assert_eq!(text.contains(&format!("{name}\0")), there, "{name}");
            assert_eq!(text.contains(contents), there, "{contents}");
        }
    }
}

#[test]
fn the_key_changes_with_any_input() {
    let (_dir, store, tree) = sample();
    let key = |tree: &Tree, epoch| planned(&store, tree, Disks::Mirror, epoch).expect("plan").key();
    assert_eq!(key(&tree, 0), key(&tree, 0));
    assert_ne!(key(&tree, 0), key(&tree, 1));
    let mut other = tree.clone();
    let jbd2 = other.get(&format!("{MODULES}/k/jbd2.ko")).expect("jbd2").node.clone();
    other.get_mut("usr/bin/busybox").expect("busybox").node = jbd2.clone();
    assert_ne!(key(&tree, 0), key(&other, 0));
    let mut other = tree.clone();
    other.get_mut("usr/sbin/mdadm").expect("mdadm").node = jbd2;
    assert_ne!(key(&tree, 0), key(&other, 0));
}

#[test]
fn what_is_missing_is_named() {
    let (_dir, store, tree) = sample();
    let plan =
        |tree: &Tree| planned(&store, tree, Disks::Mirror, 0).expect_err("missing").to_string();
    for path in ["k/ahci.ko", "modules.alias"] {
        let mut less = tree.clone();
        less.remove(&format!("{MODULES}/{path}"));
        assert!(plan(&less).contains(path), "{path}");
    }
    for path in ["usr/bin/busybox", "usr/sbin/mdadm", "usr/lib/x86_64-linux-gnu/libcap.so.2"] {
        let mut less = tree.clone();
        less.remove(path);
        assert!(plan(&less).contains(path), "{path}");
    }
}

#[test]
fn a_module_that_is_none_is_refused() {
    let (_dir, store, mut tree) = sample();
    let busybox = tree.get("usr/bin/busybox").expect("busybox").node.clone();
    tree.get_mut(&format!("{MODULES}/k/xfs.ko")).expect("xfs").node = busybox;
    let plan = planned(&store, &tree, Disks::Single, 0).expect("plan");
    let error = plan.build(&store).expect_err("refused").to_string();
    assert!(error.contains("k/xfs.ko: it is no ELF file"), "{error}");
}
