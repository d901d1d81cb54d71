//! What goes wrong with cells, and what to do about it.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::interrupt::Interrupted;

/// A program could not be run in a cell, or had to be ended.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The machine does not let us.
    #[error(
        "this machine does not let chatimg shut in programs that nobody vouches for ({doing}: {source}), and without that \
         none is run: {advice}"
    )]
    Forbidden {
        /// What was being done.
        doing: String,
        /// Why not.
        source: io::Error,
        /// What to do about it.
        advice: String,
    },
    /// Something else went wrong while it was made.
    #[error("making the sandbox: {doing}: {source}")]
    Cell {
        /// What was being done.
        doing: String,
        /// Why not.
        source: io::Error,
    },
    /// The folder is not fit for it.
    #[error("making the sandbox: {}: {source}", path.display())]
    Folder {
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The program is not there, or cannot be started.
    #[error("starting {program} in the sandbox: {source}")]
    Start {
        /// Its path inside.
        program: String,
        /// Why not.
        source: io::Error,
    },
    /// It takes too long.
    #[error("{program} was stopped: it took more than {} s", time.as_secs())]
    Time {
        /// Its path inside.
        program: String,
        /// What it had.
        time: Duration,
    },
    /// It says too much.
    #[error("{program} was stopped: it wrote more than {bytes} bytes to its output")]
    Words {
        /// Its path inside.
        program: String,
        /// What it may.
        bytes: usize,
    },
    /// The disk fills up.
    #[error("{program} was stopped: while it ran, the disk of {} lost more than {limit}", folder.display())]
    Disk {
        /// Its path inside.
        program: String,
        /// Where.
        folder: PathBuf,
        /// What it may.
        limit: String,
    },
    /// The user asked to stop.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

/// Settings that forbid user namespaces: the file, the value that does so, and the one that does not.
const SETTINGS: [(&str, &str, &str); 3] = [
    ("kernel/unprivileged_userns_clone", "0", "1"),
    ("user/max_user_namespaces", "0", "10000"),
    ("kernel/apparmor_restrict_unprivileged_userns", "1", "0"),
];

impl SandboxError {
    /// Of a step of the cell that went wrong.
    pub(super) fn no_cell(doing: String, source: io::Error) -> Self {
        let setting = |name: &str| fs::read_to_string(format!("/proc/sys/{name}")).ok();
        // EPERM, ENOSPC (a limit of namespaces), EACCES, EINVAL and ENOSYS (a kernel without them).
        let forbidden = matches!(source.raw_os_error(), Some(1 | 28 | 13 | 22 | 38));
        if forbidden {
            let advice = advice(setting);
            Self::Forbidden { doing, source, advice }
        } else {
            Self::Cell { doing, source }
        }
    }
}

/// What to change so that cells can be made.
fn advice(setting: impl Fn(&str) -> Option<String>) -> String {
    let wrong = SETTINGS
        .into_iter()
        .filter(|(name, bad, _)| setting(name).is_some_and(|value| value.trim() == *bad));
    let commands: Vec<_> = wrong
        .map(|(name, _, good)| format!("`sysctl -w {}={good}`", name.replace('/', ".")))
        .collect();
    if commands.is_empty() {
        "build as root, or in a container that may make user namespaces and mounts (Docker and Podman: \
         --security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined)"
            .to_owned()
    } else {
        format!("build as root, or let users make user namespaces: {}", commands.join(" and "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_in_the_way_is_named() {
        let of = |name: &'static str, value: &'static str| {
            advice(move |asked| (asked == name).then(|| format!("{value}\n")))
        };
        let clone = of("kernel/unprivileged_userns_clone", "0");
        assert!(clone.ends_with(": `sysctl -w kernel.unprivileged_userns_clone=1`"), "{clone}");
        let max = of("user/max_user_namespaces", "0");
        assert!(max.contains("`sysctl -w user.max_user_namespaces=10000`"), "{max}");
        let apparmor = of("kernel/apparmor_restrict_unprivileged_userns", "1");
        assert!(apparmor.contains("apparmor_restrict_unprivileged_userns=0"), "{apparmor}");
        let none = of("user/max_user_namespaces", "1234");
        assert!(none.contains("container") && !none.contains("sysctl"), "{none}");
    }
}
