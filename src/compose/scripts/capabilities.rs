//! File capabilities: what getcap(8) prints, as the kernel keeps it in `security.capability`.
//!
//! ```text
//! /usr/bin/ping cap_net_raw=ep
//! 4 bytes   0x02000000, and 1 if the effective set is raised
//! 4 × 4     permitted and inheritable bits 0–31, then those of bits 32–63
//! ```
//!
//! Source: capabilities(7), linux/capability.h (`vfs_cap_data`, revision 2, little-endian).

use std::collections::BTreeMap;

use super::RunError;

/// In the order of their numbers.
const NAMES: [&str; 41] = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

/// The attribute's value by path, without leading slash.
pub(super) fn parse(text: &str) -> Result<BTreeMap<String, Vec<u8>>, RunError> {
    let line = |line: &str| {
        let (path, clauses) = line.rsplit_once(' ')?;
        Some((path.trim_start_matches('/').to_owned(), value(clauses)?))
    };
    let one = |text: &str| {
        let why = || format!("getcap says of it {text:?}, which chatimg does not understand");
        let path = text.split(' ').next().unwrap_or_default().trim_start_matches('/').to_owned();
        line(text).ok_or_else(|| RunError::Left { path, why: why() })
    };
    text.lines().filter(|line| !line.is_empty()).map(one).collect()
}

/// `cap_net_admin,cap_net_raw=ep`: one clause, as all of a file's capabilities share their flags in practice.
fn value(clause: &str) -> Option<Vec<u8>> {
    let (names, flags) = clause.split_once('=')?;
    let mut bits = 0_u64;
    for name in names.split(',') {
        let name = name.strip_prefix("cap_")?;
        bits |= 1 << NAMES.iter().position(|known| *known == name)?;
    }
    if !flags.chars().all(|flag| matches!(flag, 'e' | 'i' | 'p')) {
        return None;
    }
    let set = |flag| if flags.contains(flag) { bits } else { 0 };
    let (permitted, inheritable) = (set('p'), set('i'));
    let magic = 0x0200_0000 | u32::from(flags.contains('e'));
    let low = |set: u64| (set & 0xffff_ffff) as u32;
    let high = |set: u64| (set >> 32) as u32;
    let words = [magic, low(permitted), low(inheritable), high(permitted), high(inheritable)];
    Some(words.iter().flat_map(|word| word.to_le_bytes()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_getcap_prints_is_what_the_kernel_keeps() {
        let found = parse("/usr/bin/ping cap_net_raw=ep\n/usr/bin/a b cap_bpf,cap_chown=i\n");
        let found = found.expect("understood");
        // As setcap(8) writes it: getfattr -e hex.
        let ping: &[u8] = &[1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(found["usr/bin/ping"], ping);
        let other: &[u8] = &[0, 0, 0, 2, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0x80, 0, 0, 0];
        assert_eq!(found["usr/bin/a b"], other);
        for bad in ["/x", "/x cap_new=ep", "/x cap_chown+ep", "/x cap_chown=x", "/x =ep"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
