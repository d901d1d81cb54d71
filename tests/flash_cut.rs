//! `chatimg flash` cut short: killed, interrupted, with disks that fail or vanish. Whatever happens, no disk may start
//! half an image.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::disks::{DISK, IMAGE, Image, Loop, MIB, Mount, TAIL, assert_done, failed, run};
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const KILLS: u32 = 50;

/// How a killed flash left a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Left {
    Old,
    Empty,
    Whole,
}

/// Fails if the disk could start, and not all of it is there. `leg`: which of the image's disks goes to it.
fn judge(image: &Image, leg: usize, disk: &Loop) -> Left {
    let (mut bytes, new) = (disk.bytes(), &image.bytes[leg]);
    // Partition 7 has settings, the owner's key at least: whole, or nothing.
    let settings = &mut bytes[2 * MIB as usize..3 * MIB as usize];
    if settings.starts_with(b"CHATIMG-SETTINGS-1\n") {
        settings.copy_from_slice(&new[2 * MIB as usize..3 * MIB as usize]);
    }
    let old = |part: &[u8]| part.iter().all(|byte| *byte == 0xaa);
    let zero = |part: &[u8]| part.iter().all(|byte| *byte == 0);
    let table = 512..MIB as usize;
    if bytes[table.clone()] == new[table] {
        let contents = MIB as usize..(IMAGE - MIB) as usize;
        assert!(bytes[contents.clone()] == new[contents], "a partition table, and not everything");
    }
    let (first, tail) = (&bytes[..512], &bytes[(DISK - TAIL) as usize..]);
    if first == &new[..512] {
        assert!(bytes[..IMAGE as usize] == new[..] && zero(tail), "it starts, and is not whole");
        Left::Whole
    } else if old(first) {
        let kept = [MIB..IMAGE - MIB, IMAGE..DISK - TAIL];
        let kept = kept.map(|range| old(&bytes[range.start as usize..range.end as usize]));
        assert_eq!(kept, [true; 2], "the old system could start, and not all of it is there");
        Left::Old
    } else {
        assert!(zero(first), "the first sector is neither old, nor empty, nor new");
        Left::Empty
    }
}

#[test]
fn fifty_kills_leave_no_disk_that_starts_half_an_image() {
    kills(1);
}

#[test]
fn fifty_kills_leave_no_leg_of_a_mirror_that_starts_half_an_image() {
    kills(2);
}

fn kills(legs: usize) {
    let image = Image::with_legs(legs as u64);
    let disks: Vec<_> = (0..legs).map(|leg| image.disk(&format!("disk-{leg}"))).collect();
    let each = |option: &'static str, name: fn(&Loop) -> &str| {
        disks.iter().flat_map(move |disk| [option, name(disk)]).collect::<Vec<_>>()
    };
    let args = [each("--disk", Loop::node), each("--yes-erase", Loop::name)].concat();
    let judge = || -> Vec<_> {
        disks.iter().enumerate().map(|(leg, disk)| judge(&image, leg, disk)).collect()
    };
    let fresh = vec![0xaa; DISK as usize];
    let start = Instant::now();
    assert_done(&image.flash(&args).output().expect("runs"));
    let whole = start.elapsed();
    let mut seen = std::collections::BTreeMap::new();
    for number in 0..KILLS {
        for disk in &disks {
            let mut node = File::options().write(true).open(disk.node()).expect("disk");
            node.write_all(&fresh).and_then(|()| node.sync_all()).expect("another system");
        }
        let mut command = image.flash(&args);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("runs");
        // From before its start to after its end; where it is by then does not matter.
        thread::sleep(whole * number * 11 / (KILLS * 10));
        child.kill().expect("SIGKILL");
        child.wait().expect("ends");
        let left = judge();
        if left.contains(&Left::Whole) {
            for (disk, new) in disks.iter().zip(&image.bytes) {
                let contents = 3 * MIB as usize..(IMAGE - MIB) as usize;
                assert!(
                    disk.bytes()[contents.clone()] == new[contents],
                    "a leg starts before the other is written"
                );
            }
        }
        *seen.entry(left).or_insert(0) += 1;
    }
    println!("{KILLS} kills in {whole:?}: {seen:?}");
    assert!(seen.contains_key(&vec![Left::Empty; legs]), "no kill hit a flash at work: {seen:?}");
    // The last word: they can always be flashed again.
    assert_done(&image.flash(&args).output().expect("runs"));
    assert_eq!(judge(), vec![Left::Whole; legs]);
}

/// A flash whose words nobody reads yet: it stops after wiping and clearing, with its first line, until
/// [`Self::go_on`].
struct Halted {
    child: Child,
    words: std::io::PipeReader,
    filled: usize,
}

impl Halted {
    fn new(image: &Image, disk: &Loop) -> Self {
        // With a key there already, its first words are those of its progress.
        run(Command::new(env!("CARGO_BIN_EXE_chatimg"))
            .args(["key", "new"])
            .env("XDG_CONFIG_HOME", image.path("config")));
        let (words, mut full) = std::io::pipe().expect("pipe");
        let size = fcntl(&full, FcntlArg::F_SETPIPE_SZ(4096)).expect("a small pipe");
        let filled = usize::try_from(size).expect("a size");
        full.write_all(&vec![b'\n'; filled]).expect("it fits exactly");
        let child = image.flash_to(disk).stderr(full).spawn().expect("runs");
        let mut halted = Self { child, words, filled };
        // The line comes after the first piece.
        while disk.block(MIB) != image.bytes[0][MIB as usize..][..4096] {
            assert!(halted.child.try_wait().expect("child").is_none(), "it ended");
            thread::sleep(Duration::from_millis(5));
        }
        halted
    }

    fn go_on(mut self) -> (ExitStatus, String) {
        let mut words = String::new();
        self.words.read_to_string(&mut words).expect("words");
        (self.child.wait().expect("ends"), words.split_off(self.filled))
    }
}

/// How often the thread that waits for signals has gone to sleep.
fn naps(child: &Child) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{}/task", child.id())).expect("threads");
    let statuses =
        tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join("status")).ok());
    let mut waiting = statuses.filter(|status| status.starts_with("Name:\tctrl-c\n"));
    let status = waiting.next().expect("the thread that waits for signals");
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.expect("a count").trim().parse().expect("a number")
}

#[test]
fn ctrl_c_says_what_the_disk_is_like() {
    let image = Image::new();
    let disk = image.disk("disk");
    let halted = Halted::new(&image, &disk);
    let pid = Pid::from_raw(i32::try_from(halted.child.id()).expect("a pid"));
    let before = naps(&halted.child);
    kill(pid, Signal::SIGINT).expect("signal");
    while naps(&halted.child) == before {
        thread::sleep(Duration::from_millis(5));
    }
    let (status, words) = halted.go_on();
    assert_eq!(status.code(), Some(130), "{words}");
    let expected = format!("interrupted; {} has no partition table now", disk.node());
    assert!(words.contains(&expected), "{words}");
    assert_eq!(judge(&image, 0, &disk), Left::Empty);
}

#[test]
fn a_disk_that_vanishes_is_named() {
    let image = Image::new();
    let disk = image.disk("disk");
    let halted = Halted::new(&image, &disk);
    // As when a disk is unplugged: the kernel knows no sector of it any more.
    File::options().write(true).open(&disk.file).and_then(|file| file.set_len(0)).expect("cut");
    run(Command::new("losetup").args(["--set-capacity", disk.node()]));
    let (status, words) = halted.go_on();
    assert_eq!(status.code(), Some(1), "{words}");
    assert!(words.contains(&format!("{}: the disk vanished", disk.node())), "{words}");
    assert!(words.contains("has no partition table now"), "{words}");
}

#[test]
fn of_a_mirror_the_disk_that_vanishes_is_named_and_the_other_does_not_start() {
    let image = Image::with_legs(2);
    let good = image.disk("good");
    let at = image.path("small");
    // Room for what is wiped, and for some of the rest.
    let _mount = Mount::new(&["-t", "tmpfs", "-o", "size=40m", "tmpfs"], &at);
    let file = at.join("bad");
    File::create(&file).and_then(|file| file.set_len(DISK)).expect("disk");
    let bad = Loop::new(&file, &[]);
    let disks = ["--disk", good.node(), "--disk", bad.node()];
    let yes = ["--yes-erase", good.name(), "--yes-erase", bad.name()];
    let words = failed(&image.flash(&[disks, yes].concat()).output().expect("runs"));
    assert!(words.contains(&format!("writing {} at byte", bad.node())), "{words}");
    let expected = format!("{} and {} have no partition table now", good.node(), bad.node());
    assert!(words.contains(&expected), "{words}");
    assert_eq!(good.sector_0(), [0; 512]);
    assert_eq!(bad.sector_0(), [0; 512]);
}

#[test]
fn bad_sectors_are_said_by_the_name_of_the_disk() {
    let image = Image::new();
    let at = image.path("small");
    let _mount = Mount::new(&["-t", "tmpfs", "-o", "size=40m", "tmpfs"], &at);
    let file = at.join("disk");
    File::create(&file).and_then(|file| file.set_len(DISK)).expect("disk");
    let disk = Loop::new(&file, &[]);
    let words = failed(&image.flash_to(&disk).output().expect("runs"));
    assert!(words.contains(&format!("writing {} at byte", disk.node())), "{words}");
    assert!(words.contains("has no partition table now"), "{words}");
    assert_eq!(disk.sector_0(), [0; 512]);
}
