//! The EFI system partition: a FAT32 file system of a few files, the same bytes every time.
//!
//! Times are FAT's own epoch (1980-01-01), the serial number comes from the layout. The formatter takes
//! the clock for the volume label's entry (the root directory's first, creation at 14, access at 18,
//! write at 22), so those fields are set afterwards.

use std::io::Cursor;

use hadris_fat::sync::format::{FatFormatOptions, FatTypeSelection, FatVolumeFormatter};
use hadris_fat::sync::{FatDateTime, FatDir, FatVolume, FatVolumeWriteExt};
use hadris_fat::time::EpochTimeProvider;

use super::ImageError;
use super::layout::SECTOR;

/// What to format.
#[derive(Clone, Copy, Debug)]
pub struct FatSpec<'a> {
    /// Bytes; at least 64 MiB, so that it is FAT32.
    pub size: u64,
    /// Volume serial number.
    pub serial: u32,
    /// Label, 11 capitals at most.
    pub label: &'a str,
    /// Sector of the disk that it starts at.
    pub first_lba: u64,
}

type Volume = FatVolume<Cursor<Vec<u8>>>;

/// The whole file system with these files (path with `/`, contents); folders are made as needed.
///
/// # Errors
/// The files do not fit, or a name is none.
pub fn build(spec: &FatSpec, files: &[(&str, &[u8])]) -> Result<Vec<u8>, ImageError> {
    let fail = |error: hadris_fat::error::Error| ImageError::Format {
        what: "the EFI system partition",
        why: error.to_string(),
    };
    let size = usize::try_from(spec.size).expect("an ESP fits the address space");
    let options = FatFormatOptions::new(spec.size)
        .volume_label(spec.label)
        .fat_type(FatTypeSelection::Fat32)
        .sectors_per_cluster(1)
        .hidden_sectors(u32::try_from(spec.first_lba).expect("the ESP lies near the disk's start"))
        .volume_id(spec.serial);
    let volume = FatVolumeFormatter::format(Cursor::new(vec![0; size]), options).map_err(fail)?;
    // A cursor of its own, for reading starts where it stands.
    let volume = FatVolume::builder(Cursor::new(volume.into_inner().into_inner()))
        .time_provider(&EpochTimeProvider)
        .open()
        .map_err(fail)?;
    for (path, contents) in files {
        add_file(&volume, path, contents).map_err(fail)?;
    }
    volume.sync().map_err(fail)?;
    let mut bytes = volume.into_inner().into_inner();
    fix_label_times(&mut bytes);
    Ok(bytes)
}

fn add_file(volume: &Volume, path: &str, contents: &[u8]) -> Result<(), hadris_fat::error::Error> {
    let mut dir = volume.root_dir();
    let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
    for folder in folders.split('/').filter(|folder| !folder.is_empty()) {
        dir = open_or_make(volume, &dir, folder)?;
    }
    let entry = volume.create_file(&dir, name)?;
    let mut writer = volume.write_file(&entry)?;
    let mut rest = contents;
    while !rest.is_empty() {
        let count = writer.write(rest)?;
        rest = &rest[count..];
    }
    writer.finish()
}

fn open_or_make<'a>(
    volume: &'a Volume,
    parent: &FatDir<'a, Cursor<Vec<u8>>>,
    name: &str,
) -> Result<FatDir<'a, Cursor<Vec<u8>>>, hadris_fat::error::Error> {
    if parent.find(name)?.is_none() {
        volume.create_dir(parent, name)?;
    }
    parent.open_dir(name)
}

/// Gives a file system another volume serial number: in its boot sector, and in the copy of that.
pub fn set_serial(bytes: &mut [u8], serial: u32) {
    for sector in [0, word(bytes, BACKUP_SECTOR)] {
        let at = sector * SECTOR as usize + SERIAL;
        bytes[at..at + 4].copy_from_slice(&serial.to_le_bytes());
    }
}

/// Bytes up to the last cluster that holds something. Of a file system of [`build`], the rest is zero.
pub fn used(bytes: &[u8]) -> usize {
    let (reserved, data) = (word(bytes, 14) * SECTOR as usize, data_area(bytes));
    let fat = &bytes[reserved..reserved + fat_len(bytes)];
    // The first two entries stand for no cluster.
    let taken = fat.chunks_exact(4).skip(2).rposition(|entry| entry != [0; 4]);
    data + taken.map_or(0, |last| last + 1) * SECTOR as usize
}

const BACKUP_SECTOR: usize = 50;
const SERIAL: usize = 67;

fn word(bytes: &[u8], at: usize) -> usize {
    usize::from(bytes[at]) | usize::from(bytes[at + 1]) << 8
}

fn fat_len(bytes: &[u8]) -> usize {
    (word(bytes, 36) | word(bytes, 38) << 16) * SECTOR as usize
}

/// Where the clusters begin, each a sector: just behind the FATs.
fn data_area(bytes: &[u8]) -> usize {
    word(bytes, 14) * SECTOR as usize + usize::from(bytes[16]) * fat_len(bytes)
}

/// The root directory is the first cluster.
fn fix_label_times(bytes: &mut [u8]) {
    let root = data_area(bytes);
    let (date, time, _) = FatDateTime::EPOCH.to_raw();
    for (at, value) in [(14, time), (16, date), (18, date), (22, time), (24, date)] {
        bytes[root + at..root + at + 2].copy_from_slice(&value.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use hadris_fat::sync::FatVolumeReadExt;

    use super::*;
    use crate::digest::Digest;

    const SPEC: FatSpec<'_> =
        FatSpec { size: 64 << 20, serial: 0x1234_5678, label: "CHATIMG", first_lba: 4096 };

    fn image(files: &[(&str, &[u8])]) -> Vec<u8> {
        build(&SPEC, files).expect("builds")
    }

    #[test]
    fn files_read_back_and_folders_are_shared() {
        let large: Vec<u8> = (0..100_000u32).map(|n| n as u8).collect();
        let files: &[(&str, &[u8])] =
            &[("EFI/BOOT/BOOTX64.EFI", &large), ("grub/grub.cfg", b"x"), ("grub/grubenv", b"")];
        let volume = FatVolume::open(Cursor::new(image(files))).expect("opens");
        for (path, contents) in files {
            let entry = volume.open_path(path).expect(path);
            let read = volume.read_file(&entry).and_then(|mut file| file.read_to_vec());
            assert_eq!(&read.expect(path), contents, "{path}");
        }
        assert_eq!(volume.volume_info().volume_id(), 0x1234_5678);
    }

    #[test]
    fn bytes_do_not_depend_on_the_clock() {
        let files: &[(&str, &[u8])] = &[("grub/grub.cfg", b"x")];
        let first = Digest::of(&image(files));
        std::thread::sleep(std::time::Duration::from_millis(2100));
        assert_eq!(Digest::of(&image(files)), first);
    }

    #[test]
    fn behind_the_last_used_cluster_is_nothing() {
        for length in [0, 1, 511, 512, 513, 100_000] {
            let bytes = image(&[("grub/grub.cfg", &vec![7; length])]);
            let used = used(&bytes);
            assert!(bytes[used..].iter().all(|byte| *byte == 0), "{length}");
            assert!(bytes[used - 512..used].iter().any(|byte| *byte != 0), "{length}");
        }
    }

    #[test]
    fn a_serial_number_set_later_is_as_good() {
        let files: &[(&str, &[u8])] = &[("grub/grub.cfg", b"x")];
        let mut other = build(&FatSpec { serial: 0, ..SPEC }, files).expect("builds");
        set_serial(&mut other, SPEC.serial);
        assert!(other == image(files));
    }

    #[test]
    fn too_much_is_an_error() {
        let large = vec![1; 65 << 20];
        assert!(build(&SPEC, &[("large", &large)]).is_err());
    }
}
