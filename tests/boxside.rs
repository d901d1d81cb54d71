//! The Python programs that run on the box: their own tests, `tests/boxside/test_*.py`.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

#[test]
fn the_box_s_programs_pass_their_tests() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new("python3")
        // No byte code beside the programs: overlays go into the image as they lie there.
        .args(["-B", "-m", "unittest", "discover", "--start-directory", "tests/boxside"])
        .current_dir(root)
        .output()
        .expect("python3 (3.11 or newer) runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(!said.contains("Ran 0 tests"), "{said}");
}
