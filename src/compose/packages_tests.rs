//! What becomes of damaged, missing, wrong and quarrelling packages.

use std::fs;
use std::sync::Mutex;

use super::*;
use crate::debian::testing::deb::{Raw, Tar, control, deb};
use crate::lock::DebArchive;

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().expect("temporary folder");
    let store = Store::open(dir.path()).expect("store opens");
    (dir, store)
}

/// Version 1.0 of a package with these further fields and files.
fn package(ending: &str, name: &str, fields: &str, data: Tar) -> Vec<u8> {
    let text = format!("Package: {name}\nVersion: 1.0\nArchitecture: all\n{fields}");
    deb(ending, &control(&text), &data.end())
}

/// The lock's line for it.
fn locked(name: &str, bytes: &[u8]) -> Deb {
    Deb {
        name: name.to_owned(),
        version: "1.0".to_owned(),
        arch: "all".to_owned(),
        archive: DebArchive::Debian,
        path: format!("pool/main/{name}.deb"),
        size: bytes.len() as u64,
        digest: Digest::of(bytes),
        groups: [crate::lock::Group::Image].into(),
    }
}

fn unpacked(store: &Store, debs: &[Deb]) -> Result<Tree, ComposeError> {
    unpack(store, debs, 100, &|_| ())
}

/// These packages, each a name, further fields and files, in a store of their own.
fn merged(packages: &[(&str, &str, Tar)]) -> Result<Tree, ComposeError> {
    let (_dir, store) = store();
    let debs = packages.iter().map(|(name, fields, data)| {
        let bytes = package("", name, fields, data.clone());
        store.add_blob(&bytes).expect("add");
        locked(name, &bytes)
    });
    unpacked(&store, &debs.collect::<Vec<_>>())
}

fn contents(tree: &Tree, path: &str) -> Digest {
    tree.file(path).expect(path).0.digest
}

#[test]
fn a_damaged_blob_is_reported_and_removed_and_a_good_one_serves() {
    let text = "contents ".repeat(2000);
    type Damage = fn(&mut Vec<u8>);
    let damages: [(&str, Damage); 6] = [
        ("flipped in the middle", |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle..middle + 8].iter_mut().for_each(|byte| *byte ^= 0xff);
        }),
        // The time in a member's header, which nobody reads.
        ("flipped where only the digest tells", |bytes| bytes[8 + 16] ^= 1),
        ("cut in the middle", |bytes| bytes.truncate(bytes.len() / 2)),
        ("cut by a byte", |bytes| _ = bytes.pop()),
        ("emptied", Vec::clear),
        ("grown", |bytes| bytes.push(b'\n')),
    ];
    // The decompressor notices some, the tar archive others, and some nothing but the digest.
    for ending in ["", ".xz"] {
        let good = package(ending, "a", "", Tar::new().dir("./").file("./x", &text));
        let deb = locked("a", &good);
        for (damage, spoil) in damages {
            let what = format!("{damage}, data.tar{ending}");
            let (_dir, store) = store();
            store.add_blob(&good).expect("add");
            let hex = deb.digest.to_string();
            let blob = store.root().join("blobs").join(&hex[..2]).join(&hex);
            let mut bytes = good.clone();
            spoil(&mut bytes);
            fs::write(&blob, &bytes).expect("damage");

            let error = unpacked(&store, std::slice::from_ref(&deb)).expect_err(&what).to_string();
            for words in ["stored blob ", &hex, "the bad copy was removed"] {
                assert!(error.contains(words), "{what}: {error}");
            }
            assert!(!store.has_blob(&deb.digest), "{what}");

            store.add_blob(&good).expect("fetched again");
            let tree = unpacked(&store, std::slice::from_ref(&deb)).expect(&what);
            assert_eq!(contents(&tree, "x"), Digest::of(text.as_bytes()), "{what}");
        }
    }
}

#[test]
fn a_package_that_is_bad_as_it_was_locked_is_refused_and_stays() {
    let (_dir, store) = store();
    let bytes = package(".xz", "a", "", Tar::new().file("../x", ""));
    store.add_blob(&bytes).expect("add");
    let error = unpacked(&store, &[locked("a", &bytes)]).expect_err("refused").to_string();
    assert!(error.starts_with("importing package a: data.tar: path \"../x\""), "{error}");
    assert!(store.has_blob(&Digest::of(&bytes)), "its bytes are those that were locked");
}

#[test]
fn a_missing_blob_is_named() {
    let (_dir, store) = store();
    let (a, b) = (package("", "a", "", Tar::new()), package("", "b", "", Tar::new()));
    store.add_blob(&a).expect("add");
    let debs = [locked("a", &a), locked("b", &b)];
    let error = unpacked(&store, &debs).expect_err("b is missing").to_string();
    assert!(error.starts_with(&format!("package b: its .deb ({})", Digest::of(&b))), "{error}");
    assert!(error.contains("not in the store"), "{error}");
    store.add_blob(&b).expect("fetched");
    unpacked(&store, &debs).expect("both are there");
}

#[test]
fn a_package_must_be_the_one_that_is_locked() {
    let (_dir, store) = store();
    let bytes = package("", "a", "", Tar::new().file("x", ""));
    store.add_blob(&bytes).expect("add");
    let good = locked("a", &bytes);
    for (wrong, words) in [
        (
            Deb { name: "b".to_owned(), ..good.clone() },
            "package b: its Package is 'a', but 'b' is locked",
        ),
        (
            Deb { version: "1.0-1".to_owned(), ..good.clone() },
            "package a: its Version is '1.0', but '1.0-1' is locked",
        ),
        (
            Deb { arch: "amd64".to_owned(), ..good.clone() },
            "package a: its Architecture is 'all', but 'amd64' is locked",
        ),
    ] {
        let error = unpacked(&store, &[wrong]).expect_err(words).to_string();
        assert_eq!(error, words);
    }
    unpacked(&store, &[good]).expect("the right one");
}

#[test]
fn a_package_needs_a_control_file_that_can_be_read() {
    let data = Tar::new().end();
    let fields = "Package: a\nVersion: 1.0\nArchitecture: all\n";
    let raw = |body: &[u8]| {
        let entry = Raw { name: b"control", body, ..Default::default() };
        Tar::new().raw(&entry).end()
    };
    for (control, words) in [
        (Tar::new().dir("./").end(), "package a: it has no control file"),
        (control(""), "package a: control file, line 1"),
        (control("Version: 1.0\n"), "package a: its Package is '', but 'a' is locked"),
        (control(&format!("{fields}\n{fields}")), "package a: control file, line 4"),
        (control(&format!("{fields}Package: b\n")), "package a: control file, line 4"),
        (raw(b"Package: \xff\n"), "package a: its control file control is not UTF-8"),
    ] {
        let (_dir, store) = store();
        let bytes = deb("", &control, &data);
        store.add_blob(&bytes).expect("add");
        let error = unpacked(&store, &[locked("a", &bytes)]).expect_err(words).to_string();
        assert!(error.starts_with(words), "{error}");
    }
}

#[test]
fn two_packages_with_one_file_are_refused() {
    let file = |name: &str| Tar::new().file(name, "the same");
    let merged_usr = || Tar::new().dir("./usr/bin").symlink("./bin", "usr/bin");
    for (packages, words) in [
        (vec![("a", "", file("x")), ("b", "", file("./x"))], "/x is in both a and b"),
        // Not even the same symbolic link, nor twice in one package.
        (
            vec![("b", "", Tar::new().symlink("x", "y")), ("a", "", Tar::new().symlink("x", "y"))],
            "/x is in both a and b",
        ),
        (
            vec![("a", "", merged_usr().file("bin/x", "").file("usr/bin/x", ""))],
            "data/bin/x: its parent directory is missing or no directory",
        ),
        // One file by two names.
        (
            vec![
                ("base-files", "", merged_usr()),
                ("a", "", file("bin/x")),
                ("b", "", file("usr/bin/x")),
            ],
            "/usr/bin/x is in both a and b",
        ),
        (
            vec![("base-files", "", merged_usr()), ("a", "", file("bin/x").file("usr/bin/x", ""))],
            "/usr/bin/x is in both a and a",
        ),
        (
            vec![("a", "", file("x/y")), ("b", "", file("x"))],
            "/x is in both a directory of another package and b",
        ),
        (vec![("a", "", file("x")), ("b", "", Tar::new().dir("x"))], "/x is in both a and b"),
        (
            vec![("a", "", file("x")), ("b", "Replaces: a (<< 1.0), c\n", file("x"))],
            "neither says that it replaces the other",
        ),
    ] {
        let error = merged(&packages).expect_err(words).to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn the_package_that_replaces_the_other_has_the_file() {
    let data = |text: &str| Tar::new().file("x", text).hard_link("y", "x");
    let only = |text: &str| Tar::new().file("x", text);
    for (a, b, winner) in [
        (("a", "", data("a")), ("b", "Replaces: a (<= 1.0)\n", only("b")), "b"),
        (("a", "Replaces: c, b\n", data("a")), ("b", "", only("b")), "a"),
    ] {
        let tree = merged(&[a, b]).expect(winner);
        assert_eq!(contents(&tree, "x"), Digest::of(winner.as_bytes()));
        assert_eq!(contents(&tree, "y"), Digest::of(b"a"), "the other name keeps its contents");
    }
}

#[test]
fn the_first_package_says_what_a_shared_directory_is() {
    let dir = |mode| {
        Tar::new().raw(&Raw { kind: b'5', name: b"x", mode, mtime: 200, ..Default::default() })
    };
    let tree = merged(&[("a", "", dir(0o755).file("x/a", "")), ("base-files", "", dir(0o1777))]);
    let tree = tree.expect("directories are shared");
    let meta = &tree.get("x").expect("the directory").meta;
    assert_eq!((meta.mode, meta.mtime), (0o1777, 100), "base-files is first; no time is after 100");
    assert!(tree.get("x/a").is_some());
    assert!(tree.get("control").is_none(), "what is not in data.tar is no part of the system");
}

#[test]
fn each_import_is_told_once() {
    let (_dir, store) = store();
    let debs = ["a", "b", "c"].map(|name| {
        let bytes = package("", name, "", Tar::new().file(name, ""));
        store.add_blob(&bytes).expect("add");
        locked(name, &bytes)
    });
    let told = Mutex::new(Vec::new());
    let tell = |event| {
        let Event::Imported { package, done, total } = event else { panic!("{event:?}") };
        assert_eq!(total, 3);
        told.lock().expect("nobody panics").push((package, done));
    };
    unpack(&store, &debs, 100, &tell).expect("good");
    unpack(&store, &debs, 100, &tell).expect("nothing is left to do");
    let (mut names, mut counts): (Vec<_>, Vec<_>) =
        told.into_inner().expect("nobody panics").into_iter().unzip();
    names.sort();
    counts.sort_unstable();
    assert_eq!((names.concat(), counts), ("abc".to_owned(), vec![1, 2, 3]));
}

#[test]
fn a_wrong_lock_is_refused_also_when_the_result_is_stored() {
    let (_dir, store) = store();
    let bytes = package("", "a", "", Tar::new().file("x", ""));
    store.add_blob(&bytes).expect("add");
    let good = locked("a", &bytes);
    unpacked(&store, std::slice::from_ref(&good)).expect("the right one");
    let wrong = Deb { version: "2.0".to_owned(), ..good.clone() };
    let error = unpacked(&store, std::slice::from_ref(&wrong)).expect_err("wrong").to_string();
    assert!(error.contains("its Version is '1.0', but '2.0' is locked"), "{error}");
    let key = |deb: &Deb| key(std::slice::from_ref(deb), &Declarations::default(), 100);
    assert_ne!(key(&good), key(&wrong), "install asks for it by another key too");
}
