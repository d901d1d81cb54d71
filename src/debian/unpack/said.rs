//! What comes before an entry of a tar archive and is about it: GNU's long names, PAX headers. And whether its own header can
//! be read in one way only.
//!
//! ```text
//! L, K   GNU: the name, or the target of the link, ended by NUL
//! x      PAX: records of "LENGTH KEY=VALUE\n", LENGTH counting all of it
//! ```
//!
//! Source: tar(5) of libarchive, pax(1) of POSIX. They are read here and not by `tar`, which holds in memory whatever
//! they have. Where readers differ (two names, a PAX size that is not the header's, a number with a sign), the archive
//! is refused.

use std::collections::BTreeMap;
use std::io::{self, Read};

use tar::{EntryType, Header};

use super::{Source, UnpackError, refused};

/// Bytes of a name: more than `TreePath` takes, so that it says why not.
const MAX_NAME: u64 = 16 << 10;
/// Bytes of a PAX header; Linux has extended attributes of 64 KiB at most.
const MAX_PAX: u64 = 256 << 10;

/// What is said of the next entry.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) name: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) pax: Option<Pax>,
}

/// A PAX header.
#[derive(Debug, Default)]
pub(super) struct Pax {
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    /// By their names without `SCHILY.xattr.`.
    pub(super) xattrs: BTreeMap<String, Vec<u8>>,
}

impl Said {
    /// Whether an entry is about the next one; then what it says is kept.
    pub(super) fn hear(
        &mut self,
        entry: &mut tar::Entry<'_, impl Read>,
        source: Source,
    ) -> Result<bool, UnpackError> {
        let header = entry.header();
        let kind = header.entry_type();
        if source == Source::Package
            && matches!(kind, EntryType::XHeader | EntryType::XGlobalHeader)
        {
            let name = String::from_utf8_lossy(&header.path_bytes()).into_owned();
            return Err(refused(&name, "it is a PAX header, which no package may have"));
        }
        if header.as_gnu().is_none() && header.as_ustar().is_none() {
            return Ok(false);
        }
        let twice = |what: &str| damaged(format!("two {what} for one entry"));
        match kind {
            EntryType::GNULongName => {
                let name = name(entry)?;
                self.name.replace(name).map_or(Ok(true), |_| Err(twice("names")))
            }
            EntryType::GNULongLink => {
                let link = name(entry)?;
                self.link.replace(link).map_or(Ok(true), |_| Err(twice("link targets")))
            }
            EntryType::XHeader => {
                if self.pax.is_some() {
                    return Err(twice("PAX headers"));
                }
                let bytes = bounded(entry, MAX_PAX, "a PAX header")?;
                let pax = self.records(&bytes)?;
                self.pax = Some(pax);
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Whether nothing is said that no entry came for.
    pub(super) fn end(&self) -> Result<(), UnpackError> {
        match (&self.name, &self.link, &self.pax) {
            (None, None, None) => Ok(()),
            _ => Err(damaged("something is said of an entry that does not come")),
        }
    }

    fn records(&mut self, mut rest: &[u8]) -> Result<Pax, UnpackError> {
        let mut pax = Pax::default();
        let mut seen = BTreeMap::new();
        while !rest.is_empty() {
            let (key, value, behind) =
                record(rest).ok_or_else(|| damaged("a PAX header that is none"))?;
            rest = behind;
            if seen.insert(key, ()).is_some() {
                return Err(damaged(format!("a PAX header that has {key:?} twice")));
            }
            match key {
                "path" if self.name.is_some() => return Err(damaged("two names for one entry")),
                "linkpath" if self.link.is_some() => {
                    return Err(damaged("two link targets for one entry"));
                }
                "path" => self.name = Some(value.to_vec()),
                "linkpath" => self.link = Some(value.to_vec()),
                "size" => pax.size = Some(number(key, value)?),
                "uid" => pax.uid = Some(number(key, value)?),
                "gid" => pax.gid = Some(number(key, value)?),
                // Names of owners, times: those of the header do.
                "uname" | "gname" | "mtime" | "atime" | "ctime" | "comment" | "hdrcharset" => {}
                _ => match key.strip_prefix("SCHILY.xattr.") {
                    Some(name) => _ = pax.xattrs.insert(name.to_owned(), value.to_vec()),
                    None if key.starts_with("GNU.sparse.") => {
                        return Err(damaged("a sparse file"));
                    }
                    // Of one maker of archives: not about what the file is.
                    None if key.contains('.') => {}
                    None => {
                        return Err(damaged(format!("a PAX header that has an unknown {key:?}")));
                    }
                },
            }
        }
        Ok(pax)
    }
}

/// Key, value, and what follows the record.
fn record(bytes: &[u8]) -> Option<(&str, &[u8], &[u8])> {
    let space = bytes.iter().take(8).position(|&byte| byte == b' ')?;
    let digits = std::str::from_utf8(&bytes[..space]).ok()?;
    let plain = !digits.starts_with('0') && digits.bytes().all(|digit| digit.is_ascii_digit());
    let length: usize = digits.parse().ok().filter(|_| plain)?;
    let (record, rest) = bytes.split_at_checked(length)?;
    let said = record.get(space + 1..)?.strip_suffix(b"\n")?;
    let equals = said.iter().position(|&byte| byte == b'=').filter(|&at| at > 0)?;
    Some((std::str::from_utf8(&said[..equals]).ok()?, &said[equals + 1..], rest))
}

fn number(key: &str, value: &[u8]) -> Result<u64, UnpackError> {
    let digits = std::str::from_utf8(value).ok();
    let digits = digits.filter(|text| text.bytes().all(|digit| digit.is_ascii_digit()));
    let wrong = || damaged(format!("a PAX header whose {key} is no number"));
    digits.and_then(|digits| digits.parse().ok()).ok_or_else(wrong)
}

fn name(entry: &mut tar::Entry<'_, impl Read>) -> Result<Vec<u8>, UnpackError> {
    let mut name = bounded(entry, MAX_NAME, "a name")?;
    if name.last() == Some(&0) {
        name.pop();
    }
    Ok(name)
}

fn bounded(
    entry: &mut tar::Entry<'_, impl Read>,
    limit: u64,
    what: &str,
) -> Result<Vec<u8>, UnpackError> {
    let size = entry.size();
    if size > limit {
        return Err(damaged(format!("{what} of {size} bytes, more than {limit}")));
    }
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes)?;
    match bytes.len() as u64 == size {
        true => Ok(bytes),
        false => Err(damaged("its end is missing")),
    }
}

/// Whether each number of a header is octal digits, or in base 256 without a sign or an overflow: all readers of tar
/// agree on those.
pub(super) fn plain_numbers(name: &str, header: &Header) -> Result<(), UnpackError> {
    let old = header.as_old();
    let fields: [&[u8]; 5] = [&old.mode, &old.uid, &old.gid, &old.size, &old.mtime];
    let plain = |field: &[u8]| match field.split_first() {
        // The last eight bytes are all that is looked at.
        Some((&0x80, rest)) => rest[..field.len().saturating_sub(9)].iter().all(|&byte| byte == 0),
        _ => field.iter().all(|byte| matches!(byte, b'0'..=b'7' | b' ' | 0)),
    };
    match fields.into_iter().all(plain) {
        true => Ok(()),
        false => Err(refused(name, "a number of its header is none, or out of range")),
    }
}

pub(super) fn damaged(why: impl Into<String>) -> UnpackError {
    UnpackError::Damaged(io::Error::other(why.into()))
}
