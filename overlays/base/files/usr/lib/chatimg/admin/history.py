"""`chatimg-admin history`: which images ran here, which failed, and why."""

import argparse
import json

from chatimg_update import history, told
from chatimg_update.place import Box

SUMMARY = "which images ran here, which failed, and why"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="for programs: a list of events, oldest first")


def run(args: argparse.Namespace) -> int:
    found = history.events(Box())
    if args.json:
        print(json.dumps(found, indent=2))
        return 0
    for one in found:
        print(told.event(one))
    if not found:
        print("no update yet")
    return 0
