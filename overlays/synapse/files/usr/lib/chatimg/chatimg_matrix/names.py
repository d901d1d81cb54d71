"""Names of people: alice, or in full @alice:chat.example.org."""

import re

from chatimg_box.system import Trouble

# The administrator's hands, and who checks that messages get through. They belong to the box.
ADMIN, PROBE = "chatimg-admin", "chatimg-probe"
OWN = {ADMIN, PROBE}
LENGTH = 255  # Of the whole name, in bytes; Matrix specification, user identifiers.


def localpart(text: str, domain: str) -> str:
    """The part before the colon, of a user who may be there already. Those of old may have almost any characters."""
    name = text
    if text.startswith("@"):
        name, colon, server = text[1:].partition(":")
        if colon and server != domain:
            raise Trouble(f"{text} is a user of {server or 'no server'}; this box is {domain}")
    if not name or not re.fullmatch("[!-9;-~]+", name):
        raise Trouble(f'{text!r} is no name: write it as alice or @alice:{domain}')
    return name


def new(text: str, domain: str) -> str:
    """The part before the colon, of a user to be made: what Matrix allows today, and Synapse."""
    name = localpart(text, domain)
    if name != name.lower():
        raise Trouble(f"{name}: names are in lower case: {name.lower()}. A display name may have capitals (--display-name)")
    if not re.fullmatch("[a-z0-9._=/+-]+", name):
        raise Trouble(f"{name}: a name has letters a to z, digits, and . _ = - / +; put others into --display-name")
    if name.startswith("_"):
        raise Trouble(f"{name}: names that begin with _ are kept for bridges; take another")
    if name.isdecimal():
        raise Trouble(f"{name}: names of digits alone are kept for guests; add a letter")
    if name in OWN:
        raise Trouble(f"{name} is the box's own; take another name")
    if len(full(name, domain)) > LENGTH:
        raise Trouble(f"{full(name, domain)} has more than {LENGTH} characters; take a shorter name")
    return name


def full(name: str, domain: str) -> str:
    return f"@{name}:{domain}"
