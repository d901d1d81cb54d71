use super::*;
use crate::debian::index::SourceError;
use crate::debian::testing::{Memory, NOW, Signer, TestSuite, stanza, xz};
use crate::digest::Digest;
use crate::lock::DebArchive;

fn texts() -> [String; 3] {
    let trixie = [
        stanza("base", "1", "Essential: yes\nDepends: libc"),
        stanza("libc", "1", ""),
        stanza("server", "1", "Depends: libc (>= 1), lib | other"),
        stanza("lib", "1", ""),
        stanza("tool", "1", "Depends: libc"),
        stanza("stuck", "1", "Depends: libc (>= 9)"),
    ];
    [trixie.concat(), stanza("lib", "2", ""), stanza("libc", "1.1", "")]
}

fn suites() -> [TestSuite; 3] {
    let texts = texts();
    TestSuite::all([&texts[0], &texts[1], &texts[2]])
}

fn published(suites: &[TestSuite]) -> Memory {
    let mut memory = Memory::default();
    suites.iter().for_each(|suite| suite.publish(&Signer::new(1), &mut memory));
    memory
}

fn request(image: &[&str]) -> BTreeMap<Group, BTreeSet<String>> {
    let set = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    BTreeMap::from([(Group::Image, set(image)), (Group::Build, set(&["tool"]))])
}

fn try_lock(
    source: &dyn IndexSource,
    image: &[&str],
    previous: Option<&Lock>,
    update: &UpdateSet,
) -> Result<DebLock, DebLockError> {
    resolve(&Signer::new(1).keyring(), &request(image), previous, update, source, NOW)
}

/// The whole chain of causes of the refusal.
fn refusal(source: &dyn IndexSource, image: &[&str], previous: Option<&Lock>) -> String {
    let error = try_lock(source, image, previous, &UpdateSet::None).unwrap_err();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

fn assert_refused(source: &dyn IndexSource, parts: &[&str]) {
    let text = refusal(source, &["server"], None);
    for part in parts {
        assert!(text.contains(part), "'{part}' is not in: {text}");
    }
}

fn versions(lock: &DebLock) -> Vec<String> {
    lock.debs.iter().map(|deb| format!("{} {}", deb.name, deb.version)).collect()
}

#[test]
fn a_lock_has_the_newest_of_all_suites_and_who_needs_it() {
    let lock = try_lock(&published(&suites()), &["server"], None, &UpdateSet::None).unwrap();
    assert_eq!(versions(&lock), ["base 1", "lib 2", "libc 1.1", "server 1", "tool 1"]);
    let groups: Vec<Vec<Group>> =
        lock.debs.iter().map(|deb| deb.groups.iter().copied().collect()).collect();
    use Group::{Build, Image};
    assert_eq!(groups, [vec![Image], vec![Image], vec![Image, Build], vec![Image], vec![Build]]);
    let libc = &lock.debs[2];
    assert_eq!(libc.archive, DebArchive::DebianSecurity);
    assert_eq!((libc.path.as_str(), libc.size), ("pool/main/libc/libc_1.1_amd64.deb", 1000));
    assert_eq!(libc.digest, Digest::of(b"libc 1.1"));
    let names: Vec<&str> = lock.indexes.iter().map(|index| index.suite.as_str()).collect();
    assert_eq!(names, ["trixie", "trixie-security", "trixie-updates"]);
    assert!(lock.indexes.iter().all(|index| index.date == NOW - 86_400));
}

#[test]
fn locked_versions_stay_until_told_to_move() {
    let memory = published(&suites());
    let debs = try_lock(&memory, &["server"], None, &UpdateSet::None).unwrap().debs;
    let mut old = Lock { debs, ..Lock::default() };
    for deb in &mut old.debs {
        deb.version = "1".to_owned();
    }
    let lock = |update| versions(&try_lock(&memory, &["server"], Some(&old), &update).unwrap());
    assert_eq!(lock(UpdateSet::None), ["base 1", "lib 1", "libc 1", "server 1", "tool 1"]);
    let named = UpdateSet::Names(BTreeSet::from(["lib".to_owned()]));
    assert_eq!(lock(named), ["base 1", "lib 2", "libc 1", "server 1", "tool 1"]);
    assert_eq!(lock(UpdateSet::All), ["base 1", "lib 2", "libc 1.1", "server 1", "tool 1"]);
}

#[test]
fn what_is_updated_takes_along_what_is_tied_to_it() {
    let trixie = [
        stanza("server", "1", "Depends: curl"),
        stanza("tool", "1", ""),
        stanza("curl", "1", "Depends: libcurl (= 1)"),
        stanza("libcurl", "1", ""),
        stanza("base", "1", "Essential: yes"),
    ];
    let newer = [stanza("curl", "2", "Depends: libcurl (= 2)"), stanza("libcurl", "2", "")];
    let names = || UpdateSet::Names(BTreeSet::from(["libcurl".to_owned()]));
    let lock = |security: &str| {
        let old = published(&TestSuite::all([&trixie.concat(), "", ""]));
        let debs = try_lock(&old, &["server"], None, &UpdateSet::None).unwrap().debs;
        let previous = Lock { debs, ..Lock::default() };
        let new = published(&TestSuite::all([&trixie.concat(), "", security]));
        versions(&try_lock(&new, &["server"], Some(&previous), &names()).unwrap())
    };
    assert_eq!(lock(&newer.concat()), ["base 1", "curl 2", "libcurl 2", "server 1", "tool 1"]);
    // A newest that fits nothing changes nothing.
    assert_eq!(lock(&newer[1]), ["base 1", "curl 1", "libcurl 1", "server 1", "tool 1"]);
}

#[test]
fn an_index_not_signed_by_a_pinned_key_is_refused() {
    let (good, suites) = (published(&suites()), suites());
    let mut memory = good.clone();
    suites[2].publish(&Signer::new(2), &mut memory);
    assert_refused(
        &memory,
        &["trixie-security/InRelease", "not a pinned key", &Signer::new(2).key_id()],
    );

    let mut memory = good.clone();
    memory.0.insert(suites[0].path(), suites[0].release().into_bytes());
    assert_refused(&memory, &["trixie/InRelease", "no signature in it"]);

    let mut memory = good.clone();
    let in_release = memory.0.get_mut(&suites[0].path()).unwrap();
    *in_release = String::from_utf8(in_release.clone()).unwrap().replace("stable", "unstab").into();
    assert_refused(&memory, &["the text is not what this key signed"]);
}

#[test]
fn a_stale_or_rolled_back_or_mixed_up_suite_is_refused() {
    let changed = |change: &dyn Fn(&mut TestSuite)| {
        let mut suites = suites();
        change(&mut suites[1]);
        published(&suites)
    };
    assert_refused(&changed(&|suite| suite.valid_until = Some(NOW - 1)), &["was valid until 2096"]);
    assert_refused(&changed(&|suite| suite.date = NOW + 172_800), &["clock right"]);
    let other = changed(&|suite| suite.codename = "trixie".to_owned());
    assert_refused(&other, &["asked for suite 'trixie-updates'", "answered with 'trixie'"]);

    let memory = published(&suites());
    let indexes = try_lock(&memory, &["server"], None, &UpdateSet::None).unwrap().indexes;
    let mut old = Lock { indexes, ..Lock::default() };
    assert!(try_lock(&memory, &["server"], Some(&old), &UpdateSet::None).is_ok());
    old.indexes[1].date += 1;
    let text = refusal(&memory, &["server"], Some(&old));
    assert!(text.contains("'trixie-security' was made") && text.contains("rolled back"), "{text}");
}

#[test]
fn an_index_without_an_end_is_told_when_it_is_old() {
    let mut suites = suites();
    suites[0].valid_until = None;
    suites[0].date = NOW - 101 * 86_400;
    let memory = published(&suites);
    let indexes = try_lock(&memory, &["server"], None, &UpdateSet::None).unwrap().indexes;
    let lock = Lock { indexes, ..Lock::default() };
    let words = aged(&lock, NOW);
    assert_eq!(words.len(), 1, "{words:?}");
    assert!(words[0].contains("'trixie' was made 101 days ago"), "{words:?}");
    assert!(aged(&lock, NOW - 2 * 86_400).is_empty());
}

#[test]
fn a_key_that_got_away_signs_its_own_archive_only() {
    let suites = suites();
    let (main, security) = (Signer::new(1), Signer::new(2));
    let keyring = (main.keyring().only(DebArchive::Debian))
        .and(security.keyring().only(DebArchive::DebianSecurity));
    let lock = |signers: [&Signer; 3]| {
        let mut memory = Memory::default();
        for (suite, signer) in suites.iter().zip(signers) {
            suite.publish(signer, &mut memory);
        }
        resolve(&keyring, &request(&["server"]), None, &UpdateSet::None, &memory, NOW)
    };
    lock([&main, &main, &security]).unwrap();
    for (signers, path) in [
        ([&security, &main, &security], "dists/trixie/InRelease"),
        ([&main, &security, &security], "dists/trixie-updates/InRelease"),
        ([&main, &main, &main], "dists/trixie-security/InRelease"),
    ] {
        let error = lock(signers).unwrap_err();
        let words = format!("{error}: {}", std::error::Error::source(&error).unwrap());
        assert!(words.contains(path) && words.contains("not a pinned key"), "{words}");
    }
}

#[test]
fn an_index_that_is_not_the_signed_one_is_refused() {
    let (good, suites) = (published(&suites()), suites());
    let packages = suites[0].by_hash();
    let swap = |bytes: Vec<u8>| {
        let mut memory = good.clone();
        memory.0.insert(packages.clone(), bytes);
        memory
    };
    let mut wrong = good.0[&packages].clone();
    *wrong.last_mut().unwrap() ^= 1;
    assert_refused(&swap(wrong), &["SHA-256 is", "tampered with"]);
    assert_refused(&swap(good.0[&suites[1].by_hash()].clone()), &["size is"]);
    let longer = [good.0[&packages].clone(), vec![0; 4]].concat();
    assert_refused(&swap(longer), &["fetching", "bigger than"]);
    let mut memory = good.clone();
    memory.0.remove(&packages);
    assert_refused(&memory, &["fetching", "nowhere to be found"]);
}

/// A source that ignores the size it is told.
struct Endless(Memory);

impl IndexSource for Endless {
    fn get(
        &self,
        archive: DebArchive,
        place: usize,
        path: &str,
        max_size: u64,
    ) -> Result<Vec<u8>, SourceError> {
        let bytes = self.0.get(archive, place, path, max_size)?;
        Ok(if path.contains("by-hash") { [bytes, vec![0; 100]].concat() } else { bytes })
    }
}

/// The same archive at several places.
struct Mirrors(Vec<Memory>);

impl IndexSource for Mirrors {
    fn places(&self, _archive: DebArchive) -> Result<Vec<String>, SourceError> {
        Ok((0..self.0.len()).map(|number| format!("mirror {number}")).collect())
    }

    fn get(
        &self,
        archive: DebArchive,
        place: usize,
        path: &str,
        max_size: u64,
    ) -> Result<Vec<u8>, SourceError> {
        self.0[place].get(archive, 0, path, max_size)
    }
}

#[test]
fn a_bad_place_is_passed_over_and_only_if_all_are_bad_each_is_named() {
    let good = published(&suites());
    let mut foreign = good.clone();
    suites()[0].publish(&Signer::new(2), &mut foreign);
    let empty = Memory::default();
    let mirrors = Mirrors(vec![empty.clone(), foreign.clone(), good.clone()]);
    let lock = try_lock(&mirrors, &["server"], None, &UpdateSet::None).unwrap();
    let expected = try_lock(&good, &["server"], None, &UpdateSet::None).unwrap();
    assert_eq!((lock.debs, lock.indexes), (expected.debs, expected.indexes));
    let parts = ["mirror 0", "nowhere to be found", "mirror 1", "not a pinned key"];
    assert_refused(&Mirrors(vec![empty, foreign]), &parts);
}

#[test]
fn endless_files_are_refused_whatever_the_source_does() {
    assert_refused(&Endless(published(&suites())), &["bigger than the"]);
}

#[test]
fn an_xz_bomb_stops_at_the_signed_size() {
    // Signed: a small text; packed, under its own signed digest: 64 MB of zeros.
    let mut suites = suites();
    let bomb = xz(&vec![0; 64 << 20]);
    let small = suites[0].release();
    let packed = xz(suites[0].packages.as_bytes());
    let release = small.replace(
        &format!("{} {}", Digest::of(&packed), packed.len()),
        &format!("{} {}", Digest::of(&bomb), bomb.len()),
    );
    assert_ne!(small, release);
    let mut memory = published(&suites);
    memory.0.insert(suites[0].path(), Signer::new(1).sign(&release).into_bytes());
    let folder = "dists/trixie/main/binary-amd64/by-hash/SHA256";
    memory.0.insert((suites[0].archive, format!("{folder}/{}", Digest::of(&bomb))), bomb);
    let size = suites[0].packages.len();
    let found = format!("size is {}, but the signed index lists {size}", size + 1);
    assert_refused(&memory, &[&found]);

    // And a signed size that nobody should believe.
    suites[1].packages.clear();
    let huge = suites[1].release().replace(" 0 main", " 99999999999 main");
    suites.iter().for_each(|suite| suite.publish(&Signer::new(1), &mut memory));
    memory.0.insert(suites[1].path(), Signer::new(1).sign(&huge).into_bytes());
    assert_refused(&memory, &["99999999999 bytes is more than the limit"]);
}

#[test]
fn an_archive_without_by_hash_paths_is_read_by_name() {
    let (mut memory, suites) = (published(&suites()), suites());
    let bytes = memory.0.remove(&suites[0].by_hash()).unwrap();
    let path = "dists/trixie/main/binary-amd64/Packages.xz".to_owned();
    memory.0.insert((DebArchive::Debian, path), bytes);
    assert!(try_lock(&memory, &["server"], None, &UpdateSet::None).is_ok());
}

#[test]
fn hostile_stanzas_are_refused_even_when_signed() {
    let with = |stanza: String| {
        let mut suites = suites();
        suites[0].packages += &stanza;
        published(&suites)
    };
    let twice = stanza("evil", "1", "Version: 2");
    assert_refused(
        &with(twice),
        &["index of 'trixie'", "package evil", "'Version' is there twice"],
    );
    let escaping = stanza("evil", "1", "").replace("pool/main", "pool/../..");
    assert_refused(&with(escaping), &["package evil", "below pool/"]);
    let provides = stanza("evil", "1", "Provides: x (>= ");
    assert_refused(&with(provides), &["reading the Provides of evil 1"]);
    let other = stanza("lib", "1", "").replace("SHA256: ", "SHA256: 00").replace("00", "");
    let other = other.replace(&Digest::of(b"lib 1").to_string(), &Digest::of(b"x").to_string());
    assert_refused(&with(other), &["lib 1 is in the archive twice"]);
}

#[test]
fn what_cannot_be_had_is_explained() {
    let memory = published(&suites());
    let text = refusal(&memory, &["sevrer", "nonsense"], None);
    assert!(text.contains("group 'image'") && text.contains("'nonsense'"), "{text}");
    assert!(text.contains("'sevrer'; did you mean server?"), "{text}");
    let text = refusal(&memory, &["stuck"], None);
    assert!(text.contains("stuck 1 would require") && text.contains("libc (>= 9)"), "{text}");
}
