"""What makes a disk start the box: boot code, GRUB's core image, the ESP and the boot state.

All of it is copied from the good disk, whose layout is the same. The only difference is the ESP's volume serial number.
What lets firmware try the disk comes last: sector 0 of the ESP, and the boot code in sector 0 of the disk.
"""

import os
import struct
from collections.abc import Iterable, Iterator
from itertools import chain

from . import system
from .disks import Disk
from .system import Trouble

SECTOR = 512
BOOT_CODE = 440  # bytes of sector 0 before the disk signature and the partition table
# int 18h: the BIOS goes on with the next disk. Zeros instead would be run as code, and hang it.
NEXT_DISK = bytes.fromhex("cd18ebfe").ljust(BOOT_CODE, b"\0")
CORE, ESP, BOOT_STATE, SETTINGS = 1, 2, 3, 7
BLOCK = 1024
CHUNK = 4 << 20
SIGNATURE = b"# GRUB Environment Block\n"

_SERIAL, _BACKUP_SECTOR, _FAT32 = 67, 50, 82


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


def chunks(path: str) -> Iterator[tuple[int, bytes]]:
    """A large device piece by piece, each with its place."""
    system.run("blockdev", "--flushbufs", path)
    with open(path, "rb") as file:
        at = 0
        while part := file.read(CHUNK):
            yield at, part
            at += len(part)


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


def with_serial(start: bytes, serial: int) -> bytes:
    """The start of a FAT32 file system with another volume serial number, in its boot sector and the copy of that."""
    if start[_FAT32 : _FAT32 + 8] != b"FAT32   ":
        raise Trouble("the good disk's ESP is no FAT32 file system; write the image anew (see docs/box.md)")
    (backup,) = struct.unpack_from("<H", start, _BACKUP_SECTOR)
    patched = bytearray(start)
    struct.pack_into("<I", patched, _SERIAL, serial)
    if 0 < backup < 32:
        struct.pack_into("<I", patched, backup * SECTOR + _SERIAL, serial)
    return bytes(patched)


def states_in(part: bytes) -> list[int]:
    """Where boot states begin in a piece of an ESP."""
    found = []
    at = part.find(SIGNATURE)
    while at >= 0:
        if at % SECTOR == 0:
            found.append(at)
        at = part.find(SIGNATURE, at + 1)
    return found


def find_state(esp: Iterable[tuple[int, bytes]]) -> int:
    """Where the ESP's copy of the boot state lies."""
    found = [start + at for start, part in esp for at in states_in(part)]
    if len(found) != 1:
        raise Trouble(f"the ESP holds {len(found)} copies of the boot state instead of one")
    return found[0]


def same_files(esp: Iterable[tuple[int, bytes]], other: Iterable[tuple[int, bytes]]) -> bool:
    """Whether two ESPs are the same but for serial number and boot state."""
    for (start, first), (_, second) in zip(esp, other, strict=False):
        if first == second:
            continue
        if start == 0:
            try:
                first, second = with_serial(first, 0), with_serial(second, 0)
            except Trouble:
                return False
        for at in states_in(first):
            blank = bytes(BLOCK)
            first = first[:at] + blank + first[at + BLOCK :]
            second = second[:at] + blank + second[at + BLOCK :]
        if first != second:
            return False
    return True


def stop_starting(disk: Disk) -> None:
    """From now on firmware passes over this disk."""
    rest = read_device(disk.device, BOOT_CODE, SECTOR - BOOT_CODE)
    write_device(disk.device, NEXT_DISK + rest)
    if ESP in disk.partitions:
        write_device(disk.partition(ESP), bytes(SECTOR))


def make_startable(good: Disk, new: Disk, serial: int) -> None:
    """Copies everything that starts the box. Both root slots must be there already."""
    write_device(new.partition(CORE), read_device(good.partition(CORE)))
    start = with_serial(read_device(good.partition(ESP), 0, CHUNK), serial)
    rest = (piece for piece in chunks(good.partition(ESP)) if piece[0])
    write_pieces(new.partition(ESP), chain([(SECTOR, start[SECTOR:])], rest))
    write_device(new.partition(BOOT_STATE), read_device(good.partition(BOOT_STATE)))
    write_device(new.partition(ESP), start[:SECTOR])
    table = read_device(new.device, BOOT_CODE, SECTOR - BOOT_CODE)
    write_device(new.device, read_device(good.device, 0, BOOT_CODE) + table)


def differences(good: Disk, other: Disk) -> list[str]:
    """What of the other disk does not start the box as the good one does.

    Quick: of the ESP only its first sector is compared, which is written last.
    """
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
    ours, theirs = good.partition(ESP), other.partition(ESP)
    if differences(good, other) or not same_files(chunks(ours), chunks(theirs)):
        stop_starting(other)
        make_startable(good, other, serial)
        return True
    at = find_state(chunks(ours))
    changed = False
    for partition, place, length in ((ESP, at, BLOCK), (BOOT_STATE, 0, None)):
        wanted = read_device(good.partition(partition), place, length)
        if wanted != read_device(other.partition(partition), place, length):
            write_device(other.partition(partition), wanted, place)
            changed = True
    return changed
