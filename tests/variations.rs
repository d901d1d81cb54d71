//! No circumstance of a build gets into the image: each of reprotest's variations alone, tmpfs instead of a disk, and all at once, from an
//! archive alone, by `chatimg verify`. A build counts only if it found just those circumstances other than usual that it was to find
//! (`variations/inside.py`).
//!
//! Alone they are tried on a small project; `CHATIMG_VARIATIONS=all` takes this project's own image, and names of
//! variations (`time,umask`) these alone of it.

#[path = "variations/bench.rs"]
mod bench;
mod complete;
mod project;

use std::io::Write;

use bench::{Bench, VARIATIONS};

/// Seen by who runs the tests, also if all is well.
fn say(words: &str) {
    _ = writeln!(std::io::stderr(), "variations: {words}");
}

/// Those of `names` that this machine can do; the others are said.
fn possible<'a>(bench: &Bench, names: &[&'a str]) -> Vec<&'a str> {
    let able = |name: &&&str| match bench.cannot_vary(name) {
        Some(why) => {
            say(&format!("LEFT OUT: {name}: {why}"));
            false
        }
        None => true,
    };
    names.iter().filter(able).copied().collect()
}

/// What `CHATIMG_VARIATIONS` names; `None`: nothing.
fn chosen() -> Option<Vec<&'static str>> {
    let wanted = std::env::var("CHATIMG_VARIATIONS").ok().filter(|wanted| !wanted.is_empty())?;
    if wanted == "all" {
        return Some(VARIATIONS.to_vec());
    }
    let known = |name: &str| VARIATIONS.into_iter().find(|known| *known == name);
    let found = wanted.split(',').map(|name| known(name).unwrap_or_else(|| panic!("no {name}")));
    Some(found.collect())
}

#[test]
fn the_image_comes_out_of_an_archive_alone_years_later_elsewhere_to_the_last_bit() {
    let bench = Bench::of_this_project();
    // It may take more memory than there is.
    let names: Vec<_> = VARIATIONS.into_iter().filter(|name| *name != "file_system").collect();
    let names = possible(&bench, &names);
    bench.same_with(&names).unwrap_or_else(|said| panic!("{said}"));
}

#[test]
fn each_variation_alone_gives_the_same_image() {
    let (bench, names) = match chosen() {
        Some(names) => (Bench::of_this_project(), names),
        None => (Bench::of_small_project(), VARIATIONS.to_vec()),
    };
    let names = possible(&bench, &names);
    let mut tries: Vec<_> = names.iter().map(std::slice::from_ref).collect();
    if chosen().is_none() {
        tries.push(&names);
    }
    let mut failures = Vec::new();
    for names in tries {
        let start = std::time::Instant::now();
        let same = bench.same_with(names);
        let label = names.join(" ");
        let how = if same.is_ok() { "the same" } else { "NOT THE SAME" };
        say(&format!("{label}: {how} ({:.1?})", start.elapsed()));
        failures.extend(same.err().map(|said| format!("{label}: {said}")));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
