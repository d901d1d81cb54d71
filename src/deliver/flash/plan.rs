//! What is done to which bytes of a disk.
//!
//! ```text
//! 0 ............ 1 MiB     table: LBA 0 (boot code), primary GPT    wiped first, written last
//! 1 MiB ........ size-1    data, settings; all between them zero    written, read back
//! size-1 MiB ... size      table: backup GPT of the image           wiped first, written last but one
//! disk-16 MiB .. disk      what older systems left there            wiped first, stays empty
//! ```
//!
//! The last 16 MiB: there lie the backup of an old GPT, ZFS labels, and the superblocks of RAIDs (0.90, 1.0, those of
//! firmwares) that were made of the whole disk, or of a partition that ended about where the data partition of the new
//! system will end. Such a superblock would be found there by the new system.

use std::ops::Range;

use super::source::{Extent, Leg};
use crate::digest::Digest;
use crate::image::layout::{MIB, Span};

/// What everything is a multiple of, but for the end of a disk: fit for direct I/O on any disk and file system.
pub(super) const BLOCK: u64 = 4096;
/// What is written and read at once.
pub(super) const CHUNK: u64 = 4 * MIB;
/// The end of the disk that is wiped.
const TAIL: u64 = 16 * MIB;

/// Where the bytes of a piece come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    /// The image's file, at the same place.
    Image,
    /// The host settings, from their start.
    Settings,
    /// They are zero.
    Nowhere,
}

/// A part of the disk that holds something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) extent: Extent,
    pub(super) from: From,
}

/// Some bytes that are handled at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Where.
    pub(super) at: u64,
    /// Length in bytes, padding included.
    pub(super) len: usize,
    /// Those that hold something; the rest is zero.
    pub(super) used: usize,
    pub(super) from: From,
    /// At the last piece of a part: what the part begins with and has to be.
    pub(super) ends: Option<Extent>,
}

/// One disk's.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Bytes of the image.
    size: u64,
    /// Bytes of the disk.
    disk: u64,
    data: Vec<Part>,
    /// What the disk is found and started by.
    table: Vec<Extent>,
}

impl Plan {
    /// Of an image for a disk of so many bytes, which is as large as the image, or larger.
    pub(super) fn new(leg: &Leg, disk: u64, settings: &[u8]) -> Self {
        let withheld = |extent: &Extent| {
            extent.span.start < MIB || extent.span.start + extent.span.len > leg.size - MIB
        };
        let (table, data): (Vec<_>, Vec<_>) =
            leg.extents.iter().partition(|extent| withheld(extent));
        let mut data: Vec<_> =
            data.into_iter().map(|extent| Part { extent, from: From::Image }).collect();
        if let Some(span) = leg.settings.filter(|_| !settings.is_empty()) {
            let span = Span { start: span.start, len: settings.len() as u64 };
            let extent = Extent { span, digest: Digest::of(settings) };
            data.push(Part { extent, from: From::Settings });
            data.sort_by_key(|part| part.extent.span.start);
        }
        Self { size: leg.size, disk, data, table }
    }

    /// What is emptied before anything else: first what starts the disk, so that its old system never starts without
    /// the rest; then where tables and superblocks lie.
    pub(super) fn wiped(&self) -> [Vec<Piece>; 2] {
        let end = self.disk.saturating_sub(TAIL) / BLOCK * BLOCK;
        let rest = [BLOCK..MIB, self.size - MIB..self.size, end.max(MIB)..self.disk];
        [empty(0..BLOCK), rest.into_iter().flat_map(empty).collect()]
    }

    /// What has to be zero and was not wiped for good already.
    pub(super) fn holes(&self) -> Vec<Range<u64>> {
        let mut holes = Vec::new();
        let mut end = 0;
        let mut used: Vec<_> =
            self.table.iter().chain(self.data.iter().map(|part| &part.extent)).collect();
        used.sort_by_key(|extent| extent.span.start);
        for extent in used {
            holes.push(end..extent.span.start);
            end = (extent.span.start + extent.span.len).next_multiple_of(BLOCK);
        }
        holes.push(end..self.size);
        holes.retain(|hole| !hole.is_empty());
        holes
    }

    /// What is written.
    pub(super) fn data(&self) -> Vec<Piece> {
        self.data.iter().flat_map(|part| pieces(part.extent, part.from)).collect()
    }

    /// All that is read back before the table is written, in order of place.
    pub(super) fn all(&self) -> Vec<Piece> {
        let tail = self.disk.saturating_sub(TAIL) / BLOCK * BLOCK;
        let mut all = self.data();
        all.extend(self.holes().into_iter().flat_map(empty));
        all.extend(empty(tail.max(self.size)..self.disk));
        all.sort_by_key(|piece| piece.at);
        all
    }

    /// The partition tables, the one that the disk starts by last.
    pub(super) fn table(&self) -> Vec<Piece> {
        self.table.iter().rev().flat_map(|extent| pieces(*extent, From::Image)).collect()
    }
}

/// The bytes of pieces.
pub(super) fn total(pieces: &[Piece]) -> u64 {
    pieces.iter().map(|piece| piece.len as u64).sum()
}

/// An extent, up to its last block.
pub(super) fn pieces(extent: Extent, from: From) -> Vec<Piece> {
    let Span { start, len } = extent.span;
    let end = start + len;
    let cut = |at: u64| {
        let used = (end - at).min(CHUNK);
        let ends = (at + used == end).then_some(extent);
        Piece { at, len: used.next_multiple_of(BLOCK) as usize, used: used as usize, from, ends }
    };
    (start..end).step_by(CHUNK as usize).map(cut).collect()
}

/// Zeros.
pub(super) fn empty(range: Range<u64>) -> Vec<Piece> {
    let cut = |at: u64| {
        let len = (range.end - at).min(CHUNK) as usize;
        Piece { at, len, used: 0, from: From::Nowhere, ends: None }
    };
    (range.start..range.end).step_by(CHUNK as usize).map(cut).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leg() -> Leg {
        let extent = |start: u64, len: u64| {
            let digest = Digest::of(&start.to_le_bytes());
            Extent { span: Span { start, len }, digest }
        };
        Leg {
            path: "disk.img".into(),
            size: 32 * MIB,
            extents: vec![
                extent(0, MIB),
                extent(MIB, 5000),
                extent(4 * MIB, 9 * MIB),
                extent(20 * MIB, 21),
                extent(31 * MIB, MIB),
            ],
            settings: Some(Span { start: 2 * MIB, len: MIB }),
        }
    }

    /// Every byte that is read back or is of the table, once.
    #[test]
    fn everything_of_the_image_and_the_end_of_the_disk_is_covered_once() {
        for (disk, settings) in [(32, &b""[..]), (33, b""), (48, b"secret"), (400, b"")] {
            let disk = disk * MIB + 512 * u64::from(disk != 32);
            let plan = Plan::new(&leg(), disk, settings);
            let mut all = plan.all();
            all.extend(plan.table());
            all.sort_by_key(|piece| piece.at);
            let mut end = 0;
            for piece in &all {
                let gap_ok =
                    piece.at == end || (end == 32 * MIB && piece.at >= disk - TAIL - BLOCK);
                assert!(gap_ok, "{piece:?} after {end}");
                assert!(piece.at.is_multiple_of(BLOCK) && piece.used <= piece.len);
                assert!(piece.len.is_multiple_of(512) && piece.len as u64 <= CHUNK);
                end = piece.at + piece.len as u64;
            }
            assert_eq!(end, disk);
        }
    }

    #[test]
    fn the_table_is_withheld_and_sector_0_comes_last() {
        let plan = Plan::new(&leg(), 64 * MIB, b"");
        let places = |pieces: &[Piece]| pieces.iter().map(|piece| piece.at).collect::<Vec<_>>();
        assert_eq!(places(&plan.table()), [31 * MIB, 0]);
        assert!(plan.data().iter().all(|piece| (MIB..31 * MIB).contains(&piece.at)));
        assert_eq!(places(&plan.data()), [MIB, 4 * MIB, 8 * MIB, 12 * MIB, 20 * MIB]);
        assert_eq!(places(&plan.wiped()[0]), [0]);
    }

    #[test]
    fn settings_are_data_like_any_other() {
        let plan = Plan::new(&leg(), 64 * MIB, b"secret");
        let piece = &plan.data()[1];
        assert_eq!((piece.at, piece.used, piece.len), (2 * MIB, 6, 4096));
        assert_eq!(piece.from, From::Settings);
        assert_eq!(piece.ends.map(|extent| extent.digest), Some(Digest::of(b"secret")));
        assert!(plan.holes().iter().all(|hole| !hole.contains(&(2 * MIB))));
    }
}
