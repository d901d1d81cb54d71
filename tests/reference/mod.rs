//! What real dpkg makes of the packages of a lock: `tests/parity/make-reference`.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use chatimg::debian::unpack::{Source, UnpackError, unpack};
use chatimg::store::{StepError, Store};
use chatimg::tree::Tree;

/// What dpkg makes of the .debs in `dir`.
pub fn reference(store: &Store, dir: &Path, packages: &[&str]) -> Tree {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parity/make-reference");
    let tar = dir.join("reference.tar");
    let run = Command::new(script).arg(dir).arg(&tar).args(packages).output().expect("it runs");
    let words = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "make-reference: {words}");
    let file = File::open(&tar).expect("the reference");
    let key = chatimg::digest::Digest::of(tar.to_string_lossy().as_bytes());
    let tree = store.tree(key, |pack| {
        let mut tree = Tree::new();
        let mut reader = std::io::BufReader::with_capacity(1 << 20, file);
        unpack(&mut reader, "", Source::System, &mut tree, pack)?;
        Ok::<_, UnpackError>(tree)
    });
    std::fs::remove_file(&tar).expect("the reference can be removed");
    tree.unwrap_or_else(|error: StepError<UnpackError>| panic!("the reference: {error}"))
}
