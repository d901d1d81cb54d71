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

/// The root directory is the first cluster of the data area, just behind the FATs.
fn fix_label_times(bytes: &mut [u8]) {
    let word = |at: usize| usize::from(bytes[at]) | usize::from(bytes[at + 1]) << 8;
    let (reserved, fats) = (word(14), usize::from(bytes[16]));
    let fat_sectors = word(36) | word(38) << 16;
    let root = (reserved + fats * fat_sectors) * SECTOR as usize;
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
    fn too_much_is_an_error() {
        let large = vec![1; 65 << 20];
        assert!(build(&SPEC, &[("large", &large)]).is_err());
    }
}
