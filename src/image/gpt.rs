//! The partition table: GPT with a protective MBR that carries GRUB's first sector.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{Read, Seek, SeekFrom, Write};

use gpt::mbr::ProtectiveMBR;
use gpt::partition::Partition;
use gpt::partition_types::{OperatingSystem, Type};

use super::ImageError;
use super::grub;
use super::layout::{Layout, Leg, PARTS, Part, SECTOR};

/// Writes both copies of the table and sector 0. `disk` is as long as the layout says and is empty there.
///
/// # Errors
/// The disk cannot be written.
pub fn write<D: Read + Write + Seek + fmt::Debug>(
    disk: &mut D,
    layout: &Layout,
    leg: Leg,
    boot_img: &[u8],
) -> Result<(), ImageError> {
    let fail = |why: String| ImageError::Format { what: "the partition table", why };
    let mut table = gpt::GptConfig::new()
        .writable(true)
        .create_from_device(&mut *disk, Some(layout.disk_guid(leg)))
        .map_err(|error| fail(error.to_string()))?;
    table.update_partitions(partitions(layout, leg)).map_err(|error| fail(error.to_string()))?;
    table.write().map_err(|error| fail(error.to_string()))?;

    let sectors = u32::try_from(layout.disk_size() / SECTOR - 1).unwrap_or(u32::MAX);
    let mbr = ProtectiveMBR::with_lb_size(sectors).to_bytes();
    let core_lba = layout.span(Part::BiosBoot).first_lba();
    let sector = grub::boot_sector(boot_img, &mbr, core_lba)?;
    disk.seek(SeekFrom::Start(0))
        .and_then(|_| disk.write_all(&sector))
        .map_err(|error| fail(error.to_string()))
}

fn partitions(layout: &Layout, leg: Leg) -> BTreeMap<u32, Partition> {
    let entry = |part: Part| {
        let span = layout.span(part);
        Partition {
            part_type_guid: Type {
                guid: part.type_guid(layout.disks()),
                os: OperatingSystem::None,
            },
            part_guid: layout.part_guid(leg, part),
            first_lba: span.first_lba(),
            last_lba: span.last_lba(),
            flags: 0,
            name: part.name().to_owned(),
        }
    };
    PARTS.into_iter().map(|part| (part.number(), entry(part))).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::appliance::Disks;
    use crate::digest::Digest;

    fn disk() -> (Layout, Leg, Vec<u8>) {
        let layout = Layout::new("box", 64 << 20, Disks::Mirror).expect("layout");
        let leg = layout.legs().last().expect("a leg");
        let mut disk = Cursor::new(vec![0; layout.disk_size() as usize]);
        write(&mut disk, &layout, leg, &[0x5a; 512]).expect("writes");
        (layout, leg, disk.into_inner())
    }

    #[test]
    fn a_reader_finds_every_partition_where_the_layout_says() {
        let (layout, leg, bytes) = disk();
        let table = gpt::GptConfig::new()
            .only_valid_headers(true)
            .open_from_device(Cursor::new(bytes))
            .expect("both copies are valid");
        assert_eq!(*table.guid(), layout.disk_guid(leg));
        let mut found = table.partitions().clone();
        // The reader adds its own label to known types.
        found.values_mut().for_each(|part| part.part_type_guid.os = OperatingSystem::None);
        assert_eq!(found, partitions(&layout, leg));
    }

    #[test]
    fn sector_0_is_a_protective_mbr_with_boot_code() {
        let (_, _, bytes) = disk();
        assert_eq!(bytes[0], 0x5a, "boot code");
        assert_eq!(bytes[0x1c2], 0xee, "type of the protective partition");
        assert_eq!(bytes[0x1fe..0x200], [0x55, 0xaa]);
    }

    #[test]
    fn bytes_are_the_same_every_time() {
        let bytes = disk().2;
        assert_eq!(Digest::of(&bytes), Digest::of(&disk().2));
    }
}
