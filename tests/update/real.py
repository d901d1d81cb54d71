"""The box's own receiver on a made-up box, for `--rsh`: python3 real.py FOLDER HOST COMMAND. running.img of the folder runs,
keys.json has the keys that the box trusts; what the other slot holds in the end is slot.img."""

import json
import pathlib
import struct
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "boxside"))

from fakebox import FakeBox  # noqa: E402

from chatimg_update import receive, verify  # noqa: E402
from chatimg_update.wire import Channel  # noqa: E402


class Made(FakeBox):
    def runTest(self):
        """Nothing: it is the box that is wanted."""


def ext4(image):
    """The image says how large it is."""
    image = bytearray(image)
    struct.pack_into("<I", image, 1024 + 4, len(image) // 4096)
    struct.pack_into("<I", image, 1024 + 24, 2)
    struct.pack_into("<H", image, 1024 + 56, 0xEF53)
    return bytes(image)


def main():
    folder, _, command = pathlib.Path(sys.argv[1]), *sys.argv[2:]
    if command != "sudo -n /usr/lib/chatimg/receive":
        return 127
    made = Made()
    made.setUp()
    try:
        keys = json.loads((folder / "box.json").read_text())["keys"]
        made.write(verify.SETTINGS, json.dumps({"update": {"keys": keys}}))
        made.put(made.box.at("/dev/sda4"), 0, ext4((folder / "running.img").read_bytes()))
        if (folder / "slot.img").exists():
            made.put(made.box.at("/dev/sda5"), 0, (folder / "slot.img").read_bytes())
        code = receive.Receiver(made.box, Channel(sys.stdin.buffer, sys.stdout.buffer)).run()
        (folder / "slot.img").write_bytes(made.box.at("/dev/sda5").read_bytes())
        return code
    finally:
        made.doCleanups()


sys.exit(main())
