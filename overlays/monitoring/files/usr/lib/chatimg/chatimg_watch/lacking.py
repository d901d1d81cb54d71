"""A mirror that lacks a disk, in words: told when it happens, at each start, and every night until it is mended."""

from chatimg_box import disks, md, mirror, newdisk, system

REPLACE = """\
What to do:
  1. `sudo chatimg-admin status` shows which disk it is (serial number) and how the other one does.
  2. Switch the box off, put a new disk of at least the same size in its place, switch it on.
  3. `sudo chatimg-admin replace-disk /dev/sdX` with the new disk makes the mirror whole again."""


def advice(arrays: list[md.Array]) -> str:
    """A disk that only waits to be taken in needs no new one."""
    waiting = newdisk.waiting(arrays)
    return "\n".join(["What to do:"] + [f"  - {line}" for line in waiting]) if waiting else REPLACE


def state(arrays: list[md.Array]) -> str:
    """A line for each array."""
    lines = []
    for array in arrays:
        members = ", ".join(f"{one.partition} ({one.state})" for one in array.members)
        lines.append(f"  {array.name}: {array.devices - array.degraded} of {array.devices} disks: {members}")
        if array.busy:
            lines.append(f"    {mirror.progress_line(array)}")
    return "\n".join(lines)


def disk_in_words(partition: str) -> str:
    """The disk of a partition, also if it is gone."""
    disk = disks.disk(disks.disk_of(partition))
    return f"{disk.name} ({disk.model}, serial {disk.serial})" + ("" if disk.size else ", which is gone,")


def tell(arrays: list[md.Array]) -> bool:
    """Alerts the administrator, if there is something to be done."""
    lacking = [one.name for one in arrays if one.degraded and not one.busy]
    if not lacking:
        return False
    running = ", ".join(disk_in_words(name) for name in sorted(mirror.complete(arrays))) or "parts of both disks"
    system.tell(
        "the mirror lacks a disk",
        f"The box runs on {running}. The arrays {', '.join(lacking)} have one disk only: if that one dies too, what was "
        f"written since the last backup is lost.\n{state(arrays)}\n{advice(arrays)}",
        key="mirror/degraded",
        level="critical",
    )
    return True
