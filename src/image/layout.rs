//! Where everything lies on the disk. Nothing else in the crate knows an offset or a GUID.
//!
//! ```text
//! LBA 0        protective MBR with GRUB's boot.img
//! LBA 1..34    primary GPT
//! 1 MiB        1 bios-boot   1 MiB      GRUB's core.img, raw
//! 2 MiB        2 esp         128 MiB    FAT32: GRUB for UEFI, grub.cfg, first copy of the environment
//! 130 MiB      3 bootenv     1 MiB      sectors 0-1: second copy; sector 64: the initrd's format note
//! 131 MiB      7 settings    1 MiB      host settings, put here by `flash`, taken out and erased by the box
//! 132 MiB      4 root-a      slot size  ext4, read-only
//!              5 root-b      slot size  empty until the first update
//!              6 data        the rest   sector 0: the marker that allows the initrd to format it
//! last 1 MiB   backup GPT in its last 33 sectors
//! ```
//!
//! Every partition starts and ends on a MiB. GUIDs are version 5 UUIDs of the appliance's name, so the
//! same appliance always has the same ones.
//!
//! A mirror has two such disks, its legs. Partitions 4, 5 and 6 are members of an array each: the slots with metadata
//! 1.0, so that GRUB reads them as plain ext4, data with metadata 1.2, so that its contents begin 1 MiB later. The
//! image's UUID of the data array only lasts until the first boot, which gives each box its own.

use uuid::{Uuid, uuid};

use super::ImageError;
use super::md::{self, Metadata};
use crate::appliance::Disks;

/// Bytes of a sector, as GPT, GRUB and the BIOS count them.
pub const SECTOR: u64 = 512;
/// What partitions are aligned to.
pub const MIB: u64 = 1 << 20;
/// What the data partition starts with in the image: it may be formatted.
pub const BLANK_DATA_MARKER: &[u8] = b"CHATIMG-BLANK-DATA-1\n";

const ESP_SIZE: u64 = 128 * MIB;
const DATA_SIZE: u64 = 512 * MIB;
const SLOT_MIN: u64 = 64 * MIB;
const SLOT_MAX: u64 = 64 << 30;
const NAMESPACE: Uuid = uuid!("6a0e7a5c-3f0b-4d0e-9d53-0c1a52b8c4f1");

/// The partitions, by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// GRUB's core image for BIOS.
    BiosBoot = 1,
    /// EFI system partition.
    Esp = 2,
    /// Raw copy of GRUB's environment block.
    BootEnv = 3,
    /// Root slot A.
    RootA = 4,
    /// Root slot B.
    RootB = 5,
    /// State.
    Data = 6,
    /// What differs from box to box, on its way to the data partition.
    Settings = 7,
}

/// All partitions, in order of place.
pub const PARTS: [Part; 7] = [
    Part::BiosBoot,
    Part::Esp,
    Part::BootEnv,
    Part::Settings,
    Part::RootA,
    Part::RootB,
    Part::Data,
];

impl Part {
    /// Number in the partition table.
    pub fn number(self) -> u32 {
        self as u32
    }

    /// Name in the partition table.
    pub fn name(self) -> &'static str {
        match self {
            Self::BiosBoot => "chatimg-bios-boot",
            Self::Esp => "chatimg-esp",
            Self::BootEnv => "chatimg-bootenv",
            Self::RootA => "chatimg-root-a",
            Self::RootB => "chatimg-root-b",
            Self::Data => "chatimg-data",
            Self::Settings => "chatimg-settings",
        }
    }

    /// Type GUID. Slots and data are plain "Linux filesystem", or members of a mirror: systemd must not mount them
    /// by itself.
    pub fn type_guid(self, disks: Disks) -> Uuid {
        match self {
            Self::RootA | Self::RootB | Self::Data if disks == Disks::Mirror => {
                uuid!("a19d880f-05fc-4d3b-a006-743f0f84911e")
            }
            Self::BiosBoot => uuid!("21686148-6449-6e6f-744e-656564454649"),
            Self::Esp => uuid!("c12a7328-f81f-11d2-ba4b-00a0c93ec93b"),
            Self::BootEnv => uuid!("5f3c1a9e-7d0b-4c1e-8a57-2b9d6e40c7a3"),
            Self::Settings => uuid!("9c2f7d14-1b6e-4a0d-b3f8-64e05a7c91d2"),
            Self::RootA | Self::RootB | Self::Data => uuid!("0fc63daf-8483-4772-8e79-3d69d8477de4"),
        }
    }

    /// The array that this partition is a member of on a mirror: its name and the kind of its metadata.
    pub fn array(self) -> Option<(&'static str, Metadata)> {
        match self {
            Self::RootA => Some(("root-a", Metadata::AtEnd)),
            Self::RootB => Some(("root-b", Metadata::AtEnd)),
            Self::Data => Some(("data", Metadata::AtStart)),
            Self::BiosBoot | Self::Esp | Self::BootEnv | Self::Settings => None,
        }
    }
}

/// One of an appliance's disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leg(u16);

impl Leg {
    /// From 1.
    pub fn number(self) -> u16 {
        self.0
    }
}

/// The layout of an appliance's disks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    name: String,
    slot_size: u64,
    disks: Disks,
}

/// A range of bytes on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: u64,
    /// Length in bytes.
    pub len: u64,
}

impl Span {
    /// First sector.
    pub fn first_lba(self) -> u64 {
        self.start / SECTOR
    }

    /// Last sector, inclusive.
    pub fn last_lba(self) -> u64 {
        (self.start + self.len) / SECTOR - 1
    }
}

impl Layout {
    /// The layout of an appliance's disks with root slots of this size.
    ///
    /// # Errors
    /// The slot size is no whole number of MiB, or out of range.
    pub fn new(name: &str, slot_size: u64, disks: Disks) -> Result<Self, ImageError> {
        if !slot_size.is_multiple_of(MIB) || !(SLOT_MIN..=SLOT_MAX).contains(&slot_size) {
            return Err(ImageError::SlotSize { size: slot_size });
        }
        Ok(Self { name: name.to_owned(), slot_size, disks })
    }

    /// How many disks, and how they are joined.
    pub fn disks(&self) -> Disks {
        self.disks
    }

    /// The disks.
    pub fn legs(&self) -> impl Iterator<Item = Leg> + use<> {
        (1..=self.disks.count()).map(|number| Leg(number as u16))
    }

    /// Where a partition lies in the image. On a larger disk the last one grows at first boot.
    pub fn span(&self, part: Part) -> Span {
        let mut start = MIB;
        for before in PARTS.into_iter().take_while(|before| *before != part) {
            start += self.size(before);
        }
        Span { start, len: self.size(part) }
    }

    fn size(&self, part: Part) -> u64 {
        match part {
            Part::BiosBoot | Part::BootEnv | Part::Settings => MIB,
            Part::Esp => ESP_SIZE,
            Part::RootA | Part::RootB => self.slot_size,
            Part::Data => DATA_SIZE,
        }
    }

    /// Bytes of a slot that its file system may use. On a single disk, too, the end stays free, so that the same slot
    /// fits both.
    pub fn slot_capacity(&self) -> u64 {
        self.slot_size - md::RESERVED
    }

    /// Where the contents of the data partition begin in it.
    pub fn data_offset(&self) -> u64 {
        match self.disks {
            Disks::Single => 0,
            Disks::Mirror => md::RESERVED,
        }
    }

    /// What makes a partition of this disk a member of its array, if it is one.
    pub fn member(&self, leg: Leg, part: Part, made: i64) -> Option<md::Member<'static>> {
        let (name, metadata) = part.array().filter(|_| self.disks == Disks::Mirror)?;
        Some(md::Member {
            metadata,
            array: self.derived(&format!("array/{name}")),
            name,
            device: self.derived(&format!("array/{name}/member/{}", leg.0)),
            role: leg.0 - 1,
            size: self.span(part).len,
            made,
        })
    }

    /// Bytes of the disk image.
    pub fn disk_size(&self) -> u64 {
        let data = self.span(Part::Data);
        data.start + data.len + MIB
    }

    /// A disk's GUID.
    pub fn disk_guid(&self, leg: Leg) -> Uuid {
        self.derived(&format!("disk/{}", leg.0))
    }

    /// A partition's own GUID.
    pub fn part_guid(&self, leg: Leg, part: Part) -> Uuid {
        self.derived(&format!("disk/{}/partition/{}", leg.0, part.number()))
    }

    /// The volume serial number of a disk's ESP.
    pub fn esp_serial(&self, leg: Leg) -> u32 {
        self.derived(&format!("disk/{}/esp", leg.0)).as_fields().0
    }

    fn derived(&self, what: &str) -> Uuid {
        Uuid::new_v5(&NAMESPACE, format!("{}/{what}", self.name).as_bytes())
    }

    /// Everything that shapes the layout, for the key of what is made with it.
    pub fn parameters(&self) -> String {
        format!("3 {} {} {:?} {ESP_SIZE} {DATA_SIZE}", self.name, self.slot_size, self.disks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(name: &str, slot_size: u64) -> Layout {
        Layout::new(name, slot_size, Disks::Mirror).expect("layout")
    }

    #[test]
    fn partitions_follow_each_other_on_mebibytes_and_leave_room_for_the_backup_table() {
        let layout = layout("box", 2 << 30);
        let mut end = MIB;
        for part in PARTS {
            let span = layout.span(part);
            assert_eq!(span.start, end, "{part:?}");
            assert_eq!(span.len % MIB, 0, "{part:?}");
            end = span.start + span.len;
        }
        assert_eq!(layout.disk_size(), end + MIB);
        assert_eq!(layout.span(Part::RootA).start, 132 * MIB);
    }

    #[test]
    fn guids_depend_on_the_appliance_and_the_leg_and_nothing_else() {
        let guids = |name: &str, size: u64| {
            let layout = layout(name, size);
            let of_leg = |leg| {
                let mut all: Vec<_> = PARTS.map(|part| layout.part_guid(leg, part)).into();
                all.extend(
                    PARTS.iter().filter_map(|part| Some(layout.member(leg, *part, 0)?.device)),
                );
                all.push(layout.disk_guid(leg));
                all
            };
            let mut all: Vec<_> = layout.legs().flat_map(of_leg).collect();
            let first = layout.legs().next().expect("a leg");
            all.extend(PARTS.iter().filter_map(|part| Some(layout.member(first, *part, 0)?.array)));
            all
        };
        assert_eq!(guids("box", 2 << 30), guids("box", 3 << 30));
        let mut all = [guids("box", 2 << 30), guids("other", 2 << 30)].concat();
        let number = all.len();
        all.sort();
        all.dedup();
        assert_eq!((all.len(), number), (50, 50));
    }

    #[test]
    fn only_a_mirror_has_members() {
        for (disks, legs, members) in [(Disks::Single, 1, 0), (Disks::Mirror, 2, 6)] {
            let layout = Layout::new("box", 2 << 30, disks).expect("layout");
            let parts = |leg| PARTS.into_iter().map(move |part| (leg, part));
            let found = layout.legs().flat_map(parts);
            let found = found.filter(|(leg, part)| layout.member(*leg, *part, 0).is_some());
            assert_eq!((layout.legs().count(), found.count()), (legs, members), "{disks:?}");
        }
    }

    #[test]
    fn odd_slot_sizes_are_refused() {
        for size in [0, 1, MIB, (2 << 30) + 1, u64::MAX] {
            assert!(Layout::new("box", size, Disks::Single).is_err(), "{size}");
        }
    }
}
