"""Where things are on the box. Tests have a box in a folder."""

import fcntl
import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from chatimg_box import durable, system
from chatimg_box.system import Trouble

SLOTS = {"a": 4, "b": 5}  # partition and array
OTHER = {"a": "b", "b": "a"}


@dataclass(frozen=True)
class Box:
    """The machine. `root` is another folder than / in tests, `command` runs a program and gives back what it said."""

    root: Path = Path("/")
    command: Callable[..., str] = system.run
    now: Callable[[], float] = time.time

    def at(self, path: str | Path) -> Path:
        return self.root / str(path).lstrip("/")

    @property
    def kept(self) -> Path:
        """What outlives a restart: for root alone."""
        return self.at("/state/.chatimg")

    @property
    def run(self) -> Path:
        """What is gone with the next start."""
        return self.at("/run/chatimg")

    @property
    def library(self) -> Path:
        return self.at("/usr/lib/chatimg")

    @property
    def trial(self) -> Path:
        """Is there while the image that runs has not proved itself (chatimg-trial.service)."""
        return self.run / "trial"

    def words(self) -> dict[str, str]:
        words = system.read(self.at("/proc/cmdline")).split()
        return dict(word.partition("=")[::2] for word in words)

    @property
    def slot(self) -> str:
        """The slot that runs: a or b."""
        found = self.words().get("chatimg.slot", "")
        if found not in SLOTS:
            raise Trouble("the kernel was not told which slot runs (chatimg.slot): this box was not started by its GRUB")
        return found

    @property
    def id(self) -> str:
        """The id of the image that runs."""
        return self.words().get("chatimg.id", "")

    def json(self, path: Path) -> dict:
        """A file's JSON object; an empty one if there is none that can be read."""
        try:
            found = json.loads(system.read(path))
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def image(self) -> dict:
        """What the running image says of itself."""
        return self.json(self.library / "image.json")

    @property
    def mirror(self) -> bool:
        return self.json(self.library / "disks.json").get("raid") == "mirror"

    def prepare(self) -> None:
        """Makes the folders that everything here needs."""
        for folder in (self.kept, self.run):
            folder.mkdir(parents=True, exist_ok=True)
        self.kept.chmod(0o700)

    @contextmanager
    def only_one(self) -> Iterator[None]:
        """One update, switch or rollback at a time."""
        self.prepare()
        with open(self.run / "update.lock", "w", encoding="ascii") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise Trouble("another update or rollback is at work; wait for it") from error
            yield


def see_it_through() -> None:
    """The connection may break: what has begun goes on. Who ends the program has everything put back as it was."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def refuse_if_busy(box: Box) -> None:
    """Nothing may be begun while a switch is under way or planned."""
    if box.trial.exists():
        raise Trouble(
            "the image that runs is on trial; wait for its verdict (chatimg-admin history), or confirm it "
            "(chatimg-admin update confirm)"
        )
    if (box.kept / "switch").exists():
        raise Trouble("a switch is not finished yet; wait a minute, or restart the box, then see chatimg-admin history")
    planned = box.json(box.run / "planned.json")
    if planned:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(planned.get("at", 0)))
        raise Trouble(f"a switch is planned for {when}; chatimg-admin update cancel calls it off")


def remove(path: Path) -> None:
    """Removes a file for good."""
    path.unlink(missing_ok=True)
    durable.sync(path.parent)
