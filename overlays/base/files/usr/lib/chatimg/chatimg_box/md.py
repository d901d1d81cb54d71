"""The mirror: md arrays of this box, known by the names in their superblocks."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from . import system

NAMES = ("root-a", "root-b", "data")
SYS = Path("/sys/block")


@dataclass(frozen=True)
class Member:
    """A partition in an array."""

    partition: str  # sda6
    state: str  # as the kernel writes it: in_sync, spare, faulty, ...
    offset: int  # where the array's data begin in it, in sectors
    role: int = -1  # which leg it is, from 0; -1 if none

    @property
    def in_sync(self) -> bool:
        return "in_sync" in self.state.split(",")

    @property
    def faulty(self) -> bool:
        return "faulty" in self.state.split(",")


@dataclass(frozen=True)
class Array:
    """What is known of a running array."""

    name: str  # root-a, root-b or data
    kernel: str  # md127
    uuid: str  # as /sys writes it
    devices: int  # how many it should have
    degraded: int  # how many of them it lacks, those being rebuilt among them
    action: str  # idle, resync, recover, check, repair, ...
    done: int  # sectors of that action
    total: int  # sectors it has to do; 0 if nothing goes on
    speed: int  # KiB/s
    component: int  # size of one leg's data in KiB
    mismatches: int
    last_action: str
    members: tuple[Member, ...] = field(default=())

    @property
    def device(self) -> str:
        return f"/dev/{self.kernel}"

    @property
    def busy(self) -> bool:
        """Whether it is being rebuilt, or waits for its turn."""
        return self.action in ("resync", "recover", "reshape")

    def member(self, disk_partitions: set[str]) -> Member | None:
        """The member on one of these partitions."""
        return next((one for one in self.members if one.partition in disk_partitions), None)

    def seconds_left(self) -> float | None:
        if self.total and self.speed:
            return max(0, self.total - self.done) / 2 / self.speed
        return None


def parse_export(text: str) -> dict[str, str]:
    """`mdadm --detail --export` and `--examine --export`: NAME=value lines."""
    pairs = (line.partition("=") for line in text.splitlines())
    return {name: value for name, equals, value in pairs if equals}


def plain_name(name: str) -> str:
    """An array's name without the host's: `box:data` is `data`."""
    return name.rpartition(":")[2]


def plain_uuid(uuid: str) -> str:
    """/sys and mdadm write the same number with other punctuation."""
    return "".join(c for c in uuid.lower() if c in "0123456789abcdef")


def progress(text: str) -> tuple[int, int]:
    """`sync_completed`: `none`, `delayed`, or `done / total`."""
    done, slash, total = text.partition("/")
    if slash and done.strip().isdecimal() and total.strip().isdecimal():
        return int(done), int(total)
    return 0, 0


def role(text: str) -> int:
    """`slot`: a number, or `none`."""
    return int(text) if text.isdecimal() else -1


def from_sys(folder: Path, name: str) -> Array:
    """Reads an array's folder below /sys/block."""
    md = folder / "md"
    done, total = progress(system.read(md / "sync_completed"))
    members = tuple(
        Member(
            partition=one.name.removeprefix("dev-"),
            state=system.read(one / "state"),
            offset=system.number(one / "offset"),
            role=role(system.read(one / "slot")),
        )
        for one in sorted(md.glob("dev-*"))
    )
    return Array(
        name=name,
        kernel=folder.name,
        uuid=plain_uuid(system.read(md / "uuid")),
        devices=system.number(md / "raid_disks"),
        degraded=system.number(md / "degraded"),
        action=system.read(md / "sync_action") or "idle",
        done=done,
        total=total,
        speed=system.number(md / "sync_speed"),
        component=system.number(md / "component_size"),
        mismatches=system.number(md / "mismatch_cnt"),
        last_action=system.read(md / "last_sync_action"),
        members=members,
    )


def name_of(kernel: str) -> str:
    export = parse_export(system.output("mdadm", "--detail", "--export", f"/dev/{kernel}"))
    return plain_name(export.get("MD_NAME", ""))


def arrays(folder: Path = SYS, name: Callable[[str], str] = name_of) -> list[Array]:
    """This box's arrays that run, in the order of NAMES."""
    found = {}
    for one in sorted(folder.glob("md*")):
        if not (one / "md/degraded").exists():
            continue
        array = from_sys(one, name(one.name))
        if array.name in NAMES:
            found[array.name] = array
    return [found[name] for name in NAMES if name in found]


def again(array: Array) -> Array:
    """The same array as it is now."""
    return from_sys(SYS / array.kernel, array.name)


def order(array: Array, attribute: str, value: str) -> None:
    """Writes to one of the array's files below /sys."""
    path = SYS / array.kernel / "md" / attribute
    try:
        with open(path, "w", encoding="ascii") as file:
            file.write(value)
    except OSError as error:
        raise system.Trouble(f"{array.name}: {path} takes no {value!r}: {os.strerror(error.errno or 0)}") from error


def examined(partition: str) -> dict[str, str]:
    """The superblock on a partition; empty if there is none."""
    if not partition:
        return {}
    return parse_export(system.output("mdadm", "--examine", "--export", f"/dev/{partition}"))


def array_state(partition: str) -> str:
    """Which legs a superblock counted as there when it was written last, a letter each: `AA`, or `A.` if the second one
    was missing. Empty if it cannot be read."""
    return parse_array_state(system.output("mdadm", "--examine", f"/dev/{partition}"))


def parse_array_state(text: str) -> str:
    """The line of `mdadm --examine`: `   Array State : A. ('A' == active, '.' == missing, 'R' == replacing)`."""
    found = re.search(r"^ *Array State : ([A.R?]+)(?: |$)", text, re.MULTILINE)
    return found.group(1) if found else ""
