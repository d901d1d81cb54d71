//! Reading a sparse file while it is being written: hashes are ready when the last byte is.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Condvar, Mutex, PoisonError};

use nix::errno::Errno;
use nix::unistd::{Whence, lseek};

use crate::digest::Hasher;

static ZEROS: [u8; 1 << 16] = [0; 1 << 16];
const CHUNK: u64 = 1 << 20;

/// How far a file is final, told by its writer and awaited by its readers.
#[derive(Debug, Default)]
pub(super) struct Frontier {
    state: Mutex<State>,
    moved: Condvar,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    end: u64,
    stopped: bool,
}

impl Frontier {
    /// Everything before `end` is final.
    pub(super) fn advance(&self, end: u64) {
        self.change(|state| state.end = state.end.max(end));
    }

    /// Nothing more will come: the writer failed.
    pub(super) fn stop(&self) {
        self.change(|state| state.stopped = true);
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.moved.notify_all();
    }

    /// Waits until bytes at `from` are final, and says up to where; `None`: the writer failed.
    fn beyond(&self, from: u64) -> Option<u64> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = |state: &mut State| state.end <= from && !state.stopped;
        let state = self.moved.wait_while(state, waiting).unwrap_or_else(PoisonError::into_inner);
        (!state.stopped).then_some(state.end)
    }
}

/// A piece of a file.
#[derive(Debug)]
pub(super) enum Piece<'a> {
    /// Bytes.
    Data(&'a [u8]),
    /// So many zeros.
    Zeros(u64),
}

impl Piece<'_> {
    /// Adds the piece to a hash.
    pub(super) fn hash(&self, hasher: &mut Hasher) {
        match self {
            Self::Data(bytes) => hasher.update(bytes),
            Self::Zeros(len) => {
                let mut rest = *len;
                while rest > 0 {
                    let count = rest.min(ZEROS.len() as u64);
                    hasher.update(&ZEROS[..count as usize]);
                    rest -= count;
                }
            }
        }
    }
}

/// Gives the bytes `start..end` of the file at `path` to `take`, piece by piece as the frontier moves.
/// Holes are not read. Returns whether all came; `false`: the writer failed.
pub(super) fn follow(
    path: &Path,
    (start, end): (u64, u64),
    frontier: &Frontier,
    mut take: impl FnMut(u64, Piece) -> io::Result<()>,
) -> io::Result<bool> {
    // A handle of its own: seeking for holes moves the offset.
    let file = File::open(path)?;
    let mut buffer = vec![0; CHUNK as usize];
    let mut at = start;
    while at < end {
        let Some(limit) = frontier.beyond(at) else { return Ok(false) };
        let limit = limit.min(end);
        let data = next_data(&file, at)?.unwrap_or(limit).min(limit);
        if data > at {
            take(at, Piece::Zeros(data - at))?;
            at = data;
            continue;
        }
        let bytes = &mut buffer[..CHUNK.min(limit - at) as usize];
        file.read_exact_at(bytes, at)?;
        take(at, Piece::Data(bytes))?;
        at += bytes.len() as u64;
    }
    Ok(true)
}

/// Where the next byte lies that is not in a hole; `None`: there is none.
fn next_data(file: &File, at: u64) -> io::Result<Option<u64>> {
    match lseek(file, at as i64, Whence::SeekData) {
        Ok(data) => Ok(Some(data as u64)),
        Err(Errno::ENXIO) => Ok(None),
        Err(Errno::EINVAL) => Ok(Some(at)), // A file system that does not tell holes.
        Err(error) => Err(error.into()),
    }
}

/// Whether there is nothing but zeros.
pub(super) fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    #[test]
    fn a_reader_keeps_up_with_a_writer_and_sees_holes_as_zeros() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let path = dir.path().join("file");
        let file = File::create(&path).expect("creates");
        let total = 8 << 20;
        file.set_len(total).expect("sets the length");
        let frontier = Frontier::default();
        let digest = std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut hasher = Hasher::new();
                let whole = follow(&path, (0, total), &frontier, |_, piece| {
                    piece.hash(&mut hasher);
                    Ok(())
                });
                assert!(whole.expect("reads"));
                hasher.finish()
            });
            for at in [0, 5000, 3 << 20, total - 1] {
                frontier.advance(at);
                file.write_all_at(b"x", at).expect("writes");
            }
            frontier.advance(total);
            reader.join().expect("joins")
        });
        assert_eq!(digest, Digest::of(&std::fs::read(&path).expect("reads")));
    }

    #[test]
    fn a_reader_does_not_wait_for_a_writer_that_failed() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let path = dir.path().join("file");
        std::fs::write(&path, "half").expect("writes");
        let frontier = Frontier::default();
        frontier.stop();
        assert!(!follow(&path, (0, 8), &frontier, |_, _| Ok(())).expect("ends"));
    }
}
