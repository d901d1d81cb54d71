//! `chatimg lock` as a user runs it, against the archives that this machine is set up for, and wrong ones.

use std::collections::BTreeMap;
use std::fs;

use crate::project::{Copy, text};
use chatimg::lock::Lock;

fn read(copy: &Copy) -> Lock {
    let text = fs::read_to_string(copy.dir().join("appliance.lock")).expect("lock");
    Lock::parse(&text, "appliance.lock").unwrap_or_else(|error| panic!("{error}"))
}

fn add_package(copy: &Copy, name: &str) {
    copy.edit("packages = []", &format!("packages = [\"{name}\"]"));
}

#[test]
fn a_new_package_is_added_and_the_rest_stays() {
    let copy = Copy::new();
    let first = copy.run(&["lock"]);
    assert!(first.status.success(), "{}", text(&first.stderr));
    let before = read(&copy);
    // A new index may have come meanwhile, but no package moves by itself.
    let again = copy.run(&["lock"]);
    assert!(again.status.success(), "{}", text(&again.stderr));
    assert_eq!(
        (read(&copy).debs, read(&copy).wheels),
        (before.debs.clone(), before.wheels.clone())
    );

    add_package(&copy, "tmux");
    let output = copy.run(&["lock"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("+ debian tmux "), "{}", text(&output.stdout));
    let after = read(&copy);
    let versions = |lock: &Lock| -> BTreeMap<String, String> {
        lock.debs.iter().map(|deb| (deb.name.clone(), deb.version.clone())).collect()
    };
    let now = versions(&after);
    for (name, version) in versions(&before) {
        assert_eq!(now.get(&name), Some(&version), "{name}");
    }
    assert!(now.contains_key("tmux"));
    assert_eq!(after.wheels, before.wheels);
}

#[test]
fn unknown_names_are_named_and_the_lock_stays() {
    let copy = Copy::new();
    let before = fs::read(copy.dir().join("appliance.lock")).expect("lock");
    let output = copy.run(&["lock", "--update", "no-such-thing"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("no-such-thing"), "{}", text(&output.stderr));

    add_package(&copy, "nginxx");
    let output = copy.run(&["lock"]);
    let words = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(words.contains("nginxx") && words.contains("nginx"), "{words}");
    assert_eq!(fs::read(copy.dir().join("appliance.lock")).expect("lock"), before);
}

#[test]
fn an_archive_that_is_down_or_unsigned_is_refused() {
    let copy = Copy::new();
    let before = fs::read(copy.dir().join("appliance.lock")).expect("lock");
    let archive = copy.root().join("archive");
    let suite = archive.join("dists/trixie");
    fs::create_dir_all(&suite).expect("folder");
    let release =
        "Origin: Debian\nSuite: stable\nCodename: trixie\nDate: Sat, 01 Jan 2028 00:00:00 UTC\n";
    fs::write(suite.join("InRelease"), release).expect("write");
    let lock = |place: &str| {
        let output = copy.command(&["lock"]).env("CHATIMG_DEBIAN", place).output().expect("runs");
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(fs::read(copy.dir().join("appliance.lock")).expect("lock"), before);
        text(&output.stderr)
    };
    let words = lock("http://127.0.0.1:1/debian");
    assert!(words.contains("InRelease") && words.contains("127.0.0.1:1"), "{words}");
    let words = lock(&archive.display().to_string());
    assert!(words.contains("trixie") && words.contains("sign"), "{words}");
}

#[test]
fn an_index_older_than_the_locked_one_is_refused() {
    let copy = Copy::new();
    let path = copy.dir().join("appliance.lock");
    let text_before = fs::read_to_string(&path).expect("lock");
    let mut lock = read(&copy);
    for index in &mut lock.indexes {
        index.date += 10 * 365 * 24 * 3600;
    }
    let newer = lock.to_toml();
    assert_ne!(newer, text_before);
    fs::write(&path, &newer).expect("write");
    let output = copy.run(&["lock"]);
    let words = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(words.contains("made from a newer one") && words.contains("rolled back"), "{words}");
    assert_eq!(fs::read_to_string(&path).expect("lock"), newer);
}
