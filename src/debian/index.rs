//! From an archive to the trusted text of a suite's package index.
//!
//! InRelease (signature, suite, age) → the row of `Packages.xz` (size, SHA-256) → by-hash file →
//! its text (size, SHA-256 of the unpacked row). Invariant: nothing is unpacked before its digest
//! is right, and no step takes more memory than a signed size, so an archive can at worst refuse
//! service.

use std::fmt;
use std::io::Read;

use liblzma::read::XzDecoder;
use liblzma::stream::Stream;

use super::keyring::{Keyring, KeyringError};
use super::release::{Expected, IndexFile, Release, ReleaseError};
use crate::digest::Digest;
use crate::lock::DebArchive;

/// Bytes an InRelease may have; trixie's has 140 kB.
const MAX_RELEASE: u64 = 4 << 20;
/// Bytes an index may have, unpacked; trixie's has 57 MB.
const MAX_PACKAGES: u64 = 512 << 20;
/// Memory xz may take; `xz -9` needs 65 MB.
const XZ_MEMORY: u64 = 128 << 20;

/// Where index files come from.
pub trait IndexSource {
    /// The places that have the archive, as a message calls them, in the order to ask.
    ///
    /// # Errors
    /// They cannot be told, or there is none.
    fn places(&self, archive: DebArchive) -> Result<Vec<String>, SourceError> {
        Ok(vec![format!("the archive '{}'", archive_name(archive))])
    }

    /// The file at `path`, relative to the archive's root, from the place of this number, refusing to read
    /// more than `max_size` bytes.
    fn get(
        &self,
        archive: DebArchive,
        place: usize,
        path: &str,
        max_size: u64,
    ) -> Result<Vec<u8>, SourceError>;
}

/// Why a file could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// No source has it.
    #[error("it is nowhere to be found ({0})")]
    NotFound(String),
    /// More bytes than were asked for.
    #[error("it is bigger than the {0} bytes it may have")]
    TooBig(u64),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

const fn archive_name(archive: DebArchive) -> &'static str {
    match archive {
        DebArchive::Debian => "debian",
        DebArchive::DebianSecurity => "debian-security",
    }
}

/// A suite to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suite {
    /// The archive it lies in.
    pub archive: DebArchive,
    /// Its codename.
    pub name: &'static str,
}

/// The suites of Debian 13, in the order that decides between equal packages.
pub const TRIXIE: [Suite; 3] = [
    Suite { archive: DebArchive::Debian, name: "trixie" },
    Suite { archive: DebArchive::Debian, name: "trixie-updates" },
    Suite { archive: DebArchive::DebianSecurity, name: "trixie-security" },
];

/// A suite's verified index.
#[derive(Clone, Debug)]
pub struct SuiteIndex {
    /// Which suite.
    pub suite: Suite,
    /// The Release file's Date, seconds since 1970.
    pub date: i64,
    /// SHA-256 of the InRelease file.
    pub digest: Digest,
    /// The text of `main/binary-amd64/Packages`.
    pub packages: String,
}

/// Why a suite cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// A file could not be had.
    #[error("fetching {file}")]
    Fetch {
        /// What.
        file: FileName,
        /// Why.
        #[source]
        error: SourceError,
    },
    /// No place has a good one.
    #[error("no place has a good index of {suite}:{}", list(errors))]
    Everywhere {
        /// The suite.
        suite: &'static str,
        /// Of each place.
        errors: Vec<IndexError>,
    },
    /// The signature does not hold.
    #[error("checking the signature of {file}")]
    Signature {
        /// What.
        file: FileName,
        /// Why.
        #[source]
        error: KeyringError,
    },
    /// Signed, but not to be used.
    #[error("reading {file}")]
    Release {
        /// What.
        file: FileName,
        /// Why.
        #[source]
        error: ReleaseError,
    },
    /// The index is not the one that was signed.
    #[error(
        "checking {file}: {what} is {found}, but the signed index lists {listed}; the archive may be \
         in the midst of an update or tampered with: try again, then use another archive"
    )]
    Mismatch {
        /// What.
        file: FileName,
        /// `size` or `SHA-256`.
        what: &'static str,
        /// Of the file received.
        found: String,
        /// Of the file that was signed.
        listed: String,
    },
    /// Not xz, or not text.
    #[error("unpacking {file}: {problem}")]
    Unpack {
        /// What.
        file: FileName,
        /// Why.
        problem: String,
    },
    /// More than this program is willing to hold.
    #[error(
        "unpacking {file}: its signed size of {size} bytes is more than the limit of {MAX_PACKAGES}"
    )]
    TooBig {
        /// What.
        file: FileName,
        /// Signed size.
        size: u64,
    },
}

/// A file of an archive, by the path in it and the place that was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileName {
    path: String,
    place: String,
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}' of {}", self.path.escape_debug(), self.place)
    }
}

/// Fetches and verifies the package index of `suite`, which must not be older than `not_before`, from the first place
/// that has a good one.
///
/// # Errors
/// No place has one: all their errors.
pub fn fetch(
    suite: Suite,
    source: &dyn IndexSource,
    keyring: &Keyring,
    now: i64,
    not_before: Option<i64>,
) -> Result<SuiteIndex, IndexError> {
    let path = format!("dists/{}/InRelease", suite.name);
    let places = source.places(suite.archive).map_err(|error| {
        let place = format!("the archive '{}'", archive_name(suite.archive));
        IndexError::Fetch { file: FileName { path, place }, error }
    })?;
    let mut errors = Vec::new();
    for (number, name) in places.iter().enumerate() {
        let place = Place { source, archive: suite.archive, number, name };
        match fetch_from(suite, place, keyring, now, not_before) {
            Ok(index) => return Ok(index),
            Err(error) => errors.push(error),
        }
    }
    match errors.len() {
        1 => Err(errors.remove(0)),
        _ => Err(IndexError::Everywhere { suite: suite.name, errors }),
    }
}

/// One place of an archive.
#[derive(Clone, Copy)]
struct Place<'a> {
    source: &'a dyn IndexSource,
    archive: DebArchive,
    number: usize,
    name: &'a str,
}

impl Place<'_> {
    fn file(&self, path: &str) -> FileName {
        FileName { path: path.to_owned(), place: self.name.to_owned() }
    }

    fn get(&self, path: &str, max_size: u64) -> Result<Vec<u8>, IndexError> {
        let failed = |error| IndexError::Fetch { file: self.file(path), error };
        let bytes = self.source.get(self.archive, self.number, path, max_size).map_err(failed)?;
        // A source's promise is checked: it may be a user's own.
        match bytes.len() as u64 <= max_size {
            true => Ok(bytes),
            false => Err(failed(SourceError::TooBig(max_size))),
        }
    }
}

fn fetch_from(
    suite: Suite,
    place: Place<'_>,
    keyring: &Keyring,
    now: i64,
    not_before: Option<i64>,
) -> Result<SuiteIndex, IndexError> {
    let path = format!("dists/{}/InRelease", suite.name);
    let file = || place.file(&path);
    let in_release = place.get(&path, MAX_RELEASE)?;
    let verified = keyring
        .of(suite.archive)
        .verify(&in_release, now)
        .map_err(|error| IndexError::Signature { file: file(), error })?;
    let checked = |release: &Release| {
        release.check(Expected { codename: suite.name, now, not_before })?;
        Ok((release.file(PACKED)?, release.file(UNPACKED)?))
    };
    let release = Release::parse(&verified.text)
        .map_err(|error| IndexError::Release { file: file(), error })?;
    let (packed, unpacked) =
        checked(&release).map_err(|error| IndexError::Release { file: file(), error })?;
    let (name, bytes) = fetch_listed(suite, place, release.by_hash, packed)?;
    let packages = unpack(&name, &bytes, unpacked)?;
    Ok(SuiteIndex { suite, date: release.date, digest: Digest::of(&in_release), packages })
}

const UNPACKED: &str = "main/binary-amd64/Packages";
const PACKED: &str = "main/binary-amd64/Packages.xz";

fn list(errors: &[IndexError]) -> String {
    errors.iter().map(|error| format!("\n  {}", chain(error))).collect()
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let cause = error.source().map(|cause| format!(": {}", chain(cause)));
    format!("{error}{}", cause.unwrap_or_default())
}

/// By digest, so that an archive in the midst of an update still has it; by name where an archive
/// lacks such paths.
fn fetch_listed(
    suite: Suite,
    place: Place<'_>,
    by_hash: bool,
    listed: IndexFile,
) -> Result<(FileName, Vec<u8>), IndexError> {
    let plain = format!("dists/{}/{PACKED}", suite.name);
    let hashed = format!("dists/{}/main/binary-amd64/by-hash/SHA256/{}", suite.name, listed.digest);
    let read = |path: String| {
        let bytes = place.get(&path, listed.size)?;
        let name = place.file(&path);
        verify(&name, &bytes, listed)?;
        Ok((name, bytes))
    };
    if !by_hash {
        return read(plain);
    }
    match read(hashed) {
        Err(IndexError::Fetch { error: SourceError::NotFound(_), .. }) => read(plain),
        result => result,
    }
}

fn verify(file: &FileName, bytes: &[u8], listed: IndexFile) -> Result<(), IndexError> {
    let mismatch =
        |what, found, listed| IndexError::Mismatch { file: file.clone(), what, found, listed };
    let size = bytes.len() as u64;
    if size != listed.size {
        return Err(mismatch("size", size.to_string(), listed.size.to_string()));
    }
    let digest = Digest::of(bytes);
    if digest != listed.digest {
        return Err(mismatch("SHA-256", digest.to_string(), listed.digest.to_string()));
    }
    Ok(())
}

fn unpack(file: &FileName, packed: &[u8], listed: IndexFile) -> Result<String, IndexError> {
    let problem = |problem: String| IndexError::Unpack { file: file.clone(), problem };
    if listed.size > MAX_PACKAGES {
        return Err(IndexError::TooBig { file: file.clone(), size: listed.size });
    }
    let stream =
        Stream::new_stream_decoder(XZ_MEMORY, 0).map_err(|error| problem(error.to_string()))?;
    let mut bytes = Vec::with_capacity(listed.size as usize);
    // One byte more than listed is enough to see that it is too much.
    XzDecoder::new_stream(packed, stream)
        .take(listed.size + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| problem(error.to_string()))?;
    verify(file, &bytes, listed)?;
    String::from_utf8(bytes).map_err(|error| problem(error.to_string()))
}
