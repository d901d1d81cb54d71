"""Passwords: read from the terminal or standard input, or made. Never taken from the command line, never told but once."""

import getpass
import secrets
import sys

from chatimg_box.system import Trouble

SHORTEST = 10  # As in homeserver.yaml, which asks the same of people who change theirs.
LONGEST = 512  # Synapse takes no longer one.
# Nothing that looks like another character: no i, l, o, 0, 1. Twenty of them are 99 bits.
LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"


def read(name: str) -> str:
    """Asks twice at a terminal; else standard input is the password."""
    if sys.stdin.isatty():
        password = getpass.getpass(f"Password for {name}: ")
        check(password, name)
        if getpass.getpass("Once more: ") != password:
            raise Trouble("these two differ; nothing was changed")
        return password
    try:
        password = sys.stdin.read(LONGEST + 2).removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise Trouble("the password on standard input is no UTF-8 text") from None
    check(password, name)
    return password


def check(password: str, name: str) -> None:
    """Says what is wrong without saying the password."""
    if not password:
        raise Trouble("no password was given; type one, or let --generate make one")
    if not password.isprintable():
        raise Trouble("a password is one line without control characters")
    if len(password) < SHORTEST:
        raise Trouble(f"a password has {SHORTEST} characters at least; --generate makes a good one")
    if len(password) > LONGEST:
        raise Trouble(f"a password has {LONGEST} characters at most")
    if password.lower() == name:
        raise Trouble("the name is no password; --generate makes a good one")


def generate() -> str:
    return "-".join("".join(secrets.choice(LETTERS) for _ in range(4)) for _ in range(5))
