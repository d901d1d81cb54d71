//! `chatimg build` as a user runs it, on this project's own appliance and the store that a first build filled.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::project::{Copy, chatimg, store_dir, text};

/// Inode, size and time of every file, to see whether anything was written.
fn state(dir: &Path) -> BTreeMap<PathBuf, (u64, u64, i64)> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir).expect("folder").flatten() {
        let meta = fs::symlink_metadata(entry.path()).expect("metadata");
        if meta.is_dir() {
            files.extend(state(&entry.path()));
        } else {
            files.insert(entry.path(), (meta.ino(), meta.size(), meta.mtime_nsec()));
        }
    }
    files
}

fn assert_built(output: &Output) {
    assert!(output.status.success(), "{}", text(&output.stderr));
}

/// Interrupts a build as soon as one of its steps is done.
fn interrupt_after(step: &str, command: &mut Command) {
    let mut child = command.stderr(Stdio::piped()).spawn().expect("runs");
    // A step's time is said when it ends.
    let mut words = BufReader::new(child.stderr.take().expect("piped"));
    let mut line = String::new();
    while words.read_line(&mut line).expect("a line") > 0 && !line.contains(step) {
        line.clear();
    }
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).expect("signal");
    let mut rest = String::new();
    words.read_to_string(&mut rest).expect("the rest");
    assert_eq!(child.wait().expect("ends").code(), Some(130), "{rest}");
    assert!(rest.contains("interrupted"), "{rest}");
}

#[test]
fn a_second_build_finds_everything_made() {
    let copy = Copy::new();
    assert_built(&copy.run(&["build"]));
    let (before, results) = (state(&copy.images()), state(&store_dir().join("results")));
    let again = copy.run(&["build"]);
    assert_built(&again);
    assert!(text(&again.stdout).contains("(unchanged)"), "{}", text(&again.stdout));
    assert_eq!(state(&copy.images()), before);
    let now = state(&store_dir().join("results"));
    // Other tests fill the store meanwhile; what was there is as it was.
    for (path, state) in results {
        assert_eq!(now.get(&path), Some(&state), "{}", path.display());
    }
}

#[test]
fn a_changed_template_makes_another_image_and_back_the_same_one() {
    let copy = Copy::new();
    assert_built(&copy.run(&["build"]));
    let before = copy.current();
    copy.edit("max-upload = \"50 MiB\"", "max-upload = \"51 MiB\"");
    assert_built(&copy.run(&["build"]));
    assert_ne!(copy.current(), before);
    copy.edit("51 MiB", "50 MiB");
    assert_built(&copy.run(&["build"]));
    assert_eq!(copy.current(), before);
}

/// What a build says that must fail.
fn refused(copy: &Copy) -> String {
    let output = copy.run(&["build"]);
    let words = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{words}");
    words
}

/// Adds an overlay of one file, and nothing that would have to be locked.
fn add_overlay(copy: &Copy, name: &str, path: &str, contents: &str) {
    let dir = copy.dir().join("overlays").join(name);
    let file = dir.join("files").join(path);
    fs::create_dir_all(file.parent().expect("a folder")).expect("folders");
    fs::write(dir.join("overlay.toml"), "description = \"a test\"\n").expect("write");
    fs::write(file, contents).expect("write");
    copy.edit("packages = []", &format!("overlays = [\"{name}\"]"));
}

#[test]
fn a_mistake_in_a_template_is_shown_with_its_place() {
    let copy = Copy::new();
    add_overlay(&copy, "motd", "etc/motd.j2", "Welcome\nto {{ appliance.domian }}!\n");
    let words = refused(&copy);
    let expected = "overlays/motd/files/etc/motd.j2:2:7: the template uses appliance.domian, which is not \
                    defined\n  2 | to {{ appliance.domian }}!\n    |       ^^^^^^^^^^^^^^^^\n  help: did you mean";
    assert!(words.contains(expected), "{words}");
}

#[test]
fn a_driver_that_another_one_needs_is_not_taken_out() {
    for (pattern, expected) in [
        (
            "/usr/lib/modules/*/kernel/drivers/scsi/libsas",
            "it needs the module libsas, which is not there",
        ),
        (
            "/usr/lib/modules/*/kernel/libsass",
            "overlays/less/overlay.toml: remove-files names \"/usr/lib/modules/*/",
        ),
    ] {
        let copy = Copy::new();
        add_overlay(&copy, "less", "etc/motd", "less\n");
        let file = copy.dir().join("overlays/less/overlay.toml");
        fs::write(file, format!("description = \"a test\"\nremove-files = [\"{pattern}\"]\n"))
            .expect("write");
        let words = refused(&copy);
        assert!(words.contains(expected), "{words}");
    }
}

#[test]
fn a_private_key_in_the_tree_is_refused() {
    let copy = Copy::new();
    let key = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA==\n-----END PRIVATE KEY-----\n";
    add_overlay(&copy, "keys", "etc/ssl/own.pem", key);
    let words = refused(&copy);
    assert!(words.contains("the image would hold secrets"), "{words}");
    assert!(words.contains("\n  /etc/ssl/own.pem:1: a private key (PEM)\n"), "{words}");
    assert!(!copy.images().join("current").exists());
}

#[test]
fn a_declared_secret_that_the_tree_has_already_is_refused() {
    let copy = Copy::new();
    let path = "var/lib/matrix-synapse/keys/form_secret";
    add_overlay(&copy, "leak", path, "no key, but no secret any more either\n");
    let words = refused(&copy);
    assert!(words.contains(&format!("/{path} is declared in [[secrets]]")), "{words}");
}

#[test]
fn two_overlays_with_one_file_are_refused() {
    let copy = Copy::new();
    add_overlay(&copy, "walls", "etc/nftables.conf", "# none\n");
    let words = refused(&copy);
    assert!(
        words.contains(
            "/etc/nftables.conf: files/ of overlay \"walls\" has this file, and files/ of overlay \"firewall\" has it, too"
        ),
        "{words}"
    );
    assert!(!copy.images().join("current").exists());
}

#[test]
fn what_the_lock_lacks_is_named_and_nothing_is_resolved() {
    let copy = Copy::new();
    copy.edit("packages = []", "packages = [\"tmux\"]");
    let before = fs::read(copy.dir().join("appliance.lock")).expect("lock");
    let output = copy.run(&["build"]);
    let words = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(words.contains("Debian package tmux") && words.contains("`chatimg lock`"), "{words}");
    assert_eq!(fs::read(copy.dir().join("appliance.lock")).expect("lock"), before);
    assert!(!copy.images().exists());

    fs::remove_file(copy.dir().join("appliance.lock")).expect("remove");
    let output = copy.run(&["build"]);
    let words = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(words.contains("appliance.lock is missing; run `chatimg lock`"), "{words}");
}

#[test]
fn an_input_that_nobody_has_is_named_with_every_place() {
    let copy = Copy::new();
    let empty = copy.root().join("empty");
    fs::create_dir(&empty).expect("folder");
    let store = copy.root().join("store");
    let output = copy
        .command(&["build"])
        .env("CHATIMG_STORE", &store)
        .env("CHATIMG_DEBIAN", format!("http://127.0.0.1:1/debian {}", empty.display()))
        .env("CHATIMG_DEBIAN_SECURITY", &empty)
        .env("CHATIMG_PYPI", &empty)
        .output()
        .expect("runs");
    let words = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    for part in ["no place has it", "http://127.0.0.1:1/debian", "CHATIMG_DEBIAN", "empty"] {
        assert!(words.contains(part), "{part}: {words}");
    }
    assert!(!copy.images().exists());
}

#[test]
fn an_interrupted_build_leaves_current_as_it_was_and_goes_on_later() {
    let copy = Copy::new();
    assert_built(&copy.run(&["build"]));
    let before = copy.current();
    copy.edit("50 MiB", "52 MiB");
    // The disks are written next.
    interrupt_after("composing the root file system", &mut copy.command(&["build"]));
    assert_eq!(copy.current(), before);
    let left: Vec<_> = fs::read_dir(copy.images()).expect("images").flatten().collect();
    let building = left.iter().any(|e| e.file_name().to_string_lossy().starts_with(".building"));
    assert!(!building, "{left:?}");

    assert_built(&copy.run(&["build"]));
    assert_ne!(copy.current(), before);
    copy.edit("52 MiB", "50 MiB");
    assert_built(&copy.run(&["build"]));
    assert_eq!(copy.current(), before);
}

/// In a mount namespace of its own, so that the small file system is seen by nobody else.
#[test]
fn a_full_disk_is_said_and_costs_nothing_that_was_there() {
    let copy = Copy::new();
    assert_built(&copy.run(&["build"]));
    copy.edit("50 MiB", "53 MiB");
    let script =
        "mount -t tmpfs -o size=200m none \"$0\" && \"$@\"; code=$?; ls -A \"$0\"; exit $code";
    let output = Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-c", script])
        .arg(copy.images())
        .arg(chatimg())
        .args(["build", "--appliance"])
        .arg(copy.dir().join("appliance.toml"))
        .env("CHATIMG_STORE", store_dir())
        .output()
        .expect("unshare");
    let words = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(words.contains("No space left on device"), "{words}");
    assert!(words.contains("free some space"), "{words}");
    let left = text(&output.stdout);
    assert!(!left.contains("current") && !left.contains(".building"), "{left}");
}
