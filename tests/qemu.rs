//! The image that `chatimg build` made, booted: every test of `qemu-tests/`, on each firmware.

mod project;

use std::process::Command;

use project::{Project, chatimg, store_dir, text};

/// One process for all, so that one machine runs at a time.
#[test]
fn the_image_boots_and_carries_messages() {
    let project = Project::open();
    let run = |args: &[&str]| {
        let output = Command::new(chatimg())
            .args(args)
            .current_dir(&project.dir)
            .env("CHATIMG_STORE", store_dir())
            .output()
            .expect("chatimg runs");
        print!("{}{}", text(&output.stderr), text(&output.stdout));
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    run(&["build"]);
    let words = run(&["test"]);
    for name in ["smoke-bios", "smoke-uefi", "second-boot-bios"] {
        assert!(words.contains(&format!("{name}: passed in ")), "{name}: {words}");
    }
}
