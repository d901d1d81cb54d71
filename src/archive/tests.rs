use super::*;
use crate::lock::{Deb, DebArchive, Group};

const NO_PROGRESS: &(dyn Fn(u64, u64) + Sync) = &|_, _| ();

struct Bench {
    dir: tempfile::TempDir,
    store: Store,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("folder");
        let store = Store::open(&dir.path().join("store")).expect("store");
        Self { dir, store }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("archive").join(name)
    }

    /// A lock of packages, each holding its own name, all in the store.
    fn lock(&self, names: &[&str]) -> Lock {
        let deb = |name: &&str| Deb {
            name: (*name).to_owned(),
            version: "1:2".to_owned(),
            arch: "all".to_owned(),
            archive: DebArchive::Debian,
            path: format!("pool/main/{name}_2_all.deb"),
            size: name.len() as u64,
            digest: self.store.add_blob(name.as_bytes()).expect("a blob"),
            groups: [Group::Image].into(),
        };
        Lock { debs: names.iter().map(deb).collect(), ..Lock::default() }
    }

    fn archive(&self, name: &str, lock: &Lock) -> Result<(Amount, Amount), ArchiveError> {
        let mut archive = Archive::open(&self.path(""))?;
        let inputs = inputs(lock);
        let lacking = archive.lacking(&inputs, NO_PROGRESS)?;
        let copied = archive.copy(&self.store, &lacking, NO_PROGRESS)?;
        Ok((copied, archive.enter(name, lock, &inputs, None)?))
    }

    fn checked(&self) -> Vec<String> {
        let checked = check(&self.path(""), NO_PROGRESS).expect("checks");
        assert_eq!((checked.unknown, checked.unread), (vec![], vec![]));
        checked.troubles.iter().map(ToString::to_string).collect()
    }

    fn place(&self, text: &str) -> PathBuf {
        self.path(&place(&Digest::of(text.as_bytes())))
    }
}

#[test]
fn only_what_is_new_is_written_and_locks_share_it() {
    let bench = Bench::new();
    let (one, two) = (bench.lock(&["aa", "bbb"]), bench.lock(&["bbb", "cccc"]));
    let (copied, besides) = bench.archive("a.example", &one).expect("writes");
    assert_eq!((copied, besides.count), (Amount { count: 2, bytes: 5 }, 4));
    assert_eq!(fs::read(bench.place("aa")).expect("reads"), b"aa");
    let (copied, besides) = bench.archive("a.example", &one).expect("writes");
    assert_eq!((copied.count, besides.count), (0, 0));
    let (copied, besides) = bench.archive("b.example", &two).expect("writes");
    assert_eq!((copied, besides.count), (Amount { count: 1, bytes: 4 }, 3));
    assert_eq!(bench.checked(), [""; 0]);
    let index = fs::read_to_string(bench.path(INDEX)).expect("index");
    let stem = |name: &str, lock: &Lock| {
        format!("{name}-{}", Digest::of(lock.to_toml().as_bytes()).short())
    };
    let (one, two) = (stem("a.example", &one), stem("b.example", &two));
    let line = format!("\t3\tdeb\tbbb\t1:2\tbbb_2_all.deb\t{one} {two}\n");
    assert!(index.contains(&line), "{index}");
    let archive = Archive::open(&bench.path("")).expect("opens");
    assert_eq!(archive.totals(), (2, Amount { count: 3, bytes: 9 }));
}

#[test]
fn what_is_damaged_or_missing_is_named_and_mended() {
    let bench = Bench::new();
    let lock = bench.lock(&["aa", "bbb", "cccc"]);
    bench.archive("a.example", &lock).expect("writes");
    fs::write(bench.place("aa"), "ab").expect("damage");
    fs::write(bench.place("bbb"), "b").expect("cut");
    fs::remove_file(bench.place("cccc")).expect("lose");
    let mut troubles = bench.checked();
    troubles.sort_by_key(|line| line.split("deb ").nth(1).map(str::to_owned));
    for (line, words) in troubles.iter().zip([
        "damaged, its SHA-256 is fb8e20fc2e4c3f248c60c39bd652f3c1347298bb977b8b4d5903b85055620603 now; it is deb aa 1:2, which a.example-",
        "; it is deb bbb 1:2, which",
        "missing; it is deb cccc 1:2, which",
    ]) {
        assert!(line.contains(words), "{line}");
    }
    assert_eq!(troubles.len(), 3);
    let (copied, besides) = bench.archive("a.example", &lock).expect("mends");
    assert_eq!((copied.count, besides.count), (3, 0));
    assert_eq!(bench.checked(), [""; 0]);
    // So is what is no input.
    let readme = bench.path(README);
    fs::write(&readme, "something else").expect("damage");
    assert_eq!(bench.checked().len(), 1);
    bench.archive("a.example", &lock).expect("mends");
    assert_eq!(bench.checked(), [""; 0]);
    // What the index and the sums leave out is missed by the lock.
    let sums = fs::read_to_string(bench.path(SUMS)).expect("sums");
    let without: String = sums
        .lines()
        .filter(|line| !line.contains("sha256/ae"))
        .map(|line| format!("{line}\n"))
        .collect();
    let left_out = sums.lines().count() - without.lines().count();
    fs::write(bench.path(SUMS), without).expect("write");
    let troubles = check(&bench.path(""), NO_PROGRESS).expect("checks").troubles;
    assert_eq!(troubles.len(), left_out);
}

#[test]
fn what_an_interrupted_run_left_goes_and_what_it_finished_stays() {
    let bench = Bench::new();
    let lock = bench.lock(&["aa", "bbb"]);
    {
        let archive = Archive::open(&bench.path("")).expect("opens");
        let busy = Archive::open(&bench.path("")).expect_err("it is being written");
        assert!(matches!(busy, ArchiveError::Busy(_)), "{busy}");
        let lacking = archive.lacking(&inputs(&lock)[..1], NO_PROGRESS).expect("looks");
        archive.copy(&bench.store, &lacking, NO_PROGRESS).expect("copies");
        fs::write(bench.path(".new-half"), "b").expect("write");
    }
    let none = check(&bench.path(""), NO_PROGRESS).expect_err("it has no sums yet");
    assert!(none.to_string().contains("is no archive, or not a whole one"), "{none}");
    let (copied, _) = bench.archive("a.example", &lock).expect("goes on");
    assert_eq!(copied.count, 1);
    assert!(!bench.path(".new-half").exists());
    assert_eq!(bench.checked(), [""; 0]);
}

#[test]
fn another_folder_and_a_damaged_archive_are_left_alone() {
    let bench = Bench::new();
    let lock = bench.lock(&["aa"]);
    fs::create_dir_all(bench.path("photos")).expect("folder");
    let error = bench.archive("a.example", &lock).expect_err("foreign").to_string();
    assert!(error.contains("it has photos; name an empty or new folder"), "{error}");
    fs::remove_dir(bench.path("photos")).expect("remove");
    bench.archive("a.example", &lock).expect("writes");
    for (name, text) in [
        (INDEX, "sha256\tsize\n"),
        (SUMS, "what\n"),
        (SUMS, "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb  ../out\n"),
    ] {
        let before = fs::read(bench.path(name)).expect("reads");
        fs::write(bench.path(name), text).expect("write");
        for error in [
            bench.archive("a.example", &lock).expect_err("damaged"),
            check(&bench.path(""), NO_PROGRESS).expect_err("damaged"),
        ] {
            let words = error.to_string();
            assert!(words.contains(name) && words.contains("delete it"), "{words}");
        }
        fs::remove_file(bench.path(name)).expect("as it says");
        bench.archive("a.example", &lock).expect("makes it anew");
        assert_eq!(fs::read(bench.path(name)).expect("reads"), before);
    }
}

#[test]
fn an_input_that_the_store_lost_is_named() {
    let bench = Bench::new();
    let mut lock = bench.lock(&["aa"]);
    lock.debs[0].digest = Digest::of(b"nobody has it");
    let error = bench.archive("a.example", &lock).expect_err("nobody has it").to_string();
    assert!(error.contains("deb aa 1:2") && !bench.path(INDEX).exists(), "{error}");
}

#[test]
fn names_are_names_on_any_file_system() {
    assert_eq!(plain("chat.example"), "chat.example");
    assert_eq!(plain("../a b/ü"), "_a_b__");
    assert!(!plain(&"x".repeat(300)).contains('/') && plain(&"x".repeat(300)).len() == 100);
}
