//! The initrd: busybox, a script, and just the kernel modules that lead to the root slot.
//!
//! Decisions are the scripts' (`initrd/*.sh`); this file only packs: `/init`, `/lib/chatimg/*.sh`, `/bin/busybox`,
//! `/lib/modules/NAME.ko` (busybox's insmod hands over bytes as they are, and the root has plain ones) and
//! `/lib/modules/order`, one name a line; for a mirror, mdadm and its libraries. A zstd-compressed cpio ([`cpio`]).

mod cpio;
pub(crate) mod modules;

use cpio::Cpio;
use modules::Index;

use super::ImageError;
use crate::appliance::Disks;
use crate::digest::{Digest, Hasher};
use crate::store::Store;
use crate::tree::{FileRef, Tree};

const INIT: &str = include_str!("initrd/init.sh");
const SCRIPTS: [(&str, &str); 5] = [
    ("disks.sh", include_str!("initrd/disks.sh")),
    ("mirror.sh", include_str!("initrd/mirror.sh")),
    ("data.sh", include_str!("initrd/data.sh")),
    ("switch.sh", include_str!("initrd/switch.sh")),
    ("state.sh", include_str!("initrd/state.sh")),
];
/// A tenth smaller would take twenty times as long.
const LEVEL: i32 = 9;

/// The kernel modules an initrd must find: watchdogs (Intel's, on older and newer chipsets, QEMU's, AMD's, the kernel's own),
/// ways to a disk (SATA in both modes, NVMe, RAID and SAS controllers, virtio and other virtual ones, USB, SD cards and
/// eMMC), the mirror, and the two file systems.
pub const WANTED: [&str; 31] = [
    "lpc_ich",
    "i2c_i801",
    "iTCO_wdt",
    "i6300esb",
    "sp5100_tco",
    "softdog",
    "ata_piix",
    "vmd",
    "megaraid_sas",
    "mpt3sas",
    "smartpqi",
    "vmw_pvscsi",
    "hv_storvsc",
    "xen_blkfront",
    "sdhci_pci",
    "sdhci_acpi",
    "mmc_block",
    "virtio_pci",
    "virtio_blk",
    "virtio_scsi",
    "ahci",
    "nvme",
    "xhci_pci",
    "ehci_pci",
    "usb_storage",
    "uas",
    "sd_mod",
    "md_mod",
    "raid1",
    "ext4",
    "xfs",
];

/// mdadm and what it is linked with, by their names in the initrd and in the root: what a mirror takes.
pub const MDADM: [(&str, &str); 5] = [
    ("bin/mdadm", "usr/sbin/mdadm"),
    ("lib64/ld-linux-x86-64.so.2", "usr/lib64/ld-linux-x86-64.so.2"),
    ("lib/libc.so.6", "usr/lib/x86_64-linux-gnu/libc.so.6"),
    ("lib/libcap.so.2", "usr/lib/x86_64-linux-gnu/libcap.so.2"),
    ("lib/libudev.so.1", "usr/lib/x86_64-linux-gnu/libudev.so.1"),
];

/// Where an initrd's parts come from.
#[derive(Clone, Copy, Debug)]
pub struct Sources<'a> {
    /// The root file system: kernel modules, mdadm.
    pub root: &'a Tree,
    /// Holds busybox, static.
    pub tools: &'a Tree,
    /// Whether there is a mirror.
    pub disks: Disks,
}

/// What an initrd is made of, found and read as far as its key needs.
#[derive(Debug)]
pub struct Plan {
    modules: Vec<(String, FileRef)>,
    busybox: FileRef,
    /// By name in the initrd.
    mdadm: Vec<(&'static str, FileRef)>,
    epoch: i64,
}

impl Plan {
    /// Picks the modules of the kernel `version` and the programs.
    ///
    /// # Errors
    /// A module, an index or a program is missing.
    pub fn new(
        store: &Store,
        sources: &Sources<'_>,
        version: &str,
        epoch: i64,
    ) -> Result<Self, ImageError> {
        let root = sources.root;
        let dir = format!("usr/lib/modules/{version}");
        let read = |name: &str| read_text(store, root, &format!("{dir}/{name}"));
        let dep = read("modules.dep")?;
        let (soft, alias) = (read("modules.softdep")?, read("modules.alias")?);
        let builtin = read("modules.builtin")?;
        let order = Index::parse(&dep, &soft, &alias, &builtin).order(&WANTED);
        let order = order.map_err(|name| ImageError::Missing {
            what: format!("kernel module {name} (in {dir}/modules.dep)"),
            fix: "check that the kernel package and depmod's indexes belong together",
        })?;
        let mut modules = Vec::new();
        for path in order {
            let file = find(root, &format!("{dir}/{path}"))?;
            modules.push((path.to_owned(), file));
        }
        let mdadm = match sources.disks {
            Disks::Single => &[][..],
            Disks::Mirror => &MDADM,
        };
        let mdadm = mdadm.iter().map(|(name, path)| Ok((*name, find(root, path)?)));
        let mdadm = mdadm.collect::<Result<_, ImageError>>()?;
        let busybox = find(sources.tools, super::boot::BUSYBOX)?;
        Ok(Self { modules, busybox, mdadm, epoch })
    }

    /// The key of this initrd: everything its bytes depend on.
    pub fn key(&self) -> Digest {
        let mut key = Hasher::step("initrd");
        key.field(self.epoch.to_le_bytes());
        key.field(self.busybox.digest.as_bytes());
        for (path, file) in &self.modules {
            key.field(path).field(file.digest.as_bytes());
        }
        for (name, file) in &self.mdadm {
            key.field(name).field(file.digest.as_bytes());
        }
        key.finish()
    }

    /// Makes the initrd's bytes.
    ///
    /// # Errors
    /// A file cannot be read, or a module is none.
    pub fn build(&self, store: &Store) -> Result<Vec<u8>, ImageError> {
        let mut cpio = Cpio::new(u32::try_from(self.epoch).unwrap_or(0));
        for dir in [
            "bin",
            "dev",
            "lib",
            "lib/chatimg",
            "lib/modules",
            "lib64",
            "proc",
            "run",
            "sys",
            "sysroot",
        ] {
            cpio.dir(dir);
        }
        // The kernel opens it for /init before anything is mounted.
        cpio.char_device("dev/console", 0o600, 5, 1);
        cpio.file("bin/busybox", 0o755, &store.read(&self.busybox)?);
        cpio.symlink("bin/sh", "busybox");
        cpio.file("init", 0o755, INIT.as_bytes());
        for (name, text) in SCRIPTS {
            cpio.file(&format!("lib/chatimg/{name}"), 0o644, text.as_bytes());
        }
        for (name, file) in &self.mdadm {
            cpio.file(name, 0o755, &store.read(file)?);
        }
        let mut order = String::new();
        for (path, file) in &self.modules {
            let name = modules::name_of(path);
            let module = store.read(file)?;
            if !module.starts_with(b"\x7fELF") {
                let why = format!("{path}: it is no ELF file");
                return Err(ImageError::Format { what: "a kernel module", why });
            }
            cpio.file(&format!("lib/modules/{name}.ko"), 0o644, &module);
            order.push_str(&name);
            order.push('\n');
        }
        cpio.file("lib/modules/order", 0o644, order.as_bytes());
        let cpio = cpio.finish();
        super::secrets::refuse("the initrd", &cpio)?;
        zstd::encode_all(cpio.as_slice(), LEVEL)
            .map_err(|error| ImageError::Format { what: "the initrd", why: error.to_string() })
    }
}

/// The regular file at `path`, links followed.
pub(super) fn find(tree: &Tree, path: &str) -> Result<FileRef, ImageError> {
    tree.file(path).map(|(file, _)| *file).map_err(|_| ImageError::Missing {
        what: format!("/{path} as a regular file"),
        fix: "check that its package is in the lock",
    })
}

fn read_text(store: &Store, tree: &Tree, path: &str) -> Result<String, ImageError> {
    let bytes = store.read(&find(tree, path)?)?;
    String::from_utf8(bytes).map_err(|_| ImageError::Format {
        what: "a kernel module index",
        why: format!("/{path} is not UTF-8 text"),
    })
}

#[cfg(test)]
mod tests;
