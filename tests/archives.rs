//! Malicious archives, as .deb, wheel, npm tarball and archive by address, each brought in as a build does it: refused with
//! the right words, with nothing kept, a folder outside untouched, no panic, and at most 256 MiB of memory.
//!
//! Archives are made here, byte by byte. Each kind is tried in a process of its own (this program again), which measures
//! itself. Sources: `/usr/share/doc/dpkg`, deb(5), tar(5), APPNOTE.TXT, and what befell others: CPython's extraction
//! filters, CVE-2025-62518, CVE-2026-33056, CVE-2020-27350, uv's and PyPI's list of ambiguous zips.

#[path = "archives/canary.rs"]
mod canary;
#[path = "archives/debs.rs"]
mod debs;
#[path = "archives/tarballs.rs"]
mod tarballs;
#[path = "archives/tars.rs"]
mod tars;
#[path = "archives/wheels.rs"]
mod wheels;
#[path = "archives/zips.rs"]
mod zips;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use canary::Canary;
use chatimg::debian::keyring::Keyring;
use chatimg::fetch::{Http, Sources};
use chatimg::lock::{Online, UrlRequest, resolve_urls};
use chatimg::store::Store;

/// Bytes of memory that bringing in an archive may take.
const MEMORY: u64 = 256 << 20;

/// Bytes of the file that is locked.
const LARGE: u64 = 256 << 20;
/// The kind that is no archive: such a file.
const LOCK: &str = "lock";

/// Tells the child what to try, and where.
const KIND: &str = "CHATIMG_ARCHIVES_KIND";
const DIR: &str = "CHATIMG_ARCHIVES_DIR";

/// An archive, and what must be said of it; nothing: it is good.
struct Case {
    name: &'static str,
    bytes: Vec<u8>,
    words: &'static [&'static str],
}

impl Case {
    fn new(name: &'static str, bytes: Vec<u8>, words: &'static [&'static str]) -> Self {
        Self { name, bytes, words }
    }
}

/// Brings an archive in, into this store; what a build would say of it.
type Import = fn(&Store, &Case) -> Result<(), String>;

fn kind(name: &str, canary: &Path) -> (Import, Vec<Case>) {
    match name {
        "tar" => (debs::import, tars::cases(canary)),
        "deb" => (debs::import, debs::cases()),
        "wheel" => (wheels::import, wheels::cases(canary)),
        "npm" => (tarballs::npm, tarballs::cases(canary)),
        "url" => (tarballs::url, tarballs::cases(canary)),
        other => panic!("unknown kind {other}"),
    }
}

/// All cases of a kind, in this process: what went wrong, a line each.
fn run(name: &str, dir: &Path) -> Vec<String> {
    let (import, cases) = kind(name, &dir.join("canary"));
    let mut wrong = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        let folder = dir.join(format!("{name}-{number}"));
        let store = Store::open(&folder).expect("a store");
        let there = prepared(name, &store, &folder);
        fs::write("/proc/self/clear_refs", "5").expect("the peak is measured anew");
        let (before, start) = (peak(), Instant::now());
        let outcome = catch_unwind(AssertUnwindSafe(|| import(&store, case)));
        let taken = peak();
        let mut told: Vec<_> = judged(&outcome, case.words).into_iter().collect();
        if taken > MEMORY {
            told.push(format!("{} MiB of memory", taken >> 20));
        }
        if let Ok(Err(said)) = &outcome {
            // What is well made, but not what is locked, or does not fit with others, is kept as what it is, and refused each time.
            let is_other = ["package guest: ", "Python environment env: "]
                .iter()
                .any(|it| said.starts_with(it));
            let kept = made(&folder).into_iter().find(|path| !there.contains(path) && !is_other);
            told.extend(kept.map(|path| format!("{} was kept", path.display())));
            let again = import(&store, case).err();
            if again.as_ref() != Some(said) {
                told.push(format!("first {said}, then {again:?}"));
            }
        }
        let time = start.elapsed().as_millis();
        println!(
            "{name}: {}: {} MiB, of them {} before, {time} ms",
            case.name,
            taken >> 20,
            before >> 20
        );
        wrong.extend(told.into_iter().map(|told| format!("{name}: {}: {told}", case.name)));
        fs::remove_dir_all(folder).expect("the store goes");
    }
    wrong
}

/// What is wrong with an outcome.
fn judged(outcome: &std::thread::Result<Result<(), String>>, words: &[&str]) -> Option<String> {
    match (outcome, words) {
        (Err(_), _) => Some("panicked".to_owned()),
        (Ok(Ok(())), []) => None,
        (Ok(Ok(())), words) => Some(format!("accepted instead of {words:?}")),
        (Ok(Err(said)), []) => Some(format!("refused though it is good: {said}")),
        (Ok(Err(said)), words) => {
            let lacks = words.iter().find(|word| !said.contains(**word));
            lacks.map(|word| format!("{word:?} is not in: {said}"))
        }
    }
}

/// What was made in a store, or is left of making it.
fn made(store: &Path) -> BTreeSet<PathBuf> {
    ["results", "tmp", "folders", "corrupt"]
        .iter()
        .flat_map(|part| files(&store.join(part)))
        .collect()
}

/// What is there before any wheel: the environment that it comes into.
fn prepared(kind: &str, store: &Store, folder: &Path) -> BTreeSet<PathBuf> {
    if kind == "wheel" {
        chatimg::fuzzing::wheels(store, &[]).expect("an empty environment");
    }
    made(folder)
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let paths = entries.map(|entry| entry.expect("entry").path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// The most memory this process had since it was last asked to forget, in bytes.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib << 10
}

/// A lock of one large file, in this process: what went wrong.
fn locked(dir: &Path) -> Vec<String> {
    let file = dir.join("large");
    let made = fs::File::create(&file).and_then(|file| file.set_len(LARGE));
    made.expect("a hole of a file");
    let store = Store::open(&dir.join("store")).expect("a store");
    let keyring = Keyring::debian().expect("keys");
    let online = Online {
        keyring: &keyring,
        store: &store,
        http: &Http::new(),
        sources: &Sources::default(),
        config: dir,
        note: &|_| (),
    };
    let request = UrlRequest { url: format!("file://{}", file.display()), digest: None };
    let requests = BTreeMap::from([("large".to_owned(), request)]);
    fs::write("/proc/self/clear_refs", "5").expect("the peak is measured anew");
    let before = peak();
    let blobs = resolve_urls(&online, &requests, &BTreeMap::new()).expect("locks it");
    let taken = peak() - before;
    println!("lock: good: {} MiB more than before", taken >> 20);
    let right = blobs[0].size == LARGE && store.has_blob(&blobs[0].digest);
    let mut wrong = Vec::new();
    wrong.extend((!right).then(|| format!("{blobs:?}")));
    wrong.extend((taken > LARGE / 4).then(|| format!("{} MiB of memory", taken >> 20)));
    wrong
}

/// What the child does; nothing otherwise.
#[test]
fn child() {
    let (Some(kind), Some(dir)) = (std::env::var_os(KIND), std::env::var_os(DIR)) else { return };
    let (kind, dir) = (kind.into_string().expect("text"), Path::new(&dir));
    let wrong = if kind == LOCK { locked(dir) } else { run(&kind, dir) };
    let mut out = std::io::stdout().lock();
    wrong.iter().for_each(|line| writeln!(out, "WRONG {line}").expect("a line"));
    out.flush().expect("flushed");
    std::process::exit(if wrong.is_empty() { 0 } else { 1 });
}

fn refused(kind: &str, at_least: usize) {
    let dir = tempfile::tempdir().expect("folder");
    let canary = Canary::new(dir.path().join("canary"));
    let (_, cases) = self::kind(kind, &canary.dir);
    let bad = cases.iter().filter(|case| !case.words.is_empty()).count();
    assert!(bad >= at_least, "{kind}: {bad} cases");
    assert!(bad < cases.len(), "{kind}: a good one is among them");
    drop(cases);
    in_child(kind, dir.path());
    canary.check();
}

/// Has a process of its own try a kind.
fn in_child(kind: &str, dir: &Path) {
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "child", "--nocapture", "--test-threads", "1"])
        .envs([(KIND, kind.as_ref()), (DIR, dir.as_os_str())])
        .current_dir(dir)
        .output()
        .expect("runs");
    let (said, noise) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let wrong: Vec<_> = said.lines().filter(|line| line.starts_with("WRONG ")).collect();
    assert!(output.status.success(), "{}\n{said}\n{noise}", wrong.join("\n"));
    assert!(said.contains(&format!("{kind}: good: ")), "{said}");
    println!("{said}");
}

#[test]
fn hostile_tar_archives_in_a_package_are_refused() {
    refused("tar", 61);
}

#[test]
fn hostile_packages_are_refused() {
    refused("deb", 44);
}

#[test]
fn hostile_wheels_are_refused() {
    refused("wheel", 45);
}

#[test]
fn hostile_npm_tarballs_are_refused() {
    refused("npm", 39);
}

#[test]
fn hostile_archives_by_address_are_refused() {
    refused("url", 39);
}

#[test]
fn a_large_file_is_locked_in_little_memory() {
    let dir = tempfile::tempdir().expect("folder");
    in_child(LOCK, dir.path());
}
