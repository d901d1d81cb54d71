//! A suite's Release file: the signed list of an archive's index files.
//!
//! ```text
//! Codename: trixie-updates
//! Date: Thu, 19 Nov 2026 02:12:54 UTC
//! Valid-Until: Thu, 26 Nov 2026 02:12:54 UTC
//! Acquire-By-Hash: yes
//! Architectures: all amd64 ...
//! Components: main contrib ...
//! SHA256:
//!  eea860c5...51978a     1108 main/binary-amd64/Packages.xz
//! ```
//!
//! Source: the Debian wiki, DebianRepository/Format. The text must come from `keyring`.
//! Invariant: no field or path is there twice, and `Release::check` stands between parsing and use.

use std::collections::{BTreeMap, HashSet};

use time::PrimitiveDateTime;
use time::format_description::FormatItem;
use time::macros::format_description;

use crate::digest::Digest;

/// How far an archive's clock may be ahead of this machine's.
const CLOCK_TOLERANCE: i64 = 24 * 60 * 60;

/// What a Release file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// `trixie-updates`: what a suite is asked for by.
    pub codename: String,
    /// `stable-updates`: changes when the next Debian is released.
    pub suite: String,
    /// When it was made, seconds since 1970.
    pub date: i64,
    /// When it must no longer be used; absent for a released main suite.
    pub valid_until: Option<i64>,
    /// Index files can be had by their digest.
    pub by_hash: bool,
    architectures: Vec<String>,
    components: Vec<String>,
    files: BTreeMap<String, IndexFile>,
}

/// One file of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexFile {
    /// Bytes.
    pub size: u64,
    /// SHA-256.
    pub digest: Digest,
}

/// What a Release file is measured against.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The codename asked for.
    pub codename: &'a str,
    /// Seconds since 1970.
    pub now: i64,
    /// The date locked before, if any.
    pub not_before: Option<i64>,
}

/// Why a Release file is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseError {
    /// A line has no place in the format.
    #[error("line {line} of the Release file is malformed: {problem}")]
    Malformed {
        /// From 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// A field is not there.
    #[error("the Release file has no field '{0}'")]
    Missing(&'static str),
    /// The archive answered with another suite.
    #[error(
        "asked for suite '{asked}', the archive answered with '{found}'; is its address right?"
    )]
    WrongSuite {
        /// The codename wanted.
        asked: String,
        /// The codename signed.
        found: String,
    },
    /// Too old to be trusted.
    #[error(
        "the index of '{suite}' was valid until {until}, now it is {now}: the archive is stale or \
         withholds updates; use another archive, and check this machine's clock"
    )]
    Expired {
        /// Codename.
        suite: String,
        /// Its Valid-Until.
        until: String,
        /// The time it was checked against.
        now: String,
    },
    /// Made after now.
    #[error(
        "the index of '{suite}' was made {date}, but now it is {now}: is this machine's clock \
         right?"
    )]
    FromFuture {
        /// Codename.
        suite: String,
        /// Its Date.
        date: String,
        /// The time it was checked against.
        now: String,
    },
    /// Older than the one locked.
    #[error(
        "the index of '{suite}' was made {found}, but the lock was made from a newer one of \
         {locked}: the archive is stale or was rolled back; use another archive"
    )]
    RolledBack {
        /// Codename.
        suite: String,
        /// The date offered now.
        found: String,
        /// The date locked before.
        locked: String,
    },
    /// Nothing for this machine in it.
    #[error("the suite '{suite}' has no {what}; it offers: {offered}")]
    NotOffered {
        /// Codename.
        suite: String,
        /// What was looked for.
        what: &'static str,
        /// What there is.
        offered: String,
    },
    /// An index file is not in the list.
    #[error("the Release file of '{suite}' does not list '{path}'")]
    NotListed {
        /// Codename.
        suite: String,
        /// The path looked for.
        path: String,
    },
}

impl Release {
    /// Reads the verified text of an InRelease file.
    pub fn parse(text: &str) -> Result<Self, ReleaseError> {
        let (fields, files) = split(text)?;
        let field = |name| fields.get(name).map(|&(_, value)| value);
        let required = |name| field(name).ok_or(ReleaseError::Missing(name));
        let date =
            |name| fields.get(name).map(|&(line, value)| parse_date(line, value)).transpose();
        let words = |value: &str| value.split_ascii_whitespace().map(str::to_owned).collect();
        Ok(Self {
            codename: required("Codename")?.to_owned(),
            suite: required("Suite")?.to_owned(),
            date: date("Date")?.ok_or(ReleaseError::Missing("Date"))?,
            valid_until: date("Valid-Until")?,
            by_hash: field("Acquire-By-Hash") == Some("yes"),
            architectures: words(required("Architectures")?),
            components: words(required("Components")?),
            files,
        })
    }

    /// Refuses what is not the suite asked for, is too old, or has nothing for this machine.
    pub fn check(&self, expected: Expected<'_>) -> Result<(), ReleaseError> {
        let suite = || self.codename.clone();
        if self.codename != expected.codename {
            return Err(ReleaseError::WrongSuite {
                asked: expected.codename.to_owned(),
                found: suite(),
            });
        }
        self.check_dates(expected)?;
        if !self.architectures.iter().any(|arch| arch == "amd64") {
            let (what, offered) = ("architecture 'amd64'", self.architectures.join(" "));
            return Err(ReleaseError::NotOffered { suite: suite(), what, offered });
        }
        // The security archive calls its components updates/main and so on.
        if !self.components.iter().any(|name| name == "main" || name == "updates/main") {
            let (what, offered) = ("component 'main'", self.components.join(" "));
            return Err(ReleaseError::NotOffered { suite: suite(), what, offered });
        }
        Ok(())
    }

    fn check_dates(&self, expected: Expected<'_>) -> Result<(), ReleaseError> {
        let (suite, now) = (self.codename.clone(), show_date(expected.now));
        if let Some(until) = self.valid_until.filter(|&until| until < expected.now) {
            return Err(ReleaseError::Expired { suite, until: show_date(until), now });
        }
        if self.date > expected.now.saturating_add(CLOCK_TOLERANCE) {
            return Err(ReleaseError::FromFuture { suite, date: show_date(self.date), now });
        }
        match expected.not_before.filter(|&locked| self.date < locked) {
            None => Ok(()),
            Some(locked) => {
                let (found, locked) = (show_date(self.date), show_date(locked));
                Err(ReleaseError::RolledBack { suite, found, locked })
            }
        }
    }

    /// Size and digest of the index file at `path`, relative to the suite's folder.
    pub fn file(&self, path: &str) -> Result<IndexFile, ReleaseError> {
        let error =
            || ReleaseError::NotListed { suite: self.codename.clone(), path: path.to_owned() };
        self.files.get(path).copied().ok_or_else(error)
    }
}

type Fields<'a> = BTreeMap<&'a str, (usize, &'a str)>;

/// Splits the text into fields (with their line numbers) and the rows of SHA256.
fn split(text: &str) -> Result<(Fields<'_>, BTreeMap<String, IndexFile>), ReleaseError> {
    let (mut fields, mut files) = (Fields::new(), BTreeMap::new());
    let mut current = "";
    for (number, line) in (1..).zip(text.lines()) {
        let malformed = |problem: &str| ReleaseError::Malformed {
            line: number,
            problem: format!("{problem}: '{}'", line.escape_debug()),
        };
        if let Some(row) = line.strip_prefix(' ') {
            match current {
                "" => return Err(malformed("a continued line without a field")),
                "SHA256" => {
                    let (path, file) = parse_row(row).ok_or_else(|| malformed("not a file row"))?;
                    if files.insert(path.to_owned(), file).is_some() {
                        return Err(malformed("the path is listed twice"));
                    }
                }
                _ => {}
            }
            continue;
        }
        let (name, value) = line.split_once(':').ok_or_else(|| malformed("not a field"))?;
        let is_name = |c: u8| c.is_ascii_alphanumeric() || c == b'-';
        if name.is_empty() || !name.bytes().all(is_name) {
            return Err(malformed("not a field"));
        }
        if fields.insert(name, (number, value.trim())).is_some() {
            return Err(malformed("the field is there twice"));
        }
        current = name;
    }
    unambiguous(&fields)?;
    Ok((fields, files))
}

/// Field names are case-insensitive to others; two spellings of one name are a trap.
fn unambiguous(fields: &Fields<'_>) -> Result<(), ReleaseError> {
    let mut seen = HashSet::new();
    for (name, &(line, _)) in fields {
        if !seen.insert(name.to_ascii_lowercase()) {
            let problem = format!("the field '{name}' is there twice, spelt differently");
            return Err(ReleaseError::Malformed { line, problem });
        }
    }
    Ok(())
}

fn parse_row(row: &str) -> Option<(&str, IndexFile)> {
    let mut words = row.split_ascii_whitespace();
    let digest = words.next()?.parse().ok()?;
    let size =
        words.next().filter(|size| size.bytes().all(|c| c.is_ascii_digit()))?.parse().ok()?;
    let path = words.next()?;
    let plain = |part: &str| !matches!(part, "" | "." | "..");
    (words.next().is_none() && path.split('/').all(plain))
        .then_some((path, IndexFile { size, digest }))
}

const DATE: &[FormatItem<'_>] = format_description!(
    "[weekday repr:short], [day padding:none] [month repr:short] [year] \
     [hour]:[minute]:[second] UTC"
);

fn parse_date(line: usize, value: &str) -> Result<i64, ReleaseError> {
    let date = PrimitiveDateTime::parse(value, DATE).map_err(|error| ReleaseError::Malformed {
        line,
        problem: format!("'{}' is not a date in UTC: {error}", value.escape_debug()),
    })?;
    Ok(date.assume_utc().unix_timestamp())
}

fn show_date(seconds: i64) -> String {
    const SHOWN: &[FormatItem<'_>] =
        format_description!("[year]-[month]-[day] [hour]:[minute]:[second] UTC");
    time::OffsetDateTime::from_unix_timestamp(seconds)
        .ok()
        .and_then(|date| date.format(SHOWN).ok())
        .unwrap_or_else(|| format!("{seconds} s since 1970"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const TEXT: &str = "\
Origin: Debian
Suite: stable-updates
Codename: trixie-updates
Date: Thu, 19 Nov 2026 02:12:54 UTC
Valid-Until: Thu, 26 Nov 2026 02:12:54 UTC
Acquire-By-Hash: yes
Architectures: all amd64
Components: main contrib
MD5Sum:
 d41d8cd98f00b204e9800998ecf8427e 0 main/binary-amd64/Packages
SHA256:
 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855     0 main/binary-amd64/Packages
";
    const DATE: i64 = 1_795_054_374;

    fn expected(now: i64) -> Expected<'static> {
        Expected { codename: "trixie-updates", now, not_before: None }
    }

    #[test]
    fn a_good_file_is_read() {
        let release = Release::parse(TEXT).unwrap();
        assert_eq!((release.date, release.valid_until), (DATE, Some(DATE + 7 * 86_400)));
        assert!(release.by_hash);
        let file = release.file("main/binary-amd64/Packages").unwrap();
        assert_eq!((file.size, file.digest), (0, Digest::of(b"")));
        assert!(release.file("main/binary-i386/Packages").is_err());
        assert_eq!(release.check(expected(DATE + 86_400)), Ok(()));
    }

    #[test]
    fn malformed_files_are_refused() {
        let row = TEXT.lines().last().unwrap();
        for (from, to, problem) in [
            ("Suite:", "Suite", "not a field"),
            ("Origin", " Origin", "continued line"),
            ("Origin: Debian", "Codename: x", "twice"),
            ("Origin: Debian", "codename: x", "spelt differently"),
            ("Origin: Debian", "Or igin: x", "not a field"),
            ("02:12:54 UTC\nV", "02:12:54 +0100\nV", "not a date"),
            ("Thu, 19 Nov 2026", "Thu, 31 Nov 2026", "not a date"),
            ("     0 main", " -1 main", "not a file row"),
            ("     0 main", " 0 ../main", "not a file row"),
            ("     0 main", " 0 /main", "not a file row"),
            ("     0 main", " 0 a b", "not a file row"),
            (" e3b0", " E3B0", "not a file row"),
            (row, &format!("{row}\n{row}"), "listed twice"),
            ("Codename: trixie-updates\n", "", "no field 'Codename'"),
            ("Date: Thu, 19 Nov 2026 02:12:54 UTC\n", "", "no field 'Date'"),
        ] {
            let error = Release::parse(&TEXT.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(error.contains(problem), "{to}: {error}");
        }
    }

    #[test]
    fn the_wrong_suite_age_or_content_is_refused() {
        let check = |from: &str, to: &str, expected: Expected<'_>| {
            Release::parse(&TEXT.replacen(from, to, 1)).unwrap().check(expected).unwrap_err()
        };
        let now = expected(DATE + 86_400);
        let cases = [
            (check("Codename: trixie-updates", "Codename: trixie", now), "answered with 'trixie'"),
            (check("", "", expected(DATE + 8 * 86_400)), "valid until 2026-11-26 02:12:54 UTC"),
            (check("", "", expected(DATE - 2 * 86_400)), "clock right"),
            (check("all amd64", "all arm64", now), "offers: all arm64"),
            (check("main contrib", "contrib", now), "component 'main'"),
        ];
        for (error, part) in cases {
            assert!(error.to_string().contains(part), "{error}");
        }
    }

    #[test]
    fn an_older_index_than_the_locked_one_is_named_rolled_back() {
        let release = Release::parse(TEXT).unwrap();
        let checked =
            |locked| release.check(Expected { not_before: Some(locked), ..expected(DATE + 60) });
        assert_eq!(checked(DATE), Ok(()));
        let error = checked(DATE + 1).unwrap_err();
        assert!(matches!(error, ReleaseError::RolledBack { .. }));
        let text = error.to_string();
        assert!(text.contains("2026-11-19 02:12:54") && text.contains("2026-11-19 02:12:55"));
    }
}
