//! How fast an image gets onto a disk, next to `dd`, in one run on one machine.
//!
//!     cargo bench --bench flash
//!
//! Needs root, for a loop device, 10 GB beside the store, and an image that `chatimg build` has made. `dd` only writes,
//! and all of the image; chatimg clears the holes, and reads everything back, which is shown by itself. Ratios are what
//! counts: the better dd's time by chatimg's, so that 1 is as fast; the goal for writing is 0.9 or more.

#[path = "../tests/disks/mod.rs"]
mod disks;
#[path = "../tests/project/mod.rs"]
mod project;

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use chatimg::deliver::device::Machine;
use chatimg::deliver::flash::{Event, FlashSpec, Source, Step, Target, flash};
use chatimg::digest::Hasher;
use chatimg::image;
use disks::{Loop, MIB, run};
use project::store_dir;
use rand::Rng;
use serde_json::json;

const ROUNDS: usize = 5;
/// Bytes of an image without holes.
const DENSE: u64 = 1 << 30;

fn main() {
    let dir = tempfile::tempdir_in(store_dir()).expect("folder");
    let file = dir.path().join("disk");
    println!(
        "{:<32} {:>9} {:>9} {:>9} {:>7}",
        "seconds", "dd direct", "dd cached", "chatimg", "ratio"
    );
    let without_holes = dense(dir.path());
    compare("1 GiB without holes", &without_holes, &file);
    let images = Path::new(env!("CARGO_MANIFEST_DIR")).join("images");
    let image = image::current(&images).expect("images").expect("run `chatimg build` first");
    let mut real = Source::open(&image.dir).expect("image");
    real.legs.truncate(1); // dd writes one disk at a time, too.
    compare("the image", &real, &file);
}

/// Prints how long an image takes.
fn compare(what: &str, source: &Source, file: &Path) {
    File::create(file).and_then(|file| file.set_len(source.size() + 64 * MIB)).expect("disk");
    let disk = &Loop::new(file, &["--direct-io=on"]);
    let image = &source.legs[0].path;
    let mut times: [Vec<Duration>; 4] = Default::default();
    // In turns: what else the machine does meanwhile hits all of them.
    for _ in 0..ROUNDS {
        let (written, whole) = chatimg(source, disk);
        let round = [dd(image, disk, &["oflag=direct"]), dd(image, disk, &[]), written, whole];
        times.iter_mut().zip(round).for_each(|(times, time)| times.push(time));
    }
    let [direct, cached, written, whole] = times.map(|mut times| {
        times.sort();
        times[ROUNDS / 2].as_secs_f64()
    });
    for (step, time) in [("written", written), ("written and read back", whole)] {
        let ratio = direct.min(cached) / time;
        println!(
            "{:<32} {direct:>9.2} {cached:>9.2} {time:>9.2} {ratio:>7.2}",
            format!("{what}, {step}")
        );
    }
}

fn dd(image: &Path, disk: &Loop, flags: &[&str]) -> Duration {
    forget(image);
    let mut command = Command::new("dd");
    command.arg(format!("if={}", image.display())).arg(format!("of={}", disk.node()));
    let start = Instant::now();
    run(command.args(["bs=4M", "conv=fsync"]).args(flags));
    start.elapsed()
}

/// Until everything is written and durable, and until it is read back and has its table.
fn chatimg(source: &Source, disk: &Loop) -> (Duration, Duration) {
    forget(&source.legs[0].path);
    let machine = Machine::default();
    let target = Target::Disk(machine.disk(disk.node().as_ref()).expect("disk"));
    let written = OnceLock::new();
    let start = Instant::now();
    let events = |event: Event| {
        if event.step == Step::Verifying {
            written.get_or_init(|| start.elapsed());
        }
    };
    let spec = FlashSpec { source, targets: &[target], settings: None };
    flash(&machine, &spec, &events).unwrap_or_else(|error| panic!("{error}"));
    let whole = start.elapsed();
    (written.into_inner().unwrap_or(whole), whole)
}

/// Has the kernel forget the image's bytes, so that all read them from the disk.
fn forget(image: &Path) {
    run(Command::new("dd")
        .arg(format!("if={}", image.display()))
        .args(["iflag=nocache", "count=0"]));
}

/// An image of random bytes everywhere.
fn dense(dir: &Path) -> Source {
    let path: PathBuf = dir.join("disk.img");
    let mut file = File::create(&path).expect("image");
    let mut chunk = vec![0; MIB as usize];
    let mut extents = Vec::new();
    let mut hasher = Hasher::new();
    for index in 0..DENSE / MIB {
        rand::rng().fill_bytes(&mut chunk);
        hasher.update(&chunk);
        file.write_all(&chunk).expect("image");
        // Table, contents, table.
        let start = if index < 2 || index == DENSE / MIB - 1 { index * MIB } else { MIB };
        if [0, DENSE / MIB - 2, DENSE / MIB - 1].contains(&index) {
            let size = (index + 1) * MIB - start;
            let sha256 = std::mem::take(&mut hasher).finish();
            extents.push(json!({"start": start, "size": size, "sha256": sha256}));
        }
    }
    file.sync_all().expect("image");
    let disk = json!({"file": "disk.img", "size": DENSE, "partitions": [], "extents": extents});
    let manifest = json!({"schema": chatimg::image::SCHEMA, "id": "dense", "disks": [disk]});
    std::fs::write(dir.join("manifest.json"), manifest.to_string()).expect("manifest");
    Source::open(dir).expect("image")
}
