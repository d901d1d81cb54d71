//! What an update sends, measured on the wire, both ways, between `chatimg update` and the box's own receiver.
//!
//! A month of security updates: from the point release of 2026-09-12 (`tests/delta/older.toml`) to the lock's packages of
//! 2026-11-20. That is ten weeks: 18 of the 220 packages differ, all that security updates have changed since that
//! release, the kernel (6.12.107 to 6.12.117) and PostgreSQL among them. Most of it is the kernel, whose every module differs
//! from one version to the next, so a month with one new kernel sends not much less.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::project::{Copy, chatimg, text};
use crate::small;
use chatimg::lock::{Deb, Lock};
use serde_json::json;
use zstd::zstd_safe::CParameter;

/// A project whose user keeps old images, and a box.
struct World {
    copy: Copy,
    key: String,
}

/// What names of two versions have in common: `linux-image-6.12.107+deb13-amd64` is the same package every month.
fn family(name: &str) -> String {
    name.chars().filter(|c| !c.is_ascii_digit()).collect()
}

impl World {
    fn new() -> Self {
        let copy = Copy::new();
        let appliance = copy.dir().join("appliance.toml");
        let original = fs::read_to_string(&appliance).unwrap();
        // One disk is enough: it is the root image that counts.
        let changed = original.replace("raid = \"mirror\"", "raid = \"none\"");
        assert_ne!(changed, original);
        fs::write(&appliance, changed).unwrap();
        let mut world = Self { copy, key: String::new() };
        world.key = world.chatimg(&["key", "new"]).trim().to_owned();
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.copy.root().join(name)
    }

    fn chatimg(&self, args: &[&str]) -> String {
        let mut command = self.copy.command(args);
        let output = command.env("XDG_CONFIG_HOME", self.path("config")).stdin(Stdio::null());
        let output = output.output().unwrap();
        assert!(output.status.success(), "{}: {}", chatimg(), text(&output.stderr));
        text(&output.stdout)
    }

    /// Builds the image, and gives back its id.
    fn build(&self) -> String {
        self.chatimg(&["build"]);
        let current = fs::read_link(self.copy.images().join("current")).unwrap();
        current.into_os_string().into_string().unwrap()
    }

    fn copy_root(&self, id: &str, to: impl Write) {
        small::copy_root(&self.copy.images().join(id), to);
    }

    /// Bytes that an update of a box from one image to another takes on the wire. The box has it whole afterwards.
    fn wire(&self, from: &str, to: &str) -> u64 {
        let folder = self.path("box");
        fs::create_dir(&folder).unwrap();
        self.copy_root(from, fs::File::create(folder.join("running.img")).unwrap());
        let state = json!({"id": from, "keys": [self.key]});
        fs::write(folder.join("box.json"), state.to_string()).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/update/real.py");
        let rsh = format!("python3 -B {} {}", script.display(), folder.display());
        let said =
            self.chatimg(&["update", "box.example", "--rsh", &rsh, "--stage", "--image", to]);
        assert!(said.contains(&format!("image {to} is in slot b")), "{said}");
        let wire = fs::read(folder.join("wire.json")).unwrap();
        let [came, went]: [u64; 2] = serde_json::from_slice(&wire).unwrap();
        println!("{from} -> {to}: {came} bytes to the box, {went} back");
        fs::remove_dir_all(&folder).unwrap();
        came + went
    }

    /// Bytes of a root image, compressed as an update of a box that has nothing of it.
    fn compressed(&self, id: &str) -> u64 {
        let mut encoder = zstd::Encoder::new(Counter(0), 6).unwrap();
        encoder.set_parameter(CParameter::EnableLongDistanceMatching(true)).unwrap();
        encoder.window_log(27).unwrap();
        encoder.set_parameter(CParameter::NbWorkers(2)).unwrap();
        encoder.set_parameter(CParameter::JobSize(32 << 20)).unwrap();
        self.copy_root(id, &mut encoder);
        encoder.finish().unwrap().0
    }
}

struct Counter(u64);

impl std::io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A lock with older packages in the place of its own.
fn older(lock: &Lock, packages: &[Deb]) -> Lock {
    let mut older = lock.clone();
    for package in packages {
        let count = older.debs.len();
        older.debs.retain(|deb| family(&deb.name) != family(&package.name));
        assert_eq!(older.debs.len() + 1, count, "{} has no successor", package.name);
        older.debs.push(package.clone());
    }
    older.debs.sort_by(|one, other| one.name.cmp(&other.name));
    older
}

#[test]
fn a_month_of_security_updates_and_one_changed_file_take_little() {
    let world = World::new();
    let path = world.copy.dir().join("appliance.lock");
    let newest = fs::read_to_string(&path).unwrap();
    let lock = Lock::parse(&newest, "appliance.lock").unwrap();
    let packages = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/delta/older.toml");
    let packages = fs::read_to_string(packages).unwrap();
    let packages = Lock::parse(&packages, "tests/delta/older.toml").unwrap().debs;
    fs::write(&path, older(&lock, &packages).to_toml()).unwrap();
    let before = world.build();
    fs::write(&path, newest).unwrap();
    let now = world.build();
    let (sent, all) = (world.wire(&before, &now), world.compressed(&now));
    let share = sent as f64 / all as f64;
    println!("security updates: {sent} of {all} bytes: {share:.3}");
    fs::remove_dir_all(world.copy.images().join(&before)).unwrap();

    // It becomes longer by more than a block, so that whatever lies behind it moves.
    let file = world.copy.dir().join("overlays/base/files/etc/sysctl.d/60-chatimg.conf");
    let settings = fs::read_to_string(&file).unwrap();
    fs::write(&file, settings + &"# One more line of many.\n".repeat(200)).unwrap();
    let changed = world.build();
    let file = world.wire(&now, &changed);
    println!("one changed file: {file} bytes");
    assert!(share <= 0.25, "{share}");
    assert!(file < 2_000_000, "{file}");
}
