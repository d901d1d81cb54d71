//! `METADATA` of a wheel: RFC 822 headers, of which `Name`, `Version` and `Requires-Dist` matter
//! here.

use std::io::{Cursor, Read};
use std::str::FromStr;

use pep508_rs::{ExtraName, MarkerEnvironment, MarkerEnvironmentBuilder, Requirement};

use super::wheel;

/// No METADATA is larger.
const MAX_METADATA: u64 = 8 << 20;
/// No line that matters is longer.
const MAX_LINE: usize = 4096;
/// No marker is nested deeper; pep508_rs recurses until the stack is full.
const MAX_NESTING: usize = 32;

/// What a wheel says about itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Metadata {
    pub(super) requires: Vec<Requirement>,
    pub(super) extras: Vec<String>,
}

/// The METADATA text inside a wheel.
pub(super) fn from_wheel(bytes: &[u8]) -> Result<String, String> {
    let mut zip = zip::ZipArchive::new(Cursor::new(bytes)).map_err(|error| error.to_string())?;
    let is_metadata = |name: &&str| {
        name.strip_suffix(".dist-info/METADATA").is_some_and(|dir| !dir.contains('/'))
    };
    let name = zip.file_names().find(is_metadata).map(str::to_owned);
    let name = name.ok_or("it has no METADATA")?;
    let file = zip.by_name(&name).map_err(|error| error.to_string())?;
    let mut text = String::new();
    file.take(MAX_METADATA).read_to_string(&mut text).map_err(|error| error.to_string())?;
    Ok(text)
}

/// Reads METADATA. `project`: the normalised name that it must have.
pub(super) fn parse(text: &str, project: &str) -> Result<Metadata, String> {
    let mut metadata = Metadata::default();
    let mut named = false;
    for line in text.lines().take_while(|line| !line.is_empty()) {
        let Some((key, value)) = line.split_once(':') else { continue };
        let value = value.trim();
        match key.to_ascii_lowercase().as_str() {
            "name" => named = wheel::normalise(value).as_deref() == Some(project),
            "requires-dist" => metadata.requires.push(requirement(value)?),
            "provides-extra" => metadata.extras.extend(wheel::normalise(value)),
            _ => {}
        }
    }
    if named { Ok(metadata) } else { Err(format!("its METADATA does not name {project}")) }
}

/// Parses a PEP 508 requirement.
pub(super) fn requirement(text: &str) -> Result<Requirement, String> {
    if text.len() > MAX_LINE || !text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t')) {
        return Err("a requirement of characters or a length that no requirement has".to_owned());
    }
    if text.matches('(').count() > MAX_NESTING {
        return Err(format!("more than {MAX_NESTING} parentheses"));
    }
    if !well_named(text.trim_start()) {
        return Err(format!("'{text}': a name begins and ends with a letter or digit"));
    }
    // The error's own Display counts bytes as characters and may panic on others than ASCII.
    Requirement::from_str(text).map_err(|error| format!("'{text}': {}", error.message))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requirements_are_read_and_rubbish_is_an_error() {
        let text = "Metadata-Version: 2.4\nName: A.b\nVersion: 1\nProvides-Extra: Fast_One\n\
            Requires-Dist: c>=1; extra == 'fast-one'\nRequires-Dist: d (<2) ; python_version < '3'\n\nRequires-Dist: no\n";
        let metadata = parse(text, "a-b").expect("parses");
        assert_eq!(metadata.extras, ["fast-one"]);
        let (here, extra) = (environment(), ExtraName::from_str("fast-one").expect("a name"));
        let holds =
            |extra| metadata.requires.iter().map(|r| applies(r, &here, extra)).collect::<Vec<_>>();
        assert_eq!(holds(None), [false, false]);
        assert_eq!(holds(Some(&extra)), [true, false]);
        assert!(parse(text, "other").is_err());
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
        assert!(from_wheel(b"no zip").is_err());
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
