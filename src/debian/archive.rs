//! The outer layer of a .deb: an `ar` archive of exactly three members, in this order.
//!
//! ```text
//! "!<arch>\n"
//! debian-binary        "2.0\n"
//! control.tar[.gz|.xz|.zst]
//! data.tar[.gz|.xz|.zst]
//!
//! a member: name(16) mtime(12) uid(6) gid(6) mode(8) size(10) "`\n", contents, "\n" if the size is odd
//! ```
//!
//! Source: deb(5), ar(5). dpkg allows members it does not know; here anything else is an error, and so
//! is a byte after the last member.

use std::io::{self, BufRead, BufReader, Read, Take};

use super::deb::DebError;

/// More than any package of Debian needs once decompressed (the largest have about 3 GiB).
const MAX_UNPACKED: u64 = 16 << 30;

/// Bytes that a small package may have once decompressed; Debian's with more than that have at most 61 times their size.
const SMALL: u64 = 512 << 20;

/// More than that times its size is a bomb.
const RATIO: u64 = 128;

/// Bytes of control.tar, decompressed. The largest have some 20 MB, of checksums.
const MAX_CONTROL: u64 = 64 << 20;

/// The largest xz dictionary that is accepted is 64 MiB (`xz -9`).
const XZ_MEMORY: u64 = 128 << 20;

/// 2^27 bytes: what `zstd --ultra -22 --long` needs at most.
const ZSTD_WINDOW_LOG: u32 = 27;

/// Reads the members of a .deb one after the other.
pub struct Members<R> {
    reader: R,
}

/// One member: its name and its raw, still compressed contents.
pub struct Member<'a, R> {
    /// `data.tar.xz`
    pub name: String,
    /// `.xz`
    ending: String,
    contents: BufReader<Take<&'a mut R>>,
    /// Bytes that it may have decompressed.
    limit: u64,
    padding: bool,
}

/// How many bytes so many may unpack to.
pub(crate) fn limit(packed: u64) -> u64 {
    packed.saturating_mul(RATIO).clamp(SMALL, MAX_UNPACKED)
}

fn bad(part: &str, why: impl Into<String>) -> DebError {
    DebError::Bad { part: part.to_owned(), why: why.into() }
}

impl<R: Read> Members<R> {
    /// Checks the magic number and the format version.
    ///
    /// # Errors
    /// The bytes are no Debian package of format 2.
    pub fn open(mut reader: R) -> Result<Self, DebError> {
        let mut magic = [0; 8];
        read_exact(&mut reader, &mut magic, "the archive")?;
        if &magic != b"!<arch>\n" {
            return Err(bad("the archive", "it does not begin as a Debian package does"));
        }
        let mut members = Self { reader };
        let mut member = members.next("debian-binary")?;
        let mut version = String::new();
        let read = (&mut member.contents).take(64).read_to_string(&mut version);
        read.map_err(|error| bad("debian-binary", error.to_string()))?;
        if !version.starts_with("2.") || !version.ends_with('\n') {
            return Err(bad("debian-binary", format!("unknown format version {version:?}")));
        }
        member.finish()?;
        Ok(members)
    }

    /// The next member, which must have this name; a tar archive's may have the ending for its
    /// compression.
    ///
    /// # Errors
    /// Another member comes first, or the header is damaged.
    pub fn next(&mut self, wanted: &str) -> Result<Member<'_, R>, DebError> {
        let mut header = [0; 60];
        read_exact(&mut self.reader, &mut header, wanted)?;
        let text = std::str::from_utf8(&header).ok().filter(|text| text.is_ascii());
        let text = text.ok_or_else(|| bad(wanted, "its archive header is not text"))?;
        let name = text[..16].trim_end().trim_end_matches('/').to_owned();
        let ending = match name.strip_prefix(wanted) {
            Some("") => String::new(),
            Some(ending) if wanted.ends_with(".tar") && ending.starts_with('.') => {
                ending.to_owned()
            }
            _ => return Err(bad(wanted, format!("member {name:?} stands in its place"))),
        };
        let size = text[48..58].trim_end_matches(' ');
        // Rust's numbers may begin with '+'.
        let size = size.parse::<u64>().ok().filter(|_| !size.starts_with('+'));
        let size = size.ok_or_else(|| bad(&name, "its size is not a number"))?;
        if &text[58..] != "`\n" {
            return Err(bad(&name, "its archive header is damaged"));
        }
        let contents = BufReader::with_capacity(1 << 16, (&mut self.reader).take(size));
        Ok(Member { name, ending, contents, limit: limit(size), padding: size % 2 == 1 })
    }

    /// Checks that nothing follows the last member.
    ///
    /// # Errors
    /// Something does, or the underlying reader found the file damaged.
    pub fn finish(mut self) -> Result<(), DebError> {
        let mut byte = [0];
        match self.reader.read(&mut byte) {
            Ok(0) => Ok(()),
            Ok(_) => Err(bad("the archive", "something follows its last member")),
            Err(error) => Err(DebError::Read(error)),
        }
    }
}

impl<R: Read> Member<'_, R> {
    /// Gives `use_it` the decompressed contents, then checks that all of the member was used.
    ///
    /// # Errors
    /// `use_it`'s, or the contents are damaged, too large, or followed by something else.
    pub fn unpack<T>(
        mut self,
        use_it: impl FnOnce(&mut dyn Read) -> Result<T, DebError>,
    ) -> Result<T, DebError> {
        let name = self.name.clone();
        let decoder = decoder(&self.ending, &mut self.contents);
        let decoder = decoder.map_err(|error| bad(&name, error.to_string()))?;
        let limit = if name.starts_with("control.tar") { MAX_CONTROL } else { self.limit };
        let mut limited = Limited::new(decoder, limit);
        let result = use_it(&mut limited)?;
        io::copy(&mut limited, &mut OnlyZeros).map_err(|error| bad(&name, error.to_string()))?;
        drop(limited);
        self.finish()?;
        Ok(result)
    }

    fn finish(mut self) -> Result<(), DebError> {
        let name = self.name;
        let rest = self.contents.fill_buf().map_err(DebError::Read)?;
        if !rest.is_empty() {
            return Err(bad(&name, "something follows its compressed contents"));
        }
        let take = self.contents.into_inner();
        if take.limit() > 0 {
            return Err(bad(&name, "the file ends in the middle of it"));
        }
        if self.padding {
            let mut byte = [0];
            read_exact(take.into_inner(), &mut byte, &name)?;
            if byte != *b"\n" {
                return Err(bad(&name, "its padding is damaged"));
            }
        }
        Ok(())
    }
}

fn decoder<'a>(ending: &str, reader: impl BufRead + 'a) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match ending {
        "" => Box::new(reader),
        ".gz" => Box::new(flate2::bufread::GzDecoder::new(reader)),
        ".xz" => {
            let stream = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, 0)?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(reader, stream))
        }
        ".zst" => {
            let mut decoder = zstd::Decoder::with_buffer(reader)?.single_frame();
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
        _ => return Err(io::Error::other(format!("unknown compression {ending:?}"))),
    })
}

fn read_exact(reader: &mut impl Read, buffer: &mut [u8], part: &str) -> Result<(), DebError> {
    reader.read_exact(buffer).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => bad(part, "the file ends too early"),
        _ => DebError::Read(error),
    })
}

/// Fails once more bytes come than may.
pub(crate) struct Limited<R> {
    inner: R,
    limit: u64,
    left: u64,
}

impl<R: Read> Limited<R> {
    pub(crate) fn new(inner: R, limit: u64) -> Self {
        Self { inner, limit, left: limit }
    }
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(count as u64).ok_or_else(|| {
            io::Error::other(format!("it unpacks to over {} MiB", self.limit >> 20))
        })?;
        Ok(count)
    }
}

/// What may follow the last entry of a tar archive.
pub(crate) struct OnlyZeros;

impl io::Write for OnlyZeros {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.iter().any(|&byte| byte != 0) {
            return Err(io::Error::other("something follows the end of the tar archive"));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
