"""The two legs of the mirror: which disk is which, and what a new disk's table has to be.

The image names both legs' GUIDs (/usr/lib/chatimg/disks.json). A new disk takes over those of the leg that is
missing, so that GRUB and the initrd know it.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from .disks import Partition, Table
from .system import Trouble

FILE = Path("/usr/lib/chatimg/disks.json")
DATA = 6
MIB_SECTORS = 2048
SECTOR = 512


@dataclass(frozen=True)
class Leg:
    """One disk of the image."""

    number: int
    guid: str
    esp_serial: int
    partitions: dict[int, str]  # number to GUID


def parse(text: str, raid: str = "mirror") -> list[Leg]:
    """disks.json; no legs if the image is for other kinds of disks."""
    try:
        wire = json.loads(text)
        if wire["raid"] != raid:
            return []
        return [_leg(one) for one in wire["disks"]]
    except (KeyError, TypeError, ValueError) as error:
        raise Trouble(f"{FILE} cannot be read ({error!r}): the image is faulty") from error


def _leg(wire: dict) -> Leg:
    return Leg(
        number=int(wire["number"]),
        guid=wire["guid"].lower(),
        esp_serial=int(wire["esp-serial"], 16),
        partitions={int(number): guid.lower() for number, guid in wire["partitions"].items()},
    )


def load(path: Path = FILE, raid: str = "mirror") -> list[Leg]:
    """The legs of this box's image; with `none` the one disk of a box without a mirror."""
    try:
        return parse(path.read_text(encoding="utf-8"), raid)
    except FileNotFoundError:
        return []


def missing(legs: list[Leg], good_guid: str) -> Leg:
    """The leg that is not the good disk."""
    others = [leg for leg in legs if leg.guid != good_guid.lower()]
    if len(legs) != 2 or len(others) != 1:
        known = ", ".join(leg.guid for leg in legs)
        raise Trouble(f"the good disk's GUID {good_guid} is none of this image's ({known}); nothing was changed")
    return others[0]


def data_size(disk_sectors: int, start: int) -> int:
    """How large the data partition may be: whole MiB, and one left for the backup table. As the initrd grows it."""
    return (disk_sectors - start) // MIB_SECTORS * MIB_SECTORS - MIB_SECTORS


def plan(good: Table, leg: Leg, disk_sectors: int, needed: int) -> Table:
    """The new disk's table: the good one's with the leg's GUIDs, and the data partition to the end of the disk.

    `needed` is the least number of sectors that the data partition must have.
    """
    partitions = []
    for one in good.partitions:
        if one.number not in leg.partitions:
            raise Trouble(f"the good disk has a partition {one.number} that this image does not know; remove it first")
        size = data_size(disk_sectors, one.start) if one.number == DATA else one.size
        if one.number == DATA and size < needed:
            least = (one.start + needed + 2 * MIB_SECTORS) * SECTOR
            have = disk_sectors * SECTOR
            raise Trouble(
                f"the disk is too small: it has {have} bytes, and the mirror needs {least}; take a larger one"
            )
        uuid = leg.partitions[one.number]
        partitions.append(Partition(one.number, one.start, size, one.type, uuid, one.name, one.attributes))
    if not any(one.number == DATA for one in partitions):
        raise Trouble("the good disk has no data partition (6); nothing was changed")
    return Table(leg.guid, tuple(partitions))


def script(table: Table, device: str) -> str:
    """The table as sfdisk reads it."""
    joint = "p" if device[-1].isdigit() else ""
    lines = ["label: gpt", f"label-id: {table.guid}", "unit: sectors"]
    for one in table.partitions:
        attributes = f', attrs="{one.attributes}"' if one.attributes else ""
        lines.append(
            f"{device}{joint}{one.number} : start={one.start}, size={one.size}, type={one.type}, "
            f'uuid={one.uuid}, name="{one.name}"{attributes}'
        )
    return "\n".join(lines) + "\n"
