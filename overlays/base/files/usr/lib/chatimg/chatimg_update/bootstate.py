"""The boot state that GRUB and the box share (src/image/grub/grub.cfg, src/image/envblock.rs).

Every disk has two copies: one at the start of partition 3, one in the ESP. The one with the highest `gen` counts. A change
is one write of the whole state to each copy, partition 3 first, each flushed before the next; all that matters of it lies
in one sector, so that a power cut leaves the old copy or the new one.
"""

import fcntl
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from chatimg_box import bootcode, system
from chatimg_box.system import Trouble

from . import devices, slots
from .place import Box

BLOCK, ATOMIC = bootcode.BLOCK, 512
SIGNATURE = bootcode.SIGNATURE
WORD = re.compile(r"[A-Za-z0-9._-]*")
# No trial, and nothing that is started once.
SETTLED = {"try": "", "left": "0", "next": ""}


def parse(block: bytes) -> dict[str, str] | None:
    """A copy's variables; nothing if it is none that counts."""
    if not block.startswith(SIGNATURE):
        return None
    try:
        lines = block[len(SIGNATURE) :].rstrip(b"#").decode("ascii").splitlines()
    except UnicodeDecodeError:
        return None
    values = {}
    for line in lines:
        name, equals, value = line.partition("=")
        if not equals or not name or not WORD.fullmatch(name) or not WORD.fullmatch(value):
            return None
        values[name] = value
    if not re.fullmatch("[0-9]{1,15}", values.get("gen", "")) or values.get("good") not in ("a", "b"):
        return None
    return values


def encode(values: Mapping[str, str]) -> bytes:
    """A copy's bytes."""
    for name, value in values.items():
        if not name or not WORD.fullmatch(name) or not WORD.fullmatch(value):
            raise Trouble(f"the boot state cannot hold {name!r}={value!r}")
    text = SIGNATURE + "".join(f"{name}={values[name]}\n" for name in sorted(values)).encode()
    if len(text) > ATOMIC:
        raise Trouble(f"the boot state has {len(text)} bytes, and a disk writes only {ATOMIC} at once")
    return text.ljust(BLOCK, b"#")


@dataclass(frozen=True)
class Copy:
    """One copy, and where it is; `at` is nothing where none was found."""

    device: Path
    at: int | None
    values: dict[str, str] | None
    trouble: str = ""
    esp: bool = False


def look(box: Box) -> list[Copy]:
    """All copies of the disks that are in the box."""
    found = []
    for disk in slots.disks(box):
        for number in (bootcode.BOOT_STATE, bootcode.ESP):
            esp, device, at = number == bootcode.ESP, box.at(f"/dev/{disk}"), None
            try:
                device = slots.partition(box, disk, number)
                # What lies at a known place can be written, whatever is there now.
                at = None if esp else 0
                at = in_esp(box, device) if esp else at
                values = parse(devices.peek(device, at or 0, BLOCK))
                trouble = "" if values else f"{device} holds no boot state that can be read"
                found.append(Copy(device, at, values, trouble, esp))
            except Trouble as trouble:
                found.append(Copy(device, at, None, str(trouble), esp))
    # Those of partition 3 first, for they are the ones that the initrd reads.
    return sorted(found, key=lambda one: one.esp)


def in_esp(box: Box, device: Path) -> int:
    """Where an ESP's copy lies. It never moves, and all of the ESP is searched only once a boot."""
    cache = box.run / "boot-state.json"
    known = box.json(cache)
    at = known.get(str(device))
    if isinstance(at, int) and at >= 0 and devices.peek(device, at, BLOCK).startswith(SIGNATURE):
        return at
    with devices.Reader(device) as reader:
        at = bootcode.find_state((place, bytes(part)) for place, part in reader.chunks(reader.size()))
    box.run.mkdir(parents=True, exist_ok=True)
    cache.write_text(json.dumps(known | {str(device): at}))
    return at


def best(copies: list[Copy]) -> dict[str, str]:
    """The state that counts."""
    found = max((one.values for one in copies if one.values), key=lambda values: int(values["gen"]), default=None)
    if found is None:
        raise Trouble("no copy of the boot state can be read: " + "; ".join(one.trouble for one in copies))
    return dict(found)


def read(box: Box) -> dict[str, str]:
    return best(look(box))


def change(box: Box, values: Mapping[str, str]) -> list[str]:
    """Changes the state in every copy. Gives back which could not be written; that none could be is trouble."""
    box.prepare()
    with open(box.run / "boot-state.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        copies = look(box)
        state = best(copies)
        state |= values
        state["gen"] = str(int(state["gen"]) + 1)
        block = encode(state)
        failed = [trouble for one in copies if (trouble := put(one, block))]
    if len(failed) == len(copies):
        raise Trouble("no copy of the boot state can be written: " + "; ".join(failed))
    for trouble in failed:
        print(f"warning: a copy of the boot state was not written: {trouble}", flush=True)
    return failed


def put(copy: Copy, block: bytes) -> str:
    """Writes a copy and reads it back. Why it failed, if it did."""
    if copy.at is None:
        return copy.trouble
    try:
        devices.poke(copy.device, copy.at, block)
        if devices.peek(copy.device, copy.at, BLOCK) != block:
            return f"{copy.device} gives back something else than was written"
    except (OSError, Trouble) as error:
        return f"{copy.device}: {getattr(error, 'strerror', None) or error}"
    return ""


def on_trial(box: Box, state: Mapping[str, str]) -> bool:
    """Whether the image that runs has yet to prove itself."""
    return state.get("try") == box.slot and state.get("good") != box.slot


def tell_failed(failed: list[str]) -> None:
    """A disk that takes no boot state is about to die; the box still starts from the other one."""
    if failed:
        system.tell(
            "the boot state could not be written everywhere",
            "\n".join(failed) + "\nWhat to do: look at the disks with `sudo chatimg-admin status`.",
            key="update/boot-state",
        )
