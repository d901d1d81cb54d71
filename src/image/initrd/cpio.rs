//! A writer of cpio archives in the "newc" format, which the kernel unpacks as its first root.
//!
//! ```text
//! per entry: "070701", then 13 fields of 8 hexadecimal digits:
//!   inode mode uid gid links mtime size devmajor devminor rdevmajor rdevminor namesize check
//! name with NUL, zeros to a multiple of 4; contents, zeros to a multiple of 4
//! last entry: "TRAILER!!!"
//! ```
//!
//! Source: Linux, Documentation/driver-api/early-userspace/buffer-format.rst. Everything belongs to root,
//! has one time, and is numbered in the order it is added: the same calls give the same bytes.

/// An archive under way.
#[derive(Debug)]
pub struct Cpio {
    out: Vec<u8>,
    mtime: u32,
    inode: u32,
}

const DIR: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;
const CHAR: u32 = 0o020_000;

impl Cpio {
    /// An empty archive whose entries all have this time.
    pub fn new(mtime: u32) -> Self {
        Self { out: Vec::new(), mtime, inode: 0 }
    }

    /// A directory. Its parent must be there before it.
    pub fn dir(&mut self, name: &str) {
        self.entry(name, DIR | 0o755, 2, (0, 0), &[]);
    }

    /// A regular file.
    pub fn file(&mut self, name: &str, mode: u32, contents: &[u8]) {
        self.entry(name, FILE | mode, 1, (0, 0), contents);
    }

    /// A symbolic link.
    pub fn symlink(&mut self, name: &str, target: &str) {
        self.entry(name, LINK | 0o777, 1, (0, 0), target.as_bytes());
    }

    /// A character device.
    pub fn char_device(&mut self, name: &str, mode: u32, major: u32, minor: u32) {
        self.entry(name, CHAR | mode, 1, (major, minor), &[]);
    }

    /// The whole archive.
    pub fn finish(mut self) -> Vec<u8> {
        (self.inode, self.mtime) = (u32::MAX, 0); // The trailer's number wraps to 0.
        self.entry("TRAILER!!!", 0, 1, (0, 0), &[]);
        self.out
    }

    fn entry(&mut self, name: &str, mode: u32, links: u32, device: (u32, u32), contents: &[u8]) {
        self.inode = self.inode.wrapping_add(1);
        let size = u32::try_from(contents.len()).expect("an initrd's file is under 4 GiB");
        let name_size = name.len() as u32 + 1;
        let (major, minor) = device;
        self.out.extend(b"070701");
        let fields =
            [self.inode, mode, 0, 0, links, self.mtime, size, 0, 0, major, minor, name_size, 0];
        for field in fields {
            self.out.extend(format!("{field:08X}").bytes());
        }
        self.out.extend(name.bytes().chain([0]));
        self.pad();
        self.out.extend(contents);
        self.pad();
    }

    fn pad(&mut self) {
        self.out.resize(self.out.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_look_as_the_kernel_wants_them() {
        let mut cpio = Cpio::new(0x10);
        cpio.dir("dev");
        cpio.char_device("dev/console", 0o600, 5, 1);
        cpio.file("init", 0o755, b"hello");
        let text = String::from_utf8(cpio.finish()).expect("ASCII");
        let wanted = [
            "0707010000000100004",
            "1ED",
            "0000000000000000",
            "00000002",
            "00000010",
            "00000000",
            "0000000000000000",
            "0000000000000000",
            "00000004",
            "00000000",
            "dev\0\0\0",
            "0707010000000200002",
            "180",
            "0000000000000000",
            "00000001",
            "00000010",
            "00000000",
            "0000000000000000",
            "0000000500000001",
            "0000000C",
            "00000000",
            "dev/console\0\0\0",
            "0707010000000300008",
            "1ED",
            "0000000000000000",
            "00000001",
            "00000010",
            "00000005",
            "0000000000000000",
            "0000000000000000",
            "00000005",
            "00000000",
            "init\0\0",
            "hello\0\0\0",
            "07070100000000000000000000000000000000000000010000000000000000",
            "000000000000000000000000000000000000000B00000000TRAILER!!!\0\0\0\0",
        ]
        .concat();
        assert_eq!(text, wanted);
    }
}
