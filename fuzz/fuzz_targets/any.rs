//! The target that `CHATIMG_FUZZ` names, so that one program is enough to try all.

#![no_main]

use std::sync::OnceLock;

use chatimg::fuzzing::targets::{ALL, Target};

fn target() -> Target {
    let name = std::env::var("CHATIMG_FUZZ").expect("CHATIMG_FUZZ names a target");
    ALL.iter().find(|(known, _)| *known == name).expect("it is a target").1
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    static TARGET: OnceLock<Target> = OnceLock::new();
    TARGET.get_or_init(target)(bytes);
});
