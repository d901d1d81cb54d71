"""The box's own receiver on a made-up box, for `--rsh`: python3 real.py FOLDER HOST COMMAND. running.img of the folder runs,
box.json has its id and the keys that the box trusts; what the other slot holds in the end is slot.img, and wire.json has the
bytes that came and went."""

import json
import os
import pathlib
import shutil
import struct
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "boxside"))

from fakebox import MIB, FakeBox  # noqa: E402

from chatimg_update import receive, verify  # noqa: E402
from chatimg_update.wire import Channel  # noqa: E402


class Made(FakeBox):
    def runTest(self):
        """Nothing: it is the box that is wanted."""

    def slot(self, number, image):
        """Puts an image into a slot, whose end stays free; it may be larger than memory."""
        device = self.box.at(f"/dev/sda{number}")
        subprocess.run(["cp", "--sparse=always", image, device], check=True)
        os.truncate(device, self.SLOT)
        return device


class Counted:
    """One direction of the wire."""

    def __init__(self, stream):
        self.stream, self.bytes = stream, 0

    def count(self, data):
        self.bytes += len(data)
        return data

    def read(self, most):
        return self.count(self.stream.read(most))

    def readline(self, most):
        return self.count(self.stream.readline(most))

    def write(self, data):
        self.stream.write(self.count(data))

    def flush(self):
        self.stream.flush()


def ext4(device, size):
    """The image says how large it is."""
    with open(device, "r+b") as file:
        for at, form, value in ((4, "<I", size // 4096), (24, "<I", 2), (56, "<H", 0xEF53)):
            file.seek(1024 + at)
            file.write(struct.pack(form, value))


def main():
    folder, _, command = pathlib.Path(sys.argv[1]), *sys.argv[2:]
    if command != "sudo -n /usr/lib/chatimg/receive":
        return 127
    running, other = folder / "running.img", folder / "slot.img"
    made = Made()
    made.SLOT = 2 * running.stat().st_size + 4 * MIB
    made.setUp()
    try:
        state = json.loads((folder / "box.json").read_text())
        made.write(verify.SETTINGS, json.dumps({"update": {"keys": state["keys"]}}))
        made.starts("a", state["id"])
        ext4(made.slot(4, running), running.stat().st_size)
        device = made.slot(5, other) if other.exists() else made.box.at("/dev/sda5")
        wire = [Counted(sys.stdin.buffer), Counted(sys.stdout.buffer)]
        code = receive.Receiver(made.box, Channel(*wire)).run()
        shutil.move(device, other)
        (folder / "wire.json").write_text(json.dumps([one.bytes for one in wire]))
        return code
    finally:
        made.doCleanups()


sys.exit(main())
