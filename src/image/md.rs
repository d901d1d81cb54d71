//! Superblocks of a RAID1 array, written without md: what `mdadm --create --assume-clean` would leave.
//!
//! ```text
//! superblock, little-endian                        bitmap superblock, 256 bytes, then a bit a chunk
//!   0  u32 magic a92b4efc   96 i32 bitmap offset     0  "bitm"            40  u64 array's sectors
//!   4  u32 major version 1 128 u64 data offset       4  u32 version 4     48  u32 state
//!   8  u32 features (1:    136 u64 data sectors      8  set UUID          52  u32 chunk, bytes
//!          bitmap)         144 u64 own sector       24  u64 events        56  u32 seconds between writes
//!  16  set UUID            160 u32 device's number  32  u64 events when   64  u32 sectors reserved
//!  32  name, 32 bytes      168 device UUID                  last clean
//!  64  u64 made, seconds   192 u64 updated
//!  72  u32 level           200 u64 events
//!  80  u64 array's sectors 208 u64 resync from (all ones: clean)
//!  92  u32 members         216 u32 checksum
//!                          220 u32 number of roles, 256 u16 each: member, or ffff
//! ```
//!
//! Metadata 1.0 lies at the member's end (so that the start reads like the plain file system), its bitmap in the 8 KiB
//! before it; 1.2 lies 4 KiB from the start, its bitmap behind it. Offsets are in sectors, the bitmap's relative to
//! the superblock.
//!
//! Source: Linux, include/uapi/linux/raid/md_p.h and drivers/md/md-bitmap.h; mdadm 4.4, super1.c.

use uuid::Uuid;

use super::layout::{MIB, SECTOR};

/// What a member keeps to itself: the distance of 1.2's data from its start, and of 1.0's data from its end.
pub const RESERVED: u64 = MIB;

const MAGIC: u32 = 0xa92b_4efc;
const BITMAP_MAGIC: u32 = u32::from_le_bytes(*b"bitm");
const ROLES: usize = 384;
const NO_ROLE: u16 = 0xffff;
const BITMAP_CHUNK: u32 = 64 << 20;
const BITMAP_SLEEP: u32 = 5;
/// Of the bitmap's superblock and bits.
const BITMAP_SECTORS: u64 = 8;
/// Members, each both a device number and a role.
const MEMBERS: u16 = 2;

/// Where a member keeps its superblock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metadata {
    /// 1.0.
    AtEnd,
    /// 1.2.
    AtStart,
}

/// One member of a clean mirror of two.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    /// Version of the metadata.
    pub metadata: Metadata,
    /// The array's UUID.
    pub array: Uuid,
    /// The array's name, 32 bytes at most.
    pub name: &'a str,
    /// The member's own UUID.
    pub device: Uuid,
    /// 0 or 1.
    pub role: u16,
    /// Bytes of the partition.
    pub size: u64,
    /// Seconds since 1970.
    pub made: i64,
}

impl Member<'_> {
    /// The bytes to write, with their offsets in the partition. Everything else of it is data, or zero.
    pub fn encode(&self) -> [(u64, Vec<u8>); 2] {
        let sectors = self.size / SECTOR;
        let reserved = RESERVED / SECTOR;
        let (own, bitmap_at, data_at) = match self.metadata {
            Metadata::AtEnd => (sectors - 16, sectors - 32, 0),
            Metadata::AtStart => (8, 16, reserved),
        };
        let data = sectors - reserved;
        let mut block = Block(vec![0; 256 + 2 * ROLES]);
        block.u32(0, MAGIC);
        block.u32(4, 1);
        block.u32(8, 1);
        block.bytes(16, self.array.as_bytes());
        block.bytes(32, self.name.as_bytes());
        block.u64(64, self.made.unsigned_abs());
        block.u32(72, 1);
        block.u64(80, data);
        block.u32(92, MEMBERS.into());
        // Two's complement: the bitmap may lie before the superblock.
        block.u32(96, (bitmap_at as u32).wrapping_sub(own as u32));
        block.u64(128, data_at);
        block.u64(136, data);
        block.u64(144, own);
        block.u32(160, self.role.into());
        block.bytes(168, self.device.as_bytes());
        block.u64(192, self.made.unsigned_abs());
        block.u64(200, 1);
        block.u64(208, u64::MAX);
        block.u32(220, ROLES as u32);
        for role in 0..ROLES {
            let number = u16::try_from(role).expect("fewer than 2^16 roles");
            let value = if number < MEMBERS { number } else { NO_ROLE };
            block.bytes(256 + 2 * role, &value.to_le_bytes());
        }
        block.u32(216, checksum(&block.0));
        [(own * SECTOR, block.0), (bitmap_at * SECTOR, self.bitmap(data))]
    }

    fn bitmap(&self, sectors: u64) -> Vec<u8> {
        let mut block = Block(vec![0; 256]);
        block.u32(0, BITMAP_MAGIC);
        block.u32(4, 4);
        block.bytes(8, self.array.as_bytes());
        block.u64(24, 1);
        block.u64(32, 1);
        block.u64(40, sectors);
        block.u32(52, BITMAP_CHUNK);
        block.u32(56, BITMAP_SLEEP);
        block.u32(64, BITMAP_SECTORS as u32);
        block.0
    }
}

struct Block(Vec<u8>);

impl Block {
    fn bytes(&mut self, at: usize, bytes: &[u8]) {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn u32(&mut self, at: usize, value: u32) {
        self.bytes(at, &value.to_le_bytes());
    }

    fn u64(&mut self, at: usize, value: u64) {
        self.bytes(at, &value.to_le_bytes());
    }
}

/// The sum of all words, folded; the checksum's own field is zero.
fn checksum(block: &[u8]) -> u32 {
    let words = block
        .chunks_exact(4)
        .map(|word| u64::from(u32::from_le_bytes(word.try_into().expect("chunks of four"))));
    let sum: u64 = words.sum();
    (sum as u32).wrapping_add((sum >> 32) as u32)
}

#[cfg(test)]
mod tests;
