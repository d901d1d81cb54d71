//! A made-up machine: the files that the real one's kernel shows.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::Machine;

pub(super) struct Fake {
    dir: tempfile::TempDir,
}

impl Fake {
    /// With one disk, `sda`, of two partitions, used by nobody.
    pub(super) fn new() -> Self {
        let fake = Self { dir: tempfile::tempdir().expect("temporary folder") };
        fake.write("proc/self/mountinfo", "").write("proc/swaps", "");
        fake.disk("sda", "8:0", 8 << 30);
        fake.partition("sda", "sda1", "8:1", 1);
        fake.partition("sda", "sda2", "8:2", 2);
        fake
    }

    pub(super) fn machine(&self) -> Machine {
        Machine { root: self.dir.path().to_owned() }
    }

    pub(super) fn write(&self, path: &str, contents: impl AsRef<[u8]>) -> &Self {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().expect("below the root")).expect("folders");
        fs::write(path, contents).expect("write");
        self
    }

    pub(super) fn remove(&self, path: &str) {
        fs::remove_file(self.dir.path().join(path)).expect("removed");
    }

    pub(super) fn disk(&self, name: &str, number: &str, size: u64) -> &Self {
        let dir = format!("sys/block/{name}");
        self.write(&format!("{dir}/dev"), format!("{number}\n"))
            .write(&format!("{dir}/size"), format!("{}\n", size / 512))
            .write(&format!("{dir}/ro"), "0\n")
            .write(&format!("{dir}/queue/logical_block_size"), "512\n")
            .link(&format!("sys/dev/block/{number}"), &format!("../../block/{name}"))
    }

    pub(super) fn partition(&self, disk: &str, name: &str, number: &str, index: u32) -> &Self {
        let dir = format!("sys/block/{disk}/{name}");
        self.write(&format!("{dir}/dev"), format!("{number}\n"))
            .write(&format!("{dir}/partition"), format!("{index}\n"))
            .write(&format!("{dir}/size"), "2048\n")
            .link(&format!("sys/dev/block/{number}"), &format!("../../block/{disk}/{name}"))
    }

    /// `holder` is built upon `device`, whose folder is `below`.
    pub(super) fn holder(&self, below: &str, holder: &str, number: &str) -> &Self {
        self.disk(holder, number, 1 << 30)
            .write(&format!("sys/block/{below}/holders/{holder}/x"), "")
    }

    pub(super) fn link(&self, path: &str, target: &str) -> &Self {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().expect("below the root")).expect("folders");
        symlink(Path::new(target), path).expect("link");
        self
    }
}
