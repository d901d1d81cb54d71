"""Disks and their partitions, as the kernel and sfdisk know them."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

from . import durable, system

SYS = Path("/sys/block")
# Model and serial number of each disk that was there since the start, by name: what is gone cannot be asked any more.
SEEN = Path("/run/chatimg/disks.json")
NOT_DISKS = ("loop", "ram", "sr", "fd", "dm-", "zram", "md", "nbd")


@dataclass(frozen=True)
class Partition:
    """A line of a partition table. Sectors."""

    number: int
    start: int
    size: int
    type: str
    uuid: str
    name: str
    attributes: str = ""


@dataclass(frozen=True)
class Table:
    """A GPT."""

    guid: str
    partitions: tuple[Partition, ...]

    def get(self, number: int) -> Partition:
        for one in self.partitions:
            if one.number == number:
                return one
        raise system.Trouble(f"the partition table {self.guid} has no partition {number}")


@dataclass(frozen=True)
class Disk:
    """A whole disk."""

    name: str  # sda
    size: int  # bytes
    sector: int  # bytes
    model: str
    serial: str
    partitions: dict[int, str] = field(default_factory=dict)  # number to name

    @property
    def device(self) -> str:
        return f"/dev/{self.name}"

    @property
    def names(self) -> set[str]:
        """The disk's own name and those of its partitions."""
        return {self.name, *self.partitions.values()}

    def partition(self, number: int) -> str:
        """The device of a partition."""
        if number not in self.partitions:
            raise system.Trouble(f"{self.device} has no partition {number}")
        return f"/dev/{self.partitions[number]}"


def parse_properties(text: str) -> dict[str, str]:
    """`udevadm info --query=property`."""
    pairs = (line.partition("=") for line in text.splitlines())
    return {name: value for name, equals, value in pairs if equals}


def disk(name: str, folder: Path = SYS) -> Disk:
    """A disk of this name."""
    here = folder / name
    partitions = {system.number(file): file.parent.name for file in here.glob(f"{name}*/partition")}
    properties = parse_properties(system.output("udevadm", "info", "--query=property", f"/dev/{name}"))
    serial = properties.get("ID_SERIAL_SHORT") or system.read(here / "device/serial")
    model = properties.get("ID_MODEL", "").replace("_", " ") or system.read(here / "device/model")
    if not here.exists():
        model, serial = seen().get(name, ("", ""))
    return Disk(
        name=name,
        size=system.number(here / "size") * 512,
        sector=system.number(here / "queue/logical_block_size") or 512,
        model=" ".join(model.split()) or "unknown model",
        serial=serial.strip() or name,
        partitions=partitions,
    )


def all_disks(folder: Path = SYS) -> list[Disk]:
    """Every disk with a medium in it."""
    names = sorted(one.name for one in folder.iterdir() if not one.name.startswith(NOT_DISKS))
    return [one for one in (disk(name, folder) for name in names) if one.size]


def see(found: list[Disk]) -> None:
    """Remembers disks until the next start."""
    SEEN.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    durable.write_json(SEEN, seen() | {one.name: (one.model, one.serial) for one in found})


def seen() -> dict[str, tuple[str, str]]:
    """Model and serial number by name."""
    try:
        return {name: (model, serial) for name, (model, serial) in json.loads(system.read(SEEN) or "{}").items()}
    except (ValueError, TypeError, AttributeError):
        return {}


def disk_of(partition: str, folder: Path = SYS) -> str:
    """The name of the disk that a partition lies on, or lay on; of a whole disk, its own."""
    for one in folder.glob(f"*/{partition}"):
        return one.parent.name
    # The kernel's names: a p comes between where the disk's own name ends with a digit.
    name = re.fullmatch(r"((?:[shv]|xv)d[a-z]+|(?:nvme[0-9]+n|mmcblk)[0-9]+)p?[0-9]*", partition)
    return name[1] if name else partition


def parse_table(text: str) -> Table:
    """`sfdisk --json`."""
    try:
        table = json.loads(text)["partitiontable"]
        if table["label"] != "gpt":
            raise system.Trouble(f"{table['device']} has no GPT")
        return Table(
            guid=table["id"].lower(),
            partitions=tuple(_partition(one) for one in table.get("partitions", [])),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise system.Trouble(f"sfdisk's answer cannot be read: {error!r}") from error


def _partition(entry: dict) -> Partition:
    number = re.search(r"[0-9]+$", entry["node"])
    return Partition(
        number=int(number.group()) if number else 0,
        start=entry["start"],
        size=entry["size"],
        type=entry["type"].lower(),
        uuid=entry["uuid"].lower(),
        name=entry.get("name", ""),
        attributes=entry.get("attrs", ""),
    )


def table(of: Disk) -> Table:
    """The disk's partition table."""
    return parse_table(system.run("sfdisk", "--json", of.device))


def mounts() -> set[str]:
    """The names of block devices that hold mounted file systems or swap."""
    used = set()
    for line in system.read("/proc/self/mountinfo").splitlines():
        number = line.split()[2]
        block = Path("/sys/dev/block") / number
        if block.exists():
            used.add(block.resolve().name)
    for line in system.read("/proc/swaps").splitlines()[1:]:
        used.add(Path(line.split()[0]).resolve().name)
    return used


def holders(of: Disk, folder: Path = SYS) -> dict[str, str]:
    """What else of the kernel sits on the disk: holder (md127, dm-0) to the partition it holds."""
    found = {}
    for name in sorted(of.names):
        here = folder / of.name / "holders" if name == of.name else folder / of.name / name / "holders"
        if here.is_dir():
            found.update({one.name: name for one in here.iterdir()})
    return found
