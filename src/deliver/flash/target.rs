//! Opening what an image is put on. Nothing is written here.

use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat;
use tempfile::NamedTempFile;

use super::FlashError;
use super::medium::Raw;
use crate::deliver::device::{Disk, Machine, Need};
use crate::deliver::sys;
use crate::whole::parent;

/// How often, and how long apart, something is tried that another program may stand against for a moment.
const TRIES: u32 = 30;
const PAUSE: Duration = Duration::from_millis(100);

/// What an image is put on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A whole disk, as it was when the user agreed to erase it.
    Disk(Disk),
    /// A file, which is not there yet.
    File(PathBuf),
}

/// A target, open.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) label: String,
    /// Bytes.
    pub(super) size: u64,
    pub(super) medium: Raw,
    /// The file under its passing name, and the name it gets.
    pub(super) file: Option<(NamedTempFile, PathBuf)>,
}

impl Target {
    /// Opens it for an image of `size` bytes.
    pub(super) fn open(&self, machine: &Machine, size: u64) -> Result<Opened, FlashError> {
        match self {
            Self::Disk(disk) => open_disk(machine, disk, size),
            Self::File(path) => create(path, size),
        }
    }

    /// The disk, if it is one.
    pub fn as_disk(&self) -> Option<&Disk> {
        match self {
            Self::Disk(disk) => Some(disk),
            Self::File(_) => None,
        }
    }

    /// The disk's node, or the file.
    pub fn path(&self) -> &Path {
        match self {
            Self::Disk(disk) => &disk.path,
            Self::File(path) => path,
        }
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Disk(one), Self::Disk(two)) => one.number == two.number,
            (Self::File(one), Self::File(two)) => {
                let place = |path: &Path| {
                    Some((parent(path).canonicalize().ok()?, path.file_name()?.to_owned()))
                };
                one == two || place(one).is_some_and(|one| place(two) == Some(one))
            }
            _ => false,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk(disk) => disk.fmt(f),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

fn open_disk(machine: &Machine, chosen: &Disk, size: u64) -> Result<Opened, FlashError> {
    let name = || chosen.to_string();
    let now = machine.disk(&chosen.path)?;
    if !now.is(chosen) {
        return Err(FlashError::Exchanged { disk: name() });
    }
    let why = now.objections(Need { size });
    if !why.is_empty() {
        return Err(FlashError::Refused { disk: name(), why });
    }
    let (file, direct) = exclusive(chosen)?;
    let number = |node: stat::FileStat| (stat::major(node.st_rdev), stat::minor(node.st_rdev));
    if !stat::fstat(file.as_fd()).is_ok_and(|node| number(node) == chosen.number) {
        return Err(FlashError::Exchanged { disk: name() });
    }
    if !patiently(|| !matches!(file.try_lock(), Err(TryLockError::WouldBlock))) {
        return Err(FlashError::Locked { disk: name() });
    }
    // The kernel does this only if nobody has a partition open. That it knows none (EINVAL) is well.
    if !patiently(|| sys::reread_partitions(&file) != Err(Errno::EBUSY)) {
        return Err(FlashError::Open { disk: name() });
    }
    let (major, minor) = chosen.number;
    let medium = Raw::disk(file, direct, format!("/sys/dev/block/{major}:{minor}/size").into());
    Ok(Opened { label: name(), size: chosen.size, medium, file: None })
}

/// Opens a disk that nobody else has: the kernel refuses if it, or a partition of it, is mounted or built upon.
fn exclusive(disk: &Disk) -> Result<(File, bool), FlashError> {
    let open = |flags: OFlag| {
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags((flags | OFlag::O_EXCL).bits()).open(&disk.path)
    };
    let opened = match open(OFlag::O_DIRECT) {
        Err(error) if error.raw_os_error() == Some(Errno::EINVAL as i32) => {
            open(OFlag::empty()).map(|file| (file, false))
        }
        result => result.map(|file| (file, true)),
    };
    opened.map_err(|error| match error.kind() {
        io::ErrorKind::ResourceBusy => FlashError::Held { disk: disk.to_string() },
        io::ErrorKind::PermissionDenied => FlashError::Permission { disk: disk.to_string() },
        _ => FlashError::io("opening", &disk.path)(error),
    })
}

/// Whether something comes true, if not at once. `udev` and its like look at new disks for a moment; when the lock is
/// held, they keep their hands off, and so does another flash.
fn patiently(mut done: impl FnMut() -> bool) -> bool {
    for _ in 0..TRIES {
        if done() {
            return true;
        }
        thread::sleep(PAUSE);
    }
    done()
}

/// Makes a file that only its owner may read, for it may come to hold secrets. It gets its name when it is whole.
fn create(path: &Path, size: u64) -> Result<Opened, FlashError> {
    if path.symlink_metadata().is_ok() {
        return Err(FlashError::Exists { path: path.to_owned() });
    }
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let made = tempfile::Builder::new().prefix(&format!(".{name}.")).tempfile_in(parent(path));
    let made = made.map_err(FlashError::io("creating", path))?;
    let file = made.reopen().map_err(FlashError::io("opening", path))?;
    file.set_len(size).map_err(FlashError::io("setting the length of", path))?;
    let label = path.display().to_string();
    Ok(Opened { label, size, medium: Raw::file(file), file: Some((made, path.to_owned())) })
}

/// Gives a whole file its name.
pub(super) fn name(file: NamedTempFile, path: &Path) -> Result<(), FlashError> {
    file.persist_noclobber(path).map_err(|error| match error.error.kind() {
        io::ErrorKind::AlreadyExists => FlashError::Exists { path: path.to_owned() },
        _ => FlashError::io("naming", path)(error.error),
    })?;
    let synced = File::open(parent(path)).and_then(|dir| dir.sync_all());
    synced.map_err(FlashError::io("syncing the folder of", path))
}
