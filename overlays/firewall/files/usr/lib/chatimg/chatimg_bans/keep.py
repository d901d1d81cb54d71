"""Where the list is kept, and how it comes into force."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from chatimg_box import durable, system
from chatimg_box.system import Trouble

from . import listed
from .listed import Ban, Faulty
from .ranges import Range, merged
from .rules import rules

_WAIT = 60


class HalfDone(Trouble):
    """Some of a change is done and some is not. The text says what, and what to do."""


@dataclass(frozen=True)
class Keep:
    """The files. Tests have them in a folder, and a `command` of their own."""

    root: Path = Path("/")
    command: object = system.run

    @property
    def wanted(self) -> Path:
        """What the administrator wants."""
        return self.root / "var/lib/chatimg/bans/list"

    @property
    def good(self) -> Path:
        """What was in force last."""
        return self.root / "var/lib/chatimg/bans/list.good"

    @property
    def rules(self) -> Path:
        """For nftables.conf, which includes it."""
        return self.root / "run/chatimg/nftables/bans.nft"

    @property
    def networks(self) -> Path:
        """For programs that keep somebody out themselves: a network a line, merged."""
        return self.root / "run/chatimg/bans"

    @property
    def hooks(self) -> Path:
        """Those programs. Each is run after a change."""
        return self.root / "usr/lib/chatimg/bans.d"

    @contextmanager
    def lock(self) -> Iterator[None]:
        path = self.root / "run/chatimg/bans.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "w", encoding="ascii") as file:
            end = time.monotonic() + _WAIT
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > end:
                        raise Trouble("another ban command has been at work for a minute: wait for it, or end it") from None
                    time.sleep(0.1)
            yield

    def load(self) -> list[Ban]:
        """The list. Faulty if it is broken; empty if there is none yet."""
        try:
            return listed.read(self.wanted.read_bytes(), str(self.wanted))
        except FileNotFoundError:
            return []

    def change(self, bans: list[Ban]) -> None:
        """Brings a list into force and keeps it. If that fails, all is as it was; if what comes after it fails, or the way
        back, it is half done."""
        new = merged(ban.range for ban in bans)
        try:
            old = self.rules.read_bytes()
        except FileNotFoundError:
            old = rules([]).encode()
        self._write_rules(new)
        try:
            self.command("nft", "--file", str(self.rules))
            durable.write(self.wanted, listed.written(bans), 0o600)
        except (Trouble, OSError) as failure:
            # Not the list's own fault: perhaps the disk is full.
            self._go_back(old, failure)
            raise
        steps = [
            lambda: durable.write(self.good, listed.written(bans), 0o600),
            lambda: self._write_networks(new),
            *(lambda hook=hook: self.command(str(hook)) for hook in sorted(self.hooks.glob("*")) if os.access(hook, os.X_OK)),
        ]
        wrong = []
        for step in steps:
            try:
                step()
            except (Trouble, OSError) as failure:
                wrong.append(in_words(failure))
        if wrong:
            done = "the list is changed, and the firewall has it; what did not work after that:"
            raise HalfDone("\n".join([done, *wrong, self._again]))

    def _go_back(self, old: bytes, failure: Exception) -> None:
        try:
            durable.write(self.rules, old, 0o600)
            self.command("nft", "--file", str(self.rules))
        except (Trouble, OSError) as second:
            words = f"the list is as it was, but the firewall may have the new ranges: {in_words(second)}"
            raise HalfDone(f"{in_words(failure)}\n{words}\n{self._again}") from failure

    @property
    def _again(self) -> str:
        return f"When that is mended, bring the list into force once more: sudo chatimg-admin ban load {self.wanted}"

    def prepare(self) -> tuple[list[Ban], str]:
        """At the start: makes the rules, of the last good list if this one is broken. Gives back what is used, and what
        is wrong."""
        wrong = ""
        try:
            bans = self.load()
        except (Faulty, OSError) as faulty:
            bans, wrong = self._last_good(str(faulty))
        new = merged(ban.range for ban in bans)
        self._write_rules(new)
        self._write_networks(new)
        if not wrong and self.wanted.exists():
            durable.write(self.good, listed.written(bans), 0o600)
        return bans, wrong

    def _last_good(self, wrong: str) -> tuple[list[Ban], str]:
        advice = f"correct it, or give another: sudo chatimg-admin ban load FILE\n(what is in force: {self.good})"
        try:
            return listed.read(self.good.read_bytes(), str(self.good)), f"{wrong}\nThe last good list is used: {advice}"
        except (Faulty, OSError) as faulty:
            return [], f"{wrong}\n{faulty}\nNobody is banned: {advice}"

    def _write_rules(self, ranges: list[Range]) -> None:
        self.rules.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        durable.write(self.rules, rules(ranges).encode(), 0o600)

    def _write_networks(self, ranges: list[Range]) -> None:
        lines = "".join(f"{network}\n" for one in ranges for network in one.networks())
        durable.write(self.networks, lines.encode(), 0o644)


def in_words(failure: Exception) -> str:
    """Which file it is about, too."""
    if isinstance(failure, OSError) and failure.filename:
        return f"{failure.filename}: {failure.strerror}"
    return str(failure)
