//! Stands in for `sandbox::Cell` until that is there: the same by busybox.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::tools::Tools;

const BUSYBOX: &str = "usr/bin/busybox";

/// A root file system to run programs in.
pub(super) struct Cell<'a> {
    pub(super) root: &'a Path,
    pub(super) env: Vec<(String, String)>,
    pub(super) busybox: PathBuf,
}

const PREPARE: &str = r#"set -e
box=$1 root=$2
shift 2
$box hostname localhost
$box mount -t proc proc $root/proc
$box mount -t tmpfs -o mode=755 dev $root/dev
for name in null zero full random urandom tty; do
    : >$root/dev/$name
    $box mount --bind /dev/$name $root/dev/$name
done
$box mkdir -m 1777 $root/dev/shm
$box ln -s /proc/self/fd $root/dev/fd
exec $box chroot $root "$@"
"#;

impl Cell<'_> {
    pub(super) fn busybox(tools: &Tools) -> PathBuf {
        tools.path(BUSYBOX)
    }

    pub(super) fn run(&self, argv: &[String]) -> io::Result<Output> {
        Command::new(&self.busybox)
            .env_clear()
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .args(["unshare", "-r", "-m", "-u", "-i", "-n", "-p", "-f"])
            .arg(&self.busybox)
            .args(["sh", "-c", PREPARE, "sh"])
            .arg(&self.busybox)
            .arg(self.root)
            .args(argv)
            .stdin(Stdio::null())
            .output()
    }
}
