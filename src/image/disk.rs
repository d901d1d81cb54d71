//! Puts the disk together: every byte is made once, in memory, and from there digested and written to `disk.img` and
//! `root.img` at the same time.

use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::envblock::EnvBlock;
use super::ext4::{self, Chunk};
use super::layout::{BLANK_DATA_MARKER, Layout, MIB, Part};
use super::sparse::{self, SparseFile};
use super::{Event, ImageError, ImageSpec, fat, gpt, grub, output};
use crate::digest::{Digest, Hasher};
use crate::store::Store;

/// Chunks that a writer may be behind.
const QUEUE: usize = 4;
const BLOCK: usize = 4096;

/// A part of the disk that holds something, and its digest. Everything outside of all extents is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    /// First byte.
    pub(super) start: u64,
    /// Length in bytes.
    pub(super) size: u64,
    pub(super) digest: Digest,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Contents {
    /// The disk's extents, in order. The digest of the whole disk would be a digest of gigabytes of zeros.
    pub(super) disk: Vec<Extent>,
    /// Slot A, which is also all of `root.img`.
    pub(super) root: Extent,
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
) -> Result<Contents, ImageError> {
    let (disk_path, root_path) = (dir.join(output::DISK), dir.join(output::ROOT));
    let mut disk = SparseFile::create(&disk_path, layout.disk_size())?;
    let mut root_file = SparseFile::create(&root_path, plan.size())?;
    let mut extents = boot_parts(&mut disk, &disk_path, spec, layout, id)?;

    let slot = layout.span(Part::RootA).start;
    let digest = std::thread::scope(|scope| {
        let (hash, chunks) = sync_channel(QUEUE);
        let digest = scope.spawn(move || digest(&chunks));
        let (disk, root_file) = (&mut disk, &mut root_file);
        let (to_disk, chunks) = sync_channel(QUEUE);
        let on_disk = scope.spawn(move || copy(&chunks, disk, slot));
        let (to_root, chunks) = sync_channel(QUEUE);
        let on_root = scope.spawn(move || copy(&chunks, root_file, 0));

        let sinks = [hash, to_disk, to_root];
        let made = plan.write(store, |at, chunk| {
            events(Event::Root { done: at, total: plan.size() });
            hand_out(&sinks, at, chunk)
        });
        drop(sinks); // The threads end when nothing more can come.
        let join = "a writer does not panic";
        on_disk.join().expect(join).map_err(ImageError::io("writing", &disk_path))?;
        on_root.join().expect(join).map_err(ImageError::io("writing", &root_path))?;
        // Last: that a chunk could not be handed over is no reason by itself.
        made.map(|()| digest.join().expect(join))
    })?;
    let root = Extent { start: slot, size: plan.size(), digest };
    extents.push(root);
    extents.sort_by_key(|extent| extent.start);
    for (file, path) in [(&disk, &disk_path), (&root_file, &root_path)] {
        file.file.sync_all().map_err(ImageError::io("syncing", path))?;
    }
    Ok(Contents { disk: extents, root })
}

type Shared = (u64, Arc<Chunk>);

fn hand_out(sinks: &[SyncSender<Shared>], at: u64, chunk: Chunk) -> io::Result<()> {
    let chunk = Arc::new(chunk);
    for sink in sinks {
        sink.send((at, Arc::clone(&chunk))).map_err(|_| io::Error::other("a writer gave up"))?;
    }
    Ok(())
}

fn digest(chunks: &Receiver<Shared>) -> Digest {
    let mut hasher = Hasher::new();
    for (_, chunk) in chunks {
        hasher.update(chunk.bytes());
    }
    hasher.finish()
}

fn copy(chunks: &Receiver<Shared>, file: &mut SparseFile, start: u64) -> io::Result<()> {
    chunks.iter().try_for_each(|(at, chunk)| file.write(start + at, chunk.bytes()))
}

/// Writes everything but the slots, and says what.
fn boot_parts(
    disk: &mut SparseFile,
    path: &Path,
    spec: &ImageSpec,
    layout: &Layout,
    id: &str,
) -> Result<Vec<Extent>, ImageError> {
    gpt::write(&mut &disk.file, layout, &spec.grub.boot_img)?;
    let mut extents = Vec::new();
    for start in [0, layout.disk_size() - MIB] {
        let mut bytes = vec![0; MIB as usize];
        let read = disk.file.read_exact_at(&mut bytes, start);
        read.map_err(ImageError::io("reading", path))?;
        extents.push(Extent { start, size: MIB, digest: Digest::of(&bytes) });
    }

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
        let start = layout.span(part).start;
        let extent = write_part(disk, start, bytes).map_err(ImageError::io("writing", path))?;
        extents.push(extent);
    }
    Ok(extents)
}

/// Writes blocks that are not zero; the extent ends with the last of them.
fn write_part(disk: &mut SparseFile, start: u64, bytes: &[u8]) -> io::Result<Extent> {
    let mut size = 0;
    for (index, block) in bytes.chunks(BLOCK).enumerate() {
        if !sparse::is_zero(block) {
            disk.file.write_all_at(block, start + (index * BLOCK) as u64)?;
            size = index * BLOCK + block.len();
        }
    }
    Ok(Extent { start, size: size as u64, digest: Digest::of(&bytes[..size]) })
}
