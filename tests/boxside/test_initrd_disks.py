"""src/image/initrd/{disks,mirror,data}.sh: which disks the box starts with, and when it formats them."""

import os
import subprocess
import tempfile
import unittest
import uuid
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[2] / "src/image/initrd"
GUIDS = ("0219bc56-f7bd-53eb-b58f-f47dff2d3968", "0319bc56-f7bd-53eb-b58f-f47dff2d3968")
ID = "0123456789abcdef"
# `CHATIMG_TEST_SHELL="busybox sh"` tries them in the shell that runs them.
SHELL = os.environ.get("CHATIMG_TEST_SHELL", "sh").split()
BOX, OTHER = "aaaaaaaa:1", "bbbbbbbb:2"
DATA = 2048 * 512
NOTE = 64 * 512

# What the box has instead. READONLY: partitions that cannot be written. SICK: those that mdadm cannot make an array of.
AROUND = """
say() { echo "say: $*"; }
fail() { echo "fail ${2:-5}: $1"; exit 9; }
sleep() { ticks=$((ticks + 1)); }
ticks=0
uptime_seconds() { echo "$ticks"; }
feed_watchdog() { :; }
sync() { :; }
blockdev() { :; }
in_slot() { echo "run: $*"; }
mdadm() {
    echo "run: mdadm $*" >&3
    for word in $SICK; do case "$*" in *--create*"$word"*) return 1 ;; esac; done
}
image_on() { cat "ROOT/dev/$1.image" 2>/dev/null; }
examine() { case $1 in MD_EVENTS) cat "$2.events" ;; *) cat "$2.uuid" ;; esac 2>/dev/null; }
knows_both_legs() { [ ! -e "$1.alone" ]; }
dd() {
    for word in $READONLY; do case "$*" in *"of=ROOT/dev/$word "*) cat >/dev/null; return 1 ;; esac; done
    command dd "$@"
}
exec 3>&1
"""


class Machine:
    def __init__(self, folder: str):
        self.root = Path(folder)
        (self.root / "dev").mkdir()
        (self.root / "sys/block").mkdir(parents=True)

    def disk(
        self, name: str, leg: int, data: str, note: str = "", image: str = ID, box: str = "", events: int = 0, alone: bool = False
    ) -> None:
        sectors = 4096
        header = b"EFI PART" + bytes(48) + uuid.UUID(GUIDS[leg]).bytes_le
        table = bytearray(sectors * 512)
        for lba in (1, sectors - 1):
            table[lba * 512 : lba * 512 + len(header)] = header
        (self.dev(name)).write_bytes(table)
        for number in (3, 4, 5, 6):
            folder = self.root / f"sys/block/{name}/{name}{number}"
            folder.mkdir(parents=True)
            (folder / "partition").write_text(f"{number}\n")
        (self.root / f"sys/block/{name}/size").write_text(f"{sectors}\n")
        self.dev(f"{name}3").write_bytes(bytes(NOTE) + note.encode().ljust(512, b"\0"))
        contents = {"blank": b"CHATIMG-BLANK-DATA-1\n", "used": b"XFSB"}[data]
        self.dev(f"{name}6").write_bytes(bytes(DATA) + contents.ljust(512, b"\0"))
        self.dev(f"{name}.image").write_text(image)
        if box:
            self.dev(f"{name}6.uuid").write_text(box)
        self.dev(f"{name}6.events").write_text(f"{events}\n")
        if alone:
            self.dev(f"{name}6.alone").touch()

    def dev(self, name: str) -> Path:
        return self.root / "dev" / name

    def note(self, name: str) -> str:
        return self.dev(f"{name}3").read_bytes()[NOTE : NOTE + 40].split(b"\n")[0].strip(b"\0").decode()

    def start(self, sick: str = "", readonly: str = "", then: str = "choose_members; format_data_if_blank") -> list[str]:
        text = "".join((SCRIPTS / f"{part}.sh").read_text() for part in ("disks", "mirror", "data"))
        # A look for disks takes many processes: the tests are less patient, in the same order.
        assert "echo 60\n" in text and "echo 10;" in text and "-ge 30 ]" in text
        text = text.replace("echo 60\n", "echo 6\n").replace("echo 10;", "echo 3;").replace("-ge 30 ]", "-ge 4 ]")
        for here in ("/dev/$", "/sys/block"):
            text = text.replace(here, f"{self.root}{here}")
        script = f"{text}\n{AROUND.replace('ROOT', str(self.root))}\n"
        script += f"guids='{' '.join(GUIDS)}' id={ID} slot=a mirror=yes data_start=2048 data=md6 unloaded='' SICK='{sick}' "
        script += f"READONLY='{readonly}'\nwait_for_disks\n{then}\necho \"disks:$disks ticks:$ticks\"\n"
        done = subprocess.run([*SHELL, "-u", "-c", script], capture_output=True, text=True, check=False)
        self.stderr = done.stderr
        return done.stdout.splitlines()


class InitrdDisks(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.box = Machine(folder.name)

    def start(self, **options) -> tuple[str, str]:
        """What was said and run, and the last line."""
        lines = self.box.start(**options)
        self.assertEqual(self.box.stderr, "", lines)
        return "\n".join(lines), lines[-1].replace(str(self.box.root), "")

    def formatted(self, text: str) -> bool:
        return "mkfs.xfs" in text

    def test_the_first_boot_formats_both_at_once(self):
        self.box.disk("sda", 0, "blank")
        self.box.disk("sdb", 1, "blank")
        text, last = self.start()
        self.assertTrue(self.formatted(text))
        self.assertEqual(last, "disks: sda sdb ticks:1")
        self.assertEqual([self.box.note(name) for name in ("sda", "sdb")], ["CHATIMG-FORMATTED-1"] * 2)

    def test_used_disks_are_never_formatted(self):
        self.box.disk("sda", 0, "used", box=BOX)
        self.box.disk("sdb", 1, "used", box=BOX)
        text, last = self.start()
        self.assertFalse(self.formatted(text))
        self.assertEqual(last, "disks: sda sdb ticks:1")

    def test_a_blank_disk_waits_a_minute_for_the_other_one_and_a_used_one_ten_seconds(self):
        self.box.disk("sda", 0, "blank")
        self.assertEqual(self.start()[1], "disks: sda ticks:7")
        self.box.disk("sdb", 1, "used", box=BOX)
        for file in list((self.box.root / "sys/block/sda").rglob("partition")):
            file.unlink()
        self.box.dev("sda").write_bytes(bytes(4096))
        self.assertEqual(self.start()[1], "disks: sdb ticks:4")

    def test_a_blank_disk_left_out_once_is_never_formatted(self):
        self.box.disk("sda", 0, "used", box=BOX)
        self.box.disk("sdb", 1, "blank")
        text, last = self.start()
        self.assertEqual(last, "disks: sda ticks:1")
        self.assertIn("sdb holds no data and stays out", text)
        self.assertEqual(self.box.note("sdb"), "CHATIMG-STAYS-OUT-1")
        # The disk with the data dies.
        self.box.dev("sda").write_bytes(bytes(4096))
        text, last = self.start()
        self.assertFalse(self.formatted(text))
        self.assertIn("fail 60: the disk sdb (unknown model, serial unknown) has none of the mirror's data", last)
        # A new one beside it makes no new box either.
        self.box.disk("sdc", 0, "blank")
        self.assertIn("fail 60: the disk sdb (unknown model, serial unknown) has none", self.start()[1])

    def test_nothing_is_formatted_beside_data_that_cannot_be_used_now(self):
        self.box.disk("sda", 0, "used", image="fedcba9876543210", box=BOX)
        self.box.disk("sdb", 1, "blank")
        text, last = self.start()
        self.assertFalse(self.formatted(text))
        self.assertIn("fail 60: the disk sda (unknown model, serial unknown) holds data, but not image", last)
        self.box.dev("sda.image").write_text("")  # Its slot cannot be read.
        self.assertIn("fail 60: the disk sda (unknown model, serial unknown) holds data", self.start()[1])

    def test_a_formatting_cut_short_between_the_notes(self):
        self.box.disk("sda", 0, "used", "CHATIMG-FORMATTED-1\n", box=BOX)
        self.box.disk("sdb", 1, "used", "CHATIMG-FORMATTING-1\n", box=BOX)
        self.assertEqual(self.start()[1], "disks: sda sdb ticks:1")
        self.assertEqual(self.box.note("sdb"), "CHATIMG-FORMATTED-1")

    def test_a_formatting_cut_short_is_done_again(self):
        for leg, name in enumerate(("sda", "sdb")):
            self.box.disk(name, leg, "used", "CHATIMG-FORMATTING-1\n", box=BOX)
        self.assertTrue(self.formatted(self.start()[0]))

    def test_data_of_two_boxes_are_refused(self):
        self.box.disk("sda", 0, "used", box=BOX)
        self.box.disk("sdb", 1, "used", box=OTHER)
        self.assertRegex(self.start()[1], r"fail 60: the disks sda \(.*\) and sdb \(.*\) hold data of different boxes")

    def test_one_sick_disk_does_not_stop_the_first_boot(self):
        for options in ({"readonly": "sdb3"}, {"sick": "sdb6"}):
            folder = tempfile.TemporaryDirectory()
            self.addCleanup(folder.cleanup)
            self.box = Machine(folder.name)
            self.box.disk("sda", 0, "blank")
            self.box.disk("sdb", 1, "blank")
            text, last = self.start(**options)
            self.assertTrue(self.formatted(text), options)
            self.assertEqual(last, "disks: sda ticks:1", options)
            self.assertIn("dev/sda6 missing", text)
            self.assertEqual(self.box.note("sda"), "CHATIMG-FORMATTED-1")

    def test_two_sick_disks_do(self):
        self.box.disk("sda", 0, "blank")
        self.box.disk("sdb", 1, "blank")
        self.assertIn("fail 60: partition 3 of sdb cannot be written", self.start(readonly="sda3 sdb3")[1])
        self.assertIn("fail 60: the data array cannot be made", self.start(sick="sda6 sdb6")[1])

    def test_a_disk_that_lacks_a_partition_is_left_out_if_there_is_another(self):
        self.box.disk("sda", 0, "used", box=BOX)
        self.box.disk("sdb", 1, "used", box=BOX)
        (self.box.root / "sys/block/sda/sda5/partition").unlink()
        text, last = self.start()
        self.assertEqual(last, "disks: sdb ticks:1")
        self.assertIn("the disk sda lacks partition 5; going on without the disk sda", text)
        (self.box.root / "sys/block/sdb/sdb5/partition").unlink()
        self.assertIn("fail 5: the disk sdb lacks partition 5", self.start()[1])

    def test_a_disk_that_is_back_beside_the_one_in_its_place_stays_out(self):
        for old, new in (("sda", "sdc"), ("sdc", "sda")):
            with self.subTest(old=old), tempfile.TemporaryDirectory() as folder:
                self.box = Machine(folder)
                self.box.disk(old, 0, "used", box=BOX, events=20)
                self.box.disk(new, 0, "used", box=BOX, events=30)
                self.box.disk("sdb", 1, "used", box=BOX, events=30)
                device = self.box.root / f"sys/block/{old}/device"
                device.mkdir()
                (device / "model").write_text("WDC WD10   \n")
                (device / "vpd_pg80").write_bytes(b"\0\x80\0\x08 WD-42\0\0")
                text, last = self.start()
                self.assertEqual(last, f"disks: {new} sdb ticks:1")
                self.assertEqual(text.count(f"the disk {old} (WDC WD10, serial WD-42) is an old leg"), 1)

    def test_two_disks_of_one_leg_are_refused_if_nothing_tells_which_is_old(self):
        cases = (
            {"events": 30},
            {"events": 20, "alone": True},
            {"events": 20, "box": OTHER},
            {"events": 20, "box": ""},
            {"events": 20, "data": "blank"},
        )
        for case in cases:
            with self.subTest(case), tempfile.TemporaryDirectory() as folder:
                self.box = Machine(folder)
                self.box.disk("sda", 0, **{"data": "used", "box": BOX, **case})
                self.box.disk("sdb", 1, "used", box=BOX, events=30)
                self.box.disk("sdc", 0, "used", box=BOX, events=30)
                text, last = self.start()
                self.assertRegex(last, r"fail 60: the disks sda \(.*\) and sdc \(.*\) both carry this box's image")
                self.assertFalse(self.formatted(text))

    def test_a_disk_without_its_first_table_is_known_by_the_second(self):
        self.box.disk("sda", 0, "used", box=BOX)
        self.box.disk("sdb", 1, "used", box=BOX)
        table = self.box.dev("sdb").read_bytes()
        self.box.dev("sdb").write_bytes(bytes(1024) + table[1024:])
        self.assertEqual(self.start()[1], "disks: sda sdb ticks:1")
        self.box.dev("sdb").write_bytes(bytes(len(table)))
        self.assertEqual(self.start()[1], "disks: sda ticks:4")


if __name__ == "__main__":
    unittest.main()
