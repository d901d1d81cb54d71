"""What happened to the box's images: a line of JSON for each event, and the description of each image."""

import contextlib
import json
import re
from pathlib import Path

from chatimg_box import durable

from .place import Box

MOST = 1000
IMAGES = 20


def events(box: Box) -> list[dict]:
    """All of them, oldest first."""
    found = []
    with contextlib.suppress(OSError):
        for line in (box.kept / "history.jsonl").read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError, RecursionError):
                event = json.loads(line)
                if isinstance(event, dict):
                    found.append(event)
    return found


def add(box: Box, event: str, **about: object) -> None:
    """Adds one. `switch`, the time of the switch that it belongs to: it is told once only, however often this is called."""
    known, switch = events(box), about.get("switch")
    if switch and any(one.get("event") == event and one.get("switch") == switch for one in known):
        return
    known.append({"time": int(box.now()), "event": event} | {name: value for name, value in about.items() if value})
    text = "".join(json.dumps(one, sort_keys=True) + "\n" for one in known[-MOST:])
    durable.write(box.kept / "history.jsonl", text.encode(), 0o600)


def _image(box: Box, id_: str) -> Path:
    return box.kept / "images" / f"{id_}.json"


def image(box: Box, id_: str) -> dict:
    """What is known of an image; nothing if it never ran here and was not received."""
    if id_ == box.id:
        return box.image | {"id": id_}
    return box.json(_image(box, id_)) if re.fullmatch("[0-9a-f]{16}", id_) else {}


def keep_image(box: Box, id_: str, text: bytes) -> None:
    """Keeps a description, and only the newest of the others."""
    folder = box.kept / "images"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    durable.write(_image(box, id_), text, 0o600)
    old = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime)[:-IMAGES]
    for path in old:
        path.unlink(missing_ok=True)


def keep_running(box: Box) -> None:
    """An image that was flashed came without a description; it is needed once another one runs."""
    if re.fullmatch("[0-9a-f]{16}", box.id) and not _image(box, box.id).exists():
        keep_image(box, box.id, json.dumps(box.image | {"id": box.id}, sort_keys=True).encode())
