//! The `Packages` index: one stanza a package.
//!
//! ```text
//! Package: bash
//! Essential: yes
//! Version: 5.2.37-2+b10
//! Architecture: amd64
//! Depends: base-files (>= 2.1.12), debianutils (>= 5.6-0.1)
//! Filename: pool/main/b/bash/bash_5.2.37-2+b10_amd64.deb
//! Size: 1502596
//! SHA256: e9c5...
//!                                              (an empty line ends the stanza)
//! ```
//!
//! Source: `deb-control(5)` and the Debian wiki, DebianRepository/Format. One pass over the
//! text, in which everything stays borrowed. Invariant: a returned package has a sound name,
//! version and path, and no field it keeps was there twice or ran over several lines; its relations
//! are read when a solver asks for them.

use super::relation::is_package_name;
use super::version::Version;
use crate::digest::Digest;

/// No .deb is bigger; the biggest of trixie has 1.7 GB.
const MAX_DEB_SIZE: u64 = 16 << 30;

/// A package of the index.
#[derive(Clone, Copy, Debug)]
pub struct Package<'a> {
    /// Package name.
    pub name: &'a str,
    /// Full version.
    pub version: Version<'a>,
    /// `amd64` or `all`.
    pub arch: &'a str,
    /// `Multi-Arch: allowed`: satisfies `name:any`.
    pub allows_any_arch: bool,
    /// `Essential: yes`: part of every system.
    pub essential: bool,
    /// How much a system needs it.
    pub priority: Priority,
    /// `Pre-Depends`, unparsed, as all relations.
    pub pre_depends: &'a str,
    /// `Depends`
    pub depends: &'a str,
    /// `Conflicts`
    pub conflicts: &'a str,
    /// `Breaks`
    pub breaks: &'a str,
    /// `Provides`
    pub provides: &'a str,
    /// `pool/main/b/bash/bash_5.2.37-2+b10_amd64.deb`
    pub path: &'a str,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of the .deb.
    pub digest: Digest,
}

/// Debian's priorities, the most needed first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Nothing works without.
    Required,
    /// Expected on any Unix.
    Important,
    /// On a default system.
    Standard,
    /// Everything else.
    Optional,
    /// As `Optional`; deprecated.
    Extra,
}

/// A stanza that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the package index (package {package}): {problem}")]
pub struct PackagesError {
    /// From 1; for what is missing, the stanza's last line.
    pub line: usize,
    /// The package, if its name is known by then.
    pub package: String,
    /// What is wrong.
    pub problem: String,
}

/// Reads all stanzas of a `Packages` file.
pub fn parse(text: &str) -> Result<Vec<Package<'_>>, PackagesError> {
    // A stanza of trixie has 830 bytes on average.
    let mut packages = Vec::with_capacity(text.len() / 700);
    let (mut stanza, mut last) = (Stanza::default(), 0);
    for (line, content) in (1..).zip(text.lines()) {
        last = line;
        if content.is_empty() {
            packages.extend(std::mem::take(&mut stanza).finish(line)?);
        } else {
            stanza.add(content).map_err(|problem| stanza.error(line, problem))?;
        }
    }
    packages.extend(stanza.finish(last)?);
    Ok(packages)
}

/// The fields a package is made from; the order is that of `Stanza::values`.
const FIELDS: [&str; 14] = [
    "Package",
    "Version",
    "Architecture",
    "Multi-Arch",
    "Essential",
    "Priority",
    "Pre-Depends",
    "Depends",
    "Conflicts",
    "Breaks",
    "Provides",
    "Filename",
    "Size",
    "SHA256",
];

#[derive(Default)]
struct Stanza<'a> {
    values: [Option<&'a str>; FIELDS.len()],
    started: bool,
    /// The line before belongs to a kept field.
    in_kept_field: bool,
}

impl<'a> Stanza<'a> {
    fn add(&mut self, line: &'a str) -> Result<(), String> {
        if line.starts_with([' ', '\t']) {
            return match (self.started, self.in_kept_field) {
                (false, _) => Err("a continued line without a field".to_owned()),
                (_, true) => {
                    Err("a field runs over several lines where one was expected".to_owned())
                }
                _ => Ok(()),
            };
        }
        self.started = true;
        let (name, value) = line
            .split_once(':')
            .filter(|(name, _)| !name.is_empty() && !name.contains([' ', '\t']))
            .ok_or_else(|| format!("not a field: '{}'", line.escape_debug()))?;
        let kept = FIELDS.iter().position(|field| field.eq_ignore_ascii_case(name));
        self.in_kept_field = kept.is_some();
        match kept {
            Some(at) if self.values[at].is_some() => {
                Err(format!("the field '{name}' is there twice"))
            }
            Some(at) => {
                self.values[at] = Some(value.trim_ascii());
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn finish(self, line: usize) -> Result<Option<Package<'a>>, PackagesError> {
        if !self.started {
            return Ok(None);
        }
        self.package().map(Some).map_err(|problem| self.error(line, problem))
    }

    fn package(&self) -> Result<Package<'a>, String> {
        let [
            name,
            version,
            arch,
            multi_arch,
            essential,
            priority,
            relations @ ..,
            path,
            size,
            digest,
        ] = self.values;
        let required = |value: Option<&'a str>, field| {
            value.filter(|v| !v.is_empty()).ok_or_else(|| format!("the field '{field}' is missing"))
        };
        let name = required(name, "Package")?;
        let version = Version::parse(required(version, "Version")?).map_err(|e| e.to_string())?;
        let digest = required(digest, "SHA256")?;
        let [pre_depends, depends, conflicts, breaks, provides] =
            relations.map(Option::unwrap_or_default);
        Ok(Package {
            name: is_package_name(name).then_some(name).ok_or("its name is not a package name")?,
            version,
            arch: required(arch, "Architecture").and_then(checked_arch)?,
            allows_any_arch: multi_arch == Some("allowed"),
            essential: essential == Some("yes"),
            priority: checked_priority(priority),
            pre_depends,
            depends,
            conflicts,
            breaks,
            provides,
            path: required(path, "Filename").and_then(checked_path)?,
            size: required(size, "Size").and_then(checked_size)?,
            digest: digest.parse().map_err(|error| format!("{error}"))?,
        })
    }

    fn error(&self, line: usize, problem: String) -> PackagesError {
        let package = self.values[0].unwrap_or("without a name").escape_debug().to_string();
        PackagesError { line, package, problem }
    }
}

fn checked_arch(arch: &str) -> Result<&str, String> {
    match arch {
        "amd64" | "all" => Ok(arch),
        _ => Err(format!("its architecture is '{}', not amd64 or all", arch.escape_debug())),
    }
}

fn checked_priority(priority: Option<&str>) -> Priority {
    match priority {
        Some("required") => Priority::Required,
        Some("important") => Priority::Important,
        Some("standard") => Priority::Standard,
        Some("extra") => Priority::Extra,
        // The one field without effect on what is installed: absent or new ones are the most
        // common.
        _ => Priority::Optional,
    }
}

fn checked_size(size: &str) -> Result<u64, String> {
    let plain = size.bytes().all(|c| c.is_ascii_digit());
    (plain.then(|| size.parse().ok()).flatten())
        .filter(|size| (1..=MAX_DEB_SIZE).contains(size))
        .ok_or_else(|| format!("its size '{}' is not 1 to {MAX_DEB_SIZE}", size.escape_debug()))
}

/// A path is joined to an archive's address or folder: it must not lead out of `pool/`.
fn checked_path(path: &str) -> Result<&str, String> {
    let plain = |c: u8| c.is_ascii_alphanumeric() || b"+-._~/:%".contains(&c);
    let good = path.starts_with("pool/")
        && path.ends_with(".deb")
        && path.bytes().all(plain)
        && path.split('/').all(|part| !matches!(part, "" | "." | ".."));
    good.then_some(path).ok_or_else(|| {
        format!("its path '{}' is not a plain path to a .deb below pool/", path.escape_debug())
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const TEXT: &str = "\
Package: bash
Essential: yes
Version: 5.2.37-2+b10
Priority: required
Architecture: amd64
Multi-Arch: allowed
Pre-Depends: libc6 (>= 2.38)
Depends: base-files (>= 2.1.12)
Description: shell
 not read
Filename: pool/main/b/bash/bash_5.2.37-2+b10_amd64.deb
Size: 1502596
SHA256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
";

    #[test]
    fn stanzas_are_read_with_or_without_a_last_empty_line() {
        let two = format!("\n\n{TEXT}\n\n{}", TEXT.replace("bash", "dash"));
        for text in [two.clone(), two + "\n"] {
            let packages = parse(&text).unwrap();
            assert_eq!(packages.iter().map(|p| p.name).collect::<Vec<_>>(), ["bash", "dash"]);
            let bash = &packages[0];
            assert!(bash.essential && bash.allows_any_arch);
            assert_eq!(
                (bash.arch, bash.size, bash.priority),
                ("amd64", 1_502_596, Priority::Required)
            );
            assert_eq!((bash.pre_depends, bash.conflicts), ("libc6 (>= 2.38)", ""));
            assert_eq!((bash.version.as_str(), bash.digest), ("5.2.37-2+b10", Digest::of(b"")));
        }
        assert!(parse("").unwrap().is_empty());
    }

    #[test]
    fn malformed_stanzas_are_refused_by_package_and_line() {
        let path = "pool/main/b/bash/bash_5.2.37-2+b10_amd64.deb";
        for (from, to, line, problem) in [
            ("Package: bash\n", "", 12, "'Package' is missing"),
            ("Package: bash", "Package: Bash", 13, "not a package name"),
            ("Package: bash", "Package: ../x", 13, "not a package name"),
            ("Version: ", "Version: 1 ", 13, "not a Debian version"),
            ("Essential: yes", "Version: 1", 3, "'Version' is there twice"),
            ("Essential: yes", "version: 1", 3, "there twice"),
            ("Essential: yes", "Essential yes", 2, "not a field"),
            ("Essential: yes", "Essen tial: yes", 2, "not a field"),
            ("Depends: ", "Depends:\n ", 8, "several lines"),
            ("Package: bash", " Package: bash", 1, "continued line"),
            ("Size: 1502596", "Size: -1", 13, "its size '-1'"),
            ("Size: 1502596", "Size: 99999999999999999999", 13, "its size"),
            ("SHA256: e3", "SHA256: E3", 13, "not a SHA-256"),
            ("amd64\nMulti", "i386\nMulti", 13, "'i386', not amd64"),
            (path, "/etc/shadow.deb", 13, "below pool/"),
            (path, "pool/../../x.deb", 13, "below pool/"),
            (path, "pool//x.deb", 13, "below pool/"),
            (path, "pool/a\\x.deb", 13, "below pool/"),
            (path, "pool/a?x.deb", 13, "below pool/"),
            (path, "pool/main/x.exe", 13, "below pool/"),
        ] {
            let text = TEXT.replacen(from, to, 1);
            let error = parse(&text).unwrap_err();
            assert!(error.problem.contains(problem), "{to}: {error}");
            // A line less or more shifts what is reported at the stanza's end.
            assert_eq!(error.line, line, "{to}: {error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_readers_panic(text in "([A-Za-z-]{1,9}[: ]{1,2})?[ -~é\\n]{0,80}") {
            let _ = parse(&text);
            let _ = parse(&TEXT.replace("libc6 (>= 2.38)", &text));
            let _ = crate::debian::relation::parse_field(&text);
            let _ = crate::debian::release::Release::parse(&text);
            let _ = Version::parse(&text);
        }
    }
}
