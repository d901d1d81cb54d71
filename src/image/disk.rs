//! Puts the disks together: every byte is made once, in memory, and from there digested and written to the image of
//! each disk at the same time.

use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::envblock::{self, EnvBlock};
use super::ext4::{self, Chunk};
use super::layout::{BLANK_DATA_MARKER, Layout, Leg, MIB, PARTS, Part};
use super::sparse::{self, SparseFile};
use super::starter::Starter;
use super::{Event, ImageError, ImageSpec, gpt, md, output};
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
    /// Each disk's extents, in order. The digest of a whole disk would be a digest of gigabytes of zeros.
    pub(super) disks: Vec<Vec<Extent>>,
    /// What slot A holds, on each of them.
    pub(super) root: Extent,
}

/// A file under way.
struct Target {
    path: PathBuf,
    file: SparseFile,
}

/// Writes the disks' images into `dir`, synced.
pub(super) fn write(
    store: &Store,
    boot: &Boot<'_>,
    plan: &ext4::Plan,
    dir: &Path,
    events: &dyn Fn(Event),
) -> Result<Contents, ImageError> {
    let (mut targets, mut disks) = (Vec::new(), Vec::new());
    let layout = boot.layout;
    let slot = layout.span(Part::RootA).start;
    for (leg, name) in layout.legs().zip(output::disks(layout.disks())) {
        let path = dir.join(name);
        let mut file = SparseFile::create(&path, layout.disk_size())?;
        disks.push(boot.write(leg, &mut file, &path)?);
        targets.push(Target { path, file });
    }
    let digest = write_root(store, plan, slot, &mut targets, events)?;
    let root = Extent { start: slot, size: plan.size(), digest };
    for extents in &mut disks {
        extents.push(root);
        extents.sort_by_key(|extent| extent.start);
    }
    for Target { path, file } in &targets {
        file.file.sync_all().map_err(ImageError::io("syncing", path))?;
    }
    Ok(Contents { disks, root })
}

/// Writes the root file system to all targets at once, from the byte `slot` on.
fn write_root(
    store: &Store,
    plan: &ext4::Plan,
    slot: u64,
    targets: &mut [Target],
    events: &dyn Fn(Event),
) -> Result<Digest, ImageError> {
    let join = "a writer does not panic";
    std::thread::scope(|scope| {
        let (hash, chunks) = sync_channel(QUEUE);
        let digest = scope.spawn(move || digest(&chunks));
        let (mut sinks, mut writers) = (vec![hash], Vec::new());
        for Target { path, file } in targets {
            let (sink, chunks) = sync_channel(QUEUE);
            sinks.push(sink);
            writers.push((path, scope.spawn(move || copy(&chunks, file, slot))));
        }
        let made = plan.write(store, |at, chunk| {
            events(Event::Root { done: at, total: plan.size() });
            hand_out(&sinks, at, chunk)
        });
        drop(sinks); // The threads end when nothing more can come.
        for (path, writer) in writers {
            writer.join().expect(join).map_err(ImageError::io("writing", path))?;
        }
        // Last: that a chunk could not be handed over is no reason by itself.
        made.map(|()| digest.join().expect(join))
    })
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

/// Everything but the slots: what it takes to start one.
#[derive(Debug)]
pub(super) struct Boot<'a> {
    spec: &'a ImageSpec<'a>,
    layout: &'a Layout,
    starter: &'a Starter,
    env: [u8; envblock::SIZE],
}

impl<'a> Boot<'a> {
    /// What the disks of the image `id` get.
    ///
    /// # Errors
    /// The id does not fit a boot state.
    pub(super) fn new(
        spec: &'a ImageSpec,
        layout: &'a Layout,
        id: &str,
        starter: &'a Starter,
    ) -> Result<Self, ImageError> {
        let env = EnvBlock::initial(id).encode().map_err(|error| ImageError::Format {
            what: "the boot state",
            why: error.to_string(),
        })?;
        Ok(Self { spec, layout, starter, env })
    }

    /// Writes it to a disk, and says what.
    fn write(
        &self,
        leg: Leg,
        disk: &mut SparseFile,
        path: &Path,
    ) -> Result<Vec<Extent>, ImageError> {
        let layout = self.layout;
        gpt::write(&mut &disk.file, layout, leg, &self.spec.grub.boot_img)?;
        let mut extents = Vec::new();
        for start in [0, layout.disk_size() - MIB] {
            let mut bytes = vec![0; MIB as usize];
            let read = disk.file.read_exact_at(&mut bytes, start);
            read.map_err(ImageError::io("reading", path))?;
            extents.push(Extent { start, size: MIB, digest: Digest::of(&bytes) });
        }
        let start = |part| layout.span(part).start;
        let mut write = |start, bytes: &[u8]| {
            let extent = write_part(disk, start, bytes).map_err(ImageError::io("writing", path))?;
            extents.push(extent);
            Ok::<_, ImageError>(())
        };
        write(start(Part::BiosBoot), self.starter.core())?;
        write(start(Part::Esp), &self.starter.esp(layout, leg, &self.env))?;
        write(start(Part::BootEnv), &self.env)?;
        write(start(Part::Data) + layout.data_offset(), BLANK_DATA_MARKER)?;
        for part in PARTS {
            let member = layout.member(leg, part, self.spec.epoch);
            for (at, bytes) in member.iter().flat_map(md::Member::encode) {
                write(start(part) + at, &bytes)?;
            }
        }
        Ok(extents)
    }
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
