"""A disk that was away and is back: what of it may be taken into the mirror again.

A leg that was away while the other one went on is old, and takes what was written meanwhile. A leg that ran *alone*
meanwhile holds what nobody else has: if it were taken in, md would copy the chunks that the other leg noted, and leave
what this one wrote in between; from then on each read would come from one or the other file system. Such a leg counts the
other one as missing in its own superblock, as nobody but itself wrote that. Events do not tell: each leg counts its own.

Root legs are copied in full: they are small, and a leg may be away because its contents are bad.
"""

from dataclasses import dataclass, field

from . import disks, legs, md, mirror, system, text
from .disks import Disk
from .md import Array
from .system import Trouble


@dataclass
class Back:
    """What came of one disk."""

    disk: Disk
    taken: list[str] = field(default_factory=list)  # partitions
    refused: dict[str, str] = field(default_factory=dict)  # partition to what went wrong
    alone: bool = False  # it has data that the disk in use has not


def ran_alone(array: Array, partition: str) -> bool:
    """Whether a leg that is not in the array was written to without the leg that is, or may have been."""
    state = md.array_state(partition)
    in_use = [one for one in array.members if one.in_sync]
    known = [one.role for one in in_use if 0 <= one.role < len(state)]
    if len(known) < len(in_use) or any(state[role] not in "AR" for role in known):
        return True
    return mirror.events(partition) > max((mirror.events(one.partition) for one in in_use), default=0)


def take_back(disk: Disk, arrays: list[Array]) -> Back:
    """Takes a disk of this box into the arrays that lack it; all of it, or nothing if its data went their own way."""
    back = Back(disk)
    lacking = {array.name: array for array in arrays if array.degraded and not array.busy}
    stale = {name: leg for name, array in lacking.items() for leg in mirror.stale(array, [disk])}
    data = next((one for one in arrays if one.name == "data"), None)
    leg = disk.partitions.get(legs.DATA, "")
    if data and leg and not data.member({leg}) and ran_alone(data, leg):
        back.alone = bool(stale)
        return back
    for name, partition in stale.items():
        try:
            if name == "data":
                system.run("mdadm", "--manage", lacking[name].device, "--re-add", f"/dev/{partition}")
            else:
                mirror.add(lacking[name], f"/dev/{partition}")
            back.taken.append(partition)
        except Trouble as trouble:
            back.refused[partition] = str(trouble)
    return back


def own_way(data: Array, disk: Disk) -> str:
    """Each disk ran without the other one: what each choice throws away, and how to make it."""
    ours = next((one.partition for one in data.members if one.in_sync), "")
    used, other = named(disks.disk(disks.disk_of(ours))), named(disk)
    return (
        f"Each disk has run without the other one, and each has data that the other one lacks:\n"
        f"  {used}: in use, written to until now\n"
        f"  {other}: written to last {last_written(disk.partitions.get(legs.DATA, ''))}\n"
        f"Nothing was copied. The box runs on {used} alone. Choose:\n"
        f"  - Keep what the box has now. What was written to {other} while it ran alone is thrown away:\n"
        f"      sudo chatimg-admin replace-disk {disk.device}\n"
        f"  - Keep {other}. What was written to {used} while it ran alone, until now, is thrown away:\n"
        f"      sudo poweroff; take out {used}; switch on: the box starts from the disk that is left. Look at the data. Then\n"
        f"      put in a new disk, or the one that you took out while the box runs (if it is in when the box starts, that\n"
        f"      one may be chosen again), and give its name to: sudo chatimg-admin replace-disk\n"
        f"If it is not clear which one has more that matters, look at both, one after the other, before you replace any."
    )


def last_written(partition: str) -> str:
    """When a leg's superblock was written, by the box's clock then."""
    when = md.examined(partition).get("MD_UPDATE_TIME", "")
    return text.moment(int(when) if when.isdecimal() else 0)


def named(disk: Disk) -> str:
    """A disk as its label says it, too."""
    return f"{disk.device} ({disk.model}, serial {disk.serial})"
