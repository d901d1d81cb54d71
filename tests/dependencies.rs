//! What chatimg is built of: few crates, each direct one with its reason in `docs/architecture.md`.

use std::collections::BTreeSet;

use toml::Table;

/// Of the lock, with those of other platforms and of the tests.
const MOST: usize = 250;
const TITLE: &str = "## Crates";

fn read(path: &str) -> String {
    let path = format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn table(path: &str) -> Table {
    read(path).parse().unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn locked() -> Vec<(String, String)> {
    let lock = table("Cargo.lock");
    let packages = lock["package"].as_array().expect("packages");
    let text = |package: &toml::Value, key: &str| package[key].as_str().expect(key).to_owned();
    packages.iter().map(|it| (text(it, "name"), text(it, "version"))).collect()
}

#[test]
fn few_crates_are_locked() {
    let count = locked().len();
    assert!(
        count <= MOST,
        "Cargo.lock has {count} crates, {MOST} are the most. `cargo tree -i NAME --target all` tells who needs one."
    );
}

/// All of them but for those that a large library brings along, which have not moved on yet.
#[test]
fn crates_are_there_in_one_version() {
    const KNOWN: [&str; 9] = [
        "base64",    // qapi-spec
        "getrandom", // ring, ahash
        "hashbrown", // petgraph
        "itertools", // pep508_rs
        "r-efi",     // getrandom
        "syn",       // half of the derive macros
        "thiserror", // pep508_rs
        "thiserror-impl",
        "windows-sys", // ring
    ];
    let mut seen = BTreeSet::new();
    let twice: BTreeSet<_> =
        locked().into_iter().map(|it| it.0).filter(|name| !seen.insert(name.clone())).collect();
    let new: Vec<_> = twice.iter().filter(|name| !KNOWN.contains(&name.as_str())).collect();
    assert!(new.is_empty(), "in two versions: {new:?}");
}

#[test]
fn each_direct_one_has_its_reason() {
    let manifest = table("Cargo.toml");
    let sections = ["dependencies", "build-dependencies", "dev-dependencies"];
    let direct: BTreeSet<String> = sections
        .iter()
        .filter_map(|name| manifest.get(*name)?.as_table())
        .flat_map(|table| table.keys().cloned())
        .collect();
    let document = read("docs/architecture.md");
    let (_, section) = document.split_once(TITLE).expect("the section of crates");
    let section = section.split("\n## ").next().unwrap_or_default();
    let mut listed = BTreeSet::new();
    for row in section.lines().filter_map(|line| line.strip_prefix("| `")) {
        let (name, rest) = row.split_once("` | ").unwrap_or_else(|| panic!("a row: {row}"));
        assert!(rest.trim_end_matches([' ', '|']).len() > 20, "{name}: that is no reason");
        assert!(listed.insert(name.to_owned()), "{name} is listed twice");
    }
    let without: Vec<_> = direct.difference(&listed).collect();
    assert!(without.is_empty(), "without a row below \"{TITLE}\": {without:?}");
    let gone: Vec<_> = listed.difference(&direct).collect();
    assert!(gone.is_empty(), "listed below \"{TITLE}\", but not used: {gone:?}");
}
