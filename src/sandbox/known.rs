//! A program of the tools closure, shut in as well as the host allows.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::cell::Cell;
use super::error::SandboxError;
use crate::tools::Tools;

const BUSYBOX: &str = "usr/bin/busybox";
const LOADER: &str = "usr/lib64/ld-linux-x86-64.so.2";
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";
/// What a program that needs nothing but the C library needs.
const C_LIBRARY: [&str; 4] = ["libc.so.6", "libpthread.so.0", "libresolv.so.2", "libdl.so.2"];

const ENVIRONMENT: [(&str, &str); 4] =
    [("LC_ALL", "C.UTF-8"), ("TZ", "UTC"), ("HOME", "/nonexistent"), ("PATH", "/nonexistent")];

/// How far a program can be shut in here, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confinement {
    /// A cell: root's right, and anybody's on most hosts.
    Cell,
    /// A root of its own: what root may in most containers.
    Folder,
    /// Nothing but a clean environment, and the folder as the working directory.
    None,
}

impl Confinement {
    /// All, the best first.
    pub const ALL: [Self; 3] = [Self::Cell, Self::Folder, Self::None];

    /// The best that this host allows.
    pub fn best(tools: &Tools) -> Self {
        let works = |level: &Self| level.works(tools);
        Self::ALL.into_iter().find(works).unwrap_or(Self::None)
    }

    /// Whether this host allows it.
    pub fn works(self, tools: &Tools) -> bool {
        match self {
            Self::Cell => Cell::works(),
            Self::Folder => {
                let mut command = chroot(tools, Path::new("/"));
                command.arg(tools.path(BUSYBOX)).arg("true");
                command.stdout(Stdio::null()).stderr(Stdio::null());
                command.status().is_ok_and(|status| status.success())
            }
            Self::None => true,
        }
    }
}

/// What makes a program see only `root`; the program is to follow.
fn chroot(tools: &Tools, root: &Path) -> Command {
    let mut command = Command::new(tools.path(BUSYBOX));
    command.arg("chroot").arg(root).env_clear().stdin(Stdio::null());
    command
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
/// It cannot be started, or has to be stopped.
pub fn run(
    tools: &Tools,
    confinement: Confinement,
    root: &Path,
    program: &str,
    args: &[String],
) -> Result<Output, SandboxError> {
    let inside = match confinement {
        Confinement::None => root,
        _ => Path::new("/"),
    };
    let path = |path: &str| inside.join(path).to_string_lossy().into_owned();
    let mut argv = vec![path(LOADER), "--inhibit-cache".into(), "--library-path".into()];
    argv.extend([path(LIBRARIES), path(program)]);
    argv.extend_from_slice(args);
    let mut command = match confinement {
        Confinement::Cell => {
            let env = ENVIRONMENT.map(|(name, value)| (name.to_owned(), value.to_owned()));
            return Cell { env: env.to_vec(), ..Cell::new(root) }.run(&argv);
        }
        Confinement::Folder => {
            let mut command = chroot(tools, root);
            command.arg(&argv[0]);
            command
        }
        Confinement::None => Command::new(&argv[0]),
    };
    command.env_clear().envs(ENVIRONMENT).args(&argv[1..]).current_dir(root).stdin(Stdio::null());
    command.output().map_err(|source| SandboxError::Start { program: program.to_owned(), source })
}
