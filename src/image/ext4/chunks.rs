//! A file system comes in pieces, metadata first; files and digests want it from start to end. [`Assembler`]
//! turns the one into the other: chunks in order, each once, with little more than the metadata in memory.

use std::collections::BTreeMap;
use std::io;

use mkext4::RegionSink;

/// Bytes of a chunk; the last one may be shorter.
pub const CHUNK: usize = 4 << 20;
/// What direct I/O wants buffers and offsets to be multiples of, on every disk in use.
const ALIGN: usize = 4096;

/// Bytes at an aligned address, as direct I/O wants them.
#[derive(Debug)]
pub struct Chunk {
    /// Longer than `len` by [`ALIGN`], so that an aligned part lies inside.
    bytes: Vec<u8>,
    len: usize,
}

impl Chunk {
    fn zeros(len: usize) -> Self {
        Self { bytes: vec![0; len + ALIGN], len }
    }

    fn first(&self) -> usize {
        self.bytes.as_ptr().align_offset(ALIGN)
    }

    /// The chunk's bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[self.first()..][..self.len]
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        let first = self.first();
        &mut self.bytes[first..][..self.len]
    }
}

/// A sink for a file system's pieces. They may come in any order, each byte once (the contract of [`RegionSink`]).
#[derive(Debug)]
pub(super) struct Assembler<T> {
    size: u64,
    /// How many bytes of each chunk have come.
    covered: Vec<usize>,
    /// The first chunk that is not whole.
    next: usize,
    current: Chunk,
    /// Pieces of later chunks, by offset.
    ahead: BTreeMap<u64, Vec<u8>>,
    take: T,
}

impl<T: FnMut(u64, Chunk) -> io::Result<()>> Assembler<T> {
    /// `take` gets the chunks of `size` bytes in order, each with its offset.
    pub(super) fn new(size: u64, take: T) -> Self {
        let count = usize::try_from(size.div_ceil(CHUNK as u64)).expect("a count of chunks");
        let mut assembler = Self {
            size,
            covered: vec![0; count],
            next: 0,
            current: Chunk::zeros(0),
            ahead: BTreeMap::new(),
            take,
        };
        assembler.current = Chunk::zeros(assembler.len_of(0));
        assembler
    }

    /// Whether all chunks were handed over.
    pub(super) fn is_complete(&self) -> bool {
        self.next == self.covered.len()
    }

    fn len_of(&self, index: usize) -> usize {
        let rest = self.size.saturating_sub(index as u64 * CHUNK as u64);
        rest.min(CHUNK as u64) as usize
    }

    /// Counts bytes that came, and hands over what is whole.
    fn cover(&mut self, index: usize, count: usize) -> io::Result<()> {
        self.covered[index] += count;
        while self.next < self.covered.len() && self.covered[self.next] == self.len_of(self.next) {
            let start = self.next as u64 * CHUNK as u64;
            self.next += 1;
            let fresh = Chunk::zeros(self.len_of(self.next));
            (self.take)(start, std::mem::replace(&mut self.current, fresh))?;
            let start = start + CHUNK as u64;
            let later = self.ahead.split_off(&(start + CHUNK as u64));
            for (offset, piece) in std::mem::replace(&mut self.ahead, later) {
                let at = (offset - start) as usize;
                self.current.bytes_mut()[at..at + piece.len()].copy_from_slice(&piece);
            }
        }
        Ok(())
    }
}

impl<T: FnMut(u64, Chunk) -> io::Result<()>> RegionSink for Assembler<T> {
    fn data(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        for (offset, piece) in split(offset, bytes) {
            let (index, at) = place(offset);
            if index == self.next {
                self.current.bytes_mut()[at..at + piece.len()].copy_from_slice(piece);
            } else {
                self.ahead.insert(offset, piece.to_vec());
            }
            self.cover(index, piece.len())?;
        }
        Ok(())
    }

    fn zeros(&mut self, offset: u64, len: u64) -> io::Result<()> {
        let (mut offset, end) = (offset, offset + len);
        while offset < end {
            let (index, at) = place(offset);
            let count = (CHUNK - at).min(usize::try_from(end - offset).unwrap_or(usize::MAX));
            self.cover(index, count)?;
            offset += count as u64;
        }
        Ok(())
    }
}

/// Which chunk an offset lies in, and where there.
fn place(offset: u64) -> (usize, usize) {
    ((offset / CHUNK as u64) as usize, (offset % CHUNK as u64) as usize)
}

/// Cuts bytes where chunks end.
fn split(mut offset: u64, mut bytes: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    std::iter::from_fn(move || {
        let (_, at) = place(offset);
        let (piece, rest) = bytes.split_at(bytes.len().min(CHUNK - at));
        let start = offset;
        offset += piece.len() as u64;
        bytes = rest;
        (!piece.is_empty()).then_some((start, piece))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u64 = 3 * CHUNK as u64 - 4096;

    /// What comes out for these pieces; all other bytes come as zeros, last.
    fn assembled(pieces: &[(u64, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut assembler = Assembler::new(SIZE, |offset, chunk: Chunk| {
            assert_eq!(offset, out.len() as u64, "in order");
            assert_eq!(chunk.bytes().as_ptr().align_offset(ALIGN), 0);
            out.extend_from_slice(chunk.bytes());
            Ok(())
        });
        let mut gaps = BTreeMap::from([(0, SIZE)]);
        for (offset, bytes) in pieces {
            assembler.data(*offset, bytes).expect("takes");
            let (&start, &end) = gaps.range(..=offset).next_back().expect("a gap");
            gaps.insert(start, *offset);
            gaps.insert(offset + bytes.len() as u64, end);
        }
        for (start, end) in gaps {
            assembler.zeros(start, end - start).expect("takes");
        }
        out
    }

    fn expected(pieces: &[(u64, &[u8])]) -> Vec<u8> {
        let mut out = vec![0; SIZE as usize];
        for (offset, bytes) in pieces {
            let at = *offset as usize;
            out[at..at + bytes.len()].copy_from_slice(bytes);
        }
        out
    }

    #[test]
    fn pieces_of_any_order_and_across_chunks_come_out_in_order() {
        let across = vec![7; CHUNK + 5000];
        let cases: [&[(u64, &[u8])]; 4] = [
            &[],
            &[(SIZE - 3, b"end"), (0, b"start"), (CHUNK as u64, b"second")],
            &[(5, b"x"), (CHUNK as u64 - 100, &across), (2 * CHUNK as u64 + 9000, b"y")],
            &[(2 * CHUNK as u64, b"late"), (10, &across)],
        ];
        for pieces in cases {
            assert!(assembled(pieces) == expected(pieces), "{:?}", pieces.first());
        }
    }

    #[test]
    fn a_chunk_is_handed_over_as_soon_as_it_is_whole() {
        let mut seen = 0;
        let mut assembler = Assembler::new(SIZE, |_, _| {
            seen += 1;
            Ok(())
        });
        assembler.zeros(CHUNK as u64, CHUNK as u64).expect("takes");
        assembler.data(0, &vec![1; CHUNK]).expect("takes");
        drop(assembler);
        assert_eq!(seen, 2);
    }

    #[test]
    fn bytes_that_never_came_show() {
        let mut assembler = Assembler::new(SIZE, |_, _| Ok(()));
        assembler.zeros(0, SIZE - 1).expect("takes");
        assert!(!assembler.is_complete());
        assembler.zeros(SIZE - 1, 1).expect("takes");
        assert!(assembler.is_complete());
    }

    #[test]
    fn an_error_of_the_taker_goes_up() {
        let mut assembler = Assembler::new(SIZE, |_, _| Err(io::Error::other("full")));
        assert!(assembler.zeros(0, SIZE).is_err());
    }
}
