"""Disks that were away: what is taken back into the mirror, and what must not be."""

import sys
import unittest
from pathlib import Path
from unittest import mock

OVERLAYS = Path(__file__).resolve().parents[2] / "overlays"
sys.dont_write_bytecode = True
sys.path[:0] = [str(OVERLAYS / name / "files/usr/lib/chatimg") for name in ("base", "monitoring")]

from chatimg_box import away, disks, md, mirror, system  # noqa: E402

UUIDS = {"root-a": "a" * 32, "root-b": "b" * 32, "data": "d" * 32}
NUMBERS = {"root-a": 4, "root-b": 5, "data": 6}
EXAMINED = """\
/dev/{leg}:
          Magic : a92b4efc
     Array UUID : dddddddd:dddddddd:dddddddd:dddddddd
           Name : data
    Update Time : Sat Nov 21 20:15:15 2026
         Events : {events}

   Device Role : Active device {role}
   Array State : {state} ('A' == active, '.' == missing, 'R' == replacing)
"""


def array(name, members, degraded=1, action="idle"):
    members = tuple(md.Member(leg, state, 2048, role) for leg, state, role in members)
    number = NUMBERS[name]
    return md.Array(name, f"md{number}", UUIDS[name], 2, degraded, action, 0, 0, 0, 1 << 20, 0, "idle", members)


def disk(name):
    return disks.Disk(name, 8 << 30, 512, "Model", f"S-{name}", {n: f"{name}{n}" for n in range(1, 8)})


class Machine:
    """Superblocks by partition, and the commands that were run."""

    def __init__(self):
        self.legs = {}  # partition: (array, events, role, state, updated)
        self.ran = []

    def examined(self, leg):
        if leg not in self.legs:
            return {}
        name, events, _, _, updated = self.legs[leg]
        return {"MD_UUID": UUIDS[name], "MD_EVENTS": str(events), "MD_UPDATE_TIME": str(updated)}

    def output(self, *command):
        if command[:2] == ("mdadm", "--examine"):
            leg = command[2].removeprefix("/dev/")
            if leg in self.legs:
                _, events, role, state, _ = self.legs[leg]
                return EXAMINED.format(leg=leg, events=events, role=role, state=state)
        return ""

    def run(self, *command, stdin=""):
        self.ran.append(" ".join(command))
        return ""


class TakingBack(unittest.TestCase):
    def setUp(self):
        self.machine = Machine()
        for module, name, value in [
            (md, "examined", self.machine.examined),
            (system, "output", self.machine.output),
            (system, "run", self.machine.run),
            (disks, "disk_of", lambda leg: leg[:3]),
            (disks, "disk", disk),
        ]:
            patch = mock.patch.object(module, name, value)
            patch.start()
            self.addCleanup(patch.stop)
        # sda runs alone; it was written to a thousand times since.
        self.arrays = [array(name, [(f"sda{NUMBERS[name]}", "in_sync", 0)]) for name in md.NAMES]
        for name, number in NUMBERS.items():
            self.machine.legs[f"sda{number}"] = (name, 1000, 0, "A.", 1795000000)
            self.machine.legs[f"sdb{number}"] = (name, 400, 1, "AA", 1794000000)

    def test_mdadm_s_list_of_legs(self):
        for state in ("AA", "A.", ".A", "AR", ".."):
            self.assertEqual(md.parse_array_state(EXAMINED.format(leg="x", events=1, role=0, state=state)), state)
        for text in ("", "mdadm: No md superblock detected", "   Array State : "):
            self.assertEqual(md.parse_array_state(text), "")

    def test_an_old_leg_is_taken_back_and_root_legs_are_copied_in_full(self):
        back = away.take_back(disk("sdb"), self.arrays)
        self.assertEqual((back.taken, back.refused, back.alone), (["sdb4", "sdb5", "sdb6"], {}, False))
        self.assertEqual(
            [one for one in self.machine.ran if one.startswith("mdadm")],
            [
                "mdadm --manage /dev/md4 --add /dev/sdb4",
                "mdadm --manage /dev/md5 --add /dev/sdb5",
                "mdadm --manage /dev/md6 --re-add /dev/sdb6",
            ],
        )

    def test_nothing_is_taken_of_a_disk_whose_data_ran_alone(self):
        # It was written to less often than the leg in use, as is most likely; its own superblock tells.
        for state in (".A", "..", "", "A"):
            self.machine.legs["sdb6"] = ("data", 400, 1, state, 1794000000)
            self.arrays[2] = array("data", [("sda6", "in_sync", 1 if state == "A" else 0)])
            back = away.take_back(disk("sdb"), self.arrays)
            self.assertEqual((back.taken, back.refused, back.alone, self.machine.ran), ([], {}, True, []), state)

    def test_nor_of_one_that_was_written_to_more_often(self):
        self.machine.legs["sdb6"] = ("data", 1001, 1, "AA", 1794000000)
        self.assertTrue(away.take_back(disk("sdb"), self.arrays).alone)
        self.assertEqual(self.machine.ran, [])

    def test_root_legs_alone_come_back_beside_data_that_are_in_use(self):
        self.arrays[2] = array("data", [("sda6", "in_sync", 0), ("sdb6", "in_sync", 1)], degraded=0)
        self.machine.legs["sdb4"] = ("root-a", 2000, 1, ".A", 1794000000)
        self.assertEqual(away.take_back(disk("sdb"), self.arrays).taken, ["sdb4", "sdb5"])

    def test_what_is_whole_or_being_rebuilt_is_left_alone(self):
        self.machine.legs["sdc6"] = ("data", 10, 1, ".A", 1790000000)
        whole = [array(name, [(f"{d}{NUMBERS[name]}", "in_sync", 0) for d in ("sda", "sdb")], 0) for name in md.NAMES]
        back = away.take_back(disk("sdc"), whole)
        self.assertEqual((back.taken, back.alone), ([], False))
        busy = [array(name, [(f"sda{NUMBERS[name]}", "in_sync", 0)], 1, "recover") for name in md.NAMES]
        self.assertEqual(away.take_back(disk("sdb"), busy).taken, [])

    def test_the_administrator_is_told_what_each_choice_throws_away(self):
        words = away.own_way(self.arrays[2], disk("sdb"))
        for part in ("/dev/sda (Model, serial S-sda)", "/dev/sdb (Model, serial S-sdb)", "2026-11-0", "replace-disk"):
            self.assertIn(part, words)
        self.assertIn("thrown away", words)
        self.assertIn("take out /dev/sda", words)

    def test_disks_of_other_boxes_are_none_of_ours(self):
        self.machine.legs["sdc6"] = ("root-a", 10, 0, "AA", 0)
        found = mirror.of_this_box([disk("sda"), disk("sdb"), disk("sdc"), disk("sdd")], self.arrays)
        self.assertEqual([one.name for one in found], ["sda", "sdb"])


if __name__ == "__main__":
    unittest.main()
