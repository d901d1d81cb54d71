"""What the journal has of a trial that failed."""

import contextlib
import json
import subprocess

from chatimg_box import durable

from .place import Box

LINES = 20_000
LIMIT = 4 << 20
KEEP = 5
SECONDS = 60


def said(*arguments: str) -> bytes:
    """The end of what journalctl says. It must not hold up a restart."""
    command = ["journalctl", "--no-pager", "--output=short-precise", f"--lines={LINES}", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, timeout=SECONDS, check=False, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"the journal cannot be read: {error}\n".encode()
    return (done.stdout or done.stderr)[-LIMIT:]


def boots_since(time: int) -> list[str]:
    """Boots that began since then, without the one that runs; at most three, which is how often a trial is started."""
    command = ["journalctl", "--list-boots", "--output=json", "--no-pager"]
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError, subprocess.TimeoutExpired):
        done = subprocess.run(command, capture_output=True, timeout=SECONDS, check=False, stdin=subprocess.DEVNULL)
        boots = [one for one in json.loads(done.stdout) if one["index"] < 0 and one["first_entry"] >= time * 1_000_000]
        return [str(one["boot_id"]) for one in boots][-3:]
    return []


def keep(box: Box, image: str, text: bytes) -> None:
    folder = box.kept / "failed"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    durable.write(folder / f"{int(box.now())}-{image or 'unknown'}.log", text[-LIMIT:], 0o600)
    for old in sorted(folder.glob("*.log"), key=lambda path: path.stat().st_mtime)[:-KEEP]:
        old.unlink(missing_ok=True)
