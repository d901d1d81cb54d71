//! Wheel names and what runs on the target: CPython 3.13 on x86_64 with glibc 2.41 (Debian trixie).
//!
//! ```text
//! NAME-VERSION[-BUILD]-PYTHON-ABI-PLATFORM.whl      each of the last three may be several, joined
//! by dots
//! ```
//! <https://packaging.python.org/en/latest/specifications/platform-compatibility-tags/>

use pep440_rs::Version;

/// Minor version of the target's CPython 3.
const PYTHON_MINOR: u32 = 13;
/// Minor version of the target's glibc 2.
const GLIBC_MINOR: u32 = 41;
/// The first glibc of x86_64.
const GLIBC_MIN: u32 = 5;

/// How well a wheel fits; the least is the most specific.
pub(super) type Rank = (u8, u32, u32);

/// A wheel's name, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct WheelName {
    /// Normalised project name.
    pub(super) project: String,
    pub(super) version: Version,
    /// How it fits the target; `None`: not at all.
    pub(super) rank: Option<Rank>,
}

/// Takes a file name apart. `None`: not a wheel's.
pub(super) fn parse(file: &str) -> Option<WheelName> {
    let parts: Vec<_> = file.strip_suffix(".whl")?.split('-').collect();
    let (name, version, tags) = match parts.as_slice() {
        [name, version, tags @ ..] if tags.len() == 3 => (name, version, tags),
        [name, version, build, tags @ ..] if tags.len() == 3 => {
            build.starts_with(|c: char| c.is_ascii_digit()).then_some((name, version, tags))?
        }
        _ => return None,
    };
    let all = tags[0].split('.').flat_map(|python| {
        tags[1].split('.').flat_map(move |abi| tags[2].split('.').map(move |p| (python, abi, p)))
    });
    let rank = all.filter_map(|(python, abi, platform)| rank(python, abi, platform)).min();
    Some(WheelName { project: normalise(name)?, version: version.parse().ok()?, rank })
}

/// A project name in its one form (PEP 503).
pub(super) fn normalise(name: &str) -> Option<String> {
    Some(pep508_rs::PackageName::new(name.to_owned()).ok()?.to_string())
}

fn rank(python: &str, abi: &str, platform: &str) -> Option<Rank> {
    let any = platform == "any";
    let platform = if any { 0 } else { platform_rank(platform)? };
    let (kind, minor) = interpreter(python)?;
    let age = PYTHON_MINOR.checked_sub(minor)?;
    let class = match (kind, abi, any) {
        ("cp", "cp313", false) if age == 0 => 0,
        ("cp", "abi3", false) if minor >= 2 => 1 + u8::from(age > 0) * 2,
        ("cp", "none", false) if age == 0 => 2,
        ("py", "none", false) => 4,
        ("cp", "none", true) if age == 0 => 5,
        ("py", "none", true) => 6,
        _ => return None,
    };
    // `py3` stands between py313 and py312.
    let order = if python == "py3" { 1 } else { age * 2 };
    Some((class, order, platform))
}

/// `cp313` is (cp, 13); `py3` is (py, 0).
fn interpreter(python: &str) -> Option<(&str, u32)> {
    let (kind, version) = python.split_at_checked(2)?;
    let minor = version.strip_prefix('3')?;
    match minor {
        "" if kind == "py" => Some((kind, 0)),
        _ => Some((kind, minor.parse().ok()?)),
    }
}

/// The newer the glibc that is asked for, the less.
fn platform_rank(platform: &str) -> Option<u32> {
    let minor = match platform {
        "manylinux2014_x86_64" => 17,
        "manylinux2010_x86_64" => 12,
        "manylinux1_x86_64" => 5,
        "linux_x86_64" => return Some(GLIBC_MINOR),
        _ => {
            let minor = platform.strip_prefix("manylinux_2_")?.strip_suffix("_x86_64")?;
            minor.parse::<u32>().ok().filter(|minor| *minor >= GLIBC_MIN)?
        }
    };
    GLIBC_MINOR.checked_sub(minor)
}

/// For [`crate::fuzzing`].
pub(crate) fn fuzz(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    parse(text);
    normalise(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranked(tags: &str) -> Option<Rank> {
        parse(&format!("a-1-{tags}.whl")).expect("a wheel").rank
    }

    #[test]
    fn the_more_specific_wheel_is_taken_first() {
        let order = [
            "cp313-cp313-manylinux_2_41_x86_64",
            "cp313-cp313-manylinux2014_x86_64.manylinux_2_17_x86_64",
            "cp313-cp313-manylinux1_x86_64",
            "cp313-cp313-linux_x86_64",
            "cp313-abi3-manylinux_2_17_x86_64",
            "cp313-none-manylinux_2_17_x86_64",
            "cp39-abi3-manylinux_2_34_x86_64",
            "cp39-abi3-manylinux_2_28_x86_64",
            "cp32-abi3-manylinux1_x86_64",
            "py3-none-manylinux1_x86_64",
            "cp313-none-any",
            "py313-none-any",
            "py2.py3-none-any",
            "py312-none-any",
        ];
        let ranks: Vec<_> = order.iter().map(|tags| ranked(tags).expect(tags)).collect();
        assert!(ranks.is_sorted_by(|a, b| a < b), "{ranks:?}");
    }

    #[test]
    fn what_does_not_run_there_has_no_rank() {
        for tags in [
            "cp312-cp312-manylinux_2_17_x86_64",
            "cp313-cp313t-manylinux_2_17_x86_64",
            "cp314-abi3-manylinux_2_17_x86_64",
            "cp313-cp313-manylinux_2_42_x86_64",
            "cp313-cp313-manylinux_2_17_aarch64",
            "cp313-cp313-musllinux_1_2_x86_64",
            "cp313-cp313-win_amd64",
            "pp311-pypy311_pp73-manylinux_2_17_x86_64",
            "py2-none-any",
            "py314-none-any",
            "é-none-any",
        ] {
            assert_eq!(ranked(tags), None, "{tags}");
        }
    }

    #[test]
    fn names_are_taken_apart_and_normalised() {
        let name = parse("Zope.Interface-8.7-2-py3-none-any.whl").expect("a wheel");
        assert_eq!(
            (name.project.as_str(), name.version.to_string().as_str()),
            ("zope-interface", "8.7")
        );
        for bad in ["a-1.tar.gz", "a-1.whl", "a-1-x-py3-none-any.whl", "a-b-py3-none-any.whl", ""] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_name_makes_it_panic(text in "[a-c0-3.é_+!-]{0,40}", raw in ".{0,40}") {
            parse(&format!("{text}.whl"));
            parse(&format!("a-1-{raw}.whl"));
        }
    }
}
