"""Backups: the box makes none yet, and nobody should think otherwise. What to do until then is in the book."""

from chatimg_box.health import Section


def look() -> Section:
    lines = [
        "none: this box makes none; what is only on it is lost with it",
        'copy it to another machine now and then, yourself: docs/box.md, "Backups"',
    ]
    return Section("backups", lines, {"last": None})
