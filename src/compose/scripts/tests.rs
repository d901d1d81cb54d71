//! What is taken from a folder, and what becomes of it in the tree.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::time::{Duration, SystemTime};

use super::work::{OWN, Run, Stamp};
use super::*;
use crate::digest::Digest;
use crate::store::Store;

const EPOCH: i64 = 1_000_000_000;

fn path(text: &str) -> TreePath {
    text.parse().expect(text)
}

/// A store, and a tree of some files in it.
fn made(dir: &std::path::Path) -> (Store, Tree) {
    let store = Store::open(&dir.join("store")).expect("store");
    let tree = store.tree::<StoreError>(Digest::of(b"t"), |pack| {
        let mut tree = Tree::new();
        let file = pack.append(b"old\n")?;
        let mut add = |name: &str, mode, node| {
            let mut meta = Meta::root(mode, 5);
            meta.gid = 42;
            tree.insert(path(name), Entry { meta, node }).expect(name);
        };
        add("d", 0o2755, Node::Dir);
        for name in ["d/changed", "d/gone", "d/kept", "d/owned", "d/touched", "d/x"] {
            add(name, 0o640, Node::File(file));
        }
        for name in ["d/y", "d/z"] {
            add(name, 0o640, Node::HardLink(path("d/x")));
        }
        add("l", 0o777, Node::Symlink("d".to_owned()));
        add("dev", 0o755, Node::Dir);
        Ok(tree)
    });
    (store, tree.expect("made"))
}

/// The tree in a folder, as before any script.
fn run<'a>(store: &'a Store, tree: &'a Tree) -> Run<'a> {
    let run = Run::prepared(store, tree, EPOCH).expect("prepared");
    tree.export(store, &run.root()).expect("exported");
    fs::create_dir(run.root().join(OWN)).expect("folder");
    let mut run = run;
    run.before = tree
        .iter()
        .map(|(path, _)| {
            let meta = fs::symlink_metadata(run.root().join(path.as_str())).expect("it is there");
            (path.as_str().into(), Stamp::of(&meta))
        })
        .collect();
    run
}

/// Says who owns what: the tree's owners, and those given here.
fn owned(run: &Run<'_>, owners: &[(&str, u32, u32, u32)]) {
    let mut text = String::new();
    let mut line = |path: &str, mode: u32, uid, gid| {
        let Ok(meta) = fs::symlink_metadata(run.root().join(path)) else { return };
        let (device, inode) = (meta.dev(), meta.ino());
        text.push_str(&format!(
            "dev={device:x},ino={inode},mode={mode:o},uid={uid},gid={gid},nlink=1,rdev=0\n"
        ));
    };
    for (path, entry) in run.tree.iter().filter(|(_, entry)| !is_link(entry)) {
        let kind = match entry.node {
            Node::Dir => 0o040_000,
            Node::Symlink(_) => 0o120_000,
            _ => 0o100_000,
        };
        line(path.as_str(), kind | u32::from(entry.meta.mode), 0, entry.meta.gid);
    }
    // What comes later counts.
    owners.iter().for_each(|(path, mode, uid, gid)| line(path, *mode, *uid, *gid));
    fs::write(run.root().join(OWN).join("owners.new"), text).expect("written");
}

fn is_link(entry: &Entry) -> bool {
    matches!(entry.node, Node::HardLink(_))
}

fn delta(run: &Run<'_>) -> Delta {
    let delta = run.delta(&mut |Contents { mut file, digest, size, .. }| {
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).expect("it is read from its beginning");
        assert_eq!((Digest::of(&bytes), bytes.len() as u64), (digest, size));
        Ok(FileRef { digest, size, at: Location { pack: digest, offset: 0 } })
    });
    delta.unwrap_or_else(|error| panic!("{error}"))
}

fn names(delta: &Delta) -> Vec<&str> {
    delta.keys().map(TreePath::as_str).collect()
}

#[test]
fn what_scripts_left_alone_is_in_no_delta() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let (store, tree) = made(dir.path());
    let run = run(&store, &tree);
    owned(&run, &[]);
    // Written anew, with the same contents; a folder's time; what is the kernel's.
    fs::write(run.root().join("d/touched"), "old\n").expect("written");
    fs::write(run.root().join("dev/null"), "x").expect("written");
    assert_eq!(names(&delta(&run)), <[&str; 0]>::default());
}

#[test]
fn what_scripts_changed_is_taken_with_its_owner_mode_and_time() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let (store, tree) = made(dir.path());
    let run = run(&store, &tree);
    let root = run.root();
    fs::write(root.join("d/changed"), "new\n").expect("written");
    fs::remove_file(root.join("d/gone")).expect("removed");
    fs::remove_file(root.join("l")).expect("removed");
    symlink("nowhere", root.join("l")).expect("linked");
    for name in ["a", "fifo", "now", "then"] {
        fs::write(root.join(name), name).expect("written");
    }
    fs::hard_link(root.join("a"), root.join("b")).expect("linked");
    fs::set_permissions(root.join("now"), fs::Permissions::from_mode(0o751)).expect("mode");
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(77);
    fs::File::open(root.join("then")).and_then(|file| file.set_modified(then)).expect("time");
    let _socket = UnixListener::bind(root.join("socket")).expect("socket");
    owned(
        &run,
        &[
            ("d/owned", 0o104_755, 7, 8),
            ("fifo", 0o010_600, 0, 0),
            // Of a folder that had this inode before.
            ("then", 0o040_700, 9, 9),
        ],
    );
    let delta = delta(&run);
    assert_eq!(
        names(&delta),
        ["a", "b", "d/changed", "d/gone", "d/owned", "fifo", "l", "now", "then"]
    );
    let entry = |name: &str| delta[name].clone().expect(name);
    assert_eq!(delta["d/gone"], None);
    assert_eq!(entry("b").node, Node::HardLink(path("a")));
    assert_eq!(entry("fifo").node, Node::Fifo);
    assert_eq!(entry("l").node, Node::Symlink("nowhere".to_owned()));
    let owned = entry("d/owned");
    assert_eq!((owned.meta.mode, owned.meta.uid, owned.meta.gid), (0o4755, 7, 8));
    assert_eq!(owned.meta.mtime, 5, "chown changes no time");
    let (now, then) = (entry("now"), entry("then"));
    assert_eq!((now.meta.mode, now.meta.uid, now.meta.mtime), (0o751, 0, EPOCH));
    assert_eq!((then.meta.uid, then.meta.mtime), (0, 77), "a time that was set stays");
    assert_eq!(entry("d/changed").meta.gid, 42, "an old file written anew keeps its owner");
}

#[test]
fn files_with_several_names_stay_whole() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let (store, tree) = made(dir.path());
    for gone in ["d/x", "d/y"] {
        let run = run(&store, &tree);
        owned(&run, &[]);
        fs::remove_file(run.root().join(gone)).expect("removed");
        let mut left = tree.clone();
        apply(&mut left, delta(&run), EPOCH).expect("applied");
        left.check_links().expect("no link is broken");
        assert!(left.get(gone).is_none(), "{gone}");
        let of = |name| left.file(name).map(|(file, meta)| (file.digest, meta.clone()));
        assert_eq!(
            of("d/z").expect("z"),
            of(if gone == "d/x" { "d/y" } else { "d/x" }).expect("it")
        );
        assert_eq!(of("d/z").expect("z").0, Digest::of(b"old\n"), "{gone}");
    }
}

#[test]
fn a_folder_may_become_a_file_and_a_file_a_folder() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let (store, tree) = made(dir.path());
    let run = run(&store, &tree);
    let root = run.root();
    fs::remove_dir_all(root.join("d")).expect("removed");
    symlink("e", root.join("d")).expect("linked");
    fs::remove_file(root.join("l")).expect("removed");
    fs::create_dir_all(root.join("l/deep")).expect("folders");
    owned(&run, &[]);
    let mut changed = tree.clone();
    apply(&mut changed, delta(&run), EPOCH).expect("applied");
    let nodes: Vec<_> = changed.iter().map(|(path, entry)| (path.as_str(), &entry.node)).collect();
    let link = Node::Symlink("e".to_owned());
    let wanted = [("d", &link), ("dev", &Node::Dir), ("l", &Node::Dir), ("l/deep", &Node::Dir)];
    assert_eq!(nodes, wanted);
}

#[test]
fn runs_that_differ_are_told_apart_by_path() {
    let entry = |mode, mtime, text: &[u8]| {
        let digest = Digest::of(text);
        let at = Location { pack: digest, offset: 0 };
        let node = Node::File(FileRef { digest, size: 1, at });
        Some(Entry { meta: Meta::root(mode, mtime), node })
    };
    let a = Delta::from([
        (path("contents"), entry(0o644, 0, b"a")),
        (path("gone"), None),
        (path("mode"), entry(0o644, 0, b"a")),
        (path("only"), None),
        (path("same"), entry(0o644, 0, b"a")),
    ]);
    let b = Delta::from([
        (path("contents"), entry(0o644, 0, b"b")),
        (path("gone"), None),
        (path("mode"), entry(0o600, 0, b"a")),
        (path("same"), entry(0o644, 0, b"a")),
    ]);
    let wanted = [
        "/contents: contents",
        "/mode: mode 0644 or mode 0600",
        "/only: made in one of the runs only",
    ];
    assert_eq!(differing(&a, &b), wanted);
}

#[test]
fn no_link_that_a_script_leaves_leads_to_this_machine() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let (store, tree) = made(dir.path());
    let run = run(&store, &tree);
    symlink("/etc", run.root().join("etc")).expect("linked");
    let error = run.text("etc/passwd").expect_err("that is the host's").to_string();
    assert!(error.starts_with("scripts of packages left /etc/passwd: "), "{error}");
    assert_eq!(run.text("etc2/passwd").expect("there is none"), "");
}
