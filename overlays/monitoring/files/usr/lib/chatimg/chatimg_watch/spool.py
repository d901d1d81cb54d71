"""Alerts on their way: a folder with a file for each that is not sent yet, and what was told when.

    /var/lib/chatimg/alerts/waiting/TIME-NUMBER.json
    /var/lib/chatimg/alerts/told.json

What the data partition does not take, as it is full (which is to be told above all), lies in memory, below
/run/chatimg-alerts, under the same name. Where both have a file, that is the newer one. It goes to the data partition when
that has room again.

A flapping disk must not send thousands: the same matter (`key`) is told once in QUIET seconds, all matters together
PER_HOUR times an hour, and no more than LIMIT wait. What is held back is counted, and the next alert says how many.
All of it is in the journal in any case.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from chatimg_box import durable

FOLDER = Path("/var/lib/chatimg/alerts")
SPARE = Path("/run/chatimg-alerts")
QUIET = 6 * 3600
PER_HOUR = 20
LIMIT = 100
KEEP = 30 * 86400
LONGEST_BODY = 20_000
FIRST_PAUSE = 60
LONGEST_PAUSE = 6 * 3600


@dataclass
class Alert:
    """What the administrator is told."""

    subject: str
    body: str
    key: str
    level: str = "warning"
    time: float = 0.0
    seen: float = 0.0  # when the sender first looked at it: by then the clock is right
    tries: int = 0
    due: float = 0.0
    done: list[str] = field(default_factory=list)  # ways it went already
    trouble: str = ""  # why it did not go the others

    def waits(self, now: float) -> bool:
        """Whether its next try is yet to come. A clock that was set back holds up nothing."""
        return 0 < self.due - now <= LONGEST_PAUSE

    def put_off(self, now: float, trouble: str) -> None:
        """Another try, later each time."""
        self.due = now + min(FIRST_PAUSE * 2**self.tries, LONGEST_PAUSE)
        self.tries += 1
        self.trouble = trouble


@dataclass
class Told:
    """What was told when, by matter."""

    times: dict[str, float] = field(default_factory=dict)
    held: dict[str, int] = field(default_factory=dict)
    recent: list[float] = field(default_factory=list)
    dropped: int = 0

    def admits(self, key: str, now: float, waiting: int) -> bool:
        """Whether this is told now; counts it if not."""
        self.recent = [at for at in self.recent if 0 <= now - at < 3600]
        self.times = {one: at for one, at in self.times.items() if 0 <= now - at < KEEP}
        self.held = {one: count for one, count in self.held.items() if one in self.times}
        if 0 <= now - self.times.get(key, now - QUIET) < QUIET:
            self.held[key] = self.held.get(key, 0) + 1
            return False
        if len(self.recent) >= PER_HOUR or waiting >= LIMIT:
            self.dropped += 1
            return False
        self.times[key] = now
        self.recent.append(now)
        return True

    def remarks(self, key: str) -> list[str]:
        """What an alert says of those that were held back before it."""
        said = []
        again = self.held.pop(key, 0)
        if again:
            said.append(f"The same happened {again} more times since it was last told.")
        if self.dropped:
            said.append(f"{self.dropped} other alerts were held back: see `journalctl -t chatimg-alert`.")
            self.dropped = 0
        return said

    def clear(self, prefix: str, but: str = "") -> None:
        """These matters are settled: if they come up again, that is news."""
        for key in [one for one in self.times if one.startswith(prefix) and one != but]:
            del self.times[key]
            self.held.pop(key, None)


class Spool:
    """The folders. Everything in them is changed under one lock, and durably if there is room."""

    def __init__(self, folder: Path = FOLDER, spare: Path = SPARE) -> None:
        self.folder, self.spare = folder, spare
        spare.mkdir(mode=0o700, parents=True, exist_ok=True)
        (spare / "waiting").mkdir(mode=0o700, exist_ok=True)
        with suppress(OSError):
            (folder / "waiting").mkdir(mode=0o700, parents=True, exist_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        with open(self.spare / "lock", "w", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def add(self, alert: Alert, clears: str = "") -> bool:
        """Takes an alert in. False if it is held back."""
        with self.locked():
            told = self._told()
            if clears:
                told.clear(clears, but=alert.key)
            admitted = told.admits(alert.key, alert.time, len(self.names()))
            if admitted:
                alert.body = "\n".join([alert.body[:LONGEST_BODY].rstrip(), *told.remarks(alert.key)])
                self.keep(f"{int(alert.time * 1000):015d}-{os.getpid()}.json", alert)
            self._write("told.json", asdict(told))
            return admitted

    def outstanding(self, *prefixes: str) -> bool:
        """Whether one of these matters was told and not settled since."""
        return any(key.startswith(prefixes) for key in self._told().times)

    def _told(self) -> Told:
        try:
            return Told(**json.loads(self._newer("told.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return Told()

    def names(self) -> list[str]:
        """Those that wait, oldest first."""
        return sorted({one.name for folder in (self.folder, self.spare) for one in folder.glob("waiting/*.json")})

    def read(self, name: str) -> Alert | None:
        """One of them; nothing if it cannot be read, and then it is gone."""
        path = self._newer(f"waiting/{name}")
        try:
            return Alert(**json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError):
            path.unlink(missing_ok=True)
            return None

    def all(self) -> list[Alert]:
        return [one for one in map(self.read, self.names()) if one]

    def keep(self, name: str, alert: Alert) -> None:
        self._write(f"waiting/{name}", asdict(alert))

    def remove(self, name: str) -> None:
        (self.spare / "waiting" / name).unlink(missing_ok=True)
        path = self.folder / "waiting" / name
        if path.exists():
            path.unlink()
            durable.sync(path.parent)

    def settle(self) -> None:
        """Brings to the data partition what lies in memory, if there is room by now."""
        with self.locked():
            for path in sorted(self.spare.glob("waiting/*.json")):
                alert = self.read(path.name)
                if alert:
                    self.keep(path.name, alert)
            if (self.spare / "told.json").exists():
                self._write("told.json", asdict(self._told()))

    def expire(self, now: float) -> None:
        """What could not be sent for so long interests nobody."""
        for name in self.names():
            alert = self.read(name)
            if alert and not alert.seen:
                alert.seen = now
                self.keep(name, alert)
            elif alert and now - alert.seen > KEEP:
                self.remove(name)

    def _newer(self, name: str) -> Path:
        spare = self.spare / name
        return spare if spare.exists() else self.folder / name

    def _write(self, name: str, value: dict) -> None:
        """To the data partition; to memory if it is full."""
        try:
            durable.write_json(self.folder / name, value)
        except OSError:
            durable.write_json(self.spare / name, value)
        else:
            (self.spare / name).unlink(missing_ok=True)
