//! Which power cuts there are in a log, and which of them are started.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::model::{Candidate, Model, Places, State};
use super::record::{Log, Waiting, What};
use crate::image::layout::SECTOR;

/// So many flushes before a write to what starts the box, and after one, are near it: services stop and the snapshot is
/// taken, the initrd puts data back, the new image begins to write.
const NEAR: [usize; 2] = [60, 80];
/// What the file system takes for written whole or not at all. Disks of 4 KiB sectors do so, and most others.
const BLOCK: u64 = 4096;
/// Longer pieces are discards, which a disk may as well forget.
const LONGEST: u64 = 64 << 20;

/// A moment at which the power goes, and what of the unflushed writes has reached the disks by then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    /// So many entries of the log have happened.
    pub(super) at: usize,
    pub(super) kept: Kept,
    pub(super) state: State,
    /// To be started until the box has come to rest.
    pub(super) whole: bool,
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

/// What is looked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    /// Random parts of what waits, at each flush and at each write to what starts the box.
    pub(super) random: usize,
    pub(super) seed: u64,
    /// How many cuts are started until the box has come to rest.
    pub(super) boots: usize,
}

/// All that was found in a log.
#[derive(Debug)]
pub(super) struct Found {
    /// In order: one for each state that occurs, and those that are started to their end.
    pub(super) cuts: Vec<Cut>,
    /// The states of disks that forget what is not flushed, as one follows another.
    pub(super) course: Vec<State>,
    pub(super) writes: usize,
    pub(super) flushes: usize,
    /// Cuts that were looked at.
    pub(super) looks: usize,
}

/// A cut that leaves what must not be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) at: usize,
    pub(super) kept: Kept,
    pub(super) what: String,
}

/// Goes through a log that began with the disks `before`. Before and after each flush, and after each write to what starts
/// the box, the power goes: with nothing, all, and all of one disk's of what was not flushed, with that write alone, and with
/// `random` parts. What must not be ([`Model::check`]) is an error at once.
pub(super) fn find(
    log: &Log,
    before: &[PathBuf],
    places: &Places,
    candidates: &[Candidate],
    wanted: Wanted,
) -> io::Result<Result<Found, Fault>> {
    let mut search = Search {
        log,
        places,
        model: Model::load(before, places, candidates)?,
        waiting: Waiting::none(before.len()),
        seen: BTreeSet::new(),
        found: Found { cuts: Vec::new(), course: Vec::new(), writes: 0, flushes: 0, looks: 0 },
    };
    let whole = spread(&near(log, places), wanted.boots);
    let looked = search.look(0, Kept::Nothing, true).and_then(|()| {
        (0..log.entries.len()).try_for_each(|number| search.pass(number, &whole, wanted))
    });
    match looked {
        Ok(()) => Ok(Ok(search.found)),
        Err(Stopped::Fault(fault)) => Ok(Err(fault)),
        Err(Stopped::Io(error)) => Err(error),
    }
}

struct Search<'a> {
    log: &'a Log,
    places: &'a Places,
    model: Model,
    waiting: Waiting,
    seen: BTreeSet<State>,
    found: Found,
}

enum Stopped {
    Fault(Fault),
    Io(io::Error),
}

impl From<io::Error> for Stopped {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Search<'_> {
    fn pass(
        &mut self,
        number: usize,
        whole: &BTreeSet<usize>,
        wanted: Wanted,
    ) -> Result<(), Stopped> {
        let (log, entry) = (self.log, self.log.entries[number]);
        let mut rng = StdRng::seed_from_u64(wanted.seed ^ (number as u64).rotate_left(32));
        // By turns before the flush, with a part, and after it, with nothing.
        let ends_before = whole.range(..number).count() % 2 == 1;
        if entry.what == What::Flush {
            self.found.flushes += 1;
            self.parts(number, wanted.random, &mut rng)?;
            if whole.contains(&number) && ends_before {
                let kept = Kept::Pieces(self.some(&mut rng));
                self.start_whole(number, kept)?;
            }
        }
        for flushed in self.waiting.pass(number, entry) {
            self.model.apply(log, &entire(log, flushed), None)?;
        }
        let at = number + 1;
        match entry.what {
            What::Write { offset, .. } => {
                self.found.writes += 1;
                if self.places.boots(offset) {
                    self.look(at, Kept::Pieces(vec![entire(log, number)]), false)?;
                    self.parts(at, wanted.random, &mut rng)?;
                }
            }
            What::Flush => {
                self.look(at, Kept::Nothing, true)?;
                if whole.contains(&number) && !ends_before {
                    self.start_whole(at, Kept::Nothing)?;
                }
            }
        }
        Ok(())
    }

    /// Looks at cuts that keep all, one disk's, or `random` parts of what waits.
    fn parts(&mut self, at: usize, random: usize, rng: &mut StdRng) -> Result<(), Stopped> {
        self.look(at, Kept::All, false)?;
        for disk in 0..self.waiting.disks() {
            let its = self.waiting.of(disk).iter().map(|one| entire(self.log, *one));
            self.look(at, Kept::Pieces(its.collect()), false)?;
        }
        for _ in 0..random {
            let kept = Kept::Pieces(self.some(rng));
            self.look(at, kept, false)?;
        }
        Ok(())
    }

    fn start_whole(&mut self, at: usize, kept: Kept) -> Result<(), Stopped> {
        let state = self.judge(at, &kept)?;
        self.found.cuts.push(Cut { at, kept, state, whole: true });
        Ok(())
    }

    /// Looks at one cut. `course`: it is what disks hold that forget all they may.
    fn look(&mut self, at: usize, kept: Kept, course: bool) -> Result<(), Stopped> {
        let state = self.judge(at, &kept)?;
        if course && self.found.course.last() != Some(&state) {
            self.found.course.push(state.clone());
        }
        if self.seen.insert(state.clone()) {
            self.found.cuts.push(Cut { at, kept, state, whole: false });
        }
        Ok(())
    }

    fn judge(&mut self, at: usize, kept: &Kept) -> Result<State, Stopped> {
        self.found.looks += 1;
        let mut undo = Vec::new();
        for piece in pieces(self.log, &self.waiting, kept) {
            self.model.apply(self.log, &piece, Some(&mut undo))?;
        }
        let (state, checked) = (self.model.state(), self.model.check());
        self.model.undo(undo);
        match checked {
            Ok(()) => Ok(state),
            Err(what) => Err(Stopped::Fault(Fault { at, kept: kept.clone(), what })),
        }
    }

    /// A part of what waits: half of the writes, some of them torn.
    fn some(&self, rng: &mut StdRng) -> Vec<Piece> {
        let mut kept = Vec::new();
        for number in self.waiting.all() {
            let mut piece = entire(self.log, number);
            match rng.random_range(0..8) {
                0..4 => continue,
                4 => {
                    let What::Write { offset, .. } = self.log.entries[number].what else {
                        continue;
                    };
                    let unit = if self.places.boots(offset) { SECTOR } else { BLOCK };
                    piece.len = rng.random_range(0..=piece.len / unit) * unit;
                }
                _ => (),
            }
            kept.push(piece);
        }
        kept
    }
}

/// The flushes near a write to what starts the box: numbers of entries.
fn near(log: &Log, places: &Places) -> Vec<usize> {
    let [before, after] = NEAR;
    let (mut flushes, mut near) = (Vec::new(), BTreeSet::new());
    for (number, entry) in log.entries.iter().enumerate() {
        match entry.what {
            What::Flush => flushes.push(number),
            What::Write { offset, .. } if places.boots(offset) => {
                near.extend(flushes.len().saturating_sub(before)..flushes.len() + after);
            }
            What::Write { .. } => (),
        }
    }
    near.into_iter().filter_map(|ordinal| flushes.get(ordinal).copied()).collect()
}

/// So many of them, evenly.
fn spread(all: &[usize], count: usize) -> BTreeSet<usize> {
    let count = count.min(all.len());
    (0..count).map(|index| all[(2 * index + 1) * all.len() / (2 * count)]).collect()
}

fn entire(log: &Log, entry: usize) -> Piece {
    let What::Write { len, .. } = log.entries[entry].what else { unreachable!("only writes wait") };
    Piece { entry, len }
}

/// The pieces of what waits that are kept.
pub(super) fn pieces(log: &Log, waiting: &Waiting, kept: &Kept) -> Vec<Piece> {
    let mut pieces = match kept {
        Kept::Nothing => Vec::new(),
        Kept::All => waiting.all().map(|number| entire(log, number)).collect(),
        Kept::Pieces(pieces) => pieces.clone(),
    };
    pieces.retain(|piece| piece.len <= LONGEST);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::RootImage;
    use crate::image::envblock::EnvBlock;
    use crate::image::layout::Span;

    const SLOT: u64 = 16 << 10;
    const ESP_COPY: u64 = 4096 + 512;

    /// A disk whose slot A holds the image "old", and its log.
    struct Bench {
        dir: tempfile::TempDir,
        log: Log,
        state: EnvBlock,
    }

    impl Bench {
        fn new() -> Self {
            let dir = tempfile::tempdir().expect("dir");
            let mut disk = vec![0; 4 * SLOT as usize];
            let state = EnvBlock::initial("old");
            for place in [0, ESP_COPY as usize] {
                disk[place..][..1024].copy_from_slice(&state.encode().expect("block"));
            }
            disk[SLOT as usize..][..8192].fill(1);
            std::fs::write(dir.path().join("disk"), disk).expect("disk");
            for (name, byte) in [("old", 1), ("new", 2)] {
                std::fs::write(dir.path().join(name), [byte; 8192]).expect("image");
            }
            let log = Log::create(&dir.path().join("log")).expect("log");
            Self { dir, log, state }
        }

        fn write(&mut self, offset: u64, bytes: &[u8]) {
            self.log.write(0, offset, bytes.len() as u64, Some(bytes)).expect("write");
        }

        /// Slot B is to be started.
        fn switch(&mut self) {
            for (name, value) in [("gen", "2"), ("try", "b"), ("b", "new")] {
                self.state.set(name, value).expect("a word");
            }
        }

        fn save(&mut self, place: u64) {
            let block = self.state.encode().expect("block");
            self.write(place, &block);
        }

        fn find(&self, random: usize, boots: usize) -> Result<Found, Fault> {
            let path = |name: &str| self.dir.path().join(name);
            let places = Places {
                bootenv: Span { start: 0, len: 4096 },
                esp: Span { start: 4096, len: 4096 },
                slots: [1, 2].map(|n| Span { start: n * SLOT, len: SLOT }),
            };
            let candidates = ["old", "new"].map(|id| {
                let file = std::fs::File::open(path(id)).expect("image");
                Candidate { id: id.to_owned(), root: RootImage::of_file(file).into() }
            });
            let wanted = Wanted { random, seed: 7, boots };
            find(&self.log, &[path("disk")], &places, &candidates, wanted).expect("found")
        }
    }

    #[test]
    fn a_switch_before_the_image_is_on_the_disk_is_found() {
        for flushed in [false, true] {
            let mut bench = Bench::new();
            bench.write(2 * SLOT, &[2; 8192]);
            if flushed {
                bench.log.flush(0);
            }
            bench.switch();
            bench.save(0);
            bench.log.flush(0);
            let found = bench.find(0, 0).map(|found| found.cuts.len());
            match flushed {
                true => assert_eq!(found, Ok(3), "as it was, with the image, with the switch"),
                false => assert_eq!(found.expect_err("a fault").at, 2),
            }
        }
    }

    #[test]
    fn an_image_that_changes_while_it_is_named_is_found() {
        let mut bench = Bench::new();
        bench.write(2 * SLOT, &[2; 8192]);
        bench.log.flush(0);
        bench.write(2 * SLOT + 4096, &[3; 4096]);
        bench.switch();
        bench.save(0);
        bench.write(2 * SLOT + 4096, &[2; 4096]);
        bench.log.flush(0);
        assert!(bench.find(0, 0).is_err_and(|fault| fault.kept != Kept::Nothing));
    }

    #[test]
    fn what_grub_and_the_initrd_disagree_on_is_found() {
        for first in [0, ESP_COPY] {
            let mut bench = Bench::new();
            bench.write(2 * SLOT, &[2; 8192]);
            bench.log.flush(0);
            bench.switch();
            bench.save(first);
            bench.log.flush(0);
            bench.save(ESP_COPY - first);
            bench.log.flush(0);
            match (first, bench.find(4, 0)) {
                (0, found) => assert_eq!(found.expect("no fault").course.len(), 4),
                (_, found) => assert!(found.expect_err("a fault").what.contains("for the initrd")),
            }
        }
    }

    #[test]
    fn a_boot_state_that_is_lost_is_found() {
        let mut bench = Bench::new();
        bench.write(ESP_COPY, &[0; 512]);
        bench.log.flush(0);
        assert!(bench.find(0, 0).expect_err("a fault").what.contains("ESP"));
    }

    #[test]
    fn every_state_is_found_once_and_random_cuts_keep_a_part() {
        use super::super::model::Held;
        let mut bench = Bench::new();
        bench.log.flush(0);
        bench.write(2 * SLOT, &[2; 8192]);
        bench.log.flush(0);
        bench.log.flush(0);
        bench.log.write(0, 2 * SLOT + 512, 512, None).expect("write");
        bench.write(2 * SLOT + 512, &[2; 512]);
        bench.log.flush(0);
        let found = bench.find(0, 0).expect("no fault");
        assert_eq!((found.writes, found.flushes, found.course.len()), (3, 4, 2));
        assert_eq!(found.looks, 1 + 4 * (1 + 1 + 1), "nothing, all, and all of the one disk's");
        let slots: Vec<_> = found.cuts.iter().map(|cut| cut.state.slots[0]).collect();
        let [old, new] = [Held::Image(0), Held::Image(1)];
        assert_eq!(slots, [[old, Held::Part(4)], [old, new]]);
        // The power goes before the last flush, with the zeros and without what was written over them.
        let found = bench.find(32, 0).expect("no fault");
        assert!(found.cuts.iter().any(|cut| cut.state.slots[0] == [old, Held::Part(1)]));
    }

    #[test]
    fn starts_to_the_end_are_near_a_write_to_what_starts_the_box() {
        let mut bench = Bench::new();
        (0..200).for_each(|_| bench.log.flush(0));
        bench.save(0);
        (0..200).for_each(|_| bench.log.flush(0));
        let found = bench.find(0, 4).expect("no fault");
        let whole: Vec<_> = found.cuts.iter().filter(|cut| cut.whole).map(|cut| cut.at).collect();
        assert_eq!(whole, [158, 192, 229, 263], "200 - 60 to 201 + 80, in their middles");
    }
}
