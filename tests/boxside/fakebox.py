"""A box in a folder: kernel files, disks and partitions are plain files."""

import json
import os
import pathlib
import signal
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.dont_write_bytecode = True
sys.path[:0] = [str(ROOT / f"overlays/{name}/files/usr/lib/chatimg") for name in ("base", "monitoring")]

from chatimg_update import bootstate  # noqa: E402
from chatimg_update.place import Box  # noqa: E402

MIB = 1 << 20
ID_A, ID_B, ID_C = "aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb", "cccccccccccccccc"
# The ESP's copy of the boot state lies somewhere in it.
ESP_AT = 517 * 512
IMAGE = {
    "appliance": "chat.example",
    "epoch": 1000,
    "formats": {"matrix-synapse": ["1.142.0", "1.98"]},
    "raid": "none",
    "schema": 1,
}


class Commands:
    """Programs that the box would run: what was called, and what they do."""

    def __init__(self):
        self.calls = []
        self.answers = {}

    def __call__(self, *command, stdin=""):
        self.calls.append(" ".join(command))
        for start, answer in self.answers.items():
            if " ".join(command).startswith(start):
                return answer(*command) if callable(answer) else answer
        return ""

    def called(self, start):
        return [one for one in self.calls if one.startswith(start)]


class FakeBox(unittest.TestCase):
    """Starts slot a with image ID_A; slot b holds nothing."""

    RAID = "none"
    SLOT = 4 * MIB

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)
        # A switch ignores signals up to the restart.
        for number in (signal.SIGTERM, signal.SIGINT):
            self.addCleanup(signal.signal, number, signal.getsignal(number))
        self.clock = 1_000_000.0
        self.commands = Commands()
        self.box = Box(self.root, self.commands, lambda: self.clock)
        self.disks = ["sda", "sdb"] if self.RAID == "mirror" else ["sda"]
        self.write("/usr/lib/chatimg/image.json", json.dumps(IMAGE | {"raid": self.RAID}))
        self.write("/usr/lib/chatimg/disks.json", json.dumps({"raid": self.RAID}))
        self.write("/usr/lib/chatimg/rollback", "")
        for disk in self.disks:
            self.make_disk(disk)
        if self.RAID == "mirror":
            for number, name in ((4, "md4"), (5, "md5"), (6, "md6")):
                self.make_array(number, name)
        self.write("/proc/self/mountinfo", "21 1 8:4 / / ro - ext4 /dev/sda4 ro\n30 21 8:6 / /state rw - xfs /dev/sda6 rw\n")
        self.starts("a", ID_A)
        (self.root / "state").mkdir()
        (self.root / "run").mkdir()
        self.set_state({"a": ID_A, "b": "none", "gen": "1", "good": "a", "left": "0", "next": "", "try": ""})

    def write(self, path, data, mode=0o644):
        path = self.box.at(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        path.chmod(mode)
        return path

    def make_disk(self, disk):
        for number, size in ((1, MIB), (2, 2 * MIB), (3, MIB), (4, self.SLOT), (5, self.SLOT), (6, MIB)):
            self.write(f"/sys/block/{disk}/{disk}{number}/partition", f"{number}\n")
            self.write(f"/dev/{disk}{number}", b"")
            os.truncate(self.box.at(f"/dev/{disk}{number}"), size)

    def make_array(self, number, name):
        """Over sda alone; a test that writes to it copies to sdb as md would."""
        md = f"/sys/block/{name}/md"
        for file, text in {"degraded": "0", "raid_disks": "2", "sync_action": "idle"}.items():
            self.write(f"{md}/{file}", text + "\n")
        for disk in self.disks:
            self.write(f"{md}/dev-{disk}{number}/state", "in_sync\n")
        os.link(self.box.at(f"/dev/sda{number}"), self.box.at(f"/dev/{name}"))

    def starts(self, slot, image):
        self.write("/proc/cmdline", f"BOOT_IMAGE=x chatimg.slot={slot} chatimg.id={image} ro\n")

    def copies(self):
        """Device and place of every copy of the boot state."""
        return [
            (self.box.at(f"/dev/{disk}{number}"), at)
            for disk in self.disks
            for number, at in ((2, ESP_AT), (3, 0))
        ]

    def snapshot(self, time, image, **about):
        """One of an empty folder."""
        folder = f"/state/.chatimg/snapshots/{time}-{image}"
        self.write(f"{folder}/snapshot.json", json.dumps({"image": image, "time": time} | about))
        self.write(f"{folder}/paths", "/var/lib/db\n")
        self.write(f"{folder}/state/var/lib/db/main", f"data of {time}")

    def set_state(self, values):
        for device, at in self.copies():
            self.put(device, at, bootstate.encode(values))

    def put(self, device, at, data):
        with open(device, "r+b") as file:
            file.seek(at)
            file.write(data)

    def get(self, device, at, length):
        with open(device, "rb") as file:
            file.seek(at)
            return file.read(length)

    def state(self):
        return bootstate.read(self.box)
