//! Lacking blocks as zstd streams: one for what is like nothing on the box, one for each part that is.

use std::io::{self, Write};

use zstd::zstd_safe::CParameter;

use super::alike::{self, Like, Old, Part};
use super::chunks::{BLOCK, ChunkError};
use super::remote::RemoteError;
use crate::image::RootImage;
use crate::parallel;

/// Compression; see `docs/architecture.md`, "Choices that need a word".
const LEVEL: i32 = 6;
/// Blocks far apart are alike, as in two versions of a library. `zstd -d` needs no option up to 27.
const WINDOW: u32 = 27;
const THREADS: u32 = 2;
/// Bytes that one thread compresses at a time; zstd's own choice for such a window would be 512 MiB.
const JOB: u32 = 32 << 20;
/// The same for a part, which has little to look through: what is shown with it.
const PART_LEVEL: i32 = 12;
/// More than a part and what is shown with it.
const PART_WINDOW: u32 = 24;
/// Parts in memory at once.
const BATCH: usize = 8;
/// Blocks read at once.
const READ: usize = 256;

/// Takes streams.
pub(super) trait Sink: Write {
    /// What is written from now on is another stream, made with these blocks.
    fn begin(&mut self, like: Like) -> io::Result<()>;
}

/// Blocks of an image to be packed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Job<'a> {
    /// The root image.
    pub(super) root: &'a RootImage,
    /// Which blocks.
    pub(super) lacking: &'a [usize],
    /// The image that runs, if it is here.
    pub(super) old: Option<&'a Old>,
}

impl Job<'_> {
    /// Gives all blocks to `out`. `progress` is told the bytes that are done.
    pub(super) fn pack<S: Sink>(self, out: &mut S, progress: &dyn Fn(u64)) -> io::Result<()> {
        let Self { root, lacking, old } = self;
        let parts = match old {
            Some(old) => old.parts(root, lacking).map_err(input_or_stop)?,
            None if lacking.is_empty() => Vec::new(),
            None => vec![Part { blocks: 0..lacking.len(), like: Like::default() }],
        };
        let told = |part: &Part| progress((part.blocks.end * BLOCK) as u64);
        for run in parts.chunk_by(|one, next| one.like.count > 0 && next.like.count > 0) {
            let Some(old) = old.filter(|_| run[0].like.count > 0) else {
                out.begin(Like::default())?;
                let first = run[0].blocks.start * BLOCK;
                let progress = |done| progress(first as u64 + done);
                self.stream(&lacking[run[0].blocks.clone()], &mut *out, &progress)?;
                continue;
            };
            for batch in run.chunks(BATCH) {
                let packed = parallel::try_map(batch, |part| self.part(old, part));
                for (part, bytes) in batch.iter().zip(packed.map_err(input_or_stop)?) {
                    out.begin(part.like)?;
                    out.write_all(&bytes)?;
                    told(part);
                }
            }
        }
        Ok(())
    }

    /// One stream of blocks that are like nothing.
    fn stream(self, blocks: &[usize], out: impl Write, progress: &dyn Fn(u64)) -> io::Result<()> {
        let mut encoder = zstd::Encoder::new(out, LEVEL)?;
        encoder.set_parameter(CParameter::EnableLongDistanceMatching(true))?;
        encoder.window_log(WINDOW)?;
        encoder.set_parameter(CParameter::NbWorkers(THREADS))?;
        encoder.set_parameter(CParameter::JobSize(JOB))?;
        encoder.include_checksum(true)?;
        let mut done = 0;
        for part in blocks.chunks(READ) {
            let bytes = alike::read(self.root, part)?;
            encoder.write_all(&bytes)?;
            done += bytes.len() as u64;
            progress(done);
        }
        encoder.finish().map(|_| ())
    }

    /// One stream of a part that is like something.
    fn part(self, old: &Old, part: &Part) -> Result<Vec<u8>, ChunkError> {
        let shown = old.bytes(part.like)?;
        let mut encoder = zstd::Encoder::with_ref_prefix(Vec::new(), PART_LEVEL, &shown)?;
        encoder.window_log(PART_WINDOW)?;
        encoder.include_checksum(true)?;
        encoder.write_all(&alike::read(self.root, &self.lacking[part.blocks.clone()])?)?;
        Ok(encoder.finish()?)
    }
}

/// Of an image's file, or the user's wish to stop, which is told as a session's.
fn input_or_stop(error: ChunkError) -> io::Error {
    match error {
        ChunkError::Io(error) => error,
        ChunkError::Interrupted(interrupted) => io::Error::other(RemoteError::from(interrupted)),
        error @ ChunkError::Ragged(_) => io::Error::other(error),
    }
}

/// Counts what would be sent.
#[derive(Debug, Default)]
pub(super) struct Counter(pub(super) u64);

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for Counter {
    fn begin(&mut self, _: Like) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::io::Read;

    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::super::chunks::Chunks;
    use super::*;

    /// Streams, each with what it was made with.
    #[derive(Default)]
    struct Streams(Vec<(Like, Vec<u8>)>);

    impl Write for Streams {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.last_mut().expect("begun").1.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Sink for Streams {
        fn begin(&mut self, like: Like) -> io::Result<()> {
            self.0.push((like, Vec::new()));
            Ok(())
        }
    }

    fn image(bytes: &[u8]) -> RootImage {
        let mut file = tempfile::tempfile().expect("file");
        file.write_all(bytes).expect("write");
        RootImage::of_file(file)
    }

    fn noise(seed: u64, blocks: usize) -> Vec<u8> {
        let mut bytes = vec![0; blocks * BLOCK];
        StdRng::seed_from_u64(seed).fill_bytes(&mut bytes);
        bytes
    }

    #[test]
    fn blocks_are_sent_in_order_and_no_others() {
        let bytes = noise(1, 600);
        let root = image(&bytes);
        let lacking: Vec<usize> = [0, 2, 3].into_iter().chain(10..400).chain([599]).collect();
        let (mut streams, told) = (Streams::default(), Cell::new(0));
        let job = Job { root: &root, lacking: &lacking, old: None };
        job.pack(&mut streams, &|done| told.set(done)).expect("packs");
        let [(like, stream)] = &streams.0[..] else { panic!("{} streams", streams.0.len()) };
        assert_eq!(*like, Like::default());
        let plain = zstd::decode_all(stream.as_slice()).expect("a stream");
        let expected = lacking.iter().flat_map(|at| &bytes[at * BLOCK..(at + 1) * BLOCK]);
        assert!(plain.iter().eq(expected));
        assert_eq!(told.get(), plain.len() as u64);
        let mut nothing = Streams::default();
        let job = Job { lacking: &[], ..job };
        job.pack(&mut nothing, &|_| ()).expect("packs");
        assert!(nothing.0.is_empty());
    }

    /// Every byte has moved, between them lies something new.
    #[test]
    fn what_is_like_the_old_image_takes_next_to_nothing() {
        let (one, two, new) = (noise(1, 2000), noise(2, 3000), noise(3, 2100));
        let bytes = [b"moved", &one[..], &new, &two[..], &[0; BLOCK - 5]].concat();
        let (old, root) = (image(&[one, two].concat()), image(&bytes));
        let read = |root: &RootImage| Chunks::read(root, &|_| ()).expect("reads");
        let (have, image) = (read(&old), read(&root));
        let old = Old::new(old, &have, &image);
        let lacking: Vec<usize> = (0..image.blocks.len()).collect();
        let (mut streams, told) = (Streams::default(), Cell::new(0));
        let job = Job { root: &root, lacking: &lacking, old: Some(&old) };
        job.pack(&mut streams, &|done| told.set(done)).expect("packs");
        let sent: usize = streams.0.iter().map(|(_, stream)| stream.len()).sum();
        assert!(sent < new.len() + 10_000, "{sent} for {} new", new.len());
        assert!(streams.0.len() > 4, "{} streams", streams.0.len());
        let mut plain = Vec::new();
        for (like, stream) in &streams.0 {
            let shown = old.bytes(*like).expect("reads");
            let decoder = zstd::Decoder::with_ref_prefix(stream.as_slice(), &shown);
            decoder.and_then(|mut it| it.read_to_end(&mut plain)).expect("a stream");
        }
        assert!(plain == bytes);
        assert_eq!(told.get(), plain.len() as u64);
    }
}
