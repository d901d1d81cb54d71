//! `SPECIFICATION.md`: each test that it names is there, each number is once.

use std::collections::BTreeSet;
use std::path::Path;

#[test]
fn each_promise_has_a_number_and_a_test_that_exists() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(top.join("SPECIFICATION.md")).expect("SPECIFICATION.md");
    let mut numbers = BTreeSet::new();
    let (mut held, mut wrong) = (0, Vec::new());
    for line in text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| |")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [number, promise, _figure, tests] = cells[..] else { panic!("{line}") };
        assert!(numbers.insert(number), "{number} is there twice");
        assert!(
            number.starts_with(|c: char| c.is_ascii_uppercase()) && !promise.is_empty(),
            "{line}"
        );
        if tests == "test pending" {
            continue;
        }
        held += 1;
        for test in tests.split("<br>") {
            let test = test.strip_prefix('`').and_then(|test| test.strip_suffix('`'));
            let test = test.unwrap_or_else(|| {
                panic!("{number}: name a test in backquotes, or say \"test pending\"")
            });
            let (file, name) = test.split_once('#').unwrap_or((test, ""));
            let text = std::fs::read_to_string(top.join(file));
            let there = |text: &str| name.is_empty() || is_test(text, name);
            if !text.is_ok_and(|text| there(&text)) {
                wrong.push(format!("{number}: {test}"));
            }
        }
    }
    assert!(wrong.is_empty(), "there are no such tests:\n{}", wrong.join("\n"));
    assert!(held > 50, "{held}");
}

/// Whether a Rust file has a test of this name that runs.
fn is_test(text: &str, name: &str) -> bool {
    let function = format!("fn {name}(");
    let mut lines = text.lines();
    let mut before: Vec<&str> = Vec::new();
    lines.any(|line| {
        let line = line.trim();
        let found = line.starts_with(&function)
            && before.contains(&"#[test]")
            && !before.iter().any(|line| line.starts_with("#[ignore"));
        if !line.starts_with("#[") {
            before.clear();
        } else {
            before.push(line);
        }
        found
    })
}

#[test]
fn only_a_test_that_runs_counts() {
    assert!(is_test("#[test]\nfn a() {\n", "a"));
    assert!(is_test("    #[test]\n    #[allow(x)]\n    fn a() {\n", "a"));
    assert!(!is_test("fn a() {\n", "a"));
    assert!(!is_test("#[test]\n#[ignore = \"slow\"]\nfn a() {\n", "a"));
    assert!(!is_test("#[test]\nfn ab() {\n", "a"));
    assert!(!is_test("#[test]\nfn b() {\n}\nfn a() {\n", "a"));
}
