//! An archive of the user's own: every input of some locks, and what else it takes to build from them years later, as
//! plain files that any web server can serve and a stick can carry.
//!
//! ```text
//! README.txt                     what all of this is
//! SHA256SUMS                     of every other file, for `sha256sum -c`; written last
//! index.tsv                      a line an input: digest, size, kind, name, version, file, the locks that need it
//! locks/NAME-DIGEST.lock         the locks that it serves, each named by the appliance and its own digest
//! projects/NAME-DIGEST.tar       what such a lock is of: appliance.toml, the lock, overlays/, qemu-tests/
//! projects/NAME-DIGEST.txt       which image that makes, with which chatimg, and how
//! programs/chatimg-VERSION-DIGEST.gz
//! sha256/ab/abcd...              the inputs, each named by its SHA-256
//! .new-XXXXXX                    what is being written; a later run removes what a dead one left
//! ```
//!
//! A file is written under another name, synced and renamed, so a name that exists is whole; only what is new or changed is
//! written. Nothing here is trusted: who fetches from an archive checks each byte against the lock.

mod check;
mod index;
mod project;

pub use check::{Checked, Trouble, check};
pub use index::{Input, inputs};
pub use project::Project;

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::digest::{Digest, Hasher};
use crate::failure::IoFailure;
use crate::image::sums::{self, SUMS, Sums};
use crate::lock::Lock;
use crate::parallel::try_map;
use crate::store::{Amount, Store, StoreError};
use crate::whole::{Access, Whole};
use index::{INDEX, Index};

const README: &str = "README.txt";
const NEW: &str = ".new-";
const PIECE: usize = 1 << 18;

/// An archive cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The operating system refused.
    #[error("{}{}", .0, hint(&.0.source))]
    Io(#[from] IoFailure),
    /// A folder with something else in it.
    #[error(
        "{} is not an archive of chatimg, and not empty: it has {found}; name an empty or new folder",
        path.display()
    )]
    Foreign {
        /// The folder.
        path: PathBuf,
        /// What is in it.
        found: String,
    },
    /// There is no archive.
    #[error("{}: there is no {SUMS}, so it is no archive, or not a whole one; `chatimg archive` makes it", .0.display())]
    None(PathBuf),
    /// Somebody else writes to it.
    #[error("another `chatimg archive` writes to {}; wait until it is done", .0.display())]
    Busy(PathBuf),
    /// A file of its own is not as it was written.
    #[error(
        "reading {}: {why}; delete it, and run `chatimg archive` in each project of this archive: what is there is not written again",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// An input went away between fetching and copying.
    #[error("archiving {0}: the store lacks it; run the command again")]
    Gone(String),
    /// The store's failure.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The user stopped it.
    #[error(transparent)]
    Interrupted(#[from] crate::interrupt::Interrupted),
}

fn hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            " (free some space; what is archived already stays)"
        }
        _ => "",
    }
}

impl ArchiveError {
    fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        IoFailure::when(doing, path)
    }
}

/// An input that is to be written, and whether a damaged one is in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lacking {
    /// Which.
    pub input: Input,
    /// There is something of that name, but it is not that.
    pub damaged: bool,
}

/// An archive that is being written.
#[derive(Debug)]
pub struct Archive {
    dir: PathBuf,
    index: Index,
    sums: Sums,
    _lock: File,
}

impl Archive {
    /// Opens or makes one, for this process alone.
    ///
    /// # Errors
    /// The folder cannot be written, holds something else, or another process writes to it.
    pub fn open(dir: &Path) -> Result<Self, ArchiveError> {
        fs::create_dir_all(dir).map_err(ArchiveError::io("creating", dir))?;
        let lock = File::open(dir).map_err(ArchiveError::io("opening", dir))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(ArchiveError::Busy(dir.to_owned())),
            Err(TryLockError::Error(error)) => return Err(ArchiveError::io("locking", dir)(error)),
        }
        let names = fs::read_dir(dir).map_err(ArchiveError::io("listing", dir))?;
        let names: Vec<_> = names.flatten().map(|entry| entry.file_name()).collect();
        let ours =
            names.iter().any(|name| [INDEX, SUMS, README, "sha256"].iter().any(|our| name == our));
        let other = |name: &&std::ffi::OsString| {
            *name != "lost+found" && !name.to_string_lossy().starts_with(NEW)
        };
        if let Some(found) = names.iter().find(other).filter(|_| !ours) {
            let found = found.to_string_lossy().into_owned();
            return Err(ArchiveError::Foreign { path: dir.to_owned(), found });
        }
        for name in names.iter().filter(|name| name.to_string_lossy().starts_with(NEW)) {
            let path = dir.join(name);
            fs::remove_file(&path).map_err(ArchiveError::io("removing", &path))?;
        }
        let index = Index::read(&dir.join(INDEX))?;
        let sums = read_sums(dir)?.unwrap_or_default();
        Ok(Self { dir: dir.to_owned(), index, sums, _lock: lock })
    }

    /// Which of these inputs it does not have; those that it has are read and compared with their digests. `progress`: bytes
    /// read, of all.
    ///
    /// # Errors
    /// Something cannot be read.
    pub fn lacking(
        &self,
        inputs: &[Input],
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<Vec<Lacking>, ArchiveError> {
        let meter = Meter::new(inputs.iter().map(|input| input.size).sum(), progress);
        let found = try_map(inputs, |input| {
            let path = self.dir.join(place(&input.digest));
            let lacking = |damaged| Some(Lacking { input: input.clone(), damaged });
            Ok::<_, ArchiveError>(match digest_of(&path, Some(input.size), &meter)? {
                Found::Nothing => lacking(false),
                Found::Bytes(digest) if digest == input.digest => None,
                Found::Bytes(_) | Found::Other => lacking(true),
            })
        })?;
        Ok(found.into_iter().flatten().collect())
    }

    /// Copies inputs out of the store.
    ///
    /// # Errors
    /// The store lacks one, or the disk is full; what was copied stays.
    pub fn copy(
        &self,
        store: &Store,
        lacking: &[Lacking],
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<Amount, ArchiveError> {
        let meter = Meter::new(lacking.iter().map(|it| it.input.size).sum(), progress);
        try_map(lacking, |it| self.copy_one(store, &it.input, &meter))?;
        let mut amount = Amount::default();
        lacking.iter().for_each(|it| amount.add(it.input.size));
        Ok(amount)
    }

    fn copy_one(
        &self,
        store: &Store,
        input: &Input,
        meter: &Meter<'_>,
    ) -> Result<(), ArchiveError> {
        let gone = || ArchiveError::Gone(input.label());
        let mut blob = store.open_blob(&input.digest)?.ok_or_else(gone)?;
        self.put(&place(&input.digest), |file, path| {
            let mut piece = vec![0; PIECE];
            loop {
                // The last read compares the digest.
                let read = blob.read(&mut piece);
                let count = read.map_err(|error| StoreError::io("reading", blob.path())(error))?;
                if count == 0 {
                    return Ok(());
                }
                file.write_all(&piece[..count]).map_err(ArchiveError::io("writing", path))?;
                meter.advance(count as u64);
            }
        })
    }

    /// Puts a file in place, whole or not at all.
    fn put(
        &self,
        name: &str,
        write: impl FnOnce(&mut File, &Path) -> Result<(), ArchiveError>,
    ) -> Result<(), ArchiveError> {
        let path = self.dir.join(name);
        let parent = path.parent().unwrap_or(&self.dir);
        fs::create_dir_all(parent).map_err(ArchiveError::io("creating", parent))?;
        let whole = Whole { path: &path, work: &self.dir, prefix: NEW, access: Access::Umask };
        whole.write_with(
            |error| ArchiveError::io("writing", &path)(error),
            |file| write(file, &path),
        )
    }

    /// Writes a file unless it is there; says how much.
    fn keep(&mut self, name: &str, bytes: &[u8]) -> Result<u64, ArchiveError> {
        let digest = Digest::of(bytes);
        self.sums.insert(name.to_owned(), digest);
        let meter = Meter::new(0, &|_, _| ());
        let there = digest_of(&self.dir.join(name), Some(bytes.len() as u64), &meter)?;
        if matches!(there, Found::Bytes(there) if there == digest) {
            return Ok(0);
        }
        self.put(name, |file, path| {
            file.write_all(bytes).map_err(ArchiveError::io("writing", path))
        })?;
        Ok(bytes.len() as u64)
    }

    /// Whether a file is there, and what the sums say.
    fn is_whole(&self, name: &str) -> bool {
        let there = digest_of(&self.dir.join(name), None, &Meter::new(0, &|_, _| ()));
        matches!((there, self.sums.get(name)), (Ok(Found::Bytes(there)), Some(sum)) if there == *sum)
    }

    /// Enters a lock whose inputs are all there, with what it is of, and writes the index and the sums: from now on it is
    /// served. Says what was written besides inputs.
    ///
    /// # Errors
    /// Something cannot be written; inputs stay, and the index is the one from before.
    pub fn enter(
        &mut self,
        name: &str,
        lock: &Lock,
        inputs: &[Input],
        project: Option<&Project<'_>>,
    ) -> Result<Amount, ArchiveError> {
        let text = lock.to_toml();
        let stem = format!("{}-{}", plain(name), Digest::of(text.as_bytes()).short());
        let mut files = vec![
            (README.to_owned(), project::ABOUT.as_bytes().to_vec()),
            (format!("locks/{stem}.lock"), text.into_bytes()),
        ];
        if let Some(project) = project {
            let known = |name: &str| self.is_whole(name);
            files.extend(project.files(&plain(name), &stem, lock, &known)?);
        }
        self.index.add(&stem, inputs);
        for input in inputs {
            self.sums.insert(place(&input.digest), input.digest);
        }
        files.push((INDEX.to_owned(), self.index.to_string().into_bytes()));
        let mut written = Amount::default();
        for (name, bytes) in &files {
            match self.keep(name, bytes)? {
                0 => {}
                bytes => written.add(bytes),
            }
        }
        let text = sums::text(&self.sums);
        let path = self.dir.join(SUMS);
        if fs::read_to_string(&path).ok().as_ref() != Some(&text) {
            self.put(SUMS, |file, path| {
                file.write_all(text.as_bytes()).map_err(ArchiveError::io("writing", path))
            })?;
            written.add(text.len() as u64);
        }
        Ok(written)
    }

    /// How many locks it serves, and their inputs.
    pub fn totals(&self) -> (usize, Amount) {
        self.index.totals()
    }
}

/// Where an input lies.
fn place(digest: &Digest) -> String {
    let hex = digest.to_string();
    format!("sha256/{}/{hex}", &hex[..2])
}

/// A name that is one on any file system.
fn plain(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '.' { c } else { '_' };
    let name: String = name.chars().take(100).map(plain).collect();
    name.trim_start_matches('.').to_owned()
}

/// The sums of an archive; `None`: there are none.
fn read_sums(dir: &Path) -> Result<Option<Sums>, ArchiveError> {
    let path = dir.join(SUMS);
    let text = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text.map_err(ArchiveError::io("reading", &path))?,
    };
    let sums = std::str::from_utf8(&text).ok().and_then(sums::parse);
    let inside = |name: &String| {
        name.split('/').all(|part| !matches!(part, "" | "." | "..")) && !name.contains('\\')
    };
    match sums.filter(|sums| sums.keys().all(inside)) {
        Some(sums) => Ok(Some(sums)),
        None => Err(ArchiveError::Damaged {
            path,
            why: "it is not what `chatimg archive` writes".to_owned(),
        }),
    }
}

/// What is at a path.
enum Found {
    Nothing,
    /// A file of another size, or no file.
    Other,
    Bytes(Digest),
}

/// The digest of a file of this size.
fn digest_of(path: &Path, size: Option<u64>, meter: &Meter<'_>) -> Result<Found, ArchiveError> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        found => found.map_err(ArchiveError::io("reading", path))?,
    };
    if !found.is_file() || size.is_some_and(|size| size != found.len()) {
        return Ok(Found::Other);
    }
    let mut file = File::open(path).map_err(ArchiveError::io("opening", path))?;
    let (mut hasher, mut piece) = (Hasher::new(), vec![0; PIECE]);
    loop {
        crate::interrupt::check()?;
        match file.read(&mut piece) {
            Ok(0) => return Ok(Found::Bytes(hasher.finish())),
            Ok(count) => {
                hasher.update(&piece[..count]);
                meter.advance(count as u64);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // A place of the disk that cannot be read any more is damage, too.
            Err(error) if error.raw_os_error() == Some(nix::errno::Errno::EIO as i32) => {
                return Ok(Found::Other);
            }
            Err(error) => return Err(ArchiveError::io("reading", path)(error)),
        }
    }
}

/// Counts bytes of several threads.
struct Meter<'a> {
    done: std::sync::atomic::AtomicU64,
    total: u64,
    progress: &'a (dyn Fn(u64, u64) + Sync),
}

impl<'a> Meter<'a> {
    fn new(total: u64, progress: &'a (dyn Fn(u64, u64) + Sync)) -> Self {
        Self { done: 0.into(), total, progress }
    }

    fn advance(&self, bytes: u64) {
        let done = self.done.fetch_add(bytes, std::sync::atomic::Ordering::Relaxed) + bytes;
        (self.progress)(done, self.total);
    }
}

#[cfg(test)]
mod tests;
