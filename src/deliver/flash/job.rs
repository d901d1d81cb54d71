//! The work on one disk, step by step.

use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use super::medium::{Medium, Raw};
use super::pipe::{self, Buffer, Stage};
use super::plan::{BLOCK, From, Piece, Plan, empty, pieces, total};
use super::source::{Extent, Leg};
use super::{Event, Fault, FlashError, Left, Step};
use crate::digest::Hasher;
use crate::image::is_zero;
use crate::image::layout::SECTOR;
use crate::interrupt;

/// What is cleared at once: a disk may take its time for it, and somebody may want to stop it.
const CLEARED: u64 = 64 << 20;

/// What all disks of a flash share.
#[derive(Clone, Copy)]
pub(super) struct Common<'a> {
    pub(super) settings: &'a [u8],
    pub(super) events: &'a (dyn Fn(Event) + Sync),
    /// One disk failed: the others need not go on.
    pub(super) stop: &'a AtomicBool,
}

/// One disk, and what goes to it.
pub(super) struct Job<'a, M> {
    /// Its place in the list.
    pub(super) index: usize,
    pub(super) label: String,
    pub(super) medium: M,
    image: (PathBuf, Raw),
    plan: Plan,
    table: Vec<(Piece, Buffer)>,
    common: Common<'a>,
}

impl<'a, M: Medium> Job<'a, M> {
    /// Puts `leg` on a medium of `size` bytes. Nothing is written yet, but the partition table is read and checked.
    pub(super) fn new(
        index: usize,
        leg: &Leg,
        (label, medium, size): (String, M, u64),
        common: Common<'a>,
    ) -> Result<Self, FlashError> {
        let image = (leg.path.clone(), Raw::file(leg.file()?));
        let plan = Plan::new(leg, size, common.settings);
        let mut job = Self { index, label, medium, image, plan, table: Vec::new(), common };
        job.read_table().map_err(|fault| FlashError::Stopped { fault, left: Left::Untouched })?;
        Ok(job)
    }

    fn read_table(&mut self) -> Result<(), Fault> {
        let mut hasher = Hasher::new();
        for piece in self.plan.table() {
            let mut buffer = Buffer::new();
            self.take(&piece, buffer.first(piece.len))?;
            hasher.update(buffer.as_first(piece.used));
            if let Some(extent) = ended(&piece, &mut hasher) {
                return Err(self.damaged(extent));
            }
            self.table.push((piece, buffer));
        }
        Ok(())
    }

    /// Empties what a disk is found and started by. A disk that takes no writes shows that here.
    pub(super) fn wipe(&self) -> Result<(), Fault> {
        if self.medium.is_new() {
            return Ok(());
        }
        let steps = self.plan.wiped();
        for pieces in &steps {
            self.zero("wiping", pieces, &|_| ())?;
            self.sync("wiping")?;
        }
        let mut buffer = Buffer::new();
        for piece in steps.into_iter().flatten() {
            self.get(&piece, buffer.first(piece.len))?;
            self.compare(&piece, buffer.first(piece.len), &mut Hasher::new())?;
        }
        Ok(())
    }

    /// Makes zero what has to be, so that nothing old shows.
    pub(super) fn clear(&self) -> Result<(), Fault> {
        let holes = if self.medium.is_new() { Vec::new() } else { self.plan.holes() };
        let total = holes.iter().map(|hole| hole.end - hole.start).sum();
        let mut done = 0;
        for hole in holes {
            for start in hole.clone().step_by(CLEARED as usize) {
                let range = start..hole.end.min(start + CLEARED);
                let report = |part| self.report(Step::Clearing, done + part, total);
                self.clear_range(range.clone(), &report)?;
                done += range.end - range.start;
                self.report(Step::Clearing, done, total);
            }
        }
        self.sync("clearing")
    }

    fn clear_range(&self, range: Range<u64>, report: &dyn Fn(u64)) -> Result<(), Fault> {
        self.check()?;
        match self.medium.clear(range.clone()) {
            Ok(true) => Ok(()),
            Ok(false) => self.zero("clearing", &empty(range), report),
            Err(error) => Err(self.fault("clearing", range.start, error)),
        }
    }

    fn zero(
        &self,
        doing: &'static str,
        pieces: &[Piece],
        report: &dyn Fn(u64),
    ) -> Result<(), Fault> {
        let (mut zeros, mut done) = (Buffer::new(), 0);
        for piece in pieces {
            self.check()?;
            self.put(doing, zeros.first(piece.len), piece.at)?;
            done += piece.len as u64;
            report(done);
        }
        Ok(())
    }

    /// Writes everything but the table. Whether it is what the manifest says shows when it is read back: digesting it
    /// here, too, would only make a fast disk wait.
    pub(super) fn write(&self) -> Result<(), Fault> {
        let pieces = self.plan.data();
        let (total, mut done) = (total(&pieces), 0);
        let stages: Vec<Stage<'_, Fault>> = vec![
            Box::new(|piece, bytes| self.take(piece, bytes)),
            Box::new(move |piece, bytes| {
                self.check()?;
                self.put("writing", bytes, piece.at)?;
                done += piece.len as u64;
                self.report(Step::Writing, done, total);
                Ok(())
            }),
        ];
        pipe::run(pieces, stages)?;
        self.sync("writing")
    }

    /// Reads everything but the table back.
    pub(super) fn verify(&self) -> Result<(), Fault> {
        let pieces = self.plan.all();
        let (total, mut done) = (total(&pieces), 0);
        let mut hasher = Hasher::new();
        let stages: Vec<Stage<'_, Fault>> = vec![
            Box::new(|piece, bytes| {
                self.check()?;
                self.get(piece, bytes)
            }),
            Box::new(move |piece, bytes| {
                self.compare(piece, bytes, &mut hasher)?;
                done += piece.len as u64;
                self.report(Step::Verifying, done, total);
                Ok(())
            }),
        ];
        pipe::run(pieces, stages)
    }

    /// Writes the table: the backup, the primary one without sector 0, and by that sector the disk starts to exist for
    /// firmwares. Each is on the disk and has been read back before the next is written.
    pub(super) fn write_table(&self) -> Result<(), Fault> {
        for (piece, buffer) in &self.table {
            let bytes = buffer.as_first(piece.len);
            if piece.at > 0 {
                self.settle(bytes, piece.at)?;
                continue;
            }
            let mut bare = Buffer::new();
            bare.first(piece.len).copy_from_slice(bytes);
            bare.first(SECTOR as usize).fill(0);
            self.settle(bare.first(piece.len), 0)?;
            self.settle(&bytes[..BLOCK as usize], 0)?;
        }
        Ok(())
    }

    /// Takes sector 0 away again.
    pub(super) fn unmake(&self) -> io::Result<()> {
        self.medium.write(Buffer::new().first(BLOCK as usize), 0)?;
        self.medium.sync()
    }

    fn settle(&self, bytes: &[u8], at: u64) -> Result<(), Fault> {
        self.put("writing the partition table of", bytes, at)?;
        self.sync("writing the partition table of")?;
        let mut back = Buffer::new();
        let read = self.medium.read(back.first(bytes.len()), at);
        read.map_err(|error| self.fault("reading back", at, error))?;
        if back.first(bytes.len()) == bytes { Ok(()) } else { Err(self.differs(at)) }
    }

    /// Fills in what belongs to a place.
    fn take(&self, piece: &Piece, bytes: &mut [u8]) -> Result<(), Fault> {
        match piece.from {
            From::Image => {
                let (path, image) = &self.image;
                image.read(bytes, piece.at).map_err(|source| Fault::Read {
                    path: path.clone(),
                    at: piece.at,
                    source,
                })?;
            }
            From::Settings => bytes[..piece.used].copy_from_slice(self.common.settings),
            From::Nowhere => {}
        }
        bytes[piece.used..].fill(0);
        Ok(())
    }

    /// Whether bytes that were read back are what they have to be.
    fn compare(&self, piece: &Piece, bytes: &[u8], hasher: &mut Hasher) -> Result<(), Fault> {
        let (used, rest) = bytes.split_at(piece.used);
        if !is_zero(rest) {
            return Err(self.differs(piece.at));
        }
        hasher.update(used);
        match ended(piece, hasher) {
            // The disk is not to blame for what was wrong before.
            Some(extent) if piece.from == From::Image && !self.is_sound(extent)? => {
                Err(self.damaged(extent))
            }
            Some(extent) => Err(self.differs(extent.span.start)),
            None => Ok(()),
        }
    }

    /// Whether the image's file is what its manifest says.
    fn is_sound(&self, extent: &Extent) -> Result<bool, Fault> {
        let (mut buffer, mut hasher) = (Buffer::new(), Hasher::new());
        for piece in pieces(*extent, From::Image) {
            self.take(&piece, buffer.first(piece.len))?;
            hasher.update(buffer.as_first(piece.used));
        }
        Ok(hasher.finish() == extent.digest)
    }

    fn damaged(&self, extent: &Extent) -> Fault {
        Fault::Damaged { path: self.image.0.clone(), start: extent.span.start }
    }

    fn put(&self, doing: &'static str, bytes: &[u8], at: u64) -> Result<(), Fault> {
        self.medium.write(bytes, at).map_err(|error| self.fault(doing, at, error))
    }

    fn get(&self, piece: &Piece, bytes: &mut [u8]) -> Result<(), Fault> {
        let read = self.medium.read(bytes, piece.at);
        read.map_err(|error| self.fault("reading back", piece.at, error))
    }

    fn sync(&self, doing: &'static str) -> Result<(), Fault> {
        self.medium.sync().map_err(|error| self.fault(doing, 0, error))
    }

    fn differs(&self, at: u64) -> Fault {
        Fault::Differs { disk: self.label.clone(), at }
    }

    fn fault(&self, doing: &'static str, at: u64, source: io::Error) -> Fault {
        let disk = self.label.clone();
        if self.medium.gone(&source) {
            return Fault::Vanished { doing, disk, source };
        }
        Fault::Disk { doing, disk, at, source }
    }

    /// Has the work on all disks end.
    pub(super) fn stop(&self) {
        self.common.stop.store(true, Ordering::Relaxed);
    }

    fn report(&self, step: Step, done: u64, total: u64) {
        (self.common.events)(Event { target: self.index, step, done, total });
    }

    /// Whether the work may go on.
    fn check(&self) -> Result<(), Fault> {
        if interrupt::requested() {
            return Err(Fault::Interrupted);
        }
        if self.common.stop.load(Ordering::Relaxed) { Err(Fault::Other) } else { Ok(()) }
    }
}

/// At the last piece of an extent: the extent, if its digest is another than it has to be.
fn ended<'a>(piece: &'a Piece, hasher: &mut Hasher) -> Option<&'a Extent> {
    piece.ends.as_ref().filter(|extent| std::mem::take(hasher).finish() != extent.digest)
}
