//! What a cell sees: its folder, a few devices, its own processes, and what of the machine programs cannot do without, the same
//! on every machine.
//!
//! The folder's contents are not to be trusted either: a link in it may point anywhere. So the root is changed first, and all
//! that comes from the host is at hand by then as a mount without a place (open_tree(2)); no path of the host is looked up
//! after that, and none inside before.

use std::ffi::CStr;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use rustix::fs::{CWD, StatVfsMountFlags};
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount,
    mount_bind, mount_change, mount_remount, move_mount, open_tree, unmount,
};

use super::order::{Broken, Doing, Order};

const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];
const LINKS: [(&str, &str); 4] =
    [("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")];
/// What `/proc` shows besides processes: their own. All else is empty, or one of [`TEXTS`].
const PROC: [&str; 4] = ["self", "thread-self", "mounts", "net"];
/// A machine like any other.
const TEXTS: [(&str, &str); 9] = [
    ("cmdline", "\n"),
    (
        "cpuinfo",
        "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: x86-64\ncpu MHz\t\t: 1000.000\nphysical id\t: 0\n\
         siblings\t: 1\ncore id\t\t: 0\ncpu cores\t: 1\nflags\t\t: fpu tsc cx8 cmov mmx fxsr sse sse2 syscall nx lm\n\n",
    ),
    ("filesystems", "nodev\tproc\nnodev\ttmpfs\n\text4\n"),
    ("loadavg", "0.00 0.00 0.00 1/1 1\n"),
    (
        "meminfo",
        "MemTotal:        2097152 kB\nMemFree:         1048576 kB\nMemAvailable:    1572864 kB\nBuffers:               0 kB\n\
         Cached:           524288 kB\nSwapTotal:             0 kB\nSwapFree:              0 kB\n",
    ),
    ("stat", "cpu  0 0 0 0 0 0 0 0 0 0\ncpu0 0 0 0 0 0 0 0 0 0 0\nctxt 0\nbtime 0\nprocesses 1\n"),
    ("swaps", "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"),
    ("uptime", "1.00 1.00\n"),
    ("version", "Linux version 6.0.0\n"),
];
/// The same of `/proc/sys`.
const SETTINGS: [(&str, &str); 10] = [
    ("fs/file-max", "1048576\n"),
    ("fs/nr_open", "1048576\n"),
    ("kernel/hostname", "localhost\n"),
    ("kernel/ngroups_max", "65536\n"),
    ("kernel/ostype", "Linux\n"),
    ("kernel/pid_max", "32768\n"),
    ("kernel/threads-max", "32768\n"),
    ("net/ipv4/ip_forward", "0\n"),
    ("net/ipv6/conf/all/disable_ipv6", "0\n"),
    ("vm/overcommit_memory", "0\n"),
];
/// Where they are written, to be mounted from there; gone afterwards.
const STAGE: &str = "/dev/.stage";

const QUIET: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV);

/// Makes an order's folder the root of this process, which is alone in its mount namespace.
pub(super) fn make(order: &Order) -> Result<(), Broken> {
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).doing("letting go of the host's mounts")?;
    let devices: Vec<_> = DEVICES.iter().map(|name| taken(format!("/dev/{name}"))).collect();
    let binds: Vec<_> = order.binds.iter().map(|(from, _)| taken(from)).collect();
    enter(&order.root)?;
    // The host's /proc is still mounted over the root: only who sees one may have one.
    folder("/proc")?;
    mount("proc", "/proc", "proc", QUIET | MountFlags::NOEXEC, None)
        .doing("mounting /proc (is the host's hidden in part?)")?;
    unmount(".", UnmountFlags::DETACH).doing("leaving the host's files")?;
    std::env::set_current_dir("/").doing("entering the folder")?;
    devices_in_place(devices)?;
    hide()?;
    again("/proc", MountFlags::RDONLY)?;
    for (bind, (_, to)) in binds.into_iter().zip(&order.binds) {
        bound(&bind?, to)?;
    }
    again("/dev", MountFlags::RDONLY)
}

/// A file or folder of the host, without the mounts below it.
fn taken(path: impl AsRef<Path>) -> Result<(OwnedFd, bool), Broken> {
    let path = path.as_ref();
    let doing = || format!("taking {} of the host", path.display());
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(CWD, path, flags).doing(doing())?;
    Ok((tree, path.is_dir()))
}

fn put(tree: &OwnedFd, to: &str) -> Result<(), Broken> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(tree, "", CWD, to, flags).doing(format!("mounting {to}"))
}

/// From here on the folder is `/`, and the host's root, mounted over it, is the working directory.
fn enter(root: impl AsRef<Path>) -> Result<(), Broken> {
    let root = root.as_ref();
    let doing = "making the folder the root";
    mount_bind(root, root).doing(doing)?;
    std::env::set_current_dir(root).doing(doing)?;
    let flags = rustix::fs::statvfs(".").doing(doing)?.f_flag;
    if flags.contains(StatVfsMountFlags::NOEXEC) {
        let why = "its file system is mounted noexec; keep the store (CHATIMG_STORE) elsewhere";
        return Err(io::Error::other(why)).doing(doing);
    }
    rustix::process::pivot_root(".", ".").doing(doing)?;
    again("/", MountFlags::empty())
}

/// Mounts what is mounted there with these flags, too. Flags that the host has set cannot be taken away.
fn again(path: &str, more: MountFlags) -> Result<(), Broken> {
    use StatVfsMountFlags as Has;
    let doing = || format!("mounting {path} anew");
    let has = rustix::fs::statvfs(path).doing(doing())?.f_flag;
    let mut flags = QUIET | more | MountFlags::BIND;
    for (had, flag) in [
        (Has::RDONLY, MountFlags::RDONLY),
        (Has::NOEXEC, MountFlags::NOEXEC),
        (Has::NOATIME, MountFlags::NOATIME),
        (Has::NODIRATIME, MountFlags::NODIRATIME),
        (Has::RELATIME, MountFlags::RELATIME),
    ] {
        flags.set(flag, flags.contains(flag) || has.contains(had));
    }
    mount_remount(path, flags, "").doing(doing())
}

/// A folder that is there, or is made.
fn folder(path: &str) -> Result<(), Broken> {
    let doing = || format!("mounting {path}");
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => Ok(()),
        Ok(_) => Err(io::Error::from_raw_os_error(nix::libc::ENOTDIR)).doing(doing()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(path).doing(doing())
        }
        Err(error) => Err(error).doing(doing()),
    }
}

fn tmpfs(path: &str, options: &CStr) -> Result<(), Broken> {
    let flags = QUIET | MountFlags::NOEXEC;
    mount("tmpfs", path, "tmpfs", flags, options).doing(format!("mounting {path}"))
}

fn devices_in_place(devices: Vec<Result<(OwnedFd, bool), Broken>>) -> Result<(), Broken> {
    folder("/dev")?;
    tmpfs("/dev", c"mode=755,size=1m,nr_inodes=256")?;
    for (name, device) in DEVICES.iter().zip(devices) {
        let path = format!("/dev/{name}");
        fs::write(&path, "").doing("making /dev")?;
        put(&device?.0, &path)?;
    }
    for (name, to) in LINKS {
        symlink(to, format!("/dev/{name}")).doing("making /dev")?;
    }
    fs::create_dir("/dev/shm").doing("making /dev")?;
    tmpfs("/dev/shm", c"mode=1777,size=64m,nr_inodes=4096")
}

/// Covers all of `/proc` that is the host's.
fn hide() -> Result<(), Broken> {
    let doing = "hiding the host's part of /proc";
    let stage = Path::new(STAGE);
    let (file, dir) = (stage.join("file"), stage.join("dir"));
    fs::create_dir(stage).doing(doing)?;
    tmpfs(STAGE, c"mode=755,size=1m,nr_inodes=256")?;
    fs::create_dir(&dir).doing(doing)?;
    fs::write(&file, "").doing(doing)?;
    for (name, text) in TEXTS {
        fs::write(stage.join(name), text).doing(doing)?;
    }
    let sys = stage.join("sys");
    for (name, text) in SETTINGS {
        let path = sys.join(name);
        fs::create_dir_all(path.parent().expect("it is in a folder")).doing(doing)?;
        fs::write(path, text).doing(doing)?;
    }
    for entry in fs::read_dir("/proc").doing(doing)? {
        let entry = entry.doing(doing)?;
        let (name, kind) = (entry.file_name(), entry.file_type().doing(doing)?);
        let name = name.to_str().unwrap_or_default();
        if PROC.contains(&name) || name.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let text = stage.join(name);
        let cover = if text.exists() {
            &text
        } else if kind.is_dir() {
            &dir
        } else {
            &file
        };
        mount_bind(cover, entry.path()).doing(format!("hiding /proc/{name}"))?;
        again(&format!("/proc/{name}"), MountFlags::RDONLY)?;
    }
    unmount(stage, UnmountFlags::DETACH).doing(doing)?;
    fs::remove_dir(stage).doing(doing)
}

/// Puts something of the host in its place, made if it is not there, and nobody can write to it.
fn bound((tree, is_dir): &(OwnedFd, bool), to: &str) -> Result<(), Broken> {
    if *is_dir {
        folder(to)?;
    } else if !fs::symlink_metadata(to).is_ok_and(|meta| meta.is_file()) {
        let doing = || format!("mounting {to}");
        if let Some(parent) = Path::new(to).parent() {
            fs::create_dir_all(parent).doing(doing())?;
        }
        fs::File::create_new(to)
            .and_then(|file| file.set_permissions(fs::Permissions::from_mode(0o644)))
            .doing(doing())?;
    }
    put(tree, to)?;
    again(to, MountFlags::RDONLY)
}
