//! `METADATA` of a wheel: RFC 822 headers, of which `Name`, `Version` and `Requires-Dist` matter
//! here.

use std::io::{Cursor, Read, Seek};
use std::str::FromStr;

use pep440_rs::Version;
use pep508_rs::{ExtraName, MarkerEnvironment, MarkerEnvironmentBuilder, Requirement};

use super::wheel;
use crate::zipped::Zip;

/// No METADATA is larger.
const MAX_METADATA: u64 = 8 << 20;
/// No wheel has more files.
const MAX_MEMBERS: usize = 50_000;
/// No line that matters is longer.
const MAX_LINE: usize = 4096;
/// No marker is nested deeper; pep508_rs recurses until the stack is full.
const MAX_NESTING: usize = 32;
/// pep508_rs makes a decision diagram of a marker, which may double with each two of these.
const MAX_JOINED: usize = 24;
/// Bytes that all requirements of a wheel take in memory; the largest that is known takes some 600 KB.
const MAX_WEIGHT: usize = 16 << 20;

/// What a wheel says about itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Metadata {
    pub(super) requires: Vec<Requirement>,
    pub(super) extras: Vec<String>,
    /// Bytes that it takes in memory, about.
    pub(super) weight: usize,
}

/// The METADATA text inside a wheel.
pub(super) fn from_wheel(file: impl Read + Seek) -> Result<String, String> {
    let failed = |error: std::io::Error| error.to_string();
    let mut zip = Zip::open(file, MAX_MEMBERS).map_err(failed)?;
    let is_metadata =
        |name: &str| name.strip_suffix(".dist-info/METADATA").is_some_and(|dir| !dir.contains('/'));
    let mut found = (0..zip.members().len()).filter(|&at| is_metadata(&zip.members()[at].name));
    let (Some(at), None) = (found.next(), found.next()) else {
        return Err("it has no METADATA, or several".to_owned());
    };
    if zip.members()[at].size > MAX_METADATA {
        return Err(format!("its METADATA has over {MAX_METADATA} bytes"));
    }
    let mut text = String::new();
    zip.contents(at).and_then(|mut it| it.read_to_string(&mut text)).map_err(failed)?;
    Ok(text)
}

/// Reads METADATA, which must be of this project (by its normalised name) and version.
pub(super) fn parse(text: &str, project: &str, version: &Version) -> Result<Metadata, String> {
    check(text, project, version)?;
    let mut metadata = Metadata::default();
    for (key, value) in headers(text) {
        match key.as_str() {
            "requires-dist" => {
                metadata.requires.push(requirement(value)?);
                metadata.weight += 512 + value.len() + (64 << (joined(value) / 2));
            }
            "provides-extra" => {
                metadata.extras.extend(wheel::normalise(value));
                metadata.weight += size_of::<String>() + value.len();
            }
            _ => {}
        }
        if metadata.weight > MAX_WEIGHT {
            return Err("its METADATA has more requirements than any wheel".to_owned());
        }
    }
    Ok(metadata)
}

/// Whether METADATA is of this project and version.
pub(super) fn check(text: &str, project: &str, version: &Version) -> Result<(), String> {
    let (mut named, mut versioned) = (false, false);
    for (key, value) in headers(text) {
        match key.as_str() {
            "name" if named || wheel::normalise(value).as_deref() != Some(project) => {
                return Err(format!("its METADATA does not name {project}, but {value:?}"));
            }
            "version" if versioned || Version::from_str(value).ok().as_ref() != Some(version) => {
                return Err(format!("its METADATA is not of version {version}, but of {value:?}"));
            }
            "name" => named = true,
            "version" => versioned = true,
            _ => {}
        }
    }
    match (named, versioned) {
        (true, true) => Ok(()),
        (false, _) => Err(format!("its METADATA does not name {project}")),
        (_, false) => Err("its METADATA has no version".to_owned()),
    }
}

/// Keys in lower case, and what they say.
fn headers(text: &str) -> impl Iterator<Item = (String, &str)> {
    let lines = text.lines().take_while(|line| !line.is_empty());
    let pairs = lines.filter_map(|line| line.split_once(':'));
    pairs.map(|(key, value)| (key.to_ascii_lowercase(), value.trim()))
}

/// Parses a PEP 508 requirement.
pub(super) fn requirement(text: &str) -> Result<Requirement, String> {
    if text.len() > MAX_LINE || !text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t')) {
        return Err("a requirement of characters or a length that no requirement has".to_owned());
    }
    if text.matches('(').count() > MAX_NESTING {
        return Err(format!("more than {MAX_NESTING} parentheses"));
    }
    if joined(text) > MAX_JOINED {
        return Err(format!("a marker of more than {MAX_JOINED} 'and' and 'or'"));
    }
    if !well_named(text.trim_start()) {
        return Err(format!("'{text}': a name begins and ends with a letter or digit"));
    }
    // The error's own Display counts bytes as characters and may panic on others than ASCII.
    Requirement::from_str(text).map_err(|error| format!("'{text}': {}", error.message))
}

/// How many parts of a marker are joined.
fn joined(text: &str) -> usize {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric());
    words.filter(|word| matches!(*word, "and" | "or")).count()
}

/// Whether the name and the extras are such as pep508_rs takes: it panics on names like `a-`.
fn well_named(text: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let named = |name: &str| name.is_empty() || wheel::normalise(name).is_some();
    let (name, rest) = text.split_at(text.find(|c| !is_part(c)).unwrap_or(text.len()));
    let extras = rest.trim_start().strip_prefix('[').and_then(|rest| rest.split(']').next());
    named(name) && extras.unwrap_or_default().split(',').all(|extra| named(extra.trim()))
}

/// What markers see on the target: Debian trixie's Python.
pub(super) fn environment() -> MarkerEnvironment {
    MarkerEnvironment::try_from(MarkerEnvironmentBuilder {
        implementation_name: "cpython",
        implementation_version: "3.13.5",
        os_name: "posix",
        platform_machine: "x86_64",
        platform_python_implementation: "CPython",
        platform_release: "",
        platform_system: "Linux",
        platform_version: "",
        python_full_version: "3.13.5",
        python_version: "3.13",
        sys_platform: "linux",
    })
    .expect("these are versions")
}

/// Whether `requirement` holds for the base (`extra` is `None`), or is what an extra adds to it.
pub(super) fn applies(
    requirement: &Requirement,
    environment: &MarkerEnvironment,
    extra: Option<&ExtraName>,
) -> bool {
    let base = requirement.evaluate_markers(environment, &[]);
    match extra {
        None => base,
        Some(extra) => {
            !base && requirement.evaluate_markers(environment, std::slice::from_ref(extra))
        }
    }
}

/// For [`crate::fuzzing`].
pub(crate) fn fuzz(bytes: &[u8]) {
    _ = from_wheel(Cursor::new(bytes));
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let version = Version::new([1]);
    _ = parse(&format!("Name: a\nVersion: 1\n{text}"), "a", &version);
    if let Ok(requirement) = requirement(text) {
        applies(&requirement, &environment(), None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_that_takes_all_memory_is_refused() {
        let of = |pairs: u32| {
            let pair = |n| format!("extra=='a{n:02}' and extra=='b{n:02}'");
            format!("x; {}", (0..pairs).map(pair).collect::<Vec<_>>().join(" or "))
        };
        requirement(&of(12)).expect("may be");
        let error = requirement(&of(24)).expect_err("refused");
        assert!(error.contains("more than 24 'and' and 'or'"), "{error}");
    }

    #[test]
    fn no_wheel_has_requirements_without_end() {
        let of = |count: usize, line: &str| {
            let text = format!("Name: a\nVersion: 1\n{}", format!("{line}\n").repeat(count));
            parse(&text, "a", &Version::new([1])).map(|metadata| metadata.requires.len())
        };
        assert_eq!(of(3000, "Requires-Dist: b; extra == 'c' and python_version < '4'"), Ok(3000));
        let joined = format!("Requires-Dist: b; os_name=='a'{}", " or os_name=='a'".repeat(24));
        for (count, line) in
            [(100_000, "Requires-Dist: b"), (3000, &joined), (800_000, "Provides-Extra: x")]
        {
            assert!(of(count, line).is_err_and(|why| why.contains("more requirements than any")));
        }
    }

    #[test]
    fn requirements_are_read_and_rubbish_is_an_error() {
        let text = "Metadata-Version: 2.4\nName: A.b\nVersion: 1\nProvides-Extra: Fast_One\n\
            Requires-Dist: c>=1; extra == 'fast-one'\nRequires-Dist: d (<2) ; python_version < '3'\n\nRequires-Dist: no\n";
        let version = |text| Version::from_str(text).expect("a version");
        let metadata = parse(text, "a-b", &version("1.0")).expect("parses");
        assert_eq!(metadata.extras, ["fast-one"]);
        let (here, extra) = (environment(), ExtraName::from_str("fast-one").expect("a name"));
        let holds =
            |extra| metadata.requires.iter().map(|r| applies(r, &here, extra)).collect::<Vec<_>>();
        assert_eq!(holds(None), [false, false]);
        assert_eq!(holds(Some(&extra)), [true, false]);
        assert!(parse(text, "other", &version("1")).is_err());
        assert!(parse(text, "a-b", &version("2")).is_err());
        assert!(parse(&format!("Name: c\n{text}"), "a-b", &version("1")).is_err());
        for bad in [
            "é é",
            "",
            ">=1",
            "a ===",
            &"a;(".repeat(2000),
            &format!("a;{}", "(".repeat(4000)),
            "a-",
            "a[b-]",
            "a; é == 'x'",
        ] {
            assert!(requirement(bad).is_err(), "{bad}");
        }
        assert!(from_wheel(Cursor::new(b"no zip")).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_requirement_makes_it_panic(
            text in "[a-c0-2 \\[\\],.;<>=!~()'\"@:/$\\{\\}*é+-]{0,40}",
            marker in "(python_version|extra|sys_platform|os_name|in|not|and|or|[()'\"=<>! ]|3|é){0,12}",
            raw in ".{0,60}",
        ) {
            for text in [text, format!("a; {marker}"), raw] {
                if let Ok(requirement) = requirement(&text) {
                    applies(&requirement, &environment(), None);
                }
            }
        }
    }
}
