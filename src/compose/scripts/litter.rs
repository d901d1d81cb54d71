//! What a run leaves that is no part of an installed system.

use super::super::pattern::fits;

/// Patterns, each with what it is.
const LITTER: &[(&str, &str)] = &[
    (".chatimg*", "chatimg's own"),
    ("dev/*", "a devtmpfs on the box"),
    ("proc/*", "the kernel's"),
    ("sys/*", "the kernel's"),
    ("run/*", "a tmpfs on the box"),
    ("tmp/*", "a tmpfs on the box"),
    ("var/tmp/*", "of programs that have ended"),
    ("etc/.pwd.lock", "a lock file"),
    ("etc/group-", "before the last change"),
    ("etc/gshadow-", "before the last change"),
    ("etc/passwd-", "before the last change"),
    ("etc/shadow-", "before the last change"),
    ("etc/subgid-", "before the last change"),
    ("etc/subuid-", "before the last change"),
    ("etc/ld.so.cache", "made by finishing"),
    ("var/cache/debconf/*", "answers to no questions"),
    ("var/cache/ldconfig/*", "inodes and times of libraries"),
    ("var/lib/dpkg/*-old", "before the last change"),
    ("var/lib/dpkg/available", "a list of what could be installed"),
    ("var/lib/dpkg/lock", "a lock file"),
    ("var/lib/dpkg/lock-frontend", "a lock file"),
    ("var/lib/dpkg/triggers/Lock", "a lock file"),
    ("var/lib/dpkg/triggers/Unincorp", "what is pending"),
    ("var/lib/dpkg/updates/*", "what is about to be written"),
    ("var/lib/systemd/catalog/database", "made by finishing"),
    ("var/lib/ucf/hashfile.*", "before the last change"),
    ("var/lib/ucf/registry.*", "before the last change"),
    ("var/log/alternatives.log", "what happened when"),
    ("var/log/dpkg.log", "what happened when"),
    ("var/log/faillog", "who logged in"),
    ("var/log/lastlog", "who logged in"),
];

/// Whether a path is litter, or one that a declaration discards.
pub(super) fn is_litter(path: &str, discards: &[&str]) -> bool {
    LITTER.iter().any(|(pattern, _)| fits(pattern, path))
        || discards.iter().any(|pattern| fits(pattern, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn litter_is_left_out_and_nothing_beside_it() {
        for (path, litter) in [
            (".chatimg/owners", true),
            ("run/x/y", true),
            ("etc/passwd-", true),
            ("etc/passwd", false),
            ("var/lib/ucf/hashfile.0", true),
            ("var/lib/ucf/hashfile", false),
            ("var/lib/x/key", true),
            ("var/lib/x", false),
        ] {
            assert_eq!(is_litter(path, &["var/lib/x/*"]), litter, "{path}");
        }
    }
}
