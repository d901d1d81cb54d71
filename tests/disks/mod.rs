//! Disks to flash: loop devices and what is done with them, each undone when it goes out of scope. They need root, as in
//! CI; without it the tests fail and say so.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use chatimg::digest::Digest;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

pub const MIB: u64 = 1 << 20;
/// Bytes of the made-up image.
pub const IMAGE: u64 = 48 * MIB;
/// Bytes of the disks for it.
pub const DISK: u64 = 80 * MIB;
/// The end of a disk that is always emptied.
pub const TAIL: u64 = 16 * MIB;

/// The parts of the image that hold something, in order: table, boot loader, system, marker, backup table.
const EXTENTS: [(u64, u64); 5] =
    [(0, MIB), (MIB, 5000), (8 * MIB, 30 * MIB + 1), (44 * MIB, 21), (47 * MIB, MIB)];

/// Runs a program that has to succeed; what it prints.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?} (as root?): {}", text(&output.stderr));
    text(&output.stdout).trim().to_owned()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A made-up image of random bytes in a folder of its own, with room for disks beside it.
pub struct Image {
    pub dir: tempfile::TempDir,
    pub bytes: Vec<Vec<u8>>,
}

impl Image {
    /// For one disk.
    pub fn new() -> Self {
        Self::with_legs(1)
    }

    pub fn with_legs(legs: u64) -> Self {
        let dir = tempfile::tempdir().expect("temporary folder");
        let bytes: Vec<_> = (0..legs).map(random_disk).collect();
        let names = ["disk.img", "disk-2.img"];
        let disks: Vec<Value> =
            bytes.iter().zip(names).map(|(bytes, name)| leg(name, bytes)).collect();
        for (bytes, name) in bytes.iter().zip(names) {
            fs::write(dir.path().join(name), bytes).expect("image");
        }
        let manifest =
            json!({"schema": chatimg::image::SCHEMA, "id": "0123456789abcdef", "disks": disks});
        fs::write(dir.path().join("manifest.json"), manifest.to_string()).expect("manifest");
        Self { dir, bytes }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `chatimg flash` of this image.
    pub fn flash(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chatimg"));
        command.arg("flash").arg("--image").arg(self.dir.path()).args(args);
        command.env("XDG_CONFIG_HOME", self.path("config"));
        command.env("CHATIMG_STORE", self.path("store")).stdin(std::process::Stdio::null());
        command
    }

    /// The same to a loop device, which has no serial number.
    pub fn flash_to(&self, disk: &Loop) -> Command {
        self.flash(&["--disk", disk.node(), "--yes-erase", disk.name()])
    }

    /// What a refusal says; the disk is as it was.
    pub fn refused(&self, disk: &Loop) -> String {
        // What mkswap and the like wrote may be on its way yet.
        File::open(disk.node()).and_then(|disk| disk.sync_all()).expect("disk");
        let before = Digest::of(&fs::read(&disk.file).expect("disk"));
        let words = failed(&self.flash_to(disk).output().expect("runs"));
        assert!(before == Digest::of(&fs::read(&disk.file).expect("disk")), "written to: {words}");
        words
    }

    /// A disk that another system was on.
    pub fn disk(&self, name: &str) -> Loop {
        Loop::new(&self.old_disk(name, DISK), &[])
    }

    pub fn old_disk(&self, name: &str, size: u64) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, vec![0xaa; size as usize]).expect("disk");
        path
    }

    /// Whether a disk holds all of the image's first leg, and nothing else where something could matter.
    pub fn assert_on(&self, disk: &Path) {
        self.assert_leg_on(0, disk);
    }

    pub fn assert_leg_on(&self, leg: usize, disk: &Path) {
        let bytes = fs::read(disk).expect("disk");
        // Partition 7 has at least the owner's key.
        let (before, rest) = bytes[..IMAGE as usize].split_at(2 * MIB as usize);
        let (settings, after) = rest.split_at(MIB as usize);
        let expected = &self.bytes[leg];
        assert!(before == &expected[..2 * MIB as usize], "{}", disk.display());
        assert!(after == &expected[3 * MIB as usize..], "{}", disk.display());
        assert!(settings.starts_with(b"CHATIMG-SETTINGS-1\n"), "{}", disk.display());
        let tail = &bytes[bytes.len().saturating_sub(TAIL as usize).max(IMAGE as usize)..];
        assert!(tail.iter().all(|byte| *byte == 0), "{}: the end", disk.display());
    }
}

/// What the command says that must fail.
pub fn failed(output: &Output) -> String {
    let words = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{words}");
    words
}

pub fn assert_done(output: &Output) {
    assert!(output.status.success(), "{}", text(&output.stderr));
}

fn random_disk(seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; IMAGE as usize];
    let mut random = StdRng::seed_from_u64(seed);
    for (start, len) in EXTENTS {
        random.fill(&mut bytes[start as usize..][..len as usize]);
    }
    bytes[510..512].copy_from_slice(b"\x55\xaa");
    bytes[512..520].copy_from_slice(b"EFI PART");
    bytes
}

fn leg(file: &str, bytes: &[u8]) -> Value {
    let extents = EXTENTS.map(|(start, size)| {
        let digest = Digest::of(&bytes[start as usize..][..size as usize]);
        json!({"start": start, "size": size, "sha256": digest})
    });
    let settings = json!({"number": 7, "name": "", "guid": "", "start": 2 * MIB, "size": MIB});
    json!({"file": file, "size": IMAGE, "guid": "", "partitions": [settings], "extents": extents})
}

/// A file as a disk.
pub struct Loop {
    node: String,
    pub file: PathBuf,
}

impl Loop {
    pub fn new(file: &Path, args: &[&str]) -> Self {
        let mut command = Command::new("losetup");
        let node = run(command.args(["--find", "--show"]).args(args).arg(file));
        Self { node, file: file.to_owned() }
    }

    /// `/dev/loop0`
    pub fn node(&self) -> &str {
        &self.node
    }

    /// `loop0`
    pub fn name(&self) -> &str {
        self.node.trim_start_matches("/dev/")
    }

    pub fn bytes(&self) -> Vec<u8> {
        fs::read(&self.node).expect("disk")
    }

    pub fn sector_0(&self) -> [u8; 512] {
        *self.block(0).first_chunk().expect("a sector")
    }

    pub fn block(&self, at: u64) -> [u8; 4096] {
        let mut block = [0; 4096];
        File::open(&self.node).and_then(|disk| disk.read_exact_at(&mut block, at)).expect("disk");
        block
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        // Errors cannot be asserted here: this may be running because of one.
        _ = Command::new("losetup").arg("--detach").arg(&self.node).status();
    }
}

/// A mounted file system.
pub struct Mount(PathBuf);

impl Mount {
    pub fn new(args: &[&str], at: &Path) -> Self {
        fs::create_dir_all(at).expect("folder");
        run(Command::new("mount").args(args).arg(at));
        Self(at.to_owned())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        _ = Command::new("umount").arg(&self.0).status();
    }
}

/// Swap space in use.
pub struct Swap(String);

impl Swap {
    pub fn new(node: &str) -> Self {
        run(Command::new("mkswap").arg(node));
        run(Command::new("swapon").arg(node));
        Self(node.to_owned())
    }
}

impl Drop for Swap {
    fn drop(&mut self) {
        _ = Command::new("swapoff").arg(&self.0).status();
    }
}
