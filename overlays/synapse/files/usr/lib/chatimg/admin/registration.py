"""`chatimg-admin registration`: whether people may make their own accounts, and the tokens that let them.

Whether they may is the image's: `registration = "token"` below [options.synapse] of appliance.toml, else it is closed.
"""

import argparse
import json
import re
import sys
import time
import urllib.parse

from chatimg_box import text
from chatimg_box.system import Trouble
from chatimg_matrix import passwords
from chatimg_matrix.server import Synapse, settings

SUMMARY = "whether people may make their own accounts; the tokens that let them"
UNITS = {"min": 60, "h": 3600, "d": 86400}
LONGEST = 10 * 366 * 86400
CHARACTERS = "[A-Za-z0-9._~-]{1,64}"  # Matrix specification, token-authenticated registration.
SHORT = 12
CLOSED = 'registration is closed on this image; registration = "token" below [options.synapse] of appliance.toml opens it'


def arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    verbs.add_parser("show", help="who may make an account")
    token = verbs.add_parser("token", help="tokens that let people make an account").add_subparsers(
        dest="token_verb", required=True, metavar="VERB"
    )
    create = token.add_parser("create", help="make a token, and print it")
    create.add_argument("--uses", type=uses, default=1, metavar="N", help="how many accounts: a number (1), or unlimited")
    create.add_argument(
        "--expires", type=expiry, default="7 d", metavar="TIME", help='in "12 h", "7 d" (default), on 2030-12-24, or never'
    )
    create.add_argument("--token", metavar="X", help="this one; by default a random one is made, which nobody guesses")
    listing = token.add_parser("list", help="all tokens")
    listing.add_argument("--json", action="store_true", help="for programs: times are Unix seconds")
    remove = token.add_parser("remove", help="nobody can use it any more; accounts that were made with it stay")
    remove.add_argument("token", metavar="TOKEN")


def uses(given: str) -> int | None:
    if given == "unlimited":
        return None
    if not re.fullmatch("[0-9]{1,9}", given) or int(given) < 1:
        raise ValueError  # argparse says which option it is about.
    return int(given)


def expiry(given: str) -> int | None:
    """Unix seconds: in some time, or at a day or moment by the box's clock."""
    if given == "never":
        return None
    if found := re.fullmatch("([0-9]{1,6}) ?(min|h|d)", given):
        moment = int(time.time()) + int(found[1]) * UNITS[found[2]]
    else:
        form = "%Y-%m-%d %H:%M" if ":" in given else "%Y-%m-%d"
        moment = int(time.mktime(time.strptime(given, form)))
    if not 30 <= moment - time.time() <= LONGEST:
        raise ValueError
    return moment


def run(args: argparse.Namespace) -> int:
    if args.verb == "show":
        return show(Synapse())
    return {"create": create, "list": listing, "remove": remove}[args.token_verb](Synapse(), args)


def show(synapse: Synapse) -> int:
    found = settings()
    if not found["enable_registration"]:
        print("registration  closed: chatimg-admin user create makes users")
    elif found["registration_requires_token"]:
        print("registration  for those with a token")
    else:
        print("registration  OPEN TO ALL: no option of chatimg does that")
    print(f"guests        {'may enter rooms that let them in' if found['allow_guest_access'] else 'none'}")
    every = tokens(synapse)
    good = sum(one["usable"] for one in every)
    print(f"tokens        {good} that can be used, {len(every) - good} used up or expired")
    return 0


def create(synapse: Synapse, args: argparse.Namespace) -> int:
    token = passwords.generate() if args.token is None else args.token
    if not re.fullmatch(CHARACTERS, token) or token.startswith("-"):
        raise Trouble("a token has 1 to 64 of the characters A-Z a-z 0-9 . _ ~ - and no - at its start; better let one be made")
    if any(one["token"] == token for one in tokens(synapse)):
        raise Trouble("there is such a token already; chatimg-admin registration token list")
    if len(token) < SHORT:
        print(f"warning: a token of less than {SHORT} characters can be guessed; better let one be made", file=sys.stderr)
    synapse.reserve()
    body = {"token": token, "uses_allowed": args.uses, "expiry_time": args.expires and args.expires * 1000}
    synapse.admin("making a token", "POST", "v1/registration_tokens/new", body)
    if not settings()["enable_registration"]:
        print(f"warning: {CLOSED}", file=sys.stderr)
    many = "any number of accounts" if args.uses is None else text.count(args.uses, "account")
    until = "for ever" if args.expires is None else f"until {text.moment(args.expires)}"
    print(f"for {many}, {until}:", file=sys.stderr, flush=True)
    print(token)
    return 0


def listing(synapse: Synapse, args: argparse.Namespace) -> int:
    found = tokens(synapse)
    if args.json:
        print(json.dumps(found, indent=2))
        return 0
    if not found:
        print("no token; chatimg-admin registration token create")
    for one in found:
        of = "any number" if one["uses"] is None else str(one["uses"])
        until = "for ever" if one["expires"] is None else f"until {text.moment(one['expires'])}"
        doing = f", {one['pending']} under way" if one["pending"] else ""
        print(f"{one['token']}  {one['used']} of {of} used{doing}, {until}{'' if one['usable'] else ': of no use any more'}")
    return 0


def tokens(synapse: Synapse) -> list[dict]:
    answer = synapse.admin("listing tokens", "GET", "v1/registration_tokens") or {}
    return [described(one) for one in answer.get("registration_tokens", [])]


def described(one: dict) -> dict:
    uses, used = one.get("uses_allowed"), int(one.get("completed") or 0)
    expires = None if one.get("expiry_time") is None else int(one["expiry_time"]) // 1000
    return {
        "token": str(one.get("token", "")),
        "uses": uses,
        "used": used,
        "pending": int(one.get("pending") or 0),
        "expires": expires,
        "usable": (uses is None or used < uses) and (expires is None or time.time() < expires),
    }


def remove(synapse: Synapse, args: argparse.Namespace) -> int:
    if not re.fullmatch(CHARACTERS, args.token):
        raise Trouble("that is no token; chatimg-admin registration token list shows them")
    path = f"v1/registration_tokens/{urllib.parse.quote(args.token, safe='')}"
    if synapse.admin("removing a token", "DELETE", path) is None:
        raise Trouble("there is no such token; chatimg-admin registration token list shows them")
    print("removed; accounts that were made with it stay")
    return 0
