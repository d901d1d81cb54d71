"""Files that are whole whenever the power goes."""

import contextlib
import json
import os
from pathlib import Path


def write(path: Path | str, data: bytes, mode: int = 0o644) -> None:
    """Replaces a file: whenever the power goes, the old one or the new one is there."""
    new = f"{path}.new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(new)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.rename(new, path)
    except OSError:
        # The disk is full, perhaps: nothing of it stays there.
        with contextlib.suppress(OSError):
            os.unlink(new)
        raise
    sync(os.path.dirname(path))


def write_json(path: Path | str, value: dict) -> None:
    """The same for what programs keep for themselves: root alone reads it."""
    write(path, json.dumps(value).encode(), 0o600)


def sync(directory: Path | str) -> None:
    """Waits until names that were made or removed in a directory are durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
