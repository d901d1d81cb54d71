//! Programs of the tools closure: locked Debian packages, unpacked into the store, run through their own
//! loader. No program of the host is ever run where bytes depend on it, and none of the host's libraries,
//! locales, configuration or environment reaches these.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::digest::{Digest, Hasher};
use crate::store::{StepError, Store, StoreError};
use crate::tree::{ExportError, Tree};

const LOADER: &str = "usr/lib64/ld-linux-x86-64.so.2";
const LIBRARIES: [&str; 3] = [
    "usr/lib/x86_64-linux-gnu",
    "usr/lib/x86_64-linux-gnu/systemd",
    "usr/lib/x86_64-linux-gnu/pulseaudio",
];

/// A program could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// The closure cannot be unpacked.
    #[error("unpacking the tools: {0}")]
    Unpack(#[from] ExportError),
    /// The store's failure.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It cannot be started.
    #[error("starting {program} of the tools closure: {source}")]
    Start {
        /// Path inside the closure.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// It ended with an error.
    #[error("{program} of the tools closure ended with {status}: {words}")]
    Failed {
        /// Path inside the closure.
        program: String,
        /// Its exit status.
        status: std::process::ExitStatus,
        /// What it said last.
        words: String,
    },
}

/// An unpacked tools closure.
#[derive(Clone, Debug)]
pub struct Tools {
    root: PathBuf,
    id: Digest,
    epoch: i64,
}

impl Tools {
    /// Unpacks `tree` into the store, once. `epoch` is the time that programs are told.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn unpack(store: &Store, tree: &Tree, epoch: i64) -> Result<Self, ToolError> {
        let id = tree.id();
        let mut key = Hasher::step("tools");
        key.field(id.as_bytes());
        let (export, whole) =
            (|dir: &Path| tree.export(store, dir), |dir: &Path| tree.is_exported(dir));
        let root =
            store.folder(key.finish(), tree, export, whole).map_err(|error| match error {
                StepError::Step(error) => ToolError::Unpack(error),
                StepError::Store(error) => ToolError::Store(error),
            })?;
        Ok(Self { root, id, epoch })
    }

    /// The digest of the closure: part of the key of every step that runs one of its programs.
    pub fn id(&self) -> Digest {
        self.id
    }

    /// A path of the closure on this host.
    pub fn path(&self, inside: &str) -> PathBuf {
        self.root.join(inside)
    }

    /// A program (`usr/bin/openssl`), ready to get its arguments: clean environment, standard input closed.
    pub fn command(&self, program: &str) -> Command {
        let libraries = LIBRARIES.map(|dir| self.path(dir).into_os_string()).join(OsStr::new(":"));
        let mut command = Command::new(self.path(LOADER));
        command
            .env_clear()
            .envs([("LC_ALL", "C.UTF-8"), ("TZ", "UTC"), ("PATH", "/nonexistent")])
            .envs([
                ("HOME", "/nonexistent"),
                ("PYTHONHASHSEED", "0"),
                ("OPENSSL_CONF", "/dev/null"),
            ])
            .env("SOURCE_DATE_EPOCH", self.epoch.to_string())
            .env("PYTHONHOME", self.path("usr"))
            .args(["--inhibit-cache", "--library-path"])
            .arg(libraries)
            .arg("--argv0")
            .arg(self.path(program))
            .arg(self.path(program))
            .stdin(Stdio::null());
        command
    }

    /// Runs a program to its end and gives back what it wrote to standard output.
    ///
    /// # Errors
    /// It cannot be started, or says that it failed.
    pub fn run<A: Into<OsString>>(
        &self,
        program: &str,
        args: impl IntoIterator<Item = A>,
        dir: &Path,
        input: &[u8],
    ) -> Result<Vec<u8>, ToolError> {
        let start = |source| ToolError::Start { program: program.to_owned(), source };
        let mut command = self.command(program);
        command.args(args.into_iter().map(Into::into)).current_dir(dir);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(start)?;
        let mut stdin = child.stdin.take().expect("standard input is piped");
        let output = std::thread::scope(|scope| {
            // A program that does not read its input is no failure.
            scope.spawn(move || _ = stdin.write_all(input));
            child.wait_with_output()
        });
        let Output { status, stdout, stderr } = output.map_err(start)?;
        if status.success() {
            return Ok(stdout);
        }
        let words = String::from_utf8_lossy(&stderr);
        let words = words.lines().rev().take(5).collect::<Vec<_>>();
        let words = words.into_iter().rev().collect::<Vec<_>>().join("; ");
        Err(ToolError::Failed { program: program.to_owned(), status, words })
    }
}
