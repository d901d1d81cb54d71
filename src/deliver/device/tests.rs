//! Disks of a made-up machine.

use std::path::Path;

use super::testing::Fake;
use super::{DeviceError, Disk, Need, Objection, Use};
use crate::image::layout::BLANK_DATA_MARKER;

const NEED: Need = Need { size: 6 << 30 };

fn sda(fake: &Fake) -> Disk {
    fake.machine().numbered(Path::new("/dev/sda"), (8, 0)).expect("a disk")
}

fn against(fake: &Fake) -> Vec<String> {
    sda(fake).objections(NEED).iter().map(ToString::to_string).collect()
}

#[test]
fn a_disk_that_nobody_uses_is_taken() {
    let fake = Fake::new();
    assert_eq!(against(&fake), [""; 0]);
    let disk = sda(&fake);
    assert_eq!((disk.size, disk.sector, &*disk.word(&[])), (8 << 30, 512, "sda"));
}

#[test]
fn a_partition_is_refused_and_its_disk_named() {
    let fake = Fake::new();
    let error = fake.machine().numbered(Path::new("/dev/sda2"), (8, 2)).expect_err("refused");
    assert!(matches!(&error, DeviceError::Partition { whole, .. } if whole == "sda"), "{error}");
    assert!(error.to_string().contains("give --disk /dev/sda,"), "{error}");
}

/// What the machine shows, and a part of the reason that must come of it.
#[test]
fn each_use_is_found_and_said() {
    type Setup = fn(&Fake);
    let table: [(Setup, &str); 16] = [
        (
            |f| _ = f.write("proc/self/mountinfo", "1 0 8:2 / / rw - ext4 /dev/root rw\n"),
            "it carries the running system (/ is mounted from sda2)",
        ),
        (
            |f| {
                _ = f
                    .write("proc/self/mountinfo", "1 0 8:1 / /my\\040disk rw - vfat /dev/sda1 rw\n")
            },
            "sda1 is mounted on /my disk: run `umount",
        ),
        (
            |f| _ = f.write("proc/self/mountinfo", "1 0 8:0 / /mnt rw - ext4 /dev/sda rw\n"),
            "sda is mounted on /mnt",
        ),
        // btrfs shows a number of its own.
        (
            |f| _ = f.write("proc/self/mountinfo", "1 0 0:33 / /mnt rw - btrfs /dev/sda2 rw\n"),
            "sda2 is mounted on /mnt",
        ),
        // Seen by the first process only: this one is in a container.
        (
            |f| _ = f.write("proc/1/mountinfo", "1 0 8:2 / /srv rw - ext4 /dev/sda2 rw\n"),
            "sda2 is mounted on /srv",
        ),
        (
            |f| _ = f.write("proc/swaps", "Filename Type\n/dev/sda2 partition 1 0 -2\n"),
            "sda2 is in use as swap: run `swapoff /dev/sda2`",
        ),
        (
            |f| _ = f.holder("sda/sda1", "md0", "9:0").write("sys/block/md0/md/level", "raid1\n"),
            "sda1 is part of the RAID md0: run `mdadm --stop /dev/md0`",
        ),
        (
            |f| _ = f.holder("sda", "md127", "9:127").write("sys/block/md127/md/level", "raid1\n"),
            "sda is part of the RAID md127",
        ),
        (
            |f| {
                f.holder("sda/sda2", "dm-0", "253:0").write("sys/block/dm-0/dm/name", "vg-root\n");
                f.write("sys/block/dm-0/dm/uuid", "LVM-abc\n");
            },
            "sda2 carries the logical volume vg-root",
        ),
        (
            |f| {
                f.holder("sda/sda2", "dm-1", "253:1").write("sys/block/dm-1/dm/name", "secret\n");
                f.write("sys/block/dm-1/dm/uuid", "CRYPT-LUKS2-abc-secret\n");
            },
            "run `cryptsetup close secret`",
        ),
        (
            |f| {
                f.holder("sda", "dm-1", "253:1").write("sys/block/dm-1/dm/name", "mpatha\n");
                f.write("sys/block/dm-1/dm/uuid", "mpath-3600\n");
            },
            "run `multipath -f mpatha`",
        ),
        // The system two floors up.
        (
            |f| {
                f.holder("sda/sda2", "md0", "9:0").write("sys/block/md0/md/level", "raid1\n");
                f.holder("md0", "dm-0", "253:0").write("sys/block/dm-0/dm/name", "vg-root\n");
                f.write("proc/self/mountinfo", "1 0 253:0 / / rw - ext4 /dev/mapper/vg-root rw\n");
            },
            "it carries the running system (/ is mounted from dm-0)",
        ),
        (|f| _ = f.holder("sda/sda1", "bcache0", "252:0"), "sda1 is used by bcache0"),
        (
            |f| _ = f.write("sys/block/loop3/loop/backing_file", "/dev/sda1\n"),
            "sda1 is behind the loop device loop3: run `losetup --detach /dev/loop3`",
        ),
        (
            |f| _ = f.write("sys/fs/btrfs/c0ffee/devices/sda2/x", ""),
            "sda2 is part of a mounted btrfs (c0ffee)",
        ),
        // By a name that is a link to the device.
        (
            |f| {
                f.write("dev/sda2", "").link("dev/mapper/swap", "../sda2");
                f.write("proc/swaps", "Filename Type\n/dev/mapper/swap partition 1 0 -2\n");
            },
            "sda2 is in use as swap",
        ),
    ];
    for (setup, expected) in table {
        let fake = Fake::new();
        setup(&fake);
        let reasons = against(&fake);
        assert!(reasons[0].contains(expected), "expected '{expected}', got {reasons:?}");
    }
}

#[test]
fn what_the_disk_is_itself_may_stand_against_it_too() {
    let table = [
        (
            "sys/block/sda/size",
            "2048",
            "it has 1048576 bytes (0.0 GiB), the image needs 6442450944 (6.0 GiB)",
        ),
        ("sys/block/sda/size", "0", "no medium"),
        ("sys/block/sda/ro", "1", "read-only"),
        ("sys/block/sda/queue/logical_block_size", "4096", "logical sectors have 4096 bytes"),
        ("sys/block/sda/md/level", "raid1", "made of other disks"),
        ("sys/block/sda/slaves/sdb", "", "made of other disks"),
    ];
    for (path, contents, expected) in table {
        let fake = Fake::new();
        fake.write(path, contents);
        let reasons = against(&fake);
        assert_eq!(reasons.len(), 1, "{reasons:?}");
        assert!(reasons[0].contains(expected), "{reasons:?}");
    }
}

#[test]
fn a_disk_as_large_as_the_image_is_large_enough() {
    let fake = Fake::new();
    fake.write("sys/block/sda/size", (NEED.size / 512).to_string());
    assert_eq!(sda(&fake).objections(NEED), [] as [Objection; 0]);
}

#[test]
fn the_use_by_the_system_is_said_first() {
    let fake = Fake::new();
    let mounts = "1 0 8:1 / /data rw - vfat /dev/sda1 rw\n2 0 8:2 / / rw - ext4 /dev/sda2 rw\n";
    fake.write("proc/self/mountinfo", mounts);
    let uses = sda(&fake).uses;
    assert!(matches!(&uses[..], [Use::System { .. }, Use::Mounted { .. }]), "{uses:?}");
}

#[test]
fn model_and_serial_come_from_wherever_they_are_known() {
    type Files = &'static [(&'static str, &'static [u8])];
    let table: [(Files, Option<&str>, Option<&str>); 5] = [
        (
            &[
                ("sys/block/sda/device/model", b"Ultra   \n"),
                ("sys/block/sda/device/vendor", b"SanDisk \n"),
            ],
            Some("SanDisk Ultra"),
            None,
        ),
        (
            &[
                ("sys/block/sda/device/model", b"WDC WD10\n"),
                ("sys/block/sda/device/vendor", b"ATA     \n"),
                ("sys/block/sda/device/vpd_pg80", b"\0\x80\0\x08    WD-1"),
            ],
            Some("WDC WD10"),
            Some("WD-1"),
        ),
        (&[("sys/block/sda/serial", b"S64D\n")], None, Some("S64D")),
        (
            &[(
                "run/udev/data/b8:0",
                b"N:sda\nE:ID_MODEL=Stick\nE:ID_SERIAL=Stick_42\nE:ID_SERIAL_SHORT=42\n",
            )],
            Some("Stick"),
            Some("42"),
        ),
        (&[("sys/block/idVendor", b"0781\n"), ("sys/block/serial", b"4C53\n")], None, Some("4C53")),
    ];
    for (files, model, serial) in table {
        let fake = Fake::new();
        files.iter().for_each(|(path, contents)| _ = fake.write(path, contents));
        let disk = sda(&fake);
        assert_eq!((disk.model.as_deref(), disk.serial.as_deref()), (model, serial));
    }
}

#[test]
fn a_stick_that_was_exchanged_is_another_disk() {
    let fake = Fake::new();
    fake.write("sys/block/sda/diskseq", "7\n");
    let before = sda(&fake);
    assert!(before.is(&sda(&fake)));
    fake.write("sys/block/sda/diskseq", "8\n");
    assert!(!before.is(&sda(&fake)));
}

#[test]
fn disks_are_listed_in_order_and_nothing_else() {
    let fake = Fake::new();
    for (name, number) in
        [("sdaa", "65:160"), ("sdb", "8:16"), ("loop0", "7:0"), ("zram0", "254:0"), ("sr0", "11:0")]
    {
        fake.disk(name, number, 8 << 30);
    }
    fake.disk("sdc", "8:32", 0);
    fake.holder("sda", "dm-0", "253:0").write("sys/block/dm-0/dm/name", "x");
    let disks = fake.machine().disks().expect("disks");
    let names: Vec<_> = disks.iter().map(|disk| disk.name.as_str()).collect();
    assert_eq!(names, ["sda", "sdb", "sdaa"]);
}

#[test]
fn what_is_on_a_disk_is_told_by_its_marks() {
    let put = |at: usize, mark: &[u8]| {
        let mut bytes = vec![0; 1 << 20];
        bytes[at..at + mark.len()].copy_from_slice(mark);
        bytes
    };
    let table: [(Vec<u8>, Vec<u8>, &str); 9] = [
        (put(0, b""), put(0, b""), "empty"),
        (put(9, b"x"), put(0, b""), "something unknown"),
        (put(0, b"XFSB"), put(0, b""), "XFS"),
        (put(0x438, b"\x53\xef"), put(0, b""), "ext2/3/4"),
        (put(0x2_0400, b"\x0c\xb1\xba\0\0\0\0\0"), put(0, b""), "ZFS"),
        (
            put(0x200, b"EFI PART"),
            put(0, BLANK_DATA_MARKER),
            "GPT: empty chatimg data, something unknown",
        ),
        (put(0x1fe, b"\x55\xaa"), put(3, b"NTFS    "), "MBR: NTFS, something unknown"),
        (put(0x200, b"LABELONE"), put(0, b""), "LVM"),
        (put(0, b"")[..100].to_vec(), put(0, b""), "unreadable: failed to fill whole buffer"),
    ];
    for (whole, first, expected) in table {
        let fake = Fake::new();
        fake.write("dev/sda", whole).write("dev/sda1", first);
        assert_eq!(fake.machine().contents(&sda(&fake)), expected);
    }
    let fake = Fake::new();
    fake.write("dev/sda", put(0, b"")).write("sys/block/sda/sda1/uevent", "PARTNAME=chatimg-esp\n");
    assert_eq!(fake.machine().contents(&sda(&fake)), "a chatimg box");
}

#[test]
fn a_serial_number_that_two_disks_have_confirms_neither_alone() {
    let fake = Fake::new();
    let disk = fake.machine().disk(Path::new("/dev/null"));
    assert!(matches!(disk, Err(DeviceError::NotADisk { .. })));
    let one = |name: &str, serial: &str| Disk {
        name: name.to_owned(),
        serial: Some(serial.to_owned()),
        ..fake.machine().disks().expect("disks").remove(0)
    };
    let all = [one("sda", "S1"), one("sdb", "S1"), one("sdc", "S2")];
    assert_eq!(all.each_ref().map(|disk| disk.word(&all)), ["S1/sda", "S1/sdb", "S2"]);
}

#[test]
fn a_mount_point_in_another_encoding_hides_no_use() {
    let fake = Fake::new();
    fake.write(
        "proc/self/mountinfo",
        b"20 1 0:30 / /media/B\xfccher rw - tmpfs t rw\n21 1 8:1 / /mnt rw - ext4 /dev/sda1 rw\n",
    );
    let disks = fake.machine().disks().expect("disks");
    assert!(matches!(&disks[0].uses[..], [Use::Mounted { at, .. }] if at == "/mnt"), "{disks:?}");
}

#[test]
fn without_the_kernels_list_of_mounts_no_disk_is_free() {
    let fake = Fake::new();
    fake.remove("proc/self/mountinfo");
    assert!(fake.machine().disks().expect_err("unknown").to_string().contains("mountinfo"));
}
