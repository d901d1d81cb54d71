//! Puts the disk together. The slot's file system is written straight to its place in `disk.img`; two
//! readers follow behind: one hashes the disk, one copies the slot to `root.img` and hashes that.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use mkext4::RegionSink;

use super::envblock::EnvBlock;
use super::layout::{BLANK_DATA_MARKER, Layout, Part};
use super::sparse::{self, Frontier, Piece};
use super::{Event, ImageError, ImageSpec, ext4, fat, gpt, grub, output};
use crate::digest::{Digest, Hasher};
use crate::store::Store;

/// Size and digest of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) size: u64,
    pub(super) digest: Digest,
}

/// Both files of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Digests {
    pub(super) disk: Written,
    pub(super) root: Written,
}

/// Writes `disk.img` and `root.img` into `dir`, synced.
pub(super) fn write(
    store: &Store,
    spec: &ImageSpec,
    layout: &Layout,
    id: &str,
    plan: &ext4::Plan,
    dir: &Path,
    events: &dyn Fn(Event),
) -> Result<Digests, ImageError> {
    let (disk_path, root_path) = (dir.join(output::DISK), dir.join(output::ROOT));
    let disk = create(&disk_path, layout.disk_size())?;
    let root = create(&root_path, plan.size())?;
    write_boot_parts(&disk, &disk_path, spec, layout, id)?;

    let slot = layout.span(Part::RootA).start;
    let slot_range = (slot, slot + plan.size());
    let frontier = Frontier::default();
    frontier.advance(slot);
    std::thread::scope(|scope| {
        let disk_hash =
            scope.spawn(|| hash(&disk_path, (0, layout.disk_size()), &frontier, |_, _| Ok(())));
        let root_hash = scope.spawn(|| {
            hash(&disk_path, slot_range, &frontier, |at, piece| match piece {
                Piece::Data(bytes) if !sparse::is_zero(bytes) => {
                    root.write_all_at(bytes, at - slot)
                }
                _ => Ok(()),
            })
        });
        let written = plan.write(store, SlotSink { disk: &disk, start: slot }, |end| {
            frontier.advance(slot + end);
            events(Event::Root { done: end, total: plan.size() });
        });
        match written {
            Ok(()) => frontier.advance(layout.disk_size()),
            Err(_) => frontier.stop(),
        }
        // Both are joined before any error goes up.
        let synced = disk.sync_all().map_err(ImageError::io("syncing", &disk_path));
        let root_digest = root_hash.join().expect("the reader does not panic");
        let disk_digest = disk_hash.join().expect("the reader does not panic");
        written?;
        synced?;
        let root_digest = root_digest.map_err(ImageError::io("copying the slot to", &root_path))?;
        let disk_digest = disk_digest.map_err(ImageError::io("reading", &disk_path))?;
        root.sync_all().map_err(ImageError::io("syncing", &root_path))?;
        Ok(Digests {
            disk: Written { size: layout.disk_size(), digest: disk_digest },
            root: Written { size: plan.size(), digest: root_digest },
        })
    })
}

fn create(path: &Path, size: u64) -> Result<File, ImageError> {
    let file = OpenOptions::new().create_new(true).read(true).write(true).open(path);
    let file = file.map_err(ImageError::io("creating", path))?;
    file.set_len(size).map_err(ImageError::io("setting the length of", path))?;
    Ok(file)
}

/// Everything but the slots.
fn write_boot_parts(
    disk: &File,
    path: &Path,
    spec: &ImageSpec,
    layout: &Layout,
    id: &str,
) -> Result<(), ImageError> {
    let mut device = disk;
    gpt::write(&mut device, layout, &spec.grub.boot_img)?;

    let bios_boot = layout.span(Part::BiosBoot);
    let core = grub::placed_core(&spec.grub.core_img, bios_boot.first_lba(), bios_boot.len)?;
    let env = EnvBlock::initial(id)
        .encode()
        .map_err(|error| ImageError::Format { what: "the boot state", why: error.to_string() })?;
    let config = grub::config(layout);
    let esp_span = layout.span(Part::Esp);
    let esp_spec = fat::FatSpec {
        size: esp_span.len,
        serial: layout.esp_serial(),
        label: "CHATIMG",
        first_lba: esp_span.first_lba(),
    };
    let files: [(&str, &[u8]); 3] = [
        ("EFI/BOOT/BOOTX64.EFI", &spec.grub.efi),
        ("grub/grub.cfg", config.as_bytes()),
        ("grub/grubenv", &env),
    ];
    let esp = fat::build(&esp_spec, &files)?;
    for (part, bytes) in [
        (Part::BiosBoot, core.as_slice()),
        (Part::Esp, &esp),
        (Part::BootEnv, &env),
        (Part::Data, BLANK_DATA_MARKER),
    ] {
        write_sparse(disk, layout.span(part).start, bytes)
            .map_err(ImageError::io("writing", path))?;
    }
    Ok(())
}

/// Writes what is not zero into a file that is empty there.
fn write_sparse(file: &File, start: u64, bytes: &[u8]) -> io::Result<()> {
    for (at, block) in (start..).step_by(4096).zip(bytes.chunks(4096)) {
        if !sparse::is_zero(block) {
            file.write_all_at(block, at)?;
        }
    }
    Ok(())
}

fn hash(
    path: &Path,
    range: (u64, u64),
    frontier: &Frontier,
    mut also: impl FnMut(u64, &Piece) -> io::Result<()>,
) -> io::Result<Digest> {
    let mut hasher = Hasher::new();
    let whole = sparse::follow(path, range, frontier, |at, piece| {
        piece.hash(&mut hasher);
        also(at, &piece)
    })?;
    // The writer's own error is the one that is shown.
    whole.then(|| hasher.finish()).ok_or_else(|| io::Error::other("the writer stopped"))
}

/// Takes the file system's bytes to the slot; zeros are there already.
#[derive(Debug)]
struct SlotSink<'a> {
    disk: &'a File,
    start: u64,
}

impl RegionSink for SlotSink<'_> {
    fn data(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if sparse::is_zero(bytes) {
            return Ok(());
        }
        self.disk.write_all_at(bytes, self.start + offset)
    }

    fn zeros(&mut self, _offset: u64, _len: u64) -> io::Result<()> {
        Ok(())
    }
}
