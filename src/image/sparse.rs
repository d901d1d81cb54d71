//! A large file with holes, written past the page cache: an image is written once and not read again soon, and copying
//! gigabytes through the cache costs more than the disk does.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::{FallocateFlags, OFlag, fallocate};

use super::ImageError;

/// A new file of nothing but holes.
#[derive(Debug)]
pub(super) struct SparseFile {
    /// Goes through the page cache, for small things.
    pub(super) file: File,
    /// `None`: the file system knows no direct I/O.
    direct: Option<File>,
}

impl SparseFile {
    /// Makes it, `size` bytes long.
    pub(super) fn create(path: &Path, size: u64) -> Result<Self, ImageError> {
        let file = OpenOptions::new().create_new(true).read(true).write(true).open(path);
        let file = file.map_err(ImageError::io("creating", path))?;
        file.set_len(size).map_err(ImageError::io("setting the length of", path))?;
        let flags = OFlag::O_DIRECT.bits();
        let direct = OpenOptions::new().write(true).custom_flags(flags).open(path).ok();
        Ok(Self { file, direct })
    }

    /// Writes bytes, by direct I/O where that is possible. Nothing but zeros stay a hole.
    pub(super) fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        if is_zero(bytes) {
            return Ok(());
        }
        if let Some(direct) = &self.direct {
            match direct.write_all_at(bytes, at) {
                // The file system wants other alignments than ours, or does not mean what it says.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => self.direct = None,
                result => return result,
            }
        }
        self.file.write_all_at(bytes, at)
    }
}

/// Makes a range of a file a hole, or has a disk forget it; it reads as zeros afterwards.
pub(crate) fn punch_hole(file: &File, at: u64, len: u64) -> io::Result<()> {
    let mode = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    Ok(fallocate(file, mode, at.cast_signed(), len.cast_signed())?)
}

/// Whether there is nothing but zeros.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    // Without an early exit within a block, so that the compiler can use wide registers.
    bytes.chunks(4096).all(|block| block.iter().fold(0, |all, byte| all | byte) == 0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn zeros_stay_holes_and_what_is_not_aligned_is_written_too() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let path = dir.path().join("file");
        let mut file = SparseFile::create(&path, 8 << 20).expect("creates");
        file.write(0, &vec![0; 4 << 20]).expect("writes");
        file.write(5 << 20, b"odd").expect("writes");
        file.write(6 << 20, &vec![1; 4096]).expect("writes");
        drop(file);
        let mut expected = vec![0; 8 << 20];
        expected[5 << 20..][..3].copy_from_slice(b"odd");
        expected[6 << 20..][..4096].fill(1);
        assert!(std::fs::read(&path).expect("reads") == expected);
        assert!(std::fs::metadata(&path).expect("file").blocks() * 512 < 64 << 10);
    }
}
