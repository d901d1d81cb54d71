//! What the box lacks of an image, and getting it there.

use std::collections::HashSet;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::alike::{Like, Old};
use super::chunks::{BLOCK, Chunks, Hash, hash};
use super::pack::{Counter, Job, Sink};
use super::remote::{Remote, RemoteError};
use super::session::Session;
use super::wire::Message;
use super::{Description, Event, Source, UpdateError};
use crate::image::RootImage;
use crate::minisign::SecretKey;

const PROTOCOL: u32 = 1;
/// Bytes of one `data` message.
const DATA: usize = 1 << 20;
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
    /// Where images are kept: what is like the one that runs takes little to send, if that one is still there.
    pub images: &'a Path,
}

/// An image that the box takes, and what it lacks of it.
pub struct Transfer<'a> {
    session: Session<'a>,
    id: String,
    offered: Offered,
}

/// What the box says to an offer.
#[derive(Clone, Debug)]
pub struct Offered {
    /// The image that runs.
    pub running: String,
    /// The slot that is written: `a` or `b`.
    pub slot: String,
    /// What the administrator should know before.
    pub warning: Option<String>,
    /// Numbers of the blocks that it lacks, in order.
    pub lacking: Vec<usize>,
    /// The image that runs, if it is here, too.
    pub old: Option<Old>,
    /// What the switch needs on each file system; only a dry run asks for it.
    pub space: Vec<Space>,
}

/// What a switch needs on a file system of the box, and what is free there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Space {
    /// The file system: `/state`, `slot b`.
    pub place: String,
    /// Bytes.
    pub needed: u64,
    /// Bytes.
    pub free: u64,
    /// How many files are made; 0: they do not count.
    pub files: u64,
    /// Room for how many.
    pub inodes: u64,
}

impl Space {
    /// Whether there is as much as is needed.
    pub fn is_enough(&self) -> bool {
        self.needed <= self.free && (self.files == 0 || self.files <= self.inodes)
    }
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

    fn job<'a>(&'a self, root: &'a RootImage) -> Job<'a> {
        Job { root, lacking: &self.lacking, old: self.old.as_ref() }
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
        let Offer { description, chunks, key, older, images } = offer;
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
        let (head, lacking) = lacking(&mut session, chunks)?;
        let gone = head.get("gone").and_then(Value::as_str);
        let space = head.get("space").cloned().and_then(|space| serde_json::from_value(space).ok());
        let mut space: Vec<Space> = space.unwrap_or_default();
        space.iter_mut().for_each(|one| one.place = super::session::printable(&one.place));
        // What is not here, or is not what the box has, is not shown.
        let is_id = running.len() == 16 && running.bytes().all(|byte| byte.is_ascii_hexdigit());
        // Reading a whole image takes a while, and with nothing to send nothing is like it.
        let wanted = is_id && !lacking.is_empty();
        let old = wanted.then(|| Old::open(&images.join(&running), chunks).ok()).flatten();
        let old = old.filter(|old| gone == Some(hex(old.hash).as_str()));
        let id = description.id.clone();
        Ok(Self { session, id, offered: Offered { running, slot, warning, lacking, old, space } })
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
        let mut sink = DataWriter { session: &mut self.session, buffer: Vec::new(), begun: None };
        let packed = self.offered.job(image.root()).pack(&mut sink, &progress);
        // A session's own error went through the writer; any other is of the image's file.
        packed.and_then(|()| sink.finish()).map_err(|error| {
            match error.downcast::<RemoteError>() {
                Ok(error) => error.into(),
                Err(source) => UpdateError::Read { path: image.root().path().to_owned(), source },
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

/// Asks in two steps: for pieces, then for the blocks of those that are lacking. The last answer says more.
fn lacking(session: &mut Session<'_>, chunks: &Chunks) -> Result<(Value, Vec<usize>), UpdateError> {
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
    let (_, wanted) = bits(session, "reading its slots", chunks.pieces.len())?;
    let blocks: Vec<usize> =
        wanted.into_iter().flat_map(|index| chunks.pieces[index].blocks()).collect();
    let hashes: Vec<u8> = blocks.iter().flat_map(|block| chunks.blocks[*block]).collect();
    session.send(json!({"op": "blocks"}), &hashes)?;
    let (head, wanted) = bits(session, "comparing blocks", blocks.len())?;
    Ok((head, wanted.into_iter().map(|index| blocks[index]).collect()))
}

fn hex(hash: Hash) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An answer of exactly `count` bits, and the numbers of those that are set.
fn bits(
    session: &mut Session<'_>,
    doing: &'static str,
    count: usize,
) -> Result<(Value, Vec<usize>), UpdateError> {
    let Message { head, payload } = session.answer(doing, PATIENCE)?;
    let set = set_bits(&payload, count);
    let wrong = || session.strange(format!("{} bytes for {count} bits", payload.len()));
    Ok((head, set.ok_or_else(wrong)?))
}

fn set_bits(bytes: &[u8], count: usize) -> Option<Vec<usize>> {
    let is_set = |index: &usize| bytes[index / 8] >> (index % 8) & 1 == 1;
    if bytes.len() != count.div_ceil(8) || (count..bytes.len() * 8).any(|index| is_set(&index)) {
        return None;
    }
    Some((0..count).filter(is_set).collect())
}

/// Cuts streams into `data` messages.
struct DataWriter<'a, 'b> {
    session: &'a mut Session<'b>,
    buffer: Vec<u8>,
    /// With the first message of a stream it is told what that is like.
    begun: Option<Like>,
}

impl DataWriter<'_, '_> {
    fn message(&mut self, size: usize) -> io::Result<()> {
        let mut head = json!({"op": "data"});
        if let Some(Like { first, count }) = self.begun.take() {
            head["like"] = json!([first, count]);
        }
        let sent = self.session.send(head, &self.buffer[..size]);
        sent.map_err(io::Error::other)?;
        self.buffer.drain(..size);
        Ok(())
    }

    /// Sends what is left of the stream.
    fn finish(&mut self) -> io::Result<()> {
        while !self.buffer.is_empty() {
            self.message(self.buffer.len().min(DATA))?;
        }
        Ok(())
    }
}

impl Sink for DataWriter<'_, '_> {
    fn begin(&mut self, like: Like) -> io::Result<()> {
        self.finish()?;
        self.begun = Some(like);
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

impl Offered {
    /// What a box would lack that runs just this image; for one that cannot be asked.
    ///
    /// # Errors
    /// There are no more open files to be had.
    pub fn without_box(running: &Source, have: &Chunks, image: &Chunks) -> io::Result<Self> {
        let old = Old::new(running.root().try_clone()?, have, image);
        let running = running.description.id.clone();
        let (slot, warning, lacking) = (String::new(), None, lacking_of(have, image));
        Ok(Self { running, slot, warning, lacking, old: Some(old), space: Vec::new() })
    }

    /// Bytes of what is lacking after compression, which takes as long as sending it would.
    ///
    /// # Errors
    /// The image cannot be read.
    pub fn download(&self, root: &RootImage, events: &dyn Fn(Event)) -> io::Result<u64> {
        let total = self.size();
        let mut counter = Counter::default();
        let progress = |done| events(Event::Sending { done, total });
        self.job(root).pack(&mut counter, &progress)?;
        Ok(counter.0)
    }
}

/// The blocks of an image that are not among others.
fn lacking_of(have: &Chunks, image: &Chunks) -> Vec<usize> {
    let mut known: HashSet<Hash> = have.blocks.iter().copied().collect();
    known.insert(hash(&[0; BLOCK]));
    let blocks = image.blocks.iter().enumerate();
    blocks.filter(|(_, hash)| known.insert(**hash)).map(|(index, _)| index).collect()
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
        assert_eq!(lacking_of(&chunks(&[1, 2]), &chunks(&[0, 2, 3, 1, 3, 4])), [2, 5]);
    }
}
