//! GRUB without grub-install: what `grub-mkimage` is asked for, and how its output is put on the disk.
//!
//! ```text
//! sector 0         boot.img; 0x5c: u64 LBA of core.img; 0x64: boot drive (0xff: as the BIOS says);
//!                  0x66: two NOPs over a jump that only floppies need
//! core.img's first sector (diskboot.img)
//!                  0x1f4: u64 LBA, u16 sectors, u16 segment of what follows; 0x1e8: end of list
//! ```
//!
//! Source: GRUB 2.12, include/grub/i386/pc/boot.h and util/setup.c. All integers little-endian.

use super::ImageError;
use super::layout::{Layout, SECTOR};

/// GRUB's parts, as the tools closure made them.
#[derive(Clone, Debug)]
pub struct GrubParts {
    /// `i386-pc/boot.img`, 512 bytes.
    pub boot_img: Vec<u8>,
    /// Output of [`mkimage_args`] for [`Platform::Bios`].
    pub core_img: Vec<u8>,
    /// Output of [`mkimage_args`] for [`Platform::Uefi`].
    pub efi: Vec<u8>,
}

/// Which of GRUB's two images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Platform {
    /// `i386-pc`.
    Bios,
    /// `x86_64-efi`.
    Uefi,
}

impl Platform {
    /// GRUB's name of it, and of the folder below `/usr/lib/grub` that holds its modules.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bios => "i386-pc",
            Self::Uefi => "x86_64-efi",
        }
    }
}

/// Modules that grub.cfg needs, on either platform. The mirror's are there already.
const MODULES: &str = "memdisk tar part_gpt part_msdos fat ext2 mdraid1x diskfilter loadenv test regexp search \
    search_fs_file search_fs_uuid search_label configfile normal linux echo sleep reboot halt serial \
    terminal hashsum gcry_sha256 all_video";

const CONFIG: &str = include_str!("grub/grub.cfg");
const START: &str = include_str!("grub/start.cfg");
/// `core.img` is loaded at 0x8200 and must end below 0x78000.
const CORE_MAX: usize = 0x6f000;
const SECTOR_LEN: usize = SECTOR as usize;

/// The archive that becomes GRUB's memdisk: the configuration that finds the ESP's one.
pub fn memdisk() -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.set_size(START.len() as u64);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_entry_type(tar::EntryType::Regular);
    let mut archive = tar::Builder::new(Vec::new());
    let added = archive.append_data(&mut header, "grub/grub.cfg", START.as_bytes());
    added.and_then(|()| archive.into_inner()).expect("memory takes all of it")
}

/// Files that `grub-mkimage` reads and writes.
#[derive(Clone, Copy, Debug)]
pub struct MkimageFiles<'a> {
    /// The folder of the platform's modules.
    pub modules: &'a str,
    /// Holds [`memdisk`].
    pub memdisk: &'a str,
    /// Secure Boot's revocation data.
    pub sbat: Option<&'a str>,
    /// What it makes; it cannot write to a pipe.
    pub output: &'a str,
}

/// Arguments for `grub-mkimage`.
pub fn mkimage_args(platform: Platform, files: MkimageFiles<'_>) -> Vec<String> {
    let MkimageFiles { modules, memdisk, sbat, output } = files;
    let fixed =
        ["-O", platform.name(), "-d", modules, "-m", memdisk, "-p", "(memdisk)/grub", "-o", output];
    let mut args: Vec<String> = fixed.map(str::to_owned).into();
    if let (Platform::Uefi, Some(sbat)) = (platform, sbat) {
        args.extend(["--sbat".to_owned(), sbat.to_owned()]);
    }
    args.extend(MODULES.split_whitespace().map(str::to_owned));
    if platform == Platform::Bios {
        args.push("biosdisk".to_owned());
    }
    args
}

/// The configuration, the same for BIOS and UEFI and on all of an appliance's disks.
pub fn config(layout: &Layout) -> String {
    let guids: Vec<_> = layout.legs().map(|leg| layout.disk_guid(leg).to_string()).collect();
    let serials: Vec<_> = layout.legs().map(|leg| grub_serial(layout.esp_serial(leg))).collect();
    CONFIG.replace("@DISKS@", &guids.join(",")).replace("@ESPS@", &serials.join(" "))
}

/// A FAT volume's serial number, as GRUB's `search --fs-uuid` wants it.
fn grub_serial(serial: u32) -> String {
    format!("{:04X}-{:04X}", serial >> 16, serial & 0xffff)
}

/// Sector 0: GRUB's boot code around what the protective MBR holds.
///
/// # Errors
/// `boot.img` is not one sector long.
pub fn boot_sector(
    boot_img: &[u8],
    mbr: &[u8; 512],
    core_lba: u64,
) -> Result<[u8; 512], ImageError> {
    let mut sector: [u8; 512] = boot_img.try_into().map_err(|_| ImageError::Format {
        what: "GRUB's boot.img",
        why: format!("it is {} bytes long, not 512", boot_img.len()),
    })?;
    sector[0x03..0x5a].copy_from_slice(&mbr[0x03..0x5a]);
    sector[0x5c..0x64].copy_from_slice(&core_lba.to_le_bytes());
    sector[0x64] = 0xff;
    sector[0x66..0x68].copy_from_slice(&[0x90, 0x90]);
    sector[0x1b8..].copy_from_slice(&mbr[0x1b8..]);
    Ok(sector)
}

/// core.img as it goes to `core_lba`: padded to sectors, its first one saying where the rest lies.
///
/// # Errors
/// It is too short or too long to be one.
pub fn placed_core(core_img: &[u8], core_lba: u64, room: u64) -> Result<Vec<u8>, ImageError> {
    let mut core = core_img.to_vec();
    core.resize(core.len().next_multiple_of(SECTOR_LEN), 0);
    if core.len() < 2 * SECTOR_LEN || core.len() > CORE_MAX || core.len() as u64 > room {
        let why = format!("{} bytes, not between 1024 and {CORE_MAX}", core_img.len());
        return Err(ImageError::Format { what: "GRUB's core.img", why });
    }
    let rest = u16::try_from(core.len() / SECTOR_LEN - 1).expect("CORE_MAX is under 2^16 sectors");
    core[0x1e8..0x1f4].fill(0);
    core[0x1f4..0x1fc].copy_from_slice(&(core_lba + 1).to_le_bytes());
    core[0x1fc..0x1fe].copy_from_slice(&rest.to_le_bytes());
    core[0x1fe..0x200].copy_from_slice(&0x820u16.to_le_bytes());
    Ok(core)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::appliance::Disks;

    #[test]
    fn the_boot_sector_keeps_the_mbr_and_names_the_core() {
        let mut mbr = [0x11; 512];
        mbr[0x1fe..].copy_from_slice(&[0x55, 0xaa]);
        let sector = boot_sector(&[0xcc; 512], &mbr, 2048).expect("sector");
        assert_eq!(sector[..3], [0xcc; 3]);
        assert_eq!(sector[0x03..0x5a], [0x11; 0x57]);
        assert_eq!(sector[0x5a..0x5c], [0xcc; 2]);
        assert_eq!(sector[0x5c..0x68], [0, 8, 0, 0, 0, 0, 0, 0, 0xff, 0xcc, 0x90, 0x90]);
        assert_eq!(sector[0x1b7..0x1b9], [0xcc, 0x11]);
        assert_eq!(sector[0x1fe..], [0x55, 0xaa]);
        assert!(boot_sector(&[0; 511], &mbr, 2048).is_err());
    }

    #[test]
    fn the_core_says_where_its_rest_lies() {
        let core = placed_core(&vec![0xcc; 1500], 2048, 1 << 20).expect("core");
        assert_eq!(core.len(), 1536);
        assert_eq!(core[0x1e7], 0xcc);
        assert_eq!(core[0x1e8..0x1f4], [0; 12]);
        assert_eq!(core[0x1f4..0x200], [1, 8, 0, 0, 0, 0, 0, 0, 2, 0, 0x20, 8]);
        for bad in [0, 512, CORE_MAX + 1] {
            assert!(placed_core(&vec![0; bad], 2048, 1 << 20).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_the_bios_image_reads_disks_through_the_bios() {
        let files =
            MkimageFiles { modules: "/m", memdisk: "/tar", sbat: Some("/sbat"), output: "/out" };
        let args = |platform| mkimage_args(platform, files);
        assert!(args(Platform::Bios).contains(&"biosdisk".to_owned()));
        assert!(!args(Platform::Bios).contains(&"--sbat".to_owned()));
        assert!(!args(Platform::Uefi).contains(&"biosdisk".to_owned()));
        assert!(args(Platform::Uefi).contains(&"--sbat".to_owned()));
    }

    #[test]
    fn the_configuration_names_all_disks() {
        let layout = Layout::new("box", 2 << 30, Disks::Mirror).expect("layout");
        let text = config(&layout);
        let guids: Vec<_> = layout.legs().map(|leg| layout.disk_guid(leg).to_string()).collect();
        assert!(text.contains(&format!("chatimg.disk={}", guids.join(","))));
        assert!(!text.contains('@'), "a placeholder is left");
        assert_eq!(grub_serial(0x00ab_cdef), "00AB-CDEF");
    }
}
