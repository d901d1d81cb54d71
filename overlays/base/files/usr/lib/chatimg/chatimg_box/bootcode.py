"""What makes a disk start the box: boot code, GRUB's core image, the ESP.

The image says what it has to be (src/image/starter.rs), so no disk has to be believed. A disk that differs is mended while
the other one starts the box: first it is made one that firmware passes over, and what lets firmware try it again comes
last: sector 0 of the ESP, and the boot code in sector 0 of the disk.
"""

import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from . import bootstate, system
from .bootstate import BLOCK, EMPTY, Copy, State
from .disks import Disk
from .system import Trouble

FOLDER = Path("/usr/lib/chatimg/boot")
SECTOR = 512
BOOT_CODE = 440  # bytes of sector 0 before the disk signature and the partition table
# int 18h: the BIOS goes on with the next disk. Zeros instead would be run as code, and hang it.
NEXT_DISK = bytes.fromhex("cd18ebfe").ljust(BOOT_CODE, b"\0")
CORE, ESP, BOOT_STATE, SETTINGS = 1, 2, 3, 7
_SERIAL, _BACKUP_SECTOR = 67, 50


@dataclass(frozen=True)
class Template:
    """What the image says."""

    code: bytes
    core: bytes
    esp: bytes  # up to the last sector in use, without serial number and boot state
    state_at: int

    def esp_of(self, serial: int, state: bytes = EMPTY) -> bytes:
        """A disk's ESP."""
        esp = bytearray(self.esp)
        (backup,) = struct.unpack_from("<H", esp, _BACKUP_SECTOR)
        for sector in (0, backup):
            struct.pack_into("<I", esp, sector * SECTOR + _SERIAL, serial)
        esp[self.state_at : self.state_at + BLOCK] = state
        return bytes(esp)


def template(folder: Path = FOLDER) -> Template:
    """Reads the image's."""
    try:
        code, core, esp = ((folder / name).read_bytes() for name in ("code", "core", "esp"))
    except OSError as error:
        raise Trouble(f"{error.filename} cannot be read ({error.strerror}): the image is faulty") from error
    at = esp.find(EMPTY)
    if len(code) != BOOT_CODE or at < 0 or at % SECTOR or esp.find(EMPTY, at + 1) >= 0:
        raise Trouble(f"what starts a disk, in {folder}, is not as it has to be: the image is faulty")
    return Template(code, core, esp, at)


def read_device(path: str, offset: int = 0, length: int | None = None) -> bytes:
    """Bytes of a device, from the disk and not from an old copy in memory."""
    system.run("blockdev", "--flushbufs", path)
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        wanted = size - offset if length is None else length
        file.seek(offset)
        data = file.read(wanted)
    if len(data) < wanted:
        raise Trouble(f"{path} ends early")
    return data


def write_device(path: str, data: bytes, offset: int = 0) -> None:
    """Writes, and returns when it is on the disk."""
    write_pieces(path, [(offset, data)])


def write_pieces(path: str, pieces: Iterable[tuple[int, bytes]]) -> None:
    """Writes each at its place, and returns when all are on the disk."""
    with open(path, "r+b") as file:
        for at, data in pieces:
            file.seek(at)
            file.write(data)
        file.flush()
        os.fsync(file.fileno())


def stop_starting(disk: Disk) -> None:
    """From now on firmware passes over this disk."""
    rest = read_device(disk.device, BOOT_CODE, SECTOR - BOOT_CODE)
    write_device(disk.device, NEXT_DISK + rest)
    if ESP in disk.partitions:
        write_device(disk.partition(ESP), bytes(SECTOR))


def differences(right: Template, disk: Disk, serial: int) -> list[str]:
    """What of a disk is not as the image says; all of it is read. What cannot be read is not right either."""
    places = [
        ("boot code", lambda: (disk.device, right.code)),
        ("GRUB", lambda: (disk.partition(CORE), right.core)),
        ("ESP", lambda: (disk.partition(ESP), right.esp_of(serial))),
    ]
    found = []
    for name, place in places:
        try:
            path, wanted = place()
            data = read_device(path, 0, len(wanted))
        except (Trouble, OSError):
            data = b""
        if name == "ESP":
            data = data[: right.state_at] + EMPTY + data[right.state_at + BLOCK :]
        if data != wanted:
            found.append(name)
    return found


def make_startable(right: Template, disk: Disk, serial: int, state: State) -> None:
    """Writes everything that starts the box. Both root slots must be there already. Reads it all back."""
    block = bootstate.encode(state)
    esp = right.esp_of(serial, block)
    write_device(disk.partition(CORE), right.core)
    write_device(disk.partition(ESP), esp[SECTOR:], SECTOR)
    write_device(disk.partition(BOOT_STATE), block)
    for path, data, at in ((disk.partition(CORE), right.core, 0), (disk.partition(ESP), esp[SECTOR:], SECTOR)):
        if read_device(path, at, len(data)) != data:
            raise Trouble(f"{path} does not keep what is written to it: replace the disk {disk.name}")
    write_device(disk.partition(ESP), esp[:SECTOR])
    write_device(disk.device, right.code)
    left = differences(right, disk, serial)
    if left:
        raise Trouble(f"{disk.device} does not keep what is written to it ({', '.join(left)}): replace it")


def states(right: Template, disk: Disk, was_away: bool = False) -> list[Copy]:
    """A disk's copies of the boot state. The ESP of another image may have it in another place: that one is only read."""
    found = []
    for number, at, length in ((ESP, right.state_at, len(right.esp)), (BOOT_STATE, 0, BLOCK)):
        try:
            data = read_device(disk.partition(number), 0, length)
        except (Trouble, OSError):
            data = b""
        path = disk.partition(number) if number in disk.partitions else ""
        found.append(Copy(path, at, bootstate.parse(data[at : at + BLOCK]), was_away))
        if number == ESP:
            found += [Copy("", place, state, was_away) for place, state in bootstate.find(data) if place != at]
    return found


def write_states(copies: list[Copy], state: State) -> list[str]:
    """Brings copies up to date, one after the other; the right ones are not touched. Gives back the devices written to."""
    block = bootstate.encode(state)
    written = []
    for one in copies:
        if not one.device or one.state == state:
            continue
        write_device(one.device, block, one.offset)
        if read_device(one.device, one.offset, BLOCK) != block:
            raise Trouble(f"the boot state on {one.device} does not keep what is written to it: replace the disk")
        written.append(one.device)
    return written
