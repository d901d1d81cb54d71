//! The EFI system partition: a FAT32 file system of a few files, the same bytes every time.
//!
//! ```text
//! sector 0   boot sector: sizes, serial number, label        6   its copy
//! sector 1   free space: how much, and where it begins       7   its copy, of when nothing was in it yet
//! sector 32  FAT, twice: for each cluster its successor, 0: free, 0x0ffffff8: the last one
//! then       clusters of a sector each, the first of which (number 2) is the root directory
//! entry      name (8 + 3 bytes), attributes, case, times, cluster (high), ..., cluster (low), length
//! ```
//!
//! Source: Microsoft, "FAT32 File System Specification" 1.03; the case bits are Windows NT's. Invariants: files lie in
//! one piece, in the order given; a folder is one cluster and comes before what is in it; names fit 8.3 without a longer
//! one; no times but FAT's own epoch (1980-01-01); the serial number comes from the layout.

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

const BYTES: usize = SECTOR as usize;
const RESERVED: usize = 32;
const INFO_SECTOR: usize = 1;
const BOOT_COPY: usize = 6;
const FATS: usize = 2;
const ROOT: u32 = 2;
/// Fewer clusters would be FAT16.
const MIN_CLUSTERS: usize = 65_525;
const MEDIA: u8 = 0xf8;
const LAST: u32 = 0x0fff_fff8;
const ENTRY: usize = 32;

const LABEL: u8 = 0x08;
const FOLDER: u8 = 0x10;
const ARCHIVE: u8 = 0x20;
/// 1 January 1980; its time is 0.
const EPOCH: u16 = 0x0021;

const BACKUP_SECTOR: usize = 50;
const SERIAL: usize = 67;

/// The whole file system with these files (path with `/`, contents); folders are made as needed.
///
/// # Errors
/// The files do not fit, or a name is none.
pub fn build(spec: &FatSpec, files: &[(&str, &[u8])]) -> Result<Vec<u8>, ImageError> {
    let fail = |why: String| ImageError::Format { what: "the EFI system partition", why };
    let mut volume = Volume::format(spec).map_err(fail)?;
    for (path, contents) in files {
        volume.add(path, contents).map_err(|why| fail(format!("{path}: {why}")))?;
    }
    Ok(volume.finish())
}

/// A file system in the making.
struct Volume {
    bytes: Vec<u8>,
    fat_sectors: usize,
    clusters: usize,
    /// The first free one; all behind it are free, too.
    next: u32,
}

/// Where an entry leads.
struct Found {
    attributes: u8,
    cluster: u32,
}

impl Volume {
    fn format(spec: &FatSpec) -> Result<Self, String> {
        let size = usize::try_from(spec.size).map_err(|_| "it is too large".to_owned())?;
        let sectors = size / BYTES;
        let (fat_sectors, clusters) = fat_size(sectors)?;
        let label = spec.label.as_bytes();
        if label.len() > 11 || !label.iter().all(|c| c.is_ascii_uppercase()) {
            return Err(format!("the label {} is not 11 capitals at most", spec.label));
        }
        let label: [u8; 11] = std::array::from_fn(|at| *label.get(at).unwrap_or(&b' '));
        let start = u32::try_from(spec.first_lba).map_err(|_| "it starts too late".to_owned())?;
        let total = u32::try_from(sectors).map_err(|_| "it is too large".to_owned())?;

        let mut volume = Self { bytes: vec![0; size], fat_sectors, clusters, next: ROOT };
        let boot = &mut volume.bytes[..BYTES];
        // The second half is a name without a meaning; another one would make other images.
        put(boot, 0, b"\xeb\x58\x90HADRISFT");
        put(boot, 11, &(BYTES as u16).to_le_bytes());
        boot[13] = 1; // sector a cluster
        put(boot, 14, &(RESERVED as u16).to_le_bytes());
        boot[16] = FATS as u8;
        boot[21] = MEDIA;
        put(boot, 24, &63_u16.to_le_bytes()); // sectors a track
        put(boot, 26, &255_u16.to_le_bytes()); // heads
        put(boot, 28, &start.to_le_bytes());
        put(boot, 32, &total.to_le_bytes());
        put(boot, 36, &(fat_sectors as u32).to_le_bytes());
        put(boot, 44, &ROOT.to_le_bytes());
        put(boot, 48, &(INFO_SECTOR as u16).to_le_bytes());
        put(boot, BACKUP_SECTOR, &(BOOT_COPY as u16).to_le_bytes());
        boot[64] = 0x80; // first disk of the BIOS
        boot[66] = 0x29; // serial number, label and kind follow
        put(boot, SERIAL, &spec.serial.to_le_bytes());
        put(boot, 71, &label);
        put(boot, 82, b"FAT32   ");
        put(boot, 510, &[0x55, 0xaa]);
        volume.set_fat(0, 0x0fff_ff00 | u32::from(MEDIA));
        volume.set_fat(1, 0x0fff_ffff);
        let root = volume.take(BYTES)?;
        volume.write_info();
        volume.bytes.copy_within(..2 * BYTES, BOOT_COPY * BYTES);
        volume.add_entry(root, label, 0, &Found { attributes: LABEL, cluster: 0 }, 0)?;
        Ok(volume)
    }

    fn add(&mut self, path: &str, contents: &[u8]) -> Result<(), String> {
        let mut folder = ROOT;
        let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
        for part in folders.split('/').filter(|part| !part.is_empty()) {
            folder = self.folder(folder, part)?;
        }
        let (short, case) = short_name(name)?;
        if self.find(folder, short).is_some() {
            return Err("it is there twice".to_owned());
        }
        let size = u32::try_from(contents.len()).map_err(|_| "it is too large".to_owned())?;
        let cluster = if contents.is_empty() { 0 } else { self.take(contents.len())? };
        if !contents.is_empty() {
            let at = self.place(cluster);
            put(&mut self.bytes, at, contents);
        }
        self.add_entry(folder, short, case, &Found { attributes: ARCHIVE, cluster }, size)
    }

    /// The folder of that name, made if there is none.
    fn folder(&mut self, parent: u32, name: &str) -> Result<u32, String> {
        let (short, case) = short_name(name)?;
        match self.find(parent, short) {
            Some(found) if found.attributes == FOLDER => return Ok(found.cluster),
            Some(_) => return Err(format!("{name} is a file")),
            None => {}
        }
        let cluster = self.take(BYTES)?;
        // The root directory goes by 0 there.
        let above = if parent == ROOT { 0 } else { parent };
        for (dots, cluster_of) in [(*b".          ", cluster), (*b"..         ", above)] {
            let to = Found { attributes: FOLDER, cluster: cluster_of };
            self.add_entry(cluster, dots, 0, &to, 0)?;
        }
        self.add_entry(parent, short, case, &Found { attributes: FOLDER, cluster }, 0)?;
        Ok(cluster)
    }

    fn find(&self, folder: u32, name: [u8; 11]) -> Option<Found> {
        let at = self.place(folder);
        let entries = self.bytes[at..at + BYTES].chunks_exact(ENTRY);
        let entry = entries.clone().find(|it| it.starts_with(&name) && it[11] != LABEL)?;
        let [low, high] = [26, 20].map(|at| word(entry, at) as u32);
        Some(Found { attributes: entry[11], cluster: high << 16 | low })
    }

    fn add_entry(
        &mut self,
        folder: u32,
        name: [u8; 11],
        case: u8,
        to: &Found,
        size: u32,
    ) -> Result<(), String> {
        let start = self.place(folder);
        let mut entries = self.bytes[start..start + BYTES].chunks_exact_mut(ENTRY);
        let entry = entries.find(|it| it[0] == 0).ok_or("its folder is full")?;
        put(entry, 0, &name);
        entry[11] = to.attributes;
        entry[12] = case;
        for at in [16, 18, 24] {
            put(entry, at, &EPOCH.to_le_bytes());
        }
        let [low0, low1, high0, high1] = to.cluster.to_le_bytes();
        put(entry, 20, &[high0, high1]);
        put(entry, 26, &[low0, low1]);
        put(entry, 28, &size.to_le_bytes());
        Ok(())
    }

    /// Takes clusters for so many bytes; says which is the first.
    fn take(&mut self, bytes: usize) -> Result<u32, String> {
        let (first, count) = (self.next, bytes.div_ceil(BYTES));
        if first as usize - ROOT as usize + count > self.clusters {
            return Err("it does not fit".to_owned());
        }
        self.next += count as u32;
        for cluster in first..self.next {
            let last = cluster + 1 == self.next;
            self.set_fat(cluster, if last { LAST } else { cluster + 1 });
        }
        Ok(first)
    }

    fn set_fat(&mut self, cluster: u32, value: u32) {
        for copy in 0..FATS {
            let fat = (RESERVED + copy * self.fat_sectors) * BYTES;
            put(&mut self.bytes, fat + 4 * cluster as usize, &value.to_le_bytes());
        }
    }

    /// Where a cluster begins.
    fn place(&self, cluster: u32) -> usize {
        let sectors = RESERVED + FATS * self.fat_sectors + (cluster - ROOT) as usize;
        sectors * BYTES
    }

    fn write_info(&mut self) {
        let free = self.clusters as u32 - (self.next - ROOT);
        let info = &mut self.bytes[INFO_SECTOR * BYTES..][..BYTES];
        put(info, 0, b"RRaA");
        put(info, 484, b"rrAa");
        put(info, 488, &free.to_le_bytes());
        put(info, 492, &self.next.to_le_bytes());
        put(info, 510, &[0x55, 0xaa]);
    }

    fn finish(mut self) -> Vec<u8> {
        self.write_info();
        self.bytes
    }
}

fn put(bytes: &mut [u8], at: usize, what: &[u8]) {
    bytes[at..at + what.len()].copy_from_slice(what);
}

/// Sectors of a FAT, and clusters: a FAT is made for those that there would be without any.
fn fat_size(sectors: usize) -> Result<(usize, usize), String> {
    let room = sectors.saturating_sub(RESERVED);
    let mut fat = 1;
    loop {
        let clusters = room.saturating_sub(FATS * fat);
        let needed = ((clusters + 2) * 4).div_ceil(BYTES);
        if needed <= fat {
            return match clusters >= MIN_CLUSTERS {
                true => Ok((fat, clusters)),
                false => Err(format!("{sectors} sectors are too few for FAT32")),
            };
        }
        fat = needed;
    }
}

/// A name of 8 + 3 capitals, and which of both parts are small letters in truth.
fn short_name(name: &str) -> Result<([u8; 11], u8), String> {
    const BASE_IS_SMALL: u8 = 0x08;
    const END_IS_SMALL: u8 = 0x10;
    let (base, end) = name.rsplit_once('.').unwrap_or((name, ""));
    let good = |part: &str| {
        let mixed = part.bytes().any(|c| c.is_ascii_lowercase())
            && part.bytes().any(|c| c.is_ascii_uppercase());
        !mixed && part.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_'))
    };
    if base.is_empty() || base.len() > 8 || end.len() > 3 || !good(base) || !good(end) {
        return Err(format!("{name} is no name of 8 and 3 letters, digits, - or _"));
    }
    let mut short = [b' '; 11];
    put(&mut short, 0, base.to_ascii_uppercase().as_bytes());
    put(&mut short, 8, end.to_ascii_uppercase().as_bytes());
    let small =
        |part: &str, bit| if part.bytes().any(|c| c.is_ascii_lowercase()) { bit } else { 0 };
    Ok((short, small(base, BASE_IS_SMALL) | small(end, END_IS_SMALL)))
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

#[cfg(test)]
mod tests {
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
        let bytes = image(files);
        for (path, contents) in files {
            assert_eq!(&read(&bytes, path).expect(path), contents, "{path}");
        }
        assert!(read(&bytes, "EFI/BOOT/grub.cfg").is_none());
        assert_eq!(bytes[SERIAL..][..4], 0x1234_5678_u32.to_le_bytes());
        let fat = |copy: usize| &bytes[512 * 32 + copy * fat_len(&bytes)..][..fat_len(&bytes)];
        assert!(fat(0) == fat(1));
        assert!(bytes[..512] == bytes[6 * 512..7 * 512]);
    }

    /// A file's contents, by its name in capitals as the file system has it.
    fn read(bytes: &[u8], path: &str) -> Option<Vec<u8>> {
        let long = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four"));
        let follow = |first: u32| {
            let next = |at: &u32| Some(long(512 * 32 + 4 * *at as usize)).filter(|it| *it < LAST);
            let clusters = std::iter::successors(Some(first), next);
            clusters.flat_map(|it| &bytes[data_area(bytes) + (it as usize - 2) * 512..][..512])
        };
        let (mut cluster, mut size) = (2, 512);
        for part in path.split('/') {
            let (base, end) = part.split_once('.').unwrap_or((part, ""));
            let name = format!("{base:8}{end:3}").to_uppercase();
            let folder: Vec<u8> = follow(cluster).copied().collect();
            let entry = folder.chunks(32).find(|it| it.starts_with(name.as_bytes()))?;
            let number = |at: usize| u32::from(entry[at]) | u32::from(entry[at + 1]) << 8;
            cluster = number(20) << 16 | number(26);
            size = number(28) | number(30) << 16;
        }
        match cluster {
            0 => Some(Vec::new()),
            first => Some(follow(first).take(size as usize).copied().collect()),
        }
    }

    /// As the crate hadris-fat 2.5 made them, which images had before.
    #[test]
    fn bytes_are_those_of_older_images() {
        let large: Vec<u8> = (0..100_000u32).map(|n| n as u8).collect();
        let files: &[(&str, &[u8])] =
            &[("EFI/BOOT/BOOTX64.EFI", &large), ("grub/grub.cfg", b"x"), ("grub/grubenv", b"")];
        assert_eq!(
            Digest::of(&image(files)).to_string(),
            "eda169f8d4c8a1b53638ebe2dcffdf687624ca6093edc08f3ce9ff910fc0e718"
        );
    }

    #[test]
    fn what_would_need_more_than_a_short_name_and_a_small_folder_is_refused() {
        let many: Vec<String> = (0..16).map(|n| format!("f{n}")).collect();
        let many: Vec<(&str, &[u8])> = many.iter().map(|name| (name.as_str(), &b"x"[..])).collect();
        assert!(build(&SPEC, &many[..15]).is_ok());
        assert!(build(&SPEC, &many).is_err());
        for name in
            ["Mixed", "toolongname", "a.text", "a.b.c", ".a", "", "a b", "ä", "EFI/", "x/../y"]
        {
            assert!(build(&SPEC, &[(name, b"")]).is_err(), "{name}");
        }
        assert!(build(&SPEC, &[("a", b"x"), ("A", b"x")]).is_err());
        assert!(build(&SPEC, &[("a", b"x"), ("a/b", b"x")]).is_err());
        for spec in [FatSpec { size: 32 << 20, ..SPEC }, FatSpec { label: "chatimg", ..SPEC }] {
            assert!(build(&spec, &[]).is_err());
        }
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
