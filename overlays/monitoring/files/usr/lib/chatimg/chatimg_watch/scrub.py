"""The monthly check of the mirror: every sector of both disks is read and compared, so that a sector that has gone bad is
found, and rewritten from the other disk, before that one is needed.

Rules:
  - one array after the other, for some hours a night; the next night goes on where this one stopped, also after a reboot
  - never while an array lacks a disk or is being rebuilt; another night then
  - the data array was made over space that was never written, where its disks differ: its first check is a repair. It
    also holds the swap file, and for a page on its way to swap the two disks may differ for good reason (md(4)):
    differences there are shown in the status, and not alerted
  - a root slot is never written but by an update: differences there are alerted, if the slot holds an image
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from chatimg_box.md import Array

FILE = Path("/var/lib/chatimg/scrub.json")
EVERY = 28 * 86400


@dataclass
class Record:
    """What is known of one array's checks."""

    name: str = ""
    action: str = ""  # of the check that is under way: check or repair; empty between two
    position: int = 0  # sectors done of it
    mismatches: int = 0  # sectors that differed, as far as it got
    finished: float = 0.0  # when the last one ended
    last_action: str = ""
    last_mismatches: int = 0
    repaired: bool = False  # whether there has been a whole repair

    def start(self, name: str) -> None:
        """Begins another check."""
        self.name = name
        self.action = "repair" if name == "data" and not self.repaired else "check"
        self.position = self.mismatches = 0

    def finish(self, now: float) -> None:
        """It got to the end."""
        self.finished, self.last_action, self.last_mismatches = now, self.action, self.mismatches
        self.repaired = self.repaired or self.action == "repair"
        self.action, self.position, self.mismatches = "", 0, 0

    def due(self, now: float) -> bool:
        return bool(self.action) or not 0 <= now - self.finished < EVERY


def skip(array: Array) -> str:
    """Why an array is not checked now; empty if it can be."""
    if array.degraded:
        return "it lacks a disk"
    if array.action != "idle":
        return f"it is busy ({array.action})"
    return ""


def alerted(name: str, slot_image: str) -> bool:
    """Whether differences of this array are bad news."""
    return name != "data" and slot_image not in ("", "none")


def load(path: Path = FILE) -> dict[str, Record]:
    """Records by array UUID."""
    try:
        return {uuid: Record(**one) for uuid, one in json.loads(path.read_text(encoding="utf-8")).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def to_json(records: dict[str, Record]) -> dict:
    return {uuid: asdict(one) for uuid, one in records.items()}
