"""The boot state that GRUB and the box share: an environment block, two copies on each disk.

src/image/grub/grub.cfg says what the variables mean, src/image/envblock.rs what a block looks like. A copy is sound if
all of it is as it is written; GRUB reads less strictly, but writes to no block without its signature.
"""

import fcntl
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from . import md, system

SIGNATURE = b"# GRUB Environment Block\n"
BLOCK = 1024
ATOMIC = 512  # bytes that a disk writes all or not at all
EMPTY = SIGNATURE.ljust(BLOCK, b"#")
LOCK = Path("/run/chatimg/boot-state.lock")
_LINE = re.compile(rb"[A-Za-z0-9._-]+=[A-Za-z0-9._-]*")

State = dict[str, str]


@dataclass(frozen=True)
class Running:
    """The image that runs, by the kernel's command line."""

    slot: str  # a or b
    image: str
    started_by: int = 0  # serial number of the ESP that GRUB was started from; 0 if it does not know
    skipped: tuple[str, ...] = ()  # slots that GRUB passed over: hd1,gpt4,SERIAL,why

    @property
    def other(self) -> str:
        return "b" if self.slot == "a" else "a"


@dataclass(frozen=True)
class Copy:
    """A copy of the state, where it lies, and whether its disk was away."""

    device: str
    offset: int
    state: State  # empty if it is not sound
    was_away: bool = False

    @property
    def gen(self) -> int:
        return int(self.state.get("gen", -1))


def parse(block: bytes) -> State:
    """A sound state; else nothing."""
    if len(block) != BLOCK or not block.startswith(SIGNATURE):
        return {}
    lines = block[len(SIGNATURE) :].rstrip(b"#").split(b"\n")
    if lines.pop() or not all(_LINE.fullmatch(line) for line in lines):
        return {}
    state = dict(line.decode("ascii").split("=", 1) for line in lines)
    return state if re.fullmatch("[0-9]{1,15}", state.get("gen", "")) and state.get("good") in ("a", "b") else {}


def encode(state: State) -> bytes:
    """The block of a state."""
    lines = [f"{name}={value}".encode() for name, value in sorted(state.items())]
    for line in lines:
        if not _LINE.fullmatch(line):
            raise system.Trouble(f"the boot state cannot hold {line!r}")
    text = SIGNATURE + b"".join(line + b"\n" for line in lines)
    if len(text) > ATOMIC:
        raise system.Trouble(f"the boot state is {len(text)} bytes long, over {ATOMIC}; it is not written")
    return text.ljust(BLOCK, b"#")


@contextmanager
def lock(path: Path | None = None) -> Iterator[None]:
    """Held by whoever reads the state in order to change it."""
    path = path or LOCK
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def signed(data: bytes, step: int = 512) -> Iterator[int]:
    """Where a sector begins as a state does, sound or not."""
    at = data.find(SIGNATURE)
    while at >= 0:
        if at % step == 0:
            yield at
        at = data.find(SIGNATURE, at + 1)


def find(data: bytes) -> list[tuple[int, State]]:
    """The sound states in a file system, each with its place."""
    return [(at, state) for at in signed(data) if (state := parse(data[at : at + BLOCK]))]


def running(cmdline: str | None = None) -> Running:
    """What runs."""
    words = (system.read("/proc/cmdline") if cmdline is None else cmdline).split()
    given = dict(word.split("=", 1) for word in words if word.startswith("chatimg.") and "=" in word)
    serial = given.get("chatimg.esp", "").replace("-", "")
    return Running(
        slot=given.get("chatimg.slot", ""),
        image=given.get("chatimg.id", ""),
        started_by=int(serial, 16) if re.fullmatch("[0-9A-Fa-f]{8}", serial) else 0,
        skipped=tuple(one for one in given.get("chatimg.skipped", "").split("/") if one),
    )


def held(slot: str) -> str:
    """The id of the image that a slot's array holds; empty if it holds none."""
    for array in md.arrays():
        if array.name == f"root-{slot}":
            text = system.output("debugfs", "-R", "cat /boot/chatimg-id", array.device)
            found = re.search("^id=([A-Za-z0-9]+)$", text, re.MULTILINE)
            return found.group(1) if found else ""
    return ""


def choose(copies: list[Copy], now: Running, in_other: str) -> State:
    """The state that all copies should have; nothing while the image that runs is not the committed one.

    `in_other` is the image that the slot holds that does not run. The newest state counts, if it is true: root slots of a
    disk that was away are filled from the other one, and its state may speak of what it had before.
    """
    sound = [one for one in copies if one.state]
    if not sound:
        # GRUB took the first sound slot, and does so for ever, as it writes to no block that is none.
        return made_of(now, in_other)

    def runs(one: Copy) -> bool:
        return one.state["good"] == now.slot and one.state.get(now.slot) == now.image

    def true(one: Copy) -> bool:
        return runs(one) and (not one.was_away or one.state.get(now.other) in ("none", in_other))

    def order(one: Copy) -> tuple[int, bool, bool, int]:
        # GRUB counts tries without raising gen: of equals the one that is used up more.
        left = one.state.get("left", "0")
        return (one.gen, not one.was_away, not one.state.get("next"), -int(left) if left.isdecimal() else 0)

    newest = max(one.gen for one in sound)
    if any(one.gen == newest and not one.was_away and not runs(one) for one in sound) or not any(map(true, sound)):
        return {}
    best = max(filter(true, sound), key=order)
    if any(one.gen >= best.gen and not true(one) for one in sound):
        return best.state | {"gen": str(newest + 1)}
    return best.state


def made_of(now: Running, in_other: str) -> State:
    """A new state: what runs is good."""
    state = {"gen": "1", "good": now.slot, "try": "", "left": "0", "next": ""}
    return state | {now.slot: now.image, now.other: in_other or "none"}
