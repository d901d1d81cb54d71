"""The arrays of the mirror, and whether both disks start the box."""

import json
import time

from chatimg_box import legs, md, mend, mirror, newdisk, system
from chatimg_box.health import Section
from chatimg_box.md import Array

SCRUB = "/var/lib/chatimg/scrub.json"
LATE = 70 * 86400


def look() -> Section:
    section = Section("mirror", data=[])
    if not legs.load():
        section.lines.append("none: this box has a single disk")
        for name, parts in mend.single().items():
            section.problem(
                f"what starts the box is not as this image says on /dev/{name}: {', '.join(parts)}",
                "harmless if an update brought another GRUB; else the disk may be failing: see `sudo smartctl -a "
                f"/dev/{name}`, make a backup, and flash the image to a disk anew",
            )
        return section
    arrays = md.arrays()
    checks = json.loads(system.read(SCRUB) or "{}")
    for array in arrays:
        check = checks.get(array.uuid, {})
        section.lines.append(f"{array.name:<8}{state(array)}; {checked(array, check)}")
        section.data.append(data(array, check))
    absent = [name for name in md.NAMES if name not in {one.name for one in arrays}]
    if absent:
        section.problem(f"arrays that do not run: {', '.join(absent)}", "restart the box; then see `journalctl -b -k`")
    judge(section, arrays, checks)
    return section


def data(array: Array, check: dict) -> dict:
    return {
        "name": array.name,
        "devices": array.devices,
        "degraded": array.degraded,
        "action": array.action,
        "percent": round(100 * array.done / array.total, 1) if array.total else None,
        "seconds-left": array.seconds_left(),
        "members": {one.partition: one.state for one in array.members},
        "last-check": int(check.get("finished", 0)) or None,
        "mismatches": check.get("last_mismatches", 0),
    }


def state(array: Array) -> str:
    if array.degraded == 0:
        word = "whole"
    else:
        word = f"{array.devices - array.degraded} of {array.devices} disks"
    members = ", ".join(one.partition + (" (failed)" if one.faulty else "") for one in array.members)
    going_on = f"; {array.action}: {mirror.progress(array)}" if array.action not in ("idle", "frozen") else ""
    return f"{word} ({members}){going_on}"


def checked(array: Array, check: dict) -> str:
    finished = check.get("finished", 0)
    if not finished:
        return "not checked yet"
    day = time.strftime("%Y-%m-%d", time.localtime(finished))
    differing = check.get("last_mismatches", 0)
    if not differing:
        return f"checked {day}"
    if check.get("last_action") == "repair":
        return f"checked {day}, {differing} sectors made the same"
    why = " (harmless: swap)" if array.name == "data" else ""
    return f"checked {day}, {differing} sectors differ{why}"


def judge(section: Section, arrays: list[Array], checks: dict) -> None:
    lacking = [one.name for one in arrays if one.degraded and not one.busy]
    if lacking:
        section.problem(
            f"the mirror lacks a disk ({', '.join(lacking)})",
            "; ".join(newdisk.waiting(arrays))
            or "switch off, exchange the dead disk for a new one, start, and run: sudo chatimg-admin replace-disk /dev/sdX",
        )
    filling = [one.name for one in arrays if one.degraded and one.busy]
    if filling:
        have = [f"/dev/{name}" for name in sorted(mirror.complete(arrays))]
        section.problem(
            f"the mirror is not whole yet: {', '.join(filling)} is being copied",
            f"wait until it is, and take out no disk: all that matters is on {have[0] if have else 'one of them'} alone",
        )
    for array in arrays:
        check = checks.get(array.uuid, {})
        differing = check.get("last_mismatches", 0)
        if differing and array.name != "data" and mirror.slot_image(array) not in ("", "none"):
            section.problem(
                f"the disks differ in {differing} sectors of {array.name}",
                "sudo smartctl -a of both disks; replace the one that shows errors (chatimg-admin replace-disk)",
            )
        if check.get("finished") and time.time() - check["finished"] > LATE:
            section.problem(f"{array.name} was not checked for long", "see `journalctl -u chatimg-scrub`")
    starts(section, arrays)


def starts(section: Section, arrays: list[Array]) -> None:
    """Whether the box starts from each disk that has the root slots."""
    names = mirror.starters(arrays)
    wrong = mend.problems(names)
    for name, parts in wrong.items():
        if len(names) == 2:
            do = "sudo systemctl restart chatimg-mirror; if that does not mend it, restart the box; then replace the disk"
        else:
            do = "replace the disk that is missing: the box can mend one disk only while it starts from another"
        section.problem(f"what starts the box is not as it should be on /dev/{name}: {', '.join(parts)}", do)
    sound = [f"/dev/{name}" for name in sorted(names) if name not in wrong]
    if sound:
        section.lines.append(f"starts from {' and '.join(sound)}")
