//! `chatimg flash` as a user runs it: to files and to loop devices, with a made-up image.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, symlink};
use std::path::Path;
use std::process::Command;

use crate::disks::{DISK, IMAGE, Image, Loop, MIB, Mount, Swap, assert_done, failed, run, text};
use nix::fcntl::OFlag;

/// One partition, from 1 MiB on.
fn with_partition(image: &Image, name: &str) -> Loop {
    let path = image.old_disk(name, DISK);
    let mut table = vec![0; 512];
    table[446..462].copy_from_slice(b"\0\0\0\0\x83\0\0\0\0\x08\0\0\0\0\x01\0");
    table[510..].copy_from_slice(b"\x55\xaa");
    let file = File::options().write(true).open(&path).expect("disk");
    file.write_all_at(&table, 0).expect("table");
    let disk = Loop::new(&path, &["--partscan"]);
    if !Path::new(&format!("{}p1", disk.node())).exists() {
        // A kernel that knows no such tables can be told.
        run(Command::new("addpart").args([disk.node(), "1", "2048", "65536"]));
    }
    disk
}

#[test]
fn a_disk_holds_the_image_and_nothing_old() {
    let image = Image::new();
    let disk = image.disk("disk");
    let output = image.flash_to(&disk).output().expect("runs");
    assert_done(&output);
    assert!(text(&output.stdout).contains(&format!("is on {}", disk.node())));
    image.assert_on(disk.node().as_ref());
    // And again, over itself.
    assert_done(&image.flash_to(&disk).output().expect("runs"));
    image.assert_on(disk.node().as_ref());
}

#[test]
fn disks_of_the_same_size_and_of_odd_sizes_hold_it_too() {
    let image = Image::new();
    for (name, size) in [("same", IMAGE), ("little-more", IMAGE + 512), ("odd", DISK + 512 * 3)] {
        let disk = Loop::new(&image.old_disk(name, size), &[]);
        assert_done(&image.flash_to(&disk).output().expect("runs"));
        image.assert_on(disk.node().as_ref());
    }
}

#[test]
fn a_mirror_goes_to_two_disks_at_once() {
    let image = Image::with_legs(2);
    let (one, two) = (image.disk("one"), image.disk("two"));
    let args = ["--disk", one.node(), "--disk", two.node(), "--yes-erase", two.name()];
    let words = failed(&image.flash(&args).output().expect("runs"));
    assert!(words.contains(&format!("add --yes-erase '{}'", one.name())), "{words}");
    assert_eq!((one.sector_0(), two.sector_0()), ([0xaa; 512], [0xaa; 512]));

    let args = [&args[..], &["--yes-erase", one.name()]].concat();
    assert_done(&image.flash(&args).output().expect("runs"));
    image.assert_leg_on(0, one.node().as_ref());
    image.assert_leg_on(1, two.node().as_ref());
}

#[test]
fn the_disks_are_as_many_as_the_image_has() {
    let (single, mirror) = (Image::new(), Image::with_legs(2));
    let (one, two) = (single.disk("one"), single.disk("two"));
    let words = failed(&mirror.flash_to(&one).output().expect("runs"));
    assert!(words.contains("is for 2 disks, and one was given"), "{words}");
    let both = ["--disk", one.node(), "--disk", two.node()];
    let words = failed(&single.flash(&both).output().expect("runs"));
    assert!(words.contains("is for one disk, and 2 were given"), "{words}");
    let link = mirror.path("by-id");
    symlink(one.node(), &link).expect("link");
    let same = ["--disk", one.node(), "--disk", link.to_str().expect("UTF-8")];
    let words = failed(&mirror.flash(&same).output().expect("runs"));
    assert!(words.contains(&format!("{} is named twice", one.node())), "{words}");
    assert_eq!((one.sector_0(), two.sector_0()), ([0xaa; 512], [0xaa; 512]));
}

#[test]
fn nothing_is_erased_unless_it_was_named() {
    let image = Image::new();
    let disk = image.disk("disk");
    let words = failed(&image.flash(&["--disk", disk.node()]).output().expect("runs"));
    assert!(words.contains("there is nobody to ask"), "{words}");
    let wrong = ["--disk", disk.node(), "--yes-erase", "loop77"];
    let words = failed(&image.flash(&wrong).output().expect("runs"));
    assert!(words.contains("--yes-erase loop77 is none of the disks"), "{words}");
    assert_eq!(disk.sector_0(), [0xaa; 512]);
}

#[test]
fn without_a_disk_they_are_listed_and_nothing_is_written() {
    let image = Image::new();
    let output = image.flash(&[]).output().expect("runs");
    let words = failed(&output);
    assert!(words.contains("no disk was named, so nothing was written"), "{words}");
    assert!(!text(&output.stdout).is_empty());
}

#[test]
fn a_mounted_disk_is_refused() {
    let image = Image::new();
    let disk = image.disk("disk");
    run(Command::new("mkfs.ext4").args(["-q", "-F", disk.node()]));
    let at = image.path("here and there");
    let _mount = Mount::new(&["-o", "ro", disk.node()], &at);
    let words = image.refused(&disk);
    let expected = format!("{} is mounted on {}: run `umount", disk.name(), at.display());
    assert!(words.contains(&expected), "{words}");
}

#[test]
fn a_disk_with_a_mounted_partition_is_refused_and_so_is_the_partition() {
    let image = Image::new();
    let disk = with_partition(&image, "disk");
    let part = format!("{}p1", disk.node());
    let words = failed(&image.flash(&["--disk", &part]).output().expect("runs"));
    assert!(words.contains(&format!("{part} is a partition of {}", disk.node())), "{words}");
    run(Command::new("mkfs.ext4").args(["-q", "-F", &part]));
    let _mount = Mount::new(&["-o", "ro", &part], &image.path("here"));
    let words = image.refused(&disk);
    assert!(words.contains(&format!("{}p1 is mounted on", disk.name())), "{words}");
}

#[test]
fn a_partition_that_a_program_has_open_is_a_reason_too() {
    let image = Image::new();
    let disk = with_partition(&image, "disk");
    let open = File::open(format!("{}p1", disk.node())).expect("partition");
    let words = image.refused(&disk);
    assert!(words.contains("a program has a partition of") && words.contains("open"), "{words}");
    drop(open);
    assert_done(&image.flash_to(&disk).output().expect("runs"));
    assert!(!Path::new(&format!("{}p1", disk.node())).exists(), "the old partition is forgotten");
}

#[test]
fn swap_is_refused() {
    let image = Image::new();
    let disk = image.disk("disk");
    let _swap = Swap::new(disk.node());
    // Of the rest the kernel may be making use.
    let header = || fs::read(&disk.file).expect("disk")[..4096].to_vec();
    let before = header();
    let words = failed(&image.flash_to(&disk).output().expect("runs"));
    assert!(before == header(), "written to: {words}");
    assert!(words.contains(&format!("run `swapoff {}`", disk.node())), "{words}");
}

#[test]
fn a_disk_behind_a_loop_device_is_refused() {
    let image = Image::new();
    let disk = image.disk("disk");
    let above = Loop::new(disk.node().as_ref(), &[]);
    let words = image.refused(&disk);
    assert!(words.contains(&format!("run `losetup --detach {}`", above.node())), "{words}");
}

/// As by a mount in another container: the kernel knows, and this process does not.
#[test]
fn a_disk_that_somebody_holds_is_refused() {
    let image = Image::new();
    let disk = image.disk("disk");
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).custom_flags(OFlag::O_EXCL.bits());
    let _held = options.open(disk.node()).expect("disk");
    let words = image.refused(&disk);
    assert!(words.contains("is in use, though this process cannot see by whom"), "{words}");
}

#[test]
fn a_disk_that_another_program_works_on_is_refused() {
    let image = Image::new();
    let disk = image.disk("disk");
    let other = File::open(disk.node()).expect("disk");
    other.lock().expect("lock");
    let words = image.refused(&disk);
    assert!(words.contains("another program"), "{words}");
}

#[test]
fn disks_that_do_not_fit_are_refused() {
    let image = Image::new();
    let small = image.old_disk("small", IMAGE - 512);
    let large = image.old_disk("large", DISK);
    let table: [(&Path, &[&str], &str); 3] = [
        (&small, &[], "the image needs 50331648"),
        (&large, &["--sector-size", "4096"], "its logical sectors have 4096 bytes"),
        (&large, &["--read-only"], "it is read-only"),
    ];
    for (file, args, expected) in table {
        let words = image.refused(&Loop::new(file, args));
        assert!(words.contains(expected), "{words}");
    }
}

#[test]
fn what_is_no_disk_is_refused() {
    let image = Image::new();
    let file = image.old_disk("file", MIB);
    for (path, expected) in [
        (file.to_str().expect("UTF-8"), "is no disk"),
        ("/dev/null", "is no disk"),
        ("/dev/nonexistent", "looking for /dev/nonexistent"),
    ] {
        let words = failed(&image.flash(&["--disk", path]).output().expect("runs"));
        assert!(words.contains(expected), "{words}");
    }
}

#[test]
fn a_file_holds_the_image_for_its_owner_only() {
    let image = Image::new();
    let path = image.path("new.img");
    let args = ["--image-file", path.to_str().expect("UTF-8")];
    let mut command = image.flash(&args);
    assert_done(&command.output().expect("runs"));
    image.assert_on(&path);
    let meta = fs::metadata(&path).expect("file");
    assert_eq!(meta.mode() & 0o7777, 0o600);
    assert_eq!(meta.len(), IMAGE);
    assert!(meta.blocks() * 512 < 36 * MIB, "it is sparse");

    fs::write(&path, "precious").expect("write");
    let words = failed(&command.output().expect("runs"));
    assert!(words.contains("is there already"), "{words}");
    assert_eq!(fs::read(&path).expect("file"), b"precious");
}

/// A secret lies in the settings partition alone: not in what is said, and in no other file.
#[test]
fn a_secret_goes_to_the_settings_partition_and_nowhere_else() {
    const CANARY: &str = "canary-8f3b1c-2d9e40-77aa";
    let image = Image::new();
    let host = image.path("host.toml");
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(&host).expect("settings");
    write!(file, "[secrets]\ncloudflare-token = \"{CANARY}\"\n").expect("settings");
    let path = image.path("new.img");
    let [name, host_name] = [&path, &host].map(|path| path.to_str().expect("UTF-8"));
    let output = image.flash(&["--image-file", name, "--host", host_name]).output().expect("runs");
    assert_done(&output);
    let places = |bytes: &[u8]| {
        let found = bytes.windows(CANARY.len()).enumerate();
        found
            .filter(|(_, part)| *part == CANARY.as_bytes())
            .map(|(at, _)| at as u64)
            .collect::<Vec<_>>()
    };
    assert_eq!(places(&[output.stdout, output.stderr].concat()), [0; 0]);
    let found = places(&fs::read(&path).expect("file"));
    assert!(
        !found.is_empty() && found.iter().all(|at| (2 * MIB..3 * MIB).contains(at)),
        "{found:?}"
    );
    let mut folders = vec![image.dir.path().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("folder") {
            let entry = entry.expect("entry").path();
            if entry.is_dir() {
                folders.push(entry);
            } else if entry != host && entry != path {
                let found = places(&fs::read(&entry).expect("file"));
                assert!(found.is_empty(), "{}: {found:?}", entry.display());
            }
        }
    }
}

/// Who would lock himself out of updates is told.
#[test]
fn update_keys_without_ones_own_are_warned_of() {
    let image = Image::new();
    let host = image.path("host.toml");
    for (number, others) in [true, false].into_iter().enumerate() {
        let key = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
        let text = if others { format!("[update]\nkeys = [\"{key}\"]\n") } else { String::new() };
        fs::write(&host, text).expect("settings");
        let path = image.path(&format!("new-{number}.img"));
        let [name, host_name] = [&path, &host].map(|path| path.to_str().expect("UTF-8"));
        let output = image.flash(&["--image-file", name, "--host", host_name]).output();
        let output = output.expect("runs");
        assert_done(&output);
        let warned = String::from_utf8_lossy(&output.stderr).contains("will refuse images");
        assert_eq!(warned, others);
    }
}

#[test]
fn a_mirror_goes_to_two_files() {
    let image = Image::with_legs(2);
    let (one, two) = (image.path("one"), image.path("two"));
    let name = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    let (one_name, two_name) = (name(&one), name(&two));
    let same = ["--image-file", &one_name, "--image-file", &one_name];
    assert!(failed(&image.flash(&same).output().expect("runs")).contains("is named twice"));
    let args = ["--image-file", &one_name, "--image-file", &two_name];
    assert_done(&image.flash(&args).output().expect("runs"));
    image.assert_leg_on(0, &one);
    image.assert_leg_on(1, &two);
}

/// Nothing is left of a file that could not be written.
#[test]
fn a_full_file_system_is_said_and_left_as_it_was() {
    let image = Image::new();
    let at = image.path("full");
    let _mount = Mount::new(&["-t", "tmpfs", "-o", "size=16m", "tmpfs"], &at);
    let path = at.join("new.img");
    let args = ["--image-file", path.to_str().expect("UTF-8")];
    let words = failed(&image.flash(&args).output().expect("runs"));
    assert!(words.contains("new.img at byte") && words.contains("was removed"), "{words}");
    assert_eq!(fs::read_dir(&at).expect("folder").count(), 0);
}

#[test]
fn an_image_that_was_changed_gets_no_table() {
    for (place, blank) in [(20 * MIB, true), (700, false), (IMAGE - 1, false)] {
        let image = Image::new();
        let file = File::options().write(true).open(image.path("disk.img")).expect("image");
        file.write_all_at(b"?", place).expect("damage");
        let disk = image.disk("disk");
        let words = failed(&image.flash_to(&disk).output().expect("runs"));
        assert!(words.contains("disk.img is damaged or was changed: from byte"), "{words}");
        assert_eq!(words.contains("no partition table now"), blank, "{words}");
        assert_eq!(disk.sector_0(), if blank { [0; 512] } else { [0xaa; 512] }, "{words}");
    }
}

#[test]
fn an_image_that_is_not_whole_is_refused() {
    let image = Image::new();
    let disk = image.disk("disk");
    let file = File::options().write(true).open(image.path("disk.img")).expect("image");
    file.set_len(IMAGE - MIB).expect("cut");
    let words = image.refused(&disk);
    assert!(words.contains("has 49283072 bytes, not 50331648"), "{words}");
    fs::remove_file(image.path("manifest.json")).expect("remove");
    let words = image.refused(&disk);
    assert!(words.contains("manifest.json"), "{words}");
}
