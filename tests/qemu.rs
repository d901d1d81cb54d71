//! The image that `chatimg build` made, booted: tests of `qemu-tests/`, on every firmware; the image for one disk, too.
//! Those that pull disks, update to broken images or boot others take long when the machine is emulated: they are run by hand.
//! Machines run beside each other, as cargo has it, by the order of their tests' names: an emulated one waits half of its time.

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

#[test]
fn the_image_boots_and_carries_messages() {
    let project = Project::open();
    run(&project.dir, &["build"]);
    pass(&project.dir, SHARED, "uefi");
}

#[test]
fn the_box_takes_an_update_and_goes_back() {
    let project = copy();
    run(project.dir(), &["build"]);
    pass(project.dir(), &["update"], "bios");
}

#[test]
fn the_settings_of_one_box_with_one_disk_are_taken() {
    let project = copy();
    project.edit("raid = \"mirror\"", "raid = \"none\"");
    run(project.dir(), &["build"]);
    pass(project.dir(), &["host-settings"], "bios");
    let (success, words) = output(project.dir(), &["test", "raid-a"]);
    assert!(!success && words.contains("raid-a: left out: it is for raid = \"mirror\""), "{words}");
}

/// The project and its tests: machines of one folder wait for each other.
fn copy() -> Copy {
    let project = Copy::new();
    let tests = concat!(env!("CARGO_MANIFEST_DIR"), "/qemu-tests");
    let copied = Command::new("cp").args(["-a", tests]).arg(project.dir()).status();
    assert!(copied.expect("cp").success());
    project
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
