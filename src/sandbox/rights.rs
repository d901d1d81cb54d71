//! What a process in a cell may not: rights, identity, limits.

use std::fs;
use std::io::{self, Write};
use std::os::fd::OwnedFd;

use nix::sched::{CloneFlags, unshare};
use rustix::fs::{Mode, OFlags};
use rustix::process::{DumpableBehavior, Gid, Resource, Rlimit, Signal, Uid};
use rustix::thread::{CapabilitiesSecureBits, CapabilitySet, CapabilitySets};

use super::Limits;
use super::order::{Broken, Doing};

/// Users that are nobody: the first number above what systemd gives to containers, and, where this machine is itself a container of
/// 65536 users, the one that owns what nobody owns.
const STRANGERS: [u32; 2] = [0x7000_0000, 65534];
/// What it takes to become one of them.
const ROOT: CapabilitySet = CapabilitySet::SYS_ADMIN
    .union(CapabilitySet::CHOWN)
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETPCAP);

/// Whom what is started here has to become, as this process is root. Another user gets all that a cell needs by a user
/// namespace, and in there is nobody else than itself.
pub(super) fn stranger() -> Option<u32> {
    let able = rustix::thread::capabilities(None).is_ok_and(|sets| sets.effective.contains(ROOT));
    if !rustix::process::geteuid().is_root() || !able {
        return None;
    }
    let maps = ["uid_map", "gid_map"].map(|map| fs::read_to_string(format!("/proc/self/{map}")));
    let [Ok(uids), Ok(gids)] = maps else { return None };
    STRANGERS.into_iter().find(|id| has(&uids, *id) && has(&gids, *id))
}

/// Whether a map of user_namespaces(7) has an id: lines of the first one, the first one outside, how many.
fn has(map: &str, id: u32) -> bool {
    map.lines().any(|line| {
        let mut numbers = line.split_whitespace().map(|number| number.parse::<u64>().ok());
        let (first, count) = (numbers.next().flatten(), numbers.nth(1).flatten());
        let range = first.zip(count).map(|(first, count)| first..first + count);
        range.is_some_and(|range| range.contains(&u64::from(id)))
    })
}

/// Has this process, just put into a user namespace of its own, be root there, and nobody else.
pub(super) fn map(
    uid: u32,
    gid: u32,
    write: impl Fn(&str, &str) -> io::Result<()>,
) -> Result<(), Broken> {
    let doing = "naming the user of the sandbox";
    write("setgroups", "deny").doing(doing)?;
    write("uid_map", &format!("0 {uid} 1")).doing(doing)?;
    write("gid_map", &format!("0 {gid} 1")).doing(doing)
}

/// The host's `/proc`, where this process can be told what it cannot tell itself otherwise, though the host is out of sight.
pub(super) struct Proc(OwnedFd);

impl Proc {
    pub(super) fn open() -> Result<Self, Broken> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::open("/proc", flags, Mode::empty()).doing("opening /proc")?))
    }

    fn write(&self, name: &str, text: &str) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.0, name, flags, Mode::empty())?;
        fs::File::from(file).write_all(text.as_bytes())
    }
}

/// From now on this process ends when the one that started it does.
pub(super) fn die_with_parent() -> Result<(), Broken> {
    let set = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    set.doing("tying it to its parent")
}

/// From root to a user that is nobody, in a user namespace if there can be one. The namespaces that root made stay root's: no
/// right in that one is a right in them.
pub(super) fn become_stranger(id: u32, proc: &Proc) -> Result<(), Broken> {
    let doing = "becoming a user that is nobody";
    let (uid, gid) = (Uid::from_raw(id), Gid::from_raw(id));
    rustix::thread::set_thread_groups(&[]).doing(doing)?;
    rustix::thread::set_thread_res_gid(gid, gid, gid).doing(doing)?;
    // Where users may not make user namespaces root may.
    rustix::thread::set_keep_capabilities(true).doing(doing)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).doing(doing)?;
    let kept = CapabilitySet::SYS_ADMIN.union(CapabilitySet::SETPCAP);
    let sets =
        CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    rustix::thread::set_capabilities(None, sets).doing(doing)?;
    // Else its files in /proc are root's; and the change of user undid the other.
    rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable).doing(doing)?;
    die_with_parent()?;
    if unshare(CloneFlags::CLONE_NEWUSER).is_ok() {
        map(id, id, |name, text| proc.write(&format!("self/{name}"), text))?;
        die_with_parent()?;
    }
    Ok(())
}

/// No namespaces in namespaces. The calls for that are refused anyway, and where there is no user namespace, or `/proc/sys`
/// cannot be written to, so is this: hence it may fail.
pub(super) fn nest_no_further(proc: &Proc) {
    for kind in ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time"] {
        let _ = proc.write(&format!("sys/user/max_{kind}_namespaces"), "0");
    }
}

/// Little memory for System V's shared memory (pages) and queues, which no limit of a process counts. Kernels before 6.0
/// let only root do so.
pub(super) fn share_little(proc: &Proc) {
    let _ = proc.write("sys/kernel/shmall", "65536");
    let _ = proc.write("sys/kernel/msgmni", "256");
}

/// Gives up every right for ever.
pub(super) fn drop_all() -> Result<(), Broken> {
    let doing = "giving up rights";
    use CapabilitiesSecureBits as Bits;
    let bits = Bits::NO_ROOT
        | Bits::NO_ROOT_LOCKED
        | Bits::NO_SETUID_FIXUP
        | Bits::NO_SETUID_FIXUP_LOCKED
        | Bits::KEEP_CAPS_LOCKED
        | Bits::NO_CAP_AMBIENT_RAISE
        | Bits::NO_CAP_AMBIENT_RAISE_LOCKED;
    rustix::thread::set_capabilities_secure_bits(bits).doing(doing)?;
    rustix::thread::clear_ambient_capability_set().doing(doing)?;
    for bit in 0..64 {
        match rustix::thread::remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(
            1 << bit,
        )) {
            Ok(()) => {}
            // This kernel has no more.
            Err(rustix::io::Errno::INVAL) if bit > 0 => break,
            Err(error) => return Err(error).doing(doing),
        }
    }
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    rustix::thread::set_capabilities(None, sets).doing(doing)?;
    rustix::thread::set_no_new_privs(true).doing(doing)?;
    // The program is the same user: it is not to look into this process.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).doing(doing)?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    Ok(())
}

/// Sets limits for this process and all that come of it.
pub(super) fn limit(limits: &Limits) -> Result<(), Broken> {
    let Limits { cpu, processes, memory, open, file, .. } = limits;
    for (what, most) in [
        // Just one byte has the kernel not even start the host's program for core dumps (core(5)), which would run outside.
        // A file has at least a page.
        (Resource::Core, 1),
        (Resource::Cpu, cpu.as_secs()),
        (Resource::Nproc, *processes),
        (Resource::Data, *memory),
        (Resource::Nofile, *open),
        (Resource::Fsize, *file),
        (Resource::Stack, 8 << 20),
        (Resource::Memlock, 1 << 20),
        (Resource::Nice, 0),
        (Resource::Rtprio, 0),
        (Resource::Msgqueue, 1 << 20),
    ] {
        let most = rustix::process::getrlimit(what).maximum.map_or(most, |had| had.min(most));
        let limit = Rlimit { current: Some(most), maximum: Some(most) };
        rustix::process::setrlimit(what, limit).doing(format!("setting a limit ({what:?})"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_of_user_namespaces_are_understood() {
        let all = "         0          0 4294967295\n";
        let container = "0 100000 65536\n";
        let one = "0 1000 1\n1000 0 1\n";
        assert!(has(all, 0x7000_0000) && !has(container, 0x7000_0000) && has(container, 65534));
        assert!(!has(one, 65534) && has(one, 0) && has(one, 1000));
        assert!(!has("", 0) && !has("0 x 1", 1) && !has("0", 0));
    }
}
