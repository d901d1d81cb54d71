//! What is on a disk, told by the marks that file systems and the like leave at fixed places.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::{Disk, Machine, text, uses};
use crate::image::is_zero;
use crate::image::layout::BLANK_DATA_MARKER;

/// A mark at a place.
struct Mark(u64, &'static [u8], &'static str);

const LINUX_RAID: &[u8] = b"\xfc\x4e\x2b\xa9";

const MARKS: &[Mark] = &[
    Mark(0, b"LUKS\xba\xbe", "LUKS"),
    Mark(0x200, b"LABELONE", "LVM"),
    Mark(0, LINUX_RAID, "Linux RAID"),
    Mark(0x1000, LINUX_RAID, "Linux RAID"),
    Mark(0x1018, b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca", "bcache"),
    Mark(0, b"XFSB", "XFS"),
    Mark(0x438, b"\x53\xef", "ext2/3/4"),
    Mark(0x1_0040, b"_BHRfS_M", "btrfs"),
    Mark(0x400, b"\x10\x20\xf5\xf2", "F2FS"),
    Mark(0, b"hsqs", "squashfs"),
    Mark(0x8001, b"CD001", "ISO 9660"),
    Mark(0xff6, b"SWAPSPACE2", "swap"),
    Mark(3, b"-FVE-FS-", "BitLocker"),
    Mark(3, b"NTFS    ", "NTFS"),
    Mark(3, b"EXFAT   ", "exFAT"),
    Mark(0x52, b"FAT32", "FAT"),
    Mark(0x36, b"FAT1", "FAT"),
    Mark(0, BLANK_DATA_MARKER, "empty chatimg data"),
];
const ZFS_UBERBLOCKS: std::ops::Range<u64> = 0x2_0000..0x4_0000;
const ZFS_MAGIC: &[u8] = b"\x0c\xb1\xba\0\0\0\0\0";

/// In a few words.
pub(super) fn describe(machine: &Machine, disk: &Disk) -> String {
    let file = match File::open(&disk.path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return "contents unknown (only root may look)".to_owned();
        }
        Err(error) => return format!("contents unknown: {error}"),
    };
    let dir = machine.sys(&format!("block/{}", disk.name));
    let parts = uses::partitions(&dir);
    let ours = |part: &String| {
        let told = text(&dir.join(part).join("uevent")).unwrap_or_default();
        told.contains("PARTNAME=chatimg-")
    };
    if parts.iter().any(ours) {
        return "a chatimg box".to_owned();
    }
    let whole = match probe(&file, disk.size) {
        Ok(whole) => whole,
        Err(error) => return format!("unreadable: {error}"),
    };
    let inside = parts.iter().map(|part| {
        let size = super::value::<u64>(&dir.join(part).join("size")).unwrap_or_default();
        let file = File::open(machine.root.join("dev").join(part)).ok();
        let found = file.and_then(|file| probe(&file, size * super::KERNEL_SECTOR).ok());
        found.flatten().unwrap_or("something unknown")
    });
    let inside = inside.collect::<Vec<_>>().join(", ");
    match (table(&file), whole) {
        (Some(table), None) if inside.is_empty() => format!("{table}, no partitions"),
        (Some(table), None) => format!("{table}: {inside}"),
        (_, Some(whole)) => whole.to_owned(),
        (None, None) if is_blank(&file) => "empty".to_owned(),
        (None, None) => "something unknown".to_owned(),
    }
}

/// The kind of partition table.
fn table(file: &File) -> Option<&'static str> {
    if starts(file, 0x200, b"EFI PART") || starts(file, 0x1000, b"EFI PART") {
        return Some("GPT");
    }
    starts(file, 0x1fe, b"\x55\xaa").then_some("MBR")
}

/// What the device as a whole is used as.
fn probe(file: &File, size: u64) -> io::Result<Option<&'static str>> {
    file.read_exact_at(&mut [0; 512], 0)?; // A device that cannot be read is not empty.
    if let Some(Mark(_, _, name)) = MARKS.iter().find(|mark| starts(file, mark.0, mark.1)) {
        return Ok(Some(name));
    }
    // Versions 1.0 and 0.90 lie at the end.
    let ends = [
        size.checked_sub(8192).map(|at| at & !4095),
        size.checked_sub(65536).map(|at| at & !65535),
    ];
    if ends.into_iter().flatten().any(|at| starts(file, at, LINUX_RAID)) {
        return Ok(Some("Linux RAID"));
    }
    let zfs = ZFS_UBERBLOCKS.step_by(1024).any(|at| starts(file, at, ZFS_MAGIC));
    Ok(zfs.then_some("ZFS"))
}

fn starts(file: &File, at: u64, mark: &[u8]) -> bool {
    let mut bytes = vec![0; mark.len()];
    file.read_exact_at(&mut bytes, at).is_ok() && bytes == mark
}

fn is_blank(file: &File) -> bool {
    let mut bytes = vec![0; 1 << 20];
    let read = file.read_at(&mut bytes, 0).unwrap_or_default();
    read > 0 && is_zero(&bytes[..read])
}
