//! The ten attacks of TUF against `chatimg lock` and `chatimg build`, and those of apt's history, each in several ways, by a
//! hostile server on 127.0.0.1 that has good signing keys of its own.
//!
//! Each case locks a small project while all is well, then tampers, runs the command again, and looks at what it says
//! and exits with, at every byte of the project (its lock and `images/current` among them) and at every blob of the
//! store. The program is this one again with the test's keys instead of Debian's: the command line's own code, which has
//! no such setting. Source of the classes: the TUF specification 1.0.30, "goals for the repository".

#[path = "attacks/cases.rs"]
mod cases;
#[path = "attacks/history.rs"]
mod history;
#[path = "../src/debian/testing/deb.rs"]
#[allow(dead_code, reason = "it is of the library's own tests")]
mod make;
#[path = "../src/debian/testing/signer.rs"]
#[allow(clippy::unwrap_used, dead_code, reason = "it is of the library's own tests")]
mod signer;
#[path = "../src/fetch/testserver.rs"]
#[allow(dead_code, reason = "it is of the library's own tests")]
mod testserver;
#[path = "attacks/world.rs"]
mod world;

/// Where the library's own files look for it.
mod debian {
    pub use chatimg::debian::keyring;
}

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use chatimg::debian::keyring::{Keyring, KeyringError};
use chatimg::digest::Digest;
use chatimg::fetch::{Http, Patience};
use chatimg::lock::DebArchive;
use signer::Signer;
use testserver::TestServer;
use world::{KEYS, World};

/// Asked for by `signer`, which signs at times that it is told.
const NOW: i64 = 0;

/// Tells the child its command line, and which keys it trusts.
const ARGS: &str = "CHATIMG_ATTACKS_ARGS";
const RING: &str = "CHATIMG_ATTACKS_KEYS";

/// Asked for by `make`.
fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
    encoder.write_all(bytes).expect("in memory");
    encoder.finish().expect("in memory")
}

/// TUF's ten, apt's history, and what must work with the same machinery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    ArbitraryInstallation,
    EndlessData,
    ExtraneousDependencies,
    FastForward,
    IndefiniteFreeze,
    PreventingUpdates,
    MixAndMatch,
    Rollback,
    KeyCompromise,
    WrongSoftware,
    History,
    Control,
}

/// What a command must come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It fails, and all is as it was.
    Refused,
    /// It does what it is asked.
    Done,
}

/// When the world is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// After a lock was made while all was well.
    Locked,
    /// The same, on a machine whose store is empty.
    Moved,
    /// Before anything was locked.
    First,
    /// Before, and the lock is made of that: what it describes is hostile, though rightly signed.
    FromStart,
}

/// One attack.
pub(crate) struct Case {
    pub(crate) class: Class,
    pub(crate) name: &'static str,
    pub(crate) when: When,
    pub(crate) command: &'static [&'static str],
    /// Which keys are trusted; see [`keyring`].
    pub(crate) keys: &'static str,
    /// Changes the world.
    pub(crate) tamper: fn(&mut World),
    pub(crate) outcome: Outcome,
    /// What was fetched before, and was what it was said to be, stays in the store: it is nobody's until a lock names it.
    pub(crate) keeps: bool,
    pub(crate) words: &'static [&'static str],
}

/// The keys of a child.
fn keyring() -> Result<Keyring, KeyringError> {
    let [main, security] = KEYS.map(Signer::new);
    let main = match std::env::var(RING).as_deref() {
        Ok("revoked") => main.revoked(),
        Ok("expired") => main.rebound(true, true, Some(86_400)),
        Ok("not for signing") => main.rebound(false, true, None),
        _ => main,
    };
    let main = main.keyring().only(DebArchive::Debian);
    Ok(main.and(security.keyring().only(DebArchive::DebianSecurity)))
}

/// What the child does; nothing otherwise.
#[test]
fn child() {
    let Ok(args) = std::env::var(ARGS) else { return };
    let args = std::iter::once("chatimg").chain(args.lines()).map(Into::into);
    let code = chatimg::cli::run(&[], args.collect::<Vec<_>>().into_iter(), keyring);
    std::process::exit(code.into());
}

/// A project with a store and an image, and the server that it asks.
struct Stage {
    dir: tempfile::TempDir,
    server: TestServer,
    world: Arc<RwLock<World>>,
}

impl Stage {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("folder");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        let world = Arc::new(RwLock::new(World::good("", now.cast_signed(), [])));
        let asked = Arc::clone(&world);
        let server = TestServer::start(move |it| asked.read().expect("the world").answer(it));
        let stage = Self { dir, server, world };
        stage.lay_out();
        let plan = chatimg::appliance::load(&stage.project().join("appliance.toml"));
        let plan = plan.unwrap_or_else(|error| panic!("{error}"));
        let names: BTreeSet<_> = plan.request.debian.values().flatten().collect();
        let names = names.into_iter().map(String::as_str).filter(|name| *name != "server");
        let good = World::good(&stage.server.base, now.cast_signed(), names);
        *stage.world.write().expect("the world") = good;
        stage
    }

    fn project(&self) -> PathBuf {
        self.dir.path().join("project")
    }

    fn store(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    fn lay_out(&self) {
        let write = |path: &str, text: &str| {
            let path = self.project().join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("folder");
            fs::write(path, text).expect("file");
        };
        write("appliance.toml", "stack = \"plain\"\ndomain = \"chat.example\"\n");
        write(
            "overlays/stacks.toml",
            "[plain]\ndescription = \"what is attacked\"\noverlays = [\"guest\"]\n",
        );
        let overlay = format!(
            "description = \"one input of each kind\"\n[packages]\ndebian = [\"server\"]\n\
             [inputs.python.env]\nrequirements = [\"app\"]\ninto = \"/opt/env\"\n\
             [inputs.npm.widget]\nversion = \"^1\"\ninto = \"/usr/share/widget\"\n\
             [inputs.url.page]\nurl = \"{}url/page.txt\"\ninto = \"/usr/share/page.txt\"\n",
            self.server.base
        );
        write("overlays/guest/overlay.toml", &overlay);
        write("overlays/debian/ids.toml", "[ids]\n");
        write("images/an-older-one/manifest.json", "{}\n");
        symlink("an-older-one", self.project().join("images/current")).expect("link");
    }

    /// Runs chatimg.
    fn run(&self, args: &[&str], keys: &str) -> Output {
        let base = &self.server.base;
        Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "child", "--nocapture", "--test-threads", "1"])
            .current_dir(self.project())
            .env_clear()
            .envs([(ARGS, args.join("\n").as_str()), (RING, keys)])
            .env("HOME", self.dir.path())
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("CHATIMG_STORE", self.store())
            .env("CHATIMG_DEBIAN", format!("{base}debian {base}mirror/debian"))
            .env("CHATIMG_DEBIAN_SECURITY", format!("{base}security"))
            .env("CHATIMG_PYPI", format!("{base}pypi {base}mirror/pypi"))
            .env("CHATIMG_NPM", format!("{base}npm {base}mirror/npm"))
            .output()
            .expect("it runs")
    }

    /// Every file and link of the project, with a digest of each.
    fn files(&self) -> BTreeMap<PathBuf, String> {
        let mut all = BTreeMap::new();
        let mut todo = vec![self.project()];
        while let Some(dir) = todo.pop() {
            for entry in fs::read_dir(&dir).expect("folder") {
                let path = entry.expect("entry").path();
                let what = match fs::symlink_metadata(&path).expect("stat") {
                    it if it.is_symlink() => format!("{:?}", fs::read_link(&path).expect("link")),
                    it if it.is_dir() => {
                        todo.push(path.clone());
                        "folder".to_owned()
                    }
                    _ => Digest::of(&fs::read(&path).expect("file")).to_string(),
                };
                all.insert(path, what);
            }
        }
        all
    }

    /// The blobs of the store; each must be what its name says.
    fn blobs(&self) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        let mut todo = vec![self.store().join("blobs")];
        while let Some(dir) = todo.pop() {
            for entry in fs::read_dir(&dir).into_iter().flatten() {
                let path = entry.expect("entry").path();
                if path.is_dir() {
                    todo.push(path);
                    continue;
                }
                let name = path.file_name().expect("a name").to_string_lossy().into_owned();
                assert_eq!(Digest::of(&fs::read(&path).expect("blob")).to_string(), name);
                all.insert(name);
            }
        }
        all
    }
}

/// Plays one case; what is wrong, if anything.
fn play(case: &Case) -> Result<(), String> {
    let stage = Stage::new();
    let tamper = || (case.tamper)(&mut stage.world.write().expect("the world"));
    if case.when == When::FromStart {
        tamper();
    }
    let good = stage.world.read().expect("the world").good_digests();
    let mut allowed: BTreeSet<_> = good.iter().map(ToString::to_string).collect();
    if case.when != When::First {
        let output = stage.run(&["lock"], "");
        if output.status.code() != Some(0) {
            return Err(format!("nothing could be locked: {}", text(&output.stderr)));
        }
    }
    allowed.extend(stage.blobs());
    if case.command == ["build"] || case.when == When::Moved {
        // All must be fetched anew.
        fs::remove_dir_all(stage.store()).expect("the store goes");
    }
    let before = stage.files();
    if case.when != When::FromStart {
        tamper();
    }
    let output = stage.run(case.command, case.keys);
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    let wrong = |why: String| Err(format!("{why}\n{said}"));
    for word in case.words {
        if !said.contains(&word.replace("BASE/", &stage.server.base)) {
            return wrong(format!("{word:?} is not said"));
        }
    }
    if let Some(odd) = said.chars().find(|c| c.is_control() && !matches!(c, '\n' | '\t')) {
        return wrong(format!("{odd:?} is printed"));
    }
    let wanted = if case.outcome == Outcome::Done { 0 } else { 1 };
    if output.status.code() != Some(wanted) || said.contains("panicked") {
        return wrong(format!("it ends with {}", output.status));
    }
    if case.outcome == Outcome::Refused && stage.files() != before {
        return wrong("the project has changed".to_owned());
    }
    match stage.blobs().difference(&allowed).next() {
        Some(odd) if case.outcome == Outcome::Refused && !case.keeps => {
            wrong(format!("the store has {odd}"))
        }
        _ => Ok(()),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Plays all of them, some at a time.
fn play_all(cases: &[Case]) {
    let next = Mutex::new(cases.iter());
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let Some(case) = next.lock().expect("the cases").next() else { return };
                    let start = std::time::Instant::now();
                    if let Err(why) = play(case) {
                        let line = format!("{:?}: {}: {why}", case.class, case.name);
                        failed.lock().expect("the failures").push(line);
                    }
                    println!("{:?}: {}: {:?}", case.class, case.name, start.elapsed());
                }
            });
        }
    });
    let failed = failed.into_inner().expect("the failures");
    assert!(failed.is_empty(), "{} of {}\n{}", failed.len(), cases.len(), failed.join("\n\n"));
}

fn all() -> Vec<Case> {
    let mut all = cases::all();
    all.extend(history::all());
    all
}

fn of(classes: &[Class]) -> Vec<Case> {
    let mut all = all();
    all.retain(|case| classes.contains(&case.class));
    all
}

#[test]
fn there_are_enough_cases_of_each_class() {
    let mut counts: BTreeMap<Class, usize> = BTreeMap::new();
    let all = all();
    let names: BTreeSet<_> = all.iter().map(|case| (case.class, case.name)).collect();
    assert_eq!(names.len(), all.len(), "each has a name of its own");
    for case in &all {
        *counts.entry(case.class).or_default() += usize::from(case.outcome == Outcome::Refused);
    }
    let attacks = counts.iter().filter(|(class, _)| **class != Class::Control);
    assert_eq!(attacks.clone().count(), 11, "{counts:?}");
    assert!(attacks.clone().all(|(_, count)| *count >= 6), "{counts:?}");
    assert!(attacks.map(|(_, count)| count).sum::<usize>() >= 121, "{counts:?}");
}

#[test]
fn the_ten_attacks_of_tuf_are_refused() {
    let mut tuf = all();
    tuf.retain(|case| !matches!(case.class, Class::History | Class::Control));
    play_all(&tuf);
}

#[test]
fn the_attacks_of_apt_s_history_are_refused() {
    play_all(&of(&[Class::History]));
}

#[test]
fn what_is_well_works_with_the_same_machinery() {
    play_all(&of(&[Class::Control]));
}

/// A build fetches all that the lock names, and comes as far as packages that make a system.
#[test]
fn a_good_server_gives_a_build_all_its_inputs() {
    let stage = Stage::new();
    assert_eq!(stage.run(&["lock"], "").status.code(), Some(0));
    fs::remove_dir_all(stage.store()).expect("the store goes");
    let output = stage.run(&["build"], "");
    let said = text(&output.stderr);
    assert!(said.contains("fetched"), "{said}");
    assert!(!said.contains("no place has it") && !said.contains("HTTP"), "{said}");
    let good = stage.world.read().expect("the world").clone();
    let blobs = stage.blobs();
    let lock = fs::read_to_string(stage.project().join("appliance.lock")).expect("a lock");
    for part in ["name = \"server\"", "name = \"app\"", "name = \"gear\"", "name = \"page\""] {
        assert!(lock.contains(part), "{lock}");
    }
    let digests = |path: &Path| fs::read_to_string(path).expect("a lock");
    let locked = digests(&stage.project().join("appliance.lock"));
    for digest in good.good_digests().iter().map(ToString::to_string) {
        let of_image = locked.contains(&digest);
        assert!(!of_image || blobs.contains(&digest) || is_of_tests(&locked, &digest), "{digest}");
    }
}

/// Whether a package is only for tests in virtual machines, which a build does not fetch.
fn is_of_tests(lock: &str, digest: &str) -> bool {
    let block = lock.split("[[").find(|block| block.contains(digest)).expect("it is locked");
    block.contains("groups = [\"vm\"]")
}
