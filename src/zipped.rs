//! Zip archives that all readers understand in the same way: wheels.
//!
//! ```text
//! for each member: local header, contents [, sizes and sum again]
//! for each member: central header
//! end of central directory
//! ```
//!
//! Source: APPNOTE.TXT of PKWARE, sections 4.3 and 4.4. Readers that go by the local headers and readers that go by the
//! central directory see two archives where these disagree, so here nothing may: the members lie side by side from the first
//! byte on, both headers say the same of each, and nothing stands before, between or after them. Stored and deflated
//! members only; no encryption, no ZIP64 (which nothing needs below 4 GiB), no comment.

use std::collections::HashSet;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Take};

use flate2::Crc;
use flate2::bufread::DeflateDecoder;

const LOCAL: &[u8] = b"PK\x03\x04";
const CENTRAL: &[u8] = b"PK\x01\x02";
const END: &[u8] = b"PK\x05\x06";
const AGAIN: &[u8] = b"PK\x07\x08";
const LOCAL_SIZE: u64 = 30;
const CENTRAL_SIZE: usize = 46;
const END_SIZE: usize = 22;

/// Sizes and sum come after the contents.
const SIZES_LATER: u16 = 1 << 3;
/// The name is UTF-8.
const UTF8: u16 = 1 << 11;
/// Those two, and how hard the packer tried.
const KNOWN_FLAGS: u16 = SIZES_LATER | UTF8 | 0b110;

/// Fields of the "extra" part that change what the rest means: ZIP64, strong encryption, another name, AES.
const FORBIDDEN_EXTRA: [u16; 4] = [0x0001, 0x0017, 0x7075, 0x9901];

/// Bytes of the central directory.
const MAX_DIRECTORY: u64 = 32 << 20;

/// A member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    /// As it is written; unique.
    pub(crate) name: String,
    /// Bytes of its contents.
    pub(crate) size: u64,
    /// It is a symbolic link.
    pub(crate) symlink: bool,
    flags: u16,
    method: u16,
    sum: u32,
    packed: u64,
    /// Of the local header.
    start: u64,
    /// Of the contents; known once the local header was read.
    contents: u64,
}

/// An archive whose members can be read.
pub(crate) struct Zip<R> {
    reader: R,
    members: Vec<Member>,
}

/// The contents of a member, checked as they are read.
pub(crate) struct Contents<'a, R> {
    reader: Unpacking<'a, R>,
    sum: Crc,
    member: &'a Member,
    size: u64,
}

enum Unpacking<'a, R> {
    Stored(Take<&'a mut R>),
    Deflated(Box<DeflateDecoder<BufReader<Take<&'a mut R>>>>),
}

fn wrong<T>(why: impl Into<String>) -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::InvalidData, why.into()))
}

impl<R: Read + Seek> Zip<R> {
    /// Reads all headers.
    ///
    /// # Errors
    /// It is no zip archive, or not one that can be read in one way only.
    pub(crate) fn open(mut reader: R, max_members: usize) -> io::Result<Self> {
        let length = reader.seek(SeekFrom::End(0))?;
        let Some(at) = length.checked_sub(END_SIZE as u64) else {
            return wrong("it is too short for a zip archive");
        };
        let mut end = [0; END_SIZE];
        read_at(&mut reader, at, &mut end)?;
        let mut fields = Fields(&end);
        if fields.take(4)? != END {
            return wrong("it does not end as a zip archive without a comment does");
        }
        let (disk, other, here, all) = (fields.u16()?, fields.u16()?, fields.u16()?, fields.u16()?);
        let (size, start) = (u64::from(fields.u32()?), u64::from(fields.u32()?));
        if disk != 0 || other != 0 || here != all || fields.u16()? != 0 {
            return wrong("its end is that of an archive in parts, or with a comment");
        }
        if usize::from(all) > max_members {
            return wrong(format!("it has over {max_members} members"));
        }
        if start.checked_add(size) != Some(at) || size > MAX_DIRECTORY {
            return wrong("its directory does not lie before its end");
        }
        let mut directory = vec![0; usize::try_from(size).expect("it is bounded")];
        read_at(&mut reader, start, &mut directory)?;
        let mut zip = Self { reader, members: directory_of(&directory, usize::from(all))? };
        zip.check_layout(start)?;
        Ok(zip)
    }

    /// All members, in the order of the directory.
    pub(crate) fn members(&self) -> &[Member] {
        &self.members
    }

    /// The contents of the member of this number.
    ///
    /// # Errors
    /// The file cannot be read. Reading the contents fails where they are not what the headers say.
    pub(crate) fn contents(&mut self, number: usize) -> io::Result<Contents<'_, R>> {
        let member = &self.members[number];
        self.reader.seek(SeekFrom::Start(member.contents))?;
        let packed = (&mut self.reader).take(member.packed);
        let reader = match member.method {
            0 => Unpacking::Stored(packed),
            _ => Unpacking::Deflated(Box::new(DeflateDecoder::new(BufReader::new(packed)))),
        };
        Ok(Contents { reader, sum: Crc::new(), member, size: 0 })
    }

    /// Each member must begin where the one before ends, and its two headers agree.
    fn check_layout(&mut self, directory: u64) -> io::Result<()> {
        let mut order: Vec<usize> = (0..self.members.len()).collect();
        order.sort_by_key(|&number| self.members[number].start);
        let mut at = 0;
        for number in order {
            let member = &mut self.members[number];
            if member.start != at {
                return wrong(format!("{}: it does not lie behind the one before", member.name));
            }
            at = check_local(&mut self.reader, member)?;
            if at > directory {
                return wrong(format!("{}: it reaches into the directory", member.name));
            }
        }
        match at == directory {
            true => Ok(()),
            false => wrong("something stands between its members and its directory"),
        }
    }
}

/// The central directory's members.
fn directory_of(bytes: &[u8], count: usize) -> io::Result<Vec<Member>> {
    let mut rest = Fields(bytes);
    let mut members = Vec::with_capacity(count.min(bytes.len() / CENTRAL_SIZE));
    let mut names = HashSet::new();
    for _ in 0..count {
        let member = central(&mut rest)?;
        if !names.insert(member.name.clone()) {
            return wrong(format!("{}: it is there twice", member.name));
        }
        members.push(member);
    }
    match rest.0.is_empty() {
        true => Ok(members),
        false => wrong("its directory has more than its members"),
    }
}

fn central(rest: &mut Fields<'_>) -> io::Result<Member> {
    let mut fields = Fields(rest.take(CENTRAL_SIZE)?);
    if fields.take(4)? != CENTRAL {
        return wrong("its directory is damaged");
    }
    let made_by = fields.u16()? >> 8;
    fields.u16()?;
    let (flags, method) = (fields.u16()?, fields.u16()?);
    fields.u32()?;
    let (sum, packed, size) = (fields.u32()?, fields.u32()?, fields.u32()?);
    let (name, extra, comment) = (fields.u16()?, fields.u16()?, fields.u16()?);
    let disk = fields.u16()?;
    fields.u16()?;
    let (attributes, start) = (fields.u32()?, fields.u32()?);
    let name = name_of(rest.take(name.into())?, flags)?;
    let wrong = |why: &str| wrong(format!("{name}: {why}"));
    if flags & !KNOWN_FLAGS != 0 {
        return wrong("it is encrypted, or of a form unknown to us");
    }
    if !matches!(method, 0 | 8) {
        return wrong("its compression is unknown");
    }
    if [packed, size, start].contains(&u32::MAX) || disk != 0 || comment != 0 {
        return wrong("it is too large, in another part, or has a comment");
    }
    if method == 0 && packed != size {
        return wrong("it is stored as it is, but in another size");
    }
    check_extra(&name, rest.take(extra.into())?)?;
    let unix = made_by == 3;
    let symlink = unix && attributes >> 16 & 0o170_000 == 0o120_000;
    let (packed, size, start) = (packed.into(), size.into(), start.into());
    Ok(Member { name, size, symlink, flags, method, sum, packed, start, contents: 0 })
}

/// Compares the local header with the central one; gives where the next member must begin.
fn check_local(reader: &mut (impl Read + Seek), member: &mut Member) -> io::Result<u64> {
    let name = member.name.clone();
    let wrong = |why: &str| wrong(format!("{name}: {why}"));
    let mut header = [0; LOCAL_SIZE as usize];
    read_at(reader, member.start, &mut header)?;
    let mut fields = Fields(&header);
    if fields.take(4)? != LOCAL {
        return wrong("its own header is missing");
    }
    fields.u16()?;
    let (flags, method) = (fields.u16()?, fields.u16()?);
    fields.u32()?;
    let (sum, packed, size) = (fields.u32()?, u64::from(fields.u32()?), u64::from(fields.u32()?));
    let lengths = [usize::from(fields.u16()?), usize::from(fields.u16()?)];
    let mut rest = vec![0; lengths[0] + lengths[1]];
    reader.read_exact(&mut rest)?;
    if rest[..lengths[0]] != *name.as_bytes() {
        return wrong("its own header has another name");
    }
    check_extra(&name, &rest[lengths[0]..])?;
    let later = flags & SIZES_LATER != 0;
    let blank = later && (sum, packed, size) == (0, 0, 0);
    let same = (sum, packed, size) == (member.sum, member.packed, member.size);
    if flags != member.flags || method != member.method || !(same || blank) {
        return wrong("its own header and the directory disagree");
    }
    member.contents = member.start + LOCAL_SIZE + rest.len() as u64;
    let end = member.contents + member.packed;
    if !later {
        return Ok(end);
    }
    // With a mark before it, mostly.
    let mut again = [0; 16];
    reader.seek(SeekFrom::Start(end))?;
    reader.read_exact(&mut again[..12])?;
    let marked = again.starts_with(AGAIN);
    if marked {
        reader.read_exact(&mut again[12..])?;
    }
    let mut fields = Fields(&again[if marked { 4 } else { 0 }..]);
    let found = (fields.u32()?, u64::from(fields.u32()?), u64::from(fields.u32()?));
    match found == (member.sum, member.packed, member.size) {
        true => Ok(end + if marked { 16 } else { 12 }),
        false => wrong("what follows it and the directory disagree"),
    }
}

fn name_of(bytes: &[u8], flags: u16) -> io::Result<String> {
    let shown = || String::from_utf8_lossy(bytes).into_owned();
    match std::str::from_utf8(bytes) {
        Ok(name) if flags & UTF8 != 0 || name.is_ascii() => match name.contains('\0') {
            true => wrong(format!("{}: its name holds a NUL", name.escape_debug())),
            false => Ok(name.to_owned()),
        },
        _ => wrong(format!("{}: its name is not UTF-8", shown().escape_debug())),
    }
}

fn check_extra(name: &str, bytes: &[u8]) -> io::Result<()> {
    let mut rest = Fields(bytes);
    while !rest.0.is_empty() {
        let (Ok(kind), Ok(length)) = (rest.u16(), rest.u16()) else {
            return wrong(format!("{name}: its extra fields are damaged"));
        };
        if FORBIDDEN_EXTRA.contains(&kind) {
            return wrong(format!("{name}: it has an extra field {kind:#06x}, which changes it"));
        }
        rest.take(length.into())?;
    }
    Ok(())
}

impl<R: Read> Read for Contents<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = match &mut self.reader {
            Unpacking::Stored(reader) => reader.read(buffer)?,
            Unpacking::Deflated(reader) => reader.read(buffer)?,
        };
        self.sum.update(&buffer[..count]);
        self.size += count as u64;
        if self.size > self.member.size {
            return wrong("it unpacks to more than the archive says");
        }
        if count == 0 && !buffer.is_empty() {
            let used = match &self.reader {
                Unpacking::Stored(_) => self.size,
                Unpacking::Deflated(reader) => reader.total_in(),
            };
            let found = (self.size, used, self.sum.sum());
            if found != (self.member.size, self.member.packed, self.member.sum) {
                return wrong("its size or checksum is not what the archive says");
            }
        }
        Ok(count)
    }
}

fn read_at(reader: &mut (impl Read + Seek), at: u64, buffer: &mut [u8]) -> io::Result<()> {
    reader.seek(SeekFrom::Start(at))?;
    reader.read_exact(buffer)
}

/// Takes numbers from the front, the lowest byte first.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> io::Result<&'a [u8]> {
        let Some((taken, rest)) = self.0.split_at_checked(count) else {
            return wrong("a header of it is cut");
        };
        self.0 = rest;
        Ok(taken)
    }

    fn u16(&mut self) -> io::Result<u16> {
        Ok(self.take(2)?.iter().rev().fold(0, |number, &byte| number << 8 | u16::from(byte)))
    }

    fn u32(&mut self) -> io::Result<u32> {
        Ok(self.take(4)?.iter().rev().fold(0, |number, &byte| number << 8 | u32::from(byte)))
    }
}

/// For [`crate::fuzzing`].
pub(crate) fn fuzz(bytes: &[u8]) {
    let Ok(mut zip) = Zip::open(io::Cursor::new(bytes), 1000) else { return };
    for number in 0..zip.members().len() {
        let size = zip.members()[number].size;
        let Ok(mut contents) = zip.contents(number) else { continue };
        let mut limited = (&mut contents).take(1 << 20);
        let read = io::copy(&mut limited, &mut io::sink());
        assert!(read.is_err() || read.is_ok_and(|read| read <= size), "no more than it says");
    }
}

#[cfg(test)]
#[path = "zipped_tests.rs"]
mod tests;
