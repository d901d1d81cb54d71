//! Every rule of `appliance.toml` and `overlay.toml` by example; see `tests/samples/README.md`.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use chatimg::appliance::{Plan, load};

fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples")
}

/// Copies a folder.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

/// Which file of the project a sample stands for; its first line says so.
fn role(sample: &Path) -> &'static str {
    let text = fs::read_to_string(sample).unwrap();
    match text.lines().next() {
        Some("# appliance") => "appliance.toml",
        Some("# overlay") => "overlays/sample/overlay.toml",
        Some("# stacks") => "overlays/stacks.toml",
        other => panic!("{}: the first line is {other:?}", sample.display()),
    }
}

/// Loads the project with the sample in it: the plan, or the message without the project's folder.
fn outcome(sample: &Path) -> Result<String, String> {
    let dir = tempfile::tempdir().unwrap();
    copy(&samples().join("project"), dir.path());
    let role = role(sample);
    fs::copy(sample, dir.path().join(role)).unwrap();
    let plain = |text: String| {
        let text = text.replace(&format!("{}/", dir.path().display()), "");
        format!("{}\n", text.trim_end())
    };
    match load(&dir.path().join("appliance.toml")) {
        Ok(plan) => Ok(plain(shown(&plan, role))),
        Err(error) => Err(plain(error.to_string())),
    }
}

/// The part of a plan that such a sample decides.
fn shown(plan: &Plan, role: &str) -> String {
    if role.starts_with("overlays/sample/") {
        let sample = plan.overlays.iter().find(|overlay| overlay.name == "sample").unwrap();
        let request = &plan.request;
        return format!("{sample:#?}\nnpm: {:#?}\nurl: {:#?}", request.npm, request.url);
    }
    let Plan { name, domain, target, admin, canaries, overlays, request } = plan;
    let mut text = format!("name: {name}\ndomain: {domain}\n{target:#?}\n{admin:#?}\n");
    for overlay in overlays {
        let _ = writeln!(text, "{}: {:#?}", overlay.name, overlay.options);
    }
    if !canaries.is_empty() {
        let _ = writeln!(text, "canaries: {canaries:?}");
    }
    let image = request.debian.values().next().unwrap();
    text + &format!("image: {image:#?}")
}

/// Runs all samples of a folder against the `.txt` beside each.
fn check(folder: &str, valid: bool, at_least: usize) {
    let dir = samples().join(folder);
    let update = std::env::var_os("UPDATE").is_some();
    let files = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path());
    let files: BTreeSet<PathBuf> = files.collect();
    let mut wrong = String::new();
    let mut count = 0;
    for path in &files {
        if path.extension().is_some_and(|end| end == "txt") {
            if !files.contains(&path.with_extension("toml")) {
                let _ = writeln!(wrong, "{}: there is no such sample", path.display());
            }
            continue;
        }
        count += 1;
        let expectation = path.with_extension("txt");
        let actual = match outcome(path) {
            Ok(text) if valid => text,
            Err(text) if !valid => text,
            Ok(_) => "nothing is wrong with it\n".to_owned(),
            Err(text) => format!("it should be valid:\n{text}"),
        };
        if update {
            fs::write(&expectation, &actual).unwrap();
        }
        let expected = fs::read_to_string(&expectation).unwrap_or_default();
        if actual != expected || actual.starts_with("nothing is") || actual.starts_with("it should")
        {
            let name = path.display();
            let _ = writeln!(wrong, "{name}\nexpected:\n{expected}\nactual:\n{actual}");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(count >= at_least, "only {count} samples in {folder}");
}

#[test]
fn invalid_samples_are_refused_with_these_words() {
    check("invalid", false, 236);
}

#[test]
fn valid_samples_give_these_plans() {
    check("valid", true, 19);
}
