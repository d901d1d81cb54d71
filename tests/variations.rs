//! No circumstance of a build gets into the image: each of reprotest's variations alone, tmpfs instead of a disk, and all at once, from an
//! archive alone, by `chatimg verify`. A build counts only if it found just those circumstances other than usual that it was to find
//! (`variations/inside.py`).
//!
//! Alone they are tried on a small project; `CHATIMG_VARIATIONS=all` takes this project's own image, and names of
//! variations (`time,umask`) these alone of it.

#[path = "variations/bench.rs"]
mod bench;

use std::io::Write;

use bench::{Bench, VARIATIONS};
use chatimg::interrupt::Interrupted;
use chatimg::parallel::try_map;

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
    // It was built on a disk.
    let names: Vec<_> = VARIATIONS.into_iter().filter(|name| *name != "file_system").collect();
    let names = possible(&bench, &names);
    bench.same_with(&names).unwrap_or_else(|said| panic!("{said}"));
}

/// Says how a build went; the error is for the end.
fn tried(bench: &Bench, names: &[&str]) -> Option<String> {
    let start = std::time::Instant::now();
    let said = bench.same_with(names).err();
    let how = if said.is_none() { "the same" } else { "NOT THE SAME" };
    let label = names.join(" ");
    say(&format!("{label}: {how} ({:.1?})", start.elapsed()));
    said.map(|said| format!("{label}: {said}"))
}

#[test]
fn each_variation_alone_gives_the_same_image() {
    let failures: Vec<_> = if let Some(names) = chosen() {
        let bench = Bench::of_this_project();
        let names = possible(&bench, &names);
        names.iter().filter_map(|name| tried(&bench, &[name])).collect()
    } else {
        let bench = Bench::of_small_project();
        let names = possible(&bench, &VARIATIONS);
        let all = try_map(&names, |name| Ok::<_, Interrupted>(tried(&bench, &[*name])));
        all.expect("nobody interrupts a test").into_iter().flatten().collect()
    };
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
