//! Which system calls a cell has: those that programs need for their own files, processes and memory. All others are not there
//! (ENOSYS), so that a program does what it does on an older kernel; that goes for those of the 32-bit and x32 ABIs, and for
//! whatever later kernels have. Where programs tell "not allowed" from "not there", a second filter says that; of two
//! filters that refuse, the kernel takes the newer one's word (seccomp(2)).

use std::collections::BTreeMap;
use std::io;

use nix::libc::*;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Op,
    SeccompCondition, SeccompFilter, SeccompRule, TargetArch, apply_filter,
};

use super::order::{Broken, Doing};

/// Those that are there. `clone3` and `openat2` are not: what they are asked lies in memory, where no filter sees it.
#[rustfmt::skip]
const ALLOWED: &[c_long] = &[
    // Files.
    SYS_access, SYS_chdir, SYS_chmod, SYS_chown, SYS_close, SYS_close_range, SYS_copy_file_range, SYS_creat,
    SYS_dup, SYS_dup2, SYS_dup3, SYS_faccessat, SYS_faccessat2, SYS_fadvise64, SYS_fallocate, SYS_fchdir,
    SYS_fchmod, SYS_fchmodat, SYS_fchmodat2, SYS_fchown, SYS_fchownat, SYS_fcntl, SYS_fdatasync, SYS_fgetxattr,
    SYS_flistxattr, SYS_flock, SYS_fremovexattr, SYS_fsetxattr, SYS_fstat, SYS_fstatfs, SYS_fsync, SYS_ftruncate,
    SYS_futimesat, SYS_getcwd, SYS_getdents, SYS_getdents64, SYS_getxattr, SYS_inotify_add_watch, SYS_inotify_init,
    SYS_inotify_init1, SYS_inotify_rm_watch, SYS_ioctl, SYS_lchown, SYS_lgetxattr, SYS_link, SYS_linkat,
    SYS_listxattr, SYS_llistxattr, SYS_lremovexattr, SYS_lseek, SYS_lsetxattr, SYS_lstat, SYS_mkdir, SYS_mkdirat,
    SYS_mknod, SYS_mknodat, SYS_newfstatat, SYS_open, SYS_openat, SYS_pread64, SYS_preadv, SYS_preadv2,
    SYS_pwrite64, SYS_pwritev, SYS_pwritev2, SYS_read, SYS_readahead, SYS_readlink, SYS_readlinkat, SYS_readv,
    SYS_removexattr, SYS_rename, SYS_renameat, SYS_renameat2, SYS_rmdir, SYS_sendfile, SYS_setxattr, SYS_splice,
    SYS_stat, SYS_statfs, SYS_statx, SYS_symlink, SYS_symlinkat, SYS_sync, SYS_sync_file_range, SYS_syncfs, SYS_tee,
    SYS_truncate, SYS_umask, SYS_unlink, SYS_unlinkat, SYS_utime, SYS_utimensat, SYS_utimes, SYS_vmsplice,
    SYS_write, SYS_writev,
    // Waiting.
    SYS_alarm, SYS_clock_getres, SYS_clock_gettime, SYS_clock_nanosleep, SYS_epoll_create, SYS_epoll_create1,
    SYS_epoll_ctl, SYS_epoll_pwait, SYS_epoll_pwait2, SYS_epoll_wait, SYS_eventfd, SYS_eventfd2, SYS_futex,
    SYS_futex_waitv, SYS_getitimer, SYS_gettimeofday, SYS_nanosleep, SYS_pause, SYS_pipe, SYS_pipe2, SYS_poll,
    SYS_ppoll, SYS_pselect6, SYS_restart_syscall, SYS_select, SYS_setitimer, SYS_signalfd, SYS_signalfd4, SYS_time,
    SYS_timer_create, SYS_timer_delete, SYS_timer_getoverrun, SYS_timer_gettime, SYS_timer_settime,
    SYS_timerfd_create, SYS_timerfd_gettime, SYS_timerfd_settime,
    // Processes.
    SYS_arch_prctl, SYS_capget, SYS_capset, SYS_clone, SYS_execve, SYS_execveat, SYS_exit, SYS_exit_group, SYS_fork,
    SYS_get_robust_list, SYS_getcpu, SYS_getegid, SYS_geteuid, SYS_getgid, SYS_getgroups, SYS_getpgid, SYS_getpgrp,
    SYS_getpid, SYS_getppid, SYS_getpriority, SYS_getresgid, SYS_getresuid, SYS_getrlimit, SYS_getrusage,
    SYS_getsid, SYS_gettid, SYS_getuid, SYS_ioprio_get, SYS_ioprio_set, SYS_kill, SYS_pidfd_open,
    SYS_pidfd_send_signal, SYS_prctl, SYS_prlimit64, SYS_rseq, SYS_rt_sigaction, SYS_rt_sigpending,
    SYS_rt_sigprocmask, SYS_rt_sigqueueinfo, SYS_rt_sigreturn, SYS_rt_sigsuspend, SYS_rt_sigtimedwait,
    SYS_rt_tgsigqueueinfo, SYS_sched_get_priority_max, SYS_sched_get_priority_min, SYS_sched_getaffinity,
    SYS_sched_getattr, SYS_sched_getparam, SYS_sched_getscheduler, SYS_sched_rr_get_interval, SYS_sched_setaffinity,
    SYS_sched_setattr, SYS_sched_setparam, SYS_sched_setscheduler, SYS_sched_yield, SYS_set_robust_list,
    SYS_set_tid_address, SYS_setfsgid, SYS_setfsuid, SYS_setgid, SYS_setgroups, SYS_setpgid, SYS_setpriority,
    SYS_setregid, SYS_setresgid, SYS_setresuid, SYS_setreuid, SYS_setrlimit, SYS_setsid, SYS_setuid,
    SYS_sigaltstack, SYS_sysinfo, SYS_tgkill, SYS_times, SYS_tkill, SYS_uname, SYS_unshare, SYS_vfork, SYS_wait4,
    SYS_waitid,
    // Further restrictions of their own.
    SYS_landlock_add_rule, SYS_landlock_create_ruleset, SYS_landlock_restrict_self, SYS_seccomp,
    // Memory.
    SYS_brk, SYS_get_mempolicy, SYS_getrandom, SYS_madvise, SYS_membarrier, SYS_memfd_create, SYS_mincore,
    SYS_mlock, SYS_mlock2, SYS_mlockall, SYS_mmap, SYS_mprotect, SYS_mremap, SYS_msync, SYS_munlock, SYS_munlockall,
    SYS_munmap, SYS_pkey_alloc, SYS_pkey_free, SYS_pkey_mprotect,
    // Between processes.
    SYS_accept, SYS_accept4, SYS_bind, SYS_connect, SYS_getpeername, SYS_getsockname, SYS_getsockopt, SYS_listen,
    SYS_mq_getsetattr, SYS_mq_notify, SYS_mq_open, SYS_mq_timedreceive, SYS_mq_timedsend, SYS_mq_unlink, SYS_msgctl,
    SYS_msgget, SYS_msgrcv, SYS_msgsnd, SYS_recvfrom, SYS_recvmmsg, SYS_recvmsg, SYS_semctl, SYS_semget, SYS_semop,
    SYS_semtimedop, SYS_sendmmsg, SYS_sendmsg, SYS_sendto, SYS_setsockopt, SYS_shmat, SYS_shmctl, SYS_shmdt,
    SYS_shmget, SYS_shutdown, SYS_socket, SYS_socketpair,
];

/// Those that programs try and expect to be denied (EPERM).
#[rustfmt::skip]
const DENIED: &[c_long] = &[
    SYS_acct, SYS_add_key, SYS_adjtimex, SYS_bpf, SYS_chroot, SYS_clock_adjtime, SYS_clock_settime,
    SYS_delete_module, SYS_finit_module, SYS_fsconfig, SYS_fsmount, SYS_fsopen, SYS_fspick, SYS_init_module,
    SYS_ioperm, SYS_iopl, SYS_kcmp, SYS_kexec_file_load, SYS_kexec_load, SYS_keyctl, SYS_mount, SYS_mount_setattr,
    SYS_move_mount, SYS_name_to_handle_at, SYS_open_by_handle_at, SYS_open_tree, SYS_perf_event_open,
    SYS_personality, SYS_pidfd_getfd, SYS_pivot_root, SYS_process_vm_readv, SYS_process_vm_writev, SYS_ptrace,
    SYS_quotactl, SYS_reboot, SYS_request_key, SYS_setdomainname, SYS_sethostname, SYS_setns, SYS_settimeofday,
    SYS_swapoff, SYS_swapon, SYS_syslog, SYS_umount2, SYS_vhangup,
];

const NEW_SPACES: c_int = CLONE_NEWNS
    | CLONE_NEWCGROUP
    | CLONE_NEWUTS
    | CLONE_NEWIPC
    | CLONE_NEWUSER
    | CLONE_NEWPID
    | CLONE_NEWNET;
/// For unshare(2) alone: in clone(2) the same bit is a part of a signal's number.
const NEW_TIME: c_int = 0x80;
const SETID: u32 = S_ISUID | S_ISGID;

/// A condition on an argument of a call, as the kernel sees it: the lower half.
fn arg(index: u8, op: Op, value: u32) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(vec![SeccompCondition::new(index, Len::Dword, op, u64::from(value))?])
}

/// Where any of these bits is in an argument.
fn any_of(index: u8, bits: u32) -> Result<Vec<SeccompRule>, BackendError> {
    let each = (0..32).map(|bit| 1 << bit).filter(|bit| bits & bit != 0);
    each.map(|bit| arg(index, Op::MaskedEq(u64::from(bit)), bit)).collect()
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

fn all_of(calls: &[c_long]) -> Rules {
    calls.iter().map(|call| (*call, Vec::new())).collect()
}

/// What is denied, with the error that says so.
fn denied() -> Result<Vec<(c_int, Rules)>, BackendError> {
    let mut denied = all_of(DENIED);
    denied.insert(SYS_clone, any_of(0, NEW_SPACES.cast_unsigned())?);
    denied.insert(SYS_unshare, any_of(0, (NEW_SPACES | NEW_TIME).cast_unsigned())?);
    // Words put into a terminal's input.
    let terminal = [TIOCSTI, TIOCLINUX].map(|request| arg(1, Op::Eq, request as u32));
    denied.insert(SYS_ioctl, terminal.into_iter().collect::<Result<_, _>>()?);
    // A setuid file in the folder would be one for whoever on the host can reach it.
    for (call, mode) in [
        (SYS_chmod, 1),
        (SYS_fchmod, 1),
        (SYS_fchmodat, 2),
        (SYS_fchmodat2, 2),
        (SYS_mkdir, 1),
        (SYS_mkdirat, 2),
        (SYS_mknod, 1),
        (SYS_mknodat, 2),
        (SYS_creat, 1),
        (SYS_open, 2),
        (SYS_openat, 3),
    ] {
        denied.insert(call, any_of(mode, SETID)?);
    }
    // As on a kernel without: libaudit, for one, gives up on anything else.
    let mut socket = Rules::new();
    for call in [SYS_socket, SYS_socketpair] {
        socket.insert(call, vec![arg(0, Op::Ne, AF_UNIX.cast_unsigned())?]);
    }
    // As on a file system without: nobody would see them outside.
    let attributes = all_of(&[SYS_setxattr, SYS_lsetxattr, SYS_fsetxattr]);
    // Done without being done. What is in the folder need not outlive a power cut, and would keep the disk busy. The limit of core dumps
    // stays as it is.
    let of_cores = SeccompCondition::new(0, Len::Dword, Op::Eq, u64::from(RLIMIT_CORE))?;
    let these = SeccompCondition::new(1, Len::Dword, Op::Eq, u64::from(RLIMIT_CORE))?;
    let set = SeccompCondition::new(2, Len::Qword, Op::Ne, 0)?;
    let mut idle = all_of(&[SYS_sync, SYS_syncfs, SYS_fsync, SYS_fdatasync, SYS_sync_file_range]);
    idle.insert(SYS_setrlimit, vec![SeccompRule::new(vec![of_cores])?]);
    idle.insert(SYS_prlimit64, vec![SeccompRule::new(vec![these, set])?]);
    Ok(vec![(EPERM, denied), (EAFNOSUPPORT, socket), (EOPNOTSUPP, attributes), (0, idle)])
}

fn programs() -> Result<Vec<BpfProgram>, BackendError> {
    let refuse = |error: c_int| SeccompAction::Errno(error.cast_unsigned());
    let program = |rules, others, these| {
        SeccompFilter::new(rules, others, these, TargetArch::x86_64)?.try_into()
    };
    let mut programs = vec![program(all_of(ALLOWED), refuse(ENOSYS), SeccompAction::Allow)?];
    for (error, rules) in denied()? {
        programs.push(program(rules, SeccompAction::Allow, refuse(error))?);
    }
    Ok(programs)
}

/// From now on this process, and all that come of it, have no others.
pub(super) fn refuse() -> Result<(), Broken> {
    let doing = "refusing system calls";
    for program in programs().map_err(io::Error::other).doing(doing)? {
        apply_filter(&program)
            .map_err(|error| match error {
                seccompiler::Error::Seccomp(error) | seccompiler::Error::Prctl(error) => error,
                error => io::Error::other(error),
            })
            .doing(doing)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_call_is_both_there_and_denied() {
        for call in DENIED {
            assert!(!ALLOWED.contains(call), "{call}");
        }
        for (_, rules) in denied().expect("rules") {
            for (call, conditions) in rules {
                assert!(
                    conditions.is_empty() == DENIED.contains(&call) || ALLOWED.contains(&call),
                    "{call}"
                );
            }
        }
        for call in [SYS_clone3, SYS_openat2, SYS_io_uring_setup, SYS_userfaultfd] {
            assert!(!ALLOWED.contains(&call) && !DENIED.contains(&call), "{call}");
        }
        assert!(programs().expect("filters").len() == 5);
    }
}
