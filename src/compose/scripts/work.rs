//! One run: the tree in a folder of its own, with what dpkg is to do there.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{Left, RunError};
use crate::compose::finish::Finish;
use crate::sandbox::{Cell, Limits};
use crate::store::{Scratch, Store};
use crate::tree::{Entry, Node, Tree};

/// What chatimg puts into the root folder.
pub(super) const OWN: &str = ".chatimg";
const DRIVER: &str = include_str!("driver.sh");
/// Stands before the programs that run others as another user.
const AS: &str = include_str!("as.sh");
const AWK: &str = include_str!("awk.sh");
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";
/// What all scripts may take, on a slow machine, too.
const TIME: Duration = Duration::from_secs(3600);
/// Bytes of lists that are read.
const MAX_TEXT: u64 = 256 << 20;
/// Lines of dpkg's words that an error shows.
const SHOWN: usize = 30;

/// Stands where a program is that must do nothing: nothing is started while an image is made.
struct Stub {
    path: &'static str,
    text: &'static str,
}

const STUBS: [Stub; 2] = [
    // invoke-rc.d(8): 101 forbids.
    Stub { path: "usr/sbin/policy-rc.d", text: "#!/bin/sh\nexit 101\n" },
    Stub { path: "usr/sbin/start-stop-daemon", text: "#!/bin/sh\nexit 0\n" },
];

/// What every machine has when packages are installed, and this one not yet.
const USUAL: [(&str, &str); 2] =
    [("etc/hostname", "localhost\n"), ("etc/resolv.conf", "nameserver 127.0.0.1\n")];

/// Whether chatimg has put something of its own at a path.
fn is_stub(path: &str) -> bool {
    STUBS.iter().any(|stub| stub.path == path)
}

/// What is to be done.
pub(super) struct Work<'a> {
    pub(super) context: Finish<'a>,
    pub(super) tree: &'a Tree,
    pub(super) left: &'a Left<'a>,
    /// What the box will make: empty files until then.
    pub(super) later: &'a [&'a str],
}

/// A file as it was before the scripts ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl Stamp {
    pub(super) fn of(meta: &Metadata) -> Self {
        let changed = (meta.ctime(), meta.ctime_nsec());
        Self { inode: meta.ino(), size: meta.len(), changed }
    }
}

/// A folder in which the scripts have run.
pub(super) struct Run<'a> {
    pub(super) tree: &'a Tree,
    pub(super) store: &'a Store,
    pub(super) epoch: i64,
    scratch: Scratch,
    /// Empty files that are there for the scripts alone.
    pub(super) later: &'a [&'a str],
    /// Of all that was there before.
    pub(super) before: HashMap<PathBuf, Stamp>,
    /// The host's time, in seconds, when the scripts began.
    pub(super) began: i64,
}

pub(super) fn io_at(path: &Path) -> impl FnOnce(io::Error) -> RunError {
    let path = path.to_owned();
    move |source| RunError::Io { path, source }
}

fn now() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(i64::MAX))
}

impl<'a> Work<'a> {
    /// Everything from the empty folder to dpkg's last word.
    pub(super) fn run(&self) -> Result<Run<'a>, RunError> {
        let Finish { store, epoch, .. } = self.context;
        let mut run = Run { later: self.later, ..Run::prepared(store, self.tree, epoch)? };
        let root = run.root();
        self.tree.export(store, &root)?;
        // Everybody's, whatever mask the builder has; who else is on this host cannot get as far.
        let open = fs::Permissions::from_mode(0o755);
        fs::set_permissions(&root, open).map_err(io_at(&root))?;
        for folder in ["dev", "proc", "sys", "run", "tmp", "var/tmp"] {
            self.folder(&root, folder)?;
        }
        let own = root.join(OWN);
        if self.tree.get(OWN).is_some() {
            let why = "a package brings it, but it is chatimg's own".to_owned();
            return Err(RunError::Left { path: OWN.to_owned(), why });
        }
        fs::create_dir(&own).map_err(io_at(&own))?;
        self.stubs(&root)?;
        self.tools(&root)?;
        self.times(&root)?;
        let limits = Limits { time: TIME, cpu: TIME, ..Limits::default() };
        let cell = Cell { env: env(epoch), limits, ..Cell::new(&root) };
        cell.prepare()?;
        run.before = self.owners(&root)?;
        run.began = now();
        let output = cell.run(&["/bin/sh", &format!("/{OWN}/driver.sh")])?;
        if output.status.success() {
            return Ok(run);
        }
        let mut words = String::from_utf8_lossy(&output.stdout).into_owned();
        words.push_str(&String::from_utf8_lossy(&output.stderr));
        let lines: Vec<_> = words.lines().collect();
        let shown = lines[lines.len().saturating_sub(SHOWN)..].join("\n");
        Err(RunError::Failed { words: shown })
    }

    /// Whether a path is a folder of the tree, and no link on the way leads anywhere else: to the host, for instance.
    fn is_folder(&self, path: &str) -> bool {
        matches!(self.tree.get(path), Some(Entry { node: Node::Dir, .. }))
    }

    /// Makes a folder unless there is something else.
    fn folder(&self, root: &Path, path: &str) -> Result<(), RunError> {
        let in_folder = path.rsplit_once('/').is_none_or(|(parent, _)| self.is_folder(parent));
        if self.tree.get(path).is_some() || !in_folder {
            return Ok(());
        }
        let folder = root.join(path);
        fs::create_dir(&folder).map_err(io_at(&folder))
    }

    fn stubs(&self, root: &Path) -> Result<(), RunError> {
        for stub in &STUBS {
            let folder = stub.path.rsplit_once('/').map_or("", |(folder, _)| folder);
            if self.is_folder(folder) {
                write(&root.join(stub.path), stub.text.as_bytes(), 0o755)?;
            }
        }
        for (path, text) in self.later.iter().map(|path| (*path, "")).chain(USUAL) {
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            if self.is_folder(folder) && self.tree.get(path).is_none() {
                write(&root.join(path), text.as_bytes(), 0o644)?;
            }
        }
        Ok(())
    }

    /// What the driver needs.
    fn tools(&self, root: &Path) -> Result<(), RunError> {
        let Finish { store, tools, .. } = self.context;
        let own = root.join(OWN);
        for (from, name) in [
            ("usr/bin/faked-sysv".to_owned(), "faked-sysv"),
            (format!("{LIBRARIES}/libfakeroot/libfakeroot-sysv.so"), "libfakeroot-sysv.so"),
            (format!("{LIBRARIES}/faketime/libfaketime.so.1"), "libfaketime.so.1"),
        ] {
            let from = tools.path(&from);
            let bytes = fs::read(&from).map_err(io_at(&from))?;
            write(&own.join(name), &bytes, 0o755)?;
        }
        write(&own.join("driver.sh"), DRIVER.as_bytes(), 0o755)?;
        let bin = own.join("bin");
        fs::create_dir(&bin).map_err(io_at(&bin))?;
        for (name, text) in [("runuser", AS), ("setpriv", AS), ("su", AS), ("awk", AWK)] {
            write(&bin.join(name), text.as_bytes(), 0o755)?;
        }
        let lines = |names: &mut dyn Iterator<Item = &String>| {
            names.map(|name| format!("{name}\n")).collect::<String>()
        };
        let Left { unpack, configure, triggers, first } = self.left;
        write(&own.join("triggers"), lines(&mut triggers.iter()).as_bytes(), 0o644)?;
        for (stage, is_first) in [("1", true), ("2", false)] {
            let stage = own.join(stage);
            fs::create_dir_all(stage.join("debs")).map_err(io_at(&stage))?;
            let here = |name: &String| first.contains(name) == is_first;
            let configure = lines(&mut configure.iter().filter(|name| here(name)));
            write(&stage.join("configure"), configure.as_bytes(), 0o644)?;
            let unpack: Vec<_> = unpack.iter().filter(|deb| here(&deb.name)).collect();
            let unpacked = lines(&mut unpack.iter().map(|deb| &deb.name));
            write(&stage.join("unpack"), unpacked.as_bytes(), 0o644)?;
            for deb in unpack {
                let absent = || RunError::Absent(deb.name.clone());
                let mut blob = store.open_blob(&deb.digest)?.ok_or_else(absent)?;
                let path = stage.join(format!("debs/{}.deb", deb.name));
                let copied = File::create_new(&path).and_then(|mut file| {
                    io::copy(&mut blob, &mut file)?;
                    file.set_permissions(fs::Permissions::from_mode(0o644))
                });
                copied.map_err(io_at(&path))?;
            }
        }
        Ok(())
    }

    /// Folders' times, which making files in them has changed: indexes keep them (mandb's).
    fn times(&self, root: &Path) -> Result<(), RunError> {
        for (path, entry) in self.tree.iter().filter(|(_, entry)| entry.node == Node::Dir) {
            let real = root.join(path.as_str());
            let time = SystemTime::UNIX_EPOCH
                + Duration::from_secs(u64::try_from(entry.meta.mtime).unwrap_or(0));
            let set = File::open(&real).and_then(|folder| folder.set_modified(time));
            set.map_err(io_at(&real))?;
        }
        Ok(())
    }

    /// Writes down for faked who owns what, and keeps what all files look like.
    fn owners(&self, root: &Path) -> Result<HashMap<PathBuf, Stamp>, RunError> {
        let mut before = HashMap::with_capacity(self.tree.len());
        let mut text = String::new();
        for (path, entry) in self.tree.iter() {
            let real = root.join(path.as_str());
            let entry = match &entry.node {
                Node::HardLink(first) => self.tree.get(first.as_str()).unwrap_or(entry),
                _ => entry,
            };
            let kind: u32 = match &entry.node {
                Node::Dir => 0o040_000,
                Node::Symlink(_) => 0o120_000,
                Node::File(_) | Node::HardLink(_) => 0o100_000,
                // They are not written out.
                Node::CharDevice { .. } | Node::BlockDevice { .. } | Node::Fifo => continue,
            };
            let meta = fs::symlink_metadata(&real).map_err(io_at(&real))?;
            before.insert(PathBuf::from(path.as_str()), Stamp::of(&meta));
            let (device, inode, links) = (meta.dev(), meta.ino(), meta.nlink());
            let mode = kind | u32::from(entry.meta.mode);
            let (uid, gid) = (entry.meta.uid, entry.meta.gid);
            // Writing to a String cannot fail.
            _ = writeln!(
                text,
                "dev={device:x},ino={inode},mode={mode:o},uid={uid},gid={gid},nlink={links},rdev=0"
            );
        }
        write(&root.join(OWN).join("owners"), text.as_bytes(), 0o644)?;
        Ok(before)
    }
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), RunError> {
    // What is there may be a link of the tree's, or to another of its files.
    let gone = match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    };
    gone.and_then(|()| fs::write(path, bytes))
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode)))
        .map_err(io_at(path))
}

/// The environment of dpkg, and so of the scripts. The same everywhere.
fn env(epoch: i64) -> Vec<(String, String)> {
    let date = time::OffsetDateTime::from_unix_timestamp(epoch);
    let date = date.unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
    let (year, month, day) = date.to_calendar_date();
    let (hour, minute, second) = date.to_hms();
    let month = u8::from(month);
    // libfaketime reads it in the zone TZ.
    let clock = format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}");
    let epoch = epoch.to_string();
    [
        ("PATH", "/.chatimg/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        ("HOME", "/root"),
        ("USER", "root"),
        ("LOGNAME", "root"),
        ("SHELL", "/bin/sh"),
        ("TERM", "dumb"),
        ("LC_ALL", "C.UTF-8"),
        ("TZ", "UTC"),
        ("DEBIAN_FRONTEND", "noninteractive"),
        ("DEBCONF_NONINTERACTIVE_SEEN", "true"),
        ("SOURCE_DATE_EPOCH", &epoch),
        ("PERL_HASH_SEED", "0"),
        ("PYTHONHASHSEED", "0"),
        ("PYTHONDONTWRITEBYTECODE", "1"),
        // The user who builds may give nothing to others: faked remembers what was meant.
        ("FAKEROOTDONTTRYCHOWN", "1"),
        ("FAKED_MODE", "unknown-is-root"),
        ("FAKETIME", &clock),
        ("FAKETIME_DONT_RESET", "1"),
        ("FAKETIME_DISABLE_SHM", "1"),
        ("DONT_FAKE_MONOTONIC", "1"),
        ("NO_FAKE_STAT", "1"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}

impl<'a> Run<'a> {
    /// An empty folder for a tree.
    pub(super) fn prepared(store: &'a Store, tree: &'a Tree, epoch: i64) -> Result<Self, RunError> {
        let scratch = store.scratch()?;
        let (before, later) = (HashMap::new(), [].as_slice());
        let run = Self { tree, store, epoch, scratch, later, before, began: now() };
        let root = run.root();
        fs::create_dir(&root).map_err(io_at(&root))?;
        Ok(run)
    }

    /// The root folder.
    pub(super) fn root(&self) -> PathBuf {
        self.scratch.path().join("root")
    }

    /// Whether a path had something for the scripts alone, and still has that.
    pub(super) fn is_stand_in(&self, path: &str, meta: &Metadata) -> Result<bool, RunError> {
        let usual = USUAL.iter().find(|(usual, _)| *usual == path).map(|(_, text)| *text);
        let text = usual.or_else(|| self.later.contains(&path).then_some(""));
        Ok(match text {
            Some(text) if self.tree.get(path).is_none() && meta.is_file() => {
                self.text(path)? == text
            }
            _ => is_stub(path),
        })
    }

    /// The text of a file in it, as the scripts left it; empty if there is none.
    pub(super) fn text(&self, path: &str) -> Result<String, RunError> {
        match Cell::new(self.root()).read(path, MAX_TEXT) {
            Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            Err(error) => Err(RunError::Left { path: path.to_owned(), why: error.to_string() }),
        }
    }
}
