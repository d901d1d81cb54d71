//! What the machine did to its disks, in order.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use super::nbd::{self, Export};
use crate::image::punch_hole;

/// One thing that happened to a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// From 0.
    pub(super) disk: usize,
    pub(super) what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// `len` bytes were written at `offset`; they stand in the log's file at `at`, or are zeros.
    Write { offset: u64, len: u64, at: Option<u64> },
    /// All that was written to this disk before is on it for good.
    Flush,
}

/// Writes that a power cut may lose, for each disk: numbers of the log's entries, in order.
#[derive(Debug)]
pub(super) struct Waiting(Vec<Vec<usize>>);

impl Waiting {
    /// For so many disks, nothing.
    pub(super) fn none(disks: usize) -> Self {
        Self(vec![Vec::new(); disks])
    }

    /// What a log's next entry does to them. Gives back those that cannot be lost any more.
    pub(super) fn pass(&mut self, number: usize, entry: Entry) -> Vec<usize> {
        let waiting = &mut self.0[entry.disk];
        match entry.what {
            What::Write { .. } => {
                waiting.push(number);
                Vec::new()
            }
            What::Flush => std::mem::take(waiting),
        }
    }

    /// Those of one disk.
    pub(super) fn of(&self, disk: usize) -> &[usize] {
        &self.0[disk]
    }

    /// How many disks there are.
    pub(super) fn disks(&self) -> usize {
        self.0.len()
    }

    /// All of them, disk by disk.
    pub(super) fn all(&self) -> impl Iterator<Item = usize> {
        self.0.iter().flatten().copied()
    }
}

/// All that happened.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) entries: Vec<Entry>,
    /// What was written, one after the other.
    data: File,
    end: u64,
}

impl Log {
    /// An empty one, whose data go to a file that is made anew.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let data = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
        Ok(Self { entries: Vec::new(), data, end: 0 })
    }

    /// Adds a write; no bytes are `len` zeros.
    pub(super) fn write(
        &mut self,
        disk: usize,
        offset: u64,
        len: u64,
        bytes: Option<&[u8]>,
    ) -> io::Result<()> {
        let at = bytes.map(|_| self.end);
        if let Some(bytes) = bytes {
            self.data.write_all_at(bytes, self.end)?;
            self.end += len;
        }
        self.entries.push(Entry { disk, what: What::Write { offset, len, at } });
        Ok(())
    }

    pub(super) fn flush(&mut self, disk: usize) {
        self.entries.push(Entry { disk, what: What::Flush });
    }

    /// The bytes of a write, from its byte `skip` on.
    pub(super) fn read(&self, at: Option<u64>, skip: u64, bytes: &mut [u8]) -> io::Result<()> {
        match at {
            Some(at) => self.data.read_exact_at(bytes, at + skip),
            None => {
                bytes.fill(0);
                Ok(())
            }
        }
    }
}

/// Serves the machine's disks and keeps the log, as long as it lives.
#[derive(Debug)]
pub(in crate::vm) struct Recorder {
    log: Arc<Mutex<Log>>,
    stop: Arc<AtomicBool>,
    sockets: Vec<PathBuf>,
    servers: Vec<JoinHandle<()>>,
}

impl Recorder {
    /// Serves `disks`, raw files that are written to, at `sockets`, and notes all that is done to them in `log`.
    pub(super) fn start(disks: &[PathBuf], sockets: &[PathBuf], log: &Path) -> io::Result<Self> {
        let log = Arc::new(Mutex::new(Log::create(log)?));
        let stop = Arc::new(AtomicBool::new(false));
        let mut servers = Vec::new();
        for (disk, (file, socket)) in disks.iter().zip(sockets).enumerate() {
            let file = File::options().read(true).write(true).open(file)?;
            let size = file.metadata()?.len();
            let mut export = Recorded { disk, file, size, log: Arc::clone(&log) };
            match fs::remove_file(socket) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => (),
            }
            let listener = at_any_length(socket, |path| UnixListener::bind(path))?;
            let stop = Arc::clone(&stop);
            servers.push(std::thread::spawn(move || {
                for connection in listener.incoming() {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    // A connection that breaks off is a machine that was switched off.
                    _ = connection.and_then(|stream| nbd::serve(stream, &mut export));
                }
            }));
        }
        Ok(Self { log, stop, sockets: sockets.to_vec(), servers })
    }

    /// How many writes and flushes there were.
    pub(in crate::vm) fn count(&self) -> usize {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).entries.len()
    }

    /// Ends the recording; the machine must be off.
    pub(super) fn end(self) -> Log {
        let log = Arc::clone(&self.log);
        drop(self);
        let log = Arc::into_inner(log).expect("the servers have ended");
        log.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for (socket, server) in self.sockets.drain(..).zip(self.servers.drain(..)) {
            // A server that cannot be woken is left behind; it does nothing.
            if at_any_length(&socket, |path| UnixStream::connect(path)).is_ok() {
                _ = server.join();
            }
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.close();
    }
}

/// A socket's address has 108 bytes at most; its folder's name may be longer.
fn at_any_length<T>(path: &Path, act: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let dir = File::open(path.parent().unwrap_or(Path::new(".")))?;
    let name = path.file_name().unwrap_or_default();
    act(&Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string()).join(name))
}

struct Recorded {
    disk: usize,
    file: File,
    size: u64,
    log: Arc<Mutex<Log>>,
}

impl Recorded {
    fn log(&self) -> std::sync::MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Export for Recorded {
    fn size(&self) -> u64 {
        self.size
    }

    fn read(&mut self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(bytes, offset)
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.log().write(self.disk, offset, bytes.len() as u64, Some(bytes))?;
        self.file.write_all_at(bytes, offset)
    }

    fn zero(&mut self, offset: u64, len: u64) -> io::Result<()> {
        self.log().write(self.disk, offset, len, None)?;
        punch_hole(&self.file, offset, len)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.log().flush(self.disk);
        Ok(())
    }
}
