use super::*;
use crate::store::StepError;
use crate::tree::{Entry, ExportError, Meta, Node, Tree};

/// A store and a project folder.
struct World {
    dir: tempfile::TempDir,
    store: Store,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("temporary folder");
        let store = Store::open(&dir.path().join("store")).expect("store");
        let world = Self { dir, store };
        fs::create_dir(world.dir.path().join("project")).expect("folder");
        fs::write(world.appliance(), "").expect("appliance");
        world
    }

    fn appliance(&self) -> PathBuf {
        self.dir.path().join("project/appliance.toml")
    }

    /// Another process.
    fn open(&self) -> Store {
        Store::open(self.store.root()).expect("store")
    }

    fn collect_as(&self, change: impl Fn(&mut Needs<'_>)) -> Collected {
        let files = |appliance: &Path| Ok(vec![appliance.with_extension("lock")]);
        let mut needs =
            Needs { files: &files, project: None, forget_missing: false, dry_run: false };
        change(&mut needs);
        self.store.collect(&needs).expect("collects")
    }

    fn collect(&self) -> Collected {
        self.collect_as(|_| ())
    }

    /// As if the processes that died had done so the day before yesterday.
    fn age(&self) {
        let before = SystemTime::now() - 2 * DAY;
        for path in list(&self.store.root.join("using")).expect("list") {
            if !is_held(&path) {
                File::open(path).and_then(|file| file.set_modified(before)).expect("a file");
            }
        }
    }

    fn there(&self) -> Vec<Item> {
        self.store.items().expect("items").into_iter().collect()
    }
}

fn one_file(store: &Store, key: Digest) -> Tree {
    let make = |pack: &mut crate::store::PackWriter| {
        let mut tree = Tree::new();
        let node = Node::File(pack.append(key.to_string().as_bytes())?);
        let entry = Entry { meta: Meta::root(0o644, 0), node };
        tree.insert("a".parse().expect("path"), entry).expect("insert");
        Ok::<_, StoreError>(tree)
    };
    store.tree(key, make).expect("tree")
}

#[test]
fn what_a_lock_names_stays_and_the_rest_goes() {
    let world = World::new();
    let store = world.open();
    let (locked, loose) =
        (store.add_blob(b"locked").expect("a"), store.add_blob(b"loose").expect("b"));
    drop(store);
    fs::write(world.appliance().with_extension("lock"), format!("sha256 = \"{locked}\"\n"))
        .expect("lock");
    world.age();
    // Nobody knows the project: only the caller.
    let appliance = world.appliance();
    let told = world.collect_as(|needs| {
        needs.project = Some(appliance.clone());
        needs.dry_run = true;
    });
    assert_eq!(told.freed[&Kind::Blob].count, 1);
    assert!(told.before.count == 2 && told.freed().bytes >= 512, "{told:?}");
    assert_eq!(world.there().len(), 2, "it was only told");
    let done = world.collect_as(|needs| needs.project = Some(appliance.clone()));
    assert_eq!(done, told);
    assert_eq!(world.there(), [Item { kind: Kind::Blob, digest: locked }]);
    assert!(!world.open().has_blob(&loose));
}

#[test]
fn what_a_build_was_made_of_stays() {
    let world = World::new();
    let [base, top, old, folder] =
        ["base", "top", "old", "folder"].map(|name| Digest::of(name.as_bytes()));
    let store = world.open();
    let tree = one_file(&store, base);
    one_file(&store, old);
    drop(store);
    // Another process makes a tree of the first one's files, and finds nothing else.
    let store = world.open();
    store.tree::<StoreError>(top, |_| Ok(tree.clone())).expect("tree");
    let made =
        store.folder(folder, &tree, |dir| tree.export(&store, dir), |dir| tree.is_exported(dir));
    let made = made.map_err(|error: StepError<ExportError>| error).expect("folder");
    store.keep_uses(&world.appliance(), "build", true).expect("keeps");
    drop(store);
    world.age();
    let done = world.collect();
    assert_eq!(done.freed[&Kind::Result].count, 1, "{done:?}");
    assert!(!world.store.sharded("results", &old).exists());
    let store = world.open();
    let found = store.tree::<StoreError>(top, |_| panic!("made again")).expect("found");
    assert_eq!(found, tree);
    assert!(made.join("a").is_file() && record(&made).is_file());
    drop(store);
    // The next build is of something else.
    let store = world.open();
    one_file(&store, old);
    store.keep_uses(&world.appliance(), "build", true).expect("keeps");
    drop(store);
    world.age();
    world.collect();
    assert_eq!(world.there(), [Item { kind: Kind::Result, digest: old }]);
    assert!(!made.exists() && !record(&made).exists());
    assert_eq!(fs::read_dir(world.store.root.join("tmp")).expect("tmp").count(), 0);
}

#[test]
fn what_a_process_at_work_relies_on_stays() {
    let world = World::new();
    let store = world.open();
    let key = Digest::of(b"key");
    one_file(&store, key);
    world.age();
    assert_eq!(world.collect().freed(), Amount::default());
    drop(store);
    // It died a moment ago.
    assert_eq!(world.collect().freed(), Amount::default());
    world.age();
    assert_eq!(world.collect().freed[&Kind::Result].count, 1);
    assert_eq!(fs::read_dir(world.store.root.join("using")).expect("using").count(), 0);
    let locks = fs::read_dir(world.store.root.join("locks")).expect("locks");
    assert_eq!(locks.flatten().map(|it| it.file_name()).collect::<Vec<_>>(), [GATE]);
}

/// Builders and collectors, all at once: no builder ever misses what it found or made.
#[test]
fn builds_and_collections_do_not_disturb_each_other() {
    let world = World::new();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                world.age();
                world.collect();
            }
        });
        let builders: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..15 {
                        let store = world.open();
                        for number in 0..6_u8 {
                            let tree = one_file(&store, Digest::of(&[number]));
                            let again = one_file(&store, Digest::of(&[number]));
                            assert_eq!(tree, again);
                            let (file, _) = tree.file("a").expect("a");
                            store.read(file).expect("its contents are there");
                        }
                    }
                })
            })
            .collect();
        let ended: Vec<_> = builders.into_iter().map(|builder| builder.join()).collect();
        stop.store(true, std::sync::atomic::Ordering::SeqCst);
        assert!(ended.iter().all(Result::is_ok));
    });
}

#[test]
fn a_project_that_is_gone_is_told_of_and_forgotten_later() {
    let world = World::new();
    let store = world.open();
    store.add_blob(b"its own").expect("add");
    store.keep_uses(&world.appliance(), "build", true).expect("keeps");
    drop(store);
    world.age();
    let appliance = world.appliance();
    assert_eq!(world.collect().projects, std::slice::from_ref(&appliance));
    fs::remove_file(&appliance).expect("remove");
    for _ in 0..2 {
        let done = world.collect();
        assert_eq!((done.missing, done.freed.len()), (vec![appliance.clone()], 0));
    }
    let root = world.store.projects().expect("projects")[0].root.clone();
    let long_ago = SystemTime::now() - 15 * DAY;
    File::open(root.join(MISSING)).and_then(|note| note.set_modified(long_ago)).expect("a note");
    fs::write(&appliance, "").expect("it is back");
    assert_eq!(world.collect().missing.len(), 0);
    fs::remove_file(&appliance).expect("remove");
    assert_eq!(world.collect().missing.len(), 1, "it was back in between");
    File::open(root.join(MISSING)).and_then(|note| note.set_modified(long_ago)).expect("a note");
    let done = world.collect();
    assert_eq!((done.forgotten.len(), done.freed[&Kind::Blob].count), (1, 1));
    assert!(world.store.projects().expect("projects").is_empty());
}

#[test]
fn a_missing_project_can_be_forgotten_at_once() {
    let world = World::new();
    let store = world.open();
    store.add_blob(b"its own").expect("add");
    store.keep_uses(&world.appliance(), "build", true).expect("keeps");
    drop(store);
    fs::remove_file(world.appliance()).expect("remove");
    let done = world.collect_as(|needs| needs.forget_missing = true);
    assert_eq!((done.forgotten.len(), done.freed[&Kind::Blob].count), (1, 1));
}

#[test]
fn a_lock_that_cannot_be_read_frees_nothing() {
    let world = World::new();
    world.open().add_blob(b"x").expect("add");
    world.age();
    fs::create_dir(world.appliance().with_extension("lock")).expect("no file");
    let appliance = world.appliance();
    let files = |appliance: &Path| Ok(vec![appliance.with_extension("lock")]);
    let needs = Needs {
        files: &files,
        project: Some(appliance.clone()),
        forget_missing: false,
        dry_run: false,
    };
    let error = world.store.collect(&needs).expect_err("nobody knows what it needs").to_string();
    assert!(error.contains("appliance.lock"), "{error}");
    assert_eq!(world.there().len(), 1);
}

#[test]
fn digests_are_whole_words() {
    let digest = Digest::of(b"x");
    let text = format!("sha256={digest},\"{digest}0\" @{digest} {}", &digest.to_string()[1..]);
    assert_eq!(words(text.as_bytes()).collect::<Vec<_>>(), [digest, digest]);
}
