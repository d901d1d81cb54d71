"""What came since a snapshot, saved before the state goes back to it.

Every program in /usr/lib/chatimg/export is called as `NAME SINCE FILE`: it writes what its service was sent since that time
(Unix seconds) to the file, for people to read.
"""

import os
from pathlib import Path

from chatimg_box import durable
from chatimg_box.system import Trouble

from .place import Box
from .trial import TABLE, closed


def run(box: Box, since: int) -> list[Path]:
    """The files that were written."""
    folder = box.kept / "exports"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = []
    for program in sorted(one for one in (box.library / "export").glob("*") if one.is_file()):
        file = folder / f"{int(box.now())}-{program.name}.jsonl"
        try:
            file.touch(0o600)
            box.command(str(program), str(since), str(file))
            with open(file, "rb") as written:
                os.fsync(written.fileno())
        except (OSError, Trouble) as error:
            file.unlink(missing_ok=True)
            raise Trouble(f"what came since then cannot be saved: {error}; --no-export goes back without it") from error
        found.append(file)
    durable.sync(folder)
    return found


def close_ports(box: Box) -> None:
    """Nobody sends what would be in no export. Without a firewall some seconds stay open."""
    box.run.mkdir(parents=True, exist_ok=True)
    rules = box.run / "closed.nft"
    durable.write(rules, closed(box).encode())
    try:
        box.command("nft", "--file", str(rules))
    except Trouble as trouble:
        print(f"warning: the ports stay open until services stop: {trouble}")
    finally:
        rules.unlink(missing_ok=True)


def open_ports(box: Box) -> None:
    try:
        box.command("nft", "delete", "table", "inet", TABLE)
    except Trouble:
        pass  # They were never closed.
