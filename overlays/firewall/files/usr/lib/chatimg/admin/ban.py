"""Bans addresses: the box drops all that comes from them, on open connections too. The list outlives restarts and updates.
RANGE is an address, ADDRESS/BITS or FIRST-LAST, IPv4 or IPv6."""

import argparse
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))

from chatimg_bans import guard, listed  # noqa: E402
from chatimg_bans.keep import HalfDone, Keep, in_words  # noqa: E402
from chatimg_bans.listed import Ban, Faulty  # noqa: E402
from chatimg_bans.ranges import Wrong, parse  # noqa: E402
from chatimg_box.system import Trouble  # noqa: E402

SUMMARY = "ban ranges of addresses, and let them in again"


def arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    add = verbs.add_parser("add", help="ban ranges")
    add.add_argument("ranges", nargs="+", metavar="RANGE", help="203.0.113.7, 203.0.113.0/24, 203.0.113.5-203.0.113.9, 2001:db8::/48")
    add.add_argument("--comment", default="", metavar="TEXT", help="why; shown by list")
    remove = verbs.add_parser("remove", help="let ranges in again")
    remove.add_argument("ranges", nargs="+", metavar="RANGE", help="as list shows it")
    show = verbs.add_parser("list", help="what is banned")
    show.add_argument("--json", action="store_true", help="as JSON")
    load = verbs.add_parser("load", help="replace the whole list by a file's: a range a line, comments after # or ;")
    load.add_argument("file", metavar="FILE", help="- is standard input")


def run(args: argparse.Namespace, keep: Keep | None = None, guarded=guard.protected) -> int:
    keep = keep or Keep()
    os.umask(0o022)
    if args.verb == "list":
        return show(keep, args.json)
    try:
        with keep.lock():
            return {"add": add, "remove": remove, "load": load}[args.verb](keep, args, guarded)
    except HalfDone as half:
        print(f"error: {half}", file=sys.stderr)
        return 1
    except (Faulty, Trouble, OSError) as trouble:
        print(f"error: {in_words(trouble)}", file=sys.stderr)
    print("nothing was changed", file=sys.stderr)
    return 1


def given(texts: list[str]) -> list:
    mistakes, found = [], []
    for text in texts:
        try:
            found.append(parse(text))
        except Wrong as wrong:
            mistakes.append(str(wrong))
    if mistakes:
        raise Faulty(mistakes)
    return found


def add(keep: Keep, args: argparse.Namespace, guarded) -> int:
    new = [Ban(one, listed.comment(args.comment)) for one in given(args.ranges)]
    refuse(new, guarded())
    bans = {ban.range: ban for ban in keep.load()}
    for ban in new:
        if ban.range in bans:
            print(f"{ban.range} was banned already")
        if ban.range not in bans or ban.comment:
            bans[ban.range] = ban
    listed.check(bans.values(), "the list")
    keep.change(list(bans.values()))
    return 0


def remove(keep: Keep, args: argparse.Namespace, _guarded) -> int:
    bans = {ban.range: ban for ban in keep.load()}
    mistakes = []
    gone = given(args.ranges)
    for one in gone:
        if one not in bans:
            around = [str(ban.range) for ban in bans.values() if one.overlaps(ban.range)]
            advice = f"; these are, and have it or some of it: {', '.join(around[:5])}" if around else ""
            mistakes.append(f"{one} is not in the list{advice}")
    if mistakes:
        raise Faulty(mistakes)
    for one in gone:
        bans.pop(one, None)
    keep.change(list(bans.values()))
    for one in gone:
        still = [str(ban.range) for ban in bans.values() if one.overlaps(ban.range)]
        if still:
            print(f"warning: of {one} all or some is still banned, by {', '.join(still[:5])}", file=sys.stderr)
    return 0


def load(keep: Keep, args: argparse.Namespace, guarded) -> int:
    if args.file == "-":
        name, data = "standard input", sys.stdin.buffer.read(listed.BYTES + 1)
    else:
        name = args.file
        try:
            with open(args.file, "rb") as file:
                data = file.read(listed.BYTES + 1)
        except OSError as error:
            raise Trouble(f"reading {args.file}: {error.strerror}") from error
    bans = listed.read(data, name)
    refuse(bans, guarded(), name, data)
    keep.change(bans)
    print(f"{len(bans)} ranges are banned")
    return 0


def refuse(bans: list[Ban], guarded: dict, name: str = "", data: bytes = b"") -> None:
    """Whoever bans himself could not take it back."""
    mistakes = []
    lines = None
    for one, address, why in guard.refused((ban.range for ban in bans), guarded):
        place = ""
        if name:
            lines = listed.places(data) if lines is None else lines
            place = f"{name}:{lines[one]}: "
        inside = "it is" if one in address else f"{address} in it is"
        mistakes.append(f"{place}{one} is not banned: {inside} {why}")
    if mistakes:
        raise Faulty(mistakes)


def show(keep: Keep, as_json: bool) -> int:
    try:
        bans = keep.load()
    except Faulty as faulty:
        print(f"error: {faulty}", file=sys.stderr)
        print(f"in force is the last good list, {keep.good}; give another: sudo chatimg-admin ban load FILE", file=sys.stderr)
        return 1
    if as_json:
        print(json.dumps({"ranges": [{"range": str(ban.range), "comment": ban.comment} for ban in bans]}, indent=2))
        return 0
    width = max((len(str(ban.range)) for ban in bans), default=0)
    for ban in bans:
        print(f"{ban.range!s:<{width}}  {ban.comment}".rstrip())
    return 0
