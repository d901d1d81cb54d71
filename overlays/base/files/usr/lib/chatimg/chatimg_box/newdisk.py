"""A new disk on its way into the mirror: what speaks against it, and making it ready.

A power cut at any point leaves a box that starts from the good disk, and the command can be run again:

    1. old members that failed leave the arrays
    2. the disk is made one that firmware passes over, and loses its old signatures; a note on it says that it stays out,
       so that the initrd leaves the whole disk alone, and never formats it
    3. its partition table is written, with the GUIDs of the leg that is missing
    4. the root slots are filled
    5. the data begin to be filled: the note goes, and the initrd takes it for a disk of this box
    6. boot files and, last, boot code are copied: from here on it starts the box
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from . import away, bootcode, disks, legs, md, mirror, system, text
from .disks import Disk, Table
from .legs import Leg
from .md import Array
from .system import Trouble

MIB = 1 << 20


@dataclass(frozen=True)
class Job:
    """A replacement that nothing speaks against."""

    good: Disk
    new: Disk
    leg: Leg
    table: Table  # that the new disk gets
    ready: bool  # whether it has that table already: an earlier run was cut short, or it was away
    lost: str  # what it has that no other disk has, in words; all of that goes


def named(device: str) -> Disk:
    """The disk that the administrator named."""
    path = Path(device).resolve()
    if not path.is_block_device():
        raise Trouble(f"{device} is no disk; `lsblk` shows which there are")
    name = path.name
    owner = disks.disk_of(name)
    if owner != name:
        raise Trouble(f"{device} is a partition; name the whole disk: /dev/{owner}")
    if name.startswith(disks.NOT_DISKS):
        raise Trouble(f"{device} is no disk of its own; `lsblk` shows which there are")
    return disks.disk(name)


def plan(new: Disk, arrays: list[Array], known: list[Leg]) -> Job:
    """Looks at everything that may speak against the new disk."""
    if not known:
        raise Trouble("this box has a single disk and no mirror: there is nothing to replace a part of")
    if "data" not in {one.name for one in arrays}:
        raise Trouble("the array data does not run; restart the box, and see `journalctl -b`")
    good = good_disk(new, arrays)
    if new.sector != good.sector:
        raise Trouble(
            f"{new.device} has sectors of {new.sector} bytes, {good.device} of {good.sector}; take another disk"
        )
    if system.number(disks.SYS / new.name / "ro"):
        raise Trouble(f"{new.device} is write-protected")
    used = disks.mounts() & new.names
    if used:
        raise Trouble(
            f"mounted, or used as swap: {', '.join(sorted(used))}; unmount that first, if it is the right disk"
        )
    good_table = disks.table(good)
    leg = legs.missing(known, good_table.guid)
    table = legs.plan(good_table, leg, new.size // legs.SECTOR, needed(arrays))
    data = next(one for one in arrays if one.name == "data")
    ready = has_table(new, table) and not foreign(new, data)
    refuse_busy(new, arrays, ready)
    return Job(good, new, leg, table, ready, lost(new, data))


def good_disk(new: Disk, arrays: list[Array]) -> Disk:
    """The disk to copy from."""
    whole = mirror.complete(arrays)
    if new.name in whole:
        if len(whole) > 1:
            raise Trouble(f"the mirror is whole, and {new.device} is a part of it: there is nothing to replace")
        raise Trouble(f"{new.device} is the only good disk that is left; name the new one")
    if len(whole) > 1:
        raise Trouble(
            "the mirror is whole: there is nothing to replace. To exchange a disk that still works: switch the box off, "
            "put the new disk in the old one's place, start, and run this again"
        )
    if not whole:
        names = "; ".join(f"{one.name}: {', '.join(m.partition for m in one.members)}" for one in arrays)
        raise Trouble(f"no disk has all arrays whole ({names}); wait for a rebuild that goes on (chatimg-admin status)")
    return disks.disk(whole.pop())


def needed(arrays: list[Array]) -> int:
    """Sectors that a leg of the data array takes."""
    data = next(one for one in arrays if one.name == "data")
    return data.component * 2 + max(one.offset for one in data.members if one.in_sync)


def has_table(disk: Disk, wanted: Table) -> bool:
    """Whether the disk has this very table."""
    try:
        have = disks.table(disk)
    except Trouble:
        return False
    by_number = sorted(have.partitions, key=lambda one: one.number)
    return have.guid == wanted.guid and by_number == sorted(wanted.partitions, key=lambda one: one.number)


def foreign(disk: Disk, data: Array) -> bool:
    """Whether a disk holds another box's data. All boxes of an appliance have the same tables, but each has its own
    array of the data; a disk that was just flashed has the image's, and holds nothing."""
    uuid = md.examined(disk.partitions.get(legs.DATA, "")).get("MD_UUID", "")
    return bool(uuid) and md.plain_uuid(uuid) != data.uuid and not mirror.is_blank(disk)


def lost(disk: Disk, data: Array) -> str:
    """What a disk has that no other disk has, in words; empty if it has nothing of that kind, as far as can be seen."""
    leg = disk.partitions.get(legs.DATA, "")
    uuid = md.plain_uuid(md.examined(leg).get("MD_UUID", ""))
    if not uuid or mirror.is_blank(disk):
        return ""
    when = away.last_written(leg)
    if uuid != data.uuid:
        return f"it holds the data of another box, written to last {when}: all of them will be erased"
    if not data.member({leg}) and away.ran_alone(data, leg):
        return (
            f"it has run without the disk in use, and was written to last {when}: what only it has will be thrown away. "
            "docs/box.md says how to keep it instead"
        )
    return ""


def refuse_busy(new: Disk, arrays: list[Array], ready: bool) -> None:
    """Refuses a disk that something else sits on. Legs of our arrays are fine if they failed, or came of an earlier run."""
    ours = {one.kernel: one for one in arrays}
    for holder, partition in disks.holders(new).items():
        array = ours.get(holder)
        if array is None:
            stop = f"mdadm --stop /dev/{holder}" if holder.startswith("md") else f"what uses /dev/{holder}"
            raise Trouble(f"{partition} is in use by {holder}, which is none of this mirror's; stop it first: {stop}")
        member = array.member({partition})
        if member and not member.faulty and not ready:
            raise Trouble(f"{partition} is an active part of the array {array.name}; {new.device} is no new disk")


def contents(disk: Disk) -> list[str]:
    """What is on a disk, for a person to see before it is erased."""
    shown = system.output("lsblk", "--noheadings", "--output", "NAME,SIZE,FSTYPE,LABEL,PARTLABEL", disk.device)
    lines = [line.rstrip() for line in shown.splitlines()[1:]]
    if lines:
        return lines
    kind = system.output("blkid", "--probe", "--output", "value", "--match-tag", "TYPE", disk.device).strip()
    return [f"no partitions, but signs of {kind}" if kind else "nothing that is known: no partitions, no file system"]


def describe(job: Job) -> list[str]:
    """What is going to happen, for a person."""
    new = job.new
    lines = [
        f"good disk: {job.good.device}  {job.good.model}, serial {job.good.serial}",
        f"new disk:  {new.device}  {new.model}, serial {new.serial}, {text.size(new.size)}",
    ]
    lines += [f"WARNING: {job.lost}"] if job.lost else []
    if job.ready:
        return lines + [
            "it has this mirror's partitions: an earlier run did not end, or it was away; what the mirror lacks of it is "
            "written anew"
        ]
    return lines + ["on it now, and to be erased:"] + [f"  {line}" for line in contents(new)]


def prepare(job: Job, arrays: list[Array]) -> Disk:
    """Steps 1 to 3. Gives back the disk with its partitions."""
    for array in arrays:
        mirror.forget_lost(array)
    if not job.ready:
        have_alone(job.new.device)
    roots = [one for one in arrays if one.name != "data"]
    if not all(in_array(one, job.new, whole=True) for one in roots):
        bootcode.stop_starting(job.new)
    if not job.ready:
        erase(job)
        system.run("sfdisk", "--quiet", "--wipe", "never", job.new.device, stdin=legs.script(job.table, job.new.device))
        bootcode.stop_starting(job.new)
    fresh = settled(job)
    if not job.ready:
        bootcode.write_device(fresh.partition(bootcode.SETTINGS), bytes(MIB))
    elif not all(in_array(one, fresh) for one in arrays):
        # It was away: old legs of the root slots are only touched when the initrd no longer counts on the disk.
        data = next(one for one in arrays if one.name == "data")
        if not in_array(data, fresh):
            mirror.keep_out(fresh.partition(bootcode.BOOT_STATE))
            system.run("wipefs", "--all", "--quiet", fresh.partition(legs.DATA))
            # The image's mark goes, too: from when the note is gone, nothing may say that there are no data.
            bootcode.write_device(fresh.partition(legs.DATA), bytes(legs.SECTOR), mirror.DATA_OFFSET)
    return fresh


def settled(job: Job) -> Disk:
    """The disk with its partitions. udev reads the table anew whenever a disk was written to, and for a moment its
    partitions are gone; so they must have stayed for a while."""
    numbers = {one.number for one in job.table.partitions}
    seen = 0
    for _ in range(120):
        system.output("udevadm", "settle", "--timeout=30")
        fresh = disks.disk(job.new.name)
        nodes = [Path("/dev") / name for name in fresh.partitions.values()]
        there = set(fresh.partitions) == numbers and all(node.is_block_device() for node in nodes)
        seen = seen + 1 if there else 0
        if seen == 4:
            return fresh
        time.sleep(0.5)
    raise Trouble(
        f"the new partitions of {job.new.device} do not appear; see `journalctl -k`, and run the command again"
    )


def have_alone(device: str) -> None:
    """The kernel's own word that nobody uses the disk or a partition of it."""
    try:
        os.close(os.open(device, os.O_RDWR | os.O_EXCL))
    except OSError as error:
        raise Trouble(
            f"{device} cannot be had alone ({error.strerror}): something uses it; see `lsblk {device}`"
        ) from error


def erase(job: Job) -> None:
    """Takes away what any program could take for a file system, an array or a table."""
    device = job.new.device
    for name in sorted(job.new.partitions.values()):
        system.run("wipefs", "--all", "--force", "--quiet", f"/dev/{name}")
    for start, length in blank_spans(job.table, job.new.size):
        bootcode.write_device(device, bytes(length), start)
    system.run("wipefs", "--all", "--force", "--quiet", device)
    mirror.keep_out(device, job.table.get(bootcode.BOOT_STATE).start * legs.SECTOR)
    system.run("blockdev", "--rereadpt", device)


def blank_spans(table: Table, disk_size: int) -> list[tuple[int, int]]:
    """Where old superblocks could lie: both ends of the disk and of each partition to be. Not sector 0, whose boot
    code makes firmware go on to the next disk."""
    spans = {(legs.SECTOR, MIB - legs.SECTOR), (disk_size - MIB, MIB)}
    for one in table.partitions:
        start, end = one.start * legs.SECTOR, (one.start + one.size) * legs.SECTOR
        spans |= {(start, MIB), (end - MIB, MIB)}
    return sorted(spans)


def in_array(array: Array, disk: Disk, whole: bool = False) -> bool:
    """Whether a partition of the disk is in the array and has not failed."""
    member = array.member(disk.names)
    return bool(member and not member.faulty and (member.in_sync or not whole))


def join(array: Array, disk: Disk) -> None:
    """Step 4: the array begins to fill its partition, unless it has it already."""
    array = md.again(array)
    if not in_array(array, disk):
        mirror.add(array, disk.partition(mirror.PARTITIONS[array.name]))


def join_data(data: Array, disk: Disk) -> None:
    """Step 5. The note goes when the superblock is there: a disk without both would be taken for one with data."""
    join(data, disk)
    mirror.let_in(disk)


def waiting(arrays: list[Array]) -> list[str]:
    """What can be done about each disk that is in the machine, but not in all of the mirror; a line each."""
    data = next((one for one in arrays if one.name == "data"), None)
    out = mirror.left_out(arrays) if data else []
    ours = {one.name for one in mirror.of_this_box(out, arrays)}
    lines = []
    for disk in out:
        words = lost(disk, data)
        line = f"{away.named(disk)} is in the machine, but not in all of the mirror"
        if words:
            line += f"; {words}"
        elif disk.name in ours:
            line += "; it was away, and is taken back at boot, or by: sudo systemctl restart chatimg-mirror"
        lines.append(f"{line}. To erase it and make it a part anew: sudo chatimg-admin replace-disk {disk.device}")
    return lines
