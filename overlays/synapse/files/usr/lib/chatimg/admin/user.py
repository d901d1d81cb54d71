"""`chatimg-admin user`: the people of the chat server. NAME is alice or @alice:DOMAIN.

A password is read from the terminal, or from standard input, or made by --generate and told once.
"""

import argparse
import json
import sys

from chatimg_box import text
from chatimg_box.system import Trouble
from chatimg_matrix import names, passwords
from chatimg_matrix.server import Synapse, Taken

SUMMARY = "make, list and deactivate the chat server's users, reset their passwords"


def arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    create = verbs.add_parser("create", help="make a user")
    create.add_argument("--admin", action="store_true", help="who administers the chat server, too")
    create.add_argument("--display-name", metavar="TEXT", help="what others see (default: the name)")
    password = verbs.add_parser("password", help="set a new password, and log the user out everywhere")
    password.add_argument("--keep-sessions", action="store_true", help="do not log the user out")
    deactivate = verbs.add_parser("deactivate", help="log a user out for ever; the name is never given to anybody else")
    deactivate.add_argument("--erase", action="store_true", help="and hide what the user wrote from whoever joins a room later")
    deactivate.add_argument("--yes", action="store_true", help="do not ask")
    activate = verbs.add_parser("activate", help="let a deactivated user in again, with a new password")
    admin = verbs.add_parser("admin", help="make a user an administrator of the chat server, or no more one")
    which = admin.add_mutually_exclusive_group(required=True)
    which.add_argument("--grant", action="store_true", help="the user administers the chat server")
    which.add_argument("--revoke", action="store_true", help="and no more")
    for verb in (create, password, deactivate, activate, admin):
        verb.add_argument("name", metavar="NAME", help="alice or @alice:DOMAIN")
    for verb in (create, password, activate):
        verb.add_argument("--generate", action="store_true", help="make a good password, and print it once")
    listing = verbs.add_parser("list", help="who is there")
    listing.add_argument("--all", action="store_true", help="the box's own users, too")
    listing.add_argument("--json", action="store_true", help="for programs: times are Unix seconds")


def run(args: argparse.Namespace) -> int:
    return VERBS[args.verb](Synapse(), args)


def create(synapse: Synapse, args: argparse.Namespace) -> int:
    name = names.new(args.name, synapse.domain)
    if args.display_name is not None and not (args.display_name.isprintable() and 0 < len(args.display_name) <= 256):
        raise Trouble("a display name is one line of 256 characters at most")
    if (there := synapse.user(name)) is not None:
        raise taken(synapse, name, there)
    password = new_password(name, args)
    try:
        synapse.register(name, password, args.admin, args.display_name)
    except Taken:
        raise taken(synapse, name, synapse.user(name) or {}) from None
    return tell(f"made {synapse.full(name)}{', an administrator' if args.admin else ''}", password, args)


def taken(synapse: Synapse, name: str, there: dict) -> Trouble:
    full = synapse.full(name)
    if there.get("deactivated"):
        return Trouble(f"{full} was deactivated, and a name is never given to anybody else; chatimg-admin user activate {name}")
    return Trouble(f"{full} is there already; a new password: chatimg-admin user password {name}")


def password(synapse: Synapse, args: argparse.Namespace) -> int:
    name, there = known(synapse, args.name)
    if there.get("deactivated"):
        raise Trouble(f"{synapse.full(name)} is deactivated; chatimg-admin user activate {name}")
    if there.get("is_guest"):
        raise Trouble(f"{synapse.full(name)} is a guest, who has no password")
    new = new_password(name, args)
    change(synapse, name, {"password": new, "logout_devices": not args.keep_sessions})
    where = "stays logged in" if args.keep_sessions else "is logged out everywhere"
    return tell(f"{synapse.full(name)} has a new password and {where}", new, args)


def deactivate(synapse: Synapse, args: argparse.Namespace) -> int:
    name, there = known(synapse, args.name)
    full = synapse.full(name)
    if there.get("deactivated") and not args.erase:
        raise Trouble(f"{full} is deactivated already")
    if not args.yes:
        ask(full, name, args.erase)
    what = f"deactivating {full}"
    if synapse.admin(what, "POST", f"v1/deactivate/{synapse.quoted(name)}", {"erase": args.erase}) is None:
        raise unknown(synapse, name)
    print(f"{full} is deactivated{' and erased' if args.erase else ''}")
    return 0


def ask(full: str, name: str, erase: bool) -> None:
    """Whoever takes an account from somebody says whose."""
    if not sys.stdin.isatty():
        raise Trouble("nobody can be asked here; add --yes if you mean it")
    print(f"{full} is logged out, leaves all rooms, and can log in no more.")
    if erase:
        print("What the user wrote is hidden from whoever joins a room later. Other servers are asked to do the same.")
    if input(f"Type the name ({name}) to go on: ").strip() not in (name, full):
        raise Trouble("that is another name; nothing was changed")


def activate(synapse: Synapse, args: argparse.Namespace) -> int:
    name, there = known(synapse, args.name)
    if not there.get("deactivated"):
        raise Trouble(f"{synapse.full(name)} is not deactivated; a new password: chatimg-admin user password {name}")
    new = new_password(name, args)
    change(synapse, name, {"deactivated": False, "password": new})
    return tell(f"{synapse.full(name)} can log in again", new, args)


def admin(synapse: Synapse, args: argparse.Namespace) -> int:
    name, there = known(synapse, args.name)
    full = synapse.full(name)
    if there.get("deactivated") or there.get("is_guest"):
        raise Trouble(f"{full} is {'deactivated' if there.get('deactivated') else 'a guest'}, who cannot log in to administer")
    if bool(there.get("admin")) == args.grant:
        print(f"{full} is {'an administrator' if args.grant else 'no administrator'} already")
        return 0
    change(synapse, name, {"admin": args.grant})
    print(f"{full} is {'now an administrator' if args.grant else 'no administrator any more'}")
    return 0


def known(synapse: Synapse, given: str) -> tuple[str, dict]:
    """A user that there is, and not one of the box's own: name, and what Synapse knows."""
    name = names.localpart(given, synapse.domain)
    if name in names.OWN:
        raise Trouble(f"{synapse.full(name)} is the box's own, and stays as it is")
    there = synapse.user(name)
    if there is None:
        raise unknown(synapse, name)
    return name, there


def unknown(synapse: Synapse, name: str) -> Trouble:
    lower = ", names are in lower case" if name != name.lower() else ""
    return Trouble(f"there is no user {synapse.full(name)}{lower}; chatimg-admin user list shows who is there")


def change(synapse: Synapse, name: str, what: dict) -> None:
    synapse.admin(f"changing {synapse.full(name)}", "PUT", f"v2/users/{synapse.quoted(name)}", what)


def new_password(name: str, args: argparse.Namespace) -> str:
    return passwords.generate() if args.generate else passwords.read(name)


def tell(done: str, password: str, args: argparse.Namespace) -> int:
    """A password that was made is all of standard output, so programs can take it."""
    if args.generate:
        print(f"{done}. The password, shown this once:", file=sys.stderr, flush=True)
        print(password)
    else:
        print(done)
    return 0


def listing(synapse: Synapse, args: argparse.Namespace) -> int:
    people = [person(synapse, one) for one in synapse.users()]
    people = [one for one in people if args.all or not one["own"]]
    if args.json:
        print(json.dumps(people, indent=2))
        return 0
    if not people:
        print("nobody yet; chatimg-admin user create NAME")
        return 0
    rows = [("NAME", "IS", "MADE", "LAST SEEN", "DISPLAY NAME")]
    rows += [(one["name"], state(one), day(one["made"]), day(one["seen"]), one["display-name"]) for one in people]
    rows = [tuple(shortened(text.plain(cell)) for cell in row) for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    return 0


def person(synapse: Synapse, one: dict) -> dict:
    """Of what Synapse says of a user, what matters here."""
    name = str(one.get("name", "")).removeprefix("@").removesuffix(f":{synapse.domain}")
    return {
        "name": name,
        "id": str(one.get("name", "")),
        "display-name": str(one.get("displayname") or ""),
        "admin": bool(one.get("admin")),
        "guest": bool(one.get("is_guest")),
        "deactivated": bool(one.get("deactivated")),
        "erased": bool(one.get("erased")),
        "locked": bool(one.get("locked")),
        "own": name in names.OWN,
        "made": int(one.get("creation_ts") or 0) // 1000,
        "seen": int(one.get("last_seen_ts") or 0) // 1000,
    }


def state(one: dict) -> str:
    words = ["admin" if one["admin"] else "", "guest" if one["guest"] else "", "locked" if one["locked"] else ""]
    words += ["erased" if one["erased"] else "deactivated" if one["deactivated"] else "", "the box's own" if one["own"] else ""]
    return ", ".join(filter(None, words)) or "user"


def day(seconds: int) -> str:
    return text.moment(seconds) if seconds else "never"


def shortened(cell: str) -> str:
    return cell if len(cell) <= 40 else f"{cell[:39]}…"


VERBS = {
    "create": create,
    "password": password,
    "deactivate": deactivate,
    "activate": activate,
    "admin": admin,
    "list": listing,
}
