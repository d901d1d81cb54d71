"""Both disks of the mirror start the box, on either firmware, and know the same boot state: looked at in full at each
boot, and mended where that is safe.

  - Only while the image that runs is the committed one: what a trial would write, a return would have to take back.
  - A disk that is right is never touched. If none is, as after an update with another GRUB, the one that the box was not
    started from comes first, and the other one when that one is right.
  - Boot files of the only disk are left as they are: it starts the box, and a power cut might end that.
"""

from . import bootcode, bootstate, disks, gpt, legs, mirror, system
from .bootcode import Template
from .bootstate import Copy, Running, State
from .disks import Disk
from .legs import Leg


def known_legs(names: set[str], known: list[Leg] | None = None) -> list[tuple[Disk, Leg]]:
    """Disks with the legs that they are."""
    known = legs.load() if known is None else known
    found = [(one, mirror.leg_of(known, one)) for one in map(disks.disk, sorted(names))]
    return [(disk, leg) for disk, leg in found if leg]


def look(right: Template, pairs: list[tuple[Disk, Leg]]) -> dict[str, list[str]]:
    """What is wrong, by disk."""
    found = {disk.name: bootcode.differences(right, disk, leg.esp_serial) for disk, leg in pairs}
    return {name: wrong for name, wrong in found.items() if wrong}


def settled_state(right: Template, pairs: list[tuple[Disk, Leg]], now: Running, away: frozenset[str]) -> State:
    """The boot state that all copies should have; nothing while an image is on trial."""
    copies = [one for disk, _ in pairs for one in bootcode.states(right, disk, disk.name in away)]
    return bootstate.choose(copies, now, bootstate.held(now.other))


def mend(names: set[str], away: frozenset[str] = frozenset()) -> list[str]:
    """Mends what is wrong on the disks that have the root slots. `away` are those that were away. Says what was done."""
    with bootstate.lock():
        return _mend(names, away)


def _mend(names: set[str], away: frozenset[str]) -> list[str]:
    right, pairs, now = bootcode.template(), known_legs(names), bootstate.running()
    state = settled_state(right, pairs, now, away)
    if not state:
        return ["an image is on trial: nothing is written to what starts the box"]
    wrong = look(right, pairs)
    said = []
    if len(pairs) == 2:
        for disk, leg in sorted(pairs, key=lambda pair: pair[1].esp_serial == now.started_by):
            if disk.name in wrong:
                bootcode.stop_starting(disk)
                bootcode.make_startable(right, disk, leg.esp_serial, state)
                said.append(f"{disk.device} starts the box again; mended: {', '.join(wrong[disk.name])}")
        if len(wrong) == 1 and not away & set(wrong):
            tell(*wrong.items())
        wrong = {}
    written = bootcode.write_states(writable(right, pairs, wrong), state)
    return said + [f"boot state mended on {device}" for device in written]


def writable(right: Template, pairs: list[tuple[Disk, Leg]], wrong: dict[str, list[str]]) -> list[Copy]:
    """Copies of the boot state that lie where the image says. An ESP that is another one is left alone."""
    copies = []
    for disk, _ in pairs:
        esp, *_, own = bootcode.states(right, disk)
        copies += [own] if "ESP" in wrong.get(disk.name, []) else [esp, own]
    return copies


def tell(entry: tuple[str, list[str]]) -> None:
    name, wrong = entry
    system.tell(
        f"what starts the box was damaged on {name}, and is mended",
        f"Not as the image says: {', '.join(wrong)}. It was written anew and read back; the other disk was right all the "
        "time.\nLook at the disk with `sudo smartctl -a`; if it happens again, replace the disk.",
        key=f"mirror/mended/{name}",
    )


def state_for_new(right: Template, good: Disk) -> State:
    """The boot state for a disk that is made startable. On trial, too, it needs one: GRUB's next write goes to all."""
    copies, now = bootcode.states(right, good), bootstate.running()
    chosen = bootstate.choose(copies, now, bootstate.held(now.other))
    return chosen or max((one for one in copies if one.state), key=lambda one: one.gen).state


def problems(names: set[str], known: list[Leg] | None = None) -> dict[str, list[str]]:
    """What is not right, by disk, for the status: boot files while no image is on trial, and the partition tables."""
    right, pairs = bootcode.template(), known_legs(names, known)
    state = settled_state(right, pairs, bootstate.running(), frozenset())
    wrong = look(right, pairs) if state else {}
    for pair in pairs:
        name, found = pair[0].name, gpt.faults(pair[0])
        if state and any(one.state != state for one in writable(right, [pair], wrong)):
            found.append("boot state")
        if found:
            wrong.setdefault(name, []).extend(found)
    return wrong


def single() -> dict[str, list[str]]:
    """The same for a box with one disk."""
    known, mounted = legs.load(raid="none"), disks.mounts()
    names = {disk.name for disk in disks.all_disks() if disk.names & mounted}
    return problems({disk.name for disk, _ in known_legs(names, known)}, known)
