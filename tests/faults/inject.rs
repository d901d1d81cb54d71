//! Lets a program's N-th system call that writes go wrong: all its threads are followed with ptrace(2).

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: the calls are counted.
    None,
    /// The disk is full from this call on.
    Full,
    /// This call fails with EIO.
    Broken,
    /// This call fails with EINTR, as if a signal had come.
    Interrupted,
    /// Half of this call's bytes are written, if it writes bytes.
    Short,
    /// The process is killed just before this call.
    Killed,
}

/// How the program ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status; none: it was killed.
    pub code: Option<i32>,
    /// Its calls that write.
    pub calls: Vec<Call>,
    /// Whether the fault happened.
    pub happened: bool,
}

/// A call that changes what is on the disk.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// What it does, as the system call is called.
    pub name: &'static str,
    /// It writes bytes to the file descriptor in its first argument, as many as its third one says.
    bytes: bool,
    /// A full disk refuses it.
    grows: bool,
}

impl Fault {
    /// Whether it can happen to such a call.
    pub fn befalls(self, call: &Call) -> bool {
        match self {
            Self::None => false,
            Self::Full => call.grows,
            Self::Broken | Self::Killed => true,
            // Of these alone does the kernel say so.
            Self::Interrupted => call.bytes || matches!(call.name, "open" | "fsync"),
            Self::Short => call.bytes,
        }
    }
}

/// The n-th call of a name, from 0. Counted by name, since threads take turns as they like.
pub type Point = (&'static str, usize);

/// What a call is, by its number on x86-64; `None`: it does not write.
fn call(number: i64, flags: [u64; 2]) -> Option<Call> {
    let named = |name, bytes, grows| Some(Call { name, bytes, grows });
    let creates =
        |flags: u64| flags & (libc::O_CREAT | libc::O_TRUNC | libc::O_TMPFILE) as u64 != 0;
    match number {
        libc::SYS_write => named("write", true, true),
        libc::SYS_pwrite64 => named("pwrite", true, true),
        libc::SYS_writev | libc::SYS_pwritev | libc::SYS_pwritev2 => named("writev", false, true),
        libc::SYS_sendfile => named("sendfile", false, true),
        libc::SYS_copy_file_range | libc::SYS_splice => named("copy_file_range", false, true),
        libc::SYS_open if creates(flags[0]) => named("open", false, true),
        libc::SYS_openat if creates(flags[1]) => named("open", false, true),
        libc::SYS_creat => named("open", false, true),
        libc::SYS_mkdir | libc::SYS_mkdirat => named("mkdir", false, true),
        libc::SYS_rename | libc::SYS_renameat | libc::SYS_renameat2 => named("rename", false, true),
        libc::SYS_link | libc::SYS_linkat => named("link", false, true),
        libc::SYS_symlink | libc::SYS_symlinkat => named("symlink", false, true),
        libc::SYS_unlink | libc::SYS_unlinkat | libc::SYS_rmdir => named("unlink", false, false),
        libc::SYS_ftruncate | libc::SYS_truncate => named("truncate", false, false),
        libc::SYS_fallocate => named("fallocate", false, true),
        libc::SYS_fsync | libc::SYS_fdatasync | libc::SYS_syncfs => named("fsync", false, false),
        libc::SYS_chmod | libc::SYS_fchmod | libc::SYS_fchmodat => named("chmod", false, false),
        libc::SYS_utimensat => named("utimens", false, false),
        _ => None,
    }
}

/// A program under way.
struct Traced<'a> {
    root: Pid,
    dir: &'a Path,
    fault: Fault,
    at: Point,
    calls: Vec<Call>,
    happened: bool,
    /// Threads inside a call, and those of them whose call is to fail, with what.
    inside: BTreeSet<Pid>,
    failing: Vec<(Pid, i32)>,
}

/// Runs a program whose call `at` goes wrong, below `dir` as far as it writes bytes. What it says goes to the file
/// `words` there.
#[expect(clippy::zombie_processes, reason = "it is waited for with all its threads")]
pub fn run(command: &Command, dir: &Path, fault: Fault, at: Point) -> Ended {
    // It waits until it is followed.
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "read go; exec \"$@\"", "sh"])
        .arg(command.get_program())
        .args(command.get_args());
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let words = File::create(dir.join("words")).expect("a file");
    shell.stdout(words.try_clone().expect("a file")).stderr(words);
    let mut child = shell.stdin(Stdio::piped()).spawn().expect("sh");
    let root = Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
    let options = Options::PTRACE_O_TRACESYSGOOD
        | Options::PTRACE_O_EXITKILL
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEFORK
        | Options::PTRACE_O_TRACEVFORK
        | Options::PTRACE_O_TRACEEXEC;
    ptrace::seize(root, options).expect("ptrace, which this test needs");
    ptrace::interrupt(root).expect("stops");
    let mut traced = Traced {
        root,
        dir,
        fault,
        at,
        calls: Vec::new(),
        happened: false,
        inside: BTreeSet::new(),
        failing: Vec::new(),
    };
    child.stdin.take().expect("piped").write_all(b"go\n").expect("it waits");
    let code = traced.follow();
    Ended { code, calls: traced.calls, happened: traced.happened }
}

impl Traced<'_> {
    /// Until the program ends.
    fn follow(&mut self) -> Option<i32> {
        // Only of this thread's children: other tests have their own.
        let mine = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
        loop {
            match waitpid(Pid::from_raw(-1), Some(mine)).expect("there is a child") {
                WaitStatus::Exited(pid, code) if pid == self.root => return Some(code),
                WaitStatus::Signaled(pid, ..) if pid == self.root => return None,
                WaitStatus::PtraceSyscall(pid) => {
                    self.syscall(pid);
                    go_on(pid, None);
                }
                WaitStatus::PtraceEvent(pid, ..) => go_on(pid, None),
                WaitStatus::Stopped(pid, Signal::SIGTRAP | Signal::SIGSTOP) => go_on(pid, None),
                WaitStatus::Stopped(pid, signal) => go_on(pid, Some(signal)),
                _ => {}
            }
        }
    }

    fn syscall(&mut self, pid: Pid) {
        if self.inside.remove(&pid) {
            if let Some(index) = self.failing.iter().position(|(thread, _)| *thread == pid) {
                let (_, errno) = self.failing.swap_remove(index);
                if let Ok(mut registers) = ptrace::getregs(pid) {
                    registers.rax = i64::from(-errno).cast_unsigned();
                    _ = ptrace::setregs(pid, registers);
                }
            }
            return;
        }
        self.inside.insert(pid);
        let Ok(mut registers) = ptrace::getregs(pid) else { return };
        let flags = [registers.rsi, registers.rdx];
        let Some(call) = call(registers.orig_rax.cast_signed(), flags) else { return };
        if call.name.contains("write") && !self.is_below(pid, registers.rdi) {
            return;
        }
        let earlier = self.calls.iter().filter(|earlier| earlier.name == call.name).count();
        self.calls.push(call);
        let here = (call.name, earlier) == self.at && self.fault.befalls(&call);
        let fails = match self.fault {
            Fault::Full if here || (self.happened && call.grows) => Some(libc::ENOSPC),
            Fault::Broken if here => Some(libc::EIO),
            Fault::Interrupted if here => Some(libc::EINTR),
            _ => None,
        };
        if let Some(errno) = fails {
            registers.orig_rax = u64::MAX;
            self.failing.push((pid, errno));
        } else if here && self.fault == Fault::Short && registers.rdx > 1 {
            registers.rdx /= 2;
        } else if here && self.fault == Fault::Killed {
            _ = kill(self.root, Signal::SIGKILL);
            self.happened = true;
            return;
        } else {
            return;
        }
        self.happened = true;
        _ = ptrace::setregs(pid, registers);
    }

    fn is_below(&self, pid: Pid, descriptor: u64) -> bool {
        descriptor > 2
            && fs::read_link(format!("/proc/{pid}/fd/{descriptor}"))
                .is_ok_and(|path| path.starts_with(self.dir))
    }
}

fn go_on(pid: Pid, signal: Option<Signal>) {
    // It may have been killed just now.
    _ = ptrace::syscall(pid, signal);
}
