//! chatimg as part of a cell: `chatimg __cell enter [ID]` and `chatimg __cell inside [ID]`. With an id it is root that is to
//! become that user.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitCode};

use nix::sched::{CloneFlags, unshare};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions};

use super::cell::CELL;
use super::order::{Broken, Doing, Order, Outcome};
use super::{calls, mounts, rights};

/// All that a cell has of its own, but for users.
const SPACES: CloneFlags = CloneFlags::CLONE_NEWNS
    .union(CloneFlags::CLONE_NEWPID)
    .union(CloneFlags::CLONE_NEWNET)
    .union(CloneFlags::CLONE_NEWIPC)
    .union(CloneFlags::CLONE_NEWUTS)
    .union(CloneFlags::CLONE_NEWCGROUP);
/// How often process 1 looks for processes that it inherited.
const REAPING: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// If this process was started as part of a cell, it is one, to its end. For the first line of `main`: there must be no
/// thread yet.
pub fn become_cell() -> Option<ExitCode> {
    let mut words = std::env::args_os().skip(1);
    if words.next()? != CELL {
        return None;
    }
    let part = words.next()?;
    let stranger = match words.next() {
        Some(id) => Some(id.to_str()?.parse().ok()?),
        None => None,
    };
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned().ok()?);
    let outcome =
        if part == "enter" { enter(&socket, stranger) } else { inside(&socket, stranger) };
    if let Some(outcome) = outcome.unwrap_or_else(|broken| Some(broken.into())) {
        let mut line = serde_json::to_vec(&outcome).expect("an outcome is JSON");
        line.push(b'\n');
        let _ = (&socket).write_all(&line);
    }
    Some(ExitCode::SUCCESS)
}

/// Outside: makes the namespaces, and process 1 in them, and waits for that.
fn enter(socket: &UnixStream, stranger: Option<u32>) -> Result<Option<Outcome>, Broken> {
    close_others(socket.as_fd())?;
    // No terminal, and no Ctrl-C: whoever started this hears it, and says so.
    rustix::process::setsid().doing("leaving the terminal")?;
    // If memory runs out, what runs here is to go first.
    let _ = fs::write("/proc/self/oom_score_adj", "1000");
    match stranger {
        Some(_) => unshare(SPACES).doing("making namespaces as root")?,
        None => {
            let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
            let doing = "making a user namespace and others in it";
            unshare(SPACES | CloneFlags::CLONE_NEWUSER).doing(doing)?;
            rights::map(uid.as_raw(), gid.as_raw(), |name, text| {
                fs::write(format!("/proc/self/{name}"), text)
            })?;
        }
    }
    let mut command = Command::new("/proc/self/exe");
    command.args([CELL, "inside"]).args(stranger.map(|id| id.to_string()));
    let child = command.spawn().doing("starting process 1 of the sandbox")?;
    wait(child, socket)?;
    Ok(None)
}

/// Until process 1 has ended and with it all others, or the other side lets go of the socket: then all are ended.
fn wait(mut child: Child, socket: &UnixStream) -> Result<(), Broken> {
    let process = pidfd(&child).doing("watching process 1")?;
    while poll(&mut [over(socket), PollFd::new(&process, PollFlags::IN)], None).doing("waiting")?
        == 0
    {}
    // It may have ended by itself.
    let _ = child.kill();
    child.wait().doing("waiting")?;
    Ok(())
}

/// Ready when the other side let go.
fn over(socket: &UnixStream) -> PollFd<'_> {
    PollFd::new(socket, PollFlags::RDHUP)
}

fn pidfd(child: &Child) -> io::Result<OwnedFd> {
    let pid = Pid::from_child(child);
    Ok(rustix::process::pidfd_open(pid, PidfdFlags::empty())?)
}

/// Whatever else this process inherited.
fn close_others(socket: BorrowedFd<'_>) -> Result<(), Broken> {
    use std::os::fd::AsRawFd;
    let doing = "closing inherited files (is /proc mounted?)";
    let names = fs::read_dir("/proc/self/fd").doing(doing)?;
    let numbers =
        names.map(|name| Ok(name?.file_name().to_str().and_then(|name| name.parse().ok())));
    let numbers: Vec<Option<i32>> = numbers.collect::<io::Result<_>>().doing(doing)?;
    for number in numbers.into_iter().flatten() {
        if number > 2 && number != socket.as_raw_fd() {
            // One of them was the folder's own, and is closed.
            let _ = nix::unistd::close(number);
        }
    }
    Ok(())
}

/// Inside, as process 1: makes the rest, starts the program, and waits for it.
fn inside(socket: &UnixStream, stranger: Option<u32>) -> Result<Option<Outcome>, Broken> {
    rights::die_with_parent()?;
    let mut line = String::new();
    BufReader::new(socket.take(1 << 24)).read_line(&mut line).doing("reading the order")?;
    let order: Order =
        serde_json::from_str(&line).map_err(io::Error::from).doing("reading the order")?;
    let proc = rights::Proc::open()?;
    mounts::make(&order)?;
    for set in [rustix::system::sethostname, rustix::system::setdomainname] {
        set(b"localhost").doing("naming the machine")?;
    }
    rights::share_little(&proc);
    rights::limit(&order.limits)?;
    if let Some(id) = stranger {
        rights::become_stranger(id, &proc)?;
    }
    rights::nest_no_further(&proc);
    drop(proc);
    rights::drop_all()?;
    calls::refuse()?;
    Ok(Some(supervise(&order, socket)?))
}

fn supervise(order: &Order, socket: &UnixStream) -> Result<Outcome, Broken> {
    let Some((program, args)) = order.argv.split_first() else {
        return Ok(Outcome::NotStarted(nix::libc::ENOENT));
    };
    let mut command = Command::new(program);
    command.args(args).env_clear().envs(order.env.iter().map(|(name, value)| (name, value)));
    command.current_dir("/").stdin(std::process::Stdio::null());
    let child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return Ok(Outcome::NotStarted(error.raw_os_error().unwrap_or(0))),
    };
    let (pid, process) = (Pid::from_child(&child), pidfd(&child).doing("watching the program")?);
    loop {
        let mut ready = [over(socket), PollFd::new(&process, PollFlags::IN)];
        poll(&mut ready, Some(&REAPING)).doing("waiting")?;
        if !ready[0].revents().is_empty() {
            return Ok(Outcome::Ended(Signal::KILL.as_raw()));
        }
        // Orphans are this process's children, too.
        while let Ok(Some((ended, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            if ended == pid {
                return Ok(Outcome::Ended(status.as_raw()));
            }
        }
    }
}
