"""Slots and the disks that carry them."""

from dataclasses import dataclass
from pathlib import Path

from chatimg_box import disks as all_disks
from chatimg_box import md, system
from chatimg_box.md import Array
from chatimg_box.system import Trouble

from .devices import Reader
from .place import SLOTS, Box

# Of every slot, the end stays free: on a mirror md keeps its superblock there (src/image/layout.rs).
RESERVED = 1 << 20
# As the initrd starts them.
ARRAYS = {"md4": "root-a", "md5": "root-b", "md6": "data"}


@dataclass(frozen=True)
class Slot:
    """A place for a root image."""

    name: str
    device: Path
    capacity: int  # bytes that an image may have
    legs: tuple[Path, ...]  # where to read it back, each from its byte 0
    whole: bool  # false: the mirror lacks a disk


def arrays(box: Box) -> list[Array]:
    return md.arrays(box.at("/sys/block"), lambda kernel: ARRAYS.get(kernel, ""))


def disks(box: Box) -> list[str]:
    """Names of the disks that this box runs from. One that fell out of the mirror altogether is none of them."""
    if not box.mirror:
        return [all_disks.disk_of(root_partition(box), box.at("/sys/block"))]
    members = [one.partition for array in arrays(box) for one in array.members if not one.faulty]
    names = sorted({all_disks.disk_of(one, box.at("/sys/block")) for one in members})
    if not names:
        raise Trouble("no array of the mirror runs; see `journalctl -b -k`")
    return names


def root_partition(box: Box) -> str:
    """The partition that is mounted on /."""
    found = ""
    for line in system.read(box.at("/proc/self/mountinfo")).splitlines():
        place, _, rest = line.partition(" - ")
        if place.split()[4] == "/":
            found = rest.split()[1].removeprefix("/dev/")
    if not found:
        raise Trouble("what is mounted on / cannot be found out")
    return found


def partition(box: Box, disk: str, number: int) -> Path:
    """The device of a disk's partition."""
    for file in box.at(f"/sys/block/{disk}").glob(f"{disk}*/partition"):
        if system.number(file) == number:
            return box.at(f"/dev/{file.parent.name}")
    raise Trouble(f"/dev/{disk} has no partition {number}")


def slot(box: Box, name: str) -> Slot:
    number = SLOTS[name]
    if not box.mirror:
        (disk,) = disks(box)
        device = partition(box, disk, number)
        with Reader(device) as reader:
            return Slot(name, device, reader.size() - RESERVED, (device,), True)
    array = next((one for one in arrays(box) if one.kernel == f"md{number}"), None)
    if array is None:
        raise Trouble(f"the array of slot {name} (/dev/md{number}) does not run; restart the box, then see `journalctl -b -k`")
    legs = tuple(box.at(f"/dev/{one.partition}") for one in array.members if one.in_sync)
    if not legs:
        raise Trouble(f"the array of slot {name} (/dev/md{number}) has no whole disk")
    device = box.at(f"/dev/{array.kernel}")
    with Reader(device) as reader:
        return Slot(name, device, reader.size(), legs, array.degraded == 0)
