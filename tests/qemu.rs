//! The image that `chatimg build` made, booted: tests of `qemu-tests/`, on every firmware; the image for one disk, too.
//! Those that pull disks, or update to broken images, take hours when the machine is emulated: they are run by hand.

mod project;

use std::path::Path;
use std::process::Command;

use project::{Copy, Project, chatimg, store_dir, text};

/// Two machines at a time, for an emulated one hardly keeps more than one CPU busy.
#[test]
fn the_image_boots_and_carries_messages() {
    std::thread::scope(|scope| {
        let mirror = scope.spawn(|| {
            let project = Project::open();
            run(&project.dir, &["build"]);
            for (test, firmware) in [("smoke", "uefi"), ("update", "bios")] {
                passes(&project.dir, test, firmware);
            }
        });
        let others = scope.spawn(|| {
            let single = with_tests();
            let path = single.dir().join("appliance.toml");
            let text = std::fs::read_to_string(&path).expect("appliance.toml");
            assert!(text.contains("raid = \"mirror\""), "{text}");
            let text = text.replace("raid = \"mirror\"", "raid = \"none\"");
            std::fs::write(&path, text).expect("appliance.toml");
            run(single.dir(), &["build"]);
            passes(single.dir(), "second-boot", "bios");
            let (success, words) = output(single.dir(), &["test", "raid-a"]);
            let left_out = "raid-a: left out: it is for raid = \"mirror\"";
            assert!(!success && words.contains(left_out), "{words}");
            drop(single);

            let mirror = with_tests();
            run(mirror.dir(), &["build"]);
            passes(mirror.dir(), "host-settings", "bios");
        });
        for thread in [mirror, others] {
            thread.join().expect("its tests pass");
        }
    });
}

/// A copy of the project, `qemu-tests/` too.
fn with_tests() -> Copy {
    let copy = Copy::new();
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("qemu-tests");
    let copied = Command::new("cp").arg("-a").arg(tests).arg(copy.dir()).status();
    assert!(copied.expect("cp").success());
    copy
}

fn passes(dir: &Path, test: &str, firmware: &str) {
    let words = run(dir, &["test", test, "--firmware", firmware]);
    assert!(words.contains(&format!("{test}-{firmware}: passed in ")), "{words}");
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
