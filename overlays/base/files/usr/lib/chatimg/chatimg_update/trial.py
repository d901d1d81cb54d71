"""At the start: whether the image that runs is on trial, and if so, closing the ports (chatimg-trial.service)."""

import json
import os
import re

from chatimg_box import durable, system

from . import bootstate, switch
from .place import Box

TABLE = "chatimg_trial"
RANGE = re.compile(r"[0-9]+(-[0-9]+)?")


def ports(box: Box) -> list[tuple[str, str]]:
    """Ports that are open to others, but ssh's: lines `PROTOCOL NUMBER OVERLAY PURPOSE`; `FIRST-LAST` for some in a row."""
    found = set()
    for line in system.read(box.library / "ports").splitlines():
        words = line.split(None, 3)
        if len(words) >= 3 and words[0] in ("tcp", "udp") and RANGE.fullmatch(words[1]) and words[2] != "ssh":
            found.add((words[0], words[1]))
    return sorted(found, key=lambda port: (port[0], int(port[1].partition("-")[0])))


def closed(box: Box) -> str:
    """What nft is to do: nobody but the box itself comes in by these ports, not on an old connection either."""
    rules = "".join(f"        {protocol} dport {number} drop\n" for protocol, number in ports(box))
    return (
        f"table inet {TABLE} {{\n    chain input {{\n        type filter hook input priority -10; policy accept;\n"
        f"        iif lo accept\n{rules}    }}\n}}\n"
    )


def begin(box: Box) -> bool:
    """Whether the image is on trial."""
    box.prepare()
    if not bootstate.on_trial(box, bootstate.read(box)):
        box.trial.unlink(missing_ok=True)  # The initrd's.
        return False
    folder = box.run / "nftables"
    folder.mkdir(mode=0o755, exist_ok=True)
    # Ports first: while there is one of the two files, they are closed.
    durable.write(folder / "trial.nft", closed(box).encode())
    durable.write(box.trial, json.dumps({"since": int(box.now()), "switch": switch.read(box)}).encode(), 0o600)
    return True


def relax(box: Box) -> None:
    """A unit that fails from now on does not restart the machine, as the initrd had it for the trial."""
    rules = list(box.at("/run/systemd/system").glob("*.service.d/chatimg-trial.conf"))
    for file in rules:
        file.unlink()
    if rules:
        box.command("systemctl", "daemon-reload")


def end(box: Box) -> str:
    """Opens the ports. Why that failed, if it did."""
    rules = box.run / "nftables/trial.nft"
    if rules.exists():
        os.unlink(rules)
        try:
            box.command("nft", "delete", "table", "inet", TABLE)
        except system.Trouble:
            try:
                box.command("systemctl", "reload-or-restart", "nftables.service")
            except system.Trouble as trouble:
                box.trial.unlink(missing_ok=True)
                return str(trouble)
    box.trial.unlink(missing_ok=True)
    return ""
