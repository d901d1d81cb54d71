"""What makes a disk start the box: boot code, GRUB's core image, the ESP and the boot state.

All of it is copied from the good disk, whose layout is the same. The only difference is the ESP's volume serial number.
What lets firmware try the disk comes last: sector 0 of the ESP, and the boot code in sector 0 of the disk.
"""

import os
import struct

from . import system
from .disks import Disk
from .system import Trouble

SECTOR = 512
BOOT_CODE = 440  # bytes of sector 0 before the disk signature and the partition table
# int 18h: the BIOS goes on with the next disk. Zeros instead would be run as code, and hang it.
NEXT_DISK = bytes.fromhex("cd18ebfe").ljust(BOOT_CODE, b"\0")
CORE, ESP, BOOT_STATE, SETTINGS = 1, 2, 3, 7
BLOCK = 1024
SIGNATURE = b"# GRUB Environment Block\n"

_SERIAL, _BACKUP_SECTOR, _FAT32 = 67, 50, 82


def read_device(path: str, offset: int = 0, length: int | None = None) -> bytes:
    """Bytes of a device, from the disk and not from an old copy in memory."""
    system.run("blockdev", "--flushbufs", path)
    with open(path, "rb", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        wanted = size - offset if length is None else length
        file.seek(offset)
        parts = []
        while wanted > 0:
            part = file.read(min(wanted, 1 << 22))
            if not part:
                raise Trouble(f"{path} ends early")
            parts.append(part)
            wanted -= len(part)
        return b"".join(parts)


def write_device(path: str, data: bytes, offset: int = 0) -> None:
    """Writes, and returns when it is on the disk."""
    with open(path, "r+b", buffering=0) as file:
        file.seek(offset)
        view = memoryview(data)
        while view:
            view = view[file.write(view[: 1 << 22]) :]
        os.fsync(file.fileno())


def with_serial(esp: bytes, serial: int) -> bytes:
    """A FAT32 file system with another volume serial number, in its boot sector and the copy of that."""
    if esp[_FAT32 : _FAT32 + 8] != b"FAT32   ":
        raise Trouble("the good disk's ESP is no FAT32 file system; write the image anew (see docs/box.md)")
    (backup,) = struct.unpack_from("<H", esp, _BACKUP_SECTOR)
    patched = bytearray(esp)
    struct.pack_into("<I", patched, _SERIAL, serial)
    if 0 < backup < 32:
        struct.pack_into("<I", patched, backup * SECTOR + _SERIAL, serial)
    return bytes(patched)


def find_state(esp: bytes) -> int:
    """Where the ESP's copy of the boot state lies."""
    found = []
    at = esp.find(SIGNATURE)
    while at >= 0:
        if at % SECTOR == 0:
            found.append(at)
        at = esp.find(SIGNATURE, at + 1)
    if len(found) != 1:
        raise Trouble(f"the ESP holds {len(found)} copies of the boot state instead of one")
    return found[0]


def without_state(esp: bytes) -> bytes:
    """The ESP with its boot state blanked, to compare the rest."""
    at = find_state(esp)
    return esp[:at] + bytes(BLOCK) + esp[at + BLOCK :]


def stop_starting(disk: Disk) -> None:
    """From now on firmware passes over this disk."""
    rest = read_device(disk.device, BOOT_CODE, SECTOR - BOOT_CODE)
    write_device(disk.device, NEXT_DISK + rest)
    if ESP in disk.partitions:
        write_device(disk.partition(ESP), bytes(SECTOR))


def make_startable(good: Disk, new: Disk, serial: int) -> None:
    """Copies everything that starts the box. Both root slots must be there already."""
    write_device(new.partition(CORE), read_device(good.partition(CORE)))
    esp = with_serial(read_device(good.partition(ESP)), serial)
    write_device(new.partition(ESP), esp[SECTOR:], SECTOR)
    write_device(new.partition(BOOT_STATE), read_device(good.partition(BOOT_STATE)))
    write_device(new.partition(ESP), esp[:SECTOR])
    rest = read_device(new.device, BOOT_CODE, SECTOR - BOOT_CODE)
    write_device(new.device, read_device(good.device, 0, BOOT_CODE) + rest)


def differences(good: Disk, other: Disk) -> list[str]:
    """What of the other disk does not start the box as the good one does. Quick: of the ESP only its first sector,
    which is written last."""
    found = []
    if read_device(good.device, 0, BOOT_CODE) != read_device(other.device, 0, BOOT_CODE):
        found.append("boot code")
    if read_device(good.partition(CORE)) != read_device(other.partition(CORE)):
        found.append("GRUB")
    first, second = (bytearray(read_device(disk.partition(ESP), 0, SECTOR)) for disk in (good, other))
    first[_SERIAL : _SERIAL + 4] = second[_SERIAL : _SERIAL + 4] = bytes(4)
    if first != second:
        found.append("ESP")
    return found


def refresh(good: Disk, other: Disk, serial: int) -> bool:
    """Brings the boot files of a disk that was away up to date. False if they were so already.

    Most often only the boot state is old; it is replaced in place, one sector in one write.
    """
    esp = read_device(good.partition(ESP))
    theirs = read_device(other.partition(ESP))
    state = read_device(good.partition(BOOT_STATE))
    try:
        same = without_state(with_serial(esp, 0)) == without_state(with_serial(theirs, 0))
        at = find_state(esp)
    except Trouble:
        same, at = False, 0
    if not same or differences(good, other):
        stop_starting(other)
        make_startable(good, other, serial)
        return True
    changed = False
    if theirs[at : at + BLOCK] != esp[at : at + BLOCK]:
        write_device(other.partition(ESP), esp[at : at + BLOCK], at)
        changed = True
    if state != read_device(other.partition(BOOT_STATE)):
        write_device(other.partition(BOOT_STATE), state)
        changed = True
    return changed
