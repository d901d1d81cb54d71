//! The order of a flash on made-up disks: every moment at which the power could go, every operation that could fail.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Mutex;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::digest::Digest;
use crate::image::layout::{MIB, SECTOR, Span};

const IMAGE: u64 = 8 * MIB;
const DISK: u64 = 26 * MIB;
const SETTINGS: &[u8] = b"the hosts's settings";
/// Random choices of what was written but not flushed, at each operation.
const SUBSETS: usize = 8;

/// An image of a table, one large and two small extents, in a folder.
struct Image {
    _dir: tempfile::TempDir,
    source: Source,
    bytes: Vec<u8>,
}

impl Image {
    fn new(legs: usize) -> Self {
        let dir = tempfile::tempdir().expect("temporary folder");
        let mut bytes = vec![0; IMAGE as usize];
        let mut random = StdRng::seed_from_u64(7);
        let spans = [(0, MIB), (MIB, 5000), (3 * MIB, 3 * MIB), (13 * MIB / 2, 21), (7 * MIB, MIB)];
        let spans = spans.map(|(start, len)| Span { start, len });
        for span in spans {
            random.fill(&mut bytes[span.start as usize..][..span.len as usize]);
        }
        let extents = spans.map(|span| Extent { span, digest: Digest::of(part(&bytes, span)) });
        let leg = |number: usize| {
            let path = dir.path().join(format!("disk-{number}.img"));
            std::fs::write(&path, &bytes).expect("image");
            let settings = Some(Span { start: 2 * MIB, len: MIB });
            Leg { path, size: IMAGE, extents: extents.into(), settings }
        };
        let source = Source { id: "x".to_owned(), legs: (0..legs).map(leg).collect() };
        Self { source, bytes, _dir: dir }
    }

    /// What a disk has to begin with.
    fn expected(&self) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        bytes[2 << 20..][..SETTINGS.len()].copy_from_slice(SETTINGS);
        bytes
    }

    fn put(&self, disks: &[&Memory]) -> Result<(), FlashError> {
        let stop = AtomicBool::new(false);
        let common = Common { settings: SETTINGS, events: &|_| (), stop: &stop };
        let job = |(index, leg): (usize, &Leg)| {
            let name = format!("disk {index}");
            Job::new(index, leg, (name, disks[index], DISK), common).expect("a whole image")
        };
        let jobs: Vec<_> = self.source.legs.iter().enumerate().map(job).collect();
        put(&jobs, &|_| ())
    }
}

fn part(bytes: &[u8], span: Span) -> &[u8] {
    &bytes[span.start as usize..][..span.len as usize]
}

/// Something done to a disk.
#[derive(Clone, Debug)]
enum Op {
    Write(u64, Vec<u8>),
    Flush,
}

/// A disk in memory that notes what is done to it.
struct Memory {
    state: Mutex<(Vec<u8>, Vec<Op>)>,
    /// Knows how to make zeros by itself.
    clears: bool,
    /// The number of the operation, reads included, from which on all fail.
    fails: usize,
    count: Mutex<usize>,
    /// It forgets what is written here.
    bad: Option<u64>,
}

impl Memory {
    fn new() -> Self {
        let state = (old_contents(), Vec::new());
        Self { state: state.into(), clears: true, fails: usize::MAX, count: 0.into(), bad: None }
    }

    fn step(&self) -> io::Result<()> {
        let mut count = self.count.lock().expect("count");
        *count += 1;
        if *count > self.fails { Err(io::Error::from_raw_os_error(5)) } else { Ok(()) }
    }

    fn bytes(&self) -> Vec<u8> {
        self.state.lock().expect("state").0.clone()
    }

    fn ops(&self) -> Vec<Op> {
        self.state.lock().expect("state").1.clone()
    }
}

impl Medium for &Memory {
    fn write(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.step()?;
        let mut state = self.state.lock().expect("state");
        state.0[at as usize..][..bytes.len()].copy_from_slice(bytes);
        state.1.push(Op::Write(at, bytes.to_owned()));
        if let Some(bad) = self.bad {
            state.0[bad as usize] = 0x55;
        }
        Ok(())
    }

    fn read(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        self.step()?;
        bytes.copy_from_slice(&self.state.lock().expect("state").0[at as usize..][..bytes.len()]);
        Ok(())
    }

    fn is_new(&self) -> bool {
        false
    }

    fn clear(&self, range: Range<u64>) -> io::Result<bool> {
        if self.clears {
            self.write(&vec![0; (range.end - range.start) as usize], range.start)?;
        }
        Ok(self.clears)
    }

    fn sync(&self) -> io::Result<()> {
        self.step()?;
        self.state.lock().expect("state").1.push(Op::Flush);
        Ok(())
    }

    fn gone(&self, _: &io::Error) -> bool {
        false
    }
}

/// Another system, everywhere.
fn old_contents() -> Vec<u8> {
    vec![0xaa; DISK as usize]
}

/// What must hold at any moment: sector 0 is the old one, and then the old contents are there but for what is wiped; or
/// it is empty; or it is the new one, and then everything is there. The same goes for the new table.
fn judge(disk: &[u8], expected: &[u8]) {
    let whole = || disk[SECTOR as usize..IMAGE as usize] == expected[SECTOR as usize..];
    let first = &disk[..SECTOR as usize];
    if first == &expected[..SECTOR as usize] {
        assert!(whole(), "it starts, and is not whole");
        assert!(disk[(DISK - 16 * MIB) as usize..].iter().all(|byte| *byte == 0));
    } else if first.iter().all(|byte| *byte == 0xaa) {
        let kept = &disk[plan::BLOCK as usize..];
        assert!(kept.iter().all(|byte| *byte == 0xaa), "the old system starts, and is not whole");
    } else {
        assert!(first.iter().all(|byte| *byte == 0), "sector 0 is neither old nor new");
    }
    let table = SECTOR as usize..2 * SECTOR as usize;
    if disk[table.clone()] == expected[table] {
        let contents = MIB as usize..(IMAGE - MIB) as usize;
        assert!(disk[contents.clone()] == expected[contents], "a table, and not all contents");
    }
}

#[test]
fn the_disk_holds_the_image_and_the_settings_and_zeros_between() {
    for clears in [true, false] {
        let image = Image::new(1);
        let disk = Memory { clears, ..Memory::new() };
        image.put(&[&disk]).expect("works");
        let bytes = disk.bytes();
        assert!(bytes[..IMAGE as usize] == image.expected());
        judge(&bytes, &image.expected());
        let between = IMAGE as usize..(DISK - 16 * MIB) as usize;
        assert!(bytes[between].iter().all(|byte| *byte == 0xaa), "not written to without need");
    }
}

/// The power goes after each operation; of what was not flushed, any sectors may be there or not.
#[test]
fn a_power_cut_at_any_moment_leaves_nothing_that_starts_half() {
    let image = Image::new(1);
    let expected = image.expected();
    let disk = Memory::new();
    image.put(&[&disk]).expect("works");
    let mut random = StdRng::seed_from_u64(42);
    let mut durable = old_contents();
    let mut pending: BTreeMap<u64, Vec<Vec<u8>>> = BTreeMap::new();
    let mut judged = 0;
    for op in disk.ops() {
        match op {
            Op::Flush => {
                for (at, versions) in std::mem::take(&mut pending) {
                    durable[at as usize..][..512].copy_from_slice(versions.last().expect("one"));
                }
                judge(&durable, &expected);
            }
            Op::Write(at, bytes) => {
                for (index, sector) in bytes.chunks(512).enumerate() {
                    pending.entry(at + index as u64 * 512).or_default().push(sector.to_owned());
                }
                for choice in 0..SUBSETS {
                    let mut disk = durable.clone();
                    let share = [0.0, 1.0, 0.5, 0.1, 0.9, 0.5, 0.01, 0.99][choice];
                    for (at, versions) in &pending {
                        if random.random_bool(share) {
                            let version = &versions[random.random_range(0..versions.len())];
                            disk[*at as usize..][..512].copy_from_slice(version);
                        }
                    }
                    judge(&disk, &expected);
                    judged += 1;
                }
            }
        }
    }
    assert!(pending.is_empty(), "the last write is flushed");
    assert!(judged > 100, "{judged}");
}

#[test]
fn whichever_operation_fails_the_disk_is_named_and_does_not_start_half() {
    let image = Image::new(1);
    let expected = image.expected();
    let whole = Memory::new();
    image.put(&[&whole]).expect("works");
    let all = *whole.count.lock().expect("count");
    for fails in 0..all {
        let disk = Memory { fails, ..Memory::new() };
        let error = image.put(&[&disk]).expect_err("fails").to_string();
        assert!(error.contains("disk 0 at byte ") && error.contains("bad sectors"), "{error}");
        judge(&disk.bytes(), &expected);
    }
}

#[test]
fn a_disk_that_forgets_is_found_out_wherever_it_forgets() {
    let image = Image::new(1);
    // First sector, table, contents, a hole, the settings, the padding after them, the end of the disk.
    let places = [
        0,
        600,
        4 * MIB,
        5 * MIB - 1,
        6 * MIB + 5,
        2 * MIB + 3,
        2 * MIB + 900,
        IMAGE - 1,
        DISK - 1,
    ];
    for bad in places {
        let disk = Memory { bad: Some(bad), ..Memory::new() };
        let error = image.put(&[&disk]).expect_err("differs");
        let text = error.to_string();
        assert!(text.contains("disk 0 does not give back what was written"), "{text}");
        assert_ne!(disk.bytes()[..512], image.bytes[..512], "{text}");
    }
}

#[test]
fn of_a_mirror_both_legs_start_or_none() {
    let image = Image::new(2);
    let expected = image.expected();
    let whole = (Memory::new(), Memory::new());
    image.put(&[&whole.0, &whole.1]).expect("works");
    let all = *whole.1.count.lock().expect("count");
    for fails in 0..all {
        let (good, bad) = (Memory::new(), Memory { fails, ..Memory::new() });
        let error = image.put(&[&good, &bad]).expect_err("fails").to_string();
        assert!(error.contains("disk 1 at byte"), "{error}");
        for disk in [&good, &bad] {
            judge(&disk.bytes(), &expected);
        }
        assert_ne!(good.bytes()[..512], expected[..512], "the good leg alone: {error}");
    }
}

#[test]
fn an_image_that_was_damaged_gets_no_table() {
    for (place, untouched) in [(4 * MIB, false), (600, true), (IMAGE - 1, true)] {
        let image = Image::new(1);
        let path = &image.source.legs[0].path;
        let file = File::options().write(true).open(path).expect("image");
        file.write_all_at(b"?", place).expect("damage");
        let disk = Memory::new();
        let stop = AtomicBool::new(false);
        let common = Common { settings: SETTINGS, events: &|_| (), stop: &stop };
        let job = Job::new(0, &image.source.legs[0], ("disk".to_owned(), &disk, DISK), common);
        let result = job.and_then(|job| put(&[job], &|_| ()));
        let error = result.expect_err("damaged").to_string();
        assert!(error.contains("is damaged or was changed: from byte"), "{error}");
        assert_eq!(error.contains("nothing was written"), untouched, "{error}");
        assert_eq!(disk.bytes() == old_contents(), untouched);
        assert_ne!(disk.bytes()[..512], image.bytes[..512]);
    }
}

#[test]
fn what_is_secret_is_not_shown() {
    let image = Image::new(1);
    let spec = FlashSpec { source: &image.source, targets: &[], settings: Some(b"hunter2") };
    assert!(!format!("{spec:?}").contains("hunter2"));
    assert!(!format!("{spec:?}").contains(&format!("{:?}", b"hunter2")));
}
