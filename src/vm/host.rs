//! What the host can give the machine: KVM or not, and how much memory.

use std::fs::{File, read_to_string};
use std::path::Path;

use crate::appliance::Target;

const MIB: u64 = 1 << 20;
const LEAST_MEMORY: u64 = 1024 * MIB;

/// What the target's CPU (Celeron G3900T: no AVX) has beyond QEMU's Westmere, and TCG can do.
const CPU: &str = "Westmere,+movbe,+rdrand,+rdseed,+smep,+smap,+fsgsbase,+erms,+xsave,+xsaveopt,\
    +pdpe1gb,+rdtscp,+clflushopt,+arat,+abm,+3dnowprefetch";

/// Makes of it an old Atom, which does not speculate: for all other CPUs of Intel's the kernel changes page tables at each
/// system call, and goes about its indirect branches (arch/x86/kernel/cpu/common.c, `cpu_vuln_whitelist`). Emulated, that is
/// a fifth of the time, and guards against nothing.
const SPECULATES_NOT: &str = ",model=28,stepping=10";

/// How QEMU runs the guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accel {
    /// By the host's CPU.
    Kvm,
    /// By translating them: slow, works everywhere.
    Tcg,
}

impl Accel {
    /// QEMU's argument.
    pub(super) fn argument(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg,thread=multi",
        }
    }
}

impl std::fmt::Display for Accel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Kvm => "KVM",
            Self::Tcg => "TCG",
        })
    }
}

/// The virtual twin of the target, as far as the host allows.
#[derive(Clone, Debug)]
pub(super) struct Hardware {
    pub(super) accel: Accel,
    /// QEMU's `-cpu`.
    pub(super) cpu: String,
    pub(super) cores: u32,
    /// Bytes.
    pub(super) memory: u64,
    /// Where it differs from the target.
    pub(super) notes: Vec<String>,
}

impl Hardware {
    /// Looks at the host, which so many machines share.
    pub(super) fn new(target: &Target, guests: u64) -> Self {
        let read = |path| read_to_string(path).unwrap_or_default();
        let accel = accel(&read("/proc/cpuinfo"), Path::new("/dev/kvm"));
        let (memory, note) = memory(target.memory, available(&read("/proc/meminfo")), guests);
        let emulated = (accel == Accel::Tcg).then(|| EMULATED.to_owned());
        let mut cpu = CPU.to_owned();
        if accel == Accel::Tcg {
            cpu.push_str(SPECULATES_NOT);
        }
        for feature in &target.cpu_features {
            cpu.push_str(&format!(",+{}", feature.replace('_', "-")));
        }
        Self {
            accel,
            cpu,
            cores: target.cores,
            memory,
            notes: emulated.into_iter().chain(note).collect(),
        }
    }
}

const EMULATED: &str = "this CPU offers no hardware virtualisation (vmx or svm), or /dev/kvm cannot be opened: the \
                        machine is emulated (TCG), several times slower than the target";

/// KVM needs a CPU that says so too: a software-only /dev/kvm may open and still hang most guests.
fn accel(cpuinfo: &str, device: &Path) -> Accel {
    let flags = cpuinfo.lines().find_map(|line| line.strip_prefix("flags"));
    let able = flags
        .is_some_and(|flags| flags.split_whitespace().any(|flag| flag == "vmx" || flag == "svm"));
    let opens = || File::options().read(true).write(true).open(device).is_ok();
    if able && opens() { Accel::Kvm } else { Accel::Tcg }
}

/// Bytes that can be had without swapping, from /proc/meminfo.
fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

fn memory(wanted: u64, available: Option<u64>, guests: u64) -> (u64, Option<String>) {
    let share = available.map_or(wanted, |bytes| bytes / 2 / guests);
    let given = wanted.min(share.max(LEAST_MEMORY)) / MIB * MIB;
    let part = if guests == 1 { "half" } else { "its part of half" };
    let note = (given < wanted).then(|| {
        format!(
            "the machine gets {} MiB of memory, {part} of what is free here; the target has {}",
            given / MIB,
            wanted / MIB
        )
    });
    (given, note)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kvm_needs_the_cpu_and_the_device() {
        let dir = tempfile::tempdir().expect("dir");
        let device = dir.path().join("kvm");
        assert_eq!(accel("flags\t: fpu vmx\n", &device), Accel::Tcg);
        std::fs::write(&device, "").expect("device");
        assert_eq!(accel("flags\t: fpu vmx\n", &device), Accel::Kvm);
        assert_eq!(accel("flags\t: svm\n", &device), Accel::Kvm);
        assert_eq!(accel("flags\t: fpu vmxnot hypervisor\n", &device), Accel::Tcg);
        assert_eq!(accel("", &device), Accel::Tcg);
    }

    #[test]
    fn memory_is_scaled_to_the_host() {
        let free = available("MemTotal:  24683520 kB\nMemAvailable:    4194304 kB\n");
        assert_eq!(free, Some(4 << 30));
        let (bytes, note) = memory(16 << 30, free, 1);
        assert_eq!(bytes, 2 << 30);
        assert!(
            note.expect("said")
                .contains("2048 MiB of memory, half of what is free here; the target has 16384")
        );
        assert_eq!(memory(16 << 30, free, 2).0, 1 << 30);
        assert_eq!(memory(16 << 30, Some(1 << 30), 1).0, 1 << 30);
        assert_eq!(memory(512 << 20, Some(1 << 30), 1), (512 << 20, None));
        assert_eq!(memory(1 << 30, None, 2), (1 << 30, None));
    }
}
