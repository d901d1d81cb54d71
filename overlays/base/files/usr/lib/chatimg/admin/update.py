"""`chatimg-admin update`: takes a new image from a folder of this box, or settles one that was sent (`chatimg update`).

The folder has root.img, update.json and update.json.minisig.
"""

import argparse
import contextlib
import os
import sys
import time
from pathlib import Path

from chatimg_box import durable, system, text
from chatimg_box.system import Trouble
from chatimg_update import bootstate, history, receive, switch, told, verify, write
from chatimg_update.place import Box, refuse_if_busy, see_it_through

SUMMARY = "take a new image from a folder; confirm an image that is on trial; cancel a planned switch"
LONGEST = 1300
WANTED = "a folder for --from has root.img, update.json and update.json.minisig"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("verb", nargs="?", choices=["confirm", "cancel"], help="confirm: keep the image that is on trial, "
                        "and wait for the verdict; cancel: call a planned switch off")  # fmt: skip
    parser.add_argument("--from", dest="folder", metavar="DIR", type=Path, help="the folder with the new image")
    parser.add_argument("--unattended", action="store_true", help="the image need not be confirmed, its checks decide")
    parser.add_argument("--older", action="store_true", help="take an image that is older than the one that runs")
    when = parser.add_mutually_exclusive_group()
    when.add_argument("--at", type=moment, metavar="TIME", help="switch then: 03:30, or 2026-12-24 03:30; a restart forgets it")
    when.add_argument("--stage", action="store_true", help="only write it; the same command without --stage switches")


def moment(words: str) -> int:
    """The next time that it is so late, or a time of a day."""
    for form in ("%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M"):
        try:
            return int(time.mktime(time.strptime(words, form)))
        except ValueError:
            continue
    of_day, now = time.strptime(words, "%H:%M"), time.localtime()
    for days in (0, 1):
        found = time.mktime((*now[:2], now[2] + days, of_day.tm_hour, of_day.tm_min, 0, 0, 0, -1))
        if found > time.time():
            break
    return int(found)


def run(args: argparse.Namespace) -> int:
    box = Box()
    if (args.verb is None) == (args.folder is None):
        print("error: say one of: --from DIR, confirm, cancel", file=sys.stderr)
        return 2
    if args.verb == "confirm":
        return confirm(box)
    if args.verb == "cancel":
        if not switch.cancel(box):
            raise Trouble("no switch is planned")
        print("the planned switch is off; the image stays in the other slot until the next update")
        return 0
    if args.at and not args.unattended:
        print("error: at that time nobody may be there to confirm the image: add --unattended", file=sys.stderr)
        return 2
    see_it_through()
    with box.only_one():
        return take(box, args)


def take(box: Box, args: argparse.Namespace) -> int:
    refuse_if_busy(box)
    to = write.target(box)
    root = args.folder / "root.img"
    if not root.is_file():
        raise Trouble(f"reading {root}: it is not there; {WANTED}")
    new = verify.fitting(box, read(args.folder / "update.json"), signature(args.folder), to.capacity, args.older)
    warning = receive.lacking(box)
    if warning:
        print(f"warning: {warning}", file=sys.stderr)
    receive.be_nice()
    print(f"writing the image {new.id} to slot {to.name}")
    write.from_file(box, root, new, to, shower())
    history.keep_image(box, new.id, new.text)
    if args.stage:
        print(f"the image {new.id} is in slot {to.name}; the same command without --stage switches to it")
        return 0
    job = switch.Job(new.id, to.name, "gate" if args.unattended else "login", "update")
    if args.at:
        switch.plan(box, job, args.at)
        print(f"the switch is planned for {told.day(args.at)}; sudo chatimg-admin update cancel calls it off")
        return 0
    return begin(box, job)


def begin(box: Box, job: switch.Job) -> int:
    """Also of `rollback`."""
    print("services stop; the state is copied", flush=True)
    switch.perform(box, job)
    # Who listened may be gone; the services stand still, so the restart comes.
    with contextlib.suppress(OSError):
        print(f"restarting into the image {job.to}", flush=True)
        if job.guard == "login":
            print("confirm it within 10 minutes after it is up, or the box comes back: sudo chatimg-admin update confirm", flush=True)
    switch.restart(box)
    return 0


def read(path: Path, limit: int = verify.LIMIT) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(limit + 1)
    except OSError as error:
        raise Trouble(f"reading {path}: {error.strerror}; {WANTED}") from error


def signature(folder: Path) -> str:
    return read(folder / "update.json.minisig", 4096).decode(errors="replace")


def shower() -> write.Show:
    last = 0.0

    def show(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= 10:
            last = time.monotonic()
            print(f"  {text.size(done)} of {text.size(total)}", flush=True)

    return show


def from_outside() -> bool:
    """Whether sshd is among the processes that led here."""
    pid = os.getppid()
    while pid > 1:
        # NAME may have spaces and parentheses in it: proc_pid_stat(5).
        name, _, rest = system.read(f"/proc/{pid}/stat").partition(" (")[2].rpartition(") ")
        if name.startswith("sshd"):
            return True
        pid = int(rest.split()[1]) if rest else 0
    return False


def confirm(box: Box) -> int:
    """Says that the administrator still gets in, and waits for the verdict."""
    if not from_outside():
        raise Trouble("this shows nobody gets in from outside; confirm it in an ssh login to the box")
    if not box.trial.exists():
        last = (history.events(box) or [{}])[-1]
        if last.get("event") in ("committed", "rolled-back") and last.get("to") == box.id:
            print(f"the image {box.id} has proved itself already")
            return 0
        raise Trouble("no image is on trial, so nothing is to be confirmed; see chatimg-admin history")
    durable.write(box.run / "confirmed", box.id.encode(), 0o600)
    print("noted; waiting for the checks", flush=True)
    until = time.monotonic() + LONGEST
    while box.trial.exists() and time.monotonic() < until:
        found = box.json(box.kept / "trial.json")
        if found.get("verdict") == "failed" and found.get("switch") == switch.read(box).get("time", ""):
            reasons = "; ".join(map(str, found.get("reasons", [])))
            raise Trouble(f"the image {box.id} has failed, and the box goes back to the one before: {reasons}")
        time.sleep(0.5)
    if bootstate.read(box).get("good") != box.slot:
        raise Trouble("there is no verdict; see `journalctl -u chatimg-gate`")
    print(f"the image {box.id} has proved itself and stays")
    return 0
