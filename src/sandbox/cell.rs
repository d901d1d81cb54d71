//! A cell as its user sees it: a folder that becomes `/`, and a program in it that is run to its end.
//!
//! ```text
//! chatimg ──spawns──▶ chatimg __cell enter      namespaces; waits; ends all when chatimg lets go of the socket
//!                         └─▶ chatimg __cell inside     process 1: mounts, rights, limits; starts the program, reaps
//!                                 └─▶ the program, and what it starts
//! ```
//!
//! Namespaces can only be made by a process without threads, which chatimg is not, and a process only gets into a new pid
//! namespace by being born there; hence the two. Standard input of both is a socket: the order goes in, the outcome
//! comes out, and its end is the order to stop. When process 1 ends, the kernel ends all others.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};
use std::{fs, str};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use serde::{Deserialize, Serialize};

use super::error::SandboxError;
use super::order::{Order, Outcome};
use super::rights;
use crate::interrupt;

/// How often time, disk and Ctrl-C are looked at.
const TICK: Duration = Duration::from_millis(50);

/// The first argument of a chatimg that becomes part of a cell.
pub(super) const CELL: &str = "__cell";

static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// Which program makes the cells of this process: a chatimg, as that begins with [`super::become_cell`]. Tests, whose own
/// program does not, say so before their first cell.
pub fn made_by(program: &Path) {
    PROGRAM.get_or_init(|| program.to_owned());
}

/// What a program may use. None of it is what a well-behaved one needs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Limits {
    /// Time by the clock.
    pub time: Duration,
    /// Time of one process on processors.
    pub cpu: Duration,
    /// Processes and threads at once, one more for the cell itself.
    pub processes: u64,
    /// Private memory of one process, in bytes.
    pub memory: u64,
    /// Open files of one process.
    pub open: u64,
    /// Bytes of one file.
    pub file: u64,
    /// Bytes that the disk may lose meanwhile, by whomever.
    pub disk: u64,
    /// Files that the disk may gain meanwhile.
    pub files: u64,
    /// Bytes to standard output, and as many to standard error.
    pub words: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            time: Duration::from_secs(600),
            cpu: Duration::from_secs(600),
            processes: 512,
            memory: 4 << 30,
            open: 1024,
            file: 4 << 30,
            disk: 8 << 30,
            files: 1 << 20,
            words: 4 << 20,
        }
    }
}

/// A folder in which a program that nobody vouches for can be run: it sees that as `/`, `/dev` with null, zero, full and random,
/// its own processes in `/proc`, and nothing else. It has no network, no rights and no way to get any.
///
/// The folder is the cell's alone: as root all in it is given to a user that nobody is (with hard links, whoever shares them).
/// In it, `/dev` and `/proc` have to be folders or are made, and so have the places of `binds`.
/// Inside, the program is user 0 (without root's rights), unless root has no user namespaces.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    /// The folder.
    pub root: PathBuf,
    /// The whole environment.
    pub env: Vec<(String, String)>,
    /// What the program sees besides, read-only: a file or folder of the host, and its path inside.
    pub binds: Vec<(PathBuf, String)>,
    /// What it may use.
    pub limits: Limits,
}

/// What happens to a program that runs.
enum Event {
    Said(Option<Outcome>),
    TooManyWords,
}

impl Cell {
    /// A cell in a folder, without environment, with the usual limits.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), ..Self::default() }
    }

    /// Runs a program, given by its path inside, in `/`, to its end. When this returns, nothing that it started is left, and what it
    /// left can be read and removed.
    ///
    /// # Errors
    /// This machine allows no cells, the program cannot be started, uses too much, or the user asked to stop.
    pub fn run<A: AsRef<str>>(&self, argv: &[A]) -> Result<Output, SandboxError> {
        interrupt::check()?;
        let order = self.order(argv)?;
        self.prepare()?;
        let stranger = rights::stranger();
        let (socket, theirs) = UnixStream::pair().map_err(|e| cell("making a socket", e))?;
        let mut child = self.spawn(theirs, stranger)?;
        let (sender, events) = channel();
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (said, stdout, stderr) = thread::scope(|scope| {
            let limit = self.limits.words;
            let out = sender.clone();
            let err = sender.clone();
            let stdout = scope.spawn(move || collect(stdout, limit, &out));
            let stderr = scope.spawn(move || collect(stderr, limit, &err));
            let socket = &socket;
            scope.spawn(move || sender.send(Event::Said(told(socket, &order))));
            let said = self.watch(&events, &order_name(argv));
            // Now or long ago: whoever still runs is ended.
            let _ = socket.shutdown(std::net::Shutdown::Both);
            let waited = child.wait();
            let words = (stdout.join(), stderr.join());
            waited.map_err(|error| cell("waiting for the cell", error))?;
            Ok::<_, SandboxError>((said?, words.0.unwrap_or_default(), words.1.unwrap_or_default()))
        })?;
        let os = io::Error::from_raw_os_error;
        if stranger.is_none() {
            open_up(&self.root)?;
        }
        match said {
            Outcome::Ended(status) => {
                Ok(Output { status: ExitStatus::from_raw(status), stdout, stderr })
            }
            Outcome::NotStarted(error) => {
                Err(SandboxError::Start { program: order_name(argv), source: os(error) })
            }
            Outcome::NoCell(doing, error) => Err(SandboxError::no_cell(doing, os(error))),
        }
    }

    /// Whether this machine allows cells at all.
    pub(super) fn works() -> bool {
        let Ok(dir) = tempfile::tempdir() else { return false };
        // That it is not there is found out in the cell.
        matches!(Self::new(dir.path()).run(&["/nothing"]), Err(SandboxError::Start { .. }))
    }

    /// Gives all in the folder to the user who is to run it. [`Self::run`] does so, too; whoever wants to know later what was changed
    /// does it before looking at what there is, as it changes what was never changed (`st_ctime`).
    ///
    /// # Errors
    /// Something in there cannot be given away.
    pub fn prepare(&self) -> Result<(), SandboxError> {
        rights::stranger().map_or(Ok(()), |id| hand_over(&self.root, id))
    }

    /// The contents of a file in the folder, by its path inside, as a program left it: a link, something that is no file, or more bytes
    /// than these are an error. On its own, such a path may lead to the host.
    ///
    /// # Errors
    /// It is not there, or is not such a file.
    pub fn read(&self, inside: &str, limit: u64) -> io::Result<Vec<u8>> {
        let (flags, resolve) =
            (OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, ResolveFlags::BENEATH);
        let resolve = resolve | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let root = fs::File::open(&self.root)?;
        let path = inside.trim_start_matches('/');
        let file = fs::File::from(openat2(root, path, flags, Mode::empty(), resolve)?);
        let meta = file.metadata()?;
        if !meta.is_file() || meta.len() > limit {
            return Err(io::Error::other("a program left something else there"));
        }
        let mut bytes = Vec::new();
        file.take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn order<A: AsRef<str>>(&self, argv: &[A]) -> Result<Order, SandboxError> {
        // Inside, links would be followed in another root.
        let plain = |path: &Path| {
            let plain = path.canonicalize().map(PathBuf::into_os_string);
            plain.map_err(|source| SandboxError::Folder { path: path.to_owned(), source })
        };
        let bind = |(from, to): &(PathBuf, String)| Ok((plain(from)?, to.clone()));
        Ok(Order {
            root: plain(&self.root)?,
            binds: self.binds.iter().map(bind).collect::<Result<_, SandboxError>>()?,
            argv: argv.iter().map(|word| word.as_ref().to_owned()).collect(),
            env: self.env.clone(),
            limits: self.limits.clone(),
        })
    }

    fn spawn(&self, socket: UnixStream, stranger: Option<u32>) -> Result<Child, SandboxError> {
        let missing = || io::Error::other("no program was named that makes it");
        let program = PROGRAM.get().ok_or_else(|| cell("starting chatimg anew", missing()))?;
        let mut command = Command::new(program);
        command.args([CELL, "enter"]).args(stranger.map(|id| id.to_string()));
        command.env_clear().current_dir("/").stdin(OwnedFd::from(socket));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().map_err(|error| cell("starting chatimg anew", error))?;
        // Else /dev/stdout cannot be opened.
        if let Some(id) = stranger.map(rustix::fs::Uid::from_raw) {
            for pipe in
                [child.stdout.as_ref().map(AsFd::as_fd), child.stderr.as_ref().map(AsFd::as_fd)]
            {
                let pipe = pipe.expect("it is piped");
                rustix::fs::fchown(pipe, Some(id), None)
                    .map_err(|error| cell("handing over its output", error.into()))?;
            }
        }
        Ok(child)
    }

    /// Waits until it ends or has to be ended.
    fn watch(&self, events: &Receiver<Event>, program: &str) -> Result<Outcome, SandboxError> {
        let program = || program.to_owned();
        let (start, limits) = (Instant::now(), &self.limits);
        let disk = Disk::of(&self.root)?;
        loop {
            match events.recv_timeout(TICK) {
                Ok(Event::Said(Some(outcome))) => return Ok(outcome),
                Ok(Event::TooManyWords) => {
                    return Err(SandboxError::Words { program: program(), bytes: limits.words });
                }
                Ok(Event::Said(None)) | Err(RecvTimeoutError::Disconnected) => {
                    let source = io::Error::other("it ended without a word");
                    return Err(cell("running it", source));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            interrupt::check()?;
            if start.elapsed() > limits.time {
                return Err(SandboxError::Time { program: program(), time: limits.time });
            }
            if let Some(limit) = disk.exceeded(&Disk::of(&self.root)?, limits) {
                let folder = self.root.clone();
                return Err(SandboxError::Disk { program: program(), folder, limit });
            }
        }
    }
}

fn cell(doing: &str, source: io::Error) -> SandboxError {
    SandboxError::Cell { doing: doing.to_owned(), source }
}

fn order_name<A: AsRef<str>>(argv: &[A]) -> String {
    argv.first().map(|word| word.as_ref().to_owned()).unwrap_or_default()
}

/// Gives an order, and hears what became of it; `None`: the cell died.
fn told(mut socket: &UnixStream, order: &Order) -> Option<Outcome> {
    let mut line = serde_json::to_vec(order).expect("an order is JSON");
    line.push(b'\n');
    // If nobody listens any more, there may still be an answer.
    let _ = socket.write_all(&line);
    let mut answer = String::new();
    BufReader::new(socket.take(1 << 16)).read_line(&mut answer).ok()?;
    serde_json::from_str(&answer).ok()
}

/// What comes, up to a limit.
fn collect(stream: Option<impl Read>, limit: usize, events: &Sender<Event>) -> Vec<u8> {
    let mut words = Vec::new();
    let mut stream = stream.expect("it is piped").take(limit as u64 + 1);
    // An error is the end, too.
    let _ = stream.read_to_end(&mut words);
    if words.len() > limit {
        let _ = events.send(Event::TooManyWords);
    }
    words
}

/// Gives all in a folder to a user.
fn hand_over(root: &Path, id: u32) -> Result<(), SandboxError> {
    let mut todo = vec![root.to_owned()];
    while let Some(path) = todo.pop() {
        let at = |source| SandboxError::Folder { path: path.clone(), source };
        let meta = fs::symlink_metadata(&path).map_err(at)?;
        if (meta.uid(), meta.gid()) != (id, id) {
            lchown(&path, Some(id), Some(id)).map_err(at)?;
        }
        if meta.is_dir() {
            for entry in fs::read_dir(&path).map_err(at)? {
                todo.push(entry.map_err(at)?.path());
            }
        }
    }
    Ok(())
}

/// Gives back to the owner of all in a folder the right to read, search and remove it.
fn open_up(root: &Path) -> Result<(), SandboxError> {
    let mut todo = vec![root.to_owned()];
    while let Some(path) = todo.pop() {
        let at = |source| SandboxError::Folder { path: path.clone(), source };
        let meta = fs::symlink_metadata(&path).map_err(at)?;
        let needed = if meta.is_dir() { 0o700 } else { 0o400 };
        if !meta.is_symlink() && meta.mode() & needed != needed {
            let mode = meta.mode() & 0o777 | needed;
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).map_err(at)?;
        }
        if meta.is_dir() {
            for entry in fs::read_dir(&path).map_err(at)? {
                todo.push(entry.map_err(at)?.path());
            }
        }
    }
    Ok(())
}

/// What is left on a disk.
struct Disk {
    bytes: u64,
    files: u64,
}

impl Disk {
    fn of(folder: &Path) -> Result<Self, SandboxError> {
        let stat = rustix::fs::statvfs(folder);
        let stat = stat.map_err(|error| cell("looking at the disk", error.into()))?;
        Ok(Self { bytes: stat.f_bfree * stat.f_frsize, files: stat.f_ffree })
    }

    /// The limit that was exceeded between this and then.
    fn exceeded(&self, now: &Self, limits: &Limits) -> Option<String> {
        if self.bytes.saturating_sub(now.bytes) > limits.disk {
            return Some(format!("{} bytes", limits.disk));
        }
        (self.files.saturating_sub(now.files) > limits.files)
            .then(|| format!("{} files", limits.files))
    }
}
