//! Stages that work on different pieces at the same time: while one is written, the next is read; while one is
//! digested, the next is read back.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, ScopedJoinHandle};

use super::plan::{BLOCK, CHUNK, Piece};

/// Buffers that go round.
const DEPTH: usize = 4;

/// Bytes at a place in memory that direct I/O accepts.
#[derive(Debug)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    start: usize,
}

impl Buffer {
    pub(super) fn new() -> Self {
        let bytes = vec![0; (CHUNK + BLOCK) as usize];
        let start = bytes.as_ptr().align_offset(BLOCK as usize);
        Self { bytes, start }
    }

    /// Its first bytes.
    pub(super) fn first(&mut self, len: usize) -> &mut [u8] {
        &mut self.bytes[self.start..][..len]
    }

    /// See [`Self::first`].
    pub(super) fn as_first(&self, len: usize) -> &[u8] {
        &self.bytes[self.start..][..len]
    }
}

type Chunk = (Piece, Buffer);

/// Does something to each piece, in order, and all its bytes.
pub(super) type Stage<'a, E> = Box<dyn FnMut(&Piece, &mut [u8]) -> Result<(), E> + Send + 'a>;

/// Sends the pieces through all stages, each in a thread of its own.
///
/// # Errors
/// What the last of the stages that failed says: those before it may only have noticed that nobody takes their work.
pub(super) fn run<E: Send>(pieces: Vec<Piece>, stages: Vec<Stage<'_, E>>) -> Result<(), E> {
    thread::scope(|scope| {
        let (back, free) = sync_channel(DEPTH);
        for _ in 0..DEPTH {
            back.send(Buffer::new()).expect("there is room for all of them");
        }
        let (first, mut from) = sync_channel(DEPTH);
        let mut threads = Vec::new();
        for stage in stages {
            let (to, next) = sync_channel(DEPTH);
            let from = std::mem::replace(&mut from, next);
            threads.push(scope.spawn(move || work(stage, &from, &to)));
        }
        scope.spawn(move || from.iter().try_for_each(|(_, buffer): Chunk| back.send(buffer)));
        for piece in pieces {
            let Ok(buffer) = free.recv() else { break };
            if first.send((piece, buffer)).is_err() {
                break;
            }
        }
        drop(first); // The stages end when nothing more can come.
        let join = |thread: ScopedJoinHandle<'_, _>| thread.join().expect("no stage panics");
        let results: Vec<_> = threads.into_iter().map(join).collect();
        results.into_iter().rfind(Result::is_err).unwrap_or(Ok(()))
    })
}

fn work<E>(
    mut stage: Stage<'_, E>,
    from: &Receiver<Chunk>,
    to: &SyncSender<Chunk>,
) -> Result<(), E> {
    for (piece, mut buffer) in from {
        stage(&piece, buffer.first(piece.len))?;
        if to.send((piece, buffer)).is_err() {
            break; // A later stage failed, and says why.
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::plan::From;
    use super::*;

    fn pieces(count: u64) -> Vec<Piece> {
        let piece =
            |index| Piece { at: index, len: 4096, used: 0, from: From::Nowhere, ends: None };
        (0..count).map(piece).collect()
    }

    #[test]
    fn each_stage_sees_every_piece_in_order_and_what_the_last_one_did_to_it() {
        let mut seen = Vec::new();
        let stages: Vec<Stage<'_, ()>> = vec![
            Box::new(|piece, bytes| {
                bytes.fill(piece.at as u8);
                Ok(())
            }),
            Box::new(|_, bytes| {
                bytes[0] += 1;
                Ok(())
            }),
            Box::new(|_, bytes| {
                assert_eq!(bytes.as_ptr() as u64 % BLOCK, 0);
                seen.push((bytes[0], bytes[4095]));
                Ok(())
            }),
        ];
        run(pieces(100), stages).expect("works");
        assert_eq!(seen, (0..100).map(|at| (at + 1, at)).collect::<Vec<_>>());
    }

    #[test]
    fn a_stage_that_fails_ends_it() {
        for failing in 0..3 {
            let stage = |number| -> Stage<'static, u64> {
                Box::new(
                    move |piece, _| {
                        if number == failing && piece.at == 7 { Err(number) } else { Ok(()) }
                    },
                )
            };
            assert_eq!(run(pieces(100), (0..3).map(stage).collect()), Err(failing));
        }
    }
}
