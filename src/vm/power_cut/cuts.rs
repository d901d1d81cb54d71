//! Which cuts there are, and what each leaves of what starts the box: the partitions before the slots, and the slots.

use std::collections::BTreeSet;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use super::record::{Log, Waiting, What};
use crate::image::layout::{SECTOR, Span};

const CHUNK: usize = 1 << 20;
/// So many flushes after a write to what starts the box are cuts to be started, whatever they change: then the initrd puts
/// data back, or services are stopped and the snapshot is taken.
const NEAR: usize = 6;

/// A moment at which the power goes, and what of the unflushed writes has reached the disks by then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    /// So many entries of the log have happened.
    pub(super) at: usize,
    pub(super) kept: Kept,
    pub(super) state: State,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    Nothing,
    /// Everything, on every disk.
    All,
    Pieces(Vec<Piece>),
}

/// A part of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Number of the log's entry.
    pub(super) entry: usize,
    /// Bytes, from the write's start on.
    pub(super) len: u64,
}

/// What decides which image starts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct State {
    /// Of everything before the slots, on all disks.
    digest: u64,
    /// For each disk and slot the image that it holds whole.
    pub(super) slots: Vec<[Option<usize>; 2]>,
}

/// Where things lie.
#[derive(Clone, Debug)]
pub(super) struct Places {
    pub(super) slots: [Span; 2],
}

/// All that was found in a log.
#[derive(Debug)]
pub(super) struct Found {
    /// In order: one for each state that occurs, those near a write to what starts the box, and the random ones.
    pub(super) cuts: Vec<Cut>,
    pub(super) writes: usize,
    pub(super) flushes: usize,
    pub(super) states: usize,
}

/// Goes through a log that began with the disks `before`, and finds every state that a power cut can leave at a flush,
/// and after each write to what starts the box: with nothing, and with all of what was not flushed; and `random` cuts
/// that keep a part of it.
pub(super) fn find(
    log: &Log,
    before: &[PathBuf],
    places: &Places,
    images: &[PathBuf],
    random: usize,
    seed: u64,
) -> io::Result<Found> {
    let mut model = Model::load(before, places, images)?;
    let mut rng = StdRng::seed_from_u64(seed);
    let moments = moments(log, places, random, &mut rng);
    let mut found = Found { cuts: Vec::new(), writes: 0, flushes: 0, states: 0 };
    let mut seen = BTreeSet::new();
    let mut waiting = Waiting::none(before.len());
    let mut near = NEAR;
    for (number, entry) in log.entries.iter().enumerate() {
        let at = number + 1;
        let mut looks = Vec::new();
        for number in waiting.pass(number, *entry) {
            model.apply(log, &whole(log, number), None)?;
        }
        match entry.what {
            What::Write { offset, .. } => {
                found.writes += 1;
                if places.boots(offset) {
                    near = 0;
                    looks = vec![Kept::All, Kept::Pieces(vec![whole(log, number)])];
                }
            }
            What::Flush => {
                found.flushes += 1;
                looks = vec![Kept::Nothing, Kept::All];
            }
        }
        let mut look = |kept: Kept, always: bool| -> io::Result<()> {
            let mut undo = Vec::new();
            for piece in pieces(log, &waiting, &kept) {
                model.apply(log, &piece, Some(&mut undo))?;
            }
            let state = model.state();
            model.undo(undo);
            if seen.insert(state.clone()) || always {
                found.cuts.push(Cut { at, kept, state });
            }
            Ok(())
        };
        if entry.what == What::Flush && near < NEAR {
            near += 1;
            look(Kept::Nothing, true)?;
        }
        looks.into_iter().try_for_each(|kept| look(kept, false))?;
        for _ in moments.iter().filter(|moment| **moment == at) {
            look(Kept::Pieces(some(log, &waiting, &mut rng)), true)?;
        }
    }
    found.states = seen.len();
    Ok(found)
}

/// Half of them anywhere, half of them just after a write to what starts the box.
fn moments(log: &Log, places: &Places, random: usize, rng: &mut StdRng) -> Vec<usize> {
    let count = log.entries.len();
    let boots = |number: &usize| matches!(log.entries[*number].what, What::Write { offset, .. } if places.boots(offset));
    let writes: Vec<usize> = (0..count).filter(boots).collect();
    let near = |rng: &mut StdRng| writes.choose(rng).map(|number| number + rng.gen_range(1..4));
    let moment = |index: usize| match near(rng) {
        Some(moment) if index.is_multiple_of(2) => moment.min(count),
        _ => rng.gen_range(1..=count.max(1)),
    };
    (0..random).map(moment).collect()
}

fn whole(log: &Log, entry: usize) -> Piece {
    let What::Write { len, .. } = log.entries[entry].what else { unreachable!("only writes wait") };
    Piece { entry, len }
}

/// The pieces of what waits that are kept.
pub(super) fn pieces(log: &Log, waiting: &Waiting, kept: &Kept) -> Vec<Piece> {
    match kept {
        Kept::Nothing => Vec::new(),
        Kept::All => waiting.all().map(|number| whole(log, number)).collect(),
        Kept::Pieces(pieces) => pieces.clone(),
    }
}

/// A part of what waits: half of the writes, some of them torn at a sector.
fn some(log: &Log, waiting: &Waiting, rng: &mut StdRng) -> Vec<Piece> {
    let mut kept = Vec::new();
    for number in waiting.all() {
        let mut piece = whole(log, number);
        match rng.gen_range(0..8) {
            0..4 => continue,
            4 => piece.len = rng.gen_range(0..=piece.len / SECTOR) * SECTOR,
            _ => (),
        }
        kept.push(piece);
    }
    kept
}

impl Places {
    /// Whether a write there goes to what starts the box, before the slots.
    fn boots(&self, offset: u64) -> bool {
        offset < self.slots[0].start
    }
}

/// What starts the box, in memory.
struct Model {
    places: Places,
    images: Vec<(File, u64)>,
    disks: Vec<Disk>,
    digest: u64,
}

struct Disk {
    /// Everything before the slots.
    boot: Vec<u8>,
    /// For each slot and image.
    slots: [Vec<Difference>; 2],
}

/// The sectors of a slot that differ from an image's, a bit for each.
struct Difference {
    bits: Vec<u64>,
    count: u64,
}

impl Difference {
    fn none(len: u64) -> Self {
        Self { bits: vec![0; len.div_ceil(SECTOR * 64) as usize], count: 0 }
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
enum Undo {
    Boot { disk: usize, offset: usize, bytes: Vec<u8> },
    Slot { disk: usize, slot: usize, image: usize, sector: u64, differed: bool },
}

impl Model {
    fn load(before: &[PathBuf], places: &Places, images: &[PathBuf]) -> io::Result<Self> {
        let open = |path: &PathBuf| {
            let file = File::open(path)?;
            let len = file.metadata()?.len();
            Ok::<_, io::Error>((file, len))
        };
        let images = images.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let none = || images.iter().map(|(_, len)| Difference::none(*len)).collect::<Vec<_>>();
        let boot = vec![0; places.slots[0].start as usize];
        let disks = before.iter().map(|_| Disk { boot: boot.clone(), slots: [none(), none()] });
        let disks = disks.collect();
        let mut model = Self { places: places.clone(), images, disks, digest: 0 };
        let mut bytes = vec![0; CHUNK];
        for (disk, path) in before.iter().enumerate() {
            let (file, _) = open(path)?;
            let [_, b] = places.slots;
            let end = b.start + b.len;
            for start in (0..end).step_by(CHUNK) {
                let part = &mut bytes[..(end - start).min(CHUNK as u64) as usize];
                file.read_exact_at(part, start)?;
                model.write(disk, start, part, None)?;
            }
        }
        Ok(model)
    }

    fn state(&self) -> State {
        let holds = |slot: &Vec<Difference>| slot.iter().position(|image| image.count == 0);
        let slots = self.disks.iter().map(|disk| disk.slots.each_ref().map(holds)).collect();
        State { digest: self.digest, slots }
    }

    fn apply(
        &mut self,
        log: &Log,
        piece: &Piece,
        mut undo: Option<&mut Vec<Undo>>,
    ) -> io::Result<()> {
        let entry = log.entries[piece.entry];
        let What::Write { offset, at, .. } = entry.what else { return Ok(()) };
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
            for (image, (file, len)) in self.images.iter().enumerate() {
                let start = offset.max(span.start);
                let end = (offset + bytes.len() as u64).min(span.start + len);
                if start >= end {
                    continue;
                }
                let mut wanted = vec![0; (end - start) as usize];
                file.read_exact_at(&mut wanted, start - span.start)?;
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

    fn undo(&mut self, changes: Vec<Undo>) {
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

fn hash(disk: usize, at: usize, sector: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (disk, at, sector).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOT: u64 = 16 << 10;

    /// A disk whose slot A holds the first image, and its log.
    struct Bench {
        dir: tempfile::TempDir,
        log: Log,
    }

    impl Bench {
        fn new() -> Self {
            let dir = tempfile::tempdir().expect("dir");
            let mut disk = vec![0; 3 * SLOT as usize];
            disk[SLOT as usize..][..8192].fill(1);
            std::fs::write(dir.path().join("disk"), disk).expect("disk");
            for (name, byte) in [("old", 1), ("new", 2)] {
                std::fs::write(dir.path().join(name), [byte; 8192]).expect("image");
            }
            let log = Log::create(&dir.path().join("log")).expect("log");
            Self { dir, log }
        }

        fn write(&mut self, offset: u64, bytes: &[u8]) {
            self.log.write(0, offset, bytes.len() as u64, Some(bytes)).expect("write");
        }

        fn find(&self, random: usize) -> Found {
            let path = |name: &str| self.dir.path().join(name);
            let places = Places { slots: [1, 2].map(|n| Span { start: n * SLOT, len: SLOT }) };
            let images = [path("old"), path("new")];
            find(&self.log, &[path("disk")], &places, &images, random, 7).expect("found")
        }

        /// Whether there is a cut with the boot sector written, and slot B not whole.
        fn goes_wrong(&self) -> bool {
            let states: Vec<State> = self.find(0).cuts.into_iter().map(|cut| cut.state).collect();
            let before = Self::new().find_first();
            states.iter().any(|state| state.digest != before && state.slots[0][1] != Some(1))
        }

        fn find_first(mut self) -> u64 {
            self.log.flush(0);
            self.find(0).cuts[0].state.digest
        }
    }

    #[test]
    fn a_switch_before_the_image_is_on_the_disk_is_found() {
        let mut bench = Bench::new();
        bench.write(2 * SLOT, &[2; 8192]);
        bench.write(512, &[9; 512]);
        bench.log.flush(0);
        assert!(bench.goes_wrong());

        let mut bench = Bench::new();
        bench.write(2 * SLOT, &[2; 8192]);
        bench.log.flush(0);
        bench.write(512, &[9; 512]);
        bench.log.flush(0);
        assert!(!bench.goes_wrong());
    }

    #[test]
    fn every_state_is_found_once_and_random_cuts_keep_a_part() {
        let mut bench = Bench::new();
        bench.log.flush(0);
        bench.write(2 * SLOT, &[2; 8192]);
        bench.log.flush(0);
        bench.log.flush(0);
        bench.log.write(0, 2 * SLOT + 512, 512, None).expect("write");
        bench.write(2 * SLOT + 512, &[2; 512]);
        bench.log.flush(0);
        let found = bench.find(0);
        assert_eq!((found.writes, found.flushes, found.states), (3, 4, 2));
        let slots: Vec<_> = found.cuts.iter().map(|cut| cut.state.slots[0]).collect();
        assert_eq!(slots, [[Some(0), None], [Some(0), Some(1)]]);
        let found = bench.find(20);
        assert_eq!(found.cuts.len(), 20 + found.states - 1, "one of them is torn: a third state");
        bench.write(512, &[9; 512]);
        (0..NEAR + 3).for_each(|_| bench.log.flush(0));
        let cuts = bench.find(0).cuts;
        let after = cuts.iter().filter(|cut| cut.at > 8 && cut.kept == Kept::Nothing).count();
        assert_eq!(after, NEAR, "{cuts:?}");
    }
}
