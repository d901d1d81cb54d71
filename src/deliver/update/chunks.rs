//! What a root image is made of, so that only what the box lacks is sent.
//!
//! ```text
//! block   4096 bytes, known by their BLAKE2b-128
//! piece   blocks up to one whose hash ends in six zero bits, or 1024 of them; known by the BLAKE2b-128 of the
//!         hashes of its blocks
//! ```
//!
//! A piece ends where its contents say so, so what moved inside the image (by whole blocks) is the same pieces again.

use std::io;
use std::ops::Range;

use blake2::Blake2b;
use blake2::Digest as _;
use blake2::digest::consts::U16;

use crate::image::RootImage;
use crate::interrupt::Interrupted;
use crate::parallel;

/// Bytes of a block.
pub const BLOCK: usize = 4096;
/// Most blocks of a piece.
pub const PIECE_MAX: usize = 1024;
/// Blocks that are read at once.
const RUN: usize = 1024;

/// A BLAKE2b-128 digest.
pub type Hash = [u8; 16];

/// The BLAKE2b-128 of some bytes.
pub fn hash(bytes: &[u8]) -> Hash {
    Blake2b::<U16>::digest(bytes).into()
}

/// A run of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The number of its first block.
    pub first: usize,
    /// How many blocks it has, 1 to [`PIECE_MAX`].
    pub count: usize,
    /// Of its blocks' hashes.
    pub hash: Hash,
}

impl Piece {
    /// The numbers of its blocks.
    pub fn blocks(&self) -> Range<usize> {
        self.first..self.first + self.count
    }
}

/// What an image is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chunks {
    /// Of every block, in order.
    pub blocks: Vec<Hash>,
    /// All blocks are in one.
    pub pieces: Vec<Piece>,
}

/// An image cannot be cut up.
#[derive(Debug, thiserror::Error)]
pub enum ChunkError {
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is no image.
    #[error("it has {0} bytes, which are not whole blocks of 4096")]
    Ragged(u64),
    /// The user stopped it.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

impl Chunks {
    /// Of an image, read on all cores. `progress` is told the bytes of each part that is done.
    ///
    /// # Errors
    /// It cannot be read, or is not whole blocks.
    pub fn read(image: &RootImage, progress: &(dyn Fn(u64) + Sync)) -> Result<Self, ChunkError> {
        let size = image.size();
        if !size.is_multiple_of(BLOCK as u64) {
            return Err(ChunkError::Ragged(size));
        }
        let count = usize::try_from(size).map_err(|_| ChunkError::Ragged(size))? / BLOCK;
        let runs: Vec<Range<usize>> =
            (0..count).step_by(RUN).map(|first| first..(first + RUN).min(count)).collect();
        let runs = parallel::try_map(&runs, |run| {
            let mut bytes = vec![0; run.len() * BLOCK];
            image.read_exact_at(&mut bytes, (run.start * BLOCK) as u64)?;
            let hashes: Vec<Hash> = bytes.chunks_exact(BLOCK).map(hash).collect();
            progress(bytes.len() as u64);
            Ok::<_, ChunkError>(hashes)
        })?;
        let blocks = runs.concat();
        let pieces = cut(&blocks);
        Ok(Self { blocks, pieces })
    }
}

/// Finds the pieces.
fn cut(blocks: &[Hash]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut first = 0;
    for (index, block) in blocks.iter().enumerate() {
        let count = index + 1 - first;
        if block[15] & 63 == 0 || count == PIECE_MAX || index + 1 == blocks.len() {
            let hash = hash(blocks[first..=index].as_flattened());
            pieces.push(Piece { first, count, hash });
            first = index + 1;
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn chunks(bytes: &[u8]) -> Result<Chunks, ChunkError> {
        let mut file = tempfile::tempfile().expect("file");
        file.write_all(bytes).expect("write");
        Chunks::read(&RootImage::of_file(file), &|_| ())
    }

    /// A block that says which it is.
    fn block(number: u32) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        block[..4].copy_from_slice(&number.to_le_bytes());
        block
    }

    fn image(numbers: impl IntoIterator<Item = u32>) -> Vec<u8> {
        numbers.into_iter().flat_map(block).collect()
    }

    fn counts(chunks: &Chunks) -> Vec<usize> {
        chunks.pieces.iter().map(|piece| piece.count).collect()
    }

    /// As `hashlib.blake2b(data, digest_size=16)` of Python, which the box has, says.
    #[test]
    fn hashes_are_those_of_the_box() {
        let hex = |hash: Hash| hash.map(|byte| format!("{byte:02x}")).concat();
        assert_eq!(hex(hash(b"")), "cae66941d9efbd404e4d88758ea67670");
        assert_eq!(hex(hash(&[0; BLOCK])), "5f6df6002bc71ca2d81a7492de37025d");
    }

    #[test]
    fn nothing_has_no_pieces() {
        assert_eq!(chunks(&[]).expect("reads"), Chunks::default());
    }

    #[test]
    fn one_block_is_one_piece() {
        let found = chunks(&block(1)).expect("reads");
        let hash = hash(&block(1));
        assert_eq!(found.blocks, [hash]);
        let piece = Piece { first: 0, count: 1, hash: super::hash(&hash) };
        assert_eq!(found.pieces, [piece]);
    }

    #[test]
    fn zeros_are_pieces_of_the_largest_size() {
        let found = chunks(&vec![0; (2 * PIECE_MAX + 3) * BLOCK]).expect("reads");
        assert_eq!(counts(&found), [PIECE_MAX, PIECE_MAX, 3]);
        assert_eq!(found.pieces[0].hash, found.pieces[1].hash);
        assert_eq!(found.pieces[2].blocks(), 2 * PIECE_MAX..2 * PIECE_MAX + 3);
    }

    #[test]
    fn a_piece_ends_where_its_contents_say_so() {
        let ends = |number: &u32| hash(&block(*number))[15] & 63 == 0;
        let end = (0..).find(ends).expect("one in 64");
        let plain: Vec<u32> = (0..).filter(|number| !ends(number)).take(2000).collect();
        let all =
            [&plain[..3], &[end], &plain[3..5], &[end, end], &plain[..PIECE_MAX + 1]].concat();
        let found = chunks(&image(all)).expect("reads");
        assert_eq!(counts(&found), [4, 3, 1, PIECE_MAX, 1]);
        // At the limit it ends but once.
        let all = [&plain[..PIECE_MAX - 1], &[end], &plain[..2]].concat();
        assert_eq!(counts(&chunks(&image(all)).expect("reads")), [PIECE_MAX, 2]);
    }

    #[test]
    fn what_moved_is_the_same_pieces() {
        let old = chunks(&image(0..5000)).expect("reads");
        let new = chunks(&image((9000..9007).chain(0..5000))).expect("reads");
        let known = |piece: &&Piece| old.pieces.iter().any(|other| other.hash == piece.hash);
        let lacking = new.pieces.iter().filter(|piece| !known(piece)).count();
        assert!(lacking <= 2, "{lacking} of {}", new.pieces.len());
        assert_eq!(new.blocks[7..], old.blocks);
    }

    #[test]
    fn an_image_is_whole_blocks() {
        let error = chunks(&[0; BLOCK + 1]).expect_err("refused");
        assert_eq!(error.to_string(), "it has 4097 bytes, which are not whole blocks of 4096");
    }

    #[test]
    fn every_byte_is_told_of() {
        let mut file = tempfile::tempfile().expect("file");
        file.write_all(&image(0..3000)).expect("write");
        let told = std::sync::atomic::AtomicU64::new(0);
        let add = |bytes| _ = told.fetch_add(bytes, std::sync::atomic::Ordering::Relaxed);
        Chunks::read(&RootImage::of_file(file), &add).expect("reads");
        assert_eq!(told.into_inner(), 3000 * BLOCK as u64);
    }
}
