"""The mirror: arrays as /sys and mdadm show them, tables for new disks, boot files."""

import json
import tempfile
import sys
import unittest
from pathlib import Path

OVERLAYS = Path(__file__).resolve().parents[2] / "overlays"
sys.dont_write_bytecode = True
sys.path[:0] = [str(OVERLAYS / name / "files/usr/lib/chatimg") for name in ("base", "monitoring")]

from unittest import mock  # noqa: E402

from chatimg_box import bootcode, disks, legs, md, mirror, newdisk  # noqa: E402
from chatimg_box.system import Trouble  # noqa: E402

GOOD, OTHER = "0219bc56-f7bd-53eb-b58f-f47dff2d3968", "0319bc56-f7bd-53eb-b58f-f47dff2d3968"
RAID = "a19d880f-05fc-4d3b-a006-743f0f84911e"


def disks_json():
    def leg(number, guid):
        partitions = {str(n): f"{number}0000000-0000-5000-8000-00000000000{n}" for n in range(1, 8)}
        return {"number": number, "guid": guid, "esp-serial": "5AEFA8E7", "partitions": partitions}

    return json.dumps({"raid": "mirror", "disks": [leg(1, GOOD), leg(2, OTHER)]})


def sfdisk_json(device="/dev/sda", guid=GOOD, leg=1):
    parts = [(1, 2048, 2048), (2, 4096, 262144), (3, 266240, 2048), (7, 268288, 2048)]
    parts += [(4, 270336, 409600), (5, 679936, 409600), (6, 1089536, 11489280)]
    entries = [
        {
            "node": f"{device}{n}",
            "start": start,
            "size": size,
            "type": RAID.upper(),
            "uuid": f"{leg}0000000-0000-5000-8000-00000000000{n}",
            "name": f"chatimg-{n}",
        }
        for n, start, size in parts
    ]
    table = {"label": "gpt", "id": guid.upper(), "device": device, "unit": "sectors", "sectorsize": 512}
    return json.dumps({"partitiontable": table | {"partitions": entries}})


def array(name="data", degraded=0, action="idle", members=(), done=0, total=0, speed=0):
    return md.Array(name, "md6", "ab" * 16, 2, degraded, action, done, total, speed, 5744640, 0, "idle", tuple(members))


def disk(name="sdb", gib=8, partitions=None):
    return disks.Disk(name, gib << 30, 512, "Model", "S1", partitions or {})


class Arrays(unittest.TestCase):
    def test_an_array_is_read_from_sys(self):
        with tempfile.TemporaryDirectory() as folder:
            here = Path(folder) / "md6" / "md"
            files = {"degraded": "1", "raid_disks": "2", "sync_action": "recover", "sync_completed": "100 / 400"}
            files |= {"sync_speed": "50", "component_size": "5744640", "uuid": "bd0ccd54-d141-212c-25b4-d6bf55b10286"}
            files |= {"dev-sda6/state": "in_sync", "dev-sda6/offset": "2048", "dev-sdb6/state": "spare"}
            files |= {"dev-sdc6/state": "faulty,write_mostly"}
            for name, text in files.items():
                (here / name).parent.mkdir(parents=True, exist_ok=True)
                (here / name).write_text(text + "\n")
            (Path(folder) / "md9").mkdir()
            (one,) = md.arrays(Path(folder), lambda kernel: "data")
            self.assertEqual(md.arrays(Path(folder), lambda kernel: "foreign"), [])
        self.assertEqual((one.name, one.device, one.degraded, one.busy), ("data", "/dev/md6", 1, True))
        self.assertEqual(one.uuid, "bd0ccd54d141212c25b4d6bf55b10286")
        self.assertEqual(one.seconds_left(), 3.0)
        self.assertEqual([m.in_sync for m in one.members], [True, False, False])
        self.assertTrue(one.members[2].faulty)
        self.assertEqual(mirror.progress_line(one), "data: 25.0 % at 51.2 kB/s, 3 s left")

    def test_mdadm_s_export(self):
        text = "MD_LEVEL=raid1\nMD_NAME=any:data\nMD_UUID=bd0ccd54:d141212c:25b4d6bf:55b10286\nnoise\n"
        export = md.parse_export(text)
        self.assertEqual(md.plain_name(export["MD_NAME"]), "data")
        self.assertEqual(md.plain_name("root-a"), "root-a")
        self.assertEqual(md.plain_uuid(export["MD_UUID"]), "bd0ccd54d141212c25b4d6bf55b10286")
        for none in ("none", "delayed", "", "x / y"):
            self.assertEqual(md.progress(none), (0, 0))

    def test_the_good_disk_has_every_array_whole(self):
        def member(partition, state="in_sync"):
            return md.Member(partition, state, 2048)

        both = array("root-a", members=[member("sda4"), member("sdb4")])
        one = array("data", 1, members=[member("sda6"), member("sdb6", "spare")])
        with mock.patch.object(disks, "disk_of", lambda name: name[:3]), mock.patch.object(disks, "disk", disk):
            self.assertEqual(mirror.complete([both, one]), {"sda"})
            self.assertEqual(mirror.complete([both]), {"sda", "sdb"})
            self.assertEqual(newdisk.good_disk(disk("sdb"), [both, one]).name, "sda")
            for name, arrays, words in [
                ("sda", [both, one], "only good disk"),
                ("sdb", [both], "nothing to replace"),
                ("sdc", [both], "the mirror is whole"),
                ("sdc", [array("data", 1, members=[member("sdb6", "spare")])], "no disk has all"),
            ]:
                with self.assertRaisesRegex(Trouble, words):
                    newdisk.good_disk(disk(name), arrays)


class Tables(unittest.TestCase):
    def setUp(self):
        self.legs = legs.parse(disks_json())
        self.table = disks.parse_table(sfdisk_json())

    def test_a_new_disk_takes_over_the_missing_leg_s_ids(self):
        leg = legs.missing(self.legs, GOOD.upper())
        self.assertEqual((leg.number, leg.esp_serial), (2, 0x5AEFA8E7))
        total = (8 << 30) // 512
        plan = legs.plan(self.table, leg, total, needed=11491328 - 2048)
        self.assertEqual(plan.guid, OTHER)
        for ours, theirs in zip(plan.partitions, self.table.partitions, strict=True):
            self.assertEqual((ours.number, ours.start, ours.type), (theirs.number, theirs.start, theirs.type))
            self.assertEqual(ours.uuid, f"20000000-0000-5000-8000-00000000000{ours.number}")
        data = plan.get(6)
        self.assertEqual(data.size % 2048, 0)
        self.assertLessEqual(data.start + data.size, total - 2048)
        self.assertGreater(data.start + data.size, total - 3 * 2048)

    def test_the_same_disk_gives_the_same_sizes(self):
        plan = legs.plan(self.table, self.legs[1], (6 << 30) // 512, 11489280)
        self.assertEqual(
            [p.size for p in plan.partitions], [p.size for p in self.table.partitions[:-1]] + [11489280 + 2048]
        )

    def test_what_does_not_fit_is_refused(self):
        with self.assertRaisesRegex(Trouble, "too small"):
            legs.plan(self.table, self.legs[1], (5 << 30) // 512, 11489280)
        with self.assertRaisesRegex(Trouble, "none of this image's"):
            legs.missing(self.legs, "00000000-0000-0000-0000-000000000000")
        self.assertEqual(legs.parse('{"raid": "none", "disks": []}'), [])
        for bad in ("", "{}", '{"raid": "mirror", "disks": [{}]}'):
            with self.assertRaises(Trouble):
                legs.parse(bad)

    def test_sfdisk_s_script(self):
        script = legs.script(legs.plan(self.table, self.legs[1], (8 << 30) // 512, 1), "/dev/nvme0n1")
        self.assertIn(f"label-id: {OTHER}\n", script)
        self.assertIn("/dev/nvme0n1p2 : start=4096, size=262144, ", script)
        self.assertIn("/dev/sdb2 : ", legs.script(self.table, "/dev/sdb"))

    def test_no_table(self):
        for text in ("", "{}", '{"partitiontable": {"label": "dos", "device": "/dev/sda"}}'):
            with self.assertRaises(Trouble):
                disks.parse_table(text)

    def test_old_superblocks_lose_their_places(self):
        spans = newdisk.blank_spans(self.table, 6 << 30)
        self.assertEqual(spans[0], (512, (1 << 20) - 512))
        self.assertEqual(spans[-1], ((6 << 30) - (1 << 20), 1 << 20))
        end = (270336 + 409600) * 512
        self.assertIn((end - (1 << 20), 1 << 20), spans)

    def test_a_finished_table_is_known(self):
        with mock.patch.object(disks, "table", lambda of: disks.parse_table(sfdisk_json("/dev/sdb"))):
            self.assertTrue(newdisk.has_table(disk(), self.table))
            self.assertFalse(newdisk.has_table(disk(), legs.plan(self.table, self.legs[1], 16777216, 1)))


class OldContents(unittest.TestCase):
    """The same table does not make a disk this box's: all boxes of an appliance have it."""

    OURS, THEIRS = "ab" * 16, "cd" * 16

    def setUp(self):
        self.data = array("data", 1, members=[md.Member("sda6", "in_sync", 2048, 0)])
        self.new = disk("sdb", partitions={n: f"sdb{n}" for n in range(1, 8)})

    def past(self, uuid, state="AA", blank=False):
        superblock = {"MD_UUID": uuid, "MD_UPDATE_TIME": "1794000000", "MD_EVENTS": "7"} if uuid else {}
        with (
            mock.patch.object(md, "examined", lambda leg: superblock),
            mock.patch.object(md, "array_state", lambda leg: state),
            mock.patch.object(mirror, "is_blank", lambda one: blank),
            mock.patch.object(mirror, "stays_out", lambda one: False),
            mock.patch.object(mirror, "left_out", lambda arrays: [self.new]),
            mock.patch.object(newdisk, "contents", lambda one: ["its partitions"]),
        ):
            lost, foreign = newdisk.lost(self.new, self.data), newdisk.foreign(self.new, self.data)
            job = newdisk.Job(disk("sda"), self.new, None, None, not foreign, lost)
            return lost, foreign, "\n".join(newdisk.describe(job)), newdisk.waiting([self.data])[0]

    def test_a_disk_with_data_of_its_own_is_left_out_though_its_root_slots_are_in(self):
        def whole(name, number):
            return array(name, 0, members=[md.Member(f"sd{leg}{number}", "in_sync", 2048, 0) for leg in "ab"])

        every = [disk("sda"), self.new]
        with (
            mock.patch.object(legs, "load", lambda: []),
            mock.patch.object(mirror, "leg_of", lambda known, one: one),
            mock.patch.object(disks, "all_disks", lambda: every),
            mock.patch.object(disks, "disk_of", lambda partition: partition[:3]),
        ):
            roots = [whole("root-a", 4), whole("root-b", 5)]
            self.assertEqual(mirror.left_out([*roots, self.data]), [self.new])
            self.assertEqual(mirror.left_out([*roots, whole("data", 6)]), [])

    def test_another_box_s_data_are_shown_and_erased(self):
        lost, foreign, shown, waiting = self.past(self.THEIRS)
        self.assertTrue(foreign)
        self.assertIn("another box, written to last 2026-11-0", lost)
        for words in ("WARNING: it holds the data of another box", "to be erased", "its partitions"):
            self.assertIn(words, shown)
        self.assertIn("another box", waiting)

    def test_what_only_this_disk_has_is_named(self):
        lost, foreign, shown, waiting = self.past(self.OURS, ".A")
        self.assertFalse(foreign)
        self.assertIn("what only it has will be thrown away", lost)
        self.assertIn("WARNING", shown)
        self.assertIn("replace-disk /dev/sdb", waiting)

    def test_old_and_blank_disks_lose_nothing(self):
        for uuid, blank in ((self.OURS, False), (self.THEIRS, True), ("", False)):
            lost, foreign, shown, waiting = self.past(uuid, "AA", blank)
            self.assertEqual((lost, foreign), ("", False), uuid)
            self.assertNotIn("WARNING", shown)
            self.assertIn("/dev/sdb (Model, serial S1) is in the machine, but not in all of the mirror", waiting)
            self.assertIn("replace-disk /dev/sdb", waiting)
            self.assertEqual("restart chatimg-mirror" in waiting, uuid == self.OURS)


class BootFiles(unittest.TestCase):
    def test_devices_are_read_and_written_at_places(self):
        with tempfile.NamedTemporaryFile() as file, mock.patch.object(bootcode.system, "run"):
            file.write(bytes(2048))
            file.flush()
            bootcode.write_device(file.name, b"abc", 1000)
            self.assertEqual(bootcode.read_device(file.name, 999, 5), b"\0abc\0")
            self.assertEqual(len(bootcode.read_device(file.name)), 2048)
            with self.assertRaises(Trouble):
                bootcode.read_device(file.name, 2000, 100)

    def test_the_notes_are_those_of_the_initrd(self):
        script = (OVERLAYS.parent / "src/image/initrd/data.sh").read_text()
        self.assertIn(f"{mirror.STAYS_OUT.decode().strip()}", script)
        with tempfile.NamedTemporaryFile() as file, mock.patch.object(bootcode.system, "run"):
            Path(file.name).write_bytes(b"boot state".ljust(1 << 20, b"\0"))
            one = disk(partitions={3: f"..{file.name}"})
            self.assertFalse(mirror.stays_out(one))
            mirror.keep_out(file.name)
            self.assertTrue(mirror.stays_out(one))
            self.assertTrue(Path(file.name).read_bytes()[64 * 512 :].startswith(b"CHATIMG-STAYS-OUT-1\n\0"))
            mirror.let_in(one)
            self.assertFalse(mirror.stays_out(one))
            self.assertEqual(Path(file.name).read_bytes(), b"boot state".ljust(1 << 20, b"\0"))

    def test_the_blank_mark_is_the_one_of_the_image(self):
        layout = (OVERLAYS.parent / "src/image/layout.rs").read_text()
        self.assertIn('b"CHATIMG-BLANK-DATA-1\\n"', layout)
        self.assertEqual(mirror.BLANK, b"CHATIMG-BLANK-DATA-1\n")


if __name__ == "__main__":
    unittest.main()
