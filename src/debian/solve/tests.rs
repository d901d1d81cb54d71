//! Small archives by hand, and a cut of trixie of 2026-11-20 (`fixture/packages`: relations only)
//! whose expected sets (`fixture/{image,build,vm}`) are what apt chose from the whole archive.

use super::*;
use crate::debian::packages::parse;
use crate::debian::testing::stanza;
use crate::lock::DebArchive;

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|&(name, version)| (name.to_owned(), version.to_owned())).collect()
}

type Solved = Result<Vec<String>, SolveError>;

fn solve_with(text: &str, names: &[&str], keep: &[(&str, &str)], fixed: &[(&str, &str)]) -> Solved {
    let archive = Archive::new([(DebArchive::Debian, parse(text).unwrap())])?;
    let (names, keep, fixed) = (set(names), map(keep), map(fixed));
    let wanted = Wanted {
        names: &names,
        essential: false,
        keep: &keep,
        fixed: &fixed,
        newest: &BTreeSet::new(),
    };
    let show = |id| format!("{} {}", archive.package(id).name, archive.package(id).version);
    Ok(solve(&archive, wanted)?.into_iter().map(show).collect())
}

/// `stanzas` is a list of (name, version, fields).
fn choice(stanzas: &[(&str, &str, &str)], names: &[&str]) -> Solved {
    solve_with(&archive(stanzas), names, &[], &[])
}

fn archive(stanzas: &[(&str, &str, &str)]) -> String {
    stanzas.iter().map(|(name, version, fields)| stanza(name, version, fields)).collect()
}

const MANY: [(&str, &str, &str); 5] = [
    ("app", "1", "Depends: first | second"),
    ("first", "1", ""),
    ("second", "1", ""),
    ("second", "2", ""),
    ("rival", "1", "Conflicts: first"),
];

#[test]
fn the_first_alternative_and_the_newest_version_win_where_possible() {
    assert_eq!(choice(&MANY, &["app"]).unwrap(), ["app 1", "first 1"]);
    assert_eq!(choice(&MANY, &["app", "second"]).unwrap(), ["app 1", "second 2"]);
    assert_eq!(choice(&MANY, &["app", "rival"]).unwrap(), ["app 1", "rival 1", "second 2"]);
}

#[test]
fn kept_versions_stay_if_they_can_and_fixed_ones_always() {
    let text = archive(&[
        ("lib", "1", ""),
        ("lib", "2", ""),
        ("lib", "10", ""),
        ("old", "1", "Depends: lib (<< 10)"),
        ("new", "1", "Depends: lib (>> 2)"),
    ]);
    let lib = |names: &[&str], keep: &[_], fixed: &[_]| {
        solve_with(&text, names, keep, fixed).map(|found| found[0].clone())
    };
    assert_eq!(lib(&["lib"], &[], &[]).unwrap(), "lib 10");
    assert_eq!(lib(&["lib", "old"], &[], &[]).unwrap(), "lib 2");
    assert_eq!(lib(&["lib"], &[("lib", "1")], &[]).unwrap(), "lib 1");
    assert_eq!(lib(&["lib"], &[("lib", "0.9-gone")], &[]).unwrap(), "lib 10");
    assert_eq!(lib(&["lib", "new"], &[("lib", "1")], &[]).unwrap(), "lib 10");
    assert_eq!(lib(&["lib"], &[], &[("lib", "2")]).unwrap(), "lib 2");
    assert!(lib(&["new", "lib"], &[], &[("lib", "2")]).is_err());
    assert!(lib(&["new", "old"], &[], &[]).is_err());
}

#[test]
fn virtual_packages_are_provided_by_version_and_need() {
    let stanzas = [
        ("a1", "1", "Depends: mail"),
        ("a2", "1", "Depends: mail (>= 2)"),
        ("a3", "1", "Depends: mail (>= 4)"),
        ("m-one", "9", "Provides: mail"),
        ("m-two", "1", "Provides: mail (= 3)"),
        ("m-zed", "1", "Priority: important\nProvides: mail"),
    ];
    // Of equal needs the first by name, but an important package comes first.
    assert_eq!(choice(&stanzas, &["a1"]).unwrap(), ["a1 1", "m-zed 1"]);
    assert_eq!(choice(&stanzas[..5], &["a1"]).unwrap(), ["a1 1", "m-one 9"]);
    // An unversioned Provides satisfies no version.
    assert_eq!(choice(&stanzas, &["a2"]).unwrap(), ["a2 1", "m-two 1"]);
    assert!(choice(&stanzas, &["a3"]).is_err());
    // A real package comes before those who provide its name.
    let real = [&stanzas[..], &[("mail", "5", "")]].concat();
    assert_eq!(choice(&real, &["a1"]).unwrap(), ["a1 1", "mail 5"]);
}

#[test]
fn architecture_qualifiers_are_obeyed() {
    let stanzas = [
        ("any", "1", "Depends: py:any"),
        ("named", "1", "Depends: lib:amd64"),
        ("wrong", "1", "Depends: lib:any"),
        ("alien", "1", "Depends: lib:i386"),
        ("fine", "1", "Depends: lib\nConflicts: lib:i386"),
        ("py", "1", "Multi-Arch: allowed"),
        ("lib", "1", "Multi-Arch: same"),
    ];
    for (name, solvable) in
        [("any", true), ("named", true), ("wrong", false), ("alien", false), ("fine", true)]
    {
        assert_eq!(choice(&stanzas, &[name]).is_ok(), solvable, "{name}");
    }
}

#[test]
fn conflicts_and_breaks_keep_packages_apart() {
    let stanzas = [
        ("mta", "1", "Provides: mail\nConflicts: mail"),
        ("other", "1", "Provides: mail\nConflicts: mail"),
        ("plain", "1", "Provides: mail"),
        ("app", "2", "Breaks: lib (<< 2)"),
        ("lib", "1", ""),
        ("early", "1", "Pre-Depends: lib (= 1)"),
    ];
    // A package does not conflict with itself through what it provides.
    assert!(choice(&stanzas, &["mta"]).is_ok());
    for apart in [["mta", "other"], ["mta", "plain"], ["app", "lib"], ["app", "early"]] {
        assert!(choice(&stanzas, &apart).is_err(), "{apart:?}");
    }
    assert!(choice(&stanzas, &["plain", "app"]).is_ok());
}

#[test]
fn cycles_end() {
    let stanzas = [("aa", "1", "Depends: bb"), ("bb", "1", "Depends: aa, bb")];
    assert_eq!(choice(&stanzas, &["aa"]).unwrap(), ["aa 1", "bb 1"]);
}

#[test]
fn a_broken_relation_hurts_only_who_comes_near_it() {
    let stanzas = [("good", "1", ""), ("bad", "1", "Depends: x ((")];
    assert!(choice(&stanzas, &["good"]).is_ok());
    let error = choice(&stanzas, &["bad"]).unwrap_err();
    assert_eq!(error.to_string(), "reading the Depends of bad 1");
}

#[test]
fn refusals_say_who_wants_what_and_what_there_is() {
    let stanzas = [
        ("app", "1", "Depends: lib (>= 2), mid"),
        ("mid", "1", "Depends: lib (<< 2)"),
        ("lib", "1", ""),
        ("lib", "2", ""),
        ("lost", "1", "Depends: nowhere (>= 3) | gone"),
    ];
    let error = choice(&stanzas, &["app"]).unwrap_err().to_string();
    for part in ["app 1", "lib (>= 2)", "mid 1", "lib (<< 2)"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    let error = choice(&stanzas, &["lost"]).unwrap_err().to_string();
    assert!(error.contains("nowhere (>= 3) | gone"), "{error}");
}

#[test]
fn unknown_names_come_with_suggestions() {
    let stanzas = [("nginx", "1", "Provides: httpd"), ("nginx", "2", "Provides: httpd")];
    let message = |name| choice(&stanzas, &[name]).unwrap_err().to_string();
    assert_eq!(message("ngnix"), "there is no package 'ngnix'; did you mean nginx?");
    assert_eq!(message("wholly-other"), "there is no package 'wholly-other'");
    assert_eq!(message("httpd"), "'httpd' is a virtual package; name one that provides it: nginx");
}

#[test]
fn trixie_solves_as_apt_solves_it() {
    let rest = format!("\nFilename: pool/x.deb\nSize: 1\nSHA256: {}\n\n", "0".repeat(64));
    let text =
        (include_str!("fixture/packages").trim_end().to_owned() + "\n\n").replace("\n\n", &rest);
    let archive = Archive::new([(DebArchive::Debian, parse(&text).unwrap())]).unwrap();
    let none = BTreeMap::new();
    for (names, essential, expected) in [
        (
            "linux-image-amd64 systemd systemd-sysv systemd-resolved systemd-timesyncd udev dbus \
             libpam-systemd openssh-server sudo nftables iproute2 iputils-ping xfsprogs e2fsprogs \
             fdisk ca-certificates tzdata less nano procps htop curl openssl postgresql-17 nginx python3 \
             python3-psycopg2 libjemalloc2 zstd kmod",
            true,
            include_str!("fixture/image"),
        ),
        (
            "grub-common grub-pc-bin grub-efi-amd64-bin kmod python3 systemd openssl \
             busybox-static perl-base",
            false,
            include_str!("fixture/build"),
        ),
        (
            "qemu-system-x86 qemu-utils ovmf seabios openssh-client",
            false,
            include_str!("fixture/vm"),
        ),
    ] {
        let names = names.split_whitespace().map(str::to_owned).collect();
        let wanted = Wanted {
            names: &names,
            essential,
            keep: &none,
            fixed: &none,
            newest: &BTreeSet::new(),
        };
        let show = |id| format!("{} {}", archive.package(id).name, archive.package(id).version);
        let found: Vec<String> = solve(&archive, wanted).unwrap().into_iter().map(show).collect();
        assert_eq!(found, expected.lines().collect::<Vec<_>>());
    }
}
