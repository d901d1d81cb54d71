//! What of the image that a box runs is like the blocks that it lacks of a new one. A kernel's next version has other blocks
//! throughout, yet most of their bytes are the same; zstd finds those again if it is shown the older blocks.
//!
//! ```text
//! gone     the blocks of the image that runs whose like the new image has not, in order: box and chatimg number them alike
//! anchor   a place in the bytes that its last 64 bytes make one, about one in 1024
//! part     up to 1024 lacking blocks; shown with it are the gone blocks with most of its anchors
//! ```
//!
//! Only an image that is still in `images/` can be shown, so without it all goes as before, but more of it.

use std::collections::{HashMap, HashSet};
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::chunks::{BLOCK, ChunkError, Chunks, Hash, hash};
use super::{Source, UpdateError};
use crate::image::RootImage;
use crate::parallel;

/// Lacking blocks of a part, at most.
const PART: usize = 1024;
/// Gone blocks among which anchors are counted: more than a part's, for what has grown or moved.
const WINDOW: usize = 2048;
/// Gone blocks shown besides, before and behind: no anchor need lie in them.
const MARGIN: usize = 32;
/// With fewer anchors in common, a part is like nothing.
const ANCHORS: usize = 8;

/// Gone blocks that are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Like {
    /// The number of the first.
    pub(super) first: usize,
    /// How many; 0: none are.
    pub(super) count: usize,
}

/// Lacking blocks that are compressed together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Which of the list.
    pub(super) blocks: Range<usize>,
    /// What they are like.
    pub(super) like: Like,
}

/// The image that runs, as far as it is not in the new one.
#[derive(Clone, Debug)]
pub struct Old {
    root: Arc<RootImage>,
    gone: Vec<usize>,
    /// The BLAKE2b-128 of the gone blocks' hashes: whether box and chatimg mean the same ones.
    pub(super) hash: Hash,
}

impl Old {
    /// Of an image whose contents are known.
    pub(super) fn new(root: RootImage, have: &Chunks, image: &Chunks) -> Self {
        let kept: HashSet<&Hash> = image.blocks.iter().collect();
        let all = have.blocks.iter().enumerate();
        let (gone, hashes): (Vec<usize>, Vec<Hash>) =
            all.filter(|(_, hash)| !kept.contains(hash)).unzip();
        Self { root: Arc::new(root), gone, hash: hash(hashes.as_flattened()) }
    }

    /// Of an image that was built here, in this folder.
    ///
    /// # Errors
    /// It is not there any more, or cannot be read.
    pub(super) fn open(dir: &Path, image: &Chunks) -> Result<Self, UpdateError> {
        let source = Source::open(dir)?;
        let have = source.chunks(&|_| ())?;
        let root = source.root().try_clone();
        let root = root.map_err(|error| UpdateError::Read {
            path: source.root().path().to_owned(),
            source: error,
        })?;
        Ok(Self::new(root, &have, image))
    }

    /// The bytes of some gone blocks.
    pub(super) fn bytes(&self, like: Like) -> io::Result<Vec<u8>> {
        read(&self.root, &self.gone[like.first..][..like.count])
    }

    /// Cuts the lacking blocks of a new image into parts.
    pub(super) fn parts(
        &self,
        root: &RootImage,
        lacking: &[usize],
    ) -> Result<Vec<Part>, ChunkError> {
        let known = self.anchors()?;
        let ranges: Vec<Range<usize>> = ranges(lacking.len()).collect();
        let parts = parallel::try_map(&ranges, |blocks| {
            let bytes = read(root, &lacking[blocks.clone()])?;
            let places = anchors(&bytes).filter_map(|(anchor, _)| known.get(&anchor).copied());
            let like = like(places.flatten().collect(), self.gone.len());
            Ok::<_, ChunkError>(Part { blocks: blocks.clone(), like })
        })?;
        // What is like nothing is compressed as one.
        Ok(parts.into_iter().fold(Vec::new(), |mut joined: Vec<Part>, part| {
            match joined.last_mut() {
                Some(last) if last.like.count + part.like.count == 0 => {
                    last.blocks.end = part.blocks.end;
                }
                _ => joined.push(part),
            }
            joined
        }))
    }

    /// Where in the gone blocks each anchor is; nowhere, if it is in several places.
    fn anchors(&self) -> Result<HashMap<u64, Option<usize>>, ChunkError> {
        let ranges: Vec<Range<usize>> = ranges(self.gone.len()).collect();
        let found = parallel::try_map(&ranges, |range| {
            let bytes = read(&self.root, &self.gone[range.clone()])?;
            let places = anchors(&bytes).map(|(anchor, at)| (anchor, range.start + at / BLOCK));
            Ok::<_, ChunkError>(places.collect::<Vec<_>>())
        })?;
        let mut known = HashMap::new();
        for (anchor, place) in found.into_iter().flatten() {
            known.entry(anchor).and_modify(|known| *known = None).or_insert(Some(place));
        }
        Ok(known)
    }
}

fn ranges(count: usize) -> impl Iterator<Item = Range<usize>> {
    (0..count).step_by(PART).map(move |first| first..(first + PART).min(count))
}

/// The gone blocks, of `total`, where most of these places are.
fn like(mut places: Vec<usize>, total: usize) -> Like {
    places.sort_unstable();
    let (mut best, mut start) = (0..0, 0);
    for end in 1..=places.len() {
        while places[end - 1] - places[start] >= WINDOW {
            start += 1;
        }
        if end - start > best.len() {
            best = start..end;
        }
    }
    if best.len() < ANCHORS {
        return Like::default();
    }
    let first = places[best.start].saturating_sub(MARGIN);
    let end = (places[best.end - 1] + 1 + MARGIN).min(total);
    Like { first, count: end - first }
}

/// Reads blocks by their numbers.
pub(super) fn read(file: &RootImage, blocks: &[usize]) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; blocks.len() * BLOCK];
    let mut at = 0;
    for run in blocks.chunk_by(|one, next| one + 1 == *next) {
        let end = at + run.len() * BLOCK;
        file.read_exact_at(&mut bytes[at..end], (run[0] * BLOCK) as u64)?;
        at = end;
    }
    Ok(bytes)
}

/// The anchors in some bytes, and where.
fn anchors(bytes: &[u8]) -> impl Iterator<Item = (u64, usize)> {
    let mut last = 0_u64;
    bytes.iter().enumerate().filter_map(move |(at, byte)| {
        // A byte is shifted out after 64 others.
        last = (last << 1).wrapping_add(GEAR[usize::from(*byte)]);
        (last >> 54 == 0 && at >= 64).then_some((last, at))
    })
}

/// A number of chance for each byte (splitmix64).
const GEAR: [u64; 256] = {
    let mut table = [0; 256];
    let mut at = 0;
    while at < table.len() {
        let mut mixed = (at as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        table[at] = mixed ^ (mixed >> 31);
        at += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use std::io::Write;

    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    fn noise(seed: u64, blocks: usize) -> Vec<u8> {
        let mut bytes = vec![0; blocks * BLOCK];
        StdRng::seed_from_u64(seed).fill_bytes(&mut bytes);
        bytes
    }

    fn image(bytes: &[u8]) -> (RootImage, Chunks) {
        let mut file = tempfile::tempfile().expect("file");
        file.write_all(bytes).expect("write");
        let file = RootImage::of_file(file);
        let chunks = Chunks::read(&file, &|_| ()).expect("reads");
        (file, chunks)
    }

    #[test]
    fn anchors_are_made_of_64_bytes_and_of_no_run_of_one() {
        let bytes = noise(1, 64);
        let found: Vec<_> = anchors(&bytes).collect();
        assert!((150..400).contains(&found.len()), "{}", found.len());
        let (anchor, at) = found[found.len() / 2];
        let alone = [&[7; 70], &bytes[at - 63..=at]].concat();
        assert!(anchors(&alone).any(|found| found == (anchor, alone.len() - 1)));
        for byte in 0..=255 {
            assert_eq!(anchors(&[byte; 999]).count(), 0, "{byte}");
        }
    }

    #[test]
    fn gone_is_what_the_new_image_has_nowhere() {
        let (old, new) = (noise(1, 9), [noise(2, 3), noise(1, 9)[4 * BLOCK..].to_vec()].concat());
        let ((file, have), (_, image)) = (image(&old), image(&new));
        let old = Old::new(file, &have, &image);
        assert_eq!(old.gone, [0, 1, 2, 3]);
        assert_eq!(old.hash, hash(have.blocks[..4].as_flattened()));
        let like = Like { first: 1, count: 2 };
        assert!(old.bytes(like).expect("reads") == noise(1, 9)[BLOCK..3 * BLOCK]);
    }

    /// Everything has moved by a few bytes, so no block is the same; in the middle lies what is wholly new.
    #[test]
    fn each_part_is_shown_what_it_is_like() {
        let (one, two) = (noise(1, 3000), noise(2, 3000));
        let bytes = [b"moved", &one[..], &noise(3, 2048), &two[..]].concat();
        let bytes = [&bytes[..], &[0; BLOCK - 5]].concat();
        let ((file, have), (root, image)) = (image(&[one, two].concat()), image(&bytes));
        let old = Old::new(file, &have, &image);
        let lacking: Vec<usize> = (0..image.blocks.len()).collect();
        let parts = old.parts(&root, &lacking).expect("reads");
        let mut next = 0;
        for part in &parts {
            assert_eq!(part.blocks.start, next);
            next = part.blocks.end;
            let Like { first, count } = part.like;
            assert!(count <= WINDOW + 2 * MARGIN && first + count <= old.gone.len(), "{part:?}");
        }
        assert_eq!(next, lacking.len());
        let like = |block: usize| {
            let part = parts.iter().find(|part| part.blocks.contains(&block)).expect("in one");
            part.like.first..part.like.first + part.like.count
        };
        for (block, gone) in [(0, 0), (1000, 1000), (2500, 2500), (6000, 3950), (8000, 5950)] {
            assert!(like(block).contains(&gone), "{block}: {:?}", like(block));
        }
        assert!(like(4000).is_empty(), "{:?}", like(4000));
    }

    #[test]
    fn an_image_like_nothing_is_one_part() {
        let ((file, have), (root, image)) = (image(&noise(1, 300)), image(&noise(2, 5000)));
        let old = Old::new(file, &have, &image);
        let lacking: Vec<usize> = (0..5000).collect();
        let parts = old.parts(&root, &lacking).expect("reads");
        assert_eq!(parts, [Part { blocks: 0..5000, like: Like::default() }]);
        assert_eq!(old.parts(&root, &[]).expect("reads"), []);
    }
}
