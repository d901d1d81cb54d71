//! A wheel's members, checked against its RECORD, its METADATA and its own name. What we must read is held in memory,
//! all else goes to the pack at once.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Seek};

use super::WheelError;
use crate::digest::Digest;
use crate::lock::{Wheel, check_wheel_metadata};
use crate::store::PackWriter;
use crate::tree::{FileRef, TreePath};
use crate::zipped::Zip;

/// No wheel unpacks to more.
const MAX_BYTES: u64 = 1 << 30;
/// Nor to more than this and so many times its size.
const SMALL: u64 = 256 << 20;
const RATIO: u64 = 64;
/// Bytes of sources, which Python has to compile, scripts and metadata together. Synapse's wheel has 6 MB of them.
const MAX_TEXT: u64 = 64 << 20;
/// No wheel has more files.
const MAX_FILES: usize = 50_000;

/// What a member holds.
pub(super) enum Contents {
    Text(Vec<u8>),
    Packed(FileRef),
}

impl Contents {
    fn digest(&self) -> Digest {
        match self {
            Self::Text(bytes) => Digest::of(bytes),
            Self::Packed(file) => file.digest,
        }
    }
}

/// A wheel, read.
pub(super) struct Archive<'a> {
    name: &'a str,
    pub(super) files: BTreeMap<String, Contents>,
    pub(super) dist_info: String,
}

impl<'a> Archive<'a> {
    /// Reads a wheel of so many bytes, which must be the one that the lock names.
    pub(super) fn read(
        wheel: &'a Wheel,
        reader: impl Read + Seek,
        pack: &mut PackWriter,
    ) -> Result<Self, WheelError> {
        let limit = wheel.size.saturating_mul(RATIO).clamp(SMALL, MAX_BYTES);
        Self::within(limit, wheel, reader, pack)
    }

    pub(super) fn within(
        limit: u64,
        wheel: &'a Wheel,
        reader: impl Read + Seek,
        pack: &mut PackWriter,
    ) -> Result<Self, WheelError> {
        let name = wheel.file.as_str();
        let bad = |member: &str, why: String| WheelError::Bad {
            wheel: name.to_owned(),
            member: member.to_owned(),
            why,
        };
        let mut zip =
            Zip::open(reader, MAX_FILES).map_err(|error| bad("the archive", error.to_string()))?;
        let (mut total, mut text) = (0_u64, 0_u64);
        let mut infos = BTreeSet::new();
        let members: Vec<_> = zip.members().iter().map(|it| (it.name.clone(), it.size)).collect();
        for member in zip.members() {
            check_name(member.name.trim_end_matches('/')).map_err(|why| bad(&member.name, why))?;
            if member.symlink {
                return Err(bad(&member.name, "it is a symbolic link".to_owned()));
            }
            if member.name.ends_with('/') && member.size > 0 {
                return Err(bad(&member.name, "it is a folder with contents".to_owned()));
            }
            total += member.size;
            if is_text(&member.name) {
                text += member.size;
            }
            if total > limit || text > MAX_TEXT {
                let why = format!("the wheel unpacks to over {limit} bytes, or {MAX_TEXT} of text");
                return Err(bad(&member.name, why));
            }
            let top = member.name.split_once('/').map(|(top, _)| top);
            infos.extend(top.filter(|top| top.ends_with(".dist-info")).map(str::to_owned));
        }
        let mut files = BTreeMap::new();
        for (number, (path, size)) in members.into_iter().enumerate() {
            let failed = |error: std::io::Error| bad(&path, error.to_string());
            let mut contents = zip.contents(number).map_err(failed)?;
            if path.ends_with('/') {
                continue;
            }
            let contents = if is_held(&path) {
                let mut bytes = Vec::with_capacity(usize::try_from(size).expect("it is bounded"));
                contents.read_to_end(&mut bytes).map_err(failed)?;
                Contents::Text(bytes)
            } else {
                Contents::Packed(pack.append_from(&mut contents)?.map_err(failed)?)
            };
            files.insert(path, contents);
        }
        let [dist_info] = infos.iter().collect::<Vec<_>>()[..] else {
            return Err(bad("*.dist-info", format!("there are {}, not one", infos.len())));
        };
        let archive = Self { name, dist_info: dist_info.clone(), files };
        archive.check_record()?;
        let metadata = archive.info("METADATA").unwrap_or_default();
        check_wheel_metadata(metadata, &wheel.name, &wheel.version)
            .map_err(|why| archive.bad("METADATA", why))?;
        Ok(archive)
    }

    pub(super) fn bad(&self, member: &str, why: impl Into<String>) -> WheelError {
        let (wheel, member) = (self.name.to_owned(), member.to_owned());
        WheelError::Bad { wheel, member, why: why.into() }
    }

    /// A text file of the `.dist-info` folder.
    pub(super) fn info(&self, name: &str) -> Option<&str> {
        match self.files.get(&format!("{}/{name}", self.dist_info))? {
            Contents::Text(bytes) => std::str::from_utf8(bytes).ok(),
            Contents::Packed(_) => None,
        }
    }

    /// Every file must be in RECORD with its digest, but for RECORD itself and its signatures.
    fn check_record(&self) -> Result<(), WheelError> {
        let record = self.info("RECORD").ok_or_else(|| self.bad("RECORD", "it is missing"))?;
        let mut listed = BTreeMap::new();
        for line in record.lines().filter(|line| !line.is_empty()) {
            let (path, digest) =
                parse_row(line).ok_or_else(|| self.bad("RECORD", format!("bad row {line:?}")))?;
            if listed.insert(path.clone(), digest).is_some() {
                return Err(self.bad(&path, "RECORD lists it twice"));
            }
        }
        for (path, contents) in &self.files {
            let name = path.strip_prefix(&format!("{}/", self.dist_info)).unwrap_or("");
            if ["RECORD", "RECORD.jws", "RECORD.p7s"].contains(&name) {
                continue;
            }
            let wanted = format!("sha256={}", base64_url(contents.digest().as_bytes()));
            match listed.get(path) {
                None => return Err(self.bad(path, "RECORD does not list it")),
                Some(digest) if *digest != wanted => {
                    return Err(self.bad(path, format!("RECORD has {digest}, it has {wanted}")));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }
}

fn check_name(name: &str) -> Result<(), String> {
    let checked = TreePath::from_archive(name).map_err(|error| error.to_string())?;
    if name.contains('\\') || checked.is_none_or(|checked| checked.as_str() != name) {
        return Err("its name is not a plain relative path".to_owned());
    }
    Ok(())
}

/// Whether somebody reads it: Python's compiler, or we.
fn is_text(path: &str) -> bool {
    path.ends_with(".py") || is_held(path)
}

/// Whether we read it.
fn is_held(path: &str) -> bool {
    let part = |at| path.split('/').nth(at).unwrap_or_default();
    part(0).ends_with(".dist-info") || part(0).ends_with(".data") && part(1) == "scripts"
}

/// One row of RECORD: path, digest. Paths with a comma or quote are quoted as in CSV.
pub(super) fn parse_row(line: &str) -> Option<(String, String)> {
    let (path, rest) = if let Some(quoted) = line.strip_prefix('"') {
        let end = quoted.find("\",")?;
        (quoted[..end].replace("\"\"", "\""), &quoted[end + 2..])
    } else {
        let (path, rest) = line.split_once(',')?;
        (path.to_owned(), rest)
    };
    Some((path, rest.split(',').next()?.to_owned()))
}

/// Base64 with `-` and `_`, without padding (RFC 4648, section 5).
pub(super) fn base64_url(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

/// For [`crate::fuzzing`].
pub(crate) fn fuzz(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    text.lines().for_each(|line| _ = parse_row(line));
    _ = check_name(text);
}
