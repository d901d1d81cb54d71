//! Where bytes go: a disk, or a file in its place.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::fcntl::{self, FcntlArg, OFlag, PosixFadviseAdvice};

use crate::image::punch_hole;

/// Something that bytes are written to and read back from.
pub(super) trait Medium: Sync {
    /// Writes all bytes.
    fn write(&self, bytes: &[u8], at: u64) -> io::Result<()>;
    /// Reads all bytes, from the medium and not from the memory of what was written.
    fn read(&self, bytes: &mut [u8], at: u64) -> io::Result<()>;
    /// Whether it is a new file of nothing but holes.
    fn is_new(&self) -> bool;
    /// Makes everything zero without writing so many bytes; `false`: it knows no such way.
    fn clear(&self, range: Range<u64>) -> io::Result<bool>;
    /// Waits until everything written is durable.
    fn sync(&self) -> io::Result<()>;
    /// After an error: whether the medium is no longer there.
    fn gone(&self, error: &io::Error) -> bool;
}

/// An open disk or file.
#[derive(Debug)]
pub(super) struct Raw {
    pub(super) file: File,
    /// The page cache is passed by.
    direct: AtomicBool,
    /// Of a disk: where the kernel tells its size, and that size in its words.
    disk: Option<(PathBuf, String)>,
}

impl Raw {
    /// A disk; `size` is its file in `/sys`.
    pub(super) fn disk(file: File, direct: bool, size: PathBuf) -> Self {
        let now = std::fs::read_to_string(&size).unwrap_or_default();
        Self { file, direct: direct.into(), disk: Some((size, now)) }
    }

    /// A new file of nothing but holes.
    pub(super) fn file(file: File) -> Self {
        let raw = Self { file, direct: false.into(), disk: None };
        let direct = raw.set_direct(true).is_ok();
        raw.direct.store(direct, Ordering::Relaxed);
        raw
    }

    fn set_direct(&self, direct: bool) -> nix::Result<()> {
        let flags = OFlag::from_bits_retain(fcntl::fcntl(&self.file, FcntlArg::F_GETFL)?);
        let flags = if direct { flags | OFlag::O_DIRECT } else { flags - OFlag::O_DIRECT };
        fcntl::fcntl(&self.file, FcntlArg::F_SETFL(flags)).map(drop)
    }

    /// Does it again by way of the page cache, if the file system wants other alignments than ours.
    fn or_cached(&self, mut work: impl FnMut() -> io::Result<()>) -> io::Result<()> {
        match work() {
            Err(error)
                if error.raw_os_error() == Some(Errno::EINVAL as i32)
                    && self.direct.swap(false, Ordering::Relaxed) =>
            {
                self.set_direct(false)?;
                work()
            }
            result => result,
        }
    }
}

impl Medium for Raw {
    fn write(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.or_cached(|| self.file.write_all_at(bytes, at))
    }

    fn read(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        self.or_cached(|| self.file.read_exact_at(bytes, at))
    }

    fn is_new(&self) -> bool {
        self.disk.is_none()
    }

    fn clear(&self, range: Range<u64>) -> io::Result<bool> {
        // On a disk the kernel does this only if the disk promises zeros; with FALLOC_FL_ZERO_RANGE it would write
        // them itself, for minutes, and nobody could stop it.
        match punch_hole(&self.file, range.start, range.end - range.start) {
            Ok(()) => Ok(true),
            Err(error) if self.gone(&error) => Err(error),
            // Some adapters promise it and then refuse. What is wrong with the disk itself shows when zeros are written.
            Err(_) => Ok(false),
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_all()?;
        // Where direct I/O does not work, reading back has to find nothing in the cache. Only advice.
        _ = fcntl::posix_fadvise(&self.file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
        Ok(())
    }

    fn gone(&self, error: &io::Error) -> bool {
        let Some((path, size)) = &self.disk else { return false };
        let gone = [Errno::ENODEV, Errno::ENXIO, Errno::ENOMEDIUM].map(|errno| Some(errno as i32));
        gone.contains(&error.raw_os_error())
            || std::fs::read_to_string(path).ok().as_ref() != Some(size)
    }
}
