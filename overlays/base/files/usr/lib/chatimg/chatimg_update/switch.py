"""The way from one image to another: services stop, a snapshot is taken, one write of the boot state, restart.

What is under way stands in /state/.chatimg/switch, lines `name=value`, which the initrd reads, too.
"""

import contextlib
import os
import re
import signal
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from chatimg_box import durable, system, text
from chatimg_box.system import Trouble

from . import bootstate, history, snapshot
from .place import Box, refuse_if_busy
from .place import remove as remove_file
from .verify import cannot_read, formats

UNIT = "chatimg-switch"
FARTHEST = 30 * 86400
RESERVE = 16 << 20
SOONEST = 10


@dataclass(frozen=True)
class Job:
    """What is to be done."""

    to: str  # the image's id
    slot: str
    guard: str  # login or gate
    kind: str  # update or rollback
    restore: str = ""  # the snapshot of the data that go with the image


def read(box: Box) -> dict[str, str]:
    """The switch under way; empty if there is none."""
    lines = system.read(box.kept / "switch").splitlines()
    return {name: value for name, equals, value in (line.partition("=") for line in lines) if equals}


def write(box: Box, values: Mapping[str, object]) -> None:
    for name, value in values.items():
        if not re.fullmatch("[a-z-]+", name) or not re.fullmatch("[A-Za-z0-9.-]*", str(value)):
            raise Trouble(f"a switch cannot have {name}={value}")
    lines = "".join(f"{name}={value}\n" for name, value in sorted(values.items()))
    durable.write(box.kept / "switch", lines.encode(), 0o600)


def kept(box: Box) -> tuple[set[str], set[str]]:
    """The images and snapshots that are still needed."""
    state, current = bootstate.read(box), read(box)
    return {state.get("a", ""), state.get("b", "")}, {current.get("snapshot", ""), current.get("restore", "")}


def perform(box: Box, job: Job) -> None:
    """All up to the restart. If anything fails, everything is as it was before."""
    history.keep_running(box)
    snapshot.prune(box, *kept(box))
    size = snapshot.check_room(box, 2 if job.restore else 1)
    restore = snapshot.to_restore(box, job.restore) if job.restore else ""
    services = snapshot.Services(box)
    written, handlers = False, {}
    try:
        services.stop()
        reserve(box)
        name = snapshot.take(box, f"{job.kind} to {job.to}", size)
        values = {"from": box.id, "snapshot": name, "touched": "no", "time": name.partition("-")[0]}
        values |= {"to": job.to, "restore": restore, "guard": job.guard, "kind": job.kind}
        # From here on the restart comes, or everything is as before: nothing may end the program in between.
        handlers = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGTERM, signal.SIGINT)}
        written = True
        write(box, values | {"down-since": services.since})
        begin_trial(box, job)
    except BaseException:
        if written:
            remove_file(box.kept / "switch")
        remove_file(box.kept / "reserve")
        services.start()
        snapshot.sweep(box, set())
        for number, handler in handlers.items():
            signal.signal(number, handler)
        raise
    # There is no way back from here, so nothing may fail.
    with contextlib.suppress(OSError):
        history.add(box, "switched", switch=values["time"], to=job.to, kind=job.kind, **{"from": box.id})


def reserve(box: Box) -> None:
    """Space for the way back, should the new image fill the disk: the initrd frees it before it puts the state back."""
    path = box.kept / "reserve"
    try:
        with open(path, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, RESERVE)
            os.fsync(file.fileno())
    except OSError as error:
        path.unlink(missing_ok=True)
        raise Trouble(f"no space is left for the way back: {error.strerror}") from error


def begin_trial(box: Box, job: Job) -> None:
    """The one write that makes the next start a trial."""
    wanted = {job.slot: job.to, "try": job.slot, "left": "3", "next": ""}
    try:
        bootstate.change(box, wanted, strict=True)
    except (Trouble, OSError) as error:
        # A write that failed may have come through all the same: taken back, or, if that cannot be, gone through with.
        with contextlib.suppress(Trouble, OSError):
            if begun(box, wanted):
                bootstate.change(box, bootstate.SETTLED)
        if not begun(box, wanted):
            raise
        with contextlib.suppress(OSError):
            print(f"warning: {error}", flush=True)


def begun(box: Box, wanted: Mapping[str, str]) -> bool:
    state = bootstate.read(box)
    return {name: state.get(name) for name in wanted} == wanted


def restart(box: Box) -> None:
    """What depends on the state has stopped, so there is no way but this one."""
    try:
        box.command("systemctl", "--no-block", "reboot")
    except Trouble:
        box.command("systemctl", "--force", "reboot")


# Planned ones: kept in /run, so a plan lasts until the next restart.


def plan(box: Box, job: Job, at: int) -> None:
    """Does it later. What can be refused is refused now."""
    away = at - box.now()
    if not SOONEST <= away <= FARTHEST:
        raise Trouble(
            f"a switch can be planned from {SOONEST} s to {text.duration(FARTHEST)} ahead, and this is {away:.0f} s ahead; "
            "see that the clocks are right"
        )
    snapshot.check_room(box)
    durable.write_json(box.run / "planned.json", {"at": at, "job": asdict(job), "running": box.id})
    timer = ["--timer-property=AccuracySec=1s", f"--on-calendar=@{at}"]
    try:
        box.command("systemd-run", "--quiet", "--collect", f"--unit={UNIT}", *timer, str(box.library / "switch"))
    except Trouble:
        remove_file(box.run / "planned.json")
        raise


def planned(box: Box) -> tuple[Job, int] | None:
    found = box.json(box.run / "planned.json")
    try:
        return (Job(**found["job"]), int(found["at"])) if found else None
    except (KeyError, TypeError, ValueError):
        return None


def cancel(box: Box) -> bool:
    """Calls a planned switch off. False if there is none."""
    found = planned(box)
    if found is None:
        return False
    try:
        box.command("systemctl", "stop", f"{UNIT}.timer")
    except Trouble:
        pass  # It is gone already.
    remove_file(box.run / "planned.json")
    return True


def perform_planned(box: Box) -> None:
    """What the timer starts."""
    found = planned(box)
    if found is None:
        raise Trouble("no switch is planned")
    remove_file(box.run / "planned.json")
    job, at = found
    try:
        refuse_if_busy(box)
        perform(box, job)
    except (Trouble, OSError) as trouble:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(at))
        system.tell(
            f"the {job.kind} planned for {when} was not done",
            f"{trouble}\nThe box goes on with the image {box.id}. What to do: begin the {job.kind} anew.",
            key="update/planned",
        )
        raise
    restart(box)


# Rollback: the same, to the other slot, which is not written.


def back(box: Box, with_data: bool, guard: str) -> Job:
    """The way to the other slot's image."""
    slot = "b" if box.slot == "a" else "a"
    to = bootstate.read(box).get(slot, "none")
    if to == "none" or not to:
        raise Trouble("the other slot holds no image: there is nothing to go back to")
    if with_data:
        found = snapshot.left_by(box, to)
        if found is None:
            raise Trouble(f"there is no snapshot of the data that belong to the image {to}; see --keep-data")
        return Job(to, slot, guard, "rollback", found.name)
    old, mine = history.image(box, to), history.image(box, box.id)
    if "formats" not in old or "formats" not in mine:
        raise Trouble(f"it is not known whether the image {to} can read the data as they are now; use --with-data")
    unreadable = cannot_read(formats(old["formats"]) or {}, formats(mine["formats"]) or {})
    if unreadable:
        raise Trouble(f"the image {to} could not read the data as they are now: {'; '.join(unreadable)}; use --with-data")
    return Job(to, slot, guard, "rollback")
