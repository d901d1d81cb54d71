"""Errors of the memory, as the kernel's EDAC drivers count them since the box was started."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from chatimg_box import system

FOLDER = Path("/sys/devices/system/edac/mc")
FILE = Path("/var/lib/chatimg/memory.json")
MANY = 100  # corrected errors a day; one now and then is a cosmic ray
DAYS = 30


@dataclass(frozen=True)
class New:
    """What has come since the last look."""

    corrected: int
    uncorrected: int


@dataclass
class State:
    """Counts over all boots."""

    boot: str = ""
    seen: dict[str, int] = field(default_factory=dict)  # counters at the last look of this boot
    corrected: int = 0
    uncorrected: int = 0
    days: dict[str, int] = field(default_factory=dict)  # corrected ones by day

    def update(self, counters: dict[str, int], boot: str, day: str) -> New:
        """Takes in what the counters say. They begin anew with every boot."""
        if boot != self.boot:
            self.seen = {}
        added = {name: max(0, count - self.seen.get(name, 0)) for name, count in counters.items()}
        new = New(
            corrected=sum(count for name, count in added.items() if "/ce" in name),
            uncorrected=sum(count for name, count in added.items() if "/ue" in name),
        )
        self.boot, self.seen = boot, counters
        self.corrected += new.corrected
        self.uncorrected += new.uncorrected
        self.days[day] = self.days.get(day, 0) + new.corrected
        for old in sorted(self.days)[:-DAYS]:
            del self.days[old]
        return new

    def today(self) -> int:
        return self.days[max(self.days)] if self.days else 0

    def to_json(self) -> dict:
        return asdict(self)


def counters(folder: Path = FOLDER) -> dict[str, int]:
    """`mc0/ce` and `mc0/ue` of each controller; nothing where there is none."""
    found = {}
    for controller in sorted(folder.glob("mc[0-9]*")):
        for kind in ("ce", "ue"):
            text = system.read(controller / f"{kind}_count")
            if text.isdecimal():
                found[f"{controller.name}/{kind}"] = int(text)
    return found


def load(path: Path = FILE) -> State:
    try:
        return State(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return State()
