//! The file system in a root image, opened to read its files.

use std::error::Error;
use std::io;

use ext4_view::{Ext4, Ext4Error, Ext4Read};

use super::RootImage;

/// Where the superblock is, and its length (Documentation/filesystems/ext4/super.rst of the kernel).
const SUPERBLOCK: u64 = 1024;
const LENGTH: usize = 1024;
/// `s_log_block_size` of the largest blocks there are, 64 KiB.
const LARGEST_BLOCKS: u32 = 6;

impl Ext4Read for RootImage {
    fn read(&mut self, at: u64, bytes: &mut [u8]) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(self.read_exact_at(bytes, at)?)
    }
}

/// Opens the file system in a root image.
///
/// # Errors
/// It cannot be read, or holds no ext4, or one that says that it is larger.
pub(crate) fn open(image: RootImage) -> io::Result<Ext4> {
    let mut superblock = [0; LENGTH];
    match image.read_exact_at(&mut superblock, SUPERBLOCK) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Err(io::Error::other("it is too short for a file system"));
        }
        result => result?,
    }
    load(&superblock, image.size(), Box::new(image))
}

/// Memory is taken for as many groups of blocks as there are said to be, and for some blocks, before any of them is looked at.
fn load(superblock: &[u8; LENGTH], size: u64, reader: Box<dyn Ext4Read>) -> io::Result<Ext4> {
    let field = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|byte| superblock[at + byte]));
    let (s_blocks_count_lo, s_log_block_size, s_blocks_count_hi) =
        (field(0x4), field(0x18), field(0x150));
    if s_log_block_size > LARGEST_BLOCKS {
        return Err(io::Error::other("its file system has blocks of more than 64 KiB"));
    }
    let blocks = u128::from(s_blocks_count_lo) | u128::from(s_blocks_count_hi) << 32;
    let claimed = blocks << (10 + s_log_block_size);
    if claimed > u128::from(size) {
        let why = format!("its file system is {claimed} bytes long, and the image only {size}");
        return Err(io::Error::other(why));
    }
    Ext4::load(reader).map_err(|error: Ext4Error| io::Error::other(error))
}

/// For [`crate::fuzzing`].
pub(crate) fn fuzz(bytes: &[u8]) {
    let superblock = bytes.get(SUPERBLOCK as usize..).and_then(|rest| rest.first_chunk());
    let Some(superblock) = superblock else { return };
    let Ok(image) = load(superblock, bytes.len() as u64, Box::new(bytes.to_vec())) else { return };
    if let Ok(entries) = image.read_dir("/") {
        for entry in entries.take(100).flatten() {
            _ = image.read(&entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_take_any_amount_of_memory_is_refused() {
        let mut bytes = vec![0; 4096];
        bytes[0x400 + 0x38..][..2].copy_from_slice(&0xef53_u16.to_le_bytes());
        // 2^43 blocks in groups of 2048: 2^32 descriptors.
        bytes[0x400 + 0x20..][..4].copy_from_slice(&2048_u32.to_le_bytes());
        bytes[0x400 + 0x28..][..4].copy_from_slice(&8_u32.to_le_bytes());
        bytes[0x400 + 0x150..][..4].copy_from_slice(&0x7ff_u32.to_le_bytes());
        let file = tempfile::NamedTempFile::new().expect("a file");
        let refused = |bytes: &[u8], why: &str| {
            std::fs::write(file.path(), bytes).expect("written");
            let image = RootImage::of_file(file.reopen().expect("opened"));
            let error = open(image).map(|_| ()).expect_err("it is no file system");
            assert!(error.to_string().contains(why), "{error}");
        };
        refused(&bytes, "and the image only 4096");
        refused(&bytes[..1500], "too short");
        bytes[0x400 + 0x18] = 18;
        refused(&bytes, "blocks of more than 64 KiB");
    }
}
