"""`chatimg-admin certificate`: gives the box a certificate of yours, removes it, or asks the authority now."""

import argparse
import importlib.util
import os
import sys
from pathlib import Path

from chatimg_box import system
from chatimg_box.system import Trouble
from chatimg_tls import places

SUMMARY = "give a certificate of yours, remove it, or ask the authority for one now"
NOW = Path("/run/chatimg/certificate-now")
# What the authority gave last, as the user certs keeps it.
ASKED = Path("/var/lib/chatimg-acme/certificate.pem")


def arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    verbs.add_parser("set", help="take a key and its certificate (PEM) from standard input; it comes before any other")
    verbs.add_parser("remove", help="remove that; the authority's, or the box's own, is used again")
    ask = verbs.add_parser("now", help="ask the authority now, whatever it refused before")
    ask.add_argument("--new", action="store_true", help="also if there is a good one: others have seen its key, say")


def run(args: argparse.Namespace) -> int:
    return {"set": put, "remove": remove, "now": now}[args.verb](args)


def put(_args: argparse.Namespace) -> int:
    if sys.stdin.isatty():
        print("paste the key and its certificate, then Ctrl-D", file=sys.stderr)
    os.execv(places.LIB / "set-certificate", ["set-certificate"])


def remove(_args: argparse.Namespace) -> int:
    if not places.remove_given():
        raise Trouble("there is no certificate of yours")
    print(f"used now: {places.chosen()}")
    return 0


def now(args: argparse.Namespace) -> int:
    section = places.LIB / "status/81-authority.py"
    if not section.exists():
        raise Trouble("this image asks no authority: it lacks the overlay acme")
    if args.new:
        # Services keep theirs until there is another.
        ASKED.unlink(missing_ok=True)
    NOW.parent.mkdir(exist_ok=True)
    NOW.touch()
    # A look that is going on has begun without this word.
    while NOW.exists():
        system.run("systemctl", "start", "chatimg-acme.service")
    spec = importlib.util.spec_from_file_location("authority", section)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = module.look()
    print("\n".join(found.lines))
    for problem in found.problems:
        print(f"{problem.what}\n  do: {problem.do}")
    return 1 if found.problems or not found.data["until"] else 0
