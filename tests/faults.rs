//! Every system call that writes goes wrong once, while inputs are fetched, an image is built, and space is freed: the store
//! is sound after each, `images/current` whole, and the next build makes the same image.
//!
//! Fetched are three real packages of this project's lock, from a folder; they are unpacked and written out as the tools
//! are. The image is of a small made-up root. `CHATIMG_FAULTS=all` tries every call, else one
//! of each kind.

#[path = "faults/inject.rs"]
mod inject;
mod project;
mod small;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime};

use chatimg::care::{self, Rules};
use chatimg::compose;
use chatimg::digest::{Digest, Hasher};
use chatimg::fetch::{self, Http, Settings, Sources, wanted};
use chatimg::image;
use chatimg::lock::{Group, Lock};
use chatimg::store::{Store, StoreError};
use chatimg::tools::Tools;
use inject::{Ended, Fault, Point};
use nix::unistd::{Whence, lseek};
use small::Fixture;

/// Small ones of the tools closure.
const DEBS: [&str; 3] = ["libffi8", "netbase", "libcap-ng0"];

type Failure = Box<dyn std::error::Error>;

/// What is done in the folder, by another process.
fn child(dir: &Path, what: &str) -> Result<(), Failure> {
    let store = Store::open(&dir.join("store"))?;
    let appliance = dir.join("appliance.toml");
    if what == "gc" {
        let project = Some(appliance);
        care::free(&store, &Rules { project, keep: 0, forget_missing: true, dry_run: false })?;
        return Ok(());
    }
    let text = fs::read_to_string(dir.join("appliance.lock"))?;
    let mut lock = Lock::parse(&text, "appliance.lock")?;
    // An older lock, which needs something that the newer one does not.
    let names = if what == "before" { &DEBS[..2] } else { &DEBS[1..] };
    lock.debs.retain(|deb| names.contains(&&*deb.name));
    let mirror = dir.join("mirror").display().to_string();
    let env =
        ["CHATIMG_DEBIAN", "CHATIMG_DEBIAN_SECURITY"].map(|name| (name.to_owned(), mirror.clone()));
    let (config, root) = (dir.join("none"), dir.join("none"));
    let sources = Sources::discover(&Settings { config, env: env.into(), root })?;
    let groups = [Group::Build];
    let inputs = wanted(&lock, &groups);
    fetch::fetch_all(&store, &Http::new(), &sources, &inputs, &|_| (), &AtomicBool::new(false))?;
    let tools = compose::tools_tree(&store, &lock, Group::Build, &|_| ())?;
    Tools::unpack(&store, &tools, lock.epoch)?;
    let fixture = Fixture::at(dir, &[("etc/motd", what)])?;
    let built = fixture.build(&dir.join("images"))?;
    let mut key = Hasher::new();
    key.field(what);
    store.document(key.finish(), || Ok::<_, StoreError>(built.id.clone()))?;
    Ok(store.keep_uses(&appliance, "build", true)?)
}

/// Not a test by itself: what [`inject::run`] runs.
#[test]
fn the_work_of_another_process() {
    let Some(dir) = std::env::var_os("FAULTS_DIR") else { return };
    let what = std::env::var("FAULTS_STEP").expect("what to do");
    child(Path::new(&dir), &what).unwrap_or_else(|error| panic!("{error}"));
}

/// A folder with all that a child needs.
struct World {
    dir: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let world = Self { dir: tempfile::tempdir().expect("temporary folder") };
        let project = Path::new(env!("CARGO_MANIFEST_DIR"));
        fs::write(world.path("appliance.toml"), "").expect("write");
        let text = fs::read_to_string(project.join("appliance.lock")).expect("lock");
        let mut lock = Lock::parse(&text, "appliance.lock").expect("lock");
        lock.debs.retain(|deb| DEBS.contains(&&*deb.name));
        assert!(
            lock.debs.len() == 3 && lock.debs.iter().all(|deb| deb.groups.contains(&Group::Build))
        );
        let store = Store::open(&project::store_dir()).expect("store");
        for deb in &lock.debs {
            let bytes =
                store.read_blob(&deb.digest).expect("store").expect("`chatimg build` fetched it");
            let path = world.path("mirror").join(&deb.path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
            fs::write(path, bytes).expect("write");
        }
        fs::write(world.path("appliance.lock"), lock.to_toml()).expect("write");
        world
    }

    /// The same as another one, with all that was made in it.
    fn of(other: &Self) -> Self {
        let dir = tempfile::tempdir().expect("temporary folder");
        let from = other.dir.path().join(".");
        let copied =
            Command::new("cp").args(["-a", "--sparse=always"]).arg(from).arg(dir.path()).status();
        assert!(copied.expect("cp").success());
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self, what: &str, fault: Fault, at: Point) -> Ended {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(["--exact", "the_work_of_another_process", "--test-threads=1", "--nocapture"]);
        command.env("FAULTS_DIR", self.dir.path()).env("FAULTS_STEP", what);
        inject::run(&command, self.dir.path(), fault, at)
    }

    /// Without any fault.
    fn works(&self, what: &str) {
        let ended = self.run(what, Fault::None, ("", 0));
        let words = fs::read_to_string(self.path("words")).unwrap_or_default();
        assert_eq!(ended.code, Some(0), "{what}: {words}");
    }

    /// Everything that is read by others is whole.
    fn is_sound(&self) {
        let store = Store::open(&self.path("store")).expect("store");
        let verified = store.verify(&|_, _| ()).expect("verifies");
        assert!(verified.damaged.is_empty() && verified.unknown == 0, "{verified:?}");
        let images = self.path("images");
        if images.join("current").is_symlink() {
            assert!(image::current(&images).expect("current").is_some(), "current leads nowhere");
        }
        for dir in fs::read_dir(&images).into_iter().flatten().flatten().map(|entry| entry.path()) {
            let id = dir.file_name().expect("a name").to_string_lossy().into_owned();
            if dir.join("manifest.json").exists() && id != "current" && !id.starts_with('.') {
                assert!(
                    image::find_in(&images, &id).expect("finds").is_some(),
                    "{id} is not whole"
                );
            }
        }
    }

    /// The id of the image, and the digests of its files.
    fn image(&self) -> (String, BTreeMap<String, Digest>) {
        let built = image::current(&self.path("images")).expect("current").expect("an image");
        let files = fs::read_dir(&built.dir).expect("image").flatten();
        let files = files.map(|entry| {
            let hasher = data(&File::open(entry.path()).expect("opens"));
            (entry.file_name().to_string_lossy().into_owned(), hasher.finish())
        });
        (built.id, files.collect())
    }

    /// As if all had happened the day before yesterday.
    fn age(&self) {
        let before = SystemTime::now() - Duration::from_secs(2 * 86_400);
        for entry in fs::read_dir(self.path("store/using")).expect("using").flatten() {
            File::open(entry.path()).and_then(|file| file.set_modified(before)).expect("time");
        }
    }
}

/// What a file holds and where; most of a disk are holes.
fn data(file: &File) -> Hasher {
    let mut hasher = Hasher::new();
    let seek = |at: u64, whence| lseek(file, at.cast_signed(), whence).map(i64::cast_unsigned);
    let mut at = 0;
    while let Ok(start) = seek(at, Whence::SeekData) {
        at = seek(start, Whence::SeekHole).expect("the end is a hole");
        let mut bytes = vec![0; usize::try_from(at - start).expect("it is small")];
        file.read_exact_at(&mut bytes, start).expect("reads");
        for (index, block) in bytes.chunks(4096).enumerate() {
            if block.iter().any(|byte| *byte != 0) {
                hasher.field((start + index as u64 * 4096).to_le_bytes()).field(block);
            }
        }
    }
    hasher
}

/// Which of the calls to try with the fault: all, or of each kind one, not the same for each fault.
fn points(kinds: &BTreeMap<&'static str, usize>, number: usize) -> Vec<Point> {
    let all = std::env::var("CHATIMG_FAULTS").is_ok_and(|value| value == "all");
    let chosen = kinds.iter().flat_map(|(name, total)| {
        let some = if all { 0..*total } else { total * number / 6..total * number / 6 + 1 };
        some.map(|nth| (*name, nth))
    });
    chosen.collect()
}

/// Each fault at each point of `what`, begun in a copy of `world`; then a build, which must make `expected`.
fn try_all(world: &World, what: &str, expected: &(String, BTreeMap<String, Digest>)) {
    let counted = World::of(world).run(what, Fault::None, ("", 0));
    assert_eq!(counted.code, Some(0), "{what} works");
    let (mut tried, mut failed) = (0, 0);
    let faults = [Fault::Full, Fault::Broken, Fault::Interrupted, Fault::Short, Fault::Killed];
    for (number, fault) in faults.into_iter().enumerate() {
        let mut kinds = BTreeMap::<_, usize>::new();
        for call in counted.calls.iter().filter(|call| fault.befalls(call)) {
            *kinds.entry(call.name).or_default() += 1;
        }
        let mut happened = BTreeSet::new();
        for point in points(&kinds, number) {
            let world = World::of(world);
            let ended = world.run(what, fault, point);
            if ended.happened {
                happened.insert(point.0);
            }
            tried += 1;
            failed += usize::from(ended.code != Some(0));
            let say = format!("{what}: {fault:?} at {point:?}: ended with {:?}", ended.code);
            let sound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                world.is_sound();
                world.works("build");
                world.is_sound();
                assert!(world.image() == *expected, "another image");
            }));
            sound.unwrap_or_else(|_| panic!("{say}"));
        }
        println!("{what}: {fault:?} among {kinds:?}");
        assert_eq!(happened, kinds.into_keys().collect(), "{what}: {fault:?} befell all kinds");
    }
    println!("{what}: {tried} faults, {failed} of which ended it");
    assert!(failed * 2 > tried, "{what}: {failed} of {tried} faults ended it");
}

#[test]
fn a_fault_while_fetching_and_building_leaves_all_sound() {
    let world = World::new();
    let good = World::of(&world);
    good.works("build");
    good.is_sound();
    try_all(&world, "build", &good.image());
}

#[test]
fn a_fault_while_freeing_leaves_all_sound() {
    let world = World::new();
    world.works("before");
    world.works("build");
    world.age();
    let expected = world.image();
    let images = fs::read_dir(world.path("images")).expect("images").count();
    try_all(&world, "gc", &expected);
    world.works("gc");
    world.is_sound();
    assert!(fs::read_dir(world.path("images")).expect("images").count() < images);
    assert!(world.image() == expected);
}
