"""The boot state that GRUB and the box share (src/image/grub/grub.cfg, src/image/envblock.rs).

Every disk has two copies: one at the start of partition 3, one in the ESP. The one with the highest `gen` counts. A change
is one write of the whole state to each copy, partition 3 first, each flushed before the next; all that matters of it lies
in one sector, so that a power cut leaves the old copy or the new one.
"""

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from chatimg_box import bootcode, system
from chatimg_box.bootstate import BLOCK, SIGNATURE, encode, lock, parse, signed
from chatimg_box.system import Trouble

from . import devices, slots
from .place import Box

# No trial, and nothing that is started once.
SETTLED = {"try": "", "left": "0", "next": ""}


@dataclass(frozen=True)
class Copy:
    """One copy, and where it is; `at` is nothing where none was found."""

    device: Path
    at: int | None
    values: dict[str, str]  # empty if it is not sound
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
                found.append(Copy(device, at, {}, str(trouble), esp))
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
        places = [place + at for place, part in reader.chunks(reader.size()) for at in signed(bytes(part))]
    if len(places) != 1:
        raise Trouble(f"the ESP {device} holds {len(places)} copies of the boot state instead of one")
    (at,) = places
    box.run.mkdir(parents=True, exist_ok=True)
    cache.write_text(json.dumps(known | {str(device): at}))
    return at


def best(copies: list[Copy]) -> dict[str, str]:
    """The state that counts: the newest, and of equals the one with the fewest tries left, as GRUB counts in ESPs only."""

    def order(values: dict[str, str]) -> tuple[int, int]:
        left = values.get("left", "0")
        return int(values["gen"]), -int(left) if left.isdecimal() else 0

    found = max((one.values for one in copies if one.values), key=order, default=None)
    if found is None:
        raise Trouble("no copy of the boot state can be read: " + "; ".join(one.trouble for one in copies))
    return dict(found)


def read(box: Box) -> dict[str, str]:
    return best(look(box))


def change(box: Box, values: Mapping[str, str], strict: bool = False) -> list[str]:
    """Changes the state in every copy. Gives back which could not be written; that none could be is trouble.

    `strict`: so it is, and nothing else is written, if no partition 3 takes it: the initrd would not know of it."""
    box.prepare()
    with lock(box.run / "boot-state.lock"):
        copies = look(box)
        state = best(copies)
        state |= values
        state["gen"] = str(int(state["gen"]) + 1)
        block = encode(state)
        failed = [trouble for one in copies if not one.esp and (trouble := put(one, block))]
        if strict and len(failed) == sum(not one.esp for one in copies):
            raise Trouble("no copy of the boot state that the initrd reads can be written: " + "; ".join(failed))
        failed += [trouble for one in copies if one.esp and (trouble := put(one, block))]
    if len(failed) == len(copies):
        raise Trouble("no copy of the boot state can be written: " + "; ".join(failed))
    for trouble in failed:
        # Who listened may be gone.
        with contextlib.suppress(OSError):
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
