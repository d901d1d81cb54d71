//! `chatimg init`: a project that a build takes as it is, or nothing at all.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::project::{chatimg, text};
use chatimg::appliance;
use chatimg::lock::{Lock, unanswered};

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFbfE9mvYB5sMSFtYlnAYhBhwyyNOTTk3LJxfoI7jXgN me@laptop";

/// In a folder of its own, which is the home too.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn init_in(&self, dir: &Path, args: &[&str]) -> Output {
        let mut command = Command::new(chatimg());
        command.arg("init").args(args).current_dir(dir).env("HOME", self.0.path());
        command.output().expect("chatimg runs")
    }

    fn init(&self, args: &[&str]) -> Output {
        self.init_in(self.0.path(), args)
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).expect("list");
        let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
        let mut names: Vec<_> = entries.flatten().map(name).collect();
        names.sort();
        names
    }
}

fn succeeds(output: &Output) -> String {
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

/// Every file below a folder, with whether it is executable and what is in it; but for what editors, merges and Python leave, which
/// is not embedded either.
fn files(dir: &Path, below: &str, found: &mut BTreeSet<(String, bool, Vec<u8>)>) {
    for entry in fs::read_dir(dir.join(below)).expect("list").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name == "__pycache__"
            || name.starts_with('.')
            || name.ends_with('~')
            || name.ends_with(".orig")
        {
            continue;
        }
        let name = format!("{below}/{name}");
        let meta = entry.metadata().expect("metadata");
        if meta.is_dir() {
            files(dir, &name, found);
        } else {
            let executable = meta.permissions().mode() & 0o100 != 0;
            found.insert((name, executable, fs::read(entry.path()).expect("read")));
        }
    }
}

#[test]
fn a_new_project_has_what_this_one_has_and_its_lock_fits() {
    let place = Place::new();
    let said = succeeds(&place.init(&["chat", "--domain", "chat.example.org", "--admin", "eve"]));
    assert!(said.contains("cd chat") && said.contains("chatimg build"), "{said}");
    assert!(said.contains("nobody can log in"), "{said}");
    assert!(!said.contains("chatimg lock"), "{said}");
    assert_eq!(place.names(), ["chat"]);

    let (dir, here) = (place.path("chat"), Path::new(env!("CARGO_MANIFEST_DIR")));
    for folder in ["overlays", "qemu-tests", "docs"] {
        let (mut new, mut ours) = (BTreeSet::new(), BTreeSet::new());
        files(&dir, folder, &mut new);
        files(here, folder, &mut ours);
        let differ: Vec<_> = new.symmetric_difference(&ours).map(|(name, ..)| name).collect();
        assert!(
            differ.is_empty(),
            "not in the program, or another there: {differ:?}; touch src/main.rs"
        );
        assert!(new.len() > 5);
    }
    let plan = appliance::load(&dir.join("appliance.toml")).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!((plan.domain.as_str(), plan.admin.name.as_str()), ("chat.example.org", "eve"));
    // The same as this project's but for the names, so the image is that of its tests.
    let ours = appliance::load(&here.join("appliance.toml")).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(plan.request, ours.request);
    assert_eq!(format!("{:?}", plan.target), format!("{:?}", ours.target));
    let options = |plan: &appliance::Plan| {
        plan.overlays.iter().map(|one| (one.name.clone(), one.options.clone())).collect::<Vec<_>>()
    };
    assert_eq!(options(&plan), options(&ours));
    let lock = fs::read(dir.join("appliance.lock")).expect("lock");
    assert!(lock == fs::read(here.join("appliance.lock")).expect("lock"));
    let lock = Lock::parse(&text(&lock), "appliance.lock").unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(unanswered(&lock, &plan.request), Vec::<String>::new());
    let ignored = fs::read_to_string(dir.join(".gitignore")).expect(".gitignore");
    assert!(ignored.contains("/images/\n") && ignored.contains("/host.toml\n"), "{ignored}");
}

#[test]
fn every_option_is_told_and_taking_away_a_mark_sets_it() {
    let place = Place::new();
    succeeds(&place.init(&["chat"]));
    let path = place.path("chat/appliance.toml");
    let written = fs::read_to_string(&path).expect("appliance.toml");
    assert!(written.lines().all(|line| line.chars().count() <= 160), "{written}");
    let before = appliance::load(&path).unwrap_or_else(|e| panic!("{e}"));
    for overlay in &before.overlays {
        for option in overlay.options.keys() {
            let line = format!("\n#{option} = ");
            let (_, part) =
                written.split_once(&format!("[options.{}]", overlay.name)).expect("table");
            assert!(part.split("\n[").next().is_some_and(|part| part.contains(&line)), "{line}");
        }
    }
    // So is every key of appliance.toml that there is; `raid` says how many disks.
    let manual = fs::read_to_string(place.path("chat/docs/overlay.md")).expect("overlay.md");
    let (_, rows) = manual.split_once("\n## appliance.toml\n").expect("its keys");
    let keys: Vec<_> = rows.lines().filter_map(|row| row.strip_prefix("| `")).collect();
    assert!(keys.len() > 15, "{keys:?}");
    for key in keys.iter().filter_map(|row| row.split('`').next()) {
        let name = key.rsplit('.').next().expect("a name");
        let told = [format!("\n{name} = "), format!("\n#{name} = ")];
        let elsewhere = ["target.disks", "options.<overlay>"].contains(&key);
        assert!(elsewhere || told.iter().any(|line| written.contains(line)), "{key}");
    }
    // All of them at once say what held before.
    let set: Vec<_> = written
        .lines()
        .map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line))
        .collect();
    assert_ne!(set.join("\n") + "\n", written);
    fs::write(&path, set.join("\n")).expect("write");
    let after = appliance::load(&path).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(format!("{before:?}"), format!("{after:?}"));
}

#[test]
fn the_small_machine_has_the_same_lock() {
    let place = Place::new();
    let said = succeeds(&place.init(&["--small", "chat"]));
    assert!(!said.contains("chatimg lock"), "{said}");
    let path = place.path("chat/appliance.toml");
    let target = appliance::load(&path).unwrap_or_else(|e| panic!("{e}")).target;
    assert_eq!((target.cores, target.memory, target.disks.count()), (1, 1 << 30, 1));
    assert!(fs::read_to_string(&path).expect("read").contains("\n#raid = \"none\" "));
}

#[test]
fn keys_come_from_a_file_or_from_home() {
    let place = Place::new();
    fs::create_dir(place.path(".ssh")).expect("folder");
    fs::write(place.path(".ssh/id_ed25519.pub"), format!("{KEY}\n")).expect("write");
    let keys = |dir: &str| {
        let path = place.path(dir).join("appliance.toml");
        appliance::load(&path).unwrap_or_else(|e| panic!("{e}")).admin.authorized_keys
    };
    let said = succeeds(&place.init(&["home"]));
    assert!(
        said.contains("admin can log in with") && said.contains(".ssh/id_ed25519.pub"),
        "{said}"
    );
    assert_eq!(keys("home"), [KEY]);
    let other = KEY.replace("me@laptop", "say \"hi\" \\o/");
    fs::write(place.path("keys"), format!("# both\n{KEY}\n{other}\n")).expect("write");
    succeeds(&place.init(&["--authorized-keys", "keys", "file"]));
    assert_eq!(keys("file"), [KEY.to_owned(), other]);
    fs::write(place.path("keys"), "-----BEGIN OPENSSH PRIVATE KEY-----\n").expect("write");
    refused(&place, &["--authorized-keys", "keys", "bad"], "this is a private key");
    refused(&place, &["--authorized-keys", "none", "bad"], "reading none");
}

/// Nothing new is there, and the message says why.
fn refused(place: &Place, args: &[&str], words: &str) {
    let before = place.names();
    let output = place.init(args);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
    assert!(said.starts_with("error: ") && said.contains(words), "{args:?}: {said}");
    assert_eq!(place.names(), before);
}

#[test]
fn what_cannot_be_leaves_nothing() {
    let place = Place::new();
    refused(&place, &["--domain", "chat", "new"], "--domain: \"chat\" is not a domain name");
    refused(&place, &["--domain", "Chat.Example.org", "new"], "\"chat.example.org\"");
    refused(&place, &["--admin", "root", "new"], "--admin: \"root\" is an account");
    refused(&place, &["--stack", "irc", "new"], "there is no stack 'irc'; there are:\n  matrix: ");
    refused(&place, &["--admin", "matrix-synapse", "new"], "\"matrix-synapse\"");
    refused(&place, &["no/such/folder"], "no/such");
    fs::create_dir(place.path("full")).expect("folder");
    fs::write(place.path("full/.hidden"), "mine").expect("write");
    refused(&place, &["full"], "full is not empty");
    assert_eq!(fs::read_dir(place.path("full")).expect("list").count(), 1);
    fs::write(place.path("file"), "mine").expect("write");
    refused(&place, &["file"], "file is not empty");
    fs::create_dir(place.path("empty")).expect("folder");
    refused(&place, &["--stack", "irc", "empty"], "there is no stack");
    assert_eq!(fs::read_dir(place.path("empty")).expect("list").count(), 0);
}

#[test]
fn the_folder_one_is_in_is_filled() {
    let place = Place::new();
    let dir = place.path("empty");
    fs::create_dir(&dir).expect("folder");
    let said = succeeds(&place.init_in(&dir, &["."]));
    assert!(!said.contains("cd "), "{said}");
    let mut names: Vec<_> = fs::read_dir(&dir)
        .expect("list")
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    let wanted =
        [".gitignore", "appliance.lock", "appliance.toml", "docs", "overlays", "qemu-tests"];
    assert_eq!(names, wanted);
    let again = place.init_in(&dir, &["."]);
    assert!(text(&again.stderr).contains(". is not empty"), "{}", text(&again.stderr));
}

/// Whatever the umask: what compose looks at is whether the owner may execute a file.
#[test]
fn modes_obey_the_umask() {
    let place = Place::new();
    let script = format!("umask 077 && exec {} init private", chatimg());
    let output = Command::new("sh").args(["-c", &script]).current_dir(place.0.path()).output();
    succeeds(&output.expect("sh"));
    let mode =
        |name: &str| fs::metadata(place.path(name)).expect("file").permissions().mode() & 0o777;
    assert_eq!(mode("private"), 0o700);
    assert_eq!(mode("private/appliance.toml"), 0o600);
    assert_eq!(mode("private/overlays/base/files/usr/bin/chatimg-admin"), 0o700);
}
