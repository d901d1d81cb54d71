//! The image that `chatimg build` made, booted: tests of `qemu-tests/`, on every firmware; the image for one disk, too.
//! Those that pull disks, update to broken images or boot others take long when the machine is emulated: they are run by hand.

mod project;

use std::path::Path;
use std::process::Command;

use project::{Copy, Project, chatimg, store_dir, text};

/// On one boot, one after the other; the first one has it anew.
#[rustfmt::skip] // One line adds a test.
const SHARED: &[&str] = &[
    "smoke",
    "firewall",
    "people",
    "turn",
    "web-client",
    "hardening",
];

/// One process for all, so that one machine runs at a time.
#[test]
fn the_image_boots_and_carries_messages() {
    let project = Project::open();
    run(&project.dir, &["build"]);
    pass(&project.dir, SHARED, "uefi");
    pass(&project.dir, &["update"], "bios");

    let single = Copy::new();
    single.edit("raid = \"mirror\"", "raid = \"none\"");
    let tests = project.dir.join("qemu-tests");
    let copied = Command::new("cp").arg("-a").arg(tests).arg(single.dir()).status();
    assert!(copied.expect("cp").success());
    run(single.dir(), &["build"]);
    pass(single.dir(), &["host-settings"], "bios");
    let (success, words) = output(single.dir(), &["test", "raid-a"]);
    assert!(!success && words.contains("raid-a: left out: it is for raid = \"mirror\""), "{words}");
}

fn pass(dir: &Path, tests: &[&str], firmware: &str) {
    let words = run(dir, &[&["test", "--firmware", firmware], tests].concat());
    for test in tests {
        assert!(words.contains(&format!("{test}-{firmware}: passed in ")), "{words}");
    }
    assert_eq!(words.matches(", kernel after ").count(), 1, "one boot: {words}");
}

fn run(dir: &Path, args: &[&str]) -> String {
    let (success, words) = output(dir, args);
    assert!(success, "{args:?}: {words}");
    words
}

fn output(dir: &Path, args: &[&str]) -> (bool, String) {
    let mut command = Command::new(chatimg());
    let output = command.args(args).current_dir(dir).env("CHATIMG_STORE", store_dir()).output();
    let output = output.expect("chatimg runs");
    let words = text(&output.stderr) + &text(&output.stdout);
    print!("{words}");
    (output.status.success(), words)
}
