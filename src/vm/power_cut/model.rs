//! What starts the box, as a log changes it: in memory, so that thousands of power cuts can be looked at.

use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use super::cuts::Piece;
use super::record::{Log, What};
use crate::image::RootImage;
use crate::image::envblock::{self, EnvBlock};
use crate::image::layout::{SECTOR, Span};

const CHUNK: usize = 1 << 20;

/// What decides which image starts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct State {
    /// Of everything before the slots, on all disks.
    digest: u64,
    /// For each disk and slot.
    pub(super) slots: Vec<[Held; 2]>,
}

/// What a slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Held {
    /// An image, whole.
    Image(usize),
    /// None: of the one that it is most like it lacks so many quarters, rounded up.
    Part(u64),
}

/// An image that a slot may hold.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    /// As the boot state names it.
    pub(super) id: String,
    /// Its root image.
    pub(super) root: Arc<RootImage>,
}

/// Where things lie.
#[derive(Clone, Debug)]
pub(super) struct Places {
    /// Both hold a copy of the boot state: at the start of the partition, and in a file of the ESP.
    pub(super) bootenv: Span,
    pub(super) esp: Span,
    pub(super) slots: [Span; 2],
}

impl Places {
    /// Whether a write there goes to what starts the box, before the slots.
    pub(super) fn boots(&self, offset: u64) -> bool {
        offset < self.slots[0].start
    }

    /// Whether a write there changes no state.
    fn is_beyond(&self, offset: u64) -> bool {
        let [_, last] = self.slots;
        offset >= last.start + last.len
    }
}

/// What starts the box, in memory.
pub(super) struct Model {
    places: Places,
    ids: Vec<String>,
    images: Vec<Arc<RootImage>>,
    disks: Vec<Disk>,
    digest: u64,
}

struct Disk {
    /// Where the boot state's copy in the ESP lies.
    esp_copy: usize,
    /// Everything before the slots.
    boot: Vec<u8>,
    /// For each slot and image.
    slots: [Vec<Difference>; 2],
}

/// The sectors of a slot that differ from an image's, a bit for each.
struct Difference {
    bits: Vec<u64>,
    count: u64,
    sectors: u64,
}

impl Difference {
    fn none(len: u64) -> Self {
        let bits = vec![0; len.div_ceil(SECTOR * 64) as usize];
        Self { bits, count: 0, sectors: len.div_ceil(SECTOR) }
    }

    /// Gives back what was said of the sector before.
    fn set(&mut self, sector: u64, differs: bool) -> bool {
        let (word, bit) = (&mut self.bits[(sector / 64) as usize], 1 << (sector % 64));
        let differed = *word & bit != 0;
        if differed != differs {
            *word ^= bit;
            self.count = if differs { self.count + 1 } else { self.count - 1 };
        }
        differed
    }
}

/// How to take a change back.
pub(super) enum Undo {
    Boot { disk: usize, offset: usize, bytes: Vec<u8> },
    Slot { disk: usize, slot: usize, image: usize, sector: u64, differed: bool },
}

impl Model {
    /// Of the disks as they are.
    pub(super) fn load(
        disks: &[PathBuf],
        places: &Places,
        candidates: &[Candidate],
    ) -> io::Result<Self> {
        let images: Vec<_> = candidates.iter().map(|it| Arc::clone(&it.root)).collect();
        let ids = candidates.iter().map(|candidate| candidate.id.clone()).collect();
        let none = || images.iter().map(|image| Difference::none(image.size())).collect::<Vec<_>>();
        let boot = vec![0; places.slots[0].start as usize];
        let blank = || Disk { esp_copy: 0, boot: boot.clone(), slots: [none(), none()] };
        let blanks = disks.iter().map(|_| blank()).collect();
        let mut model = Self { places: places.clone(), ids, images, disks: blanks, digest: 0 };
        let mut bytes = vec![0; CHUNK];
        for (disk, path) in disks.iter().enumerate() {
            let file = File::open(path)?;
            let [_, b] = places.slots;
            let end = b.start + b.len;
            for start in (0..end).step_by(CHUNK) {
                let part = &mut bytes[..(end - start).min(CHUNK as u64) as usize];
                file.read_exact_at(part, start)?;
                model.write(disk, start, part, None)?;
            }
            model.disks[disk].esp_copy = model.find_esp_copy(disk)?;
        }
        Ok(model)
    }

    fn find_esp_copy(&self, disk: usize) -> io::Result<usize> {
        let esp = self.places.esp;
        let starts = (esp.start..esp.start + esp.len).step_by(SECTOR as usize);
        let mut found = starts.filter(|start| self.copy(disk, *start as usize).is_some());
        match (found.next(), found.next()) {
            (Some(start), None) => Ok(start as usize),
            _ => Err(io::Error::other("there is not just one boot state in the ESP")),
        }
    }

    /// The boot state at `start`, if there is one.
    fn copy(&self, disk: usize, start: usize) -> Option<EnvBlock> {
        EnvBlock::parse(self.disks[disk].boot.get(start..start + envblock::SIZE)?).ok()
    }

    pub(super) fn state(&self) -> State {
        let slots = self.disks.iter().map(|disk| disk.slots.each_ref().map(|slot| held(slot)));
        State { digest: self.digest, slots: slots.collect() }
    }

    /// What makes this a state that the box must never be in.
    ///
    /// # Errors
    /// Says it.
    pub(super) fn check(&self) -> Result<(), String> {
        let bootenv = self.places.bootenv.start as usize;
        let disks = 0..self.disks.len();
        let esp: Vec<_> =
            disks.clone().filter_map(|disk| self.copy(disk, self.disks[disk].esp_copy)).collect();
        let raw: Vec<_> = disks.filter_map(|disk| self.copy(disk, bootenv)).collect();
        let none = |place: &str| format!("no disk has a boot state in its {place}");
        let best_raw = newest(&raw).ok_or_else(|| none("partition for it"))?;
        let best_esp = newest(&esp).ok_or_else(|| none("ESP"))?;
        // Of equal ones GRUB takes the ESP's, as it can save to that only.
        let best = newer(best_esp, best_raw);
        for name in ["good", "try"] {
            let (grubs, initrds) = (best.get(name), best_raw.get(name));
            if grubs != initrds {
                return Err(format!("{name} is {grubs:?} for GRUB, {initrds:?} for the initrd"));
            }
        }
        let named = ["good", "try"].into_iter().filter_map(|name| best.get(name));
        for slot in named.filter(|slot| !slot.is_empty()) {
            let wanted = best.get(slot).unwrap_or_default();
            let index = usize::from(slot == "b");
            for (number, disk) in (1..).zip(&self.disks) {
                let held = held(&disk.slots[index]);
                let whole = matches!(held, Held::Image(image) if self.ids[image] == wanted);
                if !whole {
                    return Err(format!(
                        "slot {slot} is to be started as {wanted}; disk {number} holds {held:?}"
                    ));
                }
            }
        }
        Ok(())
    }

    pub(super) fn apply(
        &mut self,
        log: &Log,
        piece: &Piece,
        mut undo: Option<&mut Vec<Undo>>,
    ) -> io::Result<()> {
        let entry = log.entries[piece.entry];
        let What::Write { offset, at, .. } = entry.what else { return Ok(()) };
        if self.places.is_beyond(offset) {
            return Ok(());
        }
        let [_, b] = self.places.slots;
        // The rest of a write to the data partition says nothing here.
        let end = (offset + piece.len).min(b.start + b.len);
        let mut bytes = vec![0; CHUNK];
        for start in (offset..end).step_by(CHUNK) {
            let part = &mut bytes[..(end - start).min(CHUNK as u64) as usize];
            log.read(at, start - offset, part)?;
            self.write(entry.disk, start, part, undo.as_deref_mut())?;
        }
        Ok(())
    }

    fn write(
        &mut self,
        disk: usize,
        offset: u64,
        bytes: &[u8],
        mut undo: Option<&mut Vec<Undo>>,
    ) -> io::Result<()> {
        let boot_end = self.places.slots[0].start;
        if offset < boot_end {
            let len = bytes.len().min((boot_end - offset) as usize);
            let old = self.boot(disk, offset as usize, &bytes[..len]);
            if let Some(undo) = &mut undo {
                undo.push(Undo::Boot { disk, offset: offset as usize, bytes: old });
            }
        }
        for (slot, span) in self.places.slots.into_iter().enumerate() {
            for (image, root) in self.images.iter().enumerate() {
                let start = offset.max(span.start);
                let end = (offset + bytes.len() as u64).min(span.start + root.size());
                if start >= end {
                    continue;
                }
                let mut wanted = vec![0; (end - start) as usize];
                root.read_exact_at(&mut wanted, start - span.start)?;
                let there = &bytes[(start - offset) as usize..(end - offset) as usize];
                let difference = &mut self.disks[disk].slots[slot][image];
                let sectors = wanted.chunks(SECTOR as usize).zip(there.chunks(SECTOR as usize));
                for (sector, (wanted, there)) in ((start - span.start) / SECTOR..).zip(sectors) {
                    let differed = difference.set(sector, wanted != there);
                    if let Some(undo) = &mut undo
                        && differed != (wanted != there)
                    {
                        undo.push(Undo::Slot { disk, slot, image, sector, differed });
                    }
                }
            }
        }
        Ok(())
    }

    /// Changes what is before the slots. Gives back what was there.
    fn boot(&mut self, disk: usize, offset: usize, bytes: &[u8]) -> Vec<u8> {
        let there = &mut self.disks[disk].boot[offset..offset + bytes.len()];
        let old = there.to_vec();
        there.copy_from_slice(bytes);
        let size = SECTOR as usize;
        for (index, (old, new)) in old.chunks(size).zip(bytes.chunks(size)).enumerate() {
            if old != new {
                let at = offset + index * size;
                self.digest ^= hash(disk, at, old) ^ hash(disk, at, new);
            }
        }
        old
    }

    pub(super) fn undo(&mut self, changes: Vec<Undo>) {
        for change in changes.into_iter().rev() {
            match change {
                Undo::Boot { disk, offset, bytes } => _ = self.boot(disk, offset, &bytes),
                Undo::Slot { disk, slot, image, sector, differed } => {
                    self.disks[disk].slots[slot][image].set(sector, differed);
                }
            }
        }
    }
}

fn held(slot: &[Difference]) -> Held {
    if let Some(image) = slot.iter().position(|image| image.count == 0) {
        return Held::Image(image);
    }
    let lacking = |image: &Difference| (image.count * 4).div_ceil(image.sectors.max(1));
    Held::Part(slot.iter().map(lacking).min().unwrap_or_default())
}

/// The first of those with the highest `gen`.
fn newest(copies: &[EnvBlock]) -> Option<&EnvBlock> {
    copies.iter().reduce(newer)
}

/// The one with the higher `gen`; of equal ones the first.
fn newer<'a>(one: &'a EnvBlock, other: &'a EnvBlock) -> &'a EnvBlock {
    let count = |copy: &EnvBlock| copy.get("gen").and_then(|count| count.parse::<u64>().ok());
    if count(other) > count(one) { other } else { one }
}

fn hash(disk: usize, at: usize, sector: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (disk, at, sector).hash(&mut hasher);
    hasher.finish()
}
