//! Every reader of foreign bytes, driven by real input and by some hundred changes of it, always the same ones: no panic, and
//! what was read is written as it was. `fuzz/` has the same functions for libFuzzer; see docs/fuzzing.md.
//!
//! `CHATIMG_FUZZ_RUNS` is how many changes are tried; `CHATIMG_FUZZ_SEEDS`, a folder, gets the real input, as a corpus
//! for libFuzzer.

#[path = "../src/debian/testing/deb.rs"]
#[allow(dead_code, reason = "it is of the library's own tests")]
mod make;
#[path = "fuzz/mutate.rs"]
mod mutate;
#[path = "fuzz/seeds.rs"]
mod seeds;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::panic::catch_unwind;
use std::path::Path;

use chatimg::digest::Digest;
use chatimg::fuzzing::targets::{ALL, Target};
use mutate::Mutator;

/// Changes that are tried for each reader, unless said otherwise.
const RUNS: usize = 1000;

/// Asked for by `make`.
fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 0);
    encoder.write_all(bytes).expect("in memory");
    encoder.finish().expect("in memory")
}

/// Tries one input; if it panics, keeps it and says where.
fn attempt(name: &str, target: Target, bytes: &[u8]) {
    if catch_unwind(|| target(bytes)).is_err() {
        let path = std::env::temp_dir().join(format!("chatimg-fuzz-{name}"));
        fs::write(&path, bytes).expect("the input is kept");
        panic!("{name} panicked; what it was given is in {}", path.display());
    }
}

#[test]
fn no_reader_panics_whatever_its_input_is() {
    let runs = std::env::var("CHATIMG_FUZZ_RUNS").ok().and_then(|runs| runs.parse().ok());
    let keep = std::env::var_os("CHATIMG_FUZZ_SEEDS");
    for (name, target) in ALL {
        let seeds = seeds::of(name);
        if let Some(dir) = keep.as_ref().map(|dir| Path::new(dir).join(name)) {
            fs::create_dir_all(&dir).expect("a folder");
            for seed in &seeds {
                fs::write(dir.join(Digest::of(seed).to_string()), seed).expect("a seed");
            }
        }
        let start = std::time::Instant::now();
        attempt(name, *target, b"");
        seeds.iter().for_each(|seed| attempt(name, *target, seed));
        // Each reader has a sequence of its own, always the same one.
        let mut mutator = Mutator::new(name, &seeds);
        for _ in 0..runs.unwrap_or(RUNS) {
            attempt(name, *target, &mutator.next());
        }
        println!("{name}: {} seeds, {:?}", seeds.len(), start.elapsed());
    }
}

#[test]
fn each_reader_has_real_input_and_a_target_for_libfuzzer() {
    let manifest: toml::Table =
        fs::read_to_string("fuzz/Cargo.toml").expect("fuzz/").parse().expect("TOML");
    let bins = manifest["bin"].as_array().expect("targets");
    let bins: BTreeSet<_> = bins.iter().map(|bin| bin["name"].as_str().expect("name")).collect();
    assert_eq!(bins.len(), ALL.len() + 1, "and the one for any of them");
    for (name, _) in ALL {
        assert!(!seeds::of(name).is_empty(), "{name} has no real input");
        assert!(bins.contains(name), "fuzz/Cargo.toml lacks {name}");
        let text = fs::read_to_string(format!("fuzz/fuzz_targets/{name}.rs")).expect(name);
        assert!(text.contains(&format!("chatimg::fuzzing::targets::{name}(bytes)")), "{text}");
    }
}
