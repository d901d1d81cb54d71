//! What in `images/` may go.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{entries, list};
use crate::digest::Digest;
use crate::disk_use::{is_free, is_held, older, on_disk};
use crate::image::ImageError;
use crate::image::output::{Images, MANIFEST, VERIFYING};
use crate::image::sums::SUMS;
use crate::whole::UNDER_WAY;

/// Images that tests made for themselves are kept for so long, what tests left to be looked at for [`LOOK`].
const TESTED: Duration = Duration::from_secs(86_400);
const LOOK: Duration = Duration::from_secs(7 * 86_400);

/// What `build`, `sign` and `key sign` put into an image's folder.
const OURS: [&str; 12] = [
    "disk.img",
    "disk-1.img",
    "disk-2.img",
    "root.img",
    MANIFEST,
    "sbom.spdx.json",
    "sbom.cdx.json",
    SUMS,
    "SHA256SUMS.minisig",
    "provenance.dsse.json",
    "update.json",
    "update.json.minisig",
];
/// So long a folder of `chatimg run --keep` may be away, as a disk that is not always there, before its image may go.
const AWAY: Duration = Duration::from_secs(14 * 86_400);

/// Something in `images/` that may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// Where it is.
    pub path: PathBuf,
    /// What it takes on the disk, in bytes.
    pub on_disk: u64,
}

/// Something in `images/` that would go, but for this reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spared {
    /// Where it is.
    pub path: PathBuf,
    /// Why it stays.
    pub why: String,
}

/// What may go: all images but `current`, the `keep` newest others, those that somebody uses, and those that have
/// anything in them that chatimg did not put there; what tests and runs left that are over.
///
/// # Errors
/// The folder cannot be read.
pub fn leftovers(images: &Path, keep: usize) -> Result<(Vec<Leftover>, Vec<Spared>), ImageError> {
    let (mut gone, mut spared) = (Vec::new(), Vec::new());
    let kept = kept_by_runs(images);
    let listed = list(images)?;
    let older = listed.iter().filter(|image| image.whole && !image.current).skip(keep);
    for image in older {
        let why = match (somebody_elses(&image.dir), kept.get(&image.id)) {
            (Some(name), _) => format!("{name} in it is not chatimg's"),
            (None, Some(dir)) => {
                let why = format!("`chatimg run --keep {}` goes on with it", dir.display());
                match dir.exists() {
                    true => why,
                    false => why + ", which is away; so it stays for 14 days after its last run",
                }
            }
            (None, None) if is_held(&image.dir) => "it is being used".to_owned(),
            (None, None) => {
                gone.push(Leftover { path: image.dir.clone(), on_disk: image.on_disk });
                continue;
            }
        };
        spared.push(Spared { path: image.dir.clone(), why });
    }
    for image in listed.iter().filter(|image| !image.whole && !image.current) {
        let why = "it is not what was built any more; delete it if you do not need it".to_owned();
        spared.push(Spared { path: image.dir.clone(), why });
    }
    let paths = tested(images)?.into_iter().chain(run(images)).chain(verified(images)?);
    gone.extend(paths.map(|path| Leftover { on_disk: on_disk(&path), path }));
    Ok((gone, spared))
}

/// Takes a leftover away, unless somebody began to use it, or it is the newest image by now; says whether it did.
///
/// # Errors
/// It cannot be removed.
pub fn remove(images: &Path, leftover: &Leftover) -> Result<bool, ImageError> {
    let path = &leftover.path;
    Images::open(images)?.remove(path)
}

/// A file's name in an image's folder that chatimg does not write.
fn somebody_elses(dir: &Path) -> Option<String> {
    let ours = |name: &str| {
        // What begins so is of a `sign` that was killed.
        let under_way = name.strip_prefix(UNDER_WAY).is_some_and(|rest| {
            rest.len() == 6 && rest.bytes().all(|byte| byte.is_ascii_alphanumeric())
        });
        OURS.contains(&name) || under_way
    };
    let names = fs::read_dir(dir).ok()?.flatten().map(|entry| entry.file_name());
    names.map(|name| name.to_string_lossy().into_owned()).find(|name| !ours(name))
}

/// Where [`keep_for_run`] makes its links: `<id>-<digest of the path>` to the folder.
const RUNS: &str = ".runs";

/// Notes that a folder of `chatimg run --keep` lies over an image, and is being used now.
///
/// # Errors
/// The note cannot be written.
pub fn keep_for_run(images: &Path, dir: &Path, id: &str) -> io::Result<()> {
    let dir = fs::canonicalize(dir)?;
    let runs = images.join(RUNS);
    fs::create_dir_all(&runs)?;
    let place = Digest::of(std::os::unix::ffi::OsStrExt::as_bytes(dir.as_os_str())).short();
    for old in fs::read_dir(&runs)?.flatten().filter(|link| kept_by(&link.path()).is_none()) {
        fs::remove_file(old.path())?;
    }
    let link = runs.join(format!("{id}-{place}"));
    match fs::remove_file(&link) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => std::os::unix::fs::symlink(dir, link),
    }
}

/// Which image a note keeps, and for which folder. A folder that is not there may be on a disk that is not, either; that is believed
/// for [`AWAY`].
fn kept_by(link: &Path) -> Option<(String, PathBuf)> {
    let name = link.file_name()?.to_str()?;
    let (dir, (id, _)) = (fs::read_link(link).ok()?, name.split_once('-')?);
    match fs::read_to_string(dir.join("image")) {
        Ok(now) => (now.trim() == id).then(|| (id.to_owned(), dir)),
        Err(_) if older(link, AWAY) => None,
        Err(_) => Some((id.to_owned(), dir)),
    }
}

/// Images that folders of `chatimg run --keep` lie over.
fn kept_by_runs(images: &Path) -> BTreeMap<String, PathBuf> {
    let links = entries(&images.join(RUNS)).unwrap_or_default();
    links.iter().filter_map(|link| kept_by(link)).collect()
}

/// What `chatimg test` left, unless it is at work.
fn tested(images: &Path) -> Result<Vec<PathBuf>, ImageError> {
    let tests = images.join(".tests");
    if !is_free(&tests.join("lock")) {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    let own: BTreeSet<_> = ["guests", "images"].map(|name| tests.join(name)).into();
    for dir in &own {
        let made = |path: &PathBuf| !path.is_symlink() && older(&path.join(MANIFEST), TESTED);
        found.extend(entries(dir).unwrap_or_default().into_iter().filter(made));
    }
    let looked_at = |path: &PathBuf| path.is_dir() && !own.contains(path) && untouched(path, LOOK);
    found.extend(entries(&tests)?.into_iter().filter(looked_at));
    Ok(found)
}

/// What a `chatimg run` left that was killed.
fn run(images: &Path) -> Option<PathBuf> {
    let dir = images.join(".run");
    (is_free(&dir.join("lock"))).then_some(dir)
}

/// What `chatimg verify` left: what a killed one was building at once, an image that differed when there was time to look at
/// it.
fn verified(images: &Path) -> Result<Vec<PathBuf>, ImageError> {
    let ours = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(VERIFYING) && path.is_dir() && !path.is_symlink() && is_free(path)
    };
    let built = |dir: &Path| {
        entries(dir).is_ok_and(|below| below.iter().any(|image| image.join(MANIFEST).exists()))
    };
    let mut found = entries(images)?;
    found.retain(|path| ours(path) && (!built(path) || untouched(path, LOOK)));
    Ok(found)
}

/// Whether nothing in a folder was written for so long.
fn untouched(dir: &Path, age: Duration) -> bool {
    older(dir, age)
        && entries(dir).is_ok_and(|below| {
            below
                .iter()
                .all(|path| if path.is_dir() { untouched(path, age) } else { older(path, age) })
        })
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::symlink;
    use std::time::SystemTime;

    use nix::fcntl::AT_FDCWD;
    use nix::sys::stat::{UtimensatFlags, utimensat};
    use nix::sys::time::TimeSpec;

    use super::super::tests::images;
    use super::super::{again, hold};
    use super::*;

    fn names(gone: &[Leftover]) -> Vec<String> {
        gone.iter()
            .map(|it| it.path.file_name().expect("a name").to_string_lossy().into_owned())
            .collect()
    }

    #[test]
    fn the_current_image_and_the_newest_others_stay() {
        let dir = images(&["a1", "b2", "c3", "d4", "e5"]);
        for (keep, expected) in [(0, &["b2", "c3", "d4", "e5"][..]), (2, &["d4", "e5"]), (9, &[])] {
            let (gone, spared) = leftovers(dir.path(), keep).expect("looks");
            assert_eq!(
                (names(&gone), spared),
                (expected.iter().map(|&id| id.to_owned()).collect(), vec![])
            );
        }
        // Whatever the age of the one that `current` points at.
        fs::remove_file(dir.path().join("current")).expect("remove");
        symlink("e5", dir.path().join("current")).expect("link");
        // What `sign` and `key sign` put there, or leave if they are killed.
        for name in ["root.img", "update.json", "SHA256SUMS.minisig", ".tmpa1B2c3"] {
            fs::write(dir.path().join("c3").join(name), "").expect("write");
        }
        let (gone, _) = leftovers(dir.path(), 1).expect("looks");
        assert_eq!(names(&gone), ["b2", "c3", "d4"]);
        for leftover in &gone {
            assert!(remove(dir.path(), leftover).expect("removes"));
        }
        let left = list(dir.path()).expect("lists");
        assert_eq!(left.iter().map(|image| &*image.id).collect::<Vec<_>>(), ["a1", "e5"]);
        // It became the newest since it was looked at.
        assert!(
            !remove(dir.path(), &Leftover { path: left[1].dir.clone(), on_disk: 0 })
                .expect("looks")
        );
    }

    #[test]
    fn what_somebody_needs_stays_and_is_told() {
        let dir = images(&["a1", "b2", "c3", "d4", "e5"]);
        let path = |name: &str| dir.path().join(name);
        fs::write(path("b2/grype.json"), "mine").expect("write");
        fs::write(path("c3/disk.img"), "a guest wrote to it").expect("write");
        let kept = tempfile::tempdir().expect("folder");
        fs::write(kept.path().join("image"), "d4\n").expect("write");
        keep_for_run(dir.path(), kept.path(), "d4").expect("notes it");
        keep_for_run(dir.path(), kept.path(), "d4").expect("again");
        let held = hold(&path("e5"));
        let (gone, spared) = leftovers(dir.path(), 0).expect("looks");
        assert_eq!(names(&gone), Vec::<String>::new());
        let words = ["grype.json in it", "goes on with it", "being used", "not what was built"];
        assert_eq!(spared.len(), words.len());
        for (spared, words) in spared.iter().zip(words) {
            assert!(spared.why.contains(words), "{words}: {}", spared.why);
        }
        let e5 = Leftover { path: path("e5"), on_disk: 0 };
        assert!(!remove(dir.path(), &e5).expect("looks") && path("e5").exists());
        drop((held, kept));
        // The folder may be on a disk that is not there now.
        let (gone, spared) = leftovers(dir.path(), 0).expect("looks");
        assert_eq!(names(&gone), ["e5"]);
        assert!(spared.iter().any(|it| it.why.contains("which is away")), "{spared:?}");
        let link = entries(&path(RUNS)).expect("lists").remove(0);
        let long_ago = TimeSpec::new(1_000_000_000, 0);
        utimensat(AT_FDCWD, &link, &long_ago, &long_ago, UtimensatFlags::NoFollowSymlink)
            .expect("time");
        let (gone, _) = leftovers(dir.path(), 0).expect("looks");
        assert_eq!(names(&gone), ["d4", "e5"]);
        // Another one's note takes it away; nobody else does.
        let other = tempfile::tempdir().expect("folder");
        assert!(link.is_symlink());
        keep_for_run(dir.path(), other.path(), "a1").expect("notes it");
        assert!(!link.is_symlink());
        // It was begun again, with another image.
        fs::write(other.path().join("image"), "c3\n").expect("write");
        assert_eq!(kept_by_runs(dir.path()), BTreeMap::new());
    }

    #[test]
    fn what_tests_and_runs_left_goes_when_they_are_over() {
        let dir = images(&["a1"]);
        let path = |name: &str| dir.path().join(name);
        for name in
            [".tests/guests/g1", ".tests/guests/g2", ".tests/smoke-bios", ".tests/old-bios", ".run"]
        {
            fs::create_dir_all(path(name)).expect("folder");
        }
        for name in [
            ".tests/lock",
            ".run/lock",
            ".tests/guests/g1/manifest.json",
            ".tests/guests/g2/manifest.json",
        ] {
            fs::write(path(name), "").expect("write");
        }
        let age = |name: &str, days: u64| {
            let time = SystemTime::now() - Duration::from_secs(86_400 * days);
            File::open(path(name)).and_then(|file| file.set_modified(time)).expect("time");
        };
        age(".tests/guests/g1/manifest.json", 2);
        age(".tests/smoke-bios", 2);
        age(".tests/old-bios", 8);
        let held = [".tests/lock", ".run/lock"].map(|name| File::open(path(name)).expect("lock"));
        held.iter().for_each(|file| file.lock().expect("locks"));
        assert_eq!(leftovers(dir.path(), 0).expect("looks").0, []);
        drop(held);
        let (gone, _) = leftovers(dir.path(), 0).expect("looks");
        assert_eq!(names(&gone), ["g1", "old-bios", ".run"]);
        gone.iter().for_each(|it| assert!(remove(dir.path(), it).expect("removes")));
        assert!(path(".tests/guests/g2").exists() && path(".tests/smoke-bios").exists());
        assert!(!path(".run").exists() && !path(".tests/old-bios").exists());
    }

    #[test]
    fn what_a_killed_verify_left_goes_and_what_it_found_stays_to_be_looked_at() {
        let dir = images(&["a1"]);
        let living = again(dir.path()).expect("begins");
        let half = again(dir.path()).expect("begins").keep();
        fs::create_dir(half.join(".building-x")).expect("folder");
        fs::write(half.join(".building-x/disk.img"), "half").expect("write");
        let found = again(dir.path()).expect("begins").keep();
        fs::create_dir(found.join("b2")).expect("folder");
        fs::write(found.join("b2/manifest.json"), "{}").expect("write");
        let (gone, spared) = leftovers(dir.path(), 0).expect("looks");
        assert_eq!(gone.iter().map(|it| &it.path).collect::<Vec<_>>(), [&half]);
        assert_eq!(spared, []);
        for path in ["b2/manifest.json", "b2", ""] {
            let before = SystemTime::now() - LOOK - Duration::from_secs(60);
            File::open(found.join(path)).and_then(|it| it.set_modified(before)).expect("time");
        }
        let (gone, _) = leftovers(dir.path(), 0).expect("looks");
        assert_eq!(gone.len(), 2);
        gone.iter().for_each(|it| assert!(remove(dir.path(), it).expect("removes")));
        assert!(!half.exists() && !found.exists() && living.path().exists());
        let path = living.path().to_owned();
        drop(living);
        assert!(!path.exists());
    }
}
