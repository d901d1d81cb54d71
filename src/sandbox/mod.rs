//! Runs a program of the tools closure on input that is not to be trusted with the host's files: it sees one folder, and no
//! network.
//!
//! No namespace is made in this process, which has threads: busybox of the closure, one static file, makes them, changes the
//! root, and becomes the program. What a host allows differs ([`Confinement`]); what comes out must not, so whoever relies on
//! it checks what the program took (`compose/bundle.rs`).
//!
//! A [`Cell`] is for programs that nobody vouches for: what it takes is there, or they are not run.

mod calls;
mod cell;
mod enter;
mod error;
mod mounts;
mod order;
mod rights;

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::tools::Tools;
pub use cell::{Cell, Limits, made_by};
pub use enter::become_cell;
pub use error::SandboxError;

const BUSYBOX: &str = "usr/bin/busybox";
const LOADER: &str = "usr/lib64/ld-linux-x86-64.so.2";
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";
/// What a program that needs nothing but the C library needs.
const C_LIBRARY: [&str; 4] = ["libc.so.6", "libpthread.so.0", "libresolv.so.2", "libdl.so.2"];

/// How far a program can be shut in here, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confinement {
    /// A root and a network of its own: root's right.
    Root,
    /// The same by a user namespace: anybody's right on most hosts.
    User,
    /// A root of its own: what root may in most containers.
    Folder,
    /// Nothing but a clean environment, and the folder as the working directory.
    None,
}

impl Confinement {
    /// All, the best first.
    pub const ALL: [Self; 4] = [Self::Root, Self::User, Self::Folder, Self::None];

    /// The best that this host allows.
    pub fn best(tools: &Tools) -> Self {
        let works = |level: &Self| level.works(tools);
        Self::ALL.into_iter().find(works).unwrap_or(Self::None)
    }

    /// Whether this host allows it.
    pub fn works(self, tools: &Tools) -> bool {
        let busybox = tools.path(BUSYBOX);
        let Some(mut command) = self.shut_in(tools, Path::new("/")) else { return true };
        command.arg(busybox).arg("true").stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }

    /// What makes a program see only `root`; the program is to follow.
    fn shut_in(self, tools: &Tools, root: &Path) -> Option<Command> {
        let busybox = tools.path(BUSYBOX);
        let mut command = Command::new(&busybox);
        match self {
            Self::Root => command.args(["unshare", "-n"]).arg(&busybox),
            Self::User => command.args(["unshare", "-r", "-n"]).arg(&busybox),
            Self::Folder => &mut command,
            Self::None => return None,
        };
        command.arg("chroot").arg(root).env_clear().stdin(Stdio::null());
        Some(command)
    }
}

/// Puts a program of the closure, which needs nothing but the C library, into `root`.
///
/// # Errors
/// It cannot be copied.
pub fn furnish(tools: &Tools, root: &Path, program: &str) -> io::Result<()> {
    let copy = |path: &str| {
        let target = root.join(path);
        fs::create_dir_all(target.parent().expect("it is in a folder"))?;
        fs::write(&target, fs::read(tools.path(path))?)?;
        fs::set_permissions(&target, fs::Permissions::from_mode(0o755))
    };
    copy(program)?;
    copy(LOADER)?;
    C_LIBRARY.iter().try_for_each(|library| copy(&format!("{LIBRARIES}/{library}")))
}

/// Runs a program that [`furnish`] put into `root`, to its end. It must name all its files by their paths from there.
///
/// # Errors
/// It cannot be started.
pub fn run(
    tools: &Tools,
    confinement: Confinement,
    root: &Path,
    program: &str,
    args: &[String],
) -> io::Result<Output> {
    let (mut command, inside) = match confinement.shut_in(tools, root) {
        Some(mut command) => {
            command.arg(format!("/{LOADER}"));
            (command, Path::new("/"))
        }
        None => (Command::new(root.join(LOADER)), root),
    };
    command
        .env_clear()
        .envs([
            ("LC_ALL", "C.UTF-8"),
            ("TZ", "UTC"),
            ("HOME", "/nonexistent"),
            ("PATH", "/nonexistent"),
        ])
        .args(["--inhibit-cache", "--library-path"])
        .arg(inside.join(LIBRARIES))
        .arg(inside.join(program))
        .args(args)
        .current_dir(root)
        .stdin(Stdio::null())
        .output()
}
