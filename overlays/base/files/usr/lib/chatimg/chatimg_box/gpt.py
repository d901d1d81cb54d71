"""Both copies of a disk's partition table. The kernel and the initrd go on with one, so its loss would not be noticed; the
initrd writes both anew at the next start (src/image/initrd/data.sh)."""

import struct
import zlib

from . import bootcode
from .disks import Disk
from .system import Trouble


def faults(disk: Disk) -> list[str]:
    """Which copies are damaged, in words."""
    last = disk.size // disk.sector - 1
    places = (("at its start", 1), ("at its end", last))
    return [f"the partition table {where}" for where, lba in places if not sound(disk, lba)]


def sound(disk: Disk, lba: int) -> bool:
    """Whether the copy whose header lies at `lba` is whole."""
    try:
        header = bootcode.read_device(disk.device, lba * disk.sector, disk.sector)
        length, crc = struct.unpack_from("<II", header, 12)
        if not header.startswith(b"EFI PART") or not 92 <= length <= disk.sector:
            return False
        if zlib.crc32(header[:16] + bytes(4) + header[20:length]) != crc:
            return False
        own, entries, count, size, sum_ = struct.unpack_from("<Q40xQIII", header, 24)
        if own != lba or count * size > 1 << 20:
            return False
        return zlib.crc32(bootcode.read_device(disk.device, entries * disk.sector, count * size)) == sum_
    except (Trouble, OSError):
        return False
