"""`chatimg-admin replace-disk`: makes a new disk a whole part of the mirror."""

import argparse
import fcntl
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from chatimg_box import bootcode, disks, legs, md, mend, mirror, newdisk, system
from chatimg_box.md import Array
from chatimg_box.system import Trouble

SUMMARY = "make a new disk a whole part of the mirror, in the place of one that died"
LOCK = "/run/chatimg-replace-disk.lock"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("device", metavar="DEV", help="the new disk, as /dev/sdb; all that is on it is erased")
    parser.add_argument(
        "--yes-erase", metavar="SERIAL", help="do not ask: the new disk is the one with this serial number"
    )
    parser.add_argument(
        "--no-wait", action="store_true", help="return when the disk starts the box; the data follow by themselves"
    )


def run(args: argparse.Namespace) -> int:
    with only_one():
        arrays = md.arrays()
        new = newdisk.named(args.device)
        job = newdisk.plan(new, arrays, legs.load())
        for line in newdisk.describe(job):
            print(line)
        confirm(new.serial, args.yes_erase)
        absent = [name for name in md.NAMES if name not in {one.name for one in arrays}]
        if absent:
            print(f"warning: {', '.join(absent)} does not run and stays out; restart the box afterwards")
        return replace(job, arrays, wait=not args.no_wait)


def confirm(serial: str, given: str | None) -> None:
    """Whoever erases a disk says which."""
    if given is None:
        if not sys.stdin.isatty():
            raise Trouble(f"nobody can be asked here; add --yes-erase {serial} if that is the disk")
        given = input(f"Type the serial number of the new disk ({serial}) to go on: ").strip()
    if given != serial:
        raise Trouble(f"the new disk's serial number is {serial}, not {given!r}; nothing was changed")


def replace(job: newdisk.Job, arrays: list[Array], wait: bool) -> int:
    show = shower()
    right = bootcode.template()
    state = mend.state_for_new(right, job.good)
    print("preparing the disk: it must not start the box before it is whole")
    disk = newdisk.prepare(job, arrays)
    disks.see([disk])
    try:
        for array in [one for one in arrays if one.name != "data"]:
            newdisk.join(array, disk)
            mirror.wait(array, show)
    except KeyboardInterrupt:
        print("\nstopped: the disk does not start the box yet. Run the command again to go on")
        return 1
    data = next(one for one in arrays if one.name == "data")
    newdisk.join_data(data, disk)
    bootcode.make_startable(right, disk, job.leg.esp_serial, state)
    print(f"{disk.device} starts the box from now on")
    # smartd looks for disks only when it starts.
    system.output("systemctl", "try-restart", "smartmontools.service")
    if not wait:
        print("the data are being copied; `chatimg-admin status` shows how it gets on")
        return 0
    try:
        mirror.wait(data, show)
    except KeyboardInterrupt:
        print("\nthe data go on being copied; `chatimg-admin status` shows how it gets on")
        return 0
    grown = mirror.grow(md.arrays())
    print(grown or "the mirror is whole")
    return 0


def shower() -> Callable[[str], None]:
    """Shows progress: on one line of a terminal, or a line now and then."""
    last_time, last_what = 0.0, ""

    def show(line: str) -> None:
        nonlocal last_time, last_what
        what = line.partition(":")[0]
        done = line.endswith(": whole")
        if sys.stdout.isatty():
            print(f"\r\x1b[K{line}", end="\n" if done else "", flush=True)
        elif done or what != last_what or time.monotonic() - last_time >= 30:
            last_time, last_what = time.monotonic(), what
            print(line, flush=True)

    return show


@contextmanager
def only_one() -> Iterator[None]:
    with open(LOCK, "w", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Trouble("another replace-disk is at work; wait for it") from error
        yield
