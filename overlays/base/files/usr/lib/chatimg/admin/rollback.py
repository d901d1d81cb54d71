"""`chatimg-admin rollback`: back to the image in the other slot.

--with-data: the data, too, are those of the moment when that image was left. What came since then is saved first, for people to
read, but is gone from the server. --keep-data: only the image changes, if it can read the data as they are now.
Either way a snapshot of today's data is taken, and the box comes back to this image if the other one does not work.
"""

import argparse
import importlib.util
import sys
from pathlib import Path

from chatimg_box.system import Trouble
from chatimg_update import exports, snapshot, switch, told
from chatimg_update.place import Box, refuse_if_busy, see_it_through

SUMMARY = "go back to the image before, with its data or without"


def arguments(parser: argparse.ArgumentParser) -> None:
    data = parser.add_mutually_exclusive_group(required=True)
    data.add_argument("--with-data", action="store_true", help="the data go back, too; what came since is saved to a file first")
    data.add_argument("--keep-data", action="store_true", help="the data stay as they are")
    parser.add_argument("--unattended", action="store_true", help="need not be confirmed, the image's checks decide")
    parser.add_argument("--no-export", action="store_true", help="with --with-data: do not save what came since")
    parser.add_argument("--yes", action="store_true", help="do not ask")


def run(args: argparse.Namespace) -> int:
    box = Box()
    see_it_through()
    with box.only_one():
        refuse_if_busy(box)
        job = switch.back(box, args.with_data, "gate" if args.unattended else "login")
        since = describe(box, job, args.no_export)
        snapshot.check_room(box, 2 if job.restore else 1)
        ask(args.yes)
        if args.with_data and not args.no_export:
            exports.close_ports(box)
            try:
                for file in exports.run(box, since):
                    print(f"what came since then is in {file}")
                return update().begin(box, job)
            except BaseException:
                exports.open_ports(box)
                raise
        return update().begin(box, job)


def describe(box: Box, job: switch.Job, no_export: bool) -> int:
    """What will be. Gives back the time from which on data are lost."""
    print(f"from the image {told.image(box, box.id)}\nback to      {told.image(box, job.to)}, slot {job.slot}")
    if not job.restore:
        print("the data stay as they are now: nothing that was sent is lost")
        return 0
    since = next(one.time for one in snapshot.all_of(box) if one.name == job.restore)
    print(f"the data go back to {told.day(since)}: what was sent, uploaded or changed since then is gone from the server")
    print("and is NOT saved" if no_export else f"messages since then are saved in {box.kept}/exports first")
    print("the data as they are now stay on the disk until the next update (chatimg-admin status)")
    return since


def ask(yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise Trouble("nobody can be asked here; add --yes if you mean it")
    if input("Go back? Type yes: ").strip() != "yes":
        raise Trouble("nothing was changed")


def update():
    """The command beside this one."""
    found = sys.modules.get("chatimg_admin_update")
    if found is None:
        spec = importlib.util.spec_from_file_location("chatimg_admin_update", Path(__file__).with_name("update.py"))
        found = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(found)
    return found
