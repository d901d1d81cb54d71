use std::convert::Infallible;

use super::*;
use crate::store::StepError;
use crate::tree::{Entry, ExportError, Meta};

struct World {
    _dir: tempfile::TempDir,
    store: Store,
    blob: Digest,
    key: Digest,
    folder: Digest,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("temporary folder");
        let store = Store::open(dir.path()).expect("store");
        let blob = store.add_blob(b"blob").expect("blob");
        let [key, folder, text] = ["key", "folder", "text"].map(|name| Digest::of(name.as_bytes()));
        store.document(text, || Ok::<_, Infallible>("no tree".to_owned())).expect("document");
        let world = Self { _dir: dir, store, blob, key, folder };
        world.make();
        world
    }

    /// What is not there, or what was there.
    fn make(&self) {
        let tree = self.store.tree(self.key, |pack| {
            let mut tree = Tree::new();
            for (name, mode) in [("a", 0o644), ("b", 0o755)] {
                let node = Node::File(pack.append(name.repeat(9).as_bytes())?);
                let entry = Entry { meta: Meta::root(mode, 0), node };
                tree.insert(name.parse().expect("path"), entry).expect("insert");
            }
            let links = [
                ("c", Node::HardLink("b".parse().expect("path"))),
                ("d", Node::Symlink("a".into())),
            ];
            for (name, node) in links {
                let entry = Entry { meta: Meta::root(0o755, 0), node };
                tree.insert(name.parse().expect("path"), entry).expect("insert");
            }
            Ok::<_, StoreError>(tree)
        });
        let tree = tree.expect("tree");
        let made = self.store.folder(
            self.folder,
            &tree,
            |dir| tree.export(&self.store, dir),
            |dir| tree.is_exported(dir),
        );
        made.map_err(|error: StepError<ExportError>| error).expect("folder");
    }

    fn verify(&self) -> Verified {
        self.store.verify(&|_, _| ()).expect("verifies")
    }

    fn path(&self, kind: Kind, digest: &Digest, below: &str) -> PathBuf {
        self.store.sharded(kind.name(), digest).join(below)
    }
}

/// Another byte, same length and time.
fn rot(path: &Path) {
    let time = fs::metadata(path).and_then(|meta| meta.modified()).expect("a file");
    let mut bytes = fs::read(path).expect("read");
    *bytes.last_mut().expect("not empty") ^= 1;
    fs::write(path, bytes).expect("write");
    File::open(path).and_then(|file| file.set_modified(time)).expect("time");
}

#[test]
fn a_sound_store_passes() {
    let world = World::new();
    let report = world.verify();
    assert_eq!(report.damaged, []);
    let counts = [(Kind::Blob, 1), (Kind::Result, 2), (Kind::Folder, 1)];
    assert_eq!(report.looked_at, BTreeMap::from(counts));
    assert_eq!(report.unknown, 0);
}

#[test]
fn each_damage_is_found_named_and_set_aside_and_made_anew() {
    type Harm = fn(&World) -> Item;
    let harms: [(&str, Harm); 8] = [
        ("its SHA-256 is", |world| {
            let path = world.store.sharded("blobs", &world.blob);
            rot(&path);
            Item { kind: Kind::Blob, digest: world.blob }
        }),
        ("checksum of its document", |world| {
            rot(&world.path(Kind::Result, &world.key, "doc"));
            Item { kind: Kind::Result, digest: world.key }
        }),
        ("of its contents at 9 are not", |world| {
            rot(&world.path(Kind::Result, &world.key, "pack"));
            Item { kind: Kind::Result, digest: world.key }
        }),
        ("cut short", |world| {
            let path = world.path(Kind::Result, &world.key, "pack");
            File::options().write(true).open(path).and_then(|file| file.set_len(10)).expect("cut");
            Item { kind: Kind::Result, digest: world.key }
        }),
        ("a is not what was put there", |world| {
            rot(&world.path(Kind::Folder, &world.folder, "a"));
            Item { kind: Kind::Folder, digest: world.folder }
        }),
        ("d is not there", |world| {
            fs::remove_file(world.path(Kind::Folder, &world.folder, "d")).expect("remove");
            Item { kind: Kind::Folder, digest: world.folder }
        }),
        ("e was not put there", |world| {
            fs::write(world.path(Kind::Folder, &world.folder, "e"), "").expect("write");
            Item { kind: Kind::Folder, digest: world.folder }
        }),
        ("checksum of its record", |world| {
            rot(&record(&world.store.sharded("folders", &world.folder)));
            Item { kind: Kind::Folder, digest: world.folder }
        }),
    ];
    for (why, harm) in harms {
        let world = World::new();
        let item = harm(&world);
        let report = world.verify();
        assert_eq!(report.damaged.len(), 1, "{why}: {report:?}");
        let found = &report.damaged[0];
        assert_eq!(found.item, item, "{why}");
        assert!(found.why.contains(why), "{why}: {}", found.why);
        assert!(
            found.aside.exists() && found.aside.starts_with(world.store.root().join("corrupt"))
        );
        assert_eq!(world.verify().damaged, [], "{why}");
        // A new process makes what is missing.
        let world = World { store: Store::open(world.store.root()).expect("store"), ..world };
        assert_eq!(world.store.has_blob(&world.blob), item.kind != Kind::Blob);
        world.make();
        world.store.add_blob(b"blob").expect("fetched");
        let report = world.verify();
        assert_eq!((report.damaged.len(), report.unknown), (0, 0), "{why}");
        assert_eq!(report.looked_at.values().sum::<usize>(), 4, "{why}");
    }
}

#[test]
fn a_folder_without_a_record_is_told_of() {
    let world = World::new();
    fs::remove_file(record(&world.store.sharded("folders", &world.folder))).expect("remove");
    let report = world.verify();
    assert_eq!((report.unknown, report.damaged.len()), (1, 0));
}
