//! What the box lacks of an image, and getting it there.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::time::Duration;

use serde_json::{Value, json};
use zstd::zstd_safe::CParameter;

use super::chunks::{BLOCK, Chunks, Hash, hash};
use super::remote::{Remote, RemoteError};
use super::session::Session;
use super::wire::Message;
use super::{Description, Event, Source, UpdateError};
use crate::minisign::SecretKey;

const PROTOCOL: u32 = 1;
/// Bytes of one `data` message.
const DATA: usize = 1 << 20;
/// Compression; see `docs/architecture.md`, "What was tried".
const LEVEL: i32 = 6;
/// Blocks far apart are alike, as in two versions of a library. `zstd -d` needs no option up to 27.
const WINDOW: u32 = 27;
const THREADS: u32 = 2;
/// Bytes that one thread compresses at a time; zstd's own choice for such a window would be 512 MiB.
const JOB: u32 = 32 << 20;
/// Blocks read at once.
const READ: usize = 256;

/// How long the box may be silent: it reads whole disks, and writes them.
const PATIENCE: Duration = Duration::from_secs(600);
/// How long it may take to log in, and the user to answer ssh's questions.
const LOGIN: Duration = Duration::from_secs(180);

/// What is offered to a box.
#[derive(Debug)]
pub struct Offer<'a> {
    /// What is said of the image.
    pub description: &'a Description,
    /// Of [`crate::deliver::update::Source::root`].
    pub chunks: &'a Chunks,
    /// Signs the description.
    pub key: &'a SecretKey,
    /// Whether the image may be older than the one that runs.
    pub older: bool,
}

/// An image that the box takes, and what it lacks of it.
pub struct Transfer<'a> {
    session: Session<'a>,
    id: String,
    offered: Offered,
}

/// What the box says to an offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offered {
    /// The image that runs.
    pub running: String,
    /// The slot that is written: `a` or `b`.
    pub slot: String,
    /// What the administrator should know before.
    pub warning: Option<String>,
    /// Numbers of the blocks that it lacks, in order.
    pub lacking: Vec<usize>,
}

/// What was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// All bytes, those of the negotiation among them.
    pub bytes: u64,
    /// What the box counted.
    pub received: Option<u64>,
}

impl Offered {
    /// Bytes of what is lacking, before compression.
    pub fn size(&self) -> u64 {
        (self.lacking.len() * BLOCK) as u64
    }
}

impl<'a> Transfer<'a> {
    /// Offers an image. With `dry_run` the box only answers, and changes nothing.
    ///
    /// # Errors
    /// There is no connection, or the box does not want the image.
    pub fn offer(
        remote: &'a Remote,
        offer: &Offer<'_>,
        dry_run: bool,
    ) -> Result<Self, UpdateError> {
        let Offer { description, chunks, key, older } = offer;
        let bits = chunks.blocks.len().div_ceil(8) as u64;
        let mut session = Session::start(remote, bits)?;
        let (bytes, signature) = description.signed(key)?;
        let hello = json!({
            "op": "hello", "protocol": PROTOCOL, "signature": signature, "older": older,
            "dry-run": dry_run,
        });
        session.send(hello, &bytes)?;
        let answer = session.answer("logging in", LOGIN)?;
        let text = |key| {
            let text = answer.head.get(key).and_then(Value::as_str).map(super::session::printable);
            text.ok_or_else(|| session.strange(format!("an answer without \"{key}\"")))
        };
        let (running, slot, warning) = (text("running")?, text("slot")?, text("warning").ok());
        let lacking = lacking(&mut session, chunks)?;
        let id = description.id.clone();
        Ok(Self { session, id, offered: Offered { running, slot, warning, lacking } })
    }

    /// What the box said.
    pub fn offered(&self) -> &Offered {
        &self.offered
    }

    /// Sends what is lacking, and waits until the box has written and read back all of the image.
    ///
    /// # Errors
    /// The connection breaks, or the box fails; what it has got stays there for the next time.
    pub fn send(&mut self, image: &Source, events: &dyn Fn(Event)) -> Result<Sent, UpdateError> {
        let total = self.offered.size();
        let progress = |done| events(Event::Sending { done, total });
        let sink = DataWriter { session: &mut self.session, buffer: Vec::new() };
        let sink = compress(image.root(), &self.offered.lacking, sink, &progress);
        // A session's own error went through the writer; any other is of the image's file.
        sink.and_then(DataWriter::finish).map_err(|error| {
            match error.downcast::<RemoteError>() {
                Ok(error) => error.into(),
                Err(source) => UpdateError::Read { path: image.path().to_owned(), source },
            }
        })?;
        self.session.send(json!({"op": "end"}), &[])?;
        loop {
            let Message { head, .. } = self.session.answer("writing its slot", PATIENCE)?;
            let number = |key| head.get(key).and_then(Value::as_u64);
            if head.get("ok") == Some(&Value::Bool(true)) {
                return Ok(Sent { bytes: self.session.sent(), received: number("received") });
            }
            let (Some(done), Some(total)) = (number("progress"), number("total")) else {
                return Err(self.session.strange("no progress, and no end".to_owned()).into());
            };
            events(Event::Writing { done: done.min(total), total });
        }
    }

    /// The conversation, and the image's id.
    pub(super) fn parts(&mut self) -> (&mut Session<'a>, &str) {
        (&mut self.session, &self.id)
    }
}

/// Asks in two steps: for pieces, then for the blocks of those that are lacking.
fn lacking(session: &mut Session<'_>, chunks: &Chunks) -> Result<Vec<usize>, UpdateError> {
    let pieces: Vec<u8> = chunks
        .pieces
        .iter()
        .flat_map(|piece| {
            // At most 1024.
            let count = u16::try_from(piece.count).unwrap_or(u16::MAX).to_le_bytes();
            count.into_iter().chain(piece.hash)
        })
        .collect();
    session.send(json!({"op": "pieces"}), &pieces)?;
    let wanted = bits(session, "reading its slots", chunks.pieces.len())?;
    let blocks: Vec<usize> =
        wanted.into_iter().flat_map(|index| chunks.pieces[index].blocks()).collect();
    let hashes: Vec<u8> = blocks.iter().flat_map(|block| chunks.blocks[*block]).collect();
    session.send(json!({"op": "blocks"}), &hashes)?;
    let wanted = bits(session, "comparing blocks", blocks.len())?;
    Ok(wanted.into_iter().map(|index| blocks[index]).collect())
}

/// The numbers of the bits that are set in an answer of exactly `count` bits.
fn bits(
    session: &mut Session<'_>,
    doing: &'static str,
    count: usize,
) -> Result<Vec<usize>, UpdateError> {
    let payload = session.answer(doing, PATIENCE)?.payload;
    let set = set_bits(&payload, count);
    Ok(set.ok_or_else(|| session.strange(format!("{} bytes for {count} bits", payload.len())))?)
}

fn set_bits(bytes: &[u8], count: usize) -> Option<Vec<usize>> {
    let is_set = |index: &usize| bytes[index / 8] >> (index % 8) & 1 == 1;
    if bytes.len() != count.div_ceil(8) || (count..bytes.len() * 8).any(|index| is_set(&index)) {
        return None;
    }
    Some((0..count).filter(is_set).collect())
}

/// Writes the blocks of an image to `out` as one zstd stream. `progress` is told the bytes that are done.
pub(super) fn compress<W: Write>(
    root: &File,
    blocks: &[usize],
    out: W,
    progress: &dyn Fn(u64),
) -> io::Result<W> {
    let mut encoder = zstd::Encoder::new(out, LEVEL)?;
    encoder.set_parameter(CParameter::EnableLongDistanceMatching(true))?;
    encoder.window_log(WINDOW)?;
    encoder.set_parameter(CParameter::NbWorkers(THREADS))?;
    encoder.set_parameter(CParameter::JobSize(JOB))?;
    encoder.include_checksum(true)?;
    let mut buffer = vec![0; READ * BLOCK];
    let mut done = 0;
    for run in blocks.chunk_by(|one, next| one + 1 == *next) {
        for part in run.chunks(READ) {
            let bytes = &mut buffer[..part.len() * BLOCK];
            root.read_exact_at(bytes, (part[0] * BLOCK) as u64)?;
            encoder.write_all(bytes)?;
            done += bytes.len() as u64;
            progress(done);
        }
    }
    encoder.finish()
}

/// Cuts a stream into `data` messages.
struct DataWriter<'a, 'b> {
    session: &'a mut Session<'b>,
    buffer: Vec<u8>,
}

impl DataWriter<'_, '_> {
    fn message(&mut self, size: usize) -> io::Result<()> {
        let sent = self.session.send(json!({"op": "data"}), &self.buffer[..size]);
        sent.map_err(io::Error::other)?;
        self.buffer.drain(..size);
        Ok(())
    }

    fn finish(mut self) -> io::Result<()> {
        while !self.buffer.is_empty() {
            self.message(self.buffer.len().min(DATA))?;
        }
        Ok(())
    }
}

impl Write for DataWriter<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        while self.buffer.len() >= DATA {
            self.message(DATA)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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

impl Offered {
    /// What a box would lack that has just these blocks; for one that cannot be asked.
    pub fn without_box(running: &str, have: &Chunks, image: &Chunks) -> Self {
        let mut known: HashSet<Hash> = have.blocks.iter().copied().collect();
        known.insert(hash(&[0; BLOCK]));
        let blocks = image.blocks.iter().enumerate();
        let lacking = blocks.filter(|(_, hash)| known.insert(**hash)).map(|(index, _)| index);
        let lacking = lacking.collect();
        Self { running: running.to_owned(), slot: String::new(), warning: None, lacking }
    }

    /// Bytes of what is lacking after compression, which takes as long as sending it would.
    ///
    /// # Errors
    /// The image cannot be read.
    pub fn download(&self, root: &File, events: &dyn Fn(Event)) -> io::Result<u64> {
        let total = self.size();
        let progress = |done| events(Event::Sending { done, total });
        compress(root, &self.lacking, Counter::default(), &progress).map(|counter| counter.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_counted_from_the_least_significant() {
        assert_eq!(set_bits(&[0b0000_0101, 0b1], 9), Some(vec![0, 2, 8]));
        assert_eq!(set_bits(&[], 0), Some(vec![]));
        for (bytes, count) in [(&[1][..], 0), (&[], 1), (&[0, 0], 8), (&[2], 1), (&[0], 9)] {
            assert_eq!(set_bits(bytes, count), None, "{bytes:?} {count}");
        }
    }

    #[test]
    fn what_is_there_twice_is_lacking_once() {
        let chunks = |blocks: &[u8]| Chunks {
            blocks: blocks.iter().map(|byte| hash(&[*byte; BLOCK])).collect(),
            pieces: Vec::new(),
        };
        let offered = Offered::without_box("x", &chunks(&[1, 2]), &chunks(&[0, 2, 3, 1, 3, 4]));
        assert_eq!((offered.lacking.as_slice(), offered.size()), (&[2, 5][..], 8192));
    }

    #[test]
    fn blocks_are_sent_in_order_and_no_others() {
        let mut file = tempfile::tempfile().expect("file");
        let block = |number: usize| [u8::try_from(number % 251).expect("small"); BLOCK];
        for number in 0..600 {
            file.write_all(&block(number)).expect("write");
        }
        let wanted: Vec<usize> = [0, 2, 3].into_iter().chain(10..400).chain([599]).collect();
        let told = std::cell::Cell::new(0);
        let stream = compress(&file, &wanted, Vec::new(), &|done| told.set(done)).expect("works");
        let plain = zstd::decode_all(stream.as_slice()).expect("a stream");
        let expected: Vec<u8> = wanted.iter().flat_map(|number| block(*number)).collect();
        assert!(plain == expected);
        assert_eq!(told.get(), expected.len() as u64);
        let nothing = compress(&file, &[], Vec::new(), &|_| ()).expect("works");
        assert_eq!(zstd::decode_all(nothing.as_slice()).expect("a stream"), b"");
    }
}
