"""Room on the data partition."""

import os

from chatimg_box import text
from chatimg_box.health import Section

FULL = 90  # percent


def look() -> Section:
    stat = os.statvfs("/state")
    total, free = stat.f_blocks * stat.f_frsize, stat.f_bavail * stat.f_frsize
    percent = round(100 * (total - free) / total) if total else 0
    data = {"total": total, "free": free, "percent": percent}
    section = Section("data", [f"{text.size(total - free)} of {text.size(total)} used ({percent} %)"], data)
    if percent >= FULL:
        section.problem(
            f"the data partition is {percent} % full",
            "see what takes room: sudo du -xh --max-depth=3 /state | sort -h | tail",
        )
    return section
